//! Errors as HTTP answers: problem details (RFC 9457), the one match from [`Kind`] to a status, for every protocol that runs on HTTP.

use crate::call::{Detail, Status};
use crate::mount::Body;
use http::{HeaderValue, Response, StatusCode, header};
use sb_core::model::{Error, Kind};
use sb_schema::Schema;

/// The status of each kind, as docs/http.md §1 lists them.
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
        // Registered by nobody and understood by everybody: the client closed the request.
        Kind::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
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

/// A title that says more, for the codes that have one.
fn title_of(error: &Error) -> &'static str {
    match error.code {
        "SB0202" => "Malformed address or name",
        "SB0203" => "A wildcard where an address is needed",
        "SB0204" => "Not a cursor or handle of this server",
        "SB0206" => "No such path",
        "SB0207" => "Method not allowed",
        "SB0208" => "Unsupported content type",
        "SB0301" => "No such topic",
        "SB0303" => "No such group",
        "SB0304" => "No such message",
        "SB0305" => "The position is gone",
        "SB0310" => "No such method",
        "SB0401" => "No such job",
        "SB0402" => "The lease is over",
        "SB0403" => "The job has ended",
        "SB0405" => "The job failed",
        "SB0406" => "The job is not done",
        "SB0407" => "The job was cancelled",
        "SB0408" => "The job's deadline passed",
        "SB0409" => "The service failed the call",
        "SB0410" => "The service's answer cannot be shown",
        _ => title(error.kind),
    }
}

fn default_fix(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound => "Check the name, or create it first",
        Kind::Gone => "Begin at the first message that is kept: from=start",
        Kind::Exists => "Use another name, or change what is there",
        Kind::Invalid => "Compare the request with docs/http.md or /openapi.json",
        Kind::TooLarge => "Send less at once, or raise the limit",
        Kind::Unauthenticated => "Send a valid key or token: Authorization: Bearer TOKEN",
        Kind::Denied => "Ask for a role that grants it",
        Kind::Conflict => "Look at the present state and try what it allows",
        Kind::Precondition => "Read the present version and try again with its ETag",
        Kind::Mismatch => "Use a new Idempotency-Key for a new request",
        Kind::Exhausted | Kind::Unavailable => "Try again after the time in Retry-After",
        Kind::DiskFull => "Free disk space or shorten what is kept, then try again",
        Kind::Deadline => "Allow more time, or submit it as a job: Prefer: respond-async",
        Kind::Cancelled => "Submit it again if it is still wanted",
        Kind::Unsupported => "Use another way; the documentation names it",
        Kind::Corrupt => "Restore the data from a copy; the log names the file",
        Kind::Internal => "Report it with the trace id",
    }
}

/// The problem document as a JSON value, for bodies, events and WebSocket messages. Without a trace id of the caller's it gets one of
/// its own, by which a fault is found in the log.
pub fn value(error: &Error, trace: Option<&str>) -> serde_json::Value {
    let made;
    let trace = match trace {
        Some(trace) => trace,
        None => {
            made = new_trace();
            &made
        }
    };
    if matches!(error.kind, Kind::Internal | Kind::Corrupt) {
        tracing::error!(%error, trace, "a request failed by a fault of the server");
    }
    serde_json::json!({
        "type": format!("/docs/errors#{}", error.code),
        "title": title_of(error),
        "status": status(error.kind).as_u16(),
        "detail": error.detail,
        "code": error.code,
        "fix": if error.fix.is_empty() { default_fix(error.kind) } else { &error.fix },
        "trace": trace,
    })
}

