//! Topics and messages: every method, and its errors.

mod common;

use buffa::MessageField;
use buffa_types::google::protobuf::FieldMask;
use common::*;
use sb_api::types::switchboard::v1::__buffa::oneof::header::Value;
use sb_api::types::switchboard::v1::*;
use sb_board::Access;
use sb_board::call::{Call, Code, Codec};

async fn create(access: &Access, name: &str, policy: TopicPolicy) -> Topic {
    let request = CreateTopicRequest {
        name: name.into(),
        policy: MessageField::some(policy),
        ..CreateTopicRequest::default()
    };
    call(access, "Topics/Create", &request).await.unwrap()
}

fn named(name: &str) -> CreateTopicRequest {
    CreateTopicRequest { name: name.into(), ..CreateTopicRequest::default() }
}

fn read(pattern: &str) -> ReadRequest {
    ReadRequest { pattern: pattern.into(), ..ReadRequest::default() }
}

#[tokio::test]
async fn topics_from_creation_to_deletion() {
    let (_board, access) = board().await;
    let policy = TopicPolicy {
        partitions: Some(2),
        keep_age: duration(90_000_500),
        claims: vec!["orders.>".into()],
        ..TopicPolicy::default()
    };
    let topic = create(&access, "orders", policy).await;
    assert_eq!((topic.name.as_str(), topic.partitions.len(), topic.version), ("orders", 2, 1));
    assert_eq!(topic.policy.keep_age.as_option(), Some(&Duration::from_millis(90_000_500)));
    assert_eq!(topic.policy.max_message, Some(1 << 20));

    assert_eq!(
        refused(&access, "Topics/Create", &named("orders")).await,
        (Code::AlreadyExists, "SB0302".into())
    );
    let again = CreateTopicRequest { allow_existing: true, ..named("orders") };
    assert_eq!(call::<_, Topic>(&access, "Topics/Create", &again).await.unwrap(), topic);
    assert_eq!(refused(&access, "Topics/Create", &named("orders.eu")).await.0, Code::Aborted, "a claim");
    assert_eq!(refused(&access, "Topics/Create", &named("no name")).await.0, Code::InvalidArgument);
    let negative = CreateTopicRequest {
        policy: MessageField::some(TopicPolicy { partitions: Some(-1), ..TopicPolicy::default() }),
        ..named("x")
    };
    assert_eq!(refused(&access, "Topics/Create", &negative).await, (Code::InvalidArgument, "SB0201".into()));

    // Without a mask what is given counts; with one also what is absent.
    let mut update = UpdateTopicRequest {
        name: "orders".into(),
        policy: MessageField::some(TopicPolicy { keep_bytes: Some(5_000), ..TopicPolicy::default() }),
        ..UpdateTopicRequest::default()
    };
    let updated: Topic = call(&access, "Topics/Update", &update).await.unwrap();
    assert_eq!((updated.policy.keep_bytes, updated.policy.keep_age.is_set()), (Some(5_000), true));
    update.policy = MessageField::none();
    let mask =
        |path: &str| MessageField::some(FieldMask { paths: vec![path.into()], ..FieldMask::default() });
    update.update_mask = mask("keep_age");
    let updated: Topic = call(&access, "Topics/Update", &update).await.unwrap();
    assert_eq!((updated.policy.keep_bytes, updated.policy.keep_age.is_set()), (Some(5_000), false));
    assert_eq!(updated.policy.claims, ["orders.>"]);
    update.update_mask = mask("colour");
    assert_eq!(refused(&access, "Topics/Update", &update).await.0, Code::InvalidArgument);
    update.update_mask = mask("claims");
    update.version = Some(1);
    assert_eq!(refused(&access, "Topics/Update", &update).await, (Code::FailedPrecondition, "SB0210".into()));
    update.version = Some(updated.version);
    assert!(call::<_, Topic>(&access, "Topics/Update", &update).await.unwrap().policy.claims.is_empty());

    publish(&access, "orders", &["one"]).await;
    let got: Topic = call(&access, "Topics/Get", &GetTopicRequest { name: "orders".into() }).await.unwrap();
    assert_eq!((got.messages, got.partitions.iter().map(|p| p.end).sum::<i64>()), (1, 1));
    create(&access, "orders2", TopicPolicy::default()).await;
    create(&access, "plants", TopicPolicy::default()).await;
    let mut list = ListTopicsRequest { prefix: "orders".into(), limit: 1, ..ListTopicsRequest::default() };
    let page: ListTopicsResponse = call(&access, "Topics/List", &list).await.unwrap();
    assert_eq!((page.topics[0].name.as_str(), page.next.as_str()), ("orders", "orders"));
    list.after = page.next;
    let page: ListTopicsResponse = call(&access, "Topics/List", &list).await.unwrap();
    assert_eq!((page.topics[0].name.as_str(), page.next.as_str()), ("orders2", ""));
    list.limit = 1_001;
    assert_eq!(refused(&access, "Topics/List", &list).await.0, Code::InvalidArgument);

    let gone = DeleteTopicRequest { name: "orders".into() };
    call::<_, DeleteTopicResponse>(&access, "Topics/Delete", &gone).await.unwrap();
    assert_eq!(refused(&access, "Topics/Delete", &gone).await.0, Code::NotFound);
    assert_eq!(
        refused(&access, "Topics/Get", &GetTopicRequest { name: "orders".into() }).await,
        (Code::NotFound, "SB0301".into())
    );
    let missing = UpdateTopicRequest { name: "orders".into(), ..UpdateTopicRequest::default() };
    assert_eq!(refused(&access, "Topics/Update", &missing).await.0, Code::NotFound);
}

