//! What describes a method: asked from the server, so that `k=v` can be read by the types of the request's fields.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method as Verb;
use sb_schema::{Builder, Cardinality, Field, Message, Method, Scalar, Schema, Type};
use serde_json::{Map, Value, json};

use super::input;
use crate::client::{Client, Request};
use crate::config::units;
use crate::error::{CliError, exit};

/// The types of error details and of what holds them.
pub const DETAILS: &str = "syntax = \"proto3\"; import public \"google/rpc/error_details.proto\"; import public \"google/protobuf/any.proto\";";

/// Names may lie as deep in each other as this: `a.b.c=1` is three.
const DEEPEST: usize = 32;

/// A method with the schema it belongs to.
#[derive(Clone)]
pub struct Described {
    /// Types of the service, and those of error details.
    pub schema: Schema,
    /// The method.
    pub method: Arc<Method>,
}

/// The description of a method (`package.Service/Method`); `None` when nothing describes it or the caller may not see that.
pub async fn describe(client: &Client, path: &str) -> Result<Option<Described>, CliError> {
    let Some((service, name)) = path.split_once('/') else { return Ok(None) };
    let asked =
        Request::new(Verb::POST, "/switchboard.v1.Services/GetSource").json(&json!({ "name": service }));
    let source = match client.send(&asked).await {
        Ok(answer) => answer.value()?,
        // Workers' methods need no description; what is wrong is said by the call itself.
        Err(error) if matches!(error.exit, exit::MISSING | exit::DENIED | exit::REFUSED) => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = STANDARD.decode(source["descriptorSet"].as_str().unwrap_or_default()).unwrap_or_default();
    let schema = schema(&bytes).map_err(|why| {
        CliError::new(exit::REFUSED, "SB0006", format!("the description of {service} cannot be read: {why}"))
    })?;
    match schema.method(path).cloned() {
        Some(method) => Ok(Some(Described { schema, method })),
        None => {
            let known: Vec<String> = schema
                .service(service)
                .map(|s| s.methods.iter().map(|m| m.name.clone()).collect())
                .unwrap_or_default();
            let mut error =
                CliError::new(exit::MISSING, "SB0310", format!("{service} has no method {name:?}"));
            if let Some(near) = units::nearest(name, known.iter().map(String::as_str)).first() {
                error = error.help(format!("did you mean {service}/{near}?"));
            }
            Err(error.help(format!("see all:  switchboard service show {service}")))
        }
    }
}

/// The schema of a set, with the types of error details, which are shown whatever the service itself imports. Where it has others of these names,
/// its own are enough.
fn schema(set: &[u8]) -> sb_schema::Result<Schema> {
    let with = || {
        let mut builder = Builder::new();
        builder.descriptor_set(set)?.text("switchboard/cli/details.proto", DETAILS)?;
        builder.build()
    };
    with().or_else(|_| Schema::from_descriptor_set(set))
}

/// The request that arguments of the form `k=v` make, as ProtoJSON.
pub fn request(input: &Message, arguments: &[String]) -> Result<Vec<u8>, CliError> {
    let mut object = Map::new();
    for text in arguments {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        put(input, &mut object, name, name, value, 0)?;
    }
    Ok(Value::Object(object).to_string().into_bytes())
}

/// Puts one value where its dotted name says.
fn put(
    message: &Message,
    object: &mut Map<String, Value>,
    whole: &str,
    name: &str,
    text: &str,
    depth: usize,
) -> Result<(), CliError> {
    if depth > DEEPEST {
        return Err(CliError::usage(format!("`{whole}` is too deep")));
    }
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let Some(field) = message.field(first) else { return Err(no_field(message, whole, first)) };
    let key = field.json_name().to_owned();
    let place = object.entry(key).or_insert(Value::Null);
    match (field.cardinality(), rest) {
        (Cardinality::Map(_), Some(key)) => {
            let value = value(&field, whole, text)?;
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            if let Value::Object(entries) = place {
                entries.insert(key.to_owned(), value);
            }
        }
        (Cardinality::Map(_), None) => *place = json_of(whole, "a JSON object, or NAME.KEY=VALUE", text)?,
        (Cardinality::One, Some(rest)) => {
            let Type::Message(inner) = field.r#type() else {
                return Err(CliError::usage(format!(
                    "`{whole}`: {first} is {}, and has no fields",
                    kind(&field)
                )));
            };
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            if let Value::Object(inside) = place {
                put(&inner, inside, whole, rest, text, depth + 1)?;
            }
        }
        (Cardinality::One, None) => *place = value(&field, whole, text)?,
        (Cardinality::List, None) => {
            if !place.is_array() {
                *place = Value::Array(Vec::new());
            }
            if let Value::Array(items) = place {
                // A whole list at once, or one item each time.
                match text.starts_with('[').then(|| serde_json::from_str(text)) {
                    Some(Ok(Value::Array(all))) => items.extend(all),
                    _ => items.push(value(&field, whole, text)?),
                }
            }
        }
        (Cardinality::List, Some(_)) => {
            return Err(CliError::usage(format!("`{whole}`: {first} is a list")).help(format!(
                "give its items one by one, as JSON where they are messages:  {first}='{{…}}'"
            )));
        }
    }
    Ok(())
}

