//! Walking the tree: every key asked for is a known one, every key left over is a fault.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fault::Fault;
use super::tree::{Entry, Node, Span, Value};
use super::units;

/// What a value may take from outside the document.
pub struct Surroundings<'a> {
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The folder that relative paths start from.
    pub base: PathBuf,
}

/// The state of one reading: where to look things up, and what was wrong so far.
pub struct Walk<'a> {
    pub around: &'a Surroundings<'a>,
    pub faults: Vec<Fault>,
    /// Every key that was asked for, names of the user's own replaced by `*`: the schema is compared with it.
    pub known: BTreeSet<String>,
}

/// A table being read.
pub struct Table<'n> {
    entries: &'n [Entry],
    pub span: Span,
    path: String,
    asked: Vec<&'static str>,
}

impl<'n> Table<'n> {
    /// The value of a key.
    pub fn get(&mut self, key: &'static str) -> Option<&'n Node> {
        self.asked.push(key);
        self.entries.iter().find(|e| e.key == key).map(|e| &e.node)
    }

    /// Every key with its value, for tables whose keys are the user's own names.
    pub fn named(self) -> &'n [Entry] {
        self.entries
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl<'a> Walk<'a> {
    pub fn new(around: &'a Surroundings<'a>) -> Self {
        Self { around, faults: Vec::new(), known: BTreeSet::new() }
    }

    pub fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// A value of the wrong kind or out of range.
    fn wrong(&mut self, node: &Node, title: impl Into<String>, label: impl Into<String>) {
        self.faults.push(Fault::new("SB0102", title).at(node.span.clone()).label(label));
    }

    fn expected(&mut self, node: &Node, what: &str, example: &str) {
        self.faults.push(
            Fault::new("SB0102", format!("expected {what}, found {}", node.value.kind()))
                .at(node.span.clone())
                .label(format!("{} here", node.value.kind()))
                .help(format!("for example: {example}")),
        );
    }

    /// The document itself.
    pub fn root<'n>(&mut self, node: &'n Node) -> Table<'n> {
        let entries = match &node.value {
            Value::Table(entries) => entries.as_slice(),
            _ => &[],
        };
        Table { entries, span: node.span.clone(), path: String::new(), asked: Vec::new() }
    }

    /// A table within a table; an empty one if it is missing.
    pub fn section<'n>(&mut self, parent: &mut Table<'n>, key: &'static str) -> Table<'n> {
        let path = parent.at(key);
        let span = parent.span.clone();
        match parent.get(key) {
            Some(node) => self.table(node, path),
            None => Table { entries: &[], span, path, asked: Vec::new() },
        }
    }

