"""gql, the Python client, over HTTP and over a WebSocket, against the services of the example."""

import asyncio
import os
import pathlib
import subprocess

import pytest
from gql import Client, GraphQLRequest, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.exceptions import TransportQueryError

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("GRAPHQL_SERVICES") or ROOT / "target/debug/examples/services"


@pytest.fixture(scope="module")
def url():
    process = subprocess.Popen([BINARY, "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip()
    process.stdin.close()
    assert process.wait(timeout=20) == 0


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def test_query_checked_against_the_fetched_schema(url):
    async def go():
        transport = AIOHTTPTransport(url=url)
        async with Client(transport=transport, fetch_schema_from_transport=True) as session:
            request = GraphQLRequest(
                "query($id: Int64) { user(id: $id) { name posts { title } friends { name since } } }",
                variable_values={"id": "9007199254740993"},
            )
            return await session.execute(request)

    user = run(go())["user"]
    assert user["name"] == "user 9007199254740993"
    assert [p["title"] for p in user["posts"]] == ["first of 9007199254740993", "second of 9007199254740993"]
    assert user["friends"][0]["since"] == "2026-11-28T10:00:00Z"


def test_an_error_keeps_its_code(url):
    async def go():
        async with Client(transport=AIOHTTPTransport(url=url)) as session:
            await session.execute(gql("{ getUser(id: 404) { name } }"))

    with pytest.raises(TransportQueryError) as caught:
        run(go())
    assert caught.value.errors[0]["extensions"]["code"] == "NOT_FOUND"
    assert caught.value.data == {"getUser": None}


def test_subscription(url):
    async def go():
        transport = AIOHTTPWebsocketsTransport(url=url.replace("http", "ws"))
        async with Client(transport=transport) as session:
            query = gql("subscription { watch(until: 12) { cursor user { name } } }")
            return [item["watch"]["cursor"] async for item in session.subscribe(query)]

    assert run(go()) == [str(n) for n in range(1, 13)]
