//! Batches of messages: Kafka's RecordBatch v2, the form in which messages are kept, copied and shared.
//!
//! Kafka's own fields carry what Kafka has (key, value, headers, timestamps). What it has not goes into record headers whose names
//! begin with `sb-`: `sb-address` (when it differs from the topic's name), `sb-type` (the content type), `sb-due` and `sb-expires`
//! (milliseconds as decimal text), and `sb-types`: one byte for each user header in order, present only when one of them is not
//! text. The layout is that of Kafka's documentation, "Record Batch"; the checksum is CRC-32C over everything behind it.

use crate::model::{Address, Header as MessageHeader, Message, Value};
use bytes::Bytes;
use sb_wirekit::{ReadError, Reader, put_varint, put_zigzag, varint_len, zigzag_len};

/// Bytes before the first record.
pub const HEADER_LEN: usize = 61;
/// Bytes before the length field ends; the length counts what follows.
pub const PREFIX_LEN: usize = 12;
/// The most messages in a batch that we build.
pub const MAX_MESSAGES: usize = 1000;

/// The header of a batch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The offset of the first message.
    pub base_offset: u64,
    /// The whole size in bytes, prefix included.
    pub size: usize,
    /// Kafka's attributes: compression, timestamp type, transactional, control.
    pub attributes: u16,
    /// The offset of the last message minus the base.
    pub last_offset_delta: u32,
    /// The first message's time in milliseconds.
    pub base_time_ms: i64,
    /// The newest message's time in milliseconds.
    pub max_time_ms: i64,
    /// How many records there are.
    pub count: u32,
    /// The stored checksum.
    pub crc: u32,
}

impl Header {
    /// The offset behind the last message.
    pub fn end(&self) -> u64 {
        self.base_offset + u64::from(self.last_offset_delta) + 1
    }
}

/// Why bytes are not a batch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than the header says.
    Short,
    /// A field that cannot be.
    Malformed(&'static str),
    /// The bytes are not those that were written.
    Checksum,
}

impl std::fmt::Display for BatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BatchError::Short => f.write_str("the batch is cut off"),
            BatchError::Malformed(what) => write!(f, "the batch is malformed: {what}"),
            BatchError::Checksum => f.write_str("the batch's checksum is wrong"),
        }
    }
}

impl std::error::Error for BatchError {}

impl From<ReadError> for BatchError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Short => BatchError::Short,
            ReadError::Malformed => BatchError::Malformed("a length or number"),
        }
    }
}

/// CRC-32C, as Kafka uses it.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Reads the header of the batch at the beginning of `bytes` without looking at the records or the checksum.
pub fn header(bytes: &[u8]) -> Result<Header, BatchError> {
    let mut r = Reader::new(bytes);
    let base_offset = r.u64()?;
    let length = r.i32()?;
    let length = usize::try_from(length).map_err(|_| BatchError::Malformed("length"))?;
    if length < HEADER_LEN - PREFIX_LEN || base_offset > i64::MAX as u64 / 2 {
        return Err(BatchError::Malformed("length or offset"));
    }
    let _leader_epoch = r.u32()?;
    if r.u8()? != 2 {
        return Err(BatchError::Malformed("magic"));
    }
    let crc = r.u32()?;
    let attributes = r.u16()?;
    let last_offset_delta =
        u32::try_from(r.i32()?).map_err(|_| BatchError::Malformed("last offset delta"))?;
    let base_time_ms = r.i64()?;
    let max_time_ms = r.i64()?;
    r.take(14)?; // producer id, epoch, sequence
    let count = u32::try_from(r.i32()?).map_err(|_| BatchError::Malformed("record count"))?;
    Ok(Header {
        base_offset,
        size: length + PREFIX_LEN,
        attributes,
        last_offset_delta,
        base_time_ms,
        max_time_ms,
        count,
        crc,
    })
}

/// Reads the header and checks the checksum; the batch may be followed by other bytes.
pub fn verify(bytes: &[u8]) -> Result<Header, BatchError> {
    let header = header(bytes)?;
    let batch = bytes.get(..header.size).ok_or(BatchError::Short)?;
    if crc32c(&batch[21..]) != header.crc {
        return Err(BatchError::Checksum);
    }
    Ok(header)
}

