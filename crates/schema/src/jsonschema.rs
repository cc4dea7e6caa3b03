//! JSON Schema (2020-12) of messages in their JSON form.

use crate::descriptor::{Cardinality, Enum, Field, Message, Type};
use crate::json::{Int64, Options, Unknown};
use crate::options::{INPUT_ONLY, OUTPUT_ONLY};
use crate::pool::{Scalar, WellKnown};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};

/// The JSON Schema of a message: an object at the top, other messages and enums under `$defs` by their full names.
///
/// Follows [`Options::int64`], [`Options::proto_names`], [`Options::enum_numbers`] and [`Options::unknown`]. Comments become descriptions;
/// `google.api.field_behavior` becomes `required`, `readOnly` and `writeOnly`.
pub fn json_schema(message: &Message, options: &Options) -> Value {
    let mut schemas = Schemas::new("#/$defs/", options);
    let mut root = match schemas.message_value(message) {
        // A message of its own: here in full instead of a reference.
        Value::Object(object) if object.contains_key("$ref") => schemas.object(message),
        value => value,
    };
    let mut defs = schemas.finish();
    if let Value::Object(object) = &mut root {
        object.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        // The message itself is defined only if another one refers to it.
        let own = format!("\"#/$defs/{}\"", message.full_name());
        let body = Value::Object(object.clone()).to_string();
        let referred = body.contains(&own)
            || defs.iter().any(|(name, def)| name != message.full_name() && def.to_string().contains(&own));
        if !referred {
            defs.remove(message.full_name());
        }
        if !defs.is_empty() {
            object.insert("$defs".into(), Value::Object(defs.into_iter().collect()));
        }
    }
    root
}

/// Collects the definitions that are referred to.
pub(crate) struct Schemas<'o> {
    prefix: &'static str,
    options: &'o Options,
    done: BTreeMap<String, Value>,
    waiting: VecDeque<Message>,
}

impl<'o> Schemas<'o> {
    pub fn new(prefix: &'static str, options: &'o Options) -> Self {
        Schemas { prefix, options, done: BTreeMap::new(), waiting: VecDeque::new() }
    }

    /// All definitions that were referred to, and those these refer to.
    pub fn finish(mut self) -> BTreeMap<String, Value> {
        while let Some(message) = self.waiting.pop_front() {
            let object = self.object(&message);
            self.done.insert(message.full_name().to_owned(), object);
        }
        self.done
    }

    fn reference(&self, name: &str) -> Value {
        json!({ "$ref": format!("{}{name}", self.prefix) })
    }

    /// The schema of a value of this message type: a reference, or the form of a well-known type.
    pub fn message_value(&mut self, message: &Message) -> Value {
        match message.info().well_known {
            WellKnown::No | WellKnown::HttpBody => {
                let name = message.full_name();
                if !self.done.contains_key(name) {
                    self.done.insert(name.to_owned(), Value::Null);
                    self.waiting.push_back(message.clone());
                }
                self.reference(name)
            }
            WellKnown::Empty => json!({ "type": "object" }),
            WellKnown::Any => json!({
                "type": "object",
                "description": "A message of any type that the server knows; @type says which one, as type.googleapis.com/pkg.Message.",
                "properties": { "@type": { "type": "string" } },
                "required": ["@type"],
            }),
            WellKnown::Timestamp => json!({ "type": "string", "format": "date-time" }),
            WellKnown::Duration => json!({ "type": "string", "pattern": "^-?[0-9]{1,12}(\\.[0-9]{1,9})?s$" }),
            WellKnown::FieldMask => {
                json!({ "type": "string", "description": "Names of fields, separated by commas." })
            }
            WellKnown::Struct => json!({ "type": "object" }),
            WellKnown::Value => json!({ "description": "Any JSON value." }),
            WellKnown::ListValue => json!({ "type": "array" }),
            WellKnown::Wrapper(scalar) => self.scalar(scalar),
        }
    }

