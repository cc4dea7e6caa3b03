//! The board through its only door: on disk and in memory, over restarts, with rights.

use bytes::Bytes;
use sb_board::access::*;
use sb_board::auth::{Authority, Grants};
use sb_board::call::{Code, Detail, Status};
use sb_board::mount::Peer;
use sb_board::tail::Next;
use sb_board::{Access, Board, Credentials, HttpSettings, Settings};
use sb_core::groups::{Options, Start};
use sb_core::jobs::{Failure, MethodPolicy, State, What};
use sb_core::model::{Address, Kind, Message, Pattern, Value};
use sb_core::topics::Policy;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn settings(dir: Option<&Path>) -> Settings {
    Settings {
        dir: dir.map(Path::to_path_buf),
        authority: Authority::new([], Vec::new(), BTreeMap::new()),
        http: HttpSettings::default(),
        memory: 64 << 20,
        max_message: 1 << 20,
        max_request: 8 << 20,
        max_wait_ms: 60_000,
        mode: "test".into(),
    }
}

fn start(dir: Option<&Path>) -> (Arc<Board>, Access) {
    let (board, _) = Board::start(settings(dir)).unwrap();
    let access = login(&board, Credentials::None).unwrap();
    (board, access)
}

fn login(board: &Arc<Board>, credentials: Credentials<'_>) -> sb_core::model::Result<Access> {
    let addr = "127.0.0.1:1".parse().unwrap();
    board.login("test", &Peer { addr, local: addr, tls: false }, credentials)
}

fn message(address: &str, body: &str) -> Message {
    Message::new(Address::parse(address).unwrap(), body.to_owned())
}

fn create() -> PublishOptions {
    PublishOptions { create: true, ..PublishOptions::default() }
}

async fn publish(access: &Access, address: &str, body: &str) -> Receipt {
    match access.publish(vec![message(address, body)], create()).await.unwrap() {
        Published::Stored { mut receipts, .. } => receipts.pop().unwrap(),
        Published::Live(_) => panic!("live"),
    }
}

fn read(pattern: &str, from: From) -> Read {
    Read { pattern: Pattern::parse(pattern).unwrap(), from, partition: None, limit: 1000, max_bytes: 4 << 20 }
}

async fn bodies(access: &Access, pattern: &str) -> Vec<String> {
    let got = access.read(&read(pattern, From::At(Start::Start))).await.unwrap();
    got.messages.into_iter().map(|m| String::from_utf8(m.record.message.body.to_vec()).unwrap()).collect()
}

