//! The checkpoint file: redb, through the same door to the disk as everything else.

use super::heap::HeapMeta;
use super::store::PartMeta;
use super::{Lsn, OpenError, Options, PartId};
use crate::vfs::{File, Vfs, read_full, write_full};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format of the tables.
const FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const STATE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("state");
const PARTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("parts");
const HEAPS: TableDefinition<'_, u32, (u64, u64)> = TableDefinition::new("heaps");

pub(crate) struct Backend(pub(crate) Arc<dyn File>);

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_full(&*self.0, offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        write_full(&*self.0, offset, data)
    }
}

/// An open checkpoint file.
pub(crate) struct State {
    db: Database,
    path: PathBuf,
}

/// Everything that a checkpoint holds.
pub(crate) struct Loaded {
    pub(crate) applied: Lsn,
    pub(crate) state: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) parts: BTreeMap<PartId, PartMeta>,
    pub(crate) heaps: BTreeMap<u32, HeapMeta>,
}

/// What one checkpoint changes besides the caller's keys.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) parts: Vec<(PartId, Option<PartMeta>)>,
    pub(crate) heaps: Vec<(u32, Option<HeapMeta>)>,
}

fn key(part: PartId) -> u64 {
    (u64::from(part.topic) << 32) | u64::from(part.partition)
}

fn unkey(key: u64) -> PartId {
    PartId { topic: (key >> 32) as u32, partition: key as u32 }
}

fn io_of(e: impl Into<redb::Error>) -> io::Error {
    match e.into() {
        redb::Error::Io(e) => e,
        e => io::Error::other(e.to_string()),
    }
}

/// Makes an empty checkpoint file; it gets its name when it is complete.
pub(crate) fn create(vfs: &Arc<dyn Vfs>, dir: &Path, options: &Options) -> io::Result<()> {
    let new = dir.join("state.new");
    if vfs.list(dir)?.iter().any(|n| n == "state.new") {
        vfs.remove(&new)?;
    }
    let file = vfs.create(&new)?;
    let db = Database::builder()
        .set_cache_size(options.cache)
        .create_with_backend(Backend(file.clone()))
        .map_err(io_of)?;
    let mut tx = db.begin_write().map_err(io_of)?;
    tx.set_two_phase_commit(true);
    {
        let mut meta = tx.open_table(META).map_err(io_of)?;
        meta.insert("format", FORMAT).map_err(io_of)?;
        meta.insert("applied", 0).map_err(io_of)?;
        tx.open_table(STATE).map_err(io_of)?;
        tx.open_table(PARTS).map_err(io_of)?;
        tx.open_table(HEAPS).map_err(io_of)?;
    }
    tx.commit().map_err(io_of)?;
    drop(db);
    file.sync_data()?;
    vfs.rename(&new, &dir.join("state.redb"))?;
    vfs.sync_dir(dir)
}

impl State {
    /// Opens and verifies the file. All of it is about to be read anyway.
    pub(crate) fn open(vfs: &Arc<dyn Vfs>, path: &Path, options: &Options) -> Result<State, OpenError> {
        State::on(vfs.open(path)?, path, options)
    }

