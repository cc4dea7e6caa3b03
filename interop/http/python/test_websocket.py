"""docs/http.md §5: the WebSocket subprotocol, the plain form, and what breaks a connection."""

import json
import socket
import struct

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sb import Ws, background, body_of, problem_members, unique, until

BYTES = bytes(range(256))


@pytest.fixture
def ws(server):
    with Ws(server) as one:
        yield one


def test_subprotocol_and_deflate_are_negotiated(server):
    with Ws(server) as ws:
        assert ws.raw.subprotocol == "switchboard.v1"
        assert "permessage-deflate" in ws.raw.response.headers.get("Sec-WebSocket-Extensions", "")
        big = "a" * 200000
        topic = unique("deflate")
        ws.ok("publish", address=topic, body=big)
        ws.ok("subscribe", sub="s", pattern=topic, **{"from": "start"})
        assert ws.push()["body"] == big
    with Ws(server, compression=None) as ws:
        assert "Sec-WebSocket-Extensions" not in ws.raw.response.headers
        ws.ok("ping")


def test_publish_text_binary_and_members(api, ws, topic):
    first = ws.ok("publish", address=topic, body="text", key="k", headers={"a": "b"}, content_type="text/plain")
    assert first["topic"] == topic and first["offset"] == 0 and "id" in first
    ws.ok("publish", address=topic, body="AAH/", encoding="base64")
    ws.ok("publish", BYTES, address=topic, content_type="x/y")
    one, two, three = api.read(topic)["messages"]
    assert (one["key"], one["headers"], one["content_type"], one["body"]) == ("k", {"a": "b"}, "text/plain", "text")
    assert body_of(two) == b"\x00\x01\xff"
    assert body_of(three) == BYTES and three["content_type"] == "x/y"


def test_publish_is_idempotent(api, ws, topic):
    key = unique("key")
    first = ws.ok("publish", address=topic, body="x", idempotency_key=key)
    again = ws.ok("publish", address=topic, body="x", idempotency_key=key)
    assert (first["partition"], first["offset"]) == (again["partition"], again["offset"])
    ws.error("publish", "SB0306", address=topic, body="y", idempotency_key=key)
    assert len(api.read(topic)["messages"]) == 1


def test_subscribe_delivers_text_and_binary(api, ws, topic):
    api.publish(topic, "ä")
    api.publish(topic, BYTES, headers={"Sb-Key": "k", "Content-Type": "x/y"})
    ws.ok("subscribe", sub="s", pattern=topic, **{"from": "start"})
    text, raw = ws.push(), ws.push()
    assert text["op"] == "message" and text["sub"] == "s" and text["body"] == "ä" and not text["_binary"]
    assert raw["_binary"] and raw["_bytes"] == BYTES and raw["key"] == "k" and raw["content_type"] == "x/y"
    assert "body" not in raw and raw["topic"] == topic and raw["offset"] == 1 and raw["id"]
    live = api.publish(topic, "live")
    assert ws.push()["id"] == live["id"]


def test_credit(api, ws, topic):
    for i in range(10):
        api.publish(topic, str(i))
    ws.ok("subscribe", sub="s", pattern=topic, credit=3, **{"from": "start"})
    assert [ws.push()["body"] for _ in range(3)] == ["0", "1", "2"]
    assert ws.silent()
    ws.send({"op": "credit", "sub": "s", "n": 2})
    assert [ws.push()["body"] for _ in range(2)] == ["3", "4"]
    assert ws.silent()
    ws.send({"op": "credit", "sub": "s", "n": 100})
    assert [ws.push()["body"] for _ in range(5)] == ["5", "6", "7", "8", "9"]


def test_resume_on_a_new_connection(api, server, topic):
    for i in range(10):
        api.publish(topic, str(i))
    with Ws(server) as ws:
        ws.ok("subscribe", sub="s", pattern=topic, credit=4, **{"from": "start"})
        last = [ws.push() for _ in range(4)][-1]
    with Ws(server) as ws:
        ws.ok("subscribe", sub="s", pattern=topic, after=last["id"])
        assert [ws.push()["body"] for _ in range(6)] == ["4", "5", "6", "7", "8", "9"]


