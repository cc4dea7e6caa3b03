//! Thrift's wire: golden bytes of the specifications, everything there and back, hostile bytes.

use bytes::BytesMut;
use proptest::prelude::*;
use sb_board::mount::Recognised;
use sb_thrift::wire::header::{self, Header};
use sb_thrift::wire::{
    Decoder, Envelope, Event, Head, Kind, MAX_DEPTH, Proto, Reader, Scanner, TType, WireError, Writer,
    recognise,
};

const BOTH: [Proto; 2] = [Proto::Binary, Proto::Compact];

fn head(kind: Kind, name: &str, seqid: i32) -> Head {
    Head { kind, name: name.into(), seqid, strict: true }
}

fn written(proto: Proto, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), proto);
    write(&mut writer);
    writer.into_bytes()
}

/// Bytes as Apache's Python library writes them.
#[test]
fn golden() {
    let message = |writer: &mut Writer| {
        writer.head(&head(Kind::Call, "add", 7));
        let outer = writer.enter();
        writer.field(TType::I32, 1);
        writer.i32(-2);
        writer.field(TType::Bool, 2);
        writer.bool(true);
        writer.field(TType::String, 20);
        writer.bytes("ü".as_bytes());
        writer.field(TType::Double, 21);
        writer.double(1.0);
        writer.leave(outer);
    };
    assert_eq!(
        written(Proto::Binary, message),
        [
            &[0x80, 1, 0, 1, 0, 0, 0, 3][..],
            b"add",
            &[0, 0, 0, 7],
            &[8, 0, 1, 0xff, 0xff, 0xff, 0xfe],
            &[2, 0, 2, 1],
            &[11, 0, 20, 0, 0, 0, 2, 0xc3, 0xbc],
            &[4, 0, 21, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
            &[0],
        ]
        .concat()
    );
    assert_eq!(
        written(Proto::Compact, message),
        [
            &[0x82, 0x21, 7, 3][..],
            b"add",
            &[0x15, 3],
            &[0x11],
            &[0x08, 40, 2, 0xc3, 0xbc],
            &[0x17, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
            &[0],
        ]
        .concat()
    );
    // Lists of 14 and 15 items, an empty map.
    let lists = |writer: &mut Writer| {
        writer.list(TType::I8, 14);
        writer.list(TType::Bool, 15);
        writer.map(TType::I32, TType::String, 0);
        writer.map(TType::I32, TType::String, 2);
    };
    assert_eq!(written(Proto::Compact, lists), [0xe3, 0xf1, 15, 0, 2, 0x58]);
    assert_eq!(
        written(Proto::Binary, lists),
        [3, 0, 0, 0, 14, 2, 0, 0, 0, 15, 8, 11, 0, 0, 0, 0, 8, 11, 0, 0, 0, 2]
    );
    // The old head.
    let old = [&[0, 0, 0, 3][..], b"add", &[1, 0, 0, 0, 7]].concat();
    let read = Reader::new(&old, Proto::Binary).head().unwrap();
    assert_eq!(read, Head { strict: false, ..head(Kind::Call, "add", 7) });
    assert_eq!(written(Proto::Binary, |w| w.head(&read)), old);
}

/// Any value.
#[derive(Clone, Debug, PartialEq)]
enum Any {
    Bool(bool),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Uuid([u8; 16]),
    Struct(Vec<(i16, Any)>),
    List(bool, Vec<Any>),
    Map(Vec<(Any, Any)>),
}

impl Any {
    fn ty(&self) -> TType {
        match self {
            Any::Bool(_) => TType::Bool,
            Any::I8(_) => TType::I8,
            Any::I16(_) => TType::I16,
            Any::I32(_) => TType::I32,
            Any::I64(_) => TType::I64,
            Any::Double(_) => TType::Double,
            Any::Bytes(_) => TType::String,
            Any::Uuid(_) => TType::Uuid,
            Any::Struct(_) => TType::Struct,
            Any::List(false, _) => TType::List,
            Any::List(true, _) => TType::Set,
            Any::Map(_) => TType::Map,
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Any::Bool(v) => writer.bool(*v),
            Any::I8(v) => writer.i8(*v),
            Any::I16(v) => writer.i16(*v),
            Any::I32(v) => writer.i32(*v),
            Any::I64(v) => writer.i64(*v),
            Any::Double(v) => writer.double(*v),
            Any::Bytes(v) => writer.bytes(v),
            Any::Uuid(v) => writer.uuid(v),
            Any::Struct(fields) => {
                let outer = writer.enter();
                for (id, value) in fields {
                    writer.field(value.ty(), *id);
                    value.write(writer);
                }
                writer.leave(outer);
            }
            Any::List(_, items) => {
                writer.list(items.first().map_or(TType::I32, Any::ty), items.len());
                items.iter().for_each(|item| item.write(writer));
            }
            Any::Map(pairs) => {
                let ty =
                    |part: fn(&(Any, Any)) -> &Any| pairs.first().map_or(TType::I8, |pair| part(pair).ty());
                writer.map(ty(|(key, _)| key), ty(|(_, value)| value), pairs.len());
                for (key, value) in pairs {
                    key.write(writer);
                    value.write(writer);
                }
            }
        }
    }

    fn read(ty: TType, reader: &mut Reader<'_>) -> Result<Any, WireError> {
        Ok(match ty {
            TType::Bool => Any::Bool(reader.bool()?),
            TType::I8 => Any::I8(reader.i8()?),
            TType::I16 => Any::I16(reader.i16()?),
            TType::I32 => Any::I32(reader.i32()?),
            TType::I64 => Any::I64(reader.i64()?),
            TType::Double => Any::Double(reader.double()?),
            TType::String => Any::Bytes(reader.bytes()?.to_vec()),
            TType::Uuid => Any::Uuid(reader.uuid()?.try_into().unwrap()),
            TType::Struct => {
                let (outer, mut fields) = (reader.enter()?, Vec::new());
                while let Some((ty, id)) = reader.field()? {
                    fields.push((id, Any::read(ty, reader)?));
                }
                reader.leave(outer);
                Any::Struct(fields)
            }
            TType::List | TType::Set => {
                let (item, n) = reader.list()?;
                let items = (0..n).map(|_| Any::read(item, reader)).collect::<Result<_, _>>()?;
                Any::List(ty == TType::Set, items)
            }
            TType::Map => {
                let (key, value, n) = reader.map()?;
                let mut pairs = Vec::new();
                for _ in 0..n {
                    pairs.push((Any::read(key, reader)?, Any::read(value, reader)?));
                }
                Any::Map(pairs)
            }
        })
    }
}

fn values() -> impl Strategy<Value = Any> {
    let leaf = prop_oneof![
        any_of(any::<bool>(), Any::Bool),
        any_of(any::<i8>(), Any::I8),
        any_of(any::<i16>(), Any::I16),
        any_of(any::<i32>(), Any::I32),
        any_of(any::<i64>(), Any::I64),
        any_of(any::<i32>(), |n| Any::Double(f64::from(n) / 3.0)),
        any_of(any::<Vec<u8>>(), Any::Bytes),
        any_of(any::<[u8; 16]>(), Any::Uuid),
    ];
    // The items of a list are of one type: one value, repeated.
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec((any::<i16>(), inner.clone()), 0..6).prop_map(Any::Struct),
            (any::<bool>(), inner.clone(), 0..20usize)
                .prop_map(|(set, item, n)| Any::List(set, vec![item; n])),
            (inner.clone(), inner, 0..20usize).prop_map(|(key, value, n)| Any::Map(vec![(key, value); n])),
        ]
    })
}

