"""gRPC's interoperability cases by grpcio, blocking and with asyncio, and what its reflection and health clients say.

    python cases.py FOLDER_OF_GENERATED_MODULES PORT

A line for each case: `ok NAME` or `FAIL NAME: why`.
"""

import asyncio
import sys
import traceback

sys.path.insert(0, sys.argv[1])

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import test_pb2
import test_pb2_grpc

TARGET = f"127.0.0.1:{sys.argv[2]}"
REQUESTS = [27_182, 8, 1_828, 45_904]
RESPONSES = [31_415, 9, 2_653, 58_979]
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
INITIAL = ("x-grpc-test-echo-initial", "test_initial_metadata_value")
TRAILING = ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab")

Code = grpc.StatusCode


def payload(size):
    return test_pb2.Payload(body=b"\0" * size)


def large(**more):
    return test_pb2.SimpleRequest(response_size=314_159, payload=payload(271_828), **more)


def inputs():
    return [test_pb2.StreamingInputCallRequest(payload=payload(size)) for size in REQUESTS]


def output(*sizes, interval_us=0, **more):
    parameters = [test_pb2.ResponseParameters(size=size, interval_us=interval_us) for size in sizes]
    return test_pb2.StreamingOutputCallRequest(response_parameters=parameters, **more)


def pings():
    return [output(size, payload=payload(sent)) for size, sent in zip(RESPONSES, REQUESTS)]


def same(got, wanted):
    assert got == wanted, f"{got!r:.200} instead of {wanted!r:.200}"


def fails(code, call):
    try:
        call()
    except grpc.RpcError as error:
        same(error.code(), code)
        return error
    raise AssertionError(f"it did not fail with {code}")


