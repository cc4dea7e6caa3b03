//! `status` and `health`.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{Ctx, out};
use crate::client::Request;
use crate::config::units::size_text;
use crate::error::{CliError, exit};

/// Arguments of `health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Only whether it is alive, not whether it is ready
    #[arg(long)]
    live: bool,
}

/// `switchboard status`
pub async fn status(ctx: &Ctx) -> Result<u8, CliError> {
    let status = ctx.client()?.json(Method::GET, "/status", None).await?;
    if ctx.json {
        out::json(&status)?;
        return Ok(exit::DONE);
    }
    let size = |value: &Value| value.as_u64().map_or_else(String::new, size_text);
    let jobs: Vec<String> =
        status["jobs"].as_object().into_iter().flatten().map(|(state, n)| format!("{n} {state}")).collect();
    let listeners: Vec<String> =
        status["listeners"].as_array().into_iter().flatten().map(out::cell).collect();
    let mut pairs = vec![("server", ctx.target.url.clone())];
    for name in ["version", "mode", "node", "uptime", "connections", "topics", "groups"] {
        pairs.push((name, out::cell(&status[name])));
    }
    pairs.extend([
        ("jobs", jobs.join(", ")),
        (
            "messages",
            format!("{} in, {} out", out::cell(&status["messages_in"]), out::cell(&status["messages_out"])),
        ),
        ("journal", size(&status["journal_bytes"])),
        ("memory", format!("{} of {}", size(&status["memory"]["used"]), size(&status["memory"]["budget"]))),
        ("listeners", listeners.join(" ")),
    ]);
    out::pairs(&pairs)?;
    Ok(exit::DONE)
}

/// `switchboard health`: exit 0 when ready, 1 when not, 3 when it cannot be reached.
pub async fn health(ctx: &Ctx, args: &HealthArgs) -> Result<u8, CliError> {
    let path = if args.live { "/livez?verbose" } else { "/readyz?verbose" };
    let request = Request::new(Method::GET, path).timeout(Some(Duration::from_secs(5)));
    let answer = ctx.client()?.read(&request).await?;
    let ok = answer.status.is_success();
    if ctx.json {
        let text = String::from_utf8_lossy(&answer.body);
        let detail = serde_json::from_slice(&answer.body).unwrap_or_else(|_| Value::from(text.trim()));
        out::json(&json!({ "ok": ok, "status": answer.status.as_u16(), "detail": detail }))?;
    } else {
        out::body(&answer.body)?;
    }
    Ok(if ok { exit::DONE } else { exit::REFUSED })
}
