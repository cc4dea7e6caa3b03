"""Apache's Python library as a client of every method over every transport: clients.py PORT. Each check is a line, `ok` or `FAIL`."""

import sys
import traceback

from thrift.protocol import TBinaryProtocol, TCompactProtocol, THeaderProtocol, TMultiplexedProtocol
from thrift.Thrift import TApplicationException
from thrift.transport import THttpClient, TSocket, TTransport
from thrift.transport.THeaderTransport import THeaderClientType

from interop.calc import Calc
from interop.calc.ttypes import Everything, Missing, Op, Overflow, Point, Shape
from interop.kinds.kinds import Kinds
from interop.kinds.kinds.ttypes import All, Ask, Color, Error, ErrorCode, Inner, google_protobuf_Timestamp

PORT = int(sys.argv[1])
failed = 0


def check(name, test):
    global failed
    try:
        test()
        print(f"ok   {name}")
    except Exception:
        failed += 1
        print(f"FAIL {name}\n{traceback.format_exc()}")


def equal(found, wanted):
    assert found == wanted, f"{found!r}\n  is not\n{wanted!r}"


def raises(kind, call):
    try:
        found = call()
    except kind as error:
        return error
    raise AssertionError(f"{found!r} instead of {kind.__name__}")


PROTOCOLS = {
    "binary": TBinaryProtocol.TBinaryProtocol,
    "binary in C": TBinaryProtocol.TBinaryProtocolAccelerated,
    "binary, old head": lambda pipe: TBinaryProtocol.TBinaryProtocol(pipe, strictRead=False, strictWrite=False),
    "compact": TCompactProtocol.TCompactProtocol,
    "compact in C": TCompactProtocol.TCompactProtocolAccelerated,
}


def pipes(path):
    yield "buffered", lambda: TTransport.TBufferedTransport(TSocket.TSocket("127.0.0.1", PORT))
    yield "framed", lambda: TTransport.TFramedTransport(TSocket.TSocket("127.0.0.1", PORT))
    yield "HTTP", lambda: THttpClient.THttpClient(f"http://127.0.0.1:{PORT}{path}")


def ways(path):
    """Name, transport and protocol of every way."""
    for transport, open_it in pipes(path):
        for protocol, make in PROTOCOLS.items():
            # Who shares a port cannot tell the old head from other protocols; HTTP says what it is.
            if protocol != "binary, old head" or transport == "HTTP":
                pipe = open_it()
                yield f"{transport}, {protocol}", pipe, make(pipe)
    for number, name in ((0, "binary"), (2, "compact")):
        for zlib in (False, True):
            pipe = TSocket.TSocket("127.0.0.1", PORT)
            protocol = THeaderProtocol.THeaderProtocol(pipe, (THeaderClientType.HEADERS,), default_protocol=number)
            if zlib:
                protocol.trans.add_transform(1)
            yield f"THeader, {name}{', zlib' if zlib else ''}", protocol.trans, protocol


def message():
    return All(
        a_double=-1.5e300, a_float=0.25, an_int32=-(2**31), an_int64=-(2**63), a_uint32=2**32 - 1, a_uint64=-1, a_sint32=-7,
        a_fixed64=5, a_bool=True, a_string="Grüße, 世界 🎉", some_bytes=b"\x00\xff", color=Color.BLUE,
        inner=Inner("x", [Inner("y", [Inner("", [])]), Inner("", [])]), maybe=0, numbers=[0, -1, 2**31 - 1], texts=["", "a"],
        flags=[True, False, True], colors=[Color.RED, Color.UNSPECIFIED], inners=[Inner("z", [])], counts={"a": 0, "ü": -1},
        by_number={-5: Inner("q", [])}, by_bool={True: "t", False: ""}, figure=0, at=google_protobuf_Timestamp(1700000000, 5),
    )  # fmt: skip


def everything():
    return Everything(
        yes=True, small=-128, short_one=32767, n=-1, big=2**62, d=0.1, s="Grüße 🎉", raw=b"\xff\x00", shorts=[1, -2],
        words={"a", "ü"}, counts={"a": 1}, by_double={1.5: "x"}, matrix=[[1, 2], []], nested={1: {2: "z"}}, op=Op.SUB,
        ops=[Op.ADD, Op.MUL], by_op={Op.ADD: 9}, shape=Shape(line=[1, 2]), prices=[2**40], maybe=["m"],
        inner=Point(1, 2, 3), tiny={1: -2}, numbers={1, 2},
    )  # fmt: skip


