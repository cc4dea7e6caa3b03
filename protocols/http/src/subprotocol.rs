//! The WebSocket subprotocol `switchboard.v1` (docs/http.md §5).
//!
//! One task owns the socket, all tails, the watches of jobs and the requests that are not answered yet, and does what is ready in rounds:
//! answers first, then requests, then messages, then one flush. A socket that does not take what it is given stops all of them, which is
//! the back-pressure of durable messages; live messages have nowhere to wait and end the connection instead.

use crate::websocket::{
    End, MAX_PENDING, MAX_PENDING_BYTES, MAX_UNSENT, ROUNDS, close, is_full, json, may_queue,
};
use crate::wire::frames::{self, Head};
use crate::wire::json::{LiveOut, Messages, ReceiptOut, SettleIn, Time};
use crate::{groups, jobs, map};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sb_board::access::{
    Access, From, Idempotency, LeaseOptions, Outcome, PublishOptions, Published, Settle, Submit,
};
use sb_board::mount::{BoxFuture, Frame, WebSocket, WebSocketIo};
use sb_board::tail::{Form, Given, Next, Tail};
use sb_core::groups::Start;
use sb_core::jobs::Event;
use sb_core::model::{Error, JobId, Kind, Message, Pattern, Result};
use serde::Serialize;
use std::collections::HashMap;
use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

/// The most tails and watches of one socket.
const MAX_SUBS: usize = 256;
/// The most leases remembered for their return when the socket closes.
const MAX_LEASES: usize = 20_000;
/// The longest name of a subscription.
const MAX_SUB_NAME: usize = 64;
/// How long requests that were begun may take to end when the socket is gone.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Where the messages or events of a subscription come from.
enum Source {
    /// Its tail is being opened.
    Opening,
    Tail(Box<Tail>),
    /// The events of a job; they are waited for among the pending futures.
    Job {
        id: JobId,
        after: u64,
    },
}

struct Sub {
    name: String,
    /// Tells this subscription from an earlier one of the same name.
    serial: u64,
    source: Source,
    /// What of a message is this subscriber's own.
    head: Vec<u8>,
    credit: Option<u64>,
    held: Option<(Given, usize)>,
    /// Whether it has had live messages: then it is asked even when the socket is full, to notice that it is too slow for them.
    live: bool,
}

/// An answer on its way out.
enum Reply {
    /// Members of `ok`.
    Ok(Vec<u8>),
    /// The same with bytes that are not UTF-8.
    Binary(Vec<u8>, Bytes),
    Error(Error),
}

enum Done {
    Reply(Reply),
    Opened { serial: u64, result: Result<Tail> },
    Watched { serial: u64, result: Result<()>, id: JobId, after: u64 },
    Leased { members: Vec<u8>, leases: Vec<(String, i64)> },
    Settled { reply: Reply, ended: Vec<String> },
    Events { serial: u64, result: Result<(Vec<Event>, bool)> },
}

/// A finished future: the request it answers, what its frame weighed, what came of it.
struct Finished {
    id: Option<u64>,
    bytes: usize,
    done: Done,
}

/// One connection's state.
pub(crate) struct Connection {
    access: Access,
    subs: Vec<Sub>,
    serial: u64,
    /// Requests that change something: they end even when the socket is gone.
    pending: FuturesUnordered<BoxFuture<Finished>>,
    /// What only waits, for messages, leases, results or events: it ends with the socket.
    waits: FuturesUnordered<BoxFuture<Finished>>,
    /// Requests among both (the rest are watches), and the weight of their frames.
    requests: usize,
    bytes: usize,
    /// Leases taken here and when they end by themselves.
    leases: HashMap<String, i64>,
    /// Which subscription is asked first, so that a busy one does not starve the others.
    turn: usize,
    scratch: Vec<u8>,
    revoked: BoxFuture<()>,
}

impl Connection {
    pub(crate) fn new(access: Access) -> Connection {
        let watched = access.clone();
        Connection {
            access,
            subs: Vec::new(),
            serial: 0,
            pending: FuturesUnordered::new(),
            waits: FuturesUnordered::new(),
            requests: 0,
            bytes: 0,
            leases: HashMap::new(),
            turn: 0,
            scratch: Vec::new(),
            revoked: Box::pin(async move { watched.revoked().await }),
        }
    }

