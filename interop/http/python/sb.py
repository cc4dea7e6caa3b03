"""What every test of this folder shares: a server to talk to, readers of its streams, checks of its answers."""

import base64
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("SWITCHBOARD_BIN") or str(
    pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "switchboard"
)
PATIENCE = 15.0
_count = itertools.count(1)


def unique(stem="t"):
    """A name no other test uses; tests share servers, so they must not share topics."""
    return f"{stem}{next(_count)}x{os.getpid() % 1000}"


def until(probe, timeout=PATIENCE, what="the condition"):
    """Calls `probe` until it gives something true, and gives that back."""
    end = time.monotonic() + timeout
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true in {timeout} s; last seen: {got!r}")
        time.sleep(0.01)


def background(job):
    """Runs `job` in a thread; `.result()` joins it and gives its value or raises what it raised."""
    return Background(job)


class Background(threading.Thread):
    def __init__(self, job):
        super().__init__(daemon=True)
        self._job, self._value, self._error = job, None, None
        self.start()

    def run(self):
        try:
            self._value = self._job()
        except BaseException as error:  # handed to whoever asks for the result
            self._error = error

    def result(self, timeout=PATIENCE * 2):
        self.join(timeout)
        if self.is_alive():
            raise AssertionError("a background request was never answered")
        if self._error is not None:
            raise self._error
        return self._value

    @property
    def done(self):
        return not self.is_alive()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def config(extra="", scheme="http", engine="disk"):
    """A whole config: the top-level keys, then `extra` (tables)."""
    where = "disk:{dir}/data" if engine == "disk" else engine
    return f'listen = ["{scheme}://127.0.0.1:{{port}}"]\nengine = "{where}"\n{extra}\n'


