//! Whole requests over every RPC protocol, sent to a server that runs in this process; and whatever an upstream may answer.

use sb_board::auth::Authority;
use sb_board::call::{Call, Codec, Provider, Service};
use sb_board::mount::{Descriptor, Target};
use sb_board::{Access, Board, HttpSettings, Settings};
use sb_net::{Listener, NetLimits, Server};
use sb_suite::{Running, rpc};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

static PROTOCOLS: &[&Descriptor] = &[
    &sb_grpc::GRPC,
    &sb_grpc::GRPC_WEB,
    &sb_grpc::CONNECT,
    &sb_graphql::DESCRIPTOR,
    &sb_jsonrpc::DESCRIPTOR,
    &sb_mcp::DESCRIPTOR,
    &sb_thrift::DESCRIPTOR,
    &sb_http::DESCRIPTOR,
];

struct Site {
    runtime: Runtime,
    addr: SocketAddr,
    access: Access,
    /// What the upstream answers next.
    answer: Arc<Mutex<Vec<u8>>>,
    /// Clients of that upstream, one of each protocol.
    clients: Vec<(Arc<dyn Provider>, Codec)>,
}

/// Schemes of the upstream's clients.
const SCHEMES: [&str; 8] = [
    "grpc-web",
    "connect",
    "http",
    "jsonrpc",
    "thrift",
    "thrift+framed+compact",
    "thrift+header",
    "thrift+http",
];

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let answer = Arc::new(Mutex::new(Vec::new()));
    let upstream = upstream(answer.clone());
    let (addr, access, clients) = runtime.block_on(async {
        let settings = Settings {
            dir: None,
            authority: Authority::new([], Vec::new(), BTreeMap::new()),
            http: HttpSettings { heartbeat_ms: 15_000, max_body: 1 << 20, ..HttpSettings::default() },
            memory: 64 << 20,
            max_message: 64 << 10,
            max_request: 1 << 20,
            max_wait_ms: 1_000,
            mode: "development".into(),
        };
        let (board, _) = Board::start(settings).unwrap();
        let listener = Listener { addr: SocketAddr::from(([127, 0, 0, 1], 0)), only: None, tls: None };
        let server = Server::bind(board.clone(), PROTOCOLS, vec![listener], NetLimits::default())
            .expect("a free port");
        let addr = server.local_addrs()[0];
        tokio::spawn(server.run(std::future::pending()));
        let running = Running { board: board.clone(), addr };
        rpc::serve(&running).await;
        let dialer: Arc<dyn sb_board::mount::Dialer> = Arc::new(sb_net::Dial);
        let clients = SCHEMES.iter().map(|scheme| {
            let target = Target { url: format!("{scheme}://{upstream}"), ..Target::default() };
            let known = PROTOCOLS.iter().filter_map(|protocol| protocol.client.as_ref());
            let client = known.into_iter().find(|client| client.schemes.contains(scheme)).expect("a client");
            let provider = (client.connect)(&target, &dialer).expect("a target");
            let codec = provider.codecs()[0];
            (provider, codec)
        });
        let clients = clients.collect();
        (addr, board.admin(), clients)
    });
    Site { runtime, addr, access, answer, clients }
});

/// A server that answers each connection with the bytes at hand, once it has been asked something.
fn upstream(answer: Arc<Mutex<Vec<u8>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut asked = [0; 4_096];
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            if stream.read(&mut asked).is_ok() {
                let bytes = answer.lock().map(|bytes| bytes.clone()).unwrap_or_default();
                let _ = stream.write_all(&bytes);
            }
        }
    });
    addr
}

