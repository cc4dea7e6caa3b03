//! Retries of calls to upstreams: only of unary methods that say they may be repeated (`idempotency_level`), only when nothing has come back,
//! and only while the budget lasts, so that a service in trouble does not get many times its load. Hedging, where it is asked for, is the same before
//! a failure: a call that is slow to answer is made once more beside the first, out of the same budget, and the first answer counts.
//! [`Retries`] is the budget for what calls upstreams without a provider.

use super::{Call, Code, Codec, End, Part, Provider, Reply, Status};
use crate::Access;
use crate::mount::BoxFuture;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

/// One call may be tried so often in all.
const TRIES: u32 = 3;
/// Thousandths of a retry that each call adds to the budget: one retry for ten calls.
const EARNED: i64 = 100;
/// The budget's bounds, in thousandths of a retry.
const FULL: i64 = 10_000;

/// When a call that has not been answered is made once more.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Hedge {
    /// After so long, counted from the newest.
    pub after: Duration,
    /// So many at the same time, with the first.
    pub max: u32,
}

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
    hedge: Option<Hedge>,
    retries: Retries,
}

/// A call that can be made again.
struct Asked {
    method: Arc<str>,
    codec: Codec,
    metadata: http::HeaderMap,
    deadline: Option<tokio::time::Instant>,
    message: Bytes,
}

impl Asked {
    fn call(&self) -> Call {
        Call {
            metadata: self.metadata.clone(),
            deadline: self.deadline,
            ..Call::unary(self.method.clone(), self.codec, self.message.clone())
        }
    }
}

/// A reply whose beginning has been looked at, and how it failed at once if it did.
type Tried = (Result<Reply, Status>, Option<Code>);

impl Retrying {
    /// Wraps a provider.
    pub fn new(inner: Arc<dyn Provider>, hedge: Option<Hedge>) -> Self {
        Retrying { inner, hedge, retries: Retries::default() }
    }

    /// One try, up to the beginning of its answer.
    async fn once(&self, access: &Access, asked: &Asked) -> Tried {
        match self.inner.clone().call(access.clone(), asked.call()).await {
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
        }
    }

    /// One try, or several beside each other when the first is slow. The first answer counts, and the others are cancelled by being dropped.
    async fn hedged(&self, access: &Access, asked: &Asked) -> Tried {
        let Some(hedge) = self.hedge else { return self.once(access, asked).await };
        let mut running = FuturesUnordered::new();
        running.push(self.once(access, asked));
        let mut made = 1;
        loop {
            tokio::select! {
                biased;
                Some(tried) = running.next() => {
                    // Another one may still be answered.
                    if tried.1 != Some(Code::Unavailable) || running.is_empty() {
                        return tried;
                    }
                }
                () = tokio::time::sleep(hedge.after), if made < hedge.max => {
                    made += 1;
                    if self.retries.afford() {
                        running.push(self.once(access, asked));
                    }
                }
            }
        }
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
            let asked = Asked {
                message: call.message().await?,
                method: call.method,
                codec: call.codec,
                metadata: call.metadata,
                deadline: call.deadline,
            };
            let mut tries = 1;
            loop {
                let (reply, code) = self.hedged(&access, &asked).await;
                if !self.retries.again(code, tries, asked.deadline).await {
                    return reply;
                }
                tracing::debug!(method = %asked.method, tries, "a call is repeated");
                tries += 1;
            }
        })
    }

    fn codecs(&self) -> &'static [Codec] {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Service;
    use std::sync::atomic::AtomicUsize;

    const PROTO: &str = "syntax = \"proto3\"; package t; message M { string text = 1; }
        service S { rpc Ask(M) returns (M) { option idempotency_level = NO_SIDE_EFFECTS; } rpc Do(M) returns (M); }";

    /// Never answers the first so many calls; counts those that were begun and those that were dropped unanswered.
    #[derive(Default)]
    struct Slow {
        silent: usize,
        begun: AtomicUsize,
        dropped: Arc<AtomicUsize>,
    }

    struct Dropped(Arc<AtomicUsize>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    impl Provider for Slow {
        fn call(self: Arc<Self>, _: Access, _: Call) -> BoxFuture<Result<Reply, Status>> {
            let silent = self.begun.fetch_add(1, Relaxed) < self.silent;
            Box::pin(async move {
                if silent {
                    let _held = Dropped(self.dropped.clone());
                    std::future::pending::<()>().await;
                }
                Ok(Reply::unary(Bytes::from_static(b"{}")))
            })
        }

        fn codecs(&self) -> &'static [Codec] {
            &[Codec::Json]
        }

        fn target(&self) -> String {
            "nowhere".to_owned()
        }
    }

    async fn ask(method: &str, silent: usize, hedge: Option<Hedge>) -> (bool, usize, usize) {
        let (board, _) = crate::Board::start(crate::Settings {
            dir: None,
            authority: crate::auth::Authority::new([], Vec::new(), Default::default()),
            http: crate::HttpSettings::default(),
            memory: 64 << 20,
            max_message: 1 << 20,
            max_request: 8 << 20,
            max_wait_ms: 1_000,
            mode: "development".into(),
        })
        .unwrap();
        let slow = Arc::new(Slow { silent, ..Slow::default() });
        let provider: Arc<dyn Provider> = Arc::new(Retrying::new(slow.clone(), hedge));
        let schema = sb_schema::Schema::from_texts([("t.proto", PROTO)]).unwrap();
        let service = Service {
            name: "t.S".into(),
            provider,
            timeout: None,
            shown: None,
            json: sb_schema::Options::default(),
        };
        board.set_services(schema, vec![service]).await.unwrap();
        let call = Call::unary(method, Codec::Json, Bytes::from_static(b"{}"));
        let limit = Duration::from_millis(400);
        let called = async { board.admin().call(call).await.unwrap().one().await.1.unwrap() };
        let answered = tokio::time::timeout(limit, called).await.is_ok();
        (answered, slow.begun.load(Relaxed), slow.dropped.load(Relaxed))
    }

    #[tokio::test]
    async fn a_slow_call_is_made_once_more_and_the_first_answer_counts() {
        let hedge = Some(Hedge { after: Duration::from_millis(5), max: 2 });
        assert_eq!(ask("t.S/Ask", 1, hedge).await, (true, 2, 1), "the silent one is cancelled");
        assert_eq!(ask("t.S/Ask", 0, hedge).await, (true, 1, 0), "a quick one is made once");
        assert_eq!(ask("t.S/Ask", 2, hedge).await, (false, 2, 2), "and no more than max");
        assert_eq!(ask("t.S/Do", 1, hedge).await, (false, 1, 1), "what may not be repeated is not");
        assert_eq!(ask("t.S/Ask", 1, None).await, (false, 1, 1), "nor is anything unless asked for");
    }
}
