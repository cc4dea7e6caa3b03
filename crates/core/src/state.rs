//! The state machine. (Contract; bodies follow.)
#![allow(unused_variables, missing_docs)]
use crate::groups::GroupView;
use crate::jobs::{JobView, MethodView};
use crate::model::{GroupId, JobId, Position, Result, TopicId};
use crate::ops::*;
use crate::topics::TopicView;

/// All state that the rules know.
pub struct Core {}

/// What has to be written so that [`Core::restore`] gives the state of this moment. Cheap to take; encoded elsewhere.
pub struct Checkpoint {}
impl Checkpoint {
    pub fn puts(&self) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> { unimplemented!() }
    pub fn deletes(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> { unimplemented!() }
}

impl Core {
    pub fn new() -> Core { unimplemented!() }
    /// From everything checkpoints have written. Err: what does not decode.
    pub fn restore(entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> std::result::Result<Core, String> { unimplemented!() }
    /// Applies a frame that is in the log (recovery, replicas).
    pub fn apply(&mut self, frame: &[u8], now: Now) -> std::result::Result<Effects, String> { unimplemented!() }
    /// Starts serving: a new epoch; every lease is armed anew in full.
    pub fn boot(&mut self, now: Now, out: &mut Frame) { unimplemented!() }
    /// Checks and applies a commit and adds its changes to the frame.
    pub fn commit(&mut self, now: Now, commit: Commit, out: &mut Frame) -> Result<Answer> { unimplemented!() }
    /// Does what is due, at most `limit` things; true when there is more.
    pub fn tick(&mut self, now: Now, limit: usize, out: &mut Frame) -> bool { unimplemented!() }
    /// When `tick` is next needed (monotonic ms for leases, translated for wall-clock things), if ever.
    pub fn next_tick(&self, now: Now) -> Option<u64> { unimplemented!() }
    /// Moves all lease deadlines (commits were stalled for so long).
    pub fn pause(&mut self, ms: u64) { unimplemented!() }
    pub fn checkpoint(&mut self) -> Checkpoint { unimplemented!() }
    /// Over everything durable (memory topics left out).
    pub fn hash(&self) -> u64 { unimplemented!() }

    pub fn topic(&self, name: &str) -> Option<TopicView> { unimplemented!() }
    pub fn topic_by_id(&self, id: TopicId) -> Option<TopicView> { unimplemented!() }
    pub fn topics(&self, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<TopicView>, bool) { unimplemented!() }
    pub fn topic_ids(&self) -> Vec<TopicId> { unimplemented!() }
    pub fn group(&self, topic: &str, group: &str) -> Option<GroupView> { unimplemented!() }
    pub fn group_by_id(&self, id: GroupId) -> Option<GroupView> { unimplemented!() }
    pub fn groups(&self, topic: Option<&str>, after: Option<(&str, &str)>, limit: usize) -> (Vec<GroupView>, bool) { unimplemented!() }
    /// The next ones that would be leased, without taking them: (partition, offset).
    pub fn peek(&self, group: GroupId, limit: usize) -> Vec<(u32, u64)> { unimplemented!() }
    pub fn methods(&self) -> Vec<MethodView> { unimplemented!() }
    pub fn method(&self, name: &str) -> Option<MethodView> { unimplemented!() }
    pub fn job(&self, id: JobId) -> Option<JobView> { unimplemented!() }
    pub fn jobs(&self, filter: &JobFilter) -> (Vec<JobView>, bool) { unimplemented!() }
    /// Offsets in partition 0 of `TopicId::JOBS` of the events behind `after`, with their numbers.
    pub fn job_events(&self, id: JobId, after: u64, limit: usize) -> Vec<(u64, u64)> { unimplemented!() }
    /// The event with the result or the final error.
    pub fn job_outcome(&self, id: JobId) -> Option<(crate::jobs::State, Option<u64>)> { unimplemented!() }
    /// The lease of a running job, if this is its number.
    pub fn job_delivery(&self, id: JobId) -> Option<Delivery> { unimplemented!() }
    pub fn dying(&self, group: GroupId, limit: usize) -> Vec<Dying> { unimplemented!() }
    pub fn counts(&self) -> Counts { unimplemented!() }
    pub fn epoch(&self) -> u64 { unimplemented!() }
}
