//! Retries of calls to upstreams: only of unary methods that say they may be repeated (`idempotency_level`), only when nothing has come back,
//! and only while the budget lasts, so that a service in trouble does not get many times its load. [`Retries`] is the same for what calls
//! upstreams without a provider.

use super::{Call, Code, End, Part, Provider, Reply, Status};
use crate::Access;
use crate::mount::BoxFuture;
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

/// One call may be tried so often in all.
const TRIES: u32 = 3;
/// Thousandths of a retry that each call adds to the budget: one retry for ten calls.
const EARNED: i64 = 100;
/// The budget's bounds, in thousandths of a retry.
const FULL: i64 = 10_000;

/// The budget of retries of one upstream.
pub struct Retries(AtomicI64);

impl Default for Retries {
    fn default() -> Self {
        Retries(AtomicI64::new(FULL))
    }
}

impl Retries {
    /// A call that may be repeated begins.
    pub fn earn(&self) {
        let _ = self.0.fetch_update(Relaxed, Relaxed, |left| (left < FULL).then_some(left + EARNED));
    }

    /// Whether what failed with this code, tried so often, is tried once more before the deadline. Waits until then, and takes from the budget.
    pub async fn again(
        &self,
        code: Option<Code>,
        tries: u32,
        deadline: Option<tokio::time::Instant>,
    ) -> bool {
        // Unavailable says that the service did not take it, or may be asked again.
        if code != Some(Code::Unavailable) || tries >= TRIES || !self.afford() {
            return false;
        }
        let pause = Duration::from_millis(20 << tries) + jitter();
        if deadline.is_some_and(|at| tokio::time::Instant::now() + pause >= at) {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }

    /// Takes one retry from the budget, if there is one.
    fn afford(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| (left >= 1_000).then_some(left - 1_000)).is_ok()
    }
}

/// A provider whose failed calls are repeated where that is safe.
pub struct Retrying {
    inner: Arc<dyn Provider>,
    retries: Retries,
}

impl Retrying {
    /// Wraps a provider.
    pub fn new(inner: Arc<dyn Provider>) -> Self {
        Retrying { inner, retries: Retries::default() }
    }
}

impl Provider for Retrying {
    fn call(self: Arc<Self>, access: Access, mut call: Call) -> BoxFuture<Result<Reply, Status>> {
        let safe = !call.streaming.client
            && !call.streaming.server
            && access.board().services().method(&call.method).is_some_and(|e| e.repeatable());
        if !safe {
            return self.inner.clone().call(access, call);
        }
        Box::pin(async move {
            self.retries.earn();
            let message = call.message().await?;
            let mut tries = 1;
            loop {
                let again = Call {
                    metadata: call.metadata.clone(),
                    deadline: call.deadline,
                    streaming: call.streaming,
                    ..Call::unary(call.method.clone(), call.codec, message.clone())
                };
                let (reply, code) = match self.inner.clone().call(access.clone(), again).await {
                    Err(status) => {
                        let code = status.code;
                        (Err(status), Some(code))
                    }
                    Ok(mut reply) => match reply.parts.next().await {
                        Some(Part::End(End { status: Some(status), trailers })) => {
                            let code = status.code;
                            let end = Part::End(End { status: Some(status), trailers });
                            reply.parts = Box::pin(futures_util::stream::iter([end]));
                            (Ok(reply), Some(code))
                        }
                        first => {
                            reply.parts = Box::pin(futures_util::stream::iter(first).chain(reply.parts));
                            (Ok(reply), None)
                        }
                    },
                };
                if !self.retries.again(code, tries, call.deadline).await {
                    return reply;
                }
                tracing::debug!(method = %call.method, tries, "a call is repeated");
                tries += 1;
            }
        })
    }

    fn codecs(&self) -> &'static [super::Codec] {
        self.inner.codecs()
    }

    fn target(&self) -> String {
        self.inner.target()
    }

    fn healthy(&self) -> Result<(), String> {
        self.inner.healthy()
    }

    fn by_job(&self) -> super::ByJob {
        self.inner.by_job()
    }
}

/// Up to 20 ms, so that those who failed together do not come back together.
fn jitter() -> Duration {
    let mut byte = [0; 1];
    let _ = aws_lc_rs::rand::fill(&mut byte);
    Duration::from_micros(u64::from(byte[0]) * 80)
}
