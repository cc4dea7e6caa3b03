//! HTTP to upstreams: a few shared HTTP/2 connections (`h2`) for each endpoint, or a pool of HTTP/1.1 ones.

use super::endpoints::{Endpoint, Endpoints};
use super::h2::{Shared, Stream};
use super::{Way, health};
use bytes::Bytes;
use foldhash::HashMap;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header, uri};
use http_body_util::BodyExt as _;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use sb_board::call::{Code, Status};
use sb_board::mount::{Body, BodyError, BoxFuture, Health, HttpReply, HttpUpstream, ReplyBody, Target};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(Shared, Stream),
}

/// Why a request failed.
pub(super) enum Failed {
    /// It was surely not taken: it may go to another endpoint.
    Untaken(Option<Box<Request<Body>>>, String),
    /// It was surely not taken, and asking again on the connection, which stays open, would only be refused again.
    Refused(String),
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

    async fn request(&self, mut request: Request<Body>) -> Result<HttpReply, Status> {
        self.endpoints.refresh().await?;
        self.prefix(request.uri_mut())?;
        // A body that is there as a whole can be sent again; a stream only as long as nobody has taken it.
        let kept = Kept::of(&request);
        let mut next = Some(request);
        let mut tried: Vec<SocketAddr> = Vec::new();
        loop {
            let running = self.endpoints.pick(&tried)?;
            let addr = running.endpoint.addr;
            let Some(request) = next.take() else {
                return Err(Status::new(Code::Unavailable, "the request cannot be sent again"));
            };
            let why = match self.on(&running.endpoint, request, kept.as_ref()).await {
                Ok((response, stream)) => {
                    self.endpoints.reached();
                    return Ok(HttpReply { response, verdict: running.verdict(stream) });
                }
                Err(Failed::Untaken(request, why)) => {
                    next = request.map(|request| *request).or_else(|| kept.as_ref().map(Kept::request));
                    why
                }
                Err(Failed::Refused(why)) => {
                    next = kept.as_ref().map(Kept::request);
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
            if next.is_none() || tried.len() >= self.endpoints.list().len().min(TRIES) {
                return Err(self.endpoints.unavailable(why));
            }
        }
    }

    /// Puts the target's path in front, once, whatever the request's path looks like: it may be the caller's, and must not lead out of it.
    pub(super) fn prefix(&self, uri: &mut Uri) -> Result<(), Status> {
        if !self.prefix.is_empty() {
            let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
            *uri = Uri::try_from(format!("{}{path}", self.prefix))
                .map_err(|_| Status::new(Code::InvalidArgument, "the message makes no valid path"))?;
        }
        Ok(())
    }

    /// Sends to this endpoint. A connection that was idle may have been closed by the other side unseen: then the next one is used, with what
    /// was `kept` of the request if it is gone.
    pub(super) async fn on(
        &self,
        endpoint: &Endpoint,
        mut request: Request<Body>,
        kept: Option<&Kept>,
    ) -> Result<(http::Response<ReplyBody>, Option<Stream>), Failed> {
        let conns = lock(&self.conns).entry(endpoint.addr).or_default().clone();
        loop {
            let (sender, fresh) =
                self.sender(endpoint, &conns).await.map_err(|why| Failed::Untaken(None, why))?;
            self.address(&mut request, endpoint, &sender);
            let sent = match sender {
                Sender::H2(shared, stream) => {
                    shared.send(request).await.map(|response| (response, Some(stream)))
                }
                Sender::H1(sender) => send_h1(sender, request, &conns).await.map(|response| (response, None)),
            };
            match (sent, fresh) {
                (Err(Failed::Untaken(Some(back), _)), false) => request = *back,
                (Err(Failed::Untaken(None, why)), false) => match kept {
                    Some(kept) => request = kept.request(),
                    None => return Err(Failed::Untaken(None, why)),
                },
                (sent, _) => return sent,
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
        if self.h2 || made.alpn_h2() {
            let shared = Shared::open(made.boxed())
                .await
                .map_err(|e| format!("no HTTP/2 with {}: {e}", endpoint.addr))?;
            let stream = shared.stream();
            lock(&conns.open).h2.push(shared.clone());
            return Ok((Sender::H2(shared, stream), true));
        }
        let (sender, conn) = http1::Builder::new()
            .max_headers(256)
            .max_buf_size(256 * 1024)
            .handshake(TokioIo::new(made.boxed()))
            .await
            .map_err(|e| format!("no HTTP with {}: {e}", endpoint.addr))?;
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
        let mut parts = uri::Parts::default();
        parts.path_and_query = Some(path);
        let h2 = matches!(sender, Sender::H2(..));
        if h2 {
            parts.scheme = Some(self.scheme.clone());
            parts.authority = endpoint.authority.clone();
        } else if let Some(authority) = &endpoint.authority
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(header::HOST, host);
        }
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        *request.version_mut() = if h2 { Version::HTTP_2 } else { Version::HTTP_11 };
    }
}

/// Sends on a connection of HTTP/1.1, which goes back into the pool once the response has been read.
async fn send_h1(
    mut sender: http1::SendRequest<Body>,
    request: Request<Body>,
    conns: &Arc<Conns>,
) -> Result<http::Response<ReplyBody>, Failed> {
    let response = sender.try_send_request(request).await.map_err(judge)?;
    let conns = conns.clone();
    tokio::spawn(async move {
        if sender.ready().await.is_ok() {
            let mut open = lock(&conns.open);
            if open.h1.len() < IDLE {
                open.h1.push(sender);
            }
        }
    });
    Ok(response.map(|body| Box::pin(body.map_err(BodyError::from)) as ReplyBody))
}

impl Conns {
    /// An open connection with room.
    fn idle(&self) -> Option<Sender> {
        let mut open = lock(&self.open);
        open.h2.retain(|shared| !shared.is_closed());
        let full = open.h2.len() >= CONNECTIONS;
        let least = open.h2.iter().min_by_key(|shared| shared.streams());
        if let Some(shared) = least.filter(|shared| full || shared.streams() < STREAMS) {
            return Some(Sender::H2(shared.clone(), shared.stream()));
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

/// What a request that can be sent again is made of.
pub(super) struct Kept {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Option<Bytes>,
}

impl Kept {
    /// `None` for a body that is a stream.
    fn of(request: &Request<Body>) -> Option<Kept> {
        let body = match request.body() {
            Body::Empty => None,
            Body::Full(bytes) => Some(bytes.clone()),
            Body::Stream(_) => return None,
        };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Some(Kept { method, uri, headers: request.headers().clone(), body })
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(self.body.clone().map_or(Body::Empty, Body::Full));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Whether the other side can have taken the request.
fn judge(mut error: TrySendError<Request<Body>>) -> Failed {
    let back = error.take_message().map(Box::new);
    let why = reason(&error.into_error());
    if back.is_some() { Failed::Untaken(back, why) } else { Failed::Broken(why) }
}

/// The whole chain of an error as a sentence.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
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
