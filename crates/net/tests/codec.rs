//! The WebSocket codec against RFC 6455 and RFC 7692: examples, cuts at every byte, control frames, close codes, text, limits,
//! compression with every parameter, and bytes of chance.

use bytes::Bytes;
use proptest::prelude::*;
use sb_net::codec::deflate::{Deflater, Params, negotiate};
use sb_net::codec::{Decoder, Event, Limits, Role, Violation, close_payload, masked_frame, put_head};

const LIMITS: Limits = Limits { message: 1 << 20, fragments: Some(1024) };
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn server() -> Decoder {
    Decoder::new(Role::Server, LIMITS, None)
}

/// Everything that comes out of these bytes.
fn all(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Event>, Violation> {
    let mut rest = bytes;
    let mut events = Vec::new();
    while !rest.is_empty() {
        events.extend(decoder.decode(&mut rest)?);
    }
    Ok(events)
}

/// The same, byte by byte and cut in two at every place.
fn cut_everywhere(bytes: &[u8]) -> Result<Vec<Event>, u16> {
    let whole = all(&mut server(), bytes).map_err(|v| v.code);
    let mut decoder = server();
    let mut single = Ok(Vec::new());
    for byte in bytes {
        match (all(&mut decoder, &[*byte]), &mut single) {
            (Ok(more), Ok(events)) => events.extend(more),
            (Err(v), _) => {
                single = Err(v.code);
                break;
            }
            _ => break,
        }
    }
    assert_eq!(whole, single);
    for at in 0..=bytes.len() {
        let mut decoder = server();
        let cut = all(&mut decoder, &bytes[..at]).and_then(|mut events| {
            events.extend(all(&mut decoder, &bytes[at..])?);
            Ok(events)
        });
        assert_eq!(whole, cut.map_err(|v| v.code), "cut at {at}");
    }
    whole
}

fn code(bytes: &[u8]) -> u16 {
    cut_everywhere(bytes).expect_err("must be refused")
}

fn text(s: &str) -> Event {
    Event::Text(Bytes::copy_from_slice(s.as_bytes()))
}

fn frames(parts: &[(u8, &[u8])]) -> Vec<u8> {
    parts.iter().flat_map(|(first, payload)| masked_frame(*first, MASK, payload)).collect()
}

#[test]
fn examples_of_the_standard() {
    // RFC 6455 §5.7
    let mut client = Decoder::new(Role::Client, LIMITS, None);
    assert_eq!(all(&mut client, &[0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]).unwrap(), [text("Hello")]);
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(cut_everywhere(&masked).unwrap(), [text("Hello")]);
    assert_eq!(masked_frame(0x81, MASK, b"Hello"), masked);
    let mut client = Decoder::new(Role::Client, LIMITS, None);
    assert_eq!(all(&mut client, &[1, 3, 0x48, 0x65, 0x6c, 0x80, 2, 0x6c, 0x6f]).unwrap(), [text("Hello")]);
    // RFC 6455 §1.3
    assert_eq!(sb_net::accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn lengths_of_every_form() {
    for len in [0, 1, 125, 126, 127, 128, 65535, 65536, 200_000] {
        let payload = vec![b'*'; len];
        let bytes = masked_frame(0x82, MASK, &payload);
        assert_eq!(all(&mut server(), &bytes).unwrap(), [Event::Binary(payload.into())]);
    }
}

#[test]
fn fragments_with_control_frames_between() {
    let bytes =
        frames(&[(1, b"frag"), (0x89, b"ping"), (0, b""), (0x8a, b""), (0x80, b"ments"), (0x82, b"x")]);
    let want = [
        Event::Ping(Bytes::from_static(b"ping")),
        Event::Pong,
        text("fragments"),
        Event::Binary(Bytes::from_static(b"x")),
    ];
    assert_eq!(cut_everywhere(&bytes).unwrap(), want);
}

#[test]
fn what_is_not_allowed() {
    for first in
        [0x83, 0x84, 0x85, 0x86, 0x87, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0xc1, 0xa1, 0x91, 0xf1, 0xc9, 0x99]
    {
        assert_eq!(code(&frames(&[(first, b"")])), 1002, "{first:x}");
    }
    assert_eq!(code(&frames(&[(0x09, b"")])), 1002, "fragmented ping");
    assert_eq!(code(&frames(&[(0x89, &[0; 126])])), 1002, "long ping");
    assert_eq!(code(&frames(&[(0x80, b"x")])), 1002, "continuation of nothing");
    assert_eq!(code(&frames(&[(0x01, b"x"), (0x81, b"y")])), 1002, "message inside a message");
    assert_eq!(code(&frames(&[(0x81, b"x"), (0x80, b"y")])), 1002, "continuation behind the end");
    assert_eq!(code(&[0x81, 1, b'x']), 1002, "not masked");
    assert_eq!(code(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), 1002, "highest bit of the length");
    let mut client = Decoder::new(Role::Client, LIMITS, None);
    assert_eq!(all(&mut client, &masked_frame(0x81, MASK, b"x")).unwrap_err().code, 1002);
}

#[test]
fn close_frames() {
    let close = |payload: &[u8]| cut_everywhere(&frames(&[(0x88, payload)]));
    assert_eq!(close(b"").unwrap(), [Event::Close(1005, String::new())]);
    assert_eq!(close(b"x"), Err(1002));
    for good in
        [1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        let payload = close_payload(good, "why");
        assert_eq!(close(&payload).unwrap(), [Event::Close(good, "why".into())]);
    }
    for bad in [0u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        assert_eq!(close(&bad.to_be_bytes()), Err(1002), "{bad}");
    }
    assert_eq!(close(&[3, 0xe8, 0xc0, 0xaf]), Err(1007));
    assert_eq!(close_payload(1000, &"é".repeat(100)).len(), 2 + 122);
}

#[test]
fn text_is_checked_at_once() {
    for good in ["", "\u{0}", "κόσμε", "\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}", "Hello-µ@ßöäüàá-UTF-8!!"]
    {
        for at in 0..=good.len() {
            let (a, b) = good.as_bytes().split_at(at);
            assert_eq!(cut_everywhere(&frames(&[(1, a), (0x80, b)])).unwrap(), [text(good)]);
        }
    }
    for bad in [
        &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"[..],
        b"\x80",
        b"\xbf",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xf8\x88\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xed\xbf\xbf",
        b"\xfe",
        b"\xff",
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"a\xc3\x28",
    ] {
        assert_eq!(code(&frames(&[(0x81, bad)])), 1007, "{bad:x?}");
        assert!(matches!(cut_everywhere(&frames(&[(0x82, bad)])).unwrap()[..], [Event::Binary(_)]));
    }
    // Fails before the frame is complete, and before the message is.
    let mut frame = masked_frame(0x81, MASK, b"\xce\xba\xf4\x90\x80\x80edited");
    frame.truncate(2 + 4 + 4);
    assert_eq!(all(&mut server(), &frame).unwrap_err().code, 1007);
    assert_eq!(code(&frames(&[(1, b"\xf4"), (0, b"\x90")])), 1007);
}

#[test]
fn limits() {
    let limits = Limits { message: 100, fragments: Some(3) };
    let with = |bytes: &[u8]| all(&mut Decoder::new(Role::Server, limits, None), bytes).map_err(|v| v.code);
    assert!(with(&frames(&[(0x82, &[0; 100])])).is_ok());
    // Refused from its head alone.
    assert_eq!(with(&frames(&[(0x82, &[0; 101])])[..8]), Err(1009));
    assert_eq!(with(&frames(&[(2, &[0; 60]), (0x80, &[0; 41])])[..74]), Err(1009));
    assert!(with(&frames(&[(2, b"a"), (0, b"b"), (0x80, b"c")])).is_ok());
    assert_eq!(with(&frames(&[(2, b""), (0, b""), (0, b""), (0x80, b"")])), Err(1009));
    // A length that is announced and does not come takes no memory.
    let mut decoder = Decoder::new(Role::Server, Limits { message: 64 << 20, fragments: None }, None);
    let mut head = vec![0x82, 0xff];
    head.extend_from_slice(&(64u64 << 20).to_be_bytes());
    head.extend_from_slice(&[0; 4]);
    head.push(1);
    assert!(all(&mut decoder, &head).unwrap().is_empty());
    assert!(decoder.held() <= 128 * 1024, "{}", decoder.held());
}

// --- compression ---

fn client_side(params: &Params) -> Params {
    // A client compresses in the other direction: what binds the client binds its `Deflater`.
    Params {
        server_no_context_takeover: params.client_no_context_takeover,
        server_max_window_bits: params.client_max_window_bits,
        ..*params
    }
}

fn compressed(deflater: &mut Deflater, payload: &[u8]) -> Vec<u8> {
    match deflater.message(b"", payload) {
        Some(small) => masked_frame(0xc2, MASK, &small),
        None => masked_frame(0x82, MASK, payload),
    }
}

/// Messages that look alike, that do not, and that are longer than any window.
fn samples() -> Vec<Vec<u8>> {
    let mut random = 12345u64;
    let noise: Vec<u8> = (0..70_000)
        .map(|_| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 56) as u8
        })
        .collect();
    let json =
        br#"{"op":"message","sub":"a","topic":"orders.created","partition":0,"offset":12,"body":"hello"}"#
            .to_vec();
    let long = json.repeat(2000);
    vec![json.clone(), json.clone(), noise, json.clone(), vec![], long, json, vec![0; 300_000]]
}

#[test]
fn every_parameter_goes_round() {
    for offer in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
        "permessage-deflate; client_max_window_bits=\"10\"; server_max_window_bits=10",
        "permessage-deflate; server_max_window_bits=15; client_max_window_bits=15; server_no_context_takeover",
    ] {
        let (params, answer) = negotiate([offer]).expect(offer);
        assert!(answer.starts_with("permessage-deflate"));
        // Us to them.
        let mut deflater = Deflater::new(&params);
        let mut client = Decoder::new(Role::Client, LIMITS, Some(&params));
        let mut sizes = Vec::new();
        for (i, sample) in samples().into_iter().enumerate() {
            let mut bytes = Vec::new();
            match deflater.message(&sample[..sample.len() / 3], &sample[sample.len() / 3..]) {
                Some(small) => {
                    put_head(&mut bytes, 0xc2, small.len());
                    bytes.extend_from_slice(&small);
                }
                None => {
                    put_head(&mut bytes, 0x82, sample.len());
                    bytes.extend_from_slice(&sample);
                }
            }
            sizes.push(bytes.len());
            assert_eq!(all(&mut client, &bytes).unwrap(), [Event::Binary(sample.into())], "{offer} {i}");
            if i == 5 {
                deflater.forget();
            }
        }
        if !params.server_no_context_takeover {
            assert!(sizes[1] * 2 < sizes[0], "{offer}: {sizes:?} the window is not used");
        }
        // Them to us, at once and byte by byte.
        let mut deflater = Deflater::new(&client_side(&params));
        let limits = Limits { message: 1 << 20, fragments: None };
        let mut server = Decoder::new(Role::Server, limits, Some(&params));
        for (i, sample) in samples().into_iter().enumerate() {
            let bytes = compressed(&mut deflater, &sample);
            let events = if bytes.len() < 3000 {
                bytes.iter().flat_map(|b| all(&mut server, &[*b]).unwrap()).collect()
            } else {
                all(&mut server, &bytes).unwrap()
            };
            assert_eq!(events, [Event::Binary(sample.into())], "{offer} {i}");
        }
        assert!(server.held() <= 1 << params.client_max_window_bits, "{}", server.held());
    }
}

