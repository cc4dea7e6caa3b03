//! ProtoJSON, both ways, from bytes to bytes by descriptor: no message is built in between.

mod any;
mod read;
mod scalar;
pub(crate) mod text;
mod time;
mod write;

use crate::descriptor::{Field, Message};
use crate::error::{Error, Result};
use bytes::Bytes;

pub(crate) use read::{Reading, map_value_of_text, put_map_key, value_of_text};
pub(crate) use scalar::from_base64;

/// How 64-bit integers are written.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Int64 {
    /// As strings: `"id": "9007199254740993"`. What ProtoJSON says.
    #[default]
    String,
    /// As numbers: `"id": 9007199254740993`. Many readers lose digits beyond 2^53.
    Number,
}

/// What becomes of members of JSON objects that the message does not have.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// They are an error that names their path.
    #[default]
    Refuse,
    /// They are passed over; so are names of enum values that the enum does not have.
    Ignore,
}

/// How to convert. The default is canonical ProtoJSON.
#[derive(Clone, Debug)]
pub struct Options {
    /// How 64-bit integers are written. Both forms are always read.
    pub int64: Int64,
    /// What becomes of unknown members when reading.
    pub unknown: Unknown,
    /// Write fields that have their default value and no presence of their own: `0`, `""`, `false`, `[]`, `{}`.
    pub show_defaults: bool,
    /// Write enum values as numbers instead of names. Both are always read.
    pub enum_numbers: bool,
    /// Write the names of the `.proto` instead of lowerCamelCase. Both are always read.
    pub proto_names: bool,
    /// Write an `Any` of a type that the schema does not know as `{"@type": …, "value": "base64"}` instead of refusing it, and read that.
    pub opaque_any: bool,
    /// Messages, lists of values and the like may lie in each other as deep as this.
    pub depth: usize,
    /// The result may have this many bytes.
    pub max_output: usize,
    /// Lists and maps may have this many items, counted over the whole message.
    pub max_items: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            int64: Int64::String,
            unknown: Unknown::Refuse,
            show_defaults: false,
            enum_numbers: false,
            proto_names: false,
            opaque_any: false,
            depth: 100,
            max_output: 64 << 20,
            max_items: 4 << 20,
        }
    }
}

/// The Protobuf bytes of a message written in JSON.
///
/// Refused, with the path in the error: what is no JSON, values of the wrong type or out of range, unknown members (by
/// [`Options::unknown`]), members that occur twice, two members of one oneof, missing `required` fields, `Any` of a type that the schema
/// does not know, and what is beyond the limits.
pub fn json_to_proto(message: &Message, json: &[u8], options: &Options) -> Result<Bytes> {
    let mut out = Vec::with_capacity(json.len() / 2);
    let mut reading = Reading::new(&message.pool, options, json)?;
    reading.message(message.info(), &mut out, options.depth)?;
    reading.end()?;
    Ok(out.into())
}

/// The JSON of a message in Protobuf bytes. Fields the schema does not know are left out.
///
/// Refused: bytes that are not Protobuf, text that is not UTF-8, values without a JSON form (a date after 9999, `NaN` in a
/// `google.protobuf.Value`), `Any` of a type that the schema does not know, and what is beyond the limits.
pub fn proto_to_json(message: &Message, proto: &[u8], options: &Options) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(proto.len() * 2);
    proto_to_json_in(message, proto, options, &mut out)?;
    Ok(out)
}

/// The same as [`proto_to_json`], appended to `out`. After an error `out` holds the beginning of the text.
pub fn proto_to_json_in(message: &Message, proto: &[u8], options: &Options, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    write::Writing::new(&message.pool, options, start).message(message.info(), proto, out, options.depth)
}

/// Appends one field of a message to `out`, from the JSON of its value: lists, maps and messages included.
pub(crate) fn field_from_json(
    field: &Field<'_>,
    json: &[u8],
    options: &Options,
    out: &mut Vec<u8>,
) -> Result<()> {
    let mut reading = Reading::new(field.pool, options, json)?;
    reading.field(field.info, out, options.depth).map_err(|e| e.within(field.json_name()))?;
    reading.end()
}

/// Appends the JSON of one field of a message; its default value if it is absent.
pub(crate) fn field_to_json(
    field: &Field<'_>,
    proto: &[u8],
    options: &Options,
    out: &mut Vec<u8>,
) -> Result<()> {
    let start = out.len();
    write::Writing::new(field.pool, options, start).only_field(field, proto, out, options.depth)
}

pub(crate) fn too_large(max: usize) -> Error {
    Error::new(format!("the result has more than {max} bytes"))
}

pub(crate) fn too_many(max: usize) -> Error {
    Error::new(format!("there are more than {max} items"))
}
