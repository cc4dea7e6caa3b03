//! Requests to handlers: the table of routes, what every answer has in common (CORS, caching, `HEAD`, problems), and the reading of bodies.
//!
//! The table is the only list of what is spoken: matching, `Allow`, the check of query parameters, CORS preflights, near names of unknown
//! paths and the OpenAPI document all follow from it.

use crate::wire::{self, Prefer, Query};
use crate::{calls, files, groups, jobs, map, openapi, system, topics, websocket};
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode, request::Parts};
use http_body::Body as _;
use sb_board::access::Access;
use sb_board::mount::{Answer, Body, BoxFuture, Request, RequestBody};
use sb_board::{Board, HttpSettings, RouteTarget};
use sb_core::model::{Error, Kind, Result};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// The largest JSON body of a request that publishes nothing.
const MAX_JSON: usize = 1 << 20;
/// The largest body when several messages are published at once.
const MAX_BATCH: usize = 8 << 20;
/// How long the rest of a body that is too large is read in all, and how long for more of it is waited.
const DISCARD_TIME: Duration = Duration::from_secs(5);
const DISCARD_PAUSE: Duration = Duration::from_secs(2);
/// How much of it is read.
const DISCARD_SIZE: usize = 4 * MAX_BATCH;
/// A body up to this length is read before anything is judged: a refusal that came earlier would close the connection under a client that is
/// still sending, and perhaps under its next request.
const EARLY: u64 = 64 * 1024;
/// How long the next piece of a body may take.
const BODY_PAUSE: Duration = Duration::from_secs(30);
/// More path segments than any route has.
const MAX_SEGMENTS: usize = 6;

/// Whether more of a body over HTTP/1 may come; `None` where that is known not to be.
type Unread = Option<Arc<AtomicBool>>;

/// One request, routed.
pub(crate) struct Cx {
    pub(crate) access: Access,
    pub(crate) parts: Parts,
    pub(crate) body: RequestBody,
    /// The body, when it was read already.
    early: Option<Bytes>,
    /// Whether more of the body may come.
    unread: Unread,
    /// The path's parameters, decoded once.
    pub(crate) args: Vec<String>,
    /// The query, checked against the route.
    pub(crate) query: Query,
}

impl Cx {
    /// A path parameter.
    pub(crate) fn arg(&self, n: usize) -> &str {
        self.args.get(n).map_or("", String::as_str)
    }

    pub(crate) fn board(&self) -> &Arc<Board> {
        self.access.board()
    }

    /// A header, when it is there and text.
    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn prefer(&self) -> Prefer {
        let mut prefer = Prefer::default();
        for value in self.parts.headers.get_all("prefer") {
            prefer.add(value.to_str().unwrap_or_default());
        }
        prefer
    }

    /// `Prefer: wait=N` in seconds, cut to what the server allows.
    pub(crate) fn wait(&self) -> Option<u64> {
        self.prefer().wait.map(|n| n.min(self.board().max_wait_ms() / 1_000))
    }

    /// A wait given in JSON, cut to what the server allows.
    pub(crate) fn wait_ms(&self, wait: Option<wire::json::Span>) -> u64 {
        wait.map_or(0, |s| s.0).min(self.board().max_wait_ms())
    }

    pub(crate) fn limit(&self, name: &str, most: u64, default: usize) -> Result<usize> {
        Ok(self.query.number(name, 1, most).map_err(map::invalid)?.map_or(default, |n| n as usize))
    }

    pub(crate) fn wants_events(&self) -> bool {
        let values = self.parts.headers.get_all(header::ACCEPT);
        values.iter().any(|v| v.to_str().is_ok_and(|v| wire::accepts(v, "text/event-stream")))
    }

    pub(crate) fn wants_websocket(&self) -> bool {
        is_websocket(&self.parts)
    }

    /// Whether `If-None-Match` names this tag.
    pub(crate) fn has(&self, tag: &str) -> bool {
        let values = self.parts.headers.get_all(header::IF_NONE_MATCH);
        values.iter().any(|v| v.to_str().is_ok_and(|v| wire::names_tag(v, tag)))
    }

    /// The limit for a body that is one message.
    pub(crate) fn max_body(&self) -> usize {
        self.board().max_message()
    }

    /// The trace id of the request, for problems.
    pub(crate) fn trace(&self) -> Option<&str> {
        trace_id(&self.parts.headers)
    }

    /// The limit for a body that holds several messages.
    pub(crate) fn max_batch(&self) -> usize {
        MAX_BATCH.max(self.board().http().max_body)
    }

