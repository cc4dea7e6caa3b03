//! From the tree to the configuration: one function per section, in the order of the reference.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::fault::Fault;
use super::model::*;
use super::services;
use super::tree::{Entry, Node, Span, Value};
use super::units;
use super::walk::{Table, Walk};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEARS: Duration = Duration::from_secs(100 * 366 * 86_400);
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// No body of a message is ever larger.
const MESSAGE_CAP: u64 = 64 * MIB;

/// Places that the checks over the whole configuration point at.
#[derive(Default)]
pub struct Places {
    pub listen: Vec<Span>,
    pub topics: Vec<Span>,
    pub claims: Vec<Vec<Span>>,
    pub methods: Vec<Span>,
    pub services: Vec<Span>,
    pub routes: Vec<Span>,
    pub targets: Vec<Span>,
    pub keys: Vec<(Span, bool)>,
    pub dead_letters: Vec<(String, Span)>,
    pub jwt: Vec<Span>,
    pub engine_given: bool,
}

/// Reads everything; what is wrong is in `walk.faults`.
pub fn config(walk: &mut Walk<'_>, root: &Node, data_default: Option<Engine>) -> (Config, Places) {
    let mut places = Places::default();
    let mut top = walk.root(root);
    let listen = listeners(walk, top.get("listen"), &mut places);
    let engine_node = top.get("engine");
    places.engine_given = engine_node.is_some();
    let engine = engine(walk, engine_node).or(data_default).unwrap_or(Engine::Memory);
    let (methods, services) = services::read(walk, &mut top, &mut places);
    let (graphql, gateway) = super::graphql::read(walk, &mut top);
    let config = Config {
        listen,
        engine,
        public_url: public_url(walk, top.get("public_url")),
        tls: tls(walk, &mut top),
        http: http(walk, &mut top),
        limits: limits(walk, &mut top),
        topics: topics(walk, &mut top, &mut places),
        methods,
        services,
        graphql,
        gateway,
        routes: routes(walk, &mut top, &mut places),
        statics: statics(walk, &mut top),
        auth: auth(walk, &mut top, &mut places),
        roles: roles(walk, &mut top),
        echo: echo(walk, &mut top),
        insecure: false,
    };
    walk.finish(top);
    (config, places)
}

pub fn fault_at(walk: &mut Walk<'_>, node: &Node, title: impl Into<String>) {
    walk.fault(Fault::new("SB0102", title).at(node.span.clone()));
}

fn listeners(walk: &mut Walk<'_>, node: Option<&Node>, places: &mut Places) -> Vec<Listener> {
    let default = Listener {
        url: "http://127.0.0.1:7070".to_owned(),
        tls: false,
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
    };
    let Some(node) = node else {
        places.listen.push(0..0);
        return vec![default];
    };
    let mut list: Vec<Listener> = Vec::new();
    let items = walk.items(Some(node), "[\"http://127.0.0.1:7070\"]");
    if items.is_empty() && matches!(node.value, Value::Array(_)) {
        fault_at(walk, node, "a server listens somewhere: `listen` is not empty");
    }
    for item in items {
        let Some(text) = walk.text(Some(item), "\"http://127.0.0.1:7070\"") else { continue };
        match listener(text) {
            Ok(listener) if listener.addr.port() != 0 && list.iter().any(|l| l.addr == listener.addr) => walk
                .fault(
                    Fault::new("SB0113", format!("{} is listed twice", listener.addr))
                        .at(item.span.clone())
                        .label("again"),
                ),
            Ok(listener) => {
                places.listen.push(item.span.clone());
                list.push(listener);
            }
            Err(why) => walk.fault(
                Fault::new("SB0102", format!("`{text}` is not an address to listen on"))
                    .at(item.span.clone())
                    .label(why)
                    .help("for example: http://127.0.0.1:7070, https://0.0.0.0:7443, http://[::1]:7070"),
            ),
        }
    }
    list
}

