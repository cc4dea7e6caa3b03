//! Percent-encoding of paths and queries.

use std::borrow::Cow;

/// Decodes `%XX`. None if an escape is broken or the result is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    with(text, |_| true, false)
}

/// Decodes `%XX` except `%2F`: for values that hold several segments, where an encoded slash must not become a separator.
pub(crate) fn decode_segments(text: &str) -> Option<Cow<'_, str>> {
    with(text, |byte| byte != b'/', false)
}

/// Decodes a name or value of a query, where `+` is a blank.
pub(crate) fn decode_query(text: &str) -> Option<Cow<'_, str>> {
    with(text, |_| true, true)
}

fn with(text: &str, decoded: impl Fn(u8) -> bool, plus: bool) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
                let value = (digit(at + 1)? << 4 | digit(at + 2)?) as u8;
                if decoded(value) {
                    out.push(value);
                } else {
                    out.extend_from_slice(&bytes[at..at + 3]);
                }
                at += 3;
                continue;
            }
            b'+' if plus => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// Appends `text` with everything encoded but letters, digits, `-_.~` and what `also` allows.
pub(crate) fn encode(text: &str, also: &[u8], out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}
