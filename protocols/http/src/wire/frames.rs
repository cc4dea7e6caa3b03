//! The messages of the WebSocket subprotocol `switchboard.v1`: JSON objects in text frames; in binary frames a 32-bit big-endian length,
//! the JSON object, then the bytes of its body.

use super::json::{HeadersIn, Span, Text};
use bytes::{Buf, Bytes};
use serde::Deserialize;
use std::borrow::Cow;

/// The largest JSON part of a binary frame.
pub(crate) const MAX_HEADER: usize = 256 * 1024;

/// Takes a binary frame apart.
pub(crate) fn split_binary(mut frame: Bytes) -> Result<(Bytes, Bytes), &'static str> {
    if frame.len() < 4 {
        return Err("a binary frame begins with four bytes of length");
    }
    let length = frame.get_u32() as usize;
    if length > MAX_HEADER {
        return Err("the JSON part of a binary frame is larger than 256 KiB");
    }
    if length > frame.len() {
        return Err("the JSON part of a binary frame is longer than the frame");
    }
    let header = frame.split_to(length);
    Ok((header, frame))
}

/// The part of a message that all subscribers share, behind their own head: the rest of a JSON object, with the body inside.
pub(crate) fn shared_text(object: &[u8]) -> Bytes {
    Bytes::copy_from_slice(object.get(1..).unwrap_or_default())
}

/// The same where the bytes of the body follow: the length of the JSON part comes first, which no JSON text begins with.
pub(crate) fn shared_binary(object: &[u8], body: &[u8]) -> Bytes {
    let rest = object.get(1..).unwrap_or_default();
    let mut out = Vec::with_capacity(4 + rest.len() + body.len());
    out.extend_from_slice(&(rest.len() as u32).to_be_bytes());
    out.extend_from_slice(rest);
    out.extend_from_slice(body);
    out.into()
}

/// Puts a subscriber's head before a shared part: whether the frame is text, the bytes before the shared part, the shared part.
pub(crate) fn join(head: &[u8], shared: Bytes, out: &mut Vec<u8>) -> (bool, Bytes) {
    out.clear();
    // The length of a JSON part is below 2^24, so its first byte is 0; JSON text never begins with one.
    if shared.first() != Some(&0) {
        out.extend_from_slice(head);
        return (true, shared);
    }
    let mut shared = shared;
    let rest = if shared.len() < 4 { 0 } else { shared.get_u32() };
    out.extend_from_slice(&(head.len() as u32).saturating_add(rest).to_be_bytes());
    out.extend_from_slice(head);
    (false, shared)
}

/// The members every request has.
#[derive(Debug, Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(borrow)]
    pub(crate) op: Cow<'a, str>,
    pub(crate) id: Option<u64>,
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code)]
        pub(crate) struct $name<'a> {
            #[serde(borrow)]
            pub(crate) op: Cow<'a, str>,
            pub(crate) id: Option<u64>,
            $($(#[$attr])* pub(crate) $field: $type,)*
        }
    )*};
}

requests! {
    Publish {
        address: Cow<'a, str>,
        #[serde(borrow, default)] key: Option<Cow<'a, str>>,
        #[serde(borrow, default)] key_base64: Option<Cow<'a, str>>,
        #[serde(default)] headers: HeadersIn,
        content_type: Option<String>,
        #[serde(borrow, default)] body: Option<Text<'a>>,
        #[serde(borrow, default)] encoding: Option<Cow<'a, str>>,
        delay: Option<Span>,
        expires: Option<Span>,
        #[serde(default)] live: bool,
        idempotency_key: Option<String>,
    }
    Subscribe {
        sub: String,
        pattern: String,
        from: Option<String>,
        after: Option<String>,
        partition: Option<u32>,
        credit: Option<u64>,
    }
    Credit { sub: String, n: u64 }
    Unsubscribe { sub: String }
    Lease {
        topic: String,
        group: String,
        max: Option<u64>,
        wait: Option<Span>,
        lease: Option<Span>,
        consumer: Option<String>,
    }
    Settle { handles: Vec<String>, delay: Option<Span>, dead: Option<bool>, lease: Option<Span> }
    Call {
        method: String,
        content_type: Option<String>,
        #[serde(borrow, default)] body: Option<Text<'a>>,
        #[serde(borrow, default)] encoding: Option<Cow<'a, str>>,
        #[serde(default, rename = "async")] background: bool,
        idempotency_key: Option<String>,
    }
    Job { sub: String, job: String, #[serde(default)] after: u64 }
    Ping {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn binary_frames() {
        let frame = Bytes::from_static(b"\0\0\0\x02{}body");
        assert_eq!(split_binary(frame).unwrap(), (Bytes::from_static(b"{}"), Bytes::from_static(b"body")));
        for bad in [&b""[..], b"\0\0\0", b"\xff\xff\xff\xff{}", b"\0\0\0\x64{}"] {
            assert!(split_binary(Bytes::from_static(bad)).is_err());
        }
    }

    #[test]
    fn a_head_joins_both_kinds_of_shared_part() {
        let head = br#"{"op":"message","sub":"a","#;
        let mut out = Vec::new();
        let (text, rest) = join(head, shared_text(br#"{"topic":"t","body":"x"}"#), &mut out);
        out.extend_from_slice(&rest);
        assert!(text);
        assert_eq!(out, br#"{"op":"message","sub":"a","topic":"t","body":"x"}"#);
        let (text, rest) = join(head, shared_binary(br#"{"topic":"t"}"#, b"\xff\0"), &mut out);
        assert!(!text);
        out.extend_from_slice(&rest);
        let (json, body) = split_binary(out.into()).unwrap();
        assert_eq!(&json[..], br#"{"op":"message","sub":"a","topic":"t"}"#);
        assert_eq!(&body[..], b"\xff\0");
    }

    #[test]
    fn requests_refuse_what_they_do_not_know() {
        assert!(
            serde_json::from_str::<Publish<'_>>(r#"{"op":"publish","id":1,"address":"a","body":"x"}"#)
                .is_ok()
        );
        assert!(
            serde_json::from_str::<Publish<'_>>(r#"{"op":"publish","id":1,"address":"a","colour":1}"#)
                .is_err()
        );
        assert!(serde_json::from_str::<Publish<'_>>(r#"{"op":"publish","id":1}"#).is_err());
        assert!(
            serde_json::from_str::<Subscribe<'_>>(
                r#"{"op":"subscribe","id":1,"sub":"s","pattern":"a","credit":-1}"#
            )
            .is_err()
        );
        let call: Call<'_> =
            serde_json::from_str(r#"{"op":"call","id":1,"method":"a.B/C","async":true}"#).unwrap();
        assert!(call.background);
        assert!(serde_json::from_str::<Ping<'_>>(r#"{"op":"ping","id":8}"#).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok((json, _)) = split_binary(bytes.clone().into()) {
                let _ = serde_json::from_slice::<Head<'_>>(&json);
            }
            let _ = serde_json::from_slice::<Publish<'_>>(&bytes);
            let mut out = Vec::new();
            join(b"{", bytes.into(), &mut out);
        }
    }
}
