//! HTTP/1.1 and HTTP/2: framing, limits, panics, upgrades. What a request means is the handler's business.

use crate::conn::{Busy, Conn, Held, Http1};
use crate::counters::NetCounters;
use crate::drain::{Drain, Ticket};
use crate::ws::{handshake, socket::Socket};
use crate::{NetLimits, login};
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sb_board::mount::{Answer, Body, BoxFuture, Peer, Upgrade, WebSocket};
use sb_board::problem;
use sb_core::model::{Error, Kind};
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// What answers requests.
pub type Handler = Arc<dyn Fn(Request<Incoming>, Arc<Connection>) -> BoxFuture<Answer> + Send + Sync>;

/// What the requests of one connection share.
pub struct Connection {
    /// The other end.
    pub peer: Peer,
    /// The last successful login, so that a kept-alive connection does not pay for each request.
    pub(crate) login: login::Cache,
    /// Counts the connection; a WebSocket inherits it.
    counted: Arc<dyn Send + Sync>,
    /// Counts the requests that are being answered.
    busy: Busy,
}

/// Speaks HTTP on connections.
pub struct Host {
    handler: Handler,
    limits: NetLimits,
    counters: Arc<NetCounters>,
    drain: Arc<Drain>,
}

impl Host {
    /// A host; everything that is not the handler's comes from `limits`.
    pub fn new(handler: Handler, limits: NetLimits, counters: Arc<NetCounters>) -> Arc<Self> {
        Arc::new(Host { handler, limits, counters, drain: Arc::new(Drain::default()) })
    }

    /// The counters.
    pub fn counters(&self) -> &Arc<NetCounters> {
        &self.counters
    }

    pub(crate) fn drain(&self) -> &Arc<Drain> {
        &self.drain
    }

    pub(crate) fn limits(&self) -> &NetLimits {
        &self.limits
    }

    /// Speaks HTTP on a connection until it ends or becomes a WebSocket. `counted` lives as long as either.
    pub async fn serve(self: Arc<Self>, conn: Conn, peer: Peer, h2: bool, counted: Arc<dyn Send + Sync>) {
        let ticket = self.drain.ticket();
        let _speaking = self.counters.speaking("http");
        let busy = Busy::default();
        let shared =
            Arc::new(Connection { peer, login: login::Cache::default(), counted, busy: busy.clone() });
        let service = {
            let host = self.clone();
            service_fn(move |request| host.clone().answer(request, shared.clone()).map(Ok::<_, Infallible>))
        };
        let outcome = if h2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(100)
                .max_header_list_size(64 * 1024)
                .header_table_size(4096)
                .max_pending_accept_reset_streams(20)
                .max_local_error_reset_streams(100)
                .max_send_buf_size(256 * 1024)
                .initial_stream_window_size(256 * 1024)
                .initial_connection_window_size(1024 * 1024)
                .keep_alive_interval(self.limits.idle / 2)
                .keep_alive_timeout(Duration::from_secs(20))
                .enable_connect_protocol();
            let mut conn = pin!(builder.serve_connection(TokioIo::new(conn), service));
            let mut leaving = false;
            std::future::poll_fn(|cx| {
                if !leaving && ticket.poll_draining(cx).is_ready() {
                    leaving = true;
                    conn.as_mut().graceful_shutdown();
                }
                if ticket.poll_killed(cx).is_ready() { Poll::Ready(Ok(())) } else { conn.as_mut().poll(cx) }
            })
            .await
        } else {
            let mut builder = hyper::server::conn::http1::Builder::new();
            // Not `pipeline_flush`: with it, hyper 1.12 drops its answer to a malformed request, and the answers before it.
            // Time is `Http1`'s business.
            builder
                .header_read_timeout(None)
                .max_headers(256)
                .max_header_size(64 * 1024)
                .max_buf_size(64 * 1024 + 8 * 1024);
            let io = TokioIo::new(Http1::new(conn, self.limits.pre_login, self.limits.idle, busy));
            let mut conn = builder.serve_connection(io, service).with_upgrades();
            let mut leaving = false;
            let outcome = std::future::poll_fn(|cx| {
                let mut conn = Pin::new(&mut conn);
                if !leaving && ticket.poll_draining(cx).is_ready() {
                    leaving = true;
                    conn.as_mut().graceful_shutdown();
                }
                if ticket.poll_killed(cx).is_ready() { Poll::Ready(Ok(())) } else { conn.poll(cx) }
            })
            .await;
            if outcome.as_ref().is_err_and(hyper::Error::is_parse)
                && let Some(parts) = conn.into_parts()
            {
                let _ =
                    tokio::time::timeout(Duration::from_secs(1), discard(parts.io.into_inner().conn)).await;
            }
            outcome
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
    }

    /// One request.
    async fn answer(self: Arc<Self>, request: Request<Incoming>, conn: Arc<Connection>) -> Response<Body> {
        NetCounters::add(&self.counters.requests);
        let held = conn.busy.hold();
        let http1 = request.version() != Version::HTTP_2;
        // Bytes behind a request for an upgrade were not looked at: the connection must not carry another request.
        let last =
            http1 && (request.headers().contains_key(header::UPGRADE) || request.method() == Method::CONNECT);
        let mut response = match check(&request) {
            Ok(()) => self.ask(request, conn).await,
            Err((error, status)) => problem::with_status(&error, status, None),
        };
        if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if matches!(response.body(), Body::Stream(_)) {
            return response.map(|body| match body {
                Body::Stream(body) => Body::Stream(Box::pin(Streamed { body, _held: held })),
                other => other,
            });
        }
        response
    }