class Blocking:
    """The cases, by the blocking client."""

    def __init__(self, channel):
        self.channel = channel
        self.stub = test_pb2_grpc.TestServiceStub(channel)

    def empty_unary(self):
        same(self.stub.EmptyCall(test_pb2.Empty()), test_pb2.Empty())

    def cacheable_unary(self):
        same(len(self.stub.CacheableUnaryCall(large()).payload.body), 314_159)

    def large_unary(self):
        same(self.stub.UnaryCall(large()).payload, payload(314_159))

    def client_compressed_unary(self):
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate, grpc.Compression.NoCompression):
            same(self.stub.UnaryCall(large(), compression=compression).payload, payload(314_159))

    def server_compressed_unary(self):
        for wanted in (True, False):
            request = large(response_compressed=test_pb2.BoolValue(value=wanted))
            same(self.stub.UnaryCall(request).payload, payload(314_159))

    def client_streaming(self):
        same(self.stub.StreamingInputCall(iter(inputs())).aggregated_payload_size, 74_922)

    def client_compressed_streaming(self):
        got = self.stub.StreamingInputCall(iter(inputs()), compression=grpc.Compression.Gzip)
        same(got.aggregated_payload_size, 74_922)

    def server_streaming(self):
        got = [len(response.payload.body) for response in self.stub.StreamingOutputCall(output(*RESPONSES))]
        same(got, RESPONSES)

    def server_compressed_streaming(self):
        call = self.stub.StreamingOutputCall(output(31_415, 92_653), compression=grpc.Compression.Gzip)
        same([len(response.payload.body) for response in call], [31_415, 92_653])

    def ping_pong(self):
        import queue

        pending = queue.Queue()
        call = self.stub.FullDuplexCall(iter(pending.get, None))
        for request, size in zip(pings(), RESPONSES):
            pending.put(request)
            same(len(next(call).payload.body), size)
        pending.put(None)
        same(list(call), [])

    def empty_stream(self):
        same(list(self.stub.FullDuplexCall(iter(()))), [])

    def cancel_after_begin(self):
        import threading

        over = threading.Event()

        def waits():
            over.wait(30)
            yield from ()

        call = self.stub.StreamingInputCall.future(waits())
        call.cancel()
        assert call.cancelled()
        same(call.code(), Code.CANCELLED)
        over.set()

    def cancel_after_first_response(self):
        import queue

        pending = queue.Queue()
        call = self.stub.FullDuplexCall(iter(pending.get, None))
        pending.put(pings()[0])
        same(len(next(call).payload.body), RESPONSES[0])
        call.cancel()
        same(fails(Code.CANCELLED, lambda: next(call)).code(), Code.CANCELLED)
        pending.put(None)

    def timeout_on_sleeping_server(self):
        def call():
            list(self.stub.FullDuplexCall(iter([output(31_415, interval_us=1_000_000)]), timeout=0.01))

        fails(Code.DEADLINE_EXCEEDED, call)

    def custom_metadata(self):
        _, call = self.stub.UnaryCall.with_call(large(), metadata=(INITIAL, TRAILING))
        assert INITIAL in call.initial_metadata(), call.initial_metadata()
        assert TRAILING in call.trailing_metadata(), call.trailing_metadata()
        call = self.stub.FullDuplexCall(iter([output(9)]), metadata=(INITIAL, TRAILING))
        list(call)
        assert INITIAL in call.initial_metadata() and TRAILING in call.trailing_metadata()

    def status_code_and_message(self):
        wanted = test_pb2.EchoStatus(code=2, message="test status message")
        error = fails(Code.UNKNOWN, lambda: self.stub.UnaryCall(large(response_status=wanted)))
        same(error.details(), "test status message")
        call = self.stub.FullDuplexCall(iter([test_pb2.StreamingOutputCallRequest(response_status=wanted)]))
        same(fails(Code.UNKNOWN, lambda: list(call)).details(), "test status message")

    def special_status_message(self):
        wanted = test_pb2.EchoStatus(code=2, message=SPECIAL)
        error = fails(Code.UNKNOWN, lambda: self.stub.UnaryCall(large(response_status=wanted)))
        same(error.details(), SPECIAL)

    def unimplemented_method(self):
        fails(Code.UNIMPLEMENTED, lambda: self.stub.UnimplementedCall(test_pb2.Empty()))

    def unimplemented_service(self):
        stub = test_pb2_grpc.UnimplementedServiceStub(self.channel)
        fails(Code.UNIMPLEMENTED, lambda: stub.UnimplementedCall(test_pb2.Empty()))

    def reflection_lists_and_describes(self):
        database = ProtoReflectionDescriptorDatabase(self.channel)
        services = list(database.get_services())
        for name in ("grpc.testing.TestService", "grpc.health.v1.Health"):
            assert name in services, services
        pool = DescriptorPool(database)
        method = pool.FindServiceByName("grpc.testing.TestService").methods_by_name["FullDuplexCall"]
        same(method.input_type.full_name, "grpc.testing.StreamingOutputCallRequest")
        assert pool.FindMessageTypeByName("grpc.health.v1.HealthCheckResponse").fields
        same(list(database.FindAllExtensionNumbers("grpc.testing.Empty")), [])
        try:
            pool.FindServiceByName("no.Such")
        except KeyError:
            return
        raise AssertionError("a service that is not there was found")

    def health_checks(self):
        stub = health_pb2_grpc.HealthStub(self.channel)
        for name in ("", "grpc.testing.TestService"):
            same(stub.Check(health_pb2.HealthCheckRequest(service=name)).status, 1)
        fails(Code.NOT_FOUND, lambda: stub.Check(health_pb2.HealthCheckRequest(service="no.Such")))
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="no.Such"))
        same(next(watch).status, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        watch.cancel()


class Async:
    """The cases in which asyncio differs, by its client."""

    def __init__(self, channel):
        self.stub = test_pb2_grpc.TestServiceStub(channel)
        self.unimplemented = test_pb2_grpc.UnimplementedServiceStub(channel)

    async def fails(self, code, awaitable):
        try:
            await awaitable
        except grpc.aio.AioRpcError as error:
            same(error.code(), code)
            return error
        raise AssertionError(f"it did not fail with {code}")

    async def empty_unary(self):
        same(await self.stub.EmptyCall(test_pb2.Empty()), test_pb2.Empty())

    async def large_unary(self):
        same((await self.stub.UnaryCall(large())).payload, payload(314_159))

    async def client_compressed_unary(self):
        got = await self.stub.UnaryCall(large(), compression=grpc.Compression.Gzip)
        same(got.payload, payload(314_159))

    async def client_streaming(self):
        call = self.stub.StreamingInputCall()
        for request in inputs():
            await call.write(request)
        await call.done_writing()
        same((await call).aggregated_payload_size, 74_922)

    async def server_streaming(self):
        got = [len(r.payload.body) async for r in self.stub.StreamingOutputCall(output(*RESPONSES))]
        same(got, RESPONSES)

    async def ping_pong(self):
        call = self.stub.FullDuplexCall()
        for request, size in zip(pings(), RESPONSES):
            await call.write(request)
            same(len((await call.read()).payload.body), size)
        await call.done_writing()
        same(await call.read(), grpc.aio.EOF)
        same(await call.code(), Code.OK)

    async def empty_stream(self):
        call = self.stub.FullDuplexCall()
        await call.done_writing()
        same(await call.read(), grpc.aio.EOF)

    async def cancel_after_begin(self):
        call = self.stub.StreamingInputCall()
        assert call.cancel()
        same(await call.code(), Code.CANCELLED)

    async def cancel_after_first_response(self):
        call = self.stub.FullDuplexCall()
        await call.write(pings()[0])
        same(len((await call.read()).payload.body), RESPONSES[0])
        assert call.cancel()
        same(await call.code(), Code.CANCELLED)

    async def timeout_on_sleeping_server(self):
        call = self.stub.FullDuplexCall(timeout=0.01)
        try:
            await call.write(output(31_415, interval_us=1_000_000))
            await call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        same(await call.code(), Code.DEADLINE_EXCEEDED)

    async def custom_metadata(self):
        call = self.stub.UnaryCall(large(), metadata=(INITIAL, TRAILING))
        await call
        same((await call.initial_metadata()).get(INITIAL[0]), INITIAL[1])
        same((await call.trailing_metadata()).get(TRAILING[0]), TRAILING[1])

    async def status_code_and_message(self):
        wanted = test_pb2.EchoStatus(code=2, message="test status message")
        error = await self.fails(Code.UNKNOWN, self.stub.UnaryCall(large(response_status=wanted)))
        same(error.details(), "test status message")

    async def special_status_message(self):
        wanted = test_pb2.EchoStatus(code=2, message=SPECIAL)
        error = await self.fails(Code.UNKNOWN, self.stub.UnaryCall(large(response_status=wanted)))
        same(error.details(), SPECIAL)

    async def unimplemented_method(self):
        await self.fails(Code.UNIMPLEMENTED, self.stub.UnimplementedCall(test_pb2.Empty()))

    async def unimplemented_service(self):
        await self.fails(Code.UNIMPLEMENTED, self.unimplemented.UnimplementedCall(test_pb2.Empty()))


def names(cases):
    return [name for name in vars(cases) if not name.startswith("_") and name != "fails"]


def tell(name, error):
    if error is None:
        print(f"ok {name}", flush=True)
    else:
        why = "".join(traceback.format_exception_only(error)).strip().replace("\n", " | ")
        print(f"FAIL {name}: {why:.1000}", flush=True)


async def by_asyncio():
    async with grpc.aio.insecure_channel(TARGET) as channel:
        cases = Async(channel)
        for name in names(Async):
            try:
                await asyncio.wait_for(getattr(cases, name)(), 30)
                tell(f"grpcio aio: {name}", None)
            except Exception as error:  # noqa: BLE001 (each case is judged)
                tell(f"grpcio aio: {name}", error)


def main():
    with grpc.insecure_channel(TARGET) as channel:
        cases = Blocking(channel)
        for name in names(Blocking):
            try:
                getattr(cases, name)()
                tell(f"grpcio: {name}", None)
            except Exception as error:  # noqa: BLE001 (each case is judged)
                tell(f"grpcio: {name}", error)
    asyncio.run(by_asyncio())


main()
