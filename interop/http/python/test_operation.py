"""docs/http.md §6: health, metrics, status, documents."""

import re

from openapi_spec_validator import validate

from sb import unique


def test_health(api):
    for path in ("/livez", "/readyz"):
        got = api.ok("GET", path)
        assert got.text.strip() == "ok"
    assert api.ok("GET", "/readyz?verbose").text
    assert api.head("/livez").status_code == 200


def test_metrics_are_prometheus_text(api):
    api.publish(unique("m"), "x")
    got = api.ok("GET", "/metrics")
    assert got.headers["content-type"].startswith("text/plain")
    sample = re.compile(r'^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\])*",?)*\})? [-+0-9.eEInfNa]+( \d+)?$')
    seen, typed = set(), set()
    for line in got.text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in typed, f"{name} is declared twice"
            typed.add(name)
        elif line and not line.startswith("#"):
            assert sample.match(line), line
            key = line.rsplit(" ", 1)[0]
            assert key not in seen, f"{key} occurs twice"
            seen.add(key)
    assert len(typed) > 5 and got.text.endswith("\n")


def test_metrics_do_not_grow_with_names(api):
    """A label per topic or per path would let anybody fill the memory of whoever collects."""
    count = lambda: len(api.ok("GET", "/metrics").text.splitlines())
    before = count()
    for _ in range(50):
        api.publish(unique("many"), "x")
        api.get(f"/{unique('path')}/x/y/z")
    assert count() - before < 50


def test_status(api):
    topic = unique("s")
    api.put_group(topic, "g")
    before = api.ok("GET", "/status").json()
    api.publish(topic, "x")
    after = api.ok("GET", "/status").json()
    for member in ("version", "uptime", "node", "mode", "connections", "topics", "groups", "jobs", "messages_in"):
        assert member in after, member
    assert after["messages_in"] == before["messages_in"] + 1
    assert after["connections"] >= 1
    assert after["memory"]["used"] <= after["memory"]["budget"] and after["listeners"]
    assert after["journal_bytes"] > 0 and "messages_out" in after


PATHS = [
    "/topics", "/publish", "/groups", "/methods", "/jobs", "/jobs/take", "/tokens", "/livez", "/readyz", "/metrics", "/status",
]


def test_openapi(api):
    document = api.ok("GET", "/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    validate(document)
    for path in PATHS:
        assert path in document["paths"], path
    shapes = {re.sub(r"\{[^}]*\}", "{}", path) for path in document["paths"]}
    for shape in (
        "/topics/{}", "/topics/{}/info", "/topics/{}/groups/{}", "/topics/{}/groups/{}/lease", "/topics/{}/groups/{}/ack",
        "/topics/{}/groups/{}/nack", "/topics/{}/groups/{}/extend", "/topics/{}/groups/{}/peek", "/topics/{}/groups/{}/seek",
        "/topics/{}/groups/{}/commit", "/methods/{}/{}", "/jobs/{}", "/jobs/{}/events", "/jobs/{}/result", "/jobs/{}/input",
        "/jobs/{}/rerun", "/jobs/{}/extend", "/jobs/{}/progress", "/jobs/{}/log", "/jobs/{}/complete", "/jobs/{}/fail",
    ):
        assert shape in shapes, shape
    names = [op["operationId"] for item in document["paths"].values() for op in item.values() if isinstance(op, dict) and "operationId" in op]
    assert len(names) == len(set(names)) > 20


def test_console_and_docs(api):
    got = api.get("/console/", follow_redirects=True)
    assert got.status_code == 200 and got.headers["content-type"].startswith("text/html")
    got = api.get("/docs/errors", follow_redirects=True)
    assert got.status_code == 200 and got.headers["content-type"].startswith("text/html")
    assert 'id="SB0301"' in got.text
    assert "text/markdown" in api.ok("GET", "/docs/errors.md").headers["content-type"]
    index = api.get("/docs", follow_redirects=True)
    assert index.status_code == 200
    for path in re.findall(r'href="([^"#]+)"', index.text + api.ok("GET", "/docs/patterns/").text.replace('href="', 'href="/docs/patterns/')):
        if "://" not in path and not path.startswith("/docs/patterns//"):
            api.ok("GET", path)
