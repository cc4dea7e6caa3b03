//! A disk in memory that fails on demand, the same way for the same seed.
//!
//! It is harsher than most file systems: a synced file whose directory was not synced may have no name, each
//! unsynced 512-byte sector is kept or lost by itself, and after a failed sync the pages look clean but were
//! never written.

use super::{File, Vfs};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR: usize = 512;
const BLOCK: u64 = 4096;
/// How many unsynced contents of one sector a crash may choose from.
const VERSIONS: usize = 4;

/// What goes wrong, and when. Indexes count from 0 since the disk was made or [`Sim::reset_counts`].
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The power goes at this changing operation: it and all later ones fail until [`Sim::crash`].
    pub off_at: Option<u64>,
    /// Bytes the disk can hold.
    pub capacity: Option<u64>,
    /// No space from this allocating operation on ...
    pub full_from: Option<u64>,
    /// ... until this one (for ever if unset).
    pub full_until: Option<u64>,
    /// The sync with this index fails; what it should have written may be lost.
    pub sync_error_at: Option<u64>,
    /// The read with this index fails.
    pub read_error_at: Option<u64>,
    /// The write with this index fails.
    pub write_error_at: Option<u64>,
    /// Writes and reads often do less than asked, or are interrupted.
    pub short: bool,
    /// Syncs of files whose path contains this text do nothing and say that they did (a planted fault).
    pub lie_about: Option<String>,
    /// Directory syncs do nothing and say that they did (a planted fault).
    pub lie_about_dirs: bool,
}

/// How often each kind of operation happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations that change something, syncs included.
    pub changes: u64,
    /// Those that need new space.
    pub allocating: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(u64),
}

#[derive(Default)]
struct Inode {
    data: Vec<u8>,
    disk: Vec<u8>,
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The shortest the file was since the last sync: beyond it, old content is gone if the cut is kept.
    shortest: usize,
    blocks: BTreeSet<u64>,
    path: String,
}

struct DirOp {
    sets: Vec<(PathBuf, Option<Node>)>,
}

struct State {
    now: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<DirOp>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    locks: BTreeSet<PathBuf>,
    faults: Faults,
    counts: Counts,
    off: bool,
    generation: u64,
    rng: u64,
}

/// The simulated disk; clones are the same disk.
#[derive(Clone)]
pub struct Sim(Arc<Mutex<State>>);

struct SimFile {
    sim: Sim,
    inode: u64,
    generation: u64,
}

struct SimLock {
    sim: Sim,
    path: PathBuf,
    generation: u64,
}

