//! The server's side on byte streams: one task a connection, which reads calls and answers them in their order.

use crate::call::{self, Asked, NAME};
use crate::map::status;
use crate::sasl::{self, Negotiation, Step};
use crate::wire::{Decoder, Envelope, Event, Head, Kind, Proto, Reader, WireError};
use base64::Engine as _;
use bytes::BytesMut;
use http::HeaderMap;
use sb_board::mount::{BoxFuture, Peer, Pipe, Recognised, Stream};
use sb_board::{Access, Board, Credentials};
use sb_core::model::{Error, Kind as ErrorKind, Result};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

/// How long a message that has begun may pause, and an answer may wait to be taken.
const STALLED: Duration = Duration::from_secs(30);
/// How long a login is good before it is judged again, so that a key that was taken back is noticed.
const REMEMBER: Duration = Duration::from_secs(1);
/// How long we wait, after the last word, for the client to stop sending.
const LINGER: Duration = Duration::from_secs(2);

/// The mount.
pub fn pipe(pipe: Pipe) -> BoxFuture<()> {
    Box::pin(async move {
        let Pipe { board, stream, peer } = pipe;
        let caller = Caller { board, peer, given: Given::None, persistent: HeaderMap::new(), known: None };
        // A connection that broke is nobody's error.
        let _ = converse(stream, caller).await;
    })
}

/// Credentials as the client gave them.
#[derive(Clone, PartialEq, Eq)]
enum Given {
    None,
    Token(String),
    Password(String, String),
}

struct Caller {
    board: Arc<Board>,
    peer: Peer,
    /// What SASL said.
    given: Given,
    /// Metadata of THeader that stays.
    persistent: HeaderMap,
    known: Option<(Given, Access, Instant)>,
}

impl Caller {
    /// Judges credentials, or remembers how they were judged. Those in the metadata of a message go before those of the connection.
    fn login(&mut self, metadata: &HeaderMap) -> Result<Access> {
        let given = match of_metadata(metadata)? {
            Given::None => self.given.clone(),
            given => given,
        };
        if let Some((known, access, at)) = &self.known
            && *known == given
            && at.elapsed() < REMEMBER
        {
            return Ok(access.clone());
        }
        self.known = None;
        let credentials = match &given {
            Given::None => Credentials::None,
            Given::Token(token) => Credentials::Token(token),
            Given::Password(name, password) => Credentials::Password(name, password),
        };
        let access = self.board.login(NAME, &self.peer, credentials)?;
        self.known = Some((given, access.clone(), Instant::now()));
        Ok(access)
    }
}

/// The credentials in the metadata of a THeader: `authorization` or `sb-api-key`, as on HTTP.
fn of_metadata(metadata: &HeaderMap) -> Result<Given> {
    let refused = |why: &'static str| {
        Error::new(ErrorKind::Unauthenticated, "SB0501", why)
            .fix("Send `authorization`: `Bearer TOKEN`, or `sb-api-key`")
    };
    let text = |name: &str| metadata.get_all(name).iter().next_back().and_then(|value| value.to_str().ok());
    if let Some(value) = text("authorization") {
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
            return Ok(Given::Token(rest.to_owned()));
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = base64::engine::general_purpose::STANDARD.decode(rest).ok();
            let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
            return match decoded.as_deref().and_then(|text| text.split_once(':')) {
                Some((name, password)) => Ok(Given::Password(name.to_owned(), password.to_owned())),
                None => Err(refused("The Basic credentials are not name:password in base64.")),
            };
        }
        return Err(refused("`authorization` is neither Bearer nor Basic."));
    }
    Ok(text("sb-api-key").map_or(Given::None, |key| Given::Token(key.trim().to_owned())))
}

