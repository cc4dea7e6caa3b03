//! GraphQL over WebSocket: the subprotocol `graphql-transport-ws`. The older `graphql-ws` of subscriptions-transport-ws is told so and closed.
//!
//! One task owns a socket and all its operations. While the client does not read, nothing is taken from the services either.

use crate::build::PROTOCOL;
use crate::front::{self, Event, Side, Terms};
use crate::map::{Fault, Refusal};
use crate::server::{max_body, metadata};
use crate::wire;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{AbortHandle, BoxStream, SelectAll, abortable};
use http::header;
use sb_board::mount::{Answer, BoxFuture, Frame, Peer, RequestBody, Upgrade, WebSocket, WebSocketOptions};
use sb_board::{Access, Credentials};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The subprotocol.
const SUBPROTOCOL: &str = "graphql-transport-ws";
/// The one before it, which is not spoken.
const LEGACY: &str = "graphql-ws";
/// How long a client may take to introduce itself.
const INIT: Duration = Duration::from_secs(10);
/// Above this many unsent bytes nothing is taken from operations, and nothing is read.
const MAX_UNSENT: usize = 1 << 20;
/// The longest id of an operation.
const MAX_ID: usize = 256;
/// How long a close may take to be written.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How a socket ends: with a code and a reason, or because the other end is gone.
type End = Option<(u16, String)>;

/// Accepts the upgrade. The subprotocol is judged on the open socket, where a client can be told what is wrong.
pub(crate) fn upgrade(http: http::Request<RequestBody>, access: Access, peer: Peer, side: Side) -> Answer {
    let offers = |name: &str| {
        let mut offered = http.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        offered.any(|v| v.to_str().is_ok_and(|v| v.split(',').any(|p| p.trim() == name)))
    };
    let subprotocol = match (offers(SUBPROTOCOL), offers(LEGACY)) {
        (true, _) => Some(SUBPROTOCOL),
        (false, true) => Some(LEGACY),
        (false, false) => None,
    };
    let terms = Terms {
        metadata: metadata(http.headers()),
        forwarded: side.forwarded(http.headers()),
        ..Terms::default()
    };
    let options = WebSocketOptions { max_message: max_body(&access), ..WebSocketOptions::default() };
    let run: Box<dyn FnOnce(WebSocket) -> BoxFuture<()> + Send> = match subprotocol {
        Some(SUBPROTOCOL) => {
            Box::new(move |socket| Box::pin(Connection::new(access, peer, terms, side).run(socket)))
        }
        _ => Box::new(|socket| {
            let reason = "the subprotocol graphql-transport-ws is spoken here, and no other";
            Box::pin(close(socket, Some((4406, reason.to_owned()))))
        }),
    };
    Answer::WebSocket(Upgrade { http, subprotocol, options, run })
}

async fn close(socket: WebSocket, end: End) {
    if let Some((code, reason)) = end {
        // A reason has at most 123 bytes.
        let reason = reason.get(..reason.floor_char_boundary(120)).unwrap_or_default();
        let _ = tokio::time::timeout(CLOSE_PATIENCE, socket.close(code, reason)).await;
    }
}

/// What an operation gives: its id, and an event or its end.
type Given = (Arc<str>, Option<Event>);

struct Connection {
    access: Access,
    peer: Peer,
    terms: Terms,
    side: Side,
    acknowledged: bool,
    /// The caller's credentials have expired.
    revoked: BoxFuture<()>,
    operations: SelectAll<BoxStream<'static, Given>>,
    running: HashMap<Arc<str>, AbortHandle>,
}

/// What happens next.
enum Turn {
    Frame(Option<Frame>),
    Given(Given),
    Draining,
    Gone,
}

impl Connection {
    fn new(access: Access, peer: Peer, terms: Terms, side: Side) -> Self {
        let revoked = revoked(&access);
        Connection {
            access,
            peer,
            terms,
            side,
            acknowledged: false,
            revoked,
            operations: SelectAll::new(),
            running: HashMap::new(),
        }
    }

