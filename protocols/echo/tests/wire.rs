//! Golden bytes, cuts at every place, limits, bytes of chance; every kind of error; a conversation.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use sb_board::mount::Recognised;
use sb_core::model::{Error, Kind};
use sb_echo::wire::{MAX_BODY, MAX_LINE, Reply, Request, WireError, decode, encode, recognise};
use sb_echo::{map, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn requests(bytes: &[u8]) -> Vec<Result<Request, WireError>> {
    let mut buffer = BytesMut::from(bytes);
    std::iter::from_fn(|| decode(&mut buffer).transpose()).take(20).collect()
}

fn encoded(reply: Reply) -> String {
    let mut out = Vec::new();
    encode(&reply, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn golden_requests() {
    let bytes = b"ECHO hello you\r\nAUTH key\nPUB a.b 3\nx\nySUB a.*\nECHO\n";
    let want = [
        Request::Echo(Bytes::from_static(b"hello you")),
        Request::Auth("key".into()),
        Request::Publish { address: "a.b".into(), body: Bytes::from_static(b"x\ny") },
        Request::Subscribe("a.*".into()),
        Request::Echo(Bytes::new()),
    ];
    assert_eq!(requests(bytes), want.clone().map(Ok));
    // However it is cut.
    let mut buffer = BytesMut::new();
    let mut seen = Vec::new();
    for byte in bytes {
        buffer.extend_from_slice(&[*byte]);
        seen.extend(decode(&mut buffer).unwrap());
    }
    assert_eq!(seen, want);
}

#[test]
fn golden_replies() {
    assert_eq!(encoded(Reply::Echo(Bytes::from_static(b"x"))), "x\n");
    assert_eq!(encoded(Reply::Done), "+OK\n");
    assert_eq!(encoded(Reply::Stored(12)), "+OK 12\n");
    assert_eq!(encoded(Reply::Live(2)), "+LIVE 2\n");
    assert_eq!(
        encoded(Reply::Message { address: "a.b".into(), body: Bytes::from_static(b"x\n") }),
        "MSG a.b 2\nx\n"
    );
    let error = Error::new(Kind::NotFound, "SB0301", "no\nsuch topic").fix("Create it");
    assert_eq!(encoded(map::error(&error)), "-ERR SB0301 absent no such topic. Create it\n");
}

#[test]
fn what_is_wrong() {
    assert!(matches!(requests(b"NOPE\nECHO x\n")[..], [Err(WireError::Line(_)), Ok(Request::Echo(_))]));
    for bad in [
        "PUB a\n",
        "PUB a x\n",
        "PUB a -1\n",
        &format!("PUB a {}\n", MAX_BODY + 1),
        "PUB a 99999999999999999999\n",
    ] {
        let first = requests(bad.as_bytes()).into_iter().next();
        assert!(matches!(first, Some(Err(WireError::Framing(_)))), "{bad}");
    }
    assert!(requests(&vec![b'x'; MAX_LINE - 1]).is_empty());
    assert!(matches!(requests(&vec![b'x'; MAX_LINE])[0], Err(WireError::Framing(_))));
    assert!(map::message("", Bytes::new()).is_err());
    assert!(map::subscription("a..b").is_err());
}

#[test]
fn first_bytes() {
    assert_eq!(recognise(b"P"), Recognised::More);
    assert_eq!(recognise(b"PUB a"), Recognised::Yes);
    assert_eq!(recognise(b"PUT /"), Recognised::No);
    assert_eq!(recognise(b"ECHO x\n"), Recognised::Yes);
}

#[test]
fn every_kind_has_a_word() {
    for kind in Kind::ALL {
        assert!(!map::word(kind).is_empty());
    }
}

#[tokio::test]
async fn a_conversation() {
    let (mut client, stream) = tokio::io::duplex(1000);
    let nobody = |_: Option<&str>| Err(Error::new(Kind::Unauthenticated, "SB0501", "who are you"));
    let talk = tokio::spawn(server::converse(stream, nobody, std::future::pending()));
    client.write_all(b"ECHO one\nECHO two\nNOPE\nPUB a 1\nxSUB a\nAUTH k\nPUB a b\n").await.unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    let lines: Vec<&str> = said.lines().map(|line| line.split(' ').take(3).last().unwrap_or(line)).collect();
    assert_eq!(lines, ["one", "two", "invalid", "denied", "denied", "denied", "invalid"]);
    talk.await.unwrap().unwrap();
}

#[tokio::test]
async fn draining_ends_it() {
    let (mut client, stream) = tokio::io::duplex(1000);
    let nobody = |_: Option<&str>| Err(Error::internal("not asked"));
    let talk = tokio::spawn(server::converse(stream, nobody, std::future::ready(())));
    assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    talk.await.unwrap().unwrap();
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = requests(&bytes);
        let _ = recognise(&bytes);
    }

    #[test]
    fn any_line_never_panics(line in "(ECHO|AUTH|PUB|SUB) [a-z.* 0-9-]{0,20}\n[a-z\n]{0,20}") {
        let _ = requests(line.as_bytes());
    }
}
