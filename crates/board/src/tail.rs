//! A reader's place in one topic or several. A tail holds no messages of its own: it is a cursor over the log that is woken when
//! something it wants is durable, takes shared batches from memory and falls back to the store when it is slow.

use crate::Board;
use crate::auth::{Principal, Verb};
use crate::directory::Topic;
use crate::engine::log_part;
use crate::index::Key;
use crate::part::{Got, Listener, Part, Reader, SharedBatch};
use sb_core::batch::Record;
use sb_core::model::{Error, Kind, Pattern, Position, Result};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

pub use crate::part::Form;

/// About how many bytes are read at a time.
const STEP: usize = 256 * 1024;

/// What a tail gives.
pub enum Next {
    /// Records of a batch, in order.
    Records(Given),
    /// The position is gone (retention was faster, or the topic was deleted), or the reader was too slow for live messages. The tail has ended.
    Reset(Error),
    /// The server drains. The tail has ended.
    Draining,
}

/// Records of a batch.
pub struct Given {
    /// The batch.
    pub batch: Arc<SharedBatch>,
    /// Which records: indexes into [`SharedBatch::records`], filtered by pattern, partition and permission.
    pub indexes: SmallVec<[u32; 8]>,
    /// `None` when the plain cursor of each record serves for resuming (one partition is read); otherwise the composite cursor
    /// behind the last of them.
    pub cursor: Option<String>,
}

struct Subscription {
    topic: Arc<Topic>,
    part: Arc<Part>,
    next: u64,
    filter: Option<Pattern>,
    key: Key,
    /// Whether it is in the queue: there may be something to read. Otherwise everything before `next` was looked at, and that was all.
    queued: bool,
}

type Loading = tokio::task::JoinHandle<std::result::Result<Vec<bytes::Bytes>, String>>;

/// A reader at some position that waits for more.
pub struct Tail {
    board: Arc<Board>,
    principal: Arc<Principal>,
    pattern: Pattern,
    partition: Option<u32>,
    /// Each message is checked, because the grants do not cover the whole pattern.
    check: bool,
    reader: Arc<Reader>,
    registered: u64,
    live_key: Key,
    subscriptions: Vec<Option<Subscription>>,
    queue: VecDeque<u32>,
    pending: VecDeque<(u32, Arc<SharedBatch>)>,
    live: VecDeque<Arc<SharedBatch>>,
    loading: Option<(u32, Loading)>,
    delivered: u64,
    ended: bool,
}

impl Tail {
    /// A tail over these partitions at these offsets. Registers before the offsets are compared with the ends, so nothing is missed.
    pub(crate) fn open(
        board: Arc<Board>,
        principal: Arc<Principal>,
        pattern: Pattern,
        partition: Option<u32>,
        check: bool,
        places: Vec<(Arc<Topic>, Arc<Part>, bool, u64)>,
    ) -> Tail {
        let reader = Arc::new(Reader::default());
        let registered = board.register_reader(reader.clone());
        let live_key = board.live_listen(&pattern, reader.clone());
        let mut tail = Tail {
            board,
            principal,
            pattern,
            partition,
            check,
            reader,
            registered,
            live_key,
            subscriptions: Vec::new(),
            queue: VecDeque::new(),
            pending: VecDeque::new(),
            live: VecDeque::new(),
            loading: None,
            delivered: 0,
            ended: false,
        };
        for (topic, part, whole, next) in places {
            tail.subscribe(topic, part, whole, next);
        }
        // What was declared after the places were looked up and before the reader was registered.
        tail.refresh();
        tail
    }

    fn subscribe(&mut self, topic: Arc<Topic>, part: Arc<Part>, whole: bool, next: u64) {
        let filter = (!whole).then(|| self.pattern.clone());
        let number = self.subscriptions.len() as u32;
        let listener = Listener { reader: self.reader.clone(), subscription: number };
        let key = part.listen(filter.as_ref(), listener);
        self.subscriptions.push(Some(Subscription { topic, part, next, filter, key, queued: true }));
        self.queue.push_back(number);
    }