    /// The whole body.
    pub(crate) async fn collect(&mut self, limit: usize) -> Result<Bytes> {
        if let Some(body) = self.early.take() {
            return if body.len() > limit { Err(too_large(limit)) } else { Ok(body) };
        }
        let got = collect(&mut self.body, limit).await;
        let ended = match &got {
            Ok(_) => true,
            // Many clients read no answer before they have sent everything. Who asked first (100-continue) has not begun.
            Err(error)
                if error.kind == Kind::TooLarge && !self.parts.headers.contains_key(header::EXPECT) =>
            {
                tokio::time::timeout(DISCARD_TIME, discard(&mut self.body)).await.unwrap_or(false)
            }
            Err(_) => false,
        };
        if ended && let Some(unread) = &self.unread {
            unread.store(false, Ordering::Relaxed);
        }
        got
    }

    /// A JSON body, not parsed yet. Without one, `absent` stands for it.
    pub(crate) async fn json_or(&mut self, limit: usize, absent: Option<&'static [u8]>) -> Result<Bytes> {
        let content_type = self.header(header::CONTENT_TYPE);
        let fits = content_type.map(|c| wire::is_media_type(c, "application/json"));
        if fits == Some(false) {
            return Err(Error::new(
                Kind::Invalid,
                "SB0208",
                format!(
                    "the body's type is {:.100}, and JSON is needed here",
                    content_type.unwrap_or_default()
                ),
            )
            .fix("Send Content-Type: application/json"));
        }
        let body = self.collect(limit).await?;
        if body.is_empty() {
            return absent
                .map(Bytes::from_static)
                .ok_or_else(|| map::invalid("the body is missing").fix("Send a JSON object, at least {}"));
        }
        if fits.is_none() {
            return Err(Error::new(Kind::Invalid, "SB0208", "the body has no type, and JSON is needed here")
                .fix("Send Content-Type: application/json"));
        }
        Ok(body)
    }

    /// A JSON body that must be there.
    pub(crate) async fn json(&mut self) -> Result<Bytes> {
        self.json_or(MAX_JSON, None).await
    }

    /// A JSON body all of whose members are optional.
    pub(crate) async fn json_if_any(&mut self) -> Result<Bytes> {
        self.json_or(MAX_JSON, Some(b"{}")).await
    }

    /// Becomes a WebSocket.
    pub(crate) fn upgrade(
        self,
        subprotocol: Option<&'static str>,
        run: impl FnOnce(sb_board::mount::WebSocket) -> BoxFuture<()> + Send + 'static,
    ) -> Answer {
        let max_message = (8 << 20).max(self.max_body().saturating_mul(3) / 2 + (1 << 16));
        Answer::WebSocket(sb_board::mount::Upgrade {
            http: http::Request::from_parts(self.parts, self.body),
            subprotocol,
            options: sb_board::mount::WebSocketOptions { max_message, ..Default::default() },
            run: Box::new(run),
        })
    }
}

/// Reads what still comes of a body that is too large, for a while: as long as it keeps coming, and not without end. Whether it ended.
async fn discard(body: &mut RequestBody) -> bool {
    let mut left = DISCARD_SIZE;
    while left > 0 {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx));
        match tokio::time::timeout(DISCARD_PAUSE, frame).await {
            Ok(Some(Ok(frame))) => left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len)),
            Ok(None) => return true,
            Ok(Some(Err(_))) | Err(_) => return false,
        }
    }
    false
}

fn too_large(limit: usize) -> Error {
    Error::new(Kind::TooLarge, "SB0205", format!("the body is larger than {limit} bytes"))
        .fix("Send less at once, or raise the limit")
}

/// A whole body. A length beyond the limit is refused before anything is read.
async fn collect<B>(body: &mut B, limit: usize) -> Result<Bytes>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let known = body.size_hint().lower();
    if known > limit as u64 {
        return Err(too_large(limit));
    }
    // The usual body arrives in one piece, which stays the slice of the read buffer that it is.
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx));
        let frame = tokio::time::timeout(BODY_PAUSE, frame).await.map_err(|_| {
            Error::new(Kind::Deadline, "SB0201", "the body stopped coming").fix("Send it without long pauses")
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|e| map::invalid(format!("the body could not be read: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len().max(more.len()).saturating_add(data.len()) > limit {
            return Err(too_large(limit));
        }
        if first.is_empty() && more.is_empty() {
            first = data;
            continue;
        }
        if more.is_empty() {
            // What the client says of the length is believed up to a modest size; beyond it memory follows what has arrived.
            more.reserve((first.len() + data.len()).max((known as usize).min(256 * 1024)));
            more.extend_from_slice(&first);
        }
        more.extend_from_slice(&data);
    }
    Ok(if more.is_empty() { first } else { more.freeze() })
}

/// Whether a request asks to become a WebSocket, over HTTP/1.1 (RFC 6455) or HTTP/2 (RFC 8441).
pub(crate) fn is_websocket(parts: &Parts) -> bool {
    if parts.method == Method::CONNECT {
        return parts.extensions.get::<hyper::ext::Protocol>().is_some_and(|p| p.as_str() == "websocket");
    }
    let names = |name: HeaderName, token: &str| {
        parts
            .headers
            .get_all(name)
            .iter()
            .any(|v| v.to_str().is_ok_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token))))
    };
    parts.method == Method::GET && names(header::UPGRADE, "websocket") && names(header::CONNECTION, "upgrade")
}

