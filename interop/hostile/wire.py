"""The wires, by hand, so that everything can be said wrong: HTTP/1.1, HTTP/2, WebSocket, Protobuf, Thrift. Only HPACK is a library's."""

import base64
import json
import os
import socket
import struct
import time

import hpack

LOCAL = "127.0.0.1"


# Protobuf


def varint(n):
    out = bytearray()
    n &= (1 << 64) - 1
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def field(number, value):
    """A field: text, bytes or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def nested(number, depth, inner=b""):
    """A message in a message, so many times."""
    for _ in range(depth):
        inner = field(number, inner)
    return inner


def read_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def fields(data):
    """The fields of a message that has only numbers and bytes."""
    at, out = 0, []
    while at < len(data):
        key, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if key & 7 == 2:
            value, at = data[at : at + value], at + value
        out.append((key >> 3, value))
    return out


def envelope(message, flags=0, length=None):
    return bytes([flags]) + struct.pack(">I", len(message) if length is None else length) + message


def envelopes(data):
    out, at = [], 0
    while at + 5 <= len(data):
        length = struct.unpack(">I", data[at + 1 : at + 5])[0]
        out.append((data[at], data[at + 5 : at + 5 + length]))
        at += 5 + length
    return out


# HTTP/1.1


class Answer:
    """An answer: status (0 when there was none), headers by lower-case name, body, trailers."""

    def __init__(self, status=0, headers=None, body=b"", trailers=None, reset=None):
        self.status, self.headers, self.body = status, headers or {}, body
        self.trailers, self.reset = trailers or {}, reset

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.trailers} reset={self.reset} {self.body[:300]!r}>"


def connect(port, timeout=10.0, buffer=None):
    sock = socket.socket()
    sock.settimeout(timeout)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.connect((LOCAL, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def raw(port, data, timeout=10.0, close_write=False):
    """Sends bytes on a connection of their own, and gives what comes back until it ends or is silent for so long."""
    out = bytearray()
    with connect(port, timeout) as sock:
        try:
            sock.sendall(data)
            if close_write:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while chunk := sock.recv(65536):
                out += chunk
        except OSError:
            pass
    return bytes(out)


def parse_http1(data):
    """The first answer in bytes."""
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if not lines[0].startswith("HTTP/1.1 "):
        return Answer()
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        whole, rest = bytearray(), body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            size = int(size or b"0", 16)
            whole += rest[:size]
            if not size:
                break
            rest = rest[size + 2 :]
        body = bytes(whole)
    elif "content-length" in headers:
        body = body[: int(headers["content-length"])]
    return Answer(int(lines[0][9:12]), headers, body)


def http1(port, method, path, headers=(), body=b"", timeout=10.0):
    """A request on a connection of its own."""
    path = path.encode("latin-1") if isinstance(path, str) else path
    head = [method.encode() + b" " + path + b" HTTP/1.1", b"Host: localhost", b"Connection: close"]
    for name, value in headers:
        name, value = (part.encode("latin-1") if isinstance(part, str) else part for part in (name, value))
        head.append(name + b": " + value)
    if body or method in ("POST", "PUT"):
        head.append(b"Content-Length: %d" % len(body))
    return parse_http1(raw(port, b"\r\n".join(head) + b"\r\n\r\n" + body, timeout))


# HTTP/2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def setting(key, value):
    return struct.pack(">HI", key, value)


def block(headers):
    """Headers, none of them put into tables, none checked."""
    out = bytearray()
    for name, value in headers:
        out.append(0)
        for text in (name, value):
            text = text.encode("latin-1") if isinstance(text, str) else text
            if len(text) < 127:
                out.append(len(text))
            else:
                out += b"\x7f" + varint(len(text) - 127)
            out += text
    return bytes(out)


class H2:
    """One end of a connection of HTTP/2."""

    def __init__(self, port, settings=b"", timeout=10.0, window=1 << 24):
        self.sock = connect(port, timeout)
        self.buffer = bytearray()
        self.decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self.next = 1
        self.events = {}
        self.goaway = None
        self.closed = False
        self.pongs = 0
        # How much the other side takes: of all streams, of a new one, of each.
        self.room, self.first, self.rooms = 65535, 65535, {}
        self.send(PREFACE + frame(SETTINGS, 0, 0, settings))
        if window:
            self.send(frame(WINDOW, 0, 0, struct.pack(">I", window)))
        self.window = window

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            self.closed = True
            return False

    def open(self, path, headers=(), end=False, method="POST", stream=None, pseudo=None):
        """Opens a stream with a head; gives its number."""
        number = stream or self.next
        self.next = number + 2
        pseudo = pseudo or [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        self.send(frame(HEADERS, 4 | int(end), number, block([*pseudo, *headers])))
        if self.window:
            self.send(frame(WINDOW, 0, number, struct.pack(">I", self.window)))
        return number

    def data(self, stream, data, end=False):
        """Sends data, in frames that everybody takes."""
        if not data:
            self.send(frame(DATA, int(end), stream))
        while data:
            size = min(len(data), 16384, self.room, self.rooms.get(stream, 0) + self.first)
            if size <= 0:
                ended = any(flags & 1 or kind == RST for kind, flags, _ in self.events.get(stream, []))
                if ended or not self.step():
                    return
                continue
            piece, data = data[:size], data[size:]
            self.room -= size
            self.rooms[stream] = self.rooms.get(stream, 0) - size
            self.send(frame(DATA, int(end and not data), stream, piece))

    def step(self):
        """Reads one frame; False when there is none any more."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            try:
                chunk = self.sock.recv(65536)
            except OSError:
                chunk = b""
            if not chunk:
                self.closed = True
                return False
            self.buffer += chunk
        size = int.from_bytes(self.buffer[:3], "big")
        kind, flags = self.buffer[3], self.buffer[4]
        stream = int.from_bytes(self.buffer[5:9], "big")
        payload = bytes(self.buffer[9 : 9 + size])
        del self.buffer[: 9 + size]
        if kind == SETTINGS and not flags & 1:
            for at in range(0, size, 6):
                key, value = struct.unpack(">HI", payload[at : at + 6])
                self.first = value if key == 4 else self.first
            self.send(frame(SETTINGS, 1))
        elif kind == WINDOW:
            more = struct.unpack(">I", payload)[0]
            if stream:
                self.rooms[stream] = self.rooms.get(stream, 0) + more
            else:
                self.room += more
        elif kind == PING:
            if flags & 1:
                self.pongs += 1
            else:
                self.send(frame(PING, 1, 0, payload))
        elif kind == GOAWAY:
            self.goaway = struct.unpack(">II", payload[:8])[1]
        elif kind in (HEADERS, DATA, RST):
            self.events.setdefault(stream, []).append((kind, flags, payload))
        return True

    def answer(self, stream, wait=None):
        """What came on a stream until its end."""
        out = Answer()
        seen = 0
        until = time.monotonic() + (wait or self.sock.gettimeout())
        while True:
            for kind, flags, payload in self.events.get(stream, [])[seen:]:
                seen += 1
                if kind == HEADERS:
                    got = {str(name): str(value) for name, value in self.decoder.decode(payload)}
                    if ":status" in got and not out.status:
                        out.status, out.headers = int(got.pop(":status")), got
                        if flags & 1:
                            out.trailers = got
                    else:
                        out.trailers = got
                elif kind == DATA:
                    out.body += payload
                else:
                    out.reset = struct.unpack(">I", payload)[0]
                    return out
                if flags & 1:
                    return out
            if time.monotonic() > until or not self.step():
                return out


