"""docs/http.md §2, Publish: headers, bodies, limits, idempotency, batches, all-or-none, live."""

import base64

import pytest

from sb import background, body_of, problem, unique, until

MIB = 1 << 20


def test_answer_and_location(api, topic):
    answer = api.ok("POST", f"/topics/{topic}", 201, content=b"hello", headers={"Content-Type": "text/plain"})
    got = answer.json()
    assert got["topic"] == topic and got["partition"] == 0 and got["offset"] == 0
    assert got["at"].endswith("Z") and len(got["at"]) == 24
    assert answer.headers["location"] == f"/topics/{topic}/messages/0-0"
    one = api.ok("GET", answer.headers["location"])
    assert one.content == b"hello" and one.headers["content-type"] == "text/plain"
    assert one.headers["sb-id"] == got["id"] and one.headers["sb-at"] == got["at"]
    assert api.publish(topic, "x")["offset"] == 1


def test_content_type_is_kept_and_absence_stays(api, topic):
    api.publish(topic, "{}", headers={"Content-Type": "application/vnd.shop+json; charset=utf-8"})
    api.publish(topic, "bare")
    first, second = api.read(topic)["messages"]
    assert first["content_type"] == "application/vnd.shop+json; charset=utf-8"
    assert "content_type" not in second
    assert "content-type" not in api.ok("GET", f"/topics/{topic}/messages/0-1").headers


def test_key_as_text_and_as_bytes(api, topic):
    api.publish(topic, "1", headers={"Sb-Key": "customer 7"})
    api.publish(topic, "2", headers={"Sb-Key-Base64": base64.b64encode(b"\xff\x00\x01").decode()})
    api.publish(topic, "3")
    text, raw, none = api.read(topic)["messages"]
    assert text["key"] == "customer 7" and "key_base64" not in text
    assert base64.b64decode(raw["key_base64"]) == b"\xff\x00\x01" and "key" not in raw
    assert "key" not in none and "key_base64" not in none
    assert api.ok("GET", f"/topics/{topic}/messages/0-0").headers["sb-key"] == "customer 7"
    problem(api.post(f"/topics/{topic}", content=b"", headers={"Sb-Key-Base64": "!!"}), 400, "SB0201")


def test_headers_of_a_message(api, topic):
    sent = [("Sb-Header-Tenant", "acme"), ("Sb-Header-tag", "a"), ("Sb-Header-tag", "b")]
    api.ok("POST", f"/topics/{topic}", 201, content=b"x", headers=sent)
    headers = {k.lower(): v for k, v in api.read(topic)["messages"][0]["headers"].items()}
    assert headers["tenant"] == "acme" and headers["tag"] == ["a", "b"]
    raw = api.ok("GET", f"/topics/{topic}/messages/0-0").headers
    assert raw["sb-header-tenant"] == "acme" and raw.get_list("sb-header-tag", split_commas=True) == ["a", "b"]


def test_trace_context_is_kept(api, topic):
    trace = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "shop=1",
        "baggage": "user=7",
    }
    api.publish(topic, "x", headers=trace)
    headers = api.read(topic)["messages"][0]["headers"]
    assert {k: headers[k] for k in trace} == trace


def test_reserved_headers_are_stripped(api, topic):
    api.publish(topic, "x", headers={"Sb-Header-sb-dead-topic": "forged", "Sb-Header-ok": "1"})
    headers = api.read(topic)["messages"][0]["headers"]
    assert headers == {"ok": "1"}
    entry = {"address": topic, "body": "y", "headers": {"sb-dead-reason": "forged", "fine": "2"}}
    api.ok("POST", "/publish", 201, json={"messages": [entry]})
    assert api.read(topic, last=1)["messages"][0]["headers"] == {"fine": "2"}


def test_too_many_or_too_large_message_headers(api, topic):
    many = {f"Sb-Header-h{i}": "v" for i in range(129)}
    got = api.post(f"/topics/{topic}", content=b"", headers=many)
    assert got.status_code in (400, 413), got.text
    problem(got, got.status_code, ("SB0201", "SB0205"))
    large = {f"Sb-Header-h{i}": "v" * 4000 for i in range(9)}
    got = api.post(f"/topics/{topic}", content=b"", headers=large)
    assert got.status_code in (400, 413), got.text
    api.publish(topic, b"", headers={f"Sb-Header-h{i}": "v" for i in range(128)})