    /// A value as a table. `path` is used for messages and for the list of known keys.
    pub fn table<'n>(&mut self, node: &'n Node, path: String) -> Table<'n> {
        let entries = match &node.value {
            Value::Table(entries) => entries.as_slice(),
            _ => {
                let example = path.replace('*', "name");
                self.expected(node, "a table", &format!("[{example}]"));
                &[]
            }
        };
        Table { entries, span: node.span.clone(), path, asked: Vec::new() }
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(&mut self, table: Table<'_>) {
        for key in &table.asked {
            self.known.insert(table.at(key));
        }
        for entry in table.entries.iter().filter(|e| !table.asked.contains(&e.key.as_str())) {
            let place = if table.path.is_empty() {
                "the configuration".to_owned()
            } else {
                format!("[{}]", table.path.replace('*', "NAME"))
            };
            let mut fault = Fault::new("SB0101", format!("unknown key `{}` in {place}", entry.key))
                .at(entry.key_span.clone())
                .label("not known here");
            let near = units::nearest(&entry.key, table.asked.iter().copied());
            if let Some(near) = near.first() {
                fault = fault.help(format!("did you mean `{near}`?"));
            }
            let mut allowed = table.asked.clone();
            allowed.sort_unstable();
            fault = fault.help(format!("allowed: {}", allowed.join(", ")));
            let by_name = matches!(table.path.as_str(), "topics.*" | "services.*" | "roles.*");
            if by_name && near.is_empty() && matches!(entry.node.value, Value::Table(_)) {
                fault = fault.help(format!("a name that holds dots needs quotes: \"NAME.{}\"", entry.key));
            }
            self.fault(fault);
        }
    }

    pub fn text<'n>(&mut self, node: Option<&'n Node>, example: &str) -> Option<&'n str> {
        let node = node?;
        match &node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.expected(node, "a string", example);
                None
            }
        }
    }

    pub fn flag(&mut self, node: Option<&Node>) -> Option<bool> {
        let node = node?;
        match node.value {
            Value::Bool(flag) => Some(flag),
            _ => {
                self.expected(node, "true or false", "true");
                None
            }
        }
    }

    pub fn count(&mut self, node: Option<&Node>, range: RangeInclusive<u32>) -> Option<u32> {
        let node = node?;
        let Value::Integer(n) = node.value else {
            self.expected(node, "an integer", "3");
            return None;
        };
        match u32::try_from(n).ok().filter(|n| range.contains(n)) {
            Some(n) => Some(n),
            None => {
                self.wrong(
                    node,
                    format!("{n} is out of range"),
                    format!("{} to {}", range.start(), range.end()),
                );
                None
            }
        }
    }

    pub fn duration(&mut self, node: Option<&Node>, range: RangeInclusive<Duration>) -> Option<Duration> {
        let node = node?;
        let read = match &node.value {
            Value::Text(text) => units::duration(text),
            Value::Integer(n) if *n >= 0 => Ok(Duration::from_secs(n.unsigned_abs())),
            Value::Integer(_) => Err("a duration is not negative".to_owned()),
            _ => {
                self.expected(node, "a duration", "\"30s\"");
                return None;
            }
        };
        match read {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(duration) => {
                let label = format!(
                    "{} to {}",
                    units::duration_text(*range.start()),
                    units::duration_text(*range.end())
                );
                self.wrong(node, format!("{} is out of range", units::duration_text(duration)), label);
                None
            }
            Err(message) => {
                self.wrong(node, message, "not a duration");
                None
            }
        }
    }

    pub fn size(&mut self, node: Option<&Node>, range: RangeInclusive<u64>) -> Option<u64> {
        let node = node?;
        let read = match &node.value {
            Value::Text(text) => units::size(text),
            Value::Integer(n) if *n >= 0 => Ok(n.unsigned_abs()),
            Value::Integer(_) => Err("a size is not negative".to_owned()),
            _ => {
                self.expected(node, "a size", "\"1MiB\"");
                return None;
            }
        };
        match read {
            Ok(size) if range.contains(&size) => Some(size),
            Ok(size) => {
                let label =
                    format!("{} to {}", units::size_text(*range.start()), units::size_text(*range.end()));
                self.wrong(node, format!("{} is out of range", units::size_text(size)), label);
                None
            }
            Err(message) => {
                self.wrong(node, message, "not a size");
                None
            }
        }
    }

    /// The items of an array; a single string stands for an array of one.
    pub fn items<'n>(&mut self, node: Option<&'n Node>, example: &str) -> &'n [Node] {
        match node {
            None => &[],
            Some(Node { value: Value::Array(items), .. }) => items,
            Some(node @ Node { value: Value::Text(_), .. }) => std::slice::from_ref(node),
            Some(node) => {
                self.expected(node, "an array of strings", example);
                &[]
            }
        }
    }

    /// An array of patterns.
    pub fn patterns(&mut self, node: Option<&Node>, read: fn(&str) -> Result<(), String>) -> Vec<String> {
        let mut patterns = Vec::new();
        for item in self.items(node, "[\"orders.>\"]") {
            let Some(text) = self.text(Some(item), "\"orders.>\"") else { continue };
            match read(text) {
                Ok(()) => patterns.push(text.to_owned()),
                Err(why) => self.wrong(item, why, "not a pattern"),
            }
        }
        patterns
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, node: Option<&Node>, words: &[(&str, T)]) -> Option<T> {
        let node = node?;
        let text = self.text(Some(node), words.first().map_or("", |w| w.0))?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let allowed: Vec<&str> = words.iter().map(|w| w.0).collect();
        let mut fault = Fault::new("SB0102", format!("`{text}` is not allowed here")).at(node.span.clone());
        if let Some(near) = units::nearest(text, allowed.iter().copied()).first() {
            fault = fault.help(format!("did you mean `{near}`?"));
        }
        self.fault(fault.help(format!("allowed: {}", allowed.join(", "))));
        None
    }

    /// A legal name of a topic or a group.
    pub fn name<'n>(&mut self, node: Option<&'n Node>) -> Option<&'n str> {
        let text = self.text(node, "\"orders\"")?;
        if let (Some(node), Err(why)) = (node, units::name(text)) {
            self.wrong(node, format!("`{text}` is not a legal name"), why);
            return None;
        }
        Some(text)
    }

    /// A path, relative to the file.
    pub fn path(&mut self, node: Option<&Node>, example: &str) -> Option<PathBuf> {
        let text = self.text(node, example)?;
        match text {
            "" => {
                self.wrong(node?, "a path is not empty", "empty");
                None
            }
            _ => Some(self.around.base.join(text)),
        }
    }

    /// A secret: `$NAME` is an environment variable, `$file:/path` the contents of a file.
    pub fn secret(&mut self, node: Option<&Node>, example: &str) -> Option<String> {
        let node = node?;
        let text = self.text(Some(node), example)?;
        let Some(reference) = text.strip_prefix('$') else {
            if text.is_empty() {
                self.fault(Fault::new("SB0103", "a secret is not empty").at(node.span.clone()));
                return None;
            }
            if !text.starts_with("-----BEGIN PUBLIC KEY") {
                self.fault(
                    Fault::new("SB0111", "a secret stands in the configuration itself")
                        .warning()
                        .at(node.span.clone())
                        .label("everyone who may read this file has it")
                        .help(
                            "write \"$NAME\" to take it from the environment, or \"$file:/run/secrets/name\"",
                        ),
                );
            }
            return Some(text.to_owned());
        };
        if let Some(path) = reference.strip_prefix("file:") {
            return match std::fs::read_to_string(self.around.base.join(Path::new(path))) {
                Ok(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                Ok(_) => {
                    self.fault(
                        Fault::new("SB0103", format!("the secret file {path} is empty"))
                            .at(node.span.clone()),
                    );
                    None
                }
                Err(why) => {
                    self.fault(
                        Fault::new("SB0103", format!("the secret file {path} cannot be read"))
                            .at(node.span.clone())
                            .label(why.to_string()),
                    );
                    None
                }
            };
        }
        match (self.around.env)(reference) {
            Some(value) if !value.is_empty() => Some(value),
            found => {
                let state = if found.is_some() { "empty" } else { "not set" };
                self.fault(
                    Fault::new("SB0103", format!("the environment variable {reference} is {state}"))
                        .at(node.span.clone())
                        .label("needed here")
                        .help(format!(
                            "set it:  export {reference}=…   or use \"$file:/run/secrets/{}\"",
                            reference.to_lowercase()
                        )),
                );
                None
            }
        }
    }
}
