//! Single numbers, texts, truth values and byte strings: between JSON, text and the wire.

use super::text::{is_number, whole};
use crate::error::{Error, Result, shorten};
use crate::pool::Scalar;
use crate::wire::{put_varint, zigzag};
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

impl Scalar {
    /// The wire type of one value.
    pub(crate) fn wire(self) -> u8 {
        match self {
            Scalar::Double | Scalar::Fixed64 | Scalar::Sfixed64 => 1,
            Scalar::Float | Scalar::Fixed32 | Scalar::Sfixed32 => 5,
            Scalar::String | Scalar::Bytes => 2,
            _ => 0,
        }
    }

    /// Whether lists of it can be packed.
    pub(crate) fn packable(self) -> bool {
        self.wire() != 2
    }

    /// For messages to people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scalar::Double => "double",
            Scalar::Float => "float",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Uint32 => "uint32",
            Scalar::Uint64 => "uint64",
            Scalar::Sint32 => "sint32",
            Scalar::Sint64 => "sint64",
            Scalar::Fixed32 => "fixed32",
            Scalar::Fixed64 => "fixed64",
            Scalar::Sfixed32 => "sfixed32",
            Scalar::Sfixed64 => "sfixed64",
            Scalar::Bool => "bool",
            Scalar::String => "string",
            Scalar::Bytes => "bytes",
        }
    }
}

fn no_value(scalar: Scalar, text: &str) -> Error {
    Error::new(format!("{:?} is no {}", shorten(text), scalar.name()))
}

/// Appends the wire form of a number that is written as `text` (in JSON's grammar, or NaN and infinities).
/// Returns whether it is the default value, zero.
pub(crate) fn put_number(scalar: Scalar, text: &str, out: &mut Vec<u8>) -> Result<bool> {
    let wrong = || no_value(scalar, text);
    match scalar {
        Scalar::Double => {
            let value: f64 = floating(text).ok_or_else(wrong)?;
            out.extend_from_slice(&value.to_le_bytes());
            return Ok(value.to_bits() == 0);
        }
        Scalar::Float => {
            let value: f32 = floating(text).ok_or_else(wrong)?;
            out.extend_from_slice(&value.to_le_bytes());
            return Ok(value.to_bits() == 0);
        }
        _ => {}
    }
    if !is_number(text) {
        return Err(wrong());
    }
    let (negative, magnitude) = whole(text).ok_or_else(wrong)?;
    let value = i128::from(magnitude) * if negative { -1 } else { 1 };
    let long = || i64::try_from(value).map_err(|_| wrong());
    let int = || i32::try_from(value).map_err(|_| wrong());
    match scalar {
        Scalar::Int32 => put_varint(out, i64::from(int()?) as u64),
        Scalar::Sint32 => put_varint(out, zigzag(int()?.into())),
        Scalar::Sfixed32 => out.extend_from_slice(&int()?.to_le_bytes()),
        Scalar::Int64 => put_varint(out, long()? as u64),
        Scalar::Sint64 => put_varint(out, zigzag(long()?)),
        Scalar::Sfixed64 => out.extend_from_slice(&long()?.to_le_bytes()),
        Scalar::Uint32 => put_varint(out, u32::try_from(value).map_err(|_| wrong())?.into()),
        Scalar::Fixed32 => out.extend_from_slice(&u32::try_from(value).map_err(|_| wrong())?.to_le_bytes()),
        Scalar::Uint64 => put_varint(out, u64::try_from(value).map_err(|_| wrong())?),
        Scalar::Fixed64 => out.extend_from_slice(&u64::try_from(value).map_err(|_| wrong())?.to_le_bytes()),
        _ => return Err(wrong()),
    }
    Ok(value == 0)
}

trait Floating: Sized + std::str::FromStr {
    const NAN: Self;
    const INFINITY: Self;
    const NEGATIVE: Self;
    fn finite(&self) -> bool;
}

macro_rules! floating {
    ($($type:ident)*) => {$(
        impl Floating for $type {
            const NAN: Self = $type::NAN;
            const INFINITY: Self = $type::INFINITY;
            const NEGATIVE: Self = $type::NEG_INFINITY;
            fn finite(&self) -> bool {
                self.is_finite()
            }
        }
    )*};
}
floating!(f32 f64);

/// A number that does not fit is not rounded to infinity.
fn floating<T: Floating>(text: &str) -> Option<T> {
    match text {
        "NaN" => Some(T::NAN),
        "Infinity" => Some(T::INFINITY),
        "-Infinity" => Some(T::NEGATIVE),
        _ if is_number(text) => text.parse().ok().filter(T::finite),
        _ => None,
    }
}

/// A whole 32-bit number, as enum values are.
pub(crate) fn int32(text: &str) -> Option<i32> {
    let (negative, magnitude) = is_number(text).then(|| whole(text)).flatten()?;
    i32::try_from(i128::from(magnitude) * if negative { -1 } else { 1 }).ok()
}

/// Decodes base64 of either alphabet, with or without padding.
pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>> {
    let url = text.bytes().any(|b| b == b'-' || b == b'_');
    let decoded = if url { BASE64_URL.decode(text) } else { BASE64.decode(text) };
    decoded.map_err(|_| no_value(Scalar::Bytes, text))
}

/// Appends base64 in quotes, in the standard alphabet with padding.
pub(crate) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is exactly what it needs.
    let written = BASE64.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}

/// Appends the wire form of a value that is written as plain text: a map's key, a parameter of a query, a part of a path.
/// Returns whether it is the default value.
pub(crate) fn put_text(scalar: Scalar, text: &str, out: &mut Vec<u8>) -> Result<bool> {
    match scalar {
        Scalar::String => {
            put_varint(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
            Ok(text.is_empty())
        }
        Scalar::Bytes => {
            let bytes = from_base64(text)?;
            put_varint(out, bytes.len() as u64);
            out.extend_from_slice(&bytes);
            Ok(bytes.is_empty())
        }
        Scalar::Bool => {
            let value = match text {
                "true" => true,
                "false" => false,
                _ => return Err(no_value(scalar, text)),
            };
            out.push(value.into());
            Ok(!value)
        }
        _ => put_number(scalar, text, out),
    }
}
