"""gRPC, gRPC-Web, Connect: frames, types, paths, headers and compressions that are wrong; reflection and health with rubbish."""

import base64
import gzip
import json
import re
import struct
import urllib.parse
import zlib

import wire
from upstreams import BOMB, LIMIT, ONE_BOMB, item_of
from wire import envelope, field, nested

GET = "/hostile.v1.Good/Get"
X = field(1, "x")

# Bytes that are no Item.
NOT_AN_ITEM = {
    "a varint without end": b"\x10" + b"\xff" * 20,
    "a varint that is cut": b"\x10\xff",
    "a length beyond the end": b"\x0a\x7fabc",
    "a length of 2^63": b"\x0a" + b"\xff" * 8 + b"\x7f",
    "a length of 2^32": b"\x0a\x80\x80\x80\x80\x10",
    "field zero": b"\x00\x01",
    "wire type 6": b"\x0e\x01",
    "wire type 7": b"\x0f\x01",
    "a group without end": b"\x0b\x08\x01",
    "a group that ends otherwise": b"\xa3\x06\xac\x06",
    "the end of no group": b"\xa4\x06",
    "groups 5,000 deep": b"\xa3\x06" * 5000 + b"\xa4\x06" * 5000,
    "messages 5,000 deep": nested(5, 5000),
    "text that is not UTF-8": field(1, b"\xff\xfe"),
    "a fixed64 that is cut": b"\x19abc",
}


def struct_bomb(depth):
    inner = field(4, 1)
    for _ in range(depth):
        inner = field(5, field(1, field(1, "a") + field(2, inner)))
    return field(10, field(1, field(1, "a") + field(2, inner)))


def any_bomb(depth):
    inner = b""
    for _ in range(depth):
        inner = field(1, "type.googleapis.com/google.protobuf.Any") + field(2, inner)
    return field(8, inner)


def cases(site):
    # The upstream speaks Protobuf: these bytes are handed on as they are, so whoever has to convert them is asked as well.
    messages(site)
    envelopes(site)
    compressions(site)
    requests(site)
    timeouts(site)
    paths(site)
    connect_get(site)
    services(site)


def expect(site, name, said, *codes):
    site.checks.ok(f"{name} is {' or '.join(codes)}", said.code in codes and (said.code == "OK" or len(said.message) > 8), said)


def messages(site):
    """Where a message has to be converted (a worker is given JSON), what cannot be read is refused; where not, it is handed on."""
    site.checks.group = "Protobuf"
    bad = {**NOT_AN_ITEM, "Struct 5,000 deep": struct_bomb(3000), "Any 3,000 deep": any_bomb(3000)}
    bad["Any of an unknown type"] = field(8, field(1, "type.googleapis.com/no.Such") + field(2, b"abc"))
    bad["Any of damaged bytes"] = field(8, field(1, "type.googleapis.com/hostile.v1.Item") + field(2, b"\xff"))
    for name, data in bad.items():
        data = data[: LIMIT - 10]
        for protocol, body in (("grpc", envelope(data)), ("grpc-web", envelope(data)), ("grpc-web-text", envelope(data)), ("connect-proto", data)):
            expect(site, f"{name} over {protocol}", site.call(protocol, "Work", body=body, seconds=0.3), "INVALID_ARGUMENT")
            # Nobody here looks into it, and the upstream gives it back: no harm, whatever is said.
            said = site.call(protocol, "Good", body=body)
            site.checks.ok(f"{name} through {protocol} ends", said.code is not None, said)
    for name, text in JSON_NOT_AN_ITEM.items():
        expect(site, f"{name} over connect", site.call("connect", "Good", body=text), "INVALID_ARGUMENT")
        said = site.read_grpc(wire.http2(site.port, GET, [("content-type", "application/grpc+json"), ("te", "trailers")], envelope(text)))
        expect(site, f"{name} over gRPC", said, "INVALID_ARGUMENT")


