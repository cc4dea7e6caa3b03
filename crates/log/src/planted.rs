//! Faults that the simulator plants to prove that its checkers see them. Without the feature `planted-faults`, which no server is
//! built with, there is nothing here but a constant.

#[cfg(feature = "planted-faults")]
thread_local! {
    static IGNORE: std::cell::Cell<(bool, bool)> = const { std::cell::Cell::new((false, false)) };
}

/// Lets this thread believe every journal frame, every batch or both, whatever the checksums say.
#[cfg(feature = "planted-faults")]
pub fn ignore_checksums(frames: bool, batches: bool) {
    IGNORE.with(|i| i.set((frames, batches)));
}

/// Whether the checksum of a journal frame's body is not looked at.
pub(crate) fn frames_believed() -> bool {
    #[cfg(feature = "planted-faults")]
    return IGNORE.with(std::cell::Cell::get).0;
    #[cfg(not(feature = "planted-faults"))]
    false
}

/// Whether the checksum of a batch is not looked at when it is read.
pub(crate) fn batches_believed() -> bool {
    #[cfg(feature = "planted-faults")]
    return IGNORE.with(std::cell::Cell::get).1;
    #[cfg(not(feature = "planted-faults"))]
    false
}
