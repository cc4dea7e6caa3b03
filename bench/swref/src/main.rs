//! swref: the plainest axum and tonic servers, as the practical ceiling, and a gRPC load client.
//!   swref http PORT THREADS      GET / (JSON) · /ws (echo) · /wsb (broadcast) · /sse · POST /pub · POST /take (body in, JSON receipt out) · POST /echo
//!   swref grpc PORT THREADS      the services of bench/proto
//!   swref grpc-client ADDR unary|down|bidi|chat CONNECTIONS STREAMS SECS SIZE     prints a line of JSON; fails when an answer is not what was sent
//!   swref bodies FOLDER          writes the request bodies for other load tools
mod calls;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{Response, sse};
use axum::routing::{get, post};
use futures_util::{SinkExt, StreamExt};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

type Tx = broadcast::Sender<Utf8Bytes>;

async fn echo(mut s: WebSocket) {
    while let Some(Ok(m)) = s.recv().await {
        if matches!(m, Message::Text(_) | Message::Binary(_)) && s.send(m).await.is_err() {
            break;
        }
    }
}
async fn bcast(s: WebSocket, tx: Tx) {
    let (mut w, mut r) = s.split();
    let mut rx = tx.subscribe();
    let out = tokio::spawn(async move {
        while let Ok(m) = rx.recv().await {
            if w.feed(Message::Text(m)).await.is_err() {
                break;
            }
            while let Ok(m) = rx.try_recv() {
                if w.feed(Message::Text(m)).await.is_err() {
                    return;
                }
            }
            if w.flush().await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(m)) = r.next().await {
        if let Message::Text(t) = m {
            tx.send(t).ok();
        }
    }
    out.abort();
}

async fn http(port: u16) {
    let (tx, _) = broadcast::channel::<Utf8Bytes>(4096);
    let app = axum::Router::new()
        .route("/", get(|| async { axum::Json(serde_json::json!({"hello":"world"})) }))
        .route("/ws", get(|u: WebSocketUpgrade| async { u.on_upgrade(echo) }))
        .route("/wsb", get(|u: WebSocketUpgrade, State(tx): State<Tx>| async move { u.on_upgrade(move |s| bcast(s, tx)) }))
        .route("/sse", get(|State(tx): State<Tx>| async move {
            let s = BroadcastStream::new(tx.subscribe()).filter_map(|m| async { m.ok() }).map(|m| Ok::<_, Infallible>(sse::Event::default().data(m.as_str())));
            sse::Sse::new(s)
        }))
        .route("/pub", post(|State(tx): State<Tx>, b: String| async move {
            tx.send(b.into()).ok();
            Response::new(axum::body::Body::empty())
        }))
        .route("/take", post(|b: Bytes| async move {
            static N: AtomicU64 = AtomicU64::new(0);
            let n = N.fetch_add(1, Relaxed);
            (StatusCode::CREATED, axum::Json(serde_json::json!({"id":format!("{n:032}"),"topic":"bench","partition":0,"offset":n,"at":"2026-01-01T00:00:00.000Z","bytes":b.len()})))
        }))
        .route("/echo", post(|b: Bytes| async move { b }))
        .with_state(tx);
    let l = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    use axum::serve::ListenerExt;
    axum::serve(
        l.tap_io(|s| {
            s.set_nodelay(true).ok();
        }),
        app,
    )
    .await
    .unwrap();
}

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let g = |i: usize, d: &str| a.get(i).cloned().unwrap_or(d.into());
    let mk = |t: usize| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(t).enable_all().build().unwrap()
    };
    match g(1, "").as_str() {
        "http" => mk(g(3, "1").parse().unwrap()).block_on(http(g(2, "8080").parse().unwrap())),
        "grpc" => mk(g(3, "1").parse().unwrap()).block_on(calls::serve(g(2, "50051").parse().unwrap())),
        "grpc-client" => mk(1).block_on(calls::client(
            g(2, ""),
            g(3, "unary"),
            g(4, "1").parse().unwrap(),
            g(5, "1").parse().unwrap(),
            g(6, "3").parse().unwrap(),
            g(7, "128").parse().unwrap(),
        )),
        "bodies" => calls::bodies(g(2, ".").as_ref()),
        _ => eprintln!("see the head of swref/src/main.rs"),
    }
}
