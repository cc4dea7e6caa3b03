//! The methods this protocol has of its own: `rpc.discover`, and the params of `rpc.unsubscribe`.

use crate::map::{self, NAME};
use crate::wire::{Fault, Params};
use bytes::Bytes;
use sb_board::Access;
use sb_board::call::services::Entry;
use sb_schema::{Message, Options};
use serde_json::{Map, Value, json};

/// Where OpenRPC keeps definitions.
const COMPONENTS: &str = "#/components/schemas/";

/// The OpenRPC document of the methods the caller may call; of one service, below its path.
pub(crate) fn document(access: &Access, service: Option<&str>) -> Bytes {
    let services = access.board().services();
    let mut entries: Vec<&Entry> = services
        .methods()
        .filter(|entry| entry.service.is_shown(NAME) && !entry.method.client_streaming)
        .filter(|entry| {
            access.may_call(&entry.path) && service.is_none_or(|service| *entry.service.name == *service)
        })
        .collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut schemas = Map::new();
    let methods: Vec<Value> =
        entries.into_iter().map(|entry| method(entry, service.is_some(), &mut schemas)).collect();
    let document = json!({
        "openrpc": "1.3.2",
        "info": { "title": service.unwrap_or("Switchboard"), "version": env!("CARGO_PKG_VERSION") },
        "methods": methods,
        "components": { "schemas": schemas },
    });
    document.to_string().into()
}

/// One method. Params are listed in their order, which is also the order by position.
fn method(entry: &Entry, bare: bool, schemas: &mut Map<String, Value>) -> Value {
    let method = &entry.method;
    let options = &entry.service.json;
    let mut input = schema(&method.input, options, schemas);
    let params: Vec<Value> = match map::has_own_form(method.input.full_name()) {
        true => vec![json!({ "name": "value", "required": true, "schema": input })],
        false => method
            .input
            .fields()
            .map(|field| {
                let name = if options.proto_names { field.name() } else { field.json_name() };
                let schema = input.get_mut("properties").and_then(|p| p.get_mut(name)).map_or(json!({}), Value::take);
                json!({ "name": name, "required": field.required(), "description": field.comment(), "schema": schema })
            })
            .collect(),
    };
    let mut text = method.comment.clone();
    if method.server_streaming {
        text.push_str("\n\nStreams: the result is the id of a subscription, and items are notifications.");
    }
    json!({
        "name": if bare { method.name.as_str() } else { method.path.as_str() },
        "description": text.trim(),
        "deprecated": method.deprecated,
        "paramStructure": "either",
        "params": params,
        "result": { "name": method.output.name(), "schema": schema(&method.output, options, schemas) },
    })
}

/// The schema of a message; what it refers to goes to the definitions of the whole document.
fn schema(message: &Message, options: &Options, schemas: &mut Map<String, Value>) -> Value {
    let mut schema = sb_schema::json_schema(message, options);
    if let Value::Object(object) = &mut schema {
        object.remove("$schema");
        if let Some(Value::Object(defs)) = object.remove("$defs") {
            for (name, mut def) in defs {
                refer(&mut def);
                schemas.insert(name, def);
            }
        }
    }
    refer(&mut schema);
    schema
}

/// Turns references to a schema's own definitions into those of the document. Schemas refer instead of nesting, so this does not go deep.
fn refer(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("{COMPONENTS}{name}");
            }
            object.values_mut().for_each(refer);
        }
        Value::Array(list) => list.iter_mut().for_each(refer),
        _ => {}
    }
}

/// Which subscription has to end: `["s1"]` or `{"subscription": "s1"}`.
pub(crate) fn subscription(params: &Params<'_>) -> Result<String, Fault> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        subscription: String,
    }
    let read = match params {
        Params::Positional(values) => match values.as_slice() {
            [value] => serde_json::from_str(value).ok(),
            _ => None,
        },
        Params::Named(text) => serde_json::from_str::<Named>(text).ok().map(|named| named.subscription),
        Params::None => None,
    };
    read.ok_or(Fault {
        code: -32602,
        message: "rpc.unsubscribe takes the id of a subscription".into(),
        data: None,
    })
}
