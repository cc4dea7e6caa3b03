//! Groups: leases, settling, positions (docs/http.md §3).

use crate::map;
use crate::server::{Cx, empty, json, set};
use crate::wire::json::{CommitIn, GroupIn, GroupsOut, LeaseIn, Messages, SeekIn, SeekOut, SettleIn};
use http::{StatusCode, header};
use sb_board::access::LeaseOptions;
use sb_board::mount::Answer;
pub(crate) use sb_board::request::consumer;
use sb_core::model::{Result, check_name};

fn ok(response: http::Response<sb_board::mount::Body>) -> Result<Answer> {
    Ok(Answer::Response(response))
}

fn check_names(cx: &Cx) -> Result<()> {
    check_name("topic", cx.arg(0))?;
    check_name("group", cx.arg(1))
}

pub(crate) async fn list(cx: Cx) -> Result<Answer> {
    let limit = cx.limit("limit", 1000, 100)?;
    let after = match cx.query.get("after") {
        None => None,
        Some(text) => Some(text.split_once('/').ok_or_else(|| map::invalid("after is TOPIC/GROUP here"))?),
    };
    let (groups, more) = cx.access.groups(cx.query.get("topic"), after, limit).await?;
    let next = groups.last().filter(|_| more).map(|g| format!("{}/{}", g.topic, g.name));
    ok(json(StatusCode::OK, &GroupsOut { groups: groups.iter().map(map::group_out).collect(), next }))
}

pub(crate) async fn put(mut cx: Cx) -> Result<Answer> {
    check_names(&cx)?;
    let body = cx.json().await?;
    let (options, start) = map::group_options(map::json::<GroupIn>(&body)?, cx.board().now_ms())?;
    let (topic, group) = (cx.arg(0), cx.arg(1));
    let (created, view) = cx.access.declare_group(topic, group, options, start).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json(status, &map::group_out(&view));
    if created {
        set(&mut response, header::LOCATION, &format!("/topics/{topic}/groups/{group}"));
    }
    ok(response)
}

pub(crate) async fn get(cx: Cx) -> Result<Answer> {
    check_names(&cx)?;
    let view = cx.access.group(cx.arg(0), cx.arg(1)).await?;
    ok(json(StatusCode::OK, &map::group_out(&view)))
}

pub(crate) async fn delete(cx: Cx) -> Result<Answer> {
    check_names(&cx)?;
    cx.access.delete_group(cx.arg(0), cx.arg(1)).await?;
    ok(empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn lease(mut cx: Cx) -> Result<Answer> {
    check_names(&cx)?;
    let body = cx.json_if_any().await?;
    let given: LeaseIn = map::json(&body)?;
    let options = LeaseOptions {
        max: map::max(given.max)?,
        wait_ms: cx.wait_ms(given.wait),
        lease_ms: map::lease_ms(given.lease)?,
        consumer: consumer(given.consumer)?,
    };
    let leased = cx.access.lease(cx.arg(0), cx.arg(1), options).await?;
    ok(json(StatusCode::OK, &Messages { messages: leased.iter().map(map::leased_out).collect(), next: None }))
}

async fn settle(mut cx: Cx, verb: &'static str) -> Result<Answer> {
    check_names(&cx)?;
    let body = cx.json().await?;
    let given: SettleIn = map::json(&body)?;
    let handles = given.handles.clone();
    let settles = map::settles(verb, given)?;
    let results = cx.access.settle_in(cx.arg(0), cx.arg(1), settles).await?;
    ok(json(StatusCode::OK, &map::settled(&handles, &results)?))
}

pub(crate) async fn ack(cx: Cx) -> Result<Answer> {
    settle(cx, "ack").await
}

pub(crate) async fn nack(cx: Cx) -> Result<Answer> {
    settle(cx, "nack").await
}

pub(crate) async fn extend(cx: Cx) -> Result<Answer> {
    settle(cx, "extend").await
}

pub(crate) async fn peek(cx: Cx) -> Result<Answer> {
    check_names(&cx)?;
    let limit = cx.limit("limit", 1000, 100)?;
    let messages = cx.access.peek(cx.arg(0), cx.arg(1), limit).await?;
    ok(json(
        StatusCode::OK,
        &Messages { messages: messages.iter().map(map::delivered_out).collect(), next: None },
    ))
}

pub(crate) async fn seek(mut cx: Cx) -> Result<Answer> {
    check_names(&cx)?;
    let body = cx.json().await?;
    let given: SeekIn = map::json(&body)?;
    let to = map::start(&given.to, cx.board().now_ms())?;
    let report = cx.access.seek(cx.arg(0), cx.arg(1), to, given.partition, given.dry_run).await?;
    ok(json(StatusCode::OK, &SeekOut { skipped: report.skipped, again: report.again }))
}

pub(crate) async fn commit(mut cx: Cx) -> Result<Answer> {
    check_names(&cx)?;
    let body = cx.json().await?;
    let given: CommitIn = map::json(&body)?;
    cx.access.commit_cursor(cx.arg(0), cx.arg(1), &given.cursor).await?;
    ok(json(StatusCode::OK, &given))
}
