//! The state machine: all state that the rules know, and the dispatch of operations.
//!
//! An operation is checked against the state, then turned into changes; each change is put into the frame and applied at once by the
//! only code that alters state (`apply.rs`), which replay uses too. A commit of several operations is undone as a whole when one is
//! refused (`undo.rs`).

use crate::dedup::Dedups;
use crate::frame::{self, Change, Given};
use crate::groups::Options;
use crate::jobs::{Failure, MethodPolicy, State};
use crate::model::{Error, GroupId, JobId, Kind, PartId, Pattern, Result, TopicId};
use crate::ops::{Answer, Commit, Counts, Dedup, Effects, Frame, Now, Op, Reply};
use crate::queue::{GroupPart, KeyLog};
use crate::topics::Policy;
use crate::undo::Undo;
use crate::wire::wire;
use bytes::Bytes;
use foldhash::fast::FixedState;
use sb_wirekit::{Reader, put_zigzag};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// A map whose order is nowhere observable.
pub(crate) type Map<K, V> = HashMap<K, V, FixedState>;

/// What of a topic changes seldom.
#[derive(Clone, Debug)]
pub(crate) struct TopicCold {
    pub id: TopicId,
    pub name: Arc<str>,
    pub policy: Policy,
    pub created_ms: i64,
    pub version: u64,
}
wire!(TopicCold { id, name, policy, created_ms, version });

/// A topic.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub cold: Arc<TopicCold>,
    /// Indexes into `Core::parts`.
    pub parts: SmallVec<[u32; 2]>,
    pub groups: BTreeMap<Arc<str>, GroupId>,
    /// When retention is looked at next; derived.
    pub armed: i64,
}

/// A point in a partition up to which the bytes are known, for retention.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Mark {
    pub end: u64,
    /// Bytes appended up to here since the partition exists.
    pub bytes: u64,
    pub time_ms: i64,
}
wire!(Mark { end, bytes, time_ms });

/// Times of messages that are not delivered at all times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub due: BTreeMap<u64, i64>,
    pub expires: BTreeMap<u64, i64>,
    /// The size at which passed times are swept out.
    pub sweep_at: u64,
}
wire!(Extra { due, expires, sweep_at });

/// The numbers of a partition that every append changes.
#[derive(Copy, Clone, Debug)]
pub(crate) struct PartNumbers {
    pub id: PartId,
    pub start: u64,
    pub end: u64,
    /// Bytes appended since the partition exists, and those of them that were removed.
    pub total: u64,
    pub trimmed: u64,
    /// Bytes up to the last mark, and the times of the first and last append behind it.
    pub open: u64,
    pub first_ms: i64,
    pub last_ms: i64,
    /// The first offset whose key hash is kept, if any is.
    pub keys_from: Option<u64>,
}
wire!(PartNumbers { id, start, end, total, trimmed, open, first_ms, last_ms, keys_from });

/// A partition.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub n: PartNumbers,
    pub marks: Option<Arc<VecDeque<Mark>>>,
    pub extra: Option<Arc<Extra>>,
    pub keys: Option<Box<KeyLog>>,
    /// Which of the parts changed since the last checkpoint, see `checkpoint.rs`.
    pub dirty: u8,
    pub dirty_keys: Vec<u64>,
}

/// What of a group changes seldom.
#[derive(Clone, Debug)]
pub(crate) struct GroupCold {
    pub id: GroupId,
    pub topic: TopicId,
    pub name: Arc<str>,
    pub options: Options,
}
wire!(GroupCold { id, topic, name, options });

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub cold: Arc<GroupCold>,
    pub topic_name: Arc<str>,
    pub parts: SmallVec<[GroupPart; 1]>,
    /// Indexes into `Core::parts`.
    pub index: SmallVec<[u32; 2]>,
    pub leased: usize,
    /// Whether the topic keeps messages until they are consumed.
    pub consumed: bool,
    /// The partition that is asked first next time.
    pub rotor: usize,
    /// Lease deadlines, delayed messages, expiring messages, by time. Entries may be out of date.
    pub deadlines: BTreeSet<(u64, u32, u64)>,
    pub due: BTreeSet<(i64, u32, u64)>,
    pub expiring: BTreeSet<(i64, u32, u64)>,
    /// The times at which the core's timers look at it.
    pub armed: u64,
    pub armed_wall: i64,
}

