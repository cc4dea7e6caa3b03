//! Requests as bytes: what is read, what is refused, and that nothing is lost or panics.

use proptest::prelude::*;
use sb_jsonrpc::wire::{self, Fault, Incoming, Malformed, Params};

/// Id and method of a request; id and reason of what is none.
type One = Result<(Option<String>, String), (Option<String>, Option<&'static str>)>;

fn one(text: &str) -> One {
    match wire::read(text.as_bytes()) {
        Ok(Incoming::One(Ok(request))) => Ok((request.id.map(str::to_owned), request.method.into_owned())),
        Ok(Incoming::One(Err(invalid))) => Err((invalid.id.map(str::to_owned), invalid.why)),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn ids_stay_as_they_were_written() {
    for id in
        ["1", "-1", "1.50", "1e3", "123456789012345678901234567890", "\"a\"", "\"\\u0061\"", "\"\"", "null"]
    {
        let text = format!(r#" {{"id" : {id} , "method": "m", "jsonrpc": "2.0"}} "#);
        assert_eq!(one(&text), Ok((Some(id.to_owned()), "m".to_owned())));
        let answer = String::from_utf8(wire::result(id, b"1")).unwrap();
        assert_eq!(answer, format!(r#"{{"jsonrpc": "2.0", "result": 1, "id": {id}}}"#));
    }
    assert_eq!(one(r#"{"jsonrpc":"2.0","method":"m"}"#), Ok((None, "m".to_owned())));
    assert_eq!(one(r#"{"jsonrpc":"2.0","method":"\u006d","id":1}"#), Ok((Some("1".into()), "m".to_owned())));
}

#[test]
fn what_is_no_request_is_refused() {
    let plain = Err((None, None));
    for text in [
        "1",
        "null",
        "\"x\"",
        "{}",
        r#"{"foo": "boo"}"#,
        r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#,
    ] {
        assert_eq!(one(text), plain, "{text}");
    }
    for (text, id, why) in [
        (r#"{"jsonrpc":"2.0","method":"m","params":1,"id":7}"#, Some("7"), None),
        (r#"{"jsonrpc":"1.0","method":"m","id":7}"#, Some("7"), Some("jsonrpc")),
        (r#"{"method":"m","id":7}"#, Some("7"), Some("jsonrpc")),
        (r#"{"jsonrpc":"2.0","method":"m","id":{}}"#, None, Some("an id")),
        (r#"{"jsonrpc":"2.0","method":"m","id":[1]}"#, None, Some("an id")),
        (r#"{"jsonrpc":"2.0","method":"m","id":true}"#, None, Some("an id")),
        (r#"{"jsonrpc":"2.0","method":"m","id":7,"id":8}"#, Some("8"), Some("twice")),
        (r#"{"jsonrpc":"2.0","method":"m","id":7,"extra":1}"#, Some("7"), Some("no others")),
        (r#"{"jsonrpc":"2.0","method":"m","result":1,"id":7}"#, Some("7"), Some("no others")),
    ] {
        let (got, reason) = one(text).unwrap_err();
        assert_eq!(got.as_deref(), id, "{text}");
        assert!(why.is_none_or(|why| reason.unwrap().contains(why)), "{text}: {reason:?}");
    }
    for text in [
        "",
        "{",
        "[",
        "tru",
        "{\"a\":\u{1}}",
        "[1,]",
        r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#,
    ] {
        assert_eq!(wire::read(text.as_bytes()).unwrap_err(), Malformed::Parse, "{text}");
    }
    assert_eq!(wire::read(b"\xff").unwrap_err(), Malformed::Parse);
    assert_eq!(wire::read(b"[]").unwrap_err(), Malformed::Invalid(None));
}

#[test]
fn there_are_limits() {
    let deep = |n: usize| {
        format!(r#"{{"jsonrpc":"2.0","method":"m","id":1,"params":{}{}}}"#, "[".repeat(n), "]".repeat(n))
    };
    assert!(one(&deep(100)).is_ok());
    assert!(matches!(wire::read(deep(200).as_bytes()), Err(Malformed::Invalid(Some(_)))));
    assert!(wire::read("[".repeat(1 << 20).as_bytes()).is_err());
    let batch = |n: usize| format!("[{}]", vec!["1"; n].join(","));
    let most = batch(wire::MAX_BATCH);
    assert!(matches!(wire::read(most.as_bytes()), Ok(Incoming::Batch(all)) if all.len() == wire::MAX_BATCH));
    let more = batch(wire::MAX_BATCH + 1);
    assert!(matches!(wire::read(more.as_bytes()), Err(Malformed::Invalid(Some(_)))));
    let long = "x".repeat(2_000);
    assert!(one(&format!(r#"{{"jsonrpc":"2.0","method":"m","id":"{long}"}}"#)).unwrap_err().0.is_none());
    assert!(one(&format!(r#"{{"jsonrpc":"2.0","method":"{long}","id":1}}"#)).is_err());
    let many = format!(r#"{{"jsonrpc":"2.0","method":"m","id":1,"params":{}}}"#, batch(2_000));
    assert!(one(&many).unwrap_err().1.unwrap().contains("1,000"));
}

#[test]
fn params_keep_their_texts() {
    let text = r#"{"jsonrpc":"2.0","method":"m","params":[1.0, {"a": [ ]}, "é"],"sb":{"async":true}}"#;
    let Ok(Incoming::One(Ok(request))) = wire::read(text.as_bytes()) else { panic!() };
    assert_eq!(request.params, Params::Positional(vec!["1.0", r#"{"a": [ ]}"#, "\"é\""]));
    assert_eq!(request.extension, Some(r#"{"async":true}"#));
}

#[test]
fn errors_as_the_specification_shows_them() {
    assert_eq!(
        String::from_utf8(wire::failed(None, &Fault::PARSE)).unwrap(),
        r#"{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}"#
    );
    assert_eq!(wire::batch(&[]), None);
    assert_eq!(wire::batch(&[b"1".to_vec(), b"2".to_vec()]).unwrap(), b"[1, 2]");
}

proptest! {
    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = wire::read(&bytes);
    }

    #[test]
    fn no_text_of_json_breaks_it(text in r#"[\[\]{}",:0-9a-z\\ ]{0,80}"#) {
        if let Ok(Incoming::One(Err(invalid))) = wire::read(text.as_bytes()) {
            let answer = wire::failed(invalid.id, &Fault::invalid(invalid.why));
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&answer).is_ok());
        }
    }

    #[test]
    fn requests_of_ours_are_requests(id in any::<u64>(), method in "\\PC{1,40}") {
        let text = wire::call(id, &method, b"{}");
        let Ok(Incoming::One(Ok(request))) = wire::read(&text) else { panic!() };
        let written = id.to_string();
        prop_assert_eq!(request.id, Some(written.as_str()));
        prop_assert_eq!(&*request.method, method.as_str());
        prop_assert_eq!(request.params, Params::Named("{}"));
    }
}
