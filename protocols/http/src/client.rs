//! Calling services that speak only HTTP and JSON: the request that a `google.api.http` rule makes of a message, or `POST /{Service}/{Method}`
//! for methods without one.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderValue, Method, Request, header};
use http_body::Body as _;
use sb_board::Access;
use sb_board::call::metadata::metadata;
use sb_board::call::{Call, Code, Codec, Detail, End, Part, Provider, Reply, Status};
use sb_board::mount::{Body, BoxFuture, Dialer, HttpUpstream, ReplyBody, Target, Verdict};
use sb_core::model::Result;
use sb_schema::rest::{Binding, Match};
use sb_schema::{Options, Unknown};
use std::sync::Arc;

/// An upstream that speaks HTTP/JSON.
struct Upstream {
    url: String,
    http: Arc<dyn HttpUpstream>,
}

/// Makes the provider of an `http` or `https` target.
pub(crate) fn connect(target: &Target, dialer: &Arc<dyn Dialer>) -> Result<Arc<dyn Provider>> {
    let http = dialer.http(target, target.scheme() == "https", false)?;
    Ok(Arc::new(Upstream { url: target.url.clone(), http }))
}

impl Provider for Upstream {
    fn call(self: Arc<Self>, access: Access, call: Call) -> BoxFuture<std::result::Result<Reply, Status>> {
        Box::pin(async move { self.send(access, call).await })
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Proto]
    }

    fn target(&self) -> String {
        self.url.clone()
    }

    fn healthy(&self) -> std::result::Result<(), String> {
        self.http.healthy()
    }
}

/// What is read of an upstream's JSON: it may know more than its description.
fn lenient() -> Options {
    Options { unknown: Unknown::Ignore, ..Options::default() }
}

