//! Runs a plan: asks subgraphs, looks up entities, puts everything into one tree of data.

use super::upstream::{Question, take};
use super::{Gateway, late};
use crate::front::Terms;
use crate::map::{Fault, Step as At};
use crate::options::Limits;
use futures_util::future::{BoxFuture, join_all};
use sb_board::Access;
use sb_board::call::{Code, Status};
use sb_federation::{Change, Entities, Fetch, Need, Rewrite, Segment, Step};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// Errors of one response; further ones are left out.
pub(super) const MAX_FAULTS: usize = 100;

/// A plan that runs.
pub(super) struct Running<'g> {
    gateway: &'g Gateway,
    access: &'g Access,
    variables: &'g Map<String, Value>,
    terms: &'g Terms,
    deadline: Instant,
    limits: &'g Limits,
    /// Bytes that may still come.
    bytes: AtomicUsize,
    /// Requests that were made.
    calls: AtomicUsize,
    state: Mutex<(Value, Vec<Fault>)>,
}

/// A place in the data.
type Place = Vec<At>;
/// The places of each entity that is looked up, for each of several lists of entities.
pub(super) type Places = Vec<Vec<Vec<Place>>>;

impl<'g> Running<'g> {
    pub(super) fn new(
        gateway: &'g Gateway,
        access: &'g Access,
        variables: &'g Map<String, Value>,
        terms: &'g Terms,
        deadline: Instant,
        limits: &'g Limits,
    ) -> Self {
        Running {
            gateway,
            access,
            variables,
            terms,
            deadline,
            limits,
            bytes: AtomicUsize::new(limits.bytes),
            calls: AtomicUsize::new(0),
            state: Mutex::new((json!({}), Vec::new())),
        }
    }

