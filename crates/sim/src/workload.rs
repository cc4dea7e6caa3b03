//! What clients ask, chosen by the seed: producers, consumers, callers, workers and operators, each with its habits and mistakes.

use crate::faults::Plant;
use crate::history::{Asked, Fate, Group, Keyed, Pub, in_memory};
use crate::rng::Rng;
use crate::world::World;
use bytes::Bytes;
use sb_core::batch::encode;
use sb_core::groups::{Mode, Options};
use sb_core::jobs::{Failure, MethodPolicy, What, encode_event};
use sb_core::model::{Address, GroupId, Header, JobId, Message, PartId, Pattern, TopicId, Value};
use sb_core::ops::{Batch, Commit, Condition, Dedup, Delivery, Grant, GroupStart, Op, Reply, Settle};
use sb_core::topics::Policy;

/// A topic to be.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// Its policy.
    pub policy: Policy,
    /// Its id, once it is declared.
    pub id: Option<TopicId>,
}

/// A group to be.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// Which topic.
    pub topic: usize,
    /// Its name.
    pub name: String,
    /// Its options.
    pub options: Options,
    /// Where it begins.
    pub start: GroupStart,
    /// Its id.
    pub id: Option<GroupId>,
}

/// What there is to be in a world.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Topics; the last ones are those of methods and the one of dead messages.
    pub topics: Vec<TopicPlan>,
    /// How many of them are published to.
    pub open: usize,
    /// Groups.
    pub groups: Vec<GroupPlan>,
    /// Methods and the index of their topic.
    pub methods: Vec<(String, MethodPolicy)>,
    /// The topic that comes and goes.
    pub fleeting: Option<TopicId>,
    has_fleeting: bool,
    next: u64,
    commits: u64,
    jobs: u64,
}

/// Where dead messages go.
const DEAD: &str = "dead";
/// The topic that comes and goes.
const FLEETING: &str = "fleeting";

impl Plan {
    /// Topics, groups and methods as the seed will have them.
    pub fn new(rng: &mut Rng) -> Plan {
        let mut plan = Plan { has_fleeting: rng.chance(40), ..Plan::default() };
        for n in 0..rng.range(1, 4) {
            let mut policy = Policy { partitions: rng.range(1, 3) as u32, ..Policy::default() };
            if rng.chance(25) {
                match rng.below(3) {
                    0 => policy.keep_bytes = Some(rng.range(4, 32) << 10),
                    1 => policy.keep_age_ms = Some(rng.range(5_000, 60_000)),
                    _ => policy.keep_until_consumed = true,
                }
            }
            policy.memory = n > 0 && rng.chance(15);
            if rng.chance(25)
                && let Ok(claim) = Pattern::parse(&format!("c{n}.>"))
            {
                policy.claims.push(claim);
            }
            plan.topics.push(TopicPlan { name: format!("t{n}"), policy, id: None });
        }
        plan.open = plan.topics.len();
        plan.topics.push(TopicPlan {
            name: DEAD.into(),
            policy: Policy { partitions: rng.range(1, 2) as u32, ..Policy::default() },
            id: None,
        });
        for n in 0..rng.range(1, 4) {
            let cursor = rng.chance(15);
            let options = Options {
                mode: if cursor { Mode::Cursor } else { Mode::Queue },
                lease_ms: rng.range(1_000, 5_000),
                attempts: rng.below(5) as u32,
                dead_letter: (!cursor && rng.chance(50)).then(|| DEAD.into()),
                backoff_ms: rng.below(2) * rng.below(3_000),
                key_order: !cursor && rng.chance(30),
            };
            let topic = rng.below(plan.open as u64) as usize;
            plan.groups.push(GroupPlan {
                topic,
                name: format!("g{n}"),
                options,
                start: GroupStart::Start,
                id: None,
            });
        }
        for n in 0..rng.below(3) {
            let policy = MethodPolicy {
                topic: format!("work{n}"),
                attempts: rng.range(1, 3) as u32,
                lease_ms: rng.range(1_000, 4_000),
                timeout_ms: rng.range(5_000, 120_000),
                keep_ms: 30 * 86_400_000,
                backoff_ms: rng.below(3_000),
            };
            plan.methods.push((format!("sim.Work/Do{n}"), policy));
        }
        plan
    }
}

