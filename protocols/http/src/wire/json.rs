//! The JSON shapes of docs/http.md, as they are read and written. Unknown members are refused on the way in.

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A duration: `30s`, or an integer of seconds.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u64);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Span;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration such as \"30s\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                super::parse_duration(text)
                    .map(Span)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                super::parse_duration(&seconds.to_string())
                    .map(Span)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(seconds), &self))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::duration_text(self.0))
    }
}

/// A time, in milliseconds since 1970.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Time(pub(crate) i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::time_text(self.0))
    }
}

/// Tells a member that is `null` from one that is absent.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// POLICY on the way in. `null` for `keep_age` and `keep_bytes` takes that limit away.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyIn {
    pub(crate) partitions: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) keep_age: Option<Option<Span>>,
    #[serde(default, deserialize_with = "given")]
    pub(crate) keep_bytes: Option<Option<u64>>,
    pub(crate) keep_until_consumed: Option<bool>,
    pub(crate) max_message: Option<u32>,
    pub(crate) memory: Option<bool>,
    pub(crate) claims: Option<Vec<String>>,
}

/// TOPIC.
#[derive(Debug, Serialize)]
pub(crate) struct TopicOut<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_age: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_bytes: Option<u64>,
    pub(crate) keep_until_consumed: bool,
    pub(crate) max_message: u32,
    pub(crate) memory: bool,
    pub(crate) claims: Vec<&'a str>,
    pub(crate) partition: Vec<PartOut>,
    pub(crate) messages: u64,
    pub(crate) groups: usize,
    pub(crate) created: Time,
}

/// A partition of a TOPIC.
#[derive(Debug, Serialize)]
pub(crate) struct PartOut {
    pub(crate) partition: usize,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) bytes: u64,
}

#[derive(Serialize)]
pub(crate) struct TopicsOut<'a> {
    pub(crate) topics: Vec<TopicOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<&'a str>,
}

/// Where a published message is.
#[derive(Debug, Serialize)]
pub(crate) struct ReceiptOut<'a> {
    pub(crate) id: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) at: Time,
}

#[derive(Serialize)]
pub(crate) struct LiveOut {
    pub(crate) live: bool,
    pub(crate) delivered: usize,
}

#[derive(Serialize)]
pub(crate) struct Messages<T> {
    pub(crate) messages: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// The value of a header of a message.
#[derive(Debug, Clone)]
pub(crate) enum ValueOut<'a> {
    Text(&'a str),
    Base64(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl Serialize for ValueOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ValueOut::Text(text) => serializer.serialize_str(text),
            ValueOut::Base64(text) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", text)?;
                map.end()
            }
            ValueOut::Int(number) => serializer.serialize_i64(*number),
            ValueOut::Float(number) => serializer.serialize_f64(*number),
            ValueOut::Bool(truth) => serializer.serialize_bool(*truth),
        }
    }
}

/// The headers of a message: an object whose order is that of the first use of each name; equal names share an array.
#[derive(Debug, Default)]
pub(crate) struct HeadersOut<'a>(pub(crate) Vec<(&'a str, ValueOut<'a>)>);

impl HeadersOut<'_> {
    fn none(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for HeadersOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (n, (name, value)) in self.0.iter().enumerate() {
            let same = |(other, _): &&(&str, ValueOut<'_>)| other.eq_ignore_ascii_case(name);
            if self.0.iter().take(n).any(|h| same(&h)) {
                continue;
            }
            let values: Vec<&ValueOut<'_>> = self.0.iter().skip(n).filter(same).map(|(_, v)| v).collect();
            match values.as_slice() {
                [_] => map.serialize_entry(name, value)?,
                many => map.serialize_entry(name, many)?,
            }
        }
        map.end()
    }
}

/// MESSAGE.
#[derive(Debug, Serialize)]
pub(crate) struct MessageOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
    pub(crate) topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<u64>,
    pub(crate) at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_base64: Option<String>,
    #[serde(skip_serializing_if = "HeadersOut::none")]
    pub(crate) headers: HeadersOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<&'a str>,
    /// Absent where the bytes follow by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<&'static str>,
}

/// A leased MESSAGE.
#[derive(Debug, Serialize)]
pub(crate) struct LeasedOut<'a> {
    pub(crate) handle: &'a str,
    pub(crate) attempt: u32,
    pub(crate) lease_until: Time,
    #[serde(flatten)]
    pub(crate) message: MessageOut<'a>,
}

/// The value of a header on the way in.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum ValueIn {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    // Before the object: serde reads an array of one as a struct of one member, too.
    Many(Vec<ValueIn>),
    Base64(Base64In),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Base64In {
    pub(crate) base64: String,
}

/// Headers on the way in, in their order.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct HeadersIn(pub(crate) Vec<(String, ValueIn)>);

