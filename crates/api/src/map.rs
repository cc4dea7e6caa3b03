//! Between the core's nouns and the messages of the API.

use crate::types::switchboard::v1;
use crate::types::switchboard::v1::__buffa::oneof;
use buffa::{MessageField, ProtoBox};
use buffa_types::google::protobuf::{Any, Duration, Timestamp};
use sb_board::access::{Delivered, Leased, Outcome, Taken};
use sb_board::call::{Detail, Status};
use sb_board::request::{MAX_DURATION_MS, TRACE};
use sb_core::batch::Record;
use sb_core::groups::{GroupView, Mode};
use sb_core::jobs::{Event, Failure, JobView, MethodView, State, What};
use sb_core::model::{Address, Error, Header, Message, Result, Value, is_reserved};
use sb_core::topics::{Policy, TopicView};
use v1::{GroupMode, GroupOrder, JobState};

// ---- numbers ----

/// A count or offset as the API has it.
pub(crate) fn int(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// A small count as the API has it.
pub(crate) fn small(n: impl TryInto<i32>) -> i32 {
    n.try_into().unwrap_or(i32::MAX)
}

/// A number that must not be negative.
pub(crate) fn natural<T, N: TryFrom<T>>(what: &str, n: T) -> Result<N> {
    n.try_into().map_err(|_| Error::invalid(format!("{what} is negative or too large")))
}

/// How many entries a page has: 1 to 1,000, 100 when not given.
pub(crate) fn limit(n: i32) -> Result<usize> {
    count("limit", n, 100, 1_000)
}

/// A count from 1 to `most`; 0 takes the default.
pub(crate) fn count(what: &str, n: i32, default: usize, most: usize) -> Result<usize> {
    match usize::try_from(n) {
        Ok(0) => Ok(default),
        Ok(n) if n <= most => Ok(n),
        _ => Err(Error::invalid(format!("{what} must be from 1 to {most}, and {n} was given"))),
    }
}

/// Text that is absent when it is empty.
pub(crate) fn given(text: &str) -> Option<&str> {
    Some(text).filter(|t| !t.is_empty())
}

// ---- times ----

/// Milliseconds since 1970.
pub(crate) fn time<P: ProtoBox<Timestamp>>(ms: i64) -> MessageField<Timestamp, P> {
    MessageField::some(timestamp(ms))
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos: (ms.rem_euclid(1_000) * 1_000_000) as i32,
        ..Timestamp::default()
    }
}

pub(crate) fn time_in(what: &str, time: &Timestamp) -> Result<i64> {
    // The years 1 to 9999.
    let legal = (-62_135_596_800..=253_402_300_799).contains(&time.seconds);
    if !legal || !(0..1_000_000_000).contains(&time.nanos) {
        return Err(Error::invalid(format!("{what} is no time of the years 1 to 9999")));
    }
    Ok(time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000)
}

/// A duration in milliseconds.
pub(crate) fn span<P: ProtoBox<Duration>>(ms: u64) -> MessageField<Duration, P> {
    MessageField::some(Duration {
        seconds: int(ms / 1_000),
        nanos: (ms % 1_000 * 1_000_000) as i32,
        ..Duration::default()
    })
}

/// A duration that was given, in milliseconds; parts of one count as one.
pub(crate) fn span_in<P: ProtoBox<Duration>>(
    what: &str,
    given: &MessageField<Duration, P>,
) -> Result<Option<u64>> {
    let Some(given) = given.as_option() else { return Ok(None) };
    let ms = u64::try_from(given.seconds).ok().zip(u64::try_from(given.nanos).ok());
    let ms = ms.filter(|(_, nanos)| *nanos < 1_000_000_000);
    let ms = ms.and_then(|(s, nanos)| s.checked_mul(1_000)?.checked_add(nanos.div_ceil(1_000_000)));
    match ms.filter(|ms| *ms <= MAX_DURATION_MS) {
        Some(ms) => Ok(Some(ms)),
        None => Err(Error::invalid(format!("{what} is negative, malformed or longer than 100 years"))),
    }
}

