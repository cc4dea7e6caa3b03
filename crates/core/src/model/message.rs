//! The message: key, address, typed ordered headers, content type, times, body.

use super::{Address, Error, Result};
use bytes::Bytes;

/// The most headers of one message.
pub const MAX_HEADERS: usize = 128;
/// The most bytes of all header names and values of one message.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;
/// The longest key, in bytes.
pub const MAX_KEY: usize = 1024;
/// The longest content type, in bytes.
pub const MAX_CONTENT_TYPE: usize = 255;
/// The prefix of header names that only the server sets.
pub const RESERVED: &str = "sb-";

/// The value of a header, with its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Milliseconds since 1970.
    Time(i64),
    /// A list or table, as CBOR.
    Nested(Bytes),
}

/// A header. Names keep their case and are compared without it; a name may occur several times; order is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Value,
}

impl Header {
    /// A text header.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Header { name: name.into(), value: Value::Text(value.into()) }
    }
}

/// A message on its way in or out. The body is never rewritten.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Where it was sent to.
    pub address: Address,
    /// Chooses the partition and orders work.
    pub key: Option<Bytes>,
    /// Typed, ordered headers.
    pub headers: Vec<Header>,
    /// The media type, as it was given.
    pub content_type: Option<String>,
    /// When the server took it, in milliseconds since 1970.
    pub time_ms: i64,
    /// Groups do not deliver it before this time.
    pub due_ms: Option<i64>,
    /// Groups do not deliver it after this time.
    pub expires_ms: Option<i64>,
    /// The body.
    pub body: Bytes,
}

impl Message {
    /// A message with nothing but address and body.
    pub fn new(address: Address, body: impl Into<Bytes>) -> Self {
        Message {
            address,
            key: None,
            headers: Vec::new(),
            content_type: None,
            time_ms: 0,
            due_ms: None,
            expires_ms: None,
            body: body.into(),
        }
    }

    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&Value> {
        self.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| &h.value)
    }

    /// Checks everything but the size of the body, whose limit is the topic's.
    pub fn check(&self) -> Result<()> {
        if self.key.as_ref().is_some_and(|k| k.len() > MAX_KEY) {
            return Err(too_large("the key is longer than 1,024 bytes"));
        }
        if self.content_type.as_ref().is_some_and(|c| c.len() > MAX_CONTENT_TYPE || has_control(c)) {
            return Err(Error::invalid(
                "the content type is longer than 255 bytes or holds control characters",
            ));
        }
        if self.headers.len() > MAX_HEADERS {
            return Err(too_large("the message has more than 128 headers"));
        }
        let mut total = 0;
        for header in &self.headers {
            if header.name.is_empty() || header.name.len() > 255 || has_control(&header.name) {
                return Err(Error::invalid(
                    "a header's name is empty, longer than 255 bytes or holds control characters",
                ));
            }
            total += header.name.len()
                + match &header.value {
                    Value::Text(text) => text.len(),
                    Value::Bytes(bytes) | Value::Nested(bytes) => bytes.len(),
                    Value::Int(_) | Value::Float(_) | Value::Time(_) => 8,
                    Value::Bool(_) => 1,
                };
        }
        if total > MAX_HEADER_BYTES {
            return Err(too_large("the message's headers are larger than 32 KiB"));
        }
        Ok(())
    }

    /// Takes out the headers that only the server may set.
    pub fn strip_reserved(&mut self) {
        self.headers.retain(|h| !is_reserved(&h.name));
    }
}

/// Whether a header name is one that only the server sets.
pub fn is_reserved(name: &str) -> bool {
    name.get(..RESERVED.len()).is_some_and(|p| p.eq_ignore_ascii_case(RESERVED))
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

fn too_large(detail: &'static str) -> Error {
    Error::new(super::Kind::TooLarge, "SB0205", detail)
}
