//! HTTP/2 to an endpoint, by `h2` itself: who makes a request puts it on the connection and is woken when the answer is there. Each connection has
//! one task; requests have none, but for bodies that are streams and have to wait.

use super::http::{Failed, reason};
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::{Body as _, Frame, SizeHint};
use sb_board::mount::{Body, BodyError, ReplyBody};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A connection with streams on which nothing was heard for this long is asked whether it is there …
const PING_AFTER: Duration = Duration::from_secs(30);
/// … and given up when it has not answered after this.
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// Headers of HTTP/1.1 connections, which HTTP/2 forbids.
static HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A connection that many use.
#[derive(Clone)]
pub(super) struct Shared {
    sender: SendRequest<Bytes>,
    conn: Arc<Conn>,
}

/// What the users of a connection hold. When all have gone, the connection's task ends.
struct Conn {
    live: Arc<Live>,
    _wanted: oneshot::Sender<Infallible>,
}

/// What a connection's task and its users tell each other.
#[derive(Default)]
struct Live {
    streams: AtomicUsize,
    /// No request can be sent on it any more.
    closed: AtomicBool,
    /// Something of an answer has come since this was looked at.
    heard: AtomicBool,
}

/// Counts a stream as long as it lives.
pub(super) struct Stream(Arc<Conn>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.live.streams.fetch_sub(1, Relaxed);
    }
}

impl Shared {
    /// Begins to speak HTTP/2.
    pub(super) async fn open(io: Box<dyn sb_board::mount::Stream>) -> Result<Shared, h2::Error> {
        let (sender, conn) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_frame_size(64 * 1024)
            .max_header_list_size(64 * 1024)
            .max_send_buffer_size(1 << 20)
            .max_local_error_reset_streams(Some(1024))
            .enable_push(false)
            .handshake(io)
            .await?;
        let live = Arc::new(Live::default());
        let (wanted, unwanted) = oneshot::channel();
        tokio::spawn(drive(conn, live.clone(), unwanted));
        Ok(Shared { sender, conn: Arc::new(Conn { live, _wanted: wanted }) })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.conn.live.closed.load(Relaxed)
    }

    /// How many streams it has.
    pub(super) fn streams(&self) -> usize {
        self.conn.live.streams.load(Relaxed)
    }

    /// One more stream.
    pub(super) fn stream(&self) -> Stream {
        self.conn.live.streams.fetch_add(1, Relaxed);
        Stream(self.conn.clone())
    }