JSON_NOT_AN_ITEM = {
    "no JSON": b"{",
    "nothing but space": b"   ",
    "a list": b"[]",
    "text": b'"x"',
    "two objects": b"{}{}",
    "a number as text": b'{"name":1}',
    "text as a number": b'{"small":"x"}',
    "too large a number": b'{"small":2147483648}',
    "a number of 400 digits": b'{"big":' + b"9" * 400 + b"}",
    "1e999": b'{"number":1e999}',
    "NaN": b'{"number":NaN}',
    "Infinity": b'{"number":-Infinity}',
    "half a number": b'{"small":1.5}',
    "an unknown field": b'{"nmae":"x"}',
    "a field twice": b'{"name":"a","name":"b"}',
    "a lone surrogate": b'{"name":"\\ud800"}',
    "no UTF-8": b'{"name":"\xff"}',
    "a raw control character": b'{"name":"\x01"}',
    "base64 that is none": b'{"data":"?"}',
    "objects 50,000 deep": b'{"item":' * 30000,
    "lists 100,000 deep": b'{"items":' + b"[" * 100000,
    "a Struct 50,000 deep": b'{"struct":{"a":' + b"[" * 50000 + b"]" * 50000 + b"}}",
    "an Any without a type": b'{"any":{"name":"x"}}',
    "an Any of an unknown type": b'{"any":{"@type":"type.googleapis.com/no.Such"}}',
    "Any 3,000 deep": b'{"any":' + b'{"@type":"type.googleapis.com/google.protobuf.Any","value":' * 3000 + b"{}" + b"}" * 3001,
    "null in a list": b'{"smalls":[null]}',
    "a comma too many": b'{"name":"x",}',
    "a comment": b'{"name":"x"/*y*/}',
    "a byte order mark": b"\xef\xbb\xbf{}",
}


def envelopes(site):
    site.checks.group = "envelopes"
    bad = {
        "half a head": b"\0\0\0",
        "no message": b"",
        "a message that is cut": envelope(X, length=100),
        "2^32-1 bytes": envelope(X, length=0xFFFFFFFF),
        "two messages": envelope(X) + envelope(X),
        "a message and half of one": envelope(X) + b"\0\0",
        "unknown flags": envelope(X, flags=0x7E),
        "compressed, and nobody said how": envelope(gzip.compress(X), flags=1),
    }
    wanted = {"2^32-1 bytes": ("RESOURCE_EXHAUSTED",)}
    for name, body in bad.items():
        codes = wanted.get(name, ("INVALID_ARGUMENT", "INTERNAL", "UNIMPLEMENTED"))
        for protocol in ("grpc", "grpc-web", "grpc-web-text"):
            expect(site, f"{name} over {protocol}", site.call(protocol, "Good", body=body), *codes)
        expect(site, f"{name} over a Connect stream", site.call("connect-stream", "Good", method="Watch", body=body), *codes)
        # To a stream several messages may go, and none.
        for method in ("Send", "Talk"):
            said = site.call("grpc", "Good", method=method, body=body)
            site.checks.ok(f"{name} to {method} ends", said.code is not None, said)
    kind = [("Content-Type", "application/grpc-web-text")]
    for text in (b"?", b"A", b"AAAA=AAA", b"AAAAAAA\xff", b"====", b"AAAAAA==" * 3 + b"A"):
        said = site.read_web(wire.http1(site.port, "POST", GET, kind, text), True)
        expect(site, f"base64 {text!r}", said, "INVALID_ARGUMENT", "INTERNAL", "UNIMPLEMENTED")
    # A body whose head says more than comes, and one that never ends.
    for protocol_kind in ("application/grpc-web", "application/proto", "application/connect+proto"):
        head = f"POST {GET if protocol_kind == 'application/proto' else GET.replace('Get', 'Watch')} HTTP/1.1\r\nHost: a\r\nContent-Type: {protocol_kind}\r\nContent-Length: 1000\r\n\r\nabc"
        got = wire.raw(site.port, head.encode(), 3, close_write=True)
        site.checks.ok(f"{protocol_kind} that is cut by the connection", not got.startswith(b"HTTP/1.1 2") or b"grpc-status: 0" not in got, got)


