#!/usr/bin/env python3
"""Measures Switchboard beside its peers and prints a table.

Builds Switchboard and the load tools, starts Switchboard and every peer that is installed, and runs each row in turn
(A B A B ...) with the same client, window, connections and size. What counts is the CPU that the server's process tree
spends on a message; the ratio is Switchboard's median divided by the peer's. Everything stays on the loopback interface,
every process is ended by its own id, and every run ends by itself.

    bench/run.py                    every row, five rounds
    bench/run.py --quick            a smoke run of two minutes; fails when something does not start or loses messages
    bench/run.py --rows ws-1000     only rows whose name begins so
    bench/run.py --rows grpc,rest,graphql   calls
"""
import argparse
import datetime
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import calls

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FIRST_PORT = 18700


def target(folder, default):
    """Where cargo puts what it builds in this folder."""
    out = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=folder, capture_output=True, text=True)
    return Path(json.loads(out.stdout)["target_directory"]) if out.returncode == 0 else default


def build(args):
    """Builds the tools and, unless a binary is given, Switchboard. Gives the three programs."""
    # The load tools are a workspace of their own and must not share a target folder with the project's.
    env = dict(os.environ)
    if "CARGO_TARGET_DIR" in env:
        env["CARGO_TARGET_DIR"] += "-load"
    tools = Path(env.get("CARGO_TARGET_DIR", HERE / "target"))
    if not args.no_build:
        subprocess.run(["cargo", "build", "--release", "--quiet", "--locked"], cwd=HERE, env=env, check=True)
        if not args.binary:
            subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "switchboard"], cwd=ROOT, check=True)
        if shutil.which("npm") and not (HERE / "peers/node_modules").exists():
            subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=HERE / "peers", check=False)
        venv = HERE / "peers/venv"
        if not venv.exists():
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=False)
            subprocess.run([str(venv / "bin/pip"), "install", "-q", "-r", str(HERE / "peers/requirements.txt")], check=False)
    binary = Path(args.binary) if args.binary else target(ROOT, ROOT / "target") / "release/switchboard"
    return binary, tools / "release/swload", tools / "release/swref"


@dataclass
class Server:
    """A server process of our own."""
    name: str
    port: int
    process: subprocess.Popen
    folder: Path

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class House:
    """Starts servers, each on its own port with its own folder."""

    def __init__(self, binary, swref, scratch):
        self.binary, self.swref, self.scratch = binary, swref, scratch
        self.port = FIRST_PORT
        self.described = False
        self.bodies = Path(tempfile.mkdtemp(prefix="sb-bench-bodies-", dir=scratch))
        if swref.exists():
            subprocess.run([str(swref), "bodies", str(self.bodies)], check=True)

    def command(self, system, port, folder, upstream):
        """What starts this system, for calls in front of the services on the port `upstream`; None when it is not installed."""
        if upstream is not None:
            return calls.command(system, port, upstream, folder, self)
        def found(program):
            return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
        redis = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        match system:
            case "switchboard":
                return [str(self.binary), "--data", str(folder / "data"), "--port", str(port), "--set", "echo.enabled=true"]
            case "axum":
                return [str(self.swref), "http", str(port), "1"] if self.swref.exists() else None
            case "redis" | "redis always":
                program = found("redis-server")
                keep = ["--appendonly", "yes", "--appendfsync", "always"] if system != "redis" else ["--appendonly", "no"]
                return program and [program, *redis, *keep]
            case "nats":
                program = found("nats-server")
                (folder / "nats.conf").write_text(f"listen: 127.0.0.1:{port}\n")
                return program and [program, "-c", str(folder / "nats.conf")]
            case "mosquitto":
                program = found("mosquitto")
                (folder / "mosquitto.conf").write_text(
                    f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_inflight_messages 0\n"
                    "max_queued_messages 0\nset_tcp_nodelay true\n")
                return program and [program, "-c", str(folder / "mosquitto.conf")]
            case "ws" | "socket.io":
                script = HERE / "peers" / ("ws.mjs" if system == "ws" else "sio.mjs")
                there = (HERE / "peers/node_modules" / system).exists()
                return ["node", str(script), str(port)] if shutil.which("node") and there else None
        raise SystemExit(f"no such system: {system}")

    def start(self, system, upstream=None):
        """A running server, or None when it is not installed."""
        self.port += 1
        port, folder = self.port, Path(tempfile.mkdtemp(prefix="sb-bench-", dir=self.scratch))
        command = self.command(system, port, folder, upstream)
        if not command:
            shutil.rmtree(folder)
            return None
        log = open(folder / "log", "wb")
        env = dict(os.environ, RUST_LOG="warn")
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
        server = Server(system, port, process, folder)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                time.sleep(0.2)
                return server
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(0.05)
        text = (folder / "log").read_text(errors="replace")
        server.stop()
        raise SystemExit(f"{system} does not start: {text[-2000:]}")


