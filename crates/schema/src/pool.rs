//! The tables behind [`Message`](crate::Message) and [`Enum`](crate::Enum): what the codecs need of every message, field and enum, looked up
//! by name and number without allocation. Built once for each snapshot from linked descriptors.

use crate::error::{Error, Result};
use crate::json::text::quoted;
use buffa::Message as _;
use buffa::editions::{EnumType, FieldPresence};
use buffa_descriptor::generated::descriptor::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, SourceCodeInfo,
};
use buffa_descriptor::{
    DescriptorPool, EnumIndex, FieldDescriptor, FieldKind, MessageIndex, ScalarType, SingularKind,
};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The type of one value. Messages and enums are places in the tables of the pool.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar(Scalar),
    Enum(u32),
    Message(u32),
}

/// A type of a single number, text, truth value or byte string.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// 64-bit floating point.
    Double,
    /// 32-bit floating point.
    Float,
    /// 32 bits, varint; negative numbers take ten bytes.
    Int32,
    /// 64 bits, varint.
    Int64,
    /// 32 bits without sign, varint.
    Uint32,
    /// 64 bits without sign, varint.
    Uint64,
    /// 32 bits, zigzag varint.
    Sint32,
    /// 64 bits, zigzag varint.
    Sint64,
    /// 32 bits without sign, four bytes.
    Fixed32,
    /// 64 bits without sign, eight bytes.
    Fixed64,
    /// 32 bits, four bytes.
    Sfixed32,
    /// 64 bits, eight bytes.
    Sfixed64,
    /// True or false.
    Bool,
    /// UTF-8 text.
    String,
    /// Any bytes.
    Bytes,
}

/// How often a field may occur.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    List,
    Map(Scalar),
}

/// Whether an absent field can be told from one that has the default value.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It can: messages, `optional` fields, members of a oneof.
    Explicit,
    /// It cannot: plain fields of proto3. Also lists and maps.
    Implicit,
    /// It must be there: `required` of proto2.
    Required,
}

/// Messages whose JSON form is not an object of their fields.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum WellKnown {
    No,
    Any,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    Wrapper(Scalar),
    Empty,
    HttpBody,
}

impl WellKnown {
    fn of(name: &str) -> Self {
        let Some(short) = name.strip_prefix("google.protobuf.") else {
            return if name == "google.api.HttpBody" { WellKnown::HttpBody } else { WellKnown::No };
        };
        match short {
            "Any" => WellKnown::Any,
            "Timestamp" => WellKnown::Timestamp,
            "Duration" => WellKnown::Duration,
            "FieldMask" => WellKnown::FieldMask,
            "Struct" => WellKnown::Struct,
            "Value" => WellKnown::Value,
            "ListValue" => WellKnown::ListValue,
            "Empty" => WellKnown::Empty,
            "DoubleValue" => WellKnown::Wrapper(Scalar::Double),
            "FloatValue" => WellKnown::Wrapper(Scalar::Float),
            "Int64Value" => WellKnown::Wrapper(Scalar::Int64),
            "UInt64Value" => WellKnown::Wrapper(Scalar::Uint64),
            "Int32Value" => WellKnown::Wrapper(Scalar::Int32),
            "UInt32Value" => WellKnown::Wrapper(Scalar::Uint32),
            "BoolValue" => WellKnown::Wrapper(Scalar::Bool),
            "StringValue" => WellKnown::Wrapper(Scalar::String),
            "BytesValue" => WellKnown::Wrapper(Scalar::Bytes),
            _ => WellKnown::No,
        }
    }

    /// Whether the JSON form is an object of the message's own fields.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, WellKnown::No | WellKnown::Empty | WellKnown::HttpBody)
    }
}

#[derive(Debug)]
pub(crate) struct FieldInfo {
    pub name: String,
    pub json_name: String,
    /// `"jsonName":`, as it is written.
    pub json_key: Box<[u8]>,
    /// `"proto_name":`, as it is written.
    pub proto_key: Box<[u8]>,
    pub number: u32,
    pub kind: Kind,
    pub shape: Shape,
    pub presence: Presence,
    pub packed: bool,
    pub delimited: bool,
    /// The real oneof it belongs to; not those that `optional` makes.
    pub oneof: Option<u16>,
    pub closed_enum: bool,
    pub deprecated: bool,
    pub default: Option<String>,
    pub comment: String,
    pub options: Bytes,
}

