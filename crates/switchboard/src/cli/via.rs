//! `call --via PROTOCOL`: the same call over another protocol, so that one can see that all give the same answer.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::client::{Client, Request, Target, clean, refusal};
use crate::error::{CliError, exit};

/// The protocols a call can go by.
pub const PROTOCOLS: [&str; 5] = ["rest", "connect", "grpc", "grpc-web", "json-rpc"];

/// No message of an answer is longer.
const MAX_MESSAGE: usize = 128 << 20;

/// Calls and gives the messages of the answer, each a JSON text.
pub async fn call(
    target: Target,
    protocol: &str,
    path: &str,
    body: &[u8],
    timeout: Option<std::time::Duration>,
) -> Result<Vec<Bytes>, CliError> {
    let body = if body.is_empty() { b"{}".as_slice() } else { body };
    match protocol {
        "connect" => connect(&Client::new(target)?, path, body, timeout).await,
        "json-rpc" => json_rpc(&Client::new(target)?, path, body, timeout).await,
        "grpc" => grpc(&Client::http2(target)?, "application/grpc+json", path, body, timeout).await,
        _ => grpc(&Client::new(target)?, "application/grpc-web+json", path, body, timeout).await,
    }
}

/// The exit code that says as much as the name of a status does.
fn failed(name: &str, message: &str) -> CliError {
    let name = name.to_ascii_uppercase();
    let code = match name.as_str() {
        "NOT_FOUND" | "UNIMPLEMENTED" => exit::MISSING,
        "UNAUTHENTICATED" | "PERMISSION_DENIED" => exit::DENIED,
        "DEADLINE_EXCEEDED" => exit::TIMEOUT,
        _ => exit::REFUSED,
    };
    CliError::new(code, "SB0409", format!("{name}: {}", clean(message)))
}

async fn connect(
    client: &Client,
    path: &str,
    body: &[u8],
    timeout: Option<std::time::Duration>,
) -> Result<Vec<Bytes>, CliError> {
    let request = Request::new(Method::POST, path)
        .header("content-type", "application/json")
        .header("connect-protocol-version", "1")
        .body(body.to_vec())
        .timeout(timeout);
    let answer = client.read(&request).await?;
    if answer.status.is_success() {
        return Ok(vec![answer.body]);
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(error) if error["code"].is_string() && error["type"].is_null() => Err(failed(
            error["code"].as_str().unwrap_or_default(),
            error["message"].as_str().unwrap_or_default(),
        )),
        _ => Err(refusal(answer.status, &answer.body)),
    }
}

async fn json_rpc(
    client: &Client,
    path: &str,
    body: &[u8],
    timeout: Option<std::time::Duration>,
) -> Result<Vec<Bytes>, CliError> {
    let params: Value = serde_json::from_slice(body)
        .map_err(|why| CliError::usage(format!("JSON-RPC needs JSON as the body: {why}")))?;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": path.trim_start_matches('/'), "params": params });
    let request = Request::new(Method::POST, "/rpc").json(&call).timeout(timeout);
    let answer = client.send(&request).await?.value()?;
    if answer["error"].is_object() {
        let error = &answer["error"];
        let name = error["data"]["status"].as_str().or(error["data"]["code"].as_str()).unwrap_or("UNKNOWN");
        return Err(failed(name, error["message"].as_str().unwrap_or_default()));
    }
    Ok(vec![answer["result"].to_string().into()])
}

async fn grpc(
    client: &Client,
    kind: &str,
    path: &str,
    body: &[u8],
    timeout: Option<std::time::Duration>,
) -> Result<Vec<Bytes>, CliError> {
    let mut message = BytesMut::with_capacity(body.len() + 5);
    message.put_u8(0);
    message.put_u32(u32::try_from(body.len()).map_err(|_| CliError::usage("the body is too large"))?);
    message.put_slice(body);
    let mut request = Request::new(Method::POST, path)
        .header("content-type", kind)
        .header("te", "trailers")
        .body(message.freeze())
        .timeout(timeout);
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", format!("{}m", timeout.as_millis().min(99_999_999)));
    }
    let answer = client.open(&request).await?;
    let (head, mut body) = answer.into_parts();
    let mut ended = head.headers.contains_key("grpc-status").then(|| status(&head.headers));
    if ended.is_none() && !head.status.is_success() {
        return Err(refusal(head.status, &[]));
    }
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|why| {
            CliError::new(exit::UNREACHABLE, "SB0001", format!("the connection broke: {why}"))
        })?;
        match frame.into_data() {
            Err(frame) => ended = frame.trailers_ref().map(status),
            Ok(data) => {
                buffer.extend_from_slice(&data);
                while let Some(head) = buffer.get(..5) {
                    let flag = head.first().copied().unwrap_or_default();
                    let length = head.iter().skip(1).fold(0usize, |n, b| n << 8 | usize::from(*b));
                    if length > MAX_MESSAGE {
                        return Err(CliError::new(
                            exit::REFUSED,
                            "SB0205",
                            "a message of the answer is too large",
                        ));
                    }
                    if buffer.len() < 5 + length {
                        break;
                    }
                    let piece = buffer.split_to(5 + length).freeze().slice(5..);
                    if flag & 0x80 == 0 {
                        messages.push(piece);
                    } else {
                        ended = Some(status(&trailers(&piece)));
                    }
                }
            }
        }
    }
    match ended {
        Some(None) => Ok(messages),
        Some(Some((name, message))) => Err(failed(&name, &message)),
        None => Err(CliError::new(exit::REFUSED, "SB0409", "the answer has no status")),
    }
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

/// Name and message of a failure; `None` for OK.
fn status(headers: &HeaderMap) -> Option<(String, String)> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let number: u32 = text("grpc-status").parse().unwrap_or(2);
    let code = sb_board::call::Code::from_number(number);
    (number != 0).then(|| (code.map_or("UNKNOWN", |c| c.name()).to_owned(), unescape(text("grpc-message"))))
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
        assert_eq!(status(&headers), Some(("NOT_FOUND".into(), "no such\u{1f600} 100%".into())));
        assert_eq!(status(&trailers(b"grpc-status:0\r\n")), None);
    }
}