    /// A connection that is subscribed from its beginning.
    pub(crate) fn with_tail(access: Access, name: &str, tail: Tail) -> Connection {
        let mut connection = Connection::new(access);
        connection.add(name.to_owned(), None, Source::Tail(Box::new(tail)));
        connection
    }

    /// Talks until one end is done, then gives back the leases that are left.
    pub(crate) async fn run(mut self, mut socket: WebSocket) {
        let end = std::future::poll_fn(|cx| self.poll(socket.io(), cx)).await;
        // Tails and waits end before anything else, so that no lease is taken for a socket that is gone.
        let Connection { access, pending, waits, subs, mut leases, .. } = self;
        drop((waits, subs));
        let give_back = async {
            // An ack that came just before the close counts.
            let ends = pending.for_each(|finished| {
                match finished.done {
                    Done::Settled { ended, .. } => {
                        for handle in &ended {
                            leases.remove(handle);
                        }
                    }
                    Done::Leased { leases: longer, .. } => leases.extend(longer),
                    _ => {}
                }
                std::future::ready(())
            });
            let _ = tokio::time::timeout(END_PATIENCE, ends).await;
            let now = access.board().now_ms();
            let back: Vec<(String, Settle)> = leases
                .into_iter()
                .filter(|(_, until)| *until > now)
                .map(|(handle, _)| (handle, Settle::Nack { delay_ms: 0 }))
                .collect();
            for some in back.chunks(1000) {
                let _ = access.settle(some.to_vec()).await;
            }
        };
        tokio::join!(close(socket, end), give_back);
    }

