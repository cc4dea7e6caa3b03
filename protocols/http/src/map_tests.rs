//! Tests of the mapping between HTTP's shapes and the core's nouns.

use super::*;
use proptest::prelude::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn record(message: Message) -> Record {
    Record { offset: 7, message }
}

fn somewhere() -> Address {
    Address::parse("orders.eu").unwrap()
}

#[test]
fn a_message_from_headers() {
    let given = headers(&[
        ("content-type", "text/plain"),
        ("sb-key", "customer 7"),
        ("sb-header-tag", "a"),
        ("sb-header-tag", "ü"),
        ("sb-header-sb-dead-topic", "forged"),
        ("traceparent", "00-x"),
        ("sb-delay", "10s"),
        ("sb-expires", "60"),
        ("x-other", "not kept"),
    ]);
    let message = message(&given, somewhere(), Bytes::from_static(b"x"), 1_000).unwrap();
    assert_eq!(message.content_type.as_deref(), Some("text/plain"));
    assert_eq!(message.key.as_deref(), Some(&b"customer 7"[..]));
    assert_eq!(
        message.headers,
        [Header::text("tag", "a"), Header::text("tag", "ü"), Header::text("traceparent", "00-x")]
    );
    assert_eq!((message.due_ms, message.expires_ms), (Some(11_000), Some(61_000)));
    for bad in [
        &[("sb-key-base64", "!!")][..],
        &[("sb-key", "a"), ("sb-key-base64", "YQ==")],
        &[("sb-delay", "soon")],
    ] {
        assert_eq!(super::message(&headers(bad), somewhere(), Bytes::new(), 0).unwrap_err().code, "SB0201");
    }
    let bare = super::message(&HeaderMap::new(), somewhere(), Bytes::new(), 0).unwrap();
    assert_eq!((bare.content_type, bare.key), (None, None));
}

