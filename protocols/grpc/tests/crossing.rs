//! The client halves against the server halves: every kind of call, protocol, codec and packing, directly and through a server in between.

mod common;

use bytes::Bytes;
use common::*;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue};
use sb_board::call::{Call, Code, Codec, End, Part, Provider, Reply, Status, Streaming};
use sb_grpc::client::{Speech, Upstream};
use sb_grpc::wire::pack::Packing;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

const WAYS: [(Speech, bool); 5] = [
    (Speech::Grpc, true),
    (Speech::Web, true),
    (Speech::Web, false),
    (Speech::Connect, true),
    (Speech::Connect, false),
];

/// A call as it comes from a client.
fn call(method: &str, streaming: (bool, bool), messages: Vec<Bytes>) -> Call {
    let mut metadata = HeaderMap::new();
    metadata.insert("x-one", HeaderValue::from_static("1"));
    metadata.insert("x-bin", HeaderValue::from_static("AQI"));
    Call {
        streaming: Streaming { client: streaming.0, server: streaming.1 },
        metadata,
        messages: Box::pin(futures_util::stream::iter(messages.into_iter().map(Ok))),
        ..Call::unary(format!("t.v1.T/{method}"), Codec::Proto, Bytes::new())
    }
}

async fn send(client: &Arc<Upstream>, running: &Running, call: Call) -> Result<Reply, Status> {
    client.clone().call(running.board.admin(), call).await
}

/// Everything of a reply.
async fn all(reply: Result<Reply, Status>) -> (HeaderMap, Vec<Bytes>, End) {
    let mut reply = match reply {
        Ok(reply) => reply,
        Err(status) => return (HeaderMap::new(), Vec::new(), status.into()),
    };
    let mut messages = Vec::new();
    while let Some(part) = reply.parts.next().await {
        match part {
            Part::Message(message) => messages.push(message),
            Part::End(end) => {
                assert!(reply.parts.next().await.is_none(), "something follows the end");
                return (reply.metadata, messages, end);
            }
        }
    }
    panic!("no end");
}

fn check_metadata(metadata: &HeaderMap, end: &End) {
    assert_eq!(metadata["echo-x-one"], "1");
    assert_eq!(metadata["echo-x-bin"], "AQI");
    assert_eq!(end.trailers["t-bin"], "AQID");
    assert_eq!(end.trailers.get_all("t-two").iter().collect::<Vec<_>>(), ["a", "b"]);
}

/// Every kind of call, by one client.
async fn every_kind(client: &Arc<Upstream>, running: &Running, what: &str) {
    let long = "long enough to be packed ".repeat(20_000 / 25);
    let (metadata, messages, end) =
        all(send(client, running, call("Echo", (false, false), vec![msg(&long, 1)])).await).await;
    assert_eq!(end.status, None, "{what}");
    assert_eq!(messages, [msg(&long, 1)], "{what}");
    check_metadata(&metadata, &end);
    // Empty messages are messages.
    let (_, messages, end) =
        all(send(client, running, call("Echo", (false, false), vec![Bytes::new()])).await).await;
    assert_eq!((messages.as_slice(), end.status), (&[Bytes::new()][..], None), "{what}");

    let (_, messages, end) =
        all(send(client, running, call("Fail", (false, false), vec![msg("", 0)])).await).await;
    assert!(messages.is_empty(), "{what}");
    assert_eq!(end.status, Some(failure()), "{what}");
    assert_eq!(end.trailers["t-bin"], "AQID");

    let texts = vec![msg("a", 0), msg("b", 0), msg("c", 0)];
    let (metadata, messages, end) =
        all(send(client, running, call("Up", (true, false), texts.clone())).await).await;
    assert_eq!((messages.as_slice(), &end.status), (&[msg("abc", 3)][..], &None), "{what}");
    check_metadata(&metadata, &end);

    let (metadata, messages, end) =
        all(send(client, running, call("Down", (false, true), vec![msg(&long, 3)])).await).await;
    assert_eq!(messages, [msg(&long, 0), msg(&long, 1), msg(&long, 2)], "{what}");
    assert_eq!(end.status, None);
    check_metadata(&metadata, &end);
    let (_, messages, end) =
        all(send(client, running, call("Down", (false, true), vec![msg("", 0)])).await).await;
    assert_eq!((messages.len(), end.status), (0, None), "{what}");

    let (metadata, messages, end) =
        all(send(client, running, call("Both", (true, true), texts.clone())).await).await;
    assert_eq!(messages, texts, "{what}");
    check_metadata(&metadata, &end);
}

