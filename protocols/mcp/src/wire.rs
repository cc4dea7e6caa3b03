//! Texts that this crate reads itself: the URIs of resources, and whether a body is a batch. Messages are read and written by the SDK.

use serde_json::value::RawValue;

/// The most messages of a batch.
pub const MAX_BATCH: usize = 100;

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The newest messages of a topic, so many.
    Topic(String, u64),
    /// One message, by partition and offset.
    Message(String, u32, u64),
}

/// How many messages a topic's resource shows when it is not said.
pub const LAST: u64 = 20;
/// The most it shows.
pub const MAX_LAST: u64 = 100;

impl Resource {
    /// Reads `sb://topics/{topic}`, `sb://topics/{topic}?last={n}` and `sb://topics/{topic}/{partition}-{offset}`.
    pub fn parse(uri: &str) -> Option<Resource> {
        let rest = uri.strip_prefix("sb://topics/")?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut last = LAST;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            last = pair.strip_prefix("last=")?.parse().ok().filter(|n| (1..=MAX_LAST).contains(n))?;
        }
        match path.split_once('/') {
            None => Some(Resource::Topic(decode(path)?, last)),
            Some((topic, place)) if query.is_empty() => {
                let (partition, offset) = place.split_once('-')?;
                Some(Resource::Message(decode(topic)?, partition.parse().ok()?, offset.parse().ok()?))
            }
            Some(_) => None,
        }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        match self {
            Resource::Topic(topic, _) | Resource::Message(topic, ..) => topic,
        }
    }
}

/// The URI of a topic.
pub fn topic_uri(topic: &str) -> String {
    format!("sb://topics/{}", encode(topic))
}

/// The URI of a message.
pub fn message_uri(topic: &str, partition: u32, offset: u64) -> String {
    format!("{}/{partition}-{offset}", topic_uri(topic))
}

/// Percent-encoding of everything that is not unreserved in a URI (RFC 3986 §2.3).
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(bytes.next()?)? << 4 | digit(bytes.next()?)?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok().filter(|text| !text.is_empty())
}

/// What a body is.
#[derive(Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// One message, as far as one can see without looking inside.
    One,
    /// A batch, as the revision 2025-03-26 had it.
    Batch(Vec<&'a str>),
    /// No JSON, or a batch of no or more than 100 messages.
    Malformed,
}

/// Looks at a body.
pub fn look(body: &[u8]) -> Body<'_> {
    let Ok(whole) = serde_json::from_slice::<&RawValue>(body) else { return Body::Malformed };
    if !whole.get().starts_with('[') {
        return Body::One;
    }
    match serde_json::from_str::<Vec<&RawValue>>(whole.get()) {
        Ok(all) if (1..=MAX_BATCH).contains(&all.len()) => {
            Body::Batch(all.into_iter().map(RawValue::get).collect())
        }
        _ => Body::Malformed,
    }
}
