//! The same call with the same bytes over every protocol, in front of a service that speaks gRPC: answers, errors and metadata are compared,
//! and what is seen is the table in `docs/services.md`. With `SWITCHBOARD_BLESS=1` the table is written there; without, it has to be there.

mod graphql;
mod service;
mod speak;
mod thrift;

use base64::Engine as _;
use futures_util::FutureExt as _;
use http::HeaderMap;
use sb_board::call::Code;
use sb_board::problem;
use serde_json::{Value, json};
use service::{KEY, LESS, SENTENCE, World, details, leading, pairs, proto, schema, trailing, world};
use speak::{Ask, FAMILIES, Failure, Seen, Way, call};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What each code is in each protocol: HTTP's status of REST and of Connect's unary calls, Connect's word, JSON-RPC's number. gRPC, gRPC-Web and
/// Thrift have the code's number, GraphQL and MCP its name.
const MAPPING: [(&str, u32, u16, &str, i64); 16] = [
    ("CANCELLED", 1, 499, "canceled", -32001),
    ("UNKNOWN", 2, 500, "unknown", -32002),
    ("INVALID_ARGUMENT", 3, 400, "invalid_argument", -32602),
    ("DEADLINE_EXCEEDED", 4, 504, "deadline_exceeded", -32004),
    ("NOT_FOUND", 5, 404, "not_found", -32005),
    ("ALREADY_EXISTS", 6, 409, "already_exists", -32006),
    ("PERMISSION_DENIED", 7, 403, "permission_denied", -32007),
    ("RESOURCE_EXHAUSTED", 8, 429, "resource_exhausted", -32008),
    ("FAILED_PRECONDITION", 9, 400, "failed_precondition", -32009),
    ("ABORTED", 10, 409, "aborted", -32010),
    ("OUT_OF_RANGE", 11, 400, "out_of_range", -32011),
    ("UNIMPLEMENTED", 12, 501, "unimplemented", -32012),
    ("INTERNAL", 13, 500, "internal", -32603),
    ("UNAVAILABLE", 14, 503, "unavailable", -32014),
    ("DATA_LOSS", 15, 500, "data_loss", -32015),
    ("UNAUTHENTICATED", 16, 401, "unauthenticated", -32016),
];

/// The error of a protocol for a code.
fn expected(family: &str, code: Code) -> String {
    let (name, number, http, connect, jsonrpc) = MAPPING[code.number() as usize - 1];
    assert_eq!((name, number), (code.name(), code.number()));
    match family {
        "REST" => http.to_string(),
        "gRPC" | "gRPC-Web" => number.to_string(),
        "Connect" => format!("{http} `{connect}`"),
        "GraphQL" | "MCP" => format!("`{name}`"),
        "JSON-RPC" => jsonrpc.to_string(),
        "Thrift" => format!("`Error` {number}"),
        other => panic!("{other}"),
    }
}

/// Whether a form can carry the call at all.
fn has_place(way: Way, ask: &Ask<'_>) -> bool {
    match way {
        // Frames hold a message and nothing else.
        Way::ThriftFramedBinary | Way::ThriftFramedCompact => ask.timeout.is_none(),
        // A URL has less than 64 KiB.
        Way::ConnectGet => ask.message.len() < 40_000,
        _ => true,
    }
}

/// Everything that is not as it should be: all of it is told, not the first.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }
}

/// Calls. An answer that cannot be read is a failure of its own.
async fn one(world: &World, way: Way, ask: &Ask<'_>) -> Seen {
    let called = std::panic::AssertUnwindSafe(call(&world.front, way, ask)).catch_unwind().await;
    called.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        Seen::failed(Failure { text, ..Failure::of("not read".to_owned(), None) })
    })
}

/// Every form of every protocol.
fn forms() -> impl Iterator<Item = (&'static str, Way, &'static str)> {
    FAMILIES.iter().flat_map(|(family, ways)| ways.iter().map(|(way, form)| (*family, *way, *form)))
}

