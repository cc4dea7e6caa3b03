//! Topics: what a declared log is and promises.

/// The policy of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many partitions; can grow, not shrink.
    pub partitions: u32,
    /// Messages older than this are removed.
    pub keep_age_ms: Option<u64>,
    /// The oldest messages are removed while a partition is larger than this.
    pub keep_bytes: Option<u64>,
    /// Messages are removed once every group is done with them.
    pub keep_until_consumed: bool,
    /// The largest body, in bytes.
    pub max_message: u32,
    /// Same semantics, no journal: gone after a restart.
    pub memory: bool,
    /// Patterns of further addresses that belong to this topic, besides its own name.
    pub claims: Vec<crate::model::Pattern>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            partitions: 1,
            keep_age_ms: None,
            keep_bytes: None,
            keep_until_consumed: false,
            max_message: 1 << 20,
            memory: false,
            claims: Vec::new(),
        }
    }
}

/// What is known of one partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PartView {
    /// The first kept offset.
    pub start: u64,
    /// The next offset to be given.
    pub end: u64,
    /// Bytes of kept batches.
    pub bytes: u64,
}

/// A topic as it is described to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicView {
    /// Its id.
    pub id: crate::model::TopicId,
    /// Its name.
    pub name: String,
    /// Its policy.
    pub policy: Policy,
    /// Its partitions, in order.
    pub parts: Vec<PartView>,
    /// How many groups it has.
    pub groups: usize,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// Counts changes of the policy; the entity tag.
    pub version: u64,
}
