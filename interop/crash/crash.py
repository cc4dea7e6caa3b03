#!/usr/bin/env python3
"""kill -9 under mixed load, over and over on the same data, with a checker of everything that was promised.

    python3 interop/crash/crash.py --cycles 25 --seed 1

A cycle: start, load from many threads, kill at a random moment, start again (within --ready-limit), check:

- every acknowledged publish is at its position with its bytes, and nowhere else; offsets are dense;
- a publish with an idempotency key is there at most once, also when it is repeated after the crash;
- publishes made together are there together or not at all;
- what one publisher sent one after another under one key is in that order;
- what a reader was shown is still there;
- after an answered ack the group never gives the message out again;
- of each group ready + leased + delayed + acked + dead + expired is what was published;
- every acknowledged job exists, ends at most once, and has the result of the worker that was told so.

What was not acknowledged may be there or not. A failing cycle keeps its data folder and names the seed.
"""

import argparse
import base64
import collections
import json
import random
import shutil
import sys
import tempfile
import threading
import time

from harness import Client, Faults, Gone, Results, Server, Wrong, body_for, decoded, need_binary, token_of

PLAIN, PARTS, IDEM, PAIR_A, PAIR_B, DEAD = "load.plain", "load.parts", "load.idem", "load.pair-a", "load.pair-b", "load.dead"
TOPICS = {PLAIN: 1, PARTS: 3, IDEM: 1, PAIR_A: 1, PAIR_B: 2, DEAD: 1}
GROUPS = [
    (PLAIN, "fast", {"lease": "60s"}),
    (PLAIN, "strict", {"lease": "60s", "attempts": 3, "dead_letter": DEAD}),
    (PARTS, "keyed", {"lease": "60s", "order": "key"}),
    (IDEM, "short", {"lease": "1s"}),
]
METHOD = "load.v1.Worker/Run"
TERMINAL = ("succeeded", "failed", "cancelled", "expired")


class History:
    """What was promised to us since the data folder was new, and what we only hope for."""

    def __init__(self):
        self.lock = threading.Lock()
        self.acked = {}  # token -> (topic, partition, offset)
        self.seen = {}  # (topic, partition, offset) -> token, as shown to a reader
        self.open_idem = {}  # idempotency key -> token, outcome unknown
        self.pairs = []  # tokens published together
        self.settled = collections.defaultdict(set)  # (topic, group) -> positions acked and answered
        self.ack_unknown = collections.Counter()  # (topic, group) -> acks whose outcome is not known
        self.jobs = {}  # id -> token of the input
        self.open_jobs = {}  # idempotency key -> token
        self.job_keys = {}  # idempotency key -> id
        self.completed = {}  # id -> token of the result
        self.ended = set()  # jobs that were found ended and right
        self.verified = {}  # (topic, partition) -> offset up to which the content was checked
        self.where = {}  # token -> (topic, partition, offset), as found
        self.last_of = {}  # (topic, partition, publisher) -> last sequence number found
        self.dead = 0  # entries of the dead-letter topic


