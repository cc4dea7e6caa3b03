//! Which protocol a connection speaks, from its first bytes.

use sb_board::mount::{Descriptor, Mount, Recognised};

/// What a connection turned out to be.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A TLS ClientHello.
    Tls,
    /// HTTP/1.x.
    Http1,
    /// HTTP/2, from its preface.
    Http2,
    /// The protocol at this place of the table.
    Protocol(usize),
    /// More bytes are needed.
    More,
    /// Nothing that is enabled here.
    Unknown,
}

const METHODS: [&[u8]; 9] =
    [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"CONNECT ", b"TRACE "];
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Compares with what a protocol begins with.
pub fn begins(bytes: &[u8], with: &[u8]) -> Recognised {
    if bytes.starts_with(with) {
        Recognised::Yes
    } else if with.starts_with(bytes) {
        Recognised::More
    } else {
        Recognised::No
    }
}

/// Judges the first bytes. `http` and `tls` say whether these are spoken here.
pub fn recognise(bytes: &[u8], tls: bool, http: bool, protocols: &[&'static Descriptor]) -> Found {
    let mut more = bytes.is_empty();
    let mut is = |seen: Recognised| {
        more |= seen == Recognised::More;
        seen == Recognised::Yes
    };
    if tls && is(begins(bytes, &[0x16, 0x03])) {
        return Found::Tls;
    }
    if http {
        if is(begins(bytes, PREFACE)) {
            return Found::Http2;
        }
        if METHODS.iter().any(|method| is(begins(bytes, method))) {
            return Found::Http1;
        }
    }
    for (i, protocol) in protocols.iter().enumerate() {
        if let (Mount::Bytes(_), Some(first_bytes)) = (&protocol.mount, protocol.first_bytes)
            && is(first_bytes(bytes))
        {
            return Found::Protocol(i);
        }
    }
    if more { Found::More } else { Found::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_and_tls() {
        let see = |bytes: &[u8]| recognise(bytes, true, true, &[]);
        assert_eq!(see(b""), Found::More);
        assert_eq!(see(b"G"), Found::More);
        assert_eq!(see(b"GET / HTTP/1.1"), Found::Http1);
        assert_eq!(see(b"P"), Found::More);
        assert_eq!(see(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Found::Http2);
        assert_eq!(see(b"PRI * HTTP/2.0\r\n"), Found::More);
        assert_eq!(see(&[0x16]), Found::More);
        assert_eq!(see(&[0x16, 3, 1]), Found::Tls);
        assert_eq!(see(b"*1\r\n$4\r\nPING\r\n"), Found::Unknown);
        assert_eq!(recognise(&[0x16, 3, 1], false, true, &[]), Found::Unknown);
        assert_eq!(recognise(b"GET / HTTP/1.1", false, false, &[]), Found::Unknown);
    }
}
