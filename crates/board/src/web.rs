//! What protocols on HTTP share beside [`problem`](crate::problem): reading a bounded body, the rules for pages of other origins, telling an
//! upgrade.

use crate::HttpSettings;
use crate::mount::{Body, RequestBody};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body::Body as _;
use sb_core::model::{Error, Kind, Result};
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

/// How long the next piece of a body may take.
const PAUSE: Duration = Duration::from_secs(30);
/// How long the rest of a body that is too large is read, and how much of it: a client that is still sending would not see the answer otherwise.
const DISCARD: Duration = Duration::from_secs(5);
const DISCARD_BYTES: usize = 16 << 20;

/// A whole body of at most `limit` bytes. Errors: too large (SB0205), stopped coming, broken off.
pub async fn collect<B>(body: &mut B, limit: usize) -> Result<Bytes>
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let too_large = || {
        Error::new(Kind::TooLarge, "SB0205", format!("the body is larger than {limit} bytes"))
            .fix("Send less at once, or raise the limit")
    };
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    if body.size_hint().lower() > limit as u64 {
        discard(body).await;
        return Err(too_large());
    }
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let frame = tokio::time::timeout(PAUSE, frame).await.map_err(|_| {
            Error::new(Kind::Deadline, "SB0201", "the body stopped coming").fix("Send it without long pauses")
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|e| Error::invalid(format!("the body could not be read: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len().max(more.len()).saturating_add(data.len()) > limit {
            discard(body).await;
            return Err(too_large());
        }
        // The usual body arrives in one piece, which stays a slice of the read buffer.
        if first.is_empty() && more.is_empty() {
            first = data;
            continue;
        }
        if more.is_empty() {
            more.extend_from_slice(&first);
        }
        more.extend_from_slice(&data);
    }
    Ok(if more.is_empty() { first } else { more.freeze() })
}

/// Reads what a request that is refused unread still sends, up to 64 KiB. Where that is not all, the client is told that the connection ends: it
/// would send its next request on it.
pub async fn spend(body: &mut RequestBody, response: &mut Response<Body>) {
    if collect(body, 64 * 1024).await.is_err() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

async fn discard(body: &mut (impl http_body::Body<Data = Bytes> + Unpin)) {
    let read = async {
        let mut left = DISCARD_BYTES;
        while left > 0 {
            match std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
                Some(Ok(frame)) => left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len)),
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD, read).await;
}

/// Whether a request asks to become a WebSocket, over HTTP/1.1 (RFC 6455) or HTTP/2 (RFC 8441).
pub fn wants_websocket(parts: &Parts) -> bool {
    if parts.method == Method::CONNECT {
        return parts.extensions.get::<hyper::ext::Protocol>().is_some_and(|p| p.as_str() == "websocket");
    }
    parts.method == Method::GET && has_token(&parts.headers, header::UPGRADE, "websocket")
}

/// Whether a header that is a list holds a token, in any case.
pub fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
}

/// Whether `Accept` names this media type itself, not by a wildcard, and does not rule it out.
pub fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| {
        value.split(',').any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type));
            let zero =
                |p: &str| p.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
            named && !parts.any(zero)
        })
    })
}

/// Whether the host of `host[:port]` is the loopback interface.
pub fn is_loopback_host(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or("", |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Lets the page that asked see the answer, if its origin may. `expose` names the headers it may see, separated by commas.
pub fn allow_origin(
    settings: &HttpSettings,
    request: &HeaderMap,
    response: &mut Response<Body>,
    expose: &'static str,
) {
    let headers = response.headers_mut();
    if settings.any_loopback_origin || !settings.origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = request.get(header::ORIGIN) else { return };
    if origin.to_str().is_ok_and(|origin| settings.allows_origin(origin)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(expose));
    }
}

/// The answer to a preflight: these methods, and the headers that were asked for.
pub fn preflight(settings: &HttpSettings, request: &HeaderMap, methods: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    allow_origin(settings, request, &mut response, "");
    let headers = response.headers_mut();
    headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
    headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn media_types_are_named_not_guessed() {
        let accept = |value| accepts(&headers(&[("accept", value)]), "text/event-stream");
        assert!(accept("application/json, Text/Event-Stream;q=0.5"));
        assert!(!accept("*/*") && !accept("text/event-stream;q=0") && !accept("text/event-streams"));
    }

    #[test]
    fn only_known_origins_see_answers() {
        let settings = HttpSettings { origins: vec!["https://a.example".into()], ..HttpSettings::default() };
        let seen = |settings: &HttpSettings, origin| {
            let mut response = Response::new(Body::Empty);
            allow_origin(settings, &headers(&[("origin", origin)]), &mut response, "x");
            response.headers().contains_key("access-control-allow-origin")
        };
        assert!(seen(&settings, "https://a.example") && !seen(&settings, "https://b.example"));
        assert!(!seen(&settings, "http://localhost:3000") && !seen(&settings, "null"));
        let development = HttpSettings { any_loopback_origin: true, ..HttpSettings::default() };
        assert!(seen(&development, "http://localhost:3000") && seen(&development, "http://[::1]:1"));
        assert!(
            !seen(&development, "http://localhost.evil.example") && !seen(&development, "file://localhost")
        );
        let answer = preflight(&settings, &headers(&[("origin", "https://a.example")]), "POST");
        assert_eq!(answer.headers()["access-control-allow-methods"], "POST");
    }
}
