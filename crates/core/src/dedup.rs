//! Idempotency keys: what a key's first use gave, kept in buckets of time and forgotten by time alone.

use crate::checkpoint::Dirty;
use crate::frame::Given;
use crate::model::Result;
use crate::ops::Dedup;
use crate::state::Map;
use crate::wire::{Decode, Wire, wire};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many keys are remembered.
const QUOTA: usize = 2_000_000;
/// A bucket's span.
const BUCKET_MS: i64 = 60_000;
/// Entries of a bucket that a checkpoint writes as one.
const CHUNK: usize = 512;

/// One key.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: Arc<str>,
    pub fingerprint: u128,
    pub until: i64,
    pub given: Vec<Given>,
}
wire!(Entry { key, fingerprint, until, given });

impl Wire for Arc<Entry> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
    fn get(r: &mut sb_wirekit::Reader<'_>) -> Decode<Self> {
        Ok(Arc::new(Entry::get(r)?))
    }
}

pub(crate) type Chunk = Arc<Vec<Arc<Entry>>>;

/// All keys.
#[derive(Default)]
pub(crate) struct Dedups {
    keys: Map<Arc<str>, Arc<Entry>>,
    pub buckets: BTreeMap<u64, Vec<Chunk>>,
    /// Those whose effect was in memory only.
    memory: BTreeMap<u64, Vec<Arc<Entry>>>,
}

/// Scope and key as one; a byte that cannot be in UTF-8 text of either keeps them apart by length.
pub(crate) fn join(scope: &str, key: &str) -> Arc<str> {
    Arc::from(format!("{} {scope}{key}", scope.len()))
}

fn bucket(until: i64) -> u64 {
    (until / BUCKET_MS + 1).max(0) as u64
}

/// When a bucket can go.
fn over(bucket: u64) -> i64 {
    i64::try_from(bucket).unwrap_or(i64::MAX).saturating_mul(BUCKET_MS)
}

impl Dedups {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn get(&self, key: &str, wall_ms: i64) -> Option<&Entry> {
        self.keys.get(key).map(|e| &**e).filter(|e| e.until > wall_ms)
    }

    pub fn check_quota(&self, _dedup: &Dedup) -> Result<()> {
        if self.keys.len() < QUOTA {
            return Ok(());
        }
        Err(crate::refuse::exhausted("2,000,000 idempotency keys are remembered, which is the most")
            .fix("Wait until the window of older ones is over, or send without a key"))
    }

    pub fn insert(&mut self, entry: Entry, memory: bool, dirty: &mut Dirty) {
        let entry = Arc::new(entry);
        let n = bucket(entry.until);
        self.keys.insert(entry.key.clone(), entry.clone());
        if memory {
            self.memory.entry(n).or_default().push(entry);
            return;
        }
        let chunks = self.buckets.entry(n).or_default();
        if chunks.last().is_none_or(|c| c.len() >= CHUNK) {
            chunks.push(Arc::new(Vec::new()));
        }
        let at = chunks.len() - 1;
        Arc::make_mut(&mut chunks[at]).push(entry);
        dirty.dedup.insert((n, at as u32));
    }

    /// Takes a chunk that a checkpoint has written.
    pub fn restore(&mut self, n: u64, at: u32, chunk: Chunk) -> Decode<()> {
        for entry in chunk.iter() {
            if bucket(entry.until) != n {
                return Err(crate::wire::Bad("a key in the wrong bucket"));
            }
            let newer = self.keys.get(&entry.key).is_none_or(|known| known.until <= entry.until);
            if newer {
                self.keys.insert(entry.key.clone(), entry.clone());
            }
        }
        let chunks = self.buckets.entry(n).or_default();
        if chunks.len() != at as usize {
            return Err(crate::wire::Bad("chunks of a bucket out of order"));
        }
        chunks.push(chunk);
        Ok(())
    }

    /// The first bucket, and when it can go.
    pub fn first(&self) -> Option<(u64, i64)> {
        let first = self.buckets.keys().next().into_iter().chain(self.memory.keys().next()).min()?;
        Some((*first, over(*first)))
    }

    /// Forgets a bucket.
    pub fn drop_bucket(&mut self, n: u64, dirty: &mut Dirty) {
        let chunks = self.buckets.remove(&n).unwrap_or_default();
        for at in 0..chunks.len() {
            dirty.dedup.insert((n, at as u32));
        }
        let memory = self.memory.remove(&n).unwrap_or_default();
        for entry in chunks.iter().flat_map(|c| c.iter()).chain(&memory) {
            if self.keys.get(&entry.key).is_some_and(|known| Arc::ptr_eq(known, entry)) {
                self.keys.remove(&entry.key);
            }
        }
    }
}
