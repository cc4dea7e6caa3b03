//! What each fuzz target does with its bytes. A target is a plain function, so that seeds and findings can be run by a test on any
//! compiler (`cargo test` in this folder) as well as by the fuzzer.
//!
//! None of them may panic, hang or take memory that the input did not pay for; where there is an inverse, a second way or a promise, it
//! is held against the first.

mod calls;
mod disk;
mod graph;
mod jsonrpc;
mod net;
mod rpc;
mod schema;
mod text;
mod thrift;

pub use calls::{answers, calls, views};
pub use disk::{core_frame, golden_frames, journal};
pub use graph::graphql;
pub use jsonrpc::jsonrpc;
pub use net::{deflate, guard, recognise, websocket};
pub use rpc::grpc;
pub use schema::{descriptors, json_to_proto_target, proto_to_json_target, rest};
pub use text::{address, config, tokens};
pub use thrift::{frame as thrift_header, idl as thrift_idl, stream as thrift_stream, value as thrift_value};

use bytes::{Bytes, BytesMut};
use sb_core::batch as record_batch;
use sb_core::model::Address;
use sb_wirekit::Reader;

/// A target: its name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("wirekit", wirekit),
    ("address", address),
    ("batch", batch),
    ("core_frame", core_frame),
    ("journal", journal),
    ("websocket", websocket),
    ("deflate", deflate),
    ("guard", guard),
    ("recognise", recognise),
    ("echo", echo),
    ("http_wire", http_wire),
    ("grpc", grpc),
    ("tokens", tokens),
    ("config", config),
    ("thrift_stream", thrift_stream),
    ("thrift_value", thrift_value),
    ("thrift_header", thrift_header),
    ("thrift_idl", thrift_idl),
    ("json_to_proto", json_to_proto_target),
    ("proto_to_json", proto_to_json_target),
    ("descriptors", descriptors),
    ("rest", rest),
    ("graphql", graphql),
    ("jsonrpc", jsonrpc),
    ("calls", calls),
    ("answers", answers),
    ("views", views),
];

/// The readers of numbers, lengths and text. The first bytes say what is read from the rest.
pub fn wirekit(data: &[u8]) {
    let (script, rest) = data.split_at(data.len().min(16));
    let mut r = Reader::new(rest);
    for what in script {
        let before = r;
        let at = r.position();
        let good = match what % 12 {
            0 => r.u8().is_ok(),
            1 => r.u16().is_ok(),
            2 => r.u32_le().is_ok(),
            3 => r.u64().is_ok(),
            4 => r.u128_le().is_ok(),
            5 => match r.varint() {
                Ok(value) => {
                    let mut out = Vec::new();
                    sb_wirekit::put_varint(&mut out, value);
                    assert!(out.len() <= r.position() - at && out.len() == sb_wirekit::varint_len(value));
                    assert_eq!(Reader::new(&out).varint(), Ok(value));
                    true
                }
                Err(_) => false,
            },
            6 => match r.zigzag() {
                Ok(value) => {
                    let mut out = Vec::new();
                    sb_wirekit::put_zigzag(&mut out, value);
                    assert_eq!(out.len(), sb_wirekit::zigzag_len(value));
                    assert_eq!(Reader::new(&out).zigzag(), Ok(value));
                    true
                }
                Err(_) => false,
            },
            7 => r.bytes(usize::from(*what)).is_ok_and(|b| b.len() <= usize::from(*what)),
            8 => r.text(usize::MAX).is_ok(),
            9 => r.take(usize::from(*what)).is_ok(),
            10 => r.take(usize::MAX - usize::from(*what)).is_ok(),
            _ => r.bytes(usize::MAX).is_ok(),
        };
        assert!(r.position() + r.remaining() == rest.len());
        if !good {
            // What was taken before the fault is nobody's business, but it must not be more than there is.
            assert!(before.remaining() >= r.remaining());
        }
    }
    let left = r.remaining();
    assert_eq!(r.rest().len(), left);
    assert!(r.is_empty());
}

/// Batches as they come from a disk or, later, from a client.
pub fn batch(data: &[u8]) {
    let topic = Address::parse("t").expect("an address");
    let read = |bytes: &Bytes| {
        if let Ok(records) = record_batch::records(&topic, bytes) {
            let mut count = 0;
            for record in records {
                count += 1;
                let Ok(record) = record else { break };
                assert!(record.message.body.len() <= bytes.len());
            }
            let header = record_batch::header(bytes).expect("records were read");
            assert!(count <= header.count, "more records than the header says");
        }
    };
    let bytes = Bytes::copy_from_slice(data);
    let _ = record_batch::verify(&bytes);
    read(&bytes);
    // The same behind a right checksum, which a fuzzer does not find by itself.
    if data.len() >= record_batch::HEADER_LEN {
        let mut sealed = data.to_vec();
        let size = (sealed.len() - record_batch::PREFIX_LEN) as u32;
        sealed[8..12].copy_from_slice(&size.to_be_bytes());
        sealed[16] = 2;
        let crc = record_batch::crc32c(&sealed[21..]);
        sealed[17..21].copy_from_slice(&crc.to_be_bytes());
        let sealed = Bytes::from(sealed);
        let verified = record_batch::verify(&sealed).is_ok();
        if verified {
            read(&sealed);
            // What reads well must be written again with the same meaning.
            let records: Result<Vec<_>, _> = record_batch::records(&topic, &sealed)
                .map(|r| r.collect::<Result<Vec<_>, _>>())
                .and_then(|r| r);
            if let Ok(records) = records
                && !records.is_empty()
                && records.len() <= record_batch::MAX_MESSAGES
            {
                let messages: Vec<_> = records.into_iter().map(|r| r.message).collect();
                if messages.iter().all(|m| m.check().is_ok()) {
                    let again = Bytes::from(record_batch::encode("t", &messages));
                    let back: Vec<_> = record_batch::records(&topic, &again)
                        .expect("our own batch")
                        .map(|r| r.expect("our own record").message)
                        .collect();
                    assert_eq!(back.len(), messages.len());
                    for (a, b) in back.iter().zip(&messages) {
                        assert_eq!((&a.address, &a.key, &a.body), (&b.address, &b.key, &b.body));
                    }
                }
            }
        }
    }
}

/// The smallest protocol's requests.
pub fn echo(data: &[u8]) {
    use sb_echo::wire;
    // In one piece, and byte by byte: the same requests must come out.
    let read = |step: usize| {
        let mut buffer = BytesMut::new();
        let mut out = Vec::new();
        for piece in data.chunks(step.max(1)) {
            buffer.extend_from_slice(piece);
            loop {
                match wire::decode(&mut buffer) {
                    Ok(Some(request)) => out.push(Ok(request)),
                    Ok(None) => break,
                    Err(wire::WireError::Line(why)) => out.push(Err(why)),
                    Err(wire::WireError::Framing(why)) => {
                        out.push(Err(why));
                        return out;
                    }
                }
            }
            assert!(
                buffer.len() <= wire::MAX_LINE + wire::MAX_BODY + step,
                "it holds back more than a request"
            );
        }
        out
    };
    assert_eq!(read(data.len()), read(1));
    let _ = wire::recognise(data);
}

/// Everything that HTTP brings: JSON shapes, queries, headers, `Prefer`, times, durations, binary frames, paths.
pub fn http_wire(data: &[u8]) {
    sb_http::codec::read_all(data);
}
