//! From a request to the board: who is calling, from where, and which protocol answers.

use crate::http::{Connection, Handler};
use crate::ws::handshake::is_websocket;
use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};
use hyper::body::Incoming;
use sb_board::mount::{Answer, Body, Descriptor, Mount};
use sb_board::{Access, Board, Credentials, HttpSettings, problem};
use sb_core::model::{Error, Kind};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a login is remembered on its connection: a revoked token is noticed after this at the latest.
const REMEMBER: Duration = Duration::from_secs(1);

static SB_API_KEY: HeaderName = HeaderName::from_static("sb-api-key");

/// The last login of a connection.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Option<(Given, Access, Instant)>>);

/// Credentials as the client gave them.
#[derive(Clone, PartialEq, Eq)]
enum Given {
    None,
    Token(String),
    Password(String, String),
}

fn refused(detail: &'static str) -> Error {
    Error::new(Kind::Unauthenticated, "SB0501", detail)
        .fix("Send Authorization: Bearer TOKEN, Sb-Api-Key: KEY, or Basic with the key as password.")
}

/// Reads the credentials of a request: `Authorization`, `Sb-Api-Key`, or `?token=`.
fn given(headers: &HeaderMap, uri: &Uri) -> Result<Given, Error> {
    let only = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(refused("There is more than one header with credentials.")),
            (Some(value), None) => {
                value.to_str().map(Some).map_err(|_| refused("The credentials are not plain text."))
            }
            (None, None) => Ok(None),
        }
    };
    if let Some(value) = only(&header::AUTHORIZATION)? {
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
            return Ok(Given::Token(rest.to_owned()));
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let text = base64::engine::general_purpose::STANDARD.decode(rest).ok();
            let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
            return match text.as_deref().and_then(|text| text.split_once(':')) {
                Some((name, password)) => Ok(Given::Password(name.to_owned(), password.to_owned())),
                None => Err(refused("The Basic credentials are not name:password in base64.")),
            };
        }
        return Err(refused("The Authorization header is neither Bearer nor Basic."));
    }
    if let Some(key) = only(&SB_API_KEY)? {
        return Ok(Given::Token(key.trim().to_owned()));
    }
    let token = uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("token=")));
    // Only a token of ours, which lives for an hour at most: addresses end up in logs and histories. Anything else may be a parameter
    // of somebody's own page, and is no login.
    let token = token.and_then(unescape).filter(|token| token.starts_with("sbt_"));
    Ok(token.map_or(Given::None, Given::Token))
}

/// Percent-decoding of a query value.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let (high, low) = (bytes.next()?, bytes.next()?);
                let digit = |b: u8| char::from(b).to_digit(16);
                (digit(high)? * 16 + digit(low)?) as u8
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

fn login(board: &Arc<Board>, conn: &Connection, request: &Request<Incoming>) -> Result<Access, Error> {
    let given = given(request.headers(), request.uri())?;
    let mut cache = conn.login.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((known, access, at)) = &*cache
        && *known == given
        && at.elapsed() < REMEMBER
    {
        return Ok(access.clone());
    }
    *cache = None;
    let credentials = match &given {
        Given::None => Credentials::None,
        Given::Token(token) => Credentials::Token(token),
        Given::Password(name, password) => Credentials::Password(name, password),
    };
    let access = board.login("http", &conn.peer, credentials)?;
    *cache = Some((given, access.clone(), Instant::now()));
    Ok(access)
}

