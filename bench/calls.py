"""Rows of calls for `run.py`: gRPC passed through, REST and GraphQL over gRPC, each beside the peers that do the same.

The services are those of `proto/`, answered by tonic (`swref grpc`) in a process of its own that is not counted, or, for the row `tonic`, asked
directly. `h2load` sends unary calls, as many as fit into the time by a first probe, and every one of them must have been answered by 2xx and by
the very number of bytes that the right answer has: a gRPC call that fails has none. Streams are read by `swref grpc-client`, which compares every
message.
"""
import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

from tool import tree_cpu

HERE = Path(__file__).resolve().parent
QUERY = {"query": "{ user(id: 1) { name posts { title } friends { name } } }"}
ANSWER = {"data": {"user": {
    "name": "user 1",
    "posts": [{"title": f"post {n} of 1"} for n in (1, 2, 3)],
    "friends": [{"name": f"friend {n} of 1"} for n in (1, 2, 3)],
}}}


# Servers.

def command(system, port, upstream, folder, house):
    """What starts this system in front of the services on the port `upstream`; None when it is not installed."""
    if system == "tonic":
        return [str(house.swref), "grpc", str(port), "1"] if house.swref.exists() else None
    if not house.swref.exists() or not shutil.which("h2load"):
        return None
    if system.startswith("switchboard"):
        return switchboard(house.binary, port, upstream, folder)
    if system == "nginx":
        return nginx(port, upstream, folder)
    if system.startswith("envoy"):
        return envoy(port, upstream, folder, house, "transcoder" in system)
    if system == "graphql-js":
        there = (HERE / "peers/node_modules/graphql-http").exists()
        script = [str(HERE / "peers/graphql.mjs"), str(port), str(upstream)]
        return ["node", *script] if shutil.which("node") and there else None
    raise SystemExit(f"no such system: {system}")


def switchboard(binary, port, upstream, folder):
    services = "".join(
        f'[services.{name.lower()}]\ntarget = "grpc://127.0.0.1:{upstream}"\nproto = {json.dumps(str(HERE / "proto"))}\nservices = ["sw.{name}"]\n'
        for name in ("Echo", "Users", "Posts", "Friends"))
    joins = (
        '[graphql.joins]\n"Query.user" = { call = "sw.Users/GetUser" }\n'
        '"User.posts" = { call = "sw.Posts/ListPosts", args = { id = "id" }, pick = "posts" }\n'
        '"User.friends" = { call = "sw.Friends/ListFriends", args = { id = "id" }, pick = "friends" }\n')
    (folder / "switchboard.toml").write_text(services + joins)
    return [str(binary), "--config", str(folder / "switchboard.toml"), "--data", str(folder / "data"), "--port", str(port)]


def nginx(port, upstream, folder):
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    temp = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.getuid() == 0 else ""  # whose workers may read the folder
    (folder / "nginx.conf").write_text(
        f"{user} worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/errors;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; {temp} keepalive_requests 1000000000; client_max_body_size 0;\n"
        f"  upstream services {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}\n"
        f"  server {{ listen 127.0.0.1:{port} http2; http2_max_concurrent_streams 512; location / {{ grpc_pass grpc://services; }} }} }}\n")
    return program and [program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "errors")]


