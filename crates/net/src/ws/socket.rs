//! A WebSocket on a connection.
//!
//! While nothing happens it holds no buffer: reads go into one that belongs to the thread, the output is released when it is empty.

use super::codec::{self, Decoder, Event, Limits, Role};
use super::deflate::{Deflater, Params};
use crate::drain::Ticket;
use bytes::{Buf, Bytes};
use sb_board::mount::{Frame, WebSocketIo, WebSocketOptions};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How much is read at once.
const READ: usize = 64 * 1024;
/// Payloads up to this size are copied behind their heads; larger ones are kept as they are.
const COPY: usize = 4096;
/// A piece of the output is closed when it has grown to this.
const PIECE: usize = 64 * 1024;
/// So many bytes of pongs may wait for a client that does not read; then nothing more is read from it.
const PONGS: usize = 16 * 1024;
/// How long the closing handshake may take.
const GOODBYE: Duration = Duration::from_secs(5);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// What waits to be written.
#[derive(Default)]
struct Output {
    pieces: VecDeque<Bytes>,
    /// The end of it, still growing.
    last: Vec<u8>,
    /// Bytes in `pieces`.
    len: usize,
}

impl Output {
    fn queued(&self) -> usize {
        self.len + self.last.len()
    }

    fn seal(&mut self) {
        if !self.last.is_empty() {
            let piece = Bytes::from(std::mem::take(&mut self.last));
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        if self.last.len() + bytes.len() > PIECE {
            self.seal();
        }
        self.last.extend_from_slice(bytes);
    }

    fn share(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY && !(self.last.is_empty() && self.pieces.is_empty()) {
            return self.copy(&bytes);
        }
        self.seal();
        self.len += bytes.len();
        self.pieces.push_back(bytes);
    }

    fn head(&mut self, first: u8, len: usize) {
        if self.last.len() + 14 > PIECE {
            self.seal();
        }
        codec::put_head(&mut self.last, first, len);
    }

    fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.seal();
        while !self.pieces.is_empty() {
            let n = match self.pieces.front() {
                Some(only) if self.pieces.len() == 1 => ready!(Pin::new(&mut *io).poll_write(cx, only))?,
                _ => {
                    let mut slices = [IoSlice::new(&[]); 64];
                    let mut used = 0;
                    for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                        *slice = IoSlice::new(piece);
                        used += 1;
                    }
                    ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices[..used]))?
                }
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken(n);
        }
        // Memory goes back as soon as there is nothing to write.
        self.pieces = VecDeque::new();
        Pin::new(io).poll_flush(cx)
    }

    fn taken(&mut self, mut n: usize) {
        self.len -= n;
        while let Some(piece) = self.pieces.front_mut() {
            if n < piece.len() {
                piece.advance(n);
                return;
            }
            n -= piece.len();
            self.pieces.pop_front();
        }
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// We sent a close frame and wait for theirs.
    Closing,
    /// Both have said good-bye, or there is nobody left to say it to.
    Closed,
}

