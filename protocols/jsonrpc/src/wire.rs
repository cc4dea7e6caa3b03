//! Texts to requests, answers to texts (JSON-RPC 2.0 §4–6). Pure and bounded: no I/O, and nothing of the core.
//!
//! Values stay slices of the text that came in: an id is answered as it was written, whatever its digits, and params are handed on without a tree
//! being built of them. Answers have the spaces of the specification's examples.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The most requests of one batch.
pub const MAX_BATCH: usize = 1_000;
/// The longest id, in bytes as it was written.
pub const MAX_ID: usize = 1_024;
/// The longest name of a method.
pub const MAX_METHOD: usize = 512;
/// How deep lists and objects may lie in each other.
pub const MAX_DEPTH: usize = 128;

/// A text that came in.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// One request.
    One(Result<Request<'a>, Invalid<'a>>),
    /// Several; at least one, at most [`MAX_BATCH`].
    Batch(Vec<Result<Request<'a>, Invalid<'a>>>),
}

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The id as it was written; `None` for a notification.
    pub id: Option<&'a str>,
    /// The name of the method.
    pub method: Cow<'a, str>,
    /// What it is called with.
    pub params: Params<'a>,
    /// The text of the member `sb`, which is this server's own.
    pub extension: Option<&'a str>,
}

/// Parameters.
#[derive(Debug, PartialEq, Eq)]
pub enum Params<'a> {
    /// None were given.
    None,
    /// By name: the text of an object.
    Named(&'a str),
    /// By position: the texts of the values.
    Positional(Vec<&'a str>),
}

/// Why something is no request.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Invalid<'a> {
    /// The id to answer with, where one could be told.
    pub id: Option<&'a str>,
    /// What is wrong, where it is not plain to see.
    pub why: Option<&'static str>,
}

/// Why a text cannot be answered part by part.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is no JSON.
    Parse,
    /// It is JSON, but neither a request nor a batch.
    Invalid(Option<&'static str>),
}

/// Reads what came in.
pub fn read(text: &[u8]) -> Result<Incoming<'_>, Malformed> {
    if !shallow(text) {
        return Err(Malformed::Invalid(Some("lists and objects lie in each other more than 128 deep")));
    }
    let whole: &RawValue = serde_json::from_slice(text).map_err(|_| Malformed::Parse)?;
    let text = whole.get();
    if !text.starts_with('[') {
        return Ok(Incoming::One(request(text)));
    }
    let List(items) = serde_json::from_str(text).map_err(|_| {
        // It is JSON and a list, so the list is too long.
        Malformed::Invalid(Some("a batch has at most 1,000 requests"))
    })?;
    if items.is_empty() {
        return Err(Malformed::Invalid(None));
    }
    Ok(Incoming::Batch(items.into_iter().map(request).collect()))
}

/// Whether lists and objects lie in each other at most [`MAX_DEPTH`] deep. A text that is no JSON may pass.
fn shallow(text: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for byte in text {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

fn request(text: &str) -> Result<Request<'_>, Invalid<'_>> {
    let Ok(members) = serde_json::from_str::<Members<'_>>(text) else {
        return Err(Invalid { id: None, why: None });
    };
    let id = members.id.filter(|id| is_id(id));
    let refuse = |why| Err(Invalid { id, why });
    // The specification's own examples of what is invalid are answered as they are there.
    let Some(Ok(Text(method))) = members.method.map(serde_json::from_str) else { return refuse(None) };
    if members.twice {
        return refuse(Some("a member occurs twice"));
    }
    if members.id.is_some() && id.is_none() {
        return refuse(Some("an id is a string, a number or null, of at most 1,024 bytes"));
    }
    if members.unknown {
        return refuse(Some("a request has the members jsonrpc, method, params, id and sb, and no others"));
    }
    match members.jsonrpc.map(serde_json::from_str::<Cow<'_, str>>) {
        Some(Ok(version)) if version == "2.0" => {}
        _ => return refuse(Some("jsonrpc has to be \"2.0\"")),
    }
    if method.len() > MAX_METHOD {
        return refuse(Some("the name of the method has more than 512 bytes"));
    }
    let params = match members.params {
        None => Params::None,
        Some(text) if text.starts_with('{') => Params::Named(text),
        Some(text) if text.starts_with('[') => match serde_json::from_str(text) {
            Ok(List(values)) => Params::Positional(values),
            Err(_) => return refuse(Some("there are more than 1,000 params")),
        },
        Some(_) => return refuse(None),
    };
    Ok(Request { id, method, params, extension: members.sb })
}

/// Whether a value may be an id.
fn is_id(text: &str) -> bool {
    text.len() <= MAX_ID
        && (text == "null" || matches!(text.as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9')))
}

/// A string, borrowed where it holds no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Read)
    }
}

/// The texts of a list's values, at most [`MAX_BATCH`].
pub(crate) struct List<'a>(pub(crate) Vec<&'a str>);

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = List<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of at most 1,000 values")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = seq.next_element::<&RawValue>()? {
                    if all.len() == MAX_BATCH {
                        return Err(serde::de::Error::custom("too many values"));
                    }
                    all.push(value.get());
                }
                Ok(List(all))
            }
        }
        from.deserialize_seq(Read)
    }
}

