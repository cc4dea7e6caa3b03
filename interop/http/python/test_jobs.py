"""docs/http.md §4: methods, calls, jobs, workers."""

import json
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from sb import background, body_of, problem, unique, until


def finish(api, method, body=b"done", **options):
    job = api.take_one(method)
    api.work(job, "complete", content=body, **options)
    return job


def test_declare_list_change_delete(api):
    name = f"{unique('svc')}.v1.Runner/Run"
    made = api.put_method(name, timeout="5m", attempts=5, lease="20s", keep_result="1h", backoff="2s")
    assert made["timeout"] == "5m" and made["attempts"] == 5 and made["topic"] == name.replace("/", ".")
    assert api.put_method(name, status=200, attempts=2)["attempts"] == 2
    listed = api.ok("GET", "/methods").json()["methods"]
    assert any(name in json.dumps(m) for m in listed)
    api.ok("DELETE", f"/methods/{name}", 204)
    problem(api.post(f"/{name}", content=b""), 404, "SB0310")
    problem(api.delete(f"/methods/{name}"), 404, "SB0310")


def test_unknown_method_names_the_near_ones(api, method):
    got = problem(api.post(f"/{method[:-1]}m", content=b""), 404, "SB0310")
    assert method in got["detail"] + got["fix"]


def test_call_waits_for_the_result(api, method):
    call = background(lambda: api.post(f"/{method}", content=b"in\x00\xff", headers={"Content-Type": "x/in"}))
    job = api.take_one(method)
    assert job["method"] == method and job["attempt"] == 1 and body_of(job) == b"in\x00\xff"
    assert job["content_type"] == "x/in" and job["lease"] and job["lease_until"].endswith("Z")
    done = api.work(job, "complete", content=b"\x00out\xfe", headers={"Content-Type": "x/out"}).json()
    assert done["state"] == "succeeded"
    answer = call.result()
    assert answer.status_code == 200 and answer.content == b"\x00out\xfe"
    assert answer.headers["content-type"] == "x/out"


def test_call_that_fails(api, method):
    call = background(lambda: api.post(f"/{method}", content=b""))
    job = api.take_one(method)
    failed = api.work(job, "fail", json={"code": "E1", "message": "no such file", "retryable": False}).json()
    assert failed["state"] == "failed" and failed["error"] == {
        "code": "E1",
        "message": "no such file",
        "retryable": False,
    }
    answer = call.result()
    got = problem(answer, answer.status_code, "SB0405")
    assert answer.status_code >= 400 and "no such file" in got["detail"]


def test_call_past_its_deadline(api, method):
    problem(api.post(f"/{method}", content=b"", headers={"Sb-Timeout": "300ms"}), 504, "SB0408")


def test_respond_async(api, method):
    answer = api.ok("POST", f"/{method}", 202, content=b"in", headers={"Prefer": "respond-async"})
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}" and answer.headers["retry-after"] == "1"
    assert job["state"] == "queued" and job["method"] == method and job["attempts"] == 0
    assert job["cancel_requested"] is False and job["created"].endswith("Z") and "started" not in job
    problem(api.get(f"/jobs/{job['id']}/result"), 409, "SB0406")
    taken = api.take_one(method, worker="worker-7")
    assert taken["id"] == job["id"]
    running = api.job(job["id"])
    assert running["state"] == "running" and running["worker"] == "worker-7" and running["attempts"] == 1
    api.work(taken, "complete", content=b'{"ok":true}', headers={"Content-Type": "application/json"})
    done = api.job(job["id"])
    assert done["state"] == "succeeded" and done["result"]["content_type"] == "application/json"
    assert body_of(done["result"]) == b'{"ok":true}' and done["finished"] >= done["started"] >= done["created"]
    result = api.ok("GET", f"/jobs/{job['id']}/result")
    assert result.content == b'{"ok":true}' and result.headers["content-type"] == "application/json"
    assert api.ok("GET", f"/jobs/{job['id']}/input").content == b"in"


def test_respond_async_with_wait(api, method):
    slow = api.ok("POST", f"/{method}", 202, content=b"", headers={"Prefer": "respond-async, wait=0"})
    finish(api, method)
    assert api.job(slow.json()["id"])["state"] == "succeeded"
    quick = background(
        lambda: api.post(f"/{method}", content=b"", headers={"Prefer": "respond-async, wait=25"})
    )
    finish(api, method, b"in time", headers={"Content-Type": "text/plain"})
    answer = quick.result()
    assert answer.status_code == 200 and answer.content == b"in time"


