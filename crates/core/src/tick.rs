//! What time does: leases that end, delays and lifetimes that are over, deadlines of jobs, retention, forgotten keys.
//!
//! Entries of the timers may be out of date; they are checked against the state when their time comes.

use crate::frame::Change;
use crate::groups::End;
use crate::model::{GroupId, PartId, Result, TopicId};
use crate::ops::{Frame, Now};
use crate::queue::Reason;
use crate::state::{Core, Section, Wake};
use crate::topics::lost;

/// How long retention that follows consumption may lag.
pub(crate) const CONSUMED_MS: i64 = 1_000;

impl Core {
    /// Does what is due, at most `limit` things; true when there is more.
    pub fn tick(&mut self, now: Now, limit: usize, out: &mut Frame) -> bool {
        let mut section = Section::begin(now, out);
        let mut budget = limit.max(1);
        let done = self.do_due(&mut section, &mut budget);
        debug_assert!(done.is_ok(), "{done:?}");
        section.end();
        budget == 0
    }

    /// When `tick` is next needed, on the monotonic clock, if ever.
    pub fn next_tick(&self, now: Now) -> Option<u64> {
        let mono = self.mono.first().map(|(at, _)| at.saturating_add(self.paused));
        let wall = self.wall.first().map(|(at, _)| {
            now.mono_ms.saturating_add(u64::try_from(at.saturating_sub(now.wall_ms)).unwrap_or(0))
        });
        mono.into_iter().chain(wall).min()
    }

    /// Moves all lease deadlines (commits were stalled for so long).
    pub fn pause(&mut self, ms: u64) {
        self.paused = self.paused.saturating_add(ms);
    }

