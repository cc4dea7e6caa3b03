"""The official Connect conformance suite against both halves of this project's gRPC, gRPC-Web and Connect.

    python3 interop/connect/run.py [--mode server|client|both] [-- more arguments of connectconformance]

Needs Go and a built adapter (`cargo build -p sb-connect-adapter`, or its path in ADAPTER). The suite is built below .suite/go. Cases that are known to
fail would be listed in server-known-failing.txt and client-known-failing.txt, each with its reason; there are none.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VERSION = "v1.0.7"
MODULE = "connectrpc.com/conformance"


def tool():
    """The suite's program, and the folder of its .proto files."""
    home = ROOT / ".suite" / "go"
    program = home / "bin" / "connectconformance"
    stamp = home / "conformance.txt"
    if not program.exists() or not stamp.exists() or stamp.read_text() != VERSION:
        environment = dict(os.environ, GOBIN=str(home / "bin"))
        subprocess.run(
            ["go", "install", f"{MODULE}/cmd/connectconformance@{VERSION}"], check=True, env=environment
        )
        stamp.write_text(VERSION)
    cache = subprocess.run(["go", "env", "GOMODCACHE"], check=True, capture_output=True, text=True)
    return program, Path(cache.stdout.strip()) / f"{MODULE}@{VERSION}" / "proto"


def adapter():
    given = os.environ.get("ADAPTER")
    if given:
        return Path(given)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug" / "sb-connect-adapter"


def run(mode, more):
    program, protos = tool()
    command = [program, "--mode", mode, "--conf", HERE / f"{mode}.yaml", "-v"]
    known = HERE / f"{mode}-known-failing.txt"
    if known.exists():
        command += ["--known-failing", f"@{known}"]
    command += [*more, "--", adapter(), mode, protos]
    began = time.monotonic()
    process = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    print(process.stdout[-20_000:])
    counts = re.search(r"(\d+) passed, (\d+) failed", process.stdout)
    told = counts.group(0) if counts else "no counts"
    print(f"{mode}: {told}, {time.monotonic() - began:.0f} s", flush=True)
    if process.returncode != 0 or not counts or int(counts.group(1)) == 0:
        return False
    return True


def main():
    words = sys.argv[1:]
    more = []
    if "--" in words:
        at = words.index("--")
        words, more = words[:at], words[at + 1 :]
    mode = words[words.index("--mode") + 1] if "--mode" in words else "both"
    if not shutil.which("go"):
        print("SKIP connect conformance: no go\n0 passed, 0 failed, 1 skipped")
        return 0
    if not adapter().exists():
        print(f"there is no {adapter()}")
        return 1
    modes = ["server", "client"] if mode == "both" else [mode]
    outcomes = [run(mode, more) for mode in modes]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
