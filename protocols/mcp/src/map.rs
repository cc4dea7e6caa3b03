//! Between the core's nouns and MCP's: tools of methods, results of calls, errors. The only file that knows both.

use http::HeaderMap;
use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, JsonObject, MetaObject, Tool, ToolAnnotations};
use sb_board::call::metadata::is_metadata;
use sb_board::call::services::{Entry, Services};
use sb_board::call::{Code, Status};
use sb_board::problem;
use sb_core::model::{Error, Kind};
use sb_schema::{Idempotency, Message, Schema};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// The name in the table of protocols and in `as = [...]`.
pub const NAME: &str = "mcp";
/// The member of `_meta` that names a tool's method.
pub const METHOD: &str = "switchboard/method";
/// The member of `_meta` that says why a call failed.
pub const ERROR: &str = "switchboard/error";
/// The member of `_meta` that holds a call's metadata, where an answer has any.
pub const METADATA: &str = "switchboard/metadata";
/// The longest name of a tool: what models' interfaces take, which is less than the protocol allows.
const MAX_NAME: usize = 64;

/// All tools of a table of services, in the order of their paths.
pub struct Tools {
    all: Vec<(Tool, Entry)>,
    by_name: HashMap<String, usize>,
}

impl Tools {
    /// The tools of the services that are shown.
    pub fn of(services: &Services) -> Tools {
        let mut entries: Vec<&Entry> = services
            .methods()
            .filter(|entry| entry.service.is_shown(NAME) && !entry.method.client_streaming)
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut tools = Tools { all: Vec::with_capacity(entries.len()), by_name: HashMap::new() };
        for entry in entries {
            let plain = name(&entry.path);
            // Two paths may differ in what a name cannot show.
            let free = |name: &String| !tools.by_name.contains_key(name);
            let name = std::iter::once(plain.clone())
                .chain((2_u32..).map(|n| {
                    let end = format!("_{n}");
                    format!("{}{end}", &plain[..plain.len().min(MAX_NAME - end.len())])
                }))
                .find(free)
                .unwrap_or(plain);
            tools.by_name.insert(name.clone(), tools.all.len());
            tools.all.push((tool(name, entry), entry.clone()));
        }
        tools
    }

    /// The method of a tool: by the tool's name, or by the path.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        match self.by_name.get(name) {
            Some(at) => self.all.get(*at).map(|(_, entry)| entry),
            None => self.all.iter().map(|(_, entry)| entry).find(|entry| *entry.path == *name),
        }
    }

    /// The tools behind the one with this path, or all of them.
    pub fn after(&self, path: Option<&str>) -> impl Iterator<Item = &(Tool, Entry)> {
        let begin = path.map_or(0, |path| self.all.partition_point(|(_, entry)| *entry.path <= *path));
        self.all.iter().skip(begin)
    }
}

/// The name of a method's tool: letters, digits, `_` and `-`, at most 64. What is too long loses its beginning and gets eight digits of its hash.
pub fn name(path: &str) -> String {
    let plain: String =
        path.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    if plain.len() <= MAX_NAME {
        return plain;
    }
    // FNV-1a; names have to be the same after a restart, not secret.
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let kept = plain.get(plain.len() - (MAX_NAME - 9)..).unwrap_or_default();
    format!("{kept}_{:08x}", hash >> 32)
}

fn tool(name: String, entry: &Entry) -> Tool {
    let method = &entry.method;
    let options = &entry.service.json;
    let mut description = match method.comment.trim() {
        "" => format!("Calls {}.", entry.path),
        comment => comment.to_owned(),
    };
    if method.deprecated {
        description.push_str("\n\nDeprecated.");
    }
    if method.server_streaming {
        description.push_str("\n\nAnswers with several items; items that come late are left out.");
    }
    let input = object(sb_schema::json_schema(&method.input, options), "value");
    let mut output = sb_schema::json_schema(&method.output, options);
    // Fields with their default value are left out of an answer, also those that a request has to give.
    relax(&mut output);
    let output = match method.server_streaming {
        true => items(output),
        false => object(output, "value"),
    };
    let reads = method.idempotency == Idempotency::NoSideEffects;
    let annotations = ToolAnnotations::from_raw(
        Some(format!("{} {}", method.service.rsplit('.').next().unwrap_or_default(), method.name)),
        Some(reads),
        reads.then_some(false),
        Some(method.idempotency != Idempotency::Unknown),
        None,
    );
    let mut meta = MetaObject::new();
    meta.0.insert(METHOD.into(), Value::from(&*entry.path));
    Tool::new(name, description, Arc::new(input))
        .with_title(format!("{} {}", method.service.rsplit('.').next().unwrap_or_default(), method.name))
        .with_raw_output_schema(Arc::new(output))
        .with_annotations(annotations)
        .with_meta(meta)
}

/// A schema as that of an object: as it is, or as the one member of an object.
fn object(schema: Value, member: &str) -> JsonObject {
    match schema {
        Value::Object(object) if object.get("type").is_some_and(|t| t == "object") => object,
        schema => wrapped(schema, |schema| json!({ member: schema }), member),
    }
}

