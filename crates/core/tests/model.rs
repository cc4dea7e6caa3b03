//! Random operations and jumps of time against a plain, slow model: for each group a list of what each message is. Every reply and
//! view is compared; every frame is replayed on a replica; checkpoints and restores come at random moments.
#![allow(missing_docs)]

mod common;
use common::{World, batch_of, message};
use proptest::prelude::*;
use sb_core::groups::Options;
use sb_core::model::{GroupId, TopicId};
use sb_core::ops::*;
use sb_core::topics::Policy;
use std::collections::BTreeMap;

const GROUPS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Append { part: u32, messages: Vec<(u8, u16, u16)> },
    Lease { group: usize, max: usize },
    Settle { pick: usize, how: u8, delay: u16 },
    Twice { pick: usize },
    Refused { part: u32, pick: usize },
    Seek { group: usize, part: u32, to: u64 },
    Wait(u16),
    Move { group: usize },
    Checkpoint,
    Reboot,
}

fn step() -> impl Strategy<Value = Step> {
    let message = (
        0u8..4,
        prop_oneof![4 => Just(0u16), 1 => 1u16..3000],
        prop_oneof![6 => Just(0u16), 1 => 1u16..4000],
    );
    prop_oneof![
        6 => (0u32..2, prop::collection::vec(message, 1..5)).prop_map(|(part, messages)| Step::Append { part, messages }),
        8 => (0..GROUPS, 1usize..5).prop_map(|(group, max)| Step::Lease { group, max }),
        9 => (any::<prop::sample::Index>(), 0u8..7, 0u16..2000)
            .prop_map(|(pick, how, delay)| Step::Settle { pick: pick.index(1 << 20), how, delay }),
        1 => any::<prop::sample::Index>().prop_map(|pick| Step::Twice { pick: pick.index(1 << 20) }),
        1 => (0u32..2, any::<prop::sample::Index>())
            .prop_map(|(part, pick)| Step::Refused { part, pick: pick.index(1 << 20) }),
        1 => (0..GROUPS - 1, 0u32..2, 0u64..30).prop_map(|(group, part, to)| Step::Seek { group, part, to }),
        4 => (0u16..2500).prop_map(Step::Wait),
        2 => (0..GROUPS).prop_map(|group| Step::Move { group }),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reboot),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    Ready,
    Leased { number: u64, until: u64 },
    Delayed(i64),
    Dying,
    Acked,
    Dead,
    Expired,
}

#[derive(Clone, Copy, Debug)]
struct Msg {
    is: Is,
    attempts: u32,
    /// Whether it was handed out, counted or not: its key is its own until it is done.
    begun: bool,
    key: u8,
    due: i64,
    expires: i64,
}

#[derive(Default, Clone)]
struct Model {
    options: Options,
    parts: [Vec<Msg>; 2],
    /// acked, dead, expired
    ended: [u64; 3],
    rotor: usize,
}

impl Model {
    fn end(&mut self, part: usize, offset: usize, is: Is) {
        self.parts[part][offset].is = is;
        match is {
            Is::Acked => self.ended[0] += 1,
            Is::Dead => self.ended[1] += 1,
            Is::Expired => self.ended[2] += 1,
            _ => {}
        }
    }

    fn kill(&mut self, part: usize, offset: usize, expired: bool) {
        let is = match (self.options.dead_letter.is_some(), expired) {
            (true, _) => Is::Dying,
            (false, true) => Is::Expired,
            (false, false) => Is::Dead,
        };
        self.end(part, offset, is);
    }

    fn back(&mut self, part: usize, offset: usize, now: Now, delay: i64) {
        let m = self.parts[part][offset];
        if m.expires <= now.wall_ms {
            self.kill(part, offset, true);
        } else if self.options.attempts > 0 && m.attempts >= self.options.attempts {
            self.kill(part, offset, false);
        } else {
            self.parts[part][offset].is =
                if delay > 0 { Is::Delayed(now.wall_ms + delay) } else { Is::Ready };
        }
    }

    /// Leases that end by themselves.
    fn lost(&mut self, now: Now) {
        for part in 0..2 {
            for offset in 0..self.parts[part].len() {
                if let Is::Leased { until, .. } = self.parts[part][offset].is
                    && until <= now.mono_ms
                {
                    self.back(part, offset, now, self.options.backoff_ms as i64);
                }
            }
        }
    }

