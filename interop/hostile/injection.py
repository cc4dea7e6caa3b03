"""What a caller says must not become another path, another header or another request at a service behind: S17, over every protocol. The services
are one that speaks HTTP/1.1 and JSON below `/api`, one that speaks JSON-RPC, and one that speaks gRPC-Web; all write down what they are asked."""

import json
import re

import wire
from site_under_test import until
from upstreams import h1, h1_ok

# Names that become a path: `GET /api/Recorded/{name=**}`.
NAMES = [
    "a", "a/b", "..", ".", "../x", "a/../../x", "a/..", "./a", "a/./b", "", "/", "//a", "a//b", "/etc/passwd", "%2e%2e/x", "%2f", "..%2fx", "%252e%252e", "a%00b", "a\0b", "a\r\nX-Evil: y",
    "a\r\n\r\nGET /evil HTTP/1.1\r\n\r\n", "a HTTP/1.1\r\nX-Evil: y", "a?x=y", "a#b", "a;b=c", "a b", "a\\..\\b", "é", "\u2025/x", "\u202e", "a\u0000", "http://evil/x", "//evil/x", "@evil", "a:b", ":put", "a" * 5000, "𝕏", "a%", "a%zz", "a+b", "a&b=c", "\x7f", "\t",
]  # fmt: skip
PATH = re.compile(rb"GET (/api/Recorded/[^ ?#]*)(\?[^ #]*)? HTTP/1\.1")


def cases(site):
    paths_out(site)
    paths_in(site)
    metadata(site)
    asked_where(site)
    answers(site)


def requests(site, name, seen):
    return site.ups[name].seen[seen:]


def paths_out(site):
    """A value of a message becomes one path below the rule's, with nothing in it that a server would walk back on; or it is refused."""
    site.checks.group = "paths out"
    up = site.ups["Recorded"]
    for protocol in ("grpc", "connect", "rest", "graphql", "json-rpc", "mcp", "thrift"):
        for name in NAMES:
            seen = len(up.seen)
            said = site.call(protocol, "Recorded", name)
            asked = up.seen[seen:]
            if said.code != "OK":
                site.checks.ok(f"{protocol}: {name[:30]!r} is refused, and reaches nobody", said.code in ("INVALID_ARGUMENT", "BAD_USER_INPUT") and len(said.message) > 8 and not asked, (said, asked))
                continue
            line, _, rest = asked[0]["head"].partition(b"\r\n") if asked else (b"", b"", b"")
            match = PATH.fullmatch(line)
            path = match[1] if match else b"?"
            segments = path.lower().replace(b"%2e", b".").split(b"/")[3:]
            good = len(asked) == 1 and match and b"." not in segments and b".." not in segments and b"x-evil:" not in rest.lower() and not asked[0]["more"] and not match[2]
            site.checks.ok(f"{protocol}: {name[:30]!r} is one path", good, (line, rest))


# Paths of callers. The service is asked for what they say, below its rule, or not at all.
PATHS = [
    "/Recorded/a", "/Recorded/a/b", "/Recorded/../Recorded/a", "/Recorded/%2e%2e/x", "/Recorded/a/..%2f..%2fx", "/Recorded/..", "/Recorded/.", "/Recorded/%2e", "/Recorded//a", "//Recorded/a", "/Recorded/%2fa", "/Recorded/a%00b", "/Recorded/a%0d%0aX-Evil:%20y",
    "/Recorded/%c0%ae%c0%ae/x", "/Recorded/%e0%80%ae", "/Recorded/%ff", "/recorded/a", "/RECORDED/a", "/Recorded./a", "/Recorded%2fa", "/%52ecorded/a", "/Recorded/a?name=../b", "/Recorded/a%3fb", "/Recorded/a%23b", "/Recorded/a;b", "/Recorded/a%", "/Recorded/a%zz", "/Recorded/a%2", "/Recorded/", "/Recorded",
    "http://localhost/Recorded/a", "http://evil/Recorded/../x", "/Recorded/a\\..\\b", "/Recorded/%5c..%5c", "/x/../Recorded/a", "/./Recorded/a", "/Recorded/" + "a/" * 2000, "/Recorded/" + "%2e" * 100, "/Recorded/a:put", "/Recorded:put",
]  # fmt: skip


def paths_in(site):
    site.checks.group = "paths in"
    up = site.ups["Recorded"]
    for path in PATHS:
        seen = len(up.seen)
        answer = wire.http1(site.port, "GET", path)
        asked = up.seen[seen:]
        if answer.status != 200:
            said = site.read_rest(answer)
            site.checks.ok(f"{path[:60]!r} is refused, and reaches nobody", (400 <= answer.status < 500) and not asked and len(said.message) > 8, (answer, asked))
            continue
        line, _, rest = asked[0]["head"].partition(b"\r\n") if asked else (b"", b"", b"")
        match = PATH.fullmatch(line)
        segments = (match[1] if match else b"?").lower().replace(b"%2e", b".").split(b"/")[3:]
        good = len(asked) == 1 and match and b"." not in segments and b".." not in segments and b"x-evil:" not in rest.lower()
        good = good and path.startswith(("/Recorded", "http://localhost/Recorded/")) or path.lower().startswith("/%52ecorded/") and good
        site.checks.ok(f"{path[:60]!r} is one path", good, (line, rest))
    with wire.H2(site.port, timeout=3) as conn:
        for path in PATHS:
            seen = len(up.seen)
            answer = conn.answer(conn.open(path, end=True, method="GET"))
            asked = up.seen[seen:]
            lines = [a["head"].split(b"\r\n")[0] for a in asked]
            good = answer.status != 200 and not asked or len(asked) == 1 and PATH.fullmatch(lines[0]) and b"/../" not in lines[0] and not lines[0].split()[1].endswith(b"/..")
            site.checks.ok(f"HTTP/2: {path[:60]!r}", good, (answer, lines))
            if conn.closed or conn.goaway is not None or answer.reset is not None:
                conn.sock.close()
                conn.__init__(site.port, timeout=3)