fn no_field(message: &Message, whole: &str, name: &str) -> CliError {
    let known: Vec<&str> = message.fields().map(|f| f.name()).collect();
    let mut error = CliError::usage(format!("`{whole}`: {} has no field {name:?}", message.full_name()));
    if let Some(near) = units::nearest(name, known.iter().copied()).first() {
        error = error.help(format!("did you mean {near}?"));
    }
    error.help(match known.is_empty() {
        true => "it has none at all".to_owned(),
        false => format!("its fields:  {}", known.join(", ")),
    })
}

fn json_of(whole: &str, wanted: &str, text: &str) -> Result<Value, CliError> {
    let read = match text.strip_prefix('@') {
        Some(_) => serde_json::from_slice(&input::body(Some(text))?),
        None => serde_json::from_str(text),
    };
    read.map_err(|why| CliError::usage(format!("`{whole}` needs {wanted}: {why}")))
}

/// What a field holds, for people.
fn kind(field: &Field<'_>) -> String {
    match field.r#type() {
        Type::Scalar(scalar) => format!("{scalar:?}").to_ascii_lowercase(),
        Type::Enum(kind) => format!("an enum {}", kind.full_name()),
        Type::Message(message) => format!("a message {}", message.full_name()),
    }
}

/// One value of a field, an item of its list or a value of its map.
fn value(field: &Field<'_>, whole: &str, text: &str) -> Result<Value, CliError> {
    let wrong =
        |wanted: &str| Err(CliError::usage(format!("`{whole}` needs {wanted}, and {text:.60?} was given")));
    match field.r#type() {
        Type::Scalar(scalar) => match scalar_value(scalar, text)? {
            Some(value) => Ok(value),
            None => wrong(&format!("a value of type {}", kind(field))),
        },
        Type::Enum(kind) => {
            if text.parse::<i32>().is_ok() || kind.value(text).is_some() {
                return Ok(text.parse::<i32>().map_or_else(|_| text.into(), Value::from));
            }
            let known: Vec<&str> = kind.values().map(|v| v.name()).collect();
            let mut error =
                CliError::usage(format!("`{whole}`: {} has no value {text:.60?}", kind.full_name()));
            if let Some(near) = units::nearest(text, known.iter().copied()).first() {
                error = error.help(format!("did you mean {near}?"));
            }
            Err(error.help(format!("its values:  {}", known.join(", "))))
        }
        Type::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp"
            | "google.protobuf.Duration"
            | "google.protobuf.FieldMask"
            | "google.protobuf.StringValue"
            | "google.protobuf.BytesValue" => Ok(text.into()),
            "google.protobuf.BoolValue" => match text {
                "true" | "false" => Ok((text == "true").into()),
                _ => wrong("true or false"),
            },
            "google.protobuf.Value" => Ok(serde_json::from_str(text).unwrap_or_else(|_| text.into())),
            _ => json_of(
                whole,
                &format!("JSON of {}, or its fields by {whole}.FIELD=VALUE", message.full_name()),
                text,
            ),
        },
    }
}

