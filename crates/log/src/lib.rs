//! The log underneath everything: what is appended here and synced is what Switchboard has promised to keep.
//!
//! [`SharedLog`] is the seam: an ordered log of frames, fenced by the last position. [`local`] is the
//! embedded implementation: a journal (the promise), segments in Kafka's file layout (what readers read) and
//! a redb checkpoint of the state. [`vfs`] is the only way to a disk, so that a simulated one can lose, tear,
//! reorder and corrupt what was written. [`check`] verifies a data directory that no server has open.
//!
//! Nothing in this crate starts a thread or looks at a clock: callers drive it, one step at a time.

pub mod check;
pub mod local;
#[doc(hidden)]
pub mod planted;
pub mod vfs;

pub use local::{AppendError, Lsn, OpenError, PartId, ReadError, Room};

/// A totally ordered log of frames that one writer at a time extends, and that every holder applies.
///
/// The embedded [`local::Local`] implements it; a replicated log can take its place, since nothing above the
/// seam knows which one it is.
pub trait SharedLog {
    /// Appends one frame if `expected_last` is still the last position; returns its position once durable.
    fn append(&mut self, expected_last: Lsn, frame: &[u8]) -> Result<Lsn, AppendError>;
    /// Frames from `from` on, whole, until about `limit` bytes; at least one if there is any.
    fn read(&self, from: Lsn, limit: usize) -> Result<Vec<(Lsn, Vec<u8>)>, OpenError>;
    /// The highest position that is durable.
    fn durable(&self) -> Lsn;
    /// Frames up to `up_to` are no longer needed, because a snapshot holds their effect.
    fn trim(&mut self, up_to: Lsn);
    /// Replaces or removes keys of the snapshot, which then stands for every frame up to `applied`.
    fn snapshot_put(&mut self, applied: Lsn, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> std::io::Result<()>;
    /// The snapshot: the position up to which it was applied, and its keys.
    fn snapshot_get(&self) -> Result<Snapshot, OpenError>;
}

/// What [`SharedLog::snapshot_get`] returns: a position, and the keys and values as of that position.
pub type Snapshot = (Lsn, Vec<(Vec<u8>, Vec<u8>)>);
