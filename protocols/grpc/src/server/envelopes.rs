//! gRPC, gRPC-Web and Connect's streams.

use super::incoming::{Enveloped, Inbound};
use super::outgoing::{Ending, Outgoing};
use super::{Family, Found, Wire, allowed_origin, deadline, method_of, plain, readable, text};
use crate::map;
use crate::wire::pack::{Packing, SPOKEN};
use crate::wire::{self, END_STREAM, words};
use futures_util::{FutureExt as _, StreamExt as _};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use sb_board::Access;
use sb_board::call::metadata::{append, metadata};
use sb_board::call::{Call, Code, Codec, End, Part, Reply, Status};
use sb_board::mount::{Answer, Body, RequestBody};
use std::sync::Arc;

/// Answers a request of this content type.
pub(super) async fn serve(wire: Wire, http: http::Request<RequestBody>, access: Access) -> Answer {
    let (request, body) = http.into_parts();
    let origin = allowed_origin(&request.headers, access.board().http());
    let body = Inbound::new(&request, body).await;
    let mut response = match (judge(wire, &request, &access), body) {
        (Err(refusal), _) => *refusal,
        (_, Err(status)) => failed(wire, &status, Some(&access)),
        (Ok((codec, terms)), Ok(body)) => respond(wire, codec, terms, &request, body, &access).await,
    };
    readable(&mut response, origin);
    Answer::Response(response)
}

/// What a request's headers agree on.
struct Terms {
    method: Arc<str>,
    found: Found,
    /// How the client compresses.
    theirs: Packing,
    /// How the answer is compressed.
    ours: Packing,
    deadline: Option<tokio::time::Instant>,
}

/// Reads and judges everything but the body.
fn judge(
    wire: Wire,
    request: &http::request::Parts,
    access: &Access,
) -> Result<(Codec, Terms), Box<Response<Body>>> {
    let refused = |status: StatusCode, text: &str| Err(Box::new(plain(status, text)));
    let fail = |code: Code, text: String| Err(Box::new(failed(wire, &Status::new(code, text), Some(access))));
    let headers = &request.headers;
    if request.method != Method::POST {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "calls are POST requests");
    }
    if wire.family == Family::Grpc && request.version < Version::HTTP_2 {
        return refused(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "gRPC needs HTTP/2; gRPC-Web and Connect do not",
        );
    }
    let Some(codec) = wire.codec else {
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "messages are proto or json");
    };
    let Some(method) = method_of(request.uri.path()) else {
        return fail(Code::Unimplemented, "the path is not /package.Service/Method".into());
    };
    let found = Found::find(access, method);
    let streaming = found.streaming();
    if wire.family == Family::Connect && !streaming.client && !streaming.server {
        return match found {
            Found::Entry(_) | Found::Own(_) => refused(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unary methods are called with application/proto or application/json",
            ),
            _ => fail(Code::Unimplemented, super::unknown_method(access, method).message),
        };
    }
    let (encoding, accepted, timeout) = match wire.family {
        Family::Connect => ("connect-content-encoding", "connect-accept-encoding", "connect-timeout-ms"),
        _ => ("grpc-encoding", "grpc-accept-encoding", "grpc-timeout"),
    };
    if wire.family == Family::Connect && text(headers, "connect-protocol-version").is_some_and(|v| v != "1") {
        return fail(Code::InvalidArgument, "connect-protocol-version must be 1".into());
    }
    let named = text(headers, encoding).unwrap_or_default();
    let Some(theirs) = Packing::from_name(named) else {
        return fail(
            Code::Unimplemented,
            format!("messages cannot be compressed as {named:?} here: {SPOKEN}"),
        );
    };
    let timeout = match headers.get(timeout) {
        None => None,
        Some(value) => {
            let read = value.to_str().ok().and_then(|value| match wire.family {
                Family::Connect => words::connect_timeout(value),
                _ => words::grpc_timeout(value),
            });
            match read {
                None => return fail(Code::InvalidArgument, format!("the value of {timeout} is no duration")),
                some => some,
            }
        }
    };
    let terms = Terms {
        method: match &found {
            Found::Entry(entry) => entry.path.clone(),
            _ => method.into(),
        },
        found,
        theirs,
        ours: theirs.of_answer(text(headers, accepted)),
        deadline: deadline(timeout),
    };
    Ok((codec, terms))
}

