//! How the core's own values become bytes: in frames and in checkpoints. Numbers are varints, text and bytes carry their length, a
//! struct is its fields in order. Reading never panics and never allocates from a length that the bytes do not back.

use crate::model::{GroupId, JobId, PartId, Pattern, TopicId};
use bytes::Bytes;
use sb_wirekit::{ReadError, Reader, put_bytes, put_varint, put_zigzag};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why bytes are not what was expected.
#[derive(Debug)]
pub(crate) struct Bad(pub &'static str);

impl From<ReadError> for Bad {
    fn from(error: ReadError) -> Self {
        Bad(match error {
            ReadError::Short => "too few bytes",
            ReadError::Malformed => "malformed bytes",
        })
    }
}

impl From<Bad> for String {
    fn from(bad: Bad) -> String {
        bad.0.to_owned()
    }
}

/// The result of reading or of applying what was read.
pub(crate) type Decode<T> = Result<T, Bad>;

/// A value with one canonical form in bytes.
pub(crate) trait Wire: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads the value.
    fn get(r: &mut Reader<'_>) -> Decode<Self>;
}

/// Implements [`Wire`] for a struct: its fields in the order given.
macro_rules! wire {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::wire::Wire::put(&self.$field, out);)*
            }
            fn get(r: &mut sb_wirekit::Reader<'_>) -> $crate::wire::Decode<Self> {
                Ok($name { $($field: $crate::wire::Wire::get(r)?),* })
            }
        }
    };
}

/// Implements [`Wire`] for an enum: a tag, then the fields of the variant.
macro_rules! wire_enum {
    ($name:ident { $($tag:literal $variant:ident { $($field:ident),* $(,)? }),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $($name::$variant { $($field),* } => {
                        out.push($tag);
                        $($crate::wire::Wire::put($field, out);)*
                    })*
                }
            }
            fn get(r: &mut sb_wirekit::Reader<'_>) -> $crate::wire::Decode<Self> {
                Ok(match r.u8()? {
                    $($tag => $name::$variant { $($field: $crate::wire::Wire::get(r)?),* },)*
                    _ => return Err($crate::wire::Bad("unknown tag")),
                })
            }
        }
    };
}
pub(crate) use {wire, wire_enum};

impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, *self);
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok(r.varint()?)
    }
}

impl Wire for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(*self));
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        u32::try_from(r.varint()?).map_err(|_| Bad("number too large"))
    }
}

impl Wire for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_zigzag(out, *self);
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok(r.zigzag()?)
    }
}

impl Wire for u128 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok(r.u128()?)
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        match r.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Bad("not a truth value")),
        }
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok(r.text(usize::MAX)?.to_owned())
    }
}

impl Wire for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok(Arc::from(r.text(usize::MAX)?))
    }
}

impl Wire for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self);
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok(Bytes::copy_from_slice(r.bytes(usize::MAX)?))
    }
}

impl Wire for Pattern {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_str().as_bytes());
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Pattern::parse(r.text(usize::MAX)?).map_err(|_| Bad("not a pattern"))
    }
}

impl Wire for TopicId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok(TopicId(Wire::get(r)?))
    }
}

impl Wire for GroupId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok(GroupId(Wire::get(r)?))
    }
}

impl Wire for JobId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok(JobId(Wire::get(r)?))
    }
}

wire!(PartId { topic, partition });

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.put(out);
            }
        }
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok(if bool::get(r)? { Some(T::get(r)?) } else { None })
    }
}

/// Reads a count that the rest of the bytes can back, at one byte an element.
fn count(r: &mut Reader<'_>) -> Decode<usize> {
    let n = usize::try_from(r.varint()?).map_err(|_| Bad("count"))?;
    if n > r.remaining() { Err(Bad("count")) } else { Ok(n) }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        self.iter().for_each(|value| value.put(out));
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        (0..count(r)?).map(|_| T::get(r)).collect()
    }
}

impl<T: Wire, const N: usize> Wire for SmallVec<[T; N]>
where
    [T; N]: smallvec::Array<Item = T>,
{
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        self.iter().for_each(|value| value.put(out));
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        (0..count(r)?).map(|_| T::get(r)).collect()
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        (0..count(r)?).map(|_| Ok((K::get(r)?, V::get(r)?))).collect()
    }
}

impl<K: Wire + Ord> Wire for BTreeSet<K> {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        self.iter().for_each(|key| key.put(out));
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        (0..count(r)?).map(|_| K::get(r)).collect()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok((A::get(r)?, B::get(r)?))
    }
}

impl<A: Wire, B: Wire, C: Wire> Wire for (A, B, C) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        Ok((A::get(r)?, B::get(r)?, C::get(r)?))
    }
}

/// Reads a value that fills the bytes.
pub(crate) fn whole<T: Wire>(bytes: &[u8]) -> Decode<T> {
    let mut r = Reader::new(bytes);
    let value = T::get(&mut r)?;
    if r.is_empty() { Ok(value) } else { Err(Bad("bytes left over")) }
}
