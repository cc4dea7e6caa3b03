//! `switchboard.v1.Server`.

use crate::call::{Answer, Cx};
use crate::map::{self, int, span, span_in};
use crate::types::switchboard::v1::*;
use buffa::MessageField;
use sb_board::access::TokenGrants;
use sb_board::request::job_id;
use sb_core::jobs::State;
use sb_core::model::Result;

pub(crate) async fn status(cx: Cx, _: StatusRequest) -> Answer<StatusResponse> {
    cx.access.inspect()?;
    let status = cx.access.board().status().await;
    let jobs = |wanted| int(status.jobs.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, n)| *n));
    Ok(StatusResponse {
        jobs: MessageField::some(JobCounts {
            queued: jobs(State::Queued),
            running: jobs(State::Running),
            succeeded: jobs(State::Succeeded),
            failed: jobs(State::Failed),
            cancelled: jobs(State::Cancelled),
            expired: jobs(State::Expired),
        }),
        uptime: span(status.uptime_ms),
        connections: int(status.connections),
        topics: int(status.topics),
        groups: int(status.groups),
        messages_in: int(status.messages_in),
        messages_out: int(status.messages_out),
        journal_bytes: int(status.journal_bytes),
        memory_used: int(status.memory_used),
        memory_budget: int(status.memory_budget),
        version: status.version,
        node: status.node,
        mode: status.mode,
        listeners: status.listeners,
        draining: cx.access.board().is_draining(),
    })
}

pub(crate) async fn metrics(cx: Cx, _: MetricsRequest) -> Answer<MetricsResponse> {
    cx.access.inspect()?;
    Ok(MetricsResponse { text: cx.access.board().metrics().await })
}

pub(crate) async fn issue_token(cx: Cx, asked: IssueTokenRequest) -> Answer<IssueTokenResponse> {
    let ttl = span_in("ttl", &asked.ttl)?.unwrap_or(600_000);
    let jobs = asked.jobs.iter().map(|id| job_id(id)).collect::<Result<_>>()?;
    let grants = TokenGrants { read: asked.read, publish: asked.publish, call: asked.call, jobs };
    let (token, expires) = cx.access.token(&grants, ttl)?;
    Ok(IssueTokenResponse { token, expires: map::time(expires) })
}
