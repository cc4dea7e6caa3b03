//! `service`, `expose` and `reply`: services that are described, seen from outside.
//!
//! They use the server's own API, `switchboard.v1`, as JSON over its default paths.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::server::{self, ServerArgs};
use super::{Ctx, input, out};
use crate::client::{Client, Request, segment};
use crate::error::{CliError, exit};

/// `switchboard service …`
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// List services with where their calls go
    List,
    /// Describe a service: its methods, how to call them, how they fared
    Show {
        /// package.Service
        name: String,
    },
    /// Write the description of a service: a compiled FileDescriptorSet
    Export {
        /// package.Service
        name: String,
        /// The file; standard output by default
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Arguments of `expose`.
#[derive(Debug, Args)]
pub struct ExposeArgs {
    /// HOST:PORT or URL of a running gRPC service, or a .proto file whose methods workers serve
    #[arg(value_name = "TARGET|FILE")]
    target: String,
    /// Files that describe it, when it cannot tell itself
    #[arg(long, value_name = "FILE")]
    proto: Vec<PathBuf>,
    /// Only these services
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Only over these protocols
    #[arg(long = "as", value_name = "PROTOCOL", value_delimiter = ',')]
    shown: Vec<String>,
    /// Add it to this configuration file instead of starting a server
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `reply`.
#[derive(Debug, Args)]
pub struct ReplyArgs {
    /// package.Service/Method
    method: String,
    /// The answer to every call: text, @FILE, - for standard input, or k=v… for a JSON object
    #[arg(long, value_name = "BODY")]
    body: String,
    /// Content type [default: application/json when it is that]
    #[arg(short = 't', long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Stop after so many calls
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// A call of the server's own API.
async fn own(client: &Client, method: &str, body: &Value) -> Result<Value, CliError> {
    client.json(Method::POST, &format!("/switchboard.v1.{method}"), Some(body)).await
}

/// Runs one of the `service` commands.
pub async fn run(ctx: &Ctx, command: ServiceCommand) -> Result<u8, CliError> {
    let client = ctx.client()?;
    match command {
        ServiceCommand::List => {
            let listed = own(&client, "Services/List", &json!({})).await?;
            if ctx.json {
                out::json(&listed)?;
            } else {
                let rows: Vec<Vec<String>> = services(&listed).map(row).collect();
                out::table(&["SERVICE", "METHODS", "TARGET", "STATE", "PROTOCOLS"], &rows)?;
            }
        }
        ServiceCommand::Show { name } => {
            let service = match own(&client, "Services/Get", &json!({ "name": name })).await {
                Err(error) if error.exit == exit::MISSING => {
                    return Err(with_near(&client, &name, error).await);
                }
                other => other?,
            };
            if ctx.json { out::json(&service)? } else { show(&service)? }
        }
        ServiceCommand::Export { name, output } => {
            use base64::Engine as _;
            let source = own(&client, "Services/GetSource", &json!({ "name": name })).await?;
            let text = source["descriptorSet"].as_str().unwrap_or_default();
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|why| {
                CliError::new(exit::REFUSED, "SB0901", format!("the answer is not base64: {why}"))
            })?;
            match output {
                None => out::bytes(&bytes)?,
                Some(path) => std::fs::write(&path, bytes)
                    .map_err(|why| CliError::local(format!("{} cannot be written: {why}", path.display())))?,
            }
        }
    }
    Ok(exit::DONE)
}

/// The error that there is no such service, with the names that may be meant.
async fn with_near(client: &Client, name: &str, error: CliError) -> CliError {
    let Ok(listed) = own(client, "Services/List", &json!({})).await else { return error };
    let known: Vec<&str> = services(&listed).filter_map(|s| s["name"].as_str()).collect();
    let short = |known: &&str| known.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case(name));
    let near = crate::config::units::nearest(name, known.iter().copied()).first().copied();
    let error = CliError { help: Vec::new(), ..error };
    match near.or_else(|| known.iter().copied().find(short)) {
        Some(near) => error.help(format!("did you mean {near}?")),
        None => error,
    }
    .help("see all:  switchboard service list")
}

fn services(listed: &Value) -> impl Iterator<Item = &Value> {
    listed["services"].as_array().into_iter().flatten()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn row(service: &Value) -> Vec<String> {
    let state = if service["healthy"] == true {
        "well".to_owned()
    } else {
        service["healthDetail"].as_str().unwrap_or("not well").to_owned()
    };
    let protocols: Vec<&str> = list(&service["protocols"]).filter_map(Value::as_str).collect();
    vec![
        out::cell(&service["name"]),
        list(&service["methods"]).count().to_string(),
        out::cell(&service["target"]),
        state,
        if protocols.is_empty() { "all".to_owned() } else { protocols.join(", ") },
    ]
}

fn show(service: &Value) -> Result<(), CliError> {
    let cells = row(service);
    let names = ["service", "methods", "target", "state", "protocols"];
    out::pairs(&names.into_iter().zip(cells).collect::<Vec<_>>())?;
    for method in list(&service["methods"]) {
        let stream = |on: &Value| if *on == true { "stream " } else { "" };
        let count = |name: &str| method["counts"][name].as_str().unwrap_or("0").to_owned();
        let failed: u64 = list(&method["counts"]["failed"])
            .filter_map(|c| c["count"].as_str().and_then(|n| n.parse::<u64>().ok()))
            .sum();
        out::line("")?;
        out::line(&format!(
            "{}({}{}) returns ({}{})",
            out::cell(&method["name"]),
            stream(&method["clientStreaming"]),
            out::cell(&method["input"]),
            stream(&method["serverStreaming"]),
            out::cell(&method["output"]),
        ))?;
        if let Some(comment) = method["comment"].as_str().filter(|c| !c.is_empty()) {
            out::line(&format!("  {}", comment.trim().replace('\n', "\n  ")))?;
        }
        out::line(&format!("  POST /{}", out::cell(&method["path"])))?;
        for binding in list(&method["bindings"]) {
            out::line(&format!("  {} {}", out::cell(&binding["httpMethod"]), out::cell(&binding["path"])))?;
        }
        let p99 = method["counts"]["p99"].as_str().map_or(String::new(), |d| format!(", 99 % within {d}"));
        out::line(&format!(
            "  {} succeeded, {failed} failed, {} running{p99}",
            count("succeeded"),
            count("running")
        ))?;
    }
    Ok(())
}

/// `switchboard expose`: a development server in front of an existing service.
pub fn expose(args: &ExposeArgs, json: bool, started: Instant) -> Result<(), CliError> {
    let is_file = [".proto", ".binpb", ".desc", ".thrift"].iter().any(|end| args.target.ends_with(end));
    let mut lines: Vec<String> = Vec::new();
    let mut protos = args.proto.clone();
    if is_file {
        protos.push(PathBuf::from(&args.target));
    } else {
        let url =
            if args.target.contains("://") { args.target.clone() } else { format!("grpc://{}", args.target) };
        lines.push(format!("target = {}", text(&url)));
    }
    if !protos.is_empty() {
        let paths = protos
            .iter()
            .map(|path| std::path::absolute(path).map(|p| text(&p.to_string_lossy())))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|why| CliError::usage(format!("a path cannot be used: {why}")))?;
        lines.push(format!("proto = [{}]", paths.join(", ")));
    }
    for (key, values) in [("services", &args.service), ("as", &args.shown)] {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|v| text(v)).collect();
            lines.push(format!("{key} = [{}]", values.join(", ")));
        }
    }
    let section = format!("[services.exposed]\n{}\n", lines.join("\n"));
    if let Some(file) = &args.save {
        let failed =
            |why: std::io::Error| CliError::local(format!("{} cannot be written: {why}", file.display()));
        let mut file_open =
            std::fs::OpenOptions::new().create(true).append(true).open(file).map_err(failed)?;
        file_open.write_all(format!("\n{section}").as_bytes()).map_err(failed)?;
        return out::line(&format!("added to {}:\n{section}", file.display()));
    }
    let mut server = args.server.clone();
    server.add("expose", section);
    let url = server.main_url()?;
    let keep = format!("switchboard expose {} --save switchboard.toml", args.target);
    server::develop(&server, json, started, move || {
        // The server runs on this thread's runtime: what is asked of it comes from another one.
        std::thread::spawn(move || tell(&url, &keep, json));
    })
}

