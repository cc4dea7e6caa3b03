//! The server under test: the suite's service as a provider of a board, behind this project's listener.

use crate::{
    PACKAGE, PROTOCOLS, Protos, Result, SERVICE, base64, board, headers_from, headers_to, items, receive,
    send,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderMap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sb_board::Access;
use sb_board::call::{Call, Code, Codec, End, Messages, Part, Provider, Reply, Service, Status};
use sb_board::mount::BoxFuture;
use sb_net::{Listener, NetLimits, Server};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Serves what standard input says.
pub(crate) async fn run(protos: Arc<Protos>) -> Result<()> {
    let mut input = tokio::io::stdin();
    let request = receive(&mut input).await?.ok_or("nothing was asked for")?;
    let request = protos.decode("ServerCompatRequest", &request)?;
    let board = board(request["messageReceiveLimit"].as_u64().unwrap_or(0))?;
    let service = Service {
        name: SERVICE.into(),
        provider: Arc::new(Conformance { protos: protos.clone() }),
        timeout: None,
        shown: None,
        json: sb_schema::Options::default(),
    };
    board.set_services(protos.schema.clone(), vec![service]).await?;
    let tls = if request["useTls"] == true { Some(Arc::new(tls(&request)?)) } else { None };
    let listener = Listener { addr: SocketAddr::from(([127, 0, 0, 1], 0)), only: Some("http"), tls };
    let server = Server::bind(board, PROTOCOLS, vec![listener], NetLimits::default())?;
    let port = server.local_addrs().first().ok_or("no address")?.port();
    let pem = if request["useTls"] == true { request["serverCreds"]["cert"].clone() } else { json!("") };
    let response = json!({ "host": "127.0.0.1", "port": port, "pemCert": pem });
    send(&mut tokio::io::stdout(), &protos.encode("ServerCompatResponse", &response)?).await?;
    // The suite closes the input at once, and ends the program by a signal.
    server.run(std::future::pending()).await;
    Ok(())
}

fn tls(request: &Value) -> Result<rustls::ServerConfig> {
    let cert = base64(&request["serverCreds"]["cert"])?;
    let key = base64(&request["serverCreds"]["key"])?;
    let chain = CertificateDer::pem_slice_iter(&cert).collect::<std::result::Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&key)?;
    let builder = rustls::ServerConfig::builder();
    let trusted = base64(&request["clientTlsCert"])?;
    let builder = if trusted.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = rustls::RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(&trusted) {
            roots.add(cert?)?;
        }
        builder.with_client_cert_verifier(
            rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build()?,
        )
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The suite's service.
struct Conformance {
    protos: Arc<Protos>,
}

/// A fault of the adapter, as the caller is told.
fn fault(error: impl std::fmt::Display) -> Status {
    Status::new(Code::Internal, format!("adapter: {error}"))
}

type Answer<T> = std::result::Result<T, Status>;

impl Provider for Conformance {
    fn call(self: Arc<Self>, _access: Access, call: Call) -> BoxFuture<Answer<Reply>> {
        Box::pin(async move {
            let name = call.method.rsplit('/').next().unwrap_or_default().to_owned();
            match name.as_str() {
                "Unary" | "IdempotentUnary" | "ClientStream" => self.one(&name, call).await,
                "ServerStream" => self.server_stream(call).await,
                "BidiStream" => self.bidi(call).await,
                _ => Err(Status::new(Code::Unimplemented, format!("{name} is not implemented"))),
            }
        })
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Proto]
    }

    fn target(&self) -> String {
        "the conformance service".into()
    }
}

/// What is told of a request beside its messages.
#[derive(Clone)]
struct Head {
    headers: Value,
    timeout_ms: Option<u64>,
}

impl Head {
    fn of(call: &Call) -> Head {
        let left = call.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        Head {
            headers: headers_to(&call.metadata),
            timeout_ms: left.map(|left| left.as_nanos().div_ceil(1_000_000) as u64),
        }
    }

    fn info(&self, requests: Vec<Value>) -> Value {
        let mut info = json!({ "requestHeaders": self.headers, "requests": requests });
        if let Some(ms) = self.timeout_ms {
            info["timeoutMs"] = ms.to_string().into();
        }
        info
    }
}

impl Conformance {
    /// The next request: its JSON, and the same as an `Any`.
    async fn next(&self, name: &str, messages: &mut Messages) -> Answer<Option<(Value, Value)>> {
        let Some(bytes) = messages.next().await else { return Ok(None) };
        let kind = format!("{name}Request");
        let request = self.protos.decode(&kind, &bytes?).map_err(fault)?;
        let mut any = request.clone();
        any["@type"] = format!("type.googleapis.com/{PACKAGE}.{kind}").into();
        Ok(Some((request, any)))
    }

    /// The error that a definition asks for; what the request was goes with it, if nothing has told it yet.
    fn error(&self, error: &Value, info: Option<Value>) -> Status {
        let code = error["code"].as_u64().and_then(|n| Code::from_number(n as u32)).unwrap_or(Code::Unknown);
        let mut status = Status::new(code, error["message"].as_str().unwrap_or_default());
        let info = info.map(|mut info| {
            info["@type"] = format!("type.googleapis.com/{PACKAGE}.ConformancePayload.RequestInfo").into();
            info
        });
        for any in items(&error["details"]).chain(info.as_ref()) {
            match self.protos.detail(any) {
                Ok(detail) => status.details.push(detail),
                Err(error) => return fault(error),
            }
        }
        status
    }

