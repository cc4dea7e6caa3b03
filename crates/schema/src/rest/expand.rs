//! The other direction: the HTTP request that a binding makes of a message, and the message of the HTTP answer. For services that speak
//! only HTTP and JSON.

use super::binding::{Binding, Body};
use super::percent;
use super::template::{Segment, Variable};
use crate::descriptor::{Cardinality, Field, Message, Type};
use crate::error::{Error, Result, shorten};
use crate::json::{Int64, Options, Reading, field_from_json, proto_to_json};
use crate::pool::WellKnown;
use crate::wire::put_bytes;
use bytes::Bytes;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// An HTTP request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The HTTP method.
    pub method: String,
    /// Path and query, encoded.
    pub target: String,
    /// The body; none if the binding has none.
    pub body: Option<Bytes>,
    /// The media type of the body.
    pub content_type: String,
}

impl Binding {
    /// The HTTP request for a request message.
    ///
    /// Refused: a field of the path that is empty or does not have the form of the template, and fields that would have to go into the
    /// query but have no form there (lists and maps of messages).
    pub fn expand(&self, proto: &[u8], options: &Options) -> Result<Target> {
        let input = &self.method.input;
        let canonical =
            Options { int64: Int64::String, proto_names: false, show_defaults: false, ..options.clone() };
        let mut content_type = "application/json".to_owned();
        if input.info().well_known == WellKnown::HttpBody && self.body == Body::All {
            let reply = super::request::http_body(proto)?;
            let target = self.path_of(&mut Map::new())?;
            return Ok(Target {
                method: self.http_method(),
                target,
                body: Some(reply.body),
                content_type: reply.content_type,
            });
        }
        let mut rest = match serde_json::from_slice(&proto_to_json(input, proto, &canonical)?) {
            Ok(Value::Object(object)) => object,
            _ => return Err(Error::new(format!("{} has no fields to make a request of", input.full_name()))),
        };
        let mut target = self.path_of(&mut rest)?;
        let body = match &self.body {
            Body::None => None,
            Body::All => {
                let text = Value::Object(std::mem::take(&mut rest)).to_string();
                Some(Bytes::from(text))
            }
            Body::Field(path) => {
                let field = path.field(&input.pool);
                let value = take(&mut rest, &self.rule.body, input).unwrap_or(Value::Null);
                if super::request::is_http_body(&input.pool, field) {
                    let (kind, body) = raw_body(&value)?;
                    content_type = kind.unwrap_or(content_type);
                    Some(body)
                } else {
                    Some(Bytes::from(if value.is_null() { "{}".to_owned() } else { value.to_string() }))
                }
            }
        };
        let mut query = String::new();
        put_query(input, &rest, "", options.depth, &mut query)?;
        if !query.is_empty() {
            target.push('?');
            target.push_str(&query);
        }
        Ok(Target { method: self.http_method(), target, body, content_type })
    }

    /// The response message of the body of an HTTP answer. Unknown members are passed over by [`Options::unknown`].
    pub fn answer(&self, body: &[u8], content_type: Option<&str>, options: &Options) -> Result<Bytes> {
        let output = &self.method.output;
        let mut out = Vec::with_capacity(body.len());
        if let Some(path) = &self.response {
            let info = path.field(&output.pool);
            if super::request::is_http_body(&output.pool, info) {
                let mut inner = Vec::new();
                super::request::put_http_body(&mut inner, body, content_type);
                put_bytes(&mut out, info.number, &inner);
            } else {
                let field = Field { pool: &output.pool, owner: path.owner_index(), info };
                field_from_json(&field, body, options, &mut out)?;
            }
        } else if output.info().well_known == WellKnown::HttpBody {
            super::request::put_http_body(&mut out, body, content_type);
        } else if !body.trim_ascii().is_empty() {
            let mut reading = Reading::new(&output.pool, options, body)?;
            reading.message(output.info(), &mut out, options.depth)?;
            reading.end()?;
        }
        Ok(out.into())
    }

    fn http_method(&self) -> String {
        if self.rule.method == "*" { "POST".to_owned() } else { self.rule.method.clone() }
    }