class Server:
    """`switchboard serve -c FILE` in a folder of its own. Stopped by its pid."""

    def __init__(self, folder, text=None, scheme="http", verify=True, env=None):
        self.dir = pathlib.Path(folder)
        self.text = text or config(scheme=scheme)
        self.scheme, self.verify = scheme, verify
        self.env = {**os.environ, **(env or {})}
        self.process = None
        self.log = self.dir / "server.log"

    def start(self):
        for _ in range(5):
            self.port = free_port()
            file = self.dir / "switchboard.toml"
            file.write_text(self.text.replace("{port}", str(self.port)).replace("{dir}", str(self.dir)))
            out = self.log.open("ab")
            self.process = subprocess.Popen(
                [BINARY, "serve", "-c", str(file)], cwd=self.dir, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=self.env,
            )
            out.close()
            if self._ready():
                return self
            if "SB0105" not in self.tail():  # someone else took the port between our look and its bind
                break
        raise AssertionError(f"the server did not start:\n{self.tail()}")

    def _ready(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            try:
                if httpx.get(self.url + "/readyz", timeout=2, trust_env=False, verify=self.verify).status_code == 200:
                    return True
            except httpx.HTTPError:
                pass
            time.sleep(0.01)
        self.kill()
        return False

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def ws_url(self):
        return self.url.replace("http", "ws", 1)

    def tail(self):
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def api(self, **options):
        return Api(self, **options)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """A clean stop; gives the exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the server did not stop:\n{self.tail()}") from None
        return self.process.returncode

    def rss_kib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def raw(self, data, timeout=PATIENCE, close_write=False):
        """Sends bytes as they are and reads until the server closes or `timeout` passes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as pipe:
            try:
                pipe.sendall(data)
                if close_write:
                    pipe.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the server may answer and close before it has read everything
            got = bytearray()
            try:
                while chunk := pipe.recv(65536):
                    got += chunk
            except OSError:
                pass
            return bytes(got)


class Api(httpx.Client):
    """The contract's requests by name. Every helper asserts the plain success it is named for."""

    def __init__(self, server, token=None, **options):
        options.setdefault("timeout", 30)
        headers = dict(options.pop("headers", {}))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        super().__init__(base_url=server.url, headers=headers, trust_env=False, verify=server.verify, **options)
        self.server = server

    def ok(self, method, path, status=200, **options):
        answer = self.request(method, path, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:600]}"
        return answer

    # topics
    def put_topic(self, name, status=201, **policy):
        return self.ok("PUT", f"/topics/{name}", status, json=policy).json()

    def info(self, name):
        return self.ok("GET", f"/topics/{name}/info").json()

    def publish(self, address, body=b"", headers=None, params=None, status=201):
        if isinstance(body, str):
            body = body.encode()
        return self.ok("POST", f"/topics/{address}", status, content=body, headers=headers, params=params).json()

    def read(self, pattern, headers=None, **params):
        if "from_" in params:
            params["from"] = params.pop("from_")
        return self.ok("GET", f"/topics/{pattern}", params=params, headers=headers).json()

    def bodies(self, pattern, **params):
        return [body_of(m) for m in self.read(pattern, **params)["messages"]]

    def sse(self, path, params=None, headers=None):
        return Sse(self, path, params, headers)

    # groups
    def put_group(self, topic, group, status=201, **options):
        return self.ok("PUT", f"/topics/{topic}/groups/{group}", status, json=options).json()

    def group(self, topic, group):
        return self.ok("GET", f"/topics/{topic}/groups/{group}").json()

    def at(self, topic, group, verb, **body):
        return self.ok("POST", f"/topics/{topic}/groups/{group}/{verb}", json=body).json()

    def lease(self, topic, group, **body):
        body.setdefault("wait", "10s")
        return self.at(topic, group, "lease", **body)["messages"]

    def ack(self, topic, group, *messages):
        return self.at(topic, group, "ack", handles=[m["handle"] for m in messages])["results"]

    def nack(self, topic, group, *messages, **body):
        return self.at(topic, group, "nack", handles=[m["handle"] for m in messages], **body)["results"]

    # jobs
    def put_method(self, method, status=201, **options):
        return self.ok("PUT", f"/methods/{method}", status, json=options).json()

    def submit(self, method, body=b"", status=202, **headers):
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        headers.setdefault("Prefer", "respond-async")
        return self.ok("POST", f"/{method}", status, content=body, headers=headers).json()

    def take(self, method, **body):
        body.setdefault("wait", "10s")
        body.setdefault("worker", "w1")
        return self.ok("POST", "/jobs/take", json={"methods": [method], **body}).json()["jobs"]

    def take_one(self, method, **body):
        jobs = self.take(method, **body)
        assert len(jobs) == 1, f"no job to take: {jobs}"
        return jobs[0]

    def work(self, job, verb, status=200, **options):
        headers = {"Sb-Lease": job["lease"], **options.pop("headers", {})}
        return self.ok("POST", f"/jobs/{job['id']}/{verb}", status, headers=headers, **options)

    def job(self, ident):
        return self.ok("GET", f"/jobs/{ident}").json()

    def events(self, ident, **params):
        return self.ok("GET", f"/jobs/{ident}/events", params=params).json()["events"]


