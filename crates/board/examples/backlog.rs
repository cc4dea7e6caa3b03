//! Does a restart stay quick and exact with much to remember? A group with a backlog of 1,000,000, every second message acknowledged, and
//! 100,000 topics, each after SIGKILL: `cargo run --release -p sb-board --example backlog -- DIR [--messages 1000000] [--topics 100000]`.

mod tools;

use sb_board::Access;
use sb_board::access::{Condition, From, LeaseOptions, Leased, PublishOptions, Read, Settle};
use sb_core::groups::{Options, Start};
use sb_core::model::{Address, Message, Pattern};
use std::path::Path;
use std::time::{Duration, Instant};
use tools::*;

const LEASE_MS: u64 = 30_000;
/// When the messages that are given back come again: long enough that none does while the backlog is made, short enough to be waited for.
const DELAY_MS: u64 = 45_000;

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match role() {
        Some((role, dir)) if role == "group" => return runtime.block_on(fill_group(&dir)),
        Some((_, dir)) => return runtime.block_on(fill_topics(&dir)),
        None => {}
    }
    conditions();
    let dir = scratch("backlog");
    println!("{}", disk(&dir));
    let (group, topics) = (dir.join("group"), dir.join("topics"));
    for line in killed_child("group", &group) {
        println!("{line}");
    }
    runtime.block_on(check_group(&group))?;
    for line in killed_child("topics", &topics) {
        println!("{line}");
    }
    runtime.block_on(check_topics(&topics))?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn said(what: &str, start: Instant) {
    println!("{what}: {:.2} s, {:.0} MiB resident", start.elapsed().as_secs_f64(), mib(resident()));
}

fn number(body: &[u8]) -> u64 {
    std::str::from_utf8(body).ok().and_then(|t| t.parse().ok()).expect("a body that was published")
}

fn lease(max: usize, wait_ms: u64) -> LeaseOptions {
    LeaseOptions { max, wait_ms, lease_ms: Some(LEASE_MS), consumer: "measure".into() }
}

async fn fill_group(dir: &Path) -> Outcome {
    std::fs::create_dir_all(dir)?;
    let (_board, access) = board(Some(dir));
    let messages = option("messages", 1_000_000);
    access.declare_group("work", "all", Options::default(), Start::Start).await?;
    let address = Address::parse("work")?;
    let start = Instant::now();
    for first in (0..messages).step_by(1000) {
        let batch = (first..first + 1000).map(|n| Message::new(address.clone(), n.to_string())).collect();
        access.publish(batch, PublishOptions::default()).await?;
    }
    said(&format!("{messages} messages published"), start);
    let start = Instant::now();
    let mut seen = 0;
    while seen < messages {
        let leased = access.lease("work", "all", lease(1000, 1000)).await?;
        if leased.is_empty() {
            return Err(format!("nothing to lease after {seen}").into());
        }
        seen += leased.len() as u64;
        let how = |l: &Leased| match number(&l.record.message.body) % 2 {
            0 => Settle::Ack,
            _ => Settle::Nack { delay_ms: DELAY_MS },
        };
        let settles =
            leased.into_iter().map(|l| (how(&l), l.handle)).map(|(how, handle)| (handle, how)).collect();
        for result in access.settle(settles).await? {
            result?;
        }
    }
    said("all leased, every second one acknowledged, the others given back for later", start);
    println!("done");
    tokio::time::sleep(Duration::from_secs(60)).await;
    Ok(())
}

