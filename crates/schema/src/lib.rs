//! What a service looks like, and what follows from it: a registry of Protobuf descriptors, ProtoJSON both ways, REST by `google.api.http`,
//! JSON Schema and OpenAPI, and a list of breaking changes. No I/O, no clock, no threads.
//!
//! A [`Schema`] is an immutable snapshot that is shared by cloning. It is built by a [`Builder`] from `.proto` texts, compiled descriptor
//! sets, or single file descriptors as server reflection hands them out. Replacing a snapshot leaves calls that hold the older one alone.
//!
//! Conversion works on bytes: [`json_to_proto`] and [`proto_to_json`] go by the descriptor from one form to the other without a message in
//! between. Who wants to look inside reads and builds [`dynamic`] messages.

mod breaking;
mod descriptor;
pub mod dynamic;
mod error;
mod json;
mod jsonschema;
mod openapi;
mod options;
mod pool;
pub mod rest;
mod schema;
mod source;
mod verify;
pub mod wire;

pub use breaking::{Breaking, breaking_changes};
pub use descriptor::{Cardinality, Enum, EnumValue, Field, Message, Oneof, Type};
pub use error::{Error, Place, Result};
pub use json::{Int64, Options, Unknown, json_to_proto, proto_to_json, proto_to_json_in};
pub use jsonschema::json_schema;
pub use openapi::openapi_paths;
pub use options::HttpRule;
pub use pool::{Presence, Scalar};
pub use schema::{Builder, File, Idempotency, MAX_BYTES, MAX_FILES, Method, Schema, Service};
