//! What is checked of files before they are linked: that names are names, and who declares them.

use crate::error::{Error, Result, shorten};
use crate::pool::join;
use buffa_descriptor::generated::descriptor::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};
use std::collections::HashMap;

/// Messages may be nested as deep as this.
const MAX_NESTING: usize = 64;

/// A schema may declare this many messages, enums, extensions and services. Each keeps its full name several times.
const MAX_SYMBOLS: usize = 200_000;

/// All symbols that were declared so far, with their files.
#[derive(Default)]
pub(crate) struct Symbols(HashMap<String, String>);

impl Symbols {
    /// Enters the symbols of a file. Refused are names that are no identifiers and symbols that another file declares.
    pub fn add(&mut self, file: &FileDescriptorProto) -> Result<()> {
        let name = file.name.as_deref().unwrap_or_default();
        for symbol in declared(file).map_err(|e| Error::in_file(e.message(), name))? {
            if let Some(other) = self.0.insert(symbol.clone(), name.to_owned()) {
                let text = if other == name {
                    format!("{symbol} is declared twice")
                } else {
                    format!("{symbol} is declared in {other} too")
                };
                return Err(Error::in_file(text, name));
            }
        }
        if self.0.len() > MAX_SYMBOLS {
            return Err(Error::in_file(format!("the schema has more than {MAX_SYMBOLS} types"), name));
        }
        Ok(())
    }

    /// Whether another file declares one of this file's symbols.
    pub fn collides(&self, file: &FileDescriptorProto) -> bool {
        declared(file).is_ok_and(|symbols| symbols.iter().any(|symbol| self.0.contains_key(symbol)))
    }

    /// An error for a message that names symbols somewhere: in the file of the last of them that is known.
    pub fn locate(&self, message: &str) -> Error {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        for word in message.split(|c| !is_name(c)).rev() {
            let mut symbol = word.trim_matches('.');
            while !symbol.is_empty() {
                if let Some(file) = self.0.get(symbol) {
                    return Error::in_file(message, file);
                }
                symbol = symbol.rfind('.').map_or("", |dot| &symbol[..dot]);
            }
        }
        Error::new(message)
    }
}

fn declared(file: &FileDescriptorProto) -> Result<Vec<String>> {
    let package = file.package.as_deref().unwrap_or_default();
    if !package.is_empty() {
        package.split('.').try_for_each(|part| identifier(part).map(|_| ()))?;
    }
    let mut all = Vec::new();
    for message in &file.message_type {
        of_message(package, message, 0, &mut all)?;
    }
    for info in &file.enum_type {
        of_enum(package, info, &mut all)?;
    }
    for extension in &file.extension {
        all.push(join(package, identifier(extension.name.as_deref().unwrap_or_default())?));
    }
    for service in &file.service {
        let full = join(package, identifier(service.name.as_deref().unwrap_or_default())?);
        for method in &service.method {
            identifier(method.name.as_deref().unwrap_or_default())?;
        }
        all.push(full);
    }
    Ok(all)
}

fn of_message(scope: &str, message: &DescriptorProto, depth: usize, all: &mut Vec<String>) -> Result<()> {
    if depth > MAX_NESTING {
        return Err(Error::new("messages are nested too deep"));
    }
    let full = join(scope, identifier(message.name.as_deref().unwrap_or_default())?);
    if full.len() > buffa_descriptor::MAX_SYMBOL_LEN {
        return Err(Error::new("a full name is too long"));
    }
    for field in &message.field {
        identifier(field.name.as_deref().unwrap_or_default())?;
        if field.json_name.as_ref().is_some_and(|name| name.len() > buffa_descriptor::MAX_SYMBOL_LEN) {
            return Err(Error::new("a json_name is too long"));
        }
    }
    for oneof in &message.oneof_decl {
        identifier(oneof.name.as_deref().unwrap_or_default())?;
    }
    for nested in &message.nested_type {
        of_message(&full, nested, depth + 1, all)?;
    }
    for info in &message.enum_type {
        of_enum(&full, info, all)?;
    }
    for extension in &message.extension {
        all.push(join(&full, identifier(extension.name.as_deref().unwrap_or_default())?));
    }
    all.push(full);
    Ok(())
}

fn of_enum(scope: &str, info: &EnumDescriptorProto, all: &mut Vec<String>) -> Result<()> {
    let full = join(scope, identifier(info.name.as_deref().unwrap_or_default())?);
    if info.value.is_empty() {
        return Err(Error::new(format!("{full} has no values")));
    }
    for value in &info.value {
        identifier(value.name.as_deref().unwrap_or_default())?;
    }
    all.push(full);
    Ok(())
}

fn identifier(name: &str) -> Result<&str> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.len() <= 512 {
        return Ok(name);
    }
    Err(Error::new(format!("{:?} is not a name", shorten(name))))
}
