//! The server on real sockets, without a board: HTTP/1 strictness and limits, HTTP/2, TLS, WebSocket over both, drain.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sb_board::mount::{Answer, Body, BoxFuture, Frame, Upgrade, WebSocket, WebSocketOptions};
use sb_net::codec::{Decoder, Event, Limits, Role, close_payload, deflate, masked_frame};
use sb_net::{Connection, Host, Listener, NetCounters, NetError, NetLimits, Server};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

async fn echo(mut socket: WebSocket) {
    loop {
        let turn = std::future::poll_fn(|cx| match socket.io().poll_next(cx) {
            std::task::Poll::Pending => socket.io().poll_draining(cx).map(|()| None),
            frame => frame.map(Some),
        });
        match turn.await {
            Some(Some(Frame::Text(text))) if text == "panic" => panic!("as asked"),
            Some(Some(Frame::Text(text))) if text == "close" => return socket.close(1000, "as asked").await,
            Some(Some(Frame::Text(text))) => socket.queue_text(text),
            Some(Some(Frame::Binary(bytes))) => socket.queue_binary(bytes),
            Some(Some(Frame::Close(..)) | None) => return,
            None => return socket.close(1001, "leaving").await,
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

fn handle(http: http::Request<hyper::body::Incoming>, _: Arc<Connection>) -> BoxFuture<Answer> {
    Box::pin(async move {
        let text = |text: String| Answer::Response(http::Response::new(Body::from(text)));
        let options =
            WebSocketOptions { max_message: 1 << 20, ping_seconds: 1, ..WebSocketOptions::default() };
        match http.uri().path() {
            "/" => text("ok".into()),
            "/body" => match http.into_body().collect().await {
                Ok(body) => text(format!("{} bytes", body.to_bytes().len())),
                Err(_) => text("broken body".into()),
            },
            "/panic" => panic!("as asked"),
            "/hang" => std::future::pending().await,
            "/ws" => {
                let run = Box::new(|socket| Box::pin(echo(socket)) as BoxFuture<()>);
                Answer::WebSocket(Upgrade { http, subprotocol: Some("echo"), options, run })
            }
            _ => Answer::Pass(http),
        }
    })
}

struct Running {
    addr: SocketAddr,
    counters: Arc<NetCounters>,
    stop: oneshot::Sender<()>,
    done: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn stop(self) -> Duration {
        let begin = Instant::now();
        let _ = self.stop.send(());
        self.done.await.unwrap();
        begin.elapsed()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Everything the server answers to these bytes until it closes.
    async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
            .await
            .expect("closes");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn start_with(tls: Option<Arc<rustls::ServerConfig>>, most: u64) -> Running {
    let limits = NetLimits {
        max_connections: most,
        pre_login: Duration::from_millis(400),
        idle: Duration::from_secs(2),
        drain: Duration::from_millis(1500),
        spread: Duration::from_millis(50),
        ..NetLimits::default()
    };
    let host = Host::new(Arc::new(handle), limits, NetCounters::new([], Arc::default()));
    let listener = Listener { addr: ([127, 0, 0, 1], 0).into(), only: None, tls };
    let server = Server::http_only(host, vec![listener]).unwrap();
    let (addr, counters) = (server.local_addrs()[0], server.counters());
    let (stop, stopped) = oneshot::channel::<()>();
    let done = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    Running { addr, counters, stop, done }
}

fn start() -> Running {
    start_with(None, 1000)
}

const END: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn http1_basics() {
    let server = start();
    let answer = server
        .raw(format!("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /nope HTTP/1.1\r\nHost: a\r\n\r\n{END}"))
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(
        answer.contains("HTTP/1.1 404")
            && answer.contains("application/problem+json")
            && answer.contains("SB0206")
    );
    for bad in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"] {
        let answer = server.raw(format!("{bad}{END}")).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("SB0201"), "{answer}");
    }
    let answer = server.raw(format!("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n{END}")).await;
    assert!(
        answer.starts_with("HTTP/1.1 500") && answer.contains("SB0901") && answer.ends_with("ok"),
        "{answer}"
    );
    assert_eq!(server.counters.board.panics.load(Ordering::Relaxed), 1);
    server.stop().await;
}

#[tokio::test]
async fn ambiguous_framing_is_refused() {
    let server = start();
    let post = "POST /body HTTP/1.1\r\nHost: a\r\n";
    for bad in [
        format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        format!("{post}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n".to_owned(),
    ] {
        let answer = server.raw(format!("{bad}{END}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{bad:?}: {answer}");
    }
    // A chunk that is wrong breaks the body, and nothing behind it is a request.
    let answer =
        server.raw(format!("{post}Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n{END}")).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(!answer.contains("5 bytes"), "{answer}");
    // Well-formed bodies of both kinds, pipelined.
    let good = format!(
        "{post}Content-Length: 5\r\n\r\nhello{post}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n{END}"
    );
    let answer = server.raw(good).await;
    assert!(answer.contains("5 bytes") && answer.contains("3 bytes") && answer.ends_with("ok"), "{answer}");
    // Bytes behind an upgrade that was not accepted are no request.
    let answer = server
        .raw(format!("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{END}"))
        .await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn large_heads() {
    let server = start();
    let answer = server.raw(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000))).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many: String = (0..300).map(|i| format!("X-{i}: y\r\n")).collect();
    let answer = server.raw(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many: String = (0..200).map(|i| format!("X-{i}: {}\r\n", "y".repeat(200))).collect();
    let answer = server.raw(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn silence_and_strangers() {
    let server = start();
    let begin = Instant::now();
    assert_eq!(server.raw("").await, "");
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(server.raw("GE").await, "");
    // A head that has begun must end; slowly coming bytes do not prolong it.
    let mut slow = server.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let begin = Instant::now();
    while slow.write_all(b"X").await.is_ok() && begin.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(server.raw("\x16\x03\x01\x00\x00").await, "");
    assert_eq!(server.raw("*1\r\n$4\r\nPING\r\n").await, "");
    assert_eq!(server.counters.unrecognised.load(Ordering::Relaxed), 4);
    server.stop().await;
}

#[tokio::test]
async fn too_many_connections() {
    let server = start_with(None, 2);
    let (_one, _two) = (server.connect().await, server.connect().await);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.raw("").await, "");
    assert_eq!(server.counters.refused.load(Ordering::Relaxed), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_names_its_owner() {
    let server = start();
    let host = Host::new(Arc::new(handle), NetLimits::default(), NetCounters::new([], Arc::default()));
    let listener = Listener { addr: server.addr, only: None, tls: None };
    match Server::http_only(host, vec![listener]).err().unwrap() {
        NetError::Taken { owner: Some(owner), .. } => assert_eq!(owner.pid, std::process::id()),
        other => panic!("{other}"),
    }
    server.stop().await;
}

// --- WebSocket ---

const OPENING: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a, echo\r\n";

struct Client<S> {
    stream: S,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S, params: Option<&deflate::Params>) -> Self {
        let limits = Limits { message: 1 << 24, fragments: None };
        Client { stream, decoder: Decoder::new(Role::Client, limits, params), unread: Vec::new() }
    }

    async fn send(&mut self, first: u8, payload: &[u8]) {
        self.stream.write_all(&masked_frame(first, [1, 2, 3, 4], payload)).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let mut rest = &self.unread[..];
            let event = self.decoder.decode(&mut rest).unwrap();
            self.unread = rest.to_vec();
            if event.is_some() {
                return event;
            }
            if !self.unread.is_empty() {
                continue;
            }
            let read = self.stream.read_buf(&mut self.unread);
            match tokio::time::timeout(Duration::from_secs(8), read).await.expect("in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

async fn open(server: &Running, more: &str) -> (String, Client<TcpStream>) {
    let mut stream = server.connect().await;
    stream.write_all(format!("{OPENING}{more}\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let params =
        head.contains("permessage-deflate").then(|| deflate::negotiate(["permessage-deflate"]).unwrap().0);
    (head, Client::new(stream, params.as_ref()))
}

#[tokio::test]
async fn websocket_over_http1() {
    let server = start();
    let (head, mut client) = open(&server, "").await;
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert!(head.contains("sec-websocket-protocol: echo\r\n") && !head.contains("deflate"), "{head}");
    for len in [0, 5, 126, 5000, 70_000, 1 << 20] {
        let payload = vec![b'a'; len];
        client.send(0x81, &payload).await;
        assert_eq!(client.next().await, Some(Event::Text(payload.into())));
    }
    client.send(0x89, b"you there").await;
    client.send(0x02, b"frag").await;
    client.send(0x80, b"ment").await;
    // The server's pong has the payload; the decoder does not show it, so only the message comes.
    assert_eq!(client.next().await, Some(Event::Pong));
    assert_eq!(client.next().await, Some(Event::Binary("fragment".into())));
    client.send(0x88, &close_payload(3000, "bye")).await;
    assert_eq!(client.next().await, Some(Event::Close(3000, String::new())));
    assert_eq!(client.next().await, None);
    // The server closes first.
    let (_, mut client) = open(&server, "").await;
    client.send(0x81, b"close").await;
    assert_eq!(client.next().await, Some(Event::Close(1000, "as asked".into())));
    client.send(0x82, b"under way").await;
    client.send(0x88, &close_payload(1000, "")).await;
    assert_eq!(client.next().await, None);
    // A protocol that panics is counted, and the client told.
    let (_, mut client) = open(&server, "").await;
    client.send(0x81, b"panic").await;
    assert_eq!(client.next().await, Some(Event::Close(1011, String::new())));
    assert_eq!(server.counters.board.panics.load(Ordering::Relaxed), 1);
    for (first, payload, code) in [
        (0x83, &b""[..], 1002),
        (0x81, b"\xff", 1007),
        (0x88, b"\x03", 1002),
        (0x82, &vec![0; (1 << 20) + 1], 1009),
    ] {
        let (_, mut client) = open(&server, "").await;
        let frame = masked_frame(first, [0; 4], payload);
        let _ = client.stream.write_all(&frame).await;
        match client.next().await {
            Some(Event::Close(seen, _)) => assert_eq!(seen, code),
            other => panic!("{other:?}"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn websocket_with_compression() {
    let server = start();
    let (head, mut client) = open(&server, "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
    assert!(head.contains("sec-websocket-extensions: permessage-deflate\r\n"), "{head}");
    let (params, _) = deflate::negotiate(["permessage-deflate"]).unwrap();
    let mut deflater = deflate::Deflater::new(&params);
    for i in 0..50 {
        let text = format!("{{\"message\":{i},\"text\":\"{}\"}}", "the same again ".repeat(10));
        let small = deflater.message(b"", text.as_bytes()).unwrap();
        client.send(0xc1, &small).await;
        assert_eq!(client.next().await, Some(Event::Text(text.into())));
    }
    server.stop().await;
}

#[tokio::test]
async fn handshakes_that_are_refused() {
    let server = start();
    let refused = async |from: &str, to: &str| server.raw(format!("{}\r\n", OPENING.replace(from, to))).await;
    assert!(refused("Version: 13", "Version: 8").await.starts_with("HTTP/1.1 426"));
    assert!(refused("Version: 13", "Version: 8").await.contains("sec-websocket-version: 13"));
    for (from, to) in [
        ("GET", "POST"),
        ("keep-alive, Upgrade", "keep-alive"),
        ("Upgrade: WebSocket", "Upgrade: other"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        ("Sec-WebSocket-Key", "X-Key"),
    ] {
        let answer = refused(from, to).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("SB0201"), "{to}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn silent_websockets_are_pinged_and_given_up() {
    let server = start();
    let (_, mut client) = open(&server, "").await;
    assert_eq!(client.next().await, Some(Event::Ping("".into())));
    client.send(0x8a, b"").await;
    let begin = Instant::now();
    // No answer any more: two more pings, then the end.
    assert_eq!(client.next().await, Some(Event::Ping("".into())));
    assert_eq!(client.next().await, Some(Event::Ping("".into())));
    assert_eq!(client.next().await, None);
    assert!(begin.elapsed() < Duration::from_secs(6));
    server.stop().await;
}

#[tokio::test]
async fn websockets_that_are_not_read_are_given_up() {
    let server = start();
    let (_, mut client) = open(&server, "").await;
    let frame = masked_frame(0x82, [1, 2, 3, 4], &vec![0; 1 << 20]);
    let begin = Instant::now();
    // Sooner or later the server does not take more, since nobody takes its answers; then it ends the connection.
    while begin.elapsed() < Duration::from_secs(20) && client.stream.write_all(&frame).await.is_ok() {}
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn idle_connections_end_and_those_that_are_answered_do_not() {
    let server = start();
    let mut hangs = server.connect().await;
    hangs.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&rest));
    silent.read_to_end(&mut rest).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(50), hangs.read_u8()).await;
    assert!(waits.is_err(), "the one that is being answered was closed: {waits:?}");
    server.stop().await;
}

#[tokio::test]
async fn draining() {
    let server = start();
    let (_, mut client) = open(&server, "").await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    idle.read_u8().await.unwrap();
    let mut hangs = server.connect().await;
    hangs.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let open: Vec<_> = server.counters.open().collect();
    assert_eq!(open, [("http", 2), ("websocket", 1)]);
    let (counters, addr) = (server.counters.clone(), server.addr);
    let stopped = tokio::spawn(server.stop());
    assert_eq!(client.next().await, Some(Event::Close(1001, "leaving".into())));
    client.send(0x88, &close_payload(1001, "")).await;
    assert_eq!(client.next().await, None);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
    // The one that hangs is cut off at the deadline.
    let _ = hangs.read_to_end(&mut rest).await;
    let took = stopped.await.unwrap();
    assert!(took > Duration::from_millis(1400) && took < Duration::from_secs(4), "{took:?}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(counters.connections(), 0);
}

#[tokio::test]
async fn draining_with_nobody_is_quick() {
    let server = start();
    assert!(server.raw(END).await.ends_with("ok"));
    assert!(server.stop().await < Duration::from_secs(1));
}

// --- HTTP/2 and TLS ---

async fn http2<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
) -> hyper::client::conn::http2::SendRequest<Empty<bytes::Bytes>> {
    let (send, conn) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(conn);
    send
}

async fn get(
    send: &mut hyper::client::conn::http2::SendRequest<Empty<bytes::Bytes>>,
    path: &str,
) -> (u16, String) {
    let request = http::Request::get(format!("http://a{path}")).body(Empty::new()).unwrap();
    let response = send.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn http2_with_prior_knowledge() {
    let server = start();
    let mut send = http2(server.connect().await).await;
    assert_eq!(get(&mut send, "/").await, (200, "ok".into()));
    assert_eq!(get(&mut send, "/panic").await.0, 500);
    assert_eq!(get(&mut send, "/nope").await.0, 404);
    // RFC 8441
    let mut request = http::Request::connect("http://a/ws")
        .header("sec-websocket-version", "13")
        .body(Empty::new())
        .unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    let response = send.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut client = Client::new(TokioIo::new(hyper::upgrade::on(response).await.unwrap()), None);
    for len in [3, 100_000] {
        let payload = vec![b'b'; len];
        client.send(0x82, &payload).await;
        assert_eq!(client.next().await, Some(Event::Binary(payload.into())));
    }
    // GOAWAY and the good-bye of the socket.
    let stopped = tokio::spawn(server.stop());
    assert_eq!(client.next().await, Some(Event::Close(1001, "leaving".into())));
    client.send(0x88, &close_payload(1001, "")).await;
    assert!(stopped.await.unwrap() < Duration::from_secs(2));
}

fn tls() -> (Arc<rustls::ServerConfig>, rustls::ClientConfig) {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let cert = CertificateDer::from_pem_slice(include_bytes!("data/cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("data/key.pem")).unwrap();
    let mut server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert).unwrap();
    (Arc::new(server), rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test]
async fn tls_then_alpn_and_nothing_in_clear_text() {
    let (config, mut client) = tls();
    let server = start_with(Some(config), 1000);
    let name = || rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let plain = tokio_rustls::TlsConnector::from(Arc::new(client.clone()));
    let mut stream = plain.connect(name(), server.connect().await).await.unwrap();
    stream.write_all(END.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.ends_with("ok"), "{answer}");
    client.alpn_protocols = vec![b"h2".to_vec()];
    let h2 = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = h2.connect(name(), server.connect().await).await.unwrap();
    assert_eq!(get(&mut http2(stream).await, "/").await, (200, "ok".into()));
    assert_eq!(server.raw(END).await, "");
    server.stop().await;
}