/// A value of a scalar type as ProtoJSON has it; `None` when it is none. `@FILE` is what a file holds.
fn scalar_value(scalar: Scalar, text: &str) -> Result<Option<Value>, CliError> {
    Ok(match scalar {
        Scalar::String => match text.strip_prefix('@') {
            // `@@x` is the text `@x`.
            Some(rest) if rest.starts_with('@') => Some(rest.into()),
            Some(_) => String::from_utf8(input::body(Some(text))?).ok().map(Value::from),
            None => Some(text.into()),
        },
        Scalar::Bytes => match text.starts_with('@') {
            true => Some(STANDARD.encode(input::body(Some(text))?).into()),
            false => Some(text.into()),
        },
        Scalar::Bool => match text {
            "true" => Some(true.into()),
            "false" => Some(false.into()),
            _ => None,
        },
        Scalar::Double | Scalar::Float => match text {
            "NaN" | "Infinity" | "-Infinity" => Some(text.into()),
            _ => serde_json::from_str(text).ok().filter(Value::is_number),
        },
        // As text, so that nothing is lost of 64 bits; ProtoJSON takes both.
        _ => text.parse::<i128>().ok().map(|_| text.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTO: &str = "syntax = \"proto3\"; package t; import \"google/protobuf/timestamp.proto\";
        enum Colour { NONE = 0; RED = 1; }
        message In { string id = 1; int64 n = 2; repeated string tags = 3; In inner = 4; map<string, int32> sizes = 5; Colour colour = 6;
            bytes raw = 7; bool on = 8; double at = 9; google.protobuf.Timestamp when = 10; repeated Colour all = 11; string json_like_name = 12; }";

    fn read(arguments: &[&str]) -> Result<Value, CliError> {
        let schema = Schema::from_texts([("t.proto", PROTO)]).unwrap();
        let message = schema.message("t.In").unwrap();
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let json = request(&message, &arguments)?;
        let options = sb_schema::Options::default();
        sb_schema::json_to_proto(&message, &json, &options).expect("ProtoJSON takes it");
        Ok(serde_json::from_slice(&json).unwrap())
    }

    #[test]
    fn values_follow_the_types() {
        let all = [
            "id=1",
            "n=9007199254740993",
            "tags=1",
            "tags=b",
            "inner.inner.id=true",
            "inner.on=true",
            "sizes.a=1",
            "sizes.b=2",
            "colour=RED",
            "raw=aGk=",
            "at=1.5",
            "when=2026-01-01T00:00:00Z",
            "all=[\"RED\",0]",
            "json_like_name=x",
        ];
        assert_eq!(
            read(&all).unwrap(),
            json!({ "id": "1", "n": "9007199254740993", "tags": ["1", "b"], "inner": { "inner": { "id": "true" }, "on": true },
                "sizes": { "a": "1", "b": "2" }, "colour": "RED", "raw": "aGk=", "at": 1.5, "when": "2026-01-01T00:00:00Z",
                "all": ["RED", 0], "jsonLikeName": "x" })
        );
        assert_eq!(
            read(&["id=@@x", "inner={\"id\": \"2\"}"]).unwrap(),
            json!({ "id": "@x", "inner": { "id": "2" } })
        );
    }

    #[test]
    fn what_does_not_fit_is_said_with_near_names() {
        let said = |argument: &str| read(&[argument]).unwrap_err();
        let error = said("tag=1");
        assert!(
            error.title.contains("t.In has no field \"tag\"") && error.help[0] == "did you mean tags?",
            "{error}"
        );
        assert!(said("colour=REDD").help[0].contains("RED"));
        assert!(said("n=x").title.contains("int64") && said("on=1").title.contains("bool"));
        assert!(said("id.x=1").title.contains("string") && said("tags.x=1").title.contains("list"));
        assert!(said("inner=x").title.contains("JSON"));
        assert!(said("inner.idd=1").title.contains("`inner.idd`"));
        assert_eq!(said("x=1").exit, exit::USAGE);
    }
}