fn ask<'a>(method: &'a str, kind: &str, json: Value) -> Ask<'a> {
    Ask { method, message: proto(kind, &json), key: Some(KEY), metadata: &[], timeout: None }
}

/// A row of a table: one text for each protocol. Forms that differ are named.
fn row(name: &str, cells: &[(&'static str, &'static str, String)]) -> String {
    let mut out = format!("| {name} |");
    for (family, _) in FAMILIES {
        let mut texts: Vec<(&str, Vec<&str>)> = Vec::new();
        for (_, form, text) in cells.iter().filter(|(of, ..)| of == family) {
            match texts.iter_mut().find(|(known, _)| known == text) {
                Some((_, forms)) => forms.push(form),
                None => texts.push((text, vec![form])),
            }
        }
        let shown: Vec<String> = match &texts[..] {
            [(text, _)] => vec![(*text).to_owned()],
            several => several.iter().map(|(text, forms)| format!("{text} ({})", forms.join(", "))).collect(),
        };
        let _ = write!(out, " {} |", shown.join("; "));
    }
    out + "\n"
}

fn heading(first: &str) -> String {
    let names: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
    format!("| {first} | {} |\n|{}\n", names.join(" | "), "---|".repeat(names.len() + 1))
}

/// Requests whose answer is themselves, each with what it is about.
fn requests() -> Vec<(&'static str, Value)> {
    vec![
        ("nothing given", json!({})),
        (
            "the largest numbers",
            json!({
                "aDouble": 1.7976931348623157e308, "aFloat": 3.4028234e38, "anInt32": i32::MAX,
                "anInt64": "9223372036854775807", "aUint32": u32::MAX, "aUint64": "18446744073709551615",
                "aSint32": i32::MAX, "aSint64": "9223372036854775807", "aFixed32": u32::MAX,
                "aFixed64": "18446744073709551615", "aSfixed32": i32::MAX, "aSfixed64": "9223372036854775807",
                "aBool": true,
            }),
        ),
        (
            "the smallest numbers",
            json!({
                "aDouble": 5e-324, "aFloat": 1e-45, "anInt32": i32::MIN, "anInt64": "-9223372036854775808",
                "aSint32": i32::MIN, "aSint64": "-9223372036854775808", "aSfixed32": i32::MIN,
                "aSfixed64": "-9223372036854775808", "longs": ["-9007199254740993", "9007199254740993", "0"],
            }),
        ),
        (
            "every byte, every kind of text",
            json!({
                "data": base64::prelude::BASE64_STANDARD.encode((0..=255).collect::<Vec<u8>>()),
                "text": "grüße ✓ 日本 🦀 \u{0} \u{1} \u{7f} \u{feff} \"\\/\r\n\t </script> e\u{301} \u{10ffff}",
                "texts": ["", " ", "\u{2028}\u{2029}", "%00 %", "'"],
            }),
        ),
        (
            "given, with the value of what is not given",
            json!({ "perhaps": 0, "perhapsText": "", "number": "0", "wrapped": "0" }),
        ),
        (
            "enums, lists, maps, messages in messages",
            json!({
                "mood": "MOOD_GOOD", "moods": ["MOOD_BAD", "MOOD_UNSPECIFIED", "MOOD_GOOD"],
                "inner": { "text": "a", "inner": { "n": "7", "inner": { "text": "c" } } },
                "inners": [{}, { "n": "-1" }], "counts": { "": "0", "ü": "9007199254740993" },
                "numbered": { "-1": {}, "2147483647": { "text": "x" } },
                "nested": { "text": "chosen" },
                "at": "2026-11-20T10:00:00.000000001Z", "took": "-3.000000001s", "wrapped": "-9223372036854775808",
            }),
        ),
        ("100 KiB", json!({ "text": "✗".repeat(34_000), "word": "y" })),
    ]
}