fn listener(text: &str) -> Result<Listener, String> {
    let (scheme, rest) = text.split_once("://").ok_or("the scheme is missing: http:// or https://")?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        other => return Err(format!("`{other}` is not a scheme: http or https")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@']) {
        return Err("only a host and a port".to_owned());
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse::<u16>().map_err(|_| format!("`{port}` is not a port: 1 to 65535"))?)
        }
        _ => return Err("the port is missing".to_owned()),
    };
    let ip: IpAddr = match host {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        "" | "*" => Ipv4Addr::UNSPECIFIED.into(),
        host => {
            let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
            bare.parse().map_err(|_| format!("`{host}` is neither an IP address nor localhost"))?
        }
    };
    Ok(Listener { url: text.to_owned(), tls, addr: SocketAddr::new(ip, port) })
}

fn engine(walk: &mut Walk<'_>, node: Option<&Node>) -> Option<Engine> {
    let text = walk.text(node, "\"disk:/var/lib/switchboard\"")?;
    if text == "memory" {
        return Some(Engine::Memory);
    }
    match text.strip_prefix("disk:") {
        Some(dir) if !dir.is_empty() => Some(Engine::Disk(walk.around.base.join(dir))),
        _ => {
            walk.fault(
                Fault::new("SB0102", format!("`{text}` is not an engine"))
                    .at(node?.span.clone())
                    .help("allowed: \"disk:DIR\" (kept in that folder) or \"memory\" (lost at the end)"),
            );
            None
        }
    }
}

fn public_url(walk: &mut Walk<'_>, node: Option<&Node>) -> Option<String> {
    let text = walk.text(node, "\"https://sb.example.com\"")?;
    let ok = text.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|h| !h.is_empty())
            && uri.query().is_none()
    });
    if ok {
        return Some(text.trim_end_matches('/').to_owned());
    }
    walk.fault(
        Fault::new("SB0102", format!("`{text}` is not a URL that callers can reach this server by"))
            .at(node?.span.clone())
            .help("for example: public_url = \"https://sb.example.com\""),
    );
    None
}

fn tls(walk: &mut Walk<'_>, top: &mut Table<'_>) -> Option<Tls> {
    let given = top.get("tls").is_some();
    let mut table = walk.section(top, "tls");
    let span = table.span.clone();
    let (cert, key) = (table.get("cert"), table.get("key"));
    for (node, name) in [(cert, "cert"), (key, "key")] {
        if given && node.is_none() {
            walk.fault(
                Fault::new("SB0112", format!("`{name}` is missing in [tls]"))
                    .at(span.clone())
                    .help(format!("add  {name} = \"{name}.pem\"")),
            );
        }
    }
    walk.finish(table);
    let cert_path = walk.path(cert, "\"cert.pem\"");
    let key_path = walk.path(key, "\"key.pem\"");
    for (path, node) in [(&cert_path, cert), (&key_path, key)] {
        if let (Some(path), Some(node)) = (path, node)
            && let Err(why) = std::fs::File::open(path)
        {
            walk.fault(
                Fault::new("SB0110", format!("{} cannot be read", path.display()))
                    .at(node.span.clone())
                    .label(why.to_string()),
            );
        }
    }
    Some(Tls { cert: cert_path?, key: key_path? })
}

fn http(walk: &mut Walk<'_>, top: &mut Table<'_>) -> Http {
    let mut table = walk.section(top, "http");
    let mut origins = Vec::new();
    for item in walk.items(table.get("origins"), "[\"https://app.example.com\"]") {
        let Some(text) = walk.text(Some(item), "\"https://app.example.com\"") else { continue };
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        if host.is_some_and(|h| !h.is_empty() && !h.contains(['/', '*', '?', ' '])) {
            origins.push(text.to_owned());
        } else {
            walk.fault(
                Fault::new("SB0102", format!("`{text}` is not an origin")).at(item.span.clone()).help(
                    "an origin is scheme, host and port, without a path or wildcard: https://app.example.com",
                ),
            );
        }
    }
    let http = Http {
        origins,
        wait_max: walk.duration(table.get("wait_max"), SECOND..=HOUR).unwrap_or(SECOND * 60),
        heartbeat: walk.duration(table.get("heartbeat"), SECOND..=HOUR).unwrap_or(SECOND * 15),
        cors: walk.flag(table.get("cors")).unwrap_or(true),
    };
    walk.finish(table);
    http
}

