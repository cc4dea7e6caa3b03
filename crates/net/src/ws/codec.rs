//! Frames and messages, RFC 6455 §5 to §7: bytes in, messages out. Pure: no I/O, no clock.
//!
//! The decoder holds nothing while it is between messages (but the window of a peer that compresses with context takeover): bytes
//! are taken from a buffer that the caller lends, payload is unmasked on its one copy into the message.

use super::deflate::{self, Params};
use bytes::Bytes;

/// What decoding gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A text message, checked to be UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// To be answered with a pong of the same payload.
    Ping(Bytes),
    /// An answer to a ping.
    Pong,
    /// The other end closes; 1005 when it gave no code.
    Close(u16, String),
}

/// Why the connection has to be failed: the code of the close frame, and a reason for people.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The close code.
    pub code: u16,
    /// What was wrong.
    pub reason: &'static str,
}

const fn protocol(reason: &'static str) -> Violation {
    Violation { code: 1002, reason }
}
const NOT_UTF8: Violation = Violation { code: 1007, reason: "the text is not UTF-8" };
const TOO_LARGE: Violation = Violation { code: 1009, reason: "the message is larger than the limit" };
const TOO_MANY: Violation = Violation { code: 1009, reason: "the message has more fragments than the limit" };

/// Which end of the connection decodes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Frames that come in must be masked.
    Server,
    /// Frames that come in must not be masked.
    Client,
}

/// What is bounded.
#[derive(Copy, Clone, Debug)]
pub struct Limits {
    /// Bytes of one message, decompressed.
    pub message: usize,
    /// Frames of one message.
    pub fragments: Option<usize>,
}

/// The frame whose payload is being read.
#[derive(Copy, Clone)]
struct Current {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Payload bytes still to come.
    remaining: u64,
}

/// Reads frames of one direction of a connection.
pub struct Decoder {
    role: Role,
    limits: Limits,
    /// The head of a frame as far as it has come in.
    head: [u8; 14],
    have: u8,
    current: Option<Current>,
    /// 1 text, 2 binary, 0 when no message is begun.
    kind: u8,
    compressed: bool,
    fragments: usize,
    message: Vec<u8>,
    /// How much of a text message is known to be UTF-8.
    checked: usize,
    control: Vec<u8>,
    inflate: Option<Box<deflate::Inflater>>,
}

impl Decoder {
    /// A decoder; `params` when permessage-deflate was negotiated.
    pub fn new(role: Role, limits: Limits, params: Option<&Params>) -> Self {
        let inflate = params.map(|p| {
            Box::new(deflate::Inflater::new(match role {
                Role::Server => (!p.client_no_context_takeover).then_some(p.client_max_window_bits),
                Role::Client => (!p.server_no_context_takeover).then_some(p.server_max_window_bits),
            }))
        });
        Decoder {
            role,
            limits,
            head: [0; 14],
            have: 0,
            current: None,
            kind: 0,
            compressed: false,
            fragments: 0,
            message: Vec::new(),
            checked: 0,
            control: Vec::new(),
            inflate,
        }
    }

    /// Takes bytes from the front of `input` until something is complete (`Some`) or all are taken (`None`). After an error the
    /// connection is to be failed; nothing more may be decoded.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Violation> {
        loop {
            let mut frame = match self.current {
                Some(frame) => frame,
                None => match self.read_head(input)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            // The cast cannot cut: the smaller of two numbers, one of which is a usize.
            let n = frame.remaining.min(input.len() as u64) as usize;
            let (piece, rest) = input.split_at(n);
            *input = rest;
            if frame.opcode >= 8 {
                unmask_into(&mut self.control, piece, frame.mask);
            } else if n > 0 {
                self.take_data(piece, &frame)?;
            }
            frame.remaining -= n as u64;
            frame.mask.rotate_left(n % 4);
            if frame.remaining > 0 {
                self.current = Some(frame);
                return Ok(None);
            }
            self.current = None;
            if frame.opcode >= 8 {
                return self.end_control(frame.opcode).map(Some);
            }
            if frame.fin {
                return self.end_message().map(Some);
            }
        }
    }

