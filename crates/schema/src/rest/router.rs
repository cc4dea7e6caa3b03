//! Which binding a method and a path mean.

use super::binding::Binding;
use super::percent;
use super::request::Match;
use super::template::Segment;
use crate::error::Error;
use crate::schema::{Schema, Service};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Longer paths are not found.
const MAX_PATH_SEGMENTS: usize = 256;

/// The bindings of a set of services, as a tree of path segments.
#[derive(Debug)]
pub struct Router {
    nodes: Vec<Node>,
    bindings: Vec<Arc<Binding>>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, usize>,
    single: Option<usize>,
    /// What ends here.
    ends: Vec<End>,
    /// What ends here with `**`, whatever follows.
    multi: Vec<End>,
}

#[derive(Debug)]
struct End {
    verb: Option<String>,
    http_method: String,
    binding: usize,
}

/// What a method and a path mean.
#[derive(Debug)]
pub enum Found {
    /// This binding.
    Match(Match),
    /// The path exists, but only for these HTTP methods.
    MethodNotAllowed(Vec<String>),
    /// Nothing: no template matches, or the path is not properly encoded.
    None,
}

impl Router {
    /// The bindings of all services of a schema, as [`Schema::services`] lists them.
    ///
    /// What cannot be used is left out and told: rules with a broken template, with fields that do not exist, and templates that mean the
    /// same path as an earlier one.
    pub fn new(schema: &Schema) -> (Self, Vec<Error>) {
        Self::of(schema.services())
    }

    /// The same for chosen services.
    pub fn of<'a>(services: impl IntoIterator<Item = &'a Arc<Service>>) -> (Self, Vec<Error>) {
        let mut router = Router { nodes: vec![Node::default()], bindings: Vec::new() };
        let mut faults = Vec::new();
        for service in services {
            for method in &service.methods {
                for rule in &method.http {
                    let added = Binding::new(method, rule).and_then(|binding| router.add(binding));
                    if let Err(e) = added {
                        faults.push(Error::in_file(e.message(), &service.file));
                    }
                }
            }
        }
        (router, faults)
    }

    /// All bindings.
    pub fn bindings(&self) -> &[Arc<Binding>] {
        &self.bindings
    }

    fn add(&mut self, binding: Binding) -> Result<(), Error> {
        let mut at = 0;
        let mut multi = false;
        for segment in &binding.template.segments {
            let next = self.nodes.len();
            let node = &mut self.nodes[at];
            let child = match segment {
                Segment::Literal(text) => *node.literals.entry(text.clone()).or_insert(next),
                Segment::Single => *node.single.get_or_insert(next),
                Segment::Multi => {
                    multi = true;
                    continue;
                }
            };
            if child == next {
                self.nodes.push(Node::default());
            }
            at = child;
        }
        let node = &mut self.nodes[at];
        let ends = if multi { &mut node.multi } else { &mut node.ends };
        let (verb, http_method) = (&binding.template.verb, &binding.rule.method);
        if let Some(other) = ends.iter().find(|end| end.verb == *verb && end.http_method == *http_method) {
            let other = &self.bindings[other.binding];
            return Err(Error::new(format!(
                "{}: {} {} means the same as {} {} of {}",
                binding.method.path,
                http_method,
                binding.rule.path,
                other.rule.method,
                other.rule.path,
                other.method.path
            )));
        }
        let end = End { verb: verb.clone(), http_method: http_method.clone(), binding: self.bindings.len() };
        ends.push(end);
        self.bindings.push(Arc::new(binding));
        Ok(())
    }

    /// Looks a path up, without its query, as it came: percent signs and all.
    ///
    /// A literal segment wins over `*`, that over `**`; a verb (`:cancel`) over none; the named HTTP method over any.
    pub fn find(&self, http_method: &str, path: &str) -> Found {
        let Some(rest) = path.strip_prefix('/') else { return Found::None };
        let mut raw: Vec<&str> = if rest.is_empty() { Vec::new() } else { rest.split('/').collect() };
        if raw.len() > MAX_PATH_SEGMENTS {
            return Found::None;
        }
        let mut allowed = Vec::new();
        // `b:c` is tried as the segment `b` with the verb `c` first, then as a segment.
        let whole = raw.last().copied();
        if let Some((segment, verb)) = whole.and_then(|last| last.rsplit_once(':')) {
            if let Some(last) = raw.last_mut() {
                *last = segment;
            }
            if let Some(found) = self.look(http_method, &raw, Some(verb), &mut allowed) {
                return found;
            }
            if let (Some(last), Some(whole)) = (raw.last_mut(), whole) {
                *last = whole;
            }
        }
        if let Some(found) = self.look(http_method, &raw, None, &mut allowed) {
            return found;
        }
        if allowed.is_empty() {
            return Found::None;
        }
        allowed.sort();
        allowed.dedup();
        Found::MethodNotAllowed(allowed)
    }

    fn look(
        &self,
        http_method: &str,
        raw: &[&str],
        verb: Option<&str>,
        allowed: &mut Vec<String>,
    ) -> Option<Found> {
        let decoded: Option<Vec<Cow<'_, str>>> = raw.iter().map(|segment| percent::decode(segment)).collect();
        let decoded = decoded?;
        let mut search = Search { router: self, http_method, verb, allowed };
        let binding = search.walk(0, &decoded)?;
        let binding = &self.bindings[binding];
        let mut values = Vec::with_capacity(binding.variables.len());
        for variable in &binding.template.variables {
            let multi = binding.template.segments.get(variable.segments.clone())?.contains(&Segment::Multi);
            let to = if multi { raw.len() } else { variable.segments.end };
            if binding.template.is_single(variable) {
                values.push(decoded.get(variable.segments.start)?.clone().into_owned());
            } else {
                let text = raw.get(variable.segments.start..to)?.join("/");
                values.push(percent::decode_segments(&text)?.into_owned());
            }
        }
        Some(Found::Match(Match::new(binding.clone(), values)))
    }
}

struct Search<'a> {
    router: &'a Router,
    http_method: &'a str,
    verb: Option<&'a str>,
    allowed: &'a mut Vec<String>,
}

impl Search<'_> {
    // Each node is visited at most once, since it lies at one depth; the depth is that of the longest template.
    fn walk(&mut self, at: usize, rest: &[Cow<'_, str>]) -> Option<usize> {
        let node = &self.router.nodes[at];
        if let Some((segment, behind)) = rest.split_first() {
            if let Some(child) = node.literals.get(segment.as_ref())
                && let Some(found) = self.walk(*child, behind)
            {
                return Some(found);
            }
            if let Some(child) = node.single.filter(|_| !segment.is_empty())
                && let Some(found) = self.walk(child, behind)
            {
                return Some(found);
            }
        } else if let Some(found) = self.end(&node.ends) {
            return Some(found);
        }
        self.end(&node.multi)
    }

    fn end(&mut self, ends: &[End]) -> Option<usize> {
        let mut any = None;
        for end in ends.iter().filter(|end| end.verb.as_deref() == self.verb) {
            if end.http_method == self.http_method {
                return Some(end.binding);
            }
            if end.http_method == "*" {
                any = Some(end.binding);
            }
        }
        if any.is_none() {
            let others = ends.iter().filter(|end| end.verb.as_deref() == self.verb);
            self.allowed.extend(others.map(|end| end.http_method.clone()));
        }
        any
    }
}