// Answers.

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // Room for a receipt, the most frequent answer.
    let mut bytes = Vec::with_capacity(256);
    if serde_json::to_writer(&mut bytes, value).is_err() {
        bytes.clear();
    }
    typed(status, "application/json", bytes.into())
}

/// An answer with a content type of ours.
pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// Sets a header whose value may hold anything; what HTTP cannot carry is left out.
pub(crate) fn set(response: &mut Response<Body>, name: impl header::IntoHeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Marks an answer as one that is asked for again with its tag.
pub(crate) fn tagged(mut response: Response<Body>, tag: &str) -> Response<Body> {
    set(&mut response, header::ETAG, tag);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// Bytes of users: never run as a page of ours, whatever their type says.
pub(crate) fn untrusted(response: &mut Response<Body>) {
    let policy = HeaderValue::from_static("sandbox; default-src 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
}

// The table.

/// What an answer or a request body is, for the OpenAPI document.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// No body.
    None,
    /// JSON with this schema.
    Json(&'static str),
    /// Any bytes, of any type.
    Bytes,
    /// Text.
    Text,
    /// JSON with this schema, or Server-Sent Events.
    JsonOrEvents(&'static str),
}

/// A way to be called.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// Segments; `{name}` takes any one segment.
    pub(crate) path: &'static str,
    pub(crate) handler: fn(Cx) -> BoxFuture<Result<Answer>>,
    /// The operation's name.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) query: &'static [&'static str],
    pub(crate) headers: &'static [&'static str],
    pub(crate) body: Shape,
    pub(crate) answers: &'static [(u16, Shape)],
}

macro_rules! routes {
    ($($method:literal $path:literal => $handler:path, $id:literal, $summary:literal,
        query $query:expr, headers $headers:expr, $body:expr => $answers:expr;)*) => {
        &[$(Route {
            method: $method,
            path: $path,
            handler: |cx| Box::pin($handler(cx)),
            id: $id,
            summary: $summary,
            query: &$query,
            headers: &$headers,
            body: $body,
            answers: &$answers,
        }),*]
    };
}

use Shape::{Bytes as AnyBytes, Json, JsonOrEvents, None as Nothing, Text};

/// What is spoken, in the order in which it is matched.
pub(crate) static ROUTES: &[Route] = routes! {
    "POST" "/topics/{topic}" => topics::publish, "publish", "Publish a message",
        query ["live", "batch"], headers ["Sb-Key", "Sb-Key-Base64", "Sb-Delay", "Sb-Expires", "Idempotency-Key", "traceparent", "tracestate", "baggage"],
        AnyBytes => [(201, Json("Receipt")), (202, Json("Live"))];
    "GET" "/topics/{topic}" => topics::read, "read", "Read messages: short poll, long poll, Server-Sent Events or WebSocket",
        query ["after", "from", "last", "limit", "partition", "envelope"], headers ["Prefer", "If-None-Match", "Last-Event-ID"],
        Nothing => [(200, JsonOrEvents("Messages")), (304, Nothing)];
    "PUT" "/topics/{topic}" => topics::put, "putTopic", "Create a topic or replace its policy",
        query [], headers ["If-None-Match", "If-Match"], Json("Policy") => [(201, Json("Topic")), (200, Json("Topic"))];
    "PATCH" "/topics/{topic}" => topics::patch, "patchTopic", "Change members of a topic's policy",
        query [], headers ["If-Match"], Json("Policy") => [(200, Json("Topic"))];
    "DELETE" "/topics/{topic}" => topics::delete, "deleteTopic", "Delete a topic with its messages and groups",
        query [], headers [], Nothing => [(204, Nothing)];
    "GET" "/topics/{topic}/info" => topics::info, "getTopic", "Describe a topic",
        query [], headers ["If-None-Match"], Nothing => [(200, Json("Topic")), (304, Nothing)];
    "GET" "/topics/{topic}/messages/{message}" => topics::message, "getMessage", "One message: its bytes",
        query [], headers ["If-None-Match"], Nothing => [(200, AnyBytes), (304, Nothing)];
    "GET" "/topics" => topics::list, "listTopics", "List topics",
        query ["prefix", "after", "limit"], headers [], Nothing => [(200, Json("Topics"))];
    "POST" "/publish" => topics::publish_many, "publishMany", "Publish messages to any topics, all or none",
        query [], headers ["Idempotency-Key"], Json("Publish") => [(201, Json("Receipts"))];

    "POST" "/topics/{topic}/groups/{group}/lease" => groups::lease, "lease", "Lease messages",
        query [], headers [], Json("LeaseRequest") => [(200, Json("Leased"))];
    "POST" "/topics/{topic}/groups/{group}/ack" => groups::ack, "ack", "Messages are done with",
        query [], headers [], Json("AckRequest") => [(200, Json("Results"))];
    "POST" "/topics/{topic}/groups/{group}/nack" => groups::nack, "nack", "Messages go back to the queue, or are dead",
        query [], headers [], Json("NackRequest") => [(200, Json("Results"))];
    "POST" "/topics/{topic}/groups/{group}/extend" => groups::extend, "extend", "A new term for leases",
        query [], headers [], Json("ExtendRequest") => [(200, Json("Results"))];
    "GET" "/topics/{topic}/groups/{group}/peek" => groups::peek, "peek", "The next messages, without taking them",
        query ["limit"], headers [], Nothing => [(200, Json("Peeked"))];
    "POST" "/topics/{topic}/groups/{group}/seek" => groups::seek, "seek", "Move a group",
        query [], headers [], Json("SeekRequest") => [(200, Json("Seek"))];
    "POST" "/topics/{topic}/groups/{group}/commit" => groups::commit, "commitCursor", "Remember a position",
        query [], headers [], Json("CommitRequest") => [(200, Json("CommitRequest"))];
    "GET" "/topics/{topic}/groups/{group}" => groups::get, "getGroup", "Describe a group",
        query [], headers [], Nothing => [(200, Json("Group"))];
    "PUT" "/topics/{topic}/groups/{group}" => groups::put, "putGroup", "Create or change a group",
        query [], headers [], Json("GroupOptions") => [(201, Json("Group")), (200, Json("Group"))];
    "DELETE" "/topics/{topic}/groups/{group}" => groups::delete, "deleteGroup", "Delete a group",
        query [], headers [], Nothing => [(204, Nothing)];
    "GET" "/groups" => groups::list, "listGroups", "List groups",
        query ["topic", "after", "limit"], headers [], Nothing => [(200, Json("Groups"))];

    "GET" "/methods" => jobs::methods, "listMethods", "List methods",
        query [], headers [], Nothing => [(200, Json("Methods"))];
    "PUT" "/methods/{service}/{method}" => jobs::put_method, "putMethod", "Declare or change a method",
        query [], headers [], Json("MethodOptions") => [(201, Json("Method")), (200, Json("Method"))];
    "DELETE" "/methods/{service}/{method}" => jobs::delete_method, "deleteMethod", "Delete a method",
        query [], headers [], Nothing => [(204, Nothing)];

    "POST" "/jobs/take" => jobs::take, "takeJobs", "Take jobs to work on",
        query [], headers [], Json("TakeRequest") => [(200, Json("TakenJobs"))];
    "GET" "/jobs" => jobs::list, "listJobs", "List jobs, newest first",
        query ["state", "method", "after", "limit"], headers [], Nothing => [(200, Json("Jobs"))];
    "GET" "/jobs/{id}" => jobs::get, "getJob", "Watch a job: short poll, long poll, Server-Sent Events or WebSocket",
        query ["after"], headers ["Prefer", "If-None-Match", "Last-Event-ID"],
        Nothing => [(200, JsonOrEvents("Job")), (304, Nothing)];
    "DELETE" "/jobs/{id}" => jobs::cancel, "cancelJob", "Cancel a job",
        query [], headers [], Nothing => [(200, Json("Job")), (202, Json("Job"))];
    "GET" "/jobs/{id}/events" => jobs::events, "getJobEvents", "The events of a job",
        query ["after", "limit"], headers ["Prefer"], Nothing => [(200, Json("Events"))];
    "GET" "/jobs/{id}/result" => jobs::result, "getJobResult", "The result's bytes",
        query [], headers ["Prefer"], Nothing => [(200, AnyBytes)];
    "GET" "/jobs/{id}/input" => jobs::input, "getJobInput", "The submitted bytes",
        query [], headers [], Nothing => [(200, AnyBytes)];
    "POST" "/jobs/{id}/rerun" => jobs::rerun, "rerunJob", "A new job from this one",
        query [], headers [], AnyBytes => [(201, Json("Job"))];
    "POST" "/jobs/{id}/extend" => jobs::extend, "extendJob", "A worker keeps its job",
        query [], headers ["Sb-Lease"], Json("JobExtendRequest") => [(200, Json("Term"))];
    "POST" "/jobs/{id}/progress" => jobs::progress, "reportProgress", "A worker tells how far it is",
        query [], headers ["Sb-Lease"], Json("Any") => [(200, Json("Term"))];
    "POST" "/jobs/{id}/log" => jobs::log, "reportLog", "A worker writes a log",
        query ["stream"], headers ["Sb-Lease"], Text => [(200, Json("Term"))];
    "POST" "/jobs/{id}/complete" => jobs::complete, "completeJob", "A worker gives the result",
        query [], headers ["Sb-Lease"], AnyBytes => [(200, Json("Job"))];
    "POST" "/jobs/{id}/fail" => jobs::fail, "failJob", "A worker gives up an attempt",
        query [], headers ["Sb-Lease"], Json("FailRequest") => [(200, Json("Job"))];

    "POST" "/tokens" => system::tokens, "createToken", "A token with at most the caller's rights",
        query [], headers [], Json("TokenRequest") => [(201, Json("Token"))];
    "GET" "/livez" => system::livez, "livez", "Whether the process lives",
        query ["verbose"], headers [], Nothing => [(200, Text)];
    "GET" "/readyz" => system::readyz, "readyz", "Whether it can serve",
        query ["verbose"], headers [], Nothing => [(200, Text), (503, Text)];
    "GET" "/metrics" => system::metrics, "metrics", "Figures for Prometheus",
        query [], headers [], Nothing => [(200, Text)];
    "GET" "/status" => system::status, "status", "Figures of the whole server",
        query [], headers [], Nothing => [(200, Json("Status"))];
    "GET" "/openapi.json" => openapi::serve, "openapi", "This document",
        query [], headers ["If-None-Match"], Nothing => [(200, Json("Any")), (304, Nothing)];
    "GET" "/ws" => websocket::open, "websocket", "WebSocket with the subprotocol switchboard.v1",
        query [], headers [], Nothing => [(101, Nothing)];

    "POST" "/{service}/{method}" => jobs::call, "call", "Call a method, or submit a job",
        query [], headers ["Prefer", "Idempotency-Key", "Sb-Key", "Sb-Delay", "Sb-Timeout"],
        AnyBytes => [(200, AnyBytes), (202, Json("Job"))];
};

/// First segments that belong to us and are never a service.
const RESERVED: [&str; 15] = [
    "topics",
    "groups",
    "methods",
    "jobs",
    "publish",
    "tokens",
    "livez",
    "readyz",
    "metrics",
    "status",
    "openapi.json",
    "ws",
    "console",
    "docs",
    "hooks",
];

/// Routes that need no login.
const OPEN: [&str; 3] = ["livez", "readyz", "openapi"];

struct Table {
    /// Routes by their number of segments.
    by_length: [Vec<(Vec<&'static str>, &'static Route)>; MAX_SEGMENTS],
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut by_length: [Vec<_>; MAX_SEGMENTS] = Default::default();
    for route in ROUTES {
        let segments: Vec<&str> = route.path.split('/').skip(1).collect();
        if let Some(routes) = by_length.get_mut(segments.len()) {
            routes.push((segments, route));
        }
    }
    Table { by_length }
});

/// What a path and method lead to.
pub(crate) enum Found {
    Route(&'static Route, Vec<String>),
    /// The path exists; these methods do.
    Methods(Vec<&'static str>),
    Nothing,
}

/// A path's segments as they were sent; `None` when there are more than any route has.
fn split(path: &str) -> Option<([&str; MAX_SEGMENTS], usize)> {
    let mut segments = [""; MAX_SEGMENTS];
    let mut count = 0;
    for segment in path.split('/').skip(1) {
        *segments.get_mut(count)? = segment;
        count += 1;
    }
    Some((segments, count))
}

fn is_literal(segment: &str) -> bool {
    !segment.starts_with('{')
}

/// The routes whose path fits, of whatever method, in the order of the table.
fn fitting<'a>(
    segments: &'a [&'a str],
) -> impl Iterator<Item = &'static (Vec<&'static str>, &'static Route)> + 'a {
    let reserved = segments.first().is_some_and(|first| RESERVED.contains(first));
    TABLE.by_length.get(segments.len()).map(Vec::as_slice).unwrap_or_default().iter().filter(
        move |(template, _)| {
            let service = template.first().is_some_and(|t| !is_literal(t));
            let fits = |(t, s): (&&str, &&str)| if is_literal(t) { t == s } else { !s.is_empty() };
            !(service && reserved) && template.iter().zip(segments).all(fits)
        },
    )
}

/// Looks up a method and a path as it was sent.
pub(crate) fn find(method: &str, path: &str) -> Result<Found> {
    let Some((segments, count)) = split(path) else { return Ok(Found::Nothing) };
    let segments = segments.get(..count).unwrap_or_default();
    let mut methods: Vec<&'static str> = Vec::new();
    for (template, route) in fitting(segments) {
        if route.method != method {
            // What looks like a service is one; anything else of that form may be a file.
            let file = template.first().is_some_and(|t| !is_literal(t))
                && !segments.first().is_some_and(|first| first.contains('.') && !first.starts_with('.'));
            if !file {
                methods.push(route.method);
            }
            continue;
        }
        let mut args = Vec::with_capacity(2);
        for (_, segment) in template.iter().zip(segments).filter(|(t, _)| !is_literal(t)) {
            match wire::percent_decode(segment) {
                Some(text) => args.push(text.into_owned()),
                None => {
                    return Err(Error::new(
                        Kind::Invalid,
                        "SB0202",
                        format!("{segment:.80?} is wrongly percent-encoded or not UTF-8"),
                    ));
                }
            }
        }
        return Ok(Found::Route(route, args));
    }
    Ok(if methods.is_empty() { Found::Nothing } else { Found::Methods(methods) })
}

/// Every method of a path, for `Allow`.
fn allowed(path: &str) -> Vec<&'static str> {
    let mut methods: Vec<&'static str> = match split(path) {
        Some((segments, count)) => {
            fitting(segments.get(..count).unwrap_or_default()).map(|(_, route)| route.method).collect()
        }
        None => Vec::new(),
    };
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    if !methods.is_empty() {
        methods.push("OPTIONS");
    }
    methods
}

