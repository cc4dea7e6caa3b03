//! Thrift structs become Protobuf messages, from bytes to bytes.

use super::Fault;
use super::plan::{Absent, Field, Item, Plan, Shape, Struct};
use crate::wire::{Reader, TType, WireError};
use sb_schema::Scalar;
use sb_schema::wire::{put_tag, put_varint};
use smallvec::SmallVec;

type Result<T> = std::result::Result<T, Fault>;

/// Conversion with a bound for what it makes.
pub(crate) struct ToProto<'p> {
    pub plan: &'p Plan,
    /// The most bytes that may be made.
    pub limit: usize,
}

impl ToProto<'_> {
    /// Appends the struct that comes next as the message at this place of the plan.
    pub fn structure(&self, place: usize, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
        let Some(plan) = self.plan.at(place) else { return Err(Fault::new("the type is not known")) };
        let outer = reader.enter()?;
        let mut seen: SmallVec<[usize; 16]> = SmallVec::new();
        while let Some((ty, id)) = reader.field()? {
            let Some((at, field)) = plan.by_id(id) else {
                reader.skip(ty)?;
                continue;
            };
            self.field(plan, field, ty, &seen, reader, out).map_err(|fault| fault.within(&field.name))?;
            if field.oneof.is_some() || field.absent == Absent::Error {
                seen.push(at);
            }
            if out.len() > self.limit {
                return Err(WireError::TooLarge(self.limit).into());
            }
        }
        reader.leave(outer);
        for (at, field) in plan.fields.iter().enumerate() {
            if field.absent == Absent::Error && !seen.contains(&at) {
                return Err(Fault::new("it is required").within(&field.name));
            }
        }
        Ok(())
    }

    fn field(
        &self,
        plan: &Struct,
        field: &Field,
        ty: TType,
        seen: &[usize],
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if field.oneof.is_some() {
            let other = seen
                .iter()
                .filter_map(|at| plan.fields.get(*at))
                .find(|f| f.oneof == field.oneof && f.id != field.id);
            if let Some(other) = other {
                return Err(Fault::new(format!("{} is set too, and only one of them may be", other.name)));
            }
        }
        self.shape(field, field.number, ty, reader, out)
    }

    /// The value of a field, with its tag or tags.
    fn shape(
        &self,
        field: &Field,
        number: u32,
        ty: TType,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.expect(field.shape.ttype(&self.plan.structs), ty)?;
        match &field.shape {
            Shape::One(Item::Scalar(scalar, ty)) => {
                let start = out.len();
                put_tag(out, number, wire_type(*scalar));
                let zero = put_scalar(*scalar, read(*ty, reader)?, out)?;
                if zero && field.absent == Absent::Zero {
                    out.truncate(start);
                }
                Ok(())
            }
            Shape::One(item) => self.value(*item, number, field.delimited, reader, out),
            Shape::List(_, item) => {
                reader.deeper()?;
                let (ty, n) = reader.list()?;
                if n > 0 {
                    self.expect(item.ttype(&self.plan.structs), ty)?;
                    self.items(*item, n, number, field.delimited, reader, out)?;
                }
                reader.shallower();
                Ok(())
            }
            Shape::Map(key, value) => {
                reader.deeper()?;
                let (key_type, value_type, n) = reader.map()?;
                if n > 0 {
                    self.expect(key.ttype(&self.plan.structs), key_type)?;
                    self.expect(value.ttype(&self.plan.structs), value_type)?;
                }
                for _ in 0..n {
                    put_tag(out, number, 2);
                    within_length(out, |out| {
                        self.value(*key, 1, false, reader, out)?;
                        self.value(*value, 2, false, reader, out)
                    })?;
                    if out.len() > self.limit {
                        return Err(WireError::TooLarge(self.limit).into());
                    }
                }
                reader.shallower();
                Ok(())
            }
        }
    }

    /// The items of a list: numbers packed, everything else one by one.
    fn items(
        &self,
        item: Item,
        n: usize,
        number: u32,
        delimited: bool,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if let Item::Scalar(scalar, ty) = item
            && wire_type(scalar) != 2
        {
            put_tag(out, number, 2);
            return within_length(out, |out| {
                for _ in 0..n {
                    put_scalar(scalar, read(ty, reader)?, out)?;
                }
                Ok(())
            });
        }
        for at in 0..n {
            self.value(item, number, delimited, reader, out)
                .map_err(|fault| fault.within(&format!("[{at}]")))?;
            if out.len() > self.limit {
                return Err(WireError::TooLarge(self.limit).into());
            }
        }
        Ok(())
    }

    /// One value with its tag, also when it is zero.
    fn value(
        &self,
        item: Item,
        number: u32,
        delimited: bool,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let place = match item {
            Item::Scalar(scalar, ty) => {
                put_tag(out, number, wire_type(scalar));
                put_scalar(scalar, read(ty, reader)?, out)?;
                return Ok(());
            }
            Item::Struct(place) => place,
        };
        let mut body = |out: &mut Vec<u8>| match self.plan.at(place).and_then(Struct::wrapped) {
            Some(field) => {
                self.shape(field, field.number, field.shape.ttype(&self.plan.structs), reader, out)
            }
            None => self.structure(place, reader, out),
        };
        if delimited {
            put_tag(out, number, 3);
            body(out)?;
            put_tag(out, number, 4);
            return Ok(());
        }
        put_tag(out, number, 2);
        within_length(out, body)
    }

    fn expect(&self, wanted: TType, given: TType) -> Result<()> {
        if wanted == given {
            return Ok(());
        }
        Err(Fault::new(format!("it is of type {}, not {}", wanted.name(), given.name())))
    }
}