    /// Sends a request, which has scheme and authority, and gives the head of its response. Dropping the future, or later the body, cancels.
    pub(super) async fn send(mut self, request: Request<Body>) -> Result<Response<ReplyBody>, Failed> {
        if let Err(error) = poll_fn(|cx| self.sender.poll_ready(cx)).await {
            return Err(self.untaken(Some(Box::new(request)), &error));
        }
        let (mut head, body) = request.into_parts();
        if head.headers.keys().any(|name| HOP.contains(name)) {
            for name in &HOP {
                head.headers.remove(name);
            }
        }
        if let Some(length) = body.size_hint().exact()
            && (length > 0 || matches!(head.method, Method::POST | Method::PUT | Method::PATCH))
        {
            head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
        let sent = self.sender.send_request(Request::from_parts(head, ()), body.is_end_stream());
        let (response, mut out) = sent.map_err(|error| self.untaken(None, &error))?;
        match body {
            Body::Empty => {}
            // Where this fails the response does, too.
            Body::Full(bytes) => drop(out.send_data(bytes, true)),
            Body::Stream(body) => {
                let mut pump = Pump { body, out, chunk: None };
                if poll_fn(|cx| Poll::Ready(Pin::new(&mut pump).poll(cx))).await.is_pending() {
                    tokio::spawn(pump);
                }
            }
        }
        // By RFC 9113 §8.7 a stream that was refused, or that a `GOAWAY` does not cover, was not processed.
        let response = response.await.map_err(|error| match error.reason() {
            Some(Reason::REFUSED_STREAM) => Failed::Refused(reason(&error)),
            Some(Reason::NO_ERROR) if error.is_go_away() && error.is_remote() => self.untaken(None, &error),
            _ => Failed::Broken(reason(&error)),
        })?;
        self.conn.live.heard.store(true, Relaxed);
        let length = response.headers().get(header::CONTENT_LENGTH);
        let left = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let conn = self.conn;
        Ok(response.map(|stream| Box::pin(Incoming { stream, conn, left, read: false }) as ReplyBody))
    }

    /// The connection takes no request any more.
    fn untaken(&self, request: Option<Box<Request<Body>>>, error: &h2::Error) -> Failed {
        self.conn.live.closed.store(true, Relaxed);
        Failed::Untaken(request, reason(error))
    }
}

/// Runs a connection until it ends, nobody wants it, or the other side is not there any more.
async fn drive(
    mut conn: Connection<Box<dyn sb_board::mount::Stream>, Bytes>,
    live: Arc<Live>,
    mut unwanted: oneshot::Receiver<Infallible>,
) {
    let mut pings = conn.ping_pong();
    let mut due = pin!(tokio::time::sleep(PING_AFTER));
    let mut asked = false;
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut conn).poll(cx) {
            return Poll::Ready(ended.map_err(|error| error.to_string()));
        }
        if Pin::new(&mut unwanted).poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let answered = pings.as_mut().is_some_and(|pings| asked && pings.poll_pong(cx).is_ready());
            if answered {
                asked = false;
                due.as_mut().reset(Instant::now() + PING_AFTER);
            }
            ready!(due.as_mut().poll(cx));
            if asked {
                return Poll::Ready(Err("it does not answer a ping".into()));
            }
            let quiet = !live.heard.swap(false, Relaxed) && live.streams.load(Relaxed) > 0;
            asked = quiet && pings.as_mut().is_some_and(|p| p.send_ping(h2::Ping::opaque()).is_ok());
            due.as_mut().reset(Instant::now() + if asked { PONG_WITHIN } else { PING_AFTER });
        }
    });
    let ended: Result<(), String> = ended.await;
    live.closed.store(true, Relaxed);
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to an upstream ended");
    }
}

/// Sends a body that is a stream: a piece is taken from it when there is room for one.
struct Pump {
    body: Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error> + Send>>,
    out: SendStream<Bytes>,
    /// What waits for room, and whether it is the last.
    chunk: Option<(Bytes, bool)>,
}

impl Pump {
    /// Ready when all is sent, or the stream has ended.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some((chunk, last)) = self.chunk.take() {
                while self.out.capacity() == 0 {
                    match self.out.poll_capacity(cx) {
                        Poll::Ready(Some(Ok(_))) => {}
                        Poll::Ready(_) => return Poll::Ready(()),
                        Poll::Pending => {
                            self.chunk = Some((chunk, last));
                            return Poll::Pending;
                        }
                    }
                }
                if self.out.send_data(chunk, last).is_err() || last {
                    return Poll::Ready(());
                }
            }
            match ready!(self.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Requests have no trailers.
                    let Ok(data) = frame.into_data() else { continue };
                    if !data.is_empty() {
                        // As little as tells that there is something to send: room that is reserved is taken from the connection's other streams.
                        self.out.reserve_capacity(1);
                        self.chunk = Some((data, self.body.is_end_stream()));
                    }
                }
                Some(Err(error)) => {
                    self.out.send_reset(reset_of(&error));
                    return Poll::Ready(());
                }
                None => {
                    drop(self.out.send_data(Bytes::new(), true));
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_sent(cx).is_ready() {
            return Poll::Ready(());
        }
        // Nothing to send or no room: then it matters whether the other side still wants anything.
        self.out.poll_reset(cx).map(drop)
    }
}

/// The reason with which a stream is reset whose body broke off.
fn reset_of(error: &io::Error) -> Reason {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(reason) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            return reason;
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}

