"""docs/http.md §2, Read: polls, streams, cursors, wildcards, retention, single messages."""

import json
import time

import pytest

from sb import background, body_of, problem, unique, until


def fill(api, topic, count, start=0):
    body = "\n".join(str(i) for i in range(start, start + count))
    return api.publish(topic, body, params={"batch": "ndjson"})["messages"]


def numbers(answer):
    return [int(m["body"]) for m in answer["messages"]]


def test_short_poll_pages_to_the_end(api, topic):
    fill(api, topic, 25)
    seen, after = [], None
    while True:
        page = api.read(topic, limit=10, **({"after": after} if after else {}))
        if not page["messages"]:
            break
        assert len(page["messages"]) <= 10
        seen += numbers(page)
        after = page["next"]
    assert seen == list(range(25))
    fill(api, topic, 2, 25)
    assert numbers(api.read(topic, after=after)) == [25, 26]


def test_shape_of_a_message(api, topic):
    sent = api.publish(topic, "x", headers={"Content-Type": "text/plain", "Sb-Key": "k", "Sb-Header-a": "b"})
    (message,) = api.read(topic)["messages"]
    assert message == {
        "id": sent["id"],
        "topic": topic,
        "partition": 0,
        "offset": 0,
        "at": sent["at"],
        "key": "k",
        "headers": {"a": "b"},
        "content_type": "text/plain",
        "body": "x",
    }


def test_default_limit_is_100(api, topic):
    fill(api, topic, 130)
    assert numbers(api.read(topic)) == list(range(100))


def test_etag_and_not_modified(api, topic):
    fill(api, topic, 1)
    first = api.ok("GET", f"/topics/{topic}")
    tag = {"If-None-Match": first.headers["etag"]}
    same = api.get(f"/topics/{topic}", headers=tag)
    assert same.status_code == 304 and same.content == b"" and same.headers["etag"] == first.headers["etag"]
    fill(api, topic, 1, 1)
    later = api.ok("GET", f"/topics/{topic}", headers=tag)
    assert numbers(later.json()) == [0, 1] and later.headers["etag"] != first.headers["etag"]


def test_from_start_end_offset_last(api, topic):
    sent = fill(api, topic, 10)
    assert numbers(api.read(topic, from_="start")) == list(range(10))
    assert numbers(api.read(topic, from_="end")) == []
    assert numbers(api.read(topic, from_="offset:7")) == [7, 8, 9]
    assert numbers(api.read(topic, from_="offset:10")) == []
    assert numbers(api.read(topic, last=3)) == [7, 8, 9]
    assert numbers(api.read(topic, last=300)) == list(range(10))
    assert numbers(api.read(topic, after=sent[4]["id"])) == [5, 6, 7, 8, 9]
    assert numbers(api.read(topic, after=sent[4]["id"], limit=2)) == [5, 6]


def test_from_time(api, topic):
    api.publish(topic, "0")
    before = api.read(topic)["messages"][0]["at"]
    time.sleep(0.005)  # the clock of `at` has milliseconds; make the two differ
    second = api.publish(topic, "1")
    assert second["at"] > before
    assert numbers(api.read(topic, from_=f"time:{second['at']}")) == [1]
    assert numbers(api.read(topic, from_=f"time:{before}")) == [0, 1]
    assert numbers(api.read(topic, from_="-1h")) == [0, 1]
    assert numbers(api.read(topic, from_="time:2999-01-01T00:00:00Z")) == []


@pytest.mark.parametrize(
    "params",
    [
        {"from": "middle"},
        {"from": "offset:x"},
        {"from": "offset:-1"},
        {"from": "time:yesterday"},
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "many"},
        {"last": "-1"},
        {"last": "99999999999999999999999"},
        {"partition": "x"},
        {"partition": "4294967296"},
        {"frm": "start"},
    ],
)
def test_bad_parameters(api, topic, params):
    api.put_topic(topic)
    got = api.get(f"/topics/{topic}", params=params)
    assert got.status_code in (400, 404), f"{params}: {got.status_code} {got.text}"
    problem(got, got.status_code)


def test_one_partition(api, topic):
    api.put_topic(topic, partitions=3)
    for i in range(30):
        api.publish(topic, str(i), headers={"Sb-Key": str(i)})
    parts = [api.read(topic, partition=p, from_="start")["messages"] for p in range(3)]
    assert sorted(int(m["body"]) for part in parts for m in part) == list(range(30))
    for number, part in enumerate(parts):
        assert {m["partition"] for m in part} <= {number}
    together = api.read(topic, from_="start")["messages"]
    assert len(together) == 30 and len({m["id"] for m in together}) == 30
    paged, after = [], None
    while page := api.read(topic, limit=7, **({"after": after} if after else {})):
        if not page["messages"]:
            break
        paged += numbers(page)
        after = page["next"]
    assert sorted(paged) == list(range(30))


