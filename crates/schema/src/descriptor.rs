//! Handles on messages, fields, oneofs and enums of a schema.
//!
//! [`Message`] and [`Enum`] own a share of the snapshot, so they can be kept anywhere; [`Field`], [`Oneof`] and [`EnumValue`] borrow from
//! them. Messages are built and read field by field as [`dynamic::DynamicMessage`](crate::dynamic).

use crate::dynamic::{DynamicMessage, FieldDescriptor};
use crate::error::{Error, Result};
use crate::pool::{
    EnumInfo, FieldInfo, Kind, MessageInfo, OneofInfo, Pool, Presence, Scalar, Shape, ValueInfo,
};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// A message type.
#[derive(Clone)]
pub struct Message {
    pub(crate) pool: Arc<Pool>,
    pub(crate) index: u32,
}

/// The type of one value: of a field, of an item of a list, of a map's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number, text, truth value or byte string.
    Scalar(Scalar),
    /// A value of an enum.
    Enum(Enum),
    /// A message.
    Message(Message),
}

/// How often a field may occur.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// At most once.
    One,
    /// Any number of times.
    List,
    /// Any number of times, under keys of this type.
    Map(Scalar),
}

impl Message {
    pub(crate) fn info(&self) -> &MessageInfo {
        self.pool.message(self.index)
    }

    /// `pkg.Outer.Inner`.
    pub fn full_name(&self) -> &str {
        &self.info().full_name
    }

    /// The last part of the full name.
    pub fn name(&self) -> &str {
        last(self.full_name())
    }

    /// The name of the file that declares it.
    pub fn file(&self) -> &str {
        self.pool.raw.files()[self.info().file as usize].name.as_deref().unwrap_or_default()
    }

    /// The comment above it, without comment signs; empty if there is none.
    pub fn comment(&self) -> &str {
        &self.info().comment
    }

    /// Whether it is marked deprecated.
    pub fn deprecated(&self) -> bool {
        self.info().deprecated
    }

    /// Whether it is the made-up type of a map's entries.
    pub fn is_map_entry(&self) -> bool {
        self.info().map_entry
    }

    /// The encoded `google.protobuf.MessageOptions`, custom options included; read them with [`Fields`](crate::wire::Fields).
    pub fn options(&self) -> &Bytes {
        &self.info().options
    }

    /// Its fields in the order of declaration.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Field<'_>> {
        self.info().fields.iter().map(|info| Field { pool: &self.pool, owner: self.index, info })
    }

    /// The field of this JSON or proto name.
    pub fn field(&self, name: &str) -> Option<Field<'_>> {
        let place = self.info().by_name(name)?;
        Some(self.field_at(place))
    }

    /// The field of this number.
    pub fn field_by_number(&self, number: u32) -> Option<Field<'_>> {
        let place = self.info().by_number(number)?;
        Some(self.field_at(place))
    }

    fn field_at(&self, place: u16) -> Field<'_> {
        Field { pool: &self.pool, owner: self.index, info: &self.info().fields[usize::from(place)] }
    }

    /// Its oneofs; those that `optional` makes are not among them.
    pub fn oneofs(&self) -> impl ExactSizeIterator<Item = Oneof<'_>> {
        self.info().oneofs.iter().map(|info| Oneof { message: self, info })
    }

    /// Extensions of it that the schema knows. Their JSON names are `[full.name]`.
    pub fn extensions(&self) -> impl Iterator<Item = Field<'_>> {
        self.info().extensions.values().map(|at| Field {
            pool: &self.pool,
            owner: self.index,
            info: &self.pool.extensions[*at as usize].field,
        })
    }

    /// An empty message of this type, to be filled.
    pub fn build(&self) -> DynamicMessage {
        DynamicMessage::new(self.pool.raw.clone(), self.info().raw)
    }

    /// Decodes Protobuf bytes, to be read field by field. Unknown fields are kept.
    pub fn decode(&self, bytes: &[u8]) -> Result<DynamicMessage> {
        crate::wire::check(bytes)?;
        DynamicMessage::decode(self.pool.raw.clone(), self.info().raw, bytes)
            .map_err(|e| Error::new(format!("not a {}: {e}", self.full_name())))
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pool, &other.pool) && self.index == other.index
    }
}

impl Eq for Message {}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {}", self.full_name())
    }
}

/// A field of a message, or an extension of one.
#[derive(Copy, Clone)]
pub struct Field<'a> {
    pub(crate) pool: &'a Arc<Pool>,
    pub(crate) owner: u32,
    pub(crate) info: &'a FieldInfo,
}

