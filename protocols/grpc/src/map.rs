//! Between the three wires and the board's calls: metadata and headers, statuses and their forms. The only file that knows both.

use crate::wire::words;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sb_board::call::metadata::{append, is_metadata, metadata};
use sb_board::call::{Code, Detail, End, Status};
use sb_schema::Schema;
use serde_json::{Map, Value, json};

pub(crate) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(crate) const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// The prefix of trailers in Connect's unary responses.
const TRAILER: &str = "trailer-";

/// Base64 as it comes in `-bin` metadata and Connect's JSON: with and without padding.
const LENIENT: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The name of a code in Connect's JSON.
pub fn connect_name(code: Code) -> &'static str {
    match code {
        Code::Cancelled => "canceled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// What an HTTP status says of a call when nothing else does: the table of gRPC's `http-grpc-status-mapping.md`, which Connect shares.
pub(crate) fn code_of_http(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// The status of a reset HTTP/2 stream, as gRPC's table has it.
pub(crate) fn code_of_reset(reason: h2::Reason) -> Code {
    match reason {
        h2::Reason::REFUSED_STREAM => Code::Unavailable,
        h2::Reason::CANCEL => Code::Cancelled,
        h2::Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        h2::Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

// gRPC and gRPC-Web.

/// Writes how a call ended: `grpc-status` and what belongs to it, and the trailing metadata.
pub(crate) fn put_end(end: &End, out: &mut HeaderMap) {
    append(&end.trailers, out);
    let Some(status) = &end.status else {
        out.insert(STATUS, HeaderValue::from_static("0"));
        return;
    };
    out.insert(STATUS, HeaderValue::from(status.code.number()));
    if let Ok(message) = HeaderValue::try_from(words::percent_encode(&status.message))
        && !message.is_empty()
    {
        out.insert(MESSAGE, message);
    }
    if !status.details.is_empty()
        && let Ok(details) = HeaderValue::try_from(STANDARD_NO_PAD.encode(status.encode()))
    {
        out.insert(DETAILS, details);
    }
}

/// Reads how a call ended from trailers, or from headers that are trailers too. `None` when there is no `grpc-status`.
pub(crate) fn read_end(trailers: &HeaderMap) -> Option<End> {
    let number = trailers.get(STATUS)?.to_str().unwrap_or_default();
    let status = match number.trim().parse::<u32>() {
        Ok(0) => None,
        number => {
            let code = number.ok().and_then(Code::from_number).unwrap_or(Code::Unknown);
            let message =
                trailers.get(MESSAGE).map(|m| words::percent_decode(m.as_bytes())).unwrap_or_default();
            let mut status = Status::new(code, message);
            let details = trailers.get(DETAILS).and_then(|d| LENIENT.decode(d.as_bytes()).ok());
            if let Some(more) = details.and_then(|bytes| Status::decode(&bytes)) {
                status.details = more.details;
            }
            Some(status)
        }
    };
    Some(End { status, trailers: metadata(trailers) })
}

// Connect.

/// The error object of Connect. Details whose type the schema knows are shown as JSON, too.
pub(crate) fn connect_error(status: &Status, schema: Option<&Schema>) -> Value {
    let mut error = Map::new();
    error.insert("code".into(), connect_name(status.code).into());
    if !status.message.is_empty() {
        error.insert("message".into(), status.message.clone().into());
    }
    if !status.details.is_empty() {
        let details = status.details.iter().map(|detail| {
            let mut shown = json!({
                "type": detail.type_name(),
                "value": STANDARD_NO_PAD.encode(&detail.value),
            });
            let debug = schema.and_then(|s| s.message(detail.type_name())).and_then(|kind| {
                let text = sb_schema::proto_to_json(&kind, &detail.value, &sb_schema::Options::default());
                serde_json::from_slice::<Value>(&text.ok()?).ok()
            });
            if let (Some(debug), Some(shown)) = (debug, shown.as_object_mut()) {
                shown.insert("debug".into(), debug);
            }
            shown
        });
        error.insert("details".into(), details.collect());
    }
    Value::Object(error)
}

/// Reads an error object of Connect. Without a code that is one, it is `otherwise`. `None` when it is no object at all.
pub(crate) fn read_connect_error(error: &Value, otherwise: Code) -> Option<Status> {
    let error = error.as_object()?;
    let name = error.get("code").and_then(Value::as_str);
    let code = name.and_then(|name| Code::ALL.into_iter().find(|code| connect_name(*code) == name));
    let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
    let mut status = Status::new(code.unwrap_or(otherwise), message);
    let details = error.get("details").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    status.details = details
        .iter()
        .take(64)
        .filter_map(|detail| {
            let name = detail.get("type")?.as_str()?;
            let value = LENIENT.decode(detail.get("value")?.as_str()?).ok()?;
            let type_url =
                if name.contains('/') { name.to_owned() } else { format!("type.googleapis.com/{name}") };
            Some(Detail { type_url, value: value.into() })
        })
        .collect();
    Some(status)
}

/// The last message of a Connect stream.
pub(crate) fn connect_end(end: &End, schema: Option<&Schema>) -> Vec<u8> {
    let mut out = Map::new();
    if let Some(status) = &end.status {
        out.insert("error".into(), connect_error(status, schema));
    }
    let mut metadata = Map::new();
    for name in end.trailers.keys().filter(|name| is_metadata(name.as_str())) {
        let values =
            end.trailers.get_all(name).iter().map(|v| Value::from(String::from_utf8_lossy(v.as_bytes())));
        metadata.insert(name.as_str().to_owned(), values.collect());
    }
    if !metadata.is_empty() {
        out.insert("metadata".into(), metadata.into());
    }
    Value::Object(out).to_string().into_bytes()
}

/// Reads the last message of a Connect stream. What is not as it should be is an error of the service's.
pub fn read_connect_end(json: &[u8]) -> End {
    let malformed = |what: &str| {
        let text = format!("the service ended the stream with {what}");
        End::from(Status::new(Code::Internal, text))
    };
    let Ok(Value::Object(end)) = serde_json::from_slice::<Value>(json) else {
        return malformed("what is no JSON object");
    };
    let mut trailers = HeaderMap::new();
    match end.get("metadata") {
        None | Some(Value::Null) => {}
        Some(Value::Object(pairs)) => {
            for (name, values) in pairs {
                let Ok(name) = HeaderName::try_from(name.to_ascii_lowercase()) else { continue };
                let Some(values) = values.as_array() else { return malformed("metadata that is none") };
                let values = values.iter().filter_map(Value::as_str);
                for value in values.filter_map(|v| HeaderValue::from_str(v).ok()) {
                    if is_metadata(name.as_str()) {
                        trailers.append(&name, value);
                    }
                }
            }
        }
        Some(_) => return malformed("metadata that is none"),
    }
    let status = match end.get("error") {
        None | Some(Value::Null) => None,
        Some(error) => match read_connect_error(error, Code::Unknown) {
            None => return malformed("an error that is none"),
            status => status,
        },
    };
    End { status, trailers }
}

/// Appends trailing metadata to the headers of a unary response.
pub(crate) fn put_unary_trailers(trailers: &HeaderMap, out: &mut HeaderMap) {
    for (name, value) in trailers {
        if is_metadata(name.as_str())
            && let Ok(name) = HeaderName::try_from(format!("{TRAILER}{name}"))
        {
            out.append(name, value.clone());
        }
    }
}

/// Splits the headers of a unary response into leading and trailing metadata.
pub(crate) fn split_unary_trailers(headers: &HeaderMap) -> (HeaderMap, HeaderMap) {
    let (mut leading, mut trailing) = (HeaderMap::new(), HeaderMap::new());
    for (name, value) in headers {
        match name.as_str().strip_prefix(TRAILER).map(HeaderName::try_from) {
            Some(Ok(name)) => drop(trailing.append(name, value.clone())),
            Some(Err(_)) => {}
            None if !is_metadata(name.as_str()) => {}
            None => drop(leading.append(name, value.clone())),
        }
    }
    (leading, trailing)
}

/// The message of a Connect GET: plain or base64 of either alphabet, padded or not.
pub(crate) fn query_message(value: Vec<u8>, base64: bool) -> Option<Bytes> {
    if !base64 {
        return Some(value.into());
    }
    let standard: Vec<u8> = value
        .into_iter()
        .map(|b| match b {
            b'-' => b'+',
            b'_' => b'/',
            b => b,
        })
        .collect();
    LENIENT.decode(standard).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let mut status = Status::new(Code::NotFound, "no 100% ☺");
        status.details.push(Detail {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
            value: Bytes::from_static(&[10, 2, 8, 3]),
        });
        status
    }

    #[test]
    fn every_code_crosses_every_wire() {
        for code in Code::ALL {
            let end = End::from(Status { code, ..status() });
            let mut trailers = HeaderMap::new();
            put_end(&end, &mut trailers);
            assert_eq!(read_end(&trailers).unwrap().status, end.status);
            assert_eq!(read_connect_end(&connect_end(&end, None)).status, end.status);
            let shown = connect_error(end.status.as_ref().unwrap(), None);
            assert_eq!(read_connect_error(&shown, Code::Unknown), end.status);
        }
    }

    #[test]
    fn golden_trailers() {
        let mut trailers = HeaderMap::new();
        put_end(&End::default(), &mut trailers);
        assert_eq!(trailers.len(), 1);
        assert_eq!(trailers["grpc-status"], "0");
        let mut end = End::from(status());
        end.trailers.append("x-bin", HeaderValue::from_static("AQ"));
        end.trailers.append("grpc-status", HeaderValue::from_static("0"));
        let mut trailers = HeaderMap::new();
        put_end(&end, &mut trailers);
        assert_eq!(trailers["grpc-status"], "5");
        assert_eq!(trailers["grpc-message"], "no 100%25 %E2%98%BA");
        assert_eq!(trailers["x-bin"], "AQ");
        assert_eq!(trailers.len(), 4);
        trailers.insert("grpc-status", HeaderValue::from_static("77"));
        assert_eq!(read_end(&trailers).unwrap().status.unwrap().code, Code::Unknown);
        assert!(read_end(&HeaderMap::new()).is_none());
    }

    #[test]
    fn golden_connect_error() {
        let text = r#"syntax = "proto3"; package google.rpc; message RetryInfo { Delay d = 1; } message Delay { int64 s = 1; }"#;
        let schema = Schema::from_texts([("a.proto", text)]).unwrap();
        let end = End {
            status: Some(status()),
            trailers: HeaderMap::from_iter([(HeaderName::from_static("a"), HeaderValue::from_static("b"))]),
        };
        let shown: Value = serde_json::from_slice(&connect_end(&end, Some(&schema))).unwrap();
        let wanted = json!({
            "error": {
                "code": "not_found",
                "message": "no 100% ☺",
                "details": [{"type": "google.rpc.RetryInfo", "value": "CgIIAw", "debug": {"d": {"s": "3"}}}],
            },
            "metadata": {"a": ["b"]},
        });
        assert_eq!(shown, wanted);
        assert_eq!(connect_end(&End::default(), Some(&schema)), b"{}");
    }

    #[test]
    fn damaged_ends_are_errors() {
        for bad in ["", "null", "[]", "{\"error\": 1}", "{\"metadata\": 3}", "{\"metadata\": {\"a\": \"b\"}}"]
        {
            assert_eq!(read_connect_end(bad.as_bytes()).status.unwrap().code, Code::Internal, "{bad}");
        }
        let end = read_connect_end(
            br#"{"error": {"code": "nonsense", "details": [{"type": 3}, {"type": "a", "value": "?"}]}}"#,
        );
        assert_eq!(end.status, Some(Status::new(Code::Unknown, "")));
        assert_eq!(read_connect_end(br#"{"error": null, "metadata": null}"#).status, None);
    }

    #[test]
    fn unary_trailers() {
        let mut trailers = HeaderMap::new();
        trailers.append("x", HeaderValue::from_static("1"));
        trailers.append("x", HeaderValue::from_static("2"));
        let mut headers =
            HeaderMap::from_iter([(HeaderName::from_static("y"), HeaderValue::from_static("3"))]);
        put_unary_trailers(&trailers, &mut headers);
        assert_eq!(headers.get_all("trailer-x").iter().count(), 2);
        let (leading, trailing) = split_unary_trailers(&headers);
        assert_eq!((leading.len(), trailing), (1, trailers));
    }

    #[test]
    fn messages_in_queries() {
        for text in ["-_8", "-_8=", "+/8"] {
            assert_eq!(query_message(text.into(), true).unwrap(), &[0xfb, 0xff][..], "{text}");
        }
        assert_eq!(query_message(b"{}".to_vec(), false).unwrap(), "{}");
        assert!(query_message(b"?".to_vec(), true).is_none());
    }
}