/// A batch with its times, as the board makes it.
fn batch(topic: &str, messages: &[Message]) -> Batch {
    let times = |of: fn(&Message) -> Option<i64>| {
        messages.iter().enumerate().filter_map(|(n, m)| Some((n as u32, of(m)?))).collect()
    };
    Batch { bytes: encode(topic, messages), due: times(|m| m.due_ms), expires: times(|m| m.expires_ms) }
}

impl World {
    /// Declares what is to be, as clients do after each start.
    pub fn setup(&mut self) {
        for n in 0..self.plan.topics.len() {
            let TopicPlan { name, policy, id } = self.plan.topics[n].clone();
            let retains =
                policy.keep_age_ms.is_some() || policy.keep_bytes.is_some() || policy.keep_until_consumed;
            let op = Op::DeclareTopic { name, policy, condition: Condition::Ensure };
            let Some(Reply::Topic { view, .. }) = self.declare(op) else { return };
            if let Some(old) = id
                && old != view.id
                && !in_memory(old)
            {
                self.h.violation(
                    "I1",
                    format!("the topic {} had id {} and has {}", view.name, old.0, view.id.0),
                );
            }
            if retains {
                self.h.retains.insert(view.id);
            }
            self.plan.topics[n].id = Some(view.id);
        }
        for n in 0..self.plan.groups.len() {
            let GroupPlan { topic, name, options, start, .. } = self.plan.groups[n].clone();
            let Some(topic) = self.plan.topics.get(topic).cloned() else { continue };
            let keys = if options.key_order { self.keys(&topic.name) } else { Vec::new() };
            let op = Op::DeclareGroup {
                topic: topic.name.clone(),
                group: name,
                options,
                start,
                condition: Condition::Any,
                keys,
            };
            let Some(Reply::Group { created, view }) = self.declare(op) else { return };
            self.plan.groups[n].id = Some(view.id);
            self.know_group(topic.id.unwrap_or(TopicId(0)), created, &view, false);
        }
        for n in 0..self.plan.methods.len() {
            let (name, policy) = self.plan.methods[n].clone();
            let topic = policy.topic.clone();
            if self.declare(Op::DeclareMethod { name, policy }).is_none() {
                return;
            }
            let Some(life) = &self.life else { return };
            let (Some(topic), Some(view)) =
                (life.engine.core.topic(&topic), life.engine.core.group(&topic, "workers"))
            else {
                return self.h.violation("JOB", "a method without topic or workers".into());
            };
            let parts: u64 = topic.parts.iter().map(|p| p.end).sum();
            self.know_group(topic.id, parts == 0, &view, true);
        }
    }

    /// The hash of each kept message's key.
    fn keys(&mut self, topic: &str) -> Vec<(u32, u64, Vec<u64>)> {
        let Some(view) = self.life.as_ref().and_then(|l| l.engine.core.topic(topic)) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (n, part) in view.parts.iter().enumerate() {
            let mut records = Vec::new();
            self.read(
                topic,
                PartId { topic: view.id, partition: n as u32 },
                part.start,
                part.end,
                &mut records,
            );
            let hash =
                |r: &sb_core::batch::Record| r.message.key.as_deref().map_or(0, sb_core::batch::key_hash);
            all.push((n as u32, part.start, records.iter().map(hash).collect()));
        }
        all
    }

    fn know_group(&mut self, topic: TopicId, created: bool, view: &sb_core::groups::GroupView, works: bool) {
        if self.h.groups.contains_key(&view.id) {
            if created && !works {
                self.h.violation("I8", format!("the group {}/{} was created twice", view.topic, view.name));
            }
            return;
        }
        let starts: Vec<u64> = view.parts.iter().map(|p| p.0).collect();
        self.h.groups.insert(
            view.id,
            Group {
                topic,
                topic_name: view.topic.clone(),
                name: view.name.clone(),
                options: view.options.clone(),
                origin: created.then(|| starts.iter().sum()),
                starts,
                messages: Default::default(),
                acked: 0,
                acked_maybe: 0,
                dropped: 0,
                moved: !created,
                cursor: Default::default(),
                memory: in_memory(topic),
                works,
            },
        );
    }