class Load:
    """The threads of one cycle."""

    def __init__(self, server, history, cycle, rng, faults):
        self.server, self.history, self.cycle, self.faults = server, history, cycle, faults
        self.stop = threading.Event()
        self.counts = collections.Counter()
        jobs = [
            (self.publish_plain, 3),
            (self.publish_idem, 2),
            (self.publish_pairs, 1),
            (self.submit, 1),
            (self.work, 2),
            (self.read, 1),
        ]
        self.threads = []
        for target, count in jobs:
            for number in range(count):
                self._add(target, number, rng.getrandbits(32))
        for topic, group, _ in GROUPS:
            for number in range(2):
                self._add(lambda n, r, c, t=topic, g=group: self.consume(t, g, r, c), number, rng.getrandbits(32))

    def _add(self, target, number, seed):
        def run():
            client = Client(self.server)
            try:
                target(number, random.Random(seed), client)
            except Gone:
                pass  # killed: what was under way has an unknown outcome
            except Wrong as wrong:
                self.faults.add(str(wrong))
            except Exception as error:
                self.faults.add(f"{type(error).__name__} in the load: {error}")
            finally:
                client.close()

        self.threads.append(threading.Thread(target=run, daemon=True))

    def run(self, seconds):
        for thread in self.threads:
            thread.start()
        time.sleep(seconds)
        self.server.kill()
        self.stop.set()
        for thread in self.threads:
            thread.join(30)
            self.faults.check(not thread.is_alive(), "a request was not ended by the server's death")

    # publishing

    def publish_plain(self, number, rng, client):
        sequence = 0
        while not self.stop.is_set():
            sequence += 1
            topic = PLAIN if rng.random() < 0.5 else PARTS
            publisher = f"p{self.cycle}-{number}"
            token = f"{publisher}:{sequence}"
            got = client.json("POST", f"/topics/{topic}", body_for(token), {"Sb-Key": publisher})
            self._acked(token, topic, got)

    def publish_idem(self, number, rng, client):
        sequence = 0
        while not self.stop.is_set():
            sequence += 1
            token = key = f"i{self.cycle}-{number}:{sequence}"
            with self.history.lock:
                self.history.open_idem[key] = token
            for _ in range(2 if rng.random() < 0.2 else 1):  # some are sent twice at once
                got = client.json("POST", f"/topics/{IDEM}", body_for(token), {"Idempotency-Key": key})
                self._acked(token, IDEM, got)
            with self.history.lock:
                self.history.open_idem.pop(key, None)

    def publish_pairs(self, number, rng, client):
        sequence = 0
        while not self.stop.is_set():
            sequence += 1
            tokens = [f"m{self.cycle}-{number}:{sequence}.{part}" for part in range(rng.randint(2, 6))]
            entries = []
            for part, token in enumerate(tokens):
                body = base64.b64encode(body_for(token)).decode()
                entries.append({"address": (PAIR_A, PAIR_B)[part % 2], "body": body, "encoding": "base64"})
            with self.history.lock:
                self.history.pairs.append(tokens)
            got = client.json("POST", "/publish", {"messages": entries})["messages"]
            for part, (token, one) in enumerate(zip(tokens, got, strict=True)):
                self._acked(token, (PAIR_A, PAIR_B)[part % 2], one)

    def _acked(self, token, topic, got):
        place = (topic, got["partition"], got["offset"])
        with self.history.lock:
            known = self.history.acked.setdefault(token, place)
        self.faults.check(known == place, lambda: f"{token} was acknowledged at {known} and again at {place}")
        self.faults.check(got["topic"] == topic, lambda: f"{token} went to {got['topic']} instead of {topic}")
        self.counts["publish"] += 1

    # groups

    def consume(self, topic, group, rng, client):
        path = f"/topics/{topic}/groups/{group}"
        while not self.stop.is_set():
            leased = client.json("POST", f"{path}/lease", {"max": rng.randint(1, 20), "wait": "200ms"})["messages"]
            settle = collections.defaultdict(list)
            for message in leased:
                place = (message["partition"], message["offset"])
                with self.history.lock:
                    again = place in self.history.settled[topic, group]
                self.faults.check(not again, lambda: f"{topic}/{group} gave out {place} after an answered ack")
                body = decoded(message)
                self.faults.check(token_of(body) is not None, lambda: f"{topic}/{group} gave wrong bytes at {place}")
                settle[rng.choices(("ack", "nack", "later", "leave"), (70, 15, 5, 10))[0]].append(message)
            if settle["ack"]:
                with self.history.lock:
                    self.history.ack_unknown[topic, group] += len(settle["ack"])
                for message, ok in self._settle(client, f"{path}/ack", settle["ack"], {}):
                    with self.history.lock:
                        self.history.ack_unknown[topic, group] -= 1
                        if ok:
                            self.history.settled[topic, group].add((message["partition"], message["offset"]))
                            self.counts["ack"] += 1
            if settle["nack"]:
                self._settle(client, f"{path}/nack", settle["nack"], {})
            if settle["later"]:
                self._settle(client, f"{path}/nack", settle["later"], {"delay": "300ms"})

    def _settle(self, client, path, messages, more):
        status, _, data = client.ask("POST", path, {"handles": [m["handle"] for m in messages], **more})
        if status == 409:  # all were stale
            return [(message, False) for message in messages]
        if status != 200:
            raise Wrong(f"{path}: {status} {data[:300]!r}")
        results = json.loads(data)["results"]
        return [(message, result["ok"]) for message, result in zip(messages, results, strict=True)]

    # jobs

    def submit(self, number, rng, client):
        sequence = 0
        while not self.stop.is_set() and sequence < 150:
            sequence += 1
            token = f"j{self.cycle}-{number}:{sequence}"
            headers = {"Prefer": "respond-async"}
            if rng.random() < 0.5:
                headers["Idempotency-Key"] = token
                with self.history.lock:
                    self.history.open_jobs[token] = token
            got = client.json("POST", f"/{METHOD}", body_for(token), headers, (202,))
            with self.history.lock:
                self.history.jobs[got["id"]] = token
                if "Idempotency-Key" in headers:
                    self.history.open_jobs.pop(token, None)
                    self.history.job_keys[token] = got["id"]
            self.counts["submit"] += 1

    def work(self, number, rng, client):
        request = {"methods": [METHOD], "wait": "200ms", "lease": "60s", "worker": f"w{number}"}
        while not self.stop.is_set():
            for job in client.json("POST", "/jobs/take", {**request, "max": rng.randint(1, 3)})["jobs"]:
                ident, lease = job["id"], {"Sb-Lease": job["lease"]}
                with self.history.lock:
                    done = ident in self.history.completed
                self.faults.check(not done, lambda: f"job {ident} was given out after it was completed")
                self.faults.check(token_of(decoded(job)) is not None, lambda: f"job {ident} has wrong input bytes")
                what = rng.choices(("complete", "retry", "fail", "leave"), (70, 15, 5, 10))[0]
                if rng.random() < 0.3:
                    client.ask("POST", f"/jobs/{ident}/progress", {"n": rng.randint(0, 100)}, lease)
                if what == "complete":
                    token = f"r{ident}-{self.cycle}-{number}"
                    status, _, data = client.ask("POST", f"/jobs/{ident}/complete", body_for(token), lease)
                    if status == 200:
                        with self.history.lock:
                            before = self.history.completed.setdefault(ident, token)
                        self.faults.check(before == token, lambda: f"two workers completed job {ident}")
                        self.counts["complete"] += 1
                    elif status != 409:
                        raise Wrong(f"complete: {status} {data[:300]!r}")
                elif what in ("retry", "fail"):
                    body = {"code": "E", "message": what, "retryable": what == "retry"}
                    status, _, data = client.ask("POST", f"/jobs/{ident}/fail", body, lease)
                    if status not in (200, 409):
                        raise Wrong(f"fail: {status} {data[:300]!r}")

    # readers

    def read(self, number, rng, client):
        while not self.stop.is_set():
            topic = rng.choice((PLAIN, IDEM, PAIR_A))
            page = client.json("GET", f"/topics/{topic}?last={rng.randint(1, 50)}")["messages"]
            offsets = [m["offset"] for m in page]
            dense = offsets == list(range(offsets[0], offsets[0] + len(offsets))) if offsets else True
            self.faults.check(dense, lambda: f"a reader of {topic} was shown offsets {offsets}")
            with self.history.lock:
                for message in page:
                    token = token_of(decoded(message))
                    place = (topic, message["partition"], message["offset"])
                    self.faults.check(token is not None, lambda: f"a reader was shown wrong bytes at {place}")
                    self.history.seen[place] = token
            self.counts["read"] += len(page)


