//! `switchboard.v1.Services`: the table of services as the caller may see it.

use crate::FILES;
use crate::call::{Answer, Cx};
use crate::map::{int, span};
use crate::types::switchboard::v1::*;
use buffa::MessageField;
use sb_board::call::services::Entry;
use sb_board::call::{ByJob, Meter, Services};
use sb_core::model::{Error, Kind, Result};
use sb_schema::Idempotency;
use std::sync::Arc;

/// A service, if the caller may call any of its methods.
fn shown(cx: &Cx, table: &Services, service: &sb_board::call::Service) -> Option<Service> {
    let described = table.schema().service(&service.name);
    let methods: Vec<ServiceMethod> = described
        .iter()
        .flat_map(|d| &d.methods)
        .filter(|m| cx.access.may_call(&m.path))
        .filter_map(|m| table.method(&m.path))
        .map(method)
        .collect();
    if methods.is_empty() {
        return None;
    }
    let provider = &service.provider;
    let health = provider.healthy();
    let inspects = cx.access.inspect().is_ok();
    Some(Service {
        name: service.name.to_string(),
        target: if inspects { provider.target() } else { String::new() },
        healthy: health.is_ok(),
        health_detail: health.err().filter(|_| inspects).unwrap_or_default(),
        timeout: service.timeout.map_or_else(MessageField::none, |t| span(t.as_millis() as u64)),
        protocols: service.shown.iter().flat_map(|s| s.iter().cloned()).collect(),
        comment: described.map(|d| d.comment.clone()).unwrap_or_default(),
        deprecated: described.is_some_and(|d| d.deprecated),
        file: described.map(|d| d.file.clone()).unwrap_or_default(),
        methods,
    })
}

fn method(entry: &Entry) -> ServiceMethod {
    let method = &entry.method;
    let binding = |rule: &sb_schema::HttpRule| HttpBinding {
        http_method: rule.method.clone(),
        path: rule.path.clone(),
        body: rule.body.clone(),
        response_body: rule.response_body.clone(),
    };
    ServiceMethod {
        name: method.name.clone(),
        path: method.path.clone(),
        client_streaming: method.client_streaming,
        server_streaming: method.server_streaming,
        input: method.input.full_name().to_owned(),
        output: method.output.full_name().to_owned(),
        no_side_effects: method.idempotency == Idempotency::NoSideEffects,
        idempotent: method.idempotency != Idempotency::Unknown,
        deprecated: method.deprecated,
        comment: method.comment.clone(),
        bindings: method.http.iter().map(binding).collect(),
        jobs: match entry.service.provider.by_job() {
            ByJob::Called => ServiceJobs::SERVICE_JOBS_CALLED,
            ByJob::Worked => ServiceJobs::SERVICE_JOBS_WORKED,
            ByJob::Refused => ServiceJobs::SERVICE_JOBS_REFUSED,
        }
        .into(),
        counts: MessageField::some(counts(&entry.meter)),
    }
}

fn counts(meter: &Meter) -> MethodCounts {
    let counts = meter.counts();
    let quantile = |share| {
        let bound = counts.quantile(share);
        bound.map_or_else(MessageField::none, |d| MessageField::some(micros(d.as_micros())))
    };
    let ended = counts.took.last().copied().unwrap_or(0);
    MethodCounts {
        running: int(counts.running),
        succeeded: int(counts.succeeded),
        failed: counts
            .failed
            .iter()
            .map(|(code, n)| CodeCount { code: code.name().to_owned(), count: int(*n) })
            .collect(),
        mean: match counts.took_us.checked_div(ended) {
            Some(us) => MessageField::some(micros(u128::from(us))),
            None => MessageField::none(),
        },
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
    }
}

fn micros(us: u128) -> buffa_types::google::protobuf::Duration {
    // What lies beyond the last bound has none: a year stands for it.
    let us = us.min(366 * 86_400_000_000);
    buffa_types::google::protobuf::Duration {
        seconds: int(us / 1_000_000),
        nanos: (us % 1_000_000 * 1_000) as i32,
        ..Default::default()
    }
}

fn find<'a>(table: &'a Services, name: &str) -> Result<&'a Arc<sb_board::call::Service>> {
    table.service(name).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::new(Kind::NotFound, "SB0310", format!("there is no service {name:.200?}"))
        .fix("Services/List names those that there are")
}

pub(crate) async fn list(cx: Cx, _: ListServicesRequest) -> Answer<ListServicesResponse> {
    cx.access.known()?;
    let table = cx.access.board().services();
    let services = table.services().iter().filter_map(|s| shown(&cx, &table, s));
    Ok(ListServicesResponse { services: services.collect() })
}

pub(crate) async fn get(cx: Cx, asked: GetServiceRequest) -> Answer<Service> {
    cx.access.known()?;
    let table = cx.access.board().services();
    Ok(shown(&cx, &table, find(&table, &asked.name)?).ok_or_else(|| missing(&asked.name))?)
}

pub(crate) async fn get_source(cx: Cx, asked: GetServiceSourceRequest) -> Answer<ServiceSource> {
    cx.access.known()?;
    let table = cx.access.board().services();
    let service = shown(&cx, &table, find(&table, &asked.name)?).ok_or_else(|| missing(&asked.name))?;
    let files = table.schema().file_with_imports(&service.file);
    let mut descriptor_set = Vec::new();
    for file in &files {
        sb_schema::wire::put_bytes(&mut descriptor_set, 1, &file.bytes);
    }
    let text = |file: &&sb_schema::File| {
        let (name, text) = FILES.iter().find(|(name, _)| *name == file.name)?;
        Some(SourceText { name: (*name).to_owned(), text: (*text).to_owned() })
    };
    Ok(ServiceSource {
        descriptor_set: descriptor_set.into(),
        texts: files.iter().filter_map(text).collect(),
        files: files.into_iter().map(|f| f.name.clone()).collect(),
    })
}
