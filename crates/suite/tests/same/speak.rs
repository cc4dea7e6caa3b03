//! One call in every protocol, of plain bytes: the request is written and the answer read by what the specifications say, and both are
//! brought into one form.

use crate::service::schema;
use crate::{graphql, thrift};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use sb_board::call::{Detail, Status};
use sb_board::mount::{Body, Dialer as _, Target};
use sb_board::problem;
use sb_schema::Options;
use sb_suite::{Raw, Running};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is called, and how.
#[derive(Clone)]
pub struct Ask<'a> {
    /// `package.Service/Method`.
    pub method: &'a str,
    /// The request as Protobuf.
    pub message: Bytes,
    pub key: Option<&'a str>,
    pub metadata: &'a [(&'a str, &'a str)],
    pub timeout: Option<Duration>,
}

/// What the caller sees.
#[derive(Debug)]
pub struct Seen {
    /// The answer as Protobuf.
    pub outcome: Result<Bytes, Failure>,
    /// Where the protocol tells leading metadata …
    pub leading: HeaderMap,
    /// … and where trailing; names without what the protocol puts before them.
    pub trailing: HeaderMap,
}

/// A failure as the caller sees it.
#[derive(Debug, PartialEq)]
pub struct Failure {
    /// The protocol's own error.
    pub shown: String,
    pub text: String,
    /// Details as ProtoJSON shows an `Any`, without those by which Switchboard speaks of itself.
    pub details: Vec<Value>,
    /// The code of Switchboard's own error.
    pub own: Option<String>,
}

impl Failure {
    pub fn of(shown: String, own: Option<&str>) -> Failure {
        Failure { shown, text: String::new(), details: Vec::new(), own: own.map(str::to_owned) }
    }

    /// Of a protocol that has details as bytes.
    pub fn typed(shown: String, status: &Status) -> Failure {
        let details = status.details.iter().map(|d| problem::detail_value(d, &schema())).collect();
        Failure::json(shown, &status.message, details, None)
    }

    /// Of a protocol that has details as JSON.
    pub fn json(shown: String, text: &str, mut details: Vec<Value>, own: Option<&Value>) -> Failure {
        let is_own = |d: &Value| d["domain"] == "switchboard";
        let info =
            details.iter().find(|d| is_own(d)).map(|d| d["reason"].as_str().unwrap_or_default().to_owned());
        let own = own.and_then(Value::as_str).map(str::to_owned).or(info);
        if own.is_some() {
            details.retain(|d| !is_own(d) && d["@type"] != "type.googleapis.com/google.rpc.RetryInfo");
        }
        Failure { shown, text: text.to_owned(), details, own }
    }
}

impl Seen {
    pub fn failed(failure: Failure) -> Seen {
        Seen { outcome: Err(failure), leading: HeaderMap::new(), trailing: HeaderMap::new() }
    }
}

/// A protocol in one of its forms.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Way {
    RestBinding,
    RestPath,
    Grpc,
    GrpcWeb,
    GrpcWebText,
    ConnectProto,
    ConnectJson,
    ConnectGet,
    Graphql,
    JsonRpc,
    JsonRpcSocket,
    ThriftFramedBinary,
    ThriftFramedCompact,
    ThriftHeader,
    ThriftHttpBinary,
    ThriftHttpCompact,
    Mcp,
}

use Way::*;

/// The columns: each protocol with its forms.
pub const FAMILIES: &[(&str, &[(Way, &str)])] = &[
    ("REST", &[(RestBinding, "by binding"), (RestPath, "by path")]),
    ("gRPC", &[(Grpc, "")]),
    ("gRPC-Web", &[(GrpcWeb, "binary"), (GrpcWebText, "text")]),
    ("Connect", &[(ConnectProto, "Protobuf"), (ConnectJson, "JSON"), (ConnectGet, "GET")]),
    ("GraphQL", &[(Graphql, "")]),
    ("JSON-RPC", &[(JsonRpc, "HTTP"), (JsonRpcSocket, "WebSocket")]),
    (
        "Thrift",
        &[
            (ThriftFramedBinary, "framed binary"),
            (ThriftFramedCompact, "framed compact"),
            (ThriftHeader, "THeader"),
            (ThriftHttpBinary, "HTTP binary"),
            (ThriftHttpCompact, "HTTP compact"),
        ],
    ),
    ("MCP", &[(Mcp, "")]),
];

