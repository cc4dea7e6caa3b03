//! Between HTTP's shapes and the core's nouns: headers and JSON to messages and policies, records and views to JSON, errors to problems.
//! The only file that knows both sides.

use crate::wire::json::*;
use crate::wire::{self, Query, frames, sse};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use sb_board::access::{Delivered, From, Idempotency, Leased, Outcome, Receipt, Settle, Taken};
use sb_board::call::Status;
use sb_board::mount::Body;
use sb_board::problem;
use sb_board::request::{self, TRACE};
pub(crate) use sb_board::request::{idempotency, job_id, max, method_name, start};
use sb_board::tail::{Form, Given};
use sb_core::batch::Record;
use sb_core::groups::{GroupView, Mode, Options, Start};
use sb_core::jobs::{Event, Failure, JobView, MethodPolicy, MethodView, What};
use sb_core::model::{Address, Error, Header, Kind, Message, Pattern, Result, Value, check_name, message};
use sb_core::topics::{Policy, TopicView};
use sb_schema::Schema;
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use xxhash_rust::xxh3::Xxh3;

/// The largest body a topic may allow.
const HARD_CAP: u32 = 64 << 20;

/// Text that is wrong becomes a malformed request.
pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::invalid(detail)
}

/// A known thing that is refused.
pub(crate) fn no_route(path: &str, near: Option<&str>) -> Error {
    let shown: String = path.chars().take(120).collect();
    let error = Error::new(Kind::NotFound, "SB0206", format!("there is nothing at {shown}"));
    match near {
        Some(near) => error.fix(format!("Did you mean {near}? /openapi.json lists every path")),
        None => error.fix("/openapi.json lists every path"),
    }
}

/// Parses JSON; faults name what is wrong, with line and column.
pub(crate) fn json<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    // Serde would take an array of the members in their order as well.
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
        return Err(invalid("the JSON is an array, and an object is needed here"));
    }
    serde_json::from_slice(bytes).map_err(|e| invalid(format!("the JSON is not what is expected here: {e}")))
}

/// Reads an address; wildcards are refused.
pub(crate) fn address(text: &str) -> Result<Address> {
    Address::parse(text)
}

/// Where a read begins: what a resuming reader says counts more than what its URL says.
pub(crate) fn from(query: &Query, last_event_id: Option<&str>, default: Start, now_ms: i64) -> Result<From> {
    if let Some(cursor) = last_event_id.filter(|id| !id.is_empty()) {
        return Ok(From::After(cursor.to_owned()));
    }
    let last = query.number("last", 0, u64::MAX).map_err(invalid)?;
    request::from(query.get("after"), query.get("from"), last, default, now_ms)
}

/// A lease's term within its bounds.
pub(crate) fn lease_ms(lease: Option<Span>) -> Result<Option<u64>> {
    request::lease_ms(lease.map(|s| s.0))
}

/// Puts the members given over a policy.
pub(crate) fn policy(given: PolicyIn, mut policy: Policy) -> Result<Policy> {
    if let Some(partitions) = given.partitions {
        if partitions == 0 {
            return Err(invalid("a topic has at least one partition"));
        }
        policy.partitions = partitions;
    }
    if let Some(age) = given.keep_age {
        policy.keep_age_ms = age.map(|s| s.0);
    }
    if let Some(bytes) = given.keep_bytes {
        policy.keep_bytes = bytes;
    }
    if let Some(max) = given.max_message {
        if max > HARD_CAP {
            return Err(invalid("max_message is at most 67108864 (64 MiB)"));
        }
        policy.max_message = max;
    }
    policy.keep_until_consumed = given.keep_until_consumed.unwrap_or(policy.keep_until_consumed);
    policy.memory = given.memory.unwrap_or(policy.memory);
    if let Some(claims) = given.claims {
        policy.claims = claims.iter().map(|c| Pattern::parse(c)).collect::<Result<_>>()?;
    }
    Ok(policy)
}

