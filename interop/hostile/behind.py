"""What is behind the server misbehaves: every protocol tells its caller so, with the same code; nothing is left over. Deadlines and cancellation
reach the upstream."""

import json
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import upstreams
import wire
from site_under_test import PROTOCOLS, TIMED, until

DEAD = {"UNAVAILABLE"}


def cases(site):
    modes = {name: codes for _, modes in upstreams.SCHEMES for name, (_, codes) in modes.items()}
    modes |= {"Dead": DEAD, "HttpDead": DEAD, "ThriftDead": DEAD, "RpcDead": DEAD}
    misbehaving(site, modes)
    cancelled(site)
    deadlines(site)
    workers(site)
    limits(site)


def misbehaving(site, modes):
    site.checks.group = "upstream"

    def one(job):
        name, protocol = job
        more = {"seconds": 1.0} if protocol in TIMED else {}
        return job, site.call(protocol, name, **more)

    # Those that answer, over everything; those that do not, over those that say how long they wait.
    jobs = [(n, p) for n, codes in modes.items() for p in PROTOCOLS if "DEADLINE_EXCEEDED" not in codes or p in TIMED]
    with ThreadPoolExecutor(24) as pool:
        for (name, protocol), said in pool.map(one, jobs):
            # What the service sent is handed on as it is where both speak Protobuf; JSON has to be made of it.
            raw = protocol in ("grpc", "grpc-web", "grpc-web-text", "connect-proto") and said.code == "OK"
            good = said.code in modes[name] and (raw or said.code != "OK") and (raw or len(said.message) > 8 or name == "ConnectError")
            site.checks.ok(f"{name} over {protocol} is {modes[name]}", good, said)
            heads = [getattr(said.raw, "headers", {}), getattr(said, "trailers", {})]
            site.checks.ok(f"{name} over {protocol}: nothing is injected", not any("x-evil" in head or "x" in head for head in heads), said)


