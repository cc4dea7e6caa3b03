//! Building snapshots: sources and descriptor sets, what is refused, and what reflection needs.

use sb_schema::{Builder, Idempotency, Place, Schema};

const SHOP: &str = r#"
syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
import "shop/v1/types.proto";

// Orders things.
service Shop {
  // Reads one.
  rpc GetOrder(GetOrderRequest) returns (Order) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = { get: "/v1/{name=orders/*}" };
  }
  rpc Watch(GetOrderRequest) returns (stream Order) { option deprecated = true; }
  rpc Import(stream Order) returns (Order);
}
message GetOrderRequest { string name = 1; }
"#;

const TYPES: &str = r#"
syntax = "proto3";
package shop.v1;
// What was ordered.
message Order {
  string name = 1; // Its name.
  oneof pay { string card = 2; bool cash = 3; }
  optional int32 count = 4;
}
"#;

fn shop() -> Schema {
    Schema::from_texts([("shop/v1/shop.proto", SHOP), ("shop/v1/types.proto", TYPES)]).unwrap()
}

#[test]
fn methods_are_found_with_all_about_them() {
    let schema = shop();
    let get = schema.method("shop.v1.Shop/GetOrder").unwrap();
    assert_eq!(get.idempotency, Idempotency::NoSideEffects);
    assert_eq!((get.comment.as_str(), get.input.full_name()), ("Reads one.", "shop.v1.GetOrderRequest"));
    assert_eq!((get.http[0].method.as_str(), get.http[0].path.as_str()), ("GET", "/v1/{name=orders/*}"));
    let watch = schema.method("shop.v1.Shop/Watch").unwrap();
    assert!(watch.server_streaming && !watch.client_streaming && watch.deprecated);
    assert!(schema.method("shop.v1.Shop/Import").unwrap().client_streaming);
    assert!(schema.method("shop.v1.Shop/Nope").is_none());
    assert_eq!(schema.services().len(), 1);
    assert_eq!(schema.services()[0].comment, "Orders things.");
    let order = schema.message("shop.v1.Order").unwrap();
    assert_eq!(order.comment(), "What was ordered.");
    assert_eq!(order.field("name").unwrap().comment(), "Its name.");
    assert_eq!(order.field("card").unwrap().oneof(), Some("pay"));
    assert_eq!(order.field("count").unwrap().oneof(), None);
    assert_eq!(order.oneofs().map(|oneof| oneof.fields().len()).collect::<Vec<_>>(), [2]);
    // Details of errors are always known.
    assert!(schema.message("google.rpc.BadRequest").is_some());
}

#[test]
fn descriptor_sets_say_the_same_as_their_sources() {
    let set = shop().descriptor_set();
    let again = Schema::from_descriptor_set(&set).unwrap();
    assert_eq!(again.descriptor_set(), set);
    assert_eq!(again.method("shop.v1.Shop/GetOrder").unwrap().comment, "Reads one.");
    // File by file in any order, with sources beside them.
    let mut builder = Builder::new();
    let first = shop();
    let mut files: Vec<_> = first.files().filter(|file| file.given).collect();
    files.reverse();
    for file in files {
        builder.file(&file.bytes).unwrap();
    }
    builder.text("shop/v1/types.proto", TYPES).unwrap();
    assert!(builder.build().unwrap().method("shop.v1.Shop/GetOrder").is_some());
    // Sources that import a compiled file.
    let mut builder = Builder::new();
    builder.descriptor_set(&set).unwrap();
    let more =
        "syntax = \"proto3\"; import \"shop/v1/types.proto\"; message More { shop.v1.Order order = 1; }";
    builder.text("more.proto", more).unwrap();
    assert!(builder.build().unwrap().message("More").is_some());
}

#[test]
fn reflection_finds_files() {
    let schema = shop();
    for symbol in ["shop.v1.Shop", "shop.v1.Shop.GetOrder", "shop.v1.GetOrderRequest"] {
        assert_eq!(schema.file_containing(symbol).unwrap().name, "shop/v1/shop.proto", "{symbol}");
    }
    assert_eq!(schema.file_containing("shop.v1.Order.name").unwrap().name, "shop/v1/types.proto");
    assert!(schema.file_containing("shop.v1.Nope").is_none());
    let files = schema.file_with_imports("shop/v1/shop.proto");
    assert_eq!(files.len(), 5);
    for (at, file) in files.iter().enumerate() {
        let before = |name: &String| files[..at].iter().any(|other| other.name == *name);
        assert!(file.dependencies.iter().all(before), "{} stands before what it imports", file.name);
    }
    assert!(schema.extension_numbers("google.protobuf.MethodOptions").unwrap().contains(&72_295_728));
    let file = schema.file_containing_extension("google.protobuf.MethodOptions", 72_295_728).unwrap();
    assert_eq!(file.name, "google/api/annotations.proto");
}

