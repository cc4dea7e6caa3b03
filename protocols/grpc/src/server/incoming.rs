//! What a client sends, as messages: pulled from the body when somebody wants the next one, never ahead.

use crate::wire::pack::{Packing, Unpacked};
use crate::wire::text::TextDecoder;
use crate::wire::{COMPRESSED, Envelope, Envelopes};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::{Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use sb_board::call::{Code, Messages, Status};
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// How long the next piece of a message that has a known end may take.
const PAUSE: Duration = Duration::from_secs(30);
/// A body of known length up to this is read before anything is judged on HTTP/1.1, so that the connection is there for the next request.
const EARLY: u64 = 64 * 1024;
/// Of a body that nobody wants any more so many bytes are read, for so long, and as long as they keep coming.
const UNWANTED: usize = 8 << 20;
const UNWANTED_TIME: Duration = Duration::from_secs(5);

/// The body of a request.
///
/// On HTTP/1.1 one that is dropped before its end is read on for a while: many clients read no answer before they have sent everything, and a
/// connection that is closed under them takes the answer with it.
pub(crate) struct Inbound {
    early: Option<Bytes>,
    /// `None` at its end.
    body: Option<Incoming>,
    read_on: bool,
}

impl Inbound {
    /// A request's body. A small one on HTTP/1.1 is read at once.
    pub(crate) async fn new(request: &http::request::Parts, body: Incoming) -> Result<Inbound, Status> {
        let read_on = request.version < Version::HTTP_2 && !request.headers.contains_key(header::EXPECT);
        let known = body.size_hint().exact();
        let mut inbound = Inbound { early: None, body: Some(body), read_on };
        if read_on && matches!(known, Some(1..=EARLY)) {
            inbound.early = Some(inbound.collect(EARLY as usize).await?);
        }
        Ok(inbound)
    }

    /// The next bytes. Trailers of a request mean nothing to these protocols.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        if let Some(early) = self.early.take() {
            return Poll::Ready(Some(Ok(early)));
        }
        while let Some(body) = &mut self.body {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.body = None,
            }
        }
        Poll::Ready(None)
    }

    /// All of it. A length beyond the limit is refused before anything is read.
    async fn collect(&mut self, limit: usize) -> Result<Bytes, Status> {
        let known = self.body.as_ref().map_or(0, |body| body.size_hint().lower());
        if known > limit as u64 {
            return Err(too_large(limit));
        }
        let (mut first, mut more) = (Bytes::new(), BytesMut::new());
        loop {
            let data = std::future::poll_fn(|cx| self.poll_data(cx));
            let Ok(data) = tokio::time::timeout(PAUSE, data).await else { return Err(stopped()) };
            let Some(data) = data else { break };
            let data = data.map_err(broken)?;
            if first.len().max(more.len()).saturating_add(data.len()) > limit {
                return Err(too_large(limit));
            }
            // The usual body arrives in one piece, which stays the slice of the read buffer that it is.
            if first.is_empty() && more.is_empty() {
                first = data;
                continue;
            }
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
        Ok(if more.is_empty() { first } else { more.freeze() })
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| self.read_on && !body.is_end_stream()) else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tokio::time::timeout(UNWANTED_TIME, async move {
            let mut left = UNWANTED;
            while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                if left == 0 {
                    return;
                }
            }
        }));
    }
}

/// The messages of a body made of envelopes.
pub(crate) struct Enveloped {
    body: Inbound,
    envelopes: Envelopes,
    packing: Packing,
    limit: usize,
    /// For gRPC-Web's text form.
    text: Option<TextDecoder>,
    /// Streams may be silent as long as they like; a single message may not stop coming.
    pause: Option<Pause>,
    over: bool,
}

/// A limit for silence; the timer is made when there is some.
#[derive(Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
        sleep.as_mut().poll(cx).map(|()| {
            self.0 = None;
            stopped()
        })
    }
}

