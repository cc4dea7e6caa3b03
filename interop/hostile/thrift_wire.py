"""Thrift in every transport: lengths, types and depths that are lies."""

import gzip
import json
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import wire
from upstreams import LIMIT
from wire import framed, thrift_call, thrift_item, thrift_text, varint

NAME = "hostile.v1.Good:Get"


def item(inner):
    """Arguments with an Item of these fields."""
    return b"\x0c\x00\x01" + inner + b"\x00" + b"\x00"


# Fields of an Item that are none.
FIELDS = {
    "a text of 2^31-1": b"\x0b\x00\x01\x7f\xff\xff\xffabc",
    "a text of -1": b"\x0b\x00\x01\xff\xff\xff\xffabc",
    "a text that is not UTF-8": b"\x0b\x00\x01\x00\x00\x00\x02\xff\xfe",
    "a list of 2^31-1": b"\x0f\x00\x06\x0c\x7f\xff\xff\xff",
    "a list of -1": b"\x0f\x00\x06\x0c\xff\xff\xff\xff",
    "a list of 2^24 voids": b"\x0f\x00\x06\x01\x01\x00\x00\x00",
    "a list of 2^24 nothings": b"\x0f\x00\x06\x00\x01\x00\x00\x00",
    "a map of 2^31-1": b"\x0d\x00\x07\x0b\x0c\x7f\xff\xff\xff",
    "a map of no types with 2^24 entries": b"\x0d\x00\x07\x00\x00\x01\x00\x00\x00",
    "a type that does not exist": b"\x77\x00\x01abc",
    "a number as text": b"\x0b\x00\x09" + thrift_text("x"),
    "text as a number": b"\x08\x00\x01\x00\x00\x00\x01",
    "a list of other things": b"\x0f\x00\x06\x08\x00\x00\x00\x01\x00\x00\x00\x01",
    "structs 5,000 deep": b"\x0c\x00\x05" * 5000 + b"\x00" * 5000,
    "unknown structs 5,000 deep": b"\x0c\x70\x00" * 5000 + b"\x00" * 5000,
    "unknown lists 5,000 deep": b"\x0f\x70\x00" + b"\x0f\x00\x00\x00\x01" * 5000,
    "it is cut": b"\x0b\x00",
}
ANSWERS = ("application 7", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "INTERNAL", "OK", "application 6")


def cases(site):
    site.checks.group = "Thrift"
    fields(site)
    heads(site)
    streams(site)
    headers(site)
    web(site)


def fields(site):
    for name, data in FIELDS.items():
        call = thrift_call(NAME, item(data))
        for way in ("framed", "http"):
            said = site.call("thrift", "Good", data=framed(call)) if way == "framed" else site.call("thrift-http", "Good", data=call)
            # What has the wrong type counts as unknown, as Thrift has it.
            unknown = name in ("a number as text", "text as a number", "a list of other things")
            good = said.code in ANSWERS and (said.code != "OK" or unknown) and (unknown or len(said.message) > 8)
            site.checks.ok(f"{way}: {name} is refused", good, said)
        with wire.connect(site.port, 3) as sock:
            # Without frames nobody knows where the next message begins: an answer or the end.
            sock.sendall(call)
            sock.shutdown(1)
            got = sock.recv(65536)
            site.checks.ok(f"unframed: {name} is answered or ended", got == b"" or got[:2] == b"\x80\x01", got)


def heads(site):
    args = thrift_item("x")
    calls = {
        "no such method": (thrift_call("nope", args), ("application 1",)), "no such service": (thrift_call("Nope:Get", args), ("application 1",)), "an empty name": (thrift_call("", args), ("application 1", "application 7")), "a name of 100 KB": (thrift_call("x" * 100000, args), ("application 1", "application 7")),
        "a name that is not UTF-8": (thrift_call(b"\xff\xfe", args), ("application 1", "application 7")), "an answer": (thrift_call(NAME, args, kind=2), ("application 2",)), "an exception": (thrift_call(NAME, args, kind=3), ("application 2",)), "kind 9": (thrift_call(NAME, args, kind=9), ("application 2", "application 7", None)),
        "a stream": (thrift_call("hostile.v1.Good:Watch", args), ("application 1",)), "bytes behind the end": (thrift_call(NAME, args) + b"more", ("OK", "application 7", "INVALID_ARGUMENT")), "the seqid 2^31": (thrift_call(NAME, args, seqid=-(1 << 31)), ("OK",)),
        "several services have it": (thrift_call("Get", args), ("application 1",)), "a name of -1": (struct.pack(">I", 0x80010001) + b"\xff\xff\xff\xff", ("application 7", None)), "a name of 2^31-1": (struct.pack(">I", 0x80010001) + b"\x7f\xff\xff\xffx", ("application 7", None)),
        "a path as a name": (thrift_call("hostile.v1.Good:../Get", args), ("application 1",)), "colons": (thrift_call(":::", args), ("application 1",)),
    }  # fmt: skip
    for name, (data, codes) in calls.items():
        said = site.call("thrift", "Good", data=framed(data))
        site.checks.ok(f"{name} is {codes}", said.code in codes and (said.code in ("OK", None) or len(said.message) > 8), said)
    # Who says `oneway` is not answered, and the next call is.
    with wire.connect(site.port) as sock:
        sock.sendall(framed(thrift_call("nope", args, kind=4)) + framed(thrift_call(NAME, args)))
        said = site.read_thrift(site.thrift_frame(sock))
        site.checks.ok("a bad oneway is passed over", said.code == "OK", said)


