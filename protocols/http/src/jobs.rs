//! Methods, calls, jobs and the work on them (docs/http.md §4).

use crate::server::{Cx, empty, json, set, tagged, untrusted};
use crate::topics::bytes_of;
use crate::wire::Prefer;
use crate::wire::json::{
    EventsOut, ExtendIn, FailIn, JobsOut, MethodIn, MethodsOut, TakeIn, TakesOut, TermOut, Time,
};
use crate::{groups, live, map, websocket};
use bytes::Bytes;
use http::{Response, StatusCode, header};
use sb_board::access::{Access, Finish, JobFilter, Outcome, Report, Submit, Term, failure_status};
use sb_board::call::Detail;
use sb_board::mount::{Answer, Body};
use sb_board::problem;
use sb_core::jobs::{Failure, JobView, State};
use sb_core::model::{Address, Error, JobId, Kind, Message, Result};

/// The largest text of one log event.
const MAX_LOG: usize = 64 * 1024;
/// How long one wait for a job's next event lasts; after it the wait begins again.
const WAIT_MS: u64 = 30_000;

fn ok(response: Response<Body>) -> Result<Answer> {
    Ok(Answer::Response(response))
}

// Methods.

pub(crate) async fn methods(cx: Cx) -> Result<Answer> {
    let methods = cx.access.methods().await?;
    ok(json(StatusCode::OK, &MethodsOut { methods: methods.iter().map(map::method_out).collect() }))
}

fn method_of(cx: &Cx) -> Result<String> {
    let name = format!("{}/{}", cx.arg(0), cx.arg(1));
    map::method_name(&name)?;
    Ok(name)
}

pub(crate) async fn put_method(mut cx: Cx) -> Result<Answer> {
    let name = method_of(&cx)?;
    let body = cx.json().await?;
    let policy = map::method_policy(&name, map::json::<MethodIn>(&body)?)?;
    let (created, view) = cx.access.declare_method(&name, policy).await?;
    ok(json(if created { StatusCode::CREATED } else { StatusCode::OK }, &map::method_out(&view)))
}

pub(crate) async fn delete_method(cx: Cx) -> Result<Answer> {
    cx.access.delete_method(&method_of(&cx)?).await?;
    ok(empty(StatusCode::NO_CONTENT))
}

// Calls.

/// The input of a call has no address of its own; the board gives it that of the method's topic.
pub(crate) fn input_address() -> Result<Address> {
    Address::parse("call")
}

/// Refuses what is reserved.
pub(crate) fn no_callback(cx: &Cx) -> Result<()> {
    if !cx.parts.headers.contains_key("sb-callback-url") {
        return Ok(());
    }
    Err(Error::new(Kind::Unsupported, "SB0209", "Sb-Callback-Url is reserved until webhooks exist")
        .fix("Leave it out and watch the job, for example with Prefer: wait=60"))
}

pub(crate) async fn call(mut cx: Cx) -> Result<Answer> {
    let method = format!("{}/{}", cx.arg(0), cx.arg(1));
    no_callback(&cx)?;
    let limit = cx.max_body();
    let body = cx.collect(limit).await?;
    let idempotency = map::idempotency_key(&cx.parts.headers)?;
    let timeout_ms = map::duration_header(&cx.parts.headers, &map::names::TIMEOUT)?;
    let message = map::message(&cx.parts.headers, input_address()?, body, cx.board().now_ms())?;
    let (job, replayed) = cx.access.submit(Submit { method, message, idempotency, timeout_ms }).await?;
    submitted(&cx, job, replayed).await
}

/// The answer to a submission: the result, or the job when the caller does not want to wait for it.
pub(crate) async fn submitted(cx: &Cx, job: JobView, replayed: bool) -> Result<Answer> {
    let prefer = cx.prefer();
    let wait = if prefer.respond_async { Some(cx.wait().unwrap_or(0)) } else { None };
    // From here on the job goes on without its caller: what follows only watches.
    let job = done(&cx.access, job, wait.map(|seconds| seconds.saturating_mul(1_000))).await?;
    let mut response = if job.state.terminal() {
        finished(cx, job.id).await?
    } else if wait.is_none() {
        return Err(cx.access.job_goes_on(job.id));
    } else {
        let mut response = job_response(&cx.access, StatusCode::ACCEPTED, &job).await?;
        set(&mut response, header::RETRY_AFTER, "1");
        response
    };
    if wait.is_some() {
        // Also when it has ended: who repeats a submission whose answer was lost learns which job it is.
        set(&mut response, header::LOCATION, &format!("/jobs/{}", job.id));
    }
    if let Some(applied) = Prefer::applied(prefer.wait.and(wait), wait.is_some()) {
        set(&mut response, "preference-applied", &applied);
    }
    if replayed {
        set(&mut response, "idempotency-replayed", "true");
    }
    ok(response)
}