    /// Collects the head of a frame, which may come in pieces, and checks it.
    fn read_head(&mut self, input: &mut &[u8]) -> Result<Option<Current>, Violation> {
        loop {
            let have = self.have as usize;
            if have >= 2 {
                let need =
                    2 + match self.head[1] & 0x7f {
                        126 => 2,
                        127 => 8,
                        _ => 0,
                    } + if self.head[1] & 0x80 != 0 { 4 } else { 0 };
                if have == need {
                    self.have = 0;
                    return self.check_head().map(Some);
                }
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            self.head[have] = byte;
            self.have += 1;
            // Wrong first bytes are reported at once, not when the rest of the head has come.
            if self.have == 2 {
                self.check_first()?;
            }
        }
    }

    fn check_first(&self) -> Result<(), Violation> {
        let [first, second] = [self.head[0], self.head[1]];
        let (opcode, fin, rsv) = (first & 0x0f, first & 0x80 != 0, first & 0x70);
        if rsv & 0x30 != 0 || (rsv & 0x40 != 0 && self.inflate.is_none()) {
            return Err(protocol("a reserved bit is set"));
        }
        match opcode {
            0 if self.kind == 0 => return Err(protocol("a continuation of nothing")),
            0 if rsv != 0 => return Err(protocol("the compression bit on a continuation")),
            1 | 2 if self.kind != 0 => return Err(protocol("a new message inside another")),
            0..=2 => {}
            8..=10 => {
                if rsv != 0 {
                    return Err(protocol("a reserved bit on a control frame"));
                }
                if !fin {
                    return Err(protocol("a fragmented control frame"));
                }
                if second & 0x7f > 125 {
                    return Err(protocol("a control frame longer than 125 bytes"));
                }
                if opcode == 8 && second & 0x7f == 1 {
                    return Err(protocol("a close frame with half a code"));
                }
            }
            _ => return Err(protocol("a reserved opcode")),
        }
        match (self.role, second & 0x80 != 0) {
            (Role::Server, false) => Err(protocol("a frame of the client is not masked")),
            (Role::Client, true) => Err(protocol("a frame of the server is masked")),
            _ => Ok(()),
        }
    }

    fn check_head(&mut self) -> Result<Current, Violation> {
        let h = &self.head;
        let (len, at) = match h[1] & 0x7f {
            126 => (u64::from(u16::from_be_bytes([h[2], h[3]])), 4),
            127 => (u64::from_be_bytes([h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9]]), 10),
            n => (u64::from(n), 2),
        };
        if len >> 63 != 0 {
            return Err(protocol("a length with the highest bit set"));
        }
        let mask = match self.role {
            Role::Server => [h[at], h[at + 1], h[at + 2], h[at + 3]],
            Role::Client => [0; 4],
        };
        let (opcode, fin, compressed) = (h[0] & 0x0f, h[0] & 0x80 != 0, h[0] & 0x40 != 0);
        if opcode < 8 {
            if opcode != 0 {
                self.kind = opcode;
                self.compressed = compressed;
                self.fragments = 0;
                self.checked = 0;
            }
            self.fragments += 1;
            if self.limits.fragments.is_some_and(|max| self.fragments > max) {
                return Err(TOO_MANY);
            }
            // A compressed frame larger than the message may be is not worth inflating either: deflate can grow incompressible
            // bytes by 5 bytes in 16 KiB and a few more.
            let allowed = if self.compressed {
                (self.limits.message + self.limits.message / 1024 + 1024) as u64
            } else {
                (self.limits.message - self.message.len().min(self.limits.message)) as u64
            };
            if len > allowed {
                return Err(TOO_LARGE);
            }
        }
        Ok(Current { fin, opcode, mask, remaining: len })
    }

