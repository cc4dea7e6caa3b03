//! JSON-RPC over a WebSocket: one task reads, acts and writes. Calls run beside each other up to a number, then nothing more is read; subscriptions
//! are pulled only when what came before has been written.

use crate::act::{Acted, Caller, Outcome};
use crate::wire;
use futures_util::StreamExt as _;
use futures_util::stream::{FuturesUnordered, SelectAll};
use http::HeaderMap;
use sb_board::call::{Code, End, Part, Reply, Status};
use sb_board::mount::{BoxFuture, Frame, WebSocket};
use sb_core::model::{Error, Kind};
use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// Texts that are acted on at the same time.
const MAX_RUNNING: usize = 64;
/// Subscriptions of one connection.
const MAX_STREAMS: usize = 256;
/// How long a client may take to read what is written to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A subscription: a reply as notifications.
pub(crate) struct Stream {
    id: String,
    reply: Option<Reply>,
    caller: Caller,
    metadata: HeaderMap,
}

impl Stream {
    pub(crate) fn new(id: String, reply: Reply, caller: Caller) -> Self {
        Stream { id, metadata: reply.metadata.clone(), reply: Some(reply), caller }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(crate) fn metadata(&self) -> &HeaderMap {
        &self.metadata
    }

    /// The next notification; `None` after the end.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        std::future::poll_fn(|cx| self.poll_text(cx)).await
    }

    fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let Some(reply) = &mut self.reply else { return Poll::Ready(None) };
        let part = match reply.parts.as_mut().poll_next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(part) => part.unwrap_or_else(|| {
                Part::End(Status::new(Code::Internal, "the service's answer has no end").into())
            }),
        };
        Poll::Ready(Some(match part {
            Part::Message(item) => wire::item(&self.id, &item),
            Part::End(End { status, .. }) => {
                self.reply = None;
                wire::end(&self.id, status.map(|status| self.caller.fault(&status)).as_ref())
            }
        }))
    }
}

/// A subscription among others: it ends when its id is no longer among the open ones.
struct Open {
    stream: Stream,
    ids: Arc<Mutex<HashSet<String>>>,
}

impl futures_util::Stream for Open {
    type Item = Vec<u8>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let this = &mut *self;
        if !lock(&this.ids).contains(&this.stream.id) {
            return Poll::Ready(None);
        }
        let next = this.stream.poll_text(cx);
        if this.stream.reply.is_none() {
            // The end is the last thing that is said; the next poll ends it.
            lock(&this.ids).remove(&this.stream.id);
        }
        next
    }
}

fn lock(ids: &Mutex<HashSet<String>>) -> std::sync::MutexGuard<'_, HashSet<String>> {
    ids.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Connection {
    socket: WebSocket,
    caller: Caller,
    running: FuturesUnordered<BoxFuture<Acted>>,
    streams: SelectAll<Open>,
    open: Arc<Mutex<HashSet<String>>>,
    made: u64,
}

enum Turn {
    Frame(Option<Frame>),
    Acted(Acted),
    Notification(Vec<u8>),
    Draining,
    Revoked,
}

/// Speaks on a socket until the client leaves, its credentials expire, or the server drains.
pub(crate) async fn run(socket: WebSocket, caller: Caller) {
    let access = caller.access.clone();
    let mut revoked = std::pin::pin!(access.revoked());
    let mut all = Connection {
        socket,
        caller,
        running: FuturesUnordered::new(),
        streams: SelectAll::new(),
        open: Arc::default(),
        made: 0,
    };
    let (code, why) = loop {
        let turn = tokio::select! {
            turn = all.turn() => turn,
            () = &mut revoked => Turn::Revoked,
        };
        match turn {
            Turn::Frame(Some(Frame::Text(text))) => {
                let caller = all.caller.clone();
                all.running.push(Box::pin(async move { caller.act(&text).await }));
            }
            Turn::Frame(Some(Frame::Binary(_))) => break (1003, "JSON-RPC is text"),
            Turn::Frame(Some(Frame::Close(..)) | None) => return,
            Turn::Acted(acted) => all.answer(acted),
            Turn::Notification(text) => all.socket.queue_text(text),
            Turn::Draining => break (1001, "the server stops"),
            Turn::Revoked => break (4401, "the token has expired"),
        }
        match tokio::time::timeout(PATIENCE, all.socket.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), all.socket.close(code, why)).await;
}

impl Connection {
    /// What happens next. Nothing is read while as much runs as may.
    async fn turn(&mut self) -> Turn {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(Some(acted)) = self.running.poll_next_unpin(cx) {
                return Poll::Ready(Turn::Acted(acted));
            }
            if self.running.len() < MAX_RUNNING
                && let Poll::Ready(frame) = self.socket.io().poll_next(cx)
            {
                return Poll::Ready(Turn::Frame(frame));
            }
            if let Poll::Ready(Some(text)) = self.streams.poll_next_unpin(cx) {
                return Poll::Ready(Turn::Notification(text));
            }
            self.socket.io().poll_draining(cx).map(|()| Turn::Draining)
        })
        .await
    }

    /// Queues the answers. Subscriptions begin behind the answer that names them.
    fn answer(&mut self, acted: Acted) {
        match acted {
            Acted::One(outcome) => {
                if let Some(answer) = self.outcome(outcome) {
                    self.socket.queue_text(answer);
                }
            }
            Acted::Batch(outcomes) => {
                let answers: Vec<Vec<u8>> = outcomes.into_iter().filter_map(|o| self.outcome(o)).collect();
                if let Some(answer) = wire::batch(&answers) {
                    self.socket.queue_text(answer);
                }
            }
        }
    }

    fn outcome(&mut self, outcome: Outcome) -> Option<Vec<u8>> {
        match outcome {
            Outcome::Silent => None,
            Outcome::Answer(answer, _) => Some(answer),
            Outcome::Stream(id, reply) => {
                if lock(&self.open).len() >= MAX_STREAMS {
                    let error = Error::new(Kind::Exhausted, "SB0601", "the connection has 256 subscriptions")
                        .fix("End one with rpc.unsubscribe, or open another connection");
                    return Some(wire::failed(Some(&id), &self.caller.fault(&error.into())));
                }
                self.made += 1;
                let name = format!("s{}", self.made);
                let answer = wire::result(&id, format!("\"{name}\"").as_bytes());
                lock(&self.open).insert(name.clone());
                let stream = Stream::new(name, reply, self.caller.clone());
                self.streams.push(Open { stream, ids: self.open.clone() });
                Some(answer)
            }
            Outcome::Unsubscribe(id, name) => {
                let was_open = lock(&self.open).remove(&name);
                if was_open {
                    // Dropping it cancels the call.
                    let ids = self.open.clone();
                    let kept: Vec<Open> = std::mem::take(&mut self.streams)
                        .into_iter()
                        .filter(|open| lock(&ids).contains(&open.stream.id))
                        .collect();
                    self.streams.extend(kept);
                }
                id.map(|id| wire::result(&id, if was_open { b"true" } else { b"false" }))
            }
        }
    }
}
