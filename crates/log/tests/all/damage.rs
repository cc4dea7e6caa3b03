//! Cuts and flipped bits: found or harmless, always.

use crate::world::*;
use sb_log::OpenError;
use sb_log::vfs::Sim;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A node with a journal of one file that was never recycled, so every record in it is current.
fn young(sealed: bool) -> (Sim, Oracle, PathBuf, Vec<u64>) {
    let sim = Sim::new(5);
    let mut oracle = Oracle::default();
    let mut node = Node::recover(&sim, &small(), &mut oracle).unwrap();
    for i in 0..6u64 {
        let b = batch(i, 1, 0, &[i as u8; 200]);
        node.commit(&[Op::Put(part(1, 0), b), Op::Set(vec![1], vec![i as u8])], &mut oracle).unwrap();
        if i == 2 {
            node.checkpoint().unwrap();
        }
    }
    if sealed {
        node.local.journal.seal().unwrap();
    }
    drop(node);
    let path = newest(&sim);
    let content = sim.content(&path).unwrap();
    let records =
        (1..content.len() as u64 / 4096).filter(|p| content[*p as usize * 4096..].starts_with(b"SBfr"));
    let starts = records.map(|p| p * 4096).collect();
    (sim, oracle, path, starts)
}

fn newest(sim: &Sim) -> PathBuf {
    sim.files().into_iter().rfind(|f| f.extension().is_some_and(|e| e == "jnl")).unwrap()
}

fn check(sim: &Sim) -> sb_log::check::Report {
    sb_log::check::run_on(Arc::new(sim.clone()), Path::new(DIR)).unwrap()
}

