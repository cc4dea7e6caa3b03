//! Methods and jobs: declaring, submitting, watching, working.

use super::calls::said;
use super::topics::encode;
use super::*;
use sb_core::jobs::{Event, MAX_STATUS, MethodPolicy, MethodView, State, What, decode_event, encode_event};
use sb_core::model::{GroupId, Header};
use sb_core::ops::{Batch, Commit, Op, Reply};
use std::time::Duration;
use tokio::time::Instant;

/// The group that workers of a method lease from.
const WORKERS: &str = "workers";
/// The longest text of one log event.
const MAX_LOG: usize = 64 * 1024;
/// The longest progress.
const MAX_PROGRESS: usize = 16 * 1024;
/// Events fetched at a time.
const EVENTS_AT_ONCE: usize = 256;
/// The most methods a worker takes at once.
const MAX_METHODS: usize = 64;

impl Access {
    /// Declares a method or changes its policy; true when created.
    pub async fn declare_method(&self, name: &str, policy: MethodPolicy) -> Result<(bool, MethodView)> {
        self.check_method(Verb::Manage, name)?;
        sb_core::model::check_name("topic", &policy.topic)?;
        // A method's workers consume a topic: nobody may get at a topic by declaring a method on it.
        self.check(Verb::Manage, &Address::parse(&policy.topic)?)?;
        match self.board.commit(Op::DeclareMethod { name: name.into(), policy }.into()).await?.replies.pop() {
            Some(Reply::Method { created, view }) => Ok((created, view)),
            other => Err(Error::internal(format!("unexpected answer {other:?}"))),
        }
    }

    /// Deletes a method; its jobs stay.
    pub async fn delete_method(&self, name: &str) -> Result<()> {
        self.check_method(Verb::Manage, name)?;
        self.board.commit(Op::DeleteMethod { name: name.into() }.into()).await.map(|_| ())
    }

    /// The methods the caller has any right on.
    pub async fn methods(&self) -> Result<Vec<MethodView>> {
        self.principal.known()?;
        let methods = self.board.query(|core| core.methods()).await?;
        Ok(methods.into_iter().filter(|m| self.sees_method(&m.name)).collect())
    }

    fn sees_method(&self, name: &str) -> bool {
        crate::auth::method_address(name).is_ok_and(|address| {
            [Verb::Call, Verb::Serve, Verb::Manage].iter().any(|v| self.principal.may(*v, &address))
        })
    }

    async fn method(&self, name: &str) -> Result<MethodView> {
        let wanted = name.to_owned();
        let (view, names) = self
            .board
            .query(move |core| match core.method(&wanted) {
                Some(view) => (Some(view), Vec::new()),
                None => (None, core.methods().into_iter().map(|m| m.name).collect()),
            })
            .await?;
        view.ok_or_else(|| {
            let described = self.board.services().near(name);
            let names: Vec<String> = described.iter().map(|n| n.to_string()).chain(names).collect();
            no_method(name, &names)
        })
    }

    /// Submits a job; true when this is the answer to an earlier request with the same key.
    pub async fn submit(&self, submit: Submit) -> Result<(JobView, bool)> {
        self.check_method(Verb::Call, &submit.method)?;
        let idempotency = match submit.idempotency.clone() {
            None => None,
            Some(key) => {
                let message = &submit.message;
                let content_type = message.content_type.as_deref().unwrap_or_default();
                let (method, timeout_ms) = (&submit.method, submit.timeout_ms);
                let key_of_job = message.key.as_deref();
                let headers = &message.headers;
                Some(said(key, method, content_type, &message.body, key_of_job, timeout_ms, headers)?)
            }
        };
        self.submit_job(submit, idempotency, None).await
    }

    pub(super) async fn submit_job(
        &self,
        submit: Submit,
        idempotency: Option<Idempotency>,
        rerun_of: Option<JobId>,
    ) -> Result<(JobView, bool)> {
        self.board.check_disk()?;
        let method = self.method(&submit.method).await?;
        let topic = self.topic_named(&method.policy.topic)?;
        let now = self.board.now_ms();
        let id = self.board.next_job(random()?);
        let mut message = submit.message;
        message.strip_reserved();
        message.address = topic.address.clone();
        message.time_ms = now;
        message.check()?;
        self.check_size(&message, topic.policy.max_message)?;
        message.headers.push(Header::text("sb-job", id.to_string()));
        message.headers.push(Header::text("sb-method", method.name.clone()));
        let permit = self.board.reserve(message.body.len() + 256).await?;
        let partition = topic.partition(message.key.as_deref());
        let op = Op::Submit {
            id,
            method: method.name.clone(),
            partition,
            batch: encode(&topic.name, &[message]),
            timeout_ms: submit.timeout_ms,
            principal: self.principal.name.clone(),
            rerun_of,
            callback: None,
        };
        let dedup = idempotency.map(|i| self.dedup(&format!("call/{}", method.name), i));
        let mut answer = self.board.commit_held(Commit { dedup, ops: vec![op] }, Some(permit)).await?;
        match answer.replies.pop() {
            Some(Reply::Job(job)) => Ok((*job, answer.replayed)),
            other => Err(Error::internal(format!("unexpected answer {other:?}"))),
        }
    }

