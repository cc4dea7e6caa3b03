//! A server without a board: `cargo run -p sb-net --example echo_server [PORT]`. `/` answers, `/echo` sends bodies and WebSocket
//! messages back, `/flood` sends 10,000 messages. For trying clients and conformance suites.

use http_body_util::BodyExt;
use sb_board::mount::{Answer, Body, BoxFuture, Frame, Upgrade, WebSocket, WebSocketOptions};
use sb_net::{Connection, Host, Listener, NetCounters, NetLimits, Server};
use std::sync::Arc;

async fn echo(mut socket: WebSocket) {
    while let Some(frame) = socket.next().await {
        match frame {
            Frame::Text(text) => socket.queue_text(text),
            Frame::Binary(bytes) => socket.queue_binary(bytes),
            Frame::Close(..) => break,
        }
        if socket.flush().await.is_err() {
            break;
        }
    }
}

async fn flood(mut socket: WebSocket) {
    for i in 0..10_000 {
        socket.queue_text(format!(
            "message {i} of the flood, long enough to be worth compressing with context"
        ));
        if socket.io().queued() > 64 * 1024 && socket.flush().await.is_err() {
            return;
        }
    }
    socket.close(1000, "done").await;
}

fn handle(http: http::Request<hyper::body::Incoming>, _: Arc<Connection>) -> BoxFuture<Answer> {
    Box::pin(async move {
        let options =
            WebSocketOptions { max_message: 64 << 20, max_fragments: None, ..WebSocketOptions::default() };
        match http.uri().path() {
            "/" => Answer::Response(http::Response::new(Body::from("ok\n".to_owned()))),
            "/flood" => {
                let run = Box::new(|socket| Box::pin(flood(socket)) as BoxFuture<()>);
                Answer::WebSocket(Upgrade { http, subprotocol: None, options, run })
            }
            "/echo" if sb_net::is_websocket(&http) => {
                let run = Box::new(|socket| Box::pin(echo(socket)) as BoxFuture<()>);
                Answer::WebSocket(Upgrade { http, subprotocol: Some("echo"), options, run })
            }
            "/echo" => match http.into_body().collect().await {
                Ok(body) => Answer::Response(http::Response::new(Body::from(body.to_bytes()))),
                Err(error) => Answer::Response(http::Response::new(Body::from(error.to_string()))),
            },
            _ => Answer::Pass(http),
        }
    })
}

#[tokio::main]
async fn main() {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(7079);
    let host = Host::new(Arc::new(handle), NetLimits::default(), NetCounters::new([], Arc::default()));
    let listener = Listener { addr: ([127, 0, 0, 1], port).into(), only: None, tls: None };
    match Server::http_only(host, vec![listener]) {
        Ok(server) => {
            println!("listening on {:?}", server.local_addrs());
            server
                .run(async {
                    let _ = tokio::signal::ctrl_c().await;
                })
                .await;
        }
        Err(error) => eprintln!("{error}"),
    }
}
