//! A small node for tests: frames of operations, a log that holds them, and a model of what must be there.

use sb_log::local::{Local, OpenError, Options, PartId, Put};
use sb_log::vfs::{Sim, Vfs};
use sb_log::{AppendError, Lsn};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

pub const DIR: &str = "/data";

pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Small sizes, so that a short run sees rotation, graduation, rolling and reclaim.
pub fn small() -> Options {
    Options {
        journal_file: 64 << 10,
        journal_max: 1 << 20,
        journal_spares: 3,
        frame_max: 16 << 10,
        tail_reserve: 4 << 10,
        heap_graduate: 4 << 10,
        heap_batches: 16,
        heap_file: 8 << 10,
        segment_bytes: 6 << 10,
        index_interval: 512,
        disk_reserve: 8 << 10,
        cache: 64 << 10,
        open_files: 4,
    }
}

pub fn part(topic: u32, partition: u32) -> PartId {
    PartId { topic, partition }
}

/// A RecordBatch v2 whose records are opaque.
pub fn batch(base: u64, count: u32, time: i64, payload: &[u8]) -> Vec<u8> {
    let mut b = Vec::with_capacity(61 + payload.len());
    b.extend_from_slice(&base.to_be_bytes());
    b.extend_from_slice(&((49 + payload.len()) as i32).to_be_bytes());
    b.extend_from_slice(&0i32.to_be_bytes());
    b.push(2);
    b.extend_from_slice(&[0; 4]);
    b.extend_from_slice(&0i16.to_be_bytes());
    b.extend_from_slice(&(count as i32 - 1).to_be_bytes());
    b.extend_from_slice(&time.to_be_bytes());
    b.extend_from_slice(&time.to_be_bytes());
    b.extend_from_slice(&(-1i64).to_be_bytes());
    b.extend_from_slice(&(-1i16).to_be_bytes());
    b.extend_from_slice(&(-1i32).to_be_bytes());
    b.extend_from_slice(&(count as i32).to_be_bytes());
    b.extend_from_slice(payload);
    let crc = sb_core::batch::crc32c(&b[21..]);
    b[17..21].copy_from_slice(&crc.to_be_bytes());
    b
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put(PartId, Vec<u8>),
    Trim(PartId, u64),
    Drop(u32),
    Set(Vec<u8>, Vec<u8>),
}

pub fn encode(ops: &[Op]) -> Vec<u8> {
    let mut out = Vec::new();
    let field = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    for op in ops {
        match op {
            Op::Put(p, b) => {
                out.push(1);
                out.extend_from_slice(&p.topic.to_le_bytes());
                out.extend_from_slice(&p.partition.to_le_bytes());
                field(&mut out, b);
            }
            Op::Trim(p, n) => {
                out.push(2);
                out.extend_from_slice(&p.topic.to_le_bytes());
                out.extend_from_slice(&p.partition.to_le_bytes());
                field(&mut out, &n.to_le_bytes());
            }
            Op::Drop(t) => {
                out.push(3);
                field(&mut out, &t.to_le_bytes());
            }
            Op::Set(k, v) => {
                out.push(4);
                field(&mut out, k);
                field(&mut out, v);
            }
        }
    }
    out
}

pub fn decode(mut b: &[u8]) -> Vec<Op> {
    fn take<'a>(b: &mut &'a [u8], n: usize) -> &'a [u8] {
        let (a, rest) = b.split_at(n);
        *b = rest;
        a
    }
    fn num(b: &mut &[u8]) -> u32 {
        u32::from_le_bytes(take(b, 4).try_into().unwrap())
    }
    fn field(b: &mut &[u8]) -> Vec<u8> {
        let n = num(b) as usize;
        take(b, n).to_vec()
    }
    let mut ops = Vec::new();
    while !b.is_empty() {
        ops.push(match take(&mut b, 1)[0] {
            1 => Op::Put(part(num(&mut b), num(&mut b)), field(&mut b)),
            2 => Op::Trim(
                part(num(&mut b), num(&mut b)),
                u64::from_le_bytes(field(&mut b).try_into().unwrap()),
            ),
            3 => Op::Drop(u32::from_le_bytes(field(&mut b).try_into().unwrap())),
            4 => Op::Set(field(&mut b), field(&mut b)),
            _ => panic!("a frame that nobody wrote"),
        });
    }
    ops
}

