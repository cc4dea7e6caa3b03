//! What strangers send to gRPC, gRPC-Web and Connect: envelopes, base64, compressed messages, trailers, ends of streams, queries.

use bytes::Bytes;
use sb_grpc::map::read_connect_end;
use sb_grpc::wire::pack::Packing;
use sb_grpc::wire::text::TextDecoder;
use sb_grpc::wire::{Envelopes, envelope, words};

/// A message may have this many bytes.
const LIMIT: usize = 4_096;

/// The readers of the three protocols.
pub fn grpc(data: &[u8]) {
    envelopes(data);
    base64(data);
    for packing in [Packing::Gzip, Packing::Zstd, Packing::Brotli, Packing::Deflate] {
        if let Ok(out) = packing.unpack(Bytes::copy_from_slice(data), LIMIT) {
            assert!(out.len() <= LIMIT);
        }
        if let Some(packed) = packing.pack(data) {
            assert_eq!(packing.unpack(packed, data.len()).expect("what was packed here"), data);
        }
    }
    let trailers = words::read_trailers(data);
    assert_eq!(words::read_trailers(&words::put_trailers(&trailers)), trailers);
    let _ = read_connect_end(data);
    let text = words::percent_decode(data);
    assert_eq!(words::percent_decode(words::percent_encode(&text).as_bytes()), text);
    if let Ok(text) = std::str::from_utf8(data) {
        if let Some(timeout) = words::grpc_timeout(text) {
            let again = words::grpc_timeout(&words::put_grpc_timeout(timeout)).expect("a timeout of ours");
            assert!(again >= timeout.min(again), "a deadline became shorter");
        }
        let _ = words::connect_timeout(text);
        for name in ["message", "connect", "encoding", "base64", ""] {
            let _ = words::query_parameter(text, name);
        }
    }
}

/// In one piece, and byte by byte: the same envelopes must come out, and the bytes they were made of.
fn envelopes(data: &[u8]) {
    let read = |step: usize| {
        let mut cut = Envelopes::new(LIMIT);
        let mut out = Vec::new();
        for piece in data.chunks(step.max(1)) {
            cut.push(Bytes::copy_from_slice(piece));
            loop {
                match cut.take() {
                    Ok(Some(next)) => out.push(next),
                    Ok(None) => break,
                    Err(_) => return (out, None),
                }
            }
        }
        let complete = cut.is_complete();
        (out, Some(complete))
    };
    let whole = read(data.len());
    assert_eq!(whole, read(1), "pieces change what is read");
    let again: Vec<u8> = whole.0.iter().flat_map(|e| envelope(e.flags, &e.data)).collect();
    assert!(data.starts_with(&again));
    if whole.1 == Some(true) {
        assert_eq!(data, again);
    }
}

fn base64(data: &[u8]) {
    let read = |step: usize| {
        let mut decoder = TextDecoder::default();
        let mut out = Vec::new();
        for piece in data.chunks(step.max(1)) {
            out.extend_from_slice(&decoder.push(piece).ok()?);
        }
        Some((out, decoder.is_complete()))
    };
    assert_eq!(read(data.len()), read(1), "pieces change what is read");
}