impl<'de> Deserialize<'de> for HeadersIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = HeadersIn;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of header names and values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeadersIn, A::Error> {
                let mut headers = Vec::new();
                while let Some(entry) = map.next_entry::<String, ValueIn>()? {
                    headers.push(entry);
                }
                Ok(HeadersIn(headers))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// The members that describe a message in JSON, wherever one is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageIn<'a> {
    pub(crate) address: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) key_base64: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) headers: HeadersIn,
    #[serde(default)]
    pub(crate) content_type: Option<String>,
    #[serde(borrow, default)]
    pub(crate) body: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) encoding: Option<Cow<'a, str>>,
    pub(crate) delay: Option<Span>,
    pub(crate) expires: Option<Span>,
}

/// Text that borrows from the document when it holds no escapes, so that a body stays a slice of the request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishIn<'a> {
    #[serde(borrow)]
    pub(crate) messages: Vec<MessageIn<'a>>,
}

/// OPTIONS of a group.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupIn {
    pub(crate) mode: Option<String>,
    pub(crate) start: Option<String>,
    pub(crate) lease: Option<Span>,
    pub(crate) attempts: Option<u32>,
    pub(crate) dead_letter: Option<String>,
    pub(crate) backoff: Option<Span>,
    pub(crate) order: Option<String>,
}

/// GROUP.
#[derive(Debug, Serialize)]
pub(crate) struct GroupOut<'a> {
    pub(crate) topic: &'a str,
    pub(crate) name: &'a str,
    pub(crate) mode: &'static str,
    pub(crate) lease: Span,
    pub(crate) attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter: Option<&'a str>,
    pub(crate) backoff: Span,
    pub(crate) order: &'static str,
    pub(crate) ready: u64,
    pub(crate) leased: u64,
    pub(crate) delayed: u64,
    pub(crate) acked: u64,
    pub(crate) dead: u64,
    pub(crate) expired: u64,
    pub(crate) depth: u64,
    pub(crate) position: Vec<FloorOut>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FloorOut {
    pub(crate) partition: usize,
    pub(crate) floor: u64,
    pub(crate) end: u64,
}

#[derive(Serialize)]
pub(crate) struct GroupsOut<'a> {
    pub(crate) groups: Vec<GroupOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeaseIn {
    pub(crate) max: Option<u64>,
    pub(crate) wait: Option<Span>,
    pub(crate) lease: Option<Span>,
    pub(crate) consumer: Option<String>,
}

/// What ack, nack and extend take; each refuses the members of the others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettleIn {
    pub(crate) handles: Vec<String>,
    pub(crate) delay: Option<Span>,
    pub(crate) dead: Option<bool>,
    pub(crate) lease: Option<Span>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SettledOut<'a> {
    pub(crate) handle: &'a str,
    pub(crate) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'static str>,
}

#[derive(Serialize)]
pub(crate) struct ResultsOut<'a> {
    pub(crate) results: Vec<SettledOut<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeekIn {
    pub(crate) to: String,
    pub(crate) partition: Option<u32>,
    #[serde(default)]
    pub(crate) dry_run: bool,
}

#[derive(Serialize)]
pub(crate) struct SeekOut {
    pub(crate) skipped: u64,
    pub(crate) again: u64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitIn {
    pub(crate) cursor: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MethodIn {
    pub(crate) topic: Option<String>,
    pub(crate) attempts: Option<u32>,
    pub(crate) lease: Option<Span>,
    pub(crate) timeout: Option<Span>,
    pub(crate) keep_result: Option<Span>,
    pub(crate) backoff: Option<Span>,
}

/// METHOD.
#[derive(Debug, Serialize)]
pub(crate) struct MethodOut<'a> {
    pub(crate) name: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) attempts: u32,
    pub(crate) lease: Span,
    pub(crate) timeout: Span,
    pub(crate) keep_result: Span,
    pub(crate) backoff: Span,
}

#[derive(Serialize)]
pub(crate) struct MethodsOut<'a> {
    pub(crate) methods: Vec<MethodOut<'a>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FailureOut<'a> {
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    pub(crate) retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status_name: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) details: Vec<serde_json::Value>,
}

/// Bytes with their media type, shown in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ContentOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<&'a str>,
    pub(crate) body: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<&'static str>,
}

/// JOB.
#[derive(Debug, Serialize)]
pub(crate) struct JobOut<'a> {
    pub(crate) id: String,
    pub(crate) method: &'a str,
    pub(crate) state: &'static str,
    pub(crate) attempts: u32,
    pub(crate) created: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<Time>,
    pub(crate) deadline: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) worker: &'a str,
    pub(crate) cancel_requested: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rerun_of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<ContentOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<FailureOut<'a>>,
    pub(crate) events: u64,
}

#[derive(Serialize)]
pub(crate) struct JobsOut<'a> {
    pub(crate) jobs: Vec<JobOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// EVENT.
#[derive(Debug, Default, Serialize)]
pub(crate) struct EventOut<'a> {
    pub(crate) seq: u64,
    pub(crate) at: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<FailureOut<'a>>,
}

#[derive(Serialize)]
pub(crate) struct EventsOut<'a> {
    pub(crate) events: Vec<EventOut<'a>>,
    pub(crate) next: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TakeIn {
    pub(crate) methods: Vec<String>,
    pub(crate) max: Option<u64>,
    pub(crate) wait: Option<Span>,
    pub(crate) lease: Option<Span>,
    pub(crate) worker: Option<String>,
}

