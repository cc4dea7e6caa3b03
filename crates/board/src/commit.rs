//! The commit loop: the one queue on the path of a message. It takes what has arrived, lets the core check and apply it, makes the frame
//! durable with one sync, shows the effects to readers, and only then answers.

use crate::directory::Topic;
use crate::engine::{self, CheckpointJob, Checkpoints, Engine, FRAME_TARGET, log_part};
use crate::part::{Part, Reader, lock};
use crate::{Board, Clock, Writes};
use sb_core::model::{Address, Error, Kind, PartId, Result, TopicId};
use sb_core::ops::{Answer, Appended, Commit, Effects};
use sb_core::topics::TopicView;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The most requests in one frame.
const FRAME_REQUESTS: usize = 8192;
/// So many are answered by the loop itself.
const RELEASE_HERE: usize = 4;
/// A checkpoint is taken when the engine wants one, or so much time has passed since the last and something was journalled …
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);
/// … but not more often than this.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(500);
/// A quiet journal is sealed after this time.
const SEAL_AFTER: Duration = Duration::from_millis(50);
/// The commit loop waits when so many bytes have not reached the segments yet.
const STORAGE_BACKLOG: usize = 256 << 20;
/// How long the storage thread gathers what it writes: long beside a frame, so that it wakes once for many of them.
const GATHER: Duration = Duration::from_millis(50);
/// About how many bytes it writes at once.
const GATHER_BYTES: usize = 8 << 20;

pub(crate) type Release = Box<dyn FnOnce(&Result<()>) + Send>;

/// What the loop is asked.
pub(crate) enum Ask {
    /// Apply this.
    Commit(Commit, oneshot::Sender<Result<Answer>>, Option<OwnedSemaphorePermit>),
    /// Look at the state; the answer leaves when what was seen is durable.
    Query(Box<dyn FnOnce(&mut Engine) -> Release + Send>),
    /// A checkpoint was written (or could not be).
    Checkpointed(std::result::Result<u64, String>),
    /// Write a last checkpoint and end.
    Stop,
}

/// What the storage thread is given.
pub(crate) enum Store {
    /// Durable effects to copy into segments.
    Effects(Stored),
    /// Everything before it has been given: write it.
    Checkpoint(Box<CheckpointJob>),
}

/// Durable effects of one frame on their way to the segments.
pub(crate) struct Stored {
    pub(crate) effects: Effects,
    /// The partition of each batch.
    pub(crate) parts: Vec<Option<Arc<Part>>>,
    /// Bytes of all batches.
    pub(crate) bytes: usize,
}

/// What the checkpoint thread is given.
pub(crate) enum Job {
    /// Write this.
    Checkpoint(Box<CheckpointJob>),
    /// Free what the store has dropped.
    Relieve,
}

/// Someone who waits for a frame to be durable.
pub(crate) enum Waiting {
    Commit(oneshot::Sender<Result<Answer>>, Result<Answer>, Option<OwnedSemaphorePermit>),
    Query(Release),
}

impl Waiting {
    /// Answers, now that it is known what became of the frame.
    fn release(self, outcome: &Result<()>) {
        match self {
            Waiting::Commit(reply, answer, reserved) => {
                drop(reserved);
                let _ = reply.send(outcome.clone().and(answer));
            }
            Waiting::Query(release) => release(outcome),
        }
    }
}

