//! Full disks, failed syncs, failed reads and writes, short ones.

use crate::world::*;
use sb_log::vfs::{Faults, Sim};
use sb_log::{AppendError, Room};

#[test]
fn no_space_at_every_allocation() {
    let mut at = 0;
    loop {
        let sim = Sim::new(11);
        let mut oracle = Oracle::default();
        let mut rng = Rng(11);
        sim.set_faults(Faults { full_from: Some(at), ..Faults::default() });
        let node = Node::recover(&sim, &small(), &mut oracle);
        let reached = match node {
            Ok(mut node) => {
                let stopped = node.run(110, &mut rng, &mut oracle);
                assert!(oracle.maybe.is_none(), "a full disk must not fail the journal");
                let reached = stopped.is_err();
                // Space comes back, and it goes on without a restart.
                sim.set_faults(Faults::default());
                node.catch_up().unwrap();
                node.verify();
                node.checkpoint().unwrap();
                node.run(5, &mut rng, &mut oracle).unwrap();
                node.verify();
                reached || sim.counts().allocating > at
            }
            Err(_) => true,
        };
        sim.crash(at);
        Node::recover(&sim, &small(), &mut oracle).unwrap_or_else(|e| panic!("allocation {at}: {e}"));
        if !reached {
            break;
        }
        at += 1;
    }
    assert!(at > 60, "{at}");
}

#[test]
fn a_full_disk_leaves_room_for_acknowledgements() {
    let sim = Sim::new(1);
    let mut oracle = Oracle::default();
    let mut node = Node::recover(&sim, &small(), &mut oracle).unwrap();
    node.local.journal.spares().fill().unwrap();
    node.local.journal.spares().fill().unwrap();
    sim.set_faults(Faults { full_from: Some(0), ..Faults::default() });
    // Frames that need no store: what they say is for the journal only.
    let big = encode(&[Op::Set(vec![1], vec![7; 12_000])]);
    let small_one = encode(&[Op::Set(vec![2], vec![7; 10])]);
    let mut publishes = 0;
    while node.local.journal.room() == Room::Plenty {
        node.local.journal.append(oracle.acked.len() as u64, &big).unwrap();
        oracle.acked.push(big.clone());
        publishes += 1;
    }
    assert!(publishes > 2);
    assert_eq!(node.local.journal.room(), Room::Low);
    assert_eq!(node.local.journal.prepare(), Room::Low);
    let mut acks = 0;
    let refused = loop {
        match node.local.journal.append(oracle.acked.len() as u64, &small_one) {
            Ok(_) => {
                oracle.acked.push(small_one.clone());
                acks += 1;
            }
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, AppendError::Full));
    assert!(acks >= 2, "{acks}");
    assert_eq!(node.local.journal.room(), Room::None);
    // A checkpoint gives the journal back, from the space set aside for it.
    node.dirty.insert(vec![1], vec![7; 12_000]);
    node.dirty.insert(vec![2], vec![7; 10]);
    sim.set_faults(Faults::default());
    node.checkpoint().unwrap();
    assert_eq!(node.local.journal.room(), Room::Plenty);
    node.local.journal.append(oracle.acked.len() as u64, &small_one).unwrap();
    oracle.acked.push(small_one);
    drop(node);
    sim.crash(3);
    Node::recover(&sim, &small(), &mut oracle).unwrap();
}

#[test]
fn a_node_that_stopped_with_its_journal_full_starts_on_a_full_disk() {
    // Once the last record of the full file is a seal, once a frame.
    let clean = [false, true].map(|odd| {
        let sim = Sim::new(1);
        let mut oracle = Oracle::default();
        let mut node = Node::recover(&sim, &small(), &mut oracle).unwrap();
        node.local.journal.spares().fill().unwrap();
        node.local.journal.spares().fill().unwrap();
        sim.set_faults(Faults { full_from: Some(0), ..Faults::default() });
        let frame = encode(&[Op::Set(vec![2], vec![7; 10])]);
        let mut sealed = odd;
        loop {
            match node.local.journal.append(oracle.acked.len() as u64, &frame) {
                Ok(_) => oracle.acked.push(frame.clone()),
                Err(AppendError::Full) => break,
                Err(e) => panic!("{e}"),
            }
            if !std::mem::take(&mut sealed) {
                node.local.journal.seal().unwrap();
            }
        }
        drop(node);
        let mut node = Node::recover(&sim, &small(), &mut oracle).unwrap();
        let clean = node.local.recovered.clean;
        // The frame with which an engine begins, and acknowledgements behind it.
        for _ in 0..3 {
            node.local.journal.append(oracle.acked.len() as u64, &frame).unwrap();
            oracle.acked.push(frame.clone());
        }
        drop(node);
        sim.set_faults(Faults::default());
        sim.crash(3);
        Node::recover(&sim, &small(), &mut oracle).unwrap();
        clean
    });
    assert!(clean.contains(&true) && clean.contains(&false), "{clean:?}");
}