@dataclass
class Side:
    """One system's part in a row: what swload is told, and what to compare with."""
    system: str
    load: str
    goal: float | None = None
    topic: bool = False  # Switchboard: create the topic first, so that messages are durable


@dataclass
class Row:
    name: str
    work: str
    unit: str
    sides: list
    idle: bool = False
    heavy: bool = False  # left out of the smoke run
    calls: bool = False  # of `calls.py`: with services behind the servers
    results: dict = field(default_factory=dict)


def http_pub(pubs):
    return f"--pub-proto http --pubs {pubs} --per-conn 1"


def rows():
    """The rows of the goals that HTTP, WebSocket, Server-Sent Events and echo can meet."""
    live, out = "--subs 100", []
    out.append(Row("http-publish-64", "durable HTTP publish, 64 connections, 128 B", "message", [
        Side("switchboard", "--proto http --path /topics/bench --pubs 64 --subs 0 --window 64 --per-conn 1", topic=True),
        Side("axum", "--proto http --path /take --pubs 64 --subs 0 --window 64 --per-conn 1", 1.5)]))
    out.append(Row("http-publish-1", "durable publish, one at a time, HTTP against XADD", "message", [
        Side("switchboard", "--proto http --path /topics/bench --subs 0 --window 1", topic=True),
        Side("redis always", "--proto redisx --subs 0 --window 1", 1.0)]))
    out.append(Row("publish-50x64", "durable publish, 50 connections x 64, switchboard.v1 against XADD", "message", [
        Side("switchboard", "--proto sb --path /ws --pubs 50 --subs 0 --window 3200 --per-conn 64", topic=True),
        Side("redis always", "--proto redisx --pubs 50 --subs 0 --window 3200 --per-conn 64", 1.0)]))
    out.append(Row("live-1-100", "live fan-out 1:100 by WebSocket, window 50", "delivery", [
        Side("switchboard", f"--proto ws --path /topics/live {live} --window 50"),
        Side("nats", f"--proto nats {live} --window 50", 1.0),
        Side("redis", f"--proto redis {live} --window 50", 2.0)]))
    out.append(Row("live-1-100-w20", "live fan-out 1:100 by WebSocket, window 20", "delivery", [
        Side("switchboard", f"--proto ws --path /topics/live {live} --window 20"),
        Side("mosquitto", f"--proto mqtt {live} --window 20", 0.1)]))
    out.append(Row("live-1-1", "live 1:1, window 1000, switchboard.v1 (each publish answered)", "message", [
        Side("switchboard", "--proto sb --path /ws --topic live --live 1 --window 1000"),
        Side("nats", "--proto nats --window 1000", 1.5),
        Side("redis", "--proto redis --window 1000", 1.2),
        Side("mosquitto", "--proto mqtt --window 1000", 0.15)]))
    for n in (1000, 5000):
        out.append(Row(f"ws-{n}", f"WebSocket broadcast to {n:,}, window 5", "delivery", [
            Side("switchboard", f"--proto ws --path /topics/live --subs {n} --window 5"),
            Side("axum", f"--proto ws --path /wsb --subs {n} --window 5", 1.0),
            Side("ws", f"--proto ws --path /all --subs {n} --window 5", 0.2),
            Side("socket.io", f"--proto sio --subs {n} --window 5", 0.15)], heavy=n > 1000))
    out.append(Row("ws-1000-durable", "WebSocket broadcast to 1,000 of durable messages, window 5", "delivery", [
        Side("switchboard", "--proto ws --path /topics/bench --subs 1000 --window 5", topic=True),
        Side("axum", "--proto ws --path /wsb --subs 1000 --window 5")], heavy=True))
    out.append(Row("sse-1000", "Server-Sent Events to 1,000, 5 publishers over HTTP", "delivery", [
        Side("switchboard", f"--proto sse --path /topics/live --subs 1000 --window 5 {http_pub(5)} --pub-path /topics/live?live"),
        Side("axum", f"--proto sse --path /sse --subs 1000 --window 5 {http_pub(5)} --pub-path /pub", 1.0)]))
    out.append(Row("sse-1000-durable", "Server-Sent Events to 1,000 of durable messages, 5 publishers over HTTP", "delivery", [
        Side("switchboard", f"--proto sse --path /topics/bench --subs 1000 --window 5 {http_pub(5)} --pub-path /topics/bench", topic=True),
        Side("axum", f"--proto sse --path /sse --subs 1000 --window 5 {http_pub(5)} --pub-path /pub")], heavy=True))
    out.append(Row("ws-echo-1", "WebSocket echo, one at a time", "message", [
        Side("switchboard", "--proto ws --path /echo --mode echo --window 1"),
        Side("axum", "--proto ws --path /ws --mode echo --window 1"),
        Side("ws", "--proto ws --path /echo --mode echo --window 1")]))
    for n in (5000, 10000):
        out.append(Row(f"idle-{n}", f"idle connections, {n:,}: resident memory of each", "KiB", [
            Side("switchboard", f"--proto ws --path /topics/live --subs {n}"),
            Side("axum", f"--proto ws --path /wsb --subs {n}"),
            Side("ws", f"--proto ws --path /all --subs {n}", 1.0),
            Side("nats", f"--proto nats --subs {n}", 1.0),
            Side("redis", f"--proto redis --subs {n}", 1.0)], idle=True, heavy=n > 5000))
    return out + calls.rows(Row, Side)