    async fn run(mut self, mut socket: WebSocket) {
        let init = tokio::time::sleep(INIT);
        tokio::pin!(init);
        let end = loop {
            let turn = {
                let operations = &mut self.operations;
                let socket = &mut socket;
                let turn = std::future::poll_fn(move |cx| {
                    let io = socket.io();
                    if io.poll_draining(cx).is_ready() {
                        return Poll::Ready(Turn::Draining);
                    }
                    if io.queued() > 0
                        && let Poll::Ready(Err(_)) = io.poll_flush(cx)
                    {
                        return Poll::Ready(Turn::Gone);
                    }
                    if io.queued() >= MAX_UNSENT {
                        return Poll::Pending;
                    }
                    if let Poll::Ready(frame) = io.poll_next(cx) {
                        return Poll::Ready(Turn::Frame(frame));
                    }
                    match operations.poll_next_unpin(cx) {
                        Poll::Ready(Some(given)) => Poll::Ready(Turn::Given(given)),
                        _ => Poll::Pending,
                    }
                });
                tokio::select! {
                    turn = turn => turn,
                    () = &mut self.revoked => break Some((4403, "the credentials have expired".to_owned())),
                    () = &mut init, if !self.acknowledged => {
                        break Some((4408, "Connection initialisation timeout".to_owned()));
                    }
                }
            };
            match turn {
                Turn::Gone | Turn::Frame(None | Some(Frame::Close(..))) => break None,
                Turn::Draining => break Some((1012, "the server restarts".to_owned())),
                Turn::Frame(Some(Frame::Binary(_))) => break Some((4400, "messages are text".to_owned())),
                Turn::Frame(Some(Frame::Text(text))) => {
                    if let Err(end) = self.message(&mut socket, &text) {
                        break Some(end);
                    }
                }
                Turn::Given((id, event)) => self.given(&mut socket, &id, event),
            }
        };
        // All operations stop before the close is waited for.
        drop(self);
        close(socket, end).await;
    }

    /// Sends what an operation gave.
    fn given(&mut self, socket: &mut WebSocket, id: &Arc<str>, event: Option<Event>) {
        match event {
            Some(Event::Next(response)) => socket.queue_text(message("next", id, Some(&response.encode()))),
            Some(Event::Refused(faults)) => {
                self.running.remove(id);
                let faults = serde_json::to_vec(&faults).unwrap_or_default();
                socket.queue_text(message("error", id, Some(&faults)));
            }
            // After an error there is no end to tell.
            None => {
                if self.running.remove(id).is_some() {
                    socket.queue_text(message("complete", id, None));
                }
            }
        }
    }

    /// Takes a message of the client.
    fn message(&mut self, socket: &mut WebSocket, text: &[u8]) -> Result<(), (u16, String)> {
        let bad = |why: &str| (4400, why.to_owned());
        let Ok(Value::Object(mut object)) = serde_json::from_slice(text) else {
            return Err(bad("the message is no JSON object"));
        };
        let kind = object.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let payload = object.remove("payload");
        match kind.as_str() {
            "connection_init" => self.init(socket, payload.as_ref()),
            "ping" => {
                let mut pong = Map::new();
                pong.insert("type".into(), "pong".into());
                if let Some(payload) = payload.filter(Value::is_object) {
                    pong.insert("payload".into(), payload);
                }
                socket.queue_text(Value::Object(pong).to_string());
                Ok(())
            }
            "pong" => Ok(()),
            "subscribe" | "complete" => {
                let id = match object.get("id") {
                    Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_ID => {
                        Arc::<str>::from(id.as_str())
                    }
                    _ => return Err(bad("the message has no id, or one that is too long")),
                };
                if kind == "complete" {
                    if let Some(operation) = self.running.remove(&id) {
                        operation.abort();
                    }
                    return Ok(());
                }
                match payload {
                    Some(Value::Object(payload)) => self.subscribe(socket, id, payload),
                    _ => Err(bad("the message has no payload")),
                }
            }
            _ => Err(bad("the message is of no known type")),
        }
    }

