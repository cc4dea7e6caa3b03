//! The server's side, byte by byte: what is answered, in which order, and what is refused in which words.

mod common;

use common::*;
use sb_thrift::wire::header::{self, Header};
use sb_thrift::wire::{Decoder, Envelope, Event, Head, Incoming, Kind, Proto, Reader, TType, Writer};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A call with one struct parameter (id 1) that has one field.
fn ask(
    envelope: &Envelope,
    proto: Proto,
    kind: Kind,
    name: &str,
    seqid: i32,
    field: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let mut writer = Writer::new(envelope.room(), proto);
    writer.head(&Head { kind, name: name.into(), seqid, strict: true });
    let outer = writer.enter();
    writer.field(TType::Struct, 1);
    let inner = writer.enter();
    field(&mut writer);
    writer.leave(inner);
    writer.leave(outer);
    envelope.seal(writer.into_bytes())
}

fn text(id: i16, text: &str) -> impl FnOnce(&mut Writer) {
    move |writer| {
        writer.field(TType::String, id);
        writer.bytes(text.as_bytes());
    }
}

/// A client of bytes.
struct Client {
    stream: TcpStream,
    input: bytes::BytesMut,
    decoder: Decoder,
}

impl Client {
    async fn connect(server: &Running) -> Client {
        let stream = TcpStream::connect(server.addr).await.unwrap();
        Client { stream, input: bytes::BytesMut::new(), decoder: Decoder::new(1 << 20) }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<Incoming> {
        let next = async {
            loop {
                match self.decoder.next(&mut self.input).unwrap() {
                    Some(Event::Message(incoming)) => return Some(incoming),
                    Some(other) => panic!("{other:?}"),
                    None if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 => return None,
                    None => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), next).await.expect("an answer in time")
    }

    async fn head(&mut self) -> (Head, Incoming) {
        let incoming = self.next().await.expect("an answer");
        (Reader::new(&incoming.body, incoming.proto).head().unwrap(), incoming)
    }

    /// The exception that comes: its type, its text.
    async fn exception(&mut self) -> (Head, i32, String) {
        let (head, incoming) = self.head().await;
        assert_eq!(head.kind, Kind::Exception);
        let mut reader = Reader::new(&incoming.body, incoming.proto);
        reader.head().unwrap();
        let (mut kind, mut message) = (-1, String::new());
        let outer = reader.enter().unwrap();
        while let Some((_, id)) = reader.field().unwrap() {
            match id {
                1 => message = String::from_utf8(reader.bytes().unwrap().to_vec()).unwrap(),
                _ => kind = reader.i32().unwrap(),
            }
        }
        reader.leave(outer);
        (head, kind, message)
    }
}

/// The code and text of the declared `Error` in a reply.
fn error_of(incoming: &Incoming) -> (i32, String) {
    let mut reader = Reader::new(&incoming.body, incoming.proto);
    assert_eq!(reader.head().unwrap().kind, Kind::Reply);
    let _args = reader.enter().unwrap();
    assert_eq!(reader.field().unwrap(), Some((TType::Struct, 1)));
    let _error = reader.enter().unwrap();
    reader.field().unwrap();
    let code = reader.i32().unwrap();
    reader.field().unwrap();
    (code, String::from_utf8(reader.bytes().unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn calls_are_answered_in_their_order_and_as_they_came() {
    let server = start(None).await;
    let mut client = Client::connect(&server).await;
    let header = Header {
        flags: 0,
        seqid: 77,
        proto: Proto::Compact,
        zlib: true,
        info: vec![("x-mine".into(), "v".into())],
        persistent: Vec::new(),
    };
    let mut all = Vec::new();
    for (seqid, envelope) in
        [Envelope::Plain, Envelope::Framed, Envelope::Header(Box::new(header.clone())), Envelope::Plain]
            .into_iter()
            .enumerate()
    {
        let proto = if seqid % 2 == 0 { Proto::Compact } else { Proto::Binary };
        all.extend(ask(&envelope, proto, Kind::Call, "Kinds:Echo", -(seqid as i32), text(14, "x")));
    }
    // A byte at a time at first, the rest at once.
    for byte in &all[..30] {
        client.send(&[*byte]).await;
        client.stream.flush().await.unwrap();
    }
    client.send(&all[30..]).await;
    for seqid in 0..4 {
        let (head, incoming) = client.head().await;
        assert_eq!(head, Head { kind: Kind::Reply, name: "Echo".into(), seqid: -seqid, strict: true });
        assert_eq!(incoming.proto, if seqid % 2 == 0 { Proto::Compact } else { Proto::Binary });
        match (seqid, incoming.envelope) {
            (1, Envelope::Framed) | (0 | 3, Envelope::Plain) => {}
            (2, Envelope::Header(back)) => {
                assert_eq!((back.seqid, back.zlib), (77, true));
                assert_eq!(back.info, [("x-seen".to_owned(), "v".to_owned())]);
            }
            other => panic!("{other:?}"),
        }
    }
    // The old head is answered by the old head; on a connection that is known to be Thrift.
    let old = [&b"\0\0\0\x0aKinds:Echo\x01\0\0\0\x05\0"[..]].concat();
    client.send(&old).await;
    let (head, _) = client.head().await;
    assert_eq!(head, Head { kind: Kind::Reply, name: "Echo".into(), seqid: 5, strict: false });
}

#[tokio::test]
async fn oneway_calls_are_not_answered_but_done() {
    let server = start(None).await;
    let mut client = Client::connect(&server).await;
    let mut note = Writer::new(Vec::new(), Proto::Binary);
    note.head(&Head { kind: Kind::Oneway, name: "note".into(), seqid: 1, strict: true });
    let outer = note.enter();
    text(1, "n")(&mut note);
    note.leave(outer);
    let note = note.into_bytes();
    client
        .send(
            &[
                &note[..],
                &note,
                &ask(&Envelope::Plain, Proto::Binary, Kind::Call, "delete_", 2, text(1, "x")),
            ]
            .concat(),
        )
        .await;
    assert_eq!(client.head().await.0.seqid, 2);
    assert_eq!(server.echo.notes.load(SeqCst), 2);
    // Also when the client leaves at once, and for methods that are not declared so.
    client
        .send(
            &[
                &note[..],
                &ask(&Envelope::Plain, Proto::Binary, Kind::Oneway, "delete_", 3, text(1, "x")),
                &note,
            ]
            .concat(),
        )
        .await;
    drop(client);
    server.echo.until(|echo| echo.notes.load(SeqCst) == 4).await;
}

#[tokio::test]
async fn what_cannot_be_called_is_said_by_an_exception() {
    let server = start(None).await;
    let mut client = Client::connect(&server).await;
    for (name, kind, wanted) in [
        ("nothere", Kind::Call, (1, "there is no method nothere")),
        ("Delete", Kind::Call, (1, "there is no method Delete; did you mean kinds.v1.Kinds:delete?")),
        (
            "kinds.v1.Kinds:Eccho",
            Kind::Call,
            (1, "there is no method Eccho of a service kinds.v1.Kinds; did you mean Echo"),
        ),
        ("Nobody:Echo", Kind::Call, (1, "there is no method Echo of a service Nobody")),
        (
            "Echo",
            Kind::Call,
            (
                1,
                "several services have a method Echo; use TMultiplexedProtocol: kinds.v1.Kinds:Echo or kinds.v1.Other:Echo",
            ),
        ),
        ("Watch", Kind::Call, (1, "kinds.v1.Kinds/Watch streams, which Thrift has no way for")),
        ("ping", Kind::Reply, (2, "a call was expected")),
    ] {
        client.send(&ask(&Envelope::Framed, Proto::Compact, kind, name, 9, |_| {})).await;
        let (head, kind, text) = client.exception().await;
        assert_eq!(
            (head.seqid, &*head.name, kind),
            (9, name.rsplit(':').next().unwrap(), wanted.0),
            "{text}"
        );
        assert!(text.starts_with(wanted.1), "{text}");
    }
}

#[tokio::test]
async fn wrong_values_are_the_callers_fault_and_the_connection_goes_on() {
    let server = start(None).await;
    let mut client = Client::connect(&server).await;
    type Write = Box<dyn FnOnce(&mut Writer)>;
    let wrong: [(&str, Write); 6] = [
        (
            "request.an_int32: it is of type i32, not i64",
            Box::new(|w| {
                w.field(TType::I64, 3);
                w.i64(1);
            }),
        ),
        (
            "request.a_uint32: -1 is not a number from 0",
            Box::new(|w| {
                w.field(TType::I64, 5);
                w.i64(-1);
            }),
        ),
        (
            "request.a_string: the text is not UTF-8",
            Box::new(|w| {
                w.field(TType::String, 14);
                w.bytes(b"\xff");
            }),
        ),
        (
            "request.a_float: ",
            Box::new(|w| {
                w.field(TType::Double, 2);
                w.double(1e300);
            }),
        ),
        (
            "request.numbers: it is of type i32, not string",
            Box::new(|w| {
                w.field(TType::List, 20);
                w.list(TType::String, 1);
                w.bytes(b"");
            }),
        ),
        (
            "request.figure: word is set too",
            Box::new(|w| {
                text(40, "x")(w);
                w.field(TType::I64, 41);
                w.i64(1);
            }),
        ),
    ];
    for (wanted, field) in wrong {
        client.send(&ask(&Envelope::Framed, Proto::Binary, Kind::Call, "Kinds:Echo", 9, field)).await;
        let (_, incoming) = client.head().await;
        let (code, text) = error_of(&incoming);
        assert!(code == 3 && text.starts_with(wanted), "{code} {text}");
    }
    // Fields that nobody knows are passed over.
    client
        .send(&ask(&Envelope::Framed, Proto::Binary, Kind::Call, "Kinds:Echo", 9, |w| {
            w.field(TType::List, 999);
            w.list(TType::I8, 2);
            w.i8(1);
            w.i8(2);
        }))
        .await;
    assert_eq!(client.head().await.0.kind, Kind::Reply);
    // A frame that ends too early is malformed, and the next one is not.
    let mut cut = ask(&Envelope::Framed, Proto::Binary, Kind::Call, "Kinds:Echo", 9, text(14, "xyz"));
    cut.truncate(cut.len() - 4);
    let len = cut.len() as u32 - 4;
    cut[..4].copy_from_slice(&len.to_be_bytes());
    client.send(&cut).await;
    let (_, kind, text_of) = client.exception().await;
    assert_eq!((kind, &*text_of), (7, "request.a_string: the message ends in the middle of a value"));
    client.send(&ask(&Envelope::Framed, Proto::Binary, Kind::Call, "Kinds:Echo", 10, text(14, "xyz"))).await;
    assert_eq!(client.head().await.0.seqid, 10);
}

#[tokio::test]
async fn what_is_too_large_or_broken_is_refused() {
    let server = start(None).await;
    let mut client = Client::connect(&server).await;
    let large = "x".repeat(MAX_MESSAGE + 100_000);
    client.send(&ask(&Envelope::Framed, Proto::Compact, Kind::Call, "Kinds:Echo", 9, text(14, &large))).await;
    let (head, kind, said) = client.exception().await;
    assert_eq!((head.seqid, kind), (9, 7));
    assert!(said.starts_with("RESOURCE_EXHAUSTED: the message has more than"), "{said}");
    client.send(&ask(&Envelope::Framed, Proto::Compact, Kind::Call, "Kinds:Echo", 10, text(14, "x"))).await;
    assert_eq!(client.head().await.0.seqid, 10);
    // Without a frame nothing behind it can be found: the connection ends.
    let mut client = Client::connect(&server).await;
    client
        .send(&ask(&Envelope::Plain, Proto::Compact, Kind::Call, "Kinds:Echo", 9, text(14, &large))[..1000])
        .await;
    let (head, kind, _) = client.exception().await;
    assert_eq!((head.seqid, kind), (9, 7));
    assert!(client.next().await.is_none());
    // A bomb, and a transform that is not spoken.
    let header = Header {
        flags: 0,
        seqid: 5,
        proto: Proto::Binary,
        zlib: true,
        info: Vec::new(),
        persistent: Vec::new(),
    };
    let mut client = Client::connect(&server).await;
    client.send(&header::encode(&header, &vec![0; 50_000_000])).await;
    let (_, kind, said) = client.exception().await;
    assert!(kind == 7 && said.starts_with("RESOURCE_EXHAUSTED"), "{said}");
    let mut snappy = header::encode(&header, b"x");
    snappy[16] = 3;
    client.send(&snappy).await;
    assert_eq!(client.exception().await.1, 8);
    for garbage in [
        &b"\x80\x01\x00\x01\xff\xff\xff\xff"[..],
        b"\x80\x02\x00\x01\0\0\0\0",
        b"\x82\x21\x01\x01m\x1c\x1c\xff",
    ] {
        let mut client = Client::connect(&server).await;
        client.send(garbage).await;
        client.stream.shutdown().await.unwrap();
        while client.next().await.is_some() {}
    }
    let mut client = Client::connect(&server).await;
    client.send(&ask(&Envelope::Plain, Proto::Binary, Kind::Call, "Kinds:Echo", 1, text(14, "x"))).await;
    assert_eq!(client.head().await.0.seqid, 1);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_call() {
    let server = start(None).await;
    for (envelope, proto) in [(Envelope::Plain, Proto::Binary), (Envelope::Framed, Proto::Compact)] {
        let mut client = Client::connect(&server).await;
        client.send(&ask(&envelope, proto, Kind::Call, "Hang", 1, |_| {})).await;
        server.echo.until(|echo| echo.running.load(SeqCst) == 1).await;
        drop(client);
        server.echo.until(|echo| echo.running.load(SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn who_has_no_key_is_told_so() {
    let server = start(Some("secret")).await;
    let call = |envelope: &Envelope| ask(envelope, Proto::Binary, Kind::Call, "Kinds:Echo", 1, text(14, "x"));
    let mut client = Client::connect(&server).await;
    client.send(&call(&Envelope::Framed)).await;
    assert_eq!(error_of(&client.head().await.1).0, 16);
    // Names are not told to strangers.
    client.send(&ask(&Envelope::Framed, Proto::Binary, Kind::Call, "Delete", 1, |_| {})).await;
    assert_eq!(client.exception().await.2, "there is no method Delete");
    let with = |value: &str| {
        let info = vec![("Authorization".to_owned(), value.to_owned())];
        Envelope::Header(Box::new(Header {
            flags: 0,
            seqid: 1,
            proto: Proto::Binary,
            zlib: false,
            info,
            persistent: Vec::new(),
        }))
    };
    client.send(&call(&with("Bearer secret"))).await;
    assert_eq!(client.head().await.0.kind, Kind::Reply);
    for wrong in ["Bearer x", "Digest secret"] {
        client.send(&call(&with(wrong))).await;
        assert_eq!(error_of(&client.head().await.1).0, 16);
        // Names are not told to strangers.
        client.send(&ask(&with(wrong), Proto::Binary, Kind::Call, "Delete", 1, |_| {})).await;
        let (_, kind, said) = client.exception().await;
        assert!(kind == 6 && said.starts_with("UNAUTHENTICATED: "), "{said}");
    }
    // SASL PLAIN.
    for (password, good) in [("secret", true), ("x", false)] {
        let mut client = Client::connect(&server).await;
        let response = format!("\0user\0{password}");
        client
            .send(
                &[&b"\x01\0\0\0\x05PLAIN\x02\0\0\0"[..], &[response.len() as u8], response.as_bytes()]
                    .concat(),
            )
            .await;
        let mut status = [0; 5];
        client.stream.read_exact(&mut status).await.unwrap();
        assert_eq!(status[0], if good { 5 } else { 3 });
        if good {
            client.send(&call(&Envelope::Framed)).await;
            assert_eq!(client.head().await.0.kind, Kind::Reply);
        }
    }
}

async fn http(server: &Running, request: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let head = format!(
        "{request}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..at].to_vec()).unwrap(), answer[at + 4..].to_vec())
}

#[tokio::test]
async fn over_http() {
    let server = start(None).await;
    let call = ask(&Envelope::Plain, Proto::Compact, Kind::Call, "Echo", 4, text(14, "x"));
    let read = |body: &[u8]| Reader::new(body, Proto::Compact).head().unwrap();
    for content_type in [
        "application/x-thrift",
        "application/vnd.apache.thrift.compact",
        "application/vnd.apache.thrift.compact; charset=utf-8",
    ] {
        let (head, body) = http(
            &server,
            &format!("POST /thrift/Kinds HTTP/1.1\r\nX-Mine: v\r\nContent-Type: {content_type}"),
            &call,
        )
        .await;
        assert!(
            head.starts_with("HTTP/1.1 200")
                && head.contains(&format!("content-type: {content_type}"))
                && head.contains("x-seen: v"),
            "{head}"
        );
        assert_eq!(read(&body), Head { kind: Kind::Reply, name: "Echo".into(), seqid: 4, strict: true });
    }
    // All services, one of them has it; an exception is a message as well.
    let (head, body) = http(&server, "POST /thrift HTTP/1.1", &call).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(read(&body).kind, Kind::Exception);
    for (request, status) in [
        ("POST /thrift HTTP/1.1\r\nContent-Type: application/json", "415"),
        ("PUT /thrift HTTP/1.1", "405"),
        ("GET /thrift/Nobody.thrift HTTP/1.1", "404"),
        ("GET /thrifty HTTP/1.1", "404"),
        ("POST /thrift/../x HTTP/1.1", "200"),
    ] {
        let (head, _) = http(&server, request, b"\x80\x01\x00\x01").await;
        assert!(head.split(' ').nth(1) == Some(status), "{request}: {head}");
    }
    let large = ask(
        &Envelope::Plain,
        Proto::Compact,
        Kind::Call,
        "Echo",
        4,
        text(14, &"x".repeat(MAX_MESSAGE + 70_000)),
    );
    let (head, body) = http(&server, "POST /thrift/Kinds HTTP/1.1", &large).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(read(&body).kind, Kind::Exception);
    let (head, list) = http(&server, "GET /thrift HTTP/1.1", b"").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(
        String::from_utf8(list).unwrap(),
        SERVICES.map(|name| format!("/thrift/{name}.thrift\n")).concat()
    );
    for name in ["kinds.v1.Kinds", "Calc"] {
        let (head, idl) = http(&server, &format!("GET /thrift/{name}.thrift HTTP/1.1"), b"").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-disposition: inline"), "{head}");
        assert!(sb_thrift::idl::parse("x", std::str::from_utf8(&idl).unwrap()).is_ok());
    }
}
