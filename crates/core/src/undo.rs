//! What is needed to take back a commit of several operations: each thing it touches as it was before.

use crate::checkpoint::DirtyMark;
use crate::frame::Change;
use crate::jobs::MethodPolicy;
use crate::model::{GroupId, JobId, PartId, TopicId};
use crate::state::{Core, Group, JobSlot, Next, NextMemory, Part, Topic, Wake};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The things as they were.
pub(crate) struct Undo {
    topics: BTreeMap<TopicId, Option<Topic>>,
    parts: BTreeMap<u32, Part>,
    part_count: usize,
    groups: BTreeMap<GroupId, Option<Group>>,
    jobs: BTreeMap<JobId, Option<JobSlot>>,
    methods: Option<BTreeMap<Arc<str>, MethodPolicy>>,
    next: Next,
    next_memory: NextMemory,
    dirty: DirtyMark,
    /// Partitions whose place can be used again once the commit stands.
    pub freed: Vec<u32>,
}

impl Undo {
    pub fn begin(core: &Core) -> Box<Undo> {
        Box::new(Undo {
            topics: BTreeMap::new(),
            parts: BTreeMap::new(),
            part_count: core.parts.len(),
            groups: BTreeMap::new(),
            jobs: BTreeMap::new(),
            methods: None,
            next: core.next,
            next_memory: core.next_memory,
            dirty: core.dirty.mark(),
            freed: Vec::new(),
        })
    }

    /// The commit stands.
    pub fn finish(self, core: &mut Core) {
        core.free.extend(self.freed);
    }

    /// The commit was refused.
    pub fn roll_back(self, core: &mut Core) {
        for (id, old) in self.jobs {
            if let Some(slot) = core.jobs.remove(&id) {
                core.unindex_job(&slot.job);
            }
            if let Some(slot) = old {
                core.index_job(&slot.job);
                core.jobs.insert(id, slot);
            }
        }
        for (id, old) in &self.groups {
            if let Some(group) = core.groups.remove(id) {
                core.group_names.remove(&(group.topic_name.clone(), group.cold.name.clone()));
            }
            if let Some(group) = old {
                core.group_names.insert((group.topic_name.clone(), group.cold.name.clone()), *id);
                core.groups.insert(*id, group.clone());
            }
        }
        for id in self.topics.keys() {
            if let Some(topic) = core.topics.remove(id) {
                core.unindex_topic(&topic.cold);
            }
        }
        for (id, old) in self.topics {
            if let Some(topic) = old {
                core.topics.insert(id, topic);
                core.index_topic(id);
            }
        }
        core.parts.truncate(self.part_count);
        for (index, part) in self.parts {
            if let Some(place) = core.parts.get_mut(index as usize) {
                *place = part;
            }
        }
        if let Some(methods) = self.methods {
            core.methods = methods;
        }
        core.find_served();
        core.next = self.next;
        core.next_memory = self.next_memory;
        core.dirty.restore(self.dirty);
        // Timers may have been looked at and put off meanwhile.
        for id in self.groups.into_keys() {
            let Some(group) = core.groups.get_mut(&id) else { continue };
            let (armed, wall) = (group.armed, group.armed_wall);
            if armed < u64::MAX {
                core.mono.insert((armed, id));
            }
            if wall < i64::MAX {
                core.wall.insert((wall, Wake::Group(id)));
            }
        }
    }
}

impl Core {
    /// Keeps what a change is going to touch.
    pub(crate) fn save(&mut self, change: &Change) {
        match change {
            Change::Topic { id, .. } => {
                self.save_topic(*id);
                self.save_groups(*id);
            }
            Change::TopicGone { id } => {
                self.save_topic(*id);
                self.save_groups(*id);
            }
            Change::Append { part, due, expires, .. } => {
                self.save_part(*part);
                if !due.is_empty() || !expires.is_empty() {
                    self.save_groups(part.topic);
                }
            }
            Change::Trim { part, .. } => {
                self.save_part(*part);
                self.save_groups(part.topic);
            }
            Change::Group { id, topic, .. } => {
                self.save_topic(*topic);
                self.save_group(*id);
            }
            Change::GroupGone { id } => {
                if let Some(topic) = self.groups.get(id).map(|g| g.cold.topic) {
                    self.save_topic(topic);
                }
                self.save_group(*id);
            }
            Change::Done { group, partition, .. } => {
                if let Some(topic) =
                    self.groups.get(group).filter(|g| g.cold.options.key_order).map(|g| g.cold.topic)
                {
                    self.save_part(PartId { topic, partition: *partition });
                }
                self.save_group(*group);
            }
            Change::Options { id: group, .. }
            | Change::Lease { group, .. }
            | Change::Return { group, .. }
            | Change::Unseen { group, .. }
            | Change::Extend { group, .. }
            | Change::Dying { group, .. }
            | Change::Due { group, .. }
            | Change::Seek { group, .. }
            | Change::Cursor { group, .. } => self.save_group(*group),
            Change::Method { .. } | Change::MethodGone { .. } => {
                let methods = &self.methods;
                if let Some(undo) = &mut self.undo {
                    undo.methods.get_or_insert_with(|| methods.clone());
                }
            }
            Change::Job { job } => self.save_job(job.id),
            Change::Event { job, .. } => {
                self.save_part(PartId { topic: TopicId::JOBS, partition: 0 });
                self.save_job(*job);
            }
            Change::JobRun { job, .. }
            | Change::JobState { job, .. }
            | Change::JobProgress { job, .. }
            | Change::JobCancel { job }
            | Change::JobGone { job } => self.save_job(*job),
            // The last of a commit, or not part of one.
            Change::Dedup { .. } | Change::DedupGone { .. } | Change::Boot {} => {}
        }
    }

    fn save_topic(&mut self, id: TopicId) {
        let Some(undo) = &mut self.undo else { return };
        undo.topics.entry(id).or_insert_with(|| self.topics.get(&id).cloned());
        let count = self.topics.get(&id).map_or(0, |t| t.parts.len() as u32);
        for partition in 0..count {
            self.save_part(PartId { topic: id, partition });
        }
    }

    fn save_part(&mut self, id: PartId) {
        let Ok(index) = self.part_index(id) else { return };
        if let (Some(undo), Some(part)) = (&mut self.undo, self.parts.get(index as usize)) {
            undo.parts.entry(index).or_insert_with(|| part.clone());
        }
    }

    fn save_groups(&mut self, topic: TopicId) {
        let groups: Vec<GroupId> =
            self.topics.get(&topic).map(|t| t.groups.values().copied().collect()).unwrap_or_default();
        groups.into_iter().for_each(|id| self.save_group(id));
    }

    fn save_group(&mut self, id: GroupId) {
        if let Some(undo) = &mut self.undo {
            undo.groups.entry(id).or_insert_with(|| self.groups.get(&id).cloned());
        }
    }

    fn save_job(&mut self, id: JobId) {
        if let Some(undo) = &mut self.undo {
            undo.jobs.entry(id).or_insert_with(|| self.jobs.get(&id).cloned());
        }
    }
}