/// Waits for the end of a job; without a limit until it ends (which its deadline bounds) or the server stops.
pub(crate) async fn done(access: &Access, job: JobView, wait_ms: Option<u64>) -> Result<JobView> {
    if job.state.terminal() || wait_ms == Some(0) {
        return Ok(job);
    }
    if let Some(wait_ms) = wait_ms {
        return access.job_wait(job.id, u64::MAX, wait_ms).await;
    }
    let mut job = job;
    while !job.state.terminal() && !access.board().is_draining() {
        let waited = tokio::select! {
            view = access.job_wait(job.id, u64::MAX, WAIT_MS) => Some(view?),
            () = access.board().draining() => None,
        };
        match waited {
            Some(view) => job = view,
            None => return access.job(job.id).await,
        }
    }
    Ok(job)
}

/// The outcome of a finished job as an answer.
async fn finished(cx: &Cx, id: JobId) -> Result<Response<Body>> {
    let outcome = cx.access.job_outcome(id).await?;
    match outcome {
        Some(Outcome::Result { content_type, body }) => {
            let mut response = Response::new(Body::from(body));
            if let Some(content_type) = content_type {
                set(&mut response, header::CONTENT_TYPE, &content_type);
            }
            untrusted(&mut response);
            Ok(response)
        }
        Some(other) => {
            let error =
                map::outcome_error(&other).unwrap_or_else(|| Error::internal("an outcome without a meaning"));
            match &other {
                Outcome::Failed { status: Some(status), .. } => {
                    let services = cx.board().services();
                    Ok(problem::of_said(&error, status, services.schema(), cx.trace()))
                }
                _ => Err(error),
            }
        }
        None => Err(Error::new(Kind::Conflict, "SB0406", format!("job {id} is not done"))
            .fix("Wait for it with Prefer: wait=N, or watch the job")),
    }
}

// Watching.

/// JOB with its result, when there is one.
pub(crate) async fn job_response(
    access: &Access,
    status: StatusCode,
    job: &JobView,
) -> Result<Response<Body>> {
    let outcome = match job.state {
        State::Succeeded | State::Failed => access.job_outcome(job.id).await?,
        _ => None,
    };
    let services = access.board().services();
    Ok(json(status, &map::job_out(job, outcome.as_ref(), services.schema())))
}

pub(crate) async fn list(cx: Cx) -> Result<Answer> {
    let state = match cx.query.get("state") {
        None => None,
        Some(text) => Some(State::ALL.into_iter().find(|s| s.name() == text).ok_or_else(|| {
            map::invalid(format!("there is no state {text:.40?}"))
                .fix("Use queued, running, succeeded, failed, cancelled or expired")
        })?),
    };
    let filter = JobFilter {
        state,
        method: cx.query.get("method").map(str::to_owned),
        after: cx.query.get("after").map(map::job_id).transpose()?,
        limit: cx.limit("limit", 1000, 100)?,
    };
    let (jobs, more) = cx.access.jobs(&filter).await?;
    let next = jobs.last().filter(|_| more).map(|j| j.id.to_string());
    let services = cx.board().services();
    let jobs = jobs.iter().map(|j| map::job_out(j, None, services.schema())).collect();
    ok(json(StatusCode::OK, &JobsOut { jobs, next }))
}

