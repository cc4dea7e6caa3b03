//! From a validated operation to what has to be done: fragments expanded, conditions decided, arguments coerced, and all limits but those that
//! depend on answers checked, before anything is called (October 2021 §6.3.2, for types that are all known beforehand).

use crate::coerce::{Coercion, Variables, Wrong};
use crate::map::{Fault, Refusal};
use crate::model::{Base, Join, Model, Ref, Root, Source};
use crate::options::{Limits, MAX_DEPTH};
use apollo_compiler::ExecutableDocument;
use apollo_compiler::Node;
use apollo_compiler::ast;
use apollo_compiler::executable::{DirectiveList, Field, Operation, OperationType, Selection, SelectionSet};
use apollo_compiler::parser::{LineColumn, SourceSpan};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What is to be done.
pub(crate) struct Plan {
    pub(crate) kind: OperationType,
    pub(crate) root: Chosen,
    /// Whether the schema is asked about: `__schema`, `__type`, `_service`.
    pub(crate) introspects: bool,
}

/// What is selected in an object.
pub(crate) struct Chosen {
    pub(crate) object: u32,
    pub(crate) fields: Vec<Arc<Planned>>,
}

/// A field of the response.
pub(crate) struct Planned {
    pub(crate) key: Arc<str>,
    pub(crate) at: Option<LineColumn>,
    pub(crate) ty: Ref,
    pub(crate) what: What,
    /// What is selected in it, by type: one, except where it is `_Entity`.
    pub(crate) chosen: Vec<Chosen>,
}

/// Where a planned field's value comes from.
pub(crate) enum What {
    Typename,
    /// This field of the object's type.
    Field(u32),
    Call(Arc<Root>, Value),
    /// A join with the arguments that were given.
    Join(Arc<Join>, Value),
    Service,
    Sdl,
    Entities(Vec<Value>),
    /// `__schema` and `__type`.
    Schema,
}

impl Planned {
    /// What is selected in an object of this type.
    pub(crate) fn of(&self, object: u32) -> Option<&Chosen> {
        self.chosen.iter().find(|chosen| chosen.object == object)
    }
}

struct Planner<'a> {
    model: &'a Model,
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    limits: &'a Limits,
    coercion: Coercion<'a>,
    complexity: usize,
    aliases: usize,
    introspects: bool,
}

/// Plans an operation. `coercion` has counted the items of its variables.
pub(crate) fn plan(
    model: &Model,
    document: &ExecutableDocument,
    operation: &Operation,
    variables: &Variables,
    limits: &Limits,
    coercion: Coercion<'_>,
) -> Result<Plan, Fault> {
    let root = match operation.operation_type {
        OperationType::Query => Some(model.query),
        OperationType::Mutation => model.mutation,
        OperationType::Subscription => model.subscription,
    };
    let root = root.ok_or_else(|| Fault::refused(Refusal::Operation, "there is no such operation"))?;
    let mut planner = Planner {
        model,
        document,
        variables,
        limits,
        coercion: Coercion { model, items: coercion.items, most: coercion.most },
        complexity: 0,
        aliases: 0,
        introspects: false,
    };
    planner.directives(&operation.directives)?;
    let root = planner.chosen(root, &[&operation.selection_set], 1)?;
    if root.fields.len() > limits.root_fields {
        return Err(too_much("fields at the root", limits.root_fields));
    }
    Ok(Plan { kind: operation.operation_type, root, introspects: planner.introspects })
}

/// The error of a limit.
pub(crate) fn too_much(what: &str, most: usize) -> Fault {
    Fault::refused(Refusal::Limit, format!("the operation has more than {most} {what}"))
}

/// Fields of one response key, in the order of their first.
type Groups<'a> = (Vec<&'a str>, HashMap<&'a str, Vec<&'a Node<Field>>>);

