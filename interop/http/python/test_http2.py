"""HTTP/2 with prior knowledge on the same port: the same surface, many requests on one connection."""

import asyncio
import concurrent.futures

import httpx
import pytest

from sb import body_of, problem


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


def test_long_poll_and_sse_beside_other_requests(server, h2, topic):
    """All on one connection. In tasks, not threads: of two threads that wait on one connection httpcore lets one read what is
    meant for the other and read on, so that the other sees its event only when something else arrives."""
    sent = h2.publish(topic, "1")

    async def talk():
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(
            base_url=server.url, http1=False, http2=True, limits=limits, timeout=30, trust_env=False
        ) as client:
            path = f"/topics/{topic}"
            waiting = asyncio.create_task(
                client.get(path, params={"after": sent["id"]}, headers={"Prefer": "wait=25"})
            )
            events = {"Accept": "text/event-stream"}
            async with client.stream("GET", path, params={"from": "start"}, headers=events) as stream:
                data = (line.removeprefix("data: ") async for line in stream.aiter_lines() if line.startswith("data:"))
                assert await anext(data) == "1"
                assert not waiting.done()
                assert (await client.post(path, content=b"2")).status_code == 201
                assert await anext(data) == "2"
                return (await waiting).json()["messages"]

    assert [body_of(m) for m in asyncio.run(talk())] == [b"2"]


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
