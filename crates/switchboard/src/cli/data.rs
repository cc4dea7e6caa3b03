//! `data`: folders of stored messages.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::Value;

use super::out;
use crate::error::{CliError, exit};

/// `switchboard data …`
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Read everything in a data folder and report damage; nothing is changed
    Check {
        /// The folder
        dir: PathBuf,
    },
}

/// Runs it: exit 0 when the folder is sound, 1 when it is not.
pub fn run(command: &DataCommand, json: bool) -> Result<u8, CliError> {
    let DataCommand::Check { dir } = command;
    if !dir.is_dir() {
        return Err(CliError::new(exit::MISSING, "SB0110", format!("{} is not a folder", dir.display())));
    }
    let report = data_check(dir)?;
    if json {
        out::json(&report.json)?;
    } else {
        out::line(&report.text)?;
    }
    Ok(if report.sound { exit::DONE } else { exit::REFUSED })
}

/// What a check found.
pub struct Report {
    /// Nothing is damaged.
    pub sound: bool,
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
}

/// Checks a data folder.
fn data_check(_dir: &Path) -> Result<Report, CliError> {
    Err(CliError::new(exit::REFUSED, "SB0005", "this build cannot check data folders")
        .help("use a complete build of switchboard"))
}