/// Calls.
pub async fn call(server: &Running, way: Way, ask: &Ask<'_>) -> Seen {
    let called = async {
        match way {
            RestBinding | RestPath => rest(server, way, ask).await,
            Grpc => grpc(server, ask).await,
            GrpcWeb | GrpcWebText => grpc_web(server, way == GrpcWebText, ask).await,
            ConnectProto | ConnectJson | ConnectGet => connect(server, way, ask).await,
            Graphql => graphql::graphql(server, ask).await,
            JsonRpc => jsonrpc(server, ask).await,
            JsonRpcSocket => jsonrpc_socket(server, ask).await,
            Mcp => mcp(server, ask).await,
            _ => thrift::thrift(server, way, ask).await,
        }
    };
    tokio::time::timeout(Duration::from_secs(20), called).await.unwrap_or_else(|_| panic!("{way:?} answers"))
}

/// An answer over HTTP.
pub struct Http {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Http {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }
}

/// One request on a connection of its own.
pub async fn http(
    server: &Running,
    h2: bool,
    verb: &str,
    target: &str,
    headers: HeaderMap,
    body: impl Into<Bytes>,
) -> Http {
    let at = Target { url: format!("http://{}", server.addr), ..Target::default() };
    let upstream = sb_net::Dial.http(&at, false, h2).expect("a target");
    let mut request = http::Request::new(Body::from(body.into()));
    *request.method_mut() = verb.parse().expect("a method");
    *request.uri_mut() = target.parse().expect("a path");
    *request.headers_mut() = headers;
    let reply = upstream.send(request).await.expect("an answer");
    let (head, body) = reply.response.into_parts();
    let body = body.collect().await.expect("all of the answer");
    let trailers = body.trailers().cloned().unwrap_or_default();
    Http { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes(), trailers }
}

/// The headers of a call over HTTP.
pub fn headers(ask: &Ask<'_>, content_type: &'static str) -> HeaderMap {
    let mut map = crate::service::pairs(ask.metadata);
    map.insert("content-type", HeaderValue::from_static(content_type));
    if let Some(key) = ask.key {
        map.insert("authorization", format!("Bearer {key}").parse().expect("a header"));
    }
    if let Some(timeout) = ask.timeout {
        let ms = timeout.as_millis();
        map.insert("sb-timeout", format!("{ms}ms").parse().expect("a header"));
        map.insert("connect-timeout-ms", ms.to_string().parse().expect("a header"));
        map.insert("grpc-timeout", format!("{ms}m").parse().expect("a header"));
    }
    map
}

/// The request as JSON.
pub fn json_of(ask: &Ask<'_>) -> Value {
    let Some(method) = schema().method(ask.method).cloned() else { return json!({}) };
    let json = sb_schema::proto_to_json(&method.input, &ask.message, &Options::default()).expect("a request");
    serde_json::from_slice(&json).expect("JSON")
}

/// An answer's JSON as Protobuf.
pub fn answer(ask: &Ask<'_>, json: &Value) -> Bytes {
    let method = schema().method(ask.method).cloned().expect("a method");
    let bytes = sb_schema::json_to_proto(&method.output, json.to_string().as_bytes(), &Options::default());
    bytes.unwrap_or_else(|e| panic!("{e}: {json}"))
}

