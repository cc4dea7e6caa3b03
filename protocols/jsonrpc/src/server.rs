//! JSON-RPC over HTTP: `POST /rpc` and `/rpc/{service}`, one stream of a single request as Server-Sent Events, and the way to the WebSocket.

use crate::act::{Acted, Caller, Outcome};
use crate::socket::{self, Stream};
use crate::{map, wire};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use sb_board::call::metadata::metadata;
use sb_board::mount::{Answer, Body, BoxFuture, Request, RequestBody, Upgrade, WebSocketOptions};
use sb_board::{HttpSettings, problem, web};
use sb_core::model::{Error, Kind};
use std::convert::Infallible;
use std::time::Duration;

/// The content types of requests.
const TYPES: [&str; 3] = ["application/json", "application/json-rpc", "application/jsonrequest"];
/// The names of subprotocols under which clients ask for JSON-RPC.
const SUBPROTOCOLS: [&str; 3] = ["jsonrpc-2.0", "jsonrpc", "json-rpc"];
/// What pages of other origins may see.
const EXPOSED: &str = "*";

/// The service of a path below `/rpc`; `None` where the path is not ours.
fn place(path: &str) -> Option<Option<&str>> {
    match path.strip_prefix("/rpc")? {
        "" | "/" => Some(None),
        rest => {
            let service = rest.strip_prefix('/')?;
            (!service.contains('/')).then_some(Some(service))
        }
    }
}

/// The mount.
pub fn handle(request: Request) -> BoxFuture<Answer> {
    Box::pin(async move {
        let Request { http, access, .. } = request;
        let Some(service) = place(http.uri().path()).map(|service| service.map(str::to_owned)) else {
            return Answer::Pass(http);
        };
        let (parts, mut body) = http.into_parts();
        let settings = access.board().http();
        if web::wants_websocket(&parts) {
            let caller = caller(access.via(map::NAME), service, &parts.headers, true);
            return upgrade(http::Request::from_parts(parts, body), caller);
        }
        if parts.method == Method::OPTIONS {
            return Answer::Response(web::preflight(settings, &parts.headers, "POST"));
        }
        let mut response = if parts.method != Method::POST {
            let error =
                Error::new(Kind::Unsupported, "SB0207", "JSON-RPC is spoken with POST, or over a WebSocket");
            let mut response = problem::with_status(&error, StatusCode::METHOD_NOT_ALLOWED, None);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            web::spend(&mut body, &mut response).await;
            response
        } else if !is_ours(&parts.headers) {
            let error = Error::new(Kind::Invalid, "SB0208", "the body's type is not one of JSON-RPC")
                .fix("Send Content-Type: application/json");
            let mut response = problem::with_status(&error, StatusCode::UNSUPPORTED_MEDIA_TYPE, None);
            web::spend(&mut body, &mut response).await;
            response
        } else {
            let streams = web::accepts(&parts.headers, "text/event-stream");
            let caller = caller(access.via(map::NAME), service, &parts.headers, streams);
            post(caller, &mut body).await
        };
        common(settings, &parts.headers, &mut response);
        Answer::Response(response)
    })
}