    /// One declaration in a frame of its own.
    fn declare(&mut self, op: Op) -> Option<Reply> {
        self.life.as_ref()?;
        let before = self.stats.crashes + self.stats.kills;
        let (asked, answer) = self.ask(Asked::Declare, op.into());
        let mut reply = None;
        match &answer {
            Ok(answer) => reply = answer.replies.first().cloned(),
            Err(error) if error.kind == sb_core::model::Kind::DiskFull => {}
            Err(error) => self.h.violation("ERROR", format!("a declaration was refused: {error}")),
        }
        self.flush(vec![(asked, answer)]);
        // Another life has declared everything itself.
        if self.stats.crashes + self.stats.kills != before { None } else { reply }
    }

    /// One request of a frame.
    pub fn request(&mut self) -> Option<(Asked, Commit)> {
        match self.rng.below(100) {
            0..=34 => self.publish(),
            35..=38 => self.again(),
            39..=59 => self.lease(),
            60..=81 => self.settle(),
            82 => self.seek(),
            83..=84 => self.cursor(),
            85..=89 => self.submit(),
            90..=95 => self.work(),
            96 => self.cancel(),
            97 => self.come_and_go(),
            _ => self.grow(),
        }
    }

    fn message(&mut self, topic: usize) -> Message {
        let rng = &mut self.rng;
        self.plan.next += 1;
        let mut body = self.plan.next.to_le_bytes().to_vec();
        let len = if rng.chance(3) { rng.below(6_000) } else { rng.below(300) };
        let first = body[0];
        body.extend((0..len).map(|n| (n as u8).wrapping_mul(31).wrapping_add(first)));
        let plan = &self.plan.topics[topic];
        let name = match plan.policy.claims.first() {
            Some(_) if rng.chance(50) => format!("c{topic}.a{}", rng.below(3)),
            _ => plan.name.clone(),
        };
        let address = Address::parse(&name).or_else(|_| Address::parse("x"));
        let mut m = match address {
            Ok(address) => Message::new(address, body),
            Err(_) => unreachable!("a plain name is an address"),
        };
        m.time_ms = self.wall;
        if rng.chance(60) {
            m.key = Some(Bytes::from(format!("k{}", rng.below(6))));
        }
        if rng.chance(20) {
            m.headers.push(Header::text("trace", format!("{:x}", rng.bits())));
            m.headers.push(Header { name: "n".into(), value: Value::Int(rng.bits() as i64) });
        }
        if rng.chance(10) {
            m.content_type = Some("application/json".into());
        }
        if rng.chance(6) {
            m.due_ms = Some(self.wall + rng.below(10_000) as i64);
        }
        if rng.chance(5) {
            m.expires_ms = Some(self.wall + rng.below(20_000) as i64);
        }
        m
    }

    /// Messages for one append, and the append.
    fn append(&mut self, commit: u64) -> Option<(Vec<u64>, Op)> {
        let n = self.rng.below(self.plan.open as u64) as usize;
        let topic = self.plan.topics.get(n)?.id?;
        let partition = self.rng.below(u64::from(self.plan.topics[n].policy.partitions)) as u32;
        let producer = self.rng.below(3) as u32;
        let (mut ids, mut messages) = (Vec::new(), Vec::new());
        for _ in 0..self.rng.range(1, if self.rng.clone().chance(10) { 20 } else { 4 }) {
            let message = self.message(n);
            let id = self.plan.next;
            let part = PartId { topic, partition };
            self.h.pubs.insert(
                id,
                Pub { commit, producer, part, message: message.clone(), fate: Fate::Waiting, retried: false },
            );
            ids.push(id);
            messages.push(message);
        }
        let mut batch = batch(&self.plan.topics[n].name, &messages);
        if self.planted(Plant::IgnoreDelay) {
            batch.due.clear();
        }
        Some((ids, Op::Append { topic, partition, batch }))
    }

    fn publish(&mut self) -> Option<(Asked, Commit)> {
        self.plan.commits += 1;
        let id = self.plan.commits;
        let many = if self.rng.chance(15) { self.rng.range(2, 3) } else { 1 };
        let (mut appends, mut ops) = (Vec::new(), Vec::new());
        for _ in 0..many {
            let (ids, op) = self.append(id)?;
            appends.push(ids);
            ops.push(op);
        }
        let durable = !ops.iter().any(|op| matches!(op, Op::Append { topic, .. } if in_memory(*topic)));
        let mut dedup = None;
        let mut key = None;
        if durable && self.rng.chance(25) {
            let text = format!("key{id}");
            dedup = Some(Dedup {
                scope: "sim".into(),
                key: text.clone(),
                fingerprint: u128::from(id),
                window_ms: 86_400_000,
            });
            key = Some(self.h.keyed.len());
            self.h.keyed.push(Keyed { key: text, appends: appends.clone(), first: None });
        }
        if self.planted(Plant::AppendTwice) && self.rng.chance(3) {
            let twin = Commit { dedup: None, ops: clone_appends(&ops) };
            let _ = self.ask(Asked::Declare, twin);
        }
        Some((Asked::Publish { appends, key }, Commit { dedup, ops }))
    }

