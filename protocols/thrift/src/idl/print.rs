//! IDL out of descriptors: one file for one service, with everything it needs in it, so that nothing is to be included.

use super::names::{is_reserved, safe, upper_snake};
use crate::map::plan::{Hints, flag, is_wrapper, option, ttype};
use sb_board::call::Code;
use sb_schema::wire::{Fields, WireValue};
use sb_schema::{Cardinality, Enum, Field, Message, Method, Presence, Scalar, Schema, Service, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Wrappers in wrappers are looked through as deep as this.
const MAX_WRAPPERS: usize = 16;

/// The IDL of a service. What cannot be said in Thrift is listed in comments.
///
/// Names: types of the service's own package keep theirs (nested ones are `Outer_Inner`), those of other packages have the package before it
/// (`google_protobuf_Timestamp`); words that no compiler takes as names get `_` behind them; values of enums lose the enum's name in front.
pub fn print(schema: &Schema, service: &Service) -> String {
    let package = schema.file(&service.file).map(|file| file.package.clone()).unwrap_or_default();
    let mut all = Collected::default();
    for method in service.methods.iter().filter(|m| callable(m)) {
        match throws(method) {
            None => {
                all.message(&method.input);
                all.message(&method.output);
            }
            Some(throws) => {
                for field in method.input.fields().chain(method.output.fields()) {
                    all.field(&field);
                }
                throws.iter().filter_map(|t| schema.message(&t.type_name)).for_each(|m| all.message(&m));
            }
        }
    }
    all.close();
    let mut printer = Printer {
        schema,
        package: &package,
        out: String::new(),
        taken: BTreeSet::new(),
        error: String::new(),
    };
    printer.taken = all.messages.values().map(|m| printer.name(m.full_name(), m.file())).collect();
    printer.error = printer.free("Error");
    printer.file(service, &all);
    printer.out
}

fn callable(method: &Method) -> bool {
    !method.client_streaming && !method.server_streaming
}

struct Thrown {
    id: i64,
    name: String,
    type_name: String,
}

/// What a method of a `.thrift` file throws; `None` for others.
fn throws(method: &Method) -> Option<Vec<Thrown>> {
    let bytes = option(&method.options)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut all = Vec::new();
    for field in Fields::new(bytes).flatten() {
        let (2, WireValue::Bytes(bytes)) = field else { continue };
        let mut thrown = Thrown { id: 0, name: String::new(), type_name: String::new() };
        for field in Fields::new(bytes).flatten() {
            match field {
                (1, WireValue::Varint(n)) => thrown.id = n as i64,
                (2, WireValue::Bytes(name)) => thrown.name = text(name),
                (3, WireValue::Bytes(name)) => {
                    thrown.type_name = text(name).trim_start_matches('.').to_owned()
                }
                _ => {}
            }
        }
        all.push(thrown);
    }
    Some(all)
}

fn oneway(method: &Method) -> bool {
    option(&method.options).is_some_and(|bytes| {
        Fields::new(bytes).flatten().any(|field| matches!(field, (1, WireValue::Varint(n)) if n != 0))
    })
}

/// The types a service needs.
#[derive(Default)]
struct Collected {
    messages: BTreeMap<String, Message>,
    enums: BTreeMap<String, Enum>,
    waiting: Vec<Message>,
    /// Messages whose fields were looked at: wrappers and entries too, which are not printed.
    seen: BTreeSet<String>,
}

impl Collected {
    fn message(&mut self, message: &Message) {
        if self.seen.insert(message.full_name().to_owned()) {
            self.waiting.push(message.clone());
        }
    }

    fn field(&mut self, field: &Field<'_>) {
        match field.r#type() {
            Type::Scalar(_) => {}
            Type::Enum(info) => drop(self.enums.insert(info.full_name().to_owned(), info)),
            Type::Message(message) => {
                let entry =
                    field.cardinality() == Cardinality::List && Hints::of(field.options()).container == "map";
                if !entry {
                    return self.message(&message);
                }
                // The pairs of a map are no type of their own.
                if self.seen.insert(message.full_name().to_owned()) {
                    message.fields().for_each(|field| self.field(&field));
                }
            }
        }
    }

    fn close(&mut self) {
        while let Some(message) = self.waiting.pop() {
            message.fields().for_each(|field| self.field(&field));
            if !is_wrapper(&message) {
                self.messages.insert(message.full_name().to_owned(), message);
            }
        }
    }
}

struct Printer<'a> {
    schema: &'a Schema,
    package: &'a str,
    out: String,
    taken: BTreeSet<String>,
    /// What `Error` is called here.
    error: String,
}

