//! What was asked, what was promised, and what was seen: everything a checker may hold against the system. Nothing here looks into the
//! system; it learns only what a client, a reader or an operator would.

use crate::rng::Trace;
use sb_core::groups::Options;
use sb_core::jobs::State;
use sb_core::model::{GroupId, JobId, Kind, Message, PartId, TopicId, Value};
use sb_core::ops::{Answer, Delivery, Grant, Now, Reply, Settle};
use std::collections::{BTreeMap, BTreeSet};

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// At which step of the run.
    pub step: u64,
    /// What was seen.
    pub detail: String,
}

/// What is known of a message that somebody published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its commit has no answer yet.
    Waiting,
    /// Promised, at this offset.
    Acked(u64),
    /// Refused: it must never be seen.
    Refused,
    /// The server died before it answered.
    Unknown,
    /// It was in memory only, and that is gone.
    Lost,
}

/// A message that somebody published.
#[derive(Clone, Debug)]
pub struct Pub {
    /// The commit that carried it first.
    pub commit: u64,
    /// Who.
    pub producer: u32,
    /// Where to.
    pub part: PartId,
    /// What.
    pub message: Message,
    /// What came of it.
    pub fate: Fate,
    /// Whether it was sent again, so that its place says nothing about its order.
    pub retried: bool,
}

/// A lease as its holder knows it.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its number.
    pub number: u64,
    /// Until when on the monotonic clock, at least.
    pub until: u64,
    /// Its length.
    pub lease_ms: u64,
    /// Whether the holder has reason to think that it holds.
    pub sure: bool,
}

/// A message as its group's consumers know it.
#[derive(Clone, Debug, Default)]
pub struct Msg {
    /// Acknowledged, and the acknowledgement was answered.
    pub done: bool,
    /// Something else may have ended it.
    pub maybe: bool,
    /// The newest lease.
    pub held: Option<Held>,
    /// The newest lease's number, also when it has ended.
    pub last: u64,
    /// The newest attempt.
    pub attempt: u32,
}

/// A group as its consumers know it.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its topic.
    pub topic: TopicId,
    /// The topic's name.
    pub topic_name: String,
    /// Its name.
    pub name: String,
    /// Its options.
    pub options: Options,
    /// The sum of the offsets it began at; `None` when that is not known any more.
    pub origin: Option<u64>,
    /// Where it began.
    pub starts: Vec<u64>,
    /// What is known of its messages.
    pub messages: BTreeMap<(u32, u64), Msg>,
    /// Acknowledgements that were answered.
    pub acked: u64,
    /// Those that were not.
    pub acked_maybe: u64,
    /// Dead messages that were dropped.
    pub dropped: u64,
    /// Whether it was moved.
    pub moved: bool,
    /// In mode cursor: the positions each partition may be at.
    pub cursor: BTreeMap<u32, BTreeSet<u64>>,
    /// Whether its topic is in memory.
    pub memory: bool,
    /// Whether it hands out jobs.
    pub works: bool,
}

/// A repetition that must be recognised.
#[derive(Clone, Debug)]
pub struct Keyed {
    /// The key.
    pub key: String,
    /// The messages of each append.
    pub appends: Vec<Vec<u64>>,
    /// What was answered the first time.
    pub first: Option<Vec<(PartId, u64)>>,
}

/// A job as its caller knows it.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Its submission was answered.
    pub acked: bool,
    /// It ended, as was told.
    pub ended: Option<State>,
    /// The result whose writing was answered.
    pub result: Option<Vec<u8>>,
    /// Results that may have been written.
    pub maybe: Vec<Vec<u8>>,
    /// What was said with failures whose writing was answered.
    pub failures: Vec<Vec<u8>>,
    /// What was said with failures that may have been written.
    pub maybe_failures: Vec<Vec<u8>>,
    /// The lease of its worker.
    pub held: Option<Delivery>,
    /// Offsets of its events, as they were seen.
    pub events: Vec<u64>,
}

