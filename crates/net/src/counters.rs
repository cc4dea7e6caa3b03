//! Counts of connections, for metrics and limits. What people see of them is kept with the board's counters.

use sb_board::counters::Counters;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Atomic counts.
#[derive(Default)]
pub struct NetCounters {
    /// Where connections, accepted connections and panics are counted.
    pub board: Arc<Counters>,
    /// Connections refused because there were too many.
    pub refused: AtomicU64,
    /// Connections closed because no enabled protocol begins like that, or nothing came in time.
    pub unrecognised: AtomicU64,
    /// HTTP requests answered.
    pub requests: AtomicU64,
    open: Vec<(&'static str, AtomicU64)>,
}

impl NetCounters {
    /// Counters for these protocols, `http` and `websocket`, beside those of the board.
    pub fn new(protocols: impl IntoIterator<Item = &'static str>, board: Arc<Counters>) -> Arc<Self> {
        let mut open: Vec<(&'static str, AtomicU64)> = Vec::new();
        for name in ["http", "websocket"].into_iter().chain(protocols) {
            if !open.iter().any(|(known, _)| *known == name) {
                open.push((name, AtomicU64::new(0)));
            }
        }
        Arc::new(NetCounters { open, board, ..NetCounters::default() })
    }

    /// Open connections by protocol.
    pub fn open(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.open.iter().map(|(name, n)| (*name, n.load(Ordering::Relaxed)))
    }

    /// Open connections, recognised or not.
    pub fn connections(&self) -> u64 {
        self.board.connections.load(Ordering::Relaxed)
    }

    /// Counts one open connection until the guard is dropped.
    pub(crate) fn connected(self: &Arc<Self>, most: u64) -> Option<Open> {
        if self.board.connections.fetch_add(1, Ordering::Relaxed) >= most {
            self.board.connections.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.board.accepted.fetch_add(1, Ordering::Relaxed);
        Some(Open { counters: self.clone(), index: None })
    }

    /// Counts one open connection of a protocol until the guard is dropped.
    pub(crate) fn speaking(self: &Arc<Self>, name: &str) -> Option<Open> {
        let index = self.open.iter().position(|(known, _)| *known == name)?;
        self.open[index].1.fetch_add(1, Ordering::Relaxed);
        Some(Open { counters: self.clone(), index: Some(index) })
    }

    /// Counts a panic that was caught in a handler or on a connection: a fault of ours.
    pub(crate) fn panicked(&self) {
        self.board.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// An open connection.
pub(crate) struct Open {
    counters: Arc<NetCounters>,
    index: Option<usize>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let count = match self.index {
            Some(index) => self.counters.open.get(index).map(|(_, n)| n),
            None => Some(&self.counters.board.connections),
        };
        if let Some(count) = count {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
