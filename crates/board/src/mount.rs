//! What a protocol is mounted on: a connected pipe, an HTTP request with its upgrades, or a task. The board says what these are;
//! `net` provides them, so that no protocol binds a port or knows whether it runs on TCP, TLS or inside something else.

use crate::call::{Provider, Status};
use crate::{Access, Board};
use bytes::Bytes;
use sb_core::model::{Error, Result};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// A future of a mount.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a protocol says of itself. One line in the binary's table of protocols names it; listener, login, metrics, drain and docs follow.
pub struct Descriptor {
    /// The name in config, metrics and docs.
    pub name: &'static str,
    /// The well-known port, if it has one of its own.
    pub port: Option<u16>,
    /// Recognises the protocol on the shared port, when the client speaks first.
    pub first_bytes: Option<fn(&[u8]) -> Recognised>,
    /// For each noun and verb how faithfully it is carried.
    pub fidelity: &'static [(&'static str, Fidelity)],
    /// What it runs on.
    pub mount: Mount,
    /// How a refusal before any protocol was asked (wrong credentials) is said in this protocol's words, if the request is one of its own; for
    /// protocols on HTTP. Without it the answer is problem+json.
    pub refuse: Option<fn(&http::Request<RequestBody>, &Error) -> Option<http::Response<Body>>>,
    /// How services that speak it are called.
    pub client: Option<Client>,
}

/// The other direction of a protocol: calling a service that speaks it.
pub struct Client {
    /// The schemes of targets: `grpc`, `grpcs`.
    pub schemes: &'static [&'static str],
    /// Makes the provider. It connects when it is called first, so an upstream that is down now is no error here.
    pub connect: fn(&Target, &Arc<dyn Dialer>) -> Result<Arc<dyn Provider>>,
    /// Asks a service what it offers: the bytes of a `google.protobuf.FileDescriptorSet`, if the protocol can tell. The second argument
    /// names the services wanted; empty for all.
    pub describe: Option<fn(Target, Arc<dyn Dialer>, Vec<String>) -> BoxFuture<Result<Bytes>>>,
}

/// Where a service is, and how to reach it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// `scheme://host:port[,host:port…][/path]`. A host name that resolves to several addresses is several endpoints.
    pub url: String,
    /// PEM file of the authorities that are trusted; the public ones when not given.
    pub ca: Option<PathBuf>,
    /// PEM files of a certificate and its key, with which we say who we are.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name the upstream's certificate is for, when it is not the host.
    pub server_name: Option<String>,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// How endpoints are asked whether they are well.
    pub health: Health,
    /// The most calls that run at once on the whole target; further ones are refused as `UNAVAILABLE`. 0: 1,024.
    pub max_running: usize,
    /// How long connecting may take, in milliseconds. 0: 5,000.
    pub connect_ms: u64,
}

/// How an endpoint is chosen among those that are well.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Of two picked at random, the one with fewer running calls.
    LeastRequest,
}

/// How endpoints are asked whether they are well. Independent of it, one that fails five times in a row is left out for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not.
    #[default]
    None,
    /// `grpc.health.v1.Health/Check` with this service name.
    Grpc(String),
    /// `GET` of this path answers 2xx.
    Http(String),
}

impl Target {
    /// The scheme of the URL, in lower case.
    pub fn scheme(&self) -> String {
        self.url.split_once("://").map_or(String::new(), |(scheme, _)| scheme.to_ascii_lowercase())
    }

    /// The target without its path, and the path (`/` where there is none): for protocols that have one path for all requests, and say it
    /// themselves. A pool puts the path of its target in front of every request's.
    pub fn split_path(&self) -> (Target, String) {
        let host = self.url.find("://").map_or(0, |at| at + 3);
        let (head, rest) = self.url.split_at_checked(host).unwrap_or((&self.url, ""));
        let (host, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len())).unwrap_or((rest, ""));
        let path = if path.is_empty() { "/" } else { path };
        (Target { url: format!("{head}{host}"), ..self.clone() }, path.to_owned())
    }
}

/// Opens connections to other servers: pools, balancing, health, ejection, TLS. `net` provides it.
pub trait Dialer: Send + Sync {
    /// A pool of HTTP connections. `h2` asks for HTTP/2: with prior knowledge in clear text, by ALPN over TLS; otherwise ALPN decides over
    /// TLS, and HTTP/1.1 is spoken in clear text. `tls` says whether the scheme means encryption.
    fn http(&self, target: &Target, tls: bool, h2: bool) -> Result<Arc<dyn HttpUpstream>>;

    /// A pool of byte streams, each used by one call at a time.
    fn pipes(&self, target: &Target, tls: bool) -> Result<Arc<dyn PipeUpstream>>;
}

