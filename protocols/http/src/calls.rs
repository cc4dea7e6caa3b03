//! Calls of described methods: by the paths of `google.api.http`, and by `/{package.Service}/{Method}` (docs/http.md §4).
//!
//! Path, query and JSON body become the request message by the binding; the answer is ProtoJSON. Streams of answers are NDJSON, or Server-Sent
//! Events for who accepts them; streams of requests need a WebSocket, one message a text frame.

use crate::jobs;
use crate::server::{Cx, is_websocket, set, typed};
use crate::{map, wire};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http_body::Frame as BodyFrame;
use sb_board::access::AsJob;
use sb_board::call::metadata::{is_metadata, metadata};
use sb_board::call::services::Entry;
use sb_board::call::{ByJob, Call, Code, Codec, End, Part, Reply, Services, Status};
use sb_board::mount::{Answer, Body, Frame, WebSocket};
use sb_board::problem;
use sb_core::model::{Error, Kind, Result};
use sb_schema::rest::{Found, Match, Router};
use tokio::time::Instant;

/// The name under which services are shown here.
const REST: &str = "rest";
/// Close codes of a WebSocket call that failed: this and gRPC's number of the code.
const CLOSE: u16 = 4_000;

/// The bindings of all services that are shown.
struct Bindings(Router);

/// A call that a path stands for.
pub(crate) struct Bound {
    entry: Entry,
    found: Match,
}

/// What the bindings make of a method and a path. `Err` names the HTTP methods that the path takes.
pub(crate) fn find(
    services: &Services,
    method: &str,
    path: &str,
) -> std::result::Result<Option<Bound>, Vec<String>> {
    let bindings = services.derived(|services| {
        let shown = services.services().iter().filter(|s| s.is_shown(REST));
        let described: Vec<_> = shown.filter_map(|s| services.schema().service(&s.name)).cloned().collect();
        let (router, faults) = Router::of(&described);
        for fault in faults {
            tracing::warn!(%fault, "a path of google.api.http is not served");
        }
        Bindings(router)
    });
    match bindings.0.find(method, path) {
        Found::Match(found) => {
            Ok(services.shown(&found.method().path, REST).cloned().map(|entry| Bound { entry, found }))
        }
        Found::MethodNotAllowed(methods) => Err(methods),
        Found::None => Ok(None),
    }
}

/// The call of `/{package.Service}/{Method}`, if that is described: by POST, and by GET where it has no side effects.
pub(crate) fn by_name(services: &Services, method: &str, path: &str) -> Option<Bound> {
    let entry = services.shown(path.strip_prefix('/')?, REST)?.clone();
    let fits = match method {
        "POST" => true,
        "GET" => entry.method.idempotency == sb_schema::Idempotency::NoSideEffects,
        _ => false,
    };
    let found = Match::default_path(&entry.method, method);
    fits.then_some(Bound { entry, found })
}

/// Whether a WebSocket may be opened at this path: of any streaming method.
pub(crate) fn by_socket(services: &Services, path: &str) -> Option<Bound> {
    let entry = services.shown(path.strip_prefix('/')?, REST)?.clone();
    let found = Match::default_path(&entry.method, "POST");
    Some(Bound { entry, found })
}

/// Answers a call.
pub(crate) async fn call(mut cx: Cx, bound: Bound) -> Result<Answer> {
    let Bound { entry, found } = bound;
    let streaming = entry.streaming();
    if is_websocket(&cx.parts) {
        return Ok(socket(cx, entry, found));
    }
    if streaming.client {
        return Err(Error::new(
            Kind::Unsupported,
            "SB0211",
            format!("{} takes a stream of messages", entry.path),
        )
        .fix(
            "Open a WebSocket at this path and send one JSON message a text frame, or use gRPC or Connect",
        ));
    }
    jobs::no_callback(&cx)?;
    let content_type = cx.header(header::CONTENT_TYPE).map(str::to_owned);
    let limit = entry.max_request(cx.board());
    let body = cx.collect(limit).await?;
    let query = cx.parts.uri.query().unwrap_or_default();
    // A body whose type is not said is taken for JSON, as curl's would be.
    let form =
        content_type.as_deref().is_some_and(|c| wire::is_media_type(c, "application/x-www-form-urlencoded"));
    let json = content_type.as_deref().is_none_or(|c| Codec::of_content_type(c) == Some(Codec::Json)) || form;
    if !json && !body.is_empty() && !takes_bytes(&entry, &found) {
        let given = content_type.unwrap_or_default();
        return Err(Error::new(
            Kind::Invalid,
            "SB0208",
            format!("the body's type is {given:.100}, and JSON is needed here"),
        )
        .fix("Send Content-Type: application/json"));
    }
    let request = found
        .request(query, (!body.is_empty()).then_some(&body[..]), content_type.as_deref(), &entry.service.json)
        .map_err(|e| map::invalid(e.to_string()))?;
    let prefer = cx.prefer();
    let by_job = entry.service.provider.by_job();
    let idempotent = cx.parts.headers.contains_key("idempotency-key");
    if prefer.respond_async
        || by_job == ByJob::Worked && !streaming.server
        || idempotent && by_job != ByJob::Refused
    {
        return as_job(cx, &entry, &found, request, &body).await;
    }
    let call = call_of(&cx, &entry, Box::pin(futures_util::stream::iter([Ok(request)])))?;
    let reply = match cx.access.via(REST).call(call).await {
        Ok(reply) => reply,
        Err(status) => return Ok(Answer::Response(failure(&cx, &status))),
    };
    if streaming.server {
        return Ok(Answer::Response(stream(&cx, &entry, &found, reply)));
    }
    let (leading, outcome, trailing) = reply.one().await;
    let mut response = match outcome {
        Ok(message) => answer(&entry, &found, &message)?,
        Err(status) => failure(&cx, &status),
    };
    put_metadata(&mut response, &[&leading, &trailing]);
    Ok(Answer::Response(response))
}

