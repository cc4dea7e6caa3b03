//! The core on its log, one step at a time and without a thread: what the commit loop does between two waits. The simulator drives exactly
//! this code.

use sb_core::model::{Error, Kind, Result};
use sb_core::ops::{Answer, Commit, Effects, Frame, Now, Op, Settle};
use sb_core::{Checkpoint, Core};
use sb_log::local::{Journal, Local, Options, Put, Room, Spares, Store};
use sb_log::vfs::{Vfs, is_full};
use sb_log::{Lsn, PartId};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

pub use sb_log::local::Checkpoints;

/// A frame is closed when it has so many bytes.
pub const FRAME_TARGET: usize = 1 << 20;

/// The core, its journal, and the frame that is being built.
pub struct Engine {
    /// The rules and their state. It may be ahead of what is durable by the frame that is being built.
    pub core: Core,
    disk: Option<Disk>,
    frame: Frame,
    unstored: Vec<Effects>,
}

struct Disk {
    journal: Journal,
    store: Arc<Store>,
    lsn: Lsn,
    failed: bool,
    /// The most bytes of batches in one commit, so that it always fits a frame.
    commit_max: usize,
    /// Whether another thread makes the journal's next files, so that waiting for it makes sense.
    patient: bool,
    /// A checkpoint is due when so many bytes were journalled.
    checkpoint_after: u64,
    /// After waiting in vain: how many more commits look only, before waiting is tried again.
    hopeless: u32,
}

impl Disk {
    /// Waits a little for the thread that makes the journal's next file, or makes it: pressing back on publishers for a moment is better
    /// than refusing them.
    fn make_room(&mut self) {
        if self.hopeless > 0 {
            self.hopeless -= 1;
            return;
        }
        for _ in 0..100 {
            match self.journal.spares().fill() {
                Ok(true) => {}
                Ok(false) if self.patient => std::thread::sleep(std::time::Duration::from_millis(5)),
                Ok(false) | Err(_) => break,
            }
            if self.journal.room() == Room::Plenty {
                return;
            }
        }
        self.hopeless = 1_000;
    }
}

/// Why an engine does not start.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What is on disk is not what was written; otherwise it cannot be read or written now.
    pub damaged: bool,
    /// In words.
    pub why: String,
}

