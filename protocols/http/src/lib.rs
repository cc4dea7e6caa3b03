//! The HTTP surface of Switchboard: everything it does, on one port, over HTTP/1.1 and HTTP/2. The reference is `docs/http.md`.
//!
//! Spoken: HTTP semantics (RFC 9110) with conditional requests, caching (RFC 9111), problem details (RFC 9457), `Prefer` (RFC 7240),
//! Server-Sent Events (WHATWG HTML §9.2), WebSocket (RFC 6455, RFC 8441) with the subprotocol `switchboard.v1`, Trace Context (W3C),
//! `Idempotency-Key` (IETF draft 07), CORS (WHATWG Fetch §3.2), OpenAPI 3.1.
//!
//! | HTTP | here |
//! |---|---|
//! | `/topics/{address}`: POST, GET (poll, long poll, SSE, WebSocket) | publish, read, tail |
//! | `/topics/{topic}/groups/{group}/…` | group: lease, settle, peek, seek, commit |
//! | `/{Service}/{Method}`, `/jobs/…` | submit, watch, take, report, finish |
//! | content type | the message's content type |
//! | `Sb-Key`, `Sb-Header-*`, `Sb-Delay`, `Sb-Expires` | key, headers, due time, expiry |
//! | `ETag` of a read | the cursor behind it |
//!
//! Lossy: names of headers of a message are lower-case when they come as HTTP headers; where a message is shown as a response of its
//! own (not as JSON), headers whose name is no HTTP token or whose value holds control characters are left out, and numbers, times and
//! bytes among the headers are text. Nested header values (lists and tables of AMQP) are shown as base64 of their CBOR.
//!
//! Refused: `Range`; `Sb-Callback-Url` (501 until webhooks exist); publishing to a pattern; waiting longer than the configured limit is
//! cut to it. The login, the check of `Origin` of upgrades and the framing of WebSockets are done by the host this is mounted on.

mod calls;
mod client;
pub mod codec;
mod files;
mod groups;
mod jobs;
mod live;
mod map;
mod openapi;
mod server;
mod subprotocol;
mod system;
mod topics;
mod websocket;
mod wire;

use sb_board::mount::{Descriptor, Fidelity, Mount};

/// What the binary's table of protocols needs to know.
pub static DESCRIPTOR: Descriptor = Descriptor {
    name: "http",
    port: None,
    first_bytes: None,
    fidelity: &[
        ("publish", Fidelity::Native),
        ("read", Fidelity::Native),
        ("tail", Fidelity::Native),
        ("lease", Fidelity::Native),
        ("settle", Fidelity::Native),
        ("call", Fidelity::Native),
        ("serve", Fidelity::Native),
        ("submit", Fidelity::Native),
        ("job", Fidelity::Native),
        ("declare", Fidelity::Native),
        ("describe", Fidelity::Native),
        ("body", Fidelity::Native),
        ("key", Fidelity::Native),
        ("headers", Fidelity::Emulated),
        ("content type", Fidelity::Native),
        ("delay", Fidelity::Native),
        ("expiry", Fidelity::Native),
        ("idempotency", Fidelity::Native),
        ("trace context", Fidelity::Native),
    ],
    mount: Mount::Http(server::handle),
    refuse: None,
    client: Some(sb_board::mount::Client {
        schemes: &["http", "https"],
        connect: client::connect,
        describe: None,
    }),
};
