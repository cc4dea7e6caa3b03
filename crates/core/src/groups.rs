//! Groups: named consumers of a topic.

/// How a group consumes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Leases: each message to one consumer, with ack, nack, extend, attempts.
    Queue,
    /// A remembered position.
    Cursor,
}

/// Where a new group, a reader or a seek begins.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first kept message.
    Start,
    /// Behind the newest.
    End,
    /// At this offset.
    Offset(u64),
    /// At the first message at or after this time, in milliseconds since 1970.
    Time(i64),
}

/// The options of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How it consumes.
    pub mode: Mode,
    /// How long a lease lasts unless the consumer says otherwise.
    pub lease_ms: u64,
    /// How often a message is delivered before it is dead; 0 for no limit.
    pub attempts: u32,
    /// The topic that dead messages move to.
    pub dead_letter: Option<String>,
    /// How long a message waits after a lease that ended by itself.
    pub backoff_ms: u64,
    /// One outstanding message per key, in order.
    pub key_order: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            mode: Mode::Queue,
            lease_ms: 30_000,
            attempts: 0,
            dead_letter: None,
            backoff_ms: 0,
            key_order: false,
        }
    }
}

/// A group as it is described to people. Every number is exact and costs O(1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its id.
    pub id: GroupId,
    /// The topic's name.
    pub topic: String,
    /// Its name.
    pub name: String,
    /// Its options.
    pub options: Options,
    /// Messages that could be leased now (also those that wait for an earlier one of their key).
    pub ready: u64,
    /// Messages that are leased.
    pub leased: u64,
    /// Messages that are not due yet.
    pub delayed: u64,
    /// Messages done with since the group exists.
    pub acked: u64,
    /// Messages dead since the group exists.
    pub dead: u64,
    /// Messages that expired or that retention removed before they were done with.
    pub expired: u64,
    /// For each partition: everything below this offset is done with (mode cursor: the committed position), and the end.
    pub parts: Vec<(u64, u64)>,
}

use crate::frame::{Change, Places, memory_group, memory_topic};
use crate::jobs::{Failure, State};
use crate::model::{Error, GroupId, JobId, Kind, PartId, Position, Result, TopicId, check_name};
use crate::ops::{Batch, Condition, Delivery, Dying, Grant, GroupStart, Reply, Settle};
use crate::queue::{GroupPart, How, KeyLog, Reason};
use crate::refuse::{conflict, exhausted, near, precondition, stale, within, wrong_mode};
use crate::state::{Core, Group, Section};
use crate::topics::{lost, shown};
use std::collections::HashSet;
use std::sync::Arc;

/// The most messages of a group that are leased at one time.
pub const MAX_IN_FLIGHT: usize = 20_000;
/// The shortest and the longest lease.
pub const LEASE_MS: (u64, u64) = (1_000, 12 * 3_600_000);
/// The longest delay.
pub(crate) const MAX_DELAY_MS: u64 = 366 * 86_400_000;
/// The most messages looked at for one lease.
const MAX_SCAN: usize = 10_000;
/// The most attempts that can be asked for.
pub(crate) const MAX_ATTEMPTS: u32 = 1_000;
/// What `DeclareMethod` names the group of the workers.
pub(crate) const WORKERS: &str = "workers";

impl Options {
    fn check(&self, topic: &str) -> Result<()> {
        within("a lease", self.lease_ms, LEASE_MS.0, LEASE_MS.1)?;
        within("a backoff", self.backoff_ms, 0, MAX_DELAY_MS)?;
        if self.attempts > MAX_ATTEMPTS {
            return Err(Error::invalid("a message has at most 1,000 attempts (0: no limit)"));
        }
        if let Some(name) = &self.dead_letter {
            check_name("topic", name)?;
            if name == topic {
                return Err(Error::invalid("a group's dead-letter topic cannot be the topic itself"));
            }
        }
        if self.mode == Mode::Cursor && (self.key_order || self.dead_letter.is_some()) {
            return Err(Error::invalid("a cursor group has neither key order nor a dead-letter topic"));
        }
        Ok(())
    }
}

