//! They speak to us: which requests are ours, and how each kind is answered.
//!
//! `envelopes` serves gRPC, gRPC-Web and Connect's streams, which differ in little but the end; `unary` serves Connect's unary calls, which have
//! no framing; `incoming` and `outgoing` are the bodies.

mod envelopes;
mod incoming;
mod outgoing;
mod unary;

use crate::own::Own;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use sb_board::call::services::Entry;
use sb_board::call::{Call, Code, Codec, Reply, Status, Streaming};
use sb_board::mount::{Answer, Body, BoxFuture, Request, RequestBody};
use sb_board::{Access, HttpSettings};
use sb_core::model::{Error, Kind};
use std::time::Duration;
use tokio::time::Instant;

/// The code of the error that says that a method does not exist.
const UNKNOWN: &str = "SB0310";
/// What a POST to a method may be, for `Accept-Post`.
const TYPES: &str = "application/grpc, application/grpc+proto, application/grpc+json, application/grpc-web, application/grpc-web+proto, \
     application/grpc-web+json, application/grpc-web-text, application/grpc-web-text+proto, application/proto, application/json, \
     application/connect+proto, application/connect+json";

/// Which of the protocols with envelopes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Grpc,
    Web,
    Connect,
}

/// What a content type says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) family: Family,
    /// `None` when it is none that is spoken here.
    pub(crate) codec: Option<Codec>,
    /// gRPC-Web as base64.
    pub(crate) text: bool,
    /// The answer's content type.
    pub(crate) shown: &'static str,
}

impl Family {
    /// Its name in the table of protocols.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::Grpc => "grpc",
            Family::Web => "grpc-web",
            Family::Connect => "connect",
        }
    }
}

/// The content type without parameters.
pub(crate) fn essence(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| text.get(prefix.len()..)).flatten()
}

/// Reads a content type of a protocol with envelopes.
pub(crate) fn wire_of(essence: &str) -> Option<Wire> {
    let (family, text, rest) = if let Some(rest) = strip(essence, "application/connect") {
        (Family::Connect, false, rest)
    } else if let Some(rest) = strip(essence, "application/grpc-web-text") {
        (Family::Web, true, rest)
    } else if let Some(rest) = strip(essence, "application/grpc-web") {
        (Family::Web, false, rest)
    } else {
        (Family::Grpc, false, strip(essence, "application/grpc")?)
    };
    let codec = match rest {
        "" if family != Family::Connect => Some(Codec::Proto),
        _ if rest.eq_ignore_ascii_case("+proto") => Some(Codec::Proto),
        _ if rest.eq_ignore_ascii_case("+json") => Some(Codec::Json),
        _ if rest.starts_with('+') => None,
        // `application/grpcs`, `application/connection`: somebody else's.
        _ => return None,
    };
    let json = codec == Some(Codec::Json);
    let shown = match (family, text) {
        (Family::Grpc, _) if rest.is_empty() => "application/grpc",
        (Family::Grpc, _) if json => "application/grpc+json",
        (Family::Grpc, _) => "application/grpc+proto",
        (Family::Web, false) if rest.is_empty() => "application/grpc-web",
        (Family::Web, false) if json => "application/grpc-web+json",
        (Family::Web, false) => "application/grpc-web+proto",
        (Family::Web, true) if rest.is_empty() => "application/grpc-web-text",
        (Family::Web, true) if json => "application/grpc-web-text+json",
        (Family::Web, true) => "application/grpc-web-text+proto",
        (Family::Connect, _) if json => "application/connect+json",
        (Family::Connect, _) => "application/connect+proto",
    };
    Some(Wire { family, codec, text, shown })
}

/// `package.Service/Method` of a path, when it is one: two segments, taken as they are. Escapes and dots that lead elsewhere are no names.
pub(crate) fn method_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/')?;
    let (service, method) = path.split_once('/')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fits = service.split('.').all(|part| !part.is_empty() && part.bytes().all(plain))
        && !method.is_empty()
        && method.bytes().all(plain);
    fits.then_some(path)
}

/// Who answers a method.
pub(crate) enum Found {
    /// The table of services.
    Entry(Box<Entry>),
    /// This crate.
    Own(Own),
    /// Perhaps workers: nothing describes it.
    Undescribed,
    /// Nobody, over this protocol.
    Hidden,
}

