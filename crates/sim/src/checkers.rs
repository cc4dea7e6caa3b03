//! The proofs: what a reader gets is held against what was published and promised, and the server's numbers against our own count.

use crate::history::{Fate, History, digest, in_memory, number};
use sb_core::Core;
use sb_core::batch::Record;
use sb_core::jobs::{State, What, decode_event};
use sb_core::model::{PartId, TopicId, Value};
use std::collections::{BTreeMap, BTreeSet};

impl History {
    /// A reader was given this.
    pub fn observe(&mut self, topic: &str, part: PartId, record: &Record) {
        let at = record.offset;
        let name = format!("{topic}/{}/{at}", part.partition);
        let print = digest(&record.message);
        if let Some(old) = self.log.get(&part).and_then(|l| l.get(&at)) {
            if *old != print {
                self.violation("I2", format!("{name}: other bytes than before"));
            }
            return;
        }
        self.log.entry(part).or_default().insert(at, print);
        if part.topic == TopicId::JOBS {
            return;
        }
        let Some(id) = number(&record.message) else {
            return self.violation("I2", format!("{name}: a message that nobody published"));
        };
        let Some(p) = self.pubs.get(&id) else {
            return self.violation("I2", format!("{name}: message {id}, which nobody published"));
        };
        if let Some(Value::Text(source)) = record.message.header("sb-dead-topic").cloned() {
            let same = p.message.body == record.message.body && p.message.key == record.message.key;
            return self.observe_copy(&name, source, id, part, record, same);
        }
        let (expected, fate, meant) = (digest(&p.message), p.fate, p.part);
        if meant != part {
            self.violation("I1", format!("{name}: message {id} was published to {meant:?}"));
        }
        if expected != print {
            self.violation("I2", format!("{name}: not the bytes of message {id}"));
        }
        match fate {
            Fate::Refused => self.violation("I10", format!("{name}: message {id} was refused")),
            Fate::Acked(offset) if offset != at => {
                self.violation("I1", format!("{name}: message {id} was acknowledged at {offset}"));
            }
            _ => {}
        }
        if let Some((other, offset)) = self.placed.insert(id, (part, at)) {
            self.violation("I11", format!("{name}: message {id} is at {other:?}/{offset} too"));
        }
        self.places.insert((part, at), id);
    }

    fn observe_copy(
        &mut self,
        name: &str,
        source: String,
        id: u64,
        part: PartId,
        record: &Record,
        same: bool,
    ) {
        let text = |name: &str| match record.message.header(name) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let group = text("sb-dead-group");
        if !same {
            self.violation("I8", format!("{name}: the copy of dead message {id} has other bytes"));
        }
        let moved = self.again.contains(&(source.clone(), group.clone()));
        let count = self.copied.entry((source.clone(), group.clone())).or_default();
        if text("sb-dead-reason") == "expired" {
            count.1 += 1;
        } else {
            count.0 += 1;
        }
        if let Some(old) = self.copies.insert((source.clone(), group.clone(), id), (part, record.offset))
            && !moved
        {
            let detail =
                format!("{name}: dead message {id} of {source}/{group} was copied to {old:?} before");
            self.violation("I8", detail);
        }
    }

