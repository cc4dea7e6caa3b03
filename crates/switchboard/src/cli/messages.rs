//! `pub` and `sub`: by the HTTP surface, or by the server's own API over another protocol.

mod api;

use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use clap::Args;
use futures_util::future::join_all;
use http::Method;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Ctx, duration_arg, input, out};
use crate::client::{self, Client, Request, segment, with_query};
use crate::config::units::{self, duration_text};
use crate::error::{CliError, exit};
use crate::follow::{Flow, Follow};
use crate::sse;

/// What one request of a batch may hold, with room to spare.
const BATCH_MESSAGES: usize = 1000;
const BATCH_BYTES: usize = 7 << 20;

/// What `pub --help` says at its end.
const PUB_EXAMPLES: &str = "Examples:
  switchboard pub orders.created '{\"id\":7}'
  switchboard pub orders.created @order.json -k customer-7 -H source=import
  seq 1000 | switchboard pub numbers - --batch
  switchboard pub orders.created hello --via graphql     the same by another protocol";

/// Arguments of `pub`.
#[derive(Debug, Args)]
#[command(after_help = PUB_EXAMPLES)]
pub struct PubArgs {
    /// Address to publish to
    topic: String,
    /// The message: text, @FILE, or - for standard input (the default when it is piped in)
    body: Option<String>,
    /// Key: messages of one key keep their order
    #[arg(short, long)]
    key: Option<String>,
    /// Header of the message, name=value; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = input::header)]
    headers: Vec<(String, String)>,
    /// Content type [default: application/json when it is that]
    #[arg(short = 't', long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Publish it so many times
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// At most so many a second: 50 or 50/s
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// To whoever listens now, kept nowhere
    #[arg(long, conflicts_with_all = ["batch", "delay"])]
    live: bool,
    /// Groups hold it back so long
    #[arg(long, value_name = "TIME", value_parser = duration_arg)]
    delay: Option<Duration>,
    /// Groups do not deliver it later than that
    #[arg(long, value_name = "TIME", value_parser = duration_arg)]
    expires: Option<Duration>,
    /// Publish at most once under this key, however often it is tried
    #[arg(long, value_name = "KEY", conflicts_with_all = ["count", "batch"])]
    idempotency_key: Option<String>,
    /// Each line of the body is a message of its own
    #[arg(long)]
    batch: bool,
    /// The protocol it goes by
    #[arg(long, value_name = "PROTOCOL", default_value = "rest", value_parser = super::via::PROTOCOLS)]
    via: String,
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err(format!("`{text}` is not a rate: write 50/s")),
    }
}

/// `switchboard pub`
pub async fn publish(ctx: &Ctx, args: &PubArgs) -> Result<u8, CliError> {
    let body = Bytes::from(input::body(args.body.as_deref())?);
    let client = ctx.client()?;
    let bodies = if args.batch { batches(&body)? } else { vec![body] };
    let started = Instant::now();
    let (mut sent, mut messages) = (0u32, 0u64);
    for _ in 0..args.count {
        for body in &bodies {
            if let Some(rate) = args.rate {
                let due = Duration::try_from_secs_f64(f64::from(sent) / rate).unwrap_or(Duration::MAX);
                tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
            }
            sent = sent.saturating_add(1);
            let answer = match args.via.as_str() {
                "rest" => client.send(&request(args, body.clone())).await?.value()?,
                _ => api::publish(ctx, args, body).await?,
            };
            match answer["messages"].as_array() {
                Some(list) => {
                    for one in list {
                        messages += 1;
                        published(ctx, one)?;
                    }
                }
                None => {
                    messages += 1;
                    published(ctx, &answer)?;
                }
            }
        }
    }
    if messages > 1 && !ctx.json {
        let seconds = started.elapsed().as_secs_f64();
        note!("{messages} messages in {seconds:.2} s ({:.0}/s)", messages as f64 / seconds.max(0.001));
    }
    Ok(exit::DONE)
}

fn request(args: &PubArgs, body: Bytes) -> Request {
    let flag = |on: bool, value: &str| on.then(|| value.to_owned());
    let query = [("live", flag(args.live, "")), ("batch", flag(args.batch, "ndjson"))];
    let path = with_query(&format!("/topics/{}", segment(&args.topic)), &query);
    let guessed = if args.batch { Some("application/json") } else { input::content_type(&body) };
    let mut request = Request::new(Method::POST, path)
        .maybe("content-type", args.content_type.as_deref().or(guessed))
        .maybe("sb-delay", args.delay.map(duration_text).as_deref())
        .maybe("sb-expires", args.expires.map(duration_text).as_deref())
        .maybe("idempotency-key", args.idempotency_key.as_deref());
    request = key_header(request, args.key.as_deref());
    for (name, value) in &args.headers {
        request = request.header(format!("sb-header-{name}"), value.as_str());
    }
    request.body(body)
}