    fn state(&self) -> MutexGuard<'_, (Value, Vec<Fault>)> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn fault(&self, fault: Fault) {
        let mut state = self.state();
        if state.1.len() < MAX_FAULTS {
            state.1.push(fault);
        }
    }

    /// Data and errors.
    pub(super) fn finish(self) -> (Value, Vec<Fault>) {
        self.state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn step<'a>(&'a self, step: &'a Step) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            match step {
                Step::Sequence(steps) => {
                    for step in steps {
                        self.step(step).await;
                    }
                }
                Step::Parallel(steps) => drop(join_all(steps.iter().map(|step| self.step(step))).await),
                Step::If { variable, is, step } => {
                    if self.variables.get(variable).and_then(Value::as_bool) == Some(*is) {
                        self.step(step).await;
                    }
                }
                Step::Fetch(fetch) => self.fetch(fetch).await,
                // What an item brings is there already.
                Step::Subscribe(_) => {}
            }
        })
    }

    async fn fetch(&self, fetch: &Fetch) {
        let mut variables = Map::new();
        for name in &fetch.variables {
            if let Some(value) = self.variables.get(name) {
                variables.insert(name.clone(), value.clone());
            }
        }
        let mut places = Places::new();
        {
            let state = self.state();
            for entities in &fetch.entities {
                let (representations, of) = self.representations(&state.0, entities);
                variables.insert(entities.variable.clone(), Value::Array(representations));
                places.push(of);
            }
        }
        if !fetch.entities.is_empty() && places.iter().all(Vec::is_empty) {
            return;
        }
        let body = json!({ "query": fetch.document, "variables": variables }).to_string();
        match self.ask(fetch, body).await {
            Ok(answer) => self.took(fetch, answer, &places),
            Err(status) => self.failed(fetch, &status, &places),
        }
    }

    /// A step, as long as there is time.
    pub(super) async fn within(&self, step: &Step) {
        if tokio::time::timeout_at(self.deadline, self.step(step)).await.is_err() {
            self.fault(late());
        }
    }

    /// What a subgraph answered.
    pub(super) fn took(&self, fetch: &Fetch, mut answer: Map<String, Value>, places: &Places) {
        let told = match answer.remove("errors") {
            Some(Value::Array(errors)) => {
                for error in errors.iter().take(MAX_FAULTS) {
                    self.told(fetch, error, places);
                }
                !errors.is_empty()
            }
            _ => false,
        };
        let data = match answer.remove("data") {
            Some(data @ Value::Object(_)) => data,
            _ if told => return,
            _ => {
                let status = Status::new(Code::Internal, "the subgraph gave no data and no reason");
                return self.failed(fetch, &status, places);
            }
        };
        if let Err(status) = self.merge(fetch, data, places) {
            self.failed(fetch, &status, places);
        }
    }

    /// Puts the data of an answer where it belongs.
    fn merge(&self, fetch: &Fetch, mut data: Value, places: &Places) -> Result<(), Status> {
        let mut state = self.state();
        if fetch.entities.is_empty() {
            for rewrite in &fetch.after {
                self.rewrite(&mut data, &rewrite.path, &rewrite.change);
            }
            merge(&mut state.0, data);
            return Ok(());
        }
        for (entities, places) in fetch.entities.iter().zip(places) {
            let Some(Value::Array(found)) = data.get_mut(&entities.key).map(Value::take) else { continue };
            for (mut entity, places) in found.into_iter().zip(places) {
                for rewrite in &entities.after {
                    self.rewrite(&mut entity, &rewrite.path, &rewrite.change);
                }
                // What is looked up once may be wanted at many places; all of them together count.
                let more = places.len().saturating_sub(1);
                if more > 0 {
                    take(&self.bytes, size(&entity).saturating_mul(more))?;
                }
                for place in places {
                    if let Some(target) = at(&mut state.0, place) {
                        merge(target, entity.clone());
                    }
                }
            }
        }
        Ok(())
    }

    /// One request to a subgraph.
    async fn ask(&self, fetch: &Fetch, body: String) -> Result<Map<String, Value>, Status> {
        let upstream =
            self.gateway.upstreams.get(&fetch.subgraph).ok_or_else(|| {
                Status::new(Code::Internal, format!("there is no subgraph {}", fetch.subgraph))
            })?;
        if self.calls.fetch_add(1, Ordering::Relaxed) >= self.limits.calls {
            let text = format!("the operation makes more than {} calls", self.limits.calls);
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        let question = Question {
            access: self.access,
            terms: self.terms,
            deadline: self.deadline,
            bytes: &self.bytes,
            again: !fetch.mutates,
            body: body.into(),
        };
        upstream.ask(&question).await
    }

    /// A subgraph that did not answer: an error for each field that it was asked for.
    pub(super) fn failed(&self, fetch: &Fetch, status: &Status, places: &Places) {
        let mut fault = Fault::value(status.message.clone());
        fault.extensions.insert("code".into(), crate::map::word(status.code).into());
        fault.extensions.insert("service".into(), fetch.subgraph.clone().into());
        let mut paths: Vec<Place> = Vec::new();
        let mut add = |place: &Place, keys: &[String], after: &[Rewrite]| {
            for key in keys {
                if paths.len() < MAX_FAULTS {
                    let key = At::Key(renamed(key, after).into());
                    paths.push(place.iter().cloned().chain([key]).collect());
                }
            }
        };
        add(&Vec::new(), &fetch.keys, &fetch.after);
        for (entities, places) in fetch.entities.iter().zip(places) {
            for place in places.iter().flatten() {
                add(place, &entities.keys, &entities.after);
            }
        }
        if paths.is_empty() {
            paths.push(places.iter().flatten().flatten().next().cloned().unwrap_or_default());
        }
        for path in paths {
            self.fault(Fault { path, ..fault.clone() });
        }
    }

    /// An error of a subgraph, at its place in the whole; at each of them, if what was looked up is wanted at several.
    fn told(&self, fetch: &Fetch, error: &Value, places: &Places) {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("the subgraph failed");
        let mut fault = Fault::value(message);
        if let Some(Value::Object(extensions)) = error.get("extensions") {
            fault.extensions.extend(extensions.clone());
        }
        fault.extensions.insert("service".into(), fetch.subgraph.clone().into());
        let steps = error.get("path").and_then(Value::as_array).into_iter().flatten();
        let mut steps: Vec<At> = steps
            .filter_map(|step| match step {
                Value::String(key) => Some(At::Key(key.as_str().into())),
                step => Some(At::Item(usize::try_from(step.as_u64()?).ok()?)),
            })
            .collect();
        if let [At::Key(key), At::Item(n), rest @ ..] = steps.as_mut_slice()
            && let Some((entities, of)) =
                fetch.entities.iter().zip(places).find(|(entities, _)| *entities.key == **key)
            && let Some(of) = of.get(*n)
        {
            if let Some(At::Key(key)) = rest.first_mut() {
                *key = renamed(key, &entities.after).into();
            }
            for place in of {
                let path = place.iter().chain(rest.iter()).cloned().collect();
                self.fault(Fault { path, ..fault.clone() });
            }
            return;
        }
        // An error without a place in what was looked up is about all of it.
        if !fetch.entities.is_empty() {
            steps = places.iter().flatten().flatten().next().cloned().unwrap_or_default();
        } else if let Some(At::Key(key)) = steps.first_mut() {
            *key = renamed(key, &fetch.after).into();
        }
        self.fault(Fault { path: steps, ..fault });
    }

    /// The representations of all entities at some paths, each once, with all places of each.
    fn representations(&self, data: &Value, entities: &Entities) -> (Vec<Value>, Vec<Vec<Place>>) {
        let mut places = Vec::new();
        for path in &entities.paths {
            self.collect(data, path, &mut Vec::new(), &mut places);
        }
        let (mut list, mut all): (Vec<Value>, Vec<Vec<Place>>) = (Vec::new(), Vec::new());
        let mut known: HashMap<String, usize> = HashMap::new();
        for (place, entity) in places {
            let mut members = Map::new();
            if !self.needed(entity, &entities.needs, &mut members) {
                continue;
            }
            if let Some(name) = entity.get("__typename") {
                members.entry("__typename").or_insert_with(|| name.clone());
            }
            let mut representation = Value::Object(members);
            for Rewrite { path, change } in &entities.before {
                self.rewrite(&mut representation, path, change);
            }
            let text = representation.to_string();
            let at = *known.entry(text).or_insert_with(|| {
                list.push(representation);
                all.push(Vec::new());
                list.len() - 1
            });
            if let Some(places) = all.get_mut(at) {
                places.push(place);
            }
        }
        (list, all)
    }

    /// The objects that a path leads to, with their places.
    fn collect<'v>(
        &self,
        value: &'v Value,
        path: &[Segment],
        place: &mut Place,
        out: &mut Vec<(Place, &'v Value)>,
    ) {
        if let Value::Array(items) = value {
            let rest = match path {
                [Segment::List, rest @ ..] => rest,
                path => path,
            };
            for (n, item) in items.iter().enumerate() {
                place.push(At::Item(n));
                self.collect(item, rest, place, out);
                place.pop();
            }
            return;
        }
        let Value::Object(object) = value else { return };
        match path {
            [] => out.push((place.clone(), value)),
            [Segment::List, rest @ ..] => self.collect(value, rest, place, out),
            [Segment::Types(types), rest @ ..] => {
                if self.is_any(object, types) {
                    self.collect(value, rest, place, out);
                }
            }
            [Segment::Field(name), rest @ ..] => {
                if let Some(member) = object.get(name) {
                    place.push(At::Key(name.as_str().into()));
                    self.collect(member, rest, place, out);
                    place.pop();
                }
            }
        }
    }

    fn is_any<'t>(&self, object: &Map<String, Value>, types: impl IntoIterator<Item = &'t String>) -> bool {
        let Some(name) = object.get("__typename").and_then(Value::as_str) else { return true };
        types.into_iter().any(|ty| ty == name || self.gateway.schema.is_subtype(ty, name))
    }

    /// Takes what is needed of an entity; false if something is missing, so that it cannot be looked up.
    fn needed(&self, value: &Value, needs: &[Need], out: &mut Map<String, Value>) -> bool {
        let Value::Object(object) = value else { return false };
        let mut any = needs.is_empty();
        for need in needs {
            match need {
                Need::On { ty, needs } => {
                    if self.is_any(object, [ty]) {
                        any |= self.needed(value, needs, out);
                    }
                }
                Need::Field { key, name, needs } => {
                    let Some(member) = object.get(key) else { return false };
                    out.insert(name.clone(), self.part(member, needs));
                    any = true;
                }
            }
        }
        any
    }

    fn part(&self, value: &Value, needs: &[Need]) -> Value {
        match value {
            Value::Array(items) => items.iter().map(|item| self.part(item, needs)).collect(),
            Value::Object(_) if !needs.is_empty() => {
                let mut out = Map::new();
                self.needed(value, needs, &mut out);
                Value::Object(out)
            }
            value => value.clone(),
        }
    }

    fn rewrite(&self, value: &mut Value, path: &[Segment], change: &Change) {
        if let Value::Array(items) = value {
            for item in items {
                self.rewrite(item, path, change);
            }
            return;
        }
        let Value::Object(object) = value else { return };
        match (path, change) {
            ([Segment::Types(types), rest @ ..], _) => {
                if self.is_any(object, types) {
                    self.rewrite(value, rest, change);
                }
            }
            ([Segment::List, rest @ ..], _) => self.rewrite(value, rest, change),
            ([Segment::Field(name)], Change::Rename(to)) => {
                if let Some(member) = object.remove(name) {
                    object.insert(to.clone(), member);
                }
            }
            ([Segment::Field(name)], Change::Set(text)) => {
                if let Some(member) = object.get_mut(name) {
                    *member = Value::String(text.clone());
                }
            }
            ([Segment::Field(name), rest @ ..], _) => {
                if let Some(member) = object.get_mut(name) {
                    self.rewrite(member, rest, change);
                }
            }
            ([], _) => {}
        }
    }
}