/// What was asked in a commit.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Appends, in order, perhaps with an idempotency key.
    Publish {
        /// The messages of each append.
        appends: Vec<Vec<u64>>,
        /// The commit in [`History::keyed`].
        key: Option<usize>,
    },
    /// Settlements, and then appends.
    Settle {
        /// What ends, and how.
        settles: Vec<(Delivery, Settle)>,
        /// The messages of each append.
        appends: Vec<Vec<u64>>,
    },
    /// Deliveries.
    Lease,
    /// A move of a group.
    Seek {
        /// The group.
        group: GroupId,
    },
    /// A position.
    Cursor {
        /// The group.
        group: GroupId,
        /// Partitions and offsets.
        positions: Vec<(u32, u64)>,
    },
    /// The end of a dead message.
    Bury {
        /// The group.
        group: GroupId,
        /// The partition.
        partition: u32,
        /// The offset.
        offset: u64,
        /// Whether it was copied to a dead-letter topic.
        copied: bool,
    },
    /// The end of a topic.
    DeleteTopic {
        /// The topic, or the message.
        id: TopicId,
    },
    /// A job.
    Submit {
        /// The job.
        job: JobId,
        /// The topic, or the message.
        id: u64,
    },
    /// A sign of life.
    Report,
    /// A result.
    Complete {
        /// The job.
        job: JobId,
        /// The lease.
        lease: u64,
        /// The result.
        body: Vec<u8>,
    },
    /// A failure.
    Fail {
        /// The job.
        job: JobId,
        /// The lease.
        lease: u64,
        /// What is said with it.
        status: Vec<u8>,
    },
    /// A request to stop.
    Cancel {
        /// The job.
        job: JobId,
    },
    /// Something whose answer is used elsewhere.
    Declare,
}

/// Everything that is held against the system.
#[derive(Default)]
pub struct History {
    /// The step that is being done.
    pub step: u64,
    /// What was found.
    pub violations: Vec<Violation>,
    /// Messages by the number in their body.
    pub pubs: BTreeMap<u64, Pub>,
    /// Digests of everything that was ever seen at a position.
    pub log: BTreeMap<PartId, BTreeMap<u64, u64>>,
    /// Where each message was seen.
    pub placed: BTreeMap<u64, (PartId, u64)>,
    /// The message that belongs at a position, as its acknowledgement or a reader told.
    pub places: BTreeMap<(PartId, u64), u64>,
    /// Where the copy of a dead message was seen, by topic, group and message.
    pub copies: BTreeMap<(String, String, u64), (PartId, u64)>,
    /// How many copies there are by topic and group: dead, expired.
    pub copied: BTreeMap<(String, String), (u64, u64)>,
    /// Groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// Lease numbers that were handed out.
    pub numbers: BTreeSet<u64>,
    /// Commits with idempotency keys.
    pub keyed: Vec<Keyed>,
    /// Jobs.
    pub jobs: BTreeMap<JobId, Job>,
    /// Topics that were deleted, or perhaps.
    pub gone: BTreeSet<TopicId>,
    /// Topics whose policy removes messages.
    pub retains: BTreeSet<TopicId>,
    /// The newest wall clock time that there was.
    pub max_wall: i64,
    /// Groups whose messages may die more than once: they were moved, or their topic was in memory and began anew.
    pub again: BTreeSet<(String, String)>,
    /// Grants that their consumers hold, oldest first.
    pub handles: Vec<Grant>,
}

/// Whether a topic is in memory only: its ids have the highest bit, like that of the built-in one.
pub fn in_memory(topic: TopicId) -> bool {
    topic != TopicId::JOBS && topic.0 >> 31 == 1
}

/// A digest of everything a message is.
pub fn digest(m: &Message) -> u64 {
    let mut t = Trace(m.time_ms as u64);
    t.bytes(m.address.as_str().as_bytes());
    t.add(m.key.is_some() as u64);
    t.bytes(m.key.as_deref().unwrap_or_default());
    for header in &m.headers {
        t.bytes(header.name.as_bytes());
        match &header.value {
            Value::Text(v) => t.bytes(v.as_bytes()),
            Value::Bytes(v) | Value::Nested(v) => t.bytes(v),
            Value::Int(v) | Value::Time(v) => t.add(*v as u64),
            Value::Float(v) => t.add(v.to_bits()),
            Value::Bool(v) => t.add(u64::from(*v)),
        }
    }
    t.bytes(m.content_type.as_deref().unwrap_or_default().as_bytes());
    t.add(m.due_ms.unwrap_or(-1) as u64);
    t.add(m.expires_ms.unwrap_or(-1) as u64);
    t.bytes(&m.body);
    t.0
}

