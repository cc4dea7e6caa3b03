//! Putting batches into the store: small partitions into the current heap file, larger ones into their last segment, and what lies
//! together with one write.

use super::super::heap::{Entry, Loc};
use super::super::segment::{self, SegMeta, Segment};
use super::super::{PartId, ReadError};
use super::{Body, FileId, Heap, Part, Store, invalid, lock};
use crate::vfs::{File, write_full};
use sb_core::batch::{self, Header};
use std::io;
use std::sync::Arc;

/// The most bytes of several batches that are gathered for one write.
const WRITE_MAX: usize = 256 << 10;

/// A batch for [`Store::put_all`].
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// The partition.
    pub part: PartId,
    /// Its first offset.
    pub base: u64,
    /// Its last offset.
    pub last: u64,
    /// The newest time in it.
    pub max_timestamp_ms: i64,
    /// The RecordBatch.
    pub bytes: &'a [u8],
}

impl Put<'_> {
    /// The batch's header, which must say the same.
    fn header(&self) -> io::Result<Header> {
        let header = batch::header(self.bytes).map_err(|e| invalid(e.to_string()))?;
        if header.base_offset != self.base
            || header.end() != self.last.saturating_add(1)
            || header.size != self.bytes.len()
            || header.max_time_ms != self.max_timestamp_ms
        {
            let base = self.base;
            return Err(invalid(format!("the batch's header does not say what was said of offset {base}")));
        }
        Ok(header)
    }
}

impl Store {
    /// Adds a batch whose frame is durable: [`Store::put_all`] for one.
    pub fn put(
        &self,
        part: PartId,
        base: u64,
        last: u64,
        max_timestamp_ms: i64,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.put_all(&mut [Put { part, base, last, max_timestamp_ms, bytes }])
    }

