//! `--via PROTOCOL`: the same call over any protocol, so that one can see that all give the same answer.
//!
//! Whatever it goes by, a call is given as JSON and its answers are printed as JSON, one a line where the method streams.

mod framed;
mod graphql;
mod mcp;
mod thrift;

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use sb_board::call::{Detail, Status};
use serde_json::{Value, json};

use super::described::{DETAILS, Described};
use crate::client::{Client, Request, Target, clean, problem_error, refusal};
use crate::error::{CliError, exit};
use crate::sse;

/// The protocols a call can go by.
pub const PROTOCOLS: [&str; 8] =
    ["rest", "connect", "grpc", "grpc-web", "json-rpc", "graphql", "thrift", "mcp"];
/// Those over which a stream of answers comes as it is made.
pub const STREAMING: [&str; 6] = ["rest", "connect", "grpc", "grpc-web", "json-rpc", "graphql"];

/// No message of an answer is longer.
const MAX_MESSAGE: usize = 128 << 20;

/// One call.
pub struct Asked {
    /// `package.Service/Method`.
    pub path: String,
    /// What it looks like, if that is known.
    pub described: Option<Described>,
    /// The request, or several where the method streams from the caller. Each is a JSON text.
    pub messages: Vec<Bytes>,
    /// How long the call may take.
    pub timeout: Option<Duration>,
    /// How long the answer may take to begin.
    pub guard: Option<Duration>,
}

/// What becomes of each message of the answer; false ends the call.
pub type Each<'a> = &'a mut dyn FnMut(&[u8]) -> Result<bool, CliError>;

/// Calls by another protocol than REST, and hands on the answer's messages as they come.
pub async fn call(target: Target, protocol: &str, asked: &Asked, each: Each<'_>) -> Result<(), CliError> {
    let (client, server) = asked
        .described
        .as_ref()
        .map_or((false, false), |d| (d.method.client_streaming, d.method.server_streaming));
    if client && !matches!(protocol, "grpc" | "connect") {
        return Err(CliError::usage(format!(
            "{} streams from the caller, and that does not go by {protocol}",
            asked.path
        ))
        .help("call it with  --via grpc  or  --via connect,  one JSON message a line in the body"));
    }
    if server && !STREAMING.contains(&protocol) && protocol != "mcp" {
        return Err(CliError::usage(format!(
            "{} streams its answer, and that does not go by {protocol}",
            asked.path
        ))
        .help(format!("use one of  {}", STREAMING.join(", "))));
    }
    match protocol {
        "connect" => framed::connect(target, asked, each).await,
        "grpc" => framed::grpc(&Client::http2(target)?, "application/grpc+json", asked, each).await,
        "grpc-web" => framed::grpc(&Client::new(target)?, "application/grpc-web+json", asked, each).await,
        "json-rpc" => json_rpc(&Client::new(target)?, asked, each).await,
        "graphql" => graphql::call(&Client::new(target)?, asked, each).await,
        "thrift" => thrift::call(&Client::new(target)?, asked, each).await,
        _ => mcp::call(&Client::new(target)?, asked, each).await,
    }
}

impl Asked {
    /// Whether several answers are expected.
    fn streams(&self) -> bool {
        self.described.as_ref().is_some_and(|d| d.method.server_streaming)
    }

    /// The request of a method that takes one.
    fn message(&self) -> Bytes {
        self.messages.first().cloned().unwrap_or_else(|| Bytes::from_static(b"{}"))
    }

    fn described(&self, protocol: &str) -> Result<&Described, CliError> {
        self.described.as_ref().ok_or_else(|| {
            CliError::new(
                exit::MISSING,
                "SB0310",
                format!(
                    "nothing describes {}, and without a description it is not called by {protocol}",
                    self.path
                ),
            )
            .help("see what is described:  switchboard service list")
        })
    }

    /// A request that ends at the deadline by itself, for protocols whose bound is a header of ours.
    fn post(&self, path: impl Into<String>) -> Request {
        let timeout = self.timeout.map(|t| format!("{}ms", t.as_millis()));
        Request::new(Method::POST, path).maybe("sb-timeout", timeout.as_deref()).timeout(self.guard)
    }
}

