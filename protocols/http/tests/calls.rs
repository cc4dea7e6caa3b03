//! Described services over REST: bindings, default paths, errors with details, streams, jobs.

use bytes::Bytes;
use futures_util::StreamExt as _;
use sb_board::Access;
use sb_board::call::{Call, Code, Codec, Detail, End, Part, Provider, Reply, Service, Status};
use sb_board::mount::BoxFuture;
use sb_schema::{Builder, Options};
use sb_suite::{Raw, Running, start};
use std::sync::Arc;

const PROTO: &str = r#"
syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
message Order { int64 id = 1; string name = 2; repeated string tags = 3; }
message OrderRequest { int64 id = 1; string view = 2; }
message Watched { int32 n = 1; }
service Shop {
  rpc GetOrder(OrderRequest) returns (Order) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = { get: "/v1/orders/{id}" };
  }
  rpc CreateOrder(Order) returns (Order) { option (google.api.http) = { post: "/v1/orders" body: "*" }; }
  rpc Count(OrderRequest) returns (stream Watched);
  rpc Chat(stream Order) returns (stream Order);
  rpc Slow(OrderRequest) returns (Order);
}
"#;

/// Answers as a shop would: `GetOrder` echoes the id, 404 has details; `Count` counts to the id; `Chat` sends back.
struct Shop(sb_schema::Schema);

impl Shop {
    fn json(&self, message: &str, bytes: &[u8]) -> serde_json::Value {
        let message = self.0.message(message).unwrap();
        serde_json::from_slice(&sb_schema::proto_to_json(&message, bytes, &Options::default()).unwrap())
            .unwrap()
    }

    fn proto(&self, message: &str, json: serde_json::Value) -> Bytes {
        let message = self.0.message(message).unwrap();
        sb_schema::json_to_proto(&message, json.to_string().as_bytes(), &Options::default()).unwrap()
    }
}

impl Provider for Shop {
    fn call(self: Arc<Self>, _: Access, mut call: Call) -> BoxFuture<Result<Reply, Status>> {
        Box::pin(async move {
            assert_eq!(call.codec, Codec::Proto);
            match &*call.method {
                "shop.v1.Shop/GetOrder" => {
                    let asked = self.json("shop.v1.OrderRequest", &call.message().await?);
                    if asked["id"] == "404" {
                        let value = self.proto("shop.v1.Watched", serde_json::json!({ "n": 4 }));
                        let known = Detail { type_url: "type.googleapis.com/shop.v1.Watched".into(), value };
                        let strange =
                            Detail { type_url: "type.googleapis.com/a.B".into(), value: "x".into() };
                        return Err(Status {
                            details: vec![known, strange],
                            ..Status::new(Code::NotFound, "no such order")
                        });
                    }
                    let mut reply = Reply::unary(self.proto(
                        "shop.v1.Order",
                        serde_json::json!({ "id": asked["id"], "name": asked["view"] }),
                    ));
                    reply.metadata.insert("x-seen", call.metadata["x-mine"].clone());
                    Ok(reply)
                }
                "shop.v1.Shop/CreateOrder" => Ok(Reply::unary(call.message().await?)),
                "shop.v1.Shop/Count" => {
                    let asked = self.json("shop.v1.OrderRequest", &call.message().await?);
                    let n: i32 = asked["id"].as_str().unwrap_or("0").parse().unwrap();
                    let shop = self.clone();
                    let parts = (1..=n).map(move |n| {
                        Part::Message(shop.proto("shop.v1.Watched", serde_json::json!({ "n": n })))
                    });
                    let status = (n == 3).then(|| Status::new(Code::DataLoss, "three is too much"));
                    let end = Part::End(End { status, ..End::default() });
                    Ok(Reply {
                        metadata: Default::default(),
                        parts: Box::pin(futures_util::stream::iter(parts.chain([end]))),
                    })
                }
                "shop.v1.Shop/Chat" => {
                    let back = call.messages.map(|m| m.map_or_else(|s| Part::End(s.into()), Part::Message));
                    let end = futures_util::stream::iter([Part::End(End::default())]);
                    Ok(Reply { metadata: Default::default(), parts: Box::pin(back.chain(end)) })
                }
                _ => std::future::pending().await,
            }
        })
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Proto]
    }

    fn target(&self) -> String {
        "a test".into()
    }
}

