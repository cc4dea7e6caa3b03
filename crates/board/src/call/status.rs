//! How a call fails: the one error model of every RPC protocol, and its way from and to the core's errors.
//!
//! A [`Status`] is what gRPC calls a status: one of sixteen codes, a sentence, typed details. Connect, gRPC-Web, REST, GraphQL, JSON-RPC, Thrift
//! and MCP show the same three in their own form. The wire form of `google.rpc.Status` (code 1, message 2, details 3) is here because several
//! protocols and stored jobs carry it.

use bytes::Bytes;
use http::StatusCode;
use sb_core::model::{Error, Kind};
use sb_wirekit::{Reader, put_bytes, put_varint};

/// The codes of gRPC (`google.rpc.Code` without OK).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "google.rpc.Code says what each means")]
pub enum Code {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

use Code::*;

impl Code {
    /// Every code, by number.
    pub const ALL: [Code; 16] = [
        Cancelled,
        Unknown,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
        Internal,
        Unavailable,
        DataLoss,
        Unauthenticated,
    ];

    /// The number on gRPC's wire, 1 to 16.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The code of a number; 0 (OK) and numbers beyond 16 are none.
    pub fn from_number(number: u32) -> Option<Code> {
        Code::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }

    /// The name in gRPC's and GraphQL's form: `NOT_FOUND`.
    pub fn name(self) -> &'static str {
        match self {
            Cancelled => "CANCELLED",
            Unknown => "UNKNOWN",
            InvalidArgument => "INVALID_ARGUMENT",
            DeadlineExceeded => "DEADLINE_EXCEEDED",
            NotFound => "NOT_FOUND",
            AlreadyExists => "ALREADY_EXISTS",
            PermissionDenied => "PERMISSION_DENIED",
            ResourceExhausted => "RESOURCE_EXHAUSTED",
            FailedPrecondition => "FAILED_PRECONDITION",
            Aborted => "ABORTED",
            OutOfRange => "OUT_OF_RANGE",
            Unimplemented => "UNIMPLEMENTED",
            Internal => "INTERNAL",
            Unavailable => "UNAVAILABLE",
            DataLoss => "DATA_LOSS",
            Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The code of a name in gRPC's form.
    pub fn from_name(name: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.name() == name)
    }

