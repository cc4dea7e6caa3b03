//! What is done to the store beside putting and reading: verifying, tidying, and describing it for a
//! checkpoint.

use super::super::heap::{ENTRY, Entry, HeapMeta, PEEK};
use super::super::segment::{self, SegMeta};
use super::super::state::Changes;
use super::super::{PartId, ReadError};
use super::{Body, Dirty, FileId, MetaBody, Part, PartMeta, Store, invalid, lock};
use crate::vfs::{File, read_full, read_some};
use sb_core::batch;
use std::io;
use std::path::PathBuf;

/// What a checkpoint has to sync, to write, and to remove afterwards.
pub(crate) struct Snapshot {
    pub(crate) changes: Changes,
    dirty: Dirty,
}

/// Damage found by [`Store::scrub`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The partition.
    pub part: PartId,
    /// The offset from which on it cannot be read.
    pub offset: u64,
    /// The file.
    pub file: PathBuf,
    /// First damaged byte, as far as is known.
    pub from: u64,
    /// First byte that may be intact again.
    pub to: u64,
    /// What is wrong.
    pub why: String,
}

/// What one step of scrubbing did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes read and verified.
    pub bytes: u64,
    /// Batches read and verified.
    pub batches: u64,
    /// What was found.
    pub damage: Vec<Damage>,
    /// The end was reached; the next step begins again.
    pub done: bool,
}

impl Store {
    /// Reads and verifies about `budget` bytes, going on where the last call stopped.
    pub fn scrub(&self, budget: u64) -> Scrubbed {
        let mut out = Scrubbed::default();
        let mut cursor = lock(&self.scrub);
        for part in self.parts() {
            let mut at = match *cursor {
                Some((p, _)) if part < p => continue,
                Some((p, offset)) if part == p => offset,
                _ => self.start(part),
            };
            if at <= self.start(part) {
                self.scrub_hashes(part, &mut out);
            }
            loop {
                if out.bytes >= budget {
                    *cursor = Some((part, at));
                    return out;
                }
                match self.read(part, at, 1 << 20) {
                    Ok(batches) if batches.is_empty() => break,
                    Ok(batches) => {
                        for b in &batches {
                            out.bytes += b.len() as u64;
                            out.batches += 1;
                            at = batch::header(b).map_or(u64::MAX, |h| h.end());
                        }
                    }
                    Err(e) => {
                        let (offset, file, from, to, why) = match e {
                            ReadError::Corrupt { offset, file, from, to, why, .. } => {
                                (offset, file, from, to, why)
                            }
                            ReadError::Io(e) => (at, self.dir.clone(), 0, 0, e.to_string()),
                        };
                        out.damage.push(Damage { part, offset, file, from, to, why });
                        match self.behind(part, at) {
                            Some(next) => at = next,
                            None => break,
                        }
                    }
                }
            }
        }
        *cursor = None;
        out.done = true;
        out
    }

    /// Where a partition may be readable again behind damage at `at`: the next heap entry or segment.
    fn behind(&self, part: PartId, at: u64) -> Option<u64> {
        match &self.read_shard(part).get(&part)?.body {
            Body::Small(locs) => Some(locs.get(locs.partition_point(|l| l.end() <= at))?.end()),
            Body::Big(segments) => {
                Some(segments.get(segments.partition_point(|s| s.meta.end <= at))?.meta.end)
            }
        }
    }

    /// Compares finished segments with the hashes of their files, which also cover what no checksum does.
    fn scrub_hashes(&self, part: PartId, out: &mut Scrubbed) {
        let metas: Vec<SegMeta> = match self.read_shard(part).get(&part).map(|p| &p.body) {
            Some(Body::Big(segments)) => segments.iter().map(|s| s.meta).collect(),
            _ => return,
        };
        for meta in metas.iter().filter(|m| m.hash != 0) {
            out.bytes += meta.len;
            let why = match self.hash(part, meta) {
                Ok(hash) if hash == meta.hash => continue,
                // Trimmed meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Ok(_) => "it is not the file that was finished".to_string(),
                Err(e) => e.to_string(),
            };
            let file = self.path(FileId::Log(part, meta.base));
            out.damage.push(Damage { part, offset: meta.base, file, from: 0, to: meta.len, why });
        }
    }