/// Metadata where each name is there once: several values of one are one with commas, as in HTTP.
pub fn joined(metadata: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (name, value) in metadata {
        map.entry((*name).to_owned())
            .and_modify(|before: &mut String| *before = format!("{before}, {value}"))
            .or_insert_with(|| (*value).to_owned());
    }
    map
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn rest(server: &Running, way: Way, ask: &Ask<'_>) -> Seen {
    let json = json_of(ask);
    let name = ask.method.rsplit('/').next().unwrap_or_default();
    let headers = headers(ask, "application/json");
    let answered = match (way, name) {
        (RestPath, _) => {
            http(server, false, "POST", &format!("/{}", ask.method), headers, json.to_string()).await
        }
        (_, "Read" | "Take") => {
            let path = format!("/v1/{}", name.to_lowercase());
            http(server, false, "POST", &path, headers, json.to_string()).await
        }
        _ => {
            let path = format!("/v1/{}/{}?text={}", name.to_lowercase(), json["code"], text(&json["text"]));
            http(server, false, "GET", &path, headers, "").await
        }
    };
    let json = answered.json();
    let outcome = match answered.status {
        200 => Ok(answer(ask, &json)),
        status => {
            assert_eq!(answered.headers["content-type"], "application/problem+json");
            let own = Some(&json["code"]).filter(|code| *code != "SB0409");
            Err(Failure::json(status.to_string(), text(&json["detail"]), list(&json["details"]), own))
        }
    };
    Seen { outcome, leading: answered.headers.clone(), trailing: answered.headers }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

/// How a call of gRPC ended, by its trailers.
fn grpc_end(message: Option<Bytes>, trailers: &HeaderMap) -> Result<Bytes, Failure> {
    let text = |name: &str| trailers.get(name).map(|v| v.to_str().expect("text").to_owned());
    let number = text("grpc-status").expect("a status");
    if number == "0" {
        return Ok(message.expect("a message"));
    }
    let message = percent(&text("grpc-message").unwrap_or_default());
    let Some(details) = text("grpc-status-details-bin") else {
        return Err(Failure { text: message, ..Failure::of(number, None) });
    };
    let details = BASE64_STANDARD_NO_PAD.decode(details.trim_end_matches('=')).expect("base64");
    let status = Status::decode(&details).expect("a status");
    assert_eq!((status.code.number().to_string(), &*status.message), (number.clone(), &*message));
    Err(Failure::typed(number, &status))
}

fn percent(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex: Vec<u8> = bytes.by_ref().take(2).collect();
            out.push(u8::from_str_radix(std::str::from_utf8(&hex).expect("hex"), 16).expect("hex"));
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).expect("UTF-8")
}

async fn grpc(server: &Running, ask: &Ask<'_>) -> Seen {
    let mut headers = headers(ask, "application/grpc");
    headers.insert("te", HeaderValue::from_static("trailers"));
    let answered =
        http(server, true, "POST", &format!("/{}", ask.method), headers, framed(&ask.message)).await;
    assert_eq!(answered.status, 200);
    let message = (!answered.body.is_empty()).then(|| answered.body.slice(5..));
    let trailers = if answered.trailers.is_empty() { &answered.headers } else { &answered.trailers };
    let outcome = grpc_end(message, trailers);
    Seen { outcome, trailing: trailers.clone(), leading: answered.headers }
}

async fn grpc_web(server: &Running, as_text: bool, ask: &Ask<'_>) -> Seen {
    let (kind, body) = match as_text {
        true => ("application/grpc-web-text", BASE64_STANDARD.encode(framed(&ask.message)).into_bytes()),
        false => ("application/grpc-web+proto", framed(&ask.message)),
    };
    let answered = http(server, false, "POST", &format!("/{}", ask.method), headers(ask, kind), body).await;
    assert_eq!(answered.status, 200);
    let body: Bytes = match as_text {
        // Pieces are padded each for itself.
        true => {
            answered.body.chunks(4).flat_map(|four| BASE64_STANDARD.decode(four).expect("base64")).collect()
        }
        false => answered.body.clone(),
    };
    let (mut rest, mut message, mut trailers) = (&body[..], None, HeaderMap::new());
    while let Some((head, tail)) = rest.split_at_checked(5) {
        let len = u32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize;
        let (payload, tail) = tail.split_at(len);
        match head[0] {
            0 => message = Some(body.slice_ref(payload)),
            0x80 => {
                for line in std::str::from_utf8(payload).expect("text").lines().filter(|l| !l.is_empty()) {
                    let (name, value) = line.split_once(':').expect("a header");
                    trailers.append(name.parse::<HeaderName>().unwrap(), value.trim().parse().unwrap());
                }
            }
            flags => panic!("flags {flags}"),
        }
        rest = tail;
    }
    if trailers.is_empty() {
        trailers = answered.headers.clone();
    }
    Seen { outcome: grpc_end(message, &trailers), leading: answered.headers, trailing: trailers }
}

async fn connect(server: &Running, way: Way, ask: &Ask<'_>) -> Seen {
    let json = way == ConnectJson;
    let mut headers = headers(ask, if json { "application/json" } else { "application/proto" });
    let path = format!("/{}", ask.method);
    let answered = if way == ConnectGet {
        headers.remove("content-type");
        let message = BASE64_URL_SAFE_NO_PAD.encode(&ask.message);
        let path = format!("{path}?connect=v1&encoding=proto&base64=1&message={message}");
        http(server, false, "GET", &path, headers, "").await
    } else {
        headers.insert("connect-protocol-version", HeaderValue::from_static("1"));
        let body = if json { json_of(ask).to_string().into() } else { ask.message.clone() };
        http(server, false, "POST", &path, headers, body).await
    };
    let outcome = match answered.status {
        200 if json => Ok(answer(ask, &answered.json())),
        200 => Ok(answered.body.clone()),
        status => {
            let error = answered.json();
            let detail = |detail: &Value| {
                let value = BASE64_STANDARD_NO_PAD.decode(text(&detail["value"])).expect("base64");
                let type_url = format!("type.googleapis.com/{}", text(&detail["type"]));
                problem::detail_value(&Detail { type_url, value: value.into() }, &schema())
            };
            let details = list(&error["details"]).iter().map(detail).collect();
            let shown = format!("{status} `{}`", text(&error["code"]));
            Err(Failure::json(shown, text(&error["message"]), details, None))
        }
    };
    Seen { outcome, trailing: prefixed(&answered.headers), leading: answered.headers }
}

/// What headers say of trailers.
fn prefixed(headers: &HeaderMap) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix("trailer-") {
            map.append(name.parse::<HeaderName>().expect("a name"), value.clone());
        }
    }
    map
}

