//! Calls: waited for, or as jobs.

use super::*;
use crate::call::services::Entry;
use crate::call::{
    ByJob, Call, Code, Codec, Detail, End, Part, Reply, Status, Workers, convert, jobs, metadata, meter,
};
use sb_core::jobs::{MethodPolicy, State, What};
use sb_core::model::Header;
use std::collections::VecDeque;

/// How a call becomes a job.
#[derive(Clone, Debug, Default)]
pub struct AsJob {
    /// A key of 1 to 255 characters under which a repetition answers with the same job, whatever protocol it comes by: one of the same method
    /// with the same request (not the same bytes: JSON and Protobuf may say the same), key and timeout.
    pub idempotency: Option<String>,
    /// Shorter than the method's.
    pub timeout_ms: Option<u64>,
    /// Jobs with the same key run one after another.
    pub key: Option<Bytes>,
    /// Not before this time, in milliseconds since 1970.
    pub due_ms: Option<i64>,
}

/// What serves undescribed methods.
static ANY: &[Codec] = &[Codec::Json, Codec::Proto];

impl Access {
    /// The method of this path, if the caller's protocol shows it. Rights are checked when it is called.
    pub fn described(&self, path: &str) -> Option<Entry> {
        self.board.services().shown(path, self.protocol).cloned()
    }

    /// Whether the caller may call the method; for listings.
    pub fn may_call(&self, path: &str) -> bool {
        self.board.services().method(path).is_some_and(|entry| entry.service.provider.checks_rights())
            || crate::auth::method_address(path).is_ok_and(|address| self.principal.may(Verb::Call, &address))
    }

    /// Refuses who may not call the method; for what is not a call itself and has the rights of one.
    pub fn may_use(&self, path: &str) -> Result<()> {
        self.check_method(Verb::Call, path)
    }

    /// Calls a method. The deadline is the caller's or the service's, whichever is sooner. A method that the schema does not describe is
    /// served by workers, if it was declared.
    pub async fn call(&self, mut call: Call) -> std::result::Result<Reply, Status> {
        metadata::clean(&mut call.metadata);
        let services = self.board.services();
        let entry = services.method(&call.method).cloned();
        drop(services);
        match &entry {
            Some(entry) if entry.service.provider.checks_rights() => {}
            Some(Entry { address: Some(address), .. }) => self.check(Verb::Call, address)?,
            _ => self.check_method(Verb::Call, &call.method)?,
        }
        let Some(entry) = entry else { return self.call_undescribed(call).await };
        call.streaming = entry.streaming();
        let own = entry.service.timeout.map(|most| tokio::time::Instant::now() + most);
        call.deadline = [call.deadline, own].into_iter().flatten().min();
        let mut running = entry.meter.begin();
        let (deadline, codec) = (call.deadline, call.codec);
        let provider = entry.service.provider.clone();
        let codecs = provider.codecs();
        let spoken = if codecs.contains(&codec) { codec } else { codecs.first().copied().unwrap_or(codec) };
        if spoken != codec {
            call = convert::call(&entry, call, spoken);
        }
        let called = provider.call(self.clone(), call);
        let replied = match deadline {
            None => called.await,
            Some(at) => tokio::time::timeout_at(at, called).await.unwrap_or_else(|_| Err(meter::too_late())),
        };
        match replied {
            Ok(mut reply) => {
                metadata::clean(&mut reply.metadata);
                let reply =
                    if spoken == codec { reply } else { convert::reply(&entry, reply, spoken, codec) };
                Ok(meter::watch(reply, Some(running), deadline))
            }
            Err(status) => {
                running.end(Some(&status));
                Err(status)
            }
        }
    }

    async fn call_undescribed(&self, call: Call) -> std::result::Result<Reply, Status> {
        let deadline = call.deadline;
        let workers = Arc::new(Workers { topic: call.method.to_string(), codecs: ANY });
        let called = crate::call::Provider::call(workers, self.clone(), call);
        let reply = match deadline {
            None => called.await?,
            Some(at) => {
                tokio::time::timeout_at(at, called).await.unwrap_or_else(|_| Err(meter::too_late()))?
            }
        };
        Ok(meter::watch(reply, None, deadline))
    }

