//! The only door to the board: the board as seen by one principal, through one protocol, on one connection.
#![allow(unused_variables, missing_docs)]

use crate::Board;
use crate::tail::Tail;
use bytes::Bytes;
use sb_core::batch::Record;
use sb_core::groups::{GroupView, Options, Start};
use sb_core::jobs::{Event, Failure, JobView, MethodPolicy, MethodView, State};
use sb_core::model::{Address, JobId, Message, Pattern, Position, Result};
use sb_core::topics::{Policy, TopicView};
use std::sync::Arc;

#[derive(Clone)]
pub struct Access {
    pub(crate) board: Arc<Board>,
}

/// A key that a client gave so that a repeated request has one effect.
#[derive(Clone, Debug)]
pub struct Idempotency {
    pub key: String,
    /// Hash of what the request says; another fingerprint under the same key is refused (Kind::Mismatch).
    pub fingerprint: u128,
}

#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    pub idempotency: Option<Idempotency>,
    /// Create the topic of exactly that name when no topic claims the address.
    pub create: bool,
    /// Deliver to whoever listens now, keep nothing.
    pub live: bool,
}

/// Where a message is now.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub position: Position,
    pub topic: Arc<str>,
    pub at_ms: i64,
}

#[derive(Clone, Debug)]
pub enum Published {
    /// Durable.
    Stored { receipts: Vec<Receipt>, replayed: bool },
    /// Handed to so many listeners, kept nowhere.
    Live(usize),
}

/// Where to read.
#[derive(Clone, Debug)]
pub struct Read {
    pub pattern: Pattern,
    pub from: From,
    pub partition: Option<u32>,
    pub limit: usize,
    pub max_bytes: usize,
}

/// Where reading begins.
#[derive(Clone, Debug)]
pub enum From {
    At(Start),
    /// Behind this cursor.
    After(String),
    /// The newest n.
    Last(u64),
}

/// A message that was read.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub topic: Arc<str>,
    pub partition: u32,
    pub record: Record,
    /// The id of the message: the cursor that points at it.
    pub cursor: String,
}

#[derive(Clone, Debug)]
pub struct ReadResult {
    pub messages: Vec<Delivered>,
    /// Continues behind the last message (or where it began, when there is none). Also the entity tag.
    pub next: String,
}

#[derive(Clone, Debug)]
pub struct LeaseOptions {
    pub max: usize,
    pub wait_ms: u64,
    pub lease_ms: Option<u64>,
    pub consumer: String,
}

#[derive(Clone, Debug)]
pub struct Leased {
    pub handle: String,
    pub attempt: u32,
    /// Wall clock, for display.
    pub until_ms: i64,
    pub topic: Arc<str>,
    pub partition: u32,
    pub record: Record,
    pub cursor: String,
}

#[derive(Copy, Clone, Debug)]
pub enum Settle {
    Ack,
    Nack { delay_ms: u64 },
    Dead,
    Extend { lease_ms: u64 },
}

#[derive(Copy, Clone, Debug)]
pub struct SeekReport {
    /// Messages that will not be delivered.
    pub skipped: u64,
    /// Messages that will be delivered again.
    pub again: u64,
}

pub struct Submit {
    pub method: String,
    /// Body, content type, headers, key, due time. Its address is ignored.
    pub message: Message,
    pub idempotency: Option<Idempotency>,
    pub timeout_ms: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub state: Option<State>,
    pub method: Option<String>,
    pub after: Option<JobId>,
    pub limit: usize,
}

/// A job that a worker has taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub job: JobView,
    pub handle: String,
    pub until_ms: i64,
    pub input: Message,
}

/// What a worker is told when it gives a sign of life.
#[derive(Copy, Clone, Debug)]
pub struct Term {
    pub until_ms: i64,
    pub cancel_requested: bool,
}

#[derive(Clone, Debug)]
pub enum Report {
    /// JSON, checked by the caller.
    Progress(Bytes),
    Log { stream: String, text: String },
}

#[derive(Clone, Debug)]
pub enum Finish {
    Complete { content_type: Option<String>, body: Bytes },
    Fail { failure: Failure, delay_ms: Option<u64> },
}

/// How a finished job ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Result { content_type: Option<String>, body: Bytes },
    Failed(Failure),
    Cancelled,
    Expired,
}

/// What a scoped token allows.
#[derive(Clone, Debug, Default)]
pub struct TokenGrants {
    pub read: Vec<String>,
    pub publish: Vec<String>,
    pub call: Vec<String>,
    pub jobs: Vec<JobId>,
}

/// A precondition of a declaration.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Any,
    /// Must not exist (Kind::Precondition otherwise).
    Absent,
    /// Must have this version.
    Version(u64),
}

impl Access {
    pub fn board(&self) -> &Arc<Board> { unimplemented!() }
    pub fn principal(&self) -> &str { unimplemented!() }
    /// Ends when the caller's token expires or its rights are revoked; pending forever otherwise.
    pub async fn revoked(&self) { unimplemented!() }

