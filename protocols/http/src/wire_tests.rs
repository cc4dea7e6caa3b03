//! Tests of the pure parts of the wire format.

use super::*;
use proptest::prelude::*;

#[test]
fn times_round_trip() {
    for ms in [0, 1, 999, 951_782_400_000, 1_709_164_800_000, 1_763_632_800_123, -1, -62_167_219_200_000] {
        let text = time_text(ms);
        assert_eq!(text.len(), 24, "{text}");
        assert_eq!(parse_time(&text), Some(ms), "{text}");
    }
    assert_eq!(time_text(1_795_168_800_123), "2026-11-20T10:00:00.123Z");
    assert_eq!(time_text(i64::MAX), "9999-12-31T23:59:59.999Z");
    assert_eq!(parse_time("2026-11-20T10:00:00+01:00"), parse_time("2026-11-20T09:00:00Z"));
    for bad in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-11-20", "10:00"] {
        assert_eq!(parse_time(bad), None, "{bad}");
    }
}

#[test]
fn durations() {
    for (text, ms) in
        [("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("1h", 3_600_000), ("7d", 604_800_000), ("0s", 0)]
    {
        assert_eq!(parse_duration(text), Some(ms));
        assert_eq!(duration_text(ms), text);
    }
    assert_eq!(parse_duration("30"), Some(30_000));
    assert_eq!(duration_text(90_000), "90s");
    for bad in [
        "",
        "s",
        "-5s",
        "1.5s",
        "soon",
        "5 s",
        "5S",
        "1h30m",
        "99999999999999999999s",
        "18446744073709551615d",
        "+5s",
    ] {
        assert_eq!(parse_duration(bad), None, "{bad}");
    }
}

#[test]
fn percent_escapes_are_decoded_once() {
    for (raw, text) in [
        ("a.b", "a.b"),
        ("a%2Eb", "a.b"),
        ("%252E", "%2E"),
        ("%2a", "*"),
        ("%C3%A4", "ä"),
        ("a+b", "a+b"),
        ("%", ""),
        ("%25", "%"),
    ] {
        let got = percent_decode(raw);
        if raw == "%" {
            assert_eq!(got, None);
        } else {
            assert_eq!(got.as_deref(), Some(text));
        }
    }
    for bad in ["%", "%2", "a%zz", "%FF", "%ED%A0%80", "%C3", "%+1", "%-1"] {
        assert_eq!(percent_decode(bad), None, "{bad}");
    }
}

#[test]
fn queries() {
    let query = Query::parse(
        Some("from=time%3A1&limit=5&envelope&token=secret&&x=a+b%2B"),
        &["from", "limit", "envelope", "x"],
    )
    .unwrap();
    assert_eq!(query.get("from"), Some("time:1"));
    assert_eq!(query.number("limit", 1, 10), Ok(Some(5)));
    assert_eq!(query.flag("envelope"), Ok(true));
    assert_eq!(query.get("x"), Some("a b+"));
    assert_eq!(query.get("token"), None);
    assert!(query.number("limit", 6, 10).is_err());
    assert!(query.flag("from").is_err());
    assert!(Query::parse(Some("frm=1"), &["from"]).unwrap_err().contains("did you mean from?"));
    assert!(Query::parse(Some("a=1&a=2"), &["a"]).unwrap_err().contains("twice"));
    assert!(Query::parse(Some("a=%zz"), &["a"]).is_err());
    assert!(Query::parse(None, &[]).is_ok());
    for bad in ["-1", "x", "", "+5", "99999999999999999999999"] {
        assert!(Query(vec![("n".into(), bad.into())]).number("n", 0, u64::MAX).is_err(), "{bad}");
    }
}

#[test]
fn prefer() {
    let read = |values: &[&str]| {
        let mut prefer = Prefer::default();
        values.iter().for_each(|v| prefer.add(v));
        (prefer.wait, prefer.respond_async)
    };
    assert_eq!(read(&["respond-async, wait=10"]), (Some(10), true));
    assert_eq!(read(&["Respond-Async", "WAIT = \"5\"; foo=\"a,wait=9\""]), (Some(5), true));
    assert_eq!(read(&["wait=10, wait=20"]), (Some(10), false));
    assert_eq!(read(&["wait=x", "handling=lenient", "return=minimal;q=\"respond-async\""]), (None, false));
    assert_eq!(read(&["foo=\"respond-async, wait=1\""]), (None, false));
    assert_eq!(Prefer::applied(Some(2), true).as_deref(), Some("respond-async, wait=2"));
    assert_eq!(Prefer::applied(None, false), None);
}

#[test]
fn entity_tags_and_media_types() {
    assert!(names_tag("\"a\", W/\"b\"", "\"b\""));
    assert!(names_tag("*", "\"b\"") && !names_tag("\"bb\"", "\"b\"") && !names_tag("", "\"b\""));
    assert!(names_tag("\"a,b\"", "\"a,b\""));
    assert!(accepts("text/html, Text/Event-Stream;q=0.5", "text/event-stream"));
    assert!(!accepts("text/event-stream;q=0", "text/event-stream") && !accepts("*/*", "text/event-stream"));
    assert!(is_media_type("Application/JSON; charset=utf-8", "application/json"));
    assert!(!is_media_type("application/jsonp", "application/json"));
}

#[test]
fn loopback_origins() {
    for good in [
        "http://localhost",
        "http://localhost:3000",
        "https://127.0.0.1:8443",
        "http://127.9.9.9",
        "http://[::1]:80",
        "http://app.localhost:1",
    ] {
        assert!(sb_board::origin::is_loopback(good), "{good}");
    }
    for bad in [
        "null",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://localhost:80@evil",
        "http://evil:80",
        "ftp://localhost",
        "http://[::1",
        "http://[::1]x",
        "http://localhost:",
        "http://.localhost",
        "http://evil@.localhost",
        "http://10.0.0.1",
    ] {
        assert!(!sb_board::origin::is_loopback(bad), "{bad}");
    }
}

#[test]
fn near_names() {
    assert_eq!(near("frm", ["from", "limit"].into_iter()), Some("from"));
    assert_eq!(near("topcis", ["topics", "groups"].into_iter()), Some("topics"));
    assert_eq!(near("colour", ["from", "limit"].into_iter()), None);
    assert_eq!(distance("", "abc"), 3);
    assert_eq!(distance("kitten", "sitting"), 3);
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*", ms in any::<i64>()) {
        let _ = (parse_time(&text), parse_duration(&text), percent_decode(&text), near(&text, ["a"].into_iter()));
        let _ = (Query::parse(Some(&text), &["a"]).is_ok(), names_tag(&text, "\"x\""), accepts(&text, "a/b"), sb_board::origin::is_loopback(&text));
        let mut prefer = Prefer::default();
        prefer.add(&text);
        prop_assert_eq!(time_text(ms).len(), 24);
    }

    #[test]
    fn percent_encoding_round_trips(text in "\\PC*") {
        let encoded: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
        prop_assert_eq!(percent_decode(&encoded).unwrap().into_owned(), text);
    }

    #[test]
    fn times_agree_with_jiff(ms in -62_167_219_200_000i64..253_402_207_200_000) {
        prop_assert_eq!(format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap()), time_text(ms));
    }

    #[test]
    fn durations_round_trip(ms in 0..sb_board::request::MAX_DURATION_MS) {
        prop_assert_eq!(parse_duration(&duration_text(ms)), Some(ms));
    }
}
