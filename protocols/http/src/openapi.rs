//! The OpenAPI 3.1 document, made from the table of routes.

use crate::server::{Cx, ROUTES, Route, Shape, empty, tagged, typed};
use bytes::Bytes;
use http::StatusCode;
use sb_board::call::Services;
use sb_board::mount::Answer;
use sb_core::model::Result;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

static DOCUMENT: LazyLock<(Bytes, String)> = LazyLock::new(|| encoded(&document()));

/// The bytes of a document, and their tag.
fn encoded(document: &Value) -> (Bytes, String) {
    let bytes = serde_json::to_vec(document).unwrap_or_default();
    let tag = format!("\"{:x}\"", xxhash_rust::xxh3::xxh3_64(&bytes));
    (bytes.into(), tag)
}

pub(crate) async fn serve(cx: Cx) -> Result<Answer> {
    // What is described is shown to those who are known; the rest is the same for everybody.
    let described = cx
        .access
        .known()
        .is_ok()
        .then(|| cx.board().services().derived(|services| Described(with_services(services))));
    let (bytes, tag) = described.as_ref().map_or(&*DOCUMENT, |d| &d.0);
    let response = match cx.has(tag) {
        true => empty(StatusCode::NOT_MODIFIED),
        false => typed(StatusCode::OK, "application/json", bytes.clone().into()),
    };
    Ok(Answer::Response(tagged(response, tag)))
}

/// The document with the described services in it.
struct Described((Bytes, String));

fn with_services(services: &Services) -> (Bytes, String) {
    let mut document = document();
    let (more, left_out) = sb_schema::openapi_paths(services.schema(), &sb_schema::Options::default());
    for why in left_out {
        tracing::debug!(%why, "left out of the OpenAPI document");
    }
    let hidden: Vec<&str> =
        services.services().iter().filter(|s| !s.is_shown("rest")).map(|s| &*s.name).collect();
    for (path, item) in more["paths"].as_object().into_iter().flatten() {
        let operations: Map<String, Value> = item
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, operation)| {
                !operation["tags"]
                    .as_array()
                    .is_some_and(|tags| tags.iter().any(|t| hidden.iter().any(|h| t == h)))
            })
            .map(|(method, operation)| (method.clone(), operation.clone()))
            .collect();
        if let (Some(paths), false) = (document["paths"].as_object_mut(), operations.is_empty()) {
            paths.entry(path).or_insert(Value::Object(operations));
        }
    }
    if let (Some(own), Some(more)) =
        (document["components"]["schemas"].as_object_mut(), more["components"]["schemas"].as_object())
    {
        for (name, schema) in more {
            own.entry(name).or_insert_with(|| schema.clone());
        }
    }
    encoded(&document)
}

