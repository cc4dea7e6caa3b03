//! Seeds without planted faults: no promise is broken, and the same seed does the same twice.

#[test]
fn no_promise_is_broken() {
    let seeds = std::env::var("SWITCHBOARD_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(300);
    let (failed, stats) = sb_sim::run_many(1, seeds, &|report| eprint!("{report}"));
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds failed: {:?}",
        failed.len(),
        failed.iter().map(|r| r.seed).collect::<Vec<_>>()
    );
    // That nothing fails proves nothing unless something happened.
    let enough = [
        stats.frames,
        stats.crashes,
        stats.kills,
        stats.checkpoints,
        stats.grants,
        stats.buried,
        stats.results,
        stats.full,
    ];
    assert!(enough.iter().all(|n| *n > 0), "{stats:?}");
}