impl Printer<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// A comment of the `.proto`, indented.
    fn doc(&mut self, indent: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let text = text.replace("*/", "* /");
        if !text.contains('\n') {
            return self.line(&format!("{indent}/** {} */", text.trim()));
        }
        self.line(&format!("{indent}/**"));
        for line in text.lines() {
            self.line(format!("{indent} * {line}").trim_end());
        }
        self.line(&format!("{indent} */"));
    }

    /// A name that no type has.
    fn free(&self, name: &str) -> String {
        let mut name = name.to_owned();
        while self.taken.contains(&name) {
            name.push('_');
        }
        name
    }

    fn name(&self, full_name: &str, file: &str) -> String {
        let package = self.schema.file(file).map_or("", |file| file.package.as_str());
        let own = match package {
            "" => full_name,
            package if package == self.package => full_name.get(package.len() + 1..).unwrap_or(full_name),
            _ => full_name,
        };
        safe(&own.replace('.', "_"))
    }

    fn file(&mut self, service: &Service, all: &Collected) {
        let short = service.full_name.rsplit('.').next().unwrap_or_default();
        self.line(&format!(
            "// {}, made of its Protobuf descriptor. Ids of fields are their numbers.",
            service.full_name
        ));
        self.line(
            "// uint32 and fixed32 are i64; uint64 and fixed64 are i64 with the same bits; float is double.",
        );
        self.line("");
        let mut space: Vec<String> = self
            .package
            .split('.')
            .filter(|part| !part.is_empty())
            .map(|part| safe(&part.to_lowercase()))
            .collect();
        space.push(safe(&short.to_lowercase()));
        self.line(&format!("namespace * {}", space.join(".")));
        for info in all.enums.values() {
            self.enumeration(info);
        }
        for message in ordered(all) {
            self.structure(message);
        }
        let declares = service.methods.iter().any(|m| callable(m) && option(&m.options).is_none());
        if declares {
            self.error_types();
        }
        self.line("");
        self.doc("", &service.comment);
        self.line(&format!("service {} {{", safe(short)));
        for method in &service.methods {
            self.method(method);
        }
        self.line("}");
    }

    fn error_types(&mut self) {
        let (code, detail) = (self.free("ErrorCode"), self.free("ErrorDetail"));
        self.line("");
        self.line("/** The codes of gRPC. */");
        self.line(&format!("enum {code} {{"));
        for code in Code::ALL {
            self.line(&format!("  {} = {}", code.name(), code.number()));
        }
        self.line("}");
        self.line("");
        self.line("/** A message of Protobuf: the URL of its type, and its bytes. */");
        self.line(&format!("struct {detail} {{\n  1: string type_url\n  2: binary value\n}}"));
        self.line("");
        self.line("/** Why a call failed. Every method throws it. */");
        let (name, code) = (self.error.clone(), code);
        self.line(&format!("exception {name} {{"));
        self.line(&format!("  1: {code} code"));
        self.line("  /** A sentence for people. */");
        self.line("  2: string message");
        self.line(&format!("  3: list<{detail}> details\n}}"));
    }

    fn enumeration(&mut self, info: &Enum) {
        self.line("");
        self.doc("", info.comment());
        self.line(&format!("enum {} {{", self.name(info.full_name(), info.file())));
        let prefix = format!("{}_", upper_snake(info.name()));
        let strip = |name: &str| {
            let rest = name.strip_prefix(&prefix)?;
            (rest.starts_with(|c: char| c.is_ascii_alphabetic()) && !is_reserved(rest))
                .then(|| rest.to_owned())
        };
        let stripped: Option<Vec<String>> = info.values().map(|value| strip(value.name())).collect();
        for (at, value) in info.values().enumerate() {
            let name =
                stripped.as_ref().and_then(|all| all.get(at).cloned()).unwrap_or_else(|| safe(value.name()));
            self.doc("  ", value.comment());
            self.line(&format!("  {name} = {}", value.number()));
        }
        self.line("}");
    }

    fn structure(&mut self, message: &Message) {
        self.line("");
        self.doc("", message.comment());
        let union = flag(message, 3);
        let kind = if union {
            "union"
        } else if flag(message, 2) {
            "exception"
        } else {
            "struct"
        };
        self.line(&format!("{kind} {} {{", self.name(message.full_name(), message.file())));
        let mut fields: Vec<Field<'_>> = message.fields().collect();
        fields.sort_by_key(Field::number);
        for field in fields {
            if let Some(oneof) = field.oneof().filter(|_| !union) {
                self.line(&format!("  // At most one of the fields of {oneof} is set."));
            }
            match self.field(&field, union) {
                Some(text) => {
                    self.doc("  ", field.comment());
                    self.line(&format!("  {text}"));
                }
                None => self.line(&format!(
                    "  // {} is not reachable over Thrift: its number {} is not an id.",
                    field.name(),
                    field.number()
                )),
            }
        }
        if message.extensions().next().is_some() {
            self.line("  // Extensions are not reachable over Thrift.");
        }
        self.line("}");
    }

    fn field(&self, field: &Field<'_>, union: bool) -> Option<String> {
        let hints = Hints::of(field.options());
        let id = hints.id.or_else(|| i16::try_from(field.number()).ok())?;
        let one = field.cardinality() == Cardinality::One;
        let word = match field.presence() {
            _ if union => "",
            Presence::Required => "required ",
            Presence::Explicit => "optional ",
            Presence::Implicit if !one && hints.optional => "optional ",
            Presence::Implicit => "",
        };
        let mut text = format!("{id}: {word}{} {}", self.field_type(field, 0), safe(field.name()));
        if let Some(default) = field.default().and_then(|text| default(&field.r#type(), text)) {
            let _ = write!(text, " = {default}");
        }
        Some(text)
    }

    fn field_type(&self, field: &Field<'_>, depth: usize) -> String {
        let hints = Hints::of(field.options());
        let ty = field.r#type();
        match field.cardinality() {
            Cardinality::One => self.item(&ty, &hints.item, depth),
            Cardinality::Map(key) => {
                format!("map<{}, {}>", scalar(key, &hints.key), self.item(&ty, &hints.item, depth))
            }
            Cardinality::List => match (&ty, hints.container.as_str()) {
                (Type::Message(entry), "map") => {
                    let part = |number, hint: &str| {
                        let field = entry.field_by_number(number);
                        field.map_or_else(String::new, |field| self.item(&field.r#type(), hint, depth))
                    };
                    format!("map<{}, {}>", part(1, &hints.key), part(2, &hints.item))
                }
                (_, "set") => format!("set<{}>", self.item(&ty, &hints.item, depth)),
                _ => format!("list<{}>", self.item(&ty, &hints.item, depth)),
            },
        }
    }

    fn item(&self, ty: &Type, hint: &str, depth: usize) -> String {
        match ty {
            Type::Scalar(ty) => scalar(*ty, hint).to_owned(),
            Type::Enum(info) => self.name(info.full_name(), info.file()),
            Type::Message(message) => match message.fields().next() {
                Some(field) if is_wrapper(message) && depth < MAX_WRAPPERS => {
                    self.field_type(&field, depth + 1)
                }
                _ => self.name(message.full_name(), message.file()),
            },
        }
    }

    fn method(&mut self, method: &Method) {
        if !callable(method) {
            self.line(&format!("  // {} streams, which Thrift has no way for.", method.name));
            return;
        }
        self.doc("  ", &method.comment);
        let Some(throws) = throws(method) else {
            let name = |message: &Message| self.name(message.full_name(), message.file());
            let (input, output, error) = (name(&method.input), name(&method.output), self.error.clone());
            return self.line(&format!(
                "  {output} {}(1: {input} request) throws (1: {error} error)",
                safe(&method.name)
            ));
        };
        let parameters: Vec<String> = method.input.fields().filter_map(|f| self.field(&f, true)).collect();
        let returned = method.output.fields().find(|field| Hints::of(field.options()).id == Some(0));
        let returns = returned.map_or_else(|| "void".to_owned(), |field| self.field_type(&field, 0));
        let word = if oneway(method) { "oneway " } else { "" };
        let throws: Vec<String> = throws
            .iter()
            .filter_map(|thrown| {
                let message = self.schema.message(&thrown.type_name)?;
                Some(format!(
                    "{}: {} {}",
                    thrown.id,
                    self.name(message.full_name(), message.file()),
                    thrown.name
                ))
            })
            .collect();
        let throws =
            if throws.is_empty() { String::new() } else { format!(" throws ({})", throws.join(", ")) };
        self.line(&format!("  {word}{returns} {}({}){throws}", method.name, parameters.join(", ")));
    }
}

fn scalar(ty: Scalar, hint: &str) -> &'static str {
    match (ty, hint) {
        (Scalar::Int32, "i8") => "i8",
        (Scalar::Int32, "i16") => "i16",
        (Scalar::Bytes, "uuid") => "uuid",
        (Scalar::Bytes, _) => "binary",
        _ => ttype(ty).name(),
    }
}

/// Default values of proto2 that look the same in Thrift.
fn default(ty: &Type, text: &str) -> Option<String> {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+._ /:".contains(&b));
    match ty {
        Type::Scalar(Scalar::Bool) => Some(text.to_owned()),
        Type::Scalar(Scalar::String) => plain(text).then(|| format!("\"{text}\"")),
        Type::Scalar(Scalar::Bytes) | Type::Enum(_) | Type::Message(_) => None,
        Type::Scalar(_) => text.parse::<f64>().is_ok_and(f64::is_finite).then(|| text.to_owned()),
    }
}

/// Types before those that need them; where they need each other, the compiler takes them in any order.
fn ordered(all: &Collected) -> Vec<&Message> {
    let mut done = Vec::new();
    let mut seen = BTreeSet::new();
    let mut stack: Vec<(&Message, bool)> =
        all.messages.values().rev().map(|message| (message, false)).collect();
    while let Some((message, parts_done)) = stack.pop() {
        if parts_done {
            done.push(message);
        } else if seen.insert(message.full_name().to_owned()) {
            stack.push((message, true));
            for field in message.fields() {
                let Type::Message(part) = field.r#type() else { continue };
                stack.extend(all.messages.get(part.full_name()).map(|part| (part, false)));
            }
        }
    }
    done
}
