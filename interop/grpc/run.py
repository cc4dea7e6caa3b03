"""gRPC's interoperability cases by the client libraries people use, against this project in front of a reference server written with grpcio:
grpcio (blocking and asyncio), @grpc/grpc-js, grpc-go's own interoperability client, connect-node, connect-web, reflection and health clients.

    python run.py

Run it by a Python that has requirements.txt; `npm ci` in node/ first. Needs a built adapter (`cargo build -p sb-connect-adapter`, or its path in
ADAPTER); without Go its client is left out by name. The reference is reached over gRPC.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GRPC_GO = "v1.85.0"
GO_CASES = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
]


def adapter():
    given = os.environ.get("ADAPTER")
    if given:
        return Path(given)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "sb-connect-adapter"


def generate(folder):
    """The modules of test.proto, and its descriptors."""
    proto = HERE / "proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{proto}", f"--python_out={folder}", f"--grpc_python_out={folder}", f"--descriptor_set_out={folder}/descriptors.bin"]
    subprocess.run([*command, "test.proto"], check=True)


def go_client():
    """grpc-go's interoperability client, or why there is none."""
    if not shutil.which("go"):
        return None, "no go"
    home = ROOT / ".suite" / "go" / "interop"
    stamp = home / "grpc-go.txt"
    if not stamp.exists() or stamp.read_text() != GRPC_GO:
        package = f"google.golang.org/grpc/interop/client@{GRPC_GO}"
        subprocess.run(["go", "install", package], check=True, env=dict(os.environ, GOBIN=str(home)))
        stamp.write_text(GRPC_GO)
    return home / "client", None


class Outcome:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0

    def line(self, line):
        print(line, flush=True)
        if line.startswith("ok "):
            self.passed += 1
        elif line.startswith("FAIL "):
            self.failed += 1
        elif line.startswith("SKIP "):
            self.skipped += 1

    def program(self, name, command, at_least):
        """Runs a program that prints a line for each case, and had better print some."""
        before = self.passed + self.failed
        process = subprocess.run(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
        )
        for line in process.stdout.splitlines():
            self.line(line)
        if process.returncode != 0 or self.passed + self.failed - before < at_least:
            self.line(f"FAIL {name}: it ended with {process.returncode} before all cases were run")


def main():
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        generate(folder)
        descriptors = Path(folder) / "descriptors.bin"
        reference = subprocess.Popen(
            [sys.executable, HERE / "reference.py", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        front = None
        try:
            behind = reference.stdout.readline().strip()
            front = subprocess.Popen(
                [adapter(), "front", f"grpc://127.0.0.1:{behind}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            told = json.loads(front.stdout.readline())
            print(told, flush=True)
            port = told["port"]
            began = time.monotonic()
            outcome.program("grpcio", [sys.executable, HERE / "cases.py", folder, port], 35)
            proto = HERE / "proto" / "test.proto"
            if shutil.which("node"):
                outcome.program("grpc-js", ["node", HERE / "node" / "grpc.mjs", port, proto], 15)
                outcome.program("connect", ["node", HERE / "node" / "connect.mjs", port, descriptors], 120)
            else:
                outcome.line("SKIP grpc-js and connect: no node")
            client, why = go_client()
            for case in GO_CASES:
                if client is None:
                    outcome.line(f"SKIP grpc-go: {case}: {why}")
                    continue
                command = [client, "--server_host=127.0.0.1", f"--server_port={port}", f"--test_case={case}"]
                process = subprocess.run([str(w) for w in command], capture_output=True, text=True, timeout=120)
                last = (process.stderr.strip().splitlines() or ["nothing said"])[-1]
                outcome.line(f"ok grpc-go: {case}" if process.returncode == 0 else f"FAIL grpc-go: {case}: {last}")
            print(f"{time.monotonic() - began:.0f} s")
        finally:
            for process in (front, reference):
                if process:
                    process.stdin.close()
                    try:
                        process.wait(20)
                    except subprocess.TimeoutExpired:
                        process.kill()
    print(f"{outcome.passed} passed, {outcome.failed} failed, {outcome.skipped} skipped")
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