/// A trace id as W3C Trace Context has them: 16 random bytes in hex.
fn new_trace() -> String {
    let mut bytes = [0; 16];
    // Without random numbers nothing else works either; the id is for people.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// The answer for an error: `application/problem+json`, never cached, with `Retry-After` and `WWW-Authenticate` where they belong.
pub fn response(error: &Error, trace: Option<&str>) -> Response<Body> {
    with_status(error, status(error.kind), trace)
}

/// The same with a status that no kind stands for: 405, 415, 426, 431.
pub fn with_status(error: &Error, status: StatusCode, trace: Option<&str>) -> Response<Body> {
    let mut problem = value(error, trace);
    problem["status"] = status.as_u16().into();
    let mut response = Response::new(Body::from(problem.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if matches!(error.kind, Kind::Exhausted | Kind::Unavailable) || error.retry_after_ms.is_some() {
        let seconds = error.retry_after_ms.unwrap_or(1_000).div_ceil(1_000).max(1);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.kind == Kind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"switchboard\""));
    }
    response
}

/// A failed call as a problem document. One of this server's own errors is shown as such; a service's status has `code` SB0409, the status'
/// name as `status_name`, and its details as `details`: ProtoJSON with `@type`, or base64 as `value` where the type is not known.
pub fn status_value(status: &Status, schema: &Schema, trace: Option<&str>) -> serde_json::Value {
    if let Some(error) = &status.error {
        return value(error, trace);
    }
    said_value(&Error::new(status.code.kind(), "SB0409", status.message.clone()), status, schema, trace)
}

/// An error with what a service said, its status' name and details, as a problem document.
fn said_value(error: &Error, status: &Status, schema: &Schema, trace: Option<&str>) -> serde_json::Value {
    let mut problem = value(error, trace);
    problem["status"] = status.code.http().as_u16().into();
    problem["status_name"] = status.code.name().into();
    if !status.details.is_empty() {
        problem["details"] = status.details.iter().map(|detail| detail_value(detail, schema)).collect();
    }
    problem
}

/// A typed detail out of JSON, in the form of [`detail_value`]; `None` when it is none.
pub fn detail_of(json: &serde_json::Value, schema: &Schema) -> Option<Detail> {
    let type_url = json.get("@type")?.as_str()?.to_owned();
    let options = sb_schema::Options { opaque_any: true, ..sb_schema::Options::default() };
    let any = schema.message("google.protobuf.Any")?;
    let bytes = sb_schema::json_to_proto(&any, json.to_string().as_bytes(), &options).ok()?;
    let value = sb_schema::wire::Fields::new(&bytes).filter_map(Result::ok).find_map(|field| match field {
        (2, sb_schema::wire::WireValue::Bytes(value)) => Some(bytes::Bytes::copy_from_slice(value)),
        _ => None,
    });
    Some(Detail { type_url, value: value.unwrap_or_default() })
}

/// A typed detail as JSON.
pub fn detail_value(detail: &Detail, schema: &Schema) -> serde_json::Value {
    use base64::Engine as _;
    let known = schema.message(detail.type_name()).and_then(|message| {
        let json = sb_schema::proto_to_json(&message, &detail.value, &sb_schema::Options::default()).ok()?;
        match serde_json::from_slice(&json).ok()? {
            serde_json::Value::Object(mut members) => {
                members.insert("@type".into(), detail.type_url.clone().into());
                Some(serde_json::Value::Object(members))
            }
            other => Some(serde_json::json!({ "@type": detail.type_url, "value": other })),
        }
    });
    known.unwrap_or_else(|| {
        let value = base64::engine::general_purpose::STANDARD.encode(&detail.value);
        serde_json::json!({ "@type": detail.type_url, "value": value })
    })
}

/// The answer for a failed call.
pub fn of_status(status: &Status, schema: &Schema, trace: Option<&str>) -> Response<Body> {
    if let Some(error) = &status.error {
        return response(error, trace);
    }
    of_said(&Error::new(status.code.kind(), "SB0409", status.message.clone()), status, schema, trace)
}

/// The answer for an error of ours that stands for what a service said, such as a job that failed.
pub fn of_said(error: &Error, status: &Status, schema: &Schema, trace: Option<&str>) -> Response<Body> {
    let mut response = with_status(error, status.code.http(), trace);
    *response.body_mut() = Body::from(said_value(error, status, schema, trace).to_string());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_status_a_title_and_a_remedy() {
        for kind in Kind::ALL {
            let answer = response(&Error::new(kind, "SB0999", "what happened"), Some("t"));
            assert!(answer.status().as_u16() >= 400);
            let Body::Full(bytes) = answer.into_body() else { panic!("a body") };
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(json["type"], "/docs/errors#SB0999");
            assert_eq!(json["trace"], "t");
            let own = value(&Error::new(kind, "SB0999", "what happened"), None);
            assert_eq!(own["trace"].as_str().unwrap().len(), 32);
            assert!(!json["title"].as_str().unwrap().is_empty() && !json["fix"].as_str().unwrap().is_empty());
        }
    }

    #[test]
    fn limits_say_when_to_try_again() {
        let limit = Error::new(Kind::Exhausted, "SB0601", "too many").retry_after(2_500);
        assert_eq!(response(&limit, None).headers()["retry-after"], "3");
        assert_eq!(
            response(&Error::new(Kind::Unavailable, "SB0701", "x"), None).headers()["retry-after"],
            "1"
        );
        assert!(!response(&Error::invalid("x"), None).headers().contains_key("retry-after"));
    }
}
