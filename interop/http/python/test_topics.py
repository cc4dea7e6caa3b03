"""docs/http.md §2: declaring topics, their policy, their list, their claims."""

import pytest

from sb import body_of, problem, unique


def test_create_describe_replace_delete(api, topic):
    made = api.put_topic(topic, keep_age="7d", keep_bytes=1 << 30, partitions=2)
    assert made["name"] == topic and made["keep_age"] == "7d" and made["keep_bytes"] == 1 << 30
    assert made["partitions"] == 2 and made["messages"] == 0 and made["groups"] == 0
    assert [p["partition"] for p in made["partition"]] == [0, 1]
    assert all(p["start"] == 0 and p["end"] == 0 for p in made["partition"])
    assert made["created"].endswith("Z") and len(made["created"]) == 24
    replaced = api.put_topic(topic, status=200, partitions=2, keep_age="1h")
    assert replaced["keep_age"] == "1h" and replaced.get("keep_bytes") is None
    assert api.info(topic)["keep_age"] == "1h"
    api.ok("DELETE", f"/topics/{topic}", 204)
    problem(api.get(f"/topics/{topic}/info"), 404, "SB0301")
    problem(api.delete(f"/topics/{topic}"), 404, "SB0301")


def test_put_without_a_body_takes_the_defaults(api, topic):
    made = api.ok("PUT", f"/topics/{topic}", 201, json={}).json()
    assert made["partitions"] == 1 and made["memory"] is False and made["keep_until_consumed"] is False
    assert made["max_message"] == 1 << 20


def test_create_only(api, topic):
    first = api.put(f"/topics/{topic}", json={}, headers={"If-None-Match": "*"})
    assert first.status_code == 201
    problem(api.put(f"/topics/{topic}", json={}, headers={"If-None-Match": "*"}), 412, "SB0210")


def test_patch_changes_only_what_it_names(api, topic):
    api.put_topic(topic, keep_age="7d", keep_bytes=1000000)
    got = api.ok("PATCH", f"/topics/{topic}", json={"keep_bytes": 2000000}).json()
    assert got["keep_age"] == "7d" and got["keep_bytes"] == 2000000
    problem(api.patch(f"/topics/{unique('none')}", json={"keep_bytes": 1}), 404, "SB0301")