fn limits(walk: &mut Walk<'_>, top: &mut Table<'_>) -> Limits {
    let mut table = walk.section(top, "limits");
    let message_node = table.get("message");
    let request_node = table.get("request");
    let message = walk.size(message_node, 1..=MESSAGE_CAP).unwrap_or(MIB);
    let request = walk.size(request_node, 1..=GIB).unwrap_or(8 * MIB.max(message.div_ceil(8)));
    if let (Some(node), true) = (request_node, request < message) {
        walk.fault(
            Fault::new(
                "SB0102",
                "`request` is smaller than `message`: the largest message could not be published",
            )
            .at(node.span.clone())
            .label(format!("at least {}", units::size_text(message))),
        );
    }
    let limits = Limits {
        message,
        request,
        memory: walk.size(table.get("memory"), 16 * MIB..=1 << 44).unwrap_or(512 * MIB),
        connections: walk.count(table.get("connections"), 1..=10_000_000).unwrap_or(16_384),
        headers: walk.size(table.get("headers"), 4096..=MIB).unwrap_or(64 << 10),
    };
    walk.finish(table);
    limits
}

/// A key that is a name of the user's own.
fn legal_name(walk: &mut Walk<'_>, entry: &Entry, what: &str) {
    if let Err(why) = units::name(&entry.key) {
        walk.fault(
            Fault::new("SB0102", format!("`{}` is not a legal name of a {what}", entry.key))
                .at(entry.key_span.clone())
                .help(why),
        );
    }
}

fn topics(walk: &mut Walk<'_>, top: &mut Table<'_>, places: &mut Places) -> Vec<Topic> {
    let mut list = Vec::new();
    for entry in walk.section(top, "topics").named() {
        legal_name(walk, entry, "topic");
        let mut table = walk.table(&entry.node, "topics.*".to_owned());
        let claims_node = table.get("claims");
        let groups_table = walk.section(&mut table, "groups");
        let mut groups = Vec::new();
        for group_entry in groups_table.named() {
            legal_name(walk, group_entry, "group");
            groups.push(group(walk, group_entry, places));
        }
        let partitions_node = table.get("partitions");
        let topic = Topic {
            name: entry.key.clone(),
            partitions: walk.count(partitions_node, 1..=1024).unwrap_or(1),
            keep_age: walk.duration(table.get("keep_age"), SECOND..=YEARS),
            keep_bytes: walk.size(table.get("keep_bytes"), 1..=1 << 60),
            keep_until_consumed: walk.flag(table.get("keep_until_consumed")).unwrap_or(false),
            max_message: walk.size(table.get("max_message"), 1..=MESSAGE_CAP),
            memory: walk.flag(table.get("memory")).unwrap_or(false),
            claims: walk.patterns(claims_node, |text| units::pattern(text).map(|_| ())),
            groups,
        };
        walk.finish(table);
        let claim_spans = match claims_node.map(|n| &n.value) {
            Some(Value::Array(items)) => items
                .iter()
                .filter(|i| matches!(&i.value, Value::Text(t) if topic.claims.contains(t)))
                .map(|i| i.span.clone())
                .collect(),
            _ => claims_node.map(|n| n.span.clone()).into_iter().collect(),
        };
        places.topics.push(entry.key_span.clone());
        places.claims.push(claim_spans);
        list.push(topic);
    }
    list
}

