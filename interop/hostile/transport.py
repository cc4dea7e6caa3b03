"""HTTP/1.1 and HTTP/2 themselves: requests with two meanings, floods, windows that never open, heads that never end."""

import struct
import time
from concurrent.futures import ThreadPoolExecutor

import wire
from site_under_test import until
from wire import CONTINUATION, DATA, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, PUSH, RST, SETTINGS, WINDOW, block, envelope, field, frame, setting

GET = "/hostile.v1.Good/Get"
GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


def cases(site):
    smuggling(site)
    frames(site)
    floods(site)
    slow(site)


# What two servers in a row might understand differently. Each is followed by a request that must never be answered.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
HEADS = {
    "both lengths": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n",
    "a list of lengths": b"Content-Length: 2, 3\r\n",
    "a length with a sign": b"Content-Length: +2\r\n",
    "a length in hex": b"Content-Length: 0x2\r\n",
    "a length of 2^64": b"Content-Length: 18446744073709551618\r\n",
    "a space before the colon": b"Content-Length : 2\r\n",
    "a tab before the colon": b"Transfer-Encoding\t: chunked\r\n",
    "a folded line": b"X: a\r\n Content-Length: 2\r\n",
    "a first line that is folded": b" Content-Length: 2\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "chunked is not the last": b"Transfer-Encoding: chunked, gzip\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n",
    "a coding with a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "a bare CR": b"X: a\rContent-Length: 2\r\n",
    "a NUL": b"X: a\0b\r\nContent-Length: 2\r\n",
    "a name without value": b"Content-Length\r\n",
    "no name": b": x\r\n",
}


