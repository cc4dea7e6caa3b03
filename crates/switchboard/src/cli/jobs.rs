//! `call` and `job`: methods that workers serve, waited for or not.

use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::Method;
use sb_core::jobs::State;
use serde_json::{Value, json};

use super::described::{Described, describe};
use super::messages::key_header;
use super::topics::{done, pages};
use super::{Ctx, duration_arg, input, out, via};
use crate::client::{Answer, Client, Request, clean, segment, with_query};
use crate::config::units::duration_text;
use crate::error::{CliError, exit};
use crate::follow::{Flow, Follow};
use crate::sse;

/// What `call --help` says at its end.
const CALL_EXAMPLES: &str = "Examples:
  switchboard call shop.v1.Shop/GetOrder id=7
  switchboard call shop.v1.Shop/GetOrder id=7 --via graphql     by another protocol
  switchboard call shop.v1.Shop/CreateOrder customer.name=Ann tags=a tags=b
  switchboard call shop.v1.Shop/CreateOrder @order.json --timeout 5s
  switchboard call shop.v1.Shop/WatchOrders --via grpc          a line for each message
  cat chunks.ndjson | switchboard call shop.v1.Shop/Import - --via grpc

Of a described method the types of the fields say how k=v is read: id=7 is text where id is a
string. A dot leads into messages and maps (customer.name=Ann, labels.eu=1), a name given again
adds to a list, enums go by name, bytes are base64. k=@FILE is what a file holds, k=@@x is @x.
Ctrl-C ends a call, at the service, too.";

/// Arguments of `job submit`, and what `call` has in common with it.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// package.Service/Method
    method: String,
    /// The input: text, @FILE, - for standard input, or k=v… for the fields of a JSON object
    #[arg(value_name = "BODY|k=v")]
    body: Vec<String>,
    /// Content type [default: application/json when it is that]
    #[arg(short = 't', long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Jobs with the same key run one after another
    #[arg(short, long)]
    key: Option<String>,
    /// Not before so long
    #[arg(long, value_name = "TIME", value_parser = duration_arg)]
    delay: Option<Duration>,
    /// Fail (exit 124) when it takes longer
    #[arg(long, value_name = "TIME", value_parser = duration_arg)]
    timeout: Option<Duration>,
    /// The same key is the same job, however often it is tried
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// Arguments of `call`.
#[derive(Debug, Args)]
#[command(after_help = CALL_EXAMPLES)]
pub struct WaitedArgs {
    #[command(flatten)]
    call: CallArgs,
    /// The protocol of the call; methods without a description are called by rest
    #[arg(long, value_name = "PROTOCOL", default_value = "rest", value_parser = super::via::PROTOCOLS)]
    via: String,
}

/// `switchboard job …`
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List jobs, newest first
    List {
        /// Only those in this state
        #[arg(long, value_parser = State::ALL.map(State::name))]
        state: Option<String>,
        /// Only those of this method
        #[arg(long, value_name = "METHOD")]
        method: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Describe a job
    Show {
        /// Its id
        id: String,
    },
    /// Wait for a job to end and print its result
    Wait {
        /// Its id
        id: String,
        /// Stop waiting (exit 124) after so long
        #[arg(long, value_name = "TIME", value_parser = duration_arg)]
        timeout: Option<Duration>,
    },
    /// Print what a job wrote
    Logs {
        /// Its id
        id: String,
        /// Go on until it ends
        #[arg(short, long)]
        follow: bool,
        /// Give up (exit 3) after being cut off for so long
        #[arg(long, value_name = "TIME", value_parser = duration_arg)]
        give_up: Option<Duration>,
    },
    /// Cancel a job; a running one is asked to stop
    Cancel {
        /// Its id
        id: String,
    },
    /// Make a new job from an old one
    Rerun {
        /// Its id
        id: String,
        /// Another input: text, @FILE, - for standard input, or k=v…
        #[arg(value_name = "BODY|k=v")]
        body: Vec<String>,
    },
    /// Submit a job and print its id
    Submit(CallArgs),
}

fn method_path(method: &str) -> Result<String, CliError> {
    match method.split_once('/') {
        Some((service, name)) if service.contains('.') && !name.is_empty() && !name.contains('/') => {
            Ok(format!("/{}/{}", segment(service), segment(name)))
        }
        _ => Err(CliError::usage(format!("`{method}` is not a method"))
            .help("a method is package.Service/Method: code.v1.Runner/Run")),
    }
}

