//! Log messages of workers, as notifications of the level the client asked for. The newest revision deprecates them; clients of all older ones
//! have nothing else.
#![expect(deprecated, reason = "deprecated by the newest revision, and spoken with all others")]

use crate::map::NAME;
use rmcp::RoleServer;
use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam, SetLevelRequestParams};
use rmcp::service::Peer;

/// A level.
pub(crate) type Level = LoggingLevel;
/// A request to set it.
pub(crate) type SetLevel = SetLevelRequestParams;

/// Tells what a worker wrote, if that is serious enough: `stderr` is a warning, everything else information.
pub(crate) async fn tell(peer: &Peer<RoleServer>, from: Level, stream: &str, text: String) {
    let level = if stream == "stderr" { Level::Warning } else { Level::Info };
    if rank(level) < rank(from) {
        return;
    }
    let param =
        LoggingMessageNotificationParam::new(level, text.into()).with_logger(format!("{NAME}.{stream}"));
    // Who has gone hears nothing; that ends the call elsewhere.
    let _ = peer.notify_logging_message(param).await;
}

/// The levels of syslog, the least serious first.
fn rank(level: Level) -> u8 {
    match level {
        Level::Debug => 0,
        Level::Info => 1,
        Level::Notice => 2,
        Level::Warning => 3,
        Level::Error => 4,
        Level::Critical => 5,
        Level::Alert => 6,
        Level::Emergency => 7,
    }
}
