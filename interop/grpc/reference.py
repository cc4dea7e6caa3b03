"""The service of gRPC's interoperability tests, with health and reflection, written with grpcio and knowing nothing of what stands in front.

    python reference.py FOLDER_OF_GENERATED_MODULES

Says its port on standard output and runs until standard input ends.
"""

import sys
import time
from concurrent import futures

sys.path.insert(0, sys.argv[1])

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import test_pb2
import test_pb2_grpc

INITIAL = "x-grpc-test-echo-initial"
TRAILING = "x-grpc-test-echo-trailing-bin"


def payload(size):
    return test_pb2.Payload(body=b"\0" * size)


def metadata(context):
    """What the custom_metadata case wants back."""
    for key, value in context.invocation_metadata():
        if key == INITIAL:
            context.send_initial_metadata(((key, value),))
        elif key == TRAILING:
            context.set_trailing_metadata(((key, value),))


def status(request, context):
    if request.HasField("response_status") and request.response_status.code:
        code = next(c for c in grpc.StatusCode if c.value[0] == request.response_status.code)
        context.abort(code, request.response_status.message)


class Reference(test_pb2_grpc.TestServiceServicer):
    def EmptyCall(self, request, context):
        metadata(context)
        return test_pb2.Empty()

    def UnaryCall(self, request, context):
        metadata(context)
        status(request, context)
        if not request.response_compressed.value:
            context.disable_next_message_compression()
        return test_pb2.SimpleResponse(payload=payload(request.response_size))

    CacheableUnaryCall = UnaryCall

    def StreamingOutputCall(self, request, context):
        metadata(context)
        status(request, context)
        for parameters in request.response_parameters:
            time.sleep(parameters.interval_us / 1e6)
            yield test_pb2.StreamingOutputCallResponse(payload=payload(parameters.size))

    def StreamingInputCall(self, requests, context):
        metadata(context)
        size = sum(len(request.payload.body) for request in requests)
        return test_pb2.StreamingInputCallResponse(aggregated_payload_size=size)

    def FullDuplexCall(self, requests, context):
        metadata(context)
        for request in requests:
            status(request, context)
            for parameters in request.response_parameters:
                time.sleep(parameters.interval_us / 1e6)
                yield test_pb2.StreamingOutputCallResponse(payload=payload(parameters.size))


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), compression=grpc.Compression.Gzip)
    test_pb2_grpc.add_TestServiceServicer_to_server(Reference(), server)
    servicer = health.HealthServicer()
    servicer.set("grpc.testing.TestService", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    names = [s.full_name for s in test_pb2.DESCRIPTOR.services_by_name.values() if s.name == "TestService"]
    reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)


main()