class Sse:
    """Server-Sent Events by the WHATWG rules: CR, LF and CRLF end lines, comments are counted."""

    def __init__(self, api, path, params=None, headers=None):
        headers = {"Accept": "text/event-stream", **(headers or {})}
        timeout = httpx.Timeout(PATIENCE, read=PATIENCE * 2)
        self._context = api.stream("GET", path, params=params, headers=headers, timeout=timeout)
        self.response = self._context.__enter__()
        if self.response.status_code != 200:
            self.response.read()
            text = self.response.text
            self.close()
            raise AssertionError(f"{path}: {self.response.status_code} {text[:400]}")
        assert self.response.headers["content-type"].split(";")[0] == "text/event-stream"
        self.comments, self.retry = 0, None
        self._events = self._parse()

    def _lines(self):
        rest, skip_lf = [], False
        for chunk in self.response.iter_bytes():
            if skip_lf and chunk.startswith(b"\n"):
                chunk = chunk[1:]
            skip_lf = chunk.endswith(b"\r")
            *lines, tail = re.split(rb"\r\n|\r|\n", chunk)
            for line in lines:
                yield b"".join([*rest, line]).decode()
                rest = []
            rest.append(tail)

    def _parse(self):
        event = {"event": "message", "data": [], "id": None}
        for line in self._lines():
            if line == "":
                if event["data"]:  # a browser drops events without a data line
                    event["data"] = "\n".join(event["data"])
                    yield event
                event = {"event": "message", "data": [], "id": None}
                continue
            if line.startswith(":"):
                self.comments += 1
                continue
            field, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if field == "data":
                event["data"].append(value)
            elif field in ("event", "id"):
                event[field] = value
            elif field == "retry":
                self.retry = int(value)

    def next(self):
        return next(self._events)

    def take(self, count):
        return [self.next() for _ in range(count)]

    def rest(self):
        return list(self._events)

    def close(self):
        self._context.__exit__(None, None, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Ws:
    """One WebSocket connection that speaks `switchboard.v1`."""

    def __init__(self, server, path="/ws", token=None, **options):
        headers = dict(options.pop("additional_headers", {}))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        options.setdefault("subprotocols", ["switchboard.v1"])
        if server.scheme == "http":
            options.setdefault("proxy", None)
        self._context = connect(
            server.ws_url + path, additional_headers=headers, max_size=None, open_timeout=PATIENCE, **options
        )
        self.raw = self._context.__enter__()
        self._ids = itertools.count(1)
        self._pushed = []

    def send(self, message, binary=None):
        """As a text frame, or with `binary` (a body's bytes) as a binary one."""
        head = json.dumps(message)
        if binary is None:
            self.raw.send(head)
        else:
            self.raw.send(struct.pack(">I", len(head.encode())) + head.encode() + binary)

    def recv(self, timeout=PATIENCE):
        frame = self.raw.recv(timeout=timeout)
        if isinstance(frame, str):
            got = json.loads(frame)
            got["_binary"] = False
            return got
        (length,) = struct.unpack(">I", frame[:4])
        got = json.loads(frame[4 : 4 + length])
        got["_bytes"], got["_binary"] = frame[4 + length :], True
        return got

    def ask(self, op, binary=None, /, **members):
        """Sends a request and gives its answer; what is pushed meanwhile is kept for `push`. `body=` is a member of the JSON."""
        ident = next(self._ids)
        self.send({"op": op, "id": ident, **members}, binary)
        while True:
            got = self.recv()
            if got.get("id") == ident and got.get("op") in ("ok", "error"):
                return got
            self._pushed.append(got)

    def ok(self, op, binary=None, /, **members):
        got = self.ask(op, binary, **members)
        assert got["op"] == "ok", got
        return got

    def error(self, op, code=None, **members):
        got = self.ask(op, **members)
        assert got["op"] == "error", got
        if code:
            assert got["problem"]["code"] == code, got
        return got["problem"]

    def push(self, timeout=PATIENCE):
        return self._pushed.pop(0) if self._pushed else self.recv(timeout)

    def silent(self):
        """Whether nothing was pushed: everything sent before our ping's answer has arrived by then."""
        self.ok("ping")
        return not self._pushed

    def closed(self, timeout=PATIENCE):
        """Waits for the close and gives its code."""
        try:
            while True:
                self.raw.recv(timeout=timeout)
        except ConnectionClosed:
            return self.raw.protocol.close_code

    def close(self):
        self._context.__exit__(None, None, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def body_of(message):
    """The bytes of a MESSAGE (or EVENT, RESULT, job) shown as JSON."""
    if "_bytes" in message:
        return message["_bytes"]
    if message.get("encoding") == "base64":
        return base64.b64decode(message["body"], validate=True)
    assert "encoding" not in message, message
    return message.get("body", "").encode()


def problem(answer, status, code=None):
    """Checks a problem+json answer, every member of it, and gives it back."""
    assert answer.status_code == status, f"{answer.status_code} instead of {status}: {answer.text[:600]}"
    assert answer.headers["content-type"].split(";")[0] == "application/problem+json"
    return problem_members(answer.json(), status, code)


def problem_members(got, status=None, code=None):
    assert isinstance(got["title"], str) and got["title"]
    assert isinstance(got["detail"], str)
    assert isinstance(got.get("fix", ""), str)
    assert got["code"].startswith("SB") and len(got["code"]) == 6
    assert got["type"] == f"/docs/errors#{got['code']}"
    if status is not None:
        assert got["status"] == status, got
    if code is not None:
        codes = (code,) if isinstance(code, str) else code
        assert got["code"] in codes, got
    return got


def head_of(raw):
    """Status and lower-cased headers of raw response bytes; (0, {}) when nothing came."""
    if not raw:
        return 0, {}
    head = raw.split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n")
    fields = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    return int(head[0].split()[1]), fields
