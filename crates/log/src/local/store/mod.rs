//! Batches, by partition and offset: what readers read.
//!
//! Writing goes to the page cache only. The journal is the promise; a checkpoint syncs what is here and says
//! how far it goes, and whatever is lost after that is written again from the journal. So batches may only be
//! put here once their frame is durable.
//!
//! Locks are taken in the order shard, heaps, dirty, files, and never held while something is synced.

mod meta;
mod put;
mod tend;

pub(crate) use meta::{MetaBody, PartMeta};
pub use put::Put;
pub use tend::{Damage, Scrubbed};

use super::heap::{self, ENTRY, Entry, HeapMeta, Loc};
use super::segment::{self, SegMeta, Segment, Walk};
use super::{OpenError, Options, PartId, ReadError};
use crate::vfs::{File, Vfs, read_full, read_some, write_full};
use bytes::Bytes;
use sb_core::batch::{self, Header};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const SHARDS: usize = 64;

/// A file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FileId {
    Heap(u32),
    Log(PartId, u64),
    Index(PartId, u64),
}

struct Part {
    start: u64,
    end: u64,
    bytes: u64,
    body: Body,
}

enum Body {
    Small(Vec<Loc>),
    Big(Vec<Segment>),
}

struct Heap {
    end: u64,
    live: u64,
    /// An entry in it is damaged, so it cannot be moved.
    stuck: bool,
}

#[derive(Default)]
struct Heaps {
    files: BTreeMap<u32, Heap>,
    /// The one that is written; its file is kept open.
    current: Option<(u32, Arc<dyn File>)>,
    next: u32,
}

/// What changed since the last checkpoint.
#[derive(Default)]
pub(crate) struct Dirty {
    parts: BTreeSet<PartId>,
    heaps: BTreeSet<u32>,
    files: BTreeMap<FileId, Arc<dyn File>>,
    dirs: BTreeSet<PathBuf>,
    /// Files that nothing refers to once the checkpoint is made.
    doomed: BTreeSet<FileId>,
}

struct Cached {
    map: BTreeMap<FileId, (Arc<dyn File>, u64)>,
    tick: u64,
}

/// The batches of all partitions.
pub struct Store {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    options: Options,
    shards: Vec<RwLock<BTreeMap<PartId, Part>>>,
    heaps: Mutex<Heaps>,
    dirty: Mutex<Dirty>,
    files: Mutex<Cached>,
    scrub: Mutex<Option<(PartId, u64)>>,
}

