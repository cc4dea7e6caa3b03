"""docs/http.md §3: leases, acks, returns, dead letters, order, seek, the figures."""

import time

import httpx
import pytest

from sb import background, body_of, problem, unique, until


def fill(api, topic, count):
    for i in range(count):
        api.publish(topic, str(i))


def names(messages):
    return [body_of(m).decode() for m in messages]


def depth(api, topic, group):
    got = api.group(topic, group)
    assert got["depth"] == got["ready"] + got["leased"] + got["delayed"]
    return got


def test_create_describe_change_delete(api, topic):
    made = api.put_group(topic, "g", attempts=3, lease="10s", backoff="1s")
    assert (made["topic"], made["name"], made["mode"], made["attempts"]) == (topic, "g", "queue", 3)
    assert made["lease"] == "10s" and made["backoff"] == "1s" and made["order"] == "none"
    assert [made[k] for k in ("ready", "leased", "delayed", "acked", "dead", "expired", "depth")] == [0] * 7
    assert made["position"] == [{"partition": 0, "floor": 0, "end": 0}]
    assert api.info(topic)["groups"] == 1  # the topic was created too
    assert api.put_group(topic, "g", status=200, attempts=5)["attempts"] == 5
    api.ok("DELETE", f"/topics/{topic}/groups/g", 204)
    problem(api.get(f"/topics/{topic}/groups/g"), 404, "SB0303")
    problem(api.post(f"/topics/{topic}/groups/g/lease", json={"wait": "0s"}), 404, "SB0303")


def test_list(api, topic):
    other = unique("other")
    for name in ("a", "b", "c"):
        api.put_group(topic, name)
    api.put_group(other, "a")
    listed = api.ok("GET", "/groups", params={"topic": topic}).json()
    assert [(g["topic"], g["name"]) for g in listed["groups"]] == [(topic, n) for n in "abc"]
    page = api.ok("GET", "/groups", params={"topic": topic, "limit": 2}).json()
    assert [g["name"] for g in page["groups"]] == ["a", "b"] and page["next"] == f"{topic}/b"
    page = api.ok("GET", "/groups", params={"topic": topic, "after": page["next"]}).json()
    assert [g["name"] for g in page["groups"]] == ["c"] and not page.get("next")


def test_start_positions(api, topic):
    fill(api, topic, 3)
    api.put_group(topic, "all")
    api.put_group(topic, "new", start="end")
    api.put_group(topic, "some", start="offset:2")
    assert api.group(topic, "all")["ready"] == 3
    assert api.group(topic, "new")["ready"] == 0
    assert names(api.lease(topic, "some", max=10)) == ["2"]


def test_lease_and_ack(api, topic):
    fill(api, topic, 3)
    api.put_group(topic, "g")
    taken = api.lease(topic, "g", max=2, consumer="c1")
    assert names(taken) == ["0", "1"] and all(m["attempt"] == 1 for m in taken)
    assert all(m["lease_until"].endswith("Z") and m["handle"] and m["id"] for m in taken)
    got = depth(api, topic, "g")
    assert (got["ready"], got["leased"], got["acked"]) == (1, 2, 0)
    results = api.ack(topic, "g", *taken)
    assert results == [{"handle": m["handle"], "ok": True} for m in taken]
    got = depth(api, topic, "g")
    assert (got["ready"], got["leased"], got["acked"], got["depth"]) == (1, 0, 2, 1)
    assert names(api.lease(topic, "g", max=10)) == ["2"]
    assert api.lease(topic, "g", wait="0s") == []


def test_ack_out_of_order_moves_the_floor_when_it_can(api, topic):
    fill(api, topic, 3)
    api.put_group(topic, "g")
    a, b, c = api.lease(topic, "g", max=3)
    api.ack(topic, "g", c, b)
    assert api.group(topic, "g")["position"] == [{"partition": 0, "floor": 0, "end": 3}]
    api.ack(topic, "g", a)
    assert api.group(topic, "g")["position"] == [{"partition": 0, "floor": 3, "end": 3}]


def test_two_consumers_share_and_never_overlap(api, topic):
    api.put_topic(topic)
    api.put_group(topic, "g")
    fill(api, topic, 60)

    def consume():
        mine = []
        while messages := api.lease(topic, "g", max=5, wait="0s"):
            api.ack(topic, "g", *messages)
            mine += names(messages)
        return mine

    parts = [background(consume) for _ in range(4)]
    everything = [name for part in parts for name in part.result()]
    assert sorted(everything, key=int) == [str(i) for i in range(60)]
    assert depth(api, topic, "g")["acked"] == 60


