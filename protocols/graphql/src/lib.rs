//! GraphQL over all services: one endpoint, `/graphql`, whose schema follows from their Protobuf descriptors. The reference is `docs/graphql.md`.
//!
//! **Spoken.** GraphQL October 2021 with `@oneOf`; GraphQL over HTTP (GET and POST, `application/graphql-response+json`, `application/json`);
//! `graphql-transport-ws`; GraphQL over Server-Sent Events, distinct and single connection mode; automatic persisted queries; batches where the
//! options allow them; Apollo Federation v2 as a subgraph (`_service`, `_entities`, `@key`), and as a gateway over other subgraphs at
//! `/graphql/supergraph`.
//!
//! | Protobuf | GraphQL |
//! |---|---|
//! | method with `NO_SIDE_EFFECTS` / other / server stream | field of `Query` / `Mutation` / `Subscription` |
//! | fields of the request | arguments |
//! | message | object, and input object with `Input` behind its name |
//! | message without fields | `Boolean`, true |
//! | `int32`, `bool`, `string`, `double` | `Int`, `Boolean`, `String`, `Float` |
//! | `int64`, `uint64`, `uint32`, `bytes` | `Int64`, `UInt64` (strings), `UInt32`, `Bytes` (base64) |
//! | `Timestamp`, `Duration`, `FieldMask`, `Struct`, `Any` | scalars, as ProtoJSON writes them |
//! | wrappers, `optional` | null where they are absent |
//! | enum | enum |
//! | map | list of entries with `key` and `value` |
//! | `oneof` | input object of the one-of kind; on the way out its members are fields |
//!
//! **Lossy.** NaN, infinities and numbers that an enum does not declare have no form in GraphQL: the field is null, with an error. Names that
//! GraphQL does not allow are changed ([`Model::unmapped`] lists them). Trailing and leading metadata of answers is not shown.
//!
//! **Refused.** Methods that stream from the caller, extensions, the subprotocol `graphql-ws`, `multipart/form-data`, `@defer` and `@stream`.

mod build;
mod coerce;
mod execute;
mod front;
mod gateway;
mod map;
mod model;
mod names;
mod options;
mod page;
mod plan;
mod sdl;
mod server;
mod single;
mod socket;
mod wire;

pub use build::PROTOCOL;
pub use front::{answer, check, model};
pub use gateway::{Gateway, Settings as GatewaySettings, Shared as SharedGateway, Subgraph};
pub use map::{Fault, Refusal, Step};
pub use model::{Model, Unmapped};
pub use options::{Batch, Entity, Join, Limits, MAX_DEPTH, Options};

use sb_board::mount::{Descriptor, Fidelity, Mount};

/// What the binary's table of protocols needs to know.
pub static DESCRIPTOR: Descriptor = Descriptor {
    name: PROTOCOL,
    port: None,
    first_bytes: None,
    fidelity: &[
        ("call", Fidelity::Native),
        ("server stream", Fidelity::Native),
        ("client stream", Fidelity::Absent),
        ("metadata", Fidelity::Emulated),
        ("trailers", Fidelity::Absent),
        ("deadline", Fidelity::Emulated),
        ("error details", Fidelity::Native),
        ("submit", Fidelity::Emulated),
        ("describe", Fidelity::Native),
    ],
    mount: Mount::Http(server::handle),
    refuse: Some(server::refuse),
    client: None,
};
