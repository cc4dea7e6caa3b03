//! A page for who opens the endpoint in a browser: a document, variables, the answer. It loads nothing from elsewhere.

use crate::server::typed;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use sb_board::mount::Body;

const PAGE: &str = include_str!("page.html");
/// The page's own style and script, and this server; nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whether a browser wants to show something.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT);
    accept.iter().any(|value| value.to_str().is_ok_and(|text| text.contains("text/html")))
}

/// The page.
pub(crate) fn page() -> http::Response<Body> {
    let mut response = typed(StatusCode::OK, "text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes()));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}
