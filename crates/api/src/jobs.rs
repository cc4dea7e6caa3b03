//! `switchboard.v1.Jobs`.

use crate::call::{Answer, Cx, end, part};
use crate::map::{self, given, limit, natural, span_in};
use crate::topics::or_default;
use crate::types::switchboard::v1::__buffa::oneof::report_job_request::Report as ReportIn;
use crate::types::switchboard::v1::*;
use buffa_types::google::protobuf::Any;
use sb_board::Access;
use sb_board::access::{AsJob, Finish, JobFilter, Report, Submit, Term, failure_status};
use sb_board::call::{Call, Code, Codec, Detail, Part, Parts, Status};
use sb_board::mount::BoxFuture;
use sb_board::request::{self, job_id};
use sb_core::jobs::{Failure, JobView, State};
use sb_core::model::{Error, JobId, Kind, Message, Value};
use std::collections::VecDeque;

/// A job with its result, or with all that was said of its failure.
async fn shown(cx: &Cx, view: &JobView) -> Answer<Job> {
    let outcome = match view.state {
        State::Succeeded | State::Failed => cx.access.job_outcome(view.id).await?,
        _ => None,
    };
    Ok(map::job(view, outcome))
}

pub(crate) async fn submit(cx: Cx, asked: SubmitJobRequest) -> Answer<Job> {
    let idempotency = given(&asked.idempotency_key).map(str::to_owned);
    request::method_name(&asked.method)?;
    let timeout_ms = span_in("timeout", &asked.timeout)?;
    let due_ms = span_in("delay", &asked.delay)?.map(|ms| cx.now_ms().saturating_add_unsigned(ms));
    let mut message = map::input_in(or_default(asked.input))?;
    map::traced(&mut message, &cx.metadata);
    let (job, replayed) = if cx.access.board().services().method(&asked.method).is_some() {
        let how = AsJob { idempotency, timeout_ms, key: message.key.take(), due_ms };
        cx.access.submit_call(as_call(asked.method, message)?, how).await?
    } else {
        message.due_ms = due_ms;
        cx.access.submit(Submit { method: asked.method, message, idempotency, timeout_ms }).await?
    };
    Ok(Job { replayed, ..shown(&cx, &job).await? })
}

/// The input of a described method's job as its call.
fn as_call(method: String, input: Message) -> Answer<Call> {
    let codec = match input.content_type.as_deref() {
        None => Codec::Json,
        Some(text) => Codec::of_content_type(text).ok_or_else(|| {
            Error::invalid(format!(
                "{method} is described, and its input is JSON or Protobuf, not {text:.80?}"
            ))
            .fix("Say application/json or application/proto")
        })?,
    };
    let mut call = Call::unary(method, codec, input.body);
    for header in input.headers {
        let Value::Text(text) = &header.value else {
            return Err(metadata(&header.name, "is not text").into());
        };
        let name: http::HeaderName =
            header.name.parse().map_err(|_| metadata(&header.name, "has no name that metadata may have"))?;
        let value: http::HeaderValue =
            text.parse().map_err(|_| metadata(&header.name, "has a value that metadata cannot have"))?;
        call.metadata.append(name, value);
    }
    Ok(call)
}

fn metadata(name: &str, why: &str) -> Error {
    Error::invalid(format!("the header {name:.80?} {why}; headers of a described method are its metadata"))
}

pub(crate) async fn get(cx: Cx, asked: GetJobRequest) -> Answer<Job> {
    let view = cx.access.job(job_id(&asked.id)?).await?;
    shown(&cx, &view).await
}

/// How long to wait where that is the point of the call.
fn patience(cx: &Cx, wait: Option<u64>) -> u64 {
    cx.wait_ms(Some(wait.unwrap_or(u64::MAX)))
}

