//! What can be asked of the core, what it answers, and what follows from it.

use crate::groups::{GroupView, Options, Start};
use crate::jobs::{Failure, JobView, MethodPolicy, MethodView, State};
use crate::model::{GroupId, JobId, PartId, Position, TopicId};
use crate::topics::{Policy, TopicView};
use bytes::Bytes;

/// Time, as an input.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970, for what people see and for absolute due times.
    pub wall_ms: i64,
    /// Milliseconds of a clock that never jumps, for leases. It need not continue across restarts.
    pub mono_ms: u64,
}

/// All or nothing: when one operation is refused, none has an effect.
#[derive(Debug, Default)]
pub struct Commit {
    /// Makes a repetition answer as the first time.
    pub dedup: Option<Dedup>,
    /// What to do, in order.
    pub ops: Vec<Op>,
}

impl From<Op> for Commit {
    fn from(op: Op) -> Self {
        Commit { dedup: None, ops: vec![op] }
    }
}

/// An idempotency key.
#[derive(Clone, Debug)]
pub struct Dedup {
    /// Who and what: keys of different scopes never meet. At most 512 bytes.
    pub scope: String,
    /// The client's key, at most 255 bytes.
    pub key: String,
    /// Hash of the request; the same key with another one is refused (`Kind::Mismatch`, SB0306).
    pub fingerprint: u128,
    /// How long it is remembered.
    pub window_ms: u64,
}

/// A precondition of a declaration.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// None.
    Any,
    /// It must not exist (`Kind::Precondition`, SB0210 otherwise).
    Absent,
    /// It must exist (`Kind::NotFound` otherwise).
    Present,
    /// It must have this version (SB0210). Groups have none.
    Version(u64),
    /// Create it when missing, otherwise leave it exactly as it is.
    Ensure,
}

/// Where a group is to be.
#[derive(Clone, Debug)]
pub enum GroupStart {
    /// At the first kept message of every partition.
    Start,
    /// At the end of every partition.
    End,
    /// At these offsets; partitions not named are at their start. Beyond the end means the end, before the start the start.
    Offsets(Vec<(u32, u64)>),
}

impl GroupStart {
    /// For the starts that need no look into the log.
    pub fn simple(start: Start) -> Option<GroupStart> {
        match start {
            Start::Start => Some(GroupStart::Start),
            Start::End => Some(GroupStart::End),
            Start::Offset(_) | Start::Time(_) => None,
        }
    }
}

/// A batch to append: encoded by `batch::encode` with base offset 0 outside the commit loop.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The bytes; the core sets the base offset.
    pub bytes: Vec<u8>,
    /// Index in the batch and time in ms since 1970 before which groups do not deliver it.
    pub due: Vec<(u32, i64)>,
    /// Index in the batch and time after which groups do not deliver it.
    pub expires: Vec<(u32, i64)>,
}

/// How a lease ends or goes on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Settle {
    /// Done with.
    Ack,
    /// Back to the queue after a delay.
    Nack {
        /// The delay.
        delay_ms: u64,
    },
    /// Back at once as if it had not been handed out: this attempt does not count. For messages that nobody has seen.
    Unseen,
    /// Dead now.
    Dead,
    /// A new term from now.
    Extend {
        /// Its length; 0 for that of the group.
        lease_ms: u64,
    },
}

/// Names one delivery.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The group.
    pub group: GroupId,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// The lease's number: never used again, so that a late handle is refused (`Kind::Conflict`, SB0402).
    pub lease: u64,
}

/// One operation.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub enum Op {
    /// Creates a topic or changes its policy → `Reply::Topic`.
    DeclareTopic { name: String, policy: Policy, condition: Condition },
    /// Deletes it with its groups → `Reply::Done`. Refused (SB0302, Conflict) while a method is served on it.
    DeleteTopic { name: String },
    /// Appends a batch to a partition → `Reply::Appended`. NotFound when the topic is gone.
    Append { topic: TopicId, partition: u32, batch: Batch },
    /// Creates a group or changes its options → `Reply::Group`. `start` counts at creation only. Mode cannot change (SB0308).
    DeclareGroup {
        topic: String,
        group: String,
        options: Options,
        start: GroupStart,
        condition: Condition,
        /// For key order on a topic with kept messages: hash of each message's key (0 for none) per partition, from its start to its
        /// end at the time of reading. When they do not fit the state any more: `Kind::Conflict` SB0302, read again and retry.
        keys: Vec<(u32, u64, Vec<u64>)>,
    },
    /// Deletes a group → `Reply::Done`.
    DeleteGroup { topic: String, group: String },
    /// Leases at most `max` messages → `Reply::Leased`, perhaps empty.
    Lease { group: GroupId, max: usize, lease_ms: Option<u64>, consumer: String },
    /// Ends or renews leases, each on its own → `Reply::Settled`.
    Settle { settles: Vec<(Delivery, Settle)> },
    /// Moves a message that is dying to its dead-letter topic: append and end in one → `Reply::Done`. `target` is None when it is to be
    /// dropped (no dead-letter topic, or the message is unreadable).
    DeadLetter { group: GroupId, partition: u32, offset: u64, target: Option<(TopicId, u32, Batch)> },
    /// Moves a group; outstanding leases end → `Reply::Seek`. With `dry_run` only says what would happen.
    Seek { group: GroupId, to: Vec<(u32, u64)>, dry_run: bool },
    /// Remembers positions of a cursor group → `Reply::Done`.
    CommitCursor { group: GroupId, positions: Vec<(u32, u64)> },
    /// Declares a method, its topic and the topic's group `workers` (queue, key order, the method's lease, attempts and backoff)
    /// → `Reply::Method`.
    DeclareMethod { name: String, policy: MethodPolicy },
    /// → `Reply::Done`.
    DeleteMethod { name: String },
    /// Submits a job: appends its input to the method's topic and its first event → `Reply::Job`. The batch holds exactly one message, with a
    /// header `sb-job` that names the id.
    Submit {
        id: JobId,
        method: String,
        partition: u32,
        batch: Batch,
        timeout_ms: Option<u64>,
        principal: String,
        rerun_of: Option<JobId>,
        /// Reserved for webhooks.
        callback: Option<String>,
    },
    /// A sign of life of the worker, perhaps with an event (a batch of one message made by `jobs::encode_event`) → `Reply::Term`.
    Report { job: JobId, lease: u64, event: Option<Batch>, progress: Option<Bytes>, lease_ms: Option<u64> },
    /// The worker's result: ends lease and job in one → `Reply::Job`.
    Complete { job: JobId, lease: u64, event: Batch },
    /// The worker's failure: another attempt or the end → `Reply::Job`.
    Fail { job: JobId, lease: u64, failure: Failure, delay_ms: Option<u64>, event: Batch },
    /// Cancels a job → `Reply::Job`. Queued: at once. Running: asks the worker, and ends the job when the lease ends.
    Cancel { job: JobId },
}

