//! The server's side on HTTP: `POST /thrift`, `POST /thrift/{Service}`, and the IDL at `GET /thrift/{Service}.thrift`.

use crate::call::{self, Asked, NAME};
use crate::idl;
use crate::wire::{Decoder, Envelope, Event, Kind, Proto, Reader, WireError};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use sb_board::call::Services;
use sb_board::mount::{Answer, Body, BoxFuture, Request, RequestBody};
use sb_board::{Access, problem};
use sb_core::model::{Error, Kind as ErrorKind};

const PLAIN: &str = "application/x-thrift";

/// The mount.
pub fn answer(request: Request) -> BoxFuture<Answer> {
    Box::pin(async move {
        let path = request.http.uri().path();
        let rest = match path.strip_prefix("/thrift") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/').to_owned(),
            _ => return Answer::Pass(request.http),
        };
        let access = request.access.via(NAME);
        let (head, body) = request.http.into_parts();
        let response = match head.method {
            Method::POST if !rest.ends_with(".thrift") => post(&access, &rest, head.headers, body).await,
            Method::GET | Method::HEAD => get(&access, &rest),
            _ => {
                let allow = if rest.ends_with(".thrift") { "GET, HEAD" } else { "POST, GET, HEAD" };
                let error = Error::new(
                    ErrorKind::Unsupported,
                    "SB0207",
                    "Thrift is called with POST, and IDL files are read with GET.",
                );
                let mut response = problem::with_status(&error, StatusCode::METHOD_NOT_ALLOWED, None);
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
                response
            }
        };
        Answer::Response(response)
    })
}

async fn post(access: &Access, service: &str, headers: HeaderMap, body: RequestBody) -> Response<Body> {
    let content_type =
        headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default().to_owned());
    let essence = content_type
        .as_deref()
        .unwrap_or(PLAIN)
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let proto = match essence.as_str() {
        PLAIN => None,
        "application/vnd.apache.thrift.binary" => Some(Proto::Binary),
        "application/vnd.apache.thrift.compact" => Some(Proto::Compact),
        _ => {
            let error = Error::new(
                ErrorKind::Unsupported,
                "SB0208",
                format!("Thrift messages do not come as {essence}."),
            )
            .fix("Send application/x-thrift, application/vnd.apache.thrift.binary or application/vnd.apache.thrift.compact");
            return problem::with_status(&error, StatusCode::UNSUPPORTED_MEDIA_TYPE, None);
        }
    };
    let limit = call::limit(access.board());
    let (input, whole) = match collect(body, limit).await {
        Ok(read) => read,
        Err(error) => return problem::response(&error, None),
    };
    let answered = if whole {
        message(access, service, headers, proto, input, limit).await
    } else {
        let proto =
            proto.unwrap_or(if input.first() == Some(&0x82) { Proto::Compact } else { Proto::Binary });
        let head = Reader::new(&input, proto).head().ok();
        Some(call::refuse(&Envelope::Plain, proto, head, WireError::TooLarge(limit)))
    };
    let (bytes, metadata) = answered.map_or_else(Default::default, |answer| (answer.bytes, answer.metadata));
    let mut response = Response::new(Body::from(bytes));
    for (name, value) in &metadata {
        response.headers_mut().append(name, value.clone());
    }
    let content_type = content_type.and_then(|text| text.parse().ok());
    let content_type = content_type.unwrap_or(HeaderValue::from_static(PLAIN));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A body holds one message, wrapped or not.
async fn message(
    access: &Access,
    service: &str,
    headers: HeaderMap,
    proto: Option<Proto>,
    mut input: BytesMut,
    limit: usize,
) -> Option<call::Answer> {
    let board = access.board();
    let incoming = match Decoder::new(limit).next(&mut input) {
        Ok(Some(Event::Message(incoming))) if proto.is_none_or(|proto| proto == incoming.proto) => incoming,
        Ok(Some(Event::Message(incoming))) => {
            let error = WireError::Malformed("the message is not encoded as its content type says");
            return Some(call::refuse(&incoming.envelope, incoming.proto, None, error));
        }
        Ok(Some(refused)) => return call::refuse_event(refused),
        short_or_wrong => {
            let proto =
                proto.unwrap_or(if input.first() == Some(&0x82) { Proto::Compact } else { Proto::Binary });
            let error = short_or_wrong.err().unwrap_or(WireError::Short);
            let head = Reader::new(&input, proto).head().ok();
            let wanted = head.as_ref().is_none_or(|head| head.kind != Kind::Oneway);
            return wanted.then(|| call::refuse(&Envelope::Plain, proto, head, error));
        }
    };
    let service = (!service.is_empty()).then_some(service);
    let asked = Asked { board, service, metadata: headers };
    call::answer(asked, |_| Ok(access.clone()), incoming).await
}

/// The body, up to the limit; false when there is more.
async fn collect(mut body: RequestBody, limit: usize) -> Result<(BytesMut, bool), Error> {
    let mut input = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::invalid(format!("The body broke off: {error}")))?;
        if let Ok(data) = frame.into_data() {
            input.extend_from_slice(&data);
            if input.len() > limit {
                return Ok((input, false));
            }
        }
    }
    Ok((input, true))
}

/// An IDL file, or the list of them.
fn get(access: &Access, rest: &str) -> Response<Body> {
    let services = access.board().services();
    if rest.is_empty() {
        let list: String =
            shown(access, &services).iter().map(|name| format!("/thrift/{name}.thrift\n")).collect();
        return text(list.into(), None);
    }
    let wanted = rest.strip_suffix(".thrift").unwrap_or(rest);
    let names = shown(access, &services);
    let mut found = names.iter().filter(|name| **name == wanted || name.rsplit('.').next() == Some(wanted));
    let one = match (names.iter().find(|name| **name == wanted), found.next(), found.next()) {
        (Some(exact), ..) => Some(exact),
        (None, one, None) => one,
        _ => None,
    };
    match one.and_then(|name| services.schema().service(name)) {
        Some(service) => {
            let short = service.full_name.rsplit('.').next().unwrap_or_default();
            text(idl::print(services.schema(), service).into(), Some(short))
        }
        None => {
            let error = Error::new(
                ErrorKind::NotFound,
                "SB0206",
                format!("There is no service {wanted:?} that is shown over Thrift."),
            )
            .fix("GET /thrift lists the IDL files");
            problem::response(&error, None)
        }
    }
}

/// The services whose methods the caller may call, any of them.
fn shown(access: &Access, services: &Services) -> Vec<String> {
    let visible = |service: &&std::sync::Arc<sb_board::call::Service>| {
        service.is_shown(NAME)
            && services
                .schema()
                .service(&service.name)
                .is_some_and(|s| s.methods.iter().any(|method| access.may_call(&method.path)))
    };
    services.services().iter().filter(visible).map(|service| service.name.to_string()).collect()
}

fn text(text: Bytes, file: Option<&str>) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(name) = file.and_then(|file| format!("inline; filename=\"{file}.thrift\"").parse().ok()) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    response
}
