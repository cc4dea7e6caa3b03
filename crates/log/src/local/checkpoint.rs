//! Checkpoints: make the segments durable, then say in one transaction how far they and the state go.
//!
//! They run beside commits, on a thread of their own, and hold no lock while they wait for the disk.

use super::state::{Loaded, State};
use super::{Lock, Lsn, OpenError, Options, Store};
use crate::vfs::{Vfs, is_full, write_full};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes checkpoints, and holds the lock on the data directory.
pub struct Checkpoints {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    options: Options,
    /// `None` after a failed transaction, until it is opened again.
    state: Option<State>,
    store: Arc<Store>,
    applied: Lsn,
    failed: Option<String>,
    _lock: Lock,
}

impl Checkpoints {
    pub(crate) fn new(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        options: Options,
        state: State,
        store: Arc<Store>,
        applied: Lsn,
        lock: Lock,
    ) -> Checkpoints {
        let mut checkpoints = Checkpoints {
            vfs,
            dir: dir.to_path_buf(),
            options,
            state: Some(state),
            store,
            applied,
            failed: None,
            _lock: lock,
        };
        checkpoints.keep_reserve();
        checkpoints
    }

    /// The LSN up to which the last checkpoint goes.
    pub fn applied(&self) -> Lsn {
        self.applied
    }

    /// Makes a checkpoint: the store as it is now, the state changed by `deletes` and then `puts`, all of it
    /// as of `applied`. Every frame up to `applied` must have been put into the store before.
    ///
    /// A full disk is reported and may be tried again. Any other failure is final, because what the system
    /// says after a failed sync proves nothing: the node must stop, and recovers from the journal.
    pub fn write(
        &mut self,
        applied: Lsn,
        puts: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
        deletes: impl Iterator<Item = Vec<u8>>,
    ) -> io::Result<()> {
        if let Some(why) = &self.failed {
            return Err(io::Error::other(format!("checkpoints failed earlier: {why}")));
        }
        if applied < self.applied {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a checkpoint cannot go back"));
        }
        // Kept, so that a full disk can be tried once more without its reserve.
        let puts: Vec<(Vec<u8>, Vec<u8>)> = puts.collect();
        let deletes: Vec<Vec<u8>> = deletes.collect();
        let mut done = self.attempt(applied, &puts, &deletes);
        if let Err(e) = &done
            && is_full(e)
            && self.release_reserve()
        {
            tracing::warn!("the disk is full; the checkpoint uses the space set aside for it");
            done = self.attempt(applied, &puts, &deletes);
        }
        match &done {
            Ok(()) => {
                self.applied = applied;
                self.keep_reserve();
            }
            Err(e) if is_full(e) => {}
            Err(e) => {
                tracing::error!(error = %e, "a checkpoint failed");
                self.failed = Some(e.to_string());
            }
        }
        done
    }

    fn attempt(&mut self, applied: Lsn, puts: &[(Vec<u8>, Vec<u8>)], deletes: &[Vec<u8>]) -> io::Result<()> {
        match self.store.compact(self.options.heap_file) {
            // Tidying can wait.
            Err(e) if is_full(&e) => {}
            other => other?,
        }
        self.store.hash_finished();
        let snapshot = self.store.snapshot();
        let done = self.store.sync(&snapshot).and_then(|()| {
            let state = self.state()?;
            let (mut puts, mut deletes) = (puts.iter().cloned(), deletes.iter().cloned());
            state.write(applied, &mut puts, &mut deletes, &snapshot.changes)
        });
        match done {
            Ok(()) => {
                self.store.finish(snapshot);
                Ok(())
            }
            Err(e) => {
                self.store.restore(snapshot);
                // redb refuses to go on after an error; opening it again rolls the transaction back.
                self.state = None;
                Err(e)
            }
        }
    }

    fn state(&mut self) -> io::Result<&State> {
        if self.state.is_none() {
            let path = self.dir.join("state.redb");
            let state = State::open(&self.vfs, &path, &self.options).map_err(io_of)?;
            self.state = Some(state);
        }
        self.state.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Reads the last checkpoint back.
    pub(crate) fn load(&self) -> Result<Loaded, OpenError> {
        match &self.state {
            Some(state) => state.load(),
            None => Err(OpenError::Io(io::Error::other("the last checkpoint failed"))),
        }
    }

    fn reserve(&self) -> PathBuf {
        self.dir.join("reserve")
    }

    fn release_reserve(&self) -> bool {
        self.vfs.remove(&self.reserve()).and_then(|()| self.vfs.sync_dir(&self.dir)).is_ok()
    }

    /// Sets space aside again if there is plenty.
    fn keep_reserve(&mut self) {
        let want = self.options.disk_reserve;
        if want == 0 || self.vfs.open(&self.reserve()).is_ok_and(|f| f.size().is_ok_and(|n| n == want)) {
            return;
        }
        if self.vfs.free_space(&self.dir).unwrap_or(0) < want.saturating_mul(4) {
            return;
        }
        let _ = self.vfs.remove(&self.reserve());
        let made = self.vfs.create(&self.reserve()).and_then(|file| {
            file.allocate(want)?;
            // One byte, so that file systems which only promise space on paper have something to write.
            write_full(&*file, want - 1, &[0])
        });
        if made.is_err() {
            let _ = self.vfs.remove(&self.reserve());
        }
    }
}

fn io_of(e: OpenError) -> io::Error {
    match e {
        OpenError::Io(e) => e,
        e => io::Error::new(io::ErrorKind::InvalidData, e.to_string()),
    }
}
