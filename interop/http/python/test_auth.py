"""docs/http.md §1 Authentication, §6 Tokens: keys, roles, JWT, scoped tokens, Origin. Default is no."""

import base64
import datetime
import hashlib
import hmac
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from websockets.exceptions import InvalidStatus

from sb import Ws, background, config, head_of, problem, unique, until

SHARED = "a-shared-secret-of-enough-bytes-0123456789"
PRIVATE = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
PUBLIC = {
    name: key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for name, key in PRIVATE.items()
}
ALGORITHMS = ["HS256", "RS256", "ES256", "EdDSA"]


def CONFIG(folder):
    tables = []
    for name in ALGORITHMS:
        if name == "HS256":
            key = SHARED
        else:
            (folder / f"{name}.pem").write_bytes(PUBLIC[name])
            key = f"$file:{folder}/{name}.pem"
        tables.append(
            f'[[auth.jwt]]\nissuer = "https://{name.lower()}.example"\naudience = "switchboard"\n'
            f'algorithm = "{name}"\nkey = "{key}"\nrole = "role"\n'
        )
    return config(
        """
[auth]
keys = { shop = "shop-secret", browser = "browser-secret", worker = "worker-secret", root = "root-secret", nobody = "nobody-secret" }

"""
        + "\n".join(tables)
        + """
[roles.shop]
publish = ["orders.>", "code.v1.Runner.>"]
read = ["orders.>"]
consume = ["orders.>"]
manage = ["orders.>"]
call = ["code.v1.Runner/*"]

[roles.browser]
read = ["orders.eu.>"]

[roles.worker]
serve = ["code.v1.Runner/*"]
manage = ["code.v1.Runner.>", "code.v1.Runner/*"]

[roles.root]
admin = true

[roles.nobody]

[http]
origins = ["https://app.example"]
"""
    )


def bearer(server, token):
    return server.api(token=token)


@pytest.fixture(scope="module")
def root(server):
    with bearer(server, "root-secret") as api:
        api.put_topic("orders.eu.created")
        api.put_topic("orders.us.created")
        api.put_topic("secret.plans")
        api.publish("orders.eu.created", "eu")
        api.publish("orders.us.created", "us")
        api.publish("secret.plans", "plans")
        api.put_method("code.v1.Runner/Run")
        api.put_method("code.v1.Other/Run")
        yield api


@pytest.fixture(scope="module")
def shop(server, root):
    with bearer(server, "shop-secret") as api:
        yield api


@pytest.fixture(scope="module")
def browser(server, root):
    with bearer(server, "browser-secret") as api:
        yield api


def claims(algorithm, **changes):
    now = int(time.time())
    got = {
        "iss": f"https://{algorithm.lower()}.example",
        "aud": "switchboard",
        "sub": "someone",
        "iat": now,
        "exp": now + 600,
        "role": "shop",
    }
    got.update(changes)
    return {k: v for k, v in got.items() if v is not None}


def sign(algorithm, headers=None, **changes):
    key = SHARED if algorithm == "HS256" else PRIVATE[algorithm]
    return jwt.encode(claims(algorithm, **changes), key, algorithm=algorithm, headers=headers)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hand(header, body, secret):
    text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(body).encode())}"
    return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


# who


def test_no_credentials(server, root):
    with server.api() as anyone:
        for method, path in (
            ("GET", "/topics/orders.eu.created"),
            ("POST", "/topics/orders.eu.created"),
            ("GET", "/topics"),
            ("GET", "/jobs"),
            ("POST", "/code.v1.Runner/Run"),
            ("POST", "/tokens"),
            ("GET", "/status"),
        ):
            got = anyone.request(method, path)
            problem(got, 401, "SB0501")
            assert got.headers["www-authenticate"]
        for path in ("/livez", "/readyz"):
            assert anyone.get(path).status_code == 200