    fn response(&self, name: &str, data: Option<&Value>, info: Option<Value>) -> Answer<Bytes> {
        let mut payload = json!({});
        if let Some(data) = data.filter(|data| data.is_string()) {
            payload["data"] = data.clone();
        }
        if let Some(info) = info {
            payload["requestInfo"] = info;
        }
        self.protos.encode(&format!("{name}Response"), &json!({ "payload": payload })).map_err(fault)
    }

    /// Methods with one answer.
    async fn one(&self, name: &str, mut call: Call) -> Answer<Reply> {
        let head = Head::of(&call);
        let (mut definition, mut requests) = (Value::Null, Vec::new());
        if name == "ClientStream" {
            while let Some((request, any)) = self.next(name, &mut call.messages).await? {
                if requests.is_empty() {
                    definition = request["responseDefinition"].clone();
                }
                requests.push(any);
            }
        } else {
            let message = call.message().await?;
            let mut only: Messages = Box::pin(futures_util::stream::iter([Ok(message)]));
            if let Some((request, any)) = self.next(name, &mut only).await? {
                definition = request["responseDefinition"].clone();
                requests.push(any);
            }
        }
        let delay = definition["responseDelayMs"].as_u64().unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let info = head.info(requests);
        let trailers = headers_from(&definition["responseTrailers"]);
        let parts = match &definition["error"] {
            Value::Null => {
                let message = self.response(name, definition.get("responseData"), Some(info))?;
                vec![Part::Message(message), Part::End(End { status: None, trailers })]
            }
            error => vec![Part::End(End { status: Some(self.error(error, Some(info))), trailers })],
        };
        Ok(Reply {
            metadata: headers_from(&definition["responseHeaders"]),
            parts: Box::pin(futures_util::stream::iter(parts)),
        })
    }

    async fn server_stream(self: Arc<Self>, mut call: Call) -> Answer<Reply> {
        let head = Head::of(&call);
        let message = call.message().await?;
        let mut only: Messages = Box::pin(futures_util::stream::iter([Ok(message)]));
        let (request, any) =
            self.next("ServerStream", &mut only).await?.ok_or_else(|| fault("no request"))?;
        let definition = request["responseDefinition"].clone();
        let metadata = headers_from(&definition["responseHeaders"]);
        Ok(self.replay("ServerStream", definition, metadata, head, vec![any], None))
    }

    async fn bidi(self: Arc<Self>, mut call: Call) -> Answer<Reply> {
        let head = Head::of(&call);
        let Some((first, any)) = self.next("BidiStream", &mut call.messages).await? else {
            return Ok(Reply::ended(End::default()));
        };
        let definition = first["responseDefinition"].clone();
        let metadata = headers_from(&definition["responseHeaders"]);
        let mut requests = vec![any];
        if first["fullDuplex"] == true {
            return Ok(self.replay("BidiStream", definition, metadata, head, requests, Some(call.messages)));
        }
        while let Some((_, any)) = self.next("BidiStream", &mut call.messages).await? {
            requests.push(any);
        }
        Ok(self.replay("BidiStream", definition, metadata, head, requests, None))
    }

    /// Answers as a definition says. With `messages` each further answer waits for a request of its own, as long as there are any.
    fn replay(
        self: Arc<Self>,
        name: &'static str,
        definition: Value,
        metadata: HeaderMap,
        head: Head,
        requests: Vec<Value>,
        messages: Option<Messages>,
    ) -> Reply {
        let state = Replay { service: self, name, definition, head, requests, messages, sent: 0 };
        let parts = futures_util::stream::unfold(Some(state), |state| async move {
            let mut state = state?;
            Some(match state.next().await {
                Ok(Some(message)) => (Part::Message(message), Some(state)),
                Ok(None) => (Part::End(state.end()), None),
                Err(status) => (Part::End(status.into()), None),
            })
        });
        Reply { metadata, parts: Box::pin(parts) }
    }
}

struct Replay {
    service: Arc<Conformance>,
    name: &'static str,
    definition: Value,
    head: Head,
    /// Requests that no answer has told of.
    requests: Vec<Value>,
    messages: Option<Messages>,
    sent: usize,
}

impl Replay {
    async fn next(&mut self) -> Answer<Option<Bytes>> {
        if self.sent > 0
            && let Some(messages) = &mut self.messages
        {
            match self.service.next(self.name, messages).await? {
                Some((_, any)) => self.requests.push(any),
                // The caller has nothing more to say: the rest goes without.
                None => self.messages = None,
            }
        }
        let Some(data) = self.definition["responseData"].get(self.sent).cloned() else { return Ok(None) };
        let requests = std::mem::take(&mut self.requests);
        let info = match self.sent {
            0 => Some(self.head.info(requests)),
            _ if requests.is_empty() => None,
            _ => Some(json!({ "requests": requests })),
        };
        let delay = self.definition["responseDelayMs"].as_u64().unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        self.sent += 1;
        self.service.response(self.name, Some(&data), info).map(Some)
    }

    fn end(&mut self) -> End {
        let trailers = headers_from(&self.definition["responseTrailers"]);
        let info = (self.sent == 0).then(|| self.head.info(std::mem::take(&mut self.requests)));
        let status = match &self.definition["error"] {
            Value::Null => None,
            error => Some(self.service.error(error, info)),
        };
        End { status, trailers }
    }
}
