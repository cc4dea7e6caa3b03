//! `group`: named consumers of a topic, and working through one by hand.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::topics::{done, pages};
use super::{Ctx, duration_arg, input, out};
use crate::client::{Client, Request, segment};
use crate::config::units::duration_text;
use crate::error::{CliError, exit};

/// `switchboard group …`
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List groups
    List {
        /// Only those of this topic
        topic: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
        limit: usize,
    },
    /// Describe a group
    Show {
        #[command(flatten)]
        of: Of,
    },
    /// Create a group, or change the options given
    Create {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        options: Options,
    },
    /// Delete a group; the messages stay in the topic
    Delete {
        #[command(flatten)]
        of: Of,
    },
    /// Take messages: each is leased, to be settled by ack or nack
    Lease {
        #[command(flatten)]
        of: Of,
        /// At most so many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
        max: u32,
        /// Wait so long for the first one
        #[arg(long, value_name = "TIME", value_parser = duration_arg)]
        wait: Option<Duration>,
        /// How long they are leased
        #[arg(long, value_name = "TIME", value_parser = duration_arg)]
        lease: Option<Duration>,
        /// Name of the consumer
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
    },
    /// Say that messages are done with
    Ack {
        #[command(flatten)]
        of: Of,
        /// Handles given by lease
        #[arg(required = true, value_name = "HANDLE")]
        handles: Vec<String>,
    },
    /// Give messages back
    Nack {
        #[command(flatten)]
        of: Of,
        /// Handles given by lease
        #[arg(required = true, value_name = "HANDLE")]
        handles: Vec<String>,
        /// Not before so long
        #[arg(long, value_name = "TIME", value_parser = duration_arg, conflicts_with = "dead")]
        delay: Option<Duration>,
        /// To the dead-letter topic now
        #[arg(long)]
        dead: bool,
    },
    /// Keep messages leased for a new term
    Extend {
        #[command(flatten)]
        of: Of,
        /// Handles given by lease
        #[arg(required = true, value_name = "HANDLE")]
        handles: Vec<String>,
        /// The new term, from now
        #[arg(long, value_name = "TIME", value_parser = duration_arg)]
        lease: Option<Duration>,
    },
    /// See what would be delivered next, without taking it
    Peek {
        #[command(flatten)]
        of: Of,
        /// At most so many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
        limit: u32,
    },
    /// Move a group to another position
    Seek {
        #[command(flatten)]
        of: Of,
        /// start, end, offset:N, time:T, or so long ago: -1h or 1h
        #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
        to: String,
        /// Only this partition
        #[arg(long, value_name = "N")]
        partition: Option<u32>,
        /// Only say what would be skipped or read again
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which group.
#[derive(Debug, Args)]
pub struct Of {
    /// The topic
    topic: String,
    /// The group
    group: String,
}

impl Of {
    fn path(&self, action: &str) -> String {
        format!("/topics/{}/groups/{}{action}", segment(&self.topic), segment(&self.group))
    }

    fn name(&self) -> String {
        format!("{}/{}", self.topic, self.group)
    }
}

/// What a group may be told.
#[derive(Debug, Args)]
pub struct Options {
    /// queue hands out leases, cursor remembers a position
    #[arg(long, value_parser = ["queue", "cursor"])]
    mode: Option<String>,
    /// Where a new group begins: start, end, offset:N, time:T, -1h
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    start: Option<String>,
    /// How long a delivery is leased
    #[arg(long, value_name = "TIME", value_parser = duration_arg)]
    lease: Option<Duration>,
    /// How often a message is tried; 0 is no limit
    #[arg(long, value_name = "N")]
    attempts: Option<u32>,
    /// Topic for messages that failed their last attempt
    #[arg(long, value_name = "TOPIC")]
    dead_letter: Option<String>,
    /// Delay of an automatic return
    #[arg(long, value_name = "TIME", value_parser = duration_arg)]
    backoff: Option<Duration>,
    /// key hands out messages of one key one at a time
    #[arg(long, value_parser = ["none", "key"])]
    order: Option<String>,
}

/// An object of the members that are there.
fn object(members: &[(&str, Option<Value>)]) -> Value {
    let members: Map<String, Value> =
        members.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?))).collect();
    Value::Object(members)
}

