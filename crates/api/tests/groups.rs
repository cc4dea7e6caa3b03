//! Groups: every method, and its errors.

mod common;

use buffa::MessageField;
use buffa_types::google::protobuf::FieldMask;
use common::*;
use sb_api::types::switchboard::v1::*;
use sb_board::Access;
use sb_board::call::Code;

fn create(topic: &str, group: &str, options: GroupOptions) -> CreateGroupRequest {
    CreateGroupRequest {
        topic: topic.into(),
        group: group.into(),
        options: MessageField::some(options),
        ..CreateGroupRequest::default()
    }
}

async fn lease(access: &Access, max: i32) -> Vec<LeasedMessage> {
    let request = LeaseRequest { topic: "t".into(), group: "g".into(), max, ..LeaseRequest::default() };
    call::<_, LeaseResponse>(access, "Groups/Lease", &request).await.unwrap().messages
}

fn settlement(handle: &str, action: SettleAction) -> Settlement {
    Settlement { handle: handle.into(), action: action.into(), ..Settlement::default() }
}

fn settle(settlements: Vec<Settlement>) -> SettleRequest {
    SettleRequest { topic: "t".into(), group: "g".into(), settlements }
}

async fn group(access: &Access) -> Group {
    let request = GetGroupRequest { topic: "t".into(), group: "g".into() };
    call(access, "Groups/Get", &request).await.unwrap()
}

#[tokio::test]
async fn groups_from_creation_to_deletion() {
    let (_board, access) = board().await;
    let options = GroupOptions {
        lease: duration(5_000),
        attempts: Some(3),
        dead_letter: Some("dead".into()),
        backoff: duration(250),
        order: GroupOrder::GROUP_ORDER_KEY.into(),
        ..GroupOptions::default()
    };
    // The topic is created, too.
    let made: Group = call(&access, "Groups/Create", &create("t", "g", options.clone())).await.unwrap();
    let mode: buffa::EnumValue<GroupMode> = GroupMode::GROUP_MODE_QUEUE.into();
    assert_eq!(made.options.as_option(), Some(&GroupOptions { mode, ..options.clone() }));
    assert_eq!(
        refused(&access, "Groups/Create", &create("t", "g", options.clone())).await,
        (Code::AlreadyExists, "SB0302".into())
    );
    let other = CreateGroupRequest { allow_existing: true, ..create("t", "g", GroupOptions::default()) };
    assert_eq!(call::<_, Group>(&access, "Groups/Create", &other).await.unwrap(), made, "left as it is");
    let short = GroupOptions { lease: duration(999), ..GroupOptions::default() };
    assert_eq!(refused(&access, "Groups/Create", &create("t", "h", short)).await.0, Code::InvalidArgument);
    let unknown = GroupOptions { mode: 9.into(), ..GroupOptions::default() };
    assert_eq!(refused(&access, "Groups/Create", &create("t", "h", unknown)).await.0, Code::InvalidArgument);

    let mut update = UpdateGroupRequest {
        topic: "t".into(),
        group: "g".into(),
        options: MessageField::some(GroupOptions { attempts: Some(7), ..GroupOptions::default() }),
        ..UpdateGroupRequest::default()
    };
    let updated: Group = call(&access, "Groups/Update", &update).await.unwrap();
    assert_eq!((updated.options.attempts, updated.options.dead_letter.as_deref()), (Some(7), Some("dead")));
    update.update_mask =
        MessageField::some(FieldMask { paths: vec!["dead_letter".into()], ..FieldMask::default() });
    let updated: Group = call(&access, "Groups/Update", &update).await.unwrap();
    assert_eq!((updated.options.attempts, updated.options.dead_letter.clone()), (Some(7), None));
    update.update_mask = MessageField::none();
    update.options =
        MessageField::some(GroupOptions { order: GroupOrder::GROUP_ORDER_NONE.into(), ..Default::default() });
    assert_eq!(refused(&access, "Groups/Update", &update).await, (Code::Aborted, "SB0308".into()));
    update.group = "none".into();
    assert_eq!(refused(&access, "Groups/Update", &update).await, (Code::NotFound, "SB0303".into()));

    call::<_, Group>(&access, "Groups/Create", &create("s", "g", GroupOptions::default())).await.unwrap();
    let mut list = ListGroupsRequest { limit: 1, ..ListGroupsRequest::default() };
    let page: ListGroupsResponse = call(&access, "Groups/List", &list).await.unwrap();
    assert_eq!((page.groups[0].topic.as_str(), page.next.as_str()), ("s", "s/g"));
    list.after = page.next;
    let page: ListGroupsResponse = call(&access, "Groups/List", &list).await.unwrap();
    assert_eq!((page.groups[0].topic.as_str(), page.next.as_str()), ("t", ""));
    list.after = "no slash".into();
    assert_eq!(refused(&access, "Groups/List", &list).await.0, Code::InvalidArgument);

    let delete = DeleteGroupRequest { topic: "t".into(), group: "g".into() };
    call::<_, DeleteGroupResponse>(&access, "Groups/Delete", &delete).await.unwrap();
    assert_eq!(refused(&access, "Groups/Delete", &delete).await, (Code::NotFound, "SB0303".into()));
    let get = GetGroupRequest { topic: "t".into(), group: "g".into() };
    assert_eq!(refused(&access, "Groups/Get", &get).await, (Code::NotFound, "SB0303".into()));
}

