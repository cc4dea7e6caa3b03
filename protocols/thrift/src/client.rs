//! The client's side: a service that speaks Thrift, called. Connections are pooled and hold one call at a time; over HTTP they are the HTTP pool's.

use crate::call::{header_map, info, limit};
use crate::map::{self, Method, Outcome, Plan, status};
use crate::wire::header::Header;
use crate::wire::{Decoder, Envelope, Event, Head, Incoming, Kind, Proto, Reader, WireError, Writer};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt as _;
use sb_board::Access;
use sb_board::call::metadata::metadata;
use sb_board::call::{Call, Code, Codec, Provider, Reply, Status};
use sb_board::mount::{Body, BoxFuture, Dialer, HttpUpstream, PipeUpstream, PooledPipe, Target};
use sb_core::model::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

/// The schemes of targets. What they leave open is said in the query: `?protocol=compact&transport=framed&multiplexed=true`.
pub const SCHEMES: &[&str] = &[
    "thrift",
    "thrifts",
    "thrift+framed",
    "thrifts+framed",
    "thrift+compact",
    "thrifts+compact",
    "thrift+framed+compact",
    "thrifts+framed+compact",
    "thrift+header",
    "thrifts+header",
    "thrift+http",
    "thrift+https",
];

/// How a service wants to be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    proto: Proto,
    transport: Transport,
    /// What stands before the method's name; `""` for the service's own name.
    multiplexed: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Buffered,
    Framed,
    Header,
    Http,
}

impl Way {
    fn read(scheme: &str, query: &str) -> std::result::Result<Way, String> {
        let mut way = Way { proto: Proto::Binary, transport: Transport::Buffered, multiplexed: None };
        for word in scheme.split('+') {
            match word {
                "framed" => way.transport = Transport::Framed,
                "header" => way.transport = Transport::Header,
                "http" | "https" => way.transport = Transport::Http,
                "compact" => way.proto = Proto::Compact,
                _ => {}
            }
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("protocol", "binary") => way.proto = Proto::Binary,
                ("protocol", "compact") => way.proto = Proto::Compact,
                ("transport", _) if way.transport == Transport::Http => {
                    return Err("HTTP is the transport already".into());
                }
                ("transport", "buffered") => way.transport = Transport::Buffered,
                ("transport", "framed") => way.transport = Transport::Framed,
                ("transport", "header") => way.transport = Transport::Header,
                ("multiplexed", "" | "true") => way.multiplexed = Some(String::new()),
                ("multiplexed", "false") => way.multiplexed = None,
                ("multiplexed", name) => way.multiplexed = Some(name.to_owned()),
                _ => {
                    return Err(format!(
                        "{pair:?} is none of protocol=binary|compact, transport=buffered|framed|header, multiplexed=true|NAME"
                    ));
                }
            }
        }
        Ok(way)
    }

    /// The name on the wire.
    fn name(&self, method: &Method) -> String {
        match self.multiplexed.as_deref() {
            None => method.name.clone(),
            Some("") => {
                let service = method.path.rsplit_once('/').map_or("", |(service, _)| service);
                format!("{}:{}", service.rsplit('.').next().unwrap_or(service), method.name)
            }
            Some(name) => format!("{name}:{}", method.name),
        }
    }
}

enum Upstream {
    Pipes(Arc<dyn PipeUpstream>),
    Http { upstream: Arc<dyn HttpUpstream>, path: String },
}

struct Service {
    way: Way,
    upstream: Upstream,
    url: String,
    seqid: AtomicI32,
}

