//! What no call may carry as metadata, whatever protocol it came by: names with which a caller could speak to the transport of the next hop, or
//! hand on somebody's credentials. Each protocol keeps back more than this; it is the net under all of them.

use http::HeaderMap;

/// Whether a header is the connection's, the body's framing, or a login.
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

/// Takes what is not metadata out.
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
}
