//! The built binary, run the way a person or a script runs it: against nothing, against files, and against a server that
//! is a list of answers.

mod mock;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mock::{Mock, Reply};
use serde_json::{Value, json};

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").args(args).stdin(Stdio::null());
    command
}

fn finish(output: Output) -> Run {
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn run(args: &[&str]) -> Run {
    let home = tempfile::tempdir().unwrap();
    finish(command(home.path(), args).output().unwrap())
}

fn at(mock: &Mock, args: &[&str]) -> Run {
    let mut all = vec!["--server", mock.url.as_str()];
    all.extend(args);
    run(&all)
}

fn fed(mock: &Mock, args: &[&str], input: &[u8]) -> Run {
    let home = tempfile::tempdir().unwrap();
    let mut child = command(home.path(), args)
        .env("SWITCHBOARD_SERVER", &mock.url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    finish(child.wait_with_output().unwrap())
}

fn problem(status: u16, code: &str, fix: &str) -> Reply {
    Reply::json(
        status,
        json!({"type": "x", "title": "T", "status": status, "detail": "what happened", "code": code, "fix": fix}),
    )
}

#[test]
fn help_version_and_completion() {
    let help = run(&["--help"]);
    assert_eq!(help.code, 0);
    for word in ["serve", "check", "pub", "sub", "topic", "group", "job", "demo", "profile", "Exit codes"] {
        assert!(help.out.contains(word), "{word} in\n{}", help.out);
    }
    for noun in ["topic", "group", "job", "profile", "data"] {
        assert_eq!(run(&[noun, "--help"]).code, 0);
        assert_eq!(run(&[noun]).code, 2, "{noun} alone");
    }
    assert!(run(&["version"]).out.starts_with("switchboard "));
    let version: Value = serde_json::from_str(&run(&["version", "--json"]).out).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completion", shell]).out.contains("switchboard"));
    }
}

#[test]
fn wrong_use_is_exit_2() {
    for args in [
        &["topik"][..],
        &["pub"],
        &["pub", "orders", "x", "--rate", "fast"],
        &["pub", "orders", "x", "--delay", "soon"],
        &["pub", "orders", "@/no/such/file"],
        &["sub"],
        &["sub", "a..b"],
        &["sub", "a", "--from", "yesterday"],
        &["sub", "a", "--from", "start", "--last", "3"],
        &["call", "Run", "{}"],
        &["call", "a.B/Run", "x=1", "{}"],
        &["topic", "show", "no/slash"],
        &["topic", "update", "a"],
        &["topic", "delete", "a"],
        &["group", "delete", "a", "b"],
        &["group", "seek", "a", "b", "--to", "start"],
        &["serve", "-c", "/no/such/file"],
        &["serve"],
        &["check"],
        &["--memory", "status"],
        &["--server", "ftp://x", "status"],
        &["--token", "a b", "status"],
        &["--ca", "/no/such/ca.pem", "--server", "https://127.0.0.1:1", "status"],
    ] {
        let done = run(args);
        assert_eq!(done.code, 2, "{args:?}: {}{}", done.out, done.err);
        assert!(done.err.contains("error: ") && done.out.is_empty(), "{args:?}: {}", done.err);
        assert!(!done.err.contains('\x1b'), "no colour into a pipe");
    }
}

#[test]
fn a_server_that_is_not_there_is_exit_3() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    for args in [
        &["status"][..],
        &["health"],
        &["pub", "a", "x"],
        &["sub", "a"],
        &["topic", "list"],
        &["job", "wait", "x"],
    ] {
        let mut all = vec!["--server", url.as_str()];
        all.extend(args);
        let done = run(&all);
        assert_eq!(done.code, 3, "{args:?}: {}", done.err);
        assert!(
            done.err.contains("(SB0001)") && done.err.contains(&url) && done.err.contains("--server"),
            "{}",
            done.err
        );
    }
    let done = run(&["--server", &url, "--json", "status"]);
    let error: Value = serde_json::from_str(&done.err).unwrap();
    assert_eq!(error["error"]["exit"], 3);
}