/// HTTP to the endpoints of a target.
pub trait HttpUpstream: Send + Sync {
    /// Sends a request to one endpoint and gives the head of its response. The URI may be a path alone: scheme and authority are set.
    /// Connections are made when needed; a request that surely did not reach an endpoint (no connection, `REFUSED_STREAM`, `GOAWAY` before its
    /// stream) and whose body can be sent again goes to another. Errors: `UNAVAILABLE` when no endpoint can be reached, with the reason.
    fn send(&self, request: http::Request<Body>) -> BoxFuture<std::result::Result<HttpReply, Status>>;

    /// Whether any endpoint can be used now, and if not why.
    fn healthy(&self) -> std::result::Result<(), String>;
}

/// The body of an upstream's response. The error of a stream that was reset has an `h2::Error` in its chain.
pub type ReplyBody = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>;

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A response of an upstream.
pub struct HttpReply {
    /// Head and body.
    pub response: http::Response<ReplyBody>,
    /// To be told how it went; dropping it untold says that nothing can be concluded (the caller left).
    pub verdict: Verdict,
}

/// What a protocol thinks of how an endpoint answered; moves ejection. The endpoint's count of running calls goes down when it is dropped.
pub struct Verdict(pub Box<dyn FnMut(bool) + Send>);

impl Verdict {
    /// The endpoint answered as it should; an application's error is no fault of the endpoint.
    pub fn good(mut self) {
        (self.0)(true);
    }

    /// The endpoint is in trouble: it broke off, answered 502 or 503, or said `UNAVAILABLE`.
    pub fn bad(mut self) {
        (self.0)(false);
    }
}

/// Byte streams to the endpoints of a target.
pub trait PipeUpstream: Send + Sync {
    /// A connection that nobody else uses: one that was given back, or a new one.
    fn take(&self) -> BoxFuture<std::result::Result<PooledPipe, Status>>;

    /// Whether any endpoint can be used now, and if not why.
    fn healthy(&self) -> std::result::Result<(), String>;
}

/// A connection of a pool. Dropping it closes it.
pub struct PooledPipe {
    /// The connection.
    pub stream: Box<dyn Stream>,
    /// Whether it was used before: then the other side may have closed it unseen, and a call that got nothing back may be sent again on a new one.
    pub used: bool,
    /// Takes it back, for the next call; with `false` tells that the endpoint is in trouble.
    pub give_back: Box<dyn FnOnce(Option<Box<dyn Stream>>, bool) + Send>,
}

/// What the first bytes of a connection say.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// It is this protocol.
    Yes,
    /// It is not.
    No,
    /// More bytes are needed.
    More,
}

/// How faithfully a noun or verb is carried by a protocol.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// The protocol has it.
    Native,
    /// It is expressed by other means of the protocol.
    Emulated,
    /// It is not there, and refused in the protocol's own words.
    Absent,
}

/// The three things a protocol can run on.
pub enum Mount {
    /// A connected byte pipe.
    Bytes(fn(Pipe) -> BoxFuture<()>),
    /// HTTP requests and upgrades. Protocols are asked in the order of the table; the first that does not pass answers.
    Http(fn(Request) -> BoxFuture<Answer>),
    /// A task of its own, for what only dials out.
    Task(fn(Arc<Board>) -> BoxFuture<()>),
}

/// A byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connected pipe.
pub struct Pipe {
    /// The board; `Board::login` turns credentials into an [`Access`].
    pub board: Arc<Board>,
    /// The connection.
    pub stream: Box<dyn Stream>,
    /// What is known of the other end.
    pub peer: Peer,
}

/// What is known of the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// The address it reached us at.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// The body of a request: read by the protocol, bounded by the limit it names.
pub type RequestBody = hyper::body::Incoming;

/// One HTTP request, logged in.
pub struct Request {
    /// Method, URI, headers, body. The URI's path is as the client sent it: decoding is the protocol's.
    pub http: http::Request<RequestBody>,
    /// The other end.
    pub peer: Peer,
    /// The board as seen by the caller. Credentials have been judged; wrong ones never get here.
    pub access: Access,
}

/// What a protocol does with a request.
pub enum Answer {
    /// The response.
    Response(http::Response<Body>),
    /// Becomes a WebSocket: `net` checks and answers the handshake (RFC 6455 §4.2; RFC 8441 over HTTP/2), negotiates
    /// permessage-deflate and then runs the future.
    WebSocket(Upgrade),
    /// Not ours: the next protocol of the table is asked.
    Pass(http::Request<RequestBody>),
}

/// A request that becomes a WebSocket.
pub struct Upgrade {
    /// The request as it came in.
    pub http: http::Request<RequestBody>,
    /// The subprotocol chosen among those the client offered.
    pub subprotocol: Option<&'static str>,
    /// Limits and extensions.
    pub options: WebSocketOptions,
    /// What runs on the open socket.
    pub run: Box<dyn FnOnce(WebSocket) -> BoxFuture<()> + Send>,
}

