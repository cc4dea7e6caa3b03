//! One server, its disk and its clocks, driven step by step in the order that a seed gives.
//!
//! A step does what one of the server's threads does between two waits (`sb_board::commit`): a frame of requests with its flush and its
//! answers, some copying into segments, a part of a checkpoint, a seal, a spare file. In between, time passes or jumps, the disk fills
//! up, a sync fails, the power goes. After each start everything that is kept is read and held against what was promised.

mod reading;

use crate::faults::Plant;
use crate::history::{Asked, History, Violation, in_memory};
use crate::rng::{Rng, Trace};
use crate::workload::Plan;
use bytes::Bytes;
use sb_board::engine::{CheckpointJob, Checkpoints, Engine, log_part};
use sb_core::Core;
use sb_core::batch::{self, Record};
use sb_core::model::{Address, PartId, Result, TopicId};
use sb_core::ops::{Answer, Appended, Commit, Effects, Now, Reply};
use sb_log::ReadError;
use sb_log::local::{Options, Spares, Store};
use sb_log::vfs::{Faults, Sim, Vfs};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

/// Where the data is.
pub const DIR: &str = "/data";

/// What waits for the storage thread.
enum Item {
    Effects(Effects),
    Checkpoint(CheckpointJob),
}

/// A server that runs.
pub struct Life {
    /// Its core and journal.
    pub engine: Engine,
    store: Arc<Store>,
    checkpoints: Checkpoints,
    spares: Option<Spares>,
    backlog: VecDeque<Item>,
    /// A checkpoint that nothing holds up any more.
    ready: Option<CheckpointJob>,
    /// One that was written and that the journal does not know of.
    written: Option<u64>,
    checkpointing: bool,
}

/// What happened, in numbers.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Frames made durable.
    pub frames: u64,
    /// Commits asked for.
    pub commits: u64,
    /// Power losses.
    pub crashes: u64,
    /// Processes killed, and stops because of a failed disk.
    pub kills: u64,
    /// Stops because of a full disk.
    pub full_stops: u64,
    /// Commits refused because the disk was full.
    pub full: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Messages read.
    pub read: u64,
    /// Deliveries.
    pub grants: u64,
    /// Dead messages moved.
    pub buried: u64,
    /// Results of jobs.
    pub results: u64,
}

/// The world of one seed.
pub struct World {
    /// The seed.
    pub seed: u64,
    /// What is held against the server.
    pub h: History,
    /// Choices.
    pub rng: Rng,
    /// What was broken on purpose.
    pub plant: Option<Plant>,
    /// Topics, groups and methods.
    pub plan: Plan,
    /// The server, when it runs.
    pub life: Option<Life>,
    /// The wall clock.
    pub wall: i64,
    /// The monotonic clock.
    pub mono: u64,
    /// What happened.
    pub stats: Stats,
    /// The hash of everything that happened.
    pub trace: Trace,
    disk: Sim,
    options: Options,
    short: bool,
    full: bool,
    broken: bool,
    /// Whether a seal may have failed since the start: nothing says so before the next flush does.
    unsealed: bool,
    wall_base: i64,
    drift: i64,
    /// A second server that is given every durable frame.
    shadow: Core,
    shadow_lsn: u64,
    /// A frame that may have become durable.
    pending: Option<Vec<u8>>,
    tails: BTreeMap<PartId, BTreeMap<u64, Appended>>,
    visible: BTreeMap<PartId, (u64, u64)>,
    last_grant: u64,
    verbose: bool,
}

impl World {
    /// A world with an empty disk.
    pub fn new(seed: u64, plant: Option<Plant>, verbose: bool) -> World {
        let mut rng = Rng::new(seed ^ 0x5357_4254_4344_0001);
        let journal_file = 256 << 10 << rng.range(0, 1);
        let options = Options {
            journal_file,
            journal_max: journal_file * rng.range(4, 6),
            journal_spares: rng.range(2, 4) as usize,
            frame_max: 64 << 10,
            tail_reserve: 64 << 10,
            heap_graduate: rng.range(2, 48) << 10,
            heap_batches: rng.range(8, 64) as usize,
            heap_file: rng.range(16, 64) << 10,
            segment_bytes: rng.range(8, 48) << 10,
            index_interval: rng.range(512, 4096),
            disk_reserve: rng.below(2) * (64 << 10),
            cache: 1 << 20,
            open_files: 8,
        };
        let short = rng.chance(20);
        let plan = Plan::new(&mut rng);
        World {
            seed,
            h: History::default(),
            disk: Sim::new(rng.bits()),
            plan,
            rng,
            plant,
            life: None,
            wall: 1_700_000_000_000,
            mono: 0,
            stats: Stats::default(),
            trace: Trace(seed),
            options,
            short,
            full: false,
            broken: false,
            unsealed: false,
            wall_base: 0,
            drift: 0,
            shadow: Core::new(),
            shadow_lsn: 0,
            pending: None,
            tails: BTreeMap::new(),
            visible: BTreeMap::new(),
            last_grant: 0,
            verbose,
        }
    }