/// The known path nearest to an unknown one.
fn near_path(path: &str) -> Option<&'static str> {
    let (segments, count) = split(path)?;
    let segments = segments.get(..count)?;
    let first = segments.first().copied()?;
    let paths = ROUTES.iter().map(|r| r.path);
    let first_of = |path: &'static str| path.split('/').nth(1).unwrap_or_default();
    let firsts = paths.clone().map(first_of).filter(|f| is_literal(f));
    let near = firsts.clone().find(|f| *f == first).or_else(|| wire::near(first, firsts))?;
    // Of the paths that begin so, the one of the nearest length whose fixed segments are the least different.
    paths.filter(|path| first_of(path) == near).min_by_key(|path| {
        let fixed = path.split('/').skip(1).zip(segments).filter(|(t, _)| is_literal(t));
        let difference: usize = fixed.map(|(t, s)| wire::distance(s.get(..64).unwrap_or(s), t).min(64)).sum();
        (path.split('/').count().abs_diff(count + 1), difference)
    })
}

// Requests.

/// The trace id of a request (W3C Trace Context), for problems.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(&map::names::TRACEPARENT)?.to_str().ok()?.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

/// Answers a request.
pub(crate) fn handle(request: Request) -> BoxFuture<Answer> {
    Box::pin(async move {
        let Request { http, access, .. } = request;
        let board = access.board().clone();
        let (parts, mut body) = http.into_parts();
        let cors = Cors::new(board.http(), &parts.headers);
        let head = parts.method == Method::HEAD;
        let trace = trace_id(&parts.headers).map(str::to_owned);
        let http1 = parts.version < http::Version::HTTP_2;
        let early = early(&parts.headers, &mut body).await;
        let unread: Unread = (http1 && !body.is_end_stream()).then(|| Arc::new(AtomicBool::new(true)));
        let answer = match early {
            Ok(early) => route(access, &board, parts, body, early, unread.clone()).await,
            Err(error) => Err(error),
        };
        let answer = answer.unwrap_or_else(|error| Answer::Response(problem(&error, trace.as_deref())));
        match answer {
            Answer::Response(mut response) => {
                finish(&mut response, &cors, head);
                if unread.is_some_and(|unread| unread.load(Ordering::Relaxed)) {
                    // The connection cannot carry another request, and a client that is not told so would try.
                    set(&mut response, header::CONNECTION, "close");
                }
                Answer::Response(response)
            }
            other => other,
        }
    })
}

