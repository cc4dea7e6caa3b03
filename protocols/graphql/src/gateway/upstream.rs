//! One subgraph: where it is, and how it is asked.

use super::events::Events;
use crate::front::{self, Event, Side, Terms};
use crate::map::Fault;
use crate::wire::{self, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::{HeaderValue, header};
use http_body::Body as _;
use sb_board::Access;
use sb_board::call::{Code, Retries, Status};
use sb_board::mount::{Body, Dialer, HttpReply, HttpUpstream, ReplyBody, Target};
use sb_core::model::Error;
use serde_json::{Map, Value};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A subgraph.
pub(super) enum Upstream {
    /// The services of this server.
    Own,
    /// At the other end of HTTP.
    Http {
        http: Arc<dyn HttpUpstream>,
        /// Path and query of its URL.
        path: http::Uri,
        timeout: Option<Duration>,
        retries: Retries,
    },
}

/// What is asked of a subgraph.
pub(super) struct Question<'a> {
    pub(super) access: &'a Access,
    pub(super) terms: &'a Terms,
    pub(super) deadline: Instant,
    /// Bytes that answers may still have.
    pub(super) bytes: &'a AtomicUsize,
    /// Whether it may be asked again when nothing came of it.
    pub(super) again: bool,
    /// The JSON of the request.
    pub(super) body: Bytes,
}

impl Upstream {
    pub(super) fn at(
        target: &Target,
        timeout: Option<Duration>,
        dialer: &Arc<dyn Dialer>,
    ) -> Result<Upstream, Error> {
        let wrong = |why: &str| {
            Error::invalid(format!("{:?} {why}", target.url))
                .fix("Write it as http://host:port/path or https://…")
        };
        let (tls, url, path) = parts(&target.url).ok_or_else(|| wrong("is no address of HTTP"))?;
        let path = path.parse().map_err(|_| wrong("has a path that cannot be asked for"))?;
        let target = Target { url, ..target.clone() };
        Ok(Upstream::Http {
            http: dialer.http(&target, tls, false)?,
            path,
            timeout,
            retries: Retries::default(),
        })
    }

    /// The answer's object: it has `data`, `errors`, or both.
    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Map<String, Value>, Status> {
        match self {
            Upstream::Own => {
                let left = question.deadline.saturating_duration_since(Instant::now());
                let terms = Terms {
                    metadata: question.terms.metadata.clone(),
                    timeout_ms: u64::try_from(left.as_millis()).ok(),
                    ..Terms::default()
                };
                let answer = front::answer_with(question.access, &question.body, terms).await;
                take(question.bytes, answer.len())?;
                answered(&answer).ok_or_else(none)
            }
            Upstream::Http { http, path, timeout, retries } => {
                let limit = timeout.map(|most| Instant::now() + most);
                let deadline = limit.map_or(question.deadline, |limit| limit.min(question.deadline));
                let asking = async {
                    if !question.again {
                        return once(&**http, path, question).await;
                    }
                    retries.earn();
                    let mut tries = 1;
                    loop {
                        let answer = once(&**http, path, question).await;
                        let code = answer.as_ref().err().map(|status| status.code);
                        if !retries.again(code, tries, Some(deadline)).await {
                            return answer;
                        }
                        tries += 1;
                    }
                };
                match limit {
                    None => asking.await,
                    Some(at) => tokio::time::timeout_at(at, asking).await.unwrap_or_else(|_| {
                        Err(Status::new(Code::DeadlineExceeded, "the subgraph did not answer in time"))
                    }),
                }
            }
        }
    }
}

/// What a subgraph streams: results, and in the end perhaps why it broke off.
pub(super) type Items = BoxStream<'static, Result<Map<String, Value>, Status>>;

impl Upstream {
    /// Subscribes; `most` bounds the bytes of one item. Over HTTP by Server-Sent Events (GraphQL over SSE, distinct connections).
    pub(super) async fn subscribe(&self, question: &Question<'_>, most: usize) -> Result<Items, Status> {
        match self {
            Upstream::Own => {
                let terms = Terms { metadata: question.terms.metadata.clone(), ..Terms::default() };
                let ask = match wire::body(&question.body, 1) {
                    Ok(wire::Asked::One(ask)) => ask,
                    _ => return Err(Status::new(Code::Internal, "the request could not be read")),
                };
                let refused = |faults: Vec<Fault>| {
                    let answer = answered(&Response::refused(faults).encode()).ok_or_else(none);
                    Box::pin(stream::iter([answer])) as Items
                };
                Ok(match front::prepare(question.access, ask, &Side::Services) {
                    Err(faults) => refused(faults),
                    Ok(ready) => {
                        Box::pin(front::events(question.access.clone(), ready, terms).map(|event| {
                            let response = match event {
                                Event::Next(response) => response,
                                Event::Refused(faults) => Response::refused(faults),
                            };
                            answered(&response.encode()).ok_or_else(none)
                        }))
                    }
                })
            }
            Upstream::Http { http, path, .. } => {
                let request = request(path, question, "text/event-stream");
                let reply = http.send(request).await?;
                let (status, head) = (reply.response.status(), reply.response.headers());
                let kind = head.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let streams = kind.is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"));
                if status.is_success() && streams {
                    let events = Events::new(reply.response.into_body(), reply.verdict, most);
                    return Ok(Box::pin(stream::unfold(events, |mut events| async move {
                        let item = events.next().await?;
                        Some((item, events))
                    })));
                }
                // A refusal comes as JSON.
                let answer = whole(reply, question).await?;
                Ok(Box::pin(stream::iter([Ok(answer)])))
            }
        }
    }
}

