//! A gateway over existing GraphQL subgraphs (Apollo Federation v2), at `/graphql/supergraph`: a supergraph as a composition wrote it, and where
//! its subgraphs are. Queries, mutations, subscriptions.
//!
//! A request goes the way of those of `/graphql` (`front`), with the same forms, limits and time; here is what differs: the schema, the plan, and
//! that subgraphs are asked. `weigh` counts, `run` runs the plan, `upstream` asks one subgraph, `subscribe` and
//! `events` are for what streams, `project` makes the response.

mod events;
mod project;
mod run;
mod subscribe;
mod upstream;
mod weigh;

use crate::front::{self, Documents, Kept, Terms, lock, may_introspect};
use crate::map::{Fault, Refusal, word};
use crate::options::Options;
use crate::wire::{Ask, Response};
use apollo_compiler::collections::HashMap as NameMap;
use apollo_compiler::executable::{Operation, OperationMap, OperationType, Selection, SelectionSet};
use apollo_compiler::response::JsonMap;
use apollo_compiler::schema::Implementers;
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Name, Node, Schema};
use http::{HeaderMap, HeaderName};
use run::Running;
use sb_board::Access;
use sb_board::call::Code;
use sb_board::mount::{Dialer, Target};
use sb_core::model::Error;
use sb_federation::{REPRESENTATIONS, Step, Supergraph};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
pub(crate) use subscribe::subscribe;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use upstream::Upstream;

/// Where it is served.
pub const PATH: &str = "/graphql/supergraph";
/// Its schema as clients see it, in the schema definition language.
pub const SCHEMA_PATH: &str = "/graphql/supergraph/schema.graphql";
/// The methods whose rights decide who may use it.
const MAY_QUERY: &str = "switchboard.Supergraph/Query";
const MAY_MUTATE: &str = "switchboard.Supergraph/Mutate";
const MAY_SUBSCRIBE: &str = "switchboard.Supergraph/Subscribe";
/// Plans that are kept, by the length of their texts together.
const PLANS: usize = 8 << 20;
/// Plans that are made at the same time: it is computing, for seconds at the worst.
const PLANNERS: usize = 2;

/// The gateway of a server, if it has one: [`sb_board::Board::share`] puts it there.
#[derive(Default)]
pub struct Shared(pub Option<Arc<Gateway>>);

/// What a gateway is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The supergraph as a composition wrote it.
    pub sdl: Arc<str>,
    /// Where subgraphs are, by name. Those that are not here are at the URL that the supergraph names.
    pub subgraphs: BTreeMap<String, Subgraph>,
    /// Headers of the caller that go to subgraphs although they are of the login or of browsers.
    pub forward: Vec<HeaderName>,
}

/// Where a subgraph is.
#[derive(Clone, Debug, PartialEq)]
pub enum Subgraph {
    /// Here: the services of this server, as `/graphql` shows them, with the caller's rights.
    Own,
    /// At a URL (`http` or `https`, with a path).
    At {
        /// How it is reached.
        target: Target,
        /// The longest one request to it may take.
        timeout: Option<Duration>,
    },
}

/// Subgraphs as one schema.
pub struct Gateway {
    supergraph: Supergraph,
    schema: Valid<Schema>,
    sdl: String,
    implementers: NameMap<Name, Implementers>,
    upstreams: HashMap<String, Upstream>,
    forward: Vec<HeaderName>,
    documents: Documents,
    plans: Mutex<Kept<Option<Arc<Step>>>>,
    planning: Semaphore,
}

impl Gateway {
    /// From its settings. Nothing is connected yet. Errors: the text is no supergraph, or a subgraph is not at an address of HTTP.
    pub fn new(settings: &Settings, dialer: &Arc<dyn Dialer>) -> Result<Gateway, Error> {
        let (supergraph, schema) = read(&settings.sdl)?;
        let mut upstreams = HashMap::new();
        for (name, url) in supergraph.subgraphs() {
            let upstream = match settings.subgraphs.get(name) {
                Some(Subgraph::Own) => Upstream::Own,
                Some(Subgraph::At { target, timeout }) => {
                    Upstream::at(target, *timeout, dialer).map_err(|why| Error {
                        detail: format!("the subgraph {name}: {}", why.detail).into(),
                        ..why
                    })?
                }
                None => {
                    let target = Target { url: url.to_owned(), ..Target::default() };
                    Upstream::at(&target, None, dialer).map_err(|why| Error {
                        detail: format!("the subgraph {name}: {}", why.detail).into(),
                        ..why
                    })?
                }
            };
            upstreams.insert(name.to_owned(), upstream);
        }
        Ok(Gateway {
            supergraph,
            implementers: schema.implementers_map(),
            sdl: schema.to_string(),
            schema,
            upstreams,
            forward: settings.forward.clone(),
            documents: Documents::default(),
            plans: Mutex::default(),
            planning: Semaphore::new(PLANNERS),
        })
    }