/// Answers the many who waited for one frame, from inside the runtime: there a wake-up puts a task into the worker's own queue, where
/// from another thread each of them takes a lock and perhaps a system call.
pub(crate) async fn release_task(
    mut frames: tokio::sync::mpsc::UnboundedReceiver<(Vec<Waiting>, Result<()>)>,
) {
    while let Some((waiting, outcome)) = frames.recv().await {
        for (n, waiting) in waiting.into_iter().enumerate() {
            waiting.release(&outcome);
            // Lets the woken run before the queue of the worker overflows into the shared one.
            if n % 128 == 127 {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Store {
    fn effects(&self) -> Option<&Effects> {
        match self {
            Store::Effects(put) => Some(&put.effects),
            Store::Checkpoint(_) => None,
        }
    }
}

/// Runs until it is told to stop or storage fails.
pub(crate) fn run(mut engine: Engine, asks: Receiver<Ask>, store: Option<Sender<Store>>, board: Arc<Board>) {
    let clock = board.clock();
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut tails = Tails { order: VecDeque::new(), bytes: 0, budget: board.tail_budget() };
    let mut last_checkpoint = Instant::now();
    let mut checkpointing = false;
    let mut sealed = true;
    let mut stopping = false;
    // What is due cannot be done yet, because the journal has no room.
    let mut stuck = false;
    loop {
        let now = clock.now();
        let mut wait = engine
            .core
            .next_tick(now)
            .map_or(Duration::from_secs(1), |at| Duration::from_millis(at.saturating_sub(now.mono_ms)));
        wait = wait.min(Duration::from_secs(1));
        if !sealed {
            wait = wait.min(SEAL_AFTER);
        }
        if stuck {
            wait = wait.max(Duration::from_millis(10));
        }
        let mut next = match asks.recv_timeout(wait) {
            Ok(ask) => Some(ask),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if next.is_none() && !sealed {
            engine.seal();
            sealed = true;
        }
        let now = clock.now();
        while let Some(ask) = next.take() {
            match ask {
                Ask::Commit(commit, reply, reserved) => {
                    let answer = engine.commit(now, commit);
                    waiting.push(Waiting::Commit(reply, answer, reserved));
                }
                Ask::Query(look) => {
                    let release = look(&mut engine);
                    waiting.push(Waiting::Query(release));
                }
                Ask::Checkpointed(Ok(applied)) => {
                    engine.end_checkpoint(applied);
                    checkpointing = false;
                    board.counters().checkpoints.fetch_add(1, Ordering::Relaxed);
                    if stopping {
                        // The storage threads end with this one, and the last of them says that everything is closed.
                        engine.seal();
                        return;
                    }
                }
                Ask::Checkpointed(Err(error)) => {
                    board.fail(format!("a checkpoint cannot be written: {error}"));
                    return;
                }
                Ask::Stop => stopping = true,
            }
            if waiting.len() < FRAME_REQUESTS && engine.pending() < FRAME_TARGET {
                next = asks.try_recv().ok();
            }
        }
        let more = engine.tick(now);
        let pending = engine.pending();
        stuck = more && pending == 0;
        let started = Instant::now();
        let outcome = match engine.flush() {
            Ok(effects) => {
                if pending > 0 {
                    let took = started.elapsed();
                    board.counters().flushed(pending, took);
                    sealed = false;
                    if took > Duration::from_millis(500) {
                        // Workers could not renew meanwhile: their leases must not run out because of us.
                        engine.core.pause(took.as_millis() as u64);
                    }
                }
                show(&board, &engine, effects, store.as_ref(), &mut tails);
                Ok(())
            }
            Err(error) => Err(error),
        };
        let commits = waiting.iter().filter(|w| matches!(w, Waiting::Commit(..))).count();
        board.counters().commits.fetch_add(commits as u64, Ordering::Relaxed);
        if waiting.len() > RELEASE_HERE {
            board.release(std::mem::take(&mut waiting), outcome.clone());
        } else {
            waiting.drain(..).for_each(|w| w.release(&outcome));
        }
        if let Err(error) = outcome {
            board.fail(error.to_string());
            return;
        }
        let due = (engine.wants_checkpoint() && last_checkpoint.elapsed() > CHECKPOINT_PAUSE)
            || (engine.journal_bytes() > 0 && last_checkpoint.elapsed() > CHECKPOINT_EVERY);
        if let Some(store) = &store
            && !checkpointing
            && (due || stopping)
            && let Some(job) = engine.begin_checkpoint()
        {
            checkpointing = true;
            last_checkpoint = Instant::now();
            let _ = store.send(Store::Checkpoint(Box::new(job)));
        }
        if stopping && store.is_none() {
            board.stopped();
            return;
        }
        board.note_journal(engine.journal_bytes(), tails.bytes);
        while board.storage_backlog() > STORAGE_BACKLOG && board.check_disk().is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Batches that are kept in memory for readers, oldest first.
struct Tails {
    order: VecDeque<Arc<Part>>,
    bytes: usize,
    budget: usize,
}

/// Shows what has become durable: to the directory, to readers, to those who wait for groups and jobs, and to the storage thread.
fn show(
    board: &Arc<Board>,
    engine: &Engine,
    effects: Effects,
    store: Option<&Sender<Store>>,
    tails: &mut Tails,
) {
    for id in &effects.declared {
        if let Some(view) = engine.core.topic_by_id(*id) {
            declare(board, &view);
        }
    }
    if !effects.declared.is_empty() {
        board.topics_changed();
    }
    let mut woken: Vec<Arc<Reader>> = Vec::new();
    let mut parts = Vec::with_capacity(effects.appended.len());
    let mut bytes = 0;
    for batch in &effects.appended {
        let part = find(board, batch);
        if let Some(part) = &part {
            let end = batch.base + u64::from(batch.count);
            tails.bytes += part.append(batch.base, end, batch.bytes.clone(), &mut woken);
            if !part.memory {
                tails.order.push_back(part.clone());
            }
        }
        bytes += batch.bytes.len();
        if batch.part.topic != TopicId::JOBS {
            board.counters().messages_in.fetch_add(u64::from(batch.count), Ordering::Relaxed);
        }
        parts.push(part);
    }
    board.counters().bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    for (id, start) in &effects.trimmed {
        if let Some(part) = board.part(*id) {
            tails.bytes -= part.trim(*start).min(tails.bytes);
        }
    }
    if !effects.deleted.is_empty() {
        lock(board.group_ids()).retain(|(topic, _), _| !effects.deleted.contains(topic));
    }
    for id in &effects.deleted {
        if let Some(topic) = board.directory().remove(*id) {
            for part in &topic.parts {
                part.close();
                tails.bytes -= part.trim(u64::MAX).min(tails.bytes);
            }
            tails.order.retain(|part| part.id.topic != *id);
        }
    }
    board.wake(woken);
    for group in &effects.ready {
        board.group_ready(*group);
    }
    for job in &effects.jobs {
        board.job_changed(*job);
    }
    for group in &effects.dying {
        board.group_dying(*group);
    }
    if let Some(store) = store
        && !(effects.appended.is_empty() && effects.trimmed.is_empty() && effects.deleted.is_empty())
    {
        board.storage_add(bytes);
        let _ = store.send(Store::Effects(Stored { effects, parts, bytes }));
    }
    while tails.bytes > tails.budget {
        let Some(part) = tails.order.front() else { break };
        match part.evict() {
            Some(freed) => {
                tails.bytes -= freed.min(tails.bytes);
                tails.order.pop_front();
            }
            None => break,
        }
    }
}

fn find(board: &Board, batch: &Appended) -> Option<Arc<Part>> {
    board.part(batch.part)
}

/// Makes a topic known to connections, keeping the partitions that are known already.
pub(crate) fn declare(board: &Arc<Board>, view: &TopicView) {
    let Ok(address) = Address::parse(&view.name) else { return };
    let known = board.directory().by_id(view.id);
    let name: Arc<str> = known.as_ref().map_or_else(|| view.name.as_str().into(), |t| t.name.clone());
    let parts = view
        .parts
        .iter()
        .enumerate()
        .map(|(n, part)| {
            known.as_ref().and_then(|t| t.parts.get(n)).cloned().unwrap_or_else(|| {
                let id = PartId { topic: view.id, partition: n as u32 };
                // At start everything is in the store; a new partition is empty.
                let signer = board.signer().clone();
                Arc::new(Part::new(
                    id,
                    name.clone(),
                    address.clone(),
                    view.policy.memory || !board.durable(),
                    signer,
                    part.start,
                    part.end,
                ))
            })
        })
        .collect();
    board.directory().put(Arc::new(Topic::new(view.id, name, address, view.policy.clone(), parts)));
}

/// Copies durable batches into segments and hands checkpoints on. A full disk is waited out; anything else is the end.
///
/// Nobody waits for this, as everything is in memory until it is here: what comes within a moment is written together.
pub(crate) fn store_thread(
    items: Receiver<Store>,
    store: Arc<sb_log::local::Store>,
    checkpoints: Sender<Job>,
    board: Arc<Board>,
) {
    let mut ahead: VecDeque<Store> = VecDeque::new();
    // A start on a full disk may have said so before.
    let mut full = true;
    loop {
        if full {
            ahead.extend(items.try_iter());
        }
        if ahead.is_empty() {
            if full {
                // What found no room was first in a line: only behind the last of it is there room for more.
                full = false;
                board.set_disk_full(Writes::Segments, false);
            }
            let Ok(item) = items.recv() else { return };
            ahead.push_back(item);
            std::thread::sleep(GATHER);
            ahead.extend(items.try_iter());
        }
        let mut puts: Vec<Stored> = Vec::new();
        let mut bytes = 0;
        while bytes < GATHER_BYTES
            && let Some(item) = ahead.pop_front()
        {
            match item {
                Store::Effects(put) => {
                    bytes += put.bytes;
                    puts.push(put);
                }
                Store::Checkpoint(job) if puts.is_empty() => drop(checkpoints.send(Job::Checkpoint(job))),
                checkpoint => {
                    ahead.push_front(checkpoint);
                    break;
                }
            }
        }
        if puts.is_empty() {
            continue;
        }
        let mut looked = false;
        while let Err(error) = Engine::put(&store, puts.iter().map(|put| &put.effects)) {
            if error.kind() != std::io::ErrorKind::StorageFull {
                board.fail(format!("segments cannot be written: {error}"));
                return;
            }
            full = true;
            board.set_disk_full(Writes::Segments, true);
            if board.is_draining() {
                // The journal has all of it.
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
            let new: Vec<Store> = items.try_iter().collect();
            let own = puts.iter().map(|put| &put.effects).chain(ahead.iter().filter_map(Store::effects));
            let own = own.take(if looked { 0 } else { usize::MAX });
            let dropped = look_ahead(&store, own.chain(new.iter().filter_map(Store::effects)));
            looked = true;
            ahead.extend(new);
            if let Some(topics) = dropped {
                let later = ahead.iter_mut().filter_map(|item| match item {
                    Store::Effects(put) => Some(put),
                    Store::Checkpoint(_) => None,
                });
                puts.iter_mut().chain(later).for_each(|put| put.skip(&topics));
                let _ = checkpoints.send(Job::Relieve);
            }
        }
        for put in &puts {
            for (batch, part) in put.effects.appended.iter().zip(&put.parts) {
                if let Some(part) = part {
                    part.set_stored(batch.base + u64::from(batch.count));
                }
            }
        }
        board.storage_sub(bytes);
    }
}

/// Drops at once what the next effects drop: on a full disk they would wait for the very room that they make. Topics that are gone, if
/// anything was dropped.
fn look_ahead<'a>(
    store: &sb_log::local::Store,
    ahead: impl Iterator<Item = &'a Effects>,
) -> Option<Vec<TopicId>> {
    let mut any = false;
    let mut topics = Vec::new();
    for effects in ahead {
        for (part, start) in &effects.trimmed {
            store.trim(log_part(*part), *start);
            any = true;
        }
        for topic in &effects.deleted {
            store.drop_topic(topic.0);
            topics.push(*topic);
            any = true;
        }
    }
    any.then_some(topics)
}

impl Stored {
    /// Forgets batches of topics that are gone. Their numbers are never used again.
    fn skip(&mut self, topics: &[TopicId]) {
        let appended = std::mem::take(&mut self.effects.appended);
        for (batch, part) in appended.into_iter().zip(std::mem::take(&mut self.parts)) {
            if topics.contains(&batch.part.topic) {
                // Nobody waits for it to be stored.
                if let Some(part) = part {
                    part.set_stored(u64::MAX);
                }
            } else {
                self.effects.appended.push(batch);
                self.parts.push(part);
            }
        }
    }
}

/// Keeps the journal's next files ready, so that no commit waits for one to be made.
pub(crate) fn spares_thread(spares: sb_log::local::Spares, board: std::sync::Weak<Board>) {
    while let Some(board) = board.upgrade() {
        match spares.fill() {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {}
            Err(error) => tracing::warn!(%error, "the journal's next file cannot be made yet"),
        }
        if board.has_stopped() {
            return;
        }
        drop(board);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes checkpoints beside the commits.
pub(crate) fn checkpoint_thread(
    jobs: Receiver<Job>,
    mut checkpoints: Checkpoints,
    asks: Sender<Ask>,
    board: Arc<Board>,
) {
    while let Ok(job) = jobs.recv() {
        let mut attempts = 0;
        let outcome = loop {
            let done = match &job {
                Job::Checkpoint(job) => job.run(&mut checkpoints).map(Some),
                Job::Relieve => engine::relieve(&mut checkpoints).map(|()| None),
            };
            attempts += 1;
            match done {
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    board.set_disk_full(Writes::Checkpoints, true);
                    if board.is_draining() && attempts > 3 {
                        // The journal has everything since the last one.
                        drop(checkpoints);
                        board.stopped();
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(500));
                }
                other => break other.map_err(|e| e.to_string()),
            }
        };
        if attempts > 1 && outcome.is_ok() {
            board.set_disk_full(Writes::Checkpoints, false);
        }
        match outcome {
            Ok(None) => {}
            Ok(Some(applied)) => drop(asks.send(Ask::Checkpointed(Ok(applied)))),
            Err(error) => drop(asks.send(Ask::Checkpointed(Err(error)))),
        }
    }
    // Lets go of the lock on the data folder.
    drop(checkpoints);
    board.stopped();
}

/// What callers get when the loop is gone.
pub(crate) fn stopped_error() -> Error {
    Error::new(Kind::Unavailable, "SB0603", "the server is stopping")
        .fix("Try again in a moment")
        .retry_after(1_000)
}

impl Clock {
    /// Now, on both clocks.
    pub(crate) fn now(&self) -> sb_core::ops::Now {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        sb_core::ops::Now {
            wall_ms: wall.as_millis() as i64,
            mono_ms: self.start.elapsed().as_millis() as u64,
        }
    }
}