def test_read_and_wait_for_what_does_not_exist(api):
    stem = unique("near")
    api.put_topic(stem + "-orders")
    got = problem(api.get(f"/topics/{stem}-order"), 404, "SB0301")
    assert f"{stem}-orders" in got["detail"] + got["fix"]
    missing = unique("later")
    waited = api.ok("GET", f"/topics/{missing}", headers={"Prefer": "wait=0"})
    assert waited.json()["messages"] == []
    reader = background(lambda: api.read(missing, headers={"Prefer": "wait=20"}))
    until(lambda: api.publish(missing, "born") and reader.done)
    assert body_of(reader.result()["messages"][0]) == b"born"


def test_long_poll_wakes_at_once(api, topic):
    fill(api, topic, 3)
    after = api.read(topic)["next"]

    def wait():
        began = time.monotonic()
        answer = api.ok("GET", f"/topics/{topic}", params={"after": after}, headers={"Prefer": "wait=25"})
        return answer, time.monotonic() - began

    waiting = background(wait)
    time.sleep(0.1)  # most likely parked by now; the outcome is the same when it is not
    assert not waiting.done
    fill(api, topic, 1, 3)
    answer, took = waiting.result()
    assert numbers(answer.json()) == [3] and took < 10
    assert answer.headers["preference-applied"] == "wait=25" and answer.headers["etag"]


def test_long_poll_answers_at_once_when_there_is_something(api, topic):
    fill(api, topic, 2)
    began = time.monotonic()
    assert numbers(api.read(topic, from_="start", headers={"Prefer": "wait=25"})) == [0, 1]
    assert time.monotonic() - began < 10


def test_long_poll_ends_with_none(api, topic):
    fill(api, topic, 2)
    began = time.monotonic()
    answer = api.ok("GET", f"/topics/{topic}", headers={"Prefer": "wait=1"})
    assert answer.json()["messages"] == [] and 0.9 <= time.monotonic() - began < 10
    assert answer.headers["preference-applied"] == "wait=1"
    fill(api, topic, 1, 2)
    assert numbers(api.read(topic, after=answer.json()["next"])) == [2]  # where it waited is where it goes on


def test_many_long_polls_wake_together(api, topic):
    fill(api, topic, 1)
    after = api.read(topic)["next"]
    polls = [
        background(lambda: api.read(topic, after=after, headers={"Prefer": "wait=25"})) for _ in range(20)
    ]
    fill(api, topic, 1, 1)
    assert all(numbers(poll.result()) == [1] for poll in polls)


def test_sse_replays_then_follows(api, topic):
    sent = fill(api, topic, 3)
    with api.sse(f"/topics/{topic}", {"from": "start"}) as events:
        assert "no-" in events.response.headers.get("cache-control", "no-")
        assert [(e["data"], e["id"], e["event"]) for e in events.take(3)] == [
            (str(i), sent[i]["id"], "message") for i in range(3)
        ]
        live = api.publish(topic, "and on")
        got = events.next()
        assert (got["data"], got["id"]) == ("and on", live["id"])


def test_sse_starts_at_the_end(api, topic):
    fill(api, topic, 3)
    with api.sse(f"/topics/{topic}") as events:
        pulse = background(lambda: events.next()["data"])
        until(lambda: pulse.done or (api.publish(topic, "tick") and pulse.done))
        assert pulse.result() == "tick"


def test_last_counts_what_matches(api):
    """Through a wildcard over a topic that claims addresses, and over several partitions."""
    stem = unique("last")
    api.put_topic(f"{stem}-all", claims=[f"{stem}.>"], partitions=3)
    sent = {}
    for i in range(40):
        kind = "rare" if i % 10 == 0 else "often"
        place = api.publish(f"{stem}.{kind}", str(i), headers={"Sb-Key": f"k{i % 7}"})
        sent.setdefault(place["partition"], []).append(str(i).encode())
    assert sorted(api.bodies(f"{stem}.rare", last=2)) == [b"20", b"30"]
    assert sorted(api.bodies(f"{stem}.rare", last=100)) == [b"0", b"10", b"20", b"30"]
    # Which partition gives how many is by time, which may be the same in two; of each they are the newest, in order.
    for n in (1, 3, 25, 40):
        given = {}
        for message in api.read(f"{stem}-all", last=n)["messages"]:
            given.setdefault(message["partition"], []).append(body_of(message))
        assert sum(map(len, given.values())) == n
        assert all(sent[partition][-len(bodies) :] == bodies for partition, bodies in given.items())
    assert api.bodies(f"{stem}.none.*", last=5) == []
    with api.sse(f"/topics/{stem}.rare", {"last": 2}) as events:
        assert sorted(e["data"] for e in events.take(2)) == ["20", "30"]
        api.publish(f"{stem}.rare", "new")
        assert events.next()["data"] == "new"