/// What must be there after some frames.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Model {
    pub kv: BTreeMap<Vec<u8>, Vec<u8>>,
    pub parts: BTreeMap<PartId, (u64, u64, Vec<Vec<u8>>)>,
    /// Topics that were dropped: their numbers are never used again.
    pub dropped: u32,
}

impl Model {
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(p, b) => {
                let h = sb_core::batch::header(b).unwrap();
                let e = self.parts.entry(*p).or_insert((h.base_offset, h.base_offset, Vec::new()));
                assert_eq!(e.1, h.base_offset);
                e.1 = h.end();
                e.2.push(b.clone());
            }
            Op::Trim(p, n) => {
                if let Some(e) = self.parts.get_mut(p) {
                    e.0 = e.0.max((*n).min(e.1));
                    let start = e.0;
                    e.2.retain(|b| sb_core::batch::header(b).unwrap().end() > start);
                }
            }
            Op::Drop(t) => {
                self.parts.retain(|p, _| p.topic != *t);
                self.dropped += 1;
            }
            Op::Set(k, v) => {
                self.kv.insert(k.clone(), v.clone());
            }
        }
    }
}

/// A node: the log, and what the test knows about it.
pub struct Node {
    pub local: Local,
    pub model: Model,
    pub dirty: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Durable operations that the store had no space for yet.
    pub late: VecDeque<Op>,
}

/// What the test remembers across crashes.
#[derive(Default)]
pub struct Oracle {
    /// Acknowledged frames; LSN 1 is the first.
    pub acked: Vec<Vec<u8>>,
    /// The frame whose append failed, if any: it may be there or not.
    pub maybe: Option<Vec<u8>>,
}

pub fn open(vfs: &Sim, options: &Options) -> Result<Local, OpenError> {
    Local::open(Arc::new(vfs.clone()) as Arc<dyn Vfs>, Path::new(DIR), options.clone())
}

impl Node {
    /// Opens, replays, and verifies everything against what was acknowledged.
    pub fn recover(vfs: &Sim, options: &Options, oracle: &mut Oracle) -> Result<Node, OpenError> {
        let local = open(vfs, options)?;
        let r = &local.recovered;
        let acked = oracle.acked.len() as Lsn;
        assert!(r.applied <= acked, "a checkpoint of frames that were never acknowledged");
        assert!(r.last >= acked, "acknowledged up to {acked}, found only {}", r.last);
        assert!(r.last <= acked + u64::from(oracle.maybe.is_some()), "a frame that nobody wrote");
        if r.last > acked {
            oracle.acked.extend(oracle.maybe.take());
        }
        oracle.maybe = None;
        let mut node = Node { model: Model::default(), dirty: BTreeMap::new(), late: VecDeque::new(), local };
        node.model.kv = node.local.recovered.state.drain(..).collect();
        let from = node.local.recovered.applied + 1;
        let store = node.local.store.clone();
        let (kv, dirty) = (&mut node.model.kv, &mut node.dirty);
        let mut next = from;
        let last = node.local.journal.replay(from, &mut |lsn, frame| {
            assert_eq!(lsn, next);
            next += 1;
            assert_eq!(frame, oracle.acked[lsn as usize - 1], "LSN {lsn} has other bytes");
            for op in decode(frame) {
                put(&store, &op).map_err(|e| e.to_string())?;
                if let Op::Set(k, v) = op {
                    dirty.insert(k.clone(), v.clone());
                    kv.insert(k, v);
                }
            }
            Ok(())
        })?;
        assert_eq!(last, oracle.acked.len() as Lsn);
        let mut expected = Model::default();
        for frame in &oracle.acked {
            decode(frame).iter().for_each(|op| expected.apply(op));
        }
        assert_eq!(node.model.kv, expected.kv);
        node.model = expected;
        node.verify();
        Ok(node)
    }

