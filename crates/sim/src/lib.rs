//! The simulator: the whole of the server below its connections, on a simulated disk and simulated clocks, in one thread, the same way
//! for the same seed.
//!
//! **What is simulated.** `sb_board::engine::Engine` (the core, its journal, the segments, the checkpoints) is the production code. The
//! simulator takes the place of the board's threads and does what they do, one step at a time, in an order that the seed gives:
//! frames of requests, copying into segments, the three parts of a checkpoint, seals, spare journal files, readers, the moving of dead
//! messages. Sizes are small, so that files are recycled, partitions graduate and segments end all the time.
//!
//! **Which faults.** Power loss at any disk operation with unsynced sectors kept, lost, torn or reordered, also while starting; the
//! process killed between any two steps; full disks; failing syncs and writes; short reads and writes; a wall clock that jumps by an
//! hour; stalls; leases that end just before or behind their deadline; rotten bits in segments.
//!
//! **What is proved.** [`history`] keeps what was asked, promised and seen, [`checkers`] holds the server against it: I1 to I12 and the
//! rules of jobs. [`faults`] breaks each promise on purpose, so that tests can prove that it would be noticed.
//!
//! **A seed that fails** is done again, with every start and stop in words, by `cargo run --release -p sb-sim -- --seed N --verbose`.

pub mod checkers;
pub mod faults;
pub mod history;
pub mod rng;
pub mod workload;
pub mod world;

use faults::Plant;
use history::Violation;
use world::{Stats, World};

/// Steps of a run.
pub const STEPS: u64 = 400;

/// What a run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The hash of everything that happened.
    pub trace: u64,
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// What happened, in numbers.
    pub stats: Stats,
}

/// Runs one seed.
pub fn run(seed: u64, plant: Option<Plant>, verbose: bool) -> Report {
    let mut world = World::new(seed, plant, verbose);
    world.run(STEPS);
    Report { seed, trace: world.trace.0, violations: world.h.violations, stats: world.stats }
}

/// Runs seeds `from..from + count` on two threads; every tenth one twice, to see that it is the same. Gives the reports of those that
/// failed, and the sum of the numbers.
pub fn run_many(from: u64, count: u64, on_failure: &(dyn Fn(&Report) + Sync)) -> (Vec<Report>, Stats) {
    let half = |first: u64| {
        let mut failed = Vec::new();
        let mut sum = Stats::default();
        for seed in (from + first..from + count).step_by(2) {
            let mut report = run(seed, None, false);
            if seed % 20 < 2 {
                let again = run(seed, None, false);
                if again.trace != report.trace {
                    report.violations.push(Violation {
                        invariant: "I12",
                        step: 0,
                        detail: "twice the same seed, two traces".into(),
                    });
                }
            }
            sum.add(&report.stats);
            if !report.violations.is_empty() {
                on_failure(&report);
                failed.push(report);
            }
        }
        (failed, sum)
    };
    let (mut a, b) = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        (half(0), other.join())
    });
    match b {
        Ok(b) => {
            a.0.extend(b.0);
            a.1.add(&b.1);
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
    a.0.sort_by_key(|r| r.seed);
    a
}

impl Stats {
    /// Adds another's numbers.
    pub fn add(&mut self, o: &Stats) {
        self.frames += o.frames;
        self.commits += o.commits;
        self.crashes += o.crashes;
        self.kills += o.kills;
        self.full_stops += o.full_stops;
        self.full += o.full;
        self.checkpoints += o.checkpoints;
        self.read += o.read;
        self.grants += o.grants;
        self.buried += o.buried;
        self.results += o.results;
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for v in &self.violations {
            writeln!(f, "seed {} step {}: {}: {}", self.seed, v.step, v.invariant, v.detail)?;
        }
        Ok(())
    }
}
