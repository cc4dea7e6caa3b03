//! Streams: nothing is missed across a cut, and each end says why.

mod common;

use common::*;
use sb_api::types::switchboard::v1::__buffa::oneof::consume_request::Request;
use sb_api::types::switchboard::v1::*;
use sb_board::Access;
use sb_board::Credentials;
use sb_board::call::Code;

fn subscribe(pattern: &str) -> SubscribeRequest {
    SubscribeRequest { pattern: pattern.into(), ..SubscribeRequest::default() }
}

async fn declare(access: &Access, name: &str, policy: TopicPolicy) {
    let policy = buffa::MessageField::some(policy);
    let request = CreateTopicRequest { name: name.into(), policy, allow_existing: true };
    call::<_, Topic>(access, "Topics/Create", &request).await.unwrap();
}

/// Follows with a new subscription after every response, as a client whose connection breaks each time.
async fn follow_with_cuts(access: &Access, pattern: &str, total: usize, max: i32) -> Vec<String> {
    let mut seen = Vec::new();
    let mut request = SubscribeRequest { from: "start".into(), max, ..subscribe(pattern) };
    while seen.len() < total {
        let mut answers = open(access, "Messages/Subscribe", &request).await.unwrap();
        let opened: SubscribeResponse = answers.next().await.unwrap();
        assert!(opened.messages.is_empty() && !opened.cursor.is_empty());
        let response: SubscribeResponse = answers.next().await.unwrap();
        assert!(response.messages.len() <= max as usize && !response.messages.is_empty());
        seen.extend(response.messages.iter().map(|m| text(&m.body)));
        request = SubscribeRequest { after: response.cursor, from: String::new(), ..request };
    }
    seen
}

