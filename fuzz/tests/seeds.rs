//! Runs every seed and every finding of the past through its target. `SB_WRITE_SEEDS=1 cargo test` writes the seeds anew from the encoders.

use sb_core::batch;
use sb_core::model::{Address, Header, Message, Value};
use sb_net::codec::masked_frame;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn seeds_and_findings_pass() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("SB_WRITE_SEEDS").is_some() {
        write_seeds(&here.join("seeds"));
    }
    for (name, target) in sb_fuzz::TARGETS {
        let mut count = 0;
        for folder in ["seeds", "findings"] {
            for entry in fs::read_dir(here.join(folder).join(name)).into_iter().flatten().flatten() {
                println!("{}", entry.path().display());
                target(&fs::read(entry.path()).unwrap());
                count += 1;
            }
        }
        assert!(count > 0, "{name} has no seeds");
    }
}

/// Seeds with some bytes changed, for so many seconds for each target (`SB_FUZZ_SECONDS`; `SB_FUZZ_TARGET` names one): what the fuzzer does without
/// knowing what it reaches, on any compiler. Ends at the first panic, with the input in `artifacts`.
#[test]
fn changed_seeds_pass() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seconds = std::env::var("SB_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let only = std::env::var("SB_FUZZ_TARGET").ok();
    // A server in this process catches the panics of its tasks.
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    if seconds > 0.0 {
        std::panic::set_hook(Box::new(|panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            eprintln!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
        }));
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for (name, target) in
        sb_fuzz::TARGETS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name))
    {
        let read = |entry: fs::DirEntry| fs::read(entry.path()).unwrap();
        let seeds: Vec<Vec<u8>> =
            fs::read_dir(here.join("seeds").join(name)).unwrap().flatten().map(read).collect();
        let (began, mut runs) = (std::time::Instant::now(), 0_u64);
        while began.elapsed().as_secs_f64() < seconds {
            let mut input = seeds[random(seeds.len())].clone();
            for _ in 0..=random(6) {
                let at = random(input.len() + 1);
                match random(6) {
                    0 => input.truncate(at),
                    1 => input.insert(at, random(256) as u8),
                    2 => {
                        let other = &seeds[random(seeds.len())];
                        input.splice(at.., other[random(other.len() + 1)..].iter().copied());
                    }
                    3 => {
                        let piece: Vec<u8> = input[at..].iter().take(random(40)).copied().collect();
                        let to = random(input.len() + 1);
                        input.splice(to..to, piece);
                    }
                    4 if at < input.len() => input[at] = [0, 0x7f, 0x80, 0xff][random(4)],
                    _ if at < input.len() => input[at] ^= 1 << random(8),
                    _ => {}
                }
            }
            input.truncate(16_384);
            let kept = input.clone();
            let panicked = std::panic::catch_unwind(move || target(&input)).is_err();
            if panicked || PANICS.load(Ordering::Relaxed) > 0 {
                fs::create_dir_all(here.join("artifacts")).unwrap();
                let file = here.join("artifacts").join(format!("{name}-changed"));
                fs::write(&file, kept).unwrap();
                panic!("{name} after {runs} runs: {}", file.display());
            }
            runs += 1;
        }
        println!("{name}: {runs} runs");
    }
}

