//! What went wrong, for the person at the terminal: a sentence, a code, what to do, and the exit code of the process.

use std::fmt;
use std::io::IsTerminal;

use crate::config::Faults;

/// Exit codes: documented in docs/cli.md, and stable.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// The far end said no: a call or job failed, a check found faults.
    pub const REFUSED: u8 = 1;
    /// Wrong use, or a wrong configuration.
    pub const USAGE: u8 = 2;
    /// The server cannot be reached.
    pub const UNREACHABLE: u8 = 3;
    /// Not allowed.
    pub const DENIED: u8 = 4;
    /// No such thing.
    pub const MISSING: u8 = 5;
    /// Ran out of time.
    pub const TIMEOUT: u8 = 124;
}

/// An error that ends a command.
#[derive(Debug, Clone)]
pub struct CliError {
    /// Exit code of the process.
    pub exit: u8,
    /// Stable code, `SB….`.
    pub code: String,
    /// What happened.
    pub title: String,
    /// What to do, or more about it, one line each.
    pub help: Vec<String>,
    /// Faults of a configuration, shown instead of the title.
    pub faults: Option<Box<Faults>>,
}

impl CliError {
    /// An error with its exit code and its stable code.
    pub fn new(exit: u8, code: impl Into<String>, title: impl Into<String>) -> Self {
        Self { exit, code: code.into(), title: title.into(), help: Vec::new(), faults: None }
    }

    /// Wrong use of a command.
    pub fn usage(title: impl Into<String>) -> Self {
        Self::new(exit::USAGE, "SB0002", title)
    }

    /// Something on this machine failed: a file, a pipe, a child process.
    pub fn local(title: impl Into<String>) -> Self {
        Self::new(exit::REFUSED, "SB0004", title)
    }

    /// Time is over.
    pub fn timeout(title: impl Into<String>) -> Self {
        Self::new(exit::TIMEOUT, "SB0003", title)
    }

    /// A configuration that cannot be used.
    pub fn config(faults: Faults) -> Self {
        let first = faults.list.iter().find(|f| !f.warning);
        let code = first.map_or("SB0102", |f| f.code);
        let title = first.map_or_else(|| "the configuration is wrong".to_owned(), |f| f.title.clone());
        Self { faults: Some(Box::new(faults)), ..Self::new(exit::USAGE, code, title) }
    }

    /// Adds a line of advice.
    pub fn help(mut self, line: impl Into<String>) -> Self {
        self.help.push(line.into());
        self
    }

    /// The text for a person.
    pub fn render(&self, colour: bool) -> String {
        if let Some(faults) = &self.faults {
            return faults.render(colour);
        }
        let (red, bold, plain) = if colour { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        let mut text = format!("{red}error{plain}{bold}: {}{plain} ({})", self.title, self.code);
        for line in &self.help {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }

    /// The same for programs: what `--json` prints on standard error.
    pub fn json(&self) -> serde_json::Value {
        let mut object = serde_json::json!({
            "error": { "code": self.code, "message": self.title, "help": self.help, "exit": self.exit }
        });
        if let Some(faults) = &self.faults {
            object["error"]["faults"] = faults.json();
        }
        object
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for CliError {}

/// Whether standard error may be coloured: a terminal, and nobody said no.
pub fn colour() -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
        || std::env::var("TERM").is_ok_and(|t| t == "dumb");
    let forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|v| !v.is_empty() && v != "0");
    !forbidden && (forced || std::io::stderr().is_terminal())
}