    fn take_data(&mut self, piece: &[u8], frame: &Current) -> Result<(), Violation> {
        match &mut self.inflate {
            Some(inflate) if self.compressed => {
                let mut plain = [0u8; 4096];
                let mut mask = frame.mask;
                for part in piece.chunks(plain.len()) {
                    let plain = &mut plain[..part.len()];
                    plain.copy_from_slice(part);
                    unmask(plain, mask);
                    mask.rotate_left(part.len() % 4);
                    inflate.feed(plain, &mut self.message, self.limits.message)?;
                }
            }
            _ => {
                // What was announced is reserved only up to 64 KiB ahead of what has come in.
                let ahead = frame.remaining.min((piece.len().max(64 * 1024)) as u64) as usize;
                if self.message.is_empty() && frame.fin {
                    self.message.reserve_exact(ahead);
                }
                unmask_into(&mut self.message, piece, frame.mask);
            }
        }
        self.check_text()
    }

    /// Checks the text as far as it has come; a sequence that is cut may still be completed.
    fn check_text(&mut self) -> Result<(), Violation> {
        if self.kind != 1 {
            return Ok(());
        }
        match std::str::from_utf8(self.message.get(self.checked..).unwrap_or_default()) {
            Ok(_) => self.checked = self.message.len(),
            Err(e) if e.error_len().is_some() => return Err(NOT_UTF8),
            Err(e) => self.checked += e.valid_up_to(),
        }
        Ok(())
    }

    fn end_message(&mut self) -> Result<Event, Violation> {
        if self.compressed
            && let Some(inflate) = &mut self.inflate
        {
            inflate.finish(&mut self.message, self.limits.message)?;
            self.check_text()?;
        }
        let text = std::mem::take(&mut self.kind) == 1;
        if text && self.checked != self.message.len() {
            return Err(NOT_UTF8);
        }
        let message = Bytes::from(std::mem::take(&mut self.message));
        Ok(if text { Event::Text(message) } else { Event::Binary(message) })
    }

    fn end_control(&mut self, opcode: u8) -> Result<Event, Violation> {
        let payload = std::mem::take(&mut self.control);
        match opcode {
            9 => Ok(Event::Ping(payload.into())),
            10 => Ok(Event::Pong),
            _ => {
                let (code, reason) = match payload.split_first_chunk() {
                    None => (1005, &[][..]),
                    Some((code, reason)) => (u16::from_be_bytes(*code), reason),
                };
                // 1005 cannot be sent; here it stands for the empty payload.
                if !payload.is_empty() && !may_be_sent(code) {
                    return Err(protocol("a close code that may not be sent"));
                }
                match std::str::from_utf8(reason) {
                    Ok(reason) => Ok(Event::Close(code, reason.to_owned())),
                    Err(_) => Err(NOT_UTF8),
                }
            }
        }
    }

    /// Bytes held for this connection, for tests and metrics.
    pub fn held(&self) -> usize {
        self.message.capacity() + self.control.capacity() + self.inflate.as_ref().map_or(0, |i| i.held())
    }
}

/// Whether a close code may stand in a close frame (RFC 6455 §7.4 and the registry).
pub fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Unmasks in place; `mask` begins at the first byte.
pub fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    if mask == [0; 4] {
        return;
    }
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

fn unmask_into(out: &mut Vec<u8>, piece: &[u8], mask: [u8; 4]) {
    let at = out.len();
    out.extend_from_slice(piece);
    if let Some(new) = out.get_mut(at..) {
        unmask(new, mask);
    }
}

/// The head of an unmasked frame; `first` holds FIN, RSV1 and the opcode.
pub fn put_head(out: &mut Vec<u8>, first: u8, len: usize) {
    out.push(first);
    match len {
        0..=125 => out.push(len as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// A masked frame, as clients send it. For tests, fuzzing and clients.
pub fn masked_frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    put_head(&mut out, first, payload.len());
    out[1] |= 0x80;
    out.extend_from_slice(&mask);
    unmask_into(&mut out, payload, mask);
    out
}

/// The payload of a close frame; a reason longer than fits is cut at a character.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    if !may_be_sent(code) {
        return Vec::new();
    }
    let mut out = code.to_be_bytes().to_vec();
    let cut = (0..=reason.len().min(123)).rev().find(|&n| reason.is_char_boundary(n)).unwrap_or(0);
    out.extend_from_slice(&reason.as_bytes()[..cut]);
    out
}
