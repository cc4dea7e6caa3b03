"""What the crash tests share: a server that can be killed, a client per thread, bodies that prove themselves.

Nothing here needs more than Python's standard library.
"""

import base64
import hashlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SWITCHBOARD_BIN") or str(
    pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "switchboard"
)


class Gone(Exception):
    """The server is not there (any more): the outcome of the request is not known."""


def need_binary():
    if not os.access(BINARY, os.X_OK):
        raise SystemExit(f"no binary at {BINARY}: build it with `cargo build --release` or set SWITCHBOARD_BIN")


def body_for(token):
    """The bytes that belong to a token. Whoever reads them back can tell whether one bit is wrong."""
    seed = hashlib.sha256(token.encode()).digest()
    size = int.from_bytes(seed[:2], "big") % 900
    if seed[2] < 6:
        size = 5000 + seed[3] * 400
    return token.encode() + b"\n" + hashlib.shake_128(seed).digest(size)


def token_of(body):
    """The token of a body; None when these bytes were never sent by us."""
    token = body.split(b"\n", 1)[0].decode("ascii", "replace")
    return token if body == body_for(token) else None


def decoded(message):
    body = message.get("body", "")
    return base64.b64decode(body) if message.get("encoding") == "base64" else body.encode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """`switchboard serve` on a data folder; killed and started again on the same one."""

    def __init__(self, data, extra=""):
        self.data = pathlib.Path(data)
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="switchboard-crash-"))
        self.extra, self.process, self.port = extra, None, free_port()
        self.log = self.home / "server.log"

    def start(self, timeout=30.0):
        """Starts and waits for /readyz; gives the seconds that took, or None when the server refused to start."""
        for _ in range(3):
            file = self.home / "switchboard.toml"
            file.write_text(
                f'listen = ["http://127.0.0.1:{self.port}"]\nengine = "disk:{self.data}"\n{self.extra}\n'
            )
            self.log.write_bytes(b"")
            out = self.log.open("ab")
            began = time.monotonic()
            self.process = subprocess.Popen(
                [BINARY, "serve", "-c", str(file)], cwd=self.home, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
            out.close()
            while time.monotonic() - began < timeout:
                if self.process.poll() is not None:
                    break
                if self._ready():
                    return time.monotonic() - began
                time.sleep(0.002)
            else:
                self.kill()
                return None
            if "SB0105" not in self.said():
                return None
            self.port = free_port()
        return None

    def _ready(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as pipe:
                pipe.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return pipe.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
                return None
        return self.process.returncode if self.process else None

    def client(self):
        return Client(self)


class Client:
    """One connection, one thread."""

    def __init__(self, server, timeout=20):
        self.server, self.timeout, self.pipe = server, timeout, None

    def ask(self, method, path, body=None, headers=None):
        """Status, headers, bytes. Raises Gone when no whole answer came."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        try:
            if self.pipe is None:
                self.pipe = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=self.timeout)
                self.pipe.connect()
                self.pipe.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pipe.request(method, path, body, headers)
            answer = self.pipe.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Gone(str(error)) from error

    def json(self, method, path, body=None, headers=None, expect=(200, 201)):
        status, _, data = self.ask(method, path, body, headers)
        if status not in expect:
            raise Wrong(f"{method} {path}: {status} {data[:300]!r}")
        return json.loads(data) if data else None

    def close(self):
        if self.pipe:
            self.pipe.close()
            self.pipe = None

    def messages(self, topic, start="start", partition=None):
        """Every message of a topic from there on, page by page, until a page is empty."""
        query = {"from": start, "limit": 1000}
        if partition is not None:
            query["partition"] = partition
        while True:
            page = self.json("GET", f"/topics/{topic}?{urllib.parse.urlencode(query)}")
            if not page["messages"]:
                return
            yield from page["messages"]
            query.pop("from", None)
            query["after"] = page["next"]


class Wrong(Exception):
    """The server answered what it must not answer."""


class Faults:
    """Collects what went wrong, from any thread; a few words each, not thousands."""

    def __init__(self):
        self._lock, self.found = threading.Lock(), []

    def add(self, text):
        with self._lock:
            if len(self.found) < 20:
                self.found.append(text)

    def check(self, holds, text):
        if not holds:
            self.add(text() if callable(text) else text)
        return holds


class Results:
    """The lines and the last line of a test program."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def say(self, name, faults):
        if faults:
            self.failed += 1
            print(f"FAIL {name}", flush=True)
            for fault in faults:
                print(f"     {fault}", flush=True)
        else:
            self.passed += 1
            print(f"ok   {name}", flush=True)

    def skip(self, name, why):
        self.skipped += 1
        print(f"SKIP {name}: {why}", flush=True)

    def end(self):
        tail = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {self.failed} failed{tail}", flush=True)
        return 1 if self.failed else 0
