//! Server-Sent Events (WHATWG HTML §9.2), the reading side: bytes in any portions to events. Pure and bounded.

/// Longest event that is accepted: the largest message as base64 with room for its envelope.
const MAX_EVENT: usize = 96 << 20;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; empty is `message`.
    pub name: String,
    /// Its data, lines joined by line feeds.
    pub data: String,
    /// The last id seen, if there was one.
    pub id: Option<String>,
}

/// Reads events from portions of a body.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    after_cr: bool,
    name: String,
    data: String,
    has_data: bool,
    id: Option<String>,
    /// The last `retry:` in milliseconds.
    pub retry: Option<u64>,
}

impl Reader {
    /// Takes a portion and gives the events that it completed. An event beyond the limit is an error.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, &'static str> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            let (line, tail) = rest.split_at(at);
            let end = tail.first().copied();
            rest = tail.get(1..).unwrap_or_default();
            // The line feed of a CR LF that was cut between two portions ends nothing.
            let second_half = self.after_cr && end == Some(b'\n') && line.is_empty() && self.line.is_empty();
            self.after_cr = end == Some(b'\r');
            if second_half {
                continue;
            }
            self.grow(line)?;
            let line = std::mem::take(&mut self.line);
            if let Some(event) = self.line_done(&String::from_utf8_lossy(&line))? {
                events.push(event);
            }
        }
        if !rest.is_empty() {
            self.after_cr = false;
            self.grow(rest)?;
        }
        Ok(events)
    }

    fn grow(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        if self.line.len() + bytes.len() + self.data.len() > MAX_EVENT {
            return Err("an event is larger than any message can be");
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn line_done(&mut self, line: &str) -> Result<Option<Event>, &'static str> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let name = std::mem::take(&mut self.name);
            // Events that carry only a name are ours (`end`), so that a name is enough.
            let complete = std::mem::take(&mut self.has_data) || !name.is_empty();
            return Ok(complete.then(|| Event { name, data, id: self.id.clone() }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            "event" => self.name = value.to_owned(),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" => self.retry = value.parse().ok().or(self.retry),
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_events() {
        let text = b": hello\r\nid: 1\r\nevent: envelope\r\ndata: {\r\ndata:  x\r\n\r\nid: 2\ndata\n\nretry: 50\n\nevent: end\rdata:\r\r";
        let wanted = [
            Event { name: "envelope".into(), data: "{\n x".into(), id: Some("1".into()) },
            Event { name: String::new(), data: String::new(), id: Some("2".into()) },
            Event { name: "end".into(), data: String::new(), id: Some("2".into()) },
        ];
        for cut in 0..text.len() {
            let mut reader = Reader::default();
            let mut events = reader.push(&text[..cut]).unwrap();
            events.extend(reader.push(&text[cut..]).unwrap());
            assert_eq!(events, wanted, "cut at {cut}");
            assert_eq!(reader.retry, Some(50));
        }
    }
}
