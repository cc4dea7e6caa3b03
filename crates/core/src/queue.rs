//! One partition as one group sees it: which messages are done with, leased, waiting, dying, parked behind their key.
//!
//! `floor` ≤ `next` ≤ the partition's end. Below `floor` everything is done. From `next` on nothing was handed out; what is special
//! there all the same (delayed, dying, done with) is counted in `ahead`, and `next` itself is never special. Between them every offset
//! is in exactly one place: done, leased, ready, delayed, dying or parked. So every number is a sum of sizes, never a tally that
//! could drift.

use crate::wire::{Bad, Decode, Wire, wire};
use foldhash::fast::FixedState;
use sb_wirekit::{Reader, put_varint};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Offsets in a block of the done set.
pub(crate) const BLOCK: u64 = 65_536;
const WORDS: usize = (BLOCK / 64) as usize;

/// How a message ended for a group.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Acked,
    Dead,
    Expired,
}

/// Why a message is dying.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Attempts,
    Rejected,
    Expired,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::Attempts => "attempts",
            Reason::Rejected => "rejected",
            Reason::Expired => "expired",
        }
    }

    /// How the message counts when it has ended.
    pub fn how(self) -> How {
        match self {
            Reason::Expired => How::Expired,
            _ => How::Dead,
        }
    }
}

/// A message that somebody has.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub number: u64,
    pub attempt: u32,
    pub lease_ms: u64,
    pub consumer: Arc<str>,
    /// On the core's monotonic clock; not durable.
    pub deadline: u64,
}

impl Wire for Lease {
    fn put(&self, out: &mut Vec<u8>) {
        (self.number, self.attempt, self.lease_ms).put(out);
        self.consumer.put(out);
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        let (number, attempt, lease_ms) = Wire::get(r)?;
        Ok(Lease { number, attempt, lease_ms, consumer: Wire::get(r)?, deadline: u64::MAX })
    }
}

/// A message that waits for its time.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delayed {
    pub due: i64,
    pub attempts: u32,
}
wire!(Delayed { due, attempts });

/// A message that waits for its move to the dead-letter topic.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dying {
    pub attempts: u32,
    pub reason: Reason,
}
wire!(Dying { attempts, reason });

/// What is kept for a key of a key-ordered group.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyState {
    /// The message of this key that is outstanding.
    pub holder: Option<u64>,
    /// Those that wait for it, in order.
    pub parked: BTreeSet<u64>,
}
wire!(KeyState { holder, parked });

/// The hashes of a partition's message keys, in blocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyLog {
    /// By offset / [`KEY_BLOCK`]; offsets outside are 0.
    pub blocks: BTreeMap<u64, Arc<Vec<u64>>>,
    /// The first offset known.
    pub base: u64,
}

/// Offsets in a block of a [`KeyLog`].
pub(crate) const KEY_BLOCK: u64 = 4096;

impl KeyLog {
    /// The hash of the key at `offset`, 0 for none.
    pub fn get(&self, offset: u64) -> u64 {
        self.blocks
            .get(&(offset / KEY_BLOCK))
            .and_then(|b| b.get((offset % KEY_BLOCK) as usize))
            .copied()
            .unwrap_or(0)
    }

    /// Enters a hash; offsets come in ascending order.
    pub fn set(&mut self, offset: u64, hash: u64) {
        let block = self.blocks.entry(offset / KEY_BLOCK).or_default();
        let block = Arc::make_mut(block);
        let at = (offset % KEY_BLOCK) as usize;
        if block.len() <= at {
            block.resize(at + 1, 0);
        }
        block[at] = hash;
    }
}

/// Up to [`BLOCK`] offsets of which some are done.
#[derive(Clone, Debug)]
pub(crate) enum Block {
    Full,
    Bits { words: Box<[u64]>, count: u32 },
}

impl Default for Block {
    fn default() -> Self {
        Block::Bits { words: vec![0; WORDS].into_boxed_slice(), count: 0 }
    }
}

impl Block {
    fn has(&self, at: u64) -> bool {
        match self {
            Block::Full => true,
            Block::Bits { words, .. } => words[(at / 64) as usize] >> (at % 64) & 1 == 1,
        }
    }

    fn set(&mut self, at: u64) {
        if let Block::Bits { words, count } = self {
            let bit = 1 << (at % 64);
            let word = &mut words[(at / 64) as usize];
            if *word & bit == 0 {
                *word |= bit;
                *count += 1;
            }
            if u64::from(*count) == BLOCK {
                *self = Block::Full;
            }
        }
    }

