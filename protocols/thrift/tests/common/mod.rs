//! Servers of one process, and services that they serve.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use sb_board::auth::{Authority, Grants, method_pattern};
use sb_board::call::{Call, Code, Codec, Detail, Provider, Reply, Service, Status};
use sb_board::mount::{BoxFuture, Descriptor, Dialer, Target};
use sb_board::{Access, Board, HttpSettings, Settings};
use sb_net::{Dial, Listener, NetLimits, Server};
use sb_schema::{Builder, Options, Schema};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Notify;

pub const MAX_MESSAGE: usize = 256 * 1024;

pub const KINDS: &str = r#"
syntax = "proto3";
package kinds.v1;
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/wrappers.proto";
// The colours.
enum Color { COLOR_UNSPECIFIED = 0; COLOR_RED = 1; COLOR_BLUE = -2; }
message Inner { string from = 1; repeated Inner children = 2; message Deep { int32 n = 1; } Deep deep = 3; }
message All {
  double a_double = 1; float a_float = 2; int32 an_int32 = 3; int64 an_int64 = 4; uint32 a_uint32 = 5; uint64 a_uint64 = 6;
  sint32 a_sint32 = 7; sint64 a_sint64 = 8; fixed32 a_fixed32 = 9; fixed64 a_fixed64 = 10; sfixed32 an_sfixed32 = 11;
  sfixed64 an_sfixed64 = 12; bool a_bool = 13; string a_string = 14; bytes some_bytes = 15; Color color = 16; Inner inner = 17;
  optional int32 maybe = 18; optional string maybe_text = 19;
  repeated int32 numbers = 20; repeated string texts = 21; repeated bool flags = 22; repeated Color colors = 23; repeated Inner inners = 24;
  repeated double doubles = 25; repeated fixed64 fixeds = 26; repeated bytes blobs = 27; repeated sint64 zigzags = 28;
  map<string, int32> counts = 30; map<int32, Inner> by_number = 31; map<bool, string> by_bool = 32; map<uint64, Color> by_big = 33;
  oneof choice { string word = 40; int64 figure = 41; Inner whole = 42; }
  google.protobuf.Timestamp at = 50;
  google.protobuf.Struct anything = 51;
  google.protobuf.StringValue wrapped = 52;
  int32 far = 30000;
  int32 too_far = 40000;
}
message Ask { string name = 1; int32 ms = 2; }
message Answer { string text = 1; }
service Kinds {
  // Gives back what it is given.
  rpc Echo(All) returns (All) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Fail(Ask) returns (Answer);
  rpc Hang(Ask) returns (Answer);
  rpc delete(Ask) returns (Answer);
  rpc Watch(Ask) returns (stream Answer);
}
service Other { rpc Echo(Ask) returns (Ask); }
"#;

pub const CALC: &str = r#"
namespace * calc.v1
const i32 LIMIT = 12
typedef i64 Money
typedef list<Money> Prices
/** How. */
enum Op { ADD = 1, SUB, MUL = 5 }
struct Point { 1: required i32 x, 2: i32 y = LIMIT, 3: optional i32 z, -4: i16 odd }
union Shape { 1: Point point, 2: list<Point> line, 3: string name }
exception Overflow { 1: string why, 2: i32 code } (code = "OUT_OF_RANGE")
exception Missing { 1: string what }
struct Everything {
  1: bool b, 2: i8 small, 3: i16 short_one, 4: i32 n, 5: i64 big, 6: double d, 7: string s, 8: binary raw,
  9: list<i16> shorts, 10: set<string> words, 11: map<string, i32> counts, 12: map<double, string> by_double,
  13: map<Point, list<string>> by_point, 14: list<list<i32>> matrix, 15: set<set<i8>> sets, 16: map<i32, map<i32, string>> nested,
  17: Op op, 18: list<Op> ops, 19: map<Op, i64> by_op, 20: Shape shape, 21: Prices prices, 22: optional list<string> maybe,
  23: optional Everything inner, 24: map<i16, i8> tiny, 25: Op how = Op.MUL, 26: bool yes = true
}
service Base { string ping(), oneway void note(1: string text) }
service Calc extends Base {
  i32 apply(1: Op op, 2: i32 a, 5: i32 b) throws (1: Overflow overflow, 3: Missing missing),
  Everything echo(1: Everything value) (idempotent),
  list<list<i32>> transpose(1: list<list<i32>> rows),
  map<string, Point> points(1: set<string> names),
  void nothing(),
}
"#;

