//! The commands that run a server, and `check`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::{out, profile};
use crate::config::{self, Config, Engine, Faults, Mode, Origin};
use crate::error::{CliError, colour, exit};

/// What the development server and `serve` understand.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of the server")]
pub struct ServerArgs {
    #[command(flatten)]
    check: CheckArgs,
    /// Keep messages in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "memory")]
    data: Option<PathBuf>,
    /// Keep messages in memory only
    #[arg(long)]
    memory: bool,
    /// Listen on this port of the loopback interface
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// A text that a command adds, with its name.
    #[arg(skip)]
    more: Option<(&'static str, String)>,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct CheckArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one value: --set limits.message=2MiB; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Allow to listen beyond this machine without a login
    #[arg(long)]
    insecure: bool,
}

impl ServerArgs {
    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        let CheckArgs { config, set, insecure } = &self.check;
        config.is_none()
            && set.is_empty()
            && !insecure
            && self.data.is_none()
            && !self.memory
            && self.port.is_none()
    }

    /// Adds a piece of configuration that a command made.
    pub fn add(&mut self, name: &'static str, text: String) {
        self.more = Some((name, text));
    }

    /// Arguments that a demo in this folder is run with: all of it, the data too, goes away with the folder.
    pub fn of_demo(dir: &Path, port: Option<u16>) -> Self {
        let check = CheckArgs { config: Some(dir.join("switchboard.toml")), ..CheckArgs::default() };
        Self { check, port, data: Some(dir.join("data")), ..Self::default() }
    }

    /// The URL of the first listener, as it is reached from this machine.
    pub fn main_url(&self) -> Result<String, CliError> {
        let mut origin = self.origin(false)?;
        origin.engine = Some(Engine::Memory);
        let (config, _) = config::load(origin, &|name| std::env::var(name).ok()).map_err(CliError::config)?;
        Ok(config.listen.first().map_or_else(String::new, |listener| {
            let scheme = if listener.tls { "https" } else { "http" };
            format!("{scheme}://localhost:{}", listener.addr.port())
        }))
    }

    fn origin(&self, look_around: bool) -> Result<Origin, CliError> {
        let mut origin = self.check.origin(look_around)?;
        if let Some((name, text)) = &self.more {
            origin.sources.push(*name, text.clone());
        }
        if self.memory {
            origin.sources.push("--memory", "engine = \"memory\"");
        }
        if let Some(dir) = &self.data {
            let dir = std::path::absolute(dir)
                .map_err(|why| CliError::usage(format!("--data {}: {why}", dir.display())))?;
            let Some(dir) = dir.to_str() else {
                return Err(CliError::usage(format!("--data {}: the path is not UTF-8", dir.display())));
            };
            origin.sources.push("--data", format!("engine = {}", toml::Value::String(format!("disk:{dir}"))));
        }
        if let Some(port) = self.port {
            origin.sources.push("--port", format!("listen = [\"http://127.0.0.1:{port}\"]"));
        }
        Ok(origin)
    }
}

impl CheckArgs {
    /// Gathers the texts: a file or the environment, then `--set`.
    fn origin(&self, look_around: bool) -> Result<Origin, CliError> {
        let mut origin = Origin { insecure: self.insecure, ..Origin::default() };
        let from_env = profile::env("SWITCHBOARD_CONFIG");
        let nearby = Path::new("switchboard.toml");
        match (&self.config, from_env) {
            (Some(file), _) => add_file(&mut origin, file)?,
            (None, Some(text)) => origin.sources.push("SWITCHBOARD_CONFIG", text),
            (None, None) if look_around && nearby.exists() => add_file(&mut origin, nearby)?,
            (None, None) if look_around => {
                return Err(CliError::usage("there is no configuration")
                    .help("give a file:  -c FILE   or put the text into SWITCHBOARD_CONFIG")
                    .help("to try things out none is needed:  switchboard"));
            }
            _ => {}
        }
        for assignment in &self.set {
            origin.sources.push("--set", config::set_text(assignment).map_err(CliError::usage)?);
        }
        Ok(origin)
    }
}

fn add_file(origin: &mut Origin, file: &Path) -> Result<(), CliError> {
    let text = std::fs::read_to_string(file).map_err(|why| {
        CliError::usage(format!("the configuration {} cannot be read: {why}", file.display()))
    })?;
    origin.sources.push(file.display().to_string(), text);
    origin.base = Some(config::folder(file));
    Ok(())
}

/// Loads it; warnings are shown, faults are an error.
fn load(origin: Origin) -> Result<Config, CliError> {
    let (config, warnings) =
        config::load(origin, &|name| std::env::var(name).ok()).map_err(CliError::config)?;
    if !warnings.list.is_empty() {
        note!("{}", warnings.render(colour()));
    }
    Ok(config)
}

/// `switchboard` alone, and with `-c`: no login on this machine, data in the user's own folder. Calls `ready` when it is.
pub fn develop(
    args: &ServerArgs,
    json: bool,
    started: Instant,
    ready: impl FnOnce(),
) -> Result<(), CliError> {
    let mut origin = args.origin(false)?;
    // Without a home there is no place of one's own; then it is said how to give one.
    origin.engine = profile::xdg("XDG_DATA_HOME", ".local/share").map(Engine::Disk);
    let config = load(origin)?;
    crate::assemble::run(config, Mode { development: true, json, started }, ready)
}

/// `switchboard serve`
pub fn serve(args: &ServerArgs, json: bool, started: Instant) -> Result<(), CliError> {
    let config = load(args.origin(true)?)?;
    crate::assemble::run(config, Mode { development: false, json, started }, || {})
}

/// `switchboard check`: exit 0 when the configuration can be used, 1 when it has faults.
pub fn check(args: &CheckArgs, json: bool) -> Result<u8, CliError> {
    let origin = Origin { only_check: true, ..args.origin(true)? };
    let name = origin.sources.first().map_or_else(String::new, |s| s.name.clone());
    let (faults, config) = match config::load(origin, &|name| std::env::var(name).ok()) {
        Ok((config, warnings)) => (warnings, Some(config)),
        Err(faults) => (faults, None),
    };
    report(&name, &faults, config.as_ref(), json)?;
    if let Some(config) = &config {
        crate::services::check(config)?;
    }
    Ok(if config.is_some() { exit::DONE } else { exit::REFUSED })
}

fn report(name: &str, faults: &Faults, config: Option<&Config>, json: bool) -> Result<(), CliError> {
    if json {
        return out::json(&json!({ "ok": config.is_some(), "file": name, "faults": faults.json() }));
    }
    if !faults.list.is_empty() {
        note!("{}", faults.render(colour()));
    }
    match config {
        Some(config) => out::line(&format!(
            "{name} is right: {}, {}, {}, {}{}",
            count(config.listen.len(), "listener"),
            count(config.topics.len(), "topic"),
            count(config.methods.len(), "method"),
            count(config.routes.len(), "route"),
            if config.gateway.is_some() { ", a GraphQL gateway" } else { "" }
        )),
        None => {
            let errors = faults.list.iter().filter(|f| !f.warning).count();
            note!("\n{name}: {}", count(errors, "fault"));
            Ok(())
        }
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