impl Upstream {
    async fn send(&self, access: Access, mut call: Call) -> std::result::Result<Reply, Status> {
        let Some(entry) = access.board().services().method(&call.method).cloned() else {
            return Err(Status::new(Code::Unimplemented, "the method is not described"));
        };
        if call.streaming.client {
            return Err(Status::new(
                Code::Unimplemented,
                "a service behind HTTP/JSON takes no stream of messages",
            ));
        }
        let message = call.message().await?;
        let described = Binding::of(&entry.method).ok().and_then(|bindings| bindings.into_iter().next());
        let binding =
            described.map_or_else(|| Match::default_path(&entry.method, "POST").binding().clone(), Arc::new);
        let invalid = |e: sb_schema::Error| Status::new(Code::InvalidArgument, e.to_string());
        let wanted = binding.expand(&message, &Options::default()).map_err(invalid)?;
        let mut request = Request::new(wanted.body.map_or(Body::Empty, Body::from));
        *request.method_mut() = Method::from_bytes(wanted.method.as_bytes())
            .map_err(|_| Status::new(Code::Internal, "the description names a malformed HTTP method"))?;
        *request.uri_mut() = wanted
            .target
            .parse()
            .map_err(|_| Status::new(Code::InvalidArgument, "the message makes no valid path"))?;
        *request.headers_mut() = call.metadata;
        let headers = request.headers_mut();
        if let Ok(kind) = HeaderValue::from_str(&wanted.content_type) {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        let accept =
            if call.streaming.server { "application/x-ndjson, application/json" } else { "application/json" };
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        let sent = self.http.send(request).await?;
        let (head, body) = sent.response.into_parts();
        let metadata = metadata(&head.headers);
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let most = access.board().max_message();
        if !head.status.is_success() {
            let body = collect(body, most).await.unwrap_or_default();
            match head.status.as_u16() {
                502..=504 => sent.verdict.bad(),
                _ => sent.verdict.good(),
            }
            return Ok(Reply { metadata, ..Reply::ended(failure(head.status, &body).into()) });
        }
        if call.streaming.server {
            let lines = Lines {
                body,
                buffer: BytesMut::new(),
                looked: 0,
                most,
                verdict: Some(sent.verdict),
                binding,
                over: false,
            };
            let parts = futures_util::stream::unfold(lines, |mut lines| async move {
                let part = lines.next().await?;
                Some((part, lines))
            });
            return Ok(Reply { metadata, parts: parts.boxed() });
        }
        let body = match collect(body, most).await {
            Ok(body) => body,
            Err(status) => {
                sent.verdict.bad();
                return Err(status);
            }
        };
        sent.verdict.good();
        let answer = binding.answer(&body, kind.as_deref(), &lenient()).map_err(|e| wrong_answer(&e))?;
        Ok(Reply { metadata, ..Reply::unary(answer) })
    }
}

fn wrong_answer(error: &sb_schema::Error) -> Status {
    Status::new(Code::Internal, format!("the service's answer is not as its description says: {error}"))
}

/// A refusal of the upstream: what it says of itself as a problem, a Google error or a Connect error; the status otherwise.
fn failure(status: http::StatusCode, body: &[u8]) -> Status {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let inner = if said["error"].is_object() { &said["error"] } else { &said };
    let name =
        [&inner["status_name"], &inner["status"], &inner["code"]].into_iter().filter_map(|v| v.as_str());
    let named = name.filter_map(|text| Code::from_name(&text.to_ascii_uppercase())).next();
    let number = inner["code"].as_u64().and_then(|n| Code::from_number(u32::try_from(n).ok()?));
    let message = [&inner["detail"], &inner["message"], &inner["title"]].into_iter().find_map(|v| v.as_str());
    let message = message.map_or_else(|| format!("the service answered {status}"), str::to_owned);
    let details = inner["details"].as_array().into_iter().flatten().take(64).filter_map(|detail| {
        use base64::Engine as _;
        let value = base64::engine::general_purpose::STANDARD.decode(detail["value"].as_str()?).ok()?;
        Some(Detail { type_url: detail["@type"].as_str()?.to_owned(), value: value.into() })
    });
    Status {
        details: details.collect(),
        ..Status::new(named.or(number).unwrap_or_else(|| Code::from_http(status)), message)
    }
}

async fn next(body: &mut ReplyBody) -> std::result::Result<Option<Bytes>, Status> {
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(Status::new(Code::Unavailable, format!("the service broke off: {error}")));
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn too_large(most: usize) -> Status {
    Status::new(Code::ResourceExhausted, format!("the service's answer is larger than {most} bytes"))
}

async fn collect(mut body: ReplyBody, most: usize) -> std::result::Result<Bytes, Status> {
    let mut all = BytesMut::new();
    while let Some(data) = next(&mut body).await? {
        if all.len() + data.len() > most {
            return Err(too_large(most));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

/// An answer of one message a line.
struct Lines {
    body: ReplyBody,
    buffer: BytesMut,
    /// So many bytes of it are known to have no line's end.
    looked: usize,
    most: usize,
    verdict: Option<Verdict>,
    binding: Arc<Binding>,
    over: bool,
}

impl Lines {
    async fn next(&mut self) -> Option<Part> {
        if self.over {
            return None;
        }
        match self.line().await {
            Ok(Some(message)) => Some(Part::Message(message)),
            Ok(None) => {
                self.over = true;
                if let Some(verdict) = self.verdict.take() {
                    verdict.good();
                }
                Some(Part::End(End::default()))
            }
            Err(status) => {
                self.over = true;
                match self.verdict.take() {
                    Some(verdict) if status.code == Code::Unavailable => verdict.bad(),
                    Some(verdict) => verdict.good(),
                    None => {}
                }
                Some(Part::End(status.into()))
            }
        }
    }

    async fn line(&mut self) -> std::result::Result<Option<Bytes>, Status> {
        loop {
            let new = self.buffer.get(self.looked..).unwrap_or_default();
            let end = new.iter().position(|b| *b == b'\n').map(|end| self.looked + end);
            self.looked = if end.is_some() { 0 } else { self.buffer.len() };
            let line = match end {
                Some(end) => self.buffer.split_to(end + 1),
                None if self.buffer.len() > self.most => return Err(too_large(self.most)),
                None => match next(&mut self.body).await? {
                    Some(data) => {
                        self.buffer.extend_from_slice(&data);
                        continue;
                    }
                    None if self.buffer.is_empty() => return Ok(None),
                    None => self.buffer.split(),
                },
            };
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            if let Some(status) = last_line(line) {
                return Err(status);
            }
            return self
                .binding
                .answer(line, Some("application/json"), &lenient())
                .map(Some)
                .map_err(|e| wrong_answer(&e));
        }
    }
}

/// The failure that ends a stream: `{"error":{…}}` and nothing else.
fn last_line(line: &[u8]) -> Option<Status> {
    if !line.starts_with(b"{\"error\":") {
        return None;
    }
    let said: serde_json::Value = serde_json::from_slice(line).ok()?;
    let only = said.as_object()?.len() == 1 && said["error"].is_object();
    only.then(|| failure(http::StatusCode::INTERNAL_SERVER_ERROR, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_understood() {
        let of =
            |status: u16, body: &str| failure(http::StatusCode::from_u16(status).unwrap(), body.as_bytes());
        let problem = of(
            404,
            r#"{"type":"x","title":"Not found","status":404,"detail":"no order 7","status_name":"NOT_FOUND"}"#,
        );
        assert_eq!((problem.code, &*problem.message), (Code::NotFound, "no order 7"));
        let google = of(
            400,
            r#"{"error":{"code":400,"message":"bad","status":"FAILED_PRECONDITION","details":[{"@type":"t/a.B","value":"eA=="}]}}"#,
        );
        assert_eq!((google.code, &*google.message), (Code::FailedPrecondition, "bad"));
        assert_eq!(google.details[0].type_name(), "a.B");
        let grpc_gateway = of(409, r#"{"code":6,"message":"twice","details":[]}"#);
        assert_eq!(grpc_gateway.code, Code::AlreadyExists);
        assert_eq!(of(503, "<html>").code, Code::Unavailable);
        assert!(last_line(br#"{"error":{"code":5,"message":"x"}}"#).is_some());
        assert!(last_line(br#"{"error":"text"}"#).is_none());
    }
}
