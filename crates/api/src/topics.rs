//! `switchboard.v1.Topics`.

use crate::call::{Answer, Cx};
use crate::map::{self, given, limit, natural, span_in};
use crate::types::switchboard::v1::*;
use buffa::{MessageField, ProtoBox};
use sb_board::access::Condition;
use sb_core::model::{Error, Kind, Pattern, Result};
use sb_core::topics::Policy;

/// Puts the fields of a policy over another one.
fn overlay(given: &TopicPolicy, mut policy: Policy) -> Result<Policy> {
    if let Some(partitions) = given.partitions {
        policy.partitions = natural("partitions", partitions)?;
    }
    if let Some(age) = span_in("keep_age", &given.keep_age)? {
        policy.keep_age_ms = Some(age);
    }
    if let Some(bytes) = given.keep_bytes {
        policy.keep_bytes = Some(natural("keep_bytes", bytes)?);
    }
    if let Some(max) = given.max_message {
        policy.max_message = natural("max_message", max)?;
    }
    policy.keep_until_consumed = given.keep_until_consumed.unwrap_or(policy.keep_until_consumed);
    policy.memory = given.memory.unwrap_or(policy.memory);
    if !given.claims.is_empty() {
        policy.claims = given.claims.iter().map(|c| Pattern::parse(c)).collect::<Result<_>>()?;
    }
    Ok(policy)
}

/// The same, of the fields that a mask names; those that are absent take their default.
fn overlay_masked(given: &TopicPolicy, paths: &[String], mut policy: Policy) -> Result<Policy> {
    let new = overlay(given, Policy::default())?;
    for path in paths {
        match path.as_str() {
            "*" => policy = new.clone(),
            "partitions" => policy.partitions = new.partitions,
            "keep_age" => policy.keep_age_ms = new.keep_age_ms,
            "keep_bytes" => policy.keep_bytes = new.keep_bytes,
            "keep_until_consumed" => policy.keep_until_consumed = new.keep_until_consumed,
            "max_message" => policy.max_message = new.max_message,
            "memory" => policy.memory = new.memory,
            "claims" => policy.claims.clone_from(&new.claims),
            other => return Err(no_field("policy", other)),
        }
    }
    Ok(policy)
}

/// A mask names something that is not there.
pub(crate) fn no_field(of: &str, path: &str) -> Error {
    Error::invalid(format!("update_mask names {path:.80?}, which is no field of {of}"))
}

/// What was to be created is there already.
pub(crate) fn exists(error: Error) -> Error {
    if error.kind == Kind::Precondition {
        Error { kind: Kind::Exists, code: "SB0302", ..error }
    } else {
        error
    }
}

pub(crate) async fn create(cx: Cx, request: CreateTopicRequest) -> Answer<Topic> {
    let policy = overlay(&request.policy, Policy::default())?;
    let condition = if request.allow_existing { Condition::Ensure } else { Condition::Absent };
    let (_, view) = cx.access.declare_topic(&request.name, policy, condition).await.map_err(exists)?;
    Ok(map::topic(&view))
}

pub(crate) async fn update(cx: Cx, request: UpdateTopicRequest) -> Answer<Topic> {
    let wanted: Option<u64> = request.version.map(|v| natural("version", v)).transpose()?;
    let mut tries = 0;
    loop {
        let view = cx.access.topic(&request.name).await?;
        let policy = match request.update_mask.as_option() {
            None => overlay(&request.policy, view.policy)?,
            Some(mask) => overlay_masked(&request.policy, &mask.paths, view.policy)?,
        };
        let condition = Condition::Version(wanted.unwrap_or(view.version));
        match cx.access.declare_topic(&request.name, policy, condition).await {
            Ok((_, view)) => return Ok(map::topic(&view)),
            // Someone else changed it in between: what was given goes over the new policy.
            Err(error) if error.kind == Kind::Precondition && wanted.is_none() && tries < 5 => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) async fn get(cx: Cx, request: GetTopicRequest) -> Answer<Topic> {
    Ok(map::topic(&cx.access.topic(&request.name).await?))
}

pub(crate) async fn delete(cx: Cx, request: DeleteTopicRequest) -> Answer<DeleteTopicResponse> {
    cx.access.delete_topic(&request.name).await?;
    Ok(DeleteTopicResponse {})
}

pub(crate) async fn list(cx: Cx, request: ListTopicsRequest) -> Answer<ListTopicsResponse> {
    let limit = limit(request.limit)?;
    let (topics, more) = cx.access.topics(&request.prefix, given(&request.after), limit).await?;
    let next = topics.last().filter(|_| more).map(|t| t.name.clone()).unwrap_or_default();
    Ok(ListTopicsResponse { topics: topics.iter().map(map::topic).collect(), next })
}

/// The value of a field, or its default.
pub(crate) fn or_default<T: Default, P: ProtoBox<T>>(field: MessageField<T, P>) -> T {
    field.into_option().unwrap_or_default()
}
