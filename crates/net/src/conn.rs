//! A connection as the rest of the crate sees it: plain or encrypted, with bytes that were read too early put back in front.

use crate::guard::Guard;
use bytes::{Buf, Bytes};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A stream whose first bytes were read already.
pub struct Prefixed<S> {
    prefix: Bytes,
    stream: S,
}

impl<S> Prefixed<S> {
    fn new(stream: S) -> Self {
        Prefixed { prefix: Bytes::new(), stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let n = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..n]);
            self.prefix.advance(n);
            if self.prefix.is_empty() {
                self.prefix = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

type Tls = Prefixed<TlsStream<Prefixed<TcpStream>>>;

/// A connection.
pub enum Conn {
    /// TCP.
    Plain(Prefixed<TcpStream>),
    /// TLS over TCP.
    Tls(Box<Tls>),
}

impl From<TcpStream> for Conn {
    fn from(stream: TcpStream) -> Self {
        Conn::Plain(Prefixed::new(stream))
    }
}

impl Conn {
    /// Puts bytes that were read back in front.
    pub fn put_back(&mut self, bytes: Bytes) {
        match self {
            Conn::Plain(s) => s.prefix = bytes,
            Conn::Tls(s) => s.prefix = bytes,
        }
    }

    /// Does the server's part of the TLS handshake; also gives the protocol agreed on by ALPN.
    pub async fn encrypt(self, acceptor: &TlsAcceptor) -> io::Result<(Conn, Option<Vec<u8>>)> {
        let Conn::Plain(plain) = self else { return Err(io::ErrorKind::InvalidInput.into()) };
        let tls = acceptor.accept(plain).await?;
        let alpn = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok((Conn::Tls(Box::new(Prefixed::new(tls))), alpn))
    }

    /// Bytes that have come in and stay in the kernel. `None` when they cannot be seen.
    pub async fn peek(&self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Conn::Plain(s) if s.prefix.is_empty() => s.stream.peek(bytes).await.map(Some),
            _ => Ok(None),
        }
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Conn::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Conn::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Conn::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Conn::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Conn::Plain(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Conn::Tls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Conn::Plain(s) => Pin::new(s).poll_flush(cx),
            Conn::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Conn::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Conn::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// How long a client may take none of an answer.
const STALLED: Duration = Duration::from_secs(60);

/// Counts the requests of a connection that are being answered.
#[derive(Clone, Default)]
pub struct Busy(Arc<AtomicUsize>);

/// One request that is being answered, until it is dropped.
pub struct Held(Busy);

impl Busy {
    /// Counts one more.
    pub fn hold(&self) -> Held {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(self.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that speaks HTTP/1: looked at by the [`Guard`]; a head that has begun must end in time, answers must be taken, and between
/// requests it does not stay for ever.
pub struct Http1 {
    /// The connection.
    pub conn: Conn,
    guard: Guard,
    head_time: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    stalled: Option<Pin<Box<Sleep>>>,
    idle: Duration,
    busy: Busy,
    /// One timer for the connection's life: setting one for each request would cost each a lock and often a system call.
    idle_timer: Option<Pin<Box<Sleep>>>,
    /// Whether anything came or went since that timer was set.
    moved: bool,
}

impl Http1 {
    /// Heads must be complete within `head_time` of their first byte. Where nothing comes or goes for `idle`, and twice that at most, and
    /// `busy` counts no request, the connection ends.
    pub fn new(conn: Conn, head_time: Duration, idle: Duration, busy: Busy) -> Self {
        Http1 {
            conn,
            guard: Guard::default(),
            head_time,
            timer: None,
            stalled: None,
            idle,
            busy,
            idle_timer: None,
            moved: false,
        }
    }

    /// Watches over a write.
    fn written(&mut self, outcome: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.moved = true;
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ready when nothing has happened for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.idle_timer.get_or_insert_with(|| {
            self.moved = false;
            Box::pin(tokio::time::sleep(self.idle))
        });
        while timer.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut self.moved) && self.busy.0.load(Ordering::Relaxed) == 0 {
                return Poll::Ready(());
            }
            timer.as_mut().reset(tokio::time::Instant::now() + self.idle);
        }
        Poll::Pending
    }
}

impl AsyncRead for Http1 {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.conn).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                this.moved = true;
                let new = buf.filled_mut().get_mut(before..).unwrap_or_default();
                if !this.guard.look(new) {
                    tracing::debug!("a request with ambiguous framing was refused");
                }
                if !this.guard.in_head() {
                    this.timer = None;
                } else if this.timer.is_none() {
                    this.timer = Some(Box::pin(tokio::time::sleep(this.head_time)));
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => match &mut this.timer {
                Some(timer) => timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
                None => this.poll_idle(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
            },
            failed => failed,
        }
    }
}

impl AsyncWrite for Http1 {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.conn).poll_write(cx, buf);
        self.written(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.conn).poll_write_vectored(cx, bufs);
        self.written(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_shutdown(cx)
    }
}