pub(crate) async fn get(cx: Cx) -> Result<Answer> {
    let id = map::job_id(cx.arg(0))?;
    let after = match cx.header("last-event-id").and_then(|v| v.parse().ok()) {
        Some(seq) => seq,
        None => cx.query.number("after", 0, u64::MAX).map_err(map::invalid)?.unwrap_or(0),
    };
    if cx.wants_websocket() {
        return websocket::job(cx, id, after).await;
    }
    let mut job = cx.access.job(id).await?;
    if cx.wants_events() {
        return ok(live::job(cx.access, id, after));
    }
    let known = cx.has(&tag_of(&job));
    let wait = cx.wait();
    if let Some(seconds) = wait
        && !job.state.terminal()
    {
        // With the present tag: until something happens. Without any: until the end. With an old one there is something already.
        let tagged = cx.parts.headers.contains_key(header::IF_NONE_MATCH);
        let events = if known { Some(job.events) } else { (!tagged).then_some(u64::MAX) };
        if let Some(events) = events {
            job = cx.access.job_wait(id, events, seconds.saturating_mul(1_000)).await?;
        }
    }
    let tag = tag_of(&job);
    let mut response = match cx.has(&tag) {
        true => empty(StatusCode::NOT_MODIFIED),
        false => job_response(&cx.access, StatusCode::OK, &job).await?,
    };
    if let Some(applied) = Prefer::applied(wait, false) {
        set(&mut response, "preference-applied", &applied);
    }
    if !job.state.terminal() {
        set(&mut response, header::RETRY_AFTER, "1");
    }
    response.headers_mut().append(header::VARY, http::HeaderValue::from_static("Accept, Prefer"));
    ok(tagged(response, &tag))
}

fn tag_of(job: &JobView) -> String {
    format!("\"{}\"", job.events)
}

pub(crate) async fn events(cx: Cx) -> Result<Answer> {
    let id = map::job_id(cx.arg(0))?;
    let after = cx.query.number("after", 0, u64::MAX).map_err(map::invalid)?.unwrap_or(0);
    let limit = cx.limit("limit", 1000, 100)?;
    let mut events = cx.access.job_events(id, after, limit).await?;
    let wait = cx.wait();
    if let Some(seconds) = wait
        && events.is_empty()
    {
        cx.access.job_wait(id, after, seconds.saturating_mul(1_000)).await?;
        events = cx.access.job_events(id, after, limit).await?;
    }
    let next = events.last().map_or(after, |e| e.seq);
    let services = cx.board().services();
    let events = events.iter().map(|e| map::event_out(e, services.schema())).collect();
    let mut response = json(StatusCode::OK, &EventsOut { events, next });
    if let Some(applied) = Prefer::applied(wait, false) {
        set(&mut response, "preference-applied", &applied);
    }
    ok(response)
}

pub(crate) async fn result(cx: Cx) -> Result<Answer> {
    let id = map::job_id(cx.arg(0))?;
    let wait = cx.wait();
    if let Some(seconds) = wait {
        let job = cx.access.job(id).await?;
        done(&cx.access, job, Some(seconds.saturating_mul(1_000))).await?;
    }
    let mut response = finished(&cx, id).await?;
    if let Some(applied) = Prefer::applied(wait, false) {
        set(&mut response, "preference-applied", &applied);
    }
    ok(response)
}

pub(crate) async fn input(cx: Cx) -> Result<Answer> {
    let mut message = cx.access.job_input(map::job_id(cx.arg(0))?).await?;
    message.strip_reserved();
    ok(bytes_of(&message))
}

pub(crate) async fn cancel(cx: Cx) -> Result<Answer> {
    let job = cx.access.cancel(map::job_id(cx.arg(0))?).await?;
    let status = if job.state.terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    ok(job_response(&cx.access, status, &job).await?)
}

pub(crate) async fn rerun(mut cx: Cx) -> Result<Answer> {
    let id = map::job_id(cx.arg(0))?;
    let limit = cx.max_body();
    let body = cx.collect(limit).await?;
    let input: Option<Message> = match body.is_empty() {
        true => None,
        false => Some(map::message(&cx.parts.headers, input_address()?, body, cx.board().now_ms())?),
    };
    let job = cx.access.rerun(id, input).await?;
    let mut response = job_response(&cx.access, StatusCode::CREATED, &job).await?;
    set(&mut response, header::LOCATION, &format!("/jobs/{}", job.id));
    ok(response)
}

// Workers.