async fn answers(world: &World, table: &mut String, wrong: &mut Wrong) {
    *table += &heading("the same request, the same answer");
    for (name, json) in requests() {
        let ask = ask("same.v1.Same/Read", "Everything", json);
        let mut cells = Vec::new();
        for (family, way, form) in forms() {
            if !has_place(way, &ask) {
                cells.push((family, form, "–".to_owned()));
                continue;
            }
            let seen = one(world, way, &ask).await;
            let heard = world.heard();
            wrong.unless(heard.is_some_and(|heard| normal(&heard.message) == normal(&ask.message)), || {
                format!("{way:?}: the service did not hear {name}")
            });
            let same = seen.outcome.as_ref().is_ok_and(|answer| normal(answer) == normal(&ask.message));
            wrong.unless(same, || match seen.outcome {
                Ok(answer) => format!("{way:?}: {name} came back as {:.3000}", normal(&answer)),
                Err(failure) => format!("{way:?}: {name}: {failure:?}"),
            });
            cells.push((family, form, "the same".to_owned()));
        }
        *table += &row(name, &cells);
    }
}

/// A message in one order of its fields and of its maps.
fn normal(bytes: &[u8]) -> Value {
    let kind = service::message("Everything");
    let json = sb_schema::proto_to_json(&kind, bytes, &sb_schema::Options::default()).expect("a message");
    serde_json::from_slice(&json).expect("JSON")
}

async fn codes(world: &World, table: &mut String, wrong: &mut Wrong) {
    *table += &heading("the service says");
    let details: Vec<Value> = details().iter().map(|d| problem::detail_value(d, &schema())).collect();
    for code in Code::ALL {
        let ask = ask("same.v1.Same/Fail", "Order", json!({ "code": code.number() }));
        let mut cells = Vec::new();
        for (family, way, form) in forms() {
            let shown = expected(family, code);
            let wanted = Failure { shown, text: SENTENCE.to_owned(), details: details.clone(), own: None };
            match one(world, way, &ask).await.outcome {
                Err(failure) if failure == wanted => cells.push((family, form, failure.shown)),
                other => wrong.0.push(format!("{way:?}: {code:?} is {other:?} and not {wanted:?}")),
            }
        }
        *table += &row(&format!("`{}`", code.name()), &cells);
    }
}

/// A failure that this server makes: what is done, its code, its own code, and what is not as the mapping has it: family or form, and its error.
struct Own {
    name: &'static str,
    ask: Ask<'static>,
    code: Code,
    own: Option<&'static str>,
    but: &'static [(&'static str, &'static str)],
}

fn owns() -> Vec<Own> {
    let order = |method| ask(method, "Order", json!({ "code": 1 }));
    let large = json!({ "data": base64::prelude::BASE64_STANDARD.encode(vec![1; (1 << 20) + 4096]) });
    vec![
        Own {
            name: "no credentials",
            ask: Ask { key: None, ..order("same.v1.Same/Fail") },
            code: Code::Unauthenticated,
            own: Some("SB0501"),
            but: &[("MCP", "HTTP 401")],
        },
        Own {
            name: "no role that allows it",
            ask: Ask { key: Some(LESS), ..order("same.v1.Same/Fail") },
            code: Code::PermissionDenied,
            own: Some("SB0502"),
            but: &[("MCP", "-32602")],
        },
        Own {
            name: "no such method",
            ask: Ask { method: "same.v1.Same/Nothing", ..order("same.v1.Same/Fail") },
            code: Code::Unimplemented,
            own: None,
            but: &[
                ("REST", "404"),
                ("Connect", "404 `unimplemented`"),
                ("GraphQL", "`GRAPHQL_VALIDATION_FAILED`"),
                ("JSON-RPC", "-32601"),
                ("Thrift", "`TApplicationException` 1"),
                ("MCP", "-32602"),
            ],
        },
        Own {
            name: "the caller's deadline passes",
            ask: Ask { timeout: Some(Duration::from_millis(150)), ..order("same.v1.Same/Hang") },
            code: Code::DeadlineExceeded,
            own: None,
            but: &[],
        },
        Own {
            name: "the service's `timeout` passes",
            ask: order("same.v1.Slow/Late"),
            code: Code::DeadlineExceeded,
            own: None,
            but: &[],
        },
        Own {
            name: "the upstream is not there",
            ask: order("same.v1.Away/Lost"),
            code: Code::Unavailable,
            own: None,
            but: &[],
        },
        Own {
            name: "the request is too large",
            ask: ask("same.v1.Same/Take", "Blob", large),
            code: Code::ResourceExhausted,
            own: None,
            but: &[("REST", "413"), ("JSON-RPC", "-32008"), ("MCP", "-32602")],
        },
        Own {
            name: "the answer is too large",
            ask: ask("same.v1.Same/Grow", "Order", json!({ "code": (1 << 20) + 4096 })),
            code: Code::ResourceExhausted,
            own: None,
            but: &[],
        },
    ]
}

