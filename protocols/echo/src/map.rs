//! Between frames and the core's nouns. The only file that knows both.

use crate::wire::{Reply, WireError};
use bytes::Bytes;
use sb_board::access::{From, Published};
use sb_core::groups::Start;
use sb_core::model::{Address, Error, Kind, Message, Pattern, Result};

/// `PUB` to a message.
pub fn message(address: &str, body: Bytes) -> Result<Message> {
    Ok(Message::new(Address::parse(address)?, body))
}

/// `SUB` to a pattern and where reading begins.
pub fn subscription(pattern: &str) -> Result<(Pattern, From)> {
    Ok((Pattern::parse(pattern)?, From::At(Start::End)))
}

/// Where a message went.
pub fn published(published: &Published) -> Reply {
    match published {
        Published::Stored { receipts, .. } => {
            receipts.first().map_or(Reply::Done, |receipt| Reply::Stored(receipt.position.offset))
        }
        Published::Live(count) => Reply::Live(*count),
    }
}

/// A message to `MSG`.
pub fn delivered(message: &Message) -> Reply {
    Reply::Message { address: message.address.as_str().to_owned(), body: message.body.clone() }
}

/// An error to `-ERR`.
pub fn error(error: &Error) -> Reply {
    let text = if error.fix.is_empty() {
        error.detail.to_string()
    } else {
        format!("{}. {}", error.detail, error.fix)
    };
    Reply::Error { code: error.code.to_owned(), word: word(error.kind), text }
}

/// A malformed request to an error.
pub fn wire_error(error: WireError) -> Error {
    match error {
        WireError::Line(what) | WireError::Framing(what) => Error::invalid(what),
    }
}

/// The word of each kind: one total match, so that a new kind does not compile before it is translated.
pub fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound | Kind::Gone => "absent",
        Kind::Exists | Kind::Conflict | Kind::Precondition | Kind::Mismatch => "conflict",
        Kind::Invalid | Kind::TooLarge | Kind::Unsupported => "invalid",
        Kind::Unauthenticated | Kind::Denied => "denied",
        Kind::Exhausted | Kind::DiskFull | Kind::Unavailable | Kind::Deadline | Kind::Cancelled => "later",
        Kind::Corrupt | Kind::Internal => "fault",
    }
}