/// A request: the first byte says of what kind, the rest is its body, or for some all of its bytes.
pub fn calls(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let post = |path: &str, headers: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let socket = |path: &str, more: &str| {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
        );
        let mut bytes = head.into_bytes();
        // Each line is a text; a mask of zeroes leaves it as it is.
        for text in body.split(|byte| *byte == b'\n').filter(|text| text.len() < 65_536) {
            bytes.extend([0x81, 0x80 | 126]);
            bytes.extend((text.len() as u16).to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(text);
        }
        bytes
    };
    let json = "Content-Type: application/json\r\n";
    let bytes = match kind % 16 {
        0 => post("/toy.v1.Toy/Greet", "Content-Type: application/grpc-web+proto\r\n"),
        1 => post("/toy.v1.Toy/Sum", "Content-Type: application/grpc-web-text\r\n"),
        2 => post("/toy.v1.Toy/Greet", "Content-Type: application/proto\r\nConnect-Protocol-Version: 1\r\n"),
        3 => post("/toy.v1.Toy/Greet", "Content-Type: application/json\r\nConnect-Protocol-Version: 1\r\n"),
        4 => post("/toy.v1.Toy/Sum", "Content-Type: application/connect+proto\r\n"),
        5 => post("/toy.v1.Toy/Twice", json),
        6 => post("/graphql", json),
        7 => post("/rpc", json),
        8 => post("/mcp", &format!("{json}Accept: application/json, text/event-stream\r\n")),
        9 => post("/thrift", "Content-Type: application/x-thrift\r\n"),
        10 => socket("/graphql", "Sec-WebSocket-Protocol: graphql-transport-ws\r\n"),
        11 => socket("/rpc", ""),
        12 => post(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "Content-Type: application/grpc-web+proto\r\n",
        ),
        13 => post("/switchboard.v1.Messages/Publish", json),
        // Whatever there is: HTTP/1.1, HTTP/2, Thrift.
        14 => [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", body].concat(),
        _ => body.to_vec(),
    };
    let mut stream = TcpStream::connect(SITE.addr).expect("it listens");
    let _ = stream.set_read_timeout(Some(Duration::from_secs(3)));
    let _ = stream.write_all(&bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.take(1 << 20).read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 500") || kind % 16 > 13, "{}", String::from_utf8_lossy(&answer));
}

/// What an upstream answers: the first byte says to which client, the rest are its bytes, behind a good head where `0x80` is set.
pub fn answers(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let site = &*SITE;
    let Some((client, codec)) = site.clients.get(usize::from(kind & 0x7) % SCHEMES.len()) else { return };
    let kinds = ["application/grpc-web+proto", "application/proto", "application/json", "application/json"];
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        kinds.get(usize::from(kind & 0x7)).unwrap_or(&"application/x-thrift"),
        body.len()
    );
    let whole = if kind & 0x80 == 0 { body.to_vec() } else { [head.as_bytes(), body].concat() };
    if let Ok(mut answer) = site.answer.lock() {
        *answer = whole;
    }
    let message: &'static [u8] = match codec {
        Codec::Proto => b"\x0a\x01x",
        Codec::Json => b"{\"name\":\"x\"}",
    };
    let method = if kind & 0x40 == 0 { "toy.v1.Toy/Greet" } else { "toy.v1.Toy/Count" };
    let mut call = Call::unary(method, *codec, bytes::Bytes::from_static(message));
    call.streaming.server = kind & 0x40 != 0;
    call.deadline = Some(tokio::time::Instant::now() + Duration::from_millis(500));
    let called = client.clone().call(site.access.clone(), call);
    site.runtime.block_on(async {
        let whole = async {
            if let Ok(reply) = called.await {
                let (_, message, _) = reply.one().await;
                assert!(message.is_err() || message.is_ok_and(|message| message.len() <= 64 << 10));
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), whole).await;
    });
}

/// A `.proto` whose services are served over everything: each protocol makes of it what it needs.
pub fn views(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(schema) = sb_schema::Schema::from_texts([("a.proto", text)]) else { return };
    let provider: Arc<dyn Provider> = Arc::new(rpc::Toy::default());
    let services: Vec<Service> = schema
        .services()
        .iter()
        .take(4)
        .map(|service| rpc::service(&service.full_name, provider.clone()))
        .collect();
    for service in schema.services().iter().take(4) {
        let _ = sb_thrift::idl::print(&schema, service);
    }
    let table = Arc::new(sb_board::call::Services::new(schema, services, None));
    let _ = sb_thrift::map::Plan::new(&table);
    let tools = sb_mcp::map::Tools::of(&table);
    for (tool, _) in tools.after(None).take(8) {
        assert!(tool.name.len() <= 64, "a name that models' interfaces do not take");
    }
    let model = sb_graphql::check(&table, &sb_graphql::Options::default()).expect("a schema of GraphQL");
    let sdl = model.sdl();
    assert!(!sdl.is_empty());
}
