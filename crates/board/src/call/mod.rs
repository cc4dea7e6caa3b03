//! One call, in terms that every RPC protocol shares: unary and all streaming kinds, metadata, deadline, cancellation, one error model.
//!
//! A protocol's server makes a [`Call`] of what comes in and gives it to [`Access::call`](crate::Access::call), which checks rights, looks up
//! who serves the method ([`services`]), sets the deadline, converts the messages when caller and service speak different codecs, counts, and
//! hands it to a [`Provider`]: an upstream (the client half of a protocol crate), this server's own API, or workers on a topic ([`workers`]).
//! What comes back is a [`Reply`]. Messages are whole Protobuf messages or JSON texts without any framing; the bytes are handed on as they are
//! when both sides speak the same codec.
//!
//! Back-pressure: streams are pulled. Who does not read the reply does not get more of it; a provider reads the next request message when it can
//! send it. Cancellation: dropping the `Reply` (or the future that makes it) cancels the call; a request stream that ends with an error tells the
//! provider that the caller has gone.

pub(crate) mod convert;
pub(crate) mod jobs;
pub mod metadata;
pub(crate) mod meter;
mod retry;
pub mod services;
mod status;
mod workers;

pub(crate) use jobs::ensure_runner;
pub use meter::{BOUNDS, Meter, MethodCounts};
pub use retry::{Hedge, Retries, Retrying};
pub use services::{Service, Services};
pub use status::{Code, Detail, Status};
pub use workers::Workers;

use crate::Access;
use crate::mount::BoxFuture;
use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::Instant;

/// How each message of a call is encoded.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Protobuf's binary form.
    Proto,
    /// ProtoJSON; for methods without a description, any JSON.
    Json,
}

impl Codec {
    /// The content type under which a job keeps a message of this codec.
    pub fn content_type(self) -> &'static str {
        match self {
            Codec::Proto => "application/proto",
            Codec::Json => "application/json",
        }
    }

    /// The codec that a content type names, if it names one.
    pub fn of_content_type(text: &str) -> Option<Codec> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is("application/json") || essence.to_ascii_lowercase().ends_with("+json") {
            Some(Codec::Json)
        } else if is("application/proto") || is("application/protobuf") || is("application/x-protobuf") {
            Some(Codec::Proto)
        } else {
            None
        }
    }
}

/// Which sides of a call send more than one message.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Streaming {
    /// The caller.
    pub client: bool,
    /// The service.
    pub server: bool,
}

/// The caller's messages. An error says that the caller broke off or sent something malformed; nothing follows it.
pub type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// A call on its way to a service.
pub struct Call {
    /// `package.Service/Method`, without a leading slash.
    pub method: Arc<str>,
    /// Which sides stream. A protocol that cannot tell from its wire takes it from the schema.
    pub streaming: Streaming,
    /// How messages are encoded, both ways.
    pub codec: Codec,
    /// The caller's metadata: lower-case names; values of names that end in `-bin` are base64, as on every wire. Headers that belong to the
    /// transport or to the caller's login are not in it ([`metadata::metadata`] takes them out).
    pub metadata: HeaderMap,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// What the caller sends: exactly one message unless `streaming.client`.
    pub messages: Messages,
}

/// What comes back. Dropping it cancels the call.
pub struct Reply {
    /// Leading metadata.
    pub metadata: HeaderMap,
    /// Messages, then exactly one [`Part::End`], then nothing.
    pub parts: Parts,
}

/// The stream of a [`Reply`].
pub type Parts = Pin<Box<dyn Stream<Item = Part> + Send>>;

/// A piece of a reply.
#[derive(Debug)]
pub enum Part {
    /// A message.
    Message(Bytes),
    /// The end.
    End(End),
}

/// How a call ended.
#[derive(Debug, Default)]
pub struct End {
    /// Why it failed; `None` when it did not.
    pub status: Option<Status>,
    /// Trailing metadata.
    pub trailers: HeaderMap,
}

impl From<Status> for End {
    fn from(status: Status) -> End {
        End { status: Some(status), trailers: HeaderMap::new() }
    }
}

