"""The server under test, what it must never do, and one call over every protocol."""

import base64
import itertools
import json
import os
import re
import struct
import sys
import time
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "crash"))

from harness import Server, need_binary  # noqa: E402, F401

import upstreams  # noqa: E402
import wire  # noqa: E402

CODES = [
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
]  # fmt: skip
HTTP_STATUS = {
    "CANCELLED": {499}, "UNKNOWN": {500}, "INVALID_ARGUMENT": {400}, "DEADLINE_EXCEEDED": {504}, "NOT_FOUND": {404}, "ALREADY_EXISTS": {409},
    "PERMISSION_DENIED": {403}, "RESOURCE_EXHAUSTED": {429, 413}, "FAILED_PRECONDITION": {400}, "ABORTED": {409}, "OUT_OF_RANGE": {400},
    "UNIMPLEMENTED": {501, 404}, "INTERNAL": {500}, "UNAVAILABLE": {503}, "DATA_LOSS": {500}, "UNAUTHENTICATED": {401},
}  # fmt: skip
RPC_CODE = {-32602: "INVALID_ARGUMENT", -32603: "INTERNAL", -32601: "UNIMPLEMENTED"}

SERVICE = """
service NAME {
  rpc Get(Item) returns (Item) { option idempotency_level = NO_SIDE_EFFECTS; option (google.api.http) = { get: "/NAME/{name=**}" }; }
  rpc Put(Item) returns (Item) { option (google.api.http) = { post: "/NAME:put" body: "*" }; }
  rpc Watch(Item) returns (stream Item);
  rpc Send(stream Item) returns (Item);
  rpc Talk(stream Item) returns (stream Item);
}
"""
MESSAGES = """syntax = "proto3";
package hostile.v1;
import "google/api/annotations.proto";
import "google/protobuf/any.proto";
import "google/protobuf/struct.proto";
message Item {
  string name = 1; int64 big = 2; double number = 3; bytes data = 4; Item item = 5; repeated Item items = 6; map<string, Item> by_name = 7;
  google.protobuf.Any any = 8; int32 small = 9; google.protobuf.Struct struct = 10; repeated int32 smalls = 11;
}
"""


