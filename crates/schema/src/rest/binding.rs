//! A rule of `google.api.http`, checked against the method's messages.

use super::path::FieldPath;
use super::template::Template;
use crate::descriptor::{Field, Message};
use crate::error::{Error, Result};
use crate::options::HttpRule;
use crate::pool::{FieldInfo, Kind, Pool, Shape, WellKnown};
use crate::schema::Method;
use std::sync::Arc;

/// One way to call a method by HTTP.
#[derive(Clone, Debug)]
pub struct Binding {
    pub(crate) method: Arc<Method>,
    pub(crate) rule: HttpRule,
    pub(crate) template: Template,
    /// The fields of the template's variables, in their order.
    pub(crate) variables: Vec<FieldPath>,
    pub(crate) body: Body,
    pub(crate) response: Option<FieldPath>,
}

/// Where the body of a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// There is none; fields come from the query.
    None,
    /// It is the whole message, but for what the path gives.
    All,
    /// It is this field.
    Field(FieldPath),
}

impl Binding {
    /// Checks a rule.
    pub(crate) fn new(method: &Arc<Method>, rule: &HttpRule) -> Result<Self> {
        let wrong = |e: Error| Error::new(format!("{}: {}", method.path, e.message()));
        if rule.method.is_empty() || rule.path.is_empty() {
            return Err(wrong(Error::new("the HTTP rule has no method or no path")));
        }
        if rule.method != "*" && !rule.method.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(wrong(Error::new("the custom HTTP method is no token")));
        }
        let pool = &method.input.pool;
        let template = Template::parse(&rule.path).map_err(wrong)?;
        let mut variables: Vec<FieldPath> = Vec::with_capacity(template.variables.len());
        for variable in &template.variables {
            let path = FieldPath::resolve(pool, method.input.index, &variable.field).map_err(wrong)?;
            if path.field(pool).shape != Shape::One || !has_text_form(pool, path.field(pool)) {
                return Err(wrong(Error::new(format!("{} cannot be a part of a path", variable.field))));
            }
            variables.push(path);
        }
        let body = match rule.body.as_str() {
            "" => Body::None,
            "*" => Body::All,
            field => Body::Field(FieldPath::resolve(pool, method.input.index, field).map_err(wrong)?),
        };
        let response = match rule.response_body.as_str() {
            "" | "*" => None,
            field => {
                Some(FieldPath::resolve(&method.output.pool, method.output.index, field).map_err(wrong)?)
            }
        };
        if response.as_ref().is_some_and(|path| path.len() != 1) {
            return Err(wrong(Error::new("response_body has to be a field of the response itself")));
        }
        Ok(Binding { method: method.clone(), rule: rule.clone(), template, variables, body, response })
    }

    /// The way every method has without a rule: `POST /pkg.Service/Method` with the message as body; by GET with the query.
    pub(crate) fn default_path(method: &Arc<Method>, query: bool) -> Self {
        let rule = HttpRule {
            method: if query { "GET" } else { "POST" }.to_owned(),
            path: format!("/{}", method.path),
            body: if query { "" } else { "*" }.to_owned(),
            response_body: String::new(),
        };
        let template = Template { segments: Vec::new(), variables: Vec::new(), verb: None };
        let body = if query { Body::None } else { Body::All };
        Binding { method: method.clone(), rule, template, variables: Vec::new(), body, response: None }
    }

    /// All ways by which a method's rules say it is called, the main one first.
    pub fn of(method: &Arc<Method>) -> Result<Vec<Self>> {
        method.http.iter().map(|rule| Binding::new(method, rule)).collect()
    }

    /// The method it calls.
    pub fn method(&self) -> &Arc<Method> {
        &self.method
    }

    /// The rule it was made of: HTTP method (`*` is any), path template, `body` and `response_body`.
    pub fn rule(&self) -> &HttpRule {
        &self.rule
    }
}

impl Binding {
    /// The field that a variable of the template fills.
    pub(crate) fn variable_field(&self, at: usize) -> Option<Field<'_>> {
        self.variables.get(at).map(|path| field_of(&self.method.input, path))
    }

    /// The field that is the body: none if there is no body, `Some(None)` if it is the whole message.
    pub(crate) fn body_field(&self) -> Option<Option<Field<'_>>> {
        match &self.body {
            Body::None => None,
            Body::All => Some(None),
            Body::Field(path) => Some(Some(field_of(&self.method.input, path))),
        }
    }

    /// The field that is the answer; none if it is the whole message.
    pub(crate) fn response_field(&self) -> Option<Field<'_>> {
        self.response.as_ref().map(|path| field_of(&self.method.output, path))
    }

    /// Whether fields come from the query.
    pub(crate) fn has_query(&self) -> bool {
        self.body != Body::All
    }

    /// Whether path or body give the field of this name.
    pub(crate) fn takes_elsewhere(&self, name: &str) -> bool {
        let input = &self.method.input;
        let Ok(path) = FieldPath::resolve(&input.pool, input.index, name) else { return true };
        self.variables.contains(&path) || matches!(&self.body, Body::Field(body) if path.is_within(body))
    }
}

fn field_of<'m>(message: &'m Message, path: &FieldPath) -> Field<'m> {
    Field { pool: &message.pool, owner: path.owner_index(), info: path.field(&message.pool) }
}

/// Whether a single value of the field can be written as plain text.
pub(crate) fn has_text_form(pool: &Pool, field: &FieldInfo) -> bool {
    match field.kind {
        Kind::Scalar(_) | Kind::Enum(_) => true,
        Kind::Message(at) => !matches!(
            pool.message(at).well_known,
            WellKnown::No | WellKnown::Empty | WellKnown::HttpBody | WellKnown::Any
        ),
    }
}
