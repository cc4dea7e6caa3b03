//! The paths of an OpenAPI 3.1 document: REST bindings and default paths.

use crate::descriptor::{Cardinality, Field, Message, Type};
use crate::error::Error;
use crate::json::Options;
use crate::jsonschema::Schemas;
use crate::pool::WellKnown;
use crate::rest::{Binding, Router};
use crate::schema::{Method, Schema};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// An operation lists this many parameters of its query at most.
const MAX_PARAMETERS: usize = 200;
/// Parameters of the query go this deep into messages.
const MAX_DEPTH: usize = 4;

/// `paths` and `components.schemas` of a schema's services, as members of one object, ready to be put into an OpenAPI 3.1 document.
///
/// The list tells what OpenAPI cannot say, so that it can be shown: methods that stream requests, unusual HTTP methods, and paths that
/// differ only in their patterns.
pub fn openapi_paths(schema: &Schema, options: &Options) -> (Value, Vec<Error>) {
    let (router, mut left_out) = Router::new(schema);
    let mut document =
        Document { schemas: Schemas::new("#/components/schemas/", options), paths: Map::new() };
    for binding in router.bindings() {
        if let Err(why) = document.binding(binding) {
            left_out.push(Error::new(format!(
                "{} {} of {}: {why}",
                binding.rule.method, binding.rule.path, binding.method.path
            )));
        }
    }
    for method in schema.services().iter().flat_map(|service| &service.methods) {
        if let Err(why) = document.binding(&Binding::default_path(method, false)) {
            left_out.push(Error::new(format!("POST /{}: {why}", method.path)));
        }
    }
    let schemas: Map<String, Value> = document.schemas.finish().into_iter().collect();
    (json!({ "paths": document.paths, "components": { "schemas": schemas } }), left_out)
}

struct Document<'o> {
    schemas: Schemas<'o>,
    paths: Map<String, Value>,
}

