//! From a request to its response, whatever it came by: the schema of the moment, documents that were validated before, persisted queries,
//! planning, execution, subscriptions.

use crate::build::{PROTOCOL, build};
use crate::coerce::Coercion;
use crate::execute::{Context, Run, parse};
use crate::gateway::{self, Gateway};
use crate::map::{Fault, Refusal};
use crate::model::Model;
use crate::options::{MAX_DEPTH, Options};
use crate::plan::{Plan, What, plan};
use crate::wire::{Ask, Response};
use apollo_compiler::collections::HashMap as NameMap;
use apollo_compiler::executable::{Operation, OperationType};
use apollo_compiler::parser::Parser;
use apollo_compiler::response::JsonMap;
use apollo_compiler::schema::Implementers;
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Name, Node, Schema, introspection};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::HeaderMap;
use sb_board::access::AsJob;
use sb_board::call::services::Entry;
use sb_board::call::{Call, Codec, End, Part, Reply, Services, Status};
use sb_board::{Access, Board};
use sb_core::model::Error;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// The parser's own bound on nesting: of fields, of values, of types.
const MAX_NESTING: usize = MAX_DEPTH + 36;
/// Validated documents that are kept, by the length of their texts together.
pub(crate) const DOCUMENTS: usize = 4 << 20;
/// Texts of persisted queries that are kept.
const PERSISTED: usize = 8 << 20;
/// Errors of one document; further ones are left out.
const MAX_DIAGNOSTICS: usize = 20;

/// What GraphQL keeps for the whole server.
#[derive(Default)]
pub(crate) struct State {
    current: Mutex<Option<Arc<Compiled>>>,
    /// Persisted queries by their hash. They outlive a change of the schema.
    persisted: Mutex<Kept<Arc<str>>>,
    pub(crate) streams: crate::single::Streams,
}

/// A schema with the documents that were validated against it.
pub(crate) struct Compiled {
    pub(crate) model: Arc<Model>,
    pub(crate) options: Arc<Options>,
    documents: Documents,
}

/// Documents by their texts.
pub(crate) type Documents = Mutex<Kept<Arc<Valid<ExecutableDocument>>>>;

/// Values by text, of which the older half is dropped when they become too many.
pub(crate) struct Kept<V> {
    young: HashMap<Arc<str>, V>,
    old: HashMap<Arc<str>, V>,
    bytes: usize,
}

impl<V> Default for Kept<V> {
    fn default() -> Self {
        Kept { young: HashMap::new(), old: HashMap::new(), bytes: 0 }
    }
}

