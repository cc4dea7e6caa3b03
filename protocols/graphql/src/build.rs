//! From a table of services to a model: which types there are, what their fields are called, what cannot be shown.
//!
//! A method that only reads (`NO_SIDE_EFFECTS`) is a field of `Query`, another one of `Mutation`, one that streams its answer of `Subscription`.
//! The fields of its request are arguments. Fields that always have a value in Protobuf are not null; an enum or a floating point number may be
//! null all the same, since both can hold what GraphQL has no word for.

mod joins;

use crate::model::{
    Arg, ArgKind, Base, Enum, EnumValue, Field, Input, Member, Model, Object, Ref, Root, Scalar, Source,
    Step, Type, Unmapped, name_of,
};
use crate::names::{choose, lower_camel, name, unique, upper_camel};
use crate::options::Options;
use crate::sdl;
use apollo_compiler::Schema;
use sb_board::call::Services;
use sb_board::call::services::Entry;
use sb_core::model::Error;
use sb_schema::{Cardinality, Idempotency, Message, Presence, Scalar as Plain, Type as Kind};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The name by which services are shown over GraphQL.
pub const PROTOCOL: &str = "graphql";

/// Names that no type of a service can have.
const RESERVED: [&str; 21] = [
    "Query",
    "Mutation",
    "Subscription",
    "Int",
    "Float",
    "String",
    "Boolean",
    "ID",
    "Int64",
    "UInt64",
    "UInt32",
    "Bytes",
    "Timestamp",
    "Duration",
    "FieldMask",
    "JSON",
    "Any",
    "_Any",
    "_Entity",
    "_Service",
    "_FieldSet",
];

/// Builds the model of the services that are shown over GraphQL.
pub fn build(services: &Arc<Services>, options: &Options) -> Result<Model, Error> {
    let mut builder = Builder {
        services: services.clone(),
        types: Vec::new(),
        wanted: Vec::new(),
        known: HashMap::new(),
        todo: Vec::new(),
        scalars: HashSet::new(),
        unmapped: Vec::new(),
        faults: Vec::new(),
        queries: Vec::new(),
    };
    let roots = builder.roots();
    let prepared = builder.prepare(options);
    builder.discover();
    let mut names = choose(&builder.wanted, &RESERVED).into_iter();
    for ty in &mut builder.types {
        let chosen = names.next().unwrap_or_default();
        match ty {
            Type::Object(object) => object.name = chosen,
            Type::Input(input) => input.name = chosen,
            Type::Enum(kind) => kind.name = chosen,
            Type::Scalar(_) => {}
        }
    }
    let entities = builder.attach(prepared, options);
    builder.finish(roots, entities)
}

/// Which side of a call a message is on.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Side {
    Out,
    In,
    /// Entries of a map of the message.
    OutEntry(String),
    InEntry(String),
    /// A oneof of the message.
    Oneof(String),
    Enum,
}

pub(super) struct Builder {
    services: Arc<Services>,
    types: Vec<Type>,
    /// What each type would like to be called.
    wanted: Vec<Vec<String>>,
    known: HashMap<(Side, String), u32>,
    /// Types whose fields are not made yet.
    todo: Vec<(u32, Side, Message)>,
    scalars: HashSet<Scalar>,
    unmapped: Vec<Unmapped>,
    faults: Vec<String>,
    /// Fields of `Query` that the options add.
    queries: Vec<Field>,
}

/// What a message is in JSON, when it is no object of its fields.
enum Special {
    Scalar(Scalar),
    Empty,
}

fn special(message: &Message) -> Option<Special> {
    Some(Special::Scalar(match message.full_name() {
        "google.protobuf.Timestamp" => Scalar::Timestamp,
        "google.protobuf.Duration" => Scalar::Duration,
        "google.protobuf.FieldMask" => Scalar::FieldMask,
        "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue" => Scalar::Json,
        "google.protobuf.Any" => Scalar::Any,
        "google.protobuf.DoubleValue" | "google.protobuf.FloatValue" => Scalar::Float,
        "google.protobuf.Int64Value" => Scalar::Int64,
        "google.protobuf.UInt64Value" => Scalar::UInt64,
        "google.protobuf.Int32Value" => Scalar::Int,
        "google.protobuf.UInt32Value" => Scalar::UInt32,
        "google.protobuf.BoolValue" => Scalar::Boolean,
        "google.protobuf.StringValue" => Scalar::String,
        "google.protobuf.BytesValue" => Scalar::Bytes,
        _ if message.fields().len() == 0 => return Some(Special::Empty),
        _ => return None,
    }))
}