fn any_of<T: std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
    make: impl Fn(T) -> Any,
) -> impl Strategy<Value = Any> {
    strategy.prop_map(make)
}

/// A message that holds a value.
fn message(proto: Proto, value: &Any, room: Vec<u8>) -> Vec<u8> {
    let mut writer = Writer::new(room, proto);
    writer.head(&head(Kind::Call, "method", 9));
    Any::Struct(vec![(1, value.clone())]).write(&mut writer);
    writer.into_bytes()
}

fn next(decoder: &mut Decoder, input: &mut BytesMut) -> Option<Event> {
    decoder.next(input).unwrap()
}

proptest! {
    #[test]
    fn values_come_back(value in values()) {
        for proto in BOTH {
            let bytes = written(proto, |writer| value.write(writer));
            let mut reader = Reader::new(&bytes, proto);
            // Types of nothing are not kept.
            let read = Any::read(value.ty(), &mut reader).unwrap();
            prop_assert_eq!(&read, &value);
            prop_assert_eq!(reader.position(), bytes.len());
            let mut skipped = Reader::new(&bytes, proto);
            skipped.skip(value.ty()).unwrap();
            prop_assert_eq!(skipped.position(), bytes.len());
            for cut in 0..bytes.len() {
                let mut short = Reader::new(&bytes[..cut], proto);
                prop_assert!(short.skip(value.ty()).is_err());
            }
        }
    }

    #[test]
    fn messages_are_found_however_they_are_cut(value in values(), step in 1..40usize) {
        for proto in BOTH {
            let header = Header {
                flags: 0, seqid: 5, proto, zlib: step % 2 == 0,
                info: vec![("a".into(), "b".into())], persistent: Vec::new(),
            };
            let mut stream = Vec::new();
            let mut wanted = Vec::new();
            for envelope in [Envelope::Plain, Envelope::Framed, Envelope::Header(Box::new(header)), Envelope::Plain] {
                stream.extend(envelope.seal(message(proto, &value, envelope.room())));
                wanted.push(envelope);
            }
            let body = message(proto, &value, Vec::new());
            let (mut decoder, mut input, mut found) = (Decoder::new(1 << 20), BytesMut::new(), Vec::new());
            for piece in stream.chunks(step) {
                input.extend_from_slice(piece);
                while let Some(event) = next(&mut decoder, &mut input) {
                    let Event::Message(incoming) = event else { panic!("{event:?}") };
                    prop_assert_eq!(incoming.proto, proto);
                    prop_assert_eq!(&incoming.body[..], &body[..]);
                    found.push(incoming.envelope);
                }
            }
            prop_assert!(input.is_empty() && !decoder.busy());
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), start in 0..6usize) {
        let starts: [&[u8]; 6] = [&[], &[0x80, 1, 0, 1], &[0x82, 0x21], &[0, 0, 1, 0, 0x0f, 0xff], &[0, 0, 0, 90, 0x80, 1], &[1, 0, 0, 0, 5]];
        let all = [starts[start], &bytes].concat();
        for proto in BOTH {
            let mut reader = Reader::new(&all, proto);
            if reader.head().is_ok() {
                let _ = reader.skip(TType::Struct);
            }
            let _ = Scanner::new(proto, 1000).scan(&all);
        }
        let (mut decoder, mut input) = (Decoder::new(1000), BytesMut::from(&all[..]));
        while let Ok(Some(_)) = decoder.next(&mut input) {}
        let _ = header::decode(&all, 1000);
        let mut verdict = Recognised::More;
        for n in 0..=all.len().min(16) {
            let seen = recognise(&all[..n]);
            if verdict != Recognised::More {
                prop_assert_eq!(seen, verdict);
            }
            verdict = seen;
        }
    }
}

