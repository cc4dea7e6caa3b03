"""Services that misbehave, each on a port of its own: over HTTP/2 (gRPC), over HTTP/1.1, over Thrift, and over nothing at all."""

import gzip
import socket
import struct
import threading
import time

import hpack

from wire import (
    CONTINUATION, DATA, GOAWAY, HEADERS, LOCAL, PING, PREFACE, PUSH, RST, SETTINGS, WINDOW, block, envelope, field, fields, frame, framed, nested,
    setting, thrift_call, varint,
)  # fmt: skip

LIMIT = 256 * 1024
GRPC = [(":status", "200"), ("content-type", "application/grpc")]


class Upstream:
    """Listens; each connection is one thread. `seen` holds what was asked, `resets` which streams the other side gave up."""

    def __init__(self, talk):
        self.talk, self.seen, self.resets, self.open = talk, [], [], set()
        self.closed_by_peer = 0
        self.listener = socket.create_server((LOCAL, 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        self.open.add(sock)
        sock.settimeout(60)
        try:
            self.talk(self, sock)
        except (OSError, ValueError, IndexError, struct.error, hpack.HPACKError):
            pass
        finally:
            self.open.discard(sock)
            try:
                sock.close()
            except OSError:
                pass

    def drop(self):
        """Closes what is open."""
        for sock in list(self.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self):
        self.listener.close()
        self.drop()


def dead_port():
    """A port where nobody listens. It stays bound, so that nobody else gets it."""
    keep = socket.socket()
    keep.bind((LOCAL, 0))
    return keep, keep.getsockname()[1]


# HTTP/2


class Peer:
    """The server's end of one connection."""

    def __init__(self, up, sock, settings=b"", hello=True):
        self.up, self.sock, self.decoder = up, sock, hpack.Decoder(max_header_list_size=1 << 20)
        self.file = sock.makefile("rb")
        self.bodies, self.heads = {}, {}
        # How much the other side takes: of all streams, of a new one, of each.
        self.room, self.first, self.rooms = 65535, 65535, {}
        self.changed, self.gone = threading.Condition(), set()
        if self.file.read(len(PREFACE)) != PREFACE:
            raise ValueError("no preface")
        if hello:
            self.send(frame(SETTINGS, 0, 0, settings) + frame(WINDOW, 0, 0, struct.pack(">I", 1 << 24)))

    def send(self, data):
        self.sock.sendall(data)

    def requests(self, early=False):
        """Gives (stream, head, body) of each request once it is complete, or with `early` as soon as its head is there."""
        while True:
            head = self.file.read(9)
            if len(head) < 9:
                self.up.closed_by_peer += 1
                return
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
            payload = self.file.read(int.from_bytes(head[:3], "big"))
            if kind == SETTINGS and not flags & 1:
                for at in range(0, len(payload), 6):
                    key, value = struct.unpack(">HI", payload[at : at + 6])
                    self.first = value if key == 4 else self.first
                self.send(frame(SETTINGS, 1))
            elif kind == WINDOW:
                more = struct.unpack(">I", payload)[0]
                with self.changed:
                    if stream:
                        self.rooms[stream] = self.rooms.get(stream, 0) + more
                    else:
                        self.room += more
                    self.changed.notify_all()
            elif kind == PING and not flags & 1:
                self.send(frame(PING, 1, 0, payload))
            elif kind == RST:
                self.up.resets.append((stream, struct.unpack(">I", payload)[0], time.monotonic()))
                with self.changed:
                    self.gone.add(stream)
                    self.changed.notify_all()
            elif kind == HEADERS:
                got = [(str(n), str(v)) for n, v in self.decoder.decode(payload)]
                self.heads[stream], self.bodies[stream] = got, bytearray()
                self.up.seen.append(dict(got))
                if early:
                    yield stream, dict(got), b""
                    continue
            elif kind == DATA:
                self.bodies[stream] += payload
            if kind in (HEADERS, DATA) and flags & 1 and not early:
                yield stream, dict(self.heads[stream]), bytes(self.bodies[stream])

    def reply(self, stream, message, headers=GRPC, trailers=(("grpc-status", "0"),)):
        self.send(frame(HEADERS, 4, stream, block(headers)))
        self.data(stream, message)
        self.send(frame(HEADERS, 5, stream, block(trailers)))

    def data(self, stream, data):
        for at in range(0, len(data), 16384):
            self.send(frame(DATA, 0, stream, data[at : at + 16384]))


def name_of(body):
    """The name in the request's Item, if it is one."""
    try:
        name = dict(fields(body[5:])).get(1, b"")
    except IndexError:
        return ""
    return name.decode(errors="replace") if isinstance(name, bytes) else ""


def good(up, sock):
    """Answers with what was asked. `hold` is never answered, `sleep` after a second; `many` is a stream without end, `drip` one every 50 ms."""
    peer = Peer(up, sock, setting(4, 1 << 24))
    for stream, head, body in peer.requests():
        name = name_of(body)
        up.seen[-1]["name"] = name
        if name == "hold":
            continue
        if name == "sleep":
            time.sleep(1)
        if name.startswith("size:"):
            # An Item of exactly so many bytes.
            peer.reply(stream, envelope(item_of(int(name[5:]))))
            continue
        if name in ("many", "drip"):
            threading.Thread(target=many, args=(peer, stream, name == "drip"), daemon=True).start()
            continue
        peer.reply(stream, body or envelope(b""))


def item_of(size):
    """An Item of exactly so many bytes, as long as that is more than 200."""
    for overhead in (3, 4, 5):
        data = field(4, b"\0" * (size - overhead))
        if len(data) == size:
            return data
    raise ValueError(size)


def many(peer, stream, slowly):
    """Messages without end, as many as are taken."""
    try:
        peer.send(frame(HEADERS, 4, stream, block(GRPC)))
        message = envelope(field(1, "drip" if slowly else "x" * 1000))
        for _ in range(100000):
            with peer.changed:
                while min(peer.room, peer.first + peer.rooms.get(stream, 0)) < len(message) and stream not in peer.gone:
                    if not peer.changed.wait(30):
                        return
                if stream in peer.gone:
                    return
                peer.room -= len(message)
                peer.rooms[stream] = peer.rooms.get(stream, 0) - len(message)
            peer.send(frame(DATA, 0, stream, message))
            if slowly:
                time.sleep(0.05)
    except OSError:
        pass


def early(up, sock):
    """Takes heads, and never answers: for streams of the caller that are cancelled."""
    peer = Peer(up, sock)
    for _ in peer.requests(early=True):
        pass


def h2_answer(*frames_of):
    """Answers each request with these frames; each is a function of the stream."""

    def talk(up, sock):
        peer = Peer(up, sock)
        for stream, _, _ in peer.requests():
            for make in frames_of:
                peer.send(make(stream))

    return talk


def h2_head(headers=GRPC, end=False):
    return lambda stream: frame(HEADERS, 4 | int(end), stream, block(headers))


def h2_data(data, end=False):
    def make(stream):
        pieces = [data[at : at + 16384] for at in range(0, len(data), 16384)] or [b""]
        return b"".join(frame(DATA, int(end and piece is pieces[-1]), stream, piece) for piece in pieces)

    return make


def h2_end(*trailers):
    return lambda stream: frame(HEADERS, 5, stream, block(trailers or [("grpc-status", "0")]))


def h2_reset(code):
    return lambda stream: frame(RST, 0, stream, struct.pack(">I", code))


def h2_hello(settings, flood=b"", times=0):
    """A server whose first frames are absurd, and that never answers."""

    def talk(up, sock):
        peer = Peer(up, sock, hello=False)
        peer.send(settings)
        for _ in range(times):
            peer.send(flood)
        for _ in peer.requests():
            pass

    return talk


def continuation_flood(up, sock):
    peer = Peer(up, sock)
    for stream, _, _ in peer.requests():
        peer.send(frame(HEADERS, 0, stream, block([(":status", "200")])))
        for at in range(20000):
            peer.send(frame(CONTINUATION, 0, stream, block([(f"x-{at}", "y" * 1000)])))


def hpack_bomb(up, sock):
    """One header of 4 KB put into the table, and then referred to 16,000 times."""
    peer = Peer(up, sock)
    for stream, _, _ in peer.requests():
        big = b"\x40\x01x\x7f" + varint(4000 - 127) + b"y" * 4000
        whole = block(GRPC) + big + b"\xbe" * 16000
        peer.send(frame(HEADERS, 0, stream, whole[:16384]) + frame(CONTINUATION, 4, stream, whole[16384:]))


def cut(up, sock):
    """Half a message, and the connection is gone."""
    peer = Peer(up, sock)
    for stream, _, _ in peer.requests():
        peer.send(frame(HEADERS, 4, stream, block(GRPC)) + frame(DATA, 0, stream, envelope(b"x" * 50)[:20]))
        return


def go_away(up, sock):
    peer = Peer(up, sock)
    for _ in peer.requests():
        peer.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 11) + b"go"))
        return


