//! Errors in GraphQL's form (October 2021 §7.1.2), and the one total match from the codes of calls to it.

use apollo_compiler::parser::LineColumn;
use sb_board::call::{Code, Status};
use sb_board::problem;
use sb_core::model::Error;
use sb_schema::Schema;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// One entry of `errors`.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// What happened.
    pub message: String,
    /// Where in the document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<LineColumn>,
    /// Which field of the response.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Step>,
    /// `code`, and whatever else is known.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extensions: Map<String, Value>,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A field, by the key under which it is in the response.
    Key(Arc<str>),
    /// An item of a list.
    Item(usize),
}

impl Serialize for Step {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Step::Key(key) => to.serialize_str(key),
            Step::Item(at) => to.serialize_u64(*at as u64),
        }
    }
}

/// Why a request is refused before anything runs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The body or the parameters are no request.
    Request,
    /// The document is not GraphQL.
    Syntax,
    /// The document does not fit the schema.
    Validation,
    /// The variables do not fit the document.
    Variables,
    /// There is no such operation in the document, or it may not be asked for in this way.
    Operation,
    /// It asks for more than a limit.
    Limit,
    /// It asks for the schema, which the caller may not see.
    Introspection,
    /// The hash stands for no document that was sent.
    Persisted,
    /// Operations cannot be named by a hash.
    NotPersisting,
    /// A fault of ours.
    Internal,
}

impl Refusal {
    /// `extensions.code`, in the words that clients know.
    pub fn code(self) -> &'static str {
        match self {
            Refusal::Request => "BAD_REQUEST",
            Refusal::Syntax => "GRAPHQL_PARSE_FAILED",
            Refusal::Validation => "GRAPHQL_VALIDATION_FAILED",
            Refusal::Variables => "BAD_USER_INPUT",
            Refusal::Operation => "OPERATION_RESOLUTION_FAILURE",
            Refusal::Limit => Code::ResourceExhausted.name(),
            Refusal::Introspection => "INTROSPECTION_DISABLED",
            Refusal::Persisted => "PERSISTED_QUERY_NOT_FOUND",
            Refusal::NotPersisting => "PERSISTED_QUERY_NOT_SUPPORTED",
            Refusal::Internal => Code::Internal.name(),
        }
    }
}

impl Fault {
    /// An error of a request.
    pub fn refused(why: Refusal, message: impl Into<String>) -> Fault {
        let mut extensions = Map::new();
        extensions.insert("code".into(), why.code().into());
        Fault { message: message.into(), locations: Vec::new(), path: Vec::new(), extensions }
    }

    /// The same with a place in the document.
    pub fn at(mut self, place: Option<LineColumn>) -> Fault {
        self.locations.extend(place);
        self
    }

    /// A value that cannot be shown.
    pub fn value(message: impl Into<String>) -> Fault {
        Fault { extensions: code(Code::Internal), ..Fault::refused(Refusal::Internal, message) }
    }

    /// How a call failed. Details are in ProtoJSON where the schema knows their type, in base64 where it does not.
    pub fn call(method: &str, status: &Status, schema: &Schema) -> Fault {
        let mut extensions = code(status.code);
        extensions.insert("method".into(), method.into());
        if !status.details.is_empty() {
            let details = status.details.iter().map(|detail| problem::detail_value(detail, schema));
            extensions.insert("details".into(), details.collect());
        }
        if let Some(error) = &status.error {
            own(&mut extensions, error);
        }
        let message = match status.message.is_empty() {
            true => status.code.name().to_owned(),
            false => status.message.clone(),
        };
        Fault { message, locations: Vec::new(), path: Vec::new(), extensions }
    }

    /// An error of this server, before any call.
    pub fn of(error: &Error) -> Fault {
        let mut extensions = code(error.kind.into());
        own(&mut extensions, error);
        Fault { message: error.detail.to_string(), locations: Vec::new(), path: Vec::new(), extensions }
    }
}

fn code(code: Code) -> Map<String, Value> {
    let mut extensions = Map::new();
    extensions.insert("code".into(), word(code).into());
    extensions
}

fn own(extensions: &mut Map<String, Value>, error: &Error) {
    extensions.insert("error".into(), error.code.into());
    if !error.fix.is_empty() {
        extensions.insert("fix".into(), error.fix.clone().into());
    }
    if let Some(ms) = error.retry_after_ms {
        extensions.insert("retryAfterMs".into(), ms.into());
    }
}

/// The word of each code: one total match, so that a new code does not compile before it is translated.
pub fn word(code: Code) -> &'static str {
    match code {
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