    /// Reads a supergraph and gives its subgraphs: names and URLs, in the order of names. Error: it is none.
    pub fn subgraphs(sdl: &str) -> Result<Vec<(String, String)>, Error> {
        let (supergraph, _) = read(sdl)?;
        let mut all: Vec<_> =
            supergraph.subgraphs().map(|(name, url)| (name.to_owned(), url.to_owned())).collect();
        all.sort();
        Ok(all)
    }

    /// The schema that clients see, as text.
    pub fn sdl(&self) -> &str {
        &self.sdl
    }

    /// The headers that go to subgraphs because the config says so.
    pub(crate) fn forwarded(&self, headers: &HeaderMap) -> HeaderMap {
        let mut out = HeaderMap::new();
        for name in &self.forward {
            for value in headers.get_all(name) {
                out.append(name.clone(), value.clone());
            }
        }
        out
    }

    /// The document that is planned: without what the schema answers itself; `None` when nothing is left.
    fn planned(
        &self,
        text: &Arc<str>,
        document: &ExecutableDocument,
        operation: &Operation,
        introspects: bool,
    ) -> Option<Arc<str>> {
        if operation.root_fields(document).all(|field| field.name.starts_with("__")) {
            return None;
        }
        if !introspects {
            return Some(text.clone());
        }
        let mut document = document.clone();
        let mut own = operation.clone();
        self.strip(&mut own.selection_set);
        for fragment in document.fragments.values_mut() {
            self.strip(&mut fragment.make_mut().selection_set);
        }
        document.operations = OperationMap::from_one(own);
        Some(document.to_string().into())
    }

    /// Takes `__schema` and `__type` out. What is empty then asks for the type's name, since something has to be asked for.
    fn strip(&self, set: &mut SelectionSet) {
        set.selections.retain(|selection| match selection {
            Selection::Field(field) => !matches!(field.name.as_str(), "__schema" | "__type"),
            _ => true,
        });
        for selection in &mut set.selections {
            if let Selection::InlineFragment(inline) = selection {
                self.strip(&mut inline.make_mut().selection_set);
            }
        }
        if set.selections.is_empty()
            && let Ok(field) = set.new_field(&self.schema, apollo_compiler::name!("__typename"))
        {
            set.push(field);
        }
    }

    /// The plan of an operation; computed once.
    async fn plan(self: &Arc<Self>, text: &str, operation: Option<&str>) -> Result<Option<Arc<Step>>, Fault> {
        let key: Arc<str> = format!("{}\n{text}", operation.unwrap_or_default()).into();
        if let Some(plan) = lock(&self.plans).get(&key, PLANS) {
            return Ok(plan);
        }
        let _turn = self.planning.acquire().await;
        if let Some(plan) = lock(&self.plans).get(&key, PLANS) {
            return Ok(plan);
        }
        let (own, text, name) = (self.clone(), text.to_owned(), operation.map(str::to_owned));
        let planned = tokio::task::spawn_blocking(move || own.supergraph.plan(&text, name.as_deref())).await;
        let plan = planned
            .unwrap_or_else(|_| Err("the planner failed".into()))
            .map_err(|why| {
                Fault::refused(Refusal::Internal, format!("the operation could not be planned: {why}"))
            })?
            .map(Arc::new);
        // A plan is larger than its text.
        lock(&self.plans).put(key.clone(), plan.clone(), key.len().saturating_mul(4), PLANS);
        Ok(plan)
    }
}

/// A supergraph, and the schema that clients see.
fn read(sdl: &str) -> Result<(Supergraph, Valid<Schema>), Error> {
    let supergraph = Supergraph::new(sdl).map_err(|why| Error::invalid(format!("the supergraph: {why}")))?;
    let schema = api(supergraph.api())?;
    Ok((supergraph, schema))
}

/// The schema that clients see. The planner's text has the types of introspection in it, which every schema has by itself.
fn api(text: &str) -> Result<Valid<Schema>, Error> {
    let wrong = |list: &apollo_compiler::validation::DiagnosticList| {
        let first = list.iter().next().map(|d| d.to_json().message).unwrap_or_default();
        Error::invalid(format!("the supergraph's schema: {first}"))
    };
    let mut ast =
        apollo_compiler::ast::Document::parse(text, "supergraph.graphql").map_err(|e| wrong(&e.errors))?;
    ast.definitions.retain(|definition| {
        let name = definition.name().map_or("", |name| name.as_str());
        !name.starts_with("__")
            && !["Int", "Float", "String", "Boolean", "ID", "skip", "include", "deprecated", "specifiedBy"]
                .contains(&name)
    });
    for definition in &mut ast.definitions {
        if let apollo_compiler::ast::Definition::ObjectTypeDefinition(object) = definition {
            object.make_mut().fields.retain(|field| !field.name.starts_with("__"));
        }
    }
    Schema::parse_and_validate(ast.to_string(), "supergraph.graphql").map_err(|e| wrong(&e.errors))
}

