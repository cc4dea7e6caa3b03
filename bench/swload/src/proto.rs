//! Handshakes and frames, written by hand so that the client costs little and is the same for every server.
use crate::util::Args;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum P {
    Nats,
    NatsJs,
    Mqtt,
    Redis,
    RedisX,
    Ws,
    Sb,
    Sio,
    Sse,
    Amqp,
    Http,
}

impl P {
    pub fn parse(s: &str) -> P {
        match s {
            "nats" => P::Nats,
            "natsjs" => P::NatsJs,
            "mqtt" => P::Mqtt,
            "redis" => P::Redis,
            "redisx" => P::RedisX,
            "ws" => P::Ws,
            "sb" => P::Sb,
            "sio" => P::Sio,
            "sse" => P::Sse,
            "amqp" => P::Amqp,
            "http" => P::Http,
            _ => panic!("unknown protocol {s}"),
        }
    }
}

#[derive(Clone)]
pub struct Cfg {
    pub p: P,
    pub addr: String,
    pub topic: String,
    pub path: String,
    pub template: String,
    pub size: usize,
    pub qos: u8,
    pub sub_qos: u8,
    pub confirm: bool,
    pub autoack: bool,
    pub persistent: bool,
    pub durable: bool,
    pub qtype: String,
    pub exchange: String,
    pub stream: String,
    pub storage: String,
    pub setup: bool,
    pub prefetch: u16,
    pub rr: bool,
    /// `sb`: publish to whoever listens now, instead of durably.
    pub live: bool,
    pub user: String,
    pub pass: String,
}
impl Cfg {
    pub fn new(a: &Args, publ: bool) -> Cfg {
        let pick = |k: &str, d: &str| {
            let base = a.s(k, d);
            if publ { a.s(&format!("pub-{k}"), &base) } else { base }
        };
        Cfg {
            p: P::parse(&pick("proto", "nats")),
            addr: pick("addr", "127.0.0.1:4222"),
            topic: pick("topic", "bench"),
            path: pick("path", "/"),
            template: a.s("pub-template", "{}"),
            size: (a.n("size", 128) as usize).max(24),
            qos: a.n("qos", 0) as u8,
            sub_qos: a.n("sub-qos", a.n("qos", 0)) as u8,
            confirm: a.n("confirm", 1) == 1,
            autoack: a.n("autoack", 0) == 1,
            persistent: a.n("persistent", 0) == 1,
            durable: a.n("durable", 0) == 1,
            qtype: a.s("queue-type", "classic"),
            exchange: a.s("exchange", ""),
            stream: a.s("stream", "SWB"),
            storage: a.s("storage", "file"),
            setup: a.n("setup", 1) == 1,
            prefetch: a.n("prefetch", 1000) as u16,
            rr: a.s("mode", "") == "rr",
            live: a.n("live", 0) == 1,
            user: a.s("user", "guest"),
            pass: a.s("pass", "guest"),
        }
    }
}

fn read_until(s: &mut TcpStream, needle: &[u8]) -> Vec<u8> {
    let (mut got, mut b) = (Vec::new(), [0u8; 65536]);
    loop {
        let n = s
            .read(&mut b)
            .unwrap_or_else(|e| panic!("handshake: {e}; so far {:?}", String::from_utf8_lossy(&got)));
        if n == 0 {
            panic!("closed in handshake: {:?}", String::from_utf8_lossy(&got));
        }
        got.extend_from_slice(&b[..n]);
        if got.windows(needle.len()).any(|w| w == needle) {
            return got;
        }
    }
}
fn read_n(s: &mut TcpStream, n: usize) -> Vec<u8> {
    let mut b = vec![0; n];
    s.read_exact(&mut b).expect("handshake read");
    b
}

