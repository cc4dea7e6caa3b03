//! Prints what the log does on a real disk: `cargo run --release -p sb-log --example journal -- DIR`.
//!
//! Sync rates with one frame in flight (group commit: a frame holds whatever came while the one before was
//! synced, so frames per second times messages per frame is the rate of messages), the cost of a put and a
//! read, and time and memory for 100,000 small partitions.

use sb_log::local::{Local, Options, PartId};
use sb_log::vfs::Disk;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir =
        PathBuf::from(std::env::args().nth(1).ok_or("give a directory that may be filled and removed")?);
    let dir = dir.join("sb-log-example");
    let _ = std::fs::remove_dir_all(&dir);
    let mut local = Local::open(Arc::new(Disk), &dir, Options::default())?;
    println!("frame      frames/s   p50 us   p99 us     MB/s   messages/s at 100 bytes");
    for size in [200usize, 4 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let body = vec![7u8; size];
        let count = (64 << 20) / size.max(32 << 10);
        let mut times = Vec::with_capacity(count);
        let start = Instant::now();
        for _ in 0..count {
            let before = Instant::now();
            let last = local.journal.last();
            local.journal.append(last, &body)?;
            times.push(before.elapsed().as_micros());
        }
        let seconds = start.elapsed().as_secs_f64();
        times.sort_unstable();
        let rate = count as f64 / seconds;
        println!(
            "{size:>8} {rate:>10.0} {:>8} {:>8} {:>8.1} {:>12.0}",
            times[count / 2],
            times[count * 99 / 100],
            rate * size as f64 / 1e6,
            rate * (size as f64 / 100.0)
        );
        let durable = local.journal.durable();
        local.checkpoints.write(durable, std::iter::empty(), std::iter::empty())?;
        local.journal.recycle(durable);
    }

    let payload = vec![1u8; 1000];
    let part = PartId { topic: 1, partition: 0 };
    let n = 100_000u64;
    let start = Instant::now();
    for base in 0..n {
        let b = batch(base, &payload);
        local.store.put(part, base, base, 0, &b)?;
    }
    let put = start.elapsed();
    let start = Instant::now();
    let mut at = 0;
    while at < n {
        let got = local.store.read(part, at, 1 << 20)?;
        at += got.len() as u64;
    }
    let read = start.elapsed();
    println!(
        "put 1 KB batch {:.2} us (checksum included), read and verify {:.2} us",
        put.as_micros() as f64 / n as f64,
        read.as_micros() as f64 / n as f64
    );

    let before = resident();
    let start = Instant::now();
    let parts = 100_000u32;
    let b = batch(0, &payload[..100]);
    for topic in 100..100 + parts {
        local.store.put(PartId { topic, partition: 0 }, 0, 0, 0, &b)?;
    }
    println!(
        "{parts} partitions of one batch: put {:?}, {} bytes of memory each until the checkpoint",
        start.elapsed(),
        (resident() - before) / u64::from(parts)
    );
    let start = Instant::now();
    let durable = local.journal.durable();
    local.checkpoints.write(durable, std::iter::empty(), std::iter::empty())?;
    println!("their checkpoint: {:?}", start.elapsed());
    local.journal.seal()?;
    drop(local);
    let start = Instant::now();
    let local = Local::open(Arc::new(Disk), &dir, Options::default())?;
    println!("open again: {:?}, {} files", start.elapsed(), files(&dir));
    drop(local);
    let start = Instant::now();
    println!("{}\nchecked in {:?}", sb_log::check::run(&dir)?, start.elapsed());
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn batch(base: u64, payload: &[u8]) -> Vec<u8> {
    let mut b = vec![0; 61];
    b[..8].copy_from_slice(&base.to_be_bytes());
    b[8..12].copy_from_slice(&((49 + payload.len()) as i32).to_be_bytes());
    b[16] = 2;
    b[57..61].copy_from_slice(&1i32.to_be_bytes());
    b.extend_from_slice(payload);
    let crc = sb_core::batch::crc32c(&b[21..]);
    b[17..21].copy_from_slice(&crc.to_be_bytes());
    b
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn files(dir: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.flatten().map(|e| if e.path().is_dir() { files(&e.path()) } else { 1 }).sum()
}
