//! Bytes to requests, replies to bytes. Pure and bounded: no I/O, and nothing of the core.

use bytes::{Buf, Bytes, BytesMut};
use sb_board::mount::Recognised;

/// The longest line.
pub const MAX_LINE: usize = 2048;
/// The largest body.
pub const MAX_BODY: usize = 1 << 20;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Send this back.
    Echo(Bytes),
    /// Log in with this token.
    Auth(String),
    /// Publish.
    Publish {
        /// The address, as it was written.
        address: String,
        /// The body.
        body: Bytes,
    },
    /// Deliver what matches this pattern from now on.
    Subscribe(String),
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What was sent.
    Echo(Bytes),
    /// Done.
    Done,
    /// Durable, at this offset.
    Stored(u64),
    /// Handed to so many listeners.
    Live(usize),
    /// A message that matches.
    Message {
        /// Where it was sent to.
        address: String,
        /// The body.
        body: Bytes,
    },
    /// It did not work.
    Error {
        /// The stable code.
        code: String,
        /// A word for programs.
        word: &'static str,
        /// For people, on one line.
        text: String,
    },
}

/// Why bytes are not a request.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The line is wrong; the next one may be right.
    Line(&'static str),
    /// Nobody knows where the next request begins; the connection has to be closed.
    Framing(&'static str),
}

/// Recognises the protocol from its first bytes.
pub fn recognise(bytes: &[u8]) -> Recognised {
    let verbs: [&[u8]; 4] = [b"ECHO ", b"AUTH ", b"PUB ", b"SUB "];
    if verbs.iter().any(|verb| bytes.starts_with(verb)) {
        Recognised::Yes
    } else if verbs.iter().any(|verb| verb.starts_with(bytes)) {
        Recognised::More
    } else {
        Recognised::No
    }
}

/// Takes one request from the front of `buffer`. `None` while it is not complete; then nothing is taken.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Request>, WireError> {
    let Some(end) = buffer.iter().take(MAX_LINE).position(|b| *b == b'\n') else {
        return if buffer.len() < MAX_LINE {
            Ok(None)
        } else {
            Err(WireError::Framing("the line is too long"))
        };
    };
    let line = &buffer[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (verb, rest) = match line.iter().position(|b| *b == b' ') {
        Some(space) => (&line[..space], &line[space + 1..]),
        None => (line, &[][..]),
    };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).ok();
    let request = match verb {
        b"ECHO" => Ok(Request::Echo(Bytes::copy_from_slice(rest))),
        b"AUTH" => text(rest).map(Request::Auth).ok_or(WireError::Line("the token is not UTF-8")),
        b"SUB" => text(rest).map(Request::Subscribe).ok_or(WireError::Line("the pattern is not UTF-8")),
        b"PUB" => {
            // Without the length nobody knows where the body ends, so everything wrong here loses the framing.
            let (address, len) = text(rest)
                .and_then(|rest| rest.rsplit_once(' ').map(|(a, n)| (a.to_owned(), n.parse::<usize>().ok())))
                .ok_or(WireError::Framing("PUB needs an address and a length"))?;
            let len = len
                .filter(|len| *len <= MAX_BODY)
                .ok_or(WireError::Framing("the length is not a number up to 1,048,576"))?;
            if buffer.len() - (end + 1) < len {
                return Ok(None);
            }
            buffer.advance(end + 1);
            return Ok(Some(Request::Publish { address, body: buffer.split_to(len).freeze() }));
        }
        _ => Err(WireError::Line("the verbs are ECHO, AUTH, PUB and SUB")),
    };
    buffer.advance(end + 1);
    request.map(Some)
}

/// Appends a reply.
pub fn encode(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Echo(text) => out.extend_from_slice(text),
        Reply::Done => out.extend_from_slice(b"+OK"),
        Reply::Stored(offset) => out.extend_from_slice(format!("+OK {offset}").as_bytes()),
        Reply::Live(count) => out.extend_from_slice(format!("+LIVE {count}").as_bytes()),
        Reply::Message { address, body } => {
            out.extend_from_slice(format!("MSG {address} {}\n", body.len()).as_bytes());
            out.extend_from_slice(body);
            return;
        }
        Reply::Error { code, word, text } => {
            let text = text.replace(['\r', '\n'], " ");
            out.extend_from_slice(format!("-ERR {code} {word} {text}").as_bytes());
        }
    }
    out.push(b'\n');
}