BODIES = {
    "every byte": bytes(range(256)),
    "empty": b"",
    "nul": b"\x00",
    "invalid utf-8": b"\xc3\x28\xff",
    "bom": b"\xef\xbb\xbf{}",
    "lone surrogate": b"\xed\xa0\x80",
    "line ends": b"a\r\nb\rc\nd\n\n",
    "odd json": b'{"b":1,  "a":1.0000000000000000000001,"a":2}',
    "unicode": "äöü €  \U0001f600".encode(),
    "64 KiB of noise": bytes((i * 7919 >> 3) & 255 for i in range(65536)),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_come_back_as_they_went_in(api, topic, name):
    body = BODIES[name]
    api.publish(topic, body, headers={"Content-Type": "application/json"})
    message = api.read(topic)["messages"][0]
    assert body_of(message) == body
    try:
        body.decode()
        assert "encoding" not in message
    except UnicodeDecodeError:
        assert message["encoding"] == "base64"
    assert api.ok("GET", f"/topics/{topic}/messages/0-0").content == body


def test_chunked_body(api, topic):
    api.ok("POST", f"/topics/{topic}", 201, content=(bytes([i]) * 1000 for i in range(50)))
    assert api.ok("GET", f"/topics/{topic}/messages/0-0").content == b"".join(bytes([i]) * 1000 for i in range(50))


def test_the_limit_and_one_over(api, topic):
    api.put_topic(topic)
    body = bytes(range(256)) * (MIB // 256)
    api.publish(topic, body)
    assert api.ok("GET", f"/topics/{topic}/messages/0-0").content == body
    problem(api.post(f"/topics/{topic}", content=body + b"x"), 413, "SB0205")
    problem(api.post(f"/topics/{topic}", content=(c for c in [body, b"x"])), 413, "SB0205")  # no Content-Length
    assert api.info(topic)["messages"] == 1


def test_delay_holds_back_from_groups_and_not_from_readers(api, topic):
    api.put_topic(topic)
    api.put_group(topic, "g")
    api.publish(topic, "later", headers={"Sb-Delay": "400ms"})
    assert api.bodies(topic, from_="start") == [b"later"]
    group = api.group(topic, "g")
    assert group["delayed"] + group["ready"] == 1
    (message,) = api.lease(topic, "g", wait="10s")
    assert body_of(message) == b"later"
    api.publish(topic, "much later", headers={"Sb-Delay": "1h"})
    assert api.lease(topic, "g", wait="0s") == []
    group = api.group(topic, "g")
    assert group["delayed"] == 1 and group["leased"] == 1 and group["depth"] == 2
    problem(api.post(f"/topics/{topic}", content=b"", headers={"Sb-Delay": "soon"}), 400, "SB0201")


def test_expired_messages_are_not_delivered(api, topic):
    api.put_topic(topic)
    api.put_group(topic, "g")
    api.publish(topic, "short-lived", headers={"Sb-Expires": "100ms"})
    until(lambda: api.group(topic, "g")["expired"] == 1, what="the expiry")
    assert api.lease(topic, "g", wait="0s") == []
    api.publish(topic, "for long", headers={"Sb-Expires": "1h"})
    assert [body_of(m) for m in api.lease(topic, "g", max=10)] == [b"for long"]
    group = api.group(topic, "g")
    assert group["expired"] == 1 and group["leased"] == 1 and group["ready"] == 0
    assert api.bodies(topic, from_="start") == [b"short-lived", b"for long"]


def test_idempotency_replays_and_refuses(api, topic):
    key = {"Idempotency-Key": unique("key")}
    first = api.ok("POST", f"/topics/{topic}", 201, content=b"once", headers=key)
    assert "idempotency-replayed" not in first.headers
    again = api.ok("POST", f"/topics/{topic}", 201, content=b"once", headers=key)
    assert again.headers["idempotency-replayed"] == "true" and again.json() == first.json()
    problem(api.post(f"/topics/{topic}", content=b"another", headers=key), 422, "SB0306")
    assert api.bodies(topic) == [b"once"]
    for bad in ("", "x" * 256):
        problem(api.post(f"/topics/{topic}", content=b"", headers={"Idempotency-Key": bad}), 400, "SB0201")
    api.publish(topic, "longest", headers={"Idempotency-Key": unique("k").ljust(255, "k")})


def test_idempotent_publishes_at_the_same_time_are_one(api, topic):
    api.put_topic(topic)
    key = {"Idempotency-Key": unique("key")}
    many = [background(lambda: api.publish(topic, "race", headers=key)) for _ in range(8)]
    assert len({one.result()["id"] for one in many}) == 1
    assert api.bodies(topic) == [b"race"]


def test_idempotency_of_batches(api, topic):
    key = {"Idempotency-Key": unique("key")}
    body = {"messages": [{"address": topic, "body": "a"}, {"address": topic, "body": "b"}]}
    first = api.ok("POST", "/publish", 201, json=body, headers=key)
    again = api.ok("POST", "/publish", 201, json=body, headers=key)
    assert again.headers["idempotency-replayed"] == "true" and again.json() == first.json()
    assert api.bodies(topic) == [b"a", b"b"]


def test_ndjson_batch(api, topic):
    lines = [b'{"n":1}', b'{"n": 2}', b'"\xc3\xa4"']
    got = api.publish(topic, b"\n".join(lines) + b"\n", {"Content-Type": "application/x-ndjson"}, {"batch": "ndjson"})
    assert [m["offset"] for m in got["messages"]] == [0, 1, 2]
    messages = api.read(topic)["messages"]
    assert [body_of(m) for m in messages] == lines
    assert {m["content_type"] for m in messages} == {"application/json"}


def test_ndjson_batch_is_all_or_none(api, topic):
    api.put_topic(topic)
    for bad in (b'{"n":1}\n{"n":\n', b'{"n":1}\n\xff\n'):
        problem(api.post(f"/topics/{topic}?batch=ndjson", content=bad), 400, "SB0201")
    too_large = b'{"n":1}\n"' + b"x" * MIB + b'"\n'
    problem(api.post(f"/topics/{topic}?batch=ndjson", content=too_large), 413, "SB0205")
    too_many = b"1\n" * 1001
    got = api.post(f"/topics/{topic}?batch=ndjson", content=too_many)
    assert got.status_code in (400, 413), got.text
    assert api.info(topic)["messages"] == 0
    api.publish(topic, b"1\n" * 1000, params={"batch": "ndjson"})
    assert api.info(topic)["messages"] == 1000


def test_publish_to_several_topics(api):
    one, two = unique("one"), unique("two")
    everything = {
        "address": one,
        "key": "k",
        "headers": {"a": "1", "b": ["x", "y"]},
        "content_type": "text/plain",
        "body": "text",
    }
    raw = {"address": two, "body": base64.b64encode(bytes(range(256))).decode(), "encoding": "base64"}
    got = api.ok("POST", "/publish", 201, json={"messages": [everything, raw, {"address": one}]}).json()["messages"]
    assert [(m["topic"], m["offset"]) for m in got] == [(one, 0), (two, 0), (one, 1)]
    first, empty = api.read(one)["messages"]
    assert first["key"] == "k" and first["content_type"] == "text/plain" and body_of(first) == b"text"
    assert first["headers"]["a"] == "1" and first["headers"]["b"] == ["x", "y"]
    assert body_of(empty) == b""
    assert api.bodies(two) == [bytes(range(256))]


def test_publish_with_delay_and_expiry(api, topic):
    api.put_topic(topic)
    api.put_group(topic, "g")
    entries = [{"address": topic, "body": "d", "delay": "1h"}, {"address": topic, "body": "e", "expires": "1h"}]
    api.ok("POST", "/publish", 201, json={"messages": entries})
    assert [body_of(m) for m in api.lease(topic, "g", max=10)] == [b"e"]


BAD_ENTRIES = [
    ({"body": "no address"}, 400, "SB0201"),
    ({"address": "a.*", "body": "x"}, 400, "SB0203"),
    ({"address": "a..b", "body": "x"}, 400, "SB0202"),
    ({"address": "x", "body": "!", "encoding": "base64"}, 400, "SB0201"),
    ({"address": "x", "body": "!", "encoding": "rot13"}, 400, "SB0201"),
    ({"address": "x", "body": {"json": 1}}, 400, "SB0201"),
    ({"address": "x", "colour": "red"}, 400, "SB0201"),
    ({"address": "x", "delay": "soon"}, 400, "SB0201"),
    ({"address": "x", "body": "y" * (MIB + 1)}, 413, "SB0205"),
]


@pytest.mark.parametrize("entry,status,code", BAD_ENTRIES)
def test_one_bad_entry_refuses_all(api, topic, entry, status, code):
    api.put_topic(topic)
    entry = dict(entry)
    if entry.get("address") == "x":
        entry["address"] = topic
    good = {"address": topic, "body": "good"}
    problem(api.post("/publish", json={"messages": [good, entry, good]}), status, code)
    assert api.info(topic)["messages"] == 0


def test_batch_limits(api, topic):
    api.put_topic(topic)
    many = {"messages": [{"address": topic, "body": "x"}] * 1001}
    got = api.post("/publish", json=many)
    assert got.status_code in (400, 413), got.text
    huge = {"messages": [{"address": topic, "body": "x" * 1000000}] * 9}
    refused = api.post("/publish", json=huge)
    problem(refused, 413, "SB0205")
    assert "connection" not in refused.headers  # it was read to its end, so the connection goes on
    assert api.info(topic)["messages"] == 0
    got = api.ok("POST", "/publish", 201, json={"messages": many["messages"][:1000]}).json()
    assert len(got["messages"]) == 1000


def test_live_is_kept_nowhere(api, topic):
    got = api.publish(topic, "gone", params={"live": ""}, status=202)
    assert got["live"] is True and got["delivered"] == 0
    problem(api.get(f"/topics/{topic}"), 404, "SB0301")


def test_live_reaches_who_listens_now(api, topic):
    with api.sse(f"/topics/{topic}") as events:
        until(lambda: api.publish(topic, "now", params={"live": ""}, status=202)["delivered"] >= 1)
        assert events.next()["data"] == "now"
    problem(api.get(f"/topics/{topic}"), 404, "SB0301")


def test_live_on_a_topic_leaves_no_trace(api, topic):
    api.put_topic(topic)
    api.publish(topic, "passing", params={"live": ""}, status=202)
    assert api.info(topic)["messages"] == 0


def test_publish_creates_the_topic(api, topic):
    problem(api.get(f"/topics/{topic}/info"), 404, "SB0301")
    api.publish(topic, "x")
    assert api.info(topic)["messages"] == 1


def test_an_unclaimed_address_that_is_no_legal_name(api):
    problem(api.post("/topics/%2525", content=b""), 404, ("SB0301", "SB0307"))
    problem(api.post(f"/topics/_{unique('x')}", content=b""), 404, ("SB0301", "SB0307"))


@pytest.mark.parametrize("pattern", ["a.*", "a.%3E", "a.>", "%23", "a.%23.b", "*"])
def test_wildcards_are_refused(api, pattern):
    problem(api.post(f"/topics/{pattern}", content=b"x"), 400, "SB0203")


@pytest.mark.parametrize(
    "address", ["a..b", ".a", "a.", "a%20b", "a%00b", "a%25zz", "a%252", "%FF", ".".join(["s"] * 33), "x" * 1025]
)
def test_malformed_addresses(api, address):
    got = api.post(f"/topics/{address}", content=b"x")
    assert got.status_code in (400, 404, 414), got.text
    if got.status_code == 400:
        problem(got, 400, "SB0202")


def test_escaped_segments_survive(api):
    owner, stem = unique("owner"), unique("esc")
    api.put_topic(owner, claims=[f"{stem}.>"])
    # the segments "a.b", "c/d", "", "*", "e f": each escaped once in the address and once more in the URL
    address = f"{stem}.a%2Eb.c%2Fd.%.%2A.e%20f"
    api.publish(address.replace("%", "%25"), "x")
    assert api.read(owner)["messages"][0]["address"] == address
    assert len(api.read(f"{stem}.a%252Eb.*.*.*.*")["messages"]) == 1
    assert len(api.read(f"{stem}.*.c%252Fd.%25.%23")["messages"]) == 1


def test_the_longest_addresses(api):
    owner, stem = unique("owner"), unique("long")
    api.put_topic(owner, claims=[f"{stem}.>"])
    api.publish(f"{stem}." + "x" * (1024 - len(stem) - 1), "bytes")
    api.publish(".".join([stem] + ["s"] * 31), "segments")
    assert len(api.read(owner)["messages"]) == 2


def test_json_is_not_reprinted(api, topic):
    body = '{ "z":1,\n\t"a" : 1e400, "a":[ ] }'
    api.publish(topic, body, headers={"Content-Type": "application/json"})
    assert api.read(topic)["messages"][0]["body"] == body
