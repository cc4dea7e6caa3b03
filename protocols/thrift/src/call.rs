//! One message that asks for something, answered: what the byte streams and HTTP have in common.

use crate::map::status::{self, Application};
use crate::map::{self, Method, Plan};
use crate::wire::{Envelope, Event, Head, Incoming, Kind, Proto, Reader, WireError, Writer};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use sb_board::call::metadata::{append, metadata};
use sb_board::call::{Call, Codec, Services, Status};
use sb_board::request::timeout;
use sb_board::{Access, Board};
use sb_core::model::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The name of the protocol among those that services are shown to.
pub(crate) const NAME: &str = "thrift";
/// How long a caller waits that does not say so: Thrift has no deadlines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// What a message may have in Thrift beyond what it may have in the board: its head, and what is written longer.
const OVERHEAD: usize = 64 * 1024;

/// The largest message in Thrift.
pub(crate) fn limit(board: &Board) -> usize {
    board.max_message().saturating_add(OVERHEAD).min(i32::MAX as usize)
}

/// An answer on its way back.
pub(crate) struct Answer {
    /// The message, wrapped as its call was.
    pub bytes: Vec<u8>,
    /// Metadata, where the transport is HTTP.
    pub metadata: HeaderMap,
}

/// Who asks, and for what.
pub(crate) struct Asked<'a> {
    pub board: &'a Arc<Board>,
    /// The service that the URL names; others are not looked into.
    pub service: Option<&'a str>,
    /// HTTP headers, or the metadata of THeader.
    pub metadata: HeaderMap,
}

/// What is said instead of a result.
#[derive(Clone)]
enum Refusal {
    /// Nothing is known of a method.
    Application(Application, String),
    /// By an exception of the method.
    Status(Status),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Refusal::Status(status)
    }
}

fn application<T>(kind: Application, text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Application(kind, text.into()))
}

/// Answers a message; `None` when its sender does not want an answer.
pub(crate) async fn answer(
    asked: Asked<'_>,
    login: impl FnOnce(&HeaderMap) -> Result<Access, Error>,
    incoming: Incoming,
) -> Option<Answer> {
    let mut reader = Reader::new(&incoming.body, incoming.proto);
    let mut head = match reader.head() {
        Ok(head) => head,
        Err(error) => return Some(refuse(&incoming.envelope, incoming.proto, None, error)),
    };
    let oneway = head.kind == Kind::Oneway;
    let plan = map::plan(asked.board);
    let access = login(&asked.metadata);
    let found = match head.kind {
        Kind::Call | Kind::Oneway => find(&asked, access.as_ref().ok(), &plan, &head.name),
        Kind::Reply | Kind::Exception => {
            application(Application::InvalidMessageType, "a call was expected, and this is an answer")
        }
    };
    let limit = limit(asked.board);
    let done = match access {
        // Who may not come in is not told what there is.
        Err(error) => Err(Refusal::Status(error.into())),
        Ok(access) => match &found {
            Err(refusal) => Err(refusal.clone()),
            Ok(method) => {
                let done = perform(&plan, method, &access, &mut reader, asked.metadata).await;
                done.map(|(outcome, metadata)| (*method, outcome, metadata))
            }
        },
    };
    let method = found.ok();
    // As `TMultiplexedProcessor` has it, an answer bears the method's name alone.
    if let Some((_, name)) = head.name.split_once(':') {
        head.name = name.to_owned();
    }
    if oneway || method.is_some_and(|method| method.plain.as_ref().is_some_and(|plain| plain.oneway)) {
        return None;
    }
    match (done, method) {
        (Ok((method, outcome, metadata)), _) => {
            let mut writer = Writer::new(incoming.envelope.room(), incoming.proto);
            writer.head(&Head { kind: Kind::Reply, ..head.clone() });
            let written = outcome.and_then(|response| {
                plan.result(method, &response, &mut writer, limit).map_err(map::Fault::of_answer)
            });
            let bytes = match written {
                Ok(()) => writer.into_bytes(),
                Err(status) => fail(&plan, method, &status, &head, &incoming, limit),
            };
            Some(seal(&incoming.envelope, bytes, metadata))
        }
        (Err(Refusal::Status(status)), Some(method)) => {
            let bytes = fail(&plan, method, &status, &head, &incoming, limit);
            Some(seal(&incoming.envelope, bytes, HeaderMap::new()))
        }
        (Err(refusal), _) => {
            let (kind, text) = match refusal {
                Refusal::Application(kind, text) => (kind, text),
                Refusal::Status(status) => (status::application(status.code), status::text(&status)),
            };
            let bytes = exception(&incoming.envelope, incoming.proto, &head, kind, &text);
            Some(seal(&incoming.envelope, bytes, HeaderMap::new()))
        }
    }
}

