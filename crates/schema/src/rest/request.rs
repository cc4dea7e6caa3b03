//! From path, query and body to the request message, and from the response message to the answer.

use super::binding::{Binding, Body, has_text_form};
use super::path::FieldPath;
use super::percent;
use crate::descriptor::{Field, Message};
use crate::error::{Error, Result};
use crate::json::{
    Options, Reading, Unknown, field_from_json, field_to_json, proto_to_json, too_large, too_many,
    value_of_text,
};
use crate::pool::{FieldInfo, Kind, Pool, Shape, WellKnown};
use crate::schema::Method;
use crate::wire::{Fields, WireValue, close, open, put_bytes, put_tag};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;

/// A binding with the values that the path gave.
#[derive(Clone, Debug)]
pub struct Match {
    binding: Arc<Binding>,
    values: Vec<String>,
}

/// What goes back to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The media type: `application/json`, or what a `google.api.HttpBody` says.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

impl Match {
    pub(crate) fn new(binding: Arc<Binding>, values: Vec<String>) -> Self {
        Match { binding, values }
    }

    /// The match of the path that every method has, `/pkg.Service/Method`: the message is the JSON body, or for GET (which is for methods
    /// with `NO_SIDE_EFFECTS`; the caller checks) the query.
    pub fn default_path(method: &Arc<Method>, http_method: &str) -> Self {
        Match::new(Arc::new(Binding::default_path(method, http_method == "GET")), Vec::new())
    }

    /// The binding.
    pub fn binding(&self) -> &Arc<Binding> {
        &self.binding
    }

    /// The method to be called.
    pub fn method(&self) -> &Arc<Method> {
        &self.binding.method
    }

    /// The fields that the path gives, with their decoded values.
    pub fn variables(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let fields = self.binding.template.variables.iter().map(|variable| variable.field.as_str());
        fields.zip(self.values.iter().map(String::as_str))
    }

    /// The Protobuf bytes of the request message.
    ///
    /// `query` stands behind the `?`, encoded. `body` is JSON, or any bytes where the message or field is a `google.api.HttpBody`, which
    /// also takes `content_type`. A parameter of the query that is no field, that stands twice for a single field, or that path or body give
    /// already, is refused, or passed over by [`Options::unknown`]. For a stream of requests it is called for each message.
    pub fn request(
        &self,
        query: &str,
        body: Option<&[u8]>,
        content_type: Option<&str>,
        options: &Options,
    ) -> Result<Bytes> {
        let binding = &*self.binding;
        let input = &binding.method.input;
        let pool = &*input.pool;
        let body = body.unwrap_or_default();
        let mut out = Vec::with_capacity(body.len() / 2 + query.len() + 32);
        match &binding.body {
            Body::None if body.trim_ascii().is_empty() || body.trim_ascii() == b"{}" => {}
            Body::None => {
                return Err(Error::new("this path takes no body; the fields belong into the query"));
            }
            Body::All if input.info().well_known == WellKnown::HttpBody => {
                put_http_body(&mut out, body, content_type)
            }
            Body::All if body.trim_ascii().is_empty() => {}
            Body::All => {
                let mut reading = Reading::new(pool, options, body)?;
                reading.message(input.info(), &mut out, options.depth)?;
                reading.end()?;
            }
            Body::Field(path) => self.body_field(path, body, content_type, options, &mut out)?,
        }
        if !query.is_empty() {
            self.query(query, options, &mut out)?;
        }
        for (path, value) in binding.variables.iter().zip(&self.values) {
            path.put(pool, &mut out, |field, out| {
                value_of_text(pool, field, value, options, out).map_err(|e| e.within(&field.json_name))
            })?;
        }
        if out.len() > options.max_output {
            return Err(too_large(options.max_output));
        }
        Ok(out.into())
    }

    fn body_field(
        &self,
        path: &FieldPath,
        body: &[u8],
        content_type: Option<&str>,
        options: &Options,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let pool = &self.binding.method.input.pool;
        if is_http_body(pool, path.field(pool)) {
            return path.put(pool, out, |field, out| {
                put_tag(out, field.number, 2);
                let mark = open(out);
                put_http_body(out, body, content_type);
                close(out, mark);
                Ok(())
            });
        }
        let trimmed = body.trim_ascii();
        if trimmed.is_empty() || trimmed == b"null" {
            return Ok(());
        }
        let owner = path.owner_index();
        path.put(pool, out, |info, out| field_from_json(&Field { pool, owner, info }, body, options, out))
    }