    /// Every partition holds what the model says.
    pub fn verify(&self) {
        for (p, (start, end, batches)) in &self.model.parts {
            assert_eq!((self.local.store.start(*p), self.local.store.end(*p)), (*start, *end), "{p:?}");
            assert_eq!(&read_all(&self.local, *p), batches, "{p:?}");
        }
        for p in self.local.store.parts() {
            assert!(self.model.parts.contains_key(&p), "{p:?} should be gone");
        }
    }

    /// One operation that fits the state.
    pub fn invent(&self, model: &Model, rng: &mut Rng) -> Op {
        let third = 3 + model.dropped;
        let p = part([1, 2, third][rng.below(3) as usize], rng.below(2) as u32);
        let (start, end) = model.parts.get(&p).map_or((0, 0), |e| (e.0, e.1));
        match rng.below(20) {
            0 => Op::Drop(third),
            1 | 2 => Op::Trim(p, start + rng.below(end - start + 1)),
            3..6 => Op::Set(vec![rng.below(8) as u8], rng.next().to_le_bytes().to_vec()),
            _ => {
                let n = if rng.below(8) == 0 { rng.below(4000) } else { rng.below(400) };
                let payload: Vec<u8> = (0..n).map(|_| rng.next() as u8).collect();
                Op::Put(p, batch(end, 1 + rng.below(5) as u32, rng.below(1000) as i64, &payload))
            }
        }
    }

    /// Commits some operations: appended, then applied. `false`: the journal has no room.
    pub fn commit(&mut self, ops: &[Op], oracle: &mut Oracle) -> Result<bool, String> {
        let frame = encode(ops);
        let expected = oracle.acked.len() as Lsn;
        match self.local.journal.append(expected, &frame) {
            Ok(lsn) => assert_eq!(lsn, expected + 1),
            Err(AppendError::Full) => return Ok(false),
            Err(AppendError::Failed(e)) => {
                oracle.maybe = Some(frame);
                return Err(e.to_string());
            }
            Err(e) => panic!("{e}"),
        }
        oracle.acked.push(frame);
        for op in ops {
            self.model.apply(op);
            self.late.push_back(op.clone());
            if let Op::Set(k, v) = op {
                self.dirty.insert(k.clone(), v.clone());
            }
        }
        self.catch_up().map_err(|e| e.to_string())?;
        Ok(true)
    }

    /// Gives the store what it had no space for.
    pub fn catch_up(&mut self) -> std::io::Result<()> {
        while let Some(op) = self.late.front() {
            let run: Vec<&Op> = self.late.iter().take_while(|op| matches!(op, Op::Put(..))).collect();
            let done = run.len().max(1);
            match run.as_slice() {
                [] => put(&self.local.store, op)?,
                run => put_all(&self.local.store, run)?,
            }
            self.late.drain(..done);
        }
        Ok(())
    }

    pub fn checkpoint(&mut self) -> std::io::Result<()> {
        self.catch_up()?;
        let applied = self.local.journal.durable();
        self.local.checkpoints.write(applied, self.dirty.clone().into_iter(), std::iter::empty())?;
        self.dirty.clear();
        self.local.journal.recycle(applied);
        Ok(())
    }