/// A failed call, with all that was said of it.
fn failed(name: &str, message: &str, details: &[Detail], described: Option<&Described>) -> CliError {
    let name = name.to_ascii_uppercase();
    let code = match name.as_str() {
        "NOT_FOUND" | "UNIMPLEMENTED" => exit::MISSING,
        "UNAUTHENTICATED" | "PERMISSION_DENIED" => exit::DENIED,
        "DEADLINE_EXCEEDED" => exit::TIMEOUT,
        _ => exit::REFUSED,
    };
    let schema = match described {
        Some(described) => Some(described.schema.clone()),
        None => sb_schema::Schema::from_texts([("details.proto", DETAILS)]).ok(),
    };
    let shown: Vec<Value> = match &schema {
        Some(schema) => details.iter().map(|d| sb_board::problem::detail_value(d, schema)).collect(),
        None => Vec::new(),
    };
    failed_with(code, &name, message, &shown)
}

/// The same with details that are JSON already. An error of the server's own is known by its `ErrorInfo`.
fn failed_with(code: u8, name: &str, message: &str, details: &[Value]) -> CliError {
    let own = details.iter().find(|d| d["domain"] == "switchboard" && d["reason"].is_string());
    if let Some(own) = own {
        let mut error = CliError::new(code, own["reason"].as_str().unwrap_or("SB0409"), clean(message));
        if let Some(fix) = own["metadata"]["fix"].as_str() {
            error = error.help(clean(fix));
        }
        return error;
    }
    let title = if message.is_empty() { name.to_owned() } else { format!("{name}: {message}") };
    let mut error = CliError::new(code, "SB0409", clean(&title));
    for detail in details {
        error = error.help(format!("detail  {}", clean(&detail.to_string())));
    }
    error
}

fn of_status(status: &Status, described: Option<&Described>) -> CliError {
    failed(status.code.name(), &status.message, &status.details, described)
}

/// An answer's next piece of data; `None` at its end. Trailers are passed over.
async fn data(body: &mut Incoming) -> Result<Option<Bytes>, CliError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|why| broken(&why.to_string()))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn broken(why: &str) -> CliError {
    CliError::new(exit::UNREACHABLE, "SB0001", format!("the connection broke: {}", clean(why)))
}

fn too_large() -> CliError {
    CliError::new(exit::REFUSED, "SB0205", "a message of the answer is too large")
}

/// The rest of a body, at most so much as an answer may have.
pub async fn whole(body: Incoming) -> Result<Bytes, CliError> {
    let read = http_body_util::Limited::new(body, MAX_MESSAGE).collect().await;
    read.map(|body| body.to_bytes()).map_err(|why| broken(&why.to_string()))
}

/// The items of a REST stream, which are lines; what went wrong on the way is the last.
pub async fn lines(mut body: Incoming, each: Each<'_>) -> Result<(), CliError> {
    let mut lines = Lines::default();
    while let Some(piece) = data(&mut body).await? {
        for line in lines.push(&piece)? {
            if let Some(problem) = problem_line(&line) {
                return Err(problem);
            }
            if !each(&line)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A problem that names the details of what a service said.
pub fn refused(status: http::StatusCode, body: &[u8]) -> CliError {
    let mut error = refusal(status, body);
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(name) = problem["status_name"].as_str() {
        let details: Vec<Value> = problem["details"].as_array().cloned().unwrap_or_default();
        let told = failed_with(error.exit, name, problem["detail"].as_str().unwrap_or_default(), &details);
        error = CliError { code: if error.code == "SB0409" { told.code } else { error.code }, ..told };
    }
    error
}

fn problem_line(line: &[u8]) -> Option<CliError> {
    if !line.starts_with(b"{\"error\":") {
        return None;
    }
    let value: Value = serde_json::from_slice(line).ok()?;
    let problem = &value["error"];
    problem["title"].as_str()?;
    let status = problem["status"].as_u64().and_then(|n| u16::try_from(n).ok());
    let status =
        http::StatusCode::from_u16(status.unwrap_or(500)).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    Some(refused(status, problem.to_string().as_bytes()))
}

/// Lines out of portions of any size.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, piece: &[u8]) -> Result<Vec<Vec<u8>>, CliError> {
        self.rest.extend_from_slice(piece);
        if self.rest.len() > MAX_MESSAGE {
            return Err(too_large());
        }
        let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') else { return Ok(Vec::new()) };
        let behind = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, behind);
        Ok(lines.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec).collect())
    }
}

