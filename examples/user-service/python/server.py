"""UserService in Python with grpcio: an ordinary gRPC server that knows nothing of Switchboard.

    pip install -r requirements.txt
    python server.py 50051
"""

import pathlib
import sys
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

PROTO = pathlib.Path(__file__).resolve().parent.parent / "proto"
sys.path.insert(0, str(PROTO))
protos, services = grpc.protos_and_services("user/v1/user.proto")


class Users(services.UserServiceServicer):
    def __init__(self):
        self.changed = threading.Condition()
        self.users = {
            "1": protos.User(id="1", name="Ada", friend_ids=["2"]),
            "2": protos.User(id="2", name="Grace", friend_ids=["1", "3"]),
            "3": protos.User(id="3", name="Edsger"),
        }

    def find(self, id, context):
        if id not in self.users:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no user {id!r}")
        return self.users[id]

    def GetUser(self, request, context):
        return self.find(request.id, context)

    def RenameUser(self, request, context):
        if not request.name:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a user has a name")
        with self.changed:
            user = self.find(request.id, context)
            user.name = request.name
            user.version += 1
            self.changed.notify_all()
            return user

    def WatchUser(self, request, context):
        seen = -1
        while context.is_active():
            with self.changed:
                user = self.find(request.id, context)
                if user.version == seen:
                    self.changed.wait(1)
                    continue
                seen = user.version
                copy = protos.User.FromString(user.SerializeToString())
            yield copy


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 50051
    server = grpc.server(futures.ThreadPoolExecutor(16))
    services.add_UserServiceServicer_to_server(Users(), server)
    checks = health.HealthServicer()
    checks.set("user.v1.UserService", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection(["user.v1.UserService", reflection.SERVICE_NAME], server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print(f"UserService on 127.0.0.1:{bound}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