fn group(walk: &mut Walk<'_>, entry: &Entry, places: &mut Places) -> Group {
    let mut table = walk.table(&entry.node, "topics.*.groups.*".to_owned());
    let start_node = table.get("start");
    let start = walk.text(start_node, "\"end\"").and_then(|text| match start(text) {
        Ok(start) => Some(start),
        Err(why) => {
            if let Some(node) = start_node {
                walk.fault(
                    Fault::new("SB0102", format!("`{text}` is not a start: {why}"))
                        .at(node.span.clone())
                        .help("allowed: start, end, offset:N, time:2026-11-20T10:00:00Z, -1h"),
                );
            }
            None
        }
    });
    let dead_node = table.get("dead_letter");
    let dead_letter = walk.name(dead_node).map(str::to_owned);
    if let (Some(name), Some(node)) = (&dead_letter, dead_node) {
        places.dead_letters.push((name.clone(), node.span.clone()));
    }
    let attempts_node = table.get("attempts");
    let attempts = walk.count(attempts_node, 0..=1_000_000).unwrap_or(0);
    if let (Some(node), 0, true) = (dead_node, attempts, dead_letter.is_some()) {
        walk.fault(
            Fault::new(
                "SB0115",
                format!(
                    "`{}` never gives up, so nothing but an explicit `dead` reaches its dead-letter topic",
                    entry.key
                ),
            )
            .warning()
            .at(node.span.clone())
            .help("add  attempts = 5"),
        );
    }
    let group = Group {
        name: entry.key.clone(),
        queue: walk.choice(table.get("mode"), &[("queue", true), ("cursor", false)]).unwrap_or(true),
        start: start.unwrap_or(Start::First),
        lease: walk.duration(table.get("lease"), SECOND..=HOUR * 12).unwrap_or(SECOND * 30),
        attempts,
        dead_letter,
        backoff: walk.duration(table.get("backoff"), Duration::ZERO..=DAY * 30).unwrap_or(Duration::ZERO),
        by_key: walk.choice(table.get("order"), &[("none", false), ("key", true)]).unwrap_or(false),
    };
    walk.finish(table);
    group
}

/// Reads `start`, `end`, `offset:N`, `time:T`, `-1h`.
pub fn start(text: &str) -> Result<Start, String> {
    match text {
        "start" => Ok(Start::First),
        "end" => Ok(Start::End),
        _ => match (text.strip_prefix("offset:"), text.strip_prefix("time:"), text.strip_prefix('-')) {
            (Some(n), ..) => n.parse().map(Start::Offset).map_err(|_| format!("`{n}` is not an offset")),
            (_, Some(time), _) => time
                .parse::<jiff::Timestamp>()
                .map(|t| Start::Time(t.as_millisecond()))
                .map_err(|_| format!("`{time}` is not a time")),
            (_, _, Some(ago)) => units::duration(ago).map(Start::Ago),
            _ => Err("unknown word".to_owned()),
        },
    }
}

pub fn is_word(text: &str) -> bool {
    text.len() <= 100
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

pub fn is_service(text: &str) -> bool {
    text.contains('.') && text.split('.').all(is_word)
}

fn routes(walk: &mut Walk<'_>, top: &mut Table<'_>, places: &mut Places) -> Vec<Route> {
    let mut list = Vec::new();
    for entry in walk.section(top, "routes").named() {
        let head = route_head(&entry.key);
        if let Err(why) = &head {
            walk.fault(
                Fault::new("SB0102", format!("`{}` is not a route: {why}", entry.key))
                    .at(entry.key_span.clone())
                    .help("for example: \"POST /api/execute\" = \"code.v1.Runner/Run\""),
            );
        }
        let target = target(walk, entry);
        let (Ok((method, path)), Some(target)) = (head, target) else { continue };
        if matches!(target, Target::Read(_)) && method != "GET" {
            walk.fault(
                Fault::new(
                    "SB0102",
                    format!("a route to a topic reads it, so its method is GET, not {method}"),
                )
                .at(entry.key_span.clone())
                .help(format!("write  \"GET {path}\"; publishing is  POST /topics/ADDRESS")),
            );
            continue;
        }
        places.routes.push(entry.key_span.clone());
        places.targets.push(entry.node.span.clone());
        list.push(Route { method: method.to_owned(), path: path.to_owned(), target });
    }
    list
}

fn route_head(text: &str) -> Result<(&str, &str), String> {
    let (method, path) = text.split_once(' ').ok_or("it needs a method, a space and a path")?;
    if !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method) {
        return Err(format!("`{method}` is not one of GET, POST, PUT, PATCH, DELETE"));
    }
    if !path.starts_with('/') {
        return Err("the path begins with `/`".to_owned());
    }
    if path.contains(['{', '}', '*', '?', '#', ' ']) {
        return Err("the path is taken literally: no parameters, wildcards or query".to_owned());
    }
    Ok((method, path))
}

