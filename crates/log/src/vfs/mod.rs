//! The only door to a disk.
//!
//! [`Disk`] is the real one. [`Sim`] is a deterministic one in memory that can be switched off at any
//! operation and then keeps, loses, reorders or tears what was not synced. [`Overlay`] reads a real one and
//! keeps every write to itself, for checking a directory without touching it.

mod disk;
mod overlay;
mod sim;

pub use disk::Disk;
pub use overlay::{Overlay, ReadOnly};
pub use sim::{Counts, Faults, Sim};

use std::io;
use std::path::Path;
use std::sync::Arc;

/// An open file. Positions are explicit; nothing here has a cursor.
pub trait File: Send + Sync {
    /// Reads at most `buf.len()` bytes; 0 at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Writes at most `buf.len()` bytes and says how many; extends the file if need be.
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize>;
    /// Returns when the content and the length are on stable storage. An error is final: the system may
    /// have forgotten which pages were dirty, so a second call that succeeds proves nothing.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Extends the file to `len` with its space reserved.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// The length in bytes.
    fn size(&self) -> io::Result<u64>;
}

/// A file system.
pub trait Vfs: Send + Sync {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Creates a file that must not exist.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Renames a file, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory and its parents; fine if it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals in this directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that may still be allocated.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
    /// The size of the file system that holds this directory, or of the nearest one above that exists.
    fn total_space(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
    /// Takes an exclusive lock, held until the returned guard is dropped; `WouldBlock` if another holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// 128 unpredictable bits, for salts.
    fn random(&self) -> io::Result<[u8; 16]>;
}

/// Fills `buf` from `offset`; `UnexpectedEof` if the file ends before.
pub fn read_full(file: &dyn File, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(offset, buf) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                offset += n as u64;
                buf = &mut buf[n..];
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads as much of `buf` as the file has from `offset`; returns how much.
pub fn read_some(file: &dyn File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(offset + done as u64, &mut buf[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes all of `buf` at `offset`.
pub fn write_full(file: &dyn File, mut offset: u64, mut buf: &[u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match file.write_at(offset, buf) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                offset += n as u64;
                buf = &buf[n..];
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether an error says that there is no space left (disk or quota).
pub fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
