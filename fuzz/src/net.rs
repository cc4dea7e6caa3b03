//! What sockets bring before a protocol sees it: WebSocket frames, compressed messages, HTTP/1 framing, first bytes.

use sb_net::codec::deflate::{self, Deflater, Inflater};
use sb_net::codec::{Decoder, Event, Found, Guard, Limits, Role, Violation, masked_frame, may_be_sent};

const MESSAGE: usize = 64 * 1024;

fn params(bits: u8) -> deflate::Params {
    deflate::Params {
        server_no_context_takeover: bits & 1 != 0,
        client_no_context_takeover: bits & 2 != 0,
        server_max_window_bits: 9 + (bits >> 2) % 7,
        client_max_window_bits: 8 + (bits >> 3) % 8,
    }
}

/// Frames of one direction of a connection, in pieces: the pieces must not matter.
pub fn websocket(data: &[u8]) {
    let Some((&[head, bits, step], frames)) = data.split_first_chunk::<3>() else { return };
    let role = if head & 1 == 0 { Role::Server } else { Role::Client };
    let limits = Limits { message: MESSAGE, fragments: (head & 2 != 0).then_some(16) };
    let params = params(bits);
    let params = (head & 4 != 0).then_some(&params);
    let read = |step: usize| -> (Vec<Event>, Option<Violation>) {
        let mut decoder = Decoder::new(role, limits, params);
        let mut out = Vec::new();
        for piece in frames.chunks(step.max(1)) {
            let mut input = piece;
            loop {
                match decoder.decode(&mut input) {
                    Ok(Some(event)) => {
                        match &event {
                            Event::Text(body) => {
                                assert!(body.len() <= MESSAGE && std::str::from_utf8(body).is_ok());
                            }
                            Event::Binary(body) => assert!(body.len() <= MESSAGE),
                            Event::Ping(body) => assert!(body.len() <= 125),
                            Event::Close(code, _) => assert!(*code == 1005 || may_be_sent(*code)),
                            Event::Pong => {}
                        }
                        out.push(event);
                    }
                    Ok(None) => break,
                    Err(violation) => return (out, Some(violation)),
                }
            }
            assert!(input.is_empty(), "bytes were left");
            assert!(decoder.held() <= 4 * MESSAGE + (1 << 17), "it holds {} bytes", decoder.held());
        }
        (out, None)
    };
    let whole = read(frames.len());
    let pieces = read(usize::from(step));
    // A compressed text may be found not to be UTF-8 before or after it is found to be too large.
    if params.is_none() {
        assert_eq!(whole, pieces);
    } else {
        assert_eq!(whole.0, pieces.0);
        assert_eq!(whole.1.is_some(), pieces.1.is_some());
    }
    // What we write we read.
    if role == Role::Server {
        let frame = masked_frame(0x82, [head, bits, step, 7], frames);
        let mut decoder = Decoder::new(Role::Server, Limits { message: frames.len(), fragments: None }, None);
        let mut input = &frame[..];
        match decoder.decode(&mut input) {
            Ok(Some(Event::Binary(body))) => assert_eq!(body, frames),
            other => panic!("our own frame reads as {other:?}"),
        }
    }
}

/// Compressed messages, with and without earlier ones to point back to; offers of the extension; and there and back again.
pub fn deflate(data: &[u8]) {
    let Some((&[bits, cut], rest)) = data.split_first_chunk::<2>() else { return };
    let cut = usize::from(cut).min(rest.len());
    let (first, second) = rest.split_at(cut);
    let mut inflater = Inflater::new((bits & 128 == 0).then_some(8 + bits % 8));
    for message in [first, second] {
        let mut plain = Vec::new();
        let done =
            inflater.feed(message, &mut plain, MESSAGE).and_then(|()| inflater.finish(&mut plain, MESSAGE));
        if done.is_err() {
            break;
        }
        assert!(plain.len() <= MESSAGE);
    }
    assert!(inflater.held() <= 1 << 16);
    let params = params(bits);
    let (mut ours, mut theirs) = (Deflater::new(&params), {
        let keep = (!params.server_no_context_takeover).then_some(params.server_max_window_bits);
        Inflater::new(keep)
    });
    for message in [first, second, rest] {
        if let Some(packed) = ours.message(message, b"tail") {
            let mut plain = Vec::new();
            let limit = message.len() + 4;
            theirs.feed(&packed, &mut plain, limit).expect("our own message");
            theirs.finish(&mut plain, limit).expect("our own message");
            assert_eq!(plain, [message, b"tail"].concat());
        }
    }
    if let Ok(text) = std::str::from_utf8(rest)
        && let Some((agreed, answer)) = deflate::negotiate(text.split('\n'))
    {
        assert!((9..=15).contains(&agreed.server_max_window_bits));
        assert!((8..=15).contains(&agreed.client_max_window_bits));
        assert!(answer.starts_with("permessage-deflate"));
    }
}

/// HTTP/1 framing: where the guard finds fault must not depend on how the bytes arrive.
pub fn guard(data: &[u8]) {
    let Some((step, request)) = data.split_first() else { return };
    let mut whole = request.to_vec();
    let mut guard = Guard::default();
    let good = guard.look(&mut whole);
    if good {
        assert_eq!(whole, request, "bytes were changed without a reason");
    } else {
        let changed = whole.iter().zip(request).filter(|(a, b)| a != b).count();
        assert!(changed <= 1 && whole.contains(&0));
    }
    let in_head = guard.in_head();
    let mut guard = Guard::default();
    let mut pieces = request.to_vec();
    let mut fine = true;
    for piece in pieces.chunks_mut(usize::from(*step).max(1)) {
        if !guard.look(piece) {
            fine = false;
            break;
        }
    }
    assert_eq!(good, fine);
    assert_eq!(whole, pieces);
    if good {
        assert_eq!(in_head, guard.in_head());
    }
}

/// Who speaks: a verdict stands, however many bytes follow.
pub fn recognise(data: &[u8]) {
    let protocols = [&sb_echo::LINES, &sb_thrift::DESCRIPTOR];
    for (tls, http) in [(false, false), (false, true), (true, true)] {
        let mut verdict = Found::More;
        for n in 0..=data.len().min(64) {
            let next = sb_net::codec::recognise(&data[..n], tls, http, &protocols);
            if verdict != Found::More {
                assert_eq!(verdict, next, "after {n} bytes");
            }
            verdict = next;
        }
    }
}
