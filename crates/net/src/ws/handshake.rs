//! The opening handshake: RFC 6455 §4.2 over HTTP/1.1, RFC 8441 over HTTP/2. Judges a request, makes the response; no I/O.

use super::deflate::{self, Params};
use base64::Engine as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use sb_board::mount::Body;
use sb_core::model::{Error, Kind};

/// Whether a request asks to become a WebSocket, well formed or not.
pub fn is_websocket<B>(request: &Request<B>) -> bool {
    if request.version() == Version::HTTP_2 {
        return request.extensions().get::<hyper::ext::Protocol>().is_some_and(|p| p.as_str() == "websocket");
    }
    has_token(request.headers(), header::UPGRADE, "websocket")
}

/// The response that accepts, and what was negotiated.
pub struct Accepted {
    /// 101 over HTTP/1.1, 200 over HTTP/2.
    pub response: Response<Body>,
    /// permessage-deflate, when both ends want it.
    pub deflate: Option<Params>,
}

/// Judges the handshake.
pub fn accept<B>(
    request: &Request<B>,
    subprotocol: Option<&'static str>,
    deflate: bool,
) -> Result<Accepted, Box<Response<Body>>> {
    let headers = request.headers();
    let refuse = |detail: &'static str| {
        let fix = "See RFC 6455 section 4.1 for what a client sends.";
        Box::new(sb_board::problem::response(&Error::invalid(detail).fix(fix), None))
    };
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|v| v != "13") {
        let error = Error::new(Kind::Invalid, "SB0201", "The WebSocket version is not 13.");
        let mut response = sb_board::problem::response(&error, None);
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return Err(Box::new(response));
    }
    let mut response = Response::new(Body::Empty);
    let out;
    match request.version() {
        Version::HTTP_2 => {
            if request.method() != Method::CONNECT || !is_websocket(request) {
                return Err(refuse("A WebSocket over HTTP/2 needs an extended CONNECT."));
            }
            out = response.headers_mut();
        }
        Version::HTTP_11 => {
            if request.method() != Method::GET {
                return Err(refuse("A WebSocket handshake is a GET."));
            }
            if !has_token(headers, header::CONNECTION, "upgrade") || !is_websocket(request) {
                return Err(refuse("The Connection and Upgrade headers do not ask for a WebSocket."));
            }
            let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
            let (Some(key), None) = (keys.next(), keys.next()) else {
                return Err(refuse("There must be one Sec-WebSocket-Key."));
            };
            let raw = base64::engine::general_purpose::STANDARD.decode(key.as_bytes());
            if !raw.is_ok_and(|raw| raw.len() == 16) {
                return Err(refuse("The Sec-WebSocket-Key is not 16 bytes in base64."));
            }
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            out = response.headers_mut();
            out.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            if let Ok(value) = HeaderValue::from_str(&accept_key(key.as_bytes())) {
                out.insert(header::SEC_WEBSOCKET_ACCEPT, value);
            }
        }
        _ => return Err(refuse("A WebSocket needs HTTP/1.1 or HTTP/2.")),
    }
    if let Some(name) = subprotocol
        && has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, name)
    {
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    let offers =
        headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|value| value.to_str().ok());
    let deflate = deflate.then(|| deflate::negotiate(offers)).flatten().map(|(params, answer)| {
        if let Ok(value) = HeaderValue::from_str(&answer) {
            out.insert(header::SEC_WEBSOCKET_EXTENSIONS, value);
        }
        params
    });
    Ok(Accepted { response, deflate })
}

/// `Sec-WebSocket-Accept` (RFC 6455 §4.2.2).
pub fn accept_key(key: &[u8]) -> String {
    let mut sha = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha.update(key);
    sha.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::engine::general_purpose::STANDARD.encode(sha.finish())
}

/// Whether a comma-separated header holds a token, whatever its case.
pub fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}
