//! Methods and jobs: a job is a message of the method's topic with a state, a deadline and a list of events.
//!
//! The delivery of the message in the group `workers` drives the state. A cancellation of a running job is a request: the job becomes
//! cancelled when its worker fails or loses the lease; a worker that completes all the same has succeeded.

use crate::batch::set_base_offset;
use crate::frame::{Change, NewJob};
use crate::groups::{End, LEASE_MS, MAX_ATTEMPTS, MAX_DELAY_MS, Options, WORKERS};
use crate::jobs::{Failure, JobView, MethodPolicy, MethodView, State, What, encode_event};
use crate::model::{Error, JobId, Kind, PartId, Position, Result, TopicId, check_name};
use crate::ops::{Batch, Condition, Delivery, GroupStart, JobFilter, Reply};
use crate::queue::How;
use crate::refuse::{conflict, exhausted, near, stale, too_large, within};
use crate::state::{Core, Job, Section};
use crate::topics::{Policy, check_batch, lost, shown};
use bytes::Bytes;
use std::sync::Arc;

/// The most events of a job that workers may cause.
const MAX_EVENTS: usize = 100_000;
/// The largest progress.
const MAX_PROGRESS: usize = 16 << 10;
/// The longest timeout of a job.
const MAX_TIMEOUT_MS: u64 = 30 * 86_400_000;
/// Jobs looked at for one page of a list.
const MAX_SCAN: usize = 50_000;

/// Who submits what.
pub(crate) struct Submission {
    pub id: JobId,
    pub method: String,
    pub partition: u32,
    pub timeout_ms: Option<u64>,
    pub principal: String,
    pub rerun_of: Option<JobId>,
    pub callback: Option<String>,
}

