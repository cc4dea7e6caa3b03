//! Cursors, handles and scoped tokens: opaque text that only this node's key can make.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sb_core::model::{Error, GroupId, Kind, Position, Result, TopicId};
use sb_core::ops::Delivery;
use sb_wirekit::{Reader, put_varint};

/// The most positions in one cursor.
pub const MAX_POSITIONS: usize = 256;
const MAC_LEN: usize = 10;

/// The node's key.
pub struct Signer {
    key: hmac::Key,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum What {
    Cursor = 1,
    Handle = 2,
    Token = 3,
}

impl Signer {
    /// A signer with this secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        Signer { key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    fn seal(&self, what: What, payload: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[what as u8]);
        context.update(payload);
        let tag = context.sign();
        let len = if what == What::Token { 32 } else { MAC_LEN };
        let mut bytes = Vec::with_capacity(payload.len() + len);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(&tag.as_ref()[..len]);
        BASE64.encode(bytes)
    }

    fn open(&self, what: What, text: &str) -> Option<Vec<u8>> {
        if text.len() > 16 * 1024 {
            return None;
        }
        let mut bytes = BASE64.decode(text).ok()?;
        let len = if what == What::Token { 32 } else { MAC_LEN };
        let at = bytes.len().checked_sub(len)?;
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[what as u8]);
        context.update(&bytes[..at]);
        let good = subtle::ConstantTimeEq::ct_eq(&context.sign().as_ref()[..len], &bytes[at..]);
        bytes.truncate(at);
        bool::from(good).then_some(bytes)
    }

    /// The cursor that points at (as an id) or continues behind these messages: for each partition the next offset to read.
    pub fn cursor(&self, next: &[Position]) -> String {
        let mut bytes = Vec::with_capacity(4 + next.len() * 6);
        put_varint(&mut bytes, next.len() as u64);
        for position in next {
            put_varint(&mut bytes, u64::from(position.shard));
            put_varint(&mut bytes, u64::from(position.part.topic.0));
            put_varint(&mut bytes, u64::from(position.part.partition));
            put_varint(&mut bytes, position.offset);
        }
        self.seal(What::Cursor, &bytes)
    }

    /// Reads a cursor.
    pub fn open_cursor(&self, text: &str) -> Result<Vec<Position>> {
        let bad = || {
            Error::new(Kind::Invalid, "SB0204", "this is not a cursor of this server")
                .fix("Use an id or a next of an earlier answer, unchanged")
        };
        let bytes = self.open(What::Cursor, text).ok_or_else(bad)?;
        let mut r = Reader::new(&bytes);
        let mut read = || -> sb_wirekit::Result<Vec<Position>> {
            let n = r.varint()? as usize;
            let mut out = Vec::with_capacity(n.min(MAX_POSITIONS));
            for _ in 0..n {
                let shard = r.varint()? as u16;
                let topic = TopicId(r.varint()? as u32);
                let partition = r.varint()? as u32;
                let mut position = Position::new(topic, partition, r.varint()?);
                position.shard = shard;
                out.push(position);
            }
            Ok(out)
        };
        read().map_err(|_| bad())
    }

    /// The handle of a delivery.
    pub fn handle(&self, delivery: &Delivery, attempt: u32) -> String {
        let mut bytes = Vec::with_capacity(24);
        put_varint(&mut bytes, u64::from(delivery.group.0));
        put_varint(&mut bytes, u64::from(delivery.partition));
        put_varint(&mut bytes, delivery.offset);
        put_varint(&mut bytes, delivery.lease);
        put_varint(&mut bytes, u64::from(attempt));
        self.seal(What::Handle, &bytes)
    }

    /// Reads a handle: the delivery and its attempt.
    pub fn open_handle(&self, text: &str) -> Result<(Delivery, u32)> {
        let bad = || {
            Error::new(Kind::Invalid, "SB0204", "this is not a handle of this server")
                .fix("Use the handle that came with the delivery, unchanged")
        };
        let bytes = self.open(What::Handle, text).ok_or_else(bad)?;
        let mut r = Reader::new(&bytes);
        let mut read = || -> sb_wirekit::Result<(Delivery, u32)> {
            let group = GroupId(r.varint()? as u32);
            let partition = r.varint()? as u32;
            let offset = r.varint()?;
            let lease = r.varint()?;
            Ok((Delivery { group, partition, offset, lease }, r.varint()? as u32))
        };
        read().map_err(|_| bad())
    }

    /// A token that holds these claims.
    pub fn token(&self, claims: &[u8]) -> String {
        format!("sbt_{}", self.seal(What::Token, claims))
    }

    /// The claims of a token; `None` when it is not one of ours.
    pub fn open_token(&self, text: &str) -> Option<Vec<u8>> {
        self.open(What::Token, text.strip_prefix("sbt_")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_opens() {
        let signer = Signer::new(&[7; 32]);
        let positions = [Position::new(TopicId(3), 0, 9), Position::new(TopicId(u32::MAX), 2, u64::MAX)];
        let cursor = signer.cursor(&positions);
        assert_eq!(signer.open_cursor(&cursor).unwrap(), positions);
        let delivery = Delivery { group: GroupId(1), partition: 2, offset: 3, lease: 4 };
        let handle = signer.handle(&delivery, 5);
        assert_eq!(signer.open_handle(&handle).unwrap(), (delivery, 5));
        assert!(signer.open_handle(&cursor).is_err() && signer.open_cursor(&handle).is_err());
        assert!(Signer::new(&[8; 32]).open_cursor(&cursor).is_err());
        for n in 0..cursor.len() {
            let mut bad = cursor.clone().into_bytes();
            bad[n] = if bad[n] == b'A' { b'B' } else { b'A' };
            assert!(signer.open_cursor(std::str::from_utf8(&bad).unwrap()).is_err(), "{n}");
        }
        assert!(signer.open_cursor("").is_err() && signer.open_cursor("é").is_err());
    }
}
