//! The Protobuf wire format: fields of encoded bytes, and their writing. Reading never allocates.

use crate::error::{Error, Result};
use smallvec::SmallVec;

/// Groups may lie in each other as deep as this, in bytes that are skipped.
const MAX_GROUPS: usize = 100;

/// One value as it stands on the wire.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum WireValue<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 3: what stands between the group's two tags.
    Group(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// The fields of an encoded message, in the order of the bytes: number and value.
///
/// After an error it ends.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Fields { rest: bytes }
    }

    fn read(&mut self) -> Result<(u32, WireValue<'a>)> {
        let (number, wire) = tag(&mut self.rest)?;
        Ok((number, value(&mut self.rest, number, wire)?))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, WireValue<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.read();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

/// Whether `bytes` are fields to the end, and groups are closed. Messages inside are not looked into.
pub fn check(bytes: &[u8]) -> Result<()> {
    Fields::new(bytes).try_for_each(|field| field.map(|_| ()))
}

fn short() -> Error {
    Error::new("the Protobuf bytes end in the middle of a field")
}

fn malformed() -> Error {
    Error::new("the bytes are not Protobuf")
}

/// A number of up to ten bytes. Bits beyond the 64th are dropped, as every other implementation does.
pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Ok(value);
        }
    }
    Err(if bytes.len() < 10 { short() } else { malformed() })
}

fn tag(bytes: &mut &[u8]) -> Result<(u32, u8)> {
    let before = bytes.len();
    let key = u32::try_from(varint(bytes)?).map_err(|_| malformed())?;
    // A tag has 32 bits; one that is written longer is refused by the others too.
    if key >> 3 == 0 || before - bytes.len() > 5 {
        return Err(malformed());
    }
    Ok((key >> 3, (key & 7) as u8))
}

pub(crate) fn fixed32(bytes: &mut &[u8]) -> Result<u32> {
    let (head, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*head))
}

pub(crate) fn fixed64(bytes: &mut &[u8]) -> Result<u64> {
    let (head, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*head))
}

fn prefixed<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let len = usize::try_from(varint(bytes)?).map_err(|_| malformed())?;
    let (head, rest) = bytes.split_at_checked(len).ok_or_else(short)?;
    *bytes = rest;
    Ok(head)
}

fn value<'a>(bytes: &mut &'a [u8], number: u32, wire: u8) -> Result<WireValue<'a>> {
    Ok(match wire {
        0 => WireValue::Varint(varint(bytes)?),
        1 => WireValue::Fixed64(fixed64(bytes)?),
        2 => WireValue::Bytes(prefixed(bytes)?),
        3 => WireValue::Group(group(bytes, number)?),
        5 => WireValue::Fixed32(fixed32(bytes)?),
        _ => return Err(malformed()),
    })
}

fn group<'a>(bytes: &mut &'a [u8], number: u32) -> Result<&'a [u8]> {
    let start = *bytes;
    let mut open: SmallVec<[u32; 8]> = SmallVec::new();
    open.push(number);
    loop {
        let before = bytes.len();
        let (inner, wire) = tag(bytes)?;
        match wire {
            3 if open.len() < MAX_GROUPS => open.push(inner),
            3 => return Err(Error::new("groups lie too deep in each other")),
            4 => {
                if open.pop() != Some(inner) {
                    return Err(malformed());
                }
                if open.is_empty() {
                    return Ok(&start[..start.len() - before]);
                }
            }
            _ => {
                value(bytes, inner, wire)?;
            }
        }
    }
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the tag of a field. Wire types: 0 varint, 1 eight bytes, 2 length and bytes, 3 and 4 group, 5 four bytes.
pub fn put_tag(out: &mut Vec<u8>, number: u32, wire: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire));
}

/// Appends a field of wire type 2.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Where a length-prefixed value begins whose length is not known yet.
pub(crate) struct Mark(usize);

/// Leaves room for a length; what is appended until [`close`] is the value.
pub(crate) fn open(out: &mut Vec<u8>) -> Mark {
    out.push(0);
    Mark(out.len())
}

/// Enters the length of what was appended since [`open`].
pub(crate) fn close(out: &mut Vec<u8>, mark: Mark) {
    let len = out.len() - mark.0;
    if len < 0x80 {
        out[mark.0 - 1] = len as u8;
        return;
    }
    // One byte was left; longer lengths push the value along.
    let extra = (64 - (len as u64).leading_zeros() as usize).div_ceil(7) - 1;
    let end = out.len();
    out.resize(end + extra, 0);
    out.copy_within(mark.0..end, mark.0 + extra);
    let mut value = len as u64;
    for byte in &mut out[mark.0 - 1..mark.0 + extra - 1] {
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    out[mark.0 + extra - 1] = value as u8;
}

/// Undoes [`open`]: nothing of the value stays.
pub(crate) fn abandon(out: &mut Vec<u8>, mark: Mark) {
    out.truncate(mark.0 - 1);
}

/// A signed number from its zigzag form.
pub(crate) fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

/// A signed number in its zigzag form.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_entered_afterwards() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let mut out = vec![9];
            let mark = open(&mut out);
            out.extend((0..len).map(|i| i as u8));
            close(&mut out, mark);
            let mut rest = &out[1..];
            assert_eq!(varint(&mut rest).unwrap(), len as u64);
            assert_eq!(rest.len(), len);
            assert!(rest.iter().enumerate().all(|(i, b)| *b == i as u8));
        }
    }

    #[test]
    fn fields_are_read_and_groups_are_closed() {
        let mut out = Vec::new();
        put_tag(&mut out, 1, 0);
        put_varint(&mut out, 300);
        put_bytes(&mut out, 2, b"ab");
        put_tag(&mut out, 3, 3);
        put_tag(&mut out, 4, 3);
        put_tag(&mut out, 4, 4);
        put_tag(&mut out, 3, 4);
        let fields: Vec<_> = Fields::new(&out).collect::<Result<_>>().unwrap();
        assert_eq!(fields[0], (1, WireValue::Varint(300)));
        assert_eq!(fields[1], (2, WireValue::Bytes(b"ab")));
        assert_eq!(fields[2], (3, WireValue::Group(&[0x23, 0x24])));
        assert!(check(&out[..out.len() - 1]).is_err());
        for bad in [
            &[0u8, 0][..],
            &[0x0c],
            &[0x0b, 0x14],
            &[0x0a, 5, 1],
            &[0xff; 11],
            &[0x0e],
            &[0x88, 0x80, 0x80, 0x80, 0x80, 0, 1],
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
