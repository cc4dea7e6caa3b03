//! What the tests over the whole share: a server with every protocol on a free port, and clients made of plain bytes.

use sb_board::auth::Authority;
use sb_board::mount::Descriptor;
use sb_board::{Board, HttpSettings, Settings};
use sb_net::{Listener, NetLimits, Server};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Every protocol there is.
pub static ALL: &[&Descriptor] = &[&sb_http::DESCRIPTOR, &sb_echo::LINES, &sb_echo::WEB];

/// A running server that keeps everything in memory.
pub struct Running {
    /// Its board.
    pub board: Arc<Board>,
    /// Where it listens.
    pub addr: SocketAddr,
}

/// Starts one.
pub async fn start() -> Running {
    let settings = Settings {
        dir: None,
        authority: Authority::new([], Vec::new(), BTreeMap::new()),
        http: HttpSettings { heartbeat_ms: 15_000, max_body: 8 << 20, echo: true, ..HttpSettings::default() },
        memory: 64 << 20,
        max_message: 1 << 20,
        max_request: 8 << 20,
        max_wait_ms: 60_000,
        mode: "test".into(),
    };
    let (board, _) = Board::start(settings).expect("a board in memory");
    let listener = Listener { addr: SocketAddr::from(([127, 0, 0, 1], 0)), only: None, tls: None };
    let server = Server::bind(board.clone(), ALL, vec![listener], NetLimits::default()).expect("a free port");
    let addr = server.local_addrs()[0];
    tokio::spawn(server.run(std::future::pending()));
    Running { board, addr }
}

/// A client that sends bytes and looks for bytes.
pub struct Raw {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub async fn connect(addr: SocketAddr) -> Raw {
        Raw { stream: TcpStream::connect(addr).await.expect("a connection"), seen: Vec::new() }
    }

    /// Sends.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server takes bytes");
    }

    /// Reads until `wanted` has come, and gives everything up to its end.
    pub async fn until(&mut self, wanted: &[u8]) -> Vec<u8> {
        let search = async {
            loop {
                if let Some(at) = find(&self.seen, wanted) {
                    return self.seen.drain(..at + wanted.len()).collect();
                }
                let mut buffer = [0; 65536];
                let n = self.stream.read(&mut buffer).await.expect("bytes of the server");
                assert!(n > 0, "the server closed; it had sent {:?}", String::from_utf8_lossy(&self.seen));
                self.seen.extend_from_slice(&buffer[..n]);
            }
        };
        let wanted_text = String::from_utf8_lossy(wanted).into_owned();
        match tokio::time::timeout(Duration::from_secs(10), search).await {
            Ok(bytes) => bytes,
            Err(_) => panic!("{wanted_text:?} did not come"),
        }
    }

    /// Reads exactly `n` bytes.
    pub async fn exactly(&mut self, n: usize) -> Vec<u8> {
        while self.seen.len() < n {
            let mut buffer = [0; 65536];
            let got = self.stream.read(&mut buffer).await.expect("bytes of the server");
            assert!(got > 0, "the server closed");
            self.seen.extend_from_slice(&buffer[..got]);
        }
        self.seen.drain(..n).collect()
    }

    /// One HTTP/1.1 request: status and body.
    pub async fn http(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat()).await;
        let head = String::from_utf8(self.until(b"\r\n\r\n").await).expect("a head of text");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let length = head
            .lines()
            .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
            .map_or(0, |n| n.trim().parse().expect("a length"));
        (status, self.exactly(length).await)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
