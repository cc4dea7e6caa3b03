//! We speak to them: services behind this server that speak gRPC, gRPC-Web or Connect.
//!
//! A call becomes one HTTP request. A caller that does not stream is read first, so that its request can be sent again to another endpoint; a stream
//! is pulled as the service takes it (`upload`), and the answer as the caller reads it (`download`). Dropping the reply resets the stream.

mod describe;
mod download;
mod unary;
mod upload;

pub use describe::describe;

use crate::wire::pack::Packing;
use crate::wire::{self, COMPRESSED, words};
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request};
use sb_board::Access;
use sb_board::call::metadata::append;
use sb_board::call::{Call, Code, Codec, Provider, Reply, Status};
use sb_board::mount::{Body, BoxFuture, Dialer, HttpUpstream, Target};
use sb_core::model::Result;
use std::sync::Arc;
use tokio::time::Instant;

/// Which protocol a service speaks.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Speech {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web, binary.
    Web,
    /// Connect.
    Connect,
}

/// A service that is called.
pub struct Upstream {
    http: Arc<dyn HttpUpstream>,
    speech: Speech,
    packing: Packing,
    target: String,
}

/// The provider of `grpc://` and `grpcs://`.
pub(crate) fn grpc(target: &Target, dialer: &Arc<dyn Dialer>) -> Result<Arc<dyn Provider>> {
    Ok(Upstream::new(Speech::Grpc, target, &**dialer, Packing::Identity)?)
}

/// The provider of `grpc-web://` and its sisters.
pub(crate) fn grpc_web(target: &Target, dialer: &Arc<dyn Dialer>) -> Result<Arc<dyn Provider>> {
    Ok(Upstream::new(Speech::Web, target, &**dialer, Packing::Identity)?)
}

/// The provider of `connect://` and its sisters.
pub(crate) fn connect(target: &Target, dialer: &Arc<dyn Dialer>) -> Result<Arc<dyn Provider>> {
    Ok(Upstream::new(Speech::Connect, target, &**dialer, Packing::Identity)?)
}

impl Upstream {
    /// A service at this target. Schemes that end in `s` are encrypted, those with `+h2` speak HTTP/2 in clear text; messages are sent, and asked
    /// for, in this packing. Nothing is connected yet. Errors: `INVALID` for a target that cannot be used.
    pub fn new(speech: Speech, target: &Target, dialer: &dyn Dialer, packing: Packing) -> Result<Arc<Self>> {
        let scheme = target.scheme();
        let h2 = speech == Speech::Grpc || scheme.ends_with("+h2");
        let http = dialer.http(target, scheme.ends_with('s'), h2)?;
        Ok(Arc::new(Upstream { http, speech, packing, target: target.url.clone() }))
    }

    /// Sends a call; its messages may have `limit` bytes, both ways.
    async fn exchange(&self, mut call: Call, limit: usize) -> std::result::Result<Reply, Status> {
        if self.speech == Speech::Connect && !call.streaming.client && !call.streaming.server {
            return unary::exchange(self, call, limit).await;
        }
        let mut request = self.request(&call)?;
        let content_type = content_type(self.speech, call.codec);
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if self.speech == Speech::Grpc {
            request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        }
        let ours = if self.speech == Speech::Connect {
            ["connect-content-encoding", "connect-accept-encoding"]
        } else {
            ["grpc-encoding", "grpc-accept-encoding"]
        };
        self.put_packing(request.headers_mut(), ours);
        let mut held = upload::Held::default();
        *request.body_mut() = if call.streaming.client {
            let (body, hold) = upload::stream(call.messages, self.packing);
            held = hold;
            body
        } else {
            Body::Full(self.envelope(&call.message().await?))
        };
        let deadline = call.deadline;
        let failed = |status| held.failure().unwrap_or(download::in_time(status, deadline));
        let sent = self.http.send(request).await.map_err(failed)?;
        let terms = download::Terms { speech: self.speech, codec: call.codec, limit, deadline };
        download::reply(terms, sent, held).await
    }

    /// A request with what all three have in common.
    fn request(&self, call: &Call) -> std::result::Result<Request<Body>, Status> {
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::try_from(format!("/{}", call.method))
            .map_err(|_| Status::new(Code::Unimplemented, "the method's name is no path"))?;
        let headers = request.headers_mut();
        append(&call.metadata, headers);
        let agent = concat!("switchboard/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        if let Some(at) = call.deadline {
            let left = at.saturating_duration_since(Instant::now());
            let (name, value) = match self.speech {
                Speech::Connect => ("connect-timeout-ms", words::put_connect_timeout(left)),
                _ => ("grpc-timeout", words::put_grpc_timeout(left)),
            };
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        match self.speech {
            Speech::Grpc => {}
            Speech::Web => {
                headers.insert(HeaderName::from_static("x-grpc-web"), HeaderValue::from_static("1"));
            }
            Speech::Connect => {
                let name = HeaderName::from_static("connect-protocol-version");
                headers.insert(name, HeaderValue::from_static("1"));
            }
        }
        Ok(request)
    }

    /// Says how messages are packed, and how answers may be.
    fn put_packing(&self, headers: &mut http::HeaderMap, [ours, theirs]: [&'static str; 2]) {
        let name = HeaderValue::from_static(self.packing.name());
        if self.packing != Packing::Identity {
            headers.insert(HeaderName::from_static(ours), name.clone());
        }
        headers.insert(HeaderName::from_static(theirs), name);
    }

    fn envelope(&self, message: &Bytes) -> Bytes {
        match self.packing.pack(message) {
            Some(packed) => wire::envelope(COMPRESSED, &packed),
            None => wire::envelope(0, message),
        }
    }
}

/// The content type of a call's messages, in envelopes.
fn content_type(speech: Speech, codec: Codec) -> &'static str {
    match (speech, codec) {
        (Speech::Grpc, Codec::Proto) => "application/grpc",
        (Speech::Grpc, Codec::Json) => "application/grpc+json",
        (Speech::Web, Codec::Proto) => "application/grpc-web+proto",
        (Speech::Web, Codec::Json) => "application/grpc-web+json",
        (Speech::Connect, Codec::Proto) => "application/connect+proto",
        (Speech::Connect, Codec::Json) => "application/connect+json",
    }
}

impl Provider for Upstream {
    fn call(self: Arc<Self>, access: Access, call: Call) -> BoxFuture<std::result::Result<Reply, Status>> {
        let limit = access.board().max_message();
        Box::pin(async move { self.exchange(call, limit).await })
    }

    fn codecs(&self) -> &'static [Codec] {
        // Protobuf is what every service of these protocols speaks; Connect's speak JSON as well, by its specification.
        match self.speech {
            Speech::Connect => &[Codec::Proto, Codec::Json],
            Speech::Grpc | Speech::Web => &[Codec::Proto],
        }
    }

    fn target(&self) -> String {
        self.target.clone()
    }

    fn healthy(&self) -> std::result::Result<(), String> {
        self.http.healthy()
    }
}
