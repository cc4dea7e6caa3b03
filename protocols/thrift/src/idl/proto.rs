//! Descriptors out of IDL: each `.thrift` file becomes a `.proto` text (proto2, which has Thrift's three kinds of presence), with what Protobuf has no words
//! for in options of `switchboard/thrift.proto`. What is lost is listed.

use super::ast::{Definition, Document, Field, Function, Kind, Requiredness, Type, Value, What};
use super::names::{camel, upper_snake};
use super::parse::parse;
use sb_schema::{Error, Result};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The path and text of the options.
pub const OPTIONS: (&str, &str) = ("switchboard/thrift.proto", include_str!("../../proto/thrift.proto"));
/// Names lead to other names at most so often.
const MAX_STEPS: usize = 64;

/// What `.thrift` files say, for [`sb_schema::Builder::text`].
#[derive(Debug, Default)]
pub struct Translated {
    /// Paths and texts of `.proto` files, that of the options among them.
    pub protos: Vec<(String, String)>,
    /// What is not carried over, a sentence each.
    pub notes: Vec<String>,
}

/// Translates files, given by path and text, all that they include among them.
///
/// `shop/orders.thrift` becomes `shop/orders.proto`. The package is the namespace for `proto`, else that for `*`, `java`, `py` or the first one, else the file's
/// name. Structs keep their names and ids. A method `T m(1: A a, 2: B b) throws (1: E e)` of a service `S` becomes `rpc m(S_m_args) returns (S_m_result)`
/// with `S_m_args {a = 1; b = 2;}` and `S_m_result {success = 1;}`, or `google.protobuf.Empty` for `void`.
pub fn to_proto(files: &[(&str, &str)]) -> Result<Translated> {
    let mut all = Vec::new();
    for (path, text) in files {
        let document = parse(path, text)?;
        all.push(File::new(path, document));
    }
    let mut translated = Translated { protos: vec![(OPTIONS.0.into(), OPTIONS.1.into())], notes: Vec::new() };
    for at in 0..all.len() {
        if let Some(file) = all.get(at) {
            let mut writer =
                Writer { all: &all, at, file, notes: &mut translated.notes, extra: BTreeSet::new() };
            let text = writer.file()?;
            translated.protos.push((file.proto.clone(), text));
        }
    }
    Ok(translated)
}

struct File {
    path: String,
    proto: String,
    package: String,
    document: Document,
}

impl File {
    fn new(path: &str, document: Document) -> File {
        let scopes = ["proto", "*", "java", "py"];
        let named = |scope: &str| document.namespaces.iter().find(|(s, _)| s == scope);
        let namespace = scopes.into_iter().find_map(named).or(document.namespaces.first());
        let raw = namespace.map_or_else(|| stem_of(path).to_owned(), |(_, name)| name.clone());
        let parts: Vec<String> = raw
            .split('.')
            .filter(|part| !part.is_empty())
            .map(|part| {
                part.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
            })
            .map(
                |part: String| {
                    if part.starts_with(|c: char| c.is_ascii_digit()) { format!("_{part}") } else { part }
                },
            )
            .collect();
        File { path: path.to_owned(), proto: proto_path(path), package: parts.join("."), document }
    }

    fn find(&self, name: &str) -> Option<&Definition> {
        self.document.definitions.iter().find(|definition| definition.name == name)
    }
}

/// The path of the `.proto` text of a `.thrift` file.
pub fn proto_path(path: &str) -> String {
    format!("{}.proto", path.strip_suffix(".thrift").unwrap_or(path))
}

/// `shared` of `common/shared.thrift`.
fn stem_of(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".thrift").unwrap_or(name)
}

