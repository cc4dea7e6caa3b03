//! Named servers, and which server a command talks to.
//!
//! They are kept in one file of the user's configuration folder that nobody else can read.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Global, out};
use crate::client::Target;
use crate::config::units::nearest;
use crate::error::{CliError, exit};

const DEFAULT_URL: &str = "http://127.0.0.1:7070";

/// `switchboard profile …`
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// Add or replace a named server; --token and --ca are kept with it
    Add {
        /// Its name
        name: String,
        /// Its address
        url: String,
    },
    /// Make a named server the one to talk to
    Use {
        /// Its name
        name: String,
    },
    /// List named servers
    List,
    /// Remove a named server
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    profile: BTreeMap<String, Profile>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Profile {
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
}

/// An environment variable that is set and not empty.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A folder of the XDG kind.
pub fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    let own = env(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = own.or_else(|| Some(PathBuf::from(env("HOME")?).join(below_home)))?;
    Some(base.join("switchboard"))
}

fn path() -> Result<PathBuf, CliError> {
    xdg("XDG_CONFIG_HOME", ".config")
        .map(|dir| dir.join("profiles.toml"))
        .ok_or_else(|| CliError::local("there is no place for profiles").help("set HOME or XDG_CONFIG_HOME"))
}

fn read() -> Result<File, CliError> {
    let Ok(path) = path() else { return Ok(File::default()) };
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).map_err(|why| {
            CliError::usage(format!("{} cannot be understood", path.display())).help(why.message().to_owned())
        }),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(File::default()),
        Err(why) => Err(CliError::local(format!("{} cannot be read: {why}", path.display()))),
    }
}

