//! The log under a disk that fails: crashes, cuts, flips, full disks and failed syncs.

mod crash;
mod damage;
mod faults;
mod store;
mod world;