/// Whether a page of this origin may open a WebSocket to a server that was reached as `host`.
pub fn origin_allowed(origin: &str, host: Option<&str>, settings: &HttpSettings) -> bool {
    if settings.origins.iter().any(|known| known.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return true;
    }
    let (scheme, authority) = match origin.split_once("://") {
        Some((scheme @ ("http" | "https"), authority)) => (scheme, authority),
        // `null`, files, extensions.
        _ => return false,
    };
    let port = if scheme == "https" { ":443" } else { ":80" };
    let plain = |authority: &str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
    if host.is_some_and(|host| plain(host) == plain(authority)) {
        return true;
    }
    settings.any_loopback_origin && is_loopback(authority)
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or("", |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn check_origin(request: &Request<Incoming>, settings: &HttpSettings) -> Result<(), Error> {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    let host = request
        .uri()
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| request.headers().get(header::HOST).and_then(|host| host.to_str().ok()));
    match origin.to_str() {
        Ok(origin) if origin_allowed(origin, host, settings) => Ok(()),
        _ => Err(Error::new(Kind::Denied, "SB0504", "Pages of this origin may not open a WebSocket here.")
            .fix("Add the origin to [http] origins in the configuration.")),
    }
}

/// Without configured credentials, whoever reaches the loopback interface may do everything. A page of a stranger that lets its own name
/// resolve to 127.0.0.1 would reach it too, with its own name as host: only names of this machine are served then.
fn check_host(request: &Request<Incoming>, conn: &Connection, board: &Board) -> Result<(), Error> {
    if !board.authority().open() || !conn.peer.local.ip().is_loopback() {
        return Ok(());
    }
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    let public =
        board.http().public_url.as_deref().and_then(|url| url.split_once("://")).map(|(_, rest)| rest);
    let own = |host: &str| {
        is_loopback(host)
            || host.ends_with(".localhost")
            || public.is_some_and(|p| p.split('/').next() == Some(host))
    };
    match host {
        Some(host) if !own(host) => Err(Error::new(
            Kind::Denied,
            "SB0504",
            format!("This server answers as localhost, not as {host:?}."),
        )
        .fix("Use localhost, set public_url in the configuration, or configure [auth].")),
        _ => Ok(()),
    }
}

/// Lets a page of an allowed origin read an answer that is given before any protocol is asked.
fn readable(response: &mut Response<Body>, headers: &HeaderMap, settings: &HttpSettings) {
    let Some(origin) = headers.get(header::ORIGIN) else { return };
    if !origin.to_str().is_ok_and(|text| origin_allowed(text, None, settings)) {
        return;
    }
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("WWW-Authenticate, Retry-After"),
    );
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// The handler that logs in and asks the protocols in the order of the table.
pub(crate) fn handler(board: Arc<Board>, protocols: &'static [&'static Descriptor]) -> Handler {
    Arc::new(move |request, conn| {
        let board = board.clone();
        Box::pin(async move {
            let judged = check_host(&request, &conn, &board).and_then(|()| match is_websocket(&request) {
                true => check_origin(&request, board.http()),
                false => Ok(()),
            });
            let access = match judged.and_then(|()| login(&board, &conn, &request)) {
                Ok(access) => access,
                Err(error) => {
                    // In the words of the protocol that the request is of, if one knows it by its looks.
                    let own =
                        protocols.iter().find_map(|p| p.refuse.and_then(|refuse| refuse(&request, &error)));
                    let mut response = own.unwrap_or_else(|| problem::response(&error, None));
                    readable(&mut response, request.headers(), board.http());
                    return Answer::Response(response);
                }
            };
            let mut http = request;
            for protocol in protocols {
                let Mount::Http(ask) = protocol.mount else { continue };
                let request =
                    sb_board::mount::Request { http, peer: conn.peer.clone(), access: access.clone() };
                match ask(request).await {
                    Answer::Pass(request) => http = request,
                    answer => return answer,
                }
            }
            Answer::Pass(http)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)], uri: &str) -> Result<Given, Error> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        given(&map, &uri.parse().unwrap())
    }

    #[test]
    fn credentials() {
        let token = |t: &str| Ok(Given::Token(t.into()));
        assert!(read(&[], "/") == Ok(Given::None));
        assert!(read(&[("authorization", "bearer  abc")], "/?token=x") == token("abc"));
        assert!(read(&[("sb-api-key", "k")], "/") == token("k"));
        assert!(read(&[], "/?a=b&token=sbt_a%2Eb") == token("sbt_a.b"));
        let basic = Ok(Given::Password("u".into(), "p:q".into()));
        assert!(read(&[("authorization", "Basic dTpwOnE=")], "/") == basic);
        for bad in ["Basic ###", "Basic dQ==", "Digest x", "Bearer", "Bearer "] {
            assert!(read(&[("authorization", bad)], "/").is_err(), "{bad}");
        }
        assert!(read(&[("authorization", "Bearer a"), ("authorization", "Bearer b")], "/").is_err());
        for none in ["/?token=", "/?token=%2", "/?token=%ff", "/?token=secret", "/?TOKEN=sbt_x"] {
            assert!(read(&[], none) == Ok(Given::None), "{none}");
        }
    }

    #[test]
    fn origins() {
        let mut settings =
            HttpSettings { origins: vec!["https://a.example".into()], ..HttpSettings::default() };
        let mut allowed = |origin: &str, host: &str, dev: bool| {
            settings.any_loopback_origin = dev;
            origin_allowed(origin, Some(host), &settings)
        };
        assert!(allowed("https://a.example", "b", false));
        assert!(!allowed("http://a.example", "b", false));
        assert!(!allowed("https://a.example.evil", "b", false));
        assert!(allowed("http://b:7070", "B:7070", false));
        assert!(allowed("https://b", "b:443", false));
        assert!(!allowed("http://b:1", "b:2", false));
        assert!(!allowed("null", "b", true));
        assert!(!allowed("http://localhost:5173", "127.0.0.1:7070", false));
        assert!(allowed("http://localhost:5173", "127.0.0.1:7070", true));
        assert!(allowed("http://[::1]:5173", "127.0.0.1:7070", true));
        assert!(!allowed("http://localhost.evil", "127.0.0.1:7070", true));
        assert!(!allowed("http://127.0.0.1.evil", "127.0.0.1:7070", true));
    }
}
