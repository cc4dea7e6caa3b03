//! Counts a method's calls: how many, how they ended, how long they took. Labels are the names of described methods, so the set is closed.

use super::{Code, End, Part, Parts, Reply, Status, metadata};
use futures_util::Stream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant as Clock};
use tokio::time::{Instant, Sleep};

/// Upper bounds of the buckets of durations, in microseconds.
pub const BOUNDS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// The counters of one method.
#[derive(Default)]
pub struct Meter {
    running: AtomicU64,
    /// By code; 0 is success.
    ended: [AtomicU64; 17],
    took: [AtomicU64; BOUNDS.len() + 1],
    took_us: AtomicU64,
}

/// What a [`Meter`] shows.
#[derive(Clone, Debug, Default)]
pub struct MethodCounts {
    /// Calls that run now.
    pub running: u64,
    /// Calls that succeeded.
    pub succeeded: u64,
    /// Calls that failed, by code; only codes that occurred.
    pub failed: Vec<(Code, u64)>,
    /// Calls by duration: for each bound of [`BOUNDS`] those up to it, then all. Cumulative.
    pub took: Vec<u64>,
    /// The sum of all durations, in microseconds.
    pub took_us: u64,
}

impl Meter {
    /// The numbers as they are now.
    pub fn counts(&self) -> MethodCounts {
        let at = |n: usize| self.ended.get(n).map_or(0, |c| c.load(Relaxed));
        let failed =
            Code::ALL.into_iter().map(|c| (c, at(c.number() as usize))).filter(|(_, n)| *n > 0).collect();
        let mut total = 0;
        let took = self.took.iter().map(|cell| {
            total += cell.load(Relaxed);
            total
        });
        MethodCounts {
            running: self.running.load(Relaxed),
            succeeded: at(0),
            failed,
            took: took.collect(),
            took_us: self.took_us.load(Relaxed),
        }
    }

    /// A call begins; it is counted when the value is told how it ended, or dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Relaxed);
        Running { meter: self.clone(), began: Clock::now(), ended: false }
    }
}

/// A call that is being counted.
pub(crate) struct Running {
    meter: Arc<Meter>,
    began: Clock,
    ended: bool,
}

impl Running {
    /// How it ended.
    pub(crate) fn end(&mut self, status: Option<&Status>) {
        self.note(status.map(|s| s.code));
    }

    fn note(&mut self, code: Option<Code>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let meter = &self.meter;
        meter.running.fetch_sub(1, Relaxed);
        if let Some(cell) = meter.ended.get(code.map_or(0, |c| c.number() as usize)) {
            cell.fetch_add(1, Relaxed);
        }
        let bucket = BOUNDS.iter().position(|b| us <= *b).unwrap_or(BOUNDS.len());
        if let Some(cell) = meter.took.get(bucket) {
            cell.fetch_add(1, Relaxed);
        }
        meter.took_us.fetch_add(us, Relaxed);
    }
}

/// Who drops a call before its end has cancelled it.
impl Drop for Running {
    fn drop(&mut self) {
        self.note(Some(Code::Cancelled));
    }
}

/// A reply that is counted, and ended when the deadline has passed.
pub(crate) fn watch(reply: Reply, running: Option<Running>, deadline: Option<Instant>) -> Reply {
    let sleep = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
    Reply { metadata: reply.metadata, parts: Box::pin(Watched { parts: Some(reply.parts), running, sleep }) }
}

/// What a caller is told whose deadline has passed.
pub(crate) fn too_late() -> Status {
    Status::new(Code::DeadlineExceeded, "the call's deadline has passed")
}

struct Watched {
    /// `None` when it has ended; what made it is dropped then.
    parts: Option<Parts>,
    running: Option<Running>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Stream for Watched {
    type Item = Part;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        let this = &mut *self;
        let Some(parts) = &mut this.parts else { return Poll::Ready(None) };
        let mut part = match parts.as_mut().poll_next(cx) {
            Poll::Ready(Some(part)) => part,
            Poll::Ready(None) => {
                Part::End(Status::new(Code::Internal, "the service's answer has no end").into())
            }
            Poll::Pending => match this.sleep.as_mut().map(|sleep| sleep.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => Part::End(too_late().into()),
                _ => return Poll::Pending,
            },
        };
        if let Part::End(End { status, trailers }) = &mut part {
            metadata::clean(trailers);
            if let Some(running) = &mut this.running {
                running.end(status.as_ref());
            }
            this.parts = None;
        }
        Poll::Ready(Some(part))
    }
}

use std::future::Future as _;

impl MethodCounts {
    /// The duration that `share` (0 to 1) of the calls did not exceed, as the bound of its bucket; `None` without calls.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all = *self.took.last()?;
        if all == 0 {
            return None;
        }
        let wanted = (all as f64 * share).ceil() as u64;
        let bucket = self.took.iter().position(|n| *n >= wanted)?;
        Some(Duration::from_micros(BOUNDS.get(bucket).copied().unwrap_or(u64::MAX / 1_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_once() {
        let meter = Arc::new(Meter::default());
        let mut one = meter.begin();
        assert_eq!(meter.counts().running, 1);
        one.end(None);
        drop(one);
        drop(meter.begin());
        let counts = meter.counts();
        assert_eq!((counts.running, counts.succeeded), (0, 1));
        assert_eq!(counts.failed, [(Code::Cancelled, 1)]);
        assert_eq!(counts.took.last(), Some(&2));
        assert!(counts.quantile(0.5).is_some());
    }
}