    /// What the wall clock changes.
    fn woken(&mut self, now: Now) {
        for part in 0..2 {
            for offset in 0..self.parts[part].len() {
                let m = self.parts[part][offset];
                if matches!(m.is, Is::Ready | Is::Delayed(_)) && m.expires <= now.wall_ms {
                    self.kill(part, offset, true);
                } else if matches!(m.is, Is::Delayed(due) if due <= now.wall_ms) {
                    self.parts[part][offset].is = Is::Ready;
                }
            }
        }
    }

    /// Whether an earlier delivery of this key is not over.
    fn blocked(&self, part: usize, offset: usize) -> bool {
        let m = self.parts[part][offset];
        self.options.key_order
            && m.key != 0
            && self.parts[part].iter().enumerate().any(|(n, other)| {
                let open = !matches!(other.is, Is::Acked | Is::Dead | Is::Expired);
                n != offset && other.key == m.key && open && other.begun
            })
    }

    fn lease(&mut self, max: usize, now: Now, first: u64) -> Vec<(u32, u64, u32)> {
        let mut out = Vec::new();
        let from = self.rotor;
        for n in 0..2 {
            let part = (from + n) % 2;
            for offset in 0..self.parts[part].len() {
                if out.len() < max && self.parts[part][offset].is == Is::Ready && !self.blocked(part, offset)
                {
                    let number = first + out.len() as u64;
                    let m = &mut self.parts[part][offset];
                    m.attempts += 1;
                    m.begun = true;
                    m.is = Is::Leased { number, until: now.mono_ms + self.options.lease_ms };
                    out.push((part as u32, offset as u64, m.attempts));
                    self.rotor = part + 1;
                }
            }
        }
        out
    }

    fn count(&self, f: impl Fn(&Is) -> bool) -> u64 {
        self.parts.iter().flatten().filter(|m| f(&m.is)).count() as u64
    }
}

struct Run {
    w: World,
    topic: TopicId,
    ids: Vec<GroupId>,
    models: Vec<Model>,
    handles: Vec<(usize, Delivery)>,
    next_lease: u64,
}

impl Run {
    fn new() -> Run {
        let mut w = World::new();
        let topic = w.topic("t", Policy { partitions: 2, ..Policy::default() });
        let options = [
            Options { lease_ms: 1_500, attempts: 3, backoff_ms: 400, ..Options::default() },
            Options { lease_ms: 1_000, attempts: 2, dead_letter: Some("d".into()), ..Options::default() },
            Options {
                lease_ms: 2_000,
                attempts: 4,
                key_order: true,
                dead_letter: Some("d".into()),
                ..Options::default()
            },
        ];
        let ids =
            options.iter().enumerate().map(|(n, o)| w.group("t", &format!("g{n}"), o.clone())).collect();
        let models = options.into_iter().map(|options| Model { options, ..Model::default() }).collect();
        Run { w, topic, ids, models, handles: Vec::new(), next_lease: 1 }
    }