    /// How many of `from..to` are set.
    fn count(&self, from: u64, to: u64) -> u64 {
        match self {
            Block::Full => to - from,
            Block::Bits { words, .. } => (from / 64..to.div_ceil(64))
                .map(|w| {
                    let mut word = words[w as usize];
                    if w == from / 64 {
                        word &= u64::MAX << (from % 64);
                    }
                    if w == to / 64 && !to.is_multiple_of(64) {
                        word &= (1 << (to % 64)) - 1;
                    }
                    u64::from(word.count_ones())
                })
                .sum(),
        }
    }

    /// The first offset at or behind `from` that is not set, or the block's end.
    fn first_clear(&self, from: u64) -> u64 {
        match self {
            Block::Full => BLOCK,
            Block::Bits { words, .. } => {
                let mut w = (from / 64) as usize;
                let mut word = words[w] | !(u64::MAX << (from % 64));
                while word == u64::MAX {
                    w += 1;
                    match words.get(w) {
                        Some(next) => word = *next,
                        None => return BLOCK,
                    }
                }
                w as u64 * 64 + u64::from(word.trailing_ones())
            }
        }
    }
}

/// Runs of clear and set bits in turn, beginning with clear ones.
impl Wire for Block {
    fn put(&self, out: &mut Vec<u8>) {
        let mut runs: Vec<u64> = Vec::new();
        match self {
            Block::Full => runs.extend([0, BLOCK]),
            Block::Bits { words, .. } => {
                let (mut last, mut run) = (false, 0);
                for word in words.iter() {
                    let mut left = 64;
                    let mut word = *word;
                    while left > 0 {
                        let same = if last { word.trailing_ones() } else { word.trailing_zeros() }.min(left);
                        run += u64::from(same);
                        left -= same;
                        word = if same == 64 { 0 } else { word >> same };
                        if left > 0 {
                            runs.push(run);
                            run = 0;
                            last = !last;
                        }
                    }
                }
                runs.push(run);
            }
        }
        put_varint(out, runs.len() as u64);
        runs.iter().for_each(|run| put_varint(out, *run));
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        let runs: Vec<u64> = Wire::get(r)?;
        let mut block = Block::default();
        let (mut at, mut set) = (0u64, false);
        for run in runs {
            let end = at.checked_add(run).filter(|end| *end <= BLOCK).ok_or(Bad("runs of a block"))?;
            if set {
                (at..end).for_each(|n| block.set(n));
            }
            at = end;
            set = !set;
        }
        Ok(block)
    }
}

/// The done offsets above the floor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub blocks: BTreeMap<u64, Arc<Block>>,
    /// Blocks that changed since the last checkpoint (perhaps several times).
    pub dirty: Vec<u64>,
}

impl Done {
    fn has(&self, offset: u64) -> bool {
        self.blocks.get(&(offset / BLOCK)).is_some_and(|b| b.has(offset % BLOCK))
    }

    fn touch(&mut self, block: u64) {
        if self.dirty.last() != Some(&block) {
            self.dirty.push(block);
            if self.dirty.len() > 1024 {
                self.dirty.sort_unstable();
                self.dirty.dedup();
            }
        }
    }

    fn set(&mut self, offset: u64) {
        let block = offset / BLOCK;
        Arc::make_mut(self.blocks.entry(block).or_default()).set(offset % BLOCK);
        self.touch(block);
    }

    /// How many of `from..to` are done.
    pub fn count(&self, from: u64, to: u64) -> u64 {
        if from >= to {
            return 0;
        }
        self.blocks
            .range(from / BLOCK..=(to - 1) / BLOCK)
            .map(|(n, block)| {
                let base = n * BLOCK;
                block.count(from.max(base) - base, (to - base).min(BLOCK))
            })
            .sum()
    }

    /// The first offset in `from..to` that is not done, or `to`.
    fn first_clear(&self, from: u64, to: u64) -> u64 {
        let mut at = from;
        while at < to {
            let Some(block) = self.blocks.get(&(at / BLOCK)) else { return at };
            let base = at / BLOCK * BLOCK;
            at = base + block.first_clear(at - base);
            if at < base + BLOCK {
                break;
            }
        }
        at.min(to)
    }

