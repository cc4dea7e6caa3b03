//! Faults that the simulator plants to prove that its checkers see them. Without the feature `planted-faults`, which no server is
//! built with, there is nothing here but a constant.

#[cfg(feature = "planted-faults")]
thread_local! {
    static IGNORE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Lets this thread believe every journal frame and every batch, whatever its checksum says.
#[cfg(feature = "planted-faults")]
pub fn ignore_checksums(on: bool) {
    IGNORE.with(|i| i.set(on));
}

#[cfg(feature = "planted-faults")]
pub(crate) fn checksums_ignored() -> bool {
    IGNORE.with(std::cell::Cell::get)
}

#[cfg(not(feature = "planted-faults"))]
pub(crate) const fn checksums_ignored() -> bool {
    false
}
