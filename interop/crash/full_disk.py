#!/usr/bin/env python3
"""A full disk: publishes are refused with 507, reads and acks go on, nothing acknowledged is lost, and when space
is freed publishing works again without a restart. Uses a 64 MiB tmpfs, for which it has to be root."""

import atexit
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from harness import Faults, Gone, Results, Server, Wrong, body_for, decoded, need_binary, token_of

FILL = os.urandom(250_000)


def mounted():
    """A folder on a small file system of its own, or (None, why not)."""
    folder = tempfile.mkdtemp(prefix="switchboard-full-")
    if os.geteuid() != 0:
        return None, "mounting a tmpfs needs root"
    got = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True)
    if got.returncode != 0:
        os.rmdir(folder)
        return None, f"mount: {got.stderr.strip()}"
    atexit.register(lambda: subprocess.run(["umount", "-l", folder], capture_output=True))
    return folder, None


def release(folder):
    subprocess.run(["umount", "-l", folder], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def publish(client, topic, token, acked):
    """True when it was acknowledged, False when the disk is full."""
    status, _, data = client.ask("POST", f"/topics/{topic}", body_for(token))
    if status == 201:
        got = json.loads(data)
        acked[token] = (topic, got["partition"], got["offset"])
        return True
    if status == 507 and json.loads(data)["code"] == "SB0602":
        return False
    raise Wrong(f"publish to {topic}: {status} {data[:300]!r}")


def content(client, acked, faults, when):
    """Everything acknowledged is there with its bytes; nothing else has bytes we never sent."""
    found = {}
    for topic in {place[0] for place in acked.values()}:
        for message in client.messages(topic):
            token = token_of(decoded(message))
            faults.check(token is not None, f"{when}: wrong bytes in {topic} at {message['offset']}")
            faults.check(token not in found, f"{when}: {token} is there twice")
            found[token] = (topic, message["partition"], message["offset"])
    for token, place in acked.items():
        faults.check(found.get(token) == place, f"{when}: LOST {token} acknowledged at {place}, found {found.get(token)}")


def fill(client, faults):
    """Publishes until the disk is full; gives how many went in."""
    for count in range(2000):
        status, _, data = client.ask("POST", "/topics/fill", FILL)
        if status != 201:
            faults.check(status == 507, f"full disk answered {status} {data[:300]!r}")
            if status == 507:
                faults.check(json.loads(data)["code"] == "SB0602", f"code of a full disk: {data[:300]!r}")
            return count
    faults.add("500 MB went onto a disk of 64 MiB")
    return 0


def free_by_deleting(client):
    client.json("DELETE", "/topics/fill", expect=(204,))


def free_by_retention(client):
    client.json("PATCH", "/topics/fill", {"keep_bytes": 1_000_000})


def scenario(server, faults, free, kill_while_full):
    acked = {}
    client = server.client()
    for topic in ("keep", "work", "fill"):
        client.json("PUT", f"/topics/{topic}", {})
    client.json("PUT", "/topics/work/groups/g", {"lease": "10m"})
    for number in range(60):
        publish(client, "keep", f"k:{number}", acked)
        publish(client, "work", f"w:{number}", acked)
    leased = client.json("POST", "/topics/work/groups/g/lease", {"max": 20})["messages"]
    faults.check(fill(client, faults) > 10, "the disk was full at once")

    faults.check(server.process.poll() is None, f"the server died: {server.said()[-600:]}")
    content(client, acked, faults, "while full")
    done = set()
    for message in leased[:10]:
        got = client.json("POST", "/topics/work/groups/g/ack", {"handles": [message["handle"]]})
        faults.check(got["results"][0]["ok"], f"ack while full: {got}")
        done.add(message["offset"])
    more = client.json("POST", "/topics/work/groups/g/lease", {"max": 10})["messages"]
    faults.check(len(more) == 10, f"leasing while full gave {len(more)}")
    got = client.json("POST", "/topics/work/groups/g/nack", {"handles": [m["handle"] for m in more]})
    faults.check(all(r["ok"] for r in got["results"]), f"nack while full: {got}")
    for number in range(5):
        publish(client, "keep", f"maybe:{number}", acked)  # small ones may still fit; acknowledged is acknowledged

    if kill_while_full:
        server.kill()
        took = server.start()
        if not faults.check(took is not None, f"no start on a full disk: {server.said()[-600:]}"):
            return
        client = server.client()
        content(client, acked, faults, "after a kill while full")

    pid = server.process.pid
    free(client)
    # The journal, checkpoints and segments share what was freed, so that it may be short once more before there is enough for all.
    end = time.monotonic() + 30
    for number in range(100):
        while not publish(client, "keep", f"again:{number}", acked):
            if not faults.check(time.monotonic() < end, f"still full 30 s after space was freed, {number} published"):
                return
            time.sleep(0.05)
    faults.check(server.process.pid == pid and server.process.poll() is None, "it took a restart")
    content(client, acked, faults, "after space was freed")

    server.kill()
    took = server.start()
    if not faults.check(took is not None, f"no restart: {server.said()[-600:]}"):
        return
    client = server.client()
    content(client, acked, faults, "after a restart")
    figures = client.json("GET", "/topics/work/groups/g")
    faults.check(figures["acked"] == len(done), f"{figures['acked']} acked instead of {len(done)}")
    while again := client.json("POST", "/topics/work/groups/g/lease", {"max": 100, "wait": "0s"})["messages"]:
        for message in again:
            faults.check(message["offset"] not in done, f"offset {message['offset']} came back after its ack")


def main():
    need_binary()
    results = Results()
    for name, free, kill in (
        ("full disk, freed by deleting a topic", free_by_deleting, False),
        ("full disk, freed by retention", free_by_retention, False),
        ("full disk, killed while full, freed by deleting a topic", free_by_deleting, True),
    ):
        folder, why = mounted()
        if folder is None:
            results.skip(name, why)
            continue
        faults, server = Faults(), Server(pathlib.Path(folder) / "data")
        try:
            if faults.check(server.start() is not None, f"no start: {server.said()[-600:]}"):
                scenario(server, faults, free, kill)
        except (Gone, Wrong, KeyError, ValueError) as error:
            faults.add(f"{type(error).__name__}: {error}; {server.said()[-600:]}")
        finally:
            server.kill()
            release(folder)
        results.say(name, faults.found)
    sys.exit(results.end())


if __name__ == "__main__":
    main()