/// Makes the provider of a target.
pub fn connect(target: &Target, dialer: &Arc<dyn Dialer>) -> Result<Arc<dyn Provider>> {
    let scheme = target.scheme();
    let (base, query) = target.url.split_once('?').unwrap_or((&target.url, ""));
    let way = Way::read(&scheme, query).map_err(|why| {
        Error::invalid(format!("the target {:?} cannot be used: {why}", target.url))
            .fix("thrift+framed://host:9090?protocol=compact&multiplexed=true, for example")
    })?;
    let target = Target { url: base.to_owned(), ..target.clone() };
    let tls = scheme.starts_with("thrifts") || scheme.ends_with("+https");
    let upstream = if way.transport == Transport::Http {
        let (host, path) = target.split_path();
        Upstream::Http { upstream: dialer.http(&host, tls, false)?, path }
    } else {
        Upstream::Pipes(dialer.pipes(&target, tls)?)
    };
    Ok(Arc::new(Service { way, upstream, url: base.to_owned(), seqid: AtomicI32::new(1) }))
}

impl Provider for Service {
    fn call(self: Arc<Self>, access: Access, call: Call) -> BoxFuture<std::result::Result<Reply, Status>> {
        Box::pin(async move { self.perform(&access, call).await })
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Proto]
    }

    fn target(&self) -> String {
        self.url.clone()
    }

    fn healthy(&self) -> std::result::Result<(), String> {
        match &self.upstream {
            Upstream::Pipes(pipes) => pipes.healthy(),
            Upstream::Http { upstream, .. } => upstream.healthy(),
        }
    }
}

/// One call, ready to be sent.
struct Asking<'a> {
    plan: &'a Plan,
    method: &'a Method,
    envelope: Envelope,
    bytes: Bytes,
    seqid: i32,
    limit: usize,
    oneway: bool,
}

impl Service {
    async fn perform(&self, access: &Access, mut call: Call) -> std::result::Result<Reply, Status> {
        let board = access.board();
        let plan = map::plan(board);
        let Some(method) = plan.method(&call.method) else {
            return Err(Status::new(Code::Unimplemented, format!("nothing describes {}", call.method)));
        };
        if method.streams {
            let why = format!("{} streams, which its Thrift service has no way for", method.path);
            return Err(Status::new(Code::Unimplemented, why));
        }
        let repeatable = board.services().method(&call.method).is_some_and(|entry| entry.repeatable());
        let request = call.message().await?;
        let left = timeout(&call);
        let asking = self.write(&plan, method, &call, &request, limit(board))?;
        match &self.upstream {
            Upstream::Http { upstream, path } => {
                over_http(&**upstream, path, call.metadata, left, asking).await
            }
            Upstream::Pipes(pipes) => {
                let incoming = exchange(&**pipes, &asking, repeatable).await?;
                let metadata = match &incoming {
                    Some(Incoming { envelope: Envelope::Header(header), .. }) => {
                        metadata(&header_map(header.info.iter()))
                    }
                    _ => HeaderMap::new(),
                };
                finish(&asking, incoming, metadata)
            }
        }
    }

    fn write<'a>(
        &self,
        plan: &'a Plan,
        method: &'a Method,
        call: &Call,
        request: &[u8],
        limit: usize,
    ) -> std::result::Result<Asking<'a>, Status> {
        let seqid = self.seqid.fetch_add(1, Relaxed) & i32::MAX;
        let envelope = match self.way.transport {
            Transport::Buffered | Transport::Http => Envelope::Plain,
            Transport::Framed => Envelope::Framed,
            Transport::Header => {
                let mut info = info(&call.metadata);
                info.extend(timeout(call).map(|left| ("sb-timeout".to_owned(), left)));
                let (flags, proto) = (0, self.way.proto);
                let header =
                    Header { flags, seqid: seqid as u32, proto, zlib: false, info, persistent: Vec::new() };
                Envelope::Header(Box::new(header))
            }
        };
        let oneway = method.plain.as_ref().is_some_and(|plain| plain.oneway);
        let kind = if oneway { Kind::Oneway } else { Kind::Call };
        let mut writer = Writer::new(envelope.room(), self.way.proto);
        writer.head(&Head { kind, name: self.way.name(method), seqid, strict: true });
        plan.parameters(method, request, &mut writer, limit).map_err(map::Fault::of_request)?;
        let bytes = envelope.seal(writer.into_bytes()).into();
        Ok(Asking { plan, method, envelope, bytes, seqid, limit, oneway })
    }
}

