//! The way of a request: login, origin and bounds are checked here, then the SDK reads it and asks the [`Handler`], and its response goes out.

use crate::logging::{Level, SetLevel};
use crate::resources::{self, Watch};
use crate::wire::{self, Body as Text};
use crate::{map, tools};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams,
    ReadResourceResponse, ResourceUpdatedNotificationParam, ServerCapabilities, ServerConfig,
    SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::transport::streamable_http_server::session::SessionManager as _;
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, SessionConfig};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use sb_board::mount::{Answer, Body, BoxFuture, Request};
use sb_board::{Access, HttpSettings, problem, web};
use sb_core::model::{Error, Kind};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;

/// The path.
const PATH: &str = "/mcp";
/// The most sessions.
const MAX_SESSIONS: usize = 1_000;
/// A session ends when nothing has come for so long.
const IDLE: Duration = Duration::from_secs(1_800);
/// The most resources that one session, or one stream, is told of.
const MAX_WATCHED: usize = 64;
/// How often it is looked whether the tools have changed.
const LOOK: Duration = Duration::from_secs(2);
/// What pages of other origins may see.
const EXPOSED: &str = "Mcp-Session-Id, Mcp-Protocol-Version, WWW-Authenticate";
/// The revisions that are spoken.
const VERSIONS: &[ProtocolVersion] = &[
    ProtocolVersion::V_2025_03_26,
    ProtocolVersion::V_2025_06_18,
    ProtocolVersion::V_2025_11_25,
    ProtocolVersion::V_2026_07_28,
];

/// The SDK's server, and whose its sessions are. One for the process: everything a session does is done with the access of the request at hand.
struct Sessions {
    service: StreamableHttpService<Handler, LocalSessionManager>,
    manager: Arc<LocalSessionManager>,
    /// By session, who began it.
    owners: Mutex<HashMap<String, String>>,
}

static SESSIONS: LazyLock<Sessions> = LazyLock::new(|| {
    let mut session = SessionConfig::default();
    session.keep_alive = Some(IDLE);
    let mut manager = LocalSessionManager::default();
    manager.session_config = session;
    let manager = Arc::new(manager);
    let mut config = StreamableHttpServerConfig::default();
    // The body has been read, and host and origin have been looked at, before the SDK sees a request.
    config.max_request_body_bytes = usize::MAX;
    config.allowed_hosts = Vec::new();
    let service = StreamableHttpService::new(|| Ok(Handler::default()), manager.clone(), config);
    Sessions { service, manager, owners: Mutex::default() }
});

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mount.
pub(crate) fn handle(request: Request) -> BoxFuture<Answer> {
    Box::pin(async move {
        let Request { http, access, peer } = request;
        if http.uri().path().trim_end_matches('/') != PATH {
            return Answer::Pass(http);
        }
        let access = access.via(map::NAME);
        let (parts, mut body) = http.into_parts();
        let settings = access.board().http();
        if parts.method == Method::OPTIONS {
            return Answer::Response(web::preflight(settings, &parts.headers, "GET, POST, DELETE"));
        }
        let mut response = match check(&access, settings, &parts.headers, peer.local.ip().is_loopback()) {
            Err(error) => {
                let mut response = problem::response(&error, None);
                web::spend(&mut body, &mut response).await;
                response
            }
            Ok(()) => {
                let board = access.board();
                let limit = board.http().max_body.max(board.max_message().saturating_add(64 * 1024));
                match web::collect(&mut body, limit).await {
                    Err(error) => problem::response(&error, None),
                    Ok(body) => answer(access.clone(), &parts, body).await,
                }
            }
        };
        let headers = response.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        web::allow_origin(settings, &parts.headers, &mut response, EXPOSED);
        Answer::Response(response)
    })
}

/// Who may not come in: without the credentials that are needed, or from a page of an origin that is not known. A page that reached us by a name
/// of its own (DNS rebinding) has that name as its origin and as `Host`, so that these two agree says nothing by itself.
fn check(access: &Access, settings: &HttpSettings, headers: &HeaderMap, local: bool) -> Result<(), Error> {
    access.known()?;
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let own = local
        && web::is_loopback_host(host)
        && origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    let public = settings
        .public_url
        .as_deref()
        .is_some_and(|url| url.trim_end_matches('/').eq_ignore_ascii_case(origin));
    if own || public || settings.allows_origin(origin) {
        return Ok(());
    }
    Err(Error::new(Kind::Denied, "SB0502", format!("pages of {origin:.200} may not use this server"))
        .fix("Name the origin in [http] origins"))
}

