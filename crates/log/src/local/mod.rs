//! The embedded log of one node: a journal, segments and a checkpoint, in one directory.
//!
//! ```text
//! DIR/LOCK                            held while a server runs
//! DIR/journal/00000001.jnl            the promise: frames, synced before anything is acknowledged
//! DIR/segments/heap-00000001.log      batches of small partitions, together
//! DIR/segments/7-0/000...0.log        batches of a larger one, in Kafka's layout, with .index and .timeindex
//! DIR/state.redb                      state, segment ends and heap index as of one LSN
//! DIR/reserve                         space given up when a checkpoint meets a full disk
//! ```
//!
//! What the journal holds after the checkpoint's LSN is replayed at the start; segments are cut at the ends
//! that the checkpoint recorded and filled again from there.

mod checkpoint;
pub(crate) mod frame;
pub(crate) mod heap;
pub(crate) mod journal;
pub(crate) mod scan;
pub(crate) mod segment;
pub(crate) mod state;
pub(crate) mod store;

pub use checkpoint::Checkpoints;
pub use journal::{AppendError, Journal, Room, Spares, Visit};
pub use scan::Dropped;
pub use store::{Damage, Put, Scrubbed, Store};

use crate::vfs::Vfs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A position in the log: dense, the first is 1.
pub type Lsn = u64;

/// One partition of one topic, by numbers that the core gives out and never uses again.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub struct PartId {
    /// The topic; the highest numbers are built-in ones.
    pub topic: u32,
    /// The partition.
    pub partition: u32,
}

/// Sizes. The defaults suit a server; tests use smaller ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Length of a journal file.
    pub journal_file: u64,
    /// Length of all journal files together, spares included; appends are refused beyond it.
    pub journal_max: u64,
    /// Up to how many files are kept ready for use; two are made when there are none. A finished file that is kept is not written out
    /// anew, so this should be as many as are used between two checkpoints, and two more.
    pub journal_spares: usize,
    /// Longest frame.
    pub frame_max: usize,
    /// Journal space that only acknowledgements and deletions may use ([`Room::Low`]).
    pub tail_reserve: u64,
    /// A partition with more bytes than this gets files of its own.
    pub heap_graduate: u64,
    /// ... and so does one with more batches than this.
    pub heap_batches: usize,
    /// Length at which the next heap file is begun.
    pub heap_file: u64,
    /// Length at which the next segment is begun.
    pub segment_bytes: u64,
    /// Bytes between two entries of a segment's index.
    pub index_interval: u64,
    /// Bytes set aside for a checkpoint on a full disk.
    pub disk_reserve: u64,
    /// Memory for redb's pages.
    pub cache: usize,
    /// Files kept open for reading.
    pub open_files: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            journal_file: 64 << 20,
            journal_max: 1 << 30,
            journal_spares: 4,
            frame_max: 4 << 20,
            tail_reserve: 8 << 20,
            heap_graduate: 1 << 20,
            heap_batches: 1024,
            heap_file: 64 << 20,
            segment_bytes: 256 << 20,
            index_interval: 4096,
            disk_reserve: 16 << 20,
            cache: 16 << 20,
            open_files: 512,
        }
    }
}

impl Options {
    /// Sizes that suit a file system of `total` bytes, for frames of `frame_max` bytes if it is not too small for them: a journal of three
    /// files must leave most of a small disk to messages, and files must be short enough for retention to free some.
    pub fn fitting(total: u64, frame_max: usize) -> Options {
        const MIB: u64 = 1 << 20;
        let mut options = Options { frame_max, ..Options::default() };
        if total < 1 << 30 {
            let file = (total / 8 / MIB * MIB).clamp(8 * MIB, options.journal_file);
            options.tail_reserve = file / 8;
            options.heap_file = file / 2;
            options.segment_bytes = file / 2;
            options.disk_reserve = file / 2;
            options.journal_file = file;
            options.journal_max = file * 6;
            options.journal_spares = 2;
            // In a file that is just begun there must be plenty of room, or nothing would ever be taken.
            let most = (file - options.tail_reserve - MIB) / 2;
            options.frame_max = frame_max.min(most as usize);
        } else {
            let room = options.tail_reserve + 2 * frame::padded(frame_max) + MIB;
            options.journal_file = options.journal_file.max(room.next_multiple_of(MIB));
            options.journal_max = options.journal_max.max(options.journal_file * 6);
        }
        options
    }