def until(condition, seconds=10.0):
    """Waits for a condition; gives the last answer."""
    end = time.monotonic() + seconds
    while not (got := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return got


class Checks:
    """Counts what held and shows what did not."""

    def __init__(self):
        self.passed, self.failed, self.group = 0, 0, ""

    def ok(self, name, good, shown=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAIL {self.group}: {name}: {str(shown)[:600]}", flush=True)
        return good


class Said:
    """How a call ended: the code by gRPC's name (`OK`), the sentence, what was answered, and how the protocol put it."""

    def __init__(self, code, message="", value=None, raw=None):
        self.code, self.message, self.value, self.raw = code, message or "", value, raw

    def __repr__(self):
        return f"{self.code}: {self.message!r} {self.raw!r}"


class Site:
    """The server with a service for each misbehaving upstream, and one whose methods are workers'."""

    def __init__(self, folder):
        self.keep, dead = upstreams.dead_port()
        self.ups, targets = {}, {"Dead": f"grpc://127.0.0.1:{dead}", "HttpDead": f"http://127.0.0.1:{dead}"}
        targets |= {"ThriftDead": f"thrift://127.0.0.1:{dead}", "RpcDead": f"jsonrpc://127.0.0.1:{dead}"}
        for scheme, modes in upstreams.SCHEMES:
            for name, (talk, _) in modes.items():
                self.ups[name] = upstreams.Upstream(talk)
                targets[name] = scheme.format(self.ups[name].port)
        for name, talk, scheme in [
            ("Good", upstreams.good, "grpc://127.0.0.1:{}"),
            ("Holds", upstreams.early, "grpc://127.0.0.1:{}"),
            ("Recorded", upstreams.h1_record, "http://127.0.0.1:{}/api"),
            ("Rpc", upstreams.h1_record, "jsonrpc://127.0.0.1:{}/rpc"),
            ("Web", upstreams.h1_record, "grpc-web://127.0.0.1:{}"),
        ]:
            self.ups[name] = upstreams.Upstream(talk)
            targets[name] = scheme.format(self.ups[name].port)
        proto = MESSAGES + "".join(SERVICE.replace("NAME", name) for name in [*targets, "Work"])
        (Path(folder) / "hostile.proto").write_text(proto)
        config = f"[limits]\nmessage = \"{upstreams.LIMIT // 1024}KiB\"\n"
        for name in [*targets, "Work"]:
            config += f'[services.{name}]\nproto = "{folder}/hostile.proto"\nservices = ["hostile.v1.{name}"]\n'
            config += f'target = "{targets[name]}"\n' if name in targets else 'topic = "work"\n'
        self.server = Server(Path(folder) / "data", config)
        if self.server.start() is None:
            sys.exit(f"no start: {self.server.said()[-3000:]}")
        self.port, self.checks, self.session = self.server.port, Checks(), None
        self.ids = itertools.count(1)

    def stop(self):
        self.server.stop()
        for up in self.ups.values():
            up.stop()
        self.keep.close()

    # What is looked at from outside

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))

    def connected(self):
        """How many connections the server has to each upstream, and in which state, for those that read what leaks."""
        held = {os.readlink(f"/proc/{self.server.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{self.server.process.pid}/fd")}
        names, found = {up.port: name for name, up in self.ups.items()}, {}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if f"socket:[{words[9]}]" in held:
                key = f"{names.get(int(words[2].split(':')[1], 16), 'caller')} state {words[3]}"
                found[key] = found.get(key, 0) + 1
        return found

    def rss(self):
        """KiB."""
        text = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1])

    def metrics(self):
        text = wire.http1(self.port, "GET", "/metrics").body.decode()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line and line[0] != "#"}

    def running(self):
        """Calls that run, by service, where there are any."""
        answer = wire.http1(self.port, "POST", "/switchboard.v1.Services/List", [("Content-Type", "application/json")], b"{}").json()
        found = {}
        for service in answer["services"]:
            for method in service.get("methods", []):
                count = int(method.get("counts", {}).get("running", 0))
                if count and service.get("name") != "switchboard.v1.Services":
                    found[method.get("path") or method.get("name")] = count
        return found

    def alive(self):
        return self.server.process.poll() is None and self.call("rest", "Good", "alive").code == "OK"

    # One call over every protocol

    def call(self, protocol, service, name="x", method="Get", **more):
        return getattr(self, protocol.replace("-", "_"))(service, method, name, **more)

    def timeout_header(self, seconds):
        return [("Sb-Timeout", f"{int(seconds * 1000)}ms")] if seconds else []

    def grpc(self, service, method, name, seconds=None, headers=(), body=None):
        head = [("content-type", "application/grpc"), ("te", "trailers"), *headers]
        head += [("grpc-timeout", f"{int(seconds * 1000)}m")] if seconds else []
        body = wire.envelope(wire.field(1, name)) if body is None else body
        return self.read_grpc(wire.http2(self.port, f"/hostile.v1.{service}/{method}", head, body))

    @staticmethod
    def read_grpc(answer):
        trailers = answer.trailers if "grpc-status" in answer.trailers else answer.headers
        if "grpc-status" not in trailers:
            return Said(None, raw=answer)
        messages = [message for _, message in wire.envelopes(answer.body)]
        message = urllib.parse.unquote(trailers.get("grpc-message", ""))
        return Said(CODES[int(trailers["grpc-status"])], message, messages, answer)

    def grpc_web(self, service, method, name, seconds=None, headers=(), body=None, text=False):
        kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
        head = [("Content-Type", kind), *headers]
        head += [("grpc-timeout", f"{int(seconds * 1000)}m")] if seconds else []
        body = wire.envelope(wire.field(1, name)) if body is None else body
        answer = wire.http1(self.port, "POST", f"/hostile.v1.{service}/{method}", head, base64.b64encode(body) if text else body)
        return self.read_web(answer, text)

    @staticmethod
    def read_web(answer, text=False):
        body = answer.body
        if text:
            body = b"".join(base64.b64decode(part + "=" * (-len(part) % 4)) for part in re.findall(r"[^=]+", body.decode()))
        trailers, messages = dict(answer.headers), []
        for flags, message in wire.envelopes(body):
            if flags & 0x80:
                lines = message.decode().split("\r\n")
                trailers |= {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines if line}
            else:
                messages.append(message)
        if "grpc-status" not in trailers:
            return Said(None, raw=answer)
        said = Said(CODES[int(trailers["grpc-status"])], urllib.parse.unquote(trailers.get("grpc-message", "")), messages, answer)
        said.trailers = trailers
        return said

    def grpc_web_text(self, service, method, name, **more):
        return self.grpc_web(service, method, name, text=True, **more)

    def connect(self, service, method, name, seconds=None, headers=(), body=None, kind="json"):
        head = [("Content-Type", f"application/{kind}"), ("Connect-Protocol-Version", "1"), *headers]
        head += [("Connect-Timeout-Ms", str(int(seconds * 1000)))] if seconds else []
        if body is None:
            body = json.dumps({"name": name}).encode() if kind == "json" else wire.field(1, name)
        return self.read_connect(wire.http1(self.port, "POST", f"/hostile.v1.{service}/{method}", head, body))

    def connect_proto(self, service, method, name, **more):
        return self.connect(service, method, name, kind="proto", **more)

    def connect_get(self, service, method, name, seconds=None, headers=(), query=None):
        query = query or "connect=v1&encoding=json&message=" + urllib.parse.quote(json.dumps({"name": name}))
        head = [*headers, *([("Connect-Timeout-Ms", str(int(seconds * 1000)))] if seconds else [])]
        return self.read_connect(wire.http1(self.port, "GET", f"/hostile.v1.{service}/{method}?{query}", head))

    @staticmethod
    def read_connect(answer):
        if answer.status == 200:
            return Said("OK", "", answer.body, answer)
        error = answer.json()
        if not isinstance(error, dict) or not isinstance(error.get("code"), str):
            return Said(None, raw=answer)
        code = error["code"].upper().replace("CANCELED", "CANCELLED")
        if answer.status not in HTTP_STATUS.get(code, set()) and answer.status != 431:
            return Said(f"{code} with HTTP {answer.status}", error.get("message"), error, answer)
        return Said(code, error.get("message"), error, answer)

    def connect_stream(self, service, method, name, seconds=None, headers=(), body=None):
        head = [("content-type", "application/connect+proto"), ("connect-protocol-version", "1"), *headers]
        head += [("connect-timeout-ms", str(int(seconds * 1000)))] if seconds else []
        body = wire.envelope(wire.field(1, name)) if body is None else body
        answer = wire.http2(self.port, f"/hostile.v1.{service}/{method}", head, body)
        return self.read_connect_stream(answer)

    def read_connect_stream(self, answer):
        if answer.status != 200:
            return self.read_connect(answer)
        messages = wire.envelopes(answer.body)
        if not messages or not messages[-1][0] & 2:
            return Said(None, raw=answer)
        error = json.loads(messages[-1][1]).get("error")
        if not error:
            return Said("OK", "", messages[:-1], answer)
        return Said(error["code"].upper().replace("CANCELED", "CANCELLED"), error.get("message"), error, answer)

    def rest(self, service, method, name, seconds=None, headers=(), body=None):
        body = json.dumps({"name": name}).encode() if body is None else body
        head = [("Content-Type", "application/json"), *self.timeout_header(seconds), *headers]
        return self.read_rest(wire.http1(self.port, "POST", f"/hostile.v1.{service}/{method}", head, body))

    def rest_path(self, service, method, name, seconds=None, headers=(), path=None):
        path = path or f"/{service}/{urllib.parse.quote(name)}"
        return self.read_rest(wire.http1(self.port, "GET", path, [*self.timeout_header(seconds), *headers]))

    @staticmethod
    def read_rest(answer):
        if 200 <= answer.status < 300:
            return Said("OK", "", answer.body, answer)
        problem = answer.json()
        if not isinstance(problem, dict) or not answer.headers.get("content-type", "").startswith("application/problem+json"):
            return Said(None, raw=answer)
        if problem.get("status") != answer.status or not problem.get("title") or not re.fullmatch(r"SB\d{4}", problem.get("code", "")):
            return Said(None, raw=answer)
        by_status = {400: "INVALID_ARGUMENT", 413: "RESOURCE_EXHAUSTED", 404: "NOT_FOUND", 504: "DEADLINE_EXCEEDED", 501: "UNIMPLEMENTED", 500: "INTERNAL", 503: "UNAVAILABLE"}
        code = problem.get("status_name") or by_status.get(answer.status, str(answer.status))
        if problem.get("status_name") and answer.status not in HTTP_STATUS[code]:
            code = f"{code} with HTTP {answer.status}"
        return Said(code, f"{problem.get('detail', '')} {problem.get('fix', '')}".strip(), problem, answer)

    def graphql(self, service, method, name, seconds=None, headers=(), query=None, variables=None):
        root = "mutation" if method == "Put" else "query"
        call = service[0].lower() + service[1:] + method
        query = query or f"{root} ($n: String) {{ {call}(name: $n) {{ name }} }}"
        body = json.dumps({"query": query, "variables": {"n": name} if variables is None else variables}).encode()
        head = [("Content-Type", "application/json"), *self.timeout_header(seconds), *headers]
        return self.read_graphql(wire.http1(self.port, "POST", "/graphql", head, body))

    @staticmethod
    def read_graphql(answer):
        got = answer.json()
        if not isinstance(got, dict) or not (got.get("data") or got.get("errors")):
            return Said(None, raw=answer)
        if not got.get("errors"):
            return Said("OK", "", got, answer)
        error = got["errors"][0]
        return Said(error.get("extensions", {}).get("code"), error.get("message"), got, answer)

    def json_rpc(self, service, method, name, seconds=None, headers=(), more=None):
        request = {"jsonrpc": "2.0", "method": f"hostile.v1.{service}/{method}", "params": {"name": name}, "id": 1, **(more or {})}
        head = [("Content-Type", "application/json"), *self.timeout_header(seconds), *headers]
        return self.read_json_rpc(wire.http1(self.port, "POST", "/rpc", head, json.dumps(request).encode()).json())

    @staticmethod
    def read_json_rpc(got):
        if not isinstance(got, dict) or got.get("jsonrpc") != "2.0" or "id" not in got:
            return Said(None, raw=got)
        if "error" not in got:
            return Said("OK", "", got["result"], got)
        error = got["error"]
        code = error["code"]
        name = (error.get("data") or {}).get("code") if isinstance(error.get("data"), dict) else None
        if not name:
            name = CODES[-32000 - code] if -32016 <= code <= -32001 else RPC_CODE.get(code, str(code))
        fix = error["data"].get("fix", "") if isinstance(error.get("data"), dict) else str(error.get("data") or "")
        return Said(name, f"{error['message']} {fix}".strip(), error, got)

    def json_rpc_socket(self, service, method, name, seconds=None):
        request = {"jsonrpc": "2.0", "method": f"hostile.v1.{service}/{method}", "params": {"name": name}, "id": 1}
        request |= {"sb": {"timeout": f"{int(seconds * 1000)}ms"}} if seconds else {}
        with wire.Ws(self.port, "/rpc") as ws:
            ws.say(request)
            return self.read_json_rpc(ws.hear())

    MCP_HEAD = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]

    def mcp_post(self, body, session=None, headers=()):
        head = [*self.MCP_HEAD, *headers]
        head += [("Mcp-Session-Id", session), ("Mcp-Protocol-Version", "2025-06-18")] if session else []
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = wire.http1(self.port, "POST", "/mcp", head, body)
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            texts = [line[5:].strip() for line in answer.body.decode().splitlines() if line.startswith("data:")]
            answer.body = next((t.encode() for t in reversed(texts) if t), b"")
        return answer

    def mcp_session(self):
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "hostile", "version": "1"}}
        answer = self.mcp_post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": client})
        session = answer.headers["mcp-session-id"]
        self.mcp_post({"jsonrpc": "2.0", "method": "notifications/initialized"}, session)
        return session

    def mcp(self, service, method, name, seconds=None, headers=(), arguments=None):
        self.session = self.session or self.mcp_session()
        params = {"name": f"hostile_v1_{service}_{method}", "arguments": {"name": name} if arguments is None else arguments}
        request = {"jsonrpc": "2.0", "id": next(self.ids), "method": "tools/call", "params": params}
        return self.read_mcp(self.mcp_post(request, self.session, [*self.timeout_header(seconds), *headers]))

    @staticmethod
    def read_mcp(answer):
        got = answer.json()
        if not isinstance(got, dict) or got.get("jsonrpc") != "2.0":
            return Said(None, raw=answer)
        if "error" in got:
            return Said(str(got["error"]["code"]), got["error"]["message"], got, answer)
        result = got["result"]
        if not result.get("isError"):
            return Said("OK", "", result, answer)
        said = (result.get("_meta") or {}).get("switchboard/error", {})
        text = result["content"][0]["text"] if result.get("content") else ""
        return Said(said.get("code"), text, result, answer)

    def thrift(self, service, method, name, seconds=None, data=None, compact=False):
        data = wire.framed(wire.thrift_call(f"hostile.v1.{service}:{method}", wire.thrift_item(name))) if data is None else data
        with wire.connect(self.port, 10) as sock:
            sock.sendall(data)
            return self.read_thrift(self.thrift_frame(sock))

    @staticmethod
    def thrift_frame(sock):
        got = bytearray()
        try:
            while len(got) < 4 or len(got) < 4 + struct.unpack(">I", got[:4])[0]:
                chunk = sock.recv(65536)
                if not chunk:
                    break
                got += chunk
        except OSError:
            pass
        return bytes(got[4:])

    @staticmethod
    def read_thrift(data):
        if not data:
            return Said(None, raw=data)
        kind, _, value = wire.ThriftReader(data).message()
        if kind == 3:
            text = value.get(1, b"").decode()
            return Said(f"application {value.get(2)}", text, value, data)
        if 0 in value:
            return Said("OK", "", value[0], data)
        if 1 in value:
            return Said(CODES[value[1][1]], value[1].get(2, b"").decode(), value, data)
        return Said("OK", "", value, data)

    def thrift_http(self, service, method, name, seconds=None, data=None, headers=()):
        data = wire.thrift_call(f"hostile.v1.{service}:{method}", wire.thrift_item(name)) if data is None else data
        head = [("Content-Type", "application/x-thrift"), *self.timeout_header(seconds), *headers]
        answer = wire.http1(self.port, "POST", "/thrift", head, data)
        return self.read_thrift(answer.body) if answer.status == 200 else Said(None, raw=answer)


# Who can be given a deadline says so by `seconds`.
PROTOCOLS = [
    "grpc", "grpc-web", "grpc-web-text", "connect", "connect-proto", "connect-get", "rest", "rest-path", "graphql", "json-rpc", "json-rpc-socket",
    "mcp", "thrift", "thrift-http",
]  # fmt: skip
TIMED = [p for p in PROTOCOLS if p != "thrift"]
