"""HTTP/2 with prior knowledge on the same port: the same surface, many requests on one connection."""

import concurrent.futures

import httpx
import pytest

from sb import background, body_of, problem


@pytest.fixture(scope="module")
def h2(server):
    with server.api(http1=False, http2=True) as client:
        yield client


def test_publish_and_read(h2, topic):
    answer = h2.ok("POST", f"/topics/{topic}", 201, content=bytes(range(256)), headers={"Sb-Key": "k"})
    assert answer.http_version == "HTTP/2"
    (message,) = h2.read(topic)["messages"]
    assert body_of(message) == bytes(range(256)) and message["key"] == "k"


def test_large_bodies_both_ways(h2, topic):
    body = bytes(range(256)) * 4096
    h2.publish(topic, body)
    assert h2.ok("GET", f"/topics/{topic}/messages/0-0").content == body
    problem(h2.post(f"/topics/{topic}", content=body + b"x"), 413, "SB0205")


def test_many_at_once(h2, topic):
    h2.put_topic(topic)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda i: h2.publish(topic, str(i))["offset"], range(200)))
    assert sorted(got) == list(range(200))


def test_long_poll_and_sse_beside_other_requests(h2, topic):
    sent = h2.publish(topic, "1")
    waiting = background(lambda: h2.read(topic, after=sent["id"], headers={"Prefer": "wait=25"}))
    with h2.sse(f"/topics/{topic}", {"from": "start"}) as events:
        assert events.next()["data"] == "1"
        h2.publish(topic, "2")
        assert events.next()["data"] == "2"
    assert [body_of(m) for m in waiting.result()["messages"]] == [b"2"]


def test_errors(h2):
    problem(h2.get("/nothing/at/all/here"), 404, ("SB0206", "SB0310"))
    got = h2.get("/livez", headers={f"h{i}": "x" * 100 for i in range(200)})
    assert got.status_code in (200, 431)


def test_too_many_headers(server):
    with server.api(http1=False, http2=True) as h2:
        try:
            assert h2.get("/livez", headers={f"h{i}": "x" * 100 for i in range(1000)}).status_code == 431
        except httpx.HTTPError:
            pass  # ending the connection is the other answer
    with server.api(http1=False, http2=True) as h2:
        h2.ok("GET", "/livez")