pub(crate) async fn take(mut cx: Cx) -> Result<Answer> {
    let body = cx.json().await?;
    let given: TakeIn = map::json(&body)?;
    if given.methods.is_empty() || given.methods.len() > 100 {
        return Err(map::invalid("methods holds from 1 to 100 methods"));
    }
    given.methods.iter().try_for_each(|m| map::method_name(m))?;
    let (max, lease) = (map::max(given.max)?, map::lease_ms(given.lease)?);
    let worker = groups::consumer(given.worker)?;
    let taken = cx.access.take(&given.methods, max, cx.wait_ms(given.wait), lease, &worker).await?;
    ok(json(StatusCode::OK, &TakesOut { jobs: taken.iter().map(map::taken_out).collect() }))
}

/// The job and the lease that a worker names.
fn held(cx: &Cx) -> Result<(JobId, String)> {
    let id = map::job_id(cx.arg(0))?;
    match cx.header("sb-lease") {
        Some(lease) if !lease.is_empty() => Ok((id, lease.to_owned())),
        _ => Err(map::invalid("the header Sb-Lease is missing").fix("Send the lease that /jobs/take gave")),
    }
}

fn term(term: Term) -> Result<Answer> {
    ok(json(
        StatusCode::OK,
        &TermOut { lease_until: Time(term.until_ms), cancel_requested: term.cancel_requested },
    ))
}

pub(crate) async fn extend(mut cx: Cx) -> Result<Answer> {
    let (id, lease) = held(&cx)?;
    let body = cx.json_if_any().await?;
    let given: ExtendIn = map::json(&body)?;
    term(cx.access.job_extend(id, &lease, map::lease_ms(given.lease)?).await?)
}

pub(crate) async fn progress(mut cx: Cx) -> Result<Answer> {
    let (id, lease) = held(&cx)?;
    let body: Bytes = cx.json_or(MAX_LOG, None).await?;
    let text =
        std::str::from_utf8(&body).map_err(|_| map::invalid("progress is JSON, and this is not UTF-8"))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|e| map::invalid(format!("progress is not JSON: {e}")))?;
    term(cx.access.job_report(id, &lease, Report::Progress(body)).await?)
}

pub(crate) async fn log(mut cx: Cx) -> Result<Answer> {
    let (id, lease) = held(&cx)?;
    let stream = cx.query.get("stream").unwrap_or("stdout").to_owned();
    if stream.len() > 64 || stream.chars().any(char::is_control) {
        return Err(map::invalid("stream has at most 64 bytes and no control characters"));
    }
    let body = cx.collect(MAX_LOG).await?;
    let text =
        String::from_utf8(body.into()).map_err(|_| map::invalid("a log is text, and this is not UTF-8"))?;
    term(cx.access.job_report(id, &lease, Report::Log { stream, text }).await?)
}

pub(crate) async fn complete(mut cx: Cx) -> Result<Answer> {
    let (id, lease) = held(&cx)?;
    let limit = cx.max_body();
    let body = cx.collect(limit).await?;
    let content_type = cx.header(header::CONTENT_TYPE).map(str::to_owned);
    if content_type.as_ref().is_some_and(|c| c.len() > sb_core::model::message::MAX_CONTENT_TYPE) {
        return Err(map::invalid("the content type is longer than 255 bytes"));
    }
    let job = cx.access.job_finish(id, &lease, Finish::Complete { content_type, body }).await?;
    ok(json(StatusCode::OK, &map::job_out(&job, None, cx.board().services().schema())))
}

pub(crate) async fn fail(mut cx: Cx) -> Result<Answer> {
    let (id, lease) = held(&cx)?;
    let body = cx.json().await?;
    let given: FailIn = map::json(&body)?;
    if given.code.is_empty() || given.code.len() > 255 || given.message.len() > 4096 {
        return Err(map::invalid("code has from 1 to 255 bytes and message at most 4096"));
    }
    let failure =
        Failure { code: given.code, message: given.message, retryable: given.retryable.unwrap_or(true) };
    let services = cx.board().services();
    let details: Option<Vec<Detail>> =
        given.details.iter().map(|json| problem::detail_of(json, services.schema())).collect();
    let details = details.ok_or_else(|| {
        map::invalid(
            "details are objects with @type and the message's fields, or its bytes as base64 in value",
        )
    })?;
    let status = (!details.is_empty()).then(|| failure_status(&failure, details));
    let finish = Finish::Fail { failure, status, delay_ms: given.delay.map(|s| s.0) };
    let job = cx.access.job_finish(id, &lease, finish).await?;
    ok(json(StatusCode::OK, &map::job_out(&job, None, services.schema())))
}