    fn check(&self) -> io::Result<()> {
        let page = frame::PAGE;
        let good = self.journal_file.is_multiple_of(page)
            && self.journal_file >= frame::padded(self.frame_max) + 2 * page
            && self.heap_file <= u64::from(u32::MAX / 2)
            && self.segment_bytes <= u64::from(u32::MAX / 2)
            && self.frame_max <= 1 << 30
            && self.index_interval > 0
            && self.open_files > 0;
        if good {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "sizes of the log do not fit together"))
        }
    }
}

/// Why a data directory does not open.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Data that was acknowledged is damaged or missing. None of it was changed or removed.
    Corrupt {
        /// Where.
        file: PathBuf,
        /// First damaged byte, as far as is known.
        from: u64,
        /// First byte that may be intact again.
        to: u64,
        /// What is wrong.
        why: String,
    },
    /// A newer version of Switchboard wrote it.
    Newer {
        /// The file that says so.
        file: PathBuf,
        /// Its format.
        version: u32,
    },
    /// Another process has it open.
    Locked,
    /// Reading or writing failed.
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> OpenError {
        OpenError::Io(e)
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Corrupt { file, from, to, why } => {
                write!(f, "{} is damaged at bytes {from} to {to}: {why}", file.display())
            }
            OpenError::Newer { file, version } => {
                write!(
                    f,
                    "{} has format {version}, which a newer version of Switchboard wrote",
                    file.display()
                )
            }
            OpenError::Locked => f.write_str("another process has the data directory open"),
            OpenError::Io(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why a read of batches failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// What is stored there is damaged. It is never skipped.
    Corrupt {
        /// The partition.
        part: PartId,
        /// The offset from which on it cannot be read.
        offset: u64,
        /// Where.
        file: PathBuf,
        /// First damaged byte, as far as is known.
        from: u64,
        /// First byte that may be intact again.
        to: u64,
        /// What is wrong.
        why: String,
    },
    /// Reading failed.
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(e: io::Error) -> ReadError {
        ReadError::Io(e)
    }
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Corrupt { part, offset, file, from, to, why } => write!(
                f,
                "offset {offset} of partition {}-{} is damaged ({} bytes {from} to {to}): {why}",
                part.topic,
                part.partition,
                file.display()
            ),
            ReadError::Io(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// What opening found; the caller replays the journal from `applied + 1`.
#[derive(Debug)]
pub struct Recovered {
    /// The checkpoint's LSN.
    pub applied: Lsn,
    /// The checkpoint's state.
    pub state: Vec<(Vec<u8>, Vec<u8>)>,
    /// The last LSN of the journal.
    pub last: Lsn,
    /// A frame that was being written when the machine stopped, and that is gone.
    pub dropped_tail: Option<Dropped>,
    /// The journal ended with a seal: nothing was being written.
    pub clean: bool,
}

/// The lock on a data directory; whoever writes there holds it.
pub(crate) type Lock = Arc<Box<dyn Send + Sync>>;

/// An open data directory.
pub struct Local {
    /// Frames; owned by the thread that commits.
    pub journal: Journal,
    /// Batches; shared.
    pub store: Arc<Store>,
    /// Checkpoints; owned by the thread that makes them.
    pub checkpoints: Checkpoints,
    /// What was found.
    pub recovered: Recovered,
}

impl Local {
    /// Opens `dir`, or makes a new log there if it is empty. Takes a lock that is held until both the journal
    /// and the checkpoints are dropped.
    ///
    /// Journal space is allocated ahead by whoever calls [`Spares::fill`], best on a thread of its own and
    /// soon after this; if nobody does, the journal does it itself when it runs low ([`Journal::prepare`]).
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, options: Options) -> Result<Local, OpenError> {
        options.check()?;
        let journal_dir = dir.join("journal");
        let segments = dir.join("segments");
        vfs.create_dir(&journal_dir)?;
        vfs.create_dir(&segments)?;
        let lock: Lock = Arc::new(vfs.lock(&dir.join("LOCK")).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked,
            _ => OpenError::Io(e),
        })?);
        vfs.sync_dir(dir)?;
        for above in dir.ancestors().skip(1) {
            match vfs.sync_dir(above) {
                // A directory that we may not read was there before us.
                Err(e) if e.kind() != io::ErrorKind::PermissionDenied => return Err(e.into()),
                _ => {}
            }
        }
        let path = dir.join("state.redb");
        let names = vfs.list(dir)?;
        let exists = names.iter().any(|n| n == "state.redb");
        if !exists {
            // The journal comes first and the checkpoint second: a journal with frames and no checkpoint is
            // one whose checkpoint was lost.
            let (files, _) = journal::files(&*vfs, &journal_dir, None)?;
            let fresh = files.iter().all(|o| o.head.first == 1);
            drop(files);
            let found = Journal::open(vfs.clone(), &journal_dir, &options, None)?;
            if !fresh || found.journal.last() > 0 {
                return Err(OpenError::Corrupt {
                    file: path,
                    from: 0,
                    to: 0,
                    why: "the checkpoint is missing, and the journal has frames".into(),
                });
            }
            drop(found);
            state::create(&vfs, dir, &options)?;
        }
        let state = state::State::open(&vfs, &path, &options)?;
        let loaded = state.load()?;
        let mut found = Journal::open(vfs.clone(), &journal_dir, &options, Some(loaded.applied))?;
        found.journal.hold(lock.clone());
        let store = Arc::new(Store::open(vfs.clone(), &segments, &options, loaded.parts, loaded.heaps)?);
        let recovered = Recovered {
            applied: loaded.applied,
            state: loaded.state,
            last: found.journal.last(),
            dropped_tail: found.dropped,
            clean: found.clean,
        };
        let checkpoints = Checkpoints::new(vfs, dir, options, state, store.clone(), recovered.applied, lock);
        Ok(Local { journal: found.journal, store, checkpoints, recovered })
    }
}