/// A type behind all typedefs.
enum Resolved<'a> {
    /// Protobuf's name and the hint for Thrift's.
    Scalar(&'static str, &'static str),
    Enum(usize, &'a Definition, &'a [(String, i32, String)]),
    Struct(usize, &'a Definition),
    List(&'a Type, usize),
    Set(&'a Type, usize),
    Map(&'a Type, &'a Type, usize),
}

struct Writer<'a> {
    all: &'a [File],
    at: usize,
    file: &'a File,
    notes: &'a mut Vec<String>,
    /// Files that are imported.
    extra: BTreeSet<String>,
}

/// The inside of a message: types that are nested in it, and its fields.
#[derive(Default)]
struct Body {
    nested: String,
    fields: String,
    taken: BTreeSet<String>,
}

/// How one value is written in Protobuf.
struct Single {
    ty: String,
    hint: &'static str,
}

impl<'a> Writer<'a> {
    fn error<T>(&self, message: impl Into<String>, at: (u32, u32)) -> Result<T> {
        Err(Error::at(message, &self.file.path, at.0, at.1))
    }

    fn note(&mut self, text: String) {
        self.notes.push(format!("{}: {text}", self.file.path));
    }

    fn file(&mut self) -> Result<String> {
        let mut body = String::new();
        for definition in &self.file.document.definitions {
            match &definition.what {
                What::Const(..) => {
                    self.note(format!("the constant {} is only used for default values", definition.name))
                }
                What::Typedef(_) => {}
                What::Enum(values) => enumeration(definition, values, &mut body),
                What::Struct(kind, fields) => self.structure(definition, *kind, fields, &mut body)?,
                What::Service(parent, functions) => {
                    self.service(definition, parent.as_deref(), functions, &mut body)?
                }
            }
        }
        let mut head = format!("// Made of {}.\nsyntax = \"proto2\";\n\n", self.file.path);
        if !self.file.package.is_empty() {
            let _ = writeln!(head, "package {};\n", self.file.package);
        }
        self.extra.insert(OPTIONS.0.to_owned());
        for include in &self.file.document.includes {
            match self.include(include) {
                Some(at) => drop(self.all.get(at).map(|file| self.extra.insert(file.proto.clone()))),
                None => {
                    return Err(Error::in_file(
                        format!("it includes {include:?}, which was not given"),
                        &self.file.path,
                    ));
                }
            }
        }
        self.extra.remove(&self.file.proto);
        for import in &self.extra {
            let _ = writeln!(head, "import \"{import}\";");
        }
        Ok(head + &body)
    }

    fn include(&self, path: &str) -> Option<usize> {
        let path = path.trim_start_matches("./");
        let beside = match self.file.path.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{path}"),
            None => path.to_owned(),
        };
        let by = |wanted: &dyn Fn(&str) -> bool| self.all.iter().position(|file| wanted(&file.path));
        by(&|known| known == beside)
            .or_else(|| by(&|known| known == path))
            .or_else(|| by(&|known| stem_of(known) == stem_of(path)))
    }

    /// The definition of a name as it is written in the file at this place.
    fn lookup(&self, name: &str, of: usize) -> Option<(usize, &'a Definition)> {
        let all = self.all;
        let file = all.get(of)?;
        if let Some(found) = file.find(name) {
            return Some((of, found));
        }
        let (scope, name) = name.split_once('.')?;
        let include = file.document.includes.iter().find(|path| stem_of(path) == scope)?;
        let at =
            Writer { all, at: of, file, notes: &mut Vec::new(), extra: BTreeSet::new() }.include(include)?;
        Some((at, all.get(at)?.find(name)?))
    }

    fn resolve<'t>(&self, ty: &'t Type, of: usize) -> Result<Resolved<'t>>
    where
        'a: 't,
    {
        let (mut ty, mut of) = (ty, of);
        for _ in 0..MAX_STEPS {
            let (name, at) = match ty {
                Type::Base(base) => {
                    return Ok(match *base {
                        "bool" => Resolved::Scalar("bool", ""),
                        "byte" | "i8" => Resolved::Scalar("int32", "i8"),
                        "i16" => Resolved::Scalar("int32", "i16"),
                        "i32" => Resolved::Scalar("int32", ""),
                        "i64" => Resolved::Scalar("int64", ""),
                        "double" => Resolved::Scalar("double", ""),
                        "binary" => Resolved::Scalar("bytes", ""),
                        "uuid" => Resolved::Scalar("bytes", "uuid"),
                        _ => Resolved::Scalar("string", ""),
                    });
                }
                Type::List(item) => return Ok(Resolved::List(item, of)),
                Type::Set(item) => return Ok(Resolved::Set(item, of)),
                Type::Map(key, value) => return Ok(Resolved::Map(key, value, of)),
                Type::Name(name, at) => (name, at),
            };
            match self.lookup(name, of) {
                Some((at, Definition { what: What::Typedef(inner), .. })) => (ty, of) = (inner, at),
                Some((at, definition)) => match &definition.what {
                    What::Enum(values) => return Ok(Resolved::Enum(at, definition, values)),
                    What::Struct(..) => return Ok(Resolved::Struct(at, definition)),
                    _ => return self.error(format!("{name} is not a type"), definition.at),
                },
                None => return self.error(format!("there is no type {name}"), *at),
            }
        }
        self.error("the typedefs lead in a circle", (1, 1))
    }

    /// The name by which a definition of a file is referred to.
    fn reference(&mut self, at: usize, name: &str) -> String {
        let Some(file) = self.all.get(at) else { return name.to_owned() };
        if at != self.at {
            self.extra.insert(file.proto.clone());
        }
        if file.package.is_empty() { format!(".{name}") } else { format!(".{}.{name}", file.package) }
    }

    fn structure(
        &mut self,
        definition: &'a Definition,
        kind: Kind,
        fields: &'a [Field],
        out: &mut String,
    ) -> Result<()> {
        let mut body = Body::default();
        let union = kind == Kind::Union;
        for field in fields {
            self.field(&definition.name, field, field.id, union, self.at, &mut body)?;
        }
        doc(out, "", &definition.doc);
        let _ = writeln!(out, "message {} {{", definition.name);
        match kind {
            Kind::Struct => {}
            Kind::Union => out.push_str("  option (.switchboard.thrift.message) = { union: true };\n"),
            Kind::Exception => {
                out.push_str("  option (.switchboard.thrift.message) = { exception: true };\n")
            }
        }
        out.push_str(&body.nested);
        if union && !fields.is_empty() {
            let mut name = "choice".to_owned();
            while fields.iter().any(|field| field.name == name) {
                name.push('_');
            }
            let _ = writeln!(out, "  oneof {name} {{\n{}  }}", body.fields);
        } else {
            out.push_str(&body.fields);
        }
        out.push_str("}\n");
        Ok(())
    }

    /// Writes a field. `id` is that in Thrift.
    fn field(
        &mut self,
        owner: &str,
        field: &'a Field,
        id: i16,
        in_oneof: bool,
        of: usize,
        body: &mut Body,
    ) -> Result<()> {
        let mut options = Vec::new();
        let number = number(id);
        if number != i32::from(id) {
            options.push(format!("id: {id}"));
        }
        let label = match field.requiredness {
            _ if in_oneof => "",
            Requiredness::Required => "required ",
            _ => "optional ",
        };
        let resolved = self.resolve(&field.ty, of)?;
        let mut default = None;
        let (label, ty) = match resolved {
            Resolved::List(..) | Resolved::Set(..) | Resolved::Map(..) if in_oneof => {
                let single = self.single(owner, &field.name, &field.ty, of, body)?;
                ("", single.ty)
            }
            Resolved::List(item, of) | Resolved::Set(item, of) => {
                if matches!(self.resolve(&field.ty, of)?, Resolved::Set(..)) {
                    options.push("container: \"set\"".into());
                }
                let single = self.single(owner, &field.name, item, of, body)?;
                hint(&mut options, "item", single.hint);
                ("repeated ", single.ty)
            }
            Resolved::Map(key, value, of) => self.map(owner, field, key, value, of, &mut options, body)?,
            Resolved::Enum(..) | Resolved::Struct(..) | Resolved::Scalar(..) => {
                let single = self.single(owner, &field.name, &field.ty, of, body)?;
                hint(&mut options, "item", single.hint);
                default = field.default.as_ref().and_then(|value| self.default(value, &resolved, of));
                (label, single.ty)
            }
        };
        let many = label == "repeated " || label == "map";
        if many && field.requiredness == Requiredness::Optional {
            options.push("optional: true".into());
            self.note(format!("{owner}.{}: an empty list, set or map is the same as none", field.name));
        }
        if field.default.is_some() && default.is_none() {
            self.note(format!("{owner}.{}: its default value is not carried", field.name));
        }
        let mut brackets: Vec<String> = default.map(|text| format!("default = {text}")).into_iter().collect();
        if !options.is_empty() {
            brackets.push(format!("(.switchboard.thrift.field) = {{ {} }}", options.join(" ")));
        }
        let brackets =
            if brackets.is_empty() { String::new() } else { format!(" [{}]", brackets.join(", ")) };
        doc(&mut body.fields, "  ", &field.doc);
        let label = if label == "map" { "" } else { label };
        let _ = writeln!(body.fields, "  {label}{ty} {} = {number}{brackets};", field.name);
        Ok(())
    }

    /// A map: of Protobuf, if its key can be one there, else pairs. Gives label and type.
    fn map(
        &mut self,
        owner: &str,
        field: &'a Field,
        key: &'a Type,
        value: &'a Type,
        of: usize,
        options: &mut Vec<String>,
        body: &mut Body,
    ) -> Result<(&'static str, String)> {
        let plain_key =
            matches!(self.resolve(key, of)?, Resolved::Scalar(ty, _) if !matches!(ty, "double" | "bytes"));
        // Protobuf wants the first value of such an enum to be 0.
        let plain_value = match self.resolve(value, of)? {
            Resolved::Enum(_, _, values) => values.first().is_none_or(|(_, number, _)| *number == 0),
            _ => true,
        };
        if plain_key && plain_value {
            let key = self.single(owner, &field.name, key, of, body)?;
            let value = self.single(owner, &field.name, value, of, body)?;
            hint(options, "key", key.hint);
            hint(options, "item", value.hint);
            return Ok(("map", format!("map<{}, {}>", key.ty, value.ty)));
        }
        let (name, hints) = self.pair(owner, &field.name, key, value, of, body)?;
        options.push("container: \"map\"".into());
        options.extend(hints);
        Ok(("repeated ", name))
    }

    /// A message of key and value; gives its name and the hints.
    fn pair(
        &mut self,
        owner: &str,
        name: &str,
        key: &'a Type,
        value: &'a Type,
        of: usize,
        body: &mut Body,
    ) -> Result<(String, Vec<String>)> {
        let key = self.single(owner, &format!("{name}_key"), key, of, body)?;
        let value = self.single(owner, &format!("{name}_value"), value, of, body)?;
        let pair = free(body, &format!("{}Pair", camel(name)));
        let _ = writeln!(
            body.nested,
            "  message {pair} {{\n    optional {} key = 1;\n    optional {} value = 2;\n  }}",
            key.ty, value.ty
        );
        let mut hints = Vec::new();
        hint(&mut hints, "key", key.hint);
        hint(&mut hints, "item", value.hint);
        Ok((pair, hints))
    }

    /// One value; a list, set or map is wrapped in a message of its own, nested in the one around.
    fn single(
        &mut self,
        owner: &str,
        name: &str,
        ty: &'a Type,
        of: usize,
        body: &mut Body,
    ) -> Result<Single> {
        let (item, mut options, of) = match self.resolve(ty, of)? {
            Resolved::Scalar(ty, hint) => return Ok(Single { ty: ty.to_owned(), hint }),
            Resolved::Enum(at, definition, _) | Resolved::Struct(at, definition) => {
                return Ok(Single { ty: self.reference(at, &definition.name), hint: "" });
            }
            Resolved::List(item, of) => (item, Vec::new(), of),
            Resolved::Set(item, of) => (item, vec!["container: \"set\"".to_owned()], of),
            Resolved::Map(key, value, of) => {
                let (pair, hints) = self.pair(owner, name, key, value, of, body)?;
                let mut options = vec!["container: \"map\"".to_owned()];
                options.extend(hints);
                return Ok(wrapper(body, name, &pair, &options));
            }
        };
        let inner = self.single(owner, &format!("{name}_items"), item, of, body)?;
        hint(&mut options, "item", inner.hint);
        Ok(wrapper(body, name, &inner.ty, &options))
    }

    /// A default value as proto2 writes it.
    fn default(&self, value: &Value, ty: &Resolved<'_>, of: usize) -> Option<String> {
        let mut value = value.clone();
        for _ in 0..MAX_STEPS {
            let Value::Name(name) = &value else { break };
            match (name.as_str(), ty) {
                ("true", Resolved::Scalar("bool", _)) => return Some("true".into()),
                ("false", Resolved::Scalar("bool", _)) => return Some("false".into()),
                (_, Resolved::Enum(_, definition, values)) => {
                    let last = name.rsplit('.').next().unwrap_or_default();
                    if values.iter().any(|(known, ..)| known == last) && name.contains('.') {
                        return Some(value_name(&definition.name, last));
                    }
                }
                _ => {}
            }
            match self.lookup(name, of)?.1 {
                Definition { what: What::Const(_, inner), .. } => value = inner.clone(),
                _ => return None,
            }
        }
        match (ty, value) {
            (Resolved::Scalar("bool", _), Value::Int(n)) => Some((n != 0).to_string()),
            (Resolved::Scalar("int32", _), Value::Int(n)) => i32::try_from(n).ok().map(|n| n.to_string()),
            (Resolved::Scalar("int64" | "double", _), Value::Int(n)) => Some(n.to_string()),
            (Resolved::Scalar("double", _), Value::Double(n)) => Some(format!("{n:?}")),
            (Resolved::Scalar("string", _), Value::Text(text)) => Some(quoted(&text)),
            (Resolved::Scalar("bytes", ""), Value::Text(text)) => Some(quoted(&text)),
            (Resolved::Enum(_, definition, values), Value::Int(n)) => {
                let (name, ..) = values.iter().find(|(_, number, _)| i64::from(*number) == n)?;
                Some(value_name(&definition.name, name))
            }
            _ => None,
        }
    }

    fn service(
        &mut self,
        definition: &'a Definition,
        parent: Option<&str>,
        functions: &'a [Function],
        out: &mut String,
    ) -> Result<()> {
        let mut rpcs = String::new();
        for function in functions {
            self.function(self.at, &definition.name, function, &mut rpcs)?;
            self.messages(&definition.name, function, out)?;
        }
        // What is inherited is called by the same names, so the service simply has it.
        let (mut parent, mut of) = (parent.map(str::to_owned), self.at);
        for _ in 0..MAX_STEPS {
            let Some(name) = parent.take() else { break };
            match self.lookup(&name, of) {
                Some((at, found)) => match &found.what {
                    What::Service(next, functions) => {
                        for function in functions {
                            self.function(at, &found.name, function, &mut rpcs)?;
                        }
                        (parent, of) = (next.clone(), at);
                    }
                    _ => return self.error(format!("{name} is no service"), definition.at),
                },
                None => return self.error(format!("there is no service {name}"), definition.at),
            }
        }
        if parent.is_some() {
            return self.error("the services extend each other in a circle", definition.at);
        }
        doc(out, "", &definition.doc);
        let _ = writeln!(out, "service {} {{\n{rpcs}}}", definition.name);
        Ok(())
    }

    /// The messages of a method.
    fn messages(&mut self, service: &str, function: &'a Function, out: &mut String) -> Result<()> {
        let mut body = Body::default();
        let args = format!("{service}_{}_args", function.name);
        for field in &function.parameters {
            self.field(&args, field, field.id, false, self.at, &mut body)?;
        }
        let _ = writeln!(out, "message {args} {{\n{}{}}}", body.nested, body.fields);
        if let Some(ty) = &function.returns {
            let result = format!("{service}_{}_result", function.name);
            let mut body = Body::default();
            let mut options = vec!["id: 0".to_owned()];
            let (label, ty) = match self.resolve(ty, self.at)? {
                Resolved::List(item, of) | Resolved::Set(item, of) => {
                    if matches!(self.resolve(ty, self.at)?, Resolved::Set(..)) {
                        options.push("container: \"set\"".into());
                    }
                    let single = self.single(&result, "success", item, of, &mut body)?;
                    hint(&mut options, "item", single.hint);
                    ("repeated", single.ty)
                }
                Resolved::Map(key, value, of) => {
                    let (pair, hints) = self.pair(&result, "success", key, value, of, &mut body)?;
                    options.push("container: \"map\"".into());
                    options.extend(hints);
                    ("repeated", pair)
                }
                _ => {
                    let single = self.single(&result, "success", ty, self.at, &mut body)?;
                    hint(&mut options, "item", single.hint);
                    ("optional", single.ty)
                }
            };
            let _ = writeln!(
                out,
                "message {result} {{\n{}  {label} {ty} success = 1 [(.switchboard.thrift.field) = {{ {} }}];\n}}",
                body.nested,
                options.join(" ")
            );
        }
        Ok(())
    }

    /// The method of a service, whose messages are in the file at this place.
    fn function(&mut self, at: usize, service: &str, function: &'a Function, out: &mut String) -> Result<()> {
        let args = self.reference(at, &format!("{service}_{}_args", function.name));
        let result = match function.returns {
            Some(_) => self.reference(at, &format!("{service}_{}_result", function.name)),
            None => {
                self.extra.insert("google/protobuf/empty.proto".into());
                ".google.protobuf.Empty".into()
            }
        };
        let mut option = String::new();
        if function.oneway {
            option.push_str(" oneway: true");
        }
        for thrown in &function.throws {
            let Resolved::Struct(of, definition) = self.resolve(&thrown.ty, at)? else {
                return self.error(format!("{} is no exception", thrown.name), thrown.at);
            };
            let ty = self.reference(of, &definition.name);
            let code = annotation(&definition.annotations, "code").unwrap_or_default();
            let known = code.is_empty() || sb_board::call::Code::from_name(code).is_some();
            if !known {
                return self.error(format!("{code:?} is none of the codes of gRPC"), definition.at);
            }
            let _ = write!(
                option,
                " throws: {{ id: {} name: \"{}\" type: \"{}\" code: \"{code}\" }}",
                thrown.id,
                thrown.name,
                ty.trim_start_matches('.')
            );
        }
        doc(out, "  ", &function.doc);
        let _ = writeln!(out, "  rpc {}({args}) returns ({result}) {{", function.name);
        let _ = writeln!(out, "    option (.switchboard.thrift.method) = {{{option} }};");
        let idempotency = ["readonly", "idempotent"]
            .into_iter()
            .find(|name| annotation(&function.annotations, name).is_some());
        match idempotency {
            Some("readonly") => out.push_str("    option idempotency_level = NO_SIDE_EFFECTS;\n"),
            Some(_) => out.push_str("    option idempotency_level = IDEMPOTENT;\n"),
            None => {}
        }
        out.push_str("  }\n");
        Ok(())
    }
}

