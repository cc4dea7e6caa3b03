//! What it costs to find and wake the readers of a message, whatever the number of readers that cannot match:
//! `cargo run --release -p sb-board --example index [-- --runs 5]`.
//!
//! 100,000 addresses; each message concerns exactly one of the readers, whose pattern has a wildcard. First the index alone, with a reader
//! that is noted and woken as the board does it; then everything between publishing and the readers' tasks, in process.

mod tools;

use futures_util::task::AtomicWaker;
use sb_board::access::{Condition, From, PublishOptions};
use sb_board::index::Index;
use sb_board::tail::Next;
use sb_core::groups::Start;
use sb_core::model::{Address, Message, Pattern};
use sb_core::topics::Policy;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};
use tools::*;

const ADDRESSES: usize = 100_000;

/// As the board's reader: a bell, and what it was rung for.
#[derive(Default)]
struct Reader {
    waker: AtomicWaker,
    ready: Mutex<Vec<(u32, u64)>>,
}

/// Counts instead of waking a task.
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn addresses(readers: usize) -> Vec<Address> {
    let mut all: Vec<Address> = (0..ADDRESSES)
        .map(|n| Address::parse(&format!("plant.g{}.sensor{}.value", n % readers, n / readers)).unwrap())
        .collect();
    // A fixed shuffle: neighbours in time are no neighbours in memory.
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    for n in (1..all.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all.swap(n, (state >> 33) as usize % (n + 1));
    }
    all
}

fn pattern(reader: usize) -> Pattern {
    Pattern::parse(&format!("plant.g{reader}.*.value")).unwrap()
}

fn main() -> Outcome {
    conditions();
    let runs = option("runs", 5);
    println!("readers   match us (min to max)   match + wake us (min to max)   first match of an address us");
    for readers in [100, 1_000, 10_000] {
        let (mut matched, mut woken, mut first) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            let (a, b, c) = alone(readers);
            first.push(a);
            matched.push(b);
            woken.push(c);
        }
        let (m, w, f) = (spread(&mut matched), spread(&mut woken), spread(&mut first));
        println!(
            "{readers:>7}   {:.3} ({:.3} to {:.3})   {:.3} ({:.3} to {:.3})   {:.2}",
            m.0, m.1, m.2, w.0, w.1, w.2, f.0
        );
    }
    println!(
        "readers   CPU us from publish to the reader's task, live   the same, durable semantics in memory"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for readers in [100, 1_000, 10_000] {
        let live = runtime.block_on(through(readers, true))?;
        let kept = runtime.block_on(through(readers, false))?;
        println!("{readers:>7}   {live:.2}   {kept:.2}");
    }
    Ok(())
}

/// First match of every address, match, and match with wake, in microseconds a message.
fn alone(readers: usize) -> (f64, f64, f64) {
    let mut index: Index<Arc<Reader>> = Index::default();
    let counter = Arc::new(Count(AtomicU64::new(0)));
    let waker = Waker::from(counter.clone());
    for n in 0..readers {
        index.insert(&pattern(n), Arc::new(Reader::default()));
    }
    let addresses = addresses(readers);
    let round = |f: &mut dyn FnMut(u64, &Address)| {
        let start = Instant::now();
        for (n, address) in addresses.iter().enumerate() {
            f(n as u64, address);
        }
        start.elapsed().as_secs_f64() * 1e6 / addresses.len() as f64
    };
    let first = round(&mut |_, a| assert_eq!(index.matches(a).len(), 1));
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..5 {
        best.0 = best.0.min(round(&mut |_, a| assert_eq!(index.matches(a).len(), 1)));
        best.1 = best.1.min(round(&mut |n, a| {
            for reader in index.matches(a).iter() {
                let fresh = {
                    let mut ready = reader.ready.lock().unwrap();
                    ready.push((0, n));
                    ready.len() == 1
                };
                if fresh {
                    reader.waker.wake();
                }
                // What the woken task does.
                reader.ready.lock().unwrap().clear();
                reader.waker.register(&waker);
            }
        }));
    }
    (first, best.0, best.1)
}

/// CPU of the whole process a message, from publishing to the reader's task.
async fn through(readers: usize, live: bool) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
    let (board, access) = board(None);
    if !live {
        let claims = vec![Pattern::parse("plant.>")?];
        let policy = Policy { memory: true, keep_bytes: Some(64 << 20), claims, ..Policy::default() };
        access.declare_topic("plants", policy, Condition::Any).await?;
    }
    let got = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for n in 0..readers {
        let mut tail = access.tail(&pattern(n), From::At(Start::End), None).await?;
        let got = got.clone();
        tasks.push(tokio::spawn(async move {
            while let Next::Records(given) = tail.next().await {
                got.fetch_add(given.indexes.len() as u64, Ordering::Relaxed);
            }
        }));
    }
    let addresses = addresses(readers);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut spent = 0.0;
    let mut sent = 0u64;
    // The first round fills the index's memory and is not counted.
    for round in 0..4 {
        let before = cpu_seconds();
        let shares: Vec<Vec<Address>> = addresses.chunks(ADDRESSES / 50).map(<[Address]>::to_vec).collect();
        let publishers: Vec<_> = shares
            .into_iter()
            .map(|share| {
                let access = access.clone();
                tokio::spawn(async move {
                    for address in share {
                        let options = PublishOptions { live, ..PublishOptions::default() };
                        let message = Message::new(address, &b"some measured value of a sensor"[..]);
                        access.publish(vec![message], options).await.map_err(|e| e.to_string())?;
                    }
                    Ok::<(), String>(())
                })
            })
            .collect();
        for publisher in publishers {
            publisher.await??;
        }
        sent += ADDRESSES as u64;
        let deadline = Instant::now() + Duration::from_secs(20);
        while got.load(Ordering::Relaxed) < sent && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if round > 0 {
            spent += cpu_seconds() - before;
        }
    }
    let received = got.load(Ordering::Relaxed);
    if received != sent {
        return Err(format!("{received} of {sent} messages arrived").into());
    }
    tasks.iter().for_each(|t| t.abort());
    board.stop().await;
    Ok(spent * 1e6 / (3 * ADDRESSES) as f64)
}
