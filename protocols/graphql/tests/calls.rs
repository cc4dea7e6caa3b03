//! Execution over services behind a board: what is called, how often, and what comes back.

mod common;

use common::{Site, options};
use sb_graphql::{Limits, Options};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One request on a connection of its own: status, head, body.
async fn http(site: &Site, head: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(site.addr).await.unwrap();
    let text = format!(
        "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

async fn ask_with(site: &Site, headers: &str, request: Value) -> (u16, Value) {
    let head = format!(
        "POST /graphql HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/graphql-response+json{headers}"
    );
    let (status, _, body) = http(site, &head, &request.to_string()).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}")))
}

async fn ask(site: &Site, query: &str) -> Value {
    ask_with(site, "", json!({ "query": query })).await.1
}

/// The data, of a request without errors.
async fn data(site: &Site, query: &str) -> Value {
    let answer = ask(site, query).await;
    assert_eq!(answer.get("errors"), None, "{query}: {answer}");
    answer["data"].clone()
}

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

fn called(site: &Site) -> Vec<String> {
    let calls = std::mem::take(&mut *site.calls.lock().unwrap());
    calls.into_iter().map(|(path, _)| path).collect()
}

async fn start() -> Site {
    Site::start(0, options(), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_services_one_call_each() {
    let site = start().await;
    let got = data(&site, "{ user(id: 1) { name posts { title } friends { name } } }").await;
    assert_eq!(
        got,
        json!({ "user": {
            "name": "user 1",
            "posts": [{ "title": "first of 1" }, { "title": "second of 1" }],
            "friends": [{ "name": "friend of 1" }],
        } })
    );
    let mut calls = called(&site);
    calls[1..].sort();
    assert_eq!(
        calls,
        ["user.v1.Users/GetUser", "blog.v1.Posts/ListPosts", "social.v1.Friends/ListFriends"]
            .map(str::to_owned)
            .to_vec()
    );
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_are_batched_and_concurrent() {
    let site = start().await;
    // One call for the users, one for all their articles, one for all authors of these.
    let got = data(&site, "{ users { id articles { title author { name buddies { id } } } } }").await;
    assert_eq!(got["users"][0]["articles"][1]["title"], "2 of 1");
    assert_eq!(got["users"][1]["articles"], json!([]));
    assert_eq!(got["users"][2]["articles"][0]["author"]["buddies"], json!([{ "id": "4" }, { "id": "5" }]));
    assert_eq!(
        called(&site),
        [
            "user.v1.Users/ListUsers",
            "blog.v1.Posts/BatchPosts",
            "user.v1.Users/ListUsers",
            "user.v1.Users/ListUsers"
        ]
    );
    // Without a batch there is one call for each, all at once; equal ones are made once.
    data(
        &site,
        "{ a: users { posts { title } } b: users { posts { title } more: posts(pageSize: 2) { id } } }",
    )
    .await;
    let calls = called(&site);
    assert_eq!(calls.iter().filter(|c| *c == "user.v1.Users/ListUsers").count(), 1, "{calls:?}");
    assert_eq!(calls.iter().filter(|c| *c == "blog.v1.Posts/ListPosts").count(), 6, "{calls:?}");
    assert!(site.most.1.load(Ordering::SeqCst) > 1, "calls of a level run one after another");
    // A key that the batch does not know is null, in its place.
    let got = data(&site, "{ user(id: 98) { buddies { id } } }").await;
    assert_eq!(got["user"]["buddies"], json!([{ "id": "99" }, null]));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_are_serial_and_not_merged() {
    let site = start().await;
    let mutation = "mutation { a: renameUser(id: 1, name: \"x\") { name posts { id } } b: renameUser(id: 1, name: \"x\") { name } }";
    let got = data(&site, mutation).await;
    assert_eq!(got["b"], json!({ "name": "x" }));
    assert_eq!(
        called(&site),
        ["user.v1.Users/RenameUser", "blog.v1.Posts/ListPosts", "user.v1.Users/RenameUser"]
    );
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_type() {
    let site = start().await;
    let fields = "double float int32 int64 uint32 uint64 bool string bytes enumeration int64s enumerations \
        numbers { key value } allByNumber { key value { string } } byTruth { key value } text count inner { int32 } none \
        nothing maybe timestamp duration mask struct value list any wide words truth empty _odd_name friend { tail } all { alls { bool } }";
    let all = json!({
        "double": 1.5, "float": 2, "int32": -7, "int64": "9007199254740993", "uint32": 4294967295u32,
        "uint64": 18446744073709551615u64, "bool": true, "string": "s", "bytes": "AAE=", "enumeration": "true_2",
        "int64s": [1, "2"], "enumerations": ["ONE"], "numbers": [{ "key": "a", "value": 5 }],
        "allByNumber": [{ "key": 3, "value": { "string": "in map" } }], "byTruth": [{ "key": true, "value": "yes" }],
        "choice": { "count": "12" }, "nothing": true, "maybe": 0, "timestamp": "2026-11-28T10:00:00Z", "duration": "1.500s",
        "mask": "a.b,c", "struct": { "x": [1, { "y": null }] }, "value": "v", "list": [1, "two"],
        "any": { "@type": "type.googleapis.com/user.v1.Problem", "field": "f" },
        "wide": 5, "words": "w", "truth": false, "empty": true, "_odd_name": "odd", "friend": { "tail": "t" },
        "all": { "alls": [{ "bool": true }] },
    });
    let query = format!("query($a: AllInput!) {{ echo(all: $a) {{ all {{ {fields} }} }} }}");
    let (status, answer) = ask_with(&site, "", json!({ "query": query, "variables": { "a": all } })).await;
    assert_eq!((status, answer.get("errors")), (200, None), "{answer}");
    let got = &answer["data"]["echo"]["all"];
    let mut wanted = all.clone();
    let object = wanted.as_object_mut().unwrap();
    for (name, value) in [
        ("uint64", json!("18446744073709551615")),
        ("int64s", json!(["1", "2"])),
        ("numbers", json!([{ "key": "a", "value": "5" }])),
        ("wide", json!("5")),
        ("float", json!(2)),
        ("count", json!("12")),
        ("text", json!(null)),
        ("inner", json!(null)),
        ("none", json!(null)),
    ] {
        object.insert(name.into(), value);
    }
    object.remove("choice");
    for (name, value) in object.iter() {
        let same = match (value.as_f64(), got[name].as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => *value == got[name],
        };
        assert!(same, "{name}: {value} became {}", got[name]);
    }
    // The same as literals, without what is not given: presence is told from defaults.
    let got = data(&site, "{ echo(int64: 3, enumeration: ONE, choice: { none: true }) { int64 double string bool enumeration maybe none wide int64s timestamp numbers { key } __typename } }").await;
    assert_eq!(
        got["echo"],
        json!({
            "int64": "3", "double": 0.0, "string": "", "bool": false, "enumeration": "ONE", "maybe": null, "none": true,
            "wide": null, "int64s": [], "timestamp": null, "numbers": [], "__typename": "All",
        })
    );
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_values_are_refused_with_their_place() {
    let site = start().await;
    for (argument, what) in [
        ("int32: 2147483648", ""),
        ("int64: \"12x\"", "int64 is"),
        ("int64: 9223372036854775808", "int64 is"),
        ("uint32: -1", "uint32 is"),
        ("bytes: 5", "bytes is"),
        ("choice: { count: 1, text: \"a\" }", "exactly one"),
        ("choice: {}", "exactly one"),
        ("choice: { text: null }", "one field has to be given"),
        ("numbers: [{ key: \"a\", value: 1 }, { key: \"a\", value: 2 }]", "twice"),
        ("enumeration: TWO", ""),
        ("bytes: \"***\"", ""),
        ("timestamp: \"yesterday\"", ""),
    ] {
        let answer = ask(&site, &format!("{{ echo({argument}) {{ bool }} }}")).await;
        let text = answer["errors"][0]["message"].as_str().unwrap_or_else(|| panic!("{argument}: {answer}"));
        assert!(text.contains(what), "{argument}: {text}");
        assert!(!answer["errors"][0]["locations"].is_null(), "{argument}: {answer}");
    }
    let variable = |value: Value| json!({ "query": "query($a: AllInput) { echo(all: $a) { bool } }", "variables": { "a": value } });
    for (value, place) in [
        (json!({ "all": { "int32": "x" } }), "$a.all.int32"),
        (json!({ "alls": [{}, { "bool": 1 }] }), "$a.alls[1].bool"),
        (json!({ "nope": 1 }), "nope"),
        (json!([1]), "$a"),
        (json!({ "choice": { "text": "a", "count": 1 } }), "$a.choice"),
    ] {
        let (status, answer) = ask_with(&site, "", variable(value.clone())).await;
        assert_eq!((status, code(&answer)), (400, "BAD_USER_INPUT"), "{value}: {answer}");
        assert!(answer["errors"][0]["message"].as_str().unwrap().contains(place), "{value}: {answer}");
        assert_eq!(answer.get("data"), None);
    }
    assert!(called(&site).is_empty());
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_calls_keep_code_details_and_place() {
    let site = start().await;
    let answer =
        ask(&site, "{ a: getUser(id: 404) { name }\n b: getUser { name } c: getUser(id: 3) { name } }").await;
    assert_eq!(answer["data"], json!({ "a": null, "b": null, "c": { "name": "user 3" } }));
    let errors = answer["errors"].as_array().unwrap();
    let of = |key: &str| errors.iter().find(|e| e["path"] == json!([key])).unwrap();
    assert_eq!(of("a")["message"], "there is no user 404");
    assert_eq!(of("a")["extensions"]["code"], "NOT_FOUND");
    assert_eq!(of("b")["locations"], json!([{ "line": 2, "column": 5 }]));
    let detail = json!([{ "@type": "type.googleapis.com/user.v1.Problem", "field": "id" }]);
    assert_eq!(of("b")["extensions"]["details"], detail);
    assert_eq!(of("b")["extensions"]["method"], "user.v1.Users/GetUser");
    // What GraphQL has no form for is null with an error, and no more than that is lost.
    let answer = ask(&site, "{ odd { double enumeration enumerations int64 } }").await;
    assert_eq!(
        answer["data"]["odd"],
        json!({ "double": null, "enumeration": null, "enumerations": ["ONE", null], "int64": "1" })
    );
    let paths: Vec<&Value> = answer["errors"].as_array().unwrap().iter().map(|e| &e["path"]).collect();
    assert!(paths.contains(&&json!(["odd", "enumerations", 1])), "{answer}");
    // The caller's time is the calls' time.
    let (_, answer) = ask_with(&site, "\r\nSb-Timeout: 50ms", json!({ "query": "{ slow }" })).await;
    assert_eq!(code(&answer), "DEADLINE_EXCEEDED");
    // One that is none is refused: whoever sends it wants a bound.
    let (_, answer) = ask_with(&site, "\r\nSb-Timeout: soon", json!({ "query": "{ ping }" })).await;
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("duration"), "{answer}");
    // Its own headers go with the calls; those of the transport do not.
    let (_, answer) = ask_with(&site, "\r\nX-Name: me", json!({ "query": "{ whoAmI ping }" })).await;
    assert_eq!(answer["data"], json!({ "whoAmI": "me", "ping": true }));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_and_directives() {
    let site = start().await;
    let query = "query($yes: Boolean!, $no: Boolean = false) {
        getUser(id: 5) { ...F ... on User @include(if: $no) { friendIds } ... @skip(if: $yes) { status } id }
        getUser(id: 5) { nickname @skip(if: true) posts { ...P } }
        skipped: ping @include(if: $no)
    }
    fragment F on User { name posts { id } __typename }
    fragment P on Post { title }";
    let (_, answer) = ask_with(&site, "", json!({ "query": query, "variables": { "yes": true } })).await;
    assert_eq!(
        answer,
        json!({ "data": { "getUser": {
            "name": "user 5",
            "posts": [{ "id": "51", "title": "first of 5" }, { "id": "52", "title": "second of 5" }],
            "__typename": "User", "id": "5",
        } } })
    );
    assert_eq!(called(&site).len(), 2);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_named() {
    let limits = Limits { tokens: 2_000, items: 50, calls: 5, ..Limits::default() };
    let site = Site::start(0, Options { limits, ..options() }, None).await;
    let nested = |n: usize| format!("{{ echo {{ {} bool {} }} }}", "all {".repeat(n), "}".repeat(n));
    let aliases: String = (0..20).map(|n| format!(" a{n}: bool")).collect();
    let roots: String = (0..25).map(|n| format!(" echo{n}: echo {{ bool }}")).collect();
    let names: String = (0..15)
        .map(|n| format!("fragment f{n} on All {{ all {{ ...f{} }} alls {{ ...f{} }} }} ", n + 1, n + 1))
        .collect();
    let bomb = format!("{{ echo {{ ...f0 }} }} {names} fragment f15 on All {{ bool }}");
    let ints = format!("{{ echo(int64s: [{}]) {{ bool }} }}", "1 ".repeat(60));
    for (query, what) in [
        (nested(11), "12 levels"),
        (nested(150), "nested deeper"),
        (format!("{{ echo {{ {aliases} }} }}"), "15 aliases"),
        (format!("{{ {roots} }}"), "15 aliases"),
        (bomb, "12 levels"),
        (ints, "50 items"),
        (
            format!(
                "{{ __schema {{ {} }} }}",
                (0..20).map(|n| format!("a{n}: types {{ name }} ")).collect::<String>()
            ),
            "15 aliases",
        ),
        ("{ echo { bool } }".to_owned(), ""),
        (format!("{{ {} }}", "__typename ".repeat(1_500)), "2000 tokens"),
    ] {
        let answer = ask(&site, &query).await;
        if what.is_empty() {
            assert_eq!(answer.get("errors"), None, "{answer}");
            continue;
        }
        assert_eq!(code(&answer), "RESOURCE_EXHAUSTED", "{what}: {answer}");
        let text = answer["errors"][0]["message"].as_str().unwrap();
        assert!(text.contains(what), "{what}: {text}");
    }
    assert!(called(&site).iter().all(|path| path.ends_with("Echo")));
    // Calls are counted while they are made.
    let answer = ask(&site, "{ users(ids: [1, 2, 3, 4, 5, 6]) { posts { id } } }").await;
    assert_eq!(code(&answer), "RESOURCE_EXHAUSTED");
    assert!(called(&site).len() <= 5);
    // Circles, and what is nested without end in values.
    for query in [
        "{ echo { ...a } } fragment a on All { all { ...b } } fragment b on All { all { ...a } }".to_owned(),
        format!("{{ echo(struct: {}1{}) {{ bool }} }}", "[".repeat(5_000), "]".repeat(5_000)),
        format!("query($x: {}Int{}) {{ ping }}", "[".repeat(300), "]".repeat(300)),
    ] {
        let answer = ask(&site, &query).await;
        assert!(answer.get("data").is_none() && !answer["errors"].is_null(), "{answer}");
    }
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let body = format!(
        "{{\"query\":\"query($x: JSON) {{ echo(value: $x) {{ bool }} }}\",\"variables\":{{\"x\":{deep}}}}}"
    );
    let (status, _, _) = http(&site, "POST /graphql HTTP/1.1\r\nContent-Type: application/json", &body).await;
    assert_eq!(status, 400);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_rules() {
    let site = start().await;
    let get = |query: &str| {
        format!(
            "GET /graphql?query={} HTTP/1.1",
            query.replace(' ', "%20").replace('{', "%7B").replace('}', "%7D")
        )
    };
    let (status, head, body) = http(&site, &get("{ getUser(id: 1) { name } }"), "").await;
    assert_eq!((status, &*body), (200, r#"{"data":{"getUser":{"name":"user 1"}}}"#));
    assert!(head.contains("content-type: application/json; charset=utf-8"), "{head}");
    let (status, head, _) = http(&site, &get("mutation { renameUser(id: 1) { id } }"), "").await;
    assert!(status == 405 && head.contains("allow: POST"), "{head}");
    called(&site);
    for (head, status) in [
        ("POST /graphql HTTP/1.1", 415),
        ("POST /graphql HTTP/1.1\r\nContent-Type: text/plain", 415),
        ("POST /graphql HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded", 415),
        ("POST /graphql HTTP/1.1\r\nContent-Type: application/json; charset=latin1", 415),
        ("POST /graphql HTTP/1.1\r\nContent-Type: application/json\r\nAccept: image/png", 406),
        ("PATCH /graphql HTTP/1.1", 405),
        ("GET /graphql HTTP/1.1", 400),
        ("GET /graphql/nothing HTTP/1.1", 404),
    ] {
        let got = http(&site, head, r#"{"query":"mutation { renameUser(id: 1) { id } }"}"#).await;
        assert_eq!(got.0, status, "{head}: {}", got.2);
    }
    assert!(called(&site).is_empty(), "something ran without a browser's permission");
    // Batches are off, and on when the options say so.
    let batch = json!([{ "query": "{ a: ping }" }, { "query": "{ nope }" }]);
    assert_eq!(ask_with(&site, "", batch.clone()).await.0, 400);
    site.board.share(Options { batching: true, ..options() });
    let (status, answer) = ask_with(&site, "", batch).await;
    assert_eq!((status, &answer[0]), (200, &json!({ "data": { "a": true } })));
    assert_eq!(answer[1]["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED");
    let (_, answer) = ask_with(&site, "", Value::Array(vec![json!({ "query": "{ ping }" }); 11])).await;
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("10 operations"), "{answer}");
    // A page for people; the schema as text.
    let (status, head, body) = http(&site, "GET /graphql HTTP/1.1\r\nAccept: text/html,*/*;q=0.8", "").await;
    assert!(
        status == 200 && head.contains("content-security-policy") && body.contains("<textarea"),
        "{head}"
    );
    let (status, _, body) = http(&site, "GET /graphql/schema.graphql HTTP/1.1", "").await;
    assert!(status == 200 && body.contains("type Query {"));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn persisted_queries() {
    let site = start().await;
    let by_hash =
        |hash: &str| json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": hash } } });
    let hash = "2a3a7a9ac4a2a1c9f3b1cbfbaad6d8c8e84bd5bb2bb9ec3d1f3f9d0a1b2c3d4e";
    let (_, answer) = ask_with(&site, "", by_hash(hash)).await;
    assert_eq!(code(&answer), "PERSISTED_QUERY_NOT_FOUND");
    let mut wrong = by_hash(hash);
    wrong["query"] = "{ ping }".into();
    assert_eq!(ask_with(&site, "", wrong).await.0, 400);
    let digest: String = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"{ ping }")
        .as_ref()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let mut right = by_hash(&digest);
    right["query"] = "{ ping }".into();
    assert_eq!(ask_with(&site, "", right).await.1, json!({ "data": { "ping": true } }));
    assert_eq!(ask_with(&site, "", by_hash(&digest)).await.1, json!({ "data": { "ping": true } }));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_as_jobs() {
    let site = start().await;
    let mutation = json!({ "query": "mutation { renameUser(id: 7, name: \"later\") { name } }" });
    let (status, answer) = ask_with(&site, "\r\nPrefer: respond-async", mutation).await;
    assert_eq!((status, &answer["data"]), (202, &json!({ "renameUser": null })), "{answer}");
    let id = answer["extensions"]["jobs"]["renameUser"]["id"].as_str().unwrap().to_owned();
    let access = site.board.admin();
    let reply = access
        .job_reply(sb_core::model::JobId::parse(&id).unwrap(), sb_board::call::Codec::Json, false)
        .await
        .unwrap();
    let (_, message, _) = reply.one().await;
    let message: Value = serde_json::from_slice(&message.unwrap()).unwrap();
    assert_eq!(message["name"], "later");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_shown_and_what_changes() {
    let site = start().await;
    let model = sb_graphql::model(&site.board).unwrap();
    assert_eq!(model.faults(), Vec::<String>::new());
    let unmapped: Vec<&str> = model.unmapped().iter().map(|u| u.what.as_str()).collect();
    assert!(
        unmapped.contains(&"user.v1.Users/Import") && unmapped.contains(&"zoo.v1.Number.true"),
        "{unmapped:?}"
    );
    // Names carry the package where they collide, and nowhere else.
    for (name, there) in
        [("User", true), ("Post", true), ("Friend", false), ("ZooV1Friend", true), ("SocialV1Friend", true)]
    {
        assert_eq!(model.sdl().contains(&format!("type {name} ")), there, "{name}");
    }
    // A join that does not fit is a fault with a sentence, and the rest stands.
    let mut options = options();
    for (name, call) in [
        ("User.x", "no.Such/Method"),
        ("Nobody.x", "user.v1.Users/GetUser"),
        ("x", "user.v1.Users/GetUser"),
        ("User.y", "zoo.v1.Zoo/Watch"),
        ("Query.z", "user.v1.Users/RenameUser"),
    ] {
        options.joins.insert(name.into(), sb_graphql::Join { call: call.into(), ..Default::default() });
    }
    let checked = sb_graphql::check(&site.board.services(), &options).unwrap();
    assert_eq!(checked.faults().len(), 5, "{:?}", checked.faults());
    // A table without a service that was there: its fields are gone, and what stays is served on.
    let table = site.board.services();
    let fewer = table.services().iter().filter(|s| &*s.name == "zoo.v1.Zoo").map(|s| (**s).clone()).collect();
    site.board.set_services(common::schema(), fewer).await.unwrap();
    assert_eq!(code(&ask(&site, "{ getUser(id: 1) { id } }").await), "GRAPHQL_VALIDATION_FAILED");
    assert_eq!(data(&site, "{ echo { bool } }").await, json!({ "echo": { "bool": false } }));
    site.stop().await;
}
