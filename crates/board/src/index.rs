//! Which readers does an address concern? Literal patterns are found by hashing, wildcards by a trie that is walked once for each
//! address and remembered, so that the cost of a message does not depend on readers that cannot match.

use foldhash::HashMap;
use sb_core::model::address::Part;
use sb_core::model::{Address, Pattern};
use std::sync::Arc;

/// Names an entry of an index.
pub type Key = u64;

/// Addresses remembered before the memory is emptied.
const CACHE: usize = 200_000;

/// Patterns, and what is to be found by them.
pub struct Index<T> {
    literal: HashMap<Box<str>, Vec<(Key, T)>>,
    root: Node<T>,
    wildcards: usize,
    cache: HashMap<Box<str>, Arc<[T]>>,
    next: Key,
    len: usize,
}

struct Node<T> {
    /// Reached by `#`: any number of segments may pass while staying here.
    loops: bool,
    literal: HashMap<Box<str>, Node<T>>,
    one: Option<Box<Node<T>>>,
    many: Option<Box<Node<T>>>,
    tail: Vec<(Key, T)>,
    here: Vec<(Key, T)>,
}

impl<T> Node<T> {
    fn new(loops: bool) -> Self {
        Node { loops, literal: HashMap::default(), one: None, many: None, tail: Vec::new(), here: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.literal.is_empty()
            && self.one.is_none()
            && self.many.is_none()
            && self.tail.is_empty()
            && self.here.is_empty()
    }
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Index {
            literal: HashMap::default(),
            root: Node::new(false),
            wildcards: 0,
            cache: HashMap::default(),
            next: 0,
            len: 0,
        }
    }
}

impl<T: Clone> Index<T> {
    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry.
    pub fn insert(&mut self, pattern: &Pattern, value: T) -> Key {
        self.next += 1;
        self.len += 1;
        let key = self.next;
        if pattern.literal().is_some() {
            self.cache.remove(pattern.as_str());
            self.literal.entry(pattern.as_str().into()).or_default().push((key, value));
            return key;
        }
        self.wildcards += 1;
        self.cache.clear();
        let mut node = &mut self.root;
        for part in pattern.parts() {
            node = match part {
                Part::Literal(segment) => {
                    node.literal.entry(segment.clone()).or_insert_with(|| Node::new(false))
                }
                Part::One => node.one.get_or_insert_with(|| Box::new(Node::new(false))),
                Part::Many => node.many.get_or_insert_with(|| Box::new(Node::new(true))),
                Part::Tail => {
                    node.tail.push((key, value));
                    return key;
                }
            };
        }
        node.here.push((key, value));
        key
    }

    /// Removes an entry.
    pub fn remove(&mut self, pattern: &Pattern, key: Key) {
        if pattern.literal().is_some() {
            self.cache.remove(pattern.as_str());
            if let Some(list) = self.literal.get_mut(pattern.as_str()) {
                let before = list.len();
                list.retain(|(k, _)| *k != key);
                self.len -= before - list.len();
                if list.is_empty() {
                    self.literal.remove(pattern.as_str());
                }
            }
            return;
        }
        self.cache.clear();
        if remove(&mut self.root, pattern.parts(), key) {
            self.len -= 1;
            self.wildcards -= 1;
        }
    }

    /// The entries whose pattern matches. Each once.
    pub fn matches(&mut self, address: &Address) -> Arc<[T]> {
        if let Some(found) = self.cache.get(address.as_str()) {
            return found.clone();
        }
        let mut found: Vec<(Key, T)> = self.literal.get(address.as_str()).cloned().unwrap_or_default();
        if self.wildcards > 0 {
            walk(&self.root, address, &mut found);
            found.sort_unstable_by_key(|(key, _)| *key);
            found.dedup_by_key(|(key, _)| *key);
        }
        let found: Arc<[T]> = found.into_iter().map(|(_, value)| value).collect();
        if self.cache.len() >= CACHE {
            self.cache.clear();
        }
        self.cache.insert(address.as_str().into(), found.clone());
        found
    }

