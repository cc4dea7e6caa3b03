//! What changes do to jobs and to the tables that lead to them.

use crate::frame::NewJob;
use crate::groups::WORKERS;
use crate::jobs::{Failure, State};
use crate::model::{JobId, PartId, TopicId};
use crate::ops::{Effects, Now};
use crate::state::{Core, Job, JobSlot, Wake};
use crate::wire::{Bad, Decode};
use bytes::Bytes;
use std::sync::Arc;

impl Core {
    /// Finds the groups that hand out jobs.
    pub(crate) fn find_served(&mut self) {
        self.served.clear();
        for policy in self.methods.values() {
            let topic = self.names.get(policy.topic.as_str()).and_then(|id| self.topics.get(id));
            if let Some(topic) = topic
                && let Some(group) = topic.groups.get(WORKERS)
            {
                self.served.insert(topic.cold.id, *group);
            }
        }
    }

    pub(crate) fn index_job(&mut self, job: &Job) {
        self.by_state[job.state as usize].insert(job.id);
        self.first_events.extend(job.events.first());
        if !job.state.terminal() {
            self.job_at.insert((job.part, job.offset), job.id);
        }
        self.wall.insert((job.wake(), Wake::Job(job.id)));
    }

    pub(crate) fn unindex_job(&mut self, job: &Job) {
        self.by_state[job.state as usize].remove(&job.id);
        if let Some(first) = job.events.first() {
            self.first_events.remove(first);
        }
        let place = (job.part, job.offset);
        if self.job_at.get(&place) == Some(&job.id) {
            self.job_at.remove(&place);
        }
    }

    pub(crate) fn apply_job(&mut self, new: NewJob, now: Now) -> Decode<()> {
        self.part_index(new.part)?;
        let job = Job {
            id: new.id,
            method: new.method,
            state: State::Queued,
            tried: 0,
            created_ms: now.wall_ms,
            started_ms: None,
            finished_ms: None,
            deadline_ms: new.deadline_ms,
            keep_ms: new.keep_ms,
            attempts: new.attempts,
            backoff_ms: new.backoff_ms,
            progress: None,
            worker: self.nobody.clone(),
            cancel_requested: false,
            rerun_of: new.rerun_of,
            error: None,
            events: Vec::new(),
            outcome: None,
            part: new.part,
            offset: new.offset,
            principal: new.principal,
            callback: new.callback,
        };
        if self.jobs.contains_key(&job.id) {
            return Err(Bad("two jobs of one id"));
        }
        self.index_job(&job);
        self.dirty.jobs.push(job.id);
        self.jobs.insert(job.id, JobSlot { job: Arc::new(job), dirty: true });
        Ok(())
    }

    /// Alters a job that exists.
    pub(crate) fn change_job(&mut self, id: JobId, change: impl FnOnce(&mut Job)) -> Decode<()> {
        let slot = self.jobs.get_mut(&id).ok_or(Bad("no such job"))?;
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.jobs.push(id);
        }
        let job = Arc::make_mut(&mut slot.job);
        let before = job.state;
        change(job);
        if job.state != before {
            self.by_state[before as usize].remove(&id);
            self.by_state[job.state as usize].insert(id);
        }
        Ok(())
    }

    pub(crate) fn apply_job_state(
        &mut self,
        id: JobId,
        state: State,
        error: Option<Failure>,
        now: Now,
    ) -> Decode<()> {
        if state == State::Running {
            return Err(Bad("a running job without worker"));
        }
        self.change_job(id, |job| {
            job.state = state;
            if error.is_some() {
                job.error = error;
            }
            if state == State::Succeeded {
                job.error = None;
            }
            if state.terminal() {
                job.finished_ms = Some(now.wall_ms);
            }
        })?;
        if state.terminal()
            && let Some(slot) = self.jobs.get(&id)
        {
            let (place, wake) = ((slot.job.part, slot.job.offset), slot.job.wake());
            if self.job_at.get(&place) == Some(&id) {
                self.job_at.remove(&place);
            }
            self.wall.insert((wake, Wake::Job(id)));
        }
        Ok(())
    }

    pub(crate) fn apply_event(
        &mut self,
        id: JobId,
        batch: Bytes,
        outcome: bool,
        now: Now,
        effects: &mut Effects,
    ) -> Decode<()> {
        let index = self.part_index(PartId { topic: TopicId::JOBS, partition: 0 })?;
        let offset = self.parts[index as usize].n.end;
        if !self.jobs.contains_key(&id) {
            return Err(Bad("no such job"));
        }
        self.apply_append(index, batch, &[], &[], now, effects)?;
        let mut first = false;
        self.change_job(id, |job| {
            first = job.events.is_empty();
            job.events.push(offset);
            if outcome {
                job.outcome = Some(offset);
            }
        })?;
        if first {
            self.first_events.insert(offset);
        }
        Ok(())
    }
}