/// How a lease ends.
pub(crate) enum End {
    Ack,
    /// Given back; after this delay, or the job's backoff.
    Back(Option<u64>),
    /// Given back by who has not looked at it.
    Unseen,
    /// Its time was over.
    Lost,
    Dead,
}

impl Core {
    pub(crate) fn find_group(&self, topic: &str, group: &str) -> Result<&Group> {
        let topic = self.find_topic(topic)?;
        topic.groups.get(group).and_then(|id| self.groups.get(id)).ok_or_else(|| {
            let detail = format!("the topic {} has no group {:?}", topic.cold.name, shown(group));
            Error::new(Kind::NotFound, "SB0303", detail).fix(near(
                group,
                topic.groups.keys().map(|n| &**n),
                "Declare it with PUT /topics/{topic}/groups/{group}",
            ))
        })
    }

    fn group_of(&self, id: GroupId, mode: Mode) -> Result<&Group> {
        let group = self.groups.get(&id).ok_or_else(|| {
            Error::new(Kind::NotFound, "SB0303", "the group is gone").fix("Look it up by its name again")
        })?;
        if group.cold.options.mode == mode {
            return Ok(group);
        }
        Err(match mode {
            Mode::Queue => wrong_mode("the group has mode cursor: it hands out no leases"),
            Mode::Cursor => wrong_mode("the group has mode queue: it remembers no cursor"),
        })
    }

    /// The end of a group's partition.
    pub(crate) fn end_of(&self, group: &Group, partition: usize) -> u64 {
        group.index.get(partition).and_then(|n| self.parts.get(*n as usize)).map_or(0, |p| p.n.end)
    }

    /// The keys of a group's partition, when the group is ordered by them.
    pub(crate) fn keys_of(&self, group: &Group, partition: usize) -> Option<&KeyLog> {
        if !group.cold.options.key_order {
            return None;
        }
        self.parts.get(*group.index.get(partition)? as usize)?.keys.as_deref()
    }