/// A job.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub id: JobId,
    pub method: Arc<str>,
    pub state: State,
    pub tried: u32,
    pub created_ms: i64,
    pub started_ms: Option<i64>,
    pub finished_ms: Option<i64>,
    pub deadline_ms: i64,
    pub keep_ms: u64,
    pub attempts: u32,
    pub backoff_ms: u64,
    pub progress: Option<Bytes>,
    pub worker: Arc<str>,
    pub cancel_requested: bool,
    pub rerun_of: Option<JobId>,
    pub error: Option<Failure>,
    /// Offsets in [`TopicId::JOBS`].
    pub events: Vec<u64>,
    pub outcome: Option<u64>,
    pub part: PartId,
    pub offset: u64,
    pub principal: Arc<str>,
    pub callback: Option<String>,
}
wire!(Job {
    id,
    method,
    state,
    tried,
    created_ms,
    started_ms,
    finished_ms,
    deadline_ms,
    keep_ms,
    attempts,
    backoff_ms,
    progress,
    worker,
    cancel_requested,
    rerun_of,
    error,
    events,
    outcome,
    part,
    offset,
    principal,
    callback,
});

/// A job and whether a checkpoint has to write it.
#[derive(Clone, Debug)]
pub(crate) struct JobSlot {
    pub job: Arc<Job>,
    pub dirty: bool,
}

/// What the wall clock wakes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wake {
    Group(GroupId),
    Topic(TopicId),
    Job(JobId),
    Dedup,
}

/// Numbers that are given once.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Next {
    pub topic: u32,
    pub group: u32,
    pub lease: u64,
    pub epoch: u64,
}
wire!(Next { topic, group, lease, epoch });

/// The same for what lives in memory.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct NextMemory {
    pub topic: u32,
    pub group: u32,
    pub lease: u64,
}

/// All state that the rules know.
pub struct Core {
    pub(crate) topics: Map<TopicId, Topic>,
    pub(crate) parts: Vec<Part>,
    pub(crate) free: Vec<u32>,
    pub(crate) names: BTreeMap<Arc<str>, TopicId>,
    /// Claims by their first segment, "" for those that begin with a wildcard.
    pub(crate) claims: BTreeMap<String, Vec<(Pattern, TopicId)>>,
    pub(crate) groups: Map<GroupId, Group>,
    pub(crate) group_names: BTreeMap<(Arc<str>, Arc<str>), GroupId>,
    pub(crate) methods: BTreeMap<Arc<str>, MethodPolicy>,
    /// The group of the workers of each topic that serves a method.
    pub(crate) served: BTreeMap<TopicId, GroupId>,
    pub(crate) jobs: BTreeMap<JobId, JobSlot>,
    /// The jobs that are not finished, by the place of their input.
    pub(crate) job_at: Map<(PartId, u64), JobId>,
    pub(crate) by_state: [BTreeSet<JobId>; State::ALL.len()],
    pub(crate) first_events: BTreeSet<u64>,
    pub(crate) dedup: Dedups,
    pub(crate) next: Next,
    pub(crate) next_memory: NextMemory,
    /// How long lease deadlines have stood still altogether.
    pub(crate) paused: u64,
    pub(crate) mono: BTreeSet<(u64, GroupId)>,
    pub(crate) wall: BTreeSet<(i64, Wake)>,
    pub(crate) dirty: crate::checkpoint::Dirty,
    pub(crate) undo: Option<Box<Undo>>,
    pub(crate) nobody: Arc<str>,
}

impl Default for Core {
    fn default() -> Self {
        Core::new()
    }
}

/// A section of a frame in the making.
pub(crate) struct Section<'a> {
    pub now: Now,
    pub out: &'a mut Frame,
    start: FrameMark,
    body: usize,
}

/// How long a frame's lists were.
struct FrameMark([usize; 8]);

impl FrameMark {
    fn of(f: &Frame) -> Self {
        let e = &f.effects;
        FrameMark([
            f.bytes.len(),
            e.appended.len(),
            e.ready.len(),
            e.dying.len(),
            e.jobs.len(),
            e.declared.len(),
            e.deleted.len(),
            e.trimmed.len(),
        ])
    }

    fn restore(&self, f: &mut Frame) {
        let [bytes, appended, ready, dying, jobs, declared, deleted, trimmed] = self.0;
        let e = &mut f.effects;
        f.bytes.truncate(bytes);
        e.appended.truncate(appended);
        e.ready.truncate(ready);
        e.dying.truncate(dying);
        e.jobs.truncate(jobs);
        e.declared.truncate(declared);
        e.deleted.truncate(deleted);
        e.trimmed.truncate(trimmed);
    }
}

impl<'a> Section<'a> {
    pub fn begin(now: Now, out: &'a mut Frame) -> Self {
        let start = FrameMark::of(out);
        out.bytes.push(frame::VERSION);
        put_zigzag(&mut out.bytes, now.wall_ms);
        let body = out.bytes.len();
        Section { now, out, start, body }
    }

    /// Ends the section; one without changes is taken back.
    pub fn end(self) {
        if self.out.bytes.len() == self.body {
            self.out.bytes.truncate(self.start.0[0]);
        } else {
            self.out.bytes.push(frame::END);
        }
    }