/// A problem, with the status of those codes that are about HTTP itself.
fn problem(error: &Error, trace: Option<&str>) -> Response<Body> {
    let with = |status| sb_board::problem::with_status(error, status, trace);
    match error.code {
        "SB0207" => with(StatusCode::METHOD_NOT_ALLOWED),
        "SB0208" => with(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        "SB0211" => with(StatusCode::UPGRADE_REQUIRED),
        _ => sb_board::problem::response(error, trace),
    }
}

/// The body, when it is small.
async fn early(headers: &HeaderMap, body: &mut RequestBody) -> Result<Option<Bytes>> {
    match body.size_hint().exact() {
        Some(1..=EARLY) if !headers.contains_key(header::EXPECT) => {
            collect(body, EARLY as usize).await.map(Some)
        }
        _ => Ok(None),
    }
}

async fn route(
    access: Access,
    board: &Arc<Board>,
    parts: Parts,
    body: RequestBody,
    early: Option<Bytes>,
    unread: Unread,
) -> Result<Answer> {
    let settings = board.http();
    let path = parts.uri.path();
    let websocket = is_websocket(&parts);
    let method = match parts.method.as_str() {
        "HEAD" => "GET",
        "CONNECT" if websocket => "GET",
        other => other,
    };
    if method == "OPTIONS" {
        return Ok(Answer::Response(options(settings, &parts)));
    }
    let own = settings.routes.iter().find(|r| r.http_method == method && r.path == path);
    let services = board.services();
    let called = match own {
        Some(own) => match &own.target {
            RouteTarget::Call(name) => calls::by_name(&services, "POST", &format!("/{name}")),
            RouteTarget::Topic(_) => None,
        },
        None if path.split('/').nth(1).is_some_and(|first| RESERVED.contains(&first)) => None,
        None if websocket => calls::by_socket(&services, path),
        None => match calls::find(&services, method, path) {
            Ok(bound) => bound.or_else(|| calls::by_name(&services, method, path)),
            Err(_) if calls::by_name(&services, method, path).is_some() => {
                calls::by_name(&services, method, path)
            }
            Err(methods) => {
                let error =
                    Error::new(Kind::Invalid, "SB0207", format!("{path:.120} does not take {method:.20}"));
                let methods = methods.join(", ");
                let mut response = problem(&error.fix(format!("Use {methods}")), trace_id(&parts.headers));
                set(&mut response, header::ALLOW, &methods);
                return Ok(Answer::Response(response));
            }
        },
    };
    if let Some(bound) = called {
        access.known()?;
        let cx = Cx { access, parts, body, early, unread, args: Vec::new(), query: Query::default() };
        return calls::call(cx, bound).await;
    }
    let found = match own {
        Some(own) => own_route(own).ok_or_else(|| map::no_route(path, None))?,
        None => match find(method, path)? {
            Found::Nothing if settings.routes.iter().any(|r| r.path == path) => {
                Found::Methods(own_methods(settings, path))
            }
            found => found,
        },
    };
    match found {
        Found::Route(route, args) => {
            // Before anything of the request is judged: who is nobody is told to log in, whatever else is wrong.
            if !OPEN.contains(&route.id) {
                access.known()?;
            }
            let query = Query::parse(parts.uri.query(), route.query).map_err(map::invalid)?;
            (route.handler)(Cx { access, parts, body, early, unread, args, query }).await
        }
        Found::Methods(methods) => {
            // A folder at / may hold what only looks like one of our paths.
            if method == "GET"
                && let Some(response) = files::serve(settings, &parts).await?
            {
                return Ok(Answer::Response(response));
            }
            let error =
                Error::new(Kind::Invalid, "SB0207", format!("{path:.120} does not take {method:.20}"))
                    .fix(format!("Use {}", methods.join(", ")));
            let mut response = problem(&error, trace_id(&parts.headers));
            set(&mut response, header::ALLOW, &allowed_here(settings, path).join(", "));
            Ok(Answer::Response(response))
        }
        Found::Nothing => match method {
            "GET" => match files::serve(settings, &parts).await? {
                Some(response) => Ok(Answer::Response(response)),
                None => Err(map::no_route(path, near_path(path))),
            },
            _ => Err(map::no_route(path, near_path(path))),
        },
    }
}

/// The route that a path of the user's own stands for.
fn own_route(own: &sb_board::Route) -> Option<Found> {
    let (id, args) = match (&own.target, own.http_method.as_str()) {
        (RouteTarget::Call(name), _) => {
            let (service, method) = name.split_once('/')?;
            ("call", vec![service.to_owned(), method.to_owned()])
        }
        (RouteTarget::Topic(pattern), "GET") => ("read", vec![pattern.as_str().to_owned()]),
        (RouteTarget::Topic(pattern), _) => ("publish", vec![pattern.as_str().to_owned()]),
    };
    ROUTES.iter().find(|r| r.id == id).map(|route| Found::Route(route, args))
}

/// The methods that a path of the user's own takes.
fn own_methods(settings: &HttpSettings, path: &str) -> Vec<&'static str> {
    let all = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    all.into_iter()
        .filter(|m| settings.routes.iter().any(|r| r.path == path && r.http_method == *m))
        .collect()
}

