//! GraphQL: the method's field, found by introspection, with all that can be selected. Arguments and answer are ProtoJSON on this side, so that
//! what is printed is the same as by every other protocol.

use http::Method;
use sb_schema::{Cardinality, Field, Message, Type};
use serde_json::{Map, Value, json};

use super::{Asked, Each, events, failed, failed_with, is_events, not_called, not_understood, whole};
use crate::client::{Client, Request, clean};
use crate::error::{CliError, exit};

/// Objects lie as deep in each other as this in what is selected; the server has a bound, too.
const DEEPEST: usize = 9;
const SCHEMA: &str = "query { __schema { queryType { name } mutationType { name } subscriptionType { name } types { kind name \
    fields { name args { name type { ...T } } type { ...T } } } } } \
    fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }";

/// Calls a method, as a subscription where it streams its answer.
pub(super) async fn call(client: &Client, asked: &Asked, each: Each<'_>) -> Result<(), CliError> {
    let described = asked.described("graphql")?;
    let answer = client
        .send(&Request::new(Method::POST, "/graphql").json(&json!({ "query": SCHEMA })))
        .await?
        .value()?;
    let schema = &answer["data"]["__schema"];
    if !schema.is_object() {
        let why = answer["errors"][0]["message"].as_str().unwrap_or("introspection gave nothing");
        return Err(CliError::new(
            exit::REFUSED,
            "SB0409",
            format!("the server's GraphQL schema cannot be read: {}", clean(why)),
        )
        .help("the call needs  introspection = true  under [graphql]"));
    }
    let method = &described.method;
    let kinds: &[&str] = match method.server_streaming {
        true => &["subscription"],
        false => &["query", "mutation"],
    };
    let Some((kind, field)) = kinds.iter().find_map(|kind| Some((*kind, root(schema, kind, &asked.path)?)))
    else {
        return Err(CliError::new(
            exit::MISSING,
            "SB0310",
            format!("{} is not part of the GraphQL schema", asked.path),
        )
        .help("see the protocols it is shown over:  switchboard service list"));
    };
    let name = field["name"].as_str().unwrap_or_default();
    let given: Value = serde_json::from_slice(&asked.message())
        .map_err(|why| CliError::usage(format!("the body is not JSON: {why}")))?;
    let variables = arguments(&method.input, &given);
    let (mut declared, mut passed) = (Vec::new(), Vec::new());
    for arg in field["args"].as_array().into_iter().flatten() {
        let arg_name = arg["name"].as_str().unwrap_or_default();
        if variables.contains_key(arg_name) {
            declared.push(format!("${arg_name}: {}", type_text(&arg["type"])));
            passed.push(format!("{arg_name}: ${arg_name}"));
        }
    }
    if let Some(lost) =
        variables.keys().find(|key| !passed.iter().any(|p| p.starts_with(&format!("{key}: "))))
    {
        return Err(CliError::usage(format!("{} has no argument {lost:?} over GraphQL", asked.path)));
    }
    let parens =
        |list: &[String]| if list.is_empty() { String::new() } else { format!("({})", list.join(", ")) };
    let selected = selection(schema, type_name(&field["type"]), &mut Vec::new());
    let query = format!("{kind}{} {{ {name}{} {selected} }}", parens(&declared), parens(&passed));
    let request = asked.post("/graphql").json(&json!({ "query": query, "variables": variables }));
    let request = request
        .header("accept", if method.server_streaming { "text/event-stream" } else { "application/json" });
    let (head, mut body) = client.open(&request).await?.into_parts();
    let mut one = |result: &Value| {
        if let Some(error) = result["errors"].as_array().and_then(|errors| errors.first()) {
            return Err(failure(error, asked));
        }
        let value = message_of(&method.output, &result["data"][name]);
        // By way of Protobuf, which leaves out what has its default value, as the other protocols do.
        let options = sb_schema::Options { opaque_any: true, ..sb_schema::Options::default() };
        let plain = sb_schema::json_to_proto(&method.output, value.to_string().as_bytes(), &options)
            .and_then(|proto| sb_schema::proto_to_json(&method.output, &proto, &options));
        // What is in an `Any` may be known to the server alone: then the answer is shown as it came.
        each(&plain.unwrap_or_else(|_| value.to_string().into_bytes()))
    };
    if is_events(&head.headers) {
        return events(&mut body, |event| match event.name.as_str() {
            "complete" => Ok(false),
            "next" => {
                one(&serde_json::from_str(&event.data).map_err(|why| not_understood(&why.to_string()))?)
            }
            _ => Ok(true),
        })
        .await;
    }
    let body = whole(body).await?;
    match serde_json::from_slice::<Value>(&body) {
        Ok(result) if result["data"].is_object() || result["errors"].is_array() => one(&result).map(|_| ()),
        _ => Err(not_called(head.status, &body)),
    }
}