def test_the_ways_to_give_a_key(server, root):
    basic = base64.b64encode(b"anyone:shop-secret").decode()
    for headers in (
        {"Authorization": "Bearer shop-secret"},
        {"authorization": "bearer shop-secret"},
        {"Sb-Api-Key": "shop-secret"},
        {"Authorization": f"Basic {basic}"},
    ):
        with server.api(headers=headers) as api:
            api.ok("GET", "/topics/orders.eu.created")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer shop-secre"},
        {"Authorization": "Bearer shop-secretx"},
        {"Authorization": "Bearer"},
        {"Authorization": "shop-secret"},
        {"Authorization": "Digest shop-secret"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"nocolon").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"shop-secret:").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff:\xfe").decode()},
        {"Authorization": "Bearer " + "x" * 20000},
        {"Sb-Api-Key": ""},
        {"Sb-Api-Key": "SHOP-SECRET"},
    ],
)
def test_wrong_credentials(server, root, headers):
    with server.api(headers=headers) as api:
        problem(api.get("/topics/orders.eu.created"), 401, "SB0501")


def test_a_bearer_without_a_token(server, root):
    raw = server.raw(b"GET /topics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \r\nConnection: close\r\n\r\n")
    assert head_of(raw)[0] == 401 and b"SB0501" in raw


def test_a_key_in_the_query_is_no_key(server, root):
    with server.api() as api:
        problem(api.get("/topics/orders.eu.created", params={"token": "shop-secret"}), 401, "SB0501")


# what


def test_a_role_without_grants_may_nothing(server, root):
    with bearer(server, "nobody-secret") as api:
        problem(api.get("/topics/orders.eu.created"), 403, "SB0502")
        problem(api.post("/topics/orders.eu.created", content=b""), 403, "SB0502")
        problem(api.put("/topics/orders.x", json={}), 403, "SB0502")
        problem(api.post("/code.v1.Runner/Run", content=b""), 403, "SB0502")


def test_grants_of_topics(shop, browser):
    shop.publish("orders.eu.created", "x")
    assert shop.bodies("orders.eu.created", last=1) == [b"x"]
    problem(shop.get("/topics/secret.plans"), 403, "SB0502")
    problem(shop.post("/topics/secret.plans", content=b""), 403, "SB0502")
    assert browser.read("orders.eu.created", last=1)["messages"]
    problem(browser.get("/topics/orders.us.created"), 403, "SB0502")
    problem(browser.post("/topics/orders.eu.created", content=b""), 403, "SB0502")
    problem(browser.put("/topics/orders.eu.created/groups/g", json={}), 403, "SB0502")
    problem(browser.delete("/topics/orders.eu.created"), 403, "SB0502")
    problem(browser.patch("/topics/orders.eu.created", json={"keep_bytes": 1}), 403, "SB0502")
    entry = [{"address": "orders.eu.created", "body": "a"}, {"address": "secret.plans", "body": "b"}]
    problem(shop.post("/publish", json={"messages": entry}), 403, "SB0502")
    assert shop.bodies("orders.eu.created", last=1) == [b"x"]  # all or none


def test_a_missing_topic_says_no_more_than_it_may(browser):
    problem(browser.get(f"/topics/secret.{unique('none')}"), 403, "SB0502")
    problem(browser.get("/topics/orders.eu.none"), 404, "SB0301")


def test_wildcards_show_only_what_is_granted(root, shop, browser):
    got = browser.get("/topics/orders.eu.*", params={"from": "start"})
    assert got.status_code == 200 and {m["topic"] for m in got.json()["messages"]} == {"orders.eu.created"}
    for pattern in ("%3E", "%23", "orders.*.created", "secret.*"):
        got = browser.get(f"/topics/{pattern}", params={"from": "start"})
        if got.status_code == 200:
            assert {m["topic"] for m in got.json()["messages"]} <= {"orders.eu.created"}
        else:
            problem(got, got.status_code)
            assert got.status_code in (403, 404)
    listed = browser.get("/topics")
    assert listed.status_code in (200, 403) and "secret.plans" not in listed.text
    listed = shop.get("/topics")
    assert listed.status_code in (200, 403) and "secret.plans" not in listed.text
    assert "secret.plans" in root.ok("GET", "/topics", params={"limit": 1000}).text


