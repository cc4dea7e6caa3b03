//! The only door to the board: the board as seen by one principal, through one protocol, on one connection. Every method checks rights on
//! canonical names, applies limits, counts, and then acts; there is no other way in, so a protocol can neither forget these nor repeat them.

mod calls;
mod groups;
mod jobs;
mod topics;

pub use calls::{AsJob, failure_status};
pub(crate) use groups::bury;

use crate::Board;
use crate::auth::{Principal, Verb};
use crate::call::Status;
use crate::directory::Topic;
use crate::part::{Got, Part, SharedBatch};
use bytes::Bytes;
use sb_core::batch::Record;
use sb_core::groups::Start;
use sb_core::jobs::{Failure, JobView};
use sb_core::model::{Address, Error, JobId, Kind, Message, Pattern, Position, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use sb_core::ops::{Condition, JobFilter, Settle};

/// The most messages in one request.
pub const MAX_MESSAGES: usize = 1000;
/// The most bytes that one read or lease gives.
pub const MAX_BYTES: usize = 4 << 20;

/// The most grants of a scoped token.
const MAX_GRANTS: usize = 256;

/// The board as seen by one principal, through one protocol, on one connection.
#[derive(Clone)]
pub struct Access {
    board: Arc<Board>,
    principal: Arc<Principal>,
    protocol: &'static str,
}

/// A key that a client gave so that a repeated request has one effect.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// 1 to 255 characters.
    pub key: String,
    /// Hash of what the request says; another one under the same key is refused.
    pub fingerprint: u128,
}

/// How to publish.
#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    /// Makes a repetition answer as the first time.
    pub idempotency: Option<Idempotency>,
    /// Create the topic of exactly that name when no topic claims the address.
    pub create: bool,
    /// Deliver to whoever listens now, keep nothing.
    pub live: bool,
}

/// Where a message is now.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Its identity.
    pub position: Position,
    /// The topic's name.
    pub topic: Arc<str>,
    /// When it was taken, in milliseconds since 1970.
    pub at_ms: i64,
}

/// The outcome of publishing.
#[derive(Clone, Debug)]
pub enum Published {
    /// Durable.
    Stored {
        /// One for each message, in order.
        receipts: Vec<Receipt>,
        /// Whether an earlier request with the same key did it.
        replayed: bool,
    },
    /// Handed to so many listeners, kept nowhere.
    Live(usize),
}

/// Where and how much to read.
#[derive(Clone, Debug)]
pub struct Read {
    /// What.
    pub pattern: Pattern,
    /// Where reading begins.
    pub from: From,
    /// Only this partition.
    pub partition: Option<u32>,
    /// At most so many messages.
    pub limit: usize,
    /// About at most so many bytes.
    pub max_bytes: usize,
}

/// Where reading begins.
#[derive(Clone, Debug)]
pub enum From {
    /// At this place of every partition.
    At(Start),
    /// Behind this cursor.
    After(String),
    /// The newest n.
    Last(u64),
}

/// A message that was read.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// Offset and message.
    pub record: Record,
    /// The id of the message: the cursor that points at it.
    pub cursor: String,
}

/// What reading gives.
#[derive(Clone, Debug)]
pub struct ReadResult {
    /// In order.
    pub messages: Vec<Delivered>,
    /// Continues behind the last message, or where it began when there is none. Also the entity tag.
    pub next: String,
}

/// How to lease.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// At most so many messages.
    pub max: usize,
    /// Wait so long for the first.
    pub wait_ms: u64,
    /// The term; the group's when not given.
    pub lease_ms: Option<u64>,
    /// Who takes them, for people.
    pub consumer: String,
}

/// A message that was leased.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Settles it.
    pub handle: String,
    /// The how manieth delivery.
    pub attempt: u32,
    /// When the lease ends by the wall clock, for people.
    pub until_ms: i64,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// Offset and message.
    pub record: Record,
    /// The id of the message.
    pub cursor: String,
}

/// What a seek did or would do.
#[derive(Copy, Clone, Debug)]
pub struct SeekReport {
    /// Messages that will not be delivered.
    pub skipped: u64,
    /// Messages that will be delivered again.
    pub again: u64,
}

/// A job to submit.
pub struct Submit {
    /// `package.Service/Method`.
    pub method: String,
    /// Body, content type, headers, key, due time. Its address is ignored.
    pub message: Message,
    /// A key of 1 to 255 characters under which a repetition answers with the same job. What counts as the same is up to the board, so that it
    /// is the same whatever protocol a repetition comes by: method, content type, body, headers, key and timeout.
    pub idempotency: Option<String>,
    /// Shorter than the method's.
    pub timeout_ms: Option<u64>,
}

/// A job that a worker has taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The job.
    pub job: JobView,
    /// Proves that the worker has it.
    pub handle: String,
    /// When the lease ends by the wall clock, for people.
    pub until_ms: i64,
    /// What was submitted.
    pub input: Message,
}

/// What a worker is told when it gives a sign of life.
#[derive(Copy, Clone, Debug)]
pub struct Term {
    /// When the lease ends by the wall clock, for people.
    pub until_ms: i64,
    /// Whether someone asked to stop the job.
    pub cancel_requested: bool,
}