async fn shop() -> Running {
    let server = start().await;
    let schema = Builder::new().text("shop.proto", PROTO).unwrap().build().unwrap();
    let service = Service {
        name: "shop.v1.Shop".into(),
        provider: Arc::new(Shop(schema.clone())),
        timeout: None,
        shown: None,
        json: Options::default(),
    };
    server.board.set_services(schema, vec![service]).await.unwrap();
    server
}

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(bytes)))
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_and_default_paths() {
    let server = shop().await;
    let mut client = Raw::connect(server.addr).await;
    let mine = "X-Mine: yes\r\n";
    let (status, body) = client.http("GET", "/v1/orders/9007199254740993?view=full", mine, b"").await;
    assert_eq!((status, json(&body)), (200, serde_json::json!({ "id": "9007199254740993", "name": "full" })));
    let (status, body) = client.http("POST", "/shop.v1.Shop/GetOrder", mine, br#"{"id":7}"#).await;
    assert_eq!((status, json(&body)), (200, serde_json::json!({ "id": "7" })));
    let (status, body) = client.http("GET", "/shop.v1.Shop/GetOrder?id=8", mine, b"").await;
    assert_eq!((status, json(&body)), (200, serde_json::json!({ "id": "8" })));
    let typed = "Content-Type: application/json\r\n";
    let order = br#"{"id":"1","tags":["a","b"]}"#;
    let (status, body) = client.http("POST", "/v1/orders", typed, order).await;
    assert_eq!((status, json(&body)), (200, serde_json::json!({ "id": "1", "tags": ["a", "b"] })));
    let (status, _) = client.http("DELETE", "/v1/orders/7", "", b"").await;
    assert_eq!(status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_problems_with_details() {
    let server = shop().await;
    let mut client = Raw::connect(server.addr).await;
    let (status, body) = client.http("GET", "/v1/orders/404", "X-Mine: 1\r\n", b"").await;
    let problem = json(&body);
    assert_eq!(
        (status, &problem["status_name"], &problem["detail"]),
        (404, &"NOT_FOUND".into(), &"no such order".into())
    );
    assert_eq!(
        problem["details"][0],
        serde_json::json!({ "@type": "type.googleapis.com/shop.v1.Watched", "n": 4 })
    );
    assert_eq!(
        problem["details"][1],
        serde_json::json!({ "@type": "type.googleapis.com/a.B", "value": "eA==" })
    );
    let json_type = "Content-Type: application/json\r\n";
    for (method, path, headers, body, status, code) in [
        ("POST", "/v1/orders", json_type, "{\"id\":{}}", 400, "SB0201"),
        ("POST", "/v1/orders", json_type, "{\"nope\":1}", 400, "SB0201"),
        ("POST", "/v1/orders", json_type, "{", 400, "SB0201"),
        ("POST", "/v1/orders", "Content-Type: text/plain\r\n", "x", 415, "SB0208"),
        ("GET", "/v1/orders/abc", "", "", 400, "SB0201"),
        ("GET", "/v1/orders/1?nope=1", "", "", 400, "SB0201"),
        ("POST", "/shop.v1.Shop/Nothing", json_type, "{}", 404, "SB0310"),
        ("POST", "/shop.v1.Shop/Chat", json_type, "{}", 426, "SB0211"),
        ("POST", "/shop.v1.Shop/Slow", "Sb-Timeout: 50ms\r\n", "{}", 504, "SB0409"),
    ] {
        let mut client = Raw::connect(server.addr).await;
        let (got, answer) = client.http(method, path, headers, body.as_bytes()).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(got, status, "{method} {path}: {text}");
        assert!(
            text.contains(&format!("\"code\":\"{code}\"")) && text.contains("\"fix\":\""),
            "{method} {path}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_lines_or_events() {
    let server = shop().await;
    let mut client = Raw::connect(server.addr).await;
    let request = |accept: &str, id: u32| {
        let body = format!("{{\"id\":{id}}}");
        format!(
            "POST /shop.v1.Shop/Count HTTP/1.1\r\nHost: localhost\r\n{accept}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    client.send(request("", 2).as_bytes()).await;
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    assert!(head.contains("application/x-ndjson"), "{head}");
    client.until(b"{\"n\":1}\n").await;
    client.until(b"{\"n\":2}\n").await;
    client.until(b"0\r\n\r\n").await;
    client.send(request("Accept: text/event-stream\r\n", 3).as_bytes()).await;
    client.until(b"data: {\"n\":3}\n\n").await;
    let end = String::from_utf8(client.until(b"0\r\n\r\n").await).unwrap();
    assert!(end.contains("event: error\ndata: {") && end.contains("DATA_LOSS"), "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_become_jobs() {
    let server = shop().await;
    let mut client = Raw::connect(server.addr).await;
    let later = "Prefer: respond-async, wait=10\r\nX-Mine: 1\r\nContent-Type: application/json\r\n";
    let (status, body) = client.http("POST", "/shop.v1.Shop/GetOrder", later, br#"{"id":5}"#).await;
    assert_eq!((status, json(&body)), (200, serde_json::json!({ "id": "5" })));
    let (status, body) = client.http("POST", "/shop.v1.Shop/GetOrder", later, br#"{"id":404}"#).await;
    assert_eq!((status, &json(&body)["code"]), (404, &"SB0405".into()), "{}", json(&body));
    let now = "Prefer: respond-async\r\n";
    let (status, body) = client.http("POST", "/shop.v1.Shop/Count", now, br#"{"id":2}"#).await;
    assert_eq!(status, 202);
    let id = json(&body)["id"].as_str().unwrap().to_owned();
    let (status, body) = client.http("GET", &format!("/jobs/{id}/result"), "Prefer: wait=10\r\n", b"").await;
    assert_eq!((status, &*String::from_utf8_lossy(&body)), (200, "{\"n\":1}\n{\"n\":2}\n"));
    let (_, body) = client.http("GET", &format!("/jobs/{id}/events"), "", b"").await;
    assert!(String::from_utf8_lossy(&body).contains("\"progress\":{\"n\":2}"), "{}", json(&body));
    // The same key has one effect, also when the answer is waited for.
    let key = "Idempotency-Key: k1\r\nContent-Type: application/json\r\n";
    for replayed in [false, true] {
        client
            .send(format!("POST /v1/orders HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: 8\r\n\r\n{{\"id\":3}}").as_bytes())
            .await;
        let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap().to_ascii_lowercase();
        assert!(
            head.starts_with("http/1.1 200") && head.contains("idempotency-replayed: true") == replayed,
            "{head}"
        );
        client.until(b"{\"id\":\"3\"}").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_serve_described_methods() {
    let server = start().await;
    let schema = Builder::new().text("shop.proto", PROTO).unwrap().build().unwrap();
    let service = Service {
        name: "shop.v1.Shop".into(),
        provider: Arc::new(sb_board::call::Workers { topic: "t".into(), codecs: &[Codec::Json] }),
        timeout: None,
        shown: None,
        json: Options::default(),
    };
    server.board.set_services(schema, vec![service]).await.unwrap();
    let admin = server.board.admin();
    let method = "shop.v1.Shop/GetOrder";
    admin.declare_method(method, sb_core::jobs::MethodPolicy::new(method)).await.unwrap();
    let worker = tokio::spawn(async move {
        let taken = admin.take(&[method.to_owned()], 1, 10_000, None, "w").await.unwrap().remove(0);
        assert_eq!(&taken.input.body[..], b"{\"id\":\"6\"}");
        let finish = sb_board::access::Finish::Complete {
            content_type: Some("application/json".into()),
            body: br#"{"id": 6, "name": "worked"}"#.as_slice().into(),
        };
        admin.job_finish(taken.job.id, &taken.handle, finish).await.unwrap();
    });
    let mut client = Raw::connect(server.addr).await;
    let (status, body) = client.http("GET", "/v1/orders/6", "", b"").await;
    assert_eq!((status, json(&body)), (200, serde_json::json!({ "id": "6", "name": "worked" })));
    worker.await.unwrap();
}