#[test]
fn offers_that_are_declined() {
    for bad in [
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "x-webkit-deflate-frame",
        "",
    ] {
        assert_eq!(negotiate([bad]), None, "{bad}");
    }
    let (_, answer) =
        negotiate(["foo, permessage-deflate; server_max_window_bits=8, permessage-deflate"]).unwrap();
    assert_eq!(answer, "permessage-deflate");
}

#[test]
fn examples_of_rfc_7692() {
    let (params, _) = negotiate(["permessage-deflate"]).unwrap();
    let mut server = Decoder::new(Role::Server, LIMITS, Some(&params));
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    // §7.2.3.1 in one frame and in two, §7.2.3.2 from the shared window.
    assert_eq!(all(&mut server, &masked_frame(0xc1, MASK, &hello)).unwrap(), [text("Hello")]);
    let two = frames(&[(0x41, &hello[..3]), (0x80, &hello[3..])]);
    assert_eq!(all(&mut server, &two).unwrap(), [text("Hello")]);
    let shared = [0xf2, 0x00, 0x11, 0x00, 0x00];
    assert_eq!(all(&mut server, &masked_frame(0xc1, MASK, &shared)).unwrap(), [text("Hello")]);
    // §7.2.3.3 a stored block, §7.2.3.4 a last block, §7.2.3.5 two blocks in one message.
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(all(&mut server, &masked_frame(0xc1, MASK, &stored)).unwrap(), [text("Hello")]);
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(all(&mut server, &masked_frame(0xc1, MASK, &last)).unwrap(), [text("Hello")]);
    let two = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(all(&mut server, &masked_frame(0xc1, MASK, &two)).unwrap(), [text("Hello")]);
    // Rules about the bit, and damaged data.
    let refused =
        |bytes: &[u8]| all(&mut Decoder::new(Role::Server, LIMITS, Some(&params)), bytes).unwrap_err().code;
    assert_eq!(refused(&frames(&[(1, b"x"), (0xc0, b"y")])), 1002);
    assert_eq!(refused(&frames(&[(0xc9, b"")])), 1002);
    assert_eq!(refused(&masked_frame(0xc1, MASK, b"\xff\xff\xff\xff\xff")), 1007);
    let mut text = Deflater::new(&params);
    let bad = text.message(b"", &[0xc0; 200]).unwrap();
    assert_eq!(refused(&masked_frame(0xc1, MASK, &bad)), 1007);
}

