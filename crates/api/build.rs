//! Makes Rust of the `.proto` files: a compiler in Rust makes descriptors of them, and the generator of our Protobuf library makes types.

use std::error::Error;
use std::path::PathBuf;

/// Ours, and the operations of google.longrunning with what they are made of.
const FILES: &[&str] = &[
    "switchboard/v1/topics.proto",
    "switchboard/v1/messages.proto",
    "switchboard/v1/groups.proto",
    "switchboard/v1/jobs.proto",
    "switchboard/v1/methods.proto",
    "switchboard/v1/services.proto",
    "switchboard/v1/server.proto",
    "google/longrunning/operations.proto",
    "google/rpc/status.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let roots = [here.join("../../proto"), here.join("../schema/proto")];
    for root in &roots {
        println!("cargo::rerun-if-changed={}", root.display());
    }
    let set = protox::compile(FILES, &roots)?;
    let compiled = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.binpb");
    std::fs::write(&compiled, prost::Message::encode_to_vec(&set))?;
    buffa_build::Config::new()
        .descriptor_set(&compiled)
        .files(FILES)
        .generate_views(false)
        .preserve_unknown_fields(false)
        .use_bytes_type()
        .unbox_oneof()
        .include_file("types.rs")
        .compile()
}
