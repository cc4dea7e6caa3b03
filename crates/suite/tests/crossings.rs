//! Every ordered pair of protocols: what goes in by one comes out by the other, byte for byte and in order.

use sb_suite::{Raw, Running, start};

/// Bodies that break what treats bytes as text.
fn bodies() -> Vec<Vec<u8>> {
    vec![
        b"plain".to_vec(),
        Vec::new(),
        (0..=255).collect(),
        b"\r\n\r\ndata: x\n\n+OK 1\nMSG a 3\n".to_vec(),
        "grüße ✓".as_bytes().to_vec(),
        vec![0; 100_000],
        vec![b'x'; 1 << 20],
    ]
}

async fn publish(server: &Running, protocol: &str, address: &str, bodies: &[Vec<u8>]) {
    let mut client = Raw::connect(server.addr).await;
    for (n, body) in bodies.iter().enumerate() {
        match protocol {
            "http" => {
                let (status, answer) = client.http("POST", &format!("/topics/{address}"), "", body).await;
                assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
            }
            "echo" => {
                client.send(format!("PUB {address} {}\n", body.len()).as_bytes()).await;
                client.send(body).await;
                let answer = client.until(b"\n").await;
                assert_eq!(String::from_utf8_lossy(&answer).trim(), format!("+OK {n}"));
            }
            other => panic!("{other}"),
        }
    }
}

async fn receive(
    server: &Running,
    protocol: &str,
    address: &str,
    listener: Option<Raw>,
    count: usize,
) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    match protocol {
        "http" => {
            let mut client = Raw::connect(server.addr).await;
            for n in 0..count {
                let (status, body) =
                    client.http("GET", &format!("/topics/{address}/messages/0-{n}"), "", b"").await;
                assert_eq!(status, 200);
                out.push(body);
            }
        }
        "echo" => {
            let mut client = listener.expect("it listens before");
            for _ in 0..count {
                let head = String::from_utf8(client.until(b"\n").await).unwrap();
                let (at, length) = head.trim().strip_prefix("MSG ").unwrap().split_once(' ').unwrap();
                assert_eq!(at, address);
                out.push(client.exactly(length.parse().unwrap()).await);
            }
        }
        other => panic!("{other}"),
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_survive_every_crossing_in_order() {
    for from in ["http", "echo"] {
        for to in ["http", "echo"] {
            let server = start().await;
            let mut client = Raw::connect(server.addr).await;
            let (status, _) =
                client.http("PUT", "/topics/cross.ing", "Content-Type: application/json\r\n", b"{}").await;
            assert_eq!(status, 201);
            let listener = match to {
                "echo" => {
                    let mut raw = Raw::connect(server.addr).await;
                    raw.send(b"SUB cross.ing\n").await;
                    raw.until(b"+OK\n").await;
                    Some(raw)
                }
                _ => None,
            };
            publish(&server, from, "cross.ing", &bodies()).await;
            let got = receive(&server, to, "cross.ing", listener, bodies().len()).await;
            assert!(got == bodies(), "{from} to {to}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_keep_their_order() {
    let server = start().await;
    let mut listener = Raw::connect(server.addr).await;
    listener.send(b"SUB order\n").await;
    listener.until(b"+OK\n").await;
    let mut client = Raw::connect(server.addr).await;
    for batch in 0..10 {
        let lines: Vec<String> = (0..1000).map(|n| (batch * 1000 + n).to_string()).collect();
        let body = lines.join("\n");
        let (status, _) = client.http("POST", "/topics/order?batch=ndjson", "", body.as_bytes()).await;
        assert_eq!(status, 201);
    }
    for n in 0..10_000 {
        let head = String::from_utf8(listener.until(b"\n").await).unwrap();
        let length = head.trim().rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(listener.exactly(length).await, n.to_string().as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_separators_and_wildcards_inside() {
    let server = start().await;
    let claims = br#"{"claims":["odd.>"]}"#;
    let mut client = Raw::connect(server.addr).await;
    let (status, _) = client.http("PUT", "/topics/odd", "Content-Type: application/json\r\n", claims).await;
    assert_eq!(status, 201);
    let mut listener = Raw::connect(server.addr).await;
    listener.send(b"SUB odd.*\n").await;
    listener.until(b"+OK\n").await;
    for segment in ["a%2Eb", "a%2Fb", "%2A", "%23", "%3E", "%", "%20", "%25", "ü"] {
        let target: String = segment.bytes().map(|b| format!("%{b:02X}")).collect();
        let (status, answer) = client.http("POST", &format!("/topics/odd.{target}"), "", b"x").await;
        assert_eq!(status, 201, "{segment}: {}", String::from_utf8_lossy(&answer));
        let head = String::from_utf8(listener.until(b"\n").await).unwrap();
        assert_eq!(head.trim(), format!("MSG odd.{segment} 1"));
        listener.exactly(1).await;
    }
}
