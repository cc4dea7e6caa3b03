//! What names a message, a topic, a group and a job.

/// A topic's number. Never used again after a deletion, so that an old cursor cannot point into a new topic of the same name.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u32);

impl TopicId {
    /// The built-in topic that holds the events of jobs. No name reaches it.
    pub const JOBS: TopicId = TopicId(u32::MAX);
}

/// A group's number. Never used again.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// One partition of one topic.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartId {
    /// The topic.
    pub topic: TopicId,
    /// The partition, from 0.
    pub partition: u32,
}

/// The identity of a message. The shard is there so that many apply loops can share one journal later; it is 0 today.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The apply loop the topic lives in.
    pub shard: u16,
    /// Topic and partition.
    pub part: PartId,
    /// The offset in the partition, from 0.
    pub offset: u64,
}

impl Position {
    /// A position in shard 0.
    pub fn new(topic: TopicId, partition: u32, offset: u64) -> Self {
        Position { shard: 0, part: PartId { topic, partition }, offset }
    }
}

/// A job's id: 48 bits of milliseconds and 80 random bits, so that ids sort by creation. Its text is a ULID (26 characters,
/// Crockford's base 32).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u128);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl JobId {
    /// An id from the time and randomness the caller supplies.
    pub fn new(now_ms: u64, random: u128) -> Self {
        JobId((u128::from(now_ms) & ((1 << 48) - 1)) << 80 | random & ((1 << 80) - 1))
    }

    /// Reads the text; only the canonical upper-case form.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: &[u8; 26] = text.as_bytes().try_into().ok()?;
        let mut value = 0u128;
        for byte in bytes {
            let digit = CROCKFORD.iter().position(|c| c == byte)? as u128;
            value = value.checked_mul(32)?.checked_add(digit)?;
        }
        Some(JobId(value))
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = [0u8; 26];
        for (n, c) in text.iter_mut().enumerate() {
            *c = CROCKFORD[(self.0 >> (5 * (25 - n)) & 31) as usize];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_round_trip() {
        for id in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            assert_eq!(JobId::parse(&JobId(id).to_string()), Some(JobId(id)));
        }
        assert_eq!(JobId::parse("8ZZZZZZZZZZZZZZZZZZZZZZZZZ"), None, "beyond 128 bits");
        assert_eq!(JobId::parse("01je"), None);
        assert!(JobId::new(2, 0) > JobId::new(1, u128::MAX));
    }
}