/// The number in a body.
pub fn number(m: &Message) -> Option<u64> {
    m.body.first_chunk::<8>().map(|b| u64::from_le_bytes(*b))
}

impl History {
    /// Notes a broken promise.
    pub fn violation(&mut self, invariant: &'static str, detail: String) {
        if self.violations.len() < 20 {
            self.violations.push(Violation { invariant, step: self.step, detail });
        }
    }

    fn set_fate(&mut self, id: u64, fate: Fate) {
        if let Some(p) = self.pubs.get_mut(&id) {
            // A repetition that was refused or not answered takes nothing back.
            if matches!(p.fate, Fate::Acked(_)) || (p.fate == Fate::Unknown && fate == Fate::Refused) {
                return;
            }
            p.fate = fate;
        }
    }

    fn appended(&mut self, appends: &[Vec<u64>], replies: &[Reply]) {
        let given = replies.iter().filter_map(|r| match r {
            Reply::Appended { part, base, count, .. } => Some((*part, *base, *count)),
            _ => None,
        });
        let given: Vec<_> = given.collect();
        if given.len() != appends.len() {
            self.violation("I4", format!("{} appends were answered with {given:?}", appends.len()));
            return;
        }
        for (ids, (part, base, count)) in appends.iter().zip(given) {
            for (n, id) in ids.iter().enumerate() {
                let at = base + n as u64;
                let Some(p) = self.pubs.get(id) else { continue };
                if p.part != part || ids.len() != count as usize {
                    let detail =
                        format!("message {id} for {:?} was answered with {part:?}, {count} messages", p.part);
                    self.violation("I1", detail);
                }
                if let Some(p) = self.pubs.get(id)
                    && let Fate::Acked(old) = p.fate
                    && old != at
                {
                    self.violation("I4", format!("message {id} was acknowledged at {old} and again at {at}"));
                }
                if let Some((part, old)) = self.placed.get(id)
                    && *old != at
                {
                    let detail = format!("message {id} was seen at {part:?}/{old} and acknowledged at {at}");
                    self.violation("I1", detail);
                }
                self.set_fate(*id, Fate::Acked(at));
                self.places.insert((part, at), *id);
            }
        }
    }