/// A target is `Service/Method`, or a table that names what it reads.
fn target(walk: &mut Walk<'_>, entry: &Entry) -> Option<Target> {
    match &entry.node.value {
        Value::Text(text) => {
            match text.split_once('/').filter(|(s, m)| is_service(s) && is_word(m)) {
                Some((service, method)) => {
                    Some(Target::Call { service: service.to_owned(), method: method.to_owned() })
                }
                None => {
                    walk.fault(
                    Fault::new("SB0102", format!("`{text}` is not a method"))
                        .at(entry.node.span.clone())
                        .help("a method is package.Service/Method; a topic is written { topic = \"orders.>\" }"),
                );
                    None
                }
            }
        }
        Value::Table(_) => {
            let mut table = walk.table(&entry.node, "routes.*".to_owned());
            let topic = table.get("topic");
            if topic.is_none() {
                walk.fault(
                    Fault::new("SB0112", "`topic` is missing in a route")
                        .at(entry.node.span.clone())
                        .help("write  { topic = \"orders.>\" }"),
                );
            }
            walk.finish(table);
            walk.text(topic, "\"orders.>\"").and_then(|text| match units::pattern(text) {
                Ok(_) => Some(Target::Read(text.to_owned())),
                Err(why) => {
                    fault_at(walk, topic?, why);
                    None
                }
            })
        }
        other => {
            fault_at(
                walk,
                &entry.node,
                format!("expected a method or {{ topic = … }}, found {}", other.kind()),
            );
            None
        }
    }
}

fn statics(walk: &mut Walk<'_>, top: &mut Table<'_>) -> Vec<Static> {
    let mut list = Vec::new();
    for entry in walk.section(top, "static").named() {
        if !entry.key.starts_with('/') || entry.key.contains(['*', '?', '#', ' ']) {
            walk.fault(
                Fault::new("SB0102", format!("`{}` is not a path", entry.key))
                    .at(entry.key_span.clone())
                    .help("a path begins with `/`: \"/\" = \"public\""),
            );
        }
        let Some(dir) = walk.path(Some(&entry.node), "\"public\"") else { continue };
        if !dir.is_dir() {
            walk.fault(
                Fault::new("SB0110", format!("{} is not a folder", dir.display()))
                    .at(entry.node.span.clone())
                    .label("served from here"),
            );
        }
        list.push(Static { path: entry.key.clone(), dir });
    }
    list.sort_by_key(|s| std::cmp::Reverse(s.path.len()));
    list
}

fn auth(walk: &mut Walk<'_>, top: &mut Table<'_>, places: &mut Places) -> Auth {
    let mut table = walk.section(top, "auth");
    let mut keys: Vec<ApiKey> = Vec::new();
    for entry in walk.section(&mut table, "keys").named() {
        let (key, role) = match &entry.node.value {
            Value::Table(_) => {
                let mut inner = walk.table(&entry.node, "auth.keys.*".to_owned());
                let (key, role) = (inner.get("key"), inner.get("role"));
                if key.is_none() {
                    walk.fault(
                        Fault::new("SB0112", format!("`key` is missing in the key `{}`", entry.key))
                            .at(entry.node.span.clone())
                            .help(format!("add  key = \"${}_KEY\"", entry.key.to_uppercase())),
                    );
                }
                walk.finish(inner);
                (key, role)
            }
            _ => (Some(&entry.node), None),
        };
        let role_name = walk.text(role, "\"reader\"").map(str::to_owned);
        let Some(secret) = walk.secret(key, "\"$SHOP_KEY\"") else { continue };
        if keys.iter().any(|k| k.key.0 == secret) {
            walk.fault(
                Fault::new("SB0113", format!("the key `{}` is the same as another one", entry.key))
                    .at(entry.node.span.clone()),
            );
        }
        places.keys.push((role.map_or(entry.key_span.clone(), |r| r.span.clone()), role.is_some()));
        keys.push(ApiKey {
            name: entry.key.clone(),
            key: Secret(secret),
            role: role_name.unwrap_or_else(|| entry.key.clone()),
        });
    }
    let mut jwt = Vec::new();
    if let Some(node) = table.get("jwt") {
        match &node.value {
            Value::Array(items) => jwt.extend(items.iter().filter_map(|item| one_jwt(walk, item, places))),
            Value::Table(_) => jwt.extend(one_jwt(walk, node, places)),
            other => fault_at(walk, node, format!("expected tables [[auth.jwt]], found {}", other.kind())),
        }
    }
    walk.finish(table);
    Auth { keys, jwt }
}

