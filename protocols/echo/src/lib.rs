//! Echo: the smallest complete protocol. Template for new ones, tutorial, and test subject for WebSocket conformance suites.
//!
//! **What is spoken.** Over bytes, lines that end in LF (a CR before it is ignored):
//!
//! | client | server |
//! |---|---|
//! | `ECHO text` | `text` |
//! | `AUTH token` | `+OK`: from here on with these rights |
//! | `PUB address length`, then so many bytes | `+OK offset` when it is durable, `+LIVE count` where no topic claims the address |
//! | `SUB pattern` | `+OK`, then `MSG address length` and so many bytes for each message from now on |
//! | anything wrong | `-ERR code kind text`; the connection stays open, unless framing is lost |
//!
//! Over WebSocket, at `/echo`: every message comes back as it was sent, up to 64 MiB in any number of fragments.
//!
//! **How it maps.** `PUB` is [`Access::publish`](sb_board::Access::publish), `SUB` is a [`Tail`](sb_board::tail::Tail) from the end.
//! Addresses and patterns are in their canonical text.
//!
//! **What is lost.** Key, headers, content type and time of messages are not shown; published ones have none.
//!
//! **What is refused.** Bodies larger than 1 MiB, lines longer than 2 KiB, a second `SUB`. There are no groups, leases or jobs.
//!
//! A protocol is: this page and the descriptors in `lib.rs`; `wire.rs`, bytes to frames and back, pure; `map.rs`, frames to the
//! core's nouns and errors, the only file that knows both; `server.rs`, the loop; tests. Copy it with `xtask new-protocol NAME`.

pub mod map;
pub mod server;
pub mod wire;

use sb_board::mount::{Descriptor, Fidelity, Mount};

/// The protocol of lines.
pub const LINES: Descriptor = Descriptor {
    name: "echo",
    port: None,
    first_bytes: Some(wire::recognise),
    fidelity: &[
        ("publish", Fidelity::Native),
        ("tail", Fidelity::Native),
        ("address", Fidelity::Native),
        ("body", Fidelity::Native),
        ("key", Fidelity::Absent),
        ("headers", Fidelity::Absent),
        ("group", Fidelity::Absent),
        ("job", Fidelity::Absent),
    ],
    mount: Mount::Bytes(server::lines),
    refuse: None,
    client: None,
};

/// The WebSocket echo. Not part of a production table unless the config asks for it.
pub const WEB: Descriptor = Descriptor {
    name: "echo-web",
    port: None,
    first_bytes: None,
    fidelity: &[],
    mount: Mount::Http(server::web),
    refuse: None,
    client: None,
};