def test_several_subscriptions_and_unsubscribe(api, ws):
    one, two = unique("one"), unique("two")
    api.put_topic(one)
    api.put_topic(two)
    ws.ok("subscribe", sub="a", pattern=one, **{"from": "start"})
    ws.ok("subscribe", sub="b", pattern=two, **{"from": "start"})
    api.publish(one, "1")
    assert (lambda m: (m["sub"], m["body"]))(ws.push()) == ("a", "1")
    ws.ok("unsubscribe", sub="a")
    api.publish(one, "2")
    api.publish(two, "3")
    assert (lambda m: (m["sub"], m["body"]))(ws.push()) == ("b", "3")
    ws.error("unsubscribe", sub="a")
    ws.error("subscribe", sub="b", pattern=one)  # the name is taken


def test_wildcards(api, ws):
    stem = unique("w")
    for tail in ("a", "b.c"):
        api.publish(f"{stem}.{tail}", tail)
    ws.ok("subscribe", sub="s", pattern=f"{stem}.#", **{"from": "start"})
    assert {ws.push()["body"], ws.push()["body"]} == {"a", "b.c"}


def test_live_addresses(server, ws, topic):
    ws.ok("subscribe", sub="s", pattern=topic)
    with Ws(server) as other:
        got = other.ok("publish", address=topic, body="now", live=True)
        assert got.get("live") is True and got["delivered"] == 1
    message = ws.push()
    assert message["body"] == "now" and "id" not in message


def test_lease_ack_nack_extend(api, ws, topic):
    api.put_topic(topic)
    api.put_group(topic, "g")
    for body in (b"1", b"2", BYTES):
        api.publish(topic, body)
    messages = ws.ok("lease", topic=topic, group="g", max=2, wait="10s", lease="30s")["messages"]
    assert [m["body"] for m in messages] == ["1", "2"]
    done, back = [m["handle"] for m in messages]
    assert ws.ok("extend", handles=[done], lease="60s")["results"][0]["ok"] is True
    assert ws.ok("ack", handles=[done])["results"] == [{"handle": done, "ok": True}]
    assert ws.ok("nack", handles=[back], delay="1h")["results"][0]["ok"] is True
    ws.error("ack", "SB0402", handles=[done])
    (raw,) = ws.ok("lease", topic=topic, group="g", max=5, wait="10s")["messages"]
    assert body_of(raw) == BYTES
    assert ws.ok("lease", topic=topic, group="g", max=1, wait="0s")["messages"] == []
    figures = api.group(topic, "g")
    assert (figures["acked"], figures["delayed"], figures["leased"]) == (1, 1, 1)


def test_a_waiting_lease_does_not_block_the_connection(api, ws, topic):
    api.put_group(topic, "g")
    ws.send({"op": "lease", "id": 9999, "topic": topic, "group": "g", "max": 1, "wait": "25s"})
    ws.ok("ping")
    api.publish(topic, "x")
    got = ws.push()
    assert got["id"] == 9999 and got["messages"][0]["body"] == "x"


def test_call(api, server, ws, method):
    def work():
        job = api.take_one(method)
        api.work(job, "complete", content=body_of(job)[::-1], headers={"Content-Type": job["content_type"]})

    worker = background(work)
    got = ws.ok("call", method=method, content_type="text/plain", body="abc")
    worker.result()
    assert got["content_type"] == "text/plain" and body_of(got) == b"cba"
    worker = background(work)
    got = ws.ok("call", BYTES, method=method, content_type="x/y")
    worker.result()
    assert body_of(got) == BYTES[::-1]
    ws.error("call", "SB0310", method="no.such/Method", body="")


