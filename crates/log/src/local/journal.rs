//! The journal: where a frame becomes a promise.
//!
//! Owned by the one thread that commits. At most one frame is being written at a time, so at most one is
//! uncertain after a crash; no page that holds an acknowledged frame is ever written again; and space is
//! allocated, zeroed and synced before it is needed, so an append never meets a full disk half-way.

use super::frame::{FileHead, HEAD, Head, Key, Kind, PAGE, padded};
use super::scan::{self, Dropped, Opened};
use super::{Lsn, OpenError, Options};
use crate::vfs::{File, Vfs, is_full, write_full};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a frame was not appended.
#[derive(Debug)]
#[non_exhaustive]
pub enum AppendError {
    /// The last LSN is this one, not the expected one. Nothing was written.
    Conflict(Lsn),
    /// There is no room. Nothing was written and nothing changed; later appends may succeed.
    Full,
    /// The frame is longer than `frame_max`. Nothing was written.
    TooLarge,
    /// The frame begun before was not synced yet. Nothing was written.
    Busy,
    /// Writing or syncing failed. Whether the frame will be there after a restart is unknown, and every
    /// later append fails too: what the system says after a failed sync proves nothing.
    Failed(io::Error),
    /// A remote log did not answer: the frame may or may not have been appended.
    Unknown,
}

impl std::fmt::Display for AppendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AppendError::Conflict(last) => {
                write!(f, "the log's last position is {last}, not the expected one")
            }
            AppendError::Full => f.write_str("the journal has no room left"),
            AppendError::TooLarge => f.write_str("the frame is too long"),
            AppendError::Busy => f.write_str("the frame before is not synced yet"),
            AppendError::Failed(e) => write!(f, "the journal failed: {e}"),
            AppendError::Unknown => f.write_str("the log did not answer"),
        }
    }
}

impl std::error::Error for AppendError {}

/// How much may still be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Nothing: wait for a checkpoint.
    None,
    /// Only the reserve is left: refuse what adds data, let acknowledgements and deletions go on.
    Low,
    /// Enough.
    Plenty,
}

/// How many spares are kept ready: one for the next file, and one that only recovery may use, so that a node
/// whose disk is full can start again after a crash.
const SPARES: usize = 2;

/// Files that are ready to become the next part of the journal. Clones share them, so that another thread can
/// do the slow work of making one.
#[derive(Clone)]
pub struct Spares(Arc<Shared>);

struct Shared {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    len: u64,
    max_files: usize,
    state: Mutex<Pool>,
}

struct Pool {
    ready: Vec<(PathBuf, Arc<dyn File>)>,
    making: usize,
    /// Files of the journal proper.
    live: usize,
    number: u64,
}

impl Spares {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are ready.
    pub fn ready(&self) -> usize {
        self.pool().ready.len()
    }

    /// Makes one if fewer than two are ready and the journal may have another file. Slow: it writes and syncs a whole
    /// file of zeros, so call it from a thread that nobody waits for. `false`: there was nothing to do.
    pub fn fill(&self) -> io::Result<bool> {
        self.add(|pool| {
            pool.ready.len() < SPARES && pool.making == 0 && pool.live + pool.ready.len() < self.0.max_files
        })
    }

    fn add(&self, wanted: impl Fn(&Pool) -> bool) -> io::Result<bool> {
        let number = {
            let mut pool = self.pool();
            if !wanted(&pool) {
                return Ok(false);
            }
            pool.making += 1;
            pool.number += 1;
            pool.number
        };
        let made = self.make(number);
        let mut pool = self.pool();
        pool.making -= 1;
        pool.ready.push(made?);
        Ok(true)
    }

