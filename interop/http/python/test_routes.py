"""docs/http.md §6: own paths and a folder of files, from the config."""

import pytest

from sb import background, config, head_of, problem, unique


def CONFIG(folder):
    site = folder / "site"
    (site / "sub").mkdir(parents=True)
    (site / "index.html").write_text("<h1>hello</h1>")
    (site / "app.js").write_text("let a = 1;")
    (site / "style.css").write_text("a{}")
    (site / "sub" / "page.html").write_text("page")
    (site / "with space.txt").write_text("space")
    (site / ".env").write_text("SECRET")
    (site / ".git").mkdir()
    (site / ".git" / "config").write_text("SECRET")
    (folder / "outside.txt").write_text("OUTSIDE")
    (site / "out.txt").symlink_to(folder / "outside.txt")
    (site / "up").symlink_to(folder)
    (site / "in.txt").symlink_to(site / "app.js")
    return config(
        """
[services."code.v1.Runner"]
methods = ["Run"]
job = { timeout = "30s", attempts = 2 }

[routes]
"POST /api/execute" = "code.v1.Runner/Run"
"GET /events" = { topic = "orders.>" }

[static]
"/" = "{dir}/site"
"""
    )


def test_a_route_to_a_method(api):
    call = background(lambda: api.post("/api/execute", content=b"in", headers={"Content-Type": "text/x"}))
    job = api.take_one("code.v1.Runner/Run")
    assert job["content_type"] == "text/x"
    api.work(job, "complete", content=b"out", headers={"Content-Type": "text/y"})
    answer = call.result()
    assert answer.status_code == 200 and answer.content == b"out" and answer.headers["content-type"] == "text/y"
    submitted = api.ok("POST", "/api/execute", 202, content=b"", headers={"Prefer": "respond-async"})
    assert submitted.headers["location"] == f"/jobs/{submitted.json()['id']}"
    refused = api.get("/api/execute")
    problem(refused, 405, "SB0207")
    assert "POST" in refused.headers["allow"]


def test_declared_methods_have_their_options(api):
    listed = api.ok("GET", "/methods").text
    assert "code.v1.Runner" in listed and "30s" in listed


def test_a_route_to_a_topic(api):
    name = f"orders.{unique('r')}"
    api.publish(name, "x")
    assert any(m["topic"] == name for m in api.ok("GET", "/events", params={"from": "start"}).json()["messages"])
    with api.sse("/events", {"from": "start"}) as events:
        assert events.next()["data"] == "x"


@pytest.mark.parametrize(
    "path,text,kind",
    [
        ("/", "<h1>hello</h1>", "text/html"),
        ("/index.html", "<h1>hello</h1>", "text/html"),
        ("/app.js", "let a = 1;", "text/javascript"),
        ("/style.css", "a{}", "text/css"),
        ("/sub/page.html", "page", "text/html"),
        ("/with%20space.txt", "space", "text/plain"),
        ("/in.txt", "let a = 1;", "text/plain"),
    ],
)
def test_files(api, path, text, kind):
    got = api.ok("GET", path)
    assert got.text == text and got.headers["content-type"].startswith(kind)
    head = api.head(path)
    assert head.status_code == 200 and head.content == b"" and head.headers["content-length"] == str(len(text))
    tag = got.headers.get("etag")
    if tag:
        assert api.get(path, headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize("path", ["/.env", "/.git/config", "/out.txt", "/up/outside.txt", "/sub", "/sub/", "/none.txt", "/app.js/"])
def test_what_is_not_served(api, path):
    got = api.get(path, follow_redirects=False)
    assert got.status_code in (403, 404), got.text
    assert "SECRET" not in got.text and "OUTSIDE" not in got.text and "page.html" not in got.text


@pytest.mark.parametrize(
    "path",
    [
        "/../outside.txt",
        "/sub/../../outside.txt",
        "/%2e%2e/outside.txt",
        "/..%2foutside.txt",
        "/%2e%2e%2foutside.txt",
        "/..%5coutside.txt",
        "//outside.txt",
        "/sub/..;/outside.txt",
        "/app.js%00.html",
        "/./.env",
        "/sub/%2e%2e/.env",
    ],
)
def test_paths_that_lead_out(server, path):
    raw = server.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert head_of(raw)[0] in (400, 403, 404), raw[:200]
    assert b"OUTSIDE" not in raw and b"SECRET" not in raw


def test_the_surface_wins_over_files(api):
    assert api.ok("GET", "/livez").text.strip() == "ok"
    assert "topics" in api.ok("GET", "/topics").json()


def test_files_take_no_other_methods(api):
    got = api.post("/app.js", content=b"x")
    problem(got, got.status_code)
    assert got.status_code in (404, 405)