def test_sse_resumes_behind_the_last_event(api, topic):
    sent = fill(api, topic, 10)
    with api.sse(f"/topics/{topic}", headers={"Last-Event-ID": sent[3]["id"]}) as events:
        assert [e["data"] for e in events.take(6)] == [str(i) for i in range(4, 10)]
    with api.sse(f"/topics/{topic}", {"after": sent[7]["id"]}) as events:
        assert [e["data"] for e in events.take(2)] == ["8", "9"]


def test_sse_lines_and_envelopes(api, topic):
    bodies = [b"one\ntwo\n", b"", b"cr\rhere", b"nul\x00", bytes(range(256)), "ä€".encode(), b" lead", b"\n", b":"]
    for body in bodies:
        api.publish(topic, body)
    with api.sse(f"/topics/{topic}", {"from": "start"}) as events:
        for body in bodies:
            got = events.next()
            if got["event"] == "envelope":
                assert body_of(json.loads(got["data"])) == body
                assert b"\r" in body or b"\0" in body or body == bytes(range(256))
            else:
                assert got["event"] == "message" and got["data"].encode() == body


def test_sse_envelope_for_all(api, topic):
    sent = api.publish(topic, "plain", headers={"Sb-Key": "k"})
    with api.sse(f"/topics/{topic}", {"from": "start", "envelope": ""}) as events:
        got = events.next()
        assert got["event"] == "envelope" and got["id"] == sent["id"]
        message = json.loads(got["data"])
        assert message["key"] == "k" and body_of(message) == b"plain" and message["id"] == sent["id"]


def test_sse_of_a_large_backlog_keeps_order(api, topic):
    fill(api, topic, 1000)
    fill(api, topic, 1000, 1000)
    with api.sse(f"/topics/{topic}", {"from": "start"}) as events:
        assert [int(e["data"]) for e in events.take(2000)] == list(range(2000))


def test_wildcards_read_several_topics(api):
    stem = unique("wild")
    for name in ("eu.created", "eu.paid", "us.created", "eu"):
        api.publish(f"{stem}.{name}", name)
    read = lambda pattern: sorted(m["body"] for m in api.read(pattern, from_="start")["messages"])
    assert read(f"{stem}.eu.*") == ["eu.created", "eu.paid"]
    assert read(f"{stem}.*.created") == ["eu.created", "us.created"]
    assert read(f"{stem}.>") == read(f"{stem}.%3E") == ["eu", "eu.created", "eu.paid", "us.created"]
    assert read(f"{stem}.eu.%23") == ["eu", "eu.created", "eu.paid"]
    assert read(f"{stem}.%23.created") == ["eu.created", "us.created"]
    with api.sse(f"/topics/{stem}.eu.>", {"from": "start"}) as events:
        assert {events.next()["data"], events.next()["data"]} == {"eu.created", "eu.paid"}


def test_wildcards_page_over_several_topics(api):
    stem = unique("page")
    for name in "abc":
        fill(api, f"{stem}.{name}", 20)
    seen, after = [], None
    while True:
        page = api.read(f"{stem}.*", limit=7, **({"after": after} if after else {}))
        if not page["messages"]:
            break
        seen += [(m["topic"], m["offset"]) for m in page["messages"]]
        after = page["next"]
    assert sorted(seen) == [(f"{stem}.{name}", i) for name in "abc" for i in range(20)]
    assert len(seen) == 60
    fill(api, f"{stem}.b", 1, 20)
    assert [(m["topic"], m["offset"]) for m in api.read(f"{stem}.*", after=after)["messages"]] == [(f"{stem}.b", 20)]


def test_wildcard_streams_see_new_topics(api):
    stem = unique("new")
    api.publish(f"{stem}.a", "first")
    with api.sse(f"/topics/{stem}.*", {"from": "start"}) as events:
        assert events.next()["data"] == "first"
        pulse = background(lambda: events.next()["data"])
        until(lambda: pulse.done or (api.publish(f"{stem}.b", "second") and pulse.done))
        assert pulse.result() == "second"


def test_patterns_filter_inside_claims(api):
    stem, owner = unique("claim"), unique("owner")
    api.put_topic(owner, claims=[f"{stem}.>"])
    for tail in ("eu.created", "us.created", "eu.paid"):
        api.publish(f"{stem}.{tail}", tail)
    assert api.bodies(f"{stem}.eu.*", from_="start") == [b"eu.created", b"eu.paid"]
    assert api.bodies(f"{stem}.*.created", from_="start") == [b"eu.created", b"us.created"]
    assert api.bodies(f"{stem}.us.created", from_="start") == [b"us.created"]
    assert len(api.bodies(owner, from_="start")) == 3


