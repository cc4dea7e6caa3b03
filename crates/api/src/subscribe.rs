//! `switchboard.v1.Messages/Subscribe`: a stream that is pulled out of a tail, without a task or a queue of its own.

use crate::call::{Answer, Cx, PAGE_BYTES, end, part};
use crate::map::{self, count, natural, span_in};
use crate::messages::begin;
use crate::types::switchboard::v1::{Reset, SubscribeRequest, SubscribeResponse};
use buffa::MessageField;
use sb_board::Access;
use sb_board::call::{Part, Parts};
use sb_board::mount::BoxFuture;
use sb_board::tail::{Given, Next, Tail};
use sb_core::groups::Start;
use sb_core::model::{Error, Kind, Pattern};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The pauses after which a caller may ask for a sign of life, in milliseconds.
const HEARTBEAT_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;

pub(crate) async fn open(cx: Cx, asked: SubscribeRequest) -> Answer<Parts> {
    let pattern = Pattern::parse(&asked.pattern)?;
    let from = begin(&asked.after, &asked.from, asked.last, Start::End, cx.now_ms())?;
    let partition = asked.partition.map(|p| natural("partition", p)).transpose()?;
    let heartbeat = span_in("heartbeat", &asked.heartbeat)?;
    if heartbeat.is_some_and(|ms| !HEARTBEAT_MS.contains(&ms)) {
        return Err(Error::invalid("heartbeat lasts from 1s to 1h").into());
    }
    let max = count("max", asked.max, 100, 1_000)?;
    let state = match cx.access.tail(&pattern, from, partition).await {
        Ok(tail) => State::Opened(tail),
        // Told inside the stream, as when it happens later.
        Err(error) if error.kind == Kind::Gone => State::Lost(error),
        Err(error) => return Err(error.into()),
    };
    let access = cx.access.clone();
    let feed = Feed {
        state,
        held: None,
        cursor: asked.after,
        max,
        heartbeat: heartbeat.map(Duration::from_millis),
        access: cx.access,
        revoked: Box::pin(async move { access.revoked().await }),
    };
    Ok(Box::pin(futures_util::stream::unfold(feed, |mut feed| async move {
        let part = feed.next().await?;
        Some((part, feed))
    })))
}

enum State {
    /// Nothing was said yet.
    Opened(Tail),
    Open(Tail),
    /// The reset is to be told.
    Lost(Error),
    /// The error follows the reset.
    Ending(Error),
    Ended,
}

struct Feed {
    access: Access,
    state: State,
    /// Records that did not fit into the last response, and how many of them were sent.
    held: Option<(Given, usize)>,
    /// Everything before it was sent.
    cursor: String,
    max: usize,
    heartbeat: Option<Duration>,
    revoked: BoxFuture<()>,
}

impl Feed {
    async fn next(&mut self) -> Option<Part> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => None,
            State::Ending(error) => Some(end(Some(error.into()))),
            State::Lost(error) => {
                let reset = Reset {
                    code: error.code.to_owned(),
                    message: error.detail.to_string(),
                    fix: error.fix.to_string(),
                };
                self.state = State::Ending(error);
                let cursor = self.cursor.clone();
                Some(part(&SubscribeResponse {
                    reset: MessageField::some(reset),
                    cursor,
                    ..SubscribeResponse::default()
                }))
            }
            State::Opened(tail) => {
                self.cursor = tail.cursor();
                self.state = State::Open(tail);
                Some(self.empty())
            }
            State::Open(tail) => self.follow(tail).await,
        }
    }

    fn empty(&self) -> Part {
        part(&SubscribeResponse { cursor: self.cursor.clone(), ..SubscribeResponse::default() })
    }

    async fn follow(&mut self, mut tail: Tail) -> Option<Part> {
        let (given, at) = match self.held.take() {
            Some(held) => held,
            None => {
                let quiet = self.heartbeat.map(|pause| Instant::now() + pause);
                let beat = async {
                    match quiet {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                let next = tokio::select! {
                    biased;
                    () = &mut self.revoked => return Some(end(Some(self.access.expired().into()))),
                    next = tail.next() => next,
                    () = beat => {
                        // What did not match was passed over meanwhile.
                        self.cursor = tail.cursor();
                        self.state = State::Open(tail);
                        return Some(self.empty());
                    }
                };
                match next {
                    Next::Records(given) => (given, 0),
                    Next::Draining => return Some(end(Some(self.access.stopping().into()))),
                    Next::Reset(error) => {
                        self.state = State::Lost(error);
                        return Box::pin(self.next()).await;
                    }
                }
            }
        };
        let part = self.give(&tail, given, at);
        self.state = State::Open(tail);
        Some(part)
    }

    /// The next response out of what a tail gave.
    fn give(&mut self, tail: &Tail, given: Given, mut at: usize) -> Part {
        let batch = &given.batch;
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let mut last = None;
        while let Some(record) = given.indexes.get(at).and_then(|i| batch.records().get(*i as usize)) {
            bytes += record.message.body.len() + 256;
            if messages.len() == self.max || (bytes > PAGE_BYTES && !messages.is_empty()) {
                break;
            }
            messages.push(map::message(batch.topic(), batch.partition(), record, batch.cursor(record)));
            last = Some(record);
            at += 1;
        }
        // A live message moves no cursor.
        if let Some(record) = last.filter(|_| !batch.is_live()) {
            self.cursor = tail.cursor_behind(batch, record);
        }
        if at < given.indexes.len() {
            self.held = Some((given, at));
        }
        part(&SubscribeResponse { messages, cursor: self.cursor.clone(), ..SubscribeResponse::default() })
    }
}