def declare(server):
    """Creates the topic, so that what is published is durable."""
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/topics/bench", data=b"{}", method="PUT",
                                     headers={"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


def load(swload, row, side, server, args):
    """One run; its figures."""
    where = ["--addr", f"127.0.0.1:{server.port}", "--pid", str(server.process.pid)]
    if row.idle:
        command = [str(swload), "idle", *side.load.split(), *where, "--hold", "0.5" if args.quick else "2.5"]
    else:
        command = [str(swload), "flow", *side.load.split(), *where, "--runs", "1", "--secs", str(args.secs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    lines = [json.loads(x) for x in done.stdout.splitlines() if x.startswith("{")]
    lost = [x for x in lines if "lost" in x]
    if done.returncode or not lines or lost:
        raise RuntimeError(f"{row.name}, {server.name}: {lost or done.stderr[-600:]}")
    got = lines[0]
    if row.idle:
        return {"cost": got["kib_each"], "rate": got["connections"]}
    times = got["deliver"] if got["delivered"] else got["ack"]
    return {"cost": got["srv_us"], "rate": got["rate"], "p50": times["p50_us"], "p99": times["p99_us"],
            "client": got["cli_us"], "other": got["other_cores"]}


def measure(row, house, swload, args):
    """All systems of a row, in turn. An idle row needs a fresh server each time, since memory is not given back."""
    running, troubles = {}, []
    upstream = house.start("tonic", upstream=0) if row.calls else None
    behind = upstream.port if upstream else (0 if row.calls else None)
    try:
        for round_ in range(args.runs):
            for side in row.sides:
                if side.system in running and running[side.system] is None:
                    continue  # not installed, or in trouble
                if side.system not in running:
                    running[side.system] = server = house.start(side.system, behind)
                    if server is None:
                        continue
                    if side.topic:
                        declare(server)
                server = running[side.system]
                try:
                    if row.calls:
                        figures = calls.load(side, server, None if side.system == "tonic" else upstream, house, args.secs)
                    else:
                        figures = load(swload, row, side, server, args)
                    row.results.setdefault(side.system, []).append(figures)
                except (RuntimeError, subprocess.TimeoutExpired, urllib.error.URLError, ValueError) as trouble:
                    troubles.append(str(trouble))
                    print(f"  ! {trouble}", file=sys.stderr, flush=True)
                    running[side.system] = None
                    server.stop()
                    continue
                if row.idle:
                    server.stop()
                    del running[side.system]
    finally:
        for server in [*running.values(), upstream]:
            if server:
                server.stop()
    return troubles


def number(x):
    if x >= 1e6:
        return f"{x / 1e6:.2f}M"
    if x >= 1e4:
        return f"{x / 1e3:.1f}k"
    return f"{x:.0f}" if x >= 100 else f"{x:.2f}"


def table(done):
    out = ["| row | system | server CPU µs (KiB) a unit, median (min–max) | units/s | p50 / p99 µs | Switchboard ÷ peer (spread) | goal |",
           "|---|---|---|---|---|---|---|"]
    for row in done:
        own = row.results.get("switchboard", [])
        for n, side in enumerate(row.sides):
            got = row.results.get(side.system)
            head = f"{row.work} ({row.unit})" if n == 0 else ""
            if not got:
                out.append(f"| {head} | {side.system} | not measured | | | | |")
                continue
            cost = [x["cost"] for x in got]
            cell = f"**{statistics.median(cost):.2f}** ({min(cost):.2f}–{max(cost):.2f})"
            rate = number(statistics.median(x["rate"] for x in got))
            if "upstream" in got[0]:
                rate += f" (upstream {statistics.median(x['upstream'] for x in got):.1f} µs)"
            times = ""
            if "mean" in got[0]:
                times = f"mean {statistics.median(x['mean'] for x in got):.0f}"
            if "p50" in got[0]:
                times = f"{statistics.median(x['p50'] for x in got):.0f} / {statistics.median(x['p99'] for x in got):.0f}"
            ratio = goal = ""
            if side.system != "switchboard" and own and statistics.median(cost) > 0:
                value = statistics.median(x["cost"] for x in own) / statistics.median(cost)
                each = [a["cost"] / b["cost"] for a, b in zip(own, got) if b["cost"] > 0]
                ratio = f"**{value:.2f}** ({min(each):.2f}–{max(each):.2f})"
                if side.goal is not None:
                    goal = f"≤ {side.goal}: {'met' if value <= side.goal else 'MISSED'}"
            out.append(f"| {head} | {side.system} | {cell} | {rate} | {times} | {ratio} | {goal} |")
    return "\n".join(out)


def report(done, args, started, load_before):
    return (f"Taken {started:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, load average {load_before[0]:.1f} before and "
            f"{os.getloadavg()[0]:.1f} after, {args.runs} rounds of {args.secs} s each, everything on 127.0.0.1.\n\n{table(done)}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round of the lighter rows")
    parser.add_argument("--rows", default="", help="names or beginnings of names, with commas")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--secs", type=float, default=2.5)
    parser.add_argument("--binary", help="a Switchboard that is built already")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--scratch", help="where servers keep their data; the disk that is measured")
    parser.add_argument("--out", help="write the table there, too; and the figures beside it as .json")
    args = parser.parse_args()
    if args.quick:
        args.runs, args.secs = 1, 0.4
    binary, swload, swref = build(args)
    if not binary.exists():
        raise SystemExit(f"there is no {binary}")
    scratch = Path(args.scratch) if args.scratch else swload.parent
    wanted = [x for x in args.rows.split(",") if x]
    chosen = [r for r in rows() if (any(r.name.startswith(w) for w in wanted) if wanted else not (args.quick and r.heavy))]
    house = House(binary, swref, scratch)
    started, load_before, troubles, done = datetime.datetime.now(datetime.UTC), os.getloadavg(), [], []
    for row in chosen:
        print(f"{row.name}: {row.work}", file=sys.stderr, flush=True)
        troubles += measure(row, house, swload, args)
        done.append(row)
        if args.out:  # after each row, so that a run that is cut short leaves what it has
            Path(args.out).write_text(report(done, args, started, load_before))
            Path(args.out).with_suffix(".json").write_text(json.dumps({r.name: r.results for r in done}, indent=1))
        for system, got in row.results.items():
            print(f"  {system}: {statistics.median(x['cost'] for x in got):.2f}", file=sys.stderr, flush=True)
    shutil.rmtree(house.bodies, ignore_errors=True)
    print(report(done, args, started, load_before))
    for trouble in troubles:
        print(f"trouble: {trouble}", file=sys.stderr)
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