    pub(crate) fn declare_group(
        &mut self,
        s: &mut Section<'_>,
        topic: &str,
        name: &str,
        options: Options,
        start: &GroupStart,
        condition: Condition,
        keys: Vec<(u32, u64, Vec<u64>)>,
    ) -> Result<Reply> {
        check_name("group", name)?;
        options.check(topic)?;
        let t = self.find_topic(topic)?;
        if let Some(known) = t.groups.get(name).and_then(|id| self.groups.get(id)) {
            let id = known.cold.id;
            match condition {
                Condition::Any | Condition::Present => {}
                Condition::Absent => {
                    return Err(precondition(format!("the topic {topic} has a group {name} already")));
                }
                Condition::Ensure => {
                    return Ok(Reply::Group { created: false, view: self.group_by_id(id).ok_or_else(lost)? });
                }
                Condition::Version(_) => return Err(Error::invalid("groups have no versions")),
            }
            let old = &known.cold.options;
            if old.mode != options.mode {
                return Err(wrong_mode("the group exists with another mode, which cannot change")
                    .fix("Delete the group and declare it again"));
            }
            if old.key_order != options.key_order {
                return Err(wrong_mode("the group exists with another order, which cannot change")
                    .fix("Delete the group and declare it again"));
            }
            if *old != options {
                self.emit(s, Change::Options { id, options })?;
            }
            return Ok(Reply::Group { created: false, view: self.group_by_id(id).ok_or_else(lost)? });
        }
        match condition {
            Condition::Any | Condition::Absent | Condition::Ensure => {}
            Condition::Present => {
                return Err(Error::new(Kind::NotFound, "SB0303", format!("{topic:?} has no group {name:?}"))
                    .fix("Create it first"));
            }
            Condition::Version(_) => return Err(Error::invalid("groups have no versions")),
        }
        let topic = t.cold.id;
        let mut at = Vec::with_capacity(t.parts.len());
        let mut used = Vec::new();
        if let GroupStart::Offsets(list) = start
            && let Some((n, _)) = list.iter().find(|(n, _)| *n as usize >= t.parts.len())
        {
            return Err(Error::invalid(format!("the topic {} has no partition {n}", t.cold.name)));
        }
        for (n, index) in t.parts.iter().enumerate() {
            let part = self.parts.get(*index as usize).ok_or_else(lost)?;
            let place = match start {
                GroupStart::Start => part.n.start,
                GroupStart::End => part.n.end,
                GroupStart::Offsets(list) => list
                    .iter()
                    .find(|(p, _)| *p as usize == n)
                    .map_or(part.n.start, |(_, o)| (*o).clamp(part.n.start, part.n.end)),
            };
            at.push(place);
            let known = part.keys.as_ref().map_or(part.n.end, |k| k.base);
            if options.key_order && place < known {
                let given = keys.iter().find(|(p, first, list)| {
                    *p as usize == n
                        && *first <= place
                        && first.checked_add(list.len() as u64) == Some(part.n.end)
                });
                let Some((p, first, list)) = given else {
                    return Err(conflict(format!(
                        "the keys given for partition {n} do not fit its messages {place} to {}",
                        part.n.end
                    ))
                    .fix("Read the partition's keys again and retry"));
                };
                let until = (known.saturating_sub(*first) as usize).min(list.len());
                let from = (place - first) as usize;
                used.push((*p, place, list.get(from..until).unwrap_or_default().to_vec()));
            }
        }
        let id = if memory_topic(topic) {
            let free =
                self.memory_id(self.next_memory.group, |core, id| core.groups.contains_key(&GroupId(id)))?;
            GroupId(free.0)
        } else {
            GroupId(self.next.group)
        };
        self.emit(s, Change::Group { id, topic, name: Arc::from(name), options, at, keys: used })?;
        Ok(Reply::Group { created: true, view: self.group_by_id(id).ok_or_else(lost)? })
    }

    pub(crate) fn delete_group(&mut self, s: &mut Section<'_>, topic: &str, group: &str) -> Result<Reply> {
        let found = self.find_group(topic, group)?;
        let id = found.cold.id;
        self.not_served(found)?;
        self.emit(s, Change::GroupGone { id })?;
        Ok(Reply::Done)
    }

    fn not_served(&self, group: &Group) -> Result<()> {
        if self.served.get(&group.cold.topic) != Some(&group.cold.id) {
            return Ok(());
        }
        Err(conflict(format!(
            "the group {} hands out the jobs of the topic {}",
            group.cold.name, group.topic_name
        ))
        .fix("Delete the method first, or cancel or rerun its jobs"))
    }

    /// The job whose input a message of this group is.
    pub(crate) fn job_of(&self, group: GroupId, partition: u32, offset: u64) -> Option<JobId> {
        let topic = self.groups.get(&group)?.cold.topic;
        if self.job_at.is_empty() || self.served.get(&topic) != Some(&group) {
            return None;
        }
        self.job_at.get(&(PartId { topic, partition }, offset)).copied()
    }