    /// Takes up topics that have been declared since.
    fn refresh(&mut self) {
        let known = |tail: &Tail, id| tail.subscriptions.iter().flatten().any(|s| s.part.id == id);
        for (topic, whole) in self.board.directory().read_by(&self.pattern, crate::sign::MAX_POSITIONS) {
            for part in &topic.parts {
                if self.partition.is_none_or(|p| p == part.id.partition)
                    && !known(self, part.id)
                    && self.subscriptions.len() < crate::sign::MAX_POSITIONS
                {
                    self.subscribe(topic.clone(), part.clone(), whole, 0);
                }
            }
        }
    }

    /// The next records. Wakes the task when something matching is durable, or was sent live.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.ended {
            return Poll::Pending;
        }
        self.reader.register(cx.waker());
        loop {
            if self.board.is_draining() {
                self.ended = true;
                return Poll::Ready(Next::Draining);
            }
            // Not before the live messages taken last are delivered: what waits for a slow reader is bounded there.
            if self.live.is_empty()
                && let Some(news) = self.reader.take()
            {
                if news.too_slow {
                    return self.reset(
                        Error::new(Kind::Exhausted, "SB0601", "this reader is too slow for live messages")
                            .fix("Read faster, or publish to a topic, which keeps messages until they are read"),
                    );
                }
                self.live = news.live;
                if news.topics_changed {
                    self.refresh();
                }
                for (number, first) in news.ready {
                    // One that is in the queue has not read all there was yet, or has been told where to go on.
                    if let Some(Some(subscription)) = self.subscriptions.get_mut(number as usize)
                        && !subscription.queued
                    {
                        if subscription.filter.is_some() {
                            // Nothing between the end that was reached and the first hit concerns this reader.
                            subscription.next = subscription.next.max(first);
                        }
                        subscription.queued = true;
                        self.queue.push_back(number);
                    }
                }
            }
            if let Some(batch) = self.live.pop_front() {
                let allowed = !self.check
                    || batch.records().iter().all(|r| self.principal.may(Verb::Read, &r.message.address));
                if allowed {
                    self.delivered += 1;
                    let indexes = (0..batch.records().len() as u32).collect();
                    return Poll::Ready(Next::Records(Given { batch, indexes, cursor: None }));
                }
                continue;
            }
            if let Some((number, batch)) = self.pending.pop_front() {
                if let Some(given) = self.give(number, batch) {
                    return Poll::Ready(Next::Records(given));
                }
                continue;
            }
            if let Some((number, handle)) = &mut self.loading {
                let number = *number;
                match std::pin::Pin::new(handle).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(loaded) => {
                        self.loading = None;
                        if let Err(error) = self.loaded(number, loaded) {
                            return self.reset(error);
                        }
                        continue;
                    }
                }
            }
            let Some(&number) = self.queue.front() else { return Poll::Pending };
            if let Err(error) = self.read(number) {
                return self.reset(error);
            }
        }
    }

    /// The next records.
    pub async fn next(&mut self) -> Next {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn reset(&mut self, error: Error) -> Poll<Next> {
        self.ended = true;
        Poll::Ready(Next::Reset(error))
    }

    /// Reads on in one subscription: from memory at once, or starts to load from the store.
    fn read(&mut self, number: u32) -> Result<()> {
        let Some(Some(subscription)) = self.subscriptions.get_mut(number as usize) else {
            self.queue.pop_front();
            return Ok(());
        };
        if subscription.part.is_closed() {
            self.queue.pop_front();
            let name = subscription.topic.name.clone();
            self.drop_subscription(number);
            if self.pattern.literal().is_some() {
                return Err(Error::new(Kind::NotFound, "SB0301", format!("the topic {name:?} was deleted")));
            }
            return Ok(());
        }
        match subscription.part.read(subscription.next, STEP) {
            Got::Batches(batches) => self.pending.extend(batches.into_iter().map(|b| (number, b))),
            Got::End => {
                subscription.queued = false;
                self.queue.pop_front();
            }
            Got::Gone(start) => return Err(gone(&subscription.topic.name, subscription.next, start)),
            Got::Behind => {
                let (part, next) = (log_part(subscription.part.id), subscription.next);
                let store = self.board.store();
                let handle = tokio::task::spawn_blocking(move || match store {
                    Some(store) => store.read(part, next, STEP).map_err(|e| e.to_string()),
                    None => Ok(Vec::new()),
                });
                self.loading = Some((number, handle));
            }
        }
        Ok(())
    }

    fn loaded(
        &mut self,
        number: u32,
        loaded: std::result::Result<std::result::Result<Vec<bytes::Bytes>, String>, tokio::task::JoinError>,
    ) -> Result<()> {
        let Some(Some(subscription)) = self.subscriptions.get_mut(number as usize) else { return Ok(()) };
        let batches = loaded
            .map_err(|e| e.to_string())
            .and_then(|l| l)
            .map_err(|e| crate::damaged(&subscription.topic.name, &e))?;
        let mut any = false;
        for bytes in batches {
            if let Some(batch) = subscription.part.share(bytes)
                && batch.end() > subscription.next
            {
                any = true;
                self.pending.push_back((number, batch));
            }
        }
        if !any && !subscription.part.is_closed() {
            // Retention or a deletion came in between; otherwise the store lacks what it must have.
            let (start, _) = subscription.part.bounds();
            return Err(if subscription.next < start {
                gone(&subscription.topic.name, subscription.next, start)
            } else {
                crate::damaged(&subscription.topic.name, &format!("offset {} is missing", subscription.next))
            });
        }
        Ok(())
    }

    fn give(&mut self, number: u32, batch: Arc<SharedBatch>) -> Option<Given> {
        let single = self.subscriptions.len() == 1;
        let subscription = self.subscriptions.get_mut(number as usize)?.as_mut()?;
        let from = subscription.next;
        if batch.end() <= from {
            return None;
        }
        subscription.next = batch.end();
        let mut indexes = SmallVec::new();
        for (n, record) in batch.records().iter().enumerate() {
            let address = &record.message.address;
            if record.offset >= from
                && subscription.filter.as_ref().is_none_or(|f| f.matches(address))
                && (!self.check || self.principal.may(Verb::Read, address))
            {
                indexes.push(n as u32);
            }
        }
        if indexes.is_empty() {
            return None;
        }
        self.delivered += indexes.len() as u64;
        let cursor = if single { None } else { Some(self.cursor()) };
        Some(Given { batch, indexes, cursor })
    }

    /// Continues where this tail is now.
    pub fn cursor(&self) -> String {
        let positions: Vec<Position> = self
            .subscriptions
            .iter()
            .flatten()
            .map(|s| Position::new(s.part.id.topic, s.part.id.partition, s.next))
            .collect();
        self.board.signer().cursor(&positions)
    }

    /// Continues behind a record of what this tail gave last, even where that was not the last record of it.
    pub fn cursor_behind(&self, batch: &SharedBatch, record: &Record) -> String {
        let given = batch.position(record);
        let positions: Vec<Position> = self
            .subscriptions
            .iter()
            .flatten()
            .map(|s| {
                let next = if s.part.id == given.part { given.offset.saturating_add(1) } else { s.next };
                Position::new(s.part.id.topic, s.part.id.partition, next)
            })
            .collect();
        self.board.signer().cursor(&positions)
    }

    fn drop_subscription(&mut self, number: u32) {
        if let Some(slot) = self.subscriptions.get_mut(number as usize)
            && let Some(subscription) = slot.take()
        {
            subscription.part.unlisten(subscription.filter.as_ref(), subscription.key);
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        for number in 0..self.subscriptions.len() {
            self.drop_subscription(number as u32);
        }
        self.board.live_unlisten(&self.pattern, self.live_key);
        self.board.unregister_reader(self.registered);
        self.board.counters().delivered(self.delivered);
    }
}

pub(crate) fn gone(topic: &str, wanted: u64, start: u64) -> Error {
    Error::new(
        Kind::Gone,
        "SB0305",
        format!("offset {wanted} of {topic:?} is no longer kept; the first kept one is {start}"),
    )
    .fix("Begin again with from=start, or from=end for new messages only")
}
