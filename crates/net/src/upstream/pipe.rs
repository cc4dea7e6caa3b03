//! A pool of byte streams, each used by one call at a time.

use super::Way;
use super::endpoints::Endpoints;
use sb_board::call::Status;
use sb_board::mount::{BoxFuture, PipeUpstream, PooledPipe, Stream};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The most idle connections that are kept.
const IDLE: usize = 64;

type Idle = Arc<Mutex<Vec<(SocketAddr, Box<dyn Stream>)>>>;

pub(super) struct Pool {
    endpoints: Arc<Endpoints>,
    way: Arc<Way>,
    idle: Idle,
}

impl Pool {
    pub(super) fn new(endpoints: Arc<Endpoints>, way: Arc<Way>) -> Pool {
        Pool { endpoints, way, idle: Idle::default() }
    }
}

impl PipeUpstream for Pool {
    fn take(&self) -> BoxFuture<Result<PooledPipe, Status>> {
        let (endpoints, way, idle) = (self.endpoints.clone(), self.way.clone(), self.idle.clone());
        Box::pin(async move {
            endpoints.refresh().await?;
            let mut tried = Vec::new();
            let (running, stream, used) = loop {
                let running = endpoints.pick(&tried)?;
                let addr = running.endpoint.addr;
                let kept = {
                    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                    // The newest first: the others may time out and are then replaced.
                    idle.iter().rposition(|(of, _)| *of == addr).map(|at| idle.swap_remove(at).1)
                };
                if let Some(stream) = kept {
                    break (running, stream, true);
                }
                match way.connect(&running.endpoint.host, addr).await {
                    Ok(made) => break (running, made.boxed(), false),
                    Err(why) => {
                        running.judge(false);
                        tried.push(addr);
                        if tried.len() >= endpoints.list().len().min(3) {
                            return Err(endpoints.unavailable(why));
                        }
                    }
                }
            };
            endpoints.reached();
            let addr = running.endpoint.addr;
            let give_back = move |stream: Option<Box<dyn Stream>>, good: bool| {
                running.judge(good);
                if let Some(stream) = stream {
                    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                    if idle.len() < IDLE {
                        idle.push((addr, stream));
                    }
                }
            };
            Ok(PooledPipe { stream, used, give_back: Box::new(give_back) })
        })
    }

    fn healthy(&self) -> Result<(), String> {
        self.endpoints.healthy()
    }
}
