//! Protobuf messages become Thrift structs, from bytes to bytes. Repeated fields are gathered first, since Thrift says how many there are.

use super::Fault;
use super::plan::{Absent, Field, Item, Plan, Shape, Struct};
use super::to_proto::{Value, wire_type};
use crate::wire::{MAX_DEPTH, TType, WireError, Writer};
use sb_schema::Scalar;
use sb_schema::wire::{Fields, WireValue};
use sb_wirekit::Reader as Raw;
use smallvec::SmallVec;

type Result<T> = std::result::Result<T, Fault>;

/// Conversion with a bound for what it makes.
pub(crate) struct ToThrift<'p> {
    pub plan: &'p Plan,
    /// The most bytes that may be made.
    pub limit: usize,
}

fn malformed<T>() -> Result<T> {
    Err(Fault::new("the Protobuf bytes are malformed"))
}

impl ToThrift<'_> {
    /// Writes the message at this place of the plan as a struct.
    pub fn structure(&self, place: usize, proto: &[u8], writer: &mut Writer, depth: usize) -> Result<()> {
        let Some(plan) = self.plan.at(place) else { return Err(Fault::new("the type is not known")) };
        let outer = writer.enter();
        self.fields(plan, proto, writer, depth)?;
        writer.leave(outer);
        Ok(())
    }

    /// Writes the fields of a message, without the end of a struct.
    pub fn fields(&self, plan: &Struct, proto: &[u8], writer: &mut Writer, depth: usize) -> Result<()> {
        if depth >= MAX_DEPTH {
            return Err(WireError::TooDeep.into());
        }
        let mut found: SmallVec<[(usize, WireValue<'_>); 16]> = SmallVec::new();
        // Of the members of a oneof the last one counts.
        let mut chosen: SmallVec<[(&str, usize); 4]> = SmallVec::new();
        for field in Fields::new(proto) {
            let (number, value) = field.or_else(|_| malformed())?;
            let Some(at) = plan.by_number(number) else { continue };
            found.push((at, value));
            if let Some(oneof) = plan.fields.get(at).and_then(|f| f.oneof.as_deref()) {
                match chosen.iter_mut().find(|(name, _)| *name == oneof) {
                    Some((_, last)) => *last = at,
                    None => chosen.push((oneof, at)),
                }
            }
        }
        // Stable, so that the values of one field stay in order.
        found.sort_by_key(|(at, _)| *at);
        let mut rest = &found[..];
        for (at, field) in plan.fields.iter().enumerate() {
            let n = rest.iter().take_while(|(of, _)| *of == at).count();
            let (mut values, others) = rest.split_at_checked(n).unwrap_or_default();
            rest = others;
            if let Some(oneof) = field.oneof.as_deref()
                && !chosen.contains(&(oneof, at))
            {
                values = &[];
            }
            if values.is_empty() && field.absent != Absent::Zero {
                if field.absent == Absent::Error {
                    return Err(Fault::new("it is required").within(&field.name));
                }
                continue;
            }
            writer.field(field.shape.ttype(&self.plan.structs), field.id);
            self.shape(field, values, writer, depth).map_err(|fault| fault.within(&field.name))?;
            if writer.len() > self.limit {
                return Err(WireError::TooLarge(self.limit).into());
            }
        }
        Ok(())
    }

    /// The value of a field; without any, zero.
    fn shape(
        &self,
        field: &Field,
        values: &[(usize, WireValue<'_>)],
        writer: &mut Writer,
        depth: usize,
    ) -> Result<()> {
        let mut values = values.iter().map(|(_, value)| *value);
        match &field.shape {
            Shape::One(Item::Scalar(scalar, ty)) => {
                let value = match values.next_back() {
                    Some(value) => scalar_of(*scalar, value)?,
                    None => zero(*scalar),
                };
                put(*ty, value, writer)
            }
            Shape::One(item) => {
                let mut bodies = values.map(message_bytes);
                let first = bodies.next().unwrap_or(Ok(&[]))?;
                let mut merged = Vec::new();
                for more in bodies {
                    // Parts of one message: behind each other they are the whole.
                    if merged.is_empty() {
                        merged.extend_from_slice(first);
                    }
                    merged.extend_from_slice(more?);
                }
                self.item(*item, if merged.is_empty() { first } else { &merged }, writer, depth)
            }
            Shape::List(_, item) => {
                let ty = item.ttype(&self.plan.structs);
                let Item::Scalar(scalar, _) = *item else {
                    writer.list(ty, values.len());
                    for (at, value) in values.enumerate() {
                        self.item(*item, message_bytes(value)?, writer, depth)
                            .map_err(|fault| fault.within(&format!("[{at}]")))?;
                        if writer.len() > self.limit {
                            return Err(WireError::TooLarge(self.limit).into());
                        }
                    }
                    return Ok(());
                };
                let mut n = 0;
                for value in values.clone() {
                    n += match value {
                        WireValue::Bytes(packed) if wire_type(scalar) != 2 => packed_count(scalar, packed)?,
                        _ => 1,
                    };
                }
                writer.list(ty, n);
                for value in values {
                    match value {
                        WireValue::Bytes(packed) if wire_type(scalar) != 2 => {
                            let mut raw = Raw::new(packed);
                            while !raw.is_empty() {
                                put(ty, scalar_of(scalar, unpack(scalar, &mut raw)?)?, writer)?;
                            }
                        }
                        value => put(ty, scalar_of(scalar, value)?, writer)?,
                    }
                }
                Ok(())
            }
            Shape::Map(key, value) => {
                let structs = &self.plan.structs;
                writer.map(key.ttype(structs), value.ttype(structs), values.len());
                for entry in values {
                    let (mut k, mut v) = (None, None);
                    for part in Fields::new(message_bytes(entry)?) {
                        match part.or_else(|_| malformed())? {
                            (1, part) => k = Some(part),
                            (2, part) => v = Some(part),
                            _ => {}
                        }
                    }
                    self.part(*key, k, writer, depth)?;
                    self.part(*value, v, writer, depth)?;
                    if writer.len() > self.limit {
                        return Err(WireError::TooLarge(self.limit).into());
                    }
                }
                Ok(())
            }
        }
    }

    /// Key or value of a map; absence is zero.
    fn part(
        &self,
        item: Item,
        value: Option<WireValue<'_>>,
        writer: &mut Writer,
        depth: usize,
    ) -> Result<()> {
        match (item, value) {
            (Item::Scalar(scalar, ty), Some(value)) => put(ty, scalar_of(scalar, value)?, writer),
            (Item::Scalar(scalar, ty), None) => put(ty, zero(scalar), writer),
            (item, Some(value)) => self.item(item, message_bytes(value)?, writer, depth),
            (item, None) => self.item(item, &[], writer, depth),
        }
    }

    /// A message as a struct, or as what stands in its place.
    fn item(&self, item: Item, body: &[u8], writer: &mut Writer, depth: usize) -> Result<()> {
        let Item::Struct(place) = item else { return Err(Fault::new("it is no message")) };
        let Some(field) = self.plan.at(place).and_then(Struct::wrapped) else {
            return self.structure(place, body, writer, depth + 1);
        };
        if depth >= MAX_DEPTH {
            return Err(WireError::TooDeep.into());
        }
        let mut values = Vec::new();
        for part in Fields::new(body) {
            let (number, value) = part.or_else(|_| malformed())?;
            if number == field.number {
                values.push((0, value));
            }
        }
        self.shape(field, &values, writer, depth + 1)
    }
}

fn message_bytes(value: WireValue<'_>) -> Result<&[u8]> {
    match value {
        WireValue::Bytes(bytes) | WireValue::Group(bytes) => Ok(bytes),
        _ => malformed(),
    }
}

fn packed_count(scalar: Scalar, packed: &[u8]) -> Result<usize> {
    match wire_type(scalar) {
        1 if packed.len().is_multiple_of(8) => Ok(packed.len() / 8),
        5 if packed.len().is_multiple_of(4) => Ok(packed.len() / 4),
        0 => {
            let mut raw = Raw::new(packed);
            let mut n = 0;
            while !raw.is_empty() {
                unpack(scalar, &mut raw)?;
                n += 1;
            }
            Ok(n)
        }
        _ => malformed(),
    }
}

fn unpack<'a>(scalar: Scalar, raw: &mut Raw<'a>) -> Result<WireValue<'a>> {
    let value = match wire_type(scalar) {
        1 => raw.u64_le().map(WireValue::Fixed64),
        5 => raw.u32_le().map(WireValue::Fixed32),
        _ => raw.varint().map(WireValue::Varint),
    };
    value.or_else(|_| malformed())
}

fn zero(scalar: Scalar) -> Value<'static> {
    match scalar {
        Scalar::Bool => Value::Bool(false),
        Scalar::Double | Scalar::Float => Value::Double(0.0),
        Scalar::String | Scalar::Bytes => Value::Bytes(&[]),
        _ => Value::Int(0),
    }
}

