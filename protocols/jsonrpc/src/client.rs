//! The other direction: services that speak JSON-RPC over HTTP. Unary methods only; messages are JSON.
//!
//! A target is `jsonrpc://host:port/path` (`jsonrpcs` over TLS). What follows a `?` says how calls look: `method=` is the name that is sent, with
//! `{path}` (`package.Service/Method`, the default), `{service}` and `{method}` replaced; `params=list` sends fields by position.

use crate::map;
use crate::wire::{self, Response};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use sb_board::call::metadata::metadata;
use sb_board::call::{Call, Code, Codec, Provider, Reply, Status};
use sb_board::mount::{Body, BoxFuture, Dialer, HttpUpstream, Target};
use sb_board::{Access, web};
use sb_core::model::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A service that speaks JSON-RPC.
pub struct Upstream {
    http: Arc<dyn HttpUpstream>,
    url: String,
    /// The path that is posted to.
    path: String,
    /// The name that is sent.
    name: String,
    by_position: bool,
    next: AtomicU64,
}

/// Makes the provider of a target.
pub fn connect(target: &Target, dialer: &Arc<dyn Dialer>) -> Result<Arc<dyn Provider>> {
    let (url, query) = target.url.split_once('?').unwrap_or((&target.url, ""));
    let (mut name, mut by_position) = ("{path}".to_owned(), false);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("method", template)) if !template.is_empty() => name = template.to_owned(),
            Some(("params", "list")) => by_position = true,
            Some(("params", "object")) => by_position = false,
            _ => {
                return Err(Error::invalid(format!(
                    "the target {:?} has the parameter {pair:?}",
                    target.url
                ))
                .fix("Known are method={service}.{method} and params=list"));
            }
        }
    }
    let tls = target.scheme() == "jsonrpcs";
    let plain = Target { url: url.to_owned(), ..target.clone() };
    let (host, path) = plain.split_path();
    let http = dialer.http(&host, tls, false)?;
    Ok(Arc::new(Upstream {
        http,
        url: url.to_owned(),
        path: format!("/{}", path.trim_matches('/')),
        name,
        by_position,
        next: AtomicU64::new(1),
    }))
}

impl Provider for Upstream {
    fn call(self: Arc<Self>, access: Access, call: Call) -> BoxFuture<std::result::Result<Reply, Status>> {
        Box::pin(async move { self.send(&access, call).await })
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Json]
    }

    fn target(&self) -> String {
        self.url.clone()
    }

    fn healthy(&self) -> std::result::Result<(), String> {
        self.http.healthy()
    }
}

impl Upstream {
    fn method(&self, path: &str) -> String {
        let (service, method) = path.rsplit_once('/').unwrap_or(("", path));
        self.name.replace("{path}", path).replace("{service}", service).replace("{method}", method)
    }

    async fn send(&self, access: &Access, mut call: Call) -> std::result::Result<Reply, Status> {
        if call.streaming.client || call.streaming.server {
            let why = format!("{} streams, and {} speaks JSON-RPC, which cannot", call.method, self.url);
            return Err(Status::new(Code::Unimplemented, why));
        }
        let services = access.board().services();
        let message = call.message().await?;
        let entry = services.method(&call.method);
        let is_object = message.first() == Some(&b'{');
        let params = match entry {
            Some(entry)
                if self.by_position && is_object && !map::has_own_form(entry.method.input.full_name()) =>
            {
                map::in_order(&entry.method.input, &message)?
            }
            _ if is_object => message.to_vec(),
            _ => [b"[", &message[..], b"]"].concat(),
        };
        let id = self.next.fetch_add(1, Relaxed);
        let text = wire::call(id, &self.method(&call.method), &params);
        let mut request = http::Request::new(Body::from(text));
        *request.method_mut() = Method::POST;
        *request.uri_mut() =
            self.path.parse().map_err(|_| Status::new(Code::Internal, "the target's path is no path"))?;
        let headers = request.headers_mut();
        *headers = metadata(&call.metadata);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let mut answer = self.http.send(request).await?;
        let status = answer.response.status();
        let metadata = metadata(answer.response.headers());
        let limit = access.board().max_message().saturating_add(64 * 1024);
        let body = match web::collect(answer.response.body_mut(), limit).await {
            Ok(body) => body,
            Err(error) if error.code == "SB0205" => {
                answer.verdict.good();
                let why = format!("the answer of {} is larger than {limit} bytes", self.url);
                return Err(Status::new(Code::ResourceExhausted, why));
            }
            Err(error) => {
                answer.verdict.bad();
                return Err(Status::new(
                    Code::Unavailable,
                    format!("{} broke off: {}", self.url, error.detail),
                ));
            }
        };
        let result = match read(&body, id) {
            Ok(answered) => {
                answer.verdict.good();
                answered.map_err(|error| map::status(&error, services.schema()))
            }
            // What stands before the service answers in words of its own.
            Err(_) if !status.is_success() => {
                let code = Code::from_http(status);
                match status {
                    StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => answer.verdict.bad(),
                    _ => answer.verdict.good(),
                }
                Err(Status::new(code, format!("{} answered {status}", self.url)))
            }
            Err(why) => {
                answer.verdict.good();
                Err(Status::new(
                    Code::Internal,
                    format!("{} did not answer as JSON-RPC does: {why}", self.url),
                ))
            }
        };
        let reply = match result {
            Ok(result) => Reply::unary(result),
            Err(status) => Reply::ended(status.into()),
        };
        Ok(Reply { metadata, ..reply })
    }
}

/// The result or the error of the answer to this id.
fn read(
    body: &[u8],
    id: u64,
) -> std::result::Result<std::result::Result<Bytes, wire::ResponseError<'_>>, String> {
    let response: Response<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if response.jsonrpc.as_deref() != Some("2.0") {
        return Err("jsonrpc is not \"2.0\"".to_owned());
    }
    let same = response.id.is_some_and(|given| given.get() == id.to_string());
    match (response.result, response.error) {
        // An error about something whose id could not be told has none.
        (None, Some(error)) if same || response.id.is_none() => Ok(Err(error)),
        (Some(result), None) if same => Ok(Ok(Bytes::copy_from_slice(result.get().as_bytes()))),
        (Some(_), None) | (None, Some(_)) => Err("the id is another one".to_owned()),
        _ => Err("there is neither a result nor an error, or there are both".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked() {
        let ok = |text: &str| read(text.as_bytes(), 7).map(|r| r.map_err(|e| e.code)).unwrap().unwrap();
        assert_eq!(ok(r#"{"jsonrpc":"2.0","result":null,"id":7}"#), "null");
        assert_eq!(ok(r#"{"jsonrpc":"2.0","result":{"a":1},"error":null,"id":7,"extra":1}"#), r#"{"a":1}"#);
        let error = r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"x","data":[1]},"id":null}"#;
        assert_eq!(read(error.as_bytes(), 7).unwrap().unwrap_err().code, -32700);
        for bad in [
            "",
            "[]",
            r#"{"jsonrpc":"2.0","result":1,"id":8}"#,
            r#"{"jsonrpc":"2.0","result":1,"id":"7"}"#,
            r#"{"jsonrpc":"2.0","result":1}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"result":1,"id":7}"#,
            r#"{"jsonrpc":"2.0","result":1,"error":{"code":1},"id":7}"#,
        ] {
            assert!(read(bad.as_bytes(), 7).is_err(), "{bad}");
        }
    }
}
