//! Server-Sent Events: bodies that are polled where the messages are, without a task or a channel of their own.

use crate::map;
use crate::server::typed;
use crate::topics::MAX_READ;
use crate::wire::sse;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use sb_board::access::{Access, Read};
use sb_board::mount::{Body, BoxFuture};
use sb_board::tail::{Form, Given, Next, Tail};
use sb_core::jobs::Event;
use sb_core::model::{Error, JobId, Kind, Result};
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How much is written at once; the socket's back-pressure comes between two of these.
const CHUNK: usize = 64 * 1024;

/// A reader's events of topics. A position that is gone is told inside the stream, since a browser's reader sees no other answer.
pub(crate) async fn topic(access: &Access, read: &Read, envelope: bool) -> Result<Response<Body>> {
    debug_assert!(read.max_bytes == MAX_READ);
    let state = match access.tail(&read.pattern, read.from.clone(), read.partition).await {
        Ok(tail) => State::Open(tail),
        Err(error) if error.kind == Kind::Gone => State::Last(reset(&error)),
        Err(error) => return Err(error),
    };
    let form = if envelope { Form::SseEnvelope } else { Form::Sse };
    Ok(response(TopicEvents { state, form, held: None, common: Common::new(access) }))
}

/// The events of a job.
pub(crate) fn job(access: Access, id: JobId, after: u64) -> Response<Body> {
    let common = Common::new(&access);
    response(JobEvents { access, id, after, step: None, ended: false, common })
}

fn response(
    body: impl http_body::Body<Data = Bytes, Error = std::io::Error> + Send + 'static,
) -> Response<Body> {
    let mut response = typed(StatusCode::OK, "text/event-stream", Body::Stream(Box::pin(body)));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.append(header::VARY, HeaderValue::from_static("Accept, Prefer"));
    response
}

/// What tells a reader that its position is gone. The empty id makes a browser forget the position, so that it begins anew.
fn reset(error: &Error) -> Bytes {
    let problem = map::problem_json(error);
    let mut out = b"id:\n".to_vec();
    sse::event(&mut out, "", Some("reset"), std::str::from_utf8(&problem).unwrap_or_default());
    out.into()
}

/// What tells a reader that the server goes. The time to come back differs, so that not all come at once.
fn draining() -> Bytes {
    let random = std::hash::RandomState::new().build_hasher().finish();
    let mut out = format!("retry: {}\n", 500 + random % 2_500).into_bytes();
    sse::event(&mut out, "", Some("end"), "{\"reason\":\"draining\"}");
    out.into()
}

/// What every stream of events has: heartbeats, and the end of the caller's rights.
struct Common {
    heartbeat: Pin<Box<Sleep>>,
    period: Duration,
    revoked: BoxFuture<()>,
}

impl Common {
    fn new(access: &Access) -> Common {
        let period = Duration::from_millis(match access.board().http().heartbeat_ms {
            0 => 15_000,
            ms => ms,
        });
        let access = access.clone();
        Common {
            heartbeat: Box::pin(tokio::time::sleep(period)),
            period,
            revoked: Box::pin(async move { access.revoked().await }),
        }
    }

    /// Whether it is time for a comment.
    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> bool {
        if self.heartbeat.as_mut().poll(cx).is_pending() {
            return false;
        }
        let next = Instant::now() + self.period;
        self.heartbeat.as_mut().reset(next);
        // Registers the wake-up of the new term.
        let _ = self.heartbeat.as_mut().poll(cx);
        true
    }
}

enum State {
    Open(Tail),
    /// These bytes and then nothing.
    Last(Bytes),
    Ended,
}

struct TopicEvents {
    state: State,
    form: Form,
    /// Records that did not fit into the last piece, and how many of them were written.
    held: Option<(Given, usize)>,
    common: Common,
}

impl TopicEvents {
    /// The events of what a tail gave, from `at` on, until a piece is full: the piece, and where it stopped.
    fn write(&self, given: &Given, mut at: usize, out: &mut Pieces) -> usize {
        while let Some(index) = given.indexes.get(at) {
            if out.len() >= CHUNK {
                break;
            }
            let event = map::encoded(given, *index as usize, self.form);
            at += 1;
            match &given.cursor {
                None => out.push(event),
                Some(cursor) => {
                    // Several partitions: only behind the last record is there a place to resume from.
                    if at == given.indexes.len() {
                        let mut line = Vec::with_capacity(cursor.len() + 5);
                        sse::id_line(&mut line, cursor);
                        out.push(line.into());
                    }
                    out.push(sse::without_id(&event));
                }
            }
        }
        at
    }
}

/// Bytes on their way out: a single piece stays shared, several are put together so that they leave in one write.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    all: Vec<u8>,
}

impl Pieces {
    fn len(&self) -> usize {
        self.first.len().max(self.all.len())
    }

