//! What a subgraph streams over HTTP: Server-Sent Events as GraphQL over SSE has them, `next` and `complete`. Every event is bounded.

use super::upstream::answered;
use bytes::{Buf as _, BytesMut};
use http_body::Body as _;
use sb_board::call::{Code, Status};
use sb_board::mount::{ReplyBody, Verdict};
use serde_json::{Map, Value};
use std::pin::Pin;

/// A stream of events.
pub(super) struct Events {
    body: ReplyBody,
    /// Told how it went when it ends.
    verdict: Option<Verdict>,
    parser: Parser,
}

impl Events {
    /// `most` bounds the bytes of one event.
    pub(super) fn new(body: ReplyBody, verdict: Verdict, most: usize) -> Events {
        Events { body, verdict: Some(verdict), parser: Parser::new(most) }
    }

    /// The next result; `None` after `complete`. An error is the last.
    pub(super) async fn next(&mut self) -> Option<Result<Map<String, Value>, Status>> {
        self.verdict.as_ref()?;
        loop {
            let why = match self.parser.next() {
                Err(status) => {
                    self.verdict = None;
                    return Some(Err(status));
                }
                Ok(Some(Event::Next(result))) => return Some(Ok(result)),
                Ok(Some(Event::Complete)) => {
                    if let Some(verdict) = self.verdict.take() {
                        verdict.good();
                    }
                    return None;
                }
                Ok(None) => match std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            self.parser.bytes.extend_from_slice(&data);
                        }
                        continue;
                    }
                    Some(Err(error)) => format!("the subgraph broke off: {error}"),
                    None => "the subgraph broke off".to_owned(),
                },
            };
            if let Some(verdict) = self.verdict.take() {
                verdict.bad();
            }
            return Some(Err(Status::new(Code::Unavailable, why)));
        }
    }
}

enum Event {
    Next(Map<String, Value>),
    Complete,
}

struct Parser {
    most: usize,
    bytes: BytesMut,
    /// So many bytes hold no end of a line.
    seen: usize,
    name: Vec<u8>,
    data: Vec<u8>,
}

impl Parser {
    fn new(most: usize) -> Parser {
        Parser { most, bytes: BytesMut::new(), seen: 0, name: Vec::new(), data: Vec::new() }
    }

    /// The next event of what has come.
    fn next(&mut self) -> Result<Option<Event>, Status> {
        loop {
            let fresh = self.bytes.get(self.seen..).unwrap_or_default();
            let Some(at) = fresh.iter().position(|byte| *byte == b'\n') else {
                self.seen = self.bytes.len();
                return self.bounded(self.bytes.len()).map(|()| None);
            };
            let line = self.bytes.split_to(self.seen + at);
            self.bytes.advance(1);
            self.seen = 0;
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            self.bounded(line.len())?;
            if line.is_empty() {
                let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
                match &*name {
                    b"complete" => return Ok(Some(Event::Complete)),
                    b"next" => {
                        let none =
                            || Status::new(Code::Internal, "an event of the subgraph is none of GraphQL");
                        return Ok(Some(Event::Next(answered(&data).ok_or_else(none)?)));
                    }
                    _ => continue,
                }
            }
            let (field, value) = match line.iter().position(|byte| *byte == b':') {
                Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
                None => (line, &[][..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                b"event" => self.name = value.to_vec(),
                b"data" => {
                    if !self.data.is_empty() {
                        self.data.push(b'\n');
                    }
                    self.data.extend_from_slice(value);
                }
                _ => {}
            }
        }
    }

    fn bounded(&self, more: usize) -> Result<(), Status> {
        match self.data.len().saturating_add(self.name.len()).saturating_add(more) > self.most {
            true => Err(Status::new(Code::ResourceExhausted, "an event of the subgraph is too long")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_pieces() {
        let text = "\u{3a}\n\nevent: next\r\ndata: {\"data\":\ndata: {\"a\":1}}\n\nid: 7\nevent: ping\ndata: x\n\nevent:next\ndata:{\"errors\":[]}\n\n\
                    event: complete\n\n";
        for size in [1, 2, 7, 1_000] {
            let mut parser = Parser::new(100);
            let mut seen = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                parser.bytes.extend_from_slice(piece);
                while let Some(event) = parser.next().unwrap() {
                    seen.push(match event {
                        Event::Next(result) => Value::Object(result).to_string(),
                        Event::Complete => "complete".to_owned(),
                    });
                }
            }
            assert_eq!(seen, ["{\"data\":{\"a\":1}}", "{\"errors\":[]}", "complete"]);
        }
    }

    #[test]
    fn events_are_bounded() {
        for text in ["x".repeat(101), format!("data: {}\ndata: {}\n", "x".repeat(60), "x".repeat(60))] {
            let mut parser = Parser::new(100);
            parser.bytes.extend_from_slice(text.as_bytes());
            assert!(parser.next().is_err());
        }
        let mut parser = Parser::new(100);
        parser.bytes.extend_from_slice(b"event: next\ndata: []\n\n");
        assert!(parser.next().is_err());
    }
}
