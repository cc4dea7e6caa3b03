"""What both halves share: generated stubs of gRPC, a proxy that cuts connections, requests over HTTP."""

import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "interop" / "crash"))

import harness  # noqa: E402

OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


def generate(folder):
    """Modules of the own API, of google.longrunning and of work.proto."""
    google = ROOT / "crates" / "schema" / "proto"
    files = ["work.proto", "google/longrunning/operations.proto", "google/rpc/status.proto", "google/api/annotations.proto", "google/api/client.proto", "google/api/field_behavior.proto", "google/api/http.proto", "google/api/launch_stage.proto"]
    files += [f"switchboard/v1/{name}.proto" for name in ["messages", "jobs"]]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", f"-I{ROOT / 'proto'}", f"-I{google}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    subprocess.run([*command, *files], check=True)
    sys.path.insert(0, str(folder))
    # The bundled package `google` has to find what was generated beside it.
    import google

    google.__path__.append(str(pathlib.Path(folder) / "google"))


class Proxy:
    """A port in front of the server's; `cut` resets every connection that goes through it."""

    def __init__(self, server):
        self.server, self.pairs, self.lock, self.cuts = server, set(), threading.Lock(), 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.server.port), timeout=5)
                far.settimeout(None)
            except OSError:
                self._reset(near)
                continue
            pair = (near, far)
            with self.lock:
                self.pairs.add(pair)
            for one, other in (pair, pair[::-1]):
                threading.Thread(target=self._pump, args=(one, other, pair), daemon=True).start()

    def _pump(self, one, other, pair):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        self._drop(pair)

    def _reset(self, pipe):
        try:
            pipe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            pipe.shutdown(socket.SHUT_RD)
        except OSError:
            pass
        pipe.close()

    def _drop(self, pair):
        with self.lock:
            known = pair in self.pairs
            self.pairs.discard(pair)
        if known:
            for pipe in pair:
                self._reset(pipe)
        return known

    def cut(self):
        with self.lock:
            pairs = list(self.pairs)
        self.cuts += sum(self._drop(pair) for pair in pairs)

    def close(self):
        self.listener.close()
        self.cut()


def ask(server, method, path, body=None, headers=None, timeout=10):
    """Status and JSON; raises harness.Gone when no whole answer came."""
    status, _, answer = ask_all(server, method, path, body, headers, timeout)
    return status, answer


def ask_all(server, method, path, body=None, headers=None, timeout=10):
    """The same with the headers of the answer."""
    client = harness.Client(server, timeout)
    try:
        status, said, answer = client.ask(method, path, body, headers)
    finally:
        client.close()
    return status, said, json.loads(answer or b"null")


def scratch():
    return tempfile.mkdtemp(prefix="switchboard-resume-")


SEED = int(os.environ.get("SEED") or int.from_bytes(os.urandom(4), "big"))