/// An annotation by its name, with `switchboard.` before it or without.
fn annotation<'t>(annotations: &'t [(String, String)], name: &str) -> Option<&'t str> {
    let is = |known: &str| known == name || known.strip_prefix("switchboard.") == Some(name);
    annotations.iter().find(|(known, _)| is(known)).map(|(_, value)| value.as_str())
}

/// The number of a field: its id, where Protobuf allows it.
fn number(id: i16) -> i32 {
    match i32::from(id) {
        id @ ..=0 => 40_000 - id,
        id @ 19_000..=19_999 => 100_000 + id,
        id => id,
    }
}

fn hint(options: &mut Vec<String>, name: &str, hint: &str) {
    if !hint.is_empty() {
        options.push(format!("{name}: \"{hint}\""));
    }
}

/// A name that no type nested in the message has.
fn free(body: &mut Body, name: &str) -> String {
    let mut name = name.to_owned();
    while !body.taken.insert(name.clone()) {
        name.push('_');
    }
    name
}

fn wrapper(body: &mut Body, name: &str, item: &str, options: &[String]) -> Single {
    let message = free(body, &format!("{}Value", camel(name)));
    let options = if options.is_empty() {
        String::new()
    } else {
        format!(" [(.switchboard.thrift.field) = {{ {} }}]", options.join(" "))
    };
    let _ = writeln!(
        body.nested,
        "  message {message} {{\n    option (.switchboard.thrift.message) = {{ wrapper: true }};\n    repeated {item} items = 1{options};\n  }}"
    );
    Single { ty: message, hint: "" }
}