def streams(site):
    """What is no message ends the connection; other connections stay."""
    good = framed(thrift_call(NAME, thrift_item("x")))
    bad = {
        "a frame of 2^31-1": struct.pack(">I", 0x7FFFFFFF) + b"\x80\x01\x00\x01", "a frame of 64 MiB": struct.pack(">I", (64 << 20) - 1) + b"\x80\x01\x00\x01" + b"x" * 100000, "a frame of nothing": struct.pack(">I", 0) * 1000, "a frame of two bytes": struct.pack(">I", 2) + b"\x80\x01",
        "rubbish": bytes(range(256)) * 10, "zeroes": b"\0" * 10000, "version 2": framed(b"\x80\x02\x00\x01" + b"\0" * 20), "a compact version 31": framed(b"\x82\x3f\x01\x03Get\0"), "JSON": framed(b'[1,"Get",1,1,{}]'),
        "a compact name of 2^64": framed(b"\x82\x21\x01" + b"\xff" * 9 + b"\x01"), "a compact varint without end": framed(b"\x82\x21" + b"\xff" * 100),
    }  # fmt: skip
    for name, data in bad.items():
        with wire.connect(site.port, 3) as sock:
            sock.sendall(good)
            first = site.read_thrift(site.thrift_frame(sock))
            try:
                sock.sendall(data)
                sock.shutdown(1)
                rest = b""
                while chunk := sock.recv(65536):
                    rest += chunk
            except OSError:
                rest = b""
            site.checks.ok(f"{name} behind a good call is refused", first.code == "OK" and b"\x00\x00\x02\x0c" not in rest[:4], (first, rest[:100]))
    # A frame that is too large, and whole: it is passed over, and the next is read.
    with wire.connect(site.port, 5) as sock:
        sock.sendall(framed(thrift_call(NAME, thrift_item("x" * (LIMIT + 70 * 1024)))))
        said = site.read_thrift(site.thrift_frame(sock))
        sock.sendall(good)
        again = site.read_thrift(site.thrift_frame(sock))
        site.checks.ok("a large frame is passed over", said.code not in ("OK", None) and len(said.message) > 8 and again.code == "OK", (said, again))
    # Calls one behind the other, none of whose answers are read.
    before = site.rss()
    sock = wire.connect(site.port, 0.5, buffer=4096)
    try:
        for _ in range(1000):
            sock.sendall(framed(thrift_call(NAME, thrift_item("x" * 100000))))
    except OSError:
        pass
    site.checks.ok("answers that nobody reads are bounded", site.rss() - before < 48 * 1024, (before, site.rss()))
    sock.close()

    # Compact.
    def compact(inner):
        return framed(b"\x82\x21\x07" + varint(len(NAME)) + NAME.encode() + b"\x1c" + inner + b"\x00\x00")

    inner = {"good": b"\x18\x01x", "a text of 2^32": b"\x18\xff\xff\xff\xff\x0f", "a list of 2^32": b"\x59\xfc\xff\xff\xff\xff\x0f", "structs 3,000 deep": b"\x5c" * 3000, "a field delta beyond 2^15": b"\x08" + varint(0xFFFFFF) + b"\x01x", "type 15": b"\x1f", "a list of true": b"\x69\xf1\xff\xff\xff\x07", "a map of 2^31": b"\x7b\xff\xff\xff\xff\x07\x8c"}
    for name, data in inner.items():
        with wire.connect(site.port, 5) as sock:
            sock.sendall(compact(data))
            got = site.thrift_frame(sock)
            site.checks.ok(f"compact: {name} is answered", got[:1] == b"\x82" and (name == "good") == (got[1] == 0x41 and b"\x18\x01x" in got), got)