/// The members of an object in their order, each with the text of its value, at most [`MAX_BATCH`].
pub(crate) struct Object<'a>(pub(crate) Vec<(Cow<'a, str>, &'a str)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of at most 1,000 members")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &RawValue>()? {
                    if all.len() == MAX_BATCH {
                        return Err(serde::de::Error::custom("too many members"));
                    }
                    all.push((name, value.get()));
                }
                Ok(Object(all))
            }
        }
        from.deserialize_map(Read)
    }
}

/// The members of a request.
#[derive(Default)]
struct Members<'a> {
    jsonrpc: Option<&'a str>,
    method: Option<&'a str>,
    params: Option<&'a str>,
    id: Option<&'a str>,
    sb: Option<&'a str>,
    unknown: bool,
    twice: bool,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a request")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut all = Members::default();
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &RawValue>()? {
                    let place = match &*name {
                        "jsonrpc" => &mut all.jsonrpc,
                        "method" => &mut all.method,
                        "params" => &mut all.params,
                        "id" => &mut all.id,
                        "sb" => &mut all.sb,
                        _ => {
                            all.unknown = true;
                            continue;
                        }
                    };
                    all.twice |= place.replace(value.get()).is_some();
                }
                Ok(all)
            }
        }
        from.deserialize_map(Read)
    }
}

/// An error of an answer (§5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The code.
    pub code: i64,
    /// A sentence.
    pub message: Cow<'static, str>,
    /// The text of `data`, if there is any.
    pub data: Option<String>,
}

impl Fault {
    /// `Parse error`.
    pub const PARSE: Fault = Fault { code: -32700, message: Cow::Borrowed("Parse error"), data: None };

    /// `Invalid Request`, with what is wrong as data where it is not plain to see.
    pub fn invalid(why: Option<&str>) -> Fault {
        Fault { code: -32600, message: Cow::Borrowed("Invalid Request"), data: why.map(quoted) }
    }

    /// The error as an object.
    pub fn text(&self) -> String {
        let data = self.data.as_ref().map(|data| format!(", \"data\": {data}")).unwrap_or_default();
        format!("{{\"code\": {}, \"message\": {}{data}}}", self.code, quoted(&self.message))
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Fault {
        match malformed {
            Malformed::Parse => Fault::PARSE,
            Malformed::Invalid(why) => Fault::invalid(why),
        }
    }
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An answer with a result, which is JSON.
pub fn result(id: &str, result: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(result.len() + id.len() + 40);
    out.extend_from_slice(b"{\"jsonrpc\": \"2.0\", \"result\": ");
    out.extend_from_slice(result);
    out.extend_from_slice(b", \"id\": ");
    out.extend_from_slice(id.as_bytes());
    out.push(b'}');
    out
}

/// An answer with an error; without an id it is about something whose id could not be told.
pub fn failed(id: Option<&str>, fault: &Fault) -> Vec<u8> {
    let id = id.unwrap_or("null");
    format!("{{\"jsonrpc\": \"2.0\", \"error\": {}, \"id\": {id}}}", fault.text()).into_bytes()
}

/// A notification of a subscription: an item, which is JSON.
pub fn item(subscription: &str, item: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(item.len() + 100);
    out.extend_from_slice(
        b"{\"jsonrpc\": \"2.0\", \"method\": \"subscription\", \"params\": {\"subscription\": \"",
    );
    out.extend_from_slice(subscription.as_bytes());
    out.extend_from_slice(b"\", \"result\": ");
    out.extend_from_slice(item);
    out.extend_from_slice(b"}}");
    out
}

/// A notification of a subscription: its end.
pub fn end(subscription: &str, fault: Option<&Fault>) -> Vec<u8> {
    let error = fault.map(|fault| format!(", \"error\": {}", fault.text())).unwrap_or_default();
    format!(
        "{{\"jsonrpc\": \"2.0\", \"method\": \"subscription\", \"params\": {{\"subscription\": \"{subscription}\", \"end\": true{error}}}}}"
    )
    .into_bytes()
}

/// Answers of a batch as one text; `None` when there are none, and then nothing is sent.
pub fn batch(answers: &[Vec<u8>]) -> Option<Vec<u8>> {
    if answers.is_empty() {
        return None;
    }
    let mut out = vec![b'['];
    for (n, answer) in answers.iter().enumerate() {
        if n > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(answer);
    }
    out.push(b']');
    Some(out)
}

/// A request of ours; `params` is JSON.
pub fn call(id: u64, method: &str, params: &[u8]) -> Vec<u8> {
    let mut out =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{},\"params\":", quoted(method)).into_bytes();
    out.extend_from_slice(params);
    out.push(b'}');
    out
}

/// What a server answered.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub struct Response<'a> {
    /// Has to be `2.0`.
    #[serde(borrow, default)]
    pub jsonrpc: Option<Cow<'a, str>>,
    /// The id as it was written.
    #[serde(borrow, default)]
    pub id: Option<&'a RawValue>,
    /// The result's text.
    #[serde(borrow, default, deserialize_with = "present")]
    pub result: Option<&'a RawValue>,
    /// The error.
    #[serde(borrow, default)]
    pub error: Option<ResponseError<'a>>,
}

/// The error a server answered.
#[derive(Debug, Deserialize)]
pub struct ResponseError<'a> {
    /// Its code.
    pub code: i64,
    /// Its sentence.
    #[serde(default)]
    pub message: String,
    /// Its data's text.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
}

/// A member that is there, also when it is null.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}
