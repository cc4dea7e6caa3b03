//! What a table of services looks like in GraphQL: types, fields, and for each where its value comes from. Built by [`crate::build`], printed by
//! [`crate::sdl`]; a new one is made when the table changes, and requests that run keep theirs.

use apollo_compiler::collections::HashMap as NameMap;
use apollo_compiler::schema::Implementers;
use apollo_compiler::validation::Valid;
use apollo_compiler::{Name, Schema};
use sb_board::call::Services;
use sb_board::call::services::Entry;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// The schema of one table of services.
pub struct Model {
    pub(crate) services: Arc<Services>,
    pub(crate) types: Vec<Type>,
    pub(crate) named: HashMap<String, u32>,
    pub(crate) query: u32,
    pub(crate) mutation: Option<u32>,
    pub(crate) subscription: Option<u32>,
    pub(crate) entities: Vec<Entity>,
    pub(crate) schema: Valid<Schema>,
    pub(crate) implementers: NameMap<Name, Implementers>,
    pub(crate) sdl: String,
    pub(crate) federation: Arc<str>,
    pub(crate) unmapped: Vec<Unmapped>,
    pub(crate) faults: Vec<String>,
}

/// Something of a service that GraphQL cannot show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// Its full name: a method's path, a field, a value of an enum.
    pub what: String,
    /// Why, and what to use instead.
    pub why: String,
}

/// A named type.
pub(crate) enum Type {
    Object(Object),
    Input(Input),
    Enum(Enum),
    Scalar(Scalar),
}

/// Scalars: the language's own, and those of ProtoJSON. Every other message type is an object.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scalar {
    Int,
    Float,
    String,
    Boolean,
    Int64,
    UInt64,
    UInt32,
    Bytes,
    Timestamp,
    Duration,
    FieldMask,
    Json,
    Any,
    /// A representation of an entity (Apollo Federation).
    Representation,
}

impl Scalar {
    pub(crate) const ALL: [Scalar; 14] = [
        Scalar::Int,
        Scalar::Float,
        Scalar::String,
        Scalar::Boolean,
        Scalar::Int64,
        Scalar::UInt64,
        Scalar::UInt32,
        Scalar::Bytes,
        Scalar::Timestamp,
        Scalar::Duration,
        Scalar::FieldMask,
        Scalar::Json,
        Scalar::Any,
        Scalar::Representation,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Scalar::Int => "Int",
            Scalar::Float => "Float",
            Scalar::String => "String",
            Scalar::Boolean => "Boolean",
            Scalar::Int64 => "Int64",
            Scalar::UInt64 => "UInt64",
            Scalar::UInt32 => "UInt32",
            Scalar::Bytes => "Bytes",
            Scalar::Timestamp => "Timestamp",
            Scalar::Duration => "Duration",
            Scalar::FieldMask => "FieldMask",
            Scalar::Json => "JSON",
            Scalar::Any => "Any",
            Scalar::Representation => "_Any",
        }
    }

    /// Description and specification; `None` for those that every schema has.
    pub(crate) fn about(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Scalar::Int | Scalar::Float | Scalar::String | Scalar::Boolean => return None,
            Scalar::Int64 => (
                "A whole number of 64 bits, as a string of digits so that no reader loses any; numbers are taken as well.",
                "https://protobuf.dev/programming-guides/json/",
            ),
            Scalar::UInt64 => (
                "A whole number of 64 bits without sign, as a string of digits; numbers are taken as well.",
                "https://protobuf.dev/programming-guides/json/",
            ),
            Scalar::UInt32 => {
                ("A whole number from 0 to 4294967295.", "https://protobuf.dev/programming-guides/json/")
            }
            Scalar::Bytes => ("Bytes in base64.", "https://www.rfc-editor.org/rfc/rfc4648#section-4"),
            Scalar::Timestamp => {
                ("A point in time: 2026-11-28T10:00:00.5Z.", "https://www.rfc-editor.org/rfc/rfc3339")
            }
            Scalar::Duration => {
                ("Seconds with an s behind: 1.5s.", "https://protobuf.dev/programming-guides/json/")
            }
            Scalar::FieldMask => {
                ("Paths of fields with commas between.", "https://protobuf.dev/programming-guides/json/")
            }
            Scalar::Json => ("Any JSON value.", "https://www.rfc-editor.org/rfc/rfc8259"),
            Scalar::Any => (
                "A message of any type in JSON, its type in the member @type.",
                "https://protobuf.dev/programming-guides/json/#any",
            ),
            Scalar::Representation => (
                "What another subgraph knows of an entity: its __typename and the fields of its key.",
                "https://specs.apollo.dev/federation/v2.3",
            ),
        })
    }
}

/// What a value is, without list and null.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Base {
    Scalar(Scalar),
    Enum(u32),
    /// An object or an input object.
    Object(u32),
    /// A message without fields: `Boolean`, true where it is there.
    Empty,
    /// `_Entity`.
    Entity,
}

/// The type of a field or argument. Protobuf has no lists of lists.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ref {
    pub(crate) base: Base,
    pub(crate) list: bool,
    /// Whether it may be null.
    pub(crate) null: bool,
    /// Whether items of the list may be null.
    pub(crate) item_null: bool,
}

impl Ref {
    pub(crate) fn one(base: Base, null: bool) -> Ref {
        Ref { base, list: false, null, item_null: false }
    }

    pub(crate) fn list(base: Base, null: bool, item_null: bool) -> Ref {
        Ref { base, list: true, null, item_null }
    }

    /// The type of its items.
    pub(crate) fn item(self) -> Ref {
        Ref::one(self.base, self.item_null)
    }
}

