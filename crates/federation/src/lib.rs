//! The planning of queries over a federation of GraphQL subgraphs (Apollo Federation v2): which subgraph is asked for what, in which order.
//!
//! The planner is a library that is no longer published on its own; this crate is the seam before it, so that nothing else knows it. A supergraph
//! goes in as text, and plans come out as the types below. The library may panic on documents it did not foresee; a panic is an error here.
//! Nothing is asked of anybody: who runs a plan is elsewhere.

use hive_router_query_planner::ast::document::Document;
use hive_router_query_planner::ast::normalization::normalize_operation;
use hive_router_query_planner::ast::selection_item::SelectionItem;
use hive_router_query_planner::ast::selection_set::SelectionSet;
use hive_router_query_planner::planner::plan_nodes::{
    FetchNode, FetchNodePathSegment, FetchRewrite, FlattenNodePath, FlattenNodePathSegment, PlanNode,
};
use hive_router_query_planner::planner::{Planner, QueryPlannerOptions};
use hive_router_query_planner::state::supergraph_state::OperationKind;
use hive_router_query_planner::utils::cancellation::CancellationToken;
use hive_router_query_planner::utils::parsing::{safe_parse_operation, safe_parse_schema};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The variable of entities to look up; a client's own variable cannot have this name.
pub const REPRESENTATIONS: &str = "representations";
/// Fragments within fragments that are looked into for keys.
const MAX_FRAGMENTS: usize = 64;
/// How long planning may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A supergraph: several subgraphs as one schema.
pub struct Supergraph {
    planner: Planner,
    api: String,
}

/// What is done, in which order.
#[derive(Clone, Debug)]
pub enum Step {
    /// Ask a subgraph.
    Fetch(Fetch),
    /// Subscribe at a subgraph; what follows is done for each of its items. Only the first step of a subscription is this.
    Subscribe(Fetch),
    /// One after another.
    Sequence(Vec<Step>),
    /// At the same time.
    Parallel(Vec<Step>),
    /// Only if the variable has this value.
    If {
        /// The name of a variable.
        variable: String,
        /// The value.
        is: bool,
        /// What is done then.
        step: Box<Step>,
    },
}

/// A request to a subgraph.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The subgraph's name.
    pub subgraph: String,
    /// The document.
    pub document: String,
    /// Whether it changes something, so that it must not be asked twice.
    pub mutates: bool,
    /// Keys of the data that it is asked for at the root; empty where entities are looked up.
    pub keys: Vec<String>,
    /// Names of the client's variables that it uses.
    pub variables: Vec<String>,
    /// What of the data so far is looked up; nothing for fields of the root, whose answer is merged into the data as it is.
    pub entities: Vec<Entities>,
    /// Changes to the answer before it is merged.
    pub after: Vec<Rewrite>,
}

/// Objects of the data that a subgraph completes.
#[derive(Clone, Debug)]
pub struct Entities {
    /// The variable for their representations.
    pub variable: String,
    /// The key of the answer.
    pub key: String,
    /// Keys that it is asked for in each.
    pub keys: Vec<String>,
    /// Where they are in the data.
    pub paths: Vec<Vec<Segment>>,
    /// What a representation consists of, beside `__typename`.
    pub needs: Vec<Need>,
    /// Changes to representations.
    pub before: Vec<Rewrite>,
    /// Changes to each answered entity.
    pub after: Vec<Rewrite>,
}

/// A step of a path into the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Into a member.
    Field(String),
    /// Only objects of these types.
    Types(BTreeSet<String>),
    /// Into each item of a list.
    List,
}

/// A part of a representation.
#[derive(Clone, Debug)]
pub enum Need {
    /// A member.
    Field {
        /// Its key in the data.
        key: String,
        /// Its name in the representation.
        name: String,
        /// Its own parts; none where it is a leaf.
        needs: Vec<Need>,
    },
    /// Parts of objects of this type.
    On {
        /// The type.
        ty: String,
        /// Its parts.
        needs: Vec<Need>,
    },
}

/// A change to data on its way.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// Where; lists on the way are gone through.
    pub path: Vec<Segment>,
    /// What.
    pub change: Change,
}

/// What a [`Rewrite`] does.
#[derive(Clone, Debug)]
pub enum Change {
    /// Another key for the member that the path leads to.
    Rename(String),
    /// A text in its place.
    Set(String),
}

impl Supergraph {
    /// Reads a supergraph as Apollo's composition writes it. Error: a sentence.
    pub fn new(sdl: &str) -> Result<Supergraph, String> {
        guarded(|| {
            if !sdl.contains("join__Graph") {
                return Err(
                    "it is no supergraph: there is no join__Graph in it, as a composition writes it".into()
                );
            }
            let document = safe_parse_schema(sdl).map_err(|e| e.to_string())?;
            let planner = Planner::new_from_supergraph(&document, QueryPlannerOptions::default())
                .map_err(|e| e.to_string())?;
            let api = planner.consumer_schema.document.to_string();
            Ok(Supergraph { planner, api })
        })
    }

