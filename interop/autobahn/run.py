#!/usr/bin/env python3
"""The WebSocket echo against the Autobahn test suite. With CPython 2.7 (PYTHON2, `python2.7` on the path, or pyenv's) it is the suite
itself; without one the same cases run in kosoku, which needs Python 3.10 and has those about compression not right yet. What is
needed is installed below `.suite/`.

`run.py` takes the cases that need seconds, `run.py --all` also the large messages (9.*) and everything about compression."""

import argparse
import glob
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "crash"))

from harness import ROOT, Results, Server, need_binary  # noqa: E402

# of each way to compress the first case
FAST = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
FAST += [f"12.{n}.1" for n in range(1, 6)] + [f"13.{n}.1" for n in range(1, 8)]
GOOD = {"OK", "INFORMATIONAL"}
SUITE = "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()"


def python2():
    """A CPython 2.7 that starts and has pip, or None."""
    names = [os.environ.get("PYTHON2"), "python2.7", *glob.glob(os.path.expanduser("~/.pyenv/versions/2.7.*/bin/python"))]
    for name in filter(None, names):
        try:
            ask = [name, "-c", "import pip, platform, sys; print(platform.python_implementation(), sys.version_info[:2])"]
            said = subprocess.run(ask, capture_output=True, text=True)
        except OSError:
            continue
        if said.returncode == 0 and said.stdout.strip() == "('CPython', (2, 7))":
            return name
    return None


def installed(home, requirements, install):
    """Runs `install` unless it has been for exactly these requirements."""
    stamp, wanted = home / "installed.txt", requirements.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        install()
        stamp.write_text(wanted)


def autobahn(python, url, cases, reports):
    """Runs the suite; gives the behaviours of each case."""
    home, requirements = ROOT / ".suite/autobahn", HERE / "requirements-2.7.txt"
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    installed(home, requirements, lambda: subprocess.run([*pip, "--target", home, "-r", requirements], check=True))
    spec = reports / "spec.json"
    spec.write_text(
        json.dumps(
            {
                "outdir": str(reports),
                "servers": [{"agent": "switchboard", "url": url}],
                "cases": cases,
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
        )
    )
    command = [python, "-c", SUITE, home, "-m", "fuzzingclient", "-s", spec]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = json.loads((reports / "index.json").read_text())["switchboard"]
    return {case: (got["behavior"], got["behaviorClose"]) for case, got in found.items()}


def kosoku(url, cases, reports):
    """Runs the same cases, but those about compression, without CPython 2.7; gives the behaviours of each case."""
    home, requirements = ROOT / ".suite/kosoku", HERE / "requirements.txt"

    def install():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [home / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", requirements], check=True)

    installed(home, requirements, install)
    chosen = [word for case in cases for word in ("-i", case)] + ["-x", "12.*", "-x", "13.*"]
    subprocess.run([home / "bin/kosoku", *chosen, "-o", reports, url], stdout=subprocess.DEVNULL)
    found = json.loads((reports / "index.json").read_text())
    (found,) = found.values()
    return {case: (got["behavior"], got["behaviorClose"]) for case, got in found.items()}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--all", action="store_true", help="every case, some minutes")
    options.add_argument("--kosoku", action="store_true", help="also where there is a CPython 2.7")
    options = options.parse_args()
    need_binary()
    cases = ["*"] if options.all else FAST
    results = Results()
    python = None if options.kosoku else python2()
    with tempfile.TemporaryDirectory(prefix="switchboard-autobahn-") as folder:
        folder = pathlib.Path(folder)
        server = Server(folder / "data", "[echo]\nenabled = true")
        if server.start() is None:
            sys.exit(f"no start: {server.said()[-600:]}")
        try:
            url = f"ws://127.0.0.1:{server.port}/echo"
            reports = folder / "reports"
            reports.mkdir()
            print(f"with {'Autobahn on CPython 2.7' if python else 'kosoku'}", flush=True)
            found = autobahn(python, url, cases, reports) if python else kosoku(url, cases, reports)
        finally:
            server.kill()
    for case, behaviours in found.items():
        bad = [] if GOOD.issuperset(behaviours) else [f"behaves {behaviours[0]}, closes {behaviours[1]}"]
        results.say(f"case {case}", bad)
    if not python:
        results.skip("compression", "there is no CPython 2.7 with pip for the Autobahn test suite")
    wanted = (517 if options.all else 259) if python else (301 if options.all else 247)
    results.say(f"there are {wanted} cases", [] if len(found) == wanted else [f"but {len(found)} ran"])
    sys.exit(results.end())


if __name__ == "__main__":
    main()
