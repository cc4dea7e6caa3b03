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
fn data_check(dir: &Path) -> Result<Report, CliError> {
    let report =
        sb_log::check::run(dir).map_err(|why| CliError::new(exit::REFUSED, "SB0702", why.to_string()))?;
    let damage: Vec<Value> = report
        .damage
        .iter()
        .map(|d| serde_json::json!({ "file": d.file, "from": d.from, "to": d.to, "why": d.why }))
        .collect();
    let json = serde_json::json!({
        "sound": report.damage.is_empty(),
        "checkpoint": { "lsn": report.applied, "keys": report.keys },
        "journal": {
            "files": report.journal_files,
            "frames": report.frames,
            "first": report.first,
            "last": report.last,
            "sealed": report.sealed,
        },
        "segments": { "partitions": report.partitions, "batches": report.batches, "bytes": report.bytes },
        "damage": damage,
    });
    Ok(Report { sound: report.damage.is_empty(), text: report.to_string().trim_end().to_owned(), json })
}
