//! A pool of byte streams, each used by one call at a time. Kept ones that the other side has closed are closed soon, wanted again or not.

use super::Way;
use super::endpoints::Endpoints;
use sb_board::call::Status;
use sb_board::mount::{BoxFuture, PipeUpstream, PooledPipe, Stream};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead as _, ReadBuf};

/// The most idle connections that are kept.
const IDLE: usize = 64;

/// How often kept connections are looked at.
const LOOK: Duration = Duration::from_secs(2);

type Idle = Arc<Mutex<Kept>>;

/// The connections that nobody uses.
#[derive(Default)]
struct Kept {
    streams: Vec<(SocketAddr, Box<dyn Stream>)>,
    /// Whether a task looks at them.
    watched: bool,
}

fn lock(idle: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether nothing has come: neither the end, nor bytes that no call asked for.
fn is_quiet(stream: &mut Box<dyn Stream>) -> bool {
    let mut byte = [0];
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
}

/// Closes what the other side has closed, until there is nothing left to look at.
async fn watch(idle: Weak<Mutex<Kept>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut kept = lock(&idle);
        kept.streams.retain_mut(|(_, stream)| is_quiet(stream));
        if kept.streams.is_empty() {
            kept.watched = false;
            return;
        }
    }
}

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
                    let streams = &mut lock(&idle).streams;
                    // The newest first: the others may time out and are then replaced.
                    streams.iter().rposition(|(of, _)| *of == addr).map(|at| streams.swap_remove(at).1)
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
                    let mut kept = lock(&idle);
                    if kept.streams.len() < IDLE {
                        kept.streams.push((addr, stream));
                    }
                    if !std::mem::replace(&mut kept.watched, true) {
                        tokio::spawn(watch(Arc::downgrade(&idle)));
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
