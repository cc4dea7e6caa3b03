//! Thrift: messages in both protocols and all transports, THeader, IDL files.

use sb_thrift::wire::{Decoder, Event, Proto, Reader, Scanner, TType, header};

const LIMIT: usize = 64 * 1024;

/// A stream of messages: what is found does not depend on how it is cut, and nothing is larger than the limit.
pub fn stream(data: &[u8]) {
    let Some((&step, stream)) = data.split_first() else { return };
    let read = |step: usize| {
        let (mut decoder, mut input) = (Decoder::new(LIMIT), bytes::BytesMut::new());
        let mut found = Vec::new();
        for piece in stream.chunks(step.max(1)) {
            input.extend_from_slice(piece);
            loop {
                match decoder.next(&mut input) {
                    Ok(Some(Event::Message(message))) => {
                        assert!(message.body.len() <= LIMIT);
                        let mut reader = Reader::new(&message.body, message.proto);
                        if reader.head().is_ok() {
                            let _ = reader.skip(TType::Struct);
                        }
                        found.push(Some((message.envelope, message.body)));
                    }
                    Ok(Some(Event::Refused { .. })) => found.push(None),
                    Ok(None) => break,
                    Err(_) => return (found, true),
                }
            }
        }
        (found, false)
    };
    assert_eq!(read(stream.len()), read(step.into()));
}

/// One value: skipping it and scanning it come to the same end.
pub fn value(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let proto = if kind & 1 == 0 { Proto::Binary } else { Proto::Compact };
    let mut reader = Reader::new(bytes, proto);
    let read = reader.head().and_then(|_| reader.skip(TType::Struct));
    match Scanner::new(proto, LIMIT).scan(bytes) {
        Ok(Some(len)) => {
            assert!(len <= bytes.len());
            assert!(read.is_err() || reader.position() == len);
        }
        Ok(None) => assert!(read.is_err()),
        Err(_) => {}
    }
}

/// A frame with a head, there and back.
pub fn frame(data: &[u8]) {
    if let Ok((read, message)) = header::decode(data, LIMIT) {
        assert!(message.len() <= LIMIT);
        let again = header::encode(&read, &message);
        let (back, same) = header::decode(&again[4..], LIMIT).expect("our own frame");
        assert_eq!((back.proto, back.zlib, back.seqid, same), (read.proto, read.zlib, read.seqid, message));
    }
}

/// An IDL file; what can be read can be translated or is refused with a reason.
pub fn idl(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = sb_thrift::idl::to_proto(&[("a.thrift", text)]);
    }
}
