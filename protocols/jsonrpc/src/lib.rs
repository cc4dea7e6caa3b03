//! JSON-RPC 2.0: every described method over HTTP and WebSocket, and the other way, calling services that speak it. The reference is
//! `docs/jsonrpc.md`.
//!
//! **What is spoken.** The JSON-RPC 2.0 Specification (2013-01-04), all of it: requests, notifications, batches, ids as they were written. Over HTTP:
//! `POST /rpc` with `application/json`, `application/json-rpc` or `application/jsonrequest`; over WebSocket: `/rpc`, a text message each way. Below
//! `/rpc/{package.Service}` methods have their bare names. OpenRPC 1.3 describes it all: `rpc.discover`.
//!
//! | JSON-RPC | here |
//! |---|---|
//! | `method` | `package.Service/Method` or `package.Service.Method` |
//! | `params` by name | the request message in ProtoJSON |
//! | `params` by position | its fields in order of declaration; of a type with a JSON form of its own, the one value |
//! | `result` | the response message in ProtoJSON |
//! | HTTP headers | metadata, both ways for a single request; trailing metadata as `Trailer-…` |
//! | server streaming | over WebSocket, or SSE for a single request: the result is a subscription's id, items and the end are notifications `subscription` |
//! | `rpc.unsubscribe` | cancels a subscription; the connection's end cancels all |
//! | member `sb` | this server's own: `async`, `wait`, `timeout`, `idempotency_key`, `key`, `metadata` |
//! | `error.code` | see [`map::code`]; `data` has the code's name, our own code, the remedy, and details as `Any` |
//!
//! **What is lost.** Leading and trailing metadata of requests in a batch and over WebSocket. Messages are JSON, so what ProtoJSON loses is lost:
//! fields the schema does not know.
//!
//! **What is refused.** Methods that stream from the caller; server streaming without a stream to answer on; members that a request does not have or
//! has twice; more than 1,000 requests in a batch, 128 levels, 64 calls or 256 subscriptions at once on one WebSocket. Texts over raw TCP are not
//! spoken.

mod act;
pub mod client;
mod discover;
pub mod map;
pub mod server;
mod socket;
pub mod wire;

use sb_board::mount::{Client, Descriptor, Fidelity, Mount};

/// What the binary's table of protocols needs to know.
pub static DESCRIPTOR: Descriptor = Descriptor {
    name: map::NAME,
    port: None,
    first_bytes: None,
    fidelity: &[
        ("call", Fidelity::Native),
        ("call: server streaming", Fidelity::Emulated),
        ("call: client streaming", Fidelity::Absent),
        ("metadata", Fidelity::Emulated),
        ("error details", Fidelity::Emulated),
        ("submit", Fidelity::Emulated),
        ("describe", Fidelity::Native),
    ],
    mount: Mount::Http(server::handle),
    refuse: Some(server::refuse),
    client: Some(Client { schemes: &["jsonrpc", "jsonrpcs"], connect: client::connect, describe: None }),
};
