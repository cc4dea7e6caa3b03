//! `topic`: the topics of a server.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{Ctx, duration_arg, out, size_arg};
use crate::client::{Client, Request, segment, with_query};
use crate::config::units::{duration_text, name, size_text};
use crate::error::{CliError, exit};

/// `switchboard topic …`
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// List topics
    List {
        /// Only those whose name begins like this
        prefix: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
        limit: usize,
    },
    /// Describe a topic
    Show {
        /// Its name
        name: String,
    },
    /// Create a topic; it is an error if there is one
    Create {
        /// Its name
        name: String,
        #[command(flatten)]
        policy: Policy,
    },
    /// Change what is given, and leave the rest
    Update {
        /// Its name
        name: String,
        #[command(flatten)]
        policy: Policy,
    },
    /// Delete a topic with its messages and groups
    Delete {
        /// Its name
        name: String,
    },
}

/// What a topic may be told.
#[derive(Debug, Args)]
pub struct Policy {
    /// How many partitions
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// Messages older than this go
    #[arg(long, value_name = "TIME", value_parser = duration_arg)]
    keep_age: Option<Duration>,
    /// The oldest go when there are more bytes than this
    #[arg(long, value_name = "SIZE", value_parser = size_arg)]
    keep_bytes: Option<u64>,
    /// What every group has acknowledged goes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    keep_until_consumed: Option<bool>,
    /// Largest body of a message
    #[arg(long, value_name = "SIZE", value_parser = size_arg)]
    max_message: Option<u64>,
    /// Kept in memory only
    #[arg(long)]
    memory: bool,
    /// Pattern that the topic takes beside its own name; may be repeated
    #[arg(long = "claim", value_name = "PATTERN")]
    claims: Vec<String>,
}

impl Policy {
    fn json(&self) -> Value {
        let mut policy = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                policy.insert(name.to_owned(), value);
            }
        };
        set("partitions", self.partitions.map(Value::from));
        set("keep_age", self.keep_age.map(|d| duration_text(d).into()));
        set("keep_bytes", self.keep_bytes.map(Value::from));
        set("keep_until_consumed", self.keep_until_consumed.map(Value::from));
        set("max_message", self.max_message.map(Value::from));
        set("memory", self.memory.then(|| true.into()));
        set("claims", (!self.claims.is_empty()).then(|| self.claims.clone().into()));
        Value::Object(policy)
    }
}

/// Reads a list page by page until its end or until there are enough.
pub async fn pages(
    client: &Client,
    path: &str,
    query: &[(&str, Option<String>)],
    list: &str,
    most: usize,
) -> Result<Vec<Value>, CliError> {
    let mut found: Vec<Value> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let want = most.saturating_sub(found.len()).min(1000);
        if want == 0 {
            return Ok(found);
        }
        let mut query = query.to_vec();
        query.extend([("after", after.clone()), ("limit", Some(want.to_string()))]);
        let mut page = client.json(Method::GET, &with_query(path, &query), None).await?;
        let next = page["next"].as_str().map(str::to_owned);
        let items = page[list].as_array_mut().map(std::mem::take).unwrap_or_default();
        let empty = items.is_empty();
        found.extend(items);
        // A page that says where it goes on and does not move would go on for ever.
        if empty || next.is_none() || next == after {
            found.truncate(most);
            return Ok(found);
        }
        after = next;
    }
}

fn legal(topic: &str) -> Result<String, CliError> {
    name(topic)
        .map_err(|why| CliError::usage(format!("`{topic}` is not a legal name of a topic")).help(why))?;
    Ok(format!("/topics/{}", segment(topic)))
}