    /// A repetition with the key of an earlier request, whatever came of that.
    fn again(&mut self) -> Option<(Asked, Commit)> {
        let back = self.rng.below(40) as usize;
        let n = self.h.keyed.len().checked_sub(back + 1)?;
        let keyed = self.h.keyed.get(n)?.clone();
        let mut ops = Vec::new();
        for ids in &keyed.appends {
            let pubs: Vec<&Pub> = ids.iter().filter_map(|id| self.h.pubs.get(id)).collect();
            let part = pubs.first()?.part;
            // One that still waits in this frame is not asked for again here: a client has one connection.
            if pubs.iter().any(|p| p.fate == Fate::Waiting) {
                return None;
            }
            if self.h.gone.contains(&part.topic) {
                return None;
            }
            let messages: Vec<Message> = pubs.iter().map(|p| p.message.clone()).collect();
            let name = self.plan.topics.iter().find(|t| t.id == Some(part.topic))?.name.clone();
            ops.push(Op::Append {
                topic: part.topic,
                partition: part.partition,
                batch: batch(&name, &messages),
            });
        }
        for id in keyed.appends.iter().flatten() {
            if let Some(p) = self.h.pubs.get_mut(id) {
                if p.fate == Fate::Refused {
                    p.fate = Fate::Unknown;
                }
                p.retried = true;
            }
        }
        let id: u128 = keyed.key.trim_start_matches("key").parse().unwrap_or(0);
        let dedup = (!self.planted(Plant::DropDedup)).then(|| Dedup {
            scope: "sim".into(),
            key: keyed.key.clone(),
            fingerprint: id,
            window_ms: 86_400_000,
        });
        Some((Asked::Publish { appends: keyed.appends, key: Some(n) }, Commit { dedup, ops }))
    }

    fn a_group(&mut self, mode: Mode) -> Option<GroupId> {
        let groups = self.h.groups.iter().filter(|(_, g)| g.options.mode == mode);
        let ids: Vec<GroupId> = groups.map(|(id, _)| *id).collect();
        self.rng.pick(&ids).copied()
    }

    fn lease(&mut self) -> Option<(Asked, Commit)> {
        let group = self.a_group(Mode::Queue)?;
        let max = self.rng.range(1, 8) as usize;
        let lease_ms = self.rng.chance(30).then(|| self.rng.range(1_000, 8_000));
        let consumer = format!("c{}", self.rng.below(3));
        Some((Asked::Lease, Op::Lease { group, max, lease_ms, consumer }.into()))
    }

    /// A handle that somebody holds; mostly it is then let go, sometimes it stays and is tried again when it is stale.
    fn handle(&mut self, jobs: bool) -> Option<Grant> {
        let fit: Vec<usize> =
            (0..self.h.handles.len()).filter(|n| self.h.handles[*n].job.is_some() == jobs).collect();
        let n = *self.rng.pick(&fit)?;
        let keep = self.rng.chance(30);
        if keep { self.h.handles.get(n).cloned() } else { Some(self.h.handles.remove(n)) }
    }

    fn settle(&mut self) -> Option<(Asked, Commit)> {
        let mut settles: Vec<(Delivery, Settle)> = Vec::new();
        for _ in 0..self.rng.range(1, 6) {
            let Some(grant) = self.handle(false) else { break };
            let how = match self.rng.below(20) {
                0..=12 => Settle::Ack,
                13..=15 => Settle::Nack { delay_ms: self.rng.below(2) * self.rng.below(3_000) },
                16 => Settle::Dead,
                17 => Settle::Unseen,
                _ => Settle::Extend { lease_ms: self.rng.range(1_000, 6_000) },
            };
            if !settles.iter().any(|(d, _)| (d.group, d.partition, d.offset) == place(&grant.delivery)) {
                settles.push((grant.delivery, how));
            }
        }
        if settles.is_empty() {
            return None;
        }
        let mut sent = settles.clone();
        if self.planted(Plant::AcceptStale) {
            for (d, _) in &mut sent {
                let last = self.h.groups.get(&d.group).and_then(|g| g.messages.get(&(d.partition, d.offset)));
                d.lease = last.map_or(d.lease, |m| m.last);
            }
        }
        let mut ops = vec![Op::Settle { settles: sent }];
        let mut appends = Vec::new();
        if self.rng.chance(15) {
            // Consume, transform, produce.
            self.plan.commits += 1;
            let (ids, op) = self.append(self.plan.commits)?;
            appends.push(ids);
            ops.push(op);
        }
        Some((Asked::Settle { settles, appends }, Commit { dedup: None, ops }))
    }

