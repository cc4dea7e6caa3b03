"""Input nobody sane sends: the server answers or closes, keeps serving, and stays small."""

import os
import random
import socket
import time

import pytest

from sb import background, config, head_of, unique, until

CONFIG = config()
GOOD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module", autouse=True)
def stays_small(server):
    """Runs around the whole module: nothing here may leave more than 64 MiB behind."""
    before = server.rss_kib()
    yield
    with server.api() as api:
        api.ok("GET", "/livez")
    # what is free goes back to the system every few seconds
    until(lambda: server.rss_kib() - before < 64 * 1024, what="less than 64 MiB more than before the bad input")


@pytest.fixture(autouse=True)
def still_serving(api):
    yield
    api.ok("GET", "/livez")
    assert api.server.process.poll() is None


@pytest.mark.parametrize(
    "length", ["99999999999999999999999999", "18446744073709551616", "-1", "+5", "0x10", "1e3", "5, 6", "", "abc"]
)
def test_content_length_that_is_no_number(server, length):
    raw = server.raw(f"POST /topics/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\nhello".encode(), close_write=True)
    assert head_of(raw)[0] in (0, 400, 413), raw[:200]


@pytest.mark.parametrize("length", ["9223372036854775807", "18446744073709551615", "1099511627776", "1048577"])
def test_content_length_beyond_the_limit(server, length):
    began = time.monotonic()
    raw = server.raw(f"POST /topics/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\nhello".encode(), 8)
    status, fields = head_of(raw)
    assert status in (400, 413) and time.monotonic() - began < 12, raw[:200]
    if status == 413:
        assert fields["content-type"].startswith("application/problem+json") and b"SB0205" in raw


SMUGGLING = [
    b"POST /topics/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"POST /topics/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    b"POST /topics/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST /topics/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST /topics/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST /topics/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
    b"POST /topics/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"POST /topics/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nBad Name: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nName: a\x00b\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\n: empty\r\n\r\n",
    b"GET /li\x00vez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET  /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /livez HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\r\n\r\n\r\n\x00\x01\x02",
]


@pytest.mark.parametrize("data", SMUGGLING, ids=range(len(SMUGGLING)))
def test_ambiguous_requests_get_one_refusal(server, data):
    raw = server.raw(data, 5, close_write=True)
    answers = raw.count(b"HTTP/1.1 ")
    assert answers <= 1, raw[:400]
    assert b"smuggled" not in raw
    status = head_of(raw)[0] if raw.startswith(b"HTTP/") else 0
    if status == 201:  # length and coding both given: reading the chunks and closing is the other allowed way
        assert b"Content-Length: 5\r\nTransfer-Encoding: chunked" in data
    else:
        assert status == 0 or 400 <= status < 600, raw[:200]


def test_header_list_too_large(server):
    for many in (b"".join(b"H%d: x\r\n" % i for i in range(300)), b"H: " + b"x" * 70000 + b"\r\n"):
        raw = server.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n", 8)
        assert head_of(raw)[0] in (0, 431), raw[:200]


def test_a_hundred_thousand_headers(server):
    data = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"H%d: x\r\n" % i for i in range(100000)) + b"\r\n"
    raw = server.raw(data, 10)
    assert head_of(raw)[0] in (0, 431), raw[:200]


def test_a_path_without_end(server):
    raw = server.raw(b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 8)
    assert head_of(raw)[0] in (0, 400, 414, 431), raw[:200]


def test_a_query_of_many_parameters(api):
    got = api.get(f"/topics/{unique('q')}?" + "&".join(f"limit={i}" for i in range(3000)))
    assert 400 <= got.status_code < 500


def test_noise(server):
    rng = random.Random(7)
    for size in (1, 10, 100, 5000, 100000):
        raw = server.raw(rng.randbytes(size), 3, close_write=True)
        assert not raw.startswith(b"HTTP/1.1 2")
    for first in (b"AMQP\x00\x00\x09\x01", b"\x16\x03\x01\x02\x00\x01", b"\x10\x10\x00\x04MQTT", b"*1\r\n$4\r\nPING\r\n"):
        server.raw(first, 3, close_write=True)


