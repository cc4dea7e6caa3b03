//! What is read back from a disk: frames of the core, journals and heap files.

use sb_core::batch as record_batch;
use sb_core::groups::{Mode, Options as GroupOptions};
use sb_core::jobs::MethodPolicy;
use sb_core::model::{Address, Message, Pattern};
use sb_core::ops::{Batch, Commit, Condition, Dedup, Frame, GroupStart, Now, Op, Reply, Settle};
use sb_core::topics::Policy;
use sb_core::{Checkpoint, Core};
use sb_log::local::{Local, Options};
use sb_log::vfs::{Sim, Vfs, write_full};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

const NOW: Now = Now { wall_ms: 1_000_000, mono_ms: 1_000 };

fn message(address: &str, body: &str) -> Batch {
    let mut message = Message::new(Address::parse(address).expect("an address"), body.to_owned());
    message.time_ms = NOW.wall_ms;
    message.key = Some("k".into());
    Batch { bytes: record_batch::encode(address, &[message]), due: Vec::new(), expires: Vec::new() }
}

/// Frames of a short life: topics, groups, leases, dead letters, methods, keys. The seeds are made of them.
pub fn golden_frames() -> Vec<Vec<u8>> {
    let mut core = Core::new();
    let mut frames = Vec::new();
    let mut frame = Frame::default();
    core.boot(NOW, &mut frame);
    let mut run = |core: &mut Core, ops: Vec<Op>, dedup: Option<Dedup>| {
        let answer = core.commit(NOW, Commit { dedup, ops }, &mut frame).expect("a golden commit");
        frames.push(std::mem::take(&mut frame.bytes));
        frame = Frame::default();
        answer.replies
    };
    let declare =
        |name: &str, policy| Op::DeclareTopic { name: name.into(), policy, condition: Condition::Any };
    let claims = vec![Pattern::parse("a.>").expect("a pattern")];
    let policy = Policy {
        partitions: 2,
        claims,
        keep_bytes: Some(1 << 20),
        keep_age_ms: Some(1000),
        ..Policy::default()
    };
    let Some(Reply::Topic { view, .. }) =
        run(&mut core, vec![declare("a", policy), declare("dead", Policy::default())], None)
            .into_iter()
            .next()
    else {
        return frames;
    };
    let group = |name: &str, options| Op::DeclareGroup {
        topic: "a".into(),
        group: name.into(),
        options,
        start: GroupStart::Start,
        condition: Condition::Any,
        keys: Vec::new(),
    };
    let ordered = GroupOptions {
        key_order: true,
        attempts: 1,
        dead_letter: Some("dead".into()),
        ..GroupOptions::default()
    };
    let replies = run(
        &mut core,
        vec![
            group("work", ordered),
            group("cursor", GroupOptions { mode: Mode::Cursor, ..Default::default() }),
        ],
        None,
    );
    let Some(Reply::Group { view: work, .. }) = replies.into_iter().next() else { return frames };
    let dedup = Dedup { scope: "s".into(), key: "k".into(), fingerprint: 1, window_ms: 1000 };
    let append = |partition, body| Op::Append { topic: view.id, partition, batch: message("a", body) };
    run(&mut core, vec![append(0, "one"), append(1, "two")], Some(dedup));
    run(&mut core, vec![append(0, "three")], None);
    let lease = Op::Lease { group: work.id, max: 10, lease_ms: Some(1000), consumer: "c".into() };
    if let Some(Reply::Leased(grants)) = run(&mut core, vec![lease], None).into_iter().next() {
        let settles = grants
            .iter()
            .enumerate()
            .map(|(n, g)| (g.delivery, if n == 0 { Settle::Ack } else { Settle::Nack { delay_ms: 10 } }))
            .collect();
        run(&mut core, vec![Op::Settle { settles }], None);
    }
    run(
        &mut core,
        vec![Op::DeclareMethod { name: "m.B/C".into(), policy: MethodPolicy::new("m.B/C") }],
        None,
    );
    run(&mut core, vec![Op::DeleteTopic { name: "dead".into() }], None);
    frames
}

/// Restores as from a store: each key once, the last value counts.
fn restored(checkpoint: &Checkpoint) -> Result<Core, String> {
    Core::restore(checkpoint.puts().collect::<BTreeMap<_, _>>())
}