#[test]
fn check_says_where_and_what() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("switchboard.toml");
    let name = file.to_str().unwrap();
    std::fs::write(&file, "engine = \"memory\"\n[topics.orders]\nkeep_age = \"7d\"\n").unwrap();
    let right = run(&["check", "-c", name]);
    assert_eq!((right.code, right.err.as_str()), (0, ""));
    assert!(right.out.contains("is right: 1 listener, 1 topic,"), "{}", right.out);

    std::fs::write(
        &file,
        "engine = \"memory\"\nlisten = [\"http://0.0.0.0:7070\"]\n[topics.orders]\nkeep = \"7d\"\n",
    )
    .unwrap();
    let wrong = run(&["check", "-c", name]);
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""));
    for part in ["SB0104", ":2:11", "--insecure", "SB0101", ":4:1", "unknown key `keep`", "2 faults"] {
        assert!(wrong.err.contains(part), "{part} in\n{}", wrong.err);
    }
    let json: Value = serde_json::from_str(&run(&["check", "-c", name, "--json"]).out).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(
        (&json["faults"][0]["code"], &json["faults"][0]["line"], &json["faults"][0]["column"]),
        (&json!("SB0104"), &json!(2), &json!(11))
    );
    assert_eq!(run(&["serve", "-c", name]).code, 2);
    let allowed = run(&["check", "-c", name, "--insecure", "--set", "limits.message=2MiB"]);
    assert!(
        allowed.code == 1 && !allowed.err.contains("SB0104") && allowed.err.contains("1 fault\n"),
        "{}",
        allowed.err
    );
    let set = run(&["check", "-c", name, "--insecure", "--set", "limits.message=lots"]);
    assert!(set.err.contains("--> --set:1:18"), "{}", set.err);

    let home = tempfile::tempdir().unwrap();
    let from_env = finish(
        command(home.path(), &["check"])
            .env("SWITCHBOARD_CONFIG", "engine = 'disk:x'\nlimits = { x = 1 }")
            .output()
            .unwrap(),
    );
    assert_eq!(from_env.code, 1);
    assert!(from_env.err.contains("SWITCHBOARD_CONFIG:2:12"), "{}", from_env.err);
    let schema: Value = serde_json::from_str(&run(&["schema"]).out).unwrap();
    assert!(schema["properties"]["topics"].is_object() && schema["additionalProperties"] == false);
}