pub fn mqtt_len(o: &mut Vec<u8>, mut n: usize) {
    loop {
        let b = (n % 128) as u8;
        n /= 128;
        o.push(if n > 0 { b | 128 } else { b });
        if n == 0 {
            break;
        }
    }
}
pub fn ws_frame(o: &mut Vec<u8>, op: u8, body: &[u8]) {
    o.push(0x80 | op);
    match body.len() {
        n @ 0..=125 => o.push(0x80 | n as u8),
        n @ 126..=65535 => {
            o.push(0x80 | 126);
            o.extend_from_slice(&(n as u16).to_be_bytes())
        }
        n => {
            o.push(0x80 | 127);
            o.extend_from_slice(&(n as u64).to_be_bytes())
        }
    }
    o.extend_from_slice(&[0; 4]); // a zero mask leaves the body as it is
    o.extend_from_slice(body);
}
fn ss(o: &mut Vec<u8>, s: &str) {
    o.push(s.len() as u8);
    o.extend_from_slice(s.as_bytes());
}
fn ls(o: &mut Vec<u8>, s: &[u8]) {
    o.extend_from_slice(&(s.len() as u32).to_be_bytes());
    o.extend_from_slice(s);
}
fn method(ch: u16, class: u16, meth: u16, args: &[u8]) -> Vec<u8> {
    let mut o = vec![1];
    o.extend_from_slice(&ch.to_be_bytes());
    o.extend_from_slice(&(args.len() as u32 + 4).to_be_bytes());
    o.extend_from_slice(&class.to_be_bytes());
    o.extend_from_slice(&meth.to_be_bytes());
    o.extend_from_slice(args);
    o.push(0xCE);
    o
}
pub fn amqp_ack(tag: u64) -> Vec<u8> {
    let mut a = tag.to_be_bytes().to_vec();
    a.push(1);
    method(1, 60, 80, &a)
}
fn amqp_expect(s: &mut TcpStream, class: u16, meth: u16) -> Vec<u8> {
    loop {
        let h = read_n(s, 7);
        let n = u32::from_be_bytes(h[3..7].try_into().unwrap()) as usize;
        let b = read_n(s, n + 1);
        if h[0] == 8 {
            continue;
        }
        let (c, m) = (u16::from_be_bytes([b[0], b[1]]), u16::from_be_bytes([b[2], b[3]]));
        if (c, m) == (class, meth) {
            return b;
        }
        if m == 50 || m == 40 {
            panic!("amqp closed: {:?}", String::from_utf8_lossy(&b));
        }
    }
}