    async fn job_view(&self, id: JobId) -> Result<JobView> {
        self.principal.known()?;
        let view = self.board.query(move |core| core.job(id)).await?;
        let missing = || {
            Error::new(Kind::NotFound, "SB0401", format!("there is no job {id}"))
                .fix("It may have been forgotten: finished jobs are kept for keep_result of their method")
        };
        let view = view.ok_or_else(missing)?;
        if self.principal.jobs.contains(&id) || self.sees_method(&view.method) {
            Ok(view)
        } else {
            Err(missing())
        }
    }

    /// The job may be changed by who may call its method.
    async fn own_job(&self, id: JobId) -> Result<JobView> {
        let view = self.job_view(id).await?;
        self.check_method(Verb::Call, &view.method)?;
        Ok(view)
    }

    /// A job as it is now.
    pub async fn job(&self, id: JobId) -> Result<JobView> {
        self.job_view(id).await
    }

    /// Waits until the job has more than `events` events or has ended, at most `wait_ms`.
    pub async fn job_wait(&self, id: JobId, events: u64, wait_ms: u64) -> Result<JobView> {
        self.wait_for(id, wait_ms, |job| job.events > events || job.state.terminal()).await
    }

    /// Waits until the job has ended, at most `wait_ms`; without the limit on waiting when `bounded` is false.
    pub async fn job_end(&self, id: JobId, wait_ms: u64) -> Result<JobView> {
        self.wait_for(id, wait_ms, |job| job.state.terminal()).await
    }

    async fn wait_for(&self, id: JobId, wait_ms: u64, done: impl Fn(&JobView) -> bool) -> Result<JobView> {
        let deadline = Instant::now() + Duration::from_millis(wait_ms.min(86_400_000));
        loop {
            let bell = self.board.job_wait_for(id);
            let mut rung = std::pin::pin!(bell.rung());
            // Registered before the look, so that no change falls in between.
            rung.as_mut().enable();
            let view = self.job_view(id).await;
            let finished = match &view {
                Err(_) => true,
                Ok(job) => done(job) || self.board.is_draining(),
            };
            let again = !finished
                && tokio::select! {
                    () = rung => true,
                    () = tokio::time::sleep_until(deadline) => false,
                };
            if !again {
                return view;
            }
        }
    }

    /// Jobs, newest first; true when there are more.
    pub async fn jobs(&self, filter: &JobFilter) -> Result<(Vec<JobView>, bool)> {
        self.principal.known()?;
        let mut filter = filter.clone();
        filter.limit = filter.limit.clamp(1, MAX_MESSAGES);
        let limit = filter.limit;
        let mut seen: Vec<JobView> = Vec::new();
        for _ in 0..20 {
            let wanted = filter.clone();
            let (page, more) = self.board.query(move |core| core.jobs(&wanted)).await?;
            filter.after = page.last().map(|j| j.id).or(filter.after);
            let empty = page.is_empty();
            seen.extend(page.into_iter().filter(|j| self.sees_method(&j.method)));
            if !more || empty || seen.len() >= limit {
                let more = (more && !empty) || seen.len() > limit;
                seen.truncate(limit);
                return Ok((seen, more));
            }
        }
        Ok((seen, true))
    }

    async fn jobs_part(&self) -> Result<Arc<Part>> {
        let id = sb_core::model::PartId { topic: sb_core::model::TopicId::JOBS, partition: 0 };
        self.board.part(id).ok_or_else(|| Error::internal("the topic of job events is missing"))
    }

    /// Events behind `after`; empty when there are none yet.
    pub async fn job_events(&self, id: JobId, after: u64, limit: usize) -> Result<Vec<Event>> {
        self.job_view(id).await?;
        let limit = limit.clamp(1, MAX_MESSAGES);
        let places = self.board.query(move |core| core.job_events(id, after, limit)).await?;
        let part = self.jobs_part().await?;
        let mut events = Vec::with_capacity(places.len());
        let mut bytes = 0;
        for (offset, seq) in places {
            let record = self.fetch("jobs", &part, offset).await?;
            bytes += record.message.body.len() + 128;
            events.extend(decode_event(seq, &record.message));
            if bytes >= MAX_BYTES {
                break;
            }
        }
        Ok(events)
    }