/// The key under which the answer's key is in the data.
fn renamed(key: &str, after: &[Rewrite]) -> String {
    let to = after.iter().find_map(|rewrite| {
        let mut fields = rewrite.path.iter().filter(|segment| matches!(segment, Segment::Field(_)));
        match (fields.next(), fields.next(), &rewrite.change) {
            (Some(Segment::Field(name)), None, Change::Rename(to)) if name == key => Some(to.clone()),
            _ => None,
        }
    });
    to.unwrap_or_else(|| key.to_owned())
}

/// About how many bytes a value is written in.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(size).fold(2, usize::saturating_add),
        Value::Object(members) => {
            members.iter().map(|(key, value)| key.len() + 4 + size(value)).fold(2, usize::saturating_add)
        }
        Value::String(text) => text.len() + 2,
        _ => 8,
    }
}

/// The value at a place.
fn at<'v>(value: &'v mut Value, place: &[At]) -> Option<&'v mut Value> {
    place.iter().try_fold(value, |value, step| match step {
        At::Key(key) => value.get_mut(&**key),
        At::Item(n) => value.get_mut(*n),
    })
}

/// Puts what has come to what was there: members of objects and items of lists together, anything else in its place.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(known) => merge(known, value),
                    None => drop(into.insert(key, value)),
                }
            }
        }
        (Value::Array(into), Value::Array(from)) if into.len() == from.len() => {
            for (into, from) in into.iter_mut().zip(from) {
                merge(into, from);
            }
        }
        // What one subgraph does not know is no reason to forget what another said.
        (Value::Object(_) | Value::Array(_), Value::Null) => {}
        (into, from) => *into = from,
    }
}