def test_etag_and_long_poll(api, method):
    job = api.submit(method)
    first = api.ok("GET", f"/jobs/{job['id']}")
    tag = {"If-None-Match": first.headers["etag"]}
    assert api.get(f"/jobs/{job['id']}", headers=tag).status_code == 304
    change = background(lambda: api.get(f"/jobs/{job['id']}", headers={**tag, "Prefer": "wait=25"}))
    taken = api.take_one(method)
    answer = change.result()
    assert answer.status_code == 200 and answer.json()["state"] == "running"
    assert answer.headers["preference-applied"] == "wait=25"
    assert answer.headers["etag"] != first.headers["etag"]
    end = background(lambda: api.get(f"/jobs/{job['id']}", headers={"Prefer": "wait=25"}).json())
    api.work(taken, "progress", json={"percent": 50})
    time.sleep(0.1)
    assert not end.done  # without an ETag it waits for the end of the job
    api.work(taken, "complete", content=b"")
    assert end.result()["state"] == "succeeded"


def test_result_waits(api, method):
    job = api.submit(method)
    result = background(lambda: api.get(f"/jobs/{job['id']}/result", headers={"Prefer": "wait=25"}))
    finish(api, method, b"late", headers={"Content-Type": "text/x"})
    assert result.result().content == b"late" and result.result().headers["content-type"] == "text/x"
    problem(api.get(f"/jobs/{api.submit(method)['id']}/result", headers={"Prefer": "wait=0"}), 409, "SB0406")


def test_progress_log_and_events(api, method):
    job = api.submit(method, b"x")
    taken = api.take_one(method)
    for verb, options in (
        ("progress", {"json": {"percent": 10, "note": "ä"}}),
        ("log", {"content": "line 1\n", "params": {"stream": "stdout"}}),
        ("log", {"content": "oops", "params": {"stream": "stderr"}}),
        ("progress", {"json": 90}),
        ("extend", {"json": {"lease": "60s"}}),
    ):
        got = api.work(taken, verb, **options).json()
        assert got["cancel_requested"] is False and got["lease_until"].endswith("Z")
    assert api.job(job["id"])["progress"] == 90
    api.work(taken, "complete", content=b"\xff\x00", headers={"Content-Type": "x/y"})
    events = api.events(job["id"])
    seqs = [e["seq"] for e in events]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))) and all(e["at"].endswith("Z") for e in events)
    shown = [(e["type"], e.get("state") or e.get("progress") or e.get("text")) for e in events]
    wanted = [
        ("state", "queued"),
        ("state", "running"),
        ("progress", {"percent": 10, "note": "ä"}),
        ("log", "line 1\n"),
        ("log", "oops"),
        ("progress", 90),
    ]
    assert shown[: len(wanted)] == wanted
    assert [e["stream"] for e in events if e["type"] == "log"] == ["stdout", "stderr"]
    (result,) = [e for e in events if e["type"] == "result"]
    assert body_of(result) == b"\xff\x00" and result["content_type"] == "x/y"
    assert [e["state"] for e in events if e["type"] == "state"] == ["queued", "running", "succeeded"]
    assert api.job(job["id"])["events"] == len(events)
    paged = api.ok("GET", f"/jobs/{job['id']}/events", params={"limit": 2}).json()
    assert paged["events"] == events[:2]
    rest = api.events(job["id"], after=paged["next"], limit=100)
    assert rest == events[2:]


def test_events_wait(api, method):
    job = api.submit(method)
    seen = api.events(job["id"])[-1]["seq"]
    waiting = background(
        lambda: api.get(f"/jobs/{job['id']}/events", params={"after": seen}, headers={"Prefer": "wait=25"}).json()
    )
    api.take_one(method)
    assert waiting.result()["events"][0]["state"] == "running"


def test_log_limit(api, method):
    api.submit(method)
    taken = api.take_one(method)
    api.work(taken, "log", content=b"x" * 65536)
    got = api.post(f"/jobs/{taken['id']}/log", content=b"x" * 65537, headers={"Sb-Lease": taken["lease"]})
    problem(got, 413, "SB0205")