def http2(port, path, headers=(), body=b"", method="POST", timeout=10.0):
    with H2(port, timeout=timeout) as conn:
        stream = conn.open(path, headers, end=not body, method=method)
        if body:
            conn.data(stream, body, end=True)
        return conn.answer(stream)


# WebSocket


class Ws:
    def __init__(self, port, path, protocol=None, timeout=10.0, headers=()):
        self.sock = connect(port, timeout)
        self.buffer = bytearray()
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
        lines += [f"{name}: {value}" for name, value in headers]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while b"\r\n\r\n" not in self.buffer:
            chunk = self.sock.recv(65536)
            if not chunk:
                raise OSError("no handshake")
            self.buffer += chunk
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.head, self.buffer = parse_http1(head + b"\r\n\r\n"), bytearray(rest)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data, opcode=1, fin=True, masked=True, length=None):
        data = data.encode() if isinstance(data, str) else data
        size = len(data) if length is None else length
        head = bytes([opcode | (0x80 if fin else 0)])
        mask = 0x80 if masked else 0
        if size < 126:
            head += bytes([mask | size])
        elif size < 65536:
            head += bytes([mask | 126]) + struct.pack(">H", size)
        else:
            head += bytes([mask | 127]) + struct.pack(">Q", size)
        try:
            # A mask of zeroes leaves the bytes as they are.
            self.sock.sendall(head + (b"\0\0\0\0" if masked else b"") + data)
        except OSError:
            return False
        return True

    def say(self, value):
        self.send(json.dumps(value))

    def take(self):
        """The next message as (opcode, bytes); (8, code and reason) for a close; None at the end."""
        while True:
            need = 2
            if len(self.buffer) >= 2:
                size = self.buffer[1] & 0x7F
                need = {126: 4, 127: 10}.get(size, 2)
                if len(self.buffer) >= need:
                    if need > 2:
                        size = int.from_bytes(self.buffer[2:need], "big")
                    if len(self.buffer) >= need + size:
                        opcode, data = self.buffer[0] & 15, bytes(self.buffer[need : need + size])
                        del self.buffer[: need + size]
                        return opcode, data
            try:
                chunk = self.sock.recv(65536)
            except OSError:
                return None
            if not chunk:
                return None
            self.buffer += chunk

    def hear(self):
        """The next text as JSON; {"close": code, "reason": text} for a close; None at the end."""
        while got := self.take():
            if got[0] == 1:
                return json.loads(got[1])
            if got[0] == 8:
                code = int.from_bytes(got[1][:2], "big")
                return {"close": code, "reason": got[1][2:].decode(errors="replace")}
            if got[0] == 9:
                self.send(got[1], 10)
        return None