def kinds(way, client, unknown):
    check(f"{way}: every type", lambda: equal(client.Echo(message()), message()))

    def nothing():
        empty = client.Echo(All())
        equal((empty.an_int32, empty.a_string, empty.numbers, empty.counts), (0, "", [], {}))
        equal((empty.maybe, empty.inner, empty.word, empty.figure), (None, None, None, None))

    check(f"{way}: absent fields", nothing)

    def large():
        texts = ["ü" * 1000] * 200
        equal(client.Echo(All(texts=texts, some_bytes=bytes(100_000))).texts, texts)

    check(f"{way}: a large message", large)

    def errors():
        for code, name in ErrorCode._VALUES_TO_NAMES.items():
            error = raises(Error, lambda: client.Fail(Ask(name)))
            equal((error.code, error.message), (code, "as wanted: ü"))
            equal(error.details[0].type_url, "type.googleapis.com/interop.kinds.Answer")
            equal(error.details[0].value, b"\n\x06detail")

    check(f"{way}: every error", errors)
    check(f"{way}: a reserved word", lambda: equal(client.delete_(Ask("x")).text, "deleted x"))

    def wrong():
        error = raises(Error, lambda: client.Echo(All(a_uint32=-1)))
        equal(error.code, ErrorCode.INVALID_ARGUMENT)
        error = raises(Error, lambda: client.Echo(All(word="w", figure=1)))
        equal(error.code, ErrorCode.INVALID_ARGUMENT)

    check(f"{way}: values that cannot be", wrong)

    def strange():
        equal(raises(TApplicationException, unknown).type, TApplicationException.UNKNOWN_METHOD)

    check(f"{way}: an unknown method", strange)


def calc(way, client):
    check(f"{way}: every type of an IDL", lambda: equal(client.echo(everything()), everything()))
    check(f"{way}: parameters", lambda: equal([client.apply(Op.ADD, 2, 3), client.apply(Op.SUB, 2, 3)], [5, -1]))

    def exceptions():
        equal(raises(Overflow, lambda: client.apply(Op.MUL, 2**30, 4)).limit, 2**31 - 1)
        equal(raises(Missing, lambda: client.apply(77, 1, 1)).what, "operation")

    check(f"{way}: declared exceptions", exceptions)
    check(f"{way}: lists of lists", lambda: equal(client.transpose([[1, 2], [3, 4]]), [[1, 3], [2, 4]]))
    check(f"{way}: a map of structs", lambda: equal(client.points({"a", "bc"}), {"a": Point(1), "bc": Point(2)}))
    check(f"{way}: void", lambda: equal(client.nothing(), None))
    check(f"{way}: what is inherited", lambda: equal(client.ping(), "pong"))

    def oneway():
        client.note(f"{way} ü")
        # The answer to the next call is its own.
        equal(client.ping(), "pong")
        while f"{way} ü" not in client.notes():
            pass

    check(f"{way}: oneway", oneway)
    check(f"{way}: a fault of the service", lambda: raises(TApplicationException, client.broken))


def unknown(client):
    """Calls a method that is not there."""

    def call():
        protocol = client._oprot
        begin = protocol.writeMessageBegin
        try:
            protocol.writeMessageBegin = lambda _, kind, seqid: begin("nothere", kind, seqid)
            return client.delete_(Ask("x"))
        finally:
            protocol.writeMessageBegin = begin

    return call


for way, pipe, protocol in ways("/thrift/interop.kinds.Kinds"):
    pipe.open()
    client = Kinds.Client(protocol)
    kinds(way, client, unknown(client))
    pipe.close()
for way, pipe, protocol in ways("/thrift"):
    pipe.open()
    calc(way, Calc.Client(protocol))
    pipe.close()
for way, pipe, protocol in ways("/thrift"):
    if "THeader" in way:
        continue
    pipe.open()
    shared = TMultiplexedProtocol.TMultiplexedProtocol
    one, other = Kinds.Client(shared(protocol, "Kinds")), Calc.Client(shared(protocol, "interop.calc.Calc"))
    check(f"{way}: multiplexed", lambda: equal((one.Echo(message()), other.ping()), (message(), "pong")))
    pipe.close()


def pipelined():
    pipe = TTransport.TBufferedTransport(TSocket.TSocket("127.0.0.1", PORT))
    pipe.open()
    client = Calc.Client(TBinaryProtocol.TBinaryProtocol(pipe))
    for n in range(50):
        client.send_apply(Op.ADD, n, 1)
    equal([client.recv_apply() for _ in range(50)], list(range(1, 51)))
    pipe.close()


check("50 calls before the first answer", pipelined)


def sasl():
    # No key is configured, so every one will do; that wrong ones are refused is tested where there is one.
    wrapped = TSocket.TSocket("127.0.0.1", PORT)
    pipe = TTransport.TSaslClientTransport(wrapped, "127.0.0.1", "thrift", mechanism="PLAIN", username="a", password="key")
    pipe.open()
    equal(Calc.Client(TBinaryProtocol.TBinaryProtocol(pipe)).ping(), "pong")
    pipe.close()


check("SASL PLAIN", sasl)
sys.exit(1 if failed else 0)