/// Connects, does the blocking handshake and leaves the socket non-blocking.
pub fn connect(c: &Cfg, i: usize, publ: bool, sub: bool) -> TcpStream {
    let mut s = TcpStream::connect(&c.addr).unwrap_or_else(|e| panic!("connect {}: {e}", c.addr));
    s.set_nodelay(true).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let host = &c.addr;
    match c.p {
        P::Nats | P::NatsJs => {
            read_until(&mut s, b"\r\n");
            let mut m = String::from(
                "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"lang\":\"swload\",\"version\":\"0\",\"protocol\":1}\r\n",
            );
            if sub && !c.rr && c.p == P::Nats {
                m += &format!("SUB {} 1\r\n", c.topic);
            }
            if c.rr {
                m += &format!("SUB _INBOX.e{i} 1\r\n");
            }
            m += "PING\r\n";
            s.write_all(m.as_bytes()).unwrap();
            read_until(&mut s, b"PONG\r\n");
            if c.p == P::NatsJs && publ {
                s.write_all(format!("SUB _INBOX.p{i} 1\r\nSUB _INBOX.c{i} 2\r\n").as_bytes()).unwrap();
                if i == 0 && c.setup {
                    let r = |s: &mut TcpStream, subj: String, body: String| {
                        s.write_all(
                            format!("PUB {subj} _INBOX.c{i} {}\r\n{body}\r\n", body.len()).as_bytes(),
                        )
                        .unwrap();
                        let a = read_until(s, b"}\r\n");
                        String::from_utf8_lossy(&a).to_string()
                    };
                    r(&mut s, format!("$JS.API.STREAM.DELETE.{}", c.stream), String::new());
                    let a = r(
                        &mut s,
                        format!("$JS.API.STREAM.CREATE.{}", c.stream),
                        format!(
                            "{{\"name\":\"{}\",\"subjects\":[\"{}\"],\"storage\":\"{}\",\"retention\":\"limits\",\"num_replicas\":1,\"max_age\":0,\"discard\":\"old\",\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1}}",
                            c.stream, c.topic, c.storage
                        ),
                    );
                    if a.contains("\"error\"") {
                        panic!("stream create: {a}");
                    }
                }
            }
            if c.p == P::NatsJs && sub {
                s.write_all(format!("SUB d.{i} 1\r\nSUB _INBOX.s{i} 2\r\n").as_bytes()).unwrap();
                let body = format!(
                    "{{\"stream_name\":\"{}\",\"config\":{{\"deliver_subject\":\"d.{i}\",\"deliver_policy\":\"new\",\"ack_policy\":\"none\",\"replay_policy\":\"instant\"}}}}",
                    c.stream
                );
                s.write_all(
                    format!(
                        "PUB $JS.API.CONSUMER.CREATE.{} _INBOX.s{i} {}\r\n{body}\r\n",
                        c.stream,
                        body.len()
                    )
                    .as_bytes(),
                )
                .unwrap();
                let a = String::from_utf8_lossy(&read_until(&mut s, b"}\r\n")).to_string();
                if a.contains("\"error\"") {
                    panic!("consumer create: {a}");
                }
            }
        }
        P::Mqtt => {
            let id = format!("sw{}{}-{i}", if publ { "p" } else { "s" }, std::process::id());
            let (u, p) = (c.user.as_bytes(), c.pass.as_bytes());
            let mut o = vec![0x10];
            mqtt_len(&mut o, 12 + id.len() + 4 + u.len() + p.len());
            o.extend_from_slice(&[0, 4, b'M', b'Q', b'T', b'T', 4, 0xC2, 0, 0, 0, id.len() as u8]);
            o.extend_from_slice(id.as_bytes());
            for x in [u, p] {
                o.extend_from_slice(&(x.len() as u16).to_be_bytes());
                o.extend_from_slice(x);
            }
            s.write_all(&o).unwrap();
            let a = read_n(&mut s, 4);
            assert_eq!(a[3], 0, "CONNACK {a:?}");
            if sub {
                let mut o = vec![0x82];
                mqtt_len(&mut o, 5 + c.topic.len());
                o.extend_from_slice(&[0, 1, 0, c.topic.len() as u8]);
                o.extend_from_slice(c.topic.as_bytes());
                o.push(c.sub_qos);
                s.write_all(&o).unwrap();
                let a = read_n(&mut s, 5);
                assert!(a[4] < 3, "SUBACK {a:?}");
            }
        }
        P::Redis | P::RedisX => {
            if sub {
                s.write_all(format!("SUBSCRIBE {}\r\n", c.topic).as_bytes()).unwrap();
                read_until(&mut s, b":1\r\n");
            } else if c.p == P::RedisX && i == 0 && c.setup {
                s.write_all(format!("DEL {}\r\n", c.topic).as_bytes()).unwrap();
                read_until(&mut s, b"\r\n");
            }
        }
        P::Ws | P::Sb | P::Sio => {
            let path = if c.p == P::Sio { "/socket.io/?EIO=4&transport=websocket" } else { &c.path };
            let sub_protocol = if c.p == P::Sb { "Sec-WebSocket-Protocol: switchboard.v1\r\n" } else { "" };
            s.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{sub_protocol}\r\n").as_bytes()).unwrap();
            let got = read_until(&mut s, b"\r\n\r\n");
            assert!(got.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&got));
            if c.p == P::Sb && sub {
                let mut o = Vec::new();
                ws_frame(
                    &mut o,
                    1,
                    format!("{{\"op\":\"subscribe\",\"id\":1,\"sub\":\"a\",\"pattern\":\"{}\"}}", c.topic)
                        .as_bytes(),
                );
                s.write_all(&o).unwrap();
                let got = read_until(&mut s, b"\"id\":1");
                assert!(!got.windows(7).any(|w| w == b"\"error\""), "{}", String::from_utf8_lossy(&got));
            }
            if c.p == P::Sio {
                if !got.windows(2).any(|w| w == b"0{") {
                    read_until(&mut s, b"0{");
                }
                let mut o = Vec::new();
                ws_frame(&mut o, 1, b"40");
                s.write_all(&o).unwrap();
                read_until(&mut s, b"40{");
            }
        }
        P::Sse => {
            s.write_all(
                format!("GET {} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n", c.path)
                    .as_bytes(),
            )
            .unwrap();
            let g = read_until(&mut s, b"\r\n\r\n");
            assert!(g.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&g));
        }
        P::Http => {}
        P::Amqp => {
            s.write_all(b"AMQP\x00\x00\x09\x01").unwrap();
            amqp_expect(&mut s, 10, 10);
            let mut a = vec![0, 0, 0, 0];
            ss(&mut a, "PLAIN");
            ls(&mut a, format!("\0{}\0{}", c.user, c.pass).as_bytes());
            ss(&mut a, "en_US");
            s.write_all(&method(0, 10, 11, &a)).unwrap();
            let t = amqp_expect(&mut s, 10, 30);
            let mut a = t[4..10].to_vec();
            a.extend_from_slice(&[0, 0]);
            s.write_all(&method(0, 10, 31, &a)).unwrap();
            let mut a = Vec::new();
            ss(&mut a, "/");
            a.extend_from_slice(&[0, 0]);
            s.write_all(&method(0, 10, 40, &a)).unwrap();
            amqp_expect(&mut s, 10, 41);
            s.write_all(&method(1, 20, 10, &[0])).unwrap();
            amqp_expect(&mut s, 20, 11);
            let q = if c.exchange.is_empty() {
                c.topic.clone()
            } else {
                format!("{}-s{i}-{}", c.topic, std::process::id())
            };
            if c.exchange.is_empty() || sub {
                let mut a = vec![0, 0];
                ss(&mut a, &q);
                let excl = !c.exchange.is_empty();
                a.push(if excl {
                    4
                } else if c.durable {
                    2
                } else {
                    0
                });
                let mut tb = Vec::new();
                if !excl && c.qtype != "classic" {
                    ss(&mut tb, "x-queue-type");
                    tb.push(b'S');
                    ls(&mut tb, c.qtype.as_bytes());
                }
                ls(&mut a, &tb);
                s.write_all(&method(1, 50, 10, &a)).unwrap();
                amqp_expect(&mut s, 50, 11);
                if excl {
                    let mut a = vec![0, 0];
                    ss(&mut a, &q);
                    ss(&mut a, &c.exchange);
                    ss(&mut a, &c.topic);
                    a.push(0);
                    a.extend_from_slice(&[0, 0, 0, 0]);
                    s.write_all(&method(1, 50, 20, &a)).unwrap();
                    amqp_expect(&mut s, 50, 21);
                }
            }
            if sub {
                let mut a = vec![0, 0, 0, 0];
                a.extend_from_slice(&c.prefetch.to_be_bytes());
                a.push(0);
                if !c.autoack {
                    s.write_all(&method(1, 60, 10, &a)).unwrap();
                    amqp_expect(&mut s, 60, 11);
                }
                let mut a = vec![0, 0];
                ss(&mut a, &q);
                ss(&mut a, "");
                a.push(if c.autoack { 2 } else { 0 });
                a.extend_from_slice(&[0, 0, 0, 0]);
                s.write_all(&method(1, 60, 20, &a)).unwrap();
                amqp_expect(&mut s, 60, 21);
            } else if c.confirm {
                s.write_all(&method(1, 85, 10, &[0])).unwrap();
                amqp_expect(&mut s, 85, 11);
            }
        }
    }
    s
}

