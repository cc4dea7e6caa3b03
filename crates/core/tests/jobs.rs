//! Methods and jobs, behaviour by behaviour. Every step is also replayed on a replica, see `common`.
#![allow(missing_docs)]

mod common;
use common::{T0, World, batch_of, event, message};
use sb_core::jobs::{Failure, JOBS_NAME, MethodPolicy, State, What, decode_event, encode_event};
use sb_core::model::{Address, JobId, Kind, TopicId};
use sb_core::ops::*;

fn code<T: std::fmt::Debug>(result: sb_core::model::Result<T>) -> &'static str {
    result.unwrap_err().code
}

fn result() -> What {
    What::Result { content_type: None, body: "done".into() }
}

fn failure(retryable: bool) -> Failure {
    Failure { code: "E".into(), message: "no".into(), retryable }
}

fn take(w: &mut World) -> Grant {
    let g = w.workers();
    w.lease(g, 1).pop().unwrap()
}

#[test]
fn a_job_succeeds() {
    let mut w = World::new();
    w.method(|_| {});
    let job = w.submit(1, None).unwrap();
    assert_eq!((job.state, job.events, job.deadline_ms), (State::Queued, 1, T0 + 600_000));
    w.checkpoint();
    let grant = take(&mut w);
    assert_eq!(grant.job, Some(JobId(1)));
    assert_eq!((w.job(1).state, w.job(1).worker.as_str(), w.job(1).attempts), (State::Running, "c", 1));
    assert_eq!(w.core.job_delivery(JobId(1)), Some(grant.delivery));
    let lease = grant.delivery.lease;
    let log = event(JobId(1), &What::Log { stream: "stdout".into(), text: "hello".into() });
    let report = Op::Report {
        job: JobId(1),
        lease,
        event: Some(log),
        progress: Some("1".into()),
        lease_ms: Some(60_000),
    };
    let Reply::Term { lease_ms, cancel_requested } = w.op(report).unwrap() else { panic!() };
    assert_eq!((lease_ms, cancel_requested), (60_000, false));
    w.wait(59_000);
    let done = |lease| Op::Complete { job: JobId(1), lease, event: event(JobId(1), &result()) };
    assert_eq!(code(w.op(done(lease + 1))), "SB0402");
    w.op(done(lease)).unwrap();
    assert_eq!(code(w.op(done(lease))), "SB0403");
    assert_eq!(w.job(1).state, State::Succeeded);
    assert_eq!(w.core.job_outcome(JobId(1)), Some((State::Succeeded, Some(3))));
    assert_eq!(w.core.job_events(JobId(1), 2, 2), [(2, 3), (3, 4)]);
    let g = w.workers();
    assert_eq!(w.depth(g), [0, 0, 0, 1, 0, 0]);
    w.checkpoint();
    w.wait(86_400_000);
    assert_eq!(code(w.op(Op::Cancel { job: JobId(1) })), "SB0401");
    w.wait(2_000);
    let part = w.core.topic_by_id(TopicId::JOBS).unwrap().parts[0];
    assert_eq!((part.start, part.end), (5, 5), "the events went with it");
    w.checkpoint();
}

fn error(retryable: bool) -> What {
    What::Error { failure: failure(retryable), status: bytes::Bytes::from_static(b"\x08\x05") }
}

#[test]
fn what_a_service_said_is_kept_and_was_not_always_there() {
    let read = |what: &What| {
        let batch = bytes::Bytes::from(encode_event(JobId(7), 2, 1_000, what));
        let topic = Address::parse(JOBS_NAME).unwrap();
        let record = sb_core::batch::records(&topic, &batch).unwrap().next().unwrap().unwrap();
        decode_event(1, &record.message).unwrap().what
    };
    assert_eq!(read(&error(true)), error(true));
    let without = What::Error { failure: failure(false), status: bytes::Bytes::new() };
    assert_eq!(read(&without), without);
}