/// Whether a session may be used: it is the caller's, or it is unknown, which the SDK will say.
fn is_mine(session: &str, access: &Access) -> bool {
    lock(&SESSIONS.owners).get(session).is_none_or(|owner| owner == access.principal())
}

async fn answer(access: Access, parts: &http::request::Parts, body: Bytes) -> Response<Body> {
    let session = parts.headers.get("mcp-session-id").and_then(|id| id.to_str().ok());
    if let Some(session) = session
        && !is_mine(session, &access)
    {
        return jsonrpc(StatusCode::NOT_FOUND, -32600, "Session not found");
    }
    if parts.method != Method::POST {
        let mut response = ask(&access, parts, body).await;
        if parts.method == Method::DELETE && response.status() == StatusCode::ACCEPTED {
            // The session has ended; some clients take "accepted" for a refusal.
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        return response;
    }
    match wire::look(&body) {
        Text::Malformed => jsonrpc(StatusCode::BAD_REQUEST, -32700, "Parse error"),
        Text::One => {
            let sessions = SESSIONS.manager.sessions.read().await.len();
            if session.is_none() && sessions >= MAX_SESSIONS {
                let error = Error::new(Kind::Exhausted, "SB0601", format!("there are {sessions} sessions"));
                return problem::response(
                    &error.fix("Try again later, and end sessions with DELETE").retry_after(5_000),
                    None,
                );
            }
            let response = ask(&access, parts, body).await;
            if let Some(id) = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()) {
                remember(id.to_owned(), &access).await;
            }
            response
        }
        Text::Batch(messages) => batch(&access, parts, messages).await,
    }
}

/// Notes whose a session is, and forgets those that have ended.
async fn remember(id: String, access: &Access) {
    let known: Vec<String> = lock(&SESSIONS.owners).keys().cloned().collect();
    let mut ended = Vec::new();
    for known in known {
        if !SESSIONS.manager.has_session(&known.as_str().into()).await.unwrap_or(false) {
            ended.push(known);
        }
    }
    let mut owners = lock(&SESSIONS.owners);
    for ended in ended {
        owners.remove(&ended);
    }
    owners.insert(id, access.principal().to_owned());
}

