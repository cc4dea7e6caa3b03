//! GraphQL: documents and variables of strangers, run against a service that answers with bytes of the input.

use bytes::Bytes;
use sb_board::access::Access;
use sb_board::auth::Authority;
use sb_board::call::{Call, Codec, Provider, Reply, Service, Status};
use sb_board::mount::BoxFuture;
use sb_board::{Board, HttpSettings, Settings};
use std::sync::{Arc, LazyLock, Mutex};
use tokio::runtime::Runtime;

const PROTO: &str = r#"syntax = "proto3"; package z;
service Z {
  rpc Echo(All) returns (All) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Keep(All) returns (All);
  rpc Watch(All) returns (stream All);
}
message All {
  double double = 1; int32 int32 = 2; int64 int64 = 3; string string = 4; bytes bytes = 5; Number number = 6; All all = 7;
  repeated All alls = 8; map<string, int64> numbers = 9; map<bool, All> by_truth = 10;
  oneof choice { string text = 11; All inner = 12; None none = 13; }
}
enum Number { ZERO = 0; ONE = 1; }
message None {}"#;

/// What the service answers next.
static ANSWER: Mutex<Bytes> = Mutex::new(Bytes::new());

struct Service1;

impl Provider for Service1 {
    fn call(self: Arc<Self>, _: Access, _: Call) -> BoxFuture<Result<Reply, Status>> {
        let answer = ANSWER.lock().map(|bytes| bytes.clone()).unwrap_or_default();
        Box::pin(async move { Ok(Reply::unary(answer)) })
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Json]
    }

    fn target(&self) -> String {
        "bytes".into()
    }
}

static SITE: LazyLock<(Runtime, Access)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let access = runtime.block_on(async {
        let (board, _) = Board::start(Settings {
            dir: None,
            authority: Authority::new([], Vec::new(), Default::default()),
            http: HttpSettings::default(),
            memory: 64 << 20,
            max_message: 1 << 20,
            max_request: 8 << 20,
            max_wait_ms: 1_000,
            mode: "development".into(),
        })
        .unwrap();
        let schema = sb_schema::Schema::from_texts([("z.proto", PROTO)]).unwrap();
        let service = Service {
            name: "z.Z".into(),
            provider: Arc::new(Service1),
            timeout: None,
            shown: None,
            json: sb_schema::Options::default(),
        };
        board.set_services(schema, vec![service]).await.unwrap();
        board.admin()
    });
    (runtime, access)
});

/// The input is a document, a NUL, variables in JSON, a NUL, and what the service answers.
pub fn graphql(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut next = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (query, variables, answer) = (next(), next(), next());
    if let Ok(mut now) = ANSWER.lock() {
        *now = answer.into();
    }
    let variables = serde_json::from_str(&variables).unwrap_or(serde_json::Value::Null);
    let request = serde_json::json!({ "query": query, "variables": variables }).to_string();
    let (runtime, access) = &*SITE;
    let response = runtime.block_on(sb_graphql::answer(access, request.as_bytes()));
    let response: serde_json::Value = serde_json::from_slice(&response).expect("the response is no JSON");
    assert!(response.get("data").is_some() || response.get("errors").is_some(), "{response}");
    // What is refused says why, and has no data.
    if let Some(errors) = response.get("errors").and_then(|e| e.as_array()) {
        assert!(errors.iter().all(|e| e["message"].is_string() && e["extensions"]["code"].is_string()), "{response}");
    }
}