async fn own_failures(world: &World, table: &mut String, wrong: &mut Wrong) {
    *table += &heading("Switchboard says");
    for case in owns() {
        let mut cells = Vec::new();
        for (family, way, form) in forms() {
            if !has_place(way, &case.ask) {
                cells.push((family, form, "–".to_owned()));
                continue;
            }
            let seen = one(world, way, &case.ask).await;
            let name = format!("{family} {form}");
            let but = case.but.iter().find(|(of, _)| *of == family || *of == name.trim_end());
            let wanted = but.map_or_else(|| expected(family, case.code), |(_, shown)| (*shown).to_owned());
            match seen.outcome {
                Err(failure) => {
                    let own = but.is_some() || failure.own.as_deref() == case.own;
                    wrong.unless(failure.shown == wanted && own, || {
                        format!("{}: {way:?}: {failure:?}, and not {wanted} {:?}", case.name, case.own)
                    });
                    cells.push((family, form, failure.shown));
                }
                Ok(_) => wrong.0.push(format!("{}: {way:?} answers", case.name)),
            }
        }
        *table += &row(case.name, &cells);
    }
}

/// A caller that leaves ends the call at the service.
async fn leaving(world: &World, table: &mut String) {
    let mut cells = Vec::new();
    let count = |of: &std::sync::atomic::AtomicUsize| of.load(Ordering::SeqCst);
    for (family, way, form) in forms() {
        let (begun, dropped) = (count(&world.same.begun), count(&world.same.dropped));
        let ask = ask("same.v1.Same/Hang", "Order", json!({ "code": 1 }));
        {
            let mut called = std::pin::pin!(call(&world.front, way, &ask));
            tokio::select! {
                seen = &mut called => panic!("{way:?}: {seen:?}"),
                () = until(|| count(&world.same.begun) > begun) => {}
            }
        }
        until(|| count(&world.same.dropped) > dropped).await;
        cells.push((family, form, "ends".to_owned()));
    }
    *table += &row("the caller leaves; the call at the service", &cells);
}

async fn until(holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.expect("it comes about");
}

/// Values of metadata, in a form that protocols do not differ in: several values of one name may be one with commas, base64 may be padded.
fn values(map: &HeaderMap, name: &str) -> Vec<String> {
    let text = map.get_all(name).iter().map(|value| value.to_str().expect("text"));
    let values =
        text.flat_map(|text| text.split(',').map(|part| part.trim().trim_end_matches('=').to_owned()));
    values.collect()
}

/// Whether a form has a place for it.
fn expected_metadata(way: Way, row: &str) -> &'static str {
    let request = row.contains("of the request");
    match way {
        // Frames hold a message and nothing else; the headers of a WebSocket are those of its beginning.
        Way::ThriftFramedBinary | Way::ThriftFramedCompact => "–",
        // One answer is made of many.
        Way::Graphql | Way::JsonRpcSocket if !request => "–",
        _ => "yes",
    }
}

