//! The project's own commands: `cargo xtask tidy`, `cargo xtask new-protocol NAME`, `cargo xtask test [TIER] [--strict]`.

mod new_protocol;
mod suite;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask tidy                              check the rules of the house
cargo xtask new-protocol NAME                 start a protocol from protocols/echo
cargo xtask test [change|night|release] [--strict] [--again] [--only TEXT]
                                              run every suite of a tier; --strict: a missing tool is a failure; --again: a second try for what failed;
                                              --only: the steps whose name contains TEXT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => match tidy::check(&root()) {
            Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
            Ok(faults) => {
                for fault in &faults {
                    eprintln!("{fault}");
                }
                eprintln!("{} faults", faults.len());
                ExitCode::FAILURE
            }
            Err(error) => fail(&error),
        },
        ["new-protocol", name] => match new_protocol::create(&root(), name) {
            Ok(done) => {
                println!("{done}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        },
        ["test", options @ ..] => match suite::Options::read(options) {
            Ok(options) => suite::run(root(), options),
            Err(error) => wrong_use(&error),
        },
        _ => wrong_use(""),
    }
}

fn fail(error: &str) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn wrong_use(error: &str) -> ExitCode {
    if !error.is_empty() {
        eprintln!("error: {error}");
    }
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// The folder of the workspace: the one above this crate's.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