    /// Whether this fault is planted.
    pub fn planted(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    fn log(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("seed {} step {}: {}", self.seed, self.h.step, what());
        }
    }

    /// Time, as it is.
    pub fn now(&self) -> Now {
        Now { wall_ms: self.wall, mono_ms: self.mono }
    }

    /// Time, as the server takes it.
    fn server_now(&self) -> Now {
        let mut now = self.now();
        if self.planted(Plant::WallClockLeases) {
            now.mono_ms = (self.wall - self.wall_base).max(0) as u64;
        }
        now
    }

    fn faults(&self) -> Faults {
        let lie = match self.plant {
            Some(Plant::SkipSync) => Some("journal".to_owned()),
            Some(Plant::SkipSegmentSync) => Some("segments".to_owned()),
            Some(Plant::SkipCheckpointSync) => Some("state.redb".to_owned()),
            _ => None,
        };
        Faults {
            short: self.short,
            lie_about: lie,
            lie_about_dirs: self.planted(Plant::SkipDirectorySync),
            ..Faults::default()
        }
    }

    /// Whether there is nothing more to learn.
    pub fn over(&self) -> bool {
        !self.h.violations.is_empty()
    }

    /// Runs the whole life of the world.
    pub fn run(&mut self, steps: u64) {
        let (frames, batches) =
            (self.planted(Plant::IgnoreFrameChecksum), self.planted(Plant::IgnoreBatchChecksum));
        sb_log::planted::ignore_checksums(frames, batches);
        self.start();
        for step in 1..=steps {
            if self.over() {
                break;
            }
            self.h.step = step;
            self.step();
        }
        if !self.over() {
            self.h.step = steps + 1;
            self.finish();
        }
        sb_log::planted::ignore_checksums(false, false);
        self.trace.add(self.shadow.hash());
    }

    fn step(&mut self) {
        let choice = self.rng.below(1000);
        self.trace.add(choice);
        match choice {
            // What shows only on a full disk needs one that is full more often than most are.
            0..=29 if self.planted(Plant::IgnoreFull) => self.toggle_full(),
            0..=479 => self.frame(),
            480..=599 => self.put_some(),
            600..=639 => self.begin_checkpoint(),
            640..=679 => self.run_checkpoint(),
            680..=709 => self.end_checkpoint(),
            710..=729 => self.fill(),
            730..=749 => self.seal(),
            750..=839 => self.pass_time(),
            840..=909 => self.read_somewhere(),
            910..=949 => self.bury(),
            950..=959 => self.compare(),
            960..=979 => self.arm(),
            980..=987 => {
                let crash = self.rng.chance(50);
                self.die(crash, "killed");
            }
            988..=991 => self.stop(),
            992..=996 => self.toggle_full(),
            _ => self.late_group(),
        }
    }

    // ---- the commit loop ----

    fn frame(&mut self) {
        let mut waiting = Vec::new();
        for _ in 0..self.rng.range(1, 20) {
            let Some((asked, commit)) = self.request() else { continue };
            let plain = matches!(asked, Asked::Publish { key: None, .. }) && commit.ops.len() > 1;
            if plain && self.planted(Plant::SplitCommit) {
                self.flush(std::mem::take(&mut waiting));
                self.split(asked, commit);
                if self.life.is_none() {
                    return;
                }
                continue;
            }
            waiting.push(self.ask(asked, commit));
            if self.life.as_ref().is_none_or(|l| l.engine.pending() > 16 << 10) {
                break;
            }
        }
        self.flush(waiting);
    }