fn check_method_name(name: &str) -> Result<()> {
    let word = |text: &str| {
        text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let legal = name.len() <= 200
        && name.split_once('/').is_some_and(|(service, method)| service.split('.').all(word) && word(method));
    if legal {
        return Ok(());
    }
    Err(Error::new(Kind::Invalid, "SB0202", format!("{:?} cannot be the name of a method", shown(name)))
        .fix("A method is named package.Service/Method"))
}

fn check_failure(failure: &Failure) -> Result<()> {
    if failure.code.len() > 255 || failure.message.len() > 4096 {
        return Err(too_large("a failure's code has at most 255 bytes and its message 4 KiB"));
    }
    Ok(())
}

fn one_message(batch: &Batch) -> Result<()> {
    if check_batch(&batch.bytes)? == 1 {
        Ok(())
    } else {
        Err(Error::invalid("the batch has to hold one message"))
    }
}

fn no_job(id: JobId) -> Error {
    Error::new(Kind::NotFound, "SB0401", format!("there is no job {id}"))
        .fix("Jobs are forgotten some time after their end: see keep_result of the method")
}

impl Core {
    pub(crate) fn declare_method(
        &mut self,
        s: &mut Section<'_>,
        name: &str,
        policy: MethodPolicy,
    ) -> Result<Reply> {
        check_method_name(name)?;
        check_name("topic", &policy.topic)?;
        within("a lease", policy.lease_ms, LEASE_MS.0, LEASE_MS.1)?;
        within("a timeout", policy.timeout_ms, 1, MAX_TIMEOUT_MS)?;
        within("keep_result", policy.keep_ms, 0, MAX_DELAY_MS)?;
        within("a backoff", policy.backoff_ms, 0, MAX_DELAY_MS)?;
        if !(1..=MAX_ATTEMPTS).contains(&policy.attempts) {
            return Err(Error::invalid("a method has 1 to 1,000 attempts"));
        }
        let known = self.methods.get(name);
        let created = known.is_none();
        if known.is_some_and(|known| known.topic != policy.topic) {
            self.no_work(name, "its topic cannot change")?;
        }
        if known == Some(&policy) {
            return Ok(Reply::Method { created, view: MethodView { name: name.to_owned(), policy } });
        }
        match self.topic(&policy.topic) {
            None => {
                self.declare_topic(s, policy.topic.clone(), Policy::default(), Condition::Ensure)?;
            }
            Some(view) if view.policy.memory => {
                return Err(Error::new(
                    Kind::Unsupported,
                    "SB0209",
                    format!("the topic {} lives in memory, which jobs cannot", policy.topic),
                )
                .fix("Serve the method on another topic"));
            }
            Some(_) => {}
        }
        let options = Options {
            lease_ms: policy.lease_ms,
            attempts: policy.attempts,
            backoff_ms: policy.backoff_ms,
            key_order: true,
            ..Options::default()
        };
        // What was published before there were workers is not theirs.
        self.declare_group(s, &policy.topic, WORKERS, options, &GroupStart::End, Condition::Any, Vec::new())?;
        self.emit(s, Change::Method { name: Arc::from(name), policy: policy.clone() })?;
        Ok(Reply::Method { created, view: MethodView { name: name.to_owned(), policy } })
    }

    pub(crate) fn delete_method(&mut self, s: &mut Section<'_>, name: &str) -> Result<Reply> {
        self.find_method(name)?;
        self.no_work(name, "it cannot be deleted")?;
        self.emit(s, Change::MethodGone { name: Arc::from(name) })?;
        Ok(Reply::Done)
    }

    fn no_work(&self, method: &str, so: &str) -> Result<()> {
        let open =
            self.by_state[State::Queued as usize].iter().chain(&self.by_state[State::Running as usize]);
        let busy = open.filter_map(|id| self.jobs.get(id)).find(|slot| *slot.job.method == *method);
        match busy {
            None => Ok(()),
            Some(slot) => Err(conflict(format!(
                "the method {method} has jobs that are not finished ({}), so {so}",
                slot.job.id
            ))
            .fix("Cancel them or wait for their end")),
        }
    }

    fn find_method(&self, name: &str) -> Result<&MethodPolicy> {
        self.methods.get(name).ok_or_else(|| {
            Error::new(Kind::NotFound, "SB0310", format!("there is no method {:?}", shown(name))).fix(near(
                name,
                self.methods.keys().map(|n| &**n),
                "Declare it with PUT /methods/{Service}/{Method}, or start its worker",
            ))
        })
    }

    pub(crate) fn submit(&mut self, s: &mut Section<'_>, who: Submission, batch: Batch) -> Result<Reply> {
        let policy = self.find_method(&who.method)?;
        let topic = self.find_topic(&policy.topic)?.cold.id;
        self.check_append(topic, who.partition, &batch)?;
        one_message(&batch)?;
        if self.jobs.contains_key(&who.id) {
            return Err(Error::new(Kind::Exists, "SB0302", format!("there is a job {} already", who.id)));
        }
        if who.principal.len() > 1024 || who.callback.as_ref().is_some_and(|c| c.len() > 4096) {
            return Err(too_large("the principal's name or the callback's address is too long"));
        }
        let timeout = who.timeout_ms.unwrap_or(policy.timeout_ms).min(policy.timeout_ms);
        let part = PartId { topic, partition: who.partition };
        let job = NewJob {
            id: who.id,
            method: self
                .methods
                .get_key_value(who.method.as_str())
                .map_or_else(|| self.nobody.clone(), |m| m.0.clone()),
            part,
            offset: self.part(part).ok_or_else(lost)?.n.end,
            deadline_ms: s.now.wall_ms.saturating_add(i64::try_from(timeout).unwrap_or(i64::MAX)),
            keep_ms: policy.keep_ms,
            attempts: policy.attempts,
            backoff_ms: policy.backoff_ms,
            principal: Arc::from(who.principal),
            rerun_of: who.rerun_of,
            callback: who.callback,
        };
        self.append(s, part, batch)?;
        self.emit(s, Change::Job { job: Box::new(job) })?;
        self.state_event(s, who.id, "submitted")?;
        self.job_reply(who.id)
    }

    fn job_reply(&self, id: JobId) -> Result<Reply> {
        Ok(Reply::Job(Box::new(self.job(id).ok_or_else(lost)?)))
    }

    /// Appends an event to the built-in topic and to the job's list.
    fn event(&mut self, s: &mut Section<'_>, job: JobId, mut bytes: Vec<u8>, outcome: bool) -> Result<()> {
        let part = PartId { topic: TopicId::JOBS, partition: 0 };
        set_base_offset(&mut bytes, self.part(part).ok_or_else(lost)?.n.end);
        self.emit(s, Change::Event { job, batch: Bytes::from(bytes), outcome })
    }

    /// Appends the event of the job's present state.
    fn state_event(&mut self, s: &mut Section<'_>, id: JobId, reason: &str) -> Result<()> {
        let job = &self.jobs.get(&id).ok_or_else(lost)?.job;
        let what =
            What::State { state: job.state, worker: job.worker.to_string(), reason: reason.to_owned() };
        let bytes = encode_event(id, job.tried, s.now.wall_ms, &what);
        self.event(s, id, bytes, false)
    }

    /// A worker was given the job's message.
    pub(crate) fn job_taken(
        &mut self,
        s: &mut Section<'_>,
        job: JobId,
        attempt: u32,
        worker: &Arc<str>,
    ) -> Result<()> {
        self.emit(s, Change::JobRun { job, attempt, worker: worker.clone() })?;
        self.state_event(s, job, "taken")
    }

    /// An attempt or the job ended.
    pub(crate) fn job_ended(
        &mut self,
        s: &mut Section<'_>,
        job: JobId,
        state: State,
        error: Option<Failure>,
        reason: &str,
    ) -> Result<()> {
        self.emit(s, Change::JobState { job, state, error })?;
        self.state_event(s, job, reason)
    }

    /// A job that is not finished.
    fn open_job(&self, id: JobId) -> Result<&Job> {
        let job = &self.jobs.get(&id).ok_or_else(|| no_job(id))?.job;
        if job.state.terminal() {
            return Err(Error::new(
                Kind::Conflict,
                "SB0403",
                format!("the job {id} is {}", job.state.name()),
            ));
        }
        Ok(job)
    }

    fn delivery(&self, job: &Job) -> Option<(Delivery, u32, u64)> {
        let group = *self.served.get(&job.part.topic)?;
        let part = self.groups.get(&group)?.parts.get(job.part.partition as usize)?;
        let lease = part.queue.leases.get(&job.offset)?;
        let delivery =
            Delivery { group, partition: job.part.partition, offset: job.offset, lease: lease.number };
        Some((delivery, lease.attempt, lease.lease_ms))
    }

    /// The delivery of a running job, if its lease has this number, with its attempt and length.
    fn held(&self, id: JobId, lease: u64) -> Result<(Delivery, u32, u64)> {
        let job = self.open_job(id)?;
        self.delivery(job).filter(|(d, ..)| d.lease == lease).ok_or_else(stale)
    }

    pub(crate) fn report(
        &mut self,
        s: &mut Section<'_>,
        id: JobId,
        lease: u64,
        event: Option<Batch>,
        progress: Option<Bytes>,
        lease_ms: Option<u64>,
    ) -> Result<Reply> {
        let (d, _, old_ms) = self.held(id, lease)?;
        let lease_ms = lease_ms.unwrap_or(old_ms);
        within("a lease", lease_ms, LEASE_MS.0, LEASE_MS.1)?;
        let job = self.open_job(id)?;
        let cancel_requested = job.cancel_requested;
        if let Some(batch) = &event {
            one_message(batch)?;
            if job.events.len() >= MAX_EVENTS {
                return Err(exhausted(format!("the job {id} has 100,000 events, which is the most"))
                    .fix("Write more in one event, or less"));
            }
        }
        if progress.as_ref().is_some_and(|p| p.len() > MAX_PROGRESS) {
            return Err(too_large("progress is at most 16 KiB"));
        }
        if let Some(batch) = event {
            self.event(s, id, batch.bytes, false)?;
        }
        if let Some(progress) = progress {
            self.emit(s, Change::JobProgress { job: id, progress })?;
        }
        let Delivery { group, partition, offset, .. } = d;
        self.emit(s, Change::Extend { group, partition, offset, lease_ms })?;
        Ok(Reply::Term { lease_ms, cancel_requested })
    }

    pub(crate) fn complete(
        &mut self,
        s: &mut Section<'_>,
        id: JobId,
        lease: u64,
        event: Batch,
    ) -> Result<Reply> {
        let (d, ..) = self.held(id, lease)?;
        one_message(&event)?;
        self.event(s, id, event.bytes, true)?;
        let Delivery { group, partition, offset, .. } = d;
        self.emit(s, Change::Done { group, partition, offset, how: How::Acked })?;
        self.job_ended(s, id, State::Succeeded, None, "completed")?;
        self.job_reply(id)
    }

    pub(crate) fn fail(
        &mut self,
        s: &mut Section<'_>,
        id: JobId,
        lease: u64,
        failure: Failure,
        delay_ms: Option<u64>,
        event: Batch,
    ) -> Result<Reply> {
        let (d, attempt, _) = self.held(id, lease)?;
        check_failure(&failure)?;
        one_message(&event)?;
        within("a delay", delay_ms.unwrap_or(0), 0, MAX_DELAY_MS)?;
        let job = self.open_job(id)?;
        let last = !failure.retryable || attempt >= job.attempts;
        self.event(s, id, event.bytes, last)?;
        let end = if failure.retryable { End::Back(delay_ms) } else { End::Dead };
        self.end_lease(s, (d.group, d.partition, d.offset), attempt, end, Some(failure))?;
        self.job_reply(id)
    }

    /// Ends the job's message, wherever it is.
    fn end_message(&mut self, s: &mut Section<'_>, id: JobId, how: How) -> Result<()> {
        let job = self.open_job(id)?;
        let (part, offset) = (job.part, job.offset);
        let Some(group) = self.served.get(&part.topic).copied() else { return Ok(()) };
        let open = self
            .groups
            .get(&group)
            .is_some_and(|g| g.parts.get(part.partition as usize).is_some_and(|p| !p.is_done(offset)));
        if open {
            self.emit(s, Change::Done { group, partition: part.partition, offset, how })?;
        }
        Ok(())
    }

    pub(crate) fn cancel(&mut self, s: &mut Section<'_>, id: JobId) -> Result<Reply> {
        let job = self.open_job(id)?;
        if job.state == State::Queued {
            self.end_message(s, id, How::Acked)?;
            self.job_ended(s, id, State::Cancelled, None, "cancelled")?;
        } else if !job.cancel_requested {
            self.emit(s, Change::JobCancel { job: id })?;
            self.state_event(s, id, "cancel requested")?;
        }
        self.job_reply(id)
    }

    /// A job's time has come: it expires, or is forgotten.
    pub(crate) fn job_due(&mut self, s: &mut Section<'_>, id: JobId) -> Result<()> {
        let Some(slot) = self.jobs.get(&id) else { return Ok(()) };
        if slot.job.wake() > s.now.wall_ms {
            return Ok(());
        }
        if slot.job.state.terminal() {
            return self.emit(s, Change::JobGone { job: id });
        }
        self.end_message(s, id, How::Expired)?;
        self.job_ended(s, id, State::Expired, None, "deadline")
    }

    /// All methods, by name.
    pub fn methods(&self) -> Vec<MethodView> {
        self.methods
            .iter()
            .map(|(name, p)| MethodView { name: name.to_string(), policy: p.clone() })
            .collect()
    }

    /// A method by its name.
    pub fn method(&self, name: &str) -> Option<MethodView> {
        self.methods.get(name).map(|p| MethodView { name: name.to_owned(), policy: p.clone() })
    }

    /// A job by its id.
    pub fn job(&self, id: JobId) -> Option<JobView> {
        self.jobs.get(&id).map(|slot| slot.job.view())
    }

    /// Jobs, the newest first, and whether there are more. Looks at 50,000 jobs at most: then it says that there are more, and the
    /// page may be short.
    pub fn jobs(&self, filter: &JobFilter) -> (Vec<JobView>, bool) {
        use std::ops::Bound::{Excluded, Unbounded};
        let range = (Unbounded, filter.after.map_or(Unbounded, Excluded));
        let fits = |job: &Job| filter.method.as_deref().is_none_or(|m| *job.method == *m);
        let mut views = Vec::new();
        let mut scan = |jobs: &mut dyn Iterator<Item = &Job>| {
            for (n, job) in jobs.enumerate() {
                if fits(job) {
                    if views.len() >= filter.limit {
                        return true;
                    }
                    views.push(job.view());
                }
                if n >= MAX_SCAN && !views.is_empty() {
                    return true;
                }
            }
            false
        };
        let more = match filter.state {
            Some(state) => {
                let ids = self.by_state[state as usize].range(range).rev();
                scan(&mut ids.filter_map(|id| self.jobs.get(id)).map(|slot| &*slot.job))
            }
            None => scan(&mut self.jobs.range(range).rev().map(|(_, slot)| &*slot.job)),
        };
        (views, more)
    }

    /// Offsets in partition 0 of [`TopicId::JOBS`] of the events behind `after`, with their numbers.
    pub fn job_events(&self, id: JobId, after: u64, limit: usize) -> Vec<(u64, u64)> {
        let Some(slot) = self.jobs.get(&id) else { return Vec::new() };
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(slot.job.events.len());
        let numbers = (from as u64 + 1)..;
        slot.job.events[from..].iter().copied().zip(numbers).take(limit).collect()
    }

    /// The state, and the offset of the event with the result or the final error.
    pub fn job_outcome(&self, id: JobId) -> Option<(State, Option<u64>)> {
        self.jobs.get(&id).map(|slot| (slot.job.state, slot.job.outcome))
    }

    /// The delivery of a running job.
    pub fn job_delivery(&self, id: JobId) -> Option<Delivery> {
        let job = &self.jobs.get(&id)?.job;
        (job.state == State::Running).then(|| self.delivery(job))?.map(|(d, ..)| d)
    }
}

impl Job {
    /// When the wall clock has to look at it.
    pub fn wake(&self) -> i64 {
        match self.finished_ms {
            Some(at) => at.saturating_add(i64::try_from(self.keep_ms).unwrap_or(i64::MAX)),
            None => self.deadline_ms,
        }
    }

    fn view(&self) -> JobView {
        JobView {
            id: self.id,
            method: self.method.to_string(),
            state: self.state,
            attempts: self.tried,
            created_ms: self.created_ms,
            started_ms: self.started_ms,
            finished_ms: self.finished_ms,
            deadline_ms: self.deadline_ms,
            progress: self.progress.clone(),
            worker: self.worker.to_string(),
            cancel_requested: self.cancel_requested,
            rerun_of: self.rerun_of,
            error: self.error.clone(),
            events: self.events.len() as u64,
            input: Position { shard: 0, part: self.part, offset: self.offset },
            principal: self.principal.to_string(),
        }
    }
}