def test_info_has_an_etag_that_moves_with_the_topic(api, topic):
    api.put_topic(topic)
    first = api.ok("GET", f"/topics/{topic}/info")
    assert first.headers["etag"]
    again = api.get(f"/topics/{topic}/info", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    api.publish(topic, "x")
    later = api.ok("GET", f"/topics/{topic}/info", headers={"If-None-Match": first.headers["etag"]})
    assert later.headers["etag"] != first.headers["etag"]
    assert later.json()["messages"] == 1 and later.json()["partition"][0]["end"] == 1
    assert later.json()["partition"][0]["bytes"] > 0


def test_delete_takes_messages_and_groups_along(api, topic):
    api.publish(topic, "old")
    api.put_group(topic, "g")
    api.ok("DELETE", f"/topics/{topic}", 204)
    problem(api.get(f"/topics/{topic}"), 404, "SB0301")
    api.put_topic(topic)
    assert api.bodies(topic, from_="start") == []
    problem(api.get(f"/topics/{topic}/groups/g"), 404, "SB0303")


def test_list_by_prefix_and_page(api):
    stem = unique("list")
    names = sorted(f"{stem}-{i}" for i in range(7))
    for name in names:
        api.put_topic(name)
    everything = api.ok("GET", "/topics", params={"prefix": stem + "-"}).json()
    assert [t["name"] for t in everything["topics"]] == names and not everything.get("next")
    seen, after = [], None
    while True:
        page = api.ok("GET", "/topics", params={"prefix": stem + "-", "limit": 3, **({"after": after} if after else {})})
        page = page.json()
        assert len(page["topics"]) <= 3
        seen += [t["name"] for t in page["topics"]]
        after = page.get("next")
        if not after:
            break
    assert seen == names
    for limit in ("0", "1001", "-1", "x"):
        problem(api.get("/topics", params={"limit": limit}), 400, "SB0201")


OVERLAPS = [
    ("S.>", "S.a"),
    ("S.>", "S.*.b"),
    ("S.*", "S.a"),
    ("S.a.#", "S.*"),
    ("S.#", "S.>"),
    ("S.*.c", "S.b.*"),
    ("S.a", "S.a"),
]


@pytest.mark.parametrize("mine,theirs", OVERLAPS)
def test_overlapping_claims_are_refused_by_name(api, mine, theirs):
    stem = unique("own")
    first = unique("first")
    api.put_topic(first, claims=[mine.replace("S", stem)])
    other = unique("other")
    got = problem(api.put(f"/topics/{other}", json={"claims": [theirs.replace("S", stem)]}), 409, "SB0302")
    assert first in got["detail"]
    problem(api.get(f"/topics/{other}/info"), 404, "SB0301")


def test_claims_that_do_not_overlap_live_together(api):
    stem = unique("sep")
    api.put_topic(unique("a"), claims=[f"{stem}.*"])
    api.put_topic(unique("b"), claims=[f"{stem}.*.*"])
    api.put_topic(unique("c"), claims=[f"{stem}.x.y.z", f"{stem}.p.q.>"])
    problem(api.put(f"/topics/{unique('d')}", json={"claims": [f"{stem}.p.#"]}), 409, "SB0302")


def test_a_topic_named_inside_a_claim_is_refused(api):
    stem = unique("in")
    owner = unique("owner")
    api.put_topic(owner, claims=[f"{stem}.>"])
    assert owner in problem(api.put(f"/topics/{stem}.inner", json={}), 409, "SB0302")["detail"]


def test_claimed_addresses_reach_the_claiming_topic(api):
    stem, owner = unique("cl"), unique("owner")
    api.put_topic(owner, claims=[f"{stem}.>"])
    got = api.publish(f"{stem}.eu.created", "one")
    assert got["topic"] == owner
    message = api.read(owner, from_="start")["messages"][0]
    assert message["topic"] == owner and message["address"] == f"{stem}.eu.created" and body_of(message) == b"one"
    own = api.publish(owner, "two")
    assert "address" not in api.read(owner, after=got["id"])["messages"][0] and own["offset"] == 1
    api.ok("DELETE", f"/topics/{owner}", 204)
    api.put_topic(unique("next"), claims=[f"{stem}.>"])  # the claims went with their topic


def test_claims_can_be_patched(api):
    stem, owner = unique("pc"), unique("owner")
    api.put_topic(owner, claims=[f"{stem}.a"])
    api.ok("PATCH", f"/topics/{owner}", json={"claims": [f"{stem}.b.>"]})
    assert api.publish(f"{stem}.b.c", "x")["topic"] == owner
    assert api.publish(f"{stem}.a", "x")["topic"] == f"{stem}.a"


def test_partitions_grow_and_never_shrink(api, topic):
    api.put_topic(topic, partitions=2)
    assert api.ok("PATCH", f"/topics/{topic}", json={"partitions": 4}).json()["partitions"] == 4
    got = api.patch(f"/topics/{topic}", json={"partitions": 3})
    assert got.status_code in (400, 409), got.text
    problem(got, got.status_code)
    assert api.info(topic)["partitions"] == 4


def test_memory_cannot_be_changed(api, topic):
    api.put_topic(topic, memory=True)
    got = api.patch(f"/topics/{topic}", json={"memory": False})
    assert got.status_code in (400, 409), got.text
    problem(got, got.status_code)
    assert api.info(topic)["memory"] is True


def test_a_memory_topic_behaves_like_any_other(api, topic):
    api.put_topic(topic, memory=True)
    api.put_group(topic, "g")
    assert api.publish(topic, "kept while we run")["offset"] == 0
    (message,) = api.lease(topic, "g")
    assert body_of(message) == b"kept while we run"
    assert api.ack(topic, "g", message)[0]["ok"] is True
    assert api.bodies(topic) == [b"kept while we run"]


def test_key_chooses_the_partition_and_offsets_are_dense(api, topic):
    api.put_topic(topic, partitions=4)
    where = {}
    for i in range(60):
        got = api.publish(topic, str(i), headers={"Sb-Key": f"k{i % 10}"})
        assert where.setdefault(i % 10, got["partition"]) == got["partition"]
    assert len(set(where.values())) > 1
    info = api.info(topic)
    assert sum(p["end"] for p in info["partition"]) == 60 == info["messages"]
    for partition in range(4):
        offsets = [m["offset"] for m in api.read(topic, partition=partition, limit=100, from_="start")["messages"]]
        assert offsets == list(range(info["partition"][partition]["end"]))


def test_max_message_of_a_topic(api, topic):
    api.put_topic(topic, max_message=100)
    api.publish(topic, b"x" * 100)
    problem(api.post(f"/topics/{topic}", content=b"x" * 101), 413, "SB0205")


@pytest.mark.parametrize("name", ["-x", ".x", "_x", "a%20b", "a%2Fb", "a%00b", "%C3%A4", "x" * 201, "a%2Ab", "a%23"])
def test_illegal_names(api, name):
    got = api.put(f"/topics/{name}", json={})
    assert got.status_code in (400, 404), got.text
    problem(got, got.status_code, ("SB0202", "SB0203", "SB0206"))


def test_the_longest_name(api):
    name = unique("n").ljust(200, "z")
    api.put_topic(name)
    assert api.info(name)["name"] == name


@pytest.mark.parametrize(
    "policy",
    [
        {"colour": "red"},
        {"partitions": 0},
        {"partitions": -1},
        {"partitions": "two"},
        {"partitions": 1e40},
        {"keep_age": "soon"},
        {"keep_age": "-5s"},
        {"keep_bytes": -1},
        {"claims": "a"},
        {"claims": ["a..b"]},
        {"claims": [">.a"]},
        {"memory": 1},
        {"max_message": 65 << 20},
        [],
        None,
        "x",
    ],
)
def test_bad_policies(api, topic, policy):
    problem(api.put(f"/topics/{topic}", json=policy), 400, ("SB0201", "SB0202"))
    problem(api.get(f"/topics/{topic}/info"), 404, "SB0301")