fn one_jwt(walk: &mut Walk<'_>, node: &Node, places: &mut Places) -> Option<Jwt> {
    let mut table = walk.table(node, "auth.jwt.*".to_owned());
    let span = table.span.clone();
    let mut required = |walk: &mut Walk<'_>, key: &'static str, example: &str| {
        let node = table.get(key);
        if node.is_none() {
            walk.fault(
                Fault::new("SB0112", format!("`{key}` is missing in [[auth.jwt]]"))
                    .at(span.clone())
                    .help(format!("add  {key} = {example}")),
            );
        }
        node
    };
    let issuer = required(walk, "issuer", "\"https://login.example.com\"");
    let audience = required(walk, "audience", "\"switchboard\"");
    let algorithm = required(walk, "algorithm", "\"ES256\"");
    let key = required(walk, "key", "\"$file:jwt.pem\"");
    let role = table.get("role");
    walk.finish(table);
    let algorithms = [
        ("HS256", Algorithm::Hs256),
        ("RS256", Algorithm::Rs256),
        ("ES256", Algorithm::Es256),
        ("EdDSA", Algorithm::EdDsa),
    ];
    let issuer = walk.text(issuer, "\"https://login.example.com\"");
    let audience = walk.text(audience, "\"switchboard\"");
    let algorithm = walk.choice(algorithm, &algorithms);
    let role = walk.text(role, "\"role\"").unwrap_or("role");
    let secret = walk.secret(key, "\"$file:jwt.pem\"");
    let jwt = Jwt {
        issuer: issuer?.to_owned(),
        audience: audience?.to_owned(),
        algorithm: algorithm?,
        key: Secret(secret?),
        role: role.to_owned(),
    };
    places.jwt.push(key?.span.clone());
    Some(jwt)
}

fn roles(walk: &mut Walk<'_>, top: &mut Table<'_>) -> Vec<Role> {
    let mut list = Vec::new();
    for entry in walk.section(top, "roles").named() {
        if entry.key == "admin" {
            walk.fault(
                Fault::new("SB0113", "the role `admin` is built in: it may do everything")
                    .at(entry.key_span.clone())
                    .help("give this one another name"),
            );
        }
        let mut table = walk.table(&entry.node, "roles.*".to_owned());
        let role = Role {
            name: entry.key.clone(),
            publish: walk.patterns(table.get("publish"), resource),
            read: walk.patterns(table.get("read"), resource),
            consume: walk.patterns(table.get("consume"), resource),
            call: walk.patterns(table.get("call"), resource),
            serve: walk.patterns(table.get("serve"), resource),
            manage: walk.patterns(table.get("manage"), resource),
            admin: walk.flag(table.get("admin")).unwrap_or(false),
        };
        walk.finish(table);
        list.push(role);
    }
    list
}

/// What a role may be given: a pattern over addresses (`orders.>`) or over methods (`code.v1.Runner/*`).
fn resource(text: &str) -> Result<(), String> {
    match text.split_once('/') {
        Some((service, method)) if !method.contains('/') => {
            units::pattern(service).map_err(|why| format!("in the service: {why}"))?;
            units::pattern(method).map(|_| ()).map_err(|why| format!("in the method: {why}"))
        }
        _ => units::pattern(text).map(|_| ()),
    }
}

fn echo(walk: &mut Walk<'_>, top: &mut Table<'_>) -> bool {
    let mut table = walk.section(top, "echo");
    let enabled = walk.flag(table.get("enabled")).unwrap_or(false);
    walk.finish(table);
    enabled
}
