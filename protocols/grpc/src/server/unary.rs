//! Connect's unary calls: plain HTTP requests whose body is the message. POST, and GET for methods without side effects.

use super::incoming::{Inbound, unpack, whole};
use super::{Found, allowed_origin, deadline, essence, plain, readable, text, unknown_method};
use crate::map;
use crate::wire::pack::{Packing, SPOKEN};
use crate::wire::words;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use sb_board::Access;
use sb_board::call::metadata::{append, metadata};
use sb_board::call::{Call, Code, Codec, Messages, Status};
use sb_board::mount::{Answer, Body, RequestBody};
use sb_schema::{Idempotency, Schema};

/// Answers of a GET this long are compressed when the client takes that.
const WORTH_IT: usize = 1_024;

/// Whether a request says of itself that it is Connect's.
pub(super) fn claims(http: &http::Request<RequestBody>) -> bool {
    http.headers().contains_key("connect-protocol-version")
        || essence(http.headers()).eq_ignore_ascii_case("application/proto")
        || http.method() == Method::GET && parameter(http, "connect").is_some()
}

fn parameter(http: &http::Request<RequestBody>, name: &str) -> Option<Vec<u8>> {
    words::query_parameter(http.uri().query()?, name)
}

/// Whether a request to a method's path is a unary call of Connect, and who answers it. See the page of this crate for the rule.
pub(super) fn is_ours(http: &http::Request<RequestBody>, access: &Access, method: &str) -> Option<Found> {
    let headers = http.headers();
    // A call that is not waited for is a job, which HTTP has.
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    if preferences.flat_map(|value| value.split(',')).any(|p| p.trim().eq_ignore_ascii_case("respond-async"))
    {
        return None;
    }
    let found = Found::find(access, method);
    let served = matches!(found, Found::Entry(_) | Found::Own(_));
    if headers.contains_key("connect-protocol-version") {
        return Some(found);
    }
    let kind = essence(headers);
    let is = |name: &str| kind.eq_ignore_ascii_case(name);
    let ours = match *http.method() {
        Method::GET => {
            let has = |name| parameter(http, name).is_some();
            has("connect") || served && has("encoding") && has("message")
        }
        Method::POST if is("application/proto") => served,
        // Without a version it is REST's, which answers what it knows; these services it does not.
        Method::POST if is("application/json") => matches!(found, Found::Own(_)),
        Method::POST => served && !kind.is_empty() && !others_may_take(kind, &found),
        _ => served && is("application/proto"),
    };
    ours.then_some(found)
}

/// Whether a body of this type may be meant for another protocol on HTTP.
fn others_may_take(kind: &str, found: &Found) -> bool {
    let kind = kind.to_ascii_lowercase();
    let takes_any =
        matches!(found, Found::Entry(entry) if entry.method.input.full_name() == "google.api.HttpBody");
    takes_any
        || kind.starts_with("multipart/")
        || kind.starts_with("text/")
        || kind.contains("json")
        || kind == "application/x-www-form-urlencoded"
        || kind.contains("thrift")
}

/// Answers a request that is Connect's.
pub(super) async fn serve(http: http::Request<RequestBody>, access: Access, found: Found) -> Answer {
    let (request, body) = http.into_parts();
    let origin = allowed_origin(&request.headers, access.board().http());
    let judged = judge(&request, &access, &found);
    let mut response = match (judged, Inbound::new(&request, body).await) {
        (Err(refusal), _) => *refusal,
        (_, Err(status)) => fail(&status, &access),
        (Ok(terms), Ok(body)) => respond(terms, found, &request, body, &access).await,
    };
    readable(&mut response, origin);
    Answer::Response(response)
}

/// What a request's head agrees on.
struct Terms {
    method: String,
    codec: Codec,
    /// How the client compresses.
    theirs: Packing,
    deadline: Option<tokio::time::Instant>,
    /// The message of a GET.
    message: Option<Bytes>,
}

