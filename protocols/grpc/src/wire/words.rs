//! The small texts of the protocols: percent-encoded messages, timeouts, the trailers of gRPC-Web, query parameters.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// The most trailers that are read of one stream.
const MAX_TRAILERS: usize = 256;

/// `grpc-message`: what is not printable ASCII, and `%`, as percent and two digits.
pub fn percent_encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from(HEX.get(usize::from(digit)).copied().unwrap_or(b'0')));
            }
        }
    }
    out
}

/// The reverse. A percent sign without two digits stands for itself, and what is not UTF-8 is replaced: a damaged message is better than none.
pub fn percent_decode(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    unescape(bytes, false, &mut out);
    match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

fn unescape(bytes: &[u8], plus_is_space: bool, out: &mut Vec<u8>) {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut rest = bytes;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, behind) {
            (b'%', [high, low, more @ ..]) if digit(*high).is_some() && digit(*low).is_some() => {
                out.push(digit(*high).unwrap_or(0) << 4 | digit(*low).unwrap_or(0));
                rest = more;
            }
            (b'+', _) if plus_is_space => out.push(b' '),
            _ => out.push(*byte),
        }
    }
}

/// The first parameter of this name in a query, decoded.
pub fn query_parameter(query: &str, name: &str) -> Option<Vec<u8>> {
    let value = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })?;
    let mut out = Vec::with_capacity(value.len());
    unescape(value.as_bytes(), true, &mut out);
    Some(out)
}

/// `grpc-timeout`: up to eight digits and a unit.
pub fn grpc_timeout(text: &str) -> Option<Duration> {
    let digits = text.get(..text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match text.as_bytes().last()? {
        b'H' => Duration::from_secs(n * 3_600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

/// A duration as `grpc-timeout`, in the finest unit that holds it in eight digits; rounded up, so that the other side does not give up first.
pub fn put_grpc_timeout(left: Duration) -> String {
    let nanos = left.as_nanos();
    let units: [(u128, char); 6] = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
        (3_600_000_000_000, 'H'),
    ];
    for (unit, letter) in units {
        let n = nanos.div_ceil(unit);
        if n <= 99_999_999 {
            return format!("{n}{letter}");
        }
    }
    "99999999H".to_owned()
}

/// `connect-timeout-ms`: up to ten digits.
pub fn connect_timeout(text: &str) -> Option<Duration> {
    let fits = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok().map(Duration::from_millis)).flatten()
}

/// A duration as `connect-timeout-ms`, rounded up.
pub fn put_connect_timeout(left: Duration) -> String {
    let ms = left.as_nanos().div_ceil(1_000_000).min(9_999_999_999);
    ms.to_string()
}

/// The trailers of gRPC-Web: lines of `name: value`. Names come in any case; what is no header line is skipped.
pub fn read_trailers(bytes: &[u8]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for line in bytes.split(|b| *b == b'\n').take(MAX_TRAILERS) {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.trim_ascii()), HeaderValue::from_bytes(value))
        {
            trailers.append(name, value);
        }
    }
    trailers
}

/// The reverse.
pub fn put_trailers(trailers: &HeaderMap) -> Vec<u8> {
    let mut out = Vec::with_capacity(trailers.len() * 32);
    for (name, value) in trailers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
        let wire = "%09%0Atest with whitespace%0D%0Aand Unicode BMP %E2%98%BA and non-BMP %F0%9F%98%88%09%0A";
        assert_eq!(percent_encode(text), wire);
        assert_eq!(percent_decode(wire.as_bytes()), text);
        assert_eq!(percent_encode("100%"), "100%25");
        for (damaged, read) in [("100%", "100%"), ("%zz%41", "%zzA"), ("%4", "%4"), ("%ff", "\u{fffd}")] {
            assert_eq!(percent_decode(damaged.as_bytes()), read);
        }
    }

    #[test]
    fn timeouts() {
        for (text, ms) in [("1H", 3_600_000), ("2M", 120_000), ("3S", 3_000), ("40m", 40), ("5000u", 5)] {
            assert_eq!(grpc_timeout(text), Some(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for bad in ["", "S", "123456789S", "1", "1x", "-1S", "1.5S", "+1S", "é", "1é"] {
            assert_eq!(grpc_timeout(bad), None, "{bad}");
        }
        assert_eq!(put_grpc_timeout(Duration::from_millis(50)), "50000000n");
        assert_eq!(put_grpc_timeout(Duration::from_secs(10)), "10000000u");
        assert_eq!(put_grpc_timeout(Duration::MAX), "99999999H");
        for ms in [0, 1, 99, 100_000, 86_400_000, 31_536_000_000] {
            let wanted = Duration::from_millis(ms);
            assert!(grpc_timeout(&put_grpc_timeout(wanted)).unwrap() >= wanted);
        }
        assert_eq!(connect_timeout("9999999999"), Some(Duration::from_millis(9_999_999_999)));
        for bad in ["", "10000000000", "-1", "1.0", "1s"] {
            assert_eq!(connect_timeout(bad), None, "{bad}");
        }
        assert_eq!(put_connect_timeout(Duration::from_micros(1_500)), "2");
    }

    #[test]
    fn trailers_of_grpc_web() {
        let read = read_trailers(
            b"grpc-status: 5\r\nGrpc-Message:no such thing\nx: a\r\nx: b\r\n\r\nnonsense\r\n:v\r\n",
        );
        assert_eq!(read["grpc-status"], "5");
        assert_eq!(read["grpc-message"], "no such thing");
        assert_eq!(read.get_all("x").iter().count(), 2);
        assert_eq!(read.len(), 4);
        assert_eq!(read_trailers(&put_trailers(&read)), read);
        assert!(read_trailers(b"").is_empty());
    }

    #[test]
    fn queries() {
        let query = "connect=v1&base64=1&message=a%2Bb+c&empty&x=%zz";
        assert_eq!(query_parameter(query, "message").unwrap(), b"a+b c");
        assert_eq!(query_parameter(query, "empty").unwrap(), b"");
        assert_eq!(query_parameter(query, "x").unwrap(), b"%zz");
        assert_eq!(query_parameter(query, "y"), None);
    }
}