/// Limits and extensions of a WebSocket.
#[derive(Copy, Clone, Debug)]
pub struct WebSocketOptions {
    /// The largest message, in bytes, after decompression. Larger ones close with 1009.
    pub max_message: usize,
    /// The most fragments of one message; `None` for no cap.
    pub max_fragments: Option<usize>,
    /// Whether permessage-deflate may be negotiated.
    pub deflate: bool,
    /// How often a ping is sent while nothing comes in; after two unanswered the connection is closed.
    pub ping_seconds: u32,
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        WebSocketOptions { max_message: 8 << 20, max_fragments: Some(1024), deflate: true, ping_seconds: 30 }
    }
}

/// A message on a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Text; checked to be UTF-8.
    Text(Bytes),
    /// Bytes.
    Binary(Bytes),
    /// The other end closed, with its code and reason (already answered); nothing follows.
    Close(u16, String),
}

/// An open WebSocket. Pings are answered below; a protocol sees messages and the close only.
///
/// One task owns it and both reads and writes, so that there is no lock and no channel per connection. Writes are queued and leave together
/// at the next flush.
pub struct WebSocket {
    inner: Box<dyn WebSocketIo>,
}

/// What `net` implements for [`WebSocket`].
pub trait WebSocketIo: Send {
    /// The next message. `None` after the close. An error of the other end (protocol, UTF-8, size) is answered with its close code
    /// below and comes here as `Frame::Close`.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame>>;
    /// Queues a message made of a head written for this connection and a shared tail; they are one WebSocket message. No I/O happens.
    fn queue(&mut self, text: bool, head: &[u8], tail: Bytes);
    /// Queues bytes that already are complete, unmasked WebSocket frames (shared by many connections). Only legal when
    /// [`WebSocketIo::compresses`] is false.
    fn queue_framed(&mut self, frames: Bytes);
    /// Whether permessage-deflate was negotiated.
    fn compresses(&self) -> bool;
    /// Bytes queued and not yet taken by the socket.
    fn queued(&self) -> usize;
    /// Writes what is queued; ready when nothing is left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>>;
    /// Queues a close frame; messages queued later are ignored.
    fn close(&mut self, code: u16, reason: &str);
    /// Ready when the server drains.
    fn poll_draining(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

impl WebSocket {
    /// Wraps what `net` made.
    pub fn new(inner: Box<dyn WebSocketIo>) -> Self {
        WebSocket { inner }
    }

    /// The implementation, for poll-style use.
    pub fn io(&mut self) -> &mut dyn WebSocketIo {
        &mut *self.inner
    }

    /// The next message.
    pub async fn next(&mut self) -> Option<Frame> {
        std::future::poll_fn(|cx| self.inner.poll_next(cx)).await
    }

    /// Queues a text message.
    pub fn queue_text(&mut self, text: impl Into<Bytes>) {
        self.inner.queue(true, &[], text.into());
    }

    /// Queues a binary message.
    pub fn queue_binary(&mut self, bytes: impl Into<Bytes>) {
        self.inner.queue(false, &[], bytes.into());
    }

    /// Writes what is queued.
    pub async fn flush(&mut self) -> std::io::Result<()> {
        std::future::poll_fn(|cx| self.inner.poll_flush(cx)).await
    }

    /// Closes with code and reason and waits until that is written.
    pub async fn close(mut self, code: u16, reason: &str) {
        self.inner.close(code, reason);
        let _ = self.flush().await;
    }

    /// Ready when the server drains.
    pub async fn draining(&mut self) {
        std::future::poll_fn(|cx| self.inner.poll_draining(cx)).await
    }
}

/// Encodes one unmasked, unfragmented WebSocket frame (RFC 6455 §5.2) for [`WebSocketIo::queue_framed`].
pub fn websocket_frame(text: bool, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + 10);
    out.push(if text { 0x81 } else { 0x82 });
    match payload.len() {
        n @ 0..=125 => out.push(n as u8),
        n @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out.into()
}

/// The body of a response.
pub enum Body {
    /// Nothing.
    Empty,
    /// All of it.
    Full(Bytes),
    /// Pieces as they come.
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = std::io::Error> + Send>>),
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Body::Empty } else { Body::Full(bytes) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<http_body::Frame<Bytes>, std::io::Error>>> {
        match &mut *self {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Body::Empty;
                Poll::Ready(Some(Ok(http_body::Frame::data(bytes))))
            }
            Body::Stream(inner) => inner.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(_) => false,
            Body::Stream(inner) => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Body::Empty => http_body::SizeHint::with_exact(0),
            Body::Full(bytes) => http_body::SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(inner) => inner.size_hint(),
        }
    }
}
