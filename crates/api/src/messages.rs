//! `switchboard.v1.Messages`, all but the stream.

use crate::call::{Answer, Cx, PAGE_BYTES, encode};
use crate::map::{self, given, int, limit, natural, small, span_in};
use crate::types::switchboard::v1::{
    GetMessageRequest, Message, PublishRequest, PublishResponse, ReadRequest, ReadResponse, Receipt,
};
use sb_board::access::{PublishOptions, Published, Read};
use sb_board::request;
use sb_core::groups::Start;
use sb_core::model::{Error, Kind, Pattern, Result};

/// The most bytes of bodies that one request publishes, unless the server is configured to take more.
const MAX_BATCH: usize = 8 << 20;

pub(crate) async fn publish(cx: Cx, mut asked: PublishRequest) -> Answer<PublishResponse> {
    let key = std::mem::take(&mut asked.idempotency_key);
    let idempotency = match given(&key) {
        Some(key) if !asked.live => request::idempotency(Some(key), &[b"publish", &encode(&asked)?])?,
        _ => None,
    };
    let (now, live) = (cx.now_ms(), asked.live);
    let most = MAX_BATCH.max(cx.access.board().http().max_body);
    let bytes: usize = asked.messages.iter().map(|m| m.body.len()).sum();
    if bytes > most {
        return Err(Error::new(
            Kind::TooLarge,
            "SB0205",
            format!("the messages have {bytes} bytes together, and at most {most} are taken at once"),
        )
        .fix("Publish fewer at once")
        .into());
    }
    let messages = asked.messages.into_iter().map(|m| {
        let mut message = map::message_in(m, now)?;
        map::traced(&mut message, &cx.metadata);
        Ok(message)
    });
    let messages = messages.collect::<Result<Vec<_>>>()?;
    match cx.access.publish(messages, PublishOptions { idempotency, create: !live, live }).await? {
        Published::Live(delivered) => {
            Ok(PublishResponse { delivered: int(delivered), ..PublishResponse::default() })
        }
        Published::Stored { receipts, replayed } => {
            let receipt = |r: &sb_board::access::Receipt| Receipt {
                id: cx.access.cursor(r.position),
                topic: r.topic.to_string(),
                partition: small(r.position.part.partition),
                offset: int(r.position.offset),
                at: map::time(r.at_ms),
            };
            Ok(PublishResponse { messages: receipts.iter().map(receipt).collect(), replayed, delivered: 0 })
        }
    }
}

/// Where a read or subscription begins.
pub(crate) fn begin(
    after: &str,
    from: &str,
    last: Option<i64>,
    default: Start,
    now_ms: i64,
) -> Result<sb_board::access::From> {
    let last = last.map(|n| natural("last", n)).transpose()?;
    request::from(given(after), given(from), last, default, now_ms)
}

pub(crate) async fn read(cx: Cx, asked: ReadRequest) -> Answer<ReadResponse> {
    let wait = span_in("wait", &asked.wait)?;
    let default = if wait.is_some() { Start::End } else { Start::Start };
    let read = Read {
        pattern: Pattern::parse(&asked.pattern)?,
        from: begin(&asked.after, &asked.from, asked.last, default, cx.now_ms())?,
        partition: asked.partition.map(|p| natural("partition", p)).transpose()?,
        limit: limit(asked.limit)?,
        max_bytes: PAGE_BYTES,
    };
    let result = match wait {
        None => cx.access.read(&read).await?,
        Some(_) => cx.access.read_wait(&read, cx.wait_ms(wait)).await?,
    };
    Ok(ReadResponse {
        messages: result.messages.into_iter().map(map::delivered).collect(),
        next: result.next,
    })
}

pub(crate) async fn get(cx: Cx, asked: GetMessageRequest) -> Answer<Message> {
    let (partition, offset) = (natural("partition", asked.partition)?, natural("offset", asked.offset)?);
    Ok(map::delivered(cx.access.message(&asked.topic, partition, offset).await?))
}