def test_sse_from_the_beginning_resumed_and_ended(api, method):
    job = api.submit(method)
    with api.sse(f"/jobs/{job['id']}") as events:
        first = events.next()
        assert first["event"] == "state" and json.loads(first["data"])["state"] == "queued"
        taken = api.take_one(method)
        assert json.loads(events.next()["data"])["state"] == "running"
        api.work(taken, "progress", json={"p": 1})
        progress = events.next()
        assert progress["event"] == "progress" and json.loads(progress["data"])["progress"] == {"p": 1}
        assert int(progress["id"]) == json.loads(progress["data"])["seq"]
        api.work(taken, "complete", content=b"r")
        kinds = [e["event"] for e in events.rest()]
        assert "result" in kinds and kinds[-1] == "end"
    with api.sse(f"/jobs/{job['id']}", headers={"Last-Event-ID": progress["id"]}) as events:
        resumed = events.rest()
        assert [int(e["id"]) for e in resumed if e["event"] != "end"][0] == int(progress["id"]) + 1
        assert resumed[-1]["event"] == "end"


def test_websocket_of_a_job(api, server, method):
    job = api.submit(method)
    with connect(f"{server.ws_url}/jobs/{job['id']}", proxy=None) as ws:
        assert json.loads(ws.recv(timeout=15))["state"] == "queued"
        finish(api, method)
        got = []
        with pytest.raises(ConnectionClosed):
            while True:
                got.append(json.loads(ws.recv(timeout=15)))
        assert got[-1]["type"] in ("state", "result") and any(e.get("state") == "succeeded" for e in got)
        assert ws.protocol.close_code == 1000


def test_cancel_queued(api, method):
    job = api.submit(method)
    got = api.ok("DELETE", f"/jobs/{job['id']}").json()
    assert got["state"] == "cancelled" and got["finished"]
    assert api.take(method, wait="0s") == []
    problem(api.get(f"/jobs/{job['id']}/result"), 499, "SB0407")
    problem(api.delete(f"/jobs/{job['id']}"), 409, "SB0403")


def test_cancel_running(api, method):
    job = api.submit(method)
    taken = api.take_one(method)
    got = api.ok("DELETE", f"/jobs/{job['id']}", 202).json()
    assert got["cancel_requested"] is True and got["state"] == "running"
    assert api.work(taken, "extend", json={"lease": "30s"}).json()["cancel_requested"] is True
    api.work(taken, "fail", json={"code": "CANCELLED", "message": "as you wish", "retryable": False})
    assert api.job(job["id"])["state"] == "cancelled"


def test_cancel_ends_a_waiting_call(api, method):
    call = background(lambda: api.post(f"/{method}", content=b""))
    job = until(lambda: api.ok("GET", "/jobs", params={"method": method}).json()["jobs"])[0]
    api.ok("DELETE", f"/jobs/{job['id']}")
    problem(call.result(), 499, "SB0407")


def test_rerun(api, method):
    job = api.submit(method, b"input")
    finish(api, method)
    answer = api.ok("POST", f"/jobs/{job['id']}/rerun", 201)
    again = answer.json()
    assert again["rerun_of"] == job["id"] and again["id"] != job["id"]
    assert answer.headers["location"] == f"/jobs/{again['id']}"
    assert body_of(api.take_one(method)) == b"input"
    third = api.ok("POST", f"/jobs/{job['id']}/rerun", 201, content=b"other input").json()
    assert api.ok("GET", f"/jobs/{third['id']}/input").content == b"other input"
    assert api.job(job["id"])["state"] == "succeeded"


def test_retryable_failures_are_tried_again(api, method):
    job = api.submit(method)
    for attempt in (1, 2):
        taken = api.take_one(method)
        assert taken["attempt"] == attempt
        got = api.work(taken, "fail", json={"code": "BUSY", "message": "later", "retryable": True}).json()
        assert got["state"] == "queued"
    taken = api.take_one(method)
    got = api.work(taken, "fail", json={"code": "BUSY", "message": "later", "retryable": True}).json()
    assert got["state"] == "failed" and got["attempts"] == 3
    assert [e["error"]["code"] for e in api.events(job["id"]) if e["type"] == "error"] == ["BUSY"] * 3


def test_retry_with_delay(api, method):
    api.submit(method)
    fail = {"code": "BUSY", "message": "later", "retryable": True}
    api.work(api.take_one(method), "fail", json={**fail, "delay": "300ms"})
    assert api.take_one(method)["attempt"] == 2
    api.submit(method)
    api.work(api.take_one(method), "fail", json={**fail, "delay": "1h"})
    assert api.take(method, wait="0s") == []