def compressions(site):
    site.checks.group = "compression"
    zstd_window = b"\x28\xb5\x2f\xfd\x00\xf8" + b"\x01\x00\x00"  # one empty block, a window of 2^41
    zstd_large = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 62) + b"\x01\x00\x00"
    bad = {
        ("gzip", "is not gzip"): (b"abc", ("INVALID_ARGUMENT", "INTERNAL")),
        ("gzip", "is cut"): (gzip.compress(b"x" * 10000)[:-12], ("INVALID_ARGUMENT", "INTERNAL")),
        ("gzip", "has a wrong checksum"): (gzip.compress(X)[:-8] + b"\0" * 8, ("INVALID_ARGUMENT", "INTERNAL")),
        ("gzip", "is a bomb"): (ONE_BOMB, ("RESOURCE_EXHAUSTED",)),
        ("gzip", "is a bomb in a bomb"): (BOMB, ("RESOURCE_EXHAUSTED", "OK", "INTERNAL", "INVALID_ARGUMENT")),
        ("gzip", "is a bomb of many members"): (gzip.compress(b"\0" * 1000) * 2000, ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "INTERNAL")),
        ("deflate", "is not deflate"): (b"abc", ("INVALID_ARGUMENT", "INTERNAL")),
        ("deflate", "is a bomb"): (zlib.compress(b"\0" * (64 << 20)), ("RESOURCE_EXHAUSTED",)),
        ("zstd", "is not zstd"): (b"abc", ("INVALID_ARGUMENT", "INTERNAL")),
        ("zstd", "wants a window of 2^41"): (zstd_window, ("INVALID_ARGUMENT", "INTERNAL", "RESOURCE_EXHAUSTED")),
        ("zstd", "says that it has 2^62 bytes"): (zstd_large, ("INVALID_ARGUMENT", "INTERNAL", "RESOURCE_EXHAUSTED")),
        ("br", "is not brotli"): (b"\xff" * 30, ("INVALID_ARGUMENT", "INTERNAL")),
        ("snappy", "is unknown"): (X, ("UNIMPLEMENTED",)),
        ("GZIP; q=1", "is unknown"): (X, ("UNIMPLEMENTED",)),
        ("", "has no name"): (gzip.compress(X), ("INVALID_ARGUMENT", "INTERNAL", "UNIMPLEMENTED")),
    }
    for (packing, how), (data, codes) in bad.items():
        name = f"{packing} that {how}"
        for protocol in ("grpc", "grpc-web", "grpc-web-text"):
            expect(site, f"{name} over {protocol}", site.call(protocol, "Good", body=envelope(data, 1), headers=[("grpc-encoding", packing)]), *codes)
        more = ("INVALID_ARGUMENT", "OK") if not packing else ()
        expect(site, f"{name} over connect", site.call("connect-proto", "Good", body=data, headers=[("Content-Encoding", packing)]), *codes, *more)
        said = site.call("connect-stream", "Good", method="Watch", body=envelope(data, 1), headers=[("connect-content-encoding", packing)])
        expect(site, f"{name} over a Connect stream", said, *codes)
    for size, wanted in ((LIMIT, "OK"), (LIMIT + 1, "RESOURCE_EXHAUSTED")):
        from upstreams import item_of

        said = site.call("grpc", "Good", body=envelope(gzip.compress(item_of(size)), 1), headers=[("grpc-encoding", "gzip")])
        expect(site, f"{size} bytes, unpacked", said, wanted)


