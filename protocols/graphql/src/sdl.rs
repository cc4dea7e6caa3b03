//! Prints a model in the schema definition language (GraphQL October 2021 §3, with `@oneOf`).

use crate::model::{Arg, Base, Enum, Field, Input, Object, Ref, Scalar, Source, Type, name_of};
use std::fmt::Write as _;

/// For whom it is printed.
#[derive(Copy, Clone, PartialEq)]
pub(crate) enum For {
    /// Everything.
    Reader,
    /// A federation's composition: keys, and without the fields and types that it adds itself.
    Federation,
}

/// What a schema consists of.
pub(crate) struct Parts<'a> {
    pub(crate) types: &'a [Type],
    /// The names of the root types there are.
    pub(crate) roots: &'a [(&'static str, u32)],
    /// The names of entities that can be asked for.
    pub(crate) entities: &'a [String],
}

/// Prints it.
pub(crate) fn print(parts: &Parts<'_>, whom: For) -> String {
    let mut out = String::new();
    if whom == For::Federation {
        out.push_str(
            "extend schema @link(url: \"https://specs.apollo.dev/federation/v2.3\", import: [\"@key\"])\n\n",
        );
    } else {
        out.push_str("schema {\n");
        for (kind, at) in parts.roots {
            let _ = writeln!(out, "  {kind}: {}", name_of(parts.types, Base::Object(*at)));
        }
        out.push_str("}\n\n");
    }
    if parts.types.iter().any(|ty| matches!(ty, Type::Input(input) if input.one_of)) {
        text(&mut out, "", "Exactly one field of the input object has to be given.");
        out.push_str("directive @oneOf on INPUT_OBJECT\n\n");
    }
    for ty in parts.types {
        match ty {
            Type::Scalar(scalar) => scalar_type(&mut out, *scalar, whom),
            Type::Enum(kind) => enum_type(&mut out, kind),
            Type::Object(kind) => object_type(&mut out, parts.types, kind, whom),
            Type::Input(kind) => input_type(&mut out, parts.types, kind),
        }
    }
    if whom == For::Reader && !parts.entities.is_empty() {
        text(&mut out, "", "Types that other subgraphs refer to by their keys.");
        let _ = writeln!(out, "union _Entity = {}\n", parts.entities.join(" | "));
    }
    out
}

fn scalar_type(out: &mut String, scalar: Scalar, whom: For) {
    let Some((about, url)) = scalar.about() else { return };
    if whom == For::Federation && scalar == Scalar::Representation {
        return;
    }
    text(out, "", about);
    let _ = writeln!(out, "scalar {} @specifiedBy(url: \"{url}\")\n", scalar.name());
}

fn enum_type(out: &mut String, kind: &Enum) {
    text(out, "", &kind.description);
    let _ = writeln!(out, "enum {} {{", kind.name);
    for value in &kind.values {
        text(out, "  ", &value.description);
        let _ = writeln!(out, "  {}{}", value.name, deprecated(value.deprecated));
    }
    out.push_str("}\n\n");
}

fn object_type(out: &mut String, types: &[Type], kind: &Object, whom: For) {
    let own = |field: &&Field| {
        whom == For::Reader || !matches!(field.source, Source::Service | Source::Sdl | Source::Entities)
    };
    let mut fields = kind.fields.iter().filter(own).peekable();
    if fields.peek().is_none() {
        return;
    }
    text(out, "", &kind.description);
    let _ = write!(out, "type {}", kind.name);
    if let (For::Federation, Some((key, resolvable))) = (whom, &kind.key) {
        let _ = write!(out, " @key(fields: {}", quoted(key));
        out.push_str(if *resolvable { ")" } else { ", resolvable: false)" });
    }
    out.push_str(" {\n");
    for field in fields {
        text(out, "  ", &field.description);
        let _ = write!(out, "  {}", field.name);
        if !field.args.is_empty() {
            out.push('(');
            for (at, arg) in field.args.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                if !arg.description.is_empty() {
                    out.push_str(&quoted(&arg.description));
                    out.push(' ');
                }
                argument(out, types, arg);
            }
            out.push(')');
        }
        let _ = writeln!(out, ": {}{}", shown(types, field.ty), deprecated(field.deprecated));
    }
    out.push_str("}\n\n");
}

fn input_type(out: &mut String, types: &[Type], kind: &Input) {
    text(out, "", &kind.description);
    let _ = writeln!(out, "input {}{} {{", kind.name, if kind.one_of { " @oneOf" } else { "" });
    for field in &kind.fields {
        text(out, "  ", &field.description);
        out.push_str("  ");
        argument(out, types, field);
        out.push('\n');
    }
    out.push_str("}\n\n");
}

fn argument(out: &mut String, types: &[Type], arg: &Arg) {
    // What must be given cannot be deprecated.
    let old = deprecated(arg.deprecated && arg.ty.null);
    let _ = write!(out, "{}: {}{old}", arg.name, shown(types, arg.ty));
}

/// A type with its list and its exclamation marks.
pub(crate) fn shown(types: &[Type], ty: Ref) -> String {
    let name = name_of(types, ty.base);
    let mark = |null: bool| if null { "" } else { "!" };
    match ty.list {
        true => format!("[{name}{}]{}", mark(ty.item_null), mark(ty.null)),
        false => format!("{name}{}", mark(ty.null)),
    }
}

fn deprecated(is: bool) -> &'static str {
    if is { " @deprecated" } else { "" }
}

/// A description, if there is any.
fn text(out: &mut String, indent: &str, description: &str) {
    let description = description.trim();
    if description.is_empty() {
        return;
    }
    let plain = |c: char| !c.is_control() || c == '\n' || c == '\t';
    let block = description.contains('\n')
        && description.chars().all(plain)
        && !description.contains("\"\"\"")
        && !description.ends_with(['"', '\\']);
    if block {
        let _ = writeln!(out, "{indent}\"\"\"");
        for line in description.lines() {
            let _ = writeln!(out, "{indent}{}", line.trim_end());
        }
        let _ = writeln!(out, "{indent}\"\"\"");
    } else {
        let _ = writeln!(out, "{indent}{}", quoted(description));
    }
}

/// A string of GraphQL; its escapes are JSON's.
fn quoted(text: &str) -> String {
    serde_json::to_string(text.trim()).unwrap_or_else(|_| "\"\"".into())
}
