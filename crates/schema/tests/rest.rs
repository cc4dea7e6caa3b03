//! REST bindings: the examples of google.api.http, and the corners of templates, bodies and queries.

use sb_schema::rest::{Found, Match, Router};
use sb_schema::{Options, Schema, Unknown, proto_to_json};

const LIBRARY: &str = r#"
syntax = "proto3";
package lib;
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

service Messaging {
  rpc GetMessage(GetMessageRequest) returns (Message) {
    option (google.api.http) = {
      get: "/v1/messages/{message_id}"
      additional_bindings { get: "/v1/users/{user_id}/messages/{message_id}" }
    };
  }
  rpc GetNamed(GetMessageRequest) returns (Message) { option (google.api.http) = { get: "/v1/{name=named/*}" }; }
  rpc UpdateMessage(UpdateMessageRequest) returns (Message) {
    option (google.api.http) = { patch: "/v1/messages/{message_id}" body: "message" };
  }
  rpc PutMessage(Message) returns (Message) { option (google.api.http) = { put: "/v1/messages/{message_id}" body: "*" }; }
  rpc DeleteMessage(GetMessageRequest) returns (Message) { option (google.api.http) = { delete: "/v1/messages/{message_id}" }; }
  rpc Cancel(GetMessageRequest) returns (Message) {
    option (google.api.http) = { post: "/v1/messages/{message_id}:cancel" body: "*" };
  }
  rpc Head(GetMessageRequest) returns (Message) {
    option (google.api.http) = { custom: { kind: "HEAD" path: "/v1/messages/{message_id}" } };
  }
  rpc Purge(GetMessageRequest) returns (Message) { option (google.api.http) = { custom: { kind: "*" path: "/v1/any" } }; }
  rpc Files(GetMessageRequest) returns (Message) { option (google.api.http) = { get: "/v1/{name=files/**}" }; }
  rpc All(GetMessageRequest) returns (Message) { option (google.api.http) = { get: "/v1/**" }; }
  rpc Me(GetMessageRequest) returns (Message) { option (google.api.http) = { get: "/v1/messages/me" }; }
  rpc List(GetMessageRequest) returns (ListReply) { option (google.api.http) = { get: "/v1/list" response_body: "messages" }; }
  rpc Count(GetMessageRequest) returns (ListReply) { option (google.api.http) = { get: "/v1/count" response_body: "total" }; }
  rpc Batch(ListReply) returns (Message) { option (google.api.http) = { post: "/v1/batch" body: "messages" }; }
  rpc Deep(UpdateMessageRequest) returns (Message) { option (google.api.http) = { post: "/v1/deep/{message.sub.id}" body: "message.sub" }; }
  rpc Upload(UploadRequest) returns (google.api.HttpBody) { option (google.api.http) = { post: "/v1/upload/{name}" body: "file" }; }
  rpc Raw(google.api.HttpBody) returns (UploadRequest) { option (google.api.http) = { post: "/v1/raw" body: "*" response_body: "file" }; }
  rpc Plain(GetMessageRequest) returns (Message);
}

message GetMessageRequest {
  message Sub { string subfield = 1; repeated int32 numbers = 2; }
  string message_id = 1;
  int64 revision = 2;
  Sub sub = 3;
  string user_id = 4;
  string name = 5;
  Kind kind = 6;
  repeated string tags = 7;
  bytes data = 8;
  bool flag = 9;
  google.protobuf.Timestamp time = 10;
  google.protobuf.Duration wait = 11;
  google.protobuf.FieldMask mask = 12;
  google.protobuf.Int32Value wrapped = 13;
  map<string, int32> labels = 14;
  repeated Kind kinds = 15;
  oneof pick { string a = 16; string b = 17; }
  google.protobuf.Value value = 18;
  optional string maybe = 19;
  double weight = 20;
  repeated Sub subs = 21;
}
enum Kind { NO_KIND = 0; BIG = 1; }
message Message { string message_id = 1; string text = 2; Sub sub = 3; message Sub { string id = 1; int32 n = 2; } }
message UpdateMessageRequest { string message_id = 1; Message message = 2; google.protobuf.FieldMask update_mask = 3; }
message ListReply { repeated Message messages = 1; int32 total = 2; }
message UploadRequest { string name = 1; google.api.HttpBody file = 2; bool keep = 3; }
"#;