    /// The HTTP status, as `google/rpc/code.proto` lists them.
    pub fn http(self) -> StatusCode {
        match self {
            Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
            Unknown | Internal | DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
            InvalidArgument | FailedPrecondition | OutOfRange => StatusCode::BAD_REQUEST,
            DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            NotFound => StatusCode::NOT_FOUND,
            AlreadyExists | Aborted => StatusCode::CONFLICT,
            PermissionDenied => StatusCode::FORBIDDEN,
            ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }

    /// The code of an HTTP answer that says nothing of its own: `doc/http-grpc-status-mapping.md` of gRPC for statuses of proxies, and the
    /// obvious inverse of [`Code::http`] for the rest.
    pub fn from_http(status: StatusCode) -> Code {
        match status.as_u16() {
            400 => InvalidArgument,
            401 => Unauthenticated,
            403 => PermissionDenied,
            404 | 410 => NotFound,
            409 => Aborted,
            412 => FailedPrecondition,
            408 | 504 => DeadlineExceeded,
            413 | 429 | 507 => ResourceExhausted,
            416 => OutOfRange,
            422 => InvalidArgument,
            499 => Cancelled,
            501 | 405 => Unimplemented,
            502 | 503 => Unavailable,
            500 => Internal,
            _ => Unknown,
        }
    }

    /// The nearest kind of the core's, for protocols and jobs that speak in kinds.
    pub fn kind(self) -> Kind {
        match self {
            Cancelled => Kind::Cancelled,
            Unknown | Internal => Kind::Internal,
            InvalidArgument | OutOfRange => Kind::Invalid,
            DeadlineExceeded => Kind::Deadline,
            NotFound => Kind::NotFound,
            AlreadyExists => Kind::Exists,
            PermissionDenied => Kind::Denied,
            ResourceExhausted => Kind::Exhausted,
            FailedPrecondition => Kind::Precondition,
            Aborted => Kind::Conflict,
            Unimplemented => Kind::Unsupported,
            Unavailable => Kind::Unavailable,
            DataLoss => Kind::Corrupt,
            Unauthenticated => Kind::Unauthenticated,
        }
    }
}

impl From<Kind> for Code {
    fn from(kind: Kind) -> Code {
        match kind {
            Kind::NotFound => NotFound,
            Kind::Gone => OutOfRange,
            Kind::Exists => AlreadyExists,
            Kind::Invalid | Kind::Mismatch => InvalidArgument,
            Kind::TooLarge | Kind::Exhausted | Kind::DiskFull => ResourceExhausted,
            Kind::Unauthenticated => Unauthenticated,
            Kind::Denied => PermissionDenied,
            Kind::Conflict => Aborted,
            Kind::Precondition => FailedPrecondition,
            Kind::Unavailable => Unavailable,
            Kind::Deadline => DeadlineExceeded,
            Kind::Cancelled => Cancelled,
            Kind::Unsupported => Unimplemented,
            Kind::Corrupt => DataLoss,
            Kind::Internal => Internal,
        }
    }
}

/// A typed detail: what `google.protobuf.Any` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// `type.googleapis.com/google.rpc.ErrorInfo`
    pub type_url: String,
    /// The message's Protobuf bytes.
    pub value: Bytes,
}

impl Detail {
    /// The full name of the message's type: what follows the last slash of the URL.
    pub fn type_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which of the sixteen.
    pub code: Code,
    /// A sentence for people; may be empty.
    pub message: String,
    /// Typed details, in order.
    pub details: Vec<Detail>,
    /// The error of this server that it stands for; `None` when it came from a service.
    pub error: Option<Box<Error>>,
}

/// The most details that are read of one status.
const MAX_DETAILS: usize = 64;

impl Status {
    /// A status without details.
    pub fn new(code: Code, message: impl Into<String>) -> Status {
        Status { code, message: message.into(), details: Vec::new(), error: None }
    }

    /// A status as an error of the core's, for those who speak in kinds.
    pub fn to_error(&self) -> Error {
        match &self.error {
            Some(error) => (**error).clone(),
            None => Error::new(self.code.kind(), "SB0409", self.message.clone()),
        }
    }

    /// `google.rpc.Status` as Protobuf.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.message.len());
        put_varint(&mut out, 1 << 3);
        put_varint(&mut out, u64::from(self.code.number()));
        if !self.message.is_empty() {
            put_varint(&mut out, 2 << 3 | 2);
            put_bytes(&mut out, self.message.as_bytes());
        }
        for detail in &self.details {
            let mut any = Vec::with_capacity(detail.type_url.len() + detail.value.len() + 8);
            put_varint(&mut any, 1 << 3 | 2);
            put_bytes(&mut any, detail.type_url.as_bytes());
            if !detail.value.is_empty() {
                put_varint(&mut any, 2 << 3 | 2);
                put_bytes(&mut any, &detail.value);
            }
            put_varint(&mut out, 3 << 3 | 2);
            put_bytes(&mut out, &any);
        }
        out
    }

