//! gRPC, gRPC-Web and Connect: messages in envelopes of a flag and a length.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use sb_board::call::{Code, Detail, Status};
use serde_json::Value;

use super::{
    Asked, Each, MAX_MESSAGE, broken, data, failed, not_called, not_understood, of_status, too_large, whole,
};
use crate::client::{Client, Request, Target};
use crate::error::{CliError, exit};

/// The messages of a request, each in its envelope.
fn enveloped(messages: &[Bytes]) -> Result<Bytes, CliError> {
    let mut out = BytesMut::with_capacity(messages.iter().map(|m| m.len() + 5).sum());
    for message in messages {
        out.put_u8(0);
        out.put_u32(u32::try_from(message.len()).map_err(|_| CliError::usage("the body is too large"))?);
        out.put_slice(message);
    }
    Ok(out.freeze())
}

/// The next envelope that is there as a whole: its flag and its content.
fn envelope(buffer: &mut BytesMut) -> Result<Option<(u8, Bytes)>, CliError> {
    let Some(head) = buffer.get(..5) else { return Ok(None) };
    let flag = head.first().copied().unwrap_or_default();
    let length = head.iter().skip(1).fold(0usize, |n, b| n << 8 | usize::from(*b));
    if length > MAX_MESSAGE {
        return Err(too_large());
    }
    if buffer.len() < 5 + length {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some((flag, buffer.split_to(length).freeze())))
}

/// Calls by Connect: unary methods as plain JSON, others in envelopes over HTTP/2.
pub(super) async fn connect(target: Target, asked: &Asked, each: Each<'_>) -> Result<(), CliError> {
    let method = asked.described.as_ref().map(|d| &d.method);
    let streams = method.is_some_and(|m| m.client_streaming || m.server_streaming);
    let timeout = asked.timeout.map(|t| t.as_millis().min(9_999_999_999).to_string());
    let request = Request::new(Method::POST, format!("/{}", asked.path))
        .header("connect-protocol-version", "1")
        .maybe("connect-timeout-ms", timeout.as_deref())
        .timeout(asked.guard);
    if !streams {
        let request = request.header("content-type", "application/json").body(asked.message());
        let answer = Client::new(target)?.read(&request).await?;
        if answer.status.is_success() {
            return each(&answer.body).map(|_| ());
        }
        return Err(match serde_json::from_slice::<Value>(&answer.body) {
            Ok(error) if error["code"].is_string() && error["type"].is_null() => connect_error(&error, asked),
            _ => not_called(answer.status, &answer.body),
        });
    }
    let client = Client::http2(target)?;
    let request =
        request.header("content-type", "application/connect+json").body(enveloped(&asked.messages)?);
    let (head, mut body) = client.open(&request).await?.into_parts();
    if !head.status.is_success() {
        return Err(not_called(head.status, &whole(body).await?));
    }
    let mut buffer = BytesMut::new();
    while let Some(piece) = data(&mut body).await? {
        buffer.extend_from_slice(&piece);
        while let Some((flag, message)) = envelope(&mut buffer)? {
            if flag & 2 != 0 {
                let end: Value =
                    serde_json::from_slice(&message).map_err(|why| not_understood(&why.to_string()))?;
                return if end["error"].is_object() {
                    Err(connect_error(&end["error"], asked))
                } else {
                    Ok(())
                };
            }
            if !each(&message)? {
                return Ok(());
            }
        }
    }
    Err(broken("the stream has no end"))
}

fn connect_error(error: &Value, asked: &Asked) -> CliError {
    let detail = |d: &Value| {
        let text = d["value"].as_str()?.trim_end_matches('=');
        let value = STANDARD_NO_PAD.decode(text).ok()?;
        Some(Detail { type_url: format!("type.googleapis.com/{}", d["type"].as_str()?), value: value.into() })
    };
    let details: Vec<Detail> = error["details"].as_array().into_iter().flatten().filter_map(detail).collect();
    let (code, message) =
        (error["code"].as_str().unwrap_or_default(), error["message"].as_str().unwrap_or_default());
    // The one name that is spelled otherwise.
    let code = if code == "canceled" { "cancelled" } else { code };
    failed(code, message, &details, asked.described.as_ref())
}