class Checker:
    """Compares what is there with what was promised. The server is quiet meanwhile."""

    def __init__(self, server, history, faults, rng):
        self.client, self.history, self.faults, self.rng = Client(server, 60), history, faults, rng

    def run(self, everything):
        self.repeat_what_is_unknown()
        if everything:
            self.history.verified.clear()
            self.history.where.clear()
            self.history.last_of.clear()
        for topic in TOPICS:
            self.topic(topic)
        self.promises()
        for topic, group, _ in GROUPS:
            self.group(topic, group)
        self.dead_letters()
        self.jobs()

    def repeat_what_is_unknown(self):
        """A client that got no answer asks again with the same key: it must not become a second one."""
        history, client = self.history, self.client
        for key, token in list(history.open_idem.items()):
            got = client.json("POST", f"/topics/{IDEM}", body_for(token), {"Idempotency-Key": key})
            known = history.acked.setdefault(token, (IDEM, got["partition"], got["offset"]))
            self.faults.check(
                known == (IDEM, got["partition"], got["offset"]), f"{token} acknowledged at {known}, repeated at {got}"
            )
            history.open_idem.pop(key)
        for key, token in list(history.open_jobs.items()):
            ident = self.job_again(key, token)
            if ident is not None:
                history.jobs[ident] = token
                history.job_keys[key] = ident
            history.open_jobs.pop(key)
        for key in self.rng.sample(sorted(history.job_keys), min(5, len(history.job_keys))):
            again = self.job_again(key, key)
            if again is not None:
                self.faults.check(again == history.job_keys[key], f"key {key} made job {again} as well")

    def job_again(self, key, token):
        """The job of a repeated request; None when it has failed since, because that answer does not name it."""
        headers = {"Prefer": "respond-async", "Idempotency-Key": key}
        status, _, data = self.client.ask("POST", f"/{METHOD}", body_for(token), headers)
        if status == 202:
            return json.loads(data)["id"]
        if status == 200:  # done: the answer is the result, and results here begin with r, the job and a dash
            result = token_of(data)
            if self.faults.check(result is not None, f"key {key} answers a wrong result: {data[:60]!r}"):
                return result[1:].split("-", 1)[0]
            return None
        self.faults.check(status == 500, f"repeating {key}: {status} {data[:300]!r}")
        return None

    def topic(self, topic):
        history = self.history
        info = self.client.json("GET", f"/topics/{topic}/info")
        for part in info["partition"]:
            number, end = part["partition"], part["end"]
            self.faults.check(part["start"] == 0, f"{topic}/{number} begins at {part['start']}")
            at = history.verified.get((topic, number), 0)
            self.faults.check(end >= at, f"{topic}/{number} ends at {end}, was at {at}")
            expected = at
            for message in self.client.messages(topic, f"offset:{at}", number) if end > at else ():
                offset = message["offset"]
                self.faults.check(offset == expected, f"{topic}/{number}: offset {offset} instead of {expected}")
                expected = offset + 1
                self.message(topic, number, offset, decoded(message))
            self.faults.check(expected == end, f"{topic}/{number} ends at {end} and shows up to {expected}")
            history.verified[topic, number] = end
            for offset in {self.rng.randrange(at) for _ in range(10)} if at else ():
                status, _, body = self.client.ask("GET", f"/topics/{topic}/messages/{number}-{offset}")
                token = token_of(body) if status == 200 else None
                right = token is not None and (topic == DEAD or history.where.get(token) == (topic, number, offset))
                self.faults.check(right, f"{topic}/{number}-{offset} changed: {status} {body[:60]!r}")

    def message(self, topic, number, offset, body):
        history = self.history
        token = token_of(body)
        if not self.faults.check(token is not None, f"wrong bytes at {topic}/{number}-{offset}: {body[:60]!r}"):
            return
        if topic == DEAD:
            return  # copies, counted by dead_letters
        place = (topic, number, offset)
        other = history.where.setdefault(token, place)
        self.faults.check(other == place, f"{token} is at {other} and at {place}")
        if token[0] == "p":
            publisher, sequence = token.split(":")
            before = history.last_of.get((topic, number, publisher), 0)
            self.faults.check(int(sequence) > before, f"{token} comes after {publisher}:{before} in {topic}/{number}")
            history.last_of[topic, number, publisher] = int(sequence)

    def promises(self):
        history = self.history
        for token, place in history.acked.items():
            found = history.where.get(token)
            self.faults.check(found == place, f"LOST: {token} was acknowledged at {place}, found at {found}")
        for place, token in history.seen.items():
            found = history.where.get(token)
            self.faults.check(found == place, f"{token} was shown to a reader at {place}, found at {found}")
        history.seen.clear()
        for tokens in history.pairs:
            there = sum(token in history.where for token in tokens)
            self.faults.check(there in (0, len(tokens)), f"{there} of {len(tokens)} of {tokens[0]} are there")

    def group(self, topic, group):
        """Leases may run out meanwhile: that moves messages between the figures and leaves the sum as it is."""
        path = f"/topics/{topic}/groups/{group}"
        got = self.client.json("GET", path)
        info = self.client.json("GET", f"/topics/{topic}/info")
        total = sum(got[k] for k in ("ready", "leased", "delayed", "acked", "dead", "expired"))
        published = sum(part["end"] for part in info["partition"])
        self.faults.check(total == published, f"{topic}/{group}: {total} accounted for, {published} published: {got}")
        self.faults.check(got["depth"] == got["ready"] + got["leased"] + got["delayed"], f"{topic}/{group} depth: {got}")
        sure = len(self.history.settled[topic, group])
        most = sure + self.history.ack_unknown[topic, group]
        self.faults.check(sure <= got["acked"] <= most, f"{topic}/{group}: {got['acked']} acked, {sure} to {most} were")

    def dead_letters(self):
        for _ in range(3):  # a lease that runs out between the two questions moves one more
            counted = self.client.json("GET", f"/topics/{PLAIN}/groups/strict")["dead"]
            info = self.client.json("GET", f"/topics/{DEAD}/info")
            there = sum(part["end"] for part in info["partition"])
            if counted == there:
                break
        self.faults.check(counted == there, f"{counted} counted as dead, {there} in the dead-letter topic")
        self.faults.check(there >= self.history.dead, f"{self.history.dead} dead letters were there, now {there}")
        self.history.dead = there

    def jobs(self):
        history = self.history
        old = self.rng.sample(sorted(history.ended), min(20, len(history.ended)))
        for ident in [i for i in history.jobs if i not in history.ended] + old:
            status, _, data = self.client.ask("GET", f"/jobs/{ident}")
            if not self.faults.check(status == 200, f"LOST: job {ident} was acknowledged: {status}"):
                continue
            job = json.loads(data)
            events = self.client.json("GET", f"/jobs/{ident}/events?limit=1000")["events"]
            ends = [e["state"] for e in events if e["type"] == "state" and e["state"] in TERMINAL]
            self.faults.check(len(ends) <= 1, f"job {ident} ended {len(ends)} times: {ends}")
            self.faults.check(
                (job["state"] in TERMINAL) == bool(ends), f"job {ident} is {job['state']} with ends {ends}"
            )
            seqs = [e["seq"] for e in events]
            self.faults.check(
                not seqs or seqs == list(range(seqs[0], seqs[0] + len(seqs))), f"job {ident} has events {seqs}"
            )
            status, _, body = self.client.ask("GET", f"/jobs/{ident}/input")
            self.faults.check(body == body_for(history.jobs[ident]), f"job {ident} has another input: {status}")
            if ident in history.completed:
                self.faults.check(job["state"] == "succeeded", f"job {ident} was completed and is {job['state']}")
                status, _, body = self.client.ask("GET", f"/jobs/{ident}/result")
                self.faults.check(
                    body == body_for(history.completed[ident]), f"job {ident} has another result: {status}"
                )
            if ends:
                history.ended.add(ident)


