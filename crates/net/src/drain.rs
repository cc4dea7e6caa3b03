//! Leaving: one signal that every connection sees, told in small portions so that thousands of clients do not come back in one
//! instant, and a second one that ends what has not ended.

use futures_util::task::AtomicWaker;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

const DRAINING: u8 = 1;
const KILLED: u8 = 2;

#[derive(Default)]
struct Slot {
    state: AtomicU8,
    drain: AtomicWaker,
    kill: AtomicWaker,
}

#[derive(Default)]
struct Slots {
    next: u64,
    /// What new tickets begin with.
    state: u8,
    open: HashMap<u64, Arc<Slot>>,
}

/// The signal.
#[derive(Default)]
pub struct Drain {
    slots: Mutex<Slots>,
}

/// A connection's view of the signal. One task polls it.
pub struct Ticket {
    drain: Arc<Drain>,
    id: u64,
    slot: Arc<Slot>,
}

impl Drain {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A ticket for a new connection.
    pub fn ticket(self: &Arc<Self>) -> Ticket {
        let slot = Arc::new(Slot::default());
        let mut slots = self.lock();
        slot.state.store(slots.state, Ordering::Release);
        slots.next += 1;
        let id = slots.next;
        slots.open.insert(id, slot.clone());
        Ticket { drain: self.clone(), id, slot }
    }

    /// Connections that have not ended.
    pub fn open(&self) -> usize {
        self.lock().open.len()
    }

    /// Tells everyone, spread over `spread`, and waits until all have ended or `deadline` has passed since the beginning; then ends
    /// what is left. Says how many that were.
    pub async fn run(&self, spread: Duration, deadline: Duration) -> usize {
        let end = tokio::time::Instant::now() + deadline;
        let all = self.raise(DRAINING);
        let portion = all.len().div_ceil(50).max(64);
        let pause = spread.min(deadline) / 50;
        for (i, slots) in all.chunks(portion).enumerate() {
            if i > 0 {
                tokio::time::sleep_until((tokio::time::Instant::now() + pause).min(end)).await;
            }
            for slot in slots {
                slot.state.fetch_max(DRAINING, Ordering::AcqRel);
                slot.drain.wake();
            }
        }
        drop(all);
        while self.open() > 0 && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = self.raise(KILLED);
        for slot in &left {
            slot.state.fetch_max(KILLED, Ordering::AcqRel);
            slot.drain.wake();
            slot.kill.wake();
        }
        left.len()
    }

    fn raise(&self, state: u8) -> Vec<Arc<Slot>> {
        let mut slots = self.lock();
        slots.state = state;
        slots.open.values().cloned().collect()
    }
}

impl Ticket {
    /// Ready when this connection is to say good-bye.
    pub fn poll_draining(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(DRAINING, &self.slot.drain, cx)
    }

    /// Ready when this connection is to end at once.
    pub fn poll_killed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(KILLED, &self.slot.kill, cx)
    }

    /// Whether the deadline has passed.
    pub fn killed(&self) -> bool {
        self.slot.state.load(Ordering::Acquire) >= KILLED
    }

    fn poll(&self, state: u8, waker: &AtomicWaker, cx: &mut Context<'_>) -> Poll<()> {
        if self.slot.state.load(Ordering::Acquire) >= state {
            return Poll::Ready(());
        }
        waker.register(cx.waker());
        if self.slot.state.load(Ordering::Acquire) >= state { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.drain.lock().open.remove(&self.id);
    }
}
