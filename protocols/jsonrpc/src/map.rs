//! Between requests and calls: names of methods, params, the extension `sb`, metadata, and the one match from codes to codes. The only file that
//! knows both.

use crate::wire::{self, Fault, Object, Params};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use sb_board::access::AsJob;
use sb_board::call::metadata::is_metadata;
use sb_board::call::services::{Entry, Services};
use sb_board::call::{Code, Detail, Status};
use sb_board::problem;
use sb_core::jobs::JobView;
use sb_core::model::{Error, Kind};
use sb_schema::{Message, Schema};
use serde::Deserialize;
use std::borrow::Cow;
use std::time::Duration;

/// The name in the table of protocols and in `as = [...]`.
pub const NAME: &str = "json-rpc";

// Methods.

/// The path of a method, from the name a caller gave: `package.Service/Method` or `package.Service.Method`; below `/rpc/{service}` also `Method`.
pub fn path(name: &str, service: Option<&str>) -> String {
    match service {
        Some(service) => match name.strip_prefix(service).and_then(|rest| rest.strip_prefix(['/', '.'])) {
            Some(method) => format!("{service}/{method}"),
            None => format!("{service}/{name}"),
        },
        None if name.contains('/') => name.to_owned(),
        None => match name.rsplit_once('.') {
            Some((service, method)) => format!("{service}/{method}"),
            None => name.to_owned(),
        },
    }
}

/// Whether a text is `service/method`, both of letters, digits, `_`, `-` and, in the service, single dots between them.
pub fn is_path(path: &str) -> bool {
    let word =
        |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    path.split_once('/')
        .is_some_and(|(service, method)| service.split('.').all(word) && method.split('.').all(word))
        && path.len() <= wire::MAX_METHOD
}

/// `Method not found`, with names like it.
pub fn not_found(services: &Services, path: &str) -> Fault {
    // Who mistypes a name rarely mistypes its first letter.
    let initial =
        |path: &str| path.rsplit('/').next().and_then(|m| m.chars().next()).map(|c| c.to_ascii_lowercase());
    let near: Vec<String> = services
        .near(path)
        .into_iter()
        .filter(|known| initial(known) == initial(path) && services.shown(known, NAME).is_some())
        .map(|known| known.to_string())
        .collect();
    let data = (!near.is_empty()).then(|| {
        let fix = format!("Did you mean {}?", near.join(" or "));
        serde_json::json!({ "code": Code::Unimplemented.name(), "error": "SB0310", "fix": fix }).to_string()
    });
    Fault { code: -32601, message: "Method not found".into(), data }
}

// Params.

/// The JSON of the request message.
///
/// By name the object is the message. By position the values are its fields in the order in which they are declared; `null` leaves one out, and so
/// does the end of the list. A type whose JSON is no object (`google.protobuf.Int32Value`, `Timestamp`, `ListValue` …) is the one value of the list. Of a method that nobody has described, params are the message.
pub fn message(kind: Option<&Message>, params: &Params<'_>) -> Result<Bytes, Status> {
    let own = kind.is_some_and(|kind| has_own_form(kind.full_name()));
    match params {
        Params::None if own => Ok(Bytes::from_static(b"null")),
        Params::None => Ok(Bytes::from_static(b"{}")),
        Params::Named(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Params::Positional(values) => positional(kind, own, values),
    }
}

fn positional(kind: Option<&Message>, own: bool, values: &[&str]) -> Result<Bytes, Status> {
    let Some(kind) = kind else {
        // Nobody has said what the message looks like: workers get it as it came.
        return Ok(format!("[{}]", values.join(",")).into());
    };
    if own {
        return match values {
            [value] => Ok(Bytes::copy_from_slice(value.as_bytes())),
            _ => {
                Err(invalid(format!("{} is one value, and {} were given", kind.full_name(), values.len()))
                    .into())
            }
        };
    }
    let fields = kind.fields();
    if values.len() > fields.len() {
        let names: Vec<&str> = kind.fields().map(|field| field.json_name()).collect();
        return Err(invalid(format!(
            "there are {} params, and at most {} are taken",
            values.len(),
            names.len()
        ))
        .fix(format!("They are in order: {}", names.join(", ")))
        .into());
    }
    let mut out = Vec::with_capacity(values.iter().map(|v| v.len() + 24).sum());
    out.push(b'{');
    for (field, value) in fields.zip(values) {
        if *value == "null" {
            continue;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(wire::quoted(field.json_name()).as_bytes());
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'}');
    Ok(out.into())
}

/// The other way: the params of a request message, for a service that wants them in this order. Fields that are missing at the end are left off.
pub fn in_order(kind: &Message, json: &[u8]) -> Result<Vec<u8>, Status> {
    let Object(members) = serde_json::from_slice(json)
        .map_err(|error| Status::new(Code::Internal, format!("the request is no object: {error}")))?;
    let mut values: Vec<&str> = kind
        .fields()
        .map(|field| {
            let found = members.iter().find(|(name, _)| name == field.json_name() || name == field.name());
            found.map_or("null", |(_, value)| *value)
        })
        .collect();
    while values.last() == Some(&"null") {
        values.pop();
    }
    Ok(format!("[{}]", values.join(",")).into_bytes())
}

/// Types whose JSON need not be an object.
pub fn has_own_form(name: &str) -> bool {
    name.strip_prefix("google.protobuf.")
        .is_some_and(|name| name.ends_with("Value") || matches!(name, "Timestamp" | "Duration" | "FieldMask"))
}

fn invalid(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Kind::Invalid, "SB0201", detail)
}

// The extension.

/// The member `sb` of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extension {
    /// Submit it as a job.
    #[serde(rename = "async")]
    pub as_job: bool,
    /// How long the answer to a submission may wait for the job's end.
    wait: Option<Span>,
    /// How long the caller waits; for a job, how long it may take.
    timeout: Option<Span>,
    /// Makes a repetition answer with the same job.
    idempotency_key: Option<String>,
    /// Jobs with the same key run one after another.
    key: Option<String>,
    /// Metadata of the call, beside what comes as headers.
    metadata: std::collections::BTreeMap<String, String>,
}