#[tokio::test]
async fn every_kind_over_every_protocol() {
    let (running, _) = start().await;
    for (speech, h2) in WAYS {
        for packing in [Packing::Identity, Packing::Gzip, Packing::Zstd, Packing::Brotli, Packing::Deflate] {
            let client = client(running.addr, speech, h2, packing);
            every_kind(&client, &running, &format!("{speech:?} h2={h2} {packing:?}")).await;
        }
    }
}

#[tokio::test]
async fn every_protocol_reaches_a_service_of_every_other() {
    let (behind, _) = start().await;
    for (inner, inner_h2) in WAYS {
        let upstream = client(behind.addr, inner, inner_h2, Packing::Identity);
        let front = serve(settings(), upstream, None).await;
        for (outer, outer_h2) in WAYS {
            let client = client(front.addr, outer, outer_h2, Packing::Identity);
            every_kind(&client, &front, &format!("{outer:?} {outer_h2} -> {inner:?} {inner_h2}")).await;
        }
    }
}

#[tokio::test]
async fn json_is_converted_for_a_service_that_speaks_protobuf() {
    let (running, _) = start().await;
    for (speech, h2) in WAYS {
        let client = client(running.addr, speech, h2, Packing::Identity);
        let json = Bytes::from_static(br#"{"text":"a","n":2}"#);
        let request = Call { codec: Codec::Json, ..call("Down", (false, true), vec![json]) };
        let (_, messages, end) = all(send(&client, &running, request).await).await;
        assert_eq!(messages, [r#"{"text":"a"}"#, r#"{"text":"a","n":1}"#]);
        assert_eq!(end.status, None);
        let request = Call {
            codec: Codec::Json,
            ..call("Echo", (false, false), vec![Bytes::from_static(b"{\"nonsense\":1}")])
        };
        let (_, _, end) = all(send(&client, &running, request).await).await;
        assert_eq!(end.status.unwrap().code, Code::InvalidArgument, "{speech:?}");
    }
}

#[tokio::test]
async fn full_duplex() {
    let (behind, _) = start().await;
    let front = serve(settings(), client(behind.addr, Speech::Grpc, true, Packing::Identity), None).await;
    for (speech, h2) in WAYS.into_iter().filter(|(_, h2)| *h2) {
        let client = client(front.addr, speech, h2, Packing::Identity);
        let (sender, queue) = tokio::sync::mpsc::channel::<Bytes>(1);
        let messages =
            futures_util::stream::unfold(
                queue,
                |mut queue| async move { Some((Ok(queue.recv().await?), queue)) },
            );
        let request = Call { messages: Box::pin(messages), ..call("Both", (true, true), Vec::new()) };
        let mut reply = send(&client, &front, request).await.unwrap();
        for n in 0..20 {
            sender.send(msg("ping", n)).await.unwrap();
            let Some(Part::Message(message)) = reply.parts.next().await else { panic!("no answer") };
            assert_eq!(message, msg("ping", n));
        }
        drop(sender);
        let Some(Part::End(end)) = reply.parts.next().await else { panic!("no end") };
        assert_eq!(end.status, None);
    }
}

#[tokio::test]
async fn deadlines_travel_and_hold() {
    let (behind, service) = start().await;
    for (speech, h2) in WAYS {
        let front = serve(settings(), client(behind.addr, speech, h2, Packing::Identity), None).await;
        let client = client(front.addr, speech, h2, Packing::Identity);
        let far = Instant::now() + Duration::from_secs(3_600);
        let request = Call { deadline: Some(far), ..call("Echo", (false, false), vec![msg("", 0)]) };
        let (metadata, _, _) = all(send(&client, &front, request).await).await;
        let left: u64 = metadata["left-ms"].to_str().unwrap().parse().unwrap();
        assert!((3_500_000..=3_600_001).contains(&left), "{speech:?}: {left}");
        let near = Instant::now() + Duration::from_millis(150);
        let request = Call { deadline: Some(near), ..call("Sleep", (false, false), vec![msg("", 0)]) };
        let (_, _, end) = all(send(&client, &front, request).await).await;
        assert_eq!(end.status.unwrap().code, Code::DeadlineExceeded, "{speech:?}");
        until("nothing goes on", || service.alive.load(Ordering::SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn a_reply_that_is_dropped_cancels_the_call_through_all_servers() {
    let (behind, service) = start().await;
    for (speech, h2) in WAYS {
        let front = serve(settings(), client(behind.addr, speech, h2, Packing::Identity), None).await;
        let client = client(front.addr, speech, h2, Packing::Identity);
        // While it waits for the answer.
        let request = call("Sleep", (false, false), vec![msg("", 0)]);
        let waiting = tokio::spawn({
            let (client, access) = (client.clone(), front.board.admin());
            async move { client.call(access, request).await.map(drop) }
        });
        until("the call has arrived", || service.alive.load(Ordering::SeqCst) == 1).await;
        waiting.abort();
        until("an unary call is given up", || service.alive.load(Ordering::SeqCst) == 0).await;
        // In the middle of a reply, and of a request.
        let mut reply =
            send(&client, &front, call("Endless", (false, true), vec![msg("x", 0)])).await.unwrap();
        assert!(matches!(reply.parts.next().await, Some(Part::Message(_))));
        drop(reply);
        until("a reply is given up", || service.alive.load(Ordering::SeqCst) == 0).await;
        if h2 {
            let messages = Box::pin(
                futures_util::stream::iter([Ok(msg("x", 0))]).chain(futures_util::stream::pending()),
            );
            let request = Call { messages, ..call("Both", (true, true), Vec::new()) };
            let mut reply = send(&client, &front, request).await.unwrap();
            assert!(matches!(reply.parts.next().await, Some(Part::Message(_))));
            drop(reply);
            until("a conversation is given up", || service.alive.load(Ordering::SeqCst) == 0).await;
        }
    }
}

#[tokio::test]
async fn who_does_not_read_is_not_sent_to() {
    let (behind, service) = start().await;
    let front = serve(settings(), client(behind.addr, Speech::Grpc, true, Packing::Identity), None).await;
    for (speech, h2) in WAYS {
        let client = client(front.addr, speech, h2, Packing::Identity);
        let before = service.pulled.load(Ordering::SeqCst);
        let long = "x".repeat(10_000);
        let mut reply =
            send(&client, &front, call("Endless", (false, true), vec![msg(&long, 0)])).await.unwrap();
        assert!(matches!(reply.parts.next().await, Some(Part::Message(_))));
        // It stops by itself: what is on the way is bounded by the windows of all connections.
        let mut last = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = service.pulled.load(Ordering::SeqCst) - before;
            if now == last {
                break;
            }
            assert!(now < 20_000, "{speech:?}: {now} messages for nobody");
            last = now;
        }
        drop(reply);
        until("it is given up", || service.alive.load(Ordering::SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn limits_hold_on_both_sides() {
    let (behind, _) = start().await;
    let mut small = settings();
    small.max_message = 10_000;
    let front = serve(small, client(behind.addr, Speech::Grpc, true, Packing::Identity), None).await;
    for (speech, h2) in WAYS {
        for packing in [Packing::Identity, Packing::Gzip] {
            let client = client(front.addr, speech, h2, packing);
            let big = msg(&"0".repeat(20_000), 0);
            let (_, _, end) = all(client
                .clone()
                .call(behind.board.admin(), call("Echo", (false, false), vec![big.clone()]))
                .await)
            .await;
            let status = end.status.unwrap();
            assert_eq!(status.code, Code::ResourceExhausted, "{speech:?} {packing:?} {status}");
            let messages = vec![msg("a", 0), big];
            let (_, _, end) =
                all(client.clone().call(behind.board.admin(), call("Up", (true, false), messages)).await)
                    .await;
            assert_eq!(end.status.unwrap().code, Code::ResourceExhausted, "{speech:?} {packing:?} up");
        }
        // An answer that is too large for who asked.
        let direct = client(behind.addr, speech, h2, Packing::Gzip);
        let text = "0".repeat(20_000);
        let (_, _, end) =
            all(send(&direct, &front, call("Echo", (false, false), vec![msg(&text, 0)])).await).await;
        assert_eq!(end.status.unwrap().code, Code::ResourceExhausted, "{speech:?} down");
    }
}

#[tokio::test]
async fn a_caller_that_breaks_off_is_no_fault_of_the_service() {
    let (running, service) = start().await;
    for (speech, h2) in WAYS.into_iter().filter(|(_, h2)| *h2) {
        let client = client(running.addr, speech, h2, Packing::Identity);
        let gone = Status::new(Code::Cancelled, "gone");
        let messages = Box::pin(futures_util::stream::iter([Ok(msg("x", 0)), Err(gone.clone())]));
        let request = Call { messages, ..call("Up", (true, false), Vec::new()) };
        let (_, _, end) = all(send(&client, &running, request).await).await;
        assert_eq!(end.status, Some(gone), "{speech:?}");
        until("nothing goes on", || service.alive.load(Ordering::SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_unavailable() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let (running, _) = start().await;
    for (speech, h2) in WAYS {
        let client = client(addr, speech, h2, Packing::Identity);
        for (method, streaming) in [("Echo", (false, false)), ("Both", (true, true))] {
            let (_, _, end) =
                all(send(&client, &running, call(method, streaming, vec![msg("", 0)])).await).await;
            assert_eq!(end.status.unwrap().code, Code::Unavailable, "{speech:?} {method}");
        }
        assert!(client.healthy().is_err());
    }
}

#[tokio::test]
async fn a_server_says_what_it_offers() {
    let (running, _) = start().await;
    for scheme in ["grpc", "grpc-web+h2", "connect+h2"] {
        let target =
            sb_board::mount::Target { url: format!("{scheme}://{}", running.addr), ..Default::default() };
        let dialer: Arc<dyn sb_board::mount::Dialer> = Arc::new(sb_net::Dial);
        let set = sb_grpc::client::describe(target.clone(), dialer.clone(), Vec::new()).await.unwrap();
        let schema = sb_schema::Schema::from_descriptor_set(&set).unwrap();
        let names: Vec<&str> = schema.services().iter().map(|s| s.full_name.as_str()).collect();
        assert_eq!(names, ["t.v1.T"]);
        assert_eq!(schema.method("t.v1.T/Both").unwrap().input.full_name(), "t.v1.Msg");
        let asked = vec!["grpc.health.v1.Health".to_owned()];
        let set = sb_grpc::client::describe(target.clone(), dialer.clone(), asked).await.unwrap();
        assert!(
            sb_schema::Schema::from_descriptor_set(&set).unwrap().service("grpc.health.v1.Health").is_some()
        );
        let error = sb_grpc::client::describe(target, dialer, vec!["no.Such".into()]).await.unwrap_err();
        assert_eq!(error.kind, sb_core::model::Kind::NotFound);
    }
}
