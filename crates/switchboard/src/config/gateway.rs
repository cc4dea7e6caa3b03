//! `[graphql.gateway]`: a supergraph and where its subgraphs are.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use sb_board::mount::Target;
use sb_graphql::{Gateway, GatewaySettings, Subgraph};

use super::fault::Fault;
use super::read::fault_at;
use super::services::reach;
use super::tree::{Entry, Node, Value};
use super::units;
use super::walk::{Table, Walk};

/// The word for the services of this server.
const OWN: &str = "self";
/// Headers that a request to a subgraph has of its own, or that are of one connection.
const NOT_FORWARDED: [&str; 14] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "sb-timeout",
];

/// Reads the section, if it is there.
pub fn read(walk: &mut Walk<'_>, graphql: &mut Table<'_>) -> Option<GatewaySettings> {
    let node = graphql.get("gateway")?;
    let mut table = walk.table(node, "graphql.gateway".to_owned());
    let file = table.get("supergraph");
    if file.is_none() {
        walk.fault(
            Fault::new("SB0112", "`supergraph` is missing in the gateway")
                .at(node.span.clone())
                .help("add  supergraph = \"supergraph.graphql\", the file that a composition wrote"),
        );
    }
    let read = supergraph(walk, file);
    let mut subgraphs = BTreeMap::new();
    for entry in walk.section(&mut table, "subgraphs").named() {
        if let Some((_, known)) = &read
            && !known.iter().any(|(name, _)| *name == entry.key)
        {
            unknown(walk, entry, known);
        }
        if let Some(subgraph) = subgraph(walk, entry) {
            subgraphs.insert(entry.key.clone(), subgraph);
        }
    }
    let forward = forward(walk, table.get("forward"));
    walk.finish(table);
    let (sdl, known) = read?;
    for (name, url) in known.iter().filter(|(name, url)| !subgraphs.contains_key(name) && !is_http(url)) {
        walk.fault(
            Fault::new("SB0112", format!("the supergraph says {url:?} of where the subgraph `{name}` is"))
                .at(file?.span.clone())
                .help(format!("add  subgraphs = {{ {name} = \"http://HOST:PORT/graphql\" }}")),
        );
    }
    Some(GatewaySettings { sdl: sdl.into(), subgraphs, forward })
}

/// The supergraph's text, and its subgraphs with their URLs.
fn supergraph(walk: &mut Walk<'_>, file: Option<&Node>) -> Option<(String, Vec<(String, String)>)> {
    let (path, node) = (walk.path(file, "\"supergraph.graphql\"")?, file?);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(why) => {
            walk.fault(
                Fault::new("SB0110", format!("{} cannot be read", path.display()))
                    .at(node.span.clone())
                    .label(why.to_string()),
            );
            return None;
        }
    };
    match Gateway::subgraphs(&text) {
        Ok(subgraphs) => Some((text, subgraphs)),
        Err(why) => {
            walk.fault(
                Fault::new("SB0117", format!("{} cannot be used", path.display()))
                    .at(node.span.clone())
                    .label(why.detail.to_string())
                    .help("write it with Apollo's composition:  rover supergraph compose --config FILE"),
            );
            None
        }
    }
}

fn unknown(walk: &mut Walk<'_>, entry: &Entry, known: &[(String, String)]) {
    let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let mut fault = Fault::new("SB0102", format!("there is no subgraph `{}` in the supergraph", entry.key))
        .at(entry.key_span.clone());
    if let Some(near) = units::nearest(&entry.key, names.iter().copied()).first() {
        fault = fault.help(format!("did you mean `{near}`?"));
    }
    walk.fault(fault.help(format!("there are: {}", names.join(", "))));
}

fn is_http(url: &str) -> bool {
    let rest = url
        .split_once("://")
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"));
    rest.is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with('/'))
}

/// A subgraph: its URL, `self`, or a table with a target and how it is reached.
fn subgraph(walk: &mut Walk<'_>, entry: &Entry) -> Option<Subgraph> {
    let Value::Table(_) = &entry.node.value else {
        return at(walk, &entry.node).map(|url| match url == OWN {
            true => Subgraph::Own,
            false => Subgraph::At { target: Target { url, ..Target::default() }, timeout: None },
        });
    };
    let mut table = walk.table(&entry.node, "graphql.gateway.subgraphs.*".to_owned());
    let node = table.get("target");
    if node.is_none() {
        walk.fault(
            Fault::new("SB0112", format!("`target` is missing in the subgraph `{}`", entry.key))
                .at(entry.key_span.clone())
                .help("add  target = \"http://HOST:PORT/graphql\""),
        );
    }
    let url = node.and_then(|node| at(walk, node));
    let timeout = walk.duration(table.get("timeout"), Duration::from_millis(1)..=Duration::from_secs(3600));
    let reach = reach(walk, &mut table, false);
    walk.finish(table);
    Some(match url?.as_str() {
        OWN => Subgraph::Own,
        url => Subgraph::At { target: reach.target(url), timeout },
    })
}

fn at(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let text = walk.text(Some(node), "\"http://127.0.0.1:4000/graphql\"")?;
    if text != OWN && !is_http(text) {
        walk.fault(
            Fault::new("SB0102", format!("`{text}` is not where a subgraph can be"))
                .at(node.span.clone())
                .help(
                    "write a URL, \"http://HOST:PORT/graphql\", or \"self\" for the services of this server",
                ),
        );
        return None;
    }
    Some(text.to_owned())
}

/// Names of headers.
fn forward(walk: &mut Walk<'_>, node: Option<&Node>) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for item in walk.items(node, "[\"authorization\"]") {
        let Some(text) = walk.text(Some(item), "\"authorization\"") else { continue };
        match text.to_ascii_lowercase().parse::<HeaderName>() {
            Err(_) => fault_at(walk, item, format!("`{text}` is not the name of a header")),
            Ok(name) if NOT_FORWARDED.contains(&name.as_str()) || name.as_str().starts_with("proxy-") => {
                fault_at(
                    walk,
                    item,
                    format!("`{text}` belongs to one connection or request and is not passed on"),
                );
            }
            Ok(name) => names.push(name),
        }
    }
    names
}