fn write(file: &File) -> Result<(), CliError> {
    let path = path()?;
    let failed =
        |why: std::io::Error| CliError::local(format!("{} cannot be written: {why}", path.display()));
    let text =
        toml::to_string(file).map_err(|why| CliError::local(format!("profiles cannot be written: {why}")))?;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    // Written aside and renamed, so that a reader sees the old or the new, and never readable by others.
    let aside = path.with_extension(format!("toml.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&aside).and_then(|mut f| f.write_all(text.as_bytes())).map_err(failed)?;
    std::fs::rename(&aside, &path).map_err(failed)
}

fn missing(file: &File, name: &str) -> CliError {
    let error = CliError::new(exit::MISSING, "SB0007", format!("there is no profile `{name}`"));
    match nearest(name, file.profile.keys().map(String::as_str)).first() {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help("see them:  switchboard profile list   add it:  switchboard profile add NAME URL"),
    }
}

fn check_url(url: &str) -> Result<String, CliError> {
    let wrong = || {
        CliError::usage(format!("`{url}` is not the address of a server"))
            .help("for example: http://127.0.0.1:7070")
    };
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: http::Uri = full.parse().map_err(|_| wrong())?;
    let host = uri.host().is_some_and(|host| !host.is_empty());
    if !host || !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
        return Err(wrong());
    }
    Ok(full.trim_end_matches('/').to_owned())
}

/// A token as it is kept: `$NAME` is read from the environment when it is used.
fn token_of(text: &str) -> Result<String, CliError> {
    let token = match text.strip_prefix('$') {
        Some(name) => {
            env(name).ok_or_else(|| CliError::usage(format!("the token is ${name}, which is not set")))?
        }
        None => text.to_owned(),
    };
    if token.is_empty() || token.bytes().any(|b| !(0x21..0x7f).contains(&b)) {
        return Err(CliError::usage("the token holds characters that no token has")
            .help("is there a line end or a space in it?"));
    }
    Ok(token)
}

/// Which server a command talks to. A flag wins over the environment, that over a profile. The token of a profile goes
/// only to the server of that profile.
pub(super) fn target(global: &Global) -> Result<Target, CliError> {
    let mut target = Target::default();
    let named = match (&global.profile, env("SWITCHBOARD_PROFILE")) {
        (Some(name), _) => Some((name.clone(), "--profile")),
        (None, Some(name)) => Some((name, "SWITCHBOARD_PROFILE")),
        _ => None,
    };
    let direct = match (&global.server, env("SWITCHBOARD_SERVER")) {
        (Some(url), _) => Some((url.clone(), "--server")),
        // A profile asked for by flag is nearer than a server from the environment.
        (None, Some(url)) if global.profile.is_none() => Some((url, "from SWITCHBOARD_SERVER")),
        _ => None,
    };
    let file = if direct.is_some() { File::default() } else { read()? };
    if let Some((url, from)) = direct {
        target.url = check_url(&url)?;
        target.url_from = from.to_owned();
    } else {
        let chosen = named.or_else(|| Some((file.current.clone()?, "profile use")));
        match chosen {
            Some((name, how)) => {
                let profile = file.profile.get(&name).ok_or_else(|| missing(&file, &name))?;
                let from = format!("profile \"{name}\", from {how}");
                target.url = check_url(&profile.server)?;
                if let Some(token) = &profile.token {
                    target.token = Some(token_of(token)?);
                }
                target.ca = profile.ca.clone();
                (target.url_from, target.token_from, target.ca_from) = (from.clone(), from.clone(), from);
            }
            None => {
                target.url = DEFAULT_URL.to_owned();
                target.url_from = "the default".to_owned();
            }
        }
    }
    match (&global.token, env("SWITCHBOARD_TOKEN")) {
        (Some(token), _) => {
            (target.token, target.token_from) = (Some(token_of(token)?), "--token".to_owned())
        }
        (None, Some(token)) => {
            (target.token, target.token_from) = (Some(token_of(&token)?), "SWITCHBOARD_TOKEN".to_owned())
        }
        _ => {}
    }
    if let Some(ca) = &global.ca {
        (target.ca, target.ca_from) = (Some(ca.clone()), "--ca".to_owned());
    }
    Ok(target)
}

/// Runs one of the `profile` commands.
pub(super) fn run(command: &ProfileCommand, global: &Global) -> Result<u8, CliError> {
    let mut file = read()?;
    let say = |text: String, value: serde_json::Value| {
        if global.json { out::json(&value) } else { out::line(&text) }
    };
    match command {
        ProfileCommand::Add { name, url } => {
            let ca = match &global.ca {
                Some(ca) => Some(
                    std::path::absolute(ca)
                        .map_err(|why| CliError::usage(format!("{}: {why}", ca.display())))?,
                ),
                None => None,
            };
            let profile = Profile { server: check_url(url)?, token: global.token.clone(), ca };
            file.profile.insert(name.clone(), profile);
            file.current.get_or_insert_with(|| name.clone());
            write(&file)?;
            say(format!("added {name}"), json!({ "added": name }))?;
        }
        ProfileCommand::Use { name } => {
            if !file.profile.contains_key(name) {
                return Err(missing(&file, name));
            }
            file.current = Some(name.clone());
            write(&file)?;
            say(format!("using {name}"), json!({ "current": name }))?;
        }
        ProfileCommand::List => {
            let is_current = |name: &str| file.current.as_deref() == Some(name);
            if global.json {
                let list: Vec<_> = file
                    .profile
                    .iter()
                    .map(|(name, p)| {
                        json!({ "name": name, "server": p.server, "token": p.token.is_some(), "ca": p.ca, "current": is_current(name) })
                    })
                    .collect();
                out::json(&json!({ "profiles": list }))?;
            } else {
                let rows: Vec<Vec<String>> = file
                    .profile
                    .iter()
                    .map(|(name, p)| {
                        let mark = if is_current(name) { "*" } else { "" };
                        let token = if p.token.is_some() { "yes" } else { "" };
                        vec![mark.to_owned(), name.clone(), p.server.clone(), token.to_owned()]
                    })
                    .collect();
                out::table(&["", "NAME", "SERVER", "TOKEN"], &rows)?;
            }
        }
        ProfileCommand::Remove { name } => {
            if file.profile.remove(name).is_none() {
                return Err(missing(&file, name));
            }
            if file.current.as_deref() == Some(name) {
                file.current = None;
            }
            write(&file)?;
            say(format!("removed {name}"), json!({ "removed": name }))?;
        }
    }
    Ok(exit::DONE)
}