    pub(crate) fn lease(
        &mut self,
        s: &mut Section<'_>,
        id: GroupId,
        max: usize,
        lease_ms: Option<u64>,
        consumer: String,
    ) -> Result<Reply> {
        let group = self.group_of(id, Mode::Queue)?;
        let lease_ms = lease_ms.unwrap_or(group.cold.options.lease_ms);
        within("a lease", lease_ms, LEASE_MS.0, LEASE_MS.1)?;
        if consumer.len() > 255 {
            return Err(Error::invalid("a consumer's name has at most 255 bytes"));
        }
        let room = MAX_IN_FLIGHT.saturating_sub(group.leased);
        let woken = group.due.first().is_some_and(|(at, ..)| *at <= s.now.wall_ms)
            || group.expiring.first().is_some_and(|(at, ..)| *at <= s.now.wall_ms);
        if room == 0
            && max > 0
            && group.parts.iter().enumerate().any(|(n, p)| p.ready(self.end_of(group, n)) > 0)
        {
            return Err(exhausted(format!(
                "20,000 messages of the group {} are leased, which is the most",
                group.cold.name
            ))
            .fix("Acknowledge some before leasing more")
            .retry_after(1_000));
        }
        if woken {
            let mut budget = MAX_SCAN;
            self.wake_group(s, id, &mut budget)?;
        }
        let group = self.groups.get(&id).ok_or_else(lost)?;
        let (grants, parks, attempts) = self.plan_lease(group, max.min(room).min(1_000));
        if grants.is_empty() && parks.is_empty() {
            return Ok(Reply::Leased(Vec::new()));
        }
        let first = if memory_group(id) { self.next_memory.lease | 1 << 63 } else { self.next.lease };
        let consumer = if consumer.is_empty() { self.nobody.clone() } else { Arc::from(consumer) };
        let granted =
            grants.iter().zip(attempts).enumerate().map(|(n, ((partition, offset), attempt))| Grant {
                delivery: Delivery {
                    group: id,
                    partition: *partition,
                    offset: *offset,
                    lease: first + n as u64,
                },
                attempt,
                lease_ms,
                job: self.job_of(id, *partition, *offset),
            });
        let granted: Vec<Grant> = granted.collect();
        self.emit(
            s,
            Change::Lease { group: id, consumer: consumer.clone(), lease_ms, first, grants, parks },
        )?;
        for grant in &granted {
            if let Some(job) = grant.job {
                self.job_taken(s, job, grant.attempt, &consumer)?;
            }
        }
        Ok(Reply::Leased(granted))
    }

    /// Chooses what to hand out, without changing anything: in the order of offsets, beginning with the partition whose turn it is.
    fn plan_lease(&self, group: &Group, max: usize) -> (Places, Places, smallvec::SmallVec<[u32; 4]>) {
        let (mut grants, mut parks, mut attempts) = (Places::new(), Places::new(), smallvec::SmallVec::new());
        let mut budget = MAX_SCAN;
        let count = group.parts.len();
        for n in 0..count {
            if grants.len() >= max || budget == 0 {
                break;
            }
            let at = (group.rotor + n) % count;
            let (part, keys, end) = (&group.parts[at], self.keys_of(group, at), self.end_of(group, at));
            let p = at as u32;
            let mut taken: HashSet<u64, foldhash::fast::FixedState> = HashSet::default();
            // Whether a key is blocked for this offset by another message.
            let mut blocked = |offset: u64, fresh: bool| {
                let key = keys.map_or(0, |k| k.get(offset));
                if key == 0 {
                    return false;
                }
                let held = part.queue.keys.get(&key).is_some_and(|state| match state.holder {
                    Some(holder) => holder != offset,
                    None => fresh && !state.parked.is_empty(),
                });
                held || !taken.insert(key)
            };
            for (&offset, &tried) in &part.queue.ready {
                if grants.len() >= max || budget == 0 {
                    break;
                }
                budget -= 1;
                if blocked(offset, false) {
                    if tried == 0 {
                        parks.push((p, offset));
                    }
                } else {
                    grants.push((p, offset));
                    attempts.push(tried + 1);
                }
            }
            let mut next = part.queue.next;
            let mut parked = None;
            while grants.len() < max && budget > 0 && next < end {
                budget -= 1;
                if part.queue.ahead == 0 || !part.special(next) {
                    if blocked(next, true) {
                        parked = Some(next);
                    } else {
                        parked = None;
                        grants.push((p, next));
                        attempts.push(1);
                    }
                }
                next += 1;
            }
            parks.extend(parked.map(|offset| (p, offset)));
        }
        (grants, parks, attempts)
    }