/// Calls the method.
async fn perform(
    plan: &Plan,
    method: &Method,
    access: &Access,
    reader: &mut Reader<'_>,
    given: HeaderMap,
) -> Result<(Result<Bytes, Status>, HeaderMap), Refusal> {
    if method.streams {
        return application(
            Application::UnknownMethod,
            format!("{} streams, which Thrift has no way for; call it over another protocol", method.path),
        );
    }
    let request = match plan.request(method, reader, access.board().max_message()) {
        Ok(request) => request,
        Err(fault) => match fault.wire {
            Some(WireError::TooLarge(_)) | None => return Err(fault.of_request().into()),
            Some(_) => return application(Application::ProtocolError, fault.to_string()),
        },
    };
    let wanted = timeout(&given).map_err(Status::from)?.unwrap_or(PATIENCE);
    let call = Call {
        metadata: metadata(&given),
        deadline: Some(Instant::now() + wanted),
        ..Call::unary(method.path.as_str(), Codec::Proto, request.into())
    };
    let reply = access.call(call).await?;
    let (mut leading, message, trailing) = reply.one().await;
    leading = metadata(&leading);
    append(&trailing, &mut leading);
    Ok((message, leading))
}

/// Looks up what a message names: `method`, or `Service:method`.
fn find<'p>(
    asked: &Asked<'_>,
    access: Option<&Access>,
    plan: &'p Plan,
    name: &str,
) -> Result<&'p Method, Refusal> {
    let (service, name) = match name.split_once(':') {
        Some((service, name)) => (Some(service), name),
        None => (None, name),
    };
    let services = asked.board.services();
    let is = |full: &str, wanted: &str| full == wanted || full.rsplit('.').next() == Some(wanted);
    let shown = |path: &&String| {
        let Some(entry) = services.shown(path, NAME) else { return false };
        [service, asked.service].into_iter().flatten().all(|wanted| is(&entry.service.name, wanted))
    };
    let mut found: Vec<&String> = plan.named(name).iter().filter(shown).collect();
    // What this server offers of itself does not get in the way of the services it stands before.
    if found.len() > 1 && !found.iter().all(|path| is_own(path)) {
        found.retain(|path| !is_own(path));
    }
    // A full name is meant as such, also where it ends like another one.
    let exact = |path: &&&String| {
        let of = path.rsplit_once('/').map_or("", |(service, _)| service);
        service.or(asked.service) == Some(of)
    };
    let one = match &found[..] {
        [one] => Some(*one),
        [first, others @ ..] => match others.iter().all(|other| same(&services, first, other)) {
            true => Some(*first),
            false => found.iter().find(exact).copied(),
        },
        [] => None,
    };
    if let Some(method) = one.and_then(|path| plan.method(path)) {
        return Ok(method);
    }
    if found.is_empty() {
        return application(Application::UnknownMethod, unknown(asked, access, plan, service, name));
    }
    let names: Vec<String> = found
        .iter()
        .filter(|path| access.is_some_and(|access| access.may_call(path)))
        .take(5)
        .filter_map(|path| Some(format!("{}:{name}", path.rsplit_once('/')?.0)))
        .collect();
    application(
        Application::UnknownMethod,
        format!("several services have a method {name}; use TMultiplexedProtocol: {}", names.join(" or ")),
    )
}

/// Whether a method is one of this server's own services.
fn is_own(path: &str) -> bool {
    path.starts_with("switchboard.") || path.starts_with("google.longrunning.")
}

/// Whether it does not matter which of two methods is called: one was inherited from the other.
fn same(services: &Services, one: &str, other: &str) -> bool {
    let (Some(one), Some(other)) = (services.method(one), services.method(other)) else { return false };
    one.method.input == other.method.input
        && one.method.output == other.method.output
        && Arc::ptr_eq(&one.service.provider, &other.service.provider)
}

