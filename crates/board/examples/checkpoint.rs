//! Do checkpoints stall commits, and how long does recovery take? 100,000 topics, 10,000 groups, 50,000 messages a second while one
//! checkpoint after another is written, then SIGKILL and a restart:
//! `cargo run --release -p sb-board --example checkpoint -- DIR [--topics 100000] [--groups 10000] [--rate 50000] [--secs 20]`.
//!
//! It drives the engine as the commit loop does, with the storage and the checkpoint thread beside it, so that each wait can be seen.

mod tools;

use sb_board::engine::{CheckpointJob, Engine};
use sb_core::batch;
use sb_core::model::{Address, Message, TopicId};
use sb_core::ops::{Batch, Commit, Condition, Effects, GroupStart, Op, Reply};
use sb_log::local::Options;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tools::*;

fn options() -> Options {
    Options { frame_max: 16 << 20, ..Options::default() }
}

fn main() -> Outcome {
    if let Some((_, dir)) = role() {
        return fill(&dir);
    }
    conditions();
    let dir = scratch("checkpoint");
    println!("{}", disk(&dir));
    for line in killed_child("fill", &dir) {
        println!("{line}");
    }
    let (before, start) = (resident(), Instant::now());
    let clock = Instant::now();
    let (engine, _store, _checkpoints, recovery) =
        Engine::open(Arc::new(sb_log::vfs::Disk), &dir, options(), now(clock))?;
    let counts = engine.core.counts();
    println!(
        "after SIGKILL: open in {:.2} s, {} frames replayed, {} topics, {} groups, {:.0} MiB resident",
        start.elapsed().as_secs_f64(),
        recovery.frames,
        counts.topics,
        counts.groups,
        mib(resident() - before)
    );
    engine.core.topics("", None, 10);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

enum Item {
    Effects(Effects),
    Checkpoint(CheckpointJob),
}

fn fill(dir: &Path) -> Outcome {
    let (topics, groups, rate, secs) =
        (option("topics", 100_000), option("groups", 10_000), option("rate", 50_000), option("secs", 20));
    let clock = Instant::now();
    let (mut engine, store, mut checkpoints, _) =
        Engine::open(Arc::new(sb_log::vfs::Disk), dir, options(), now(clock))?;
    engine.be_patient();
    let spares = engine.spares().ok_or("a journal")?;
    std::thread::spawn(move || {
        loop {
            let _ = spares.fill();
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let (items, given) = mpsc::channel::<Item>();
    let (jobs, todo) = mpsc::channel::<CheckpointJob>();
    let (written, finished) = mpsc::channel::<u64>();
    let durations: Arc<Mutex<Vec<f64>>> = Arc::default();
    let seen = durations.clone();
    std::thread::spawn(move || {
        for item in given {
            match item {
                Item::Effects(effects) => Engine::put(&store, [&effects]).expect("segments are written"),
                Item::Checkpoint(job) => jobs.send(job).expect("the checkpoint thread lives"),
            }
        }
    });
    std::thread::spawn(move || {
        for job in todo {
            let start = Instant::now();
            let applied = job.run(&mut checkpoints).expect("a checkpoint is written");
            seen.lock().expect("a lock").push(start.elapsed().as_secs_f64());
            let _ = written.send(applied);
        }
    });

    let start = Instant::now();
    let before = resident();
    let mut ids: Vec<TopicId> = Vec::new();
    for n in 0..topics {
        let op = Op::DeclareTopic {
            name: format!("topic.{n}"),
            policy: Default::default(),
            condition: Condition::Any,
        };
        match engine.commit(now(clock), op.into())?.replies.pop() {
            Some(Reply::Topic { view, .. }) => ids.push(view.id),
            other => return Err(format!("{other:?}").into()),
        }
        if n < groups {
            let op = Op::DeclareGroup {
                topic: format!("topic.{n}"),
                group: "work".into(),
                options: Default::default(),
                start: GroupStart::Start,
                condition: Condition::Any,
                keys: Vec::new(),
            };
            engine.commit(now(clock), op.into())?;
        }
        if engine.pending() > 1 << 20 {
            items.send(Item::Effects(engine.flush()?))?;
        }
    }
    items.send(Item::Effects(engine.flush()?))?;
    println!(
        "{topics} topics and {groups} groups declared in {:.2} s, {:.0} bytes of memory each",
        start.elapsed().as_secs_f64(),
        (resident() - before) as f64 / (topics + groups) as f64
    );

    let addresses: Vec<Address> =
        (0..topics).map(|n| Address::parse(&format!("topic.{n}"))).collect::<Result<_, _>>()?;
    let (mut stalls, mut taking, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut sent, mut checkpointing, mut bytes) = (0u64, false, 0u64);
    let (start, spent) = (Instant::now(), cpu_seconds());
    let mut last = Instant::now();
    while start.elapsed() < Duration::from_secs(secs) {
        let due = ((start.elapsed().as_secs_f64() * rate as f64) as u64).saturating_sub(sent).min(8192);
        if due == 0 {
            std::thread::sleep(Duration::from_micros(200));
            last = Instant::now();
            continue;
        }
        let at = now(clock);
        for _ in 0..due {
            // A stride that visits all topics in an order that helps no cache.
            let n = (sent.wrapping_mul(7_919) % topics) as usize;
            sent += 1;
            let mut message = Message::new(addresses[n].clone(), vec![b'x'; 128]);
            message.time_ms = at.wall_ms;
            let bytes = batch::encode(addresses[n].as_str(), &[message]);
            let batch = Batch { bytes, due: Vec::new(), expires: Vec::new() };
            engine.commit(
                at,
                Commit { dedup: None, ops: vec![Op::Append { topic: ids[n], partition: 0, batch }] },
            )?;
        }
        engine.tick(at);
        bytes += engine.pending() as u64;
        let flush = Instant::now();
        let effects = engine.flush()?;
        flushes.push(flush.elapsed().as_secs_f64() * 1e3);
        items.send(Item::Effects(effects))?;
        while let Ok(applied) = finished.try_recv() {
            engine.end_checkpoint(applied);
            checkpointing = false;
        }
        if !checkpointing {
            let took = Instant::now();
            if let Some(job) = engine.begin_checkpoint() {
                taking.push(took.elapsed().as_secs_f64() * 1e3);
                items.send(Item::Checkpoint(job))?;
                checkpointing = true;
            }
        }
        stalls.push(last.elapsed().as_secs_f64() * 1e3);
        last = Instant::now();
    }
    let seconds = start.elapsed().as_secs_f64();
    let figures = |name: &str, values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        println!(
            "{name}: {} times, median {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
            values.len(),
            quantile(values, 0.5),
            quantile(values, 0.99),
            values.last().copied().unwrap_or_default()
        );
    };
    println!(
        "{:.0} messages/s for {seconds:.0} s in one thread, {:.1} MB/s of journal, {:.2} us CPU a message (everything in the process)",
        sent as f64 / seconds,
        bytes as f64 / seconds / 1e6,
        (cpu_seconds() - spent) * 1e6 / sent as f64
    );
    figures("from one frame to the next (the stall that a publisher sees)", &mut stalls);
    figures("of that, write and sync of the journal", &mut flushes);
    figures("of that, taking the state for a checkpoint", &mut taking);
    let mut durations: Vec<f64> = durations.lock().expect("a lock").iter().map(|s| s * 1e3).collect();
    figures("checkpoints written beside it", &mut durations);
    println!("memory: {:.0} MiB resident", mib(resident()));
    println!("done");
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}