// ---- messages ----

pub(crate) fn headers_in(given: Vec<v1::Header>) -> Result<Vec<Header>> {
    use oneof::header::Value as In;
    let one = |header: v1::Header| {
        let value = match header.value {
            Some(In::Text(text)) => Value::Text(text),
            Some(In::Binary(bytes)) => Value::Bytes(bytes),
            Some(In::Integer(n)) => Value::Int(n),
            Some(In::Number(n)) => Value::Float(n),
            Some(In::Boolean(truth)) => Value::Bool(truth),
            Some(In::Time(time)) => Value::Time(time_in("a header", &time)?),
            Some(In::Nested(cbor)) => Value::Nested(cbor),
            None => return Err(Error::invalid(format!("the header {:.80?} has no value", header.name))),
        };
        Ok(Header { name: header.name, value })
    };
    given.into_iter().map(one).collect()
}

fn headers_out(message: &Message, keep: impl Fn(&str) -> bool) -> Vec<v1::Header> {
    use oneof::header::Value as Out;
    let one = |header: &Header| {
        let value = match &header.value {
            Value::Text(text) => Out::Text(text.clone()),
            Value::Bytes(bytes) => Out::Binary(bytes.clone()),
            Value::Int(n) => Out::Integer(*n),
            Value::Float(n) => Out::Number(*n),
            Value::Bool(truth) => Out::Boolean(*truth),
            Value::Time(ms) => Out::Time(timestamp(*ms)),
            Value::Nested(cbor) => Out::Nested(cbor.clone()),
        };
        v1::Header { name: header.name.clone(), value: Some(value) }
    };
    message.headers.iter().filter(|h| keep(&h.name)).map(one).collect()
}

/// The trace of a call is kept with what is sent by it, unless that has one of its own.
pub(crate) fn traced(message: &mut Message, metadata: &http::HeaderMap) {
    if TRACE.iter().any(|name| message.header(name).is_some()) {
        return;
    }
    for name in TRACE {
        if let Some(value) = metadata.get(name).and_then(|v| v.to_str().ok()) {
            message.headers.push(Header::text(name, value));
        }
    }
}

pub(crate) fn message_in(given: v1::NewMessage, now_ms: i64) -> Result<Message> {
    let mut message = Message::new(Address::parse(&given.address)?, given.body);
    message.key = given.key;
    message.headers = headers_in(given.headers)?;
    message.content_type = given.content_type;
    let after = |ms: u64| now_ms.saturating_add_unsigned(ms);
    message.due_ms = span_in("delay", &given.delay)?.map(after);
    message.expires_ms = span_in("expires", &given.expires)?.map(after);
    Ok(message)
}

/// A record. An empty cursor means a live message, which has no place.
pub(crate) fn message(topic: &str, partition: u32, record: &Record, cursor: String) -> v1::Message {
    let message = &record.message;
    v1::Message {
        id: cursor,
        topic: topic.to_owned(),
        address: message.address.as_str().to_owned(),
        partition: small(partition),
        offset: int(record.offset),
        at: time(message.time_ms),
        key: message.key.clone(),
        headers: headers_out(message, |_| true),
        content_type: message.content_type.clone(),
        body: message.body.clone(),
        due: message.due_ms.map_or_else(MessageField::none, time),
        expires: message.expires_ms.map_or_else(MessageField::none, time),
    }
}

pub(crate) fn delivered(delivered: Delivered) -> v1::Message {
    message(&delivered.topic, delivered.partition, &delivered.record, delivered.cursor)
}

pub(crate) fn leased(leased: Leased) -> v1::LeasedMessage {
    v1::LeasedMessage {
        attempt: small(leased.attempt),
        lease_until: time(leased.until_ms),
        message: MessageField::some(message(&leased.topic, leased.partition, &leased.record, leased.cursor)),
        handle: leased.handle,
    }
}