impl Found {
    /// The largest request message it takes.
    pub(crate) fn max_request(&self, access: &Access) -> usize {
        match self {
            Found::Entry(entry) => entry.max_request(access.board()),
            _ => access.board().max_message(),
        }
    }

    /// Who answers this method over the caller's protocol.
    pub(crate) fn find(access: &Access, path: &str) -> Found {
        if let Some(own) = Own::find(path) {
            return Found::Own(own);
        }
        let services = access.board().services();
        match services.method(path) {
            Some(entry) if entry.service.is_shown(access.protocol()) => Found::Entry(Box::new(entry.clone())),
            Some(_) => Found::Hidden,
            None => Found::Undescribed,
        }
    }

    /// Which sides stream.
    pub(crate) fn streaming(&self) -> Streaming {
        match self {
            Found::Entry(entry) => entry.streaming(),
            Found::Own(own) => own.streaming(),
            Found::Undescribed | Found::Hidden => Streaming::default(),
        }
    }

    /// Calls it. A method that does not exist is `UNIMPLEMENTED`, with those that have similar names.
    pub(crate) async fn call(self, access: &Access, call: Call) -> Result<Reply, Status> {
        match self {
            Found::Own(own) => own.call(access.clone(), call).await,
            Found::Entry(_) => access.call(call).await,
            Found::Hidden => Err(unknown_method(access, &call.method)),
            Found::Undescribed => {
                let method = call.method.clone();
                access.call(call).await.map_err(|status| match &status.error {
                    Some(error) if error.code == UNKNOWN => unknown_method(access, &method),
                    _ => status,
                })
            }
        }
    }
}

/// The refusal of a method that does not exist.
pub(crate) fn unknown_method(access: &Access, path: &str) -> Status {
    let services = access.board().services();
    let near = services.near(path);
    let near: Vec<&str> = near
        .iter()
        .map(|path| &**path)
        .filter(|path| services.shown(path, access.protocol()).is_some() && access.may_call(path))
        .collect();
    let shown = path.get(..path.len().min(200)).unwrap_or_default();
    let text = match near.as_slice() {
        [] => format!("there is no method {shown}"),
        near => format!("there is no method {shown}; did you mean {}?", near.join(" or ")),
    };
    let error = Error::new(Kind::NotFound, UNKNOWN, text.clone());
    Status { error: Some(Box::new(error)), ..Status::new(Code::Unimplemented, text) }
}

/// The point in time at which a timeout has passed. One too far away to be told is none.
pub(crate) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    Instant::now().checked_add(timeout?)
}

/// A header's text, when it is there once and is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

// The mounts.

/// gRPC.
pub(crate) fn grpc(request: Request) -> BoxFuture<Answer> {
    answer(request, Family::Grpc)
}

/// gRPC-Web.
pub(crate) fn grpc_web(request: Request) -> BoxFuture<Answer> {
    answer(request, Family::Web)
}

fn answer(request: Request, family: Family) -> BoxFuture<Answer> {
    let wire = wire_of(essence(request.http.headers())).filter(|wire| wire.family == family);
    let Some(wire) = wire else { return Box::pin(std::future::ready(Answer::Pass(request.http))) };
    Box::pin(envelopes::serve(wire, request.http, request.access.via(family.name())))
}

/// Connect: streams by their content type, unary calls by theirs and what [`unary::is_ours`] says, and what browsers ask before calling.
pub(crate) fn connect(request: Request) -> BoxFuture<Answer> {
    let Request { http, access, .. } = request;
    let access = access.via(Family::Connect.name());
    if let Some(wire) = wire_of(essence(http.headers())).filter(|wire| wire.family == Family::Connect) {
        return Box::pin(envelopes::serve(wire, http, access));
    }
    let Some(method) = method_of(http.uri().path()) else {
        return Box::pin(std::future::ready(Answer::Pass(http)));
    };
    if http.method() == Method::OPTIONS {
        let response = preflight(&http, &access, method);
        return Box::pin(std::future::ready(response.map_or_else(|| Answer::Pass(http), Answer::Response)));
    }
    match unary::is_ours(&http, &access, method) {
        Some(found) => Box::pin(unary::serve(http, access, found)),
        None => Box::pin(std::future::ready(Answer::Pass(http))),
    }
}