    fn make(&self, number: u64) -> io::Result<(PathBuf, Arc<dyn File>)> {
        let s = &self.0;
        let new = s.dir.join(format!("{number:08}.new"));
        let path = s.dir.join(format!("{number:08}.spare"));
        let file = s.vfs.create(&new)?;
        let fill = || {
            file.allocate(s.len)?;
            // Zeros are written, not only reserved: the sync of a frame then changes no metadata.
            let zeros = vec![0; 1 << 20];
            let mut at = 0;
            while at < s.len {
                let n = (s.len - at).min(zeros.len() as u64);
                write_full(&*file, at, &zeros[..n as usize])?;
                at += n;
            }
            file.sync_data()?;
            s.vfs.rename(&new, &path)?;
            s.vfs.sync_dir(&s.dir)
        };
        match fill() {
            Ok(()) => Ok((path, file)),
            Err(e) => {
                // Best effort: what is left over is removed at the next start.
                let _ = s.vfs.remove(&new);
                Err(e)
            }
        }
    }

    /// Takes one, but leaves `leave` of them.
    fn take(&self, leave: usize) -> Option<(PathBuf, Arc<dyn File>)> {
        let mut pool = self.pool();
        if pool.ready.len() <= leave {
            return None;
        }
        let spare = pool.ready.pop()?;
        pool.live += 1;
        Some(spare)
    }
}

struct Live {
    sequence: u64,
    first: Lsn,
    path: PathBuf,
    /// Bytes in use.
    used: u64,
}

/// The journal of one node.
pub struct Journal {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    options: Options,
    spares: Spares,
    /// Oldest first; the last one is being written.
    files: VecDeque<Live>,
    file: Arc<dyn File>,
    key: Key,
    len: u64,
    last: Lsn,
    durable: Lsn,
    chain: u128,
    sealed: bool,
    failed: Option<String>,
    buffer: Vec<u8>,
    /// Bytes of frames ever written by this object, and where they stood at some LSNs, to know how much came
    /// after a checkpoint.
    written: u64,
    checkpointed: u64,
    marks: VecDeque<(Lsn, u64)>,
    /// Where `written` must be before allocating is tried again.
    retry: u64,
    /// Whether nothing was appended since it was opened.
    untouched: bool,
    lock: Option<super::Lock>,
}

/// With what a fresh file begins: these frames, and the hash of the one before them.
struct End {
    first: Lsn,
    chain: u128,
    frames: Vec<Vec<u8>>,
}

/// What frames are handed to; an error is reported as damage of that frame.
pub type Visit<'a, T> = dyn FnMut(Lsn, &[u8]) -> Result<T, String> + 'a;

/// What opening found.
pub(crate) struct Found {
    pub(crate) journal: Journal,
    pub(crate) clean: bool,
    pub(crate) dropped: Option<Dropped>,
}