fn scalar_of(scalar: Scalar, value: WireValue<'_>) -> Result<Value<'_>> {
    let unzigzag = |raw: u64| (raw >> 1) as i64 ^ -((raw & 1) as i64);
    Ok(match (scalar, value) {
        (Scalar::Bool, WireValue::Varint(n)) => Value::Bool(n != 0),
        (Scalar::Int32, WireValue::Varint(n)) => Value::Int((n as i32).into()),
        (Scalar::Uint32, WireValue::Varint(n)) => Value::Int((n as u32).into()),
        (Scalar::Int64 | Scalar::Uint64, WireValue::Varint(n)) => Value::Int(n as i64),
        (Scalar::Sint32, WireValue::Varint(n)) => Value::Int(unzigzag(u64::from(n as u32))),
        (Scalar::Sint64, WireValue::Varint(n)) => Value::Int(unzigzag(n)),
        (Scalar::Fixed32, WireValue::Fixed32(n)) => Value::Int(n.into()),
        (Scalar::Sfixed32, WireValue::Fixed32(n)) => Value::Int((n as i32).into()),
        (Scalar::Float, WireValue::Fixed32(n)) => Value::Double(f32::from_bits(n).into()),
        (Scalar::Fixed64 | Scalar::Sfixed64, WireValue::Fixed64(n)) => Value::Int(n as i64),
        (Scalar::Double, WireValue::Fixed64(n)) => Value::Double(f64::from_bits(n)),
        (Scalar::String | Scalar::Bytes, WireValue::Bytes(bytes)) => Value::Bytes(bytes),
        _ => return malformed(),
    })
}

fn put(ty: TType, value: Value<'_>, writer: &mut Writer) -> Result<()> {
    let range = |n: i64| Fault::new(format!("{n} is out of the range of {}", ty.name()));
    match (ty, value) {
        (TType::Bool, Value::Bool(value)) => writer.bool(value),
        (TType::I8, Value::Int(n)) => writer.i8(i8::try_from(n).map_err(|_| range(n))?),
        (TType::I16, Value::Int(n)) => writer.i16(i16::try_from(n).map_err(|_| range(n))?),
        (TType::I32, Value::Int(n)) => writer.i32(i32::try_from(n).map_err(|_| range(n))?),
        (TType::I64, Value::Int(n)) => writer.i64(n),
        (TType::Double, Value::Double(value)) => writer.double(value),
        (TType::String, Value::Bytes(bytes)) => writer.bytes(bytes),
        (TType::Uuid, Value::Bytes(bytes)) => match bytes.try_into() {
            Ok(bytes) => writer.uuid(bytes),
            Err(_) => return Err(Fault::new(format!("a uuid has 16 bytes, not {}", bytes.len()))),
        },
        _ => return Err(Fault::new("the value is not of its type")),
    }
    Ok(())
}
