//! The running board: commit loop, reads, wake-ups, timers, live delivery, login; and [`Access`], the only door to it.
//!
//! A message's way in: a protocol's task → [`Access::publish`] → the commit loop (`commit`) → `engine` (core, journal, one sync) → reply. Its way
//! out: `part` notes who waits → that reader's [`tail::Tail`] takes the shared batch → the protocol's task.

pub mod access;
pub mod auth;
pub mod call;
mod commit;
pub mod counters;
mod directory;
pub mod engine;
pub mod index;
pub mod mount;
pub mod origin;
mod part;
pub mod problem;
pub mod request;
mod shared;
pub mod sign;
pub mod tail;
pub mod web;

pub use access::Access;
pub use auth::Credentials;

use auth::{Authority, Principal};
use commit::{Ask, Release};
use counters::Counters;
use directory::Directory;
use engine::Engine;
use foldhash::HashMap;
use index::Index;
use part::{Part, Reader, SharedBatch, lock};
use sb_core::Core;
use sb_core::model::{Address, Error, GroupId, JobId, Kind, PartId, Pattern, Result, TopicId};
use sb_core::ops::{Answer, Commit};
use sign::Signer;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// The clocks: wall clock for people, a monotonic one for leases.
#[derive(Copy, Clone, Debug)]
pub struct Clock {
    start: Instant,
}

/// What a board is made of.
pub struct Settings {
    /// Where data is kept; `None` for memory only.
    pub dir: Option<PathBuf>,
    /// Who may come in.
    pub authority: Authority,
    /// Settings of the HTTP family.
    pub http: HttpSettings,
    /// The memory budget, in bytes: a quarter for the newest messages, a quarter for what is on its way in.
    pub memory: usize,
    /// The largest message any topic may allow.
    pub max_message: usize,
    /// The largest request, which is the most that one commit can hold.
    pub max_request: usize,
    /// The longest a caller may wait, in milliseconds.
    pub max_wait_ms: u64,
    /// `development` or `production`, for people.
    pub mode: String,
}

/// A path of the user's own.
#[derive(Clone, Debug)]
pub struct Route {
    /// Upper-case HTTP method.
    pub http_method: String,
    /// Literal path.
    pub path: String,
    /// What it does.
    pub target: RouteTarget,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum RouteTarget {
    /// Calls `package.Service/Method`.
    Call(String),
    /// Reads or publishes (by HTTP method) this address or pattern.
    Topic(Pattern),
}

/// Settings of the HTTP family.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    /// Exact origins that browsers may call from.
    pub origins: Vec<String>,
    /// Development: any origin on the loopback interface, too.
    pub any_loopback_origin: bool,
    /// The user's own paths.
    pub routes: Vec<Route>,
    /// URL prefix and folder.
    pub static_dirs: Vec<(String, PathBuf)>,
    /// Pause between heartbeats on a quiet event stream.
    pub heartbeat_ms: u64,
    /// The largest request body.
    pub max_body: usize,
    /// Where clients reach us, for links; otherwise the host they used.
    pub public_url: Option<String>,
    /// Files of the console: path below `/console/`, content type, whether the bytes are gzip, bytes.
    pub console: &'static [(&'static str, &'static str, bool, &'static [u8])],
    /// Pages of the documentation: path below `/docs/`, HTML, Markdown.
    pub docs: &'static [(&'static str, &'static str, &'static str)],
    /// Whether `/echo` answers.
    pub echo: bool,
}

/// The state of the server in numbers.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Since the start.
    pub uptime_ms: u64,
    /// The node's name.
    pub node: String,
    /// `development` or `production`.
    pub mode: String,
    /// Open now.
    pub connections: u64,
    /// Topics.
    pub topics: u64,
    /// Groups.
    pub groups: u64,
    /// Jobs by state.
    pub jobs: Vec<(sb_core::jobs::State, u64)>,
    /// Messages taken in since the start.
    pub messages_in: u64,
    /// Messages handed out since the start.
    pub messages_out: u64,
    /// Bytes journalled since the last checkpoint.
    pub journal_bytes: u64,
    /// Bytes of messages held in memory.
    pub memory_used: u64,
    /// The budget for them.
    pub memory_budget: u64,
    /// Where it listens.
    pub listeners: Vec<String>,
}

