//! From Protobuf bytes to JSON.
//!
//! The fields of a message may stand in any order, be spread and occur again, so each message is first scanned into entries, which are then
//! grouped by field: the last one of a single value counts, messages are merged by joining their bytes, and of a oneof only what came last.

use super::scalar::put_base64;
use super::text::{deeper, put_double, put_integer, put_single, put_string};
use super::{Int64, Options, any, time, too_large, too_many};
use crate::descriptor::Field;
use crate::error::{Error, Result};
use crate::pool::{EnumInfo, FieldInfo, Kind, MessageInfo, Pool, Presence, Scalar, Shape, WellKnown};
use crate::wire::{Fields, WireValue, fixed32, fixed64, unzigzag, varint};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::HashMap;

/// One message on its way to JSON.
pub(super) struct Writing<'a> {
    pool: &'a Pool,
    options: &'a Options,
    /// Where the JSON begins in the output.
    start: usize,
    items: usize,
}

/// A field as it stands in the bytes. The key is its place in the message, or beyond [`EXTENSION`] its place in the pool.
#[derive(Copy, Clone)]
struct Entry<'b> {
    key: u32,
    value: WireValue<'b>,
}

type Entries<'b> = SmallVec<[Entry<'b>; 16]>;

const EXTENSION: u32 = 0x1_0000;

/// A key of a map.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
enum Key<'b> {
    Text(&'b str),
    Signed(i64),
    Unsigned(u64),
    Bool(bool),
}

impl<'a> Writing<'a> {
    pub fn new(pool: &'a Pool, options: &'a Options, start: usize) -> Self {
        Writing { pool, options, start, items: 0 }
    }

    fn item(&mut self, out: &[u8]) -> Result<()> {
        self.items += 1;
        if self.items > self.options.max_items {
            return Err(too_many(self.options.max_items));
        }
        self.room(out)
    }

    fn room(&self, out: &[u8]) -> Result<()> {
        if out.len() - self.start > self.options.max_output {
            return Err(too_large(self.options.max_output));
        }
        Ok(())
    }