def smuggling(site):
    site.checks.group = "HTTP/1.1"
    site_paths = [(GET, b"Content-Type: application/json\r\nConnect-Protocol-Version: 1\r\n", b"{}"), ("/graphql", b"Content-Type: application/json\r\n", b"{}"), ("/rpc", b"Content-Type: application/json\r\n", b"{}"), ("/mcp", b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n", b"{}"), ("/thrift", b"Content-Type: application/x-thrift\r\n", b"{}")]

    def one(job):
        name, head, (path, kind, body) = job
        data = b"POST %s HTTP/1.1\r\nHost: a\r\n%s%s\r\n" % (path.encode(), kind, head)
        return name, path, wire.raw(site.port, data + body + SMUGGLED, 3, close_write=True)

    jobs = [(name, head, place) for name, head in HEADS.items() for place in site_paths]
    with ThreadPoolExecutor(16) as pool:
        for name, path, got in pool.map(one, jobs):
            status = int(got[9:12]) if got.startswith(b"HTTP/1.1 ") else 0
            good = got.count(b"HTTP/1.1 ") <= 1 and b"smuggled" not in got and (status == 0 or 400 <= status < 600)
            site.checks.ok(f"{path}: {name} is refused, and nothing behind it read", good, got)
    bodies = {
        "a chunk of 2^64": b"FFFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n", "a negative chunk": b"-1\r\n{}\r\n0\r\n\r\n", "a chunk that is longer": b"2\r\n{}}}\r\n0\r\n\r\n", "a chunk without size": b"\r\n{}\r\n0\r\n\r\n",
        "a chunk with a bare LF": b"2\n{}\n0\n\n", "an extension of 100 KB": b"2;" + b"x" * 100000 + b"\r\n{}\r\n0\r\n\r\n", "trailers of 200 KB": b"2\r\n{}\r\n0\r\n" + b"X: " + b"y" * 200000 + b"\r\n\r\n", "10,000 trailers": b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 10000 + b"\r\n",
    }  # fmt: skip
    for name, body in bodies.items():
        data = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnect-Protocol-Version: 1\r\nTransfer-Encoding: chunked\r\n\r\n" % GET.encode()
        got = wire.raw(site.port, data + body + SMUGGLED, 3, close_write=True)
        site.checks.ok(f"{name} is refused", b"smuggled" not in got and got[9:10] in (b"", b"4"), got)
    lines = [b"GET  /livez HTTP/1.1", b"GET /livez  HTTP/1.1", b"GET /livez", b"GET /livez HTTP/1.1 x", b"GET\t/livez\tHTTP/1.1", b"get /livez HTTP/1.1", b"GET livez HTTP/1.1", b"GET /li vez HTTP/1.1", b"GET /livez HTTP/2.0", b"GET http://a/livez@b HTTP/1.1", b"GET /\x80 HTTP/1.1", b"GET /livez#x HTTP/1.1", b"GET /" + b"a" * 100000 + b" HTTP/1.1", b"\0" * 100, b"G" * 100000]
    for line in lines:
        got = wire.raw(site.port, line + b"\r\nHost: a\r\nConnection: close\r\n\r\n", 3, close_write=True)
        site.checks.ok(f"{line[:40]!r} is answered or refused", got.count(b"HTTP/1.1 ") <= 1 and (got == b"" or got[9:10] in (b"2", b"4", b"5")), got)


def frames(site):
    """What RFC 9113 calls an error of the connection or of the stream."""
    site.checks.group = "HTTP/2"
    head = block([(":method", "POST"), (":scheme", "http"), (":path", GET), (":authority", "a"), *GRPC])
    bad = {
        "data before a head": frame(DATA, 0, 1, b"x"), "a head on stream 0": frame(HEADERS, 4, 0, head), "a head on stream 2": frame(HEADERS, 4, 2, head), "settings on a stream": frame(SETTINGS, 0, 1), "settings of five bytes": frame(SETTINGS, 0, 0, b"x" * 5),
        "an ack with a payload": frame(SETTINGS, 1, 0, setting(4, 1)), "a window of 2^31": frame(SETTINGS, 0, 0, setting(4, 1 << 31)), "a frame size of 1": frame(SETTINGS, 0, 0, setting(5, 1)), "push of 7": frame(SETTINGS, 0, 0, setting(2, 7)),
        "a ping of seven bytes": frame(PING, 0, 0, b"x" * 7), "a ping on a stream": frame(PING, 0, 1, b"x" * 8), "a window of zero": frame(WINDOW, 0, 0, struct.pack(">I", 0)), "a window that overflows": frame(WINDOW, 0, 0, struct.pack(">I", 0x7FFFFFFF)) * 2,
        "a push by the client": frame(PUSH, 4, 1, struct.pack(">I", 2) + head), "a continuation of nothing": frame(CONTINUATION, 4, 1, head), "a frame within a head": frame(HEADERS, 0, 1, head) + frame(PING, 0, 0, b"x" * 8), "a reset of nothing": frame(RST, 0, 1, b"\0\0\0\0"),
        "a reset of three bytes": frame(HEADERS, 4, 1, head) + frame(RST, 0, 1, b"abc"), "padding longer than the frame": frame(HEADERS, 4 | 8, 1, b"\xff" + head), "a frame of 16 MiB": frame(DATA, 0, 1, b"x" * 100, length=0xFFFFFF), "HPACK without end": frame(HEADERS, 4, 1, b"\xff" * 20),
        "an index that is not there": frame(HEADERS, 4, 1, b"\xfe"), "a table of 4 GiB": frame(HEADERS, 4, 1, b"\x3f\xe1\xff\xff\xff\x0f" + head), "Huffman that is none": frame(HEADERS, 4, 1, b"\x00\x84\xff\xff\xff\xff\x81\xff"), "half a preface": None, "a goaway of seven bytes": frame(GOAWAY, 0, 0, b"x" * 7),
    }  # fmt: skip
    for name, data in bad.items():
        preface = PREFACE[:20] if data is None else PREFACE + frame(SETTINGS)
        got = wire.raw(site.port, preface + (data or b""), 4, close_write=True)
        kinds = frame_kinds(got)
        site.checks.ok(f"{name} ends the connection or the stream", {GOAWAY, RST} & kinds or not got or data is None, (name, kinds, got[:80]))
    # Data behind the end, and behind a reset.
    with wire.H2(site.port, timeout=3) as conn:
        stream = conn.open(GET, GRPC)
        conn.data(stream, envelope(field(1, "x")), end=True)
        conn.data(stream, b"more")
        answer = conn.answer(stream)
        site.checks.ok("data behind the end is refused", answer.reset is not None or conn.goaway is not None or answer.status == 200, answer)
    with wire.H2(site.port, timeout=3) as conn:
        stream = conn.open(GET, [*GRPC, ("content-length", "3")])
        conn.data(stream, envelope(field(1, "xyz")), end=True)
        answer = conn.answer(stream)
        site.checks.ok("a content-length that is not kept is refused", answer.reset is not None or answer.status in (400, 200) and answer.trailers.get("grpc-status") != "0", answer)
    # More streams at once than are allowed.
    with wire.H2(site.port, timeout=5) as conn:
        streams = [conn.open("/hostile.v1.Holds/Send", GRPC) for _ in range(150)]
        until(lambda: not conn.step() or any(e[0] == RST for s in streams for e in conn.events.get(s, [])) or conn.goaway is not None, 5)
        refused = [e for s in streams for e in conn.events.get(s, []) if e[0] == RST]
        site.checks.ok("the 101st stream is refused", refused or conn.goaway is not None, len(refused))
    site.checks.ok("others are served", site.alive())


def frame_kinds(data):
    kinds, at = set(), 0
    while at + 9 <= len(data):
        kinds.add(data[at + 3])
        at += 9 + int.from_bytes(data[at : at + 3], "big")
    return kinds


def cpu(site):
    """Seconds of processor time of the server."""
    with open(f"/proc/{site.server.process.pid}/stat") as file:
        words = file.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / 100


def floods(site):
    site.checks.group = "floods"
    head = block([(":method", "POST"), (":scheme", "http"), (":path", GET), (":authority", "a"), *GRPC])
    table = b"\x40\x01x\x7f" + wire.varint(4000 - 127) + b"y" * 4000
    bomb = block([(":method", "POST"), (":scheme", "http"), (":path", GET), (":authority", "a"), *GRPC]) + table + b"\xbe" * 10000

    def rapid():
        out = bytearray()
        for stream in range(1, 40001, 2):
            out += frame(HEADERS, 4, stream, head) + frame(RST, 0, stream, struct.pack(">I", 8))
        return bytes(out)

    def made_you_reset():
        """Streams that are answered, and that the server has to reset itself."""
        out = bytearray()
        for stream in range(1, 20001, 2):
            out += frame(HEADERS, 4, stream, head) + frame(WINDOW, 0, stream, struct.pack(">I", 0))
        return bytes(out)

    attacks = {
        "rapid reset": rapid(), "made you reset": made_you_reset(), "pings": frame(PING, 0, 0, b"x" * 8) * 200000, "settings": frame(SETTINGS, 0, 0, setting(4, 70000)) * 100000, "empty settings": frame(SETTINGS) * 200000,
        "continuations": frame(HEADERS, 0, 1, head) + frame(CONTINUATION, 0, 1, block([("x", "y" * 100)])) * 50000, "empty continuations": frame(HEADERS, 0, 1, head) + frame(CONTINUATION, 0, 1) * 200000, "empty data": frame(HEADERS, 4, 1, head) + frame(DATA, 0, 1) * 200000,
        "priorities": frame(PRIORITY, 0, 1, b"\0\0\0\3\x10") * 200000, "windows": frame(HEADERS, 4, 1, head) + frame(WINDOW, 0, 1, struct.pack(">I", 1)) * 200000, "unknown frames": frame(0x77, 0, 0, b"x" * 100) * 50000, "an HPACK bomb": frame(HEADERS, 5, 1, bomb),
        "HPACK bombs": b"".join(frame(HEADERS, 5, s, bomb) for s in range(1, 201, 2)), "padding": frame(HEADERS, 4, 1, head) + frame(DATA, 8, 1, b"\xff" + b"\0" * 255) * 20000,
    }  # fmt: skip
    for name, data in attacks.items():
        before, spent, began = site.rss(), cpu(site), time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(wire.raw, site.port, PREFACE + frame(SETTINGS) + data, 4, True)
            served, longest = 0, 0.0
            while not running.done() or served < 3:
                asked = time.monotonic()
                served += wire.http1(site.port, "GET", "/livez", timeout=5).status == 200
                longest = max(longest, time.monotonic() - asked)
                if served > 2000:
                    break
            got = running.result()
        site.checks.ok(f"{name}: others are served within a second", served >= 3 and longest < 1, (served, longest))
        site.checks.ok(f"{name}: it costs less than two seconds of processor", cpu(site) - spent < 2, cpu(site) - spent)
        site.checks.ok(f"{name}: it takes no memory", site.rss() - before < 64 * 1024, (before, site.rss()))
        if name in ("rapid reset", "made you reset", "continuations", "empty continuations"):
            site.checks.ok(f"{name}: the connection ends", GOAWAY in frame_kinds(got) or time.monotonic() - began < 4, frame_kinds(got))


def slow(site):
    """Windows that never open, heads and bodies that never end: each holds a little, and goes with its connection."""
    site.checks.group = "slow"
    before, spare = site.rss(), []
    up = site.ups["Good"]
    resets = len(up.resets)
    for _ in range(20):
        conn = wire.H2(site.port, settings=setting(4, 0), window=0)
        stream = conn.open("/hostile.v1.Good/Watch", GRPC)
        conn.data(stream, envelope(field(1, "many")), end=True)
        spare.append(conn.sock)
    for path, kind in ((GET, "application/json"), ("/graphql", "application/json"), ("/rpc", "application/json"), ("/mcp", "application/json"), ("/thrift", "application/x-thrift"), (GET, "application/grpc-web")):
        sock = wire.connect(site.port)
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: 200000\r\n\r\n".encode() + b"x" * 100000)
        spare.append(sock)
        sock = wire.connect(site.port)
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nX".encode())
        spare.append(sock)
    sock = wire.connect(site.port)
    sock.sendall(struct.pack(">I", 200000) + b"\x80\x01\x00\x01" + b"x" * 1000)
    spare.append(sock)
    time.sleep(1)
    site.checks.ok("what is not read or not sent takes no memory", site.rss() - before < 48 * 1024, (before, site.rss()))
    site.checks.ok("others are served meanwhile", site.alive())
    for sock in spare:
        sock.close()
    site.checks.ok("the upstream's streams are reset", until(lambda: len(up.resets) >= resets + 20, 5), len(up.resets) - resets)
