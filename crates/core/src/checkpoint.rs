//! Checkpoints: what changed since the last one, taken as counted references and copies of plain numbers, encoded elsewhere.
//!
//! Each thing has its own key: a tag, then big-endian ids, so that the order of keys is the order in which [`Core::restore`] needs them.

use crate::dedup::Chunk;
use crate::frame::{memory_group, memory_topic};
use crate::jobs::{MethodPolicy, State};
use crate::model::{GroupId, JobId, PartId, TopicId};
use crate::queue::{Block, GroupPart, KEY_BLOCK, KeyLog, Queue};
use crate::state::{
    Core, Extra, Group, GroupCold, Job, JobSlot, Mark, Next, Part, PartNumbers, TopicCold, Wake,
};
use crate::topics::MAX_PARTITIONS;
use crate::wire::{Bad, Decode, Wire, whole};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

/// What of a partition changed.
pub(crate) const NUMBERS: u8 = 1;
pub(crate) const MARKS: u8 = 2;
pub(crate) const EXTRA: u8 = 4;
pub(crate) const KEYS: u8 = 8;
/// It is no more.
pub(crate) const DEAD: u8 = 128;

/// The version of what checkpoints write.
const VERSION: u32 = 1;

#[derive(Copy, Clone)]
#[repr(u8)]
enum Tag {
    Meta = 1,
    Topic,
    Numbers,
    Marks,
    Extra,
    Keys,
    Group,
    Queue,
    Block,
    Method,
    Job,
    Dedup,
}

fn key(tag: Tag, id: u32, partition: u32, n: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(17);
    key.push(tag as u8);
    match tag {
        Tag::Meta => {}
        Tag::Topic | Tag::Group => key.extend_from_slice(&id.to_be_bytes()),
        Tag::Dedup => {
            key.extend_from_slice(&n.to_be_bytes());
            key.extend_from_slice(&partition.to_be_bytes());
        }
        _ => {
            key.extend_from_slice(&id.to_be_bytes());
            key.extend_from_slice(&partition.to_be_bytes());
            if matches!(tag, Tag::Keys | Tag::Block) {
                key.extend_from_slice(&n.to_be_bytes());
            }
        }
    }
    key
}

fn part_key(tag: Tag, id: PartId) -> Vec<u8> {
    key(tag, id.topic.0, id.partition, 0)
}

fn named(tag: Tag, name: &[u8]) -> Vec<u8> {
    let mut key = vec![tag as u8];
    key.extend_from_slice(name);
    key
}

fn bytes(value: &impl Wire) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// What changed since the last checkpoint.
#[derive(Default)]
pub(crate) struct Dirty {
    pub topics: Vec<Arc<TopicCold>>,
    pub parts: Vec<u32>,
    pub groups: Vec<Arc<GroupCold>>,
    pub group_parts: Vec<(GroupId, u32)>,
    pub methods: BTreeSet<Arc<str>>,
    pub jobs: Vec<JobId>,
    pub dedup: BTreeSet<(u64, u32)>,
    /// Keys of what is gone; ids are not used again, so this is final.
    gone: Vec<Vec<u8>>,
}

/// How long the lists were that say something about what exists.
#[derive(Copy, Clone)]
pub(crate) struct DirtyMark(usize, usize, usize);

impl Dirty {
    pub fn mark(&self) -> DirtyMark {
        DirtyMark(self.topics.len(), self.groups.len(), self.gone.len())
    }

    pub fn restore(&mut self, mark: DirtyMark) {
        self.topics.truncate(mark.0);
        self.groups.truncate(mark.1);
        self.gone.truncate(mark.2);
    }

    pub fn topic_gone(&mut self, cold: &TopicCold, indexes: &[u32], parts: &[Part]) {
        self.gone.push(key(Tag::Topic, cold.id.0, 0, 0));
        for part in indexes.iter().filter_map(|n| parts.get(*n as usize)) {
            for tag in [Tag::Numbers, Tag::Marks, Tag::Extra] {
                self.gone.push(part_key(tag, part.n.id));
            }
            let blocks = part.keys.iter().flat_map(|k| k.blocks.keys()).chain(&part.dirty_keys);
            for block in blocks.copied().collect::<BTreeSet<u64>>() {
                self.gone.push(key(Tag::Keys, cold.id.0, part.n.id.partition, block));
            }
        }
    }