    fn take_back(self) {
        self.start.restore(self.out);
    }
}

impl Core {
    /// An empty one.
    pub fn new() -> Core {
        let mut core = Core {
            topics: Map::default(),
            parts: Vec::new(),
            free: Vec::new(),
            names: BTreeMap::new(),
            claims: BTreeMap::new(),
            groups: Map::default(),
            group_names: BTreeMap::new(),
            methods: BTreeMap::new(),
            served: BTreeMap::new(),
            jobs: BTreeMap::new(),
            job_at: Map::default(),
            by_state: Default::default(),
            first_events: BTreeSet::new(),
            dedup: Dedups::default(),
            next: Next { topic: 1, group: 1, lease: 1, epoch: 0 },
            next_memory: NextMemory::default(),
            paused: 0,
            mono: BTreeSet::new(),
            wall: BTreeSet::new(),
            dirty: Default::default(),
            undo: None,
            nobody: Arc::from(""),
        };
        core.add_jobs_topic();
        core
    }

    /// Applies a frame that is in the log (recovery, replicas).
    pub fn apply(&mut self, frame: &[u8], now: Now) -> std::result::Result<Effects, String> {
        let mut effects = Effects::default();
        let mut r = Reader::new(frame);
        while let Some(wall_ms) = frame::section(&mut r)? {
            let now = Now { wall_ms, mono_ms: now.mono_ms };
            while let Some(change) = frame::change(&mut r)? {
                self.apply_change(change, now, &mut effects)?;
            }
        }
        Ok(effects)
    }

    /// Starts serving: a new epoch; every lease is armed anew in full.
    pub fn boot(&mut self, now: Now, out: &mut Frame) {
        let mut section = Section::begin(now, out);
        let done = self.emit(&mut section, Change::Boot {});
        debug_assert!(done.is_ok());
        section.end();
    }

    /// Checks and applies a commit and adds its changes to the frame. When it is refused, nothing was changed.
    pub fn commit(&mut self, now: Now, commit: Commit, out: &mut Frame) -> Result<Answer> {
        let key = match &commit.dedup {
            None => None,
            Some(dedup) => match self.look_up(now, dedup)? {
                Ok(answer) => return Ok(answer),
                Err(key) => Some(key),
            },
        };
        // Appends and settlements are refused for reasons that do not change within the commit, so a look ahead is enough.
        let plain = commit.ops.len() == 1 && !matches!(commit.ops[0], Op::DeclareMethod { .. })
            || commit.ops.iter().all(|op| matches!(op, Op::Append { .. } | Op::Settle { .. }));
        if plain {
            for op in &commit.ops {
                if let Op::Append { topic, partition, batch } = op {
                    self.check_append(*topic, *partition, batch)?;
                }
            }
        } else {
            self.undo = Some(Undo::begin(self));
        }
        let mut section = Section::begin(now, out);
        let mut replies = Vec::with_capacity(commit.ops.len());
        let run = || -> Result<()> {
            for op in commit.ops {
                replies.push(self.run(&mut section, op)?);
            }
            if let (Some(key), Some(dedup)) = (key, commit.dedup) {
                self.remember(&mut section, key, &dedup, &replies)?;
            }
            Ok(())
        };
        let result = run();
        match (result, self.undo.take()) {
            (Ok(()), undo) => {
                if let Some(undo) = undo {
                    undo.finish(self);
                }
                section.end();
                Ok(Answer { replies, replayed: false })
            }
            (Err(error), Some(undo)) => {
                undo.roll_back(self);
                section.take_back();
                Err(error)
            }
            (Err(error), None) => {
                section.end();
                Err(error)
            }
        }
    }

