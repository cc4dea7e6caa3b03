#!/usr/bin/env python3
"""Runs the commands on the pages of this folder against a running server, so that what they say stays true.

    SWITCHBOARD_URL=http://localhost:7070 python3 docs/patterns/run.py [PAGE …]

Each page's ```bash blocks run in one `bash -euo pipefail`, in order, in a folder that is thrown away. The server should be fresh: the pages
create topics, groups and methods and count what is in them.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
WRITTEN = "http://localhost:7070"  # what the pages say
LIMIT = 60.0  # seconds for a page
FENCE = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script_of(page, url):
    """The page's blocks as one script that says where it is, so that a failure names its line."""
    text = page.read_text(encoding="utf-8")
    parts = []
    for block in FENCE.finditer(text):
        line = text.count("\n", 0, block.start(1)) + 1
        parts.append(f"echo '--- {page.name}:{line}' >&2\n{block.group(1)}")
    return "\n".join(parts).replace(WRITTEN, url)


def run(script):
    """Runs it; returns whether it went well and what it said. Ends what it leaves running."""
    with tempfile.TemporaryDirectory(prefix="patterns-") as folder:
        with open(os.path.join(folder, ".said"), "wb+") as said:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(LIMIT)
                why = f"exit code {code}" if code else ""
            except subprocess.TimeoutExpired:
                why = f"not done after {LIMIT:g} s"
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            said.seek(0)
            return why, said.read().decode(errors="replace")


def main():
    url = os.environ.get("SWITCHBOARD_URL", WRITTEN).rstrip("/")
    pages = [HERE / name for name in sys.argv[1:]] or sorted(HERE.glob("*.md"))
    passed = failed = 0
    for page in pages:
        script = script_of(page, url)
        if not script:
            continue
        began = time.monotonic()
        why, said = run(script)
        took = time.monotonic() - began
        if why:
            failed += 1
            print(f"FAILED {page.name} ({why}, {took:.1f} s)\n" + "".join(f"    {line}\n" for line in said.splitlines()), end="")
        else:
            passed += 1
            print(f"ok     {page.name} ({took:.1f} s)")
        sys.stdout.flush()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