/// The whole document.
fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_ascii_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Switchboard",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Topics, groups, calls and jobs over HTTP",
            "description": "The reference is docs/http.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}, {"key": []}, {"basic": []}, {"token": []}],
        "tags": (["topics", "groups", "methods", "jobs", "system", "call"].map(|name| json!({"name": name}))),
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "responses": {"Problem": {
                "description": "What went wrong, with a stable code and a remedy (RFC 9457)",
                "content": {"application/problem+json": {"schema": reference("Problem")}}
            }},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
                "key": {"type": "apiKey", "in": "header", "name": "Sb-Api-Key"},
                "token": {"type": "apiKey", "in": "query", "name": "token"}
            }
        }
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn tag(route: &Route) -> &'static str {
    match route.path.split('/').nth(1).unwrap_or_default() {
        "topics" if route.path.contains("/groups/") => "groups",
        "topics" | "publish" => "topics",
        "groups" => "groups",
        "methods" => "methods",
        "jobs" => "jobs",
        "{service}" => "call",
        _ => "system",
    }
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    for segment in route.path.split('/') {
        if let Some(name) = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            parameters
                .push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"},
                "description": described(name)}));
        }
    }
    for name in route.query {
        let schema = match *name {
            "limit" => json!({"type": "integer", "minimum": 1, "maximum": 1000}),
            "last" | "partition" => json!({"type": "integer", "minimum": 0}),
            "live" | "envelope" | "verbose" => json!({"type": "string", "enum": ["", "true", "false"]}),
            "batch" => json!({"type": "string", "enum": ["ndjson"]}),
            "state" => state(),
            _ => json!({"type": "string"}),
        };
        parameters.push(json!({"name": name, "in": "query", "required": false, "schema": schema,
            "allowEmptyValue": true, "description": described(name)}));
    }
    for name in route.headers {
        parameters.push(json!({"name": name, "in": "header", "required": *name == "Sb-Lease",
            "schema": {"type": "string"}, "description": described(name)}));
    }
    let mut responses = Map::new();
    for (status, shape) in route.answers {
        let description =
            StatusCode::from_u16(*status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Answer");
        let mut response = json!({"description": description});
        if let (Some(content), Some(response)) = (content(*shape), response.as_object_mut()) {
            response.insert("content".to_owned(), content);
        }
        responses.insert(status.to_string(), response);
    }
    responses.insert("default".to_owned(), json!({"$ref": "#/components/responses/Problem"}));
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "tags": [tag(route)],
        "parameters": parameters,
        "responses": responses
    });
    if let (Some(content), Some(operation)) = (content(route.body), operation.as_object_mut()) {
        let optional =
            matches!(route.body, Shape::Bytes | Shape::Text) || matches!(route.id, "lease" | "extendJob");
        operation.insert("requestBody".to_owned(), json!({"required": !optional, "content": content}));
    }
    operation
}

fn content(shape: Shape) -> Option<Value> {
    Some(match shape {
        Shape::None => return None,
        Shape::Json(schema) => json!({"application/json": {"schema": reference(schema)}}),
        Shape::Bytes => json!({"*/*": {"schema": {}}}),
        Shape::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
        Shape::JsonOrEvents(schema) => json!({
            "application/json": {"schema": reference(schema)},
            "text/event-stream": {"schema": {"type": "string"}}
        }),
    })
}

fn described(name: &str) -> &'static str {
    match name {
        "topic" => {
            "An address (publish), a pattern (read) or the name of a topic; percent-encoded once more in a URL"
        }
        "group" => "The name of a group",
        "message" => "Partition and offset, such as 0-12",
        "service" => "package.Service",
        "method" => "The method's name; in lists package.Service/Method",
        "id" => "The id of a job",
        "after" => "Continue behind this: a cursor, a name, an id or a number, as the answer before gave it",
        "from" => "start, end, offset:N, time:T or a duration ago such as -1h",
        "last" => "The newest N",
        "limit" => "At most so many",
        "partition" => "Only this partition",
        "envelope" => "Every event as JSON with all members",
        "live" => "To whoever listens now, kept nowhere",
        "batch" => "ndjson: each line is a message",
        "prefix" => "Only names that begin so",
        "state" => "Only jobs in this state",
        "stream" => "stdout, stderr or another name",
        "verbose" => "Say more",
        "Prefer" => "wait=N and, for calls, respond-async (RFC 7240)",
        "If-None-Match" => "A tag that is known already, or * to create only",
        "If-Match" => "The tag that must be the present one",
        "Last-Event-ID" => "Resume behind this event",
        "Idempotency-Key" => "A repeated request under the same key has one effect",
        "Sb-Key" => "The key: chooses the partition, orders work",
        "Sb-Key-Base64" => "The key, when it is not text",
        "Sb-Delay" => "Not before this duration has passed",
        "Sb-Expires" => "Not after this duration has passed",
        "Sb-Timeout" => "A shorter timeout than the method's",
        "Sb-Lease" => "The lease that the worker holds",
        "traceparent" | "tracestate" | "baggage" => "Trace context, kept with the message",
        _ => "See docs/http.md",
    }
}

fn state() -> Value {
    let names: Vec<&str> = sb_core::jobs::State::ALL.iter().map(|s| s.name()).collect();
    json!({"type": "string", "enum": names})
}

