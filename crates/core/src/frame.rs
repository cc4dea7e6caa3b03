//! Changes: what an operation turned out to do, in a form that needs no further decision. A frame is a row of sections, one for each
//! commit or tick: the version, the wall-clock time, changes, an end mark. Replay reads the changes and applies them by the code that
//! applied them first.

use crate::groups::{Mode, Options};
use crate::jobs::{Failure, MethodPolicy, State};
use crate::model::{GroupId, JobId, PartId, TopicId};
use crate::queue::{How, Reason};
use crate::topics::Policy;
use crate::wire::{Bad, Decode, Wire, wire, wire_enum};
use bytes::Bytes;
use sb_wirekit::Reader;
use smallvec::SmallVec;
use std::sync::Arc;

/// The version of sections.
pub(crate) const VERSION: u8 = 1;
/// Ends a section.
pub(crate) const END: u8 = 0;

/// Pairs of partition and offset; most changes have one.
pub(crate) type Places = SmallVec<[(u32, u64); 2]>;

/// What an idempotency key's first use gave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    Appended { part: PartId, base: u64, count: u32, at_ms: i64 },
    Job { id: JobId },
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A topic is created, or its policy replaced.
    Topic {
        id: TopicId,
        name: Arc<str>,
        policy: Policy,
    },
    TopicGone {
        id: TopicId,
    },
    Append {
        part: PartId,
        batch: Bytes,
        due: Vec<(u32, i64)>,
        expires: Vec<(u32, i64)>,
    },
    /// A group is created at these offsets.
    Group {
        id: GroupId,
        topic: TopicId,
        name: Arc<str>,
        options: Options,
        at: Vec<u64>,
        keys: Vec<(u32, u64, Vec<u64>)>,
    },
    Options {
        id: GroupId,
        options: Options,
    },
    GroupGone {
        id: GroupId,
    },
    /// Leases with consecutive numbers. `parks` of a key-ordered group: a place before `next` is taken out of the ready ones, one
    /// behind it moves `next` behind it.
    Lease {
        group: GroupId,
        consumer: Arc<str>,
        lease_ms: u64,
        first: u64,
        grants: Places,
        parks: Places,
    },
    /// The group is done with a message, wherever it was.
    Done {
        group: GroupId,
        partition: u32,
        offset: u64,
        how: How,
    },
    /// A lease ended; the message waits until `due`, or is ready.
    Return {
        group: GroupId,
        partition: u32,
        offset: u64,
        due: Option<i64>,
    },
    /// A lease ended unseen: the message is ready, and the attempt does not count.
    Unseen {
        group: GroupId,
        partition: u32,
        offset: u64,
    },
    Extend {
        group: GroupId,
        partition: u32,
        offset: u64,
        lease_ms: u64,
    },
    Dying {
        group: GroupId,
        partition: u32,
        offset: u64,
        reason: Reason,
    },
    /// A delayed message is due.
    Due {
        group: GroupId,
        partition: u32,
        offset: u64,
    },
    Seek {
        group: GroupId,
        to: Places,
    },
    Cursor {
        group: GroupId,
        to: Places,
    },
    Trim {
        part: PartId,
        start: u64,
    },
    Method {
        name: Arc<str>,
        policy: MethodPolicy,
    },
    MethodGone {
        name: Arc<str>,
    },
    /// A job whose input is there already.
    Job {
        job: Box<NewJob>,
    },
    /// An event is appended and entered in the job's list. `outcome`: it holds the result or the final error.
    Event {
        job: JobId,
        batch: Bytes,
        outcome: bool,
    },
    /// A worker took it.
    JobRun {
        job: JobId,
        attempt: u32,
        worker: Arc<str>,
    },
    /// It goes to another state that is not `running`.
    JobState {
        job: JobId,
        state: State,
        error: Option<Failure>,
    },
    JobProgress {
        job: JobId,
        progress: Bytes,
    },
    JobCancel {
        job: JobId,
    },
    JobGone {
        job: JobId,
    },
    Dedup {
        key: Arc<str>,
        fingerprint: u128,
        until: i64,
        given: Vec<Given>,
        memory: bool,
    },
    DedupGone {
        bucket: u64,
    },
    Boot {},
}

/// A job as it is submitted.
#[derive(Clone, Debug)]
pub(crate) struct NewJob {
    pub id: JobId,
    pub method: Arc<str>,
    pub part: PartId,
    pub offset: u64,
    pub deadline_ms: i64,
    pub keep_ms: u64,
    pub attempts: u32,
    pub backoff_ms: u64,
    pub principal: Arc<str>,
    pub rerun_of: Option<JobId>,
    pub callback: Option<String>,
}

