"""The same service, written twice, reached over every protocol. Run by the test command with the Python of
../python/requirements.txt; SWITCHBOARD_BIN names the server's binary."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import grpc

HERE = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("SWITCHBOARD_BIN", HERE.parent.parent / "target/release/switchboard")
sys.path.insert(0, str(HERE / "proto"))
protos, services = grpc.protos_and_services("user/v1/user.proto")
checks = 0


def check(name, got, wanted):
    global checks
    assert got == wanted, f"{name}: {got!r} instead of {wanted!r}"
    checks += 1


class Process:
    """A program that says on its output where it listens."""

    def __init__(self, command, pattern, **options):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, **options)
        deadline = time.monotonic() + 60
        while True:
            self.log.seek(0)
            text = self.log.read()
            found = re.search(pattern, text)
            if found:
                self.port = int(found.group(1))
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise SystemExit(f"{command[0]} did not start:\n{text}")
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def http(url, body=None, headers=None, method=None):
    """Status and JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def ask_all(base, port):
    ada = {"id": "1", "name": "Ada", "friendIds": ["2"]}
    path = "user.v1.UserService/GetUser"
    check("REST", http(f"{base}/v1/users/1"), (200, ada))
    status, problem = http(f"{base}/v1/users/99")
    check("REST, not found", (status, problem["status_name"]), (404, "NOT_FOUND"))
    status, problem = http(f"{base}/v1/users/1:rename", {"nope": 1})
    check("REST, bad request", status, 400)
    connect = {"Connect-Protocol-Version": "1"}
    check("Connect", http(f"{base}/{path}", {"id": "1"}, connect), (200, ada))
    status, error = http(f"{base}/{path}", {"id": "99"}, connect)
    check("Connect, not found", (status, error["code"]), (404, "not_found"))
    call = {"jsonrpc": "2.0", "id": 7, "method": path, "params": {"id": "1"}}
    check("JSON-RPC", http(f"{base}/rpc", call), (200, {"jsonrpc": "2.0", "id": 7, "result": ada}))
    status, answer = http(f"{base}/rpc", {**call, "params": {"id": "99"}})
    check("JSON-RPC, not found", answer["error"]["message"], "there is no user '99'")
    query = {"query": '{ getUser(id: "1") { name friendIds } }'}
    check("GraphQL", http(f"{base}/graphql", query), (200, {"data": {"getUser": {"name": "Ada", "friendIds": ["2"]}}}))
    status, answer = http(f"{base}/graphql", {"query": '{ getUser(id: "99") { name } }'})
    check("GraphQL, not found", answer["errors"][0]["extensions"]["code"], "NOT_FOUND")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = services.UserServiceStub(channel)
        check("gRPC", stub.GetUser(protos.GetUserRequest(id="1"), timeout=30).name, "Ada")
        try:
            stub.GetUser(protos.GetUserRequest(id="99"), timeout=30)
            raise AssertionError("gRPC found user 99")
        except grpc.RpcError as error:
            check("gRPC, not found", (error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, "there is no user '99'"))
        watched = stub.WatchUser(protos.GetUserRequest(id="2"), timeout=30)
        check("gRPC, stream", next(watched).name, "Grace")
        stub.RenameUser(protos.RenameUserRequest(id="2", name="Grace H."), timeout=30)
        check("gRPC, stream goes on", next(watched).name, "Grace H.")
        watched.cancel()
        stub.RenameUser(protos.RenameUserRequest(id="2", name="Grace"), timeout=30)
    thrift(base, port)
    # The call that is not waited for.
    status, job = http(f"{base}/{path}", {"id": "1"}, {"Prefer": "respond-async"})
    check("as a job", status, 202)
    check("its result", http(f"{base}/jobs/{job['id']}/result", headers={"Prefer": "wait=20"}), (200, ada))


def thrift(base, port):
    import thriftpy2
    from thriftpy2.rpc import make_client

    with urllib.request.urlopen(f"{base}/thrift/user.v1.UserService.thrift") as answer, tempfile.TemporaryDirectory() as folder:
        idl = pathlib.Path(folder) / "user.thrift"
        idl.write_bytes(answer.read())
        module = thriftpy2.load(str(idl), module_name="user_thrift")
        client = make_client(module.UserService, "127.0.0.1", port, timeout=30_000)
        check("Thrift", client.GetUser(module.GetUserRequest(id="1")).name, "Ada")
        try:
            client.GetUser(module.GetUserRequest(id="99"))
            raise AssertionError("Thrift found user 99")
        except module.Error as error:
            check("Thrift, not found", error.message, "there is no user '99'")
        client.close()


def main():
    for name, scheme, command in [
        ("Python, grpcio", "grpc", [sys.executable, str(HERE / "python/server.py"), "0"]),
        ("Node, Connect", "connect+h2", ["node", str(HERE / "node/server.mjs"), "0"]),
    ]:
        with Process(command, r"UserService on 127\.0\.0\.1:(\d+)") as service:
            settings = [f"services.users.target={scheme}://127.0.0.1:{service.port}"]
            if scheme != "grpc":
                settings.append("services.users.health=none")
            sets = [part for setting in settings for part in ("--set", setting)]
            command = [str(BINARY), "serve", "-c", str(HERE / "switchboard.toml"), *sets, "--port", "0", "--log", "text"]
            with Process(command, r"http://localhost:(\d+)") as server:
                base = f"http://127.0.0.1:{server.port}"
                ask_all(base, server.port)
                client = subprocess.run(["node", str(HERE / "node/client.mjs"), base], capture_output=True, text=True, timeout=120)
                assert client.returncode == 0, client.stderr
                lines = client.stdout.splitlines()
                check("Connect-Web", lines[0], 'connect {"id":"1","name":"Ada","friendIds":["2"]}')
                check("Connect-Web, errors", sum("NotFound there is no user '99'" in line for line in lines), 3)
                check("Connect-Web, streams", sum(line.endswith("watched 2") for line in lines), 3)
            print(f"{name}: ok")
    print(f"{checks} passed, 0 failed")


if __name__ == "__main__":
    main()
