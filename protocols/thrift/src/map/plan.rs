//! What conversion goes by: for every method its place on Thrift's wire, for every message its fields by id and by number. Made once for each table of
//! services, from the descriptors and the options of `switchboard/thrift.proto`.

use crate::wire::TType;
use arc_swap::ArcSwapOption;
use foldhash::{HashMap, HashMapExt as _};
use sb_board::Board;
use sb_board::call::{Code, Services};
use sb_schema::wire::{Fields, WireValue};
use sb_schema::{Cardinality, Message, Presence, Scalar, Schema, Type};
use std::sync::{Arc, Weak};

/// The number of the options in `switchboard/thrift.proto`.
pub const OPTION: u32 = 52101;

/// Everything that is reachable from the services of a table.
pub struct Plan {
    pub(crate) structs: Vec<Struct>,
    methods: HashMap<String, Method>,
    /// Paths of the methods of a name.
    names: HashMap<String, Vec<String>>,
}

/// A message.
pub(crate) struct Struct {
    /// By id.
    pub fields: Vec<Field>,
    /// Number and place, by number.
    numbers: Vec<(u32, usize)>,
    pub wrapper: bool,
}

/// A field.
pub(crate) struct Field {
    pub name: String,
    pub id: i16,
    pub number: u32,
    pub shape: Shape,
    pub absent: Absent,
    pub oneof: Option<String>,
    pub delimited: bool,
}

/// What is done when a field has no value.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(crate) enum Absent {
    /// Its absence means the zero value, which is written.
    Zero,
    /// It is left out.
    Out,
    /// It is an error.
    Error,
}

/// How often, and of what.
pub(crate) enum Shape {
    One(Item),
    /// `TType::List` or `TType::Set`.
    List(TType, Item),
    /// Entries are messages with key 1 and value 2, whether Protobuf calls them a map or not.
    Map(Item, Item),
}

impl Shape {
    /// The type on Thrift's wire.
    pub fn ttype(&self, structs: &[Struct]) -> TType {
        match self {
            Shape::One(item) => item.ttype(structs),
            Shape::List(ty, _) => *ty,
            Shape::Map(..) => TType::Map,
        }
    }
}

/// One value.
#[derive(Copy, Clone)]
pub(crate) enum Item {
    /// Protobuf's type (an enum is an `int32`) and Thrift's.
    Scalar(Scalar, TType),
    /// The struct at this place; one that is a wrapper is its only field.
    Struct(usize),
}

impl Item {
    pub fn ttype(self, structs: &[Struct]) -> TType {
        match self {
            Item::Scalar(_, ty) => ty,
            Item::Struct(at) => match structs.get(at).and_then(Struct::wrapped) {
                Some(field) => match &field.shape {
                    Shape::One(_) => TType::Struct,
                    Shape::List(ty, _) => *ty,
                    Shape::Map(..) => TType::Map,
                },
                None => TType::Struct,
            },
        }
    }
}

impl Struct {
    pub fn by_id(&self, id: i16) -> Option<(usize, &Field)> {
        let at = self.fields.binary_search_by_key(&id, |f| f.id).ok()?;
        Some((at, self.fields.get(at)?))
    }

    pub fn by_number(&self, number: u32) -> Option<usize> {
        let at = self.numbers.binary_search_by_key(&number, |(n, _)| *n).ok()?;
        self.numbers.get(at).map(|(_, place)| *place)
    }

    /// What stands in the place of a wrapper.
    pub fn wrapped(&self) -> Option<&Field> {
        self.fields.first().filter(|field| self.wrapper && !matches!(field.shape, Shape::One(_)))
    }
}

/// A method.
pub struct Method {
    /// `package.Service/Method`.
    pub path: String,
    /// Its name on Thrift's wire.
    pub name: String,
    pub(crate) input: usize,
    pub(crate) output: usize,
    /// How parameters and result look; `None`: one parameter, one struct, `Error`.
    pub(crate) plain: Option<Plain>,
    /// Whether one of the sides sends more than one message, which Thrift has no way for.
    pub streams: bool,
}

/// A method whose parameters are the fields of its request.
#[derive(Debug, Default, Clone)]
pub(crate) struct Plain {
    pub oneway: bool,
    pub throws: Vec<Throw>,
}

/// A declared exception.
#[derive(Debug, Clone)]
pub(crate) struct Throw {
    pub id: i16,
    pub type_name: String,
    pub code: Code,
    /// The place of its struct.
    pub at: usize,
}

/// The plan of the services as they are now.
pub fn plan(board: &Board) -> Arc<Plan> {
    // Usually there is one board in a process, and its services change seldom.
    static KEPT: ArcSwapOption<(Weak<Services>, Arc<Plan>)> = ArcSwapOption::const_empty();
    let services = board.services();
    if let Some(kept) = &*KEPT.load()
        && std::ptr::eq(kept.0.as_ptr(), Arc::as_ptr(&services))
    {
        return kept.1.clone();
    }
    let plan = Arc::new(Plan::new(&services));
    KEPT.store(Some(Arc::new((Arc::downgrade(&services), plan.clone()))));
    plan
}

