//! The HTTP client of the commands: one small wrapper that turns every failure into a [`CliError`].

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use crate::error::{CliError, exit};

/// No answer is read beyond this: the largest message as base64, or a full read.
const MAX_ANSWER: usize = 128 << 20;

/// Which server, and with what.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// Base URL without a slash at the end.
    pub url: String,
    /// Where the URL was found, for messages: `profile "prod"`, `--server`.
    pub url_from: String,
    /// Bearer token.
    pub token: Option<String>,
    /// Where the token was found.
    pub token_from: String,
    /// PEM file with the certificate authorities to trust instead of the public ones.
    pub ca: Option<PathBuf>,
    /// Where the CA was found.
    pub ca_from: String,
}

impl Target {
    /// The server at this URL, without a login.
    pub fn plain(url: &str) -> Self {
        Self { url: url.to_owned(), url_from: "just started".into(), ..Self::default() }
    }
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
    timeout: Option<Duration>,
}

impl Request {
    /// A request without a body. The path begins with `/` and is escaped already.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: Some(Duration::from_secs(30)),
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a header if there is a value.
    pub fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// The body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A JSON body.
    pub fn json(self, value: &Value) -> Self {
        self.header(CONTENT_TYPE.as_str(), "application/json").body(value.to_string())
    }

    /// How long the answer may take; none is for ever.
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    pub fn value(&self) -> Result<Value, CliError> {
        serde_json::from_slice(&self.body).map_err(|why| {
            CliError::new(
                exit::REFUSED,
                "SB0006",
                format!("the answer is not the JSON that was expected: {why}"),
            )
            .help("is this a switchboard server, and of a version that fits?  switchboard status")
        })
    }
}

/// A client for one server.
#[derive(Debug, Clone)]
pub struct Client {
    target: Target,
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// Makes a client; nothing is connected yet.
    pub fn new(target: Target) -> Result<Self, CliError> {
        Self::with(target, false)
    }

    /// The same that speaks HTTP/2 only, without asking first.
    pub fn http2(target: Target) -> Result<Self, CliError> {
        Self::with(target, true)
    }

