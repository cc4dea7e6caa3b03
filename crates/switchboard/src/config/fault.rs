//! What is wrong with a configuration: each fault has a code, a place, a reason and a way out.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::tree::{Place, Sources, Span};

/// One fault or warning.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Stable code, `SB01xx`.
    pub code: &'static str,
    /// Whether the configuration can be used in spite of it.
    pub warning: bool,
    /// What is wrong.
    pub title: String,
    /// Where, if it has a place.
    pub span: Option<Span>,
    /// Said below the underlined text.
    pub label: String,
    /// What to do, one line each.
    pub help: Vec<String>,
}

impl Fault {
    /// A fault without a place yet.
    pub fn new(code: &'static str, title: impl Into<String>) -> Self {
        Self { code, warning: false, title: title.into(), span: None, label: String::new(), help: Vec::new() }
    }

    /// Makes it a warning.
    pub fn warning(mut self) -> Self {
        self.warning = true;
        self
    }

    /// Where it is.
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// What to say below the place.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds a line of advice.
    pub fn help(mut self, line: impl Into<String>) -> Self {
        self.help.push(line.into());
        self
    }
}

/// All faults of one configuration, with the texts they point into.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The faults, in the order of the text.
    pub list: Vec<Fault>,
    /// The texts.
    pub sources: Sources,
}

impl Faults {
    /// Line and column of a fault.
    pub fn place(&self, fault: &Fault) -> Option<Place> {
        self.sources.place(fault.span.as_ref()?)
    }

    /// True when nothing worse than a warning was found.
    pub fn only_warnings(&self) -> bool {
        self.list.iter().all(|f| f.warning)
    }

    /// All of them as text for people.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let blocks: Vec<String> = self.list.iter().map(|f| self.render_one(f, &renderer)).collect();
        blocks.join("\n\n")
    }

    fn render_one(&self, fault: &Fault, renderer: &Renderer) -> String {
        let level = if fault.warning { Level::WARNING } else { Level::ERROR };
        let title = level.primary_title(format!("{} ({})", fault.title, fault.code));
        let mut group = match fault.span.as_ref().and_then(|span| self.sources.find(span)) {
            Some((source, local)) => {
                let mut mark = AnnotationKind::Primary.span(local);
                if !fault.label.is_empty() {
                    mark = mark.label(fault.label.as_str());
                }
                title.element(
                    Snippet::source(source.text.as_str()).path(source.name.as_str()).annotation(mark),
                )
            }
            None => Group::with_title(title),
        };
        for line in &fault.help {
            group = group.element(Level::HELP.message(line.as_str()));
        }
        renderer.render(&[group])
    }

    /// All of them for programs: the value of `faults` in `check --json`.
    pub fn json(&self) -> serde_json::Value {
        let list = self.list.iter().map(|fault| {
            let mut object = serde_json::json!({
                "code": fault.code,
                "level": if fault.warning { "warning" } else { "error" },
                "message": fault.title,
                "help": fault.help,
            });
            if let Some(place) = self.place(fault) {
                object["file"] = place.file.into();
                object["line"] = place.line.into();
                object["column"] = place.column.into();
                object["length"] = place.length.into();
            }
            if !fault.label.is_empty() {
                object["label"] = fault.label.as_str().into();
            }
            object
        });
        list.collect()
    }
}