/// What becomes of a call that is submitted as a job.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ByJob {
    /// The server takes the job itself and calls the provider.
    Called,
    /// Workers take it.
    Worked,
    /// It is not taken: every call is answered at once.
    Refused,
}

/// Who answers calls.
pub trait Provider: Send + Sync {
    /// Answers one. `access` is the board as the caller sees it; the right to call the method has been checked, unless
    /// [`Provider::checks_rights`]. An error before any metadata may be
    /// given as `Err` or as a reply with an end only: both mean the same.
    fn call(self: Arc<Self>, access: Access, call: Call) -> BoxFuture<Result<Reply, Status>>;

    /// The codecs it takes; calls in others are converted.
    fn codecs(&self) -> &'static [Codec];

    /// Where calls go, for people: `grpc://127.0.0.1:50051`, `workers on render.requested`, `this server`.
    fn target(&self) -> String;

    /// What becomes of a call that is submitted as a job.
    fn by_job(&self) -> ByJob {
        ByJob::Called
    }

    /// Whether the provider does nothing but by the `access` it is given, whose rights then are all that counts: nobody needs the right to call its
    /// methods as well.
    fn checks_rights(&self) -> bool {
        false
    }

    /// Whether calls can be answered now, and if not why. For the console and `service list`.
    fn healthy(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Call {
    /// The service's name: what is before the last slash.
    pub fn service(&self) -> &str {
        self.method.rsplit_once('/').map_or("", |(service, _)| service)
    }

    /// A unary call with one message.
    pub fn unary(method: impl Into<Arc<str>>, codec: Codec, message: Bytes) -> Call {
        Call {
            method: method.into(),
            streaming: Streaming::default(),
            codec,
            metadata: HeaderMap::new(),
            deadline: None,
            messages: Box::pin(futures_util::stream::iter([Ok(message)])),
        }
    }

    /// The one message of a caller that does not stream. None or several are an error, as gRPC has it.
    pub async fn message(&mut self) -> Result<Bytes, Status> {
        use futures_util::StreamExt as _;
        let first = match self.messages.next().await {
            Some(first) => first?,
            None => return Err(Status::new(Code::Unimplemented, "the call has no request message")),
        };
        match self.messages.next().await {
            None => Ok(first),
            Some(Err(status)) => Err(status),
            Some(Ok(_)) => {
                Err(Status::new(Code::Unimplemented, "the call has more than one request message"))
            }
        }
    }
}

impl Reply {
    /// A reply of one message.
    pub fn unary(message: Bytes) -> Reply {
        Reply {
            metadata: HeaderMap::new(),
            parts: Box::pin(futures_util::stream::iter([Part::Message(message), Part::End(End::default())])),
        }
    }

    /// A reply that is only an end.
    pub fn ended(end: End) -> Reply {
        Reply { metadata: HeaderMap::new(), parts: Box::pin(futures_util::stream::iter([Part::End(end)])) }
    }

    /// Reads a reply to its end, for callers that want one message: the message (`None` when it failed), the end, leading metadata.
    /// A success with no or several messages is an error, as gRPC has it.
    pub async fn one(mut self) -> (HeaderMap, Result<Bytes, Status>, HeaderMap) {
        use futures_util::StreamExt as _;
        let mut message = None;
        while let Some(part) = self.parts.next().await {
            match part {
                Part::Message(_) if message.is_some() => {
                    let status =
                        Status::new(Code::Unimplemented, "the service answered with more than one message");
                    return (self.metadata, Err(status), HeaderMap::new());
                }
                Part::Message(bytes) => message = Some(bytes),
                Part::End(End { status: Some(status), trailers }) => {
                    return (self.metadata, Err(status), trailers);
                }
                Part::End(End { status: None, trailers }) => {
                    let none = || Status::new(Code::Unimplemented, "the service answered with no message");
                    return (self.metadata, message.ok_or_else(none), trailers);
                }
            }
        }
        let broken = Status::new(Code::Internal, "the service's answer has no end");
        (self.metadata, Err(broken), HeaderMap::new())
    }
}
