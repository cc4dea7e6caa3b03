//! What a new snapshot takes away from those who use an old one.

use crate::descriptor::{Cardinality, Enum, Field, Message, Type};
use crate::pool::{Presence, Scalar};
use crate::schema::{Idempotency, Method, Schema};
use std::collections::HashSet;
use std::fmt;

/// One change that can break a caller or a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaking {
    /// What has changed: the full name of a service, method, message, field, enum or value.
    pub symbol: String,
    /// How, as a sentence's end: `was removed`.
    pub what: String,
    /// Whether Protobuf bytes of before are read wrong now, or calls fail.
    pub wire: bool,
    /// Whether JSON of before is read wrong now, or calls fail.
    pub json: bool,
}

impl fmt::Display for Breaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let where_to = match (self.wire, self.json) {
            (true, true) => "",
            (true, false) => " (Protobuf only)",
            _ => " (JSON only)",
        };
        write!(f, "{} {}{where_to}", self.symbol, self.what)
    }
}

/// The breaking changes from `old` to `new`, by name. Empty if callers and servers of before can go on.
///
/// Only what the files themselves declare is compared, not the files that come with this crate.
pub fn breaking_changes(old: &Schema, new: &Schema) -> Vec<Breaking> {
    let mut list = List::default();
    for service in old.services() {
        if new.service(&service.full_name).is_none() {
            list.both(&service.full_name, "was removed".into());
            continue;
        }
        for method in &service.methods {
            let symbol = format!("{}.{}", method.service, method.name);
            match new.method(&method.path) {
                None => list.both(&symbol, "was removed".into()),
                Some(now) => list.method(&symbol, method, now),
            }
        }
    }
    for message in old.messages().filter(|message| !message.is_map_entry()) {
        match new.message(message.full_name()) {
            None => list.both(message.full_name(), "was removed".into()),
            Some(now) => list.message(&message, &now),
        }
    }
    for before in old.enums() {
        match new.enumeration(before.full_name()) {
            None => list.both(before.full_name(), "was removed".into()),
            Some(now) => list.enumeration(&before, &now),
        }
    }
    list.0.sort_by(|a, b| a.symbol.cmp(&b.symbol));
    list.0
}

#[derive(Default)]
struct List(Vec<Breaking>);

impl List {
    fn add(&mut self, symbol: &str, what: String, wire: bool, json: bool) {
        self.0.push(Breaking { symbol: symbol.to_owned(), what, wire, json });
    }

    fn both(&mut self, symbol: &str, what: String) {
        self.add(symbol, what, true, true);
    }

    fn method(&mut self, symbol: &str, before: &Method, now: &Method) {
        let kind = |method: &Method| match (method.client_streaming, method.server_streaming) {
            (false, false) => "unary",
            (true, false) => "client streaming",
            (false, true) => "server streaming",
            (true, true) => "bidirectional streaming",
        };
        if kind(before) != kind(now) {
            self.both(symbol, format!("was {} and is {}", kind(before), kind(now)));
        }
        for (what, before, now) in
            [("takes", &before.input, &now.input), ("answers", &before.output, &now.output)]
        {
            if before.full_name() != now.full_name() {
                self.both(symbol, format!("{what} {} instead of {}", now.full_name(), before.full_name()));
            }
        }
        if before.idempotency == Idempotency::NoSideEffects && now.idempotency != Idempotency::NoSideEffects {
            self.both(symbol, "is no longer without side effects: it cannot be called by GET".into());
        }
        for rule in before.http.iter().filter(|rule| !now.http.contains(rule)) {
            let same = now.http.iter().find(|now| (&now.method, &now.path) == (&rule.method, &rule.path));
            match same {
                None => {
                    self.add(symbol, format!("has no {} {} any more", rule.method, rule.path), false, true)
                }
                Some(_) => {
                    let what = format!("has another body or response body at {} {}", rule.method, rule.path);
                    self.add(symbol, what, false, true);
                }
            }
        }
    }

