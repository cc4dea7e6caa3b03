//! A board in this process with the API in its table of services, and calls to it in Protobuf's bytes.

#![allow(dead_code, reason = "each test uses a part")]

use buffa::Message;
use bytes::Bytes;
use futures_util::StreamExt as _;
use sb_api::types::switchboard::v1::*;
use sb_board::auth::{Authority, Grants};
use sb_board::call::{Call, Code, Codec, Part, Parts, Provider, Service, Status};
use sb_board::mount::Peer;
use sb_board::{Access, Board, Credentials, HttpSettings, Settings};
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn settings(authority: Authority) -> Settings {
    Settings {
        dir: None,
        authority,
        http: HttpSettings::default(),
        memory: 64 << 20,
        max_message: 1 << 20,
        max_request: 8 << 20,
        max_wait_ms: 60_000,
        mode: "test".into(),
    }
}

/// A board where everyone may do everything.
pub async fn board() -> (Arc<Board>, Access) {
    board_with(Authority::new([], Vec::new(), BTreeMap::new()), "", Vec::new()).await
}

/// A board with a described service `shop.v1.Shop` served by `provider`.
pub async fn shop(provider: Arc<dyn Provider>) -> (Arc<Board>, Access) {
    let text = r#"
        syntax = "proto3";
        package shop.v1;
        // Sells.
        service Shop {
            // Buys one thing.
            rpc Buy(Order) returns (Receipt);
            rpc Track(Order) returns (stream Receipt);
        }
        message Order { string what = 1; }
        message Receipt { int64 number = 1; }
    "#;
    let service = Service {
        name: "shop.v1.Shop".into(),
        provider,
        timeout: None,
        shown: None,
        json: sb_schema::Options::default(),
    };
    board_with(Authority::new([], Vec::new(), BTreeMap::new()), text, vec![service]).await
}

pub async fn board_with(authority: Authority, text: &str, services: Vec<Service>) -> (Arc<Board>, Access) {
    let (board, _) = Board::start(settings(authority)).unwrap();
    let mut schema = sb_schema::Builder::new();
    sb_api::add_to(&mut schema).unwrap();
    if !text.is_empty() {
        schema.text("more.proto", text).unwrap();
    }
    let services = sb_api::services().into_iter().chain(services).collect();
    board.set_services(schema.build().unwrap(), services).await.unwrap();
    let access = login(&board, Credentials::None);
    (board, access)
}

/// Keys `reader`, `writer`, `worker` and `root` with roles of these names.
pub fn authority() -> Authority {
    let patterns = |list: &[&str]| list.iter().map(|t| sb_core::model::Pattern::parse(t).unwrap()).collect();
    let roles = [
        ("reader", Grants { read: patterns(&["orders.>"]), ..Grants::default() }),
        ("writer", Grants { publish: patterns(&["orders.>"]), ..Grants::default() }),
        ("worker", Grants { consume: patterns(&["orders.>"]), ..Grants::default() }),
        ("root", Grants { admin: true, ..Grants::default() }),
    ];
    let keys = ["reader", "writer", "worker", "root"].map(|name| (name.to_owned(), name.to_owned()));
    Authority::new(keys, Vec::new(), roles.map(|(name, grants)| (name.to_owned(), grants)).into())
}

pub fn login(board: &Arc<Board>, credentials: Credentials<'_>) -> Access {
    let addr = "127.0.0.1:1".parse().unwrap();
    board.login("grpc", &Peer { addr, local: addr, tls: false }, credentials).unwrap()
}

/// A unary call.
pub async fn call<I: Message, O: Message>(access: &Access, method: &str, request: &I) -> Result<O, Status> {
    let call = Call::unary(path(method), Codec::Proto, request.encode_to_vec().into());
    let (_, answer, _) = access.call(call).await?.one().await;
    Ok(O::decode_from_slice(&answer?).unwrap())
}

/// The error of a call that must fail: its code and that of this server.
pub async fn refused<I: Message>(access: &Access, method: &str, request: &I) -> (Code, String) {
    let call = Call::unary(path(method), Codec::Proto, request.encode_to_vec().into());
    let status = match access.call(call).await {
        Err(status) => status,
        Ok(reply) => reply.one().await.1.expect_err("it must fail"),
    };
    (status.code, reason(&status))
}

/// The code of this server in a status.
pub fn reason(status: &Status) -> String {
    status.error.as_ref().map_or_else(String::new, |error| error.code.to_owned())
}

pub fn path(method: &str) -> String {
    if method.contains("Operation") {
        format!("google.longrunning.Operations/{method}")
    } else {
        format!("switchboard.v1.{method}")
    }
}

/// A stream of answers.
pub struct Answers(pub Parts);

impl Answers {
    /// The next message; the status at the end.
    pub async fn next<O: Message>(&mut self) -> Result<O, Option<Status>> {
        match self.0.next().await.expect("an end") {
            Part::Message(bytes) => Ok(O::decode_from_slice(&bytes).unwrap()),
            Part::End(end) => {
                assert!(self.0.next().await.is_none(), "something follows the end");
                Err(end.status)
            }
        }
    }

    /// The end, which must be next.
    pub async fn end(mut self) -> Option<Status> {
        match self.0.next().await.expect("an end") {
            Part::Message(_) => panic!("the end was expected"),
            Part::End(end) => end.status,
        }
    }
}

/// A call with a stream of answers.
pub async fn open<I: Message>(access: &Access, method: &str, request: &I) -> Result<Answers, Status> {
    let call = Call::unary(path(method), Codec::Proto, request.encode_to_vec().into());
    Ok(Answers(access.call(call).await?.parts))
}

/// A call with streams both ways; dropping the sender ends the caller's side.
pub async fn talk(access: &Access, method: &str) -> (Requests, Answers) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let messages = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let next = receiver.recv().await?;
        Some((Ok(next), receiver))
    });
    let call = Call { messages: Box::pin(messages), ..Call::unary(path(method), Codec::Proto, Bytes::new()) };
    (Requests(sender), Answers(access.call(call).await.unwrap().parts))
}

pub struct Requests(tokio::sync::mpsc::UnboundedSender<Bytes>);

impl Requests {
    pub fn send(&self, request: &impl Message) {
        self.0.send(request.encode_to_vec().into()).unwrap();
    }
}

pub fn new_message(address: &str, body: &str) -> NewMessage {
    NewMessage { address: address.to_owned(), body: body.to_owned().into(), ..NewMessage::default() }
}

pub async fn publish(access: &Access, address: &str, bodies: &[&str]) -> PublishResponse {
    let messages = bodies.iter().map(|body| new_message(address, body)).collect();
    let request = PublishRequest { messages, ..PublishRequest::default() };
    call(access, "Messages/Publish", &request).await.unwrap()
}

pub fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

pub fn duration<P: buffa::ProtoBox<Duration>>(ms: i64) -> buffa::MessageField<Duration, P> {
    buffa::MessageField::some(Duration::from_millis(ms))
}

pub use buffa_types::google::protobuf::Duration;