    /// Submits a call as a job; true when this is the answer to an earlier request with the same key. Calls that stream from the caller
    /// cannot be jobs, and what this server answers itself is not worth one.
    pub async fn submit_call(
        &self,
        mut call: Call,
        how: AsJob,
    ) -> std::result::Result<(JobView, bool), Status> {
        metadata::clean(&mut call.metadata);
        self.check_method(Verb::Call, &call.method)?;
        let entry = self.board.services().method(&call.method).cloned();
        let refused = |why: &str| {
            Err(Error::new(Kind::Unsupported, "SB0209", format!("{} {why}", call.method))
                .fix("Call it and wait for the answer")
                .into())
        };
        if entry.as_ref().map_or(call.streaming.client, |e| e.method.client_streaming) {
            return refused("streams from the caller and cannot be a job");
        }
        let mut codec = call.codec;
        let mut says = None;
        let body = match &entry {
            None => call.message().await?,
            Some(entry) => {
                let provider = &entry.service.provider;
                if provider.by_job() == ByJob::Refused {
                    return refused("is answered at once and is not made a job");
                }
                let body = call.message().await?;
                if how.idempotency.is_some() {
                    says = convert::plain(entry, call.codec, &body);
                }
                // What the server calls itself keeps the caller's codec, so that the result comes back in it; a stream's items are lines of JSON.
                if entry.method.server_streaming {
                    codec = Codec::Json;
                } else if provider.by_job() == ByJob::Worked && !provider.codecs().contains(&codec) {
                    codec = provider.codecs().first().copied().unwrap_or(codec);
                }
                // What the service could not be given is refused now, not by the job.
                if let Some(spoken) =
                    provider.codecs().first().filter(|_| !provider.codecs().contains(&codec))
                {
                    convert::message(entry, convert::Side::Request, call.codec, *spoken, body.clone())?;
                }
                convert::message(entry, convert::Side::Request, call.codec, codec, body)?
            }
        };
        let mut message = Message::new(Address::parse("call")?, body);
        message.content_type = Some(codec.content_type().into());
        message.key = how.key;
        message.due_ms = how.due_ms;
        message.headers = call
            .metadata
            .iter()
            .filter_map(|(name, value)| Some(Header::text(name.as_str(), value.to_str().ok()?)))
            .collect();
        if let Some(entry) = entry.filter(|e| e.service.provider.by_job() == ByJob::Called) {
            self.ensure_method(&entry).await?;
        }
        let idempotency = match how.idempotency {
            None => None,
            Some(key) => {
                let (body, kind) = match &says {
                    Some(says) => (&says[..], ""),
                    None => (&message.body[..], codec.content_type()),
                };
                let key_of_job = message.key.as_deref();
                Some(said(key, &call.method, kind, body, key_of_job, how.timeout_ms, &[])?)
            }
        };
        let submit = Submit {
            method: call.method.to_string(),
            message,
            idempotency: None,
            timeout_ms: how.timeout_ms,
        };
        Ok(self.submit_job(submit, idempotency, None).await?)
    }

    /// Makes a method of an upstream one that has jobs.
    async fn ensure_method(&self, entry: &Entry) -> Result<()> {
        let path = entry.path.to_string();
        if self.board.query(move |core| core.method(&path).is_none()).await? {
            let policy = MethodPolicy::new(&entry.path);
            self.board.admin().declare_method(&entry.path, policy).await?;
        }
        jobs::ensure_runner(&self.board, &entry.path);
        Ok(())
    }

    /// The outcome of a job as the reply of its call: waits for it. With `stream`, each JSON progress is a message as soon as it is told.
    pub async fn job_reply(
        &self,
        id: JobId,
        codec: Codec,
        stream: bool,
    ) -> std::result::Result<Reply, Status> {
        let job = self.job(id).await?;
        let entry = self.board.services().method(&job.method).cloned();
        let state = Following {
            access: self.clone(),
            id,
            codec,
            entry,
            stream,
            after: 0,
            items: 0,
            ready: VecDeque::new(),
            over: false,
        };
        Ok(Reply {
            metadata: http::HeaderMap::new(),
            parts: Box::pin(futures_util::stream::unfold(state, |mut state| async move {
                let part = state.next().await?;
                Some((part, state))
            })),
        })
    }
}

/// A job that is followed to its end.
struct Following {
    access: Access,
    id: JobId,
    codec: Codec,
    entry: Option<Entry>,
    stream: bool,
    after: u64,
    items: usize,
    ready: VecDeque<Part>,
    over: bool,
}