    /// Reads a `google.rpc.Status`; `None` when it is none, or says OK. At most 64 details are read.
    pub fn decode(bytes: &[u8]) -> Option<Status> {
        let (mut code, mut message, mut details) = (0, String::new(), Vec::new());
        fields(bytes, &mut |number, field| {
            match (number, field) {
                (1, Field::Varint(n)) => code = u32::try_from(n).ok()?,
                (2, Field::Bytes(text)) => message = String::from_utf8_lossy(text).into_owned(),
                (3, Field::Bytes(any)) if details.len() < MAX_DETAILS => {
                    let mut detail = Detail { type_url: String::new(), value: Bytes::new() };
                    fields(any, &mut |number, field| {
                        match (number, field) {
                            (1, Field::Bytes(url)) => {
                                detail.type_url = std::str::from_utf8(url).ok()?.to_owned()
                            }
                            (2, Field::Bytes(value)) => detail.value = Bytes::copy_from_slice(value),
                            _ => {}
                        }
                        Some(())
                    })?;
                    details.push(detail);
                }
                _ => {}
            }
            Some(())
        })?;
        let code = if code == 0 { return None } else { Code::from_number(code).unwrap_or(Unknown) };
        Some(Status { code, message, details, error: None })
    }
}

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// The top-level fields of a Protobuf message that are numbers or bytes; others are skipped.
fn fields<'a>(bytes: &'a [u8], each: &mut dyn FnMut(u64, Field<'a>) -> Option<()>) -> Option<()> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let tag = reader.varint().ok()?;
        match tag & 7 {
            0 => each(tag >> 3, Field::Varint(reader.varint().ok()?))?,
            1 => drop(reader.take(8).ok()?),
            2 => each(tag >> 3, Field::Bytes(reader.bytes(bytes.len()).ok()?))?,
            5 => drop(reader.take(4).ok()?),
            _ => return None,
        }
    }
    Some(())
}

/// An error of this server carries its code and remedy as `google.rpc.ErrorInfo` (domain `switchboard`, reason the code, metadata `fix`), and the
/// time to wait as `google.rpc.RetryInfo`.
impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let mut info = Vec::new();
        let text = |out: &mut Vec<u8>, number: u64, text: &str| {
            put_varint(out, number << 3 | 2);
            put_bytes(out, text.as_bytes());
        };
        text(&mut info, 1, error.code);
        text(&mut info, 2, "switchboard");
        if !error.fix.is_empty() {
            let mut entry = Vec::new();
            text(&mut entry, 1, "fix");
            text(&mut entry, 2, &error.fix);
            put_varint(&mut info, 3 << 3 | 2);
            put_bytes(&mut info, &entry);
        }
        let detail = |name: &str, value: Vec<u8>| Detail {
            type_url: format!("type.googleapis.com/google.rpc.{name}"),
            value: value.into(),
        };
        let mut details = vec![detail("ErrorInfo", info)];
        if let Some(ms) = error.retry_after_ms {
            let mut delay = Vec::new();
            put_varint(&mut delay, 1 << 3);
            put_varint(&mut delay, ms / 1000);
            put_varint(&mut delay, 2 << 3);
            put_varint(&mut delay, ms % 1000 * 1_000_000);
            let mut retry = Vec::new();
            put_varint(&mut retry, 1 << 3 | 2);
            put_bytes(&mut retry, &delay);
            details.push(detail("RetryInfo", retry));
        }
        Status {
            code: error.kind.into(),
            message: error.detail.clone().into_owned(),
            details,
            error: Some(Box::new(error)),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        for (n, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code.number() as usize, n + 1);
            assert_eq!(Code::from_number(code.number()), Some(code));
            assert_eq!(Code::from_name(code.name()), Some(code));
        }
        assert_eq!(Code::from_number(0), None);
        assert_eq!(Code::from_number(17), None);
        for kind in Kind::ALL {
            assert!(Code::from(kind).http().as_u16() >= 400);
        }
    }

    #[test]
    fn a_status_survives_its_wire() {
        let error = Error::new(Kind::Exhausted, "SB0601", "too many").fix("wait").retry_after(1_500);
        let status = Status::from(error.clone());
        let read = Status::decode(&status.encode()).unwrap();
        assert_eq!((read.code, &*read.message, &read.details), (status.code, "too many", &status.details));
        assert_eq!(read.details[1].type_name(), "google.rpc.RetryInfo");
        assert_eq!(status.to_error(), error);
        assert_eq!(Status::decode(&[]), None);
        assert_eq!(Status::decode(&[8, 99]).unwrap().code, Unknown);
        for cut in 1..read.encode().len() {
            let _ = Status::decode(&read.encode()[..cut]);
        }
    }
}