/// The body of a response.
struct Incoming {
    stream: RecvStream,
    conn: Arc<Conn>,
    /// What is left of its length, if the head tells it.
    left: Option<u64>,
    /// Whether all data has been read; trailers follow.
    read: bool,
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let failed = |error: h2::Error| match error.reason() {
            // By RFC 9113 §8.1 the answer is complete; only the rest of the request is not wanted.
            Some(Reason::NO_ERROR) => None,
            _ => Some(Err(BodyError::from(error))),
        };
        if !this.read {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    this.conn.live.heard.store(true, Relaxed);
                    this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(failed(error)),
                None => this.read = true,
            }
        }
        match ready!(this.stream.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(failed(error)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use tokio::io::DuplexStream;

    fn request(body: Body) -> Request<Body> {
        Request::post("http://there/a").version(http::Version::HTTP_2).body(body).unwrap()
    }

    /// A connection, and the other end of it.
    async fn pair() -> (Shared, h2::server::Connection<DuplexStream, Bytes>) {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (shared, served) = tokio::join!(Shared::open(Box::new(here)), h2::server::handshake(there));
        (shared.unwrap(), served.unwrap())
    }

    #[tokio::test]
    async fn a_body_beyond_the_window_goes_there_and_comes_back_with_trailers() {
        let (shared, mut served) = pair().await;
        let serving = tokio::spawn(async move {
            let (request, mut respond) = served.accept().await.unwrap().unwrap();
            let echo = async move {
                assert_eq!(request.headers()[header::CONTENT_LENGTH], "200000");
                let mut body = request.into_body();
                let mut out = respond.send_response(Response::new(()), false).unwrap();
                while let Some(data) = body.data().await {
                    let data = data.unwrap();
                    body.flow_control().release_capacity(data.len()).unwrap();
                    out.send_data(data, false).unwrap();
                }
                out.send_trailers(
                    [(HeaderName::from_static("end"), HeaderValue::from_static("1"))].into_iter().collect(),
                )
                .unwrap();
            };
            // The connection works only while it is asked for more; it ends when nobody wants it.
            let (more, ()) = tokio::join!(served.accept(), echo);
            assert!(more.is_none_or(|more| more.is_err()));
        });
        let sent = Bytes::from(vec![7; 200_000]);
        let stream = shared.stream();
        assert_eq!(shared.streams(), 1);
        let response = shared.clone().send(request(Body::Full(sent.clone()))).await.ok().unwrap();
        let got = response.into_body().collect().await.unwrap();
        assert_eq!(got.trailers().unwrap()["end"], "1");
        assert_eq!(got.to_bytes(), sent);
        drop(stream);
        assert_eq!(shared.streams(), 0);
        drop(shared);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_is_dropped_is_cancelled() {
        let (shared, mut served) = pair().await;
        let serving = tokio::spawn(async move {
            let (_request, mut respond) = served.accept().await.unwrap().unwrap();
            let mut out = respond.send_response(Response::new(()), false).unwrap();
            out.send_data(Bytes::from_static(b"first"), false).unwrap();
            let reset = poll_fn(|cx| out.poll_reset(cx));
            tokio::select! {
                _ = served.accept() => panic!("there is no other request"),
                reason = reset => assert_eq!(reason.unwrap(), Reason::CANCEL),
            }
        });
        let mut body = shared.clone().send(request(Body::Empty)).await.ok().unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        drop(body);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn what_was_refused_was_not_taken() {
        let (shared, mut served) = pair().await;
        tokio::spawn(async move {
            let (_request, mut respond) = served.accept().await.unwrap().unwrap();
            respond.send_reset(Reason::REFUSED_STREAM);
            let (_request, mut respond) = served.accept().await.unwrap().unwrap();
            respond.send_reset(Reason::INTERNAL_ERROR);
            assert!(served.accept().await.is_none());
        });
        let refused = shared.clone().send(request(Body::Empty)).await;
        assert!(matches!(refused, Err(Failed::Refused(_))) && !shared.is_closed());
        let broken = shared.clone().send(request(Body::Empty)).await;
        assert!(matches!(broken, Err(Failed::Broken(_))));
    }

    #[tokio::test]
    async fn nothing_is_sent_on_a_connection_that_is_leaving() {
        let (shared, served) = pair().await;
        drop(served);
        while !shared.is_closed() {
            tokio::task::yield_now().await;
        }
        let sent = shared.send(request(Body::Full(Bytes::from_static(b"x")))).await;
        assert!(matches!(sent, Err(Failed::Untaken(Some(_), _))));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_a_ping_is_given_up() {
        // The other end is there and says nothing any more.
        let (shared, _served) = pair().await;
        let _stream = shared.stream();
        let sent = shared.clone().send(request(Body::Empty)).await;
        assert!(matches!(sent, Err(Failed::Broken(_) | Failed::Untaken(..))));
        assert!(shared.is_closed());
    }
}
