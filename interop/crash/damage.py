#!/usr/bin/env python3
"""Damage to the journal: after a clean stop and after kill -9, copies of the data folder get their newest journal
file cut at many points and single bits flipped. `switchboard data check` and a start must then either serve exactly
what was acknowledged, or refuse and name the damaged range. Wrong bytes are never served."""

import argparse
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

from harness import BINARY, Faults, Gone, Results, Server, Wrong, body_for, decoded, need_binary, token_of


def make(data, how):
    """A data folder with content, stopped as `how` says; gives what was acknowledged."""
    server = Server(data)
    if server.start() is None:
        raise SystemExit(f"the server does not start: {server.said()[-1000:]}")
    client, acked = server.client(), {}
    client.json("PUT", "/topics/a", {})
    client.json("PUT", "/topics/b", {"partitions": 2})
    client.json("PUT", "/topics/a/groups/g", {"lease": "10m"})
    for number in range(150):
        topic, token = ("a", "b")[number % 3 == 0], f"d:{number}"
        got = client.json("POST", f"/topics/{topic}", body_for(token), {"Sb-Key": str(number)})
        acked[token] = (topic, got["partition"], got["offset"])
    leased = client.json("POST", "/topics/a/groups/g/lease", {"max": 40})["messages"]
    client.json("POST", "/topics/a/groups/g/ack", {"handles": [m["handle"] for m in leased]})
    for number in range(150, 200):
        got = client.json("POST", "/topics/a", body_for(f"d:{number}"))
        acked[f"d:{number}"] = ("a", got["partition"], got["offset"])
    if how == "stopped":
        server.stop()
    else:
        time.sleep(1)  # long enough for the journal's idle seal, which tells damage from a torn end
        server.kill()
    shutil.rmtree(server.home, ignore_errors=True)
    return acked, {m["offset"] for m in leased}


def newest(data):
    """The journal file written last, and how far it is filled."""
    files = sorted((data / "journal").glob("*.jnl"), key=lambda f: (f.stat().st_mtime_ns, f.name))
    for file in reversed(files):
        filled = len(file.read_bytes().rstrip(b"\0"))
        if filled:
            return file, filled
    raise SystemExit(f"no journal in {data}")


def names_the_range(said):
    """A code and at least one number that says where."""
    return "SB0702" in said and re.search(r"\d+", said.replace("SB0702", "")) is not None


def judge(data, acked, done, faults):
    """Checks and starts one damaged copy; gives `served` or `refused`."""
    checked = subprocess.run([BINARY, "data", "check", str(data)], capture_output=True, text=True, timeout=60)
    faults.check(checked.returncode in (0, 1, 2), f"data check ended with {checked.returncode}: {checked.stderr[-300:]}")
    if checked.returncode != 0:
        said = checked.stdout + checked.stderr
        faults.check(re.search(r"\d+", said), f"data check found a fault and named no range: {said[-300:]}")
    server = Server(data)
    try:
        if server.start() is None:
            code, said = server.process.returncode, server.said()
            faults.check(code in (1, 2), f"the refusal ended with {code}: {said[-400:]}")
            faults.check(names_the_range(said), f"the refusal names no range: {said[-400:]}")
            faults.check(checked.returncode != 0, "the start refused what `data check` had passed")
            return "refused"
        client, found = server.client(), {}
        for topic in ("a", "b"):
            status, _, data = client.ask("GET", f"/topics/{topic}/info")
            if not faults.check(status == 200, f"LOST: topic {topic}: {status}"):
                return "served"
            for message in client.messages(topic):
                token = token_of(decoded(message))
                faults.check(token is not None, f"WRONG BYTES in {topic} at {message['offset']}")
                found[token] = (topic, message["partition"], message["offset"])
        lost = sorted(t for t, place in acked.items() if found.get(t) != place)
        faults.check(not lost, f"LOST: served without {len(lost)} acknowledged, such as {lost[:3]}")
        faults.check(len(found) == len(acked), f"{len(found)} served, {len(acked)} acknowledged")
        figures = client.json("GET", "/topics/a/groups/g")
        faults.check(figures["acked"] == len(done), f"{figures['acked']} acked instead of {len(done)}")
        return "served"
    except (Gone, Wrong, json.JSONDecodeError) as error:
        faults.add(f"{type(error).__name__}: {error}; {server.said()[-400:]}")
        return "served"
    finally:
        server.kill()
        shutil.rmtree(server.home, ignore_errors=True)


def cut(point):
    def apply(file):
        with file.open("r+b") as out:
            out.truncate(point)

    return apply


def flip(point, bit):
    def apply(file):
        with file.open("r+b") as out:
            out.seek(point)
            byte = out.read(1)[0]
            out.seek(point)
            out.write(bytes([byte ^ 1 << bit]))

    return apply


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=20, help="cuts, and as many flips, for each way of stopping")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    need_binary()
    rng, results = random.Random(options.seed), Results()
    for how in ("stopped", "killed"):
        home = pathlib.Path(tempfile.mkdtemp(prefix="switchboard-damage-"))
        acked, done = make(home / "data", how)
        file, filled = newest(home / "data")
        name = file.relative_to(home / "data")
        last = filled // 4096 * 4096
        points = {0, 1, 4095, 4096, last, last + 1, filled - 1, filled}
        points |= {rng.randrange(filled) for _ in range(max(0, options.points - len(points)))}
        faults_of = [("nothing", lambda file: None)]
        faults_of += [(f"cut at {point}", cut(point)) for point in sorted(points)]
        for _ in range(options.points):
            point, bit = rng.randrange(filled), rng.randrange(8)
            faults_of.append((f"bit {bit} of byte {point} flipped", flip(point, bit)))
        for what, apply in faults_of:
            copy, faults = home / "copy", Faults()
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(home / "data", copy)
            apply(copy / name)
            outcome = judge(copy, acked, done, faults)
            if what == "nothing":
                faults.check(outcome == "served", "an undamaged copy was refused")
            results.say(f"{how}, {what}: {outcome}", faults.found)
            if faults.found:
                kept = home / f"kept-{results.failed}"
                copy.rename(kept)
                print(f"     seed {options.seed}, kept in {kept}", flush=True)
        if not any(home.glob("kept-*")):
            shutil.rmtree(home, ignore_errors=True)
    sys.exit(results.end())


if __name__ == "__main__":
    main()
