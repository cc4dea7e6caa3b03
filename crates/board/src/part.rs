//! One partition as readers see it: its newest durable batches, shared by all of them, and who waits for more.
//!
//! The commit loop appends here what has become durable; readers copy counted references out. Each lock is held for a few hundred
//! nanoseconds and never across an await.

use crate::index::{Index, Key};
use crate::sign::Signer;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use sb_core::batch::{self, Record};
use sb_core::model::{Address, Message, PartId, Pattern, Position};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The most live messages that wait for one reader.
const LIVE_MESSAGES: usize = 4096;
/// The most bytes of live messages that wait for one reader.
const LIVE_BYTES: usize = 1 << 20;

/// Locks, also when a task has panicked with the lock held: every critical section leaves a usable state behind.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wire formats of which each record of a batch is encoded at most once.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Server-Sent Event with its cursor, plain.
    Sse = 0,
    /// A Server-Sent Event with the JSON envelope.
    SseEnvelope = 1,
    /// A complete WebSocket frame with the body alone.
    WebSocketPlain = 2,
    /// The part of a `switchboard.v1` message behind the subscriber's own head.
    WebSocketEnvelope = 3,
}

/// A batch as readers share it: decoded once, encoded once for each wire format.
pub struct SharedBatch {
    topic: Arc<str>,
    address: Address,
    part: PartId,
    base: u64,
    end: u64,
    bytes: Bytes,
    live: bool,
    signer: Arc<Signer>,
    records: OnceLock<Vec<Record>>,
    encoded: [OnceLock<Box<[OnceLock<Bytes>]>>; 4],
}

impl SharedBatch {
    /// A durable batch whose checksum has been verified, or that this process encoded.
    pub(crate) fn stored(
        topic: Arc<str>,
        address: Address,
        part: PartId,
        base: u64,
        end: u64,
        bytes: Bytes,
        signer: Arc<Signer>,
    ) -> Self {
        SharedBatch {
            topic,
            address,
            part,
            base,
            end,
            bytes,
            live: false,
            signer,
            records: OnceLock::new(),
            encoded: Default::default(),
        }
    }

    /// A message that is kept nowhere.
    pub(crate) fn live(message: Message, signer: Arc<Signer>) -> Self {
        let address = message.address.clone();
        let records = OnceLock::new();
        let bytes = message.body.clone();
        let _ = records.set(vec![Record { offset: 0, message }]);
        SharedBatch {
            topic: address.as_str().into(),
            address,
            part: PartId { topic: sb_core::model::TopicId(0), partition: 0 },
            base: 0,
            end: 1,
            bytes,
            live: true,
            signer,
            records,
            encoded: Default::default(),
        }
    }

    /// The topic's name; for a live message its address.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> u32 {
        self.part.partition
    }

    /// The first offset.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The offset behind the last message.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes as they are kept.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it is kept nowhere; then records have no cursor.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// The messages.
    pub fn records(&self) -> &[Record] {
        self.records.get_or_init(|| {
            let decoded = batch::records(&self.address, &self.bytes).and_then(|r| r.collect());
            decoded.unwrap_or_else(|error| {
                tracing::error!(topic = %self.topic, base = self.base, %error, "a verified batch cannot be decoded");
                Vec::new()
            })
        })
    }

    /// Where the record is.
    pub fn position(&self, record: &Record) -> Position {
        Position::new(self.part.topic, self.part.partition, record.offset)
    }

    /// The id of a record: the cursor that points at it. Empty for a live message.
    pub fn cursor(&self, record: &Record) -> String {
        if self.live {
            return String::new();
        }
        let mut next = self.position(record);
        next.offset += 1;
        self.signer.cursor(&[next])
    }

    /// The record's encoding, made by `make(record, cursor)` the first time anyone asks.
    pub fn encoded(&self, form: Form, index: usize, make: impl FnOnce(&Record, &str) -> Bytes) -> Bytes {
        let records = self.records();
        let cells =
            self.encoded[form as usize].get_or_init(|| records.iter().map(|_| OnceLock::new()).collect());
        match (cells.get(index), records.get(index)) {
            (Some(cell), Some(record)) => cell.get_or_init(|| make(record, &self.cursor(record))).clone(),
            _ => Bytes::new(),
        }
    }
}

/// What a reader is woken by. One for each reader, registered with every partition it reads.
#[derive(Default)]
pub(crate) struct Reader {
    waker: AtomicWaker,
    state: Mutex<ReaderState>,
}

#[derive(Default)]
struct ReaderState {
    /// Subscriptions with news, and the first offset that concerns them.
    ready: Vec<(u32, u64)>,
    live: VecDeque<Arc<SharedBatch>>,
    live_bytes: usize,
    too_slow: bool,
    topics_changed: bool,
}

