//! Execution (October 2021 §6): the calls of a level at once, each made once, and what comes back brought into shape.
//!
//! An answer is gone through as far as it reaches; where another call is needed a hole is left, and when there is no more to do than holes, all
//! their calls are made together. Holes can always be null, so that an error in one stays there.

use crate::map::{Fault, Step};
use crate::model::{Base, Entity, Join, Member, Model, Ref, Scalar, Source, dig};
use crate::options::Limits;
use crate::plan::{Chosen, Planned, What};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderMap;
use sb_board::Access;
use sb_board::call::services::Entry;
use sb_board::call::{Call, Code, Codec, Status};
use sb_schema::Int64;
use serde_json::{Map, Number, Value};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Calls of one operation that run at the same time.
const AT_ONCE: usize = 64;
/// Errors of one response; further ones are left out.
const MAX_FAULTS: usize = 100;

/// What the parts of one request share.
pub(crate) struct Context {
    pub(crate) model: Arc<Model>,
    pub(crate) access: Access,
    pub(crate) metadata: HeaderMap,
    pub(crate) deadline: Option<Instant>,
    pub(crate) limits: Limits,
}

/// A value of a response.
#[derive(Debug)]
pub(crate) enum Out {
    Null,
    Leaf(Value),
    /// JSON as it is.
    Text(String),
    Object(Vec<(Arc<str>, Out)>),
    List(Vec<Out>),
    /// To be filled.
    Hole(usize),
}

/// A null that may not be there, on its way to where one may be.
struct Bubble;

type Shaped = Result<Out, Bubble>;

/// Where a field's value is taken from.
#[derive(Copy, Clone)]
enum From<'v> {
    /// The operation's root.
    Root,
    /// A message in JSON.
    Message(&'v Value),
    /// An entry of a map.
    Entry(&'v str, &'v Value, Scalar),
}

/// A hole, and what fills it.
struct Pending {
    hole: usize,
    planned: Arc<Planned>,
    /// The type of the value: the field's, or that of one entity.
    ty: Ref,
    path: Vec<Step>,
    wants: Wants,
}

/// The call a hole waits for.
enum Wants {
    One {
        entry: Entry,
        args: String,
        join: Option<Arc<Join>>,
    },
    /// The items of these keys.
    Items {
        join: Arc<Join>,
        fixed: String,
        keys: Vec<Value>,
    },
}

type Answer = Arc<Result<Value, Status>>;
/// The items of a batch by key.
type Items = Result<HashMap<String, Vec<Value>>, Status>;

/// One operation, or one root field of a mutation, or one item of a subscription.
pub(crate) struct Run<'c> {
    context: &'c Context,
    pub(crate) faults: Vec<Fault>,
    path: Vec<Step>,
    pending: Vec<Pending>,
    holes: Vec<Out>,
    /// Whether 64-bit integers are numbers in what is shown now.
    numbers: bool,
    answers: HashMap<(Arc<str>, String), Answer>,
    batches: HashMap<(usize, String), Items>,
    calls: usize,
    bytes: usize,
}

impl<'c> Run<'c> {
    pub(crate) fn new(context: &'c Context) -> Self {
        Run {
            context,
            faults: Vec::new(),
            path: Vec::new(),
            pending: Vec::new(),
            holes: Vec::new(),
            numbers: false,
            answers: HashMap::new(),
            batches: HashMap::new(),
            calls: 0,
            bytes: 0,
        }
    }

    /// All fields of a query.
    pub(crate) async fn query(&mut self, root: &Chosen, introspected: &mut HashMap<String, String>) -> Out {
        let shaped = self.object(root, From::Root).unwrap_or(Out::Null);
        self.fill().await;
        self.put_introspected(shaped, introspected)
    }

    /// The fields of a mutation, one after another.
    pub(crate) async fn mutation(&mut self, root: &Chosen) -> Out {
        let mut members = Vec::with_capacity(root.fields.len());
        for planned in &root.fields {
            // What one field has learned says nothing about the world after the next.
            self.answers.clear();
            self.batches.clear();
            match self.member(root, planned, From::Root) {
                Ok(out) => members.push((planned.key.clone(), out)),
                Err(Bubble) => return Out::Null,
            }
            self.fill().await;
        }
        Out::Object(members)
    }