/// A worker's sign of life with content.
#[derive(Clone, Debug)]
pub enum Report {
    /// JSON, checked by the caller.
    Progress(Bytes),
    /// Text, at most 64 KiB.
    Log {
        /// `stdout`, `stderr` or whatever the worker calls it.
        stream: String,
        /// The text.
        text: String,
    },
}

/// How a worker ends a job.
#[derive(Clone, Debug)]
pub enum Finish {
    /// With a result.
    Complete {
        /// Its media type.
        content_type: Option<String>,
        /// Its bytes.
        body: Bytes,
    },
    /// With a failure: another attempt, or the end.
    Fail {
        /// Why.
        failure: Failure,
        /// What a service said, with typed details; at most 16 KiB as Protobuf.
        status: Option<Status>,
        /// When to try again; the method's back-off otherwise.
        delay_ms: Option<u64>,
    },
}

/// How a finished job ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With a result.
    Result {
        /// Its media type.
        content_type: Option<String>,
        /// Its bytes.
        body: Bytes,
    },
    /// The last attempt failed.
    Failed {
        /// Why.
        failure: Failure,
        /// What the service said, with typed details, if it said anything besides.
        status: Option<Status>,
    },
    /// Ended by request.
    Cancelled,
    /// Its deadline passed.
    Expired,
}

/// What a scoped token allows.
#[derive(Clone, Debug, Default)]
pub struct TokenGrants {
    /// Patterns of addresses.
    pub read: Vec<String>,
    /// Patterns of addresses.
    pub publish: Vec<String>,
    /// Patterns of methods.
    pub call: Vec<String>,
    /// Jobs to watch.
    pub jobs: Vec<JobId>,
}

impl Access {
    pub(crate) fn new(board: Arc<Board>, principal: Arc<Principal>, protocol: &'static str) -> Self {
        Access { board, principal, protocol }
    }

    /// The same door for another protocol: HTTP logs in once for all protocols that run on it.
    pub fn via(&self, protocol: &'static str) -> Access {
        Access { protocol, ..self.clone() }
    }

    /// The board, for its settings and state; it has no operation of its own.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Who is calling.
    pub fn principal(&self) -> &str {
        &self.principal.name
    }

    /// The protocol it came by.
    pub fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// Ends when the caller's credentials expire; never when they do not.
    pub async fn revoked(&self) {
        match self.principal.expires_ms {
            None => std::future::pending().await,
            Some(at) => {
                let left = u64::try_from(at - self.board.now_ms()).unwrap_or(0);
                tokio::time::sleep(std::time::Duration::from_millis(left)).await;
            }
        }
    }

    /// What a stream is told that ends because of [`Access::revoked`].
    pub fn expired(&self) -> Error {
        crate::auth::expired()
    }

    /// What a stream is told that ends because the server does.
    pub fn stopping(&self) -> Error {
        Error::new(Kind::Unavailable, "SB0603", "the server stops")
            .fix("Connect again and go on from the last position")
            .retry_after(1_000)
    }

    /// What the caller of a job is told that waits for it when the server stops.
    pub fn job_goes_on(&self, id: JobId) -> Error {
        Error::new(Kind::Unavailable, "SB0603", format!("the server stops; job {id} goes on"))
            .fix(format!("Ask for it again at /jobs/{id}/result"))
            .retry_after(1_000)
    }

    /// Refuses those who have given no credentials although some are needed: they have no right to anything.
    pub fn known(&self) -> Result<()> {
        self.principal.known()
    }

    /// Whether the caller may see figures of the whole server (status, metrics).
    pub fn inspect(&self) -> Result<()> {
        self.principal.known()?;
        if self.principal.grants.admin {
            return Ok(());
        }
        Err(Error::new(
            Kind::Denied,
            "SB0502",
            format!("{:?} may not see the figures of the whole server", self.principal.name),
        )
        .fix("Use a key whose role has admin = true"))
    }

    /// The id of a message.
    pub fn cursor(&self, position: Position) -> String {
        self.board.signer().cursor(&[Position { offset: position.offset.saturating_add(1), ..position }])
    }

    /// A token with part of the caller's rights, and when it ends (milliseconds since 1970).
    pub fn token(&self, grants: &TokenGrants, ttl_ms: u64) -> Result<(String, i64)> {
        self.principal.known()?;
        if ttl_ms == 0 || ttl_ms > 3_600_000 {
            return Err(Error::invalid("a token lives between a moment and one hour")
                .fix("Give ttl as 10m or less than 1h"));
        }
        if grants.read.len() + grants.publish.len() + grants.call.len() + grants.jobs.len() > MAX_GRANTS {
            return Err(Error::invalid("a token holds at most 256 grants"));
        }
        let patterns = |list: &[String]| list.iter().map(|t| Pattern::parse(t)).collect::<Result<Vec<_>>>();
        let methods =
            grants.call.iter().map(|t| crate::auth::method_pattern(t)).collect::<Result<Vec<_>>>()?;
        let expires = self.board.now_ms() + ttl_ms as i64;
        self.board.authority().issue(
            self.board.signer(),
            &self.principal,
            &patterns(&grants.read)?,
            &patterns(&grants.publish)?,
            &methods,
            &grants.jobs,
            expires,
        )
    }

