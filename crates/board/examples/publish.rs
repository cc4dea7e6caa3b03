//! Durable publishes of 1 KiB in process, through the door: `cargo run --release -p sb-board --example publish -- DIR [--secs 3]`.
//!
//! Beside them stands what the same disk does alone in the same run: the rate of syncs bounds the rate of frames, and its rate in a row
//! bounds the bytes, which the log writes twice (journal and segments).

mod tools;

use sb_board::access::{PublishOptions, Published};
use sb_core::model::Address;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tools::*;

const SIZE: usize = 1024;

fn main() -> Outcome {
    conditions();
    let dir = scratch("publish");
    let secs = option("secs", 3);
    println!("{}", disk(&dir));
    println!(
        "publishers  messages each   messages/s   MB/s   CPU us/message   p50 us   p99 us   % of the disk in a row"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (publishers, each) in [(1, 1), (64, 1), (1024, 1), (4096, 1), (16, 100), (16, 1000)] {
        let data = dir.join(format!("data-{publishers}-{each}"));
        let limit = disk(&dir);
        runtime.block_on(run(&data, publishers, each, Duration::from_secs(secs), &limit))?;
        std::fs::remove_dir_all(&data)?;
    }
    println!("{}", disk(&dir));
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

async fn run(
    data: &std::path::Path,
    publishers: usize,
    each: usize,
    length: Duration,
    limit: &Disk,
) -> Outcome {
    std::fs::create_dir_all(data)?;
    let (board, access) = board(Some(data));
    access.declare_topic("bench", Default::default(), sb_board::access::Condition::Any).await?;
    let address = Address::parse("bench")?;
    let count = Arc::new(AtomicU64::new(0));
    let (before, start) = (cpu_seconds(), Instant::now());
    let tasks: Vec<_> = (0..publishers)
        .map(|_| {
            let (access, address, count) = (access.clone(), address.clone(), count.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                let message = message(&address, SIZE);
                while start.elapsed() < length {
                    let sent = Instant::now();
                    let batch = vec![message.clone(); each];
                    match access.publish(batch, PublishOptions::default()).await {
                        Ok(Published::Stored { .. }) => {}
                        other => return Err(format!("{other:?}")),
                    }
                    times.push(sent.elapsed().as_secs_f64() * 1e6);
                    count.fetch_add(each as u64, Ordering::Relaxed);
                }
                Ok(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let (seconds, spent) = (start.elapsed().as_secs_f64(), cpu_seconds() - before);
    times.sort_by(f64::total_cmp);
    let n = count.load(Ordering::Relaxed) as f64;
    let bytes = n * SIZE as f64 / seconds;
    println!(
        "{publishers:>10} {each:>14} {:>12.0} {:>6.0} {:>16.2} {:>8.0} {:>8.0} {:>24.0}",
        n / seconds,
        bytes / 1e6,
        spent * 1e6 / n,
        quantile(&times, 0.5),
        quantile(&times, 0.99),
        bytes * 100.0 / limit.bytes_per_second
    );
    board.stop().await;
    Ok(())
}