fn jsonrpc_outcome(ask: &Ask<'_>, answered: &Value) -> Result<Bytes, Failure> {
    let error = &answered["error"];
    if error.is_null() {
        assert_eq!(answered["id"], 1);
        return Ok(answer(ask, &answered["result"]));
    }
    let (data, shown) = (&error["data"], error["code"].to_string());
    Err(Failure::json(shown, text(&error["message"]), list(&data["details"]), data.get("error")))
}

async fn jsonrpc(server: &Running, ask: &Ask<'_>) -> Seen {
    let request = json!({ "jsonrpc": "2.0", "method": ask.method, "params": json_of(ask), "id": 1 });
    let answered =
        http(server, false, "POST", "/rpc", headers(ask, "application/json"), request.to_string()).await;
    let mut outcome = jsonrpc_outcome(ask, &answered.json());
    if let (Err(failure), 400..) = (&mut outcome, answered.status) {
        failure.shown = format!("{} {}", answered.status, failure.shown);
    }
    Seen { outcome, trailing: prefixed(&answered.headers), leading: answered.headers }
}

async fn jsonrpc_socket(server: &Running, ask: &Ask<'_>) -> Seen {
    let mut sb = json!({});
    if !ask.metadata.is_empty() {
        sb["metadata"] = json!(joined(ask.metadata));
    }
    if let Some(timeout) = ask.timeout {
        sb["timeout"] = format!("{}ms", timeout.as_millis()).into();
    }
    let request =
        json!({ "jsonrpc": "2.0", "method": ask.method, "params": json_of(ask), "id": 1, "sb": sb });
    let mut client = Raw::connect(server.addr).await;
    let login = ask.key.map_or(String::new(), |key| format!("Authorization: Bearer {key}\r\n"));
    if let Err(status) = client.upgrade("/rpc", &login).await {
        return Seen::failed(Failure::of(format!("HTTP {status}"), None));
    }
    client.send_text(&request.to_string()).await;
    let answered: Value = serde_json::from_str(&client.text().await).expect("JSON");
    let outcome = jsonrpc_outcome(ask, &answered);
    Seen { outcome, leading: HeaderMap::new(), trailing: HeaderMap::new() }
}

async fn mcp(server: &Running, ask: &Ask<'_>) -> Seen {
    let mut headers = headers(ask, "application/json");
    for (name, value) in [
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", ask.method),
    ] {
        headers.insert(name, value.parse().expect("a header"));
    }
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": ask.method, "arguments": json_of(ask), "_meta": meta });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let answered = http(server, false, "POST", "/mcp", headers, request.to_string()).await;
    if answered.headers["content-type"] == "application/problem+json" {
        let json = answered.json();
        let own = json["code"].as_str();
        return Seen::failed(Failure::of(format!("HTTP {}", answered.status), own));
    }
    let body = String::from_utf8(answered.body.to_vec()).expect("UTF-8");
    let mut events = body.lines().filter_map(|line| line.strip_prefix("data:"));
    let json: Value = events
        .find_map(|data| serde_json::from_str(data).ok())
        .or_else(|| serde_json::from_str(&body).ok())
        .unwrap_or_else(|| panic!("an answer in {body}"));
    if let Some(error) = json.get("error") {
        let (shown, own) = (error["code"].to_string(), error["data"]["error"].as_str());
        return Seen::failed(Failure { text: text(&error["message"]).to_owned(), ..Failure::of(shown, own) });
    }
    let result = &json["result"];
    let error = &result["_meta"]["switchboard/error"];
    let outcome = match result["isError"].as_bool() {
        Some(true) => {
            let (shown, text) = (format!("`{}`", text(&error["code"])), text(&error["message"]));
            Err(Failure::json(shown, text, list(&error["details"]), error.get("error")))
        }
        _ => Ok(answer(ask, &result["structuredContent"])),
    };
    let mut metadata = HeaderMap::new();
    for (name, values) in result["_meta"]["switchboard/metadata"].as_object().into_iter().flatten() {
        for value in list(values) {
            metadata.append(name.parse::<HeaderName>().unwrap(), text(&value).parse().unwrap());
        }
    }
    Seen { outcome, leading: metadata.clone(), trailing: metadata }
}