// ---- topics ----

pub(crate) fn topic(view: &TopicView) -> v1::Topic {
    let part = |(n, p): (usize, &sb_core::topics::PartView)| v1::Partition {
        partition: small(n),
        start: int(p.start),
        end: int(p.end),
        bytes: int(p.bytes),
    };
    v1::Topic {
        name: view.name.clone(),
        policy: MessageField::some(policy(&view.policy)),
        partitions: view.parts.iter().enumerate().map(part).collect(),
        messages: int(view.parts.iter().map(|p| p.end.saturating_sub(p.start)).sum::<u64>()),
        groups: small(view.groups),
        created: time(view.created_ms),
        version: int(view.version),
    }
}

fn policy(policy: &Policy) -> v1::TopicPolicy {
    v1::TopicPolicy {
        partitions: Some(small(policy.partitions)),
        keep_age: policy.keep_age_ms.map_or_else(MessageField::none, span),
        keep_bytes: policy.keep_bytes.map(int),
        keep_until_consumed: Some(policy.keep_until_consumed),
        max_message: Some(small(policy.max_message)),
        memory: Some(policy.memory),
        claims: policy.claims.iter().map(|c| c.as_str().to_owned()).collect(),
    }
}

// ---- groups ----

pub(crate) fn group(view: &GroupView) -> v1::Group {
    let floor = |(n, (floor, end)): (usize, &(u64, u64))| v1::GroupPosition {
        partition: small(n),
        floor: int(*floor),
        end: int(*end),
    };
    let options = &view.options;
    let options = v1::GroupOptions {
        mode: match options.mode {
            Mode::Queue => GroupMode::GROUP_MODE_QUEUE,
            Mode::Cursor => GroupMode::GROUP_MODE_CURSOR,
        }
        .into(),
        lease: span(options.lease_ms),
        attempts: Some(small(options.attempts)),
        dead_letter: options.dead_letter.clone(),
        backoff: span(options.backoff_ms),
        order: if options.key_order { GroupOrder::GROUP_ORDER_KEY } else { GroupOrder::GROUP_ORDER_NONE }
            .into(),
    };
    v1::Group {
        topic: view.topic.clone(),
        name: view.name.clone(),
        options: MessageField::some(options),
        ready: int(view.ready),
        leased: int(view.leased),
        delayed: int(view.delayed),
        acked: int(view.acked),
        dead: int(view.dead),
        expired: int(view.expired),
        depth: int(view.ready.saturating_add(view.leased).saturating_add(view.delayed)),
        position: view.parts.iter().enumerate().map(floor).collect(),
    }
}

// ---- jobs ----

pub(crate) fn state(state: State) -> JobState {
    match state {
        State::Queued => JobState::JOB_STATE_QUEUED,
        State::Running => JobState::JOB_STATE_RUNNING,
        State::Succeeded => JobState::JOB_STATE_SUCCEEDED,
        State::Failed => JobState::JOB_STATE_FAILED,
        State::Cancelled => JobState::JOB_STATE_CANCELLED,
        State::Expired => JobState::JOB_STATE_EXPIRED,
    }
}

/// The state to look for, if any.
pub(crate) fn state_in(wanted: buffa::EnumValue<JobState>) -> Result<Option<State>> {
    match wanted.as_known() {
        Some(JobState::JOB_STATE_UNSPECIFIED) => Ok(None),
        Some(known) => Ok(State::ALL.into_iter().find(|s| state(*s) == known)),
        None => Err(Error::invalid(format!("there is no state {}", wanted.to_i32()))),
    }
}

pub(crate) fn result(content_type: Option<String>, body: bytes::Bytes) -> v1::JobResult {
    v1::JobResult { content_type, body }
}

/// Typed details as the API has them.
pub(crate) fn details(status: &Status) -> Vec<Any> {
    let one = |d: &Detail| Any { type_url: d.type_url.clone(), value: d.value.clone(), ..Any::default() };
    status.details.iter().map(one).collect()
}

