//! The command line: what can be said, and who does it.
//!
//! Every command that talks to a server uses its HTTP surface and nothing else. Results go to standard output, everything
//! else to standard error.

mod data;
mod demo;
mod described;
mod groups;
mod input;
mod jobs;
mod messages;
mod out;
mod profile;
mod server;
mod services;
mod status;
mod topics;
mod via;

use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client::{Client, Target};
use crate::config::units;
use crate::error::{CliError, colour, exit};

#[derive(Debug, Parser)]
#[command(
    name = "switchboard",
    version,
    about = "A message server that speaks many protocols. Without a command: the development server.",
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong use or configuration, 3 server not reached,\n4 not allowed, 5 no such thing, 124 out of time.",
    disable_help_subcommand = true,
    max_term_width = 120
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    server: server::ServerArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Options that every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// Server to talk to [env: SWITCHBOARD_SERVER] [default: http://127.0.0.1:7070]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// Named server to talk to [env: SWITCHBOARD_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// API key or token [env: SWITCHBOARD_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Trust the certificate authorities in this PEM file
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print JSON: one document, or one object a line for what goes on
    #[arg(long, global = true)]
    json: bool,
    /// Say where each setting came from
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Do not ask before something is deleted or moved
    #[arg(short, long, global = true)]
    yes: bool,
    /// Form of the log on standard error [default: text on a terminal, else json]
    #[arg(long, global = true, value_name = "FORM", value_parser = ["text", "json"])]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the production server
    Serve(server::ServerArgs),
    /// Say whether the configuration is right
    Check(server::CheckArgs),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Publish a message
    Pub(messages::PubArgs),
    /// Receive messages
    Sub(messages::SubArgs),
    /// Call a method and wait for its result
    Call(jobs::WaitedArgs),
    /// Be a service: answer every call of a method alike
    Reply(services::ReplyArgs),
    /// Run a development server in front of an existing service
    Expose(Box<services::ExposeArgs>),
    /// Services: list, show, export
    #[command(subcommand)]
    Service(services::ServiceCommand),
    /// Topics: list, show, create, update, delete
    #[command(subcommand)]
    Topic(topics::TopicCommand),
    /// Groups: list, show, create, delete, lease, ack, nack, extend, peek, seek
    #[command(subcommand)]
    Group(groups::GroupCommand),
    /// Jobs: list, show, wait, logs, cancel, rerun, submit
    #[command(subcommand)]
    Job(jobs::JobCommand),
    /// Data folders: check
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Write an example and run it; without a name: list them
    Demo(demo::DemoArgs),
    /// Named servers: add, use, list, remove
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// What the server is doing
    Status,
    /// Whether the server is ready
    Health(status::HealthArgs),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

/// What a command works with.
struct Ctx {
    target: Target,
    json: bool,
    yes: bool,
}

impl Ctx {
    fn client(&self) -> Result<Client, CliError> {
        Client::new(self.target.clone())
    }

    /// Asks before something cannot be taken back. Without a terminal there is nobody to ask.
    fn confirm(&self, what: &str) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            return Err(CliError::usage(format!("{what}: not done, since nobody can be asked here"))
                .help("to do it without being asked, add  --yes"));
        }
        let _ = write!(std::io::stderr(), "{what}? [y/N] ");
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        match (read, answer.trim()) {
            (Ok(_), "y" | "Y" | "yes") => Ok(()),
            _ => Err(CliError::new(exit::REFUSED, "SB0002", "not done")),
        }
    }
}

/// Parses the command line and does what it says.
pub fn main(started: Instant) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::DONE });
        }
    };
    let json = cli.global.json;
    match run(cli, started) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if json {
                note!("{}", error.json());
            } else {
                note!("{}", error.render(colour()));
            }
            ExitCode::from(error.exit)
        }
    }
}

fn run(cli: Cli, started: Instant) -> Result<u8, CliError> {
    let Cli { global, server, command } = cli;
    let serves = matches!(command, None | Some(Command::Serve(_) | Command::Demo(_) | Command::Expose(_)));
    start_log(global.log.as_deref(), serves);
    let Some(command) = command else {
        return server::develop(&server, global.json, started, || {}).map(|()| exit::DONE);
    };
    if !server.is_empty() {
        return Err(CliError::usage("options of the server stand behind the command")
            .help("for example:  switchboard serve -c FILE"));
    }
    match &command {
        Command::Serve(args) => return server::serve(args, global.json, started).map(|()| exit::DONE),
        Command::Check(args) => return server::check(args, global.json),
        Command::Schema => return out::json_pretty(&crate::config::schema::schema()).map(|()| exit::DONE),
        Command::Data(command) => return data::run(command, global.json),
        Command::Expose(args) => return services::expose(args, global.json, started).map(|()| exit::DONE),
        Command::Demo(args) => return demo::run(args, global.json, started),
        Command::Profile(command) => return profile::run(command, &global),
        Command::Completion { shell } => return completion(*shell),
        Command::Version => return version(global.json),
        _ => {}
    }
    let target = profile::target(&global)?;
    if global.verbose {
        tell_origin(&target);
    }
    let ctx = Ctx { target, json: global.json, yes: global.yes };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| CliError::local(format!("the runtime cannot start: {why}")))?;
    runtime.block_on(async {
        match command {
            Command::Pub(args) => messages::publish(&ctx, &args).await,
            Command::Sub(args) => messages::subscribe(&ctx, args).await,
            Command::Call(args) => jobs::call(&ctx, &args).await,
            Command::Reply(args) => services::reply(&ctx, &args).await,
            Command::Service(command) => services::run(&ctx, command).await,
            Command::Topic(command) => topics::run(&ctx, command).await,
            Command::Group(command) => groups::run(&ctx, command).await,
            Command::Job(command) => jobs::run(&ctx, command).await,
            Command::Status => status::status(&ctx).await,
            Command::Health(args) => status::health(&ctx, &args).await,
            // The others have returned above.
            _ => Ok(exit::DONE),
        }
    })
}

fn tell_origin(target: &Target) {
    note!("server  {}  ({})", target.url, target.url_from);
    match &target.token {
        Some(_) => note!("token   set  ({})", target.token_from),
        None => note!("token   none"),
    }
    if let Some(ca) = &target.ca {
        note!("ca      {}  ({})", ca.display(), target.ca_from);
    }
}

/// The log goes to standard error: for people on a terminal, else as JSON. Commands are quiet unless `RUST_LOG` says
/// otherwise.
fn start_log(form: Option<&str>, serves: bool) {
    let default = if serves { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    let json = form.map_or(!std::io::stderr().is_terminal(), |form| form == "json");
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails only when a log is set up already.
    let _ = if json { builder.json().try_init() } else { builder.with_ansi(colour()).try_init() };
}

fn completion(shell: clap_complete::Shell) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "switchboard", &mut script);
    out::bytes(&script)?;
    Ok(exit::DONE)
}

fn version(json: bool) -> Result<u8, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        out::json(&serde_json::json!({ "version": version }))?;
    } else {
        out::line(&format!("switchboard {version}"))?;
    }
    Ok(exit::DONE)
}

/// For clap: a duration that stays text on its way to the server.
fn duration_arg(text: &str) -> Result<Duration, String> {
    units::duration(text)
}

/// For clap: a size in bytes.
fn size_arg(text: &str) -> Result<u64, String> {
    units::size(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
