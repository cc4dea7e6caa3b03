//! Verifies a data directory that no server has open, and changes nothing in it: every frame of the journal,
//! every page of the checkpoint, every batch.

use crate::local::journal::files;
use crate::local::scan::{Dropped, scan};
use crate::local::state::State;
use crate::local::{Lsn, OpenError, Options, Store};
use crate::vfs::{Disk, ReadOnly, Vfs};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The file.
    pub file: PathBuf,
    /// First damaged byte, as far as is known.
    pub from: u64,
    /// First byte that may be intact again.
    pub to: u64,
    /// What is wrong, and what it concerns.
    pub why: String,
}

/// What a directory holds and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The checkpoint's LSN.
    pub applied: Lsn,
    /// Keys of the checkpoint's state.
    pub keys: u64,
    /// Journal files that are still needed.
    pub journal_files: u64,
    /// Intact frames in them.
    pub frames: u64,
    /// Their first LSN; 0 if there is none.
    pub first: Lsn,
    /// Their last LSN; 0 if there is none.
    pub last: Lsn,
    /// The journal ends with a seal.
    pub sealed: bool,
    /// An unfinished frame at the end, which is no damage: nobody was promised it.
    pub torn: Option<Dropped>,
    /// Partitions that the checkpoint knows.
    pub partitions: u64,
    /// Intact batches in them.
    pub batches: u64,
    /// Bytes verified in segments and heap files.
    pub bytes: u64,
    /// Everything that is wrong.
    pub damage: Vec<Damaged>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "checkpoint  LSN {}, {} keys", self.applied, self.keys)?;
        writeln!(
            f,
            "journal     {} files, {} frames, LSN {} to {}, {}",
            self.journal_files,
            self.frames,
            self.first,
            self.last,
            if self.sealed { "sealed" } else { "not sealed" }
        )?;
        if let Some(t) = &self.torn {
            writeln!(
                f,
                "            unfinished frame LSN {} at byte {} of {}",
                t.lsn,
                t.from,
                t.file.display()
            )?;
        }
        writeln!(
            f,
            "segments    {} partitions, {} batches, {} bytes",
            self.partitions, self.batches, self.bytes
        )?;
        for d in &self.damage {
            writeln!(f, "DAMAGE      {} bytes {} to {}: {}", d.file.display(), d.from, d.to, d.why)?;
        }
        write!(f, "{}", if self.damage.is_empty() { "no damage" } else { "the directory is damaged" })
    }
}

/// Why a directory was not checked.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckError {
    /// A server has it open.
    Locked,
    /// It is not a data directory.
    NotALog(PathBuf),
    /// Reading failed.
    Io(io::Error),
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckError::Locked => f.write_str("a server has the data directory open"),
            CheckError::NotALog(dir) => write!(f, "{} is not a data directory", dir.display()),
            CheckError::Io(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for CheckError {}

impl From<io::Error> for CheckError {
    fn from(e: io::Error) -> CheckError {
        CheckError::Io(e)
    }
}

/// Checks a directory on the real file system.
pub fn run(dir: &Path) -> Result<Report, CheckError> {
    run_on(Arc::new(Disk), dir)
}

/// Checks a directory on any file system.
pub fn run_on(vfs: Arc<dyn Vfs>, dir: &Path) -> Result<Report, CheckError> {
    let names = match vfs.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(CheckError::NotALog(dir.into())),
        other => other?,
    };
    if !names.iter().any(|n| n == "journal") {
        return Err(CheckError::NotALog(dir.into()));
    }
    let _lock = vfs.lock(&dir.join("LOCK")).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => CheckError::Locked,
        _ => CheckError::Io(e),
    })?;
    let vfs: Arc<dyn Vfs> = Arc::new(ReadOnly(vfs));
    let options = Options::default();
    let mut report = Report::default();
    let path = dir.join("state.redb");
    let loaded = match State::open(&vfs, &path, &options).and_then(|s| s.load()) {
        Ok(loaded) => Some(loaded),
        Err(OpenError::Io(e)) if e.kind() == io::ErrorKind::NotFound => {
            report.add(OpenError::Corrupt {
                file: path,
                from: 0,
                to: 0,
                why: "the checkpoint is missing".into(),
            })?;
            None
        }
        Err(e) => {
            report.add(e)?;
            None
        }
    };
    if let Some(loaded) = &loaded {
        report.applied = loaded.applied;
        report.keys = loaded.state.len() as u64;
        report.partitions = loaded.parts.len() as u64;
    }
    report.journal(&*vfs, &dir.join("journal"), loaded.is_some())?;
    if let Some(loaded) = loaded {
        report.store(vfs, &dir.join("segments"), &options, loaded.parts, loaded.heaps)?;
    }
    Ok(report)
}