/// TOPIC.
pub(crate) fn topic_out(view: &TopicView) -> TopicOut<'_> {
    let part = |(partition, p): (usize, &sb_core::topics::PartView)| PartOut {
        partition,
        start: p.start,
        end: p.end,
        bytes: p.bytes,
    };
    TopicOut {
        name: &view.name,
        partitions: view.policy.partitions,
        keep_age: view.policy.keep_age_ms.map(Span),
        keep_bytes: view.policy.keep_bytes,
        keep_until_consumed: view.policy.keep_until_consumed,
        max_message: view.policy.max_message,
        memory: view.policy.memory,
        claims: view.policy.claims.iter().map(Pattern::as_str).collect(),
        partition: view.parts.iter().enumerate().map(part).collect(),
        messages: view.parts.iter().map(|p| p.end.saturating_sub(p.start)).sum(),
        groups: view.groups,
        created: Time(view.created_ms),
    }
}

/// The entity tag of TOPIC: moves with the policy and with every message. Its first two parts name the policy's version alone.
pub(crate) fn topic_tag(view: &TopicView) -> String {
    let mut hash = Xxh3::new();
    for part in &view.parts {
        for number in [part.start, part.end, part.bytes] {
            hash.update(&number.to_be_bytes());
        }
    }
    format!("\"{}-{}-{}-{:x}\"", view.id.0, view.version, view.groups, hash.digest())
}

/// Whether an `If-Match` value names the policy's present version.
pub(crate) fn matches_policy(value: &str, view: &TopicView) -> bool {
    let version = format!("{}-{}-", view.id.0, view.version);
    value.split(',').map(str::trim).any(|tag| {
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').starts_with(&version)
    })
}

/// OPTIONS of a group and where it begins.
pub(crate) fn group_options(given: GroupIn, now_ms: i64) -> Result<(Options, Start)> {
    let defaults = Options::default();
    let options = Options {
        mode: match given.mode.as_deref() {
            None | Some("queue") => Mode::Queue,
            Some("cursor") => Mode::Cursor,
            Some(other) => return Err(invalid(format!("mode is \"queue\" or \"cursor\", not {other:.40?}"))),
        },
        lease_ms: lease_ms(given.lease)?.unwrap_or(defaults.lease_ms),
        attempts: given.attempts.unwrap_or(0),
        dead_letter: match given.dead_letter {
            Some(name) => {
                check_name("topic", &name)?;
                Some(name)
            }
            None => None,
        },
        backoff_ms: given.backoff.map_or(defaults.backoff_ms, |s| s.0),
        key_order: match given.order.as_deref() {
            None | Some("none") => false,
            Some("key") => true,
            Some(other) => return Err(invalid(format!("order is \"none\" or \"key\", not {other:.40?}"))),
        },
    };
    let start = match given.start.as_deref() {
        Some(text) => start(text, now_ms)?,
        None => Start::Start,
    };
    Ok((options, start))
}

/// GROUP.
pub(crate) fn group_out(view: &GroupView) -> GroupOut<'_> {
    let floor =
        |(partition, (floor, end)): (usize, &(u64, u64))| FloorOut { partition, floor: *floor, end: *end };
    GroupOut {
        topic: &view.topic,
        name: &view.name,
        mode: match view.options.mode {
            Mode::Queue => "queue",
            Mode::Cursor => "cursor",
        },
        lease: Span(view.options.lease_ms),
        attempts: view.options.attempts,
        dead_letter: view.options.dead_letter.as_deref(),
        backoff: Span(view.options.backoff_ms),
        order: if view.options.key_order { "key" } else { "none" },
        ready: view.ready,
        leased: view.leased,
        delayed: view.delayed,
        acked: view.acked,
        dead: view.dead,
        expired: view.expired,
        depth: view.ready + view.leased + view.delayed,
        position: view.parts.iter().enumerate().map(floor).collect(),
    }
}

/// Names of headers of our own; made once, as looking one up by text parses it each time.
pub(crate) mod names {
    use http::HeaderName;
    pub(crate) static KEY: HeaderName = HeaderName::from_static("sb-key");
    pub(crate) static KEY_BASE64: HeaderName = HeaderName::from_static("sb-key-base64");
    pub(crate) static DELAY: HeaderName = HeaderName::from_static("sb-delay");
    pub(crate) static EXPIRES: HeaderName = HeaderName::from_static("sb-expires");
    pub(crate) static TIMEOUT: HeaderName = HeaderName::from_static("sb-timeout");
    pub(crate) static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
    pub(crate) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    headers.get(name).map(|v| utf8(name.as_str(), v.as_bytes())).transpose()
}

