//! Failures: `Error`, which every described method declares; `TApplicationException`, which is said when no method can say anything; exceptions
//! that a `.thrift` file declares.

use super::plan::{Plan, Throw};
use crate::wire::{Reader, Result, TType, Writer};
use bytes::Bytes;
use sb_board::call::{Code, Detail, Status};
use sb_schema::wire::{Fields, WireValue};

/// The types of `TApplicationException`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Thrift's")]
pub enum Application {
    Unknown = 0,
    UnknownMethod = 1,
    InvalidMessageType = 2,
    WrongMethodName = 3,
    BadSequenceId = 4,
    MissingResult = 5,
    InternalError = 6,
    ProtocolError = 7,
    InvalidTransform = 8,
    InvalidProtocol = 9,
    UnsupportedClientType = 10,
}

/// The type that says a code best. The message begins with the code's name, which [`of_application`] reads again.
pub fn application(code: Code) -> Application {
    match code {
        Code::Unimplemented => Application::UnknownMethod,
        Code::InvalidArgument | Code::OutOfRange => Application::ProtocolError,
        Code::Unknown => Application::Unknown,
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => Application::InternalError,
    }
}

/// Writes a `TApplicationException`.
pub fn write_application(kind: Application, message: &str, writer: &mut Writer) {
    let outer = writer.enter();
    writer.field(TType::String, 1);
    writer.bytes(message.as_bytes());
    writer.field(TType::I32, 2);
    writer.i32(kind as i32);
    writer.leave(outer);
}

/// A status as the text of a `TApplicationException`.
pub fn text(status: &Status) -> String {
    format!("{}: {}", status.code.name(), status.message)
}

/// Reads a `TApplicationException` of a service.
pub fn read_application(reader: &mut Reader<'_>) -> Result<Status> {
    let (mut message, mut kind) = (String::new(), 0);
    let outer = reader.enter()?;
    while let Some((ty, id)) = reader.field()? {
        match (id, ty) {
            (1, TType::String) => message = String::from_utf8_lossy(reader.bytes()?).into_owned(),
            (2, TType::I32) => kind = reader.i32()?,
            _ => reader.skip(ty)?,
        }
    }
    reader.leave(outer);
    Ok(of_application(kind, &message))
}

/// The status of a `TApplicationException`.
pub fn of_application(kind: i32, message: &str) -> Status {
    if let Some((name, rest)) = message.split_once(": ")
        && let Some(code) = Code::from_name(name)
    {
        return Status::new(code, rest);
    }
    let code = match kind {
        1 => Code::Unimplemented,
        7 => Code::InvalidArgument,
        2..=6 | 8..=10 => Code::Internal,
        _ => Code::Unknown,
    };
    Status::new(code, message)
}

/// Writes the struct `Error`.
pub fn write_error(status: &Status, writer: &mut Writer) {
    let outer = writer.enter();
    writer.field(TType::I32, 1);
    writer.i32(status.code.number() as i32);
    writer.field(TType::String, 2);
    writer.bytes(status.message.as_bytes());
    writer.field(TType::List, 3);
    writer.list(TType::Struct, status.details.len());
    for detail in &status.details {
        let outer = writer.enter();
        writer.field(TType::String, 1);
        writer.bytes(detail.type_url.as_bytes());
        writer.field(TType::String, 2);
        writer.bytes(&detail.value);
        writer.leave(outer);
    }
    writer.leave(outer);
}

/// Reads the struct `Error`.
pub fn read_error(reader: &mut Reader<'_>) -> Result<Status> {
    let mut status = Status::new(Code::Unknown, "");
    let outer = reader.enter()?;
    while let Some((ty, id)) = reader.field()? {
        match (id, ty) {
            (1, TType::I32) => {
                let number = u32::try_from(reader.i32()?).unwrap_or(0);
                status.code = Code::from_number(number).unwrap_or(Code::Unknown);
            }
            (2, TType::String) => status.message = String::from_utf8_lossy(reader.bytes()?).into_owned(),
            (3, TType::List) => {
                reader.deeper()?;
                let (ty, n) = reader.list()?;
                for _ in 0..n {
                    match ty {
                        TType::Struct => status.details.push(read_detail(reader)?),
                        _ => reader.skip(ty)?,
                    }
                }
                reader.shallower();
            }
            _ => reader.skip(ty)?,
        }
    }
    reader.leave(outer);
    Ok(status)
}

fn read_detail(reader: &mut Reader<'_>) -> Result<Detail> {
    let mut detail = Detail { type_url: String::new(), value: Bytes::new() };
    let outer = reader.enter()?;
    while let Some((ty, id)) = reader.field()? {
        match (id, ty) {
            (1, TType::String) => detail.type_url = String::from_utf8_lossy(reader.bytes()?).into_owned(),
            (2, TType::String) => detail.value = Bytes::copy_from_slice(reader.bytes()?),
            _ => reader.skip(ty)?,
        }
    }
    reader.leave(outer);
    Ok(detail)
}

/// Fields of exceptions that usually hold the sentence for people.
const SENTENCES: [&str; 5] = ["message", "msg", "why", "reason", "description"];

/// The status of a declared exception, which is its detail. Its sentence is the status's.
pub(super) fn of_exception(throw: &Throw, plan: &Plan, value: Vec<u8>) -> Status {
    let short = throw.type_name.rsplit('.').next().unwrap_or_default();
    let sentence = plan.at(throw.at).and_then(|exception| {
        let number = |name: &&str| exception.fields.iter().find(|f| f.name == **name).map(|f| f.number);
        let number = SENTENCES.iter().find_map(number)?;
        Fields::new(&value).flatten().find_map(|field| match field {
            (n, WireValue::Bytes(text)) if n == number => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        })
    });
    let mut status = Status::new(
        throw.code,
        match sentence {
            Some(sentence) if !sentence.is_empty() => format!("{short}: {sentence}"),
            _ => short.to_owned(),
        },
    );
    let type_url = format!("type.googleapis.com/{}", throw.type_name);
    status.details.push(Detail { type_url, value: value.into() });
    status
}