    /// The planted fault of that name.
    fn split(&mut self, asked: Asked, commit: Commit) {
        let lives = self.stats.crashes + self.stats.kills;
        let mut replies = Vec::new();
        let mut refused = None;
        for op in commit.ops {
            let now = self.server_now();
            let Some(life) = &mut self.life else { break };
            match life.engine.commit(now, op.into()) {
                Ok(answer) => replies.extend(answer.replies),
                Err(error) => refused = Some(error),
            }
            self.flush(Vec::new());
            if self.stats.crashes + self.stats.kills != lives {
                return self.h.unknown(&asked, &Ok(Answer { replies, replayed: false }));
            }
        }
        let answer = refused.map_or(Ok(Answer { replies, replayed: false }), Err);
        self.h.answered(&asked, &answer, self.now());
    }

    /// One request of a frame.
    pub fn ask(&mut self, asked: Asked, commit: Commit) -> (Asked, Result<Answer>) {
        let now = self.server_now();
        self.stats.commits += 1;
        let mut answer = match &mut self.life {
            Some(life) => life.engine.commit(now, commit),
            None => Err(sb_core::model::Error::internal("no server")),
        };
        if let Err(error) = &answer {
            self.trace.bytes(error.code.as_bytes());
            self.stats.full += u64::from(error.kind == sb_core::model::Kind::DiskFull);
        }
        if let Ok(answer) = &mut answer {
            for reply in &mut answer.replies {
                if let Reply::Leased(grants) = reply {
                    for grant in grants {
                        if self.planted(Plant::ReuseLease) && self.last_grant > 0 && self.rng.chance(2) {
                            grant.delivery.lease = self.last_grant;
                        }
                        self.last_grant = grant.delivery.lease;
                        self.stats.grants += 1;
                    }
                }
            }
        }
        self.log(|| format!("{:?} {asked:?} -> {answer:?}", self.now()));
        (asked, answer)
    }

    /// Makes the frame durable, shows it, answers.
    pub fn flush(&mut self, waiting: Vec<(Asked, Result<Answer>)>) {
        let now = self.server_now();
        let Some(life) = &mut self.life else { return };
        life.engine.tick(now);
        let bytes = life.engine.frame().bytes.clone();
        let early = self.planted(Plant::AckEarly);
        if early {
            let now = self.now();
            waiting.iter().for_each(|(asked, answer)| self.h.answered(asked, answer, now));
        }
        if self.planted(Plant::ExposeUndurable) {
            let batches =
                self.life.as_ref().map(|l| l.engine.frame().effects.appended.clone()).unwrap_or_default();
            batches.iter().for_each(|b| self.observe_batch(b));
        }
        let Some(life) = &mut self.life else { return };
        match life.engine.flush() {
            Ok(effects) => {
                if !bytes.is_empty() {
                    self.stats.frames += 1;
                    self.shadow_lsn += 1;
                    let lsn = life.engine.lsn();
                    if lsn != self.shadow_lsn {
                        self.h.violation("I3", format!("frame {} got LSN {lsn}", self.shadow_lsn));
                    }
                    if let Err(error) = self.shadow.apply(&bytes, now) {
                        self.h.violation("I12", format!("frame {lsn} cannot be replayed: {error}"));
                    }
                    self.trace.add(lsn);
                    self.trace.bytes(&bytes);
                }
                self.show(effects);
                if !early {
                    let now = self.now();
                    waiting.iter().for_each(|(asked, answer)| self.h.answered(asked, answer, now));
                }
                if self.rng.chance(8)
                    && let Some(life) = &self.life
                {
                    self.h.conservation(&life.engine.core, self.mono);
                }
            }
            Err(error) => {
                if !self.disk_is_bad() {
                    self.h.violation("ERROR", format!("a flush failed on a good disk: {error}"));
                }
                self.pending = Some(bytes);
                if !early {
                    waiting.iter().for_each(|(asked, answer)| self.h.unknown(asked, answer));
                }
                self.stats.full_stops += u64::from(self.full && !self.disk.is_off() && !self.broken);
                let crash = self.disk.is_off() || self.rng.chance(50);
                self.die(crash, "the journal failed");
            }
        }
    }

    fn disk_is_bad(&self) -> bool {
        self.disk.is_off() || self.broken || self.unsealed || self.full
    }