/// Calls by gRPC or gRPC-Web, with JSON in the envelopes.
pub(super) async fn grpc(client: &Client, kind: &str, asked: &Asked, each: Each<'_>) -> Result<(), CliError> {
    let timeout = asked.timeout.map(|t| format!("{}m", t.as_millis().min(99_999_999)));
    let request = Request::new(Method::POST, format!("/{}", asked.path))
        .header("content-type", kind)
        .header("te", "trailers")
        .maybe("grpc-timeout", timeout.as_deref())
        .body(enveloped(&asked.messages)?)
        .timeout(asked.guard);
    let (head, mut body) = client.open(&request).await?.into_parts();
    if head.headers.contains_key("grpc-status") {
        return ended(&head.headers, asked);
    }
    if !head.status.is_success() {
        return Err(not_called(head.status, &whole(body).await?));
    }
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(|why| broken(&why.to_string()))?.into_data() {
            Err(frame) => {
                if let Some(trailers) = frame.trailers_ref() {
                    return ended(trailers, asked);
                }
            }
            Ok(piece) => {
                buffer.extend_from_slice(&piece);
                while let Some((flag, message)) = envelope(&mut buffer)? {
                    if flag & 0x80 != 0 {
                        return ended(&trailers(&message), asked);
                    }
                    if !each(&message)? {
                        return Ok(());
                    }
                }
            }
        }
    }
    Err(CliError::new(exit::REFUSED, "SB0409", "the answer has no status"))
}

/// The trailers of gRPC-Web as headers.
fn trailers(bytes: &[u8]) -> HeaderMap {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let pairs = pairs.filter_map(|(name, value)| {
        Some((name.trim().to_ascii_lowercase().parse().ok()?, value.trim().parse().ok()?))
    });
    pairs.collect::<Vec<(http::HeaderName, http::HeaderValue)>>().into_iter().collect()
}

fn ended(headers: &HeaderMap, asked: &Asked) -> Result<(), CliError> {
    match status(headers) {
        None => Ok(()),
        Some(status) => Err(of_status(&status, asked.described.as_ref())),
    }
}

/// Why a call failed; `None` when it did not.
fn status(headers: &HeaderMap) -> Option<Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let number: u32 = text("grpc-status").parse().unwrap_or(2);
    if number == 0 {
        return None;
    }
    let packed = text("grpc-status-details-bin").trim_end_matches('=');
    let details = STANDARD_NO_PAD.decode(packed).unwrap_or_default();
    let details = Status::decode(&details).map(|s| s.details).unwrap_or_default();
    let code = Code::from_number(number).unwrap_or(Code::Unknown);
    Some(Status { details, ..Status::new(code, unescape(text("grpc-message"))) })
}

/// The percent-decoding of `grpc-message`.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        match (first, digits.and_then(|d| u8::from_str_radix(d, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = more.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let headers = trailers(b"grpc-status: 5\r\ngrpc-message: no%20such%F0%9F%98%80 100%\r\n");
        let read = status(&headers).unwrap();
        assert_eq!((read.code, read.message.as_str()), (Code::NotFound, "no such\u{1f600} 100%"));
        assert_eq!(status(&trailers(b"grpc-status:0\r\n")), None);
    }

    #[test]
    fn envelopes_of_any_cut() {
        let bytes = enveloped(&[Bytes::from_static(b"{}"), Bytes::from_static(b"{\"a\":1}")]).unwrap();
        for cut in 0..bytes.len() {
            let (mut buffer, mut got) = (BytesMut::new(), Vec::new());
            for piece in [&bytes[..cut], &bytes[cut..]] {
                buffer.extend_from_slice(piece);
                while let Some((_, message)) = envelope(&mut buffer).unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, ["{}", "{\"a\":1}"]);
        }
        assert!(envelope(&mut BytesMut::from(&b"\0\xff\xff\xff\xff"[..])).is_err());
    }
}