def test_async_call_and_job_events(api, ws, method):
    key = unique("key")
    got = ws.ok("call", method=method, body="in", idempotency_key=key, **{"async": True})
    job = got.get("job", got)
    ident = job["id"] if isinstance(job.get("id"), str) else api.ok("GET", "/jobs", params={"method": method}).json()["jobs"][0]["id"]
    ws.ok("job", sub="j", job=ident, after=0)
    taken = api.take_one(method)
    api.work(taken, "progress", json={"p": 1})
    api.work(taken, "complete", content=b"out")
    seen = []
    while (got := ws.push())["op"] != "end":
        assert got["op"] == "event" and got["sub"] == "j"
        seen.append(got)
    assert got["sub"] == "j"
    assert [e.get("state") for e in seen if e["type"] == "state"] == ["queued", "running", "succeeded"]
    ws.error("job", "SB0401", sub="k", job="nothing")


def test_subscribing_by_the_path(api, server, topic):
    api.publish(topic, "x")
    with Ws(server, f"/topics/{topic}?from=start") as ws:
        got = ws.push()
        assert (got["op"], got["sub"], got["body"]) == ("message", "0", "x")
        ws.ok("publish", address=topic, body="y")
        assert ws.push()["body"] == "y"


def test_plain_websocket(api, server, topic):
    api.publish(topic, "text")
    api.publish(topic, BYTES)
    with connect(f"{server.ws_url}/topics/{topic}?from=start", proxy=None) as ws:
        assert ws.recv(timeout=15) == "text" and ws.recv(timeout=15) == BYTES
        ws.send("sent as text")
        ws.send(b"\x00sent as bytes\xff")
        assert ws.recv(timeout=15) == "sent as text" and ws.recv(timeout=15) == b"\x00sent as bytes\xff"
    assert api.bodies(topic)[2:] == [b"sent as text", b"\x00sent as bytes\xff"]


def test_gone_positions_reset(api, ws, topic):
    api.put_topic(topic, keep_bytes=256 * 1024)
    first = api.publish(topic, b"a" * 60000)

    def shrunk():
        api.publish(topic, b"a" * 60000)
        return api.info(topic)["partition"][0]["start"] > 1

    until(shrunk)
    got = ws.ask("subscribe", sub="s", pattern=topic, after=first["id"])
    if got["op"] == "ok":
        got = ws.push()
        assert got["op"] == "reset" and got["sub"] == "s"
    problem_members(got["problem"], 410, "SB0305")


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[]",
        "null",
        '"x"',
        "",
        '{"op":"dance","id":1}',
        '{"id":1}',
        '{"op":"publish","id":1}',
        '{"op":"publish","id":1,"address":"a.*","body":""}',
        '{"op":"publish","id":1,"address":"a","body":{}}',
        '{"op":"publish","id":1,"address":"a","colour":"red"}',
        '{"op":"subscribe","id":1,"sub":"s","pattern":"a..b"}',
        '{"op":"subscribe","id":1,"sub":"s","pattern":"a","credit":-1}',
        '{"op":"subscribe","id":1,"sub":"s","pattern":"a","after":"forged"}',
        '{"op":"lease","id":1,"topic":"nosuch","group":"g","max":1,"wait":"0s"}',
        '{"op":"ack","id":1,"handles":["forged"]}',
        "[" * 100000,
        '{"op":"ping","id":1,"op":' + '{"a":' * 5000 + "1" + "}" * 5001,
    ],
)
def test_bad_requests_are_answered_and_the_connection_lives(ws, frame):
    ws.raw.send(frame)
    got = ws.recv()
    assert got["op"] == "error", got
    problem_members(got["problem"])
    assert 400 <= got["problem"]["status"] < 500
    ws.ok("ping")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00\x00\x00",
        struct.pack(">I", 0xFFFFFFFF) + b"{}",
        struct.pack(">I", 100) + b"{}",
        struct.pack(">I", 2) + b"{x",
        struct.pack(">I", 1) + b"\xff",
    ],
)
def test_bad_binary_frames(server, frame):
    """Either an error answer or a protocol close, and never a hang."""
    with Ws(server) as ws:
        ws.raw.send(frame)
        try:
            assert ws.recv()["op"] == "error"
        except Exception:
            assert ws.closed() in (1002, 1003, 1007)