#[test]
fn a_checkpoint_uses_the_reserve_of_a_full_disk() {
    let (sim, mut node, mut oracle) = lived(8, 20);
    let reserve = std::path::Path::new(DIR).join("reserve");
    node.checkpoint().unwrap();
    assert!(sim.content(&reserve).is_some());
    let used: u64 =
        sim.files().iter().map(|f| (sim.content(f).unwrap().len() as u64).div_ceil(4096) * 4096).sum();
    sim.set_faults(Faults { capacity: Some(used), ..Faults::default() });
    for i in 0..3000u32 {
        node.dirty.insert(i.to_le_bytes().to_vec(), vec![1; 100]);
    }
    let before = node.dirty.clone();
    // Whether it is enough depends on how much there is to say; either way nothing is lost.
    let _ = node.checkpoint();
    sim.set_faults(Faults::default());
    node.dirty = before;
    node.checkpoint().unwrap();
    drop(node);
    sim.crash(1);
    // The keys were no frames, so only the journal side is compared.
    let local = open(&sim, &small()).unwrap();
    assert_eq!(local.recovered.applied, oracle.acked.len() as u64);
    oracle.maybe = None;
}

#[test]
fn a_failed_sync_is_final() {
    let mut at = 0;
    loop {
        let sim = Sim::new(21);
        let mut oracle = Oracle::default();
        sim.set_faults(Faults { sync_error_at: Some(at), ..Faults::default() });
        if let Ok(mut node) = Node::recover(&sim, &small(), &mut oracle) {
            let outcome = node.run(60, &mut Rng(21), &mut oracle);
            if outcome.is_ok() && sim.counts().syncs <= at {
                break;
            }
            if oracle.maybe.is_some() {
                for _ in 0..2 {
                    let again = node.local.journal.append(node.local.journal.last(), b"x");
                    assert!(matches!(again, Err(AppendError::Failed(_))), "{again:?}");
                }
                assert!(node.local.journal.seal().is_err());
            }
        }
        sim.crash(at);
        Node::recover(&sim, &small(), &mut oracle).unwrap_or_else(|e| panic!("sync {at}: {e}"));
        at += 1;
    }
    assert!(at > 80, "{at}");
}

#[test]
fn failed_writes_and_reads() {
    for at in 0..400 {
        let sim = Sim::new(31);
        let mut oracle = Oracle::default();
        sim.set_faults(Faults { write_error_at: Some(at), ..Faults::default() });
        if let Ok(mut node) = Node::recover(&sim, &small(), &mut oracle) {
            let _ = node.run(40, &mut Rng(31), &mut oracle);
        }
        sim.crash(at);
        let node = Node::recover(&sim, &small(), &mut oracle).unwrap_or_else(|e| panic!("write {at}: {e}"));
        drop(node);
        sim.kill();
        sim.set_faults(Faults { read_error_at: Some(at % 97), ..Faults::default() });
        match open(&sim, &small()) {
            Ok(_) | Err(sb_log::OpenError::Io(_)) => {}
            Err(e) => panic!("a read that failed is not damage: {e}"),
        }
        sim.kill();
        Node::recover(&sim, &small(), &mut oracle).unwrap();
    }
}

#[test]
fn short_and_interrupted_calls() {
    for seed in 0..30 {
        let sim = Sim::new(seed);
        let mut oracle = Oracle::default();
        sim.set_faults(Faults { short: true, ..Faults::default() });
        let mut node = Node::recover(&sim, &small(), &mut oracle).unwrap();
        node.run(60, &mut Rng(seed), &mut oracle).unwrap();
        node.verify();
        drop(node);
        sim.crash(seed);
        sim.set_faults(Faults { short: true, ..Faults::default() });
        Node::recover(&sim, &small(), &mut oracle).unwrap();
    }
}
