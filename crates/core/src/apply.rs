//! The only code that alters state: applies one change, when it is made and when it is replayed. Changes that do not fit the state
//! are malformed; a change that was made by an operation always fits.

use crate::batch::{self, HEADER_LEN};
use crate::checkpoint::{DEAD, EXTRA, KEYS, MARKS, NUMBERS};
use crate::dedup::Entry;
use crate::frame::{Change, MEMORY, Places, memory_group, memory_topic};
use crate::groups::{MAX_IN_FLIGHT, Mode, Options, WORKERS};
use crate::jobs::State;
use crate::model::{GroupId, PartId, TopicId};
use crate::ops::{Appended, Effects, Now};
use crate::queue::{GroupPart, KEY_BLOCK, KeyLog, Lease};
use crate::state::{Core, Group, GroupCold, Mark, Part, PartNumbers, Topic, TopicCold, Wake};
use crate::tick::CONSUMED_MS;
use crate::topics::{MAX_PARTITIONS, Policy, claim_bucket};
use crate::wire::{Bad, Decode};
use bytes::Bytes;
use sb_wirekit::Reader;
use std::sync::Arc;

/// The most marks of a partition; then every other one goes.
const MAX_MARKS: usize = 2048;

/// Enters an id unless it is among the last ones.
fn note<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.iter().rev().take(8).any(|known| *known == item) {
        list.push(item);
    }
}

/// The hashes of the keys of a batch's messages; 0 for none, and for what cannot be read.
fn key_hashes(bytes: &[u8], count: u32) -> Vec<u64> {
    let mut hashes = Vec::new();
    let mut r = Reader::new(bytes.get(HEADER_LEN..).unwrap_or_default());
    let compressed = batch::header(bytes).map_or(true, |h| h.attributes & 0x27 != 0);
    let mut one = || -> Option<u64> {
        let length = usize::try_from(r.zigzag().ok()?).ok()?;
        let mut r = Reader::new(r.take(length).ok()?);
        r.u8().ok()?;
        r.zigzag().ok()?;
        r.zigzag().ok()?;
        let Ok(length) = usize::try_from(r.zigzag().ok()?) else { return Some(0) };
        Some(batch::key_hash(r.take(length).ok()?))
    };
    for _ in 0..count {
        hashes.push(if compressed { 0 } else { one().unwrap_or(0) });
    }
    hashes
}

/// A group's partition with what is needed to change it.
struct Place<'a> {
    group: &'a mut Group,
    at: usize,
    keys: Option<&'a KeyLog>,
    end: u64,
}

impl Place<'_> {
    fn part(&mut self) -> &mut GroupPart {
        &mut self.group.parts[self.at]
    }
}

impl Part {
    /// Sets a mark at the end, for retention.
    fn mark(&mut self) {
        self.n.open = self.n.total;
        let marks = Arc::make_mut(self.marks.get_or_insert_default());
        marks.push_back(Mark { end: self.n.end, bytes: self.n.total, time_ms: self.n.last_ms });
        if marks.len() >= MAX_MARKS {
            let mut odd = false;
            marks.retain(|_| {
                odd = !odd;
                !odd
            });
        }
    }
}