impl From<sb_log::OpenError> for Failure {
    fn from(error: sb_log::OpenError) -> Failure {
        Failure { damaged: matches!(error, sb_log::OpenError::Corrupt { .. }), why: error.to_string() }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure { damaged: false, why }
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> String {
        failure.why
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

/// A checkpoint on its way to disk.
pub struct CheckpointJob {
    state: Checkpoint,
    applied: Lsn,
}

/// What was found at start.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Frames replayed.
    pub frames: u64,
    /// What was cut off at the end, if anything, in words.
    pub dropped_tail: Option<String>,
}

/// The log's name of a partition.
pub fn log_part(part: sb_core::model::PartId) -> PartId {
    PartId { topic: part.topic.0, partition: part.partition }
}

impl Engine {
    /// An engine that keeps nothing on disk.
    pub fn in_memory(now: Now) -> Engine {
        let mut engine =
            Engine { core: Core::new(), disk: None, frame: Frame::default(), unstored: Vec::new() };
        engine.core.boot(now, &mut engine.frame);
        engine.frame = Frame::default();
        engine
    }

    /// Like [`Engine::recover`], for those who have nowhere to keep what does not fit on the disk.
    pub fn open(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        options: Options,
        now: Now,
    ) -> std::result::Result<(Engine, Arc<Store>, Checkpoints, Recovery), String> {
        let recovered = Engine::recover(vfs, dir, options, now)?;
        if recovered.0.unstored.is_empty() {
            Ok(recovered)
        } else {
            Err("cannot write segments: the disk is full".into())
        }
    }

    /// Recovers a data directory: state of the last checkpoint, then every frame behind it. What a full disk has no room for is in
    /// [`Engine::take_unstored`].
    pub fn recover(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        options: Options,
        now: Now,
    ) -> std::result::Result<(Engine, Arc<Store>, Checkpoints, Recovery), Failure> {
        let checkpoint_after = (options.journal_file * 2).min(128 << 20);
        let commit_max =
            options.frame_max.saturating_sub(FRAME_TARGET + FRAME_TARGET / 4).max(options.frame_max / 4);
        let local = Local::open(vfs, dir, options)?;
        let Local { journal, store, checkpoints, recovered } = local;
        let mut core = Core::restore(recovered.state).map_err(|why| Failure { damaged: true, why })?;
        let mut recovery =
            Recovery { frames: 0, dropped_tail: recovered.dropped_tail.map(|d| format!("{d:?}")) };
        let mut lsn = recovered.applied;
        let mut unstored = Vec::new();
        let mut failed = None;
        let replayed = journal.replay(recovered.applied + 1, &mut |at, frame| {
            let effects = core.apply(frame, now)?;
            // A disk that was full before is full again now: what does not fit is given to whoever waits for room.
            match if unstored.is_empty() {
                Engine::put(&store, [&effects])
            } else {
                Err(ErrorKind::StorageFull.into())
            } {
                Ok(()) => {}
                Err(error) if is_full(&error) => unstored.push(effects),
                Err(error) => {
                    failed = Some(format!("segments cannot be written: {error}"));
                    return Err(error.to_string());
                }
            }
            lsn = at;
            recovery.frames += 1;
            Ok(())
        });
        match (replayed, failed) {
            (_, Some(why)) => return Err(why.into()),
            (Err(error), None) => return Err(error.into()),
            (Ok(_), None) => {}
        }
        let mut engine = Engine {
            core,
            disk: Some(Disk {
                journal,
                store: store.clone(),
                lsn,
                failed: false,
                commit_max,
                patient: false,
                hopeless: 0,
                checkpoint_after,
            }),
            frame: Frame::default(),
            unstored,
        };
        engine.core.boot(now, &mut engine.frame);
        engine.flush().map_err(|e| e.to_string())?;
        Ok((engine, store, checkpoints, recovery))
    }

    /// Effects of frames that were replayed and did not fit on a full disk: they are to be put into the store before any that follow.
    pub fn take_unstored(&mut self) -> Vec<Effects> {
        std::mem::take(&mut self.unstored)
    }

    /// Whether so much was journalled, or so little room is left, that a checkpoint should be made.
    pub fn wants_checkpoint(&self) -> bool {
        self.disk.as_ref().is_some_and(|d| {
            let since = d.journal.bytes_since_checkpoint();
            since > d.checkpoint_after || since > d.checkpoint_after / 8 && d.journal.room() != Room::Plenty
        })
    }

    /// Says that another thread calls [`Spares::fill`] again and again.
    pub fn be_patient(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.patient = true;
        }
    }

    /// Whether messages are kept on disk.
    pub fn durable(&self) -> bool {
        self.disk.is_some()
    }

    /// The last LSN that is durable.
    pub fn lsn(&self) -> Lsn {
        self.disk.as_ref().map_or(0, |d| d.lsn)
    }

    /// Bytes of the frame that is being built.
    pub fn pending(&self) -> usize {
        self.frame.bytes.len()
    }

    /// The frame that is being built; nobody may act on it before the next [`Engine::flush`].
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Hands every frame from `from` on to `f`, until it returns `false`; for those who follow the log.
    pub fn visit(&self, from: Lsn, f: &mut dyn FnMut(Lsn, &[u8]) -> bool) -> std::result::Result<(), String> {
        let Some(disk) = &self.disk else { return Ok(()) };
        disk.journal.visit(from, &mut |lsn, frame| Ok(f(lsn, frame))).map(|_| ()).map_err(|e| e.to_string())
    }

    /// Bytes journalled since the last checkpoint.
    pub fn journal_bytes(&self) -> u64 {
        self.disk.as_ref().map_or(0, |d| d.journal.bytes_since_checkpoint())
    }

    /// Checks a commit and applies it to the pending state. The answer must not leave before the next [`Engine::flush`].
    pub fn commit(&mut self, now: Now, commit: Commit) -> Result<Answer> {
        if let Some(disk) = &mut self.disk {
            if disk.failed {
                return Err(storage_failed());
            }
            if batch_bytes(&commit) > disk.commit_max {
                return Err(Error::new(
                    Kind::TooLarge,
                    "SB0205",
                    "the request is larger than the journal takes at once",
                )
                .fix("Send fewer or smaller messages at once"));
            }
            if disk.journal.room_behind(self.frame.bytes.len()) != Room::Plenty {
                disk.make_room();
            }
            match disk.journal.room_behind(self.frame.bytes.len()) {
                Room::Plenty => {}
                Room::Low if frees(&commit) => {}
                Room::Low | Room::None => return Err(disk_full()),
            }
        }
        self.core.commit(now, commit, &mut self.frame)
    }

    /// Does what is due; true when there is more to do.
    pub fn tick(&mut self, now: Now) -> bool {
        if let Some(disk) = &self.disk
            && disk.journal.room_behind(self.frame.bytes.len()) == Room::None
        {
            // What is due can wait until a checkpoint has made room; a frame that does not fit would be the end.
            return true;
        }
        self.core.tick(now, 1_000, &mut self.frame)
    }

    /// Makes the frame durable and gives what follows from it. An error means that this engine can go on no more.
    pub fn flush(&mut self) -> Result<Effects> {
        let effects = std::mem::take(&mut self.frame.effects);
        if let Some(disk) = &mut self.disk
            && !self.frame.bytes.is_empty()
        {
            if disk.failed {
                return Err(storage_failed());
            }
            match disk.journal.append(disk.lsn, &self.frame.bytes) {
                Ok(lsn) => disk.lsn = lsn,
                Err(error) => {
                    // The pending state is ahead of the log and cannot be taken back: stop, and recover from the log.
                    disk.failed = true;
                    return Err(Error::new(
                        Kind::Unavailable,
                        "SB0701",
                        format!("the journal cannot be written: {error:?}"),
                    )
                    .fix("See the log, check the disk, start again"));
                }
            }
        }
        self.frame.bytes.clear();
        if self.frame.bytes.capacity() > 4 * FRAME_TARGET {
            self.frame.bytes = Vec::new();
        }
        Ok(effects)
    }

    /// Copies what some frames made durable into the segments: all batches first, then what is dropped is dropped. Idempotent, also when
    /// it failed half-way. In production the storage thread does it, lazily.
    pub fn put<'a>(
        store: &Store,
        frames: impl IntoIterator<Item = &'a Effects, IntoIter: Clone>,
    ) -> std::io::Result<()> {
        let frames = frames.into_iter();
        let batches = frames.clone().flat_map(|effects| &effects.appended).filter(|batch| !batch.memory);
        let mut puts: Vec<Put<'_>> = batches
            .map(|batch| Put {
                part: log_part(batch.part),
                base: batch.base,
                last: batch.base + u64::from(batch.count).saturating_sub(1),
                max_timestamp_ms: batch.max_time_ms,
                bytes: &batch.bytes,
            })
            .collect();
        store.put_all(&mut puts)?;
        for effects in frames {
            for (part, start) in &effects.trimmed {
                store.trim(log_part(*part), *start);
            }
            for topic in &effects.deleted {
                store.drop_topic(topic.0);
            }
        }
        Ok(())
    }