    fn time(&mut self) {
        self.w.tick();
        let now = self.w.now;
        for model in &mut self.models {
            model.lost(now);
            model.woken(now);
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.w.now;
        match step {
            Step::Append { part, messages } => {
                let list: Vec<_> = messages
                    .iter()
                    .map(|(key, due, expires)| {
                        let mut m = message((*key > 0).then(|| ["a", "b", "c"][*key as usize - 1]), "x");
                        m.due_ms = (*due > 0).then(|| now.wall_ms + i64::from(*due));
                        m.expires_ms = (*expires > 0).then(|| now.wall_ms + i64::from(*expires));
                        m
                    })
                    .collect();
                let op = Op::Append { topic: self.topic, partition: part, batch: batch_of(&list) };
                let Ok(Reply::Appended { base, .. }) = self.w.op(op) else { panic!() };
                for model in &mut self.models {
                    assert_eq!(base, model.parts[part as usize].len() as u64);
                    for (key, due, expires) in &messages {
                        let at = now.wall_ms + i64::from(*due);
                        model.parts[part as usize].push(Msg {
                            is: if *due > 0 { Is::Delayed(at) } else { Is::Ready },
                            attempts: 0,
                            begun: false,
                            key: *key,
                            due: at,
                            expires: if *expires > 0 { now.wall_ms + i64::from(*expires) } else { i64::MAX },
                        });
                    }
                }
            }
            Step::Lease { group, max } => {
                let grants = self.w.lease(self.ids[group], max);
                self.models[group].woken(now);
                let expected = self.models[group].lease(max, now, self.next_lease);
                let got: Vec<_> =
                    grants.iter().map(|g| (g.delivery.partition, g.delivery.offset, g.attempt)).collect();
                assert_eq!(got, expected);
                for grant in grants {
                    assert_eq!(grant.delivery.lease, self.next_lease);
                    self.next_lease += 1;
                    self.handles.push((group, grant.delivery));
                }
            }
            Step::Settle { pick, how, delay } => {
                let Some((group, d)) = self.pick(pick) else { return };
                let how = match how {
                    0..=2 => Settle::Ack,
                    3 => Settle::Nack { delay_ms: if delay < 700 { 0 } else { u64::from(delay) } },
                    4 => Settle::Extend { lease_ms: 1_000 + u64::from(delay) },
                    5 => Settle::Unseen,
                    _ => Settle::Dead,
                };
                let answer = self.w.settle(d, how);
                assert_eq!(answer.is_ok(), self.settle(group, d, how), "{answer:?}");
            }
            Step::Twice { pick } => {
                let Some((group, d)) = self.pick(pick) else { return };
                let commit = Commit {
                    dedup: None,
                    ops: vec![
                        Op::Settle { settles: vec![(d, Settle::Ack), (d, Settle::Ack)] },
                        Op::Lease { group: d.group, max: 0, lease_ms: None, consumer: String::new() },
                    ],
                };
                let mut answer = self.w.commit(commit).unwrap();
                let Reply::Settled(list) = answer.replies.swap_remove(0) else { panic!() };
                assert_eq!(list[0].is_ok(), self.settle(group, d, Settle::Ack));
                assert!(list[1].is_err());
                self.models[group].woken(now);
            }
            Step::Refused { part, pick } => {
                let Some((_, d)) = self.pick(pick) else { return };
                let before = self.w.core.hash();
                let list = [message(Some("a"), "x")];
                let commit = Commit {
                    dedup: None,
                    ops: vec![
                        Op::Append { topic: self.topic, partition: part, batch: batch_of(&list) },
                        Op::Settle { settles: vec![(d, Settle::Ack)] },
                        Op::Lease { group: d.group, max: 5, lease_ms: None, consumer: String::new() },
                        Op::Seek { group: d.group, to: vec![(0, 0)], dry_run: false },
                        Op::DeleteGroup { topic: "t".into(), group: "g1".into() },
                        Op::DeleteTopic { name: "t".into() },
                        Op::DeleteTopic { name: "t".into() },
                    ],
                };
                assert_eq!(self.w.commit(commit).unwrap_err().code, "SB0301");
                assert_eq!(self.w.core.hash(), before);
            }
            Step::Seek { group, part, to } => {
                let model = &mut self.models[group];
                let list = &mut model.parts[part as usize];
                let to = (to as usize).min(list.len());
                let open = |m: &Msg| !matches!(m.is, Is::Acked | Is::Dead | Is::Expired);
                let skipped = list[..to].iter().filter(|m| open(m)).count() as u64;
                let again = list[to..].iter().filter(|m| !open(m)).count() as u64;
                for m in &mut list[..to] {
                    m.is = if open(m) { Is::Acked } else { m.is };
                }
                for m in &mut list[to..] {
                    m.is = if m.due > now.wall_ms { Is::Delayed(m.due) } else { Is::Ready };
                    m.attempts = 0;
                    m.begun = false;
                }
                let op = Op::Seek { group: self.ids[group], to: vec![(part, to as u64)], dry_run: false };
                let Ok(Reply::Seek { skipped: s, again: a }) = self.w.op(op) else { panic!() };
                assert_eq!((s, a), (skipped, again));
                // What expired before comes back for a moment.
                self.time();
            }
            Step::Wait(ms) => {
                self.w.pass(u64::from(ms));
                self.time();
            }
            Step::Move { group } => {
                if let Some(dying) = self.w.core.dying(self.ids[group], 1).pop() {
                    let (part, offset) = (dying.position.part.partition, dying.position.offset);
                    let op = Op::DeadLetter { group: self.ids[group], partition: part, offset, target: None };
                    self.w.op(op).unwrap();
                    assert_eq!(self.models[group].parts[part as usize][offset as usize].is, Is::Dying);
                    let is = if dying.reason == "expired" { Is::Expired } else { Is::Dead };
                    self.models[group].end(part as usize, offset as usize, is);
                }
            }
            Step::Checkpoint => self.w.checkpoint(),
            Step::Reboot => {
                self.w.checkpoint();
                self.w.core = sb_core::Core::restore(self.w.store.clone()).unwrap();
                self.w.core.boot(now, &mut self.w.frame);
                self.w.seal();
                for model in &mut self.models {
                    model.rotor = 0;
                    for m in model.parts.iter_mut().flatten() {
                        if let Is::Leased { until, .. } = &mut m.is {
                            *until = now.mono_ms + model.options.lease_ms;
                        }
                    }
                }
                // The model does not know lengths of extended leases: let all of them end.
                self.w.pass(10_000);
                self.time();
            }
        }
        self.compare();
    }

    fn pick(&self, pick: usize) -> Option<(usize, Delivery)> {
        // The newest ones most often, so that some are valid.
        let recent = self.handles.len().min(12);
        (recent > 0).then(|| self.handles[self.handles.len() - 1 - pick % recent])
    }

    fn settle(&mut self, group: usize, d: Delivery, how: Settle) -> bool {
        let now = self.w.now;
        let model = &mut self.models[group];
        let (part, offset) = (d.partition as usize, d.offset as usize);
        let Is::Leased { number, .. } = model.parts[part][offset].is else { return false };
        if number != d.lease {
            return false;
        }
        match how {
            Settle::Ack => model.end(part, offset, Is::Acked),
            Settle::Dead => model.kill(part, offset, false),
            Settle::Nack { delay_ms } => model.back(part, offset, now, delay_ms as i64),
            Settle::Unseen => {
                let m = &mut model.parts[part][offset];
                m.attempts -= 1;
                m.is = Is::Ready;
                if m.expires <= now.wall_ms {
                    model.kill(part, offset, true);
                }
            }
            Settle::Extend { lease_ms } => {
                model.parts[part][offset].is = Is::Leased { number, until: now.mono_ms + lease_ms };
            }
        }
        true
    }

    fn compare(&self) {
        for (id, model) in self.ids.iter().zip(&self.models) {
            let v = self.w.view(*id);
            let got = [v.ready, v.leased, v.delayed, v.acked, v.dead, v.expired];
            let expected = [
                model.count(|is| *is == Is::Ready),
                model.count(|is| matches!(is, Is::Leased { .. })),
                model.count(|is| matches!(is, Is::Delayed(_) | Is::Dying)),
                model.ended[0],
                model.ended[1],
                model.ended[2],
            ];
            assert_eq!(got, expected, "{}", v.name);
            let floors: Vec<u64> = model
                .parts
                .iter()
                .map(|p| {
                    let open = |m: &&Msg| matches!(m.is, Is::Acked | Is::Dead | Is::Expired);
                    p.iter().take_while(open).count() as u64
                })
                .collect();
            assert_eq!(v.parts.iter().map(|p| p.0).collect::<Vec<_>>(), floors, "{}", v.name);
            // No two leases of one key.
            if model.options.key_order {
                for part in &model.parts {
                    let mut held = BTreeMap::new();
                    for m in part.iter().filter(|m| matches!(m.is, Is::Leased { .. }) && m.key != 0) {
                        assert!(held.insert(m.key, ()).is_none());
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_model_agrees(steps in prop::collection::vec(step(), 1..80)) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        // The whole log, from nothing, gives the same.
        let mut again = sb_core::Core::new();
        for frame in &run.w.log {
            again.apply(frame, Now::default()).unwrap();
        }
        prop_assert_eq!(again.hash(), run.w.core.hash());
    }

    #[test]
    fn damaged_frames_do_not_panic(
        steps in prop::collection::vec(step(), 1..40),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..60),
    ) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        for (which, at, byte) in flips {
            let which = which.index(run.w.log.len());
            let mut core = sb_core::Core::new();
            for frame in &run.w.log[..which] {
                core.apply(frame, Now::default()).unwrap();
            }
            let mut frame = run.w.log[which].clone();
            let at = at.index(frame.len());
            frame[at] ^= byte;
            if core.apply(&frame, Now::default()).is_ok() {
                for frame in &run.w.log[which + 1..] {
                    if core.apply(frame, Now::default()).is_err() {
                        break;
                    }
                }
            }
        }
    }
}
