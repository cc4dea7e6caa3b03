"""The services, as Apache's Python library serves them: upstream.py TRANSPORT PROTOCOL [multiplexed]. Prints its port."""

import collections
import sys
import threading

from thrift.protocol import TBinaryProtocol, TCompactProtocol, THeaderProtocol
from thrift.server import THttpServer, TServer
from thrift.TMultiplexedProcessor import TMultiplexedProcessor
from thrift.transport import TSocket, TTransport

from interop.calc import Calc
from interop.calc.ttypes import Missing, Op, Overflow, Point
from interop.kinds.kinds import Kinds
from interop.kinds.kinds.ttypes import Answer, Error, ErrorCode, ErrorDetail


class KindsHandler:
    def Echo(self, request):
        return request

    def Fail(self, request):
        detail = ErrorDetail("type.googleapis.com/interop.kinds.Answer", b"\n\x06detail")
        raise Error(ErrorCode._NAMES_TO_VALUES[request.name], "as wanted: ü", [detail])

    def delete_(self, request):
        return Answer("deleted " + request.name)


class CalcHandler:
    def __init__(self):
        self.noted, self.lock = collections.deque(maxlen=100), threading.Lock()

    def ping(self):
        return "pong"

    def note(self, text):
        with self.lock:
            self.noted.append(text)

    def notes(self):
        with self.lock:
            return list(self.noted)

    def apply(self, op, a, b):
        done = {Op.ADD: a + b, Op.SUB: a - b, Op.MUL: a * b}.get(op)
        if done is None:
            raise Missing("operation")
        if abs(done) >= 2**31:
            raise Overflow("too large", 2**31 - 1)
        return done

    def echo(self, value):
        return value

    def transpose(self, rows):
        return [list(row) for row in zip(*rows)]

    def points(self, names):
        return {name: Point(x=len(name)) for name in names}

    def nothing(self):
        pass

    def broken(self):
        raise RuntimeError("a fault of the service")


class Listening(TSocket.TServerSocket):
    """Says which port it got."""

    def listen(self):
        super().listen()
        print(self.handle.getsockname()[1], flush=True)


def main():
    transport, protocol, *rest = sys.argv[1:]
    kinds, calc = Kinds.Processor(KindsHandler()), Calc.Processor(CalcHandler())
    which = rest[0] if rest else "calc"
    processor = {"calc": calc, "kinds": kinds}.get(which)
    if processor is None:
        processor = TMultiplexedProcessor()
        processor.registerProcessor("Kinds", kinds)
        processor.registerProcessor("Calc", calc)
    protocols = {
        "binary": TBinaryProtocol.TBinaryProtocolFactory(),
        "compact": TCompactProtocol.TCompactProtocolFactory(),
        "header": THeaderProtocol.THeaderProtocolFactory(),
    }
    factory = protocols[protocol]
    if transport == "http":
        server = THttpServer.THttpServer(processor, ("127.0.0.1", 0), factory)
        print(server.httpd.server_address[1], flush=True)
        return server.serve()
    wraps = {
        "buffered": TTransport.TBufferedTransportFactory(),
        "framed": TTransport.TFramedTransportFactory(),
        "header": TTransport.TTransportFactoryBase(),
    }
    TServer.TThreadedServer(processor, Listening("127.0.0.1", 0), wraps[transport], factory, daemon=True).serve()


main()