#[tokio::test]
async fn publishing_and_reading() {
    let (_board, access) = board().await;
    let published = publish(&access, "orders", &["a", "b", "c"]).await;
    let offsets: Vec<i64> = published.messages.iter().map(|r| r.offset).collect();
    assert_eq!((offsets, published.replayed), (vec![0, 1, 2], false));

    let mut request = ReadRequest { limit: 2, ..read("orders") };
    let page: ReadResponse = call(&access, "Messages/Read", &request).await.unwrap();
    assert_eq!(page.messages.iter().map(|m| text(&m.body)).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(page.messages[0].id, published.messages[0].id);
    assert_eq!(page.messages[0].at, published.messages[0].at);
    request.after = page.next;
    let page: ReadResponse = call(&access, "Messages/Read", &request).await.unwrap();
    assert_eq!(page.messages.iter().map(|m| text(&m.body)).collect::<Vec<_>>(), ["c"]);
    request.from = "start".into();
    assert_eq!(refused(&access, "Messages/Read", &request).await.0, Code::InvalidArgument, "after and from");
    for (from, first) in [("offset:1", "b"), ("-1h", "a"), ("time:2000-01-01T00:00:00Z", "a")] {
        let request = ReadRequest { from: from.into(), ..read("orders") };
        let page: ReadResponse = call(&access, "Messages/Read", &request).await.unwrap();
        assert_eq!(text(&page.messages[0].body), first, "{from}");
    }
    let last = ReadRequest { last: Some(1), partition: Some(0), ..read("orders") };
    let page: ReadResponse = call(&access, "Messages/Read", &last).await.unwrap();
    assert_eq!(page.messages.iter().map(|m| text(&m.body)).collect::<Vec<_>>(), ["c"]);
    for (bad, code) in [
        (ReadRequest { from: "yesterday".into(), ..read("orders") }, Code::InvalidArgument),
        (ReadRequest { last: Some(-1), ..read("orders") }, Code::InvalidArgument),
        (ReadRequest { partition: Some(-1), ..read("orders") }, Code::InvalidArgument),
        (ReadRequest { after: "rubbish".into(), ..read("orders") }, Code::InvalidArgument),
        (ReadRequest { wait: duration(-1), ..read("orders") }, Code::InvalidArgument),
        (read("orders..x"), Code::InvalidArgument),
        (read("nothing"), Code::NotFound),
    ] {
        assert_eq!(refused(&access, "Messages/Read", &bad).await.0, code, "{bad:?}");
    }

    let mut get = GetMessageRequest { topic: "orders".into(), partition: 0, offset: 1 };
    let message: Message = call(&access, "Messages/Get", &get).await.unwrap();
    assert_eq!((text(&message.body).as_str(), message.address.as_str()), ("b", "orders"));
    get.offset = 9;
    assert_eq!(refused(&access, "Messages/Get", &get).await, (Code::NotFound, "SB0304".into()));
    get.offset = -1;
    assert_eq!(refused(&access, "Messages/Get", &get).await.0, Code::InvalidArgument);
}

#[tokio::test]
async fn a_key_makes_publishing_happen_once_and_a_batch_is_all_or_none() {
    let (_board, access) = board().await;
    let mut request = PublishRequest {
        messages: vec![new_message("a", "1"), new_message("b", "2")],
        idempotency_key: "k".into(),
        ..PublishRequest::default()
    };
    let first: PublishResponse = call(&access, "Messages/Publish", &request).await.unwrap();
    let again: PublishResponse = call(&access, "Messages/Publish", &request).await.unwrap();
    assert_eq!((first.messages, again.replayed), (again.messages.clone(), true));
    request.messages[0].body = "other".into();
    assert_eq!(
        refused(&access, "Messages/Publish", &request).await,
        (Code::InvalidArgument, "SB0306".into())
    );
    request.idempotency_key = "k".repeat(256);
    assert_eq!(refused(&access, "Messages/Publish", &request).await.0, Code::InvalidArgument);

    let refuse = |message: NewMessage| {
        let access = access.clone();
        async move {
            let messages = vec![new_message("a", "never"), message];
            let request = PublishRequest { messages, ..PublishRequest::default() };
            refused(&access, "Messages/Publish", &request).await
        }
    };
    assert_eq!(refuse(new_message("no/topic#", "x")).await.0, Code::InvalidArgument);
    let unclaimed = "x".repeat(250);
    assert_eq!(refuse(new_message(&unclaimed, "x")).await, (Code::NotFound, "SB0307".into()));
    let large = NewMessage { body: vec![0; (1 << 20) + 1].into(), ..new_message("a", "") };
    assert_eq!(refuse(large).await, (Code::ResourceExhausted, "SB0205".into()));
    let no_value = Header { name: "n".into(), value: None };
    assert_eq!(
        refuse(NewMessage { headers: vec![no_value], ..new_message("a", "") }).await.0,
        Code::InvalidArgument
    );
    let late = NewMessage { delay: duration(-5), ..new_message("a", "") };
    assert_eq!(refuse(late).await.0, Code::InvalidArgument);
    assert_eq!(
        refused(&access, "Messages/Publish", &PublishRequest::default()).await.0,
        Code::InvalidArgument,
        "no messages"
    );
    let many = PublishRequest {
        messages: (0..9)
            .map(|_| NewMessage { body: vec![0; 1 << 20].into(), ..new_message("a", "") })
            .collect(),
        ..PublishRequest::default()
    };
    assert_eq!(refused(&access, "Messages/Publish", &many).await, (Code::ResourceExhausted, "SB0205".into()));
    let page: ReadResponse = call(&access, "Messages/Read", &read("a")).await.unwrap();
    assert_eq!(page.messages.len(), 1, "nothing of what was refused is there");
}

#[tokio::test]
async fn waiting_for_what_comes_and_live_messages() {
    let (_board, access) = board().await;
    let waiter = access.clone();
    // Waiting for what does not exist yet is allowed.
    let waiting = tokio::spawn(async move {
        let request = ReadRequest { wait: duration(30_000), ..read("orders") };
        call::<_, ReadResponse>(&waiter, "Messages/Read", &request).await.unwrap()
    });
    let live = PublishRequest {
        messages: vec![new_message("orders", "now")],
        live: true,
        ..PublishRequest::default()
    };
    loop {
        let sent: PublishResponse = call(&access, "Messages/Publish", &live).await.unwrap();
        assert!(sent.messages.is_empty());
        if sent.delivered == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let page = waiting.await.unwrap();
    assert_eq!((page.messages[0].id.as_str(), text(&page.messages[0].body).as_str()), ("", "now"));
    publish(&access, "orders", &["kept"]).await;
    let request = ReadRequest { wait: duration(30_000), after: page.next, ..read("orders") };
    let page: ReadResponse = call(&access, "Messages/Read", &request).await.unwrap();
    assert_eq!(page.messages.iter().map(|m| text(&m.body)).collect::<Vec<_>>(), ["kept"]);
    // Nothing comes: the answer is there before the deadline is.
    let request = ReadRequest { wait: duration(30_000), after: page.next.clone(), ..read("orders") };
    let mut asked =
        Call::unary(path("Messages/Read"), Codec::Proto, buffa::Message::encode_to_vec(&request).into());
    asked.deadline = Some(tokio::time::Instant::now() + std::time::Duration::from_millis(400));
    let answer = access.call(asked).await.unwrap().one().await.1.unwrap();
    let none: ReadResponse = buffa::Message::decode_from_slice(&answer).unwrap();
    assert_eq!((none.messages.len(), none.next), (0, page.next));
}

#[tokio::test]
async fn the_trace_of_a_call_is_kept() {
    let (_board, access) = board().await;
    let request = PublishRequest {
        messages: vec![
            new_message("t", "1"),
            NewMessage {
                headers: vec![Header { name: "traceparent".into(), value: Some(Value::Text("own".into())) }],
                ..new_message("t", "2")
            },
        ],
        ..PublishRequest::default()
    };
    let mut asked =
        Call::unary(path("Messages/Publish"), Codec::Proto, buffa::Message::encode_to_vec(&request).into());
    asked.metadata.insert("traceparent", "given".parse().unwrap());
    asked.metadata.insert("authorization", "secret".parse().unwrap());
    access.call(asked).await.unwrap().one().await.1.unwrap();
    let page: ReadResponse = call(&access, "Messages/Read", &read("t")).await.unwrap();
    let headers = |n: usize| page.messages[n].headers.clone();
    assert_eq!(headers(0), [Header { name: "traceparent".into(), value: Some(Value::Text("given".into())) }]);
    assert_eq!(headers(1), [Header { name: "traceparent".into(), value: Some(Value::Text("own".into())) }]);
}

#[tokio::test]
async fn callers_of_json_are_served_as_well() {
    let (_board, access) = board().await;
    let body = r#"{"messages":[{"address":"orders","body":"aGk=","headers":[{"name":"n","integer":"7"}],"delay":"1.5s"}]}"#;
    let json = |method: &str, body: &str| {
        let call = Call::unary(path(method), Codec::Json, body.to_owned().into());
        let access = access.clone();
        async move { access.call(call).await?.one().await.1 }
    };
    let answer = text(&json("Messages/Publish", body).await.unwrap());
    assert!(answer.contains(r#""topic":"orders""#), "{answer}");
    let answer = text(&json("Messages/Read", r#"{"pattern":"orders"}"#).await.unwrap());
    assert!(answer.contains(r#""body":"aGk=""#) && answer.contains(r#""integer":"7""#), "{answer}");
    assert_eq!(
        json("Messages/Read", r#"{"patern":"orders"}"#).await.unwrap_err().code,
        Code::InvalidArgument
    );
}
