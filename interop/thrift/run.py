#!/usr/bin/env python3
"""Apache's Thrift libraries for Python and Node, unchanged, against Switchboard: as clients of every method over every transport and protocol, with
code that Thrift's own compiler makes of the IDL that Switchboard serves; and a Python server as the upstream, spoken to in every way.

Needs Thrift's compiler (`thrift`, Debian's thrift-compiler; THRIFT names another one), Node and npm. The rest is installed below `.suite/`."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "crash"))

from harness import ROOT, Server, need_binary  # noqa: E402

HOME = ROOT / ".suite/thrift"
PYTHON = HOME / "python/bin/python"
THRIFT = os.environ.get("THRIFT") or shutil.which("thrift")

# How the upstream serves, and how it is called.
WAYS = [
    ("buffered", "binary", "calc", "thrift://127.0.0.1:{port}"),
    ("buffered", "compact", "calc", "thrift+compact://127.0.0.1:{port}"),
    ("framed", "binary", "calc", "thrift+framed://127.0.0.1:{port}"),
    ("framed", "compact", "calc", "thrift://127.0.0.1:{port}?transport=framed&protocol=compact"),
    ("framed", "compact", "both", "thrift+framed+compact://127.0.0.1:{port}?multiplexed=true"),
    ("header", "header", "calc", "thrift+header://127.0.0.1:{port}"),
    ("header", "header", "calc", "thrift+header://127.0.0.1:{port}?protocol=compact"),
    ("http", "binary", "calc", "thrift+http://127.0.0.1:{port}/"),
    ("http", "compact", "calc", "thrift+http://127.0.0.1:{port}/?protocol=compact"),
]

passed, failed = 0, 0


def check(name, found, wanted):
    global passed, failed
    if found == wanted:
        passed += 1
    else:
        failed += 1
        print(f"FAIL {name}: {found!r} is not {wanted!r}", flush=True)


def install():
    """Installs the libraries, unless they are."""
    requirements = HERE / "requirements.txt"
    stamp, wanted = HOME / "installed.txt", requirements.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(HOME, ignore_errors=True)
        HOME.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", HOME / "python"], check=True)
        pip = [PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", requirements], check=True)
        stamp.write_text(wanted)
    lock, mark = HERE / "node/package-lock.json", HERE / "node/node_modules/.installed"
    if not mark.exists() or mark.read_text() != lock.read_text():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=HERE / "node", check=True)
        mark.write_text(lock.read_text())


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return answer.read()


def post(port, method, body):
    """A call over REST: status and body."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{method}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


class Upstream:
    """The Python server."""

    def __init__(self, code, *words):
        environment = {**os.environ, "PYTHONPATH": str(code), "PYTHONWARNINGS": "ignore"}
        command = [PYTHON, HERE / "upstream.py", *words]
        log = code.parent / f"upstream-{words[0]}-{words[1]}.log"
        with log.open("ab") as said:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=said, text=True)
        self.port = int(self.process.stdout.readline() or 0)
        if not self.port:
            sys.exit(f"no upstream: {log.read_text()}")

    def stop(self):
        self.process.kill()
        self.process.wait()


def served(folder, services):
    """A server with these services: name, target, file."""
    config = "".join(f'[services.{name}]\ntarget = "{target}"\nproto = "{HERE / file}"\n' for name, target, file in services)
    server = Server(folder, config)
    if server.start() is None:
        sys.exit(f"no start: {server.said()[-2000:]}")
    return server


def generate(folder):
    """Code for both languages, of the IDL that the server hands out."""
    server = served(folder / "first", [("kinds", "thrift://127.0.0.1:1", "kinds.proto"), ("calc", "thrift://127.0.0.1:1", "calc.thrift")])
    try:
        for path in get(server.port, "/thrift").decode().split():
            # Its compiler takes every IDL that is served.
            file = folder / "every.thrift"
            file.write_bytes(get(server.port, path))
            done = subprocess.run([THRIFT, "--strict", "--gen", "py", "--out", folder, file], capture_output=True, text=True)
            check(f"the compiler takes {path}", (done.returncode, done.stderr), (0, ""))
        idl = {name: get(server.port, f"/thrift/interop.{name.lower()}.{name}.thrift") for name in ("Kinds", "Calc")}
    finally:
        server.stop()
    code = folder / "code"
    code.mkdir()
    for name, text in idl.items():
        # Who has the IDL of a service already goes on using it.
        file = HERE / "calc.thrift" if name == "Calc" else folder / f"{name}.thrift"
        if name != "Calc":
            file.write_bytes(text)
        else:
            (folder / "Calc.thrift").write_bytes(text)
            subprocess.run([THRIFT, "--strict", "--gen", "py", "--out", folder, folder / "Calc.thrift"], check=True)
        for language in ("py", "js:node,es6"):
            subprocess.run([THRIFT, "--gen", language, "--out", code, file], check=True)
    (code / "node_modules").symlink_to(HERE / "node/node_modules")
    return code