impl Core {
    /// Applies a change.
    pub(crate) fn apply_change(&mut self, change: Change, now: Now, effects: &mut Effects) -> Decode<()> {
        if self.undo.is_some() {
            self.save(&change);
        }
        match change {
            Change::Append { part, batch, due, expires } => {
                let index = self.part_index(part)?;
                if part.topic == TopicId::JOBS {
                    return Err(Bad("an event without a job"));
                }
                self.apply_append(index, batch, &due, &expires, now, effects)?;
            }
            Change::Lease { group, consumer, lease_ms, first, grants, parks } => {
                self.apply_lease(group, &consumer, lease_ms, first, &grants, &parks, now)?;
            }
            Change::Done { group, partition, offset, how } => {
                let mut place = self.place(group, partition)?;
                let (keys, end) = (place.keys, place.end);
                let before = place.part().queue.floor;
                let ended = place.part().finish(offset, how, keys, end)?;
                let floor = place.part().queue.floor;
                let ordered = keys.is_some();
                let ready = self.lease_ended(group, partition, offset, ended.deadline)? || ended.released;
                if ready {
                    note(&mut effects.ready, group);
                }
                self.floor_moved(group, partition, before, floor, ordered, now);
            }
            Change::Return { group, partition, offset, due } => {
                let mut place = self.place(group, partition)?;
                let deadline = place.part().give_back(offset, due, true)?;
                if let Some(due) = due {
                    place.group.due.insert((due, partition, offset));
                }
                if self.lease_ended(group, partition, offset, Some(deadline))? || due.is_none() {
                    note(&mut effects.ready, group);
                }
                self.arm_group(group);
            }
            Change::Unseen { group, partition, offset } => {
                let deadline = self.place(group, partition)?.part().give_back(offset, None, false)?;
                self.lease_ended(group, partition, offset, Some(deadline))?;
                note(&mut effects.ready, group);
                self.arm_group(group);
            }
            Change::Extend { group, partition, offset, lease_ms } => {
                let deadline = self.clock(now).saturating_add(lease_ms);
                let mut place = self.place(group, partition)?;
                let lease = place.part().queue().leases.get_mut(&offset).ok_or(Bad("no lease to extend"))?;
                let old = std::mem::replace(&mut lease.deadline, deadline);
                lease.lease_ms = lease_ms;
                place.group.deadlines.remove(&(old, partition, offset));
                place.group.deadlines.insert((deadline, partition, offset));
                self.arm_group(group);
            }
            Change::Dying { group, partition, offset, reason } => {
                let mut place = self.place(group, partition)?;
                let (keys, end) = (place.keys, place.end);
                let ended = place.part().die(offset, reason, keys, end)?;
                if self.lease_ended(group, partition, offset, ended.deadline)? || ended.released {
                    note(&mut effects.ready, group);
                }
                note(&mut effects.dying, group);
            }
            Change::Due { group, partition, offset } => {
                let mut place = self.place(group, partition)?;
                place.part().due(offset)?;
                note(&mut effects.ready, group);
            }
            Change::Seek { group, to } => {
                self.apply_seek(group, &to, now)?;
                note(&mut effects.ready, group);
            }
            Change::Cursor { group, to } => {
                for (partition, offset) in to {
                    let mut place = self.place(group, partition)?;
                    let end = place.end;
                    if offset > end || place.group.cold.options.mode != Mode::Cursor {
                        return Err(Bad("a cursor behind the end"));
                    }
                    let before = place.part().queue.floor;
                    place.part().move_cursor(offset, end);
                    self.floor_moved(group, partition, before, offset, false, now);
                }
            }
            Change::Topic { id, name, policy } => {
                self.apply_topic(id, name, policy, now)?;
                note(&mut effects.declared, id);
            }
            Change::TopicGone { id } => {
                self.apply_topic_gone(id)?;
                effects.deleted.push(id);
            }
            Change::Group { id, topic, name, options, at, keys } => {
                self.apply_group(id, topic, name, options, &at, &keys)?;
                note(&mut effects.ready, id);
            }
            Change::Options { id, options } => {
                let group = self.groups.get_mut(&id).ok_or(Bad("no such group"))?;
                let old = &group.cold.options;
                if old.mode != options.mode || old.key_order != options.key_order {
                    return Err(Bad("options that cannot change"));
                }
                Arc::make_mut(&mut group.cold).options = options;
                let cold = group.cold.clone();
                if !memory_group(id) {
                    self.dirty.groups.push(cold);
                }
                note(&mut effects.ready, id);
            }
            Change::GroupGone { id } => self.apply_group_gone(id)?,
            Change::Trim { part, start } => {
                self.apply_trim(part, start, now)?;
                effects.trimmed.push((part, start));
            }
            Change::Method { name, policy } => {
                let topic = self.names.get(policy.topic.as_str()).and_then(|id| self.topics.get(id));
                if topic.is_none_or(|t| !t.groups.contains_key(WORKERS) || memory_topic(t.cold.id)) {
                    return Err(Bad("a method without workers"));
                }
                self.dirty.methods.insert(name.clone());
                self.methods.insert(name, policy);
                self.find_served();
            }
            Change::MethodGone { name } => {
                self.methods.remove(&name).ok_or(Bad("no such method"))?;
                self.dirty.methods.insert(name);
                self.find_served();
            }
            Change::Job { job } => {
                let id = job.id;
                self.apply_job(*job, now)?;
                note(&mut effects.jobs, id);
            }
            Change::Event { job, batch, outcome } => {
                self.apply_event(job, batch, outcome, now, effects)?;
                note(&mut effects.jobs, job);
            }
            Change::JobRun { job, attempt, worker } => {
                self.change_job(job, |job| {
                    job.state = State::Running;
                    job.tried = attempt;
                    job.worker = worker;
                    job.started_ms = Some(now.wall_ms);
                })?;
                note(&mut effects.jobs, job);
            }
            Change::JobState { job, state, error } => {
                self.apply_job_state(job, state, error, now)?;
                note(&mut effects.jobs, job);
            }
            Change::JobProgress { job, progress } => {
                self.change_job(job, |job| job.progress = Some(progress))?;
                note(&mut effects.jobs, job);
            }
            Change::JobCancel { job } => {
                self.change_job(job, |job| job.cancel_requested = true)?;
                note(&mut effects.jobs, job);
            }
            Change::JobGone { job } => {
                let slot = self.jobs.remove(&job).ok_or(Bad("no such job"))?;
                self.unindex_job(&slot.job);
                self.dirty.jobs.push(job);
                note(&mut effects.jobs, job);
                self.arm_topic(TopicId::JOBS, now.wall_ms.saturating_add(CONSUMED_MS));
            }
            Change::Dedup { key, fingerprint, until, given, memory } => {
                self.dedup.insert(Entry { key, fingerprint, until, given }, memory, &mut self.dirty);
                if let Some((_, over)) = self.dedup.first() {
                    self.wall.insert((over, Wake::Dedup));
                }
            }
            Change::DedupGone { bucket } => self.dedup.drop_bucket(bucket, &mut self.dirty),
            Change::Boot {} => self.apply_boot(now, effects),
        }
        Ok(())
    }

