"""JSON-RPC as the library jsonrpcclient speaks it, over HTTP and WebSocket, against the services of the test server.

RPC_SERVER is the example program `rpc` of the suite; without it `target/debug/examples/rpc`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import jsonrpcclient
from jsonrpcclient import Error, Ok, notification, request
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("RPC_SERVER", str(ROOT / "target/debug/examples/rpc"))


def unary(url):
    answer = httpx.post(f"{url}/rpc", json=request("toy.v1.Toy/Greet", params={"name": "Ada", "id": 7}))
    parsed = jsonrpcclient.parse(answer.json())
    assert isinstance(parsed, Ok) and parsed.result["text"] == "Hello, Ada!", parsed


def by_position(url):
    answer = httpx.post(f"{url}/rpc/spec.v1.Examples", json=request("subtract", params=[42, 23]))
    assert jsonrpcclient.parse(answer.json()).result == 19


def errors(url):
    for method, params, code in [
        ("toy.v1.Toy/Nothing", {}, -32601),
        ("toy.v1.Toy/Twice", ["x", "y"], -32602),
        ("toy.v1.Toy/Fail", {"code": "NOT_FOUND", "message": "no such thing"}, -32005),
        ("toy.v1.Toy/Count", {"to": 1}, -32012),
    ]:
        answer = httpx.post(f"{url}/rpc", json=request(method, params=params))
        parsed = jsonrpcclient.parse(answer.json())
        assert answer.status_code == 200 and isinstance(parsed, Error) and parsed.code == code, parsed


def batches_and_notifications(url):
    batch = [request("subtract", params=[5, 3]), notification("update", params=[1, 2, 3, 4, 5]), request("sum", params=[1, 2, 4])]
    answer = httpx.post(f"{url}/rpc/spec.v1.Examples", json=batch)
    assert [part.result for part in jsonrpcclient.parse(answer.json())] == [2, 7]
    answer = httpx.post(f"{url}/rpc/spec.v1.Examples", json=notification("notify_hello", params=[7]))
    assert (answer.status_code, answer.content) == (204, b"")


def subscription(url):
    with connect(url.replace("http", "ws") + "/rpc") as socket:
        socket.send(json.dumps(request("toy.v1.Toy/Count", params={"to": 3}, id="a")))
        answer = jsonrpcclient.parse(json.loads(socket.recv(timeout=20)))
        items = []
        while True:
            note = json.loads(socket.recv(timeout=20))
            assert note["method"] == "subscription" and note["params"]["subscription"] == answer.result
            if note["params"].get("end"):
                break
            items.append(note["params"]["result"]["n"])
        assert items == [1, 2, 3]


def events(url):
    body = request("toy.v1.Toy/Count", params={"to": 2}, id=1)
    with httpx.stream("POST", f"{url}/rpc", json=body, headers={"accept": "text/event-stream"}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        data = [json.loads(line[5:]) for line in answer.iter_lines() if line.startswith("data:")]
    assert data[0]["id"] == 1 and [d["params"].get("end") for d in data[1:]] == [None, None, True]


def jobs(url):
    body = request("toy.v1.Work/Render", params={"name": "Ada"}) | {"sb": {"async": True, "wait": "20s"}}
    result = jsonrpcclient.parse(httpx.post(f"{url}/rpc", json=body, timeout=30).json()).result
    assert result["state"] == "succeeded" and result["result"] == {"text": "rendered"}, result
    assert httpx.get(url + result["url"]).json()["state"] == "succeeded"


def discovery(url):
    document = jsonrpcclient.parse(httpx.post(f"{url}/rpc", json=request("rpc.discover")).json()).result
    greet = next(m for m in document["methods"] if m["name"] == "toy.v1.Toy/Greet")
    assert document["openrpc"].startswith("1.") and [p["name"] for p in greet["params"]][0] == "name"
    assert greet["params"][0]["schema"]["type"] == "string", greet


def main():
    server = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    failed = 0
    tests = [unary, by_position, errors, batches_and_notifications, subscription, events, jobs, discovery]
    try:
        url = server.stdout.readline().strip()
        for test in tests:
            try:
                test(url)
                print(f"ok {test.__name__}")
            except Exception as error:
                failed += 1
                print(f"FAILED {test.__name__}: {error!r}")
    finally:
        server.stdin.close()
        server.wait(timeout=20)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