    /// Greets. The payload may hold the credentials that a browser cannot put into headers: `authorization`, `token` or `sb-api-key`.
    fn init(&mut self, socket: &mut WebSocket, payload: Option<&Value>) -> Result<(), (u16, String)> {
        if self.acknowledged {
            return Err((4429, "Too many initialisation requests".to_owned()));
        }
        let given = payload.and_then(Value::as_object).into_iter().flatten().find_map(|(name, value)| {
            let value = value.as_str()?.trim();
            let bearer = value.get(..7).filter(|start| start.eq_ignore_ascii_case("bearer "));
            match name.to_ascii_lowercase().as_str() {
                "authorization" => {
                    Some(bearer.and_then(|_| value.get(7..)).unwrap_or(value).trim().to_owned())
                }
                "token" | "sb-api-key" => Some(value.to_owned()),
                _ => None,
            }
        });
        if let Some(token) = given.filter(|token| !token.is_empty()) {
            let login = self.access.board().login(PROTOCOL, &self.peer, Credentials::Token(&token));
            self.access = login.map_err(|_| (4403, "Forbidden".to_owned()))?;
            self.revoked = revoked(&self.access);
        }
        self.acknowledged = true;
        socket.queue_text(r#"{"type":"connection_ack"}"#);
        Ok(())
    }

    fn subscribe(
        &mut self,
        socket: &mut WebSocket,
        id: Arc<str>,
        payload: Map<String, Value>,
    ) -> Result<(), (u16, String)> {
        if !self.acknowledged {
            return Err((4401, "Unauthorized".to_owned()));
        }
        if self.running.contains_key(&id) {
            return Err((4409, format!("Subscriber for {id} already exists")));
        }
        let most = self.access.board().shared::<crate::Options>().limits.subscriptions;
        let ready = if self.running.len() >= most {
            let text = format!("the connection has {most} operations, which is the most");
            Err(vec![Fault::refused(Refusal::Limit, text)])
        } else {
            let ask = wire::ask(payload).map_err(|fault| (4400, fault.message))?;
            front::prepare(&self.access, ask, &self.side)
        };
        let ready = match ready {
            Ok(ready) => ready,
            Err(faults) => {
                let faults = serde_json::to_vec(&faults).unwrap_or_default();
                socket.queue_text(message("error", &id, Some(&faults)));
                return Ok(());
            }
        };
        let (events, abort) = abortable(front::events(self.access.clone(), ready, self.terms.clone()));
        let name = id.clone();
        let own = abort.clone();
        let given = events.map(Some).chain(futures_util::stream::iter([None]));
        // What was stopped has no end to tell, and its id may be in use again.
        let given = given.take_while(move |_| std::future::ready(!own.is_aborted()));
        self.operations.push(Box::pin(given.map(move |event| (name.clone(), event))));
        self.running.insert(id, abort);
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for operation in self.running.values() {
            operation.abort();
        }
    }
}

fn revoked(access: &Access) -> BoxFuture<()> {
    let access = access.clone();
    Box::pin(async move { access.revoked().await })
}

/// A message with the payload's JSON.
fn message(kind: &str, id: &str, payload: Option<&[u8]>) -> Bytes {
    let mut out = format!("{{\"id\":{},\"type\":\"{kind}\"", serde_json::to_string(id).unwrap_or_default())
        .into_bytes();
    if let Some(payload) = payload {
        out.extend_from_slice(b",\"payload\":");
        out.extend_from_slice(payload);
    }
    out.push(b'}');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Response;

    #[test]
    fn messages() {
        let response = Response { data: Some(b"null".to_vec()), ..Response::default() };
        assert_eq!(message("complete", "a\"b", None), &br#"{"id":"a\"b","type":"complete"}"#[..]);
        assert_eq!(
            message("next", "1", Some(&response.encode())),
            &br#"{"id":"1","type":"next","payload":{"data":null}}"#[..]
        );
    }
}