/// `250ms`, `5s`, `10m`, or a number of seconds.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Seconds(u32),
            Text(String),
        }
        let given = Given::deserialize(from)?;
        let span = match &given {
            Given::Seconds(seconds) => Some(Duration::from_secs(u64::from(*seconds))),
            Given::Text(text) => sb_board::request::parse_duration(text).map(Duration::from_millis),
        };
        span.map(Span)
            .ok_or_else(|| serde::de::Error::custom("a duration is written as 250ms, 5s, 10m or 1h"))
    }
}

impl Extension {
    /// Reads it.
    pub fn read(text: Option<&str>) -> Result<Extension, Fault> {
        let Some(text) = text else { return Ok(Extension::default()) };
        if !text.trim_start().starts_with('{') {
            return Err(Fault::invalid(Some("the member sb is no object")));
        }
        serde_json::from_str(text).map_err(|error| Fault::invalid(Some(&format!("the member sb: {error}"))))
    }

    /// How long the caller waits.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(|span| span.0)
    }

    /// How long the answer to a submission waits, in milliseconds.
    pub fn wait_ms(&self) -> u64 {
        self.wait.map_or(0, |span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX))
    }

    /// Adds its metadata.
    pub fn add_metadata(&self, map: &mut HeaderMap) -> Result<(), Fault> {
        for (name, value) in &self.metadata {
            let wrong = || {
                Fault::invalid(Some(&format!(
                    "the metadata {name:.80?} is no header, or one of the transport"
                )))
            };
            let header = name.parse::<HeaderName>().map_err(|_| wrong())?;
            let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            if !is_metadata(header.as_str()) {
                return Err(wrong());
            }
            map.append(header, value);
        }
        Ok(())
    }

    /// How the call becomes a job.
    pub fn job(&self) -> AsJob {
        let timeout_ms = self.timeout.map(|span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX));
        let key = self.key.as_ref().map(|key| Bytes::copy_from_slice(key.as_bytes()));
        AsJob { idempotency: self.idempotency_key.clone(), timeout_ms, key, due_ms: None }
    }
}

/// The handle of a job: `{"job": …, "method": …, "state": …, "url": …}` with its outcome, when there is one.
pub fn job(job: &JobView, outcome: Option<Result<Bytes, Fault>>) -> Vec<u8> {
    let mut out = format!(
        "{{\"job\": \"{}\", \"method\": {}, \"state\": \"{}\", \"url\": \"/jobs/{}\"",
        job.id,
        wire::quoted(&job.method),
        job.state.name(),
        job.id
    )
    .into_bytes();
    match outcome {
        None => {}
        Some(Ok(result)) => {
            out.extend_from_slice(b", \"result\": ");
            out.extend_from_slice(&result);
        }
        Some(Err(fault)) => out.extend_from_slice(format!(", \"error\": {}", fault.text()).as_bytes()),
    }
    out.push(b'}');
    out
}

// Metadata.

/// A call's trailing metadata as headers: their names begin with `trailer-`.
pub fn trailers(trailers: &HeaderMap, headers: &mut HeaderMap) {
    for (name, value) in trailers {
        if let Ok(name) = format!("trailer-{name}").parse::<HeaderName>() {
            headers.append(name, value.clone());
        }
    }
}

// Errors.