#[derive(Debug)]
pub(crate) struct OneofInfo {
    pub name: String,
    pub fields: Vec<u16>,
    pub comment: String,
}

#[derive(Debug)]
pub(crate) struct MessageInfo {
    pub raw: MessageIndex,
    pub full_name: String,
    pub file: u32,
    pub well_known: WellKnown,
    pub map_entry: bool,
    pub deprecated: bool,
    pub comment: String,
    pub options: Bytes,
    pub fields: Vec<FieldInfo>,
    /// Real ones only.
    pub oneofs: Vec<OneofInfo>,
    /// JSON names and proto names.
    by_name: Map<String, u16>,
    /// Field number to place, for small numbers; 0 is none, else place + 1.
    dense: Vec<u16>,
    /// The others, sorted.
    sparse: Vec<(u32, u16)>,
    /// Extensions of this message: number to place in the pool's table.
    pub extensions: Map<u32, u32>,
    pub required: bool,
}

const DENSE: u32 = 128;

impl MessageInfo {
    /// The place of a field by its number.
    pub fn by_number(&self, number: u32) -> Option<u16> {
        if number < DENSE {
            return self.dense.get(number as usize).and_then(|place| place.checked_sub(1));
        }
        self.sparse.binary_search_by_key(&number, |(n, _)| *n).ok().map(|at| self.sparse[at].1)
    }

    /// The place of a field by its JSON or proto name.
    pub fn by_name(&self, name: &str) -> Option<u16> {
        self.by_name.get(name).copied()
    }
}

#[derive(Debug)]
pub(crate) struct ExtensionInfo {
    pub full_name: String,
    pub extendee: u32,
    pub field: FieldInfo,
    pub file: u32,
}

#[derive(Debug)]
pub(crate) struct ValueInfo {
    pub name: String,
    /// `"NAME"`, as it is written.
    pub json: Box<[u8]>,
    pub number: i32,
    pub deprecated: bool,
    pub comment: String,
    pub options: Bytes,
}

#[derive(Debug)]
pub(crate) struct EnumInfo {
    pub full_name: String,
    pub file: u32,
    pub closed: bool,
    /// google.protobuf.NullValue, whose JSON form is null.
    pub null: bool,
    pub deprecated: bool,
    pub comment: String,
    pub options: Bytes,
    pub values: Vec<ValueInfo>,
    by_name: Map<String, u32>,
    by_number: Map<i32, u32>,
}

impl EnumInfo {
    pub fn by_number(&self, number: i32) -> Option<&ValueInfo> {
        self.by_number.get(&number).and_then(|at| self.values.get(*at as usize))
    }

    pub fn by_name(&self, name: &str) -> Option<&ValueInfo> {
        self.by_name.get(name).and_then(|at| self.values.get(*at as usize))
    }

    /// The number that stands for absence: the first declared one.
    pub fn default(&self) -> i32 {
        self.values.first().map_or(0, |value| value.number)
    }
}

#[derive(Debug)]
pub(crate) struct Pool {
    pub raw: Arc<DescriptorPool>,
    pub messages: Vec<MessageInfo>,
    pub enums: Vec<EnumInfo>,
    pub extensions: Vec<ExtensionInfo>,
    message_names: Map<String, u32>,
    enum_names: Map<String, u32>,
    extension_names: Map<String, u32>,
}

impl Pool {
    pub fn message(&self, index: u32) -> &MessageInfo {
        &self.messages[index as usize]
    }

    pub fn enumeration(&self, index: u32) -> &EnumInfo {
        &self.enums[index as usize]
    }

    pub fn message_named(&self, name: &str) -> Option<u32> {
        self.message_names.get(name).copied()
    }

    pub fn enum_named(&self, name: &str) -> Option<u32> {
        self.enum_names.get(name).copied()
    }

    pub fn extension_named(&self, name: &str) -> Option<u32> {
        self.extension_names.get(name).copied()
    }

