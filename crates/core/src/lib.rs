//! The rules of Switchboard, without I/O: no clock, no randomness, no socket, no runtime. Time and random numbers are inputs.

pub mod batch;
pub mod groups;
pub mod jobs;
pub mod model;
pub mod ops;
pub mod state;
pub mod topics;

mod apply;
mod apply_jobs;
mod checkpoint;
mod dedup;
mod frame;
mod methods;
mod queue;
mod refuse;
mod tick;
mod undo;
mod wire;

pub use checkpoint::Checkpoint;
pub use state::Core;
