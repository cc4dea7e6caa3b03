//! Calls as jobs: the server is the worker of the methods that an upstream serves. Each job is called once per attempt, with its lease kept alive
//! meanwhile; what a server-streaming method sends becomes progress, and all of it the result, as NDJSON.

use super::services::Entry;
use super::{ByJob, Call, Code, Codec, End, Part, Status};
use crate::access::{Finish, Report, Taken};
use crate::{Access, Board};
use futures_util::StreamExt as _;
use sb_core::jobs::{Failure, MAX_STATUS};
use sb_core::model::{Message, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Calls of one method that run as jobs at the same time.
const AT_ONCE: usize = 64;
/// The name under which the server takes jobs.
const WORKER: &str = "switchboard";
/// The media type of a stream's items as a result.
pub(crate) const ITEMS: &str = "application/x-ndjson";

/// Begins to take the jobs of a method, unless that is done already.
pub(crate) fn ensure_runner(board: &Arc<Board>, method: &Arc<str>) {
    if board.runners().insert(method.clone()) {
        tokio::spawn(run(Arc::downgrade(board), board.admin(), method.clone()));
    }
}

async fn run(board: std::sync::Weak<Board>, access: Access, method: Arc<str>) {
    let slots = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let Some(board) = board.upgrade().filter(|b| !b.is_draining()) else { return };
        let entry = board.services().method(&method).cloned();
        let Some(entry) = entry.filter(|e| e.service.provider.by_job() == ByJob::Called) else {
            // The service is no longer an upstream; should it become one again, a new runner begins.
            board.runners().remove(&method);
            return;
        };
        drop(board);
        match access.take(&[method.to_string()], 1, 20_000, None, WORKER).await {
            Ok(taken) => {
                let mut slot = Some(slot);
                for job in taken {
                    let (access, entry, slot) = (access.clone(), entry.clone(), slot.take());
                    tokio::spawn(async move {
                        work(&access, &entry, job).await;
                        drop(slot);
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%method, %error, "jobs of a method cannot be taken");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One attempt. The lease is renewed until it has ended; a lost lease or a request to cancel drops the call.
async fn work(access: &Access, entry: &Entry, taken: Taken) {
    let (id, handle) = (taken.job.id, taken.handle.clone());
    let outcome = {
        let mut called = std::pin::pin!(attempt(access, entry, &taken));
        loop {
            let left = u64::try_from(taken.until_ms - access.board().now_ms()).unwrap_or(0);
            let pause = Duration::from_millis((left / 3).clamp(500, 10_000));
            tokio::select! {
                outcome = &mut called => break outcome,
                () = tokio::time::sleep(pause) => match access.job_extend(id, &handle, None).await {
                    Ok(term) if !term.cancel_requested => {}
                    Ok(_) => break Err(Status::new(Code::Cancelled, "the job was cancelled")),
                    // Another attempt has it, or it is over.
                    Err(_) => return,
                },
            }
        }
    };
    let finish = match outcome {
        Ok((content_type, body)) => {
            Finish::Complete { content_type: Some(content_type.into()), body: body.into() }
        }
        Err(mut status) => {
            let retryable =
                matches!(status.code, Code::Unavailable | Code::ResourceExhausted | Code::Aborted);
            status.message.truncate(status.message.floor_char_boundary(4_096));
            // What is too long to be kept is left out from the end.
            while status.encode().len() > MAX_STATUS && status.details.pop().is_some() {}
            let code = status.code.kind().name().to_owned();
            let failure = Failure { code, message: status.message.clone(), retryable };
            Finish::Fail { failure, status: Some(status), delay_ms: None }
        }
    };
    if let Err(error) = access.job_finish(id, &handle, finish).await {
        tracing::info!(job = %id, %error, "the outcome of a call came too late for its job");
    }
}

async fn attempt(access: &Access, entry: &Entry, taken: &Taken) -> Result<(&'static str, Vec<u8>), Status> {
    let codec = taken.input.content_type.as_deref().and_then(Codec::of_content_type).unwrap_or(Codec::Json);
    let left = u64::try_from(taken.job.deadline_ms - access.board().now_ms()).unwrap_or(0);
    let call = Call {
        streaming: entry.streaming(),
        metadata: metadata(&taken.input),
        deadline: Some(Instant::now() + Duration::from_millis(left)),
        ..Call::unary(taken.job.method.as_str(), codec, taken.input.body.clone())
    };
    let mut reply = access.call(call).await?;
    if !entry.method.server_streaming {
        let (_, message, _) = reply.one().await;
        return message.map(|bytes| (codec.content_type(), bytes.to_vec()));
    }
    let (mut items, most) = (Vec::new(), access.board().max_message());
    while let Some(part) = reply.parts.next().await {
        match part {
            Part::Message(item) => {
                if items.len() + item.len() >= most {
                    return Err(Status::new(
                        Code::FailedPrecondition,
                        format!("the items are together larger than the {most} bytes a result may have"),
                    ));
                }
                items.extend_from_slice(&item);
                items.push(b'\n');
                // Progress is for those who watch: an item that is too large for it is in the result alone.
                if item.len() <= 16 * 1024 {
                    let progress = Report::Progress(item);
                    access.job_report(taken.job.id, &taken.handle, progress).await.map_err(Status::from)?;
                }
            }
            Part::End(End { status: Some(status), .. }) => return Err(status),
            Part::End(_) => break,
        }
    }
    Ok((ITEMS, items))
}

/// The metadata of a call as headers of its job's input, and back: text headers whose names a header may have.
pub(crate) fn metadata(input: &Message) -> http::HeaderMap {
    let pairs = input.headers.iter().filter_map(|header| {
        let Value::Text(text) = &header.value else { return None };
        if sb_core::model::is_reserved(&header.name) {
            return None;
        }
        Some((header.name.parse::<http::HeaderName>().ok()?, text.parse::<http::HeaderValue>().ok()?))
    });
    let mut map = http::HeaderMap::new();
    for (name, value) in pairs {
        map.append(name, value);
    }
    map
}