/// Every method of a path, ours and the user's.
fn allowed_here(settings: &HttpSettings, path: &str) -> Vec<&'static str> {
    let mut methods = allowed(path);
    let own: Vec<_> = own_methods(settings, path).into_iter().filter(|m| !methods.contains(m)).collect();
    methods.extend(own);
    methods
}

fn options(settings: &HttpSettings, parts: &Parts) -> Response<Body> {
    let mut methods = allowed_here(settings, parts.uri.path());
    if methods.is_empty() {
        methods = vec!["GET", "HEAD", "OPTIONS"];
    }
    let mut response = empty(StatusCode::NO_CONTENT);
    let methods = methods.join(", ");
    set(&mut response, header::ALLOW, &methods);
    if parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && Cors::new(settings, &parts.headers).origin.is_some()
    {
        set(&mut response, header::ACCESS_CONTROL_ALLOW_METHODS, &methods);
        let asked = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|v| v.to_str().ok());
        let own = asked.unwrap_or_default().split(',').map(str::trim).filter(|name| {
            name.get(..10).is_some_and(|p| p.eq_ignore_ascii_case("sb-header-"))
                && HeaderName::try_from(*name).is_ok()
        });
        let names: Vec<&str> = REQUEST_HEADERS.into_iter().chain(own).collect();
        set(&mut response, header::ACCESS_CONTROL_ALLOW_HEADERS, &names.join(", "));
        set(&mut response, header::ACCESS_CONTROL_MAX_AGE, "600");
    }
    for name in ["access-control-request-method", "access-control-request-headers"] {
        response.headers_mut().append(header::VARY, HeaderValue::from_static(name));
    }
    response
}

