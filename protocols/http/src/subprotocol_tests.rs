//! Tests of what the subprotocol says, apart from its socket.

use super::*;

#[test]
fn jobs_keep_their_id_beside_that_of_the_request() {
    let members = job_members(&serde_json::json!({"id": "J"}));
    assert_eq!(members, br#"{"job":{"id":"J"}}"#);
}

#[test]
fn fingerprints_leave_out_the_number_of_the_request() {
    let of = |frame: &str, body: Option<&[u8]>| {
        said(Some("k"), frame.as_bytes(), body).unwrap().unwrap().fingerprint
    };
    let one = of(r#"{"op":"publish","id":1,"address":"a","body":"x"}"#, None);
    assert_eq!(one, of(r#"{"op":"publish","id":2,"address":"a","body":"x"}"#, None));
    assert_ne!(one, of(r#"{"op":"publish","id":1,"address":"a","body":"y"}"#, None));
    assert_ne!(one, of(r#"{"op":"publish","id":1,"address":"a"}"#, Some(b"x")));
    assert!(said(None, b"{}", None).unwrap().is_none());
}