    fn with(target: Target, http2: bool) -> Result<Self, CliError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(10)));
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let builder = match &target.ca {
            None => HttpsConnectorBuilder::new().with_webpki_roots(),
            Some(path) => {
                let bad = |why: String| {
                    CliError::usage(format!(
                        "the CA file {} ({}) cannot be used: {why}",
                        path.display(),
                        target.ca_from
                    ))
                };
                let mut roots = rustls::RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
                    roots
                        .add(certificate.map_err(|e| bad(e.to_string()))?)
                        .map_err(|e| bad(e.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(bad("it holds no certificate in PEM form".to_owned()));
                }
                let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                HttpsConnectorBuilder::new().with_tls_config(tls)
            }
        };
        let connector = builder.https_or_http().enable_all_versions().wrap_connector(tcp);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .http2_only(http2)
            .build(connector);
        Ok(Self { target, http })
    }

    /// Which server this is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a request and gives the answer as soon as its head is there, whatever its status.
    pub async fn open(&self, request: &Request) -> Result<Response<Incoming>, CliError> {
        let url = format!("{}{}", self.target.url, request.path);
        let mut builder = http::Request::builder()
            .method(request.method.clone())
            .uri(&url)
            .header(USER_AGENT, concat!("switchboard-cli/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.target.token {
            builder = builder.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &request.headers {
            builder = builder.header(name.as_str(), value.as_slice());
        }
        let http_request = builder
            .body(Full::new(request.body.clone()))
            .map_err(|why| CliError::usage(format!("this cannot be sent as a request to {url}: {why}")))?;
        let sent = self.http.request(http_request);
        let answer = match request.timeout {
            Some(limit) => tokio::time::timeout(limit, sent).await.map_err(|_| self.silent(limit))?,
            None => sent.await,
        };
        answer.map_err(|why| self.unreachable(&why))
    }

    /// Sends a request and reads the whole answer. A status of 400 or more is an error.
    pub async fn send(&self, request: &Request) -> Result<Answer, CliError> {
        let answer = self.read(request).await?;
        if answer.status.is_client_error() || answer.status.is_server_error() {
            return Err(refusal(answer.status, &answer.body));
        }
        Ok(answer)
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub async fn read(&self, request: &Request) -> Result<Answer, CliError> {
        let (head, body) = self.open(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect();
        let body = match request.timeout {
            Some(limit) => tokio::time::timeout(limit, body).await.map_err(|_| self.silent(limit))?,
            None => body.await,
        };
        let body = body
            .map_err(|why| {
                CliError::new(
                    exit::UNREACHABLE,
                    "SB0001",
                    format!("the connection to {} broke: {}", self.target.url, clean(&why.to_string())),
                )
            })?
            .to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Sends a request with an optional JSON body and reads a JSON answer.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let mut request = Request::new(method, path).header(ACCEPT.as_str(), "application/json");
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(&request).await?.value()
    }

    fn silent(&self, limit: Duration) -> CliError {
        CliError::timeout(format!("no answer from {} within {} s", self.target.url, limit.as_secs()))
    }

    fn unreachable(&self, why: &legacy::Error) -> CliError {
        let mut reason = why.to_string();
        let mut source = std::error::Error::source(why);
        while let Some(inner) = source {
            reason = inner.to_string();
            source = inner.source();
        }
        let Target { url, url_from, .. } = &self.target;
        let error = CliError::new(
            exit::UNREACHABLE,
            "SB0001",
            format!("cannot reach switchboard at {url} ({url_from})"),
        )
        .help(clean(&reason));
        if reason.contains("certificate") || reason.contains("UnknownIssuer") {
            return error.help("Check the address, or give the CA that signed it:  --ca ca.pem");
        }
        let local = ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| url.contains(host));
        error.help(if local {
            "Is it running? Start one:  switchboard"
        } else {
            "Check the address:  switchboard profile list"
        })
    }
}

/// The error that an answer of 400 or more stands for.
pub fn refusal(status: StatusCode, body: &[u8]) -> CliError {
    let exit = match status.as_u16() {
        401 | 403 => exit::DENIED,
        404 => exit::MISSING,
        408 | 504 => exit::TIMEOUT,
        _ => exit::REFUSED,
    };
    let problem: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    problem_error(exit, &problem).unwrap_or_else(|| {
        CliError::new(exit, "SB0006", format!("the server answered {status}"))
            .help("without saying why: is this a switchboard server?")
    })
}

/// The error that a problem (RFC 9457) stands for.
pub fn problem_error(exit: u8, problem: &Value) -> Option<CliError> {
    let text = |key: &str| problem[key].as_str().map(clean).filter(|t| !t.is_empty());
    let title = text("title")?;
    let message = text("detail").unwrap_or(title);
    let mut error = CliError::new(exit, text("code").unwrap_or_else(|| "SB0006".to_owned()), message);
    if let Some(fix) = text("fix") {
        error = error.help(fix);
    }
    Some(error)
}

/// Text of somebody else's, made harmless for a terminal.
pub fn clean(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().map(|c| if harmless(c) { c } else { '\u{fffd}' }).collect()
}

/// One segment of a path, escaped.
pub fn segment(text: &str) -> String {
    escape(text, b"-._~*")
}

/// A value of a query, escaped.
pub fn query_value(text: &str) -> String {
    escape(text, b"-._~")
}

fn escape(text: &str, keep: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A path with a query of the values that are there.
pub fn with_query(path: &str, query: &[(&str, Option<String>)]) -> String {
    let mut out = path.to_owned();
    for (name, value) in query.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        out.push(if out.contains('?') { '&' } else { '?' });
        out.push_str(name);
        if !value.is_empty() {
            out.push('=');
            out.push_str(&query_value(value));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_escaped_once_more() {
        assert_eq!(segment("orders.a%2Eb"), "orders.a%252Eb");
        assert_eq!(segment("orders.#"), "orders.%23");
        assert_eq!(segment("orders.*.>"), "orders.*.%3E");
        assert_eq!(
            with_query("/x", &[("a", Some("1 2".into())), ("b", None), ("live", Some(String::new()))]),
            "/x?a=1%202&live"
        );
    }

    #[test]
    fn problems_keep_their_code_and_lose_escape_sequences() {
        let body = br#"{"title":"No such topic","detail":"no topic `x\u001b[31m`","code":"SB0301","fix":"did you mean `y`?"}"#;
        let error = refusal(StatusCode::NOT_FOUND, body);
        assert_eq!((error.exit, error.code.as_str()), (exit::MISSING, "SB0301"));
        assert!(!error.render(false).contains('\x1b') && error.render(false).contains("did you mean `y`?"));
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>").exit, exit::REFUSED);
    }
}