    fn query(&self, query: &str, options: &Options, out: &mut Vec<u8>) -> Result<()> {
        let pool = &*self.binding.method.input.pool;
        let mut params = Params { binding: &self.binding, singles: HashSet::new(), oneofs: HashSet::new() };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        for (count, pair) in pairs.enumerate() {
            if count >= options.max_items {
                return Err(too_many(options.max_items));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (percent::decode_query(name), percent::decode_query(value))
            else {
                return Err(Error::new("the query is not properly encoded"));
            };
            let result = match params.check(pool, &name) {
                Ok((path, key)) => {
                    path.put(pool, out, |field, out| put_param(pool, field, key, &value, options, out))
                }
                Err(_) if options.unknown == Unknown::Ignore => Ok(()),
                Err(e) => Err(e),
            };
            result.map_err(|e| e.within(&name))?;
        }
        Ok(())
    }

    /// The answer for a response message.
    pub fn response(&self, proto: &[u8], options: &Options) -> Result<Reply> {
        let output = &self.binding.method.output;
        let pool = &output.pool;
        let json = |body: Vec<u8>| Reply { content_type: "application/json".to_owned(), body: body.into() };
        let Some(path) = &self.binding.response else {
            return if is_http_body_type(output) {
                http_body(proto)
            } else {
                proto_to_json(output, proto, options).map(json)
            };
        };
        let info = path.field(pool);
        if is_http_body(pool, info) {
            let mut content = Vec::new();
            for field in Fields::new(proto) {
                if let (number, WireValue::Bytes(bytes)) = field?
                    && number == info.number
                {
                    content.extend_from_slice(bytes);
                }
            }
            return http_body(&content);
        }
        let mut out = Vec::with_capacity(proto.len() * 2);
        field_to_json(&Field { pool, owner: path.owner_index(), info }, proto, options, &mut out)?;
        Ok(json(out))
    }
}

/// The parameters of a query that were seen.
struct Params<'a> {
    binding: &'a Binding,
    singles: HashSet<String>,
    oneofs: HashSet<(Vec<(u32, u16)>, u16)>,
}

impl Params<'_> {
    /// The field a parameter means, with the key if it is a map's (`labels[a]=b`).
    fn check<'n>(&mut self, pool: &Pool, name: &'n str) -> Result<(FieldPath, Option<&'n str>)> {
        let (text, key) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            Some((text, key)) => (text, Some(key)),
            None => (name, None),
        };
        let path = FieldPath::resolve(pool, self.binding.method.input.index, text)?;
        let field = path.field(pool);
        if self.binding.variables.iter().any(|other| path.is_within(other) || other == &path) {
            return Err(Error::new("the path gives this field already"));
        }
        let in_body = match &self.binding.body {
            Body::None => false,
            Body::All => true,
            Body::Field(other) => path.is_within(other),
        };
        if in_body {
            return Err(Error::new("this field belongs into the body"));
        }
        match (field.shape, key) {
            (Shape::Map(_), None) => return Err(Error::new("the field is a map; write name[key]=value")),
            (Shape::One | Shape::List, Some(_)) => return Err(Error::new("the field is no map")),
            _ => {}
        }
        if !has_text_form(pool, field) {
            return Err(Error::new("the field is a message; name the fields in it"));
        }
        if field.shape != Shape::List && !self.singles.insert(format!("{:?}{key:?}", path)) {
            return Err(Error::new("it stands there twice"));
        }
        if let Some(oneof) = field.oneof
            && !self.oneofs.insert((path.parent().to_vec(), oneof))
        {
            return Err(Error::new("another member of its oneof is there already"));
        }
        Ok((path, key))
    }
}

fn put_param(
    pool: &Pool,
    field: &FieldInfo,
    key: Option<&str>,
    value: &str,
    options: &Options,
    out: &mut Vec<u8>,
) -> Result<()> {
    let (Shape::Map(kind), Some(key)) = (field.shape, key) else {
        return value_of_text(pool, field, value, options, out);
    };
    put_tag(out, field.number, 2);
    let mark = open(out);
    crate::json::put_map_key(kind, key, out)?;
    crate::json::map_value_of_text(pool, field, value, options, out)?;
    close(out, mark);
    Ok(())
}

fn is_http_body_type(message: &Message) -> bool {
    message.info().well_known == WellKnown::HttpBody
}

pub(super) fn is_http_body(pool: &Pool, field: &FieldInfo) -> bool {
    match field.kind {
        Kind::Message(at) => field.shape == Shape::One && pool.message(at).well_known == WellKnown::HttpBody,
        _ => false,
    }
}

pub(super) fn put_http_body(out: &mut Vec<u8>, body: &[u8], content_type: Option<&str>) {
    if let Some(content_type) = content_type.filter(|text| !text.is_empty()) {
        put_bytes(out, 1, content_type.as_bytes());
    }
    if !body.is_empty() {
        put_bytes(out, 2, body);
    }
}

pub(super) fn http_body(proto: &[u8]) -> Result<Reply> {
    let (mut content_type, mut body) = (String::new(), Bytes::new());
    for field in Fields::new(proto) {
        match field? {
            (1, WireValue::Bytes(bytes)) => {
                content_type = String::from_utf8(bytes.to_vec())
                    .map_err(|_| Error::new("the content type of the answer is not UTF-8"))?;
            }
            (2, WireValue::Bytes(bytes)) => body = Bytes::copy_from_slice(bytes),
            _ => {}
        }
    }
    // It goes into a header, where it must not break the line.
    if content_type.is_empty() || content_type.bytes().any(|b| !(0x20..0x7f).contains(&b)) {
        content_type = "application/octet-stream".to_owned();
    }
    Ok(Reply { content_type, body })
}
