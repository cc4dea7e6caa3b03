//! permessage-deflate, RFC 7692.
//!
//! A zlib compressor takes about 200 KiB and a decompressor 40, most of it scratch that means nothing between messages. What does
//! mean something is the window: the last bytes of earlier messages that a later one may point back to. So compressors and
//! decompressors belong to threads, and a connection keeps only its window, handed over as a dictionary when a message begins. As a
//! sender we may forget the window whenever we like, and do so when the connection idles.

use super::codec::Violation;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::cell::RefCell;

/// What was agreed on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// We begin every message with an empty window.
    pub server_no_context_takeover: bool,
    /// The client begins every message with an empty window.
    pub client_no_context_takeover: bool,
    /// The base-two logarithm of our window at most.
    pub server_max_window_bits: u8,
    /// The base-two logarithm of the client's window at most.
    pub client_max_window_bits: u8,
}

/// The window that is used where the choice is ours: 4 KiB kept a connection and direction instead of 32.
const OUR_BITS: u8 = 12;
/// Messages smaller than this are sent as they are.
const WORTH_IT: usize = 64;
/// Four bytes that end every message and are not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

const DAMAGED: Violation = Violation { code: 1007, reason: "the compressed data is damaged" };
const TOO_LARGE: Violation =
    Violation { code: 1009, reason: "the message is larger than the limit when decompressed" };

/// Answers the values of `Sec-WebSocket-Extensions`: the first acceptable offer, and the response header.
pub fn negotiate<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<(Params, String)> {
    values.into_iter().flat_map(|value| value.split(',')).take(64).find_map(accept)
}

fn accept(offer: &str) -> Option<(Params, String)> {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
        return None;
    }
    let mut params = Params {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
    };
    let (mut server_bits, mut client_bits) = (None, None);
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (part, None),
        };
        // An offer with something unknown, invalid or given twice is declined (§7.1).
        match (name, value) {
            ("server_no_context_takeover", None) if !params.server_no_context_takeover => {
                params.server_no_context_takeover = true;
            }
            ("client_no_context_takeover", None) if !params.client_no_context_takeover => {
                params.client_no_context_takeover = true;
            }
            // zlib cannot compress with a window of 256 bytes.
            ("server_max_window_bits", Some(n)) if server_bits.is_none() => {
                server_bits = Some(bits(n).filter(|n| *n >= 9)?);
            }
            ("client_max_window_bits", n) if client_bits.is_none() => {
                client_bits = Some(n.map_or(Some(15), bits)?);
            }
            _ => return None,
        }
    }
    let mut answer = String::from("permessage-deflate");
    if params.server_no_context_takeover {
        answer.push_str("; server_no_context_takeover");
    }
    if params.client_no_context_takeover {
        answer.push_str("; client_no_context_takeover");
    }
    if let Some(n) = server_bits {
        params.server_max_window_bits = n;
        answer.push_str(&format!("; server_max_window_bits={n}"));
    }
    if let Some(n) = client_bits {
        params.client_max_window_bits = n.min(OUR_BITS);
        answer.push_str(&format!("; client_max_window_bits={}", params.client_max_window_bits));
    }
    Some((params, answer))
}

/// 8 to 15, without leading zeros.
fn bits(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [b'8' | b'9'] | [b'1', b'0'..=b'5'] => text.parse().ok(),
        _ => None,
    }
}

thread_local! {
    /// Compressors of this thread, by window bits.
    static COMPRESSORS: RefCell<[Option<Compress>; 16]> = const { RefCell::new([const { None }; 16]) };
    /// Decompressors of this thread that no message uses now.
    static DECOMPRESSORS: RefCell<Vec<Decompress>> = const { RefCell::new(Vec::new()) };
}

/// The last bytes of what went by, at most the window.
#[derive(Default)]
struct Window(Vec<u8>);

impl Window {
    fn push(&mut self, bytes: &[u8], size: usize) {
        let bytes = bytes.get(bytes.len().saturating_sub(size)..).unwrap_or_default();
        let keep = (size - bytes.len()).min(self.0.len());
        self.0.drain(..self.0.len() - keep);
        self.0.reserve_exact(bytes.len());
        self.0.extend_from_slice(bytes);
    }
}

/// Compresses the messages of one connection.
pub struct Deflater {
    bits: u8,
    takeover: bool,
    window: Window,
}

impl Deflater {
    /// For our direction.
    pub fn new(params: &Params) -> Self {
        Deflater {
            bits: params.server_max_window_bits.clamp(9, OUR_BITS),
            takeover: !params.server_no_context_takeover,
            window: Window::default(),
        }
    }

    /// Compresses a message of two parts. `None` when it is better sent as it is.
    pub fn message(&mut self, head: &[u8], tail: &[u8]) -> Option<Vec<u8>> {
        let len = head.len() + tail.len();
        if len < WORTH_IT {
            return None;
        }
        let out = COMPRESSORS.with_borrow_mut(|all| {
            let slot = all.get_mut(usize::from(self.bits))?;
            let z = slot
                .get_or_insert_with(|| Compress::new_with_window_bits(Compression::new(4), false, self.bits));
            z.reset();
            if !self.window.0.is_empty() {
                z.set_dictionary(&self.window.0).ok()?;
            }
            let mut out = Vec::with_capacity(len / 2 + 64);
            deflate(z, head, &mut out, FlushCompress::None, len)?;
            deflate(z, tail, &mut out, FlushCompress::Sync, len)?;
            Some(out)
        })?;
        if self.takeover {
            let size = 1 << self.bits;
            self.window.push(head, size);
            self.window.push(tail, size);
        }
        Some(out)
    }

