//! Thrift's messages and the board's calls: parameters become a request, an answer becomes a result, a status becomes an exception; and the same the
//! other way round. The only place that knows both.

pub mod plan;
pub mod status;
mod to_proto;
mod to_thrift;

pub use plan::{Method, Plan, plan};

use crate::wire::{Reader, TType, WireError, Writer};
use sb_board::call::{Code, Status};
use to_proto::ToProto;
use to_thrift::ToThrift;

/// Why a message cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `order.lines[2].price`; empty for the whole.
    path: String,
    message: String,
    /// Whether the bytes themselves are at fault, so that nothing behind them can be trusted.
    pub wire: Option<WireError>,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Fault {
        Fault { path: String::new(), message: message.into(), wire: None }
    }

    /// The same, seen from the struct or list around.
    pub(crate) fn within(mut self, step: &str) -> Fault {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        // The outermost steps say enough.
        let rest = if self.path.len() > 500 { "…" } else { &self.path };
        self.path = format!("{step}{dot}{rest}");
        self
    }

    /// What a caller is told whose request this is.
    pub fn of_request(self) -> Status {
        let code = match self.wire {
            Some(WireError::TooLarge(_)) => Code::ResourceExhausted,
            _ => Code::InvalidArgument,
        };
        Status::new(code, self.to_string())
    }

    /// What a caller is told when a service answers this.
    pub fn of_answer(self) -> Status {
        let code = match self.wire {
            Some(WireError::TooLarge(_)) => Code::ResourceExhausted,
            _ => Code::Internal,
        };
        Status::new(code, format!("the service's answer cannot be read: {self}"))
    }
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Fault {
        Fault { path: String::new(), message: error.to_string(), wire: Some(error) }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// What a method returned.
pub enum Outcome {
    /// The response message.
    Good(Vec<u8>),
    /// An exception that it declares.
    Failed(Status),
}

impl Plan {
    /// The parameters that come next as the request's Protobuf bytes, at most `limit`.
    pub fn request(&self, method: &Method, reader: &mut Reader<'_>, limit: usize) -> Result<Vec<u8>, Fault> {
        let to = ToProto { plan: self, limit };
        let mut out = Vec::new();
        if method.plain.is_some() {
            to.structure(method.input, reader, &mut out)?;
            return Ok(out);
        }
        // Without the parameter the request is an empty one.
        let outer = reader.enter()?;
        while let Some((ty, id)) = reader.field()? {
            if id != 1 {
                reader.skip(ty)?;
            } else if ty == TType::Struct {
                out.clear();
                to.structure(method.input, reader, &mut out).map_err(|fault| fault.within("request"))?;
            } else {
                return Err(Fault::new(format!("it is of type struct, not {}", ty.name())).within("request"));
            }
        }
        reader.leave(outer);
        Ok(out)
    }

    /// Writes the request as parameters.
    pub fn parameters(
        &self,
        method: &Method,
        request: &[u8],
        writer: &mut Writer,
        limit: usize,
    ) -> Result<(), Fault> {
        let to = ToThrift { plan: self, limit };
        if method.plain.is_some() {
            return to.structure(method.input, request, writer, 0);
        }
        let outer = writer.enter();
        writer.field(TType::Struct, 1);
        to.structure(method.input, request, writer, 0)?;
        writer.leave(outer);
        Ok(())
    }

    /// Writes the response as a result.
    pub fn result(
        &self,
        method: &Method,
        response: &[u8],
        writer: &mut Writer,
        limit: usize,
    ) -> Result<(), Fault> {
        let to = ToThrift { plan: self, limit };
        if method.plain.is_some() {
            // Its field `success` has the id 0, or there is none.
            return to.structure(method.output, response, writer, 0);
        }
        let outer = writer.enter();
        writer.field(TType::Struct, 0);
        to.structure(method.output, response, writer, 0)?;
        writer.leave(outer);
        Ok(())
    }

    /// Reads a result.
    pub fn outcome(&self, method: &Method, reader: &mut Reader<'_>, limit: usize) -> Result<Outcome, Fault> {
        let to = ToProto { plan: self, limit };
        let Some(plain) = &method.plain else {
            let mut outcome = None;
            let outer = reader.enter()?;
            while let Some((ty, id)) = reader.field()? {
                match (id, ty) {
                    (0, TType::Struct) => {
                        let mut out = Vec::new();
                        to.structure(method.output, reader, &mut out)?;
                        outcome = Some(Outcome::Good(out));
                    }
                    (1, TType::Struct) => outcome = Some(Outcome::Failed(status::read_error(reader)?)),
                    _ => reader.skip(ty)?,
                }
            }
            reader.leave(outer);
            return outcome.ok_or_else(|| Fault::new("it has neither a result nor an exception"));
        };
        // The response has the field `success` alone; exceptions are looked for before it is read as a whole.
        let mut ahead = reader.clone();
        let outer = ahead.enter()?;
        let mut result = false;
        while let Some((ty, id)) = ahead.field()? {
            if ty == TType::Struct
                && let Some(throw) = plain.throws.iter().find(|throw| throw.id == id)
            {
                let mut value = Vec::new();
                to.structure(throw.at, &mut ahead, &mut value)?;
                return Ok(Outcome::Failed(status::of_exception(throw, self, value)));
            }
            result |= id == 0;
            ahead.skip(ty)?;
        }
        ahead.leave(outer);
        let returns = self.at(method.output).is_some_and(|output| output.by_id(0).is_some());
        if returns && !result {
            return Err(Fault::new("it has neither a result nor an exception"));
        }
        let mut out = Vec::new();
        to.structure(method.output, reader, &mut out)?;
        Ok(Outcome::Good(out))
    }

    /// Writes a failure as an exception that the method declares; false when it has none for it.
    pub fn exception(&self, method: &Method, status: &Status, writer: &mut Writer, limit: usize) -> bool {
        let Some(plain) = &method.plain else {
            let outer = writer.enter();
            writer.field(TType::Struct, 1);
            status::write_error(status, writer);
            writer.leave(outer);
            return true;
        };
        let declared = plain.throws.iter().find_map(|throw| {
            Some((throw, status.details.iter().find(|detail| detail.type_name() == throw.type_name)?))
        });
        let Some((throw, detail)) = declared else { return false };
        let to = ToThrift { plan: self, limit };
        let outer = writer.enter();
        writer.field(TType::Struct, throw.id);
        let written = to.structure(throw.at, &detail.value, writer, 0);
        writer.leave(outer);
        written.is_ok()
    }
}