    pub(crate) fn settle(&mut self, s: &mut Section<'_>, d: Delivery, how: Settle) -> Result<u64> {
        let group = self.group_of(d.group, Mode::Queue)?;
        let lease = group.parts.get(d.partition as usize).and_then(|p| p.queue.leases.get(&d.offset));
        let lease = lease.filter(|l| l.number == d.lease).ok_or_else(stale)?;
        let attempt = lease.attempt;
        let (end, answer) = match how {
            Settle::Ack => (End::Ack, 0),
            Settle::Dead => (End::Dead, 0),
            Settle::Unseen => (End::Unseen, 0),
            Settle::Nack { delay_ms } => {
                within("a delay", delay_ms, 0, MAX_DELAY_MS)?;
                (End::Back(Some(delay_ms)), 0)
            }
            Settle::Extend { lease_ms } => {
                let lease_ms = if lease_ms == 0 { group.cold.options.lease_ms } else { lease_ms };
                within("a lease", lease_ms, LEASE_MS.0, LEASE_MS.1)?;
                let Delivery { group, partition, offset, .. } = d;
                self.emit(s, Change::Extend { group, partition, offset, lease_ms })?;
                return Ok(lease_ms);
            }
        };
        self.end_lease(s, (d.group, d.partition, d.offset), attempt, end, None)?;
        Ok(answer)
    }

    /// Ends a lease: done, back, dying or dead, and the job with it.
    pub(crate) fn end_lease(
        &mut self,
        s: &mut Section<'_>,
        (group, partition, offset): (GroupId, u32, u64),
        attempt: u32,
        end: End,
        error: Option<Failure>,
    ) -> Result<()> {
        let job = self.job_of(group, partition, offset);
        if let End::Ack = end {
            self.emit(s, Change::Done { group, partition, offset, how: How::Acked })?;
            return match job {
                Some(job) => self.job_ended(s, job, State::Succeeded, None, "acknowledged"),
                None => Ok(()),
            };
        }
        let (limit, backoff, cancelled) = match job.and_then(|id| self.jobs.get(&id)) {
            Some(slot) => (slot.job.attempts, slot.job.backoff_ms, slot.job.cancel_requested),
            None => {
                let options = &self.groups.get(&group).ok_or_else(lost)?.cold.options;
                (options.attempts, options.backoff_ms, false)
            }
        };
        if let (true, Some(job)) = (cancelled, job) {
            self.emit(s, Change::Done { group, partition, offset, how: How::Acked })?;
            return self.job_ended(s, job, State::Cancelled, error, "cancelled");
        }
        let why = match end {
            End::Dead if error.is_some() => "failed",
            End::Dead => "rejected",
            End::Lost => "lease expired",
            _ if error.is_some() => "failed",
            _ => "returned",
        };
        let over = self.expiry_of(group, partition, offset).is_some_and(|at| at <= s.now.wall_ms);
        let reason = match end {
            End::Dead => Some(Reason::Rejected),
            _ if over => Some(Reason::Expired),
            End::Unseen => None,
            _ if limit > 0 && attempt >= limit => Some(Reason::Attempts),
            _ => None,
        };
        if let Some(reason) = reason {
            self.kill(s, group, partition, offset, reason)?;
            let Some(job) = job else { return Ok(()) };
            if reason == Reason::Expired {
                return self.job_ended(s, job, State::Expired, error, "message expired");
            }
            let error = error.or_else(|| {
                Some(Failure {
                    code: why.replace(' ', "_"),
                    message: format!("attempt {attempt} ended: {why}"),
                    retryable: reason == Reason::Attempts,
                })
            });
            return self.job_ended(s, job, State::Failed, error, why);
        }
        let delay = match end {
            End::Back(Some(delay)) => delay,
            End::Unseen => 0,
            _ => backoff,
        };
        let due = (delay > 0).then(|| s.now.wall_ms.saturating_add(i64::try_from(delay).unwrap_or(i64::MAX)));
        let back = match end {
            End::Unseen => Change::Unseen { group, partition, offset },
            _ => Change::Return { group, partition, offset, due },
        };
        self.emit(s, back)?;
        // While it was leased, its time may have come and been passed over; the wall clock may have gone back since.
        if let Some(at) = self.expiry_of(group, partition, offset)
            && let Some(g) = self.groups.get_mut(&group)
        {
            g.expiring.insert((at, partition, offset));
            self.arm_group(group);
        }
        match job {
            Some(job) => self.job_ended(s, job, State::Queued, error, why),
            None => Ok(()),
        }
    }