def test_single_messages_and_infos_are_checked_too(browser):
    problem(browser.get("/topics/orders.us.created/messages/0-0"), 403, "SB0502")
    problem(browser.get("/topics/secret.plans/info"), 403, "SB0502")
    assert browser.get("/topics/orders.eu.created/messages/0-0").content == b"eu"


def test_groups_need_consume(shop, browser):
    shop.put_group("orders.us.created", "g")
    assert len(shop.lease("orders.us.created", "g")) == 1
    problem(browser.post("/topics/orders.us.created/groups/g/lease", json={"wait": "0s"}), 403, "SB0502")
    problem(browser.get("/topics/orders.us.created/groups/g/peek"), 403, "SB0502")
    problem(shop.put("/topics/secret.plans/groups/g", json={}), 403, "SB0502")


def test_dead_letters_cannot_write_where_the_caller_cannot(shop):
    got = shop.put("/topics/orders.us.created/groups/d", json={"attempts": 1, "dead_letter": "secret.plans"})
    problem(got, 403, "SB0502")


def test_calls_and_workers(server, root, shop, browser):
    with bearer(server, "worker-secret") as worker:
        call = background(lambda: shop.post("/code.v1.Runner/Run", content=b"in"))
        job = worker.take_one("code.v1.Runner/Run")
        worker.work(job, "complete", content=b"out")
        assert call.result().content == b"out"
        problem(worker.post("/code.v1.Runner/Run", content=b""), 403, "SB0502")
        problem(worker.post("/jobs/take", json={"methods": ["code.v1.Other/Run"], "wait": "0s"}), 403, "SB0502")
    problem(shop.post("/code.v1.Other/Run", content=b""), 403, "SB0502")
    problem(shop.post("/jobs/take", json={"methods": ["code.v1.Runner/Run"], "wait": "0s"}), 403, "SB0502")
    # to those without any right on its method a job does not exist; who only works on it may not end it
    for got in (
        browser.get(f"/jobs/{job['id']}"),
        browser.delete(f"/jobs/{job['id']}"),
        browser.post(f"/jobs/{job['id']}/rerun"),
    ):
        problem(got, 404, "SB0401")
    with bearer(server, "worker-secret") as worker:
        assert worker.job(job["id"])["state"] == "succeeded"
        problem(worker.delete(f"/jobs/{job['id']}"), 403, "SB0502")
        problem(worker.post(f"/jobs/{job['id']}/rerun"), 403, "SB0502")


def test_admin_only(root, shop):
    assert root.ok("GET", "/status").json()["version"]
    problem(shop.get("/status"), 403, "SB0502")


# JWT


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_good_tokens(server, root, algorithm):
    with bearer(server, sign(algorithm)) as api:
        api.ok("GET", "/topics/orders.eu.created")
        problem(api.get("/topics/secret.plans"), 403, "SB0502")
    with bearer(server, sign(algorithm, aud=["other", "switchboard"])) as api:
        api.ok("GET", "/topics/orders.eu.created")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_expired_tokens(server, root, algorithm):
    with bearer(server, sign(algorithm, exp=int(time.time()) - 3600)) as api:
        problem(api.get("/topics/orders.eu.created"), 401, "SB0503")


BROKEN = {
    "wrong issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": None},
    "issuer of another key": {"iss": "https://rs256.example"},
    "wrong audience": {"aud": "elsewhere"},
    "no audience": {"aud": None},
    "not yet": {"nbf": int(time.time()) + 3600},
    "never expires": {"exp": None},
}


@pytest.mark.parametrize("name", BROKEN)
def test_wrong_claims(server, root, name):
    with bearer(server, sign("HS256", **BROKEN[name])) as api:
        problem(api.get("/topics/orders.eu.created"), 401, "SB0501")


@pytest.mark.parametrize("role", ["root2", "", None, 7, ["root2", 7], {"root": 1}])
def test_roles_nobody_defined(server, root, role):
    try:
        token = sign("HS256", role=role)
    except TypeError:
        pytest.skip("the library does not sign this")
    with bearer(server, token) as api:
        got = api.get("/topics/orders.eu.created")
        assert got.status_code in (401, 403), got.text
        problem(got, got.status_code)