fn library() -> (Schema, Router) {
    let schema = Schema::from_texts([("lib.proto", LIBRARY)]).unwrap();
    let (router, faults) = Router::new(&schema);
    assert!(faults.is_empty(), "{faults:?}");
    (schema, router)
}

fn found(router: &Router, method: &str, path: &str) -> Match {
    match router.find(method, path) {
        Found::Match(found) => found,
        other => panic!("{method} {path}: {other:?}"),
    }
}

/// The request message, as JSON, of a call that has to be understood.
fn request(router: &Router, method: &str, target: &str, body: &str) -> Result<(String, String), String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let found = found(router, method, path);
    let body = (!body.is_empty()).then_some(body.as_bytes());
    let proto = found.request(query, body, None, &Options::default()).map_err(|e| e.to_string())?;
    let json =
        proto_to_json(&found.method().input, &proto, &Options::default()).map_err(|e| e.to_string())?;
    Ok((found.method().name.clone(), String::from_utf8(json).unwrap()))
}

#[test]
fn calls_become_messages() {
    let (_, router) = library();
    for (method, target, body, name, json) in [
        // The examples of google/api/http.proto.
        ("GET", "/v1/messages/123456", "", "GetMessage", r#"{"messageId":"123456"}"#),
        (
            "GET",
            "/v1/messages/123456?revision=2&sub.subfield=foo",
            "",
            "GetMessage",
            r#"{"messageId":"123456","revision":"2","sub":{"subfield":"foo"}}"#,
        ),
        ("GET", "/v1/users/me/messages/123456", "", "GetMessage", r#"{"messageId":"123456","userId":"me"}"#),
        (
            "PATCH",
            "/v1/messages/123456",
            r#"{"text":"Hi!"}"#,
            "UpdateMessage",
            r#"{"messageId":"123456","message":{"text":"Hi!"}}"#,
        ),
        (
            "PUT",
            "/v1/messages/123456",
            r#"{"text":"Hi!"}"#,
            "PutMessage",
            r#"{"messageId":"123456","text":"Hi!"}"#,
        ),
        ("GET", "/v1/named/123456", "", "GetNamed", r#"{"name":"named/123456"}"#),
        // What the path gives wins over the body.
        ("PUT", "/v1/messages/1", r#"{"messageId":"2"}"#, "PutMessage", r#"{"messageId":"1"}"#),
        (
            "PATCH",
            "/v1/messages/1?update_mask=text,sub.id",
            r#"{"text":"a"}"#,
            "UpdateMessage",
            r#"{"messageId":"1","message":{"text":"a"},"updateMask":"text,sub.id"}"#,
        ),
        // Verbs, custom methods, precedence.
        ("POST", "/v1/messages/1:cancel", "", "Cancel", r#"{"messageId":"1"}"#),
        ("POST", "/v1/messages/a:b:cancel", "{}", "Cancel", r#"{"messageId":"a:b"}"#),
        ("GET", "/v1/messages/a:cancel", "", "GetMessage", r#"{"messageId":"a:cancel"}"#),
        ("HEAD", "/v1/messages/1", "", "Head", r#"{"messageId":"1"}"#),
        ("SEARCH", "/v1/any", "", "Purge", "{}"),
        ("GET", "/v1/any", "", "Purge", "{}"),
        ("GET", "/v1/messages/me", "", "Me", "{}"),
        ("DELETE", "/v1/messages/me", "", "DeleteMessage", r#"{"messageId":"me"}"#),
        ("GET", "/v1/files/a/b/c", "", "Files", r#"{"name":"files/a/b/c"}"#),
        ("GET", "/v1/files", "", "Files", r#"{"name":"files"}"#),
        ("GET", "/v1/other/thing", "", "All", "{}"),
        ("GET", "/v1", "", "All", "{}"),
        // Encoding: in one segment everything is decoded, in several all but slashes.
        ("GET", "/v1/messages/a%2Fb%20c%C3%A9", "", "GetMessage", r#"{"messageId":"a/b cé"}"#),
        ("GET", "/v1/files/a%2Fb%20c/%2fd", "", "Files", r#"{"name":"files/a%2Fb c/%2fd"}"#),
        ("GET", "/v1/m%65ssages/1", "", "GetMessage", r#"{"messageId":"1"}"#),
        ("GET", "/v1/messages/a+b", "", "GetMessage", r#"{"messageId":"a+b"}"#),
        // Queries.
        (
            "GET",
            "/v1/list?name=a+b%2B&kind=BIG&flag=true&weight=1.5",
            "",
            "List",
            r#"{"name":"a b+","kind":"BIG","flag":true,"weight":1.5}"#,
        ),
        (
            "GET",
            "/v1/list?kind=1&kinds=BIG&kinds=0",
            "",
            "List",
            r#"{"kind":"BIG","kinds":["BIG","NO_KIND"]}"#,
        ),
        ("GET", "/v1/list?tags=a&name=x&tags=b&tags=", "", "List", r#"{"name":"x","tags":["a","b",""]}"#),
        (
            "GET",
            "/v1/list?data=-_8&time=2026-01-01T00:00:00Z&wait=1.5s",
            "",
            "List",
            r#"{"data":"+/8=","time":"2026-01-01T00:00:00Z","wait":"1.500s"}"#,
        ),
        (
            "GET",
            "/v1/list?mask=a,bC&wrapped=0&maybe=",
            "",
            "List",
            r#"{"mask":"a,bC","wrapped":0,"maybe":""}"#,
        ),
        (
            "GET",
            "/v1/list?sub.numbers=1&sub.numbers=2&sub.subfield=x",
            "",
            "List",
            r#"{"sub":{"subfield":"x","numbers":[1,2]}}"#,
        ),
        ("GET", "/v1/list?messageId=1&user_id=2", "", "List", r#"{"messageId":"1","userId":"2"}"#),
        ("GET", "/v1/list?labels[a]=1&labels%5Bb%5D=2", "", "List", r#"{"labels":{"a":1,"b":2}}"#),
        ("GET", "/v1/list?value={%22a%22:[1]}", "", "List", r#"{"value":{"a":[1]}}"#),
        ("GET", "/v1/list?&&name=x&", "", "List", r#"{"name":"x"}"#),
        ("GET", "/v1/list", "{}", "List", "{}"),
        // Bodies.
        (
            "POST",
            "/v1/batch?total=2",
            r#"[{"text":"a"},{}]"#,
            "Batch",
            r#"{"messages":[{"text":"a"},{}],"total":2}"#,
        ),
        ("POST", "/v1/deep/5", r#"{"n":1}"#, "Deep", r#"{"message":{"sub":{"id":"5","n":1}}}"#),
        ("POST", "/v1/deep/5?message.text=t", "", "Deep", r#"{"message":{"text":"t","sub":{"id":"5"}}}"#),
    ] {
        assert_eq!(
            request(&router, method, target, body),
            Ok((name.to_owned(), json.to_owned())),
            "{method} {target}"
        );
    }
}

#[test]
fn what_is_wrong_is_refused_and_named() {
    let (_, router) = library();
    for (method, target, body, place) in [
        ("GET", "/v1/list?nope=1", "", "nope"),
        ("GET", "/v1/list?sub.nope=1", "", "nope"),
        ("GET", "/v1/list?sub=1", "", "sub"),
        ("GET", "/v1/list?subs.subfield=1", "", "subs"),
        ("GET", "/v1/list?time.seconds=1", "", "time"),
        ("GET", "/v1/list?name=a&name=b", "", "name"),
        ("GET", "/v1/list?a=1&b=2", "", "oneof"),
        ("GET", "/v1/list?revision=x", "", "revision"),
        ("GET", "/v1/list?revision=", "", "revision"),
        ("GET", "/v1/list?kind=HUGE", "", "kind"),
        ("GET", "/v1/list?flag=yes", "", "flag"),
        ("GET", "/v1/list?time=now", "", "time"),
        ("GET", "/v1/list?labels=1", "", "labels"),
        ("GET", "/v1/list?name[a]=1", "", "name"),
        ("GET", "/v1/list?name=%zz", "", "query"),
        ("GET", "/v1/list?name=%ff", "", "query"),
        ("GET", "/v1/messages/1?message_id=2", "", "path"),
        ("GET", "/v1/list", r#"{"name":"x"}"#, "body"),
        ("PUT", "/v1/messages/1?text=a", "{}", "body"),
        ("PATCH", "/v1/messages/1?message.text=a", "{}", "body"),
        ("PUT", "/v1/messages/1", r#"{"text":1}"#, "text"),
        ("PUT", "/v1/messages/1", r#"{"text":"a""#, "JSON"),
        ("PATCH", "/v1/messages/1", r#"{"text":1}"#, "message.text"),
        ("POST", "/v1/batch", r#"{}"#, "messages"),
    ] {
        let result = request(&router, method, target, body);
        assert!(result.as_ref().is_err_and(|e| e.contains(place)), "{method} {target}: {result:?}");
    }
    let ignore = Options { unknown: Unknown::Ignore, ..Options::default() };
    let found = found(&router, "GET", "/v1/list");
    assert!(found.request("nope=1&name=x&name=y", None, None, &ignore).is_ok());
}

#[test]
fn paths_that_are_not_there() {
    let (_, router) = library();
    for (method, path) in [
        ("GET", ""),
        ("GET", "/"),
        ("GET", "v1/messages/1"),
        ("GET", "//v1/messages/1"),
        ("GET", "/v2/messages/1"),
        ("GET", "/v1/messages/%zz"),
        ("GET", "/v1/messages/%ff"),
        ("GET", "/v1/messages/1%"),
        ("POST", "/v1/messages/:cancel"),
    ] {
        let result = router.find(method, path);
        let none = matches!(result, Found::None)
            || matches!(&result, Found::MethodNotAllowed(_) if method == "POST");
        assert!(none, "{method} {path}: {result:?}");
    }
    match router.find("POST", "/v1/messages/1") {
        Found::MethodNotAllowed(allowed) => assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PATCH", "PUT"]),
        other => panic!("{other:?}"),
    }
    let long = "/a".repeat(100_000);
    assert!(matches!(router.find("GET", &long), Found::None));
}

#[test]
fn answers() {
    let (schema, router) = library();
    let reply = |path: &str, json: &str| {
        let found = found(&router, "GET", path);
        let proto =
            sb_schema::json_to_proto(&found.method().output, json.as_bytes(), &Options::default()).unwrap();
        let reply = found.response(&proto, &Options::default()).unwrap();
        assert_eq!(reply.content_type, "application/json");
        String::from_utf8(reply.body.to_vec()).unwrap()
    };
    assert_eq!(reply("/v1/messages/1", r#"{"text":"a"}"#), r#"{"text":"a"}"#);
    assert_eq!(reply("/v1/list", r#"{"messages":[{"text":"a"},{}],"total":2}"#), r#"[{"text":"a"},{}]"#);
    assert_eq!(reply("/v1/list", "{}"), "[]");
    assert_eq!(reply("/v1/count", r#"{"messages":[{}],"total":2}"#), "2");
    assert_eq!(reply("/v1/count", "{}"), "0");

    let upload = found(&router, "POST", "/v1/upload/x");
    let proto =
        upload.request("keep=true", Some(b"\xff\x00raw"), Some("image/png"), &Options::default()).unwrap();
    let json = proto_to_json(&upload.method().input, &proto, &Options::default()).unwrap();
    assert_eq!(json, br#"{"name":"x","file":{"contentType":"image/png","data":"/wByYXc="},"keep":true}"#);
    let file = br#"{"contentType":"text/plain","data":"YWJj"}"#;
    let body =
        sb_schema::json_to_proto(&schema.message("google.api.HttpBody").unwrap(), file, &Options::default())
            .unwrap();
    let reply = upload.response(&body, &Options::default()).unwrap();
    assert_eq!((reply.content_type.as_str(), &reply.body[..]), ("text/plain", &b"abc"[..]));

    let raw = found(&router, "POST", "/v1/raw");
    let proto = raw.request("", Some(b"abc"), Some("text/plain"), &Options::default()).unwrap();
    assert_eq!(proto, body);
    let output = br#"{"file":{"contentType":"evil\r\nx: y","data":"YWJj"}}"#;
    let output = sb_schema::json_to_proto(&raw.method().output, output, &Options::default()).unwrap();
    let reply = raw.response(&output, &Options::default()).unwrap();
    assert_eq!((reply.content_type.as_str(), &reply.body[..]), ("application/octet-stream", &b"abc"[..]));
}

#[test]
fn every_method_has_a_default_path() {
    let (schema, _) = library();
    let plain = schema.method("lib.Messaging/Plain").unwrap();
    let post = Match::default_path(plain, "POST")
        .request("", Some(br#"{"messageId":"1"}"#), None, &Options::default())
        .unwrap();
    let get =
        Match::default_path(plain, "GET").request("messageId=1", None, None, &Options::default()).unwrap();
    assert_eq!(post, get);
}

#[test]
fn broken_and_conflicting_rules_are_told() {
    let text = |rules: &str| {
        format!(
            "syntax = \"proto3\"; package a; import \"google/api/annotations.proto\"; service S {{ {rules} }} message M {{ string s = 1; repeated string r = 2; M m = 3; }}"
        )
    };
    for (rules, word) in [
        ("rpc A(M) returns (M) { option (google.api.http) = { get: \"/{s\" }; }", "without }"),
        ("rpc A(M) returns (M) { option (google.api.http) = { get: \"/{nope}\" }; }", "nope"),
        ("rpc A(M) returns (M) { option (google.api.http) = { get: \"/{r}\" }; }", "r cannot"),
        ("rpc A(M) returns (M) { option (google.api.http) = { get: \"/{m}\" }; }", "m cannot"),
        ("rpc A(M) returns (M) { option (google.api.http) = { post: \"/a\" body: \"nope\" }; }", "nope"),
        (
            "rpc A(M) returns (M) { option (google.api.http) = { get: \"/a\" response_body: \"nope\" }; }",
            "nope",
        ),
        ("rpc A(M) returns (M) { option (google.api.http) = { get: \"a\" }; }", "begin with /"),
        ("rpc A(M) returns (M) { option (google.api.http) = { body: \"*\" }; }", "no method"),
        (
            "rpc A(M) returns (M) { option (google.api.http) = { get: \"/x/{s}\" }; } rpc B(M) returns (M) { option (google.api.http) = { get: \"/x/{m.s}\" }; }",
            "the same as",
        ),
    ] {
        let schema = Schema::from_texts([("a.proto", text(rules).as_str())]).unwrap();
        let (_, faults) = Router::new(&schema);
        assert!(faults.len() == 1 && faults[0].to_string().contains(word), "{rules}: {faults:?}");
    }
}