def mute(up, sock):
    while sock.recv(65536):
        pass
    up.closed_by_peer += 1


def garbage(up, sock):
    sock.sendall(bytes(range(256)) * 64)
    while sock.recv(65536):
        pass


def closes(up, sock):
    sock.recv(10)


BOMB = gzip.compress(gzip.compress(b"\0" * (64 << 20)))
ONE_BOMB = gzip.decompress(BOMB)
OK = envelope(field(1, "fine"))

# Name of the service, what it does, and the codes its callers may be told.
GRPC_MODES = {
    "Garbage": (garbage, {"UNAVAILABLE", "INTERNAL"}),
    "Closes": (closes, {"UNAVAILABLE"}),
    "Cut": (cut, {"UNAVAILABLE", "INTERNAL"}),
    "Resets": (h2_answer(h2_head(), h2_reset(2)), {"INTERNAL"}),
    "MidReset": (h2_answer(h2_head(), h2_data(OK[:4]), h2_reset(8)), {"CANCELLED"}),
    "Refuses": (h2_answer(h2_reset(7)), {"UNAVAILABLE"}),
    "Calm": (h2_answer(h2_reset(11)), {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}),
    "GoAway": (go_away, {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}),
    "NoStatus": (h2_answer(h2_head(), h2_data(OK, end=True)), {"INTERNAL", "UNKNOWN"}),
    "NoMessage": (h2_answer(h2_head(), h2_end()), {"INTERNAL", "UNIMPLEMENTED", "UNKNOWN"}),
    "TwoMessages": (h2_answer(h2_head(), h2_data(OK + OK), h2_end()), {"INTERNAL", "UNIMPLEMENTED", "UNKNOWN"}),
    "Html": (h2_answer(h2_head([(":status", "200"), ("content-type", "text/html")]), h2_data(b"<html>", end=True)), {"UNKNOWN"}),
    "Broken": (h2_answer(h2_head([(":status", "500"), ("content-type", "text/html")], end=True)), {"UNKNOWN"}),
    "Status99": (h2_answer(h2_head(), h2_end(("grpc-status", "99999999999"), ("grpc-message", "%zz%0d%0aX: y"))), {"UNKNOWN"}),
    "Flags": (h2_answer(h2_head(), h2_data(envelope(b"", flags=0x55)), h2_end()), {"INTERNAL"}),
    "Unpacked": (h2_answer(h2_head(), h2_data(envelope(b"xx", flags=1)), h2_end()), {"INTERNAL"}),
    "Snappy": (h2_answer(h2_head([*GRPC, ("grpc-encoding", "snappy")]), h2_data(OK), h2_end()), {"INTERNAL", "UNIMPLEMENTED"}),
    "Long": (h2_answer(h2_head(), h2_data(envelope(b"x", length=0xFFFFFFFF))), {"RESOURCE_EXHAUSTED"}),
    "Large": (h2_answer(h2_head(), h2_data(envelope(item_of(LIMIT + 1))), h2_end()), {"RESOURCE_EXHAUSTED"}),
    "Bomb": (h2_answer(h2_head([*GRPC, ("grpc-encoding", "gzip")]), h2_data(envelope(ONE_BOMB, flags=1)), h2_end()), {"RESOURCE_EXHAUSTED"}),
    "NotProto": (h2_answer(h2_head(), h2_data(envelope(b"\x0a\xff\xff\xff\xff\x0fabc")), h2_end()), {"INTERNAL", "OK"}),
    "Deep": (h2_answer(h2_head(), h2_data(envelope(nested(5, 3000))), h2_end()), {"INTERNAL", "OK"}),
    "Settings": (h2_hello(frame(SETTINGS, 0, 0, setting(5, 1) + setting(4, 0xFFFFFFFF) + setting(2, 7))), {"UNAVAILABLE", "INTERNAL"}),
    "NoStreams": (h2_hello(frame(SETTINGS, 0, 0, setting(3, 0))), {"DEADLINE_EXCEEDED", "UNAVAILABLE"}),
    "NoWindow": (h2_hello(frame(SETTINGS, 0, 0, setting(4, 0))), {"DEADLINE_EXCEEDED", "UNAVAILABLE"}),
    "Push": (h2_hello(frame(SETTINGS) + frame(PUSH, 4, 1, struct.pack(">I", 2) + block(GRPC))), {"UNAVAILABLE", "INTERNAL"}),
    "BigFrame": (h2_hello(frame(SETTINGS) + frame(DATA, 0, 1, length=0xFFFFFF)), {"UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED"}),
    "Pings": (h2_hello(frame(SETTINGS), frame(PING, 0, 0, b"x" * 8) * 500, 100), {"DEADLINE_EXCEEDED", "UNAVAILABLE"}),
    "SettingsFlood": (h2_hello(frame(SETTINGS), frame(SETTINGS, 0, 0, setting(4, 70000)) * 500, 100), {"DEADLINE_EXCEEDED", "UNAVAILABLE"}),
    "Continuations": (continuation_flood, {"UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED"}),
    "Hpack": (hpack_bomb, {"UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED"}),
    "Mute": (mute, {"DEADLINE_EXCEEDED"}),
}