    /// Forgets whole blocks below `floor`.
    fn drop_below(&mut self, floor: u64) {
        while let Some((&block, _)) = self.blocks.first_key_value() {
            if (block + 1) * BLOCK > floor {
                break;
            }
            self.blocks.pop_first();
            self.touch(block);
        }
    }

    fn clear(&mut self) {
        while let Some((block, _)) = self.blocks.pop_first() {
            self.touch(block);
        }
    }
}

type Leases = HashMap<u64, Lease, FixedState>;
type Keys = BTreeMap<u64, KeyState>;

/// The part that a checkpoint copies as one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub floor: u64,
    pub next: u64,
    pub leases: Leases,
    /// Handed out before and due again, or due after a delay: with the attempts so far.
    pub ready: BTreeMap<u64, u32>,
    pub delayed: BTreeMap<u64, Delayed>,
    pub dying: BTreeMap<u64, Dying>,
    pub keys: Keys,
    /// How many are parked in `keys`.
    pub parked: u64,
    /// How many at or behind `next` are delayed, dying or done.
    pub ahead: u64,
    pub acked: u64,
    pub dead: u64,
    pub expired: u64,
    /// What the partition's end has to be lessened by so that the conservation law holds.
    pub origin: i64,
}

impl Wire for Queue {
    fn put(&self, out: &mut Vec<u8>) {
        (self.floor, self.next, self.ahead).put(out);
        let mut leases: Vec<_> = self.leases.iter().collect();
        leases.sort_unstable_by_key(|(offset, _)| **offset);
        put_varint(out, leases.len() as u64);
        for (offset, lease) in leases {
            offset.put(out);
            lease.put(out);
        }
        self.ready.put(out);
        self.delayed.put(out);
        self.dying.put(out);
        self.keys.put(out);
        (self.acked, self.dead, self.expired).put(out);
        self.origin.put(out);
    }
    fn get(r: &mut Reader<'_>) -> Decode<Self> {
        let (floor, next, ahead) = Wire::get(r)?;
        let leases: BTreeMap<u64, Lease> = Wire::get(r)?;
        let ready = Wire::get(r)?;
        let delayed = Wire::get(r)?;
        let dying = Wire::get(r)?;
        let keys: Keys = Wire::get(r)?;
        let (acked, dead, expired) = Wire::get(r)?;
        let parked = keys.values().map(|k| k.parked.len() as u64).sum();
        let origin = Wire::get(r)?;
        if [floor, next, ahead, acked, dead, expired].iter().any(|n| *n > u64::MAX / 64) {
            return Err(Bad("a number that cannot be"));
        }
        let leases = leases.into_iter().collect();
        Ok(Queue {
            floor,
            next,
            leases,
            ready,
            delayed,
            dying,
            keys,
            parked,
            ahead,
            acked,
            dead,
            expired,
            origin,
        })
    }
}

/// What ended when a message was finished.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Its lease's deadline.
    pub deadline: Option<u64>,
    /// Another message of its key became ready.
    pub released: bool,
}

/// A partition of a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupPart {
    pub queue: Arc<Queue>,
    pub done: Done,
    pub dirty: bool,
}

impl GroupPart {
    /// The queue, to change it. Copies it when a checkpoint still holds it.
    pub fn queue(&mut self) -> &mut Queue {
        Arc::make_mut(&mut self.queue)
    }

    /// Ready ones, parked ones included.
    pub fn ready(&self, end: u64) -> u64 {
        let q = &*self.queue;
        q.ready.len() as u64 + q.parked + end.saturating_sub(q.next).saturating_sub(q.ahead)
    }

    /// Not due, or dying.
    pub fn delayed(&self) -> u64 {
        (self.queue.delayed.len() + self.queue.dying.len()) as u64
    }

    /// Everything that is not done with.
    pub fn outstanding(&self, end: u64) -> u64 {
        self.ready(end) + self.queue.leases.len() as u64 + self.delayed()
    }

    /// Whether the group is done with it.
    pub fn is_done(&self, offset: u64) -> bool {
        offset < self.queue.floor || self.done.has(offset)
    }

    /// Whether an offset at or behind `next` is not simply ready.
    pub fn special(&self, offset: u64) -> bool {
        self.queue.delayed.contains_key(&offset)
            || self.queue.dying.contains_key(&offset)
            || self.done.has(offset)
    }