/// A refusal of the login, in this protocol's words.
pub fn refuse(request: &http::Request<RequestBody>, error: &Error) -> Option<Response<Body>> {
    place(request.uri().path())?;
    if request.method() != Method::POST {
        return None;
    }
    let schema = sb_schema::Builder::new().build().ok()?;
    let fault = map::fault(&error.clone().into(), &schema);
    let mut response = json(wire::failed(None, &fault));
    *response.status_mut() = problem::status(error.kind);
    if error.kind == Kind::Unauthenticated {
        let bearer = HeaderValue::from_static("Bearer realm=\"switchboard\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    Some(response)
}

fn caller(access: sb_board::Access, service: Option<String>, headers: &HeaderMap, streams: bool) -> Caller {
    let timeout = sb_board::request::timeout(headers);
    Caller { access, service, metadata: metadata(headers), timeout, streams }
}

fn is_ours(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    TYPES.iter().any(|known| known.eq_ignore_ascii_case(essence))
}

/// What every answer has.
fn common(settings: &HttpSettings, request: &HeaderMap, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    web::allow_origin(settings, request, response, EXPOSED);
}

fn json(text: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// One text: an answer with 200 whatever it says, or 204 where there is nothing to say.
async fn post(caller: Caller, body: &mut RequestBody) -> Response<Body> {
    let board = caller.access.board();
    let limit = board.http().max_body.max(board.max_message().saturating_add(64 * 1024));
    let text = match web::collect(body, limit).await {
        Ok(text) => text,
        Err(error) => return problem::response(&error, None),
    };
    let outcomes = match caller.act(&text).await {
        Acted::One(Outcome::Stream(id, reply)) => {
            return events(Stream::new("s1".to_owned(), reply, caller), &id);
        }
        Acted::One(Outcome::Answer(answer, metadata)) => {
            let mut response = json(answer);
            for (name, value) in &metadata {
                response.headers_mut().append(name, value.clone());
            }
            return response;
        }
        Acted::One(outcome) => vec![outcome],
        Acted::Batch(outcomes) => outcomes,
    };
    let answers: Vec<Vec<u8>> = outcomes
        .into_iter()
        .filter_map(|outcome| match outcome {
            Outcome::Answer(answer, _) => Some(answer),
            // On an event stream one request is answered, not several.
            Outcome::Stream(id, _) | Outcome::Unsubscribe(Some(id), _) => {
                let error = Error::new(Kind::Unsupported, "SB0209", "over HTTP a stream is asked for alone")
                    .fix(
                        "Send it without others, with Accept: text/event-stream, or use a WebSocket at /rpc",
                    );
                Some(wire::failed(Some(&id), &caller.fault(&error.into())))
            }
            Outcome::Silent | Outcome::Unsubscribe(None, _) => None,
        })
        .collect();
    match wire::batch(&answers) {
        Some(answer) => json(answer),
        None => {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
    }
}

/// A subscription as Server-Sent Events: the answer, the items, the end, each the data of an event; comments while it is quiet.
fn events(stream: Stream, id: &str) -> Response<Body> {
    let first = wire::result(id, format!("\"{}\"", stream.id()).as_bytes());
    let period = Duration::from_millis(match stream.caller().access.board().http().heartbeat_ms {
        0 => 15_000,
        ms => ms,
    });
    let metadata = metadata(stream.metadata());
    let board = stream.caller().access.board().clone();
    let over = {
        let access = stream.caller().access.clone();
        Box::pin(async move {
            tokio::select! {
                () = board.draining() => {}
                () = access.revoked() => {}
            }
        })
    };
    let rest = futures_util::stream::unfold(stream, move |mut stream| async move {
        let event = match tokio::time::timeout(period, stream.next()).await {
            Ok(notification) => event(&notification?),
            Err(_) => Bytes::from_static(b":\n\n"),
        };
        Some((event, stream))
    });
    let first = futures_util::stream::iter([event(&first)]);
    let all = first.chain(rest.take_until(over)).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let body = StreamBody::new(all.map(|frame| frame.map_err(|never| match never {})));
    let mut response = Response::new(Body::Stream(Box::pin(body)));
    let headers = response.headers_mut();
    headers.extend(metadata);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A text as an event. JSON that a service wrote may have line breaks between its values.
fn event(text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 10);
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
    out.into()
}

fn upgrade(http: http::Request<RequestBody>, caller: Caller) -> Answer {
    let offered = |name: &&&'static str| web::has_token(http.headers(), header::SEC_WEBSOCKET_PROTOCOL, name);
    let subprotocol = SUBPROTOCOLS.iter().find(offered).copied();
    let board = caller.access.board();
    let max_message = board.http().max_body.max(board.max_message().saturating_add(64 * 1024));
    let options = WebSocketOptions { max_message, ..WebSocketOptions::default() };
    let run = Box::new(move |socket| Box::pin(socket::run(socket, caller)) as BoxFuture<()>);
    Answer::WebSocket(Upgrade { http, subprotocol, options, run })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(place("/rpc"), Some(None));
        assert_eq!(place("/rpc/"), Some(None));
        assert_eq!(place("/rpc/a.B"), Some(Some("a.B")));
        assert_eq!(place("/rpcs"), None);
        assert_eq!(place("/rpc/a/b"), None);
        assert_eq!(place("/"), None);
    }

    #[test]
    fn texts_of_several_lines_are_one_event() {
        assert_eq!(&event(b"{\n1}")[..], b"data: {\ndata: 1}\n\n");
    }
}
