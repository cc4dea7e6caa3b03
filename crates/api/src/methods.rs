//! `switchboard.v1.Methods`.

use crate::call::{Answer, Cx};
use crate::map::{self, given, natural, span_in};
use crate::topics::or_default;
use crate::types::switchboard::v1::*;
use buffa::MessageField;
use sb_board::request;
use sb_core::jobs::MethodPolicy;
use sb_core::model::{Error, Result};

fn policy(asked: &Method) -> Result<MethodPolicy> {
    let policy = MethodPolicy::new(&asked.name);
    let policy = MethodPolicy {
        topic: given(&asked.topic).map_or(policy.topic, str::to_owned),
        attempts: asked.attempts.map_or(Ok(policy.attempts), |n| natural("attempts", n))?,
        lease_ms: request::lease_ms(span_in("lease", &asked.lease)?)?.unwrap_or(policy.lease_ms),
        timeout_ms: span_in("timeout", &asked.timeout)?.unwrap_or(policy.timeout_ms),
        keep_ms: span_in("keep_result", &asked.keep_result)?.unwrap_or(policy.keep_ms),
        backoff_ms: span_in("backoff", &asked.backoff)?.unwrap_or(policy.backoff_ms),
    };
    if policy.timeout_ms == 0 {
        return Err(Error::invalid("timeout must be longer than nothing"));
    }
    Ok(policy)
}

pub(crate) async fn declare(cx: Cx, asked: DeclareMethodRequest) -> Answer<DeclareMethodResponse> {
    let method = or_default(asked.method);
    request::method_name(&method.name)?;
    let (created, view) = cx.access.declare_method(&method.name, policy(&method)?).await?;
    Ok(DeclareMethodResponse { method: MessageField::some(map::method(view)), created })
}

pub(crate) async fn list(cx: Cx, _: ListMethodsRequest) -> Answer<ListMethodsResponse> {
    let methods = cx.access.methods().await?;
    Ok(ListMethodsResponse { methods: methods.into_iter().map(map::method).collect() })
}

pub(crate) async fn delete(cx: Cx, asked: DeleteMethodRequest) -> Answer<DeleteMethodResponse> {
    request::method_name(&asked.name)?;
    cx.access.delete_method(&asked.name).await?;
    Ok(DeleteMethodResponse {})
}
