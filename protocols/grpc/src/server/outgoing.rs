//! What a service answers, as a body: messages in envelopes, then the end in the protocol's form. Pulled: who does not read gets no more.

use crate::map;
use crate::wire::pack::Packing;
use crate::wire::{COMPRESSED, END_STREAM, HEAD, TRAILERS, put_head, text, words};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use sb_board::Access;
use sb_board::call::{Code, End, Part, Parts, Status};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Messages up to this length are copied behind their head and leave as one piece, together with others that are ready.
const SMALL: usize = 16 * 1024;

/// How the end of a stream is told.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// HTTP trailers: gRPC.
    Trailers,
    /// A message with lines of text: gRPC-Web; as base64 or not.
    Web {
        /// Whether everything is base64.
        text: bool,
    },
    /// A message with JSON: Connect.
    Json,
}

/// The body of an answer.
pub(crate) struct Outgoing {
    access: Access,
    ending: Ending,
    packing: Packing,
    /// A part that was looked at already.
    first: Option<Part>,
    /// `None` when it has ended; what made it is dropped then.
    parts: Option<Parts>,
    /// The rest of a message whose head has left.
    rest: Option<Bytes>,
    end: Option<End>,
    /// Ready when the caller's credentials have expired.
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Outgoing {
    /// A body of what `parts` gives, behind what was taken from it already.
    pub(crate) fn stream(
        access: Access,
        ending: Ending,
        packing: Packing,
        first: Option<Part>,
        parts: Parts,
    ) -> Self {
        let revoked = {
            let access = access.clone();
            Box::pin(async move { access.revoked().await })
        };
        Outgoing {
            access,
            ending,
            packing,
            first,
            parts: Some(parts),
            rest: None,
            end: None,
            revoked: Some(revoked),
        }
    }

    /// A body of one message, or none, and its end.
    pub(crate) fn unary(
        access: Access,
        ending: Ending,
        packing: Packing,
        message: Option<Bytes>,
        end: End,
    ) -> Self {
        let first = message.map(Part::Message);
        Outgoing { access, ending, packing, first, parts: None, rest: None, end: Some(end), revoked: None }
    }

    /// The next part; `None` when the end has been seen.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let Some(parts) = &mut self.parts else { return Poll::Ready(None) };
        match parts.as_mut().poll_next(cx) {
            Poll::Ready(Some(part)) => Poll::Ready(Some(part)),
            Poll::Ready(None) => {
                let status = Status::new(Code::Internal, "the service's answer has no end");
                Poll::Ready(Some(Part::End(status.into())))
            }
            Poll::Pending => {
                let Some(revoked) = &mut self.revoked else { return Poll::Pending };
                ready!(revoked.as_mut().poll(cx));
                let status = Status::new(Code::Unauthenticated, "the credentials have expired");
                Poll::Ready(Some(Part::End(status.into())))
            }
        }
    }

    /// Puts a message behind what is ready; a large one stays apart and only its head is put.
    fn put(&mut self, out: &mut BytesMut, message: Bytes) {
        let (flags, message) = match self.packing.pack(&message) {
            Some(packed) => (COMPRESSED, packed),
            None => (0, message),
        };
        if message.len() <= SMALL || self.ending == (Ending::Web { text: true }) {
            out.reserve(HEAD + message.len());
            put_head(out, flags, message.len());
            out.extend_from_slice(&message);
        } else {
            put_head(out, flags, message.len());
            self.rest = Some(message);
        }
    }

    /// The end as bytes of the body, for the protocols that have it there.
    fn put_end(&self, out: &mut BytesMut, end: &End) {
        let (flags, bytes) = match self.ending {
            Ending::Trailers => return,
            Ending::Web { .. } => {
                let mut trailers = HeaderMap::new();
                map::put_end(end, &mut trailers);
                (TRAILERS, words::put_trailers(&trailers))
            }
            Ending::Json => {
                (END_STREAM, map::connect_end(end, Some(self.access.board().services().schema())))
            }
        };
        put_head(out, flags, bytes.len());
        out.extend_from_slice(&bytes);
    }

    fn data(&self, out: BytesMut) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = match self.ending {
            Ending::Web { text: true } => text::encode(&out),
            _ => out.freeze(),
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Some(rest) = this.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        let mut out = BytesMut::new();
        while out.len() < SMALL && this.rest.is_none() {
            match this.poll_part(cx) {
                Poll::Ready(Some(Part::Message(message))) => this.put(&mut out, message),
                Poll::Ready(Some(Part::End(end))) => {
                    this.parts = None;
                    this.end = Some(end);
                }
                Poll::Ready(None) => {
                    if this.ending != Ending::Trailers
                        && let Some(end) = this.end.take()
                    {
                        this.put_end(&mut out, &end);
                    }
                    break;
                }
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if !out.is_empty() {
            return this.data(out);
        }
        match this.end.take() {
            Some(end) => {
                let mut trailers = HeaderMap::new();
                map::put_end(&end, &mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.parts.is_none() && self.rest.is_none() && self.end.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
