//! The transports on a byte stream, told apart message by message: frames (a length in front), messages one after the other without any
//! (`TBufferedTransport`), and THeader. An answer goes back the way its call came.

use super::header::{self, Header};
use super::{Head, Proto, Reader, Result, Scanner, WireError};
use bytes::{Buf, Bytes, BytesMut};
use sb_board::mount::Recognised;

/// The largest frame whose first bytes are recognised on a shared port, in 16 MiB; larger lengths begin like other protocols.
const MAX_FIRST: u8 = 3;
/// Bytes of a message that is too large that are looked at, to answer it by its name.
const PREFIX: usize = 2048;

/// How a message is wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// Not at all.
    Plain,
    /// By its length.
    Framed,
    /// By length and head.
    Header(Box<Header>),
}

impl Envelope {
    /// Room to leave in front of a message for [`Envelope::seal`].
    pub fn room(&self) -> Vec<u8> {
        match self {
            Envelope::Framed => vec![0; 4],
            _ => Vec::new(),
        }
    }

    /// Wraps what was written behind the room.
    pub fn seal(&self, mut message: Vec<u8>) -> Vec<u8> {
        match self {
            Envelope::Plain => message,
            Envelope::Framed => {
                let len = message.len().saturating_sub(4) as u32;
                if let Some(room) = message.first_chunk_mut() {
                    *room = len.to_be_bytes();
                }
                message
            }
            Envelope::Header(header) => header::encode(header, &message),
        }
    }
}

/// A whole message.
#[derive(Debug)]
pub struct Incoming {
    /// How it was wrapped.
    pub envelope: Envelope,
    /// How it is encoded.
    pub proto: Proto,
    /// The message, from its head on.
    pub body: Bytes,
}

/// What a stream holds next.
#[derive(Debug)]
pub enum Event {
    /// A message.
    Message(Incoming),
    /// A message that cannot be read: too large (its frame is passed over), or wrapped in a way that is not spoken. What is known of it.
    Refused {
        /// How to answer.
        envelope: Envelope,
        /// How to encode the answer.
        proto: Proto,
        /// The head, if it could be read.
        head: Option<Head>,
        /// What is wrong.
        error: WireError,
    },
}

/// Takes messages off a stream.
pub struct Decoder {
    limit: usize,
    scanner: Option<(Proto, Scanner)>,
    /// Bytes of a refused frame that are still to be passed over.
    skip: usize,
}

enum Start {
    Plain(Proto),
    Framed { len: usize, header: bool, proto: Proto },
}

/// How the next message is wrapped and encoded; `None` while that cannot be told.
fn start(bytes: &[u8]) -> Result<Option<Start>> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    match first {
        0x80 => return Ok(Some(Start::Plain(Proto::Binary))),
        0x82 => return Ok(Some(Start::Plain(Proto::Compact))),
        0x81 | 0x83.. => return Err(WireError::Malformed("these bytes begin no Thrift message")),
        _ => {}
    }
    let (Some(len), Some(&fifth)) = (bytes.first_chunk::<4>(), bytes.get(4)) else { return Ok(None) };
    let len = u32::from_be_bytes(*len) as usize;
    let framed = |header, proto| Ok(Some(Start::Framed { len, header, proto }));
    match (fifth, bytes.get(5)) {
        (0x80, _) => framed(false, Proto::Binary),
        (0x82, _) => framed(false, Proto::Compact),
        (0x0f, None) => Ok(None),
        (0x0f, Some(0xff)) => framed(true, Proto::Binary),
        // The old head of the binary protocol begins with the length of a name, which is short.
        (0, _) => framed(false, Proto::Binary),
        (0x21..=0x7e, _) if len <= super::MAX_NAME => Ok(Some(Start::Plain(Proto::Binary))),
        _ => Err(WireError::Malformed("these bytes begin no Thrift message")),
    }
}