/// Follows the events of a stream until `on_event` has had enough.
async fn events(
    body: &mut Incoming,
    mut on_event: impl FnMut(sse::Event) -> Result<bool, CliError>,
) -> Result<(), CliError> {
    let mut reader = sse::Reader::default();
    while let Some(piece) = data(body).await? {
        let events = reader.push(&piece).map_err(|why| CliError::new(exit::REFUSED, "SB0006", why))?;
        for event in events {
            if !on_event(event)? {
                return Ok(());
            }
        }
    }
    Err(broken("the stream has no end"))
}

fn is_events(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

async fn json_rpc(client: &Client, asked: &Asked, each: Each<'_>) -> Result<(), CliError> {
    let params: Value = serde_json::from_slice(&asked.message())
        .map_err(|why| CliError::usage(format!("JSON-RPC needs JSON as the body: {why}")))?;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": asked.path, "params": params });
    let accept = if asked.streams() { "text/event-stream" } else { "application/json" };
    let request = asked.post("/rpc").json(&call).header("accept", accept);
    let (head, mut body) = client.open(&request).await?.into_parts();
    let failure = |error: &Value| {
        let data = &error["data"];
        let name = data["code"].as_str().unwrap_or("UNKNOWN").to_ascii_uppercase();
        let message = error["message"].as_str().unwrap_or_default();
        let told = failed(&name, message, &[], asked.described.as_ref());
        if let Some(code) = data["error"].as_str() {
            let error = CliError::new(told.exit, clean(code), clean(message));
            return match data["fix"].as_str() {
                Some(fix) => error.help(clean(fix)),
                None => error,
            };
        }
        let details = data["details"].as_array().cloned().unwrap_or_default();
        failed_with(told.exit, &name, message, &details)
    };
    if !is_events(&head.headers) {
        let body = whole(body).await?;
        if !head.status.is_success() {
            return Err(refusal(head.status, &body));
        }
        let answer: Value = serde_json::from_slice(&body).map_err(|why| not_understood(&why.to_string()))?;
        if answer["error"].is_object() {
            return Err(failure(&answer["error"]));
        }
        return each(answer["result"].to_string().as_bytes()).map(|_| ());
    }
    events(&mut body, |event| {
        let text: Value =
            serde_json::from_str(&event.data).map_err(|why| not_understood(&why.to_string()))?;
        if text["error"].is_object() {
            return Err(failure(&text["error"]));
        }
        let params = &text["params"];
        if params["error"].is_object() {
            return Err(failure(&params["error"]));
        }
        if params["end"] == true {
            return Ok(false);
        }
        match params.get("result") {
            Some(item) => each(item.to_string().as_bytes()),
            None => Ok(true),
        }
    })
    .await
}

fn not_understood(why: &str) -> CliError {
    CliError::new(exit::REFUSED, "SB0006", format!("the answer was not understood: {}", clean(why)))
}

/// A refusal that is no failure of a call: a problem where there is one.
fn not_called(status: http::StatusCode, body: &[u8]) -> CliError {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    problem_error(exit::REFUSED, &problem).map_or_else(|| refusal(status, body), |_| refused(status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_cut() {
        let text = b"{\"a\":1}\n{\"b\":2}\n\n{\"c\":3}\n";
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut got = lines.push(&text[..cut]).unwrap();
            got.extend(lines.push(&text[cut..]).unwrap());
            assert_eq!(got, [b"{\"a\":1}", b"{\"b\":2}", b"{\"c\":3}"], "cut at {cut}");
        }
    }

    #[test]
    fn errors_of_the_server_keep_their_code_and_those_of_services_their_details() {
        let own = json!({ "@type": "x", "domain": "switchboard", "reason": "SB0301", "metadata": { "fix": "create it" } });
        let error = failed_with(exit::MISSING, "NOT_FOUND", "no topic", &[own]);
        assert_eq!((error.code.as_str(), error.help[0].as_str()), ("SB0301", "create it"));
        let error = failed_with(exit::REFUSED, "ABORTED", "busy", &[json!({ "@type": "a.B", "n": 1 })]);
        assert_eq!((error.code.as_str(), error.title.as_str()), ("SB0409", "ABORTED: busy"));
        assert!(error.help[0].contains("a.B"));
        let line = br#"{"error":{"title":"The service failed the call","detail":"gone","status":404,"code":"SB0409","status_name":"NOT_FOUND"}}"#;
        assert_eq!(problem_line(line).unwrap().exit, exit::MISSING);
        assert!(problem_line(br#"{"error":{"mine":1}}"#).is_none(), "a message may have such a field");
    }
}
