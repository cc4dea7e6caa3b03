//! Topics: declaring, publishing, reading, one message (docs/http.md §2).

use crate::server::{Cx, empty, json, set, tagged, untrusted};
use crate::wire::Prefer;
use crate::wire::json::{LiveOut, Messages, PolicyIn, PublishIn, TopicsOut};
use crate::{live, map, websocket};
use bytes::Bytes;
use http::{Response, StatusCode, header};
use sb_board::access::{Condition, PublishOptions, Published, Read, ReadResult, Receipt};
use sb_board::mount::{Answer, Body};
use sb_core::batch::MAX_MESSAGES;
use sb_core::groups::Start;
use sb_core::model::{Error, Kind, Message, Pattern, Result, check_name};
use sb_core::topics::Policy;

/// The most bytes of messages in one answer.
pub(crate) const MAX_READ: usize = 4 << 20;

fn ok(response: Response<Body>) -> Result<Answer> {
    Ok(Answer::Response(response))
}

pub(crate) async fn list(cx: Cx) -> Result<Answer> {
    let limit = cx.limit("limit", 1000, 100)?;
    let (topics, more) =
        cx.access.topics(cx.query.get("prefix").unwrap_or(""), cx.query.get("after"), limit).await?;
    let next = topics.last().filter(|_| more).map(|t| t.name.as_str());
    ok(json(StatusCode::OK, &TopicsOut { topics: topics.iter().map(map::topic_out).collect(), next }))
}

/// The version that `If-Match` and `If-None-Match` ask for.
async fn condition(cx: &Cx, name: &str) -> Result<Condition> {
    if cx.header(header::IF_NONE_MATCH).is_some_and(|v| v.trim() == "*") {
        return Ok(Condition::Absent);
    }
    let Some(wanted) = cx.header(header::IF_MATCH) else { return Ok(Condition::Any) };
    let failed = |detail: String| Error::new(Kind::Precondition, "SB0210", detail);
    match cx.access.topic(name).await {
        Ok(view) if map::matches_policy(wanted, &view) => Ok(Condition::Version(view.version)),
        Ok(_) => Err(failed(format!("the policy of {name} is not the one that If-Match names"))),
        Err(error) if error.kind == Kind::NotFound => Err(failed(format!("there is no topic {name}"))),
        Err(error) => Err(error),
    }
}

pub(crate) async fn put(mut cx: Cx) -> Result<Answer> {
    check_name("topic", cx.arg(0))?;
    let body = cx.json().await?;
    let policy = map::policy(map::json::<PolicyIn>(&body)?, Policy::default())?;
    let name = cx.arg(0);
    let condition = condition(&cx, name).await?;
    let (created, view) = cx.access.declare_topic(name, policy, condition).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = tagged(json(status, &map::topic_out(&view)), &map::topic_tag(&view));
    if created {
        set(&mut response, header::LOCATION, &format!("/topics/{name}/info"));
    }
    ok(response)
}