    // ---- shared by the files below ----

    fn check(&self, verb: Verb, address: &Address) -> Result<()> {
        self.principal.check(verb, address).inspect_err(|_| {
            self.board.counters().denied.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn check_method(&self, verb: Verb, method: &str) -> Result<()> {
        self.check(verb, &crate::auth::method_address(method)?)
    }

    fn no_topic(&self, name: &str) -> Error {
        let near = self.board.directory().near(name);
        let fix = match near.as_slice() {
            [] => "Create it: PUT /topics/NAME, or publish to it".to_owned(),
            near => format!("Did you mean {}?", near.join(" or ")),
        };
        Error::new(Kind::NotFound, "SB0301", format!("there is no topic {name:?}")).fix(fix)
    }

    fn topic_named(&self, name: &str) -> Result<Arc<Topic>> {
        sb_core::model::check_name("topic", name)?;
        self.board.directory().by_name(name).ok_or_else(|| self.no_topic(name))
    }

    /// Batches of a partition from memory, or from the store on a blocking thread.
    async fn batches(
        &self,
        name: &str,
        part: &Arc<Part>,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Vec<Arc<SharedBatch>>> {
        for _ in 0..3 {
            match part.read(offset, max_bytes) {
                Got::Batches(batches) => return Ok(batches),
                Got::End => return Ok(Vec::new()),
                Got::Gone(start) => return Err(crate::tail::gone(name, offset, start)),
                Got::Behind => {}
            }
            let Some(store) = self.board.store() else { return Ok(Vec::new()) };
            let id = crate::engine::log_part(part.id);
            let bytes = tokio::task::spawn_blocking(move || store.read(id, offset, max_bytes))
                .await
                .map_err(|e| Error::internal(e.to_string()))?
                .map_err(|e| crate::damaged(name, &e.to_string()))?;
            let batches: Vec<_> =
                bytes.into_iter().filter_map(|b| part.share(b)).filter(|b| b.end() > offset).collect();
            if !batches.is_empty() {
                return Ok(batches);
            }
            // Retention came in between, or the batch is just on its way from the tail: look again.
            tokio::task::yield_now().await;
        }
        Err(crate::damaged(name, &format!("offset {offset} is missing")))
    }

    /// One message.
    async fn fetch(&self, name: &str, part: &Arc<Part>, offset: u64) -> Result<Record> {
        let missing = || {
            Error::new(
                Kind::NotFound,
                "SB0304",
                format!("there is no message {}-{offset} in {name:?}", part.id.partition),
            )
            .fix("See its partitions: GET /topics/NAME/info")
        };
        let batches = self.batches(name, part, offset, 1).await?;
        let batch = batches.first().ok_or_else(missing)?;
        let found = batch.records().iter().find(|r| r.offset == offset);
        found.cloned().ok_or_else(missing)
    }

    /// Offsets where reading begins, for each partition.
    async fn resolve(&self, topic: &Arc<Topic>, part: &Arc<Part>, start: Start) -> Result<u64> {
        let (first, end) = part.bounds();
        Ok(match start {
            Start::Start => first,
            Start::End => end,
            Start::Offset(offset) if offset < first => {
                return Err(crate::tail::gone(&topic.name, offset, first));
            }
            Start::Offset(offset) => offset.min(end),
            Start::Time(time) => self.offset_at(topic, part, time).await?,
        })
    }

    /// The first offset whose message was taken at or after a time.
    async fn offset_at(&self, topic: &Arc<Topic>, part: &Arc<Part>, time_ms: i64) -> Result<u64> {
        // A topic that is deleted just now begins behind its end.
        let (first, end) = part.bounds();
        let mut from = first;
        if let Some(store) = self.board.store()
            && !part.memory
        {
            let id = crate::engine::log_part(part.id);
            let found = tokio::task::spawn_blocking(move || store.offset_at_time(id, time_ms))
                .await
                .map_err(|e| Error::internal(e.to_string()))?
                .map_err(|e| crate::damaged(&topic.name, &e.to_string()))?;
            if let Some(offset) = found {
                return Ok(offset.max(first).min(end));
            }
            // Not in the store: what is newer is in memory.
            if let Got::Behind = part.read(from, 1) {
                from = self.board.store().map_or(from, |s| s.end(id)).max(first).min(end);
            }
        }
        while from < end {
            for batch in self.batches(&topic.name, part, from, MAX_BYTES).await? {
                if let Some(record) =
                    batch.records().iter().find(|r| r.offset >= from && r.message.time_ms >= time_ms)
                {
                    return Ok(record.offset);
                }
                from = batch.end();
            }
        }
        Ok(end)
    }

    fn wait_limit(&self, wait_ms: u64) -> u64 {
        wait_ms.min(self.board.max_wait_ms())
    }

    fn delivered(&self, n: usize) {
        self.board.counters().delivered(n as u64);
    }
}
