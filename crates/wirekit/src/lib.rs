//! Small tools for reading and writing bytes, shared by every crate that has a wire or disk format.
//!
//! Nothing here allocates from a length it has not checked, and nothing panics on input: a [`Reader`] either gives the value or says
//! that the bytes are too short or malformed.

/// Why bytes could not be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Fewer bytes than the value needs.
    Short,
    /// A variable-length number that is too long, a length beyond the limit, text that is not UTF-8.
    Malformed,
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ReadError::Short => "too few bytes",
            ReadError::Malformed => "malformed bytes",
        })
    }
}

impl std::error::Error for ReadError {}

/// The result of reading.
pub type Result<T> = std::result::Result<T, ReadError>;

/// A cursor over borrowed bytes.
#[derive(Copy, Clone, Debug)]
pub struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

macro_rules! fixed {
    ($($name:ident $name_le:ident $type:ty),*) => {$(
        /// A big-endian number.
        pub fn $name(&mut self) -> Result<$type> {
            Ok(<$type>::from_be_bytes(self.array()?))
        }
        /// A little-endian number.
        pub fn $name_le(&mut self) -> Result<$type> {
            Ok(<$type>::from_le_bytes(self.array()?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `all`.
    pub fn new(all: &'a [u8]) -> Self {
        Reader { all, at: 0 }
    }

    /// How far it has read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.all.len() - self.at
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).ok_or(ReadError::Malformed)?;
        let bytes = self.all.get(self.at..end).ok_or(ReadError::Short)?;
        self.at = end;
        Ok(bytes)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let bytes = &self.all[self.at..];
        self.at = self.all.len();
        bytes
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fixed!(u16 u16_le u16, u32 u32_le u32, u64 u64_le u64, u128 u128_le u128, i16 i16_le i16, i32 i32_le i32, i64 i64_le i64);

    /// An unsigned LEB128 number of at most 64 bits.
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(ReadError::Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ReadError::Malformed)
    }

    /// A zigzag-encoded signed number, as in Kafka records and Protobuf's sint64.
    pub fn zigzag(&mut self) -> Result<i64> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Bytes behind a varint length of at most `max`.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8]> {
        let n = usize::try_from(self.varint()?).map_err(|_| ReadError::Malformed)?;
        if n > max {
            return Err(ReadError::Malformed);
        }
        self.take(n)
    }

    /// UTF-8 text behind a varint length of at most `max`.
    pub fn text(&mut self, max: usize) -> Result<&'a str> {
        std::str::from_utf8(self.bytes(max)?).map_err(|_| ReadError::Malformed)
    }
}

/// Appends an unsigned LEB128 number.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a zigzag-encoded signed number.
pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// How many bytes [`put_varint`] writes.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// How many bytes [`put_zigzag`] writes.
pub fn zigzag_len(value: i64) -> usize {
    varint_len(((value << 1) ^ (value >> 63)) as u64)
}

/// Appends bytes behind their varint length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(Reader::new(&out).varint(), Ok(value));
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX, -64, 64] {
            let mut out = Vec::new();
            put_zigzag(&mut out, value);
            assert_eq!(out.len(), zigzag_len(value));
            assert_eq!(Reader::new(&out).zigzag(), Ok(value));
        }
    }

    #[test]
    fn malformed_lengths_are_refused() {
        assert_eq!(Reader::new(&[0x80; 11]).varint(), Err(ReadError::Malformed));
        assert_eq!(Reader::new(&[0x05, 1]).bytes(100), Err(ReadError::Short));
        assert_eq!(Reader::new(&[0x7f, 1]).bytes(100), Err(ReadError::Malformed));
        assert_eq!(Reader::new(&[1, 2]).take(usize::MAX), Err(ReadError::Short));
    }
}