fn utf8<'a>(name: &str, value: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(value).map_err(|_| invalid(format!("the header {name} is not UTF-8")))
}

/// A duration in a header.
pub(crate) fn duration_header(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>> {
    let Some(text) = text_of(headers, name)? else { return Ok(None) };
    wire::parse_duration(text).map(Some).ok_or_else(|| {
        invalid(format!("{name}: {text:.40?} is no duration")).fix("Write 250ms, 30s, 10m, 1h or 7d")
    })
}

fn base64(what: &str, text: &str) -> Result<Bytes> {
    BASE64_STANDARD.decode(text).map(Bytes::from).map_err(|e| invalid(format!("{what} is not base64: {e}")))
}

/// A message as request headers describe it.
pub(crate) fn message(headers: &HeaderMap, address: Address, body: Bytes, now_ms: i64) -> Result<Message> {
    let mut message = Message::new(address, body);
    message.time_ms = now_ms;
    for (name, value) in headers {
        let name = name.as_str();
        if let Some(own) = name.strip_prefix("sb-header-") {
            if !message::is_reserved(own) {
                message.headers.push(Header::text(own, utf8(name, value.as_bytes())?));
            }
        } else if TRACE.contains(&name) {
            message.headers.push(Header::text(name, utf8(name, value.as_bytes())?));
        }
    }
    message.content_type = text_of(headers, &header::CONTENT_TYPE)?.map(str::to_owned);
    message.key = match (headers.get(&names::KEY), text_of(headers, &names::KEY_BASE64)?) {
        (Some(_), Some(_)) => return Err(invalid("Sb-Key and Sb-Key-Base64 exclude each other")),
        (Some(key), None) => Some(Bytes::copy_from_slice(key.as_bytes())),
        (None, Some(text)) => Some(base64("Sb-Key-Base64", text)?),
        (None, None) => None,
    };
    let after = |ms: u64| now_ms.saturating_add_unsigned(ms);
    message.due_ms = duration_header(headers, &names::DELAY)?.map(after);
    message.expires_ms = duration_header(headers, &names::EXPIRES)?.map(after);
    message.check()?;
    Ok(message)
}

/// The bytes of a body that came inside JSON. Without escapes and base64 they stay a slice of `document`.
pub(crate) fn body_in(document: &Bytes, body: Option<Text<'_>>, encoding: Option<&str>) -> Result<Bytes> {
    let Some(Text(text)) = body else {
        return match encoding {
            None => Ok(Bytes::new()),
            Some(_) => Err(invalid("encoding is given without body")),
        };
    };
    match encoding {
        None => Ok(match text {
            Cow::Borrowed(text) => document.slice_ref(text.as_bytes()),
            Cow::Owned(text) => text.into(),
        }),
        Some("base64") => base64("body", &text),
        Some(other) => Err(invalid(format!("encoding is \"base64\" or absent, not {other:.40?}"))),
    }
}

fn value_in(name: &str, value: ValueIn, out: &mut Vec<Header>, nested: bool) -> Result<()> {
    let value = match value {
        ValueIn::Text(text) => Value::Text(text),
        ValueIn::Int(number) => Value::Int(number),
        ValueIn::Float(number) => Value::Float(number),
        ValueIn::Bool(truth) => Value::Bool(truth),
        ValueIn::Base64(b) => Value::Bytes(base64("a header", &b.base64)?),
        ValueIn::Many(_) if nested => return Err(invalid("the values of a header are not arrays of arrays")),
        ValueIn::Many(values) => {
            return values.into_iter().try_for_each(|v| value_in(name, v, out, true));
        }
    };
    out.push(Header { name: name.to_owned(), value });
    Ok(())
}

/// A message that came as JSON, found in `document`.
pub(crate) fn message_in(document: &Bytes, given: MessageIn<'_>, now_ms: i64) -> Result<Message> {
    let body = body_in(document, given.body, given.encoding.as_deref())?;
    let mut message = Message::new(address(&given.address)?, body);
    message.time_ms = now_ms;
    for (name, value) in given.headers.0 {
        if !message::is_reserved(&name) {
            value_in(&name, value, &mut message.headers, false)?;
        }
    }
    message.content_type = given.content_type;
    message.key = match (given.key, given.key_base64) {
        (Some(_), Some(_)) => return Err(invalid("key and key_base64 exclude each other")),
        (Some(key), None) => Some(Bytes::from(key.into_owned())),
        (None, Some(text)) => Some(base64("key_base64", &text)?),
        (None, None) => None,
    };
    message.due_ms = given.delay.map(|s| now_ms.saturating_add_unsigned(s.0));
    message.expires_ms = given.expires.map(|s| now_ms.saturating_add_unsigned(s.0));
    message.check()?;
    Ok(message)
}

/// The key under which a repeated request has one effect. Quotes around it, as the draft has them, are not part of it.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let text = text_of(headers, &names::IDEMPOTENCY_KEY)?;
    let bare = |t: &str| t.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(t).to_owned();
    Ok(text.map(bare))
}

