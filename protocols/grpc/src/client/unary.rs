//! Connect's unary calls: the message is the body.

use super::Upstream;
use super::download::{broken, in_time, packing, tell, too_large, unpack};
use crate::map;
use crate::server::essence;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use sb_board::call::{Call, Code, Codec, End, Part, Reply, Status};
use sb_board::mount::{Body, ReplyBody};
use std::pin::Pin;

/// Errors may be as large as this even where messages must be smaller.
const MAX_ERROR: usize = 64 * 1024;

/// One call.
pub(super) async fn exchange(upstream: &Upstream, mut call: Call, limit: usize) -> Result<Reply, Status> {
    let mut request = upstream.request(&call)?;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(call.codec.content_type()));
    upstream.put_packing(headers, ["content-encoding", "accept-encoding"]);
    let message = call.message().await?;
    // The head says that the body is packed, so it is, worth it or not.
    let packed = upstream.packing.pack_any(&message);
    *request.body_mut() = Body::Full(packed.unwrap_or(message));
    let deadline = call.deadline;
    let sent = upstream.http.send(request).await.map_err(|status| in_time(status, deadline))?;
    let (head, body) = sent.response.into_parts();
    let (leading, trailing) = map::split_unary_trailers(&head.headers);
    let outcome = read(call.codec, head.status, &head.headers, body, limit).await;
    let outcome = outcome.map_err(|status| in_time(status, deadline));
    tell(sent.verdict, outcome.as_ref().err());
    let parts = match outcome {
        Ok(message) => vec![Part::Message(message), Part::End(End { status: None, trailers: trailing })],
        Err(status) => vec![Part::End(End { status: Some(status), trailers: trailing })],
    };
    Ok(Reply { metadata: leading, parts: Box::pin(stream::iter(parts)) })
}

async fn read(
    codec: Codec,
    status: StatusCode,
    headers: &HeaderMap,
    body: ReplyBody,
    limit: usize,
) -> Result<Bytes, Status> {
    let kind = essence(headers);
    let is = |wanted: &str| kind.eq_ignore_ascii_case(wanted);
    if status != StatusCode::OK {
        let code = map::code_of_http(status);
        let plain =
            || Status::new(code, format!("the service answered with HTTP status {}", status.as_u16()));
        if !is("application/json") {
            return Err(plain());
        }
        let most = limit.max(MAX_ERROR);
        let packing = packing(headers, "content-encoding").map_err(|_| plain())?;
        let bytes = unpack(packing, collect(body, most).await.map_err(|_| plain())?, most);
        let error = bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        return Err(error.and_then(|error| map::read_connect_error(&error, code)).unwrap_or_else(plain));
    }
    if !is(codec.content_type()) {
        let other = is("application/json") || is("application/proto");
        let code = if other { Code::Internal } else { Code::Unknown };
        let text = format!("the service answered with {kind:.60?} instead of {}", codec.content_type());
        return Err(Status::new(code, text));
    }
    unpack(packing(headers, "content-encoding")?, collect(body, limit).await?, limit)
}

async fn collect(mut body: ReplyBody, limit: usize) -> Result<Bytes, Status> {
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        if first.len().max(more.len()).saturating_add(data.len()) > limit {
            return Err(too_large(limit));
        }
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
