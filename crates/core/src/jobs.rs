//! Jobs: calls that are not waited for.

use crate::model::{JobId, Position};

/// The states of a job.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Waits for a worker (also between attempts).
    Queued,
    /// A worker has it.
    Running,
    /// Done; there is a result.
    Succeeded,
    /// The last attempt failed.
    Failed,
    /// Ended by request.
    Cancelled,
    /// Its deadline passed.
    Expired,
}

impl State {
    /// All states, in order.
    pub const ALL: [State; 6] =
        [State::Queued, State::Running, State::Succeeded, State::Failed, State::Cancelled, State::Expired];

    /// Whether nothing more can happen to the job.
    pub fn terminal(self) -> bool {
        !matches!(self, State::Queued | State::Running)
    }

    /// The name used everywhere.
    pub fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
        }
    }
}

/// How jobs of a method are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodPolicy {
    /// The topic the work waits in.
    pub topic: String,
    /// How often it is tried.
    pub attempts: u32,
    /// How long a worker holds a job without a sign of life.
    pub lease_ms: u64,
    /// How long after submission a job expires.
    pub timeout_ms: u64,
    /// How long a finished job is kept.
    pub keep_ms: u64,
    /// How long a job waits after a failed attempt.
    pub backoff_ms: u64,
}

impl MethodPolicy {
    /// The defaults, for a method served on the topic of its own name.
    pub fn new(method: &str) -> Self {
        MethodPolicy {
            topic: method.replace('/', "."),
            attempts: 3,
            lease_ms: 30_000,
            timeout_ms: 600_000,
            keep_ms: 86_400_000,
            backoff_ms: 1_000,
        }
    }
}

/// A method as it is described to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodView {
    /// `package.Service/Method`.
    pub name: String,
    /// Its policy.
    pub policy: MethodPolicy,
}

/// Why a job or an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The worker's own code, at most 255 bytes.
    pub code: String,
    /// A sentence, at most 4 KiB.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
}

/// A job as it is described to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// `package.Service/Method`.
    pub method: String,
    /// Its state.
    pub state: State,
    /// How often a worker has taken it.
    pub attempts: u32,
    /// When it was submitted, in milliseconds since 1970.
    pub created_ms: i64,
    /// When a worker took it last.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// When it expires.
    pub deadline_ms: i64,
    /// The newest progress, as the worker sent it (JSON).
    pub progress: Option<bytes::Bytes>,
    /// Who has it, or had it last.
    pub worker: String,
    /// Whether the worker has been asked to stop.
    pub cancel_requested: bool,
    /// The job it repeats.
    pub rerun_of: Option<JobId>,
    /// Why it failed, or why the last attempt did.
    pub error: Option<Failure>,
    /// How many events it has; the entity tag.
    pub events: u64,
    /// Where its input is.
    pub input: Position,
    /// Who submitted it.
    pub principal: String,
}

/// What happened to a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number in the job, from 1.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// During which attempt; 0 before the first.
    pub attempt: u32,
    /// What.
    pub what: What,
}

/// The kinds of event.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The job changed its state.
    State {
        /// The new state.
        state: State,
        /// The worker concerned.
        worker: String,
        /// Why: `submitted`, `taken`, `lease expired`, `failed`, …
        reason: String,
    },
    /// The worker told how far it is.
    Progress(bytes::Bytes),
    /// The worker wrote a line or more.
    Log {
        /// `stdout`, `stderr` or whatever the worker calls it.
        stream: String,
        /// The text.
        text: String,
    },
    /// The result.
    Result {
        /// Its media type.
        content_type: Option<String>,
        /// Its bytes.
        body: bytes::Bytes,
    },
    /// An attempt failed.
    Error {
        /// Why.
        failure: Failure,
        /// What a service said besides: a `google.rpc.Status` as Protobuf, which the core hands on unread. Empty when there is none; at most
        /// [`MAX_STATUS`]. It is kept with the event and not in the job's state.
        status: bytes::Bytes,
    },
}

/// The longest `status` of a failed attempt's event.
pub const MAX_STATUS: usize = 16 * 1024;

/// The id, attempt and content of an event as a batch of one message for [`crate::model::TopicId::JOBS`]. The event's number is its place in
/// the job's list and is not in the bytes.
pub fn encode_event(job: JobId, attempt: u32, at_ms: i64, what: &What) -> Vec<u8> {
    use crate::model::{Address, Header, Message, Value};
    let Ok(address) = Address::parse(JOBS_NAME) else { return Vec::new() };
    let mut message = Message::new(address, bytes::Bytes::new());
    message.time_ms = at_ms;
    message.key = Some(bytes::Bytes::copy_from_slice(&job.0.to_be_bytes()));
    let mut put = |name: &str, text: &str| message.headers.push(Header::text(name, text));
    match what {
        What::State { state, worker, reason } => {
            put("event", "state");
            put("state", state.name());
            put("worker", worker);
            put("reason", reason);
        }
        What::Progress(json) => {
            put("event", "progress");
            message.body = json.clone();
        }
        What::Log { stream, text } => {
            put("event", "log");
            put("stream", stream);
            message.body = bytes::Bytes::copy_from_slice(text.as_bytes());
        }
        What::Result { content_type, body } => {
            put("event", "result");
            message.content_type = content_type.clone();
            message.body = body.clone();
        }
        What::Error { failure, status } => {
            put("event", "error");
            put("code", &failure.code);
            put("retryable", if failure.retryable { "true" } else { "false" });
            if !status.is_empty() {
                message.headers.push(Header { name: "status".into(), value: Value::Bytes(status.clone()) });
            }
            message.body = bytes::Bytes::copy_from_slice(failure.message.as_bytes());
        }
    }
    message.headers.push(Header { name: "attempt".into(), value: Value::Int(i64::from(attempt)) });
    crate::batch::encode(JOBS_NAME, &[message])
}

/// The address under which events are encoded. It is only a label: the topic is reached by its id, which no name maps to.
pub const JOBS_NAME: &str = "jobs";

/// Reads what [`encode_event`] wrote; `None` when it is something else.
pub fn decode_event(seq: u64, message: &crate::model::Message) -> Option<Event> {
    use crate::model::Value;
    let text = |name: &str| match message.header(name) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let attempt = match message.header("attempt") {
        Some(Value::Int(n)) => u32::try_from(*n).ok()?,
        _ => return None,
    };
    let body_text = || String::from_utf8_lossy(&message.body).into_owned();
    let what = match text("event")?.as_str() {
        "state" => What::State {
            state: State::ALL.into_iter().find(|s| Some(s.name()) == text("state").as_deref())?,
            worker: text("worker")?,
            reason: text("reason")?,
        },
        "progress" => What::Progress(message.body.clone()),
        "log" => What::Log { stream: text("stream")?, text: body_text() },
        "result" => What::Result { content_type: message.content_type.clone(), body: message.body.clone() },
        "error" => What::Error {
            failure: Failure {
                code: text("code")?,
                message: body_text(),
                retryable: text("retryable")? == "true",
            },
            // Events that were written before there was such a thing have none.
            status: match message.header("status") {
                Some(Value::Bytes(status)) => status.clone(),
                _ => bytes::Bytes::new(),
            },
        },
        _ => return None,
    };
    Some(Event { seq, at_ms: message.time_ms, attempt, what })
}
