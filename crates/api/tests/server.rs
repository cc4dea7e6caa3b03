//! Services, the server, rights, and what holds for every method.

mod common;

use buffa::Message as _;
use common::*;
use sb_api::types::switchboard::v1::*;
use sb_board::call::{Call, Code, Codec, Workers};
use sb_board::{Access, Credentials};
use std::sync::Arc;

#[tokio::test]
async fn services_are_listed_and_described() {
    let (_board, access) =
        shop(Arc::new(Workers { topic: "shop.orders".into(), codecs: &[Codec::Json] })).await;
    let list: ListServicesResponse = call(&access, "Services/List", &ListServicesRequest {}).await.unwrap();
    let names: Vec<&str> = list.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, [&sb_api::SERVICES[..], &["shop.v1.Shop"]].concat());
    let get = |name: &str| GetServiceRequest { name: name.into() };
    let shop: Service = call(&access, "Services/Get", &get("shop.v1.Shop")).await.unwrap();
    assert_eq!(
        (shop.target.as_str(), shop.healthy, shop.comment.as_str()),
        ("workers on shop.orders", true, "Sells.")
    );
    let track = &shop.methods[1];
    assert_eq!(
        (track.path.as_str(), track.server_streaming, track.client_streaming),
        ("shop.v1.Shop/Track", true, false)
    );
    assert_eq!(
        (track.input.as_str(), track.jobs),
        ("shop.v1.Order", ServiceJobs::SERVICE_JOBS_WORKED.into())
    );
    let own: Service = call(&access, "Services/Get", &get("switchboard.v1.Services")).await.unwrap();
    let listing = own.methods.iter().find(|m| m.name == "List").unwrap();
    assert!(listing.no_side_effects && listing.idempotent);
    assert_eq!((listing.counts.succeeded, listing.counts.p50.is_set()), (1, true));
    let operations: Service =
        call(&access, "Services/Get", &get("google.longrunning.Operations")).await.unwrap();
    assert!(operations.methods.iter().any(|m| m.bindings.iter().any(|b| b.http_method == "GET")));
    assert_eq!(
        refused(&access, "Services/Get", &get("shop.v1.Shed")).await,
        (Code::NotFound, "SB0310".into())
    );

    let source = |name: &str| GetServiceSourceRequest { name: name.into() };
    let got: ServiceSource =
        call(&access, "Services/GetSource", &source("switchboard.v1.Groups")).await.unwrap();
    assert_eq!(
        got.files.last().map(String::as_str),
        Some("switchboard/v1/groups.proto"),
        "imports come first"
    );
    assert!(got.texts.iter().any(|t| t.text.contains("service Groups")));
    let schema = sb_schema::Schema::from_descriptor_set(&got.descriptor_set).unwrap();
    assert!(schema.method("switchboard.v1.Groups/Consume").unwrap().client_streaming);
    assert_eq!(refused(&access, "Services/GetSource", &source("x")).await.0, Code::NotFound);
}

#[tokio::test]
async fn the_state_of_the_server() {
    let (_board, access) = board().await;
    publish(&access, "t", &["1", "2"]).await;
    let status: StatusResponse = call(&access, "Server/Status", &StatusRequest {}).await.unwrap();
    assert_eq!((status.topics, status.messages_in, status.mode.as_str()), (1, 2, "test"));
    assert!(status.jobs.is_set() && !status.draining);
    let metrics: MetricsResponse = call(&access, "Server/Metrics", &MetricsRequest {}).await.unwrap();
    assert!(metrics.text.contains("# HELP"));
    for bad in [
        IssueTokenRequest { ttl: duration(3_600_001), ..IssueTokenRequest::default() },
        IssueTokenRequest { ttl: duration(0), ..IssueTokenRequest::default() },
        IssueTokenRequest { read: vec!["a..b".into()], ..IssueTokenRequest::default() },
        IssueTokenRequest { call: vec!["x".into(); 257], ..IssueTokenRequest::default() },
    ] {
        assert_eq!(refused(&access, "Server/IssueToken", &bad).await.0, Code::InvalidArgument, "{bad:?}");
    }
}

