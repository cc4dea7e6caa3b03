//! Reading values of the binary and the compact protocol. Nothing is allocated but names; text and bytes are borrowed.

use super::{Head, Kind, MAX_DEPTH, MAX_NAME, Proto, Result, TType, WireError};
use sb_wirekit::Reader as Raw;

/// A cursor over a message, or over a part of one that begins with a value.
#[derive(Clone)]
pub struct Reader<'a> {
    raw: Raw<'a>,
    proto: Proto,
    /// The id of the struct's field before; the compact protocol counts from it.
    last: i16,
    /// A boolean that was in its field's head.
    held: Option<bool>,
    depth: usize,
}

/// What a struct inside has to give back to the one around it.
#[must_use]
pub struct Outer(i16);

fn wrong<T>(what: &'static str) -> Result<T> {
    Err(WireError::Malformed(what))
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8], proto: Proto) -> Self {
        Reader { raw: Raw::new(bytes), proto, last: 0, held: None, depth: 0 }
    }

    /// How far it has read.
    pub fn position(&self) -> usize {
        self.raw.position()
    }

    /// The head of a message.
    pub fn head(&mut self) -> Result<Head> {
        match self.proto {
            Proto::Binary => {
                let word = self.raw.i32()?;
                if word >= 0 {
                    let len = usize::try_from(word).unwrap_or(usize::MAX);
                    let name = self.name(len)?;
                    let number = self.raw.u8()?;
                    let kind = self.kind(number)?;
                    return Ok(Head { kind, name, seqid: self.raw.i32()?, strict: false });
                }
                let word = word as u32;
                if word & 0xffff_0000 != 0x8001_0000 {
                    return wrong("the version of the binary protocol is not 1");
                }
                let kind = self.kind((word & 0xff) as u8)?;
                let len = self.length()?;
                let name = self.name(len)?;
                Ok(Head { kind, name, seqid: self.raw.i32()?, strict: true })
            }
            Proto::Compact => {
                if self.raw.u8()? != 0x82 {
                    return wrong("the message does not begin as the compact protocol does");
                }
                let byte = self.raw.u8()?;
                if byte & 0x1f != 1 {
                    return wrong("the version of the compact protocol is not 1");
                }
                let kind = self.kind(byte >> 5)?;
                // Some write negative numbers as 64 bits.
                let seqid = self.raw.varint()? as u32 as i32;
                let len = self.length()?;
                let name = self.name(len)?;
                Ok(Head { kind, name, seqid, strict: true })
            }
        }
    }

    fn kind(&self, number: u8) -> Result<Kind> {
        Kind::of(number).ok_or(WireError::Malformed("a message is neither call, reply, exception nor oneway"))
    }

    fn name(&mut self, len: usize) -> Result<String> {
        if len > MAX_NAME {
            return wrong("the name of a method is too long");
        }
        match std::str::from_utf8(self.raw.take(len)?) {
            Ok(name) => Ok(name.to_owned()),
            Err(_) => wrong("the name of a method is not UTF-8"),
        }
    }

    /// A length or count, not compared with anything yet.
    pub(super) fn length(&mut self) -> Result<usize> {
        let n = match self.proto {
            Proto::Binary => i64::from(self.raw.i32()?),
            Proto::Compact => i64::try_from(self.raw.varint()?).unwrap_or(i64::MAX),
        };
        if n > i64::from(i32::MAX) {
            return wrong("a length is too large");
        }
        usize::try_from(n).or(wrong("a length is negative"))
    }

    /// Begins a struct: fields follow until [`Reader::field`] gives none, then [`Reader::leave`].
    pub fn enter(&mut self) -> Result<Outer> {
        self.deeper()?;
        Ok(Outer(std::mem::take(&mut self.last)))
    }

    /// Ends a struct.
    pub fn leave(&mut self, outer: Outer) {
        self.last = outer.0;
        self.shallower();
    }

    /// Counts a container; [`Reader::shallower`] ends it.
    pub fn deeper(&mut self) -> Result<()> {
        if self.depth >= MAX_DEPTH {
            return Err(WireError::TooDeep);
        }
        self.depth += 1;
        Ok(())
    }

    /// Ends a container.
    pub fn shallower(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// The head of the next field: its type and id; `None` at the end of the struct.
    pub fn field(&mut self) -> Result<Option<(TType, i16)>> {
        let byte = self.raw.u8()?;
        match self.proto {
            Proto::Binary => {
                if byte == 0 {
                    return Ok(None);
                }
                let ty =
                    TType::from_binary(byte).ok_or(WireError::Malformed("a field has an unknown type"))?;
                Ok(Some((ty, self.raw.i16()?)))
            }
            Proto::Compact => {
                if byte & 0x0f == 0 {
                    return if byte == 0 { Ok(None) } else { wrong("a field has an unknown type") };
                }
                let ty = TType::from_compact(byte & 0x0f)
                    .ok_or(WireError::Malformed("a field has an unknown type"))?;
                let id = match byte >> 4 {
                    0 => i16::try_from(self.raw.zigzag()?).or(wrong("the id of a field is too large"))?,
                    delta => self
                        .last
                        .checked_add(i16::from(delta))
                        .ok_or(WireError::Malformed("the id of a field is too large"))?,
                };
                self.last = id;
                self.held = (ty == TType::Bool).then_some(byte & 0x0f == 1);
                Ok(Some((ty, id)))
            }
        }
    }

    /// The id of the last field of the struct at hand, for who keeps the state of reading outside.
    pub(super) fn last(&self) -> i16 {
        self.last
    }

    /// Goes on with a struct whose last field had this id.
    pub(super) fn set_last(&mut self, last: i16) {
        self.last = last;
    }

    /// Forgets the boolean of the field that was just read: there are no bytes for it. Whether there was one.
    pub(super) fn drop_held(&mut self) -> bool {
        self.held.take().is_some()
    }

    /// A truth value.
    pub fn bool(&mut self) -> Result<bool> {
        if let Some(held) = self.held.take() {
            return Ok(held);
        }
        let byte = self.raw.u8()?;
        Ok(match self.proto {
            Proto::Binary => byte != 0,
            Proto::Compact => byte == 1,
        })
    }

    /// Eight bits.
    pub fn i8(&mut self) -> Result<i8> {
        Ok(self.raw.u8()? as i8)
    }

    /// Sixteen bits.
    pub fn i16(&mut self) -> Result<i16> {
        match self.proto {
            Proto::Binary => Ok(self.raw.i16()?),
            Proto::Compact => i16::try_from(self.raw.zigzag()?).or(wrong("an i16 is too large")),
        }
    }

    /// Thirty-two bits.
    pub fn i32(&mut self) -> Result<i32> {
        match self.proto {
            Proto::Binary => Ok(self.raw.i32()?),
            Proto::Compact => i32::try_from(self.raw.zigzag()?).or(wrong("an i32 is too large")),
        }
    }

    /// Sixty-four bits.
    pub fn i64(&mut self) -> Result<i64> {
        match self.proto {
            Proto::Binary => Ok(self.raw.i64()?),
            Proto::Compact => Ok(self.raw.zigzag()?),
        }
    }

    /// A floating-point number; the compact protocol has its bytes the other way round.
    pub fn double(&mut self) -> Result<f64> {
        let bits = match self.proto {
            Proto::Binary => self.raw.u64()?,
            Proto::Compact => self.raw.u64_le()?,
        };
        Ok(f64::from_bits(bits))
    }

    /// Text or bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.length()?;
        Ok(self.raw.take(len)?)
    }

    /// A UUID.
    pub fn uuid(&mut self) -> Result<&'a [u8]> {
        Ok(self.raw.take(16)?)
    }

    /// The head of a list or set, as it stands there.
    pub(super) fn list_head(&mut self) -> Result<(TType, usize)> {
        let unknown = WireError::Malformed("a list has items of an unknown type");
        match self.proto {
            Proto::Binary => {
                let number = self.raw.u8()?;
                let n = self.length()?;
                match TType::from_binary(number) {
                    Some(ty) => Ok((ty, n)),
                    // Some write 0 for the type of nothing.
                    None if number == 0 && n == 0 => Ok((TType::I8, 0)),
                    None => Err(unknown),
                }
            }
            Proto::Compact => {
                let byte = self.raw.u8()?;
                let n = match byte >> 4 {
                    15 => self.length()?,
                    n => usize::from(n),
                };
                match TType::from_compact(byte & 0x0f) {
                    Some(ty) => Ok((ty, n)),
                    None if byte & 0x0f == 0 && n == 0 => Ok((TType::I8, 0)),
                    None => Err(unknown),
                }
            }
        }
    }

    /// The head of a map, as it stands there; the types of an empty one mean nothing.
    pub(super) fn map_head(&mut self) -> Result<(TType, TType, usize)> {
        let unknown = WireError::Malformed("a map has keys or values of an unknown type");
        match self.proto {
            Proto::Binary => {
                let (key, value) = (self.raw.u8()?, self.raw.u8()?);
                let n = self.length()?;
                if n == 0 {
                    return Ok((TType::I8, TType::I8, 0));
                }
                let key = TType::from_binary(key).ok_or(unknown)?;
                Ok((key, TType::from_binary(value).ok_or(unknown)?, n))
            }
            Proto::Compact => {
                let n = self.length()?;
                if n == 0 {
                    return Ok((TType::I8, TType::I8, 0));
                }
                let byte = self.raw.u8()?;
                let key = TType::from_compact(byte >> 4).ok_or(unknown)?;
                Ok((key, TType::from_compact(byte & 0x0f).ok_or(unknown)?, n))
            }
        }
    }

    fn room(&self, n: usize, least: usize) -> Result<()> {
        match n.checked_mul(least) {
            Some(bytes) if bytes <= self.raw.remaining() => Ok(()),
            _ => wrong("a container claims more items than there are bytes"),
        }
    }

    /// The head of a list or set: the type of the items and how many follow, which there are bytes for.
    pub fn list(&mut self) -> Result<(TType, usize)> {
        let (ty, n) = self.list_head()?;
        self.room(n, ty.least(self.proto))?;
        Ok((ty, n))
    }

    /// The head of a map: the types of keys and values and how many pairs follow, which there are bytes for.
    pub fn map(&mut self) -> Result<(TType, TType, usize)> {
        let (key, value, n) = self.map_head()?;
        self.room(n, key.least(self.proto) + value.least(self.proto))?;
        Ok((key, value, n))
    }

    /// Passes over a value.
    pub fn skip(&mut self, ty: TType) -> Result<()> {
        match ty {
            TType::Bool => drop(self.bool()?),
            TType::String => drop(self.bytes()?),
            TType::Struct => {
                let outer = self.enter()?;
                while let Some((ty, _)) = self.field()? {
                    self.skip(ty)?;
                }
                self.leave(outer);
            }
            TType::List | TType::Set => {
                self.deeper()?;
                let (ty, n) = self.list()?;
                self.skip_items(n, &[ty])?;
                self.shallower();
            }
            TType::Map => {
                self.deeper()?;
                let (key, value, n) = self.map()?;
                self.skip_items(n, &[key, value])?;
                self.shallower();
            }
            _ => match ty.fixed(self.proto) {
                Some(n) => drop(self.raw.take(n)?),
                None => drop(self.raw.varint()?),
            },
        }
        Ok(())
    }

    fn skip_items(&mut self, n: usize, types: &[TType]) -> Result<()> {
        let sizes = types.iter().map(|ty| ty.fixed(self.proto)).sum::<Option<usize>>();
        if let Some(bytes) = sizes.and_then(|size| size.checked_mul(n)) {
            self.raw.take(bytes)?;
            return Ok(());
        }
        for _ in 0..n {
            for ty in types {
                self.skip(*ty)?;
            }
        }
        Ok(())
    }
}