def cancelled(site):
    """A caller that leaves takes the call at the upstream with it, promptly."""
    site.checks.group = "cancelled"
    up = site.ups["Good"]
    path = "/hostile.v1.Good/Get"
    body = wire.field(1, "hold")

    def leaving(name, leave):
        before, seen = len(up.resets), len([s for s in up.seen if s.get("name") == "hold"])
        close = leave()
        arrived = until(lambda: len([s for s in up.seen if s.get("name") == "hold"]) > seen, 5)
        site.checks.ok(f"{name}: the call arrives", arrived)
        began = time.monotonic()
        close()
        reset = until(lambda: len(up.resets) > before, 5)
        site.checks.ok(f"{name}: the upstream's stream is reset within a second", reset and time.monotonic() - began < 1.0, time.monotonic() - began)

    def socket_with(data):
        def leave():
            sock = wire.connect(site.port)
            sock.sendall(data)
            return sock.close

        return leave

    def post(where, body, *headers):
        head = [f"POST {where} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
        return socket_with("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    def grpc_reset():
        conn = wire.H2(site.port)
        stream = conn.open(path, [("content-type", "application/grpc"), ("te", "trailers")])
        conn.data(stream, wire.envelope(body), end=True)
        return lambda: conn.send(wire.frame(wire.RST, 0, stream, struct.pack(">I", 8)))

    def grpc_close():
        conn = wire.H2(site.port)
        stream = conn.open(path, [("content-type", "application/grpc"), ("te", "trailers")])
        conn.data(stream, wire.envelope(body), end=True)
        return conn.sock.close

    json_body = b'{"name":"hold"}'
    query = json.dumps({"query": '{ goodGet(name: "hold") { name } }'}).encode()
    rpc = json.dumps({"jsonrpc": "2.0", "id": 1, "method": path[1:], "params": {"name": "hold"}})
    leaving("gRPC, RST_STREAM", grpc_reset)
    leaving("gRPC, the connection", grpc_close)
    leaving("gRPC-Web", post(path, wire.envelope(body), "Content-Type: application/grpc-web"))
    leaving("Connect", post(path, json_body, "Content-Type: application/json", "Connect-Protocol-Version: 1"))
    leaving("REST", post(path, json_body, "Content-Type: application/json"))
    leaving("GraphQL", post("/graphql", query, "Content-Type: application/json"))
    leaving("JSON-RPC", post("/rpc", rpc.encode(), "Content-Type: application/json"))
    leaving("Thrift", socket_with(wire.framed(wire.thrift_call("hostile.v1.Good:Get", wire.thrift_item("hold")))))

    def rpc_socket():
        ws = wire.Ws(site.port, "/rpc")
        ws.send(rpc)
        return ws.sock.close

    leaving("JSON-RPC over WebSocket", rpc_socket)

    def mcp():
        session = site.mcp_session()
        call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "hostile_v1_Good_Get", "arguments": {"name": "hold"}}}
        data = json.dumps(call).encode()
        head = ["Content-Type: application/json", "Accept: application/json, text/event-stream", f"Mcp-Session-Id: {session}", "Mcp-Protocol-Version: 2025-06-18"]
        close = post("/mcp", data, *head)()
        tell = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5, "reason": "enough"}}

        def leave():
            site.mcp_post(tell, session)
            close()

        return leave

    leaving("MCP, notifications/cancelled", mcp)

    # Streams: of the upstream, of the caller, and both.
    for name, service, method, say, end in [("a server stream", "Good", "Watch", "drip", True), ("a client stream", "Holds", "Send", "x", False), ("both", "Holds", "Talk", "x", False)]:
        up = site.ups[service]
        before, seen = len(up.resets), len(up.seen)
        with wire.H2(site.port) as conn:
            stream = conn.open(f"/hostile.v1.{service}/{method}", [("content-type", "application/grpc"), ("te", "trailers")])
            conn.data(stream, wire.envelope(wire.field(1, say)), end=end)
            site.checks.ok(f"{name}: the call arrives", until(lambda: len(up.seen) > seen, 5))
            conn.send(wire.frame(wire.RST, 0, stream, struct.pack(">I", 8)))
            site.checks.ok(f"{name}: the upstream's stream is reset", until(lambda: len(up.resets) > before, 2))
    up = site.ups["Good"]
    before, seen = len(up.resets), len(up.seen)
    with wire.Ws(site.port, "/graphql", "graphql-transport-ws") as ws:
        ws.say({"type": "connection_init"})
        ws.hear()
        ws.say({"id": "1", "type": "subscribe", "payload": {"query": 'subscription { goodWatch(name: "drip") { name } }'}})
        got = ws.hear()
        site.checks.ok("GraphQL subscription: items come", got and got.get("type") == "next", got)
        ws.say({"id": "1", "type": "complete"})
        site.checks.ok("GraphQL complete: the upstream's stream is reset", until(lambda: len(up.resets) > before, 2))
    # A pipe that is held up by a mute Thrift server is closed, not kept.
    up = site.ups["ThriftMute"]
    closed = up.closed_by_peer
    said = site.call("rest", "ThriftMute", seconds=0.3)
    site.checks.ok("a Thrift connection ends with its call", said.code == "DEADLINE_EXCEEDED" and until(lambda: up.closed_by_peer > closed, 3), said)


def deadlines(site):
    """What is left of the time is told to the upstream."""
    site.checks.group = "deadline"
    up = site.ups["Good"]
    for protocol in TIMED:
        seen = len(up.seen)
        said = site.call(protocol, "Good", "deadline", seconds=5)
        told = [s.get("grpc-timeout") for s in up.seen[seen:]]
        site.checks.ok(f"{protocol}: it is passed on", said.code == "OK" and told and told[0] and 3e9 < nanos(told[0]) <= 5e9, (said, told))
        before, began = len(up.resets), time.monotonic()
        said = site.call(protocol, "Good", "hold", seconds=0.2)
        took = time.monotonic() - began
        site.checks.ok(f"{protocol}: it is kept", said.code == "DEADLINE_EXCEEDED" and took < 2, (said, took))
        site.checks.ok(f"{protocol}: the upstream's stream is reset", until(lambda: len(up.resets) > before, 2))


