//! Tools: listing and calling methods, with progress and log messages meanwhile.

use crate::logging::{self, Level};
use crate::map::{self, Tools};
use crate::server::{Handler, caller};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderMap;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ProgressToken,
};
use rmcp::service::{Peer, RequestContext};
use rmcp::{ErrorData, RoleServer};
use sb_board::Access;
use sb_board::access::AsJob;
use sb_board::call::metadata;
use sb_board::call::services::Entry;
use sb_board::call::{ByJob, Call, Code, Codec, End, Part, Reply, Status};
use sb_core::jobs::What;
use sb_core::model::{Error, Kind};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// Tools of one page.
const PAGE: usize = 100;
/// How long a client may see a list as fresh.
pub(crate) const FRESH_MS: u64 = 5_000;
/// The most items of a stream that are given back …
const MAX_ITEMS: usize = 1_000;
/// … with so many bytes …
const MAX_ITEM_BYTES: usize = 1 << 20;
/// … that have come within this time, unless the caller says how long.
const STREAM_TIME: Duration = Duration::from_secs(30);
/// How long a call may take whose caller does not say so: who has gone without cancelling leaves nothing behind for longer. Jobs have bounds of
/// their own.
const PATIENCE: Duration = Duration::from_secs(600);
/// The longest text of a progress notification.
const MAX_TEXT: usize = 4_096;

/// `tools/list`: what the caller may call, a page at a time.
pub(crate) fn list(
    request: Option<PaginatedRequestParams>,
    context: &RequestContext<RoleServer>,
) -> Result<ListToolsResult, ErrorData> {
    let access = caller(context)?;
    let services = access.board().services();
    let tools = services.derived(Tools::of);
    let cursor = request.and_then(|request| request.cursor);
    let mut page = Vec::new();
    let mut next = None;
    for (tool, entry) in tools.after(cursor.as_deref()).filter(|(_, entry)| access.may_call(&entry.path)) {
        if page.len() == PAGE {
            next = page.last().map(|(_, path): &(_, String)| path.clone());
            break;
        }
        page.push((tool.clone(), entry.path.to_string()));
    }
    let tools = page.into_iter().map(|(tool, _)| tool).collect();
    let result =
        ListToolsResult::with_all_items(tools).with_ttl_ms(FRESH_MS).with_cache_scope(CacheScope::Private);
    Ok(ListToolsResult { next_cursor: next, ..result })
}

/// `tools/call`.
pub(crate) async fn call(
    handler: &Handler,
    request: CallToolRequestParams,
    context: RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    let access = caller(&context)?;
    let services = access.board().services();
    let tools = services.derived(Tools::of);
    let Some(entry) = tools.find(&request.name).filter(|entry| access.may_call(&entry.path)).cloned() else {
        return Err(ErrorData::invalid_params(format!("Unknown tool: {:.200}", request.name), None));
    };
    let message = map::request(&entry, request.arguments);
    if message.len() > access.board().max_message() {
        return Err(map::error(&Error::new(
            Kind::TooLarge,
            "SB0205",
            "the arguments are larger than a message may be",
        )));
    }
    let token = context.meta.get_progress_token();
    let level = context.meta.log_level().or_else(|| handler.level());
    let telling = Telling { peer: context.peer.clone(), token, told: 0, level };
    let (metadata, timeout) = said(&context).map_err(|error| map::error(&error))?;
    let call = Call {
        metadata,
        deadline: timeout.map(|timeout| Instant::now() + timeout),
        ..Call::unary(entry.path.clone(), Codec::Json, Bytes::from(message))
    };
    let called = perform(&access, &entry, call, telling);
    let outcome = tokio::select! {
        outcome = called => outcome,
        // Dropping the call has cancelled it; nobody waits for this answer.
        () = context.ct.cancelled() => Err(Status::new(Code::Cancelled, "the caller cancelled it")),
    };
    Ok(outcome.unwrap_or_else(|status| map::failed(&status, services.schema())))
}

/// Metadata and time limit of a call, from the headers of the request and the trace context of its `_meta`.
fn said(context: &RequestContext<RoleServer>) -> Result<(HeaderMap, Option<Duration>), Error> {
    let mut metadata = HeaderMap::new();
    let parts = context.extensions.get::<http::request::Parts>();
    let timeout = parts.map(|parts| sb_board::request::timeout(&parts.headers)).transpose()?.flatten();
    if let Some(parts) = parts {
        metadata::append(&parts.headers, &mut metadata);
    }
    for name in ["traceparent", "tracestate", "baggage"] {
        let given = context.meta.get(name).and_then(Value::as_str);
        if let Some(value) = given.and_then(|value| value.parse().ok()) {
            metadata.insert(name, value);
        }
    }
    Ok((metadata, timeout))
}

