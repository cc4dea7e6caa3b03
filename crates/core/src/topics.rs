//! Topics: what a declared log is and promises.

/// The policy of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many partitions; can grow, not shrink.
    pub partitions: u32,
    /// Messages older than this are removed.
    pub keep_age_ms: Option<u64>,
    /// The oldest messages are removed while a partition is larger than this.
    pub keep_bytes: Option<u64>,
    /// Messages are removed once every group is done with them.
    pub keep_until_consumed: bool,
    /// The largest body, in bytes.
    pub max_message: u32,
    /// Same semantics, no journal: gone after a restart.
    pub memory: bool,
    /// Patterns of further addresses that belong to this topic, besides its own name.
    pub claims: Vec<Pattern>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            partitions: 1,
            keep_age_ms: None,
            keep_bytes: None,
            keep_until_consumed: false,
            max_message: 1 << 20,
            memory: false,
            claims: Vec::new(),
        }
    }
}

/// What is known of one partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PartView {
    /// The first kept offset.
    pub start: u64,
    /// The next offset to be given.
    pub end: u64,
    /// Bytes of kept batches.
    pub bytes: u64,
}

/// A topic as it is described to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicView {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// Its policy.
    pub policy: Policy,
    /// Its partitions, in order.
    pub parts: Vec<PartView>,
    /// How many groups it has.
    pub groups: usize,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// Counts changes of the policy; the entity tag.
    pub version: u64,
}

use crate::batch;
use crate::frame::{Change, MEMORY};
use crate::model::{Error, Kind, PartId, Pattern, Result, TopicId, check_name};
use crate::ops::{Batch, Condition, Reply};
use crate::refuse::{conflict, near, precondition, too_large};
use crate::state::{Core, Section, Topic};
use bytes::Bytes;
use std::sync::Arc;

/// The most partitions of a topic.
pub const MAX_PARTITIONS: u32 = 1024;
/// The most claims of a topic besides its name.
pub const MAX_CLAIMS: usize = 64;
/// The largest body a policy may allow.
pub const MAX_MESSAGE: u32 = 64 << 20;
/// The largest batch.
const MAX_BATCH: usize = 72 << 20;

impl Policy {
    fn check(&self) -> Result<()> {
        if !(1..=MAX_PARTITIONS).contains(&self.partitions) {
            return Err(Error::invalid("a topic has 1 to 1,024 partitions"));
        }
        if !(1..=MAX_MESSAGE).contains(&self.max_message) {
            return Err(Error::invalid("max_message is at least 1 byte and at most 64 MiB"));
        }
        if self.claims.len() > MAX_CLAIMS {
            return Err(Error::invalid("a topic has at most 64 claims"));
        }
        if self.keep_age_ms == Some(0) || self.keep_bytes == Some(0) {
            return Err(Error::invalid("keep_age and keep_bytes are more than 0"));
        }
        Ok(())
    }

    /// Whether messages are ever removed.
    pub(crate) fn retains(&self) -> bool {
        self.keep_age_ms.is_some() || self.keep_bytes.is_some() || self.keep_until_consumed
    }
}

/// The bucket of claims that a pattern belongs to.
pub(crate) fn claim_bucket(pattern: &Pattern) -> String {
    match pattern.parts().first() {
        Some(crate::model::address::Part::Literal(text)) => text.to_string(),
        _ => String::new(),
    }
}

impl Core {
    /// The topic of that name, or a refusal with near names.
    pub(crate) fn find_topic(&self, name: &str) -> Result<&Topic> {
        self.names.get(name).and_then(|id| self.topics.get(id)).ok_or_else(|| self.no_topic(name))
    }