/// Sets the base offset. It lies outside the checksum so that a batch can be encoded and checked before its place is known.
pub fn set_base_offset(batch: &mut [u8], base: u64) {
    if let Some(field) = batch.get_mut(..8) {
        field.copy_from_slice(&base.to_be_bytes());
    }
}

fn type_tag(value: &Value) -> u8 {
    match value {
        Value::Text(_) => b't',
        Value::Bytes(_) => b'b',
        Value::Int(_) => b'i',
        Value::Float(_) => b'f',
        Value::Bool(_) => b'o',
        Value::Time(_) => b'm',
        Value::Nested(_) => b'n',
    }
}

struct RecordHeaders {
    bytes: Vec<u8>,
    count: usize,
}

impl RecordHeaders {
    fn put(&mut self, name: &str, value: &[u8]) {
        put_zigzag(&mut self.bytes, name.len() as i64);
        self.bytes.extend_from_slice(name.as_bytes());
        put_zigzag(&mut self.bytes, value.len() as i64);
        self.bytes.extend_from_slice(value);
        self.count += 1;
    }
}

/// Encodes messages for the topic named `topic` as one batch with base offset 0. `messages` must not be empty.
pub fn encode(topic: &str, messages: &[Message]) -> Vec<u8> {
    let base_time = messages.first().map_or(0, |m| m.time_ms);
    let max_time = messages.iter().map(|m| m.time_ms).max().unwrap_or(base_time);
    let size: usize = messages.iter().map(|m| m.body.len() + m.key.as_ref().map_or(0, Bytes::len) + 64).sum();
    let mut out = Vec::with_capacity(HEADER_LEN + size);
    out.resize(HEADER_LEN, 0);
    let mut headers = RecordHeaders { bytes: Vec::new(), count: 0 };
    for (n, message) in messages.iter().enumerate() {
        headers.bytes.clear();
        headers.count = 0;
        for header in &message.headers {
            match &header.value {
                Value::Text(text) => headers.put(&header.name, text.as_bytes()),
                Value::Bytes(bytes) | Value::Nested(bytes) => headers.put(&header.name, bytes),
                Value::Int(number) | Value::Time(number) => {
                    headers.put(&header.name, number.to_string().as_bytes());
                }
                Value::Float(number) => headers.put(&header.name, &number.to_be_bytes()),
                Value::Bool(truth) => headers.put(&header.name, if *truth { b"true" } else { b"false" }),
            }
        }
        if message.headers.iter().any(|h| !matches!(h.value, Value::Text(_))) {
            let tags: Vec<u8> = message.headers.iter().map(|h| type_tag(&h.value)).collect();
            headers.put("sb-types", &tags);
        }
        if message.address.as_str() != topic {
            headers.put("sb-address", message.address.as_str().as_bytes());
        }
        if let Some(content_type) = &message.content_type {
            headers.put("sb-type", content_type.as_bytes());
        }
        if let Some(due) = message.due_ms {
            headers.put("sb-due", due.to_string().as_bytes());
        }
        if let Some(expires) = message.expires_ms {
            headers.put("sb-expires", expires.to_string().as_bytes());
        }
        let time_delta = message.time_ms - base_time;
        let key_len = message.key.as_ref().map_or(-1, |k| k.len() as i64);
        let length = 1
            + zigzag_len(time_delta)
            + zigzag_len(n as i64)
            + zigzag_len(key_len)
            + message.key.as_ref().map_or(0, Bytes::len)
            + zigzag_len(message.body.len() as i64)
            + message.body.len()
            + varint_len((headers.count as u64) << 1)
            + headers.bytes.len();
        put_zigzag(&mut out, length as i64);
        out.push(0);
        put_zigzag(&mut out, time_delta);
        put_zigzag(&mut out, n as i64);
        put_zigzag(&mut out, key_len);
        if let Some(key) = &message.key {
            out.extend_from_slice(key);
        }
        put_zigzag(&mut out, message.body.len() as i64);
        out.extend_from_slice(&message.body);
        put_varint(&mut out, (headers.count as u64) << 1);
        out.extend_from_slice(&headers.bytes);
    }
    let length = (out.len() - PREFIX_LEN) as u32;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[16] = 2;
    out[23..27].copy_from_slice(&(messages.len().saturating_sub(1) as u32).to_be_bytes());
    out[27..35].copy_from_slice(&base_time.to_be_bytes());
    out[35..43].copy_from_slice(&max_time.to_be_bytes());
    out[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    out[51..53].copy_from_slice(&(-1i16).to_be_bytes());
    out[53..57].copy_from_slice(&(-1i32).to_be_bytes());
    out[57..61].copy_from_slice(&(messages.len() as u32).to_be_bytes());
    let crc = crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}

/// One message of a batch, with its offset.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The offset.
    pub offset: u64,
    /// The message; body and key are slices of the batch.
    pub message: Message,
}