    /// Takes the state for a checkpoint, between two frames. Everything that was flushed must reach the store before it is written.
    pub fn begin_checkpoint(&mut self) -> Option<CheckpointJob> {
        let disk = self.disk.as_ref()?;
        Some(CheckpointJob { applied: disk.lsn, state: self.core.checkpoint() })
    }

    /// Lets the journal use the space again that a written checkpoint has freed.
    pub fn end_checkpoint(&mut self, applied: Lsn) {
        if let Some(disk) = &mut self.disk {
            disk.journal.recycle(applied);
        }
    }

    /// Proves the last frame durable; when idle and at the end.
    pub fn seal(&mut self) {
        if let Some(disk) = &mut self.disk
            && !disk.failed
            && let Err(error) = disk.journal.seal()
        {
            tracing::error!(?error, "the journal cannot be sealed");
        }
    }

    /// What makes the journal's next file ahead of need; slow, for a thread that nobody waits for.
    pub fn spares(&self) -> Option<Spares> {
        self.disk.as_ref().map(|d| d.journal.spares())
    }

    /// The store, when there is one.
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.disk.as_ref().map(|d| &d.store)
    }
}

/// Makes what the store has dropped free on disk, between two checkpoints; the state stays as of the last one, and the store may be ahead
/// of it.
pub fn relieve(checkpoints: &mut Checkpoints) -> std::io::Result<()> {
    let applied = checkpoints.applied();
    checkpoints.write(applied, std::iter::empty(), std::iter::empty())
}

impl CheckpointJob {
    /// Writes it; blocking. Gives the LSN for [`Engine::end_checkpoint`].
    pub fn run(&self, checkpoints: &mut Checkpoints) -> std::io::Result<Lsn> {
        checkpoints.write(self.applied, self.state.puts(), self.state.deletes())?;
        Ok(self.applied)
    }
}

fn batch_bytes(commit: &Commit) -> usize {
    let of = |op: &Op| match op {
        Op::Append { batch, .. }
        | Op::Submit { batch, .. }
        | Op::Complete { event: batch, .. }
        | Op::Fail { event: batch, .. }
        | Op::DeadLetter { target: Some((_, _, batch)), .. } => batch.bytes.len(),
        Op::Report { event: Some(batch), .. } => batch.bytes.len(),
        _ => 0,
    };
    commit.ops.iter().map(of).sum()
}

/// Whether a commit frees more than it takes: what may still be done on a full disk.
fn frees(commit: &Commit) -> bool {
    commit.ops.iter().all(|op| match op {
        Op::Settle { settles } => !settles.iter().any(|(_, s)| *s == Settle::Dead),
        Op::Lease { .. }
        | Op::DeleteTopic { .. }
        | Op::DeleteGroup { .. }
        | Op::DeleteMethod { .. }
        | Op::Seek { .. }
        | Op::CommitCursor { .. }
        | Op::Cancel { .. } => true,
        Op::DeclareTopic { .. } => true,
        Op::Append { .. }
        | Op::DeclareGroup { .. }
        | Op::DeadLetter { .. }
        | Op::DeclareMethod { .. }
        | Op::Submit { .. }
        | Op::Report { .. }
        | Op::Complete { .. }
        | Op::Fail { .. } => false,
    })
}

fn disk_full() -> Error {
    Error::new(Kind::DiskFull, "SB0602", "the disk is full: nothing new is taken until there is room")
        .fix("Free space, delete topics or shorten their retention; reading and acknowledging go on")
        .retry_after(5_000)
}

fn storage_failed() -> Error {
    Error::new(Kind::Unavailable, "SB0701", "the storage has failed and the server is stopping")
        .fix("See the log, check the disk, start again")
}
