//! From the data of all subgraphs to the response: what the client asked for, in its order, with nulls where the schema wants them to go.

use super::run::MAX_FAULTS;
use crate::map::{Fault, Step as At};
use apollo_compiler::executable::{Field, Operation, Selection, SelectionSet};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Node, Schema, ast};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

pub(super) struct Projecting<'a> {
    pub(super) schema: &'a Valid<Schema>,
    pub(super) document: &'a ExecutableDocument,
    pub(super) variables: &'a Map<String, Value>,
    /// What the schema says of itself, by response key.
    pub(super) introspected: HashMap<String, String>,
    pub(super) faults: Vec<Fault>,
    pub(super) path: Vec<At>,
}

/// A null that may not be there, on its way up.
struct Bubble;

/// Fields of one response key, in the order of their first.
type Groups<'a> = (Vec<&'a str>, HashMap<&'a str, Vec<&'a Node<Field>>>);

impl<'a> Projecting<'a> {
    /// The JSON of the data.
    pub(super) fn operation(&mut self, operation: &'a Operation, data: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        let root = operation.object_type().as_str();
        if self.object(root, &[&operation.selection_set], data, true, &mut out).is_err() {
            out.clear();
            out.extend_from_slice(b"null");
        }
        out
    }

    fn object(
        &mut self,
        name: &str,
        sets: &[&'a SelectionSet],
        value: &Value,
        root: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Bubble> {
        // The data says which type it is where several are possible. An interface that is an object in some subgraph stands for itself.
        let name = match value.get("__typename").and_then(Value::as_str) {
            Some(told) if told != name && self.schema.get_object(name).is_none() => {
                if self.schema.get_object(told).is_none() || !self.schema.is_subtype(name, told) {
                    return Err(self.wrong(&format!("a {told:?}, which is no {name}")));
                }
                told
            }
            _ => name,
        };
        let mut groups = Groups::default();
        let mut visited = HashSet::new();
        for set in sets {
            self.collect(name, set, &mut groups, &mut visited);
        }
        let (order, by_key) = groups;
        out.push(b'{');
        for (n, key) in order.into_iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            let _ = serde_json::to_writer(&mut *out, key);
            out.push(b':');
            let Some(group) = by_key.get(key) else { continue };
            let Some(first) = group.first() else { continue };
            if let Some(text) = self.introspected.get(key).filter(|_| root && first.name.starts_with("__")) {
                out.extend_from_slice(text.as_bytes());
                continue;
            }
            if first.name == "__typename" {
                let _ = serde_json::to_writer(&mut *out, name);
                continue;
            }
            self.path.push(At::Key(key.into()));
            let start = out.len();
            let ty = &first.definition.ty;
            let sets: Vec<&SelectionSet> = group.iter().map(|field| &field.selection_set).collect();
            let done = self.value(ty, &sets, value.get(key).unwrap_or(&Value::Null), out);
            self.path.pop();
            if done.is_err() {
                if ty.is_non_null() {
                    return Err(Bubble);
                }
                out.truncate(start);
                out.extend_from_slice(b"null");
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn value(
        &mut self,
        ty: &ast::Type,
        sets: &[&'a SelectionSet],
        value: &Value,
        out: &mut Vec<u8>,
    ) -> Result<(), Bubble> {
        if value.is_null() {
            if !ty.is_non_null() {
                out.extend_from_slice(b"null");
                return Ok(());
            }
            return Err(self.wrong("null where the schema does not allow it"));
        }
        if let ast::Type::List(inner) | ast::Type::NonNullList(inner) = ty {
            let Value::Array(items) = value else { return Err(self.wrong("something else than a list")) };
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                self.path.push(At::Item(n));
                let start = out.len();
                let done = self.value(inner, sets, item, out);
                self.path.pop();
                if done.is_err() {
                    if inner.is_non_null() {
                        return Err(Bubble);
                    }
                    out.truncate(start);
                    out.extend_from_slice(b"null");
                }
            }
            out.push(b']');
            return Ok(());
        }
        if sets.iter().any(|set| !set.selections.is_empty()) {
            if !value.is_object() {
                return Err(self.wrong("something else than an object"));
            }
            return self.object(ty.inner_named_type().as_str(), sets, value, false, out);
        }
        match self.leaf(ty.inner_named_type().as_str(), value) {
            Some(value) => {
                let _ = serde_json::to_writer(&mut *out, &*value);
                Ok(())
            }
            None => Err(self.wrong(&format!("a value that is no {}", ty.inner_named_type()))),
        }
    }

    /// A value of a scalar or an enum; `None` if it is none of that type. Scalars of the schema's own may be anything.
    fn leaf<'v>(&self, ty: &str, value: &'v Value) -> Option<Cow<'v, Value>> {
        let is = match ty {
            "Int" => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            "Float" => value.is_number(),
            "String" => value.is_string(),
            "Boolean" => value.is_boolean(),
            "ID" if value.is_i64() || value.is_u64() => return Some(Cow::Owned(value.to_string().into())),
            "ID" => value.is_string(),
            _ => match self.schema.types.get(ty) {
                Some(ExtendedType::Enum(of)) => {
                    value.as_str().is_some_and(|text| of.values.contains_key(text))
                }
                _ => true,
            },
        };
        is.then_some(Cow::Borrowed(value))
    }

    /// What a subgraph gave and should not have. Where something has failed already at this place, around it or in it, that is the reason.
    fn wrong(&mut self, what: &str) -> Bubble {
        let known = self
            .faults
            .iter()
            .any(|fault| fault.path.starts_with(&self.path) || self.path.starts_with(&fault.path));
        if !known && self.faults.len() < MAX_FAULTS {
            let fault = Fault::value(format!("a subgraph gave {what}"));
            self.faults.push(Fault { path: self.path.clone(), ..fault });
        }
        Bubble
    }

    fn collect(
        &self,
        object: &str,
        set: &'a SelectionSet,
        groups: &mut Groups<'a>,
        visited: &mut HashSet<&'a str>,
    ) {
        let applies = |ty: &str| ty == object || self.schema.is_subtype(ty, object);
        for selection in &set.selections {
            if !self.included(selection.directives()) {
                continue;
            }
            match selection {
                Selection::Field(field) => {
                    let key = field.response_key().as_str();
                    let group = groups.1.entry(key).or_default();
                    if group.is_empty() {
                        groups.0.push(key);
                    }
                    group.push(field);
                }
                Selection::InlineFragment(inline) => {
                    if inline.type_condition.as_ref().is_none_or(|ty| applies(ty.as_str())) {
                        self.collect(object, &inline.selection_set, groups, visited);
                    }
                }
                Selection::FragmentSpread(spread) => {
                    let Some(fragment) = self.document.fragments.get(&spread.fragment_name) else { continue };
                    if visited.insert(spread.fragment_name.as_str())
                        && applies(fragment.type_condition().as_str())
                    {
                        self.collect(object, &fragment.selection_set, groups, visited);
                    }
                }
            }
        }
    }

    fn included(&self, list: &ast::DirectiveList) -> bool {
        let says = |name: &str| match &**list.get(name)?.specified_argument_by_name("if")? {
            ast::Value::Boolean(is) => Some(*is),
            ast::Value::Variable(name) => self.variables.get(name.as_str())?.as_bool(),
            _ => None,
        };
        says("skip") != Some(true) && says("include") != Some(false)
    }
}
