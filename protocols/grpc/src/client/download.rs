//! What a service answers in envelopes, as a reply.

use super::upload::Held;
use super::{Speech, content_type};
use crate::map;
use crate::server::{Family, essence, wire_of};
use crate::wire::pack::{Packing, Unpacked};
use crate::wire::{COMPRESSED, END_STREAM, Envelope, Envelopes, TRAILERS, words};
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use sb_board::call::metadata::metadata;
use sb_board::call::{Code, Codec, End, Part, Reply, Status};
use sb_board::mount::{BodyError, HttpReply, ReplyBody, Verdict};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// What is expected of a response.
#[derive(Copy, Clone)]
pub(super) struct Terms {
    pub(super) speech: Speech,
    pub(super) codec: Codec,
    /// The most bytes of a message.
    pub(super) limit: usize,
    pub(super) deadline: Option<Instant>,
}

/// A service that gave up a call when its time was over resets the stream, or breaks it off; what it means is that the time is over. It may look at
/// its clock a moment before we look at ours.
pub(super) fn in_time(status: Status, deadline: Option<Instant>) -> Status {
    let broken = matches!(status.code, Code::Cancelled | Code::Unavailable);
    let over = deadline.is_some_and(|at| at <= Instant::now() + Duration::from_millis(10));
    if broken && over {
        return Status::new(Code::DeadlineExceeded, "the service gave up when the deadline had passed");
    }
    status
}

/// Reads the head of a response; its body is read as the reply is.
pub(super) async fn reply(terms: Terms, sent: HttpReply, held: Held) -> Result<Reply, Status> {
    let Terms { speech, codec, limit, deadline } = terms;
    let (head, body) = sent.response.into_parts();
    if let Err(status) = judge(speech, codec, head.status, &head.headers) {
        tell(sent.verdict, Some(&status));
        return Err(held.failure().unwrap_or(status));
    }
    let encoding = if speech == Speech::Connect { "connect-content-encoding" } else { "grpc-encoding" };
    let packing = match packing(&head.headers, encoding) {
        Ok(packing) => packing,
        Err(status) => {
            tell(sent.verdict, Some(&status));
            return Err(status);
        }
    };
    let mut download = Download {
        speech,
        body,
        envelopes: Envelopes::new(limit),
        packing,
        limit,
        deadline,
        head_end: None,
        by_head: false,
        verdict: Some(sent.verdict),
        held,
        over: false,
    };
    // A status in the head counts only when nothing follows: then the head is the trailers.
    let head_end = if speech == Speech::Connect { None } else { map::read_end(&head.headers) };
    let Some(end) = head_end else {
        return Ok(Reply { metadata: metadata(&head.headers), parts: Box::pin(download) });
    };
    download.head_end = Some(end);
    let first = std::future::poll_fn(|cx| Pin::new(&mut download).poll_next(cx)).await;
    match first {
        Some(Part::End(end)) if download.by_head => {
            // gRPC calls such a head trailers. In gRPC-Web it is either, and nobody can tell which.
            let mut reply = Reply::ended(end);
            if speech == Speech::Web {
                reply.metadata = metadata(&head.headers);
            }
            Ok(reply)
        }
        first => {
            let parts = futures_util::stream::iter(first);
            let parts = futures_util::StreamExt::chain(parts, download);
            Ok(Reply { metadata: metadata(&head.headers), parts: Box::pin(parts) })
        }
    }
}

/// Tells the pool how it went: `UNAVAILABLE` says that the endpoint is in trouble.
pub(super) fn tell(verdict: Verdict, status: Option<&Status>) {
    match status {
        Some(status) if status.code == Code::Unavailable => verdict.bad(),
        _ => verdict.good(),
    }
}

/// The packing that a header names.
pub(super) fn packing(headers: &HeaderMap, name: &str) -> Result<Packing, Status> {
    let named = headers.get(name).map(|value| value.to_str().unwrap_or("?")).unwrap_or_default();
    Packing::from_name(named).ok_or_else(|| {
        Status::new(
            Code::Internal,
            format!("the service compressed its answer as {named:.40?}, which it was not asked for"),
        )
    })
}

/// Whether a head is one of the protocol's.
fn judge(speech: Speech, codec: Codec, status: StatusCode, headers: &HeaderMap) -> Result<(), Status> {
    let family = match speech {
        Speech::Grpc => Family::Grpc,
        Speech::Web => Family::Web,
        Speech::Connect => Family::Connect,
    };
    let kind = essence(headers);
    let wire = wire_of(kind).filter(|wire| wire.family == family && !wire.text);
    if status != StatusCode::OK {
        // A proxy may have set the HTTP status, and the service said more.
        if wire.is_some() && speech != Speech::Connect && headers.contains_key(map::STATUS) {
            return Ok(());
        }
        let text = format!("the service answered with HTTP status {}", status.as_u16());
        return Err(Status::new(map::code_of_http(status), text));
    }
    match wire {
        None => Err(Status::new(
            Code::Unknown,
            format!("the service answered with {kind:.60?} instead of {}", content_type(speech, codec)),
        )),
        Some(wire) if wire.codec == Some(codec) => Ok(()),
        // A head that is trailers has no messages: the codec does not matter.
        Some(_) if speech != Speech::Connect && headers.contains_key(map::STATUS) => Ok(()),
        Some(_) => Err(Status::new(
            Code::Internal,
            format!("the service answered with {kind:.60} instead of {}", content_type(speech, codec)),
        )),
    }
}