    /// A scripted run: commits, checkpoints, seals.
    pub fn run(&mut self, steps: u64, rng: &mut Rng, oracle: &mut Oracle) -> Result<(), String> {
        for _ in 0..steps {
            let mut model = self.model.clone();
            let mut ops = Vec::new();
            for _ in 0..1 + rng.below(4) {
                let op = self.invent(&model, rng);
                model.apply(&op);
                ops.push(op);
            }
            if !self.commit(&ops, oracle)? {
                self.checkpoint().map_err(|e| e.to_string())?;
                continue;
            }
            match rng.below(12) {
                0 => self.checkpoint().map_err(|e| e.to_string())?,
                1 | 2 => drop(self.local.journal.seal().map_err(|e| e.to_string())?),
                3 => drop(self.local.journal.spares().fill().map_err(|e| e.to_string())?),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Puts several batches at once.
pub fn put_all(store: &sb_log::local::Store, ops: &[&Op]) -> std::io::Result<()> {
    let puts = ops.iter().filter_map(|op| match op {
        Op::Put(part, bytes) => {
            let h = sb_core::batch::header(bytes).unwrap();
            let (base, last) = (h.base_offset, h.end() - 1);
            Some(Put { part: *part, base, last, max_timestamp_ms: h.max_time_ms, bytes })
        }
        _ => None,
    });
    store.put_all(&mut puts.collect::<Vec<_>>())
}

pub fn put(store: &sb_log::local::Store, op: &Op) -> std::io::Result<()> {
    match op {
        Op::Put(p, b) => {
            let h = sb_core::batch::header(b).unwrap();
            store.put(*p, h.base_offset, h.end() - 1, h.max_time_ms, b)
        }
        Op::Trim(p, n) => {
            store.trim(*p, *n);
            Ok(())
        }
        Op::Drop(t) => {
            store.drop_topic(*t);
            Ok(())
        }
        Op::Set(..) => Ok(()),
    }
}

pub fn read_all(local: &Local, p: PartId) -> Vec<Vec<u8>> {
    let (mut at, end) = (local.store.start(p), local.store.end(p));
    let mut out = Vec::new();
    while at < end {
        let some = local.store.read(p, at, 1500).unwrap();
        assert!(!some.is_empty());
        for b in some {
            at = sb_core::batch::header(&b).unwrap().end();
            out.push(b.to_vec());
        }
    }
    out
}

/// How a damaged disk was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Fine,
    Refused,
    Damaged,
}

/// Opens a disk that something was done to: whatever it says must be true.
pub fn judge(sim: &Sim, oracle: &Oracle, may_lose: u64) -> Outcome {
    use sb_log::ReadError;
    let local = match open(sim, &small()) {
        Ok(local) => local,
        Err(OpenError::Corrupt { from, to, .. }) => {
            assert!(from <= to);
            return Outcome::Refused;
        }
        Err(OpenError::Newer { .. }) => return Outcome::Refused,
        Err(e) => panic!("{e}"),
    };
    let r = &local.recovered;
    let acked = oracle.acked.len() as u64;
    assert!(r.last <= acked && r.last + may_lose >= acked, "silently lost LSN {} to {acked}", r.last + 1);
    let mut kv: BTreeMap<Vec<u8>, Vec<u8>> = r.state.iter().cloned().collect();
    let mut damaged = false;
    let replayed = local.journal.replay(r.applied + 1, &mut |lsn, frame| {
        assert_eq!(frame, oracle.acked[lsn as usize - 1]);
        for op in decode(frame) {
            put(&local.store, &op).unwrap();
            if let Op::Set(k, v) = op {
                kv.insert(k, v);
            }
        }
        Ok(())
    });
    if replayed.is_err() {
        return Outcome::Refused;
    }
    let mut expected = Model::default();
    for frame in &oracle.acked[..r.last as usize] {
        decode(frame).iter().for_each(|op| expected.apply(op));
    }
    assert_eq!(kv, expected.kv);
    for (p, (start, end, batches)) in &expected.parts {
        assert_eq!((local.store.start(*p), local.store.end(*p)), (*start, *end));
        let mut got = Vec::new();
        let mut at = *start;
        while at < *end {
            match local.store.read(*p, at, 1500) {
                Ok(some) => {
                    for b in some {
                        at = sb_core::batch::header(&b).unwrap().end();
                        got.push(b.to_vec());
                    }
                }
                Err(ReadError::Corrupt { .. }) => {
                    damaged = true;
                    break;
                }
                Err(e) => panic!("{e}"),
            }
        }
        // The leader epoch is outside every checksum, so in the last segment of a
        // partition nothing but the journal covers it: it may differ, and nothing else may.
        for (g, b) in got.iter().zip(batches) {
            assert!(g[..12] == b[..12] && g[16..] == b[16..], "wrong bytes of {p:?}");
        }
        assert!(damaged || got.len() == batches.len());
    }
    if damaged { Outcome::Damaged } else { Outcome::Fine }
}

/// A node that ran for a while, and its disk.
pub fn lived(seed: u64, steps: u64) -> (Sim, Node, Oracle) {
    let sim = Sim::new(seed);
    let mut oracle = Oracle::default();
    let mut node = Node::recover(&sim, &small(), &mut oracle).unwrap();
    node.run(steps, &mut Rng(seed), &mut oracle).unwrap();
    (sim, node, oracle)
}