/// The key under which a repeated request has one effect; the request is its method, path and query, the headers that change what it means, its body.
pub(crate) fn request_idempotency(parts: &http::request::Parts, body: &[u8]) -> Result<Option<Idempotency>> {
    let Some(key) = idempotency_key(&parts.headers)? else { return Ok(None) };
    let mut says: Vec<&[u8]> = vec![
        parts.method.as_str().as_bytes(),
        parts.uri.path().as_bytes(),
        parts.uri.query().unwrap_or("").as_bytes(),
        body,
    ];
    for (name, value) in &parts.headers {
        let counts = matches!(
            name.as_str(),
            "content-type" | "sb-key" | "sb-key-base64" | "sb-delay" | "sb-expires" | "sb-timeout"
        );
        if counts || name.as_str().starts_with("sb-header-") {
            says.push(name.as_str().as_bytes());
            says.push(value.as_bytes());
        }
    }
    idempotency(Some(&key), &says)
}

/// Bytes inside JSON: the text itself, or base64 with its mark.
pub(crate) fn shown(body: &[u8]) -> (Cow<'_, str>, Option<&'static str>) {
    match std::str::from_utf8(body) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(_) => (Cow::Owned(BASE64_STANDARD.encode(body)), Some("base64")),
    }
}

pub(crate) fn content<'a>(content_type: Option<&'a str>, bytes: &'a [u8]) -> ContentOut<'a> {
    let (body, encoding) = shown(bytes);
    ContentOut { content_type, body, encoding }
}

fn value_out(value: &Value) -> ValueOut<'_> {
    match value {
        Value::Text(text) => ValueOut::Text(text),
        Value::Bytes(bytes) | Value::Nested(bytes) => ValueOut::Base64(BASE64_STANDARD.encode(bytes)),
        Value::Int(number) | Value::Time(number) => ValueOut::Int(*number),
        Value::Float(number) => ValueOut::Float(*number),
        Value::Bool(truth) => ValueOut::Bool(*truth),
    }
}

fn headers_out(message: &Message, keep: impl Fn(&str) -> bool) -> HeadersOut<'_> {
    HeadersOut(
        message
            .headers
            .iter()
            .filter(|h| keep(&h.name))
            .map(|h| (h.name.as_str(), value_out(&h.value)))
            .collect(),
    )
}

fn key_out(message: &Message) -> (Option<&str>, Option<String>) {
    match message.key.as_deref().map(std::str::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text), None),
        Some(Err(_)) => (None, message.key.as_ref().map(|k| BASE64_STANDARD.encode(k))),
    }
}

/// MESSAGE. An empty cursor means a live message, which has no place.
pub(crate) fn message_out<'a>(
    topic: &'a str,
    partition: u32,
    record: &'a Record,
    cursor: &'a str,
) -> MessageOut<'a> {
    let message = &record.message;
    let kept = !cursor.is_empty();
    let (key, key_base64) = key_out(message);
    let (body, encoding) = shown(&message.body);
    MessageOut {
        id: kept.then_some(cursor),
        topic,
        address: Some(message.address.as_str()).filter(|a| *a != topic),
        partition: kept.then_some(partition),
        offset: kept.then_some(record.offset),
        at: Time(message.time_ms),
        key,
        key_base64,
        headers: headers_out(message, |_| true),
        content_type: message.content_type.as_deref(),
        body: Some(body),
        encoding,
    }
}