    fn seek(&mut self) -> Option<(Asked, Commit)> {
        if !self.rng.chance(15) {
            return None;
        }
        let group = self.a_group(Mode::Queue)?;
        let g = self.h.groups.get(&group).filter(|g| !g.works)?;
        let parts = g.starts.len() as u64;
        let partition = self.rng.below(parts) as u32;
        let to = vec![(partition, self.rng.below(200))];
        Some((Asked::Seek { group }, Op::Seek { group, to, dry_run: false }.into()))
    }

    fn cursor(&mut self) -> Option<(Asked, Commit)> {
        let group = self.a_group(Mode::Cursor)?;
        let topic = self.h.groups.get(&group)?.topic;
        let view = self.life.as_ref()?.engine.core.topic_by_id(topic)?;
        let n = self.rng.below(view.parts.len() as u64) as usize;
        let part = view.parts.get(n)?;
        let positions = vec![(n as u32, self.rng.range(part.start, part.end))];
        let op = Op::CommitCursor { group, positions: positions.clone() };
        Some((Asked::Cursor { group, positions }, op.into()))
    }

    fn submit(&mut self) -> Option<(Asked, Commit)> {
        let (method, policy) = self.rng.pick(&self.plan.methods)?.clone();
        let topic = self.life.as_ref()?.engine.core.topic(&policy.topic)?;
        self.plan.next += 1;
        self.plan.jobs += 1;
        self.plan.commits += 1;
        let id = self.plan.next;
        let job = JobId::new(self.wall as u64, u128::from(self.plan.jobs));
        let mut body = id.to_le_bytes().to_vec();
        body.resize(8 + self.rng.below(100) as usize, 7);
        let mut message = Message::new(Address::parse(&policy.topic).ok()?, body);
        message.time_ms = self.wall;
        message.headers.push(Header::text("sb-job", job.to_string()));
        let part = PartId { topic: topic.id, partition: 0 };
        let commit = self.plan.commits;
        self.h.pubs.insert(
            id,
            Pub { commit, producer: 9, part, message: message.clone(), fate: Fate::Waiting, retried: false },
        );
        let op = Op::Submit {
            id: job,
            method,
            partition: 0,
            batch: batch(&policy.topic, &[message]),
            timeout_ms: None,
            principal: "caller".into(),
            rerun_of: None,
            callback: None,
        };
        Some((Asked::Submit { job, id }, op.into()))
    }

    fn work(&mut self) -> Option<(Asked, Commit)> {
        let grant = self.handle(true)?;
        let (job, lease) = (grant.job?, grant.delivery.lease);
        let event = |what: What, wall: i64| Batch {
            bytes: encode_event(job, grant.attempt, wall, &what),
            due: Vec::new(),
            expires: Vec::new(),
        };
        match self.rng.below(10) {
            0..=2 => {
                self.h.handles.push(grant.clone());
                let log = What::Log { stream: "stdout".into(), text: "working".into() };
                let event = self.rng.chance(70).then(|| event(log, self.wall));
                let op = Op::Report {
                    job,
                    lease,
                    event,
                    progress: Some(Bytes::from_static(b"{\"done\":1}")),
                    lease_ms: None,
                };
                // What a report does to the lease is not counted on.
                if let Some(held) = self.held(&grant.delivery) {
                    held.sure = false;
                }
                Some((Asked::Report, op.into()))
            }
            3..=7 => {
                let body =
                    format!("result of {job} attempt {} {}", grant.attempt, self.rng.bits()).into_bytes();
                let what = What::Result { content_type: None, body: body.clone().into() };
                self.stats.results += 1;
                let mut op = Op::Complete { job, lease, event: event(what, self.wall) };
                if self.planted(Plant::DropResult) && self.rng.chance(30) {
                    let what = What::Result { content_type: None, body: Bytes::new() };
                    op = Op::Complete { job, lease, event: event(what, self.wall) };
                }
                Some((Asked::Complete { job, lease, body }, op.into()))
            }
            _ => {
                let failure = Failure {
                    code: "E1".into(),
                    message: "it did not work".into(),
                    retryable: self.rng.chance(70),
                };
                let status = format!("{job} attempt {} {}", grant.attempt, self.rng.bits()).into_bytes();
                let what = What::Error { failure: failure.clone(), status: status.clone().into() };
                let event = event(what, self.wall);
                let delay_ms = self.rng.chance(30).then(|| self.rng.below(2_000));
                let op = Op::Fail { job, lease, failure, delay_ms, event };
                Some((Asked::Fail { job, lease, status }, op.into()))
            }
        }
    }