    /// Adds batches whose frames are durable, those of a partition in the order in which they are given; what lies together is written
    /// together. Offsets that are there already are not written again; a gap or an overlap is refused. After an error some of them are
    /// there, and the same call may be repeated. Nothing is synced.
    pub fn put_all(&self, puts: &mut [Put<'_>]) -> io::Result<()> {
        puts.sort_by_key(|put| put.part);
        let mut buffer = Vec::new();
        for mut run in puts.chunk_by(|a, b| a.part == b.part) {
            while let [first, ..] = run {
                let done = self.put_some(first.part, run, &mut buffer)?;
                run = run.get(done..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Puts the first few of a partition's batches with one write; says how many. The partition's lock is held, so it is only few.
    fn put_some(&self, part: PartId, run: &[Put<'_>], buffer: &mut Vec<u8>) -> io::Result<usize> {
        let Some(first) = run.first() else { return Ok(0) };
        let mut headers = vec![first.header()?];
        let mut shard = self.write_shard(part);
        let p = shard.entry(part).or_insert_with(|| Part {
            start: first.base,
            end: first.base,
            bytes: 0,
            body: Body::Small(Vec::new()),
        });
        if first.last < p.end {
            return Ok(1);
        }
        if first.base != p.end {
            return Err(invalid(format!(
                "offset {} does not follow offset {} of {part:?}",
                first.base, p.end
            )));
        }
        let full = |p: &Part, batches: usize, bytes: usize| match &p.body {
            Body::Small(locs) => {
                p.bytes + bytes as u64 > self.options.heap_graduate
                    || locs.len() + batches > self.options.heap_batches
            }
            Body::Big(_) => false,
        };
        if full(p, 1, first.bytes.len()) {
            self.graduate(part, p)?;
        }
        let mut bytes = first.bytes.len();
        for (before, put) in run.iter().zip(run.iter().skip(1)) {
            bytes += put.bytes.len();
            if bytes > WRITE_MAX
                || full(p, headers.len() + 1, bytes)
                || put.base != before.last.saturating_add(1)
            {
                break;
            }
            let Ok(header) = put.header() else { break };
            headers.push(header);
        }
        let batches = headers.iter().zip(run.iter().map(|put| put.bytes));
        let done = match &mut p.body {
            Body::Small(locs) => {
                let new = self.put_heap(part, batches.clone(), buffer)?;
                if locs.capacity() - locs.len() < new.len() {
                    // Most partitions have few batches: grow by less than a vector would.
                    locs.reserve_exact((locs.len() / 2).max(new.len()));
                }
                locs.extend_from_slice(&new);
                lock(&self.dirty).parts.insert(part);
                new.len()
            }
            Body::Big(segments) => self.put_log(part, segments, batches.clone(), buffer)?,
        };
        for (header, _) in batches.take(done) {
            p.end = header.end();
            p.bytes += header.size as u64;
        }
        Ok(done)
    }

    /// Writes entries to the current heap file: at least the first, and those after it as long as the file is not full.
    pub(super) fn put_heap<'a>(
        &self,
        part: PartId,
        batches: impl Iterator<Item = (&'a Header, &'a [u8])>,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Vec<Loc>> {
        let mut heaps = lock(&self.heaps);
        let heaps = &mut *heaps;
        let full = heaps
            .current
            .as_ref()
            .is_none_or(|(n, _)| heaps.files.get(n).is_none_or(|h| h.end >= self.options.heap_file));
        if full {
            let number = heaps.next;
            let file = self.create(FileId::Heap(number))?;
            heaps.files.insert(number, Heap { end: 0, live: 0, stuck: false });
            heaps.next = number.checked_add(1).ok_or_else(|| io::Error::other("heap files are used up"))?;
            heaps.current = Some((number, file.clone()));
            self.cache(FileId::Heap(number), &file);
            lock(&self.dirty).dirs.insert(self.dir.clone());
        }
        let Some((number, file)) = &heaps.current else { return Err(io::ErrorKind::NotFound.into()) };
        let Some(heap) = heaps.files.get_mut(number) else { return Err(io::ErrorKind::NotFound.into()) };
        let mut locs = Vec::new();
        buffer.clear();
        for (header, bytes) in batches {
            let pos = heap.end + buffer.len() as u64;
            if !locs.is_empty() && pos >= self.options.heap_file {
                break;
            }
            let loc = Loc {
                heap: *number,
                pos: pos as u32,
                len: bytes.len() as u32,
                count: (header.end() - header.base_offset) as u32,
                base: header.base_offset,
            };
            let entry = Entry { part, len: loc.len, base: loc.base, count: loc.count };
            buffer.extend_from_slice(&entry.encode(bytes));
            buffer.extend_from_slice(bytes);
            locs.push(loc);
        }
        write_full(&**file, heap.end, buffer)?;
        heap.end += buffer.len() as u64;
        heap.live += buffer.len() as u64;
        let mut dirty = lock(&self.dirty);
        dirty.heaps.insert(*number);
        dirty.files.entry(FileId::Heap(*number)).or_insert_with(|| file.clone());
        Ok(locs)
    }

    /// Creates a file; what an attempt before left under its name is emptied.
    fn create(&self, id: FileId) -> io::Result<Arc<dyn File>> {
        let path = self.path(id);
        match self.vfs.create(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let file = self.vfs.open(&path)?;
                file.set_len(0)?;
                Ok(file)
            }
            other => other,
        }
    }

    /// Writes batches to a partition's last segment: at least the first, and those after it as far as the segment goes. Says how many.
    fn put_log<'a>(
        &self,
        part: PartId,
        segments: &mut Vec<Segment>,
        batches: impl Iterator<Item = (&'a Header, &'a [u8])> + Clone,
        buffer: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let fits = |meta: &SegMeta, header: &Header, before: u64| {
            let len = meta.len + before;
            (len == 0 || len + header.size as u64 <= self.options.segment_bytes)
                && header.end() - meta.base <= u64::from(u32::MAX)
        };
        let Some((first, alone)) = batches.clone().next() else { return Ok(0) };
        if segments.last().is_none_or(|s| !fits(&s.meta, first, 0)) {
            if let Some(before) = segments.last_mut() {
                self.load(part, before)?;
                self.flush_index(part, before);
                (before.index, before.times, before.loaded) = (Vec::new(), Vec::new(), false);
            }
            if segments.is_empty() {
                // The first one, or the first after everything was trimmed.
                self.vfs.create_dir(&segment::dir(&self.dir, part))?;
                lock(&self.dirty).dirs.insert(self.dir.clone());
            }
            let id = FileId::Log(part, first.base_offset);
            let file = self.create(id)?;
            self.cache(id, &file);
            segments.push(Segment::new(first.base_offset));
            lock(&self.dirty).dirs.insert(segment::dir(&self.dir, part));
        }
        let Some(s) = segments.last_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        self.load(part, s)?;
        let id = FileId::Log(part, s.meta.base);
        let file = self.file(id)?;
        buffer.clear();
        let (mut done, mut len) = (0, 0);
        for (header, bytes) in batches.clone() {
            if done > 0 && !fits(&s.meta, header, len) {
                break;
            }
            done += 1;
            len += bytes.len() as u64;
        }
        match done {
            // Perhaps a large one: not copied.
            1 => write_full(&*file, s.meta.len, alone)?,
            _ => {
                batches.clone().take(done).for_each(|(_, bytes)| buffer.extend_from_slice(bytes));
                write_full(&*file, s.meta.len, buffer)?;
            }
        }
        for (header, _) in batches.take(done) {
            s.added(header, self.options.index_interval);
        }
        let mut dirty = lock(&self.dirty);
        dirty.parts.insert(part);
        dirty.files.insert(id, file);
        Ok(done)
    }

    /// Gives a partition files of its own. Its heap entries stay until the next checkpoint knows.
    fn graduate(&self, part: PartId, p: &mut Part) -> io::Result<()> {
        let Body::Small(locs) = &p.body else { return Ok(()) };
        let mut batches = Vec::with_capacity(locs.len());
        for loc in locs {
            let batch = match self.read_loc(part, loc) {
                Ok(batch) => batch,
                Err(ReadError::Io(e)) => return Err(e),
                Err(e) => {
                    // Damage stays where it is and is reported to whoever reads it.
                    tracing::error!(error = %e, "a damaged partition stays in its heap file");
                    return Ok(());
                }
            };
            let header = batch::header(&batch).map_err(|e| invalid(e.to_string()))?;
            batches.push((header, batch));
        }
        let (mut segments, mut buffer) = (Vec::new(), Vec::new());
        let mut rest = batches.as_slice();
        while !rest.is_empty() {
            let some = rest.iter().map(|(header, batch)| (header, &**batch));
            let done = self.put_log(part, &mut segments, some, &mut buffer)?;
            rest = rest.get(done..).unwrap_or_default();
        }
        self.release(locs);
        p.bytes = batches.iter().map(|(header, _)| header.size as u64).sum();
        p.body = Body::Big(segments);
        Ok(())
    }

    /// Heap entries that nothing refers to any more.
    pub(super) fn release(&self, locs: &[Loc]) {
        let mut heaps = lock(&self.heaps);
        for loc in locs {
            if let Some(heap) = heaps.files.get_mut(&loc.heap) {
                heap.live = heap.live.saturating_sub(loc.size());
            }
        }
    }
}