    fn names_from<'a>(&'a self, from: &str) -> impl Iterator<Item = (&'a Arc<str>, &'a TopicId)> {
        use std::ops::Bound::{Included, Unbounded};
        self.names.range::<str, _>((Included(from), Unbounded))
    }

    fn no_topic(&self, name: &str) -> Error {
        let stem = name.get(..1).unwrap_or("");
        let names = self.names_from(stem).map(|(n, _)| &**n).take_while(|n| n.starts_with(stem));
        Error::new(Kind::NotFound, "SB0301", format!("there is no topic {:?}", shown(name))).fix(near(
            name,
            names,
            "Declare it with PUT /topics/{name}",
        ))
    }

    /// Another topic whose name or claims this name or these claims would meet.
    fn overlap(
        &self,
        own: Option<TopicId>,
        name: &str,
        claims: &[Pattern],
    ) -> Result<Option<(TopicId, String)>> {
        let exact = Pattern::parse(name)?;
        let others = |pattern: &Pattern| -> Option<(TopicId, String)> {
            let bucket = claim_bucket(pattern);
            let lists: Vec<_> = if bucket.is_empty() {
                self.claims.values().collect()
            } else {
                self.claims.get(&bucket).into_iter().chain(self.claims.get("")).collect()
            };
            let mut all = lists.into_iter().flatten();
            let (claim, id) = all.find(|(p, id)| Some(*id) != own && p.overlaps(pattern))?;
            Some((*id, format!("its claim {claim}")))
        };
        if let Some(found) = others(&exact) {
            return Ok(Some(found));
        }
        for claim in claims {
            let literal = claim_bucket(claim);
            let mut names = self
                .names_from(&literal)
                .take_while(|(n, _)| n.starts_with(literal.as_str()))
                .filter(|(_, id)| Some(**id) != own);
            let hit = names
                .find(|(n, _)| crate::model::Address::parse(n).is_ok_and(|address| claim.matches(&address)));
            if let Some((_, id)) = hit {
                return Ok(Some((*id, "its name".to_owned())));
            }
            if let Some(found) = others(claim) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    pub(crate) fn declare_topic(
        &mut self,
        s: &mut Section<'_>,
        name: String,
        policy: Policy,
        condition: Condition,
    ) -> Result<Reply> {
        check_name("topic", &name)?;
        policy.check()?;
        let known = self.names.get(name.as_str()).and_then(|id| self.topics.get(id)).map(|t| t.cold.clone());
        match (&known, condition) {
            (Some(cold), Condition::Ensure) => {
                return Ok(Reply::Topic {
                    created: false,
                    view: self.topic_by_id(cold.id).ok_or_else(lost)?,
                });
            }
            (Some(cold), Condition::Absent) => {
                return Err(precondition(format!("the topic {} exists already", cold.name)));
            }
            (Some(cold), Condition::Version(version)) if version != cold.version => {
                return Err(precondition(format!(
                    "the topic {} has version {}, not {version}",
                    cold.name, cold.version
                )));
            }
            (None, Condition::Present) => {
                return Err(Error::new(Kind::NotFound, "SB0301", format!("there is no topic {name:?}"))
                    .fix("Create it first"));
            }
            (None, Condition::Version(version)) => {
                return Err(precondition(format!(
                    "the topic {name} does not exist, so it has no version {version}"
                )));
            }
            _ => {}
        }
        if let Some((id, what)) = self.overlap(known.as_ref().map(|c| c.id), &name, &policy.claims)? {
            let other = self.topics.get(&id).map_or_else(String::new, |t| t.cold.name.to_string());
            return Err(conflict(format!("the topic {name} would overlap the topic {other} by {what}"))
                .fix(format!("Publish to {other}, or change its claims, or choose another name")));
        }
        let id = match &known {
            Some(cold) => {
                if cold.policy == policy {
                    return Ok(Reply::Topic {
                        created: false,
                        view: self.topic_by_id(cold.id).ok_or_else(lost)?,
                    });
                }
                if policy.partitions < cold.policy.partitions {
                    return Err(Error::invalid(format!(
                        "the topic {name} has {} partitions; partitions cannot shrink",
                        cold.policy.partitions
                    )));
                }
                if policy.memory != cold.policy.memory {
                    return Err(Error::invalid(format!("the topic {name} exists; memory cannot be changed"))
                        .fix("Delete the topic and declare it again"));
                }
                cold.id
            }
            None if policy.memory => {
                self.memory_id(self.next_memory.topic, |core, id| core.topics.contains_key(&TopicId(id)))?
            }
            None => TopicId(self.next.topic),
        };
        if known.is_none() && !policy.memory && id.0 >= MEMORY {
            return Err(crate::refuse::exhausted("there are no more topic ids"));
        }
        self.emit(s, Change::Topic { id, name: Arc::from(name), policy })?;
        let view = self.topic_by_id(id).ok_or_else(lost)?;
        Ok(Reply::Topic { created: known.is_none(), view })
    }

    /// The next free id for something in memory. It begins at a number made from the epoch, so that ids of an earlier one do not match.
    pub(crate) fn memory_id(&self, counter: u32, taken: impl Fn(&Core, u32) -> bool) -> Result<TopicId> {
        let base = (self.next.epoch.wrapping_mul(0x9E37_79B9) & 0x7FFF_FFFF) as u32;
        for n in 0..100_000u32 {
            let id = MEMORY | (base.wrapping_add(counter).wrapping_add(n) & 0x7FFF_FFFF);
            if TopicId(id) != TopicId::JOBS && !taken(self, id) {
                return Ok(TopicId(id));
            }
        }
        Err(crate::refuse::exhausted("there are no more ids for memory topics"))
    }

    pub(crate) fn delete_topic(&mut self, s: &mut Section<'_>, name: &str) -> Result<Reply> {
        let id = self.find_topic(name)?.cold.id;
        if let Some((method, _)) = self.methods.iter().find(|(_, p)| p.topic == name) {
            return Err(conflict(format!("the topic {name} serves the method {method}"))
                .fix("Delete the method first"));
        }
        self.emit(s, Change::TopicGone { id })?;
        Ok(Reply::Done)
    }

    pub(crate) fn check_append(&self, topic: TopicId, partition: u32, batch: &Batch) -> Result<()> {
        let known = self.topics.get(&topic).filter(|_| topic != TopicId::JOBS).ok_or_else(|| {
            Error::new(Kind::NotFound, "SB0301", "the topic is gone").fix("Look it up by its name again")
        })?;
        if partition as usize >= known.parts.len() {
            return Err(Error::invalid(format!(
                "the topic {} has no partition {partition}",
                known.cold.name
            )));
        }
        let count = check_batch(&batch.bytes)?;
        if batch.due.iter().chain(&batch.expires).any(|(n, _)| *n >= count) {
            return Err(Error::invalid("a time for a message that is not in the batch"));
        }
        Ok(())
    }

    /// Appends a batch that was checked.
    pub(crate) fn append(&mut self, s: &mut Section<'_>, part: PartId, mut batch: Batch) -> Result<Reply> {
        let base = self.part(part).ok_or_else(lost)?.n.end;
        batch::set_base_offset(&mut batch.bytes, base);
        let header = batch::header(&batch.bytes).map_err(|e| Error::invalid(e.to_string()))?;
        let change =
            Change::Append { part, batch: Bytes::from(batch.bytes), due: batch.due, expires: batch.expires };
        self.emit(s, change)?;
        Ok(Reply::Appended { part, base, count: header.count, at_ms: header.max_time_ms })
    }

    /// How far retention may remove messages now.
    pub(crate) fn retention_point(&self, part: PartId, wall_ms: i64) -> Option<u64> {
        let topic = self.topics.get(&part.topic)?;
        let p = self.part(part)?;
        if part.topic == TopicId::JOBS {
            let to = self.first_events.first().copied().unwrap_or(p.n.end);
            return (to > p.n.start).then_some(to);
        }
        let policy = &topic.cold.policy;
        let mut to = p.n.start;
        let marks = || p.marks.iter().flat_map(|m| m.iter());
        if let Some(age) = policy.keep_age_ms {
            let limit = wall_ms.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX));
            let old = marks().take_while(|m| m.time_ms <= limit).last();
            to = to.max(old.map_or(0, |m| m.end));
            if p.n.total > p.n.open && p.n.last_ms <= limit {
                to = p.n.end;
            }
        }
        if let Some(keep) = policy.keep_bytes {
            // The first mark behind which no more than `keep` is left. Marks set before there was a limit lie far apart: rather than remove
            // most of what may stay, or nothing, the one before it is taken, and the next append comes closer.
            let limit = p.n.total.saturating_sub(keep);
            if p.n.total - p.n.trimmed > keep {
                let behind = marks()
                    .find(|m| m.bytes >= limit)
                    .filter(|m| p.n.total.saturating_sub(m.bytes) >= keep / 2);
                let mark = behind.or_else(|| marks().take_while(|m| m.bytes < limit).last());
                to = to.max(mark.map_or(0, |m| m.end));
            }
        }
        let floors = || {
            topic
                .groups
                .values()
                .filter_map(|g| self.groups.get(g)?.parts.get(part.partition as usize))
                .map(|p| p.queue.floor)
        };
        if policy.keep_until_consumed {
            to = to.max(floors().min().unwrap_or(0));
        }
        // Work that is not done is not removed from under its job.
        if let Some(workers) = self.served.get(&part.topic).and_then(|g| self.groups.get(g)) {
            to = to.min(workers.parts.get(part.partition as usize).map_or(to, |p| p.queue.floor));
        }
        (to > p.n.start).then_some(to.min(p.n.end))
    }

    /// When age asks for the next look at a topic.
    pub(crate) fn next_age(&self, topic: &Topic) -> Option<i64> {
        let age = i64::try_from(topic.cold.policy.keep_age_ms?).unwrap_or(i64::MAX);
        let oldest = topic.parts.iter().filter_map(|index| {
            let p = self.parts.get(*index as usize)?;
            match p.marks.as_ref().and_then(|m| m.front()) {
                Some(mark) => Some(mark.time_ms),
                None => (p.n.total > p.n.open).then_some(p.n.last_ms),
            }
        });
        oldest.min().map(|t| t.saturating_add(age))
    }

    fn view(&self, topic: &Topic) -> TopicView {
        let parts = topic.parts.iter().filter_map(|n| self.parts.get(*n as usize)).map(|p| PartView {
            start: p.n.start,
            end: p.n.end,
            bytes: p.n.total - p.n.trimmed,
        });
        TopicView {
            id: topic.cold.id,
            name: topic.cold.name.to_string(),
            policy: topic.cold.policy.clone(),
            parts: parts.collect(),
            groups: topic.groups.len(),
            created_ms: topic.cold.created_ms,
            version: topic.cold.version,
        }
    }

    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<TopicView> {
        self.topic_by_id(*self.names.get(name)?)
    }

    /// A topic, the built-in one too.
    pub fn topic_by_id(&self, id: TopicId) -> Option<TopicView> {
        self.topics.get(&id).map(|t| self.view(t))
    }

    /// Topics by name, and whether there are more.
    pub fn topics(&self, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<TopicView>, bool) {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = match after {
            Some(after) if after >= prefix => Excluded(after),
            _ => Included(prefix),
        };
        let mut names =
            self.names.range::<str, _>((from, Unbounded)).take_while(|(name, _)| name.starts_with(prefix));
        let found = names.by_ref().take(limit).filter_map(|(_, id)| self.topic_by_id(*id)).collect();
        (found, names.next().is_some())
    }

    /// Every topic that has a name, by id.
    pub fn topic_ids(&self) -> Vec<TopicId> {
        let mut ids: Vec<TopicId> = self.names.values().copied().collect();
        ids.sort_unstable();
        ids
    }
}

/// Whether a name fits to be shown in an error.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

/// For what cannot be missing.
pub(crate) fn lost() -> Error {
    Error::internal("something that was just there is missing")
}

/// Checks the frame of a batch; gives its number of messages.
pub(crate) fn check_batch(bytes: &[u8]) -> Result<u32> {
    if bytes.len() > MAX_BATCH {
        return Err(too_large("the batch is larger than 72 MiB"));
    }
    let header = batch::header(bytes).map_err(|e| Error::invalid(e.to_string()))?;
    if header.size != bytes.len() || header.count == 0 || header.last_offset_delta != header.count - 1 {
        return Err(Error::invalid("the batch is empty, has gaps or is not as long as it says"));
    }
    Ok(header.count)
}