/// Publishers whose topic does not exist yet, in the order in which they came.
#[derive(Default)]
pub(crate) struct Creating {
    /// Those that wait or have their turn.
    count: AtomicUsize,
    queue: tokio::sync::Mutex<()>,
}

/// A place in the queue of [`Creating`].
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Creating {
    /// Whether nobody waits.
    pub(crate) fn quiet(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Waits for those that came before. One's turn lasts until the value is dropped.
    pub(crate) async fn turn(&self) -> impl Send + '_ {
        self.count.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(&self.count);
        (self.queue.lock().await, waiting)
    }
}

/// The running board.
pub struct Board {
    clock: Clock,
    settings: Settings,
    signer: Arc<Signer>,
    asks: Sender<Ask>,
    store: Option<Arc<sb_log::local::Store>>,
    directory: Directory,
    jobs_part: OnceLock<Arc<Part>>,
    live: Mutex<Index<Arc<Reader>>>,
    readers: Mutex<(u64, HashMap<u64, Arc<Reader>>)>,
    group_waits: Mutex<HashMap<GroupId, Arc<Notify>>>,
    job_waits: Mutex<HashMap<JobId, Arc<Notify>>>,
    /// The newest job's id: ids made one after another sort so even within a millisecond.
    last_job: Mutex<JobId>,
    creating: Creating,
    fan_out: tokio::sync::mpsc::UnboundedSender<Vec<Arc<Reader>>>,
    /// Those who waited for a frame, on their way to be answered.
    released: tokio::sync::mpsc::UnboundedSender<(Vec<commit::Waiting>, Result<()>)>,
    dying: tokio::sync::mpsc::UnboundedSender<GroupId>,
    /// Bytes on their way to the commit loop.
    inflight: Arc<Semaphore>,
    storage_backlog: AtomicUsize,
    journal_bytes: AtomicU64,
    tail_bytes: AtomicUsize,
    /// Who found no room: segments, checkpoints.
    disk_full: [AtomicBool; 2],
    draining: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
    failure: watch::Sender<Option<String>>,
    ready: AtomicBool,
    counters: Arc<Counters>,
    listeners: Mutex<Vec<String>>,
    group_ids: Mutex<HashMap<(TopicId, Box<str>), GroupId>>,
    services: arc_swap::ArcSwap<call::Services>,
    /// Methods whose jobs this server takes itself.
    runners: Mutex<foldhash::HashSet<Arc<str>>>,
    shared: shared::Shared,
}

/// Which of the threads that write beside the journal.
#[derive(Copy, Clone)]
pub(crate) enum Writes {
    Segments,
    Checkpoints,
}