impl Decoder {
    /// Messages may have `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Decoder { limit, scanner: None, skip: 0 }
    }

    /// Whether a message has begun that is not whole yet.
    pub fn busy(&self) -> bool {
        self.scanner.is_some() || self.skip > 0
    }

    /// The next message, if all of it is there. After an error the stream cannot be understood any more.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Event>> {
        if self.skip > 0 {
            let here = self.skip.min(input.len());
            input.advance(here);
            self.skip -= here;
            if self.skip > 0 {
                return Ok(None);
            }
        }
        if self.scanner.is_none() {
            match start(input)? {
                None => return Ok(None),
                Some(Start::Plain(proto)) => self.scanner = Some((proto, Scanner::new(proto, self.limit))),
                Some(Start::Framed { len, header, proto }) => return self.framed(input, len, header, proto),
            }
        }
        let Some((proto, scanner)) = &mut self.scanner else { return Ok(None) };
        let (proto, found) = (*proto, scanner.scan(input)?);
        let Some(len) = found else { return Ok(None) };
        self.scanner = None;
        let body = input.split_to(len).freeze();
        Ok(Some(Event::Message(Incoming { envelope: Envelope::Plain, proto, body })))
    }

    fn framed(
        &mut self,
        input: &mut BytesMut,
        len: usize,
        has_header: bool,
        proto: Proto,
    ) -> Result<Option<Event>> {
        if len > self.limit {
            if input.len() < (len + 4).min(PREFIX) {
                return Ok(None);
            }
            let error = WireError::TooLarge(self.limit);
            let prefix = input.get(4..).unwrap_or_default();
            let event = if has_header {
                // How it is encoded is not looked at; nothing but the number of the message is needed.
                let seqid =
                    prefix.get(4..8).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b));
                refused(seqid, error)
            } else {
                let head = Reader::new(prefix, proto).head().ok();
                Event::Refused { envelope: Envelope::Framed, proto, head, error }
            };
            self.skip = len + 4;
            let here = self.skip.min(input.len());
            input.advance(here);
            self.skip -= here;
            return Ok(Some(event));
        }
        if input.len() < len + 4 {
            return Ok(None);
        }
        input.advance(4);
        let body = input.split_to(len).freeze();
        if !has_header {
            return Ok(Some(Event::Message(Incoming { envelope: Envelope::Framed, proto, body })));
        }
        match header::decode(&body, self.limit) {
            Ok((header, message)) => {
                let proto = header.proto;
                let envelope = Envelope::Header(Box::new(header));
                Ok(Some(Event::Message(Incoming { envelope, proto, body: message.into() })))
            }
            Err(error) => {
                let seqid =
                    body.get(4..8).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b));
                Ok(Some(refused(seqid, error)))
            }
        }
    }
}

/// A frame with a head that cannot be used: answered by its number, in the binary protocol.
fn refused(seqid: u32, error: WireError) -> Event {
    let header = Header {
        flags: 0,
        seqid,
        proto: Proto::Binary,
        zlib: false,
        info: Vec::new(),
        persistent: Vec::new(),
    };
    Event::Refused { envelope: Envelope::Header(Box::new(header)), proto: Proto::Binary, head: None, error }
}

/// Whether a connection that others share begins with Thrift: a head of the binary protocol with its version or of the compact one, bare or in a frame of
/// less than 64 MiB, or THeader; or the first message of SASL.
pub fn recognise(bytes: &[u8]) -> Recognised {
    let Some(&first) = bytes.first() else { return Recognised::More };
    match first {
        0x80 | 0x82 => head(bytes),
        0..=MAX_FIRST => {
            if first == 1 {
                match crate::sasl::recognise(bytes) {
                    Recognised::No => {}
                    seen => return seen,
                }
            }
            match bytes.get(4..) {
                None | Some([]) => Recognised::More,
                Some([0x0f]) => Recognised::More,
                Some([0x0f, 0xff, ..]) => Recognised::Yes,
                Some(rest) => head(rest),
            }
        }
        _ => Recognised::No,
    }
}

fn head(bytes: &[u8]) -> Recognised {
    match bytes {
        [0x80] | [0x82] | [0x80, 1] | [0x80, 1, _] => Recognised::More,
        [0x80, 1, _, kind, ..] if (1..=4).contains(kind) => Recognised::Yes,
        [0x82, second, ..] if second & 0x1f == 1 && (1..=4).contains(&(second >> 5)) => Recognised::Yes,
        _ => Recognised::No,
    }
}