    /// Forgets the window; the next message does not point back.
    pub fn forget(&mut self) {
        self.window = Window::default();
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.window.0.capacity()
    }
}

/// `None` when the output would not be smaller than `limit`.
fn deflate(
    z: &mut Compress,
    mut input: &[u8],
    out: &mut Vec<u8>,
    flush: FlushCompress,
    limit: usize,
) -> Option<()> {
    let sync = matches!(flush, FlushCompress::Sync);
    if input.is_empty() && !sync {
        return Some(());
    }
    loop {
        let before = z.total_in();
        z.compress_vec(input, out, flush).ok()?;
        input = input.get((z.total_in() - before) as usize..)?;
        // Room that is left says that everything has been written.
        if input.is_empty() && out.len() < out.capacity() {
            break;
        }
        if out.len() >= limit + TAIL.len() {
            return None;
        }
        out.reserve(out.len().max(256));
    }
    if sync {
        if !out.ends_with(&TAIL) || out.len() >= limit + TAIL.len() {
            return None;
        }
        out.truncate(out.len() - TAIL.len());
    }
    Some(())
}

/// Decompresses the messages of one connection.
pub struct Inflater {
    /// `None` when every message begins with an empty window.
    bits: Option<u8>,
    window: Window,
    z: Option<Decompress>,
}

impl Inflater {
    /// For a sender that keeps a window of so many bits, or none.
    pub fn new(bits: Option<u8>) -> Self {
        Inflater { bits, window: Window::default(), z: None }
    }

    /// Takes the next piece of a compressed message.
    pub fn feed(&mut self, mut input: &[u8], message: &mut Vec<u8>, limit: usize) -> Result<(), Violation> {
        while !input.is_empty() {
            let mut z = match self.z.take() {
                Some(z) => z,
                None => self.begin(message)?,
            };
            if message.len() == message.capacity() {
                if message.len() > limit {
                    return Err(TOO_LARGE);
                }
                let more = message.len().max(input.len() * 4).max(256);
                message.reserve_exact(more.min(limit + 1 - message.len()));
            }
            let (before_in, before_len) = (z.total_in(), message.len());
            let status = z.decompress_vec(input, message, FlushDecompress::Sync).map_err(|_| DAMAGED)?;
            if message.len() > limit {
                return Err(TOO_LARGE);
            }
            let taken = (z.total_in() - before_in) as usize;
            input = input.get(taken..).unwrap_or_default();
            if status == Status::StreamEnd {
                // A last block inside a message (§7.2.3.5): what follows begins anew behind the same window.
                give_back(z);
                continue;
            }
            if taken == 0 && message.len() == before_len {
                return Err(DAMAGED);
            }
            let full = message.len() == message.capacity();
            self.z = Some(z);
            if input.is_empty() && full {
                // There may be output left inside; an empty call fetches it.
                self.drain(message, limit)?;
            }
        }
        Ok(())
    }

    fn drain(&mut self, message: &mut Vec<u8>, limit: usize) -> Result<(), Violation> {
        let Some(z) = &mut self.z else { return Ok(()) };
        while message.len() == message.capacity() {
            if message.len() > limit {
                return Err(TOO_LARGE);
            }
            message.reserve_exact(message.len().max(256).min(limit + 1 - message.len()));
            let before = message.len();
            match z.decompress_vec(&[], message, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => {
                    if let Some(z) = self.z.take() {
                        give_back(z);
                    }
                    break;
                }
                Ok(_) if message.len() == before => break,
                Ok(_) => {}
                Err(_) => return Err(DAMAGED),
            }
        }
        if message.len() > limit { Err(TOO_LARGE) } else { Ok(()) }
    }

    /// Ends a message.
    pub fn finish(&mut self, message: &mut Vec<u8>, limit: usize) -> Result<(), Violation> {
        self.feed(&TAIL, message, limit)?;
        if let Some(z) = self.z.take() {
            give_back(z);
        }
        if let Some(bits) = self.bits {
            self.window.push(message, 1 << bits);
        }
        Ok(())
    }

    /// A decompressor that knows what went before.
    fn begin(&self, message: &[u8]) -> Result<Decompress, Violation> {
        let mut z = DECOMPRESSORS
            .with_borrow_mut(|pool| pool.pop())
            .unwrap_or_else(|| Decompress::new_with_window_bits(false, 15));
        let known = message.len().min(1 << 15);
        if !self.window.0.is_empty() && known < 1 << 15 {
            z.set_dictionary(&self.window.0).map_err(|_| DAMAGED)?;
        }
        if known > 0 {
            z.set_dictionary(&message[message.len() - known..]).map_err(|_| DAMAGED)?;
        }
        Ok(z)
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.window.0.capacity()
    }
}

fn give_back(mut z: Decompress) {
    z.reset(false);
    DECOMPRESSORS.with_borrow_mut(|pool| {
        if pool.len() < 4 {
            pool.push(z);
        }
    });
}