#[test]
fn attempts_and_failures() {
    let mut w = World::new();
    w.method(|p| p.attempts = 3);
    w.submit(1, None).unwrap();
    let grant = take(&mut w);
    w.wait(30_000);
    assert_eq!((w.job(1).state, w.job(1).events), (State::Queued, 3));
    assert_eq!(code(w.settle(grant.delivery, Settle::Ack)), "SB0402");
    w.wait(1_000);
    let fail = |lease, retryable, delay_ms| Op::Fail {
        job: JobId(1),
        lease,
        failure: failure(retryable),
        delay_ms,
        event: event(JobId(1), &error(retryable)),
    };
    let lease = take(&mut w).delivery.lease;
    w.op(fail(lease, true, Some(5_000))).unwrap();
    assert_eq!((w.job(1).state, w.job(1).error.is_some()), (State::Queued, true));
    w.wait(4_999);
    let g = w.workers();
    assert_eq!(w.offsets(g, 1), [] as [u64; 0]);
    w.wait(1);
    w.checkpoint();
    let lease = take(&mut w).delivery.lease;
    w.op(fail(lease, true, None)).unwrap();
    assert_eq!((w.job(1).state, w.job(1).attempts), (State::Failed, 3));
    assert!(w.core.job_outcome(JobId(1)).unwrap().1.is_some());
    w.submit(2, None).unwrap();
    let grant = take(&mut w);
    let op = Op::Fail {
        job: JobId(2),
        lease: grant.delivery.lease,
        failure: failure(false),
        delay_ms: None,
        event: event(JobId(2), &error(false)),
    };
    w.op(op).unwrap();
    assert_eq!(w.job(2).state, State::Failed);
    assert_eq!(w.depth(g), [0, 0, 0, 0, 2, 0]);
    w.submit(3, None).unwrap();
    let grant = take(&mut w);
    w.settle(grant.delivery, Settle::Ack).unwrap();
    assert_eq!(w.job(3).state, State::Succeeded);
    let failed = JobFilter { state: Some(State::Failed), limit: 1, ..JobFilter::default() };
    let (jobs, more) = w.core.jobs(&failed);
    assert_eq!((jobs[0].id, more), (JobId(2), true));
    let rest = w.core.jobs(&JobFilter { after: Some(JobId(2)), ..failed });
    assert_eq!((rest.0[0].id, rest.1), (JobId(1), false));
    assert_eq!(w.core.counts().jobs[..4], [0, 0, 1, 2]);
}

#[test]
fn cancelling() {
    let mut w = World::new();
    w.method(|_| {});
    for n in 1..=4 {
        w.submit(n, None).unwrap();
    }
    w.op(Op::Cancel { job: JobId(2) }).unwrap();
    assert_eq!(w.job(2).state, State::Cancelled);
    assert_eq!(code(w.op(Op::Cancel { job: JobId(2) })), "SB0403");
    w.checkpoint();
    let g = w.workers();
    let grants = w.lease(g, 9);
    assert_eq!(grants.iter().map(|g| g.job.unwrap().0).collect::<Vec<_>>(), [1, 3, 4]);
    for n in [1, 3, 4] {
        w.op(Op::Cancel { job: JobId(n) }).unwrap();
        assert!(w.job(n).cancel_requested && w.job(n).state == State::Running);
    }
    w.settle(grants[0].delivery, Settle::Nack { delay_ms: 0 }).unwrap();
    assert_eq!(w.job(1).state, State::Cancelled);
    let op =
        Op::Complete { job: JobId(3), lease: grants[1].delivery.lease, event: event(JobId(3), &result()) };
    w.op(op).unwrap();
    assert_eq!(w.job(3).state, State::Succeeded);
    w.wait(30_000);
    assert_eq!(w.job(4).state, State::Cancelled);
    assert_eq!(w.depth(g), [0, 0, 0, 4, 0, 0]);
}

#[test]
fn deadlines() {
    let mut w = World::new();
    w.method(|p| p.timeout_ms = 10_000);
    w.submit(1, None).unwrap();
    w.submit(2, None).unwrap();
    let grant = take(&mut w);
    w.wait(10_000);
    assert_eq!((w.job(1).state, w.job(2).state), (State::Expired, State::Expired));
    assert_eq!(code(w.settle(grant.delivery, Settle::Ack)), "SB0402");
    let g = w.workers();
    assert_eq!(w.depth(g), [0, 0, 0, 0, 0, 2]);
    w.checkpoint();
}

#[test]
fn keys_and_refusals() {
    let mut w = World::new();
    w.method(|_| {});
    w.submit(1, Some("k")).unwrap();
    w.submit(2, Some("k")).unwrap();
    w.submit(3, None).unwrap();
    let g = w.workers();
    let grants = w.lease(g, 9);
    assert_eq!(grants.iter().map(|g| g.job.unwrap().0).collect::<Vec<_>>(), [1, 3]);
    w.op(Op::Cancel { job: JobId(2) }).unwrap();
    w.settle(grants[0].delivery, Settle::Ack).unwrap();
    assert_eq!(w.lease(g, 9).len(), 0);
    assert_eq!(w.submit(3, None).unwrap_err().kind, Kind::Exists);
    let mut declare = |name: &str, change: fn(&mut MethodPolicy)| {
        let mut policy = MethodPolicy::new("a.B/C");
        change(&mut policy);
        code(w.op(Op::DeclareMethod { name: name.into(), policy }))
    };
    assert_eq!(declare("aB", |_| {}), "SB0202");
    assert_eq!(declare("a..B/C", |_| {}), "SB0202");
    assert_eq!(declare("a.B/D", |p| p.attempts = 0), "SB0201");
    assert_eq!(declare("a.B/D", |p| p.lease_ms = 1), "SB0201");
    assert_eq!(code(w.op(Op::DeleteMethod { name: "a.B/D".into() })), "SB0310");
    assert!(w.op(Op::DeleteMethod { name: "a.B/D".into() }).unwrap_err().fix.contains("a.B/C"));
    assert_eq!(code(w.op(Op::DeleteMethod { name: "a.B/C".into() })), "SB0302", "there is work");
    assert_eq!(code(w.op(Op::DeleteTopic { name: "a.B.C".into() })), "SB0302");
    assert_eq!(code(w.op(Op::DeleteGroup { topic: "a.B.C".into(), group: "workers".into() })), "SB0302");
    assert_eq!(code(w.op(Op::Seek { group: g, to: vec![(0, 0)], dry_run: false })), "SB0302");
    let t = w.core.topic("a.B.C").unwrap().id;
    w.op(Op::Append { topic: t, partition: 0, batch: batch_of(&[message(None, "no job")]) }).unwrap();
    assert_eq!(take(&mut w).job, None);
    w.checkpoint();
}

