//! The surface as bytes: sessions and their owners, origins, revisions, batches, rights.

use sb_board::auth::{Authority, Grants, method_pattern};
use sb_core::model::Pattern;
use sb_suite::{Raw, Running, rpc, start, start_with};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const HEADERS: &str = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";

/// A request: status, head, and the messages of the answer, be it JSON or a stream of events.
async fn send(server: &Running, method: &str, headers: &str, body: &str) -> (u16, String, Vec<Value>) {
    let mut client = Raw::connect(server.addr).await;
    let head = format!(
        "{method} /mcp HTTP/1.1\r\nHost: localhost\r\n{HEADERS}{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(head.as_bytes()).await;
    let all = String::from_utf8(client.rest().await).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let events = body.lines().filter_map(|line| line.strip_prefix("data:"));
    let mut messages: Vec<Value> = events.filter_map(|data| serde_json::from_str(data).ok()).collect();
    messages.extend(serde_json::from_str::<Value>(body).ok());
    (status, head.to_lowercase(), messages)
}

fn request(id: u32, method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

fn initialize(version: &str) -> String {
    let client = json!({ "name": "test", "version": "1" });
    request(1, "initialize", json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": client }))
}

/// A session: its header.
async fn session(server: &Running, headers: &str, version: &str) -> (String, Value) {
    let (status, head, messages) = send(server, "POST", headers, &initialize(version)).await;
    assert_eq!(status, 200, "{head} {messages:?}");
    let id = head.lines().find(|line| line.starts_with("mcp-session-id:")).expect("a session").to_owned();
    let header = format!("{id}\r\n{headers}");
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(send(server, "POST", &header, note).await.0, 202);
    (header, messages.into_iter().find(|m| m["id"] == 1).expect("an answer")["result"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_are_negotiated() {
    let server = start().await;
    rpc::serve(&server).await;
    for (asked, got) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let (_, result) = session(&server, "", asked).await;
        assert_eq!(result["protocolVersion"], got);
        assert_eq!(result["serverInfo"]["name"], "switchboard");
        assert!(
            result["capabilities"]["prompts"].is_null()
                && result["capabilities"]["resources"]["subscribe"] == true
        );
    }
    let meta = |version: &str| {
        json!({ "_meta": {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        } })
    };
    let headers = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: server/discover\r\n";
    let (status, _, messages) =
        send(&server, "POST", headers, &request(1, "server/discover", meta("2026-07-28"))).await;
    assert_eq!(status, 200, "{messages:?}");
    assert!(messages[0]["result"]["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")));
    let headers = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\n";
    let (status, head, messages) =
        send(&server, "POST", headers, &request(2, "tools/list", meta("2026-07-28"))).await;
    assert_eq!(status, 200, "{messages:?}");
    assert!(!head.contains("mcp-session-id"));
    let result = &messages[0]["result"];
    assert!(
        result["resultType"] == "complete" && result["cacheScope"] == "private" && result["ttlMs"].is_u64(),
        "{result}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_and_are_nobody_elses() {
    let grants = Grants { call: vec![method_pattern("toy.v1.Toy/*").unwrap()], ..Grants::default() };
    let less = Grants {
        call: vec![method_pattern("toy.v1.Toy/Twice").unwrap()],
        read: vec![Pattern::parse("open").unwrap()],
        ..Grants::default()
    };
    let roles = BTreeMap::from([("all".to_owned(), grants), ("less".to_owned(), less)]);
    let keys = [("key-a".to_owned(), "all".to_owned()), ("key-b".to_owned(), "less".to_owned())];
    let server = start_with(Authority::new(keys, Vec::new(), roles)).await;
    rpc::serve(&server).await;
    for topic in ["open", "closed"] {
        let policy = sb_core::topics::Policy::default();
        server.board.admin().declare_topic(topic, policy, sb_board::access::Condition::Any).await.unwrap();
    }
    let (a, b) = ("Authorization: Bearer key-a\r\n", "Authorization: Bearer key-b\r\n");
    let (status, head, _) = send(&server, "POST", "", &initialize("2025-11-25")).await;
    assert!(status == 401 && head.contains("www-authenticate"), "{head}");
    let (mine, _) = session(&server, a, "2025-11-25").await;
    let (theirs, _) = session(&server, b, "2025-11-25").await;
    let names = async |headers: &str| {
        let (status, _, messages) =
            send(&server, "POST", headers, &request(2, "tools/list", json!({}))).await;
        assert_eq!(status, 200);
        let answer = messages.into_iter().find(|m| m["id"] == 2).unwrap();
        let tools = answer["result"]["tools"].as_array().unwrap().clone();
        tools.into_iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(names(&mine).await.len() > 4);
    assert_eq!(names(&theirs).await, ["toy_v1_Toy_Twice"]);
    let ask = async |headers: &str, method: &str, params: Value| {
        let (_, _, messages) = send(&server, "POST", headers, &request(3, method, params)).await;
        messages.into_iter().find(|m| m["id"] == 3).unwrap_or_default()
    };
    // What may not be called does not exist; what may not be read is said to be so.
    let denied =
        ask(&theirs, "tools/call", json!({ "name": "toy_v1_Toy_Greet", "arguments": { "name": "A" } })).await;
    assert_eq!(denied["error"]["code"], -32602, "{denied}");
    let resources = ask(&theirs, "resources/list", json!({})).await;
    assert_eq!(resources["result"]["resources"].as_array().unwrap().len(), 1, "{resources}");
    for method in ["resources/read", "resources/subscribe"] {
        let denied = ask(&theirs, method, json!({ "uri": "sb://topics/closed" })).await;
        assert!(denied["error"]["code"].is_i64(), "{denied}");
    }
    // Another's session is no session, whoever knows its name.
    let stolen = mine.replace("key-a", "key-b");
    assert_eq!(send(&server, "POST", &stolen, &request(4, "ping", json!({}))).await.0, 404);
    assert_eq!(send(&server, "DELETE", &stolen, "").await.0, 404);
    assert_eq!(send(&server, "POST", &mine, &request(4, "ping", json!({}))).await.0, 200);
    assert!((200..300).contains(&send(&server, "DELETE", &mine, "").await.0));
    assert_eq!(send(&server, "POST", &mine, &request(5, "ping", json!({}))).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_protocol_is_refused() {
    let server = start().await;
    rpc::serve(&server).await;
    let (mine, _) = session(&server, "", "2025-06-18").await;
    for (headers, body, status) in [
        ("Origin: http://evil.example\r\n", "{}", 403),
        ("Origin: null\r\n", "{}", 403),
        ("", "no json", 400),
        ("", "[]", 400),
        ("Mcp-Session-Id: nobody\r\n", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, 404),
    ] {
        let (got, head, messages) = send(&server, "POST", headers, body).await;
        assert_eq!(got, status, "{headers} {body}: {head} {messages:?}");
    }
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#,
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    assert!(send(&server, "POST", &mine, &deep).await.0 >= 400);
    let large = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":"{}"}}"#, "x".repeat(9 << 20));
    assert_eq!(send(&server, "POST", &mine, &large).await.0, 413);
    let unknown = format!("{mine}MCP-Protocol-Version: 1999-01-01\r\n");
    assert_eq!(send(&server, "POST", &unknown, &request(2, "ping", json!({}))).await.0, 400);
    let (_, _, messages) = send(&server, "POST", &mine, &request(2, "no/such", json!({}))).await;
    assert!(messages.iter().any(|m| m["error"]["code"] == -32601), "{messages:?}");
    let (_, _, messages) = send(&server, "POST", &mine, &request(2, "prompts/list", json!({}))).await;
    assert!(messages.iter().any(|m| m["error"]["code"] == -32601), "{messages:?}");
    let (status, head, _) = send(&server, "PUT", &mine, "").await;
    assert!(status == 405 && head.contains("allow:"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_the_first_revision() {
    let server = start().await;
    rpc::serve(&server).await;
    let (mine, _) = session(&server, "", "2025-03-26").await;
    let batch = format!(
        "[{},{},{}]",
        request(2, "ping", json!({})),
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
        request(3, "tools/call", json!({ "name": "toy_v1_Toy_Twice", "arguments": { "value": 4 } }))
    );
    let (status, _, messages) = send(&server, "POST", &mine, &batch).await;
    assert_eq!(status, 200);
    let answers = messages[0].as_array().unwrap();
    assert_eq!(answers.iter().map(|a| a["id"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(answers[1]["result"]["structuredContent"], json!({ "value": 8 }));
    let later = format!("{mine}MCP-Protocol-Version: 2025-06-18\r\n");
    assert_eq!(send(&server, "POST", &later, &batch).await.0, 400);
}

/// The header's forms are those of every protocol; one beyond all clocks is refused like one that is none.
#[tokio::test(flavor = "multi_thread")]
async fn bounds_of_calls() {
    let server = start().await;
    rpc::serve(&server).await;
    let (header, _) = session(&server, "", "2025-06-18").await;
    let call =
        |id, tool: &str| request(id, "tools/call", json!({ "name": tool, "arguments": { "name": "x" } }));
    for (id, timeout) in [(10, "18446744073709551615"), (11, "soon"), (12, "-1s")] {
        let header = format!("{header}Sb-Timeout: {timeout}\r\n");
        let (_, _, messages) = send(&server, "POST", &header, &call(id, "toy_v1_Toy_Greet")).await;
        let answer = messages.iter().find(|m| m["id"] == id).expect("an answer");
        assert!(answer["error"]["message"].as_str().unwrap().contains("duration"), "{answer}");
    }
    let header = format!("{header}Sb-Timeout: 50ms\r\n");
    let (_, _, messages) = send(&server, "POST", &header, &call(13, "toy_v1_Toy_Hang")).await;
    let answer = messages.iter().find(|m| m["id"] == 13).expect("an answer");
    assert_eq!(answer["result"]["_meta"]["switchboard/error"]["code"], "DEADLINE_EXCEEDED", "{answer}");
}