    pub fn group_gone(&mut self, group: &Group) {
        let id = group.cold.id.0;
        self.gone.push(key(Tag::Group, id, 0, 0));
        for (partition, part) in group.parts.iter().enumerate() {
            let partition = partition as u32;
            self.gone.push(key(Tag::Queue, id, partition, 0));
            let blocks: BTreeSet<u64> = part.done.blocks.keys().chain(&part.done.dirty).copied().collect();
            self.gone.extend(blocks.into_iter().map(|block| key(Tag::Block, id, partition, block)));
        }
    }
}

/// A part of a partition that is there, or is to be deleted.
enum PartItem {
    Marks(PartId, Option<Arc<VecDeque<Mark>>>),
    Extra(PartId, Option<Arc<Extra>>),
    Keys(PartId, u64, Option<Arc<Vec<u64>>>),
}

/// What has to be written so that [`Core::restore`] gives the state of this moment. Cheap to take; encoded elsewhere.
pub struct Checkpoint {
    next: Next,
    topics: Vec<Arc<TopicCold>>,
    numbers: Vec<PartNumbers>,
    items: Vec<PartItem>,
    groups: Vec<Arc<GroupCold>>,
    queues: Vec<(GroupId, u32, Arc<Queue>)>,
    blocks: Vec<(GroupId, u32, u64, Option<Arc<Block>>)>,
    methods: Vec<(Arc<str>, Option<MethodPolicy>)>,
    jobs: Vec<(JobId, Option<Arc<Job>>)>,
    dedup: Vec<((u64, u32), Option<Chunk>)>,
    gone: Vec<Vec<u8>>,
}

impl Checkpoint {
    /// Keys with their new values.
    pub fn puts(&self) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> {
        let gone: HashSet<&[u8], foldhash::fast::FixedState> = self.gone.iter().map(|k| &k[..]).collect();
        let meta = std::iter::once_with(|| (vec![Tag::Meta as u8], bytes(&(VERSION, self.next))));
        let topics = self.topics.iter().map(|t| (key(Tag::Topic, t.id.0, 0, 0), bytes(&**t)));
        let numbers = self.numbers.iter().map(|n| (part_key(Tag::Numbers, n.id), bytes(n)));
        let items = self.items.iter().filter_map(|item| match item {
            PartItem::Marks(id, value) => {
                let marks: Vec<Mark> = value.as_ref()?.iter().copied().collect();
                Some((part_key(Tag::Marks, *id), bytes(&marks)))
            }
            PartItem::Extra(id, value) => Some((part_key(Tag::Extra, *id), bytes(&**value.as_ref()?))),
            PartItem::Keys(id, block, value) => {
                let mut out = Vec::new();
                value.as_ref()?.iter().for_each(|hash| out.extend_from_slice(&hash.to_be_bytes()));
                Some((key(Tag::Keys, id.topic.0, id.partition, *block), out))
            }
        });
        let groups = self.groups.iter().map(|g| (key(Tag::Group, g.id.0, 0, 0), bytes(&**g)));
        let queues = self.queues.iter().map(|(g, p, q)| (key(Tag::Queue, g.0, *p, 0), bytes(&**q)));
        let blocks = self
            .blocks
            .iter()
            .filter_map(|(g, p, n, block)| Some((key(Tag::Block, g.0, *p, *n), bytes(&**block.as_ref()?))));
        let methods = self.methods.iter().filter_map(|(name, policy)| {
            Some((named(Tag::Method, name.as_bytes()), bytes(policy.as_ref()?)))
        });
        let jobs = self
            .jobs
            .iter()
            .filter_map(|(id, job)| Some((named(Tag::Job, &id.0.to_be_bytes()), bytes(&**job.as_ref()?))));
        let dedup = self
            .dedup
            .iter()
            .filter_map(|((n, at), chunk)| Some((key(Tag::Dedup, 0, *at, *n), bytes(&**chunk.as_ref()?))));
        let all = meta.chain(topics).chain(numbers).chain(items).chain(groups).chain(queues);
        let all = all.chain(blocks).chain(methods).chain(jobs).chain(dedup);
        Box::new(all.filter(move |(key, _)| !gone.contains(&key[..])))
    }