/// What has happened since a reader looked last.
pub(crate) struct News {
    pub(crate) ready: Vec<(u32, u64)>,
    pub(crate) live: VecDeque<Arc<SharedBatch>>,
    pub(crate) too_slow: bool,
    pub(crate) topics_changed: bool,
}

impl Reader {
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Takes what has happened, if anything.
    pub(crate) fn take(&self) -> Option<News> {
        let mut state = lock(&self.state);
        if state.ready.is_empty() && state.live.is_empty() && !state.too_slow && !state.topics_changed {
            return None;
        }
        let state = std::mem::take(&mut *state);
        Some(News {
            ready: state.ready,
            live: state.live,
            too_slow: state.too_slow,
            topics_changed: state.topics_changed,
        })
    }

    /// Notes news of a subscription; true when the reader has to be woken.
    fn note(&self, subscription: u32, offset: u64) -> bool {
        let mut state = lock(&self.state);
        match state.ready.iter_mut().find(|(s, _)| *s == subscription) {
            Some((_, first)) => {
                *first = (*first).min(offset);
                false
            }
            None => {
                state.ready.push((subscription, offset));
                true
            }
        }
    }

    pub(crate) fn note_topics(&self) {
        lock(&self.state).topics_changed = true;
        self.wake();
    }

    /// Hands over a live message; the reader is too slow when its bounded buffer is full.
    pub(crate) fn offer_live(&self, batch: &Arc<SharedBatch>) {
        let mut state = lock(&self.state);
        let wake = state.live.is_empty();
        if state.live.len() >= LIVE_MESSAGES || state.live_bytes > LIVE_BYTES {
            state.too_slow = true;
        } else {
            state.live_bytes += batch.bytes.len();
            state.live.push_back(batch.clone());
        }
        drop(state);
        if wake {
            self.wake();
        }
    }
}

/// A reader in an index or list, and which of its subscriptions is meant.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) reader: Arc<Reader>,
    pub(crate) subscription: u32,
}

/// One partition.
pub(crate) struct Part {
    pub(crate) id: PartId,
    topic: Arc<str>,
    address: Address,
    pub(crate) memory: bool,
    signer: Arc<Signer>,
    inner: Mutex<Inner>,
    /// Everything before this offset is in the store.
    stored: AtomicU64,
    gone: AtomicBool,
}

#[derive(Default)]
struct Inner {
    tail: VecDeque<Arc<SharedBatch>>,
    start: u64,
    end: u64,
    all: Vec<(Key, Listener)>,
    next_key: Key,
    filtered: Option<Box<Index<Listener>>>,
}

/// What reading a partition gives.
pub(crate) enum Got {
    /// Batches, the first of which may begin before the offset asked for.
    Batches(Vec<Arc<SharedBatch>>),
    /// Nothing yet.
    End,
    /// It is no longer in memory: ask the store.
    Behind,
    /// Retention removed it; the first kept offset.
    Gone(u64),
}

impl Part {
    pub(crate) fn new(
        id: PartId,
        topic: Arc<str>,
        address: Address,
        memory: bool,
        signer: Arc<Signer>,
        start: u64,
        end: u64,
    ) -> Self {
        Part {
            id,
            topic,
            address,
            memory,
            signer,
            inner: Mutex::new(Inner { start, end, ..Inner::default() }),
            stored: AtomicU64::new(end),
            gone: AtomicBool::new(false),
        }
    }

