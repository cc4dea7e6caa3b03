//! Prints what the core costs: append + lease + ack of one message, and a checkpoint of 100,000 topics and 10,000 groups.

use sb_core::Core;
use sb_core::groups::Options;
use sb_core::model::{Address, Message};
use sb_core::ops::{Batch, Condition, Frame, GroupStart, Now, Op, Reply, Settle};
use sb_core::topics::Policy;
use std::time::Instant;

fn main() {
    let now = Now { wall_ms: 1_700_000_000_000, mono_ms: 0 };
    let mut core = Core::new();
    let mut frame = Frame::default();
    core.boot(now, &mut frame);
    let mut ids = Vec::new();
    for n in 0..100_000 {
        let name = format!("topic-{n}");
        let op = Op::DeclareTopic { name, policy: Policy::default(), condition: Condition::Any };
        let Ok(answer) = core.commit(now, op.into(), &mut frame) else { return };
        if let Some(Reply::Topic { view, .. }) = answer.replies.first() {
            ids.push(view.id);
        }
    }
    let mut groups = Vec::new();
    for n in 0..10_000 {
        let op = Op::DeclareGroup {
            topic: format!("topic-{n}"),
            group: "g".into(),
            options: Options::default(),
            start: GroupStart::Start,
            condition: Condition::Any,
            keys: Vec::new(),
        };
        let Ok(answer) = core.commit(now, op.into(), &mut frame) else { return };
        if let Some(Reply::Group { view, .. }) = answer.replies.first() {
            groups.push(view.id);
        }
    }
    let body = vec![0u8; 100];
    let Ok(address) = Address::parse("topic-0") else { return };
    let bytes = sb_core::batch::encode("topic-0", &[Message::new(address, body)]);
    let batch = || Batch { bytes: bytes.clone(), due: Vec::new(), expires: Vec::new() };

    for round in 0..3 {
        for id in &ids {
            let op = Op::Append { topic: *id, partition: 0, batch: batch() };
            let _ = core.commit(now, op.into(), &mut frame);
        }
        for group in &groups {
            let op = Op::Lease { group: *group, max: 1, lease_ms: None, consumer: String::new() };
            let _ = core.commit(now, op.into(), &mut frame);
        }
        frame = Frame::default();
        let begin = Instant::now();
        let checkpoint = core.checkpoint();
        let took = begin.elapsed();
        let puts = checkpoint.puts().count();
        println!("checkpoint {round}: {took:?} for {puts} entries, encoded in {:?}", begin.elapsed() - took);
    }

    for window in [1usize, 64] {
        let rounds = 1_000_000 / window;
        let mut batches: Vec<Batch> = Vec::new();
        let (mut spent, mut done) = (0u128, 0u64);
        for round in 0..rounds {
            batches.extend((0..window).map(|_| batch()));
            let begin = Instant::now();
            for batch in batches.drain(..) {
                let op = Op::Append { topic: ids[0], partition: 0, batch };
                let _ = core.commit(now, op.into(), &mut frame);
            }
            let mut leased = Vec::with_capacity(window);
            for _ in 0..window {
                let op = Op::Lease { group: groups[0], max: 1, lease_ms: None, consumer: String::new() };
                if let Ok(answer) = core.commit(now, op.into(), &mut frame)
                    && let Some(Reply::Leased(grants)) = answer.replies.into_iter().next()
                {
                    leased.extend(grants);
                }
            }
            for grant in leased {
                let op = Op::Settle { settles: vec![(grant.delivery, Settle::Ack)] };
                done += u64::from(core.commit(now, op.into(), &mut frame).is_ok());
            }
            spent += begin.elapsed().as_nanos();
            if round % 16 == 0 {
                frame.bytes.clear();
                let e = &mut frame.effects;
                e.appended.clear();
                e.ready.clear();
            }
        }
        println!("window {window}: {} ns per append + lease + ack", spent / u128::from(done.max(1)));
    }
}
