//! What the tests share: a service, a server that has it, clients.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue};
use sb_board::auth::Authority;
use sb_board::call::{Call, Code, Codec, Detail, End, Part, Provider, Reply, Service, Status};
use sb_board::mount::{BoxFuture, Descriptor, Target};
use sb_board::{Access, Board, HttpSettings, Settings};
use sb_grpc::client::{Speech, Upstream};
use sb_grpc::wire::pack::Packing;
use sb_net::{Listener, NetLimits, Server};
use sb_schema::Schema;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub static PROTOCOLS: &[&Descriptor] = &[&sb_grpc::GRPC, &sb_grpc::GRPC_WEB, &sb_grpc::CONNECT];

pub const PROTO: &str = r#"
syntax = "proto3";
package t.v1;
message Msg { string text = 1; int32 n = 2; }
service T {
  // Sends back what it is sent.
  rpc Echo(Msg) returns (Msg) { option idempotency_level = NO_SIDE_EFFECTS; }
  // Fails as the text says.
  rpc Fail(Msg) returns (Msg);
  // Never answers.
  rpc Sleep(Msg) returns (Msg);
  // All texts as one.
  rpc Up(stream Msg) returns (Msg);
  // The message n times.
  rpc Down(Msg) returns (stream Msg);
  // Each message as it comes.
  rpc Both(stream Msg) returns (stream Msg);
  // Messages without end.
  rpc Endless(Msg) returns (stream Msg);
}
"#;

pub const LIMIT: usize = 256 * 1024;

pub fn schema() -> Schema {
    Schema::from_texts([("t/v1/t.proto", PROTO)]).unwrap()
}

/// The Protobuf of a `Msg`.
pub fn msg(text: &str, n: i32) -> Bytes {
    let kind = schema().message("t.v1.Msg").unwrap();
    let json = serde_json::json!({ "text": text, "n": n }).to_string();
    sb_schema::json_to_proto(&kind, json.as_bytes(), &sb_schema::Options::default()).unwrap()
}

/// Text and number of a `Msg`.
pub fn read(bytes: &[u8]) -> (String, i64) {
    let kind = schema().message("t.v1.Msg").unwrap();
    let json = sb_schema::proto_to_json(&kind, bytes, &sb_schema::Options::default()).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    (value["text"].as_str().unwrap_or_default().to_owned(), value["n"].as_i64().unwrap_or(0))
}

/// The service; counts what is going on.
#[derive(Default)]
pub struct T {
    /// Replies and calls that are alive.
    pub alive: AtomicUsize,
    /// Messages that were pulled from endless replies.
    pub pulled: AtomicUsize,
}

/// Counts as long as it lives.
struct Alive(Arc<T>);

