//! The pool towards upstreams, against servers that refuse.

use bytes::Bytes;
use http::{Request, Response};
use sb_board::call::Code;
use sb_board::mount::{Body, Dialer, Target};
use sb_net::Dial;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn target(scheme: &str, addr: SocketAddr, path: &str) -> Target {
    Target { url: format!("{scheme}://{addr}{path}"), ..Target::default() }
}

fn request(path: &str) -> Request<Body> {
    let mut request = Request::new(Body::Empty);
    *request.uri_mut() = path.parse().unwrap();
    request
}

/// A connection that is kept and refuses every stream but its first: each request is refused once, not asked again for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_is_not_sent_again_on_the_same_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (streams, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, connections) = (streams.clone(), seen.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Relaxed);
            let mut conn = h2::server::handshake(stream).await.unwrap();
            let counted = counted.clone();
            tokio::spawn(async move {
                while let Some(Ok((_, mut respond))) = conn.accept().await {
                    if counted.fetch_add(1, Relaxed) == 0 {
                        respond.send_response(Response::new(()), true).unwrap();
                    } else {
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                    }
                }
            });
        }
    });
    let upstream = Dial.http(&target("grpc", addr, ""), false, true).unwrap();
    upstream.send(request("/a")).await.expect("the first is taken").verdict.good();
    for n in 2..5 {
        let refused = upstream.send(request("/a")).await.err().expect("refused");
        assert_eq!(refused.code, Code::Unavailable);
        assert_eq!(streams.load(Relaxed), n);
    }
    assert_eq!(seen.load(Relaxed), 1);
}

/// The path of a target stands in front of every path, also of those that begin with the same letters.
#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_out_of_the_targets_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let lines = tokio::spawn(async move {
        let mut lines = Vec::new();
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4_096];
            let n = stream.read(&mut bytes).await.unwrap();
            let text = Bytes::copy_from_slice(&bytes[..n]);
            lines.push(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned());
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
        }
        lines
    });
    let upstream = Dial.http(&target("http", addr, "/api/"), false, false).unwrap();
    for path in ["/x?y=z", "/apix", "/api/x"] {
        upstream.send(request(path)).await.expect("an answer").verdict.good();
    }
    let wanted = ["GET /api/x?y=z HTTP/1.1", "GET /api/apix HTTP/1.1", "GET /api/api/x HTTP/1.1"];
    assert_eq!(lines.await.unwrap(), wanted);
}

/// A kept connection whose other end closes is closed here, too, without a further call.
#[tokio::test(flavor = "multi_thread")]
async fn kept_pipes_end_with_the_other_side() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let pool = Dial.pipes(&target("thrift", addr, ""), false).unwrap();
    let pipe = pool.take().await.expect("a connection");
    let (mut theirs, _) = listener.accept().await.unwrap();
    (pipe.give_back)(Some(pipe.stream), true);
    theirs.shutdown().await.unwrap();
    // The other half ends when ours is closed.
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
}