fn call_request(args: &CallArgs, body: Vec<u8>) -> Result<Request, CliError> {
    let request = Request::new(Method::POST, method_path(&args.method)?)
        .maybe("content-type", args.content_type.as_deref().or(input::content_type(&body)))
        .maybe("sb-delay", args.delay.map(duration_text).as_deref())
        .maybe("sb-timeout", args.timeout.map(duration_text).as_deref())
        .maybe("idempotency-key", args.idempotency_key.as_deref());
    Ok(key_header(request, args.key.as_deref()).body(body))
}

/// The body that the arguments make: `k=v` by the types of a described method's request. With `ask` the description is wanted in any case.
async fn call_body(ctx: &Ctx, args: &CallArgs, ask: bool) -> Result<(Vec<u8>, Option<Described>), CliError> {
    method_path(&args.method)?;
    // What is wrong here already is said before a server is asked.
    let given = input::call_body(&args.body)?;
    if !ask && !input::are_pairs(&args.body) {
        return Ok((given, None));
    }
    let described = describe(&ctx.client()?, &args.method).await?;
    let body = match &described {
        Some(described) if input::are_pairs(&args.body) => {
            super::described::request(&described.method.input, &args.body)?
        }
        _ => given,
    };
    Ok((body, described))
}

/// `switchboard call`
pub async fn call(ctx: &Ctx, waited: &WaitedArgs) -> Result<u8, CliError> {
    let (args, via) = (&waited.call, waited.via.as_str());
    // The server ends it at the timeout with its own error; the client only guards against a server that is silent.
    let guard = args.timeout.map(|t| t + args.delay.unwrap_or_default() + Duration::from_secs(5));
    let by_job = args.key.is_some() || args.delay.is_some() || args.idempotency_key.is_some();
    if via != "rest" && by_job {
        return Err(CliError::usage("--key, --delay and --idempotency-key need --via rest"));
    }
    let print = |message: &[u8], line: bool| -> Result<bool, CliError> {
        if ctx.json {
            out::json(&serde_json::from_slice(message).unwrap_or(Value::Null))?;
        } else if line {
            out::line(&out::shown(&String::from_utf8_lossy(message)))?;
        } else {
            out::body(message)?;
        }
        Ok(true)
    };
    if via == "rest" {
        let (body, _) = call_body(ctx, args, false).await?;
        let request = call_request(args, body)?.timeout(guard);
        let (head, body) = ctx.client()?.open(&request).await?.into_parts();
        let kind = head.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        if head.status.is_success() && kind.is_some_and(|kind| kind.starts_with("application/x-ndjson")) {
            via::lines(body, &mut |message| print(message, true)).await?;
            return Ok(exit::DONE);
        }
        let body = via::whole(body).await?;
        if !head.status.is_success() {
            return Err(via::refused(head.status, &body));
        }
        result(ctx, &Answer { status: head.status, headers: head.headers, body })?;
        return Ok(exit::DONE);
    }
    let (body, described) = call_body(ctx, args, true).await?;
    let streams = described.as_ref().is_some_and(|d| d.method.server_streaming);
    let asked = via::Asked {
        path: args.method.clone(),
        messages: messages(body, described.as_ref())?,
        described,
        timeout: args.timeout,
        guard,
    };
    let mut each = |message: &[u8]| print(message, streams);
    via::call(ctx.target.clone(), via, &asked, &mut each).await?;
    Ok(exit::DONE)
}

/// The messages of a request: one, or where the method streams from the caller the lines of the body.
fn messages(body: Vec<u8>, described: Option<&Described>) -> Result<Vec<Bytes>, CliError> {
    let body = if body.is_empty() { b"{}".to_vec() } else { body };
    if !described.is_some_and(|d| d.method.client_streaming) {
        return Ok(vec![body.into()]);
    }
    let texts = serde_json::Deserializer::from_slice(&body).into_iter::<Box<serde_json::value::RawValue>>();
    texts
        .map(|text| text.map(|t| Bytes::copy_from_slice(t.get().as_bytes())))
        .collect::<Result<_, _>>()
        .map_err(|why| CliError::usage(format!("the body is not one JSON message a line: {why}")))
}

fn result(ctx: &Ctx, answer: &Answer) -> Result<(), CliError> {
    if !ctx.json {
        return out::body(&answer.body);
    }
    let mut object = json!({});
    if let Some(kind) = answer.header("content-type") {
        object["content_type"] = kind.into();
    }
    input::show_body(&mut object, &answer.body);
    out::json(&object)
}

