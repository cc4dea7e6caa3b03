//! Everything here that reads what a stranger wrote, behind one function: for fuzzing and for tests that want to reach it from outside.
//! Each reader gets the bytes, as far as they suit it, and what has an inverse is held against it.

use crate::map;
use crate::wire::{self, Prefer, Query, frames, json, sse};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Reads the bytes in every way in which this protocol reads bytes. Panics where two readings disagree.
pub fn read_all(bytes: &[u8]) {
    let document = Bytes::copy_from_slice(bytes);
    objects(&document);
    if let Ok((head, body)) = frames::split_binary(document.clone()) {
        assert_eq!(4 + head.len() + body.len(), document.len(), "a binary frame was cut wrongly");
        requests(&head);
    }
    requests(&document);
    headers(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        texts(text);
    }
    if let Some(text) = sse::plain_text(bytes) {
        let mut out = Vec::new();
        sse::event(&mut out, "id", None, text);
        let data: Vec<&[u8]> =
            out.split(|b| *b == b'\n').filter_map(|line| line.strip_prefix(b"data: ".as_slice())).collect();
        assert_eq!(data.join(&b'\n'), text.as_bytes(), "an event shows another body");
    }
}

/// The JSON shapes of requests.
fn objects(document: &Bytes) {
    if let Ok(given) = map::json::<json::MessageIn<'_>>(document) {
        let _ = map::message_in(document, given, 0);
    }
    if let Ok(given) = map::json::<json::PublishIn<'_>>(document) {
        for message in given.messages {
            let _ = map::message_in(document, message, 0);
        }
    }
    if let Ok(given) = map::json::<json::PolicyIn>(document) {
        let _ = map::policy(given, Default::default());
    }
    if let Ok(given) = map::json::<json::GroupIn>(document) {
        let _ = map::group_options(given, 0);
    }
    if let Ok(given) = map::json::<json::MethodIn>(document) {
        let _ = map::method_policy("a.B/C", given);
    }
    for verb in ["ack", "nack", "extend"] {
        if let Ok(given) = map::json::<json::SettleIn>(document) {
            let _ = map::settles(verb, given);
        }
    }
    let _ = map::json::<json::LeaseIn>(document);
    let _ = map::json::<json::SeekIn>(document);
    let _ = map::json::<json::CommitIn>(document);
    let _ = map::json::<json::TakeIn>(document);
    let _ = map::json::<json::ExtendIn>(document);
    let _ = map::json::<json::FailIn>(document);
    let _ = map::json::<json::TokenIn>(document);
}

/// The requests of `switchboard.v1`.
fn requests(document: &[u8]) {
    let _ = map::json::<frames::Head<'_>>(document);
    let _ = map::json::<frames::Publish<'_>>(document);
    let _ = map::json::<frames::Subscribe<'_>>(document);
    let _ = map::json::<frames::Credit<'_>>(document);
    let _ = map::json::<frames::Unsubscribe<'_>>(document);
    let _ = map::json::<frames::Lease<'_>>(document);
    let _ = map::json::<frames::Settle<'_>>(document);
    let _ = map::json::<frames::Call<'_>>(document);
    let _ = map::json::<frames::Job<'_>>(document);
    let _ = map::json::<frames::Ping<'_>>(document);
}

/// Lines of `name: value` as the headers of a publish.
fn headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|b| *b == b'\n').take(256) {
        let mut parts = line.splitn(2, |b| *b == b':');
        if let (Some(Ok(name)), Some(Ok(value))) =
            (parts.next().map(HeaderName::from_bytes), parts.next().map(HeaderValue::from_bytes))
        {
            headers.append(name, value);
        }
    }
    if let Ok(address) = map::address("a.b") {
        let _ = map::message(&headers, address, Bytes::new(), 0);
    }
}

/// Text that stands in paths, queries and headers.
fn texts(text: &str) {
    if let Some(ms) = wire::parse_duration(text) {
        assert_eq!(wire::parse_duration(&wire::duration_text(ms)), Some(ms), "a duration changed");
    }
    if let Some(ms) = wire::parse_time(text) {
        let shown = wire::time_text(ms);
        if (-62_167_219_200_000..=253_402_300_799_999).contains(&ms) {
            assert_eq!(wire::parse_time(&shown), Some(ms), "a time changed: {shown}");
        }
    }
    let _ = wire::percent_decode(text);
    let known = ["after", "from", "last", "limit", "partition", "live", "batch"];
    if let Ok(query) = Query::parse(Some(text), &known) {
        let _ = map::from(&query, None, sb_core::groups::Start::Start, 0);
        let _ = query.flag("live");
        let _ = query.number("limit", 1, 1000);
    }
    let mut prefer = Prefer::default();
    prefer.add(text);
    wire::names_tag(text, "x");
    wire::accepts(text, "text/event-stream");
    wire::is_media_type(text, "application/json");
    let _ = sb_board::origin::is_loopback(text);
    let _ = map::start(text, 0);
    let _ = map::method_name(text);
    let _ = map::job_id(text);
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
        let _ = crate::server::find(method, text);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_what_it_is_given() {
        for text in [
            "",
            "{}",
            "1h",
            "2026-11-20T10:00:00.123Z",
            "limit=5&from=-1h",
            "sb-key: a\nsb-delay: 1s",
            "/topics/a.b",
        ] {
            super::read_all(text.as_bytes());
        }
        super::read_all(br#"{"messages":[{"address":"a","headers":{"n":[1,true,{"base64":"AA=="}]},"body":"AA==","encoding":"base64"}]}"#);
        super::read_all(b"\0\0\0\x02{}body");
    }
}