async fn perform(
    access: &Access,
    entry: &Entry,
    call: Call,
    telling: Telling,
) -> Result<CallToolResult, Status> {
    if entry.method.server_streaming {
        let until = call.deadline.unwrap_or_else(|| Instant::now() + STREAM_TIME);
        let call = Call { deadline: None, ..call };
        return collect(access.call(call).await?, until, telling).await;
    }
    let reply = match entry.service.provider.by_job() {
        ByJob::Worked => by_job(access, call, telling).await?,
        ByJob::Called | ByJob::Refused => {
            let until = call.deadline.unwrap_or_else(|| Instant::now() + PATIENCE);
            access.call(Call { deadline: Some(until), ..call }).await?
        }
    };
    let (leading, message, trailing) = reply.one().await;
    let mut result = match message {
        Ok(message) => map::answer(entry, &message)?,
        Err(status) => map::failed(&status, access.board().services().schema()),
    };
    map::put_metadata(&mut result, &leading, &trailing);
    Ok(result)
}

/// The items of a stream: told as they come, then given back together. What comes too late or is too much ends it.
async fn collect(mut reply: Reply, until: Instant, mut telling: Telling) -> Result<CallToolResult, Status> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    loop {
        let Ok(part) = tokio::time::timeout_at(until, reply.parts.next()).await else {
            return Ok(map::streamed(items, true));
        };
        match part {
            Some(Part::Message(item)) => {
                bytes += item.len();
                if items.len() == MAX_ITEMS || (bytes > MAX_ITEM_BYTES && !items.is_empty()) {
                    return Ok(map::streamed(items, true));
                }
                telling.progress(&item).await;
                items.push(map::json_of(&item)?);
            }
            Some(Part::End(End { status: Some(status), .. })) => return Err(status),
            Some(Part::End(_)) => return Ok(map::streamed(items, false)),
            None => return Err(Status::new(Code::Internal, "the service's answer has no end")),
        }
    }
}

/// A call that workers answer, as a job whose progress and log are told.
async fn by_job(access: &Access, call: Call, mut telling: Telling) -> Result<Reply, Status> {
    let deadline = call.deadline;
    let timeout_ms =
        deadline.map(|at| u64::try_from((at - Instant::now()).as_millis()).unwrap_or(u64::MAX).max(1));
    let (job, _) = access.submit_call(call, AsJob { timeout_ms, ..AsJob::default() }).await?;
    // Nobody watches it any more when the caller has gone: then it is not wanted.
    let mut wanted = Wanted(Some((access.clone(), job.id)));
    let mut seen = 0;
    loop {
        let view = access.job_wait(job.id, seen, 30_000).await?;
        for event in access.job_events(job.id, seen, 256).await? {
            seen = event.seq;
            match event.what {
                What::Progress(json) => telling.progress(&json).await,
                What::Log { stream, text } => telling.log(&stream, text).await,
                _ => {}
            }
        }
        if view.state.terminal() && seen >= view.events {
            wanted.0 = None;
            return access.job_reply(job.id, Codec::Json, false).await;
        }
        if access.board().is_draining() {
            wanted.0 = None;
            return Err(access.job_goes_on(job.id).into());
        }
    }
}

/// Cancels a job when it is dropped.
struct Wanted(Option<(Access, sb_core::model::JobId)>);

impl Drop for Wanted {
    fn drop(&mut self) {
        if let Some((access, id)) = self.0.take() {
            tokio::spawn(async move {
                let _ = access.cancel(id).await;
            });
        }
    }
}

/// Tells the client how a call goes on.
struct Telling {
    peer: Peer<RoleServer>,
    token: Option<ProgressToken>,
    told: u32,
    level: Option<Level>,
}

impl Telling {
    /// An item or a worker's progress. Who has gone hears nothing; that ends the call elsewhere.
    async fn progress(&mut self, json: &[u8]) {
        let Some(token) = &self.token else { return };
        self.told += 1;
        let mut text = String::from_utf8_lossy(json).into_owned();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        let param = ProgressNotificationParam::new(token.clone(), f64::from(self.told)).with_message(text);
        let _ = self.peer.notify_progress(param).await;
    }

    /// A worker's log: `stderr` is a warning.
    async fn log(&mut self, stream: &str, text: String) {
        if let Some(from) = self.level {
            logging::tell(&self.peer, from, stream, text).await;
        }
    }
}