    /// First kept and next offset.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let inner = lock(&self.inner);
        (inner.start, inner.end)
    }

    /// Makes a shared batch of bytes that came from the store.
    pub(crate) fn share(&self, bytes: Bytes) -> Option<Arc<SharedBatch>> {
        let header = batch::header(&bytes).ok()?;
        Some(Arc::new(SharedBatch::stored(
            self.topic.clone(),
            self.address.clone(),
            self.id,
            header.base_offset,
            header.end(),
            bytes,
            self.signer.clone(),
        )))
    }

    /// Adds a durable batch and notes who waits for it in `woken`.
    pub(crate) fn append(&self, base: u64, end: u64, bytes: Bytes, woken: &mut Vec<Arc<Reader>>) -> usize {
        let size = bytes.len();
        let batch = Arc::new(SharedBatch::stored(
            self.topic.clone(),
            self.address.clone(),
            self.id,
            base,
            end,
            bytes,
            self.signer.clone(),
        ));
        let mut inner = lock(&self.inner);
        inner.tail.push_back(batch.clone());
        inner.end = end;
        for (_, listener) in &inner.all {
            if listener.reader.note(listener.subscription, base) {
                woken.push(listener.reader.clone());
            }
        }
        if let Some(index) = &mut inner.filtered {
            for record in batch.records() {
                for listener in index.matches(&record.message.address).iter() {
                    if listener.reader.note(listener.subscription, record.offset) {
                        woken.push(listener.reader.clone());
                    }
                }
            }
        }
        size
    }

    /// A batch that is durable but not in the store, found at the start: it is read from here until it is.
    pub(crate) fn restore(&self, base: u64, end: u64, bytes: Bytes) {
        let mut inner = lock(&self.inner);
        if end <= inner.start || end > inner.end {
            return;
        }
        self.stored.fetch_min(base, Ordering::AcqRel);
        inner.tail.push_back(Arc::new(SharedBatch::stored(
            self.topic.clone(),
            self.address.clone(),
            self.id,
            base,
            end,
            bytes,
            self.signer.clone(),
        )));
    }

    /// The store has everything before `end`.
    pub(crate) fn set_stored(&self, end: u64) {
        self.stored.fetch_max(end, Ordering::Release);
    }

    /// Forgets the oldest batch in memory, if the store has it; says how many bytes that freed.
    pub(crate) fn evict(&self) -> Option<usize> {
        if self.memory {
            return Some(0);
        }
        let mut inner = lock(&self.inner);
        let Some(front) = inner.tail.front() else { return Some(0) };
        if front.end > self.stored.load(Ordering::Acquire) {
            return None;
        }
        let size = front.bytes.len();
        inner.tail.pop_front();
        if inner.tail.is_empty() {
            inner.tail.shrink_to_fit();
        }
        Some(size)
    }

    /// Retention moved the start, or with `u64::MAX` the topic was deleted; says how many bytes in memory that freed. What is in the
    /// store as well stays here until its turn, unless the topic is gone.
    pub(crate) fn trim(&self, start: u64) -> usize {
        let mut inner = lock(&self.inner);
        inner.start = inner.start.max(start);
        let mut freed = 0;
        if self.memory || start == u64::MAX {
            while inner.tail.front().is_some_and(|b| b.end <= start) {
                freed += inner.tail.pop_front().map_or(0, |b| b.bytes.len());
            }
        }
        freed
    }

    /// The topic was deleted: wakes everyone who reads it.
    pub(crate) fn close(&self) {
        self.gone.store(true, Ordering::Release);
        let inner = lock(&self.inner);
        let filtered = inner.filtered.as_ref().map(|index| index.all()).unwrap_or_default();
        for listener in inner.all.iter().map(|(_, l)| l).chain(&filtered) {
            listener.reader.note(listener.subscription, 0);
            listener.reader.wake();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Batches from `offset` on, about `max_bytes` of them.
    pub(crate) fn read(&self, offset: u64, max_bytes: usize) -> Got {
        let inner = lock(&self.inner);
        if offset < inner.start {
            return Got::Gone(inner.start);
        }
        if offset >= inner.end {
            return Got::End;
        }
        match inner.tail.front() {
            Some(front) if front.base <= offset => {}
            _ => return Got::Behind,
        }
        let first = inner.tail.partition_point(|b| b.end <= offset);
        let mut batches = Vec::new();
        let mut bytes = 0;
        for batch in inner.tail.range(first..) {
            if bytes > 0 && bytes + batch.bytes.len() > max_bytes {
                break;
            }
            bytes += batch.bytes.len();
            batches.push(batch.clone());
        }
        Got::Batches(batches)
    }

    /// Registers a reader; it is told of everything that is appended from now on.
    pub(crate) fn listen(&self, filter: Option<&Pattern>, listener: Listener) -> Key {
        let mut inner = lock(&self.inner);
        match filter {
            Some(pattern) => inner.filtered.get_or_insert_default().insert(pattern, listener),
            None => {
                inner.next_key += 1;
                let key = inner.next_key;
                inner.all.push((key, listener));
                key
            }
        }
    }

    /// Undoes [`Part::listen`].
    pub(crate) fn unlisten(&self, filter: Option<&Pattern>, key: Key) {
        let mut inner = lock(&self.inner);
        match filter {
            Some(pattern) => {
                if let Some(index) = &mut inner.filtered {
                    index.remove(pattern, key);
                    if index.is_empty() {
                        inner.filtered = None;
                    }
                }
            }
            None => {
                // Keys ascend, so that leaving is cheap with thousands of readers.
                if let Ok(at) = inner.all.binary_search_by_key(&key, |(k, _)| *k) {
                    inner.all.remove(at);
                }
            }
        }
    }
}