impl<'a> Field<'a> {
    /// Its name in the `.proto`.
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// Its name in JSON: lowerCamelCase unless `json_name` says otherwise.
    pub fn json_name(&self) -> &'a str {
        &self.info.json_name
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.info.number
    }

    /// The type of its value, or of each value of a list or map.
    pub fn r#type(&self) -> Type {
        match self.info.kind {
            Kind::Scalar(scalar) => Type::Scalar(scalar),
            Kind::Enum(index) => Type::Enum(Enum { pool: self.pool.clone(), index }),
            Kind::Message(index) => Type::Message(Message { pool: self.pool.clone(), index }),
        }
    }

    /// Whether it is one value, a list or a map.
    pub fn cardinality(&self) -> Cardinality {
        match self.info.shape {
            Shape::One => Cardinality::One,
            Shape::List => Cardinality::List,
            Shape::Map(key) => Cardinality::Map(key),
        }
    }

    /// Whether its absence can be seen.
    pub fn presence(&self) -> Presence {
        self.info.presence
    }

    /// The oneof it is a member of.
    pub fn oneof(&self) -> Option<&'a str> {
        let at = self.info.oneof?;
        self.pool.message(self.owner).oneofs.get(usize::from(at)).map(|oneof| oneof.name.as_str())
    }

    /// The comment above or behind it; empty if there is none.
    pub fn comment(&self) -> &'a str {
        &self.info.comment
    }

    /// Whether it is marked deprecated.
    pub fn deprecated(&self) -> bool {
        self.info.deprecated
    }

    /// The default value as proto2 and editions write it.
    pub fn default(&self) -> Option<&'a str> {
        self.info.default.as_deref()
    }

    /// Whether its messages stand between two tags (a group of proto2, `DELIMITED` of editions) instead of behind a length.
    pub fn delimited(&self) -> bool {
        self.info.delimited
    }

    /// The encoded `google.protobuf.FieldOptions`, custom options included.
    pub fn options(&self) -> &'a Bytes {
        &self.info.options
    }

    /// The library's descriptor of it, by which [`dynamic`](crate::dynamic) messages get and set its value. `None` for an extension, which is
    /// reached by its number.
    pub fn raw(&self) -> Option<&'a FieldDescriptor> {
        let owner = self.pool.message(self.owner);
        self.pool.raw.message(owner.raw).field(self.info.number)
    }

    /// Whether `google.api.field_behavior` has this value (1 optional, 2 required, 3 output only, 4 input only, 5 immutable).
    pub fn has_behavior(&self, behavior: u64) -> bool {
        crate::options::field_behavior(&self.info.options).contains(&behavior)
    }

    /// Whether it must be given: `required` of proto2, or `google.api.field_behavior = REQUIRED`.
    pub fn required(&self) -> bool {
        self.info.presence == Presence::Required || self.has_behavior(crate::options::REQUIRED)
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "field {}.{}", self.pool.message(self.owner).full_name, self.info.name)
    }
}

/// A choice between fields of a message.
#[derive(Copy, Clone)]
pub struct Oneof<'a> {
    message: &'a Message,
    info: &'a OneofInfo,
}

impl<'a> Oneof<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// The comment above it; empty if there is none.
    pub fn comment(&self) -> &'a str {
        &self.info.comment
    }

    /// Its members.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Field<'a>> {
        let message = self.message;
        self.info.fields.iter().map(move |place| message.field_at(*place))
    }
}

/// An enum type.
#[derive(Clone)]
pub struct Enum {
    pub(crate) pool: Arc<Pool>,
    pub(crate) index: u32,
}

impl Enum {
    pub(crate) fn info(&self) -> &EnumInfo {
        self.pool.enumeration(self.index)
    }

    /// `pkg.Outer.Name`.
    pub fn full_name(&self) -> &str {
        &self.info().full_name
    }

    /// The last part of the full name.
    pub fn name(&self) -> &str {
        last(self.full_name())
    }

    /// The name of the file that declares it.
    pub fn file(&self) -> &str {
        self.pool.raw.files()[self.info().file as usize].name.as_deref().unwrap_or_default()
    }

    /// The comment above it; empty if there is none.
    pub fn comment(&self) -> &str {
        &self.info().comment
    }

    /// Whether it is marked deprecated.
    pub fn deprecated(&self) -> bool {
        self.info().deprecated
    }

    /// Whether numbers that are not declared are no values of it (proto2).
    pub fn closed(&self) -> bool {
        self.info().closed
    }

    /// The encoded `google.protobuf.EnumOptions`.
    pub fn options(&self) -> &Bytes {
        &self.info().options
    }

    /// Its values in the order of declaration; several may have one number (`allow_alias`). The first is the default.
    pub fn values(&self) -> impl ExactSizeIterator<Item = EnumValue<'_>> {
        self.info().values.iter().map(|info| EnumValue { info })
    }

    /// The value of this name.
    pub fn value(&self, name: &str) -> Option<EnumValue<'_>> {
        self.info().by_name(name).map(|info| EnumValue { info })
    }

    /// The first declared value of this number.
    pub fn value_by_number(&self, number: i32) -> Option<EnumValue<'_>> {
        self.info().by_number(number).map(|info| EnumValue { info })
    }
}

impl PartialEq for Enum {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pool, &other.pool) && self.index == other.index
    }
}

impl Eq for Enum {}

impl fmt::Debug for Enum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enum {}", self.full_name())
    }
}

/// A value of an enum.
#[derive(Copy, Clone, Debug)]
pub struct EnumValue<'a> {
    info: &'a ValueInfo,
}

impl<'a> EnumValue<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// Its number.
    pub fn number(&self) -> i32 {
        self.info.number
    }

    /// The comment above or behind it; empty if there is none.
    pub fn comment(&self) -> &'a str {
        &self.info.comment
    }

    /// Whether it is marked deprecated.
    pub fn deprecated(&self) -> bool {
        self.info.deprecated
    }

    /// The encoded `google.protobuf.EnumValueOptions`.
    pub fn options(&self) -> &'a Bytes {
        &self.info.options
    }
}

fn last(full_name: &str) -> &str {
    full_name.rsplit('.').next().unwrap_or(full_name)
}