/// Request headers that pages of other origins may send.
const REQUEST_HEADERS: [&str; 20] = [
    "Authorization",
    "Sb-Api-Key",
    "Content-Type",
    "Accept",
    "Prefer",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Idempotency-Key",
    "Sb-Key",
    "Sb-Key-Base64",
    "Sb-Delay",
    "Sb-Expires",
    "Sb-Timeout",
    "Sb-Lease",
    "Sb-Callback-Url",
    "Cache-Control",
    "traceparent",
    "tracestate",
    "baggage",
];

/// Response headers that pages of other origins may see.
const RESPONSE_HEADERS: &str = "ETag, Location, Retry-After, Preference-Applied, Idempotency-Replayed, Allow, WWW-Authenticate, \
     Sb-Id, Sb-Key, Sb-Key-Base64, Sb-At, Sb-Address, traceparent, tracestate, baggage";

/// Cross-origin access of one request.
struct Cors {
    /// The origin that may see the answer.
    origin: Option<HeaderValue>,
    /// Whether answers depend on the origin at all.
    varies: bool,
}

impl Cors {
    fn new(settings: &HttpSettings, headers: &HeaderMap) -> Cors {
        let varies = settings.any_loopback_origin || !settings.origins.is_empty();
        let origin = headers
            .get(header::ORIGIN)
            .filter(|value| value.to_str().is_ok_and(|text| settings.allows_origin(text)));
        Cors { origin: origin.cloned(), varies }
    }
}

/// What every answer has.
fn finish(response: &mut Response<Body>, cors: &Cors, head: bool) {
    if head {
        let length = response.body().size_hint().exact();
        if let (Some(length), false) = (length, response.status() == StatusCode::NOT_MODIFIED) {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::Empty;
    }
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if cors.varies {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = &cors.origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let own: Vec<&str> =
            headers.keys().map(HeaderName::as_str).filter(|n| n.starts_with("sb-header-")).collect();
        let exposed = match own.is_empty() {
            true => HeaderValue::from_static(RESPONSE_HEADERS),
            false => HeaderValue::from_str(&format!("{RESPONSE_HEADERS}, {}", own.join(", ")))
                .unwrap_or(HeaderValue::from_static(RESPONSE_HEADERS)),
        };
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