    /// Ends a message without success: to the dead-letter topic, or away.
    pub(crate) fn kill(
        &mut self,
        s: &mut Section<'_>,
        group: GroupId,
        partition: u32,
        offset: u64,
        reason: Reason,
    ) -> Result<()> {
        let moves = self.groups.get(&group).is_some_and(|g| g.cold.options.dead_letter.is_some());
        self.emit(
            s,
            if moves {
                Change::Dying { group, partition, offset, reason }
            } else {
                Change::Done { group, partition, offset, how: reason.how() }
            },
        )
    }

    /// When a message expires, if ever.
    pub(crate) fn expiry_of(&self, group: GroupId, partition: u32, offset: u64) -> Option<i64> {
        let index = *self.groups.get(&group)?.index.get(partition as usize)?;
        self.parts.get(index as usize)?.extra.as_ref()?.expires.get(&offset).copied()
    }

    pub(crate) fn dead_letter(
        &mut self,
        s: &mut Section<'_>,
        group: GroupId,
        partition: u32,
        offset: u64,
        target: Option<(TopicId, u32, Batch)>,
    ) -> Result<Reply> {
        let g = self.group_of(group, Mode::Queue)?;
        let dying = g.parts.get(partition as usize).and_then(|p| p.queue.dying.get(&offset));
        let reason =
            dying.ok_or_else(|| conflict("the message is not waiting for its dead-letter topic"))?.reason;
        if let Some((topic, p, batch)) = target {
            self.check_append(topic, p, &batch)?;
            self.append(s, PartId { topic, partition: p }, batch)?;
        }
        self.emit(s, Change::Done { group, partition, offset, how: reason.how() })?;
        Ok(Reply::Done)
    }

    pub(crate) fn seek(
        &mut self,
        s: &mut Section<'_>,
        id: GroupId,
        to: &[(u32, u64)],
        dry_run: bool,
    ) -> Result<Reply> {
        let group =
            self.groups.get(&id).ok_or_else(|| Error::new(Kind::NotFound, "SB0303", "the group is gone"))?;
        if !dry_run {
            self.not_served(group)?;
        }
        let to = self.places(group, to)?;
        let (mut skipped, mut again) = (0, 0);
        for (partition, offset) in &to {
            let n = *partition as usize;
            if let Some(keys) = self.keys_of(group, n)
                && *offset < keys.base
            {
                return Err(conflict(format!(
                    "the keys before offset {} of partition {n} are not kept, so the group cannot go back to {offset}",
                    keys.base
                ))
                .fix("Delete the group and declare it again where it is to begin"));
            }
            let counts = group.parts[n].seek_counts(*offset, self.end_of(group, n));
            skipped += counts.0;
            again += counts.1;
        }
        if !dry_run {
            self.emit(s, Change::Seek { group: id, to })?;
        }
        Ok(Reply::Seek { skipped, again })
    }

    /// Checks places and brings them into the range that is kept. The last one given for a partition counts.
    fn places(&self, group: &Group, to: &[(u32, u64)]) -> Result<Places> {
        let mut places = std::collections::BTreeMap::new();
        for (partition, offset) in to {
            let index = group.index.get(*partition as usize).ok_or_else(|| {
                Error::invalid(format!("the topic {} has no partition {partition}", group.topic_name))
            })?;
            let part = self.parts.get(*index as usize).ok_or_else(lost)?;
            places.insert(*partition, (*offset).clamp(part.n.start, part.n.end));
        }
        Ok(places.into_iter().collect())
    }

