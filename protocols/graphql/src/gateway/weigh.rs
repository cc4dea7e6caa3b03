//! What an operation over subgraphs weighs: the limits of `/graphql`, before anything is planned.
//!
//! Conditions are not looked at: planning expands what is skipped, too, so that it has to count.

use crate::map::{Fault, Refusal};
use crate::options::{Limits, MAX_DEPTH};
use crate::plan::too_much;
use apollo_compiler::ExecutableDocument;
use apollo_compiler::ast;
use apollo_compiler::executable::{DirectiveList, Field, Operation, Selection, SelectionSet};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Fragments within fragments: nothing that a person writes comes near it.
const MAX_FRAGMENTS: usize = 100;

struct Weight<'a> {
    limits: &'a Limits,
    document: &'a ExecutableDocument,
    points: usize,
    aliases: usize,
    items: usize,
    roots: HashSet<&'a str>,
    introspects: bool,
}

/// Checks an operation with its variables. Whether it asks about the schema. Error: the limit that it is beyond.
pub(super) fn weigh(
    limits: &Limits,
    document: &ExecutableDocument,
    operation: &Operation,
    variables: &Map<String, Value>,
) -> Result<bool, Fault> {
    let mut weight = Weight {
        limits,
        document,
        points: 0,
        aliases: 0,
        items: 0,
        roots: HashSet::new(),
        introspects: false,
    };
    weight.directives(&operation.directives)?;
    for value in variables.values() {
        weight.given(value)?;
    }
    for variable in &operation.variables {
        if let Some(value) = &variable.default_value {
            weight.literal(value)?;
        }
    }
    weight.set(&operation.selection_set, 1, 0, false)?;
    Ok(weight.introspects)
}

impl<'a> Weight<'a> {
    /// `depth` is that of the fields in the set, `nested` the fragments around it, `schema` whether it is within introspection, which has a bound
    /// of its own on depth.
    fn set(&mut self, set: &'a SelectionSet, depth: usize, nested: usize, schema: bool) -> Result<(), Fault> {
        let most = self.limits.depth.min(MAX_DEPTH);
        if depth > most && !schema {
            return Err(too_much("levels of fields", most));
        }
        if nested > MAX_FRAGMENTS {
            return Err(too_much("fragments within fragments", MAX_FRAGMENTS));
        }
        for selection in &set.selections {
            self.directives(selection.directives())?;
            self.count(1)?;
            match selection {
                Selection::Field(field) => self.field(field, depth, schema)?,
                Selection::InlineFragment(inline) => {
                    self.set(&inline.selection_set, depth, nested + 1, schema)?;
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.document.fragments.get(&spread.fragment_name) {
                        self.directives(&fragment.directives)?;
                        self.set(&fragment.selection_set, depth, nested + 1, schema)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &'a Field, depth: usize, schema: bool) -> Result<(), Fault> {
        self.aliases += usize::from(field.alias.is_some());
        if self.aliases > self.limits.aliases {
            return Err(too_much("aliases", self.limits.aliases));
        }
        let asks = matches!(field.name.as_str(), "__schema" | "__type");
        self.introspects |= asks;
        if depth == 1 && !schema {
            self.roots.insert(field.response_key().as_str());
            if self.roots.len() > self.limits.root_fields {
                return Err(too_much("fields at the root", self.limits.root_fields));
            }
            if !field.name.starts_with("__") {
                self.count(9)?;
            }
        }
        for argument in &field.arguments {
            self.literal(&argument.value)?;
        }
        self.set(&field.selection_set, depth + 1, 0, schema || asks)
    }

    fn count(&mut self, points: usize) -> Result<(), Fault> {
        self.points = self.points.saturating_add(points);
        match self.points > self.limits.complexity {
            true => Err(Fault::refused(
                Refusal::Limit,
                format!(
                    "the operation is more complex than {}: a field counts 1, one at the root 10",
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

    fn list(&mut self, items: usize) -> Result<(), Fault> {
        self.items = self.items.saturating_add(items);
        match self.items > self.limits.items {
            true => Err(too_much("items in its arguments", self.limits.items)),
            false => Ok(()),
        }
    }

    fn literal(&mut self, value: &ast::Value) -> Result<(), Fault> {
        match value {
            ast::Value::List(items) => {
                self.list(items.len())?;
                items.iter().try_for_each(|item| self.literal(item))
            }
            ast::Value::Object(members) => members.iter().try_for_each(|(_, value)| self.literal(value)),
            _ => Ok(()),
        }
    }

    fn given(&mut self, value: &Value) -> Result<(), Fault> {
        match value {
            Value::Array(items) => {
                self.list(items.len())?;
                items.iter().try_for_each(|item| self.given(item))
            }
            Value::Object(members) => members.values().try_for_each(|value| self.given(value)),
            _ => Ok(()),
        }
    }
}
