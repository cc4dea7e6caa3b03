//! The custom options this crate understands, read from encoded options: `google.api.http`, `google.api.field_behavior`.

use crate::error::{Error, Result};
use crate::wire::{Fields, WireValue, varint};

/// `google.api.field_behavior = REQUIRED`.
pub(crate) const REQUIRED: u64 = 2;
/// `google.api.field_behavior = OUTPUT_ONLY`.
pub(crate) const OUTPUT_ONLY: u64 = 3;
/// `google.api.field_behavior = INPUT_ONLY`.
pub(crate) const INPUT_ONLY: u64 = 4;

const FIELD_BEHAVIOR: u32 = 1052;
const HTTP: u32 = 72_295_728;

/// All values of `google.api.field_behavior`.
pub(crate) fn field_behavior(options: &[u8]) -> Vec<u64> {
    let mut all = Vec::new();
    for field in Fields::new(options) {
        match field {
            Ok((FIELD_BEHAVIOR, WireValue::Varint(value))) => all.push(value),
            Ok((FIELD_BEHAVIOR, WireValue::Bytes(mut packed))) => {
                while let (false, Ok(value)) = (packed.is_empty(), varint(&mut packed)) {
                    all.push(value);
                }
            }
            _ => {}
        }
    }
    all
}

/// A `google.api.HttpRule` as it is written, not checked yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRule {
    /// The method: `GET` … or what `custom` says; empty if the rule has none.
    pub method: String,
    /// The path template.
    pub path: String,
    /// `body`: empty, `*` or a field.
    pub body: String,
    /// `response_body`: empty or a field.
    pub response_body: String,
}

/// The rule of a method and its additional bindings, in this order.
pub(crate) fn http_rules(options: &[u8]) -> Result<Vec<HttpRule>> {
    let mut rule = Vec::new();
    for field in Fields::new(options) {
        if let (HTTP, WireValue::Bytes(bytes)) = field? {
            // An option that occurs twice is one message.
            rule.extend_from_slice(bytes);
        }
    }
    let mut all = Vec::new();
    if !rule.is_empty() {
        read_rule(&rule, true, &mut all)?;
    }
    Ok(all)
}

fn read_rule(bytes: &[u8], outermost: bool, all: &mut Vec<HttpRule>) -> Result<()> {
    let mut rule = HttpRule::default();
    let mut more = Vec::new();
    for field in Fields::new(bytes) {
        let (number, WireValue::Bytes(value)) = field? else { continue };
        let method = match number {
            2 => "GET",
            3 => "PUT",
            4 => "POST",
            5 => "DELETE",
            6 => "PATCH",
            7 => {
                rule.body = text(value)?;
                continue;
            }
            8 => {
                for field in Fields::new(value) {
                    match field? {
                        (1, WireValue::Bytes(kind)) => rule.method = text(kind)?,
                        (2, WireValue::Bytes(path)) => rule.path = text(path)?,
                        _ => {}
                    }
                }
                continue;
            }
            11 => {
                more.push(value);
                continue;
            }
            12 => {
                rule.response_body = text(value)?;
                continue;
            }
            _ => continue,
        };
        rule.method = method.to_owned();
        rule.path = text(value)?;
    }
    all.push(rule);
    if !outermost && !more.is_empty() {
        return Err(Error::new("additional_bindings must not have additional_bindings of their own"));
    }
    for bytes in more {
        read_rule(bytes, false, all)?;
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::new("google.api.http holds text that is not UTF-8"))
}