/// Says that the credentials were wrong, in the words of the protocol that the request is of.
pub(crate) fn refuse(request: &http::Request<RequestBody>, error: &Error) -> Option<Response<Body>> {
    let status = Status::from(error.clone());
    let headers = request.headers();
    match wire_of(essence(headers)) {
        Some(wire) => Some(envelopes::failed(wire, &status, None)),
        None => (unary::claims(request) && method_of(request.uri().path()).is_some())
            .then(|| unary::failed(&status, None, None)),
    }
}

// Browsers.

/// What browsers ask before a page of another origin may call a method.
fn preflight(http: &http::Request<RequestBody>, access: &Access, method: &str) -> Option<Response<Body>> {
    let headers = http.headers();
    let wanted = text(headers, "access-control-request-method")?;
    let services = access.board().services();
    let described = services.method(method);
    let ours = Own::find(method).is_some()
        || described.is_some_and(|e| e.service.is_shown("connect") || e.service.is_shown("grpc-web"));
    let origin = allowed_origin(headers, access.board().http())?;
    if !ours || !matches!(wanted, "POST" | "GET") {
        return None;
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let out = response.headers_mut();
    out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    // Metadata has any name, so that what is asked for is granted.
    if let Some(names) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    out.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    out.insert(
        header::VARY,
        HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    );
    Some(response)
}

/// The origin of a page that may read the answer.
pub(crate) fn allowed_origin(headers: &HeaderMap, settings: &HttpSettings) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    origin.to_str().is_ok_and(|origin| settings.allows_origin(origin)).then(|| origin.clone())
}

/// Lets a page of this origin read the answer, its metadata and the protocol's own headers.
pub(crate) fn readable(response: &mut Response<Body>, origin: Option<HeaderValue>) {
    let Some(origin) = origin else { return };
    let headers = response.headers_mut();
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.retain(|name| !matches!(*name, "content-type" | "content-length" | "cache-control" | "vary"));
    names.extend(["grpc-status", "grpc-message", "grpc-status-details-bin"]);
    names.sort_unstable();
    names.dedup();
    let exposed = HeaderValue::try_from(names.join(", "));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if let Ok(exposed) = exposed {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// A refusal in HTTP's own words: no protocol's form fits.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            headers.insert(HeaderName::from_static("accept-post"), HeaderValue::from_static(TYPES));
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        let read = |text: &str| wire_of(text).map(|w| (w.family, w.codec, w.text));
        assert_eq!(read("application/grpc"), Some((Family::Grpc, Some(Codec::Proto), false)));
        assert_eq!(read("Application/gRPC+JSON"), Some((Family::Grpc, Some(Codec::Json), false)));
        assert_eq!(read("application/grpc+foo"), Some((Family::Grpc, None, false)));
        assert_eq!(read("application/grpc-web-text+proto"), Some((Family::Web, Some(Codec::Proto), true)));
        assert_eq!(read("application/grpc-web"), Some((Family::Web, Some(Codec::Proto), false)));
        assert_eq!(read("application/connect+json"), Some((Family::Connect, Some(Codec::Json), false)));
        for other in
            ["application/json", "application/grpcs", "application/connect", "application/grp", "", "é"]
        {
            assert_eq!(read(other), None, "{other}");
        }
        for text in ["application/grpc", "application/grpc-web-text+json", "application/connect+proto"] {
            assert_eq!(wire_of(text).unwrap().shown, text);
        }
        for text in TYPES.split(", ").filter(|t| !matches!(*t, "application/proto" | "application/json")) {
            assert!(wire_of(text).is_some_and(|wire| wire.codec.is_some()), "{text}");
        }
    }

    #[test]
    fn paths() {
        assert_eq!(method_of("/a.b.C/D"), Some("a.b.C/D"));
        assert_eq!(method_of("/C/D"), Some("C/D"));
        for other in [
            "/", "/a", "/a/", "//b", "/a/b/c", "/a%2eb/c", "/../c", "/a..b/c", "/a/b/", "a/b", "/a.b./c",
            "/é/b",
        ] {
            assert_eq!(method_of(other), None, "{other}");
        }
    }
}