impl Board {
    /// Recovers the data directory and starts the commit loop. Must be called inside a tokio runtime.
    pub fn start(settings: Settings) -> std::result::Result<(Arc<Board>, engine::Recovery), engine::Failure> {
        let clock = Clock { start: Instant::now() };
        let now = clock.now();
        let (mut engine, store, checkpoints, recovery) = match &settings.dir {
            None => (Engine::in_memory(now), None, None, engine::Recovery::default()),
            Some(dir) => {
                let vfs = Arc::new(sb_log::vfs::Disk);
                let (engine, store, checkpoints, recovery) =
                    Engine::recover(vfs.clone(), dir, log_options(&*vfs, dir, settings.max_request), now)?;
                (engine, Some(store), Some(checkpoints), recovery)
            }
        };
        let signer = Arc::new(Signer::new(&secret(settings.dir.as_deref())?));
        let nothing = sb_schema::Builder::new().build().map_err(|e| e.to_string())?;
        let services = call::Services::new(nothing, Vec::new(), None);
        let (asks, asked) = std::sync::mpsc::channel();
        let (fan_out, fanned) = tokio::sync::mpsc::unbounded_channel();
        let (released, releases) = tokio::sync::mpsc::unbounded_channel();
        let (dying, dead) = tokio::sync::mpsc::unbounded_channel();
        let inflight = (settings.memory / 4).clamp(8 << 20, u32::MAX as usize >> 1);
        let board = Arc::new(Board {
            clock,
            signer,
            asks: asks.clone(),
            store: store.clone(),
            directory: Directory::default(),
            jobs_part: OnceLock::new(),
            live: Mutex::default(),
            readers: Mutex::default(),
            group_waits: Mutex::default(),
            job_waits: Mutex::default(),
            last_job: Mutex::new(JobId(0)),
            creating: Creating::default(),
            fan_out,
            released,
            dying,
            inflight: Arc::new(Semaphore::new(inflight)),
            storage_backlog: AtomicUsize::new(0),
            journal_bytes: AtomicU64::new(0),
            tail_bytes: AtomicUsize::new(0),
            disk_full: Default::default(),
            draining: watch::channel(false).0,
            stopped: watch::channel(false).0,
            failure: watch::channel(None).0,
            ready: AtomicBool::new(false),
            counters: Arc::default(),
            listeners: Mutex::default(),
            group_ids: Mutex::default(),
            services: arc_swap::ArcSwap::from_pointee(services),
            runners: Mutex::default(),
            shared: shared::Shared::default(),
            settings,
        });
        for id in engine.core.topic_ids() {
            if let Some(view) = engine.core.topic_by_id(id) {
                commit::declare(&board, &view);
            }
        }
        let (start, end) = engine
            .core
            .topic_by_id(TopicId::JOBS)
            .and_then(|t| t.parts.first().copied())
            .map_or((0, 0), |p| (p.start, p.end));
        let jobs = Part::new(
            PartId { topic: TopicId::JOBS, partition: 0 },
            sb_core::jobs::JOBS_NAME.into(),
            Address::parse(sb_core::jobs::JOBS_NAME).map_err(|e| e.to_string())?,
            store.is_none(),
            board.signer.clone(),
            start,
            end,
        );
        let _ = board.jobs_part.set(Arc::new(jobs));
        let groups = engine.core.groups(None, None, usize::MAX).0;
        for group in groups.iter().filter(|g| g.options.dead_letter.is_some()) {
            board.group_dying(group.id);
        }
        let store_items = match (store, checkpoints) {
            (Some(store), Some(checkpoints)) => {
                let (items, given) = std::sync::mpsc::channel();
                let (jobs, todo) = std::sync::mpsc::channel();
                let (b, a) = (board.clone(), asks);
                spawn(&board, "checkpoint", move || commit::checkpoint_thread(todo, checkpoints, a, b))?;
                engine.be_patient();
                if let Some(spares) = engine.spares() {
                    let weak = Arc::downgrade(&board);
                    spawn(&board, "spares", move || commit::spares_thread(spares, weak))?;
                }
                for effects in engine.take_unstored() {
                    let mut bytes = 0;
                    let parts: Vec<_> = effects.appended.iter().map(|batch| board.part(batch.part)).collect();
                    for (batch, part) in effects.appended.iter().zip(&parts) {
                        bytes += batch.bytes.len();
                        if let Some(part) = part {
                            part.restore(
                                batch.base,
                                batch.base + u64::from(batch.count),
                                batch.bytes.clone(),
                            );
                        }
                    }
                    board.set_disk_full(Writes::Segments, true);
                    board.storage_add(bytes);
                    let _ = items.send(commit::Store::Effects(commit::Stored { effects, parts, bytes }));
                }
                let b = board.clone();
                spawn(&board, "storage", move || commit::store_thread(given, store, jobs, b))?;
                Some(items)
            }
            _ => None,
        };
        let b = board.clone();
        spawn(&board, "commit", move || commit::run(engine, asked, store_items, b))?;
        tokio::spawn(fan_out_task(fanned));
        tokio::spawn(commit::release_task(releases));
        tokio::spawn(access::bury(board.clone(), dead));
        board.ready.store(true, Ordering::Release);
        Ok((board, recovery))
    }

