//! A reader's place in one topic or several, and the batches it is given.
#![allow(unused_variables, missing_docs)]

use bytes::Bytes;
use sb_core::batch::Record;
use sb_core::model::Error;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A batch as readers share it: decoded once, encoded once for each wire format.
pub struct SharedBatch {}

/// The wire formats of which each record of a batch is encoded at most once.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Server-Sent Event with its cursor, plain.
    Sse = 0,
    /// A Server-Sent Event with the JSON envelope.
    SseEnvelope = 1,
    /// A complete WebSocket frame with the body alone.
    WebSocketPlain = 2,
    /// The part of a `switchboard.v1` message behind the subscriber's own head.
    WebSocketEnvelope = 3,
}

impl SharedBatch {
    /// The topic's name; for a live message its address.
    pub fn topic(&self) -> &Arc<str> { unimplemented!() }
    pub fn partition(&self) -> u32 { unimplemented!() }
    /// Whether it is kept nowhere; then records have no cursor.
    pub fn live(&self) -> bool { unimplemented!() }
    pub fn records(&self) -> &[Record] { unimplemented!() }
    /// The record's encoding, made by `make(record, cursor)` the first time. The cursor is the plain one of a single topic's position ("" when live).
    pub fn encoded(&self, form: Form, index: usize, make: impl Fn(&Record, &str) -> Bytes) -> Bytes { unimplemented!() }
}

/// What a tail gives.
pub enum Next {
    /// These records (indexes into `records()`) of a batch, in order.
    Records(Given),
    /// The position is gone: retention was faster, or the topic was deleted. The tail has ended.
    Reset(Error),
    /// The server drains. The tail has ended.
    Draining,
}

pub struct Given {
    pub batch: Arc<SharedBatch>,
    /// Which records; already filtered by pattern, partition, permission.
    pub indexes: smallvec::SmallVec<[u32; 8]>,
    /// None when the plain cursor of each record serves for resuming (one partition is read); otherwise the composite cursor behind the last of them.
    pub cursor: Option<String>,
}

/// A reader at some position that waits for more. Holds no messages: a slow one falls back to the log.
pub struct Tail {}

impl Tail {
    /// The next records. Wakes the task when something matching is durable (or sent live). At most about 256 KiB at a time.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> { unimplemented!() }
    pub async fn next(&mut self) -> Next { std::future::poll_fn(|cx| self.poll_next(cx)).await }
    /// Continues where this tail is now.
    pub fn cursor(&self) -> String { unimplemented!() }
}
