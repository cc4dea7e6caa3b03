//! Calls over every transport and both protocols, through the server's and the client's side: what is sent is what comes back.

mod common;

use bytes::Bytes;
use common::*;
use sb_board::Board;
use sb_board::call::{Call, Code, Codec, Status};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

const WAYS: [&str; 8] = [
    "thrift://ADDR?multiplexed=true",
    "thrift+framed://ADDR?multiplexed=kinds.v1.Kinds",
    "thrift+compact://ADDR?multiplexed=true",
    "thrift://ADDR?transport=framed&protocol=compact&multiplexed=true",
    "thrift+header://ADDR?multiplexed=true",
    "thrift+header://ADDR?protocol=compact&multiplexed=true",
    "thrift+http://ADDR/thrift?multiplexed=true",
    "thrift+http://ADDR/thrift/kinds.v1.Kinds?protocol=compact",
];

async fn call(board: &Arc<Board>, method: &str, message: Bytes) -> Result<Bytes, Status> {
    let call = Call::unary(method, Codec::Proto, message);
    board.admin().call(call).await?.one().await.1
}

fn everything() -> Value {
    json!({
        "aDouble": -1.5e300, "aFloat": 0.25, "anInt32": -2147483648i64, "anInt64": "-9223372036854775808", "aUint32": 4294967295u32,
        "aUint64": "18446744073709551615", "aSint32": -7, "aSint64": "-8", "aFixed32": 4000000000u32, "aFixed64": "18446744073709551614",
        "anSfixed32": -9, "anSfixed64": "-10", "aBool": true, "aString": "Grüße, 世界 🎉", "someBytes": "AP+A", "color": "COLOR_BLUE",
        "inner": { "from": "x", "children": [{ "from": "y", "children": [{}] }, {}], "deep": { "n": 3 } },
        "maybe": 0, "maybeText": "",
        "numbers": [0, -1, 2147483647], "texts": ["", "a"], "flags": [true, false, true], "colors": ["COLOR_RED", "COLOR_UNSPECIFIED"],
        "inners": [{}, { "from": "z" }], "doubles": [0.0, -1.5, 1e9], "fixeds": ["1", "2"], "blobs": ["", "AAE="], "zigzags": ["-1", "9223372036854775807"],
        "counts": { "a": 0, "b": -1 }, "byNumber": { "-5": { "from": "q" }, "0": {} }, "byBool": { "true": "t", "false": "" },
        "byBig": { "18446744073709551615": "COLOR_RED" },
        "figure": "0", "at": "2026-11-28T10:00:00.123Z",
        "anything": { "a": [1.0, "x", null, { "b": true }] }, "wrapped": "", "far": 12
    })
}

#[tokio::test]
async fn every_type_comes_back_over_every_way() {
    let server = start(None).await;
    for way in WAYS {
        let board = through(&way.replace("ADDR", &server.addr.to_string())).await;
        for value in [everything(), json!({}), json!({ "word": "w" }), json!({ "whole": {} })] {
            let message = server.echo.proto("kinds.v1.All", &value);
            let answer = call(&board, "kinds.v1.Kinds/Echo", message.clone())
                .await
                .unwrap_or_else(|e| panic!("{way}: {e}"));
            let json = server.echo.json("kinds.v1.All", &message);
            assert_eq!(server.echo.json("kinds.v1.All", &answer), json, "{way}");
            // Nothing was lost on the way in either: only numbers look different.
            assert_eq!(json.as_object().unwrap().len(), value.as_object().unwrap().len());
        }
        let deleted = call(&board, "kinds.v1.Kinds/delete", Bytes::new()).await.unwrap();
        assert_eq!(server.echo.json("kinds.v1.Answer", &deleted), json!({ "text": "deleted" }));
        for code in Code::ALL {
            let ask = server.echo.proto("kinds.v1.Ask", &json!({ "name": code.name() }));
            let status = call(&board, "kinds.v1.Kinds/Fail", ask).await.unwrap_err();
            assert_eq!((status.code, &*status.message), (code, "as wanted: ü"), "{way}");
            assert_eq!(status.details[0].type_name(), "kinds.v1.Answer");
            assert_eq!(
                server.echo.json("kinds.v1.Answer", &status.details[0].value),
                json!({ "text": "detail" })
            );
        }
    }
}