impl Plan {
    /// Looks at every method of the table.
    pub fn new(services: &Services) -> Plan {
        let mut all = Build::new(services.schema());
        let mut methods = HashMap::new();
        let mut names: HashMap<String, Vec<String>> = HashMap::new();
        for entry in services.methods() {
            let method = all.method(&entry.method);
            names.entry(method.name.clone()).or_default().push(method.path.clone());
            methods.insert(method.path.clone(), method);
        }
        names.values_mut().for_each(|paths| paths.sort());
        Plan { structs: all.finish(), methods, names }
    }

    /// The method of a path.
    pub fn method(&self, path: &str) -> Option<&Method> {
        self.methods.get(path)
    }

    /// The paths of the methods with this name on Thrift's wire.
    pub fn named(&self, name: &str) -> &[String] {
        self.names.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The paths of methods whose names differ from this one in case, or in the underscores, only.
    pub fn near(&self, name: &str) -> Vec<String> {
        let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
        let wanted = plain(name);
        let near = self.names.iter().filter(|(known, _)| plain(known) == wanted);
        let mut paths: Vec<String> = near.flat_map(|(_, paths)| paths.clone()).collect();
        paths.sort();
        paths.truncate(5);
        paths
    }

    pub(crate) fn at(&self, place: usize) -> Option<&Struct> {
        self.structs.get(place)
    }
}

/// Collects structs; those that are named by others are looked at one after the other, not one inside the other.
pub(crate) struct Build<'a> {
    schema: &'a Schema,
    places: HashMap<String, usize>,
    waiting: Vec<(usize, Message)>,
    structs: Vec<Option<Struct>>,
}

impl<'a> Build<'a> {
    pub fn new(schema: &'a Schema) -> Self {
        Build { schema, places: HashMap::new(), waiting: Vec::new(), structs: Vec::new() }
    }

    pub fn method(&mut self, method: &sb_schema::Method) -> Method {
        let plain = option(&method.options).map(|bytes| self.plain(bytes));
        Method {
            path: method.path.clone(),
            name: crate::idl::names::method(&method.name, plain.is_some()),
            input: self.place(&method.input),
            output: self.place(&method.output),
            plain,
            streams: method.client_streaming || method.server_streaming,
        }
    }

    fn plain(&mut self, bytes: &[u8]) -> Plain {
        let mut plain = Plain::default();
        for field in Fields::new(bytes).flatten() {
            match field {
                (1, WireValue::Varint(n)) => plain.oneway = n != 0,
                (2, WireValue::Bytes(bytes)) => plain.throws.extend(self.throw(bytes)),
                _ => {}
            }
        }
        plain
    }

    fn throw(&mut self, bytes: &[u8]) -> Option<Throw> {
        let (mut id, mut type_name, mut code) = (0, String::new(), Code::Unknown);
        for field in Fields::new(bytes).flatten() {
            match field {
                (1, WireValue::Varint(n)) => id = i16::try_from(n as i64).ok()?,
                (3, WireValue::Bytes(text)) => type_name = text_of(text).trim_start_matches('.').to_owned(),
                (4, WireValue::Bytes(text)) => {
                    code = Code::from_name(&text_of(text)).unwrap_or(Code::Unknown)
                }
                _ => {}
            }
        }
        let message = self.schema.message(&type_name)?;
        Some(Throw { id, type_name, code, at: self.place(&message) })
    }

    fn place(&mut self, message: &Message) -> usize {
        if let Some(at) = self.places.get(message.full_name()) {
            return *at;
        }
        let at = self.structs.len();
        self.structs.push(None);
        self.places.insert(message.full_name().to_owned(), at);
        self.waiting.push((at, message.clone()));
        at
    }

    pub fn finish(mut self) -> Vec<Struct> {
        while let Some((at, message)) = self.waiting.pop() {
            let made = self.structure(&message);
            if let Some(place) = self.structs.get_mut(at) {
                *place = Some(made);
            }
        }
        self.structs.into_iter().flatten().collect()
    }