/// A delivery that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Names it.
    pub delivery: Delivery,
    /// The how manieth attempt, from 1.
    pub attempt: u32,
    /// How long, from the moment it is released.
    pub lease_ms: u64,
    /// The job whose input this is.
    pub job: Option<JobId>,
}

/// What an operation answers.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// A topic was created or changed.
    Topic { created: bool, view: TopicView },
    /// Messages got their place.
    Appended { part: PartId, base: u64, count: u32, at_ms: i64 },
    /// A group was created or changed.
    Group { created: bool, view: GroupView },
    /// Deliveries.
    Leased(Vec<Grant>),
    /// For each: Ok(0), Ok(term in ms) when extended, or why not.
    Settled(Vec<crate::model::Result<u64>>),
    /// A group was moved.
    Seek { skipped: u64, again: u64 },
    /// A method was created or changed.
    Method { created: bool, view: MethodView },
    /// A job, as it is now.
    Job(Box<JobView>),
    /// How long the lease lasts from now, and whether the worker should stop.
    Term { lease_ms: u64, cancel_requested: bool },
}

/// The answer to a commit.
#[derive(Clone, Debug)]
pub struct Answer {
    /// One for each operation.
    pub replies: Vec<Reply>,
    /// Whether it is what an earlier commit with the same idempotency key did. Then the replies are only those that are kept: `Appended` for
    /// appends, `Job` (as it is now) for submissions, in their order.
    pub replayed: bool,
}

/// What a frame changed, for those outside who wait for it.
#[derive(Debug, Default)]
pub struct Effects {
    /// Batches that got their place, in order, base offset set. Also those of built-in and of memory topics.
    pub appended: Vec<Appended>,
    /// Groups that may have something to lease now.
    pub ready: Vec<GroupId>,
    /// Groups with messages that wait for `Op::DeadLetter`.
    pub dying: Vec<GroupId>,
    /// Jobs that changed.
    pub jobs: Vec<JobId>,
    /// Topics that were created or whose policy changed.
    pub declared: Vec<TopicId>,
    /// Topics that are gone.
    pub deleted: Vec<TopicId>,
    /// Partitions whose first kept offset moved.
    pub trimmed: Vec<(PartId, u64)>,
}

/// A batch that got its place.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Where.
    pub part: PartId,
    /// The first offset.
    pub base: u64,
    /// How many messages.
    pub count: u32,
    /// The newest message's time.
    pub max_time_ms: i64,
    /// Whether it is kept in memory only.
    pub memory: bool,
    /// The batch.
    pub bytes: Bytes,
}

/// Changes for the journal, and what follows from them. Reused from frame to frame.
#[derive(Debug, Default)]
pub struct Frame {
    /// The encoded changes; empty when nothing has to be journalled.
    pub bytes: Vec<u8>,
    /// What follows.
    pub effects: Effects,
}

/// A message that waits for [`Op::DeadLetter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dying {
    /// The group.
    pub group: GroupId,
    /// Its name.
    pub group_name: String,
    /// The topic's name.
    pub topic_name: String,
    /// Where the message is.
    pub position: Position,
    /// How often it was delivered.
    pub attempts: u32,
    /// `attempts`, `rejected` or `expired`.
    pub reason: &'static str,
    /// The dead-letter topic's name.
    pub target: Option<String>,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only these.
    pub state: Option<State>,
    /// Only of this method.
    pub method: Option<String>,
    /// Older than this one.
    pub after: Option<JobId>,
    /// At most so many.
    pub limit: usize,
}

/// Totals, each kept as a counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Topics.
    pub topics: u64,
    /// Groups.
    pub groups: u64,
    /// Jobs by state, in the order of [`State::ALL`].
    pub jobs: [u64; State::ALL.len()],
    /// Idempotency keys remembered.
    pub dedup: u64,
}
