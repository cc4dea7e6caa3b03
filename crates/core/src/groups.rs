//! Groups: named consumers of a topic.

/// How a group consumes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Leases: each message to one consumer, with ack, nack, extend, attempts.
    Queue,
    /// A remembered position.
    Cursor,
}

/// Where a new group, a reader or a seek begins.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first kept message.
    Start,
    /// Behind the newest.
    End,
    /// At this offset.
    Offset(u64),
    /// At the first message at or after this time, in milliseconds since 1970.
    Time(i64),
}

/// The options of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How it consumes.
    pub mode: Mode,
    /// How long a lease lasts unless the consumer says otherwise.
    pub lease_ms: u64,
    /// How often a message is delivered before it is dead; 0 for no limit.
    pub attempts: u32,
    /// The topic that dead messages move to.
    pub dead_letter: Option<String>,
    /// How long a message waits after a lease that ended by itself.
    pub backoff_ms: u64,
    /// One outstanding message per key, in order.
    pub key_order: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            mode: Mode::Queue,
            lease_ms: 30_000,
            attempts: 0,
            dead_letter: None,
            backoff_ms: 0,
            key_order: false,
        }
    }
}

/// A group as it is described to people. Every number is exact and costs O(1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its id.
    pub id: crate::model::GroupId,
    /// The topic's name.
    pub topic: String,
    /// Its name.
    pub name: String,
    /// Its options.
    pub options: Options,
    /// Messages that could be leased now (also those that wait for an earlier one of their key).
    pub ready: u64,
    /// Messages that are leased.
    pub leased: u64,
    /// Messages that are not due yet.
    pub delayed: u64,
    /// Messages done with since the group exists.
    pub acked: u64,
    /// Messages dead since the group exists.
    pub dead: u64,
    /// Messages that expired or that retention removed before they were done with.
    pub expired: u64,
    /// For each partition: everything below this offset is done with (mode cursor: the committed position), and the end.
    pub parts: Vec<(u64, u64)>,
}