async fn converse(mut stream: Box<dyn Stream>, mut caller: Caller) -> io::Result<()> {
    let board = caller.board.clone();
    let mut draining = pin!(board.draining());
    let limit = call::limit(&board);
    let mut input = BytesMut::new();
    if !negotiate(&mut stream, &mut input, &mut caller).await? {
        return linger(stream).await;
    }
    let mut decoder = Decoder::new(limit);
    let mut over = false;
    loop {
        match decoder.next(&mut input) {
            Ok(Some(Event::Message(incoming))) => {
                let mut metadata = HeaderMap::new();
                if let Envelope::Header(header) = &incoming.envelope {
                    for (name, value) in call::header_map(header.persistent.iter()).iter() {
                        caller.persistent.insert(name, value.clone());
                    }
                    if caller.persistent.len() > 64 {
                        caller.persistent.clear();
                    }
                    metadata = caller.persistent.clone();
                    for (name, value) in call::header_map(header.info.iter()).iter() {
                        metadata.insert(name, value.clone());
                    }
                }
                let wanted = !matches!(
                    Reader::new(&incoming.body, incoming.proto).head(),
                    Ok(Head { kind: Kind::Oneway, .. })
                );
                if over && wanted {
                    continue;
                }
                let asked = Asked { board: &board, service: None, metadata };
                let answered = {
                    let mut answering =
                        pin!(call::answer(asked, |metadata| caller.login(metadata), incoming));
                    loop {
                        tokio::select! {
                            biased;
                            answer = &mut answering => break answer,
                            // What comes in meanwhile waits, and the end of the connection cancels a call that is waited for.
                            n = stream.read_buf(&mut input), if !over && input.len() < limit => {
                                over = n.map_or(true, |n| n == 0);
                                if over && wanted {
                                    break None;
                                }
                            }
                        }
                    }
                };
                if let Some(answer) = answered
                    && !over
                {
                    write(&mut stream, &answer.bytes).await?;
                }
            }
            Ok(Some(refused)) => {
                if let Some(answer) = call::refuse_event(refused) {
                    write(&mut stream, &answer.bytes).await?;
                }
            }
            Ok(None) if over => return Ok(()),
            Ok(None) => {
                let begun = !input.is_empty() || decoder.busy();
                let read = async {
                    input.reserve(16 * 1024);
                    stream.read_buf(&mut input).await
                };
                let n = tokio::select! {
                    n = read => n?,
                    () = &mut draining => return stream.shutdown().await,
                    () = tokio::time::sleep(STALLED), if begun => return stream.shutdown().await,
                };
                if n == 0 {
                    return Ok(());
                }
            }
            Err(error) => {
                if let Some(answer) = last_word(&input, error) {
                    write(&mut stream, &answer).await?;
                }
                return linger(stream).await;
            }
        }
    }
}

/// Logs in by SASL, if the client begins with it. False when it was refused.
async fn negotiate(
    stream: &mut Box<dyn Stream>,
    input: &mut BytesMut,
    caller: &mut Caller,
) -> io::Result<bool> {
    let mut draining = pin!({
        let board = caller.board.clone();
        async move { board.draining().await }
    });
    let mut negotiation = None;
    loop {
        if negotiation.is_none() {
            match sasl::recognise(input) {
                Recognised::No => return Ok(true),
                Recognised::Yes => negotiation = Some(Negotiation::default()),
                Recognised::More => {}
            }
        }
        if let Some(negotiation) = &mut negotiation {
            match negotiation.next(input) {
                Step::More => {}
                Step::Refused(answer) => {
                    write(stream, &answer).await?;
                    return Ok(false);
                }
                Step::Login(name, password) => {
                    caller.given = Given::Password(name, password);
                    let answer = match caller.login(&HeaderMap::new()) {
                        Ok(_) => sasl::accepted(),
                        Err(error) => sasl::refused(&status::text(&error.into())),
                    };
                    write(stream, &answer).await?;
                    return Ok(answer == sasl::accepted());
                }
            }
        }
        let begun = !input.is_empty();
        let n = tokio::select! {
            n = stream.read_buf(input) => n?,
            () = &mut draining => 0,
            () = tokio::time::sleep(STALLED), if begun => 0,
        };
        if n == 0 {
            return Ok(false);
        }
    }
}

async fn write(stream: &mut Box<dyn Stream>, bytes: &[u8]) -> io::Result<()> {
    // Whoever does not take an answer in pieces of this time does not take it at all.
    for piece in bytes.chunks(256 * 1024) {
        timeout(STALLED, stream.write_all(piece)).await??;
    }
    timeout(STALLED, stream.flush()).await?
}

/// Waits for the client to stop sending, so that closing does not take our last word away from it.
async fn linger(mut stream: Box<dyn Stream>) -> io::Result<()> {
    stream.shutdown().await?;
    let mut sink = [0; 4096];
    let drained = async {
        while stream.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    timeout(LINGER, drained).await.unwrap_or(Ok(()))
}

/// What is said when a message without a frame cannot be read, so that nothing behind it can: nothing, when it does not look like Thrift at all.
fn last_word(input: &[u8], error: WireError) -> Option<Vec<u8>> {
    let proto = match input.first()? {
        0x80 => Proto::Binary,
        0x82 => Proto::Compact,
        _ => return None,
    };
    let head = Reader::new(input, proto).head().ok();
    Some(call::refuse(&Envelope::Plain, proto, head, error).bytes)
}