    /// Keys to delete. None of them is among [`Checkpoint::puts`].
    pub fn deletes(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        let items = self.items.iter().filter_map(|item| match item {
            PartItem::Marks(id, None) => Some(part_key(Tag::Marks, *id)),
            PartItem::Extra(id, None) => Some(part_key(Tag::Extra, *id)),
            PartItem::Keys(id, block, None) => Some(key(Tag::Keys, id.topic.0, id.partition, *block)),
            _ => None,
        });
        let blocks =
            self.blocks.iter().filter(|b| b.3.is_none()).map(|(g, p, n, _)| key(Tag::Block, g.0, *p, *n));
        let methods =
            self.methods.iter().filter(|m| m.1.is_none()).map(|m| named(Tag::Method, m.0.as_bytes()));
        let jobs = self.jobs.iter().filter(|j| j.1.is_none()).map(|j| named(Tag::Job, &j.0.0.to_be_bytes()));
        let dedup =
            self.dedup.iter().filter(|d| d.1.is_none()).map(|((n, at), _)| key(Tag::Dedup, 0, *at, *n));
        Box::new(self.gone.iter().cloned().chain(items).chain(blocks).chain(methods).chain(jobs).chain(dedup))
    }
}

impl Core {
    /// Takes what changed since the last one.
    pub fn checkpoint(&mut self) -> Checkpoint {
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut numbers = Vec::with_capacity(dirty.parts.len());
        let mut items = Vec::new();
        for index in dirty.parts {
            let Some(part) = self.parts.get_mut(index as usize) else { continue };
            let what = part.dirty;
            part.dirty &= DEAD;
            if what & DEAD != 0 || what == 0 {
                continue;
            }
            part.n.keys_from = part.keys.as_ref().map(|k| k.base);
            numbers.push(part.n);
            if what & MARKS != 0 {
                items.push(PartItem::Marks(part.n.id, part.marks.clone()));
            }
            if what & EXTRA != 0 {
                items.push(PartItem::Extra(part.n.id, part.extra.clone()));
            }
            if what & KEYS != 0 {
                let mut blocks = std::mem::take(&mut part.dirty_keys);
                blocks.sort_unstable();
                blocks.dedup();
                for block in blocks {
                    let value = part.keys.as_ref().and_then(|k| k.blocks.get(&block)).cloned();
                    items.push(PartItem::Keys(part.n.id, block, value));
                }
            }
        }
        let mut queues = Vec::with_capacity(dirty.group_parts.len());
        let mut blocks = Vec::new();
        for (id, partition) in dirty.group_parts {
            let part = self.groups.get_mut(&id).and_then(|g| g.parts.get_mut(partition as usize));
            let Some(part) = part.filter(|p| p.dirty) else { continue };
            part.dirty = false;
            queues.push((id, partition, part.queue.clone()));
            let mut changed = std::mem::take(&mut part.done.dirty);
            changed.sort_unstable();
            changed.dedup();
            blocks.extend(changed.into_iter().map(|n| (id, partition, n, part.done.blocks.get(&n).cloned())));
        }
        let methods = dirty.methods.into_iter().map(|name| {
            let policy = self.methods.get(&name).cloned();
            (name, policy)
        });
        let methods = methods.collect();
        dirty.jobs.sort_unstable();
        dirty.jobs.dedup();
        let jobs = dirty.jobs.into_iter().map(|id| match self.jobs.get_mut(&id) {
            Some(slot) => {
                slot.dirty = false;
                (id, Some(slot.job.clone()))
            }
            None => (id, None),
        });
        let jobs = jobs.collect();
        let dedup = dirty.dedup.into_iter().map(|(n, at)| {
            ((n, at), self.dedup.buckets.get(&n).and_then(|chunks| chunks.get(at as usize)).cloned())
        });
        let dedup = dedup.collect();
        Checkpoint {
            next: self.next,
            topics: dirty.topics,
            numbers,
            items,
            groups: dirty.groups,
            queues,
            blocks,
            methods,
            jobs,
            dedup,
            gone: dirty.gone,
        }
    }

