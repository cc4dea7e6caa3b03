"""A subscription over each protocol that has them, cut at random moments by a proxy and by `kill -9` of the server, and begun again with `after`
set to the last cursor: every message arrives exactly once and in the order of its key."""

import asyncio
import base64
import http.client
import json
import pathlib
import random
import struct
import threading
import time

from common import OPTIONS, Proxy, ask, harness, scratch

KEYS = [f"k{n}" for n in range(6)]
PLACES = ["seq.eu.a", "seq.eu.b", "seq.us"]
PATTERN = "seq.>"
METHOD = "switchboard.v1.Messages/Subscribe"
TOPIC = '[topics.seq]\npartitions = 4\nclaims = ["seq.>"]\n'


class Publisher(threading.Thread):
    """Publishes numbers of every key until it is told to end. What may or may not have happened is sent again under the same idempotency key."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.next, self.over, self.fault = server, dict.fromkeys(KEYS, 0), threading.Event(), None

    def run(self):
        try:
            self._run()
        except Exception as error:  # told by who waits
            self.fault = error

    def _run(self):
        client = harness.Client(self.server, 5)
        while not self.over.is_set():
            key = random.choice(KEYS)
            numbers = range(self.next[key], self.next[key] + random.randint(1, 8))
            # A key's messages have one address, so that their order is one of a partition.
            address = PLACES[KEYS.index(key) % len(PLACES)]
            body = {"messages": [{"address": address, "key": key, "body": f"{key}:{n}"} for n in numbers]}
            headers = {"Idempotency-Key": f"{key}-{numbers[0]}-{len(numbers)}"}
            while True:
                try:
                    status, _, answer = client.ask("POST", "/publish", body, headers)
                except harness.Gone:
                    time.sleep(0.01)
                    continue
                if status == 201:
                    break
                if status != 503:
                    raise AssertionError(f"publishing: {status} {answer!r}")
            self.next[key] = numbers[-1] + 1
            time.sleep(random.random() * 0.004)
        client.close()


class Subscriber(threading.Thread):
    """Follows through a proxy of its own and begins again whenever it is cut off."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.proxy, self.cursor, self.got, self.begun = Proxy(server), "", {key: [] for key in KEYS}, 0
        self.over, self.why = threading.Event(), ""

    def run(self):
        while not self.over.is_set():
            self.begun += 1
            try:
                self.follow()
            except Exception as error:  # any way in which a connection breaks
                self.why = repr(error)
            time.sleep(0.01)

    def request(self):
        return {"pattern": PATTERN, "max": 20, **({"after": self.cursor} if self.cursor else {"from": "start"})}

    def take(self, response):
        """One response, whole: its messages have been seen once its cursor is kept."""
        if response.get("reset"):
            raise AssertionError(f"{type(self).__name__}: {response}")
        for message in response.get("messages") or []:
            key, number = base64.b64decode(message["body"]).decode().split(":")
            self.got[key].append(int(number))
        self.cursor = response["cursor"]


class Grpc(Subscriber):
    def follow(self):
        import grpc
        from switchboard.v1 import messages_pb2, messages_pb2_grpc

        request = self.request()
        # `from` is a word of Python.
        request = messages_pb2.SubscribeRequest(**request)
        with grpc.insecure_channel(f"127.0.0.1:{self.proxy.port}", OPTIONS) as channel:
            for response in messages_pb2_grpc.MessagesStub(channel).Subscribe(request):
                messages = [{"body": base64.b64encode(message.body)} for message in response.messages]
                self.take({"messages": messages, "cursor": response.cursor})


class Connect(Subscriber):
    def follow(self):
        body = json.dumps(self.request()).encode()
        pipe = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=20)
        try:
            headers = {"Content-Type": "application/connect+json", "Connect-Protocol-Version": "1"}
            pipe.request("POST", f"/{METHOD}", struct.pack(">BI", 0, len(body)) + body, headers)
            answer = pipe.getresponse()
            while len(head := answer.read(5)) == 5:
                flags, length = struct.unpack(">BI", head)
                text = answer.read(length)
                # What is cut off in the middle was not received.
                if len(text) < length or flags & 2:
                    return
                self.take(json.loads(text))
        finally:
            pipe.close()


class Graphql(Subscriber):
    def follow(self):
        asyncio.run(self.subscribe())

    async def subscribe(self):
        from gql import Client, gql
        from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport

        document = gql(
            "subscription ($pattern: String, $after: String, $from: String, $max: Int) {"
            " subscribe(pattern: $pattern, after: $after, from: $from, max: $max) { messages { body } cursor reset { code } } }"
        )
        document.variable_values = self.request()
        transport = AIOHTTPWebsocketsTransport(url=f"ws://127.0.0.1:{self.proxy.port}/graphql")
        async with Client(transport=transport) as session:
            async for data in session.subscribe(document):
                self.take(data["subscribe"])


class JsonRpc(Subscriber):
    def follow(self):
        from websockets.sync.client import connect

        with connect(f"ws://127.0.0.1:{self.proxy.port}/rpc", close_timeout=1) as socket:
            socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": METHOD, "params": self.request()}))
            assert "result" in json.loads(socket.recv(20))
            for text in socket:
                params = json.loads(text)["params"]
                if params.get("end"):
                    return
                self.take(params["result"])


def run(seconds):
    server = harness.Server(pathlib.Path(scratch()) / "data", TOPIC)
    assert server.start() is not None, server.said()
    publisher = Publisher(server)
    subscribers = [kind(server) for kind in (Grpc, Connect, Graphql, JsonRpc)]
    kills = 0
    try:
        publisher.start()
        for subscriber in subscribers:
            subscriber.start()
        until, kill_at = time.monotonic() + seconds, time.monotonic() + 1
        while time.monotonic() < until:
            time.sleep(random.uniform(0.02, 0.2))
            random.choice(subscribers).proxy.cut()
            if time.monotonic() > kill_at:
                server.kill()
                assert server.start() is not None, server.said()
                kills, kill_at = kills + 1, time.monotonic() + random.uniform(0.3, 1.5)
        publisher.over.set()
        publisher.join(20)
        assert not publisher.is_alive() and publisher.fault is None, publisher.fault
        wanted = {key: list(range(n)) for key, n in publisher.next.items()}
        total = sum(publisher.next.values())
        end = time.monotonic() + 30
        for subscriber in subscribers:
            while time.monotonic() < end and sum(map(len, subscriber.got.values())) < total:
                time.sleep(0.02)
        failed = False
        for subscriber in subscribers:
            name = type(subscriber).__name__.lower()
            got = subscriber.got
            wrong = [key for key in KEYS if got[key] != wanted[key]]
            for key in wrong:
                missing = sorted(set(wanted[key]) - set(got[key]))[:10]
                twice = sorted({n for n in got[key] if got[key].count(n) > 1})[:10]
                print(f"FAIL {name} {key}: {len(got[key])} of {len(wanted[key])}, missing {missing}, twice {twice}; last {subscriber.why}")
            failed |= bool(wrong)
            if not wrong:
                cuts = subscriber.proxy.cuts
                print(f"ok   {name}: {total} messages once and in order, begun {subscriber.begun} times, {cuts} cuts, {kills} kills")
            assert subscriber.begun > kills, f"{name} was never cut off"
        status, info = ask(server, "GET", "/topics/seq/info")
        assert status == 200, info
        return not failed
    finally:
        publisher.over.set()
        for subscriber in subscribers:
            subscriber.over.set()
            subscriber.proxy.close()
        server.kill()