/// A key goes as it is if a header can carry it, otherwise as base64.
pub fn key_header(request: Request, key: Option<&str>) -> Request {
    match key {
        None => request,
        Some(key) if !key.is_empty() && key.bytes().all(|b| (0x21..0x7f).contains(&b)) => {
            request.header("sb-key", key)
        }
        Some(key) => request.header("sb-key-base64", base64::engine::general_purpose::STANDARD.encode(key)),
    }
}

fn published(ctx: &Ctx, answer: &Value) -> Result<(), CliError> {
    if ctx.json {
        return out::json(answer);
    }
    if answer["live"] == true {
        return out::line(&format!("live, delivered to {}", out::cell(&answer["delivered"])));
    }
    out::line(&client::clean(&format!(
        "{} {}-{}  {}",
        out::cell(&answer["topic"]),
        answer["partition"],
        answer["offset"],
        out::cell(&answer["id"])
    )))
}

/// Cuts lines into requests that stay below the limits.
fn batches(body: &Bytes) -> Result<Vec<Bytes>, CliError> {
    let mut requests: Vec<Vec<u8>> = Vec::new();
    let mut lines_in_last = BATCH_MESSAGES;
    for line in body.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        match requests.last_mut() {
            Some(last) if lines_in_last < BATCH_MESSAGES && last.len() + line.len() < BATCH_BYTES => {
                last.push(b'\n');
                last.extend_from_slice(line);
                lines_in_last += 1;
            }
            _ => {
                requests.push(line.to_vec());
                lines_in_last = 1;
            }
        }
    }
    if requests.is_empty() {
        return Err(CliError::usage("the batch is empty").help("each line of the body is one message"));
    }
    Ok(requests.into_iter().map(Bytes::from).collect())
}

/// What `sub --help` says at its end.
const SUB_EXAMPLES: &str = "Examples:
  switchboard sub 'orders.>'                        what comes from now on
  switchboard sub orders.created --from start -n 10
  switchboard sub 'orders.>' --from 1h --json | jq .body
  switchboard sub orders.created --via grpc         the same by another protocol";

/// Arguments of `sub`.
#[derive(Debug, Args)]
#[command(after_help = SUB_EXAMPLES)]
pub struct SubArgs {
    /// Addresses or patterns: * is one segment, # any number, > one or more at the end
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Begin at start, end, offset:N, time:T, or so long ago: -1h or 1h
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true, conflicts_with_all = ["after", "last"])]
    from: Option<String>,
    /// Begin behind this cursor or message id
    #[arg(long, value_name = "CURSOR", conflicts_with = "last")]
    after: Option<String>,
    /// Begin with the newest N
    #[arg(long, value_name = "N")]
    last: Option<u64>,
    /// Stop after so many messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// The protocol it comes by
    #[arg(long, value_name = "PROTOCOL", default_value = "rest", value_parser = super::via::STREAMING)]
    via: String,
    /// Print nothing but the bodies, one a line
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Give up (exit 3) after being cut off for so long
    #[arg(long, value_name = "TIME", value_parser = duration_arg)]
    give_up: Option<Duration>,
}

/// `switchboard sub`
pub async fn subscribe(ctx: &Ctx, mut args: SubArgs) -> Result<u8, CliError> {
    for pattern in &args.patterns {
        units::pattern(pattern).map_err(CliError::usage)?;
    }
    if let Some(from) = &mut args.from {
        if from.starts_with(|c: char| c.is_ascii_digit()) && units::duration(from).is_ok() {
            from.insert(0, '-');
        }
        crate::config::start(from).map_err(|why| {
            CliError::usage(format!("`{from}` is no place to begin: {why}"))
                .help("write start, end, offset:N, time:2026-11-20T10:00:00Z, or 1h for an hour ago")
        })?;
    }
    if args.count == Some(0) {
        return Ok(exit::DONE);
    }
    let client = ctx.client()?;
    let mut follows = Vec::new();
    for pattern in &args.patterns {
        follows.push(prepare(&client, pattern, &args).await?);
    }
    let (sender, mut receiver) = mpsc::channel::<Result<Value, CliError>>(64);
    let by_api = args.via != "rest";
    let reading = join_all(follows.into_iter().zip(&args.patterns).map(|((follow, end), pattern)| {
        let (client, args, sender) = (&client, &args, sender.clone());
        async move {
            match by_api {
                true => api::follow(ctx, args, pattern, end, sender).await,
                false => read(client, follow, sender).await,
            }
        }
    }));
    drop(sender);
    let printing = async {
        let mut left = args.count;
        while let Some(message) = receiver.recv().await {
            received(ctx, &args, &message?)?;
            if let Some(left) = &mut left {
                *left -= 1;
                if *left == 0 {
                    break;
                }
            }
        }
        Ok(exit::DONE)
    };
    tokio::pin!(printing);
    tokio::select! {
        biased;
        result = &mut printing => result,
        _ = reading => printing.await,
    }
}

