//! The program under test of Protobuf's conformance suite: requests and answers over standard input and output, each behind four bytes of
//! length. `conformance DESCRIPTOR_SET`; see interop/schema/conformance.py.

use sb_schema::wire::{Fields, WireValue, put_bytes};
use sb_schema::{Options, Schema, Unknown, json_to_proto, proto_to_json};
use std::io::{Read, Write};

const PROTOBUF: u64 = 1;
const JSON: u64 = 2;
const IGNORE_UNKNOWN: u64 = 3;

// Fields of conformance.ConformanceResponse.
const PARSE_ERROR: u32 = 1;
const RUNTIME_ERROR: u32 = 2;
const PROTOBUF_PAYLOAD: u32 = 3;
const JSON_PAYLOAD: u32 = 4;
const SKIPPED: u32 = 5;
const SERIALIZE_ERROR: u32 = 6;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which descriptor set?")?;
    let schema = Schema::from_descriptor_set(&std::fs::read(path)?)?;
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut len = [0; 4];
    while input.read_exact(&mut len).is_ok() {
        let mut request = vec![0; u32::from_le_bytes(len) as usize];
        input.read_exact(&mut request)?;
        let (field, bytes) = answer(&schema, &request)?;
        let mut response = Vec::new();
        put_bytes(&mut response, field, &bytes);
        output.write_all(&(response.len() as u32).to_le_bytes())?;
        output.write_all(&response)?;
        output.flush()?;
    }
    Ok(())
}

/// One field of the response.
fn answer(schema: &Schema, request: &[u8]) -> sb_schema::Result<(u32, Vec<u8>)> {
    let (mut protobuf, mut json, mut name) = (None, None, "");
    let (mut wanted, mut category) = (0, 0);
    for field in Fields::new(request) {
        match field? {
            (1, WireValue::Bytes(bytes)) => protobuf = Some(bytes),
            (2, WireValue::Bytes(bytes)) => json = Some(bytes),
            (3, WireValue::Varint(value)) => wanted = value,
            (4, WireValue::Bytes(bytes)) => name = std::str::from_utf8(bytes).unwrap_or_default(),
            (5, WireValue::Varint(value)) => category = value,
            _ => {}
        }
    }
    if name == "conformance.FailureSet" {
        return Ok((PROTOBUF_PAYLOAD, Vec::new()));
    }
    let text = |text: String| text.into_bytes();
    let Some(message) = schema.message(name) else {
        return Ok((RUNTIME_ERROR, text(format!("no message {name}"))));
    };
    let unknown = if category == IGNORE_UNKNOWN { Unknown::Ignore } else { Unknown::Refuse };
    let options = Options { unknown, ..Options::default() };
    let proto = match (protobuf, json) {
        (Some(bytes), _) => bytes.to_vec(),
        (_, Some(json)) => match json_to_proto(&message, json, &options) {
            Ok(proto) => proto.to_vec(),
            Err(e) => return Ok((PARSE_ERROR, text(e.to_string()))),
        },
        _ => return Ok((SKIPPED, b"neither Protobuf nor JSON".to_vec())),
    };
    // Bytes that no other implementation would read are an error of parsing, not of writing.
    let dynamic = match message.decode(&proto) {
        Ok(dynamic) => dynamic,
        Err(e) => return Ok((PARSE_ERROR, text(e.to_string()))),
    };
    Ok(match wanted {
        PROTOBUF if json.is_some() => (PROTOBUF_PAYLOAD, proto),
        PROTOBUF => (PROTOBUF_PAYLOAD, dynamic.encode_to_vec()),
        JSON => match proto_to_json(&message, &proto, &options) {
            Ok(json) => (JSON_PAYLOAD, json),
            Err(e) => (SERIALIZE_ERROR, text(e.to_string())),
        },
        _ => (SKIPPED, b"this form is not spoken".to_vec()),
    })
}
