//! `pub --via` and `sub --via`: `switchboard.v1.Messages` over any protocol, with the same input and output as by the HTTP surface.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{PubArgs, SubArgs};
use crate::cli::described::describe;
use crate::cli::{Ctx, input, via};
use crate::client;
use crate::error::{CliError, exit};

/// How often a subscription without messages says that it is alive.
const HEARTBEAT: &str = "15s";
/// A subscription that says nothing for so long is taken as lost.
const SILENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

async fn asked(ctx: &Ctx, method: &str, request: &Value) -> Result<via::Asked, CliError> {
    let path = format!("switchboard.v1.Messages/{method}");
    let described = describe(&ctx.client()?, &path).await?;
    Ok(via::Asked {
        path,
        described,
        messages: vec![Bytes::from(request.to_string())],
        timeout: None,
        guard: Some(Duration::from_secs(30)),
    })
}

/// Publishes one request's messages; the answer has the form of the HTTP surface.
pub(super) async fn publish(ctx: &Ctx, args: &PubArgs, body: &Bytes) -> Result<Value, CliError> {
    let seconds = |span: Option<Duration>| span.map(|d| format!("{}.{:03}s", d.as_secs(), d.subsec_millis()));
    let message = |body: &[u8]| {
        let mut message = json!({ "address": args.topic, "body": STANDARD.encode(body) });
        let guessed = if args.batch { Some("application/json") } else { input::content_type(body) };
        let headers: Vec<Value> =
            args.headers.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
        let optional = [
            ("key", args.key.as_ref().map(|key| STANDARD.encode(key))),
            ("contentType", args.content_type.as_deref().or(guessed).map(str::to_owned)),
            ("delay", seconds(args.delay)),
            ("expires", seconds(args.expires)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                message[name] = value.into();
            }
        }
        if !headers.is_empty() {
            message["headers"] = headers.into();
        }
        message
    };
    let messages: Vec<Value> = match args.batch {
        true => body.split(|b| *b == b'\n').map(message).collect(),
        false => vec![message(body)],
    };
    let mut request = json!({ "messages": messages });
    if args.live {
        request["live"] = true.into();
    }
    if let Some(key) = &args.idempotency_key {
        request["idempotencyKey"] = key.as_str().into();
    }
    let mut answer = Value::Null;
    let asked = asked(ctx, "Publish", &request).await?;
    let mut each = |message: &[u8]| {
        answer = serde_json::from_slice(message).unwrap_or_default();
        Ok(true)
    };
    via::call(ctx.target.clone(), &args.via, &asked, &mut each).await?;
    if args.live {
        return Ok(json!({ "live": true, "delivered": number(&answer["delivered"]) }));
    }
    let receipt = |given: &Value| {
        json!({ "id": given["id"], "topic": given["topic"], "partition": number(&given["partition"]),
            "offset": number(&given["offset"]), "at": given["at"] })
    };
    Ok(
        json!({ "messages": answer["messages"].as_array().into_iter().flatten().map(receipt).collect::<Vec<_>>() }),
    )
}

/// A number that ProtoJSON left out, wrote as text, or as it is.
fn number(value: &Value) -> Value {
    match value {
        Value::String(text) => text.parse::<u64>().map_or(Value::Null, Value::from),
        Value::Null => 0.into(),
        other => other.clone(),
    }
}

/// Follows a pattern for as long as it takes; what was lost in between is asked for again behind the last cursor.
pub(super) async fn follow(
    ctx: &Ctx,
    args: &SubArgs,
    pattern: &str,
    end: Option<String>,
    sender: mpsc::Sender<Result<Value, CliError>>,
) {
    if let Err(error) = resuming(ctx, args, pattern, end, &sender).await {
        // Nobody to tell means that the command is over already.
        let _ = sender.send(Err(error)).await;
    }
}