def prepare(client):
    for topic, partitions in TOPICS.items():
        client.json("PUT", f"/topics/{topic}", {"partitions": partitions})
    for topic, group, options in GROUPS:
        client.json("PUT", f"/topics/{topic}/groups/{group}", options)
    client.json("PUT", f"/methods/{METHOD}", {"attempts": 5, "timeout": "1h", "lease": "60s", "backoff": "0s"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=25)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--ready-limit", type=float, default=1.0, help="seconds a restart may take")
    parser.add_argument("--full-every", type=int, default=25, help="cycles between checks of everything")
    parser.add_argument("--fresh-every", type=int, default=100, help="cycles until a new data folder is begun")
    options = parser.parse_args()
    need_binary()
    print(f"seed {options.seed}", flush=True)
    results, ready = Results(), []
    server = history = None
    for cycle in range(1, options.cycles + 1):
        rng = random.Random(f"{options.seed}:{cycle}")
        faults = Faults()
        if server is None:
            server, history = Server(tempfile.mkdtemp(prefix="switchboard-data-")), History()
            if server.start() is None:
                faults.add(f"the server does not start: {server.said()[-1000:]}")
            else:
                prepare(server.client())
        counts, took, moment = {}, None, 0.05 + rng.random() * 1.45
        if not faults.found:
            try:
                load = Load(server, history, cycle, rng, faults)
                load.run(moment)
                counts = dict(load.counts)
                took = server.start()
                if took is None:
                    faults.add(f"no restart: {server.said()[-1000:]}")
                else:
                    ready.append(took)
                    faults.check(took < options.ready_limit, f"ready only after {took:.2f} s")
                    everything = cycle % options.full_every == 0 or cycle == options.cycles
                    Checker(server, history, faults, rng).run(everything)
            except (Gone, Wrong) as error:
                faults.add(f"{type(error).__name__}: {error}; {server.said()[-500:]}")
        shown = " ".join(f"{k}={v}" for k, v in sorted(counts.items()))
        results.say(f"cycle {cycle}: killed after {moment:.2f} s, ready in {(took or 0) * 1000:.0f} ms, {shown}", faults.found)
        last = cycle == options.cycles
        if faults.found:
            server.kill()
            print(f"     seed {options.seed}, data kept in {server.data}, log in {server.log}", flush=True)
            server = None
        elif last or cycle % options.fresh_every == 0:
            server.stop()
            shutil.rmtree(server.data, ignore_errors=True)
            shutil.rmtree(server.home, ignore_errors=True)
            server = None
    if ready:
        ready.sort()
        at = lambda share: ready[min(len(ready) - 1, int(len(ready) * share))] * 1000
        print(f"ready again after {at(0.5):.0f} ms (p50), {at(0.99):.0f} ms (p99), {ready[-1] * 1000:.0f} ms (worst)")
    sys.exit(results.end())


if __name__ == "__main__":
    main()
