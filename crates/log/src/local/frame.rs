//! What a journal file looks like: one header page, then records, each starting on a page of its own.
//!
//! Everything is hashed with a key made from the file's salt, and every record says which file and position
//! it belongs to. So neither what a client put into a body nor what a recycled file still holds can pass for
//! a record of this file. The hash of one frame is part of the next: a chain.
//!
//! ```text
//! file header                        record
//!  0  magic  8 version               0  magic  4 kind  8 body length
//! 16  salt                          16  LSN
//! 32  sequence                      24  highest LSN known durable when this was built
//! 40  first LSN of this file        32  hash of the previous frame's header
//! 48  hash of the frame before      48  hash of the body
//! 64  length of this file           64  sequence of the file  72  position in the file
//! 80  hash of 0..80                 80  hash of 0..80          96  body, zeros up to the next page
//! ```

use xxhash_rust::xxh3::{xxh3_128_with_secret, xxh3_128_with_seed};

/// Records start at multiples of this, and no page holds two of them.
pub(crate) const PAGE: u64 = 4096;
/// Length of a record's header.
pub(crate) const HEAD: usize = 96;
/// The format written by this version.
pub(crate) const FORMAT: u32 = 1;

const FILE_MAGIC: [u8; 8] = *b"SBJOURNL";
const MAGIC: [u8; 4] = *b"SBfr";

/// The hash key of one file.
#[derive(Clone)]
pub(crate) struct Key([u8; 192]);

impl Key {
    pub(crate) fn new(salt: &[u8; 16]) -> Key {
        let mut secret = [0; 192];
        for (i, part) in secret.chunks_exact_mut(16).enumerate() {
            part.copy_from_slice(&xxh3_128_with_seed(salt, i as u64 + 1).to_le_bytes());
        }
        Key(secret)
    }

    pub(crate) fn hash(&self, bytes: &[u8]) -> u128 {
        xxh3_128_with_secret(bytes, &self.0)
    }
}

/// The header of a journal file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileHead {
    pub(crate) salt: [u8; 16],
    pub(crate) sequence: u64,
    pub(crate) first: u64,
    pub(crate) chain: u128,
    pub(crate) len: u64,
}

/// Why a file header is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHead {
    Damaged,
    Newer(u32),
}

impl FileHead {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAGE as usize);
        out.extend_from_slice(&FILE_MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.chain.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        out.resize(80, 0);
        let hash = Key::new(&self.salt).hash(&out);
        out.extend_from_slice(&hash.to_le_bytes());
        out.resize(PAGE as usize, 0);
        out
    }

    pub(crate) fn decode(page: &[u8]) -> Result<FileHead, BadHead> {
        let (Some(salt), Some(hash), Some(body)) = (array::<16>(page, 16), u128_at(page, 80), page.get(..80))
        else {
            return Err(BadHead::Damaged);
        };
        if body[..8] != FILE_MAGIC || Key::new(&salt).hash(body) != hash {
            return Err(BadHead::Damaged);
        }
        // The place of version, salt and hash is the same in every format to come.
        let version = u32_at(page, 8).unwrap_or(0);
        if version != FORMAT {
            return Err(BadHead::Newer(version));
        }
        match (u64_at(page, 32), u64_at(page, 40), u128_at(page, 48), u64_at(page, 64)) {
            (Some(sequence), Some(first @ 1..), Some(chain), Some(len)) => {
                Ok(FileHead { salt, sequence, first, chain, len })
            }
            _ => Err(BadHead::Damaged),
        }
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A frame of the log.
    Frame = 1,
    /// Everything up to this LSN is durable; nothing was being written.
    Seal = 2,
    /// The log goes on in the next file.
    Close = 3,
}

/// The header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) len: u32,
    pub(crate) lsn: u64,
    pub(crate) durable: u64,
    pub(crate) chain: u128,
    pub(crate) body: u128,
}

impl Head {
    /// The bytes for this position, and the hash that the next frame chains to.
    pub(crate) fn encode(&self, key: &Key, sequence: u64, position: u64) -> ([u8; HEAD], u128) {
        let mut out = [0; HEAD];
        out[..4].copy_from_slice(&MAGIC);
        out[4] = self.kind as u8;
        out[8..12].copy_from_slice(&self.len.to_le_bytes());
        out[16..24].copy_from_slice(&self.lsn.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable.to_le_bytes());
        out[32..48].copy_from_slice(&self.chain.to_le_bytes());
        out[48..64].copy_from_slice(&self.body.to_le_bytes());
        out[64..72].copy_from_slice(&sequence.to_le_bytes());
        out[72..80].copy_from_slice(&position.to_le_bytes());
        let hash = key.hash(&out[..80]);
        out[80..].copy_from_slice(&hash.to_le_bytes());
        (out, hash)
    }

    /// The header at this position, if there is a genuine one, and its hash.
    pub(crate) fn decode(bytes: &[u8], key: &Key, sequence: u64, position: u64) -> Option<(Head, u128)> {
        let body = bytes.get(..80)?;
        if body[..4] != MAGIC {
            return None;
        }
        let hash = u128_at(bytes, 80)?;
        if key.hash(body) != hash || u64_at(body, 64)? != sequence || u64_at(body, 72)? != position {
            return None;
        }
        let kind = match body[4] {
            1 => Kind::Frame,
            2 => Kind::Seal,
            3 => Kind::Close,
            _ => return None,
        };
        let head = Head {
            kind,
            len: u32_at(body, 8)?,
            lsn: u64_at(body, 16)?,
            durable: u64_at(body, 24)?,
            chain: u128_at(body, 32)?,
            body: u128_at(body, 48)?,
        };
        Some((head, hash))
    }
}

/// Bytes that a record with a body of `len` takes.
pub(crate) fn padded(len: usize) -> u64 {
    ((len + HEAD) as u64).div_ceil(PAGE) * PAGE
}

pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

pub(crate) fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    array(bytes, at).map(u128::from_le_bytes)
}