/// What is left until the deadline.
fn timeout(call: &Call) -> Option<String> {
    let left = call.deadline?.saturating_duration_since(Instant::now());
    Some(format!("{}ms", u32::try_from(left.as_millis()).unwrap_or(u32::MAX)))
}

fn unavailable(why: impl std::fmt::Display) -> Status {
    Status::new(Code::Unavailable, format!("the connection to the service broke: {why}"))
}

/// Sends the call over a connection of the pool and reads its answer. A connection that was used before may have been closed meanwhile: what
/// can be seen of that is looked at first, and where sending fails, or nothing comes back and the method may be repeated, another one is taken.
async fn exchange(
    pipes: &dyn PipeUpstream,
    asking: &Asking<'_>,
    repeatable: bool,
) -> std::result::Result<Option<Incoming>, Status> {
    loop {
        let mut pipe = pipes.take().await?;
        if pipe.used && stale(&mut pipe) {
            continue;
        }
        let used = pipe.used;
        if let Err(error) = send(&mut pipe, &asking.bytes).await {
            (pipe.give_back)(None, used);
            if used {
                continue;
            }
            return Err(unavailable(error));
        }
        if asking.oneway {
            (pipe.give_back)(Some(pipe.stream), true);
            return Ok(None);
        }
        let mut input = BytesMut::with_capacity(4096);
        match receive(&mut pipe, &mut input, asking).await {
            Ok(incoming) => {
                // What follows an answer belongs to nothing.
                let clean = input.is_empty();
                (pipe.give_back)(clean.then_some(pipe.stream), true);
                return Ok(Some(incoming));
            }
            Err(Broken::Closed(why)) => {
                let again = used && repeatable && input.is_empty();
                (pipe.give_back)(None, again);
                if again {
                    continue;
                }
                return Err(unavailable(why));
            }
            Err(Broken::Wrong(error)) => {
                (pipe.give_back)(None, !matches!(error, WireError::Malformed(_)));
                let code = match error {
                    WireError::TooLarge(_) => Code::ResourceExhausted,
                    _ => Code::Internal,
                };
                return Err(Status::new(code, format!("the service's answer cannot be read: {error}")));
            }
        }
    }
}

/// Whether a connection at rest has ended, or says something that nobody asked for.
fn stale(pipe: &mut PooledPipe) -> bool {
    let mut byte = [0; 1];
    pipe.stream.read(&mut byte).now_or_never().is_some()
}

async fn send(pipe: &mut PooledPipe, bytes: &[u8]) -> std::io::Result<()> {
    pipe.stream.write_all(bytes).await?;
    pipe.stream.flush().await
}

enum Broken {
    Closed(String),
    Wrong(WireError),
}

async fn receive(
    pipe: &mut PooledPipe,
    input: &mut BytesMut,
    asking: &Asking<'_>,
) -> std::result::Result<Incoming, Broken> {
    let mut decoder = Decoder::new(asking.limit);
    loop {
        match decoder.next(input).map_err(Broken::Wrong)? {
            Some(Event::Message(incoming)) => return Ok(incoming),
            Some(Event::Refused { error, .. }) => return Err(Broken::Wrong(error)),
            None => {}
        }
        input.reserve(16 * 1024);
        match pipe.stream.read_buf(input).await {
            Ok(0) => return Err(Broken::Closed("it was closed before the answer was whole".into())),
            Ok(_) => {}
            Err(error) => return Err(Broken::Closed(error.to_string())),
        }
    }
}

