//! What goes in comes out: body, key, headers and content type of a message, read by every way there is.

mod common;

use common::*;
use proptest::prelude::*;
use sb_api::types::switchboard::v1::__buffa::oneof::consume_request::Request;
use sb_api::types::switchboard::v1::__buffa::oneof::header::Value;
use sb_api::types::switchboard::v1::*;
use sb_board::Access;

fn bytes(most: usize) -> impl Strategy<Value = bytes::Bytes> {
    prop::collection::vec(any::<u8>(), 0..most).prop_map(bytes::Bytes::from)
}

fn header() -> impl Strategy<Value = Header> {
    let value = prop_oneof![
        ".{0,40}".prop_map(Value::Text),
        bytes(40).prop_map(Value::Binary),
        any::<i64>().prop_map(Value::Integer),
        (prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::INFINITE).prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        (-62_135_596_800_000i64..253_402_300_799_999).prop_map(|ms| Value::Time(
            buffa_types::google::protobuf::Timestamp::from_unix(
                ms.div_euclid(1_000),
                ms.rem_euclid(1_000) as i32 * 1_000_000
            )
        )),
        bytes(40).prop_map(Value::Nested),
    ];
    ("[a-rt-zA-RT-Z][a-zA-Z0-9_.-]{0,20}", value)
        .prop_map(|(name, value)| Header { name, value: Some(value) })
}

fn message() -> impl Strategy<Value = NewMessage> {
    let content_type = prop::option::of("[ -~]{0,40}");
    (prop::option::of(bytes(60)), prop::collection::vec(header(), 0..6), content_type, bytes(300)).prop_map(
        |(key, headers, content_type, body)| NewMessage {
            address: "t".into(),
            key,
            headers,
            content_type,
            body,
            ..NewMessage::default()
        },
    )
}

/// What a reader sees of a message that is the publisher's.
fn own(message: &Message) -> NewMessage {
    NewMessage {
        address: message.address.clone(),
        key: message.key.clone(),
        headers: message.headers.clone(),
        content_type: message.content_type.clone(),
        body: message.body.clone(),
        ..NewMessage::default()
    }
}

async fn check(access: &Access, given: NewMessage) {
    let wanted = given.clone();
    let publish = PublishRequest { messages: vec![given], ..PublishRequest::default() };
    let sent: PublishResponse = call(access, "Messages/Publish", &publish).await.unwrap();
    let receipt = &sent.messages[0];
    let get = GetMessageRequest { topic: "t".into(), partition: receipt.partition, offset: receipt.offset };
    let got: Message = call(access, "Messages/Get", &get).await.unwrap();
    assert_eq!(own(&got), wanted);
    assert_eq!((&got.id, &got.at), (&receipt.id, &receipt.at));
    let read = ReadRequest { pattern: "t".into(), last: Some(1), ..ReadRequest::default() };
    let page: ReadResponse = call(access, "Messages/Read", &read).await.unwrap();
    assert_eq!(page.messages[0], got);
    let from = format!("offset:{}", receipt.offset);
    let subscribe = SubscribeRequest { pattern: "t".into(), from, ..SubscribeRequest::default() };
    let mut answers = open(access, "Messages/Subscribe", &subscribe).await.unwrap();
    let _: SubscribeResponse = answers.next().await.unwrap();
    let response: SubscribeResponse = answers.next().await.unwrap();
    assert_eq!(response.messages[0], got);
    let lease = LeaseRequest { topic: "t".into(), group: "lease".into(), ..LeaseRequest::default() };
    let leased: LeaseResponse = call(access, "Groups/Lease", &lease).await.unwrap();
    assert_eq!(leased.messages[0].message.as_option(), Some(&got));
    let (requests, mut answers) = talk(access, "Groups/Consume").await;
    let start =
        ConsumeStart { topic: "t".into(), group: "consume".into(), credit: 1, ..ConsumeStart::default() };
    requests.send(&ConsumeRequest { request: Some(Request::Start(start)) });
    let _: ConsumeResponse = answers.next().await.unwrap();
    let consumed: ConsumeResponse = answers.next().await.unwrap();
    assert_eq!(consumed.messages[0].message.as_option(), Some(&got));
    let settlements = vec![Settlement {
        handle: consumed.messages[0].handle.clone(),
        action: SettleAction::SETTLE_ACTION_ACK.into(),
        ..Settlement::default()
    }];
    requests.send(&ConsumeRequest { request: Some(Request::Settle(ConsumeSettle { settlements })) });
    let settled: ConsumeResponse = answers.next().await.unwrap();
    assert!(settled.results[0].ok);
}

#[test]
fn every_part_of_a_message_survives() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_board, access) = runtime.block_on(async {
        let (board, access) = board().await;
        publish(&access, "t", &["first"]).await;
        for group in ["lease", "consume"] {
            let create = CreateGroupRequest {
                topic: "t".into(),
                group: group.into(),
                start: "end".into(),
                ..CreateGroupRequest::default()
            };
            call::<_, Group>(&access, "Groups/Create", &create).await.unwrap();
        }
        (board, access)
    });
    let config = ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(message in message())| runtime.block_on(check(&access, message)));
}