def test_several_roles_in_a_list(server, root):
    with bearer(server, sign("HS256", role=["browser", "shop", "nobody-defined-this"])) as api:
        api.ok("GET", "/topics/orders.eu.created")
        api.ok("GET", "/topics/orders.us.created")
        problem(api.get("/topics/secret.plans"), 403, "SB0502")


def forged():
    good = sign("RS256")
    head, body, signature = good.split(".")
    yield "none", f"{b64(json.dumps({'alg': 'none', 'typ': 'JWT'}).encode())}.{body}."
    yield "none with signature", f"{b64(json.dumps({'alg': 'nOnE'}).encode())}.{body}.{signature}"
    yield "public key as secret", by_hand({"alg": "HS256", "typ": "JWT"}, claims("RS256"), PUBLIC["RS256"])
    yield "HS512 for HS256", jwt.encode(claims("HS256"), SHARED * 2, algorithm="HS512")
    yield "another key", jwt.encode(claims("ES256"), ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")
    yield "unknown kid and another key", jwt.encode(
        claims("HS256"), "another-secret-of-enough-bytes-0123456789", algorithm="HS256", headers={"kid": "../../x"}
    )
    yield "key in the header", jwt.encode(
        claims("HS256"), "another-secret-of-enough-bytes-0123456789", algorithm="HS256",
        headers={"jwk": {"kty": "oct", "k": "YW5vdGhlci1zZWNyZXQ"}, "jku": "http://127.0.0.1:1/keys"},
    )
    yield "critical extension", sign("HS256", headers={"crit": ["x"], "x": 1})
    yield "changed body", f"{head}.{b64(json.dumps(claims('RS256', role='root')).encode())}.{signature}"
    yield "changed signature", good[:-6] + ("AAAAAA" if not good.endswith("AAAAAA") else "BBBBBB")
    yield "no signature", f"{head}.{body}"
    yield "empty parts", ".."
    yield "four parts", good + ".x"
    yield "padding", f"{head}=.{body}.{signature}"
    yield "zero ES256 signature", sign("ES256").rsplit(".", 1)[0] + "." + b64(bytes(64))


FORGED = dict(forged())


@pytest.mark.parametrize("name", FORGED)
def test_forged_tokens(server, root, name):
    with bearer(server, FORGED[name]) as api:
        problem(api.get("/topics/orders.eu.created"), 401, "SB0501")


def test_an_unknown_kid_with_the_right_key_is_no_fault_of_the_server(server, root):
    with bearer(server, sign("HS256", headers={"kid": "nobody-knows"})) as api:
        assert api.get("/topics/orders.eu.created").status_code in (200, 401)


# tokens


def mint(api, ttl="5m", **grants):
    return api.ok("POST", "/tokens", 201, json={"grants": grants, "ttl": ttl}).json()


def test_tokens_are_scoped(server, shop):
    got = mint(shop, read=["orders.eu.>"])
    assert got["expires"].endswith("Z")
    with bearer(server, got["token"]) as api:
        api.ok("GET", "/topics/orders.eu.created")
        problem(api.get("/topics/orders.us.created"), 403, "SB0502")
        problem(api.post("/topics/orders.eu.created", content=b""), 403, "SB0502")
        problem(api.get("/topics/secret.plans"), 403, "SB0502")
    with server.api() as api:
        api.ok("GET", "/topics/orders.eu.created", params={"token": got["token"]})
        with api.sse("/topics/orders.eu.created", {"token": got["token"], "from": "start"}) as events:
            assert events.next()["data"] == "eu"
        problem(api.get("/topics/orders.eu.created", params={"token": got["token"][:-2]}), 401, "SB0501")


def test_tokens_never_exceed_their_maker(server, shop, browser):
    for grants in ({"read": ["secret.plans"]}, {"read": [">"]}, {"publish": ["orders.eu.created"]}):
        got = browser.post("/tokens", json={"grants": grants, "ttl": "5m"})
        if got.status_code == 201:
            with bearer(server, got.json()["token"]) as api:
                assert api.get("/topics/secret.plans").status_code == 403
                assert api.post("/topics/orders.eu.created", content=b"").status_code == 403
        else:
            problem(got, 403, "SB0502")
    first = mint(shop, read=["orders.eu.>"])
    with bearer(server, first["token"]) as api:
        got = api.post("/tokens", json={"grants": {"read": ["orders.>"]}, "ttl": "5m"})
        if got.status_code == 201:
            with bearer(server, got.json()["token"]) as wider:
                assert wider.get("/topics/orders.us.created").status_code == 403


def test_tokens_live_at_most_an_hour(shop):
    got = shop.post("/tokens", json={"grants": {"read": ["orders.>"]}, "ttl": "25h"})
    if got.status_code == 201:
        end = datetime.datetime.fromisoformat(got.json()["expires"].replace("Z", "+00:00"))
        assert end - datetime.datetime.now(datetime.timezone.utc) < datetime.timedelta(minutes=61)
    else:
        problem(got, 400, ("SB0201", "SB0601"))


def test_tokens_expire(server, shop):
    token = mint(shop, ttl="1s", read=["orders.>"])["token"]
    with bearer(server, token) as api:
        got = until(lambda: (lambda r: r if r.status_code == 401 else None)(api.get("/topics/orders.eu.created")))
        problem(got, 401, "SB0503")


def test_a_websocket_ends_with_its_token(server, shop):
    token = mint(shop, ttl="3s", read=["orders.>"])["token"]
    with Ws(server, f"/topics/orders.eu.created?token={token}") as ws:
        assert ws.closed(20) == 4401


def test_tokens_for_jobs(server, root):
    ident = root.submit("code.v1.Runner/Run", b"x")["id"]
    other = root.submit("code.v1.Runner/Run", b"y")["id"]
    token = mint(root, jobs=[ident])["token"]
    with bearer(server, token) as api:
        assert api.job(ident)["state"] == "queued"
        assert api.events(ident)
        problem(api.get(f"/jobs/{other}"), 404, "SB0401")
        problem(api.delete(f"/jobs/{ident}"), 403, "SB0502")


@pytest.mark.parametrize("body", [{}, {"grants": {"fly": [">"]}}, {"grants": {"read": "x"}}, {"grants": {}, "ttl": "x"}])
def test_bad_token_requests(shop, body):
    problem(shop.post("/tokens", json=body), 400, ("SB0201", "SB0202"))


# WebSocket


def test_websocket_needs_a_login_and_checks_every_operation(server, root):
    with pytest.raises(InvalidStatus) as refused:
        Ws(server)
    assert refused.value.response.status_code == 401
    with Ws(server, token="browser-secret") as ws:
        ws.ok("subscribe", sub="s", pattern="orders.eu.created", **{"from": "start"})
        assert ws.push()["body"] == "eu"
        ws.error("subscribe", "SB0502", sub="t", pattern="secret.plans")
        ws.error("publish", "SB0502", address="orders.eu.created", body="x")
        ws.error("call", "SB0502", method="code.v1.Runner/Run", body="")
        ws.error("lease", topic="orders.us.created", group="g", max=1, wait="0s")


def test_a_page_may_read_why_it_was_refused(server, root):
    for origin, shown in (("https://app.example", "https://app.example"), ("https://evil.example", None)):
        for token in (None, "wrong"):
            with server.api(token=token, headers={"Origin": origin}) as api:
                got = api.get("/topics")
                problem(got, 401, "SB0501")
                assert got.headers.get("access-control-allow-origin") == shown


def test_origin_of_websockets(server, root):
    token = "browser-secret"
    for good in ("https://app.example", server.url):
        with Ws(server, token=token, origin=good) as ws:
            ws.ok("ping")
    for bad in ("https://evil.example", "https://app.example.evil", "http://app.example", "null", "https://app.example:444"):
        with pytest.raises(InvalidStatus) as refused:
            Ws(server, token=token, origin=bad)
        assert refused.value.response.status_code == 403
        assert json.loads(refused.value.response.body)["code"] == "SB0504"