    fn scalar(&self, scalar: Scalar) -> Value {
        let long = |format: &str, pattern: &str| match self.options.int64 {
            Int64::String => json!({ "type": ["string", "integer"], "format": format, "pattern": pattern }),
            Int64::Number => json!({ "type": ["integer", "string"], "format": format, "pattern": pattern }),
        };
        match scalar {
            Scalar::Double | Scalar::Float => json!({
                "anyOf": [{ "type": "number" }, { "type": "string", "enum": ["NaN", "Infinity", "-Infinity"] }],
            }),
            Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32 => {
                json!({ "type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX })
            }
            Scalar::Uint32 | Scalar::Fixed32 => {
                json!({ "type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX })
            }
            Scalar::Int64 | Scalar::Sint64 | Scalar::Sfixed64 => long("int64", "^-?[0-9]+$"),
            Scalar::Uint64 | Scalar::Fixed64 => long("uint64", "^[0-9]+$"),
            Scalar::Bool => json!({ "type": "boolean" }),
            Scalar::String => json!({ "type": "string" }),
            Scalar::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        }
    }

    fn enumeration(&mut self, info: &Enum) -> Value {
        if info.info().null {
            return json!({ "type": "null" });
        }
        let name = info.full_name();
        if !self.done.contains_key(name) {
            let mut schema = if self.options.enum_numbers {
                json!({ "type": "integer", "enum": info.values().map(|value| value.number()).collect::<Vec<_>>() })
            } else {
                json!({ "type": "string", "enum": info.values().map(|value| value.name()).collect::<Vec<_>>() })
            };
            let mut text = info.comment().to_owned();
            for value in info.values().filter(|value| !value.comment().is_empty()) {
                text.push_str(&format!("\n{}: {}", value.name(), value.comment()));
            }
            describe(&mut schema, text.trim(), info.deprecated());
            self.done.insert(name.to_owned(), schema);
        }
        self.reference(name)
    }

    fn single(&mut self, field: &Field<'_>) -> Value {
        match field.r#type() {
            Type::Scalar(scalar) => self.scalar(scalar),
            Type::Enum(info) => self.enumeration(&info),
            Type::Message(message) => self.message_value(&message),
        }
    }

    /// The schema of a field's value, with its comment.
    pub fn field(&mut self, field: &Field<'_>) -> Value {
        let single = self.single(field);
        let mut schema = match field.cardinality() {
            Cardinality::One => single,
            Cardinality::List => json!({ "type": "array", "items": single }),
            Cardinality::Map(key) => {
                let mut map = json!({ "type": "object", "additionalProperties": single });
                let names = match key {
                    Scalar::String => None,
                    Scalar::Bool => Some("^(true|false)$"),
                    Scalar::Uint32 | Scalar::Uint64 | Scalar::Fixed32 | Scalar::Fixed64 => Some("^[0-9]+$"),
                    _ => Some("^-?[0-9]+$"),
                };
                if let (Some(names), Value::Object(map)) = (names, &mut map) {
                    map.insert("propertyNames".into(), json!({ "pattern": names }));
                }
                map
            }
        };
        describe(&mut schema, field.comment(), field.deprecated());
        if let Value::Object(schema) = &mut schema {
            if field.has_behavior(OUTPUT_ONLY) {
                schema.insert("readOnly".into(), true.into());
            }
            if field.has_behavior(INPUT_ONLY) {
                schema.insert("writeOnly".into(), true.into());
            }
        }
        schema
    }

    /// The name of a field as it is written.
    pub fn name<'f>(&self, field: &Field<'f>) -> &'f str {
        if self.options.proto_names { field.name() } else { field.json_name() }
    }

    fn object(&mut self, message: &Message) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.fields() {
            let name = self.name(&field).to_owned();
            if field.required() && !field.has_behavior(OUTPUT_ONLY) {
                required.push(Value::from(name.clone()));
            }
            let schema = self.field(&field);
            properties.insert(name, schema);
        }
        let mut choices = Vec::new();
        for oneof in message.oneofs() {
            let members: Vec<Value> =
                oneof.fields().map(|field| json!({ "required": [self.name(&field)] })).collect();
            if members.len() > 1 {
                let none = json!({ "not": { "anyOf": members } });
                choices.push(json!({ "oneOf": members.into_iter().chain([none]).collect::<Vec<_>>() }));
            }
        }
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        schema.insert("properties".into(), Value::Object(properties));
        if !required.is_empty() {
            schema.insert("required".into(), Value::Array(required));
        }
        if !choices.is_empty() {
            schema.insert("allOf".into(), Value::Array(choices));
        }
        if self.options.unknown == Unknown::Refuse && message.info().extensions.is_empty() {
            schema.insert("additionalProperties".into(), false.into());
        }
        let mut schema = Value::Object(schema);
        describe(&mut schema, message.comment(), message.deprecated());
        schema
    }
}

/// Adds a comment and the mark of what should not be used any more.
fn describe(schema: &mut Value, comment: &str, deprecated: bool) {
    let Value::Object(schema) = schema else { return };
    if !comment.is_empty() {
        schema.insert("description".into(), comment.into());
    }
    if deprecated {
        schema.insert("deprecated".into(), true.into());
    }
}
