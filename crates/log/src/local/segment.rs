//! Segments: the batches of one larger partition, in Kafka's file layout.
//!
//! The `.log` file is nothing but RecordBatches. `.index` (offset to position) and `.timeindex` (newest time
//! so far to offset) are caches in Kafka's formats: an entry is only believed if the batch it points at is
//! the one it names, and a file that is wrong is made again.

use super::PartId;
use crate::vfs::{File, read_some};
use sb_core::batch::{self, HEADER_LEN, Header};
use std::io;
use std::path::{Path, PathBuf};

/// What a checkpoint says about a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegMeta {
    pub(crate) base: u64,
    /// The offset after the last one.
    pub(crate) end: u64,
    pub(crate) len: u64,
    pub(crate) max_time: i64,
    /// Hash of the whole file once nothing is added to it any more; 0 until then.
    pub(crate) hash: u128,
}

/// A segment in memory. The indexes are kept for the last one of a partition only.
pub(crate) struct Segment {
    pub(crate) meta: SegMeta,
    /// Offset minus base, position.
    pub(crate) index: Vec<(u32, u32)>,
    /// Newest time so far, offset minus base.
    pub(crate) times: Vec<(i64, u32)>,
    /// How many entries of each are in the files.
    pub(crate) flushed: usize,
    /// Whether the indexes in memory are complete.
    pub(crate) loaded: bool,
}

impl Segment {
    pub(crate) fn new(base: u64) -> Segment {
        let meta = SegMeta { base, end: base, len: 0, max_time: i64::MIN, hash: 0 };
        Segment { meta, index: Vec::new(), times: Vec::new(), flushed: 0, loaded: true }
    }

    pub(crate) fn of(meta: SegMeta) -> Segment {
        Segment { meta, index: Vec::new(), times: Vec::new(), flushed: 0, loaded: false }
    }

    /// Notes a batch that was written at the end.
    pub(crate) fn added(&mut self, header: &Header, interval: u64) {
        let (rel, pos) = ((header.base_offset - self.meta.base) as u32, self.meta.len as u32);
        self.meta.max_time = self.meta.max_time.max(header.max_time_ms);
        if self.index.last().is_none_or(|(_, at)| self.meta.len - u64::from(*at) >= interval) {
            self.index.push((rel, pos));
            self.times.push((self.meta.max_time, rel));
        }
        self.meta.len += header.size as u64;
        self.meta.end = header.end();
    }
}

/// The directory of a partition.
pub(crate) fn dir(segments: &Path, part: PartId) -> PathBuf {
    segments.join(format!("{}-{}", part.topic, part.partition))
}

/// The partition in a directory's name.
pub(crate) fn part(name: &str) -> Option<PartId> {
    let (topic, partition) = name.split_once('-')?;
    Some(PartId { topic: topic.parse().ok()?, partition: partition.parse().ok()? })
}

/// The path of one of a segment's files.
pub(crate) fn path(segments: &Path, part: PartId, base: u64, kind: &str) -> PathBuf {
    dir(segments, part).join(format!("{base:020}.{kind}"))
}

