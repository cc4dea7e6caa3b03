//! MCP over Streamable HTTP: a session, one call of the method's tool, the end of the session.

use http::Method;
use serde_json::{Value, json};

use super::{Asked, Each, events, failed_with, is_events, not_called, not_understood, whole};
use crate::client::{Client, Request, clean};
use crate::error::{CliError, exit};

/// The revision that is spoken here.
const REVISION: &str = "2025-06-18";

/// Calls a method as a tool. The items of one that streams come together.
pub(super) async fn call(client: &Client, asked: &Asked, each: Each<'_>) -> Result<(), CliError> {
    let arguments: Value = serde_json::from_slice(&asked.message())
        .map_err(|why| CliError::usage(format!("MCP needs JSON as the body: {why}")))?;
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": REVISION, "capabilities": {},
        "clientInfo": { "name": "switchboard", "version": env!("CARGO_PKG_VERSION") },
    } });
    let (session, _) = exchange(client, asked, None, &hello).await?;
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    client.read(&post(asked, session.as_deref(), &ready)).await?;
    // A tool takes an object; a request that is none is wrapped.
    let arguments = if arguments.is_object() { arguments } else { json!({ "value": arguments }) };
    let tool = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": asked.path, "arguments": arguments,
    } });
    let called = exchange(client, asked, session.as_deref(), &tool).await;
    if let Some(session) = &session {
        let end = Request::new(Method::DELETE, "/mcp").header("mcp-session-id", session.as_str());
        // It would end by itself.
        let _ = client.read(&end).await;
    }
    let result = called?.1;
    if result["isError"] == true {
        let error = &result["_meta"]["switchboard/error"];
        let name = error["code"].as_str().unwrap_or("UNKNOWN");
        let message = error["message"].as_str().unwrap_or_default();
        let told = super::failed(name, message, &[], asked.described.as_ref());
        if let Some(code) = error["error"].as_str() {
            let own = CliError::new(told.exit, clean(code), clean(message));
            return Err(match error["fix"].as_str() {
                Some(fix) => own.help(clean(fix)),
                None => own,
            });
        }
        let details = error["details"].as_array().cloned().unwrap_or_default();
        return Err(failed_with(told.exit, name, message, &details));
    }
    let answer = &result["structuredContent"];
    if !asked.streams() {
        return each(answer.to_string().as_bytes()).map(|_| ());
    }
    for item in answer["items"].as_array().into_iter().flatten() {
        if !each(item.to_string().as_bytes())? {
            return Ok(());
        }
    }
    if answer["truncated"] == true {
        note!("there was more, which an answer of MCP does not take");
    }
    Ok(())
}

fn post(asked: &Asked, session: Option<&str>, message: &Value) -> Request {
    asked
        .post("/mcp")
        .json(message)
        .header("accept", "application/json, text/event-stream")
        .maybe("mcp-protocol-version", session.map(|_| REVISION))
        .maybe("mcp-session-id", session)
}

/// One request with its answer, as JSON or as the event of a stream: the session that it began, and the result.
async fn exchange(
    client: &Client,
    asked: &Asked,
    session: Option<&str>,
    message: &Value,
) -> Result<(Option<String>, Value), CliError> {
    let (head, mut body) = client.open(&post(asked, session, message)).await?.into_parts();
    if !head.status.is_success() {
        return Err(not_called(head.status, &whole(body).await?));
    }
    let session = head.headers.get("mcp-session-id").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let mut answer = Value::Null;
    if is_events(&head.headers) {
        events(&mut body, |event| {
            let Ok(text) = serde_json::from_str::<Value>(&event.data) else { return Ok(true) };
            let ours = text["id"] == message["id"];
            if ours {
                answer = text;
            }
            Ok(!ours)
        })
        .await?;
    } else {
        answer =
            serde_json::from_slice(&whole(body).await?).map_err(|why| not_understood(&why.to_string()))?;
    }
    if answer["error"].is_object() {
        let error = &answer["error"];
        let message = error["message"].as_str().unwrap_or_default();
        let name = error["data"]["code"].as_str().unwrap_or("INVALID_ARGUMENT");
        let told = super::failed(name, message, &[], None);
        let code = error["data"]["error"].as_str().unwrap_or("SB0409");
        return Err(CliError::new(told.exit.max(exit::REFUSED), clean(code), clean(message)));
    }
    Ok((session, answer["result"].take()))
}