fn scalar(plain: Plain) -> Scalar {
    match plain {
        Plain::Double | Plain::Float => Scalar::Float,
        Plain::Int32 | Plain::Sint32 | Plain::Sfixed32 => Scalar::Int,
        Plain::Uint32 | Plain::Fixed32 => Scalar::UInt32,
        Plain::Int64 | Plain::Sint64 | Plain::Sfixed64 => Scalar::Int64,
        Plain::Uint64 | Plain::Fixed64 => Scalar::UInt64,
        Plain::Bool => Scalar::Boolean,
        Plain::String => Scalar::String,
        Plain::Bytes => Scalar::Bytes,
    }
}

/// Whether a value that is there may have no form in GraphQL: a number that an enum does not declare, NaN, the null of a `Value`.
fn fragile(base: Base) -> bool {
    matches!(base, Base::Enum(_) | Base::Scalar(Scalar::Float | Scalar::Json))
}

/// What stands for a field without presence that is not there.
fn zero(scalar: Scalar) -> Value {
    match scalar {
        Scalar::Int | Scalar::UInt32 | Scalar::Int64 | Scalar::UInt64 => json!(0),
        Scalar::Float => json!(0.0),
        Scalar::Boolean => json!(false),
        Scalar::String | Scalar::Bytes => json!(""),
        _ => Value::Null,
    }
}

pub(super) fn step(field: &sb_schema::Field<'_>) -> Step {
    Step { json: field.json_name().to_owned(), proto: field.name().to_owned() }
}

/// The fields of the three root types.
type Roots = [Vec<Field>; 3];

impl Builder {
    fn unmapped(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.unmapped.push(Unmapped { what: what.into(), why: why.into() });
    }

    /// The fields of query, mutation and subscription, in the order of services and methods.
    fn roots(&mut self) -> Roots {
        let mut made: [Vec<(Vec<String>, Field)>; 3] = Default::default();
        let services = self.services.clone();
        let shown = services.services().iter().filter(|service| service.is_shown(PROTOCOL));
        for service in shown {
            let Some(described) = services.schema().service(&service.name).cloned() else { continue };
            for method in &described.methods {
                let Some(entry) = services.method(&method.path).cloned() else { continue };
                if method.client_streaming {
                    self.unmapped(
                        &method.path,
                        "It streams from the caller. Use gRPC, Connect or WebSocket.",
                    );
                    continue;
                }
                let root = match (method.server_streaming, method.idempotency) {
                    (true, _) => &mut made[2],
                    (false, Idempotency::NoSideEffects) => &mut made[0],
                    _ => &mut made[1],
                };
                let (package, short) =
                    described.full_name.rsplit_once('.').unwrap_or(("", &described.full_name));
                let wanted = vec![
                    name(&lower_camel(&method.name)),
                    name(&format!("{}{}", lower_camel(short), upper_camel(&method.name))),
                    name(&format!(
                        "{}{}{}",
                        lower_camel(&upper_camel(package)),
                        upper_camel(short),
                        upper_camel(&method.name)
                    )),
                ];
                let field = Field {
                    name: String::new(),
                    description: method.comment.clone(),
                    deprecated: method.deprecated || described.deprecated,
                    args: self.request(&method.input, &HashSet::new()),
                    ty: self.response(&method.output),
                    source: Source::Call(Arc::new(Root { entry })),
                };
                root.push((wanted, field));
            }
        }
        made.map(|fields| {
            let (wanted, fields): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
            let names = choose(&wanted, &["_service", "_entities"]);
            fields.into_iter().zip(names).map(|(field, name)| Field { name, ..field }).collect()
        })
    }

    /// The type of a whole response.
    fn response(&mut self, message: &Message) -> Ref {
        Ref::one(self.output(message), true)
    }

