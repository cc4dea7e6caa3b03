//! The service that is called, a real gRPC server of its own, and the server in front of it that speaks everything.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use sb_board::Access;
use sb_board::auth::{Authority, Grants, method_pattern};
use sb_board::call::{Call, Code, Codec, Detail, End, Part, Provider, Reply, Service, Status};
use sb_board::mount::{BoxFuture, Dialer, Target};
use sb_schema::{Message, Options, Schema};
use sb_suite::{Running, rpc, start, start_with};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// May call everything.
pub const KEY: &str = "key-of-all";
/// May call `Read` alone.
pub const LESS: &str = "key-of-less";

const PROTO: &str = r#"
syntax = "proto3";
package same.v1;
import "google/api/annotations.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

enum Mood { MOOD_UNSPECIFIED = 0; MOOD_GOOD = 1; MOOD_BAD = -2; }
message Inner { string text = 1; int64 n = 2; Inner inner = 3; }
message Everything {
  double a_double = 1;
  float a_float = 2;
  int32 an_int32 = 3;
  int64 an_int64 = 4;
  uint32 a_uint32 = 5;
  uint64 a_uint64 = 6;
  sint32 a_sint32 = 7;
  sint64 a_sint64 = 8;
  fixed32 a_fixed32 = 9;
  fixed64 a_fixed64 = 10;
  sfixed32 a_sfixed32 = 11;
  sfixed64 a_sfixed64 = 12;
  bool a_bool = 13;
  string text = 14;
  bytes data = 15;
  optional int32 perhaps = 16;
  optional string perhaps_text = 17;
  Mood mood = 18;
  repeated Mood moods = 19;
  Inner inner = 20;
  repeated Inner inners = 21;
  repeated int64 longs = 22;
  repeated string texts = 23;
  map<string, int64> counts = 24;
  map<int32, Inner> numbered = 25;
  oneof choice { string word = 26; int64 number = 27; Inner nested = 28; }
  google.protobuf.Timestamp at = 29;
  google.protobuf.Duration took = 30;
  google.protobuf.Int64Value wrapped = 31;
}
message Order { int32 code = 1; string text = 2; }
message Blob { bytes data = 1; }

service Same {
  // Sends back what it is sent.
  rpc Read(Everything) returns (Everything) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = { post: "/v1/read" body: "*" };
  }
  // Fails with the code of this number.
  rpc Fail(Order) returns (Blob) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = { get: "/v1/fail/{code}" };
  }
  // Never answers.
  rpc Hang(Order) returns (Blob) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = { get: "/v1/hang/{code}" };
  }
  // Sends back bytes, as many as the number says.
  rpc Grow(Order) returns (Blob) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = { get: "/v1/grow/{code}" };
  }
  // Takes bytes.
  rpc Take(Blob) returns (Order) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = { post: "/v1/take" body: "*" };
  }
}
// Nobody listens where it should be.
service Away {
  rpc Lost(Order) returns (Blob) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = { get: "/v1/lost/{code}" };
  }
}
// Has less time than it takes.
service Slow {
  rpc Late(Order) returns (Blob) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = { get: "/v1/late/{code}" };
  }
}
"#;

/// How long [`Slow`](PROTO) has.
const SHORT: Duration = Duration::from_millis(150);

pub fn schema() -> Schema {
    static SCHEMA: LazyLock<Schema> =
        LazyLock::new(|| Schema::from_texts([("same/v1/same.proto", PROTO)]).expect("a good description"));
    SCHEMA.clone()
}

pub fn message(name: &str) -> Message {
    schema().message(&format!("same.v1.{name}")).expect("a message")
}

/// A message of this type as Protobuf, out of ProtoJSON.
pub fn proto(kind: &str, json: &Value) -> Bytes {
    let bytes = sb_schema::json_to_proto(&message(kind), json.to_string().as_bytes(), &Options::default());
    bytes.unwrap_or_else(|e| panic!("{kind} {json}: {e}"))
}

/// What the service heard.
pub struct Heard {
    pub metadata: HeaderMap,
    pub message: Bytes,
}

/// The service.
#[derive(Default)]
pub struct Same {
    pub heard: Mutex<Option<Heard>>,
    /// Calls of `Hang` that began …
    pub begun: AtomicUsize,
    /// … and those that were dropped.
    pub dropped: AtomicUsize,
}