impl Document<'_> {
    fn binding(&mut self, binding: &Binding) -> Result<(), &'static str> {
        let method = &binding.method;
        if method.client_streaming {
            return Err("a stream of requests needs a WebSocket, gRPC or Connect");
        }
        let verb = binding.rule.method.to_ascii_lowercase();
        if !["get", "put", "post", "delete", "options", "head", "patch", "trace"].contains(&verb.as_str()) {
            return Err("OpenAPI has no such HTTP method");
        }
        let (path, mut parameters) = self.path(binding);
        if self.paths.get(&path).is_some_and(|item| item.get(&verb).is_some()) {
            return Err("in OpenAPI it is the same path as another one");
        }
        let operations = self.paths.values().filter_map(Value::as_object).flat_map(|item| item.values());
        let id = format!("{}.{}", method.service, method.name);
        let same = |operation: &&Value| {
            operation["operationId"]
                .as_str()
                .is_some_and(|other| other == id || other.starts_with(&format!("{id}_")))
        };
        let count = operations.filter(same).count();
        let mut operation = json!({
            "operationId": if count == 0 { id } else { format!("{id}_{}", count + 1) },
            "tags": [method.service],
        });
        let body = self.body(binding);
        if binding.has_query() {
            self.query(binding, &method.input, "", 0, &mut parameters);
        }
        let responses = self.responses(binding);
        if let Value::Object(operation) = &mut operation {
            if !method.comment.is_empty() {
                operation.insert("summary".into(), method.comment.lines().next().unwrap_or_default().into());
                operation.insert("description".into(), method.comment.as_str().into());
            }
            if method.deprecated {
                operation.insert("deprecated".into(), true.into());
            }
            if !parameters.is_empty() {
                operation.insert("parameters".into(), Value::Array(parameters));
            }
            if let Some(body) = body {
                operation.insert("requestBody".into(), json!({ "required": true, "content": body }));
            }
            operation.insert("responses".into(), responses);
        }
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(item) = item {
            item.insert(verb, operation);
        }
        Ok(())
    }

    /// The path with `{names}`, and the parameters for them.
    fn path(&mut self, binding: &Binding) -> (String, Vec<Value>) {
        if binding.template.segments.is_empty() {
            return (binding.rule.path.clone(), Vec::new());
        }
        let mut parameters = Vec::new();
        let path = binding.template.write(|variable, index, wildcards| {
            let name = match variable {
                None => format!("segment_{index}"),
                Some(variable) if wildcards == 1 => variable.field.clone(),
                Some(variable) => format!("{}_{index}", variable.field),
            };
            let mut parameter =
                json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
            if let Some(variable) = variable {
                let place = binding.template.variables.iter().position(|other| other == variable);
                if let Some(field) = place.and_then(|at| binding.variable_field(at)) {
                    if binding.template.is_single(variable) {
                        parameter["schema"] = self.schemas.field(&field);
                    } else {
                        let whole = binding.template.text_of(variable);
                        parameter["description"] =
                            format!("A part of {}, which is {whole}.", variable.field).into();
                    }
                }
            }
            parameters.push(parameter);
            name
        });
        (path, parameters)
    }

    fn body(&mut self, binding: &Binding) -> Option<Value> {
        match binding.body_field() {
            None => None,
            Some(None) => Some(self.content_of_message(&binding.method.input)),
            Some(Some(field)) => Some(self.content_of_field(&field)),
        }
    }

    fn content_of_message(&mut self, message: &Message) -> Value {
        if message.info().well_known == WellKnown::HttpBody {
            return json!({ "*/*": {} });
        }
        json!({ "application/json": { "schema": self.schemas.message_value(message) } })
    }

    fn content_of_field(&mut self, field: &Field<'_>) -> Value {
        match field.r#type() {
            Type::Message(message)
                if field.cardinality() == Cardinality::One
                    && message.info().well_known == WellKnown::HttpBody =>
            {
                json!({ "*/*": {} })
            }
            _ => json!({ "application/json": { "schema": self.schemas.field(field) } }),
        }
    }

    fn responses(&mut self, binding: &Binding) -> Value {
        let method: &Arc<Method> = &binding.method;
        let mut content = match binding.response_field() {
            Some(field) => self.content_of_field(&field),
            None => self.content_of_message(&method.output),
        };
        let mut text = "The answer.";
        if method.server_streaming
            && let Some(schema) = content.get("application/json").cloned()
        {
            text = "A stream of answers: one JSON text on each line, or one in each server-sent event.";
            content = json!({ "application/x-ndjson": schema, "text/event-stream": schema });
        }
        json!({
            "200": { "description": text, "content": content },
            "default": {
                "description": "An error.",
                "content": { "application/problem+json": { "schema": { "type": "object" } } },
            },
        })
    }

    fn query(
        &mut self,
        binding: &Binding,
        message: &Message,
        prefix: &str,
        depth: usize,
        parameters: &mut Vec<Value>,
    ) {
        for field in message.fields() {
            let name = format!("{prefix}{}", self.schemas.name(&field));
            if parameters.len() >= MAX_PARAMETERS || binding.takes_elsewhere(&name) {
                continue;
            }
            let inner = match field.r#type() {
                Type::Message(inner) => Some(inner),
                _ => None,
            };
            let plain = inner.as_ref().is_some_and(|inner| inner.info().well_known.is_plain());
            match (inner, field.cardinality()) {
                (Some(inner), Cardinality::One) if plain => {
                    if depth + 1 < MAX_DEPTH {
                        self.query(binding, &inner, &format!("{name}."), depth + 1, parameters);
                    }
                }
                // Lists and maps of messages have no form in a query.
                (Some(_), _) if plain => {}
                (_, cardinality) => {
                    let mut parameter =
                        json!({ "name": name, "in": "query", "schema": self.schemas.field(&field) });
                    if matches!(cardinality, Cardinality::Map(_)) {
                        parameter["style"] = "deepObject".into();
                        parameter["explode"] = true.into();
                    }
                    if field.required() && depth == 0 {
                        parameter["required"] = true.into();
                    }
                    if !field.comment().is_empty() {
                        parameter["description"] = field.comment().into();
                    }
                    parameters.push(parameter);
                }
            }
        }
    }
}