#[tokio::test]
async fn services_of_an_idl_keep_their_signatures() {
    let server = start(None).await;
    let value = json!({
        "b": true, "small": -128, "shortOne": 32767, "n": -1, "big": "5", "d": 0.5, "s": "ü", "raw": "/w==",
        "shorts": [1, -2], "words": ["a", "b"], "counts": { "a": 1 }, "byDouble": [{ "key": 1.5, "value": "x" }],
        "byPoint": [{ "key": { "x": 1, "y": 2 }, "value": { "items": ["p"] } }],
        "matrix": [{ "items": [1, 2] }, {}], "sets": [{ "items": [1] }], "nested": { "1": { "items": [{ "key": 2, "value": "z" }] } },
        "op": "OP_SUB", "ops": ["OP_ADD", "OP_MUL"], "byOp": [{ "key": "OP_ADD", "value": "9" }],
        "shape": { "line": { "items": [{ "x": 1 }] } }, "prices": ["3"], "inner": { "s": "in", "shape": { "name": "n" } }, "tiny": { "1": 2 },
        "how": "OP_ADD", "yes": false
    });
    for way in
        ["thrift://ADDR", "thrift+framed+compact://ADDR", "thrift+header://ADDR", "thrift+http://ADDR/thrift"]
    {
        let board = through(&way.replace("ADDR", &server.addr.to_string())).await;
        let ask = |name: &str, json: Value| {
            let message = server.echo.proto(&format!("calc.v1.Calc_{name}_args"), &json);
            let (board, method) = (board.clone(), format!("calc.v1.Calc/{name}"));
            async move { call(&board, &method, message).await }
        };
        let back = ask("echo", json!({ "value": value })).await.unwrap_or_else(|e| panic!("{way}: {e}"));
        assert_eq!(server.echo.json("calc.v1.Calc_echo_result", &back)["success"], value, "{way}");
        let sum = ask("apply", json!({ "op": "OP_ADD", "a": 2, "b": 3 })).await.unwrap();
        assert_eq!(server.echo.json("calc.v1.Calc_apply_result", &sum), json!({ "success": 5 }));
        let over = ask("apply", json!({ "op": "OP_MUL", "a": i32::MAX, "b": 3 })).await.unwrap_err();
        assert_eq!((over.code, &*over.message), (Code::OutOfRange, "Overflow: too large"));
        assert_eq!(
            server.echo.json("calc.v1.Overflow", &over.details[0].value),
            json!({ "why": "too large", "code": 7 })
        );
        let none = ask("apply", json!({})).await.unwrap_err();
        assert_eq!((none.code, &*none.message), (Code::NotFound, "no such operation"));
        let points = ask("points", json!({ "names": ["a", "b"] })).await.unwrap();
        assert_eq!(server.echo.json("calc.v1.Calc_points_result", &points)["success"][1]["key"], "b");
        let rows = ask("transpose", json!({ "rows": [{ "items": [1, 2] }] })).await.unwrap();
        assert_eq!(
            server.echo.json("calc.v1.Calc_transpose_result", &rows),
            json!({ "success": [{ "items": [1, 2] }] })
        );
        assert_eq!(call(&board, "calc.v1.Calc/nothing", Bytes::new()).await.unwrap().len(), 0);
        let pong = call(&board, "calc.v1.Calc/ping", Bytes::new()).await.unwrap();
        assert_eq!(server.echo.json("calc.v1.Base_ping_result", &pong), json!({ "success": "pong" }));
        let before = server.echo.notes.load(SeqCst);
        let note = server.echo.proto("calc.v1.Base_note_args", &json!({ "text": "n" }));
        call(&board, "calc.v1.Calc/note", note).await.unwrap();
        server.echo.until(|echo| echo.notes.load(SeqCst) == before + 1).await;
    }
}