    /// Makes the tables. The descriptors are linked, so what they name is there.
    pub fn new(raw: DescriptorPool) -> Result<Self> {
        let mut places = Places::default();
        for (at, message) in raw.messages().iter().enumerate() {
            let index = raw.message_index(message.full_name()).ok_or_else(inconsistent)?;
            places.messages.insert(index, at as u32);
            places.message_names.insert(message.full_name().to_owned(), at as u32);
        }
        for (at, info) in raw.enums().iter().enumerate() {
            let index = raw.enum_index(info.full_name()).ok_or_else(inconsistent)?;
            places.enums.insert(index, at as u32);
            places.enum_names.insert(info.full_name().to_owned(), at as u32);
        }
        let mut build = Build {
            raw: &raw,
            places,
            messages: raw.messages().iter().map(|_| None).collect(),
            enums: raw.enums().iter().map(|_| None).collect(),
            extensions: Vec::new(),
            file: 0,
        };
        for (at, file) in raw.files().iter().enumerate() {
            build.file = at as u32;
            build.file(file)?;
        }
        let mut messages = build.messages.into_iter().collect::<Option<Vec<_>>>().ok_or_else(inconsistent)?;
        let enums = build.enums.into_iter().collect::<Option<Vec<_>>>().ok_or_else(inconsistent)?;
        let mut extension_names = Map::default();
        for (at, extension) in build.extensions.iter().enumerate() {
            extension_names.insert(extension.full_name.clone(), at as u32);
            messages[extension.extendee as usize].extensions.insert(extension.field.number, at as u32);
        }
        let Places { message_names, enum_names, .. } = build.places;
        let extensions = build.extensions;
        Ok(Pool {
            raw: Arc::new(raw),
            messages,
            enums,
            extensions,
            message_names,
            enum_names,
            extension_names,
        })
    }
}

fn inconsistent() -> Error {
    Error::new("the descriptors contradict each other")
}

#[derive(Default)]
struct Places {
    messages: Map<MessageIndex, u32>,
    enums: Map<EnumIndex, u32>,
    message_names: Map<String, u32>,
    enum_names: Map<String, u32>,
}

struct Build<'a> {
    raw: &'a DescriptorPool,
    places: Places,
    messages: Vec<Option<MessageInfo>>,
    enums: Vec<Option<EnumInfo>>,
    extensions: Vec<ExtensionInfo>,
    file: u32,
}

/// What is written about each declaration, by its path in the file.
#[derive(Default)]
pub(crate) struct Comments<'a>(Map<&'a [i32], &'a str>);

impl<'a> Comments<'a> {
    pub fn new(info: Option<&'a SourceCodeInfo>) -> Self {
        let mut all = Map::default();
        for location in info.map(|info| info.location.as_slice()).unwrap_or_default() {
            let text = location.leading_comments.as_deref().or(location.trailing_comments.as_deref());
            if let Some(text) = text {
                all.insert(location.path.as_slice(), text);
            }
        }
        Comments(all)
    }

    /// The comment with the blank after `//` taken off each line, empty if there is none.
    pub fn at(&self, path: &[i32]) -> String {
        let Some(text) = self.0.get(path) else { return String::new() };
        let lines: Vec<&str> =
            text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
        lines.join("\n").trim().to_owned()
    }
}

pub(crate) fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

fn key(name: &str) -> Box<[u8]> {
    let mut out = quoted(name);
    out.push(b':');
    out.into_boxed_slice()
}

