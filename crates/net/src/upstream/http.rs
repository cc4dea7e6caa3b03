//! HTTP to upstreams: a few multiplexed HTTP/2 connections for each endpoint, or a pool of HTTP/1.1 ones.

use super::endpoints::{Endpoint, Endpoints, Running};
use super::{Way, health};
use bytes::Bytes;
use foldhash::HashMap;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version, header};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sb_board::call::{Code, Status};
use sb_board::mount::{Body, BoxFuture, Health, HttpReply, HttpUpstream, RequestBody, Target, Verdict};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Another HTTP/2 connection is made when each has so many streams …
const STREAMS: usize = 100;
/// … as long as there are fewer than this.
const CONNECTIONS: usize = 8;
/// The most idle HTTP/1.1 connections that are kept for one endpoint.
const IDLE: usize = 64;
/// A request that surely was not taken is sent to so many endpoints in all.
const TRIES: usize = 3;

/// A pool, as it is handed out: sending needs a counted handle on it.
struct Handle(Arc<Upstream>);

/// A pool.
pub(super) struct Upstream {
    endpoints: Arc<Endpoints>,
    way: Arc<Way>,
    h2: bool,
    scheme: Scheme,
    /// Put in front of every path; without a slash at its end.
    prefix: String,
    conns: Mutex<HashMap<SocketAddr, Arc<Conns>>>,
}

/// The connections to one endpoint.
#[derive(Default)]
struct Conns {
    open: Mutex<Open>,
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Open {
    h2: Vec<Shared>,
    h1: Vec<http1::SendRequest<Body>>,
}

/// An HTTP/2 connection and how many streams it has.
#[derive(Clone)]
struct Shared {
    sender: http2::SendRequest<Body>,
    streams: Arc<AtomicUsize>,
}

/// Counts a stream as long as it lives.
pub(super) struct Stream(Arc<AtomicUsize>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>, Stream),
}

/// Why a request failed.
pub(super) enum Failed {
    /// It was surely not taken: it may go to another endpoint.
    Untaken(Option<Box<Request<Body>>>, String),
    /// Nobody knows.
    Broken(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    pub(super) fn make(
        endpoints: Arc<Endpoints>,
        way: Arc<Way>,
        h2: bool,
        target: &Target,
    ) -> Arc<dyn HttpUpstream> {
        let rest = target.url.split_once("://").map_or("", |(_, rest)| rest);
        let prefix =
            rest.split_once('/').map_or(String::new(), |(_, path)| format!("/{}", path.trim_matches('/')));
        let upstream = Arc::new(Upstream {
            endpoints,
            h2,
            scheme: if way.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP },
            prefix: if prefix == "/" { String::new() } else { prefix },
            way,
            conns: Mutex::default(),
        });
        if target.health != Health::None {
            health::watch(&upstream, target.health.clone());
        }
        Arc::new(Handle(upstream))
    }

    pub(super) fn endpoints(&self) -> &Arc<Endpoints> {
        &self.endpoints
    }

    async fn request(&self, request: Request<Body>) -> Result<HttpReply, Status> {
        self.endpoints.refresh().await?;
        let (mut parts, body) = request.into_parts();
        self.prefix(&mut parts.uri)?;
        // A body that is there as a whole can be sent again; a stream only as long as nobody has taken it.
        let again = match &body {
            Body::Empty => Some(None),
            Body::Full(bytes) => Some(Some(bytes.clone())),
            Body::Stream(_) => None,
        };
        let mut body = Some(body);
        let mut tried: Vec<SocketAddr> = Vec::new();
        loop {
            let running = self.endpoints.pick(&tried)?;
            let addr = running.endpoint.addr;
            let Some(now) = body.take() else {
                return Err(Status::new(Code::Unavailable, "the request cannot be sent again"));
            };
            let request = Request::from_parts(parts.clone(), now);
            let why = match self.on(&running.endpoint, request).await {
                Ok((response, stream)) => {
                    self.endpoints.reached();
                    return Ok(HttpReply { response, verdict: verdict(running, stream) });
                }
                Err(Failed::Untaken(request, why)) => {
                    body = request
                        .map(|r| r.into_body())
                        .or_else(|| again.clone().map(|b| b.map_or(Body::Empty, Body::Full)));
                    why
                }
                Err(Failed::Broken(why)) => {
                    running.judge(false);
                    return Err(self.endpoints.unavailable(why));
                }
            };
            running.judge(false);
            drop(running);
            tried.push(addr);
            if body.is_none() || tried.len() >= self.endpoints.list().len().min(TRIES) {
                return Err(self.endpoints.unavailable(why));
            }
        }
    }