#[tokio::test]
async fn rights_are_those_of_what_is_done() {
    let (board, nobody) = board_with(authority(), "", Vec::new()).await;
    let key = |name: &'static str| login(&board, Credentials::Token(name));
    let (root, reader, writer, worker) = (key("root"), key("reader"), key("writer"), key("worker"));
    publish(&root, "orders.eu", &["1"]).await;
    let publication =
        PublishRequest { messages: vec![new_message("orders.eu", "2")], ..PublishRequest::default() };
    let read = ReadRequest { pattern: "orders.eu".into(), ..ReadRequest::default() };
    let group = CreateGroupRequest { topic: "orders.eu".into(), group: "g".into(), ..Default::default() };
    // Nobody needs the right to call the methods of the API as well.
    call::<_, PublishResponse>(&writer, "Messages/Publish", &publication).await.unwrap();
    call::<_, ReadResponse>(&reader, "Messages/Read", &read).await.unwrap();
    call::<_, Group>(&worker, "Groups/Create", &group).await.unwrap();
    let denied = (Code::PermissionDenied, "SB0502".to_owned());
    assert_eq!(refused(&reader, "Messages/Publish", &publication).await, denied);
    assert_eq!(refused(&writer, "Messages/Read", &read).await, denied);
    let subscribe = SubscribeRequest { pattern: "orders.eu".into(), ..SubscribeRequest::default() };
    assert_eq!(refused(&writer, "Messages/Subscribe", &subscribe).await, denied);
    let lease = LeaseRequest { topic: "orders.eu".into(), group: "g".into(), ..LeaseRequest::default() };
    assert_eq!(refused(&reader, "Groups/Lease", &lease).await, denied);
    let delete = DeleteTopicRequest { name: "orders.eu".into() };
    assert_eq!(refused(&worker, "Topics/Delete", &delete).await, denied);
    assert_eq!(refused(&reader, "Server/Status", &StatusRequest {}).await, denied);
    assert_eq!(refused(&reader, "Server/Metrics", &MetricsRequest {}).await, denied);
    let token = IssueTokenRequest { publish: vec!["orders.>".into()], ..IssueTokenRequest::default() };
    assert_eq!(refused(&reader, "Server/IssueToken", &token).await, denied);
    let token: IssueTokenResponse = call(&writer, "Server/IssueToken", &token).await.unwrap();
    let scoped = login(&board, Credentials::Token(&token.token));
    call::<_, PublishResponse>(&scoped, "Messages/Publish", &publication).await.unwrap();
    let list: ListServicesResponse = call(&reader, "Services/List", &ListServicesRequest {}).await.unwrap();
    assert!(
        list.services.iter().all(|s| s.target.is_empty()),
        "where upstreams are is no business of readers"
    );
    // Who gave no credentials has no right to anything.
    for (method, bytes) in [
        ("Messages/Publish", publication.encode_to_vec()),
        ("Messages/Read", read.encode_to_vec()),
        ("Services/List", Vec::new()),
        ("Topics/List", Vec::new()),
        ("Groups/List", Vec::new()),
        ("Jobs/List", Vec::new()),
        ("Methods/List", Vec::new()),
        ("Server/Status", Vec::new()),
        ("Server/IssueToken", Vec::new()),
        ("ListOperations", Vec::new()),
    ] {
        let asked = Call::unary(path(method), Codec::Proto, bytes.into());
        let status = nobody.call(asked).await.err().unwrap_or_else(|| panic!("{method} was answered"));
        assert_eq!(status.code, Code::Unauthenticated, "{method}");
    }
}

/// Every method that is described is answered, also when nothing or rubbish is asked; and nobody is told so without a right.
#[tokio::test]
async fn every_described_method_is_there() {
    let (board, access) = board().await;
    let services = board.services();
    let mut count = 0;
    for entry in services.methods() {
        count += 1;
        for bytes in [&b""[..], &[0xff; 40], &[10, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
            let status = ended(&access, &entry.path, bytes).await;
            let Some(status) = status else { continue };
            assert_ne!(status.code, Code::Internal, "{} {status}", entry.path);
            let own_words = status.message.starts_with("there is no method");
            assert!(!(status.code == Code::Unimplemented && own_words), "{} is not served", entry.path);
            if !bytes.is_empty() {
                assert_eq!(status.code, Code::InvalidArgument, "{} {status}", entry.path);
            }
        }
    }
    assert_eq!(count, 48);
}

/// How a call with one request message ends; streams that stay open are left.
async fn ended(access: &Access, path: &str, bytes: &[u8]) -> Option<sb_board::call::Status> {
    use futures_util::StreamExt as _;
    let asked = Call::unary(path, Codec::Proto, bytes.to_vec().into());
    let mut reply = match access.call(asked).await {
        Err(status) => return Some(status),
        Ok(reply) => reply,
    };
    while let Some(part) = reply.parts.next().await {
        if let sb_board::call::Part::End(end) = part {
            return end.status;
        }
    }
    panic!("{path} has no end");
}
