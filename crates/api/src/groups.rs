//! `switchboard.v1.Groups`, all but the stream.

use crate::call::{Answer, Cx};
use crate::map::{self, given, limit, natural, span_in};
use crate::topics::{exists, no_field};
use crate::types::switchboard::v1::*;
use sb_board::access::{Condition, LeaseOptions, Settle};
use sb_board::request;
use sb_core::groups::{Mode, Options, Start};
use sb_core::model::{Error, Result};

fn mode(wanted: buffa::EnumValue<GroupMode>) -> Result<Option<Mode>> {
    match wanted.as_known() {
        Some(GroupMode::GROUP_MODE_UNSPECIFIED) => Ok(None),
        Some(GroupMode::GROUP_MODE_QUEUE) => Ok(Some(Mode::Queue)),
        Some(GroupMode::GROUP_MODE_CURSOR) => Ok(Some(Mode::Cursor)),
        None => Err(Error::invalid(format!("there is no mode {}", wanted.to_i32()))),
    }
}

fn key_order(wanted: buffa::EnumValue<GroupOrder>) -> Result<Option<bool>> {
    match wanted.as_known() {
        Some(GroupOrder::GROUP_ORDER_UNSPECIFIED) => Ok(None),
        Some(GroupOrder::GROUP_ORDER_NONE) => Ok(Some(false)),
        Some(GroupOrder::GROUP_ORDER_KEY) => Ok(Some(true)),
        None => Err(Error::invalid(format!("there is no order {}", wanted.to_i32()))),
    }
}

/// Puts the options given over others.
fn overlay(given: &GroupOptions, options: Options) -> Result<Options> {
    Ok(Options {
        mode: mode(given.mode)?.unwrap_or(options.mode),
        lease_ms: request::lease_ms(span_in("lease", &given.lease)?)?.unwrap_or(options.lease_ms),
        attempts: given.attempts.map_or(Ok(options.attempts), |n| natural("attempts", n))?,
        // An empty name takes it away.
        dead_letter: match &given.dead_letter {
            Some(name) => Some(name.clone()).filter(|n| !n.is_empty()),
            None => options.dead_letter,
        },
        backoff_ms: span_in("backoff", &given.backoff)?.unwrap_or(options.backoff_ms),
        key_order: key_order(given.order)?.unwrap_or(options.key_order),
    })
}

/// The same, of the fields that a mask names; those that are absent take their default.
fn overlay_masked(given: &GroupOptions, paths: &[String], mut options: Options) -> Result<Options> {
    let new = overlay(given, Options::default())?;
    for path in paths {
        match path.as_str() {
            "*" => options = new.clone(),
            "mode" => options.mode = new.mode,
            "lease" => options.lease_ms = new.lease_ms,
            "attempts" => options.attempts = new.attempts,
            "dead_letter" => options.dead_letter.clone_from(&new.dead_letter),
            "backoff" => options.backoff_ms = new.backoff_ms,
            "order" => options.key_order = new.key_order,
            other => return Err(no_field("options", other)),
        }
    }
    Ok(options)
}

pub(crate) async fn create(cx: Cx, asked: CreateGroupRequest) -> Answer<Group> {
    let options = overlay(&asked.options, Options::default())?;
    let start = given(&asked.start).map_or(Ok(Start::Start), |text| request::start(text, cx.now_ms()))?;
    let condition = if asked.allow_existing { Condition::Ensure } else { Condition::Absent };
    let created = cx.access.declare_group_if(&asked.topic, &asked.group, options, start, condition).await;
    Ok(map::group(&created.map_err(exists)?.1))
}

pub(crate) async fn update(cx: Cx, asked: UpdateGroupRequest) -> Answer<Group> {
    let view = cx.access.group(&asked.topic, &asked.group).await?;
    let options = match asked.update_mask.as_option() {
        None => overlay(&asked.options, view.options)?,
        Some(mask) => overlay_masked(&asked.options, &mask.paths, view.options)?,
    };
    let (topic, group) = (&asked.topic, &asked.group);
    let changed = cx.access.declare_group_if(topic, group, options, Start::Start, Condition::Present).await?;
    Ok(map::group(&changed.1))
}

pub(crate) async fn get(cx: Cx, asked: GetGroupRequest) -> Answer<Group> {
    Ok(map::group(&cx.access.group(&asked.topic, &asked.group).await?))
}

pub(crate) async fn delete(cx: Cx, asked: DeleteGroupRequest) -> Answer<DeleteGroupResponse> {
    cx.access.delete_group(&asked.topic, &asked.group).await?;
    Ok(DeleteGroupResponse {})
}