pub(crate) async fn wait(cx: Cx, asked: WaitJobRequest) -> Answer<Job> {
    let id = job_id(&asked.id)?;
    let events = asked.events.map_or(Ok(u64::MAX), |n| natural("events", n))?;
    let view = cx.access.job_wait(id, events, patience(&cx, span_in("wait", &asked.wait)?)).await?;
    shown(&cx, &view).await
}

pub(crate) async fn watch(cx: Cx, asked: WatchJobRequest) -> Answer<Parts> {
    let id = job_id(&asked.id)?;
    let after = natural("after", asked.after)?;
    // Says at once that there is none.
    cx.access.job(id).await?;
    let access = cx.access.clone();
    let watch = Watch {
        access: cx.access,
        id,
        after,
        ready: VecDeque::new(),
        last: false,
        over: false,
        revoked: Box::pin(async move { access.revoked().await }),
    };
    Ok(Box::pin(futures_util::stream::unfold(watch, |mut watch| async move {
        let part = watch.next().await?;
        Some((part, watch))
    })))
}

/// A job that is watched.
struct Watch {
    access: Access,
    id: JobId,
    after: u64,
    ready: VecDeque<JobEvent>,
    /// Whether nothing follows what is ready.
    last: bool,
    over: bool,
    revoked: BoxFuture<()>,
}

impl Watch {
    async fn next(&mut self) -> Option<Part> {
        loop {
            if self.over {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                return Some(part(&event));
            }
            if self.last {
                return Some(self.end(None));
            }
            let news = tokio::select! {
                biased;
                () = &mut self.revoked => Err(self.access.expired()),
                () = self.access.board().draining() => Err(self.access.stopping()),
                news = self.access.next_job_events(self.id, self.after) => news,
            };
            match news {
                Err(error) => return Some(self.end(Some(error.into()))),
                Ok((events, last)) => {
                    self.after = events.last().map_or(self.after, |e| e.seq);
                    self.ready.extend(events.into_iter().map(map::event));
                    // The wait ends early when the server drains; then there may be more.
                    self.last = last;
                }
            }
        }
    }

    fn end(&mut self, status: Option<Status>) -> Part {
        self.over = true;
        end(status)
    }
}

pub(crate) async fn list(cx: Cx, asked: ListJobsRequest) -> Answer<ListJobsResponse> {
    let filter = JobFilter {
        state: map::state_in(asked.state)?,
        method: given(&asked.method).map(str::to_owned),
        after: given(&asked.after).map(job_id).transpose()?,
        limit: limit(asked.limit)?,
    };
    let (jobs, more) = cx.access.jobs(&filter).await?;
    let next = jobs.last().filter(|_| more).map(|j| j.id.to_string()).unwrap_or_default();
    Ok(ListJobsResponse { jobs: jobs.iter().map(|j| map::job(j, None)).collect(), next })
}

pub(crate) async fn get_input(cx: Cx, asked: GetJobInputRequest) -> Answer<JobInput> {
    Ok(map::input(&cx.access.job_input(job_id(&asked.id)?).await?))
}

pub(crate) async fn get_result(cx: Cx, asked: GetJobResultRequest) -> Answer<JobResult> {
    let id = job_id(&asked.id)?;
    if let wait @ Some(_) = span_in("wait", &asked.wait)? {
        cx.access.job_wait(id, u64::MAX, cx.wait_ms(wait)).await?;
    }
    match cx.access.job_outcome(id).await? {
        Some(sb_board::access::Outcome::Result { content_type, body }) => Ok(map::result(content_type, body)),
        Some(other) => {
            Err(other.status().unwrap_or_else(|| Status::new(Code::Internal, "an outcome without a meaning")))
        }
        None => Err(Error::new(Kind::Conflict, "SB0406", format!("job {id} is not done"))
            .fix("Give wait, or watch the job")
            .into()),
    }
}

pub(crate) async fn cancel(cx: Cx, asked: CancelJobRequest) -> Answer<Job> {
    let view = cx.access.cancel(job_id(&asked.id)?).await?;
    Ok(map::job(&view, None))
}