/// Frames, one behind the other with their lengths, on top of a state that knows something. Whatever they say, applying them ends; a
/// state that took them all survives a checkpoint.
pub fn core_frame(data: &[u8]) {
    static GOLDEN: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let golden = GOLDEN.get_or_init(golden_frames);
    let Some((&known, mut rest)) = data.split_first() else { return };
    let mut core = Core::new();
    for frame in golden.iter().take(usize::from(known) % (golden.len() + 1)) {
        core.apply(frame, NOW).expect("a golden frame");
    }
    while let Some((&[a, b], more)) = rest.split_first_chunk::<2>() {
        let n = usize::from(u16::from_le_bytes([a, b])).min(more.len());
        let (frame, next) = more.split_at(n);
        rest = next;
        if core.apply(frame, NOW).is_err() {
            return;
        }
    }
    if core.check().is_err() {
        return;
    }
    let hash = core.hash();
    let again = restored(&core.checkpoint()).expect("our own checkpoint");
    assert_eq!(hash, again.hash(), "a checkpoint changed the state");
}

const DIR: &str = "/data";

fn small() -> Options {
    Options {
        journal_file: 32 << 10,
        journal_spares: 2,
        journal_max: 256 << 10,
        frame_max: 8 << 10,
        tail_reserve: 4 << 10,
        heap_graduate: 4 << 10,
        heap_batches: 16,
        heap_file: 8 << 10,
        segment_bytes: 6 << 10,
        index_interval: 512,
        disk_reserve: 0,
        cache: 64 << 10,
        open_files: 4,
    }
}

/// A directory with eight frames, five of them behind the checkpoint, and segments.
fn golden_disk() -> (Sim, Vec<Vec<u8>>) {
    let disk = Sim::new(1);
    let mut local = Local::open(Arc::new(disk.clone()), Path::new(DIR), small()).expect("a new directory");
    let frames: Vec<Vec<u8>> = (0..8u8).map(|n| vec![n; 100 + 900 * usize::from(n)]).collect();
    let part = sb_log::PartId { topic: 1, partition: 0 };
    for (n, frame) in frames.iter().enumerate() {
        let last = local.journal.last();
        local.journal.append(last, frame).expect("room");
        let mut batch = message("a", &"x".repeat(100 * n)).bytes;
        record_batch::set_base_offset(&mut batch, n as u64);
        local.store.put(part, n as u64, n as u64, NOW.wall_ms, &batch).expect("room");
        if n == 2 {
            let applied = local.journal.durable();
            local
                .checkpoints
                .write(applied, std::iter::once((vec![1], vec![2])), std::iter::empty())
                .expect("room");
        }
    }
    drop(local);
    disk.kill();
    (disk, frames)
}

/// A journal or a heap file with bytes changed, cut, or wholly made up. Opening ends, and what it gives was once written: a frame that
/// comes back is one of ours, in its place.
pub fn journal(data: &[u8]) {
    static GOLDEN: OnceLock<(Sim, Vec<Vec<u8>>)> = OnceLock::new();
    let (golden, frames) = GOLDEN.get_or_init(golden_disk);
    let Some((&[which, how], rest)) = data.split_first_chunk::<2>() else { return };
    let disk = golden.fork(1);
    let files: Vec<_> = disk
        .files()
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "jnl" || e == "log"))
        .collect();
    let Some(path) = files.get(usize::from(which) % files.len().max(1)) else { return };
    let Ok(file) = disk.open(path) else { return };
    let mut forged = false;
    match how % 4 {
        // Changed here and there.
        0 | 1 => {
            for edit in rest.chunks_exact(4) {
                let at = u64::from(u16::from_le_bytes([edit[0], edit[1]]));
                let span = if how % 4 == 1 { usize::from(edit[3]) * 16 } else { 1 };
                let bytes = vec![edit[2]; span];
                if at + span as u64 <= file.size().unwrap_or(0) {
                    let _ = write_full(&*file, at, &bytes);
                }
            }
        }
        // Cut or lengthened.
        2 => {
            let len = rest.iter().take(3).fold(0u64, |n, b| n << 8 | u64::from(*b));
            let _ = file.set_len(len);
        }
        // Made up.
        _ => {
            forged = true;
            let _ = file.set_len(0);
            let _ = write_full(&*file, 0, rest);
        }
    }
    let _ = file.sync_data();
    drop(file);
    let Ok(local) = Local::open(Arc::new(disk), Path::new(DIR), small()) else { return };
    let mut seen = 0;
    let replayed = local.journal.replay(local.recovered.applied + 1, &mut |lsn, frame| {
        seen += 1;
        if !forged {
            let ours = usize::try_from(lsn - 1).ok().and_then(|n| frames.get(n));
            assert_eq!(ours.map(Vec::as_slice), Some(frame), "frame {lsn} is none of ours");
        }
        Ok(())
    });
    assert!(seen <= frames.len() || forged);
    if replayed.is_ok() {
        for offset in 0..8 {
            if let Ok(batches) = local.store.read(sb_log::PartId { topic: 1, partition: 0 }, offset, 4096) {
                for batch in batches {
                    let _ = record_batch::verify(&batch).map(|h| h.end());
                }
            }
        }
    }
}
