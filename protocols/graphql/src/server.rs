//! `/graphql` over HTTP: GraphQL over HTTP by GET and POST, Server-Sent Events in both modes, the upgrade to a WebSocket, the schema as text.
//!
//! What a page of a stranger may send without asking (a form, an image, a script of `no-cors`) can change nothing: POST needs a content type that
//! makes a browser ask first, and GET runs queries only; subscriptions by GET are refused to other sites.

use crate::front::{self, Event, Ready, Side, Terms};
use crate::map::{Fault, Refusal};
use crate::wire::{self, Ask, Asked, Form, Response};
use crate::{gateway, page, single, socket};
use apollo_compiler::executable::OperationType;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode, request::Parts};
use http_body::Body as _;
use sb_board::mount::{Answer, Body, BoxFuture, Request, RequestBody};
use sb_board::{Access, HttpSettings};
use sb_core::model::{Error, Kind};
use std::pin::Pin;
use std::time::Duration;

/// The endpoint.
pub const PATH: &str = "/graphql";
/// The schema in the schema definition language.
pub const SCHEMA_PATH: &str = "/graphql/schema.graphql";
/// How long the next piece of a body may take.
const BODY_PAUSE: Duration = Duration::from_secs(30);
/// The pause between heartbeats when none is configured.
const HEARTBEAT: Duration = Duration::from_secs(12);

/// The mount.
pub fn handle(request: Request) -> BoxFuture<Answer> {
    Box::pin(async move {
        let path = request.http.uri().path();
        let access = request.access.via(crate::build::PROTOCOL);
        let (side, schema) = match path {
            PATH | "/graphql/" => (Side::Services, false),
            SCHEMA_PATH => (Side::Services, true),
            gateway::PATH | gateway::SCHEMA_PATH => match &access.board().shared::<gateway::Shared>().0 {
                Some(gateway) => (Side::Subgraphs(gateway.clone()), path == gateway::SCHEMA_PATH),
                None => return Answer::Pass(request.http),
            },
            _ => return Answer::Pass(request.http),
        };
        if !schema && is_websocket(&request.http) {
            return socket::upgrade(request.http, access, request.peer, side);
        }
        let (parts, mut body) = request.http.into_parts();
        let mut response = match schema {
            _ if parts.method == Method::OPTIONS => preflight(access.board().http(), &parts.headers),
            true => self::schema(&access, &parts, &side),
            false => answer(&access, &parts, &mut body, &side).await,
        };
        if parts.method == Method::HEAD {
            *response.body_mut() = Body::Empty;
        }
        finish(&mut response, access.board().http(), &parts.headers);
        Answer::Response(response)
    })
}

