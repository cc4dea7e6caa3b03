"""HTTP/2 with prior knowledge on the same port: the same surface, many requests on one connection."""

import asyncio

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


def at_once(server):
    """For many requests on one connection. In tasks, not threads: httpcore's state of an HTTP/2 connection is not made for threads.
    They send streams out of order, and read and keep waiting for what another one has read."""
    return httpx.AsyncClient(
        base_url=server.url,
        http1=False,
        http2=True,
        limits=httpx.Limits(max_connections=1),
        timeout=30,
        trust_env=False,
    )


def test_many_at_once(server, h2, topic):
    h2.put_topic(topic)

    async def talk():
        async with at_once(server) as client:
            return await asyncio.gather(*(client.post(f"/topics/{topic}", content=str(i)) for i in range(200)))

    answers = asyncio.run(talk())
    assert {answer.status_code for answer in answers} == {201}
    assert sorted(answer.json()["offset"] for answer in answers) == list(range(200))
    assert sorted(map(int, h2.bodies(topic, from_="start", limit=1000))) == list(range(200))


def test_long_poll_and_sse_beside_other_requests(server, h2, topic):
    sent = h2.publish(topic, "1")
    path = f"/topics/{topic}"

    async def talk():
        async with at_once(server) as client:
            waits = {"Prefer": "wait=25"}
            waiting = asyncio.create_task(client.get(path, params={"after": sent["id"]}, headers=waits))
            events = {"Accept": "text/event-stream"}
            async with client.stream("GET", path, params={"from": "start"}, headers=events) as stream:
                lines = stream.aiter_lines()
                data = (line.removeprefix("data: ") async for line in lines if line.startswith("data:"))
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