    pub(crate) fn commit_cursor(
        &mut self,
        s: &mut Section<'_>,
        id: GroupId,
        positions: &[(u32, u64)],
    ) -> Result<Reply> {
        let group = self.group_of(id, Mode::Cursor)?;
        for (partition, offset) in positions {
            if *offset > self.end_of(group, *partition as usize) {
                return Err(Error::invalid(format!(
                    "offset {offset} is behind the end of partition {partition}"
                )));
            }
        }
        let mut to = self.places(group, positions)?;
        to.retain(|(partition, offset)| group.parts[*partition as usize].queue.floor != *offset);
        if !to.is_empty() {
            self.emit(s, Change::Cursor { group: id, to })?;
        }
        Ok(Reply::Done)
    }

    fn group_view(&self, group: &Group) -> GroupView {
        let sum = |f: fn(&GroupPart, u64) -> u64| -> u64 {
            group.parts.iter().enumerate().map(|(n, p)| f(p, self.end_of(group, n))).sum()
        };
        GroupView {
            id: group.cold.id,
            topic: group.topic_name.to_string(),
            name: group.cold.name.to_string(),
            options: group.cold.options.clone(),
            ready: sum(|p, end| p.ready(end)),
            leased: group.leased as u64,
            delayed: sum(|p, _| p.delayed()),
            acked: sum(|p, _| p.queue.acked),
            dead: sum(|p, _| p.queue.dead),
            expired: sum(|p, _| p.queue.expired),
            parts: group
                .parts
                .iter()
                .enumerate()
                .map(|(n, p)| (p.queue.floor, self.end_of(group, n)))
                .collect(),
        }
    }

    /// A group by its names.
    pub fn group(&self, topic: &str, group: &str) -> Option<GroupView> {
        let topic = self.topics.get(self.names.get(topic)?)?;
        self.group_by_id(*topic.groups.get(group)?)
    }

    /// A group by its id.
    pub fn group_by_id(&self, id: GroupId) -> Option<GroupView> {
        self.groups.get(&id).map(|g| self.group_view(g))
    }

    /// Groups by topic and name, and whether there are more.
    pub fn groups(
        &self,
        topic: Option<&str>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> (Vec<GroupView>, bool) {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let first = (Arc::<str>::from(topic.unwrap_or("")), Arc::<str>::from(""));
        let from = match after {
            Some((t, g)) if (t, g) >= (&*first.0, "") => Excluded((Arc::from(t), Arc::from(g))),
            _ => Included(first),
        };
        let mut found = self
            .group_names
            .range((from, Unbounded))
            .take_while(|((t, _), _)| topic.is_none_or(|topic| **t == *topic));
        let views = found.by_ref().take(limit).filter_map(|(_, id)| self.group_by_id(*id)).collect();
        (views, found.next().is_some())
    }

    /// The next ones that would be leased, without taking them: (partition, offset).
    pub fn peek(&self, group: GroupId, limit: usize) -> Vec<(u32, u64)> {
        match self.groups.get(&group) {
            Some(g) if g.cold.options.mode == Mode::Queue => self.plan_lease(g, limit.min(1_000)).0.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Messages that wait for [`crate::ops::Op::DeadLetter`].
    pub fn dying(&self, group: GroupId, limit: usize) -> Vec<Dying> {
        let Some(g) = self.groups.get(&group) else { return Vec::new() };
        let all =
            g.parts.iter().enumerate().flat_map(|(n, p)| p.queue.dying.iter().map(move |(o, d)| (n, o, d)));
        all.take(limit)
            .map(|(n, offset, dying)| Dying {
                group,
                group_name: g.cold.name.to_string(),
                topic_name: g.topic_name.to_string(),
                position: Position::new(g.cold.topic, n as u32, *offset),
                attempts: dying.attempts,
                reason: dying.reason.name(),
                target: g.cold.options.dead_letter.clone(),
            })
            .collect()
    }
}
