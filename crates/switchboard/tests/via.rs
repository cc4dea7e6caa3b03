//! The built binary as server and as its own client: the same call, message and subscription by every protocol.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

const EVERY: [&str; 8] = ["rest", "connect", "grpc", "grpc-web", "json-rpc", "graphql", "thrift", "mcp"];
const STREAMING: [&str; 6] = ["rest", "connect", "grpc", "grpc-web", "json-rpc", "graphql"];

struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.env_clear().env("HOME", "/nowhere").env("PATH", "/usr/bin:/bin").args(args).stdin(Stdio::null());
    command
}

/// A port that was free a moment ago.
fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn serve(data: &Path, port: u16) -> Server {
    let (data, port) = (data.display().to_string(), port.to_string());
    let mut child = command(&["--data", &data, "--port", &port, "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut banner = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut banner).unwrap();
    let ready: Value = serde_json::from_str(&banner).expect("a banner");
    assert_eq!(ready["ready"], true);
    Server { child, url: format!("http://127.0.0.1:{port}") }
}

impl Server {
    fn command(&self, args: &[&str]) -> Command {
        let mut all = vec!["--server", self.url.as_str()];
        all.extend(args);
        command(&all)
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        said(self.command(args).output().unwrap())
    }

    /// What a command that has to succeed prints.
    fn out(&self, args: &[&str]) -> String {
        let (code, out, err) = self.run(args);
        assert_eq!(code, 0, "{args:?}: {err}");
        out
    }
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn one_call_by_every_protocol() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), port());
    server.out(&["topic", "create", "orders"]);
    let get = "switchboard.v1.Topics/Get";
    let wanted: Value = serde_json::from_str(&server.out(&["call", get, "name=orders"])).unwrap();
    assert_eq!(wanted["name"], "orders");
    for via in EVERY {
        let got: Value =
            serde_json::from_str(&server.out(&["call", get, "name=orders", "--via", via])).unwrap();
        assert_eq!(got, wanted, "{via}");
        let (code, _, err) = server.run(&["call", get, "name=nowhere", "--via", via]);
        assert_eq!(code, 5, "{via}: {err}");
        assert!(err.contains("(SB0301)"), "{via}: {err}");
    }
    // Maps, lists, nested messages and numbers, typed by the description.
    let create = [
        "call",
        "switchboard.v1.Topics/Create",
        "name=7",
        "policy.partitions=2",
        "policy.claims=eu.>",
        "policy.claims=us.>",
    ];
    for via in EVERY {
        let mut args = create.to_vec();
        args.extend(["allow_existing=true", "--via", via]);
        let made: Value = serde_json::from_str(&server.out(&args)).unwrap();
        assert_eq!((&made["name"], &made["policy"]["partitions"]), (&json!("7"), &json!(2)), "{via}");
        assert_eq!(made["policy"]["claims"], json!(["eu.>", "us.>"]), "{via}");
    }
    let (code, _, err) = server.run(&["call", get, "nam=orders"]);
    assert!(code == 2 && err.contains("did you mean name?"), "{err}");
    let (code, _, err) = server.run(&["call", "switchboard.v1.Topics/Gett", "name=orders"]);
    assert!(code == 5 && err.contains("did you mean switchboard.v1.Topics/Get?"), "{err}");
    let (code, _, err) = server.run(&["call", "shop.v1.Shop/Get", "id=1", "--via", "thrift"]);
    assert!(code == 5 && err.contains("nothing describes"), "{err}");
    let (code, _, err) = server.run(&["call", "switchboard.v1.Groups/Consume", "{}", "--via", "json-rpc"]);
    assert!(code == 2 && err.contains("streams from the caller"), "{err}");
}