/// How a refusal before any protocol was asked is said here.
pub fn refuse(request: &http::Request<RequestBody>, error: &Error) -> Option<http::Response<Body>> {
    if ![PATH, gateway::PATH].contains(&request.uri().path()) {
        return None;
    }
    let form = form(request.headers()).unwrap_or(Form::Json);
    let status = sb_board::call::Code::from(error.kind).http();
    let mut response = respond(form, status, &Response::refused(vec![Fault::of(error)]));
    if error.kind == Kind::Unauthenticated {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    Some(response)
}

async fn answer(access: &Access, parts: &Parts, body: &mut RequestBody, side: &Side) -> http::Response<Body> {
    let query = parts.uri.query().unwrap_or_default();
    let token = parts.headers.get(single::TOKEN).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let token = token.or_else(|| wire::parameter(query, "token").filter(|token| single::is_token(token)));
    let Some(form) = form(&parts.headers) else {
        if parts.method == Method::PUT {
            return single::reserve(access, parts);
        }
        if parts.method == Method::GET
            && page::wanted(&parts.headers)
            && wire::parameter(query, "query").is_none()
        {
            return page::page();
        }
        let text =
            "none of application/graphql-response+json, application/json and text/event-stream is accepted";
        return refused(Form::Json, StatusCode::NOT_ACCEPTABLE, Fault::refused(Refusal::Request, text));
    };
    match (&parts.method, token) {
        (&Method::PUT, _) => single::reserve(access, parts),
        (&Method::DELETE, Some(token)) => single::stop(access, &token, query),
        (&Method::GET, Some(token)) if form == Form::Events => single::open(access, &token),
        (&Method::GET | &Method::HEAD, token) => {
            if page::wanted(&parts.headers) && wire::parameter(query, "query").is_none() {
                return page::page();
            }
            let asked = match wire::query(query) {
                Ok(Some(ask)) => ask,
                Ok(None) => {
                    let fault = Fault::refused(Refusal::Request, "the parameter query is missing");
                    return refused(form, StatusCode::BAD_REQUEST, fault);
                }
                Err(fault) => return refused(form, StatusCode::BAD_REQUEST, fault),
            };
            one(access, parts, form, token, asked, side).await
        }
        (&Method::POST, token) => post(access, parts, body, form, token, side).await,
        _ => {
            let fault = Fault::refused(Refusal::Request, format!("{} is not allowed here", parts.method));
            let mut response = refused(form, StatusCode::METHOD_NOT_ALLOWED, fault);
            let allow = HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS");
            response.headers_mut().insert(header::ALLOW, allow);
            response
        }
    }
}

async fn post(
    access: &Access,
    parts: &Parts,
    body: &mut RequestBody,
    form: Form,
    token: Option<String>,
    side: &Side,
) -> http::Response<Body> {
    let given = parts.headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence =
        given.and_then(|text| text.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    let charset = given.and_then(|text| {
        let lower = text.to_ascii_lowercase();
        lower
            .split(';')
            .find_map(|part| part.trim().strip_prefix("charset=").map(|c| c.trim_matches('"').to_owned()))
    });
    if essence != "application/json" || charset.is_some_and(|charset| charset != "utf-8") {
        let text = "the body's type is not application/json in UTF-8";
        return refused(form, StatusCode::UNSUPPORTED_MEDIA_TYPE, Fault::refused(Refusal::Request, text));
    }
    if parts.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        let text = "the body is compressed, which is not taken here";
        return refused(form, StatusCode::UNSUPPORTED_MEDIA_TYPE, Fault::refused(Refusal::Request, text));
    }
    let bytes = match collect(body, max_body(access)).await {
        Ok(bytes) => bytes,
        Err(error) => {
            let status = match error.kind {
                Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                Kind::Deadline => StatusCode::REQUEST_TIMEOUT,
                _ => StatusCode::BAD_REQUEST,
            };
            return refused(form, status, Fault::of(&error));
        }
    };
    let options = access.board().shared::<crate::Options>();
    match wire::body(&bytes, options.limits.batch) {
        Err(fault) => refused(form, StatusCode::BAD_REQUEST, fault),
        Ok(Asked::One(ask)) => one(access, parts, form, token, ask, side).await,
        Ok(Asked::Batch(_)) if !options.batching || token.is_some() || form == Form::Events => {
            let text = "several operations in one request are not taken here";
            refused(form, StatusCode::BAD_REQUEST, Fault::refused(Refusal::Request, text))
        }
        Ok(Asked::Batch(asks)) => {
            let terms = match terms(parts, side) {
                Ok(terms) => terms,
                Err(error) => return refused(form, StatusCode::BAD_REQUEST, Fault::of(&error)),
            };
            let runs = asks.into_iter().map(|ask| async {
                let ready = front::prepare(access, ask, side).and_then(no_subscription);
                match ready {
                    Ok(ready) => front::execute(access, &ready, &terms).await,
                    Err(faults) => Response::refused(faults),
                }
            });
            let mut out = vec![b'['];
            for (n, response) in futures_util::future::join_all(runs).await.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                out.extend(response.encode());
            }
            out.push(b']');
            typed(StatusCode::OK, form.content_type(), out.into())
        }
    }
}

fn no_subscription(ready: Ready) -> Result<Ready, Vec<Fault>> {
    match ready.kind() {
        OperationType::Subscription => Err(vec![Fault::refused(
            Refusal::Operation,
            "a subscription needs text/event-stream or a WebSocket",
        )]),
        _ => Ok(ready),
    }
}

/// One request.
async fn one(
    access: &Access,
    parts: &Parts,
    form: Form,
    token: Option<String>,
    ask: Ask,
    side: &Side,
) -> http::Response<Body> {
    let terms = match terms(parts, side) {
        Ok(terms) => terms,
        Err(error) => return refused(form, StatusCode::BAD_REQUEST, Fault::of(&error)),
    };
    let id = ask.extensions.get("operationId").and_then(|id| id.as_str()).map(str::to_owned);
    let ready = front::prepare(access, ask, side);
    if parts.method != Method::POST
        && let Ok(ready) = &ready
        && let Some(response) = by_get(access, parts, form, ready)
    {
        return response;
    }
    if let Some(token) = token {
        return match ready {
            Ok(ready) => single::run(access, &token, id, ready, terms),
            Err(faults) => refusal(form, faults),
        };
    }
    if form == Form::Events {
        let events: BoxStream<'static, Event> = match ready {
            Ok(ready) => front::events(access.clone(), ready, terms),
            Err(faults) => Box::pin(futures_util::stream::iter([Event::Refused(faults)])),
        };
        let events = events.map(|event| {
            let response = match event {
                Event::Next(response) => response,
                Event::Refused(faults) => Response::refused(faults),
            };
            event_bytes("next", &response.encode())
        });
        let end = futures_util::stream::iter([event_bytes("complete", b"")]);
        return event_stream(access, events.chain(end));
    }
    let ready = match ready.and_then(no_subscription) {
        Ok(ready) => ready,
        Err(faults) => return refusal(form, faults),
    };
    let response = front::execute(access, &ready, &terms).await;
    if response.data.is_none() {
        return refusal(form, response.errors);
    }
    let accepted = terms.as_jobs && ready.kind() == OperationType::Mutation && response.jobs > 0;
    let status = if accepted { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut http = respond(form, status, &response);
    if accepted {
        let headers = http.headers_mut();
        headers.insert("preference-applied", HeaderValue::from_static("respond-async"));
        let mut jobs =
            response.extensions.get("jobs").and_then(|jobs| jobs.as_object()).into_iter().flatten();
        if let (Some((_, job)), None) = (jobs.next(), jobs.next())
            && let Some(Ok(url)) = job.get("url").and_then(|url| url.as_str()).map(HeaderValue::from_str)
        {
            headers.insert(header::LOCATION, url);
        }
    }
    http
}