    fn hash(&self, part: PartId, meta: &SegMeta) -> io::Result<u128> {
        hash_file(&*self.file(FileId::Log(part, meta.base))?, meta.len)
    }

    /// Moves what is still wanted out of heap files that are mostly dead, up to `budget` bytes.
    pub(crate) fn compact(&self, budget: u64) -> io::Result<()> {
        let candidates: Vec<(u32, u64)> = {
            let heaps = lock(&self.heaps);
            let current = heaps.current.as_ref().map(|(n, _)| *n);
            heaps
                .files
                .iter()
                .filter(|(n, h)| Some(**n) != current && !h.stuck && h.live > 0 && h.live * 2 < h.end)
                .map(|(n, h)| (*n, h.end))
                .collect()
        };
        let mut moved = 0;
        for (number, end) in candidates {
            if moved >= budget {
                break;
            }
            let file = self.file(FileId::Heap(number))?;
            let mut pos = 0;
            while pos < end {
                let mut head = [0; PEEK];
                let n = read_some(&*file, pos, &mut head)?;
                let Some(entry) = Entry::decode(&head[..n]) else {
                    if let Some(heap) = lock(&self.heaps).files.get_mut(&number) {
                        heap.stuck = true;
                    }
                    tracing::error!(heap = number, pos, "a damaged heap file cannot be compacted");
                    break;
                };
                let size = ENTRY as u64 + u64::from(entry.len);
                moved += self.relocate(number, pos as u32, &entry)?;
                pos += size;
            }
        }
        Ok(())
    }

    /// Moves one heap entry to the current heap file, if it is still wanted.
    fn relocate(&self, number: u32, pos: u32, entry: &Entry) -> io::Result<u64> {
        let mut shard = self.write_shard(entry.part);
        let Some(Part { body: Body::Small(locs), .. }) = shard.get_mut(&entry.part) else { return Ok(0) };
        let i = locs.partition_point(|l| l.base < entry.base);
        let Some(loc) = locs.get_mut(i).filter(|l| l.heap == number && l.pos == pos) else { return Ok(0) };
        let bytes = match self.read_loc(entry.part, loc) {
            Ok(bytes) => bytes,
            Err(ReadError::Io(e)) => return Err(e),
            // It stays, and with it the file.
            Err(_) => return Ok(0),
        };
        let header = batch::header(&bytes).map_err(|e| invalid(e.to_string()))?;
        let new = self.put_heap(entry.part, std::iter::once((&header, &*bytes)), &mut Vec::new())?;
        let Some(new) = new.first() else { return Ok(0) };
        let old = std::mem::replace(loc, *new);
        lock(&self.dirty).parts.insert(entry.part);
        self.release(&[old]);
        Ok(old.size())
    }

    /// Hashes segments that nothing is added to any more, without holding a lock. One without a hash is no
    /// harm; the next checkpoint tries again.
    pub(crate) fn hash_finished(&self) {
        let parts = lock(&self.dirty).parts.clone();
        for part in parts {
            let metas: Vec<SegMeta> = match self.read_shard(part).get(&part).map(|p| &p.body) {
                Some(Body::Big(segments)) => {
                    let finished = segments.len().saturating_sub(1);
                    segments.iter().take(finished).map(|s| s.meta).filter(|m| m.hash == 0).collect()
                }
                _ => continue,
            };
            for meta in metas {
                let Ok(hash) = self.hash(part, &meta) else { continue };
                if let Some(Part { body: Body::Big(segments), .. }) = self.write_shard(part).get_mut(&part)
                    && let Some(s) = segments.iter_mut().find(|s| s.meta == meta)
                {
                    s.meta.hash = hash;
                }
            }
        }
    }