pub(super) fn unpack(packing: Packing, bytes: Bytes, limit: usize) -> Result<Bytes, Status> {
    packing.unpack(bytes, limit).map_err(|why| match why {
        Unpacked::TooLarge => too_large(limit),
        Unpacked::Malformed => {
            Status::new(Code::Internal, format!("the service's message is not {}", packing.name()))
        }
    })
}

pub(super) fn too_large(limit: usize) -> Status {
    Status::new(Code::ResourceExhausted, format!("the service's message is larger than {limit} bytes"))
}

/// What a broken body says.
pub(super) fn broken(error: &BodyError) -> Status {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(reset) = error.downcast_ref::<h2::Error>()
            && let Some(reason) = reset.reason()
            && !reset.is_go_away()
        {
            let text = format!("the service reset the stream: {reason}");
            return Status::new(map::code_of_reset(reason), text);
        }
        cause = error.source();
    }
    Status::new(Code::Unavailable, format!("the service's answer broke off: {error}"))
}

struct Download {
    speech: Speech,
    body: ReplyBody,
    envelopes: Envelopes,
    packing: Packing,
    limit: usize,
    deadline: Option<Instant>,
    /// How the call ended, if nothing follows the head.
    head_end: Option<End>,
    /// Whether it did end by its head.
    by_head: bool,
    verdict: Option<Verdict>,
    held: Held,
    over: bool,
}

impl Download {
    /// Ends the reply. Who broke off the request knows better why than the service.
    fn end(&mut self, mut end: End) -> Part {
        self.over = true;
        if let Some(verdict) = self.verdict.take() {
            tell(verdict, end.status.as_ref());
        }
        if let Some(status) = self.held.failure() {
            end.status = Some(status);
        }
        self.held = Held::default();
        Part::End(end)
    }

    /// The end of a body in which none was told.
    fn unended(&mut self) -> Part {
        let end = match self.head_end.take() {
            Some(end) if self.envelopes.is_complete() => {
                self.by_head = true;
                end
            }
            _ => Status::new(Code::Internal, "the service's answer ended without a status").into(),
        };
        self.end(end)
    }

    fn part(&mut self, envelope: Envelope) -> Part {
        let Envelope { flags, data } = envelope;
        let ends = match self.speech {
            Speech::Grpc => 0,
            Speech::Web => TRAILERS,
            Speech::Connect => END_STREAM,
        };
        let unpacked = match flags & !ends {
            0 => Ok(data),
            COMPRESSED if self.packing == Packing::Identity => Err(Status::new(
                Code::Internal,
                "a message of the service says that it is compressed, and the head does not say how",
            )),
            COMPRESSED => unpack(self.packing, data, self.limit),
            _ => Err(Status::new(
                Code::Internal,
                format!("a message of the service has the flags {flags:#04x}, which mean nothing here"),
            )),
        };
        match unpacked {
            Err(status) => self.end(status.into()),
            Ok(data) if flags & ends == 0 => Part::Message(data),
            Ok(data) if self.speech == Speech::Connect => self.end(map::read_connect_end(&data)),
            Ok(data) => match map::read_end(&words::read_trailers(&data)) {
                Some(end) => self.end(end),
                None => self.end(no_status().into()),
            },
        }
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Part> {
        loop {
            match self.envelopes.take() {
                Ok(Some(envelope)) => return Poll::Ready(self.part(envelope)),
                Ok(None) => {}
                Err(_) => return Poll::Ready(self.end(too_large(self.limit).into())),
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(self.unended()),
                Some(Err(error)) => {
                    let status = in_time(broken(&error), self.deadline);
                    return Poll::Ready(self.end(status.into()));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        self.head_end = None;
                        self.envelopes.push(data);
                    }
                    Err(frame) => {
                        let Ok(trailers) = frame.into_trailers() else { continue };
                        if self.speech != Speech::Grpc {
                            continue;
                        }
                        let whole = self.envelopes.is_complete();
                        let end = match map::read_end(&trailers) {
                            // A message that was cut off is a fault, unless the service says of another.
                            Some(End { status: None, .. }) if !whole => cut_off().into(),
                            Some(end) => end,
                            None => no_status().into(),
                        };
                        return Poll::Ready(self.end(end));
                    }
                },
            }
        }
    }
}

fn no_status() -> Status {
    Status::new(Code::Unknown, "the service's trailers have no status")
}

fn cut_off() -> Status {
    Status::new(Code::Internal, "the service's answer ends within a message")
}

impl Stream for Download {
    type Item = Part;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        if self.over {
            return Poll::Ready(None);
        }
        self.poll_part(cx).map(Some)
    }
}
