//! IDL out of descriptors, descriptors out of IDL, and both behind each other.

mod common;

use common::*;
use sb_thrift::idl::{parse, print, to_proto};

#[test]
fn an_idl_of_descriptors_says_everything() {
    let schema = schema();
    let kinds = print(&schema, schema.service("kinds.v1.Kinds").unwrap());
    for line in [
        "namespace * kinds.v1.kinds",
        "enum Color {\n  UNSPECIFIED = 0\n  RED = 1\n  BLUE = -2\n}",
        "/** The colours. */",
        "  5: i64 a_uint32",
        "  2: double a_float",
        "  15: binary some_bytes",
        "  1: string from_",
        "  2: list<Inner> children",
        "  3: optional Inner_Deep deep",
        "  18: optional i32 maybe",
        "  30: map<string, i32> counts",
        "  33: map<i64, Color> by_big",
        "  // At most one of the fields of choice is set.\n  40: optional string word",
        "  50: optional google_protobuf_Timestamp at",
        "  30000: i32 far",
        "  // too_far is not reachable over Thrift: its number 40000 is not an id.",
        "  /** Gives back what it is given. */\n  All Echo(1: All request) throws (1: Error error)",
        "  Answer delete_(1: Ask request) throws (1: Error error)",
        "  // Watch streams, which Thrift has no way for.",
        "exception Error {\n  1: ErrorCode code",
        "  UNAUTHENTICATED = 16",
    ] {
        assert!(kinds.contains(line), "{line}\n{kinds}");
    }
    assert!(parse("kinds.thrift", &kinds).is_ok());
}