    /// Events behind `after`, waited for without an end; the second is true when the job has ended and there are no more. Who calls it
    /// stops when the server drains.
    pub async fn next_job_events(&self, id: JobId, after: u64) -> Result<(Vec<Event>, bool)> {
        let mut ended = false;
        loop {
            let events = self.job_events(id, after, EVENTS_AT_ONCE).await?;
            if !events.is_empty() || ended {
                return Ok((events, ended));
            }
            let job = self.job_wait(id, after, 30_000).await?;
            // Once more when it has ended: its last events may have come between the two looks.
            ended = job.state.terminal();
            if !ended && job.events > after {
                // The view is ahead of the events that can be read.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// How a job ended; `None` while it has not.
    pub async fn job_outcome(&self, id: JobId) -> Result<Option<Outcome>> {
        let view = self.job_view(id).await?;
        let Some((state, event)) = self.board.query(move |core| core.job_outcome(id)).await? else {
            return Ok(None);
        };
        let event = match event {
            None => None,
            Some(offset) => {
                let part = self.jobs_part().await?;
                let record = self.fetch("jobs", &part, offset).await?;
                decode_event(0, &record.message).map(|e| e.what)
            }
        };
        Ok(match (state, event) {
            (State::Queued | State::Running, _) => None,
            (State::Succeeded, Some(What::Result { content_type, body })) => {
                Some(Outcome::Result { content_type, body })
            }
            (State::Succeeded, _) => Some(Outcome::Result { content_type: None, body: Bytes::new() }),
            (State::Failed, Some(What::Error { failure, status })) => {
                Some(Outcome::Failed { failure, status: Status::decode(&status) })
            }
            (State::Failed, _) => Some(Outcome::Failed {
                failure: view.error.unwrap_or(Failure {
                    code: "lost".into(),
                    message: "no worker finished it".into(),
                    retryable: true,
                }),
                status: None,
            }),
            (State::Cancelled, _) => Some(Outcome::Cancelled),
            (State::Expired, _) => Some(Outcome::Expired),
        })
    }

    /// What was submitted.
    pub async fn job_input(&self, id: JobId) -> Result<Message> {
        let view = self.job_view(id).await?;
        let gone = || {
            Error::new(Kind::Gone, "SB0305", format!("the input of job {id} is no longer kept"))
                .fix("Submit it again with a body")
        };
        let topic = self.board.directory().by_id(view.input.part.topic).ok_or_else(gone)?;
        let part = topic.parts.get(view.input.part.partition as usize).ok_or_else(gone)?;
        Ok(self.fetch(&topic.name, part, view.input.offset).await?.message)
    }

    /// Cancels a job: at once when it waits, otherwise by asking its worker.
    pub async fn cancel(&self, id: JobId) -> Result<JobView> {
        self.own_job(id).await?;
        self.job_op(Op::Cancel { job: id }).await
    }

    /// Submits the same input, or another one, as a new job.
    pub async fn rerun(&self, id: JobId, input: Option<Message>) -> Result<JobView> {
        let view = self.own_job(id).await?;
        let mut message = self.job_input(id).await;
        if let Some(input) = input {
            message = Ok(input);
        }
        let mut message = message?;
        message.due_ms = None;
        message.expires_ms = None;
        let submit = Submit { method: view.method, message, idempotency: None, timeout_ms: None };
        self.submit_job(submit, None, Some(id)).await.map(|(job, _)| job)
    }

    async fn job_op(&self, op: Op) -> Result<JobView> {
        match self.board.commit(op.into()).await?.replies.pop() {
            Some(Reply::Job(job)) => Ok(*job),
            other => Err(Error::internal(format!("unexpected answer {other:?}"))),
        }
    }

    // ---- workers ----

    /// Takes jobs of these methods; waits for the first. Methods that share a topic are taken together.
    pub async fn take(
        &self,
        methods: &[String],
        max: usize,
        wait_ms: u64,
        lease_ms: Option<u64>,
        worker: &str,
    ) -> Result<Vec<Taken>> {
        if methods.is_empty() || methods.len() > MAX_METHODS {
            return Err(Error::invalid("a worker names between 1 and 64 methods"));
        }
        let mut groups: Vec<(Arc<Topic>, GroupId)> = Vec::new();
        for name in methods {
            self.check_method(Verb::Serve, name)?;
            let view = match self.method(name).await {
                Err(error)
                    if error.kind == Kind::NotFound
                        && self.principal.may(Verb::Manage, &crate::auth::method_address(name)?) =>
                {
                    self.declare_method(name, MethodPolicy::new(name)).await?.1
                }
                other => other?,
            };
            let topic = self.topic_named(&view.policy.topic)?;
            let name = view.policy.topic.clone();
            let group = self.board.query(move |core| core.group(&name, WORKERS)).await?;
            let group =
                group.ok_or_else(|| Error::internal(format!("{:?} has no group of workers", topic.name)))?;
            if !groups.iter().any(|(_, g)| *g == group.id) {
                groups.push((topic, group.id));
            }
        }
        let deadline = Instant::now() + Duration::from_millis(self.wait_limit(wait_ms));
        let max = max.clamp(1, 100);
        loop {
            let mut bells: Vec<_> = groups.iter().map(|(_, group)| self.board.group_wait(*group)).collect();
            let mut rung: Vec<_> = bells.iter().map(|bell| Box::pin(bell.rung())).collect();
            let mut taken = Vec::new();
            for (n, (topic, group)) in groups.iter().enumerate() {
                if taken.len() < max {
                    // Also when the caller goes away meanwhile, the next in the row looks whether there is more.
                    bells[n].pass_on = true;
                    let got = self.take_from(topic, *group, max - taken.len(), lease_ms, worker).await?;
                    bells[n].pass_on = !got.is_empty();
                    taken.extend(got);
                }
            }
            let again = taken.is_empty()
                && tokio::select! {
                    _ = futures_util::future::select_all(rung.iter_mut()) => true,
                    () = tokio::time::sleep_until(deadline) => false,
                    () = self.board.draining() => false,
                };
            drop(rung);
            drop(bells);
            if !again {
                return Ok(taken);
            }
        }
    }

    async fn take_from(
        &self,
        topic: &Arc<Topic>,
        group: GroupId,
        max: usize,
        lease_ms: Option<u64>,
        worker: &str,
    ) -> Result<Vec<Taken>> {
        loop {
            let (taken, others) = self.take_once(topic, group, max, lease_ms, worker).await?;
            // What was no job stood before those that are.
            if !taken.is_empty() || !others {
                return Ok(taken);
            }
        }
    }

    /// Jobs, and whether there was anything else in the way.
    async fn take_once(
        &self,
        topic: &Arc<Topic>,
        group: GroupId,
        max: usize,
        lease_ms: Option<u64>,
        worker: &str,
    ) -> Result<(Vec<Taken>, bool)> {
        let consumer: String = worker.chars().take(200).collect();
        let grants =
            match self.board.commit(Op::Lease { group, max, lease_ms, consumer }.into()).await?.replies.pop()
            {
                Some(Reply::Leased(grants)) => grants,
                other => return Err(Error::internal(format!("unexpected answer {other:?}"))),
            };
        let now = self.board.now_ms();
        let mut taken = Vec::with_capacity(grants.len());
        let mut strangers = Vec::new();
        for grant in grants {
            let Some(id) = grant.job else {
                // Published to the topic directly: there is no job to report on.
                strangers.push((grant.delivery, Settle::Dead));
                continue;
            };
            let Some(part) = topic.parts.get(grant.delivery.partition as usize) else { continue };
            let input = match self.fetch(&topic.name, part, grant.delivery.offset).await {
                Ok(record) => record.message,
                Err(error) => {
                    tracing::error!(%error, job = %id, "the input of a job cannot be read");
                    strangers.push((grant.delivery, Settle::Dead));
                    continue;
                }
            };
            let Some(job) = self.board.query(move |core| core.job(id)).await? else { continue };
            taken.push(Taken {
                job,
                handle: self.board.signer().handle(&grant.delivery, grant.attempt),
                until_ms: now + grant.lease_ms as i64,
                input,
            });
        }
        let others = !strangers.is_empty();
        if others {
            self.board.commit(Op::Settle { settles: strangers }.into()).await?;
        }
        self.delivered(taken.len());
        Ok((taken, others))
    }

    /// The lease behind a worker's handle, after checking that it belongs to this job and that the caller may serve it.
    async fn working(&self, id: JobId, handle: &str) -> Result<(u64, u32)> {
        let (delivery, attempt) = self.delivery(handle)?;
        let view = self.board.query(move |core| core.job(id).map(|j| (j, core.job_delivery(id)))).await?;
        let (view, now_held) =
            view.ok_or_else(|| Error::new(Kind::NotFound, "SB0401", format!("there is no job {id}")))?;
        if !self.may_serve(&view.method) {
            self.check_method(Verb::Serve, &view.method)?;
        }
        if now_held.is_some_and(|held| held.lease == delivery.lease && held != delivery) {
            return Err(Error::invalid("this handle belongs to another job"));
        }
        Ok((delivery.lease, attempt))
    }

    fn may_serve(&self, method: &str) -> bool {
        crate::auth::method_address(method).is_ok_and(|address| self.principal.may(Verb::Serve, &address))
    }

    async fn report(&self, op: Op) -> Result<Term> {
        let now = self.board.now_ms();
        match self.board.commit(op.into()).await?.replies.pop() {
            Some(Reply::Term { lease_ms, cancel_requested }) => {
                Ok(Term { until_ms: now + lease_ms as i64, cancel_requested })
            }
            other => Err(Error::internal(format!("unexpected answer {other:?}"))),
        }
    }

    /// Renews a worker's lease.
    pub async fn job_extend(&self, id: JobId, handle: &str, lease_ms: Option<u64>) -> Result<Term> {
        let (lease, _) = self.working(id, handle).await?;
        self.report(Op::Report { job: id, lease, event: None, progress: None, lease_ms }).await
    }

    /// Tells progress or writes a log event; renews the lease, too.
    pub async fn job_report(&self, id: JobId, handle: &str, report: Report) -> Result<Term> {
        let (lease, attempt) = self.working(id, handle).await?;
        let (what, progress) = match report {
            Report::Progress(json) => {
                limit(json.len(), MAX_PROGRESS, "progress")?;
                (What::Progress(json.clone()), Some(json))
            }
            Report::Log { stream, text } => {
                limit(text.len(), MAX_LOG, "a log event")?;
                limit(stream.len(), 64, "the name of a log stream")?;
                (What::Log { stream, text }, None)
            }
        };
        let event = Some(self.event(id, attempt, &what));
        self.report(Op::Report { job: id, lease, event, progress, lease_ms: None }).await
    }

    /// Ends a job with a result, or an attempt with a failure.
    pub async fn job_finish(&self, id: JobId, handle: &str, finish: Finish) -> Result<JobView> {
        let (lease, attempt) = self.working(id, handle).await?;
        match finish {
            Finish::Complete { content_type, body } => {
                limit(body.len(), self.board.settings().max_message, "the result")?;
                let permit = self.board.reserve(body.len() + 256).await?;
                let event = self.event(id, attempt, &What::Result { content_type, body });
                let job = self.job_op(Op::Complete { job: id, lease, event }).await;
                drop(permit);
                job
            }
            Finish::Fail { failure, status, delay_ms } => {
                limit(failure.code.len(), 255, "the failure's code")?;
                limit(failure.message.len(), 4096, "the failure's message")?;
                let status: Bytes = status.map(|s| s.encode().into()).unwrap_or_default();
                limit(status.len(), MAX_STATUS, "what the failure says with its details")?;
                let event = self.event(id, attempt, &What::Error { failure: failure.clone(), status });
                self.job_op(Op::Fail { job: id, lease, failure, delay_ms, event }).await
            }
        }
    }

    fn event(&self, id: JobId, attempt: u32, what: &What) -> Batch {
        let bytes = encode_event(id, attempt, self.board.now_ms(), what);
        Batch { bytes, due: Vec::new(), expires: Vec::new() }
    }
}

fn limit(len: usize, max: usize, what: &str) -> Result<()> {
    if len <= max {
        return Ok(());
    }
    Err(Error::new(Kind::TooLarge, "SB0205", format!("{what} has {len} bytes, and at most {max} are taken")))
}

fn no_method(name: &str, names: &[String]) -> Error {
    let service = name.split('/').next().unwrap_or_default();
    let near: Vec<&str> = names
        .iter()
        .filter(|n| n.split('/').next() == Some(service) || n.eq_ignore_ascii_case(name))
        .map(String::as_str)
        .take(3)
        .collect();
    let fix = if near.is_empty() {
        "Declare it: PUT /methods/SERVICE/METHOD, or start a worker that takes it".to_owned()
    } else {
        format!("Did you mean {}?", near.join(" or "))
    };
    Error::new(Kind::NotFound, "SB0310", format!("there is no method {name:?}")).fix(fix)
}

fn random() -> Result<u128> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::internal("no random numbers"))?;
    Ok(u128::from_le_bytes(bytes))
}