/// A schema of both.
pub fn schema() -> Schema {
    let mut builder = Builder::new();
    builder.text("kinds.proto", KINDS).unwrap();
    let translated = sb_thrift::idl::to_proto(&[("calc.thrift", CALC)]).unwrap();
    for (path, text) in &translated.protos {
        builder.text(path, text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    }
    builder.build().unwrap_or_else(|e| panic!("{e}\n{:?}", translated.protos.last()))
}

/// Answers as the names of the methods say.
pub struct Echo {
    schema: Schema,
    /// Calls that run or hang.
    pub running: AtomicUsize,
    /// Notes that came.
    pub notes: AtomicUsize,
    pub changed: Notify,
}

struct Counted<'a>(&'a Echo);

impl<'a> Counted<'a> {
    fn new(echo: &'a Echo) -> Self {
        echo.running.fetch_add(1, SeqCst);
        echo.changed.notify_waiters();
        Counted(echo)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl Echo {
    pub async fn until(&self, what: impl Fn(&Echo) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if what(self) {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it comes about");
    }

    pub fn json(&self, message: &str, bytes: &[u8]) -> serde_json::Value {
        let message = self.schema.message(message).unwrap();
        serde_json::from_slice(&sb_schema::proto_to_json(&message, bytes, &Options::default()).unwrap())
            .unwrap()
    }

    pub fn proto(&self, message: &str, json: &serde_json::Value) -> Bytes {
        let message = self.schema.message(message).unwrap();
        sb_schema::json_to_proto(&message, json.to_string().as_bytes(), &Options::default())
            .unwrap_or_else(|e| panic!("{e}: {json}"))
    }
}

impl Provider for Echo {
    fn call(self: Arc<Self>, _: Access, mut call: Call) -> BoxFuture<Result<Reply, Status>> {
        Box::pin(async move {
            let _counted = Counted::new(&self);
            let body = call.message().await?;
            match &*call.method {
                "kinds.v1.Kinds/Echo" | "kinds.v1.Other/Echo" | "calc.v1.Calc/transpose" => {
                    let mut reply = Reply::unary(body);
                    if let Some(value) = call.metadata.get("x-mine") {
                        reply.metadata.insert("x-seen", value.clone());
                    }
                    Ok(reply)
                }
                "kinds.v1.Kinds/Fail" => {
                    let asked = self.json("kinds.v1.Ask", &body);
                    let code =
                        Code::from_name(asked["name"].as_str().unwrap_or_default()).unwrap_or(Code::Unknown);
                    let value = self.proto("kinds.v1.Answer", &serde_json::json!({ "text": "detail" }));
                    let details =
                        vec![Detail { type_url: "type.googleapis.com/kinds.v1.Answer".into(), value }];
                    Err(Status { details, ..Status::new(code, "as wanted: ü") })
                }
                "kinds.v1.Kinds/delete" => {
                    Ok(Reply::unary(self.proto("kinds.v1.Answer", &serde_json::json!({ "text": "deleted" }))))
                }
                "calc.v1.Calc/ping" => Ok(Reply::unary(
                    self.proto("calc.v1.Base_ping_result", &serde_json::json!({ "success": "pong" })),
                )),
                "calc.v1.Calc/note" => {
                    self.notes.fetch_add(1, SeqCst);
                    Ok(Reply::unary(Bytes::new()))
                }
                "calc.v1.Calc/nothing" => Ok(Reply::unary(Bytes::new())),
                "calc.v1.Calc/echo" => {
                    let asked = self.json("calc.v1.Calc_echo_args", &body);
                    Ok(Reply::unary(self.proto(
                        "calc.v1.Calc_echo_result",
                        &serde_json::json!({ "success": asked["value"] }),
                    )))
                }
                "calc.v1.Calc/apply" => {
                    let asked = self.json("calc.v1.Calc_apply_args", &body);
                    let n = |name: &str| asked[name].as_i64().unwrap_or(0) as i32;
                    let done = match asked["op"].as_str() {
                        Some("OP_ADD") => n("a").checked_add(n("b")),
                        Some("OP_SUB") => n("a").checked_sub(n("b")),
                        Some("OP_MUL") => n("a").checked_mul(n("b")),
                        _ => return Err(Status::new(Code::NotFound, "no such operation")),
                    };
                    let Some(done) = done else {
                        let value = self
                            .proto("calc.v1.Overflow", &serde_json::json!({ "why": "too large", "code": 7 }));
                        let details =
                            vec![Detail { type_url: "type.googleapis.com/calc.v1.Overflow".into(), value }];
                        return Err(Status { details, ..Status::new(Code::OutOfRange, "too large") });
                    };
                    Ok(Reply::unary(
                        self.proto("calc.v1.Calc_apply_result", &serde_json::json!({ "success": done })),
                    ))
                }
                "calc.v1.Calc/points" => {
                    let asked = self.json("calc.v1.Calc_points_args", &body);
                    let points = asked["names"].as_array().into_iter().flatten();
                    let points: Vec<_> =
                        points.map(|name| serde_json::json!({ "key": name, "value": { "x": 1 } })).collect();
                    Ok(Reply::unary(
                        self.proto("calc.v1.Calc_points_result", &serde_json::json!({ "success": points })),
                    ))
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

pub struct Running {
    pub board: Arc<Board>,
    pub addr: SocketAddr,
    pub echo: Arc<Echo>,
}

static THRIFT: &[&Descriptor] = &[&sb_thrift::WEB, &sb_thrift::DESCRIPTOR];
pub const SERVICES: [&str; 3] = ["kinds.v1.Kinds", "kinds.v1.Other", "calc.v1.Calc"];

/// A server; with a key, only who has it may call.
pub async fn start(key: Option<&str>) -> Running {
    let grants = Grants { call: vec![method_pattern("*").unwrap()], ..Grants::default() };
    let keys = key.map(|key| (key.to_owned(), "all".to_owned()));
    let settings = Settings {
        dir: None,
        authority: Authority::new(keys, Vec::new(), BTreeMap::from([("all".to_owned(), grants)])),
        http: HttpSettings { max_body: 8 << 20, ..HttpSettings::default() },
        memory: 64 << 20,
        max_message: MAX_MESSAGE,
        max_request: 8 << 20,
        max_wait_ms: 60_000,
        mode: "test".into(),
    };
    let (board, _) = Board::start(settings).expect("a board in memory");
    let schema = schema();
    let echo = Arc::new(Echo {
        schema: schema.clone(),
        running: AtomicUsize::new(0),
        notes: AtomicUsize::new(0),
        changed: Notify::new(),
    });
    let services = SERVICES.map(|name| service(name, echo.clone())).into();
    board.set_services(schema, services).await.unwrap();
    let listener = Listener { addr: SocketAddr::from(([127, 0, 0, 1], 0)), only: None, tls: None };
    let server =
        Server::bind(board.clone(), THRIFT, vec![listener], NetLimits::default()).expect("a free port");
    let addr = server.local_addrs()[0];
    tokio::spawn(server.run(std::future::pending()));
    Running { board, addr, echo }
}

pub fn service(name: &str, provider: Arc<dyn Provider>) -> Service {
    Service { name: name.into(), provider, timeout: None, shown: None, json: Options::default() }
}

/// A board whose services are at a Thrift server.
pub async fn through(url: &str) -> Arc<Board> {
    let settings = Settings {
        dir: None,
        authority: Authority::new([], Vec::new(), BTreeMap::new()),
        http: HttpSettings::default(),
        memory: 64 << 20,
        max_message: MAX_MESSAGE,
        max_request: 8 << 20,
        max_wait_ms: 60_000,
        mode: "test".into(),
    };
    let (board, _) = Board::start(settings).expect("a board in memory");
    let dialer: Arc<dyn Dialer> = Arc::new(Dial);
    let target = Target { url: url.to_owned(), ..Target::default() };
    let provider = sb_thrift::client::connect(&target, &dialer).unwrap();
    let services = SERVICES.map(|name| service(name, provider.clone())).into();
    board.set_services(schema(), services).await.unwrap();
    board
}