async fn metadata(world: &World, table: &mut String, wrong: &mut Wrong) {
    *table += &heading("metadata");
    let sent = [("x-tenant", "a b"), ("x-list", "1"), ("x-list", "2, 3"), ("x-bytes-bin", "AP8Q")];
    let given = |name: &str, map: &HeaderMap, wanted: &HeaderMap| match values(map, name) {
        got if got == values(wanted, name) => "yes".to_owned(),
        got if got.is_empty() => "–".to_owned(),
        got => format!("{got:?}"),
    };
    let mut rows: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (what, method) in [("answer", "same.v1.Same/Read"), ("failure", "same.v1.Same/Fail")] {
        let kind = if what == "answer" { "Everything" } else { "Order" };
        let json = if what == "answer" { json!({}) } else { json!({ "code": 5 }) };
        let ask = Ask { metadata: &sent, ..ask(method, kind, json) };
        for (family, way, form) in forms() {
            let seen = one(world, way, &ask).await;
            let Some(heard) = world.heard() else {
                wrong.0.push(format!("{way:?}: {what}: the service was not called: {seen:?}"));
                continue;
            };
            let asked = pairs(&sent);
            let mut cell = |row, text: String| {
                wrong.unless(text == expected_metadata(way, row), || {
                    format!("{way:?}: metadata {row}: {text}")
                });
                rows.entry(row).or_default().push((family, form, text));
            };
            if what == "answer" {
                cell("1 of the request", given("x-tenant", &heard.metadata, &asked));
                cell("2 of the request, several of one name", given("x-list", &heard.metadata, &asked));
                cell("3 of the request, `-bin`", given("x-bytes-bin", &heard.metadata, &asked));
                cell("4 of the answer, leading", given("x-lead", &seen.leading, &leading()));
                cell("5 of the answer, leading `-bin`", given("x-lead-bin", &seen.leading, &leading()));
                cell("6 of the answer, trailing", given("x-trail", &seen.trailing, &trailing()));
                cell("7 of the answer, trailing `-bin`", given("x-trail-bin", &seen.trailing, &trailing()));
            } else {
                // gRPC and Connect may tell both together when nothing but the end comes.
                let mut all = seen.leading.clone();
                if values(&all, "x-lead").is_empty() {
                    all = seen.trailing.clone();
                }
                cell("8 of a failure, leading", given("x-lead", &all, &leading()));
                cell("9 of a failure, trailing", given("x-trail", &seen.trailing, &trailing()));
            }
        }
    }
    for (name, cells) in rows {
        *table += &row(name.split_once(' ').map_or(name, |(_, name)| name), &cells);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_over_every_protocol() {
    let world = world().await;
    let mut table = String::new();
    let mut wrong = Wrong::default();
    codes(&world, &mut table, &mut wrong).await;
    table += "\n";
    own_failures(&world, &mut table, &mut wrong).await;
    leaving(&world, &mut table).await;
    table += "\n";
    metadata(&world, &mut table, &mut wrong).await;
    table += "\n";
    answers(&world, &mut table, &mut wrong).await;
    println!("{table}");
    assert!(wrong.0.is_empty(), "{} differ:\n{}", wrong.0.len(), wrong.0.join("\n"));

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/services.md");
    let text = std::fs::read_to_string(&file).expect("docs/services.md");
    let (begin, end) =
        ("<!-- what follows is printed by `cargo test -p sb-suite --test same` -->\n", "<!-- up to here -->");
    let (before, rest) = text.split_once(begin).expect("the mark before the table");
    let (there, after) = rest.split_once(end).expect("the mark behind the table");
    if there == table {
        return;
    }
    if std::env::var_os("SWITCHBOARD_BLESS").is_none() {
        panic!("docs/services.md has another table; SWITCHBOARD_BLESS=1 writes this one:\n{table}");
    }
    std::fs::write(&file, format!("{before}{begin}{table}{end}{after}"))
        .expect("docs/services.md is written");
}

/// Nothing of the caller's that is not metadata gets to the service.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_stay_here() {
    let world = world().await;
    let ask = ask("same.v1.Same/Read", "Everything", json!({}));
    for (_, way, _) in forms() {
        call(&world.front, way, &ask).await.outcome.expect("an answer");
        let heard = world.heard().expect("the service was called");
        let names: Vec<&str> = heard.metadata.keys().map(http::HeaderName::as_str).collect();
        assert!(names.is_empty(), "{way:?}: {names:?}");
    }
}