    /// Judges credentials. `protocol` labels metrics.
    pub fn login(
        self: &Arc<Self>,
        protocol: &'static str,
        peer: &mount::Peer,
        credentials: Credentials<'_>,
    ) -> Result<Access> {
        let judged = self.settings.authority.judge(&self.signer, credentials, self.now_ms());
        if let Err(error) = &judged {
            self.counters.denied.fetch_add(1, Ordering::Relaxed);
            tracing::info!(protocol, peer = %peer.addr, why = %error.detail, "login refused");
        }
        Ok(Access::new(self.clone(), judged?, protocol))
    }

    /// An access with every right, for the server's own declarations.
    pub fn admin(self: &Arc<Self>) -> Access {
        Access::new(self.clone(), Arc::new(Principal::admin("server")), "server")
    }

    /// Who judges credentials.
    pub fn authority(&self) -> &Authority {
        &self.settings.authority
    }

    /// Says goodbye: no new work, readers are told.
    pub fn drain(&self) {
        self.draining.send_replace(true);
        for reader in lock(&self.readers).1.values() {
            reader.wake();
        }
        for notify in lock(&self.group_waits).values() {
            notify.notify_waiters();
        }
        for notify in lock(&self.job_waits).values() {
            notify.notify_waiters();
        }
    }

    /// Writes a last checkpoint, seals the journal and ends the commit loop.
    pub async fn stop(&self) {
        let mut stopped = self.stopped.subscribe();
        if self.asks.send(Ask::Stop).is_ok() {
            let _ = stopped.wait_for(|s| *s).await;
        }
    }

    /// Ready when the server drains.
    pub async fn draining(&self) {
        let _ = self.draining.subscribe().wait_for(|d| *d).await;
    }

    /// Whether it drains.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Ready when storage has failed; what happened. The program must end.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether it can serve; what is waited for, otherwise.
    pub fn ready(&self) -> std::result::Result<(), Vec<String>> {
        let mut why = Vec::new();
        if !self.ready.load(Ordering::Acquire) {
            why.push("recovery".to_owned());
        }
        if self.is_draining() {
            why.push("draining".to_owned());
        }
        if let Some(failure) = &*self.failure.borrow() {
            why.push(failure.clone());
        }
        if why.is_empty() { Ok(()) } else { Err(why) }
    }

    /// Prometheus text.
    pub async fn metrics(&self) -> String {
        let status = self.status().await;
        let one = |value: u64| vec![(String::new(), value as f64)];
        let jobs =
            status.jobs.iter().map(|(s, n)| (format!("{{state=\"{}\"}}", s.name()), *n as f64)).collect();
        let readers = lock(&self.readers).1.len();
        self.counters.text(&[
            ("connections", "Open connections.", one(status.connections)),
            ("readers", "Who waits for messages: streams, sockets, long polls.", one(readers as u64)),
            ("topics", "Topics.", one(status.topics)),
            ("groups", "Groups.", one(status.groups)),
            ("jobs", "Jobs by state.", jobs),
            ("journal_bytes", "Bytes journalled since the last checkpoint.", one(status.journal_bytes)),
            ("memory_messages_bytes", "Bytes of messages held in memory.", one(status.memory_used)),
            ("disk_full", "1 while the disk is full.", one(u64::from(self.disk_is_full()))),
            ("uptime_seconds", "Since the start.", vec![(String::new(), status.uptime_ms as f64 / 1000.0)]),
        ])
    }