/// The hash by which a key chooses partition and order.
pub fn key_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// Iterates over the messages of a batch. The caller has verified the checksum; malformed records end the iteration with an error.
pub fn records<'a>(
    topic: &'a Address,
    batch: &'a Bytes,
) -> Result<impl Iterator<Item = Result<Record, BatchError>> + 'a, BatchError> {
    let header = header(batch)?;
    if header.attributes & 0x27 != 0 {
        return Err(BatchError::Malformed("compressed or control batch"));
    }
    let mut at = HEADER_LEN;
    let end = header.size.min(batch.len());
    let mut left = header.count;
    Ok(std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        left -= 1;
        let result = record(topic, batch, &mut at, end, &header);
        if result.is_err() {
            left = 0;
        }
        Some(result)
    }))
}

fn record(
    topic: &Address,
    batch: &Bytes,
    at: &mut usize,
    end: usize,
    header: &Header,
) -> Result<Record, BatchError> {
    let mut r = Reader::new(batch.get(*at..end).ok_or(BatchError::Short)?);
    let length = usize::try_from(r.zigzag()?).map_err(|_| BatchError::Malformed("record length"))?;
    let start = *at + r.position();
    let mut r = Reader::new(r.take(length)?);
    *at = start + length;
    // A slice of the batch, counted, for what was just taken from the reader.
    let slice = |r: &Reader<'_>, n: usize| batch.slice(start + r.position() - n..start + r.position());
    let optional = |r: &mut Reader<'_>| -> Result<Option<Bytes>, BatchError> {
        let n = r.zigzag()?;
        if n < 0 {
            return Ok(None);
        }
        let n = n as usize;
        r.take(n)?;
        Ok(Some(slice(r, n)))
    };
    r.u8()?;
    let time_delta = r.zigzag()?;
    let offset_delta = u64::try_from(r.zigzag()?).map_err(|_| BatchError::Malformed("offset delta"))?;
    if offset_delta > u64::from(header.last_offset_delta) {
        return Err(BatchError::Malformed("offset delta"));
    }
    let key = optional(&mut r)?;
    let body = optional(&mut r)?.unwrap_or_default();
    let count = usize::try_from(r.zigzag()?).map_err(|_| BatchError::Malformed("header count"))?;
    if count > r.remaining() {
        return Err(BatchError::Malformed("header count"));
    }
    let mut message = Message {
        address: topic.clone(),
        key,
        headers: Vec::new(),
        content_type: None,
        time_ms: header.base_time_ms.saturating_add(time_delta),
        due_ms: None,
        expires_ms: None,
        body,
    };
    let mut tags: Option<Bytes> = None;
    let mut raw: Vec<(String, Bytes)> = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for _ in 0..count {
        let n = usize::try_from(r.zigzag()?).map_err(|_| BatchError::Malformed("header name"))?;
        let name = text(r.take(n)?);
        let value = optional(&mut r)?.unwrap_or_default();
        match name.as_str() {
            "sb-types" => tags = Some(value),
            "sb-address" => {
                message.address = std::str::from_utf8(&value)
                    .ok()
                    .and_then(|t| Address::parse(t).ok())
                    .ok_or(BatchError::Malformed("address"))?;
            }
            "sb-type" => message.content_type = Some(text(&value)),
            "sb-due" => message.due_ms = text(&value).parse().ok(),
            "sb-expires" => message.expires_ms = text(&value).parse().ok(),
            _ => raw.push((name, value)),
        }
    }
    message.headers = raw
        .into_iter()
        .enumerate()
        .map(|(n, (name, value))| {
            let tag = tags.as_ref().and_then(|t| t.get(n)).copied();
            MessageHeader { name, value: typed(tag, value) }
        })
        .collect();
    Ok(Record { offset: header.base_offset + offset_delta, message })
}