fn array(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

/// An object: members and those that are always there.
fn object(members: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": members, "required": required})
}

/// An object as it is sent by clients: nothing else is taken.
fn request(members: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": members, "required": required, "additionalProperties": false})
}

/// Two objects in one.
fn both(a: Value, b: Value) -> Value {
    json!({"allOf": [a, b]})
}

fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let number = || json!({"type": "integer", "minimum": 0});
    let truth = || json!({"type": "boolean"});
    let time = || json!({"type": "string", "format": "date-time"});
    let duration = || reference("Duration");
    let body = || json!({"type": "string", "description": "Text, or base64 when encoding says so"});
    let encoding = || json!({"type": "string", "enum": ["base64"]});
    let handles = || json!({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1000});
    let listed = |name: &str, of: &str| {
        object(json!({name: array(reference(of)), "next": {"type": "string"}}), &[name])
    };
    let mut all = Map::new();
    let mut put = |name: &str, schema: Value| all.insert(name.to_owned(), schema);

    put("Any", json!({}));
    put(
        "Duration",
        json!({"description": "250ms, 30s, 10m, 1h, 7d; a bare integer is seconds",
        "anyOf": [{"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)?$"}, {"type": "integer", "minimum": 0}]}),
    );
    put(
        "Problem",
        object(
            json!({"type": text(), "title": text(), "status": number(), "detail": text(), "code": text(),
        "fix": text(), "trace": text()}),
            &["type", "title", "status", "detail", "code", "fix"],
        ),
    );

    let policy = json!({"partitions": {"type": "integer", "minimum": 1},
        "keep_age": {"anyOf": [{"type": "null"}, reference("Duration")]}, "keep_bytes": {"type": ["integer", "null"], "minimum": 0},
        "keep_until_consumed": truth(), "max_message": {"type": "integer", "minimum": 0, "maximum": 64 << 20}, "memory": truth(),
        "claims": array(text())});
    put("Policy", request(policy.clone(), &[]));
    put(
        "Topic",
        both(
            object(policy, &["partitions"]),
            object(
                json!({"name": text(), "partition": array(object(
        json!({"partition": number(), "start": number(), "end": number(), "bytes": number()}),
        &["partition", "start", "end", "bytes"])), "messages": number(), "groups": number(), "created": time()}),
                &["name", "partition", "messages", "groups", "created"],
            ),
        ),
    );
    put("Topics", listed("topics", "Topic"));
    put(
        "Receipt",
        object(
            json!({"id": text(), "topic": text(), "partition": number(), "offset": number(), "at": time()}),
            &["id", "topic", "partition", "offset", "at"],
        ),
    );
    put("Receipts", object(json!({"messages": array(reference("Receipt"))}), &["messages"]));
    put("Live", object(json!({"live": truth(), "delivered": number()}), &["live", "delivered"]));
    put(
        "HeaderValue",
        json!({"anyOf": [text(), {"type": "number"}, truth(),
        object(json!({"base64": text()}), &["base64"]), array(json!({}))]}),
    );
    let headers = || json!({"type": "object", "additionalProperties": reference("HeaderValue")});
    put(
        "Publish",
        request(
            json!({"messages": {"type": "array", "minItems": 1, "maxItems": 1000, "items": request(
        json!({"address": text(), "key": text(), "key_base64": text(), "headers": headers(), "content_type": text(),
            "body": body(), "encoding": encoding(), "delay": duration(), "expires": duration()}), &["address"])}}),
            &["messages"],
        ),
    );
    put(
        "Message",
        object(
            json!({"id": text(), "topic": text(), "address": text(), "partition": number(), "offset": number(),
        "at": time(), "key": text(), "key_base64": text(), "headers": headers(), "content_type": text(), "body": body(),
        "encoding": encoding()}),
            &["topic", "at", "body"],
        ),
    );
    put("Messages", listed("messages", "Message"));
    put("Peeked", object(json!({"messages": array(reference("Message"))}), &["messages"]));

    let options = json!({"mode": {"type": "string", "enum": ["queue", "cursor"]}, "lease": duration(), "attempts": number(),
        "dead_letter": text(), "backoff": duration(), "order": {"type": "string", "enum": ["none", "key"]}});
    let mut with_start = options.clone();
    if let Some(members) = with_start.as_object_mut() {
        members.insert("start".to_owned(), text());
    }
    put("GroupOptions", request(with_start, &[]));
    put(
        "Group",
        both(
            object(options, &["mode"]),
            object(
                json!({"topic": text(), "name": text(), "ready": number(),
        "leased": number(), "delayed": number(), "acked": number(), "dead": number(), "expired": number(), "depth": number(),
        "position": array(object(json!({"partition": number(), "floor": number(), "end": number()}), &["partition", "floor", "end"]))}),
                &[
                    "topic", "name", "ready", "leased", "delayed", "acked", "dead", "expired", "depth",
                    "position",
                ],
            ),
        ),
    );
    put("Groups", listed("groups", "Group"));
    put(
        "LeaseRequest",
        request(
            json!({"max": {"type": "integer", "minimum": 1, "maximum": 1000}, "wait": duration(),
        "lease": duration(), "consumer": text()}),
            &[],
        ),
    );
    put(
        "Leased",
        object(
            json!({"messages": array(both(object(json!({"handle": text(), "attempt": number(), "lease_until": time()}),
        &["handle", "attempt", "lease_until"]), reference("Message")))}),
            &["messages"],
        ),
    );
    put("AckRequest", request(json!({"handles": handles()}), &["handles"]));
    put(
        "NackRequest",
        request(json!({"handles": handles(), "delay": duration(), "dead": truth()}), &["handles"]),
    );
    put("ExtendRequest", request(json!({"handles": handles(), "lease": duration()}), &["handles"]));
    put(
        "Results",
        object(
            json!({"results": array(object(json!({"handle": text(), "ok": truth(), "code": text()}),
        &["handle", "ok"]))}),
            &["results"],
        ),
    );
    put("SeekRequest", request(json!({"to": text(), "partition": number(), "dry_run": truth()}), &["to"]));
    put("Seek", object(json!({"skipped": number(), "again": number()}), &["skipped", "again"]));
    put("CommitRequest", request(json!({"cursor": text()}), &["cursor"]));

    let method = json!({"topic": text(), "attempts": number(), "lease": duration(), "timeout": duration(),
        "keep_result": duration(), "backoff": duration()});
    put("MethodOptions", request(method.clone(), &[]));
    put("Method", both(object(method, &["topic"]), object(json!({"name": text()}), &["name"])));
    put("Methods", object(json!({"methods": array(reference("Method"))}), &["methods"]));
    put("JobState", state());
    put(
        "Failure",
        object(
            json!({"code": text(), "message": text(), "retryable": truth(), "status_name": text(),
                "details": array(json!({"type": "object"}))}),
            &["code", "message", "retryable"],
        ),
    );
    put(
        "Content",
        object(json!({"content_type": text(), "body": body(), "encoding": encoding()}), &["body"]),
    );
    put(
        "Job",
        object(
            json!({"id": text(), "method": text(), "state": reference("JobState"), "attempts": number(),
        "created": time(), "started": time(), "finished": time(), "deadline": time(), "progress": {}, "worker": text(),
        "cancel_requested": truth(), "rerun_of": text(), "result": reference("Content"), "error": reference("Failure"),
        "events": number()}),
            &["id", "method", "state", "attempts", "created", "deadline", "cancel_requested", "events"],
        ),
    );
    put("Jobs", listed("jobs", "Job"));
    put(
        "Event",
        object(
            json!({"seq": number(), "at": time(), "attempt": number(),
        "type": {"type": "string", "enum": ["state", "progress", "log", "result", "error"]}, "state": reference("JobState"),
        "worker": text(), "reason": text(), "progress": {}, "text": text(), "stream": text(), "content_type": text(),
        "body": body(), "encoding": encoding(), "error": reference("Failure")}),
            &["seq", "at", "type", "attempt"],
        ),
    );
    put(
        "Events",
        object(json!({"events": array(reference("Event")), "next": number()}), &["events", "next"]),
    );
    put(
        "TakeRequest",
        request(
            json!({"methods": {"type": "array", "items": text(), "minItems": 1, "maxItems": 100},
        "max": {"type": "integer", "minimum": 1, "maximum": 1000}, "wait": duration(), "lease": duration(), "worker": text()}),
            &["methods"],
        ),
    );
    put(
        "TakenJobs",
        object(
            json!({"jobs": array(both(object(json!({"id": text(), "method": text(), "attempt": number(),
        "lease": text(), "lease_until": time(), "deadline": time(), "key": text(), "key_base64": text(), "headers": headers()}),
        &["id", "method", "attempt", "lease", "lease_until", "deadline"]), reference("Content")))}),
            &["jobs"],
        ),
    );
    put("JobExtendRequest", request(json!({"lease": duration()}), &[]));
    put(
        "Term",
        object(
            json!({"lease_until": time(), "cancel_requested": truth()}),
            &["lease_until", "cancel_requested"],
        ),
    );
    put(
        "FailRequest",
        request(
            json!({"code": text(), "message": text(), "retryable": truth(), "delay": duration()}),
            &["code"],
        ),
    );

    put(
        "TokenRequest",
        request(
            json!({"grants": request(json!({"read": array(text()), "publish": array(text()),
        "call": array(text()), "jobs": array(text())}), &[]), "ttl": duration()}),
            &["grants"],
        ),
    );
    put("Token", object(json!({"token": text(), "expires": time()}), &["token", "expires"]));
    put(
        "Status",
        object(
            json!({"version": text(), "uptime": text(), "node": text(), "mode": text(), "connections": number(),
        "topics": number(), "groups": number(), "jobs": {"type": "object", "additionalProperties": number()},
        "messages_in": number(), "messages_out": number(), "journal_bytes": number(),
        "memory": object(json!({"used": number(), "budget": number()}), &["used", "budget"]), "listeners": array(text())}),
            &["version", "uptime", "connections"],
        ),
    );
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value under a key, wherever it is.
    fn collect<'a>(value: &'a Value, key: &str, out: &mut Vec<&'a Value>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    if name == key {
                        out.push(value);
                    }
                    collect(value, key, out);
                }
            }
            Value::Array(values) => values.iter().for_each(|v| collect(v, key, out)),
            _ => {}
        }
    }

    #[test]
    fn references_lead_somewhere_and_names_are_unique() {
        let document = document();
        let mut references = Vec::new();
        collect(&document, "$ref", &mut references);
        assert!(references.len() > 50);
        for reference in references {
            let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        let mut ids = Vec::new();
        collect(&document, "operationId", &mut ids);
        let mut names: Vec<&str> = ids.iter().map(|v| v.as_str().unwrap()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ids.len());
        assert_eq!(names.len(), ROUTES.len());
    }

    #[test]
    fn every_operation_can_fail_and_describes_its_parameters() {
        for route in ROUTES {
            let operation = operation(route);
            assert!(operation["responses"]["default"].is_object(), "{}", route.id);
            for parameter in operation["parameters"].as_array().unwrap() {
                assert_ne!(
                    parameter["description"], "See docs/http.md",
                    "{} {}",
                    route.id, parameter["name"]
                );
            }
            let placeholders = route.path.matches('{').count();
            let in_path =
                operation["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "path").count();
            assert_eq!(placeholders, in_path);
        }
    }

    /// Leaves the document where an outside validator can look at it.
    #[test]
    fn the_document_is_written_for_validators() {
        let Some(folder) = std::env::var_os("OPENAPI_OUT") else { return };
        std::fs::write(folder, serde_json::to_vec_pretty(&document()).unwrap()).unwrap();
    }
}