    /// The state in numbers.
    pub async fn status(&self) -> Status {
        let counts = self.query(|core| core.counts()).await.unwrap_or_default();
        let jobs = sb_core::jobs::State::ALL.into_iter().zip(counts.jobs).collect();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_ms: self.clock.start.elapsed().as_millis() as u64,
            node: "local".into(),
            mode: self.settings.mode.clone(),
            connections: self.counters.connections.load(Ordering::Relaxed),
            topics: counts.topics,
            groups: counts.groups,
            jobs,
            messages_in: self.counters.messages_in.load(Ordering::Relaxed),
            messages_out: self.counters.messages_out.load(Ordering::Relaxed),
            journal_bytes: self.journal_bytes.load(Ordering::Relaxed),
            memory_used: self.tail_bytes.load(Ordering::Relaxed) as u64,
            memory_budget: self.settings.memory as u64,
            listeners: lock(&self.listeners).clone(),
        }
    }

    /// Says where it listens, for people.
    pub fn set_listeners(&self, listeners: Vec<String>) {
        *lock(&self.listeners) = listeners;
    }

    /// Settings of the HTTP family.
    pub fn http(&self) -> &HttpSettings {
        &self.settings.http
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.clock.now().wall_ms
    }

    /// The largest body of a message.
    pub fn max_message(&self) -> usize {
        self.settings.max_message
    }

    /// The largest request with several messages in it, such as a batch to publish.
    pub fn max_request(&self) -> usize {
        self.settings.max_request.max(self.settings.max_message)
    }

    /// The longest a caller may wait.
    pub fn max_wait_ms(&self) -> u64 {
        self.settings.max_wait_ms
    }

    /// The counters, for those who serve connections.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The services and what describes them, as they are now.
    pub fn services(&self) -> Arc<call::Services> {
        self.services.load_full()
    }

    /// Replaces the table of services; calls that run keep what they began with. Methods of upstreams that have jobs are worked on from now on.
    pub async fn set_services(
        self: &Arc<Self>,
        schema: sb_schema::Schema,
        services: Vec<call::Service>,
    ) -> Result<()> {
        let table = call::Services::new(schema, services, Some(&self.services.load()));
        self.services.store(Arc::new(table));
        let known = self.query(|core| core.methods()).await?;
        for entry in self.services().methods() {
            if entry.service.provider.by_job() == call::ByJob::Called
                && known.iter().any(|m| *m.name == *entry.path)
            {
                call::ensure_runner(self, &entry.path);
            }
        }
        Ok(())
    }

    // ---- inside ----

    pub(crate) fn runners(&self) -> MutexGuard<'_, foldhash::HashSet<Arc<str>>> {
        lock(&self.runners)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn signer(&self) -> &Arc<Signer> {
        &self.signer
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) fn store(&self) -> Option<Arc<sb_log::local::Store>> {
        self.store.clone()
    }

    pub(crate) fn durable(&self) -> bool {
        self.store.is_some()
    }

    pub(crate) fn part(&self, id: PartId) -> Option<Arc<Part>> {
        if id.topic == TopicId::JOBS {
            return self.jobs_part.get().cloned();
        }
        self.directory.by_id(id.topic)?.parts.get(id.partition as usize).cloned()
    }

    /// Sends a commit through the loop; the answer comes when it is durable.
    pub(crate) async fn commit(&self, commit: Commit) -> Result<Answer> {
        self.commit_held(commit, None).await
    }

    /// The same; what was reserved for it is given back when it is answered, also if its caller has gone before.
    pub(crate) async fn commit_held(
        &self,
        commit: Commit,
        reserved: Option<OwnedSemaphorePermit>,
    ) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Commit(commit, reply, reserved)).map_err(|_| commit::stopped_error())?;
        answer.await.unwrap_or_else(|_| Err(commit::stopped_error()))
    }

    /// Looks at the state; what is seen is durable when it comes back.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Query(Box::new(move |engine: &mut Engine| -> Release {
            let seen = look(&engine.core);
            Box::new(move |outcome: &Result<()>| {
                let _ = reply.send(outcome.clone().map(|()| seen));
            })
        }));
        self.asks.send(ask).map_err(|_| commit::stopped_error())?;
        answer.await.unwrap_or_else(|_| Err(commit::stopped_error()))
    }

    /// Waits until so many bytes may be on their way to the log: the back-pressure of publishing.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX).min(4 << 20);
        self.inflight.clone().acquire_many_owned(permits).await.map_err(|_| commit::stopped_error())
    }

    pub(crate) fn check_disk(&self) -> Result<()> {
        if self.disk_is_full() {
            return Err(Error::new(
                Kind::DiskFull,
                "SB0602",
                "the disk is full: nothing new is taken until there is room",
            )
            .fix("Free space, delete topics or shorten their retention; reading and acknowledging go on")
            .retry_after(5_000));
        }
        Ok(())
    }

    pub(crate) fn tail_budget(&self) -> usize {
        self.settings.memory / 4
    }

    /// What one of them writes finds no room, or does again. There is room when it is so for both.
    pub(crate) fn set_disk_full(&self, of: Writes, full: bool) {
        self.disk_full[of as usize].store(full, Ordering::Relaxed);
    }

    fn disk_is_full(&self) -> bool {
        self.disk_full.iter().any(|full| full.load(Ordering::Relaxed))
    }

    pub(crate) fn storage_add(&self, bytes: usize) {
        self.storage_backlog.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn storage_sub(&self, bytes: usize) {
        self.storage_backlog.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn storage_backlog(&self) -> usize {
        self.storage_backlog.load(Ordering::Relaxed)
    }

    pub(crate) fn note_journal(&self, journal: u64, tails: usize) {
        self.journal_bytes.store(journal, Ordering::Relaxed);
        self.tail_bytes.store(tails, Ordering::Relaxed);
    }

    pub(crate) fn has_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    pub(crate) fn stopped(&self) {
        self.stopped.send_replace(true);
    }

    pub(crate) fn fail(&self, why: String) {
        tracing::error!(%why, "storage failed: stopping");
        self.failure.send_replace(Some(why));
        self.stopped.send_replace(true);
    }

    pub(crate) fn register_reader(&self, reader: Arc<Reader>) -> u64 {
        let mut readers = lock(&self.readers);
        readers.0 += 1;
        let key = readers.0;
        readers.1.insert(key, reader);
        key
    }

    pub(crate) fn unregister_reader(&self, key: u64) {
        lock(&self.readers).1.remove(&key);
    }

    pub(crate) fn topics_changed(&self) {
        for reader in lock(&self.readers).1.values() {
            reader.note_topics();
        }
    }

    pub(crate) fn live_listen(&self, pattern: &Pattern, reader: Arc<Reader>) -> index::Key {
        lock(&self.live).insert(pattern, reader)
    }

    pub(crate) fn live_unlisten(&self, pattern: &Pattern, key: index::Key) {
        lock(&self.live).remove(pattern, key);
    }

    /// Hands a message to whoever listens now; to how many.
    pub(crate) fn send_live(&self, batch: Arc<SharedBatch>, address: &Address) -> usize {
        let readers = lock(&self.live).matches(address);
        for reader in readers.iter() {
            reader.offer_live(&batch);
        }
        self.counters.messages_in.fetch_add(1, Ordering::Relaxed);
        readers.len()
    }

    /// Wakes readers: few at once, many from inside the runtime, where a wake-up stays on its worker.
    pub(crate) fn wake(&self, readers: Vec<Arc<Reader>>) {
        if readers.len() <= 4 {
            readers.iter().for_each(|r| r.wake());
        } else {
            let _ = self.fan_out.send(readers);
        }
    }

    /// Answers those who waited for a frame, from inside the runtime.
    pub(crate) fn release(&self, waiting: Vec<commit::Waiting>, outcome: Result<()>) {
        if let Err(lost) = self.released.send((waiting, outcome)) {
            // The runtime ends; whoever still waits is told by the dropped channel.
            drop(lost);
        }
    }

    /// A group's bell, for one who is about to look whether there is something.
    pub(crate) fn group_wait(self: &Arc<Self>, group: GroupId) -> Bell<GroupId> {
        Bell::new(self, group, |board| &board.group_waits)
    }

    pub(crate) fn group_ready(&self, group: GroupId) {
        if let Some(notify) = lock(&self.group_waits).get(&group) {
            notify.notify_one();
        }
    }

    pub(crate) fn group_dying(&self, group: GroupId) {
        let _ = self.dying.send(group);
    }

    pub(crate) fn creating(&self) -> &Creating {
        &self.creating
    }

    /// An id for a new job, above all that were made before.
    pub(crate) fn next_job(&self, random: u128) -> JobId {
        let id = JobId::new(self.now_ms() as u64, random);
        let mut last = lock(&self.last_job);
        // The step is random, so that the next id cannot be guessed from the last.
        let step = (random & u128::from(u64::MAX)) + 1;
        *last = if id > *last { id } else { JobId(last.0.saturating_add(step)) };
        *last
    }

    /// A job's bell.
    pub(crate) fn job_wait_for(self: &Arc<Self>, job: JobId) -> Bell<JobId> {
        Bell::new(self, job, |board| &board.job_waits)
    }

    pub(crate) fn job_changed(&self, job: JobId) {
        if let Some(notify) = lock(&self.job_waits).get(&job) {
            notify.notify_waiters();
        }
    }

    pub(crate) fn group_ids(&self) -> &Mutex<HashMap<(TopicId, Box<str>), GroupId>> {
        &self.group_ids
    }
}

type Bells<K> = Mutex<HashMap<K, Arc<Notify>>>;

/// What one waits at. It leaves the board's list with the last who waits, also when the one who waits is dropped half-way because its
/// caller has gone.
pub(crate) struct Bell<K: std::hash::Hash + Eq + Copy> {
    board: Arc<Board>,
    of: fn(&Board) -> &Bells<K>,
    key: K,
    notify: Option<Arc<Notify>>,
    /// Whether the next in the row is to look, too, when this one is done.
    pub(crate) pass_on: bool,
}

impl<K: std::hash::Hash + Eq + Copy> Bell<K> {
    fn new(board: &Arc<Board>, key: K, of: fn(&Board) -> &Bells<K>) -> Self {
        let notify = lock(of(board)).entry(key).or_default().clone();
        Bell { board: board.clone(), of, key, notify: Some(notify), pass_on: false }
    }

    /// Ready when it rings. To be dropped before the bell.
    pub(crate) fn rung(&self) -> tokio::sync::futures::OwnedNotified {
        self.notify.clone().unwrap_or_default().notified_owned()
    }
}

impl<K: std::hash::Hash + Eq + Copy> Drop for Bell<K> {
    fn drop(&mut self) {
        let mut bells = lock((self.of)(&self.board));
        if let Some(notify) = self.notify.take()
            && self.pass_on
        {
            notify.notify_one();
        }
        if bells.get(&self.key).is_some_and(|n| Arc::strong_count(n) == 1) {
            bells.remove(&self.key);
        }
    }
}

/// Sizes of the log: a frame holds at least the largest commit, as far as the disk is not too small for it.
fn log_options(
    vfs: &dyn sb_log::vfs::Vfs,
    dir: &std::path::Path,
    max_request: usize,
) -> sb_log::local::Options {
    let frame_max = (max_request + engine::FRAME_TARGET * 2).max(16 << 20);
    sb_log::local::Options::fitting(vfs.total_space(dir).unwrap_or(u64::MAX), frame_max)
}

async fn fan_out_task(mut readers: tokio::sync::mpsc::UnboundedReceiver<Vec<Arc<Reader>>>) {
    while let Some(readers) = readers.recv().await {
        for (n, reader) in readers.iter().enumerate() {
            reader.wake();
            // Lets the woken write before the queue of the worker overflows into the shared one.
            if n % 128 == 127 {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Starts a thread of the storage. When one panics, what is in memory can no longer be trusted: the program ends and recovers from the log.
fn spawn(
    board: &Arc<Board>,
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> std::result::Result<(), String> {
    let board = Arc::downgrade(board);
    let guarded = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
            && let Some(board) = board.upgrade()
        {
            board.counters.panics.fetch_add(1, Ordering::Relaxed);
            board.fail(format!("the thread {name:?} panicked, which is a fault of this program"));
        }
    };
    std::thread::Builder::new()
        .name(name.into())
        .spawn(guarded)
        .map(|_| ())
        .map_err(|e| format!("cannot start a thread: {e}"))
}

/// What a reader gets when kept bytes do not verify.
pub(crate) fn damaged(topic: &str, why: &str) -> Error {
    tracing::error!(topic, why, "damaged data");
    Error::new(Kind::Corrupt, "SB0702", format!("kept messages of {topic:?} are damaged: {why}"))
        .fix("Run: switchboard data check DIR")
}

/// The node's key: made once and kept beside the data, readable by its owner only.
fn secret(dir: Option<&std::path::Path>) -> std::result::Result<[u8; 32], String> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut fresh = [0; 32];
    aws_lc_rs::rand::fill(&mut fresh).map_err(|_| "no random numbers".to_owned())?;
    let Some(dir) = dir else { return Ok(fresh) };
    let path = dir.join("node.key");
    match std::fs::read(&path) {
        Ok(bytes) => {
            return bytes.try_into().map_err(|_| format!("{} is not 32 bytes long", path.display()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{}: {error}", path.display())),
    }
    let temporary = dir.join("node.key.new");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&fresh)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        std::fs::File::open(dir)?.sync_all()
    };
    write().map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{LeaseOptions, PublishOptions, Submit};
    use sb_core::groups::{Options, Start};
    use sb_core::jobs::MethodPolicy;
    use sb_core::model::Message;

    fn board() -> Arc<Board> {
        let settings = Settings {
            dir: None,
            authority: Authority::new([], Vec::new(), Default::default()),
            http: HttpSettings::default(),
            memory: 64 << 20,
            max_message: 1 << 20,
            max_request: 8 << 20,
            max_wait_ms: 60_000,
            mode: "test".into(),
        };
        Board::start(settings).unwrap().0
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_left_of_those_who_waited_or_went_away_waiting() {
        let board = board();
        let access = board.admin();
        access.declare_group("work", "g", Options::default(), Start::Start).await.unwrap();
        access.declare_method("a.B/C", MethodPolicy::new("a.B/C")).await.unwrap();
        let message = Message::new(Address::parse("x").unwrap(), "in");
        let submit = Submit { method: "a.B/C".into(), message, idempotency: None, timeout_ms: None };
        let (job, _) = access.submit(submit).await.unwrap();
        let lease = |wait_ms| LeaseOptions { max: 1, wait_ms, lease_ms: None, consumer: String::new() };
        // In time …
        assert!(access.lease("work", "g", lease(10)).await.unwrap().is_empty());
        access.job_wait(job.id, u64::MAX, 10).await.unwrap();
        assert!(access.take(&["a.B/D".into()], 1, 10, None, "w").await.unwrap().is_empty());
        assert!(lock(&board.group_waits).is_empty());
        assert!(lock(&board.job_waits).is_empty());
        // … and cut off in the middle, several at once.
        let mut waiting = Vec::new();
        for _ in 0..20 {
            let (a, b, c) = (access.clone(), access.clone(), access.clone());
            waiting.push(tokio::spawn(async move { drop(a.lease("work", "g", lease(60_000)).await) }));
            waiting.push(tokio::spawn(async move { drop(b.job_wait(job.id, u64::MAX, 60_000).await) }));
            let method = "a.B/D".to_owned();
            waiting.push(tokio::spawn(async move { drop(c.take(&[method], 1, 60_000, None, "w").await) }));
        }
        while lock(&board.group_waits).len() < 2 || lock(&board.job_waits).is_empty() {
            tokio::task::yield_now().await;
        }
        for task in &waiting {
            task.abort();
        }
        for task in waiting {
            let _ = task.await;
        }
        assert!(lock(&board.group_waits).is_empty());
        assert!(lock(&board.job_waits).is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_goes_away_between_bell_and_lease_leaves_the_bell_to_the_next() {
        let board = board();
        let access = board.admin();
        access.declare_group("work", "g", Options::default(), Start::Start).await.unwrap();
        for round in 0..200 {
            let lease =
                || LeaseOptions { max: 1, wait_ms: 20_000, lease_ms: Some(600_000), consumer: String::new() };
            let one = |access: Access| tokio::spawn(async move { access.lease("work", "g", lease()).await });
            let (first, second) = (one(access.clone()), one(access.clone()));
            while lock(&board.group_waits).is_empty() {
                tokio::task::yield_now().await;
            }
            let two = (0..2).map(|_| Message::new(Address::parse("work").unwrap(), "m")).collect();
            access.publish(two, PublishOptions::default()).await.unwrap();
            for _ in 0..round % 20 {
                tokio::task::yield_now().await;
            }
            first.abort();
            let _ = first.await;
            let got = tokio::time::timeout(std::time::Duration::from_secs(10), second).await;
            assert_eq!(got.unwrap().unwrap().unwrap().len(), 1, "round {round}");
            // What the first one had or left.
            let rest = LeaseOptions { max: 10, wait_ms: 0, ..lease() };
            access.lease("work", "g", rest).await.unwrap();
        }
    }
}
