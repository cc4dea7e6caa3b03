//! gRPC over HTTP/2, gRPC-Web (binary and text) and the Connect protocol, to callers and to services. One crate, because the three share framing,
//! codecs and errors.
//!
//! **What is spoken.** All kinds of streaming; messages as Protobuf or JSON; identity, gzip, zstd, br and deflate; deadlines; metadata both ways.
//! gRPC: `PROTOCOL-HTTP2.md`, with `grpc.health.v1` and `grpc.reflection.v1` and `v1alpha` for what the caller may call. gRPC-Web: `PROTOCOL-WEB.md`
//! over HTTP/1.1 and HTTP/2. Connect: its protocol reference, with GET for methods without side effects. docs/grpc.md is the page for users.
//!
//! **Which requests are whose.** By content type, whatever the path: `application/grpc…` is gRPC's, `application/grpc-web…` gRPC-Web's,
//! `application/connect+…` Connect's. A request to a path `/package.Service/Method` is a unary call of Connect if it has a
//! `Connect-Protocol-Version`, or is a GET with `connect=` in its query, or a POST of `application/proto` to a method that is described. A POST of
//! `application/json` without the version is REST's, whose answers look the same when they succeed and are problem+json when they do not: people
//! with curl get the errors that the rest of HTTP has, clients of Connect always send the version. So is what has `Prefer: respond-async`: HTTP has
//! jobs. Health and reflection are taken without the version, too. A body of a type that no protocol on HTTP takes is refused with 415 here.
//!
//! **How it maps.** A request is a [`Call`](sb_board::call::Call), an answer its [`Reply`](sb_board::call::Reply); messages are re-framed and never
//! decoded, unless caller and service speak different codecs (the board converts then). [`Status`](sb_board::call::Status) is `grpc-status`,
//! `grpc-message` and `grpc-status-details-bin`, or Connect's JSON.
//!
//! **What is lost.** The packing of messages: they are unpacked on the way in and packed on the way out as each side wants it. A Trailers-Only
//! answer and one with empty leading metadata are the same.
//!
//! **What is refused.** gRPC over HTTP/1.1 (505), codecs other than proto and json (415), other packings (`UNIMPLEMENTED`), messages larger than the
//! board's limit before or after decompression (`RESOURCE_EXHAUSTED`).

pub mod client;
mod health;
pub mod map;
mod own;
mod reflection;
mod server;
pub mod wire;

use sb_board::mount::{Client, Descriptor, Fidelity, Mount};

const FIDELITY: &[(&str, Fidelity)] = &[
    ("call", Fidelity::Native),
    ("stream", Fidelity::Native),
    ("deadline", Fidelity::Native),
    ("cancel", Fidelity::Native),
    ("metadata", Fidelity::Native),
    ("error details", Fidelity::Native),
];

/// gRPC over HTTP/2.
pub const GRPC: Descriptor = Descriptor {
    name: "grpc",
    port: None,
    first_bytes: None,
    fidelity: FIDELITY,
    mount: Mount::Http(server::grpc),
    refuse: Some(server::refuse),
    client: Some(Client {
        schemes: &["grpc", "grpcs"],
        connect: client::grpc,
        describe: Some(client::describe),
    }),
};

/// gRPC-Web, binary and text.
pub const GRPC_WEB: Descriptor = Descriptor {
    name: "grpc-web",
    port: None,
    first_bytes: None,
    fidelity: FIDELITY,
    mount: Mount::Http(server::grpc_web),
    // The refusal of gRPC knows all three.
    refuse: None,
    client: Some(Client {
        schemes: &["grpc-web", "grpc-webs", "grpc-web+h2"],
        connect: client::grpc_web,
        describe: Some(client::describe),
    }),
};

/// The Connect protocol.
pub const CONNECT: Descriptor = Descriptor {
    name: "connect",
    port: None,
    first_bytes: None,
    fidelity: FIDELITY,
    mount: Mount::Http(server::connect),
    refuse: None,
    client: Some(Client {
        schemes: &["connect", "connects", "connect+h2"],
        connect: client::connect,
        describe: Some(client::describe),
    }),
};