def requests(site):
    """Wrong types, methods, versions, and headers that are the protocols'."""
    site.checks.group = "requests"
    port = site.port
    for kind in ("application/grpcx", "application/grpc+xml", "application/grpc-web+xml", "application/connect+xml", "text/plain", "", "application/grpc, application/proto"):
        answer = wire.http2(port, GET, [("content-type", kind)], envelope(X))
        site.checks.ok(f"content type {kind!r} is refused", answer.status in (400, 415, 501) or answer.trailers.get("grpc-status", "0") != "0" or answer.headers.get("grpc-status", "0") != "0", answer)
    for method in ("GET", "PUT", "DELETE", "TRACE", "CONNECT", "PROPFIND", "PRI"):
        answer = wire.http2(port, GET, [("content-type", "application/grpc")], b"", method=method) if method != "CONNECT" else wire.http1(port, method, "localhost:1")
        site.checks.ok(f"{method} is refused", answer.status in (400, 404, 405, 415, 501) or answer.reset is not None or answer.status == 0, answer)
    answer = wire.http1(port, "POST", GET, [("Content-Type", "application/grpc")], envelope(X))
    site.checks.ok("gRPC over HTTP/1.1 is 505", answer.status == 505 and answer.body, answer)
    for version in ("2", "", "1.0", "x" * 1000):
        said = site.call("connect", "Good", headers=[("connect-protocol-version", version)], body=b"{}")
        # Two of them are sent, and they differ.
        site.checks.ok(f"Connect version {version[:10]!r} beside 1", said.code in ("INVALID_ARGUMENT", "OK"), said)
    answer = wire.http1(port, "POST", GET, [("Content-Type", "application/proto"), ("Connect-Protocol-Version", "2")], X)
    expect(site, "Connect version 2", site.read_connect(answer), "INVALID_ARGUMENT")
    for protocol in ("grpc", "grpc-web", "connect", "connect-proto", "rest", "json-rpc", "graphql", "mcp", "thrift", "thrift-http"):
        said = site.call(protocol, "Good", method="Gte")
        site.checks.ok(f"{protocol}: a method that is not there", said.code not in ("OK", None) and len(said.message) > 8, said)
        said = site.call(protocol, "Godo")
        site.checks.ok(f"{protocol}: a service that is not there", said.code not in ("OK", None) and len(said.message) > 8, said)
    # Metadata that only the protocols may write, and such as would divide a head.
    up = site.ups["Good"]
    names = ["grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding", "connect-timeout-ms", "trailer", "host", "x-user-agent", "cookie", "authorization", "proxy-authorization", "keep-alive", "expect", "te"]
    for protocol in ("grpc", "grpc-web", "connect", "rest", "json-rpc", "graphql", "mcp"):
        seen = len(up.seen)
        headers = [(n, "trailers" if n == "te" else "Zm9v") for n in names if n not in ("host", "expect", "grpc-encoding", "connect-timeout-ms", "authorization") and not (protocol == "grpc" and n in ("te", "keep-alive"))]
        said = site.call(protocol, "Good", headers=[*headers, ("x-mine", "kept"), ("x-bin", "//8="), ("x-bad-bin", "?")])
        told = up.seen[seen:]
        leaked = [n for n in names if told and told[0].get(n) == "Zm9v"]
        site.checks.ok(f"{protocol}: metadata of the protocols stays here", said.code == "OK" and told and not leaked, (said, leaked))
        site.checks.ok(f"{protocol}: other metadata goes on", told and told[0].get("x-mine") == "kept", told)
    for value in (b"a\rb", b"a\nb", b"a\r\nx-evil: y", b"a\0b", b"\x7f"):
        seen = len(up.seen)
        answer = wire.http2(port, GET, [("content-type", "application/grpc"), ("te", "trailers"), ("x-mine", value)], envelope(X))
        told = [s.get("x-mine") for s in up.seen[seen:]]
        site.checks.ok(f"gRPC: {value!r} in metadata is refused", answer.status in (0, 400) and not told, (answer, told))
        answer = wire.http1(port, "POST", GET, [("Content-Type", "application/grpc-web"), (b"X-Mine", value)], envelope(X))
        told = [s for s in up.seen[seen:] if s.get("x-evil") == "y" and b"\r\n" not in value or any(c in s.get("x-mine", "") for c in "\r\n\0")]
        site.checks.ok(f"gRPC-Web: {value!r} in metadata does not get through", not told, (answer, told))
    for name in (b"X Mine", b"X-M\xffne", b"", b"x:y", b"X-Mine "):
        answer = wire.http2(port, GET, [("content-type", "application/grpc"), ("te", "trailers"), (name, "v")], envelope(X))
        site.checks.ok(f"gRPC: a header named {name!r} is refused", answer.status in (0, 400), answer)
    many = [(f"x-{at}", "y") for at in range(300)]
    for what, headers in (("300 headers", many), ("a head of 100 KB", [("x-a", "y" * 100000)]), ("a header of 20 KB", [("x-a", "y" * 20000)])):
        with wire.H2(port, timeout=5) as conn:
            whole = wire.block([(":method", "POST"), (":scheme", "http"), (":path", GET), (":authority", "a"), ("content-type", "application/grpc"), *headers])
            pieces = [whole[at : at + 16000] for at in range(0, len(whole), 16000)]
            conn.send(wire.frame(wire.HEADERS, 4 if len(pieces) == 1 else 0, 1, pieces[0]))
            for at, piece in enumerate(pieces[1:], 2):
                conn.send(wire.frame(wire.CONTINUATION, 4 if at == len(pieces) else 0, 1, piece))
            conn.data(1, envelope(X), end=True)
            answer = conn.answer(1)
            site.checks.ok(f"{what}: an answer", answer.status in (200, 431) or answer.reset is not None or conn.closed or conn.goaway is not None, answer)


