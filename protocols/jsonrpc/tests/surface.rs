//! The surface as a client sees it, over HTTP and WebSocket, and the client half against it.

use sb_board::auth::{Authority, Grants, method_pattern};
use sb_board::call::{Code, Provider};
use sb_board::mount::{Dialer, Target};
use sb_jsonrpc::map;
use sb_suite::rpc::{self, EXAMPLES, TOY};
use sb_suite::{Raw, Running, start, start_with};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const JSON: &str = "Content-Type: application/json\r\n";

async fn post(server: &Running, target: &str, body: &str) -> (u16, String) {
    let mut client = Raw::connect(server.addr).await;
    let (status, body) = client.http("POST", target, JSON, body.as_bytes()).await;
    (status, String::from_utf8(body).unwrap())
}

async fn ask(server: &Running, method: &str, params: Value) -> Value {
    let request = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 });
    let (status, body) = post(server, "/rpc", &request.to_string()).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// §7 of the specification: what is sent, and what is answered; nothing for notifications.
const SPECIFICATION: &[(&str, &str)] = &[
    (
        r#"{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}"#,
        r#"{"jsonrpc": "2.0", "result": 19, "id": 1}"#,
    ),
    (
        r#"{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}"#,
        r#"{"jsonrpc": "2.0", "result": -19, "id": 2}"#,
    ),
    (
        r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}"#,
        r#"{"jsonrpc": "2.0", "result": 19, "id": 3}"#,
    ),
    (
        r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}"#,
        r#"{"jsonrpc": "2.0", "result": 19, "id": 4}"#,
    ),
    (r#"{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}"#, ""),
    (r#"{"jsonrpc": "2.0", "method": "foobar"}"#, ""),
    (
        r#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#,
        r#"{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}"#,
    ),
    (
        r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#,
        r#"{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}"#,
    ),
    (
        r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#,
        r#"{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}"#,
    ),
    (
        r#"[
  {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
  {"jsonrpc": "2.0", "method"
]"#,
        r#"{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}"#,
    ),
    ("[]", r#"{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}"#),
    (
        "[1]",
        r#"[
  {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}
]"#,
    ),
    (
        "[1,2,3]",
        r#"[
  {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
  {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
  {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}
]"#,
    ),
    (
        r#"[
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
        {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
    ]"#,
        r#"[
        {"jsonrpc": "2.0", "result": 7, "id": "1"},
        {"jsonrpc": "2.0", "result": 19, "id": "2"},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
        {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}
    ]"#,
    ),
    (
        r#"[
        {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
    ]"#,
        "",
    ),
];

/// An answer as it is on the wire: the specification puts the answers of a batch on lines of their own.
fn one_line(text: &str) -> String {
    match text.strip_prefix("[\n") {
        Some(rest) => {
            let lines: Vec<&str> = rest.trim_end_matches(']').trim_end().lines().map(str::trim).collect();
            format!("[{}]", lines.join(" "))
        }
        None => text.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_specifications_examples_byte_for_byte() {
    let server = start().await;
    rpc::serve(&server).await;
    let mut socket = Raw::connect(server.addr).await;
    socket.websocket(&format!("/rpc/{EXAMPLES}")).await;
    for (request, answer) in SPECIFICATION {
        let (status, got) = post(&server, &format!("/rpc/{EXAMPLES}"), request).await;
        assert_eq!(status, if answer.is_empty() { 204 } else { 200 }, "{request}");
        assert_eq!(got, one_line(answer), "{request}");
        socket.send_text(request).await;
        if !answer.is_empty() {
            assert_eq!(socket.text().await, one_line(answer), "{request}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_params() {
    let server = start().await;
    let toy = rpc::serve(&server).await;
    for method in ["toy.v1.Toy/Greet", "toy.v1.Toy.Greet"] {
        assert_eq!(
            ask(&server, method, json!({ "name": "Ada", "id": 7 })).await["result"]["text"],
            "Hello, Ada!"
        );
    }
    let hello = json!({ "text": "Hello, Ada!", "id": "7" });
    assert_eq!(ask(&server, "toy.v1.Toy/Greet", json!(["Ada", "7"])).await["result"], hello);
    assert_eq!(
        ask(&server, "toy.v1.Toy/Greet", json!(["Ada", null, ["x"]])).await["result"]["text"],
        "Hello, Ada!"
    );
    assert_eq!(ask(&server, "toy.v1.Toy/Twice", json!([21])).await["result"], 42);
    for (params, said) in [
        (json!([{ "name": "Ada" }]), "a name is needed"),
        (json!(["a", 1, [], {}, 5]), "name, id, tags, friend"),
        (json!([]), "a name is needed"),
    ] {
        let answer = ask(&server, "toy.v1.Toy/Greet", params).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(answer["error"].to_string().contains(said), "{answer}");
    }
    let two = ask(&server, "toy.v1.Toy/Twice", json!([1, 2])).await;
    assert_eq!(two["error"]["code"], -32602, "{two}");
    let near = ask(&server, "toy.v1.Toy/Gret", json!({})).await;
    assert_eq!(near["error"]["code"], -32601);
    assert!(near["error"]["data"]["fix"].as_str().unwrap().contains("toy.v1.Toy/Greet"), "{near}");
    for unknown in ["x", "a/b", "no.v1.Such/Method", "rpc.other", "rpc.unsubscribe", "a//b", "../x", ""] {
        assert_eq!(ask(&server, unknown, json!({})).await["error"]["code"], -32601, "{unknown}");
    }
    let before = toy.begun.load(Ordering::Relaxed);
    for streams in ["toy.v1.Toy/Count", "toy.v1.Toy/Sum"] {
        let refused = ask(&server, streams, json!({})).await;
        assert_eq!(refused["error"]["code"], -32012, "{refused}");
        assert!(refused["error"]["data"]["fix"].as_str().unwrap().contains("WebSocket"), "{refused}");
    }
    assert_eq!(toy.begun.load(Ordering::Relaxed), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_has_its_number_and_its_details() {
    let server = start().await;
    rpc::serve(&server).await;
    let mut seen = Vec::new();
    for code in Code::ALL {
        let answer = ask(&server, "toy.v1.Toy/Fail", json!({ "code": code.name(), "message": "why" })).await;
        let error = &answer["error"];
        assert_eq!(error["code"], map::code(code), "{answer}");
        assert_eq!((&error["message"], &error["data"]["code"]), (&json!("why"), &json!(code.name())));
        let details = &error["data"]["details"];
        assert_eq!(details[0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo", "{answer}");
        assert_eq!(details[0]["reason"], "TOY");
        assert_eq!(details[1], json!({ "@type": "type.googleapis.com/nobody.Knows", "value": "AQI=" }));
        assert_eq!(map::code_of(map::code(code)), Some(code));
        seen.push(map::code(code));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 16);
    assert!(seen.iter().all(|n| (-32099..=-32000).contains(n) || [-32602, -32603].contains(n)));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_says_what_it_takes() {
    let server = start().await;
    rpc::serve(&server).await;
    let request = br#"{"jsonrpc":"2.0","method":"toy.v1.Toy/Greet","params":{"name":"A"},"id":1}"#;
    for (method, headers, status) in [
        ("GET", "", 405),
        ("PUT", JSON, 405),
        ("POST", "", 415),
        ("POST", "Content-Type: text/plain\r\n", 415),
        ("POST", JSON, 200),
        ("POST", "Content-Type: application/json-rpc\r\n", 200),
        ("POST", "Content-Type: Application/JsonRequest; charset=utf-8\r\n", 200),
        ("OPTIONS", "", 204),
    ] {
        let mut client = Raw::connect(server.addr).await;
        let (got, body) = client.http(method, "/rpc", headers, request).await;
        assert_eq!(got, status, "{method} {headers}: {}", String::from_utf8_lossy(&body));
    }
    let mut client = Raw::connect(server.addr).await;
    let head = format!(
        "POST /rpc HTTP/1.1\r\nHost: localhost\r\n{JSON}X-Echo: seen\r\nContent-Length: {}\r\n\r\n",
        request.len()
    );
    client.send(head.as_bytes()).await;
    client.send(request).await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap().to_lowercase();
    assert!(head.contains("x-echo: seen") && head.contains("content-type: application/json"), "{head}");
    // More than fits.
    let large = vec![b' '; 9 << 20];
    let (status, _) = Raw::connect(server.addr).await.http("POST", "/rpc", JSON, &large).await;
    assert_eq!(status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_over_a_websocket() {
    let server = start().await;
    let toy = rpc::serve(&server).await;
    let mut socket = Raw::connect(server.addr).await;
    socket.websocket("/rpc").await;
    let count = |id: u32, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"toy.v1.Toy/Count","params":{params},"id":{id}}}"#)
    };
    socket.send_text(&count(1, r#"{"to":2}"#)).await;
    assert_eq!(socket.text().await, r#"{"jsonrpc": "2.0", "result": "s1", "id": 1}"#);
    for n in 1..=2 {
        let item: Value = serde_json::from_str(&socket.text().await).unwrap();
        assert_eq!(item["method"], "subscription");
        let result = json!({ "n": n, "cursor": format!("c{n}") });
        assert_eq!(item["params"], json!({ "subscription": "s1", "result": result }));
    }
    let end: Value = serde_json::from_str(&socket.text().await).unwrap();
    assert_eq!(end["params"], json!({ "subscription": "s1", "end": true }));
    // One that fails.
    socket.send_text(&count(2, r#"{"to":5,"failAfter":1}"#)).await;
    let texts = [socket.text().await, socket.text().await, socket.text().await];
    let end: Value = serde_json::from_str(&texts[2]).unwrap();
    assert_eq!(
        (&end["params"]["end"], &end["params"]["error"]["code"]),
        (&json!(true), &json!(-32015)),
        "{texts:?}"
    );
    // One that is ended, and one that ends with the connection.
    socket.send_text(&count(3, r#"{"to":1000000,"pauseMs":5}"#)).await;
    assert_eq!(socket.text().await, r#"{"jsonrpc": "2.0", "result": "s3", "id": 3}"#);
    socket.send_text(r#"{"jsonrpc":"2.0","method":"rpc.unsubscribe","params":["s3"],"id":4}"#).await;
    while socket.text().await != r#"{"jsonrpc": "2.0", "result": true, "id": 4}"# {}
    socket
        .send_text(r#"{"jsonrpc":"2.0","method":"rpc.unsubscribe","params":{"subscription":"s3"},"id":5}"#)
        .await;
    assert_eq!(socket.text().await, r#"{"jsonrpc": "2.0", "result": false, "id": 5}"#);
    assert_eq!(toy.dropped.load(Ordering::Relaxed), 1);
    socket.send_text(&count(6, r#"{"to":1000000,"pauseMs":5}"#)).await;
    socket.send_text(r#"{"jsonrpc":"2.0","method":"toy.v1.Toy/Hang","params":{},"id":7}"#).await;
    // The call that hangs holds up nothing.
    socket.send_text(r#"{"jsonrpc":"2.0","method":"toy.v1.Toy/Twice","params":[1],"id":8}"#).await;
    while socket.text().await != r#"{"jsonrpc": "2.0", "result": 2, "id": 8}"# {}
    drop(socket);
    while toy.dropped.load(Ordering::Relaxed) < 3 {
        tokio::task::yield_now().await;
    }
    // What is no text ends the connection.
    let mut socket = Raw::connect(server.addr).await;
    socket.websocket("/rpc").await;
    socket.send(&[0x82, 0x80, 0, 0, 0, 0]).await;
    let (opcode, bytes) = socket.frame().await;
    assert_eq!((opcode, &bytes[..2]), (8, &1003_u16.to_be_bytes()[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_http_is_a_stream_of_events() {
    let server = start().await;
    rpc::serve(&server).await;
    let mut client = Raw::connect(server.addr).await;
    let request = r#"{"jsonrpc":"2.0","method":"toy.v1.Toy/Count","params":{"to":2},"id":"a"}"#;
    let head = format!(
        "POST /rpc HTTP/1.1\r\nHost: localhost\r\n{JSON}Accept: text/event-stream\r\nContent-Length: {}\r\n\r\n{request}",
        request.len()
    );
    client.send(head.as_bytes()).await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap().to_lowercase();
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    client.until(b"data: {\"jsonrpc\": \"2.0\", \"result\": \"s1\", \"id\": \"a\"}\n\n").await;
    client.until(b"\"n\":2").await;
    client.until(b"\"end\": true}}\n\n").await;
    client.until(b"0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_as_jobs() {
    let server = start().await;
    rpc::serve(&server).await;
    let request = |sb: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"toy.v1.Toy/Greet","params":{{"name":"Ada"}},"id":1,"sb":{sb}}}"#
        )
    };
    let (_, body) =
        post(&server, "/rpc", &request(r#"{"async":true,"wait":"20s","idempotency_key":"k"}"#)).await;
    let done: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(done["result"]["state"], "succeeded", "{body}");
    assert_eq!(done["result"]["result"]["text"], "Hello, Ada!");
    let (_, again) = post(&server, "/rpc", &request(r#"{"async":true,"idempotency_key":"k"}"#)).await;
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["result"]["job"], done["result"]["job"]);
    let stream = r#"{"jsonrpc":"2.0","method":"toy.v1.Toy/Count","params":{"to":2},"id":1,"sb":{"async":true,"wait":20}}"#;
    let (_, body) = post(&server, "/rpc", stream).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["result"]["result"][1]["n"], 2, "{body}");
    for bad in [r#"{"asink":true}"#, r#"{"wait":"5 s"}"#, "1", r#"{"metadata":{"host":"x"}}"#] {
        let (_, body) = post(&server, "/rpc", &request(bad)).await;
        assert!(body.contains("-32600"), "{bad}: {body}");
    }
    let (_, body) = post(&server, "/rpc", &request(r#"{"timeout":"10s","metadata":{"x-echo":"a"}}"#)).await;
    assert!(body.contains("Hello"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_and_rights() {
    let grants = |call: &str| Grants { call: vec![method_pattern(call).unwrap()], ..Grants::default() };
    let roles = BTreeMap::from([
        ("some".to_owned(), grants("toy.v1.Toy/Twice")),
        ("all".to_owned(), grants("toy.v1.Toy/*")),
    ]);
    let keys = [("key-some".to_owned(), "some".to_owned()), ("key-all".to_owned(), "all".to_owned())];
    let server = start_with(Authority::new(keys, Vec::new(), roles)).await;
    rpc::serve(&server).await;
    let ask = async |headers: &str, request: &str| {
        let headers = format!("{JSON}{headers}");
        let mut client = Raw::connect(server.addr).await;
        let (status, body) = client.http("POST", "/rpc", &headers, request.as_bytes()).await;
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (some, all) = ("Authorization: Bearer key-some\r\n", "Authorization: Bearer key-all\r\n");
    let greet = r#"{"jsonrpc":"2.0","method":"toy.v1.Toy/Greet","params":{"name":"A"},"id":1}"#;
    let hang = r#"{"jsonrpc":"2.0","method":"toy.v1.Toy/Hang","params":{},"id":1,"sb":{"timeout":"50ms"}}"#;
    let discover = r#"{"jsonrpc":"2.0","method":"rpc.discover","id":1}"#;
    let (status, wrong) = ask("Authorization: Bearer wrong\r\n", greet).await;
    assert_eq!(
        (status, &wrong["error"]["code"], &wrong["id"]),
        (401, &json!(-32016), &Value::Null),
        "{wrong}"
    );
    assert_eq!(ask("", greet).await.1["error"]["code"], -32016);
    assert_eq!(ask("", discover).await.1["error"]["code"], -32016);
    let denied = ask(some, greet).await.1;
    assert_eq!(
        (&denied["error"]["code"], &denied["error"]["data"]["code"]),
        (&json!(-32007), &json!("PERMISSION_DENIED"))
    );
    assert!(denied["error"]["data"]["error"].as_str().unwrap().starts_with("SB05"), "{denied}");
    assert_eq!(ask(all, greet).await.1["result"]["text"], "Hello, A!");
    assert_eq!(ask(all, hang).await.1["error"]["code"], -32004);
    let names = |document: &Value| -> Vec<String> {
        let methods = document["result"]["methods"].as_array().unwrap();
        methods.iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&ask(some, discover).await.1), ["toy.v1.Toy/Twice"]);
    let document = ask(all, discover).await.1;
    let names = names(&document);
    assert!(names.contains(&"toy.v1.Toy/Greet".to_owned()) && !names.contains(&"toy.v1.Toy/Sum".to_owned()));
    let methods = document["result"]["methods"].as_array().unwrap();
    let greet = methods.iter().find(|m| m["name"] == "toy.v1.Toy/Greet").unwrap();
    assert_eq!(greet["params"][0]["name"], "name");
    assert_eq!(greet["description"], "Greets a person.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_behind_another_server() {
    let (behind, front) = (start().await, start().await);
    let toy = rpc::serve(&behind).await;
    let connect = |url: String| -> sb_core::model::Result<Arc<dyn Provider>> {
        let dialer: Arc<dyn Dialer> = Arc::new(sb_net::Dial);
        sb_jsonrpc::client::connect(&Target { url, ..Target::default() }, &dialer)
    };
    let url = |query: &str| format!("jsonrpc://{}/rpc{query}", behind.addr);
    for query in ["?params=list", "?method={service}.{method}", ""] {
        let provider = connect(url(query)).unwrap();
        assert_eq!(provider.target(), format!("jsonrpc://{}/rpc", behind.addr));
        front.board.set_services(rpc::schema(), vec![rpc::service(TOY, provider)]).await.unwrap();
        assert_eq!(
            ask(&front, "toy.v1.Toy/Greet", json!({ "name": "Ada", "id": "7" })).await["result"]["id"],
            "7"
        );
        assert_eq!(ask(&front, "toy.v1.Toy/Twice", json!([4])).await["result"], 8);
        let failed = ask(&front, "toy.v1.Toy/Fail", json!({ "code": "DATA_LOSS", "message": "m" })).await;
        assert_eq!(failed["error"]["code"], -32015, "{failed}");
        assert_eq!(failed["error"]["data"]["details"][0]["reason"], "TOY", "{failed}");
        assert_eq!(failed["error"]["data"]["details"][1]["value"], "AQI=");
    }
    assert!(connect(url("?x=1")).is_err());
    // Who leaves cancels the call behind.
    let before = toy.dropped.load(Ordering::Relaxed);
    let mut socket = Raw::connect(front.addr).await;
    socket.websocket("/rpc").await;
    let begun = toy.begun.load(Ordering::Relaxed);
    socket.send_text(r#"{"jsonrpc":"2.0","method":"toy.v1.Toy/Hang","params":{},"id":7}"#).await;
    while toy.begun.load(Ordering::Relaxed) == begun {
        tokio::task::yield_now().await;
    }
    drop(socket);
    while toy.dropped.load(Ordering::Relaxed) == before {
        tokio::task::yield_now().await;
    }
    // Nobody there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let provider = connect(format!("jsonrpc://{gone}/")).unwrap();
    front.board.set_services(rpc::schema(), vec![rpc::service(TOY, provider)]).await.unwrap();
    let down = ask(&front, "toy.v1.Toy/Greet", json!({ "name": "Ada" })).await;
    assert_eq!(down["error"]["code"], -32014, "{down}");
}

/// A bound that cannot be understood is no bound: the call is refused.
#[tokio::test(flavor = "multi_thread")]
async fn bounds_that_are_none_are_refused() {
    let server = start().await;
    rpc::serve(&server).await;
    let call = json!({ "jsonrpc": "2.0", "method": "toy.v1.Toy/Greet", "params": { "name": "x" }, "id": 1 });
    for (timeout, code) in [("1e3s", -32602), ("-1s", -32602), ("99999999999999999999", -32602), ("5s", 0)] {
        let mut client = Raw::connect(server.addr).await;
        let headers = format!("{JSON}Sb-Timeout: {timeout}\r\n");
        let (_, body) = client.http("POST", "/rpc", &headers, call.to_string().as_bytes()).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["error"]["code"].as_i64().unwrap_or(0), code, "{timeout}: {answer}");
    }
    let mut list = call.clone();
    list["sb"] = json!([]);
    let (_, body) = post(&server, "/rpc", &list.to_string()).await;
    assert!(body.contains("-32600"), "{body}");
}