#[test]
fn a_message_from_json() {
    let read = |text: &'static str| {
        let document = Bytes::from_static(text.as_bytes());
        json::<MessageIn<'_>>(&document).and_then(|m| message_in(&document, m, 0))
    };
    let message = read(r#"{"address":"a","key":"k","headers":{"b":["x",{"base64":"AA=="}],"n":1,"sb-x":"y"},"body":"AAH/","encoding":"base64"}"#).unwrap();
    assert_eq!(&message.body[..], b"\0\x01\xff");
    assert_eq!(message.headers.len(), 3);
    assert_eq!(message.headers.get(2).unwrap().value, Value::Int(1));
    for (bad, code) in [
        (r#"{"body":"no address"}"#, "SB0201"),
        (r#"{"address":"a.*"}"#, "SB0203"),
        (r#"{"address":"a..b"}"#, "SB0202"),
        (r#"{"address":"a","body":"!","encoding":"base64"}"#, "SB0201"),
        (r#"{"address":"a","body":"x","encoding":"rot13"}"#, "SB0201"),
        (r#"{"address":"a","encoding":"base64"}"#, "SB0201"),
        (r#"{"address":"a","body":{"json":1}}"#, "SB0201"),
        (r#"{"address":"a","headers":{"x":[["y"]]}}"#, "SB0201"),
        (r#"{"address":"a","colour":"red"}"#, "SB0201"),
        (r#"{"address":"a","delay":"soon"}"#, "SB0201"),
        (r#"{"address":"a","body":"\ud800"}"#, "SB0201"),
    ] {
        assert_eq!(read(bad).unwrap_err().code, code, "{bad}");
    }
    assert!(read("{\n\"address\":1}").unwrap_err().detail.contains("line 2"));
}

#[test]
fn arrays_are_no_objects() {
    assert!(json::<CommitIn>(br#" ["cursor"]"#).is_err());
    assert!(json::<CommitIn>(br#" {"cursor":"c"}"#).is_ok());
    let document = Bytes::from_static(br#"{"address":"a","headers":{"b":["x"]}}"#);
    let message = message_in(&document, json(&document).unwrap(), 0).unwrap();
    assert_eq!(message.headers, [Header::text("b", "x")]);
}

#[test]
fn a_message_as_json() {
    let mut message = Message::new(somewhere(), &b"\xff"[..]);
    message.time_ms = 0;
    message.key = Some(Bytes::from_static(b"\xfe"));
    message.headers = vec![Header { name: "t".into(), value: Value::Time(5) }];
    let record = record(message);
    let text = serde_json::to_string(&message_out("orders", 1, &record, "c")).unwrap();
    assert_eq!(
        text,
        r#"{"id":"c","topic":"orders","address":"orders.eu","partition":1,"offset":7,"at":"1970-01-01T00:00:00.000Z","key_base64":"/g==","headers":{"t":5},"body":"/w==","encoding":"base64"}"#
    );
    let live = serde_json::to_string(&message_out("orders.eu", 0, &record, "")).unwrap();
    assert!(!live.contains("\"id\"") && !live.contains("offset") && !live.contains("address"));
}

#[test]
fn shared_envelopes() {
    let text = record(Message::new(somewhere(), "ä"));
    let shared = encode(Form::WebSocketEnvelope, "t", 0, &text, "c");
    assert!(shared.starts_with(b"\"id\":\"c\""));
    let raw = record(Message::new(somewhere(), &b"\xff\0"[..]));
    let shared = encode(Form::WebSocketEnvelope, "t", 0, &raw, "c");
    let mut out = Vec::new();
    let (is_text, rest) = frames::join(b"{", shared, &mut out);
    out.extend_from_slice(&rest);
    assert!(!is_text);
    let (head, body) = frames::split_binary(out.into()).unwrap();
    let head: serde_json::Value = serde_json::from_slice(&head).unwrap();
    assert!(head.get("body").is_none() && head.get("encoding").is_none() && head["id"] == "c");
    assert_eq!(&body[..], b"\xff\0");
}

#[test]
fn events_choose_their_form() {
    for (body, plain) in
        [(&b"one\ntwo"[..], true), (b"a\rb", false), (b"\0", false), (b"\xff", false), (b"", true)]
    {
        let record = record(Message::new(somewhere(), Bytes::copy_from_slice(body)));
        let event = encode(Form::Sse, "t", 0, &record, "c");
        let text = std::str::from_utf8(&event).unwrap();
        assert_eq!(!text.contains("event: envelope\n"), plain, "{text}");
        assert!(text.starts_with("id: c\n") && text.ends_with("\n\n") && !text.contains('\r'));
    }
}

#[test]
fn places_to_begin() {
    assert_eq!(start("start", 0).unwrap(), Start::Start);
    assert_eq!(start("end", 0).unwrap(), Start::End);
    assert_eq!(start("offset:7", 0).unwrap(), Start::Offset(7));
    assert_eq!(start("time:1970-01-01T00:00:01Z", 0).unwrap(), Start::Time(1_000));
    assert_eq!(start("-1h", 4_000_000).unwrap(), Start::Time(400_000));
    for bad in [
        "middle",
        "offset:x",
        "offset:-1",
        "offset:+1",
        "offset:",
        "time:yesterday",
        "",
        "1h",
        "-",
        "offset:99999999999999999999",
    ] {
        assert_eq!(start(bad, 0).unwrap_err().code, "SB0201", "{bad}");
    }
    let query = |q| Query::parse(Some(q), &["after", "from", "last"]).unwrap();
    assert!(matches!(from(&query(""), None, Start::End, 0), Ok(From::At(Start::End))));
    assert!(matches!(from(&query("from=start"), Some("c"), Start::End, 0), Ok(From::After(c)) if c == "c"));
    assert!(matches!(from(&query("last=3"), Some(""), Start::End, 0), Ok(From::Last(3))));
    assert!(from(&query("last=3&from=start"), None, Start::End, 0).is_err());
}

#[test]
fn policies() {
    let read = |text: &str| json::<PolicyIn>(text.as_bytes()).and_then(|p| policy(p, Policy::default()));
    let given = read(r#"{"partitions":2,"keep_age":"7d","claims":["orders.>"]}"#).unwrap();
    assert_eq!((given.partitions, given.keep_age_ms, given.claims.len()), (2, Some(604_800_000), 1));
    assert_eq!(read("{}").unwrap(), Policy::default());
    for (bad, code) in [
        (r#"{"partitions":0}"#, "SB0201"),
        (r#"{"max_message":68157440}"#, "SB0201"),
        (r#"{"claims":["a..b"]}"#, "SB0202"),
        (r#"{"claims":[">.a"]}"#, "SB0202"),
        (r#"{"claims":"a"}"#, "SB0201"),
    ] {
        assert_eq!(read(bad).unwrap_err().code, code, "{bad}");
    }
    let cleared = policy(json::<PolicyIn>(br#"{"keep_age":null}"#).unwrap(), given).unwrap();
    assert_eq!((cleared.keep_age_ms, cleared.partitions), (None, 2));
}

#[test]
fn group_options_are_checked() {
    let read = |text: &str| json::<GroupIn>(text.as_bytes()).and_then(|g| group_options(g, 0));
    let (options, start) =
        read(r#"{"mode":"cursor","order":"key","start":"offset:2","lease":"10s"}"#).unwrap();
    assert!(options.mode == Mode::Cursor && options.key_order && options.lease_ms == 10_000);
    assert_eq!(start, Start::Offset(2));
    for bad in [
        r#"{"mode":"stack"}"#,
        r#"{"lease":"100ms"}"#,
        r#"{"lease":"13h"}"#,
        r#"{"attempts":-1}"#,
        r#"{"order":"random"}"#,
        r#"{"start":"middle"}"#,
        r#"{"dead_letter":"a b"}"#,
        r#"{"colour":"red"}"#,
    ] {
        assert!(matches!(read(bad).unwrap_err().code, "SB0201" | "SB0202"), "{bad}");
    }
}

#[test]
fn settling() {
    let read = |verb, text: &str| json::<SettleIn>(text.as_bytes()).and_then(|s| settles(verb, s));
    assert!(matches!(read("ack", r#"{"handles":["h"]}"#).unwrap().as_slice(), [(_, Settle::Ack)]));
    assert!(matches!(
        read("nack", r#"{"handles":["h"],"delay":"5s"}"#).unwrap().as_slice(),
        [(_, Settle::Nack { delay_ms: 5_000 })]
    ));
    assert!(matches!(
        read("nack", r#"{"handles":["h"],"dead":true}"#).unwrap().as_slice(),
        [(_, Settle::Dead)]
    ));
    assert!(matches!(
        read("extend", r#"{"handles":["h"],"lease":"60s"}"#).unwrap().as_slice(),
        [(_, Settle::Extend { lease_ms: 60_000 })]
    ));
    for (verb, bad) in [
        ("ack", r#"{"handles":["h"],"delay":"5s"}"#),
        ("nack", r#"{"handles":["h"],"lease":"5s"}"#),
        ("ack", r#"{"handles":[]}"#),
        ("extend", r#"{"handles":["h"],"lease":"13h"}"#),
    ] {
        assert!(read(verb, bad).is_err());
    }
    let handles = ["a".to_owned(), "b".to_owned()];
    let stale = Error::new(Kind::Conflict, "SB0402", "stale");
    let mixed = [Err(stale.clone()), Ok(0)];
    let out = serde_json::to_string(&settled(&handles, &mixed).unwrap()).unwrap();
    assert_eq!(out, r#"{"results":[{"handle":"a","ok":false,"code":"SB0402"},{"handle":"b","ok":true}]}"#);
    let all = [Err(stale.clone()), Err(stale)];
    assert_eq!(settled(&handles, &all).err().unwrap().code, "SB0402");
}

#[test]
fn failures_of_known_kinds_keep_their_status() {
    let failed = |code: &str| {
        let failure = Failure { code: code.to_owned(), message: "no such file".into(), retryable: false };
        outcome_error(&Outcome::Failed { failure, status: None }).unwrap()
    };
    assert_eq!(failed("invalid").kind, Kind::Invalid);
    assert_eq!(failed("E1").kind, Kind::Internal);
    assert!(failed("E1").code == "SB0405" && failed("E1").detail.contains("no such file"));
    assert_eq!(outcome_error(&Outcome::Cancelled).unwrap().kind, Kind::Cancelled);
    assert_eq!(outcome_error(&Outcome::Expired).unwrap().code, "SB0408");
}

#[test]
fn a_job_and_its_events() {
    let event = Event {
        seq: 3,
        at_ms: 0,
        attempt: 1,
        what: What::Progress(Bytes::from_static(b"{\n \"p\": 1.0e2 }\r\n")),
    };
    let mut out = Vec::new();
    event_sse(&event, &sb_schema::Builder::new().build().unwrap(), &mut out);
    let text = std::str::from_utf8(&out).unwrap();
    assert!(text.starts_with("id: 3\nevent: progress\ndata: {\"seq\":3,") && !text.contains('\r'), "{text}");
    assert_eq!(text.matches('\n').count(), 4, "one line of data: {text}");
    assert!(text.contains("1.0e2"), "numbers are not reprinted");
    let result = Event {
        seq: 4,
        at_ms: 0,
        attempt: 1,
        what: What::Result { content_type: None, body: Bytes::from_static(b"\xff") },
    };
    let json = serde_json::to_value(event_out(&result, &sb_schema::Builder::new().build().unwrap())).unwrap();
    assert!(
        json["type"] == "result"
            && json["encoding"] == "base64"
            && json["body"] == "/w=="
            && json.get("state").is_none()
    );
}

#[test]
fn methods_have_two_parts() {
    for good in ["code.v1.Runner/Run", "S/M"] {
        assert!(method_name(good).is_ok(), "{good}");
    }
    for bad in ["x", "", "/", "a/", "/b", "a/b/c", "a b/c", ".a/b", "a./b", "a/b*"] {
        assert_eq!(method_name(bad).unwrap_err().code, "SB0202", "{bad}");
    }
    let policy = method_policy("a.B/C", json(br#"{"timeout":"5m"}"#).unwrap()).unwrap();
    assert_eq!((policy.topic.as_str(), policy.timeout_ms, policy.attempts), ("a.B.C", 300_000, 3));
}

#[test]
fn idempotency_tells_requests_apart() {
    let of = |path: &str, pairs: &[(&str, &str)], body: &[u8]| {
        let (mut parts, ()) = http::Request::post(path).body(()).unwrap().into_parts();
        parts.headers = headers(pairs);
        request_idempotency(&parts, body)
    };
    let key = ("idempotency-key", "k");
    let one = of("/a", &[key], b"x").unwrap().unwrap();
    assert_eq!(one.fingerprint, of("/a", &[key, ("traceparent", "1")], b"x").unwrap().unwrap().fingerprint);
    for other in [
        of("/b", &[key], b"x"),
        of("/a", &[key], b"y"),
        of("/a?live", &[key], b"x"),
        of("/a", &[key, ("sb-key", "1")], b"x"),
        of("/a", &[key, ("sb-header-a", "1")], b"x"),
    ] {
        assert_ne!(one.fingerprint, other.unwrap().unwrap().fingerprint);
    }
    assert!(of("/a", &[], b"x").unwrap().is_none());
    for bad in ["", &"x".repeat(256)] {
        assert_eq!(of("/a", &[("idempotency-key", bad)], b"").unwrap_err().code, "SB0201");
    }
}

#[test]
fn headers_of_one_message_as_a_response() {
    let mut message = Message::new(somewhere(), "x");
    message.content_type = Some("text/plain".into());
    message.key = Some(Bytes::from_static(b"a\nb"));
    message.headers = vec![
        Header::text("tag", "a"),
        Header::text("tag", "b"),
        Header::text("bad name", "x"),
        Header::text("crlf", "a\r\nSet-Cookie: x"),
        Header::text("traceparent", "00"),
        Header { name: "n".into(), value: Value::Int(5) },
    ];
    let mut out = HeaderMap::new();
    message_headers(&message, &mut out);
    assert_eq!(out.get_all("sb-header-tag").iter().count(), 2);
    assert!(!out.contains_key("sb-header-crlf") && !out.contains_key("set-cookie"));
    assert_eq!(out["sb-key-base64"], "YQpi");
    assert_eq!(out["traceparent"], "00");
    assert_eq!(out["sb-header-n"], "5");
}

#[test]
fn tags_of_topics() {
    let mut view = TopicView {
        id: sb_core::model::TopicId(4),
        name: "t".into(),
        policy: Policy::default(),
        parts: vec![sb_core::topics::PartView { start: 0, end: 1, bytes: 10 }],
        groups: 0,
        created_ms: 0,
        version: 2,
    };
    let before = topic_tag(&view);
    view.parts.iter_mut().for_each(|p| p.end += 1);
    let after = topic_tag(&view);
    assert_ne!(before, after);
    assert!(
        matches_policy(&before, &view) && matches_policy(&after, &view) && matches_policy("\"x\", *", &view)
    );
    view.version = 3;
    assert!(!matches_policy(&before, &view));
}

proptest! {
    #[test]
    fn bodies_survive_json(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let (text, encoding) = shown(&body);
        let document = Bytes::from(serde_json::to_vec(&serde_json::json!({"address": "a", "body": text})).unwrap());
        let mut given: MessageIn<'_> = json(&document).unwrap();
        given.encoding = encoding.map(Cow::Borrowed);
        prop_assert_eq!(&message_in(&document, given, 0).unwrap().body[..], &body[..]);
    }

    #[test]
    fn no_text_panics(text in "\\PC*", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = (start(&text, i64::MIN), method_name(&text), job_id(&text), address(&text), no_route(&text, None));
        let bytes = Bytes::from(bytes);
        if let Ok(given) = json::<MessageIn<'_>>(&bytes) {
            let _ = message_in(&bytes, given, i64::MAX);
        }
        let _ = raw(&bytes);
    }
}