    fn output(&mut self, message: &Message) -> Base {
        match special(message) {
            Some(Special::Scalar(scalar)) => self.scalar(scalar),
            Some(Special::Empty) => Base::Empty,
            None => self.named(Side::Out, message),
        }
    }

    fn input(&mut self, message: &Message) -> Base {
        match special(message) {
            Some(Special::Scalar(scalar)) => self.scalar(scalar),
            Some(Special::Empty) => Base::Empty,
            None => self.named(Side::In, message),
        }
    }

    fn scalar(&mut self, scalar: Scalar) -> Base {
        self.scalars.insert(scalar);
        Base::Scalar(scalar)
    }

    fn base(&mut self, kind: &Kind, input: bool) -> Base {
        match kind {
            Kind::Scalar(plain) => self.scalar(scalar(*plain)),
            Kind::Message(message) if input => self.input(message),
            Kind::Message(message) => self.output(message),
            Kind::Enum(of) if of.full_name() == "google.protobuf.NullValue" => self.scalar(Scalar::Json),
            Kind::Enum(of) => self.enumeration(of),
        }
    }

    /// The arguments that a request's fields are, without those that come from elsewhere.
    fn request(&mut self, message: &Message, given: &HashSet<String>) -> Vec<Arg> {
        match special(message) {
            Some(Special::Empty) => Vec::new(),
            Some(Special::Scalar(of)) => {
                let base = self.scalar(of);
                vec![Arg {
                    name: "value".into(),
                    json: String::new(),
                    description: String::new(),
                    deprecated: false,
                    ty: Ref::one(base, false),
                    kind: ArgKind::Whole,
                }]
            }
            None => self.args(message, given),
        }
    }

    /// The index of a type, which is made when it is asked for first; its fields follow in [`Builder::discover`].
    fn named(&mut self, side: Side, message: &Message) -> Base {
        let key = (side.clone(), message.full_name().to_owned());
        if let Some(at) = self.known.get(&key) {
            return Base::Object(*at);
        }
        let at = self.types.len() as u32;
        let mut wanted = self.candidates(message.full_name(), message.file());
        let (suffix, description) = match &side {
            Side::Out | Side::Enum => (String::new(), message.comment().to_owned()),
            Side::In => ("Input".to_owned(), message.comment().to_owned()),
            Side::OutEntry(field) => (format!("{}Entry", upper_camel(field)), String::new()),
            Side::InEntry(field) => (format!("{}EntryInput", upper_camel(field)), String::new()),
            Side::Oneof(of) => {
                let comment = message.oneofs().find(|o| o.name() == of).map(|o| o.comment().to_owned());
                (format!("{}OneOf", upper_camel(of)), comment.unwrap_or_default())
            }
        };
        for candidate in &mut wanted {
            *candidate = name(&format!("{candidate}{suffix}"));
        }
        self.types.push(match &side {
            Side::Out | Side::OutEntry(_) | Side::Enum => Type::Object(Object {
                name: String::new(),
                message: match side {
                    Side::Out => message.full_name().to_owned(),
                    _ => String::new(),
                },
                description,
                fields: Vec::new(),
                by_name: HashMap::new(),
                key: None,
            }),
            Side::In | Side::InEntry(_) | Side::Oneof(_) => Type::Input(Input {
                name: String::new(),
                description,
                fields: Vec::new(),
                one_of: matches!(side, Side::Oneof(_)),
                entry: matches!(side, Side::InEntry(_)),
            }),
        });
        self.wanted.push(wanted);
        self.known.insert(key, at);
        self.todo.push((at, side, message.clone()));
        Base::Object(at)
    }

    /// `OuterInner`, `ShopV1OuterInner`, `shop_v1_Outer_Inner`.
    fn candidates(&self, full_name: &str, file: &str) -> Vec<String> {
        let package = self.services.schema().file(file).map_or("", |file| &file.package);
        let inner = full_name.strip_prefix(package).unwrap_or(full_name).trim_start_matches('.');
        let short: String = inner.split('.').collect();
        vec![
            name(&short),
            name(&format!("{}{short}", upper_camel(package))),
            name(&full_name.replace('.', "_")),
        ]
    }