fn text(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

/// Asks the server that has just started what it offers, and prints it.
fn tell(url: &str, keep: &str, json: bool) {
    let asked = || -> Result<Value, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|why| CliError::local(why.to_string()))?;
        let client = Client::new(crate::client::Target::plain(url))?;
        runtime.block_on(own(&client, "Services/List", &json!({})))
    };
    let listed = match asked() {
        Ok(listed) => listed,
        Err(error) => return note!("{}", error.render(false)),
    };
    if json {
        let _ = out::json(&listed);
        return;
    }
    let offered: Vec<&Value> =
        services(&listed).filter(|s| !s["name"].as_str().is_some_and(own_name)).collect();
    if offered.is_empty() {
        note!("nothing is offered yet: the target has not said what it has, and will be asked again");
    }
    for service in offered {
        let name = out::cell(&service["name"]);
        let methods: Vec<&Value> = list(&service["methods"]).collect();
        note!("\n{name} at {}, {} methods", out::cell(&service["target"]), methods.len());
        for method in &methods {
            note!("  REST        POST {url}/{}", out::cell(&method["path"]));
            for binding in list(&method["bindings"]) {
                note!(
                    "              {} {url}{}",
                    out::cell(&binding["httpMethod"]),
                    out::cell(&binding["path"])
                );
            }
        }
        note!("  Connect     the same URLs        gRPC, gRPC-Web   {}", url.trim_start_matches("http://"));
        note!("  GraphQL     {url}/graphql");
        if let Some(method) = methods.first() {
            note!("  JSON-RPC    {url}/rpc            method {:?}", out::cell(&method["path"]));
        }
        note!("  MCP         {url}/mcp            Thrift   {url}/thrift/{name}");
        for method in methods.iter().filter(|m| m["clientStreaming"] == true) {
            note!(
                "  not over plain REST, JSON-RPC, GraphQL, Thrift: {} (it streams from the client). Use gRPC, Connect or a WebSocket.",
                out::cell(&method["name"])
            );
        }
    }
    note!("\nOpenAPI {url}/openapi.json   console {url}/console/\nkeep this:  {keep}");
}