pub(crate) fn delivered_out(delivered: &Delivered) -> MessageOut<'_> {
    message_out(&delivered.topic, delivered.partition, &delivered.record, &delivered.cursor)
}

pub(crate) fn leased_out(leased: &Leased) -> LeasedOut<'_> {
    LeasedOut {
        handle: &leased.handle,
        attempt: leased.attempt,
        lease_until: Time(leased.until_ms),
        message: message_out(&leased.topic, leased.partition, &leased.record, &leased.cursor),
    }
}

pub(crate) fn receipt_out<'a>(receipt: &'a Receipt, id: &'a str) -> ReceiptOut<'a> {
    ReceiptOut {
        id,
        topic: &receipt.topic,
        partition: receipt.position.part.partition,
        offset: receipt.position.offset,
        at: Time(receipt.at_ms),
    }
}

fn json_bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn sse_bytes(id: &str, name: Option<&str>, data: &str) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + id.len() + 32);
    sse::event(&mut out, id, name, data);
    out.into()
}

/// One record of a batch in a shared form: made for the first reader, counted for the others.
pub(crate) fn encoded(given: &Given, index: usize, form: Form) -> Bytes {
    let batch = &given.batch;
    batch
        .encoded(form, index, |record, cursor| encode(form, batch.topic(), batch.partition(), record, cursor))
}

fn encode(form: Form, topic: &str, partition: u32, record: &Record, cursor: &str) -> Bytes {
    let body = &record.message.body;
    let out = || message_out(topic, partition, record, cursor);
    let plain = if form == Form::Sse { sse::plain_text(body) } else { None };
    match (form, plain) {
        (Form::Sse, Some(text)) => sse_bytes(cursor, None, text),
        (Form::Sse | Form::SseEnvelope, _) => {
            let json = json_bytes(&out());
            sse_bytes(cursor, Some("envelope"), std::str::from_utf8(&json).unwrap_or_default())
        }
        (Form::WebSocketPlain, _) => {
            sb_board::mount::websocket_frame(std::str::from_utf8(body).is_ok(), body)
        }
        (Form::WebSocketEnvelope, _) => encode_envelope(out(), body),
    }
}

fn encode_envelope(mut out: MessageOut<'_>, body: &[u8]) -> Bytes {
    if out.encoding.is_none() {
        return frames::shared_text(&json_bytes(&out));
    }
    out.body = None;
    out.encoding = None;
    frames::shared_binary(&json_bytes(&out), body)
}

/// The headers of a message as response headers. What HTTP cannot carry (a name that is no token, a control character in a value) is left
/// out; the JSON forms have it.
pub(crate) fn message_headers(message: &Message, headers: &mut HeaderMap) {
    let mut put = |name: &str, value: &[u8]| {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), http::HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    };
    if let Some(content_type) = &message.content_type {
        put("content-type", content_type.as_bytes());
    }
    match key_out(message) {
        (Some(key), _) if !key.bytes().any(|b| b.is_ascii_control()) => put("sb-key", key.as_bytes()),
        (Some(key), _) => put("sb-key-base64", BASE64_STANDARD.encode(key).as_bytes()),
        (None, Some(text)) => put("sb-key-base64", text.as_bytes()),
        (None, None) => {}
    }
    for header in &message.headers {
        let own = format!("sb-header-{}", header.name);
        let name = if TRACE.contains(&header.name.as_str()) { header.name.as_str() } else { &own };
        match &header.value {
            Value::Text(text) => put(name, text.as_bytes()),
            Value::Bytes(bytes) | Value::Nested(bytes) => put(name, BASE64_STANDARD.encode(bytes).as_bytes()),
            Value::Int(number) => put(name, number.to_string().as_bytes()),
            Value::Float(number) => put(name, number.to_string().as_bytes()),
            Value::Bool(truth) => put(name, if *truth { b"true" } else { b"false" }),
            Value::Time(ms) => put(name, wire::time_text(*ms).as_bytes()),
        }
    }
}

