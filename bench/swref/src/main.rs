//! swref: the plainest axum and tonic servers, as the practical ceiling, and a gRPC load client.
//!   swref http PORT THREADS      GET / (JSON) · /ws (echo) · /wsb (broadcast) · /sse · POST /pub · POST /take (body in, JSON receipt out) · POST /echo
//!   swref grpc PORT THREADS      sw.Echo: Unary, Down (server stream), Bidi
//!   swref grpc-client ADDR unary|down|bidi CONCURRENCY SECS SIZE
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{Response, sse};
use axum::routing::{get, post};
use futures_util::{SinkExt, StreamExt};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response as Rsp, Status, Streaming};

mod pb {
    include!(concat!(env!("OUT_DIR"), "/sw.Echo.rs"));
}
#[derive(Clone, PartialEq, prost::Message)]
pub struct Msg {
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub n: u64,
}

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

struct E;
type S = Pin<Box<dyn futures_util::Stream<Item = Result<Msg, Status>> + Send>>;
#[tonic::async_trait]
impl pb::echo_server::Echo for E {
    type DownStream = S;
    type BidiStream = S;
    async fn unary(&self, r: Request<Msg>) -> Result<Rsp<Msg>, Status> {
        Ok(Rsp::new(r.into_inner()))
    }
    async fn down(&self, r: Request<Msg>) -> Result<Rsp<S>, Status> {
        let m = r.into_inner();
        Ok(Rsp::new(Box::pin(tokio_stream::iter((0..m.n).map(move |_| Ok(m.clone()))))))
    }
    async fn bidi(&self, r: Request<Streaming<Msg>>) -> Result<Rsp<S>, Status> {
        Ok(Rsp::new(Box::pin(r.into_inner())))
    }
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

fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let v: Vec<&str> = s[s.rfind(')').unwrap() + 2..].split(' ').collect();
    (v[11].parse::<f64>().unwrap() + v[12].parse::<f64>().unwrap()) / 100.0
}
async fn client(addr: String, mode: String, conc: usize, secs: f64, size: usize) {
    let n = Arc::new(AtomicU64::new(0));
    let lat = Arc::new(std::sync::Mutex::new(Vec::<u32>::new()));
    let ch = tonic::transport::Endpoint::from_shared(format!("http://{addr}"))
        .unwrap()
        .tcp_nodelay(true)
        .connect()
        .await
        .unwrap();
    let (t0, c0) = (Instant::now(), cpu());
    let end = t0 + Duration::from_secs_f64(secs);
    let mut js = Vec::new();
    for _ in 0..conc {
        let (n, lat, mode, ch) = (n.clone(), lat.clone(), mode.clone(), ch.clone());
        js.push(tokio::spawn(async move {
            let mut c = pb::echo_client::EchoClient::new(ch);
            let m = Msg { body: vec![7; size], n: 1000 };
            let mut l = Vec::new();
            while Instant::now() < end {
                let t = Instant::now();
                match mode.as_str() {
                    "unary" => {
                        c.unary(m.clone()).await.unwrap();
                        n.fetch_add(1, Relaxed);
                    }
                    "down" => {
                        let mut s = c.down(m.clone()).await.unwrap().into_inner();
                        while let Some(_x) = s.message().await.unwrap() {
                            n.fetch_add(1, Relaxed);
                        }
                    }
                    _ => {
                        let mm = m.clone();
                        let mut s = c
                            .bidi(tokio_stream::iter((0..1000).map(move |_| mm.clone())))
                            .await
                            .unwrap()
                            .into_inner();
                        while let Some(_x) = s.message().await.unwrap() {
                            n.fetch_add(1, Relaxed);
                        }
                    }
                }
                l.push(t.elapsed().as_micros() as u32);
            }
            lat.lock().unwrap().extend(l);
        }));
    }
    for j in js {
        j.await.unwrap();
    }
    let (w, k) = (t0.elapsed().as_secs_f64(), n.load(Relaxed));
    let mut l = lat.lock().unwrap();
    l.sort();
    println!(
        "mode={mode} conc={conc} msgs={k} rate={:.0} cli_us={:.2} call_p50_us={} call_p99_us={}",
        k as f64 / w,
        (cpu() - c0) * 1e6 / k as f64,
        l[l.len() / 2],
        l[l.len() * 99 / 100]
    );
}

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let g = |i: usize, d: &str| a.get(i).cloned().unwrap_or(d.into());
    let mk = |t: usize| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(t).enable_all().build().unwrap()
    };
    match g(1, "").as_str() {
        "http" => mk(g(3, "1").parse().unwrap()).block_on(http(g(2, "8080").parse().unwrap())),
        "grpc" => mk(g(3, "1").parse().unwrap()).block_on(async {
            let addr = format!("127.0.0.1:{}", g(2, "50051")).parse().unwrap();
            tonic::transport::Server::builder()
                .tcp_nodelay(true)
                .add_service(pb::echo_server::EchoServer::new(E))
                .serve(addr)
                .await
                .unwrap()
        }),
        "grpc-client" => mk(1).block_on(client(
            g(2, ""),
            g(3, "unary"),
            g(4, "1").parse().unwrap(),
            g(5, "3").parse().unwrap(),
            g(6, "128").parse().unwrap(),
        )),
        _ => eprintln!("see the head of swref/src/main.rs"),
    }
}
