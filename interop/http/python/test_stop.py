"""Stopping and starting: drain on SIGTERM, what survives a stop, a kill and a bad config."""

import json
import socket
import subprocess
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import sb
from sb import Ws, background, config, until


def test_drain(own_server):
    server = own_server()
    api = server.api()
    api.publish("t", "1")
    events = api.sse("/topics/t", {"from": "start"})
    assert events.next()["data"] == "1"
    sent = api.read("t")["next"]
    poller = server.api()
    poller.ok("GET", "/livez")  # connected
    poll = background(lambda: poller.get("/topics/t", params={"after": sent}, headers={"Prefer": "wait=50"}))
    ws = Ws(server)
    ws.ok("ping")
    plain = connect(f"{server.ws_url}/topics/t?from=start", proxy=None).__enter__()
    assert plain.recv(timeout=15) == "1"
    # a publish in flight: the head and half of the body are with the server when it is told to stop
    pipe = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    pipe.sendall(b"POST /topics/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n")
    assert pipe.recv(1000).startswith(b"HTTP/1.1 100")
    pipe.sendall(b"in ")
    with server.api() as other:  # the stream, the plain socket and the long poll are there
        until(lambda: "switchboard_readers 3\n" in other.ok("GET", "/metrics").text)
    server.terminate()
    began = time.monotonic()
    rest = events.rest()
    assert rest[-1]["event"] == "end", rest
    pipe.sendall(b"fly")
    answer = b""
    while chunk := pipe.recv(65536):
        answer += chunk
    assert answer.startswith(b"HTTP/1.1 201"), answer[:300]
    assert ws.closed() in (1001, 1012)
    with pytest.raises(ConnectionClosed):
        while True:
            plain.recv(timeout=15)
    assert plain.protocol.close_code in (1001, 1012)
    got = poll.result()
    assert got.status_code in (200, 503)
    assert server.process.wait(20) == 0 and time.monotonic() - began < 20
    with pytest.raises(httpx.HTTPError):
        httpx.get(server.url + "/livez", timeout=2, trust_env=False)
    again = own_server(folder=server.dir)
    assert again.api().bodies("t") == [b"1", b"in fly"]


def test_everything_survives_a_stop(own_server):
    server = own_server()
    api = server.api()
    sent = [api.publish("t", str(i), headers={"Sb-Key": f"k{i}"}) for i in range(50)]
    api.put_group("t", "g", attempts=5)
    taken = api.lease("t", "g", max=10, lease="1h")
    api.ack("t", "g", *taken[:4])
    api.nack("t", "g", taken[4], delay="1h")
    api.put_method("a.B/C")
    job = api.submit("a.B/C", b"in", Idempotency_Key="once")
    done = api.submit("a.B/C", b"done")
    work = {j["id"]: j for j in api.take("a.B/C", max=2)}
    api.work(work[done["id"]], "complete", content=b"out")
    api.ok("POST", "/topics/t", 201, content=b"idem", headers={"Idempotency-Key": "k"})
    before, topic = api.group("t", "g"), api.info("t")
    assert server.stop() == 0
    api = own_server(folder=server.dir).api()
    assert api.info("t")["partition"][0]["end"] == topic["partition"][0]["end"] == 51
    assert [m["id"] for m in api.read("t", limit=50)["messages"]] == [m["id"] for m in sent]
    after = api.group("t", "g")
    for figure in ("acked", "dead", "expired", "depth", "delayed", "attempts"):
        assert after[figure] == before[figure], figure
    assert api.ok("GET", f"/jobs/{done['id']}/result").content == b"out"
    assert api.job(job["id"])["state"] in ("running", "queued")
    again = api.post("/topics/t", content=b"idem", headers={"Idempotency-Key": "k"})
    assert again.headers.get("idempotency-replayed") == "true"
    again = api.submit("a.B/C", b"in", Idempotency_Key="once")
    assert again["id"] == job["id"]


def test_cursors_and_handles_survive_a_kill(own_server):
    server = own_server()
    api = server.api()
    sent = [api.publish("t", str(i)) for i in range(10)]
    api.put_group("t", "g")
    server.kill()
    api = own_server(folder=server.dir).api()
    assert api.bodies("t", after=sent[6]["id"]) == [b"7", b"8", b"9"]
    assert api.group("t", "g")["ready"] == 10


def test_a_second_server_on_the_same_data_refuses(own_server):
    server = own_server()
    file = server.dir / "second.toml"
    file.write_text(config().replace("{port}", str(sb.free_port())).replace("{dir}", str(server.dir)))
    got = subprocess.run([sb.BINARY, "serve", "-c", str(file)], capture_output=True, timeout=20)
    assert got.returncode in (1, 2), got
    server.api().ok("GET", "/livez")


def run(tmp_path, text, *arguments):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    return subprocess.run([sb.BINARY, *arguments, "-c", str(file)], capture_output=True, timeout=20, text=True)


@pytest.mark.parametrize(
    "text,code",
    [
        ('listen = ["http://127.0.0.1:0"', "SB0101"),
        ('engine = "memory"\nlistn = ["http://127.0.0.1:0"]', "SB0101"),
        ('engine = "memory"\nlisten = ["gopher://127.0.0.1:0"]', "SB0102"),
        ('engine = "tape:/dev/st0"', "SB0102"),
        ('engine = "memory"\nlisten = ["http://127.0.0.1:0"]\n[auth]\nkeys = { shop = "$NO_SUCH_VARIABLE_AT_ALL" }', "SB0103"),
        ('engine = "memory"\nlisten = ["http://0.0.0.0:0"]', "SB0104"),
    ],
)
def test_bad_configs_are_named(tmp_path, text, code):
    got = run(tmp_path, text, "serve")
    assert got.returncode == 2 and code in got.stderr, got
    assert "bad.toml" in got.stderr


def test_a_taken_port_is_named(own_server, tmp_path):
    server = own_server()
    text = f'listen = ["http://127.0.0.1:{server.port}"]\nengine = "memory"\n'
    got = run(tmp_path, text, "serve")
    assert got.returncode != 0 and "SB0105" in got.stderr, got


def test_live_readers_do_not_hold_up_a_stop(own_server):
    server = own_server(config(engine="memory"))
    api = server.api()
    api.publish("t", "x")
    pipes = []
    for _ in range(50):
        pipe = socket.create_connection(("127.0.0.1", server.port))
        pipe.sendall(b"GET /topics/t?from=start HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        pipes.append(pipe)
    until(lambda: json.loads(api.ok("GET", "/status").text)["connections"] >= 50)
    server.terminate()
    assert server.process.wait(25) == 0