    /// Restores: `next` is not special, `floor` is as high as it can be.
    pub fn normalise(&mut self, end: u64) {
        while self.queue.ahead > 0 && self.queue.next < end && self.special(self.queue.next) {
            let q = self.queue();
            q.next += 1;
            q.ahead -= 1;
        }
        let (floor, next) = (self.queue.floor, self.queue.next);
        if floor < next && !self.done.blocks.is_empty() {
            let to = self.done.first_clear(floor, next);
            if to != floor {
                self.queue().floor = to;
            }
            self.done.drop_below(to);
        }
    }

    /// Sets `origin` so that the conservation law holds with what is outstanding now.
    fn balance(&mut self, end: u64) {
        let outstanding = self.outstanding(end);
        let q = self.queue();
        q.origin = end as i64 - (outstanding + q.acked + q.dead + q.expired) as i64;
    }

    /// Begins anew at `to`: nothing is done from there on. `due` gives the messages that are not due yet.
    pub fn begin(&mut self, to: u64, end: u64, due: impl Iterator<Item = (u64, i64)>) {
        self.done.clear();
        let q = self.queue();
        q.floor = to;
        q.next = to;
        q.leases.clear();
        q.ready.clear();
        q.delayed.clear();
        q.dying.clear();
        q.keys.clear();
        q.parked = 0;
        for (offset, due) in due {
            q.delayed.insert(offset, Delayed { due, attempts: 0 });
        }
        q.ahead = q.delayed.len() as u64;
        self.normalise(end);
        self.balance(end);
    }

    /// A message was appended that is not due yet.
    pub fn delay(&mut self, offset: u64, due: i64, end: u64) {
        let q = self.queue();
        if offset >= q.next {
            q.delayed.insert(offset, Delayed { due, attempts: 0 });
            q.ahead += 1;
            self.normalise(end);
        }
    }

    /// Hands out a message; gives the attempt's number.
    pub fn grant(&mut self, offset: u64, mut lease: Lease, keys: Option<&KeyLog>, end: u64) -> Decode<u32> {
        if offset >= end {
            return Err(Bad("a lease behind the end"));
        }
        if offset >= self.queue.next {
            self.skip_to(offset, keys)?;
            if self.special(offset) {
                return Err(Bad("a lease of a message that is not ready"));
            }
            self.queue().next = offset + 1;
            lease.attempt = 1;
        } else {
            let attempts =
                self.queue().ready.remove(&offset).ok_or(Bad("a lease of a message that is not ready"))?;
            lease.attempt = attempts.saturating_add(1);
        }
        let attempt = lease.attempt;
        let key = keys.map_or(0, |k| k.get(offset));
        let q = self.queue();
        if key != 0 {
            let state = q.keys.entry(key).or_default();
            if state.holder.is_some_and(|h| h != offset) {
                return Err(Bad("a second lease of a key"));
            }
            state.holder = Some(offset);
        }
        q.leases.insert(offset, lease);
        if q.ahead > 0 {
            self.normalise(end);
        }
        Ok(attempt)
    }

    /// Moves `next` to `offset`, parking what lies between.
    fn skip_to(&mut self, offset: u64, keys: Option<&KeyLog>) -> Decode<()> {
        while self.queue.next < offset {
            let at = self.queue.next;
            if self.queue.ahead > 0 && self.special(at) {
                self.queue().ahead -= 1;
            } else {
                self.park_at(at, keys)?;
            }
            self.queue().next += 1;
        }
        Ok(())
    }

    fn park_at(&mut self, offset: u64, keys: Option<&KeyLog>) -> Decode<()> {
        let key = keys.map_or(0, |k| k.get(offset));
        if key == 0 {
            return Err(Bad("a message was passed over"));
        }
        let q = self.queue();
        q.keys.entry(key).or_default().parked.insert(offset);
        q.parked += 1;
        Ok(())
    }

    /// Parks a ready message whose key is outstanding, or everything up to one behind `next`.
    pub fn park(&mut self, offset: u64, keys: Option<&KeyLog>, end: u64) -> Decode<()> {
        if offset >= end {
            return Err(Bad("parking behind the end"));
        }
        if offset >= self.queue.next {
            self.skip_to(offset + 1, keys)?;
            self.normalise(end);
        } else {
            self.queue().ready.remove(&offset).ok_or(Bad("parking what is not ready"))?;
            self.park_at(offset, keys)?;
        }
        Ok(())
    }