    async fn ask(self: &Arc<Self>, request: Request<Incoming>, conn: Arc<Connection>) -> Response<Body> {
        let path = request.uri().path().len().min(200);
        let path = request.uri().path().get(..path).unwrap_or("/").to_owned();
        let handler = self.handler.clone();
        let asked = {
            let conn = conn.clone();
            AssertUnwindSafe(async move { handler(request, conn).await }).catch_unwind().await
        };
        match asked {
            Ok(Answer::Response(response)) => response,
            Ok(Answer::WebSocket(upgrade)) => self.upgrade(upgrade, conn),
            Ok(Answer::Pass(_)) => {
                let error = Error::new(Kind::NotFound, "SB0206", format!("Nothing is served at {path}."))
                    .fix("See /docs/http for the paths there are.");
                problem::response(&error, None)
            }
            Err(_) => {
                self.counters.panicked();
                tracing::error!(%path, "a request handler panicked; this is a fault of the server");
                problem::response(&Error::internal("The server failed while it answered."), None)
            }
        }
    }

    /// Answers the handshake and lets the protocol run once the connection is a WebSocket.
    fn upgrade(self: &Arc<Self>, upgrade: Upgrade, conn: Arc<Connection>) -> Response<Body> {
        let Upgrade { http: mut request, subprotocol, options, run } = upgrade;
        let accepted = match handshake::accept(&request, subprotocol, options.deflate) {
            Ok(accepted) => accepted,
            Err(refused) => return *refused,
        };
        let http1 = request.version() != Version::HTTP_2;
        let upgraded = hyper::upgrade::on(&mut request);
        drop(request);
        let (host, deflate) = (self.clone(), accepted.deflate);
        let counted = conn.counted.clone();
        drop(conn);
        // The handshake's own future is large; it is gone when the socket runs.
        let open = async move {
            let upgraded = match upgraded.await {
                Ok(upgraded) => upgraded,
                Err(error) => {
                    tracing::debug!(%error, "a WebSocket did not come about");
                    return;
                }
            };
            let ticket = Arc::new(host.drain.ticket());
            let guards = Box::new((counted, host.counters.speaking("websocket")));
            let params = deflate.as_ref();
            let socket = if http1 {
                match upgraded.downcast::<TokioIo<Http1>>() {
                    Ok(parts) => {
                        let io = parts.io.into_inner().conn;
                        WebSocket::new(Box::new(Socket::new(
                            io,
                            parts.read_buf,
                            &options,
                            params,
                            ticket.clone(),
                            guards,
                        )))
                    }
                    Err(_) => return,
                }
            } else {
                let io = TokioIo::new(upgraded);
                let unread = bytes::Bytes::new();
                WebSocket::new(Box::new(Socket::new(io, unread, &options, params, ticket.clone(), guards)))
            };
            let running = run(socket);
            let counters = host.counters.clone();
            drop(host);
            tokio::spawn(until_killed(running, ticket, counters));
        };
        tokio::spawn(open);
        accepted.response
    }
}

/// A body in pieces: its request counts as being answered until it has ended.
struct Streamed {
    body: Pin<Box<dyn http_body::Body<Data = bytes::Bytes, Error = std::io::Error> + Send>>,
    _held: Held,
}

impl http_body::Body for Streamed {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// Runs a protocol on its connection, until it ends, panics or the drain's deadline has passed.
pub(crate) async fn until_killed(run: BoxFuture<()>, ticket: Arc<Ticket>, counters: Arc<NetCounters>) {
    let mut run = pin!(AssertUnwindSafe(run).catch_unwind());
    let outcome = std::future::poll_fn(|cx| {
        if ticket.poll_killed(cx).is_ready() { Poll::Ready(Ok(())) } else { run.as_mut().poll(cx) }
    })
    .await;
    if outcome.is_err() {
        counters.panicked();
        tracing::error!("a connection's task panicked; this is a fault of the server");
    }
}

/// Reads what a client still sends after it was refused: closing with unread input would reset the connection, and the client might
/// never see the answer.
async fn discard(mut conn: Conn) {
    let mut buf = vec![0; 16 * 1024];
    for _ in 0..64 {
        if !matches!(conn.read(&mut buf).await, Ok(1..)) {
            return;
        }
    }
}

/// What every request must have.
fn check(request: &Request<Incoming>) -> Result<(), (Error, StatusCode)> {
    let invalid = |detail: &'static str| Err((Error::invalid(detail), StatusCode::BAD_REQUEST));
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (request.version(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => invalid("There is more than one Host header."),
        (Version::HTTP_11, None, _) => invalid("The Host header is missing."),
        (Version::HTTP_2, Some(host), None)
            if request.uri().authority().is_some_and(|authority| authority.as_str() != host) =>
        {
            invalid("The Host header is not the authority of the request.")
        }
        _ if request.headers().len() > 256 => Err((
            Error::new(Kind::TooLarge, "SB0212", "There are more than 256 headers.")
                .fix("Send fewer headers; cookies that grew are a frequent cause."),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        )),
        _ => Ok(()),
    }
}