/// A URL of HTTP: whether it means TLS, the URL with a port for each host and without a path, and path with query.
fn parts(url: &str) -> Option<(bool, String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let (tls, port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (false, 80),
        "https" => (true, 443),
        _ => return None,
    };
    let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (hosts, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let hosts = hosts.split(',').map(|host| {
        let told = host.rsplit_once(':').is_some_and(|(name, _)| !name.contains(':') || name.ends_with(']'));
        if told { host.to_owned() } else { format!("{host}:{port}") }
    });
    let url = format!("{}://{}", if tls { "https" } else { "http" }, hosts.collect::<Vec<_>>().join(","));
    Some((tls, url, if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }))
}

/// One request over HTTP.
async fn once(
    http: &dyn HttpUpstream,
    path: &http::Uri,
    question: &Question<'_>,
) -> Result<Map<String, Value>, Status> {
    let accept = "application/graphql-response+json, application/json;q=0.9";
    whole(http.send(request(path, question, accept)).await?, question).await
}

fn request(path: &http::Uri, question: &Question<'_>, accept: &'static str) -> http::Request<Body> {
    let mut request = http::Request::new(Body::from(question.body.clone()));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path.clone();
    let headers = request.headers_mut();
    headers.extend(question.terms.metadata.clone());
    headers.extend(question.terms.forwarded.clone());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    request
}

/// The answer in a response that does not stream.
async fn whole(reply: HttpReply, question: &Question<'_>) -> Result<Map<String, Value>, Status> {
    let status = reply.response.status();
    let bytes = match read(reply.response.into_body(), question.bytes).await {
        Ok(bytes) => bytes,
        Err(failed) => {
            // An answer that is too long is the question's fault.
            if failed.code == Code::Unavailable {
                reply.verdict.bad();
            }
            return Err(failed);
        }
    };
    // What a proxy in between says of a server that is gone; the server itself says that in JSON.
    let gone = matches!(status.as_u16(), 502..=504);
    if gone {
        reply.verdict.bad();
    } else {
        reply.verdict.good();
        if let Some(answer) = answered(&bytes) {
            return Ok(answer);
        }
    }
    Err(match status.is_success() {
        true => none(),
        false => {
            let code = if gone { Code::Unavailable } else { Code::from_http(status) };
            Status::new(code, format!("the subgraph answered with status {}", status.as_u16()))
        }
    })
}

/// What is no answer at all.
fn none() -> Status {
    Status::new(Code::Internal, "the subgraph's answer is not one of GraphQL")
}

/// The object of an answer of GraphQL.
pub(super) fn answered(bytes: &[u8]) -> Option<Map<String, Value>> {
    let Value::Object(object) = serde_json::from_slice(bytes).ok()? else { return None };
    let is = object.contains_key("data") || object.get("errors").is_some_and(Value::is_array);
    is.then_some(object)
}

/// Takes bytes from what all answers may have together.
pub(super) fn take(bytes: &AtomicUsize, n: usize) -> Result<(), Status> {
    let taken = bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(n));
    taken.map(drop).map_err(|_| {
        Status::new(Code::ResourceExhausted, "the answers of the subgraphs are too long together")
    })
}

async fn read(mut body: ReplyBody, bytes: &AtomicUsize) -> Result<Bytes, Status> {
    let mut all = BytesMut::new();
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame else { return Ok(all.freeze()) };
        let frame =
            frame.map_err(|e| Status::new(Code::Unavailable, format!("the subgraph broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        take(bytes, data.len())?;
        all.extend_from_slice(&data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let is = |url: &str, wanted: (bool, &str, &str)| {
            let (tls, hosts, path) = parts(url).unwrap();
            assert_eq!((tls, hosts.as_str(), path.as_str()), wanted, "{url}");
        };
        is("http://a:4000/graphql", (false, "http://a:4000", "/graphql"));
        is("HTTPS://a/", (true, "https://a:443", "/"));
        is("http://a", (false, "http://a:80", "/"));
        is("http://a?x=1#y", (false, "http://a:80", "/?x=1"));
        is("http://[::1]/q", (false, "http://[::1]:80", "/q"));
        is("http://[::1]:81/q", (false, "http://[::1]:81", "/q"));
        is("http://a,b:2/q", (false, "http://a:80,b:2", "/q"));
        assert!(parts("ws://a").is_none() && parts("a/b").is_none() && parts("").is_none());
    }

    #[test]
    fn answers() {
        assert!(answered(br#"{"data":null}"#).is_some() && answered(br#"{"errors":[]}"#).is_some());
        for bad in [&b""[..], b"<html>", b"[]", b"{}", br#"{"errors":"no"}"#] {
            assert!(answered(bad).is_none());
        }
    }
}
