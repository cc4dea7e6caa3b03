//! ProtoJSON by a table: what comes in as JSON, and what comes out after a way through Protobuf bytes.

use sb_schema::{Int64, Message, Options, Schema, Unknown, json_to_proto, proto_to_json};

const KINDS: &str = include_str!("kinds.proto");

fn kinds() -> Message {
    let schema = Schema::from_texts([("kinds.proto", KINDS)]).expect("the schema");
    schema.message("kinds.Kinds").expect("the message")
}

/// A JSON text that is refused.
const NO: &str = "refused";
/// A JSON text that comes out as it went in.
const SAME: &str = "same";

/// Without the braces around them.
const CASES: &[(&str, &str)] = &[
    // Numbers: the forms in, one form out, ranges.
    (r#""fInt32":1"#, SAME),
    (r#""fInt32":-2147483648"#, SAME),
    (r#""fInt32":2147483647"#, SAME),
    (r#""fInt32":2147483648"#, NO),
    (r#""fInt32":-2147483649"#, NO),
    (r#""fInt32":"12""#, r#""fInt32":12"#),
    (r#""fInt32":"-12""#, r#""fInt32":-12"#),
    (r#""fInt32":1.0"#, r#""fInt32":1"#),
    (r#""fInt32":"1.0""#, r#""fInt32":1"#),
    (r#""fInt32":1e2"#, r#""fInt32":100"#),
    (r#""fInt32":"1e2""#, r#""fInt32":100"#),
    (r#""fInt32":2147483647.00000"#, r#""fInt32":2147483647"#),
    (r#""fInt32":-0"#, ""),
    (r#""fInt32":0.5"#, NO),
    (r#""fInt32":1e-1"#, NO),
    (r#""fInt32":1e99999999999"#, NO),
    (r#""fInt32":01"#, NO),
    (r#""fInt32":+1"#, NO),
    (r#""fInt32":1."#, NO),
    (r#""fInt32":.1"#, NO),
    (r#""fInt32":0x1"#, NO),
    (r#""fInt32":"""#, NO),
    (r#""fInt32":" 1""#, NO),
    (r#""fInt32":"1 ""#, NO),
    (r#""fInt32":"0x1""#, NO),
    (r#""fInt32":"a""#, NO),
    (r#""fInt32":"\u0031""#, r#""fInt32":1"#),
    (r#""fInt32":true"#, NO),
    (r#""fInt32":[1]"#, NO),
    (r#""fInt32":{}"#, NO),
    (r#""fInt32":"NaN""#, NO),
    (r#""fInt64":1"#, r#""fInt64":"1""#),
    (r#""fInt64":"9223372036854775807""#, SAME),
    (r#""fInt64":9223372036854775807"#, r#""fInt64":"9223372036854775807""#),
    (r#""fInt64":"-9223372036854775808""#, SAME),
    (r#""fInt64":9223372036854775808"#, NO),
    (r#""fInt64":"-9223372036854775809""#, NO),
    (r#""fInt64":9007199254740993"#, r#""fInt64":"9007199254740993""#),
    (r#""fUint32":4294967295"#, SAME),
    (r#""fUint32":4294967296"#, NO),
    (r#""fUint32":-1"#, NO),
    (r#""fUint64":"18446744073709551615""#, SAME),
    (r#""fUint64":1.8446744073709551615e19"#, r#""fUint64":"18446744073709551615""#),
    (r#""fUint64":18446744073709551616"#, NO),
    (r#""fUint64":-1"#, NO),
    (r#""fSint32":-2147483648"#, SAME),
    (r#""fSint64":"-9223372036854775808""#, SAME),
    (r#""fFixed32":4294967295"#, SAME),
    (r#""fFixed64":"18446744073709551615""#, SAME),
    (r#""fSfixed32":-5"#, SAME),
    (r#""fSfixed64":"-5""#, SAME),
    (r#""fDouble":1.5"#, SAME),
    (r#""fDouble":1"#, SAME),
    (r#""fDouble":"1.5""#, r#""fDouble":1.5"#),
    (r#""fDouble":1e300"#, SAME),
    (r#""fDouble":1E+300"#, r#""fDouble":1e300"#),
    (r#""fDouble":-0.0"#, r#""fDouble":-0"#),
    (r#""fDouble":0.0"#, ""),
    (r#""fDouble":"NaN""#, SAME),
    (r#""fDouble":"Infinity""#, SAME),
    (r#""fDouble":"-Infinity""#, SAME),
    (r#""fDouble":NaN"#, NO),
    (r#""fDouble":Infinity"#, NO),
    (r#""fDouble":"inf""#, NO),
    (r#""fDouble":"nan""#, NO),
    (r#""fDouble":1e309"#, NO),
    (r#""fDouble":-1e309"#, NO),
    (r#""fDouble":"1e309""#, NO),
    (r#""fDouble":1.7976931348623157e308"#, SAME),
    (r#""fDouble":5e-324"#, SAME),
    (r#""fDouble":"""#, NO),
    (r#""fFloat":1.1"#, SAME),
    (r#""fFloat":3.4028235e38"#, SAME),
    (r#""fFloat":3.502823e38"#, NO),
    (r#""fFloat":-3.502823e38"#, NO),
    (r#""fFloat":1.175494e-38"#, SAME),
    (r#""fFloat":"NaN""#, SAME),
    (r#""fFloat":"-Infinity""#, SAME),
    // Truth values, texts, bytes.
    (r#""fBool":true"#, SAME),
    (r#""fBool":false"#, ""),
    (r#""fBool":"true""#, NO),
    (r#""fBool":1"#, NO),
    (r#""fBool":True"#, NO),
    (r#""fString":"a\u0000é😀""#, SAME),
    (r#""fString":"\u00e9\/\ud83d\ude00""#, r#""fString":"é/😀""#),
    (r#""fString":"\b\f\n\r\t\"\\""#, SAME),
    (r#""fString":"\u001f""#, SAME),
    (r#""fString":"""#, ""),
    (r#""fString":1"#, NO),
    (r#""fString":true"#, NO),
    (r#""fString":"\ud800""#, NO),
    (r#""fString":"\udc00\ud800""#, NO),
    (r#""fString":"\uXYZW""#, NO),
    ("\"fString\":\"a\nb\"", NO),
    (r#""fString":'a'"#, NO),
    (r#""fBytes":"AQI=""#, SAME),
    (r#""fBytes":"AQI""#, r#""fBytes":"AQI=""#),
    (r#""fBytes":"-_8=""#, r#""fBytes":"+/8=""#),
    (r#""fBytes":"-_8""#, r#""fBytes":"+/8=""#),
    (r#""fBytes":"+_8""#, NO),
    (r#""fBytes":"!""#, NO),
    (r#""fBytes":"A""#, NO),
    (r#""fBytes":1"#, NO),
    // Enums.
    (r#""fColor":"RED""#, SAME),
    (r#""fColor":2"#, r#""fColor":"GREEN""#),
    (r#""fColor":-1"#, r#""fColor":"BELOW""#),
    (r#""fColor":2.0"#, r#""fColor":"GREEN""#),
    (r#""fColor":7"#, SAME),
    (r#""fColor":0"#, ""),
    (r#""fColor":"COLOR_NONE""#, ""),
    (r#""fColor":"red""#, NO),
    (r#""fColor":"1""#, NO),
    (r#""fColor":2147483648"#, NO),
    (r#""fColor":1.5"#, NO),
    (r#""fColor":true"#, NO),
    (r#""fAlias":"ALSO_SECOND""#, r#""fAlias":"SECOND""#),
    // Presence and null.
    (r#""fInt32":null,"fString":null,"fChild":null,"rInt32":null,"mString":null,"fColor":null"#, ""),
    (r#""oInt32":0,"oString":"","oColor":"COLOR_NONE""#, SAME),
    (r#""oInt32":null"#, ""),
    (r#""fChild":{}"#, SAME),
    (r#""fChild":[]"#, NO),
    (r#""fChild":"""#, NO),
    // Names.
    (r#""f_int32":1"#, r#""fInt32":1"#),
    (r#""other name":1"#, SAME),
    (r#""renamed":1"#, r#""other name":1"#),
    (r#""UnderScore":1"#, SAME),
    (r#""_under_score":1"#, r#""UnderScore":1"#),
    (r#""field3Times":1"#, SAME),
    (r#""far":1"#, SAME),
    (r#""FInt32":1"#, NO),
    (r#""unknown":1"#, NO),
    (r#""fInt32":1,"fInt32":2"#, NO),
    (r#""fInt32":1,"f_int32":2"#, NO),
    (r#""fInt32":null,"fInt32":2"#, NO),
    (r#""f\u0049nt32":1"#, r#""fInt32":1"#),
    // Lists.
    (r#""rInt32":[1,"2",3.0]"#, r#""rInt32":[1,2,3]"#),
    (r#""rInt32":[0,0]"#, SAME),
    (r#""rInt32":[]"#, ""),
    (r#""rInt32":[null]"#, NO),
    (r#""rInt32":[1,]"#, NO),
    (r#""rInt32":[,1]"#, NO),
    (r#""rInt32":[1 2]"#, NO),
    (r#""rInt32":1"#, NO),
    (r#""rInt32":{"0":1}"#, NO),
    (r#""rInt32":[[1]]"#, NO),
    (r#""rSpread":[1,2]"#, SAME),
    (r#""rDouble":[1.5,"NaN",0]"#, SAME),
    (r#""rBool":[true,false]"#, SAME),
    (r#""rString":["","a"]"#, SAME),
    (r#""rChild":[{},{"fInt32":1}]"#, SAME),
    (r#""rChild":[null]"#, NO),
    (r#""rColor":["RED",0,9]"#, r#""rColor":["RED","COLOR_NONE",9]"#),
    // Maps.
    (r#""mString":{"a":"b","":""}"#, SAME),
    (r#""mString":{}"#, ""),
    (r#""mString":{"a":null}"#, NO),
    (r#""mString":{"a":"b","a":"c"}"#, NO),
    (r#""mString":[]"#, NO),
    (r#""mInt32":{"-1":{"fInt32":1},"0":{}}"#, SAME),
    (r#""mInt32":{"a":{}}"#, NO),
    (r#""mInt32":{"1":{},"1.0":{}}"#, NO),
    (r#""mInt32":{"2147483648":{}}"#, NO),
    (r#""mBool":{"true":"RED","false":"COLOR_NONE"}"#, SAME),
    (r#""mBool":{"1":"RED"}"#, NO),
    (r#""mUint64":{"18446744073709551615":"AQ=="}"#, SAME),
    (r#""mSint64":{"-9":"-9"}"#, SAME),
    (r#""mInt32":{1:{}}"#, NO),
    // Oneofs.
    (r#""pString":"""#, SAME),
    (r#""pInt32":0"#, SAME),
    (r#""pString":"a","pInt32":1"#, NO),
    (r#""pString":null,"pInt32":1"#, r#""pInt32":1"#),
    (r#""pNull":null"#, SAME),
    (r#""pNull":"NULL_VALUE""#, r#""pNull":null"#),
    (r#""pNull":null,"pInt32":1"#, NO),
    (r#""pChild":{"pString":"a"}"#, SAME),
    // Well-known types.
    (r#""wTime":"1970-01-01T00:00:00Z""#, SAME),
    (r#""wTime":"2026-11-28T10:00:00.5+01:30""#, r#""wTime":"2026-11-28T08:30:00.500Z""#),
    (r#""wTime":"9999-12-31T23:59:59.999999999Z""#, SAME),
    (r#""wTime":"0001-01-01T00:00:00Z""#, SAME),
    (r#""wTime":"0000-01-01T00:00:00Z""#, NO),
    (r#""wTime":"2026-02-29T00:00:00Z""#, NO),
    (r#""wTime":"2026-01-01""#, NO),
    (r#""wTime":1"#, NO),
    (r#""wTime":null"#, ""),
    (r#""wDuration":"1.000340012s""#, SAME),
    (r#""wDuration":"-0.5s""#, r#""wDuration":"-0.500s""#),
    (r#""wDuration":"0s""#, SAME),
    (r#""wDuration":"315576000001s""#, NO),
    (r#""wDuration":"1""#, NO),
    (r#""wMask":"a.fooBar,b""#, SAME),
    (r#""wMask":"""#, SAME),
    (r#""wMask":"foo_bar""#, NO),
    (r#""wMask":"a,,b""#, NO),
    (r#""wStruct":{"a":1,"b":[null,{"c":"d"}],"e":{},"f":true}"#, SAME),
    (r#""wStruct":{"a":1,"a":2}"#, NO),
    (r#""wStruct":[]"#, NO),
    (r#""wValue":null"#, SAME),
    (r#""wValue":1.5"#, SAME),
    (r#""wValue":"a""#, SAME),
    (r#""wValue":[1,[],{}]"#, SAME),
    (r#""wValue":1e999"#, NO),
    (r#""wList":[null,false]"#, SAME),
    (r#""wList":{}"#, NO),
    (r#""wNull":null"#, ""),
    (r#""wEmpty":{}"#, SAME),
    (r#""wEmpty":{"a":1}"#, NO),
    (r#""wDouble":0"#, SAME),
    (r#""wFloat":1.5"#, SAME),
    (r#""wInt64":"0""#, SAME),
    (r#""wUint64":5"#, r#""wUint64":"5""#),
    (r#""wInt32":"7""#, r#""wInt32":7"#),
    (r#""wUint32":4294967296"#, NO),
    (r#""wBool":false"#, SAME),
    (r#""wString":"""#, SAME),
    (r#""wBytes":"AQ""#, r#""wBytes":"AQ==""#),
    (r#""wInt32":null"#, ""),
    (r#""wInt32":{"value":1}"#, NO),
    (r#""rwValue":[null,1]"#, SAME),
    (r#""rwInt32":[0,1]"#, SAME),
    (r#""rwInt32":[null]"#, NO),
    (r#""rwTime":["1970-01-01T00:00:00Z"]"#, SAME),
    (r#""mwValue":{"a":null,"b":2}"#, SAME),
    // Any.
    (r#""wAny":{}"#, SAME),
    (r#""wAny":{"@type":"type.googleapis.com/kinds.Kinds","fInt32":1}"#, SAME),
    (r#""wAny":{"fInt32":1,"@type":"x/kinds.Kinds"}"#, r#""wAny":{"@type":"x/kinds.Kinds","fInt32":1}"#),
    (r#""wAny":{"@type":"x/google.protobuf.Duration","value":"1s"}"#, SAME),
    (
        r#""wAny":{"value":[1],"@type":"x/google.protobuf.Value"}"#,
        r#""wAny":{"@type":"x/google.protobuf.Value","value":[1]}"#,
    ),
    (
        r#""wAny":{"@type":"x/google.protobuf.Any","value":{"@type":"x/google.protobuf.Int32Value","value":1}}"#,
        SAME,
    ),
    (r#""wAny":{"@type":"x/google.protobuf.Empty"}"#, SAME),
    (
        r#""wAny":{"@type":"x/google.protobuf.Empty","value":{}}"#,
        r#""wAny":{"@type":"x/google.protobuf.Empty"}"#,
    ),
    (r#""wAny":{"@type":"x/google.rpc.BadRequest","fieldViolations":[{"field":"a"}]}"#, SAME),
    (r#""wAny":{"fInt32":1}"#, NO),
    (r#""wAny":{"@type":"x/no.Such"}"#, NO),
    (r#""wAny":{"@type":"kinds.Kinds"}"#, NO),
    (r#""wAny":{"@type":1}"#, NO),
    (r#""wAny":{"@type":"x/kinds.Kinds","@type":"x/kinds.Kinds"}"#, NO),
    (r#""wAny":{"@type":"x/kinds.Kinds","value":{}}"#, NO),
    (r#""wAny":{"@type":"x/google.protobuf.Duration"}"#, NO),
    (r#""wAny":{"@type":"x/google.protobuf.Duration","value":"1s","more":1}"#, NO),
];

#[test]
fn the_table() {
    let message = kinds();
    let options = Options::default();
    let mut faults = Vec::new();
    for (input, expected) in CASES {
        let json = format!("{{{input}}}");
        let result = json_to_proto(&message, json.as_bytes(), &options);
        match (*expected, result) {
            (NO, Err(_)) => {}
            (NO, Ok(_)) => faults.push(format!("{json} was not refused")),
            (_, Err(e)) => faults.push(format!("{json} was refused: {e}")),
            (expected, Ok(proto)) => {
                let expected = if expected == SAME { input } else { expected };
                let back =
                    proto_to_json(&message, &proto, &options).map(|json| String::from_utf8(json).unwrap());
                if back.as_deref() != Ok(&*format!("{{{expected}}}")) {
                    faults.push(format!("{json} came back as {back:?}"));
                }
                // The other implementation in the tree reads our bytes and writes them again.
                let other = message.decode(&proto).unwrap().encode_to_vec();
                let again =
                    proto_to_json(&message, &other, &options).map(|json| String::from_utf8(json).unwrap());
                let sorted = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
                if again.as_deref().map(sorted) != Ok(sorted(&format!("{{{expected}}}"))) {
                    faults.push(format!("{json} came back from the library as {again:?}"));
                }
            }
        }
    }
    assert!(CASES.len() >= 200, "{}", CASES.len());
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), CASES.len(), faults.join("\n"));
}

#[test]
fn errors_name_their_path() {
    let message = kinds();
    for (json, path) in [
        (r#"{"rChild":[{},{"mInt32":{"5":{"fInt32":"x"}}}]}"#, "rChild[1].mInt32.5.fInt32"),
        (r#"{"mString":{"a b":1}}"#, r#"mString["a b"]"#),
        (r#"{"fChild":{"nope":1}}"#, "fChild.nope"),
        (r#"{"wStruct":{"a":[1,1e999]}}"#, "wStruct.a[1]"),
        (r#"{"wAny":{"@type":"x/google.protobuf.Duration","value":1}}"#, "wAny.value"),
        (r#"{"wAny":{"@type":"x/no.Such"}}"#, r#"wAny["@type"]"#),
    ] {
        let error = json_to_proto(&message, json.as_bytes(), &Options::default()).unwrap_err();
        assert_eq!(error.path(), path, "{error}");
    }
}

#[test]
fn options_change_the_form() {
    let message = kinds();
    let convert = |json: &str, options: &Options| {
        let proto = json_to_proto(&message, json.as_bytes(), options).map_err(|e| e.to_string())?;
        Ok::<_, String>(String::from_utf8(proto_to_json(&message, &proto, options).unwrap()).unwrap())
    };
    let numbers = Options { int64: Int64::Number, ..Options::default() };
    assert_eq!(convert(r#"{"fInt64":"5","wUint64":7}"#, &numbers).unwrap(), r#"{"fInt64":5,"wUint64":7}"#);
    let names = Options { proto_names: true, enum_numbers: true, ..Options::default() };
    assert_eq!(
        convert(r#"{"fColor":"RED","other name":1}"#, &names).unwrap(),
        r#"{"f_color":1,"renamed":1}"#
    );
    let ignore = Options { unknown: Unknown::Ignore, ..Options::default() };
    assert_eq!(
        convert(r#"{"x":{"y":[1,{"z":null}]},"fColor":"PINK","rColor":["PINK","RED"],"mBool":{"true":"PINK"},"fInt32":1}"#, &ignore)
            .unwrap(),
        r#"{"fInt32":1,"rColor":["RED"]}"#
    );
    assert!(convert(r#"{"x":{"y":[1,}]}}"#, &ignore).is_err());
    let show = Options { show_defaults: true, ..Options::default() };
    let all: serde_json::Value = serde_json::from_str(&convert(r#"{"fInt32":5}"#, &show).unwrap()).unwrap();
    assert_eq!(all["fInt32"], 5);
    assert_eq!(all["fInt64"], "0");
    assert_eq!(all["fString"], "");
    assert_eq!(all["fColor"], "COLOR_NONE");
    assert_eq!(all["rChild"], serde_json::json!([]));
    assert_eq!(all["mString"], serde_json::json!({}));
    for absent in ["oInt32", "fChild", "pString", "wTime"] {
        assert!(all.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn limits_hold() {
    let message = kinds();
    let deep = |n: usize| format!("{}{}{}", r#"{"fChild":"#.repeat(n), "{}", "}".repeat(n));
    assert!(json_to_proto(&message, deep(99).as_bytes(), &Options::default()).is_ok());
    assert!(json_to_proto(&message, deep(100).as_bytes(), &Options::default()).is_err());
    let list = |n: usize| format!("{{\"wValue\":{}{}}}", "[".repeat(n), "]".repeat(n));
    assert!(json_to_proto(&message, list(90).as_bytes(), &Options::default()).is_ok());
    assert!(json_to_proto(&message, list(100_000).as_bytes(), &Options::default()).is_err());
    let ignore = Options { unknown: Unknown::Ignore, ..Options::default() };
    let unknown = format!("{{\"nope\":{}", "[".repeat(100_000));
    assert!(json_to_proto(&message, unknown.as_bytes(), &ignore).is_err());

    let few = Options { max_items: 3, ..Options::default() };
    assert!(json_to_proto(&message, br#"{"rInt32":[1,2,3]}"#, &few).is_ok());
    assert!(json_to_proto(&message, br#"{"rInt32":[1,2,3,4]}"#, &few).is_err());
    let many = json_to_proto(&message, br#"{"rInt32":[1,2,3,4]}"#, &Options::default()).unwrap();
    assert!(proto_to_json(&message, &many, &few).is_err());
    let small = Options { max_output: 20, ..Options::default() };
    let proto =
        json_to_proto(&message, br#"{"rString":["aaaaaaaaaa","aaaaaaaaaa","a"]}"#, &Options::default())
            .unwrap();
    assert!(proto_to_json(&message, &proto, &small).is_err());
    assert!(proto_to_json(&message, &[0x8a, 1].repeat(60), &Options::default()).is_err());
}

/// What JSON cannot produce: fields in disorder, in pieces, overruled, of the wrong type, unknown.
#[test]
fn wire_forms() {
    let message = kinds();
    let json = |proto: &[u8]| {
        proto_to_json(&message, proto, &Options::default())
            .map(|json| String::from_utf8(json).unwrap())
            .map_err(|e| e.to_string())
    };
    let field = |number: u32, bytes: &[u8]| {
        let mut out = Vec::new();
        sb_schema::wire::put_bytes(&mut out, number, bytes);
        out
    };
    let number = |number: u32, value: u64| {
        let mut out = Vec::new();
        sb_schema::wire::put_tag(&mut out, number, 0);
        sb_schema::wire::put_varint(&mut out, value);
        out
    };
    for (bytes, expected) in [
        (Vec::new(), "{}"),
        ([number(3, 1), number(3, 2)].concat(), r#"{"fInt32":2}"#),
        ([number(3, 1), number(3, 0)].concat(), "{}"),
        ([number(5, 1), number(3, 2)].concat(), r#"{"fInt32":2,"fUint32":1}"#),
        (number(3, u64::MAX), r#"{"fInt32":-1}"#),
        (number(3, 1 << 32 | 7), r#"{"fInt32":7}"#),
        (number(13, 300), r#"{"fBool":true}"#),
        (number(16, u64::MAX), r#"{"fColor":"BELOW"}"#),
        // Unknown number, and a known one with another wire type.
        (number(1000, 5), "{}"),
        (field(3, b"x"), "{}"),
        // A message in two pieces is one.
        (
            [field(17, &number(3, 1)), field(17, &number(5, 2))].concat(),
            r#"{"fChild":{"fInt32":1,"fUint32":2}}"#,
        ),
        // Packed, spread, and both.
        ([field(31, &[1, 2]), number(31, 3)].concat(), r#"{"rInt32":[1,2,3]}"#),
        (field(35, &[1, 2]), r#"{"rSpread":[1,2]}"#),
        // Of a oneof the last member counts, and does not inherit from earlier ones.
        ([field(51, b"a"), number(52, 1)].concat(), r#"{"pInt32":1}"#),
        ([number(52, 1), field(51, b"a")].concat(), r#"{"pString":"a"}"#),
        (
            [field(53, &number(3, 1)), number(52, 9), field(53, &number(5, 2))].concat(),
            r#"{"pChild":{"fUint32":2}}"#,
        ),
        (
            [field(53, &number(3, 1)), field(53, &number(5, 2))].concat(),
            r#"{"pChild":{"fInt32":1,"fUint32":2}}"#,
        ),
        // Entries of maps: without key, without value, in disorder, again.
        (field(41, &[]), r#"{"mString":{"":""}}"#),
        (field(41, &field(1, b"a")), r#"{"mString":{"a":""}}"#),
        (field(41, &[field(2, b"b"), field(1, b"a")].concat()), r#"{"mString":{"a":"b"}}"#),
        (
            [
                field(41, &[field(1, b"a"), field(2, b"b")].concat()),
                field(41, &[field(1, b"a"), field(2, b"c")].concat()),
            ]
            .concat(),
            r#"{"mString":{"a":"c"}}"#,
        ),
        (field(42, &number(1, 3)), r#"{"mInt32":{"3":{}}}"#),
        (field(43, &[]), r#"{"mBool":{"false":"COLOR_NONE"}}"#),
        (field(66, &[]), r#"{"wValue":null}"#),
    ] {
        assert_eq!(json(&bytes).as_deref(), Ok(expected), "{bytes:?}");
    }
    for bad in [
        field(14, &[0xff]),
        field(17, &[0xff]),
        field(31, &[0x80]),
        vec![0x1a],
        vec![0x18],
        field(62, &number(1, 253_402_300_800)),
        field(63, &[number(1, 1), number(2, u64::MAX)].concat()),
        field(64, &field(1, b"foo__bar")),
        field(64, &field(1, b"fooBar")),
        field(66, &[&[0x11][..], &f64::NAN.to_le_bytes()].concat()),
        field(61, &field(1, b"x/no.Such")),
        field(61, &field(2, b"x")),
    ] {
        assert!(json(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn proto2_has_required_fields_groups_and_extensions() {
    let text = r#"
        syntax = "proto2";
        package old;
        message Old {
          required int32 id = 1;
          optional group Data = 2 { optional string note = 3; }
          optional Size size = 4 [default = LARGE];
          repeated Size sizes = 5;
          extensions 100 to 200;
        }
        enum Size { SMALL = 1; LARGE = 2; }
        extend Old { optional string extra = 100; repeated int32 more = 101; }
        message Holder { extend Old { optional Old nested = 110; } }
    "#;
    let schema = Schema::from_texts([("old.proto", text)]).unwrap();
    let message = schema.message("old.Old").unwrap();
    let options = Options::default();
    for same in [
        r#"{"id":0}"#,
        r#"{"id":1,"data":{"note":"a"}}"#,
        r#"{"id":1,"size":"SMALL","sizes":["LARGE"]}"#,
        r#"{"id":1,"[old.extra]":"x","[old.more]":[1,2]}"#,
        r#"{"id":1,"[old.Holder.nested]":{"id":2}}"#,
    ] {
        let proto = json_to_proto(&message, same.as_bytes(), &options).unwrap();
        assert_eq!(String::from_utf8(proto_to_json(&message, &proto, &options).unwrap()).unwrap(), same);
    }
    for bad in [
        r#"{}"#,
        r#"{"id":1,"size":3}"#,
        r#"{"id":1,"[old.none]":1}"#,
        r#"{"id":1,"[old.extra]":"a","[old.extra]":"b"}"#,
    ] {
        assert!(json_to_proto(&message, bad.as_bytes(), &options).is_err(), "{bad}");
    }
    // A number that a closed enum does not have is an unknown field.
    let proto = [8, 1, 32, 9, 40, 9, 40, 1];
    assert_eq!(proto_to_json(&message, &proto, &options).unwrap(), br#"{"id":1,"sizes":["SMALL"]}"#);
}