/// Who generates code from the served IDL of a service that came from an IDL gets the same wire.
#[test]
fn an_idl_comes_back_as_it_was() {
    let schema = schema();
    let calc = print(&schema, schema.service("calc.v1.Calc").unwrap());
    for line in [
        "enum Op {\n  ADD = 1\n  SUB = 2\n  MUL = 5\n}",
        "  1: required i32 x\n",
        "  2: optional i32 y = 12\n",
        "  -4: optional i16 odd\n",
        "union Shape {\n  1: Point point\n  2: list<Point> line\n  3: string name\n}",
        "exception Overflow {",
        "  9: list<i16> shorts",
        "  10: set<string> words",
        "  12: map<double, string> by_double",
        "  13: map<Point, list<string>> by_point",
        "  14: list<list<i32>> matrix",
        "  15: set<set<i8>> sets",
        "  16: map<i32, map<i32, string>> nested",
        "  19: map<Op, i64> by_op",
        "  21: list<i64> prices",
        "  22: optional list<string> maybe",
        "  24: map<i16, i8> tiny",
        "  26: optional bool yes = true",
        "  i32 apply(1: Op op, 2: i32 a, 5: i32 b) throws (1: Overflow overflow, 3: Missing missing)",
        "  list<list<i32>> transpose(1: list<list<i32>> rows)",
        "  map<string, Point> points(1: set<string> names)",
        "  void nothing()",
        "  string ping()",
        "  oneway void note(1: string text)",
    ] {
        assert!(calc.contains(line), "{line}\n{calc}");
    }
    // And once more: nothing changes any longer.
    let again = |text: &str| {
        let mut builder = sb_schema::Builder::new();
        for (path, text) in &to_proto(&[("calc.thrift", text)]).unwrap().protos {
            builder.text(path, text).unwrap();
        }
        let schema = builder.build().unwrap();
        let service = schema.services().first().unwrap().clone();
        let text = print(&schema, &service);
        // The namespace gets the service's name each time.
        text.lines()
            .filter(|line| !line.starts_with("namespace") && !line.starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let once = again(&calc);
    assert_eq!(once, again(&once));
}

#[test]
fn files_include_each_other() {
    let files = [
        (
            "shop/orders.thrift",
            "namespace java com.shop.orders\ninclude \"../common/base.thrift\"\ntypedef base.Id OrderId\nstruct Order { 1: OrderId id, 2: base.Money total, 3: base.Kind kind = base.Kind.B }\nservice Orders extends base.Health { Order get(1: OrderId id) throws (1: base.NotFound e) }",
        ),
        (
            "common/base.thrift",
            "namespace java com.shop.base\ntypedef string Id\nstruct Money { 1: i64 units }\nenum Kind { A, B }\nexception NotFound { 1: string message } (code = \"NOT_FOUND\")\nservice Health { bool ok() (readonly) }",
        ),
    ];
    let translated = to_proto(&files).unwrap();
    let mut builder = sb_schema::Builder::new();
    for (path, text) in &translated.protos {
        builder.text(path, text).unwrap();
    }
    let schema = builder.build().unwrap_or_else(|e| panic!("{e}\n{:?}", translated.protos));
    assert_eq!(
        schema.message("com.shop.orders.Order").unwrap().field("kind").unwrap().default(),
        Some("KIND_B")
    );
    let ok = schema.method("com.shop.orders.Orders/ok").unwrap();
    assert_eq!(ok.idempotency, sb_schema::Idempotency::NoSideEffects);
    let idl = print(&schema, schema.service("com.shop.orders.Orders").unwrap());
    assert!(
        idl.contains("com_shop_base_Money total") && idl.contains("throws (1: com_shop_base_NotFound e)"),
        "{idl}"
    );
}

#[test]
fn faults_have_a_place() {
    for (text, wanted) in [
        ("struct A { 1: i32 a, 1: i32 b }", "a.thrift:1:29: the name \"b\" or the id 1 is taken"),
        ("struct A {\n 1: B b }", "a.thrift:2:5: there is no type B"),
        ("typedef B A\ntypedef A B\nstruct C { 1: A a }", "a.thrift:1:1: the typedefs lead in a circle"),
        ("struct A { 1: list<i32 a }", "a.thrift:1:24: '>' was expected, not \"a\""),
        ("struct A { 40000: i32 a }", "a.thrift:1:12: the id of a field has 16 bits"),
        ("include \"x.thrift\"", "a.thrift: it includes \"x.thrift\", which was not given"),
        ("service A { oneway i32 a() }", "a.thrift:1:24: a oneway method returns and throws nothing"),
        ("service A { stream<i32> a() }", "a.thrift:1:13: stream is not part of Apache Thrift"),
        ("service A extends A { }", "a.thrift:1:9: the services extend each other in a circle"),
        ("/* no end", "a.thrift:1:1: the comment has no end"),
        ("const string a = \"x", "a.thrift:1:18: the text has no end"),
        (
            "exception E {} (code = \"NOPE\") service A { void a() throws (1: E e) }",
            "a.thrift:1:11: \"NOPE\" is none of the codes of gRPC",
        ),
        ("%", "a.thrift:1:1: '%' does not belong here"),
        (
            &format!("struct A {{ 1: {}i32{} a }}", "list<".repeat(1000), ">".repeat(1000)),
            "this lies too deep",
        ),
    ] {
        let error = to_proto(&[("a.thrift", text)]).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}, not {wanted}");
    }
}

#[test]
fn what_older_files_have_is_read() {
    let text = "#!/usr/bin/thrift\nphp_namespace a\nnamespace py.twisted b.c\ncpp_include \"<map>\"\nsenum S { \"a\", \"b\" }\n\
        struct A xsd_all { i32 no_id; 2: byte b = 0x1F (go.tag = \"x\"); 3: map cpp_type \"M\" <string, slist> m; 4: A & self_ref; } (final)\n\
        const map<string, list<double>> M = { \"a\": [1, -2.5e3, .5] };\n\
        service V { async void gone(1: S s), };";
    let document = parse("old.thrift", text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(document.definitions.len(), 4);
    assert_eq!(document.namespaces.len(), 2);
    let translated = to_proto(&[("old.thrift", text)]).unwrap();
    let mut builder = sb_schema::Builder::new();
    for (path, text) in &translated.protos {
        builder.text(path, text).unwrap();
    }
    builder.build().unwrap_or_else(|e| panic!("{e}\n{}", translated.protos[1].1));
    assert!(translated.notes.iter().any(|note| note.contains("constant M")), "{:?}", translated.notes);
}