impl<V: Clone> Kept<V> {
    pub(crate) fn get(&mut self, key: &str, most: usize) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        let weight = key.len();
        self.put(key, value.clone(), weight, most);
        Some(value)
    }

    pub(crate) fn put(&mut self, key: Arc<str>, value: V, weight: usize, most: usize) {
        // An entry costs something besides its text.
        let weight = weight.saturating_add(256);
        if weight > most / 2 {
            return;
        }
        if self.bytes + weight > most / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += weight;
        self.young.insert(key, value);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The schema of the services as they are now.
pub(crate) fn compiled(board: &Arc<Board>) -> Result<Arc<Compiled>, Error> {
    let state = board.shared::<State>();
    let (services, options) = (board.services(), board.shared::<Options>());
    let mut current = lock(&state.current);
    if let Some(compiled) = &*current
        && Arc::ptr_eq(&compiled.model.services, &services)
        && Arc::ptr_eq(&compiled.options, &options)
    {
        return Ok(compiled.clone());
    }
    let model = Arc::new(build(&services, &options)?);
    for fault in &model.faults {
        tracing::warn!(%fault, "a part of the GraphQL settings does not fit the services");
    }
    let compiled = Arc::new(Compiled { model, options, documents: Mutex::default() });
    *current = Some(compiled.clone());
    Ok(compiled)
}

/// The model of the services as they are now, for listings and for exports. Error: the services have no schema, which is a fault of ours.
pub fn model(board: &Arc<Board>) -> Result<Arc<Model>, Error> {
    compiled(board).map(|compiled| compiled.model.clone())
}

/// The model of services under options that are not in force: what of the options does not fit is in [`Model::faults`].
pub fn check(services: &Arc<Services>, options: &Options) -> Result<Model, Error> {
    build(services, options)
}

/// Whose schema a request is for.
#[derive(Clone)]
pub(crate) enum Side {
    /// That of the services.
    Services,
    /// The supergraph's.
    Subgraphs(Arc<Gateway>),
}

impl Side {
    /// The headers that the config sends on although they are of the login or of browsers.
    pub(crate) fn forwarded(&self, headers: &HeaderMap) -> HeaderMap {
        match self {
            Side::Services => HeaderMap::new(),
            Side::Subgraphs(gateway) => gateway.forwarded(headers),
        }
    }
}

/// A request that can be run.
pub(crate) enum Ready {
    /// By calls to services.
    Services(Box<Own>),
    /// By requests to subgraphs.
    Subgraphs(Box<gateway::Ready>),
}

impl Ready {
    pub(crate) fn kind(&self) -> OperationType {
        match self {
            Ready::Services(own) => own.plan.kind,
            Ready::Subgraphs(ready) => ready.kind(),
        }
    }
}

/// A request to services that can be run.
pub(crate) struct Own {
    plan: Plan,
    compiled: Arc<Compiled>,
    document: Arc<Valid<ExecutableDocument>>,
    operation: Node<Operation>,
    raw: Map<String, Value>,
}

/// Whether the caller may see the schema.
pub(crate) fn may_introspect(access: &Access, options: &Options) -> Result<(), Fault> {
    if !options.introspection {
        return Err(Fault::refused(Refusal::Introspection, "introspection is turned off"));
    }
    access.known().map_err(|_| {
        Fault::refused(Refusal::Introspection, "introspection is not open to callers without credentials")
    })
}

/// Everything up to the first call.
pub(crate) fn prepare(access: &Access, ask: Ask, side: &Side) -> Result<Ready, Vec<Fault>> {
    match side {
        Side::Services => own(access, ask).map(|own| Ready::Services(Box::new(own))),
        Side::Subgraphs(gateway) => {
            gateway::prepare(gateway, access, ask).map(|ready| Ready::Subgraphs(Box::new(ready)))
        }
    }
}

fn own(access: &Access, ask: Ask) -> Result<Own, Vec<Fault>> {
    let compiled = compiled(access.board()).map_err(|error| vec![Fault::of(&error)])?;
    let text = text(access, &compiled.options, &ask).map_err(|fault| vec![fault])?;
    let tokens = compiled.options.limits.tokens;
    let document = validated(&compiled.documents, &compiled.model.schema, &text, tokens)?;
    let ready = planned(&compiled, document, ask).map_err(|fault| vec![fault])?;
    if ready.plan.introspects {
        may_introspect(access, &compiled.options).map_err(|fault| vec![fault])?;
    }
    Ok(ready)
}

/// The document's text, or that of its hash (Automatic Persisted Queries).
pub(crate) fn text(access: &Access, options: &Options, ask: &Ask) -> Result<Arc<str>, Fault> {
    let persisted = ask.extensions.get("persistedQuery");
    let Some(persisted) = persisted.filter(|value| !value.is_null()) else {
        let missing = || Fault::refused(Refusal::Request, "the parameter query is missing");
        return ask.query.as_deref().map(Arc::from).ok_or_else(missing);
    };
    if !options.persisted {
        return Err(Fault::refused(Refusal::NotPersisting, "PersistedQueryNotSupported"));
    }
    if persisted.get("version").and_then(Value::as_u64) != Some(1) {
        return Err(Fault::refused(Refusal::Request, "persistedQuery.version is not 1"));
    }
    let hash = persisted.get("sha256Hash").and_then(Value::as_str).unwrap_or_default();
    if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Fault::refused(
            Refusal::Request,
            "persistedQuery.sha256Hash is no SHA-256 in hexadecimal",
        ));
    }
    let hash = hash.to_ascii_lowercase();
    let state = access.board().shared::<State>();
    let Some(query) = &ask.query else {
        let found = lock(&state.persisted).get(&hash, PERSISTED);
        return found.ok_or_else(|| Fault::refused(Refusal::Persisted, "PersistedQueryNotFound"));
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, query.as_bytes());
    let own: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    if own != hash {
        return Err(Fault::refused(Refusal::Request, "provided sha does not match query"));
    }
    let query: Arc<str> = query.as_str().into();
    // Only callers that are known may make the server remember something.
    if access.known().is_ok() {
        lock(&state.persisted).put(own.into(), query.clone(), query.len(), PERSISTED);
    }
    Ok(query)
}

