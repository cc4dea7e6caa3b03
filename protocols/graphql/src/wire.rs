//! Requests and responses as bytes (GraphQL over HTTP): the JSON of a body, the parameters of a URL, what `Accept` asks for, and the writing of
//! a response. Pure.

use crate::map::{Fault, Refusal};
use serde_json::{Map, Value};

/// A request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// The document.
    pub query: Option<String>,
    /// Which operation of it.
    pub operation_name: Option<String>,
    /// Variables, not coerced.
    pub variables: Map<String, Value>,
    /// Whatever else the client says.
    pub extensions: Map<String, Value>,
}

/// What a body holds.
#[derive(Debug, PartialEq)]
pub enum Asked {
    /// One request.
    One(Ask),
    /// An array of requests.
    Batch(Vec<Ask>),
}

fn bad(text: impl Into<String>) -> Fault {
    Fault::refused(Refusal::Request, text)
}

/// Reads a body. A batch larger than `most` is refused.
pub fn body(bytes: &[u8], most: usize) -> Result<Asked, Fault> {
    if bytes.is_empty() {
        return Err(bad("the body is missing"));
    }
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| bad(format!("the body is no JSON: {error}")))?;
    match value {
        Value::Object(object) => Ok(Asked::One(ask(object)?)),
        Value::Array(items) if items.is_empty() => Err(bad("the batch is empty")),
        Value::Array(items) if items.len() > most => {
            Err(Fault::refused(Refusal::Limit, format!("the batch has more than {most} operations")))
        }
        Value::Array(items) => {
            let asks = items.into_iter().map(|item| match item {
                Value::Object(object) => ask(object),
                _ => Err(bad("an item of the batch is no object")),
            });
            Ok(Asked::Batch(asks.collect::<Result<_, _>>()?))
        }
        _ => Err(bad("the body is no JSON object")),
    }
}

/// Reads the members of a request.
pub fn ask(mut object: Map<String, Value>) -> Result<Ask, Fault> {
    let mut text = |name: &str| match object.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(bad(format!("the parameter {name} is no string"))),
    };
    let (query, operation_name) = (text("query")?, text("operationName")?);
    let mut map = |name: &str| match object.remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(bad(format!("the parameter {name} is no object"))),
    };
    let (variables, extensions) = (map("variables")?, map("extensions")?);
    if query.is_none() && !extensions.contains_key("persistedQuery") {
        return Err(bad("the parameter query is missing"));
    }
    Ok(Ask { query, operation_name: operation_name.filter(|name| !name.is_empty()), variables, extensions })
}

/// Reads the parameters of a URL; `None` if there is no request in it.
pub fn query(text: &str) -> Result<Option<Ask>, Fault> {
    let mut object = Map::new();
    let mut any = false;
    for (name, value) in pairs(text) {
        match name.as_str() {
            "query" | "operationName" => {
                any |= name == "query";
                object.insert(name, value.into());
            }
            "variables" | "extensions" if !value.is_empty() => {
                any |= name == "extensions";
                let parsed = serde_json::from_str(&value)
                    .map_err(|error| bad(format!("the parameter {name} is no JSON: {error}")))?;
                object.insert(name, parsed);
            }
            _ => {}
        }
    }
    if any { ask(object).map(Some) } else { Ok(None) }
}

/// One parameter of a URL.
pub fn parameter(text: &str, name: &str) -> Option<String> {
    pairs(text).find(|(known, _)| known == name).map(|(_, value)| value)
}

