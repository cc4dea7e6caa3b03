//! Errors over HTTP: the status of each kind, and RFC 9457 problem documents.

use crate::mount::Body;
use http::{HeaderValue, Response, StatusCode, header};
use sb_core::model::{Error, Kind};

/// The status of a kind.
pub fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Exists | Kind::Conflict => StatusCode::CONFLICT,
        Kind::Gone => StatusCode::GONE,
        Kind::Precondition => StatusCode::PRECONDITION_FAILED,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Mismatch => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Exhausted => StatusCode::TOO_MANY_REQUESTS,
        Kind::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Deadline => StatusCode::GATEWAY_TIMEOUT,
        // What proxies write down for a request that its client gave up.
        Kind::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Kind::Corrupt | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The short human name of a kind.
pub fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound => "Not found",
        Kind::Gone => "Gone",
        Kind::Exists => "Exists already",
        Kind::Invalid => "Invalid request",
        Kind::TooLarge => "Too large",
        Kind::Unauthenticated => "Not authenticated",
        Kind::Denied => "Not allowed",
        Kind::Conflict => "Conflict",
        Kind::Precondition => "Precondition failed",
        Kind::Mismatch => "Idempotency key used for another request",
        Kind::Exhausted => "Limit reached",
        Kind::DiskFull => "Disk full",
        Kind::Unavailable => "Not available now",
        Kind::Deadline => "Took too long",
        Kind::Cancelled => "Cancelled",
        Kind::Unsupported => "Not supported",
        Kind::Corrupt => "Stored data is damaged",
        Kind::Internal => "Internal error",
    }
}

/// The problem document as a JSON value, for bodies, events and WebSocket messages.
pub fn value(error: &Error, trace: Option<&str>) -> serde_json::Value {
    let mut problem = serde_json::json!({
        "type": format!("/docs/errors#{}", error.code),
        "title": title(error.kind),
        "status": status(error.kind).as_u16(),
        "detail": error.detail,
        "code": error.code,
    });
    if let Some(members) = problem.as_object_mut() {
        if !error.fix.is_empty() {
            members.insert("fix".into(), error.fix.as_ref().into());
        }
        if let Some(trace) = trace {
            members.insert("trace".into(), trace.into());
        }
    }
    problem
}

/// The response: status, problem document, and `Retry-After` or `WWW-Authenticate` where they belong.
pub fn response(error: &Error, trace: Option<&str>) -> Response<Body> {
    let mut response = Response::new(Body::from(value(error, trace).to_string()));
    *response.status_mut() = status(error.kind);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if error.kind == Kind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"switchboard\""));
    }
    let wait = match (error.kind, error.retry_after_ms) {
        (_, Some(ms)) => Some(ms.div_ceil(1000)),
        (Kind::Exhausted | Kind::Unavailable, None) => Some(1),
        _ => None,
    };
    if let Some(seconds) = wait {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_an_error_status() {
        for kind in Kind::ALL {
            assert!(status(kind).as_u16() >= 400, "{kind:?}");
        }
        assert_eq!(status(Kind::Cancelled).as_u16(), 499);
    }

    #[test]
    fn the_document_holds_what_is_known() {
        let error = Error::new(Kind::Exhausted, "SB0601", "full").fix("wait").retry_after(1500);
        let response = response(&error, Some("abc"));
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let Body::Full(body) = response.into_body() else { panic!("no body") };
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["type"], "/docs/errors#SB0601");
        assert_eq!(value["fix"], "wait");
        assert_eq!(value["trace"], "abc");
    }
}