/// Runs one of the `job` commands.
pub async fn run(ctx: &Ctx, command: JobCommand) -> Result<u8, CliError> {
    let client = ctx.client()?;
    let path = |id: &str, action: &str| format!("/jobs/{}{action}", segment(id));
    match command {
        JobCommand::List { state, method, limit } => {
            let jobs =
                pages(&client, "/jobs", &[("state", state), ("method", method)], "jobs", limit).await?;
            if ctx.json {
                out::json(&json!({ "jobs": jobs }))?;
            } else {
                let cells = ["id", "method", "state", "attempts", "created", "worker"];
                let rows: Vec<Vec<String>> =
                    jobs.iter().map(|j| cells.iter().map(|cell| out::cell(&j[*cell])).collect()).collect();
                out::table(&["ID", "METHOD", "STATE", "ATTEMPTS", "CREATED", "WORKER"], &rows)?;
            }
        }
        JobCommand::Show { id } => show(ctx, &client.json(Method::GET, &path(&id, ""), None).await?)?,
        JobCommand::Wait { id, timeout } => return wait(ctx, &client, &id, timeout).await,
        JobCommand::Logs { id, follow, give_up } => {
            return if follow {
                follow_logs(ctx, &client, &id, give_up).await
            } else {
                logs(ctx, &client, &id).await
            };
        }
        JobCommand::Cancel { id } => {
            let answer = client.send(&Request::new(Method::DELETE, path(&id, ""))).await?;
            let text = if answer.status.as_u16() == 202 { "asked to stop" } else { "cancelled" };
            done(ctx, &answer.value()?, &format!("{text}  {id}"))?;
        }
        JobCommand::Rerun { id, body } => {
            let mut request = Request::new(Method::POST, path(&id, "/rerun"));
            if !body.is_empty() {
                let body = input::call_body(&body)?;
                request = request.maybe("content-type", input::content_type(&body)).body(body);
            }
            let job = client.send(&request).await?.value()?;
            done(ctx, &job, &clean(&out::cell(&job["id"])))?;
        }
        JobCommand::Submit(args) => {
            let (body, _) = call_body(ctx, &args, false).await?;
            let request = call_request(&args, body)?.header("prefer", "respond-async");
            let job = client.send(&request).await?.value()?;
            done(ctx, &job, &clean(&out::cell(&job["id"])))?;
        }
    }
    Ok(exit::DONE)
}

fn show(ctx: &Ctx, job: &Value) -> Result<(), CliError> {
    if ctx.json {
        return out::json(job);
    }
    let names = [
        "id",
        "method",
        "state",
        "attempts",
        "created",
        "started",
        "finished",
        "deadline",
        "worker",
        "progress",
        "cancel_requested",
        "rerun_of",
        "events",
    ];
    let mut pairs: Vec<(&str, String)> =
        names.iter().filter(|n| !job[**n].is_null()).map(|n| (*n, out::cell(&job[*n]))).collect();
    if job["error"].is_object() {
        pairs.push((
            "error",
            format!("{} ({})", out::cell(&job["error"]["message"]), out::cell(&job["error"]["code"])),
        ));
        for detail in job["error"]["details"].as_array().into_iter().flatten() {
            pairs.push(("detail", out::cell(detail)));
        }
    }
    if job["result"].is_object() {
        pairs.push(("result", String::from_utf8_lossy(&input::shown_body(&job["result"])).into_owned()));
    }
    out::pairs(&pairs)
}

fn ended(job: &Value) -> bool {
    !matches!(job["state"].as_str(), Some("queued" | "running"))
}