#[tokio::test]
async fn leases_and_what_becomes_of_them() {
    let (_board, access) = board().await;
    publish(&access, "t", &["1", "2", "3", "4"]).await;
    let options = GroupOptions { dead_letter: Some("dead".into()), ..GroupOptions::default() };
    call::<_, Group>(&access, "Groups/Create", &create("t", "g", options)).await.unwrap();
    let peek = PeekRequest { topic: "t".into(), group: "g".into(), limit: 2 };
    let next: PeekResponse = call(&access, "Groups/Peek", &peek).await.unwrap();
    assert_eq!(next.messages.iter().map(|m| text(&m.body)).collect::<Vec<_>>(), ["1", "2"]);

    let leased = lease(&access, 4).await;
    assert_eq!(leased.len(), 4);
    assert!(leased.iter().all(|l| l.attempt == 1 && l.lease_until.is_set() && !l.message.id.is_empty()));
    let handle = |n: usize| leased[n].handle.as_str();
    let request = settle(vec![
        settlement(handle(0), SettleAction::SETTLE_ACTION_ACK),
        settlement(handle(1), SettleAction::SETTLE_ACTION_NACK),
        settlement(handle(2), SettleAction::SETTLE_ACTION_DEAD),
        Settlement { lease: duration(60_000), ..settlement(handle(3), SettleAction::SETTLE_ACTION_EXTEND) },
    ]);
    let settled: SettleResponse = call(&access, "Groups/Settle", &request).await.unwrap();
    assert!(settled.results.iter().all(|r| r.ok && r.code.is_empty()));
    assert!(settled.results[3].lease_until.seconds > leased[3].lease_until.seconds);
    assert_eq!(settled.results[1].handle, handle(1));
    // Some stale: each result says so. All stale: the call fails.
    let mixed = settle(vec![
        settlement(handle(0), SettleAction::SETTLE_ACTION_ACK),
        settlement(handle(3), SettleAction::SETTLE_ACTION_ACK),
    ]);
    let settled: SettleResponse = call(&access, "Groups/Settle", &mixed).await.unwrap();
    assert_eq!(
        settled.results.iter().map(|r| (r.ok, r.code.as_str())).collect::<Vec<_>>(),
        [(false, "SB0402"), (true, "")]
    );
    assert_eq!(refused(&access, "Groups/Settle", &mixed).await, (Code::Aborted, "SB0402".into()));
    let again = lease(&access, 10).await;
    assert_eq!((again.len(), again[0].attempt, text(&again[0].message.body).as_str()), (1, 2, "2"));
    // Without topic and group handles of any group are taken.
    let anywhere = SettleRequest {
        settlements: vec![Settlement {
            delay: duration(3_600_000),
            ..settlement(&again[0].handle, SettleAction::SETTLE_ACTION_NACK)
        }],
        ..SettleRequest::default()
    };
    call::<_, SettleResponse>(&access, "Groups/Settle", &anywhere).await.unwrap();
    // The dead one counts as delayed until it has arrived at its new topic.
    let mut now = group(&access).await;
    while now.depth > 1 {
        tokio::task::yield_now().await;
        now = group(&access).await;
    }
    assert_eq!((now.delayed, now.acked, now.dead), (1, 2, 1));
    let dead = ReadRequest { pattern: "dead".into(), ..ReadRequest::default() };
    let page: ReadResponse = call(&access, "Messages/Read", &dead).await.unwrap();
    assert_eq!(page.messages.iter().map(|m| text(&m.body)).collect::<Vec<_>>(), ["3"]);

    for bad in [
        settle(Vec::new()),
        settle(vec![settlement("rubbish", SettleAction::SETTLE_ACTION_ACK)]),
        settle(vec![settlement(handle(0), SettleAction::SETTLE_ACTION_UNSPECIFIED)]),
        settle(vec![Settlement {
            delay: duration(1),
            ..settlement(handle(0), SettleAction::SETTLE_ACTION_ACK)
        }]),
        SettleRequest { group: String::new(), ..mixed.clone() },
    ] {
        assert_eq!(refused(&access, "Groups/Settle", &bad).await.0, Code::InvalidArgument, "{bad:?}");
    }
    let ask = LeaseRequest { topic: "t".into(), group: "g".into(), ..LeaseRequest::default() };
    for bad in [
        LeaseRequest { max: -1, ..ask.clone() },
        LeaseRequest { max: 1_001, ..ask.clone() },
        LeaseRequest { lease: duration(500), ..ask.clone() },
        LeaseRequest { consumer: "c".repeat(256), ..ask.clone() },
    ] {
        assert_eq!(refused(&access, "Groups/Lease", &bad).await.0, Code::InvalidArgument, "{bad:?}");
    }
    let other = LeaseRequest { group: "other".into(), ..ask };
    assert_eq!(refused(&access, "Groups/Lease", &other).await, (Code::NotFound, "SB0303".into()));
}