/// Whether the body is a `google.api.HttpBody`, which may be of any type.
fn takes_bytes(entry: &Entry, found: &Match) -> bool {
    let input = &entry.method.input;
    let whole = input.full_name() == "google.api.HttpBody";
    match &*found.binding().rule().body {
        "*" => whole,
        field => input.field(field).is_some_and(|f| match f.r#type() {
            sb_schema::Type::Message(message) => message.full_name() == "google.api.HttpBody",
            _ => false,
        }),
    }
}

fn answer(entry: &Entry, found: &Match, message: &[u8]) -> Result<Response<Body>> {
    let reply = found.response(message, &entry.service.json).map_err(|e| {
        Error::new(
            Kind::Internal,
            "SB0410",
            format!("the answer of {} cannot be shown as JSON: {e}", entry.path),
        )
        .fix("Make description and service agree; over gRPC its bytes come as they are")
    })?;
    let mut response = Response::new(Body::from(reply.body));
    set(&mut response, header::CONTENT_TYPE, &reply.content_type);
    Ok(response)
}

/// The call with what the headers say of it.
fn call_of(cx: &Cx, entry: &Entry, messages: sb_board::call::Messages) -> Result<Call> {
    let timeout = map::duration_header(&cx.parts.headers, &map::names::TIMEOUT)?;
    Ok(Call {
        method: entry.path.clone(),
        streaming: entry.streaming(),
        codec: Codec::Proto,
        metadata: metadata(&cx.parts.headers),
        deadline: timeout.map(|ms| Instant::now() + std::time::Duration::from_millis(ms)),
        messages,
    })
}

/// Submits the call as a job; the answer is what `jobs` gives.
async fn as_job(cx: Cx, entry: &Entry, found: &Match, request: Bytes, body: &Bytes) -> Result<Answer> {
    let json = sb_schema::proto_to_json(&entry.method.input, &request, &entry.service.json)
        .map_err(|e| map::invalid(e.to_string()))?;
    let message = map::message(&cx.parts.headers, jobs::input_address()?, body.clone(), cx.board().now_ms())?;
    let how = AsJob {
        idempotency: map::idempotency_key(&cx.parts.headers)?,
        timeout_ms: map::duration_header(&cx.parts.headers, &map::names::TIMEOUT)?,
        key: message.key,
        due_ms: message.due_ms,
    };
    let call = Call {
        codec: Codec::Json,
        ..call_of(&cx, entry, Box::pin(futures_util::stream::iter([Ok(Bytes::from(json))])))?
    };
    let (job, replayed) = match cx.access.via(REST).submit_call(call, how).await {
        Ok(submitted) => submitted,
        Err(status) => return Ok(Answer::Response(failure(&cx, &status))),
    };
    if cx.prefer().respond_async {
        return jobs::submitted(&cx, job, replayed).await;
    }
    let (_, outcome, _) =
        cx.access.job_reply(job.id, Codec::Proto, false).await.map_err(|s| s.to_error())?.one().await;
    let mut response = match outcome {
        Ok(message) => answer(entry, found, &message)?,
        Err(status) => failure(&cx, &status),
    };
    if replayed {
        set(&mut response, "idempotency-replayed", "true");
    }
    Ok(Answer::Response(response))
}

/// A stream of answers: Server-Sent Events for who accepts them, NDJSON otherwise. What goes wrong later is the last line or event.
fn stream(cx: &Cx, entry: &Entry, found: &Match, reply: Reply) -> Response<Body> {
    let events = cx.wants_events();
    let (entry, found) = (entry.clone(), found.clone());
    let schema = cx.board().services();
    let lines = reply.parts.map(move |part| {
        let failed = |status: &Status| problem::status_value(status, schema.schema(), None).to_string();
        let (event, text) = match part {
            Part::Message(message) => match found.response(&message, &entry.service.json) {
                Ok(reply) => ("", reply.body),
                Err(error) => ("error", failed(&Status::new(Code::Internal, error.to_string())).into()),
            },
            Part::End(End { status: Some(status), .. }) => ("error", failed(&status).into()),
            Part::End(_) if events => ("end", Bytes::from_static(b"{}")),
            Part::End(_) => return Bytes::new(),
        };
        let mut line = Vec::with_capacity(text.len() + 32);
        match (events, event) {
            (true, "") => line.extend_from_slice(b"data: "),
            (true, event) => line.extend_from_slice(format!("event: {event}\ndata: ").as_bytes()),
            (false, "error") => line.extend_from_slice(b"{\"error\":"),
            (false, _) => {}
        }
        // ProtoJSON holds no line breaks.
        line.extend_from_slice(&text);
        line.extend_from_slice(match (events, event) {
            (true, _) => b"\n\n",
            (false, "error") => b"}\n",
            (false, _) => b"\n",
        });
        Bytes::from(line)
    });
    let frames =
        lines.filter(|line| std::future::ready(!line.is_empty())).map(|line| Ok(BodyFrame::data(line)));
    let body = Body::Stream(Box::pin(http_body_util::StreamBody::new(frames)));
    let kind = if events { "text/event-stream" } else { "application/x-ndjson" };
    let mut response = typed(StatusCode::OK, kind, body);
    put_metadata(&mut response, &[&reply.metadata]);
    response
}

