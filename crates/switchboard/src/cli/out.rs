//! Standard output: lines, tables, JSON. A reader that goes away ends the command without a word.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use crate::client::clean;
use crate::error::CliError;

/// Writes bytes as they are.
pub fn bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        // `switchboard sub … | head` is not an error.
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(why) => Err(CliError::local(format!("standard output cannot be written: {why}"))),
    }
}

/// Writes a line.
pub fn line(text: &str) -> Result<(), CliError> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes a JSON document on one line.
pub fn json(value: &Value) -> Result<(), CliError> {
    line(&value.to_string())
}

/// Writes a JSON document for reading.
pub fn json_pretty(value: &Value) -> Result<(), CliError> {
    line(&serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()))
}

/// Writes the bytes of a body: as they are into a pipe; harmless and with a line end on a terminal.
pub fn body(body: &[u8]) -> Result<(), CliError> {
    if !std::io::stdout().is_terminal() {
        return bytes(body);
    }
    line(clean(&String::from_utf8_lossy(body)).trim_end_matches('\n'))
}

/// Text of somebody else's: harmless on a terminal, untouched in a pipe.
pub fn shown(text: &str) -> String {
    if std::io::stdout().is_terminal() { clean(text) } else { text.to_owned() }
}

/// Writes columns. Cells are cleaned, since names and texts come from elsewhere.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|r| r.iter().map(|c| clean(c).replace('\n', " ")).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let mut one = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            one.push_str(cell);
            one.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(one.trim_end());
        text.push('\n');
    }
    bytes(text.as_bytes())
}

/// Writes names with their values, one a line.
pub fn pairs(pairs: &[(&str, String)]) -> Result<(), CliError> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in pairs {
        line(&format!("{name:<width$}  {}", clean(value)))?;
    }
    Ok(())
}

/// A JSON value as a cell: text without quotes, nothing for what is missing.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
