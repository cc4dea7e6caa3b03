//! What is made of a schema: JSON Schema, OpenAPI, the list of breaking changes, and HTTP requests for upstreams.

use sb_schema::rest::{Binding, Found, Router};
use sb_schema::{
    Builder, Options, Schema, breaking_changes, json_schema, json_to_proto, openapi_paths, proto_to_json,
};
use serde_json::{Value, json};

const TREE: &str = r#"
syntax = "proto3";
package t;
import "google/api/annotations.proto";
import "google/api/field_behavior.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";

// A node.
message Node {
  // Its name.
  string name = 1 [(google.api.field_behavior) = REQUIRED];
  repeated Node children = 2;
  map<int32, Color> colors = 3;
  oneof payload { string text = 4; bytes raw = 5; Leaf leaf = 6; }
  int64 size = 7 [(google.api.field_behavior) = OUTPUT_ONLY, deprecated = true];
  google.protobuf.Timestamp at = 8;
  google.protobuf.Value any = 9;
  double weight = 10;
}
message Leaf { bool green = 1; }
// Colours.
enum Color {
  NONE = 0;
  // Not blue.
  RED = 1;
}
service Trees {
  // Reads a node.
  //
  // More about it.
  rpc Get(Get) returns (Node) {
    option (google.api.http) = { get: "/v1/{name=trees/*/nodes/*}" additional_bindings { get: "/v1/x/{name}" } };
  }
  rpc Put(Put) returns (Node) { option (google.api.http) = { put: "/v1/{node.name=trees/**}:put" body: "node" }; }
  rpc Make(Node) returns (Node) { option (google.api.http) = { post: "/v1/{name}" body: "*" response_body: "children" }; }
  rpc Watch(Get) returns (stream Node) { option (google.api.http) = { get: "/v1/watch/{name}" }; }
  rpc Fill(stream Node) returns (Node);
  rpc Seek(Get) returns (Node) { option (google.api.http) = { custom: { kind: "SEEK" path: "/v1/seek" } }; }
}
message Get { string name = 1; int32 page_size = 2; Leaf leaf = 3; repeated Color colors = 4; map<string, int64> labels = 5; repeated Node nodes = 6; google.protobuf.Timestamp since = 7; }
message Put { Node node = 1; bool force = 2; string note = 3; }
"#;

fn tree() -> Schema {
    Schema::from_texts([("t.proto", TREE)]).unwrap()
}

