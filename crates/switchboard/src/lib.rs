//! The `switchboard` binary: configuration, command line, errors, and the server put together.
//!
//! The commands that talk to a server use nothing but its HTTP surface (docs/http.md).

/// Says something on standard error. Nobody listening there is no reason to stop.
macro_rules! note {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($part)*);
    }};
}

pub mod assemble;
pub mod banner;
pub mod cli;
pub mod client;
pub mod config;
pub mod error;
pub mod follow;
pub mod services;
pub mod speaks;
pub mod sse;
