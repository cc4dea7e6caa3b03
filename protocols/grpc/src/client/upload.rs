//! What a caller streams, as the body of a request.

use crate::wire::pack::Packing;
use crate::wire::{COMPRESSED, HEAD, put_head};
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use sb_board::call::{Messages, Status};
use sb_board::mount::Body;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Messages up to this length are copied behind their head and leave as one piece, together with others that are ready.
const SMALL: usize = 16 * 1024;

/// Held by the reply: dropping it ends the upload, and with it the stream.
#[derive(Default)]
pub(super) struct Held {
    failed: Option<Arc<OnceLock<Status>>>,
    _going: Option<oneshot::Sender<()>>,
}

impl Held {
    /// Why the caller's stream broke off, if it did.
    pub(super) fn failure(&self) -> Option<Status> {
        self.failed.as_ref()?.get().cloned()
    }
}

struct Upload {
    /// `None` at their end.
    messages: Option<Messages>,
    /// Whether they broke off, which is still to be told.
    broken: bool,
    packing: Packing,
    /// The rest of a message whose head has left.
    rest: Option<Bytes>,
    failed: Arc<OnceLock<Status>>,
    /// Ready when nobody wants the reply any more.
    unwanted: oneshot::Receiver<()>,
}

/// A body of these messages, and what keeps it going.
pub(super) fn stream(messages: Messages, packing: Packing) -> (Body, Held) {
    let (going, unwanted) = oneshot::channel();
    let failed = Arc::new(OnceLock::new());
    let messages = Some(messages);
    let upload = Upload { messages, broken: false, packing, rest: None, failed: failed.clone(), unwanted };
    (Body::Stream(Box::pin(upload)), Held { failed: Some(failed), _going: Some(going) })
}

/// An error by which HTTP/2 resets the stream with `CANCEL`, as gRPC wants it.
#[derive(Debug)]
struct Cancelled(h2::Error);

impl std::fmt::Display for Cancelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the call was cancelled")
    }
}

impl std::error::Error for Cancelled {
    // The error of HTTP/2 has to be the source of a source to be found behind an `io::Error`.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn cancelled() -> io::Error {
    io::Error::other(Cancelled(h2::Reason::CANCEL.into()))
}

impl Upload {
    /// Puts a message behind what is ready; of a large one only its head is put.
    fn put(&mut self, out: &mut BytesMut, message: Bytes) {
        let (flags, message) = match self.packing.pack(&message) {
            Some(packed) => (COMPRESSED, packed),
            None => (0, message),
        };
        let small = message.len() <= SMALL;
        out.reserve(HEAD + if small { message.len() } else { 0 });
        put_head(out, flags, message.len());
        if small {
            out.extend_from_slice(&message);
        } else {
            self.rest = Some(message);
        }
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Some(rest) = this.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        if this.messages.is_some() && Pin::new(&mut this.unwanted).poll(cx).is_ready() {
            this.messages = None;
            return Poll::Ready(Some(Err(cancelled())));
        }
        let mut out = BytesMut::new();
        while let Some(messages) = this.messages.as_mut().filter(|_| out.len() < SMALL && this.rest.is_none())
        {
            match messages.as_mut().poll_next(cx) {
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(None) => this.messages = None,
                Poll::Ready(Some(Err(status))) => {
                    let _ = this.failed.set(status);
                    (this.messages, this.broken) = (None, true);
                }
                Poll::Ready(Some(Ok(message))) => this.put(&mut out, message),
            }
        }
        if !out.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(out.freeze()))));
        }
        Poll::Ready(std::mem::take(&mut this.broken).then(|| Err(cancelled())))
    }
}
