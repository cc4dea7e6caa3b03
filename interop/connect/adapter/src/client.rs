//! The client under test: calls go through a board to the client half of the protocol, and out by this project's dialer.

use crate::{
    PACKAGE, Protos, Result, SERVICE, base64, board, headers_from, headers_to, items, receive, send,
};
use bytes::Bytes;
use http::HeaderMap;
use sb_board::call::{Call, Code, Codec, End, Part, Provider, Reply, Service, Status, Streaming};
use sb_board::mount::{BoxFuture, Target};
use sb_board::{Access, Board};
use sb_grpc::client::{Speech, Upstream};
use sb_grpc::wire::pack::Packing;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

/// Calls that run at the same time.
const AT_ONCE: usize = 24;
/// The metadata by which the board's provider knows which upstream is meant.
const ROUTE: &str = "adapter-route";

/// Does the calls that standard input describes, until it ends.
pub(crate) async fn run(protos: Arc<Protos>) -> Result<()> {
    let caller = Arc::new(Caller {
        protos,
        folder: tempfile::tempdir()?,
        boards: Mutex::default(),
        routes: Arc::default(),
    });
    let output = Arc::new(tokio::sync::Mutex::new(tokio::io::stdout()));
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut input = tokio::io::stdin();
    while let Some(bytes) = receive(&mut input).await? {
        let (caller, output) = (caller.clone(), output.clone());
        let slot = slots.clone().acquire_owned().await?;
        tokio::spawn(async move {
            let said = async {
                let request = caller.protos.decode("ClientCompatRequest", &bytes)?;
                let mut response = json!({ "testName": request["testName"] });
                match caller.perform(&request).await {
                    Ok(result) => response["response"] = result,
                    Err(error) => response["error"] = json!({ "message": error.to_string() }),
                }
                caller.protos.encode("ClientCompatResponse", &response)
            };
            match said.await {
                Ok(bytes) => drop(send(&mut *output.lock().await, &bytes).await),
                Err(error) => eprintln!("adapter: {error}"),
            }
            drop(slot);
        });
    }
    let _all = slots.acquire_many(AT_ONCE as u32).await?;
    Ok(())
}

/// All upstreams, by what makes them different.
type Routes = Arc<Mutex<HashMap<String, Arc<Upstream>>>>;

struct Caller {
    protos: Arc<Protos>,
    folder: tempfile::TempDir,
    /// By the limit for messages.
    boards: Mutex<HashMap<u64, Arc<Board>>>,
    routes: Routes,
}

/// The board's provider: hands each call to the upstream that its metadata names.
struct Router {
    routes: Routes,
}

impl Provider for Router {
    fn call(
        self: Arc<Self>,
        access: Access,
        mut call: Call,
    ) -> BoxFuture<std::result::Result<Reply, Status>> {
        let route = call.metadata.remove(ROUTE);
        let route = route.and_then(|r| Some(r.to_str().ok()?.to_owned())).unwrap_or_default();
        let upstream = lock(&self.routes).get(&route).cloned();
        Box::pin(async move {
            match upstream {
                Some(upstream) => upstream.call(access, call).await,
                None => Err(Status::new(Code::Internal, "adapter: no such route")),
            }
        })
    }