async fn wait(ctx: &Ctx, client: &Client, id: &str, timeout: Option<Duration>) -> Result<u8, CliError> {
    let started = Instant::now();
    loop {
        let left = timeout.map(|limit| limit.saturating_sub(started.elapsed()));
        // Whole seconds for `Prefer`; what is left of a second is cut off by the client.
        let seconds = left.map_or(20, |left| left.as_secs_f64().ceil() as u64).min(20);
        let request = Request::new(Method::GET, format!("/jobs/{}", segment(id)))
            .header("prefer", format!("wait={seconds}"))
            .timeout(Some(Duration::from_secs(seconds + 30)));
        let job = match left {
            None => client.send(&request).await,
            Some(left) => tokio::time::timeout(left, client.send(&request))
                .await
                .unwrap_or_else(|_| Err(too_late(id, timeout))),
        }?
        .value()?;
        if ended(&job) {
            return finish(ctx, &job);
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Err(too_late(id, timeout));
        }
        // A server that does not wait is not asked more often than this.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn too_late(id: &str, timeout: Option<Duration>) -> CliError {
    CliError::timeout(format!(
        "the job {id} did not end within {}",
        duration_text(timeout.unwrap_or_default())
    ))
    .help(format!("it goes on; see  switchboard job show {id}"))
}

/// Prints the result of a job that ended, or says why there is none.
fn finish(ctx: &Ctx, job: &Value) -> Result<u8, CliError> {
    let succeeded = job["state"] == "succeeded";
    if ctx.json {
        out::json(job)?;
        return Ok(if succeeded { exit::DONE } else { exit::REFUSED });
    }
    if succeeded {
        out::body(&input::shown_body(&job["result"]))?;
        return Ok(exit::DONE);
    }
    Err(failed(job))
}

fn failed(job: &Value) -> CliError {
    let state = out::cell(&job["state"]);
    let id = out::cell(&job["id"]);
    let error = &job["error"];
    let mut title =
        format!("the job {id} {}", if state == "failed" { "failed" } else { "ended without a result" });
    match error["message"].as_str() {
        Some(message) => title.push_str(&format!(": {message}")),
        None => title.push_str(&format!(": {state}")),
    }
    let mut failure = CliError::new(exit::REFUSED, "SB0405", clean(&title));
    if let Some(code) = error["code"].as_str() {
        failure = failure.help(clean(&format!("the worker's code: {code}")));
    }
    for detail in error["details"].as_array().into_iter().flatten() {
        failure = failure.help(clean(&format!("detail  {detail}")));
    }
    failure.help(clean(&format!("see  switchboard job logs {id}   try again  switchboard job rerun {id}")))
}

async fn logs(ctx: &Ctx, client: &Client, id: &str) -> Result<u8, CliError> {
    let mut after: Option<u64> = None;
    loop {
        let query = [("after", after.map(|n| n.to_string())), ("limit", Some("1000".to_owned()))];
        let page = client
            .json(Method::GET, &with_query(&format!("/jobs/{}/events", segment(id)), &query), None)
            .await?;
        let events: &[Value] = page["events"].as_array().map_or(&[], Vec::as_slice);
        for event in events {
            log_event(ctx, event)?;
        }
        let next = page["next"].as_u64().or_else(|| events.last()?["seq"].as_u64());
        if events.is_empty() || next <= after {
            return Ok(exit::DONE);
        }
        after = next;
    }
}

async fn follow_logs(
    ctx: &Ctx,
    client: &Client,
    id: &str,
    give_up: Option<Duration>,
) -> Result<u8, CliError> {
    let path = format!("/jobs/{}", segment(id));
    let mut follow =
        Follow { first: path.clone(), later: path.clone(), resume: path, last_id: None, give_up };
    follow
        .run(client, async |event: sse::Event| {
            if event.name == "end" {
                return Ok(Flow::Stop);
            }
            if let Ok(value) = serde_json::from_str::<Value>(&event.data) {
                log_event(ctx, &value)?;
            }
            Ok(Flow::Next)
        })
        .await?;
    let job = client.json(Method::GET, &format!("/jobs/{}", segment(id)), None).await?;
    match job["state"].as_str() {
        Some("succeeded" | "queued" | "running") => Ok(exit::DONE),
        _ if ctx.json => Ok(exit::REFUSED),
        _ => Err(failed(&job)),
    }
}

/// What a job printed goes where it printed it; what happened to it goes to standard error.
fn log_event(ctx: &Ctx, event: &Value) -> Result<(), CliError> {
    if ctx.json {
        return out::json(event);
    }
    match event["type"].as_str() {
        Some("log") => {
            let text = event["text"].as_str().unwrap_or("");
            if event["stream"] == "stderr" {
                let _ = write!(std::io::stderr(), "{}", clean(text));
            } else {
                out::bytes(out::shown(text).as_bytes())?;
            }
        }
        Some("progress") => note!("progress  {}", clean(&event["progress"].to_string())),
        Some("state") => {
            let mut line = out::cell(&event["state"]);
            if let Some(worker) = event["worker"].as_str() {
                line.push_str(&format!(" by {worker}"));
            }
            if let Some(reason) = event["reason"].as_str() {
                line.push_str(&format!(": {reason}"));
            }
            note!("{}", clean(&line));
        }
        _ => {}
    }
    Ok(())
}