    /// The schema that clients see, as text; with the types of introspection.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// Names and URLs of the subgraphs.
    pub fn subgraphs(&self) -> impl Iterator<Item = (&str, &str)> {
        let map = &self.planner.supergraph.subgraph_endpoint_map;
        map.iter().map(|(name, url)| (name.as_str(), url.as_str()))
    }

    /// Plans an operation of a document that is valid for [`Supergraph::api`]; `None` when no subgraph has to be asked. May take as long as
    /// two seconds of computing.
    pub fn plan(&self, document: &str, operation: Option<&str>) -> Result<Option<Step>, String> {
        guarded(|| {
            let parsed = safe_parse_operation(document).map_err(|e| e.to_string())?;
            let supergraph = &self.planner.supergraph;
            let normal = normalize_operation(supergraph, &parsed, operation).map_err(|e| e.to_string())?;
            let plan = self
                .planner
                .plan_from_normalized_operation(
                    normal.executable_operation(),
                    Default::default(),
                    &CancellationToken::with_timeout(PATIENCE),
                )
                .map_err(|e| e.to_string())?;
            plan.node.map(|node| step(node, &[])).transpose()
        })
    }
}

fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the planner failed".to_owned()))
}

/// A node of the library's plan; `path` is where it is in the data.
fn step(node: PlanNode, path: &[Segment]) -> Result<Step, String> {
    let all =
        |nodes: Vec<PlanNode>| nodes.into_iter().map(|node| step(node, path)).collect::<Result<Vec<_>, _>>();
    Ok(match node {
        PlanNode::Sequence(sequence) => Step::Sequence(all(sequence.nodes)?),
        PlanNode::Parallel(parallel) => Step::Parallel(all(parallel.nodes)?),
        PlanNode::Flatten(flatten) => step(*flatten.node, &segments(&flatten.path))?,
        PlanNode::Condition(condition) => {
            let mut both = Vec::new();
            for (is, clause) in [(true, condition.if_clause), (false, condition.else_clause)] {
                if let Some(node) = clause {
                    let step = Box::new(step(*node, path)?);
                    both.push(Step::If { variable: condition.condition.clone(), is, step });
                }
            }
            Step::Sequence(both)
        }
        PlanNode::Fetch(node) => Step::Fetch(fetch(node, path)),
        PlanNode::Subscription(node) => Step::Subscribe(fetch(node.primary, path)),
        PlanNode::BatchFetch(fetch) => {
            let document = &fetch.operation.document;
            let entities = fetch.entity_batch.aliases.into_iter().map(|alias| Entities {
                variable: alias.representations_variable_name,
                keys: keys_below(document, &alias.alias),
                key: alias.alias,
                paths: alias.merge_paths.iter().map(segments).collect(),
                needs: needs(&alias.requires),
                before: rewrites(alias.input_rewrites),
                after: rewrites(alias.output_rewrites),
            });
            Step::Fetch(Fetch {
                entities: entities.collect(),
                subgraph: fetch.service_name,
                document: fetch.operation.document_str,
                mutates: false,
                keys: Vec::new(),
                variables: fetch.variable_usages.into_iter().flatten().collect(),
                after: Vec::new(),
            })
        }
        PlanNode::Defer(_) => return Err("@defer is not supported".into()),
    })
}

/// One request. What is looked up is at `path`.
fn fetch(node: FetchNode, path: &[Segment]) -> Fetch {
    let document = &node.operation.document;
    let after = rewrites(node.output_rewrites);
    let entities = node.requires.map(|requires| Entities {
        variable: REPRESENTATIONS.into(),
        key: "_entities".into(),
        keys: keys_below(document, "_entities"),
        paths: vec![path.to_vec()],
        needs: needs(&requires),
        before: rewrites(node.input_rewrites),
        after: after.clone(),
    });
    let root = entities.is_none();
    let mut keys_at_root = Vec::new();
    if root {
        keys(document, &document.operation.selection_set, 0, &mut keys_at_root);
    }
    Fetch {
        subgraph: node.service_name,
        mutates: matches!(node.operation_kind, Some(OperationKind::Mutation)),
        keys: keys_at_root,
        document: node.operation.document_str,
        variables: node.variable_usages.into_iter().flatten().collect(),
        entities: entities.into_iter().collect(),
        after: if root { after } else { Vec::new() },
    }
}

/// The keys of a selection set, each once, without the name of the type.
fn keys(document: &Document, set: &SelectionSet, depth: usize, out: &mut Vec<String>) {
    if depth > MAX_FRAGMENTS {
        return;
    }
    for item in &set.items {
        match item {
            SelectionItem::Field(field) => {
                let key = field.alias.as_ref().unwrap_or(&field.name);
                if field.name != "__typename" && !out.contains(key) {
                    out.push(key.clone());
                }
            }
            SelectionItem::InlineFragment(inline) => keys(document, &inline.selections, depth + 1, out),
            SelectionItem::FragmentSpread(name) => {
                if let Some(fragment) = document.fragments.iter().find(|fragment| fragment.name == *name) {
                    keys(document, &fragment.selection_set, depth + 1, out);
                }
            }
        }
    }
}