#[test]
fn depth_is_bounded() {
    for proto in BOTH {
        let nested = |depth: usize| {
            written(proto, |writer| {
                writer.head(&head(Kind::Call, "m", 1));
                let outers: Vec<_> = (0..depth)
                    .map(|at| {
                        let outer = writer.enter();
                        if at + 1 < depth {
                            writer.field(TType::Struct, 1);
                        }
                        outer
                    })
                    .collect();
                outers.into_iter().rev().for_each(|outer| writer.leave(outer));
            })
        };
        let read = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes, proto);
            reader.head().unwrap();
            reader.skip(TType::Struct)
        };
        assert_eq!(read(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(read(&nested(MAX_DEPTH + 1)), Err(WireError::TooDeep));
        assert!(Scanner::new(proto, 1 << 20).scan(&nested(MAX_DEPTH)).unwrap().is_some());
        assert!(Scanner::new(proto, 1 << 20).scan(&nested(100_000)).is_err());
        let lists = [
            written(proto, |w| w.head(&head(Kind::Call, "m", 1))),
            match proto {
                Proto::Binary => [&[15, 0, 1][..], &[15, 0, 0, 0, 1].repeat(10_000)].concat(),
                Proto::Compact => [&[0x19][..], &[0x19].repeat(10_000)].concat(),
            },
        ]
        .concat();
        assert_eq!(Scanner::new(proto, 1 << 20).scan(&lists), Err(WireError::TooDeep));
    }
}

#[test]
fn claims_are_checked_before_anything_is_made() {
    for (proto, bytes) in [
        (Proto::Binary, &[15, 0, 1, 8, 0x7f, 0xff, 0xff, 0xff][..]),
        (Proto::Binary, &[13, 0, 1, 8, 8, 0x7f, 0xff, 0xff, 0xff]),
        (Proto::Binary, &[11, 0, 1, 0x7f, 0xff, 0xff, 0xff]),
        (Proto::Binary, &[15, 0, 1, 8, 0xff, 0xff, 0xff, 0xff]),
        (Proto::Compact, &[0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x07]),
        (Proto::Compact, &[0x18, 0xff, 0xff, 0xff, 0xff, 0x07]),
        (Proto::Compact, &[0x1b, 0xff, 0xff, 0xff, 0xff, 0x07, 0x55]),
        (Proto::Compact, &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x55]),
    ] {
        assert!(Reader::new(bytes, proto).skip(TType::Struct).is_err(), "{bytes:?}");
        let message = [written(proto, |w| w.head(&head(Kind::Call, "m", 1))), bytes.to_vec()].concat();
        assert!(Scanner::new(proto, 1 << 20).scan(&message).is_err(), "{bytes:?}");
    }
}