pub(crate) async fn patch(mut cx: Cx) -> Result<Answer> {
    let body = cx.json().await?;
    let name = cx.arg(0);
    check_name("topic", name)?;
    let mut tries = 0;
    loop {
        let view = cx.access.topic(name).await?;
        if cx.header(header::IF_MATCH).is_some_and(|wanted| !map::matches_policy(wanted, &view)) {
            let detail = format!("the policy of {name} is not the one that If-Match names");
            return Err(Error::new(Kind::Precondition, "SB0210", detail));
        }
        let policy = map::policy(map::json::<PolicyIn>(&body)?, view.policy)?;
        match cx.access.declare_topic(name, policy, Condition::Version(view.version)).await {
            Ok((_, view)) => {
                return ok(tagged(json(StatusCode::OK, &map::topic_out(&view)), &map::topic_tag(&view)));
            }
            // Someone else changed it in between: what was given goes over the new policy.
            Err(error) if error.kind == Kind::Precondition && tries < 5 => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

pub(crate) async fn delete(cx: Cx) -> Result<Answer> {
    check_name("topic", cx.arg(0))?;
    cx.access.delete_topic(cx.arg(0)).await?;
    ok(empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn info(cx: Cx) -> Result<Answer> {
    check_name("topic", cx.arg(0))?;
    let view = cx.access.topic(cx.arg(0)).await?;
    let tag = map::topic_tag(&view);
    if cx.has(&tag) {
        return ok(tagged(empty(StatusCode::NOT_MODIFIED), &tag));
    }
    ok(tagged(json(StatusCode::OK, &map::topic_out(&view)), &tag))
}

pub(crate) async fn publish(mut cx: Cx) -> Result<Answer> {
    let address = map::address(cx.arg(0))?;
    let batch = match cx.query.get("batch") {
        None => false,
        Some("ndjson") => true,
        Some(other) => return Err(map::invalid(format!("batch is ndjson, not {other:.40?}"))),
    };
    let live = cx.query.flag("live").map_err(map::invalid)?;
    let limit = if batch { cx.max_batch() } else { cx.max_body() };
    let body = cx.collect(limit).await?;
    let idempotency = match live {
        true => None,
        false => map::request_idempotency(&cx.parts, &body)?,
    };
    let message = map::message(&cx.parts.headers, address, body, cx.board().now_ms())?;
    let messages = if batch { lines(message)? } else { vec![message] };
    let options = PublishOptions { idempotency, create: !live, live };
    match cx.access.publish(messages, options).await? {
        Published::Live(delivered) => ok(json(StatusCode::ACCEPTED, &LiveOut { live: true, delivered })),
        Published::Stored { receipts, replayed } => {
            let id = |r: &Receipt| cx.access.cursor(r.position);
            let mut response = match (batch, receipts.as_slice()) {
                (false, [receipt]) => {
                    let mut response = json(StatusCode::CREATED, &map::receipt_out(receipt, &id(receipt)));
                    let place = receipt.position;
                    let location = format!(
                        "/topics/{}/messages/{}-{}",
                        receipt.topic, place.part.partition, place.offset
                    );
                    set(&mut response, header::LOCATION, &location);
                    response
                }
                (_, receipts) => {
                    let ids: Vec<String> = receipts.iter().map(id).collect();
                    let messages = receipts.iter().zip(&ids).map(|(r, id)| map::receipt_out(r, id));
                    json(StatusCode::CREATED, &Messages { messages: messages.collect(), next: None })
                }
            };
            if replayed {
                set(&mut response, "idempotency-replayed", "true");
            }
            ok(response)
        }
    }
}

/// Each line a message like the given one.
fn lines(template: Message) -> Result<Vec<Message>> {
    let body = &template.body;
    let text = std::str::from_utf8(body).map_err(|e| {
        let line = 1 + body.iter().take(e.valid_up_to()).filter(|b| **b == b'\n').count();
        map::invalid(format!("line {line} is not UTF-8"))
    })?;
    let mut messages = Vec::new();
    for (n, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() {
            continue;
        }
        if messages.len() == MAX_MESSAGES {
            return Err(Error::new(Kind::TooLarge, "SB0205", "at most 1,000 messages are published at once"));
        }
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(line) {
            return Err(map::invalid(format!("line {} is not JSON: {error}", n + 1)));
        }
        let mut message = template.clone();
        message.body = body.slice_ref(line.as_bytes());
        message.content_type = Some("application/json".to_owned());
        messages.push(message);
    }
    if messages.is_empty() {
        return Err(map::invalid("there is no message in the body"));
    }
    Ok(messages)
}

pub(crate) async fn publish_many(mut cx: Cx) -> Result<Answer> {
    let limit = cx.max_batch();
    let body = cx.json_or(limit, None).await?;
    let given: PublishIn<'_> = map::json(&body)?;
    match given.messages.len() {
        0 => return Err(map::invalid("messages is empty")),
        n if n > MAX_MESSAGES => {
            return Err(Error::new(Kind::TooLarge, "SB0205", "at most 1,000 messages are published at once"));
        }
        _ => {}
    }
    let idempotency = map::request_idempotency(&cx.parts, &body)?;
    let now = cx.board().now_ms();
    let messages =
        given.messages.into_iter().map(|m| map::message_in(&body, m, now)).collect::<Result<_>>()?;
    let options = PublishOptions { idempotency, create: true, live: false };
    let Published::Stored { receipts, replayed } = cx.access.publish(messages, options).await? else {
        return Err(Error::internal("a kept publish was answered as a live one"));
    };
    let ids: Vec<String> = receipts.iter().map(|r| cx.access.cursor(r.position)).collect();
    let messages = receipts.iter().zip(&ids).map(|(r, id)| map::receipt_out(r, id)).collect();
    let mut response = json(StatusCode::CREATED, &Messages { messages, next: None });
    if replayed {
        set(&mut response, "idempotency-replayed", "true");
    }
    ok(response)
}

/// Where and what a request wants to read.
pub(crate) fn wanted(cx: &Cx, default: Start) -> Result<Read> {
    let partition = cx.query.number("partition", 0, u64::from(u32::MAX)).map_err(map::invalid)?;
    Ok(Read {
        pattern: Pattern::parse(cx.arg(0))?,
        from: map::from(&cx.query, cx.header("last-event-id"), default, cx.board().now_ms())?,
        partition: partition.map(|p| p as u32),
        limit: cx.limit("limit", 1000, 100)?,
        max_bytes: MAX_READ,
    })
}

pub(crate) async fn read(cx: Cx) -> Result<Answer> {
    if cx.wants_websocket() {
        return websocket::topic(cx).await;
    }
    if cx.wants_events() {
        let read = wanted(&cx, Start::End)?;
        let envelope = cx.query.flag("envelope").map_err(map::invalid)?;
        return ok(live::topic(&cx.access, &read, envelope).await?);
    }
    let (mut response, applied) = match cx.wait() {
        None => (page(&cx, cx.access.read(&wanted(&cx, Start::Start)?).await?), None),
        Some(seconds) => {
            let read = wanted(&cx, Start::End)?;
            let result = cx.access.read_wait(&read, seconds.saturating_mul(1_000)).await?;
            (page(&cx, result), Prefer::applied(Some(seconds), false))
        }
    };
    if let Some(applied) = applied {
        set(&mut response, "preference-applied", &applied);
    }
    response.headers_mut().append(header::VARY, http::HeaderValue::from_static("Accept, Prefer"));
    ok(response)
}

/// What was read, with its tag.
fn page(cx: &Cx, result: ReadResult) -> Response<Body> {
    let tag = format!("\"{}\"", result.next);
    // Live messages have no cursor and move none: what they bring is new under the same tag.
    let live = result.messages.iter().any(|m| m.cursor.is_empty());
    if cx.has(&tag) && !live {
        return tagged(empty(StatusCode::NOT_MODIFIED), &tag);
    }
    let messages = result.messages.iter().map(map::delivered_out).collect();
    tagged(json(StatusCode::OK, &Messages { messages, next: Some(result.next.clone()) }), &tag)
}

pub(crate) async fn message(cx: Cx) -> Result<Answer> {
    let (topic, place) = (cx.arg(0), cx.arg(1));
    check_name("topic", topic)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parsed = place.split_once('-').filter(|(p, o)| digits(p) && digits(o));
    let parsed = parsed.and_then(|(p, o)| Some((p.parse::<u32>().ok()?, o.parse::<u64>().ok()?)));
    let Some((partition, offset)) = parsed else {
        return Err(map::invalid(format!("{place:.80?} is no place of a message"))
            .fix("Write partition and offset, such as 0-12"));
    };
    let delivered = cx.access.message(topic, partition, offset).await?;
    let message = &delivered.record.message;
    let tag = format!("\"{}\"", delivered.cursor);
    if cx.has(&tag) {
        return ok(tagged(empty(StatusCode::NOT_MODIFIED), &tag));
    }
    let mut response = bytes_of(message);
    set(&mut response, "sb-id", &delivered.cursor);
    set(&mut response, "sb-at", &crate::wire::time_text(message.time_ms));
    if message.address.as_str() != &*delivered.topic {
        set(&mut response, "sb-address", message.address.as_str());
    }
    ok(tagged(response, &tag))
}

/// A message as a response: its bytes, its type, its key and headers.
pub(crate) fn bytes_of(message: &Message) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::clone(&message.body)));
    map::message_headers(message, response.headers_mut());
    untrusted(&mut response);
    response
}