    fn structure(&mut self, message: &Message) -> Struct {
        let mut fields: Vec<Field> = Vec::with_capacity(message.fields().len());
        for field in message.fields() {
            let hints = Hints::of(field.options());
            // What has no id in Thrift cannot be carried; the IDL says so.
            let Some(id) = hints.id.or_else(|| i16::try_from(field.number()).ok()) else { continue };
            let explicit = field.presence();
            let (shape, absent) = match (field.cardinality(), field.r#type(), hints.container.as_str()) {
                (Cardinality::One, ty, _) => {
                    let absent = match explicit {
                        Presence::Explicit => Absent::Out,
                        Presence::Implicit => Absent::Zero,
                        Presence::Required => Absent::Error,
                    };
                    (Shape::One(self.item(&ty, &hints.item)), absent)
                }
                (Cardinality::Map(key), ty, _) => {
                    let key = scalar_item(key, &hints.key);
                    (Shape::Map(key, self.item(&ty, &hints.item)), hints.absent())
                }
                (Cardinality::List, Type::Message(entry), "map") => {
                    // A pair holds single values: a wrapper where Thrift has a container.
                    let part = |this: &mut Self, number, hint: &str| {
                        let field =
                            entry.field_by_number(number).filter(|f| f.cardinality() == Cardinality::One)?;
                        Some(this.item(&field.r#type(), hint))
                    };
                    match (part(self, 1, &hints.key), part(self, 2, &hints.item)) {
                        (Some(key), Some(value)) => (Shape::Map(key, value), hints.absent()),
                        _ => continue,
                    }
                }
                (Cardinality::List, ty, container) => {
                    let list = if container == "set" { TType::Set } else { TType::List };
                    (Shape::List(list, self.item(&ty, &hints.item)), hints.absent())
                }
            };
            fields.push(Field {
                name: field.name().to_owned(),
                id,
                number: field.number(),
                shape,
                absent,
                oneof: field.oneof().map(str::to_owned),
                delimited: field.delimited(),
            });
        }
        fields.sort_by_key(|field| field.id);
        fields.dedup_by_key(|field| field.id);
        let mut numbers: Vec<(u32, usize)> =
            fields.iter().enumerate().map(|(at, f)| (f.number, at)).collect();
        numbers.sort_unstable();
        let wrapper = is_wrapper(message);
        Struct { fields, numbers, wrapper }
    }

    fn item(&mut self, ty: &Type, hint: &str) -> Item {
        match ty {
            Type::Scalar(scalar) => scalar_item(*scalar, hint),
            Type::Enum(_) => Item::Scalar(Scalar::Int32, TType::I32),
            Type::Message(message) => Item::Struct(self.place(message)),
        }
    }
}

fn scalar_item(scalar: Scalar, hint: &str) -> Item {
    let ty = match (scalar, hint) {
        (Scalar::Int32, "i8") => TType::I8,
        (Scalar::Int32, "i16") => TType::I16,
        (Scalar::Bytes, "uuid") => TType::Uuid,
        _ => ttype(scalar),
    };
    Item::Scalar(scalar, ty)
}

/// Thrift's type for a type of Protobuf. 32 bits without sign need 64 with; 64 without sign keep their bits.
pub(crate) fn ttype(scalar: Scalar) -> TType {
    match scalar {
        Scalar::Double | Scalar::Float => TType::Double,
        Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32 => TType::I32,
        Scalar::Uint32 | Scalar::Fixed32 => TType::I64,
        Scalar::Int64 | Scalar::Sint64 | Scalar::Sfixed64 | Scalar::Uint64 | Scalar::Fixed64 => TType::I64,
        Scalar::Bool => TType::Bool,
        Scalar::String | Scalar::Bytes => TType::String,
    }
}

/// The option of ours among encoded options; one that occurs twice is taken the last time.
pub(crate) fn option(options: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    for field in Fields::new(options).flatten() {
        if let (OPTION, WireValue::Bytes(bytes)) = field {
            found = Some(bytes);
        }
    }
    found
}

/// Whether a message stands for its only field.
pub(crate) fn is_wrapper(message: &Message) -> bool {
    flag(message, 1) && message.fields().len() == 1
}

/// Whether a flag of `switchboard.thrift.Message` is set.
pub(crate) fn flag(message: &Message, number: u32) -> bool {
    let Some(bytes) = option(message.options()) else { return false };
    Fields::new(bytes)
        .flatten()
        .any(|(n, value)| n == number && matches!(value, WireValue::Varint(v) if v != 0))
}

/// What the option of a field says.
#[derive(Default)]
pub(crate) struct Hints {
    pub id: Option<i16>,
    pub container: String,
    pub key: String,
    pub item: String,
    pub optional: bool,
}

impl Hints {
    pub fn of(options: &[u8]) -> Hints {
        let mut hints = Hints::default();
        let Some(bytes) = option(options) else { return hints };
        for field in Fields::new(bytes).flatten() {
            match field {
                (1, WireValue::Varint(n)) => hints.id = i16::try_from(n as i64).ok(),
                (2, WireValue::Bytes(text)) => hints.container = text_of(text),
                (3, WireValue::Bytes(text)) => hints.key = text_of(text),
                (4, WireValue::Bytes(text)) => hints.item = text_of(text),
                (5, WireValue::Varint(n)) => hints.optional = n != 0,
                _ => {}
            }
        }
        hints
    }

    fn absent(&self) -> Absent {
        if self.optional { Absent::Out } else { Absent::Zero }
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
