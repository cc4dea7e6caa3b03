//! Names to topics, and addresses to the topic that claims them: what connections look up without asking the commit loop.

use crate::index::{Index, Key};
use crate::part::Part;
use foldhash::HashMap;
use sb_core::model::{Address, Pattern, TopicId};
use sb_core::topics::Policy;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A topic as connections see it.
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: Arc<str>,
    pub(crate) address: Address,
    pub(crate) policy: Policy,
    pub(crate) parts: Vec<Arc<Part>>,
    turn: AtomicU32,
}

impl Topic {
    pub(crate) fn new(
        id: TopicId,
        name: Arc<str>,
        address: Address,
        policy: Policy,
        parts: Vec<Arc<Part>>,
    ) -> Self {
        Topic { id, name, address, policy, parts, turn: AtomicU32::new(0) }
    }

    /// The partition of a message: by its key as Kafka's clients choose, or in turn.
    pub(crate) fn partition(&self, key: Option<&[u8]>) -> u32 {
        let count = self.parts.len() as u32;
        match key {
            _ if count <= 1 => 0,
            Some(key) => (murmur2(key) & 0x7fff_ffff) % count,
            None => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        }
    }
}

/// Kafka's hash of a key, so that every protocol puts a key where a Kafka client would.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ data.len() as u32;
    let chunks = data.chunks_exact(4);
    let rest = chunks.remainder();
    for chunk in chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (n, byte) in rest.iter().enumerate().rev() {
        h ^= u32::from(*byte) << (8 * n);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[derive(Default)]
struct Maps {
    by_name: HashMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
}

/// The entries of each topic in the index of claims.
type Claims = HashMap<TopicId, Vec<(Pattern, Key)>>;

/// All topics.
#[derive(Default)]
pub(crate) struct Directory {
    maps: RwLock<Maps>,
    claims: Mutex<(Index<TopicId>, Claims)>,
}

impl Directory {
    fn maps(&self) -> std::sync::RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Topic>> {
        self.maps().by_name.get(name).cloned()
    }

    pub(crate) fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.maps().by_id.get(&id).cloned()
    }

    /// The topic an address belongs to.
    pub(crate) fn claiming(&self, address: &Address) -> Option<Arc<Topic>> {
        if let Some(topic) = self.by_name(address.as_str()) {
            return Some(topic);
        }
        let id = {
            let mut claims = crate::part::lock(&self.claims);
            if claims.0.is_empty() {
                return None;
            }
            claims.0.matches(address).first().copied()?
        };
        self.by_id(id)
    }

    /// The topics a pattern reads: whole when the name matches, filtered when only claims overlap. At most `limit` and one more.
    pub(crate) fn read_by(&self, pattern: &Pattern, limit: usize) -> Vec<(Arc<Topic>, bool)> {
        if let Some(address) = pattern.literal() {
            if let Some(topic) = self.by_name(address.as_str()) {
                return vec![(topic, true)];
            }
            return self.claiming(&address).map(|t| (t, false)).into_iter().collect();
        }
        let mut found: Vec<_> = self
            .maps()
            .by_id
            .values()
            .filter_map(|topic| {
                if pattern.matches(&topic.address) {
                    Some((topic.clone(), true))
                } else {
                    topic.policy.claims.iter().any(|c| c.overlaps(pattern)).then(|| (topic.clone(), false))
                }
            })
            .take(limit + 1)
            .collect();
        found.sort_unstable_by_key(|(t, _)| t.id);
        found
    }

    /// Adds a topic or replaces what is known of it.
    pub(crate) fn put(&self, topic: Arc<Topic>) {
        let mut claims = crate::part::lock(&self.claims);
        for (pattern, key) in claims.1.remove(&topic.id).unwrap_or_default() {
            claims.0.remove(&pattern, key);
        }
        if !topic.policy.claims.is_empty() {
            let keys =
                topic.policy.claims.iter().map(|p| (p.clone(), claims.0.insert(p, topic.id))).collect();
            claims.1.insert(topic.id, keys);
        }
        drop(claims);
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        maps.by_name.insert(topic.name.clone(), topic.clone());
        maps.by_id.insert(topic.id, topic);
    }

    pub(crate) fn remove(&self, id: TopicId) -> Option<Arc<Topic>> {
        let mut claims = crate::part::lock(&self.claims);
        for (pattern, key) in claims.1.remove(&id).unwrap_or_default() {
            claims.0.remove(&pattern, key);
        }
        drop(claims);
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        let topic = maps.by_id.remove(&id)?;
        // A topic of the same name may have been created since.
        if maps.by_name.get(&topic.name).is_some_and(|t| t.id == id) {
            maps.by_name.remove(&topic.name);
        }
        Some(topic)
    }

    /// Names that look like this one, for error messages.
    pub(crate) fn near(&self, name: &str) -> Vec<String> {
        let mut scored: Vec<(usize, String)> = self
            .maps()
            .by_name
            .keys()
            .take(10_000)
            .filter_map(|candidate| {
                let distance = edit_distance(name, candidate);
                (distance <= 2 + name.len() / 6).then(|| (distance, candidate.to_string()))
            })
            .collect();
        scored.sort();
        scored.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > 8 || a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = cost.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafka_puts_them() {
        // Values of the Java client's own test of Utils.murmur2.
        for (key, hash) in
            [("21", -973_932_308i32), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)]
        {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn near_names() {
        assert_eq!(edit_distance("orders.created", "orders.craeted"), 2);
        assert_eq!(edit_distance("a", "a"), 0);
    }
}
