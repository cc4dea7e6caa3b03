//! The base64 of gRPC-Web's text form: a stream of quads, of which any may be padded, since senders pad where they flush.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;

/// Bytes that are not base64.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Decodes a stream of base64 in any pieces.
#[derive(Debug, Default)]
pub struct TextDecoder {
    quad: [u8; 4],
    filled: usize,
}

impl TextDecoder {
    /// What the next piece decodes to. Up to three characters wait for the piece that follows.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<Bytes, Malformed> {
        let mut out = Vec::with_capacity(piece.len() / 4 * 3 + 3);
        while !piece.is_empty() {
            if self.filled == 0 && piece.len() >= 4 {
                let whole = piece.len() / 4 * 4;
                let padded = piece.iter().take(whole).position(|b| *b == b'=').unwrap_or(whole);
                let (plain, rest) = piece.split_at(padded / 4 * 4);
                STANDARD_NO_PAD.decode_vec(plain, &mut out).map_err(|_| Malformed)?;
                let (quad, rest) = rest.split_at(if padded == whole { 0 } else { 4 });
                STANDARD.decode_vec(quad, &mut out).map_err(|_| Malformed)?;
                piece = rest;
                continue;
            }
            if let (Some(place), Some((first, rest))) = (self.quad.get_mut(self.filled), piece.split_first())
            {
                *place = *first;
                self.filled += 1;
                piece = rest;
            }
            if self.filled == 4 {
                STANDARD.decode_vec(self.quad, &mut out).map_err(|_| Malformed)?;
                self.filled = 0;
            }
        }
        Ok(out.into())
    }

    /// Whether no characters wait for more.
    pub fn is_complete(&self) -> bool {
        self.filled == 0
    }
}

/// One padded piece.
pub fn encode(bytes: &[u8]) -> Bytes {
    STANDARD.encode(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_pieces_decode_alike() {
        // "gRPC" and "-" and "Web!!" padded each on its own.
        let stream = [encode(b"gRPC"), encode(b"-"), encode(b"Web!!"), encode(b"abc")].concat();
        for size in 1..=stream.len() {
            let mut decoder = TextDecoder::default();
            let mut out = Vec::new();
            for piece in stream.chunks(size) {
                out.extend_from_slice(&decoder.push(piece).unwrap());
            }
            assert_eq!(out, b"gRPC-Web!!abc", "pieces of {size}");
            assert!(decoder.is_complete());
        }
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for bad in ["ab!d", "a===", "====", "ab=c", "YWJj\nYWI="] {
            let mut decoder = TextDecoder::default();
            let pushed = decoder.push(bad.as_bytes());
            assert!(pushed.is_err() || !decoder.is_complete(), "{bad}");
            for byte in bad.as_bytes() {
                let _ = TextDecoder::default().push(&[*byte]);
            }
        }
        let mut decoder = TextDecoder::default();
        decoder.push(b"YWJ").unwrap();
        assert!(!decoder.is_complete());
    }
}
