//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692), over HTTP/1.1 upgrades and HTTP/2 extended CONNECT (RFC 8441).
//!
//! `codec` turns bytes into messages and knows no I/O; `deflate` holds the extension; `handshake` checks what asks to become a
//! WebSocket; `socket` puts them on a connection.

pub mod codec;
pub mod deflate;
pub mod handshake;
pub mod socket;
