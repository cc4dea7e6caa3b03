//! Descriptors, ProtoJSON and REST bindings.

use sb_schema::rest::{Found, Router};
use sb_schema::{
    Builder, Error, Message, Options, Schema, Unknown, breaking_changes, json_schema, json_to_proto,
    openapi_paths, proto_to_json,
};
use std::sync::OnceLock;

const KINDS: &str = include_str!("../../crates/schema/tests/kinds.proto");
const SERVICE: &str = r#"
syntax = "proto3";
package fuzz;
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
import "kinds.proto";
service S {
  rpc A(kinds.Kinds) returns (kinds.Kinds) {
    option (google.api.http) = {
      get: "/v1/{f_string}"
      additional_bindings { post: "/v1/{f_child.f_string=a/*}:go" body: "*" }
      additional_bindings { put: "/v1/{f_bytes=a/**}" body: "f_child" response_body: "r_child" }
      additional_bindings { custom: { kind: "*" path: "/v2/*/{w_time}" } body: "m_string" response_body: "w_any" }
    };
  }
  rpc B(google.api.HttpBody) returns (google.api.HttpBody) { option (google.api.http) = { post: "/v3/**" body: "*" }; }
}
"#;

fn schema() -> &'static (Schema, Router, Message) {
    static SCHEMA: OnceLock<(Schema, Router, Message)> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let schema =
            Schema::from_texts([("kinds.proto", KINDS), ("service.proto", SERVICE)]).expect("the schema");
        let (router, faults) = Router::new(&schema);
        assert!(faults.is_empty(), "{faults:?}");
        let message = schema.message("kinds.Kinds").expect("the message");
        (schema, router, message)
    })
}

/// Options by the bits of a byte.
fn options(bits: u8) -> Options {
    Options {
        int64: if bits & 1 == 0 { sb_schema::Int64::String } else { sb_schema::Int64::Number },
        unknown: if bits & 2 == 0 { Unknown::Refuse } else { Unknown::Ignore },
        show_defaults: bits & 4 != 0,
        enum_numbers: bits & 8 != 0,
        proto_names: bits & 16 != 0,
        max_output: 1 << 20,
        ..Options::default()
    }
}

fn place_is_short(error: &Error) {
    assert!(error.to_string().len() < 4096, "an error repeats its input: {error}");
}

/// A byte of options, then JSON. What is taken is read by another implementation too, and comes back the same a second time.
pub fn json_to_proto_target(data: &[u8]) {
    let Some((bits, json)) = data.split_first() else { return };
    let (_, _, message) = schema();
    let options = options(*bits);
    let proto = match json_to_proto(message, json, &options) {
        Ok(proto) => proto,
        Err(error) => return place_is_short(&error),
    };
    message.decode(&proto).expect("another reader takes it");
    let wide = Options { max_output: 1 << 26, ..options.clone() };
    if let Ok(back) = proto_to_json(message, &proto, &wide) {
        let again = json_to_proto(message, &back, &wide).expect("what was written is read");
        assert_eq!(proto_to_json(message, &again, &wide).expect("it is written again"), back);
    }
}

/// A byte of options, then Protobuf bytes. What is written is JSON, and comes back the same.
pub fn proto_to_json_target(data: &[u8]) {
    let Some((bits, proto)) = data.split_first() else { return };
    let (_, _, message) = schema();
    let options = options(*bits);
    let json = match proto_to_json(message, proto, &options) {
        Ok(json) => json,
        Err(error) => return place_is_short(&error),
    };
    let value: Result<serde_json::Value, _> = serde_json::from_slice(&json);
    assert!(value.is_ok() || json.len() > 1 << 16, "no JSON: {}", String::from_utf8_lossy(&json));
    if let Ok(again) = json_to_proto(message, &json, &options) {
        assert_eq!(proto_to_json(message, &again, &options).expect("it is written again"), json);
    }
}

/// A descriptor set, or a `.proto` text behind a zero byte. What is linked can be used for everything.
pub fn descriptors(data: &[u8]) {
    let mut builder = Builder::new();
    let added = match data.split_first() {
        Some((0, text)) => match std::str::from_utf8(text) {
            Ok(text) => builder.text("a.proto", text).map(|_| ()),
            Err(_) => return,
        },
        _ => builder.descriptor_set(data).map(|_| ()),
    };
    let schema = match added.and_then(|()| builder.build()) {
        Ok(schema) => schema,
        Err(error) => return place_is_short(&error),
    };
    assert!(breaking_changes(&schema, &schema).is_empty());
    let again = Schema::from_descriptor_set(&schema.descriptor_set()).expect("its own set is linked");
    assert!(breaking_changes(&schema, &again).is_empty());
    let _ = Router::new(&schema);
    let _ = openapi_paths(&schema, &Options::default());
    for message in schema.messages().take(4) {
        let _ = json_schema(&message, &Options::default());
        let show = Options { show_defaults: true, max_output: 1 << 20, ..Options::default() };
        let _ = proto_to_json(&message, &[], &show);
        let _ = json_to_proto(&message, b"{}", &Options::default());
    }
}

/// Lines: HTTP method, path, query, body. A request that is made is one its method's message can be read from, and that makes a request
/// of HTTP again.
pub fn rest(data: &[u8]) {
    let mut parts = data.splitn(4, |b| *b == b'\n');
    let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok()).unwrap_or_default();
    let (method, path, query) = (text(), text(), text());
    let body = parts.next();
    let (_, router, _) = schema();
    let Found::Match(found) = router.find(method, path) else { return };
    for options in [options(0), options(2)] {
        let Ok(proto) = found.request(query, body, Some("text/plain"), &options) else { continue };
        let input = &found.method().input;
        if input.full_name() == "kinds.Kinds" {
            input.decode(&proto).expect("another reader takes it");
        }
        let _ = found.response(&proto, &options);
        if let Ok(target) = found.binding().expand(&proto, &options) {
            let (path, query) = target.target.split_once('?').unwrap_or((&target.target, ""));
            let Found::Match(again) = router.find(&target.method, path) else {
                panic!("{target:?} leads nowhere")
            };
            if std::ptr::eq(&**again.binding(), &**found.binding()) {
                let back = again.request(query, target.body.as_deref(), Some(&target.content_type), &options);
                // The order of a map does not count.
                let json = |proto: &[u8]| {
                    let json = proto_to_json(input, proto, &options).ok()?;
                    serde_json::from_slice::<serde_json::Value>(&json).ok()
                };
                // An empty message has no form in a query.
                let sayable = json(&proto).is_some_and(|json| !json.to_string().contains("{}"));
                if found.binding().rule().body.is_empty() && sayable {
                    assert_eq!(json(&back.expect("it is read again")), json(&proto), "{target:?}");
                }
            }
        }
    }
}
