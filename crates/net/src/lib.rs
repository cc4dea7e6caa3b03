//! Sockets, TLS, recognition by first bytes, HTTP and WebSocket framing, drain. It implements what `sb_board::mount` describes, so
//! that no protocol binds a port or knows what it runs on.
//!
//! The way of a connection: `listen` accepts it and finds out what is spoken (`recognise`), within 10 seconds and 64 KiB. A protocol
//! of bytes is given the pipe. HTTP goes to `http`: every request is logged in (`login`) and offered to the HTTP protocols in their
//! order; one that becomes a WebSocket (`ws`) leaves HTTP behind. `guard` stands in front of HTTP/1 and is strict about framing,
//! `drain` ends it all.

pub mod codec {
    //! The parsers that see bytes of strangers: pure functions of their input, for tests and fuzzing.
    pub use crate::guard::Guard;
    pub use crate::recognise::{Found, recognise};
    pub use crate::ws::codec::*;
    pub use crate::ws::deflate;
}
mod conn;
mod counters;
mod drain;
mod guard;
mod http;
mod listen;
mod login;
mod owner;
mod recognise;
mod upstream;
mod ws;

pub use conn::Conn;
pub use counters::NetCounters;
pub use drain::{Drain, Ticket};
pub use http::{Connection, Handler, Host};
pub use listen::{Listener, NetError, NetLimits, Server};
pub use owner::{Owner, owner};
pub use upstream::Dial;
pub use ws::handshake::{Accepted, accept, accept_key, is_websocket};
pub use ws::socket::Socket;