def test_a_lost_lease_goes_to_another_worker(api, method):
    job = api.submit(method)
    lost = api.take_one(method, lease="1s", worker="slow")
    other = api.take_one(method, wait="20s", worker="quick")
    assert other["id"] == lost["id"] == job["id"] and other["attempt"] == 2
    for verb, options in (
        ("extend", {"json": {"lease": "30s"}}),
        ("progress", {"json": 1}),
        ("log", {"content": b"x"}),
        ("complete", {"content": b"too late"}),
        ("fail", {"json": {"code": "x", "message": "y", "retryable": True}}),
    ):
        got = api.post(f"/jobs/{job['id']}/{verb}", headers={"Sb-Lease": lost["lease"]}, **options)
        problem(got, 409, "SB0402")
    api.work(other, "complete", content=b"mine")
    assert api.ok("GET", f"/jobs/{job['id']}/result").content == b"mine"
    got = api.post(f"/jobs/{job['id']}/complete", headers={"Sb-Lease": other["lease"]}, content=b"twice")
    assert got.status_code == 409
    problem(got, 409, ("SB0402", "SB0403"))


def test_attempts_run_out_by_lost_leases(api):
    name = f"{unique('once')}.v1.Runner/Run"
    api.put_method(name, attempts=1, timeout="60s")
    job = api.submit(name)
    api.take_one(name, lease="1s")
    until(lambda: api.job(job["id"])["state"] == "failed", timeout=20)
    assert api.take(name, wait="0s") == []


def test_progress_renews_the_lease(api, method):
    api.submit(method)
    taken = api.take_one(method, lease="2s")
    end = time.monotonic() + 2.6
    while time.monotonic() < end:
        api.work(taken, "progress", json=1)
        time.sleep(0.1)
    assert api.take(method, wait="0s") == []
    api.work(taken, "complete", content=b"")


@pytest.mark.parametrize("lease", [None, "", "x", "A" * 64])
def test_bad_leases(api, method, lease):
    api.submit(method)
    taken = api.take_one(method)
    headers = {} if lease is None else {"Sb-Lease": lease}
    got = api.post(f"/jobs/{taken['id']}/complete", headers=headers, content=b"x")
    assert got.status_code in (400, 409), got.text
    problem(got, got.status_code, ("SB0201", "SB0204", "SB0402"))
    assert api.job(taken["id"])["state"] == "running"


def test_a_lease_of_another_job(api, method):
    api.submit(method)
    api.submit(method)
    one, two = api.take_one(method), api.take_one(method)
    got = api.post(f"/jobs/{one['id']}/complete", headers={"Sb-Lease": two["lease"]}, content=b"x")
    assert got.status_code in (400, 409), got.text
    problem(got, got.status_code, ("SB0204", "SB0402"))


def test_timeout_expires_the_job(api, method):
    queued = api.submit(method, Sb_Timeout="200ms")
    until(lambda: api.job(queued["id"])["state"] == "expired", what="the deadline")
    problem(api.get(f"/jobs/{queued['id']}/result"), 504, "SB0408")
    running = api.submit(method, Sb_Timeout="1500ms")
    taken = api.take_one(method)
    assert taken["id"] == running["id"] and taken["deadline"]
    until(lambda: api.job(running["id"])["state"] == "expired", what="the deadline")
    got = api.post(f"/jobs/{running['id']}/complete", headers={"Sb-Lease": taken["lease"]}, content=b"x")
    assert got.status_code == 409
    problem(got, 409, ("SB0402", "SB0403"))


def test_idempotent_submit(api, method):
    key = unique("key")
    first = api.submit(method, b"a", Idempotency_Key=key)
    again = api.ok(
        "POST", f"/{method}", 202, content=b"a", headers={"Idempotency-Key": key, "Prefer": "respond-async"}
    )
    assert again.json()["id"] == first["id"] and again.headers["idempotency-replayed"] == "true"
    other = api.post(f"/{method}", content=b"b", headers={"Idempotency-Key": key, "Prefer": "respond-async"})
    problem(other, 422, "SB0306")
    assert len(api.ok("GET", "/jobs", params={"method": method}).json()["jobs"]) == 1


