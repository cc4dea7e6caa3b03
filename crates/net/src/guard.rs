//! Strictness about HTTP/1 framing, in front of the parser (reliability: request smuggling).
//!
//! The parser behind this is correct, and lenient where the standard lets it be: it takes a bare LF for a line end, a repeated equal
//! `Content-Length`, and `Transfer-Encoding` beside `Content-Length`. Whoever sits in front of us may read such requests otherwise,
//! and then two parties disagree on where the next request begins. So bytes are looked at as they come in: where a rule is broken
//! the offending byte is replaced by NUL, which the parser answers with 400 and a closed connection, before anything acts on it.
//!
//! It follows the same framing as the parser: heads line by line, bodies by length or chunks. Behind a request that asks for an
//! upgrade it stops looking; such a connection is never used for another request.

/// Longest part of a line that is looked at: names and values that matter are shorter.
const LINE: usize = 96;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum At {
    /// In a request line or header; nothing of the head yet when `fresh`.
    Head,
    /// In a body of known length.
    Body(u64),
    /// In the line that gives a chunk's size.
    Size,
    /// In a chunk, with the line end behind it.
    Chunk(u64),
    /// In the trailer.
    Trailer,
    /// Not looked at any more.
    Opaque,
}

/// The state of one connection.
pub struct Guard {
    at: At,
    line: [u8; LINE],
    len: usize,
    /// Bytes of the current line, also those that did not fit.
    total: usize,
    /// Lines of the current head.
    lines: usize,
    last_cr: bool,
    content_length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Default for Guard {
    fn default() -> Self {
        Guard {
            at: At::Head,
            line: [0; LINE],
            len: 0,
            total: 0,
            lines: 0,
            last_cr: false,
            content_length: None,
            chunked: false,
            upgrade: false,
        }
    }
}

impl Guard {
    /// Whether a head has begun and not ended.
    pub fn in_head(&self) -> bool {
        self.at == At::Head && (self.lines > 0 || self.total > 0)
    }

    /// Looks at bytes that came in. False when a rule is broken; then the byte has been made unreadable and the connection is done.
    pub fn look(&mut self, bytes: &mut [u8]) -> bool {
        let mut i = 0;
        while let Some(rest) = bytes.get_mut(i..).filter(|rest| !rest.is_empty()) {
            match self.at {
                At::Opaque => return true,
                At::Body(left) | At::Chunk(left) => {
                    let n = left.min(rest.len() as u64);
                    i += n as usize;
                    self.at = match (self.at, left - n) {
                        (At::Body(_), 0) => At::Head,
                        (At::Body(_), left) => At::Body(left),
                        (_, 0) => At::Size,
                        (_, left) => At::Chunk(left),
                    };
                }
                At::Head | At::Size | At::Trailer => {
                    let end = memchr::memchr(b'\n', rest);
                    let part = &rest[..end.unwrap_or(rest.len())];
                    let room = LINE - self.len;
                    let kept = &part[..part.len().min(room)];
                    self.line[self.len..self.len + kept.len()].copy_from_slice(kept);
                    self.len += kept.len();
                    self.total += part.len();
                    if let Some(last) = part.last() {
                        self.last_cr = *last == b'\r';
                    }
                    i += part.len();
                    if end.is_some() {
                        if !self.last_cr || !self.end_line() {
                            if let Some(byte) = bytes.get_mut(i) {
                                *byte = 0;
                            }
                            self.at = At::Opaque;
                            return false;
                        }
                        (self.len, self.total, self.last_cr) = (0, 0, false);
                        i += 1;
                    }
                }
            }
        }
        true
    }

    /// A whole line ending in CR LF. False when it breaks a rule.
    fn end_line(&mut self) -> bool {
        let complete = self.total <= LINE;
        // Without the CR, which is kept only when the line fits.
        let line = if complete { &self.line[..self.total.saturating_sub(1)] } else { &self.line[..self.len] };
        match self.at {
            At::Size => {
                let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
                let behind = line.get(digits).copied();
                if digits == 0 || digits > 15 || !matches!(behind, None | Some(b';' | b' ' | b'\t')) {
                    return false;
                }
                let size = std::str::from_utf8(&line[..digits])
                    .ok()
                    .and_then(|text| u64::from_str_radix(text, 16).ok());
                match size {
                    Some(0) => self.at = At::Trailer,
                    Some(n) => self.at = At::Chunk(n + 2),
                    None => return false,
                }
                true
            }
            At::Trailer => {
                if line.is_empty() && complete {
                    self.at = At::Head;
                }
                true
            }
            _ => {
                if line.is_empty() && complete {
                    // Empty lines before a request are allowed.
                    if self.lines > 0 {
                        self.end_head();
                    }
                    return true;
                }
                self.lines += 1;
                if self.lines == 1 {
                    // CONNECT makes the rest of the connection opaque, too.
                    self.upgrade = line.starts_with(b"CONNECT ");
                    return true;
                }
                if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
                    return false;
                }
                let Some(colon) = line.iter().position(|b| *b == b':') else {
                    // A name that long is none of ours.
                    return !complete;
                };
                let (name, value) = (&line[..colon], &line[colon + 1..]);
                if name.eq_ignore_ascii_case(b"content-length") {
                    let value = value.trim_ascii();
                    let number =
                        std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
                    // Beyond 2^63 the parser takes the length for a header that is too large, with another status.
                    let number = number.and_then(|v| v.parse().ok()).filter(|n| *n <= i64::MAX as u64);
                    let Some(number) = number.filter(|_| complete) else {
                        return false;
                    };
                    if self.content_length.is_some() || self.chunked {
                        return false;
                    }
                    self.content_length = Some(number);
                } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                    if self.content_length.is_some() || self.chunked || !complete {
                        return false;
                    }
                    self.chunked = true;
                    return value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                } else if name.eq_ignore_ascii_case(b"upgrade") {
                    self.upgrade = true;
                }
                true
            }
        }
    }

    fn end_head(&mut self) {
        self.at = match (self.upgrade, self.chunked, self.content_length) {
            (true, ..) => At::Opaque,
            (_, true, _) => At::Size,
            (_, _, None | Some(0)) => At::Head,
            (_, _, Some(n)) => At::Body(n),
        };
        (self.lines, self.content_length, self.chunked, self.upgrade) = (0, None, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the bytes pass, however they are cut.
    fn passes(text: &str) -> bool {
        let whole = Guard::default().look(&mut text.as_bytes().to_vec());
        let mut guard = Guard::default();
        let single = text.bytes().all(|b| guard.look(&mut [b]));
        assert_eq!(whole, single, "{text:?}");
        whole
    }

    #[test]
    fn good_requests_pass() {
        for good in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\n\n\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\n\n\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\n\n\n",
        ] {
            assert!(passes(good), "{good:?}");
        }
    }

    #[test]
    fn smuggling_is_refused() {
        for bad in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: \r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\n\r\n",
        ] {
            assert!(!passes(bad), "{bad:?}");
        }
    }

    #[test]
    fn long_lines_pass_and_keep_their_place() {
        let long = "x".repeat(5000);
        assert!(passes(&format!(
            "GET /{long} HTTP/1.1\r\nA: {long}\r\n{long}: b\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        )));
        assert!(!passes(&format!("GET / HTTP/1.1\r\nContent-Length:{}5\r\n\r\n", " ".repeat(200))));
    }
}