/// What to read, decided under the lock and done without it.
enum Plan {
    Heap(Vec<Loc>),
    Log { meta: SegMeta, near: Option<(u64, u64)> },
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Takes the files as the checkpoint describes them: longer ones are cut, unknown ones removed, shorter
    /// or missing ones are damage.
    pub(crate) fn open(
        vfs: Arc<dyn Vfs>,
        dir: &std::path::Path,
        options: &Options,
        parts: BTreeMap<PartId, PartMeta>,
        heaps: BTreeMap<u32, HeapMeta>,
    ) -> Result<Store, OpenError> {
        let store = Store {
            vfs,
            dir: dir.to_path_buf(),
            options: options.clone(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            heaps: Mutex::default(),
            dirty: Mutex::default(),
            files: Mutex::new(Cached { map: BTreeMap::new(), tick: 0 }),
            scrub: Mutex::new(None),
        };
        store.clean(&parts, &heaps)?;
        {
            let mut h = lock(&store.heaps);
            for (number, meta) in heaps {
                store.cut(FileId::Heap(number), meta.end)?;
                h.files.insert(number, Heap { end: meta.end, live: 0, stuck: false });
                h.next = h.next.max(number.saturating_add(1));
            }
            for (id, meta) in parts {
                let part = match meta.body {
                    MetaBody::Small(locs) => {
                        let mut bytes = 0;
                        for l in &locs {
                            bytes += u64::from(l.len);
                            match h.files.get_mut(&l.heap) {
                                Some(heap) if u64::from(l.pos) + l.size() <= heap.end => {
                                    heap.live += l.size()
                                }
                                _ => {
                                    return Err(OpenError::Corrupt {
                                        file: store.path(FileId::Heap(l.heap)),
                                        from: u64::from(l.pos),
                                        to: u64::from(l.pos) + l.size(),
                                        why: format!("offset {} of {id:?} is missing", l.base),
                                    });
                                }
                            }
                        }
                        Part { start: meta.start, end: meta.end, bytes, body: Body::Small(locs) }
                    }
                    MetaBody::Big(segments) => {
                        for s in &segments {
                            store.cut(FileId::Log(id, s.base), s.len)?;
                        }
                        let bytes = segments.iter().map(|s| s.len).sum();
                        let segments = segments.into_iter().map(Segment::of).collect();
                        Part { start: meta.start, end: meta.end, bytes, body: Body::Big(segments) }
                    }
                };
                store.write_shard(id).insert(id, part);
            }
        }
        Ok(store)
    }

    /// Removes files that the checkpoint does not know.
    fn clean(
        &self,
        parts: &BTreeMap<PartId, PartMeta>,
        heaps: &BTreeMap<u32, HeapMeta>,
    ) -> Result<(), OpenError> {
        for name in self.vfs.list(&self.dir)? {
            if let Some(number) = heap::number(&name) {
                if !heaps.contains_key(&number) {
                    self.vfs.remove(&self.dir.join(&name))?;
                }
                continue;
            }
            let Some(id) = segment::part(&name) else { continue };
            let known: &[SegMeta] = match parts.get(&id).map(|p| &p.body) {
                Some(MetaBody::Big(segments)) => segments,
                _ => &[],
            };
            let dir = segment::dir(&self.dir, id);
            for file in self.vfs.list(&dir)? {
                let base = file.split('.').next().and_then(|b| b.parse::<u64>().ok());
                if !known.iter().any(|s| Some(s.base) == base) {
                    self.vfs.remove(&dir.join(&file))?;
                }
            }
            if known.is_empty() {
                self.vfs.remove_dir(&dir)?;
            }
        }
        Ok(())
    }

    fn cut(&self, id: FileId, len: u64) -> Result<(), OpenError> {
        let path = self.path(id);
        let corrupt =
            |from, why: &str| OpenError::Corrupt { file: path.clone(), from, to: len, why: why.into() };
        let file = match self.vfs.open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(corrupt(0, "the file is missing")),
            other => other?,
        };
        let size = file.size()?;
        if size < len {
            return Err(corrupt(size, "the file is shorter than the checkpoint says"));
        }
        if size > len {
            file.set_len(len)?;
        }
        Ok(())
    }

    fn path(&self, id: FileId) -> PathBuf {
        match id {
            FileId::Heap(number) => self.dir.join(heap::name(number)),
            FileId::Log(part, base) => segment::path(&self.dir, part, base, "log"),
            FileId::Index(part, base) => segment::path(&self.dir, part, base, "index"),
        }
    }

    fn slot(part: PartId) -> usize {
        // By topic only, so that a whole topic can be dropped under one lock.
        (part.topic.wrapping_mul(0x9e37_79b1) >> 16) as usize % SHARDS
    }

    fn read_shard(&self, part: PartId) -> RwLockReadGuard<'_, BTreeMap<PartId, Part>> {
        self.shards[Store::slot(part)].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_shard(&self, part: PartId) -> RwLockWriteGuard<'_, BTreeMap<PartId, Part>> {
        self.shards[Store::slot(part)].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// An open file, from the cache if it is there.
    fn file(&self, id: FileId) -> io::Result<Arc<dyn File>> {
        {
            let mut cached = lock(&self.files);
            cached.tick += 1;
            let tick = cached.tick;
            if let Some((file, used)) = cached.map.get_mut(&id) {
                *used = tick;
                return Ok(file.clone());
            }
        }
        let file = self.vfs.open(&self.path(id))?;
        self.cache(id, &file);
        Ok(file)
    }