/// Looks first, so that a mistyped topic is an error at once and not a silent wait, and so that a connection lost before
/// the first message leaves no gap.
/// The second of what it gives is the cursor of the end, where there is one.
async fn prepare(
    client: &Client,
    pattern: &str,
    args: &SubArgs,
) -> Result<(Follow, Option<String>), CliError> {
    let path = format!("/topics/{}", segment(pattern));
    let history =
        args.from.as_deref().is_some_and(|from| from != "end") || args.after.is_some() || args.last.is_some();
    let look = with_query(&path, &[("from", Some("end".to_owned())), ("limit", Some("1".to_owned()))]);
    let looked = client.send(&Request::new(Method::GET, look)).await.and_then(|answer| answer.value());
    let end = match looked {
        Ok(page) => page["next"].as_str().map(str::to_owned),
        Err(error) if error.exit == exit::MISSING && history => return Err(error),
        Err(error) if error.exit == exit::MISSING => {
            note!("waiting: {}", error.title);
            for line in &error.help {
                note!("  {line}");
            }
            None
        }
        Err(error) => return Err(error),
    };
    let envelope = ("envelope", Some(String::new()));
    let first = with_query(
        &path,
        &[
            envelope.clone(),
            ("from", args.from.clone().or_else(|| (!history).then(|| "end".to_owned()))),
            ("after", args.after.clone()),
            ("last", args.last.map(|n| n.to_string())),
        ],
    );
    let end = end.filter(|_| !history);
    let later = match &end {
        Some(end) => with_query(&path, &[envelope.clone(), ("after", Some(end.clone()))]),
        _ => first.clone(),
    };
    let resume = with_query(&path, &[envelope]);
    Ok((Follow { first, later, resume, last_id: None, give_up: args.give_up }, end))
}

async fn read(client: &Client, mut follow: Follow, sender: mpsc::Sender<Result<Value, CliError>>) {
    let result = follow
        .run(client, async |event| {
            let message = match read_event(event)? {
                Read::Message(message) => message,
                Read::Goodbye => return Ok(Flow::Again),
                Read::Nothing => return Ok(Flow::Next),
            };
            Ok(if sender.send(Ok(message)).await.is_ok() { Flow::Next } else { Flow::Stop })
        })
        .await;
    if let Err(error) = result {
        // Nobody to tell means that the command is over already.
        let _ = sender.send(Err(error)).await;
    }
}

/// What an event of a topic means.
enum Read {
    Message(Value),
    Goodbye,
    Nothing,
}

fn read_event(event: sse::Event) -> Result<Read, CliError> {
    let value = serde_json::from_str::<Value>(&event.data);
    match event.name.as_str() {
        "envelope" => value.map(Read::Message).map_err(|why| {
            CliError::new(exit::REFUSED, "SB0006", format!("a message cannot be read: {why}"))
        }),
        "" | "message" => {
            let mut message = serde_json::json!({ "body": event.data });
            if let Some(id) = &event.id {
                message["id"] = id.as_str().into();
            }
            Ok(Read::Message(message))
        }
        "reset" => {
            Err(client::problem_error(exit::REFUSED, &value.unwrap_or(Value::Null)).unwrap_or_else(|| {
                CliError::new(
                    exit::REFUSED,
                    "SB0305",
                    "the position is gone: retention removed what comes next",
                )
                .help("go on with  --from start")
            }))
        }
        "end" => Ok(Read::Goodbye),
        _ => Ok(Read::Nothing),
    }
}

fn received(ctx: &Ctx, args: &SubArgs, message: &Value) -> Result<(), CliError> {
    if ctx.json {
        return out::json(message);
    }
    let body = input::shown_body(message);
    if args.raw {
        let mut bytes = body;
        bytes.push(b'\n');
        return out::bytes(&bytes);
    }
    let address = if message["address"].is_null() { &message["topic"] } else { &message["address"] };
    let mut head = out::cell(address);
    if !message["offset"].is_null() {
        head.push_str(&format!(" {}-{}", out::cell(&message["partition"]), message["offset"]));
    }
    if let Some(key) = message["key"].as_str() {
        head.push_str(&format!(" key={key}"));
    }
    let text = match std::str::from_utf8(&body) {
        Ok(text) => out::shown(text),
        Err(_) => format!("({} bytes that are not text; see them with --raw or --json)", body.len()),
    };
    out::line(&format!("[{}] {}", client::clean(&head), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_cut_by_lines() {
        let many = "{}\n".repeat(2500);
        let cut = batches(&Bytes::from(many)).unwrap();
        assert_eq!(
            cut.iter().map(|b| b.split(|c| *c == b'\n').count()).collect::<Vec<_>>(),
            [1000, 1000, 500]
        );
        assert_eq!(batches(&Bytes::from_static(b"a\r\n\n\r\nb")).unwrap(), [Bytes::from_static(b"a\nb")]);
        assert!(batches(&Bytes::from_static(b"\n")).is_err());
    }

    #[test]
    fn rates() {
        assert_eq!(rate("50/s"), Ok(50.0));
        assert!(rate("0").is_err() && rate("fast").is_err() && rate("inf").is_err());
    }
}
