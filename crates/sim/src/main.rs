//! `sim`: runs seeds and prints those that break a promise.

use sb_sim::faults::Plant;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "sim [--seeds N] [--from S] [--seed S] [--plant NAME] [--verbose]
  --seeds N     how many seeds (SWITCHBOARD_SEEDS, or 300)
  --from S      the first one (1)
  --seed S      only this one
  --plant NAME  break something on purpose
  --verbose     with --seed: tell what happens";

fn main() -> ExitCode {
    match sim() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn sim() -> Result<bool, String> {
    let mut seeds: u64 = std::env::var("SWITCHBOARD_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(300);
    let (mut from, mut only, mut plant, mut verbose) = (1, None, None, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse().ok()).ok_or(format!("{arg} needs a number"));
        match arg.as_str() {
            "--seeds" => seeds = number()?,
            "--from" => from = number()?,
            "--seed" => only = Some(number()?),
            "--plant" => {
                let name = args.next().ok_or("--plant needs a name")?;
                plant = Some(
                    Plant::parse(&name)
                        .ok_or_else(|| format!("no fault is called {name}: {:?}", Plant::ALL))?,
                );
            }
            "--verbose" => verbose = true,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    let start = Instant::now();
    if let Some(seed) = only {
        let report = sb_sim::run(seed, plant, verbose);
        println!("{report}seed {seed}: trace {:016x}, {:?}", report.trace, report.stats);
        return Ok(report.violations.is_empty());
    }
    if let Some(plant) = plant {
        let caught: Vec<_> = (from..from + seeds)
            .map(|s| sb_sim::run(s, Some(plant), false))
            .filter(|r| !r.violations.is_empty())
            .collect();
        caught.iter().take(5).for_each(|r| print!("{r}"));
        println!("{plant:?}: caught by {} of {seeds} seeds in {:.1?}", caught.len(), start.elapsed());
        return Ok(!caught.is_empty());
    }
    let (failed, stats) = sb_sim::run_many(from, seeds, &|report| print!("{report}"));
    let names: Vec<String> = failed.iter().map(|r| r.seed.to_string()).collect();
    println!(
        "{seeds} seeds from {from} in {:.1?}: {} failed {}",
        start.elapsed(),
        failed.len(),
        names.join(" ")
    );
    println!("{stats:?}");
    Ok(failed.is_empty())
}