/// Appends a value behind its length.
fn within_length(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    let start = out.len();
    out.push(0);
    body(out)?;
    let len = out.len() - start - 1;
    if len < 0x80 {
        if let Some(byte) = out.get_mut(start) {
            *byte = len as u8;
        }
        return Ok(());
    }
    // One byte was left for the length; a longer one pushes the value along.
    let mut prefix = Vec::with_capacity(10);
    put_varint(&mut prefix, len as u64);
    out.splice(start..=start, prefix);
    Ok(())
}

/// A value between the two.
pub(crate) enum Value<'a> {
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
}

fn read<'a>(ty: TType, reader: &mut Reader<'a>) -> Result<Value<'a>> {
    Ok(match ty {
        TType::Bool => Value::Bool(reader.bool()?),
        TType::I8 => Value::Int(reader.i8()?.into()),
        TType::I16 => Value::Int(reader.i16()?.into()),
        TType::I32 => Value::Int(reader.i32()?.into()),
        TType::I64 => Value::Int(reader.i64()?),
        TType::Double => Value::Double(reader.double()?),
        TType::String => Value::Bytes(reader.bytes()?),
        TType::Uuid => Value::Bytes(reader.uuid()?),
        TType::Struct | TType::Map | TType::Set | TType::List => {
            return Err(Fault::new("it is no single value"));
        }
    })
}

/// Protobuf's wire type.
pub(crate) fn wire_type(scalar: Scalar) -> u8 {
    match scalar {
        Scalar::Double | Scalar::Fixed64 | Scalar::Sfixed64 => 1,
        Scalar::Float | Scalar::Fixed32 | Scalar::Sfixed32 => 5,
        Scalar::String | Scalar::Bytes => 2,
        _ => 0,
    }
}

/// Appends a value without its tag. True when it is zero.
fn put_scalar(scalar: Scalar, value: Value<'_>, out: &mut Vec<u8>) -> Result<bool> {
    let out_of_range = |what: i64| Fault::new(format!("{what} is not a number from 0 to 4294967295"));
    match (scalar, value) {
        (Scalar::Bool, Value::Bool(value)) => {
            out.push(value.into());
            Ok(!value)
        }
        (_, Value::Int(n)) => {
            match scalar {
                Scalar::Uint32 => put_varint(out, u32::try_from(n).map_err(|_| out_of_range(n))?.into()),
                Scalar::Fixed32 => {
                    out.extend_from_slice(&u32::try_from(n).map_err(|_| out_of_range(n))?.to_le_bytes());
                }
                Scalar::Sint32 | Scalar::Sint64 => sb_wirekit::put_zigzag(out, n),
                Scalar::Sfixed32 => out.extend_from_slice(&(n as i32).to_le_bytes()),
                Scalar::Fixed64 | Scalar::Sfixed64 => out.extend_from_slice(&n.to_le_bytes()),
                _ => put_varint(out, n as u64),
            }
            Ok(n == 0)
        }
        (Scalar::Float, Value::Double(value)) => {
            let single = value as f32;
            if single.is_infinite() && value.is_finite() {
                return Err(Fault::new(format!("{value} is too large for 32-bit floating point")));
            }
            out.extend_from_slice(&single.to_le_bytes());
            Ok(single.to_bits() == 0)
        }
        (Scalar::Double, Value::Double(value)) => {
            out.extend_from_slice(&value.to_le_bytes());
            Ok(value.to_bits() == 0)
        }
        (Scalar::String | Scalar::Bytes, Value::Bytes(bytes)) => {
            if scalar == Scalar::String && std::str::from_utf8(bytes).is_err() {
                return Err(Fault::new("the text is not UTF-8"));
            }
            put_varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
            Ok(bytes.is_empty())
        }
        _ => Err(Fault::new("the value is not of its type")),
    }
}
