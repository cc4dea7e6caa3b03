//! What one message costs in the commit loop: append, lease, confirm, acknowledge, journal and segments included, with 500 messages under
//! way: `cargo run --release -p sb-board --example cycle -- DIR [--messages 1000000] [--size 128] [--runs 5]`.
//!
//! It drives the engine in one thread, so that nothing else is in the figure. Each frame holds the appends of 500 messages (each its own
//! commit), the lease of the 500 before them and the acknowledgement of the 500 before those, as when a consumer keeps 500 messages under
//! way. Once with leases and acknowledgements one by one, as the most fearful consumer would do it, and once in groups.

mod tools;

use sb_board::engine::Engine;
use sb_core::batch;
use sb_core::model::{Address, Message};
use sb_core::ops::{Batch, Commit, Condition, Delivery, GroupStart, Now, Op, Reply, Settle};
use sb_log::local::Options;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tools::*;

const WINDOW: usize = 500;

/// Wall time of each part.
#[derive(Default)]
struct Parts {
    encode: Duration,
    append: Duration,
    lease: Duration,
    settle: Duration,
    flush: Duration,
    store: Duration,
    checkpoint: Duration,
}

fn main() -> Outcome {
    conditions();
    let dir = scratch("cycle");
    let (messages, size, runs) =
        (option("messages", 1_000_000), option("size", 128) as usize, option("runs", 5));
    for grouped in [true, false] {
        let mut figures = Vec::new();
        for n in 0..runs {
            let data = dir.join(format!("data-{grouped}-{n}"));
            figures.push(run(&data, messages, size, grouped)?);
            std::fs::remove_dir_all(&data)?;
        }
        let (median, low, high) = spread(&mut figures);
        let how = if grouped { "in groups of up to 500" } else { "one by one" };
        println!(
            "leases and acknowledgements {how}: {median:.2} us CPU a cycle ({low:.2} to {high:.2}), target 1.5"
        );
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn run(
    dir: &Path,
    messages: u64,
    size: usize,
    grouped: bool,
) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
    std::fs::create_dir_all(dir)?;
    let clock = Instant::now();
    let options = Options { journal_max: 2 << 30, frame_max: 16 << 20, ..Options::default() };
    let (mut engine, store, mut checkpoints, _) =
        Engine::open(Arc::new(sb_log::vfs::Disk), dir, options, now(clock))?;
    // The thread that makes the journal's next files, as in the server.
    engine.be_patient();
    let spares = engine.spares().ok_or("a journal")?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let filler = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            let _ = spares.fill();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let declare =
        Op::DeclareTopic { name: "bench".into(), policy: Default::default(), condition: Condition::Any };
    let topic = match engine.commit(now(clock), declare.into())?.replies.pop() {
        Some(Reply::Topic { view, .. }) => view.id,
        other => return Err(format!("{other:?}").into()),
    };
    let declare = Op::DeclareGroup {
        topic: "bench".into(),
        group: "work".into(),
        options: Default::default(),
        start: GroupStart::Start,
        condition: Condition::Any,
        keys: Vec::new(),
    };
    let group = match engine.commit(now(clock), declare.into())?.replies.pop() {
        Some(Reply::Group { view, .. }) => view.id,
        other => return Err(format!("{other:?}").into()),
    };
    Engine::put(&store, [&engine.flush()?])?;
    let address = Address::parse("bench")?;
    let mut parts = Parts::default();
    let mut leased: Vec<Delivery> = Vec::new();
    let (mut sent, mut done, mut frames) = (0u64, 0u64, 0u64);
    let (before, start) = (cpu(), Instant::now());
    while done < messages {
        let at: Now = now(clock);
        let mut t = Instant::now();
        let mut lap = |part: &mut Duration| {
            let next = Instant::now();
            *part += next - t;
            t = next;
        };
        let fresh = (messages - sent).min(WINDOW as u64);
        let batches: Vec<Batch> = (0..fresh)
            .map(|_| {
                let mut message = Message::new(address.clone(), vec![b'x'; size]);
                message.time_ms = at.wall_ms;
                Batch { bytes: batch::encode("bench", &[message]), due: Vec::new(), expires: Vec::new() }
            })
            .collect();
        lap(&mut parts.encode);
        let settled = std::mem::take(&mut leased);
        done += settled.len() as u64;
        if grouped {
            if !settled.is_empty() {
                let settles = settled.into_iter().map(|d| (d, Settle::Ack)).collect();
                engine.commit(at, Op::Settle { settles }.into())?;
            }
        } else {
            for delivery in settled {
                engine.commit(at, Op::Settle { settles: vec![(delivery, Settle::Ack)] }.into())?;
            }
        }
        lap(&mut parts.settle);
        let lease = |engine: &mut Engine, max| {
            let op = Op::Lease { group, max, lease_ms: None, consumer: "bench".into() };
            match engine.commit(at, op.into()).map(|mut a| a.replies.pop()) {
                Ok(Some(Reply::Leased(grants))) => {
                    Ok(grants.into_iter().map(|g| g.delivery).collect::<Vec<_>>())
                }
                other => Err(format!("{other:?}")),
            }
        };
        if grouped {
            leased = lease(&mut engine, WINDOW)?;
        } else {
            for _ in 0..(sent - done).min(WINDOW as u64) {
                leased.extend(lease(&mut engine, 1)?);
            }
        }
        lap(&mut parts.lease);
        for batch in batches {
            engine
                .commit(at, Commit { dedup: None, ops: vec![Op::Append { topic, partition: 0, batch }] })?;
        }
        sent += fresh;
        engine.tick(at);
        lap(&mut parts.append);
        let effects = engine.flush()?;
        lap(&mut parts.flush);
        Engine::put(&store, [&effects])?;
        lap(&mut parts.store);
        if engine.journal_bytes() > 128 << 20 {
            if let Some(job) = engine.begin_checkpoint() {
                let applied = job.run(&mut checkpoints)?;
                engine.end_checkpoint(applied);
            }
            lap(&mut parts.checkpoint);
        }
        frames += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = cpu();
    let per = |seconds: f64| seconds * 1e6 / messages as f64;
    let wall = |part: Duration| per(part.as_secs_f64());
    let (user, system) = (after.0 - before.0, after.1 - before.1);
    println!(
        "{:.0} cycles/s, {frames} frames, CPU {:.2} us (user {:.2}, system {:.2}); wall: encode {:.2}, append {:.2}, lease {:.2}, settle {:.2}, journal {:.2}, segments {:.2}, checkpoints {:.2}",
        messages as f64 / seconds,
        per(user + system),
        per(user),
        per(system),
        wall(parts.encode),
        wall(parts.append),
        wall(parts.lease),
        wall(parts.settle),
        wall(parts.flush),
        wall(parts.store),
        wall(parts.checkpoint)
    );
    engine.seal();
    stop.store(true, Ordering::Relaxed);
    let _ = filler.join();
    Ok(per(user + system))
}
