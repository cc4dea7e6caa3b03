//! The one error of this crate: what is wrong, and where.

use std::fmt;

/// Why something was refused: a sentence for people and the place it is about.
///
/// The place is a file with line and column for descriptors (`shop/v1/shop.proto:12:3`), a JSON path for bodies
/// (`order.lines[2].price`), the name of a parameter for queries. It is empty where the whole input is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    message: String,
    place: Place,
}

/// What an [`Error`] is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The whole input.
    #[default]
    Whole,
    /// A file of a schema. Line and column count from 1.
    File {
        /// Its name, as in `import`.
        name: String,
        /// Line and column, where they are known.
        at: Option<(u32, u32)>,
    },
    /// A path into a JSON body or message: `order.lines[2].price`.
    Path(String),
}

/// The result of everything here that can be refused.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error about the whole input.
    pub fn new(message: impl Into<String>) -> Self {
        Error { message: message.into(), place: Place::Whole }
    }

    /// An error about a file.
    pub fn in_file(message: impl Into<String>, file: impl Into<String>) -> Self {
        Error { message: message.into(), place: Place::File { name: file.into(), at: None } }
    }

    /// An error at a line and column (from 1) of a file.
    pub fn at(message: impl Into<String>, file: impl Into<String>, line: u32, column: u32) -> Self {
        Error { message: message.into(), place: Place::File { name: file.into(), at: Some((line, column)) } }
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What it is about.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The JSON path, empty where there is none.
    pub fn path(&self) -> &str {
        match &self.place {
            Place::Path(path) => path,
            _ => "",
        }
    }

    /// The same error, seen from the object around: its path gets `field` in front.
    pub(crate) fn within(mut self, field: &str) -> Self {
        let plain = !field.is_empty() && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let step = if plain { field.to_owned() } else { format!("[{:?}]", shorten(field)) };
        self.put_before(step);
        self
    }

    /// The same error, seen from the list around.
    pub(crate) fn within_item(mut self, index: usize) -> Self {
        self.put_before(format!("[{index}]"));
        self
    }

    fn put_before(&mut self, step: String) {
        let rest = match &self.place {
            Place::Path(rest) => rest.as_str(),
            _ => "",
        };
        let dot = if rest.is_empty() || rest.starts_with('[') { "" } else { "." };
        // A path as deep as the input would cost its square; the outermost steps say enough.
        let rest = if rest.len() > 1000 { "…" } else { rest };
        self.place = Place::Path(format!("{step}{dot}{rest}"));
    }
}

/// The beginning of a text that came from outside, for use in a message.
pub(crate) fn shorten(text: &str) -> &str {
    let end = text.char_indices().nth(64).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Whole => f.write_str(&self.message),
            Place::File { name, at: None } => write!(f, "{name}: {}", self.message),
            Place::File { name, at: Some((line, column)) } => {
                write!(f, "{name}:{line}:{column}: {}", self.message)
            }
            Place::Path(path) => write!(f, "{path}: {}", self.message),
        }
    }
}

impl std::error::Error for Error {}