async fn respond(
    wire: Wire,
    codec: Codec,
    terms: Terms,
    request: &http::request::Parts,
    body: Inbound,
    access: &Access,
) -> Response<Body> {
    let streaming = terms.found.streaming();
    let limit = terms.found.max_request(access);
    let call = Call {
        method: terms.method,
        streaming,
        codec,
        metadata: metadata(&request.headers),
        deadline: terms.deadline,
        messages: Enveloped::messages(body, terms.theirs, limit, wire.text, streaming.client),
    };
    let reply = match terms.found.call(access, call).await {
        Ok(reply) => reply,
        Err(status) => return failed(wire, &status, Some(access)),
    };
    if streaming.server {
        stream(wire, terms.ours, reply, access)
    } else {
        single(wire, terms.ours, reply, access).await
    }
}

fn ending(wire: Wire) -> Ending {
    match wire.family {
        Family::Grpc => Ending::Trailers,
        Family::Web => Ending::Web { text: wire.text },
        Family::Connect => Ending::Json,
    }
}

/// A reply of one message: waited for, so that a failure is told by the head alone.
async fn single(wire: Wire, packing: Packing, reply: Reply, access: &Access) -> Response<Body> {
    let (leading, message, trailers) = reply.one().await;
    let (message, status) = match message {
        Ok(message) => (Some(message), None),
        Err(status) => (None, Some(status)),
    };
    let end = End { status, trailers };
    if message.is_none() && leading.is_empty() {
        return ended(wire, &end, Some(access));
    }
    let body = Outgoing::unary(access.clone(), ending(wire), packing, message, end);
    started(wire, packing, &leading, body)
}

/// A reply of any number of messages: its head leaves at once, unless it is over already.
fn stream(wire: Wire, packing: Packing, mut reply: Reply, access: &Access) -> Response<Body> {
    let first = match reply.parts.next().now_or_never() {
        Some(None) => Some(Part::End(Status::new(Code::Internal, "the service's answer has no end").into())),
        Some(first) => first,
        None => None,
    };
    match first {
        Some(Part::End(end)) if reply.metadata.is_empty() => ended(wire, &end, Some(access)),
        first => {
            let body = Outgoing::stream(access.clone(), ending(wire), packing, first, reply.parts);
            started(wire, packing, &reply.metadata, body)
        }
    }
}

/// The head of an answer, and its body.
fn started(wire: Wire, packing: Packing, metadata: &HeaderMap, body: Outgoing) -> Response<Body> {
    let mut response = head(wire);
    let headers = response.headers_mut();
    if packing != Packing::Identity {
        let name = if wire.family == Family::Connect { "connect-content-encoding" } else { "grpc-encoding" };
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(packing.name()));
    }
    append(metadata, headers);
    *response.body_mut() = Body::Stream(Box::pin(body));
    response
}

fn head(wire: Wire) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(wire.shown));
    let accept =
        if wire.family == Family::Connect { "connect-accept-encoding" } else { "grpc-accept-encoding" };
    headers.insert(HeaderName::from_static(accept), HeaderValue::from_static(SPOKEN));
    response
}

/// An answer that is only an end.
fn ended(wire: Wire, end: &End, access: Option<&Access>) -> Response<Body> {
    let mut response = head(wire);
    match wire.family {
        Family::Grpc | Family::Web => map::put_end(end, response.headers_mut()),
        Family::Connect => {
            let services = access.map(|access| access.board().services());
            let json = map::connect_end(end, services.as_ref().map(|services| services.schema()));
            *response.body_mut() = wire::envelope(END_STREAM, &json).into();
        }
    }
    response
}

/// A failure before anything else was said.
pub(super) fn failed(wire: Wire, status: &Status, access: Option<&Access>) -> Response<Body> {
    ended(wire, &End::from(status.clone()), access)
}