/// What is to happen to each handle.
pub(crate) fn settles(verb: &str, given: SettleIn) -> Result<Vec<(String, Settle)>> {
    let foreign = match verb {
        "ack" => given.delay.is_some() || given.dead.is_some() || given.lease.is_some(),
        "nack" => given.lease.is_some(),
        _ => given.delay.is_some() || given.dead.is_some(),
    };
    if foreign {
        return Err(invalid(format!("{verb} was given a member that belongs to another request"))
            .fix("ack takes handles; nack takes handles, delay and dead; extend takes handles and lease"));
    }
    if given.handles.is_empty() || given.handles.len() > 1000 {
        return Err(invalid("handles holds from 1 to 1000 handles"));
    }
    let settle = match verb {
        "ack" => Settle::Ack,
        "nack" if given.dead == Some(true) => Settle::Dead,
        "nack" => Settle::Nack { delay_ms: given.delay.map_or(0, |s| s.0) },
        _ => Settle::Extend { lease_ms: lease_ms(given.lease)?.unwrap_or(0) },
    };
    Ok(given.handles.into_iter().map(|handle| (handle, settle)).collect())
}

/// `results`, or the error when every handle failed.
pub(crate) fn settled<'a>(handles: &'a [String], results: &[Result<i64>]) -> Result<ResultsOut<'a>> {
    request::all_failed(results)?;
    let one = |(handle, result): (&'a String, &Result<i64>)| SettledOut {
        handle,
        ok: result.is_ok(),
        code: result.as_ref().err().map(|e| e.code),
    };
    Ok(ResultsOut { results: handles.iter().zip(results).map(one).collect() })
}

/// The policy of a method.
pub(crate) fn method_policy(name: &str, given: MethodIn) -> Result<MethodPolicy> {
    let mut policy = MethodPolicy::new(name);
    if let Some(topic) = given.topic {
        check_name("topic", &topic)?;
        policy.topic = topic;
    }
    policy.attempts = given.attempts.unwrap_or(policy.attempts);
    policy.lease_ms = lease_ms(given.lease)?.unwrap_or(policy.lease_ms);
    policy.timeout_ms = given.timeout.map_or(policy.timeout_ms, |s| s.0);
    policy.keep_ms = given.keep_result.map_or(policy.keep_ms, |s| s.0);
    policy.backoff_ms = given.backoff.map_or(policy.backoff_ms, |s| s.0);
    if policy.timeout_ms == 0 {
        return Err(invalid("timeout must be longer than nothing"));
    }
    Ok(policy)
}

/// METHOD.
pub(crate) fn method_out(view: &MethodView) -> MethodOut<'_> {
    MethodOut {
        name: &view.name,
        topic: &view.policy.topic,
        attempts: view.policy.attempts,
        lease: Span(view.policy.lease_ms),
        timeout: Span(view.policy.timeout_ms),
        keep_result: Span(view.policy.keep_ms),
        backoff: Span(view.policy.backoff_ms),
    }
}

/// Why a job or an attempt failed, with the details of what a service said.
pub(crate) fn failure_out<'a>(
    failure: &'a Failure,
    status: Option<&Status>,
    schema: &Schema,
) -> FailureOut<'a> {
    let details = status.map_or(&[][..], |s| &s.details);
    FailureOut {
        code: &failure.code,
        message: &failure.message,
        retryable: failure.retryable,
        status_name: status.map(|s| s.code.name()),
        details: details.iter().map(|detail| problem::detail_value(detail, schema)).collect(),
    }
}

/// JSON of a worker, in one line: raw line ends in JSON are white space and would end a line of an event.
fn raw(json: &Bytes) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(json).ok()?;
    let text = if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], " ") } else { text.to_owned() };
    RawValue::from_string(text).ok()
}