    pub async fn publish(&self, messages: Vec<Message>, options: PublishOptions) -> Result<Published> { unimplemented!() }
    pub async fn read(&self, read: &Read) -> Result<ReadResult> { unimplemented!() }
    /// One message, by topic name, partition and offset.
    pub async fn message(&self, topic: &str, partition: u32, offset: u64) -> Result<Delivered> { unimplemented!() }
    pub async fn tail(&self, pattern: &Pattern, from: From, partition: Option<u32>) -> Result<Tail> { unimplemented!() }

    pub async fn lease(&self, topic: &str, group: &str, options: LeaseOptions) -> Result<Vec<Leased>> { unimplemented!() }
    /// Each on its own; stale handles are errors of their own (SB0402). Ok(until_ms) is 0 unless extended.
    pub async fn settle(&self, settles: Vec<(String, Settle)>) -> Result<Vec<Result<i64>>> { unimplemented!() }
    /// The same for handles of this group alone: a handle of another group counts as stale.
    pub async fn settle_in(&self, topic: &str, group: &str, settles: Vec<(String, Settle)>) -> Result<Vec<Result<i64>>> { unimplemented!() }
    pub async fn peek(&self, topic: &str, group: &str, limit: usize) -> Result<Vec<Delivered>> { unimplemented!() }
    pub async fn seek(&self, topic: &str, group: &str, to: Start, partition: Option<u32>, dry_run: bool) -> Result<SeekReport> { unimplemented!() }
    pub async fn commit_cursor(&self, topic: &str, group: &str, cursor: &str) -> Result<()> { unimplemented!() }

    /// True when created.
    pub async fn declare_topic(&self, name: &str, policy: Policy, condition: Condition) -> Result<(bool, TopicView)> { unimplemented!() }
    pub async fn delete_topic(&self, name: &str) -> Result<()> { unimplemented!() }
    pub async fn topic(&self, name: &str) -> Result<TopicView> { unimplemented!() }
    /// Sorted by name; true when there are more.
    pub async fn topics(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<(Vec<TopicView>, bool)> { unimplemented!() }
    pub async fn declare_group(&self, topic: &str, group: &str, options: Options, start: Start) -> Result<(bool, GroupView)> { unimplemented!() }
    pub async fn delete_group(&self, topic: &str, group: &str) -> Result<()> { unimplemented!() }
    pub async fn group(&self, topic: &str, group: &str) -> Result<GroupView> { unimplemented!() }
    /// Sorted by topic and name.
    pub async fn groups(&self, topic: Option<&str>, after: Option<(&str, &str)>, limit: usize) -> Result<(Vec<GroupView>, bool)> { unimplemented!() }

    pub async fn declare_method(&self, name: &str, policy: MethodPolicy) -> Result<(bool, MethodView)> { unimplemented!() }
    pub async fn delete_method(&self, name: &str) -> Result<()> { unimplemented!() }
    pub async fn methods(&self) -> Result<Vec<MethodView>> { unimplemented!() }
    /// True when this is the answer to an earlier request with the same key.
    pub async fn submit(&self, submit: Submit) -> Result<(JobView, bool)> { unimplemented!() }
    pub async fn job(&self, id: JobId) -> Result<JobView> { unimplemented!() }
    /// Waits until the job has more than `events` events or is terminal, at most `wait_ms`.
    pub async fn job_wait(&self, id: JobId, events: u64, wait_ms: u64) -> Result<JobView> { unimplemented!() }
    pub async fn jobs(&self, filter: &JobFilter) -> Result<(Vec<JobView>, bool)> { unimplemented!() }
    /// Events behind `after`; empty at the end.
    pub async fn job_events(&self, id: JobId, after: u64, limit: usize) -> Result<Vec<Event>> { unimplemented!() }
    /// None while it is not finished.
    pub async fn job_outcome(&self, id: JobId) -> Result<Option<Outcome>> { unimplemented!() }
    pub async fn job_input(&self, id: JobId) -> Result<Message> { unimplemented!() }
    pub async fn cancel(&self, id: JobId) -> Result<JobView> { unimplemented!() }
    pub async fn rerun(&self, id: JobId, input: Option<Message>) -> Result<JobView> { unimplemented!() }

    pub async fn take(&self, methods: &[String], max: usize, wait_ms: u64, lease_ms: Option<u64>, worker: &str) -> Result<Vec<Taken>> { unimplemented!() }
    pub async fn job_extend(&self, id: JobId, handle: &str, lease_ms: Option<u64>) -> Result<Term> { unimplemented!() }
    pub async fn job_report(&self, id: JobId, handle: &str, report: Report) -> Result<Term> { unimplemented!() }
    pub async fn job_finish(&self, id: JobId, handle: &str, finish: Finish) -> Result<JobView> { unimplemented!() }

    /// Whether the caller may see figures of the whole server (status, metrics).
    pub fn inspect(&self) -> Result<()> { unimplemented!() }
    /// A token with at most the caller's rights, and when it ends (milliseconds since 1970).
    pub fn token(&self, grants: &TokenGrants, ttl_ms: u64) -> Result<(String, i64)> { unimplemented!() }
    /// The id of a message.
    pub fn cursor(&self, position: Position) -> String { unimplemented!() }
}