    /// One item of a subscription.
    pub(crate) async fn item(&mut self, planned: &Arc<Planned>, entry: &Entry, item: &Value) -> Out {
        self.path.push(Step::Key(planned.key.clone()));
        self.numbers = entry.service.json.int64 == Int64::Number;
        let shaped = self.guarded(planned.ty.null, |run| run.shape(Some(item), planned.ty, planned, None));
        self.path.pop();
        let out = match shaped {
            Ok(out) => Out::Object(vec![(planned.key.clone(), out)]),
            Err(Bubble) => Out::Null,
        };
        self.fill().await;
        out
    }

    /// Writes a value with its holes filled.
    pub(crate) fn write(&self, out: &Out, to: &mut Vec<u8>) {
        match out {
            Out::Null => to.extend_from_slice(b"null"),
            Out::Leaf(value) => {
                // Writing into memory does not fail.
                let _ = serde_json::to_writer(to, value);
            }
            Out::Text(text) => to.extend_from_slice(text.as_bytes()),
            Out::Hole(at) => match self.holes.get(*at) {
                Some(out) => self.write(out, to),
                None => to.extend_from_slice(b"null"),
            },
            Out::List(items) => {
                to.push(b'[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        to.push(b',');
                    }
                    self.write(item, to);
                }
                to.push(b']');
            }
            Out::Object(members) => {
                to.push(b'{');
                for (n, (key, value)) in members.iter().enumerate() {
                    if n > 0 {
                        to.push(b',');
                    }
                    let _ = serde_json::to_writer(&mut *to, &**key);
                    to.push(b':');
                    self.write(value, to);
                }
                to.push(b'}');
            }
        }
    }

    /// Puts in what the schema says of itself.
    fn put_introspected(&self, shaped: Out, introspected: &mut HashMap<String, String>) -> Out {
        let Out::Object(members) = shaped else { return shaped };
        let put = |(key, out): (Arc<str>, Out)| match introspected.remove(&*key) {
            Some(text) => (key, Out::Text(text)),
            None => (key, out),
        };
        Out::Object(members.into_iter().map(put).collect())
    }

    // ---- shaping what is there ----

    fn fault(&mut self, fault: Fault, planned: &Planned) {
        if self.faults.len() < MAX_FAULTS {
            let path = self.path.clone();
            self.faults.push(Fault { path, ..fault.at(planned.at) });
        }
    }

    /// Where null is allowed, a null on its way up stays, and what was wanted below is wanted no more.
    fn guarded(&mut self, null: bool, shape: impl FnOnce(&mut Self) -> Shaped) -> Shaped {
        let mark = self.pending.len();
        match shape(self) {
            Err(Bubble) if null => {
                self.pending.truncate(mark);
                Ok(Out::Null)
            }
            shaped => shaped,
        }
    }

    fn object(&mut self, chosen: &Chosen, from: From<'_>) -> Shaped {
        let mut members = Vec::with_capacity(chosen.fields.len());
        for planned in &chosen.fields {
            members.push((planned.key.clone(), self.member(chosen, planned, from)?));
        }
        Ok(Out::Object(members))
    }

    fn member(&mut self, chosen: &Chosen, planned: &Arc<Planned>, from: From<'_>) -> Shaped {
        self.path.push(Step::Key(planned.key.clone()));
        let shaped = self.guarded(planned.ty.null, |run| run.field(chosen, planned, from));
        self.path.pop();
        shaped
    }

    fn field(&mut self, chosen: &Chosen, planned: &Arc<Planned>, from: From<'_>) -> Shaped {
        let model = self.context.model.clone();
        match &planned.what {
            What::Typename => Ok(Out::Leaf(model.name(Base::Object(chosen.object)).into())),
            What::Schema => Ok(Out::Null),
            What::Service => match planned.chosen.first() {
                Some(inner) => self.object(inner, From::Root),
                None => Ok(Out::Null),
            },
            What::Sdl => Ok(Out::Leaf(model.federation_sdl().into())),
            What::Call(root, args) => {
                let wants = Wants::One { entry: root.entry.clone(), args: args.to_string(), join: None };
                Ok(self.hole(planned, planned.ty, wants))
            }
            What::Join(join, args) => match from {
                From::Message(parent) => Ok(self.join(planned, planned.ty, join, args, parent)),
                From::Root => Ok(self.join(planned, planned.ty, join, args, &Value::Null)),
                From::Entry(..) => Ok(Out::Null),
            },
            What::Entities(representations) => Ok(self.entities(&model, planned, representations)),
            What::Field(index) => {
                let field = model.object(chosen.object).and_then(|o| o.fields.get(*index as usize));
                let Some(field) = field else { return Ok(Out::Null) };
                match (&field.source, from) {
                    (Source::Member(member), From::Message(message)) => {
                        let value = member.step.of(message);
                        let value = value.or_else(|| Some(&member.absent).filter(|v| !v.is_null()));
                        self.shape(value, planned.ty, planned, Some(member))
                    }
                    (Source::Key, From::Entry(key, _, kind)) => {
                        let key = match kind {
                            Scalar::Boolean => Value::Bool(key == "true"),
                            _ => Value::String(key.to_owned()),
                        };
                        self.shape(Some(&key), planned.ty, planned, None)
                    }
                    (Source::Value, From::Entry(_, value, _)) => {
                        self.shape(Some(value), planned.ty, planned, None)
                    }
                    _ => Ok(Out::Null),
                }
            }
        }
    }

    /// A value by its type.
    fn shape(
        &mut self,
        value: Option<&Value>,
        ty: Ref,
        planned: &Arc<Planned>,
        member: Option<&Member>,
    ) -> Shaped {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            if ty.null {
                return Ok(Out::Null);
            }
            self.fault(Fault::value("the service's answer lacks the field"), planned);
            return Err(Bubble);
        };
        if !ty.list {
            return self.single(value, ty.base, planned);
        }
        if let Some(kind) = member.and_then(|member| member.map) {
            let Value::Object(entries) = value else { return self.odd(value, "map", planned) };
            let Some(inner) = planned.chosen.first() else { return Ok(Out::Null) };
            let mut list = Vec::with_capacity(entries.len());
            for (n, (key, value)) in entries.iter().enumerate() {
                self.path.push(Step::Item(n));
                let entry = self.object(inner, From::Entry(key, value, kind));
                self.path.pop();
                list.push(entry?);
            }
            return Ok(Out::List(list));
        }
        let Value::Array(items) = value else { return self.odd(value, "list", planned) };
        let mut list = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            self.path.push(Step::Item(n));
            let item = self.guarded(ty.item_null, |run| run.shape(Some(item), ty.item(), planned, None));
            self.path.pop();
            list.push(item?);
        }
        Ok(Out::List(list))
    }

    fn single(&mut self, value: &Value, base: Base, planned: &Arc<Planned>) -> Shaped {
        match base {
            Base::Empty => Ok(Out::Leaf(true.into())),
            Base::Object(at) => match planned.of(at) {
                Some(inner) if value.is_object() => self.object(inner, From::Message(value)),
                _ => self.odd(value, self.context.model.clone().name(base), planned),
            },
            Base::Entity => self.odd(value, "entity", planned),
            Base::Enum(at) => {
                let model = self.context.model.clone();
                let Some(kind) = model.enumeration(at) else { return Ok(Out::Null) };
                let place = match value {
                    Value::String(word) => kind.by_proto.get(word.as_str()),
                    Value::Number(number) => number.as_i64().and_then(|n| kind.by_number.get(&n)),
                    _ => None,
                };
                match place.and_then(|place| kind.values.get(*place as usize)) {
                    Some(found) => Ok(Out::Leaf(found.name.as_str().into())),
                    None => self.odd(value, &kind.name, planned),
                }
            }
            Base::Scalar(scalar) => match leaf(value, scalar, self.numbers) {
                Some(value) => Ok(Out::Leaf(value)),
                None => self.odd(value, scalar.name(), planned),
            },
        }
    }

    /// A value that has no form in GraphQL, or is not what the schema says.
    fn odd(&mut self, value: &Value, what: &str, planned: &Planned) -> Shaped {
        let text = value.to_string();
        let short: String = text.chars().take(60).collect();
        self.fault(Fault::value(format!("the service's answer is {short}, which is no {what}")), planned);
        Err(Bubble)
    }

    // ---- holes ----

    fn hole(&mut self, planned: &Arc<Planned>, ty: Ref, wants: Wants) -> Out {
        let hole = self.holes.len();
        self.holes.push(Out::Null);
        let path = self.path.clone();
        self.pending.push(Pending { hole, planned: planned.clone(), ty, path, wants });
        Out::Hole(hole)
    }

    /// What another service says to this parent; null where the parent lacks what is needed to ask.
    fn join(
        &mut self,
        planned: &Arc<Planned>,
        ty: Ref,
        join: &Arc<Join>,
        args: &Value,
        parent: &Value,
    ) -> Out {
        let mut request = args.as_object().cloned().unwrap_or_default();
        for (member, path) in &join.args {
            match dig(parent, path) {
                Some(value) => request.insert(member.clone(), value.clone()),
                None => return Out::Null,
            };
        }
        let wants = match &join.batch {
            None => Wants::One {
                entry: join.entry.clone(),
                args: Value::Object(request).to_string(),
                join: Some(join.clone()),
            },
            Some(batch) => {
                let keys = match dig(parent, &batch.from) {
                    Some(Value::Array(keys)) if batch.several => keys.clone(),
                    Some(key) if !batch.several => vec![key.clone()],
                    _ if batch.several => Vec::new(),
                    _ => return Out::Null,
                };
                if keys.is_empty() {
                    return Out::List(Vec::new());
                }
                Wants::Items { join: join.clone(), fixed: Value::Object(request).to_string(), keys }
            }
        };
        self.hole(planned, ty, wants)
    }

    fn entities(&mut self, model: &Model, planned: &Arc<Planned>, representations: &[Value]) -> Out {
        let mut list = Vec::with_capacity(representations.len());
        for (n, representation) in representations.iter().enumerate() {
            self.path.push(Step::Item(n));
            let name = representation.get("__typename").and_then(Value::as_str).unwrap_or_default();
            let of = |entity: &&Entity| model.name(Base::Object(entity.object)) == name;
            list.push(match model.entities.iter().find(of) {
                Some(entity) => {
                    let ty = Ref::one(Base::Object(entity.object), true);
                    self.join(planned, ty, &entity.join, &Value::Null, representation)
                }
                None => {
                    let short: String = name.chars().take(60).collect();
                    self.fault(Fault::value(format!("{short:?} is no entity of this subgraph")), planned);
                    Out::Null
                }
            });
            self.path.pop();
        }
        Out::List(list)
    }

    /// Fills all holes, level by level.
    async fn fill(&mut self) {
        while !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            self.ask(&pending).await;
            for pending in pending {
                self.path.clone_from(&pending.path);
                let filled = self.filled(&pending);
                if let Some(hole) = self.holes.get_mut(pending.hole) {
                    *hole = filled;
                }
            }
            self.path.clear();
        }
    }

    fn filled(&mut self, pending: &Pending) -> Out {
        let planned = &pending.planned;
        let (entry, value) = match &pending.wants {
            Wants::One { entry, args, join } => {
                let answer = self.answers.get(&(entry.path.clone(), args.clone())).cloned();
                let value = match answer.as_deref() {
                    Some(Ok(value)) => {
                        let pick = join.as_ref().map_or(&[][..], |join| &join.pick);
                        Ok(dig(value, pick)
                            .cloned()
                            .or_else(|| pending.ty.list.then(|| Value::Array(Vec::new()))))
                    }
                    Some(Err(status)) => Err(status.clone()),
                    None => Ok(None),
                };
                (entry, value)
            }
            Wants::Items { join, fixed, keys } => {
                let found = self.batches.get(&(Arc::as_ptr(join) as usize, fixed.clone()));
                let value = match found {
                    Some(Ok(items)) => {
                        let all = |key: &Value| items.get(&key_text(key)).map_or(&[][..], Vec::as_slice);
                        Ok(match &join.batch {
                            Some(batch) if batch.several => Some(Value::Array(
                                keys.iter()
                                    .map(|key| all(key).first().cloned().unwrap_or(Value::Null))
                                    .collect(),
                            )),
                            Some(batch) if batch.many => {
                                Some(Value::Array(keys.first().map_or(Vec::new(), |key| all(key).to_vec())))
                            }
                            _ => keys.first().and_then(|key| all(key).first().cloned()),
                        })
                    }
                    Some(Err(status)) => Err(status.clone()),
                    None => Ok(None),
                };
                (&join.entry, value)
            }
        };
        match value {
            Err(status) => {
                let schema = self.context.model.services.schema();
                self.fault(Fault::call(&entry.path, &status, schema), planned);
                Out::Null
            }
            Ok(value) => {
                self.numbers = entry.service.json.int64 == Int64::Number;
                let shaped = self.guarded(true, |run| run.shape(value.as_ref(), pending.ty, planned, None));
                shaped.unwrap_or(Out::Null)
            }
        }
    }

    // ---- calls ----

    /// Makes all calls that are wanted and not answered yet, each once.
    async fn ask(&mut self, pending: &[Pending]) {
        let mut single: Vec<((Arc<str>, String), Entry)> = Vec::new();
        let mut known: std::collections::HashSet<(Arc<str>, String)> = std::collections::HashSet::new();
        let mut groups: Vec<(Arc<Join>, String, Vec<Value>)> = Vec::new();
        let mut places: HashMap<(usize, String), usize> = HashMap::new();
        let mut wanted: std::collections::HashSet<(usize, String)> = std::collections::HashSet::new();
        for pending in pending {
            match &pending.wants {
                Wants::One { entry, args, .. } => {
                    let key = (entry.path.clone(), args.clone());
                    if !self.answers.contains_key(&key) && known.insert(key.clone()) {
                        single.push((key, entry.clone()));
                    }
                }
                Wants::Items { join, fixed, keys } => {
                    let id = (Arc::as_ptr(join) as usize, fixed.clone());
                    let answered = match self.batches.get(&id) {
                        Some(Err(_)) => continue,
                        Some(Ok(items)) => Some(items),
                        None => None,
                    };
                    let at = *places.entry(id).or_insert_with(|| {
                        groups.push((join.clone(), fixed.clone(), Vec::new()));
                        groups.len() - 1
                    });
                    for key in keys {
                        let text = key_text(key);
                        if answered.is_some_and(|items| items.contains_key(&text)) {
                            continue;
                        }
                        if wanted.insert((at, text))
                            && let Some(group) = groups.get_mut(at)
                        {
                            group.2.push(key.clone());
                        }
                    }
                }
            }
        }
        groups.retain(|(_, _, keys)| !keys.is_empty());
        let context = self.context;
        enum Asked {
            Single(usize),
            Group(usize),
        }
        let singles =
            single.iter().enumerate().map(|(n, ((_, args), entry))| (Asked::Single(n), entry, args.clone()));
        let grouped = groups
            .iter()
            .enumerate()
            .map(|(n, (join, fixed, keys))| (Asked::Group(n), &join.entry, batch_args(join, fixed, keys)));
        let mut results = Vec::new();
        let mut futures = Vec::new();
        for (asked, entry, args) in singles.chain(grouped) {
            self.calls += 1;
            if self.calls > context.limits.calls {
                let text = format!("the operation makes more than {} calls", context.limits.calls);
                results.push((asked, Err(Status::new(Code::ResourceExhausted, text))));
                continue;
            }
            futures.push(async move { (asked, call(context, entry, args).await) });
        }
        let mut running = futures_util::stream::iter(futures).buffer_unordered(AT_ONCE);
        while let Some((asked, result)) = running.next().await {
            results.push((asked, result));
        }
        drop(running);
        let mut bytes = self.bytes;
        for (asked, result) in results {
            let result = result.and_then(|text| {
                bytes = bytes.saturating_add(text.len());
                parse(&text, bytes, context.limits.bytes)
            });
            match asked {
                Asked::Single(n) => {
                    if let Some((key, _)) = single.get(n) {
                        self.answers.insert(key.clone(), Arc::new(result));
                    }
                }
                Asked::Group(n) => {
                    if let Some((join, fixed, keys)) = groups.get(n) {
                        let id = (Arc::as_ptr(join) as usize, fixed.clone());
                        self.keep(id, join, keys, result);
                    }
                }
            }
        }
        self.bytes = bytes;
    }

    /// Keeps the items of a batch by key; a key without item is known to have none.
    fn keep(&mut self, id: (usize, String), join: &Join, keys: &[Value], result: Result<Value, Status>) {
        let value = match result {
            Ok(value) => value,
            Err(status) => {
                self.batches.insert(id, Err(status));
                return;
            }
        };
        let kept = self.batches.entry(id).or_insert_with(|| Ok(HashMap::new()));
        let (Ok(kept), Some(batch)) = (kept, &join.batch) else { return };
        for key in keys {
            kept.entry(key_text(key)).or_default();
        }
        let items = dig(&value, &join.pick).and_then(Value::as_array);
        for item in items.into_iter().flatten() {
            // A key with its type's default value is not written.
            let key = dig(item, &batch.key).map_or_else(String::new, key_text);
            let place = match kept.contains_key(&key) {
                true => Some(key),
                false if key.is_empty() => {
                    ["0", "false"].map(str::to_owned).into_iter().find(|k| kept.contains_key(k))
                }
                false => None,
            };
            if let Some(list) = place.and_then(|key| kept.get_mut(&key)) {
                list.push(item.clone());
            }
        }
    }
}