/// The keys in a field of the root.
fn keys_below(document: &Document, root: &str) -> Vec<String> {
    let mut out = Vec::new();
    for item in &document.operation.selection_set.items {
        if let SelectionItem::Field(field) = item
            && field.alias.as_ref().unwrap_or(&field.name) == root
        {
            keys(document, &field.selections, 0, &mut out);
        }
    }
    out
}

fn segments(path: &FlattenNodePath) -> Vec<Segment> {
    path.as_slice()
        .iter()
        .map(|segment| match segment {
            FlattenNodePathSegment::Field(name) => Segment::Field(name.clone()),
            FlattenNodePathSegment::TypeCondition(types) => Segment::Types(types.clone()),
            FlattenNodePathSegment::List => Segment::List,
        })
        .collect()
}

fn rewrites(all: Option<Vec<FetchRewrite>>) -> Vec<Rewrite> {
    let path = |path: Vec<FetchNodePathSegment>| {
        path.into_iter()
            .map(|segment| match segment {
                FetchNodePathSegment::Key(key) => Segment::Field(key),
                FetchNodePathSegment::TypenameEquals(types) => Segment::Types(types),
            })
            .collect()
    };
    all.into_iter()
        .flatten()
        .map(|rewrite| match rewrite {
            FetchRewrite::KeyRenamer(renamer) => {
                Rewrite { path: path(renamer.path), change: Change::Rename(renamer.rename_key_to) }
            }
            FetchRewrite::ValueSetter(setter) => {
                Rewrite { path: path(setter.path), change: Change::Set(setter.set_value_to) }
            }
        })
        .collect()
}

fn needs(set: &SelectionSet) -> Vec<Need> {
    set.items
        .iter()
        .filter_map(|item| match item {
            SelectionItem::Field(field) => Some(Need::Field {
                key: field.alias.clone().unwrap_or_else(|| field.name.clone()),
                name: field.name.clone(),
                needs: needs(&field.selections),
            }),
            SelectionItem::InlineFragment(fragment) => {
                Some(Need::On { ty: fragment.type_condition.clone(), needs: needs(&fragment.selections) })
            }
            SelectionItem::FragmentSpread(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDL: &str = include_str!("../../../protocols/graphql/tests/common/supergraph.graphql");

    fn fetches<'a>(step: &'a Step, out: &mut Vec<&'a Fetch>) {
        match step {
            Step::Fetch(fetch) | Step::Subscribe(fetch) => out.push(fetch),
            Step::Sequence(steps) | Step::Parallel(steps) => steps.iter().for_each(|s| fetches(s, out)),
            Step::If { step, .. } => fetches(step, out),
        }
    }

    #[test]
    fn a_plan_says_who_is_asked_for_what() {
        let supergraph = Supergraph::new(SDL).unwrap();
        let mut names: Vec<_> = supergraph.subgraphs().collect();
        names.sort();
        assert_eq!(names.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["products", "reviews"]);
        assert!(supergraph.api().contains("type Product") && !supergraph.api().contains("join__"));
        let plan = supergraph
            .plan("query A { products { upc heavy it: broken } } query B { top { id } }", Some("A"));
        let plan = plan.unwrap().unwrap();
        let mut all = Vec::new();
        fetches(&plan, &mut all);
        let [first, second] = all[..] else { panic!("{plan:?}") };
        assert_eq!(
            (first.subgraph.as_str(), first.mutates, first.keys.as_slice()),
            ("products", false, &["products".to_owned()][..])
        );
        assert_eq!((second.subgraph.as_str(), second.entities.len()), ("reviews", 1));
        let entities = &second.entities[0];
        assert!(entities.keys.iter().any(|k| k == "it") && entities.keys.iter().any(|k| k == "heavy"));
        assert_eq!(entities.paths, [vec![Segment::Field("products".into()), Segment::List]]);
        let mutation = supergraph.plan("mutation { refuse { name } }", None).unwrap().unwrap();
        let mut all = Vec::new();
        fetches(&mutation, &mut all);
        assert!(all[0].mutates);
    }

    #[test]
    fn what_is_no_supergraph_is_an_error() {
        for bad in
            ["", "type Query { a: Int }", "{", "enum join__Graph { A }", "\u{0}", &SDL[..SDL.len() / 2]]
        {
            assert!(Supergraph::new(bad).is_err(), "{bad}");
        }
        let supergraph = Supergraph::new(SDL).unwrap();
        for bad in
            ["{", "{ nothing }", "query A { top { id } } query B { top { id } }", "subscription { nothing }"]
        {
            let _ = supergraph.plan(bad, Some("C"));
        }
    }
}