def test_delayed_submit(api, method):
    api.submit(method, b"much later", Sb_Delay="1h")
    assert api.take(method, wait="0s") == []
    api.submit(method, b"soon", Sb_Delay="300ms")
    assert body_of(api.take_one(method)) == b"soon"
    problem(
        api.post(f"/{method}", content=b"", headers={"Prefer": "respond-async", "Sb-Delay": "x"}), 400, "SB0201"
    )


def test_list_filters_and_pages_newest_first(api, method):
    jobs = [api.submit(method)["id"] for _ in range(7)]
    done = [finish(api, method)["id"] for _ in range(2)]
    everything = api.ok("GET", "/jobs", params={"method": method}).json()
    assert [j["id"] for j in everything["jobs"]] == jobs[::-1] and not everything.get("next")
    assert all("result" not in j for j in everything["jobs"])
    state = lambda s: {j["id"] for j in api.ok("GET", "/jobs", params={"method": method, "state": s}).json()["jobs"]}
    assert state("succeeded") == set(done) and state("queued") == set(jobs) - set(done) and state("failed") == set()
    seen, after = [], None
    while True:
        page = api.ok("GET", "/jobs", params={"method": method, "limit": 3, **({"after": after} if after else {})})
        seen += [j["id"] for j in page.json()["jobs"]]
        after = page.json().get("next")
        if not after:
            break
    assert seen == jobs[::-1]
    problem(api.get("/jobs", params={"state": "asleep"}), 400, "SB0201")


def test_same_key_one_after_another(api, method):
    first = api.submit(method, b"1", Sb_Key="k")
    second = api.submit(method, b"2", Sb_Key="k")
    other = api.submit(method, b"3", Sb_Key="other")
    taken = api.take(method, max=10)
    assert {j["id"] for j in taken} == {first["id"], other["id"]}
    assert api.take(method, wait="0s") == []
    (mine,) = [j for j in taken if j["id"] == first["id"]]
    assert mine["key"] == "k"
    api.work(mine, "complete", content=b"")
    assert api.take_one(method)["id"] == second["id"]


def test_take_declares_waits_and_takes_several(api):
    one, two = f"{unique('n')}.v1.A/Go", f"{unique('n')}.v1.B/Go"
    worker = background(
        lambda: api.ok("POST", "/jobs/take", json={"methods": [one, two], "max": 5, "wait": "25s"}).json()["jobs"]
    )
    until(lambda: {one, two} <= set(_names(api)))
    job = api.submit(two, b"x")
    assert [(j["id"], j["method"]) for j in worker.result()] == [(job["id"], two)]


def _names(api):
    found = []
    for entry in api.ok("GET", "/methods").json()["methods"]:
        for value in entry.values():
            if isinstance(value, str) and "/" in value:
                found.append(value)
    return found


def test_workers_never_share_a_job(api, method):
    jobs = {api.submit(method)["id"] for _ in range(30)}

    def work():
        mine = []
        while taken := api.take(method, max=3, wait="0s"):
            for job in taken:
                api.work(job, "complete", content=job["id"].encode())
                mine.append(job["id"])
        return mine

    workers = [background(work) for _ in range(4)]
    done = [ident for worker in workers for ident in worker.result()]
    assert sorted(done) == sorted(jobs)


def test_callback_is_refused(api, method):
    headers = {"Prefer": "respond-async", "Sb-Callback-Url": "https://example.com/"}
    problem(api.post(f"/{method}", content=b"", headers=headers), 501, "SB0209")


def test_unknown_jobs(api):
    for path in ("", "/result", "/input", "/events"):
        problem(api.get(f"/jobs/nothing{path}"), 404, "SB0401")
    problem(api.delete("/jobs/nothing"), 404, "SB0401")
    problem(api.post("/jobs/nothing/rerun"), 404, "SB0401")


@pytest.mark.parametrize(
    "body", [{}, {"methods": []}, {"methods": ["x"]}, {"methods": "a.B/C"}, {"methods": ["a.B/C"], "max": 0}, {"x": 1}]
)
def test_bad_takes(api, body):
    problem(api.post("/jobs/take", json={**body, "wait": "0s"} if body else body), 400, ("SB0201", "SB0202"))


def test_large_result(api, method):
    body = bytes(range(256)) * 4096
    api.submit(method, body)
    job = api.take_one(method)
    assert body_of(job) == body
    api.work(job, "complete", content=body)
    assert api.ok("GET", f"/jobs/{job['id']}/result").content == body
    problem(api.post(f"/{method}", content=body + b"x"), 413, "SB0205")
