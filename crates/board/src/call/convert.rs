//! Converting the messages of a call between codecs, when caller and service speak different ones.

use super::services::Entry;
use super::{Call, Code, Codec, Part, Reply, Status};
use bytes::Bytes;
use futures_util::StreamExt as _;

/// Which message of a method.
#[derive(Copy, Clone, PartialEq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// One message in another codec.
pub(crate) fn message(
    entry: &Entry,
    side: Side,
    from: Codec,
    to: Codec,
    bytes: Bytes,
) -> Result<Bytes, Status> {
    if from == to {
        return Ok(bytes);
    }
    let options = &entry.service.json;
    let kind = match side {
        Side::Request => &entry.method.input,
        Side::Response => &entry.method.output,
    };
    let converted = match to {
        Codec::Proto => sb_schema::json_to_proto(kind, &bytes, options),
        Codec::Json => sb_schema::proto_to_json(kind, &bytes, options).map(Bytes::from),
    };
    converted.map_err(|error| match side {
        Side::Request => Status::new(Code::InvalidArgument, error.to_string()),
        Side::Response => Status::new(
            Code::Internal,
            format!("the service's answer is not a {}: {error}", kind.full_name()),
        ),
    })
}

/// A request in a form that is the same whatever codec it came in; `None` when it cannot be read.
pub(crate) fn plain(entry: &Entry, codec: Codec, bytes: &Bytes) -> Option<Bytes> {
    let (kind, options) = (&entry.method.input, sb_schema::Options::default());
    let proto = match codec {
        Codec::Proto => bytes.clone(),
        Codec::Json => sb_schema::json_to_proto(kind, bytes, &options).ok()?,
    };
    sb_schema::proto_to_json(kind, &proto, &options).ok().map(Bytes::from)
}

/// The call as a service of this codec takes it.
pub(crate) fn call(entry: &Entry, call: Call, to: Codec) -> Call {
    let (entry, from) = (entry.clone(), call.codec);
    let messages = call.messages.map(move |m| m.and_then(|m| message(&entry, Side::Request, from, to, m)));
    Call { codec: to, messages: Box::pin(messages), ..call }
}

/// The reply as a caller of this codec takes it. A message that cannot be converted ends it.
pub(crate) fn reply(entry: &Entry, reply: Reply, from: Codec, to: Codec) -> Reply {
    let entry = entry.clone();
    let parts = reply.parts.map(move |part| match part {
        Part::Message(bytes) => match message(&entry, Side::Response, from, to, bytes) {
            Ok(bytes) => Part::Message(bytes),
            Err(status) => Part::End(status.into()),
        },
        end => end,
    });
    // Nothing may follow an end.
    let parts = parts.scan(false, |over, part| {
        let before = std::mem::replace(over, matches!(part, Part::End(_)));
        std::future::ready((!before).then_some(part))
    });
    Reply { metadata: reply.metadata, parts: Box::pin(parts) }
}
