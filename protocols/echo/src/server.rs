//! The server's side: one task a connection, which reads, acts and writes.

use crate::map;
use crate::wire::{self, Reply, Request, WireError};
use bytes::BytesMut;
use sb_board::access::PublishOptions;
use sb_board::mount::{Answer, BoxFuture, Frame, Pipe, Stream, Upgrade, WebSocket, WebSocketOptions};
use sb_board::tail::{Next, Tail};
use sb_board::{Access, Credentials};
use sb_core::model::{Error, Result};
use std::future::Future;
use std::pin::pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The mount of the protocol of lines.
pub fn lines(pipe: Pipe) -> BoxFuture<()> {
    Box::pin(async move {
        let Pipe { board, stream, peer } = pipe;
        let login = |token: Option<&str>| {
            let credentials = token.map_or(Credentials::None, Credentials::Token);
            board.login("echo", &peer, credentials)
        };
        // A connection that broke is nobody's error.
        let _ = converse(stream, login, board.draining()).await;
    })
}

/// Speaks with one client until it leaves, breaks the framing, or the server drains.
pub async fn converse(
    mut stream: impl Stream,
    login: impl Fn(Option<&str>) -> Result<Access>,
    draining: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let mut draining = pin!(draining);
    let mut caller = Caller { login, access: None, tail: None };
    let (mut input, mut output) = (BytesMut::new(), Vec::new());
    loop {
        // All requests that have come in are answered with one write.
        let over = loop {
            match wire::decode(&mut input) {
                Ok(Some(request)) => {
                    let reply = caller.act(request).await.unwrap_or_else(|error| map::error(&error));
                    wire::encode(&reply, &mut output);
                }
                Ok(None) => break false,
                Err(error) => {
                    wire::encode(&map::error(&map::wire_error(error)), &mut output);
                    if matches!(error, WireError::Framing(_)) {
                        break true;
                    }
                }
            }
            if output.len() > 64 * 1024 {
                break false;
            }
        };
        // Whoever does not read is not read from, either.
        stream.write_all(&output).await?;
        stream.flush().await?;
        let more = output.len() > 64 * 1024;
        output.clear();
        if over {
            return stream.shutdown().await;
        }
        if more {
            continue;
        }
        input.reserve(4096);
        tokio::select! {
            n = stream.read_buf(&mut input) => if n? == 0 { return Ok(()) },
            next = next(&mut caller.tail) => match next {
                Next::Records(given) => {
                    let records = given.batch.records();
                    for record in given.indexes.iter().filter_map(|i| records.get(*i as usize)) {
                        wire::encode(&map::delivered(&record.message), &mut output);
                    }
                }
                Next::Reset(error) => {
                    caller.tail = None;
                    wire::encode(&map::error(&error), &mut output);
                }
                Next::Draining => return stream.shutdown().await,
            },
            () = &mut draining => return stream.shutdown().await,
        }
    }
}

/// What the tail gives; nothing, while there is none.
async fn next(tail: &mut Option<Tail>) -> Next {
    match tail {
        Some(tail) => tail.next().await,
        None => std::future::pending().await,
    }
}

/// The client, as the board sees it.
struct Caller<L> {
    login: L,
    access: Option<Access>,
    tail: Option<Tail>,
}

impl<L: Fn(Option<&str>) -> Result<Access>> Caller<L> {
    async fn act(&mut self, request: Request) -> Result<Reply> {
        match request {
            Request::Echo(text) => Ok(Reply::Echo(text)),
            Request::Auth(token) => {
                self.access = Some((self.login)(Some(&token))?);
                Ok(Reply::Done)
            }
            Request::Publish { address, body } => {
                let message = map::message(&address, body)?;
                let published = self.access()?.publish(vec![message], PublishOptions::default()).await?;
                Ok(map::published(&published))
            }
            Request::Subscribe(pattern) => {
                if self.tail.is_some() {
                    return Err(Error::invalid("there is a SUB on this connection already"));
                }
                let (pattern, from) = map::subscription(&pattern)?;
                self.tail = Some(self.access()?.tail(&pattern, from, None).await?);
                Ok(Reply::Done)
            }
        }
    }

    /// Whoever has not logged in is judged without credentials, once something needs rights.
    fn access(&mut self) -> Result<Access> {
        if self.access.is_none() {
            self.access = Some((self.login)(None)?);
        }
        self.access.clone().ok_or_else(|| Error::internal("login gave nothing"))
    }
}

/// The mount of the WebSocket echo.
pub fn web(request: sb_board::mount::Request) -> BoxFuture<Answer> {
    let http = request.http;
    Box::pin(async move {
        if http.uri().path() != "/echo" || !http.headers().contains_key(http::header::SEC_WEBSOCKET_VERSION) {
            return Answer::Pass(http);
        }
        let options =
            WebSocketOptions { max_message: 64 << 20, max_fragments: None, ..WebSocketOptions::default() };
        let run = Box::new(|socket| Box::pin(echo(socket)) as BoxFuture<()>);
        Answer::WebSocket(Upgrade { http, subprotocol: None, options, run })
    })
}

/// Sends back what comes in, until the client closes or the server drains.
async fn echo(mut socket: WebSocket) {
    loop {
        let turn = std::future::poll_fn(|cx| {
            let io = socket.io();
            match io.poll_next(cx) {
                std::task::Poll::Pending => io.poll_draining(cx).map(|()| None),
                frame => frame.map(Some),
            }
        });
        match turn.await {
            Some(Some(Frame::Text(text))) => socket.queue_text(text),
            Some(Some(Frame::Binary(bytes))) => socket.queue_binary(bytes),
            Some(Some(Frame::Close(..)) | None) => return,
            None => return socket.close(1001, "the server stops").await,
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}
