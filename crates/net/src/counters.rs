//! Counts of connections, for metrics and limits.

use sb_board::Board;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Atomic counts.
#[derive(Default)]
pub struct NetCounters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections refused because there were too many.
    pub refused: AtomicU64,
    /// Connections closed because no enabled protocol begins like that, or nothing came in time.
    pub unrecognised: AtomicU64,
    /// Panics caught in handlers and connections: faults of ours.
    pub panics: AtomicU64,
    /// HTTP requests answered.
    pub requests: AtomicU64,
    open: Vec<(&'static str, AtomicU64)>,
    all: AtomicU64,
}

impl NetCounters {
    /// Counters for these protocols, `http` and `websocket`.
    pub fn new(protocols: impl IntoIterator<Item = &'static str>) -> Arc<Self> {
        let mut open: Vec<(&'static str, AtomicU64)> = Vec::new();
        for name in ["http", "websocket"].into_iter().chain(protocols) {
            if !open.iter().any(|(known, _)| *known == name) {
                open.push((name, AtomicU64::new(0)));
            }
        }
        Arc::new(NetCounters { open, ..NetCounters::default() })
    }

    /// Open connections by protocol.
    pub fn open(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.open.iter().map(|(name, n)| (*name, n.load(Ordering::Relaxed)))
    }

    /// Open connections, recognised or not.
    pub fn connections(&self) -> u64 {
        self.all.load(Ordering::Relaxed)
    }

    /// Counts one open connection until the guard is dropped.
    pub(crate) fn connected(self: &Arc<Self>, most: u64) -> Option<Open> {
        if self.all.fetch_add(1, Ordering::Relaxed) >= most {
            self.all.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Some(Open { counters: self.clone(), index: None, board: None })
    }

    /// Counts one open connection of a protocol until the guard is dropped.
    pub(crate) fn speaking(self: &Arc<Self>, name: &str) -> Option<Open> {
        let index = self.open.iter().position(|(known, _)| *known == name)?;
        self.open[index].1.fetch_add(1, Ordering::Relaxed);
        Some(Open { counters: self.clone(), index: Some(index), board: None })
    }

    pub(crate) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// An open connection.
pub(crate) struct Open {
    counters: Arc<NetCounters>,
    index: Option<usize>,
    board: Option<Arc<Board>>,
}

impl Open {
    /// Counts it on the board, too: that is what the server's status shows.
    pub(crate) fn on_board(mut self, board: Arc<Board>) -> Self {
        board.counters().connections.fetch_add(1, Ordering::Relaxed);
        board.counters().accepted.fetch_add(1, Ordering::Relaxed);
        self.board = Some(board);
        self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(board) = &self.board {
            board.counters().connections.fetch_sub(1, Ordering::Relaxed);
        }
        let count = match self.index {
            Some(index) => self.counters.open.get(index).map(|(_, n)| n),
            None => Some(&self.counters.all),
        };
        if let Some(count) = count {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
