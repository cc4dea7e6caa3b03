//! Writing values of the binary and the compact protocol.

use super::{Head, Proto, TType};
use sb_wirekit::{put_varint, put_zigzag};

/// Writes a message.
pub struct Writer {
    out: Vec<u8>,
    proto: Proto,
    /// The id of the struct's field before.
    last: i16,
    /// The id of a boolean field whose head waits for its value.
    waiting: Option<i16>,
}

/// What a struct inside has to give back to the one around it.
#[must_use]
pub struct Outer(i16);

impl Writer {
    /// Appends to `out`.
    pub fn new(out: Vec<u8>, proto: Proto) -> Self {
        Writer { out, proto, last: 0, waiting: None }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// How much was written.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The head of a message.
    pub fn head(&mut self, head: &Head) {
        match self.proto {
            Proto::Binary if head.strict => {
                self.out.extend_from_slice(&[0x80, 1, 0, head.kind as u8]);
                self.bytes(head.name.as_bytes());
                self.i32(head.seqid);
            }
            Proto::Binary => {
                self.bytes(head.name.as_bytes());
                self.out.push(head.kind as u8);
                self.i32(head.seqid);
            }
            Proto::Compact => {
                self.out.extend_from_slice(&[0x82, 1 | (head.kind as u8) << 5]);
                put_varint(&mut self.out, u64::from(head.seqid as u32));
                self.bytes(head.name.as_bytes());
            }
        }
    }

    /// Begins a struct; its fields follow, then [`Writer::leave`].
    pub fn enter(&mut self) -> Outer {
        Outer(std::mem::take(&mut self.last))
    }

    /// Ends a struct.
    pub fn leave(&mut self, outer: Outer) {
        self.out.push(0);
        self.last = outer.0;
    }

    /// The head of a field; its value follows.
    pub fn field(&mut self, ty: TType, id: i16) {
        match self.proto {
            Proto::Binary => {
                self.out.push(ty as u8);
                self.out.extend_from_slice(&id.to_be_bytes());
            }
            Proto::Compact if ty == TType::Bool => self.waiting = Some(id),
            Proto::Compact => self.compact_field(ty.compact(), id),
        }
    }

    fn compact_field(&mut self, number: u8, id: i16) {
        match i32::from(id) - i32::from(self.last) {
            delta @ 1..=15 => self.out.push((delta as u8) << 4 | number),
            _ => {
                self.out.push(number);
                put_zigzag(&mut self.out, i64::from(id));
            }
        }
        self.last = id;
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) {
        if let Some(id) = self.waiting.take() {
            return self.compact_field(if value { 1 } else { 2 }, id);
        }
        self.out.push(match (self.proto, value) {
            (_, true) => 1,
            (Proto::Binary, false) => 0,
            (Proto::Compact, false) => 2,
        });
    }

    /// Eight bits.
    pub fn i8(&mut self, value: i8) {
        self.out.push(value as u8);
    }

    /// Sixteen bits.
    pub fn i16(&mut self, value: i16) {
        match self.proto {
            Proto::Binary => self.out.extend_from_slice(&value.to_be_bytes()),
            Proto::Compact => put_zigzag(&mut self.out, i64::from(value)),
        }
    }

    /// Thirty-two bits.
    pub fn i32(&mut self, value: i32) {
        match self.proto {
            Proto::Binary => self.out.extend_from_slice(&value.to_be_bytes()),
            Proto::Compact => put_zigzag(&mut self.out, i64::from(value)),
        }
    }

    /// Sixty-four bits.
    pub fn i64(&mut self, value: i64) {
        match self.proto {
            Proto::Binary => self.out.extend_from_slice(&value.to_be_bytes()),
            Proto::Compact => put_zigzag(&mut self.out, value),
        }
    }

    /// A floating-point number.
    pub fn double(&mut self, value: f64) {
        match self.proto {
            Proto::Binary => self.out.extend_from_slice(&value.to_be_bytes()),
            Proto::Compact => self.out.extend_from_slice(&value.to_le_bytes()),
        }
    }

    /// Text or bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.length(value.len());
        self.out.extend_from_slice(value);
    }

    /// Sixteen bytes of a UUID.
    pub fn uuid(&mut self, value: &[u8; 16]) {
        self.out.extend_from_slice(value);
    }

    /// Lengths beyond what 31 bits hold do not occur: messages are smaller.
    fn length(&mut self, n: usize) {
        match self.proto {
            Proto::Binary => self.out.extend_from_slice(&(n as u32).to_be_bytes()),
            Proto::Compact => put_varint(&mut self.out, n as u64),
        }
    }

    /// The head of a list or set; the items follow.
    pub fn list(&mut self, ty: TType, n: usize) {
        match self.proto {
            Proto::Binary => {
                self.out.push(ty as u8);
                self.length(n);
            }
            Proto::Compact if n < 15 => self.out.push((n as u8) << 4 | ty.compact()),
            Proto::Compact => {
                self.out.push(0xf0 | ty.compact());
                self.length(n);
            }
        }
    }

    /// The head of a map; keys and values follow in turn.
    pub fn map(&mut self, key: TType, value: TType, n: usize) {
        match self.proto {
            Proto::Binary => {
                self.out.extend_from_slice(&[key as u8, value as u8]);
                self.length(n);
            }
            Proto::Compact => {
                self.length(n);
                if n > 0 {
                    self.out.push(key.compact() << 4 | value.compact());
                }
            }
        }
    }
}