struct Hanging(Arc<Same>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// The metadata of every answer, good and bad.
pub fn leading() -> HeaderMap {
    pairs(&[("x-lead", "a"), ("x-lead", "b, c"), ("x-lead-bin", "AP8Q")])
}

/// The same behind it.
pub fn trailing() -> HeaderMap {
    pairs(&[("x-trail", "d"), ("x-trail-bin", "/w")])
}

pub fn pairs(list: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in list {
        let name: http::HeaderName = name.parse().expect("a name");
        map.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    map
}

/// The details of every failure: `BadRequest`, `ErrorInfo`, and a type that nobody has described.
pub fn details() -> Vec<Detail> {
    let known = |name: &str, json: Value| {
        let kind = schema().message(name).expect("it is bundled");
        let value = sb_schema::json_to_proto(&kind, json.to_string().as_bytes(), &Options::default());
        Detail { type_url: format!("type.googleapis.com/{name}"), value: value.expect("a detail") }
    };
    vec![
        known(
            "google.rpc.BadRequest",
            json!({ "fieldViolations": [{ "field": "order.text", "description": "is empty ☹" }] }),
        ),
        known(
            "google.rpc.ErrorInfo",
            json!({ "reason": "WHY", "domain": "same.v1", "metadata": { "a": "1" } }),
        ),
        Detail {
            type_url: "type.googleapis.com/nobody.Knows".into(),
            value: Bytes::from_static(b"\x01\xff\x00"),
        },
    ]
}

/// What the service says of itself when it fails.
pub const SENTENCE: &str = "100 % wrong: \"grüße\" ✗";

impl Provider for Same {
    fn call(self: Arc<Self>, _: Access, mut call: Call) -> BoxFuture<Result<Reply, Status>> {
        Box::pin(async move {
            let message = call.message().await?;
            let metadata = std::mem::take(&mut call.metadata);
            *self.heard.lock().unwrap() = Some(Heard { metadata, message: message.clone() });
            let code = || {
                let json = sb_schema::proto_to_json(&self::message("Order"), &message, &Options::default());
                let json: Value = serde_json::from_slice(&json.expect("an order")).expect("JSON");
                json["code"].as_u64().unwrap_or(0)
            };
            let answer = match call.method.rsplit('/').next().unwrap_or_default() {
                "Read" => Ok(message),
                "Take" => Ok(Bytes::new()),
                "Grow" => Ok(proto_blob(code() as usize)),
                "Fail" => {
                    let code = Code::from_number(code() as u32).expect("a code");
                    Err(Status { details: details(), ..Status::new(code, SENTENCE) })
                }
                _ => {
                    self.begun.fetch_add(1, Ordering::SeqCst);
                    let _hanging = Hanging(self.clone());
                    std::future::pending().await
                }
            };
            let (message, status) = match answer {
                Ok(message) => (Some(Part::Message(message)), None),
                Err(status) => (None, Some(status)),
            };
            let end = Part::End(End { status, trailers: trailing() });
            let parts = Box::pin(futures_util::stream::iter(message.into_iter().chain([end])));
            Ok(Reply { metadata: leading(), parts })
        })
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Proto]
    }

    fn target(&self) -> String {
        "the test".to_owned()
    }
}

fn proto_blob(n: usize) -> Bytes {
    let mut out = Vec::new();
    sb_schema::wire::put_bytes(&mut out, 1, &vec![b'x'; n]);
    out.into()
}

/// The server that is called, with the service behind it.
pub struct World {
    pub front: Running,
    pub same: Arc<Same>,
    /// Keeps the service's server.
    _back: Running,
}

impl World {
    /// What the service heard since this was asked last.
    pub fn heard(&self) -> Option<Heard> {
        self.same.heard.lock().unwrap().take()
    }
}

/// Starts a server with the service, and one in front of it, which reaches it over gRPC.
pub async fn world() -> World {
    let same = Arc::new(Same::default());
    let back = start().await;
    let services = ["same.v1.Same", "same.v1.Slow"].map(|name| rpc::service(name, same.clone()));
    back.board.set_services(schema(), services.into()).await.expect("services");

    let grants = |methods: &[&str]| Grants {
        call: methods.iter().map(|method| method_pattern(method).expect("a pattern")).collect(),
        ..Grants::default()
    };
    let all = grants(&["same.v1.Same/*", "same.v1.Away/*", "same.v1.Slow/*"]);
    let roles =
        BTreeMap::from([("all".to_owned(), all), ("less".to_owned(), grants(&["same.v1.Same/Read"]))]);
    let keys = [(KEY, "all"), (LESS, "less")].map(|(key, role)| (key.to_owned(), role.to_owned()));
    let front = start_with(Authority::new(keys, Vec::new(), roles)).await;
    let dialer: Arc<dyn Dialer> = Arc::new(sb_net::Dial);
    let client = sb_grpc::GRPC.client.as_ref().expect("gRPC has a client");
    let at = |addr: std::net::SocketAddr| {
        let target = Target { url: format!("grpc://{addr}"), ..Target::default() };
        (client.connect)(&target, &dialer).expect("a target")
    };
    // A port that was free a moment ago; whoever is given it in between does not speak HTTP/2.
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let upstream = at(back.addr);
    let slow = Service { timeout: Some(SHORT), ..rpc::service("same.v1.Slow", upstream.clone()) };
    let services =
        vec![rpc::service("same.v1.Same", upstream), rpc::service("same.v1.Away", at(nobody)), slow];
    front.board.set_services(schema(), services).await.expect("services");
    World { front, same, _back: back }
}