def test_lease_waits_for_a_message(api, topic):
    api.put_group(topic, "g")
    waiting = background(lambda: api.lease(topic, "g", wait="25s"))
    time.sleep(0.05)
    api.publish(topic, "woken")
    assert names(waiting.result()) == ["woken"]
    began = time.monotonic()
    assert api.lease(topic, "g", wait="300ms") == []
    assert 0.25 < time.monotonic() - began < 10


def test_groups_are_independent(api, topic):
    fill(api, topic, 2)
    api.put_group(topic, "a")
    api.put_group(topic, "b")
    api.ack(topic, "a", *api.lease(topic, "a", max=2))
    assert names(api.lease(topic, "b", max=2)) == ["0", "1"]
    assert depth(api, topic, "b")["acked"] == 0


def test_nack_returns_at_once_and_counts(api, topic):
    fill(api, topic, 1)
    api.put_group(topic, "g")
    (first,) = api.lease(topic, "g")
    assert api.nack(topic, "g", first)[0]["ok"] is True
    (again,) = api.lease(topic, "g")
    assert names([again]) == ["0"] and again["attempt"] == 2 and again["handle"] != first["handle"]
    assert again["id"] == first["id"]


def test_nack_with_delay(api, topic):
    fill(api, topic, 1)
    api.put_group(topic, "g")
    (first,) = api.lease(topic, "g")
    api.nack(topic, "g", first, delay="1h")
    got = depth(api, topic, "g")
    assert (got["ready"], got["leased"], got["delayed"]) == (0, 0, 1)
    assert api.lease(topic, "g", wait="0s") == []
    api.publish(topic, "soon")
    (second,) = api.lease(topic, "g")
    api.nack(topic, "g", second, delay="300ms")
    (again,) = api.lease(topic, "g", wait="10s")
    assert names([again]) == ["soon"] and again["attempt"] == 2


def test_extend_keeps_the_lease(api, topic):
    fill(api, topic, 1)
    api.put_group(topic, "g")
    (message,) = api.lease(topic, "g", lease="1s")
    results = api.at(topic, "g", "extend", handles=[message["handle"]], lease="1h")["results"]
    assert results[0]["ok"] is True and results[0]["handle"] == message["handle"]
    assert api.lease(topic, "g", wait="1500ms") == []  # past the first term
    assert api.ack(topic, "g", message)[0]["ok"] is True


def test_expired_leases_are_handed_out_again(api, topic):
    fill(api, topic, 1)
    api.put_group(topic, "g")
    (lost,) = api.lease(topic, "g", lease="1s")
    (again,) = api.lease(topic, "g", wait="20s")
    assert again["attempt"] == 2 and again["id"] == lost["id"]
    stale = api.post(f"/topics/{topic}/groups/g/ack", json={"handles": [lost["handle"]]})
    problem(stale, 409, "SB0402")
    assert api.ack(topic, "g", again)[0]["ok"] is True
    assert depth(api, topic, "g")["acked"] == 1


def test_extend_without_a_length_takes_that_of_the_group(api, topic):
    api.put_group(topic, "g", lease="1h")
    fill(api, topic, 1)
    (message,) = api.lease(topic, "g", lease="1s")
    assert api.at(topic, "g", "extend", handles=[message["handle"]])["results"][0]["ok"] is True
    time.sleep(1.3)
    assert api.group(topic, "g")["leased"] == 1


@pytest.mark.parametrize("verb", ["ack", "nack", "extend"])
def test_stale_handles(api, topic, verb):
    fill(api, topic, 2)
    api.put_group(topic, "g")
    gone, held = api.lease(topic, "g", max=2)
    api.ack(topic, "g", gone)
    more = {"lease": "30s"} if verb == "extend" else {}
    mixed = api.at(topic, "g", verb, handles=[gone["handle"], held["handle"]], **more)["results"]
    assert [(r["handle"], r["ok"]) for r in mixed] == [(gone["handle"], False), (held["handle"], True)]
    assert mixed[0]["code"] == "SB0402"
    problem(api.post(f"/topics/{topic}/groups/g/{verb}", json={"handles": [gone["handle"]], **more}), 409, "SB0402")


def test_foreign_and_forged_handles(api, topic):
    fill(api, topic, 1)
    api.put_group(topic, "g")
    api.put_group(topic, "h")
    (of_g,) = api.lease(topic, "g")
    handle = of_g["handle"]
    forged = handle[:-2] + ("AA" if handle[-2:] != "AA" else "BB")
    for group, bad in (("h", handle), ("g", forged), ("g", "x"), ("g", "")):
        got = api.post(f"/topics/{topic}/groups/{group}/ack", json={"handles": [bad]})
        assert got.status_code in (400, 409), got.text
        problem(got, got.status_code, ("SB0204", "SB0402"))
    assert api.ack(topic, "g", of_g)[0]["ok"] is True