impl Following {
    async fn next(&mut self) -> Option<Part> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Some(part);
            }
            if self.over {
                return None;
            }
            if let Err(status) = self.look().await {
                self.finish(Some(status));
            }
        }
    }

    fn finish(&mut self, status: Option<Status>) {
        self.over = true;
        self.ready.push_back(Part::End(End { status, ..End::default() }));
    }

    /// Waits for news and queues what it makes.
    async fn look(&mut self) -> std::result::Result<(), Status> {
        let seen = if self.stream { self.after } else { u64::MAX };
        let job = self.access.job_wait(self.id, seen, 30_000).await?;
        if self.stream {
            for event in self.access.job_events(self.id, self.after, 256).await? {
                self.after = event.seq;
                if let What::Progress(json) = event.what {
                    self.items += 1;
                    let item = self.convert(Codec::Json, json)?;
                    self.ready.push_back(Part::Message(item));
                }
            }
            if self.after < job.events {
                return Ok(());
            }
        }
        if !job.state.terminal() {
            if self.access.board.is_draining() {
                return Err(self.access.job_goes_on(self.id).into());
            }
            return Ok(());
        }
        let status = match self.access.job_outcome(self.id).await? {
            Some(Outcome::Result { content_type, body }) => {
                self.result(content_type.as_deref(), body)?;
                None
            }
            Some(outcome) => outcome.status(),
            None => Some(Status::new(
                Code::Internal,
                format!("the job is {} without an outcome", State::name(job.state)),
            )),
        };
        self.finish(status);
        Ok(())
    }

    fn result(&mut self, content_type: Option<&str>, body: Bytes) -> std::result::Result<(), Status> {
        if content_type == Some(jobs::ITEMS) {
            // Those that were progress have been given already; who does not stream gets all of them here.
            let lines = body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).skip(self.items);
            for line in lines.map(|line| body.slice_ref(line)).collect::<Vec<_>>() {
                let item = self.convert(Codec::Json, line)?;
                self.ready.push_back(Part::Message(item));
            }
            return Ok(());
        }
        if self.stream && body.is_empty() {
            return Ok(());
        }
        let from = match content_type {
            None => self.codec,
            Some(text) => Codec::of_content_type(text).ok_or_else(|| {
                Status::new(
                    Code::Internal,
                    format!("the worker answered with {text}, which is neither JSON nor Protobuf"),
                )
            })?,
        };
        let message = self.convert(from, body)?;
        self.ready.push_back(Part::Message(message));
        Ok(())
    }

    fn convert(&self, from: Codec, bytes: Bytes) -> std::result::Result<Bytes, Status> {
        match &self.entry {
            _ if from == self.codec => Ok(bytes),
            Some(entry) => convert::message(entry, convert::Side::Response, from, self.codec, bytes),
            None => Err(Status::new(
                Code::Internal,
                "the worker answered in another codec than it was asked in, and nothing describes the method",
            )),
        }
    }
}

/// What a request to submit says, as the fingerprint of its idempotency key. The time it is delayed by is not part of it, nor is the trace it belongs
/// to: both differ from try to try.
pub(super) fn said(
    key: String,
    method: &str,
    content_type: &str,
    body: &[u8],
    key_of_job: Option<&[u8]>,
    timeout_ms: Option<u64>,
    headers: &[Header],
) -> Result<Idempotency> {
    let timeout = timeout_ms.map(u64::to_be_bytes);
    let headers: Vec<String> = headers
        .iter()
        .filter(|h| !crate::request::TRACE.iter().any(|name| h.name.eq_ignore_ascii_case(name)))
        .map(|h| format!("{}: {:?}", h.name, h.value))
        .collect();
    let mut says: Vec<&[u8]> = vec![
        &b"submit"[..],
        method.as_bytes(),
        content_type.as_bytes(),
        body,
        if key_of_job.is_some() { &b"key"[..] } else { &[] },
        key_of_job.unwrap_or_default(),
        timeout.as_ref().map_or(&[][..], |t| &t[..]),
    ];
    says.extend(headers.iter().map(|h| h.as_bytes()));
    let made = crate::request::idempotency(Some(&key), &says)?;
    made.ok_or_else(|| Error::internal("a key without a fingerprint"))
}

impl Outcome {
    /// Why a job has no result, as the status of its call; `None` when it has one.
    pub fn status(&self) -> Option<Status> {
        match self {
            Outcome::Result { .. } => None,
            Outcome::Failed { status: Some(status), .. } => Some(status.clone()),
            Outcome::Failed { failure, status: None } => Some(failed(failure)),
            Outcome::Cancelled => Some(Status::new(Code::Cancelled, "the job was cancelled")),
            Outcome::Expired => Some(Status::new(Code::DeadlineExceeded, "the job's deadline has passed")),
        }
    }
}

/// A worker's failure with typed details, as the status that its callers see.
pub fn failure_status(failure: &Failure, details: Vec<Detail>) -> Status {
    Status { details, ..failed(failure) }
}

/// A worker's failure. Its code is a kind's name or one of gRPC's; anything else is the worker's own and comes as `UNKNOWN`.
fn failed(failure: &Failure) -> Status {
    let kind = Kind::ALL.into_iter().find(|k| k.name() == failure.code).map(Code::from);
    let code = kind.or_else(|| Code::from_name(&failure.code.to_ascii_uppercase()));
    let message = match code {
        Some(_) => failure.message.clone(),
        None => format!("{}: {}", failure.code, failure.message),
    };
    Status::new(code.unwrap_or(Code::Unknown), message)
}