    fn held(&mut self, d: &Delivery) -> Option<&mut crate::history::Held> {
        self.h.groups.get_mut(&d.group)?.messages.get_mut(&(d.partition, d.offset))?.held.as_mut()
    }

    fn cancel(&mut self) -> Option<(Asked, Commit)> {
        let jobs: Vec<JobId> = self.h.jobs.keys().rev().take(10).copied().collect();
        let job = *self.rng.pick(&jobs)?;
        Some((Asked::Cancel { job }, Op::Cancel { job }.into()))
    }

    /// A topic that is declared, published to, and deleted again.
    fn come_and_go(&mut self) -> Option<(Asked, Commit)> {
        if !self.plan.has_fleeting {
            return None;
        }
        let known = self.life.as_ref()?.engine.core.topic(FLEETING);
        let Some(view) = known else {
            let op = Op::DeclareTopic {
                name: FLEETING.into(),
                policy: Policy::default(),
                condition: Condition::Absent,
            };
            return Some((Asked::Declare, op.into()));
        };
        if self.rng.chance(30) {
            return Some((
                Asked::DeleteTopic { id: view.id },
                Op::DeleteTopic { name: FLEETING.into() }.into(),
            ));
        }
        self.plan.commits += 1;
        let commit = self.plan.commits;
        let mut m = self.message(0);
        m.address = Address::parse(FLEETING).ok()?;
        let part = PartId { topic: view.id, partition: 0 };
        let id = self.plan.next;
        self.h.pubs.insert(
            id,
            Pub { commit, producer: 8, part, message: m.clone(), fate: Fate::Waiting, retried: false },
        );
        let op = Op::Append { topic: view.id, partition: 0, batch: batch(FLEETING, &[m]) };
        Some((Asked::Publish { appends: vec![vec![id]], key: None }, op.into()))
    }

    /// A group that begins somewhere in what is there already.
    pub fn late_group(&mut self) {
        if self.plan.groups.len() >= 8 || self.life.is_none() {
            return;
        }
        let topic = self.rng.below(self.plan.open as u64) as usize;
        let start = match self.rng.below(3) {
            0 => GroupStart::Start,
            1 => GroupStart::End,
            _ => GroupStart::Offsets(vec![(0, self.rng.below(100))]),
        };
        let options = Options {
            lease_ms: self.rng.range(1_000, 4_000),
            attempts: self.rng.below(3) as u32,
            ..Options::default()
        };
        let name = format!("late{}", self.plan.groups.len());
        let plan = GroupPlan { topic, name, options, start, id: None };
        self.plan.groups.push(plan.clone());
        let Some(topic) = self.plan.topics.get(topic).cloned() else { return };
        let op = Op::DeclareGroup {
            topic: topic.name,
            group: plan.name,
            options: plan.options,
            start: plan.start,
            condition: Condition::Any,
            keys: Vec::new(),
        };
        if let (Some(Reply::Group { created, view }), Some(topic)) = (self.declare(op), topic.id) {
            self.know_group(topic, created, &view, false);
        }
    }

    /// More partitions.
    fn grow(&mut self) -> Option<(Asked, Commit)> {
        if !self.rng.chance(5) {
            return None;
        }
        let n = self.rng.below(self.plan.open as u64) as usize;
        let name = self.plan.topics.get(n)?.name.clone();
        let mut policy = self.life.as_ref()?.engine.core.topic(&name)?.policy;
        if policy.partitions >= 4 {
            return None;
        }
        policy.partitions += 1;
        Some((Asked::Declare, Op::DeclareTopic { name, policy, condition: Condition::Any }.into()))
    }