#[tokio::test]
async fn deadlines_and_callers_that_leave_end_the_call() {
    let server = start(None).await;
    for way in
        ["thrift://ADDR", "thrift+framed+compact://ADDR", "thrift+header://ADDR", "thrift+http://ADDR/thrift"]
    {
        let board = through(&way.replace("ADDR", &server.addr.to_string())).await;
        let late = Call {
            deadline: Some(tokio::time::Instant::now() + Duration::from_millis(100)),
            ..Call::unary("kinds.v1.Kinds/Hang", Codec::Proto, Bytes::new())
        };
        let status = match board.admin().call(late).await {
            Ok(reply) => reply.one().await.1.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(status.code, Code::DeadlineExceeded, "{way}");
        server.echo.until(|echo| echo.running.load(SeqCst) == 0).await;
        let hanging = {
            let board = board.clone();
            tokio::spawn(async move { call(&board, "kinds.v1.Kinds/Hang", Bytes::new()).await })
        };
        server.echo.until(|echo| echo.running.load(SeqCst) == 1).await;
        hanging.abort();
        server.echo.until(|echo| echo.running.load(SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn large_messages_are_refused_by_name_and_the_connection_goes_on() {
    let server = start(None).await;
    for way in [
        "thrift+framed://ADDR?multiplexed=true",
        "thrift+header://ADDR?multiplexed=true",
        "thrift+http://ADDR/thrift/Kinds",
    ] {
        let board = through(&way.replace("ADDR", &server.addr.to_string())).await;
        let of = |n: usize| server.echo.proto("kinds.v1.All", &json!({ "texts": vec!["x".repeat(1000); n] }));
        let large = of(250);
        assert_eq!(call(&board, "kinds.v1.Kinds/Echo", large.clone()).await.unwrap(), large, "{way}");
        let status = call(&board, "kinds.v1.Kinds/Echo", of(300)).await.unwrap_err();
        assert_eq!(status.code, Code::ResourceExhausted, "{way}: {status}");
        assert_eq!(call(&board, "kinds.v1.Kinds/Echo", large.clone()).await.unwrap(), large, "{way}");
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_or_speaks_nonsense() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let board = through("thrift://127.0.0.1:1").await;
    assert_eq!(call(&board, "kinds.v1.Kinds/Echo", Bytes::new()).await.unwrap_err().code, Code::Unavailable);
    for (answer, code) in [
        (&b""[..], Code::Unavailable),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Code::Internal),
        (b"\x80\x01\x00\x02\x00\x00\x00\x04Echo\x00\x00\x00\x63\x00", Code::Internal),
        (b"\x80\x01\x00\x02\x00\x00\x00\x04Echo\x00\x00\x00\x01\x00", Code::Internal),
        (b"\x80\x01\x00\x02\x00\x00\x00\x04Echo\x00\x00\x00\x01\x0c\x00\x00\x0b\x00\x0e\x7f\xff\xff\xff", Code::ResourceExhausted),
        (b"\x80\x01\x00\x03\x00\x00\x00\x04Echo\x00\x00\x00\x01\x0b\x00\x01\x00\x00\x00\x04nope\x08\x00\x02\x00\x00\x00\x01\x00", Code::Unimplemented),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let board = through(&format!("thrift://{}", listener.local_addr().unwrap())).await;
        let serve = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = [0; 1024];
                let _ = stream.read(&mut bytes).await;
                let _ = stream.write_all(answer).await;
            }
        });
        let status = call(&board, "kinds.v1.Kinds/Echo", Bytes::new()).await.unwrap_err();
        assert_eq!(status.code, code, "{status} {}", String::from_utf8_lossy(answer));
        serve.abort();
    }
}

/// The server closes each connection after one answer: the pool notices, and nothing is lost or done twice.
#[tokio::test]
async fn stale_connections_are_replaced() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let board = through(&format!("thrift://{}", listener.local_addr().unwrap())).await;
    let serve = tokio::spawn(async move {
        let mut count = 0i32;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 1024];
            let n = stream.read(&mut bytes).await.unwrap();
            count += 1;
            // A call of `ping` is answered under its number.
            let seqid = &bytes[n - 5..n - 1];
            let answer = [
                &b"\x80\x01\x00\x02\x00\x00\x00\x04ping"[..],
                seqid,
                b"\x0b\x00\x00\x00\x00\x00\x01",
                &[b'0' + count as u8],
                b"\x00",
            ]
            .concat();
            stream.write_all(&answer).await.unwrap();
        }
    });
    for n in 1..=5 {
        let pong = call(&board, "calc.v1.Calc/ping", Bytes::new()).await.unwrap();
        assert_eq!(&pong[2..], n.to_string().as_bytes());
        // The end of the old connection may take a moment to arrive.
        tokio::task::yield_now().await;
    }
    serve.abort();
}