fn failure(failure: &Failure, status: Option<&Status>) -> v1::JobFailure {
    v1::JobFailure {
        details: status.map(details).unwrap_or_default(),
        code: failure.code.clone(),
        message: failure.message.clone(),
        retryable: failure.retryable,
    }
}

fn json(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A job, with its result where the answer shows one.
pub(crate) fn job(view: &JobView, outcome: Option<Outcome>) -> v1::Job {
    let optional = |ms: Option<i64>| ms.map_or_else(MessageField::none, time);
    v1::Job {
        id: view.id.to_string(),
        method: view.method.clone(),
        state: state(view.state).into(),
        attempts: small(view.attempts),
        created: time(view.created_ms),
        started: optional(view.started_ms),
        finished: optional(view.finished_ms),
        deadline: time(view.deadline_ms),
        progress: view.progress.as_deref().map(json).unwrap_or_default(),
        worker: view.worker.clone(),
        cancel_requested: view.cancel_requested,
        rerun_of: view.rerun_of.map(|id| id.to_string()).unwrap_or_default(),
        error: match (&view.error, &outcome) {
            (Some(e), Some(Outcome::Failed { status, .. })) => {
                MessageField::some(failure(e, status.as_ref()))
            }
            (Some(e), _) => MessageField::some(failure(e, None)),
            (None, _) => MessageField::none(),
        },
        result: match outcome {
            Some(Outcome::Result { content_type, body }) => MessageField::some(result(content_type, body)),
            _ => MessageField::none(),
        },
        events: int(view.events),
        replayed: false,
    }
}

pub(crate) fn event(event: Event) -> v1::JobEvent {
    use oneof::job_event::Event as Out;
    let what = match event.what {
        What::State { state: new, worker, reason } => {
            Out::State(v1::JobStateChange { state: state(new).into(), worker, reason })
        }
        What::Progress(progress) => Out::Progress(json(&progress)),
        What::Log { stream, text } => Out::Log(v1::JobLog { stream, text }),
        What::Result { content_type, body } => Out::Result(result(content_type, body)),
        What::Error { failure: why, status } => Out::Error(failure(&why, Status::decode(&status).as_ref())),
    };
    v1::JobEvent {
        seq: int(event.seq),
        at: time(event.at_ms),
        attempt: small(event.attempt),
        event: Some(what),
    }
}

/// What was submitted. Headers that the server itself put there are its own business.
pub(crate) fn input(message: &Message) -> v1::JobInput {
    v1::JobInput {
        key: message.key.clone(),
        headers: headers_out(message, |name| !is_reserved(name)),
        content_type: message.content_type.clone(),
        body: message.body.clone(),
    }
}

/// The input of a job as a message. It has no address of its own; the board gives it that of the method's topic.
pub(crate) fn input_in(given: v1::JobInput) -> Result<Message> {
    let mut message = Message::new(Address::parse("call")?, given.body);
    message.key = given.key;
    message.headers = headers_in(given.headers)?;
    message.content_type = given.content_type;
    Ok(message)
}

pub(crate) fn taken(taken: Taken) -> v1::TakenJob {
    v1::TakenJob {
        id: taken.job.id.to_string(),
        method: taken.job.method.clone(),
        attempt: small(taken.job.attempts),
        handle: taken.handle,
        lease_until: time(taken.until_ms),
        deadline: time(taken.job.deadline_ms),
        input: MessageField::some(input(&taken.input)),
    }
}

pub(crate) fn method(view: MethodView) -> v1::Method {
    v1::Method {
        name: view.name,
        topic: view.policy.topic,
        attempts: Some(small(view.policy.attempts)),
        lease: span(view.policy.lease_ms),
        timeout: span(view.policy.timeout_ms),
        keep_result: span(view.policy.keep_ms),
        backoff: span(view.policy.backoff_ms),
    }
}