    fn cache(&self, id: FileId, file: &Arc<dyn File>) {
        let mut cached = lock(&self.files);
        cached.tick += 1;
        let tick = cached.tick;
        cached.map.insert(id, (file.clone(), tick));
        if cached.map.len() > self.options.open_files {
            let oldest = cached.map.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                cached.map.remove(&oldest);
            }
        }
    }

    /// Reads a segment's indexes into memory, or makes them again from the batches.
    fn load(&self, part: PartId, s: &mut Segment) -> io::Result<()> {
        if s.loaded {
            return Ok(());
        }
        let read = |kind: &str| self.vfs.open(&segment::path(&self.dir, part, s.meta.base, kind));
        if let (Ok(index), Ok(times)) = (read("index"), read("timeindex")) {
            s.index = segment::read_index(&*index, &s.meta)?;
            s.times = segment::read_times(&*times, &s.meta)?;
        }
        let n = s.index.len().min(s.times.len());
        s.index.truncate(n);
        s.times.truncate(n);
        let reach = s.index.last().map_or(0, |(_, pos)| u64::from(*pos));
        if s.meta.len - reach > self.options.index_interval + (1 << 20) || (n == 0 && s.meta.len > 0) {
            self.rebuild(part, s)?;
        }
        s.flushed = s.index.len();
        s.loaded = true;
        Ok(())
    }

    /// Makes a segment's indexes from its batches, as far as those can be read.
    fn rebuild(&self, part: PartId, s: &mut Segment) -> io::Result<()> {
        let file = self.file(FileId::Log(part, s.meta.base))?;
        let meta = s.meta;
        let mut fresh = Segment::new(meta.base);
        let walked = segment::walk(&*file, &meta, meta.base, 0, &mut |_, header| {
            fresh.added(header, self.options.index_interval);
            true
        });
        if let Err(Walk::Io(e)) = walked {
            return Err(e);
        }
        (s.index, s.times, s.flushed) = (fresh.index, fresh.times, 0);
        self.flush_index(part, s);
        Ok(())
    }

    /// Writes index entries that are not in the files yet. They are caches, so a failure only costs time.
    fn flush_index(&self, part: PartId, s: &mut Segment) {
        if s.flushed >= s.index.len() {
            return;
        }
        let write = |kind: &str, at: u64, bytes: Vec<u8>| {
            let path = segment::path(&self.dir, part, s.meta.base, kind);
            let file = match self.vfs.open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.vfs.create(&path)?,
                other => other?,
            };
            if file.size()? != at {
                file.set_len(at)?;
            }
            write_full(&*file, at, &bytes)
        };
        let at = s.flushed;
        let done = write("index", at as u64 * 8, segment::encode_index(&s.index[at..]))
            .and_then(|()| write("timeindex", at as u64 * 12, segment::encode_times(&s.times[at..])));
        match done {
            Ok(()) => s.flushed = s.index.len(),
            Err(e) => tracing::warn!(error = %e, "could not write a segment's index"),
        }
    }

    /// Whole batches from the one that holds `from` on, until about `max_bytes`; at least one if there is
    /// any. Each is verified every time.
    pub fn read(&self, part: PartId, from: u64, max_bytes: usize) -> Result<Vec<Bytes>, ReadError> {
        let mut tries = 0;
        loop {
            let (plan, from) = {
                let shard = self.read_shard(part);
                let Some(p) = shard.get(&part) else { return Ok(Vec::new()) };
                let from = from.max(p.start);
                if from >= p.end {
                    return Ok(Vec::new());
                }
                (plan(p, from, max_bytes), from)
            };
            let read = match &plan {
                None => return Ok(Vec::new()),
                Some(Plan::Heap(locs)) => locs.iter().map(|l| self.read_loc(part, l)).collect(),
                Some(Plan::Log { meta, near }) => self.read_log(part, meta, *near, from, max_bytes),
            };
            match read {
                // It was trimmed or moved since the lock was let go.
                Err(ReadError::Io(e)) if e.kind() == io::ErrorKind::NotFound && tries < 3 => tries += 1,
                other => return other,
            }
        }
    }

    fn read_loc(&self, part: PartId, loc: &Loc) -> Result<Bytes, ReadError> {
        let file = self.file(FileId::Heap(loc.heap))?;
        let bad = |why: &str| ReadError::Corrupt {
            part,
            offset: loc.base,
            file: self.path(FileId::Heap(loc.heap)),
            from: u64::from(loc.pos),
            to: u64::from(loc.pos) + loc.size(),
            why: why.into(),
        };
        let mut bytes = vec![0; loc.size() as usize];
        match read_full(&*file, u64::from(loc.pos), &mut bytes) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(bad("the file is cut off")),
            other => other?,
        }
        let expected = Entry { part, len: loc.len, base: loc.base, count: loc.count };
        if Entry::decode(&bytes) != Some(expected) {
            return Err(bad("the entry is not the one that was written here"));
        }
        let bytes = Bytes::from(bytes).slice(ENTRY..);
        let header = verify(&bytes).map_err(|e| bad(&e.to_string()))?;
        if header.base_offset != loc.base || header.end() != loc.end() || header.size != bytes.len() {
            return Err(bad("the batch's header is damaged"));
        }
        Ok(bytes)
    }

    fn read_log(
        &self,
        part: PartId,
        meta: &SegMeta,
        near: Option<(u64, u64)>,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, ReadError> {
        let file = self.file(FileId::Log(part, meta.base))?;
        let near = match near {
            Some(near) => near,
            None => match self.file(FileId::Index(part, meta.base)) {
                Ok(index) => segment::search(&*index, meta, from)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.rebuild(part, &mut Segment::of(*meta))?;
                    (meta.base, 0)
                }
                Err(e) => return Err(e.into()),
            },
        };
        let find = |near: (u64, u64)| {
            let mut found = None;
            segment::walk(&*file, meta, near.0, near.1, &mut |pos, header| {
                found = Some((pos, header.base_offset));
                header.end() <= from
            })
            .map(|()| found)
        };
        let found = match find(near) {
            // The index may be what is wrong: ask the batches themselves, and make it again if they are fine.
            Err(Walk::Bad { .. }) if near != (meta.base, 0) => {
                let found = find((meta.base, 0));
                if found.is_ok() {
                    self.rebuild(part, &mut Segment::of(*meta))?;
                }
                found
            }
            other => other,
        };
        let bad = |pos: u64, offset: u64, to: u64, why: String| ReadError::Corrupt {
            part,
            offset,
            file: self.path(FileId::Log(part, meta.base)),
            from: pos,
            to,
            why,
        };
        let (pos, mut offset) = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Vec::new()),
            Err(Walk::Io(e)) => return Err(e.into()),
            Err(Walk::Bad { pos, offset, why }) => return Err(bad(pos, offset, meta.len, why)),
        };
        // One read, and then as many whole batches as it holds; a longer first one is read by itself.
        let left = (meta.len - pos) as usize;
        let mut buf = vec![0; left.min(max_bytes.clamp(4096, 64 << 20))];
        let n = read_some(&*file, pos, &mut buf)?;
        buf.truncate(n);
        if let Ok(first) = batch::header(&buf)
            && segment::fits(&first, meta, offset, pos).is_ok()
            && first.size > buf.len()
        {
            let have = buf.len();
            buf.resize(first.size, 0);
            let n = read_some(&*file, pos + have as u64, &mut buf[have..])?;
            buf.truncate(have + n);
        }
        let whole = Bytes::from(buf);
        let mut out = Vec::new();
        let (mut at, mut size) = (0, 0);
        while at < whole.len() {
            let here = pos + at as u64;
            let rest = &whole[at..];
            let header = match batch::header(rest) {
                Err(batch::BatchError::Short) if !out.is_empty() && here + (rest.len() as u64) < meta.len => {
                    break;
                }
                Err(e) => return Err(bad(here, offset, meta.len, e.to_string())),
                Ok(header) => header,
            };
            if let Err(why) = segment::fits(&header, meta, offset, here) {
                if out.is_empty() {
                    return Err(bad(here, offset, meta.len, why));
                }
                break;
            }
            if !out.is_empty() && (header.size > rest.len() || size + header.size > max_bytes) {
                break;
            }
            match verify(rest) {
                Ok(_) => {}
                // What was intact is delivered; the next read reports this one.
                Err(_) if !out.is_empty() => break,
                Err(e) => return Err(bad(here, offset, here + header.size as u64, e.to_string())),
            }
            out.push(whole.slice(at..at + header.size));
            at += header.size;
            size += header.size;
            offset = header.end();
        }
        Ok(out)
    }

    /// The first offset of the first batch whose newest message is not older than `t_ms`.
    pub fn offset_at_time(&self, part: PartId, t_ms: i64) -> Result<Option<u64>, ReadError> {
        let (mut at, end) = {
            let shard = self.read_shard(part);
            let Some(p) = shard.get(&part) else { return Ok(None) };
            let start = match &p.body {
                Body::Small(_) => p.start,
                Body::Big(segments) => {
                    let i = segments.iter().position(|s| s.meta.max_time >= t_ms);
                    match i.and_then(|i| segments.get(i)) {
                        None => return Ok(None),
                        Some(s) => {
                            let loaded;
                            let times = if s.loaded {
                                &s.times
                            } else {
                                let file =
                                    self.vfs.open(&segment::path(&self.dir, part, s.meta.base, "timeindex"));
                                loaded = match file {
                                    Ok(file) => segment::read_times(&*file, &s.meta)?,
                                    Err(_) => Vec::new(),
                                };
                                &loaded
                            };
                            // Two entries early, so that no single wrong one can lead past the answer.
                            let i = times.partition_point(|(t, _)| *t < t_ms).saturating_sub(3);
                            s.meta.base + times.get(i).map_or(0, |(_, rel)| u64::from(*rel))
                        }
                    }
                }
            };
            (start.max(p.start), p.end)
        };
        while at < end {
            let batches = self.read(part, at, 256 << 10)?;
            if batches.is_empty() {
                break;
            }
            for b in batches {
                let Ok(header) = batch::header(&b) else { continue };
                if header.max_time_ms >= t_ms {
                    return Ok(Some(header.base_offset.max(at)));
                }
                at = header.end();
            }
        }
        Ok(None)
    }

    /// Everything before `start` is no longer wanted. Whole segments and heap files behind it are removed
    /// after the next checkpoint.
    pub fn trim(&self, part: PartId, start: u64) {
        let mut shard = self.write_shard(part);
        let Some(p) = shard.get_mut(&part) else { return };
        let start = start.min(p.end);
        if start <= p.start {
            return;
        }
        p.start = start;
        let mut dirty = lock(&self.dirty);
        dirty.parts.insert(part);
        match &mut p.body {
            Body::Small(locs) => {
                let gone: Vec<Loc> = locs.drain(..locs.partition_point(|l| l.end() <= start)).collect();
                p.bytes -= gone.iter().map(|l| u64::from(l.len)).sum::<u64>();
                drop(dirty);
                self.release(&gone);
            }
            Body::Big(segments) => {
                for s in segments.drain(..segments.partition_point(|s| s.meta.end <= start)) {
                    p.bytes -= s.meta.len;
                    doom(&mut dirty, FileId::Log(part, s.meta.base));
                }
            }
        }
    }

    /// Forgets every partition of a topic.
    pub fn drop_topic(&self, topic: u32) {
        let first = PartId { topic, partition: 0 };
        let mut shard = self.write_shard(first);
        let gone: Vec<PartId> =
            shard.range(first..=PartId { topic, partition: u32::MAX }).map(|(id, _)| *id).collect();
        for id in gone {
            let Some(p) = shard.remove(&id) else { continue };
            // Marked before its heap entries are let go, so that no checkpoint removes a heap file that the
            // one before still needs.
            let mut dirty = lock(&self.dirty);
            dirty.parts.insert(id);
            match p.body {
                Body::Small(locs) => {
                    drop(dirty);
                    self.release(&locs);
                }
                Body::Big(segments) => {
                    for s in segments {
                        doom(&mut dirty, FileId::Log(id, s.meta.base));
                    }
                }
            }
        }
    }

    /// The first offset that may be read.
    pub fn start(&self, part: PartId) -> u64 {
        self.read_shard(part).get(&part).map_or(0, |p| p.start)
    }

    /// The offset after the last batch; 0 if there never was one.
    pub fn end(&self, part: PartId) -> u64 {
        self.read_shard(part).get(&part).map_or(0, |p| p.end)
    }

    /// Bytes of batches that are kept.
    pub fn bytes(&self, part: PartId) -> u64 {
        self.read_shard(part).get(&part).map_or(0, |p| p.bytes)
    }

    /// Every partition, in order.
    pub fn parts(&self) -> Vec<PartId> {
        let mut all: Vec<PartId> = Vec::new();
        for shard in &self.shards {
            all.extend(shard.read().unwrap_or_else(PoisonError::into_inner).keys());
        }
        all.sort_unstable();
        all
    }
}