    /// Takes a message out of wherever it is. Gives its attempts, its lease's deadline, and whether it was counted in `ahead`.
    fn take_out(&mut self, offset: u64, keys: Option<&KeyLog>, end: u64) -> Decode<(u32, Option<u64>, bool)> {
        if offset >= end || self.is_done(offset) {
            return Err(Bad("the end of a message that is done with"));
        }
        let key = keys.map_or(0, |k| k.get(offset));
        let q = self.queue();
        let behind = offset >= q.next;
        if let Some(lease) = q.leases.remove(&offset) {
            return Ok((lease.attempt, Some(lease.deadline), false));
        }
        if let Some(attempts) = q.ready.remove(&offset) {
            return Ok((attempts, None, false));
        }
        if let Some(delayed) = q.delayed.remove(&offset) {
            return Ok((delayed.attempts, None, behind));
        }
        if let Some(dying) = q.dying.remove(&offset) {
            return Ok((dying.attempts, None, behind));
        }
        if q.keys.get_mut(&key).is_some_and(|state| state.parked.remove(&offset)) {
            q.parked -= 1;
            return Ok((0, None, false));
        }
        if behind { Ok((0, None, false)) } else { Err(Bad("a message that is nowhere")) }
    }

    /// Frees the key that `offset` held; true when another message of it became ready.
    fn release(&mut self, offset: u64, key: u64) -> bool {
        if key == 0 {
            return false;
        }
        let q = self.queue();
        let Some(state) = q.keys.get_mut(&key) else { return false };
        if state.holder.is_some_and(|h| h != offset) {
            return false;
        }
        state.holder = None;
        let first = state.parked.pop_first();
        if state.parked.is_empty() {
            q.keys.remove(&key);
        }
        if let Some(first) = first {
            q.parked -= 1;
            q.ready.insert(first, 0);
        }
        first.is_some()
    }

    /// The group is done with a message.
    pub fn finish(&mut self, offset: u64, how: How, keys: Option<&KeyLog>, end: u64) -> Decode<Ended> {
        let (_, deadline, counted) = self.take_out(offset, keys, end)?;
        let q = self.queue();
        match how {
            How::Acked => q.acked += 1,
            How::Dead => q.dead += 1,
            How::Expired => q.expired += 1,
        }
        if offset == q.floor && offset < q.next {
            q.floor += 1;
        } else {
            if offset >= q.next && !counted {
                q.ahead += 1;
            }
            self.done.set(offset);
        }
        let released = match keys {
            Some(keys) => self.release(offset, keys.get(offset)),
            None => false,
        };
        self.normalise(end);
        Ok(Ended { deadline, released })
    }

    /// A message becomes dying. When it was delivered before, its key stays blocked.
    pub fn die(&mut self, offset: u64, reason: Reason, keys: Option<&KeyLog>, end: u64) -> Decode<Ended> {
        if self.queue.dying.contains_key(&offset) {
            return Err(Bad("dying twice"));
        }
        let (attempts, deadline, counted) = self.take_out(offset, keys, end)?;
        let key = keys.map_or(0, |k| k.get(offset));
        let q = self.queue();
        q.dying.insert(offset, Dying { attempts, reason });
        if offset >= q.next && !counted {
            q.ahead += 1;
        }
        // One that was never delivered leaves its key to the others.
        let released = q.keys.get(&key).is_some_and(|k| k.holder.is_none()) && self.release(offset, key);
        self.normalise(end);
        Ok(Ended { deadline, released })
    }

    /// A lease ended without success. Gives its deadline. An attempt that is not counted leaves the message's key to it all the same: those
    /// behind it still wait.
    pub fn give_back(&mut self, offset: u64, due: Option<i64>, counted: bool) -> Decode<u64> {
        let q = self.queue();
        let lease = q.leases.remove(&offset).ok_or(Bad("the return of what is not leased"))?;
        let attempts = lease.attempt.saturating_sub(u32::from(!counted));
        match due {
            Some(due) => {
                q.delayed.insert(offset, Delayed { due, attempts });
            }
            None => {
                q.ready.insert(offset, attempts);
            }
        }
        Ok(lease.deadline)
    }

    /// A delayed message is due.
    pub fn due(&mut self, offset: u64) -> Decode<()> {
        let q = self.queue();
        let delayed = q.delayed.remove(&offset).ok_or(Bad("due without delay"))?;
        if offset >= q.next {
            q.ahead -= 1;
        } else {
            q.ready.insert(offset, delayed.attempts);
        }
        Ok(())
    }

