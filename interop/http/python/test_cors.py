"""docs/http.md §6, CORS: exact origins, the preflight, what a page may send and see."""

import pytest

from sb import config, unique

CONFIG = config('[http]\norigins = ["https://app.example", "http://localhost:3000"]\n')
GOOD = ["https://app.example", "http://localhost:3000"]
BAD = ["https://evil.example", "https://app.example.evil", "https://app.example:8443", "http://app.example", "null"]
ASKED = ["Authorization", "Content-Type", "Idempotency-Key", "Prefer", "Sb-Key", "Sb-Delay", "Last-Event-ID", "Sb-Lease"]
SHOWN = ["Location", "ETag", "Retry-After", "Idempotency-Replayed", "Preference-Applied", "Sb-Id", "Sb-Key", "Sb-At"]


def preflight(api, origin, method="POST", headers=", ".join(ASKED).lower()):
    sent = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        sent["Access-Control-Request-Headers"] = headers
    return api.options(f"/topics/{unique('x')}", headers=sent)


@pytest.mark.parametrize("origin", GOOD)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_preflight(api, origin, method):
    got = preflight(api, origin, method)
    assert got.status_code in (200, 204) and got.content == b""
    assert got.headers["access-control-allow-origin"] == origin
    assert method in got.headers["access-control-allow-methods"]
    allowed = {h.strip().lower() for h in got.headers["access-control-allow-headers"].split(",")}
    assert {h.lower() for h in ASKED} <= allowed
    assert "origin" in got.headers["vary"].lower()


@pytest.mark.parametrize("origin", BAD)
def test_preflight_of_others(api, origin):
    got = preflight(api, origin)
    assert "access-control-allow-origin" not in got.headers


@pytest.mark.parametrize("origin", GOOD)
def test_answers_and_errors_can_be_read(api, origin):
    topic = unique("cors")
    made = api.post(f"/topics/{topic}", content=b"x", headers={"Origin": origin})
    assert made.status_code == 201
    for got in (made, api.get(f"/topics/{unique('none')}", headers={"Origin": origin})):
        assert got.headers["access-control-allow-origin"] == origin
        assert "origin" in got.headers["vary"].lower()
        shown = {h.strip().lower() for h in got.headers["access-control-expose-headers"].split(",")}
        assert {h.lower() for h in SHOWN} <= shown


@pytest.mark.parametrize("origin", BAD)
def test_answers_to_others_cannot(api, origin):
    got = api.get(f"/topics/{unique('none')}", headers={"Origin": origin})
    assert "access-control-allow-origin" not in got.headers


def test_no_origin_no_cors(api):
    assert "access-control-allow-origin" not in api.get("/livez").headers


def test_sse_with_an_origin(api):
    topic = unique("cors")
    api.publish(topic, "x")
    with api.sse(f"/topics/{topic}", {"from": "start"}, {"Origin": GOOD[0]}) as events:
        assert events.response.headers["access-control-allow-origin"] == GOOD[0]
        assert events.next()["data"] == "x"