    fn codecs(&self) -> &'static [Codec] {
        // So that the codec under test is the one on the wire.
        &[Codec::Proto, Codec::Json]
    }

    fn target(&self) -> String {
        "the reference server".into()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a running call tells.
enum Event {
    Head(HeaderMap),
    Message(Bytes),
    End(End),
}

/// When to give up.
#[derive(Copy, Clone)]
enum Cancel {
    Never,
    BeforeClose,
    AfterClose(u64),
    AfterResponses(u64),
}

impl Caller {
    async fn board(&self, limit: u64) -> Result<Arc<Board>> {
        let known = lock(&self.boards).get(&limit).cloned();
        if let Some(board) = known {
            return Ok(board);
        }
        let made = board(limit)?;
        let service = Service {
            name: SERVICE.into(),
            provider: Arc::new(Router { routes: self.routes.clone() }),
            timeout: None,
            shown: None,
            json: sb_schema::Options::default(),
        };
        made.set_services(self.protos.schema.clone(), vec![service]).await?;
        Ok(lock(&self.boards).entry(limit).or_insert(made).clone())
    }

    /// The name of the upstream that a request wants; it is made when it is wanted first.
    fn route(&self, request: &Value) -> Result<String> {
        let h2 = request["httpVersion"] == 2;
        let (host, port) = (request["host"].as_str().unwrap_or_default(), request["port"].as_u64());
        let ca = base64(&request["serverTlsCert"])?;
        let identity = base64(&request["clientTlsCreds"]["cert"])?;
        let speech = match request["protocol"].as_u64() {
            Some(1) => Speech::Connect,
            Some(2) => Speech::Grpc,
            _ => Speech::Web,
        };
        let packing = match request["compression"].as_u64() {
            Some(2) => Packing::Gzip,
            Some(3) => Packing::Brotli,
            Some(4) => Packing::Zstd,
            Some(5) => Packing::Deflate,
            _ => Packing::Identity,
        };
        let tls = !ca.is_empty();
        let name =
            format!("{speech:?}-{h2}-{packing:?}-{tls}-{}-{}", !identity.is_empty(), port.unwrap_or(0));
        let mut routes = lock(&self.routes);
        if routes.contains_key(&name) {
            return Ok(name);
        }
        let scheme = match (speech, tls, h2) {
            (Speech::Grpc, false, _) => "grpc",
            (Speech::Grpc, true, _) => "grpcs",
            (Speech::Web, true, _) => "grpc-webs",
            (Speech::Web, false, false) => "grpc-web",
            (Speech::Web, false, true) => "grpc-web+h2",
            (Speech::Connect, true, _) => "connects",
            (Speech::Connect, false, false) => "connect",
            (Speech::Connect, false, true) => "connect+h2",
        };
        let file = |kind: &str, bytes: &[u8]| -> Result<PathBuf> {
            let path = self.folder.path().join(format!("{}-{kind}.pem", routes.len()));
            std::fs::write(&path, bytes)?;
            Ok(path)
        };
        let mut target =
            Target { url: format!("{scheme}://{host}:{}", port.unwrap_or(0)), ..Target::default() };
        if tls {
            target.ca = Some(file("ca", &ca)?);
        }
        if !identity.is_empty() {
            let key = base64(&request["clientTlsCreds"]["key"])?;
            target.identity = Some((file("cert", &identity)?, file("key", &key)?));
        }
        let upstream = Upstream::new(speech, &target, &sb_net::Dial, packing)?;
        routes.insert(name.clone(), upstream);
        Ok(name)
    }

    /// A message in the codec of the call.
    fn message(&self, any: &Value, codec: Codec) -> Result<Bytes> {
        match codec {
            Codec::Proto => Ok(self.protos.detail(any)?.value),
            Codec::Json => {
                let mut message = any.clone();
                if let Some(object) = message.as_object_mut() {
                    object.remove("@type");
                }
                Ok(message.to_string().into())
            }
        }
    }

    /// The payload of an answer.
    fn payload(&self, method: &str, codec: Codec, bytes: &[u8]) -> Result<Value> {
        let kind = format!("{method}Response");
        let proto = match codec {
            Codec::Proto => Bytes::copy_from_slice(bytes),
            Codec::Json => self.protos.encode(&kind, &serde_json::from_slice(bytes)?)?,
        };
        let mut response = self.protos.decode(&kind, &proto)?;
        Ok(response.get_mut("payload").map_or(json!({}), Value::take))
    }

    fn error(&self, status: &Status) -> Value {
        let details = status.details.iter().filter_map(|detail| self.protos.any(detail).ok());
        json!({
            "code": status.code.number(),
            "message": status.message,
            "details": details.collect::<Vec<_>>(),
        })
    }

    async fn perform(&self, request: &Value) -> Result<Value> {
        let board = self.board(request["messageReceiveLimit"].as_u64().unwrap_or(0)).await?;
        let route = self.route(request)?;
        let codec = if request["codec"] == 2 { Codec::Json } else { Codec::Proto };
        let method = request["method"].as_str().ok_or("no method")?.to_owned();
        let kind = request["streamType"].as_u64().unwrap_or(1);
        let streaming = Streaming { client: matches!(kind, 2 | 4 | 5), server: matches!(kind, 3..=5) };
        let cancel = match &request["cancel"] {
            Value::Null => Cancel::Never,
            c if c.get("beforeCloseSend").is_some() => Cancel::BeforeClose,
            c if c.get("afterNumResponses").is_some() => {
                Cancel::AfterResponses(c["afterNumResponses"].as_u64().unwrap_or(0))
            }
            c => Cancel::AfterClose(c["afterCloseSendMs"].as_u64().unwrap_or(0)),
        };
        let messages: Vec<Bytes> =
            items(&request["requestMessages"]).map(|any| self.message(any, codec)).collect::<Result<_>>()?;
        let mut metadata = headers_from(&request["requestHeaders"]);
        metadata.insert(ROUTE, route.parse()?);
        let (sender, queue) = mpsc::channel::<Bytes>(1);
        let stream = futures_util::stream::unfold(queue, |mut queue: mpsc::Receiver<Bytes>| async move {
            Some((Ok(queue.recv().await?), queue))
        });
        let timeout = request["timeoutMs"].as_u64().map(Duration::from_millis);
        let call = Call {
            method: format!("{SERVICE}/{method}").into(),
            streaming,
            codec,
            metadata,
            deadline: timeout.map(|t| Instant::now() + t),
            messages: Box::pin(stream),
        };
        let delay = Duration::from_millis(request["requestDelayMs"].as_u64().unwrap_or(0));
        let mut running = Running::begin(board.admin(), call);
        let mut outcome = Outcome::default();
        let total = messages.len();
        for (sent, message) in messages.into_iter().enumerate() {
            tokio::time::sleep(delay).await;
            if sender.send(message).await.is_err() {
                outcome.unsent = total - sent;
                break;
            }
            // Full duplex: an answer for each request.
            if kind == 5 {
                let before = outcome.messages.len();
                while !outcome.over() && outcome.messages.len() == before {
                    outcome.take(running.events.recv().await);
                }
                if outcome.over() {
                    break;
                }
                if matches!(cancel, Cancel::AfterResponses(n) if outcome.messages.len() as u64 == n) {
                    outcome.cancel(&mut running);
                    break;
                }
            }
        }
        if matches!(cancel, Cancel::BeforeClose) {
            outcome.cancel(&mut running);
        }
        drop(sender);
        if let Cancel::AfterClose(ms) = cancel {
            let until = Instant::now() + Duration::from_millis(ms);
            while !outcome.over() {
                match tokio::time::timeout_at(until, running.events.recv()).await {
                    Ok(event) => outcome.take(event),
                    Err(_) => outcome.cancel(&mut running),
                }
            }
        }
        while !outcome.over() {
            outcome.take(running.events.recv().await);
            if matches!(cancel, Cancel::AfterResponses(n) if outcome.messages.len() as u64 == n)
                && !outcome.over()
            {
                outcome.cancel(&mut running);
            }
        }
        let mut payloads = Vec::new();
        for message in &outcome.messages {
            match self.payload(&method, codec, message) {
                Ok(payload) => payloads.push(payload),
                Err(error) => {
                    let text = format!("not a response of {PACKAGE}: {error}");
                    outcome.end = Some(Status::new(Code::Internal, text).into());
                    break;
                }
            }
        }
        let end = outcome.end.unwrap_or_default();
        let mut result = json!({
            "responseHeaders": headers_to(&outcome.head),
            "payloads": payloads,
            "responseTrailers": headers_to(&end.trailers),
            "numUnsentRequests": outcome.unsent,
        });
        if let Some(status) = &end.status {
            result["error"] = self.error(status);
        }
        Ok(result)
    }
}

/// A call in a task of its own, so that it can be sent to, read from and given up at the same time.
struct Running {
    events: mpsc::Receiver<Event>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn begin(access: Access, call: Call) -> Running {
        let (tell, events) = mpsc::channel(1);
        let unary = !call.streaming.server;
        let task = tokio::spawn(async move {
            let reply = match access.call(call).await {
                Ok(reply) => reply,
                Err(status) => return drop(tell.send(Event::End(status.into())).await),
            };
            if unary {
                let (head, message, trailers) = reply.one().await;
                let _ = tell.send(Event::Head(head)).await;
                let status = match message {
                    Ok(message) => {
                        let _ = tell.send(Event::Message(message)).await;
                        None
                    }
                    Err(status) => Some(status),
                };
                return drop(tell.send(Event::End(End { status, trailers })).await);
            }
            let Reply { metadata, mut parts } = reply;
            let mut event = Event::Head(metadata);
            loop {
                if tell.send(event).await.is_err() {
                    return;
                }
                event = match futures_util::StreamExt::next(&mut parts).await {
                    Some(Part::Message(message)) => Event::Message(message),
                    Some(Part::End(end)) => Event::End(end),
                    None => return,
                };
            }
        });
        Running { events, task }
    }
}

#[derive(Default)]
struct Outcome {
    head: HeaderMap,
    messages: Vec<Bytes>,
    end: Option<End>,
    unsent: usize,
}

impl Outcome {
    fn over(&self) -> bool {
        self.end.is_some()
    }

    fn take(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Head(head)) => self.head = head,
            Some(Event::Message(message)) => self.messages.push(message),
            Some(Event::End(end)) => self.end = Some(end),
            None => self.end = Some(Status::new(Code::Internal, "adapter: the call told no end").into()),
        }
    }

    /// Drops the call, which is how one is cancelled here.
    fn cancel(&mut self, running: &mut Running) {
        running.task.abort();
        if self.end.is_none() {
            self.end = Some(Status::new(Code::Cancelled, "given up").into());
        }
    }
}