/// The error when time is over.
fn late() -> Fault {
    let mut fault = Fault::value("the subgraphs did not answer in time");
    fault.extensions.insert("code".into(), word(Code::DeadlineExceeded).into());
    fault
}

/// A request that can be run.
pub(crate) struct Ready {
    gateway: Arc<Gateway>,
    options: Arc<Options>,
    document: Arc<Valid<ExecutableDocument>>,
    operation: Node<Operation>,
    name: Option<String>,
    variables: Valid<JsonMap>,
    /// What is planned; `None` when no subgraph has to be asked.
    planned: Option<Arc<str>>,
    introspects: bool,
}

/// Everything up to the plan.
pub(crate) fn prepare(gateway: &Arc<Gateway>, access: &Access, ask: Ask) -> Result<Ready, Vec<Fault>> {
    let one = |fault: Fault| vec![fault];
    let options = access.board().shared::<Options>();
    let text = front::text(access, &options, &ask).map_err(one)?;
    let document = front::validated(&gateway.documents, &gateway.schema, &text, options.limits.tokens)?;
    let operation = front::operation(&document, ask.operation_name.as_deref()).map_err(one)?;
    let may = match operation.operation_type {
        OperationType::Query => MAY_QUERY,
        OperationType::Mutation => MAY_MUTATE,
        OperationType::Subscription => MAY_SUBSCRIBE,
    };
    let introspects = weigh::weigh(&options.limits, &document, &operation, &ask.variables).map_err(one)?;
    if introspects {
        may_introspect(access, &options).map_err(one)?;
    }
    let planned = gateway.planned(&text, &document, &operation, introspects);
    if planned.is_some() {
        access.may_use(may).map_err(|error| one(Fault::of(&error)))?;
    }
    if let Some(taken) = operation.variables.iter().find(|variable| variable.name == REPRESENTATIONS) {
        let place = taken.name.location().and_then(|span| span.line_column(&document.sources));
        let text =
            format!("a variable cannot be called ${REPRESENTATIONS} here: subgraphs are asked with it");
        return Err(one(Fault::refused(Refusal::Validation, text).at(place)));
    }
    let variables = front::coerced(&gateway.schema, &document, &operation, &ask.variables).map_err(one)?;
    let name = ask.operation_name;
    Ok(Ready {
        gateway: gateway.clone(),
        options,
        document,
        operation,
        name,
        variables,
        planned,
        introspects,
    })
}

impl Ready {
    pub(crate) fn kind(&self) -> OperationType {
        self.operation.operation_type
    }

    /// Runs it.
    pub(crate) async fn execute(&self, access: &Access, terms: &Terms) -> Response {
        match self.run(access, terms).await {
            Ok(response) => response,
            Err(fault) => Response::refused(vec![fault]),
        }
    }

    async fn run(&self, access: &Access, terms: &Terms) -> Result<Response, Fault> {
        let gateway = &self.gateway;
        let most = self.options.timeout_ms;
        let deadline = Instant::now() + Duration::from_millis(terms.timeout_ms.unwrap_or(most).min(most));
        let introspected = match self.introspects {
            false => HashMap::new(),
            true => front::introspected(
                &gateway.schema,
                &gateway.implementers,
                &self.document,
                &self.operation,
                &self.variables,
            )?,
        };
        let plan = self.plan(deadline).await?;
        let variables = self.given()?;
        let running = Running::new(gateway, access, &variables, terms, deadline, &self.options.limits);
        if let Some(plan) = &plan {
            running.within(plan).await;
        }
        Ok(self.respond(introspected, &variables, running))
    }

    /// Its plan, if a subgraph has to be asked.
    async fn plan(&self, deadline: Instant) -> Result<Option<Arc<Step>>, Fault> {
        let Some(text) = &self.planned else { return Ok(None) };
        let planning = self.gateway.plan(text, self.name.as_deref());
        tokio::time::timeout_at(deadline, planning).await.unwrap_or_else(|_| Err(late()))
    }

    /// Its variables, as subgraphs are given them.
    fn given(&self) -> Result<Map<String, Value>, Fault> {
        serde_json::to_vec(&*self.variables)
            .and_then(|text| serde_json::from_slice(&text))
            .map_err(|_| Fault::refused(Refusal::Internal, "the variables could not be taken over"))
    }

    /// The response when everything has come that will come.
    fn respond(
        &self,
        introspected: HashMap<String, String>,
        variables: &Map<String, Value>,
        running: Running<'_>,
    ) -> Response {
        let (data, faults) = running.finish();
        let mut projecting = project::Projecting {
            schema: &self.gateway.schema,
            document: &self.document,
            variables,
            introspected,
            faults,
            path: Vec::new(),
        };
        let text = projecting.operation(&self.operation, &data);
        Response { data: Some(text), errors: projecting.faults, extensions: Map::new(), jobs: 0 }
    }
}