#[test]
fn messages_by_every_protocol() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), port());
    for via in EVERY {
        let receipt = server.out(&["pub", "orders", via, "-k", "k", "-H", "a=b", "--via", via, "--json"]);
        let receipt: Value = serde_json::from_str(&receipt).unwrap();
        assert_eq!(
            (&receipt["topic"], receipt["offset"].is_u64()),
            (&json!("orders"), true),
            "{via}: {receipt}"
        );
    }
    let wanted = server.out(&["sub", "orders", "--from", "start", "-n", "8", "--json"]);
    for via in STREAMING {
        let got = server.out(&["sub", "orders", "--from", "start", "-n", "8", "--json", "--via", via]);
        let lines =
            |text: &str| text.lines().map(|l| serde_json::from_str(l).unwrap()).collect::<Vec<Value>>();
        for (got, wanted) in lines(&got).iter().zip(lines(&wanted)) {
            for member in ["topic", "offset", "partition", "key", "headers", "body", "content_type"] {
                assert_eq!(got[member], wanted[member], "{member} by {via}");
            }
        }
        assert_eq!(got.lines().count(), 8);
    }
    // A batch that is larger than one message may be, by a protocol whose frames are measured.
    let file = home.path().join("batch");
    std::fs::write(&file, vec!["x".repeat(1_000_000); 5].join("\n")).unwrap();
    let from = format!("@{}", file.display());
    for via in ["grpc", "connect"] {
        let receipts = server.out(&["pub", "large", &from, "--batch", "--via", via]);
        assert_eq!(receipts.lines().count(), 5, "{via}");
    }
}

#[test]
fn a_subscription_goes_on_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let port = port();
    let mut server = serve(home.path(), port);
    server.out(&["pub", "orders", "one"]);
    let mut following: Vec<(Child, BufReader<std::process::ChildStdout>)> = ["grpc", "connect", "graphql"]
        .iter()
        .map(|via| {
            let args = ["sub", "orders", "--from", "start", "-n", "2", "--raw", "--via", via];
            let mut child =
                server.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let out = BufReader::new(child.stdout.take().unwrap());
            (child, out)
        })
        .collect();
    let line = |out: &mut BufReader<std::process::ChildStdout>| {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        line
    };
    for (_, out) in &mut following {
        assert_eq!(line(out), "one\n");
    }
    drop(server);
    server = serve(home.path(), port);
    server.out(&["pub", "orders", "two"]);
    for (child, out) in &mut following {
        assert_eq!(line(out), "two\n", "neither missed nor twice");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_stream_is_a_line_for_each_message_and_what_is_kept_with_a_job_is_shown() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(home.path(), port());
    server.out(&[
        "call",
        "switchboard.v1.Methods/Declare",
        "method.name=demo.v1.Print/Page",
        "method.attempts=1",
    ]);
    let submitted = server.out(&["job", "submit", "demo.v1.Print/Page", "page=7"]);
    let id = submitted.trim();
    let taken = server.out(&["call", "switchboard.v1.Jobs/Take", "methods=demo.v1.Print/Page", "wait=5s"]);
    let taken: Value = serde_json::from_str(&taken).unwrap();
    let fail = json!({ "id": id, "handle": taken["jobs"][0]["handle"], "code": "invalid", "message": "no such page", "retryable": false,
        "details": [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "NO_PAGE", "domain": "demo" },
            { "@type": "type.googleapis.com/nobody.Knows", "value": "AQI=" }] });
    let mut child = server
        .command(&["call", "switchboard.v1.Jobs/Fail", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(fail.to_string().as_bytes()).unwrap();
    let (code, _, err) = said(child.wait_with_output().unwrap());
    assert_eq!(code, 0, "{err}");
    for via in STREAMING {
        let watched = server.out(&["call", "switchboard.v1.Jobs/Watch", &format!("id={id}"), "--via", via]);
        let events: Vec<Value> = watched.lines().map(|l| serde_json::from_str(l).expect(via)).collect();
        assert!(events.len() >= 3, "{via}: {watched}");
        assert!(watched.contains("NO_PAGE") && watched.contains("AQI="), "{via}: {watched}");
    }
    for via in EVERY {
        let job = server.out(&["call", "switchboard.v1.Jobs/Get", &format!("id={id}"), "--via", via]);
        assert!(job.contains("NO_PAGE") && job.contains("AQI="), "{via}: {job}");
        let operation = server.out(&[
            "call",
            "google.longrunning.Operations/GetOperation",
            &format!("name=jobs/{id}"),
            "--via",
            via,
        ]);
        assert!(operation.contains("NO_PAGE") && operation.contains("AQI="), "{via}: {operation}");
        let (code, _, err) =
            server.run(&["call", "switchboard.v1.Jobs/GetResult", &format!("id={id}"), "--via", via]);
        assert!(code == 1 && err.contains("NO_PAGE") && err.contains("INVALID_ARGUMENT"), "{via}: {err}");
    }
    assert!(server.out(&["job", "show", id]).contains("NO_PAGE"));
    let (code, _, err) = server.run(&["job", "wait", id]);
    assert!(code == 1 && err.contains("NO_PAGE"), "{err}");
}