async fn resuming(
    ctx: &Ctx,
    args: &SubArgs,
    pattern: &str,
    end: Option<String>,
    sender: &mpsc::Sender<Result<Value, CliError>>,
) -> Result<(), CliError> {
    let mut cursor = end;
    let mut pause = FIRST_PAUSE;
    let mut lost_at: Option<Instant> = None;
    let mut connected_before = false;
    loop {
        let mut request = json!({ "pattern": pattern, "heartbeat": HEARTBEAT });
        match (&cursor, &args.after, &args.from, args.last) {
            (Some(cursor), ..) => request["after"] = cursor.as_str().into(),
            (None, Some(after), ..) => request["after"] = after.as_str().into(),
            (None, None, Some(from), _) => request["from"] = from.as_str().into(),
            (None, None, None, Some(last)) => request["last"] = last.to_string().into(),
            (None, None, None, None) => request["from"] = "end".into(),
        }
        // Printing may be slower than reading, and reading waits for it: the messages go through a channel of one answer.
        let (ours, mut answers) = mpsc::channel::<Value>(1);
        let reading = async {
            let asked = asked(ctx, "Subscribe", &request).await?;
            let (texts, mut waiting) = mpsc::unbounded_channel::<Vec<u8>>();
            let mut each = |text: &[u8]| Ok(texts.send(text.to_vec()).is_ok());
            let calling = via::call(ctx.target.clone(), &args.via, &asked, &mut each);
            tokio::pin!(calling);
            loop {
                tokio::select! {
                    biased;
                    Some(text) = waiting.recv() => {
                        let answer = serde_json::from_slice(&text).unwrap_or_default();
                        if ours.send(answer).await.is_err() {
                            return Ok(());
                        }
                    }
                    ended = &mut calling => return ended,
                    () = tokio::time::sleep(SILENCE) => {
                        return Err(CliError::new(exit::UNREACHABLE, "SB0001", "nothing was heard for 60 s"));
                    }
                }
            }
        };
        tokio::pin!(reading);
        let ended = loop {
            tokio::select! {
                biased;
                Some(answer) = answers.recv() => {
                    if lost_at.take().is_some() {
                        note!("connected again, resuming behind the last message");
                    }
                    (connected_before, pause) = (true, FIRST_PAUSE);
                    for message in answer["messages"].as_array().into_iter().flatten() {
                        if sender.send(Ok(shown(message))).await.is_err() {
                            return Ok(());
                        }
                    }
                    if let Some(next) = answer["cursor"].as_str().filter(|c| !c.is_empty()) {
                        cursor = Some(next.to_owned());
                    }
                    if answer["reset"].is_object() {
                        let reset = &answer["reset"];
                        let code = reset["code"].as_str().unwrap_or("SB0305");
                        let message = reset["message"].as_str().unwrap_or("the position is gone");
                        let error = CliError::new(exit::REFUSED, client::clean(code), client::clean(message));
                        return Err(error.help("go on with  --from start"));
                    }
                }
                ended = &mut reading => break ended,
            }
        };
        let reason = match ended {
            Ok(()) => "the server ended the stream".to_owned(),
            Err(error) if passing(&error) && (connected_before || error.code != "SB0001") => error.title,
            Err(error) => return Err(error),
        };
        connected_before = true;
        let since = *lost_at.get_or_insert_with(Instant::now);
        if let Some(limit) = args.give_up
            && since.elapsed() + pause > limit
        {
            let title = format!("{} was not reached again within {} s", ctx.target.url, limit.as_secs());
            return Err(CliError::new(exit::UNREACHABLE, "SB0001", title).help(reason));
        }
        note!("connection lost ({}); trying again in {:.1} s", client::clean(&reason), pause.as_secs_f32());
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether trying again may help.
fn passing(error: &CliError) -> bool {
    error.exit == exit::UNREACHABLE
        || matches!(error.code.as_str(), "SB0603" | "SB0601" | "SB0604" | "SB0003")
}

/// A message in the form of the HTTP surface.
fn shown(message: &Value) -> Value {
    let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    let mut out = json!({});
    for (ours, theirs) in [
        ("id", "id"),
        ("topic", "topic"),
        ("address", "address"),
        ("at", "at"),
        ("content_type", "contentType"),
    ] {
        let own_name = ours == "address" && message[theirs] == message["topic"];
        if !message[theirs].is_null() && !own_name {
            out[ours] = message[theirs].clone();
        }
    }
    if !message["id"].is_null() {
        out["partition"] = number(&message["partition"]);
        out["offset"] = number(&message["offset"]);
    }
    if !message["key"].is_null() {
        match String::from_utf8(bytes(&message["key"])) {
            Ok(text) => out["key"] = text.into(),
            Err(_) => out["key_base64"] = message["key"].clone(),
        }
    }
    let headers = message["headers"].as_array();
    if let Some(headers) = headers.filter(|h| !h.is_empty()) {
        let one = |header: &Value| {
            let kind = ["text", "binary", "integer", "number", "boolean", "time", "nested"];
            let value = kind.iter().map(|k| &header[*k]).find(|v| !v.is_null()).cloned().unwrap_or_default();
            (header["name"].as_str().unwrap_or_default().to_owned(), value)
        };
        out["headers"] = headers.iter().map(one).collect::<serde_json::Map<_, _>>().into();
    }
    input::show_body(&mut out, &bytes(&message["body"]));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_form_of_the_http_surface() {
        let given = json!({ "id": "c", "topic": "t", "address": "t.a", "offset": "7", "at": "2026-01-01T00:00:00Z", "key": "aw==",
            "body": "aGk=", "headers": [{ "name": "n", "integer": "5" }] });
        assert_eq!(
            shown(&given),
            json!({ "id": "c", "topic": "t", "address": "t.a", "at": "2026-01-01T00:00:00Z", "partition": 0, "offset": 7,
                "key": "k", "headers": { "n": "5" }, "body": "hi" })
        );
    }
}