fn failure(error: &Value, asked: &Asked) -> CliError {
    let extensions = &error["extensions"];
    let (name, message) =
        (extensions["code"].as_str().unwrap_or("UNKNOWN"), error["message"].as_str().unwrap_or_default());
    let told = failed(name, message, &[], asked.described.as_ref());
    if let Some(code) = extensions["error"].as_str() {
        let own = CliError::new(told.exit, clean(code), clean(message));
        return match extensions["fix"].as_str() {
            Some(fix) => own.help(clean(fix)),
            None => own,
        };
    }
    let details = extensions["details"].as_array().cloned().unwrap_or_default();
    failed_with(told.exit, name, message, &details)
}

// ---- names ----

fn capital(text: &str) -> String {
    let mut out = String::new();
    let mut up = true;
    for c in text.chars() {
        match c {
            '_' | '.' => up = true,
            c if up => {
                out.extend(c.to_uppercase());
                up = false;
            }
            c => out.push(c),
        }
    }
    out
}

fn camel(text: &str) -> String {
    let text = capital(text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// The field of a method: the longest of the names it may have, since a shorter one may be another's.
fn root<'a>(schema: &'a Value, kind: &str, path: &str) -> Option<&'a Value> {
    let (service, method) = path.split_once('/')?;
    let (package, short) = service.rsplit_once('.').unwrap_or(("", service));
    let names =
        [camel(&format!("{package}.{short}.{method}")), camel(&format!("{short}.{method}")), camel(method)];
    let root = schema[format!("{kind}Type")]["name"].as_str()?;
    let fields = fields_of(schema, root)?;
    names.iter().find_map(|name| fields.iter().find(|f| f["name"] == **name))
}

fn fields_of<'a>(schema: &'a Value, name: &str) -> Option<&'a Vec<Value>> {
    schema["types"].as_array()?.iter().find(|t| t["name"] == *name)?["fields"].as_array()
}