pub(crate) async fn list(cx: Cx, asked: ListGroupsRequest) -> Answer<ListGroupsResponse> {
    let limit = limit(asked.limit)?;
    let after = match given(&asked.after) {
        None => None,
        Some(text) => Some(text.split_once('/').ok_or_else(|| Error::invalid("after is TOPIC/GROUP here"))?),
    };
    let (groups, more) = cx.access.groups(given(&asked.topic), after, limit).await?;
    let next = groups.last().filter(|_| more).map(|g| format!("{}/{}", g.topic, g.name));
    Ok(ListGroupsResponse { groups: groups.iter().map(map::group).collect(), next: next.unwrap_or_default() })
}

pub(crate) async fn lease(cx: Cx, asked: LeaseRequest) -> Answer<LeaseResponse> {
    let options = LeaseOptions {
        max: map::count("max", asked.max, 1, 1_000)?,
        wait_ms: cx.wait_ms(span_in("wait", &asked.wait)?),
        lease_ms: request::lease_ms(span_in("lease", &asked.lease)?)?,
        consumer: request::consumer(Some(asked.consumer))?,
    };
    let leased = cx.access.lease(&asked.topic, &asked.group, options).await?;
    Ok(LeaseResponse { messages: leased.into_iter().map(map::leased).collect() })
}

/// What is to happen to each handle.
pub(crate) fn settles(given: &[Settlement]) -> Result<Vec<(String, Settle)>> {
    let one = |s: &Settlement| {
        let (delay, lease) = (span_in("delay", &s.delay)?, span_in("lease", &s.lease)?);
        let settle = match (s.action.as_known(), delay, lease) {
            (Some(SettleAction::SETTLE_ACTION_ACK), None, None) => Settle::Ack,
            (Some(SettleAction::SETTLE_ACTION_NACK), delay, None) => {
                Settle::Nack { delay_ms: delay.unwrap_or(0) }
            }
            (Some(SettleAction::SETTLE_ACTION_DEAD), None, None) => Settle::Dead,
            (Some(SettleAction::SETTLE_ACTION_EXTEND), None, lease) => {
                Settle::Extend { lease_ms: request::lease_ms(lease)?.unwrap_or(0) }
            }
            _ => {
                return Err(Error::invalid("a settlement has no action, or a field of another action")
                    .fix("ACK and DEAD take nothing, NACK takes delay, EXTEND takes lease"));
            }
        };
        Ok((s.handle.clone(), settle))
    };
    given.iter().map(one).collect()
}

/// What happened to each handle.
pub(crate) fn results(handles: Vec<String>, results: Vec<Result<i64>>) -> Vec<SettleResult> {
    let one = |(handle, result): (String, Result<i64>)| match result {
        Ok(until) => SettleResult {
            handle,
            ok: true,
            lease_until: if until > 0 { map::time(until) } else { Default::default() },
            ..SettleResult::default()
        },
        Err(error) => SettleResult {
            handle,
            ok: false,
            code: error.code.to_owned(),
            message: error.detail.into_owned(),
            ..SettleResult::default()
        },
    };
    handles.into_iter().zip(results).map(one).collect()
}

pub(crate) async fn settle(cx: Cx, asked: SettleRequest) -> Answer<SettleResponse> {
    let settles = settles(&asked.settlements)?;
    let handles = settles.iter().map(|(handle, _)| handle.clone()).collect();
    let settled = match (given(&asked.topic), given(&asked.group)) {
        (None, None) => cx.access.settle(settles).await?,
        (Some(topic), Some(group)) => cx.access.settle_in(topic, group, settles).await?,
        _ => return Err(Error::invalid("topic and group are given together, or neither of them").into()),
    };
    request::all_failed(&settled)?;
    Ok(SettleResponse { results: results(handles, settled) })
}

pub(crate) async fn peek(cx: Cx, asked: PeekRequest) -> Answer<PeekResponse> {
    let messages = cx.access.peek(&asked.topic, &asked.group, limit(asked.limit)?).await?;
    Ok(PeekResponse { messages: messages.into_iter().map(map::delivered).collect() })
}

pub(crate) async fn seek(cx: Cx, asked: SeekRequest) -> Answer<SeekResponse> {
    let to = request::start(&asked.to, cx.now_ms())?;
    let partition = asked.partition.map(|p| natural("partition", p)).transpose()?;
    let report = cx.access.seek(&asked.topic, &asked.group, to, partition, asked.dry_run).await?;
    Ok(SeekResponse { skipped: map::int(report.skipped), again: map::int(report.again) })
}

pub(crate) async fn commit(cx: Cx, asked: CommitRequest) -> Answer<CommitResponse> {
    cx.access.commit_cursor(&asked.topic, &asked.group, &asked.cursor).await?;
    Ok(CommitResponse { cursor: asked.cursor })
}