#[test]
fn frames_that_are_too_large_are_passed_over() {
    let value = Any::Bytes(vec![7; 5000]);
    let large = Envelope::Framed.seal(message(Proto::Compact, &value, Envelope::Framed.room()));
    let small = Envelope::Framed.seal(message(Proto::Compact, &Any::Bool(true), Envelope::Framed.room()));
    let (mut decoder, mut input) = (Decoder::new(1000), BytesMut::new());
    let mut events = Vec::new();
    for piece in [large, small].concat().chunks(700) {
        input.extend_from_slice(piece);
        assert!(input.len() <= 4096);
        events.extend(std::iter::from_fn(|| next(&mut decoder, &mut input)));
    }
    match &events[..] {
        [Event::Refused { head: Some(of), error: WireError::TooLarge(1000), .. }, Event::Message(_)] => {
            assert_eq!(*of, head(Kind::Call, "method", 9));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn bombs_and_unknown_transforms_are_refused() {
    let header = Header {
        flags: 0,
        seqid: 5,
        proto: Proto::Binary,
        zlib: true,
        info: Vec::new(),
        persistent: Vec::new(),
    };
    let frame = header::encode(&header, &vec![0; 5_000_000]);
    assert!(frame.len() < 50_000);
    assert_eq!(header::decode(&frame[4..], 1_000_000), Err(WireError::TooLarge(1_000_000)));
    assert_eq!(header::decode(&frame[4..], 5_000_000).unwrap().1.len(), 5_000_000);
    let mut snappy = frame.clone();
    snappy[16] = 3;
    assert_eq!(header::decode(&snappy[4..], 5_000_000), Err(WireError::Transform(3)));
    let mut json = frame;
    json[14] = 1;
    assert_eq!(header::decode(&json[4..], 5_000_000), Err(WireError::Protocol(1)));
    let mut decoder = Decoder::new(1 << 20);
    match next(&mut decoder, &mut BytesMut::from(&json[..])) {
        Some(Event::Refused { envelope: Envelope::Header(header), .. }) => assert_eq!(header.seqid, 5),
        other => panic!("{other:?}"),
    }
}

/// The example of `HeaderFormat.md`: words are padded, metadata is read.
#[test]
fn header_golden() {
    let header = Header {
        flags: 0,
        seqid: 1,
        proto: Proto::Compact,
        zlib: false,
        info: vec![("key".into(), "value".into())],
        persistent: Vec::new(),
    };
    let bytes = header::encode(&header, b"body");
    let wanted = [
        &[0, 0, 0, 30][..],
        &[0x0f, 0xff],
        &[0, 0],
        &[0, 0, 0, 1],
        &[0, 4],
        &[2, 0, 1, 1, 3],
        b"key",
        &[5],
        b"value",
        &[0, 0],
        b"body",
    ]
    .concat();
    assert_eq!(bytes, wanted);
    assert_eq!(header::decode(&bytes[4..], 100).unwrap(), (header, b"body".to_vec()));
}

#[test]
fn others_are_not_taken_for_thrift() {
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PRI * HTTP/2.0",
        b"*1\r\n$4\r\nPING\r\n",
        b"AMQP\x00\x00\x09\x01",
        b"CONNECT {}\r\n",
        b"\x10\x1a\x00\x04MQTT\x04",
        b"\x16\x03\x01\x02\x00\x01",
        b"PUB a 3\nabc",
        b"EHLO x\r\n",
        b"SSH-2.0-x\r\n",
        // Kafka: ApiVersions 3, Metadata 12, Produce 9; SASL handshake.
        b"\x00\x00\x00\x2a\x00\x12\x00\x03\x00\x00\x00\x01",
        b"\x00\x00\x00\x2a\x00\x03\x00\x0c\x00\x00\x00\x01",
        b"\x00\x00\x10\x2a\x00\x00\x00\x09\x00\x00\x00\x01",
        b"\x00\x00\x00\x2a\x00\x11\x00\x01\x00\x00\x00\x01",
        // PostgreSQL's start.
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    ] {
        assert_eq!(recognise(other), Recognised::No, "{other:?}");
    }
    for thrift in [
        &b"\x80\x01\x00\x01\x00\x00\x00\x03add"[..],
        b"\x82\x21\x01\x03add",
        b"\x00\x00\x00\x2a\x80\x01\x00\x01",
        b"\x00\x01\x00\x2a\x82\x21\x01",
        b"\x00\x00\x00\x2a\x0f\xff\x00\x00",
        b"\x01\x00\x00\x00\x05PLAIN",
    ] {
        assert_eq!(recognise(thrift), Recognised::Yes, "{thrift:?}");
    }
}