fn judge(
    request: &http::request::Parts,
    access: &Access,
    found: &Found,
) -> Result<Terms, Box<Response<Body>>> {
    let refused = |status: StatusCode, text: &str| Err(Box::new(plain(status, text)));
    let failing = |code: Code, text: String| Err(Box::new(fail(&Status::new(code, text), access)));
    let headers = &request.headers;
    let method = request.uri.path().trim_start_matches('/').to_owned();
    let readonly =
        matches!(found, Found::Entry(entry) if entry.method.idempotency == Idempotency::NoSideEffects);
    let get = request.method == Method::GET;
    if request.method != Method::POST && !(get && readonly) {
        if matches!(found, Found::Hidden | Found::Undescribed) {
            return Err(Box::new(fail(&unknown_method(access, &method), access)));
        }
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "the method cannot be called so");
        if readonly {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
        }
        return Err(Box::new(response));
    }
    let query = request.uri.query().unwrap_or_default();
    let of_query = |name: &str| get.then(|| words::query_parameter(query, name)).flatten();
    let version = match of_query("connect") {
        Some(version) => version.as_slice() == b"v1",
        None => text(headers, "connect-protocol-version").is_none_or(|v| v == "1"),
    };
    if !version {
        let text = "the version of the Connect protocol must be 1 (connect=v1 in a query)";
        return failing(Code::InvalidArgument, text.into());
    }
    let of_get = of_query("encoding");
    let kind = if get { of_get.as_deref().unwrap_or_default() } else { essence(headers).as_bytes() };
    let (proto, json) = if get { ("proto", "json") } else { ("application/proto", "application/json") };
    let codec = if kind.eq_ignore_ascii_case(proto.as_bytes()) {
        Codec::Proto
    } else if kind.eq_ignore_ascii_case(json.as_bytes()) {
        Codec::Json
    } else {
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "messages are proto or json");
    };
    let streaming = found.streaming();
    if streaming.client || streaming.server {
        let text = "streaming methods are called with application/connect+proto or application/connect+json";
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    }
    let of_get = of_query("compression").map(|name| String::from_utf8_lossy(&name).into_owned());
    let named = if get { of_get.as_deref() } else { text(headers, "content-encoding") }.unwrap_or_default();
    let Some(theirs) = Packing::from_name(named) else {
        return failing(
            Code::Unimplemented,
            format!("messages cannot be compressed as {named:?} here: {SPOKEN}"),
        );
    };
    let timeout = match headers.get("connect-timeout-ms") {
        None => None,
        Some(value) => match value.to_str().ok().and_then(words::connect_timeout) {
            None => {
                return failing(
                    Code::InvalidArgument,
                    "connect-timeout-ms is no number of ten digits".into(),
                );
            }
            some => some,
        },
    };
    let message = if get {
        let base64 = of_query("base64").is_some_and(|value| value == b"1");
        let message = of_query("message").and_then(|value| map::query_message(value, base64));
        let limit = found.max_request(access);
        match message.map(|message| unpack(theirs, message, limit)) {
            None => {
                return failing(Code::InvalidArgument, "the query has no message, or none in base64".into());
            }
            Some(Err(status)) => return Err(Box::new(fail(&status, access))),
            Some(Ok(message)) => Some(message),
        }
    } else {
        None
    };
    Ok(Terms { method, codec, theirs, deadline: deadline(timeout), message })
}

async fn respond(
    terms: Terms,
    found: Found,
    request: &http::request::Parts,
    body: Inbound,
    access: &Access,
) -> Response<Body> {
    let get = terms.message.is_some();
    let messages: Messages = match terms.message {
        Some(message) => Box::pin(futures_util::stream::iter([Ok(message)])),
        None => whole(body, terms.theirs, found.max_request(access)),
    };
    let call = Call {
        streaming: found.streaming(),
        metadata: metadata(&request.headers),
        deadline: terms.deadline,
        messages,
        ..Call::unary(terms.method, terms.codec, Bytes::new())
    };
    let (leading, message, trailing) = match found.call(access, call).await {
        Ok(reply) => reply.one().await,
        Err(status) => (HeaderMap::new(), Err(status), HeaderMap::new()),
    };
    let mut response = match message {
        Err(status) => fail(&status, access),
        Ok(message) => {
            let accepted = text(&request.headers, "accept-encoding");
            let mut packing = terms.theirs.of_answer(accepted);
            if get && message.len() >= WORTH_IT {
                packing = Packing::among(accepted.unwrap_or_default());
            }
            success(terms.codec, packing, message)
        }
    };
    let headers = response.headers_mut();
    append(&leading, headers);
    map::put_unary_trailers(&trailing, headers);
    if get {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

fn success(codec: Codec, packing: Packing, message: Bytes) -> Response<Body> {
    let packed = packing.pack(&message);
    let encoding = packed.is_some().then(|| packing.name());
    let mut response = Response::new(Body::from(packed.unwrap_or(message)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(codec.content_type()));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

fn fail(status: &Status, access: &Access) -> Response<Body> {
    // A method that does not exist is told by the status that says so everywhere else.
    let unknown = status.error.as_ref().is_some_and(|error| error.code == super::UNKNOWN);
    failed(status, unknown.then_some(StatusCode::NOT_FOUND), Some(access.board().services().schema()))
}

/// A failure: its JSON, under the HTTP status of its code or another one.
pub(super) fn failed(status: &Status, http: Option<StatusCode>, schema: Option<&Schema>) -> Response<Body> {
    let mut response = Response::new(Body::from(map::connect_error(status, schema).to_string()));
    *response.status_mut() = http.unwrap_or_else(|| status.code.http());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match status.code {
        Code::Unauthenticated => {
            headers
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"switchboard\""));
        }
        // Which packings there are: what the client used is none of them.
        Code::Unimplemented => {
            headers.insert(HeaderName::from_static("accept-encoding"), HeaderValue::from_static(SPOKEN));
        }
        _ => {}
    }
    if let Some(ms) = status.error.as_ref().and_then(|error| error.retry_after_ms) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000).max(1)));
    }
    response
}
