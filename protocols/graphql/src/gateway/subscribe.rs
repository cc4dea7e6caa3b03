//! Subscriptions: one subgraph streams, and what it does not know of each item is asked of the others.
//!
//! Nothing is taken from the subgraph while the client does not read, and it is left when the client leaves.

use super::Ready;
use super::run::Running;
use super::upstream::{Items, Question};
use crate::front::{Event, Terms};
use crate::map::{Fault, Refusal};
use crate::wire::Response;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use sb_board::Access;
use sb_board::call::{Code, Status};
use sb_federation::{Fetch, Step};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::time::Instant;

/// A subscription that runs.
struct Subscription {
    access: Access,
    ready: Box<Ready>,
    terms: Terms,
    variables: Map<String, Value>,
    plan: Arc<Step>,
    items: Items,
    /// When the whole of it ends, if the caller says so.
    end: Option<Instant>,
    over: bool,
}

/// Everything a subscription gives, in order.
pub(crate) fn subscribe(access: Access, ready: Box<Ready>, terms: Terms) -> BoxStream<'static, Event> {
    let opened = stream::once(async move {
        match open(access, ready, terms).await {
            Err(faults) => Box::pin(stream::iter([Event::Refused(faults)])) as BoxStream<'static, Event>,
            Ok(running) => Box::pin(stream::unfold(running, |mut running| async move {
                let response = running.next().await?;
                Some((Event::Next(response), running))
            })),
        }
    });
    Box::pin(opened.flatten())
}

/// The request that streams, and what is done for each of its items.
fn parts(plan: &Step) -> Option<(&Fetch, &[Step])> {
    match plan {
        Step::Subscribe(fetch) => Some((fetch, &[])),
        Step::Sequence(steps) => match steps.split_first()? {
            (Step::Subscribe(fetch), rest) => Some((fetch, rest)),
            _ => None,
        },
        _ => None,
    }
}

async fn open(access: Access, ready: Box<Ready>, terms: Terms) -> Result<Subscription, Vec<Fault>> {
    let one = |fault: Fault| vec![fault];
    let began = Instant::now() + Duration::from_millis(ready.options.timeout_ms);
    let unfit = || Fault::refused(Refusal::Operation, "the subscription asks for nothing that streams");
    let plan = ready.plan(began).await.map_err(one)?.ok_or_else(|| one(unfit()))?;
    let variables = ready.given().map_err(one)?;
    let (fetch, _) = parts(&plan).ok_or_else(|| one(unfit()))?;
    let mut used = Map::new();
    for name in &fetch.variables {
        if let Some(value) = variables.get(name) {
            used.insert(name.clone(), value.clone());
        }
    }
    let bytes = AtomicUsize::new(ready.options.limits.bytes);
    let question = Question {
        access: &access,
        terms: &terms,
        deadline: began,
        bytes: &bytes,
        again: true,
        body: json!({ "query": fetch.document, "variables": used }).to_string().into(),
    };
    let upstream = ready.gateway.upstreams.get(&fetch.subgraph).ok_or_else(|| one(unfit()))?;
    let opened = tokio::time::timeout_at(began, upstream.subscribe(&question, ready.options.limits.bytes));
    let opened = opened
        .await
        .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "the subgraph did not answer in time")));
    match opened {
        Ok(items) => {
            let end = terms.timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
            Ok(Subscription { access, terms, variables, plan, items, end, over: false, ready })
        }
        Err(status) => {
            let running =
                Running::new(&ready.gateway, &access, &variables, &terms, began, &ready.options.limits);
            running.failed(fetch, &status, &Vec::new());
            Err(running.finish().1)
        }
    }
}

impl Subscription {
    /// The next response; `None` after the last. What breaks the stream is its last response.
    async fn next(&mut self) -> Option<Response> {
        if self.over {
            return None;
        }
        let item = match self.end {
            None => self.items.next().await,
            Some(at) => tokio::time::timeout_at(at, self.items.next()).await.unwrap_or_else(|_| {
                Some(Err(Status::new(Code::DeadlineExceeded, "the time of the subscription is over")))
            }),
        }?;
        let options = &self.ready.options;
        let deadline = Instant::now() + Duration::from_millis(options.timeout_ms);
        let gateway = &self.ready.gateway;
        let running =
            Running::new(gateway, &self.access, &self.variables, &self.terms, deadline, &options.limits);
        let (fetch, rest) = parts(&self.plan)?;
        match item {
            Err(status) => {
                self.over = true;
                running.failed(fetch, &status, &Vec::new());
            }
            Ok(item) => {
                running.took(fetch, item, &Vec::new());
                for step in rest {
                    running.within(step).await;
                }
            }
        }
        Some(self.ready.respond(Default::default(), &self.variables, running))
    }
}