/// Names that are near are told to those who may call them.
fn unknown(
    asked: &Asked<'_>,
    access: Option<&Access>,
    plan: &Plan,
    service: Option<&str>,
    name: &str,
) -> String {
    let services = asked.board.services();
    let service = service.or(asked.service);
    let shown = |path: &str| {
        services.shown(path, NAME).is_some() && access.is_some_and(|access| access.may_call(path))
    };
    let text = match service {
        Some(service) => format!("there is no method {name} of a service {service}"),
        None => format!("there is no method {name}"),
    };
    let full = service.and_then(|wanted| {
        let mut all = services.services().iter().filter(|s| s.is_shown(NAME));
        all.find(|s| *s.name == *wanted || s.name.rsplit('.').next() == Some(wanted))
    });
    let near: Vec<String> = match full {
        Some(full) => {
            let near = services.near(&format!("{}/{name}", full.name));
            near.iter()
                .filter(|path| shown(path))
                .filter_map(|path| Some(plan.method(path)?.name.clone()))
                .collect()
        }
        None => plan
            .near(name)
            .into_iter()
            .filter(|path| shown(path))
            .map(|path| path.replace('/', ":"))
            .collect(),
    };
    if near.is_empty() { text } else { format!("{text}; did you mean {}?", near.join(" or ")) }
}

/// Answers by an exception of the method, or, where it has none for this, by `TApplicationException`.
fn fail(
    plan: &Plan,
    method: &Method,
    status: &Status,
    head: &Head,
    incoming: &Incoming,
    limit: usize,
) -> Vec<u8> {
    let mut writer = Writer::new(incoming.envelope.room(), incoming.proto);
    writer.head(&Head { kind: Kind::Reply, ..head.clone() });
    if plan.exception(method, status, &mut writer, limit) {
        writer.into_bytes()
    } else {
        let kind = status::application(status.code);
        exception(&incoming.envelope, incoming.proto, head, kind, &status::text(status))
    }
}

/// A message that could not be read, answered as well as that is possible.
pub(crate) fn refuse(envelope: &Envelope, proto: Proto, head: Option<Head>, error: WireError) -> Answer {
    let kind = match error {
        WireError::Transform(_) => Application::InvalidTransform,
        WireError::Protocol(_) => Application::InvalidProtocol,
        _ => Application::ProtocolError,
    };
    let head = head.unwrap_or(Head { kind: Kind::Exception, name: String::new(), seqid: 0, strict: true });
    let text = match error {
        WireError::TooLarge(_) => format!("RESOURCE_EXHAUSTED: {error}"),
        _ => error.to_string(),
    };
    seal(envelope, exception(envelope, proto, &head, kind, &text), HeaderMap::new())
}

/// The same for what the decoder refused.
pub(crate) fn refuse_event(event: Event) -> Option<Answer> {
    match event {
        Event::Refused { envelope, proto, head, error } => {
            let wanted = head.as_ref().is_none_or(|head| head.kind != Kind::Oneway);
            wanted.then(|| refuse(&envelope, proto, head, error))
        }
        Event::Message(_) => None,
    }
}

fn exception(envelope: &Envelope, proto: Proto, head: &Head, kind: Application, text: &str) -> Vec<u8> {
    let mut writer = Writer::new(envelope.room(), proto);
    writer.head(&Head { kind: Kind::Exception, ..head.clone() });
    status::write_application(kind, text, &mut writer);
    writer.into_bytes()
}

fn seal(envelope: &Envelope, bytes: Vec<u8>, metadata: HeaderMap) -> Answer {
    let bytes = match envelope {
        Envelope::Header(header) => {
            let mut header = header.answer();
            header.info = info(&metadata);
            Envelope::Header(Box::new(header)).seal(bytes)
        }
        other => other.seal(bytes),
    };
    Answer { bytes, metadata }
}

/// Headers as the metadata of THeader, which clients read into a map: several values of one name are one with commas, as HTTP has it.
pub(crate) fn info(headers: &HeaderMap) -> Vec<(String, String)> {
    let joined = |name: &HeaderName| {
        let values: Vec<&str> =
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| (name.as_str().to_owned(), values.join(", ")))
    };
    headers.keys().filter_map(joined).collect()
}

/// The metadata of THeader as headers: names and values that a header may have.
pub(crate) fn header_map<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) =
            (name.to_ascii_lowercase().parse::<HeaderName>(), value.parse::<HeaderValue>())
        {
            map.append(name, value);
        }
    }
    map
}