    fn enumeration(&mut self, of: &sb_schema::Enum) -> Base {
        let key = (Side::Enum, of.full_name().to_owned());
        if let Some(at) = self.known.get(&key) {
            return Base::Enum(*at);
        }
        let at = self.types.len() as u32;
        let mut kind = Enum {
            name: String::new(),
            description: of.comment().to_owned(),
            values: Vec::new(),
            by_proto: HashMap::new(),
            by_name: HashMap::new(),
            by_number: HashMap::new(),
        };
        let mut used: HashSet<String> = ["true", "false", "null"].map(str::to_owned).into();
        for value in of.values() {
            let own = unique(&mut used, &name(value.name()));
            if own != value.name() {
                let why = format!("GraphQL does not allow the name. It is {own} there.");
                self.unmapped.push(Unmapped { what: format!("{}.{}", of.full_name(), value.name()), why });
            }
            let place = kind.values.len() as u32;
            kind.by_proto.insert(value.name().to_owned(), place);
            kind.by_name.insert(own.clone(), place);
            kind.by_number.entry(i64::from(value.number())).or_insert(place);
            kind.values.push(EnumValue {
                name: own,
                proto: value.name().to_owned(),
                description: value.comment().to_owned(),
                deprecated: value.deprecated(),
            });
        }
        self.types.push(Type::Enum(kind));
        self.wanted.push(self.candidates(of.full_name(), of.file()));
        self.known.insert(key, at);
        Base::Enum(at)
    }

    /// Makes the fields of all types, which may lead to further types.
    fn discover(&mut self) {
        while let Some((at, side, message)) = self.todo.pop() {
            match side {
                Side::Out | Side::OutEntry(_) | Side::Enum => {
                    let fields = match &side {
                        Side::OutEntry(field) => self.entry_fields(&message, field),
                        _ => self.fields(&message),
                    };
                    if let Some(Type::Object(object)) = self.types.get_mut(at as usize) {
                        object.fields = fields;
                    }
                }
                Side::In | Side::InEntry(_) | Side::Oneof(_) => {
                    let fields = match &side {
                        Side::InEntry(field) => self.entry_args(&message, field),
                        Side::Oneof(of) => self.oneof_args(&message, of),
                        _ => self.args(&message, &HashSet::new()),
                    };
                    if let Some(Type::Input(input)) = self.types.get_mut(at as usize) {
                        input.fields = fields;
                    }
                }
            }
        }
    }

    fn fields(&mut self, message: &Message) -> Vec<Field> {
        for extension in message.extensions() {
            let what = format!("{}[{}]", message.full_name(), extension.name());
            self.unmapped(what, "Extensions have no name in GraphQL. Use gRPC, Connect or REST.");
        }
        let mut used = HashSet::new();
        let mut made = Vec::with_capacity(message.fields().len());
        for field in message.fields() {
            let (ty, member) = self.member(message, &field);
            made.push(Field {
                name: unique(&mut used, &name(field.json_name())),
                description: field.comment().to_owned(),
                deprecated: field.deprecated(),
                ty,
                args: Vec::new(),
                source: Source::Member(member),
            });
        }
        made
    }

    /// The type of a field of a response, and where it is in JSON.
    fn member(&mut self, message: &Message, field: &sb_schema::Field<'_>) -> (Ref, Member) {
        let kind = field.r#type();
        let (ty, map, absent) = match field.cardinality() {
            Cardinality::Map(key) => {
                let base = self.named(Side::OutEntry(field.name().to_owned()), message);
                (Ref::list(base, false, false), Some(scalar(key)), json!({}))
            }
            Cardinality::List => {
                let base = self.base(&kind, false);
                (Ref::list(base, false, fragile(base)), None, json!([]))
            }
            Cardinality::One => {
                let base = self.base(&kind, false);
                let implicit = field.presence() == Presence::Implicit;
                let absent = match (&kind, base) {
                    _ if !implicit => Value::Null,
                    (Kind::Enum(of), Base::Enum(_)) => {
                        of.values().next().map_or(Value::Null, |first| json!(first.name()))
                    }
                    (_, Base::Scalar(of)) => zero(of),
                    _ => Value::Null,
                };
                let null = field.presence() == Presence::Explicit || fragile(base);
                (Ref::one(base, null), None, absent)
            }
        };
        (ty, Member { step: step(field), map, absent })
    }