    /// An answer that a client got.
    pub fn answered(&mut self, asked: &Asked, answer: &sb_core::model::Result<Answer>, now: Now) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.refused(asked, error);
                return;
            }
        };
        match asked {
            Asked::Publish { appends, key } => {
                let replies = &answer.replies;
                if let Some(keyed) = key.and_then(|k| self.keyed.get(k)).cloned() {
                    let got = replies.iter().filter_map(|r| match r {
                        Reply::Appended { part, base, .. } => Some((*part, *base)),
                        _ => None,
                    });
                    let got: Vec<(PartId, u64)> = got.collect();
                    match &keyed.first {
                        Some(first) if *first != got => {
                            let detail = format!("key {} answered {first:?}, and then {got:?}", keyed.key);
                            self.violation("I4", detail);
                        }
                        Some(_) if !answer.replayed => {
                            self.violation("I4", format!("key {} was applied twice", keyed.key));
                        }
                        _ => {}
                    }
                    if let Some(k) = key.and_then(|k| self.keyed.get_mut(k)) {
                        k.first = Some(got);
                    }
                } else if answer.replayed {
                    self.violation("I4", "a commit without a key was answered as a repetition".into());
                }
                self.appended(appends, replies);
            }
            Asked::Settle { settles, appends } => {
                if let Some(Reply::Settled(done)) = answer.replies.first() {
                    for ((delivery, how), done) in settles.iter().zip(done) {
                        self.settled(*delivery, *how, done.is_ok(), now);
                    }
                }
                self.appended(appends, &answer.replies);
            }
            Asked::Lease => {
                if let Some(Reply::Leased(grants)) = answer.replies.first() {
                    for grant in grants {
                        self.granted(grant, now);
                    }
                }
            }
            Asked::Seek { group } => self.moved(*group),
            Asked::Cursor { group, positions } => {
                if let Some(g) = self.groups.get_mut(group) {
                    for (p, o) in positions {
                        g.cursor.insert(*p, BTreeSet::from([*o]));
                    }
                }
            }
            Asked::Bury { group, partition, offset, copied } => {
                if let Some(g) = self.groups.get_mut(group) {
                    g.messages.entry((*partition, *offset)).or_default().maybe = true;
                    g.dropped += u64::from(!copied);
                }
            }
            Asked::DeleteTopic { id } => self.topic_gone(*id),
            Asked::Submit { job, id } => {
                let Some(Reply::Job(view)) = answer.replies.first() else {
                    return self
                        .violation("JOB", format!("a submission was answered with {:?}", answer.replies));
                };
                if view.id != *job {
                    self.violation("JOB", format!("job {job} was answered as {}", view.id));
                }
                self.jobs.entry(*job).or_default().acked = true;
                if let Some(p) = self.pubs.get(id)
                    && p.part != view.input.part
                {
                    self.violation("JOB", format!("the input of {job} is at {:?}", view.input));
                }
                self.set_fate(*id, Fate::Acked(view.input.offset));
                self.job_state(*job, view.state);
            }
            Asked::Report | Asked::Declare => {}
            Asked::Complete { job, lease, body } => {
                let Some(Reply::Job(view)) = answer.replies.first() else { return };
                let state = view.state;
                let j = self.jobs.entry(*job).or_default();
                let held = j.held;
                let twice = j.result.is_some() || j.ended.is_some();
                j.result = Some(body.clone());
                if twice {
                    self.violation("JOB", format!("{job} had ended and took another result"));
                }
                if state != State::Succeeded {
                    self.violation("JOB", format!("{job} took a result and is {}", state.name()));
                }
                if let Some(held) = held
                    && held.lease != *lease
                {
                    self.violation("I6", format!("{job} took the result of an old lease {lease}"));
                }
                self.job_state(*job, state);
                self.job_done(*job);
            }
            Asked::Fail { job, status, .. } => {
                let Some(Reply::Job(view)) = answer.replies.first() else { return };
                let (state, held) = (view.state, self.jobs.get(job).and_then(|j| j.held));
                self.jobs.entry(*job).or_default().failures.push(status.clone());
                self.job_state(*job, state);
                if let Some(held) = held {
                    self.unhold(held);
                }
            }
            Asked::Cancel { job } => {
                let Some(Reply::Job(view)) = answer.replies.first() else { return };
                self.job_state(*job, view.state);
            }
        }
    }

    fn refused(&mut self, asked: &Asked, error: &sb_core::model::Error) {
        if matches!(error.kind, Kind::Internal | Kind::Corrupt) {
            self.violation("ERROR", format!("{asked:?} was answered with {error}"));
        }
        match asked {
            Asked::Publish { appends, key } => {
                if let Some(keyed) = key.and_then(|k| self.keyed.get(k))
                    && keyed.first.is_some()
                    && error.kind != Kind::DiskFull
                {
                    let detail = format!("key {} was answered before and now refused: {error}", keyed.key);
                    self.violation("I4", detail);
                }
                appends.iter().flatten().for_each(|id| self.set_fate(*id, Fate::Refused));
            }
            Asked::Settle { appends, .. } => {
                appends.iter().flatten().for_each(|id| self.set_fate(*id, Fate::Refused));
            }
            Asked::Submit { id, .. } => self.set_fate(*id, Fate::Refused),
            _ => {}
        }
    }

    /// A commit whose answer never came.
    pub fn unknown(&mut self, asked: &Asked, answer: &sb_core::model::Result<Answer>) {
        if answer.is_err() {
            // What the rules had refused was not in the frame.
            match asked {
                Asked::Publish { appends, .. } | Asked::Settle { appends, .. } => {
                    appends.iter().flatten().for_each(|id| self.set_fate(*id, Fate::Refused));
                }
                Asked::Submit { id, .. } => self.set_fate(*id, Fate::Refused),
                _ => {}
            }
            return;
        }
        match asked {
            Asked::Publish { appends, .. } => {
                appends.iter().flatten().for_each(|id| self.set_fate(*id, Fate::Unknown));
            }
            Asked::Settle { settles, appends } => {
                appends.iter().flatten().for_each(|id| self.set_fate(*id, Fate::Unknown));
                let said = answer.iter().flat_map(|answer| &answer.replies).find_map(|reply| match reply {
                    Reply::Settled(said) => Some(said),
                    _ => None,
                });
                for (at, (delivery, how)) in settles.iter().enumerate() {
                    let Some(g) = self.groups.get_mut(&delivery.group) else { continue };
                    let m = g.messages.entry((delivery.partition, delivery.offset)).or_default();
                    let taken = said.and_then(|said| said.get(at)).is_some_and(|result| result.is_ok());
                    if *how == Settle::Ack && taken {
                        // Also under a lease of which nobody here was sure any more.
                        g.acked_maybe += u64::from(!m.done);
                        m.maybe = true;
                    }
                    if m.held.as_ref().is_none_or(|h| h.number != delivery.lease) {
                        continue;
                    }
                    match how {
                        Settle::Extend { lease_ms } => {
                            if let Some(held) = &mut m.held {
                                held.lease_ms = held.lease_ms.min(*lease_ms);
                            }
                        }
                        Settle::Ack => {
                            m.maybe = true;
                            m.held = None;
                        }
                        Settle::Unseen => {
                            m.attempt = m.attempt.saturating_sub(1);
                            m.maybe = true;
                            m.held = None;
                        }
                        Settle::Nack { .. } | Settle::Dead => {
                            m.maybe = true;
                            m.held = None;
                        }
                    }
                }
            }
            Asked::Seek { group } => self.moved(*group),
            Asked::Cursor { group, positions } => {
                if let Some(g) = self.groups.get_mut(group) {
                    for (p, o) in positions {
                        g.cursor.entry(*p).or_insert_with(|| BTreeSet::from([0])).insert(*o);
                    }
                }
            }
            Asked::Bury { group, partition, offset, copied } => {
                if let Some(g) = self.groups.get_mut(group) {
                    g.messages.entry((*partition, *offset)).or_default().maybe = true;
                    if !copied {
                        g.moved = true;
                    }
                }
            }
            Asked::DeleteTopic { id } => {
                self.gone.insert(*id);
                self.groups.retain(|_, g| g.topic != *id);
            }
            Asked::Submit { job, id } => {
                self.set_fate(*id, Fate::Unknown);
                self.jobs.entry(*job).or_default();
            }
            Asked::Complete { job, body, .. } => {
                let held = self.jobs.get(job).and_then(|j| j.held);
                self.jobs.entry(*job).or_default().maybe.push(body.clone());
                if let Some(held) = held {
                    self.unhold(held);
                }
            }
            Asked::Fail { job, status, .. } => {
                self.jobs.entry(*job).or_default().maybe_failures.push(status.clone());
                if let Some(held) = self.jobs.get(job).and_then(|j| j.held) {
                    self.unhold(held);
                }
            }
            Asked::Lease => {
                for reply in answer.iter().flat_map(|a| &a.replies) {
                    let Reply::Leased(grants) = reply else { continue };
                    for d in grants.iter().map(|g| g.delivery) {
                        if let Some(g) = self.groups.get_mut(&d.group) {
                            g.messages.entry((d.partition, d.offset)).or_default().maybe = true;
                        }
                    }
                }
            }
            Asked::Report | Asked::Cancel { .. } | Asked::Declare => {}
        }
    }

    fn unhold(&mut self, d: Delivery) {
        if let Some(m) =
            self.groups.get_mut(&d.group).and_then(|g| g.messages.get_mut(&(d.partition, d.offset)))
        {
            m.held = None;
            m.maybe = true;
        }
    }

    fn job_done(&mut self, job: JobId) {
        if let Some(d) = self.jobs.get_mut(&job).and_then(|j| j.held.take())
            && let Some(g) = self.groups.get_mut(&d.group)
        {
            let m = g.messages.entry((d.partition, d.offset)).or_default();
            m.done = true;
            m.held = None;
        }
    }

    /// A job's state, as it was told.
    pub fn job_state(&mut self, id: JobId, state: State) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        match job.ended {
            Some(old) if old != state => {
                self.violation("JOB", format!("{id} was {} and is {} now", old.name(), state.name()));
            }
            None if state.terminal() => job.ended = Some(state),
            _ => {}
        }
    }

    fn moved(&mut self, group: GroupId) {
        if let Some(g) = self.groups.get_mut(&group) {
            g.messages.clear();
            g.origin = None;
            g.moved = true;
            self.again.insert((g.topic_name.clone(), g.name.clone()));
            g.cursor.clear();
            self.handles.retain(|h| h.delivery.group != group);
        }
    }

    /// A topic is gone.
    pub fn topic_gone(&mut self, id: TopicId) {
        self.gone.insert(id);
        let gone: Vec<GroupId> =
            self.groups.iter().filter(|(_, g)| g.topic == id).map(|(id, _)| *id).collect();
        self.handles.retain(|h| !gone.contains(&h.delivery.group));
        gone.iter().for_each(|g| {
            self.groups.remove(g);
        });
    }

    fn granted(&mut self, grant: &Grant, now: Now) {
        let d = grant.delivery;
        let name = format!("{}/{}/{} lease {}", d.group.0, d.partition, d.offset, d.lease);
        if !self.numbers.insert(d.lease) {
            self.violation("I6", format!("{name}: the lease number was used before"));
        }
        let Some(g) = self.groups.get(&d.group) else { return };
        let part = PartId { topic: g.topic, partition: d.partition };
        let seen = g.messages.get(&(d.partition, d.offset)).cloned().unwrap_or_default();
        if seen.done {
            self.violation("I5", format!("{name}: delivered again after it was acknowledged"));
        }
        if let Some(held) = &seen.held
            && held.sure
            && now.mono_ms < held.until
        {
            let detail = format!(
                "{name}: leased at {} while lease {} holds until {}",
                now.mono_ms, held.number, held.until
            );
            self.violation("I6", detail);
        }
        if grant.attempt <= seen.attempt {
            self.violation("I7", format!("{name}: attempt {} after attempt {}", grant.attempt, seen.attempt));
        }
        let Some(g) = self.groups.get(&d.group) else { return };
        if g.options.attempts > 0 && !g.works && grant.attempt > g.options.attempts {
            let detail = format!("{name}: attempt {} of {}", grant.attempt, g.options.attempts);
            self.violation("I7", detail);
        }
        self.check_times(part, d.offset, &name, now);
        self.check_order(d, part, &name, now);
        let Some(g) = self.groups.get_mut(&d.group) else { return };
        let m = g.messages.entry((d.partition, d.offset)).or_default();
        m.attempt = grant.attempt;
        m.maybe = false;
        m.last = d.lease;
        m.held = Some(Held {
            number: d.lease,
            until: now.mono_ms + grant.lease_ms,
            lease_ms: grant.lease_ms,
            sure: true,
        });
        if let Some(job) = grant.job {
            self.jobs.entry(job).or_default().held = Some(d);
        }
        self.handles.push(grant.clone());
        if self.handles.len() > 200 {
            self.handles.drain(..100);
        }
    }

    /// Not before it is due, not after it has expired.
    fn check_times(&mut self, part: PartId, offset: u64, name: &str, now: Now) {
        let Some(message) = self.at(part, offset) else { return };
        let (due, expires) = (message.due_ms, message.expires_ms);
        if let Some(due) = due
            && due > self.max_wall
        {
            self.violation("TIME", format!("{name}: delivered {} ms early", due - self.max_wall));
        }
        if let Some(expires) = expires
            && expires < now.wall_ms
        {
            self.violation(
                "TIME",
                format!("{name}: delivered {} ms after it expired", now.wall_ms - expires),
            );
        }
    }

    /// The message that was published to a position, if that is known.
    pub fn at(&self, part: PartId, offset: u64) -> Option<&Message> {
        let id = self.by_place(part, offset)?;
        self.pubs.get(&id).map(|p| &p.message)
    }

    fn by_place(&self, part: PartId, offset: u64) -> Option<u64> {
        self.places.get(&(part, offset)).copied()
    }

    /// One outstanding message per key, in order.
    fn check_order(&mut self, d: Delivery, part: PartId, name: &str, now: Now) {
        let Some(g) = self.groups.get(&d.group) else { return };
        if !g.options.key_order || g.moved {
            return;
        }
        let key = |offset: u64| self.at(part, offset).and_then(|m| m.key.clone());
        let Some(own) = key(d.offset) else { return };
        let mut bad = None;
        for ((_, offset), m) in
            g.messages.range((d.partition, d.offset.saturating_sub(200))..=(d.partition, d.offset + 50))
        {
            if *offset == d.offset {
                continue;
            }
            let holds = !self.retains.contains(&g.topic)
                && m.held.as_ref().is_some_and(|h| h.sure && now.mono_ms < h.until);
            if holds && key(*offset).as_ref() == Some(&own) {
                bad = Some(format!("{name}: leased while offset {offset} of the same key is"));
            }
        }
        let first =
            g.starts.get(d.partition as usize).copied().unwrap_or(0).max(d.offset.saturating_sub(200));
        if !self.retains.contains(&g.topic) {
            for offset in first..d.offset {
                let m = g.messages.get(&(d.partition, offset));
                let over = m.is_some_and(|m| m.done || m.maybe || m.attempt > 0);
                let special =
                    self.at(part, offset).is_none_or(|m| m.due_ms.is_some() || m.expires_ms.is_some());
                if !over && !special && key(offset).as_ref() == Some(&own) {
                    bad = Some(format!("{name}: leased before offset {offset} of the same key"));
                }
            }
        }
        if let Some(bad) = bad {
            self.violation("I6", bad);
        }
    }

    fn settled(&mut self, d: Delivery, how: Settle, ok: bool, now: Now) {
        let name = format!("{}/{}/{} lease {}", d.group.0, d.partition, d.offset, d.lease);
        let Some(g) = self.groups.get_mut(&d.group) else { return };
        let (retains, works) = (self.retains.contains(&g.topic), g.works);
        let m = g.messages.entry((d.partition, d.offset)).or_default();
        // After a seek nothing is known of the leases before it.
        let unsure = m.last == 0;
        let newest = m.last == d.lease || unsure;
        let held = m.held.as_ref().filter(|h| h.number == d.lease);
        if !ok {
            let sure = held.is_some_and(|h| h.sure && now.mono_ms < h.until);
            if sure && !retains && !works && !g.moved {
                self.violation("I6", format!("{name}: refused while it holds"));
            }
            return;
        }
        if !newest {
            let detail = format!("{name}: accepted, though lease {} is newer", m.last);
            return self.violation("I6", detail);
        }
        if held.is_none() && !m.maybe && !unsure {
            return self.violation("I6", format!("{name}: accepted, though it had ended"));
        }
        match how {
            Settle::Ack => {
                g.acked += u64::from(!m.done);
                m.done = true;
                m.held = None;
            }
            Settle::Nack { .. } => m.held = None,
            Settle::Unseen => {
                m.attempt = m.attempt.saturating_sub(1);
                m.held = None;
            }
            Settle::Dead => {
                m.maybe = true;
                m.held = None;
            }
            Settle::Extend { lease_ms } => {
                m.held = Some(Held { number: d.lease, until: now.mono_ms + lease_ms, lease_ms, sure: true });
            }
        }
    }

    /// Leases stand still for so long.
    pub fn paused(&mut self, ms: u64) {
        for g in self.groups.values_mut() {
            for m in g.messages.values_mut() {
                if let Some(held) = &mut m.held {
                    held.until += ms;
                }
            }
        }
    }

    /// The server is gone; `mono` was its clock.
    pub fn died(&mut self, mono: u64) {
        for g in self.groups.values_mut() {
            for m in g.messages.values_mut() {
                if let Some(held) = &mut m.held
                    && mono >= held.until
                {
                    // It may have run out in a frame that nobody was told of.
                    held.sure = false;
                    m.maybe = true;
                }
            }
        }
        let lost: Vec<GroupId> = self.groups.iter().filter(|(_, g)| g.memory).map(|(id, _)| *id).collect();
        for id in lost {
            if let Some(g) = self.groups.remove(&id) {
                self.again.insert((g.topic_name, g.name));
            }
            self.handles.retain(|h| h.delivery.group != id);
        }
        self.numbers.retain(|n| n >> 63 == 0);
        self.log.retain(|part, _| !in_memory(part.topic));
        self.places.retain(|(part, _), _| !in_memory(part.topic));
        self.placed.retain(|_, (part, _)| !in_memory(part.topic));
        for p in self.pubs.values_mut().filter(|p| in_memory(p.part.topic)) {
            p.fate = Fate::Lost;
        }
    }

    /// It is back, and leases are armed anew in full.
    pub fn booted(&mut self, mono: u64) {
        for m in self.groups.values_mut().flat_map(|g| g.messages.values_mut()) {
            if let Some(held) = &mut m.held {
                held.until = mono + held.lease_ms;
            }
        }
    }
}