@pytest.mark.parametrize("pattern", ["%3E.a", "a..b", "a.%3E.b", "a*", "a.b*", "a%23b"])
def test_malformed_patterns(api, pattern):
    problem(api.get(f"/topics/{pattern}"), 400, "SB0202")


def test_tampered_cursors(api, topic):
    sent = fill(api, topic, 3)
    ident = sent[1]["id"]
    flipped = ident[:-3] + ("A" if ident[-3] != "A" else "B") + ident[-2:]
    for bad in (flipped, ident[:-1], ident + "A", "x", "0", "%00", "A" * 5000, ident[::-1]):
        problem(api.get(f"/topics/{topic}", params={"after": bad}), 400, "SB0204")
    answer = api.get(f"/topics/{topic}", headers={"Accept": "text/event-stream", "Last-Event-ID": flipped})
    problem(answer, 400, "SB0204")


def test_a_cursor_of_another_topic(api, topic):
    other = unique("other")
    ident = api.publish(other, "x")["id"]
    fill(api, topic, 2)
    problem(api.get(f"/topics/{topic}", params={"after": ident}), 400, "SB0204")


def test_gone_by_size(api, topic):
    api.put_topic(topic, keep_bytes=256 * 1024)
    first = api.publish(topic, b"a" * 60000)

    def shrunk():
        api.publish(topic, b"a" * 60000)
        return api.info(topic)["partition"][0]["start"] > 1

    until(shrunk, what="retention by size")
    got = problem(api.get(f"/topics/{topic}", params={"after": first["id"]}), 410, "SB0305")
    start = api.info(topic)["partition"][0]["start"]
    assert str(start) in got["detail"] + got["fix"] or f"offset:{start}" in got["fix"]
    problem(api.get(f"/topics/{topic}/messages/0-0"), 410, "SB0305")
    problem(api.get(f"/topics/{topic}", params={"from": "offset:0"}), 410, "SB0305")
    assert api.read(topic, from_="start", limit=1)["messages"][0]["offset"] == start
    with api.sse(f"/topics/{topic}", headers={"Last-Event-ID": first["id"]}) as events:
        got = events.next()
        assert got["event"] == "reset" and "SB0305" in got["data"]


def test_gone_by_age(api, topic):
    api.put_topic(topic, keep_age="300ms")
    first = api.publish(topic, "short")
    until(lambda: api.info(topic)["partition"][0]["start"] == 1, what="retention by age")
    assert api.info(topic)["messages"] == 0
    problem(api.get(f"/topics/{topic}/messages/0-0"), 410, "SB0305")
    got = api.get(f"/topics/{topic}", params={"after": first["id"]})
    assert got.status_code == 200 and got.json()["messages"] == []  # behind the last one is not gone


def test_gone_when_consumed(api, topic):
    api.put_topic(topic, keep_until_consumed=True)
    api.put_group(topic, "a")
    api.put_group(topic, "b")
    fill(api, topic, 3)
    api.ack(topic, "a", *api.lease(topic, "a", max=3))
    assert api.info(topic)["messages"] == 3
    api.ack(topic, "b", *api.lease(topic, "b", max=3))
    until(lambda: api.info(topic)["messages"] == 0, what="retention by consumption")


def test_single_messages(api, topic):
    fill(api, topic, 2)
    assert api.ok("GET", f"/topics/{topic}/messages/0-1").content == b"1"
    problem(api.get(f"/topics/{topic}/messages/0-2"), 404, "SB0304")
    problem(api.get(f"/topics/{topic}/messages/7-0"), 404, "SB0304")
    problem(api.get(f"/topics/{unique('no')}/messages/0-0"), 404, "SB0301")
    for bad in ("x", "0", "0-", "-1", "0--1", "0-99999999999999999999999"):
        got = api.get(f"/topics/{topic}/messages/{bad}")
        assert got.status_code in (400, 404), got.text
        problem(got, got.status_code)


def test_head_is_get_without_the_body(api, topic):
    fill(api, topic, 1)
    got = api.head(f"/topics/{topic}/messages/0-0")
    assert got.status_code == 200 and got.content == b"" and got.headers["sb-id"]


def test_a_read_is_capped_at_4_mib(api, topic):
    for _ in range(6):
        api.publish(topic, b"x" * (1 << 20))
    page = api.read(topic, limit=1000)
    assert 1 <= len(page["messages"]) <= 4
    total = len(page["messages"])
    while page["messages"]:
        page = api.read(topic, limit=1000, after=page["next"])
        total += len(page["messages"])
    assert total == 6