    fn entry_fields(&mut self, message: &Message, of: &str) -> Vec<Field> {
        let Some(field) = message.field(of) else { return Vec::new() };
        let Cardinality::Map(key) = field.cardinality() else { return Vec::new() };
        let key = self.scalar(scalar(key));
        let value = self.base(&field.r#type(), false);
        let made = |name: &str, ty: Ref, source: Source| Field {
            name: name.to_owned(),
            description: String::new(),
            deprecated: false,
            ty,
            args: Vec::new(),
            source,
        };
        vec![
            made("key", Ref::one(key, false), Source::Key),
            made("value", Ref::one(value, fragile(value)), Source::Value),
        ]
    }

    fn args(&mut self, message: &Message, given: &HashSet<String>) -> Vec<Arg> {
        let mut used = HashSet::new();
        let mut oneofs = HashSet::new();
        let mut made = Vec::with_capacity(message.fields().len());
        for field in message.fields() {
            if given.contains(field.name()) {
                continue;
            }
            if let Some(of) = field.oneof() {
                if oneofs.insert(of) {
                    let base = self.named(Side::Oneof(of.to_owned()), message);
                    let comment = message.oneofs().find(|o| o.name() == of).map(|o| o.comment().to_owned());
                    made.push(Arg {
                        name: unique(&mut used, &name(&lower_camel(&upper_camel(of)))),
                        json: String::new(),
                        description: comment.unwrap_or_default(),
                        deprecated: false,
                        ty: Ref::one(base, true),
                        kind: ArgKind::Oneof,
                    });
                }
                continue;
            }
            let arg = self.arg(message, &field, &mut used);
            made.push(arg);
        }
        made
    }

    fn oneof_args(&mut self, message: &Message, of: &str) -> Vec<Arg> {
        let mut used = HashSet::new();
        let Some(oneof) = message.oneofs().find(|o| o.name() == of) else { return Vec::new() };
        oneof
            .fields()
            .map(|field| {
                let mut arg = self.arg(message, &field, &mut used);
                arg.ty.null = true;
                arg
            })
            .collect()
    }

    fn arg(&mut self, message: &Message, field: &sb_schema::Field<'_>, used: &mut HashSet<String>) -> Arg {
        let kind = field.r#type();
        let ty = match field.cardinality() {
            Cardinality::Map(_) => {
                let base = self.named(Side::InEntry(field.name().to_owned()), message);
                Ref::list(base, !field.required(), false)
            }
            Cardinality::List => {
                let base = self.base(&kind, true);
                let json = base == Base::Scalar(Scalar::Json);
                Ref::list(base, !field.required(), json)
            }
            Cardinality::One => {
                let base = self.base(&kind, true);
                // A message that needs itself could never be given.
                let needed = field.required() && !matches!(base, Base::Object(_));
                Ref::one(base, !needed)
            }
        };
        Arg {
            name: unique(used, &name(field.json_name())),
            json: field.json_name().to_owned(),
            description: field.comment().to_owned(),
            deprecated: field.deprecated(),
            ty,
            kind: ArgKind::Plain,
        }
    }

    fn entry_args(&mut self, message: &Message, of: &str) -> Vec<Arg> {
        let Some(field) = message.field(of) else { return Vec::new() };
        let Cardinality::Map(key) = field.cardinality() else { return Vec::new() };
        let key = self.scalar(scalar(key));
        let value = self.base(&field.r#type(), true);
        let made = |name: &str, base: Base| Arg {
            name: name.to_owned(),
            json: name.to_owned(),
            description: String::new(),
            deprecated: false,
            ty: Ref::one(base, base == Base::Scalar(Scalar::Json)),
            kind: ArgKind::Plain,
        };
        vec![made("key", key), made("value", value)]
    }

    /// Root types, federation, printing, and the check that all of it is a schema.
    fn finish(mut self, roots: Roots, entities: Vec<crate::model::Entity>) -> Result<Model, Error> {
        let field = |name: &str, description: &str, ty: Ref, args: Vec<Arg>, source: Source| Field {
            name: name.to_owned(),
            description: description.to_owned(),
            deprecated: false,
            ty,
            args,
            source,
        };
        let object = |name: &str, description: &str, fields: Vec<Field>| {
            Type::Object(Object {
                name: name.to_owned(),
                message: String::new(),
                description: description.to_owned(),
                fields,
                by_name: HashMap::new(),
                key: None,
            })
        };
        let service = self.types.len() as u32;
        let string = self.scalar(Scalar::String);
        let sdl_field = field("sdl", "", Ref::one(string, false), Vec::new(), Source::Sdl);
        self.types.push(object("_Service", "What a federation composes of.", vec![sdl_field]));
        let [mut query, mutation, subscription] = roots;
        for field in std::mem::take(&mut self.queries) {
            match query.iter_mut().find(|known| known.name == field.name) {
                Some(known) => *known = field,
                None => query.push(field),
            }
        }
        query.push(field(
            "_service",
            "The schema, for a federation that this server is a subgraph of.",
            Ref::one(Base::Object(service), false),
            Vec::new(),
            Source::Service,
        ));
        if !entities.is_empty() {
            let any = self.scalar(Scalar::Representation);
            let representations = Arg {
                name: "representations".into(),
                json: "representations".into(),
                description: String::new(),
                deprecated: false,
                ty: Ref::list(any, false, false),
                kind: ArgKind::Plain,
            };
            query.push(field(
                "_entities",
                "Entities by their keys, for a federation.",
                Ref::list(Base::Entity, false, true),
                vec![representations],
                Source::Entities,
            ));
        }
        let mut root = |name: &'static str, about: &str, fields: Vec<Field>| {
            if fields.is_empty() {
                return None;
            }
            let at = self.types.len() as u32;
            self.types.push(object(name, about, fields));
            Some(at)
        };
        let query = root("Query", "Methods that only read.", query).unwrap_or_default();
        let mutation = root("Mutation", "Methods that may change something.", mutation);
        let subscription = root("Subscription", "Methods that answer with a stream.", subscription);
        let mut used: Vec<Scalar> = Scalar::ALL.into_iter().filter(|s| self.scalars.contains(s)).collect();
        used.retain(|scalar| scalar.about().is_some());
        self.types.extend(used.into_iter().map(Type::Scalar));
        for ty in &mut self.types {
            if let Type::Object(object) = ty {
                object.by_name =
                    object.fields.iter().enumerate().map(|(at, f)| (f.name.clone(), at as u32)).collect();
            }
        }
        let roots: Vec<(&'static str, u32)> =
            [("query", Some(query)), ("mutation", mutation), ("subscription", subscription)]
                .into_iter()
                .filter_map(|(kind, at)| Some((kind, at?)))
                .collect();
        let names: Vec<String> =
            entities.iter().map(|e| name_of(&self.types, Base::Object(e.object)).to_owned()).collect();
        let parts = sdl::Parts { types: &self.types, roots: &roots, entities: &names };
        let text = sdl::print(&parts, sdl::For::Reader);
        let federation = sdl::print(&parts, sdl::For::Federation).into();
        let schema = Schema::parse_and_validate(&text, "schema.graphql").map_err(|wrong| {
            let first = wrong.errors.iter().next().map(|d| d.to_json().message).unwrap_or_default();
            Error::internal(format!("the services have no GraphQL schema: {first}"))
        })?;
        let named = self
            .types
            .iter()
            .enumerate()
            .map(|(at, _)| (name_of(&self.types, Base::Object(at as u32)).to_owned(), at as u32))
            .collect();
        Ok(Model {
            services: self.services,
            types: self.types,
            named,
            query,
            mutation,
            subscription,
            entities,
            implementers: schema.implementers_map(),
            schema,
            sdl: text,
            federation,
            unmapped: self.unmapped,
            faults: self.faults,
        })
    }

    /// A method by its path.
    fn method(&self, path: &str) -> Option<Entry> {
        self.services.method(path).cloned()
    }
}