    /// Puts the target's path in front, once, whatever the request's path looks like: it may be the caller's, and must not lead out of it.
    pub(super) fn prefix(&self, uri: &mut Uri) -> Result<(), Status> {
        if !self.prefix.is_empty() {
            let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
            *uri = format!("{}{path}", self.prefix)
                .parse()
                .map_err(|_| Status::new(Code::InvalidArgument, "the message makes no valid path"))?;
        }
        Ok(())
    }

    /// Sends to this endpoint. A connection that was idle may have been closed by the other side unseen: then the next one is used. A stream that
    /// is refused on a connection that stays open is no such case: asking again would only be refused again.
    pub(super) async fn on(
        &self,
        endpoint: &Endpoint,
        mut request: Request<Body>,
    ) -> Result<(http::Response<RequestBody>, Option<Stream>), Failed> {
        let conns = lock(&self.conns).entry(endpoint.addr).or_default().clone();
        let again = parts_of(&request);
        loop {
            let (sender, fresh) =
                self.sender(endpoint, &conns).await.map_err(|why| Failed::Untaken(None, why))?;
            self.address(&mut request, endpoint, &sender);
            let mut refused = false;
            let sent = match sender {
                Sender::H2(mut sender, stream) => {
                    let sent = sender.try_send_request(request).await;
                    if let Err(error) = &sent {
                        refused = refusal(error.error()) == Some(h2::Reason::REFUSED_STREAM);
                        if !refused {
                            conns.forget(&stream);
                        }
                    }
                    sent.map(|response| (response, Some(stream)))
                }
                Sender::H1(mut sender) => {
                    let sent = sender.try_send_request(request).await;
                    if sent.is_ok() {
                        // Once the response has been read the connection can be used again.
                        let conns = conns.clone();
                        tokio::spawn(async move {
                            if sender.ready().await.is_ok() {
                                let mut open = lock(&conns.open);
                                if open.h1.len() < IDLE {
                                    open.h1.push(sender);
                                }
                            }
                        });
                    }
                    sent.map(|response| (response, None))
                }
            };
            match sent {
                Ok(sent) => return Ok(sent),
                Err(error) => match (judge(error), fresh || refused) {
                    (Failed::Untaken(Some(back), _), false) => request = *back,
                    (Failed::Untaken(None, why), false) => match again.as_ref().map(copy) {
                        Some(copy) => request = copy,
                        None => return Err(Failed::Untaken(None, why)),
                    },
                    (failed, _) => return Err(failed),
                },
            }
        }
    }

    /// A connection to send on, and whether it was made just now.
    async fn sender(&self, endpoint: &Endpoint, conns: &Arc<Conns>) -> Result<(Sender, bool), String> {
        if let Some(sender) = conns.idle() {
            return Ok((sender, false));
        }
        // HTTP/2 connections are shared, so one who connects does it for all who wait.
        let one_by_one = if self.h2 { Some(conns.connecting.lock().await) } else { None };
        if one_by_one.is_some()
            && let Some(sender) = conns.idle()
        {
            return Ok((sender, false));
        }
        let made = self.way.connect(&endpoint.host, endpoint.addr).await?;
        let failed = |e: hyper::Error| format!("no HTTP with {}: {e}", endpoint.addr);
        if self.h2 || made.alpn_h2() {
            let (sender, conn) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .max_frame_size(64 * 1024)
                .max_header_list_size(64 * 1024)
                .keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(Duration::from_secs(10))
                .handshake(TokioIo::new(made.boxed()))
                .await
                .map_err(failed)?;
            tokio::spawn(async move {
                if let Err(error) = conn.await {
                    tracing::debug!(%error, "a connection to an upstream ended");
                }
            });
            let streams = Arc::new(AtomicUsize::new(1));
            lock(&conns.open).h2.push(Shared { sender: sender.clone(), streams: streams.clone() });
            return Ok((Sender::H2(sender, Stream(streams)), true));
        }
        let (sender, conn) = http1::Builder::new()
            .max_headers(256)
            .max_buf_size(256 * 1024)
            .handshake(TokioIo::new(made.boxed()))
            .await
            .map_err(failed)?;
        tokio::spawn(async move {
            if let Err(error) = conn.await {
                tracing::debug!(%error, "a connection to an upstream ended");
            }
        });
        Ok((Sender::H1(sender), true))
    }

