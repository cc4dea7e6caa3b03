//! From `.proto` texts to encoded file descriptors, and the files that come with this crate.

use crate::error::{Error, Result};
use crate::wire::{Fields, WireValue};
use bytes::Bytes;
use miette::Diagnostic;
use protox::Compiler;
use protox::file::{File, FileResolver, GoogleFileResolver};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Brackets may lie in each other as deep as this in a `.proto` text.
const MAX_BRACKETS: usize = 64;

/// The texts that come with this crate, besides google/protobuf/*.
const BUNDLED: &[(&str, &str)] = &[
    ("google/api/annotations.proto", include_str!("../proto/google/api/annotations.proto")),
    ("google/api/client.proto", include_str!("../proto/google/api/client.proto")),
    ("google/api/field_behavior.proto", include_str!("../proto/google/api/field_behavior.proto")),
    ("google/api/http.proto", include_str!("../proto/google/api/http.proto")),
    ("google/api/httpbody.proto", include_str!("../proto/google/api/httpbody.proto")),
    ("google/api/launch_stage.proto", include_str!("../proto/google/api/launch_stage.proto")),
    ("google/longrunning/operations.proto", include_str!("../proto/google/longrunning/operations.proto")),
    ("google/rpc/code.proto", include_str!("../proto/google/rpc/code.proto")),
    ("google/rpc/error_details.proto", include_str!("../proto/google/rpc/error_details.proto")),
    ("google/rpc/status.proto", include_str!("../proto/google/rpc/status.proto")),
];

const WELL_KNOWN: &[&str] = &[
    "google/protobuf/any.proto",
    "google/protobuf/api.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/source_context.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/type.proto",
    "google/protobuf/wrappers.proto",
];

/// An encoded `google.protobuf.FileDescriptorProto` under its name.
pub(crate) type Named = (String, Bytes);

/// The files that come with this crate, compiled; imports before what imports them.
pub(crate) fn bundled() -> Result<&'static [Named]> {
    static FILES: OnceLock<Result<Vec<Named>>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let roots: Vec<&str> =
            WELL_KNOWN.iter().copied().chain(BUNDLED.iter().map(|(name, _)| *name)).collect();
        compile(&roots, BTreeMap::new(), BTreeMap::new())
    });
    files.as_ref().map(Vec::as_slice).map_err(Clone::clone)
}

/// Whether a file of this name comes with this crate.
pub(crate) fn is_bundled(name: &str) -> bool {
    WELL_KNOWN.contains(&name) || BUNDLED.iter().any(|(bundled, _)| *bundled == name)
}

/// Compiles `texts`, which may import each other, `compiled` files and those that come with this crate. The result holds what they import too.
pub(crate) fn compile_texts(
    texts: &BTreeMap<String, String>,
    compiled: &BTreeMap<String, Bytes>,
) -> Result<Vec<Named>> {
    for (name, text) in texts {
        look_over(name, text)?;
    }
    let roots: Vec<&str> = texts.keys().map(String::as_str).collect();
    compile(&roots, texts.clone(), compiled.clone())
}

fn compile(
    roots: &[&str],
    texts: BTreeMap<String, String>,
    compiled: BTreeMap<String, Bytes>,
) -> Result<Vec<Named>> {
    let copy = texts.clone();
    let mut compiler = Compiler::with_file_resolver(Files { texts, compiled });
    compiler.include_imports(true).include_source_info(true);
    for root in roots {
        compiler.open_file(root).map_err(|error| explain(&error, root, &copy))?;
    }
    split(&compiler.encode_file_descriptor_set())
}

struct Files {
    texts: BTreeMap<String, String>,
    compiled: BTreeMap<String, Bytes>,
}