def timeouts(site):
    site.checks.group = "timeouts"
    for text in ("99999999H", "00000001H", "1H", "99999999S"):
        said = site.call("grpc", "Good", headers=[("grpc-timeout", text)])
        expect(site, f"grpc-timeout {text}", said, "OK")
    for text in ("999999999S", "-1S", "1", "S", "1s", "1.5S", "1 S", "0x1S", "", "１S", "1SS", "1e3S"):
        headers = [("grpc-timeout", text.encode())]
        for protocol in ("grpc", "grpc-web"):
            expect(site, f"grpc-timeout {text!r} over {protocol}", site.call(protocol, "Good", headers=headers), "INVALID_ARGUMENT", "INTERNAL")
    for text in ("-1", "1.5", "1s", "abc", "99999999999", "0x10", "+1", "1e3"):
        expect(site, f"Connect-Timeout-Ms {text!r}", site.call("connect", "Good", headers=[("Connect-Timeout-Ms", text)]), "INVALID_ARGUMENT")
    for text in ("-1s", "abc", "1e3s", "99999999999999999999s", "5 s", "NaNs"):
        for protocol in ("rest", "json-rpc", "graphql", "mcp", "thrift-http"):
            said = site.call(protocol, "Good", headers=[("Sb-Timeout", text)])
            site.checks.ok(f"Sb-Timeout {text!r} over {protocol} is refused", said.code not in ("OK", "INTERNAL"), said)
    for said in (site.call("grpc", "Good", headers=[("grpc-timeout", "0n")]), site.call("connect", "Good", headers=[("Connect-Timeout-Ms", "0")])):
        expect(site, "no time at all", said, "DEADLINE_EXCEEDED", "OK")


# Paths that must not be taken for `/hostile.v1.Good/Get`.
TRICKS = [
    "hostile.v1.Good/Get", "//hostile.v1.Good/Get", "/hostile.v1.Good//Get", "/hostile.v1.Good/Get/", "/hostile.v1.Good/get", "/HOSTILE.V1.GOOD/GET",
    "/hostile.v1.Good/%47et", "/hostile.v1.Good%2fGet", "/hostile%2Ev1.Good/Get", "/./hostile.v1.Good/Get", "/x/../hostile.v1.Good/Get", "/hostile.v1.Good/./Get",
    "/hostile.v1.Good./Get", "/hostile.v1.Good/Get.", "/hostile.v1.Good/Get%00", "/hostile.v1.Good/Get%20", "/hostile.v1.Good/Get;a", "/.hostile.v1.Good/Get",
    "/hostile..v1.Good/Get", "/hostile.v1.Good\\Get", "/hostile.v1/Good/Get", "/hostile.v1.Good/%c1%87et", "/", "*", "",
]  # fmt: skip


def paths(site):
    """S17: only the one spelling is the method; any other is not found, and reaches nobody."""
    site.checks.group = "paths"
    up = site.ups["Good"]
    for path in TRICKS:
        seen = len(up.seen)
        answer = wire.http2(site.port, path, [("content-type", "application/grpc"), ("te", "trailers")], envelope(X))
        said = site.read_grpc(answer)
        refused = said.code in ("UNIMPLEMENTED", "INVALID_ARGUMENT") or answer.status in (0, 400, 404, 405)
        site.checks.ok(f"gRPC: {path!r} is not the method", refused and len(up.seen) == seen, said)
        if not path.startswith("/"):
            continue
        for kind, body, read in (("application/grpc-web", envelope(X), site.read_web), ("application/proto", X, site.read_connect)):
            answer = wire.http1(site.port, "POST", path, [("Content-Type", kind), ("Connect-Protocol-Version", "1")], body)
            said = read(answer)
            refused = said.code in ("UNIMPLEMENTED", "INVALID_ARGUMENT", "NOT_FOUND") or answer.status in (400, 404, 405, 415)
            site.checks.ok(f"{kind}: {path!r} is not the method", refused and len(up.seen) == seen, said)
    with wire.H2(site.port, timeout=3) as conn:
        for pseudo in (
            [(":method", "POST"), (":scheme", "http"), (":authority", "a")],
            [(":method", "POST"), (":method", "GET"), (":scheme", "http"), (":path", GET), (":authority", "a")],
            [(":method", "POST"), (":scheme", "http"), (":path", GET), (":path", "/x"), (":authority", "a")],
            [(":method", "POST"), (":scheme", "http"), (":path", GET + " HTTP/1.1"), (":authority", "a")],
            [(":method", "POST"), (":scheme", "http"), (":path", GET), (":status", "200"), (":authority", "a")],
            [("x-first", "y"), (":method", "POST"), (":scheme", "http"), (":path", GET), (":authority", "a")],
            [(":method", "POST"), (":scheme", "http"), (":path", GET), (":authority", "a"), ("host", "b")],
            [(":method", "POST"), (":scheme", "http"), (":path", GET), (":authority", "a"), ("Content-Type", "application/grpc")],
            [(":method", "POST"), (":scheme", "http"), (":path", GET), (":authority", "a"), ("connection", "close")],
            [(":method", "POST"), (":scheme", "http"), (":path", GET), (":authority", "a"), ("transfer-encoding", "chunked")],
        ):
            seen = len(up.seen)
            stream = conn.open("", [("content-type", "application/grpc"), ("te", "trailers")], pseudo=pseudo)
            conn.data(stream, envelope(X), end=True)
            answer = conn.answer(stream)
            site.checks.ok(f"HTTP/2 head {pseudo} is refused", (answer.status in (0, 400, 404) or answer.reset is not None) and len(up.seen) == seen, answer)
            if conn.closed or conn.goaway is not None:
                conn.__init__(site.port, timeout=3)