fn doom(dirty: &mut Dirty, id: FileId) {
    dirty.files.remove(&id);
    dirty.doomed.insert(id);
}

fn plan(p: &Part, from: u64, max_bytes: usize) -> Option<Plan> {
    match &p.body {
        Body::Small(locs) => {
            let first = locs.partition_point(|l| l.end() <= from);
            let mut size = 0;
            let mut some = Vec::new();
            for loc in &locs[first..] {
                if !some.is_empty() && size + loc.len as usize > max_bytes {
                    break;
                }
                size += loc.len as usize;
                some.push(*loc);
            }
            Some(Plan::Heap(some))
        }
        Body::Big(segments) => {
            let s = segments.get(segments.partition_point(|s| s.meta.end <= from))?;
            let near = s.loaded.then(|| {
                let i = s.index.partition_point(|(rel, _)| s.meta.base + u64::from(*rel) <= from);
                let entry = i.checked_sub(1).and_then(|i| s.index.get(i));
                entry.map_or((s.meta.base, 0), |(rel, pos)| (s.meta.base + u64::from(*rel), u64::from(*pos)))
            });
            Some(Plan::Log { meta: s.meta, near })
        }
    }
}

/// Checks a batch before it is handed out.
fn verify(bytes: &[u8]) -> Result<Header, batch::BatchError> {
    if crate::planted::batches_believed() { batch::header(bytes) } else { batch::verify(bytes) }
}