/// The document, parsed and validated, or why it is not valid.
pub(crate) fn validated(
    documents: &Documents,
    schema: &Valid<Schema>,
    text: &Arc<str>,
    tokens: usize,
) -> Result<Arc<Valid<ExecutableDocument>>, Vec<Fault>> {
    if let Some(document) = lock(documents).get(text, DOCUMENTS) {
        return Ok(document);
    }
    let document = Arc::new(parsed(schema, text, tokens)?);
    lock(documents).put(text.clone(), document.clone(), text.len(), DOCUMENTS);
    Ok(document)
}

/// Parses and validates.
fn parsed(
    schema: &Valid<Schema>,
    text: &str,
    tokens: usize,
) -> Result<Valid<ExecutableDocument>, Vec<Fault>> {
    let mut parser = Parser::new().recursion_limit(MAX_NESTING).token_limit(tokens);
    let faults = |why: Refusal, list: &apollo_compiler::validation::DiagnosticList| -> Vec<Fault> {
        let all = list.iter().take(MAX_DIAGNOSTICS).map(|diagnostic| {
            let error = diagnostic.to_json();
            Fault { locations: error.locations, ..Fault::refused(why, error.message) }
        });
        all.collect()
    };
    let ast = parser.parse_ast(text, "operation.graphql").map_err(|wrong| {
        if parser.tokens_reached() >= tokens {
            return vec![Fault::refused(
                Refusal::Limit,
                format!("the document has more than {tokens} tokens"),
            )];
        }
        if parser.recursion_reached() >= MAX_NESTING {
            let text = format!("the document is nested deeper than {MAX_NESTING} levels");
            return vec![Fault::refused(Refusal::Limit, text)];
        }
        faults(Refusal::Syntax, &wrong.errors)
    })?;
    ast.to_executable_validate(schema).map_err(|wrong| faults(Refusal::Validation, &wrong.errors))
}

/// The operation that is meant.
pub(crate) fn operation(document: &ExecutableDocument, name: Option<&str>) -> Result<Node<Operation>, Fault> {
    document.operations.get(name).cloned().map_err(|_| {
        let text = match name {
            Some(name) => {
                let short: String = name.chars().take(60).collect();
                format!("the document has no operation {short:?}")
            }
            None => "the document has several operations: operationName says which is meant".to_owned(),
        };
        Fault::refused(Refusal::Operation, text)
    })
}

fn planned(
    compiled: &Arc<Compiled>,
    document: Arc<Valid<ExecutableDocument>>,
    ask: Ask,
) -> Result<Own, Fault> {
    let operation = operation(&document, ask.operation_name.as_deref())?;
    let limits = &compiled.options.limits;
    let mut coercion = Coercion::new(&compiled.model, limits.items);
    let variables = coercion.variables(&operation, &ask.variables).map_err(|wrong| {
        let why = if wrong.limit { Refusal::Limit } else { Refusal::Variables };
        Fault::refused(why, wrong.message).at(wrong.at.and_then(|at| at.line_column(&document.sources)))
    })?;
    let plan = plan(&compiled.model, &document, &operation, &variables, limits, coercion)?;
    Ok(Own { plan, compiled: compiled.clone(), document, operation, raw: ask.variables })
}