#[tokio::test]
async fn a_lease_waits_for_the_first_message() {
    let (_board, access) = board().await;
    call::<_, Group>(&access, "Groups/Create", &create("t", "g", GroupOptions::default())).await.unwrap();
    let waiter = access.clone();
    let waiting = tokio::spawn(async move {
        let request = LeaseRequest {
            topic: "t".into(),
            group: "g".into(),
            wait: duration(30_000),
            ..LeaseRequest::default()
        };
        call::<_, LeaseResponse>(&waiter, "Groups/Lease", &request).await.unwrap()
    });
    publish(&access, "t", &["x"]).await;
    assert_eq!(waiting.await.unwrap().messages.len(), 1);
}

#[tokio::test]
async fn seeking_and_remembering_a_position() {
    let (_board, access) = board().await;
    let published = publish(&access, "t", &["1", "2", "3"]).await;
    call::<_, Group>(&access, "Groups/Create", &create("t", "g", GroupOptions::default())).await.unwrap();
    let mut seek = SeekRequest {
        topic: "t".into(),
        group: "g".into(),
        to: "offset:2".into(),
        dry_run: true,
        ..SeekRequest::default()
    };
    let report: SeekResponse = call(&access, "Groups/Seek", &seek).await.unwrap();
    assert_eq!((report.skipped, group(&access).await.ready), (2, 3), "nothing has moved");
    seek.dry_run = false;
    seek.partition = Some(0);
    call::<_, SeekResponse>(&access, "Groups/Seek", &seek).await.unwrap();
    assert_eq!(text(&lease(&access, 1).await[0].message.body), "3");
    for (to, partition) in [("", Some(0)), ("later", None), ("start", Some(7)), ("start", Some(-7))] {
        let bad = SeekRequest { to: to.into(), partition, ..seek.clone() };
        assert_eq!(refused(&access, "Groups/Seek", &bad).await.0, Code::InvalidArgument, "{bad:?}");
    }

    let cursor = GroupOptions { mode: GroupMode::GROUP_MODE_CURSOR.into(), ..GroupOptions::default() };
    let create = CreateGroupRequest { start: "offset:1".into(), ..create("t", "c", cursor) };
    let made: Group = call(&access, "Groups/Create", &create).await.unwrap();
    assert_eq!(made.position[0].floor, 1);
    let mut commit =
        CommitRequest { topic: "t".into(), group: "c".into(), cursor: published.messages[1].id.clone() };
    let done: CommitResponse = call(&access, "Groups/Commit", &commit).await.unwrap();
    assert_eq!(done.cursor, commit.cursor);
    let get = GetGroupRequest { topic: "t".into(), group: "c".into() };
    assert_eq!(call::<_, Group>(&access, "Groups/Get", &get).await.unwrap().position[0].floor, 2);
    let wrong = LeaseRequest { topic: "t".into(), group: "c".into(), ..LeaseRequest::default() };
    assert_eq!(refused(&access, "Groups/Lease", &wrong).await, (Code::Aborted, "SB0308".into()));
    commit.group = "g".into();
    assert_eq!(refused(&access, "Groups/Commit", &commit).await, (Code::Aborted, "SB0308".into()));
    commit.cursor = "rubbish".into();
    assert_eq!(refused(&access, "Groups/Commit", &commit).await, (Code::InvalidArgument, "SB0204".into()));
}