    fn push(&mut self, piece: Bytes) {
        if self.all.is_empty() {
            if self.first.is_empty() {
                self.first = piece;
                return;
            }
            self.all.reserve((self.first.len() + piece.len()).next_power_of_two().min(CHUNK));
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&piece);
    }

    fn finish(self) -> Option<Bytes> {
        match (self.all.is_empty(), self.first.is_empty()) {
            (false, _) => Some(self.all.into()),
            (true, false) => Some(self.first),
            (true, true) => None,
        }
    }
}

type Polled = Poll<Option<std::result::Result<Frame<Bytes>, std::io::Error>>>;

fn data(bytes: Bytes) -> Polled {
    Poll::Ready(Some(Ok(Frame::data(bytes))))
}

impl http_body::Body for TopicEvents {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if matches!(this.state, State::Ended) {
            return Poll::Ready(None);
        }
        if this.common.revoked.as_mut().poll(cx).is_ready() {
            this.state = State::Ended;
            this.held = None;
            return Poll::Ready(None);
        }
        let mut out = Pieces::default();
        if let Some((given, at)) = this.held.take() {
            let at = this.write(&given, at, &mut out);
            if at < given.indexes.len() {
                this.held = Some((given, at));
            }
        }
        while this.held.is_none() && out.len() < CHUNK {
            let State::Open(tail) = &mut this.state else { break };
            match tail.poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Next::Records(given)) => {
                    let at = this.write(&given, 0, &mut out);
                    if at < given.indexes.len() {
                        this.held = Some((given, at));
                    }
                }
                Poll::Ready(Next::Reset(error)) => this.state = State::Last(reset(&error)),
                Poll::Ready(Next::Draining) => this.state = State::Last(draining()),
            }
        }
        if this.held.is_none()
            && let State::Last(bytes) = &this.state
        {
            out.push(bytes.clone());
            this.state = State::Ended;
        }
        if let Some(bytes) = out.finish() {
            return data(bytes);
        }
        if matches!(this.state, State::Ended) {
            return Poll::Ready(None);
        }
        if this.common.poll_heartbeat(cx) {
            return data(Bytes::from_static(sse::HEARTBEAT));
        }
        Poll::Pending
    }
}

/// The next events of a job, and whether they are the last.
type Step = BoxFuture<Result<(Vec<Event>, bool)>>;

struct JobEvents {
    access: Access,
    id: JobId,
    after: u64,
    /// The wait for the next events, while there is one.
    step: Option<Step>,
    ended: bool,
    common: Common,
}

impl http_body::Body for JobEvents {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        this.ended = this.ended || this.common.revoked.as_mut().poll(cx).is_ready();
        if this.ended {
            return Poll::Ready(None);
        }
        let step = this.step.get_or_insert_with(|| {
            let (access, id, after) = (this.access.clone(), this.id, this.after);
            Box::pin(async move {
                tokio::select! {
                    events = access.next_job_events(id, after) => events,
                    () = access.board().draining() => Err(access.stopping()),
                }
            })
        });
        match step.as_mut().poll(cx) {
            Poll::Ready(result) => {
                this.step = None;
                let mut out = Vec::new();
                match result {
                    Ok((events, ended)) => {
                        for event in &events {
                            map::event_sse(event, this.access.board().services().schema(), &mut out);
                            this.after = event.seq;
                        }
                        if ended {
                            sse::event(&mut out, "", Some("end"), "{\"reason\":\"done\"}");
                            this.ended = true;
                        }
                    }
                    Err(error) if error.kind == Kind::Unavailable && this.access.board().is_draining() => {
                        out.extend_from_slice(&draining());
                        this.ended = true;
                    }
                    Err(error) => {
                        out.extend_from_slice(&reset(&error));
                        this.ended = true;
                    }
                }
                data(out.into())
            }
            Poll::Pending if this.common.poll_heartbeat(cx) => data(Bytes::from_static(sse::HEARTBEAT)),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_stays_shared_and_many_become_one() {
        let shared = Bytes::from_static(b"one");
        let mut pieces = Pieces::default();
        pieces.push(shared.clone());
        assert_eq!(pieces.finish().map(|b| b.as_ptr()), Some(shared.as_ptr()));
        let mut pieces = Pieces::default();
        for piece in [&b"one"[..], b"two", b"three"] {
            pieces.push(Bytes::copy_from_slice(piece));
        }
        assert_eq!(pieces.len(), 11);
        assert_eq!(pieces.finish().as_deref(), Some(&b"onetwothree"[..]));
        assert_eq!(Pieces::default().finish(), None);
    }

    #[test]
    fn ends_are_whole_events() {
        let reset = reset(&Error::new(Kind::Gone, "SB0305", "gone\nby now"));
        let text = std::str::from_utf8(&reset).unwrap();
        assert!(
            text.starts_with("id:\nevent: reset\ndata: {")
                && text.ends_with("}\n\n")
                && text.contains("SB0305")
        );
        let end = draining();
        assert!(end.starts_with(b"retry: ") && end.ends_with(b"\n\n"));
    }
}