    fn message(&mut self, before: &Message, now: &Message) {
        for field in before.fields() {
            let symbol = format!("{}.{}", before.full_name(), field.name());
            match now.field_by_number(field.number()) {
                Some(after) => self.field(&symbol, &field, &after),
                None => match now.fields().find(|other| other.name() == field.name()) {
                    Some(other) => {
                        let what = format!("had the number {} and has {}", field.number(), other.number());
                        self.add(&symbol, what, true, false);
                    }
                    None => self.both(&symbol, "was removed".into()),
                },
            }
        }
        for field in now.fields().filter(|field| field.presence() == Presence::Required) {
            let was = before.field_by_number(field.number());
            if was.is_none_or(|was| was.presence() != Presence::Required) {
                self.both(&format!("{}.{}", now.full_name(), field.name()), "is required now".into());
            }
        }
    }

    fn field(&mut self, symbol: &str, before: &Field<'_>, now: &Field<'_>) {
        if before.name() != now.name() {
            self.add(symbol, format!("is called {} now", now.name()), false, true);
        } else if before.json_name() != now.json_name() {
            let what = format!("is {:?} in JSON instead of {:?}", now.json_name(), before.json_name());
            self.add(symbol, what, false, true);
        }
        let shape = |field: &Field<'_>| match field.cardinality() {
            Cardinality::One => "a single value".to_owned(),
            Cardinality::List => "a list".to_owned(),
            Cardinality::Map(key) => format!("a map by {}", key.name()),
        };
        if shape(before) != shape(now) {
            self.both(symbol, format!("was {} and is {}", shape(before), shape(now)));
        }
        let (was, is) = (name_of(before), name_of(now));
        if was != is {
            let wire = wire_group(before) != wire_group(now);
            self.add(symbol, format!("was {was} and is {is}"), wire, true);
        } else if before.info.delimited != now.info.delimited {
            self.add(symbol, "is encoded as a group no longer, or now".into(), true, false);
        }
        if before.oneof() != now.oneof() {
            let what = match (before.oneof(), now.oneof()) {
                (_, Some(oneof)) => format!("is a member of the oneof {oneof} now"),
                _ => "is no member of a oneof any more".to_owned(),
            };
            self.both(symbol, what);
        }
        if before.presence() == Presence::Required && now.presence() != Presence::Required {
            self.both(symbol, "is no longer required: older readers refuse messages without it".into());
        }
    }

    fn enumeration(&mut self, before: &Enum, now: &Enum) {
        let mut told = HashSet::new();
        for value in before.values() {
            let symbol = format!("{}.{}", before.full_name(), value.name());
            match now.value(value.name()) {
                Some(after) if after.number() == value.number() => {}
                Some(after) => {
                    self.both(&symbol, format!("was {} and is {}", value.number(), after.number()))
                }
                None => match now.value_by_number(value.number()) {
                    Some(other) => self.add(&symbol, format!("is called {} now", other.name()), false, true),
                    None if told.insert(value.number()) => self.both(&symbol, "was removed".into()),
                    None => {}
                },
            }
        }
        if before.closed() != now.closed() {
            let what = if now.closed() { "takes declared numbers only now" } else { "takes any number now" };
            self.add(before.full_name(), what.into(), true, false);
        }
        let first = |info: &Enum| info.values().next().map(|value| value.number());
        if first(before) != first(now) {
            self.both(before.full_name(), "has another default value".into());
        }
    }
}

fn name_of(field: &Field<'_>) -> String {
    match field.r#type() {
        Type::Scalar(scalar) => scalar.name().to_owned(),
        Type::Enum(info) => info.full_name().to_owned(),
        Type::Message(message) => message.full_name().to_owned(),
    }
}

/// Types of one group read each other's bytes, as far as the values fit.
fn wire_group(field: &Field<'_>) -> String {
    let group = match field.r#type() {
        Type::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Uint32 | Scalar::Uint64 | Scalar::Bool)
        | Type::Enum(_) => "varint",
        Type::Scalar(Scalar::Sint32 | Scalar::Sint64) => "zigzag",
        Type::Scalar(Scalar::String | Scalar::Bytes) => "text",
        Type::Scalar(Scalar::Fixed32 | Scalar::Sfixed32) => "four",
        Type::Scalar(Scalar::Fixed64 | Scalar::Sfixed64) => "eight",
        Type::Scalar(Scalar::Float) => "float",
        Type::Scalar(Scalar::Double) => "double",
        Type::Message(message) => return message.full_name().to_owned(),
    };
    group.to_owned()
}
