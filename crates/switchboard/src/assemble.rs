//! Puts the board, the network and the protocols together and runs them.

use crate::config::{Config, Mode};
use crate::error::{CliError, exit};

/// Runs the server until it is told to stop.
pub fn run(_config: Config, _mode: Mode) -> Result<(), CliError> {
    Err(CliError::new(exit::REFUSED, "SB0005", "this build has no server in it, only the commands")
        .help("use a complete build of switchboard"))
}
