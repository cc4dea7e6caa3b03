//! The running board: commit loop, reads, wake-ups, timers, live delivery, login; and [`Access`], the only door to it.
#![allow(unused_variables, missing_docs)]

pub mod access;
pub mod mount;
pub mod problem;
pub mod tail;

pub use access::Access;

use sb_core::model::Result;
use std::sync::Arc;

/// What a caller says of itself.
pub enum Credentials<'a> {
    None,
    /// A bearer token: API key, JWT or a token of ours.
    Token(&'a str),
    /// A name and a password; the password is an API key.
    Password(&'a str, &'a str),
}

pub struct Board {}

impl Board {
    /// Judges credentials. `protocol` labels metrics.
    pub fn login(self: &Arc<Self>, protocol: &'static str, peer: &mount::Peer, credentials: Credentials<'_>) -> Result<Access> { unimplemented!() }
    /// Ready when the server drains.
    pub async fn draining(&self) { unimplemented!() }
    pub fn is_draining(&self) -> bool { unimplemented!() }
    /// Whether it can serve: what is waited for, otherwise.
    pub fn ready(&self) -> std::result::Result<(), Vec<String>> { unimplemented!() }
    /// Prometheus text.
    pub fn metrics(&self) -> String { unimplemented!() }
    pub fn status(&self) -> Status { unimplemented!() }
    /// Settings of the HTTP family, from the config.
    pub fn http(&self) -> &HttpSettings { unimplemented!() }
    pub fn now_ms(&self) -> i64 { unimplemented!() }
    pub fn max_wait_ms(&self) -> u64 { unimplemented!() }
}

#[derive(Clone, Debug, Default)]
pub struct Status {
    pub version: String,
    pub uptime_ms: u64,
    pub node: String,
    pub mode: String,
    pub connections: u64,
    pub topics: u64,
    pub groups: u64,
    pub jobs: Vec<(sb_core::jobs::State, u64)>,
    pub messages_in: u64,
    pub messages_out: u64,
    pub journal_bytes: u64,
    pub memory_used: u64,
    pub memory_budget: u64,
    pub listeners: Vec<String>,
}

/// A path of the user's own.
#[derive(Clone, Debug)]
pub struct Route {
    /// Upper-case.
    pub http_method: String,
    /// Literal path.
    pub path: String,
    pub target: RouteTarget,
}

#[derive(Clone, Debug)]
pub enum RouteTarget {
    /// `package.Service/Method`
    Call(String),
    /// Read or publish (by HTTP method) this address or pattern.
    Topic(sb_core::model::Pattern),
}

/// Settings of the HTTP family.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    /// Exact origins; `["*dev*"]` is not a thing: development mode sets `any_loopback_origin`.
    pub origins: Vec<String>,
    pub any_loopback_origin: bool,
    pub routes: Vec<Route>,
    /// URL prefix and folder.
    pub static_dirs: Vec<(String, std::path::PathBuf)>,
    pub heartbeat_ms: u64,
    pub max_body: usize,
    /// Where clients reach us, for links; otherwise the Host they used.
    pub public_url: Option<String>,
    /// Files of the console: path below /console/, content type, gzip bytes or plain.
    pub console: &'static [(&'static str, &'static str, bool, &'static [u8])],
}
