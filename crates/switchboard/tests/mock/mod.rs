//! A server for tests: every request is remembered and answered by a function.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An answer.
pub struct Reply {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Reply {
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, kind: "application/json", body: body.to_string() }
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self { status, kind: "text/plain", body: body.to_owned() }
    }

    pub fn events(body: &str) -> Self {
        Self { status: 200, kind: "text/event-stream", body: body.to_owned() }
    }
}

/// A running server; it ends with the test process.
pub struct Mock {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Mock {
    pub fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (log, answer) = (seen.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((socket, _)) = listener.accept().await {
                    let (log, answer) = (log.clone(), answer.clone());
                    let service = service_fn(move |request: http::Request<Incoming>| {
                        let (log, answer) = (log.clone(), answer.clone());
                        async move {
                            let (head, body) = request.into_parts();
                            let body =
                                body.collect().await.map(|b| b.to_bytes().to_vec()).unwrap_or_default();
                            let path =
                                head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
                            let seen =
                                Seen { method: head.method.to_string(), path, headers: head.headers, body };
                            log.lock().unwrap().push(seen.clone());
                            let reply = answer(&seen);
                            let response = http::Response::builder()
                                .status(reply.status)
                                .header("content-type", reply.kind)
                                .body(Full::new(Bytes::from(reply.body)));
                            Ok::<_, Infallible>(response.unwrap())
                        }
                    });
                    tokio::spawn(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(socket), service),
                    );
                }
            });
        });
        Self { url, seen }
    }

    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn paths(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|s| s.path.clone()).collect()
    }
}
