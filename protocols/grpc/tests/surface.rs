//! The wires byte by byte, as strangers see them: heads, trailers, refusals, hostile input.

mod common;

use bytes::Bytes;
use common::*;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sb_board::auth::Authority;
use sb_grpc::wire::pack::Packing;
use sb_grpc::wire::{COMPRESSED, END_STREAM, TRAILERS, envelope, text};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::TcpStream;

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The status of gRPC, in head or trailers.
    fn grpc(&self) -> &str {
        let value = self.trailers.get("grpc-status").or(self.headers.get("grpc-status"));
        value.map_or("none", |value| value.to_str().unwrap())
    }
}

/// One request over HTTP/2.
async fn h2(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Got {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, conn) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(conn);
    let mut request = Request::builder().method(method).uri(format!("http://{addr}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let response: Response<hyper::body::Incoming> = sender.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Got { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers }
}

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const TE: (&str, &str) = ("te", "trailers");
const CONNECT: (&str, &str) = ("connect-protocol-version", "1");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn grpc_as_its_specification_shows_it() {
    let (running, _) = start().await;
    let body = envelope(0, &msg("hello", 1));
    let got = h2(running.addr, "POST", "/t.v1.T/Echo", &[GRPC, TE, ("x-a", "b")], body.clone()).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.header("content-type"), "application/grpc");
    assert_eq!(got.header("echo-x-a"), "b");
    assert!(!got.headers.contains_key("echo-te") && !got.headers.contains_key("grpc-status"));
    assert_eq!(got.body, body);
    assert_eq!(got.trailers["grpc-status"], "0");
    assert_eq!(got.trailers["t-bin"], "AQID");
    assert_eq!(got.trailers.len(), 4);
    // A failure without leading metadata is told by the head alone.
    let got = h2(running.addr, "POST", "/t.v1.T/Nonsense", &[GRPC, TE], body).await;
    assert_eq!((got.status.as_u16(), got.grpc(), got.body.len()), (200, "12", 0));
    assert!(got.trailers.is_empty());
    let got = h2(running.addr, "POST", "/t.v1.T/Fail", &[GRPC, TE], envelope(0, b"")).await;
    assert_eq!(got.grpc(), "9");
    assert_eq!(got.header("grpc-message"), "not 100%25 %E2%98%BA");
    assert!(!got.header("grpc-status-details-bin").is_empty());
    // The codec is that of the request, and so is the content type.
    let got = h2(
        running.addr,
        "POST",
        "/t.v1.T/Echo",
        &[("content-type", "application/grpc+json"), TE],
        envelope(0, br#"{"n":3}"#),
    )
    .await;
    assert_eq!(got.header("content-type"), "application/grpc+json");
    assert_eq!(&got.body[..], b"\0\0\0\0\x07{\"n\":3}");
}

#[tokio::test]
async fn grpc_refuses_in_its_own_words() {
    let (running, _) = start().await;
    let at = running.addr;
    let hello = envelope(0, &msg("hello", 1));
    let cases: [(&str, &str, Vec<(&str, &str)>, Bytes, u16, &str); 13] = [
        ("no path", "/nonsense", vec![], hello.clone(), 200, "12"),
        ("escapes", "/t.v1.T/%45cho", vec![], hello.clone(), 200, "12"),
        ("dots", "/t.v1.T/../t.v1.T/Echo", vec![], hello.clone(), 200, "12"),
        ("case", "/t.v1.T/echo", vec![], hello.clone(), 200, "12"),
        ("service", "/t.v1.X/Echo", vec![], hello.clone(), 200, "12"),
        ("packing", "/t.v1.T/Echo", vec![("grpc-encoding", "snappy")], hello.clone(), 200, "12"),
        ("timeout", "/t.v1.T/Echo", vec![("grpc-timeout", "123456789S")], hello.clone(), 200, "3"),
        ("no message", "/t.v1.T/Echo", vec![], Bytes::new(), 200, "12"),
        ("two messages", "/t.v1.T/Echo", vec![], [&hello[..], &hello[..]].concat().into(), 200, "12"),
        ("cut off", "/t.v1.T/Echo", vec![], hello.slice(..7), 200, "3"),
        ("flags", "/t.v1.T/Echo", vec![], envelope(4, b""), 200, "3"),
        ("packed without a word", "/t.v1.T/Echo", vec![], envelope(COMPRESSED, b"x"), 200, "13"),
        ("length", "/t.v1.T/Echo", vec![], Bytes::from_static(&[0, 255, 255, 255, 255]), 200, "8"),
    ];
    for (what, path, headers, body, http, grpc) in cases {
        let headers: Vec<_> = [GRPC, TE].into_iter().chain(headers).collect();
        let got = h2(at, "POST", path, &headers, body).await;
        assert_eq!((got.status.as_u16(), got.grpc()), (http, grpc), "{what}: {:?}", got.headers);
    }
    let got = h2(at, "POST", "/t.v1.T/Echoo", &[GRPC, TE], hello.clone()).await;
    assert!(got.header("grpc-message").contains("did you mean t.v1.T/Echo or"), "{:?}", got.headers);
    let got = h2(at, "GET", "/t.v1.T/Echo", &[GRPC], Bytes::new()).await;
    assert_eq!((got.status.as_u16(), got.header("allow")), (405, "POST"));
    let got =
        h2(at, "POST", "/t.v1.T/Echo", &[("content-type", "application/grpc+xml")], hello.clone()).await;
    assert_eq!(got.status, 415);
    assert!(got.header("accept-post").contains("application/grpc"));
    let (head, _) = raw(at, post("/t.v1.T/Echo", "Content-Type: application/grpc\r\n", &hello)).await;
    assert!(head.starts_with("http/1.1 505"), "{head}");
    // Somebody else's.
    let got = h2(at, "POST", "/t.v1.T/Echo", &[("content-type", "application/grpcs")], hello).await;
    assert_eq!(got.status, 415);
}

#[tokio::test]
async fn bombs_are_refused() {
    let (running, _) = start().await;
    for packing in [Packing::Gzip, Packing::Zstd, Packing::Brotli, Packing::Deflate] {
        let bomb = packing.pack(&vec![0; 16 << 20]).unwrap();
        assert!(bomb.len() < LIMIT, "{packing:?}");
        let headers = [GRPC, TE, ("grpc-encoding", packing.name())];
        let got = h2(running.addr, "POST", "/t.v1.T/Echo", &headers, envelope(COMPRESSED, &bomb)).await;
        assert_eq!(got.grpc(), "8", "{packing:?}");
        let headers = [JSON, CONNECT, ("content-encoding", packing.name())];
        let got = h2(running.addr, "POST", "/t.v1.T/Echo", &headers, bomb.clone()).await;
        assert_eq!((got.status.as_u16(), &got.json()["code"]), (429, &json!("resource_exhausted")));
        let garbage = envelope(COMPRESSED, b"this is not packed at all");
        let headers = [GRPC, TE, ("grpc-encoding", packing.name())];
        let got = h2(running.addr, "POST", "/t.v1.T/Echo", &headers, garbage).await;
        assert_eq!(got.grpc(), "3", "{packing:?}");
    }
}

#[tokio::test]
async fn grpc_web_binary_and_text() {
    let (running, _) = start().await;
    let body = envelope(0, &msg("hello", 1));
    let (head, got) = raw(
        running.addr,
        post("/t.v1.T/Echo", "Content-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\n", &body),
    )
    .await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: application/grpc-web+proto"));
    let trailers = b"grpc-status: 0\r\n";
    assert_eq!(got[..body.len()], body[..]);
    assert_eq!(got[body.len()], TRAILERS);
    let end = &got[body.len() + 5..];
    assert!(end.windows(trailers.len()).any(|w| w == trailers), "{}", String::from_utf8_lossy(end));
    // As text: pieces that are padded each on its own come in, and what comes out decodes to the same.
    let pieces = [text::encode(&body[..4]), text::encode(&body[4..])].concat();
    let (head, got) =
        raw(running.addr, post("/t.v1.T/Echo", "Content-Type: application/grpc-web-text\r\n", &pieces)).await;
    assert!(head.contains("content-type: application/grpc-web-text\r\n"), "{head}");
    let mut decoder = text::TextDecoder::default();
    let decoded = decoder.push(&got).unwrap();
    assert!(decoder.is_complete());
    assert_eq!(decoded[..body.len()], body[..]);
    assert_eq!(decoded[body.len()], TRAILERS);
    for bad in ["!!!!", "AAA"] {
        let (head, _) = raw(
            running.addr,
            post("/t.v1.T/Echo", "Content-Type: application/grpc-web-text\r\n", bad.as_bytes()),
        )
        .await;
        assert!(head.contains("grpc-status: 3"), "{bad}: {head}");
    }
}

#[tokio::test]
async fn connect_unary() {
    let (running, _) = start().await;
    let at = running.addr;
    let got = h2(at, "POST", "/t.v1.T/Echo", &[JSON, CONNECT, ("x-a", "b")], r#"{"text":"hello"}"#).await;
    assert_eq!((got.status.as_u16(), got.header("content-type")), (200, "application/json"));
    assert_eq!(&got.body[..], br#"{"text":"hello"}"#);
    assert_eq!((got.header("echo-x-a"), got.header("trailer-t-bin")), ("b", "AQID"));
    assert!(got.trailers.is_empty());
    // Protobuf needs no version.
    let got = h2(at, "POST", "/t.v1.T/Echo", &[("content-type", "application/proto")], msg("a", 1)).await;
    assert_eq!((got.header("content-type"), &got.body), ("application/proto", &msg("a", 1)));
    // A failure: HTTP status and JSON.
    let got = h2(at, "POST", "/t.v1.T/Fail", &[JSON, CONNECT], "{}").await;
    assert_eq!((got.status.as_u16(), got.header("content-type")), (400, "application/json"));
    let wanted = json!({
        "code": "failed_precondition",
        "message": "not 100% ☺",
        "details": [{"type": "t.v1.Msg", "value": "EAcKBmRldGFpbA", "debug": {"text": "detail", "n": 7}}],
    });
    assert_eq!(got.json(), wanted);
    assert_eq!(got.header("trailer-t-bin"), "AQID");
    let cases: [(&str, &str, &str, Vec<(&str, &str)>, &str, u16, &str); 9] = [
        ("unknown", "POST", "/t.v1.T/Nonsense", vec![JSON, CONNECT], "{}", 404, "unimplemented"),
        (
            "version",
            "POST",
            "/t.v1.T/Echo",
            vec![JSON, ("connect-protocol-version", "2")],
            "{}",
            400,
            "invalid_argument",
        ),
        (
            "packing",
            "POST",
            "/t.v1.T/Echo",
            vec![JSON, CONNECT, ("content-encoding", "snappy")],
            "{}",
            501,
            "unimplemented",
        ),
        (
            "timeout",
            "POST",
            "/t.v1.T/Echo",
            vec![JSON, CONNECT, ("connect-timeout-ms", "1s")],
            "{}",
            400,
            "invalid_argument",
        ),
        ("body", "POST", "/t.v1.T/Echo", vec![JSON, CONNECT], "{", 400, "invalid_argument"),
        ("verb", "DELETE", "/t.v1.T/Echo", vec![JSON, CONNECT], "{}", 405, ""),
        ("codec", "POST", "/t.v1.T/Echo", vec![("content-type", "application/foo"), CONNECT], "{}", 415, ""),
        ("type", "POST", "/t.v1.T/Echo", vec![("content-type", "image/jpeg")], "{}", 415, ""),
        ("stream", "POST", "/t.v1.T/Down", vec![JSON, CONNECT], "{}", 415, ""),
    ];
    for (what, verb, path, headers, body, http, code) in cases {
        let got = h2(at, verb, path, &headers, body).await;
        assert_eq!(got.status, http, "{what}: {:?}", got.body);
        if !code.is_empty() {
            assert_eq!(got.json()["code"], code, "{what}");
        }
    }
    let got = h2(at, "POST", "/t.v1.T/Echo", &[JSON, CONNECT], vec![b' '; LIMIT + 1]).await;
    assert_eq!((got.status.as_u16(), &got.json()["code"]), (429, &json!("resource_exhausted")));
    let got = h2(at, "POST", "/t.v1.T/Sleep", &[JSON, CONNECT, ("connect-timeout-ms", "50")], "{}").await;
    assert_eq!((got.status.as_u16(), &got.json()["code"]), (504, &json!("deadline_exceeded")));
}

#[tokio::test]
async fn what_is_not_ours_is_passed_on() {
    let (running, _) = start().await;
    // No other protocol is in the table: the listener says that nothing is there.
    for headers in
        [vec![JSON], vec![JSON, CONNECT, ("prefer", "respond-async")], vec![("content-type", "text/plain")]]
    {
        let got = h2(running.addr, "POST", "/t.v1.T/Echo", &headers, "{}").await;
        assert_eq!(
            (got.status.as_u16(), got.header("content-type")),
            (404, "application/problem+json"),
            "{headers:?}"
        );
    }
    let got = h2(running.addr, "POST", "/topics/a.b", &[("content-type", "application/proto")], "x").await;
    assert_eq!(got.header("content-type"), "application/problem+json");
    let got = h2(running.addr, "GET", "/t.v1.T/Echo", &[], "").await;
    assert_eq!(got.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn connect_get() {
    let (running, _) = start().await;
    let at = running.addr;
    let path = "/t.v1.T/Echo?connect=v1&encoding=json&message=%7B%22n%22%3A5%7D";
    let got = h2(at, "GET", path, &[], "").await;
    assert_eq!((got.status.as_u16(), &got.body[..]), (200, &br#"{"n":5}"#[..]));
    assert_eq!(got.header("vary"), "Accept-Encoding");
    assert!(!got.headers.contains_key("cache-control"));
    let got = h2(at, "GET", "/t.v1.T/Echo?encoding=proto&base64=1&message=EAU", &[], "").await;
    assert_eq!((got.header("content-type"), &got.body[..]), ("application/proto", &[0x10, 5][..]));
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(5_000));
    let packed = Packing::Gzip.pack(long.as_bytes()).unwrap();
    let message = String::from_utf8(text::encode(&packed).to_vec()).unwrap();
    let message = message.replace('+', "-").replace('/', "_").replace('=', "");
    let path = format!("/t.v1.T/Echo?connect=v1&encoding=json&base64=1&compression=gzip&message={message}");
    let got = h2(at, "GET", &path, &[("accept-encoding", "br, zstd;q=0.5")], "").await;
    assert_eq!(got.header("content-encoding"), "zstd");
    assert_eq!(Packing::Zstd.unpack(got.body, LIMIT).unwrap(), long);
    for (what, path, status) in [
        ("side effects", "/t.v1.T/Fail?connect=v1&encoding=json&message=%7B%7D", 405),
        ("stream", "/t.v1.T/Down?connect=v1&encoding=json&message=%7B%7D", 405),
        ("version", "/t.v1.T/Echo?connect=v2&encoding=json&message=%7B%7D", 400),
        ("codec", "/t.v1.T/Echo?connect=v1&encoding=xml&message=%7B%7D", 415),
        ("no message", "/t.v1.T/Echo?connect=v1&encoding=json", 400),
        ("base64", "/t.v1.T/Echo?connect=v1&encoding=proto&base64=1&message=*", 400),
        ("packing", "/t.v1.T/Echo?connect=v1&encoding=proto&compression=x&message=", 501),
        ("unknown", "/t.v1.T/X?connect=v1&encoding=proto&message=", 404),
    ] {
        let got = h2(at, "GET", path, &[], "").await;
        assert_eq!(got.status, status, "{what}: {:?}", got.body);
        assert_eq!(got.header("cache-control"), "no-store", "{what}");
    }
}

#[tokio::test]
async fn connect_streams() {
    let (running, _) = start().await;
    let at = running.addr;
    let stream = ("content-type", "application/connect+json");
    let got = h2(at, "POST", "/t.v1.T/Down", &[stream, CONNECT], envelope(0, br#"{"n":2}"#)).await;
    assert_eq!((got.status.as_u16(), got.header("content-type")), (200, "application/connect+json"));
    let mut wanted = envelope(0, b"{}").to_vec();
    wanted.extend_from_slice(&envelope(0, br#"{"n":1}"#));
    assert_eq!(got.body[..wanted.len()], wanted[..]);
    assert_eq!(got.body[wanted.len()], END_STREAM);
    let end: Value = serde_json::from_slice(&got.body[wanted.len() + 5..]).unwrap();
    assert_eq!(end, json!({"metadata": {"t-bin": ["AQID"], "t-two": ["a", "b"]}}));
    let got = h2(at, "POST", "/t.v1.T/Nonsense", &[stream, CONNECT], envelope(0, b"{}")).await;
    assert_eq!((got.status.as_u16(), got.body[0]), (200, END_STREAM));
    let end: Value = serde_json::from_slice(&got.body[5..]).unwrap();
    assert_eq!(end["error"]["code"], "unimplemented");
    let got = h2(at, "POST", "/t.v1.T/Echo", &[stream, CONNECT], envelope(0, b"{}")).await;
    assert_eq!(got.status, 415);
    let got =
        h2(at, "POST", "/t.v1.T/Down", &[("content-type", "application/connect+xml"), CONNECT], "").await;
    assert_eq!(got.status, 415);
}

#[tokio::test]
async fn pages_of_other_origins() {
    let (running, _) = start().await;
    let at = running.addr;
    let origin = ("origin", "http://localhost:5173");
    let asked = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type, x-grpc-web, x-anything"),
    ];
    let got = h2(at, "OPTIONS", "/t.v1.T/Echo", &asked, "").await;
    assert_eq!(got.status, 204);
    assert_eq!(got.header("access-control-allow-origin"), origin.1);
    assert_eq!(got.header("access-control-allow-headers"), asked[2].1);
    assert_eq!(got.header("access-control-allow-methods"), "GET, POST");
    let body = envelope(0, &msg("", 0));
    let got = h2(
        at,
        "POST",
        "/t.v1.T/Echo",
        &[origin, ("content-type", "application/grpc-web"), ("x-a", "b")],
        body,
    )
    .await;
    assert_eq!(got.header("access-control-allow-origin"), origin.1);
    for name in ["grpc-status", "grpc-message", "echo-x-a"] {
        assert!(got.header("access-control-expose-headers").contains(name), "{name}");
    }
    let got =
        h2(at, "POST", "/t.v1.T/Echo", &[("origin", "https://evil.example"), JSON, CONNECT], "{}").await;
    assert!(!got.headers.contains_key("access-control-allow-origin"));
    let asked = [("origin", "https://evil.example"), asked[1]];
    let got = h2(at, "OPTIONS", "/t.v1.T/Echo", &asked, "").await;
    assert!(!got.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_for_the_next_call() {
    let (running, _) = start().await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    let bad = post(
        "/t.v1.T/Nonsense",
        "Content-Type: application/json\r\nConnect-Protocol-Version: 1\r\n",
        &[b'x'; 60_000],
    );
    let good =
        post("/t.v1.T/Echo", "Content-Type: application/json\r\nConnect-Protocol-Version: 1\r\n", b"{}");
    tokio::io::AsyncWriteExt::write_all(&mut stream, &bad).await.unwrap();
    let (head, _) = answer(&mut stream).await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    tokio::io::AsyncWriteExt::write_all(&mut stream, &good).await.unwrap();
    let (head, body) = answer(&mut stream).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, b"{}");
}

/// A server where callers need a key; this one's may call one method.
async fn locked() -> Running {
    let mut locked = settings();
    let call = vec![sb_board::auth::method_pattern("t.v1.T/Echo").unwrap()];
    let grants = sb_board::auth::Grants { call, ..Default::default() };
    locked.authority = Authority::new(
        [("the-key".to_owned(), "limited".to_owned())],
        Vec::new(),
        [("limited".to_owned(), grants)].into(),
    );
    serve(locked, std::sync::Arc::new(T::default()), None).await
}

#[tokio::test]
async fn rights_are_told_in_the_words_of_the_protocol() {
    let running = locked().await;
    let at = running.addr;
    let (none, wrong, right) =
        (("x-none", ""), ("authorization", "Bearer wrong"), ("authorization", "Bearer the-key"));
    let body = envelope(0, &msg("", 0));
    let stream = ("content-type", "application/connect+json");
    let web = ("content-type", "application/grpc-web");
    for (credentials, method, grpc, connect) in [
        (none, "Echo", "16", "unauthenticated"),
        (wrong, "Echo", "16", "unauthenticated"),
        (right, "Fail", "7", "permission_denied"),
        (right, "Nonsense", "7", "permission_denied"),
        (right, "Echo", "0", ""),
    ] {
        let path = format!("/t.v1.T/{method}");
        let got = h2(at, "POST", &path, &[GRPC, TE, credentials], body.clone()).await;
        assert_eq!((got.status.as_u16(), got.grpc()), (200, grpc), "{credentials:?} {method}");
        if !connect.is_empty() {
            let got = h2(at, "POST", &path, &[web, credentials], body.clone()).await;
            assert_eq!(got.grpc(), grpc);
            let got = h2(at, "POST", &path, &[JSON, CONNECT, credentials], "{}").await;
            assert_eq!(got.json()["code"], connect, "{credentials:?} {method}");
            assert_eq!(got.status, if grpc == "16" { 401 } else { 403 });
            assert_eq!(got.headers.contains_key("www-authenticate"), grpc == "16");
            if credentials == wrong {
                let got = h2(at, "POST", &path, &[stream, CONNECT, credentials], "").await;
                let end: Value = serde_json::from_slice(&got.body[5..]).unwrap();
                assert_eq!(end["error"]["code"], connect);
            }
        }
    }
    // Who may call nothing is told of nothing, but may ask whether the server lives.
    let health = "/grpc.health.v1.Health/List";
    assert_eq!(
        h2(at, "POST", health, &[JSON], "{}").await.json(),
        json!({"statuses": {"": {"status": "SERVING"}}})
    );
    let list = h2(at, "POST", health, &[JSON, right], "{}").await.json();
    assert_eq!(list["statuses"]["t.v1.T"]["status"], "SERVING");
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let symbol = [&[34, 6][..], b"t.v1.T"].concat();
    for (credentials, found) in [(none, false), (right, true)] {
        let question = [envelope(0, &[58, 0]), envelope(0, &symbol)].concat();
        let got = h2(at, "POST", reflection, &[GRPC, TE, credentials], question).await;
        assert_eq!(got.grpc(), "0");
        let told =
            got.body.windows(6).any(|w| w == b"t.v1.T") && got.body.windows(8).any(|w| w == b"t.proto\x12");
        assert_eq!(told, found, "{credentials:?}");
        assert!(
            got.body
                .windows(22)
                .any(|w| w == b"grpc.health.v1.Health\n" || &w[..21] == b"grpc.health.v1.Health")
        );
    }
}

#[tokio::test]
async fn services_are_shown_over_the_protocols_that_are_wanted() {
    let running = serve(settings(), std::sync::Arc::new(T::default()), Some(&["connect"])).await;
    let at = running.addr;
    let body = envelope(0, b"");
    assert_eq!(h2(at, "POST", "/t.v1.T/Echo", &[GRPC, TE], body.clone()).await.grpc(), "12");
    let web = [("content-type", "application/grpc-web")];
    assert_eq!(h2(at, "POST", "/t.v1.T/Echo", &web, body).await.grpc(), "12");
    assert_eq!(h2(at, "POST", "/t.v1.T/Echo", &[JSON, CONNECT], "{}").await.status, 200);
}

#[tokio::test]
async fn health() {
    let (running, _) = start().await;
    let at = running.addr;
    let check = "/grpc.health.v1.Health/Check";
    let ask = |name: &str| {
        let mut out = vec![10, name.len() as u8];
        out.extend_from_slice(name.as_bytes());
        envelope(0, &out)
    };
    for name in ["", "t.v1.T"] {
        let got = h2(at, "POST", check, &[GRPC, TE], ask(name)).await;
        assert_eq!((got.grpc(), &got.body[..]), ("0", &b"\0\0\0\0\x02\x08\x01"[..]), "{name}");
    }
    assert_eq!(h2(at, "POST", check, &[GRPC, TE], ask("no.Such")).await.grpc(), "5");
    assert_eq!(h2(at, "POST", check, &[GRPC, TE], envelope(0, &[10, 9, 1])).await.grpc(), "3");
    let got = h2(at, "POST", check, &[JSON], r#"{"service":"t.v1.T"}"#).await;
    assert_eq!(got.json(), json!({"status": "SERVING"}));
    let got = h2(at, "POST", "/grpc.health.v1.Health/List", &[JSON], "{}").await;
    let serving = json!({"status": "SERVING"});
    assert_eq!(got.json(), json!({"statuses": {"": serving, "t.v1.T": serving}}));
    // A watch tells at once, and ends when the server drains.
    let watch =
        tokio::spawn(
            async move { h2(at, "POST", "/grpc.health.v1.Health/Watch", &[GRPC, TE], ask("")).await },
        );
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!watch.is_finished());
    running.board.drain();
    let got = watch.await.unwrap();
    assert_eq!((got.grpc(), &got.body[..]), ("14", &b"\0\0\0\0\x02\x08\x01\0\0\0\0\x02\x08\x02"[..]));
}