/// Makes the reply of an answer; `None` is that of a oneway method.
fn finish(
    asking: &Asking<'_>,
    incoming: Option<Incoming>,
    metadata: HeaderMap,
) -> std::result::Result<Reply, Status> {
    let Some(incoming) = incoming else { return Ok(Reply::unary(Bytes::new())) };
    let wrong =
        |why: String| Status::new(Code::Internal, format!("the service's answer cannot be read: {why}"));
    let mut reader = Reader::new(&incoming.body, incoming.proto);
    let head = reader.head().map_err(|error| wrong(error.to_string()))?;
    if head.seqid != asking.seqid {
        return Err(wrong(format!("it is numbered {}, and {} was asked", head.seqid, asking.seqid)));
    }
    match head.kind {
        Kind::Exception => {
            Err(status::read_application(&mut reader).map_err(|error| wrong(error.to_string()))?)
        }
        Kind::Reply => match asking.plan.outcome(asking.method, &mut reader, asking.limit) {
            Ok(Outcome::Good(response)) => Ok(Reply { metadata, ..Reply::unary(response.into()) }),
            Ok(Outcome::Failed(status)) => Err(status),
            Err(fault) => Err(fault.of_answer()),
        },
        Kind::Call | Kind::Oneway => Err(wrong("it is a call".into())),
    }
}

async fn over_http(
    upstream: &dyn HttpUpstream,
    path: &str,
    given: HeaderMap,
    left: Option<String>,
    asking: Asking<'_>,
) -> std::result::Result<Reply, Status> {
    let mut request = http::Request::new(Body::from(asking.bytes.clone()));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() =
        path.parse().map_err(|_| Status::new(Code::Internal, format!("{path:?} is no path of a URL")))?;
    let headers = request.headers_mut();
    headers.extend(given);
    let plain = HeaderValue::from_static("application/x-thrift");
    headers.insert(header::CONTENT_TYPE, plain.clone());
    headers.insert(header::ACCEPT, plain);
    if let Some(left) = left.and_then(|left| left.parse().ok()) {
        headers.insert("sb-timeout", left);
    }
    let reply = upstream.send(request).await?;
    let (head, mut body) = reply.response.into_parts();
    let mut input = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                reply.verdict.bad();
                return Err(unavailable(error));
            }
        };
        if let Ok(data) = frame.into_data() {
            input.extend_from_slice(&data);
            if input.len() > asking.limit {
                reply.verdict.good();
                let error = WireError::TooLarge(asking.limit);
                return Err(Status::new(Code::ResourceExhausted, format!("the service's answer: {error}")));
            }
        }
    }
    if matches!(head.status.as_u16(), 502 | 503) {
        reply.verdict.bad();
    } else {
        reply.verdict.good();
    }
    let decoded = match asking.oneway && input.is_empty() {
        true => Ok(None),
        false => Decoder::new(asking.limit).next(&mut input),
    };
    match decoded {
        Ok(Some(Event::Message(incoming)))
            if head.status.is_success() || incoming.envelope == asking.envelope =>
        {
            finish(&asking, Some(incoming), metadata(&head.headers))
        }
        Ok(None) if asking.oneway && head.status.is_success() => finish(&asking, None, HeaderMap::new()),
        _ if !head.status.is_success() => Err(Status::new(
            Code::from_http(head.status),
            format!("the service answered HTTP {}", head.status),
        )),
        Err(error) => {
            Err(Status::new(Code::Internal, format!("the service's answer cannot be read: {error}")))
        }
        _ => Err(Status::new(Code::Internal, "the service's answer is no Thrift message")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways() {
        let read = |scheme, query| Way::read(scheme, query);
        let way = |proto, transport, multiplexed: Option<&str>| {
            Ok(Way { proto, transport, multiplexed: multiplexed.map(str::to_owned) })
        };
        assert_eq!(read("thrift", ""), way(Proto::Binary, Transport::Buffered, None));
        assert_eq!(read("thrifts+framed+compact", ""), way(Proto::Compact, Transport::Framed, None));
        assert_eq!(
            read("thrift", "protocol=compact&transport=header&multiplexed"),
            way(Proto::Compact, Transport::Header, Some(""))
        );
        assert_eq!(
            read("thrift+http", "multiplexed=Shop"),
            way(Proto::Binary, Transport::Http, Some("Shop"))
        );
        for (scheme, query) in
            [("thrift", "protocol=json"), ("thrift", "x=y"), ("thrift+https", "transport=framed")]
        {
            assert!(read(scheme, query).is_err(), "{scheme} {query}");
        }
    }
}
