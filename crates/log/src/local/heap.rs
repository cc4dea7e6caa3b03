//! Heap files: where the batches of small partitions lie together, so that a hundred thousand topics do not
//! need as many files.
//!
//! ```text
//! entry:  0 magic  4 topic  8 partition  12 length  16 base offset  24 offsets
//!        28 CRC-32C of 0..28 and of the 21 bytes of the batch that its own checksum does not cover
//!        32 the RecordBatch
//! ```

use super::PartId;
use super::frame::{array, u32_at, u64_at};
use sb_core::batch::crc32c;

/// Bytes before the batch.
pub(crate) const ENTRY: usize = 32;
/// Bytes at the beginning of a batch that its checksum does not cover.
const BARE: usize = 21;
/// Bytes that suffice to read an entry's header.
pub(crate) const PEEK: usize = ENTRY + BARE;
const MAGIC: [u8; 4] = *b"SBhp";

/// Where a batch of a small partition is. Kept in memory for each of them, so it is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loc {
    pub(crate) heap: u32,
    pub(crate) pos: u32,
    pub(crate) len: u32,
    /// How many offsets it covers.
    pub(crate) count: u32,
    pub(crate) base: u64,
}

impl Loc {
    /// The offset after its last one.
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(u64::from(self.count))
    }

    /// Bytes in the heap file.
    pub(crate) fn size(&self) -> u64 {
        ENTRY as u64 + u64::from(self.len)
    }
}

/// What a checkpoint says about a heap file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeapMeta {
    pub(crate) end: u64,
    pub(crate) live: u64,
}

/// An entry's header, read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) part: PartId,
    pub(crate) len: u32,
    pub(crate) base: u64,
    pub(crate) count: u32,
}

impl Entry {
    pub(crate) fn encode(&self, batch: &[u8]) -> [u8; ENTRY] {
        let mut out = [0; ENTRY];
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&self.part.topic.to_le_bytes());
        out[8..12].copy_from_slice(&self.part.partition.to_le_bytes());
        out[12..16].copy_from_slice(&self.len.to_le_bytes());
        out[16..24].copy_from_slice(&self.base.to_le_bytes());
        out[24..28].copy_from_slice(&self.count.to_le_bytes());
        let crc = checksum(&out[..28], batch);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The entry at the beginning of `bytes`, which must hold at least `PEEK` bytes of it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Entry> {
        let crc = checksum(bytes.get(..28)?, bytes.get(ENTRY..)?);
        if array::<4>(bytes, 0)? != MAGIC || crc != u32_at(bytes, 28)? {
            return None;
        }
        Some(Entry {
            part: PartId { topic: u32_at(bytes, 4)?, partition: u32_at(bytes, 8)? },
            len: u32_at(bytes, 12)?,
            base: u64_at(bytes, 16)?,
            count: u32_at(bytes, 24)?,
        })
    }
}

fn checksum(head: &[u8], batch: &[u8]) -> u32 {
    let mut both = [0; 28 + BARE];
    let n = batch.len().min(BARE);
    both[..28].copy_from_slice(head);
    both[28..28 + n].copy_from_slice(&batch[..n]);
    crc32c(&both)
}

/// The name of a heap file.
pub(crate) fn name(number: u32) -> String {
    format!("heap-{number:08}.log")
}

/// The number in a heap file's name.
pub(crate) fn number(name: &str) -> Option<u32> {
    name.strip_prefix("heap-")?.strip_suffix(".log")?.parse().ok()
}