/// JOB, with its result where the answer shows one.
pub(crate) fn job_out<'a>(view: &'a JobView, outcome: Option<&'a Outcome>, schema: &Schema) -> JobOut<'a> {
    let said = match outcome {
        Some(Outcome::Failed { status, .. }) => status.as_ref(),
        _ => None,
    };
    JobOut {
        id: view.id.to_string(),
        method: &view.method,
        state: view.state.name(),
        attempts: view.attempts,
        created: Time(view.created_ms),
        started: view.started_ms.map(Time),
        finished: view.finished_ms.map(Time),
        deadline: Time(view.deadline_ms),
        progress: view.progress.as_ref().and_then(raw),
        worker: &view.worker,
        cancel_requested: view.cancel_requested,
        rerun_of: view.rerun_of.map(|id| id.to_string()),
        result: match outcome {
            Some(Outcome::Result { content_type, body }) => Some(content(content_type.as_deref(), body)),
            _ => None,
        },
        error: view.error.as_ref().map(|failure| failure_out(failure, said, schema)),
        events: view.events,
    }
}

/// EVENT.
pub(crate) fn event_out<'a>(event: &'a Event, schema: &Schema) -> EventOut<'a> {
    let mut out = EventOut {
        seq: event.seq,
        at: wire::time_text(event.at_ms),
        attempt: event.attempt,
        ..EventOut::default()
    };
    match &event.what {
        What::State { state, worker, reason } => {
            out.kind = "state";
            out.state = Some(state.name());
            out.worker = Some(worker.as_str()).filter(|w| !w.is_empty());
            out.reason = Some(reason.as_str()).filter(|r| !r.is_empty());
        }
        What::Progress(json) => {
            out.kind = "progress";
            out.progress = raw(json);
        }
        What::Log { stream, text } => {
            out.kind = "log";
            out.text = Some(text);
            out.stream = Some(stream);
        }
        What::Result { content_type, body } => {
            out.kind = "result";
            out.content_type = content_type.as_deref();
            let (body, encoding) = shown(body);
            (out.body, out.encoding) = (Some(body), encoding);
        }
        What::Error { failure, status } => {
            out.kind = "error";
            out.error = Some(failure_out(failure, Status::decode(status).as_ref(), schema));
        }
    }
    out
}

/// An EVENT as a Server-Sent Event.
pub(crate) fn event_sse(event: &Event, schema: &Schema, out: &mut Vec<u8>) {
    let json = event_out(event, schema);
    let data = json_bytes(&json);
    sse::event(out, &event.seq.to_string(), Some(json.kind), std::str::from_utf8(&data).unwrap_or_default());
}

/// A job as its worker gets it. Headers that the server itself put there are its own business.
pub(crate) fn taken_out(taken: &Taken) -> TakenOut<'_> {
    let (key, key_base64) = key_out(&taken.input);
    TakenOut {
        id: taken.job.id.to_string(),
        method: &taken.job.method,
        attempt: taken.job.attempts,
        lease: &taken.handle,
        lease_until: Time(taken.until_ms),
        deadline: Time(taken.job.deadline_ms),
        key,
        key_base64,
        headers: headers_out(&taken.input, |name| !message::is_reserved(name)),
        content: content(taken.input.content_type.as_deref(), &taken.input.body),
    }
}

/// What a job that did not succeed is to its caller, and the status when the worker's code names one of our kinds.
pub(crate) fn outcome_error(outcome: &Outcome) -> Option<Error> {
    Some(match outcome {
        Outcome::Result { .. } => return None,
        Outcome::Failed { failure, status } => {
            let named = || Kind::ALL.into_iter().find(|k| k.name() == failure.code);
            let kind = status.as_ref().map(|s| s.code.kind()).or_else(named).unwrap_or(Kind::Internal);
            let again = if failure.retryable {
                "Another attempt may succeed"
            } else {
                "The same input will fail again"
            };
            Error::new(kind, "SB0405", format!("{}: {}", failure.code, failure.message)).fix(again)
        }
        Outcome::Cancelled => Error::new(Kind::Cancelled, "SB0407", "the job was cancelled"),
        Outcome::Expired => {
            Error::new(Kind::Deadline, "SB0408", "the job's deadline passed before it was done")
        }
    })
}

/// The body of a problem, for where no response carries it.
pub(crate) fn problem_json(error: &Error) -> Bytes {
    match problem::response(error, None).into_body() {
        Body::Full(bytes) => bytes,
        _ => Bytes::new(),
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
