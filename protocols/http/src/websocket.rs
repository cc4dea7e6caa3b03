//! WebSockets (docs/http.md §2, §4): how one is opened, the plain form at a topic, the events of a job. The subprotocol
//! `switchboard.v1` is in [`crate::subprotocol`].
//!
//! One task owns a socket and everything that belongs to it. Nothing is queued between tasks; what bounds a connection is said by the
//! constants below.

use crate::server::Cx;
use crate::subprotocol::Connection;
use crate::{map, topics};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header;
use sb_board::access::{Access, PublishOptions, Published, Read};
use sb_board::mount::{Answer, BoxFuture, Frame, WebSocket, WebSocketIo};
use sb_board::tail::{Form, Given, Next, Tail};
use sb_core::groups::Start;
use sb_core::model::{Address, Error, JobId, Kind, Message, Result};
use serde::Serialize;
use std::task::{Context, Poll};
use std::time::Duration;

/// The subprotocol.
const SUBPROTOCOL: &str = "switchboard.v1";
/// The most requests that are not answered yet.
pub(crate) const MAX_PENDING: usize = 1024;
/// The most bytes of frames whose requests are not answered yet; one larger frame is taken when there is no other.
pub(crate) const MAX_PENDING_BYTES: usize = 16 << 20;
/// Above this many unsent bytes no tail is asked and nothing is read.
pub(crate) const MAX_UNSENT: usize = 1 << 20;
/// Rounds of one wake-up before other connections get their turn.
pub(crate) const ROUNDS: usize = 16;
/// How long a close may take to be written.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How a socket ends: with a code and reason of ours, or because the other end is gone.
pub(crate) type End = Option<(u16, &'static str)>;

/// Whether a socket has enough to write, after it was asked to take more. Errors show at the next flush.
pub(crate) fn is_full(io: &mut dyn WebSocketIo, cx: &mut Context<'_>) -> bool {
    io.queued() >= MAX_UNSENT && {
        let _ = io.poll_flush(cx);
        io.queued() >= MAX_UNSENT
    }
}

/// Whether records may be queued now: durable ones wait for the socket, what has come live is queued whole, since it cannot wait.
pub(crate) fn may_queue(io: &mut dyn WebSocketIo, given: &Given) -> bool {
    given.batch.is_live() || io.queued() < MAX_UNSENT
}

/// Closes a socket, as far as the other end lets us.
pub(crate) async fn close(socket: WebSocket, end: End) {
    if let Some((code, reason)) = end {
        let _ = tokio::time::timeout(CLOSE_PATIENCE, socket.close(code, reason)).await;
    }
}

fn offers_ours(cx: &Cx) -> Option<&'static str> {
    let offered = cx.parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let ours =
        offered.iter().any(|v| v.to_str().is_ok_and(|v| v.split(',').any(|p| p.trim() == SUBPROTOCOL)));
    ours.then_some(SUBPROTOCOL)
}

/// `/ws`.
pub(crate) async fn open(cx: Cx) -> Result<Answer> {
    if !cx.wants_websocket() {
        return Err(
            Error::new(Kind::Invalid, "SB0211", "/ws is a WebSocket").fix("Connect with Upgrade: websocket")
        );
    }
    let (subprotocol, access) = (offers_ours(&cx), cx.access.clone());
    Ok(cx.upgrade(subprotocol, move |socket| Box::pin(Connection::new(access).run(socket))))
}

/// `/topics/{pattern}` as a WebSocket.
pub(crate) async fn topic(cx: Cx) -> Result<Answer> {
    let read = topics::wanted(&cx, Start::End)?;
    let tail = cx.access.tail(&read.pattern, read.from.clone(), read.partition).await?;
    let access = cx.access.clone();
    Ok(match offers_ours(&cx) {
        Some(ours) => cx.upgrade(Some(ours), move |socket| {
            Box::pin(Connection::with_tail(access, "0", tail).run(socket))
        }),
        None => cx.upgrade(None, move |socket| Box::pin(plain(socket, access, read, tail))),
    })
}

