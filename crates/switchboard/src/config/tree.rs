//! The configuration document as a tree in which every key and value knows where it was written.
//!
//! Several texts can make up one configuration: the file, then `--set` values and flags, the later ones winning. Each
//! text gets its own range of positions, so that one number says both which text and where in it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;

/// Where something stands: byte positions over all texts of the configuration.
pub type Span = Range<usize>;

/// One text that the configuration is read from.
#[derive(Debug, Clone)]
pub struct Source {
    /// What to call it in a message: a path, `--set`, `SWITCHBOARD_CONFIG`.
    pub name: String,
    /// The text itself.
    pub text: String,
    /// Position of its first byte.
    base: usize,
}

/// All texts, in the order in which they win: later over earlier.
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<Source>);

/// A place in a text, as people count: from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the text.
    pub file: String,
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
    /// How many bytes are meant.
    pub length: usize,
}

impl Sources {
    /// Adds a text that wins over those before it.
    pub fn push(&mut self, name: impl Into<String>, text: impl Into<String>) {
        let base = self.0.last().map_or(0, |s| s.base + s.text.len() + 1);
        self.0.push(Source { name: name.into(), text: text.into(), base });
    }

    /// The text that holds a span, and the span within it.
    pub fn find(&self, span: &Span) -> Option<(&Source, Span)> {
        let source = self.0.iter().rev().find(|s| s.base <= span.start)?;
        // A syntax error may point into the middle of a character.
        let text = &source.text;
        let start = text.floor_char_boundary(span.start - source.base);
        let end = text.ceil_char_boundary(span.end.saturating_sub(source.base));
        Some((source, start..end.max(start)))
    }

    /// Line and column of a span.
    pub fn place(&self, span: &Span) -> Option<Place> {
        let (source, local) = self.find(span)?;
        let before = source.text.get(..local.start)?;
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Some(Place {
            file: source.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..)?.chars().count() + 1,
            length: local.len(),
        })
    }

    /// The first text: what a fault without a place of its own points at.
    pub fn first(&self) -> Option<&Source> {
        self.0.first()
    }

    /// Reads and merges all texts. Faults are collected, and what could be read is returned.
    pub fn tree(&self, faults: &mut Vec<Fault>) -> Node {
        let mut root = Node { span: 0..0, value: Value::Table(Vec::new()) };
        for source in &self.0 {
            let (table, errors) = DeTable::parse_recoverable(&source.text);
            for error in errors {
                let local = error.span().unwrap_or(0..0);
                faults.push(
                    Fault::new("SB0101", format!("this is not TOML: {}", first_line(error.message())))
                        .at(local.start + source.base..local.end + source.base)
                        .help("the format is described at https://toml.io"),
                );
            }
            merge(&mut root, table_node(table, source.base));
        }
        root
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where.
    pub span: Span,
    /// What.
    pub value: Value,
}

/// A key of a table with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer that fits 64 bits.
    Integer(i64),
    /// Any other number or a date, as it was written: no setting takes one.
    Other(&'static str, String),
    /// True or false.
    Bool(bool),
    /// An array.
    Array(Vec<Node>),
    /// A table.
    Table(Vec<Entry>),
}

impl Value {
    /// What it is, with its article, for "expected …, found …".
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Other(kind, _) => kind,
            Value::Bool(_) => "a boolean",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

fn shift(span: Span, base: usize) -> Span {
    span.start + base..span.end + base
}

fn table_node(table: Spanned<DeTable<'_>>, base: usize) -> Node {
    let span = shift(table.span(), base);
    let entries = table
        .into_inner()
        .into_iter()
        .map(|(key, value)| Entry {
            key_span: shift(key.span(), base),
            key: key.into_inner().into_owned(),
            node: node(value, base),
        })
        .collect();
    Node { span, value: Value::Table(entries) }
}

fn node(value: Spanned<DeValue<'_>>, base: usize) -> Node {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Value::Integer(n),
            Err(_) => Value::Other("an integer beyond 64 bits", n.to_string()),
        },
        DeValue::Float(n) => Value::Other("a fraction", n.as_str().to_owned()),
        DeValue::Boolean(b) => Value::Bool(b),
        DeValue::Datetime(d) => Value::Other("a date", d.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(|item| node(item, base)).collect()),
        DeValue::Table(table) => return table_node(Spanned::new(span, table), base),
    };
    Node { span: shift(span, base), value }
}

/// Lays `over` on `under`: tables are merged key by key, everything else is replaced.
fn merge(under: &mut Node, over: Node) {
    match (&mut under.value, over) {
        (Value::Table(below), Node { value: Value::Table(above), span }) => {
            if below.is_empty() {
                under.span = span;
            }
            for entry in above {
                match below.iter_mut().find(|e| e.key == entry.key) {
                    Some(found) => merge(&mut found.node, entry.node),
                    None => below.push(entry),
                }
            }
        }
        (_, over) => *under = over,
    }
}

/// The TOML text of one `--set KEY=VALUE`. A value that is not TOML by itself is taken as a string, so that
/// `--set public_url=https://example.com` needs no quotes within quotes.
pub fn set_text(assignment: &str) -> Result<String, String> {
    let Some((key, value)) = assignment.split_once('=') else {
        return Err(format!("`--set {assignment}` has no `=`: write --set KEY=VALUE"));
    };
    let (key, value) = (key.trim(), value.trim());
    let as_is = format!("{key} = {value}");
    // A newline could end the value and begin another key; a string keeps it whole.
    if !value.contains('\n') && DeTable::parse(&as_is).is_ok() {
        return Ok(as_is);
    }
    let text = format!("{key} = {}", toml::Value::String(value.to_owned()));
    match DeTable::parse(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(format!(
            "`{key}` in `--set {assignment}` is not a key: write a.b.c, with quotes around names that hold dots"
        )),
    }
}