    /// Sets scheme and authority, as the version wants them.
    fn address(&self, request: &mut Request<Body>, endpoint: &Endpoint, sender: &Sender) {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let authority = match &endpoint.addr {
            SocketAddr::V6(_) if endpoint.host.contains(':') => {
                format!("[{}]:{}", endpoint.host, endpoint.addr.port())
            }
            _ => format!("{}:{}", endpoint.host, endpoint.addr.port()),
        };
        let uri = match sender {
            Sender::H2(..) => Uri::builder()
                .scheme(self.scheme.clone())
                .authority(authority.as_str())
                .path_and_query(path)
                .build(),
            Sender::H1(_) => {
                if let Ok(host) = HeaderValue::from_str(&authority) {
                    request.headers_mut().insert(header::HOST, host);
                }
                Uri::builder().path_and_query(path).build()
            }
        };
        if let Ok(uri) = uri {
            *request.uri_mut() = uri;
        }
        *request.version_mut() =
            if matches!(sender, Sender::H2(..)) { Version::HTTP_2 } else { Version::HTTP_11 };
    }
}

impl Conns {
    /// Takes an HTTP/2 connection that took no request any more out of those that are used.
    fn forget(&self, stream: &Stream) {
        lock(&self.open).h2.retain(|shared| !Arc::ptr_eq(&shared.streams, &stream.0));
    }

    /// An open connection with room.
    fn idle(&self) -> Option<Sender> {
        let mut open = lock(&self.open);
        open.h2.retain(|shared| !shared.sender.is_closed());
        let full = open.h2.len() >= CONNECTIONS;
        let least = open.h2.iter().min_by_key(|shared| shared.streams.load(Relaxed));
        if let Some(shared) = least.filter(|shared| full || shared.streams.load(Relaxed) < STREAMS) {
            shared.streams.fetch_add(1, Relaxed);
            return Some(Sender::H2(shared.sender.clone(), Stream(shared.streams.clone())));
        }
        while let Some(sender) = open.h1.pop() {
            if !sender.is_closed() && sender.is_ready() {
                return Some(Sender::H1(sender));
            }
        }
        None
    }
}

impl HttpUpstream for Handle {
    fn send(&self, request: Request<Body>) -> BoxFuture<Result<HttpReply, Status>> {
        let upstream = self.0.clone();
        Box::pin(async move { upstream.request(request).await })
    }

    fn healthy(&self) -> Result<(), String> {
        self.0.endpoints.healthy()
    }
}

fn verdict(running: Running, stream: Option<Stream>) -> Verdict {
    let mut verdict = running.verdict();
    match stream {
        None => verdict,
        Some(stream) => Verdict(Box::new(move |good| {
            let _counted = &stream;
            (verdict.0)(good);
        })),
    }
}

/// A request whose body can be sent again, if it can.
fn parts_of(request: &Request<Body>) -> Option<(http::request::Parts, Option<Bytes>)> {
    let body = match request.body() {
        Body::Empty => None,
        Body::Full(bytes) => Some(bytes.clone()),
        Body::Stream(_) => return None,
    };
    let mut parts = Request::new(()).into_parts().0;
    parts.method = request.method().clone();
    parts.uri = request.uri().clone();
    parts.headers = request.headers().clone();
    Some((parts, body))
}

fn copy((parts, body): &(http::request::Parts, Option<Bytes>)) -> Request<Body> {
    Request::from_parts(parts.clone(), body.clone().map_or(Body::Empty, Body::Full))
}

/// Whether the other side can have taken the request.
fn judge(mut error: TrySendError<Request<Body>>) -> Failed {
    let back = error.take_message().map(Box::new);
    let error = error.into_error();
    let why = reason(&error);
    let untaken = back.is_some() || refusal(&error).is_some();
    if untaken { Failed::Untaken(back, why) } else { Failed::Broken(why) }
}

/// `REFUSED_STREAM`, and a `GOAWAY` that does not cover the stream (`NO_ERROR`): by RFC 9113 §8.7 the request was not processed.
fn refusal(error: &hyper::Error) -> Option<h2::Reason> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let reason = error.reason()?;
            let leaves = error.is_go_away() && error.is_remote() && reason == h2::Reason::NO_ERROR;
            return (leaves || reason == h2::Reason::REFUSED_STREAM).then_some(reason);
        }
        source = error.source();
    }
    None
}

/// The whole chain of an error as a sentence.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
