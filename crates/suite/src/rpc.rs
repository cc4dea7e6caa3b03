//! Services for tests of RPC protocols, answered in process: the examples of the JSON-RPC specification, and a service with every kind of method
//! and every kind of failure.

use crate::Running;
use bytes::Bytes;
use futures_util::StreamExt as _;
use sb_board::Access;
use sb_board::call::{
    ByJob, Call, Code, Codec, Detail, End, Part, Provider, Reply, Service, Status, Workers,
};
use sb_board::mount::BoxFuture;
use sb_core::jobs::MethodPolicy;
use sb_schema::Schema;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The service of the specification's examples.
pub const EXAMPLES: &str = "spec.v1.Examples";
/// The service with every kind of method.
pub const TOY: &str = "toy.v1.Toy";
/// A service that workers serve.
pub const WORK: &str = "toy.v1.Work";

/// The description.
pub const PROTO: &str = r#"
syntax = "proto3";
package toy.v1;
import "google/protobuf/wrappers.proto";
import "google/protobuf/timestamp.proto";
import "google/api/field_behavior.proto";

// A person who is greeted.
message Person {
  // What they are called.
  string name = 1 [(google.api.field_behavior) = REQUIRED];
  int64 id = 2;
  repeated string tags = 3;
  Person friend = 4;
}
message Greeting { string text = 1; int64 id = 2; google.protobuf.Timestamp at = 3; }
message Failing { string code = 1; string message = 2; }
message Counting { int32 to = 1; int32 pause_ms = 2; int32 fail_after = 3; }
message Count { int32 n = 1; string cursor = 2; }
message Raw { bytes data = 1; }

// Greets, fails and counts.
service Toy {
  // Greets a person.
  rpc Greet(Person) returns (Greeting) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Fail(Failing) returns (Greeting);
  // Counts up to a number, one item each.
  rpc Count(Counting) returns (stream Count);
  rpc Sum(stream Count) returns (Count);
  rpc Twice(google.protobuf.Int32Value) returns (google.protobuf.Int32Value);
  // Never answers.
  rpc Hang(Person) returns (Greeting);
  rpc Echo(Raw) returns (Raw);
}
service Work { rpc Render(Person) returns (Greeting); }
"#;

const SPEC: &str = r#"
syntax = "proto3";
package spec.v1;
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/empty.proto";
message Subtract { int32 minuend = 1; int32 subtrahend = 2; }
message Three { int32 a = 1; int32 b = 2; int32 c = 3; }
message Five { int32 a = 1; int32 b = 2; int32 c = 3; int32 d = 4; int32 e = 5; }
message One { int32 n = 1; }
service Examples {
  rpc subtract(Subtract) returns (google.protobuf.Int32Value);
  rpc update(Five) returns (google.protobuf.Empty);
  rpc sum(Three) returns (google.protobuf.Int32Value);
  rpc notify_hello(One) returns (google.protobuf.Empty);
  rpc notify_sum(Three) returns (google.protobuf.Empty);
  rpc get_data(google.protobuf.Empty) returns (google.protobuf.ListValue);
}
"#;

/// What answers; it counts what it was asked.
#[derive(Default)]
pub struct Toy {
    /// Calls that began.
    pub begun: AtomicUsize,
    /// Calls that were dropped before they ended.
    pub dropped: AtomicUsize,
}

/// Counts a call that is dropped.
struct Noticed(Arc<Toy>, bool);

