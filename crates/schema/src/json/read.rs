//! From JSON to Protobuf bytes.

use super::scalar::{from_base64, int32, put_number, put_text};
use super::text::{Reader, Token, deeper};
use super::{Options, Unknown, time, too_large, too_many};
use crate::error::{Error, Result, shorten};
use crate::pool::{EnumInfo, FieldInfo, Kind, MessageInfo, Pool, Presence, Scalar, Shape, WellKnown};
use crate::wire::{abandon, close, open, put_bytes, put_tag, put_varint};
use smallvec::SmallVec;
use std::collections::HashSet;

/// One JSON text on its way to Protobuf bytes.
pub(crate) struct Reading<'a> {
    pub(super) pool: &'a Pool,
    pub(super) options: &'a Options,
    pub(super) json: Reader<'a>,
    items: usize,
}

/// A set of small numbers.
#[derive(Default)]
struct Bits(SmallVec<[u64; 2]>);

impl Bits {
    /// Whether `bit` was not in it; now it is.
    fn insert(&mut self, bit: u16) -> bool {
        let (word, mask) = (usize::from(bit / 64), 1u64 << (bit % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & mask == 0;
        self.0[word] |= mask;
        new
    }

    fn contains(&self, bit: u16) -> bool {
        self.0.get(usize::from(bit / 64)).is_some_and(|word| word & 1u64 << (bit % 64) != 0)
    }
}

impl<'a> Reading<'a> {
    pub fn new(pool: &'a Pool, options: &'a Options, json: &'a [u8]) -> Result<Self> {
        Ok(Reading { pool, options, json: Reader::new(json)?, items: 0 })
    }

    /// That nothing follows.
    pub fn end(&mut self) -> Result<()> {
        self.json.end()
    }

    pub(super) fn expected(&mut self, what: &str) -> Error {
        match self.json.peek() {
            Ok(token) => Error::new(format!("expected {what}, found {}", token.name())),
            Err(e) => e,
        }
    }

    fn item(&mut self, out: &[u8]) -> Result<()> {
        self.items += 1;
        if self.items > self.options.max_items {
            return Err(too_many(self.options.max_items));
        }
        if out.len() > self.options.max_output {
            return Err(too_large(self.options.max_output));
        }
        Ok(())
    }

    /// Appends the content of a message.
    pub fn message(&mut self, info: &MessageInfo, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        let depth = deeper(depth)?;
        match info.well_known {
            WellKnown::No | WellKnown::Empty | WellKnown::HttpBody => self.object(info, out, depth, false),
            WellKnown::Any => self.any(out, depth),
            WellKnown::Struct => self.structure(out, depth),
            WellKnown::ListValue => self.list_value(out, depth),
            WellKnown::Value => self.value(out, depth),
            WellKnown::Wrapper(scalar) => {
                let start = out.len();
                put_tag(out, 1, scalar.wire());
                if self.scalar(scalar, out)? {
                    out.truncate(start);
                }
                Ok(())
            }
            WellKnown::Timestamp | WellKnown::Duration | WellKnown::FieldMask => {
                if self.json.peek()? != Token::String {
                    return Err(self.expected("a string"));
                }
                put_text_form(info.well_known, &self.json.string()?, out)
            }
        }
    }

    /// Appends the fields of an object. In an `Any`, `@type` is passed over.
    pub(super) fn object(
        &mut self,
        info: &MessageInfo,
        out: &mut Vec<u8>,
        depth: usize,
        in_any: bool,
    ) -> Result<()> {
        if self.json.peek()? != Token::Object {
            return Err(self.expected("an object"));
        }
        self.json.enter();
        let (mut first, mut types) = (true, 0);
        let mut seen = Bits::default();
        let mut oneofs = Bits::default();
        let mut extensions: SmallVec<[u32; 2]> = SmallVec::new();
        while let Some(key) = self.json.key(&mut first)? {
            if let Some(place) = info.by_name(&key) {
                let field = &info.fields[usize::from(place)];
                let result = if seen.insert(place) {
                    self.member(info, field, &mut oneofs, out, depth)
                } else {
                    Err(twice())
                };
                result.map_err(|e| e.within(&key))?;
                continue;
            }
            if in_any && key == "@type" {
                types += 1;
                if types > 1 {
                    return Err(twice().within("@type"));
                }
                self.json.skip(depth)?;
                continue;
            }
            if in_any && key == "value" && info.well_known == WellKnown::Empty {
                // Some write the empty message in an Any like one with a form of its own.
                self.json.skip(depth)?;
                continue;
            }
            let name = key.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            let extension = name.and_then(|name| self.pool.extension_named(name)).filter(|at| {
                let extendee = self.pool.extensions[*at as usize].extendee;
                std::ptr::eq(self.pool.message(extendee), info)
            });
            let result = match extension {
                Some(at) if extensions.contains(&at) => Err(twice()),
                Some(at) => {
                    extensions.push(at);
                    self.member(info, &self.pool.extensions[at as usize].field, &mut oneofs, out, depth)
                }
                None => self.unknown(&info.full_name, depth),
            };
            result.map_err(|e| e.within(&key))?;
        }
        if info.required {
            for (place, field) in info.fields.iter().enumerate() {
                if field.presence == Presence::Required && !seen.contains(place as u16) {
                    return Err(Error::new("it is required").within(&field.json_name));
                }
            }
        }
        Ok(())
    }

    pub(super) fn unknown(&mut self, message: &str, depth: usize) -> Result<()> {
        match self.options.unknown {
            Unknown::Ignore => self.json.skip(depth),
            Unknown::Refuse => Err(Error::new(format!("{message} has no such field"))),
        }
    }

    fn member(
        &mut self,
        info: &MessageInfo,
        field: &FieldInfo,
        oneofs: &mut Bits,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<()> {
        if self.json.peek()? == Token::Null && !(field.shape == Shape::One && self.null_is_value(field.kind))
        {
            return self.json.word(Token::Null);
        }
        if let Some(oneof) = field.oneof
            && !oneofs.insert(oneof)
        {
            let name = info.oneofs.get(usize::from(oneof)).map_or("", |oneof| &oneof.name);
            return Err(Error::new(format!("another member of the oneof {name:?} is there already")));
        }
        self.field(field, out, depth)
    }

    /// Whether null is a value of this type, not absence.
    fn null_is_value(&self, kind: Kind) -> bool {
        match kind {
            Kind::Scalar(_) => false,
            Kind::Enum(at) => self.pool.enumeration(at).null,
            Kind::Message(at) => self.pool.message(at).well_known == WellKnown::Value,
        }
    }

    /// Appends a field of any shape, which is not null.
    pub fn field(&mut self, field: &FieldInfo, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        match field.shape {
            Shape::One => {
                let start = out.len();
                match self.tagged(field, field.number, out, depth)? {
                    Some(true) if field.presence == Presence::Implicit => out.truncate(start),
                    Some(_) => {}
                    None => out.truncate(start),
                }
                Ok(())
            }
            Shape::List => self.list(field, out, depth),
            Shape::Map(key) => self.map(field, key, out, depth),
        }
    }

    /// Appends tag and value. `Some(true)` if it is the default value, `None` if it is to be ignored.
    fn tagged(
        &mut self,
        field: &FieldInfo,
        number: u32,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<Option<bool>> {
        match field.kind {
            Kind::Scalar(scalar) => {
                put_tag(out, number, scalar.wire());
                self.scalar(scalar, out).map(Some)
            }
            Kind::Enum(at) => {
                put_tag(out, number, 0);
                self.enumeration(self.pool.enumeration(at), out)
            }
            Kind::Message(at) => {
                let info = self.pool.message(at);
                if field.delimited {
                    put_tag(out, number, 3);
                    self.message(info, out, depth)?;
                    put_tag(out, number, 4);
                } else {
                    put_tag(out, number, 2);
                    let mark = open(out);
                    self.message(info, out, depth)?;
                    close(out, mark);
                }
                Ok(Some(false))
            }
        }
    }

    fn list(&mut self, field: &FieldInfo, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        if self.json.peek()? != Token::List {
            return Err(self.expected("a list"));
        }
        self.json.enter();
        let before = out.len();
        let packed = field.packed.then(|| {
            put_tag(out, field.number, 2);
            open(out)
        });
        let content = out.len();
        let (mut first, mut index) = (true, 0);
        while self.json.item(&mut first)? {
            self.list_item(field, packed.is_some(), out, depth).map_err(|e| e.within_item(index))?;
            index += 1;
        }
        if let Some(mark) = packed {
            if out.len() == content {
                out.truncate(before);
            } else {
                close(out, mark);
            }
        }
        Ok(())
    }

    fn list_item(&mut self, field: &FieldInfo, packed: bool, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        self.item(out)?;
        if self.json.peek()? == Token::Null && !self.null_is_value(field.kind) {
            return Err(Error::new("null cannot be an item of a list"));
        }
        let start = out.len();
        let value = match field.kind {
            Kind::Scalar(scalar) if packed => self.scalar(scalar, out).map(Some)?,
            Kind::Enum(at) if packed => self.enumeration(self.pool.enumeration(at), out)?,
            _ => self.tagged(field, field.number, out, depth)?,
        };
        if value.is_none() {
            out.truncate(start);
        }
        Ok(())
    }

    fn map(&mut self, field: &FieldInfo, key: Scalar, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        if self.json.peek()? != Token::Object {
            return Err(self.expected("an object"));
        }
        self.json.enter();
        let mut first = true;
        let mut seen: HashSet<SmallVec<[u8; 16]>> = HashSet::new();
        while let Some(name) = self.json.key(&mut first)? {
            self.entry(field, key, &name, &mut seen, out, depth).map_err(|e| e.within(&name))?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        field: &FieldInfo,
        key: Scalar,
        name: &str,
        seen: &mut HashSet<SmallVec<[u8; 16]>>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<()> {
        self.item(out)?;
        if self.json.peek()? == Token::Null && !self.null_is_value(field.kind) {
            return Err(Error::new("null cannot be a value of a map"));
        }
        let depth = deeper(depth)?;
        let start = out.len();
        put_tag(out, field.number, 2);
        let mark = open(out);
        put_tag(out, 1, key.wire());
        let at = out.len();
        put_text(key, name, out).map_err(|e| Error::new(format!("the key of a map: {}", e.message())))?;
        if !seen.insert(SmallVec::from_slice(&out[at..])) {
            return Err(twice());
        }
        if self.tagged(field, 2, out, depth)?.is_none() {
            abandon(out, mark);
            out.truncate(start);
            return Ok(());
        }
        close(out, mark);
        Ok(())
    }

    /// Appends a value without its tag; whether it is the default value.
    fn scalar(&mut self, scalar: Scalar, out: &mut Vec<u8>) -> Result<bool> {
        match (scalar, self.json.peek()?) {
            (Scalar::Bool, token @ (Token::True | Token::False)) => {
                self.json.word(token)?;
                out.push((token == Token::True).into());
                Ok(token == Token::False)
            }
            (Scalar::String, Token::String) => {
                let text = self.json.string()?;
                put_varint(out, text.len() as u64);
                out.extend_from_slice(text.as_bytes());
                Ok(text.is_empty())
            }
            (Scalar::Bytes, Token::String) => {
                let bytes = from_base64(&self.json.string()?)?;
                put_varint(out, bytes.len() as u64);
                out.extend_from_slice(&bytes);
                Ok(bytes.is_empty())
            }
            (Scalar::Bool, _) => Err(self.expected("true or false")),
            (Scalar::String, _) => Err(self.expected("a string")),
            (Scalar::Bytes, _) => Err(self.expected("a string of base64")),
            (_, Token::Number) => put_number(scalar, self.json.number()?, out),
            (_, Token::String) => put_number(scalar, &self.json.string()?, out),
            _ => Err(self.expected("a number")),
        }
    }

    fn enumeration(&mut self, info: &EnumInfo, out: &mut Vec<u8>) -> Result<Option<bool>> {
        let number = match self.json.peek()? {
            Token::String => {
                let name = self.json.string()?;
                match info.by_name(&name) {
                    Some(value) => Some(value.number),
                    None if self.options.unknown == Unknown::Ignore => None,
                    None => return Err(no_enum_value(info, &name)),
                }
            }
            Token::Number => {
                let text = self.json.number()?;
                let number = int32(text).ok_or_else(|| no_enum_value(info, text))?;
                match info.by_number(number) {
                    None if info.closed && self.options.unknown == Unknown::Ignore => None,
                    None if info.closed => return Err(no_enum_value(info, text)),
                    _ => Some(number),
                }
            }
            Token::Null if info.null => {
                self.json.word(Token::Null)?;
                Some(0)
            }
            _ => return Err(self.expected("the name of an enum value")),
        };
        Ok(number.map(|number| {
            put_varint(out, i64::from(number) as u64);
            number == 0
        }))
    }

    fn structure(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        if self.json.peek()? != Token::Object {
            return Err(self.expected("an object"));
        }
        self.json.enter();
        let mut first = true;
        let mut seen: HashSet<SmallVec<[u8; 16]>> = HashSet::new();
        while let Some(name) = self.json.key(&mut first)? {
            if !seen.insert(SmallVec::from_slice(name.as_bytes())) {
                return Err(twice().within(&name));
            }
            self.item(out)?;
            put_tag(out, 1, 2);
            let entry = open(out);
            put_bytes(out, 1, name.as_bytes());
            put_tag(out, 2, 2);
            let value = open(out);
            self.value(out, depth).map_err(|e| e.within(&name))?;
            close(out, value);
            close(out, entry);
        }
        Ok(())
    }

    fn list_value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        if self.json.peek()? != Token::List {
            return Err(self.expected("a list"));
        }
        self.json.enter();
        let (mut first, mut index) = (true, 0);
        while self.json.item(&mut first)? {
            self.item(out)?;
            put_tag(out, 1, 2);
            let mark = open(out);
            self.value(out, depth).map_err(|e| e.within_item(index))?;
            close(out, mark);
            index += 1;
        }
        Ok(())
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        match self.json.peek()? {
            Token::Null => {
                self.json.word(Token::Null)?;
                out.extend_from_slice(&[0x08, 0]);
            }
            Token::Number => {
                put_tag(out, 2, 1);
                put_number(Scalar::Double, self.json.number()?, out)?;
            }
            Token::String => put_bytes(out, 3, self.json.string()?.as_bytes()),
            token @ (Token::True | Token::False) => {
                self.json.word(token)?;
                out.extend_from_slice(&[0x20, (token == Token::True).into()]);
            }
            Token::Object => {
                put_tag(out, 5, 2);
                let mark = open(out);
                self.structure(out, deeper(depth)?)?;
                close(out, mark);
            }
            Token::List => {
                put_tag(out, 6, 2);
                let mark = open(out);
                self.list_value(out, deeper(depth)?)?;
                close(out, mark);
            }
        }
        Ok(())
    }
}

pub(super) fn twice() -> Error {
    Error::new("it occurs twice")
}

fn no_enum_value(info: &EnumInfo, text: &str) -> Error {
    Error::new(format!("{:?} is no value of {}", shorten(text), info.full_name))
}

/// Appends the content of a well-known message that is written as text.
fn put_text_form(kind: WellKnown, text: &str, out: &mut Vec<u8>) -> Result<()> {
    let (seconds, nanos) = match kind {
        WellKnown::Timestamp => time::timestamp(text)?,
        WellKnown::Duration => time::duration(text)?,
        _ => {
            for path in time::mask(text)? {
                put_bytes(out, 1, path.as_bytes());
            }
            return Ok(());
        }
    };
    for (number, value) in [(1, seconds), (2, nanos.into())] {
        if value != 0 {
            put_tag(out, number, 0);
            put_varint(out, value as u64);
        }
    }
    Ok(())
}

/// Appends one value of a field, tag and all, that is written as plain text: in a path or a query. Texts that stand for messages are those
/// of the well-known types; `Struct`, `Value` and `ListValue` are written in JSON.
pub(crate) fn value_of_text(
    pool: &Pool,
    field: &FieldInfo,
    text: &str,
    options: &Options,
    out: &mut Vec<u8>,
) -> Result<()> {
    put_text_value(pool, field, field.number, text, options, out)
}

/// Appends the value of a map's entry from plain text.
pub(crate) fn map_value_of_text(
    pool: &Pool,
    field: &FieldInfo,
    text: &str,
    options: &Options,
    out: &mut Vec<u8>,
) -> Result<()> {
    put_text_value(pool, field, 2, text, options, out)
}

/// Appends the key of a map's entry from plain text.
pub(crate) fn put_map_key(key: Scalar, text: &str, out: &mut Vec<u8>) -> Result<()> {
    put_tag(out, 1, key.wire());
    put_text(key, text, out).map(|_| ())
}

fn put_text_value(
    pool: &Pool,
    field: &FieldInfo,
    tag: u32,
    text: &str,
    options: &Options,
    out: &mut Vec<u8>,
) -> Result<()> {
    match field.kind {
        Kind::Scalar(scalar) => {
            put_tag(out, tag, scalar.wire());
            put_text(scalar, text, out)?;
        }
        Kind::Enum(at) => {
            let info = pool.enumeration(at);
            let number = info.by_name(text).map(|value| value.number).or_else(|| int32(text));
            let number = number
                .filter(|number| !info.closed || info.by_number(*number).is_some())
                .or((info.null && text == "null").then_some(0))
                .ok_or_else(|| no_enum_value(info, text))?;
            put_tag(out, tag, 0);
            put_varint(out, i64::from(number) as u64);
        }
        Kind::Message(at) => {
            let info = pool.message(at);
            put_tag(out, tag, if field.delimited { 3 } else { 2 });
            let mark = (!field.delimited).then(|| open(out));
            match info.well_known {
                WellKnown::Timestamp | WellKnown::Duration | WellKnown::FieldMask => {
                    put_text_form(info.well_known, text, out)?;
                }
                WellKnown::Wrapper(scalar) => {
                    let start = out.len();
                    put_tag(out, 1, scalar.wire());
                    if put_text(scalar, text, out)? {
                        out.truncate(start);
                    }
                }
                WellKnown::Struct | WellKnown::Value | WellKnown::ListValue => {
                    let mut reading = Reading::new(pool, options, text.as_bytes())?;
                    reading.message(info, out, options.depth)?;
                    reading.end()?;
                }
                _ => return Err(Error::new(format!("{} cannot be written as a parameter", info.full_name))),
            }
            match mark {
                Some(mark) => close(out, mark),
                None => put_tag(out, tag, 4),
            }
        }
    }
    Ok(())
}