def test_attempts_lead_to_the_dead_letter_topic(api, topic):
    dead = unique("dead")
    body = bytes(range(256))
    api.publish(topic, body, headers={"Content-Type": "image/x", "Sb-Key": "k", "Sb-Header-a": "b"})
    api.put_group(topic, "g", attempts=2, dead_letter=dead)
    for attempt in (1, 2):
        (message,) = api.lease(topic, "g")
        assert message["attempt"] == attempt
        api.nack(topic, "g", message)
    got = until(lambda: (lambda g: g if g["dead"] else None)(depth(api, topic, "g")), what="the dead letter")
    assert (got["dead"], got["depth"]) == (1, 0)
    assert api.lease(topic, "g", wait="0s") == []
    (moved,) = api.read(dead, from_="start")["messages"]
    assert body_of(moved) == body and moved["key"] == "k" and moved["content_type"] == "image/x"
    headers = moved["headers"]
    assert headers["a"] == "b" and headers["sb-dead-topic"] == topic and headers["sb-dead-group"] == "g"
    assert str(headers["sb-dead-attempts"]) == "2" and headers["sb-dead-reason"]


def test_expiry_of_the_last_attempt_is_dead_too(api, topic):
    dead = unique("dead")
    fill(api, topic, 1)
    api.put_group(topic, "g", attempts=1, dead_letter=dead)
    assert len(api.lease(topic, "g", lease="1s")) == 1
    until(lambda: api.group(topic, "g")["dead"] == 1, what="the dead letter")
    assert names(api.read(dead, from_="start")["messages"]) == ["0"]


def test_dead_at_once_and_dead_without_a_topic(api, topic):
    dead = unique("dead")
    fill(api, topic, 2)
    api.put_group(topic, "g", dead_letter=dead)
    api.put_group(topic, "h", attempts=1)
    api.nack(topic, "g", api.lease(topic, "g")[0], dead=True)
    until(lambda: depth(api, topic, "g")["dead"], what="the dead letter")
    assert names(api.read(dead, from_="start")["messages"]) == ["0"]
    api.nack(topic, "h", api.lease(topic, "h")[0])
    got = depth(api, topic, "h")
    assert (got["dead"], got["ready"]) == (1, 1)
    assert depth(api, topic, "g")["dead"] == 1


def test_backoff_delays_an_automatic_return(api, topic):
    fill(api, topic, 1)
    api.put_group(topic, "g", backoff="1h")
    api.lease(topic, "g", lease="1s")
    until(lambda: api.group(topic, "g")["delayed"] == 1, what="the backoff")
    assert api.lease(topic, "g", wait="0s") == []


def test_order_per_key(api, topic):
    api.put_topic(topic)
    api.put_group(topic, "g", order="key")
    for body, key in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("free1", None), ("free2", None)):
        api.publish(topic, body, headers={"Sb-Key": key} if key else None)
    first = api.lease(topic, "g", max=10)
    assert sorted(names(first)) == ["a1", "b1", "free1", "free2"]
    assert api.lease(topic, "g", max=10, wait="0s") == []
    by = {body_of(m): m for m in first}
    api.nack(topic, "g", by[b"a1"])
    (again,) = api.lease(topic, "g", max=10)
    assert names([again]) == ["a1"]  # a return does not let the next of its key pass
    api.ack(topic, "g", again)
    assert names(api.lease(topic, "g", max=10)) == ["a2"]


def test_peek_does_not_take(api, topic):
    fill(api, topic, 5)
    api.put_group(topic, "g")
    before = api.group(topic, "g")
    for _ in range(3):
        peeked = api.ok("GET", f"/topics/{topic}/groups/g/peek", params={"limit": 3}).json()["messages"]
        assert names(peeked) == ["0", "1", "2"] and "handle" not in peeked[0]
    assert api.group(topic, "g") == before
    assert api.lease(topic, "g")[0]["attempt"] == 1


def test_seek(api, topic):
    sent = [api.publish(topic, str(i)) for i in range(10)]
    api.put_group(topic, "g")
    held = api.lease(topic, "g", max=4)
    api.ack(topic, "g", *held[:2])
    dry = api.at(topic, "g", "seek", to="end", dry_run=True)
    assert dry == {"skipped": 8, "again": 0}
    assert depth(api, topic, "g")["leased"] == 2
    assert api.at(topic, "g", "seek", to="end") == {"skipped": 8, "again": 0}
    assert depth(api, topic, "g")["depth"] == 0
    stale = api.post(f"/topics/{topic}/groups/g/ack", json={"handles": [held[2]["handle"]]})
    problem(stale, 409, "SB0402")  # outstanding leases ended
    assert api.at(topic, "g", "seek", to="start")["again"] == 10
    assert names(api.lease(topic, "g", max=20)) == [str(i) for i in range(10)]
    api.at(topic, "g", "seek", to="offset:7")
    assert names(api.lease(topic, "g", max=20)) == ["7", "8", "9"]
    api.at(topic, "g", "seek", to=f"time:{sent[0]['at']}")
    assert len(api.lease(topic, "g", max=20)) == 10
    api.at(topic, "g", "seek", to="-1h")
    assert len(api.lease(topic, "g", max=20)) == 10
    problem(api.post(f"/topics/{topic}/groups/g/seek", json={"to": "nowhere"}), 400, "SB0201")


