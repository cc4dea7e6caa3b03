//! GraphQL's client: the request as literals, everything selected, and the data as ProtoJSON again.

use crate::service::schema;
use crate::speak::{Ask, Failure, Seen, answer, headers, http, json_of};
use http::HeaderMap;
use sb_schema::{Cardinality, Message, Type};
use sb_suite::Running;
use serde_json::{Value, json};

/// How deep messages within themselves are selected.
const DEPTH: usize = 3;

/// Calls by GraphQL.
pub async fn graphql(server: &Running, ask: &Ask<'_>) -> Seen {
    let query = match schema().method(ask.method) {
        Some(method) => {
            let arguments = members(&method.input, &json_of(ask));
            let arguments = if arguments.is_empty() { String::new() } else { format!("({arguments})") };
            format!("{{ answer: {}{arguments} {} }}", lower(&method.name), selection(&method.output, DEPTH))
        }
        None => "{ answer: nothing }".to_owned(),
    };
    let request = json!({ "query": query }).to_string();
    let answered = http(server, false, "POST", "/graphql", headers(ask, "application/json"), request).await;
    let json = answered.json();
    let error = &json["errors"][0];
    let outcome = if error.is_null() {
        let method = schema().method(ask.method).cloned().expect("a method");
        Ok(answer(ask, &proto_json(&method.output, &json["data"]["answer"])))
    } else {
        let said = &error["extensions"];
        let code = said["code"].as_str().unwrap_or_else(|| panic!("a code in {json}"));
        let shown = match answered.status {
            200 => format!("`{code}`"),
            status => format!("{status} `{code}`"),
        };
        let details = said["details"].as_array().cloned().unwrap_or_default();
        Err(Failure::json(shown, error["message"].as_str().unwrap_or_default(), details, said.get("error")))
    };
    let metadata: HeaderMap = answered.headers;
    Seen { outcome, leading: metadata.clone(), trailing: metadata }
}

fn lower(name: &str) -> String {
    name.chars().enumerate().map(|(n, c)| if n == 0 { c.to_ascii_lowercase() } else { c }).collect()
}

/// Whether a message is an object in GraphQL.
fn is_object(message: &Message) -> bool {
    message.full_name().starts_with("same.v1.")
}

/// The fields of a message as arguments, or as the members of an input object. A `oneof` is an argument of its own.
fn members(message: &Message, json: &Value) -> String {
    let mut out = Vec::new();
    for field in message.fields() {
        let Some(value) = json.get(field.json_name()) else { continue };
        let value = match field.cardinality() {
            Cardinality::One => literal(&field.r#type(), value),
            Cardinality::List => {
                let items = value.as_array().expect("a list").iter().map(|v| literal(&field.r#type(), v));
                format!("[{}]", items.collect::<Vec<_>>().join(", "))
            }
            Cardinality::Map(_) => {
                let entry = |(key, value): (&String, &Value)| {
                    let key = match key.parse::<i64>() {
                        Ok(number) => number.to_string(),
                        Err(_) => json!(key).to_string(),
                    };
                    format!("{{key: {key}, value: {}}}", literal(&field.r#type(), value))
                };
                let entries = value.as_object().expect("a map").iter().map(entry);
                format!("[{}]", entries.collect::<Vec<_>>().join(", "))
            }
        };
        out.push(match field.oneof() {
            Some(oneof) => format!("{oneof}: {{{}: {value}}}", field.json_name()),
            None => format!("{}: {value}", field.json_name()),
        });
    }
    out.join(", ")
}

fn literal(kind: &Type, value: &Value) -> String {
    match kind {
        Type::Message(message) if is_object(message) => format!("{{{}}}", members(message, value)),
        Type::Enum(_) => value.as_str().expect("an enum's name").to_owned(),
        _ => value.to_string(),
    }
}

/// Everything in a message.
fn selection(message: &Message, depth: usize) -> String {
    let mut out = Vec::new();
    for field in message.fields() {
        let inner = match field.r#type() {
            Type::Message(inner) if is_object(&inner) => match depth {
                0 => continue,
                _ => selection(&inner, depth - 1),
            },
            _ => String::new(),
        };
        out.push(match field.cardinality() {
            Cardinality::Map(_) => format!("{} {{ key value {inner} }}", field.json_name()),
            _ => format!("{} {inner}", field.json_name()),
        });
    }
    format!("{{ {} }}", out.join(" "))
}

/// Data as ProtoJSON: what is null is not there, and entries are maps.
fn proto_json(message: &Message, data: &Value) -> Value {
    let mut out = serde_json::Map::new();
    for field in message.fields() {
        let Some(value) = data.get(field.json_name()).filter(|value| !value.is_null()) else { continue };
        let one = |value: &Value| match field.r#type() {
            Type::Message(inner) if is_object(&inner) => proto_json(&inner, value),
            _ => value.clone(),
        };
        let value = match field.cardinality() {
            Cardinality::One => one(value),
            Cardinality::List => value.as_array().expect("a list").iter().map(one).collect(),
            Cardinality::Map(_) => {
                let key = |key: &Value| key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                let entries = value.as_array().expect("entries").iter();
                entries.map(|entry| (key(&entry["key"]), one(&entry["value"]))).collect()
            }
        };
        out.insert(field.json_name().to_owned(), value);
    }
    out.into()
}