#[test]
fn a_submission_is_one_with_its_key() {
    let mut w = World::new();
    w.method(|_| {});
    let submit = |id| Commit {
        dedup: Some(Dedup { scope: "p".into(), key: "k".into(), fingerprint: 1, window_ms: 60_000 }),
        ops: vec![Op::Submit {
            id: JobId(id),
            method: "a.B/C".into(),
            partition: 0,
            batch: batch_of(&[message(None, "in")]),
            timeout_ms: Some(5),
            principal: String::new(),
            rerun_of: None,
            callback: None,
        }],
    };
    w.commit(submit(1)).unwrap();
    let again = w.commit(submit(2)).unwrap();
    assert!(again.replayed);
    assert!(matches!(&again.replies[0], Reply::Job(job) if job.id == JobId(1)));
    assert_eq!(w.core.counts().jobs[0], 1);
}

#[test]
fn damaged_frames_and_checkpoints_do_not_panic() {
    let mut w = World::new();
    w.method(|_| {});
    for n in 1..=3 {
        w.submit(n, Some("k")).unwrap();
    }
    let first = take(&mut w);
    let report = Op::Report {
        job: JobId(1),
        lease: first.delivery.lease,
        event: None,
        progress: Some("1".into()),
        lease_ms: None,
    };
    w.op(report).unwrap();
    w.op(Op::Cancel { job: JobId(2) }).unwrap();
    w.op(Op::Cancel { job: JobId(1) }).unwrap();
    w.settle(first.delivery, Settle::Nack { delay_ms: 5 }).unwrap();
    w.submit(4, None).unwrap();
    let t = w.topic(
        "claims",
        sb_core::topics::Policy {
            claims: vec![sb_core::model::Pattern::parse("x.>").unwrap()],
            keep_age_ms: Some(1_000),
            partitions: 2,
            ..Default::default()
        },
    );
    let mut m = message(None, "x");
    m.due_ms = Some(T0 + 70_000);
    m.expires_ms = Some(T0 + 80_000);
    w.append(t, &[m]);
    w.group("claims", "g", Default::default());
    w.commit(Commit {
        dedup: Some(Dedup { scope: "p".into(), key: "k".into(), fingerprint: 1, window_ms: 60_000 }),
        ops: vec![Op::Append { topic: t, partition: 1, batch: batch_of(&[message(None, "in")]) }],
    })
    .unwrap();
    w.checkpoint();
    let store = w.store.clone();
    w.wait(90_000);
    w.wait(700_000);
    w.wait(86_400_000);
    w.op(Op::DeleteMethod { name: "a.B/C".into() }).unwrap();
    w.op(Op::DeleteTopic { name: "a.B.C".into() }).unwrap();
    w.checkpoint();
    // Every byte of every frame, each in its own history.
    let mut accepted = 0;
    for n in 0..w.log.len() {
        for at in 0..w.log[n].len() {
            for flip in [1, 0x80, 0xff] {
                let mut core = sb_core::Core::new();
                for frame in &w.log[..n] {
                    core.apply(frame, Now::default()).unwrap();
                }
                let mut frame = w.log[n].clone();
                frame[at] ^= flip;
                let mut rest = std::iter::once(&frame).chain(&w.log[n + 1..]);
                accepted += u32::from(rest.all(|frame| core.apply(frame, Now::default()).is_ok()));
            }
        }
    }
    assert!(accepted > 0, "bodies may be anything to the core");
    for (key, value) in &store {
        for at in 0..value.len() {
            let mut store = store.clone();
            if let Some(value) = store.get_mut(key) {
                value[at] ^= 0xff;
            }
            if let Ok(mut core) = sb_core::Core::restore(store) {
                let mut frame = Frame::default();
                core.boot(w.now, &mut frame);
                while core.tick(w.now, 100, &mut frame) {}
            }
        }
    }
}