impl FileResolver for Files {
    fn resolve_path(&self, path: &std::path::Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> std::result::Result<File, protox::Error> {
        if let Some(text) = self.texts.get(name) {
            return File::from_source(name, text);
        }
        if let Some(bytes) = self.compiled.get(name) {
            if uses_editions(bytes) {
                // The compiler's own types cannot hold it.
                return Err(protox::Error::new(Error::in_file(
                    "it uses Protobuf editions, which a .proto text cannot import here; give the importing file in the compiled descriptor set too",
                    name,
                )));
            }
            return File::decode_file_descriptor_proto(bytes.clone()).map_err(protox::Error::new);
        }
        if let Some((_, text)) = BUNDLED.iter().find(|(bundled, _)| *bundled == name) {
            return File::from_source(name, text);
        }
        GoogleFileResolver::new().open_file(name)
    }
}

fn uses_editions(file: &[u8]) -> bool {
    Fields::new(file).flatten().any(|(number, value)| match (number, value) {
        (12, WireValue::Bytes(syntax)) => !matches!(syntax, b"proto2" | b"proto3" | b""),
        (14, _) => true,
        _ => false,
    })
}

/// Splits an encoded `FileDescriptorSet` into its files, whose bytes stay as they are.
pub(crate) fn split(set: &[u8]) -> Result<Vec<Named>> {
    let mut files = Vec::new();
    for field in Fields::new(set) {
        let field = field.map_err(|_| Error::new("not a google.protobuf.FileDescriptorSet"))?;
        if let (1, WireValue::Bytes(file)) = field {
            files.push((file_name(file)?, Bytes::copy_from_slice(file)));
        }
    }
    Ok(files)
}

/// The name in an encoded `FileDescriptorProto`.
pub(crate) fn file_name(file: &[u8]) -> Result<String> {
    let mut name = None;
    for field in Fields::new(file) {
        let field = field.map_err(|_| Error::new("not a google.protobuf.FileDescriptorProto"))?;
        if let (1, WireValue::Bytes(bytes)) = field {
            name = Some(bytes);
        }
    }
    let name = name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
    if name.is_empty() || name.len() > 1024 {
        return Err(Error::new("a file descriptor has no usable name"));
    }
    Ok(name.to_owned())
}

fn explain(error: &protox::Error, root: &str, texts: &BTreeMap<String, String>) -> Error {
    let file = error.file().unwrap_or(root);
    let mut message = error.to_string();
    if let Some(help) = error.help() {
        message = format!("{message} ({help})");
    }
    let labels: Vec<_> = error.labels().into_iter().flatten().collect();
    // "first defined here" names the innocent place.
    let label = labels
        .iter()
        .find(|label| !label.label().is_some_and(|text| text.contains("first")))
        .or_else(|| labels.first());
    match (label, texts.get(file)) {
        (Some(label), Some(text)) => {
            let (line, column) = position(text, label.offset());
            Error::at(message, file, line, column)
        }
        _ => Error::in_file(message, file),
    }
}

/// Line and column, from 1, of a byte.
fn position(text: &str, offset: usize) -> (u32, u32) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// Refuses, before the compiler reads it, what it cannot or should not read: editions, and brackets too deep for its recursion.
fn look_over(name: &str, text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut first) = (0, 0usize, true);
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1);
        match byte {
            b'/' if next == Some(&b'/') => {
                at += bytes[at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b'/' if next == Some(&b'*') => {
                at += 2 + text.as_bytes()[at + 2..]
                    .windows(2)
                    .position(|pair| pair == b"*/")
                    .map_or(bytes.len() - at - 2, |found| found + 2);
                continue;
            }
            b'"' | b'\'' => {
                at += 1;
                while let Some(&inner) = bytes.get(at) {
                    match inner {
                        b'\\' => at += 1,
                        b'\n' => break,
                        _ if inner == byte => break,
                        _ => {}
                    }
                    at += 1;
                }
            }
            b'{' | b'[' | b'(' | b'<' => {
                depth += 1;
                if depth > MAX_BRACKETS {
                    let (line, column) = position(text, at);
                    return Err(Error::at("brackets lie too deep in each other", name, line, column));
                }
            }
            b'}' | b']' | b')' | b'>' => depth = depth.saturating_sub(1),
            _ if first && byte.is_ascii_alphabetic() => {
                first = false;
                let word = bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
                if &bytes[at..at + word] == b"edition" {
                    let (line, column) = position(text, at);
                    let message = "this file uses Protobuf editions, which cannot be compiled here; give a compiled descriptor \
                                   set instead (protoc --include_imports --include_source_info --descriptor_set_out=FILE)";
                    return Err(Error::at(message, name, line, column));
                }
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}