    fn do_due(&mut self, s: &mut Section<'_>, budget: &mut usize) -> Result<()> {
        let clock = self.clock(s.now);
        while *budget > 0
            && let Some(&(at, group)) = self.mono.first()
            && at <= clock
        {
            self.expire_leases(s, group, clock, budget)?;
            // Kept until all of the group is done.
            let Some(g) = self.groups.get_mut(&group) else {
                self.mono.pop_first();
                continue;
            };
            let next = g.deadlines.first().map(|(at, ..)| *at);
            if next.is_none_or(|next| next > clock) {
                self.mono.remove(&(at, group));
                g.armed = next.unwrap_or(u64::MAX);
                self.mono.extend(next.map(|next| (next, group)));
            }
        }
        while *budget > 0
            && let Some(&(at, wake)) = self.wall.first()
            && at <= s.now.wall_ms
        {
            match wake {
                Wake::Job(job) => {
                    *budget -= 1;
                    self.wall.remove(&(at, wake));
                    self.job_due(s, job)?;
                }
                Wake::Dedup => {
                    *budget -= 1;
                    self.wall.remove(&(at, wake));
                    while let Some((bucket, over)) = self.dedup.first() {
                        if over > s.now.wall_ms {
                            self.wall.insert((over, Wake::Dedup));
                            break;
                        }
                        self.emit(s, Change::DedupGone { bucket })?;
                    }
                }
                Wake::Topic(topic) => {
                    self.wall.remove(&(at, wake));
                    self.retain(s, topic, budget)?;
                }
                Wake::Group(group) => {
                    self.wake_group(s, group, budget)?;
                    let Some(g) = self.groups.get_mut(&group) else {
                        self.wall.remove(&(at, wake));
                        continue;
                    };
                    let next =
                        g.due.first().map(|d| d.0).into_iter().chain(g.expiring.first().map(|e| e.0)).min();
                    if next.is_none_or(|next| next > s.now.wall_ms) {
                        self.wall.remove(&(at, wake));
                        g.armed_wall = next.unwrap_or(i64::MAX);
                        self.wall.extend(next.map(|next| (next, wake)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the leases of a group whose time is over.
    fn expire_leases(
        &mut self,
        s: &mut Section<'_>,
        group: GroupId,
        clock: u64,
        budget: &mut usize,
    ) -> Result<()> {
        while *budget > 0 {
            let Some(g) = self.groups.get_mut(&group) else { return Ok(()) };
            let Some(&(at, partition, offset)) = g.deadlines.first() else { return Ok(()) };
            if at > clock {
                return Ok(());
            }
            *budget -= 1;
            g.deadlines.pop_first();
            let lease = g.parts.get(partition as usize).and_then(|p| p.queue.leases.get(&offset));
            if let Some(lease) = lease
                && lease.deadline == at
            {
                let attempt = lease.attempt;
                self.end_lease(s, (group, partition, offset), attempt, End::Lost, None)?;
            }
        }
        Ok(())
    }

    /// Makes messages of a group ready that are due, and ends those whose life is over.
    pub(crate) fn wake_group(
        &mut self,
        s: &mut Section<'_>,
        group: GroupId,
        budget: &mut usize,
    ) -> Result<()> {
        let now = s.now.wall_ms;
        while *budget > 0 {
            let Some(g) = self.groups.get_mut(&group) else { return Ok(()) };
            let Some(&(at, partition, offset)) = g.expiring.first().filter(|e| e.0 <= now) else { break };
            *budget -= 1;
            g.expiring.remove(&(at, partition, offset));
            let Some(part) = g.parts.get(partition as usize) else { continue };
            let idle = !part.is_done(offset)
                && !part.queue.leases.contains_key(&offset)
                && !part.queue.dying.contains_key(&offset);
            if idle && self.expiry_of(group, partition, offset) == Some(at) {
                let job = self.job_of(group, partition, offset);
                self.kill(s, group, partition, offset, Reason::Expired)?;
                if let Some(job) = job {
                    self.job_ended(s, job, crate::jobs::State::Expired, None, "message expired")?;
                }
            }
        }
        while *budget > 0 {
            let Some(g) = self.groups.get_mut(&group) else { return Ok(()) };
            let Some(&(at, partition, offset)) = g.due.first().filter(|d| d.0 <= now) else { break };
            *budget -= 1;
            g.due.remove(&(at, partition, offset));
            let delayed = g.parts.get(partition as usize).and_then(|p| p.queue.delayed.get(&offset));
            if delayed.is_some_and(|d| d.due == at) {
                self.emit(s, Change::Due { group, partition, offset })?;
            }
        }
        Ok(())
    }

    /// Applies a topic's retention.
    fn retain(&mut self, s: &mut Section<'_>, id: TopicId, budget: &mut usize) -> Result<()> {
        let Some(topic) = self.topics.get_mut(&id) else { return Ok(()) };
        topic.armed = i64::MAX;
        for partition in 0..topic.parts.len() as u32 {
            *budget = budget.saturating_sub(1);
            let part = PartId { topic: id, partition };
            if let Some(start) = self.retention_point(part, s.now.wall_ms) {
                self.emit(s, Change::Trim { part, start })?;
            }
        }
        let topic = self.topics.get(&id).ok_or_else(lost)?;
        if let Some(at) = self.next_age(topic) {
            self.arm_topic(id, at.max(s.now.wall_ms.saturating_add(CONSUMED_MS)));
        }
        Ok(())
    }

    /// Asks for a look at a topic's retention at that time or before.
    pub(crate) fn arm_topic(&mut self, id: TopicId, at: i64) {
        if let Some(topic) = self.topics.get_mut(&id)
            && at < topic.armed
        {
            topic.armed = at;
            self.wall.insert((at, Wake::Topic(id)));
        }
    }

    /// Sees to it that the group's timers are looked at in time.
    pub(crate) fn arm_group(&mut self, id: GroupId) {
        let Some(g) = self.groups.get_mut(&id) else { return };
        if let Some(&(at, ..)) = g.deadlines.first()
            && at < g.armed
        {
            g.armed = at;
            self.mono.insert((at, id));
        }
        let wall = g.due.first().map(|d| d.0).into_iter().chain(g.expiring.first().map(|e| e.0)).min();
        if let Some(at) = wall
            && at < g.armed_wall
        {
            g.armed_wall = at;
            self.wall.insert((at, Wake::Group(id)));
        }
    }
}
