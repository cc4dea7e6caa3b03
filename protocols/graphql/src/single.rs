//! Server-Sent Events, single connection mode: one stream carries the results of many operations, which come by requests of their own. A client
//! reserves a stream (PUT), opens it (GET), runs operations (POST), stops them (DELETE); a token ties these together.

use crate::front::{self, Event, Ready, State, Terms};
use crate::map::{Fault, Refusal};
use crate::server::{event_bytes, event_stream, refused, typed};
use crate::wire::{self, Form, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::StatusCode;
use http::request::Parts;
use sb_board::Access;
use sb_board::mount::Body;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// The header that holds the token.
pub(crate) const TOKEN: &str = "x-graphql-event-stream-token";
/// How long a stream stays reserved.
const RESERVED: Duration = Duration::from_secs(30);
/// Streams of all clients together.
const MOST: usize = 10_000;
/// Events that wait for a slow client, of one stream.
const WAITING: usize = 16;
/// The longest id of an operation.
const MAX_ID: usize = 256;

/// The streams there are, by token.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<String, Stream>>);

struct Stream {
    principal: String,
    since: Instant,
    events: mpsc::Sender<Bytes>,
    /// Taken when the stream is opened.
    waiting: Option<mpsc::Receiver<Bytes>>,
    operations: HashMap<String, AbortHandle>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        for operation in self.operations.values() {
            operation.abort();
        }
    }
}

fn lock(streams: &Streams) -> MutexGuard<'_, HashMap<String, Stream>> {
    streams.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Whether a text looks like a token of ours: 32 hexadecimal digits.
pub(crate) fn is_token(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn not_found() -> http::Response<Body> {
    refused(
        Form::Json,
        StatusCode::NOT_FOUND,
        Fault::refused(Refusal::Request, "there is no such event stream"),
    )
}

/// Reserves a stream.
pub(crate) fn reserve(access: &Access, _parts: &Parts) -> http::Response<Body> {
    let state = access.board().shared::<State>();
    let mut streams = lock(&state.streams);
    streams.retain(|_, stream| stream.waiting.is_none() || stream.since.elapsed() < RESERVED);
    if streams.len() >= MOST {
        let text = format!("there are {MOST} event streams, which is the most");
        return refused(Form::Json, StatusCode::SERVICE_UNAVAILABLE, Fault::refused(Refusal::Limit, text));
    }
    let mut random = [0; 16];
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        let fault = Fault::refused(Refusal::Internal, "there is no randomness for a token");
        return refused(Form::Json, StatusCode::INTERNAL_SERVER_ERROR, fault);
    }
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let (events, waiting) = mpsc::channel(WAITING);
    let stream = Stream {
        principal: access.principal().to_owned(),
        since: Instant::now(),
        events,
        waiting: Some(waiting),
        operations: HashMap::new(),
    };
    streams.insert(token.clone(), stream);
    typed(StatusCode::CREATED, "text/plain; charset=utf-8", token.into())
}

/// Removes the stream when its connection is gone.
struct Opened {
    state: Arc<State>,
    token: String,
}

impl Drop for Opened {
    fn drop(&mut self) {
        lock(&self.state.streams).remove(&self.token);
    }
}

/// Opens a stream that was reserved.
pub(crate) fn open(access: &Access, token: &str) -> http::Response<Body> {
    let state = access.board().shared::<State>();
    let mut streams = lock(&state.streams);
    let Some(stream) = streams.get_mut(token).filter(|stream| stream.principal == access.principal()) else {
        return not_found();
    };
    let Some(waiting) = stream.waiting.take() else {
        let fault = Fault::refused(Refusal::Request, "the event stream is open already");
        return refused(Form::Json, StatusCode::CONFLICT, fault);
    };
    drop(streams);
    let opened = Opened { state, token: token.to_owned() };
    let events = futures_util::stream::unfold((waiting, opened), |(mut waiting, opened)| async move {
        waiting.recv().await.map(|event| (event, (waiting, opened)))
    });
    event_stream(access, events)
}

/// Stops an operation.
pub(crate) fn stop(access: &Access, token: &str, query: &str) -> http::Response<Body> {
    let state = access.board().shared::<State>();
    let mut streams = lock(&state.streams);
    let Some(stream) = streams.get_mut(token).filter(|stream| stream.principal == access.principal()) else {
        return not_found();
    };
    let Some(id) = wire::parameter(query, "operationId") else {
        let fault = Fault::refused(Refusal::Request, "the parameter operationId is missing");
        return refused(Form::Json, StatusCode::BAD_REQUEST, fault);
    };
    if let Some(operation) = stream.operations.remove(&id) {
        operation.abort();
    }
    typed(StatusCode::OK, "text/plain; charset=utf-8", Bytes::new())
}

/// Runs an operation; its results go to the stream.
pub(crate) fn run(
    access: &Access,
    token: &str,
    id: Option<String>,
    ready: Ready,
    terms: Terms,
) -> http::Response<Body> {
    let state = access.board().shared::<State>();
    let most = access.board().shared::<crate::Options>().limits.subscriptions;
    let mut streams = lock(&state.streams);
    let Some(stream) = streams.get_mut(token).filter(|stream| stream.principal == access.principal()) else {
        return not_found();
    };
    let Some(id) = id.filter(|id| !id.is_empty() && id.len() <= MAX_ID) else {
        let text = format!("extensions.operationId is missing or longer than {MAX_ID} bytes");
        return refused(Form::Json, StatusCode::BAD_REQUEST, Fault::refused(Refusal::Request, text));
    };
    if stream.operations.contains_key(&id) {
        let fault = Fault::refused(Refusal::Request, "there is an operation of this id already");
        return refused(Form::Json, StatusCode::CONFLICT, fault);
    }
    if stream.operations.len() >= most {
        let text = format!("the event stream has {most} operations, which is the most");
        return refused(Form::Json, StatusCode::TOO_MANY_REQUESTS, Fault::refused(Refusal::Limit, text));
    }
    let (sender, name) = (stream.events.clone(), id.clone());
    let (access, token) = (access.clone(), token.to_owned());
    let own = state.clone();
    let task = tokio::spawn(async move {
        let id = serde_json::to_string(&name).unwrap_or_default();
        let mut events = front::events(access, ready, terms);
        while let Some(event) = events.next().await {
            let response = match event {
                Event::Next(response) => response,
                Event::Refused(faults) => Response::refused(faults),
            };
            let mut data = format!("{{\"id\":{id},\"payload\":").into_bytes();
            data.extend(response.encode());
            data.push(b'}');
            if sender.send(event_bytes("next", &data)).await.is_err() {
                return;
            }
        }
        // Its place is free before the client hears that it is over.
        if let Some(stream) = lock(&own.streams).get_mut(&token) {
            stream.operations.remove(&name);
        }
        let _ = sender.send(event_bytes("complete", format!("{{\"id\":{id}}}").as_bytes())).await;
    });
    stream.operations.insert(id, task.abort_handle());
    typed(StatusCode::ACCEPTED, "text/plain; charset=utf-8", Bytes::new())
}
