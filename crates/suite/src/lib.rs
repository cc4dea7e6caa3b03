//! What the tests over the whole share: a server with every protocol on a free port, and clients made of plain bytes.

pub mod rpc;
/// The binary's table of protocols: the same file, so that what is tested is what is served.
#[path = "../../switchboard/src/speaks.rs"]
pub mod speaks;

use sb_board::auth::Authority;
use sb_board::{Board, HttpSettings, Settings};
use sb_net::{Listener, NetLimits, Server};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A running server that keeps everything in memory.
pub struct Running {
    /// Its board.
    pub board: Arc<Board>,
    /// Where it listens.
    pub addr: SocketAddr,
}

/// Starts one that anybody may use.
pub async fn start() -> Running {
    start_with(Authority::new([], Vec::new(), BTreeMap::new())).await
}

/// Starts one with these credentials.
pub async fn start_with(authority: Authority) -> Running {
    let settings = Settings {
        dir: None,
        authority,
        http: HttpSettings { heartbeat_ms: 15_000, max_body: 8 << 20, echo: true, ..HttpSettings::default() },
        memory: 64 << 20,
        max_message: 1 << 20,
        max_request: 8 << 20,
        max_wait_ms: 60_000,
        mode: "test".into(),
    };
    let (board, _) = Board::start(settings).expect("a board in memory");
    let listener = Listener { addr: SocketAddr::from(([127, 0, 0, 1], 0)), only: None, tls: None };
    let server = Server::bind(board.clone(), speaks::SPEAKS, vec![listener], NetLimits::default())
        .expect("a free port");
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

    /// Becomes a WebSocket.
    pub async fn websocket(&mut self, target: &str) {
        assert_eq!(self.upgrade(target, "").await, Ok(()));
    }

    /// The same with headers, each with its line end. The error is the status of an answer that says no.
    pub async fn upgrade(&mut self, target: &str, headers: &str) -> Result<(), u16> {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        self.send(head.as_bytes()).await;
        let head = String::from_utf8(self.until(b"\r\n\r\n").await).expect("a head of text");
        match head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status") {
            101 => Ok(()),
            status => Err(status),
        }
    }

    /// Sends a text message on the WebSocket, masked with zeros.
    pub async fn send_text(&mut self, text: &str) {
        let mut frame = vec![0x81];
        match u8::try_from(text.len()) {
            Ok(len @ 0..=125) => frame.push(0x80 | len),
            _ => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(text.len() as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.send(&frame).await;
    }

    /// The next message of the WebSocket: its opcode, and its bytes.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.exactly(2).await;
        let len = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.exactly(2).await.try_into().expect("two bytes"))),
            127 => u64::from_be_bytes(self.exactly(8).await.try_into().expect("eight bytes")),
            len => u64::from(len),
        };
        (head[0] & 15, self.exactly(len as usize).await)
    }

    /// The next message of the WebSocket, which is text.
    pub async fn text(&mut self) -> String {
        let (opcode, bytes) = self.frame().await;
        assert_eq!(opcode, 1, "{bytes:?}");
        String::from_utf8(bytes).expect("UTF-8")
    }

    /// Reads until `wanted` has come, and gives everything up to its end.
    pub async fn until(&mut self, wanted: &[u8]) -> Vec<u8> {
        let search = async {
            loop {
                if let Some(at) = find(&self.seen, wanted) {
                    return self.seen.drain(..at + wanted.len()).collect();
                }
                // On the heap: it is part of every test's future otherwise.
                let mut buffer = vec![0; 65536];
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

    /// Reads until the server closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let read = async {
            let mut all = std::mem::take(&mut self.seen);
            // A connection that is reset behind its answer has given that answer.
            let _ = self.stream.read_to_end(&mut all).await;
            all
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("the server closes")
    }

    /// Reads exactly `n` bytes.
    pub async fn exactly(&mut self, n: usize) -> Vec<u8> {
        while self.seen.len() < n {
            let mut buffer = vec![0; 65536];
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