    /// Every entry.
    pub fn all(&self) -> Vec<T> {
        fn collect<T: Clone>(node: &Node<T>, out: &mut Vec<T>) {
            out.extend(node.tail.iter().chain(&node.here).map(|(_, v)| v.clone()));
            node.literal.values().for_each(|n| collect(n, out));
            node.one.iter().chain(&node.many).for_each(|n| collect(n, out));
        }
        let mut out: Vec<T> = self.literal.values().flatten().map(|(_, v)| v.clone()).collect();
        collect(&self.root, &mut out);
        out
    }
}

fn remove<T>(node: &mut Node<T>, parts: &[Part], key: Key) -> bool {
    fn take<T>(list: &mut Vec<(Key, T)>, key: Key) -> bool {
        let before = list.len();
        list.retain(|(k, _)| *k != key);
        list.len() < before
    }
    match parts.split_first() {
        None => take(&mut node.here, key),
        Some((Part::Tail, _)) => take(&mut node.tail, key),
        Some((Part::Literal(segment), rest)) => {
            let Some(child) = node.literal.get_mut(segment) else { return false };
            let removed = remove(child, rest, key);
            if child.is_empty() {
                node.literal.remove(segment);
            }
            removed
        }
        Some((part, rest)) => {
            let slot = if *part == Part::One { &mut node.one } else { &mut node.many };
            let Some(child) = slot else { return false };
            let removed = remove(child, rest, key);
            if child.is_empty() {
                *slot = None;
            }
            removed
        }
    }
}

/// Follows all ways through the trie at once: at most nodes × segments steps, whatever the patterns.
fn walk<T: Clone>(root: &Node<T>, address: &Address, found: &mut Vec<(Key, T)>) {
    fn enter<'a, T>(node: &'a Node<T>, active: &mut Vec<&'a Node<T>>) {
        if active.iter().any(|n| std::ptr::eq(*n, node)) {
            return;
        }
        active.push(node);
        if let Some(many) = &node.many {
            enter(many, active);
        }
    }
    let mut active = Vec::new();
    enter(root, &mut active);
    for segment in address.segments() {
        let mut next = Vec::new();
        for node in active {
            found.extend(node.tail.iter().cloned());
            if node.loops {
                enter(node, &mut next);
            }
            if let Some(child) = node.literal.get(segment) {
                enter(child, &mut next);
            }
            if let Some(child) = &node.one {
                enter(child, &mut next);
            }
        }
        active = next;
    }
    for node in active {
        found.extend(node.here.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn many_wildcards_cost_little() {
        let mut index = Index::default();
        let text = vec!["#.a"; 16].join(".");
        index.insert(&Pattern::parse(&text).unwrap(), 1);
        let address = Address::parse(&vec!["a"; 32].join(".")).unwrap();
        assert_eq!(&*index.matches(&address), [1]);
    }

    proptest! {
        #[test]
        fn finds_what_each_pattern_matches(
            patterns in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "#", ">"]), 1..5), 0..12),
            addresses in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..5), 1..12),
            removed in prop::collection::vec(any::<bool>(), 12),
        ) {
            let patterns: Vec<Pattern> = patterns.iter().filter_map(|p| Pattern::parse(&p.join(".")).ok()).collect();
            let addresses: Vec<Address> = addresses.iter().map(|a| Address::parse(&a.join(".")).unwrap()).collect();
            let mut index = Index::default();
            let keys: Vec<Key> = patterns.iter().enumerate().map(|(n, p)| index.insert(p, n)).collect();
            for address in &addresses { index.matches(address); }
            for (n, pattern) in patterns.iter().enumerate() {
                if removed[n] { index.remove(pattern, keys[n]); }
            }
            for address in &addresses {
                let mut found = index.matches(address).to_vec();
                found.sort_unstable();
                let wanted: Vec<usize> = (0..patterns.len()).filter(|&n| !removed[n] && patterns[n].matches(address)).collect();
                prop_assert_eq!(found, wanted);
            }
        }
    }
}
