//! Thrift's client, of plain bytes.

use crate::speak::{Ask, Failure, Seen, Way, headers, http, joined};
use bytes::Bytes;
use http::HeaderMap;
use sb_suite::{Raw, Running};
use sb_thrift::map::{Outcome, plan};
use sb_thrift::wire::header::{self, Header};
use sb_thrift::wire::{Head, Kind, Proto, Reader, Writer};

const LIMIT: usize = 64 << 20;

/// Calls by Thrift.
pub async fn thrift(server: &Running, way: Way, ask: &Ask<'_>) -> Seen {
    let proto = match way {
        Way::ThriftFramedCompact | Way::ThriftHttpCompact | Way::ThriftHeader => Proto::Compact,
        _ => Proto::Binary,
    };
    let plan = plan(&server.board);
    let method = plan.method(ask.method);
    let mut writer = Writer::new(Vec::new(), proto);
    let name = ask.method.rsplit('/').next().unwrap_or_default().to_owned();
    writer.head(&Head { kind: Kind::Call, name, seqid: 7, strict: true });
    match method {
        Some(method) => plan.parameters(method, &ask.message, &mut writer, LIMIT).expect("parameters"),
        None => {
            let outer = writer.enter();
            writer.leave(outer);
        }
    }
    let bytes = writer.into_bytes();
    let mut metadata = HeaderMap::new();
    let answer = match way {
        Way::ThriftHttpBinary | Way::ThriftHttpCompact => {
            let content_type = match proto {
                Proto::Binary => "application/vnd.apache.thrift.binary",
                Proto::Compact => "application/vnd.apache.thrift.compact",
            };
            let answer = http(server, false, "POST", "/thrift", headers(ask, content_type), bytes).await;
            if answer.status != 200 {
                return Seen::failed(Failure::of(
                    format!("HTTP {}", answer.status),
                    answer.json()["code"].as_str(),
                ));
            }
            metadata = answer.headers;
            answer.body.to_vec()
        }
        Way::ThriftHeader => {
            let mut info: Vec<_> = joined(ask.metadata).into_iter().collect();
            info.extend(ask.key.map(|key| ("authorization".to_owned(), format!("Bearer {key}"))));
            info.extend(ask.timeout.map(|t| ("sb-timeout".to_owned(), format!("{}ms", t.as_millis()))));
            let head = Header { flags: 0, seqid: 7, proto, zlib: false, info, persistent: Vec::new() };
            let mut client = Raw::connect(server.addr).await;
            client.send(&header::encode(&head, &bytes)).await;
            let (head, answer) = header::decode(&frame(&mut client).await, LIMIT).expect("a header");
            for (name, value) in head.info {
                let before =
                    metadata.insert(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
                assert_eq!(before, None, "what a client reads into a map holds {name} once");
            }
            answer
        }
        _ => {
            let mut client = Raw::connect(server.addr).await;
            if let Some(key) = ask.key {
                sasl(&mut client, key).await;
            }
            client.send(&[&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat()).await;
            frame(&mut client).await
        }
    };
    let mut reader = Reader::new(&answer, proto);
    let head = reader.head().expect("a head");
    assert_eq!(head.seqid, 7);
    let outcome = match head.kind {
        Kind::Exception => {
            let (kind, text) = exception(&mut reader);
            let mut failure = Failure::of(format!("`TApplicationException` {kind}"), None);
            failure.text = text;
            Err(failure)
        }
        _ => match plan.outcome(method.expect("a method"), &mut reader, LIMIT).expect("a result") {
            Outcome::Good(message) => Ok(Bytes::from(message)),
            Outcome::Failed(status) => {
                Err(Failure::typed(format!("`Error` {}", status.code.number()), &status))
            }
        },
    };
    // Thrift has one place for both.
    Seen { outcome, leading: metadata.clone(), trailing: metadata }
}

async fn frame(client: &mut Raw) -> Vec<u8> {
    let len = client.exactly(4).await.try_into().map(u32::from_be_bytes).expect("four bytes");
    client.exactly(len as usize).await
}

fn exception(reader: &mut Reader<'_>) -> (i32, String) {
    let (mut kind, mut text) = (0, String::new());
    let outer = reader.enter().expect("a struct");
    while let Some((ty, id)) = reader.field().expect("a field") {
        match id {
            1 => text = String::from_utf8(reader.bytes().expect("text").to_vec()).expect("UTF-8"),
            2 => kind = reader.i32().expect("a number"),
            _ => reader.skip(ty).expect("a value"),
        }
    }
    reader.leave(outer);
    (kind, text)
}

/// Logs in.
async fn sasl(client: &mut Raw, key: &str) {
    let message =
        |status: u8, body: &[u8]| [&[status][..], &(body.len() as u32).to_be_bytes(), body].concat();
    client.send(&message(1, b"PLAIN")).await;
    client.send(&message(2, format!("\0user\0{key}").as_bytes())).await;
    let head = client.exactly(5).await;
    let len = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
    client.exactly(len as usize).await;
    assert_eq!(head[0], 5, "{key} is taken");
}
