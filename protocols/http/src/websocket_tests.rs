//! Tests of the subprotocol against a socket that keeps what it is given.