/// What a request brings besides its document.
#[derive(Clone, Default)]
pub(crate) struct Terms {
    /// Metadata of its calls.
    pub(crate) metadata: HeaderMap,
    /// Headers that go to subgraphs although they would be kept back: the config names them.
    pub(crate) forwarded: HeaderMap,
    /// The longest it may take, in milliseconds, if the caller says so.
    pub(crate) timeout_ms: Option<u64>,
    /// Whether its mutations become jobs.
    pub(crate) as_jobs: bool,
    /// Makes repetitions of jobs one.
    pub(crate) idempotency: Option<String>,
}

fn context(access: &Access, ready: &Own, terms: &Terms, bounded: bool) -> Context {
    let most = bounded.then_some(ready.compiled.options.timeout_ms);
    let ms = [terms.timeout_ms, most].into_iter().flatten().min();
    Context {
        model: ready.compiled.model.clone(),
        access: access.via(PROTOCOL),
        metadata: terms.metadata.clone(),
        deadline: ms.map(|ms| Instant::now() + Duration::from_millis(ms)),
        limits: ready.compiled.options.limits.clone(),
    }
}

/// Runs a query or mutation.
pub(crate) async fn execute(access: &Access, ready: &Ready, terms: &Terms) -> Response {
    match ready {
        Ready::Services(own) => call(access, own, terms).await,
        Ready::Subgraphs(ready) => ready.execute(access, terms).await,
    }
}

async fn call(access: &Access, ready: &Own, terms: &Terms) -> Response {
    let context = context(access, ready, terms, true);
    if ready.plan.kind == OperationType::Mutation && terms.as_jobs {
        return submit(&context, ready, terms).await;
    }
    let mut run = Run::new(&context);
    let out = match ready.plan.kind {
        OperationType::Mutation => run.mutation(&ready.plan.root).await,
        _ => match introspected_own(ready) {
            Ok(mut introspected) => run.query(&ready.plan.root, &mut introspected).await,
            Err(fault) => return Response::refused(vec![fault]),
        },
    };
    let mut data = Vec::new();
    run.write(&out, &mut data);
    Response { data: Some(data), errors: run.faults, extensions: Map::new(), jobs: 0 }
}

fn introspected_own(ready: &Own) -> Result<HashMap<String, String>, Fault> {
    let asks = ready.plan.root.fields.iter().any(|field| matches!(field.what, What::Schema));
    if !asks {
        return Ok(HashMap::new());
    }
    let model = &ready.compiled.model;
    let variables = coerced(&model.schema, &ready.document, &ready.operation, &ready.raw)?;
    introspected(&model.schema, &model.implementers, &ready.document, &ready.operation, &variables)
}

/// Variables as the schema wants them.
pub(crate) fn coerced(
    schema: &Valid<Schema>,
    document: &ExecutableDocument,
    operation: &Operation,
    raw: &Map<String, Value>,
) -> Result<Valid<JsonMap>, Fault> {
    let raw: JsonMap = serde_json::to_vec(raw)
        .and_then(|text| serde_json::from_slice(&text))
        .map_err(|_| Fault::refused(Refusal::Internal, "the variables could not be taken over"))?;
    apollo_compiler::request::coerce_variable_values(schema, operation, &raw)
        .map_err(|error| placed(document, Refusal::Variables, &error))
}

/// What the schema says of itself where the operation asks, by response key.
pub(crate) fn introspected(
    schema: &Valid<Schema>,
    implementers: &NameMap<Name, Implementers>,
    document: &Valid<ExecutableDocument>,
    operation: &Operation,
    variables: &Valid<JsonMap>,
) -> Result<HashMap<String, String>, Fault> {
    introspection::check_max_depth(document, operation)
        .map_err(|error| placed(document, Refusal::Limit, &error))?;
    let response = introspection::partial_execute(schema, implementers, document, operation, variables)
        .map_err(|error| placed(document, Refusal::Validation, &error))?;
    let members = response.data.into_iter().flatten();
    Ok(members
        .map(|(key, value)| (key.as_str().to_owned(), serde_json::to_string(&value).unwrap_or_default()))
        .collect())
}