def test_bad_utf8_closes_1007(server):
    with Ws(server) as ws:
        ws.raw.send(b'{"op":"ping","id":1,"x":"\xff\xfe"}', text=True)
        assert ws.closed() == 1007


def test_oversized_closes_1009(server):
    with Ws(server, compression=None) as ws:
        try:
            ws.raw.send("x" * (80 << 20))
        except Exception:
            pass  # closed while we were still sending
        assert ws.closed() == 1009


def test_a_deflate_bomb_closes_1009(server):
    with Ws(server) as ws:
        try:
            ws.raw.send("0" * (80 << 20))
        except Exception:
            pass
        assert ws.closed() == 1009


def test_one_over_the_message_limit_is_refused(api, ws, topic):
    api.put_topic(topic)
    ws.ok("publish", bytes(1 << 20), address=topic)
    try:
        got = ws.ask("publish", bytes((1 << 20) + 1), address=topic)
        assert got["op"] == "error" and got["problem"]["code"] == "SB0205"
    except Exception as closed:
        assert "1009" in str(closed)
    assert api.info(topic)["messages"] == 1


def test_unmasked_and_reserved_frames_close_1002(server):
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    head = (
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: switchboard.v1\r\n\r\n"
    ).encode()
    for frame in (
        b"\x81\x02{}",  # not masked
        b"\xf1\x82\x00\x00\x00\x00{}",  # reserved bits
        b"\x83\x82\x00\x00\x00\x00{}",  # a reserved opcode
        b"\x09\x80\x00\x00\x00\x00",  # a fragmented ping
        b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + b"x" * 126,  # a long ping
        b"\x80\x82\x00\x00\x00\x00{}",  # a continuation of nothing
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",  # an absurd length
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=15) as pipe:
            pipe.sendall(head)
            answer = b""
            while b"\r\n\r\n" not in answer:
                got = pipe.recv(4096)
                assert got, answer
                answer += got
            assert answer.startswith(b"HTTP/1.1 101"), answer[:200]
            assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
            pipe.sendall(frame)
            rest = b""
            while len(rest) < 4 and (got := pipe.recv(4096)):
                rest += got
        assert rest[:1] == b"\x88", rest
        assert struct.unpack(">H", rest[2:4])[0] in (1002, 1009), rest


def test_fragments_and_pings(ws):
    ws.raw.send(iter(['{"op":"pi', 'ng","id"', ":77}"]))
    got = ws.recv()
    assert got["op"] == "ok" and got["id"] == 77
    assert ws.raw.ping(b"payload").wait(15)


@pytest.mark.parametrize(
    "headers,status",
    [
        ({"Sec-WebSocket-Version": "12"}, (400, 426)),
        ({"Sec-WebSocket-Key": "short"}, (400,)),
        ({"Sec-WebSocket-Key": None}, (400,)),
    ],
)
def test_bad_handshakes(server, headers, status):
    sent = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade, close",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **headers,
    }
    lines = "".join(f"{k}: {v}\r\n" for k, v in sent.items() if v is not None)
    raw = server.raw(f"GET /ws HTTP/1.1\r\n{lines}\r\n".encode(), timeout=3)
    assert int(raw.split()[1]) in status, raw[:200]


def test_an_unknown_subprotocol_is_not_selected(server):
    with connect(f"{server.ws_url}/topics/{unique('x')}", subprotocols=["soap"], proxy=None) as ws:
        assert ws.subprotocol is None


def test_ws_on_an_unknown_path(server):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{server.ws_url}/nothing/here/at/all", proxy=None).__enter__()
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["code"] in ("SB0206", "SB0310")