/// A job as its worker gets it.
#[derive(Debug, Serialize)]
pub(crate) struct TakenOut<'a> {
    pub(crate) id: String,
    pub(crate) method: &'a str,
    pub(crate) attempt: u32,
    pub(crate) lease: &'a str,
    pub(crate) lease_until: Time,
    pub(crate) deadline: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_base64: Option<String>,
    #[serde(skip_serializing_if = "HeadersOut::none")]
    pub(crate) headers: HeadersOut<'a>,
    #[serde(flatten)]
    pub(crate) content: ContentOut<'a>,
}

#[derive(Serialize)]
pub(crate) struct TakesOut<'a> {
    pub(crate) jobs: Vec<TakenOut<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtendIn {
    pub(crate) lease: Option<Span>,
}

#[derive(Serialize)]
pub(crate) struct TermOut {
    pub(crate) lease_until: Time,
    pub(crate) cancel_requested: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FailIn {
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
    pub(crate) retryable: Option<bool>,
    pub(crate) delay: Option<Span>,
    #[serde(default)]
    pub(crate) details: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenIn {
    pub(crate) grants: GrantsIn,
    pub(crate) ttl: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantsIn {
    #[serde(default)]
    pub(crate) read: Vec<String>,
    #[serde(default)]
    pub(crate) publish: Vec<String>,
    #[serde(default)]
    pub(crate) call: Vec<String>,
    #[serde(default)]
    pub(crate) jobs: Vec<String>,
}

#[derive(Serialize)]
pub(crate) struct TokenOut {
    pub(crate) token: String,
    pub(crate) expires: Time,
}

/// STATUS.
#[derive(Serialize)]
pub(crate) struct StatusOut<'a> {
    pub(crate) version: &'a str,
    pub(crate) uptime: String,
    pub(crate) node: &'a str,
    pub(crate) mode: &'a str,
    pub(crate) connections: u64,
    pub(crate) topics: u64,
    pub(crate) groups: u64,
    pub(crate) jobs: std::collections::BTreeMap<&'static str, u64>,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) journal_bytes: u64,
    pub(crate) memory: MemoryOut,
    pub(crate) listeners: &'a [String],
}

#[derive(Serialize)]
pub(crate) struct MemoryOut {
    pub(crate) used: u64,
    pub(crate) budget: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn absent_null_and_given_differ() {
        let read = |text: &str| serde_json::from_str::<PolicyIn>(text).map(|p| p.keep_age);
        assert_eq!(read("{}").unwrap(), None);
        assert_eq!(read("{\"keep_age\":null}").unwrap(), Some(None));
        assert_eq!(read("{\"keep_age\":\"7d\"}").unwrap(), Some(Some(Span(604_800_000))));
        assert_eq!(read("{\"keep_age\":30}").unwrap(), Some(Some(Span(30_000))));
        for bad in [
            "{\"keep_age\":-1}",
            "{\"keep_age\":\"soon\"}",
            "{\"keep_age\":1.5}",
            "{\"colour\":1}",
            "[]",
            "null",
            "\"x\"",
            "{\"partitions\":1e40}",
            "{\"memory\":1}",
            "{\"partitions\":1,\"partitions\":2}",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn faults_name_their_place() {
        let error = serde_json::from_str::<PolicyIn>("{\n  \"colour\": 1}").unwrap_err().to_string();
        assert!(error.contains("colour") && error.contains("line 2 column"), "{error}");
    }

    #[test]
    fn headers_keep_order_and_share_arrays() {
        let headers = HeadersOut(vec![
            ("b", ValueOut::Text("1")),
            ("a", ValueOut::Int(2)),
            ("B", ValueOut::Base64("AA==".into())),
            ("t", ValueOut::Bool(true)),
        ]);
        assert_eq!(
            serde_json::to_string(&headers).unwrap(),
            r#"{"b":["1",{"base64":"AA=="}],"a":2,"t":true}"#
        );
        let back: HeadersIn =
            serde_json::from_str(r#"{"z":["1",{"base64":"AA=="}],"a":2.5,"t":true}"#).unwrap();
        assert_eq!(back.0.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["z", "a", "t"]);
        assert!(serde_json::from_str::<HeadersIn>(r#"{"a":{"base65":""}}"#).is_err());
        assert!(serde_json::from_str::<HeadersIn>(r#"{"a":null}"#).is_err());
    }

    #[test]
    fn bodies_without_escapes_are_borrowed() {
        let text = r#"{"messages":[{"address":"a","body":"plain"},{"address":"a","body":"esc\n"}]}"#;
        let parsed: PublishIn<'_> = serde_json::from_str(text).unwrap();
        let borrowed: Vec<bool> =
            parsed.messages.iter().map(|m| matches!(m.body.as_ref().unwrap().0, Cow::Borrowed(_))).collect();
        assert_eq!(borrowed, [true, false]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = serde_json::from_slice::<PolicyIn>(&bytes);
            let _ = serde_json::from_slice::<PublishIn<'_>>(&bytes);
            let _ = serde_json::from_slice::<SettleIn>(&bytes);
        }
    }
}