fn stopped() -> Status {
    Status::new(Code::DeadlineExceeded, "the message stopped coming")
}

pub(crate) fn too_large(limit: usize) -> Status {
    Status::new(Code::ResourceExhausted, format!("the message is larger than {limit} bytes"))
}

pub(crate) fn unpack(packing: Packing, bytes: Bytes, limit: usize) -> Result<Bytes, Status> {
    packing.unpack(bytes, limit).map_err(|why| match why {
        Unpacked::TooLarge => too_large(limit),
        Unpacked::Malformed => {
            Status::new(Code::InvalidArgument, format!("the message is not {}", packing.name()))
        }
    })
}

/// The client has gone, or broke the rules of HTTP: nobody may be left to read the answer.
fn broken(error: hyper::Error) -> Status {
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(reset) = cause.downcast_ref::<h2::Error>()
            && reset.reason() == Some(h2::Reason::CANCEL)
        {
            return Status::new(Code::Cancelled, "the client cancelled the call");
        }
        source = cause.source();
    }
    Status::new(Code::Cancelled, format!("the request broke off: {error}"))
}

impl Enveloped {
    /// The messages of a body. With `stream` the client may take its time between them.
    pub(crate) fn messages(
        body: Inbound,
        packing: Packing,
        limit: usize,
        text: bool,
        stream: bool,
    ) -> Messages {
        Box::pin(Enveloped {
            body,
            envelopes: Envelopes::new(limit),
            packing,
            limit,
            text: text.then(TextDecoder::default),
            pause: (!stream).then(Pause::default),
            over: false,
        })
    }

    fn message(&self, envelope: Envelope) -> Result<Bytes, Status> {
        match envelope.flags {
            0 => Ok(envelope.data),
            COMPRESSED if self.packing == Packing::Identity => Err(Status::new(
                Code::Internal,
                "a message says that it is compressed, and the request does not say how",
            )),
            COMPRESSED => unpack(self.packing, envelope.data, self.limit),
            flags => Err(Status::new(
                Code::InvalidArgument,
                format!("a message has the flags {flags:#04x}, which mean nothing here"),
            )),
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            match self.envelopes.take() {
                Ok(Some(envelope)) => return Poll::Ready(Some(self.message(envelope))),
                Ok(None) => {}
                Err(_) => return Poll::Ready(Some(Err(too_large(self.limit)))),
            }
            let data = match self.body.poll_data(cx) {
                Poll::Ready(data) => data,
                Poll::Pending => match &mut self.pause {
                    Some(pause) => return pause.poll(cx).map(|status| Some(Err(status))),
                    None => return Poll::Pending,
                },
            };
            if let Some(pause) = &mut self.pause {
                pause.0 = None;
            }
            match data {
                None => {
                    let text = self.text.as_ref().is_none_or(TextDecoder::is_complete);
                    let cut = !self.envelopes.is_complete() || !text;
                    let error =
                        || Err(Status::new(Code::InvalidArgument, "the request ends within a message"));
                    return Poll::Ready(cut.then(error));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(broken(error)))),
                Some(Ok(data)) => {
                    if let Err(status) = self.push(data) {
                        return Poll::Ready(Some(Err(status)));
                    }
                }
            }
        }
    }

    fn push(&mut self, data: Bytes) -> Result<(), Status> {
        let data = match &mut self.text {
            None => data,
            Some(text) => text
                .push(&data)
                .map_err(|_| Status::new(Code::InvalidArgument, "the request is not base64"))?,
        };
        if !data.is_empty() {
            self.envelopes.push(data);
        }
        Ok(())
    }
}

impl Stream for Enveloped {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_message(cx));
        self.over = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}

/// The message that is a whole body: a Connect unary request.
pub(crate) fn whole(mut body: Inbound, packing: Packing, limit: usize) -> Messages {
    Box::pin(futures_util::stream::once(async move { unpack(packing, body.collect(limit).await?, limit) }))
}
