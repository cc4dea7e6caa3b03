//! A core with its log beside it: every frame is kept, and can be replayed at any moment.
#![allow(dead_code, missing_docs, reason = "each test file uses a part of it")]

use sb_core::Core;
use sb_core::batch;
use sb_core::groups::{GroupView, Options};
use sb_core::jobs::{JobView, MethodPolicy, What, encode_event};
use sb_core::model::{Address, GroupId, JobId, Message, Result, TopicId};
use sb_core::ops::*;
use sb_core::topics::Policy;
use std::collections::BTreeMap;

pub const T0: i64 = 1_700_000_000_000;

pub struct World {
    pub core: Core,
    pub now: Now,
    pub frame: Frame,
    pub log: Vec<Vec<u8>>,
    pub replica: Core,
    pub store: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub fn message(key: Option<&str>, body: &str) -> Message {
    let mut m = Message::new(Address::parse("t").unwrap(), body.as_bytes().to_vec());
    m.key = key.map(|k| k.as_bytes().to_vec().into());
    m
}

pub fn batch_of(messages: &[Message]) -> Batch {
    let times = |f: fn(&Message) -> Option<i64>| -> Vec<(u32, i64)> {
        messages.iter().enumerate().filter_map(|(n, m)| Some((n as u32, f(m)?))).collect()
    };
    Batch { bytes: batch::encode("t", messages), due: times(|m| m.due_ms), expires: times(|m| m.expires_ms) }
}

pub fn event(job: JobId, what: &What) -> Batch {
    Batch { bytes: encode_event(job, 1, T0, what), due: vec![], expires: vec![] }
}

impl World {
    pub fn new() -> World {
        let mut w = World {
            core: Core::new(),
            now: Now { wall_ms: T0, mono_ms: 1_000 },
            frame: Frame::default(),
            log: Vec::new(),
            replica: Core::new(),
            store: BTreeMap::new(),
        };
        w.core.boot(w.now, &mut w.frame);
        w.seal();
        w
    }

    /// Ends the frame: the replica follows and has to agree.
    pub fn seal(&mut self) -> Effects {
        let frame = std::mem::take(&mut self.frame);
        if !frame.bytes.is_empty() {
            self.replica.apply(&frame.bytes, self.now).unwrap();
            self.log.push(frame.bytes);
        }
        self.core.check().unwrap();
        assert_eq!(self.core.hash(), self.replica.hash(), "the replica differs");
        frame.effects
    }

    pub fn checkpoint(&mut self) {
        let checkpoint = self.core.checkpoint();
        let deletes: Vec<_> = checkpoint.deletes().collect();
        for (key, value) in checkpoint.puts() {
            assert!(!deletes.contains(&key));
            self.store.insert(key, value);
        }
        for key in deletes {
            self.store.remove(&key);
        }
        let back = Core::restore(self.store.clone()).unwrap();
        assert_eq!(back.hash(), self.core.hash(), "what was restored differs");
        self.replica = back;
    }

    pub fn pass(&mut self, ms: u64) {
        self.now.wall_ms += ms as i64;
        self.now.mono_ms += ms;
    }

    pub fn tick(&mut self) {
        while self.core.tick(self.now, 7, &mut self.frame) {}
        self.seal();
    }

    pub fn wait(&mut self, ms: u64) {
        self.pass(ms);
        self.tick();
    }

    pub fn commit(&mut self, commit: Commit) -> Result<Answer> {
        let answer = self.core.commit(self.now, commit, &mut self.frame);
        self.seal();
        answer
    }

    pub fn op(&mut self, op: Op) -> Result<Reply> {
        Ok(self.commit(op.into())?.replies.pop().unwrap())
    }

    pub fn topic(&mut self, name: &str, policy: Policy) -> TopicId {
        match self.op(Op::DeclareTopic { name: name.into(), policy, condition: Condition::Any }) {
            Ok(Reply::Topic { view, .. }) => view.id,
            other => panic!("{other:?}"),
        }
    }

    pub fn declare(
        &mut self,
        topic: &str,
        group: &str,
        options: Options,
        start: GroupStart,
    ) -> Result<GroupId> {
        let op = Op::DeclareGroup {
            topic: topic.into(),
            group: group.into(),
            options,
            start,
            condition: Condition::Any,
            keys: vec![],
        };
        match self.op(op)? {
            Reply::Group { view, .. } => Ok(view.id),
            other => panic!("{other:?}"),
        }
    }

    pub fn group(&mut self, topic: &str, group: &str, options: Options) -> GroupId {
        self.declare(topic, group, options, GroupStart::Start).unwrap()
    }

    pub fn append(&mut self, topic: TopicId, messages: &[Message]) -> u64 {
        match self.op(Op::Append { topic, partition: 0, batch: batch_of(messages) }) {
            Ok(Reply::Appended { base, .. }) => base,
            other => panic!("{other:?}"),
        }
    }

    pub fn append_n(&mut self, topic: TopicId, n: usize) {
        let messages: Vec<Message> = (0..n).map(|n| message(None, &n.to_string())).collect();
        self.append(topic, &messages);
    }

    pub fn lease(&mut self, group: GroupId, max: usize) -> Vec<Grant> {
        match self.op(Op::Lease { group, max, lease_ms: None, consumer: "c".into() }) {
            Ok(Reply::Leased(grants)) => grants,
            other => panic!("{other:?}"),
        }
    }

    pub fn offsets(&mut self, group: GroupId, max: usize) -> Vec<u64> {
        self.lease(group, max).iter().map(|g| g.delivery.offset).collect()
    }

    pub fn settle(&mut self, delivery: Delivery, how: Settle) -> Result<u64> {
        match self.op(Op::Settle { settles: vec![(delivery, how)] })? {
            Reply::Settled(mut list) => list.pop().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub fn view(&self, group: GroupId) -> GroupView {
        self.core.group_by_id(group).unwrap()
    }

    /// ready, leased, delayed, acked, dead, expired
    pub fn depth(&self, group: GroupId) -> [u64; 6] {
        let v = self.view(group);
        [v.ready, v.leased, v.delayed, v.acked, v.dead, v.expired]
    }

    pub fn method(&mut self, change: impl FnOnce(&mut MethodPolicy)) {
        let mut policy = MethodPolicy::new("a.B/C");
        change(&mut policy);
        self.op(Op::DeclareMethod { name: "a.B/C".into(), policy }).unwrap();
    }

    pub fn submit(&mut self, n: u128, key: Option<&str>) -> Result<JobView> {
        let op = Op::Submit {
            id: JobId(n),
            method: "a.B/C".into(),
            partition: 0,
            batch: batch_of(&[message(key, "in")]),
            timeout_ms: None,
            principal: "me".into(),
            rerun_of: None,
            callback: None,
        };
        match self.op(op)? {
            Reply::Job(view) => Ok(*view),
            other => panic!("{other:?}"),
        }
    }

    pub fn workers(&self) -> GroupId {
        self.core.group("a.B.C", "workers").unwrap().id
    }

    pub fn job(&self, n: u128) -> JobView {
        self.core.job(JobId(n)).unwrap()
    }
}
