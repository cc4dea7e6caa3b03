//! What the Connect conformance suite talks to: a program that is told by standard input what to serve or to call, and says by standard output
//! what came of it. Messages there have four bytes of length in front.
//!
//! `sb-connect-adapter server PROTO` serves the suite's service with this project's server and its three protocols; `… client PROTO` calls the
//! suite's reference server with the client halves, through the board. PROTO is the folder of the suite's `.proto` files. Messages are handled as
//! JSON, since there is no generated code. `… front URL` is for other suites: a server in front of the service at URL.

mod client;
mod front;
mod server;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use sb_board::auth::Authority;
use sb_board::call::Detail;
use sb_board::mount::Descriptor;
use sb_board::{Board, HttpSettings, Settings};
use sb_schema::wire::{Fields, WireValue};
use sb_schema::{Builder, Schema};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What is spoken.
pub(crate) static PROTOCOLS: &[&Descriptor] = &[&sb_grpc::GRPC, &sb_grpc::GRPC_WEB, &sb_grpc::CONNECT];
/// The package of everything here.
pub(crate) const PACKAGE: &str = "connectrpc.conformance.v1";
/// The service that is called.
pub(crate) const SERVICE: &str = "connectrpc.conformance.v1.ConformanceService";

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["server", proto] => server::run(Arc::new(Protos::read(Path::new(proto))?)).await,
        ["client", proto] => client::run(Arc::new(Protos::read(Path::new(proto))?)).await,
        ["front", url] => front::run(url, PROTOCOLS).await,
        _ => Err("say server PROTO, client PROTO, or front URL".into()),
    }
}

/// The suite's messages.
pub(crate) struct Protos {
    pub(crate) schema: Schema,
    options: sb_schema::Options,
}

impl Protos {
    fn read(folder: &Path) -> Result<Protos> {
        let mut builder = Builder::new();
        for name in ["client_compat", "config", "server_compat", "service"] {
            let path = format!("connectrpc/conformance/v1/{name}.proto");
            builder.text(&path, &std::fs::read_to_string(folder.join(&path))?)?;
        }
        let options = sb_schema::Options { enum_numbers: true, ..sb_schema::Options::default() };
        Ok(Protos { schema: builder.build()?, options })
    }

    fn kind(&self, name: &str) -> Result<sb_schema::Message> {
        self.schema.message(name).ok_or_else(|| format!("there is no {name}").into())
    }

    /// A message of the suite's package as JSON.
    pub(crate) fn decode(&self, name: &str, bytes: &[u8]) -> Result<Value> {
        let kind = self.kind(&format!("{PACKAGE}.{name}"))?;
        Ok(serde_json::from_slice(&sb_schema::proto_to_json(&kind, bytes, &self.options)?)?)
    }

    /// The reverse.
    pub(crate) fn encode(&self, name: &str, value: &Value) -> Result<Bytes> {
        let kind = self.kind(&format!("{PACKAGE}.{name}"))?;
        Ok(sb_schema::json_to_proto(&kind, value.to_string().as_bytes(), &self.options)?)
    }

    /// An `Any` in JSON as type and bytes.
    pub(crate) fn detail(&self, any: &Value) -> Result<Detail> {
        let kind = self.kind("google.protobuf.Any")?;
        let bytes = sb_schema::json_to_proto(&kind, any.to_string().as_bytes(), &self.options)?;
        let mut detail = Detail { type_url: String::new(), value: Bytes::new() };
        for field in Fields::new(&bytes) {
            match field? {
                (1, WireValue::Bytes(url)) => detail.type_url = String::from_utf8(url.to_vec())?,
                (2, WireValue::Bytes(value)) => detail.value = bytes.slice_ref(value),
                _ => {}
            }
        }
        Ok(detail)
    }

    /// The reverse.
    pub(crate) fn any(&self, detail: &Detail) -> Result<Value> {
        let kind = self.kind(detail.type_name())?;
        let text = sb_schema::proto_to_json(&kind, &detail.value, &self.options)?;
        let mut any: Value = serde_json::from_slice(&text)?;
        match any.as_object_mut() {
            Some(object) => drop(object.insert("@type".into(), detail.type_url.clone().into())),
            None => any = json!({ "@type": detail.type_url, "value": any }),
        }
        Ok(any)
    }
}

/// Headers as the suite writes them.
pub(crate) fn headers_from(list: &Value) -> HeaderMap {
    let mut map = HeaderMap::new();
    for header in items(list) {
        let Ok(name) = HeaderName::try_from(header["name"].as_str().unwrap_or_default()) else { continue };
        for value in items(&header["value"]).filter_map(|v| HeaderValue::from_str(v.as_str()?).ok()) {
            map.append(&name, value);
        }
    }
    map
}

/// The reverse.
pub(crate) fn headers_to(map: &HeaderMap) -> Value {
    let one = |name: &HeaderName| {
        let values = map.get_all(name).iter().map(|v| Value::from(String::from_utf8_lossy(v.as_bytes())));
        json!({ "name": name.as_str(), "value": values.collect::<Vec<_>>() })
    };
    map.keys().map(one).collect()
}

/// The items of a list, none if it is absent.
pub(crate) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Bytes in JSON.
pub(crate) fn base64(value: &Value) -> Result<Vec<u8>> {
    Ok(base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default())?)
}

/// Reads one message of standard input; `None` at its end.
pub(crate) async fn receive(input: &mut tokio::io::Stdin) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    input.read_exact(&mut bytes).await?;
    Ok(Some(bytes))
}

/// Writes one message to standard output.
pub(crate) async fn send(output: &mut tokio::io::Stdout, bytes: &[u8]) -> Result<()> {
    output.write_all(&u32::try_from(bytes.len())?.to_be_bytes()).await?;
    output.write_all(bytes).await?;
    Ok(output.flush().await?)
}

/// A board in memory whose messages have this many bytes at most; 0 for many.
pub(crate) fn board(limit: u64) -> Result<Arc<Board>> {
    let settings = Settings {
        dir: None,
        authority: Authority::new([], Vec::new(), BTreeMap::new()),
        http: HttpSettings::default(),
        memory: 64 << 20,
        max_message: if limit == 0 { 16 << 20 } else { limit as usize },
        max_request: 16 << 20,
        max_wait_ms: 60_000,
        mode: "test".into(),
    };
    Board::start(settings).map(|(board, _)| board).map_err(|error| format!("{error:?}").into())
}