fn next(rng: &mut u64) -> u64 {
    *rng = rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *rng;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(28)
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Sim {
    /// An empty disk.
    pub fn new(seed: u64) -> Sim {
        Sim(Arc::new(Mutex::new(State {
            now: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            inodes: BTreeMap::new(),
            next_inode: 1,
            locks: BTreeSet::new(),
            faults: Faults::default(),
            counts: Counts::default(),
            off: false,
            generation: 0,
            rng: seed,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Counts from 0 again.
    pub fn reset_counts(&self) {
        self.state().counts = Counts::default();
    }

    /// Whether the power went.
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// Power loss and return: what was not synced is kept, lost, reordered or torn as `seed` says. Files and
    /// locks held from before are dead. Faults are cleared.
    pub fn crash(&self, seed: u64) {
        let mut guard = self.state();
        let state = &mut *guard;
        let mut rng = seed ^ 0x5bd1_e995;
        // Often all or nothing, otherwise a coin per sector with a bias of its own.
        let mode = next(&mut rng) % 4;
        let bias = next(&mut rng) % 101;
        let keep = |rng: &mut u64| match mode {
            0 => false,
            1 => true,
            _ => next(rng) % 100 < bias,
        };
        for op in std::mem::take(&mut state.pending) {
            if keep(&mut rng) {
                for (path, node) in op.sets {
                    set(&mut state.durable, path, node);
                }
            }
        }
        // What lost its directory is gone.
        let names: Vec<PathBuf> = state.durable.keys().cloned().collect();
        for name in names {
            if let Some(parent) = name.parent()
                && !parent.as_os_str().is_empty()
                && parent != Path::new("/")
                && state.durable.get(parent) != Some(&Node::Dir)
            {
                state.durable.remove(&name);
            }
        }
        for inode in state.inodes.values_mut() {
            let mut data = std::mem::take(&mut inode.disk);
            let (len, shortest) = (inode.data.len(), inode.shortest);
            if (len != data.len() || shortest < data.len()) && keep(&mut rng) {
                data.truncate(shortest.min(len));
                data.resize(len, 0);
            }
            for (sector, versions) in std::mem::take(&mut inode.dirty) {
                let from = sector * SECTOR;
                if from >= data.len() || !keep(&mut rng) {
                    continue;
                }
                let pick =
                    if mode == 1 { versions.len() - 1 } else { next(&mut rng) as usize % versions.len() };
                let n = versions[pick].len().min(data.len() - from);
                data[from..from + n].copy_from_slice(&versions[pick][..n]);
            }
            inode.blocks = (0..(data.len() as u64).div_ceil(BLOCK)).collect();
            inode.shortest = data.len();
            inode.disk = data.clone();
            inode.data = data;
        }
        state.now = state.durable.clone();
        state.collect();
        state.restart();
    }

    /// The process dies and the power stays: everything written is there, nothing more is synced.
    pub fn kill(&self) {
        self.state().restart();
    }

    /// A disk with the same content, everything synced.
    pub fn fork(&self, seed: u64) -> Sim {
        let copy = Sim::new(seed);
        {
            let (from, mut to) = (self.state(), copy.state());
            to.now = from.now.clone();
            to.durable = from.now.clone();
            to.next_inode = from.next_inode;
            for (id, inode) in &from.inodes {
                to.inodes.insert(
                    *id,
                    Inode {
                        data: inode.data.clone(),
                        disk: inode.data.clone(),
                        dirty: BTreeMap::new(),
                        shortest: inode.data.len(),
                        blocks: inode.blocks.clone(),
                        path: inode.path.clone(),
                    },
                );
            }
        }
        copy
    }

    /// The content of a file, for tests.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        match state.now.get(path) {
            Some(Node::File(id)) => state.inodes.get(id).map(|i| i.data.clone()),
            _ => None,
        }
    }

    /// Flips one bit of a file, as a decaying medium would: at once durable.
    pub fn flip(&self, path: &Path, byte: u64, bit: u8) {
        let mut state = self.state();
        if let Some(Node::File(id)) = state.now.get(path).copied()
            && let Some(inode) = state.inodes.get_mut(&id)
        {
            for side in [&mut inode.data, &mut inode.disk] {
                if let Some(b) = side.get_mut(byte as usize) {
                    *b ^= 1 << (bit % 8);
                }
            }
        }
    }

    /// Cuts a file behind the back of whoever uses it.
    pub fn cut(&self, path: &Path, len: u64) {
        let mut state = self.state();
        if let Some(Node::File(id)) = state.now.get(path).copied()
            && let Some(inode) = state.inodes.get_mut(&id)
        {
            inode.data.truncate(len as usize);
            inode.disk.truncate(len as usize);
            inode.shortest = inode.shortest.min(len as usize);
        }
    }

    /// Every file, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().now.iter().filter(|(_, n)| **n != Node::Dir).map(|(p, _)| p.clone()).collect()
    }
}

fn set(map: &mut BTreeMap<PathBuf, Node>, path: PathBuf, node: Option<Node>) {
    match node {
        Some(node) => map.insert(path, node),
        None => map.remove(&path),
    };
}

impl State {
    fn restart(&mut self) {
        self.locks.clear();
        self.faults = Faults::default();
        self.counts = Counts::default();
        self.off = false;
        self.generation += 1;
    }

    /// Forgets inodes that no name reaches.
    fn collect(&mut self) {
        let mut live = BTreeSet::new();
        for node in self.now.values().chain(self.durable.values()) {
            if let Node::File(id) = node {
                live.insert(*id);
            }
        }
        for op in &self.pending {
            for (_, node) in &op.sets {
                if let Some(Node::File(id)) = node {
                    live.insert(*id);
                }
            }
        }
        self.inodes.retain(|id, _| live.contains(id));
    }

    /// Counts a changing operation; an error if the power is off. `true`: the power goes with this one.
    fn change(&mut self) -> io::Result<bool> {
        if self.off {
            return Err(off());
        }
        let index = self.counts.changes;
        self.counts.changes += 1;
        self.off = self.faults.off_at == Some(index);
        Ok(self.off)
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(|i| i.blocks.len() as u64 * BLOCK).sum()
    }

    /// Room for `blocks` more; how many of them there are.
    fn allocate(&mut self, blocks: u64) -> io::Result<u64> {
        if blocks == 0 {
            return Ok(0);
        }
        let index = self.counts.allocating;
        self.counts.allocating += 1;
        if let Some(from) = self.faults.full_from
            && index >= from
            && self.faults.full_until.is_none_or(|until| index < until)
        {
            return Err(full());
        }
        let Some(capacity) = self.faults.capacity else { return Ok(blocks) };
        match (capacity.saturating_sub(self.used()) / BLOCK).min(blocks) {
            0 => Err(full()),
            n => Ok(n),
        }
    }

    fn name(&mut self, sets: Vec<(PathBuf, Option<Node>)>) {
        for (path, node) in &sets {
            set(&mut self.now, path.clone(), *node);
        }
        self.pending.push(DirOp { sets });
    }
}

impl SimFile {
    fn with<T>(&self, f: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.sim.state();
        if state.generation != self.generation || !state.inodes.contains_key(&self.inode) {
            return Err(off());
        }
        f(&mut state, self.inode)
    }
}

impl File for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.with(|state, id| {
            if state.off {
                return Err(off());
            }
            let index = state.counts.reads;
            state.counts.reads += 1;
            if state.faults.read_error_at == Some(index) {
                return Err(eio());
            }
            let mut want = buf.len();
            if state.faults.short {
                match next(&mut state.rng) % 4 {
                    0 => return Err(io::ErrorKind::Interrupted.into()),
                    1 if want > 1 => want = 1 + next(&mut state.rng) as usize % want,
                    _ => {}
                }
            }
            let data = &state.inodes[&id].data;
            let from = (offset as usize).min(data.len());
            let n = want.min(data.len() - from);
            buf[..n].copy_from_slice(&data[from..from + n]);
            Ok(n)
        })
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize> {
        self.with(|state, id| {
            let dies = state.change()?;
            let index = state.counts.writes;
            state.counts.writes += 1;
            if state.faults.write_error_at == Some(index) {
                return Err(eio());
            }
            let mut n = buf.len();
            if state.faults.short {
                match next(&mut state.rng) % 4 {
                    0 => return Err(io::ErrorKind::Interrupted.into()),
                    1 if n > 1 => n = 1 + next(&mut state.rng) as usize % n,
                    _ => {}
                }
            }
            if n == 0 {
                return Ok(0);
            }
            let span = offset / BLOCK..(offset + n as u64).div_ceil(BLOCK);
            let new: Vec<u64> = span.filter(|b| !state.inodes[&id].blocks.contains(b)).collect();
            let got = state.allocate(new.len() as u64)? as usize;
            if got < new.len() {
                // As much as fits, as a file system would.
                n = (new[got] * BLOCK).saturating_sub(offset) as usize;
                if n == 0 {
                    return Err(full());
                }
            }
            let Some(inode) = state.inodes.get_mut(&id) else { return Err(off()) };
            inode.blocks.extend(&new[..got]);
            let (from, to) = (offset as usize, offset as usize + n);
            if inode.data.len() < to {
                inode.data.resize(to, 0);
            }
            inode.data[from..to].copy_from_slice(&buf[..n]);
            for sector in from / SECTOR..to.div_ceil(SECTOR) {
                let end = ((sector + 1) * SECTOR).min(inode.data.len());
                let content = inode.data[sector * SECTOR..end].to_vec();
                let versions = inode.dirty.entry(sector).or_default();
                if versions.len() == VERSIONS {
                    versions.remove(0);
                }
                versions.push(content);
            }
            if dies { Err(off()) } else { Ok(n) }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state, id| {
            if state.change()? {
                return Err(off());
            }
            let index = state.counts.syncs;
            state.counts.syncs += 1;
            let fails = state.faults.sync_error_at == Some(index);
            let mut rng = state.rng;
            let lie = state.faults.lie_about.clone();
            let Some(inode) = state.inodes.get_mut(&id) else { return Err(off()) };
            if lie.is_some_and(|text| inode.path.contains(&text)) {
                return Ok(());
            }
            if inode.shortest < inode.disk.len() {
                inode.disk.truncate(inode.shortest);
            }
            inode.disk.resize(inode.data.len(), 0);
            for sector in std::mem::take(&mut inode.dirty).into_keys() {
                if fails && next(&mut rng).is_multiple_of(2) {
                    continue;
                }
                let end = ((sector + 1) * SECTOR).min(inode.data.len());
                if sector * SECTOR < end {
                    inode.disk[sector * SECTOR..end].copy_from_slice(&inode.data[sector * SECTOR..end]);
                }
            }
            inode.shortest = inode.data.len();
            state.rng = rng;
            if fails { Err(eio()) } else { Ok(()) }
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state, id| {
            let dies = state.change()?;
            let Some(inode) = state.inodes.get_mut(&id) else { return Err(off()) };
            inode.data.resize(len as usize, 0);
            inode.shortest = inode.shortest.min(len as usize);
            inode.dirty.retain(|sector, _| ((sector * SECTOR) as u64) < len);
            inode.blocks.retain(|b| b * BLOCK < len);
            if dies { Err(off()) } else { Ok(()) }
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.with(|state, id| {
            let dies = state.change()?;
            let span = 0..len.div_ceil(BLOCK);
            let new: Vec<u64> = span.filter(|b| !state.inodes[&id].blocks.contains(b)).collect();
            if (state.allocate(new.len() as u64)? as usize) < new.len() {
                return Err(full());
            }
            let Some(inode) = state.inodes.get_mut(&id) else { return Err(off()) };
            inode.blocks.extend(new);
            if inode.data.len() < len as usize {
                inode.data.resize(len as usize, 0);
            }
            if dies { Err(off()) } else { Ok(()) }
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|state, id| if state.off { Err(off()) } else { Ok(state.inodes[&id].data.len() as u64) })
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.sim.state();
        if state.generation == self.generation {
            state.locks.remove(&self.path);
        }
    }
}

impl Vfs for Sim {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let state = self.state();
        if state.off {
            return Err(off());
        }
        match state.now.get(path) {
            Some(Node::File(id)) => {
                Ok(Arc::new(SimFile { sim: self.clone(), inode: *id, generation: state.generation }))
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        let dies = state.change()?;
        if state.now.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if let Some(parent) = path.parent()
            && state.now.get(parent) != Some(&Node::Dir)
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        let id = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(id, Inode { path: path.display().to_string(), ..Inode::default() });
        state.name(vec![(path.to_path_buf(), Some(Node::File(id)))]);
        if dies {
            return Err(off());
        }
        Ok(Arc::new(SimFile { sim: self.clone(), inode: id, generation: state.generation }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let dies = state.change()?;
        let Some(node) = state.now.get(from).copied() else { return Err(io::ErrorKind::NotFound.into()) };
        state.name(vec![(from.to_path_buf(), None), (to.to_path_buf(), Some(node))]);
        if let Node::File(id) = node
            && let Some(inode) = state.inodes.get_mut(&id)
        {
            inode.path = to.display().to_string();
        }
        if dies { Err(off()) } else { Ok(()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let dies = state.change()?;
        if !matches!(state.now.get(path), Some(Node::File(_))) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.name(vec![(path.to_path_buf(), None)]);
        if dies { Err(off()) } else { Ok(()) }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut missing: Vec<PathBuf> = path
            .ancestors()
            .filter(|a| !a.as_os_str().is_empty() && *a != Path::new("/") && !state.now.contains_key(*a))
            .map(Path::to_path_buf)
            .collect();
        while let Some(dir) = missing.pop() {
            let dies = state.change()?;
            state.name(vec![(dir, Some(Node::Dir))]);
            if dies {
                return Err(off());
            }
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let dies = state.change()?;
        if state.now.keys().any(|p| p.parent() == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.name(vec![(path.to_path_buf(), None)]);
        if dies { Err(off()) } else { Ok(()) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if state.off {
            return Err(off());
        }
        if state.now.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = state.now.keys().filter(|p| p.parent() == Some(dir));
        Ok(names.filter_map(|p| Some(p.file_name()?.to_str()?.to_string())).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.change()? {
            return Err(off());
        }
        if state.faults.lie_about_dirs {
            return Ok(());
        }
        let pending = std::mem::take(&mut state.pending);
        for op in pending {
            if op.sets.iter().any(|(path, _)| path.parent() == Some(dir)) {
                for (path, node) in op.sets {
                    set(&mut state.durable, path, node);
                }
            } else {
                state.pending.push(op);
            }
        }
        Ok(())
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.faults.capacity.map_or(1 << 40, |c| c.saturating_sub(state.used())))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.state();
        if state.off {
            return Err(off());
        }
        if !state.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { sim: self.clone(), path: path.to_path_buf(), generation: state.generation }))
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut state = self.state();
        let (a, b) = (next(&mut state.rng), next(&mut state.rng));
        let mut out = [0; 16];
        out[..8].copy_from_slice(&a.to_le_bytes());
        out[8..].copy_from_slice(&b.to_le_bytes());
        Ok(out)
    }
}