/// Runs one of them.
pub async fn run(ctx: &Ctx, command: TopicCommand) -> Result<u8, CliError> {
    let client = ctx.client()?;
    match command {
        TopicCommand::List { prefix, limit } => {
            let topics = pages(&client, "/topics", &[("prefix", prefix)], "topics", limit).await?;
            if ctx.json {
                out::json(&json!({ "topics": topics }))?;
            } else {
                let rows: Vec<Vec<String>> = topics.iter().map(row).collect();
                out::table(&["NAME", "PARTITIONS", "MESSAGES", "BYTES", "GROUPS", "KEPT"], &rows)?;
            }
        }
        TopicCommand::Show { name } => {
            let topic = client.json(Method::GET, &format!("{}/info", legal(&name)?), None).await?;
            show(ctx, &topic)?;
        }
        TopicCommand::Create { name, policy } => {
            let request =
                Request::new(Method::PUT, legal(&name)?).header("if-none-match", "*").json(&policy.json());
            let answer = client.send(&request).await.map_err(|error| match error.code.as_str() {
                // The server speaks of ETags, which the command line has none of.
                "SB0210" => {
                    let help = vec![
                        format!("see it:     switchboard topic show {name}"),
                        format!("change it:  switchboard topic update {name}"),
                    ];
                    CliError { help, ..error }
                }
                _ => error,
            })?;
            done(ctx, &answer.value()?, &format!("created {name}"))?;
        }
        TopicCommand::Update { name, policy } => {
            let change = policy.json();
            if change.as_object().is_none_or(Map::is_empty) {
                return Err(CliError::usage("nothing to change").help("for example:  --keep-age 7d"));
            }
            let topic = client.json(Method::PATCH, &legal(&name)?, Some(&change)).await?;
            done(ctx, &topic, &format!("updated {name}"))?;
        }
        TopicCommand::Delete { name } => {
            let path = legal(&name)?;
            ctx.confirm(&format!("delete the topic {name} with its messages and groups"))?;
            client.send(&Request::new(Method::DELETE, path)).await?;
            done(ctx, &json!({ "deleted": name }), &format!("deleted {name}"))?;
        }
    }
    Ok(exit::DONE)
}

/// Says that something is done, or shows what came of it.
pub fn done(ctx: &Ctx, value: &Value, text: &str) -> Result<(), CliError> {
    if ctx.json { out::json(value) } else { out::line(text) }
}

fn bytes_of(topic: &Value) -> u64 {
    topic["partition"].as_array().into_iter().flatten().filter_map(|p| p["bytes"].as_u64()).sum()
}

fn kept(topic: &Value) -> String {
    let mut rules = Vec::new();
    if let Some(age) = topic["keep_age"].as_str() {
        rules.push(age.to_owned());
    }
    if let Some(bytes) = topic["keep_bytes"].as_u64() {
        rules.push(size_text(bytes));
    }
    if topic["keep_until_consumed"] == true {
        rules.push("until consumed".to_owned());
    }
    if rules.is_empty() { "everything".to_owned() } else { rules.join(", ") }
}

fn row(topic: &Value) -> Vec<String> {
    let partitions = topic["partitions"]
        .as_u64()
        .map_or_else(|| topic["partition"].as_array().map_or(0, Vec::len).to_string(), |n| n.to_string());
    vec![
        out::cell(&topic["name"]),
        partitions,
        out::cell(&topic["messages"]),
        size_text(bytes_of(topic)),
        out::cell(&topic["groups"]),
        kept(topic),
    ]
}

fn show(ctx: &Ctx, topic: &Value) -> Result<(), CliError> {
    if ctx.json {
        return out::json(topic);
    }
    let claims: Vec<String> = topic["claims"].as_array().into_iter().flatten().map(out::cell).collect();
    out::pairs(&[
        ("name", out::cell(&topic["name"])),
        ("messages", out::cell(&topic["messages"])),
        ("bytes", size_text(bytes_of(topic))),
        ("groups", out::cell(&topic["groups"])),
        ("kept", kept(topic)),
        ("max message", topic["max_message"].as_u64().map_or_else(String::new, size_text)),
        ("in memory", out::cell(&topic["memory"])),
        ("claims", claims.join(" ")),
        ("created", out::cell(&topic["created"])),
        ("URL", format!("{}/topics/{}", ctx.target.url, segment(&out::cell(&topic["name"])))),
    ])?;
    let rows: Vec<Vec<String>> = topic["partition"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| {
            vec![
                out::cell(&p["partition"]),
                out::cell(&p["start"]),
                out::cell(&p["end"]),
                size_text(p["bytes"].as_u64().unwrap_or(0)),
            ]
        })
        .collect();
    out::line("")?;
    out::table(&["PARTITION", "START", "END", "BYTES"], &rows)
}