fn placed(
    document: &ExecutableDocument,
    why: Refusal,
    error: &apollo_compiler::request::RequestError,
) -> Fault {
    let place = error.location().and_then(|span| span.line_column(&document.sources));
    Fault::refused(why, error.message().to_string()).at(place)
}

/// Each field of a mutation as a job: the data is null, and the extensions hold the jobs' handles.
async fn submit(context: &Context, ready: &Own, terms: &Terms) -> Response {
    let mut members = Vec::new();
    let (mut jobs, mut errors) = (Map::new(), Vec::new());
    for (n, planned) in ready.plan.root.fields.iter().enumerate() {
        let What::Call(root, args) = &planned.what else { continue };
        let key = planned.key.to_string();
        members.push(format!("{}:null", serde_json::to_string(&key).unwrap_or_default()));
        let text = args.to_string();
        let idempotency = terms
            .idempotency
            .as_ref()
            .map(|given| if n == 0 { given.clone() } else { format!("{given}/{key}") });
        let call = Call {
            metadata: context.metadata.clone(),
            ..Call::unary(root.entry.path.clone(), Codec::Json, text.into())
        };
        let how = AsJob { idempotency, timeout_ms: terms.timeout_ms, ..AsJob::default() };
        match context.access.submit_call(call, how).await {
            Ok((job, replayed)) => {
                let id = job.id.to_string();
                let url = format!("/jobs/{id}");
                jobs.insert(key, json!({ "id": id, "url": url, "replayed": replayed }));
            }
            Err(status) => {
                let fault = Fault::call(&root.entry.path, &status, context.model.services.schema());
                let path = vec![crate::map::Step::Key(planned.key.clone())];
                errors.push(Fault { path, ..fault.at(planned.at) });
            }
        }
    }
    let data = format!("{{{}}}", members.join(","));
    let count = jobs.len();
    let mut extensions = Map::new();
    extensions.insert("jobs".into(), Value::Object(jobs));
    Response { data: Some(data.into_bytes()), errors, extensions, jobs: count }
}

/// A subscription that runs. Dropping it cancels the call.
pub(crate) struct Subscription {
    context: Context,
    ready: Own,
    entry: Entry,
    reply: Reply,
    over: bool,
}

impl Subscription {
    /// Makes the call. An error before its first item is known at once, or comes as the first response.
    pub(crate) async fn open(access: &Access, ready: Own, terms: &Terms) -> Result<Subscription, Vec<Fault>> {
        let mut context = context(access, &ready, terms, false);
        let Some(planned) = ready.plan.root.fields.first() else {
            return Err(vec![Fault::refused(Refusal::Operation, "the subscription selects nothing")]);
        };
        let What::Call(root, args) = &planned.what else {
            return Err(vec![Fault::refused(
                Refusal::Operation,
                "the subscription asks for nothing that streams",
            )]);
        };
        let entry = root.entry.clone();
        let call = Call {
            metadata: context.metadata.clone(),
            deadline: context.deadline,
            ..Call::unary(entry.path.clone(), Codec::Json, args.to_string().into())
        };
        let called = context.access.call(call).await;
        let reply = called.map_err(|status| vec![fault_of(&context, &entry, planned, &status)])?;
        // The time is for the stream as a whole; calls for an item have the usual bound.
        context.deadline = None;
        Ok(Subscription { context, ready, entry, reply, over: false })
    }