impl Alive {
    fn new(service: &Arc<T>) -> Alive {
        service.alive.fetch_add(1, Ordering::SeqCst);
        Alive(service.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The status that the service fails with.
pub fn failure() -> Status {
    let mut status = Status::new(Code::FailedPrecondition, "not 100% ☺");
    status.details.push(Detail { type_url: "type.googleapis.com/t.v1.Msg".into(), value: msg("detail", 7) });
    status
}

impl Provider for T {
    fn call(self: Arc<Self>, _access: Access, mut call: Call) -> BoxFuture<Result<Reply, Status>> {
        Box::pin(async move {
            let alive = Alive::new(&self);
            let mut metadata = HeaderMap::new();
            for (name, value) in &call.metadata {
                metadata.append(format!("echo-{name}").parse::<http::HeaderName>().unwrap(), value.clone());
            }
            if let Some(at) = call.deadline {
                let left = at.saturating_duration_since(tokio::time::Instant::now()).as_millis();
                metadata.insert("left-ms", HeaderValue::from(left as u64));
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("t-bin", HeaderValue::from_static("AQID"));
            trailers.append("t-two", HeaderValue::from_static("a"));
            trailers.append("t-two", HeaderValue::from_static("b"));
            let end = move |status| Part::End(End { status, trailers });
            let parts: sb_board::call::Parts = match call.method.rsplit('/').next().unwrap() {
                "Echo" => {
                    let message = call.message().await?;
                    Box::pin(futures_util::stream::iter([Part::Message(message), end(None)]))
                }
                "Fail" => {
                    call.message().await?;
                    Box::pin(futures_util::stream::iter([end(Some(failure()))]))
                }
                "Up" => {
                    let mut text = String::new();
                    let mut n = 0;
                    while let Some(message) = call.messages.next().await {
                        text.push_str(&read(&message?).0);
                        n += 1;
                    }
                    Box::pin(futures_util::stream::iter([Part::Message(msg(&text, n)), end(None)]))
                }
                "Down" => {
                    let message = call.message().await?;
                    let (text, n) = read(&message);
                    let messages = (0..n as i32).map(move |i| Part::Message(msg(&text, i)));
                    Box::pin(futures_util::stream::iter(messages.chain([end(None)])))
                }
                "Both" => {
                    let parts = call.messages.map(|message| match message {
                        Ok(message) => Part::Message(message),
                        Err(status) => Part::End(status.into()),
                    });
                    let last = futures_util::stream::once(async move { end(None) });
                    // Nothing may follow an end.
                    let parts = parts.chain(last).scan(false, |over, part| {
                        let before = std::mem::replace(over, matches!(part, Part::End(_)));
                        std::future::ready((!before).then_some(part))
                    });
                    Box::pin(parts)
                }
                "Endless" => {
                    let message = call.message().await?;
                    let service = self.clone();
                    Box::pin(futures_util::stream::repeat_with(move || {
                        service.pulled.fetch_add(1, Ordering::SeqCst);
                        Part::Message(message.clone())
                    }))
                }
                _ => {
                    call.message().await?;
                    std::future::pending::<()>().await;
                    unreachable!()
                }
            };
            let parts = Box::pin(parts.inspect(move |_| {
                let _held = &alive;
            }));
            Ok(Reply { metadata, parts })
        })
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Proto]
    }

    fn target(&self) -> String {
        "the test".into()
    }
}

/// A server that runs.
pub struct Running {
    pub board: Arc<Board>,
    pub addr: SocketAddr,
}

pub fn settings() -> Settings {
    Settings {
        dir: None,
        authority: Authority::new([], Vec::new(), BTreeMap::new()),
        http: HttpSettings { any_loopback_origin: true, ..HttpSettings::default() },
        memory: 64 << 20,
        max_message: LIMIT,
        max_request: 8 << 20,
        max_wait_ms: 60_000,
        mode: "test".into(),
    }
}

/// A server with this provider as `t.v1.T`.
pub async fn serve(settings: Settings, provider: Arc<dyn Provider>, shown: Option<&[&str]>) -> Running {
    let (board, _) = Board::start(settings).unwrap();
    let service = Service {
        name: "t.v1.T".into(),
        provider,
        timeout: None,
        shown: shown.map(|names| names.iter().map(|n| (*n).to_owned()).collect()),
        json: sb_schema::Options::default(),
    };
    board.set_services(schema(), vec![service]).await.unwrap();
    let listener = Listener { addr: SocketAddr::from(([127, 0, 0, 1], 0)), only: None, tls: None };
    let server = Server::bind(board.clone(), PROTOCOLS, vec![listener], NetLimits::default()).unwrap();
    let addr = server.local_addrs()[0];
    tokio::spawn(server.run(std::future::pending()));
    Running { board, addr }
}

/// A server with the service itself.
pub async fn start() -> (Running, Arc<T>) {
    let service = Arc::new(T::default());
    (serve(settings(), service.clone(), None).await, service)
}

/// A client of a server.
pub fn client(addr: SocketAddr, speech: Speech, h2: bool, packing: Packing) -> Arc<Upstream> {
    let scheme = match (speech, h2) {
        (Speech::Grpc, _) => "grpc",
        (Speech::Web, false) => "grpc-web",
        (Speech::Web, true) => "grpc-web+h2",
        (Speech::Connect, false) => "connect",
        (Speech::Connect, true) => "connect+h2",
    };
    let target = Target { url: format!("{scheme}://{addr}"), ..Target::default() };
    Upstream::new(speech, &target, &sb_net::Dial, packing).unwrap()
}

/// A client that sends bytes and reads an answer until its connection ends or the body is complete.
pub async fn raw(addr: SocketAddr, request: impl AsRef<[u8]>) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_ref()).await.unwrap();
    answer(&mut stream).await
}

/// One HTTP/1.1 answer: its head, and its body with chunks put together.
pub async fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut seen = Vec::new();
    let head_end = loop {
        if let Some(at) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, &mut seen).await;
    };
    let head = String::from_utf8(seen[..head_end].to_vec()).unwrap().to_ascii_lowercase();
    let mut body = seen.split_off(head_end);
    if head.contains("transfer-encoding: chunked") {
        let mut out = Vec::new();
        loop {
            let Some(at) = body.windows(2).position(|w| w == b"\r\n") else {
                more(stream, &mut body).await;
                continue;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&body[..at]).unwrap(), 16).unwrap();
            while body.len() < at + 2 + size + 2 {
                more(stream, &mut body).await;
            }
            out.extend_from_slice(&body[at + 2..at + 2 + size]);
            body.drain(..at + 2 + size + 2);
            if size == 0 {
                return (head, out);
            }
        }
    }
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.trim().parse().ok());
    while body.len() < length.unwrap_or(0) {
        more(stream, &mut body).await;
    }
    (head, body)
}

async fn more(stream: &mut TcpStream, seen: &mut Vec<u8>) {
    let mut buffer = [0; 65536];
    let n = tokio::time::timeout(std::time::Duration::from_secs(20), stream.read(&mut buffer))
        .await
        .expect("an answer")
        .unwrap();
    assert!(n > 0, "the server closed after {:?}", String::from_utf8_lossy(seen));
    seen.extend_from_slice(&buffer[..n]);
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it did not come about: {what}");
}