impl Build<'_> {
    fn file(&mut self, file: &FileDescriptorProto) -> Result<()> {
        let comments = Comments::new(file.source_code_info.as_option());
        let package = file.package.as_deref().unwrap_or_default();
        for (i, message) in file.message_type.iter().enumerate() {
            self.message(package, message, &mut vec![4, i as i32], &comments)?;
        }
        for (i, info) in file.enum_type.iter().enumerate() {
            self.enumeration(package, info, &mut vec![5, i as i32], &comments)?;
        }
        for (i, extension) in file.extension.iter().enumerate() {
            self.extension(package, extension, &[7, i as i32], &comments)?;
        }
        Ok(())
    }

    // As deep as messages are nested, which the length of a full name bounds (512 bytes).
    fn message(
        &mut self,
        scope: &str,
        proto: &DescriptorProto,
        path: &mut Vec<i32>,
        comments: &Comments<'_>,
    ) -> Result<()> {
        let full_name = join(scope, proto.name.as_deref().unwrap_or_default());
        let at = *self.places.message_names.get(&full_name).ok_or_else(inconsistent)?;
        let raw_index = self.raw.message_index(&full_name).ok_or_else(inconsistent)?;
        let raw = self.raw.message(raw_index);
        let mut info = MessageInfo {
            raw: raw_index,
            file: self.file,
            well_known: WellKnown::of(&full_name),
            map_entry: raw.options().is_some_and(|o| o.map_entry.unwrap_or_default()),
            deprecated: raw.options().is_some_and(|o| o.deprecated.unwrap_or_default()),
            comment: comments.at(path),
            options: raw.options().map(|o| o.encode_to_vec().into()).unwrap_or_default(),
            fields: Vec::with_capacity(raw.fields().len()),
            oneofs: Vec::new(),
            by_name: Map::default(),
            dense: Vec::new(),
            sparse: Vec::new(),
            extensions: Map::default(),
            required: false,
            full_name: full_name.clone(),
        };
        // Oneofs that stand for `optional` are left out, so the others move up.
        let mut oneof_places = Vec::with_capacity(raw.oneofs().len());
        for (i, oneof) in raw.oneofs().iter().enumerate() {
            let synthetic = oneof.is_synthetic() || oneof.field_indices().is_empty();
            oneof_places.push((!synthetic).then_some(info.oneofs.len() as u16));
            if !synthetic {
                let comment = within(path, &[8, i as i32], |path| comments.at(path));
                info.oneofs.push(OneofInfo {
                    name: oneof.name().to_owned(),
                    fields: oneof.field_indices().to_vec(),
                    comment,
                });
            }
        }
        for (i, (field, proto)) in raw.fields().iter().zip(&proto.field).enumerate() {
            let comment = within(path, &[2, i as i32], |path| comments.at(path));
            let mut field = self.field(field, proto, comment)?;
            let raw_oneof = raw.fields()[i].oneof_index();
            field.oneof = raw_oneof.and_then(|at| oneof_places.get(usize::from(at)).copied().flatten());
            info.required |= field.presence == Presence::Required;
            let place = i as u16;
            if field.number < DENSE {
                let number = field.number as usize;
                if info.dense.len() <= number {
                    info.dense.resize(number + 1, 0);
                }
                info.dense[number] = place.checked_add(1).ok_or_else(inconsistent)?;
            } else {
                info.sparse.push((field.number, place));
            }
            info.fields.push(field);
        }
        info.sparse.sort_unstable();
        // A JSON name is what its field is called; another field's proto name only stands in where it is free.
        for (i, field) in info.fields.iter().enumerate() {
            info.by_name.entry(field.json_name.clone()).or_insert(i as u16);
        }
        for (i, field) in info.fields.iter().enumerate() {
            info.by_name.entry(field.name.clone()).or_insert(i as u16);
        }
        self.messages[at as usize] = Some(info);
        for (i, nested) in proto.nested_type.iter().enumerate() {
            within(path, &[3, i as i32], |path| self.message(&full_name, nested, path, comments))?;
        }
        for (i, nested) in proto.enum_type.iter().enumerate() {
            within(path, &[4, i as i32], |path| self.enumeration(&full_name, nested, path, comments))?;
        }
        for (i, extension) in proto.extension.iter().enumerate() {
            within(path, &[6, i as i32], |path| self.extension(&full_name, extension, path, comments))?;
        }
        Ok(())
    }

    fn kind(&self, kind: SingularKind) -> Result<Kind> {
        Ok(match kind {
            SingularKind::Scalar(scalar) => Kind::Scalar(scalar_of(scalar)),
            SingularKind::Enum(index) => Kind::Enum(*self.places.enums.get(&index).ok_or_else(inconsistent)?),
            SingularKind::Message(index) => {
                Kind::Message(*self.places.messages.get(&index).ok_or_else(inconsistent)?)
            }
        })
    }

    fn field(
        &self,
        raw: &FieldDescriptor,
        proto: &FieldDescriptorProto,
        comment: String,
    ) -> Result<FieldInfo> {
        let (kind, shape) = match raw.kind() {
            FieldKind::Singular(kind) => (self.kind(kind)?, Shape::One),
            FieldKind::List(kind) => (self.kind(kind)?, Shape::List),
            FieldKind::Map { key, value } => (self.kind(value)?, Shape::Map(scalar_of(key))),
        };
        let presence = match (shape, kind, raw.presence()) {
            (Shape::List | Shape::Map(_), ..) => Presence::Implicit,
            (_, _, FieldPresence::LegacyRequired) => Presence::Required,
            (_, Kind::Message(_), _) | (_, _, FieldPresence::Explicit) => Presence::Explicit,
            _ if raw.oneof_index().is_some() => Presence::Explicit,
            _ => Presence::Implicit,
        };
        let closed_enum = match kind {
            Kind::Enum(at) => self.raw.enums()[at as usize].enum_type() == EnumType::Closed,
            _ => false,
        };
        Ok(FieldInfo {
            name: raw.name().to_owned(),
            json_name: raw.json_name().to_owned(),
            json_key: key(raw.json_name()),
            proto_key: key(raw.name()),
            number: raw.number(),
            kind,
            shape,
            presence,
            packed: raw.is_packed(),
            delimited: raw.is_delimited() && shape_is_not_map(shape),
            oneof: None,
            closed_enum,
            deprecated: raw.options().is_some_and(|o| o.deprecated.unwrap_or_default()),
            default: proto.default_value.clone(),
            comment,
            options: raw.options().map(|o| o.encode_to_vec().into()).unwrap_or_default(),
        })
    }

    fn extension(
        &mut self,
        scope: &str,
        proto: &FieldDescriptorProto,
        path: &[i32],
        comments: &Comments<'_>,
    ) -> Result<()> {
        let full_name = join(scope, proto.name.as_deref().unwrap_or_default());
        let raw = self.raw.extension_by_name(&full_name).ok_or_else(inconsistent)?;
        let mut field = self.field(raw.field(), proto, comments.at(path))?;
        let bracketed = format!("[{full_name}]");
        field.json_key = key(&bracketed);
        field.proto_key = key(&bracketed);
        field.json_name = bracketed;
        let extendee = *self.places.messages.get(&raw.extendee()).ok_or_else(inconsistent)?;
        self.extensions.push(ExtensionInfo { full_name, extendee, field, file: self.file });
        Ok(())
    }

    fn enumeration(
        &mut self,
        scope: &str,
        proto: &EnumDescriptorProto,
        path: &mut Vec<i32>,
        comments: &Comments<'_>,
    ) -> Result<()> {
        let full_name = join(scope, proto.name.as_deref().unwrap_or_default());
        let at = *self.places.enum_names.get(&full_name).ok_or_else(inconsistent)?;
        let raw = self.raw.enum_by_name(&full_name).ok_or_else(inconsistent)?;
        let mut info = EnumInfo {
            file: self.file,
            closed: raw.enum_type() == EnumType::Closed,
            null: full_name == "google.protobuf.NullValue",
            deprecated: raw.options().is_some_and(|o| o.deprecated.unwrap_or_default()),
            comment: comments.at(path),
            options: raw.options().map(|o| o.encode_to_vec().into()).unwrap_or_default(),
            values: Vec::with_capacity(raw.values().len()),
            by_name: Map::default(),
            by_number: Map::default(),
            full_name,
        };
        for (i, value) in raw.values().iter().enumerate() {
            info.by_name.insert(value.name().to_owned(), i as u32);
            info.by_number.entry(value.number()).or_insert(i as u32);
            info.values.push(ValueInfo {
                name: value.name().to_owned(),
                json: quoted(value.name()).into_boxed_slice(),
                number: value.number(),
                deprecated: value.options().is_some_and(|o| o.deprecated.unwrap_or_default()),
                comment: within(path, &[2, i as i32], |path| comments.at(path)),
                options: value.options().map(|o| o.encode_to_vec().into()).unwrap_or_default(),
            });
        }
        self.enums[at as usize] = Some(info);
        Ok(())
    }
}