/// The sequence number in a journal file's name.
pub(crate) fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".jnl")?;
    (digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The journal files in a directory, in order, headers read; only those that hold
/// something after `applied`, or all of them.
pub(crate) fn files(
    vfs: &dyn Vfs,
    dir: &Path,
    applied: Option<Lsn>,
) -> Result<(Vec<Opened>, Vec<PathBuf>), OpenError> {
    let mut numbers: Vec<u64> = vfs.list(dir)?.iter().filter_map(|name| sequence(name)).collect();
    numbers.sort_unstable();
    let mut opened: Vec<Opened> = Vec::new();
    let mut old = Vec::new();
    // From the newest back to the one that holds the first frame that is needed. Those before it are
    // finished with, also if a crash left only some of them.
    for number in numbers.into_iter().rev() {
        let path = dir.join(format!("{number:08}.jnl"));
        if applied.is_some_and(|a| opened.last().is_some_and(|o| o.head.first <= a + 1)) {
            old.push(path);
            continue;
        }
        opened.push(scan::open(vfs, &path, number)?);
    }
    opened.reverse();
    if let (Some(oldest), Some(applied)) = (opened.first(), applied)
        && oldest.head.first > applied + 1
    {
        return Err(OpenError::Corrupt {
            file: oldest.path.clone(),
            from: 0,
            to: PAGE,
            why: format!(
                "the oldest journal file begins with LSN {}, but the checkpoint ends with LSN {applied}",
                oldest.head.first
            ),
        });
    }
    Ok((opened, old))
}

impl Journal {
    /// Opens the journal in `dir`, or makes a new one there if there is none and `applied` is `None`.
    pub(crate) fn open(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        options: &Options,
        applied: Option<Lsn>,
    ) -> Result<Found, OpenError> {
        let (opened, old) = files(&*vfs, dir, Some(applied.unwrap_or(0)))?;
        let spares = spares(&vfs, dir, options, &opened, &old)?;
        let Some(newest) = opened.last() else {
            if applied.is_some() {
                return Err(OpenError::Corrupt {
                    file: dir.to_path_buf(),
                    from: 0,
                    to: 0,
                    why: "there is a checkpoint, but no journal file".into(),
                });
            }
            let journal = Journal::start(
                vfs,
                dir,
                options,
                spares,
                VecDeque::new(),
                0,
                End { first: 1, chain: 0, frames: Vec::new() },
            )?;
            return Ok(Found { journal, clean: true, dropped: None });
        };
        let mut live = VecDeque::new();
        let mut newest_scan = None;
        for (i, o) in opened.iter().enumerate() {
            let next = opened.get(i + 1);
            let s = scan::scan(o, next.map(|n| &n.head), &mut |_, _| Ok(true))?;
            live.push_back(Live {
                sequence: o.head.sequence,
                first: o.head.first,
                path: o.path.clone(),
                used: s.end,
            });
            newest_scan = Some(s);
        }
        let Some(s) = newest_scan else { return Err(OpenError::Io(io::ErrorKind::NotFound.into())) };
        if let Some(applied) = applied
            && applied > s.last
        {
            return Err(OpenError::Corrupt {
                file: newest.path.clone(),
                from: s.end,
                to: newest.head.len,
                why: format!("LSN {} to {applied} were acknowledged and are missing", s.last + 1),
            });
        }
        let clean = s.sealed && s.dropped.is_none();
        if clean && newest.actual == newest.head.len && newest.head.len == options.journal_file {
            let mut journal = Journal {
                vfs,
                dir: dir.to_path_buf(),
                options: options.clone(),
                spares,
                files: live,
                file: newest.file.clone(),
                key: newest.key.clone(),
                len: newest.head.len,
                last: s.last,
                durable: s.last,
                chain: s.chain,
                sealed: true,
                failed: None,
                buffer: Vec::new(),
                written: 0,
                checkpointed: 0,
                marks: VecDeque::new(),
                retry: 0,
                untouched: true,
                lock: None,
            };
            // The seal is there to read, which does not mean that it is on the disk: write it once more.
            let seal = journal.record(Kind::Seal, s.last, &[], s.end - PAGE);
            write_full(&*journal.file, s.end - PAGE, &seal)?;
            journal.file.sync_data()?;
            journal.retire_superseded();
            journal.mark_all();
            return Ok(Found { journal, clean, dropped: None });
        }
        // Unclean: the last frame may be in memory only, and the pages after it may hold anything. What is not
        // proven durable moves to a fresh file, which gets its name once all of it is synced. The whole newest
        // file moves if it is not half full, so that a node that crashes often does not gather files.
        let mut end = End { first: s.last + 1, chain: s.chain, frames: Vec::new() };
        if s.end <= newest.head.len / 2 && s.end <= options.journal_file / 2 {
            end = End { first: newest.head.first, chain: newest.head.chain, frames: Vec::new() };
            scan::scan(newest, None, &mut |_, body| {
                end.frames.push(body.to_vec());
                Ok(true)
            })?;
        } else if let Some(body) = s.tail {
            if padded(body.len()) + 2 * PAGE > options.journal_file {
                let why = "journal_file is smaller than the journal's last frame";
                return Err(OpenError::Io(io::Error::new(io::ErrorKind::InvalidInput, why)));
            }
            let chain = scan::chain_before(newest, s.last)?;
            end = End { first: s.last, chain, frames: vec![body] };
        }
        let sequence = newest.head.sequence;
        let journal = Journal::start(vfs, dir, options, spares, live, sequence, end)?;
        if let Some(d) = &s.dropped {
            tracing::warn!(lsn = d.lsn, bytes = d.bytes, file = %d.file.display(), from = d.from,
                "dropped a frame that was being written when the machine stopped; it was never acknowledged");
        }
        Ok(Found { journal, clean, dropped: s.dropped })
    }

    /// Makes a fresh file after `sequence` and goes on there.
    fn start(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        options: &Options,
        spares: Spares,
        files: VecDeque<Live>,
        sequence: u64,
        end: End,
    ) -> Result<Journal, OpenError> {
        // Also beyond `journal_max`: without it nothing could be read.
        spares.add(|pool| pool.ready.is_empty())?;
        let Some((path, file)) = spares.take(0) else {
            return Err(OpenError::Io(io::ErrorKind::StorageFull.into()));
        };
        let mut journal = Journal {
            vfs,
            dir: dir.to_path_buf(),
            options: options.clone(),
            spares,
            files,
            file,
            key: Key::new(&[0; 16]),
            len: options.journal_file,
            last: end.first - 1,
            durable: end.first - 1,
            chain: end.chain,
            sealed: true,
            failed: None,
            buffer: Vec::new(),
            written: 0,
            checkpointed: 0,
            marks: VecDeque::new(),
            retry: 0,
            untouched: true,
            lock: None,
        };
        journal.activate(path, sequence + 1, &end.frames, true)?;
        journal.retire_superseded();
        journal.mark_all();
        Ok(journal)
    }

    /// Turns a spare into the file with this sequence number: header, perhaps frames and a seal; synced;
    /// named; directory synced. Only then does it exist.
    fn activate(&mut self, spare: PathBuf, sequence: u64, frames: &[Vec<u8>], seal: bool) -> io::Result<()> {
        let first = self.last + 1;
        let head = FileHead {
            salt: self.vfs.random()?,
            sequence,
            first,
            chain: self.chain,
            len: self.options.journal_file,
        };
        let path = self.dir.join(format!("{sequence:08}.jnl"));
        self.key = Key::new(&head.salt);
        self.len = head.len;
        self.files.push_back(Live { sequence, first, path: path.clone(), used: PAGE });
        write_full(&*self.file, 0, &head.encode())?;
        let mut at = PAGE;
        for body in frames {
            // That the one before is durable is true once this file has its name.
            self.durable = self.last;
            self.last += 1;
            let bytes = self.record(Kind::Frame, self.last, body, at);
            write_full(&*self.file, at, &bytes)?;
            at += bytes.len() as u64;
            self.chain = chain_of(&bytes);
            self.buffer = bytes;
        }
        if seal {
            // Says that the frame before it is durable, so the frame must be that first.
            self.file.sync_data()?;
            self.durable = self.last;
            let bytes = self.record(Kind::Seal, self.last, &[], at);
            write_full(&*self.file, at, &bytes)?;
            at += PAGE;
        }
        self.file.sync_data()?;
        self.vfs.rename(&spare, &path)?;
        self.vfs.sync_dir(&self.dir)?;
        self.sealed = seal;
        if let Some(live) = self.files.back_mut() {
            live.used = at;
        }
        Ok(())
    }

    /// Keeps the directory locked as long as this lives.
    pub(crate) fn hold(&mut self, lock: super::Lock) {
        self.lock = Some(lock);
    }

    /// The bytes of a record, in the reused buffer.
    fn record(&mut self, kind: Kind, lsn: Lsn, body: &[u8], at: u64) -> Vec<u8> {
        let head = Head {
            kind,
            len: body.len() as u32,
            lsn,
            durable: self.durable,
            chain: self.chain,
            body: self.key.hash(body),
        };
        let sequence = self.files.back().map_or(0, |f| f.sequence);
        let (bytes, _) = head.encode(&self.key, sequence, at);
        let mut out = std::mem::take(&mut self.buffer);
        out.clear();
        out.reserve(padded(body.len()) as usize);
        out.extend_from_slice(&bytes);
        out.extend_from_slice(body);
        out.resize(padded(body.len()) as usize, 0);
        out
    }

    fn used(&self) -> u64 {
        self.files.back().map_or(PAGE, |f| f.used)
    }

    fn fail(&mut self, e: io::Error) -> AppendError {
        tracing::error!(error = %e, "the journal failed; nothing more is acknowledged");
        self.failed = Some(e.to_string());
        AppendError::Failed(e)
    }

    fn alive(&self) -> Result<(), AppendError> {
        match &self.failed {
            Some(why) => Err(AppendError::Failed(io::Error::other(format!("failed earlier: {why}")))),
            None => Ok(()),
        }
    }

    /// Goes on in the next file; `Full` if there is none and none can be made.
    fn rotate(&mut self) -> Result<(), AppendError> {
        // Normally a spare is ready; making one here is the slow way out.
        while self.spares.ready() < SPARES {
            match self.spares.fill() {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) if is_full(&e) => break,
                Err(e) => return Err(self.fail(e)),
            }
        }
        // The first frame is still part of recovery: a node that stopped with its last file full starts on a full disk, too.
        let kept = if self.untouched { 0 } else { SPARES - 1 };
        let Some((path, file)) = self.spares.take(kept) else { return Err(AppendError::Full) };
        let at = self.used();
        if at + PAGE <= self.len {
            let close = self.record(Kind::Close, self.last, &[], at);
            if let Err(e) = write_full(&*self.file, at, &close).and_then(|()| self.file.sync_data()) {
                return Err(self.fail(e));
            }
            self.buffer = close;
        }
        let sequence = self.files.back().map_or(0, |f| f.sequence) + 1;
        self.file = file;
        self.activate(path, sequence, &[], false).map_err(|e| self.fail(e))
    }

    /// Appends a frame and returns when it is durable.
    pub fn append(&mut self, expected_last: Lsn, frame: &[u8]) -> Result<Lsn, AppendError> {
        self.begin(expected_last, frame)?;
        self.sync()
    }

    /// Writes a frame without waiting for the disk. [`Journal::sync`] must follow before the next one.
    pub fn begin(&mut self, expected_last: Lsn, frame: &[u8]) -> Result<Lsn, AppendError> {
        self.alive()?;
        if self.last != self.durable {
            return Err(AppendError::Busy);
        }
        if expected_last != self.last {
            return Err(AppendError::Conflict(self.last));
        }
        let need = padded(frame.len());
        if frame.len() > self.options.frame_max || need > self.len.saturating_sub(PAGE) {
            return Err(AppendError::TooLarge);
        }
        if self.written >= self.retry && self.room() != Room::Plenty {
            // Not at every frame: on a full disk it is in vain.
            self.retry = self.written + (1 << 20);
            self.prepare();
        }
        if self.used() + need > self.len {
            self.rotate()?;
        }
        let at = self.used();
        let lsn = self.last + 1;
        let bytes = self.record(Kind::Frame, lsn, frame, at);
        if let Err(e) = write_full(&*self.file, at, &bytes) {
            return Err(self.fail(e));
        }
        self.chain = chain_of(&bytes);
        self.last = lsn;
        self.sealed = false;
        self.untouched = false;
        self.written += need;
        if self.marks.back().is_none_or(|(_, w)| self.written - w >= 1 << 20) {
            self.marks.push_back((lsn, self.written));
        }
        if let Some(live) = self.files.back_mut() {
            live.used = at + need;
        }
        // Kept for the next frame, unless this one was unusually long.
        if bytes.capacity() <= 1 << 20 || self.options.frame_max <= 1 << 20 {
            self.buffer = bytes;
        }
        Ok(lsn)
    }

    /// Waits until the frame that was begun is durable; returns the highest durable LSN.
    pub fn sync(&mut self) -> Result<Lsn, AppendError> {
        self.alive()?;
        if self.durable != self.last {
            if let Err(e) = self.file.sync_data() {
                return Err(self.fail(e));
            }
            self.durable = self.last;
        }
        Ok(self.durable)
    }

    /// Writes and syncs a record saying that everything so far is durable, so that damage to the last frame
    /// can be told from a frame that was never finished. For when there is nothing to do, and at shutdown.
    /// `false`: nothing to seal, or no room for it.
    pub fn seal(&mut self) -> Result<bool, AppendError> {
        self.alive()?;
        if self.durable != self.last {
            return Err(AppendError::Busy);
        }
        if self.sealed {
            return Ok(false);
        }
        if self.used() + PAGE > self.len {
            // The header of the next file says as much, but there it has a seal like everywhere else.
            match self.rotate() {
                Ok(()) => {}
                Err(AppendError::Full) => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        let at = self.used();
        let seal = self.record(Kind::Seal, self.last, &[], at);
        if let Err(e) = write_full(&*self.file, at, &seal).and_then(|()| self.file.sync_data()) {
            return Err(self.fail(e));
        }
        self.buffer = seal;
        self.sealed = true;
        self.written += PAGE;
        if let Some(live) = self.files.back_mut() {
            live.used = at + PAGE;
        }
        Ok(true)
    }

    /// Hands every frame from `from` on to `f`, verified again; returns the last LSN.
    pub fn replay(&self, from: Lsn, f: &mut Visit<'_, ()>) -> Result<Lsn, OpenError> {
        self.visit(from, &mut |lsn, frame| f(lsn, frame).map(|()| true))
    }

    /// Like [`Journal::replay`], until `f` returns `false`.
    pub fn visit(&self, from: Lsn, f: &mut Visit<'_, bool>) -> Result<Lsn, OpenError> {
        let oldest = self.files.front().map_or(1, |l| l.first);
        if from < oldest {
            return Err(OpenError::Corrupt {
                file: self.dir.clone(),
                from: 0,
                to: 0,
                why: format!("LSN {from} is no longer in the journal, which begins with LSN {oldest}"),
            });
        }
        let mut next: Option<Opened> = None;
        let mut stopped = false;
        for (i, live) in self.files.iter().enumerate() {
            let after = self.files.get(i + 1);
            if after.is_some_and(|a| a.first <= from) {
                continue;
            }
            let o = match next.take() {
                Some(o) => o,
                None => scan::open(&*self.vfs, &live.path, live.sequence)?,
            };
            next = after.map(|a| scan::open(&*self.vfs, &a.path, a.sequence)).transpose()?;
            let s = scan::scan(&o, next.as_ref().map(|n| &n.head), &mut |lsn, body| {
                if lsn < from || lsn > self.durable {
                    return Ok(true);
                }
                let go_on = f(lsn, body)?;
                stopped = !go_on;
                Ok(go_on)
            })?;
            if stopped {
                return Ok(s.last);
            }
            if after.is_none() && s.last < self.durable {
                return Err(OpenError::Corrupt {
                    file: o.path.clone(),
                    from: s.end,
                    to: live.used.max(s.end + 1),
                    why: format!("LSN {} is damaged, and it was acknowledged", s.last + 1),
                });
            }
        }
        Ok(self.durable)
    }

    /// The last LSN written.
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// The highest LSN that is durable.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Bytes written after the last checkpoint: when it is much, make one.
    pub fn bytes_since_checkpoint(&self) -> u64 {
        self.written - self.checkpointed
    }

    /// How much may still be written without a checkpoint.
    pub fn room(&self) -> Room {
        self.room_behind(0)
    }

    /// The same when a frame of `pending` bytes has been begun and more is to be added to it.
    pub fn room_behind(&self, pending: usize) -> Room {
        let spares = (self.spares.ready() as u64).saturating_sub(SPARES as u64 - 1);
        let left = self.len.saturating_sub(self.used()) + spares * (self.options.journal_file - PAGE);
        let left = left.saturating_sub(padded(pending));
        if left >= self.options.tail_reserve + 2 * padded(self.options.frame_max) {
            Room::Plenty
        } else if left >= (self.options.tail_reserve / 4).max(2 * PAGE) {
            // What is left is for the rest of a frame that has been begun, and for a seal.
            Room::Low
        } else {
            Room::None
        }
    }

    /// Tries to allocate space ahead if there is not plenty. Slow: call it before refusing anything because
    /// of [`Journal::room`], unless another thread calls [`Spares::fill`].
    pub fn prepare(&mut self) -> Room {
        while self.room() != Room::Plenty {
            match self.spares.fill() {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => {
                    tracing::warn!(error = %e, "could not allocate journal space ahead");
                    break;
                }
            }
        }
        self.room()
    }

    /// The pool that spares come from; keep it filled from another thread.
    pub fn spares(&self) -> Spares {
        self.spares.clone()
    }

    /// A checkpoint holds everything up to `applied`: files that are not needed any more become spares.
    /// Never fails: what cannot be recycled now is removed at the next start.
    pub fn recycle(&mut self, applied: Lsn) {
        while let Some((lsn, written)) = self.marks.front().copied()
            && lsn <= applied
        {
            self.checkpointed = self.checkpointed.max(written);
            self.marks.pop_front();
        }
        if applied >= self.last {
            self.checkpointed = self.written;
            self.marks.clear();
        }
        let mut old = Vec::new();
        while self.files.get(1).is_some_and(|next| next.first <= applied + 1) {
            old.extend(self.files.pop_front());
        }
        self.retire(old);
    }

    /// Files whose frames are all in the file after them too.
    fn retire_superseded(&mut self) {
        let mut old = Vec::new();
        let mut i = 0;
        while let (Some(this), Some(next)) = (self.files.get(i), self.files.get(i + 1)) {
            if this.first == next.first {
                old.extend(self.files.remove(i));
            } else {
                i += 1;
            }
        }
        self.retire(old);
    }

    /// Files that are no longer needed become spares, or are removed.
    fn retire(&mut self, old: Vec<Live>) {
        if old.is_empty() {
            return;
        }
        let mut fresh = Vec::new();
        for old in old {
            let path = self.dir.join(format!("{:08}r.spare", old.sequence));
            let keep = self.spares.ready() + fresh.len() < self.options.journal_spares;
            let done = if keep {
                self.vfs.open(&old.path).and_then(|file| {
                    if file.size()? != self.options.journal_file {
                        return self.vfs.remove(&old.path);
                    }
                    self.vfs.rename(&old.path, &path)?;
                    fresh.push((path, file));
                    Ok(())
                })
            } else {
                self.vfs.remove(&old.path)
            };
            if let Err(e) = done {
                tracing::warn!(error = %e, file = %old.path.display(), "could not recycle a journal file");
            }
            let mut pool = self.spares.pool();
            pool.live = pool.live.saturating_sub(1);
        }
        // The old name must be gone for good before the content changes.
        match self.vfs.sync_dir(&self.dir) {
            Ok(()) => self.spares.pool().ready.extend(fresh),
            Err(e) => tracing::warn!(error = %e, "could not sync the journal directory"),
        }
    }

    /// Counts what the files already hold as written.
    fn mark_all(&mut self) {
        self.written = self.files.iter().map(|f| f.used.saturating_sub(PAGE)).sum();
        self.marks.clear();
        let mut sum = 0;
        for (i, f) in self.files.iter().enumerate() {
            sum += f.used.saturating_sub(PAGE);
            let last = self.files.get(i + 1).map_or(self.last, |n| n.first - 1);
            self.marks.push_back((last, sum));
        }
    }
}

fn chain_of(record: &[u8]) -> u128 {
    super::frame::u128_at(record, HEAD - 16).unwrap_or(0)
}

/// Sorts what is in the directory: spares are kept, leftovers removed.
fn spares(
    vfs: &Arc<dyn Vfs>,
    dir: &Path,
    options: &Options,
    opened: &[Opened],
    old: &[PathBuf],
) -> io::Result<Spares> {
    let mut ready = Vec::new();
    let mut number = 0;
    for path in old {
        vfs.remove(path)?;
    }
    for name in vfs.list(dir)? {
        let path = dir.join(&name);
        number = number.max(name.split('.').next().and_then(|d| d.parse().ok()).unwrap_or(0));
        if name.ends_with(".new") {
            vfs.remove(&path)?;
        } else if name.ends_with(".spare") {
            let file = vfs.open(&path)?;
            if file.size()? == options.journal_file && ready.len() < options.journal_spares {
                ready.push((path, file));
            } else {
                vfs.remove(&path)?;
            }
        }
    }
    vfs.sync_dir(dir)?;
    let max_files = (options.journal_max / options.journal_file.max(1)).max(4) as usize;
    Ok(Spares(Arc::new(Shared {
        vfs: vfs.clone(),
        dir: dir.to_path_buf(),
        len: options.journal_file,
        max_files,
        state: Mutex::new(Pool { ready, making: 0, live: opened.len(), number }),
    })))
}