def test_http2_noise(server):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    for frames in (
        b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",  # a frame of 16 MiB
        b"\x00\x00\x08\x06\x00\x00\x00\x00\x01" + b"x" * 8,  # a ping on a request
        b"\x00\x00\x05\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff\xff",  # broken header compression
        b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",  # a window of nothing
        b"\x00\x00\x00\x09\x04\x00\x00\x00\x01",  # a continuation of nothing
    ):
        raw = server.raw(preface + settings + frames, 5, close_write=True)
        assert b"\x07" in raw or raw == b"" or raw.startswith(b"\x00")


def test_rapid_reset(server, api):
    """Opens and cancels requests faster than they can be served (CVE-2023-44487)."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    frames = bytearray(preface)
    for i in range(1, 40001, 2):
        number = i.to_bytes(4, "big")
        frames += b"\x00\x00\x03\x01\x05" + number + b"\x82\x84\x86"  # GET / http
        frames += b"\x00\x00\x04\x03\x00" + number + b"\x00\x00\x00\x08"
    busy = background(lambda: server.raw(bytes(frames), 5, close_write=True))
    api.ok("GET", "/livez")
    busy.result()


def test_slow_clients_are_closed(server):
    """No bytes, half a request line, half a head, a byte now and then: all are gone after 10 to 15 s."""

    def silent(data, drip=b""):
        with socket.create_connection(("127.0.0.1", server.port), timeout=1) as pipe:
            began = time.monotonic()
            if data:
                pipe.sendall(data)
            while time.monotonic() - began < 25:
                try:
                    if drip:
                        pipe.sendall(drip)
                    if pipe.recv(65536) == b"":
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            return time.monotonic() - began

    clients = {
        "nothing": background(lambda: silent(b"")),
        "half a line": background(lambda: silent(b"GET /li")),
        "half a head": background(lambda: silent(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")),
        "a drip": background(lambda: silent(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", b"A: b\r\n")),
        "half a preface": background(lambda: silent(b"PRI * HTTP/2.0\r\n")),
    }
    for name, client in clients.items():
        took = client.result(40)
        assert 9 <= took < 25, f"{name}: closed after {took:.1f} s"


def test_a_body_that_stops_does_not_hold_anything(server, api):
    topic = unique("half")
    api.put_topic(topic)
    head = f"POST /topics/{topic} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode()
    for _ in range(50):
        server.raw(head + b"x" * 500, 5, close_write=True)
    assert api.info(topic)["messages"] == 0


def test_many_connections_that_only_open(server, api):
    pipes = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(500)]
    api.ok("GET", "/livez")
    for pipe in pipes:
        pipe.close()


def test_pipelined_requests_are_answered_in_order(server):
    raw = server.raw(GOOD.replace(b"Connection: close\r\n", b"") * 20 + GOOD)
    assert raw.count(b"HTTP/1.1 200") == 21


def test_request_bodies_of_a_gigabyte_are_cut_off(server):
    def chunks():
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as pipe:
            pipe.sendall(b"POST /topics/big HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            sent = 0
            block = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
            try:
                while sent < 1 << 30:
                    pipe.sendall(block)
                    sent += 1 << 20
            except OSError:
                pass
            return sent

    assert chunks() < 64 << 20


def test_sse_readers_that_never_read(server, api):
    """A reader that stops reading costs a bounded amount, and others go on."""
    topic = unique("slow")
    api.put_topic(topic)
    lazy = []
    for _ in range(20):
        pipe = socket.create_connection(("127.0.0.1", server.port))
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        pipe.sendall(f"GET /topics/{topic}?from=start HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
        lazy.append(pipe)
    block = os.urandom(1 << 19).hex().encode()
    before = server.rss_kib()
    for _ in range(40):
        api.publish(topic, block)
    with api.sse(f"/topics/{topic}", {"from": "start"}) as events:
        assert all(e["data"].encode() == block for e in events.take(40))
    assert server.rss_kib() - before < 256 * 1024
    for pipe in lazy:
        pipe.close()
    api.ok("DELETE", f"/topics/{topic}", 204)