def nanos(text):
    return int(text[:-1]) * {"n": 1, "u": 1e3, "m": 1e6, "S": 1e9, "M": 6e10, "H": 3.6e12}[text[-1]]


def workers(site):
    """A method of workers, where none is: the deadline; with one that answers nonsense: an error."""
    site.checks.group = "workers"
    for protocol in TIMED:
        said = site.call(protocol, "Work", seconds=0.3)
        site.checks.ok(f"{protocol}: without a worker it is the deadline", said.code == "DEADLINE_EXCEEDED" and len(said.message) > 8, said)
    for result in (b"[", b'{"small": "x"}', b'{"item":' * 2000, b"\xff\xfe"):
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(site.call, "grpc", "Work", "nonsense", seconds=8)
            # A job whose caller has gone is given to nobody.
            job = until(lambda: take(site), 8)
            answer = finish(site, job, result) if job else "no job"
            said = running.result()
            site.checks.ok(f"a result that is {result[:20]!r} is the service's fault", said.code in ("INTERNAL", "UNKNOWN") and len(said.message) > 8, (said, answer))


def post(site, path, body):
    return wire.http1(site.port, "POST", path, [("Content-Type", "application/json")], json.dumps(body).encode())


def take(site):
    jobs = (post(site, "/jobs/take", {"methods": ["hostile.v1.Work/Get"], "max": 1, "wait": "1s"}).json() or {}).get("jobs")
    if jobs and b"nonsense" not in json.dumps(jobs[0]).encode():
        finish(site, jobs[0], b"{}")
        return None
    return jobs[0] if jobs else None


def finish(site, job, result):
    head = [("Content-Type", "application/json"), ("Sb-Lease", job["lease"])]
    return wire.http1(site.port, "POST", f"/jobs/{job['id']}/complete", head, result)


def limits(site):
    """Messages of exactly the limit pass, both ways; one byte more does not."""
    site.checks.group = "limit"
    limit = upstreams.LIMIT
    for protocol in ("grpc", "grpc-web", "grpc-web-text"):
        for size, wanted in ((limit, "OK"), (limit + 1, "RESOURCE_EXHAUSTED")):
            said = site.call(protocol, "Good", body=wire.envelope(upstreams.item_of(size)))
            site.checks.ok(f"{protocol}: a request of {size} bytes", said.code == wanted and (wanted == "OK" or "256" in said.message or "262144" in said.message), said.code)
    for size, wanted in ((limit, "OK"), (limit + 1, "RESOURCE_EXHAUSTED")):
        said = site.call("connect-proto", "Good", body=upstreams.item_of(size))
        site.checks.ok(f"connect: a request of {size} bytes", said.code == wanted, said.code)
        said = site.call("connect-stream", "Good", method="Watch", body=wire.envelope(upstreams.item_of(size)))
        site.checks.ok(f"connect stream: a request of {size} bytes", said.code == wanted, said.code)
        for protocol in ("grpc", "grpc-web", "connect-proto", "connect-stream"):
            method = "Watch" if protocol == "connect-stream" else "Get"
            said = site.call(protocol, "Good", f"size:{size}", method=method)
            site.checks.ok(f"{protocol}: an answer of {size} bytes", said.code == wanted, said.code)
    for protocol in ("rest", "connect", "graphql", "json-rpc", "mcp", "thrift", "thrift-http", "rest-path"):
        if protocol != "rest-path":
            said = site.call(protocol, "Good", "x" * (limit + 1))
            good = said.code in ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "-32602", "application 7", "application 6") and len(said.message) > 8
            site.checks.ok(f"{protocol}: a request that is too large", good, said)
        said = site.call(protocol, "Good", f"size:{limit + 1}")
        site.checks.ok(f"{protocol}: an answer that is too large", said.code == "RESOURCE_EXHAUSTED", said)