fn typed(tag: Option<u8>, value: Bytes) -> Value {
    let text = std::str::from_utf8(&value).ok();
    let parsed = match tag {
        Some(b'i') => text.and_then(|t| t.parse().ok()).map(Value::Int),
        Some(b'm') => text.and_then(|t| t.parse().ok()).map(Value::Time),
        Some(b'f') => value[..].try_into().ok().map(|b| Value::Float(f64::from_be_bytes(b))),
        Some(b'o') => Some(Value::Bool(&value[..] == b"true")),
        Some(b'n') => Some(Value::Nested(value.clone())),
        Some(b'b') => Some(Value::Bytes(value.clone())),
        _ => text.map(|t| Value::Text(t.to_owned())),
    };
    parsed.unwrap_or(Value::Bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(body: &[u8]) -> Message {
        Message::new(Address::parse("orders.eu").unwrap(), Bytes::copy_from_slice(body))
    }

    fn decode(topic: &str, bytes: Vec<u8>) -> Vec<Record> {
        let topic = Address::parse(topic).unwrap();
        let bytes = Bytes::from(bytes);
        verify(&bytes).unwrap();
        records(&topic, &bytes).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn everything_survives() {
        let mut m = message(b"body\r\n\0\xff");
        m.key = Some(Bytes::from_static(b"k\0"));
        m.content_type = Some("application/json".into());
        m.time_ms = 1_700_000_000_123;
        m.due_ms = Some(-5);
        m.expires_ms = Some(99);
        m.headers = vec![
            MessageHeader::text("a", "x"),
            MessageHeader { name: "A".into(), value: Value::Int(i64::MIN) },
            MessageHeader { name: "f".into(), value: Value::Float(0.1) },
            MessageHeader { name: "b".into(), value: Value::Bytes(Bytes::from_static(&[0, 255])) },
            MessageHeader { name: "o".into(), value: Value::Bool(true) },
            MessageHeader { name: "t".into(), value: Value::Time(7) },
        ];
        let mut other = message(b"");
        other.time_ms = m.time_ms - 10;
        let mut bytes = encode("orders", &[m.clone(), other.clone()]);
        set_base_offset(&mut bytes, 41);
        let records = decode("orders", bytes);
        assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), [41, 42]);
        assert_eq!(records[0].message, m);
        assert_eq!(records[1].message, other);
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let good = encode("orders", &[message(b"hello")]);
        for n in 17 * 8..good.len() * 8 {
            let mut bad = good.clone();
            bad[n / 8] ^= 1 << (n % 8);
            assert!(verify(&bad).is_err(), "bit {n}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = verify(&bytes);
            // Behind a good header, so that the records are looked at too.
            let mut batch = encode("t", &[message(b"x")]);
            batch.truncate(HEADER_LEN);
            batch.extend_from_slice(&bytes);
            let length = (batch.len() - PREFIX_LEN) as u32;
            batch[8..12].copy_from_slice(&length.to_be_bytes());
            let batch = Bytes::from(batch);
            let topic = Address::parse("t").unwrap();
            if let Ok(records) = records(&topic, &batch) {
                for record in records { let _ = record; }
            };
        }

        #[test]
        fn bodies_survive(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
            let messages: Vec<Message> = bodies.iter().map(|b| message(b)).collect();
            let back = decode("orders", encode("orders", &messages));
            prop_assert_eq!(back.into_iter().map(|r| r.message).collect::<Vec<_>>(), messages);
        }
    }
}