/// A responder of request-reply traffic.
pub fn responder(c: &Cfg) -> TcpStream {
    let mut s = TcpStream::connect(&c.addr).unwrap();
    s.set_nodelay(true).unwrap();
    read_until(&mut s, b"\r\n");
    s.write_all(
        format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {} q 1\r\nPING\r\n", c.topic)
            .as_bytes(),
    )
    .unwrap();
    read_until(&mut s, b"PONG\r\n");
    s
}

/// Writes frames around a payload; everything that does not change is prepared once.
pub struct Framer {
    c: Cfg,
    pre: Vec<u8>,
    post: Vec<u8>,
    pid: u16,
    id: u64,
    buf: Vec<u8>,
}
impl Framer {
    pub fn new(c: &Cfg, i: usize) -> Framer {
        let (n, t) = (c.size, &c.topic);
        let (mut pre, mut post) = (Vec::new(), Vec::new());
        match c.p {
            P::Nats => {
                pre = if c.rr { format!("PUB {t} _INBOX.e{i} {n}\r\n") } else { format!("PUB {t} {n}\r\n") }
                    .into_bytes();
                post = b"\r\n".to_vec()
            }
            P::NatsJs => {
                pre = format!("PUB {t} _INBOX.p{i} {n}\r\n").into_bytes();
                post = b"\r\n".to_vec()
            }
            P::Redis => {
                pre = format!("*3\r\n$7\r\nPUBLISH\r\n${}\r\n{t}\r\n${n}\r\n", t.len()).into_bytes();
                post = b"\r\n".to_vec()
            }
            P::RedisX => {
                pre = format!("*5\r\n$4\r\nXADD\r\n${}\r\n{t}\r\n$1\r\n*\r\n$1\r\nd\r\n${n}\r\n", t.len())
                    .into_bytes();
                post = b"\r\n".to_vec()
            }
            P::Http => {
                let (a, b) = c.template.split_once("{}").unwrap();
                let (a, b) = (a.replace("\\n", "\n"), b.replace("\\n", "\n"));
                pre = format!("POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{a}", c.path, c.addr, n + a.len() + b.len()).into_bytes();
                post = b.into_bytes()
            }
            P::Sb => {
                let live = if c.live { ",\"live\":true" } else { "" };
                pre = format!(",\"address\":\"{t}\"{live},\"body\":\"").into_bytes();
                post = b"\"}".to_vec()
            }
            P::Sio => {
                pre = b"42[\"m\",\"".to_vec();
                post = b"\"]".to_vec()
            }
            P::Amqp => {
                let mut a = vec![0, 0];
                ss(&mut a, &c.exchange);
                ss(&mut a, t);
                a.push(0);
                pre = method(1, 60, 40, &a);
                let mut h = vec![0, 60, 0, 0];
                h.extend_from_slice(&(n as u64).to_be_bytes());
                if c.persistent {
                    h.extend_from_slice(&[0x10, 0, 2])
                } else {
                    h.extend_from_slice(&[0, 0])
                }
                pre.extend_from_slice(&[2, 0, 1]);
                ls(&mut pre, &h);
                pre.push(0xCE);
                pre.extend_from_slice(&[3, 0, 1]);
                pre.extend_from_slice(&(n as u32).to_be_bytes());
                post = vec![0xCE]
            }
            P::Mqtt => {
                pre = vec![0x30 | c.qos << 1];
                mqtt_len(&mut pre, 2 + t.len() + n + if c.qos > 0 { 2 } else { 0 });
                pre.extend_from_slice(&(t.len() as u16).to_be_bytes());
                pre.extend_from_slice(t.as_bytes());
            }
            P::Ws | P::Sse => {}
        }
        Framer { c: c.clone(), pre, post, pid: 0, id: 0, buf: Vec::new() }
    }
    pub fn put(&mut self, o: &mut Vec<u8>, payload: &[u8]) {
        match self.c.p {
            P::Ws => ws_frame(o, 1, payload),
            P::Sb => {
                self.id += 1;
                self.buf.clear();
                self.buf.extend_from_slice(b"{\"op\":\"publish\",\"id\":");
                self.buf.extend_from_slice(self.id.to_string().as_bytes());
                self.buf.extend_from_slice(&self.pre);
                self.buf.extend_from_slice(payload);
                self.buf.extend_from_slice(&self.post);
                ws_frame(o, 1, &self.buf)
            }
            P::Sio => {
                self.buf.clear();
                self.buf.extend_from_slice(&self.pre);
                self.buf.extend_from_slice(payload);
                self.buf.extend_from_slice(&self.post);
                ws_frame(o, 1, &self.buf)
            }
            _ => {
                o.extend_from_slice(&self.pre);
                if self.c.p == P::Mqtt && self.c.qos > 0 {
                    self.pid = self.pid.checked_add(1).unwrap_or(1);
                    o.extend_from_slice(&self.pid.to_be_bytes());
                }
                o.extend_from_slice(payload);
                o.extend_from_slice(&self.post);
            }
        }
    }
}