/// What GET may not do.
fn by_get(access: &Access, parts: &Parts, form: Form, ready: &Ready) -> Option<http::Response<Body>> {
    match ready.kind() {
        OperationType::Query => None,
        OperationType::Mutation => {
            let fault = Fault::refused(Refusal::Operation, "a mutation needs POST");
            let mut response = refused(form, StatusCode::METHOD_NOT_ALLOWED, fault);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            Some(response)
        }
        OperationType::Subscription => {
            let other = parts
                .headers
                .get("sec-fetch-site")
                .is_some_and(|site| site == "cross-site" || site == "same-site");
            if other && allowed_origin(access.board().http(), &parts.headers).is_none() {
                let fault = Fault::refused(Refusal::Operation, "pages of this origin may not subscribe here");
                return Some(refused(form, StatusCode::FORBIDDEN, fault));
            }
            None
        }
    }
}

/// The schema as text.
fn schema(access: &Access, parts: &Parts, side: &Side) -> http::Response<Body> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        let fault = Fault::refused(Refusal::Request, format!("{} is not allowed here", parts.method));
        return refused(Form::Json, StatusCode::METHOD_NOT_ALLOWED, fault);
    }
    if let Err(fault) = front::may_introspect(access, &access.board().shared::<crate::Options>()) {
        return refused(Form::Json, StatusCode::FORBIDDEN, fault);
    }
    let text = match side {
        Side::Subgraphs(gateway) => Bytes::copy_from_slice(gateway.sdl().as_bytes()),
        Side::Services => match front::compiled(access.board()) {
            Ok(compiled) => Bytes::copy_from_slice(compiled.model.sdl().as_bytes()),
            Err(error) => return refused(Form::Json, StatusCode::INTERNAL_SERVER_ERROR, Fault::of(&error)),
        },
    };
    typed(StatusCode::OK, "application/graphql; charset=utf-8", text)
}

// ---- requests ----

/// The largest body: a message and what is around it.
pub(crate) fn max_body(access: &Access) -> usize {
    (1 << 20).max(access.board().max_message().saturating_mul(3) / 2)
}

/// Whether a request asks to become a WebSocket, over HTTP/1.1 (RFC 6455) or HTTP/2 (RFC 8441).
fn is_websocket(request: &http::Request<RequestBody>) -> bool {
    if request.method() == Method::CONNECT {
        return request.extensions().get::<hyper::ext::Protocol>().is_some_and(|p| p.as_str() == "websocket");
    }
    let upgrade = request.headers().get_all(header::UPGRADE);
    request.method() == Method::GET
        && upgrade.iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn form(headers: &HeaderMap) -> Option<Form> {
    wire::accepted(headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()))
}

/// What the headers say about the calls. Errors: SB0201 for a timeout that is none.
fn terms(parts: &Parts, side: &Side) -> sb_core::model::Result<Terms> {
    let timeout = sb_board::request::timeout(&parts.headers)?;
    let mut terms = Terms {
        metadata: metadata(&parts.headers),
        forwarded: side.forwarded(&parts.headers),
        ..Terms::default()
    };
    terms.timeout_ms = timeout.and_then(|most| u64::try_from(most.as_millis()).ok());
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let prefer = parts.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    terms.as_jobs = prefer
        .flat_map(|value| value.split(','))
        .any(|item| item.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("respond-async"));
    terms.idempotency = text("idempotency-key").map(|key| key.trim_matches('"').to_owned());
    Ok(terms)
}

/// The caller's own headers. What names a stream of events is of GraphQL over Server-Sent Events, and the key of the operation's jobs is
/// not one of its calls.
pub(crate) fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut out = sb_board::call::metadata::metadata(headers);
    out.remove(single::TOKEN);
    out.remove("idempotency-key");
    out
}