# HTTP/1.1


def h1_requests(up, sock):
    """Gives (head, body) of each request; the head as bytes, as it came."""
    buffer = bytearray()
    while True:
        while b"\r\n\r\n" not in buffer:
            chunk = sock.recv(65536)
            if not chunk:
                up.closed_by_peer += 1
                return
            buffer += chunk
        head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
        buffer = bytearray(rest)
        length = 0
        for line in head.split(b"\r\n")[1:]:
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(buffer) < length:
            buffer += sock.recv(65536)
        body = bytes(buffer[:length])
        del buffer[:length]
        up.seen.append({"head": head, "body": body, "more": bytes(buffer)})
        yield head, body


def h1(answer, close=True):
    """Answers each request with these bytes."""

    def talk(up, sock):
        for _ in h1_requests(up, sock):
            for piece in answer if isinstance(answer, list) else [answer]:
                sock.sendall(piece)
            if close:
                return

    return talk


def h1_record(up, sock):
    """Answers `{}` to everything, and remembers what was asked."""
    for _ in h1_requests(up, sock):
        sock.sendall(h1_ok(b"{}"))


def h1_ok(body, kind=b"application/json", more=b""):
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n%s" % (kind, more, len(body), body)


def trickle(up, sock):
    """An answer of a byte every tenth of a second."""
    for _ in h1_requests(up, sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        while True:
            sock.sendall(b" ")
            time.sleep(0.1)


BROKEN = {"UNAVAILABLE", "INTERNAL", "UNKNOWN"}
# For `http://`: bytes that every request is answered with.
HTTP_MODES = {
    "HttpGarbage": (garbage, BROKEN),
    "HttpCloses": (closes, {"UNAVAILABLE"}),
    "HttpMute": (mute, {"DEADLINE_EXCEEDED"}),
    "HttpTrickle": (trickle, {"DEADLINE_EXCEEDED"}),
    "HttpCut": (h1(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"), BROKEN),
    "HttpLarge": (h1(h1_ok(b'{"name":"' + b"x" * (LIMIT + 10) + b'"}')), {"RESOURCE_EXHAUSTED"}),
    "HttpEndless": (h1([b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", *[b" " * 65536] * 64]), {"RESOURCE_EXHAUSTED"}),
    "HttpHeaders": (h1([b"HTTP/1.1 200 OK\r\n", *[b"X-%d: %s\r\n" % (at, b"y" * 500) for at in range(3000)]]), BROKEN),
    "HttpTwoLengths": (h1(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), BROKEN),
    "HttpFolded": (h1(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nBad Name: c\r\nContent-Length: 2\r\n\r\n{}"), BROKEN),
    "HttpChunks": (h1(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{}"), BROKEN),
    "HttpInformed": (h1([*[b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 2000, h1_ok(b"{")]), BROKEN),
    "HttpSwitches": (h1(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: Upgrade\r\n\r\n"), BROKEN),
    "HttpMoved": (h1(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), BROKEN),
    "HttpNotJson": (h1(h1_ok(b"<html>")), {"INTERNAL"}),
    "HttpDeep": (h1(h1_ok(b'{"item":' * 30000)), {"INTERNAL"}),
    "HttpNan": (h1(h1_ok(b'{"number": nan, "big": 1e999}')), {"INTERNAL"}),
    "HttpSurrogate": (h1(h1_ok(b'{"name": "\\ud800"}')), {"INTERNAL"}),
    "HttpWrong": (h1(h1_ok(b'{"small": "x"}')), {"INTERNAL"}),
}

CONNECT_OK = b"application/proto"
CONNECT_MODES = {
    "ConnectBomb": (h1(h1_ok(ONE_BOMB, CONNECT_OK, b"Content-Encoding: gzip\r\n")), {"RESOURCE_EXHAUSTED", "INTERNAL"}),
    "ConnectSnappy": (h1(h1_ok(b"x", CONNECT_OK, b"Content-Encoding: snappy\r\n")), {"INTERNAL", "UNIMPLEMENTED"}),
    "ConnectHtml": (h1(h1_ok(b"<html>", b"text/html")), {"UNKNOWN"}),
    "ConnectLarge": (h1(h1_ok(item_of(LIMIT + 1), CONNECT_OK)), {"RESOURCE_EXHAUSTED", "INTERNAL"}),
    "ConnectError": (h1(b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n{\"code\":7,\"message\":[1,2]}"), {"UNIMPLEMENTED", "UNKNOWN", "NOT_FOUND"}),
    "ConnectCut": (h1(b"HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: 100\r\n\r\n{"), BROKEN),
}
WEB_KIND = b"application/grpc-web+proto"
WEB_MODES = {
    "WebNoTrailers": (h1(h1_ok(OK, WEB_KIND)), {"INTERNAL", "UNKNOWN"}),
    "WebInjects": (h1(h1_ok(OK + envelope(b"grpc-status: 3\r\ngrpc-message: a%0d%0aX-Evil: y\r\n", 0x80), WEB_KIND)), {"INVALID_ARGUMENT"}),
    "WebLarge": (h1(h1_ok(envelope(b"x", length=0x7FFFFFFF), WEB_KIND)), {"RESOURCE_EXHAUSTED"}),
    "WebBomb": (h1(h1_ok(envelope(ONE_BOMB, 1), WEB_KIND, b"grpc-encoding: gzip\r\n")), {"RESOURCE_EXHAUSTED"}),
}
RPC_MODES = {
    "RpcNotJson": (h1(h1_ok(b"[")), {"INTERNAL", "UNKNOWN"}),
    "RpcNoResult": (h1(h1_ok(b'{"jsonrpc":"2.0","id":1}')), {"INTERNAL", "UNKNOWN"}),
    "RpcOther": (h1(h1_ok(b'{"jsonrpc":"2.0","id":"other","result":{}}')), {"INTERNAL", "UNKNOWN"}),
    "RpcBatch": (h1(h1_ok(b"[" + b'{"jsonrpc":"2.0","id":1,"result":{}},' * 999 + b"1]")), {"INTERNAL", "UNKNOWN"}),
    "RpcLarge": (h1(h1_ok(b'{"jsonrpc":"2.0","id":1,"result":{"name":"' + b"x" * (2 * LIMIT) + b'"}}')), {"RESOURCE_EXHAUSTED"}),
    "RpcDeep": (h1(h1_ok(b'{"jsonrpc":"2.0","id":1,"result":' + b'{"item":' * 30000)), {"INTERNAL", "UNKNOWN"}),
    "RpcError": (h1(h1_ok(b'{"jsonrpc":"2.0","id":1,"error":{"code":1e99,"message":5,"data":[[[]]]}}')), {"INTERNAL", "UNKNOWN"}),
}


# Thrift


def thrift(answer):
    """Answers the first bytes of each call with these, and closes."""

    def talk(up, sock):
        sock.recv(65536)
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass

    return talk


def reply(inner, kind=2, name="Get", seqid=1):
    return framed(thrift_call(name, inner, kind, seqid))


THRIFT_BAD = {"INTERNAL", "UNKNOWN", "UNAVAILABLE"}
THRIFT_MODES = {
    "ThriftGarbage": (thrift(bytes(range(256))), {*THRIFT_BAD, "RESOURCE_EXHAUSTED"}),
    "ThriftCloses": (closes, {"UNAVAILABLE"}),
    "ThriftMute": (mute, {"DEADLINE_EXCEEDED"}),
    "ThriftLong": (thrift(struct.pack(">I", 0x7FFFFFFF) + b"x" * 10), {"RESOURCE_EXHAUSTED", "INTERNAL"}),
    "ThriftNegative": (thrift(struct.pack(">i", -1) + b"x" * 10), {*THRIFT_BAD, "RESOURCE_EXHAUSTED"}),
    "ThriftEmpty": (thrift(framed(b"")), THRIFT_BAD),
    "ThriftCall": (thrift(reply(b"\0", kind=1)), THRIFT_BAD),
    "ThriftVoid": (thrift(reply(b"\0")), {*THRIFT_BAD, "UNIMPLEMENTED"}),
    "ThriftList": (thrift(reply(b"\x0c\x00\x00\x0f\x00\x06\x0c\x7f\xff\xff\xff")), THRIFT_BAD),
    "ThriftText": (thrift(reply(b"\x0c\x00\x00\x0b\x00\x01\x7f\xff\xff\xff")), THRIFT_BAD),
    "ThriftType": (thrift(reply(b"\x0c\x00\x00\x77\x00\x01")), THRIFT_BAD),
    "ThriftDeep": (thrift(reply(b"\x0c\x00\x00" + b"\x0c\x00\x05" * 5000)), THRIFT_BAD),
    "ThriftBools": (thrift(reply(b"\x0c\x00\x00\x0f\x00\x06\x02\x00\x0f\xff\xff" + b"\0" * 100)), THRIFT_BAD),
}

SCHEMES = [
    ("grpc://127.0.0.1:{}", GRPC_MODES),
    ("http://127.0.0.1:{}", HTTP_MODES),
    ("connect://127.0.0.1:{}", CONNECT_MODES),
    ("grpc-web://127.0.0.1:{}", WEB_MODES),
    ("jsonrpc://127.0.0.1:{}/rpc", RPC_MODES),
    ("thrift+framed://127.0.0.1:{}", THRIFT_MODES),
]
