//! `google.longrunning.Operations` over jobs: the operation `jobs/ID` has the job as metadata, and as response the method's own output message when
//! the method is described, otherwise a `switchboard.v1.JobResult`.

use crate::call::{Answer, Cx};
use crate::map::{self, given, span_in};
use crate::types::google::longrunning::__buffa::oneof::operation::Result as Outcome;
use crate::types::google::longrunning::*;
use crate::types::google::rpc;
use crate::types::switchboard::v1;
use buffa::MessageField;
use buffa_types::google::protobuf::{Any, Empty};
use sb_board::access::{JobFilter, Outcome as Ended};
use sb_board::call::{Code, Codec, Status};
use sb_board::request::job_id;
use sb_core::jobs::{JobView, State};
use sb_core::model::{Error, JobId, Kind, Result};

/// The job that an operation's name means.
fn named(name: &str) -> Result<JobId> {
    job_id(name.strip_prefix("jobs/").or_else(|| name.strip_prefix("operations/")).unwrap_or(name))
}

async fn operation(cx: &Cx, view: &JobView) -> Answer<Operation> {
    let outcome = if view.state.terminal() { cx.access.job_outcome(view.id).await? } else { None };
    let result = match outcome {
        None => None,
        Some(Ended::Result { content_type, body }) => Some(response(cx, view, content_type, body)),
        Some(ended) => ended.status().map(error),
    };
    let metadata = Any::pack(&map::job(view, None), v1::Job::TYPE_URL);
    Ok(Operation {
        name: format!("jobs/{}", view.id),
        metadata: MessageField::some(metadata),
        done: result.is_some(),
        result,
    })
}

/// The result of a job. Where it cannot be read as the method's output, that is the error.
fn response(cx: &Cx, view: &JobView, content_type: Option<String>, body: bytes::Bytes) -> Outcome {
    let services = cx.access.board().services();
    let entry = services.method(&view.method).filter(|e| !e.method.server_streaming);
    let Some(entry) = entry else {
        return Outcome::Response(Any::pack(&map::result(content_type, body), v1::JobResult::TYPE_URL));
    };
    let output = &entry.method.output;
    let codec = content_type.as_deref().map_or(Some(Codec::Json), Codec::of_content_type);
    let value = match codec {
        Some(Codec::Proto) => Ok(body),
        Some(Codec::Json) => sb_schema::json_to_proto(output, &body, &entry.service.json)
            .map_err(|e| format!("the job's result is no {}: {e}", output.full_name())),
        None => Err(format!(
            "the job's result is {}, which is neither JSON nor Protobuf",
            content_type.unwrap_or_default()
        )),
    };
    match value {
        Ok(value) => Outcome::Response(Any {
            type_url: format!("type.googleapis.com/{}", output.full_name()),
            value,
            ..Any::default()
        }),
        Err(why) => error(Status::new(Code::Internal, why)),
    }
}

fn error(status: Status) -> Outcome {
    Outcome::Error(rpc::Status {
        code: map::small(status.code.number()),
        details: map::details(&status),
        message: status.message,
    })
}

pub(crate) async fn get(cx: Cx, asked: GetOperationRequest) -> Answer<Operation> {
    let view = cx.access.job(named(&asked.name)?).await?;
    operation(&cx, &view).await
}

pub(crate) async fn wait(cx: Cx, asked: WaitOperationRequest) -> Answer<Operation> {
    let id = named(&asked.name)?;
    let wait = cx.wait_ms(Some(span_in("timeout", &asked.timeout)?.unwrap_or(u64::MAX)));
    let view = cx.access.job_wait(id, u64::MAX, wait).await?;
    operation(&cx, &view).await
}

/// Conditions that are joined by AND: `method = NAME`, `state = NAME`, values perhaps in quotes.
fn filter(text: &str) -> Result<JobFilter> {
    let mut filter = JobFilter::default();
    for condition in text.split(" AND ").map(str::trim).filter(|c| !c.is_empty()) {
        let (name, value) = condition.split_once('=').unwrap_or((condition, ""));
        let value = value.trim().trim_matches('"');
        match name.trim() {
            "method" if filter.method.is_none() => filter.method = Some(value.to_owned()),
            "state" if filter.state.is_none() => {
                let state = State::ALL.into_iter().find(|s| s.name().eq_ignore_ascii_case(value));
                filter.state =
                    Some(state.ok_or_else(|| Error::invalid(format!("there is no state {value:.40?}")))?);
            }
            _ => {
                return Err(Error::invalid(format!("the filter {condition:.80?} is not understood"))
                    .fix("Use method = NAME, state = NAME, or both joined by AND"));
            }
        }
    }
    Ok(filter)
}

pub(crate) async fn list(cx: Cx, asked: ListOperationsRequest) -> Answer<ListOperationsResponse> {
    if !matches!(asked.name.as_str(), "" | "jobs" | "operations") {
        return Err(Error::new(
            Kind::NotFound,
            "SB0401",
            format!("nothing is listed at {:.80?}", asked.name),
        )
        .fix("Jobs are listed at \"jobs\"")
        .into());
    }
    let filter = JobFilter {
        after: given(&asked.page_token).map(job_id).transpose()?,
        limit: map::limit(asked.page_size.min(1_000))?,
        ..filter(&asked.filter)?
    };
    let (jobs, more) = cx.access.jobs(&filter).await?;
    let mut operations = Vec::with_capacity(jobs.len());
    for view in &jobs {
        operations.push(operation(&cx, view).await?);
    }
    Ok(ListOperationsResponse {
        operations,
        next_page_token: jobs.last().filter(|_| more).map(|j| j.id.to_string()).unwrap_or_default(),
        ..ListOperationsResponse::default()
    })
}

pub(crate) async fn cancel(cx: Cx, asked: CancelOperationRequest) -> Answer<Empty> {
    match cx.access.cancel(named(&asked.name)?).await {
        Ok(_) => Ok(Empty::default()),
        // Success is not promised: what has ended stays as it is.
        Err(error) if error.code == "SB0403" => Ok(Empty::default()),
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn delete(cx: Cx, asked: DeleteOperationRequest) -> Answer<Empty> {
    let id = named(&asked.name)?;
    cx.access.job(id).await?;
    Err(Error::new(Kind::Unsupported, "SB0209", "jobs are not deleted: they are forgotten by themselves")
        .fix("Lower keep_result of the method")
        .into())
}