/// Gives a request to the SDK. What it streams ends when the server drains or the caller's rights do.
async fn ask(access: &Access, parts: &http::request::Parts, body: Bytes) -> Response<Body> {
    let mut request = http::Request::new(Full::new(body));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.headers_mut() = parts.headers.clone();
    if !request.headers().contains_key(header::HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    request.extensions_mut().insert(access.clone());
    let (head, body) = SESSIONS.service.handle(request).await.into_parts();
    let over = {
        let access = access.clone();
        Box::pin(async move {
            tokio::select! {
                () = access.board().draining() => {}
                () = access.revoked() => {}
            }
        })
    };
    let streams = head
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !streams {
        let whole = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        return Response::from_parts(head, Body::from(whole));
    }
    let frames = http_body_util::BodyStream::new(body).take_until(over);
    let frames = frames.map(|frame| frame.map_err(|never| match never {}));
    Response::from_parts(head, Body::Stream(Box::pin(StreamBody::new(frames))))
}

/// A batch of the revision 2025-03-26: its messages one after another, the answers as one list.
async fn batch(access: &Access, parts: &http::request::Parts, messages: Vec<&str>) -> Response<Body> {
    let version = parts.headers.get("mcp-protocol-version");
    if version.is_some_and(|version| version != ProtocolVersion::V_2025_03_26.as_str()) {
        return jsonrpc(StatusCode::BAD_REQUEST, -32600, "Batches are a thing of the revision 2025-03-26");
    }
    let mut answers: Vec<String> = Vec::new();
    for message in messages {
        let response = ask(access, parts, Bytes::copy_from_slice(message.as_bytes())).await;
        let status = response.status();
        if !status.is_success() {
            return response;
        }
        let Ok(body) = response.into_body().collect().await else { continue };
        // Events of one line of data each; the first of a stream may have none.
        for line in body.to_bytes().split(|byte| *byte == b'\n') {
            let data = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii).filter(|data| !data.is_empty());
            answers.extend(data.and_then(|data| std::str::from_utf8(data).ok()).map(str::to_owned));
        }
    }
    if answers.is_empty() {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::ACCEPTED;
        return response;
    }
    let mut response = Response::new(Body::from(format!("[{}]", answers.join(","))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn jsonrpc(status: StatusCode, code: i32, message: &str) -> Response<Body> {
    let error =
        serde_json::json!({ "jsonrpc": "2.0", "error": { "code": code, "message": message }, "id": null });
    let mut response = Response::new(Body::from(error.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The caller of a request.
pub(crate) fn caller(context: &RequestContext<RoleServer>) -> Result<Access, ErrorData> {
    access_of(&context.extensions)
        .ok_or_else(|| ErrorData::internal_error("the request came from nobody", None))
}

fn access_of(extensions: &rmcp::model::Extensions) -> Option<Access> {
    extensions.get::<http::request::Parts>()?.extensions.get::<Access>().cloned()
}

/// What a session (or, since 2026-07-28, a request) keeps.
#[derive(Default)]
pub(crate) struct Handler {
    level: Mutex<Option<Level>>,
    /// By URI, the tasks that wait for new messages; they end with the session.
    watched: Mutex<HashMap<String, Ended>>,
}

/// Ends a task when it is dropped.
struct Ended(AbortHandle);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Handler {
    /// From which level the client wants log messages.
    pub(crate) fn level(&self) -> Option<Level> {
        *lock(&self.level)
    }

    fn too_many() -> ErrorData {
        map::error(&Error::new(Kind::Exhausted, "SB0601", "64 resources are watched already"))
    }
}

/// The URI under which the watch on the list of tools is kept; no resource has it.
const TOOLS: &str = "tools";

#[expect(deprecated, reason = "the way of all revisions before the newest")]
impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("switchboard", env!("CARGO_PKG_VERSION")))
            .with_instructions(
                "Tools are the methods of services; resources are topics, with their newest messages.",
            )
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(VERSIONS)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        tools::list(request, &context)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        tools::call(self, request, context).await.map(CallToolResponse::from)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        resources::list(request, &context).await
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(resources::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        resources::read(&request.uri, &context).await.map(ReadResourceResponse::from)
    }

    async fn set_level(&self, request: SetLevel, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        *lock(&self.level) = Some(request.level);
        Ok(())
    }

    /// Tells the client of the session when the tools have changed.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let Some(access) = access_of(&context.extensions) else { return };
        let task = tokio::spawn(async move {
            loop {
                changed_tools(&access).await;
                if context.peer.notify_tool_list_changed().await.is_err() {
                    return;
                }
            }
        });
        lock(&self.watched).insert(TOOLS.to_owned(), Ended(task.abort_handle()));
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let access = caller(&context)?;
        if lock(&self.watched).len() > MAX_WATCHED {
            return Err(Handler::too_many());
        }
        let mut watch = Watch::open(&access, &request.uri).await?;
        let (peer, uri) = (context.peer.clone(), request.uri.clone());
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    more = watch.changed() => if !more { return },
                    () = access.revoked() => return,
                }
                if peer
                    .notify_resource_updated(ResourceUpdatedNotificationParam::new(uri.clone()))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        lock(&self.watched).insert(request.uri, Ended(task.abort_handle()));
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if request.uri != TOOLS {
            lock(&self.watched).remove(&request.uri);
        }
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let mut accepted = SubscriptionFilter::new();
        accepted.tools_list_changed = requested.tools_list_changed;
        accepted.resource_subscriptions = requested.resource_subscriptions.as_ref().map(|uris| {
            let known = uris.iter().filter(|uri| wire::Resource::parse(uri).is_some());
            known.take(MAX_WATCHED).cloned().collect()
        });
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let access = caller(context.request_context())?;
        let accepted = context.accepted().clone();
        // They end with the stream.
        let mut tasks = tokio::task::JoinSet::new();
        for uri in accepted.resource_subscriptions.into_iter().flatten() {
            let mut watch = Watch::open(&access, &uri).await?;
            let sink = context.sink().clone();
            tasks.spawn(async move {
                while watch.changed().await && sink.notify_resource_updated(uri.clone()).await.is_ok() {}
            });
        }
        if accepted.tools_list_changed == Some(true) {
            let (access, sink) = (access.clone(), context.sink().clone());
            tasks.spawn(async move {
                loop {
                    changed_tools(&access).await;
                    if sink.notify_tool_list_changed().await.is_err() {
                        return;
                    }
                }
            });
        }
        tokio::select! {
            () = context.cancelled() => {}
            () = access.revoked() => {}
            () = access.board().draining() => {}
        }
        Ok(())
    }
}

/// Waits until the table of services is another one.
async fn changed_tools(access: &Access) {
    let before = access.board().services();
    loop {
        tokio::time::sleep(LOOK).await;
        if !Arc::ptr_eq(&before, &access.board().services()) {
            return;
        }
    }
}
