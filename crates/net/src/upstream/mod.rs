//! Connections that this server opens itself: the [`Dialer`] that protocols are given to call upstreams.
//!
//! A target is one or more `host:port`; each name may resolve to several addresses, and each address is an endpoint. `endpoints` knows which of
//! them are well and picks one; `http` sends requests, over shared HTTP/2 connections (`h2`) or pooled HTTP/1.1 ones; `pipe` pools byte streams;
//! `tls` encrypts; `health` asks endpoints how they are.

mod endpoints;
mod h2;
mod health;
mod http;
mod pipe;
mod tls;

use endpoints::Endpoints;
use sb_board::mount::{Dialer, HttpUpstream, PipeUpstream, Stream, Target};
use sb_core::model::{Error, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// The dialer of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dial;

impl Dialer for Dial {
    fn http(&self, target: &Target, tls: bool, h2: bool) -> Result<Arc<dyn HttpUpstream>> {
        let alpn: &[&[u8]] = if h2 { &[b"h2"] } else { &[b"h2", b"http/1.1"] };
        let way = Arc::new(Way::new(target, tls, alpn)?);
        Ok(http::Upstream::make(Endpoints::new(target)?, way, h2, target))
    }

    fn pipes(&self, target: &Target, tls: bool) -> Result<Arc<dyn PipeUpstream>> {
        let way = Arc::new(Way::new(target, tls, &[])?);
        Ok(Arc::new(pipe::Pool::new(Endpoints::new(target)?, way)))
    }
}

/// How an endpoint is connected to.
struct Way {
    tls: Option<tls::Client>,
    timeout: Duration,
}

/// A connection that was just made.
enum Made {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Way {
    fn new(target: &Target, tls: bool, alpn: &[&[u8]]) -> Result<Way> {
        let ms = if target.connect_ms == 0 { 5_000 } else { target.connect_ms };
        let tls = if tls { Some(tls::Client::new(target, alpn)?) } else { None };
        Ok(Way { tls, timeout: Duration::from_millis(ms) })
    }

    /// Connects, within the time. The error is a sentence.
    async fn connect(&self, host: &str, addr: SocketAddr) -> std::result::Result<Made, String> {
        let connecting = async {
            let stream =
                TcpStream::connect(addr).await.map_err(|e| format!("cannot connect to {addr}: {e}"))?;
            let _ = stream.set_nodelay(true);
            match &self.tls {
                None => Ok(Made::Plain(stream)),
                Some(tls) => tls
                    .connect(host, stream)
                    .await
                    .map(|stream| Made::Tls(Box::new(stream)))
                    .map_err(|e| format!("no TLS with {host} at {addr}: {e}")),
            }
        };
        tokio::time::timeout(self.timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(format!("{addr} did not answer within {} ms", self.timeout.as_millis())))
    }
}

impl Made {
    fn alpn_h2(&self) -> bool {
        match self {
            Made::Plain(_) => false,
            Made::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    fn boxed(self) -> Box<dyn Stream> {
        match self {
            Made::Plain(stream) => Box::new(stream),
            Made::Tls(stream) => stream,
        }
    }
}

fn invalid(target: &Target, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("the target {:?} cannot be used: {why}", target.url))
        .fix("Write it as scheme://host:port, several hosts separated by commas")
}