/// The pairs of `application/x-www-form-urlencoded`.
fn pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(name), unescape(value))
    })
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        let digit = |b: &u8| char::from(*b).to_digit(16);
        match (first, more) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (byte, _) => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The form of a response.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/graphql-response+json`: the status tells whether the request was taken.
    Response,
    /// `application/json`: every well-formed request has 200.
    Json,
    /// `text/event-stream`.
    Events,
}

impl Form {
    /// The content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Response => "application/graphql-response+json; charset=utf-8",
            Form::Json => "application/json; charset=utf-8",
            Form::Events => "text/event-stream; charset=utf-8",
        }
    }
}

/// The form that `Accept` prefers; `None` when it allows none of them. Without the header, and for `*/*`, it is `application/json`.
pub fn accepted<'a>(values: impl Iterator<Item = &'a str>) -> Option<Form> {
    let mut best: Option<(u32, u32, Form)> = None;
    let mut any = false;
    for item in values.flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        if range.is_empty() {
            continue;
        }
        any = true;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(1.0, |text| text.parse::<f32>().unwrap_or(0.0)).clamp(0.0, 1.0);
        if weight == 0.0 {
            continue;
        }
        // Named exactly, a form is meant more than by a wildcard; between equals the modern one wins.
        let (exact, form) = match range.as_str() {
            "application/graphql-response+json" => (3, Form::Response),
            "application/json" => (2, Form::Json),
            "text/event-stream" => (2, Form::Events),
            "application/*" => (1, Form::Json),
            "*/*" => (0, Form::Json),
            _ => continue,
        };
        let rank = ((weight * 1000.0) as u32, exact);
        if best.is_none_or(|(w, e, _)| rank > (w, e)) {
            best = Some((rank.0, rank.1, form));
        }
    }
    if any { best.map(|(_, _, form)| form) } else { Some(Form::Json) }
}

/// A response.
#[derive(Debug, Default)]
pub struct Response {
    /// JSON; `None` when nothing was run.
    pub data: Option<Vec<u8>>,
    /// What went wrong.
    pub errors: Vec<Fault>,
    /// Whatever else there is to say.
    pub extensions: Map<String, Value>,
    /// How many jobs were made.
    pub jobs: usize,
}

impl Response {
    /// A response to a request that was refused.
    pub fn refused(errors: Vec<Fault>) -> Response {
        Response { errors, ..Response::default() }
    }

    /// The JSON.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.data.as_ref().map_or(0, Vec::len) + 64);
        out.push(b'{');
        if !self.errors.is_empty() {
            out.extend_from_slice(b"\"errors\":");
            let _ = serde_json::to_writer(&mut out, &self.errors);
        }
        if let Some(data) = &self.data {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(b"\"data\":");
            out.extend_from_slice(data);
        }
        if !self.extensions.is_empty() {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(b"\"extensions\":");
            let _ = serde_json::to_writer(&mut out, &self.extensions);
        }
        out.push(b'}');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let form = |accept: &str| accepted([accept].into_iter());
        assert_eq!(accepted([].into_iter()), Some(Form::Json));
        assert_eq!(form("*/*"), Some(Form::Json));
        assert_eq!(form("application/graphql-response+json, application/json;q=0.9"), Some(Form::Response));
        assert_eq!(
            form("application/graphql-response+json;charset=utf-8, application/json"),
            Some(Form::Response)
        );
        assert_eq!(form("application/json"), Some(Form::Json));
        assert_eq!(form("text/event-stream, application/json;q=0.1"), Some(Form::Events));
        assert_eq!(form("text/html"), None);
        assert_eq!(form("application/json;q=0"), None);
    }

    #[test]
    fn parameters() {
        let ask = query("query=%7Ba%20%2B+b%7D&variables=%7B%22x%22%3A1%7D&other=%zz").unwrap().unwrap();
        assert_eq!(ask.query.as_deref(), Some("{a + b}"));
        assert_eq!(ask.variables.get("x"), Some(&Value::from(1)));
        assert_eq!(query("a=b").unwrap(), None);
        assert!(query("query=a&variables=%7B").is_err());
        assert!(body(b"", 1).is_err() && body(b"3", 1).is_err() && body(b"[]", 1).is_err());
        assert!(body(b"[{\"query\":\"a\"},{\"query\":\"b\"}]", 1).is_err());
    }
}