/// Publishes what a plain socket sent: to the topic that claims the address, otherwise to whoever listens now. It creates nothing.
async fn publish(access: &Access, message: Message) -> Result<Published> {
    match access.publish(vec![message.clone()], PublishOptions::default()).await {
        Err(error) if error.code == "SB0307" => {
            access.publish(vec![message], PublishOptions { live: true, ..PublishOptions::default() }).await
        }
        published => published,
    }
}

/// `/jobs/{id}` as a WebSocket: each event a text frame, then the close.
pub(crate) async fn job(cx: Cx, id: JobId, after: u64) -> Result<Answer> {
    cx.access.job(id).await?;
    let access = cx.access.clone();
    Ok(cx.upgrade(None, move |socket| Box::pin(watch(socket, access, id, after))))
}

async fn watch(mut socket: WebSocket, access: Access, id: JobId, mut after: u64) {
    let end = loop {
        let step = tokio::select! {
            step = access.next_job_events(id, after) => step,
            () = access.revoked() => break Some((4401, "the token has expired")),
            end = until_closed(&mut socket) => break end,
        };
        let (events, ended) = match step {
            Ok(step) => step,
            Err(error) => break Some((close_code(&error), "the job cannot be watched any more")),
        };
        for event in &events {
            after = event.seq;
            socket.queue_text(json(&map::event_out(event, access.board().services().schema())));
        }
        // Written before the next are fetched, so that a slow reader holds one portion at most.
        let written = tokio::select! {
            written = socket.flush() => written.is_ok(),
            () = access.revoked() => break Some((4401, "the token has expired")),
        };
        if !written {
            break None;
        }
        if ended {
            break Some((1000, "the job has ended"));
        }
    };
    close(socket, end).await;
}

