//! The rules of Switchboard, without I/O: no clock, no randomness, no socket, no runtime. Time and random numbers are inputs.
pub mod batch;
pub mod model;