impl Report {
    /// Notes damage; passes on what is no damage.
    fn add(&mut self, e: OpenError) -> Result<(), CheckError> {
        match e {
            OpenError::Corrupt { file, from, to, why } => self.damage.push(Damaged { file, from, to, why }),
            OpenError::Newer { file, version } => self.damage.push(Damaged {
                file,
                from: 0,
                to: 0,
                why: format!("format {version} is newer than this version of Switchboard"),
            }),
            OpenError::Locked => return Err(CheckError::Locked),
            OpenError::Io(e) => return Err(CheckError::Io(e)),
        }
        Ok(())
    }

    fn journal(&mut self, vfs: &dyn Vfs, dir: &Path, known: bool) -> Result<(), CheckError> {
        // Without a checkpoint nobody knows where the journal has to begin: all of it is looked at.
        let from = known.then_some(self.applied);
        let opened = match files(vfs, dir, from) {
            Ok((opened, _)) => opened,
            Err(e) => return self.add(e),
        };
        self.journal_files = opened.len() as u64;
        if known && opened.is_empty() {
            let why = "there is no journal file".to_string();
            self.damage.push(Damaged { file: dir.to_path_buf(), from: 0, to: 0, why });
        }
        for (i, o) in opened.iter().enumerate() {
            let next = opened.get(i + 1).map(|n| &n.head);
            let (mut frames, mut first, mut last) = (0, 0, 0);
            let scanned = scan(o, next, &mut |lsn, _| {
                frames += 1;
                first = if first == 0 { lsn } else { first };
                last = lsn;
                Ok(true)
            });
            self.frames += frames;
            self.first = if self.first == 0 { first } else { self.first };
            self.last = self.last.max(last);
            match scanned {
                Ok(s) if next.is_none() => {
                    self.sealed = s.sealed;
                    self.torn = s.dropped;
                    if known && self.applied > s.last {
                        self.damage.push(Damaged {
                            file: o.path.clone(),
                            from: s.end,
                            to: o.head.len,
                            why: format!("LSN {} to {} are missing", s.last + 1, self.applied),
                        });
                    }
                }
                Ok(_) => {}
                Err(e) => self.add(e)?,
            }
        }
        Ok(())
    }

    fn store(
        &mut self,
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        options: &Options,
        parts: BTreeMap<crate::PartId, crate::local::store::PartMeta>,
        heaps: BTreeMap<u32, crate::local::heap::HeapMeta>,
    ) -> Result<(), CheckError> {
        let store = match Store::open(vfs, dir, options, parts, heaps) {
            Ok(store) => store,
            Err(e) => return self.add(e),
        };
        let scrubbed = store.scrub(u64::MAX);
        self.batches = scrubbed.batches;
        self.bytes = scrubbed.bytes;
        for d in scrubbed.damage {
            let why =
                format!("offset {} of partition {}-{}: {}", d.offset, d.part.topic, d.part.partition, d.why);
            self.damage.push(Damaged { file: d.file, from: d.from, to: d.to, why });
        }
        Ok(())
    }
}
