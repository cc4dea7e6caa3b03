//! Bodies and other values that come from the command line, a file or standard input.

use std::io::{IsTerminal, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::error::CliError;

/// No body is ever larger; a batch is cut into requests below that.
const MAX_INPUT: u64 = 1 << 30;

/// The bytes of a body: `-` is standard input, `@FILE` a file, anything else the text itself. Without one, what is piped in.
pub fn body(argument: Option<&str>) -> Result<Vec<u8>, CliError> {
    match argument {
        None if std::io::stdin().is_terminal() => Err(CliError::usage("there is no body")
            .help("give it as text, as @FILE, or as - for standard input; \"\" is an empty one")),
        None | Some("-") => read(std::io::stdin().lock(), "standard input"),
        Some(text) => match text.strip_prefix('@') {
            Some(path) => {
                let file = std::fs::File::open(path)
                    .map_err(|why| CliError::usage(format!("{path} cannot be read: {why}")))?;
                read(file, path)
            }
            None => Ok(text.as_bytes().to_vec()),
        },
    }
}

fn read(source: impl Read, name: &str) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    source
        .take(MAX_INPUT + 1)
        .read_to_end(&mut bytes)
        .map_err(|why| CliError::usage(format!("{name} cannot be read: {why}")))?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(CliError::usage(format!("{name} holds more than 1 GiB")));
    }
    Ok(bytes)
}

/// Whether arguments of a call are `k=v…`.
pub fn are_pairs(arguments: &[String]) -> bool {
    let is_pair = |text: &String| {
        text.split_once('=').is_some_and(|(key, _)| {
            let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            key.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && key.chars().all(letter)
        })
    };
    !arguments.is_empty() && arguments.iter().all(is_pair)
}

/// Arguments of a call that nothing describes: `k=v…` make a JSON object whose values are JSON where they are that, else there is one body.
pub fn call_body(arguments: &[String]) -> Result<Vec<u8>, CliError> {
    if are_pairs(arguments) {
        let object: serde_json::Map<String, Value> = arguments
            .iter()
            .filter_map(|text| text.split_once('='))
            .map(|(key, value)| {
                (key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into()))
            })
            .collect();
        return Ok(Value::Object(object).to_string().into_bytes());
    }
    match arguments {
        [] => Ok(if std::io::stdin().is_terminal() { Vec::new() } else { body(None)? }),
        [one] => body(Some(one)),
        _ => Err(CliError::usage("give one body, or several k=v")
            .help("for example:  switchboard call shop.v1.Shop/GetOrder id=7")),
    }
}

/// The content type of a body that has none: JSON when it is JSON.
pub fn content_type(body: &[u8]) -> Option<&'static str> {
    let begins = body.iter().find(|b| !b.is_ascii_whitespace());
    let json =
        matches!(begins, Some(b'{' | b'[')) && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    json.then_some("application/json")
}

/// `name=value` or `name: value`.
pub fn header(text: &str) -> Result<(String, String), String> {
    let at = text.find(['=', ':']).ok_or_else(|| format!("`{text}` is not a header: write name=value"))?;
    let (name, value) = (text[..at].trim(), text[at + 1..].trim());
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    {
        return Err(format!("`{name}` is not a name of a header"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// The bytes of the `body` and `encoding` members of something shown as JSON.
pub fn shown_body(message: &Value) -> Vec<u8> {
    let text = message["body"].as_str().unwrap_or("");
    match message["encoding"].as_str() {
        Some("base64") => STANDARD.decode(text).unwrap_or_default(),
        _ => text.as_bytes().to_vec(),
    }
}

/// The `body` and `encoding` members for some bytes.
pub fn show_body(object: &mut Value, body: &[u8]) {
    match std::str::from_utf8(body) {
        Ok(text) => object["body"] = text.into(),
        Err(_) => {
            object["body"] = STANDARD.encode(body).into();
            object["encoding"] = "base64".into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_make_an_object() {
        let args = ["id=7", "name=Ann", "tags=[1,2]", "note=a=b"].map(str::to_owned);
        let value: Value = serde_json::from_slice(&call_body(&args).unwrap()).unwrap();
        assert_eq!(value, serde_json::json!({ "id": 7, "name": "Ann", "tags": [1, 2], "note": "a=b" }));
        assert_eq!(call_body(&["{\"a\": \"b=c\"}".to_owned()]).unwrap(), b"{\"a\": \"b=c\"}");
        assert!(call_body(&["x=1".to_owned(), "{}".to_owned()]).is_err());
    }

    #[test]
    fn headers_and_types() {
        assert_eq!(header("shop=a=b").unwrap(), ("shop".to_owned(), "a=b".to_owned()));
        assert_eq!(header("x: y").unwrap(), ("x".to_owned(), "y".to_owned()));
        assert!(header("nothing").is_err() && header("a b=c").is_err());
        assert_eq!(content_type(b" {\"a\":1}"), Some("application/json"));
        assert_eq!(content_type(b"{oops"), None);
        assert_eq!(content_type(b"hi"), None);
    }
}
