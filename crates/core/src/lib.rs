//! The rules of Switchboard, without I/O: no clock, no randomness, no socket, no runtime. Time and random numbers are inputs.

pub mod batch;
pub mod groups;
pub mod jobs;
pub mod model;
pub mod ops;
pub mod state;
pub mod topics;

pub use state::{Checkpoint, Core};