#[test]
fn json_schemas() {
    let schema = json_schema(&tree().message("t.Node").unwrap(), &Options::default());
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["description"], "A node.");
    assert_eq!(schema["required"], json!(["name"]));
    let properties = &schema["properties"];
    assert_eq!(properties["name"], json!({ "type": "string", "description": "Its name." }));
    assert_eq!(properties["children"], json!({ "type": "array", "items": { "$ref": "#/$defs/t.Node" } }));
    assert_eq!(properties["colors"]["additionalProperties"], json!({ "$ref": "#/$defs/t.Color" }));
    assert_eq!(properties["at"], json!({ "type": "string", "format": "date-time" }));
    assert_eq!(
        (&properties["size"]["readOnly"], &properties["size"]["deprecated"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(schema["allOf"][0]["oneOf"].as_array().unwrap().len(), 4);
    // Recursive, so it is defined too; and all that is referred to is there.
    let defs = schema["$defs"].as_object().unwrap();
    assert_eq!(defs.keys().collect::<Vec<_>>(), ["t.Color", "t.Leaf", "t.Node"]);
    assert_eq!(defs["t.Color"]["enum"], json!(["NONE", "RED"]));
    assert_eq!(defs["t.Color"]["description"], "Colours.\nRED: Not blue.");
    let leaf = json_schema(&tree().message("t.Leaf").unwrap(), &Options::default());
    assert!(leaf.get("$defs").is_none());
    assert_eq!(leaf["additionalProperties"], false);
}

#[test]
fn openapi() {
    let (document, left_out) = openapi_paths(&tree(), &Options::default());
    let paths = &document["paths"];
    let get = &paths["/v1/trees/{name_1}/nodes/{name_2}"]["get"];
    assert_eq!(get["operationId"], "t.Trees.Get");
    assert_eq!((&get["summary"], &get["tags"]), (&json!("Reads a node."), &json!(["t.Trees"])));
    let names: Vec<&str> =
        get["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["name_1", "name_2", "pageSize", "leaf.green", "colors", "labels", "since"]);
    assert_eq!(paths["/v1/x/{name}"]["get"]["operationId"], "t.Trees.Get_2");
    let put = &paths["/v1/trees/{node.name}:put"]["put"];
    assert_eq!(
        put["requestBody"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/t.Node"
    );
    let names: Vec<&str> =
        put["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["node.name", "force", "note"]);
    let make = &paths["/v1/{name}"]["post"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(make["type"], "array");
    assert!(paths["/v1/watch/{name}"]["get"]["responses"]["200"]["content"]["text/event-stream"].is_object());
    assert!(paths["/t.Trees/Get"]["post"].is_object());
    let text: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    assert!(text.len() == 2 && text[0].contains("SEEK") && text[1].contains("t.Trees/Fill"), "{text:?}");
    // Every reference leads somewhere.
    fn references<'v>(value: &'v Value, all: &mut Vec<&'v str>) {
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| match (key.as_str(), value) {
                ("$ref", Value::String(to)) => all.push(to),
                _ => references(value, all),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, all)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    references(&document, &mut all);
    assert!(all.iter().all(|to| document.pointer(&to[1..]).is_some_and(Value::is_object)), "{all:?}");
}

#[test]
fn breaking() {
    let before = r#"
        syntax = "proto3"; package b; import "google/api/annotations.proto";
        service S {
          rpc A(M) returns (M) { option idempotency_level = NO_SIDE_EFFECTS; option (google.api.http) = { get: "/a" }; }
          rpc B(M) returns (M); rpc C(M) returns (M);
        }
        service T { rpc A(M) returns (M); }
        message M {
          int32 a = 1; int32 b = 2; string c = 3; repeated int32 d = 4; int32 e = 5; string f = 6; string g = 7; M h = 8; int32 i = 9;
          int32 same = 15;
        }
        message Gone {}
        enum E { ZERO = 0; ONE = 1; TWO = 2; THREE = 3; }
    "#;
    let after = r#"
        syntax = "proto3"; package b; import "google/api/annotations.proto";
        service S {
          rpc A(M) returns (M) { option (google.api.http) = { get: "/b" }; }
          rpc B(stream M) returns (N); rpc D(M) returns (M);
        }
        message M {
          int64 a = 1; string b = 2; string renamed = 3; int32 d = 4; int32 e = 50; string f = 6 [json_name = "F"];
          oneof o { string g = 7; string more = 10; } N h = 8; sint32 i = 9; int32 same = 15; int32 new = 16;
        }
        message N {}
        enum E { ZERO = 0; UNO = 1; TWO = 4; }
    "#;
    let schema = |text| Schema::from_texts([("b.proto", text)]).unwrap();
    let list: Vec<String> =
        breaking_changes(&schema(before), &schema(after)).iter().map(ToString::to_string).collect();
    assert_eq!(
        list,
        [
            "b.E.ONE is called UNO now (JSON only)",
            "b.E.THREE was removed",
            "b.E.TWO was 2 and is 4",
            "b.Gone was removed",
            "b.M.a was int32 and is int64 (JSON only)",
            "b.M.b was int32 and is string",
            "b.M.c is called renamed now (JSON only)",
            "b.M.d was a list and is a single value",
            "b.M.e had the number 5 and has 50 (Protobuf only)",
            "b.M.f is \"F\" in JSON instead of \"f\" (JSON only)",
            "b.M.g is a member of the oneof o now",
            "b.M.h was b.M and is b.N",
            "b.M.i was int32 and is sint32",
            "b.S.A is no longer without side effects: it cannot be called by GET",
            "b.S.A has no GET /a any more (JSON only)",
            "b.S.B was unary and is client streaming",
            "b.S.B answers b.N instead of b.M",
            "b.S.C was removed",
            "b.T was removed",
        ]
    );
    assert!(breaking_changes(&schema(before), &schema(before)).is_empty());
}

#[test]
fn requests_to_upstreams_come_back_the_same() {
    let schema = tree();
    let (router, _) = Router::new(&schema);
    let options = Options::default();
    for (method, place, message, http, target, body) in [
        (
            "Get",
            0,
            r#"{"name":"trees/a b/nodes/ü","pageSize":5,"leaf":{"green":true},"colors":["RED","NONE"],"labels":{"a/b":"1"},"since":"2026-01-01T00:00:00Z"}"#,
            "GET",
            "/v1/trees/a%20b/nodes/%C3%BC?colors=RED&colors=NONE&labels[a%2Fb]=1&leaf.green=true&pageSize=5&since=2026-01-01T00%3A00%3A00Z",
            None,
        ),
        ("Get", 1, r#"{"name":"a/b"}"#, "GET", "/v1/x/a%2Fb", None),
        (
            "Put",
            0,
            r#"{"node":{"name":"trees/x/y","text":"hi"},"force":true}"#,
            "PUT",
            "/v1/trees/x/y:put?force=true",
            Some(r#"{"text":"hi"}"#),
        ),
        (
            "Make",
            0,
            r#"{"name":"n","children":[{"name":"c"}]}"#,
            "POST",
            "/v1/n",
            Some(r#"{"children":[{"name":"c"}]}"#),
        ),
    ] {
        let method = schema.method(&format!("t.Trees/{method}")).unwrap();
        let binding = &Binding::of(method).unwrap()[place];
        let proto = json_to_proto(&method.input, message.as_bytes(), &options).unwrap();
        let sent = binding.expand(&proto, &options).unwrap();
        assert_eq!((sent.method.as_str(), sent.target.as_str()), (http, target));
        assert_eq!(sent.body.as_deref(), body.map(str::as_bytes));
        let (path, query) = sent.target.split_once('?').unwrap_or((&sent.target, ""));
        let Found::Match(found) = router.find(&sent.method, path) else { panic!("{target} is not found") };
        let again = found.request(query, sent.body.as_deref(), None, &options).unwrap();
        assert_eq!(proto_to_json(&method.input, &again, &options).unwrap(), message.as_bytes());
    }
    let get = schema.method("t.Trees/Get").unwrap();
    let bindings = Binding::of(get).unwrap();
    for (place, bad) in [
        (0, r#"{}"#),
        (0, r#"{"name":"trees/a"}"#),
        (0, r#"{"name":"trees/../nodes/b"}"#),
        (0, r#"{"name":"trees/a/nodes/"}"#),
        (0, r#"{"name":"trees/a/nodes/b/c"}"#),
        (1, r#"{"name":".."}"#),
        (1, r#"{"name":"a","nodes":[{}]}"#),
    ] {
        let proto = json_to_proto(&get.input, bad.as_bytes(), &options).unwrap();
        assert!(bindings[place].expand(&proto, &options).is_err(), "{bad}");
    }
    let make = &Binding::of(schema.method("t.Trees/Make").unwrap()).unwrap()[0];
    let answer = make.answer(br#"[{"name":"a"}]"#, None, &options).unwrap();
    let node = schema.message("t.Node").unwrap();
    assert_eq!(proto_to_json(&node, &answer, &options).unwrap(), br#"{"children":[{"name":"a"}]}"#);
}

#[test]
fn snapshots_are_independent() {
    let first = tree();
    let method = first.method("t.Trees/Get").unwrap().clone();
    let mut builder = Builder::new();
    builder.text("t.proto", &TREE.replace("rpc Fill(stream Node) returns (Node);", "")).unwrap();
    let second = builder.build().unwrap();
    drop(first);
    assert_eq!(method.input.full_name(), "t.Get");
    assert!(second.method("t.Trees/Fill").is_none());
}