impl crate::SharedLog for Local {
    fn append(&mut self, expected_last: Lsn, frame: &[u8]) -> Result<Lsn, AppendError> {
        self.journal.append(expected_last, frame)
    }

    fn read(&self, from: Lsn, limit: usize) -> Result<Vec<(Lsn, Vec<u8>)>, OpenError> {
        let mut out = Vec::new();
        let mut size = 0;
        self.journal.visit(from, &mut |lsn, frame| {
            size += frame.len();
            if size <= limit || out.is_empty() {
                out.push((lsn, frame.to_vec()));
            }
            Ok(size < limit)
        })?;
        Ok(out)
    }

    fn durable(&self) -> Lsn {
        self.journal.durable()
    }

    fn trim(&mut self, up_to: Lsn) {
        // Never past the snapshot: the frames after it are all there is.
        self.journal.recycle(up_to.min(self.checkpoints.applied()));
    }

    fn snapshot_put(&mut self, applied: Lsn, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> io::Result<()> {
        let puts = changes.iter().filter_map(|(k, v)| Some((k.clone(), v.clone()?)));
        let deletes = changes.iter().filter(|(_, v)| v.is_none()).map(|(k, _)| k.clone());
        self.checkpoints.write(applied, puts, deletes)
    }

    fn snapshot_get(&self) -> Result<crate::Snapshot, OpenError> {
        let loaded = self.checkpoints.load()?;
        Ok((loaded.applied, loaded.state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fit_every_disk_and_leave_room_for_a_frame_in_every_file() {
        for total in [0, 1 << 20, 64 << 20, 200 << 20, 600 << 20, (1 << 30) - 1, 1 << 30, 1 << 40, u64::MAX] {
            for frame_max in [4 << 20, 16 << 20, 66 << 20, 300 << 20] {
                let o = Options::fitting(total, frame_max);
                o.check().unwrap();
                assert!(o.frame_max >= 3 << 20, "{o:?}");
                // The next file is at hand when this one is full: then there must be plenty of room.
                let room = o.journal_file - frame::PAGE;
                assert!(room >= o.tail_reserve + 2 * frame::padded(o.frame_max), "{total} {frame_max} {o:?}");
                if ((64 << 20)..(1 << 30)).contains(&total) {
                    assert!(o.journal_file * 3 + o.disk_reserve <= total / 2, "{total} {o:?}");
                }
            }
        }
        assert_eq!(Options::fitting(1 << 40, 16 << 20).journal_file, Options::default().journal_file);
    }
}