#[test]
fn faults_are_located() {
    let at = |text: &str| Schema::from_texts([("a.proto", text)]).unwrap_err();
    let error = at("syntax = \"proto3\";\nmessage A {\n  B b = 1;\n}");
    assert_eq!(error.place(), &Place::File { name: "a.proto".into(), at: Some((3, 3)) }, "{error}");
    let error = at("syntax = \"proto3\";\nmessage A { int32 x = ; }");
    assert_eq!(error.place(), &Place::File { name: "a.proto".into(), at: Some((2, 23)) }, "{error}");
    let error = at("syntax = \"proto3\";\nimport \"none.proto\";");
    assert!(matches!(error.place(), Place::File { at: Some((2, _)), .. }), "{error}");
    let error = at("// comment\nedition = \"2023\";\nmessage A {}");
    assert_eq!(error.place(), &Place::File { name: "a.proto".into(), at: Some((2, 1)) });
    assert!(error.message().contains("descriptor set"), "{error}");
    let error = at("syntax = \"proto3\"; message A { int32 a = 1; int32 b = 1; }");
    assert!(error.message().contains('1'), "{error}");
    let deep = format!("syntax = \"proto3\"; {}", "message A { ".repeat(100));
    assert!(at(&deep).message().contains("too deep"));
    for garbage in [
        "",
        "\u{0}",
        "message",
        "/*",
        "\"",
        "syntax = \"proto9\";",
        "é",
        "syntax=\"proto3\"; message A { /* ",
    ] {
        let _ = Schema::from_texts([("a.proto", garbage)]);
    }
}

#[test]
fn conflicts_are_refused() {
    let mut builder = Builder::new();
    builder.text("a.proto", "syntax = \"proto3\"; message A {}").unwrap();
    assert!(builder.text("a.proto", "syntax = \"proto3\"; message B {}").is_err());
    let one = Schema::from_texts([("a.proto", "syntax = \"proto3\"; message A {}")]).unwrap();
    let two = Schema::from_texts([("a.proto", "syntax = \"proto3\"; message B {}")]).unwrap();
    let three = Schema::from_texts([("b.proto", "syntax = \"proto3\"; message A {}")]).unwrap();
    let mut builder = Builder::new();
    builder.schema(&one).unwrap();
    assert!(builder.schema(&two).is_err());
    builder.schema(&three).unwrap();
    let error = builder.build().unwrap_err();
    assert!(error.message().contains("A is declared in a.proto too"), "{error}");
    // A file whose import is missing.
    let set = shop().file("shop/v1/shop.proto").unwrap().bytes.clone();
    let error = Builder::new().file(&set).unwrap().build().unwrap_err();
    assert!(error.message().contains("types.proto"), "{error}");
    for garbage in [&b"\x0a\x05abc"[..], b"\xff\xff", b"\x0a\x00"] {
        assert!(Builder::new().descriptor_set(garbage).and_then(|builder| builder.build()).is_err());
    }
}

#[test]
fn a_schema_may_have_its_own_copy_of_a_bundled_file() {
    let schema = Schema::from_texts([(
        "my/status.proto",
        "syntax = \"proto3\"; package google.rpc; message Status { int32 code = 1; string message = 2; }",
    )])
    .unwrap();
    assert_eq!(schema.file_containing("google.rpc.Status").unwrap().name, "my/status.proto");
    assert!(schema.file("google/longrunning/operations.proto").is_none());
}

#[test]
fn messages_are_built_and_read_field_by_field() {
    use sb_schema::dynamic::{ReflectMessage, ReflectMessageMut, Value, ValueRef};
    let schema = shop();
    let order = schema.message("shop.v1.Order").unwrap();
    let name = order.field("name").unwrap().raw().unwrap();
    let mut built = order.build();
    built.set(name, Value::String("orders/1".into()));
    let read = order.decode(&built.encode_to_vec()).unwrap();
    assert!(matches!(read.get(name), ValueRef::String("orders/1")));
    assert_eq!(read.field_by_number(1), Some(&Value::String("orders/1".into())));
}