    /// The partition begins at `start` now. What is lost counts as expired.
    pub fn trim(&mut self, start: u64, keys: Option<&KeyLog>, end: u64) {
        if start <= self.queue.floor {
            return;
        }
        let before = self.outstanding(end);
        let q = self.queue();
        let gone = |map: &mut BTreeMap<u64, u32>| *map = map.split_off(&start);
        gone(&mut q.ready);
        q.delayed = q.delayed.split_off(&start);
        q.dying = q.dying.split_off(&start);
        q.leases.retain(|offset, _| *offset >= start);
        let mut freed = Vec::new();
        let mut parked = 0;
        for (key, state) in &mut q.keys {
            state.parked = state.parked.split_off(&start);
            parked += state.parked.len() as u64;
            // Without a holder, the next one was ready: it may be gone too, and then nobody else would wake those parked behind it.
            if state.holder.is_none_or(|h| h < start) {
                freed.push((*key, state.holder.unwrap_or_default()));
            }
        }
        q.parked = parked;
        q.keys.retain(|_, state| state.holder.is_some() || !state.parked.is_empty());
        q.floor = start;
        q.next = q.next.max(start);
        let next = q.next;
        q.ahead = (q.delayed.range(next..).count() + q.dying.range(next..).count()) as u64;
        let done = self.done.count(next, end);
        self.queue().ahead += done;
        if keys.is_some() {
            freed.into_iter().for_each(|(key, holder)| {
                self.release(holder, key);
            });
        }
        self.normalise(end);
        let lost = before - self.outstanding(end);
        self.queue().expired += lost;
        self.done.drop_below(self.queue.floor);
    }

    /// The cursor moves.
    pub fn move_cursor(&mut self, to: u64, end: u64) {
        let q = self.queue();
        q.acked += to.saturating_sub(q.floor);
        let back = to < q.floor;
        q.floor = to;
        q.next = to;
        if back {
            self.balance(end);
        }
    }

    /// What a seek to `to` would pass over and give again.
    pub fn seek_counts(&self, to: u64, end: u64) -> (u64, u64) {
        let floor = self.queue.floor;
        let skipped = to.saturating_sub(floor) - self.done.count(floor, to);
        let again = floor.saturating_sub(to) + self.done.count(floor.max(to), end);
        (skipped, again)
    }

    /// Checks what must always hold; for tests and for what a checkpoint gave back.
    pub fn check(&self, end: u64, keys: Option<&KeyLog>) -> Result<(), String> {
        let q = &*self.queue;
        let sum = self.outstanding(end) + q.acked + q.dead + q.expired;
        if i128::from(end) - i128::from(q.origin) != i128::from(sum) {
            return Err(format!("conservation: end {end}, origin {}, sum {sum}", q.origin));
        }
        if q.floor > q.next || q.next > end {
            return Err(format!("floor {}, next {}, end {end}", q.floor, q.next));
        }
        let between = |n: u64| n >= q.floor && n < end;
        let below = |n: u64| n >= q.floor && n < q.next;
        let parked: Vec<u64> = q.keys.values().flat_map(|k| k.parked.iter().copied()).collect();
        let placed =
            q.leases.keys().chain(q.ready.keys()).chain(&parked).all(|n| below(*n) && !self.is_done(*n))
                && q.delayed.keys().chain(q.dying.keys()).all(|n| between(*n) && !self.is_done(*n));
        if !placed || parked.len() as u64 != q.parked {
            return Err("a message is in two places or outside".into());
        }
        let ahead = q.delayed.range(q.next..).count() + q.dying.range(q.next..).count();
        if q.ahead != ahead as u64 + self.done.count(q.next, end) {
            return Err("the number of special messages ahead".into());
        }
        if q.next < end && q.ahead > 0 && self.special(q.next) {
            return Err("the next message is special".into());
        }
        let inside = q.leases.len()
            + q.ready.len()
            + parked.len()
            + q.delayed.range(..q.next).count()
            + q.dying.range(..q.next).count();
        if q.next - q.floor != inside as u64 + self.done.count(q.floor, q.next) {
            return Err("a message is nowhere".into());
        }
        if let Some(keys) = keys {
            let mut seen = BTreeSet::new();
            for offset in q.leases.keys() {
                let key = keys.get(*offset);
                if key != 0 && !seen.insert(key) {
                    return Err(format!("two leases of key {key}"));
                }
            }
        }
        Ok(())
    }
}