    fn run(&mut self, s: &mut Section<'_>, op: Op) -> Result<Reply> {
        match op {
            Op::DeclareTopic { name, policy, condition } => self.declare_topic(s, name, policy, condition),
            Op::DeleteTopic { name } => self.delete_topic(s, &name),
            Op::Append { topic, partition, batch } => {
                self.check_append(topic, partition, &batch)?;
                self.append(s, PartId { topic, partition }, batch)
            }
            Op::DeclareGroup { topic, group, options, start, condition, keys } => {
                self.declare_group(s, &topic, &group, options, &start, condition, keys)
            }
            Op::DeleteGroup { topic, group } => self.delete_group(s, &topic, &group),
            Op::Lease { group, max, lease_ms, consumer } => self.lease(s, group, max, lease_ms, consumer),
            Op::Settle { settles } => {
                let done = settles.into_iter().map(|(delivery, how)| self.settle(s, delivery, how)).collect();
                Ok(Reply::Settled(done))
            }
            Op::DeadLetter { group, partition, offset, target } => {
                self.dead_letter(s, group, partition, offset, target)
            }
            Op::Seek { group, to, dry_run } => self.seek(s, group, &to, dry_run),
            Op::CommitCursor { group, positions } => self.commit_cursor(s, group, &positions),
            Op::DeclareMethod { name, policy } => self.declare_method(s, &name, policy),
            Op::DeleteMethod { name } => self.delete_method(s, &name),
            Op::Submit { id, method, partition, batch, timeout_ms, principal, rerun_of, callback } => {
                let who = crate::methods::Submission {
                    id,
                    method,
                    partition,
                    timeout_ms,
                    principal,
                    rerun_of,
                    callback,
                };
                self.submit(s, who, batch)
            }
            Op::Report { job, lease, event, progress, lease_ms } => {
                self.report(s, job, lease, event, progress, lease_ms)
            }
            Op::Complete { job, lease, event } => self.complete(s, job, lease, event),
            Op::Fail { job, lease, failure, delay_ms, event } => {
                self.fail(s, job, lease, failure, delay_ms, event)
            }
            Op::Cancel { job } => self.cancel(s, job),
        }
    }

    /// Puts a change into the frame and applies it.
    pub(crate) fn emit(&mut self, s: &mut Section<'_>, change: Change) -> Result<()> {
        if !change.memory() {
            crate::wire::Wire::put(&change, &mut s.out.bytes);
        }
        self.apply_change(change, s.now, &mut s.out.effects).map_err(|bad| {
            debug_assert!(false, "{}", bad.0);
            Error::internal(bad.0)
        })
    }

    /// The monotonic clock without the pauses.
    pub(crate) fn clock(&self, now: Now) -> u64 {
        now.mono_ms.saturating_sub(self.paused)
    }

    /// Ok: the answer of the first time. Err: the key under which to remember this one.
    fn look_up(&self, now: Now, dedup: &Dedup) -> Result<std::result::Result<Answer, Arc<str>>> {
        if dedup.scope.len() > 512 || dedup.key.len() > 255 || dedup.key.is_empty() {
            return Err(Error::invalid("an idempotency key has 1 to 255 bytes, its scope at most 512"));
        }
        let key = crate::dedup::join(&dedup.scope, &dedup.key);
        let Some(known) = self.dedup.get(&key, now.wall_ms) else {
            self.dedup.check_quota(dedup)?;
            return Ok(Err(key));
        };
        if known.fingerprint != dedup.fingerprint {
            return Err(Error::new(
                Kind::Mismatch,
                "SB0306",
                "the idempotency key was used for another request before",
            )
            .fix("Use a new key for a new request"));
        }
        let replies = known
            .given
            .iter()
            .filter_map(|given| match given {
                Given::Appended { part, base, count, at_ms } => {
                    Some(Reply::Appended { part: *part, base: *base, count: *count, at_ms: *at_ms })
                }
                Given::Job { id } => self.job(*id).map(|view| Reply::Job(Box::new(view))),
            })
            .collect();
        Ok(Ok(Answer { replies, replayed: true }))
    }

    fn remember(
        &mut self,
        s: &mut Section<'_>,
        key: Arc<str>,
        dedup: &Dedup,
        replies: &[Reply],
    ) -> Result<()> {
        let given: Vec<Given> = replies
            .iter()
            .filter_map(|reply| match reply {
                Reply::Appended { part, base, count, at_ms } => {
                    Some(Given::Appended { part: *part, base: *base, count: *count, at_ms: *at_ms })
                }
                Reply::Job(view) => Some(Given::Job { id: view.id }),
                _ => None,
            })
            .collect();
        let in_memory =
            |g: &Given| matches!(g, Given::Appended { part, .. } if frame::memory_topic(part.topic));
        let memory = !given.is_empty() && given.iter().all(in_memory);
        let window = i64::try_from(dedup.window_ms).unwrap_or(i64::MAX);
        let until = s.now.wall_ms.saturating_add(window);
        self.emit(s, Change::Dedup { key, fingerprint: dedup.fingerprint, until, given, memory })
    }

    /// Totals.
    pub fn counts(&self) -> Counts {
        Counts {
            topics: self.names.len() as u64,
            groups: self.groups.len() as u64,
            jobs: State::ALL.map(|state| self.by_state[state as usize].len() as u64),
            dedup: self.dedup.len() as u64,
        }
    }

    /// Counts starts.
    pub fn epoch(&self) -> u64 {
        self.next.epoch
    }

    /// A partition.
    pub(crate) fn part(&self, id: PartId) -> Option<&Part> {
        let index = *self.topics.get(&id.topic)?.parts.get(id.partition as usize)?;
        self.parts.get(index as usize)
    }
}