def headers(site):
    """THeader: heads that lie, transforms, metadata that would be more than metadata."""
    call = thrift_call(NAME, thrift_item("x"))

    def head(inner, payload=call, size=None, magic=b"\x0f\xff", flags=b"\0\0"):
        inner += b"\0" * (-len(inner) % 4)
        whole = magic + flags + struct.pack(">I", 7) + struct.pack(">H", len(inner) // 4 if size is None else size) + inner + payload
        return framed(whole)

    def info(pairs):
        out = b"\0\0\x01" + varint(len(pairs))
        for key, value in pairs:
            out += varint(len(key)) + key + varint(len(value)) + value
        return out

    bad = {
        "a head longer than the frame": head(b"\0\0", size=0xFFFF), "an unknown protocol": head(b"\x09\0"), "an unknown transform": head(b"\0\x01\x09"), "a hundred transforms": head(b"\0\x64" + b"\x01" * 100), "zlib that is none": head(b"\0\x01\x01"),
        "a zlib bomb": head(b"\0\x01\x01", zlib.compress(b"\0" * (64 << 20))), "gzip": head(b"\0\x01\x01", gzip.compress(call)), "2^28 pairs": head(b"\0\0\x01" + varint(1 << 28)), "a key of 2^31": head(b"\0\0\x01\x01" + varint(1 << 31)), "an unknown kind of information": head(b"\0\0\x44\x01"), "nothing behind the head": head(b"\0\0", b""),
    }  # fmt: skip
    for name, data in bad.items():
        with wire.connect(site.port, 5) as sock:
            sock.sendall(data)
            got = site.thrift_frame(sock)
            site.checks.ok(f"THeader: {name} is refused", got == b"" or b"\x80\x01\x00\x03" in got or name == "an unknown kind of information" or b"\x0b\x00\x02" in got, got)
    up = site.ups["Good"]
    for pairs in ([(b"x-a", b"b\r\nx-evil: y")], [(b"x-a\r\nx-evil", b"y")], [(b"transfer-encoding", b"chunked")], [(b"host", b"evil")], [(b"grpc-timeout", b"1n")], [(b"", b"y")], [(b"x-a", b"\0")], [(b":path", b"/evil")], [(b"content-length", b"5")]):
        seen = len(up.seen)
        with wire.connect(site.port, 5) as sock:
            sock.sendall(head(info(pairs)))
            got = site.thrift_frame(sock)
            told = up.seen[seen:]
            evil = any("evil" in json.dumps(t) or t.get("transfer-encoding") or t.get("content-length") == "5" or t.get("grpc-timeout") == "1n" for t in told)
            site.checks.ok(f"THeader: {pairs} is not handed on", got and not evil, (got, told))


def web(site):
    for kind in ("text/plain", "", "application/vnd.apache.thrift.json"):
        answer = wire.http1(site.port, "POST", "/thrift", [("Content-Type", kind)], thrift_call(NAME, thrift_item("x")))
        site.checks.ok(f"the type {kind!r} is refused", answer.status in (400, 415) and answer.body, answer)
    for path in ("/thrift/../thrift", "/thrift/%2e%2e/x", "/thrift/nope", "/thrift/nope.thrift", "/thrift/..%2f..%2fetc%2fpasswd.thrift", "/thrift//etc/passwd"):
        for method in ("GET", "POST"):
            answer = wire.http1(site.port, method, path, [("Content-Type", "application/x-thrift")], b"")
            site.checks.ok(f"{method} {path} is refused", (answer.status in (400, 404, 405) or answer.status == 200 and answer.body[:2] == b"\x80\x01") and b"root:" not in answer.body, answer)
    for body in (b"", b"\0", b"\x80\x01\x00\x01", b"\xff" * 1000):
        answer = wire.http1(site.port, "POST", "/thrift", [("Content-Type", "application/x-thrift")], body)
        site.checks.ok(f"{body[:8]!r} is refused", answer.status in (200, 400) and answer.body, answer)
    answer = wire.http1(site.port, "POST", "/thrift", [("Content-Type", "application/x-thrift")], b"\0" * (10 << 20))
    site.checks.ok("10 MiB are refused", answer.status in (413, 200) and answer.body, answer)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: wire.raw(site.port, framed(thrift_call(NAME, thrift_item("x")))[: n % 60], 0.2), range(40)))
