"""docs/http.md §1, Errors: problem+json whatever is wrong."""

import pytest

from sb import ROOT, head_of, problem, unique


@pytest.mark.parametrize("path", ["/nothing/here/at/all", "/topics/a/b/c/d", "/jobs/x/y/z", "/.env", "/%2e%2e/%2e%2e"])
def test_unknown_routes(api, path):
    problem(api.get(path), 404, ("SB0206", "SB0310"))


@pytest.mark.parametrize("path", ["//", "//livez", "/livez/", "/topics//info"])
def test_empty_segments_are_no_route(server, path):
    """As they are: the library would send / for //."""
    raw = server.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert head_of(raw)[0] in (400, 404), raw[:200]


METHODS = [
    ("DELETE", "/topics", {"GET"}),
    ("POST", "/topics/x/info", {"GET"}),
    ("GET", "/publish", {"POST"}),
    ("PUT", "/jobs", {"GET"}),
    ("GET", "/jobs/take", {"POST"}),
    ("GET", "/tokens", {"POST"}),
    ("POST", "/groups", {"GET"}),
    ("POST", "/methods", {"GET"}),
    ("POST", "/livez", {"GET"}),
    ("POST", "/metrics", {"GET"}),
    ("POST", "/openapi.json", {"GET"}),
    ("PUT", "/topics/x/messages/0-0", {"GET"}),
    ("GET", "/topics/x/groups/g/ack", {"POST"}),
    ("POST", "/topics/x/groups/g/peek", {"GET"}),
    ("TRACE", "/topics", {"GET"}),
    ("BREW", "/topics", {"GET"}),
]


@pytest.mark.parametrize("method,path,allowed", METHODS)
def test_wrong_methods(api, method, path, allowed):
    got = api.request(method, path)
    if (method, path) == ("GET", "/jobs/take") and got.status_code == 404:
        problem(got, 404, "SB0401")  # also the shape of a job's path
        return
    problem(got, 405, "SB0207")
    assert allowed <= {m.strip() for m in got.headers["allow"].split(",")}


BAD_JSON = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff\xfe",
    b'{"messages":',
    b'{"messages":[]} trailing',
    b'{"messages":[],"messages":[]}',
    b'{"messages":[],"extra":1}',
    b'{"messages":{}}',
    b'{"messages":[1]}',
    b"[" * 200000,
    b'{"a":' * 100000,
    b'{"messages":[{"address":"\\ud800"}]}',
    b"\xef\xbb\xbf{}",
]


@pytest.mark.parametrize("body", BAD_JSON, ids=range(len(BAD_JSON)))
def test_wrong_json(api, body):
    problem(api.post("/publish", content=body, headers={"Content-Type": "application/json"}), 400, ("SB0201", "SB0202"))


def test_json_needs_its_content_type(api):
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "text/plain; application/json"):
        headers = {"Content-Type": kind} if kind else {}
        got = api.post("/publish", content=b'{"messages":[]}', headers=headers)
        problem(got, 415, "SB0208")
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        body = f'{{"messages":[{{"address":"{unique("ct")}","body":"x"}}]}}'
        api.ok("POST", "/publish", 201, content=body.encode(), headers={"Content-Type": kind})


def test_a_trace_id_is_given_and_kept(api):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert problem(api.get(f"/topics/{unique('none')}", headers=headers), 404)["trace"] == trace
    one, two = (problem(api.get(f"/topics/{unique('none')}"), 404)["trace"] for _ in range(2))
    assert one != two and len(one) == 32


def test_prefer_is_checked(api):
    topic = unique("p")
    api.publish(topic, "x")
    for bad in ("wait=", "wait=x", "wait=-1", "wait=99999999999999999999"):
        got = api.get(f"/topics/{topic}", headers={"Prefer": bad}, params={"from": "start"})
        assert got.status_code in (200, 400), got.text  # RFC 7240 allows to ignore what makes no sense
    api.read(topic, headers={"Prefer": "handling=lenient, wait=1; foo"}, from_="start")


def test_every_code_met_is_documented(api):
    page = (ROOT / "docs" / "errors.md").read_text()
    for got in (
        api.get(f"/topics/{unique('none')}"),
        api.get("/nothing/at/all"),
        api.get("/jobs/none"),
        api.post("/topics/a.*", content=b""),
        api.post("/no.such.Service/Method", content=b""),
    ):
        assert f"SB{got.json()['code'][2:]}" in page


def test_etags_and_conditions_do_not_break_on_nonsense(api):
    topic = unique("e")
    api.put_topic(topic)
    for tag in ("", "x", '"', '"x', "W/", "*", '"a", "b"', "\xff"):
        got = api.get(f"/topics/{topic}", headers={"If-None-Match": tag.encode("latin-1")})
        assert got.status_code in (200, 304, 400)