    /// What the next checkpoint has to do. Everything it will say is in files that it will sync first:
    /// partitions are described before the list of files is taken, and a put marks its file before it lets go
    /// of the partition.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let (parts, mut doomed) = {
            let mut dirty = lock(&self.dirty);
            (std::mem::take(&mut dirty.parts), std::mem::take(&mut dirty.doomed))
        };
        let mut changes = Changes::default();
        for id in &parts {
            let mut shard = self.write_shard(*id);
            let meta = shard.get_mut(id).map(|p| PartMeta {
                start: p.start,
                end: p.end,
                body: match &mut p.body {
                    Body::Small(locs) => MetaBody::Small(locs.clone()),
                    Body::Big(segments) => {
                        if let Some(s) = segments.last_mut().filter(|s| s.loaded) {
                            self.flush_index(*id, s);
                        }
                        MetaBody::Big(segments.iter().map(|s| s.meta).collect())
                    }
                },
            });
            changes.parts.push((*id, meta));
        }
        let mut heaps = lock(&self.heaps);
        let current = heaps.current.as_ref().map(|(n, _)| *n);
        let dead: Vec<u32> = heaps
            .files
            .iter()
            .filter(|(n, h)| h.live == 0 && Some(**n) != current)
            .map(|(n, _)| *n)
            .collect();
        let mut dirty = lock(&self.dirty);
        let mut all = Dirty { parts, heaps: std::mem::take(&mut dirty.heaps), ..Dirty::default() };
        all.heaps.extend(&dead);
        for number in dead {
            // A partition that left this heap after it was described above is in the next checkpoint only;
            // until then the file is needed.
            if dirty.parts.is_empty() {
                heaps.files.remove(&number);
                doomed.insert(FileId::Heap(number));
                dirty.files.remove(&FileId::Heap(number));
            }
        }
        for number in &all.heaps {
            let meta = heaps.files.get(number).map(|h| HeapMeta { end: h.end, live: h.live });
            changes.heaps.push((*number, meta));
        }
        all.files = std::mem::take(&mut dirty.files);
        all.dirs = std::mem::take(&mut dirty.dirs);
        all.doomed = doomed;
        Snapshot { changes, dirty: all }
    }

    /// Makes what a snapshot describes durable.
    pub(crate) fn sync(&self, snapshot: &Snapshot) -> io::Result<()> {
        for file in snapshot.dirty.files.values() {
            file.sync_data()?;
        }
        // Directories of partitions before the one that holds them.
        for dir in snapshot.dirty.dirs.iter().rev() {
            match self.vfs.sync_dir(dir) {
                // Dropped again since.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The checkpoint was not made: all of it is still to do.
    pub(crate) fn restore(&self, snapshot: Snapshot) {
        let mut dirty = lock(&self.dirty);
        let old = snapshot.dirty;
        dirty.parts.extend(old.parts);
        dirty.heaps.extend(old.heaps);
        dirty.files.extend(old.files);
        dirty.dirs.extend(old.dirs);
        dirty.doomed.extend(old.doomed);
    }

    /// The checkpoint is made: removes what nothing refers to. What cannot be removed is at the next start.
    pub(crate) fn finish(&self, snapshot: Snapshot) {
        for id in snapshot.dirty.doomed {
            // On a full disk a segment that stayed empty may be dropped, and begun once more under its old name. The lock is kept, so that
            // it is not begun right now.
            let shard = match id {
                FileId::Log(part, base) => {
                    let shard = self.read_shard(part);
                    let again = shard.get(&part).is_some_and(|p| match &p.body {
                        Body::Big(segments) => segments.iter().any(|s| s.meta.base == base),
                        Body::Small(_) => false,
                    });
                    if again {
                        continue;
                    }
                    Some(shard)
                }
                _ => None,
            };
            {
                let mut cached = lock(&self.files);
                cached.map.remove(&id);
                if let FileId::Log(part, base) = id {
                    cached.map.remove(&FileId::Index(part, base));
                }
            }
            let removed = self.vfs.remove(&self.path(id));
            if let FileId::Log(part, base) = id {
                for kind in ["index", "timeindex"] {
                    let _ = self.vfs.remove(&segment::path(&self.dir, part, base, kind));
                }
                // Goes only when it was the last one.
                let gone = shard.is_some_and(|shard| shard.get(&part).is_none());
                if gone {
                    let _ = self.vfs.remove_dir(&segment::dir(&self.dir, part));
                }
            }
            if let Err(e) = removed
                && e.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(error = %e, "could not remove a file that is no longer needed");
            }
        }
    }
}

/// The hash of the first `len` bytes of a file.
pub(crate) fn hash_file(file: &dyn File, len: u64) -> io::Result<u128> {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    let mut buf = vec![0; 256 << 10];
    let mut at = 0;
    while at < len {
        let want = buf.len().min((len - at) as usize);
        read_full(file, at, &mut buf[..want])?;
        hasher.update(&buf[..want]);
        at += want as u64;
    }
    Ok(hasher.digest128().max(1))
}