    fn show(&mut self, effects: Effects) {
        for batch in effects.appended.iter() {
            let end = batch.base + u64::from(batch.count);
            let range = self.visible.entry(batch.part).or_insert((batch.base, batch.base));
            range.1 = end;
            self.tails.entry(batch.part).or_default().insert(batch.base, batch.clone());
        }
        for (part, start) in &effects.trimmed {
            if let Some(range) = self.visible.get_mut(part) {
                range.0 = range.0.max(*start);
            }
            if let Some(tail) = self.tails.get_mut(part) {
                tail.retain(|base, b| base + u64::from(b.count) > *start);
            }
        }
        for topic in &effects.deleted {
            self.visible.retain(|part, _| part.topic != *topic);
            self.tails.retain(|part, _| part.topic != *topic);
        }
        if let Some(life) = &mut self.life {
            life.backlog.push_back(Item::Effects(effects));
        }
    }

    // ---- the storage and checkpoint threads ----

    fn put_some(&mut self) {
        let many = if self.rng.chance(30) { 1000 } else { self.rng.range(1, 4) };
        for _ in 0..many {
            if !self.put_one() {
                break;
            }
        }
    }

    /// Gives the storage thread the next item, or several frames at once; false when there is none or it has to wait.
    fn put_one(&mut self) -> bool {
        let Some(life) = &mut self.life else { return false };
        let mut frames = Vec::new();
        for _ in 0..self.rng.range(1, 4) {
            match life.backlog.pop_front() {
                Some(Item::Effects(effects)) => frames.push(effects),
                Some(Item::Checkpoint(job)) if frames.is_empty() => {
                    life.ready = Some(job);
                    return true;
                }
                Some(checkpoint) => {
                    life.backlog.push_front(checkpoint);
                    break;
                }
                None => break,
            }
        }
        if frames.is_empty() {
            return false;
        }
        for effects in &mut frames {
            if self.plant == Some(Plant::LoseBatch) && self.rng.chance(3) {
                effects.appended.pop();
            }
            if self.plant == Some(Plant::SwapBodies) && self.rng.chance(5) {
                effects.appended.iter_mut().for_each(swap_body);
            }
        }
        match Engine::put(&life.store, &frames) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                if self.plant != Some(Plant::IgnoreFull) {
                    if !self.full {
                        self.h.violation("ERROR", "segments: the disk is said to be full and is not".into());
                    }
                    for effects in frames.into_iter().rev() {
                        life.backlog.push_front(Item::Effects(effects));
                    }
                    return false;
                }
            }
            Err(error) => {
                if !self.disk_is_bad() {
                    self.h.violation("ERROR", format!("segments cannot be written: {error}"));
                }
                let crash = self.disk.is_off() || self.rng.chance(50);
                self.die(crash, "segments failed");
                return false;
            }
        }
        for batch in frames.iter().flat_map(|f| &f.appended).filter(|b| !b.memory) {
            if let Some(tail) = self.tails.get_mut(&batch.part) {
                tail.remove(&batch.base);
            }
        }
        true
    }

    fn begin_checkpoint(&mut self) {
        let ahead = self.planted(Plant::CheckpointAhead);
        let Some(life) = &mut self.life else { return };
        if life.checkpointing || (life.engine.journal_bytes() == 0 && self.rng.chance(90)) {
            return;
        }
        if let Some(job) = life.engine.begin_checkpoint() {
            life.checkpointing = true;
            if ahead {
                life.ready = Some(job);
            } else {
                life.backlog.push_back(Item::Checkpoint(job));
            }
        }
    }

    fn run_checkpoint(&mut self) {
        let Some(life) = &mut self.life else { return };
        let Some(job) = life.ready.take() else { return };
        match job.run(&mut life.checkpoints) {
            Ok(lsn) => {
                self.stats.checkpoints += 1;
                life.written = Some(lsn);
            }
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                if !self.full {
                    self.h.violation("ERROR", "checkpoint: the disk is said to be full and is not".into());
                }
                life.ready = Some(job);
            }
            Err(error) => {
                if !self.disk_is_bad() {
                    self.h.violation("ERROR", format!("a checkpoint cannot be written: {error}"));
                }
                let crash = self.disk.is_off() || self.rng.chance(50);
                self.die(crash, "a checkpoint failed");
            }
        }
    }

    fn end_checkpoint(&mut self) {
        let Some(life) = &mut self.life else { return };
        if let Some(lsn) = life.written.take() {
            life.engine.end_checkpoint(lsn);
            life.checkpointing = false;
        }
    }

    fn fill(&mut self) {
        if let Some(life) = &self.life
            && let Some(spares) = &life.spares
        {
            let _ = spares.fill();
        }
        self.power();
    }

    fn seal(&mut self) {
        if let Some(life) = &mut self.life {
            life.engine.seal();
            self.unsealed |= self.broken;
        }
        self.power();
    }

    /// Dies if the power has gone in something that reports no error.
    fn power(&mut self) {
        if self.disk.is_off() {
            self.die(true, "the power went");
        }
    }

    // ---- time, faults, death ----

    fn pass_time(&mut self) {
        let ms = match self.rng.below(10) {
            0..=4 => self.rng.below(50),
            5..=7 => {
                // To the next deadline, or just before or behind it.
                let now = self.server_now();
                let next =
                    self.life.as_ref().and_then(|l| l.engine.core.next_tick(now)).unwrap_or(now.mono_ms);
                (next.saturating_sub(now.mono_ms) + self.rng.below(3)).saturating_sub(1).min(10_000)
            }
            _ => self.rng.below(4_000),
        };
        self.mono += ms;
        self.wall += ms as i64;
        if self.rng.chance(4) {
            // A stall: nobody could renew, so leases stand still.
            let stall = self.rng.range(500, 60_000);
            self.mono += stall;
            self.wall += stall as i64;
            if let Some(life) = &mut self.life {
                life.engine.core.pause(stall);
            }
            self.h.paused(stall);
        }
        if self.rng.chance(6) {
            let jump = self.rng.range(0, 7_200_000) as i64 - 3_600_000;
            if (self.drift + jump).abs() < 4 * 3_600_000 {
                self.drift += jump;
                self.wall += jump;
            }
        }
        self.h.max_wall = self.h.max_wall.max(self.wall);
    }

    /// Lets the power go, or a sync fail, some operations from now.
    fn arm(&mut self) {
        let counts = self.disk.counts();
        let mut faults = self.faults();
        if self.full {
            return;
        }
        match self.rng.below(10) {
            0..=6 => faults.off_at = Some(counts.changes + self.rng.below(60)),
            7 => {
                faults.sync_error_at = Some(counts.syncs + self.rng.below(6));
                self.broken = true;
            }
            8 => {
                faults.write_error_at = Some(counts.writes + self.rng.below(20));
                self.broken = true;
            }
            _ => {
                faults.full_from = Some(counts.allocating + self.rng.below(4));
                faults.full_until = Some(counts.allocating + 4 + self.rng.below(10));
                self.full = true;
            }
        }
        self.disk.set_faults(faults);
    }

    fn toggle_full(&mut self) {
        let mut faults = self.faults();
        self.full = !self.full;
        if self.full {
            faults.capacity = Some(1 << 40);
            self.disk.set_faults(faults.clone());
            let used = (1 << 40) - self.disk.free_space(Path::new(DIR)).unwrap_or(0);
            faults.capacity = Some(used + self.rng.below(96 << 10));
        }
        self.broken = false;
        self.disk.set_faults(faults);
        self.log(|| "full disk on or off".into());
    }

    /// A clean stop: everything stored, a last checkpoint, a seal.
    fn stop(&mut self) {
        while self.put_one() {}
        if self.life.as_ref().is_some_and(|l| l.checkpointing) {
            self.run_checkpoint();
            self.end_checkpoint();
        }
        self.begin_checkpoint();
        while self.put_one() {}
        self.run_checkpoint();
        self.end_checkpoint();
        self.seal();
        if self.life.is_some() {
            self.die(false, "stopped");
        }
    }

    /// The end of the process; with `crash`, of the power too. Starts again.
    fn die(&mut self, crash: bool, why: &str) {
        if self.life.take().is_none() {
            return;
        }
        self.log(|| format!("{why}, power loss {crash}, durable up to {}", self.shadow_lsn));
        self.h.died(self.mono);
        self.tails.clear();
        self.visible.clear();
        if crash {
            self.stats.crashes += 1;
            let seed = self.rng.bits();
            self.disk.crash(seed);
        } else {
            self.stats.kills += 1;
            self.disk.kill();
        }
        if !self.over() {
            self.start();
        }
    }

    /// Starts the server, through further failures, and proves what it has.
    pub fn start(&mut self) {
        self.full = false;
        self.broken = false;
        self.unsealed = false;
        for attempt in 0..6 {
            self.mono = self.rng.below(10_000);
            self.wall += self.rng.below(3_000) as i64;
            self.wall_base = self.wall - self.mono as i64;
            self.h.max_wall = self.h.max_wall.max(self.wall);
            let mut faults = self.faults();
            let trouble = attempt < 4 && self.rng.chance(25);
            if trouble {
                match self.rng.below(4) {
                    0 => faults.sync_error_at = Some(self.rng.below(12)),
                    _ => faults.off_at = Some(self.rng.below(120)),
                }
            }
            self.disk.reset_counts();
            self.disk.set_faults(faults);
            let now = self.server_now();
            let opened = Engine::open(Arc::new(self.disk.clone()), Path::new(DIR), self.options.clone(), now);
            match opened {
                Ok((engine, store, checkpoints, recovery)) => {
                    if !self.disk.is_off() {
                        self.disk.set_faults(self.faults());
                        self.log(|| format!("started at {} {recovery:?}", engine.lsn()));
                        self.trace.add(engine.lsn());
                        let spares = engine.spares();
                        self.life = Some(Life {
                            engine,
                            store,
                            checkpoints,
                            spares,
                            backlog: VecDeque::new(),
                            ready: None,
                            written: None,
                            checkpointing: false,
                        });
                        return self.started();
                    }
                }
                Err(error) => {
                    if !trouble {
                        self.h.violation("OPEN", error);
                        return;
                    }
                    self.log(|| format!("did not start: {error}"));
                }
            }
            if self.disk.is_off() || self.rng.chance(50) {
                let seed = self.rng.bits();
                self.disk.crash(seed);
            } else {
                self.disk.kill();
            }
        }
        self.h.violation("OPEN", "it does not start on a good disk".into());
    }

    fn started(&mut self) {
        let now = self.server_now();
        let Some(life) = &self.life else { return };
        let lsn = life.engine.lsn();
        if lsn <= self.shadow_lsn {
            let detail = format!(
                "frame {} was durable, and the log ends at {}",
                self.shadow_lsn,
                lsn.saturating_sub(1)
            );
            return self.h.violation("I1", detail);
        }
        // What is behind the last frame that was known to be durable: the one that was being written, and starts that failed later.
        let mut extra: Vec<(u64, Vec<u8>)> = Vec::new();
        let seen = life.engine.visit(self.shadow_lsn + 1, &mut |lsn, frame| {
            extra.push((lsn, frame.to_vec()));
            true
        });
        if let Err(error) = seen {
            return self.h.violation("OPEN", format!("the journal cannot be read again: {error}"));
        }
        let mut pending = self.pending.take();
        for (at, bytes) in extra {
            let expected = pending.take().is_some_and(|p| p == bytes);
            let mut boot = sb_core::ops::Frame::default();
            if !expected {
                let mut blank = Core::new();
                blank.boot(now, &mut boot);
                if bytes.len() > boot.bytes.len() + 8 {
                    let detail = format!("frame {at} of {} bytes was never written in full", bytes.len());
                    return self.h.violation("I9", detail);
                }
            }
            if let Err(error) = self.shadow.apply(&bytes, now) {
                return self.h.violation("I12", format!("frame {at} cannot be replayed: {error}"));
            }
            self.shadow_lsn = at;
        }
        if self.shadow_lsn != lsn {
            return self.h.violation("I1", format!("the log ends at {lsn} and holds {}", self.shadow_lsn));
        }
        self.compare();
        let Some(life) = &self.life else { return };
        let core = &life.engine.core;
        for id in core.topic_ids().into_iter().chain([TopicId::JOBS]) {
            let Some(view) = core.topic_by_id(id) else { continue };
            for (n, part) in view.parts.iter().enumerate() {
                self.visible.insert(PartId { topic: id, partition: n as u32 }, (part.start, part.end));
            }
        }
        self.h.booted(self.mono);
        self.audit();
        if self.planted(Plant::RedeliverAfterRestart) {
            self.redeliver();
        }
        if !self.over() {
            self.setup();
        }
    }

    fn redeliver(&mut self) {
        let groups: Vec<_> = self.h.groups.iter().map(|(id, g)| (*id, g.starts.clone())).collect();
        for (group, starts) in groups {
            let to = starts.iter().enumerate().map(|(n, s)| (n as u32, *s)).collect();
            let op = sb_core::ops::Op::Seek { group, to, dry_run: false };
            let _ = self.ask(Asked::Declare, op.into());
        }
        self.flush(Vec::new());
    }

    /// I12: who was given the same frames has the same state.
    fn compare(&mut self) {
        let Some(life) = &self.life else { return };
        let (live, replayed) = (life.engine.core.hash(), self.shadow.hash());
        self.trace.add(live);
        if live != replayed {
            let detail =
                format!("after frame {}: state {live:x}, and {replayed:x} from the frames", self.shadow_lsn);
            self.h.violation("I12", detail);
        }
    }

    // ---- readers ----

    /// Everything is worked off, nothing is stuck, and a last start finds it all.
    fn finish(&mut self) {
        self.full = false;
        self.broken = false;
        self.disk.set_faults(self.faults());
        let mut left = String::new();
        let mut rounds = 0;
        // As long as it goes on, and some time beyond every delay.
        let (mut progress, mut idle) = (0, 0);
        while idle < 200 && rounds < 5_000 && !self.over() {
            rounds += 1;
            idle += 1;
            if progress != self.stats.grants {
                (progress, idle) = (self.stats.grants, 0);
            }
            self.mono += 3_000;
            self.wall += 3_000;
            self.h.max_wall = self.h.max_wall.max(self.wall);
            while self.put_one() {}
            if rounds % 8 == 1 {
                self.begin_checkpoint();
                while self.put_one() {}
                self.run_checkpoint();
                self.end_checkpoint();
                self.fill();
            }
            self.work_off();
            self.bury();
            left = self.left();
            if left.is_empty() {
                break;
            }
            if rounds % 40 == 0 {
                self.wall += 3_600_000;
            }
        }
        if !left.is_empty() && !self.over() {
            self.h.violation("STUCK", format!("after {rounds} rounds: {left}"));
        }
        if self.over() || self.life.is_none() {
            return;
        }
        self.audit();
        self.stop();
        if !self.over() && self.rng.chance(30) {
            self.decay();
        }
    }

    /// What no consumer gets to the end of.
    fn left(&self) -> String {
        let Some(life) = &self.life else { return String::new() };
        let mut left = Vec::new();
        for id in self.h.groups.keys() {
            if let Some(view) = life.engine.core.group_by_id(*id)
                && view.options.mode == sb_core::groups::Mode::Queue
                && view.ready + view.leased + view.delayed > 0
            {
                let (r, l, d) = (view.ready, view.leased, view.delayed);
                left.push(format!("{}/{}: {r} ready, {l} leased, {d} delayed", view.topic, view.name));
            }
        }
        left.join("; ")
    }

    /// Bits rot: what is damaged is reported and never handed out.
    fn decay(&mut self) {
        while self.put_one() {}
        let files = self.disk.files();
        let files: Vec<_> = files.iter().filter(|f| f.to_string_lossy().ends_with(".log")).collect();
        for _ in 0..8 {
            let Some(file) = self.rng.pick(&files) else { return };
            let len = self.disk.content(file).map_or(0, |c| c.len() as u64);
            self.disk.flip(file, self.rng.below(len.max(1)), self.rng.below(8) as u8);
        }
        for (part, (start, end)) in self.visible.clone() {
            let name = self.topic_name(part.topic);
            let Ok(address) = Address::parse(&name) else { continue };
            for at in (start..end).step_by(3) {
                let Ok(batches) = self.batches(part, at) else { continue };
                for bytes in batches {
                    let Ok(records) = batch::records(&address, &bytes) else {
                        self.h.violation("I2", format!("{name}/{}/{at}: a damaged batch", part.partition));
                        return;
                    };
                    for record in records {
                        match record {
                            Ok(record) => self.h.observe(&name, part, &record),
                            Err(error) => {
                                self.h.violation("I2", format!("{name}/{}/{at}: {error}", part.partition));
                                return;
                            }
                        }
                    }
                }
            }
        }
    }

    /// What was found.
    pub fn violations(&self) -> &[Violation] {
        &self.h.violations
    }
}

/// The planted fault of that name: another body, and a checksum that fits.
fn swap_body(b: &mut Appended) {
    if in_memory(b.part.topic) || b.part.topic == TopicId::JOBS {
        return;
    }
    let Ok(address) = Address::parse("x") else { return };
    let Ok(records) = batch::records(&address, &b.bytes) else { return };
    let mut messages: Vec<_> = records.flatten().map(|r| r.message).collect();
    if let Some(last) = messages.last_mut() {
        let mut body = last.body.to_vec();
        body.push(0);
        last.body = body.into();
    }
    let mut bytes = batch::encode("x", &messages);
    batch::set_base_offset(&mut bytes, b.base);
    b.bytes = bytes.into();
}