    /// The next response; `None` after the last. An error of the service is the last response.
    pub(crate) async fn next(&mut self) -> Option<Response> {
        if self.over {
            return None;
        }
        let planned = self.ready.plan.root.fields.first()?.clone();
        match self.reply.parts.next().await {
            Some(Part::Message(bytes)) => {
                let most = self.context.limits.bytes;
                let item = match parse(&bytes, bytes.len(), most) {
                    Ok(item) => item,
                    Err(status) => return Some(self.last(&planned, &status)),
                };
                let ms = self.ready.compiled.options.timeout_ms;
                self.context.deadline = Some(Instant::now() + Duration::from_millis(ms));
                let mut run = Run::new(&self.context);
                let out = run.item(&planned, &self.entry, &item).await;
                let mut data = Vec::with_capacity(bytes.len());
                run.write(&out, &mut data);
                Some(Response { data: Some(data), errors: run.faults, extensions: Map::new(), jobs: 0 })
            }
            Some(Part::End(End { status: Some(status), .. })) => Some(self.last(&planned, &status)),
            Some(Part::End(_)) | None => {
                self.over = true;
                None
            }
        }
    }

    fn last(&mut self, planned: &crate::plan::Planned, status: &Status) -> Response {
        self.over = true;
        let fault = fault_of(&self.context, &self.entry, planned, status);
        Response { data: Some(b"null".to_vec()), errors: vec![fault], extensions: Map::new(), jobs: 0 }
    }
}

fn fault_of(context: &Context, entry: &Entry, planned: &crate::plan::Planned, status: &Status) -> Fault {
    let fault = Fault::call(&entry.path, status, context.model.services.schema());
    Fault { path: vec![crate::map::Step::Key(planned.key.clone())], ..fault.at(planned.at) }
}

/// What an operation gives.
pub(crate) enum Event {
    /// A response.
    Next(Response),
    /// It was refused before anything came.
    Refused(Vec<Fault>),
}

/// Everything an operation gives, in order: one response of a query or mutation, all of a subscription.
pub(crate) fn events(access: Access, ready: Ready, terms: Terms) -> BoxStream<'static, Event> {
    let ready = match ready {
        Ready::Subgraphs(ready) if ready.kind() == OperationType::Subscription => {
            return gateway::subscribe(access, ready, terms);
        }
        ready => ready,
    };
    enum At {
        Begin(Box<Ready>),
        Running(Box<Subscription>),
        End,
    }
    let begin = (access, terms, At::Begin(Box::new(ready)));
    Box::pin(futures_util::stream::unfold(begin, |(access, terms, at)| async move {
        let mut running = match at {
            At::End => return None,
            At::Running(running) => running,
            At::Begin(ready) if ready.kind() != OperationType::Subscription => {
                let response = execute(&access, &ready, &terms).await;
                return Some((Event::Next(response), (access, terms, At::End)));
            }
            At::Begin(ready) => {
                let opened = match *ready {
                    Ready::Services(own) => Subscription::open(&access, *own, &terms).await,
                    // Those that stream went another way.
                    Ready::Subgraphs(_) => return None,
                };
                match opened {
                    Ok(running) => Box::new(running),
                    Err(faults) => return Some((Event::Refused(faults), (access, terms, At::End))),
                }
            }
        };
        let response = running.next().await?;
        Some((Event::Next(response), (access, terms, At::Running(running))))
    }))
}

/// One request as the JSON of its body, and the JSON of its response; of a subscription, the first. For callers that have no HTTP.
pub async fn answer(access: &Access, body: &[u8]) -> Vec<u8> {
    answer_with(access, body, Terms::default()).await
}

/// The same with metadata and a time.
pub(crate) async fn answer_with(access: &Access, body: &[u8], terms: Terms) -> Vec<u8> {
    let ready = match crate::wire::body(body, 1) {
        Ok(crate::wire::Asked::One(ask)) => prepare(access, ask, &Side::Services),
        Ok(crate::wire::Asked::Batch(_)) => Err(vec![Fault::refused(
            Refusal::Request,
            "several operations in one request are not taken here",
        )]),
        Err(fault) => Err(vec![fault]),
    };
    let response = match ready {
        Err(faults) => Response::refused(faults),
        Ok(ready) => match events(access.clone(), ready, terms).next().await {
            Some(Event::Next(response)) => response,
            Some(Event::Refused(faults)) => Response::refused(faults),
            None => Response::default(),
        },
    };
    response.encode()
}
