//! Counters and their Prometheus text (exposition format 0.0.4). Labels come only from closed lists, so that the text stays small whatever callers name things.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Bounds of the sync time histogram, in microseconds.
const BOUNDS: [u64; 10] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// Name, help, and for each set of labels (as Prometheus writes them, or empty) the value.
pub type Gauge<'a> = (&'a str, &'a str, Vec<(String, f64)>);

/// What is counted while the server runs.
#[derive(Default)]
pub struct Counters {
    /// Messages that became durable or were sent live.
    pub messages_in: AtomicU64,
    /// Messages handed to readers and consumers.
    pub messages_out: AtomicU64,
    /// Bytes of message batches taken in.
    pub bytes_in: AtomicU64,
    /// Operations refused, by any reason.
    pub refused: AtomicU64,
    /// Of these, for lack of rights.
    pub denied: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// Journal frames written.
    pub frames: AtomicU64,
    /// Bytes of journal frames.
    pub frame_bytes: AtomicU64,
    /// Checkpoints written.
    pub checkpoints: AtomicU64,
    /// Open connections; kept by `net`.
    pub connections: AtomicU64,
    /// Connections accepted since the start.
    pub accepted: AtomicU64,
    /// Panics caught on a connection: each is a bug.
    pub panics: AtomicU64,
    flush: [AtomicU64; 11],
    flush_us: AtomicU64,
}

impl Counters {
    pub(crate) fn delivered(&self, n: u64) {
        self.messages_out.fetch_add(n, Relaxed);
    }

    pub(crate) fn flushed(&self, bytes: usize, took: Duration) {
        let us = took.as_micros() as u64;
        self.frames.fetch_add(1, Relaxed);
        self.frame_bytes.fetch_add(bytes as u64, Relaxed);
        self.flush_us.fetch_add(us, Relaxed);
        let bucket = BOUNDS.iter().position(|b| us <= *b).unwrap_or(BOUNDS.len());
        self.flush[bucket].fetch_add(1, Relaxed);
    }

    /// Prometheus text; `extra` are gauges that are read at this moment.
    pub fn text(&self, extra: &[Gauge<'_>]) -> String {
        let mut out = String::with_capacity(4096);
        let counters: [(&str, &str, &AtomicU64); 11] = [
            ("messages_in_total", "Messages taken in.", &self.messages_in),
            ("messages_out_total", "Messages handed out.", &self.messages_out),
            ("message_bytes_in_total", "Bytes of message batches taken in.", &self.bytes_in),
            ("refused_total", "Operations refused.", &self.refused),
            ("denied_total", "Operations refused for lack of rights.", &self.denied),
            ("commits_total", "Commits.", &self.commits),
            ("journal_frames_total", "Journal frames written.", &self.frames),
            ("journal_frame_bytes_total", "Bytes of journal frames.", &self.frame_bytes),
            ("checkpoints_total", "Checkpoints written.", &self.checkpoints),
            ("connections_accepted_total", "Connections accepted.", &self.accepted),
            ("panics_total", "Panics caught; each is a bug.", &self.panics),
        ];
        for (name, help, value) in counters {
            let value = value.load(Relaxed);
            let _ = write!(
                out,
                "# HELP switchboard_{name} {help}\n# TYPE switchboard_{name} counter\nswitchboard_{name} {value}\n"
            );
        }
        let name = "switchboard_journal_flush_seconds";
        let _ = write!(out, "# HELP {name} Time to make a frame durable.\n# TYPE {name} histogram\n");
        let mut total = 0;
        for (n, cell) in self.flush.iter().enumerate() {
            total += cell.load(Relaxed);
            let bound = BOUNDS.get(n).map_or("+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {total}");
        }
        let _ =
            write!(out, "{name}_sum {}\n{name}_count {total}\n", self.flush_us.load(Relaxed) as f64 / 1e6);
        for (name, help, values) in extra {
            let _ = write!(out, "# HELP switchboard_{name} {help}\n# TYPE switchboard_{name} gauge\n");
            for (labels, value) in values {
                let _ = writeln!(out, "switchboard_{name}{labels} {value}");
            }
        }
        out
    }
}