    pub(crate) fn part_index(&self, id: PartId) -> Decode<u32> {
        let topic = self.topics.get(&id.topic).ok_or(Bad("no such topic"))?;
        topic.parts.get(id.partition as usize).copied().ok_or(Bad("no such partition"))
    }

    /// Marks a partition for the next checkpoint.
    fn touch_part(&mut self, index: u32, what: u8) {
        let Some(part) = self.parts.get_mut(index as usize) else { return };
        if memory_topic(part.n.id.topic) {
            return;
        }
        if part.dirty == 0 {
            self.dirty.parts.push(index);
        }
        part.dirty |= what;
    }

    fn place(&mut self, id: GroupId, partition: u32) -> Decode<Place<'_>> {
        let Core { groups, parts, dirty, .. } = self;
        let group = groups.get_mut(&id).ok_or(Bad("no such group"))?;
        let at = partition as usize;
        let index = *group.index.get(at).ok_or(Bad("no such partition"))?;
        let part = parts.get(index as usize).ok_or(Bad("no such partition"))?;
        let keys = if group.cold.options.key_order { part.keys.as_deref() } else { None };
        let mine = group.parts.get_mut(at).ok_or(Bad("no such partition"))?;
        if !mine.dirty && !memory_group(id) {
            mine.dirty = true;
            dirty.group_parts.push((id, partition));
        }
        Ok(Place { group, at, keys, end: part.n.end })
    }

    /// Takes the deadline out; true when the group was at its limit and others may lease again.
    fn lease_ended(
        &mut self,
        id: GroupId,
        partition: u32,
        offset: u64,
        deadline: Option<u64>,
    ) -> Decode<bool> {
        let Some(deadline) = deadline else { return Ok(false) };
        let group = self.groups.get_mut(&id).ok_or(Bad("no such group"))?;
        group.deadlines.remove(&(deadline, partition, offset));
        let full = group.leased >= MAX_IN_FLIGHT;
        group.leased = group.leased.saturating_sub(1);
        Ok(full)
    }

    fn floor_moved(&mut self, id: GroupId, partition: u32, before: u64, floor: u64, ordered: bool, now: Now) {
        if ordered && floor / KEY_BLOCK != before / KEY_BLOCK {
            self.drop_keys(id, partition);
        }
        let Some(group) = self.groups.get(&id) else { return };
        if group.consumed && floor > before {
            let topic = group.cold.topic;
            self.arm_topic(topic, now.wall_ms.saturating_add(CONSUMED_MS));
        }
    }

    /// Forgets key hashes that no ordered group needs any more.
    fn drop_keys(&mut self, id: GroupId, partition: u32) {
        let Some(group) = self.groups.get(&id) else { return };
        let Some(topic) = self.topics.get(&group.cold.topic) else { return };
        let ordered =
            topic.groups.values().filter_map(|g| self.groups.get(g)).filter(|g| g.cold.options.key_order);
        let floors = ordered.filter_map(|g| g.parts.get(partition as usize)).map(|p| p.queue.floor);
        let Some(floor) = floors.min() else { return };
        let Some(&index) = topic.parts.get(partition as usize) else { return };
        self.cut_keys(index, floor / KEY_BLOCK * KEY_BLOCK);
    }

    fn cut_keys(&mut self, index: u32, base: u64) {
        let Some(part) = self.parts.get_mut(index as usize) else { return };
        let Some(keys) = &mut part.keys else { return };
        if base <= keys.base {
            return;
        }
        keys.base = base;
        while let Some((&block, _)) = keys.blocks.first_key_value() {
            if (block + 1) * KEY_BLOCK > base {
                break;
            }
            keys.blocks.pop_first();
            part.dirty_keys.push(block);
        }
        self.touch_part(index, NUMBERS | KEYS);
    }

    pub(crate) fn apply_append(
        &mut self,
        index: u32,
        batch: Bytes,
        due: &[(u32, i64)],
        expires: &[(u32, i64)],
        now: Now,
        effects: &mut Effects,
    ) -> Decode<()> {
        let header = batch::header(&batch).map_err(|_| Bad("a malformed batch"))?;
        self.touch_part(index, NUMBERS);
        let Core { topics, parts, groups, .. } = self;
        let part = parts.get_mut(index as usize).ok_or(Bad("no such partition"))?;
        let id = part.n.id;
        let topic = topics.get_mut(&id.topic).ok_or(Bad("no such topic"))?;
        let count = header.count;
        if header.base_offset != part.n.end
            || header.size != batch.len()
            || count == 0
            || header.last_offset_delta != count - 1
        {
            return Err(Bad("a batch that does not fit"));
        }
        let size = batch.len() as u64;
        let policy = &topic.cold.policy;
        let step = policy.keep_bytes.map_or(1 << 20, |keep| keep / 1000);
        let span = policy.keep_age_ms.map_or(i64::MAX, |age| i64::try_from(age / 1000).unwrap_or(i64::MAX));
        let mut touched = 0;
        if part.n.total > part.n.open && now.wall_ms.saturating_sub(part.n.first_ms) >= span {
            part.mark();
            touched |= MARKS;
        }
        if part.n.total == part.n.open {
            part.n.first_ms = now.wall_ms;
        }
        let base = part.n.end;
        part.n.end += u64::from(count);
        part.n.total += size;
        part.n.last_ms = now.wall_ms;
        if part.n.total - part.n.open >= step {
            part.mark();
            touched |= MARKS;
        }
        let end = part.n.end;
        if let Some(keys) = &mut part.keys {
            for (n, hash) in key_hashes(&batch, count).into_iter().enumerate() {
                if hash != 0 {
                    let offset = base + n as u64;
                    keys.set(offset, hash);
                    let block = offset / KEY_BLOCK;
                    if part.dirty_keys.last() != Some(&block) {
                        part.dirty_keys.push(block);
                    }
                }
            }
            touched |= KEYS;
        }
        if !due.is_empty() || !expires.is_empty() {
            let extra = Arc::make_mut(part.extra.get_or_insert_default());
            let late = |list: &[(u32, i64)]| -> Vec<(u64, i64)> {
                list.iter().filter(|(n, _)| *n < count).map(|(n, at)| (base + u64::from(*n), *at)).collect()
            };
            let (mut due, expires) = (late(due), late(expires));
            due.retain(|(_, at)| *at > now.wall_ms);
            extra.due.extend(due.iter().copied());
            extra.expires.extend(expires.iter().copied());
            if extra.due.len() as u64 > extra.sweep_at.max(1024) {
                extra.due.retain(|_, at| *at > now.wall_ms);
                extra.sweep_at = extra.due.len() as u64 * 2;
            }
            touched |= EXTRA;
            for g in topic.groups.values() {
                let Some(group) = groups.get_mut(g) else { continue };
                if group.cold.options.mode != Mode::Queue {
                    continue;
                }
                let Some(mine) = group.parts.get_mut(id.partition as usize) else { continue };
                for (offset, at) in &due {
                    mine.delay(*offset, *at, end);
                    group.due.insert((*at, id.partition, *offset));
                }
                group.expiring.extend(expires.iter().map(|(offset, at)| (*at, id.partition, *offset)));
            }
        }
        for g in topic.groups.values() {
            note(&mut effects.ready, *g);
        }
        let over = policy.keep_bytes.is_some_and(|keep| part.n.total - part.n.trimmed > keep);
        let wake = if over {
            Some(now.wall_ms)
        } else if let Some(age) = policy.keep_age_ms {
            Some(now.wall_ms.saturating_add(i64::try_from(age).unwrap_or(i64::MAX)))
        } else {
            policy.keep_until_consumed.then(|| now.wall_ms.saturating_add(CONSUMED_MS))
        };
        effects.appended.push(Appended {
            part: id,
            base,
            count,
            max_time_ms: header.max_time_ms,
            memory: memory_topic(id.topic),
            bytes: batch,
        });
        if let Some(at) = wake
            && at < topic.armed
        {
            self.arm_topic(id.topic, at);
        }
        if touched != 0 {
            self.touch_part(index, touched);
        }
        if touched & EXTRA != 0 {
            let list: Vec<GroupId> =
                self.topics.get(&id.topic).map(|t| t.groups.values().copied().collect()).unwrap_or_default();
            for g in list {
                self.place(g, id.partition)?;
                self.arm_group(g);
            }
        }
        Ok(())
    }

    fn apply_lease(
        &mut self,
        id: GroupId,
        consumer: &Arc<str>,
        lease_ms: u64,
        first: u64,
        grants: &Places,
        parks: &Places,
        now: Now,
    ) -> Decode<()> {
        let deadline = self.clock(now).saturating_add(lease_ms);
        let mut number = first;
        for (partition, offset) in grants {
            let mut place = self.place(id, *partition)?;
            if place.group.cold.options.mode != Mode::Queue {
                return Err(Bad("a lease of a cursor group"));
            }
            let (keys, end) = (place.keys, place.end);
            let lease = Lease { number, attempt: 0, lease_ms, consumer: consumer.clone(), deadline };
            place.part().grant(*offset, lease, keys, end)?;
            let group = place.group;
            group.leased += 1;
            group.deadlines.insert((deadline, *partition, *offset));
            group.rotor = *partition as usize + 1;
            number = number.checked_add(1).ok_or(Bad("lease number"))?;
        }
        for (partition, offset) in parks {
            let mut place = self.place(id, *partition)?;
            let (keys, end) = (place.keys, place.end);
            place.part().park(*offset, keys, end)?;
        }
        if memory_group(id) {
            self.next_memory.lease = self.next_memory.lease.max(number & !(1 << 63));
        } else {
            if first != self.next.lease {
                return Err(Bad("lease numbers out of order"));
            }
            self.next.lease = number;
        }
        let armed = self.groups.get(&id).map_or(0, |g| g.armed);
        if deadline < armed {
            self.arm_group(id);
        }
        Ok(())
    }

    fn apply_seek(&mut self, id: GroupId, to: &Places, now: Now) -> Decode<()> {
        for (partition, offset) in to {
            self.start_part(id, *partition, *offset, Some(now.wall_ms))?;
        }
        let group = self.groups.get_mut(&id).ok_or(Bad("no such group"))?;
        group.leased = group.parts.iter().map(|p| p.queue.leases.len()).sum();
        self.arm_group(id);
        Ok(())
    }

    /// Puts a group's partition at an offset, as if nothing from there on had ever been handed out.
    fn start_part(&mut self, id: GroupId, partition: u32, to: u64, wall_ms: Option<i64>) -> Decode<()> {
        self.place(id, partition)?;
        let Core { groups, parts, .. } = self;
        let group = groups.get_mut(&id).ok_or(Bad("no such group"))?;
        let index = group.index.get(partition as usize).copied().unwrap_or_default();
        let part = parts.get(index as usize).ok_or(Bad("no such partition"))?;
        if to < part.n.start || to > part.n.end {
            return Err(Bad("a group's place outside of the partition"));
        }
        if group.cold.options.key_order && part.keys.as_ref().is_none_or(|k| to < k.base) && to < part.n.end {
            return Err(Bad("a group's place before the keys"));
        }
        let queue = group.cold.options.mode == Mode::Queue;
        let now = wall_ms.unwrap_or(i64::MIN);
        let due: Vec<(u64, i64)> = match &part.extra {
            Some(extra) if queue => {
                extra.due.range(to..).map(|(o, at)| (*o, *at)).filter(|d| d.1 > now).collect()
            }
            _ => Vec::new(),
        };
        group.deadlines.retain(|d| d.1 != partition);
        group.due.retain(|d| d.1 != partition);
        group.due.extend(due.iter().map(|(offset, at)| (*at, partition, *offset)));
        if let Some(extra) = part.extra.as_ref().filter(|_| queue) {
            group.expiring.retain(|e| e.1 != partition);
            group.expiring.extend(extra.expires.range(to..).map(|(o, at)| (*at, partition, *o)));
        }
        let end = part.n.end;
        let mine = group.parts.get_mut(partition as usize).ok_or(Bad("no such partition"))?;
        mine.begin(to, end, due.into_iter());
        Ok(())
    }

    /// Makes the built-in topic of job events.
    pub(crate) fn add_jobs_topic(&mut self) {
        let id = TopicId::JOBS;
        let cold =
            TopicCold { id, name: Arc::from(""), policy: Policy::default(), created_ms: 0, version: 1 };
        let topic = Topic {
            cold: Arc::new(cold),
            parts: Default::default(),
            groups: Default::default(),
            armed: i64::MAX,
        };
        self.topics.insert(id, topic);
        self.add_parts(id, 1);
    }

    /// Lets a topic have `count` partitions.
    pub(crate) fn add_parts(&mut self, id: TopicId, count: u32) {
        let Some(topic) = self.topics.get_mut(&id) else { return };
        for partition in topic.parts.len() as u32..count {
            let n = PartNumbers {
                id: PartId { topic: id, partition },
                start: 0,
                end: 0,
                total: 0,
                trimmed: 0,
                open: 0,
                first_ms: 0,
                last_ms: 0,
                keys_from: None,
            };
            let part = Part { n, marks: None, extra: None, keys: None, dirty: 0, dirty_keys: Vec::new() };
            // Within a commit that may be undone nothing is reused.
            let free = if self.undo.is_none() { self.free.pop() } else { None };
            match free {
                Some(index) => {
                    self.parts[index as usize] = part;
                    topic.parts.push(index);
                }
                None => {
                    topic.parts.push(self.parts.len() as u32);
                    self.parts.push(part);
                }
            }
        }
    }

    pub(crate) fn index_topic(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get(&id) else { return };
        let cold = topic.cold.clone();
        if id == TopicId::JOBS {
            return;
        }
        self.names.insert(cold.name.clone(), id);
        for claim in &cold.policy.claims {
            self.claims.entry(claim_bucket(claim)).or_default().push((claim.clone(), id));
        }
    }

    pub(crate) fn unindex_topic(&mut self, cold: &TopicCold) {
        self.names.remove(&cold.name);
        for claim in &cold.policy.claims {
            let bucket = claim_bucket(claim);
            if let Some(list) = self.claims.get_mut(&bucket) {
                list.retain(|(_, id)| *id != cold.id);
                if list.is_empty() {
                    self.claims.remove(&bucket);
                }
            }
        }
    }

    fn apply_topic(&mut self, id: TopicId, name: Arc<str>, policy: Policy, now: Now) -> Decode<()> {
        if id == TopicId::JOBS
            || !(1..=MAX_PARTITIONS).contains(&policy.partitions)
            || policy.memory != memory_topic(id)
        {
            return Err(Bad("a topic that cannot be"));
        }
        let count = policy.partitions;
        let groups: Vec<GroupId> = match self.topics.get(&id).map(|t| t.cold.clone()) {
            None => {
                if self.names.contains_key(&name) {
                    return Err(Bad("two topics of one name"));
                }
                if memory_topic(id) {
                    self.next_memory.topic = self.next_memory.topic.wrapping_add(1);
                } else if id.0 == self.next.topic && id.0 < MEMORY {
                    self.next.topic += 1;
                } else {
                    return Err(Bad("a topic's id out of order"));
                }
                let cold = TopicCold { id, name, policy, created_ms: now.wall_ms, version: 1 };
                let topic = Topic {
                    cold: Arc::new(cold),
                    parts: Default::default(),
                    groups: Default::default(),
                    armed: i64::MAX,
                };
                self.topics.insert(id, topic);
                Vec::new()
            }
            Some(old) => {
                if old.name != name || old.policy.partitions > count {
                    return Err(Bad("a topic's change that cannot be"));
                }
                self.unindex_topic(&old);
                let cold = TopicCold { policy, version: old.version.saturating_add(1), ..(*old).clone() };
                let Some(topic) = self.topics.get_mut(&id) else { return Err(Bad("no such topic")) };
                topic.cold = Arc::new(cold);
                topic.groups.values().copied().collect()
            }
        };
        let known = self.topics.get(&id).map_or(0, |t| t.parts.len() as u32);
        self.add_parts(id, count);
        self.index_topic(id);
        let Some(topic) = self.topics.get(&id) else { return Err(Bad("no such topic")) };
        let (cold, parts) = (topic.cold.clone(), topic.parts.clone());
        for index in parts.iter().skip(known as usize) {
            self.touch_part(*index, NUMBERS);
        }
        for g in groups {
            let Some(group) = self.groups.get_mut(&g) else { continue };
            group.consumed = cold.policy.keep_until_consumed;
            group.index = parts.clone();
            let ordered = group.cold.options.key_order;
            group.parts.resize_with(parts.len(), GroupPart::default);
            for partition in known..count {
                if let Some(part) =
                    parts.get(partition as usize).and_then(|n| self.parts.get_mut(*n as usize))
                    && ordered
                {
                    part.keys.get_or_insert_default();
                }
                self.place(g, partition)?;
            }
        }
        if cold.policy.retains() {
            self.arm_topic(id, now.wall_ms.saturating_add(1));
        }
        if !memory_topic(id) {
            self.dirty.topics.push(cold);
        }
        Ok(())
    }

    fn apply_topic_gone(&mut self, id: TopicId) -> Decode<()> {
        let topic = self.topics.get(&id).filter(|_| id != TopicId::JOBS).ok_or(Bad("no such topic"))?;
        if self.served.contains_key(&id) {
            return Err(Bad("a topic that serves a method"));
        }
        let groups: Vec<GroupId> = topic.groups.values().copied().collect();
        for group in groups {
            self.apply_group_gone(group)?;
        }
        let Some(topic) = self.topics.remove(&id) else { return Ok(()) };
        self.unindex_topic(&topic.cold);
        if !memory_topic(id) {
            self.dirty.topic_gone(&topic.cold, &topic.parts, &self.parts);
        }
        for index in topic.parts {
            let part = &mut self.parts[index as usize];
            part.dirty = DEAD;
            part.marks = None;
            part.extra = None;
            part.keys = None;
            match &mut self.undo {
                Some(undo) => undo.freed.push(index),
                None => self.free.push(index),
            }
        }
        Ok(())
    }

    fn apply_group(
        &mut self,
        id: GroupId,
        topic: TopicId,
        name: Arc<str>,
        options: Options,
        at: &[u64],
        keys: &[(u32, u64, Vec<u64>)],
    ) -> Decode<()> {
        let t = self.topics.get(&topic).filter(|_| topic != TopicId::JOBS).ok_or(Bad("no such topic"))?;
        if t.groups.contains_key(&name)
            || at.len() != t.parts.len()
            || memory_group(id) != memory_topic(topic)
        {
            return Err(Bad("a group that cannot be"));
        }
        if options.mode == Mode::Cursor && options.key_order {
            return Err(Bad("a group that cannot be"));
        }
        if memory_group(id) {
            self.next_memory.group = self.next_memory.group.wrapping_add(1);
        } else if id.0 == self.next.group && id.0 < MEMORY {
            self.next.group += 1;
        } else {
            return Err(Bad("a group's id out of order"));
        }
        let index = t.parts.clone();
        if options.key_order {
            for index in &index {
                let part = &mut self.parts[*index as usize];
                let end = part.n.end;
                part.keys.get_or_insert_with(|| Box::new(KeyLog { base: end, ..KeyLog::default() }));
                self.touch_part(*index, NUMBERS | KEYS);
            }
            for (partition, first, hashes) in keys {
                let n = *index.get(*partition as usize).ok_or(Bad("no such partition"))?;
                let part = &mut self.parts[n as usize];
                let Some(log) = &mut part.keys else { continue };
                if first.checked_add(hashes.len() as u64) != Some(log.base) {
                    return Err(Bad("keys that do not fit"));
                }
                log.base = *first;
                for (offset, hash) in (*first..).zip(hashes) {
                    if *hash != 0 {
                        log.set(offset, *hash);
                        if part.dirty_keys.last() != Some(&(offset / KEY_BLOCK)) {
                            part.dirty_keys.push(offset / KEY_BLOCK);
                        }
                    }
                }
            }
        }
        let cold = Arc::new(GroupCold { id, topic, name: name.clone(), options });
        self.add_group(cold.clone())?;
        for (partition, to) in at.iter().enumerate() {
            self.start_part(id, partition as u32, *to, None)?;
        }
        self.arm_group(id);
        if !memory_group(id) {
            self.dirty.groups.push(cold);
        }
        Ok(())
    }

    /// Enters a group into the tables.
    pub(crate) fn add_group(&mut self, cold: Arc<GroupCold>) -> Decode<()> {
        let t = self.topics.get_mut(&cold.topic).ok_or(Bad("no such topic"))?;
        t.groups.insert(cold.name.clone(), cold.id);
        self.group_names.insert((t.cold.name.clone(), cold.name.clone()), cold.id);
        let group = Group {
            topic_name: t.cold.name.clone(),
            parts: t.parts.iter().map(|_| GroupPart::default()).collect(),
            index: t.parts.clone(),
            leased: 0,
            consumed: t.cold.policy.keep_until_consumed,
            rotor: 0,
            deadlines: Default::default(),
            due: Default::default(),
            expiring: Default::default(),
            armed: u64::MAX,
            armed_wall: i64::MAX,
            cold,
        };
        self.groups.insert(group.cold.id, group);
        Ok(())
    }

    fn apply_group_gone(&mut self, id: GroupId) -> Decode<()> {
        let group = self.groups.get(&id).ok_or(Bad("no such group"))?;
        if self.served.get(&group.cold.topic) == Some(&id) {
            return Err(Bad("a group that serves a method"));
        }
        let Some(group) = self.groups.remove(&id) else { return Ok(()) };
        self.group_names.remove(&(group.topic_name.clone(), group.cold.name.clone()));
        if !memory_group(id) {
            self.dirty.group_gone(&group);
        }
        let Some(topic) = self.topics.get_mut(&group.cold.topic) else { return Ok(()) };
        topic.groups.remove(&group.cold.name);
        let ordered = |g: &GroupId| self.groups.get(g).is_some_and(|g| g.cold.options.key_order);
        if group.cold.options.key_order && !topic.groups.values().any(ordered) {
            for index in group.index {
                let part = &mut self.parts[index as usize];
                if let Some(keys) = part.keys.take() {
                    part.dirty_keys.extend(keys.blocks.keys());
                }
                self.touch_part(index, NUMBERS | KEYS);
            }
        }
        Ok(())
    }

    fn apply_trim(&mut self, id: PartId, start: u64, _now: Now) -> Decode<()> {
        let index = self.part_index(id)?;
        let part = &mut self.parts[index as usize];
        if start <= part.n.start || start > part.n.end {
            return Err(Bad("a start outside of the partition"));
        }
        part.n.start = start;
        let mut touched = NUMBERS;
        if let Some(marks) = &mut part.marks {
            let marks = Arc::make_mut(marks);
            while let Some(mark) = marks.front().filter(|m| m.end <= start) {
                part.n.trimmed = part.n.trimmed.max(mark.bytes);
                marks.pop_front();
            }
            touched |= MARKS;
        }
        if start == part.n.end {
            part.n.trimmed = part.n.total;
            part.n.open = part.n.total;
        }
        if let Some(extra) = &mut part.extra {
            let extra = Arc::make_mut(extra);
            extra.due = extra.due.split_off(&start);
            extra.expires = extra.expires.split_off(&start);
            touched |= EXTRA;
        }
        self.touch_part(index, touched);
        let groups: Vec<GroupId> =
            self.topics.get(&id.topic).map(|t| t.groups.values().copied().collect()).unwrap_or_default();
        for g in groups {
            let mut place = self.place(g, id.partition)?;
            let (keys, end) = (place.keys, place.end);
            place.part().trim(start, keys, end);
            let group = place.group;
            group.leased = group.parts.iter().map(|p| p.queue.leases.len()).sum();
        }
        self.cut_keys(index, start);
        Ok(())
    }

    fn apply_boot(&mut self, now: Now, effects: &mut Effects) {
        self.next.epoch = self.next.epoch.saturating_add(1);
        let clock = self.clock(now);
        self.mono.clear();
        let mut ids: Vec<GroupId> = self.groups.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.deadlines.clear();
            group.armed = u64::MAX;
            for (partition, part) in group.parts.iter_mut().enumerate() {
                if part.queue.leases.is_empty() {
                    continue;
                }
                for (offset, lease) in &mut part.queue().leases {
                    lease.deadline = clock.saturating_add(lease.lease_ms);
                    group.deadlines.insert((lease.deadline, partition as u32, *offset));
                }
            }
            if group.parts.iter().any(|p| !p.queue.dying.is_empty()) {
                effects.dying.push(id);
            }
            effects.ready.push(id);
            self.arm_group(id);
        }
    }
}
