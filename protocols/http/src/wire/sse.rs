//! Server-Sent Events (WHATWG HTML §9.2), the writing side.
//!
//! An event begins with its `id` line, if it has one: a reader whose place is not told by one message's id leaves that line out and
//! writes its own instead ([`without_id`]), so that the bytes behind it are shared by all readers.

use bytes::Bytes;

/// A comment, which keeps proxies from closing a quiet connection.
pub(crate) const HEARTBEAT: &[u8] = b":\n\n";

/// Whether bytes can be the data of an event as they are: UTF-8 without CR (which would end a line) and NUL.
pub(crate) fn plain_text(body: &[u8]) -> Option<&str> {
    std::str::from_utf8(body).ok().filter(|text| !text.bytes().any(|b| b == b'\r' || b == 0))
}

/// Appends an event. `id` and `name` hold no line ends; in `data` only LF ends lines. An empty `id` is left out.
pub(crate) fn event(out: &mut Vec<u8>, id: &str, name: Option<&str>, data: &str) {
    if !id.is_empty() {
        id_line(out, id);
    }
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    for line in data.split('\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// Appends the line that tells where to resume.
pub(crate) fn id_line(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(id.as_bytes());
    out.push(b'\n');
}

/// An event without its `id` line.
pub(crate) fn without_id(event: &Bytes) -> Bytes {
    if !event.starts_with(b"id: ") {
        return event.clone();
    }
    match event.iter().position(|b| *b == b'\n') {
        Some(end) => event.slice(end + 1..),
        None => event.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads events as the specification says: CR, LF and CRLF end lines, one space behind the colon is dropped.
    fn read(stream: &str) -> Vec<(String, String, String)> {
        let text = stream.replace("\r\n", "\n").replace('\r', "\n");
        let mut events = Vec::new();
        let (mut id, mut name, mut data) = (String::new(), String::new(), String::new());
        for line in text.split_terminator('\n') {
            if line.is_empty() {
                if !data.is_empty() {
                    data.pop();
                    events.push((id.clone(), std::mem::take(&mut name), std::mem::take(&mut data)));
                }
                name.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => id = value.to_owned(),
                "event" => name = value.to_owned(),
                "data" => {
                    data.push_str(value);
                    data.push('\n');
                }
                _ => {}
            }
        }
        events
    }

    #[test]
    fn what_cannot_be_plain() {
        assert!(plain_text(b"one\ntwo\n").is_some() && plain_text(b"").is_some());
        for body in [&b"a\rb"[..], b"a\0", b"\xff", b"\xed\xa0\x80", b"a\r\nb"] {
            assert!(plain_text(body).is_none());
        }
    }

    #[test]
    fn bytes_of_an_event() {
        let mut out = Vec::new();
        event(&mut out, "c", Some("envelope"), "a\nb");
        assert_eq!(out, b"id: c\nevent: envelope\ndata: a\ndata: b\n\n");
        assert_eq!(without_id(&out.into()), &b"event: envelope\ndata: a\ndata: b\n\n"[..]);
        let mut live = Vec::new();
        event(&mut live, "", None, "id: x");
        assert_eq!(live, b"data: id: x\n\n");
        assert_eq!(without_id(&live.clone().into()), live);
    }

    proptest! {
        #[test]
        fn readers_get_what_was_written(bodies in prop::collection::vec("(?s)[^\r\0]*", 1..8)) {
            let mut out = Vec::new();
            for (n, body) in bodies.iter().enumerate() {
                event(&mut out, &n.to_string(), None, body);
                out.extend_from_slice(HEARTBEAT);
            }
            let got = read(std::str::from_utf8(&out).unwrap());
            prop_assert_eq!(got.len(), bodies.len());
            for (n, (id, name, data)) in got.iter().enumerate() {
                prop_assert_eq!((id, name.as_str(), data), (&n.to_string(), "", &bodies[n]));
            }
        }
    }
}