fn lease(max: usize, wait_ms: u64) -> LeaseOptions {
    LeaseOptions { max, wait_ms, lease_ms: None, consumer: "c".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_read_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (board, access) = start(Some(dir.path()));
    for n in 0..50 {
        publish(&access, "orders.created", &n.to_string()).await;
    }
    let wanted: Vec<String> = (0..50).map(|n: i32| n.to_string()).collect();
    assert_eq!(bodies(&access, "orders.created").await, wanted);
    let half =
        access.read(&Read { limit: 25, ..read("orders.created", From::At(Start::Start)) }).await.unwrap();
    board.stop().await;
    drop((board, access));
    let (board, access) = start(Some(dir.path()));
    assert_eq!(bodies(&access, "orders.created").await, wanted);
    let rest = access.read(&read("orders.created", From::After(half.next))).await.unwrap();
    assert_eq!(rest.messages.len(), 25, "the cursor goes on behind the 25th");
    assert_eq!(publish(&access, "orders.created", "x").await.position.offset, 50);
    board.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys_and_atomic_batches() {
    let (_board, access) = start(None);
    let key = |fingerprint| PublishOptions {
        idempotency: Some(Idempotency { key: "k".into(), fingerprint }),
        create: true,
        live: false,
    };
    let first = access.publish(vec![message("a", "1")], key(1)).await.unwrap();
    let again = access.publish(vec![message("a", "1")], key(1)).await.unwrap();
    let (
        Published::Stored { receipts: a, replayed: false },
        Published::Stored { receipts: b, replayed: true },
    ) = (first, again)
    else {
        panic!("not replayed")
    };
    assert_eq!(a[0].position, b[0].position);
    assert_eq!(access.publish(vec![message("a", "2")], key(2)).await.unwrap_err().kind, Kind::Mismatch);
    assert_eq!(bodies(&access, "a").await, ["1"]);
    let batch = vec![message("b", "1"), message("a", "2"), message("b", "3")];
    let Published::Stored { receipts, .. } = access.publish(batch, create()).await.unwrap() else { panic!() };
    let offsets: Vec<(String, u64)> =
        receipts.iter().map(|r| (r.topic.to_string(), r.position.offset)).collect();
    assert_eq!(offsets, [("b".into(), 0), ("a".into(), 1), ("b".into(), 1)]);
    let bad = vec![message("a", "no"), message("not.claimed", "x")];
    assert_eq!(access.publish(bad, PublishOptions::default()).await.unwrap_err().code, "SB0307");
    assert_eq!(bodies(&access, "a").await, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tails_follow_topics_patterns_claims_and_live_messages() {
    let (_board, access) = start(None);
    let policy = Policy { claims: vec![Pattern::parse("orders.>").unwrap()], ..Policy::default() };
    access.declare_topic("orders", policy, Condition::Any).await.unwrap();
    let overlap = access.declare_topic("orders.eu", Policy::default(), Condition::Any).await.unwrap_err();
    assert_eq!((overlap.kind, overlap.code), (Kind::Conflict, "SB0302"));
    let mut eu =
        access.tail(&Pattern::parse("orders.eu.*").unwrap(), From::At(Start::End), None).await.unwrap();
    let mut all = access.tail(&Pattern::parse("orders").unwrap(), From::At(Start::End), None).await.unwrap();
    let mut later =
        access.tail(&Pattern::parse("later.*").unwrap(), From::At(Start::End), None).await.unwrap();
    publish(&access, "orders.us.a", "us").await;
    publish(&access, "orders.eu.a", "eu").await;
    publish(&access, "later.one", "later").await;
    access
        .publish(vec![message("later.two", "live")], PublishOptions { live: true, ..create() })
        .await
        .unwrap();
    async fn take(tail: &mut sb_board::tail::Tail, n: usize) -> Vec<String> {
        let mut out = Vec::new();
        while out.len() < n {
            match tokio::time::timeout(Duration::from_secs(5), tail.next()).await.unwrap() {
                Next::Records(given) => out.extend(given.indexes.iter().map(|i| {
                    String::from_utf8(given.batch.records()[*i as usize].message.body.to_vec()).unwrap()
                })),
                Next::Reset(error) => panic!("{error}"),
                Next::Draining => panic!("draining"),
            }
        }
        out
    }
    assert_eq!(take(&mut eu, 1).await, ["eu"]);
    assert_eq!(take(&mut all, 2).await, ["us", "eu"]);
    let mut both = take(&mut later, 2).await;
    both.sort();
    assert_eq!(both, ["later", "live"]);
    let quiet = tokio::time::timeout(Duration::from_millis(50), eu.next()).await;
    assert!(quiet.is_err(), "nothing else concerns it");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_lease_settle_redeliver_and_bury() {
    let dir = tempfile::tempdir().unwrap();
    let (board, access) = start(Some(dir.path()));
    let options = Options { attempts: 2, dead_letter: Some("dead".into()), ..Options::default() };
    access.declare_group("work", "g", options, Start::Start).await.unwrap();
    for n in 0..3 {
        publish(&access, "work", &n.to_string()).await;
    }
    let got = access.lease("work", "g", lease(2, 0)).await.unwrap();
    assert_eq!(got.iter().map(|l| l.attempt).collect::<Vec<_>>(), [1, 1]);
    let view = access.group("work", "g").await.unwrap();
    assert_eq!((view.ready, view.leased), (1, 2));
    let results = access
        .settle(vec![
            (got[0].handle.clone(), Settle::Ack),
            (got[1].handle.clone(), Settle::Nack { delay_ms: 0 }),
        ])
        .await
        .unwrap();
    assert!(results.iter().all(|r| r.is_ok()));
    assert_eq!(
        access.settle(vec![(got[0].handle.clone(), Settle::Ack)]).await.unwrap()[0]
            .as_ref()
            .unwrap_err()
            .code,
        "SB0402"
    );
    let peeked = access.peek("work", "g", 10).await.unwrap();
    assert_eq!(peeked.iter().map(|m| m.record.offset).collect::<Vec<_>>(), [1, 2]);
    let got = access.lease("work", "g", lease(1, 0)).await.unwrap();
    assert_eq!((got[0].record.offset, got[0].attempt), (1, 2));
    // The second attempt was the last: it is buried.
    access.settle(vec![(got[0].handle.clone(), Settle::Nack { delay_ms: 0 })]).await.unwrap();
    for _ in 0..100 {
        if access.group("work", "g").await.unwrap().dead == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let dead = access.read(&read("dead", From::At(Start::Start))).await.unwrap();
    assert_eq!(dead.messages.len(), 1);
    let buried = &dead.messages[0].record.message;
    assert_eq!(&buried.body[..], b"1");
    assert_eq!(buried.header("sb-dead-topic"), Some(&Value::Text("work".into())));
    // A waiting lease is woken by a publish; restarts keep what was done.
    let waiting = {
        let access = access.clone();
        tokio::spawn(async move { access.lease("work", "g", lease(10, 10_000)).await.unwrap() })
    };
    assert_eq!(waiting.await.unwrap().len(), 1, "message 2");
    let waiting = {
        let access = access.clone();
        tokio::spawn(async move { access.lease("work", "g", lease(10, 10_000)).await.unwrap() })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    publish(&access, "work", "3").await;
    let got = waiting.await.unwrap();
    assert_eq!(got[0].record.offset, 3);
    board.stop().await;
    drop((board, access));
    let (board, access) = start(Some(dir.path()));
    let view = access.group("work", "g").await.unwrap();
    assert_eq!((view.ready, view.leased, view.acked, view.dead), (0, 2, 1, 1), "leases outlive a restart");
    let done = access.settle(vec![(got[0].handle.clone(), Settle::Ack)]).await.unwrap();
    assert!(done[0].is_ok(), "and so do handles");
    let moved = access.seek("work", "g", Start::Start, None, true).await.unwrap();
    assert_eq!(
        (moved.skipped, moved.again),
        (0, 3),
        "what was done with comes again; what is leased would come anyway"
    );
    board.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_from_submission_to_result_with_a_lost_worker() {
    let dir = tempfile::tempdir().unwrap();
    let (board, access) = start(Some(dir.path()));
    let method = "demo.v1.Echo/Say";
    let submit =
        || Submit { method: method.into(), message: message("x", "in"), idempotency: None, timeout_ms: None };
    assert_eq!(access.submit(submit()).await.unwrap_err().code, "SB0310");
    let policy = MethodPolicy { lease_ms: 1_000, backoff_ms: 0, ..MethodPolicy::new(method) };
    access.declare_method(method, policy).await.unwrap();
    let (job, replayed) = access.submit(submit()).await.unwrap();
    assert!(!replayed && job.state == State::Queued);
    let lost = access.take(&[method.into()], 1, 5_000, None, "first").await.unwrap().pop().unwrap();
    assert_eq!((&lost.input.body[..], lost.job.id), (&b"in"[..], job.id));
    // The first worker is never heard of again: its lease runs out, another one gets the job.
    let taken = access.take(&[method.into()], 1, 10_000, None, "second").await.unwrap().pop().unwrap();
    assert_eq!(taken.job.attempts, 2);
    let late = access
        .job_finish(job.id, &lost.handle, Finish::Complete { content_type: None, body: Bytes::new() })
        .await;
    assert_eq!(late.unwrap_err().code, "SB0402");
    access
        .job_report(job.id, &taken.handle, Report::Progress(Bytes::from_static(b"{\"done\":1}")))
        .await
        .unwrap();
    access
        .job_report(job.id, &taken.handle, Report::Log { stream: "stdout".into(), text: "hi\n".into() })
        .await
        .unwrap();
    let waiting = {
        let access = access.clone();
        tokio::spawn(async move { access.job_end(job.id, 10_000).await.unwrap() })
    };
    let done = Finish::Complete { content_type: Some("text/plain".into()), body: Bytes::from_static(b"out") };
    access.job_finish(job.id, &taken.handle, done).await.unwrap();
    assert_eq!(waiting.await.unwrap().state, State::Succeeded);
    board.stop().await;
    drop((board, access));
    let (board, access) = start(Some(dir.path()));
    let Some(Outcome::Result { content_type, body }) = access.job_outcome(job.id).await.unwrap() else {
        panic!("no result")
    };
    assert_eq!((content_type.as_deref(), &body[..]), (Some("text/plain"), &b"out"[..]));
    let events = access.job_events(job.id, 0, 100).await.unwrap();
    assert!(events.iter().map(|e| e.seq).eq(1..=events.len() as u64), "numbers are dense");
    let states: Vec<State> = events
        .iter()
        .filter_map(|e| match &e.what {
            What::State { state, .. } => Some(*state),
            _ => None,
        })
        .collect();
    assert_eq!(states, [State::Queued, State::Running, State::Queued, State::Running, State::Succeeded]);
    assert_eq!(&access.job_input(job.id).await.unwrap().body[..], b"in");
    let again = access.rerun(job.id, None).await.unwrap();
    assert_eq!(again.rerun_of, Some(job.id));
    let cancelled = access.cancel(again.id).await.unwrap();
    assert_eq!(cancelled.state, State::Cancelled);
    let status = || {
        let detail = Detail { type_url: "type.googleapis.com/a.B".into(), value: Bytes::from_static(b"d") };
        Some(Status { details: vec![detail], ..Status::new(Code::OutOfRange, "no") })
    };
    // Failures: retryable until the attempts are used up.
    let (job, _) = access.submit(submit()).await.unwrap();
    for attempt in 1..=3 {
        let taken = access.take(&[method.into()], 1, 5_000, None, "w").await.unwrap().pop().unwrap();
        assert_eq!((taken.job.id, taken.job.attempts), (job.id, attempt));
        let failure = Failure { code: "boom".into(), message: "no".into(), retryable: true };
        let fail = Finish::Fail { failure, status: status(), delay_ms: Some(0) };
        access.job_finish(job.id, &taken.handle, fail).await.unwrap();
    }
    assert_eq!(access.job(job.id).await.unwrap().state, State::Failed);
    let Some(Outcome::Failed { failure, status: kept }) = access.job_outcome(job.id).await.unwrap() else {
        panic!("not failed")
    };
    assert_eq!(failure.code, "boom");
    assert_eq!(kept, status(), "with its details");
    let (list, more) = access.jobs(&JobFilter { limit: 2, ..JobFilter::default() }).await.unwrap();
    assert!(more && list[0].id > list[1].id, "newest first");
    board.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_fit_into_an_answer_was_no_attempt() {
    let (board, access) = start(None);
    let options = Options { attempts: 1, ..Options::default() };
    access.declare_group("large", "g", options, Start::Start).await.unwrap();
    let body = "x".repeat(900_000);
    for _ in 0..7 {
        publish(&access, "large", &body).await;
    }
    let first = access.lease("large", "g", lease(7, 0)).await.unwrap();
    assert_eq!(first.len(), 5, "an answer has about 4 MiB");
    let view = access.group("large", "g").await.unwrap();
    assert_eq!((view.ready, view.leased, view.dead), (2, 5, 0));
    let rest = access.lease("large", "g", lease(7, 0)).await.unwrap();
    assert_eq!(rest.iter().map(|l| (l.record.offset, l.attempt)).collect::<Vec<_>>(), [(5, 1), (6, 1)]);
    board.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_not_granted() {
    let patterns = |list: &[&str]| list.iter().map(|t| Pattern::parse(t).unwrap()).collect::<Vec<_>>();
    let grants = Grants { publish: patterns(&["in.*"]), read: patterns(&["out.eu"]), ..Grants::default() };
    let admin = Grants { admin: true, ..Grants::default() };
    let mut with_auth = settings(None);
    with_auth.authority = Authority::new(
        [("k".to_owned(), "shop".to_owned()), ("root".to_owned(), "admin".to_owned())],
        Vec::new(),
        [("shop".to_owned(), grants), ("admin".to_owned(), admin)].into(),
    );
    let (board, _) = Board::start(with_auth).unwrap();
    let nobody = login(&board, Credentials::None).unwrap();
    assert_eq!(nobody.topics("", None, 10).await.unwrap_err().kind, Kind::Unauthenticated);
    assert_eq!(
        nobody.read(&read("out", From::At(Start::Start))).await.unwrap_err().kind,
        Kind::Unauthenticated
    );
    let root = login(&board, Credentials::Token("root")).unwrap();
    let policy = Policy { claims: patterns(&["out.>"]), ..Policy::default() };
    root.declare_topic("out", policy, Condition::Any).await.unwrap();
    publish(&root, "out.eu", "seen").await;
    publish(&root, "out.us", "hidden").await;
    let shop = login(&board, Credentials::Token("k")).unwrap();
    let denied = |e: sb_core::model::Error| assert_eq!(e.code, "SB0502");
    denied(shop.publish(vec![message("out.eu", "x")], create()).await.unwrap_err());
    assert_eq!(
        shop.publish(vec![message("in.a", "x")], create()).await.unwrap_err().code,
        "SB0307",
        "may not create"
    );
    assert_eq!(bodies(&shop, "out.*").await, ["seen"], "each message is checked");
    assert_eq!(bodies(&shop, "out.eu").await, ["seen"]);
    denied(shop.read(&read("other", From::At(Start::Start))).await.unwrap_err());
    denied(shop.lease("out", "g", lease(1, 0)).await.unwrap_err());
    denied(shop.delete_topic("out").await.unwrap_err());
    denied(
        shop.submit(Submit {
            method: "a.B/C".into(),
            message: message("x", ""),
            idempotency: None,
            timeout_ms: None,
        })
        .await
        .unwrap_err(),
    );
    assert!(shop.topics("", None, 10).await.unwrap().0.is_empty() && shop.inspect().is_err());
    let (token, _) =
        root.token(&TokenGrants { read: vec!["out.us".into()], ..TokenGrants::default() }, 60_000).unwrap();
    let scoped = login(&board, Credentials::Token(&token)).unwrap();
    assert_eq!(bodies(&scoped, "out.us").await, ["hidden"]);
    denied(scoped.publish(vec![message("out.us", "x")], create()).await.unwrap_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_come_from_every_partition() {
    let (_board, access) = start(None);
    access.declare_topic("t", Policy { partitions: 4, ..Policy::default() }, Condition::Any).await.unwrap();
    for n in 0..40 {
        let mut message = message("t", &n.to_string());
        message.key = Some(Bytes::from(n.to_string()));
        access.publish(vec![message], create()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let got = access.read(&Read { limit: 8, ..read("t", From::Last(8)) }).await.unwrap();
    let bodies: Vec<String> =
        got.messages.iter().map(|m| String::from_utf8(m.record.message.body.to_vec()).unwrap()).collect();
    assert_eq!(bodies, (32..40).map(|n: i32| n.to_string()).collect::<Vec<_>>());
    let next = access.read(&read("t", From::After(got.next))).await.unwrap();
    assert!(next.messages.is_empty(), "the cursor is behind all of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_too_slow_for_live_messages_is_told_and_holds_a_bounded_number() {
    let (_board, access) = start(None);
    let mut tail = access.tail(&Pattern::parse("live.x").unwrap(), From::At(Start::End), None).await.unwrap();
    let live = || PublishOptions { live: true, ..PublishOptions::default() };
    let mut sent = 0;
    for _ in 0..20 {
        let some = (0..1000).map(|_| message("live.x", "tick")).collect();
        access.publish(some, live()).await.unwrap();
        sent += 1000;
        // Takes one while a thousand come.
        let Next::Records(_) = tail.next().await else { break };
    }
    let mut got = 0;
    let reset = loop {
        match tail.next().await {
            Next::Records(_) => got += 1,
            Next::Reset(error) => break error,
            Next::Draining => panic!("draining"),
        }
    };
    assert_eq!(reset.code, "SB0601");
    assert!(got < 10_000 && got < sent, "{got} of {sent} were held");
}

/// What a tail that has a filter passes over is what does not match: not what it has not read yet when news come, however they come.
#[tokio::test(flavor = "multi_thread")]
async fn news_do_not_move_a_tail_past_what_it_has_not_read() {
    let (_board, access) = start(None);
    let policy = Policy { claims: vec![Pattern::parse("place.>").unwrap()], ..Policy::default() };
    access.declare_topic("places", policy, Condition::Any).await.unwrap();
    let pattern = Pattern::parse("place.*").unwrap();
    async fn one(tail: &mut sb_board::tail::Tail) -> Vec<String> {
        let next = tokio::time::timeout(Duration::from_secs(5), tail.next()).await.expect("more comes");
        let Next::Records(given) = next else { panic!("the tail goes on") };
        let body =
            |i: &u32| String::from_utf8(given.batch.records()[*i as usize].message.body.to_vec()).unwrap();
        given.indexes.iter().map(body).collect()
    }
    publish(&access, "place.a", "1").await;
    let mut tail = access.tail(&pattern, From::At(Start::Start), None).await.unwrap();
    publish(&access, "place.a", "2").await;
    assert_eq!(one(&mut tail).await, ["1"], "what was there before it was opened");
    assert_eq!(one(&mut tail).await, ["2"]);
    let quiet = tokio::time::timeout(Duration::from_millis(20), tail.next()).await;
    assert!(quiet.is_err(), "it has read everything");
    publish(&access, "place.a", "3").await;
    let live = PublishOptions { live: true, ..PublishOptions::default() };
    access.publish(vec![message("place.b", "live")], live).await.unwrap();
    // The news of the third message is taken together with the live one, which goes first.
    assert_eq!(one(&mut tail).await, ["live"]);
    publish(&access, "place.a", "4").await;
    assert_eq!(one(&mut tail).await, ["3"]);
    assert_eq!(one(&mut tail).await, ["4"]);
}