def connect_get(site):
    site.checks.group = "Connect GET"
    message = urllib.parse.quote('{"name":"x"}')
    good = f"connect=v1&encoding=json&message={message}"
    for query in (
        "connect=v1", "connect=v1&encoding=json", "connect=v2&encoding=json&message={}", "connect=v1&encoding=xml&message={}", "connect=v1&encoding=json&message=%ff",
        "connect=v1&encoding=proto&base64=1&message=?", "connect=v1&encoding=json&message=%zz", "connect=v1&encoding=json&compression=snappy&message={}",
        "connect=v1&encoding=json&compression=gzip&base64=1&message=" + urllib.parse.quote(base64.b64encode(ONE_BOMB[:40000]).decode()),
        "connect=v1&encoding=json&encoding=proto&message={}{}", "connect=v1&encoding=proto&base64=1&message=_____w",
    ):  # fmt: skip
        answer = wire.http1(site.port, "GET", f"{GET}?{query}")
        said = site.read_connect(answer)
        ended = said.code in ("INVALID_ARGUMENT", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "INTERNAL", "OK") or answer.status in (405, 415, 400, 431, 414)
        site.checks.ok(f"the query {query[:60]!r} is answered", ended and (answer.status != 200 or "_____w" in query), said)
    said = site.read_connect(wire.http1(site.port, "GET", f"/hostile.v1.Good/Put?{good}"))
    site.checks.ok("GET of a method that changes something is refused", said.code != "OK", said)
    said = site.read_connect(wire.http1(site.port, "GET", f"/hostile.v1.Good/Watch?{good}"))
    site.checks.ok("GET of a stream is refused", said.code != "OK", said)


def services(site):
    """Reflection and health."""
    site.checks.group = "reflection and health"
    rubbish = [b"", b"\xff" * 100, nested(5, 5000), field(99, "x"), field(3, "no/such.proto"), field(3, "../../etc/passwd"), field(4, "no.Such"), field(4, "x" * 100000), field(5, field(1, "no.Such") + field(2, 2**63)), field(6, "no.Such"), field(7, b"\xff"), b"\x0a\x7f"]
    for version in ("v1", "v1alpha"):
        for data in rubbish:
            answer = wire.http2(site.port, f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", [("content-type", "application/grpc"), ("te", "trailers")], envelope(data))
            said = site.read_grpc(answer)
            site.checks.ok(f"reflection {version} of {data[:20]!r} ends", said.code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "INTERNAL") and b"root:" not in answer.body, said)
    for data, codes in ((b"", ("OK",)), (field(1, "no.Such"), ("NOT_FOUND",)), (b"\xff", ("INVALID_ARGUMENT", "INTERNAL")), (field(1, b"\xff"), ("INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL"))):
        expect(site, f"health of {data!r}", site.read_grpc(wire.http2(site.port, "/grpc.health.v1.Health/Check", [("content-type", "application/grpc"), ("te", "trailers")], envelope(data))), *codes)
        answer = wire.http1(site.port, "POST", "/grpc.health.v1.Health/Check", [("Content-Type", "application/proto"), ("Connect-Protocol-Version", "1")], data)
        expect(site, f"health of {data!r} over Connect", site.read_connect(answer), *codes)