#[tokio::test]
async fn a_subscription_that_is_cut_again_and_again_misses_nothing() {
    let (_board, access) = board().await;
    declare(&access, "many", TopicPolicy { partitions: Some(3), ..TopicPolicy::default() }).await;
    let bodies: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    for some in bodies.chunks(7) {
        let message = |body: &String| NewMessage {
            key: Some(body.clone().into_bytes().into()),
            ..new_message("many", body)
        };
        let one = PublishRequest {
            messages: some.iter().map(|b| new_message("one", b)).collect(),
            ..PublishRequest::default()
        };
        call::<_, PublishResponse>(&access, "Messages/Publish", &one).await.unwrap();
        let many =
            PublishRequest { messages: some.iter().map(message).collect(), ..PublishRequest::default() };
        call::<_, PublishResponse>(&access, "Messages/Publish", &many).await.unwrap();
    }
    for max in [1, 3, 100] {
        let one = follow_with_cuts(&access, "one", 40, max).await;
        assert_eq!(one, bodies, "in order, each once");
        let many = follow_with_cuts(&access, "many", 40, max).await;
        let mut many: Vec<i32> = many.iter().map(|body| body.parse().unwrap()).collect();
        many.sort_unstable();
        assert_eq!(many, (0..40).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_is_published_between_two_subscriptions_is_not_missed() {
    let (_board, access) = board().await;
    let mut answers = open(&access, "Messages/Subscribe", &subscribe("t")).await.unwrap();
    // The first response tells where reading begins, also when nothing came before the cut.
    let opened: SubscribeResponse = answers.next().await.unwrap();
    drop(answers);
    publish(&access, "t", &["while away"]).await;
    let again = SubscribeRequest { after: opened.cursor, ..subscribe("t") };
    let mut answers = open(&access, "Messages/Subscribe", &again).await.unwrap();
    let _: SubscribeResponse = answers.next().await.unwrap();
    let response: SubscribeResponse = answers.next().await.unwrap();
    assert_eq!(text(&response.messages[0].body), "while away");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_subscription_gives_signs_of_life() {
    let (_board, access) = board().await;
    let request = SubscribeRequest { heartbeat: duration(5_000), ..subscribe("t.>") };
    let mut answers = open(&access, "Messages/Subscribe", &request).await.unwrap();
    for _ in 0..3 {
        let response: SubscribeResponse = answers.next().await.unwrap();
        assert!(response.messages.is_empty() && !response.cursor.is_empty());
    }
    for bad in [999, 3_600_001] {
        let request = SubscribeRequest { heartbeat: duration(bad), ..subscribe("t") };
        assert_eq!(refused(&access, "Messages/Subscribe", &request).await.0, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_position_that_is_gone_is_a_reset_and_an_error() {
    let (_board, access) = board().await;
    let published = publish(&access, "t", &["1", "2"]).await;
    let delete = DeleteTopicRequest { name: "t".into() };
    call::<_, DeleteTopicResponse>(&access, "Topics/Delete", &delete).await.unwrap();
    publish(&access, "t", &["3"]).await;
    let request = SubscribeRequest { after: published.messages[0].id.clone(), ..subscribe("t") };
    let mut answers = open(&access, "Messages/Subscribe", &request).await.unwrap();
    let response: SubscribeResponse = answers.next().await.unwrap();
    assert_eq!(response.reset.code, "SB0305");
    let status = answers.end().await.unwrap();
    assert_eq!((status.code, reason(&status).as_str()), (Code::OutOfRange, "SB0305"));
    let read = ReadRequest { pattern: "t".into(), after: request.after, ..ReadRequest::default() };
    assert_eq!(refused(&access, "Messages/Read", &read).await, (Code::OutOfRange, "SB0305".into()));

    // The topic goes while it is followed.
    let mut answers = open(&access, "Messages/Subscribe", &subscribe("t")).await.unwrap();
    let _: SubscribeResponse = answers.next().await.unwrap();
    call::<_, DeleteTopicResponse>(&access, "Topics/Delete", &delete).await.unwrap();
    let response: SubscribeResponse = answers.next().await.unwrap();
    assert_eq!(response.reset.code, "SB0301");
    assert_eq!(answers.end().await.unwrap().code, Code::NotFound);
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let (board, access) = board().await;
    let job = method_with_job(&access).await;
    let mut subscription = open(&access, "Messages/Subscribe", &subscribe("t")).await.unwrap();
    let _: SubscribeResponse = subscription.next().await.unwrap();
    let mut watch = open(&access, "Jobs/Watch", &WatchJobRequest { id: job, after: 1 }).await.unwrap();
    publish(&access, "t", &["x"]).await;
    let (requests, mut consume) = consume(&access, "t", "g", 0).await;
    let _: SubscribeResponse = subscription.next().await.unwrap();
    board.drain();
    for status in [
        subscription.next::<SubscribeResponse>().await.unwrap_err().unwrap(),
        watch.next::<JobEvent>().await.unwrap_err().unwrap(),
        consume.next::<ConsumeResponse>().await.unwrap_err().unwrap(),
    ] {
        assert_eq!(status.code, Code::Unavailable, "{status}");
        assert!(status.details.iter().any(|d| d.type_name() == "google.rpc.RetryInfo"), "{status:?}");
    }
    drop(requests);
}

async fn method_with_job(access: &Access) -> String {
    let method = Method { name: "a.B/C".into(), ..Method::default() };
    let declare = DeclareMethodRequest { method: buffa::MessageField::some(method) };
    call::<_, DeclareMethodResponse>(access, "Methods/Declare", &declare).await.unwrap();
    let submit = SubmitJobRequest { method: "a.B/C".into(), ..SubmitJobRequest::default() };
    call::<_, Job>(access, "Jobs/Submit", &submit).await.unwrap().id
}

#[tokio::test]
async fn streams_end_with_the_callers_token() {
    let (board, _) = board_with(authority(), "", Vec::new()).await;
    let root = login(&board, Credentials::Token("root"));
    publish(&root, "orders.eu", &["1"]).await;
    let reader = login(&board, Credentials::Token("reader"));
    let token: IssueTokenResponse = call(
        &reader,
        "Server/IssueToken",
        &IssueTokenRequest { read: vec!["orders.>".into()], ttl: duration(300), ..Default::default() },
    )
    .await
    .unwrap();
    let scoped = login(&board, Credentials::Token(&token.token));
    let request = SubscribeRequest { from: "start".into(), ..subscribe("orders.eu") };
    let mut answers = open(&scoped, "Messages/Subscribe", &request).await.unwrap();
    let _: SubscribeResponse = answers.next().await.unwrap();
    let response: SubscribeResponse = answers.next().await.unwrap();
    assert_eq!(response.messages.len(), 1);
    let status = answers.end().await.unwrap();
    assert_eq!((status.code, reason(&status).as_str()), (Code::Unauthenticated, "SB0503"));
}

#[tokio::test]
async fn large_messages_come_in_responses_of_bounded_size() {
    let (_board, access) = board().await;
    let body = "x".repeat(400_000);
    let bodies = [body.as_str(); 6];
    publish(&access, "t", &bodies).await;
    let request = SubscribeRequest { from: "start".into(), ..subscribe("t") };
    let mut answers = open(&access, "Messages/Subscribe", &request).await.unwrap();
    let mut seen = 0;
    while seen < 6 {
        let response: SubscribeResponse = answers.next().await.unwrap();
        let bytes: usize = response.messages.iter().map(|m| m.body.len()).sum();
        assert!(bytes <= 1 << 20, "{bytes}");
        seen += response.messages.len();
    }
}

// ---- consuming ----

fn ask(request: Request) -> ConsumeRequest {
    ConsumeRequest { request: Some(request) }
}

fn settle(handle: &str, action: SettleAction) -> ConsumeRequest {
    let settlements =
        vec![Settlement { handle: handle.into(), action: action.into(), ..Settlement::default() }];
    ask(Request::Settle(ConsumeSettle { settlements }))
}

async fn group(access: &Access, topic: &str, group: &str) -> Group {
    let request = GetGroupRequest { topic: topic.into(), group: group.into() };
    call(access, "Groups/Get", &request).await.unwrap()
}

/// A stream that has begun; the group is created.
async fn consume(access: &Access, topic: &str, group: &str, credit: i32) -> (Requests, Answers) {
    let create = CreateGroupRequest {
        topic: topic.into(),
        group: group.into(),
        allow_existing: true,
        ..CreateGroupRequest::default()
    };
    call::<_, Group>(access, "Groups/Create", &create).await.unwrap();
    let (requests, mut answers) = talk(access, "Groups/Consume").await;
    let start = ConsumeStart { topic: topic.into(), group: group.into(), credit, ..ConsumeStart::default() };
    requests.send(&ask(Request::Start(start)));
    assert_eq!(answers.next::<ConsumeResponse>().await.unwrap(), ConsumeResponse::default());
    (requests, answers)
}

#[tokio::test]
async fn consuming_with_credit() {
    let (_board, access) = board().await;
    publish(&access, "t", &["1", "2", "3"]).await;
    let (requests, mut answers) = consume(&access, "t", "g", 2).await;
    let response: ConsumeResponse = answers.next().await.unwrap();
    let bodies: Vec<String> = response.messages.iter().map(|m| text(&m.message.body)).collect();
    assert_eq!(bodies, ["1", "2"], "as many as there was credit");
    requests.send(&settle(&response.messages[0].handle, SettleAction::SETTLE_ACTION_ACK));
    let settled: ConsumeResponse = answers.next().await.unwrap();
    assert!(settled.messages.is_empty() && settled.results[0].ok);
    requests.send(&settle(&response.messages[0].handle, SettleAction::SETTLE_ACTION_ACK));
    let settled: ConsumeResponse = answers.next().await.unwrap();
    assert_eq!((settled.results[0].ok, settled.results[0].code.as_str()), (false, "SB0402"), "stale");
    requests.send(&settle(&response.messages[1].handle, SettleAction::SETTLE_ACTION_EXTEND));
    let settled: ConsumeResponse = answers.next().await.unwrap();
    assert!(settled.results[0].ok && settled.results[0].lease_until.is_set());
    assert_eq!(group(&access, "t", "g").await.leased, 1, "nothing is leased without credit");
    requests.send(&ask(Request::Credit(5)));
    let more: ConsumeResponse = answers.next().await.unwrap();
    assert_eq!(text(&more.messages[0].message.body), "3");
    // A message that comes later.
    publish(&access, "t", &["4"]).await;
    let more: ConsumeResponse = answers.next().await.unwrap();
    assert_eq!(text(&more.messages[0].message.body), "4");
    // The caller ends its side: the stream ends, and what is left goes back.
    drop(requests);
    assert_eq!(answers.end().await, None);
    until(&access, |g| g.ready == 3 && g.leased == 0).await;
}

/// Waits until the group is as wanted.
async fn until(access: &Access, wanted: impl Fn(&Group) -> bool) {
    for _ in 0..2_000 {
        if wanted(&group(access, "t", "g").await) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{:?}", group(access, "t", "g").await);
}

#[tokio::test]
async fn leases_of_a_consumer_that_goes_away_return() {
    let (_board, access) = board().await;
    publish(&access, "t", &["1", "2"]).await;
    let (requests, mut answers) = consume(&access, "t", "g", 10).await;
    let response: ConsumeResponse = answers.next().await.unwrap();
    assert_eq!(response.messages.len(), 2);
    drop((requests, answers));
    until(&access, |g| g.ready == 2 && g.leased == 0).await;
}

#[tokio::test]
async fn what_a_consumer_must_not_send() {
    let (_board, access) = board().await;
    publish(&access, "t", &["1"]).await;
    let start = |credit| {
        ask(Request::Start(ConsumeStart {
            topic: "t".into(),
            group: "g".into(),
            credit,
            ..ConsumeStart::default()
        }))
    };
    for (first, code) in [
        (start(1), Code::NotFound),
        (ask(Request::Credit(1)), Code::InvalidArgument),
        (ConsumeRequest::default(), Code::InvalidArgument),
        (settle("x", SettleAction::SETTLE_ACTION_ACK), Code::InvalidArgument),
    ] {
        let (requests, answers) = talk(&access, "Groups/Consume").await;
        requests.send(&first);
        assert_eq!(answers.end().await.unwrap().code, code, "{first:?}");
    }
    for second in [
        start(1),
        ask(Request::Credit(-1)),
        ask(Request::Credit(1_001)),
        settle("rubbish", SettleAction::SETTLE_ACTION_ACK),
        settle("rubbish", SettleAction::SETTLE_ACTION_UNSPECIFIED),
    ] {
        let (requests, answers) = consume(&access, "t", "g", 0).await;
        requests.send(&second);
        assert_eq!(answers.end().await.unwrap().code, Code::InvalidArgument, "{second:?}");
    }
}
