//! The configuration: one TOML document, read strictly, every fault with its place and a way out.
//!
//! `tree` reads the texts into one tree with places, `walk` and `read` turn it into the plain values of `model`, `checks`
//! looks at the whole, `fault` says what is wrong, and `schema` describes the document for editors.

mod checks;
mod fault;
mod gateway;
mod graphql;
mod model;
mod read;
pub mod schema;
mod services;
mod tree;
pub mod units;
mod walk;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub use fault::{Fault, Faults};
pub use model::*;
pub use read::start;
pub use tree::{Place, Sources, set_text};

/// How the server was started.
#[derive(Debug, Clone)]
pub struct Mode {
    /// The development server (`switchboard`), not `serve`.
    pub development: bool,
    /// The startup banner is one JSON object.
    pub json: bool,
    /// When the process began, to say how long it took to be ready.
    pub started: Instant,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The texts, later ones winning.
    pub sources: Sources,
    /// The folder that relative paths start from; none is the current one.
    pub base: Option<PathBuf>,
    /// `--insecure`
    pub insecure: bool,
    /// The engine when none is configured; without it a missing `engine` is a fault.
    pub engine: Option<Engine>,
    /// Nothing will be run: what a flag of the server can still give is a warning.
    pub only_check: bool,
}

/// Reads and checks a configuration. Warnings come with it; with a fault there is no configuration.
pub fn load(origin: Origin, env: &dyn Fn(&str) -> Option<String>) -> Result<(Config, Faults), Faults> {
    let around = walk::Surroundings { env, base: origin.base.unwrap_or_default() };
    let mut walk = walk::Walk::new(&around);
    let tree = origin.sources.tree(&mut walk.faults);
    let broken = !walk.faults.is_empty();
    let (mut config, places) = read::config(&mut walk, &tree, origin.engine.clone());
    config.insecure = origin.insecure;
    if broken {
        // What follows a syntax error is guesswork: only the error itself is certain.
        walk.faults.retain(|f| f.code == "SB0101");
    } else {
        if !places.engine_given && origin.engine.is_none() {
            let mut fault = Fault::new("SB0112", "`engine` is missing: where are messages to be kept?")
                .at(0..0)
                .help("add   engine = \"disk:/var/lib/switchboard\"")
                .help("or    engine = \"memory\"        (everything is lost at the end)")
                .help("or    start with --data DIR or --memory");
            fault.warning = origin.only_check;
            walk.fault(fault);
        }
        checks::all(&mut walk, &mut config, &places, origin.insecure);
    }
    let mut list = walk.faults;
    list.sort_by_key(|f| f.span.as_ref().map_or(usize::MAX, |s| s.start));
    let faults = Faults { list, sources: origin.sources };
    if faults.only_warnings() { Ok((config, faults)) } else { Err(faults) }
}

/// The folder of a file, for relative paths.
pub fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests;
