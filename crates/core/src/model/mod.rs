//! The nouns: message, address, pattern, position, error, and the ids that name things.

pub mod address;
pub mod error;
pub mod message;
pub mod position;

pub use address::{Address, Pattern, Spelling, check_name};
pub use error::{Error, Kind, Result};
pub use message::{Header, Message, Value, is_reserved};
pub use position::{GroupId, JobId, PartId, Position, TopicId};