def test_seek_one_partition(api, topic):
    api.put_topic(topic, partitions=2)
    for i in range(20):
        api.publish(topic, str(i), headers={"Sb-Key": str(i)})
    ends = [p["end"] for p in api.info(topic)["partition"]]
    api.put_group(topic, "g")
    got = api.at(topic, "g", "seek", to="end", partition=0)
    assert got == {"skipped": ends[0], "again": 0}
    assert depth(api, topic, "g")["ready"] == ends[1]


def test_cursor_mode(api, topic):
    sent = [api.publish(topic, str(i)) for i in range(5)]
    api.put_group(topic, "c", mode="cursor")
    api.at(topic, "c", "commit", cursor=sent[2]["id"])
    assert api.group(topic, "c")["position"] == [{"partition": 0, "floor": 3, "end": 5}]
    problem(api.post(f"/topics/{topic}/groups/c/lease", json={"wait": "0s"}), 409, "SB0308")
    flipped = sent[2]["id"][:-2] + ("AA" if sent[2]["id"][-2:] != "AA" else "BB")
    problem(api.post(f"/topics/{topic}/groups/c/commit", json={"cursor": flipped}), 400, "SB0204")
    api.put_group(topic, "q")
    problem(api.post(f"/topics/{topic}/groups/q/commit", json={"cursor": sent[0]["id"]}), 409, "SB0308")


def test_figures_are_exact_through_a_mixed_life(api, topic):
    api.put_topic(topic)
    api.put_group(topic, "g", attempts=3, dead_letter=unique("dead"))
    fill(api, topic, 20)
    taken = api.lease(topic, "g", max=12)
    api.ack(topic, "g", *taken[:5])
    api.nack(topic, "g", *taken[5:7])
    api.nack(topic, "g", *taken[7:9], delay="1h")
    api.nack(topic, "g", taken[9], dead=True)
    # a dead message counts as delayed until it has arrived in the dead-letter topic
    got = until(lambda: (lambda g: g if g["dead"] else None)(depth(api, topic, "g")))
    assert {k: got[k] for k in ("ready", "leased", "delayed", "acked", "dead", "expired", "depth")} == {
        "ready": 10,
        "leased": 2,
        "delayed": 2,
        "acked": 5,
        "dead": 1,
        "expired": 0,
        "depth": 14,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "stack"},
        {"lease": "100ms"},
        {"lease": "13h"},
        {"attempts": -1},
        {"order": "random"},
        {"start": "middle"},
        {"dead_letter": "a b"},
        {"colour": "red"},
    ],
)
def test_bad_options(api, topic, options):
    problem(api.put(f"/topics/{topic}/groups/g", json=options), 400, ("SB0201", "SB0202"))
    problem(api.put(f"/topics/{topic}/groups/-g", json={}), 400, "SB0202")


@pytest.mark.parametrize("body", [{"max": 0}, {"max": 1001}, {"max": "x"}, {"wait": "soon"}, {"lease": "13h"}, {"x": 1}])
def test_bad_leases(api, topic, body):
    api.put_group(topic, "g")
    problem(api.post(f"/topics/{topic}/groups/g/lease", json=body), 400, "SB0201")


def test_groups_need_their_topic(api, topic):
    problem(api.get(f"/topics/{topic}/groups/g"), 404, ("SB0301", "SB0303"))
    problem(api.post(f"/topics/{topic}/groups/g/lease", json={"wait": "0s"}), 404, ("SB0301", "SB0303"))


def test_a_lease_ends_with_its_waiting_client(api, topic):
    """A consumer that went away while it waited must not swallow the next message."""
    api.put_group(topic, "g")
    with api.server.api(timeout=0.3) as hasty:
        with pytest.raises(httpx.TimeoutException):
            hasty.post(f"/topics/{topic}/groups/g/lease", json={"wait": "30s", "lease": "1h"})

    def none_waits():  # the server notices the closed connection in its own time
        api.publish(topic, "x")
        return api.lease(topic, "g", wait="1s")

    assert until(none_waits, timeout=10)
