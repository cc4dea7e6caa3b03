//! URIs and bodies, and the names of tools.

use sb_mcp::map;
use sb_mcp::wire::{Body, LAST, Resource, look, message_uri, topic_uri};

#[test]
fn uris_lead_to_topics_and_messages() {
    for topic in ["orders", "orders.eu", "a%2Eb", "größe", "a b"] {
        assert_eq!(Resource::parse(&topic_uri(topic)), Some(Resource::Topic(topic.to_owned(), LAST)));
        let uri = message_uri(topic, 3, u64::MAX);
        assert_eq!(Resource::parse(&uri), Some(Resource::Message(topic.to_owned(), 3, u64::MAX)), "{uri}");
    }
    assert_eq!(Resource::parse("sb://topics/a?last=5"), Some(Resource::Topic("a".to_owned(), 5)));
    for bad in [
        "",
        "sb://topics/",
        "sb://topic/a",
        "http://topics/a",
        "sb://topics/a?last=0",
        "sb://topics/a?last=1000",
        "sb://topics/a?first=1",
        "sb://topics/a/0",
        "sb://topics/a/0-1-2",
        "sb://topics/a/-1-2",
        "sb://topics/a/b/0-1",
        "sb://topics/a/99999999999-0",
        "sb://topics/%",
        "sb://topics/%f",
        "sb://topics/%ff",
    ] {
        assert_eq!(Resource::parse(bad), None, "{bad}");
    }
}

#[test]
fn bodies() {
    assert_eq!(look(b" {\"a\":1} "), Body::One);
    assert_eq!(look(b"[1, {\"a\": [2]}]"), Body::Batch(vec!["1", "{\"a\": [2]}"]));
    for bad in [&b""[..], b"{", b"[]", b"\xff", b"[1,", format!("[{}]", vec!["1"; 101].join(",")).as_bytes()]
    {
        assert_eq!(look(bad), Body::Malformed);
    }
}

#[test]
fn names_of_tools_are_what_everybody_takes() {
    assert_eq!(map::name("toy.v1.Toy/Greet"), "toy_v1_Toy_Greet");
    let long = format!("{}.v1.Service/Method", "package".repeat(20));
    let other = format!("x{long}");
    for path in [&long, &other] {
        let name = map::name(path);
        assert_eq!(name.len(), 64);
        assert!(
            name.contains("Service_Method_") && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        );
    }
    assert_ne!(map::name(&long), map::name(&other));
}
