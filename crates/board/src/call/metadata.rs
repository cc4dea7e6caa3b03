//! Which headers are metadata of a call: one rule for what goes to services and what comes back, of every protocol.
//!
//! What belongs to the connection, to the form of a protocol, to a browser or to the login stays with who received it. Everything else goes
//! through as it is, names that end in `-bin` included: also `traceparent`, `idempotency-key`, and `etag` and `cache-control`, by which
//! answers to GET are kept.

use http::HeaderMap;

/// Names that are no metadata …
const RESERVED: &[&str] = &[
    // of HTTP and its connections
    "allow",
    "connection",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "location",
    "pragma",
    "prefer",
    "preference-applied",
    "priority",
    "range",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    // of browsers
    "dnt",
    "origin",
    "referer",
    "upgrade-insecure-requests",
    "user-agent",
    // of the login
    "authorization",
    "cookie",
    "set-cookie",
    "www-authenticate",
    // of gRPC, gRPC-Web and Connect; `grpc-trace-bin` and the like are metadata
    "grpc-timeout",
    "grpc-encoding",
    "grpc-accept-encoding",
    "grpc-message-type",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "connect-protocol-version",
    "connect-timeout-ms",
    "connect-content-encoding",
    "connect-accept-encoding",
    "x-grpc-web",
    "x-user-agent",
    // of THeader
    "client_version",
    "client_metadata",
];

/// … and beginnings of such names. Those with `sb-` are this server's own.
const FAMILIES: &[&str] =
    &["accept", "access-control-", "content-", "if-", "mcp-", "proxy-", "sb-", "sec-", "x-forwarded-"];

/// Whether a header of this name, in lower case, is metadata of the call.
pub fn is_metadata(name: &str) -> bool {
    !RESERVED.contains(&name) && !FAMILIES.iter().any(|family| name.starts_with(family))
}

/// The metadata among headers, in their order.
pub fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(headers.len());
    append(headers, &mut out);
    out
}

/// Appends the metadata among `from` to `to`.
pub fn append(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if is_metadata(name.as_str()) {
            to.append(name, value.clone());
        }
    }
}

/// Whether a header is the connection's, the body's framing, or a login: what no call may carry, since a caller could speak with it to the
/// transport of the next hop, or hand on somebody's credentials.
fn is_transport(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "expect"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "authorization"
            | "cookie"
            | "sb-api-key"
    )
}

/// Takes that out: the net under all protocols, for what reached a call by another way.
pub(crate) fn clean(headers: &mut HeaderMap) {
    // Nearly always there is nothing to take out.
    while let Some(name) = headers.keys().find(|name| is_transport(name.as_str())).cloned() {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn nothing_of_the_transport_stays() {
        let mut headers = HeaderMap::new();
        for name in ["transfer-encoding", "content-length", "x-mine", "authorization", "host", "a-bin"] {
            headers.append(name, HeaderValue::from_static("1"));
            headers.append(name, HeaderValue::from_static("2"));
        }
        clean(&mut headers);
        assert_eq!(headers.len(), 4);
        assert!(headers.contains_key("x-mine") && headers.contains_key("a-bin"));
    }

    #[test]
    fn what_is_the_callers_goes_through() {
        for name in
            ["x-tenant", "traceparent", "idempotency-key", "etag", "cache-control", "grpc-trace-bin", "a-bin"]
        {
            assert!(is_metadata(name), "{name}");
        }
        for name in [
            "authorization",
            "sb-api-key",
            "sb-timeout",
            "content-type",
            "accept-language",
            "te",
            "connection",
        ] {
            assert!(!is_metadata(name), "{name}");
        }
        let headers: HeaderMap = [("x-a", "1"), ("host", "h"), ("x-a", "2")]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect();
        let kept: Vec<_> = metadata(&headers).get_all("x-a").iter().cloned().collect();
        assert_eq!(kept, ["1", "2"]);
        assert_eq!(metadata(&headers).len(), 2);
    }
}
