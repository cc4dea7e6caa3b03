"""Calls as jobs, submitted over every protocol that can, while the server is killed at random moments before, during and after the work: what was
acknowledged comes to exactly one end with the right result, and a submission that is repeated is the same job.

As docs/services.md has it, a job whose attempt was cut off is called again, also where the method says nothing of being repeated: the service
is called at most once for each attempt."""

import collections
import concurrent.futures
import json
import pathlib
import random
import threading
import time

from common import HERE, OPTIONS, ask, ask_all, harness, scratch

JOB = '{ lease = "1s", attempts = 100, backoff = "10ms", timeout = "5m" }'
CONFIG = """
[services.work]
target = "grpc://127.0.0.1:{port}"
proto = "{proto}"
imports = ["{folder}"]
job = {job}
"""


class Service:
    """The upstream, which outlives the server: a server of grpcio that counts."""

    def __init__(self):
        import grpc
        import work_pb2
        import work_pb2_grpc

        service = self
        self.begun, self.done, self.lock = collections.Counter(), collections.Counter(), threading.Lock()

        class Work(work_pb2_grpc.WorkServicer):
            def Add(self, task, context):
                with service.lock:
                    service.begun[task.id] += 1
                time.sleep(task.pause_ms / 1000)
                with service.lock:
                    service.done[task.id] += 1
                return work_pb2.Sum(id=task.id, sum=task.a + task.b)

            Put = Add

        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(64))
        work_pb2_grpc.add_WorkServicer_to_server(Work(), self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()


def rest(server, key, method, task, **more):
    headers = {"Prefer": "respond-async", "Idempotency-Key": key, **more}
    status, said, answer = ask_all(server, "POST", f"/work.v1.Work/{method}", task, headers)
    # A job that has ended by then is answered with its result.
    return status, answer, lambda: said["Location"].removeprefix("/jobs/")


def connect(server, key, method, task):
    return rest(server, key, method, task, **{"Connect-Protocol-Version": "1"})


def graphql(server, key, method, task):
    headers = {"Prefer": "respond-async", "Idempotency-Key": key}
    arguments = "id: $id, a: $a, b: $b, pauseMs: $pauseMs"
    query = f"mutation ($id: String, $a: Int64, $b: Int64, $pauseMs: Int) {{ {method.lower()}({arguments}) {{ id sum }} }}"
    status, answer = ask(server, "POST", "/graphql", {"query": query, "variables": task}, headers)
    return status, answer, lambda: answer["extensions"]["jobs"][method.lower()]["id"]


def jsonrpc(server, key, method, task):
    sb = {"async": True, "idempotency_key": key}
    request = {"jsonrpc": "2.0", "id": 1, "method": f"work.v1.Work/{method}", "params": task, "sb": sb}
    status, answer = ask(server, "POST", "/rpc", request)
    return status, answer, lambda: answer["result"]["job"]


def grpc(server, key, method, task):
    import grpc
    import work_pb2
    from switchboard.v1 import jobs_pb2, jobs_pb2_grpc

    message = work_pb2.Task(id=task["id"], a=int(task["a"]), b=int(task["b"]), pause_ms=task["pauseMs"])
    given = jobs_pb2.JobInput(content_type="application/proto", body=message.SerializeToString())
    request = jobs_pb2.SubmitJobRequest(method=f"work.v1.Work/{method}", input=given, idempotency_key=key)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", OPTIONS) as channel:
        try:
            job = jobs_pb2_grpc.JobsStub(channel).Submit(request, timeout=10)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise harness.Gone(str(error)) from error
            raise
    return 200, job, lambda: job.id


WAYS = [rest, connect, graphql, jsonrpc, grpc]


class Jobs:
    def __init__(self, server):
        self.server, self.tasks, self.ids, self.unsure = server, {}, {}, 0
        self.lock = threading.Lock()

    def new(self):
        n = len(self.tasks)
        key = f"job-{n}"
        # With the same key the request is the same.
        task = {"id": key, "a": str(n), "b": str(2**53 + n), "pauseMs": random.choice([0, 5, 50, 300])}
        self.tasks[key] = (WAYS[n % len(WAYS)], ["Add", "Put"][n // len(WAYS) % 2], task)
        return key

    def submit(self, key):
        """True when it is acknowledged: with the id that an earlier acknowledgement had."""
        way, method, task = self.tasks[key]
        try:
            status, answer, read = way(self.server, key, method, task)
        except harness.Gone:
            self.unsure += 1
            return False
        if status == 503:
            return False
        assert status in (200, 202), f"{way.__name__}: {status} {answer}"
        try:
            found = read()
        except (KeyError, TypeError, AttributeError) as error:
            raise AssertionError(f"{way.__name__}: {answer}") from error
        with self.lock:
            known = self.ids.setdefault(key, found)
        assert known == found, f"{way.__name__}: {key} is {known} and {found}"
        return True


def operation(server, job):
    """The same job as an operation of google.longrunning."""
    import grpc
    import work_pb2
    from google.longrunning import operations_pb2, operations_pb2_grpc
    from switchboard.v1 import jobs_pb2  # noqa: F401 (its metadata)

    with grpc.insecure_channel(f"127.0.0.1:{server.port}", OPTIONS) as channel:
        request = operations_pb2.GetOperationRequest(name=f"jobs/{job}")
        found = operations_pb2_grpc.OperationsStub(channel).GetOperation(request, timeout=10)
    assert found.done and found.HasField("response"), found
    result = work_pb2.Sum()
    assert found.response.Unpack(result), found
    return {"id": result.id, "sum": str(result.sum)}


def run(cycles):
    service = Service()
    config = CONFIG.format(port=service.port, proto=HERE / "work.proto", folder=HERE, job=JOB)
    server = harness.Server(pathlib.Path(scratch()) / "data", config)
    jobs = Jobs(server)
    try:
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            for _ in range(cycles):
                assert server.start() is not None, server.said()
                wanted = [key for key in jobs.tasks if key not in jobs.ids] + [jobs.new() for _ in range(20)]
                again = random.sample(sorted(jobs.ids), min(5, len(jobs.ids)))
                running = [pool.submit(jobs.submit, key) for key in wanted + again]
                # Often while they are being submitted, sometimes while all of them run.
                time.sleep(random.random() ** 3 * 0.6)
                server.kill()
                for one in running:
                    one.result()
            assert server.start() is not None, server.said()
            acknowledged = len(jobs.ids)
            # Those that nobody knows of are submitted again, and so are all others: nothing of it makes a second job.
            for one in [pool.submit(jobs.submit, key) for key in jobs.tasks]:
                assert one.result(), "the server answers"
            assert len(set(jobs.ids.values())) == len(jobs.tasks), "one job each"

            def ended(key):
                until = time.monotonic() + 40
                while time.monotonic() < until:
                    status, job = ask(server, "GET", f"/jobs/{jobs.ids[key]}", headers={"Prefer": "wait=5"})
                    assert status in (200, 304), f"{key}: {status} {job}"
                    if status == 200 and job["state"] not in ("queued", "running"):
                        return job
                raise AssertionError(f"{key} does not end: {job}")

            repeated = 0
            for key, job in zip(jobs.tasks, pool.map(ended, jobs.tasks)):
                way, method, task = jobs.tasks[key]
                assert job["state"] == "succeeded", f"{key} by {way.__name__}: {job}"
                right = {"id": key, "sum": str(int(task["a"]) + int(task["b"]))}
                assert operation(server, job["id"]) == right, f"{key}: {job}"
                if way is not grpc:
                    assert json.loads(job["result"]["body"]) == right, f"{key}: {job}"
                _, events = ask(server, "GET", f"/jobs/{job['id']}/events?limit=1000")
                ends = [e["state"] for e in events["events"] if e["type"] == "state" and e["state"] not in ("queued", "running")]
                assert ends == ["succeeded"], f"{key}: {events}"
                assert service.done[key] >= 1, f"{key} has a result and was never done"
                assert service.begun[key] <= job["attempts"], f"{key}: {service.begun[key]} calls in {job['attempts']} attempts"
                repeated += job["attempts"] > 1
            listed, after = [], ""
            while True:
                _, page = ask(server, "GET", f"/jobs?limit=1000{after}")
                listed += page["jobs"]
                if not page.get("next"):
                    break
                after = f"&after={page['next']}"
            assert len(listed) == len(jobs.tasks), f"{len(listed)} jobs of {len(jobs.tasks)} submissions"
        print(
            f"ok   jobs: {len(jobs.tasks)} by {', '.join(way.__name__ for way in WAYS)} over {cycles} kills, {acknowledged} acknowledged before the last start, "
            f"{jobs.unsure} submissions in doubt, {repeated} called again; each ended once, with its result"
        )
        return True
    finally:
        server.kill()
        service.server.stop(0)