/// A WebSocket over a connection `S`.
pub struct Socket<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    /// There until the socket is dropped.
    io: Option<S>,
    decoder: Decoder,
    deflater: Option<Box<Deflater>>,
    /// Bytes that were read and hold more than the message that was given out.
    unread: Bytes,
    output: Output,
    phase: Phase,
    /// The close has been given out.
    told: bool,
    /// The input cannot be understood any more.
    failed: bool,
    /// Nobody is there any more to say good-bye to.
    gone: bool,
    /// Bytes of pongs since everything was written.
    pongs: usize,
    /// Pings without an answer.
    silent: u8,
    /// Something came in since the last tick.
    heard: bool,
    every: Duration,
    tick: Option<Pin<Box<Sleep>>>,
    ticket: Arc<Ticket>,
    /// Dropped with the socket: what counts it.
    guards: Box<dyn Send>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Socket<S> {
    /// A socket over `io`, whose first bytes may have been read already. `guards` live as long as the connection.
    pub fn new(
        io: S,
        unread: Bytes,
        options: &WebSocketOptions,
        params: Option<&Params>,
        ticket: Arc<Ticket>,
        guards: Box<dyn Send>,
    ) -> Self {
        let limits = Limits { message: options.max_message, fragments: options.max_fragments };
        Socket {
            io: Some(io),
            decoder: Decoder::new(Role::Server, limits, params),
            deflater: params.map(|p| Box::new(Deflater::new(p))),
            unread,
            output: Output::default(),
            phase: Phase::Open,
            told: false,
            failed: false,
            gone: false,
            pongs: 0,
            silent: 0,
            heard: false,
            every: Duration::from_secs(u64::from(options.ping_seconds)),
            tick: None,
            ticket,
            guards,
        }
    }

    fn control(&mut self, opcode: u8, payload: &[u8]) {
        self.output.head(0x80 | opcode, payload.len());
        self.output.copy(payload);
    }

    fn send_close(&mut self, code: u16, reason: &str) {
        let payload = codec::close_payload(code, reason);
        self.control(8, &payload);
    }

    /// The connection is gone, or must go.
    fn lost(&mut self, reason: &str) -> Poll<Option<Frame>> {
        let first = self.phase == Phase::Open;
        self.phase = Phase::Closed;
        self.failed = true;
        self.gone = true;
        self.output = Output::default();
        self.told = true;
        Poll::Ready(first.then(|| Frame::Close(1006, reason.to_owned())))
    }

    /// Takes the next thing out of bytes that were read.
    fn understand(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        while !bytes.is_empty() {
            match self.decoder.decode(bytes) {
                Ok(None) => {}
                // After our own close frame, messages that were under way are passed over.
                Ok(Some(Event::Text(_) | Event::Binary(_))) if self.phase != Phase::Open => {}
                Ok(Some(Event::Text(text))) => return Some(Frame::Text(text)),
                Ok(Some(Event::Binary(bytes))) => return Some(Frame::Binary(bytes)),
                Ok(Some(Event::Ping(payload))) => {
                    if self.phase == Phase::Open {
                        self.control(10, &payload);
                        self.pongs += payload.len() + 2;
                    }
                }
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close(code, reason))) => {
                    if self.phase == Phase::Open {
                        self.send_close(code, "");
                    }
                    self.phase = Phase::Closed;
                    *bytes = &[];
                    return Some(Frame::Close(code, reason));
                }
                Err(violation) => {
                    if self.phase == Phase::Open {
                        self.send_close(violation.code, violation.reason);
                    }
                    self.phase = Phase::Closed;
                    self.failed = true;
                    *bytes = &[];
                    return Some(Frame::Close(violation.code, violation.reason.to_owned()));
                }
            }
        }
        None
    }

    /// Pings, and notices when nobody answers. True when the other end is given up.
    fn poll_tick(&mut self, cx: &mut Context<'_>) -> bool {
        if self.every.is_zero() {
            return false;
        }
        let every = self.every;
        loop {
            let tick = self.tick.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
            if tick.as_mut().poll(cx).is_pending() {
                return false;
            }
            tick.as_mut().reset(Instant::now() + every);
            if std::mem::take(&mut self.heard) {
                self.silent = 0;
                continue;
            }
            if let Some(deflater) = &mut self.deflater {
                deflater.forget();
            }
            if self.silent >= 2 {
                return true;
            }
            self.silent += 1;
            if self.phase == Phase::Open {
                self.control(9, &[]);
                self.pongs += 2;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> WebSocketIo for Socket<S> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        loop {
            if self.phase == Phase::Closed && self.told {
                // What is left to say is said before the end is reported.
                if let Some(io) = &mut self.io {
                    let _ = ready!(self.output.poll_flush(io, cx));
                }
                return Poll::Ready(None);
            }
            let mut unread = std::mem::take(&mut self.unread);
            if !unread.is_empty() {
                let mut rest = &unread[..];
                let frame = self.understand(&mut rest);
                unread.advance(unread.len() - rest.len());
                self.unread = unread;
                if let Some(frame) = frame {
                    if matches!(frame, Frame::Close(..)) {
                        self.told = true;
                        if let Some(io) = &mut self.io {
                            let _ = self.output.poll_flush(io, cx);
                        }
                    }
                    return Poll::Ready(Some(frame));
                }
            }
            if self.poll_tick(cx) {
                return self.lost("the other end answers no pings");
            }
            if self.ticket.killed() {
                return self.lost("the server ends");
            }
            let Some(io) = &mut self.io else { return Poll::Ready(None) };
            if self.pongs > 0 {
                match self.output.poll_flush(io, cx) {
                    Poll::Ready(Ok(())) => self.pongs = 0,
                    Poll::Ready(Err(_)) => return self.lost("the connection broke"),
                    Poll::Pending if self.pongs > PONGS => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            let Some(io) = &mut self.io else { return Poll::Ready(None) };
            // Borrowed from the thread for the time of this call, which runs no foreign code.
            let mut scratch = SCRATCH.take();
            if scratch.is_empty() {
                scratch = vec![0; READ].into_boxed_slice();
            }
            let mut buf = ReadBuf::new(&mut scratch);
            let outcome = Pin::new(io).poll_read(cx, &mut buf);
            let n = buf.filled().len();
            let mut frame = None;
            if n > 0 {
                self.heard = true;
                let mut rest = &scratch[..n];
                frame = self.understand(&mut rest);
                if !rest.is_empty() {
                    self.unread = Bytes::copy_from_slice(rest);
                }
            }
            SCRATCH.set(scratch);
            match outcome {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return self.lost("the connection broke"),
                Poll::Ready(Ok(())) if n == 0 => return self.lost("the connection was closed"),
                Poll::Ready(Ok(())) => {}
            }
            if let Some(frame) = frame {
                if matches!(frame, Frame::Close(..)) {
                    self.told = true;
                    if let Some(io) = &mut self.io {
                        let _ = self.output.poll_flush(io, cx);
                    }
                }
                return Poll::Ready(Some(frame));
            }
        }
    }

    fn queue(&mut self, text: bool, head: &[u8], tail: Bytes) {
        if self.phase != Phase::Open {
            return;
        }
        let opcode = if text { 0x81 } else { 0x82 };
        if let Some(deflater) = &mut self.deflater
            && let Some(small) = deflater.message(head, &tail)
        {
            self.output.head(opcode | 0x40, small.len());
            return self.output.share(small.into());
        }
        self.output.head(opcode, head.len() + tail.len());
        self.output.copy(head);
        self.output.share(tail);
    }

    fn queue_framed(&mut self, frames: Bytes) {
        if self.phase == Phase::Open {
            self.output.share(frames);
        }
    }

    fn compresses(&self) -> bool {
        self.deflater.is_some()
    }

    fn queued(&self) -> usize {
        self.output.queued()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ticket.killed() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        let before = self.output.queued();
        let outcome = match self.output.poll_flush(io, cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                // Taking what we write is a sign of life, too. Whoever gives none for three ticks is given up.
                self.heard |= self.output.queued() < before;
                if !self.poll_tick(cx) {
                    return Poll::Pending;
                }
                Err(io::ErrorKind::TimedOut.into())
            }
        };
        self.pongs = 0;
        if outcome.is_err() {
            self.phase = Phase::Closed;
            self.failed = true;
            self.gone = true;
            self.output = Output::default();
        }
        Poll::Ready(outcome)
    }

    fn close(&mut self, code: u16, reason: &str) {
        if self.phase == Phase::Open {
            self.send_close(code, reason);
            self.phase = Phase::Closing;
        }
    }

    fn poll_draining(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ticket.poll_draining(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Drop for Socket<S> {
    /// A connection is not simply dropped: unread input would make the kernel send a reset, and the client might never see our
    /// close frame. So what is left is written, and their close frame awaited for a while.
    fn drop(&mut self) {
        if self.phase == Phase::Open {
            // The protocol ended without a word: drained, or a fault of ours.
            let code = if self.ticket.killed() { 1001 } else { 1011 };
            self.send_close(code, "");
            self.phase = Phase::Closing;
        }
        let (Some(mut io), Ok(runtime)) = (self.io.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        if self.gone {
            return;
        }
        let mut output = std::mem::take(&mut self.output);
        let await_close = self.phase == Phase::Closing;
        let failed = self.failed;
        // Draining waits for the good-byes, too.
        let guards = (std::mem::replace(&mut self.guards, Box::new(())), self.ticket.clone());
        let limits = Limits { message: 1 << 20, fragments: None };
        let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(Role::Server, limits, None));
        let unread = std::mem::take(&mut self.unread);
        runtime.spawn(async move {
            let _guards = guards;
            let goodbye = async move {
                std::future::poll_fn(|cx| output.poll_flush(&mut io, cx)).await?;
                if failed {
                    // They may be in the middle of anything: say that nothing more comes, and read until they have seen it.
                    io.shutdown().await?;
                }
                let mut buf = vec![0; 4096];
                let mut bytes = &unread[..];
                if !await_close && !failed {
                    return io.shutdown().await;
                }
                loop {
                    while !bytes.is_empty() && !failed {
                        match decoder.decode(&mut bytes) {
                            Ok(Some(Event::Close(..))) | Err(_) => return io.shutdown().await,
                            Ok(_) => {}
                        }
                    }
                    let n = io.read(&mut buf).await?;
                    if n == 0 {
                        break;
                    }
                    bytes = buf.get(..n).unwrap_or_default();
                }
                io.shutdown().await
            };
            let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        });
    }
}