    /// The path; the fields it holds are taken out of the message.
    fn path_of(&self, rest: &mut Map<String, Value>) -> Result<String> {
        if self.template.segments.is_empty() {
            return Ok(self.rule.path.clone());
        }
        let mut values = Vec::with_capacity(self.template.variables.len());
        for variable in &self.template.variables {
            let value = take(rest, &variable.field, &self.method.input);
            let text = value.as_ref().map(text_of).unwrap_or_default();
            self.check_value(variable, &text)?;
            values.push(text.into_owned());
        }
        let mut path = String::new();
        let mut at = 0;
        while at < self.template.segments.len() {
            path.push('/');
            let here = self.template.variables.iter().position(|variable| variable.segments.start == at);
            if let Some(place) = here {
                let variable = &self.template.variables[place];
                let also: &[u8] = if self.template.is_single(variable) { b"" } else { b"/" };
                percent::encode(&values[place], also, &mut path);
                at = variable.segments.end;
                continue;
            }
            match &self.template.segments[at] {
                Segment::Literal(text) => percent::encode(text, b"!$&'()+,;=@", &mut path),
                _ => return Err(Error::new("the path has a wildcard that no field fills")),
            }
            at += 1;
        }
        if let Some(verb) = &self.template.verb {
            path.push(':');
            path.push_str(verb);
        }
        Ok(path)
    }

    fn check_value(&self, variable: &Variable, text: &str) -> Result<()> {
        let wrong = || {
            Error::new(format!(
                "{:?} does not fit the path, which wants {}",
                shorten(text),
                self.template.text_of(variable)
            ))
            .within(&variable.field)
        };
        let segments = &self.template.segments[variable.segments.clone()];
        if self.template.is_single(variable) {
            return if text.is_empty() || text == "." || text == ".." { Err(wrong()) } else { Ok(()) };
        }
        let mut parts = text.split('/');
        for segment in segments {
            match segment {
                // Whatever follows, as long as no server would walk back on it.
                Segment::Multi => {
                    return if parts.any(|part| part == "." || part == "..") { Err(wrong()) } else { Ok(()) };
                }
                Segment::Single if parts.next().is_some_and(|part| !matches!(part, "" | "." | "..")) => {}
                Segment::Literal(literal) if parts.next() == Some(literal) => {}
                _ => return Err(wrong()),
            }
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(()) }
    }
}

/// Takes the value at a path of names (of the `.proto`) out of a message's JSON.
fn take(object: &mut Map<String, Value>, path: &str, message: &Message) -> Option<Value> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let field = message.field(name)?;
    let Some(rest) = rest else { return object.remove(field.json_name()) };
    let Type::Message(inner) = field.r#type() else { return None };
    let Some(Value::Object(next)) = object.get_mut(field.json_name()) else { return None };
    let taken = take(next, rest, &inner);
    if next.is_empty() {
        object.remove(field.json_name());
    }
    taken
}

fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

fn raw_body(value: &Value) -> Result<(Option<String>, Bytes)> {
    let kind = value.get("contentType").and_then(Value::as_str).map(str::to_owned);
    let data = value.get("data").and_then(Value::as_str).unwrap_or_default();
    Ok((kind, crate::json::from_base64(data)?.into()))
}

fn put_query(
    message: &Message,
    object: &Map<String, Value>,
    prefix: &str,
    depth: usize,
    out: &mut String,
) -> Result<()> {
    let depth = depth.checked_sub(1).ok_or_else(|| Error::new("messages lie too deep in each other"))?;
    for (key, value) in object {
        let name = format!("{prefix}{key}");
        let Some(field) = message.field(key) else {
            return Err(Error::new("an extension has no form in a query").within(&name));
        };
        let inner = match field.r#type() {
            Type::Message(inner)
                if inner.info().well_known.is_plain() || inner.info().well_known == WellKnown::Any =>
            {
                Some(inner)
            }
            _ => None,
        };
        match (field.cardinality(), inner, value) {
            (Cardinality::One, Some(inner), Value::Object(object)) if inner.info().well_known.is_plain() => {
                put_query(&inner, object, &format!("{name}."), depth, out)?;
            }
            (_, Some(_), _) => return Err(Error::new("it has no form in a query").within(&name)),
            (Cardinality::List, None, Value::Array(items)) => {
                items.iter().for_each(|item| put_pair(&name, item, out));
            }
            (Cardinality::Map(_), None, Value::Object(entries)) => {
                entries.iter().for_each(|(key, item)| put_pair(&format!("{name}[{key}]"), item, out));
            }
            _ => put_pair(&name, value, out),
        }
    }
    Ok(())
}

fn put_pair(name: &str, value: &Value, out: &mut String) {
    if !out.is_empty() {
        out.push('&');
    }
    percent::encode(name, b"[]", out);
    out.push('=');
    percent::encode(&text_of(value), b"", out);
}