impl Drop for Noticed {
    fn drop(&mut self) {
        if !self.1 {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Provider for Toy {
    fn call(self: Arc<Self>, _: Access, mut call: Call) -> BoxFuture<Result<Reply, Status>> {
        Box::pin(async move {
            self.begun.fetch_add(1, Ordering::Relaxed);
            let mut noticed = Noticed(self, false);
            if call.streaming.client {
                let mut sum = 0;
                while let Some(item) = call.messages.next().await {
                    sum += number(&parse(&item?)?, "n");
                }
                noticed.1 = true;
                return Ok(Reply::unary(json!({ "n": sum }).to_string().into()));
            }
            let request = parse(&call.message().await?)?;
            let method = call.method.rsplit('/').next().unwrap_or_default().to_owned();
            if method == "Count" {
                return Ok(count(noticed, &request));
            }
            if method == "Hang" {
                std::future::pending::<()>().await;
            }
            if method == "get_data" {
                noticed.1 = true;
                // With the space that the specification's example has.
                return Ok(Reply::unary(Bytes::from_static(br#"["hello", 5]"#)));
            }
            let answer = answer(&method, &request);
            noticed.1 = true;
            let mut reply = match answer {
                Ok(answer) => Reply::unary(answer.to_string().into()),
                Err(status) => Reply::ended(status.into()),
            };
            if let Some(value) = call.metadata.get("x-echo") {
                reply.metadata.insert("x-echo", value.clone());
            }
            Ok(reply)
        })
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Json]
    }

    fn target(&self) -> String {
        "in process".to_owned()
    }

    fn by_job(&self) -> ByJob {
        ByJob::Called
    }
}

fn parse(text: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(text).map_err(|e| Status::new(Code::InvalidArgument, e.to_string()))
}

fn number(value: &Value, name: &str) -> i64 {
    value.get(name).and_then(Value::as_i64).unwrap_or(0)
}

fn answer(method: &str, request: &Value) -> Result<Value, Status> {
    let of = |name: &str| number(request, name);
    Ok(match method {
        "subtract" => json!(of("minuend") - of("subtrahend")),
        "sum" => json!(of("a") + of("b") + of("c")),
        "update" | "notify_hello" | "notify_sum" => json!({}),
        "Twice" => json!(request.as_i64().unwrap_or(0) * 2),
        "Echo" => request.clone(),
        "Greet" => {
            let name = request.get("name").and_then(Value::as_str).unwrap_or_default();
            if !request.is_object() || name.is_empty() {
                return Err(Status::new(Code::InvalidArgument, "a name is needed"));
            }
            json!({ "text": format!("Hello, {name}!"), "id": request.get("id").cloned().unwrap_or(json!("0")) })
        }
        "Fail" => {
            let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let code = Code::from_name(&text("code")).unwrap_or(Code::Unknown);
            let mut status = Status::new(code, text("message"));
            // google.rpc.ErrorInfo { reason: "TOY" }, and something nobody describes.
            status.details = vec![
                Detail {
                    type_url: "type.googleapis.com/google.rpc.ErrorInfo".into(),
                    value: Bytes::from_static(b"\x0a\x03TOY"),
                },
                Detail {
                    type_url: "type.googleapis.com/nobody.Knows".into(),
                    value: Bytes::from_static(b"\x01\x02"),
                },
            ];
            return Err(status);
        }
        _ => return Err(Status::new(Code::Unimplemented, "no such method")),
    })
}

fn count(noticed: Noticed, request: &Value) -> Reply {
    let (to, pause, fail) = (number(request, "to"), number(request, "pauseMs"), number(request, "failAfter"));
    let state = (noticed, 0_i64);
    let parts = futures_util::stream::unfold(Some(state), move |state| async move {
        let (mut noticed, n) = state?;
        if n > 0 && pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause.unsigned_abs())).await;
        }
        if fail > 0 && n >= fail {
            noticed.1 = true;
            return Some((Part::End(Status::new(Code::DataLoss, "lost").into()), None));
        }
        if n >= to {
            noticed.1 = true;
            return Some((Part::End(End::default()), None));
        }
        let item = json!({ "n": n + 1, "cursor": format!("c{}", n + 1) }).to_string();
        Some((Part::Message(item.into()), Some((noticed, n + 1))))
    });
    Reply { metadata: http::HeaderMap::new(), parts: Box::pin(parts) }
}

/// The schema of all these services.
pub fn schema() -> Schema {
    Schema::from_texts([("toy/v1/toy.proto", PROTO), ("spec/v1/examples.proto", SPEC)])
        .expect("a good description")
}

/// A service answered by this provider.
pub fn service(name: &str, provider: Arc<dyn Provider>) -> Service {
    Service { name: name.into(), provider, timeout: None, shown: None, json: sb_schema::Options::default() }
}

/// Puts the services on a board.
pub async fn serve(server: &Running) -> Arc<Toy> {
    let toy = Arc::new(Toy::default());
    let workers = Arc::new(Workers { topic: "toy.v1.Work.Render".into(), codecs: &[Codec::Json] });
    let services = vec![service(EXAMPLES, toy.clone()), service(TOY, toy.clone()), service(WORK, workers)];
    server.board.set_services(schema(), services).await.expect("a table of services");
    let method = "toy.v1.Work/Render";
    server.board.admin().declare_method(method, MethodPolicy::new(method)).await.expect("a method");
    toy
}