fn shape_is_not_map(shape: Shape) -> bool {
    !matches!(shape, Shape::Map(_))
}

/// Does something with a longer path, and shortens it again.
fn within<T>(path: &mut Vec<i32>, step: &[i32], then: impl FnOnce(&mut Vec<i32>) -> T) -> T {
    let len = path.len();
    path.extend_from_slice(step);
    let result = then(path);
    path.truncate(len);
    result
}

fn scalar_of(scalar: ScalarType) -> Scalar {
    match scalar {
        ScalarType::Double => Scalar::Double,
        ScalarType::Float => Scalar::Float,
        ScalarType::Int64 => Scalar::Int64,
        ScalarType::Uint64 => Scalar::Uint64,
        ScalarType::Int32 => Scalar::Int32,
        ScalarType::Fixed64 => Scalar::Fixed64,
        ScalarType::Fixed32 => Scalar::Fixed32,
        ScalarType::Bool => Scalar::Bool,
        ScalarType::String => Scalar::String,
        ScalarType::Bytes => Scalar::Bytes,
        ScalarType::Uint32 => Scalar::Uint32,
        ScalarType::Sfixed32 => Scalar::Sfixed32,
        ScalarType::Sfixed64 => Scalar::Sfixed64,
        ScalarType::Sint32 => Scalar::Sint32,
        ScalarType::Sint64 => Scalar::Sint64,
    }
}