/// A type as it is written: `[Int!]!`.
fn type_text(kind: &Value) -> String {
    match kind["kind"].as_str() {
        Some("NON_NULL") => format!("{}!", type_text(&kind["ofType"])),
        Some("LIST") => format!("[{}]", type_text(&kind["ofType"])),
        _ => kind["name"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The name of a type without lists and marks.
fn type_name(kind: &Value) -> &str {
    match kind["ofType"].is_object() {
        true => type_name(&kind["ofType"]),
        false => kind["name"].as_str().unwrap_or_default(),
    }
}

/// Everything of a type, without what would go round in circles.
fn selection(schema: &Value, name: &str, above: &mut Vec<String>) -> String {
    let Some(fields) = fields_of(schema, name) else { return String::new() };
    above.push(name.to_owned());
    let mut parts = Vec::new();
    for field in fields {
        let inner = type_name(&field["type"]);
        let own = field["name"].as_str().unwrap_or_default();
        if fields_of(schema, inner).is_none() {
            parts.push(own.to_owned());
        } else if above.len() < DEEPEST && !above.iter().any(|a| a == inner) {
            let inside = selection(schema, inner, above);
            parts.push(format!("{own} {inside}"));
        }
    }
    above.pop();
    if parts.is_empty() { "{ __typename }".to_owned() } else { format!("{{ {} }}", parts.join(" ")) }
}

// ---- ProtoJSON and GraphQL ----

/// A message whose JSON has the members of its fields.
fn plain(message: &Message) -> bool {
    let well_known = message.full_name().starts_with("google.protobuf.");
    !well_known || message.full_name() == "google.protobuf.Empty"
}

/// The fields of a request as arguments.
fn arguments(message: &Message, given: &Value) -> Map<String, Value> {
    match given {
        Value::Object(members) if plain(message) => input(message, members),
        other => Map::from_iter([("value".to_owned(), other.clone())]),
    }
}

/// A message on the way in: members of a oneof lie in it, maps are lists of entries.
fn input(message: &Message, members: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, value) in members {
        let Some(field) = message.fields().find(|f| f.json_name() == key || f.name() == key) else {
            out.insert(key.clone(), value.clone());
            continue;
        };
        let value = input_field(&field, value);
        match field.oneof() {
            Some(oneof) if !oneof.starts_with('_') => {
                let member = Map::from_iter([(field.json_name().to_owned(), value)]);
                out.insert(camel(oneof), member.into());
            }
            _ => {
                out.insert(field.json_name().to_owned(), value);
            }
        }
    }
    out
}

fn input_field(field: &Field<'_>, value: &Value) -> Value {
    match (field.cardinality(), value) {
        (Cardinality::Map(_), Value::Object(entries)) => entries
            .iter()
            .map(|(key, value)| json!({ "key": key_in(field, key), "value": input_value(field, value) }))
            .collect(),
        (Cardinality::List, Value::Array(items)) => {
            items.iter().map(|item| input_value(field, item)).collect()
        }
        (_, value) => input_value(field, value),
    }
}

/// Keys of maps are text in JSON and have their type in GraphQL.
fn key_in(field: &Field<'_>, key: &str) -> Value {
    use sb_schema::Scalar::*;
    match field.cardinality() {
        Cardinality::Map(Bool) => (key == "true").into(),
        Cardinality::Map(Int32 | Sint32 | Sfixed32 | Uint32 | Fixed32) => {
            key.parse::<i64>().map_or_else(|_| key.into(), Value::from)
        }
        _ => key.into(),
    }
}

fn input_value(field: &Field<'_>, value: &Value) -> Value {
    match (field.r#type(), value) {
        (Type::Message(message), Value::Object(_)) if plain(&message) && message.fields().len() == 0 => {
            true.into()
        }
        (Type::Message(message), Value::Object(members)) if plain(&message) => {
            input(&message, members).into()
        }
        (Type::Scalar(scalar), Value::String(text)) => number_in(scalar, text),
        (_, value) => value.clone(),
    }
}

/// Small numbers that are written as text, which ProtoJSON allows.
fn number_in(scalar: sb_schema::Scalar, text: &str) -> Value {
    use sb_schema::Scalar::*;
    match scalar {
        Int32 | Sint32 | Sfixed32 | Uint32 | Fixed32 => {
            text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
        }
        Double | Float => text
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map_or_else(|| text.into(), Value::Number),
        _ => text.into(),
    }
}

/// A message on the way out, as ProtoJSON.
fn message_of(message: &Message, value: &Value) -> Value {
    match value {
        Value::Object(members) if plain(message) => {
            let mut out = Map::new();
            for field in message.fields() {
                let value = members.get(field.json_name()).unwrap_or(&Value::Null);
                if !value.is_null() {
                    out.insert(field.json_name().to_owned(), output_field(&field, value));
                }
            }
            out.into()
        }
        Value::Bool(_) if plain(message) && message.fields().len() == 0 => json!({}),
        other => other.clone(),
    }
}

fn output_field(field: &Field<'_>, value: &Value) -> Value {
    let one = |value: &Value| match field.r#type() {
        Type::Message(message) => message_of(&message, value),
        _ => value.clone(),
    };
    match (field.cardinality(), value) {
        (Cardinality::Map(_), Value::Array(entries)) => {
            let pair = |entry: &Value| {
                let key = entry["key"].as_str().map_or_else(|| entry["key"].to_string(), str::to_owned);
                (key, one(&entry["value"]))
            };
            entries.iter().map(pair).collect::<Map<_, _>>().into()
        }
        (Cardinality::List, Value::Array(items)) => items.iter().map(one).collect(),
        _ => one(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_oneofs_and_empty_messages_there_and_back() {
        let text = "syntax = \"proto3\"; package t; message E {} message M { map<int32, string> m = 1; oneof which { string a = 2; E e = 3; }
            repeated M more = 4; optional int64 n = 5; }";
        let schema = sb_schema::Schema::from_texts([("t.proto", text)]).unwrap();
        let message = schema.message("t.M").unwrap();
        let given = json!({ "m": { "1": "x" }, "e": {}, "more": [{ "a": "y" }], "n": "7" });
        let args = Value::Object(arguments(&message, &given));
        assert_eq!(
            args,
            json!({ "m": [{ "key": 1, "value": "x" }], "which": { "e": true }, "more": [{ "which": { "a": "y" } }], "n": "7" })
        );
        let answered = json!({ "m": [{ "key": 1, "value": "x" }], "a": null, "e": true, "n": "7",
            "more": [{ "m": [], "a": "y", "e": null, "n": null }] });
        let mut wanted = given;
        wanted["more"][0]["m"] = json!({});
        assert_eq!(message_of(&message, &answered), wanted);
    }

    #[test]
    fn names() {
        assert_eq!(
            (camel("GetOrder"), camel("shop.v1.Orders.Get")),
            ("getOrder".into(), "shopV1OrdersGet".into())
        );
        let kind = json!({ "kind": "NON_NULL", "ofType": { "kind": "LIST", "ofType": { "kind": "SCALAR", "name": "Int" } } });
        assert_eq!((type_text(&kind), type_name(&kind)), ("[Int]!".to_owned(), "Int"));
    }
}
