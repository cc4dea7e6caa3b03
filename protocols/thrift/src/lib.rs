//! Apache Thrift, as a server and as a client.
//!
//! **What is spoken.** The binary protocol (with version, and the old one without, which is read and answered in kind) and the compact protocol, as
//! `doc/specs/thrift-binary-protocol.md` and `thrift-compact-protocol.md` say; on byte streams with frames, without them, and with THeader (zlib, metadata);
//! over HTTP by `POST /thrift` and `/thrift/{Service}`; `TMultiplexedProtocol`; SASL PLAIN.
//!
//! **How it maps.** A method `rpc M(In) returns (Out)` is `Out M(1: In request) throws (1: Error error)`; field ids are Protobuf's numbers. `GET
//! /thrift/{Service}.thrift` gives the IDL ([`idl::print`]). A service that is described by a `.thrift` file ([`idl::to_proto`]) keeps its own signatures.
//!
//! **What is lost and what is refused** is in `docs/thrift.md`: methods that stream above all.
//!
//! `wire` is bytes, `idl` the language, `map` the way from structs to Protobuf messages and from statuses to exceptions, `server` and `web` the sides that
//! are called, `client` the side that calls.

mod call;
pub mod client;
pub mod idl;
pub mod map;
mod sasl;
pub mod server;
pub mod web;
pub mod wire;

use sb_board::mount::{Client, Descriptor, Fidelity, Mount};

const FIDELITY: &[(&str, Fidelity)] = &[
    ("call", Fidelity::Native),
    ("stream", Fidelity::Absent),
    ("error", Fidelity::Native),
    ("deadline", Fidelity::Emulated),
    ("metadata", Fidelity::Emulated),
];

/// Thrift on byte streams.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "thrift",
    port: Some(9090),
    first_bytes: Some(wire::recognise),
    fidelity: FIDELITY,
    mount: Mount::Bytes(server::pipe),
    refuse: None,
    client: Some(Client { schemes: client::SCHEMES, connect: client::connect, describe: None }),
};

/// Thrift over HTTP, and the IDL files.
pub const WEB: Descriptor = Descriptor {
    name: "thrift-http",
    port: None,
    first_bytes: None,
    fidelity: FIDELITY,
    mount: Mount::Http(web::answer),
    refuse: None,
    client: None,
};