#[test]
fn refusals_keep_their_code_and_decide_the_exit_code() {
    for (status, exit) in
        [(400, 1), (401, 4), (403, 4), (404, 5), (409, 1), (410, 1), (429, 1), (503, 1), (504, 124)]
    {
        let mock = Mock::start(move |_| problem(status, "SB0999", "do this"));
        let done = at(&mock, &["topic", "show", "orders"]);
        assert_eq!(done.code, exit, "{status}");
        assert!(done.err.contains("error: what happened (SB0999)\n  do this"), "{}", done.err);
    }
    let mock = Mock::start(|_| Reply::text(200, "hello"));
    let done = at(&mock, &["status"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("SB0006"), "{}", done.err);
}

#[test]
fn publishing_sends_what_was_said() {
    let answer = json!({"id": "c1", "topic": "orders.eu", "partition": 0, "offset": 12, "at": "2026-11-20T10:00:00.123Z"});
    let mock = Mock::start(move |_| Reply::json(201, answer.clone()));
    let done = at(
        &mock,
        &[
            "pub",
            "orders.eu",
            "{\"id\":7}",
            "-k",
            "shop",
            "-H",
            "x=1",
            "-H",
            "y: z",
            "--delay",
            "90s",
            "--idempotency-key",
            "once",
        ],
    );
    assert_eq!((done.code, done.out.as_str()), (0, "orders.eu 0-12  c1\n"), "{}", done.err);
    let request = mock.last();
    assert_eq!(
        (request.method.as_str(), request.path.as_str(), request.body.as_slice()),
        ("POST", "/topics/orders.eu", &b"{\"id\":7}"[..])
    );
    for (name, value) in [
        ("content-type", "application/json"),
        ("sb-key", "shop"),
        ("sb-header-x", "1"),
        ("sb-header-y", "z"),
        ("sb-delay", "90s"),
        ("idempotency-key", "once"),
    ] {
        assert_eq!(request.header(name), Some(value));
    }
    // A body that is not JSON has no content type, a key with a space is base64, an escaped dot is escaped again.
    let done = fed(&mock, &["pub", "a%2Eb", "-", "--key", "two words", "--token", "t0k"], b"\xff\x00raw");
    assert_eq!(done.code, 0, "{}", done.err);
    let request = mock.last();
    assert_eq!((request.path.as_str(), request.body.as_slice()), ("/topics/a%252Eb", &b"\xff\x00raw"[..]));
    assert_eq!(
        (request.header("content-type"), request.header("sb-key-base64")),
        (None, Some("dHdvIHdvcmRz"))
    );
    assert_eq!(request.header("authorization"), Some("Bearer t0k"));

    let before = mock.count();
    let started = Instant::now();
    let done = at(&mock, &["pub", "orders", "x", "-n", "5", "--rate", "20/s", "--json"]);
    assert_eq!((done.code, done.out.lines().count(), mock.count() - before), (0, 5, 5));
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[test]
fn batches_and_live_messages() {
    let mock = Mock::start(|request| {
        if request.path.contains("live") {
            return Reply::json(202, json!({"live": true, "delivered": 2}));
        }
        let lines = request.body.split(|b| *b == b'\n').count();
        let list: Vec<Value> =
            (0..lines).map(|n| json!({"id": "c", "topic": "o", "partition": 0, "offset": n})).collect();
        Reply::json(201, json!({ "messages": list }))
    });
    let done = fed(&mock, &["pub", "o", "--batch"], "{\"n\":1}\n".repeat(1500).as_bytes());
    assert_eq!((done.code, done.out.lines().count(), mock.count()), (0, 1500, 2), "{}", done.err);
    assert_eq!(mock.last().path, "/topics/o?batch=ndjson");
    let done = at(&mock, &["pub", "o", "hi", "--live"]);
    assert_eq!((done.out.as_str(), mock.last().path.as_str()), ("live, delivered to 2\n", "/topics/o?live"));
}

fn envelope(id: &str, offset: u64, body: &str) -> String {
    let message =
        json!({"id": id, "topic": "orders", "partition": 0, "offset": offset, "key": "k", "body": body});
    format!("id: {id}\nevent: envelope\ndata: {message}\n\n")
}

#[test]
fn receiving_resumes_where_it_was_cut_off() {
    let mock = Mock::start(|request| {
        if request.path.contains("limit=1") {
            return Reply::json(200, json!({"messages": [], "next": "end0"}));
        }
        assert_eq!(request.header("accept"), Some("text/event-stream"));
        match request.header("last-event-id") {
            None => Reply::events(
                &(": hello\n\n".to_owned() + &envelope("c1", 1, "one") + &envelope("c2", 2, "two\nlines")),
            ),
            Some("c2") => Reply::events(&(envelope("c3", 3, "three") + "event: end\ndata: {}\n\n")),
            Some("c3") => Reply::events(&envelope("c4", 4, "four")),
            Some(_) => problem(400, "SB0201", "no"),
        }
    });
    let done = at(&mock, &["sub", "orders", "--count", "4"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(
        done.out,
        "[orders 0-1 key=k] one\n[orders 0-2 key=k] two\nlines\n[orders 0-3 key=k] three\n[orders 0-4 key=k] four\n"
    );
    assert!(
        done.err.contains("connection lost")
            && done.err.contains("trying again in")
            && done.err.contains("resuming"),
        "{}",
        done.err
    );
    assert_eq!(mock.paths()[1], "/topics/orders?envelope&from=end");

    let raw = at(&mock, &["sub", "orders", "--count", "2", "--raw", "--from", "1h"]);
    assert_eq!(raw.out, "one\ntwo\nlines\n");
    assert!(mock.paths().iter().any(|p| p == "/topics/orders?envelope&from=-1h"));
    let json = at(&mock, &["sub", "orders.#", "--count", "1", "--json", "--last", "1"]);
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap()["id"], "c1");
    assert!(mock.paths().iter().any(|p| p == "/topics/orders.%23?envelope&last=1"));
}

#[test]
fn a_stream_cut_before_the_first_message_leaves_no_gap() {
    let mock = Mock::start(|request| match request.path.as_str() {
        path if path.contains("limit=1") => Reply::json(200, json!({"messages": [], "next": "end0"})),
        path if path.contains("after=end0") => Reply::events(&envelope("c1", 1, "one")),
        _ => Reply::events(": hello\n\n"),
    });
    let done = at(&mock, &["sub", "orders", "-n", "1", "--raw"]);
    assert_eq!((done.code, done.out.as_str()), (0, "one\n"), "{}", done.err);
}

#[test]
fn reading_what_does_not_exist_fails_at_once_and_waiting_for_it_says_so() {
    let mock = Mock::start(|request| {
        if request.path.contains("limit=1") {
            problem(404, "SB0301", "did you mean `orders`?")
        } else {
            Reply::events(&envelope("c1", 1, "one"))
        }
    });
    let done = at(&mock, &["sub", "oders", "--from", "start"]);
    assert_eq!((done.code, mock.count()), (5, 1));
    assert!(done.err.contains("(SB0301)") && done.err.contains("did you mean `orders`?"), "{}", done.err);
    let done = at(&mock, &["sub", "oders", "-n", "1"]);
    assert_eq!(done.code, 0);
    assert!(done.err.contains("waiting: what happened") && done.err.contains("did you mean"), "{}", done.err);
}

#[test]
fn receiving_gives_up_and_stops_at_a_reset() {
    let mock = Mock::start(|request| {
        if request.path.contains("limit=1") {
            Reply::json(200, json!({"messages": [], "next": "e"}))
        } else if request.header("last-event-id").is_some() {
            problem(503, "SB0501", "")
        } else {
            Reply::events(&envelope("c1", 1, "one"))
        }
    });
    let done = at(&mock, &["sub", "orders", "--give-up", "1s"]);
    assert_eq!((done.code, done.out.as_str()), (3, "[orders 0-1 key=k] one\n"), "{}", done.err);
    let mock = Mock::start(|request| {
        if request.path.contains("limit=1") {
            return Reply::json(200, json!({"messages": [], "next": "e"}));
        }
        Reply::events(
            "event: reset\ndata: {\"title\":\"gone\",\"code\":\"SB0305\",\"detail\":\"first kept is 0-9\"}\n\n",
        )
    });
    let done = at(&mock, &["sub", "orders", "--after", "c0"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("first kept is 0-9 (SB0305)"), "{}", done.err);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let many: String = (0..20_000).map(|n| envelope("c", n, "some text that fills the pipe")).collect();
    let mock = Mock::start(move |request| {
        if request.path.contains("limit=1") {
            Reply::json(200, json!({"messages": []}))
        } else {
            Reply::events(&many)
        }
    });
    let home = tempfile::tempdir().unwrap();
    let mut child = command(home.path(), &["sub", "orders", "--server", &mock.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = finish(child.wait_with_output().unwrap());
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    // The same with both in one pipe, where the error has no reader either.
    let mut child = command(home.path(), &["topic", "show", "a/b"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn topics_from_list_to_delete() {
    let topic = json!({
        "name": "orders", "partitions": 2, "messages": 12, "groups": 1, "created": "2026-11-20T10:00:00.000Z", "keep_age": "7d",
        "partition": [{"partition": 0, "start": 0, "end": 12, "bytes": 3456}], "claims": ["orders.>"]
    });
    let mock = Mock::start(move |request| match (request.method.as_str(), request.path.as_str()) {
        ("GET", path) if path.starts_with("/topics?") && !path.contains("after=") => {
            Reply::json(200, json!({"topics": [topic], "next": "orders"}))
        }
        ("GET", path) if path.starts_with("/topics?") => Reply::json(200, json!({"topics": []})),
        ("DELETE", _) => Reply::text(204, ""),
        ("PUT", _) => Reply::json(201, topic.clone()),
        _ => Reply::json(200, topic.clone()),
    });
    let list = at(&mock, &["topic", "list", "ord"]);
    assert_eq!(
        list.out,
        "NAME    PARTITIONS  MESSAGES  BYTES    GROUPS  KEPT\norders  2           12        3.4 KiB  1       7d\n"
    );
    assert_eq!(mock.paths()[0], "/topics?prefix=ord&limit=1000");
    let list: Value = serde_json::from_str(&at(&mock, &["topic", "list", "--json"]).out).unwrap();
    assert_eq!(list["topics"][0]["name"], "orders");
    let show = at(&mock, &["topic", "show", "orders"]);
    assert!(
        show.out.contains("claims       orders.>") && show.out.contains("/topics/orders"),
        "{}",
        show.out
    );
    assert_eq!(mock.last().path, "/topics/orders/info");

    let done = at(
        &mock,
        &[
            "topic",
            "create",
            "orders",
            "--partitions",
            "2",
            "--keep-age",
            "7d",
            "--keep-bytes",
            "1GiB",
            "--claim",
            "orders.>",
            "--memory",
        ],
    );
    assert_eq!((done.code, done.out.as_str()), (0, "created orders\n"), "{}", done.err);
    let request = mock.last();
    assert_eq!((request.method.as_str(), request.header("if-none-match")), ("PUT", Some("*")));
    assert_eq!(
        request.json(),
        json!({"partitions": 2, "keep_age": "7d", "keep_bytes": 1 << 30, "claims": ["orders.>"], "memory": true})
    );
    assert_eq!(at(&mock, &["topic", "update", "orders", "--keep-until-consumed"]).code, 0);
    assert_eq!(
        (mock.last().method.as_str(), mock.last().json()),
        ("PATCH", json!({"keep_until_consumed": true}))
    );
    let done = at(&mock, &["topic", "delete", "orders", "--yes", "--json"]);
    assert_eq!((done.code, done.out.as_str()), (0, "{\"deleted\":\"orders\"}\n"));
}

#[test]
fn groups_are_worked_through_by_hand() {
    let mock = Mock::start(|request| {
        let (_, action) = request.path.rsplit_once('/').unwrap();
        match (request.method.as_str(), action) {
            ("POST", "lease") => Reply::json(
                200,
                json!({"messages": [{"handle": "h1", "attempt": 1, "topic": "orders", "partition": 0, "offset": 3, "body": "hi"}]}),
            ),
            ("POST", "ack") => Reply::json(200, json!({"results": [{"handle": "h1", "ok": true}]})),
            ("POST", "nack") => {
                Reply::json(200, json!({"results": [{"handle": "h1", "ok": false, "code": "SB0402"}]}))
            }
            ("POST", "seek") => Reply::json(200, json!({"skipped": 4, "again": 0})),
            ("GET", path) if path.starts_with("peek") => Reply::json(200, json!({"messages": []})),
            ("GET", path) if path.starts_with("groups?") => Reply::json(
                200,
                json!({"groups": [{"topic": "orders", "name": "billing", "mode": "queue", "ready": 3}]}),
            ),
            ("PUT", _) => Reply::json(201, json!({"name": "billing"})),
            ("DELETE", _) => Reply::text(204, ""),
            _ => Reply::json(
                200,
                json!({"topic": "orders", "name": "billing", "ready": 3, "position": [{"partition": 0, "floor": 3, "end": 9}]}),
            ),
        }
    });
    let lease = at(
        &mock,
        &[
            "group",
            "lease",
            "orders",
            "billing",
            "-n",
            "5",
            "--wait",
            "1s",
            "--lease",
            "1m",
            "--consumer",
            "me",
        ],
    );
    assert_eq!(lease.out, "[orders 0-3  attempt 1]\nhandle  h1\nhi\n", "{}", lease.err);
    assert_eq!(mock.last().path, "/topics/orders/groups/billing/lease");
    assert_eq!(mock.last().json(), json!({"max": 5, "wait": "1s", "lease": "1m", "consumer": "me"}));
    assert_eq!(at(&mock, &["group", "ack", "orders", "billing", "h1"]).out, "acknowledged  h1\n");
    let nack = at(&mock, &["group", "nack", "orders", "billing", "h1", "--dead"]);
    assert_eq!((nack.code, nack.out.as_str()), (1, "stale  h1  (SB0402)\n"));
    assert_eq!(mock.last().json(), json!({"handles": ["h1"], "dead": true}));
    let seek = at(&mock, &["group", "seek", "orders", "billing", "--to", "end", "--dry-run"]);
    assert_eq!(seek.out, "4 would be skipped, 0 would be delivered again\n");
    assert_eq!(mock.last().json(), json!({"to": "end", "dry_run": true}));
    assert_eq!(
        at(&mock, &["group", "seek", "orders", "billing", "--to", "-1h", "--yes"]).out,
        "4 skipped, 0 delivered again\n"
    );
    assert!(at(&mock, &["group", "list", "orders"]).out.contains("orders  billing  queue"));
    assert!(at(&mock, &["group", "show", "orders", "billing"]).out.contains("0          3      9"));
    assert_eq!(
        at(&mock, &["group", "create", "orders", "billing", "--attempts", "3", "--dead-letter", "dead"]).out,
        "created orders/billing\n"
    );
    assert_eq!(mock.last().json(), json!({"attempts": 3, "dead_letter": "dead"}));
    assert_eq!(at(&mock, &["group", "peek", "orders", "billing"]).err, "no messages\n");
    assert_eq!(at(&mock, &["group", "delete", "orders", "billing", "-y"]).code, 0);
}

#[test]
fn calls_and_jobs() {
    let mock = Mock::start(|request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/code.v1.Runner/Run") if request.header("prefer") == Some("respond-async") => {
            Reply::json(202, json!({"id": "j1", "state": "queued"}))
        }
        ("POST", "/code.v1.Runner/Run") => Reply::text(200, "42\n"),
        ("POST", "/code.v1.Runner/Fail") => problem(500, "SB0405", "see the log"),
        ("GET", "/jobs/done") => Reply::json(
            200,
            json!({"id": "done", "state": "succeeded", "result": {"body": "NDI=", "encoding": "base64"}}),
        ),
        ("GET", "/jobs/bad") if request.header("accept") == Some("text/event-stream") => Reply::events(
            "id: 1\nevent: log\ndata: {\"seq\":1,\"type\":\"log\",\"text\":\"hello\\n\",\"stream\":\"stdout\"}\n\nid: 2\nevent: state\ndata: {\"seq\":2,\"type\":\"state\",\"state\":\"failed\"}\n\nevent: end\ndata: {}\n\n",
        ),
        ("GET", "/jobs/bad") => Reply::json(
            200,
            json!({"id": "bad", "state": "failed", "error": {"code": "oops", "message": "it broke"}}),
        ),
        ("GET", "/jobs/slow") => Reply::json(200, json!({"id": "slow", "state": "running"})),
        ("GET", path) if path.starts_with("/jobs/done/events") && !path.contains("after") => {
            Reply::json(200, json!({"events": [{"seq": 1, "type": "log", "text": "a line\n"}], "next": 1}))
        }
        ("GET", path) if path.starts_with("/jobs/done/events") => {
            Reply::json(200, json!({"events": [], "next": 1}))
        }
        ("GET", path) if path.starts_with("/jobs?") => {
            Reply::json(200, json!({"jobs": [{"id": "j1", "method": "a.B/C", "state": "queued"}]}))
        }
        ("DELETE", _) => Reply::json(202, json!({"id": "j1"})),
        ("POST", "/jobs/j1/rerun") => Reply::json(201, json!({"id": "j2", "rerun_of": "j1"})),
        _ => problem(404, "SB0404", "no such job"),
    });
    let done = at(&mock, &["call", "code.v1.Runner/Run", "n=6", "name=Ann", "--timeout", "5s"]);
    assert_eq!((done.code, done.out.as_str()), (0, "42\n"), "{}", done.err);
    assert_eq!(mock.last().json(), json!({"n": 6, "name": "Ann"}));
    assert_eq!(
        (mock.last().header("content-type"), mock.last().header("sb-timeout")),
        (Some("application/json"), Some("5s"))
    );
    let json: Value =
        serde_json::from_str(&at(&mock, &["call", "code.v1.Runner/Run", "{}", "--json"]).out).unwrap();
    assert_eq!((&json["body"], &json["content_type"]), (&json!("42\n"), &json!("text/plain")));
    let failed = at(&mock, &["call", "code.v1.Runner/Fail", "{}"]);
    assert_eq!(failed.code, 1);
    assert!(failed.err.contains("(SB0405)\n  see the log"), "{}", failed.err);
    assert_eq!(at(&mock, &["job", "submit", "code.v1.Runner/Run", "{}"]).out, "j1\n");

    assert_eq!(at(&mock, &["job", "wait", "done"]).out, "42");
    let bad = at(&mock, &["job", "wait", "bad"]);
    assert_eq!(bad.code, 1);
    assert!(bad.err.contains("the job bad failed: it broke (SB0405)"), "{}", bad.err);
    let slow = at(&mock, &["job", "wait", "slow", "--timeout", "300ms"]);
    assert_eq!(slow.code, 124, "{}", slow.err);
    assert!(mock.last().header("prefer").unwrap().starts_with("wait="));
    assert_eq!(at(&mock, &["job", "show", "none"]).code, 5);
    assert!(at(&mock, &["job", "show", "bad"]).out.contains("it broke (oops)"));
    let logs = at(&mock, &["job", "logs", "bad", "-f"]);
    assert_eq!((logs.code, logs.out.as_str()), (1, "hello\n"), "{}", logs.err);
    assert_eq!(at(&mock, &["job", "logs", "done"]).out, "a line\n");
    assert!(at(&mock, &["job", "list", "--state", "queued"]).out.contains("j1  a.B/C   queued"));
    assert_eq!(at(&mock, &["job", "cancel", "j1"]).out, "asked to stop  j1\n");
    assert_eq!(at(&mock, &["job", "rerun", "j1"]).out, "j2\n");
}

#[test]
fn health_and_status() {
    let mock = Mock::start(|request| match request.path.as_str() {
        "/readyz?verbose" => Reply::text(503, "waiting for recovery\n"),
        "/livez?verbose" => Reply::text(200, "ok\n"),
        _ => Reply::json(
            200,
            json!({"version": "0.1.0", "mode": "development", "uptime": "3s", "jobs": {"queued": 2}, "memory": {"used": 1024, "budget": 2048}, "listeners": ["http://127.0.0.1:7070"]}),
        ),
    });
    let ready = at(&mock, &["health"]);
    assert_eq!((ready.code, ready.out.as_str()), (1, "waiting for recovery\n"));
    assert_eq!(at(&mock, &["health", "--live"]).code, 0);
    let status = at(&mock, &["status"]);
    assert!(
        status.out.contains("jobs         2 queued") && status.out.contains("1 KiB of 2 KiB"),
        "{}",
        status.out
    );
}

#[test]
fn profiles_are_private_and_their_token_stays_with_their_server() {
    let mock = Mock::start(|_| Reply::json(200, json!({"version": "x"})));
    let home = tempfile::tempdir().unwrap();
    let with =
        |args: &[&str]| finish(command(home.path(), args).env("PROD_TOKEN", "s3cret").output().unwrap());
    assert_eq!(with(&["profile", "add", "prod", &mock.url, "--token", "$PROD_TOKEN"]).out, "added prod\n");
    assert_eq!(with(&["profile", "add", "other", "localhost:9"]).code, 0);
    let file = home.path().join(".config/switchboard/profiles.toml");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let status = with(&["-v", "status"]);
    assert_eq!(status.code, 0);
    assert!(
        status.err.contains("(profile \"prod\", from profile use)") && !status.err.contains("s3cret"),
        "{}",
        status.err
    );
    assert_eq!(mock.last().header("authorization"), Some("Bearer s3cret"));
    assert_eq!(with(&["--server", &mock.url, "status"]).code, 0);
    assert_eq!(mock.last().header("authorization"), None);
    let missing = with(&["--profile", "prid", "status"]);
    assert_eq!(missing.code, 5);
    assert!(missing.err.contains("did you mean `prod`?"), "{}", missing.err);
    assert_eq!(with(&["profile", "use", "other"]).code, 0);
    let list: Value = serde_json::from_str(&with(&["profile", "list", "--json"]).out).unwrap();
    assert_eq!(
        list["profiles"][0],
        json!({"name": "other", "server": "http://localhost:9", "token": false, "ca": null, "current": true})
    );
    assert_eq!(with(&["profile", "remove", "other"]).code, 0);
    assert_eq!(with(&["profile", "remove", "other"]).code, 5);
}

#[test]
fn data_folders_and_demos_that_are_not_there() {
    assert_eq!(run(&["data", "check", "/no/such/folder"]).code, 5);
    assert_eq!(run(&["demo", "no-such-demo"]).code, 5);
    assert_eq!(run(&["demo"]).code, 0);
}