pub(crate) struct Object {
    pub(crate) name: String,
    /// The message it shows; empty for others.
    pub(crate) message: String,
    pub(crate) description: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) by_name: HashMap<String, u32>,
    /// `@key(fields: …)`, and whether it can be asked for by it.
    pub(crate) key: Option<(String, bool)>,
}

pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) deprecated: bool,
    pub(crate) ty: Ref,
    pub(crate) args: Vec<Arg>,
    pub(crate) source: Source,
}

/// Where a field's value comes from.
pub(crate) enum Source {
    /// A member of the message.
    Member(Member),
    /// Key and value of an entry of a map.
    Key,
    Value,
    /// The answer to a call.
    Call(Arc<Root>),
    /// The answer to a call whose arguments are taken from the object.
    Join(Arc<Join>),
    /// `_service`, its `sdl`, and `_entities`.
    Service,
    Sdl,
    Entities,
}

/// A member of a message in JSON: both of its names are taken, and what stands for it when it is not there.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) step: Step,
    /// The key's type, where it is a map.
    pub(crate) map: Option<Scalar>,
    pub(crate) absent: Value,
}

/// The two names that a member may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) json: String,
    pub(crate) proto: String,
}

impl Step {
    /// The member of this name of an object; null counts as not there.
    pub(crate) fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        let object = value.as_object()?;
        let member = object.get(&self.json).or_else(|| match self.json == self.proto {
            true => None,
            false => object.get(&self.proto),
        });
        member.filter(|value| !value.is_null())
    }
}

/// What a path of members leads to.
pub(crate) fn dig<'v>(value: &'v Value, path: &[Step]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, step| step.of(value))
}

/// A method as a field of a root type.
pub(crate) struct Root {
    pub(crate) entry: Entry,
}

/// A field that another service answers.
pub(crate) struct Join {
    pub(crate) entry: Entry,
    /// Members of the request, each with the path in the parent that it is taken from.
    pub(crate) args: Vec<(String, Vec<Step>)>,
    pub(crate) pick: Vec<Step>,
    pub(crate) batch: Option<BatchOf>,
}

/// How one call answers many parents.
pub(crate) struct BatchOf {
    /// The list in the request.
    pub(crate) list: String,
    /// Where a parent's keys are.
    pub(crate) from: Vec<Step>,
    /// Where an item's key is.
    pub(crate) key: Vec<Step>,
    pub(crate) many: bool,
    /// Whether the parent has a list of keys.
    pub(crate) several: bool,
}

/// A type that other subgraphs may ask for by its key.
pub(crate) struct Entity {
    pub(crate) object: u32,
    pub(crate) join: Arc<Join>,
}

pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) fields: Vec<Arg>,
    pub(crate) one_of: bool,
    /// Whether it is an entry of a map, lists of which become an object.
    pub(crate) entry: bool,
}

/// An argument, or a field of an input object.
#[derive(Clone)]
pub(crate) struct Arg {
    pub(crate) name: String,
    pub(crate) json: String,
    pub(crate) description: String,
    pub(crate) deprecated: bool,
    pub(crate) ty: Ref,
    pub(crate) kind: ArgKind,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArgKind {
    Plain,
    /// An object of the one-of kind, whose member belongs to the message around it.
    Oneof,
    /// The whole request, where that is no object in JSON.
    Whole,
}

pub(crate) struct Enum {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) values: Vec<EnumValue>,
    /// By the name in Protobuf.
    pub(crate) by_proto: HashMap<String, u32>,
    /// By the name in GraphQL.
    pub(crate) by_name: HashMap<String, u32>,
    pub(crate) by_number: HashMap<i64, u32>,
}

pub(crate) struct EnumValue {
    pub(crate) name: String,
    pub(crate) proto: String,
    pub(crate) description: String,
    pub(crate) deprecated: bool,
}

impl Model {
    /// The schema in the schema definition language.
    pub fn sdl(&self) -> &str {
        &self.sdl
    }

    /// The same as a subgraph of an Apollo federation gives it: with keys, without what the federation adds itself.
    pub fn federation_sdl(&self) -> &str {
        &self.federation
    }

    /// What of the services cannot be shown, and what to use instead.
    pub fn unmapped(&self) -> &[Unmapped] {
        &self.unmapped
    }

    /// Joins and entities of the options that do not fit the services: each a sentence. They are left out.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    pub(crate) fn object(&self, at: u32) -> Option<&Object> {
        match self.types.get(at as usize) {
            Some(Type::Object(object)) => Some(object),
            _ => None,
        }
    }

    pub(crate) fn input(&self, at: u32) -> Option<&Input> {
        match self.types.get(at as usize) {
            Some(Type::Input(input)) => Some(input),
            _ => None,
        }
    }

    pub(crate) fn enumeration(&self, at: u32) -> Option<&Enum> {
        match self.types.get(at as usize) {
            Some(Type::Enum(kind)) => Some(kind),
            _ => None,
        }
    }

    /// The name of a type.
    pub(crate) fn name(&self, base: Base) -> &str {
        name_of(&self.types, base)
    }
}

/// The name of a type of a list of types.
pub(crate) fn name_of(types: &[Type], base: Base) -> &str {
    match base {
        Base::Scalar(scalar) => scalar.name(),
        Base::Empty => "Boolean",
        Base::Entity => "_Entity",
        Base::Enum(at) | Base::Object(at) => match types.get(at as usize) {
            Some(Type::Object(object)) => &object.name,
            Some(Type::Input(input)) => &input.name,
            Some(Type::Enum(kind)) => &kind.name,
            Some(Type::Scalar(scalar)) => scalar.name(),
            None => "",
        },
    }
}