#[test]
fn the_newest_journal_file_is_cut_anywhere() {
    for sealed in [true, false] {
        let (sim, oracle, path, records) = young(sealed);
        let end = records.last().unwrap() + 4096;
        let size = sim.content(&path).unwrap().len() as u64;
        let near = end - 3 * 4096..end + 300;
        for at in (0..size).filter(|at| near.contains(at) || at % 509 == 0) {
            let copy = sim.fork(at);
            copy.cut(&path, at);
            match open(&copy, &small()) {
                // The place of the next record can be seen, and there is none.
                Ok(local) => {
                    assert!(at >= end + 96, "cut to {at}, the last record ends at {end}");
                    assert_eq!(local.recovered.last, oracle.acked.len() as u64);
                }
                Err(OpenError::Corrupt { file, from, to, .. }) => {
                    assert!(at < end + 96, "cut to {at}, the last record ends at {end}");
                    assert_eq!(file, path);
                    assert!(from <= at && to > at);
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}

#[test]
fn every_bit_of_the_last_frames() {
    for sealed in [true, false] {
        let (sim, oracle, path, records) = young(sealed);
        let count = records.len();
        let last_frame = records[if sealed { count - 2 } else { count - 1 }];
        for (i, start) in records.iter().enumerate().skip(count - 4) {
            for at in (0..4096u64).filter(|at| *at < 560 || at % 127 == 0) {
                let copy = sim.fork(1);
                copy.flip(&path, start + at, (at % 8) as u8);
                // Only the very last frame, with no seal behind it, looks like one that was never finished.
                let open_end = !sealed && *start == last_frame;
                match judge(&copy, &oracle, u64::from(open_end)) {
                    Outcome::Refused => assert!(!open_end),
                    Outcome::Fine => assert!(at >= 300 || open_end || i == count - 1, "record {i} byte {at}"),
                    Outcome::Damaged => panic!("the segments were not touched"),
                }
            }
        }
    }
}

#[test]
fn random_flips_everywhere() {
    let flips = std::env::var("SB_LOG_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let mut counts = [0; 3];
    for seed in 0..8 {
        let (sim, mut node, oracle) = lived(100 + seed, 60);
        node.checkpoint().unwrap();
        node.local.journal.seal().unwrap();
        drop(node);
        let mut rng = Rng(seed);
        let files: Vec<PathBuf> = sim.files();
        assert_eq!(judge(&sim.fork(0), &oracle, 0), Outcome::Fine);
        assert!(check(&sim.fork(0)).damage.is_empty(), "{}", check(&sim.fork(0)));
        for _ in 0..flips {
            let file = &files[rng.below(files.len() as u64) as usize];
            let size = sim.content(file).unwrap().len() as u64;
            if size == 0 {
                continue;
            }
            // Mostly where something is: much of the checkpoint is free space.
            let content = sim.content(file).unwrap();
            let mut byte = rng.below(size);
            for _ in 0..rng.below(40) {
                if content[byte as usize] == 0 {
                    byte = rng.below(size);
                }
            }
            let copy = sim.fork(rng.next());
            copy.flip(file, byte, rng.next() as u8);
            let report = check(&copy);
            let outcome = judge(&copy, &oracle, 0);
            counts[outcome as usize] += 1;
            if outcome != Outcome::Fine {
                assert!(!report.damage.is_empty(), "{} byte {byte}: {outcome:?}\n{report}", file.display());
                assert!(report.to_string().contains("DAMAGE"));
            }
        }
    }
    assert!(counts.iter().all(|n| *n > 50), "{counts:?}");
}

#[test]
fn missing_and_shortened_files() {
    let (sim, mut node, oracle) = lived(42, 60);
    node.checkpoint().unwrap();
    node.local.journal.seal().unwrap();
    drop(node);
    let mut rng = Rng(1);
    for file in sim.files() {
        let name = file.display().to_string();
        let cache = name.ends_with("index") || name.ends_with("spare") || name.ends_with("reserve");
        let size = sim.content(&file).unwrap().len() as u64;
        for cut in [0, rng.below(size.max(1)), rng.below(size.max(1)), size.saturating_sub(1)] {
            let copy = sim.fork(1);
            copy.cut(&file, cut);
            let report = check(&copy);
            let outcome = judge(&copy, &oracle, 0);
            assert!(!cache || outcome == Outcome::Fine, "{name} cut to {cut}");
            assert!(outcome == Outcome::Fine || !report.damage.is_empty());
            if (name.ends_with(".redb") || name.ends_with(".log")) && cut < size.min(60) {
                assert_ne!(outcome, Outcome::Fine, "{name} cut to {cut}");
            }
        }
        let copy = sim.fork(1);
        sb_log::vfs::Vfs::remove(&copy, &file).unwrap();
        let outcome = judge(&copy, &oracle, 0);
        assert_eq!(outcome == Outcome::Fine, cache || name.ends_with("LOCK"), "{name} removed");
    }
}

#[test]
fn frames_in_a_payload_are_not_mistaken() {
    // Somebody else's journal, which ran further: real frames with higher numbers, at the right positions.
    let twin = Sim::new(999);
    let mut theirs = Oracle::default();
    let mut node = Node::recover(&twin, &small(), &mut theirs).unwrap();
    for i in 0..12u8 {
        node.commit(&[Op::Set(vec![i], vec![i; 40])], &mut theirs).unwrap();
    }
    drop(node);
    let foreign = twin.content(&newest(&twin)).unwrap();

    let sim = Sim::new(5);
    let mut oracle = Oracle::default();
    let mut node = Node::recover(&sim, &small(), &mut oracle).unwrap();
    for i in 0..3u8 {
        node.commit(&[Op::Set(vec![i], vec![i; 40])], &mut oracle).unwrap();
    }
    let path = newest(&sim);
    let own = sim.content(&path).unwrap();
    let at = (1..16).rfind(|p| own[p * 4096..].starts_with(b"SBfr")).unwrap() * 4096 + 4096;
    // Frame header, the fields before the value: the value begins so that what follows is page-aligned.
    let before = 96 + 1 + 4 + 1 + 4;
    let mut value = vec![0; 4096 - before];
    value.extend_from_slice(&foreign[at + 4096..at + 2 * 4096]);
    value.extend_from_slice(&own[at - 4096..at]);
    node.commit(&[Op::Set(vec![9], value)], &mut oracle).unwrap();
    drop(node);
    let content = sim.content(&path).unwrap();
    assert!(content[at..].starts_with(b"SBfr"));
    assert!(content[at + 4096..].starts_with(b"SBfr"), "the payload is not aligned as meant");
    assert!(content[at + 2 * 4096..].starts_with(b"SBfr"));
    sim.flip(&path, at as u64 + 20, 1);
    // Nothing genuine follows: an unfinished frame, and not proof that it was acknowledged.
    assert_eq!(judge(&sim, &oracle, 1), Outcome::Fine);
}

#[test]
fn old_frames_of_a_recycled_file_are_not_accepted() {
    for seed in 0..20 {
        let (sim, mut node, mut oracle) = lived(seed, 150);
        node.checkpoint().unwrap();
        node.run(2, &mut Rng(seed), &mut oracle).unwrap();
        drop(node);
        let content = sim.content(&newest(&sim)).unwrap();
        let pages = (1..16).filter(|p| content[p * 4096..].starts_with(b"SBfr")).count();
        assert!(pages > 0);
        sim.kill();
        let node = Node::recover(&sim, &small(), &mut oracle).unwrap();
        assert_eq!(node.local.journal.durable(), oracle.acked.len() as u64);
    }
}