/// Values of all enums of a package share one scope in Protobuf, so they carry the enum's name.
fn value_name(of: &str, value: &str) -> String {
    let prefix = upper_snake(of) + "_";
    if value.starts_with(&prefix) && value.len() > prefix.len() { value.to_owned() } else { prefix + value }
}

fn enumeration(definition: &Definition, values: &[(String, i32, String)], out: &mut String) {
    doc(out, "", &definition.doc);
    let _ = writeln!(out, "enum {} {{", definition.name);
    let numbers: BTreeSet<i32> = values.iter().map(|(_, number, _)| *number).collect();
    if numbers.len() < values.len() {
        out.push_str("  option allow_alias = true;\n");
    }
    for (name, number, text) in values {
        doc(out, "  ", text);
        let _ = writeln!(out, "  {} = {number};", value_name(&definition.name, name));
    }
    if values.is_empty() {
        let _ = writeln!(out, "  {} = 0;", value_name(&definition.name, "NOTHING"));
    }
    out.push_str("}\n");
}

fn doc(out: &mut String, indent: &str, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "{indent}// {line}");
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(out, "\\{byte:03o}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(
            [number(1), number(-1), number(0), number(19_500), number(32_767)],
            [1, 40_001, 40_000, 119_500, 32_767]
        );
        let all: BTreeSet<i32> = (i16::MIN..=i16::MAX).map(number).collect();
        assert_eq!(all.len(), 65_536);
    }

    #[test]
    fn defaults_are_quoted() {
        assert_eq!(quoted("a\"\\\n\u{1}ü"), "\"a\\\"\\\\\\n\\001ü\"");
    }
}