# Names that a service must never be told by a caller.
EVIL = ["host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "proxy-authorization", "proxy-connection", "authorization", "cookie", "sb-api-key", "expect", "http2-settings"]


def metadata(site):
    site.checks.group = "metadata"
    for service in ("Recorded", "Rpc", "Web"):
        up = site.ups[service]
        for name in EVIL:
            # By headers, where the transport lets them come so far.
            for protocol in ("grpc", "rest", "connect", "graphql", "json-rpc", "mcp"):
                if name in ("host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "authorization", "sb-api-key", "te") or protocol == "grpc" and name in ("keep-alive", "proxy-connection"):
                    continue
                seen = len(up.seen)
                site.call(protocol, service, "a", headers=[(name, "evil-1")], seconds=2)
                told = b"".join(a["head"] for a in up.seen[seen:])
                site.checks.ok(f"{service} is not told {name} over {protocol}", up.seen[seen:] and b"evil-1" not in told, told)
            # By the members that stand for headers.
            seen = len(up.seen)
            said = site.call("json-rpc", service, "a", more={"sb": {"metadata": {name: "evil-2", "x-mine": "kept"}, "timeout": "2s"}})
            asked = up.seen[seen:]
            told = b"".join(a["head"] for a in asked)
            site.checks.ok(f"{service} is not told {name} by sb.metadata", b"evil-2" not in told and (asked or said.code == "-32600"), (said, told))
        for name, value in (("x-a", "b\r\nX-Evil: y"), ("x-a\r\nX-Evil", "y"), ("x-a", "b\0"), ("x a", "b"), ("x-a:", "b"), ("", "b"), ("x-é", "b")):
            seen = len(up.seen)
            said = site.call("json-rpc", service, "a", more={"sb": {"metadata": {name: value}, "timeout": "2s"}})
            told = b"".join(a["head"] for a in up.seen[seen:])
            site.checks.ok(f"{service}: {name!r}: {value!r} is refused", said.code == "-32600" and b"x-evil" not in told.lower(), (said, told))
        for path in ("_meta", "arguments"):
            session = site.mcp_session()
            seen = len(up.seen)
            params = {"name": f"hostile_v1_{service}_Get", "arguments": {"name": "a"}, "_meta": {"traceparent": "a\r\nX-Evil: y", "baggage": "b\nX-Evil: y", path: 1}}
            site.mcp_post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, session, [("Sb-Timeout", "2s")])
            told = b"".join(a["head"] for a in up.seen[seen:])
            site.checks.ok(f"{service}: _meta of MCP is not divided", b"x-evil" not in told.lower(), told)
            wire.http1(site.port, "DELETE", "/mcp", [("Mcp-Session-Id", session)])


def asked_where(site):
    """The path of a target is asked, once, whatever protocol it speaks."""
    site.checks.group = "targets"
    for service, wanted in (("Recorded", b"GET /api/Recorded/a HTTP/1.1"), ("Rpc", b"POST /rpc HTTP/1.1"), ("Web", b"POST /hostile.v1.Web/Get HTTP/1.1")):
        up = site.ups[service]
        seen = len(up.seen)
        site.call("grpc", service, "a", seconds=2)
        lines = [asked["head"].split(b"\r\n")[0] for asked in up.seen[seen:]]
        site.checks.ok(f"{service} is asked at its path", set(lines) == {wanted}, lines)


def answers(site):
    """Headers of a service's answer that are the transport's do not reach callers."""
    site.checks.group = "answers"
    evil = b"Keep-Alive: evil-3\r\nProxy-Authenticate: evil-3\r\nUpgrade: evil-3\r\nTrailer: evil-3\r\nX-Mine: kept\r\n"
    talk = h1(h1_ok(b"{}", b"application/json", evil))
    up = site.ups["Recorded"]
    before, up.talk = up.talk, talk
    up.drop()
    until(lambda: not up.open, 3)
    try:
        for protocol in ("grpc", "grpc-web", "connect", "rest", "json-rpc", "thrift-http"):
            said = site.call(protocol, "Recorded", "a")
            heads = getattr(said.raw, "headers", {})
            site.checks.ok(f"{protocol}: they stay here", said.code == "OK" and "evil-3" not in json.dumps(heads), said)
    finally:
        up.talk = before
