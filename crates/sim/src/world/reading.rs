//! What readers of the simulated server see: from memory or from the store, held against what was promised.

use super::*;

impl World {
    /// The batches from an offset on, as a reader gets them: those that are not stored yet from memory, others from the store.
    pub(super) fn batches(&mut self, part: PartId, from: u64) -> std::result::Result<Vec<Bytes>, ReadError> {
        if let Some((base, b)) = self.tails.get(&part).and_then(|t| t.range(..=from).next_back())
            && base + u64::from(b.count) > from
        {
            return Ok(vec![b.bytes.clone()]);
        }
        match &self.life {
            Some(life) => life.store.read(log_part(part), from, 32 << 10),
            None => Ok(Vec::new()),
        }
    }

    /// Reads a range; `false` if something was damaged.
    pub fn read(&mut self, topic: &str, part: PartId, from: u64, end: u64, out: &mut Vec<Record>) -> bool {
        let Ok(address) = Address::parse(topic) else { return false };
        let mut next = from;
        while next < end {
            let batches = match self.batches(part, next) {
                Ok(batches) => batches,
                Err(ReadError::Io(_)) if self.disk_is_bad() => return false,
                Err(error) => {
                    self.h.violation(
                        "I1",
                        format!("{topic}/{}/{next} cannot be read: {error}", part.partition),
                    );
                    return false;
                }
            };
            let before = next;
            for bytes in batches {
                let records = match batch::records(&address, &bytes) {
                    Ok(records) => records.collect::<std::result::Result<Vec<_>, _>>(),
                    Err(error) => Err(error),
                };
                let records = match records {
                    Ok(records) => records,
                    Err(error) => {
                        self.h.violation("I2", format!("{topic}/{}/{next}: {error}", part.partition));
                        return false;
                    }
                };
                for record in records {
                    if record.offset < next || record.offset >= end {
                        continue;
                    }
                    if record.offset != next {
                        let detail =
                            format!("{topic}/{}: offset {} follows {next}", part.partition, record.offset);
                        self.h.violation("I3", detail);
                        return false;
                    }
                    next += 1;
                    self.stats.read += 1;
                    self.h.observe(topic, part, &record);
                    out.push(record);
                }
            }
            if next == before {
                self.h.violation(
                    "I1",
                    format!("{topic}/{}/{next} is not there; the end is {end}", part.partition),
                );
                return false;
            }
        }
        true
    }

    pub(super) fn observe_batch(&mut self, b: &Appended) {
        let Some(topic) = self.life.as_ref().and_then(|l| l.engine.core.topic_by_id(b.part.topic)) else {
            return;
        };
        let Ok(address) = Address::parse(&topic.name) else { return };
        let Ok(records) = batch::records(&address, &b.bytes) else { return };
        for record in records.flatten() {
            self.h.observe(&topic.name, b.part, &record);
        }
    }

    pub(super) fn read_somewhere(&mut self) {
        let parts: Vec<(PartId, (u64, u64))> = self.visible.iter().map(|(p, r)| (*p, *r)).collect();
        let Some((part, (start, end))) = self.rng.pick(&parts).copied() else { return };
        let name = self.topic_name(part.topic);
        if start >= end {
            return;
        }
        let from = self.rng.range(start, end - 1);
        let to = (from + self.rng.range(1, 40)).min(end);
        self.read(&name, part, from, to, &mut Vec::new());
    }

    pub(super) fn topic_name(&self, id: TopicId) -> String {
        if id == TopicId::JOBS {
            return sb_core::jobs::JOBS_NAME.into();
        }
        self.life.as_ref().and_then(|l| l.engine.core.topic_by_id(id)).map(|t| t.name).unwrap_or_default()
    }

    /// One message.
    pub fn fetch(&mut self, topic: &str, part: PartId, offset: u64) -> Option<Record> {
        let mut out = Vec::new();
        self.read(topic, part, offset, offset + 1, &mut out);
        out.pop()
    }

    /// Reads everything, and holds it against every promise.
    pub fn audit(&mut self) {
        let mut read = BTreeMap::new();
        let mut events = BTreeMap::new();
        for (part, (start, end)) in self.visible.clone() {
            let name = self.topic_name(part.topic);
            let mut out = Vec::new();
            if !self.read(&name, part, start, end, &mut out) {
                return;
            }
            if part.topic == TopicId::JOBS {
                events = out.into_iter().map(|r| (r.offset, r)).collect();
            } else {
                read.insert(part, (start, end));
            }
        }
        let Some(life) = &self.life else { return };
        self.h.audit(&life.engine.core, &read);
        self.h.check_jobs(&life.engine.core, &events);
    }

    // ---- the end ----
}