    /// Everything durable, as one checkpoint would write it.
    fn everything(&self) -> Checkpoint {
        let durable = |part: &&Part| part.dirty & DEAD == 0 && !memory_topic(part.n.id.topic);
        let (mut numbers, mut items) = (Vec::new(), Vec::new());
        for part in self.parts.iter().filter(durable) {
            let id = part.n.id;
            numbers.push(PartNumbers { keys_from: part.keys.as_ref().map(|k| k.base), ..part.n });
            items.push(PartItem::Marks(id, part.marks.clone()));
            items.push(PartItem::Extra(id, part.extra.clone()));
            let blocks = part.keys.iter().flat_map(|k| &k.blocks);
            items.extend(blocks.map(|(n, block)| PartItem::Keys(id, *n, Some(block.clone()))));
        }
        let (mut groups, mut queues, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
        for group in self.groups.values().filter(|g| !memory_group(g.cold.id)) {
            let id = group.cold.id;
            groups.push(group.cold.clone());
            for (partition, part) in group.parts.iter().enumerate() {
                queues.push((id, partition as u32, part.queue.clone()));
                let all = part.done.blocks.iter();
                blocks.extend(all.map(|(n, block)| (id, partition as u32, *n, Some(block.clone()))));
            }
        }
        let topics = self.topics.values().filter(|t| t.cold.id.0 < crate::frame::MEMORY);
        let chunks = self.dedup.buckets.iter().flat_map(|(n, chunks)| {
            chunks.iter().enumerate().map(|(at, chunk)| ((*n, at as u32), Some(chunk.clone())))
        });
        Checkpoint {
            next: self.next,
            topics: topics.map(|t| t.cold.clone()).collect(),
            numbers,
            items,
            groups,
            queues,
            blocks,
            methods: self.methods.iter().map(|(name, policy)| (name.clone(), Some(policy.clone()))).collect(),
            jobs: self.jobs.iter().map(|(id, slot)| (*id, Some(slot.job.clone()))).collect(),
            dedup: chunks.collect(),
            gone: Vec::new(),
        }
    }

    /// Over everything durable (memory topics left out).
    pub fn hash(&self) -> u64 {
        let everything = self.everything();
        // A sum, so that the order does not matter.
        let one = |(key, value): (Vec<u8>, Vec<u8>)| {
            let mut all = bytes(&bytes::Bytes::from(key));
            all.extend_from_slice(&value);
            xxhash_rust::xxh3::xxh3_64(&all)
        };
        everything.puts().map(one).fold(0, u64::wrapping_add)
    }

    /// From everything checkpoints have written. Err: what does not decode.
    pub fn restore(entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Core, String> {
        let mut all: Vec<(Vec<u8>, Vec<u8>)> = entries.into_iter().collect();
        all.sort_unstable();
        let mut core = Core::new();
        for (key, value) in all {
            core.restore_entry(&key, &value)
                .map_err(|bad| format!("checkpoint entry {key:02x?}: {}", bad.0))?;
        }
        core.restored()?;
        Ok(core)
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Decode<()> {
        let mut r = sb_wirekit::Reader::new(key);
        let tag = r.u8()?;
        let is = |t: Tag| tag == t as u8;
        if is(Tag::Meta) {
            let (version, next): (u32, Next) = whole(value)?;
            if version != VERSION {
                return Err(Bad("an unknown version"));
            }
            self.next = next;
        } else if is(Tag::Topic) {
            let cold: TopicCold = whole(value)?;
            let (id, count) = (cold.id, cold.policy.partitions);
            if memory_topic(id) || id == TopicId::JOBS || !(1..=MAX_PARTITIONS).contains(&count) {
                return Err(Bad("a topic that cannot be"));
            }
            let topic = crate::state::Topic {
                cold: Arc::new(cold),
                parts: Default::default(),
                groups: BTreeMap::new(),
                armed: i64::MAX,
            };
            self.topics.insert(id, topic);
            self.add_parts(id, count);
            self.index_topic(id);
        } else if is(Tag::Numbers) || is(Tag::Marks) || is(Tag::Extra) || is(Tag::Keys) {
            let id = PartId { topic: TopicId(r.u32()?), partition: r.u32()? };
            let index = self.part_index(id)?;
            let part = self.parts.get_mut(index as usize).ok_or(Bad("no such partition"))?;
            if is(Tag::Numbers) {
                part.n = whole(value)?;
                let n = &part.n;
                let sane =
                    n.start <= n.end && n.end < u64::MAX / 4 && n.trimmed <= n.total && n.open <= n.total;
                if n.id != id || !sane {
                    return Err(Bad("numbers that cannot be"));
                }
                part.keys = n.keys_from.map(|base| Box::new(KeyLog { base, ..KeyLog::default() }));
            } else if is(Tag::Marks) {
                part.marks = Some(Arc::new(whole::<Vec<Mark>>(value)?.into()));
            } else if is(Tag::Extra) {
                part.extra = Some(Arc::new(whole(value)?));
            } else {
                let n = r.u64()?;
                let hashes = value.chunks_exact(8).map(|c| c.try_into().map_or(0, u64::from_be_bytes));
                let hashes: Vec<u64> = hashes.collect();
                if hashes.len() as u64 > KEY_BLOCK || n > u64::MAX / 4 / KEY_BLOCK {
                    return Err(Bad("too many keys"));
                }
                part.keys.as_mut().ok_or(Bad("keys that nobody needs"))?.blocks.insert(n, Arc::new(hashes));
            }
        } else if is(Tag::Group) {
            let cold: GroupCold = whole(value)?;
            if memory_group(cold.id) || cold.topic == TopicId::JOBS {
                return Err(Bad("a group that cannot be"));
            }
            self.add_group(Arc::new(cold))?;
        } else if is(Tag::Queue) || is(Tag::Block) {
            let (id, partition) = (GroupId(r.u32()?), r.u32()?);
            let group = self.groups.get_mut(&id).ok_or(Bad("no such group"))?;
            let part: &mut GroupPart =
                group.parts.get_mut(partition as usize).ok_or(Bad("no such partition"))?;
            if is(Tag::Queue) {
                part.queue = Arc::new(whole(value)?);
            } else {
                let n = r.u64()?;
                if n > u64::MAX / 4 / crate::queue::BLOCK {
                    return Err(Bad("a block out of range"));
                }
                part.done.blocks.insert(n, Arc::new(whole(value)?));
            }
        } else if is(Tag::Method) {
            let name = std::str::from_utf8(r.rest()).map_err(|_| Bad("a name that is not text"))?;
            self.methods.insert(Arc::from(name), whole(value)?);
        } else if is(Tag::Job) {
            let job: Job = whole(value)?;
            self.index_job(&job);
            self.jobs.insert(job.id, JobSlot { job: Arc::new(job), dirty: false });
        } else if is(Tag::Dedup) {
            let (n, at) = (r.u64()?, r.u32()?);
            self.dedup.restore(n, at, whole::<Vec<_>>(value).map(Arc::new)?)?;
        } else {
            return Err(Bad("an unknown kind"));
        }
        Ok(())
    }

    /// Derives what is not written, and checks what was read.
    fn restored(&mut self) -> Result<(), String> {
        self.find_served();
        let mut ids: Vec<GroupId> = self.groups.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.leased = group.parts.iter().map(|p| p.queue.leases.len()).sum();
            for (n, part) in group.parts.iter().enumerate() {
                let p = n as u32;
                group.deadlines.extend(part.queue.leases.iter().map(|(o, l)| (l.deadline, p, *o)));
                group.due.extend(part.queue.delayed.iter().map(|(o, d)| (d.due, p, *o)));
                let extra = group.index.get(n).and_then(|i| self.parts.get(*i as usize)?.extra.as_ref());
                if let Some(extra) = extra.filter(|_| group.cold.options.mode == crate::groups::Mode::Queue) {
                    let kept = extra.expires.range(part.queue.floor..);
                    group.expiring.extend(kept.map(|(o, at)| (*at, p, *o)));
                }
            }
            self.arm_group(id);
        }
        self.check()?;
        let topics: Vec<TopicId> = self.topics.keys().copied().collect();
        for id in topics {
            if id == TopicId::JOBS || self.topics.get(&id).is_some_and(|t| t.cold.policy.retains()) {
                self.arm_topic(id, i64::MIN);
            }
        }
        self.wall.extend(self.dedup.first().map(|(_, over)| (over, Wake::Dedup)));
        Ok(())
    }

    /// Checks what must always hold. Costs a walk over all groups.
    pub fn check(&self) -> Result<(), String> {
        for group in self.groups.values() {
            for (n, part) in group.parts.iter().enumerate() {
                part.check(self.end_of(group, n), self.keys_of(group, n)).map_err(|what| {
                    format!("group {} of {}, partition {n}: {what}", group.cold.name, group.topic_name)
                })?;
            }
            if group.leased != group.parts.iter().map(|p| p.queue.leases.len()).sum::<usize>() {
                return Err("the number of leases".into());
            }
        }
        let places = self.job_at.len();
        if places
            != self.by_state[State::Queued as usize].len() + self.by_state[State::Running as usize].len()
        {
            return Err("the places of jobs".into());
        }
        Ok(())
    }
}