fn items(schema: Value) -> JsonObject {
    let properties =
        |schema| json!({ "items": { "type": "array", "items": schema }, "truncated": { "type": "boolean" } });
    wrapped(schema, properties, "items")
}

/// A schema inside another; its definitions stay where they are referred to, at the top.
fn wrapped(mut schema: Value, properties: impl FnOnce(Value) -> Value, required: &str) -> JsonObject {
    let mut out = JsonObject::new();
    if let Value::Object(inner) = &mut schema {
        for name in ["$schema", "$defs"] {
            if let Some(value) = inner.remove(name) {
                out.insert(name.into(), value);
            }
        }
    }
    out.insert("type".into(), "object".into());
    out.insert("properties".into(), properties(schema));
    out.insert("required".into(), json!([required]));
    out
}

/// Takes away what has to be there, from a message's schema and from those it refers to.
fn relax(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    schema.remove("required");
    if let Some(Value::Object(defs)) = schema.get_mut("$defs") {
        for def in defs.values_mut() {
            if let Value::Object(def) = def {
                def.remove("required");
            }
        }
    }
}

/// Whether a message's JSON is an object by its type.
pub fn is_object(kind: &Message) -> bool {
    !kind
        .full_name()
        .strip_prefix("google.protobuf.")
        .is_some_and(|name| name.ends_with("Value") || matches!(name, "Timestamp" | "Duration" | "FieldMask"))
}

/// The request of a tool's arguments.
pub fn request(entry: &Entry, arguments: Option<JsonObject>) -> Vec<u8> {
    let mut arguments = arguments.unwrap_or_default();
    match is_object(&entry.method.input) {
        true => Value::Object(arguments).to_string().into_bytes(),
        false => arguments.remove("value").unwrap_or(Value::Null).to_string().into_bytes(),
    }
}

/// The result of a call that went well.
pub fn answer(entry: &Entry, message: &[u8]) -> Result<CallToolResult, Status> {
    let value: Value = json_of(message)?;
    let text = String::from_utf8_lossy(message).into_owned();
    let structured = if is_object(&entry.method.output) { value } else { json!({ "value": value }) };
    let mut result = CallToolResult::structured(structured);
    result.content = vec![ContentBlock::text(text)];
    Ok(result)
}

/// The result of a call whose answer is a stream; `truncated` says that more would have come.
pub fn streamed(items: Vec<Value>, truncated: bool) -> CallToolResult {
    let mut value = json!({ "items": items });
    if truncated {
        value["truncated"] = true.into();
    }
    CallToolResult::structured(value)
}

/// A message as a JSON value.
pub fn json_of(message: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(message)
        .map_err(|e| Status::new(Code::Internal, format!("the service's answer is no JSON: {e}")))
}

/// The result of a call that failed: for the model a sentence, for programs the rest.
pub fn failed(status: &Status, schema: &Schema) -> CallToolResult {
    let mut text = format!("{}: {}", status.code.name(), status.message);
    let mut error = json!({ "code": status.code.name(), "message": status.message });
    if let Some(own) = &status.error {
        error["error"] = own.code.into();
        if !own.fix.is_empty() {
            text.push_str(&format!(". {}", own.fix));
            error["fix"] = own.fix.as_ref().into();
        }
    }
    if !status.details.is_empty() {
        error["details"] =
            status.details.iter().map(|detail| problem::detail_value(detail, schema)).collect();
    }
    let mut meta = MetaObject::new();
    meta.0.insert(ERROR.into(), error);
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.meta = Some(meta);
    result
}

/// Puts what came along with an answer into its `_meta`: leading metadata, then trailing, each name with the list of its values.
pub fn put_metadata(result: &mut CallToolResult, leading: &HeaderMap, trailing: &HeaderMap) {
    let mut names = JsonObject::new();
    for (name, value) in leading.iter().chain(trailing).filter(|(name, _)| is_metadata(name.as_str())) {
        if let Ok(text) = value.to_str()
            && let Value::Array(values) = names.entry(name.as_str()).or_insert_with(|| json!([]))
        {
            values.push(text.into());
        }
    }
    if !names.is_empty() {
        result.meta.get_or_insert_default().0.insert(METADATA.into(), names.into());
    }
}

/// A request that cannot be carried out at all, as an error of the protocol.
pub fn error(error: &Error) -> ErrorData {
    let data = json!({ "code": Code::from(error.kind).name(), "error": error.code, "fix": error.fix });
    ErrorData::new(code(error.kind), error.detail.clone(), Some(data))
}

/// The code of each kind. One total match.
fn code(kind: Kind) -> ErrorCode {
    match kind {
        Kind::NotFound | Kind::Gone => ErrorCode::RESOURCE_NOT_FOUND,
        Kind::Invalid
        | Kind::Exists
        | Kind::Mismatch
        | Kind::Precondition
        | Kind::Conflict
        | Kind::TooLarge
        | Kind::Unsupported => ErrorCode::INVALID_PARAMS,
        Kind::Unauthenticated | Kind::Denied => ErrorCode::INVALID_REQUEST,
        Kind::Exhausted
        | Kind::DiskFull
        | Kind::Unavailable
        | Kind::Deadline
        | Kind::Cancelled
        | Kind::Corrupt
        | Kind::Internal => ErrorCode::INTERNAL_ERROR,
    }
}
