//! What a checkpoint says about a partition, as bytes.

use super::super::frame::{u32_at, u64_at, u128_at};
use super::super::heap::Loc;
use super::super::segment::SegMeta;

/// What a checkpoint says about a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartMeta {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) body: MetaBody,
}

/// Where its batches are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MetaBody {
    Small(Vec<Loc>),
    Big(Vec<SegMeta>),
}

impl PartMeta {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.push(1);
        out.push(matches!(self.body, MetaBody::Big(_)) as u8);
        out.extend_from_slice(&self.start.to_le_bytes());
        out.extend_from_slice(&self.end.to_le_bytes());
        match &self.body {
            MetaBody::Small(locs) => {
                for l in locs {
                    for n in [l.heap, l.pos, l.len, l.count] {
                        out.extend_from_slice(&n.to_le_bytes());
                    }
                    out.extend_from_slice(&l.base.to_le_bytes());
                }
            }
            MetaBody::Big(segments) => {
                // One that was begun and got nothing, because the disk was full, is not there: the next batch begins it anew.
                for s in segments.iter().filter(|s| s.base < s.end) {
                    for n in [s.base, s.end, s.len, s.max_time as u64] {
                        out.extend_from_slice(&n.to_le_bytes());
                    }
                    out.extend_from_slice(&s.hash.to_le_bytes());
                }
            }
        }
        out
    }

    /// The inverse; `None` if the bytes or the ranges in them make no sense.
    pub(crate) fn decode(bytes: &[u8]) -> Option<PartMeta> {
        let (&[version, big], rest) = bytes.split_first_chunk::<2>()?;
        let (start, end) = (u64_at(rest, 0)?, u64_at(rest, 8)?);
        let rows = rest.get(16..)?;
        let mut next = None;
        let mut follows = |from: u64, to: u64| {
            // The first row holds the start; each continues the one before.
            let good = from < to && to <= end && next.map_or(from <= start && start < to, |n| n == from);
            next = Some(to);
            good.then_some(())
        };
        let body = match (version, big) {
            (1, 0) => {
                let (rows, []) = rows.as_chunks::<24>() else { return None };
                let mut locs = Vec::with_capacity(rows.len());
                for r in rows {
                    let loc = Loc {
                        heap: u32_at(r, 0)?,
                        pos: u32_at(r, 4)?,
                        len: u32_at(r, 8)?,
                        count: u32_at(r, 12)?,
                        base: u64_at(r, 16)?,
                    };
                    follows(loc.base, loc.end())?;
                    locs.push(loc);
                }
                MetaBody::Small(locs)
            }
            (1, 1) => {
                let (rows, []) = rows.as_chunks::<48>() else { return None };
                let mut segments = Vec::with_capacity(rows.len());
                for r in rows {
                    let s = SegMeta {
                        base: u64_at(r, 0)?,
                        end: u64_at(r, 8)?,
                        len: u64_at(r, 16)?,
                        max_time: u64_at(r, 24)? as i64,
                        hash: u128_at(r, 32)?,
                    };
                    follows(s.base, s.end)?;
                    if s.len > u64::from(u32::MAX) {
                        return None;
                    }
                    segments.push(s);
                }
                MetaBody::Big(segments)
            }
            _ => return None,
        };
        (start <= end && next.unwrap_or(start) == end).then_some(PartMeta { start, end, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_and_no_nonsense() {
        let loc = |base, count| Loc { heap: 1, pos: 2, len: 3, count, base };
        let small = PartMeta { start: 5, end: 9, body: MetaBody::Small(vec![loc(4, 3), loc(7, 2)]) };
        let seg = |base, end| SegMeta { base, end, len: 10, max_time: -1, hash: 7 };
        let big = PartMeta { start: 0, end: 9, body: MetaBody::Big(vec![seg(0, 4), seg(4, 9)]) };
        for meta in [small, big] {
            let bytes = meta.encode();
            assert_eq!(PartMeta::decode(&bytes), Some(meta));
            for n in 0..bytes.len() {
                if let Some(cut) = PartMeta::decode(&bytes[..n]) {
                    panic!("{n} bytes are not {cut:?}");
                }
            }
        }
        let gap = PartMeta { start: 4, end: 9, body: MetaBody::Small(vec![loc(4, 2), loc(7, 2)]) };
        assert_eq!(PartMeta::decode(&gap.encode()), None);
    }
}