async fn check_group(dir: &Path) -> Outcome {
    let messages = option("messages", 1_000_000);
    let start = Instant::now();
    let (board, access) = board(Some(dir));
    said("after SIGKILL, started again", start);
    let view = access.group("work", "all").await?;
    println!(
        "the group has {} ready, {} leased, {} delayed, {} acknowledged",
        view.ready, view.leased, view.delayed, view.acked
    );
    if view.acked != messages / 2 || view.ready + view.leased + view.delayed != messages / 2 {
        return Err("the group's numbers are wrong".into());
    }
    let start = Instant::now();
    let mut seen = vec![false; messages as usize];
    let mut left = messages / 2;
    while left > 0 {
        let leased = access.lease("work", "all", lease(1000, 60_000)).await?;
        if leased.is_empty() {
            return Err(format!("{left} messages did not come back").into());
        }
        let mut settles = Vec::with_capacity(leased.len());
        for l in leased {
            let n = number(&l.record.message.body);
            if n.is_multiple_of(2) {
                return Err(format!("{n} was acknowledged and came again").into());
            }
            let seen = seen.get_mut(n as usize).ok_or("a number out of range")?;
            if !std::mem::replace(seen, true) {
                left -= 1;
            }
            settles.push((l.handle, Settle::Ack));
        }
        for result in access.settle(settles).await? {
            result?;
        }
    }
    said(
        &format!("the other {} came back when they were due, none of the acknowledged", messages / 2),
        start,
    );
    let start = Instant::now();
    board.stop().await;
    said("stopped in order", start);
    Ok(())
}

/// Runs `work` for every number below `count`, 256 at a time.
async fn each<F>(
    count: u64,
    access: &Access,
    work: impl Fn(Access, u64) -> F + Copy + Send + 'static,
) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let tasks: Vec<_> = (0..256)
        .map(|first| {
            let access = access.clone();
            tokio::spawn(async move {
                for n in (first..count).step_by(256) {
                    work(access.clone(), n).await?;
                }
                Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn fill_topics(dir: &Path) -> Outcome {
    std::fs::create_dir_all(dir)?;
    let (_board, access) = board(Some(dir));
    let topics = option("topics", 100_000);
    let before = resident();
    let start = Instant::now();
    each(topics, &access, |access, n| async move {
        access.declare_topic(&format!("topic.{n}"), Default::default(), Condition::Any).await?;
        Ok(())
    })
    .await?;
    said(&format!("{topics} topics created"), start);
    println!("{:.0} bytes of memory each", (resident() - before) as f64 / topics as f64);
    let start = Instant::now();
    each(topics, &access, |access, n| async move {
        let message = Message::new(Address::parse(&format!("topic.{n}"))?, n.to_string());
        access.publish(vec![message], PublishOptions::default()).await?;
        Ok(())
    })
    .await?;
    said("a message published to each", start);
    list(&access, topics).await?;
    println!("done");
    tokio::time::sleep(Duration::from_secs(60)).await;
    Ok(())
}

async fn list(access: &Access, topics: u64) -> Outcome {
    let start = Instant::now();
    let (mut after, mut count, mut pages) = (None::<String>, 0, 0);
    loop {
        let (page, more) = access.topics("", after.as_deref(), 1000).await?;
        count += page.len() as u64;
        pages += 1;
        after = page.last().map(|t| t.name.clone());
        if !more {
            break;
        }
    }
    said(&format!("{count} topics listed in {pages} pages"), start);
    if count != topics {
        return Err("topics are missing".into());
    }
    Ok(())
}

async fn check_topics(dir: &Path) -> Outcome {
    let topics = option("topics", 100_000);
    let before = resident();
    let start = Instant::now();
    let (board, access) = board(Some(dir));
    said("after SIGKILL, started again", start);
    println!("{:.0} bytes of memory a topic", (resident().saturating_sub(before)) as f64 / topics as f64);
    list(&access, topics).await?;
    let start = Instant::now();
    each(topics, &access, |access, n| async move {
        let pattern = Pattern::exact(&Address::parse(&format!("topic.{n}"))?);
        let read =
            Read { pattern, from: From::At(Start::Start), partition: None, limit: 10, max_bytes: 1 << 20 };
        let got = access.read(&read).await?;
        match got.messages.as_slice() {
            [one] if number(&one.record.message.body) == n => Ok(()),
            other => Err(format!("topic.{n} holds {} messages", other.len()).into()),
        }
    })
    .await?;
    said("every message read", start);
    let start = Instant::now();
    board.stop().await;
    said("stopped in order", start);
    Ok(())
}
