//! Topics and groups, behaviour by behaviour. Every step is also replayed on a replica, see `common`.
#![allow(missing_docs)]

mod common;
use common::{T0, World, batch_of, message};
use sb_core::groups::{Mode, Options};
use sb_core::model::{Kind, PartId, Pattern, TopicId};
use sb_core::ops::*;
use sb_core::topics::Policy;

fn code<T: std::fmt::Debug>(result: sb_core::model::Result<T>) -> &'static str {
    result.unwrap_err().code
}

#[test]
fn append_lease_ack() {
    let mut w = World::new();
    let t = w.topic("orders", Policy::default());
    let g = w.group("orders", "g", Options::default());
    w.append_n(t, 3);
    assert_eq!(w.depth(g), [3, 0, 0, 0, 0, 0]);
    let grants = w.lease(g, 2);
    assert_eq!(grants.iter().map(|g| (g.delivery.offset, g.attempt)).collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    assert_eq!(w.depth(g), [1, 2, 0, 0, 0, 0]);
    w.settle(grants[1].delivery, Settle::Ack).unwrap();
    w.settle(grants[0].delivery, Settle::Ack).unwrap();
    assert_eq!(code(w.settle(grants[0].delivery, Settle::Ack)), "SB0402");
    assert_eq!(w.depth(g), [1, 0, 0, 2, 0, 0]);
    assert_eq!(w.view(g).parts, [(2, 3)]);
    w.checkpoint();
    assert_eq!(w.offsets(g, 10), [2]);
    w.checkpoint();
    w.op(Op::DeleteTopic { name: "orders".into() }).unwrap();
    w.checkpoint();
    assert_eq!(w.store.len(), 1, "only the numbers are left");
}

#[test]
fn leases_end_and_come_back() {
    let mut w = World::new();
    let t = w.topic("orders", Policy::default());
    let g = w.group(
        "orders",
        "g",
        Options { attempts: 3, backoff_ms: 500, lease_ms: 1_000, ..Options::default() },
    );
    w.append_n(t, 2);
    let first = w.lease(g, 1)[0].delivery;
    w.wait(999);
    assert_eq!(w.depth(g)[1], 1);
    w.wait(1);
    assert_eq!(w.depth(g), [1, 0, 1, 0, 0, 0]);
    assert_eq!(code(w.settle(first, Settle::Ack)), "SB0402");
    assert_eq!(w.core.next_tick(w.now), Some(w.now.mono_ms + 500));
    w.wait(500);
    let again = w.lease(g, 1)[0].clone();
    assert_eq!((again.delivery.offset, again.attempt), (0, 2));
    w.settle(again.delivery, Settle::Nack { delay_ms: 0 }).unwrap();
    let last = w.lease(g, 1)[0].clone();
    assert_eq!((last.delivery.offset, last.attempt), (0, 3));
    w.settle(last.delivery, Settle::Unseen).unwrap();
    assert_eq!(code(w.settle(last.delivery, Settle::Ack)), "SB0402");
    let last = w.lease(g, 1)[0].clone();
    assert_eq!((last.delivery.offset, last.attempt), (0, 3), "what nobody has seen is no attempt");
    w.core.pause(5_000);
    w.replica.pause(5_000);
    w.wait(5_500);
    assert_eq!(w.depth(g)[1], 1, "the pause does not count");
    w.wait(500);
    assert_eq!(w.depth(g), [1, 0, 0, 0, 1, 0]);
}

#[test]
fn a_dead_message_dies_in_the_frame_of_its_move() {
    let mut w = World::new();
    let t = w.topic("orders", Policy::default());
    let d = w.topic("dead", Policy::default());
    let g = w.group("orders", "g", Options { dead_letter: Some("dead".into()), ..Options::default() });
    w.append_n(t, 2);
    let delivery = w.lease(g, 1)[0].delivery;
    w.settle(delivery, Settle::Dead).unwrap();
    assert_eq!(w.depth(g), [1, 0, 1, 0, 0, 0]);
    let dying = w.core.dying(g, 10);
    assert_eq!((dying[0].position.offset, dying[0].reason, dying[0].attempts), (0, "rejected", 1));
    w.checkpoint();
    let target = Some((d, 0, batch_of(&[message(None, "x")])));
    w.op(Op::DeadLetter { group: g, partition: 0, offset: 0, target }).unwrap();
    assert_eq!(w.depth(g), [1, 0, 0, 0, 1, 0]);
    assert_eq!(w.core.topic("dead").unwrap().parts[0].end, 1);
    let again = w.op(Op::DeadLetter { group: g, partition: 0, offset: 0, target: None });
    assert_eq!(code(again), "SB0302");
}

#[test]
fn delayed_and_expiring_messages() {
    let mut w = World::new();
    let t = w.topic("orders", Policy::default());
    let g = w.group("orders", "g", Options::default());
    let mut late = message(None, "late");
    late.due_ms = Some(T0 + 1_000);
    let mut short = message(None, "short");
    short.expires_ms = Some(T0 + 500);
    w.append(t, &[late.clone(), message(None, "now"), short.clone(), late]);
    assert_eq!(w.depth(g), [2, 0, 2, 0, 0, 0]);
    let other = w.group("orders", "other", Options::default());
    assert_eq!(w.depth(other), [2, 0, 2, 0, 0, 0], "a later group knows too");
    assert_eq!(w.offsets(g, 1), [1]);
    w.checkpoint();
    w.wait(600);
    assert_eq!(w.depth(g), [0, 1, 2, 0, 0, 1]);
    w.pass(500);
    assert_eq!(w.offsets(g, 10), [0, 3], "due without a tick");
    w.tick();
    assert_eq!(w.depth(other), [3, 0, 0, 0, 0, 1]);
    assert_eq!(w.offsets(other, 10), [0, 1, 3]);
}

#[test]
fn keys_are_kept_in_order() {
    let mut w = World::new();
    let t = w.topic("orders", Policy::default());
    w.append(t, &[message(Some("a"), "0"), message(Some("a"), "1"), message(Some("b"), "2")]);
    let options = Options { key_order: true, ..Options::default() };
    assert_eq!(code(w.declare("orders", "g", options.clone(), GroupStart::Start)), "SB0302");
    let hash = |k: &str| sb_core::batch::key_hash(k.as_bytes());
    let op = Op::DeclareGroup {
        topic: "orders".into(),
        group: "g".into(),
        options: options.clone(),
        start: GroupStart::Start,
        condition: Condition::Any,
        keys: vec![(0, 0, vec![hash("a"), hash("a"), hash("b")])],
    };
    let Reply::Group { view, .. } = w.op(op).unwrap() else { panic!() };
    let g = view.id;
    w.append(t, &[message(None, "3"), message(Some("b"), "4"), message(Some("c"), "5")]);
    let grants = w.lease(g, 10);
    assert_eq!(grants.iter().map(|g| g.delivery.offset).collect::<Vec<_>>(), [0, 2, 3, 5]);
    assert_eq!(w.depth(g), [2, 4, 0, 0, 0, 0]);
    w.checkpoint();
    w.settle(grants[0].delivery, Settle::Nack { delay_ms: 1_000 }).unwrap();
    assert_eq!(w.offsets(g, 10), [] as [u64; 0]);
    w.settle(grants[1].delivery, Settle::Ack).unwrap();
    assert_eq!(w.offsets(g, 10), [4]);
    w.wait(1_000);
    let a = w.lease(g, 10);
    assert_eq!(a[0].delivery.offset, 0);
    w.settle(a[0].delivery, Settle::Ack).unwrap();
    assert_eq!(w.offsets(g, 10), [1]);
    w.checkpoint();
    let other = w.declare("orders", "other", options, GroupStart::Start).unwrap();
    assert_eq!(w.offsets(other, 10), [0, 2, 3, 5], "the keys are known by now");
}

#[test]
fn seeks_say_what_they_do() {
    let mut w = World::new();
    let t = w.topic("orders", Policy::default());
    let g = w.group("orders", "g", Options::default());
    w.append_n(t, 10);
    let grants = w.lease(g, 6);
    for n in [0, 1, 3] {
        w.settle(grants[n].delivery, Settle::Ack).unwrap();
    }
    for (to, skipped, again) in [(0, 0, 3), (10, 7, 0), (4, 1, 0), (3, 1, 1)] {
        let reply = w.op(Op::Seek { group: g, to: vec![(0, to)], dry_run: true }).unwrap();
        let Reply::Seek { skipped: s, again: a } = reply else { panic!() };
        assert_eq!((s, a), (skipped, again), "to {to}");
    }
    assert_eq!(w.depth(g), [4, 3, 0, 3, 0, 0]);
    w.op(Op::Seek { group: g, to: vec![(0, 3)], dry_run: false }).unwrap();
    assert_eq!(w.depth(g), [7, 0, 0, 3, 0, 0]);
    assert_eq!(code(w.settle(grants[2].delivery, Settle::Ack)), "SB0402");
    w.checkpoint();
    assert_eq!(w.offsets(g, 10), [3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn cursors_are_remembered() {
    let mut w = World::new();
    let t = w.topic("orders", Policy::default());
    let g = w.group("orders", "g", Options { mode: Mode::Cursor, ..Options::default() });
    w.append_n(t, 5);
    w.op(Op::CommitCursor { group: g, positions: vec![(0, 3)] }).unwrap();
    assert_eq!(w.view(g).parts, [(3, 5)]);
    assert_eq!(code(w.op(Op::CommitCursor { group: g, positions: vec![(0, 6)] })), "SB0201");
    assert_eq!(code(w.op(Op::Lease { group: g, max: 1, lease_ms: None, consumer: String::new() })), "SB0308");
    assert_eq!(code(w.declare("orders", "g", Options::default(), GroupStart::Start)), "SB0308");
    w.checkpoint();
}

#[test]
fn claims_never_overlap() {
    let mut w = World::new();
    let claim = |text: &str| Policy { claims: vec![Pattern::parse(text).unwrap()], ..Policy::default() };
    w.topic("orders", claim("orders.>"));
    let mut refused = |name: &str, policy: Policy| {
        let error =
            w.op(Op::DeclareTopic { name: name.into(), policy, condition: Condition::Any }).unwrap_err();
        assert_eq!((error.kind, error.code), (Kind::Conflict, "SB0302"));
        assert!(error.detail.contains("orders"), "{error}");
    };
    refused("orders.eu", Policy::default());
    refused("x", claim("*.eu"));
    refused("y", claim("#"));
    w.topic("x", claim("eu.*"));
    w.topic("orders", Policy::default());
    w.topic("orders.eu", Policy::default());
    assert_eq!(w.core.topics("o", None, 10).0.len(), 2);
    assert!(w.core.topics("", None, 2).1);
    assert_eq!(code(w.op(Op::DeleteTopic { name: "order".into() })), "SB0301");
    assert!(w.op(Op::DeleteTopic { name: "order".into() }).unwrap_err().fix.contains("orders"));
    w.checkpoint();
}

#[test]
fn conditions_hold() {
    let mut w = World::new();
    let mut declare = |policy: Policy, condition| {
        w.op(Op::DeclareTopic { name: "t".into(), policy, condition }).map(|reply| match reply {
            Reply::Topic { created, view } => (created, view.version, view.policy.partitions),
            other => panic!("{other:?}"),
        })
    };
    let parts = |n| Policy { partitions: n, ..Policy::default() };
    assert_eq!(code(declare(parts(1), Condition::Version(1))), "SB0210");
    assert_eq!(code(declare(parts(1), Condition::Present)), "SB0301");
    assert_eq!(declare(parts(1), Condition::Absent), Ok((true, 1, 1)));
    assert_eq!(code(declare(parts(1), Condition::Absent)), "SB0210");
    assert_eq!(declare(parts(9), Condition::Ensure), Ok((false, 1, 1)));
    assert_eq!(declare(parts(3), Condition::Version(1)), Ok((false, 2, 3)));
    assert_eq!(code(declare(parts(4), Condition::Version(1))), "SB0210");
    assert_eq!(code(declare(parts(2), Condition::Any)), "SB0201");
    let mut declare = |attempts, condition| {
        let op = Op::DeclareGroup {
            topic: "t".into(),
            group: "g".into(),
            options: Options { attempts, ..Options::default() },
            start: GroupStart::Start,
            condition,
            keys: vec![],
        };
        w.op(op).map(|reply| match reply {
            Reply::Group { created, view } => (created, view.options.attempts),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(code(declare(1, Condition::Present)), "SB0303");
    assert_eq!(code(declare(1, Condition::Version(1))), "SB0201");
    assert_eq!(declare(1, Condition::Absent), Ok((true, 1)));
    assert_eq!(code(declare(2, Condition::Absent)), "SB0210");
    assert_eq!(declare(2, Condition::Ensure), Ok((false, 1)));
    assert_eq!(declare(3, Condition::Present), Ok((false, 3)));
    assert_eq!(code(declare(4, Condition::Version(1))), "SB0201");
}

#[test]
fn retention_by_age_bytes_and_consumption() {
    let mut w = World::new();
    let t = w.topic("age", Policy { keep_age_ms: Some(10_000), ..Policy::default() });
    let g = w.group("age", "g", Options::default());
    for _ in 0..5 {
        w.append_n(t, 1);
        w.wait(2_000);
    }
    w.wait(1_000);
    let part = w.core.topic("age").unwrap().parts[0];
    assert_eq!((part.start, part.end), (1, 5));
    assert_eq!(w.depth(g), [4, 0, 0, 0, 0, 1]);
    w.wait(60_000);
    let part = w.core.topic("age").unwrap().parts[0];
    assert_eq!((part.start, part.end, part.bytes), (5, 5, 0));
    assert_eq!(w.depth(g), [0, 0, 0, 0, 0, 5]);

    let t = w.topic("bytes", Policy { keep_bytes: Some(1_000), ..Policy::default() });
    for _ in 0..50 {
        w.append_n(t, 1);
        w.tick();
    }
    let part = w.core.topic("bytes").unwrap().parts[0];
    assert!(part.start > 30 && part.bytes <= 1_000 && part.bytes > 800, "{part:?}");
    w.checkpoint();

    // A limit given to a topic that has much already: its marks lie a MiB apart.
    for messages in [40, 43] {
        let name = format!("late{messages}");
        let t = w.topic(&name, Policy::default());
        for _ in 0..messages {
            w.append(t, &[message(None, &"x".repeat(250_000))]);
        }
        w.topic(&name, Policy { keep_bytes: Some(1_000_000), ..Policy::default() });
        w.wait(1_000);
        let part = w.core.topic(&name).unwrap().parts[0];
        assert!((500_000..2_100_000).contains(&part.bytes), "{part:?}");
    }

    let t = w.topic("consumed", Policy { keep_until_consumed: true, ..Policy::default() });
    let g = w.group("consumed", "g", Options::default());
    w.append_n(t, 4);
    let grants = w.lease(g, 4);
    w.settle(grants[0].delivery, Settle::Ack).unwrap();
    w.settle(grants[2].delivery, Settle::Ack).unwrap();
    w.wait(1_000);
    assert_eq!(w.core.topic("consumed").unwrap().parts[0].start, 1);
    assert_eq!(w.depth(g), [0, 2, 0, 2, 0, 0]);
}

#[test]
fn all_or_nothing() {
    let mut w = World::new();
    let t = w.topic("orders", Policy::default());
    let g = w.group("orders", "g", Options::default());
    w.append_n(t, 3);
    let grant = w.lease(g, 1)[0].delivery;
    let before = (w.core.hash(), w.log.len());
    let commit = Commit {
        dedup: None,
        ops: vec![
            Op::DeclareTopic { name: "new".into(), policy: Policy::default(), condition: Condition::Any },
            Op::DeclareGroup {
                topic: "new".into(),
                group: "g".into(),
                options: Options::default(),
                start: GroupStart::Start,
                condition: Condition::Any,
                keys: vec![],
            },
            Op::Append { topic: t, partition: 0, batch: batch_of(&[message(None, "x")]) },
            Op::Settle { settles: vec![(grant, Settle::Ack)] },
            Op::DeleteTopic { name: "orders".into() },
            Op::Append { topic: t, partition: 0, batch: batch_of(&[message(None, "x")]) },
        ],
    };
    assert_eq!(code(w.commit(commit)), "SB0301");
    assert_eq!((w.core.hash(), w.log.len()), before);
    assert!(w.core.topic("new").is_none());
    w.checkpoint();
    let commit = Commit {
        dedup: None,
        ops: vec![
            Op::Append { topic: t, partition: 0, batch: batch_of(&[message(None, "x")]) },
            Op::Settle { settles: vec![(grant, Settle::Ack), (grant, Settle::Ack)] },
            Op::Append { topic: t, partition: 0, batch: batch_of(&[message(None, "y")]) },
        ],
    };
    let answer = w.commit(commit).unwrap();
    let Reply::Settled(settled) = &answer.replies[1] else { panic!() };
    assert!(settled[0].is_ok() && settled[1].is_err());
    assert!(matches!(answer.replies[2], Reply::Appended { base: 4, .. }));
    let commit = Commit {
        dedup: None,
        ops: vec![
            Op::Append { topic: t, partition: 0, batch: batch_of(&[message(None, "x")]) },
            Op::Append { topic: t, partition: 7, batch: batch_of(&[message(None, "x")]) },
        ],
    };
    let before = w.core.hash();
    assert_eq!(code(w.commit(commit)), "SB0201");
    assert_eq!(w.core.hash(), before);
}

#[test]
fn idempotency_keys() {
    let mut w = World::new();
    let t = w.topic("orders", Policy::default());
    let commit = |fingerprint| Commit {
        dedup: Some(Dedup { scope: "p".into(), key: "k".into(), fingerprint, window_ms: 60_000 }),
        ops: vec![Op::Append { topic: t, partition: 0, batch: batch_of(&[message(None, "x")]) }],
    };
    assert!(!w.commit(commit(1)).unwrap().replayed);
    w.checkpoint();
    let again = w.commit(commit(1)).unwrap();
    assert!(again.replayed && matches!(again.replies[0], Reply::Appended { base: 0, count: 1, .. }));
    assert_eq!(code(w.commit(commit(2))), "SB0306");
    assert_eq!(w.core.counts().dedup, 1);
    w.wait(130_000);
    assert_eq!(w.core.counts().dedup, 0);
    assert!(!w.commit(commit(2)).unwrap().replayed);
    w.checkpoint();
    assert_eq!(w.core.topic("orders").unwrap().parts[0].end, 2);
}

#[test]
fn memory_leaves_no_trace() {
    let mut w = World::new();
    let before = w.core.hash();
    let t = w.topic("m", Policy { memory: true, ..Policy::default() });
    assert!(t.0 >= 0x8000_0000);
    let g = w.group("m", "g", Options::default());
    w.append_n(t, 3);
    let grants = w.lease(g, 2);
    w.settle(grants[0].delivery, Settle::Ack).unwrap();
    w.wait(30_000);
    assert_eq!(w.depth(g), [2, 0, 0, 1, 0, 0]);
    assert_eq!((w.core.hash(), w.log.len()), (before, 1));
    let mut policy = sb_core::jobs::MethodPolicy::new("a.B/C");
    policy.topic = "m".into();
    assert_eq!(code(w.op(Op::DeclareMethod { name: "a.B/C".into(), policy })), "SB0209");
    w.checkpoint();
    assert_eq!(w.core.topic_by_id(TopicId::JOBS).unwrap().parts.len(), 1);
    assert_eq!(w.core.counts().topics, 1);
}

#[test]
fn partitions_take_turns() {
    let mut w = World::new();
    let t = w.topic("orders", Policy { partitions: 3, ..Policy::default() });
    let g = w.group("orders", "g", Options::default());
    for partition in [0, 1, 2, 0, 1, 2] {
        w.op(Op::Append { topic: t, partition, batch: batch_of(&[message(None, "x")]) }).unwrap();
    }
    let parts: Vec<u32> = (0..6).flat_map(|_| w.lease(g, 1)).map(|g| g.delivery.partition).collect();
    assert_eq!(parts, [0, 1, 2, 0, 1, 2]);
    w.topic("orders", Policy { partitions: 5, ..Policy::default() });
    w.op(Op::Append { topic: t, partition: 4, batch: batch_of(&[message(None, "x")]) }).unwrap();
    assert_eq!(w.lease(g, 9)[0].delivery.partition, 4);
    w.checkpoint();
    let part = PartId { topic: t, partition: 4 };
    assert_eq!(w.core.topic_by_id(part.topic).unwrap().parts[4].end, 1);
}

#[test]
fn in_flight_is_bounded() {
    let mut w = World::new();
    let t = w.topic("orders", Policy::default());
    let g = w.group("orders", "g", Options::default());
    for _ in 0..21 {
        w.append_n(t, 1_000);
    }
    for _ in 0..20 {
        assert_eq!(w.lease(g, 1_000).len(), 1_000);
    }
    let op = Op::Lease { group: g, max: 1, lease_ms: None, consumer: String::new() };
    assert_eq!(code(w.op(op)), "SB0601");
    w.checkpoint();
    w.wait(30_000);
    assert_eq!(w.depth(g), [21_000, 0, 0, 0, 0, 0]);
}
