//! The Model Context Protocol over Streamable HTTP at `/mcp`: methods are tools, topics are resources. The reference is `docs/mcp.md`.
//!
//! **What is spoken.** Revisions 2025-03-26, 2025-06-18 and 2025-11-25 (sessions), 2026-07-28 (without), as the official Rust SDK (`rmcp`) has them:
//! message types, negotiation, sessions with resuming by `Last-Event-ID`, the checks of `Mcp-*` headers. The SDK is given requests and gives
//! responses; it listens on nothing. Ours are the checks of login and origin, the bounds, and what the methods do.
//!
//! | MCP | here |
//! |---|---|
//! | `tools/list` | described methods that are shown over `mcp`, that the caller may call, and that do not stream from the caller |
//! | tool name | the path with `_` for `.` and `/`, shortened to 64 characters; the path itself is taken as well, and told in `_meta` |
//! | input and output schema | JSON Schema of the messages; a message whose JSON is no object is wrapped as `value` |
//! | `tools/call` | the call; the answer as structured content and as text |
//! | server streaming | each item is a progress notification; all of them are the result's `items` |
//! | methods of workers | jobs: progress is progress, the worker's log is log messages |
//! | a call that fails | `isError`, the sentence as text, and code, remedy and details in `_meta` |
//! | `resources/list` | topics the caller may read, as `sb://topics/{topic}` |
//! | `resources/read` | the newest messages, or one; text, or bytes in base64 |
//! | `resources/subscribe`, `subscriptions/listen` | told when messages have come, and (listen) when the tools have changed |
//! | `logging/setLevel` | from which level log messages of workers come |
//! | `notifications/cancelled`, a closed stream | cancels the call |
//!
//! **What is lost.** Metadata of answers. Keys and headers of messages are not shown.
//!
//! **What is refused.** Methods that stream from the caller are no tools. There are no prompts, completions, roots, sampling, elicitation or tasks.
//! Batches of 2025-03-26 are answered one request after another. HTTP with SSE of 2024-11-05 is not spoken.

mod logging;
pub mod map;
mod resources;
mod server;
mod tools;
pub mod wire;

use sb_board::mount::{Descriptor, Fidelity, Mount};

/// What the binary's table of protocols needs to know.
pub static DESCRIPTOR: Descriptor = Descriptor {
    name: map::NAME,
    port: None,
    first_bytes: None,
    fidelity: &[
        ("call", Fidelity::Native),
        ("call: server streaming", Fidelity::Emulated),
        ("call: client streaming", Fidelity::Absent),
        ("read", Fidelity::Native),
        ("tail", Fidelity::Emulated),
        ("publish", Fidelity::Absent),
        ("body", Fidelity::Native),
        ("key", Fidelity::Absent),
        ("headers", Fidelity::Absent),
        ("describe", Fidelity::Native),
    ],
    mount: Mount::Http(server::handle),
    refuse: None,
    client: None,
};
