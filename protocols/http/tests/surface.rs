//! The surface as bytes on a socket: what a client that knows nothing but HTTP/1.1 sees.

use sb_suite::{Raw, start};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_read_stream() {
    let server = start().await;
    let mut client = Raw::connect(server.addr).await;
    let (status, body) = client.http("POST", "/topics/orders", "Content-Type: text/plain\r\n", b"one").await;
    assert_eq!(status, 201);
    assert!(text(&body).contains(r#""topic":"orders","partition":0,"offset":0"#), "{}", text(&body));
    let (status, body) = client.http("GET", "/topics/orders", "", b"").await;
    assert_eq!(status, 200);
    assert!(text(&body).contains(r#""content_type":"text/plain","body":"one""#), "{}", text(&body));
    let mut stream = Raw::connect(server.addr).await;
    stream
        .send(
            b"GET /topics/orders?from=start HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
        )
        .await;
    let head = text(&stream.until(b"\r\n\r\n").await);
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    stream.until(b"data: one\n\n").await;
    client.http("POST", "/topics/orders", "", b"two\nlines").await;
    stream.until(b"data: two\ndata: lines\n\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_a_problem_with_a_remedy() {
    let server = start().await;
    let mut client = Raw::connect(server.addr).await;
    for (method, target, body, status, code) in [
        ("GET", "/nowhere", "", 404, "SB0206"),
        ("PATCH", "/livez", "", 405, "SB0207"),
        ("GET", "/topics/none", "", 404, "SB0301"),
        ("POST", "/topics/a.*", "x", 400, "SB0203"),
        ("POST", "/topics/a..b", "x", 400, "SB0202"),
        ("GET", "/topics/a?after=xyz", "", 400, "SB0204"),
        ("GET", "/jobs/01J00000000000000000000000", "", 404, "SB0401"),
        ("POST", "/no.v1.Service/Method", "x", 404, "SB0310"),
    ] {
        if target.starts_with("/topics/a?") {
            client.http("POST", "/topics/a", "", b"x").await;
        }
        let (got, problem) = client.http(method, target, "", body.as_bytes()).await;
        let problem = text(&problem);
        assert_eq!(got, status, "{method} {target}: {problem}");
        assert!(problem.contains(&format!(r#""code":"{code}""#)), "{method} {target}: {problem}");
        assert!(problem.contains(r#""fix":""#), "{method} {target}: {problem}");
    }
}