# Thrift


def thrift_text(text):
    text = text.encode() if isinstance(text, str) else text
    return struct.pack(">i", len(text)) + text


def thrift_call(name, args, kind=1, seqid=7):
    """A call of the binary protocol."""
    return struct.pack(">I", 0x80010000 | kind) + thrift_text(name) + struct.pack(">i", seqid) + args


def thrift_item(name):
    """The arguments of a method that takes an Item."""
    return b"\x0c\x00\x01" + b"\x0b\x00\x01" + thrift_text(name) + b"\x00" + b"\x00"


def framed(data):
    return struct.pack(">I", len(data)) + data


class ThriftReader:
    """Reads a reply of the binary protocol into dictionaries by field id."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise ValueError("the reply is cut")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big", signed=True)

    def value(self, kind):
        if kind in (2, 3):
            return self.number(1)
        if kind in (6, 8, 10):
            return self.number({6: 2, 8: 4, 10: 8}[kind])
        if kind == 4:
            return struct.unpack(">d", self.take(8))[0]
        if kind == 11:
            return self.take(self.number(4))
        if kind == 12:
            out = {}
            while kind := self.number(1):
                number = self.number(2)
                out[number] = self.value(kind)
            return out
        if kind in (14, 15):
            inner = self.number(1)
            return [self.value(inner) for _ in range(self.number(4))]
        if kind == 13:
            key, inner = self.number(1), self.number(1)
            return {self.value(key): self.value(inner) for _ in range(self.number(4))}
        raise ValueError(f"type {kind}")

    def message(self):
        """Kind, name, and the struct."""
        head = self.number(4) & 0xFFFFFFFF
        name = self.take(self.number(4)).decode()
        self.number(4)
        return head & 0xFF, name, self.value(12)
