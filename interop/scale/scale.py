#!/usr/bin/env python3
"""Much to remember, with the release binary: a group with a backlog of a million of which every second message is acknowledged, and
100,000 topics, each killed with SIGKILL and started again. Prints how long that takes and how much memory is resident."""

import argparse
import concurrent.futures
import itertools
import pathlib
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))

from harness import Faults, Results, Server, decoded, need_binary  # noqa: E402

BATCH = 1000
THREADS = 8


class Clock:
    """Prints what took how long, and how much memory the server holds then."""

    def __init__(self, server):
        self.server, self.began = server, time.monotonic()

    def say(self, what):
        took, self.began = time.monotonic() - self.began, time.monotonic()
        print(f"     {what}: {took:.2f} s, {resident(self.server)} MiB resident", flush=True)


def resident(server):
    for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


def each(server, items, act):
    """Runs `act(client, item)` for every item on a few connections."""
    local = threading.local()

    def one(item):
        if not hasattr(local, "client"):
            local.client = server.client()
        return act(local.client, item)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(one, items):
            pass


def publish(client, messages):
    client.json("POST", "/publish", {"messages": messages}, expect=(201,))


def started(server, faults, seconds):
    """Kills and starts the server three times and says how long that took. The quickest is judged, since it is the server that is and
    not what else the machine does."""
    times = []
    for _ in range(3):
        server.kill()
        times.append(server.start())
        if not faults.check(times[-1] is not None, lambda: f"no start: {server.said()[-600:]}"):
            return
    faults.check(min(times) < seconds, f"ready after {min(times):.2f} s, which is more than {seconds} s")
    shown = ", ".join(f"{took:.2f}" for took in times)
    print(f"     ready again after each of three SIGKILL: {shown} s, {resident(server)} MiB resident", flush=True)


def backlog(server, faults, count, delay):
    """Every message is leased once; the even ones are acknowledged, the odd ones given back for later."""
    clock, client = Clock(server), server.client()
    group = "/topics/work/groups/all"
    client.json("PUT", "/topics/work", {}, expect=(201,))
    client.json("PUT", group, {}, expect=(201,))
    batches = range(0, count, BATCH)
    each(server, batches, lambda c, first: publish(c, [{"address": "work", "body": str(n)} for n in range(first, min(first + BATCH, count))]))
    clock.say(f"{count:,} published")
    left, lock = set(range(count)), threading.Lock()

    def round_(c, _):
        while left:
            got = c.json("POST", f"{group}/lease", {"max": BATCH, "wait": "1s", "lease": "60s"})["messages"]
            by = ([], [])
            for message in got:
                by[int(decoded(message)) % 2].append(message)
            # in this order: a message that is acknowledged here but for the answer may come again nowhere
            for verb, messages, more in (("ack", by[0], {}), ("nack", by[1], {"delay": f"{delay}s"})):
                if messages:
                    answer = c.json("POST", f"{group}/{verb}", {"handles": [m["handle"] for m in messages], **more})
                    faults.check(all(r["ok"] for r in answer["results"]), f"a {verb} was refused: {answer['results'][0]}")
            with lock:
                left.difference_update(int(decoded(m)) for m in got)

    each(server, range(4), round_)
    clock.say("every second acknowledged, the others given back")
    before = client.json("GET", group)
    faults.check(before["acked"] == (count + 1) // 2 and before["depth"] == count // 2, f"{before}")
    started(server, faults, 2.0)
    client = server.client()
    after = client.json("GET", group)
    same = ("acked", "depth", "dead", "expired", "position")
    faults.check([before[k] for k in same] == [after[k] for k in same], f"before {before}, after {after}")
    clock = Clock(server)
    wanted = set(range(1, count, 2))
    end = time.monotonic() + delay + 600

    def again(c, _):
        while wanted and time.monotonic() < end:
            got = c.json("POST", f"{group}/lease", {"max": BATCH, "wait": "2s", "lease": "60s"})["messages"]
            numbers = {int(decoded(m)) for m in got}
            with lock:
                faults.check(numbers <= wanted, lambda: f"came again after the ack, or twice: {sorted(numbers - wanted)[:5]}")
                wanted.difference_update(numbers)
            if got:
                c.json("POST", f"{group}/ack", {"handles": [m["handle"] for m in got]})

    each(server, range(4), again)
    faults.check(not wanted, lambda: f"{len(wanted)} never came again, such as {sorted(wanted)[:5]}")
    clock.say("the others delivered when due")
    end = server.client().json("GET", group)
    faults.check(end["acked"] == count and end["depth"] == 0, f"{end}")


def topics(server, faults, count):
    """Made, published to, listed, started again, listed again."""
    clock, client = Clock(server), server.client()
    names = [f"t{n:06}" for n in range(count)]
    each(server, names, lambda c, name: c.json("PUT", f"/topics/{name}", {}, expect=(201,)))
    clock.say(f"{count:,} topics created")
    batches = [names[n : n + BATCH] for n in range(0, count, BATCH)]
    each(server, batches, lambda c, batch: publish(c, [{"address": name, "body": name} for name in batch]))
    clock.say("one message published to each")
    faults.check(listed(client) == names, "the list is not what was created")
    clock.say("listed, 1,000 a page")
    started(server, faults, 5.0)
    client, clock = server.client(), Clock(server)
    faults.check(listed(client) == names, "the list after the start is not what was created")
    clock.say("listed again")
    for name in itertools.islice(names, 0, None, max(1, count // 1000)):
        (message,) = client.messages(name)
        faults.check(decoded(message) == name.encode(), f"wrong bytes in {name}")
    clock.say("1,000 of them read")


def listed(client):
    found, path = [], f"/topics?limit={BATCH}"
    while True:
        page = client.json("GET", path)
        found += [topic["name"] for topic in page["topics"]]
        if not page.get("next"):
            return found
        path = f"/topics?limit={BATCH}&after={page['next']}"


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=1_000_000)
    options.add_argument("--delay", type=int, default=240, help="seconds until what is given back comes again")
    options.add_argument("--topics", type=int, default=100_000)
    options.add_argument("--only", choices=["backlog", "topics"])
    options = options.parse_args()
    need_binary()
    print(f"     load average {pathlib.Path('/proc/loadavg').read_text().split()[0]}", flush=True)
    results = Results()
    for name, run in (
        ("backlog", lambda s, f: backlog(s, f, options.messages, options.delay)),
        ("topics", lambda s, f: topics(s, f, options.topics)),
    ):
        if options.only in (None, name):
            folder, faults = tempfile.mkdtemp(prefix="switchboard-scale-"), Faults()
            server = Server(pathlib.Path(folder) / "data")
            try:
                if faults.check(server.start() is not None, lambda: f"no start: {server.said()[-600:]}"):
                    run(server, faults)
            except Exception as error:  # the run is over, and the other one goes on
                faults.add(f"{type(error).__name__}: {error}; {server.said()[-600:]}")
            finally:
                server.kill()
                shutil.rmtree(folder, ignore_errors=True)
            results.say(name, faults.found)
    sys.exit(results.end())


if __name__ == "__main__":
    main()