    /// Everything that is kept was read: `read` says how far, for each partition.
    pub fn audit(&mut self, core: &Core, read: &BTreeMap<PartId, (u64, u64)>) {
        let mut bad: Vec<(&'static str, String)> = Vec::new();
        for (id, p) in &self.pubs {
            let gone = self.gone.contains(&p.part.topic);
            match p.fate {
                Fate::Acked(at) if !gone => match read.get(&p.part) {
                    None => {
                        bad.push(("I1", format!("the partition {:?} of message {id} is missing", p.part)))
                    }
                    Some((start, end)) => {
                        if at >= *end {
                            let detail = format!(
                                "message {id} was acknowledged at {:?}/{at}; the end is {end}",
                                p.part
                            );
                            bad.push(("I1", detail));
                        } else if at >= *start && self.placed.get(id) != Some(&(p.part, at)) {
                            let detail = format!(
                                "message {id} was acknowledged at {:?}/{at} and is not there",
                                p.part
                            );
                            bad.push(("I1", detail));
                        } else if at < *start && !self.retains.contains(&p.part.topic) {
                            let detail = format!(
                                "message {id} at {:?}/{at} was removed from a topic that keeps all",
                                p.part
                            );
                            bad.push(("I1", detail));
                        }
                    }
                },
                _ => {}
            }
        }
        for (part, (_, end)) in read {
            // What a reader saw once is there for ever, or was removed from the front.
            if let Some((last, _)) = self.log.get(part).and_then(|l| l.last_key_value())
                && last >= end
            {
                bad.push(("I9", format!("{part:?}/{last} was visible; the end is {end} now")));
            }
        }
        self.check_atomic(&mut bad);
        self.check_producers(&mut bad);
        for (invariant, detail) in bad.into_iter().take(5) {
            self.violation(invariant, detail);
        }
        self.conservation(core, u64::MAX);
        self.copies_agree(core);
    }

    /// I10: all messages of a commit or none.
    fn check_atomic(&self, bad: &mut Vec<(&'static str, String)>) {
        let mut commits: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (id, p) in &self.pubs {
            let told = !self.gone.contains(&p.part.topic)
                && !self.retains.contains(&p.part.topic)
                && !in_memory(p.part.topic)
                && p.fate != Fate::Waiting;
            if told {
                let count = commits.entry(p.commit).or_default();
                count.0 += 1;
                count.1 += u64::from(self.placed.contains_key(id));
            }
        }
        for (commit, (asked, there)) in commits {
            if there != 0 && there != asked {
                bad.push(("I10", format!("of the {asked} messages of commit {commit}, {there} are there")));
            }
        }
    }

    /// I3: each producer's messages are in the order in which it sent them.
    fn check_producers(&self, bad: &mut Vec<(&'static str, String)>) {
        let mut last: BTreeMap<(PartId, u32), u64> = BTreeMap::new();
        for ((part, offset), id) in &self.places {
            let Some(p) = self.pubs.get(id) else { continue };
            if p.retried {
                continue;
            }
            // Numbers are given in the order of sending.
            if let Some(before) = last.insert((*part, p.producer), *id)
                && before > *id
            {
                bad.push((
                    "I3",
                    format!("{part:?}/{offset}: message {id} of producer {} after {before}", p.producer),
                ));
            }
        }
    }

    /// I8: for each group, what was published is what is ready, leased, delayed, acknowledged, dead or expired.
    pub fn conservation(&mut self, core: &Core, mono: u64) {
        let mut bad = Vec::new();
        for (id, g) in &self.groups {
            let name = format!("{}/{}", g.topic_name, g.name);
            let Some(view) = core.group_by_id(*id) else {
                if !self.gone.contains(&g.topic) {
                    bad.push(("I8", format!("the group {name} is gone")));
                }
                continue;
            };
            if g.options.mode == sb_core::groups::Mode::Cursor {
                let trims = self.retains.contains(&g.topic);
                for (p, allowed) in &g.cursor {
                    let at = view.parts.get(*p as usize).map_or(u64::MAX, |p| p.0);
                    if !allowed.contains(&at) && !trims {
                        bad.push((
                            "I8",
                            format!("{name}: the cursor of partition {p} is {at}, not one of {allowed:?}"),
                        ));
                    }
                }
                continue;
            }
            let ends: u64 = view.parts.iter().map(|p| p.1).sum();
            let total = view.ready + view.leased + view.delayed + view.acked + view.dead + view.expired;
            if let Some(origin) = g.origin
                && ends - origin != total
            {
                bad.push((
                    "I8",
                    format!("{name}: {} published and {total} accounted for: {view:?}", ends - origin),
                ));
            }
            let held =
                g.messages.values().filter(|m| m.held.as_ref().is_some_and(|h| h.sure && mono < h.until));
            let held = held.count() as u64;
            if view.leased < held && !self.retains.contains(&g.topic) && !g.moved && !g.works {
                bad.push(("I8", format!("{name}: {held} leases hold and {} are counted", view.leased)));
            }
            let counted = g.acked..=g.acked + g.acked_maybe;
            if !g.moved && !g.works && g.origin.is_some() && !counted.contains(&view.acked) {
                bad.push(("I8", format!("{name}: {counted:?} acknowledged and {} counted", view.acked)));
            }
            let done = g.messages.iter().filter(|(_, m)| m.done);
            for ((p, offset), _) in done {
                if view.parts.get(*p as usize).is_some_and(|p| p.1 <= *offset) {
                    bad.push(("I8", format!("{name}: {p}/{offset} was acknowledged and does not exist")));
                }
            }
        }
        for (invariant, detail) in bad.into_iter().take(3) {
            self.violation(invariant, detail);
        }
    }

    /// I8, second half: every dead message of a group with a dead-letter topic is there once.
    fn copies_agree(&mut self, core: &Core) {
        let mut bad = Vec::new();
        for (id, g) in &self.groups {
            if g.options.dead_letter.is_none() || g.moved || g.memory || g.origin.is_none() {
                continue;
            }
            let Some(view) = core.group_by_id(*id) else { continue };
            let (dead, expired) =
                self.copied.get(&(g.topic_name.clone(), g.name.clone())).copied().unwrap_or_default();
            if view.dead < dead || view.dead > dead + g.dropped || view.expired < expired {
                bad.push(format!(
                    "{}/{}: {} dead and {} expired, and {dead} and {expired} copies in the dead-letter topic",
                    g.topic_name, g.name, view.dead, view.expired
                ));
            }
        }
        bad.into_iter().for_each(|detail| self.violation("I8", detail));
    }

    /// Jobs: there, ended once, with the result that was acknowledged; `events` are those that were read.
    pub fn check_jobs(&mut self, core: &Core, events: &BTreeMap<u64, Record>) {
        let mut bad = Vec::new();
        let ids: Vec<_> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(view) = core.job(id) else {
                if self.jobs.get(&id).is_some_and(|j| j.acked) {
                    bad.push(format!("{id} was accepted and is gone"));
                }
                continue;
            };
            self.job_state(id, view.state);
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if job.result.is_some() && view.state != State::Succeeded {
                bad.push(format!("{id} has a result and is {}", view.state.name()));
            }
            let list = core.job_events(id, 0, 100_000);
            let numbers: Vec<u64> = list.iter().map(|(_, n)| *n).collect();
            let offsets: Vec<u64> = list.iter().map(|(o, _)| *o).collect();
            if view.events != list.len() as u64
                || numbers.iter().enumerate().any(|(n, seq)| *seq != n as u64 + 1)
            {
                bad.push(format!("{id} has {} events, numbered {numbers:?}", view.events));
            }
            if offsets.windows(2).any(|w| w[0] >= w[1]) || !offsets.starts_with(&job.events) {
                bad.push(format!("{id}: its events were at {:?} and are at {offsets:?}", job.events));
            }
            job.events = offsets.clone();
            let mut ends = BTreeSet::new();
            let (mut results, mut failures) = (Vec::new(), Vec::new());
            for (offset, seq) in &list {
                let Some(event) = events.get(offset).and_then(|r| decode_event(*seq, &r.message)) else {
                    bad.push(format!("{id}: event {seq} at {offset} cannot be read"));
                    continue;
                };
                let key = events.get(offset).and_then(|r| r.message.key.clone()).unwrap_or_default();
                if key[..] != id.0.to_be_bytes() {
                    bad.push(format!("{id}: event {seq} belongs to another job"));
                }
                match event.what {
                    What::State { state, .. }
                        if state.terminal() && (!ends.insert(state) || ends.len() > 1) =>
                    {
                        bad.push(format!("{id}: ended more than once: {ends:?}"));
                    }
                    What::Result { body, .. } => results.push(body),
                    What::Error { status, .. } => failures.push(status),
                    _ => {}
                }
            }
            match &job.result {
                Some(result) if results.len() != 1 || results[0][..] != result[..] => {
                    bad.push(format!(
                        "{id}: the result that was acknowledged is not there: {} events",
                        list.len()
                    ));
                }
                None if results.iter().any(|r| !job.maybe.iter().any(|m| m[..] == r[..])) => {
                    bad.push(format!("{id}: a result that nobody sent"));
                }
                _ => {}
            }
            let kept = |said: &Vec<u8>| failures.iter().filter(|f| f[..] == said[..]).count();
            if job.failures.iter().any(|said| kept(said) != 1) {
                bad.push(format!("{id}: what was said with a failure is not there once"));
            }
            let sent = |f: &[u8]| job.failures.iter().chain(&job.maybe_failures).any(|said| said[..] == *f);
            if failures.iter().any(|f| !sent(f)) {
                bad.push(format!("{id}: a failure that nobody sent"));
            }
            let outcome = core.job_outcome(id);
            if view.state == State::Succeeded && job.result.is_some() && outcome.is_none_or(|o| o.1.is_none())
            {
                bad.push(format!("{id}: succeeded without an outcome: {outcome:?}"));
            }
        }
        bad.into_iter().take(5).for_each(|detail| self.violation("JOB", detail));
    }
}
