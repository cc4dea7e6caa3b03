//! What a person sees when the server is ready: facts to act on, and nothing else.

use std::path::PathBuf;
use std::time::Duration;

/// What there is to say.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The development server.
    pub development: bool,
    /// URLs of what listens, as a caller on this machine would write them. The first is the main one.
    pub listeners: Vec<String>,
    /// Folder of the data; none means that everything is in memory.
    pub data: Option<PathBuf>,
    /// Whether credentials are configured.
    pub login: bool,
    /// Whether every listener is on the loopback interface.
    pub loopback: bool,
    /// Protocols spoken, by the names of the protocol table.
    pub protocols: Vec<String>,
    /// Ports that were taken, each with a sentence about who has it and the way round.
    pub taken: Vec<String>,
    /// From the start of the process until every listener accepted.
    pub ready: Duration,
}

/// The text for a person, or one line of JSON. To be printed once everything accepts, not before.
pub fn banner(facts: &Facts, json: bool) -> String {
    let main = facts.listeners.first().map_or("", String::as_str);
    let ready_ms = u64::try_from(facts.ready.as_millis()).unwrap_or(u64::MAX);
    if json {
        return serde_json::json!({
            "ready": true,
            "version": env!("CARGO_PKG_VERSION"),
            "mode": if facts.development { "development" } else { "serve" },
            "url": main,
            "listeners": facts.listeners,
            "console": format!("{main}/console/"),
            "data": facts.data,
            "login": facts.login,
            "protocols": facts.protocols,
            "taken": facts.taken,
            "ready_ms": ready_ms,
        })
        .to_string();
    }
    let mode = if facts.development { "development mode: " } else { "" };
    let reach = if facts.loopback { "this machine only" } else { "reachable from other machines" };
    let login = if facts.login { "login needed" } else { "no login" };
    let kept = match &facts.data {
        Some(dir) => format!("messages in {}", dir.display()),
        None => "messages in memory".to_owned(),
    };
    let mut text = format!("switchboard {}, {mode}{reach}, {login}, {kept}\n\n", env!("CARGO_PKG_VERSION"));
    text.push_str(&format!("  console   {main}/console/\n"));
    for (i, url) in facts.listeners.iter().enumerate() {
        let label = if i == 0 { "listens" } else { "and" };
        let protocols = if i == 0 { facts.protocols.join("  ") } else { String::new() };
        text.push_str(format!("  {label:<9} {url}      {protocols}").trim_end());
        text.push('\n');
    }
    for line in &facts.taken {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&format!("\nready in {ready_ms} ms."));
    if facts.development {
        text.push_str(" Try:  switchboard sub hello      and in another window:  switchboard pub hello hi");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            development: true,
            listeners: vec!["http://localhost:7070".into()],
            data: None,
            login: false,
            loopback: true,
            protocols: vec!["REST".into(), "SSE".into(), "WebSocket".into()],
            taken: vec![
                "Redis 6379 is taken by redis-server (pid 812). Use localhost:7070 for Redis too.".into(),
            ],
            ready: Duration::from_millis(31),
        }
    }

    #[test]
    fn says_what_there_is() {
        let text = banner(&facts(), false);
        assert!(text.starts_with(&format!(
            "switchboard {}, development mode: this machine only, no login, messages in memory\n\n  console   http://localhost:7070/console/\n  listens   http://localhost:7070      REST  SSE  WebSocket\n",
            env!("CARGO_PKG_VERSION")
        )));
        assert!(text.contains("  Redis 6379 is taken by") && text.contains("\nready in 31 ms. Try:"));
    }

    #[test]
    fn is_one_object_for_programs() {
        let value: serde_json::Value = serde_json::from_str(&banner(&facts(), true)).unwrap();
        assert_eq!(value["url"], "http://localhost:7070");
        assert_eq!(value["ready_ms"], 31);
        assert_eq!(value["data"], serde_json::Value::Null);
    }
}