/// A call over a WebSocket: each text frame a message, an empty one says that no more will come. It ends with close 1000, or with 4000 and
/// the code's number, and the reason.
fn socket(cx: Cx, entry: Entry, found: Match) -> Answer {
    let access = cx.access.via(REST);
    let metadata = metadata(&cx.parts.headers);
    cx.upgrade(None, move |socket| {
        Box::pin(async move {
            let (sender, receiver) = tokio::sync::mpsc::channel::<std::result::Result<Bytes, Status>>(1);
            let messages =
                futures_util::stream::unfold(receiver, |mut r| async { r.recv().await.map(|m| (m, r)) });
            let call = Call {
                method: entry.path.clone(),
                streaming: entry.streaming(),
                codec: Codec::Proto,
                metadata,
                deadline: None,
                messages: Box::pin(messages),
            };
            let called = Box::pin(async move { access.call(call).await });
            converse(socket, called, sender, &entry, &found).await;
        })
    })
}

async fn converse(
    mut socket: WebSocket,
    mut called: std::pin::Pin<Box<impl Future<Output = std::result::Result<Reply, Status>>>>,
    sender: tokio::sync::mpsc::Sender<std::result::Result<Bytes, Status>>,
    entry: &Entry,
    found: &Match,
) {
    let mut sender = Some(sender);
    let mut reply: Option<Reply> = None;
    let status = loop {
        // The next frame is read when there is room for it.
        let incoming = async {
            let permit = match &sender {
                Some(sender) => sender.reserve().await.ok(),
                None => None,
            };
            (socket.next().await, permit)
        };
        let outgoing = async {
            match &mut reply {
                Some(reply) => Ok(reply.parts.next().await),
                None => Err((&mut called).await),
            }
        };
        let turn = tokio::select! {
            (frame, _) = incoming => Turn::In(frame),
            out = outgoing => match out {
                Err(Ok(begun)) => {
                    reply = Some(begun);
                    continue;
                }
                Err(Err(status)) => break Some(status),
                Ok(part) => Turn::Out(part),
            },
        };
        match turn {
            Turn::In(None | Some(Frame::Close(..))) => return,
            Turn::In(Some(Frame::Text(text) | Frame::Binary(text))) => {
                if text.is_empty() {
                    sender = None;
                    continue;
                }
                let Some(to) = &sender else {
                    break Some(Status::new(Code::InvalidArgument, "a message after the last one"));
                };
                match found.request("", Some(&text), None, &entry.service.json) {
                    Ok(message) => {
                        let _ = to.try_send(Ok(message));
                        if !entry.streaming().client {
                            sender = None;
                        }
                    }
                    Err(error) => break Some(Status::new(Code::InvalidArgument, error.to_string())),
                }
            }
            Turn::Out(Some(Part::Message(message))) => match found.response(&message, &entry.service.json) {
                Ok(reply) => {
                    socket.queue_text(reply.body);
                    if socket.flush().await.is_err() {
                        return;
                    }
                }
                Err(error) => break Some(Status::new(Code::Internal, error.to_string())),
            },
            Turn::Out(Some(Part::End(end))) => break end.status,
            Turn::Out(None) => break None,
        }
    };
    match status {
        None => socket.close(1000, "").await,
        Some(status) => {
            let mut reason = status.message;
            reason.truncate(reason.floor_char_boundary(120));
            socket.close(CLOSE + status.code.number() as u16, &reason).await;
        }
    }
}

enum Turn {
    In(Option<Frame>),
    Out(Option<Part>),
}

/// A failed call as a problem.
fn failure(cx: &Cx, status: &Status) -> Response<Body> {
    problem::of_status(status, cx.board().services().schema(), cx.trace())
}

/// Metadata of an answer as headers; what is there already is HTTP's or ours, and stays.
fn put_metadata(response: &mut Response<Body>, metadata: &[&HeaderMap]) {
    let headers = response.headers_mut();
    let ours: Vec<HeaderName> = headers.keys().cloned().collect();
    for (name, value) in metadata.iter().flat_map(|map| map.iter()) {
        if is_metadata(name.as_str()) && !ours.contains(name) {
            headers.append(name, value.clone());
        }
    }
}
