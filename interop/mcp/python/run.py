"""MCP as the official Python SDK speaks it, with sessions and without, against the services of the test server.

RPC_SERVER is the example program `rpc` of the suite; without it `target/debug/examples/rpc`.
"""

import asyncio
import base64
import os
import subprocess
import sys
import traceback
import urllib.error
import urllib.request
from pathlib import Path

from mcp import Client, MCPError
from mcp_types import ResourceUpdatedNotification

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("RPC_SERVER", str(ROOT / "target/debug/examples/rpc"))


def publish(url, topic, body, content_type="text/plain"):
    request = urllib.request.Request(f"{url}/topics/{topic}", data=body, headers={"Content-Type": content_type})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201


async def tools(url, mode):
    async with Client(f"{url}/mcp", mode=mode) as client:
        assert client.server_capabilities.prompts is None
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        greet = listed["toy_v1_Toy_Greet"]
        assert greet.description == "Greets a person." and greet.annotations.read_only_hint is True
        assert greet.input_schema["properties"]["name"]["type"] == "string" and "toy_v1_Toy_Sum" not in listed
        result = await client.call_tool("toy_v1_Toy_Greet", {"name": "Ada", "id": "7"})
        assert not result.is_error and result.structured_content == {"text": "Hello, Ada!", "id": "7"}, result
        assert "Hello, Ada!" in result.content[0].text
        twice = await client.call_tool("toy_v1_Toy_Twice", {"value": 21})
        assert twice.structured_content == {"value": 42}
        assert (await client.call_tool("toy.v1.Toy/Twice", {"value": 1})).structured_content == {"value": 2}
        return client.protocol_version


async def failures(url, mode):
    async with Client(f"{url}/mcp", mode=mode) as client:
        failed = await client.call_tool("toy_v1_Toy_Fail", {"code": "NOT_FOUND", "message": "no such thing"})
        assert failed.is_error and failed.content[0].text == "NOT_FOUND: no such thing"
        error = failed.meta["switchboard/error"]
        assert error["code"] == "NOT_FOUND" and error["details"][0]["reason"] == "TOY", error
        wrong = await client.call_tool("toy_v1_Toy_Greet", {})
        assert wrong.is_error and wrong.meta["switchboard/error"]["code"] == "INVALID_ARGUMENT"
        try:
            await client.call_tool("no_such_tool", {})
            raise AssertionError("a tool that does not exist")
        except MCPError as error:
            assert error.code == -32602


async def progress(url, mode):
    async with Client(f"{url}/mcp", mode=mode) as client:
        for tool, arguments, told in [("toy_v1_Toy_Count", {"to": 3, "pauseMs": 20}, 3), ("toy_v1_Work_Render", {"name": "x"}, 1)]:
            seen = []

            async def note(now, total, message):
                seen.append((now, message))

            result = await client.call_tool(tool, arguments, progress_callback=note)
            assert not result.is_error, result
            assert [now for now, _ in seen] == list(range(1, told + 1)), seen
        result = await client.call_tool("toy_v1_Toy_Count", {"to": 2})
        assert [item["n"] for item in result.structured_content["items"]] == [1, 2]


async def resources(url, mode):
    topic = f"letters-{mode}"
    publish(url, topic, b"one")
    publish(url, topic, b"\xff\x00", "application/octet-stream")
    async with Client(f"{url}/mcp", mode=mode) as client:
        assert f"sb://topics/{topic}" in [resource.uri for resource in (await client.list_resources()).resources]
        assert len((await client.list_resource_templates()).resource_templates) == 2
        contents = (await client.read_resource(f"sb://topics/{topic}")).contents
        assert contents[0].text == "one" and contents[0].mime_type == "text/plain", contents
        assert base64.b64decode(contents[1].blob) == b"\xff\x00"
        assert (await client.read_resource(contents[0].uri)).contents[0].text == "one"
        for missing in ["sb://topics/nothing-here", "sb://other/x", f"sb://topics/{topic}/0-99"]:
            try:
                await client.read_resource(missing)
                raise AssertionError(missing)
            except MCPError as error:
                assert error.code == (-32002 if mode == "legacy" else -32602), error


async def notified(url, mode):
    topic, told = f"news-{mode}", asyncio.Queue()
    publish(url, topic, b"old")
    uri = f"sb://topics/{topic}"

    async def on(message):
        if isinstance(message, ResourceUpdatedNotification):
            await told.put(message.params.uri)

    async with Client(f"{url}/mcp", mode=mode, message_handler=on) as client:
        if mode == "legacy":
            await client.subscribe_resource(uri)
            publish(url, topic, b"new")
            assert await asyncio.wait_for(told.get(), 20) == uri
        else:
            async with client.listen(resource_subscriptions=[uri]) as listening:
                assert listening.honored.resource_subscriptions == [uri]
                publish(url, topic, b"new")
                event = await asyncio.wait_for(anext(listening), 20)
                assert event.uri == uri, event


async def logs(url, mode):
    if mode != "legacy":
        return
    told = asyncio.Queue()

    async def log(params):
        await told.put(params.data)

    async with Client(f"{url}/mcp", mode=mode, logging_callback=log) as client:
        await client.set_logging_level("info")
        await client.call_tool("toy_v1_Work_Render", {"name": "x"})
        assert await asyncio.wait_for(told.get(), 20) == "rendering"


async def strangers(url, _):
    def post(headers, body=b"{}"):
        accept = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{url}/mcp", data=body, headers=accept | headers)) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert post({"Origin": "http://evil.example"}) == 403
    assert post({"Origin": "http://evil.example", "Host": "evil.example"}) == 403
    assert post({}, b"not json") == 400
    assert post({"Mcp-Session-Id": "nobody"}, b'{"jsonrpc":"2.0","id":1,"method":"ping"}') == 404


async def main():
    server = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    failed = passed = 0
    try:
        url = server.stdout.readline().strip()
        for mode in ["legacy", "auto"]:
            for test in [tools, failures, progress, resources, notified, logs, strangers]:
                try:
                    version = await asyncio.wait_for(test(url, mode), 60)
                    passed += 1
                    print(f"ok {test.__name__} ({version or mode})")
                except Exception as error:
                    failed += 1
                    traceback.print_exc()
                    print(f"FAILED {test.__name__} ({mode}): {error!r}")
    finally:
        server.stdin.close()
        server.wait(timeout=20)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
