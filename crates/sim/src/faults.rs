//! Planted faults: each breaks one promise on purpose, so that a test can prove that a checker sees it.

/// What is broken on purpose.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Syncs of the journal do nothing.
    SkipSync,
    /// Syncs of segments do nothing.
    SkipSegmentSync,
    /// Syncs of the checkpoint do nothing.
    SkipCheckpointSync,
    /// Syncs of directories do nothing.
    SkipDirectorySync,
    /// Answers leave before the frame is durable.
    AckEarly,
    /// Readers see a frame before it is durable.
    ExposeUndurable,
    /// Damaged batches are handed out.
    IgnoreBatchChecksum,
    /// Torn frames are replayed.
    IgnoreFrameChecksum,
    /// The copy and the end of a dead message are in two frames.
    SplitDeadLetter,
    /// The parts of a publish to several topics are in frames of their own.
    SplitCommit,
    /// Idempotency keys are not kept.
    DropDedup,
    /// A publish is applied twice.
    AppendTwice,
    /// The storage thread loses a batch.
    LoseBatch,
    /// A checkpoint does not wait for the storage thread.
    CheckpointAhead,
    /// An old handle is taken for the newest.
    AcceptStale,
    /// A restart forgets acknowledgements.
    RedeliverAfterRestart,
    /// Leases are measured by the wall clock.
    WallClockLeases,
    /// Two deliveries get the same lease number.
    ReuseLease,
    /// A full disk is reported as success.
    IgnoreFull,
    /// A worker's result is not written.
    DropResult,
    /// A message with a due time is delivered at once.
    IgnoreDelay,
    /// Batches reach the segments under a neighbouring message's bytes.
    SwapBodies,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 22] = [
        Plant::SkipSync,
        Plant::SkipSegmentSync,
        Plant::SkipCheckpointSync,
        Plant::SkipDirectorySync,
        Plant::AckEarly,
        Plant::ExposeUndurable,
        Plant::IgnoreBatchChecksum,
        Plant::IgnoreFrameChecksum,
        Plant::SplitDeadLetter,
        Plant::SplitCommit,
        Plant::DropDedup,
        Plant::AppendTwice,
        Plant::LoseBatch,
        Plant::CheckpointAhead,
        Plant::AcceptStale,
        Plant::RedeliverAfterRestart,
        Plant::WallClockLeases,
        Plant::ReuseLease,
        Plant::IgnoreFull,
        Plant::DropResult,
        Plant::IgnoreDelay,
        Plant::SwapBodies,
    ];

    /// The name by which the command line knows it.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The fault of that name.
    pub fn parse(name: &str) -> Option<Plant> {
        Plant::ALL.into_iter().find(|p| p.name().eq_ignore_ascii_case(name))
    }
}