impl<'a> Planner<'a> {
    /// What is selected in an object by several selection sets together.
    fn chosen(&mut self, object: u32, sets: &[&'a SelectionSet], depth: usize) -> Result<Chosen, Fault> {
        if depth > self.limits.depth.min(MAX_DEPTH) {
            return Err(too_much("levels of fields", self.limits.depth.min(MAX_DEPTH)));
        }
        let name = self.model.name(Base::Object(object));
        let mut groups = Groups::default();
        let mut visited = HashSet::new();
        for set in sets {
            self.collect(name, set, &mut groups, &mut visited)?;
        }
        let (order, mut by_key) = groups;
        let mut fields = Vec::with_capacity(order.len());
        for key in order {
            if let Some(group) = by_key.remove(key) {
                fields.extend(self.field(object, key, &group, depth)?);
            }
        }
        Ok(Chosen { object, fields })
    }

    fn collect(
        &mut self,
        object: &str,
        set: &'a SelectionSet,
        groups: &mut Groups<'a>,
        visited: &mut HashSet<&'a str>,
    ) -> Result<(), Fault> {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => {
                    self.directives(&field.directives)?;
                    if !self.included(&field.directives) {
                        continue;
                    }
                    self.count(1)?;
                    self.aliased(field)?;
                    let key = field.response_key().as_str();
                    let group = groups.1.entry(key).or_default();
                    if group.is_empty() {
                        groups.0.push(key);
                    }
                    group.push(field);
                }
                Selection::InlineFragment(inline) => {
                    self.directives(&inline.directives)?;
                    let fits = inline.type_condition.as_ref().is_none_or(|ty| applies(ty.as_str(), object));
                    if fits && self.included(&inline.directives) {
                        self.collect(object, &inline.selection_set, groups, visited)?;
                    }
                }
                Selection::FragmentSpread(spread) => {
                    self.directives(&spread.directives)?;
                    if !self.included(&spread.directives) || !visited.insert(spread.fragment_name.as_str()) {
                        continue;
                    }
                    let Some(fragment) = self.document.fragments.get(&spread.fragment_name) else { continue };
                    self.directives(&fragment.directives)?;
                    self.count(1)?;
                    if applies(fragment.type_condition().as_str(), object) {
                        self.collect(object, &fragment.selection_set, groups, visited)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        object: u32,
        key: &str,
        group: &[&'a Node<Field>],
        depth: usize,
    ) -> Result<Option<Arc<Planned>>, Fault> {
        let Some(first) = group.first() else { return Ok(None) };
        let at = self.place(first.name.location());
        let planned = |ty: Ref, what: What, chosen: Vec<Chosen>| {
            Ok(Some(Arc::new(Planned { key: key.into(), at, ty, what, chosen })))
        };
        let text = Ref::one(Base::Scalar(crate::model::Scalar::String), false);
        match first.name.as_str() {
            "__typename" => return planned(text, What::Typename, Vec::new()),
            "__schema" | "__type" => {
                self.introspects = true;
                for field in group {
                    self.weigh(&field.selection_set)?;
                }
                return planned(Ref { null: true, ..text }, What::Schema, Vec::new());
            }
            _ => {}
        }
        let unknown =
            || Fault::refused(Refusal::Validation, format!("there is no field {}", first.name)).at(at);
        let of = self.model.object(object).ok_or_else(unknown)?;
        let index = *of.by_name.get(first.name.as_str()).ok_or_else(unknown)?;
        let field = of.fields.get(index as usize).ok_or_else(unknown)?;
        let arguments = self.coercion.arguments(&field.args, &first.arguments, self.variables);
        let arguments = arguments.map_err(|wrong| self.wrong(wrong, at))?;
        let what = match &field.source {
            Source::Member(_) | Source::Key | Source::Value => What::Field(index),
            Source::Call(root) => What::Call(root.clone(), arguments),
            Source::Join(join) => What::Join(join.clone(), arguments),
            Source::Sdl => What::Sdl,
            Source::Service => {
                self.introspects = true;
                What::Service
            }
            Source::Entities => match arguments {
                Value::Object(mut object) => match object.remove("representations") {
                    Some(Value::Array(representations)) => What::Entities(representations),
                    _ => What::Entities(Vec::new()),
                },
                _ => What::Entities(Vec::new()),
            },
        };
        if matches!(what, What::Call(..) | What::Join(..) | What::Entities(..)) {
            self.count(9)?;
        }
        let sets: Vec<&SelectionSet> = group.iter().map(|field| &field.selection_set).collect();
        let chosen = match field.ty.base {
            Base::Object(inner) => vec![self.chosen(inner, &sets, depth + 1)?],
            Base::Entity => {
                let entities = &self.model.entities;
                entities.iter().map(|e| self.chosen(e.object, &sets, depth + 1)).collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        planned(field.ty, what, chosen)
    }

    /// Counts what is asked of the schema itself: its answers are long, and aliases would repeat them.
    fn weigh(&mut self, set: &'a SelectionSet) -> Result<(), Fault> {
        for selection in &set.selections {
            self.count(1)?;
            match selection {
                Selection::Field(field) => {
                    self.directives(&field.directives)?;
                    self.aliased(field)?;
                    self.weigh(&field.selection_set)?;
                }
                Selection::InlineFragment(inline) => self.weigh(&inline.selection_set)?,
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.document.fragments.get(&spread.fragment_name) {
                        self.weigh(&fragment.selection_set)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn aliased(&mut self, field: &Field) -> Result<(), Fault> {
        self.aliases += usize::from(field.alias.is_some());
        match self.aliases > self.limits.aliases {
            true => Err(too_much("aliases", self.limits.aliases)),
            false => Ok(()),
        }
    }

    fn count(&mut self, points: usize) -> Result<(), Fault> {
        self.complexity = self.complexity.saturating_add(points);
        match self.complexity > self.limits.complexity {
            true => Err(Fault::refused(
                Refusal::Limit,
                format!(
                    "the operation is more complex than {}: a field counts 1, one that makes a call 10",
                    self.limits.complexity
                ),
            )),
            false => Ok(()),
        }
    }

    fn directives(&self, list: &DirectiveList) -> Result<(), Fault> {
        match list.len() > self.limits.directives {
            true => Err(too_much("directives in one place", self.limits.directives)),
            false => Ok(()),
        }
    }

    /// What `@skip` and `@include` say.
    fn included(&self, list: &DirectiveList) -> bool {
        let says = |name: &str| {
            let directive = list.get(name)?;
            let value = directive.specified_argument_by_name("if")?;
            match &**value {
                ast::Value::Boolean(is) => Some(*is),
                ast::Value::Variable(name) => self.variables.get(name.as_str())?.as_bool(),
                _ => None,
            }
        };
        says("skip") != Some(true) && says("include") != Some(false)
    }

    fn place(&self, span: Option<SourceSpan>) -> Option<LineColumn> {
        span?.line_column(&self.document.sources)
    }

    fn wrong(&self, wrong: Wrong, field: Option<LineColumn>) -> Fault {
        let why = if wrong.limit { Refusal::Limit } else { Refusal::Variables };
        Fault::refused(why, wrong.message).at(self.place(wrong.at).or(field))
    }
}

/// Whether a type condition holds for an object. There are no interfaces, and one union.
fn applies(condition: &str, object: &str) -> bool {
    condition == object || condition == "_Entity"
}