fn time(duration: Option<Duration>) -> Option<Value> {
    duration.map(|d| duration_text(d).into())
}

/// Runs one of them.
pub async fn run(ctx: &Ctx, command: GroupCommand) -> Result<u8, CliError> {
    let client = ctx.client()?;
    match command {
        GroupCommand::List { topic, limit } => {
            let groups = pages(&client, "/groups", &[("topic", topic)], "groups", limit).await?;
            if ctx.json {
                out::json(&json!({ "groups": groups }))?;
            } else {
                let cells = ["topic", "name", "mode", "ready", "leased", "delayed", "dead"];
                let rows: Vec<Vec<String>> =
                    groups.iter().map(|g| cells.iter().map(|cell| out::cell(&g[*cell])).collect()).collect();
                out::table(&["TOPIC", "GROUP", "MODE", "READY", "LEASED", "DELAYED", "DEAD"], &rows)?;
            }
        }
        GroupCommand::Show { of } => {
            let group = client.json(Method::GET, &of.path(""), None).await?;
            show(ctx, &group)?;
        }
        GroupCommand::Create { of, options } => {
            let body = object(&[
                ("mode", options.mode.map(Value::from)),
                ("start", options.start.map(Value::from)),
                ("lease", time(options.lease)),
                ("attempts", options.attempts.map(Value::from)),
                ("dead_letter", options.dead_letter.map(Value::from)),
                ("backoff", time(options.backoff)),
                ("order", options.order.map(Value::from)),
            ]);
            let answer = client.send(&Request::new(Method::PUT, of.path("")).json(&body)).await?;
            let what = if answer.status.as_u16() == 201 { "created" } else { "changed" };
            done(ctx, &answer.value()?, &format!("{what} {}", of.name()))?;
        }
        GroupCommand::Delete { of } => {
            ctx.confirm(&format!("delete the group {} and its position", of.name()))?;
            client.send(&Request::new(Method::DELETE, of.path(""))).await?;
            done(ctx, &json!({ "deleted": of.name() }), &format!("deleted {}", of.name()))?;
        }
        GroupCommand::Lease { of, max, wait, lease, consumer } => {
            let body = object(&[
                ("max", Some(max.into())),
                ("wait", time(wait)),
                ("lease", time(lease)),
                ("consumer", consumer.map(Value::from)),
            ]);
            let request = Request::new(Method::POST, of.path("/lease"))
                .json(&body)
                .timeout(Some(wait.unwrap_or_default() + Duration::from_secs(30)));
            let answer = client.send(&request).await?.value()?;
            messages(ctx, &answer)?;
        }
        GroupCommand::Ack { of, handles } => {
            return settle(ctx, &client, of.path("/ack"), json!({ "handles": handles }), "acknowledged")
                .await;
        }
        GroupCommand::Nack { of, handles, delay, dead } => {
            let body = object(&[
                ("handles", Some(handles.into())),
                ("delay", time(delay)),
                ("dead", dead.then(|| true.into())),
            ]);
            return settle(ctx, &client, of.path("/nack"), body, "given back").await;
        }
        GroupCommand::Extend { of, handles, lease } => {
            let body = object(&[("handles", Some(handles.into())), ("lease", time(lease))]);
            return settle(ctx, &client, of.path("/extend"), body, "extended").await;
        }
        GroupCommand::Peek { of, limit } => {
            let answer = client.json(Method::GET, &of.path(&format!("/peek?limit={limit}")), None).await?;
            messages(ctx, &answer)?;
        }
        GroupCommand::Seek { of, mut to, partition, dry_run } => {
            if to.starts_with(|c: char| c.is_ascii_digit()) && crate::config::units::duration(&to).is_ok() {
                to.insert(0, '-');
            }
            crate::config::start(&to).map_err(|why| {
                CliError::usage(format!("`{to}` is no position: {why}"))
                    .help("write start, end, offset:N, time:2026-11-20T10:00:00Z, or 1h for an hour ago")
            })?;
            if !dry_run {
                ctx.confirm(&format!("move the group {} to {to}", of.name()))?;
            }
            let body = object(&[
                ("to", Some(to.into())),
                ("partition", partition.map(Value::from)),
                ("dry_run", dry_run.then(|| true.into())),
            ]);
            let answer = client.json(Method::POST, &of.path("/seek"), Some(&body)).await?;
            let would = if dry_run { "would be " } else { "" };
            let text =
                format!("{} {would}skipped, {} {would}delivered again", answer["skipped"], answer["again"]);
            done(ctx, &answer, &text)?;
        }
    }
    Ok(exit::DONE)
}