    /// Appends a message.
    pub fn message(
        &mut self,
        info: &MessageInfo,
        bytes: &[u8],
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<()> {
        let depth = deeper(depth)?;
        match info.well_known {
            WellKnown::No | WellKnown::Empty | WellKnown::HttpBody => {
                out.push(b'{');
                self.fields(info, bytes, out, depth, false)?;
                out.push(b'}');
                Ok(())
            }
            WellKnown::Any => self.any(bytes, out, depth),
            WellKnown::Struct => self.structure(bytes, out, depth),
            WellKnown::ListValue => self.list_value(bytes, out, depth),
            WellKnown::Value => self.value(bytes, out, depth),
            WellKnown::Wrapper(scalar) => self.wrapper(scalar, bytes, out),
            WellKnown::FieldMask => put_mask(bytes, out),
            WellKnown::Timestamp | WellKnown::Duration => {
                let (mut seconds, mut nanos) = (0, 0);
                for field in Fields::new(bytes) {
                    match field? {
                        (1, WireValue::Varint(value)) => seconds = value as i64,
                        (2, WireValue::Varint(value)) => nanos = value as i32,
                        _ => {}
                    }
                }
                if info.well_known == WellKnown::Timestamp {
                    time::put_timestamp(out, seconds, nanos)
                } else {
                    time::put_duration(out, seconds, nanos)
                }
            }
        }
    }

    /// The known fields of a message, grouped by field.
    fn scan<'b>(&mut self, info: &MessageInfo, bytes: &'b [u8], out: &[u8]) -> Result<Entries<'b>> {
        let pool = self.pool;
        let mut entries = Entries::new();
        // For each oneof: the member that counts, and the entry from which on it does.
        let mut oneofs: SmallVec<[(u32, usize); 4]> = SmallVec::from_elem((u32::MAX, 0), info.oneofs.len());
        let (mut in_order, mut overruled, mut last) = (true, false, 0);
        for field in Fields::new(bytes) {
            let (number, value) = field?;
            let (key, field) = match info.by_number(number) {
                Some(place) => (u32::from(place), &info.fields[usize::from(place)]),
                None => match info.extensions.get(&number) {
                    Some(at) => (EXTENSION + at, &pool.extensions[*at as usize].field),
                    None => continue,
                },
            };
            if !fits(field, &value) {
                continue;
            }
            if field.closed_enum
                && field.shape == Shape::One
                && let (Kind::Enum(at), WireValue::Varint(value)) = (field.kind, value)
                && pool.enumeration(at).by_number(value as i32).is_none()
            {
                continue;
            }
            if let Some(slot) = field.oneof.and_then(|oneof| oneofs.get_mut(usize::from(oneof)))
                && slot.0 != key
            {
                overruled |= slot.0 != u32::MAX;
                *slot = (key, entries.len());
            }
            self.item(out)?;
            in_order &= last <= key;
            last = key;
            entries.push(Entry { key, value });
        }
        if overruled {
            let mut at = 0;
            entries.retain(|entry| {
                let field = if entry.key < EXTENSION { info.fields.get(entry.key as usize) } else { None };
                let from =
                    field.and_then(|field| field.oneof).map_or(0, |oneof| oneofs[usize::from(oneof)].1);
                at += 1;
                at > from
            });
        }
        if !in_order {
            entries.sort_by_key(|entry| entry.key);
        }
        Ok(entries)
    }

    /// Appends the members of an object. `comma`: whether one stands there already.
    fn fields(
        &mut self,
        info: &MessageInfo,
        bytes: &[u8],
        out: &mut Vec<u8>,
        depth: usize,
        mut comma: bool,
    ) -> Result<()> {
        let pool = self.pool;
        let entries = self.scan(info, bytes, out)?;
        let mut rest = &entries[..];
        let mut next = 0;
        while let Some(first) = rest.first() {
            let len = rest.iter().take_while(|entry| entry.key == first.key).count();
            let (group, behind) = rest.split_at(len);
            rest = behind;
            let field = match first.key.checked_sub(EXTENSION) {
                Some(at) => &pool.extensions[at as usize].field,
                None => &info.fields[first.key as usize],
            };
            if self.options.show_defaults {
                let until = (first.key as usize).min(info.fields.len());
                self.defaults(info, next..until, out, &mut comma)?;
                next = until + 1;
            }
            let before = out.len();
            self.name(field, comma, out);
            let written = self.field(field, group, out, depth).map_err(|e| e.within(&field.json_name))?;
            if written {
                comma = true;
            } else {
                out.truncate(before);
            }
            self.room(out)?;
        }
        if self.options.show_defaults {
            self.defaults(info, next..info.fields.len(), out, &mut comma)?;
        }
        Ok(())
    }

    fn name(&self, field: &FieldInfo, comma: bool, out: &mut Vec<u8>) {
        if comma {
            out.push(b',');
        }
        out.extend_from_slice(if self.options.proto_names { &field.proto_key } else { &field.json_key });
    }

    /// Appends absent fields whose absence cannot be told from their default value.
    fn defaults(
        &mut self,
        info: &MessageInfo,
        places: std::ops::Range<usize>,
        out: &mut Vec<u8>,
        comma: &mut bool,
    ) -> Result<()> {
        for field in info.fields.get(places).unwrap_or_default() {
            if field.presence == Presence::Implicit {
                self.item(out)?;
                self.name(field, *comma, out);
                self.default(field, out);
                *comma = true;
            }
        }
        Ok(())
    }

    /// Appends what an absent field stands for.
    fn default(&self, field: &FieldInfo, out: &mut Vec<u8>) {
        match (field.shape, field.kind) {
            (Shape::List, _) => out.extend_from_slice(b"[]"),
            (Shape::Map(_), _) => out.extend_from_slice(b"{}"),
            (Shape::One, Kind::Scalar(scalar)) => self.zero(scalar, out),
            (Shape::One, Kind::Enum(at)) => {
                let info = self.pool.enumeration(at);
                self.enumeration(info, info.default(), out);
            }
            (Shape::One, Kind::Message(at)) => {
                let plain = self.pool.message(at).well_known.is_plain();
                out.extend_from_slice(if plain { b"{}" } else { b"null" });
            }
        }
    }

    fn zero(&self, scalar: Scalar, out: &mut Vec<u8>) {
        let text: &[u8] = match scalar {
            Scalar::String | Scalar::Bytes => b"\"\"",
            Scalar::Bool => b"false",
            Scalar::Int64 | Scalar::Uint64 | Scalar::Sint64 | Scalar::Fixed64 | Scalar::Sfixed64
                if self.options.int64 == Int64::String =>
            {
                b"\"0\""
            }
            _ => b"0",
        };
        out.extend_from_slice(text);
    }

    /// Appends the value of a field from its entries. False if there is nothing to be written after all.
    fn field(
        &mut self,
        field: &FieldInfo,
        group: &[Entry<'_>],
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<bool> {
        match field.shape {
            Shape::List => self.list(field, group, out, depth),
            Shape::Map(key) => self.map(field, key, group, out, depth),
            Shape::One => {
                let Some(last) = group.last() else { return Ok(false) };
                if let Kind::Message(at) = field.kind {
                    let bytes = merged(group.iter().map(|entry| entry.value));
                    self.message(self.pool.message(at), &bytes, out, depth)?;
                    return Ok(true);
                }
                if field.presence == Presence::Implicit
                    && (is_default(field.kind, last.value) || self.is_null(field.kind))
                    && !self.options.show_defaults
                {
                    return Ok(false);
                }
                self.single(field.kind, last.value, out)?;
                Ok(true)
            }
        }
    }

    /// Whether it is `NullValue`, whose every number is written as null.
    fn is_null(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Enum(at) if self.pool.enumeration(at).null)
    }

    /// Appends a number, text, truth value, byte string or enum value.
    fn single(&self, kind: Kind, value: WireValue<'_>, out: &mut Vec<u8>) -> Result<()> {
        match (kind, value) {
            (Kind::Enum(at), WireValue::Varint(value)) => {
                self.enumeration(self.pool.enumeration(at), value as i32, out);
                Ok(())
            }
            (Kind::Scalar(scalar), value) => self.scalar(scalar, value, out),
            _ => Err(mismatch()),
        }
    }

    fn enumeration(&self, info: &EnumInfo, number: i32, out: &mut Vec<u8>) {
        if info.null {
            out.extend_from_slice(b"null");
            return;
        }
        match info.by_number(number) {
            Some(value) if !self.options.enum_numbers => out.extend_from_slice(&value.json),
            _ => put_integer(out, number),
        }
    }

    fn scalar(&self, scalar: Scalar, value: WireValue<'_>, out: &mut Vec<u8>) -> Result<()> {
        match (scalar, value) {
            (Scalar::Int32, WireValue::Varint(value)) => put_integer(out, value as i32),
            (Scalar::Uint32, WireValue::Varint(value)) => put_integer(out, value as u32),
            (Scalar::Sint32, WireValue::Varint(value)) => {
                put_integer(out, unzigzag(u64::from(value as u32)) as i32)
            }
            (Scalar::Int64, WireValue::Varint(value)) => self.long(value as i64, out),
            (Scalar::Uint64, WireValue::Varint(value)) => self.long(value, out),
            (Scalar::Sint64, WireValue::Varint(value)) => self.long(unzigzag(value), out),
            (Scalar::Bool, WireValue::Varint(value)) => {
                out.extend_from_slice(if value != 0 { b"true" } else { b"false" });
            }
            (Scalar::Fixed32, WireValue::Fixed32(value)) => put_integer(out, value),
            (Scalar::Sfixed32, WireValue::Fixed32(value)) => put_integer(out, value as i32),
            (Scalar::Float, WireValue::Fixed32(value)) => put_single(out, f32::from_bits(value)),
            (Scalar::Fixed64, WireValue::Fixed64(value)) => self.long(value, out),
            (Scalar::Sfixed64, WireValue::Fixed64(value)) => self.long(value as i64, out),
            (Scalar::Double, WireValue::Fixed64(value)) => put_double(out, f64::from_bits(value)),
            (Scalar::String, WireValue::Bytes(bytes)) => put_string(out, utf8(bytes)?),
            (Scalar::Bytes, WireValue::Bytes(bytes)) => put_base64(out, bytes),
            _ => return Err(mismatch()),
        }
        Ok(())
    }

    fn long(&self, value: impl itoa::Integer, out: &mut Vec<u8>) {
        let quote = self.options.int64 == Int64::String;
        if quote {
            out.push(b'"');
        }
        put_integer(out, value);
        if quote {
            out.push(b'"');
        }
    }

    fn list(
        &mut self,
        field: &FieldInfo,
        group: &[Entry<'_>],
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<bool> {
        out.push(b'[');
        let start = out.len();
        for (index, entry) in group.iter().enumerate() {
            match (field.kind, entry.value) {
                (Kind::Message(at), WireValue::Bytes(bytes) | WireValue::Group(bytes)) => {
                    comma_from(start, out);
                    self.message(self.pool.message(at), bytes, out, depth)
                        .map_err(|e| e.within_item(index))?;
                }
                (kind, WireValue::Bytes(mut packed)) if packable(kind) => {
                    while !packed.is_empty() {
                        self.item(out)?;
                        let value = unpack(kind, &mut packed)?;
                        self.list_item(field, value, start, out)?;
                    }
                }
                (_, value) => self.list_item(field, value, start, out).map_err(|e| e.within_item(index))?,
            }
        }
        let empty = out.len() == start;
        out.push(b']');
        Ok(!empty || self.options.show_defaults)
    }

    fn list_item(
        &self,
        field: &FieldInfo,
        value: WireValue<'_>,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if self.is_unknown_value(field, value) {
            return Ok(());
        }
        comma_from(start, out);
        self.single(field.kind, value, out)?;
        self.room(out)
    }

    /// Whether it is a number that a closed enum does not have: such a value counts as an unknown field.
    fn is_unknown_value(&self, field: &FieldInfo, value: WireValue<'_>) -> bool {
        match (field.kind, value) {
            (Kind::Enum(at), WireValue::Varint(value)) if field.closed_enum => {
                self.pool.enumeration(at).by_number(value as i32).is_none()
            }
            _ => false,
        }
    }

    fn map(
        &mut self,
        field: &FieldInfo,
        key: Scalar,
        group: &[Entry<'_>],
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<bool> {
        let depth = deeper(depth)?;
        let mut entries = Vec::with_capacity(group.len());
        for entry in group {
            let WireValue::Bytes(bytes) = entry.value else { continue };
            let (name, value) = split_entry(field.kind, key, bytes)?;
            let unknown = matches!(value, MapValue::Single(value) if self.is_unknown_value(field, value));
            if !unknown {
                entries.push((name, value));
            }
        }
        // A key that occurs again counts once, with its last value.
        let last = last_of(entries.iter().map(|(name, _)| *name));
        out.push(b'{');
        let start = out.len();
        for (at, (name, value)) in entries.iter().enumerate() {
            if last.as_ref().is_some_and(|last| last.get(name) != Some(&at)) {
                continue;
            }
            comma_from(start, out);
            let from = out.len();
            put_key(*name, out);
            let to = out.len();
            out.push(b':');
            let result = match (field.kind, value) {
                (Kind::Message(at), MapValue::Message(bytes)) => {
                    self.message(self.pool.message(at), bytes, out, depth)
                }
                (Kind::Message(at), _) => self.message(self.pool.message(at), &[], out, depth),
                (kind, MapValue::Single(value)) => self.single(kind, *value, out),
                (Kind::Scalar(scalar), _) => {
                    self.zero(scalar, out);
                    Ok(())
                }
                (Kind::Enum(at), _) => {
                    let info = self.pool.enumeration(at);
                    self.enumeration(info, info.default(), out);
                    Ok(())
                }
            };
            result.map_err(|e| {
                let name = out.get(from + 1..to.saturating_sub(1)).unwrap_or_default();
                e.within(&String::from_utf8_lossy(name))
            })?;
        }
        let empty = out.len() == start;
        out.push(b'}');
        Ok(!empty || self.options.show_defaults)
    }

    fn any(&mut self, bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Result<()> {
        let (mut url, mut value): (&[u8], &[u8]) = (&[], &[]);
        for field in Fields::new(bytes) {
            match field? {
                (1, WireValue::Bytes(bytes)) => url = bytes,
                (2, WireValue::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        if url.is_empty() && value.is_empty() {
            out.extend_from_slice(b"{}");
            return Ok(());
        }
        let url = utf8(url)?;
        let info = match any::resolve(self.pool, url) {
            Ok(info) => info,
            Err(_) if self.options.opaque_any => {
                out.extend_from_slice(b"{\"@type\":");
                put_string(out, url);
                out.extend_from_slice(b",\"value\":");
                put_base64(out, value);
                out.push(b'}');
                return Ok(());
            }
            Err(error) => return Err(error.within("@type")),
        };
        out.extend_from_slice(b"{\"@type\":");
        put_string(out, url);
        if info.well_known.is_plain() {
            self.fields(info, value, out, deeper(depth)?, true)?;
        } else {
            out.extend_from_slice(b",\"value\":");
            self.message(info, value, out, depth).map_err(|e| e.within("value"))?;
        }
        out.push(b'}');
        Ok(())
    }

    fn wrapper(&self, scalar: Scalar, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut last = None;
        for field in Fields::new(bytes) {
            if let (1, value) = field?
                && wire_of(value) == scalar.wire()
            {
                last = Some(value);
            }
        }
        match last {
            Some(value) => self.scalar(scalar, value, out),
            None => {
                self.zero(scalar, out);
                Ok(())
            }
        }
    }

    fn structure(&mut self, bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Result<()> {
        let mut entries = Vec::new();
        for field in Fields::new(bytes) {
            if let (1, WireValue::Bytes(entry)) = field? {
                self.item(out)?;
                // Of the entry only its form counts here: a text and a message.
                let (key, value) = split_entry(Kind::Message(0), Scalar::String, entry)?;
                entries.push((key, value));
            }
        }
        let last = last_of(entries.iter().map(|(key, _)| *key));
        out.push(b'{');
        let start = out.len();
        for (at, (key, value)) in entries.iter().enumerate() {
            if last.as_ref().is_some_and(|last| last.get(key) != Some(&at)) {
                continue;
            }
            comma_from(start, out);
            put_key(*key, out);
            out.push(b':');
            let bytes: &[u8] = if let MapValue::Message(bytes) = value { bytes } else { &[] };
            self.value(bytes, out, depth)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn list_value(&mut self, bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Result<()> {
        out.push(b'[');
        let start = out.len();
        for field in Fields::new(bytes) {
            if let (1, WireValue::Bytes(value)) = field? {
                self.item(out)?;
                comma_from(start, out);
                self.value(value, out, depth)?;
            }
        }
        out.push(b']');
        Ok(())
    }

    fn value(&mut self, bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Result<()> {
        let mut parts: SmallVec<[WireValue<'_>; 2]> = SmallVec::new();
        let mut kind = 0;
        for field in Fields::new(bytes) {
            let (number, value) = field?;
            let wire = match number {
                1 | 4 => 0,
                2 => 1,
                3 | 5 | 6 => 2,
                _ => continue,
            };
            if wire_of(value) != wire {
                continue;
            }
            if number != kind || number < 5 {
                parts.clear();
            }
            kind = number;
            parts.push(value);
        }
        match (kind, parts.last()) {
            (2, Some(WireValue::Fixed64(bits))) => {
                let number = f64::from_bits(*bits);
                if !number.is_finite() {
                    return Err(Error::new("a google.protobuf.Value holds a number that JSON has not"));
                }
                put_double(out, number);
            }
            (3, Some(WireValue::Bytes(text))) => put_string(out, utf8(text)?),
            (4, Some(WireValue::Varint(value))) => {
                out.extend_from_slice(if *value != 0 { b"true" } else { b"false" })
            }
            (5, Some(_)) => self.structure(&merged(parts.iter().copied()), out, deeper(depth)?)?,
            (6, Some(_)) => self.list_value(&merged(parts.iter().copied()), out, deeper(depth)?)?,
            _ => out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    /// Appends the value of one field of a message; its default value if it is absent.
    pub fn only_field(
        &mut self,
        field: &Field<'_>,
        bytes: &[u8],
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<()> {
        let mut group = Entries::new();
        for item in Fields::new(bytes) {
            let (number, value) = item?;
            if number == field.info.number && fits(field.info, &value) {
                self.item(out)?;
                group.push(Entry { key: 0, value });
            }
        }
        let before = out.len();
        let written = self.field(field.info, &group, out, depth).map_err(|e| e.within(field.json_name()))?;
        if !written {
            out.truncate(before);
            self.default(field.info, out);
        }
        Ok(())
    }
}

fn put_mask(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut text = String::new();
    for field in Fields::new(bytes) {
        if let (1, WireValue::Bytes(path)) = field? {
            if !text.is_empty() {
                text.push(',');
            }
            time::put_camel(&mut text, utf8(path)?)?;
        }
    }
    put_string(out, &text);
    Ok(())
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::new("the text is not UTF-8"))
}

fn mismatch() -> Error {
    Error::new("the Protobuf bytes do not have the type of the field")
}

fn wire_of(value: WireValue<'_>) -> u8 {
    match value {
        WireValue::Varint(_) => 0,
        WireValue::Fixed64(_) => 1,
        WireValue::Bytes(_) => 2,
        WireValue::Group(_) => 3,
        WireValue::Fixed32(_) => 5,
    }
}

fn packable(kind: Kind) -> bool {
    match kind {
        Kind::Scalar(scalar) => scalar.packable(),
        Kind::Enum(_) => true,
        Kind::Message(_) => false,
    }
}

/// Whether a value on the wire can be one of the field; others count as unknown fields.
fn fits(field: &FieldInfo, value: &WireValue<'_>) -> bool {
    let wire = wire_of(*value);
    match (field.shape, field.kind) {
        (Shape::Map(_), _) => wire == 2,
        (_, Kind::Message(_)) => wire == if field.delimited { 3 } else { 2 },
        (Shape::List, kind) if wire == 2 && packable(kind) => true,
        (_, Kind::Enum(_)) => wire == 0,
        (_, Kind::Scalar(scalar)) => wire == scalar.wire(),
    }
}

fn is_default(kind: Kind, value: WireValue<'_>) -> bool {
    match value {
        WireValue::Varint(value) => match kind {
            Kind::Scalar(Scalar::Int64 | Scalar::Uint64 | Scalar::Sint64 | Scalar::Bool) => value == 0,
            _ => value as u32 == 0,
        },
        WireValue::Fixed64(value) => value == 0,
        WireValue::Fixed32(value) => value == 0,
        WireValue::Bytes(bytes) | WireValue::Group(bytes) => bytes.is_empty(),
    }
}

fn unpack<'b>(kind: Kind, packed: &mut &'b [u8]) -> Result<WireValue<'b>> {
    let wire = if let Kind::Scalar(scalar) = kind { scalar.wire() } else { 0 };
    Ok(match wire {
        1 => WireValue::Fixed64(fixed64(packed)?),
        5 => WireValue::Fixed32(fixed32(packed)?),
        _ => WireValue::Varint(varint(packed)?),
    })
}

/// The bytes of a message that may stand in several pieces.
fn merged<'b>(mut pieces: impl Iterator<Item = WireValue<'b>>) -> Cow<'b, [u8]> {
    let content = |value| match value {
        WireValue::Bytes(bytes) | WireValue::Group(bytes) => bytes,
        _ => &[][..],
    };
    let first = pieces.next().map(content).unwrap_or_default();
    let Some(second) = pieces.next() else { return Cow::Borrowed(first) };
    let mut all = [first, content(second)].concat();
    pieces.for_each(|piece| all.extend_from_slice(content(piece)));
    Cow::Owned(all)
}

/// The value of a map's entry.
enum MapValue<'b> {
    Absent,
    Single(WireValue<'b>),
    Message(Cow<'b, [u8]>),
}

fn split_entry<'b>(kind: Kind, key: Scalar, bytes: &'b [u8]) -> Result<(Key<'b>, MapValue<'b>)> {
    let mut name = match key {
        Scalar::String => Key::Text(""),
        Scalar::Bool => Key::Bool(false),
        Scalar::Uint32 | Scalar::Uint64 | Scalar::Fixed32 | Scalar::Fixed64 => Key::Unsigned(0),
        _ => Key::Signed(0),
    };
    let mut value = MapValue::Absent;
    for field in Fields::new(bytes) {
        let (number, content) = field?;
        match number {
            1 => name = key_of(key, content)?.unwrap_or(name),
            2 => match (kind, content) {
                (Kind::Message(_), WireValue::Bytes(piece)) => {
                    value = MapValue::Message(match value {
                        MapValue::Message(Cow::Owned(mut before)) => {
                            before.extend_from_slice(piece);
                            Cow::Owned(before)
                        }
                        MapValue::Message(Cow::Borrowed(before)) => Cow::Owned([before, piece].concat()),
                        _ => Cow::Borrowed(piece),
                    });
                }
                (Kind::Scalar(scalar), content) if wire_of(content) == scalar.wire() => {
                    value = MapValue::Single(content)
                }
                (Kind::Enum(_), WireValue::Varint(_)) => value = MapValue::Single(content),
                _ => {}
            },
            _ => {}
        }
    }
    Ok((name, value))
}

fn key_of<'b>(key: Scalar, value: WireValue<'b>) -> Result<Option<Key<'b>>> {
    Ok(Some(match (key, value) {
        (Scalar::String, WireValue::Bytes(bytes)) => {
            Key::Text(std::str::from_utf8(bytes).map_err(|_| Error::new("the key of a map is not UTF-8"))?)
        }
        (Scalar::Bool, WireValue::Varint(value)) => Key::Bool(value != 0),
        (Scalar::Int32, WireValue::Varint(value)) => Key::Signed((value as i32).into()),
        (Scalar::Int64, WireValue::Varint(value)) => Key::Signed(value as i64),
        (Scalar::Uint32, WireValue::Varint(value)) => Key::Unsigned((value as u32).into()),
        (Scalar::Uint64, WireValue::Varint(value)) => Key::Unsigned(value),
        (Scalar::Sint32, WireValue::Varint(value)) => Key::Signed(unzigzag((value as u32).into())),
        (Scalar::Sint64, WireValue::Varint(value)) => Key::Signed(unzigzag(value)),
        (Scalar::Fixed32, WireValue::Fixed32(value)) => Key::Unsigned(value.into()),
        (Scalar::Sfixed32, WireValue::Fixed32(value)) => Key::Signed((value as i32).into()),
        (Scalar::Fixed64, WireValue::Fixed64(value)) => Key::Unsigned(value),
        (Scalar::Sfixed64, WireValue::Fixed64(value)) => Key::Signed(value as i64),
        _ => return Ok(None),
    }))
}

fn put_key(key: Key<'_>, out: &mut Vec<u8>) {
    if let Key::Text(text) = key {
        return put_string(out, text);
    }
    out.push(b'"');
    match key {
        Key::Text(_) => {}
        Key::Signed(value) => put_integer(out, value),
        Key::Unsigned(value) => put_integer(out, value),
        Key::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
    }
    out.push(b'"');
}

/// Where each key occurs last; none if there is at most one.
fn last_of<'b>(keys: impl ExactSizeIterator<Item = Key<'b>>) -> Option<HashMap<Key<'b>, usize>> {
    (keys.len() > 1).then(|| keys.enumerate().map(|(at, key)| (key, at)).collect())
}

fn comma_from(start: usize, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b',');
    }
}