/// A key as text: numbers and strings of the same digits are the same key.
fn key_text(key: &Value) -> String {
    match key {
        Value::String(text) => text.clone(),
        key => key.to_string(),
    }
}

fn batch_args(join: &Join, fixed: &str, keys: &[Value]) -> String {
    let mut request: Map<String, Value> = serde_json::from_str(fixed).unwrap_or_default();
    if let Some(batch) = &join.batch {
        request.insert(batch.list.clone(), Value::Array(keys.to_vec()));
    }
    Value::Object(request).to_string()
}

/// One call, answered in JSON.
async fn call(context: &Context, entry: &Entry, args: String) -> Result<Bytes, Status> {
    let call = Call {
        metadata: context.metadata.clone(),
        deadline: context.deadline,
        ..Call::unary(entry.path.clone(), Codec::Json, args.into())
    };
    let (_, answer, _) = context.access.call(call).await?.one().await;
    answer
}

pub(crate) fn parse(text: &[u8], so_far: usize, most: usize) -> Result<Value, Status> {
    if so_far > most {
        let text = format!("the answers to the operation's calls have more than {most} bytes together");
        return Err(Status::new(Code::ResourceExhausted, text));
    }
    serde_json::from_slice(text)
        .map_err(|error| Status::new(Code::Internal, format!("the service's answer is no JSON: {error}")))
}

