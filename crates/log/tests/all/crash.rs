//! Power loss at every operation.

use crate::world::*;
use sb_log::vfs::{Faults, Sim};

/// Runs a script with the power going at operation `at`; `false` if it never got there.
fn crash_at(seed: u64, at: u64, steps: u64) -> bool {
    let sim = Sim::new(seed);
    let mut oracle = Oracle::default();
    sim.set_faults(Faults { off_at: Some(at), ..Faults::default() });
    let mut rng = Rng(seed);
    if let Ok(mut node) = Node::recover(&sim, &small(), &mut oracle) {
        let _ = node.run(steps, &mut rng, &mut oracle);
    }
    let reached = sim.is_off();
    sim.crash(seed.wrapping_mul(31).wrapping_add(at));
    // Sometimes it happens again while recovering.
    if at.is_multiple_of(3) {
        sim.set_faults(Faults { off_at: Some(at % 41), ..Faults::default() });
        let kept = oracle.maybe.clone();
        if let Ok(node) = Node::recover(&sim, &small(), &mut oracle) {
            drop(node);
        } else {
            oracle.maybe = oracle.maybe.take().or(kept.filter(|f| oracle.acked.last() != Some(f)));
        }
        sim.crash(at);
    }
    let mut node = Node::recover(&sim, &small(), &mut oracle)
        .unwrap_or_else(|e| panic!("seed {seed}, operation {at}: {e}"));
    // ... and it goes on as if nothing had happened.
    node.run(3, &mut rng, &mut oracle).unwrap();
    node.checkpoint().unwrap();
    node.verify();
    drop(node);
    sim.kill();
    Node::recover(&sim, &small(), &mut oracle).unwrap_or_else(|e| panic!("seed {seed}, operation {at}: {e}"));
    reached
}

#[test]
fn every_operation() {
    let mut at = 0;
    while crash_at(7, at, 60) {
        at += 1;
    }
    assert!(at > 300, "the script has only {at} operations");
}

#[test]
fn many_seeds() {
    let seeds = std::env::var("SB_LOG_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1500);
    for seed in 0..seeds {
        crash_at(1000 + seed, seed * 37 % 700, 80);
    }
}

#[test]
fn kill_without_power_loss() {
    for seed in 0..100 {
        let (sim, node, mut oracle) = lived(seed, 40);
        drop(node);
        sim.kill();
        let node = Node::recover(&sim, &small(), &mut oracle).unwrap();
        assert_eq!(node.local.journal.durable(), oracle.acked.len() as u64);
        drop(node);
        // Everything was hardened on the way: losing the rest of memory loses nothing.
        sim.crash(seed);
        Node::recover(&sim, &small(), &mut oracle).unwrap();
    }
}

#[test]
fn many_kills_without_a_checkpoint() {
    let sim = Sim::new(1);
    let mut oracle = Oracle::default();
    for i in 0..60u8 {
        let mut node = Node::recover(&sim, &small(), &mut oracle).unwrap();
        assert!(node.commit(&[Op::Set(vec![i], vec![i; 40])], &mut oracle).unwrap(), "kill {i}");
        drop(node);
        if i % 2 == 0 { sim.kill() } else { sim.crash(u64::from(i)) }
    }
    let files = sim.files().iter().filter(|f| f.extension().is_some_and(|e| e == "jnl")).count();
    assert!(files < 12, "{files} journal files");
    // Also beyond its greatest length the journal opens, and a checkpoint brings it back.
    let mut node = Node::recover(&sim, &small(), &mut oracle).unwrap();
    while node.commit(&[Op::Set(vec![1], vec![1; 9000])], &mut oracle).unwrap() {}
    drop(node);
    sim.kill();
    let mut node = Node::recover(&sim, &small(), &mut oracle).unwrap();
    node.checkpoint().unwrap();
    assert!(node.commit(&[Op::Set(vec![1], vec![1; 9000])], &mut oracle).unwrap());
}

#[test]
fn the_same_seed_does_the_same() {
    let run = |seed| {
        let (sim, mut node, _) = lived(seed, 60);
        node.checkpoint().unwrap();
        drop(node);
        let files: Vec<_> = sim.files().into_iter().map(|f| (sim.content(&f), f)).collect();
        (sim.counts(), files)
    };
    for seed in 0..5 {
        assert!(run(seed) == run(seed), "seed {seed}");
    }
}

#[test]
fn clean_and_unclean_stops() {
    let (sim, mut node, mut oracle) = lived(3, 10);
    node.local.journal.seal().unwrap();
    drop(node);
    let files = sim.files().len();
    for _ in 0..5 {
        let node = Node::recover(&sim, &small(), &mut oracle).unwrap();
        assert!(node.local.recovered.clean);
    }
    assert_eq!(sim.files().len(), files, "a clean start makes no files");
    let mut node = Node::recover(&sim, &small(), &mut oracle).unwrap();
    node.commit(&[Op::Set(vec![1], vec![2])], &mut oracle).unwrap();
    drop(node);
    sim.kill();
    let node = Node::recover(&sim, &small(), &mut oracle).unwrap();
    assert!(!node.local.recovered.clean);
    assert!(matches!(open(&sim, &small()), Err(sb_log::OpenError::Locked)));
}

#[test]
fn planted_faults_are_caught() {
    // A journal whose syncs lie, or a directory that is never synced, must show up as lost frames or as
    // refusal in some of these runs; if not, these tests prove nothing.
    for faults in [
        Faults { lie_about: Some("journal".into()), ..Faults::default() },
        Faults { lie_about: Some("segments".into()), ..Faults::default() },
        Faults { lie_about: Some("state.redb".into()), ..Faults::default() },
        Faults { lie_about_dirs: true, ..Faults::default() },
    ] {
        let caught = (0..30).any(|seed| {
            let outcome = std::panic::catch_unwind(|| {
                let (sim, mut node, mut oracle) = lived(seed, 8);
                sim.set_faults(faults.clone());
                node.run(20, &mut Rng(seed), &mut oracle).unwrap();
                node.checkpoint().unwrap();
                node.run(3, &mut Rng(seed + 1), &mut oracle).unwrap();
                drop(node);
                sim.crash(seed);
                Node::recover(&sim, &small(), &mut oracle).map(drop).is_err()
            });
            outcome.unwrap_or(true)
        });
        assert!(caught, "{faults:?} was not noticed");
    }
}
