//! Files seen through a layer that keeps every write in memory.

use super::{File, Vfs, read_some};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

const PAGE: u64 = 4096;

/// Reads a file, and keeps what is written to itself: the file below is never changed.
pub struct Overlay {
    below: Arc<dyn File>,
    state: Mutex<State>,
}

struct State {
    len: u64,
    /// How much of the file below still shows through; cut by `set_len`.
    shows: u64,
    pages: HashMap<u64, Vec<u8>>,
}

impl Overlay {
    /// A layer over `below` as it is now.
    pub fn new(below: Arc<dyn File>) -> io::Result<Overlay> {
        let len = below.size()?;
        Ok(Overlay { below, state: Mutex::new(State { len, shows: len, pages: HashMap::new() }) })
    }

    fn page(&self, state: &State, index: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = state.pages.get(&index) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE as usize];
        let at = index * PAGE;
        let take = state.shows.saturating_sub(at).min(PAGE) as usize;
        read_some(&*self.below, at, &mut page[..take])?;
        Ok(page)
    }
}

impl File for Overlay {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if offset >= state.len {
            return Ok(0);
        }
        let in_page = (offset % PAGE) as usize;
        let n = buf.len().min(PAGE as usize - in_page).min((state.len - offset) as usize);
        let page = self.page(&state, offset / PAGE)?;
        buf[..n].copy_from_slice(&page[in_page..in_page + n]);
        Ok(n)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let in_page = (offset % PAGE) as usize;
        let n = buf.len().min(PAGE as usize - in_page);
        let mut page = self.page(&state, offset / PAGE)?;
        page[in_page..in_page + n].copy_from_slice(&buf[..n]);
        state.pages.insert(offset / PAGE, page);
        state.len = state.len.max(offset + n as u64);
        Ok(n)
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if len < state.len {
            state.shows = state.shows.min(len);
            state.pages.retain(|index, _| index * PAGE < len);
            if !len.is_multiple_of(PAGE)
                && let Some(page) = state.pages.get_mut(&(len / PAGE))
            {
                page[(len % PAGE) as usize..].fill(0);
            }
        }
        state.len = len;
        Ok(())
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.len = state.len.max(len);
        Ok(())
    }
    fn size(&self) -> io::Result<u64> {
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner).len)
    }
}

/// A file system that nothing changes: files open as [`Overlay`]s, removals and renames do nothing.
pub struct ReadOnly(pub Arc<dyn Vfs>);

impl Vfs for ReadOnly {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Overlay::new(self.0.open(path)?)?))
    }
    fn create(&self, _path: &Path) -> io::Result<Arc<dyn File>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.0.free_space(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.0.lock(path)
    }
    fn random(&self) -> io::Result<[u8; 16]> {
        self.0.random()
    }
}