    /// Moves dead messages, as the board does: reads the message, and appends the copy and ends the message in one commit.
    pub fn bury(&mut self) {
        let groups: Vec<GroupId> = self.h.groups.keys().copied().collect();
        let mut waiting = Vec::new();
        for group in groups {
            let Some(life) = &self.life else { return };
            let dying = life.engine.core.dying(group, 100);
            for one in dying {
                let at = one.position;
                let mut target = None;
                if let Some(name) = &one.target {
                    let Some(record) = self.fetch(&one.topic_name, at.part, at.offset) else { continue };
                    let Some(topic) = self.life.as_ref().and_then(|l| l.engine.core.topic(name)) else {
                        continue;
                    };
                    let mut message = record.message;
                    let mut put =
                        |name: &str, value: Value| message.headers.push(Header { name: name.into(), value });
                    put("sb-dead-topic", Value::Text(one.topic_name.clone()));
                    put("sb-dead-group", Value::Text(one.group_name.clone()));
                    put("sb-dead-offset", Value::Int(at.offset as i64));
                    put("sb-dead-attempts", Value::Int(i64::from(one.attempts)));
                    put("sb-dead-reason", Value::Text(one.reason.into()));
                    message.time_ms = self.wall;
                    message.due_ms = None;
                    message.expires_ms = None;
                    let hash = message.key.as_deref().map_or(0, sb_core::batch::key_hash);
                    let partition = (hash % topic.parts.len() as u64) as u32;
                    target = Some((topic.id, partition, batch(name, &[message])));
                }
                if self.planted(Plant::SplitDeadLetter)
                    && let Some((topic, partition, batch)) = target.take()
                {
                    let _ = self.ask(Asked::Declare, Op::Append { topic, partition, batch }.into());
                    self.flush(Vec::new());
                    if self.life.is_none() {
                        return;
                    }
                }
                self.stats.buried += 1;
                let (partition, offset) = (at.part.partition, at.offset);
                let copied = target.is_some() || self.planted(Plant::SplitDeadLetter);
                let asked = Asked::Bury { group, partition, offset, copied };
                waiting.push(self.ask(asked, Op::DeadLetter { group, partition, offset, target }.into()));
                if self.life.as_ref().is_none_or(|l| l.engine.pending() > 16 << 10) {
                    return self.flush(waiting);
                }
            }
        }
        self.flush(waiting);
    }

    /// Consumers and workers take everything there is and finish it.
    pub fn work_off(&mut self) {
        let groups: Vec<GroupId> =
            self.h.groups.iter().filter(|(_, g)| g.options.mode == Mode::Queue).map(|(id, _)| *id).collect();
        self.h.handles.clear();
        let mut waiting = Vec::new();
        for group in groups {
            let op = Op::Lease { group, max: 100, lease_ms: None, consumer: "last".into() };
            waiting.push(self.ask(Asked::Lease, op.into()));
        }
        self.flush(waiting);
        let mut waiting = Vec::new();
        for grant in std::mem::take(&mut self.h.handles) {
            let (asked, op) = match grant.job {
                Some(job) => {
                    let body = format!("last result of {job}").into_bytes();
                    let what = What::Result { content_type: None, body: body.clone().into() };
                    let event = Batch {
                        bytes: encode_event(job, grant.attempt, self.wall, &what),
                        due: Vec::new(),
                        expires: Vec::new(),
                    };
                    let lease = grant.delivery.lease;
                    (Asked::Complete { job, lease, body }, Op::Complete { job, lease, event })
                }
                None => {
                    let settles = vec![(grant.delivery, Settle::Ack)];
                    (Asked::Settle { settles: settles.clone(), appends: Vec::new() }, Op::Settle { settles })
                }
            };
            waiting.push(self.ask(asked, op.into()));
            if waiting.len() >= 100 {
                self.flush(std::mem::take(&mut waiting));
            }
        }
        self.flush(waiting);
    }
}

fn place(d: &Delivery) -> (GroupId, u32, u64) {
    (d.group, d.partition, d.offset)
}

fn clone_appends(ops: &[Op]) -> Vec<Op> {
    ops.iter()
        .filter_map(|op| match op {
            Op::Append { topic, partition, batch } => {
                Some(Op::Append { topic: *topic, partition: *partition, batch: batch.clone() })
            }
            _ => None,
        })
        .collect()
}