pub(crate) async fn rerun(cx: Cx, asked: RerunJobRequest) -> Answer<Job> {
    let id = job_id(&asked.id)?;
    let input = asked.input.into_option().map(map::input_in).transpose()?;
    let view = cx.access.rerun(id, input).await?;
    Ok(map::job(&view, None))
}

// ---- workers ----

pub(crate) async fn take(cx: Cx, asked: TakeJobsRequest) -> Answer<TakeJobsResponse> {
    asked.methods.iter().try_for_each(|m| request::method_name(m))?;
    let max = map::count("max", asked.max, 1, 100)?;
    let lease = request::lease_ms(span_in("lease", &asked.lease)?)?;
    let wait = cx.wait_ms(span_in("wait", &asked.wait)?);
    let worker = request::consumer(Some(asked.worker))?;
    let taken = cx.access.take(&asked.methods, max, wait, lease, &worker).await?;
    Ok(TakeJobsResponse { jobs: taken.into_iter().map(map::taken).collect() })
}

fn term(term: Term) -> JobTerm {
    JobTerm { lease_until: map::time(term.until_ms), cancel_requested: term.cancel_requested }
}

pub(crate) async fn extend(cx: Cx, asked: ExtendJobRequest) -> Answer<JobTerm> {
    let lease = request::lease_ms(span_in("lease", &asked.lease)?)?;
    Ok(term(cx.access.job_extend(job_id(&asked.id)?, &asked.handle, lease).await?))
}

pub(crate) async fn report(cx: Cx, asked: ReportJobRequest) -> Answer<JobTerm> {
    let report = match asked.report {
        None => return Err(Error::invalid("a report is either progress or log").into()),
        Some(ReportIn::Progress(json)) => {
            serde_json::from_str::<serde::de::IgnoredAny>(&json)
                .map_err(|e| Error::invalid(format!("progress is not JSON: {e}")))?;
            Report::Progress(json.into())
        }
        Some(ReportIn::Log(log)) => {
            if log.stream.chars().any(char::is_control) {
                return Err(Error::invalid("stream has at most 64 bytes and no control characters").into());
            }
            let stream = given(&log.stream).unwrap_or("stdout").to_owned();
            Report::Log { stream, text: log.text }
        }
    };
    Ok(term(cx.access.job_report(job_id(&asked.id)?, &asked.handle, report).await?))
}

pub(crate) async fn complete(cx: Cx, asked: CompleteJobRequest) -> Answer<Job> {
    let result = or_default(asked.result);
    if result.content_type.as_ref().is_some_and(|c| c.len() > sb_core::model::message::MAX_CONTENT_TYPE) {
        return Err(Error::invalid("the content type is longer than 255 bytes").into());
    }
    let finish = Finish::Complete { content_type: result.content_type, body: result.body };
    finished(&cx, &asked.id, &asked.handle, finish).await
}

pub(crate) async fn fail(cx: Cx, asked: FailJobRequest) -> Answer<Job> {
    if asked.code.is_empty() {
        return Err(Error::invalid("code has from 1 to 255 bytes").into());
    }
    let delay_ms = span_in("delay", &asked.delay)?;
    let retryable = asked.retryable.unwrap_or(true);
    let failure = Failure { code: asked.code, message: asked.message, retryable };
    let detail = |any: Any| Detail { type_url: any.type_url, value: any.value };
    let details: Vec<Detail> = asked.details.into_iter().map(detail).collect();
    let status = (!details.is_empty()).then(|| failure_status(&failure, details));
    finished(&cx, &asked.id, &asked.handle, Finish::Fail { failure, status, delay_ms }).await
}

async fn finished(cx: &Cx, id: &str, handle: &str, finish: Finish) -> Answer<Job> {
    Ok(map::job(&cx.access.job_finish(job_id(id)?, handle, finish).await?, None))
}
