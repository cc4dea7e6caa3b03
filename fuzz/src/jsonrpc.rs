//! Requests of the RPC protocols that are JSON.

use sb_jsonrpc::map;
use sb_jsonrpc::wire::{self, Fault, Incoming, Params};
use sb_mcp::wire::{Body, Resource, look, message_uri};
use std::sync::OnceLock;

/// A text of JSON-RPC: what is read is answered with JSON that holds the id as it was written, and params become JSON of a message. Then the same
/// bytes as a body and as a URI of MCP.
pub fn jsonrpc(data: &[u8]) {
    match wire::read(data) {
        Err(malformed) => json(&wire::failed(None, &Fault::from(malformed))),
        Ok(Incoming::One(request)) => one(&request),
        Ok(Incoming::Batch(requests)) => {
            assert!((1..=wire::MAX_BATCH).contains(&requests.len()));
            requests.iter().for_each(one);
        }
    }
    if let Body::Batch(messages) = look(data) {
        messages.iter().for_each(|message| json(message.as_bytes()));
    }
    if let Some(resource) = std::str::from_utf8(data).ok().and_then(Resource::parse)
        && let Resource::Message(topic, partition, offset) = &resource
    {
        assert_eq!(Resource::parse(&message_uri(topic, *partition, *offset)), Some(resource.clone()));
    }
}

fn one(request: &Result<wire::Request<'_>, wire::Invalid<'_>>) {
    match request {
        Err(invalid) => json(&wire::failed(invalid.id, &Fault::invalid(invalid.why))),
        Ok(request) => {
            if let Some(id) = request.id {
                let answer = wire::result(id, b"1");
                json(&answer);
                assert!(std::str::from_utf8(&answer).unwrap().ends_with(&format!(", \"id\": {id}}}")));
            }
            for service in [None, Some("a.B")] {
                let path = map::path(&request.method, service);
                assert!(!map::is_path(&path) || path.split('/').count() == 2);
            }
            for kind in kinds() {
                if let Ok(message) = map::message(Some(kind), &request.params) {
                    json(&message);
                    if let (Params::Positional(values), true) =
                        (&request.params, message.first() == Some(&b'{'))
                    {
                        let back = map::in_order(kind, &message).unwrap();
                        json(&back);
                        assert!(values.len() <= kind.fields().len());
                    }
                }
            }
            if let Ok(extension) = map::Extension::read(request.extension) {
                let _ = extension.job("a.B/C", data_of(&request.params));
                let _ = extension.add_metadata(&mut http::HeaderMap::new());
            }
        }
    }
}

fn data_of<'a>(params: &Params<'a>) -> &'a [u8] {
    match params {
        Params::Named(text) => text.as_bytes(),
        Params::None | Params::Positional(_) => b"",
    }
}

fn json(text: &[u8]) {
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(text) {
        panic!("{}: {error}", String::from_utf8_lossy(text));
    }
}

fn kinds() -> &'static [sb_schema::Message] {
    static KINDS: OnceLock<Vec<sb_schema::Message>> = OnceLock::new();
    KINDS.get_or_init(|| {
        let text = "syntax = \"proto3\"; import \"google/protobuf/wrappers.proto\"; \
                    message M { string name = 1; repeated int64 ids = 2; M next = 3; google.protobuf.Int32Value n = 4; }";
        let schema = sb_schema::Schema::from_texts([("m.proto", text)]).expect("a good description");
        ["M", "google.protobuf.Int32Value"].iter().filter_map(|name| schema.message(name)).collect()
    })
}