/// Acknowledges, gives back or extends; a handle that is stale makes it exit 1.
async fn settle(ctx: &Ctx, client: &Client, path: String, body: Value, done: &str) -> Result<u8, CliError> {
    let answer = client.json(Method::POST, &path, Some(&body)).await?;
    let results: &[Value] = answer["results"].as_array().map_or(&[], Vec::as_slice);
    let stale = results.iter().filter(|r| r["ok"] != true).count();
    if ctx.json {
        out::json(&answer)?;
    } else {
        for result in results {
            let handle = out::cell(&result["handle"]);
            if result["ok"] == true {
                out::line(&crate::client::clean(&format!("{done}  {handle}")))?;
            } else {
                let code = out::cell(&result["code"]);
                out::line(&crate::client::clean(&format!("stale  {handle}  ({code})")))?;
            }
        }
    }
    Ok(if stale == 0 { exit::DONE } else { exit::REFUSED })
}

/// Messages of a lease or a peek: one object a line, or three lines each.
fn messages(ctx: &Ctx, answer: &Value) -> Result<(), CliError> {
    let list: &[Value] = answer["messages"].as_array().map_or(&[], Vec::as_slice);
    if ctx.json {
        return out::json(answer);
    }
    if list.is_empty() {
        note!("no messages");
    }
    for message in list {
        let body = input::shown_body(message);
        let mut head = format!(
            "{} {}-{}",
            out::cell(&message["topic"]),
            out::cell(&message["partition"]),
            out::cell(&message["offset"])
        );
        if !message["attempt"].is_null() {
            head.push_str(&format!("  attempt {}", message["attempt"]));
        }
        if let Some(key) = message["key"].as_str() {
            head.push_str(&format!("  key={key}"));
        }
        out::line(&crate::client::clean(&format!("[{head}]")))?;
        if let Some(handle) = message["handle"].as_str() {
            out::line(&format!("handle  {}", crate::client::clean(handle)))?;
        }
        match std::str::from_utf8(&body) {
            Ok(text) => out::line(&out::shown(text))?,
            Err(_) => out::line(&format!("({} bytes that are not text)", body.len()))?,
        }
    }
    Ok(())
}

fn show(ctx: &Ctx, group: &Value) -> Result<(), CliError> {
    if ctx.json {
        return out::json(group);
    }
    let names = [
        "topic",
        "name",
        "mode",
        "order",
        "start",
        "lease",
        "attempts",
        "backoff",
        "dead_letter",
        "ready",
        "leased",
        "delayed",
        "depth",
        "acked",
        "dead",
        "expired",
    ];
    let pairs: Vec<(&str, String)> =
        names.iter().filter(|n| !group[**n].is_null()).map(|n| (*n, out::cell(&group[*n]))).collect();
    out::pairs(&pairs)?;
    let rows: Vec<Vec<String>> = group["position"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| ["partition", "floor", "end"].iter().map(|cell| out::cell(&p[*cell])).collect())
        .collect();
    out::line("")?;
    out::table(&["PARTITION", "FLOOR", "END"], &rows)
}