fn write_seeds(root: &Path) {
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root.join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    };
    for (name, text) in [
        ("named", r#"{"jsonrpc": "2.0", "method": "a.B/C", "params": {"name": "x"}, "id": 1.50}"#),
        (
            "positional",
            r#"{"jsonrpc":"2.0","method":"C","params":["x",[1],null,5],"id":"\u0061","sb":{"async":true,"wait":"5s","key":"k"}}"#,
        ),
        (
            "batch",
            r#"[{"jsonrpc":"2.0","method":"notify"},1,{"foo":"boo"},{"jsonrpc":"2.0","method":"m","id":null}]"#,
        ),
        ("twice", r#"{"jsonrpc":"2.0","method":"m","id":1,"id":2}"#),
        ("uri", "sb://topics/a.b/0-17"),
    ] {
        write("jsonrpc", name, text.as_bytes());
    }
    write("wirekit", "numbers", b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x05\x06\x07\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x80\x01\x03abc\x04text0123456789abcdef0123456789abcdef");
    write("address", "plain", b"orders.eu.created\norders.*.created\norders.>\n#.created\norders/eu/created\norders/+/created\na.%2E.%");
    write("address", "wild", b"#.a.#.b\n*.#.>\na.b\n#.b.#.a\n%2A.%23\na b\n$SYS/x");
    let mut stream = sb_grpc::wire::envelope(0, b"message").to_vec();
    stream.extend_from_slice(&sb_grpc::wire::envelope(
        2,
        br#"{"error":{"code":"not_found","details":[{"type":"a.B","value":"AQ"}]},"metadata":{"a":["b"]}}"#,
    ));
    write("grpc", "stream", &stream);
    write("grpc", "text", &sb_grpc::wire::text::encode(&stream));
    write("grpc", "end", &stream[12 + 5..]);
    write(
        "grpc",
        "trailers",
        b"grpc-status: 5\r\ngrpc-message: no%20such\r\nGrpc-Status-Details-Bin: CAU\r\n",
    );
    write("grpc", "timeout", b"99999999H");
    write("grpc", "query", b"connect=v1&encoding=proto&base64=1&message=AQ%3D%3D");
    for packing in ["gzip", "zstd", "br", "deflate"] {
        let packing = sb_grpc::wire::pack::Packing::from_name(packing).unwrap();
        write("grpc", packing.name(), &packing.pack(&[b'a'; 3_000]).unwrap());
    }
    for (name, message) in messages() {
        write("batch", name, &batch::encode("t", &message));
    }
    let frames = sb_fuzz::golden_frames();
    for (n, frame) in frames.iter().enumerate() {
        let mut seed = vec![n as u8];
        seed.extend_from_slice(&(frame.len() as u16).to_le_bytes());
        seed.extend_from_slice(frame);
        write("core_frame", &format!("frame-{n}"), &seed);
    }
    let mut all = vec![0];
    for frame in &frames {
        all.extend_from_slice(&(frame.len() as u16).to_le_bytes());
        all.extend_from_slice(frame);
    }
    write("core_frame", "all", &all);
    write("journal", "edit", &[0, 0, 0x00, 0x10, 1, 0, 0x10, 0x20, 0xff, 0]);
    write("journal", "span", &[0, 1, 0x00, 0x30, 0, 0x40]);
    write("journal", "cut", &[0, 2, 0, 0x20, 0x80]);
    write("journal", "heap", &[1, 1, 0x40, 0x00, 0, 0x02]);
    write("journal", "made-up", b"\x00\x03not a journal");
    let frame = masked_frame(0x81, [1, 2, 3, 4], "Grüße".as_bytes());
    let mut two = masked_frame(0x01, [9, 9, 9, 9], b"half");
    two.extend(masked_frame(0x89, [0; 4], b"ping"));
    two.extend(masked_frame(0x80, [5; 4], b" and half"));
    two.extend(masked_frame(0x88, [5; 4], &[0x03, 0xe8, b'b', b'y', b'e']));
    write("websocket", "text", &[&[0, 0, 1][..], &frame].concat());
    write("websocket", "fragments", &[&[2, 0, 3][..], &two].concat());
    write("websocket", "server", &[&[1, 0, 2][..], b"\x81\x05hello\x82\x7e\x00\x80", &[7; 128]].concat());
    // "Hello" compressed, RFC 7692 §7.2.3.1, and the second time with a back reference, §7.2.3.2.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    write(
        "websocket",
        "compressed",
        &[&[4, 0, 1][..], &masked_frame(0xc1, [1; 4], &hello), &masked_frame(0xc1, [2; 4], &again)].concat(),
    );
    write("deflate", "hello", &[&[0, 7][..], &hello, &again].concat());
    write(
        "deflate",
        "offer",
        b"\x80\x00permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate",
    );
    for (n, request) in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\x01\x05hello",
    ]
    .iter()
    .enumerate()
    {
        write("guard", &format!("request-{n}"), &[&[n as u8 + 1][..], request.as_bytes()].concat());
        write("recognise", &format!("request-{n}"), request.as_bytes());
    }
    write("recognise", "h2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    write("recognise", "tls", &[0x16, 3, 1, 0, 5]);
    write("recognise", "echo", b"PUB a 3\nabc");
    write("echo", "all", b"ECHO hello\r\nAUTH token\nSUB a.>\nPUB a.b 5\nhelloPUB a.b x\n");
    for (name, text) in [
        (
            "publish",
            r#"{"messages":[{"address":"a.b","key":"k","headers":{"n":["x",1,true,{"base64":"AA=="}]},"content_type":"text/plain","body":"AA==","encoding":"base64","delay":"1s","expires":60}]}"#,
        ),
        (
            "policy",
            r#"{"partitions":2,"keep_age":"7d","keep_bytes":1024,"keep_until_consumed":true,"max_message":10,"memory":false,"claims":["a.>"]}"#,
        ),
        (
            "group",
            r#"{"mode":"queue","start":"offset:5","lease":"30s","attempts":3,"dead_letter":"dead","backoff":"1s","order":"key"}"#,
        ),
        (
            "frame",
            r#"{"op":"publish","id":1,"address":"a","headers":{"a":"b"},"content_type":"x","body":"text","live":true,"idempotency_key":"k"}"#,
        ),
        ("subscribe", r#"{"op":"subscribe","id":2,"sub":"a","pattern":"a.>","from":"start","credit":100}"#),
        ("settle", r#"{"op":"ack","id":5,"handles":["x"],"delay":"1s"}"#),
        ("query", "after=abc&limit=5&from=-1h&partition=0"),
        ("prefer", "respond-async, wait=10; x=\"a,b\""),
        ("time", "2026-11-20T10:00:00.123Z"),
        ("duration", "250ms"),
        ("headers", "sb-key: k\nsb-header-x: y\nsb-delay: 10s\ncontent-type: text/plain\nidempotency-key: a"),
        ("path", "/topics/a.b/groups/g/lease"),
        ("accept", "text/event-stream;q=0.5, */*"),
    ] {
        write("http_wire", name, text.as_bytes());
    }
    write("http_wire", "binary", b"\0\0\0\x02{}body");
    write("tokens", "claims", br#"{"n":"shop","e":1700000000000,"r":["a.>"],"p":["a.b"],"c":["a.B.C"],"j":["01J00000000000000000000000"]}"#);
    write("tokens", "numbers", &[0x81; 48]);
    thrift(&write);
    write("config", "all", include_bytes!("config.toml"));
    write("config", "fault", b"listen = [\"http://127.0.0.1:7070\"]\nlimts = { message = \"1MiB\" }\n[topics.a]\nkeep_age = \"soon\"\n");
    schema_seeds(&write);
    call_seeds(&write);
}

/// Seeds of ProtoJSON, descriptors and REST bindings.
fn schema_seeds(write: &dyn Fn(&str, &str, &[u8])) {
    for (name, json) in [
        (
            "numbers",
            r#"{"fDouble":-1.5e300,"fFloat":"NaN","fInt32":-1,"fInt64":"9223372036854775807","fUint32":1e3,"fSint64":-5,"fFixed64":"7"}"#,
        ),
        (
            "texts",
            r#"{"fString":"a\u0000\ud83d\ude00","fBytes":"-_8","fBool":true,"f_color":"RED","fAlias":1,"other name":1}"#,
        ),
        (
            "nested",
            r#"{"fChild":{"rChild":[{},{"pNull":null}],"mInt32":{"-1":{"mBool":{"true":2}}}},"rInt32":[1,"2"],"rColor":["GREEN",9]}"#,
        ),
        (
            "well-known",
            r#"{"wTime":"2026-11-28T10:00:00.5+01:30","wDuration":"-0.5s","wMask":"a.fooBar","wStruct":{"a":[null,{"b":1}]},"wValue":"x","wInt64":"5","wBytes":"AQ"}"#,
        ),
        ("any", r#"{"wAny":{"value":{"@type":"x/kinds.Kinds","fInt32":1},"@type":"x/google.protobuf.Any"}}"#),
        ("unknown", r#"{"x":[{"y":null}],"fColor":"PINK"}"#),
    ] {
        write("json_to_proto", name, &[&[u8::from(name == "unknown") * 2][..], json.as_bytes()].concat());
    }
    write("proto_to_json", "fields", b"\x04\x18\x01\x72\x01a\x82\x01\x02\x01\x02\x8a\x01\x02\x18\x05\x8a\x01\x02\x18\x06\xca\x02\x06\x0a\x01k\x12\x01v");
    write(
        "proto_to_json",
        "oneof",
        b"\x00\x9a\x03\x01a\xa0\x03\x05\xaa\x03\x02\x18\x01\xfa\x01\x02\x01\x02\xf8\x01\x03",
    );
    write("proto_to_json", "well-known", b"\x00\xf2\x03\x02\x08\x05\xfa\x03\x04\x08\x01\x10\x05\x92\x04\x02\x1a\x00\xea\x03\x0f\x0a\x0dx/kinds.Kinds");
    write(
        "descriptors",
        "text",
        b"\0syntax = \"proto3\"; package p; import \"google/api/annotations.proto\"; enum E { A = 0; } message M { M m = 1; map<string, E> e = 2; oneof o { string a = 3; int64 b = 4; } } service S { rpc R(M) returns (stream M) { option (google.api.http) = { post: \"/v1/{a=x/*}:go\" body: \"m\" }; } }",
    );
    write("descriptors", "proto2", b"\0syntax = \"proto2\"; message M { required group G = 1 { optional int32 a = 1 [default = -5]; } extensions 100 to max; } extend M { repeated double d = 100 [packed = true]; }");
    write(
        "descriptors",
        "set",
        b"\x0a\x21\x0a\x07a.proto\x22\x0e\x0a\x01M\x12\x09\x0a\x01a\x18\x01\x20\x01\x28\x09\x62\x06proto3",
    );
    for (name, request) in [
        (
            "get",
            "GET\n/v1/a%2Fb\nf_int32=1&r_int32=1&r_int32=2&f_child.f_bytes=-_8&m_string[a]=b&w_time=2026-01-01T00:00:00Z\n",
        ),
        ("verb", "POST\n/v1/a/b:go\n\n{\"fInt32\":1}"),
        ("body", "PUT\n/v1/a/b/c\nf_bool=true\n{\"fInt32\":1}"),
        ("any-method", "SEARCH\n/v2/x/2026-01-01T00:00:00Z\n\n{\"a\":\"b\"}"),
        ("raw", "POST\n/v3/x/y\n\nraw"),
    ] {
        write("rest", name, request.as_bytes());
    }
}

/// Seeds of whole requests, of answers of upstreams, and of descriptions.
fn call_seeds(write: &dyn Fn(&str, &str, &[u8])) {
    let envelope = |flags: u8, message: &[u8]| {
        [&[flags][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
    };
    let person = b"\x0a\x01x\x10\x05\x1a\x01t\x22\x03\x0a\x01y";
    let json: &[u8] = br#"{"name":"x","id":"5","tags":["a"],"friend":{"name":"y"}}"#;
    let call = b"\x80\x01\x00\x01\x00\x00\x00\x11toy.v1.Toy:Greet \x00\x00\x00\x01\x0c\x00\x01\x0b\x00\x01\x00\x00\x00\x01x\x00\x00";
    let settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x03\x01\x05\x00\x00\x00\x01\x82\x84\x86";
    for (kind, name, body) in [
        (0, "web", &envelope(0, person)[..]),
        (1, "web-text", b"AAAAAAIIAQAAAAACCAI="),
        (2, "connect-proto", person),
        (3, "connect-json", json),
        (4, "connect-stream", &envelope(0, b"\x08\x01")),
        (5, "rest", b"7"),
        (6, "graphql", br#"{"query":"query ($n: String!) { greet(name: $n) { text id } }","variables":{"n":"x"}}"#),
        (7, "rpc", br#"[{"jsonrpc":"2.0","method":"toy.v1.Toy/Greet","params":{"name":"x"},"id":1},{"jsonrpc":"2.0","method":"toy.v1.Toy/Count","params":[3]}]"#),
        (8, "mcp", br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#),
        (9, "thrift", call),
        (10, "graphql-socket", b"{\"type\":\"connection_init\"}\n{\"type\":\"subscribe\",\"id\":\"1\",\"payload\":{\"query\":\"subscription { count(to: 2) { n } }\"}}\n{\"type\":\"ping\"}\n{\"type\":\"complete\",\"id\":\"1\"}"),
        (11, "rpc-socket", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"toy.v1.Toy/Count\",\"params\":{\"to\":2}}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"rpc.unsubscribe\",\"params\":[\"s1\"]}"),
        (12, "reflection", &envelope(0, b"\x22\x0atoy.v1.Toy")),
        (13, "own", br#"{"address":"a","message":{"body":"eA=="}}"#),
        (14, "http2", settings),
        (15, "framed", &[&u32::try_from(call.len()).unwrap().to_be_bytes()[..], call].concat()),
    ] {
        write("calls", name, &[&[kind][..], body].concat());
    }
    let ended = [envelope(0, person), envelope(0x80, b"grpc-status: 5\r\ngrpc-message: a%20b\r\n")].concat();
    let reply = b"\x80\x01\x00\x02\x00\x00\x00\x05Greet\x00\x00\x00\x01\x0c\x00\x00\x0b\x00\x01\x00\x00\x00\x01x\x00\x00";
    for (kind, name, body) in [
        (0x80, "web", &ended[..]),
        (0xc0, "web-stream", &ended),
        (0x81, "connect", person),
        (0xc1, "connect-stream", &[envelope(0, person), envelope(2, br#"{"error":{"code":"not_found","message":"x"}}"#)].concat()),
        (0x82, "http", br#"{"text":"x"}"#),
        (0xc2, "http-lines", b"{\"n\":1}\n{\"n\":2}\n{\"error\":{\"code\":5,\"message\":\"x\"}}\n"),
        (0x02, "http-refusal", b"HTTP/1.1 404 Not Found\r\nContent-Length: 26\r\n\r\n{\"code\":5,\"message\":\"no\"}"),
        (0x83, "rpc", br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"x","data":{"details":[{"@type":"a/b","value":"eA=="}]}}}"#),
        (0x04, "thrift", reply),
        (0x87, "thrift-http", reply),
    ] {
        write("answers", name, &[&[kind][..], body].concat());
    }
    write("views", "toy", sb_suite::rpc::PROTO.as_bytes());
    write("views", "names", b"syntax = \"proto3\"; package p; enum true { null = 0; } message type { oneof o { type input = 1; string __typename = 2; } map<bool, type> from = 3; } message Empty {} service query { rpc mutation(type) returns (Empty); rpc Mutation(Empty) returns (stream type); }");
    write("views", "proto2", b"syntax = \"proto2\"; message M { required group G = 1 { optional int32 a = 1 [default = -5]; } optional M m = 40000; extensions 100 to max; } service S { rpc A(M) returns (M) { option idempotency_level = NO_SIDE_EFFECTS; } rpc a(M) returns (M.G); }");
}

fn thrift(write: &dyn Fn(&str, &str, &[u8])) {
    use sb_thrift::wire::{Envelope, Head, Kind, Proto, TType, Writer, header};
    let mut all = vec![7];
    for proto in [Proto::Binary, Proto::Compact] {
        let head = header::Header {
            flags: 0,
            seqid: 3,
            proto,
            zlib: proto == Proto::Compact,
            info: vec![("sb-timeout".into(), "1s".into())],
            persistent: Vec::new(),
        };
        for envelope in [Envelope::Plain, Envelope::Framed, Envelope::Header(Box::new(head))] {
            let mut writer = Writer::new(envelope.room(), proto);
            writer.head(&Head { kind: Kind::Call, name: "Shop:get".into(), seqid: 3, strict: true });
            let outer = writer.enter();
            writer.field(TType::Bool, 1);
            writer.bool(true);
            writer.field(TType::Map, 20);
            writer.map(TType::String, TType::List, 1);
            writer.bytes(b"key");
            writer.list(TType::Double, 2);
            writer.double(1.5);
            writer.double(-0.0);
            writer.field(TType::Struct, 21);
            let inner = writer.enter();
            writer.leave(inner);
            writer.leave(outer);
            let message = writer.into_bytes();
            if envelope == Envelope::Plain {
                let kind = u8::from(proto == Proto::Compact);
                write(
                    "thrift_value",
                    if kind == 0 { "binary" } else { "compact" },
                    &[&[kind][..], &message].concat(),
                );
            }
            let sealed = envelope.seal(message);
            if matches!(envelope, Envelope::Header(_)) {
                write(
                    "thrift_header",
                    if proto == Proto::Binary { "binary" } else { "compact-zlib" },
                    &sealed[4..],
                );
            }
            all.extend_from_slice(&sealed);
        }
    }
    write("thrift_stream", "all", &all);
    write("recognise", "thrift", &all[1..40]);
    write(
        "thrift_idl",
        "all",
        b"namespace * a.b\ninclude \"x.thrift\"\n/** doc */\nenum E { A = 1, B }\nconst list<i32> L = [1, -2]\ntypedef map<string, set<i16>> M\n\
        union U { 1: E e (x = \"y\"), 2: M m }\nexception X { 1: string why = \"z\" } (code = \"NOT_FOUND\")\n\
        service S extends P { oneway void a(1: required i8 b), list<list<U>> c() throws (1: X x) }",
    );
    write(
        "thrift_idl",
        "whole",
        b"struct A { 1: optional A a, -2: double d = 1e3 } service S { A a(1: A a) (readonly) }",
    );
}

fn messages() -> Vec<(&'static str, Vec<Message>)> {
    let address = |text| Address::parse(text).unwrap();
    let plain = Message::new(address("t"), "body");
    let mut rich = Message::new(address("other.place"), vec![0, 159, 146, 150]);
    rich.key = Some("key".into());
    rich.content_type = Some("application/json".into());
    rich.time_ms = 1_700_000_000_000;
    rich.due_ms = Some(5);
    rich.expires_ms = Some(6);
    for value in [
        Value::Text("text".into()),
        Value::Bytes(vec![1, 2].into()),
        Value::Int(-5),
        Value::Float(0.5),
        Value::Bool(true),
        Value::Time(7),
        Value::Nested(vec![0x80].into()),
    ] {
        rich.headers.push(Header { name: "h".into(), value });
    }
    vec![
        ("plain", vec![plain.clone()]),
        ("rich", vec![rich.clone()]),
        ("several", vec![plain.clone(), rich, plain]),
    ]
}