    /// Like `open`, on any file.
    pub(crate) fn on(file: Arc<dyn File>, path: &Path, options: &Options) -> Result<State, OpenError> {
        let len = file.size()?;
        let corrupt = |why: String| OpenError::Corrupt { file: path.to_path_buf(), from: 0, to: len, why };
        if len == 0 {
            // redb would take it for a new one.
            return Err(corrupt("the checkpoint is empty".into()));
        }
        // redb checks its pages, but a damaged one must not become a panic of ours.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut db = Database::builder()
                .set_cache_size(options.cache)
                .create_with_backend(Backend(file.clone()))
                .map_err(redb::Error::from)?;
            // Reading does not verify checksums; this does, all of them.
            db.check_integrity().map_err(redb::Error::from)?;
            Ok(db)
        }));
        match opened {
            Ok(Ok(db)) => Ok(State { db, path: path.to_path_buf() }),
            Ok(Err(redb::Error::Io(e)))
                if !matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
            {
                Err(OpenError::Io(e))
            }
            Ok(Err(redb::Error::UpgradeRequired(v))) => Err(corrupt(format!("unknown redb format {v}"))),
            Ok(Err(e)) => Err(corrupt(e.to_string())),
            Err(_) => Err(corrupt("redb cannot make sense of it".into())),
        }
    }

    /// Reads everything.
    pub(crate) fn load(&self) -> Result<Loaded, OpenError> {
        let corrupt = |why: String| OpenError::Corrupt { file: self.path.clone(), from: 0, to: 0, why };
        let read = || -> Result<Option<Loaded>, redb::Error> {
            let tx = self.db.begin_read()?;
            let meta = tx.open_table(META)?;
            let Some(applied) = meta.get("applied")?.map(|v| v.value()) else { return Ok(None) };
            let mut loaded =
                Loaded { applied, state: Vec::new(), parts: BTreeMap::new(), heaps: BTreeMap::new() };
            for row in tx.open_table(STATE)?.iter()? {
                let (k, v) = row?;
                loaded.state.push((k.value().to_vec(), v.value().to_vec()));
            }
            for row in tx.open_table(PARTS)?.iter()? {
                let (k, v) = row?;
                let Some(part) = PartMeta::decode(v.value()) else { return Ok(None) };
                loaded.parts.insert(unkey(k.value()), part);
            }
            for row in tx.open_table(HEAPS)?.iter()? {
                let (k, v) = row?;
                let (end, live) = v.value();
                loaded.heaps.insert(k.value(), HeapMeta { end, live });
            }
            Ok(Some(loaded))
        };
        match self.format() {
            Ok(Some(FORMAT)) => {}
            Ok(Some(v)) => {
                return Err(OpenError::Newer {
                    file: self.path.clone(),
                    version: v.min(u64::from(u32::MAX)) as u32,
                });
            }
            Ok(None) => return Err(corrupt("the checkpoint has no format".into())),
            Err(e) => return Err(error(e, corrupt)),
        }
        match read() {
            Ok(Some(loaded)) => Ok(loaded),
            Ok(None) => Err(corrupt("the checkpoint's tables do not make sense".into())),
            Err(e) => Err(error(e, corrupt)),
        }
    }

    fn format(&self) -> Result<Option<u64>, redb::Error> {
        let tx = self.db.begin_read()?;
        let meta = match tx.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            other => other?,
        };
        Ok(meta.get("format")?.map(|v| v.value()))
    }

    /// Commits one checkpoint.
    pub(crate) fn write(
        &self,
        applied: Lsn,
        puts: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>,
        deletes: &mut dyn Iterator<Item = Vec<u8>>,
        changes: &Changes,
    ) -> io::Result<()> {
        let mut tx = self.db.begin_write().map_err(io_of)?;
        tx.set_two_phase_commit(true);
        {
            let mut state = tx.open_table(STATE).map_err(io_of)?;
            for key in deletes {
                state.remove(key.as_slice()).map_err(io_of)?;
            }
            for (key, value) in puts {
                state.insert(key.as_slice(), value.as_slice()).map_err(io_of)?;
            }
            let mut parts = tx.open_table(PARTS).map_err(io_of)?;
            for (part, meta) in &changes.parts {
                match meta {
                    Some(meta) => drop(parts.insert(key(*part), meta.encode().as_slice()).map_err(io_of)?),
                    None => drop(parts.remove(key(*part)).map_err(io_of)?),
                }
            }
            let mut heaps = tx.open_table(HEAPS).map_err(io_of)?;
            for (number, meta) in &changes.heaps {
                match meta {
                    Some(m) => drop(heaps.insert(number, (m.end, m.live)).map_err(io_of)?),
                    None => drop(heaps.remove(number).map_err(io_of)?),
                }
            }
            let mut meta = tx.open_table(META).map_err(io_of)?;
            meta.insert("applied", applied).map_err(io_of)?;
        }
        tx.commit().map_err(io_of)
    }
}

fn error(e: redb::Error, corrupt: impl Fn(String) -> OpenError) -> OpenError {
    match e {
        redb::Error::Io(e) => OpenError::Io(e),
        e => corrupt(e.to_string()),
    }
}