fn own_name(name: &str) -> bool {
    name.starts_with("switchboard.v1.") || name.starts_with("google.longrunning.")
}

/// `switchboard reply`: takes the jobs of a method and answers all of them alike.
pub async fn reply(ctx: &Ctx, args: &ReplyArgs) -> Result<u8, CliError> {
    let client = ctx.client()?;
    let body = input::body(Some(&args.body))?;
    let content_type = args.content_type.as_deref().or(input::content_type(&body)).map(str::to_owned);
    let mut left = args.count;
    note!("answering {} (end with Ctrl-C)", args.method);
    while left != Some(0) {
        let wanted =
            json!({ "methods": [args.method], "max": 1, "wait": "20s", "worker": "switchboard reply" });
        let request =
            Request::new(Method::POST, "/jobs/take").json(&wanted).timeout(Some(Duration::from_secs(60)));
        let taken = client.send(&request).await?.value()?;
        for job in list(&taken["jobs"]) {
            let id = out::cell(&job["id"]);
            let complete = Request::new(Method::POST, format!("/jobs/{}/complete", segment(&id)))
                .header("sb-lease", out::cell(&job["lease"]).into_bytes())
                .maybe("content-type", content_type.as_deref())
                .body(body.clone());
            client.send(&complete).await?;
            if ctx.json {
                out::json(job)?;
            } else {
                out::line(&format!("{id}  {}", String::from_utf8_lossy(&input::shown_body(job))))?;
            }
            left = left.map(|n| n.saturating_sub(1));
        }
    }
    Ok(exit::DONE)
}