    fn poll(&mut self, io: &mut dyn WebSocketIo, cx: &mut Context<'_>) -> Poll<End> {
        if self.revoked.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some((4401, "the token has expired")));
        }
        if io.poll_draining(cx).is_ready() {
            return Poll::Ready(Some((1012, "the server restarts")));
        }
        if let Poll::Ready(Err(_)) = io.poll_flush(cx) {
            return Poll::Ready(None);
        }
        for _ in 0..ROUNDS {
            let mut moved = false;
            // What was left out because the socket was full is done in a further round once it is not.
            let mut full = io.queued() >= MAX_UNSENT;
            while io.queued() < MAX_UNSENT {
                let finished = match self.pending.poll_next_unpin(cx) {
                    Poll::Ready(Some(finished)) => finished,
                    _ => match self.waits.poll_next_unpin(cx) {
                        Poll::Ready(Some(finished)) => finished,
                        _ => break,
                    },
                };
                moved = true;
                self.finish(io, finished);
            }
            while self.requests < MAX_PENDING && self.bytes < MAX_PENDING_BYTES && io.queued() < MAX_UNSENT {
                match io.poll_next(cx) {
                    Poll::Ready(Some(Frame::Text(text))) => self.request(io, text, None),
                    Poll::Ready(Some(Frame::Binary(frame))) => match frames::split_binary(frame) {
                        Ok((head, body)) => self.request(io, head, Some(body)),
                        Err(why) => self.error(io, None, &map::invalid(why)),
                    },
                    Poll::Ready(Some(Frame::Close(..)) | None) => return Poll::Ready(None),
                    Poll::Pending => break,
                }
                moved = true;
            }
            match self.deliver(io, cx) {
                Ok(some) => moved |= some,
                Err(end) => return Poll::Ready(Some(end)),
            }
            full |= io.queued() >= MAX_UNSENT;
            if let Poll::Ready(Err(_)) = io.poll_flush(cx) {
                return Poll::Ready(None);
            }
            let freed = full && io.queued() < MAX_UNSENT;
            if !moved && !freed {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn add(&mut self, name: String, credit: Option<u64>, source: Source) -> u64 {
        self.serial += 1;
        let mut head = br#"{"op":"message","sub":"#.to_vec();
        head.extend_from_slice(&json(&name));
        head.push(b',');
        self.subs.push(Sub { name, serial: self.serial, source, head, credit, held: None, live: false });
        self.serial
    }

    fn by_serial(&mut self, serial: u64) -> Option<&mut Sub> {
        self.subs.iter_mut().find(|s| s.serial == serial)
    }

    // Out.

    /// Queues an object made of a head and the members of another one.
    fn push(&mut self, io: &mut dyn WebSocketIo, members: &[u8]) {
        if members.len() > 2 {
            self.scratch.push(b',');
            self.scratch.extend_from_slice(members.get(1..).unwrap_or_default());
        } else {
            self.scratch.push(b'}');
        }
        io.queue(true, &self.scratch, Bytes::new());
    }

    fn begin(&mut self, op: &str, id: Option<u64>) {
        self.scratch.clear();
        self.scratch.extend_from_slice(b"{\"op\":\"");
        self.scratch.extend_from_slice(op.as_bytes());
        self.scratch.push(b'"');
        if let Some(id) = id {
            self.scratch.extend_from_slice(b",\"id\":");
            self.scratch.extend_from_slice(id.to_string().as_bytes());
        }
    }

    fn begin_sub(&mut self, op: &str, name: &str) {
        self.begin(op, None);
        self.scratch.extend_from_slice(b",\"sub\":");
        self.scratch.extend_from_slice(&json(&name));
    }

    fn ok(&mut self, io: &mut dyn WebSocketIo, id: Option<u64>, members: &[u8]) {
        self.begin("ok", id);
        self.push(io, members);
    }

    fn problem(&mut self, io: &mut dyn WebSocketIo, error: &Error) {
        self.scratch.extend_from_slice(b",\"problem\":");
        self.scratch.extend_from_slice(&map::problem_json(error));
        self.push(io, b"");
    }

    fn error(&mut self, io: &mut dyn WebSocketIo, id: Option<u64>, error: &Error) {
        self.begin("error", id);
        self.problem(io, error);
    }

    fn reply(&mut self, io: &mut dyn WebSocketIo, id: Option<u64>, reply: Reply) {
        match reply {
            Reply::Ok(members) => self.ok(io, id, &members),
            Reply::Error(error) => self.error(io, id, &error),
            Reply::Binary(members, body) => {
                self.begin("ok", id);
                let mut head = std::mem::take(&mut self.scratch);
                if members.len() > 2 {
                    head.push(b',');
                }
                let shared = frames::shared_binary(&members, &body);
                let (text, rest) = frames::join(&head, shared, &mut self.scratch);
                io.queue(text, &self.scratch, rest);
            }
        }
    }

    /// Gives the subscriptions what there is for them. True when something was queued; an error ends the socket.
    fn deliver(
        &mut self,
        io: &mut dyn WebSocketIo,
        cx: &mut Context<'_>,
    ) -> std::result::Result<bool, (u16, &'static str)> {
        let mut moved = false;
        let count = self.subs.len();
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
        let mut resets: Vec<(u64, Error)> = Vec::new();
        let (before, from) = self.subs.split_at_mut(self.turn);
        for sub in from.iter_mut().chain(before) {
            loop {
                let full = is_full(io, cx);
                if sub.credit == Some(0) || full && (!sub.live || sub.held.is_some()) {
                    break;
                }
                let (given, at) = match (sub.held.take(), &mut sub.source) {
                    (Some(held), _) => held,
                    (None, Source::Tail(tail)) => match tail.poll_next(cx) {
                        Poll::Pending => break,
                        Poll::Ready(Next::Records(given)) => (given, 0),
                        Poll::Ready(Next::Reset(error)) => {
                            resets.push((sub.serial, error));
                            break;
                        }
                        Poll::Ready(Next::Draining) => return Err((1012, "the server restarts")),
                    },
                    (None, Source::Opening | Source::Job { .. }) => break,
                };
                sub.live = given.batch.is_live();
                if full {
                    if sub.live {
                        return Err((1013, "too slow for live messages"));
                    }
                    sub.held = Some((given, at));
                    break;
                }
                moved = true;
                let at = send(io, &given, at, &sub.head, &mut sub.credit, &mut self.scratch);
                if at < given.indexes.len() {
                    sub.held = Some((given, at));
                }
            }
        }
        for (serial, error) in resets {
            moved = true;
            if let Some(at) = self.subs.iter().position(|s| s.serial == serial) {
                let sub = self.subs.remove(at);
                self.begin_sub("reset", &sub.name);
                self.problem(io, &error);
            }
        }
        Ok(moved)
    }

    // Finished futures.

    fn finish(&mut self, io: &mut dyn WebSocketIo, finished: Finished) {
        let Finished { id, bytes, done } = finished;
        if !matches!(done, Done::Events { .. }) {
            self.requests = self.requests.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        match done {
            Done::Reply(reply) => self.reply(io, id, reply),
            Done::Opened { serial, result } => match result {
                Ok(tail) => {
                    // Without a place it was unsubscribed meanwhile; the answer is the same.
                    if let Some(sub) = self.by_serial(serial) {
                        sub.source = Source::Tail(Box::new(tail));
                    }
                    self.ok(io, id, b"");
                }
                Err(error) => {
                    self.subs.retain(|s| s.serial != serial);
                    self.error(io, id, &error);
                }
            },
            Done::Watched { serial, result, id: job, after } => match result {
                Ok(()) => {
                    if let Some(sub) = self.by_serial(serial) {
                        sub.source = Source::Job { id: job, after };
                        self.watch(serial, job, after);
                    }
                    self.ok(io, id, b"");
                }
                Err(error) => {
                    self.subs.retain(|s| s.serial != serial);
                    self.error(io, id, &error);
                }
            },
            Done::Leased { members, leases } => {
                self.leases.extend(leases);
                self.ok(io, id, &members);
            }
            Done::Settled { reply, ended } => {
                for handle in ended {
                    self.leases.remove(&handle);
                }
                self.reply(io, id, reply);
            }
            Done::Events { serial, result } => self.events(io, serial, result),
        }
    }

    fn events(&mut self, io: &mut dyn WebSocketIo, serial: u64, result: Result<(Vec<Event>, bool)>) {
        let Some(at) = self.subs.iter().position(|s| s.serial == serial) else { return };
        let Some(name) = self.subs.get(at).map(|s| s.name.clone()) else { return };
        match result {
            Err(error) => {
                self.subs.remove(at);
                self.begin_sub("reset", &name);
                self.problem(io, &error);
            }
            Ok((events, ended)) => {
                for event in &events {
                    self.begin_sub("event", &name);
                    self.push(io, &json(&map::event_out(event, self.access.board().services().schema())));
                }
                if ended {
                    self.subs.remove(at);
                    self.begin_sub("end", &name);
                    self.push(io, b"");
                } else if let Some(Source::Job { id, after }) = self.subs.get_mut(at).map(|s| &mut s.source) {
                    *after = events.last().map_or(*after, |e| e.seq);
                    let (id, after) = (*id, *after);
                    self.watch(serial, id, after);
                }
            }
        }
    }

    fn watch(&mut self, serial: u64, id: JobId, after: u64) {
        let access = self.access.clone();
        self.waits.push(Box::pin(async move {
            let result = access.next_job_events(id, after).await;
            Finished { id: None, bytes: 0, done: Done::Events { serial, result } }
        }));
    }

    // In.

    /// One request: answered now, or put among the pending ones.
    fn request(&mut self, io: &mut dyn WebSocketIo, frame: Bytes, body: Option<Bytes>) {
        let bytes = frame.len() + body.as_ref().map_or(0, Bytes::len);
        // The most frequent request is read once, without a look at its op before. What is wrong with it is said below.
        if frame.starts_with(br#"{"op":"publish""#)
            && let Ok(given) = map::json::<frames::Publish<'_>>(&frame)
            && given.op == "publish"
            && given.id.is_some()
        {
            let id = given.id;
            let started = self.publish(&frame, given, body).map(Some);
            return self.start(io, id, bytes, started);
        }
        let head: Head<'_> = match map::json(&frame) {
            Ok(head) => head,
            Err(error) => return self.error(io, None, &error),
        };
        let id = head.id;
        let started = match (&*head.op, id) {
            ("credit", _) => self.credit(&frame).map(|()| None),
            (_, None) => {
                Err(map::invalid("the request has no id").fix("Give it a number of your choice as id"))
            }
            ("ping", _) => map::json::<frames::Ping<'_>>(&frame).map(|_| Some(Started::Now)),
            ("unsubscribe", _) => self.unsubscribe(&frame).map(|()| Some(Started::Now)),
            ("publish", _) => map::json(&frame).and_then(|given| self.publish(&frame, given, body)).map(Some),
            ("subscribe", _) => self.subscribe(&frame).map(Some),
            ("lease", _) => self.lease(&frame).map(Some),
            (verb @ ("ack" | "nack" | "extend"), _) => self.settle(verb, &frame).map(Some),
            ("call", _) => self.call(&frame, body).map(Some),
            ("job", _) => self.job(&frame).map(Some),
            (other, _) => {
                let known = [
                    "publish",
                    "subscribe",
                    "credit",
                    "unsubscribe",
                    "lease",
                    "ack",
                    "nack",
                    "extend",
                    "call",
                    "job",
                    "ping",
                ];
                let near =
                    crate::wire::near(other, known.into_iter()).map_or(known.join(", "), str::to_owned);
                Err(map::invalid(format!("there is no op {other:.40?}")).fix(format!("Use {near}")))
            }
        };
        self.start(io, id, bytes, started);
    }

    /// Answers a request, or lets its work begin.
    fn start(
        &mut self,
        io: &mut dyn WebSocketIo,
        id: Option<u64>,
        bytes: usize,
        started: Result<Option<Started>>,
    ) {
        match started {
            Ok(None) => {}
            Ok(Some(Started::Now)) => self.ok(io, id, b""),
            Ok(Some(Started::Later { work, waits })) => {
                self.requests += 1;
                self.bytes += bytes;
                let work = Box::pin(async move { Finished { id, bytes, done: work.await } });
                if waits { self.waits.push(work) } else { self.pending.push(work) }
            }
            Err(error) => self.error(io, id, &error),
        }
    }

    /// Unknown names are no error: the subscription may have ended on its own.
    fn credit(&mut self, frame: &[u8]) -> Result<()> {
        let given: frames::Credit<'_> = map::json(frame)?;
        if let Some(sub) = self.subs.iter_mut().find(|s| s.name == given.sub)
            && let Some(credit) = &mut sub.credit
        {
            *credit = credit.saturating_add(given.n);
        }
        Ok(())
    }

    fn unsubscribe(&mut self, frame: &[u8]) -> Result<()> {
        let given: frames::Unsubscribe<'_> = map::json(frame)?;
        match self.subs.iter().position(|s| s.name == given.sub) {
            Some(at) => {
                self.subs.remove(at);
                Ok(())
            }
            None => Err(map::invalid(format!("there is no subscription {:.64?}", given.sub))),
        }
    }

    fn check_sub(&self, name: &str) -> Result<()> {
        if name.is_empty() || name.len() > MAX_SUB_NAME {
            return Err(map::invalid("sub has from 1 to 64 bytes"));
        }
        if self.subs.iter().any(|s| s.name == name) {
            return Err(
                map::invalid(format!("there is a subscription {name:?} already")).fix("Choose another sub")
            );
        }
        if self.subs.len() >= MAX_SUBS {
            return Err(Error::new(Kind::Exhausted, "SB0601", "a connection has at most 256 subscriptions")
                .fix("Unsubscribe from some, use wildcards, or open another connection"));
        }
        Ok(())
    }

    fn subscribe(&mut self, frame: &[u8]) -> Result<Started> {
        let given: frames::Subscribe<'_> = map::json(frame)?;
        self.check_sub(&given.sub)?;
        let pattern = Pattern::parse(&given.pattern)?;
        let from = match (given.from, given.after) {
            (None, None) => From::At(Start::End),
            (Some(from), None) => From::At(map::start(&from, self.access.board().now_ms())?),
            (None, Some(cursor)) => From::After(cursor),
            (Some(_), Some(_)) => return Err(map::invalid("from and after exclude each other")),
        };
        let serial = self.add(given.sub, given.credit, Source::Opening);
        let access = self.access.clone();
        Ok(waits(async move {
            Done::Opened { serial, result: access.tail(&pattern, from, given.partition).await }
        }))
    }

    fn job(&mut self, frame: &[u8]) -> Result<Started> {
        let given: frames::Job<'_> = map::json(frame)?;
        self.check_sub(&given.sub)?;
        let (id, after) = (map::job_id(&given.job)?, given.after);
        let serial = self.add(given.sub, None, Source::Opening);
        let access = self.access.clone();
        Ok(waits(
            async move { Done::Watched { serial, result: access.job(id).await.map(|_| ()), id, after } },
        ))
    }

    fn publish(&mut self, frame: &Bytes, given: frames::Publish<'_>, body: Option<Bytes>) -> Result<Started> {
        let idempotency = said(given.idempotency_key.as_deref(), frame, body.as_deref())?;
        let live = given.live;
        if body.is_some() && (given.body.is_some() || given.encoding.is_some()) {
            return Err(map::invalid("a binary frame holds the body already"));
        }
        let now = self.access.board().now_ms();
        let mut message = map::message_in(
            frame,
            crate::wire::json::MessageIn {
                address: given.address,
                key: given.key,
                key_base64: given.key_base64,
                headers: given.headers,
                content_type: given.content_type,
                body: given.body,
                encoding: given.encoding,
                delay: given.delay,
                expires: given.expires,
            },
            now,
        )?;
        if let Some(body) = body {
            message.body = body;
        }
        let access = self.access.clone();
        Ok(later(async move {
            let options = PublishOptions { idempotency: idempotency.filter(|_| !live), create: !live, live };
            Done::Reply(match access.publish(vec![message], options).await {
                Ok(published) => Reply::Ok(published_members(&access, &published)),
                Err(error) => Reply::Error(error),
            })
        }))
    }

    fn lease(&mut self, frame: &[u8]) -> Result<Started> {
        let given: frames::Lease<'_> = map::json(frame)?;
        if self.leases.len() >= MAX_LEASES {
            let now = self.access.board().now_ms();
            self.leases.retain(|_, until| *until > now);
            if self.leases.len() >= MAX_LEASES {
                return Err(Error::new(Kind::Exhausted, "SB0601", "this connection holds 20,000 leases")
                    .fix("Ack or nack some of them first"));
            }
        }
        let options = LeaseOptions {
            max: map::max(given.max)?,
            wait_ms: given.wait.map_or(0, |s| s.0).min(self.access.board().max_wait_ms()),
            lease_ms: map::lease_ms(given.lease)?,
            consumer: groups::consumer(given.consumer)?,
        };
        let (access, topic, group) = (self.access.clone(), given.topic, given.group);
        Ok(waits(async move {
            match access.lease(&topic, &group, options).await {
                Ok(leased) => {
                    let messages = leased.iter().map(map::leased_out).collect();
                    let members = json(&Messages { messages, next: None });
                    let leases = leased.into_iter().map(|l| (l.handle, l.until_ms)).collect();
                    Done::Leased { members, leases }
                }
                Err(error) => Done::Reply(Reply::Error(error)),
            }
        }))
    }

    fn settle(&mut self, verb: &str, frame: &[u8]) -> Result<Started> {
        let given: frames::Settle<'_> = map::json(frame)?;
        let handles = given.handles.clone();
        let given =
            SettleIn { handles: given.handles, delay: given.delay, dead: given.dead, lease: given.lease };
        let settles = map::settles(verb, given)?;
        let (access, extends) = (self.access.clone(), verb == "extend");
        Ok(later(async move {
            let results = match access.settle(settles).await {
                Ok(results) => results,
                Err(error) => return Done::Reply(Reply::Error(error)),
            };
            let reply = match map::settled(&handles, &results) {
                Ok(out) => Reply::Ok(json(&out)),
                Err(error) => Reply::Error(error),
            };
            if extends {
                let leases =
                    handles.into_iter().zip(results).filter_map(|(h, r)| Some((h, r.ok()?))).collect();
                return match reply {
                    Reply::Ok(members) => Done::Leased { members, leases },
                    other => Done::Reply(other),
                };
            }
            // A handle that was refused is stale, so there is nothing to give back for it either.
            Done::Settled { reply, ended: handles }
        }))
    }

    fn call(&mut self, frame: &Bytes, body: Option<Bytes>) -> Result<Started> {
        let given: frames::Call<'_> = map::json(frame)?;
        let idempotency = given.idempotency_key;
        let body = match body {
            Some(_) if given.body.is_some() || given.encoding.is_some() => {
                return Err(map::invalid("a binary frame holds the body already"));
            }
            Some(body) => body,
            None => map::body_in(frame, given.body, given.encoding.as_deref())?,
        };
        let mut message = Message::new(jobs::input_address()?, body);
        message.time_ms = self.access.board().now_ms();
        message.content_type = given.content_type;
        message.check()?;
        let submit = Submit { method: given.method, message, idempotency, timeout_ms: None };
        let (access, background) = (self.access.clone(), given.background);
        let work = async move {
            Done::Reply(called(&access, submit, background).await.unwrap_or_else(Reply::Error))
        };
        Ok(if background { later(work) } else { waits(work) })
    }
}

/// Queues messages until the socket has enough or the credit is used; says where it stopped.
fn send(
    io: &mut dyn WebSocketIo,
    given: &Given,
    mut at: usize,
    head: &[u8],
    credit: &mut Option<u64>,
    scratch: &mut Vec<u8>,
) -> usize {
    while let Some(index) = given.indexes.get(at) {
        if !may_queue(io, given) || *credit == Some(0) {
            break;
        }
        let shared = map::encoded(given, *index as usize, Form::WebSocketEnvelope);
        at += 1;
        let (text, rest) = match &given.cursor {
            // Several partitions: behind the last record there is a place to resume from, which no message's id tells.
            Some(cursor) if at == given.indexes.len() => {
                let mut own = head.to_vec();
                own.extend_from_slice(b"\"cursor\":");
                own.extend_from_slice(&json(cursor));
                own.push(b',');
                frames::join(&own, shared, scratch)
            }
            _ => frames::join(head, shared, scratch),
        };
        io.queue(text, scratch, rest);
        if let Some(credit) = credit {
            *credit -= 1;
        }
    }
    at
}

/// What becomes of a request.
enum Started {
    Now,
    Later { work: BoxFuture<Done>, waits: bool },
}

fn later(work: impl Future<Output = Done> + Send + 'static) -> Started {
    Started::Later { work: Box::pin(work), waits: false }
}

/// The same for what ends with the socket.
fn waits(work: impl Future<Output = Done> + Send + 'static) -> Started {
    Started::Later { work: Box::pin(work), waits: true }
}

/// An idempotency key with the fingerprint of what the request says apart from its own number.
fn said(key: Option<&str>, frame: &[u8], body: Option<&[u8]>) -> Result<Option<Idempotency>> {
    if key.is_none() {
        return Ok(None);
    }
    let mut object: serde_json::Map<String, serde_json::Value> = map::json(frame)?;
    object.remove("id");
    map::idempotency(key, &[&json(&object), body.unwrap_or_default()])
}

#[derive(Serialize)]
struct PublishedOut<'a> {
    message_id: &'a str,
    topic: &'a str,
    partition: u32,
    offset: u64,
    at: Time,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
}

fn published_members(access: &Access, published: &Published) -> Vec<u8> {
    match published {
        Published::Live(delivered) => json(&LiveOut { live: true, delivered: *delivered }),
        Published::Stored { receipts, replayed } => match receipts.first() {
            Some(receipt) => {
                let id = access.cursor(receipt.position);
                let ReceiptOut { id, topic, partition, offset, at } = map::receipt_out(receipt, &id);
                json(&PublishedOut { message_id: id, topic, partition, offset, at, replayed: *replayed })
            }
            None => b"{}".to_vec(),
        },
    }
}

async fn called(access: &Access, submit: Submit, background: bool) -> Result<Reply> {
    let (job, _) = access.submit(submit).await?;
    if background {
        return Ok(Reply::Ok(job_members(&map::job_out(&job, None, access.board().services().schema()))));
    }
    let job = jobs::done(access, job, None).await?;
    let outcome = access.job_outcome(job.id).await?;
    match outcome {
        Some(Outcome::Result { content_type, body }) => {
            let mut out = map::content(content_type.as_deref(), &body);
            if out.encoding.is_none() {
                return Ok(Reply::Ok(json(&out)));
            }
            out.encoding = None;
            let members = json(&ContentType { content_type: out.content_type });
            Ok(Reply::Binary(members, body.clone()))
        }
        Some(other) => {
            Ok(Reply::Error(map::outcome_error(&other).unwrap_or_else(|| Error::internal("no outcome"))))
        }
        None => Err(access.job_goes_on(job.id)),
    }
}

#[derive(Serialize)]
struct ContentType<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
}

fn job_members(job: &impl Serialize) -> Vec<u8> {
    let mut members = b"{\"job\":".to_vec();
    members.extend_from_slice(&json(job));
    members.push(b'}');
    members
}

#[cfg(test)]
#[path = "subprotocol_tests.rs"]
mod tests;