/// A scalar in GraphQL's form; `None` if the value has none.
fn leaf(value: &Value, scalar: Scalar, numbers: bool) -> Option<Value> {
    let wide = |text: String| match (numbers, text.parse::<i64>(), text.parse::<u64>()) {
        (true, Ok(int), _) => Value::Number(int.into()),
        (true, _, Ok(int)) => Value::Number(int.into()),
        _ => Value::String(text),
    };
    let digits = match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::Number(number) => {
            number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 1e15).map(|f| (f as i64).to_string())
        }
        _ => None,
    };
    match scalar {
        Scalar::Int => Some(digits?.parse::<i32>().ok()?.into()),
        Scalar::UInt32 => Some(digits?.parse::<u32>().ok()?.into()),
        Scalar::Int64 => digits.filter(|d| d.parse::<i64>().is_ok()).map(wide),
        Scalar::UInt64 => digits.filter(|d| d.parse::<u64>().is_ok()).map(wide),
        Scalar::Float => match value {
            Value::Number(_) => Some(value.clone()),
            Value::String(text) => {
                let finite = text.parse::<f64>().ok().filter(|f| f.is_finite())?;
                Some(Value::Number(Number::from_f64(finite)?))
            }
            _ => None,
        },
        Scalar::Boolean => value.is_boolean().then(|| value.clone()),
        Scalar::String | Scalar::Bytes | Scalar::Timestamp | Scalar::Duration | Scalar::FieldMask => {
            value.is_string().then(|| value.clone())
        }
        Scalar::Json | Scalar::Any | Scalar::Representation => Some(value.clone()),
    }
}