/// The code of each code: what the specification has a number for, and -32000 less gRPC's number for the rest.
pub fn code(code: Code) -> i64 {
    match code {
        Code::InvalidArgument => -32602,
        Code::Internal => -32603,
        Code::Cancelled => -32001,
        Code::Unknown => -32002,
        Code::DeadlineExceeded => -32004,
        Code::NotFound => -32005,
        Code::AlreadyExists => -32006,
        Code::PermissionDenied => -32007,
        Code::ResourceExhausted => -32008,
        Code::FailedPrecondition => -32009,
        Code::Aborted => -32010,
        Code::OutOfRange => -32011,
        Code::Unimplemented => -32012,
        Code::Unavailable => -32014,
        Code::DataLoss => -32015,
        Code::Unauthenticated => -32016,
    }
}

/// The code of a number that a service answered with; what is the service's own is `None`.
pub fn code_of(number: i64) -> Option<Code> {
    match number {
        -32601 => Some(Code::Unimplemented),
        // We said something that the service does not understand.
        -32600 | -32700 => Some(Code::Internal),
        _ => Code::ALL.into_iter().find(|c| code(*c) == number),
    }
}

/// A failed call as an error: message, and as data the code's name, our own code and remedy where it is our error, and details.
pub fn fault(status: &Status, schema: &Schema) -> Fault {
    let message = match status.message.is_empty() {
        true => Cow::Borrowed(status.code.name()),
        false => Cow::Owned(status.message.clone()),
    };
    let mut data = format!("{{\"code\": \"{}\"", status.code.name());
    if let Some(error) = &status.error {
        data.push_str(&format!(", \"error\": {}", wire::quoted(error.code)));
        if !error.fix.is_empty() {
            data.push_str(&format!(", \"fix\": {}", wire::quoted(&error.fix)));
        }
        if let Some(ms) = error.retry_after_ms {
            data.push_str(&format!(", \"retry_after_ms\": {ms}"));
        }
    }
    if !status.details.is_empty() {
        let details: Vec<String> =
            status.details.iter().map(|detail| problem::detail_value(detail, schema).to_string()).collect();
        data.push_str(&format!(", \"details\": [{}]", details.join(", ")));
    }
    data.push('}');
    Fault { code: code(status.code), message, data: Some(data) }
}

/// The status of an error that a service answered with. What is not one of our own codes comes as `UNKNOWN`, with code and data as
/// `google.rpc.ErrorInfo` of the domain `json-rpc`.
pub fn status(error: &wire::ResponseError<'_>, schema: &Schema) -> Status {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Data {
        code: Option<String>,
        details: Vec<serde_json::Value>,
    }
    let data: Data = error.data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
    let named = data.code.as_deref().and_then(Code::from_name);
    let code = named.or_else(|| code_of(error.code));
    let mut status = Status::new(code.unwrap_or(Code::Unknown), error.message.clone());
    if named.is_some() {
        let any = schema.message("google.protobuf.Any");
        status.details =
            data.details.iter().take(64).filter_map(|json| detail(any.as_ref()?, json)).collect();
    } else {
        let mut info = Vec::new();
        sb_schema::wire::put_bytes(&mut info, 1, error.code.to_string().as_bytes());
        sb_schema::wire::put_bytes(&mut info, 2, b"json-rpc");
        if let Some(data) = error.data {
            let mut entry = Vec::new();
            sb_schema::wire::put_bytes(&mut entry, 1, b"data");
            sb_schema::wire::put_bytes(&mut entry, 2, data.get().as_bytes());
            sb_schema::wire::put_bytes(&mut info, 3, &entry);
        }
        let type_url = "type.googleapis.com/google.rpc.ErrorInfo".to_owned();
        status.details = vec![Detail { type_url, value: info.into() }];
    }
    status
}

/// A detail out of the JSON of an `Any`.
fn detail(any: &Message, json: &serde_json::Value) -> Option<Detail> {
    let type_url = json.get("@type")?.as_str()?.to_owned();
    let text = json.to_string();
    if let Ok(proto) = sb_schema::json_to_proto(any, text.as_bytes(), &sb_schema::Options::default()) {
        let value =
            sb_schema::wire::Fields::new(&proto).filter_map(Result::ok).find_map(|field| match field {
                (2, sb_schema::wire::WireValue::Bytes(value)) => Some(Bytes::copy_from_slice(value)),
                _ => None,
            });
        return Some(Detail { type_url, value: value.unwrap_or_default() });
    }
    let value = BASE64_STANDARD.decode(json.get("value")?.as_str()?).ok()?;
    Some(Detail { type_url, value: value.into() })
}

/// A method with server streaming, called where nothing can stream.
pub fn needs_stream(entry: &Entry) -> Status {
    Error::new(Kind::Unsupported, "SB0209", format!("{} streams its answer", entry.path))
        .fix("Call it over a WebSocket at /rpc, or alone with Accept: text/event-stream")
        .into()
}

/// A method with client streaming.
pub fn streams_in(entry: &Entry) -> Status {
    Error::new(
        Kind::Unsupported,
        "SB0209",
        format!("{} streams from the caller, which JSON-RPC cannot", entry.path),
    )
    .fix("Use gRPC, Connect or the WebSocket of its REST path")
    .into()
}