wire!(NewJob {
    id,
    method,
    part,
    offset,
    deadline_ms,
    keep_ms,
    attempts,
    backoff_ms,
    principal,
    rerun_of,
    callback
});
wire!(Policy { partitions, keep_age_ms, keep_bytes, keep_until_consumed, max_message, memory, claims });
wire!(Options { mode, lease_ms, attempts, dead_letter, backoff_ms, key_order });
wire!(MethodPolicy { topic, attempts, lease_ms, timeout_ms, keep_ms, backoff_ms });
wire!(Failure { code, message, retryable });
wire_enum!(Mode { 0 Queue {}, 1 Cursor {} });
wire_enum!(How { 0 Acked {}, 1 Dead {}, 2 Expired {} });
wire_enum!(Reason { 0 Attempts {}, 1 Rejected {}, 2 Expired {} });
wire_enum!(State { 0 Queued {}, 1 Running {}, 2 Succeeded {}, 3 Failed {}, 4 Cancelled {}, 5 Expired {} });
wire_enum!(Given { 0 Appended { part, base, count, at_ms }, 1 Job { id } });
wire_enum!(Change {
    1 Topic { id, name, policy },
    2 TopicGone { id },
    3 Append { part, batch, due, expires },
    4 Group { id, topic, name, options, at, keys },
    5 Options { id, options },
    6 GroupGone { id },
    7 Lease { group, consumer, lease_ms, first, grants, parks },
    8 Done { group, partition, offset, how },
    9 Return { group, partition, offset, due },
    10 Extend { group, partition, offset, lease_ms },
    11 Dying { group, partition, offset, reason },
    12 Due { group, partition, offset },
    13 Seek { group, to },
    14 Cursor { group, to },
    15 Trim { part, start },
    16 Method { name, policy },
    17 MethodGone { name },
    18 Job { job },
    19 Event { job, batch, outcome },
    20 JobRun { job, attempt, worker },
    21 JobState { job, state, error },
    22 JobProgress { job, progress },
    23 JobCancel { job },
    24 JobGone { job },
    25 Dedup { key, fingerprint, until, given, memory },
    26 DedupGone { bucket },
    27 Boot {},
    28 Unseen { group, partition, offset },
});

impl Wire for Box<NewJob> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok(Box::new(NewJob::get(r)?))
    }
}

/// Whether a topic lives in memory only.
pub(crate) fn memory_topic(id: TopicId) -> bool {
    id.0 >= MEMORY && id != TopicId::JOBS
}

/// Whether a group belongs to a topic that lives in memory only.
pub(crate) fn memory_group(id: GroupId) -> bool {
    id.0 >= MEMORY
}

/// Ids from here on are those of memory topics and of their groups.
pub(crate) const MEMORY: u32 = 0x8000_0000;

impl Change {
    /// Whether it concerns only what lives in memory, so that it is not journalled.
    pub fn memory(&self) -> bool {
        match self {
            Change::Topic { id, .. } | Change::TopicGone { id } => memory_topic(*id),
            Change::Append { part, .. } | Change::Trim { part, .. } => memory_topic(part.topic),
            Change::Group { id, .. } | Change::Options { id, .. } | Change::GroupGone { id } => {
                memory_group(*id)
            }
            Change::Lease { group, .. }
            | Change::Done { group, .. }
            | Change::Return { group, .. }
            | Change::Unseen { group, .. }
            | Change::Extend { group, .. }
            | Change::Dying { group, .. }
            | Change::Due { group, .. }
            | Change::Seek { group, .. }
            | Change::Cursor { group, .. } => memory_group(*group),
            Change::Dedup { memory, .. } => *memory,
            _ => false,
        }
    }
}

/// The next section's time, or `None` at the end of the frame.
pub(crate) fn section(r: &mut Reader<'_>) -> Decode<Option<i64>> {
    if r.is_empty() {
        return Ok(None);
    }
    if r.u8()? != VERSION {
        return Err(Bad("unknown version of a frame's section"));
    }
    Ok(Some(r.zigzag()?))
}

/// The next change of the section, or `None` at its end.
pub(crate) fn change(r: &mut Reader<'_>) -> Decode<Option<Change>> {
    let mut ahead = *r;
    if ahead.u8()? == END {
        *r = ahead;
        return Ok(None);
    }
    let change = Change::get(r)?;
    if change.memory() { Err(Bad("a memory topic in a frame")) } else { Ok(Some(change)) }
}
