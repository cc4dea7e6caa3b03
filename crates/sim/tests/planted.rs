//! Every fault that is planted on purpose is seen by a checker, and not by accident: the right invariant is named.

use sb_sim::faults::Plant;

/// Seeds that a fault may need; most need a few.
const SEEDS: u64 = 150;

fn caught(plant: Plant) {
    let mut seen = Vec::new();
    for seed in 1..=SEEDS {
        let report = sb_sim::run(seed, Some(plant), false);
        if let Some(first) = report.violations.first() {
            seen.push(first.invariant);
            if first.invariant == expected(plant) {
                println!("{plant:?}: seed {seed}: {}: {}", first.invariant, first.detail);
                return;
            }
        }
    }
    panic!("{plant:?} was not caught as {} by {SEEDS} seeds; seen: {seen:?}", expected(plant));
}

/// The invariant that a fault breaks. Others follow from it at times; this one has to be seen.
fn expected(plant: Plant) -> &'static str {
    match plant {
        // What was promised is not on the disk, which the start tells from a torn tail and refuses.
        Plant::SkipSync
        | Plant::SkipSegmentSync
        | Plant::SkipCheckpointSync
        | Plant::CheckpointAhead
        | Plant::IgnoreFrameChecksum => "OPEN",
        // What was acknowledged is not there, and nothing shows it (as of a file that no folder names), or is elsewhere.
        Plant::SkipDirectorySync | Plant::AckEarly | Plant::AppendTwice => "I1",
        Plant::IgnoreBatchChecksum | Plant::SwapBodies => "I2",
        Plant::DropDedup => "I4",
        Plant::RedeliverAfterRestart => "I5",
        Plant::AcceptStale | Plant::WallClockLeases | Plant::ReuseLease => "I6",
        Plant::SplitDeadLetter => "I8",
        Plant::ExposeUndurable => "I9",
        Plant::SplitCommit => "I10",
        // A reader is told that there is something missing.
        Plant::LoseBatch | Plant::IgnoreFull => "ERROR",
        Plant::DropResult => "JOB",
        Plant::IgnoreDelay => "TIME",
    }
}

macro_rules! planted {
    ($($name:ident $plant:ident),* $(,)?) => { $(#[test] fn $name() { caught(Plant::$plant); })* };
}

planted! {
    skip_sync SkipSync,
    skip_segment_sync SkipSegmentSync,
    skip_checkpoint_sync SkipCheckpointSync,
    skip_directory_sync SkipDirectorySync,
    ack_early AckEarly,
    expose_undurable ExposeUndurable,
    ignore_batch_checksum IgnoreBatchChecksum,
    ignore_frame_checksum IgnoreFrameChecksum,
    split_dead_letter SplitDeadLetter,
    split_commit SplitCommit,
    drop_dedup DropDedup,
    append_twice AppendTwice,
    lose_batch LoseBatch,
    checkpoint_ahead CheckpointAhead,
    accept_stale AcceptStale,
    redeliver_after_restart RedeliverAfterRestart,
    wall_clock_leases WallClockLeases,
    reuse_lease ReuseLease,
    ignore_full IgnoreFull,
    drop_result DropResult,
    ignore_delay IgnoreDelay,
    swap_bodies SwapBodies,
}