def envoy(port, upstream, folder, house, transcode):
    program = shutil.which("envoy") or next(map(str, HERE.glob("peers/venv/bin/envoy")), None)
    if not program:
        return None
    kind = "type.googleapis.com/envoy.extensions."
    socket = lambda number: {"socket_address": {"address": "127.0.0.1", "port_value": number}}
    filters = [{"name": "router", "typed_config": {"@type": kind + "filters.http.router.v3.Router"}}]
    if transcode:
        filters.insert(0, {"name": "transcoder", "typed_config": {
            "@type": kind + "filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "proto_descriptor": str(descriptors(house, upstream)), "services": ["sw.Echo"]}})
    manager = {
        "@type": kind + "filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "calls", "codec_type": "AUTO",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "services", "timeout": "0s"}}]}]},
        "http_filters": filters}
    h2 = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": kind + "upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}}
    config = {"static_resources": {
        "listeners": [{"address": socket(port), "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}],
        "clusters": [{"name": "services", "type": "STATIC", "typed_extension_protocol_options": h2, "load_assignment": {
            "cluster_name": "services", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(upstream)}}]}]}}]}}
    (folder / "envoy.json").write_text(json.dumps(config))
    return [program, "-c", str(folder / "envoy.json"), "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]


def descriptors(house, upstream):
    """The compiled description of `sw.Echo`, as Switchboard gives it out; made once."""
    path = house.bodies / "echo.binpb"
    if not house.described:
        server = house.start("switchboard calls", upstream=upstream)
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/switchboard.v1.Services/GetSource", data=b'{"name": "sw.Echo"}',
            headers={"content-type": "application/json", "connect-protocol-version": "1"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                path.write_bytes(base64.b64decode(json.load(answer)["descriptorSet"]))
        finally:
            server.stop()
        house.described = True
    return path


# Load.

def load(side, server, upstream, house, secs):
    """One run of a side; its figures. `side.load`: `grpc FILE|METHOD CONNECTIONS STREAMS`, `rest` and `rest1` (HTTP/1.1) the same, `graphql CONNECTIONS`,
    or `stream KIND CONNECTIONS STREAMS SIZE`."""
    kind, *rest = side.load.split()
    pids = [server.process.pid], [upstream.process.pid] if upstream else []
    if kind == "stream":
        mode, conns, streams, size = rest
        before = [tree_cpu(p) for p in pids]
        done = subprocess.run([str(house.swref), "grpc-client", f"127.0.0.1:{server.port}", mode, conns, streams, str(secs), size],
                              capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{server.name}, {side.load}: {done.stderr[-600:]}")
        got = json.loads(done.stdout)
        return figures(got["n"], got["rate"], before, pids) | {"p50": got["p50_us"], "p99": got["p99_us"]}
    url, body, streams = f"http://127.0.0.1:{server.port}", house.bodies / "query.json", 1
    if kind == "grpc":
        name, method, conns, streams = rest
        body = house.bodies / f"{name}.grpc"
        options, url, size = ["-H", "content-type: application/grpc", "-H", "te: trailers"], f"{url}/sw.Echo/{method}", body.stat().st_size
    elif kind in ("rest", "rest1"):
        name, conns, streams = rest
        body, url = house.bodies / f"{name}.json", f"{url}/v1/orders"
        options = ["-H", "content-type: application/json"] + (["--h1"] if kind == "rest1" else [])
        sent = json.loads(body.read_bytes())
        size = preflight(url, body.read_bytes(), lambda answer: answer == sent)
    else:
        conns, url = rest[0], f"{url}/graphql"
        body.write_text(json.dumps(QUERY))
        options = ["-H", "content-type: application/json", "-H", "accept: application/json", "--h1"]
        size = preflight(url, body.read_bytes(), lambda answer: answer == ANSWER)
    at_once = int(conns) * int(streams)
    tell = ["h2load", "-t1", f"-c{conns}", f"-m{streams}", "-d", str(body), *options]
    rate = h2load([*tell, "-n", str(max(2 * at_once, 400)), url], size)["rate"]  # warm, and how fast it is
    number = max(at_once, int(rate * secs))
    before = [tree_cpu(p) for p in pids]
    got = h2load([*tell, "-n", str(number), url], size)
    return figures(number, got["rate"], before, pids) | {"mean": got["mean"]}


def figures(n, rate, before, pids):
    time.sleep(0.05)  # until what is behind the last answer is done
    server, upstream = ((tree_cpu(p) - b) * 1e6 / n for p, b in zip(pids, before))
    return {"cost": server, "rate": rate, "n": n} | ({"upstream": upstream} if pids[1] else {})


def preflight(url, body, right):
    """One request, whose answer must be right; its length."""
    headers = {"content-type": "application/json", "accept": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers), timeout=10) as answer:
        got = answer.read()
    if not right(json.loads(got)):
        raise RuntimeError(f"{url} answered {got[:600]!r}")
    return len(got)


UNITS = {"us": 1, "ms": 1e3, "s": 1e6}


def h2load(tell, size):
    """Runs it. Every request must be answered by 2xx and `size` bytes."""
    done = subprocess.run(tell, capture_output=True, text=True, timeout=120)
    out = done.stdout
    try:
        total, ended, good, failed, errored, late = map(int, re.search(
            r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out).groups())
        fine = int(re.search(r"status codes: (\d+) 2xx", out)[1])
        data = int(re.search(r"\((\d+)\) data", out)[1])
        rate = float(re.search(r"finished in \S+, ([\d.]+) req/s", out)[1])
        mean, unit = re.search(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s)", out).groups()
    except (TypeError, AttributeError):
        raise RuntimeError(f"{' '.join(tell)}: {(out + done.stderr)[-800:]}") from None
    if not total == ended == good == fine or failed or errored or late or data != total * size:
        raise RuntimeError(f"{' '.join(tell)}: {total - fine} of {total} not answered by 2xx, {data} bytes instead of {total * size}: {out[-700:]}")
    return {"rate": rate, "mean": float(mean) * UNITS[unit]}


# Rows.

def rows(Row, Side):
    out = []

    def row(name, work, unit, sides, heavy=False):
        out.append(Row(name, work, unit, [Side(*side) for side in sides], heavy=heavy, calls=True))

    def passed(name, work, unit, load, goals=(None, None), heavy=False):
        row(name, work, unit, [("switchboard", load), ("tonic", load, goals[0]), ("nginx", load, goals[1]), ("envoy", load)], heavy)

    goals = (2.2, 0.8)
    for size, text, streams in ((128, "128 B", 32), (1024, "1 KiB", 32), (102_400, "100 KiB", 4)):
        short = {128: "128", 1024: "1k", 102_400: "100k"}[size]
        passed(f"grpc-unary-{short}", f"gRPC unary passed through, {text}, 8 connections x {streams} streams", "call",
               f"grpc msg-{size} Unary 8 {streams}", goals if size <= 1024 else (None, None))
    passed("grpc-unary-c1", "gRPC unary passed through, 1 KiB, one connection x 100 streams", "call", "grpc msg-1024 Unary 1 100", goals, True)
    passed("grpc-unary-alone", "gRPC unary passed through, 1 KiB, one at a time", "call", "grpc msg-1024 Unary 1 1", heavy=True)
    passed("grpc-down", "gRPC server streams of 1,000 x 1 KiB, 4 connections x 4", "message", "stream down 4 4 1024")
    passed("grpc-bidi", "gRPC both ways, streams of 1,000 x 1 KiB, 4 connections x 4", "message", "stream bidi 4 4 1024")
    passed("grpc-chat", "gRPC both ways, 1 KiB, each message when the last has come back, 4 connections x 16", "message", "stream chat 4 16 1024", heavy=True)
    for size, text, streams in ((1024, "1 KiB", 32), (102_400, "100 KiB", 4)):
        short = {1024: "1k", 102_400: "100k"}[size]
        load = f"order-{size} 8 {streams}"
        row(f"rest-{short}", f"REST (HTTP/2) to gRPC, an order of {text}, 8 connections x {streams}; `switchboard grpc`: the same order passed through", "call",
            [("switchboard", f"rest {load}"), ("switchboard grpc", f"grpc order-{size} PutOrder 8 {streams}", 2.0 if size == 1024 else None),
             ("envoy transcoder", f"rest {load}")])
        load = f"order-{size} 64 1"
        row(f"rest1-{short}", f"REST (HTTP/1.1) to gRPC, an order of {text}, 64 connections", "call",
            [("switchboard", f"rest1 {load}"), ("envoy transcoder", f"rest1 {load}")], heavy=True)
    row("graphql", "GraphQL, one query over three gRPC services, HTTP/1.1, 64 connections", "query",
        [("switchboard", "graphql 64"), ("graphql-js", "graphql 64")])
    return out