def upstreams(folder, code):
    """The Python server called over REST, in every way."""
    value = {
        "yes": True, "small": -128, "shortOne": 32767, "n": -1, "big": "4611686018427387904", "d": 0.1, "s": "Grüße 🎉",
        "raw": base64.b64encode(b"\xff\x00").decode(), "shorts": [1, -2], "words": ["ü"], "counts": {"a": 1},
        "byDouble": [{"key": 1.5, "value": "x"}], "matrix": [{"items": [1, 2]}, {}], "nested": {"1": {"items": [{"key": 2, "value": "z"}]}},
        "op": "OP_SUB", "ops": ["OP_ADD", "OP_MUL"], "byOp": [{"key": "OP_ADD", "value": "9"}], "shape": {"line": {"items": [1, 2]}},
        "prices": ["3"], "maybe": ["m"], "inner": {"x": 1, "y": 2, "z": 3}, "tiny": {"1": -2}, "numbers": [7],
    }  # fmt: skip
    for at, (transport, protocol, which, target) in enumerate(WAYS):
        upstream = Upstream(code, transport, protocol, which)
        way = f"{target} {which}"
        services = [("calc", target.format(port=upstream.port), "calc.thrift")]
        if which == "both":
            services.append(("kinds", target.format(port=upstream.port), "kinds.proto"))
        server = served(folder / f"upstream-{at}", services)
        try:
            ask = lambda method, body: post(server.port, f"interop.calc.Calc/{method}", body)  # noqa: E731
            check(f"{way}: apply", ask("apply", {"op": "OP_ADD", "a": 2, "b": 3}), (200, {"success": 5}))
            check(f"{way}: echo", ask("echo", {"value": value}), (200, {"success": value}))
            status, problem = ask("apply", {"op": "OP_MUL", "a": 2**30, "b": 4})
            check(f"{way}: overflow", (status, problem["detail"]), (400, "Overflow: too large"))
            status, problem = ask("apply", {"a": 1, "b": 1})
            check(f"{way}: missing", (status, problem["detail"]), (404, "Missing"))
            check(f"{way}: ping", ask("ping", {}), (200, {"success": "pong"}))
            check(f"{way}: nothing", ask("nothing", {}), (200, {}))
            check(f"{way}: note", ask("note", {"text": "a note"}), (200, {}))
            while "a note" not in ask("notes", {})[1].get("success", []):
                pass
            check(f"{way}: broken", ask("broken", {})[0], 500)
            check(f"{way}: a required field", ask("echo", {"value": {"inner": {}}})[0], 400)
            check(f"{way}: transpose", ask("transpose", {"rows": [{"items": [1, 2]}]}), (200, {"success": [{"items": [1]}, {"items": [2]}]}))
            large = {"value": {"s": "x" * 500_000}}
            check(f"{way}: large", len(ask("echo", large)[1]["success"]["s"]), 500_000)
            if which == "both":
                answer = post(server.port, "interop.kinds.Kinds/delete", {"name": "x"})
                check(f"{way}: kinds", answer, (200, {"text": "deleted x"}))
                status, problem = post(server.port, "interop.kinds.Kinds/Fail", {"name": "NOT_FOUND"})
                check(f"{way}: kinds fails", (status, problem["detail"]), (404, "as wanted: ü"))
            # The upstream goes away: its callers are told, and it is found again when it is back.
            upstream.stop()
            check(f"{way}: gone", ask("ping", {})[0], 503)
        finally:
            server.stop()
            upstream.stop()


def clients(folder, code):
    """Python's and Node's clients."""
    global passed, failed
    one, other = Upstream(code, "framed", "compact", "kinds"), Upstream(code, "buffered", "binary", "calc")
    server = served(
        folder / "clients",
        [
            ("kinds", f"thrift+framed+compact://127.0.0.1:{one.port}", "kinds.proto"),
            ("calc", f"thrift://127.0.0.1:{other.port}", "calc.thrift"),
        ],
    )
    try:
        environment = {**os.environ, "PYTHONPATH": str(code), "PYTHONWARNINGS": "ignore"}
        for command in (
            [PYTHON, HERE / "clients.py", str(server.port)],
            ["node", "--preserve-symlinks-main", HERE / "node/clients.js", str(server.port), str(code)],
        ):
            try:
                done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
            except subprocess.TimeoutExpired as late:
                failed += 1
                print(f"FAIL {command[0]} hangs:\n{(late.stdout or b'').decode()[-3000:]}", flush=True)
                continue
            lines = done.stdout.splitlines()
            good, bad = (sum(line.startswith(word) for line in lines) for word in ("ok ", "FAIL "))
            passed, failed = passed + good, failed + bad
            print(f"{command[0]}: {good} passed, {bad} failed", flush=True)
            if done.returncode or not good:
                print("\n".join(line for line in lines if not line.startswith("ok ")), done.stderr, flush=True)
                failed += not bad
    finally:
        server.stop()
        one.stop()
        other.stop()


def main():
    need_binary()
    if not THRIFT:
        print("SKIP no compiler of Thrift: install Debian's thrift-compiler, or set THRIFT\n0 passed, 0 failed, 1 skipped")
        return 0
    install()
    with tempfile.TemporaryDirectory(prefix="switchboard-thrift-") as folder:
        folder = pathlib.Path(folder)
        code = generate(folder)
        clients(folder, code)
        upstreams(folder, code)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