/// A whole body. A length beyond the limit is refused before anything is read.
async fn collect(body: &mut RequestBody, limit: usize) -> Result<Bytes, Error> {
    let large = || {
        Error::new(Kind::TooLarge, "SB0205", format!("the body is larger than {limit} bytes"))
            .fix("Send less at once, or raise the limit")
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(large());
    }
    let mut all = BytesMut::new();
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let frame = tokio::time::timeout(BODY_PAUSE, frame).await.map_err(|_| {
            Error::new(Kind::Deadline, "SB0201", "the body stopped coming").fix("Send it without long pauses")
        })?;
        let Some(frame) = frame else { return Ok(all.freeze()) };
        let frame = frame.map_err(|e| Error::invalid(format!("the body could not be read: {e}")))?;
        if let Ok(data) = frame.into_data() {
            if all.len().saturating_add(data.len()) > limit {
                return Err(large());
            }
            all.extend_from_slice(&data);
        }
    }
}

// ---- responses ----

/// The response to a request that was not run. The status follows from the first error and the form.
fn refusal(form: Form, faults: Vec<Fault>) -> http::Response<Body> {
    let code =
        faults.first().and_then(|f| f.extensions.get("code")).and_then(|c| c.as_str()).unwrap_or_default();
    let status = match code {
        code if code == Refusal::Request.code() => StatusCode::BAD_REQUEST,
        code if code == Refusal::Internal.code() => StatusCode::INTERNAL_SERVER_ERROR,
        _ if form == Form::Json => StatusCode::OK,
        // As Apollo's servers do it, which clients that persist queries rely on.
        code if code == Refusal::Persisted.code() => StatusCode::OK,
        code if code == Refusal::Introspection.code() => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    };
    respond(form, status, &Response::refused(faults))
}

pub(crate) fn refused(form: Form, status: StatusCode, fault: Fault) -> http::Response<Body> {
    respond(form, status, &Response::refused(vec![fault]))
}

fn respond(form: Form, status: StatusCode, response: &Response) -> http::Response<Body> {
    let form = if form == Form::Events { Form::Json } else { form };
    typed(status, form.content_type(), response.encode().into())
}

pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> http::Response<Body> {
    let mut response = http::Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An event as bytes. JSON has no line ends of its own.
pub(crate) fn event_bytes(name: &str, data: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + 32);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// A stream of events with heartbeats. It ends when the server drains or the caller's credentials expire.
pub(crate) fn event_stream(
    access: &Access,
    events: impl Stream<Item = Bytes> + Send + 'static,
) -> http::Response<Body> {
    let pause = match access.board().http().heartbeat_ms {
        0 => HEARTBEAT,
        ms => Duration::from_millis(ms),
    };
    let (draining, revoked) = (access.clone(), access.clone());
    let over = Box::pin(async move {
        tokio::select! {
            () = draining.board().draining() => {}
            () = revoked.revoked() => {}
        }
    });
    // Something is sent at once: some browsers wait for it before they call the stream open.
    let first = futures_util::stream::iter([Bytes::from_static(b":\n\n")]);
    let state = (Box::pin(first.chain(events)), over);
    let stream = futures_util::stream::unfold(state, move |(mut events, mut over)| async move {
        tokio::select! {
            biased;
            event = events.next() => event.map(|event| (event, (events, over))),
            () = &mut over => None,
            () = tokio::time::sleep(pause) => Some((Bytes::from_static(b":\n\n"), (events, over))),
        }
    });
    let body = http_body_util::StreamBody::new(stream.map(|bytes| Ok(http_body::Frame::data(bytes))));
    let mut response = http::Response::new(Body::Stream(Box::pin(body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Form::Events.content_type()));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The origin of the request, if pages of it may use this server.
fn allowed_origin<'h>(settings: &HttpSettings, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
    headers.get(header::ORIGIN).filter(|value| value.to_str().is_ok_and(|text| settings.allows_origin(text)))
}

fn preflight(settings: &HttpSettings, headers: &HeaderMap) -> http::Response<Body> {
    let mut response = http::Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let out = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS");
    if allowed_origin(settings, headers).is_none() {
        out.insert(header::ALLOW, methods);
        return response;
    }
    out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    out.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// What every response has.
fn finish(response: &mut http::Response<Body>, settings: &HttpSettings, request: &HeaderMap) {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let mut vary = vec!["Accept"];
    if settings.any_loopback_origin || !settings.origins.is_empty() {
        vary.push("Origin");
    }
    if let Ok(vary) = HeaderValue::from_str(&vary.join(", ")) {
        headers.insert(header::VARY, vary);
    }
    if let Some(origin) = allowed_origin(settings, request) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let seen = HeaderValue::from_static("Location, Preference-Applied, Retry-After, WWW-Authenticate");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, seen);
    }
}