/// Waits for the other end to close, or for the server to go. What is sent meanwhile is not for anybody.
async fn until_closed(socket: &mut WebSocket) -> End {
    std::future::poll_fn(|cx| {
        let io = socket.io();
        if io.poll_draining(cx).is_ready() {
            return Poll::Ready(Some((1012, "the server restarts")));
        }
        loop {
            match io.poll_next(cx) {
                Poll::Ready(None | Some(Frame::Close(..))) => return Poll::Ready(None),
                Poll::Ready(Some(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// The close code for an error that ends a socket.
fn close_code(error: &Error) -> u16 {
    match error.kind {
        Kind::Unauthenticated => 4401,
        Kind::Denied
        | Kind::NotFound
        | Kind::Gone
        | Kind::Exists
        | Kind::Conflict
        | Kind::Precondition
        | Kind::Mismatch => 1008,
        Kind::TooLarge => 1009,
        Kind::Invalid | Kind::Unsupported => 1003,
        Kind::Exhausted | Kind::DiskFull | Kind::Unavailable | Kind::Deadline => 1013,
        Kind::Cancelled | Kind::Corrupt | Kind::Internal => 1011,
    }
}

pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

// The plain form.

/// Each message a frame, each frame a message.
async fn plain(mut socket: WebSocket, access: Access, read: Read, tail: Tail) {
    let revoked = {
        let access = access.clone();
        Box::pin(async move { access.revoked().await })
    };
    let mut plain = Plain {
        address: read.pattern.literal(),
        access,
        tail,
        held: None,
        pending: FuturesUnordered::new(),
        bytes: 0,
        revoked,
    };
    let end = std::future::poll_fn(|cx| plain.poll(socket.io(), cx)).await;
    // What was sent before the close is published all the same; the board bounds how long that takes.
    let Plain { pending, .. } = plain;
    let rest = async {
        pending.for_each(|_| async {}).await;
    };
    tokio::join!(close(socket, end), rest);
}

struct Plain {
    access: Access,
    /// Where frames are published; `None` when the path holds a wildcard.
    address: Option<Address>,
    tail: Tail,
    held: Option<(Given, usize)>,
    pending: FuturesUnordered<BoxFuture<(usize, Result<Published>)>>,
    bytes: usize,
    revoked: BoxFuture<()>,
}

impl Plain {
    fn poll(&mut self, io: &mut dyn WebSocketIo, cx: &mut Context<'_>) -> Poll<End> {
        if self.revoked.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some((4401, "the token has expired")));
        }
        if io.poll_draining(cx).is_ready() {
            return Poll::Ready(Some((1001, "the server goes")));
        }
        if let Poll::Ready(Err(_)) = io.poll_flush(cx) {
            return Poll::Ready(None);
        }
        for _ in 0..ROUNDS {
            let mut moved = false;
            // What was left out because the socket was full is done in a further round once it is not.
            let mut full = io.queued() >= MAX_UNSENT;
            while let Poll::Ready(Some((bytes, result))) = self.pending.poll_next_unpin(cx) {
                moved = true;
                self.bytes = self.bytes.saturating_sub(bytes);
                if let Err(error) = result {
                    return Poll::Ready(Some((close_code(&error), "a message was not taken")));
                }
            }
            while self.pending.len() < MAX_PENDING
                && self.bytes < MAX_PENDING_BYTES
                && io.queued() < MAX_UNSENT
            {
                match io.poll_next(cx) {
                    Poll::Ready(Some(Frame::Text(body) | Frame::Binary(body))) => {
                        moved = true;
                        let Some(address) = self.address.clone() else {
                            return Poll::Ready(Some((
                                1008,
                                "this address holds a wildcard and takes no messages",
                            )));
                        };
                        self.bytes += body.len();
                        let mut message = Message::new(address, body);
                        message.time_ms = self.access.board().now_ms();
                        let access = self.access.clone();
                        self.pending.push(Box::pin(async move {
                            let bytes = message.body.len();
                            (bytes, publish(&access, message).await)
                        }));
                    }
                    Poll::Ready(Some(Frame::Close(..)) | None) => return Poll::Ready(None),
                    Poll::Pending => break,
                }
            }
            loop {
                let full = is_full(io, cx);
                if full && self.held.is_some() {
                    break;
                }
                let (given, at) = match self.held.take() {
                    Some(held) => held,
                    None => match self.tail.poll_next(cx) {
                        Poll::Pending => break,
                        Poll::Ready(Next::Records(given)) => (given, 0),
                        Poll::Ready(Next::Reset(_)) => {
                            return Poll::Ready(Some((1008, "the position is gone")));
                        }
                        Poll::Ready(Next::Draining) => return Poll::Ready(Some((1001, "the server goes"))),
                    },
                };
                if full {
                    if given.batch.is_live() {
                        return Poll::Ready(Some((1013, "too slow for live messages")));
                    }
                    self.held = Some((given, at));
                    break;
                }
                moved = true;
                let at = Self::send(io, &given, at);
                if at < given.indexes.len() {
                    self.held = Some((given, at));
                }
            }
            full |= io.queued() >= MAX_UNSENT;
            if let Poll::Ready(Err(_)) = io.poll_flush(cx) {
                return Poll::Ready(None);
            }
            let freed = full && io.queued() < MAX_UNSENT;
            if !moved && !freed {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Queues records until the socket has enough; says where it stopped.
    fn send(io: &mut dyn WebSocketIo, given: &Given, mut at: usize) -> usize {
        let framed = !io.compresses();
        while let Some(index) = given.indexes.get(at) {
            if !may_queue(io, given) {
                break;
            }
            let index = *index as usize;
            if framed {
                io.queue_framed(map::encoded(given, index, Form::WebSocketPlain));
            } else if let Some(record) = given.batch.records().get(index) {
                let body = &record.message.body;
                io.queue(std::str::from_utf8(body).is_ok(), &[], body.clone());
            }
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_close_code() {
        for kind in Kind::ALL {
            let code = close_code(&Error::new(kind, "SB0999", "x"));
            assert!([1003, 1008, 1009, 1011, 1013, 4401].contains(&code), "{kind:?}");
        }
    }
}