#[test]
fn bombs_are_bounded() {
    let (params, _) = negotiate(["permessage-deflate"]).unwrap();
    let bomb = Deflater::new(&params).message(b"", &vec![0; 64 << 20]).unwrap();
    assert!(bomb.len() < 1 << 18);
    let mut decoder = Decoder::new(Role::Server, LIMITS, Some(&params));
    assert_eq!(all(&mut decoder, &masked_frame(0xc2, MASK, &bomb)).unwrap_err().code, 1009);
    assert!(decoder.held() < 4 << 20, "{}", decoder.held());
    // Exactly the limit is not too large; one more is.
    for (len, fits) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        let small = Deflater::new(&params).message(b"", &vec![7; len]).unwrap();
        let mut decoder = Decoder::new(Role::Server, LIMITS, Some(&params));
        assert_eq!(all(&mut decoder, &masked_frame(0xc2, MASK, &small)).is_ok(), fits, "{len}");
    }
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), deflate: bool, client: bool) {
        let params = deflate.then(|| negotiate(["permessage-deflate; client_max_window_bits"]).unwrap().0);
        let role = if client { Role::Client } else { Role::Server };
        let limits = Limits { message: 4096, fragments: Some(8) };
        let _ = all(&mut Decoder::new(role, limits, params.as_ref()), &bytes);
    }

    #[test]
    fn any_compressed_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), fin: bool) {
        let (params, _) = negotiate(["permessage-deflate; client_max_window_bits"]).unwrap();
        let mut decoder = Decoder::new(Role::Server, Limits { message: 4096, fragments: Some(8) }, Some(&params));
        let first = if fin { 0xc1 } else { 0x42 };
        let _ = all(&mut decoder, &masked_frame(first, MASK, &bytes));
        prop_assert!(decoder.held() < 64 * 1024);
    }

    #[test]
    fn any_messages_go_round(
        messages in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..3000), 1..8),
        cuts in proptest::collection::vec(1usize..500, 1..20),
        takeover: bool,
    ) {
        let offer = if takeover { "permessage-deflate" } else { "permessage-deflate; client_no_context_takeover" };
        let (params, _) = negotiate([offer]).unwrap();
        let mut deflater = Deflater::new(&client_side(&params));
        let mut decoder = Decoder::new(Role::Server, LIMITS, Some(&params));
        let wire: Vec<u8> = messages.iter().flat_map(|m| compressed(&mut deflater, m)).collect();
        let mut rest = &wire[..];
        let mut events = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, more) = rest.split_at((*cut).min(rest.len()));
            events.extend(all(&mut decoder, piece).unwrap());
            rest = more;
        }
        let want: Vec<Event> = messages.into_iter().map(|m| Event::Binary(m.into())).collect();
        prop_assert_eq!(events, want);
    }

    #[test]
    fn any_offer_never_panics(offer in "[a-z_=;, \"0-9]{0,60}") {
        let _ = negotiate([offer.as_str(), "permessage-deflate; client_max_window_bits=x"]);
    }

    #[test]
    fn the_guard_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        sb_net::codec::Guard::default().look(&mut bytes.clone());
    }
}
