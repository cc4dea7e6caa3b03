//! Bytes to messages and back: the five-byte envelope that gRPC, gRPC-Web and Connect streams share, and beside it compression (`pack`),
//! base64 streams (`text`), percent-encoding, timeouts and the trailers of gRPC-Web (`words`). Pure and bounded: no I/O, no clock.

pub mod pack;
pub mod text;
pub mod words;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// How long the head of an envelope is: one byte of flags, four of length.
pub const HEAD: usize = 5;
/// Flag: the message is compressed.
pub const COMPRESSED: u8 = 1;
/// Flag of Connect: the message is the end of the stream, as JSON.
pub const END_STREAM: u8 = 2;
/// Flag of gRPC-Web: the message is the trailers, as lines of text.
pub const TRAILERS: u8 = 0x80;
/// Ends of streams and trailers may be as large as this even where messages must be smaller.
const MAX_END: usize = 64 * 1024;

/// A message with its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// [`COMPRESSED`], [`END_STREAM`], [`TRAILERS`].
    pub flags: u8,
    /// The bytes, compressed still if the flags say so.
    pub data: Bytes,
}

/// A length beyond the limit.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Cuts a stream of bytes into envelopes. A message that arrives in one piece stays the slice of the read buffer that it is.
#[derive(Debug)]
pub struct Envelopes {
    /// What has arrived, when it came in one piece; otherwise `many` has it.
    one: Bytes,
    many: BytesMut,
    head: Option<(u8, usize)>,
    limit: usize,
}

impl Envelopes {
    /// Messages may have `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Envelopes { one: Bytes::new(), many: BytesMut::new(), head: None, limit }
    }

    /// More has arrived.
    pub fn push(&mut self, bytes: Bytes) {
        if self.is_empty() {
            self.one = bytes;
            return;
        }
        if !self.one.is_empty() {
            // What is known of the length is believed up to a modest size; beyond it memory follows what has arrived.
            let known = self.head.map_or(0, |(_, len)| len).min(256 * 1024);
            self.many.reserve((self.one.len() + bytes.len()).max(known));
            self.many.extend_from_slice(&self.one);
            self.one = Bytes::new();
        }
        self.many.extend_from_slice(&bytes);
    }

    /// The next envelope; `None` while it is not complete.
    pub fn take(&mut self) -> Result<Option<Envelope>, TooLarge> {
        let (flags, len) = match self.head {
            Some(head) => head,
            None => {
                let Some(&[flags, a, b, c, d]) = self.front().first_chunk::<HEAD>() else { return Ok(None) };
                let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| TooLarge)?;
                let ends = flags & (END_STREAM | TRAILERS) != 0;
                if len > if ends { self.limit.max(MAX_END) } else { self.limit } {
                    return Err(TooLarge);
                }
                if self.one.is_empty() {
                    self.many.advance(HEAD)
                } else {
                    self.one.advance(HEAD)
                }
                self.head = Some((flags, len));
                (flags, len)
            }
        };
        if self.front().len() < len {
            return Ok(None);
        }
        self.head = None;
        let data =
            if self.one.is_empty() { self.many.split_to(len).freeze() } else { self.one.split_to(len) };
        Ok(Some(Envelope { flags, data }))
    }

    /// Whether nothing is left of an envelope: a stream that ends otherwise was cut off.
    pub fn is_complete(&self) -> bool {
        self.is_empty() && self.head.is_none()
    }

    fn is_empty(&self) -> bool {
        self.one.is_empty() && self.many.is_empty()
    }

    fn front(&self) -> &[u8] {
        if self.one.is_empty() { &self.many } else { &self.one }
    }
}

/// The head of an envelope. Messages are shorter than 4 GiB: the limit for messages is.
pub fn put_head(out: &mut BytesMut, flags: u8, len: usize) {
    out.put_u8(flags);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
}

/// An envelope in one piece.
pub fn envelope(flags: u8, data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD + data.len());
    put_head(&mut out, flags, data.len());
    out.extend_from_slice(data);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_cut_out_of_any_pieces() {
        let mut stream = envelope(0, b"first").to_vec();
        stream.extend_from_slice(&envelope(COMPRESSED, &[7; 300]));
        stream.extend_from_slice(&envelope(0, b""));
        stream.extend_from_slice(&envelope(END_STREAM, b"{}"));
        for size in 1..stream.len() {
            let mut cut = Envelopes::new(1000);
            let mut seen = Vec::new();
            for piece in stream.chunks(size) {
                cut.push(Bytes::copy_from_slice(piece));
                while let Some(next) = cut.take().unwrap() {
                    seen.push((next.flags, next.data.len()));
                }
            }
            assert_eq!(seen, [(0, 5), (1, 300), (0, 0), (2, 2)], "pieces of {size}");
            assert!(cut.is_complete());
        }
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(&envelope(0, b"abc")[..], b"\0\0\0\0\x03abc");
        assert_eq!(&envelope(TRAILERS, b"")[..], b"\x80\0\0\0\0");
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused_at_the_head() {
        let mut cut = Envelopes::new(10);
        cut.push(Bytes::from_static(&[0, 0, 0, 0, 11]));
        assert_eq!(cut.take(), Err(TooLarge));
        let mut cut = Envelopes::new(10);
        cut.push(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]));
        assert_eq!(cut.take(), Err(TooLarge));
        // The end may be larger than a message.
        let mut cut = Envelopes::new(10);
        cut.push(envelope(END_STREAM, &[b' '; 100]));
        assert_eq!(cut.take().unwrap().unwrap().data.len(), 100);
        // A cut-off message is noticed.
        let mut cut = Envelopes::new(10);
        cut.push(Bytes::from_static(&[0, 0, 0, 0, 3, 1]));
        assert_eq!(cut.take(), Ok(None));
        assert!(!cut.is_complete());
        let mut cut = Envelopes::new(10);
        cut.push(Bytes::from_static(&[0, 0]));
        assert_eq!(cut.take(), Ok(None));
        assert!(!cut.is_complete());
    }
}
