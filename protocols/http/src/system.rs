//! What is not about messages: tokens, health, figures (docs/http.md §6).

use crate::server::{Cx, json, typed};
use crate::wire::json::{MemoryOut, Span, StatusOut, Time, TokenIn, TokenOut};
use crate::{map, wire};
use http::{Response, StatusCode};
use sb_board::access::TokenGrants;
use sb_board::mount::{Answer, Body};
use sb_core::model::{Pattern, Result};

const HOUR_MS: u64 = 3_600_000;

fn ok(response: Response<Body>) -> Result<Answer> {
    Ok(Answer::Response(response))
}

pub(crate) async fn tokens(mut cx: Cx) -> Result<Answer> {
    let body = cx.json().await?;
    let given: TokenIn = map::json(&body)?;
    let Span(ttl) = given.ttl.unwrap_or(Span(600_000));
    if ttl == 0 || ttl > HOUR_MS {
        return Err(map::invalid(format!(
            "ttl is at most 1h, and {} was asked for",
            wire::duration_text(ttl)
        )));
    }
    let grants = given.grants;
    for pattern in grants.read.iter().chain(&grants.publish) {
        Pattern::parse(pattern)?;
    }
    let jobs = grants.jobs.iter().map(|id| map::job_id(id)).collect::<Result<_>>()?;
    let grants = TokenGrants { read: grants.read, publish: grants.publish, call: grants.call, jobs };
    let (token, expires) = cx.access.token(&grants, ttl)?;
    ok(json(StatusCode::CREATED, &TokenOut { token, expires: Time(expires) }))
}

fn text(status: StatusCode, text: String) -> Result<Answer> {
    ok(typed(status, "text/plain; charset=utf-8", text.into()))
}

pub(crate) async fn livez(_: Cx) -> Result<Answer> {
    text(StatusCode::OK, "ok".to_owned())
}

pub(crate) async fn readyz(cx: Cx) -> Result<Answer> {
    let verbose = cx.query.flag("verbose").map_err(map::invalid)?;
    match cx.board().ready() {
        Ok(()) if verbose => text(StatusCode::OK, "ok\nnothing is waited for\n".to_owned()),
        Ok(()) => text(StatusCode::OK, "ok".to_owned()),
        Err(waits) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", waits.join("\n"))),
    }
}

pub(crate) async fn metrics(cx: Cx) -> Result<Answer> {
    cx.access.inspect()?;
    ok(typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", cx.board().metrics().await.into()))
}

pub(crate) async fn status(cx: Cx) -> Result<Answer> {
    cx.access.inspect()?;
    let status = cx.board().status().await;
    ok(json(
        StatusCode::OK,
        &StatusOut {
            version: &status.version,
            uptime: wire::duration_text(status.uptime_ms / 1_000 * 1_000),
            node: &status.node,
            mode: &status.mode,
            connections: status.connections,
            topics: status.topics,
            groups: status.groups,
            jobs: status.jobs.iter().map(|(state, n)| (state.name(), *n)).collect(),
            messages_in: status.messages_in,
            messages_out: status.messages_out,
            journal_bytes: status.journal_bytes,
            memory: MemoryOut { used: status.memory_used, budget: status.memory_budget },
            listeners: &status.listeners,
        },
    ))
}