/// The last entry of an index file that is at or before `offset`; position 0 if there is none.
pub(crate) fn search(file: &dyn File, meta: &SegMeta, offset: u64) -> io::Result<(u64, u64)> {
    let (mut low, mut high) = (0, file.size()? / 8);
    let mut best = (meta.base, 0);
    while low < high {
        let mid = low + (high - low) / 2;
        let mut entry = [0; 8];
        if read_some(file, mid * 8, &mut entry)? < 8 {
            break;
        }
        let (rel, pos) = decode_index(&entry);
        if meta.base + u64::from(rel) <= offset {
            if u64::from(pos) < meta.len {
                best = (meta.base + u64::from(rel), u64::from(pos));
            }
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    Ok(best)
}

fn decode_index(entry: &[u8; 8]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = *entry;
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

/// The entries of an index file up to the first that cannot be.
pub(crate) fn read_index(file: &dyn File, meta: &SegMeta) -> io::Result<Vec<(u32, u32)>> {
    let bytes = read_all(file, meta.len)?;
    let mut out: Vec<(u32, u32)> = Vec::new();
    for entry in bytes.as_chunks::<8>().0 {
        let (rel, pos) = decode_index(entry);
        let after = out.last().is_none_or(|(r, p)| rel > *r && pos > *p);
        if !after || meta.base + u64::from(rel) >= meta.end || u64::from(pos) >= meta.len {
            break;
        }
        out.push((rel, pos));
    }
    Ok(out)
}

/// The entries of a time index, or none if it is not in order.
pub(crate) fn read_times(file: &dyn File, meta: &SegMeta) -> io::Result<Vec<(i64, u32)>> {
    let bytes = read_all(file, meta.len)?;
    let mut out: Vec<(i64, u32)> = Vec::new();
    for entry in bytes.as_chunks::<12>().0 {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *entry;
        let time = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let rel = u32::from_be_bytes([i, j, k, l]);
        if out.last().is_some_and(|(t, r)| time < *t || rel <= *r) || meta.base + u64::from(rel) >= meta.end {
            break;
        }
        out.push((time, rel));
    }
    Ok(out)
}

/// A cache file's content; it cannot be longer than the segment that it describes.
fn read_all(file: &dyn File, limit: u64) -> io::Result<Vec<u8>> {
    let len = file.size()?.min(limit.saturating_add(12));
    let mut bytes = vec![0; len as usize];
    let n = read_some(file, 0, &mut bytes)?;
    bytes.truncate(n);
    Ok(bytes)
}

pub(crate) fn encode_index(entries: &[(u32, u32)]) -> Vec<u8> {
    entries.iter().flat_map(|(rel, pos)| [rel.to_be_bytes(), pos.to_be_bytes()].concat()).collect()
}

pub(crate) fn encode_times(entries: &[(i64, u32)]) -> Vec<u8> {
    entries.iter().flat_map(|(t, rel)| [t.to_be_bytes().as_slice(), &rel.to_be_bytes()].concat()).collect()
}

/// Why batches could not be walked.
pub(crate) enum Walk {
    Bad { pos: u64, offset: u64, why: String },
    Io(io::Error),
}

impl From<io::Error> for Walk {
    fn from(e: io::Error) -> Walk {
        Walk::Io(e)
    }
}

/// Walks the headers of a segment from a position where the batch that begins with `offset` must be, until
/// `visit` says stop or the segment ends. Each batch must continue the one before it.
pub(crate) fn walk(
    file: &dyn File,
    meta: &SegMeta,
    mut offset: u64,
    mut pos: u64,
    visit: &mut dyn FnMut(u64, &Header) -> bool,
) -> Result<(), Walk> {
    let mut buf = vec![0; 64 << 10];
    let (mut from, mut have) = (0, 0);
    while pos < meta.len {
        if pos < from || pos + HEADER_LEN as u64 > from + have as u64 {
            from = pos;
            let want = buf.len().min((meta.len - pos) as usize);
            have = read_some(file, pos, &mut buf[..want])?;
        }
        let header = batch::header(&buf[(pos - from) as usize..have]).map_err(|e| Walk::Bad {
            pos,
            offset,
            why: e.to_string(),
        })?;
        fits(&header, meta, offset, pos).map_err(|why| Walk::Bad { pos, offset, why })?;
        if !visit(pos, &header) {
            return Ok(());
        }
        pos += header.size as u64;
        offset = header.end();
    }
    if offset != meta.end {
        return Err(Walk::Bad {
            pos,
            offset,
            why: format!("the segment should end with offset {}", meta.end - 1),
        });
    }
    Ok(())
}

/// Whether a batch's header can be right at this place.
pub(crate) fn fits(header: &Header, meta: &SegMeta, offset: u64, pos: u64) -> Result<(), String> {
    if header.base_offset != offset {
        return Err(format!("the batch says that it begins with offset {}", header.base_offset));
    }
    if header.size as u64 > meta.len - pos || header.end() > meta.end {
        return Err("the batch is longer than the segment".into());
    }
    Ok(())
}
