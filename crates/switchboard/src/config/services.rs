//! `[services]`: methods that workers serve, and services that have a description and perhaps a target.

use std::path::PathBuf;
use std::time::Duration;

use sb_board::mount::{Balance, Health, Target};

use super::fault::Fault;
use super::model::*;
use super::read::{Places, fault_at, is_service, is_word};
use super::tree::{Entry, Node, Value};
use super::units;
use super::walk::{Table, Walk};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The protocols that a service can be limited to.
pub const PROTOCOLS: [&str; 8] =
    ["rest", "grpc", "grpc-web", "connect", "graphql", "json-rpc", "thrift", "mcp"];

/// Reads the section: methods without a description, and described services.
pub fn read(walk: &mut Walk<'_>, top: &mut Table<'_>, places: &mut Places) -> (Vec<Method>, Vec<Service>) {
    let default = Job::default();
    let (mut methods, mut services) = (Vec::new(), Vec::new());
    for entry in walk.section(top, "services").named() {
        let mut table = walk.table(&entry.node, "services.*".to_owned());
        let topic = walk.name(table.get("topic")).map(str::to_owned);
        let mut job_table = walk.section(&mut table, "job");
        let job = job(walk, &mut job_table, &default);
        walk.finish(job_table);
        let names = table.get("methods");
        if let Some(service) = described(walk, entry, &mut table, topic.clone(), job.clone(), places) {
            if let Some(node) = names {
                fault_at(
                    walk,
                    node,
                    "a described service has the methods of its description: leave `methods` out",
                );
            }
            services.push(service);
        } else {
            undescribed(walk, entry, names, topic.as_deref(), &job, places, &mut methods);
        }
        walk.finish(table);
    }
    (methods, services)
}

/// A service with a target or a description. `None` when it has neither.
fn described(
    walk: &mut Walk<'_>,
    entry: &Entry,
    table: &mut Table<'_>,
    topic: Option<String>,
    job: Job,
    places: &mut Places,
) -> Option<Service> {
    let (target_node, proto_node) = (table.get("target"), table.get("proto"));
    let target = walk.text(target_node, "\"grpc://127.0.0.1:50051\"").map(str::to_owned);
    if let (Some(text), Some(node)) = (&target, target_node)
        && !text.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
    {
        fault_at(walk, node, format!("`{text}` is not a target: it has the form scheme://host:port"));
    }
    let paths = |walk: &mut Walk<'_>, node: Option<&Node>| -> Vec<PathBuf> {
        let mut found = Vec::new();
        for item in walk.items(node, "[\"proto/shop.proto\"]") {
            let Some(path) = walk.path(Some(item), "\"proto/shop.proto\"") else { continue };
            if path.exists() {
                found.push(path);
            } else {
                walk.fault(
                    Fault::new("SB0110", format!("{} does not exist", path.display())).at(item.span.clone()),
                );
            }
        }
        found
    };
    let protos = paths(walk, proto_node);
    let imports = paths(walk, table.get("imports"));
    let mut words = |walk: &mut Walk<'_>, key: &'static str, example: &str| {
        let node = table.get(key);
        let mut list = Vec::new();
        for item in walk.items(node, example) {
            if let Some(text) = walk.text(Some(item), example) {
                list.push((text.to_owned(), item.span.clone()));
            }
        }
        (node.is_some(), list)
    };
    let (_, only) = words(walk, "services", "[\"shop.v1.Shop\"]");
    let (shown_given, shown) = words(walk, "as", "[\"rest\", \"grpc\"]");
    for (name, span) in &shown {
        if !PROTOCOLS.contains(&name.as_str()) {
            let mut fault =
                Fault::new("SB0102", format!("`{name}` is not a protocol a service can be called over"))
                    .at(span.clone());
            if let Some(near) = units::nearest(name, PROTOCOLS).first() {
                fault = fault.help(format!("did you mean `{near}`?"));
            }
            walk.fault(fault.help(format!("allowed: {}", PROTOCOLS.join(", "))));
        }
    }
    let reach = reach(walk, table, true);
    let asks_hedge = table.get("hedge").is_some();
    let mut hedge = walk.section(table, "hedge");
    let after = walk.duration(hedge.get("after"), Duration::from_millis(1)..=Duration::from_secs(60));
    let max = walk.count(hedge.get("max"), 2..=5).unwrap_or(2);
    if asks_hedge && after.is_none() {
        walk.fault(
            Fault::new("SB0112", "`after` is missing in hedge")
                .at(hedge.span.clone())
                .help("add  after = \"50ms\", about what 95 of 100 calls take at most"),
        );
    }
    walk.finish(hedge);
    let hedge = after.map(|after| sb_board::call::Hedge { after, max });
    let service = Service {
        name: entry.key.clone(),
        target,
        ca: reach.ca,
        identity: reach.identity,
        server_name: reach.server_name,
        protos,
        imports,
        only: only.into_iter().map(|(name, _)| name).collect(),
        shown: shown_given.then(|| shown.into_iter().map(|(name, _)| name).collect()),
        topic,
        job,
        timeout: walk.duration(table.get("timeout"), Duration::from_millis(1)..=HOUR * 24),
        int64_numbers: walk
            .choice(table.get("int64"), &[("string", false), ("number", true)])
            .unwrap_or(false),
        show_defaults: walk.flag(table.get("show_defaults")).unwrap_or(false),
        balance: reach.balance,
        health: reach.health,
        max_running: reach.max_running,
        hedge,
    };
    if target_node.is_none() && proto_node.is_none() {
        return None;
    }
    if !entry.key.split('.').all(is_word) {
        walk.fault(
            Fault::new("SB0102", format!("`{}` is not the name of a service", entry.key))
                .at(entry.key_span.clone())
                .help("letters, digits, `_` and dots: [services.shop] or [services.\"shop.v1.Shop\"]"),
        );
    }
    if service.target.is_some() && service.topic.is_some() {
        walk.fault(
            Fault::new("SB0102", format!("`{}` has a target and a topic: who serves it?", entry.key))
                .at(entry.key_span.clone())
                .help("a target calls another server, a topic lets workers take the work: keep one of them"),
        );
    }
    places.services.push(entry.key_span.clone());
    Some(service)
}

/// How a target is reached: what services and subgraphs have in common.
pub struct Reach {
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    server_name: Option<String>,
    balance: Balance,
    health: Health,
    max_running: u32,
}

impl Reach {
    /// The target at this URL.
    pub fn target(self, url: &str) -> Target {
        Target {
            url: url.to_owned(),
            ca: self.ca,
            identity: self.identity,
            server_name: self.server_name,
            balance: self.balance,
            health: self.health,
            max_running: self.max_running as usize,
            connect_ms: 0,
        }
    }
}

/// Reads how a target is reached. `grpc`: whether its health can be asked by gRPC.
pub fn reach(walk: &mut Walk<'_>, table: &mut Table<'_>, grpc: bool) -> Reach {
    let health_node = table.get("health");
    let health = walk.text(health_node, "\"/healthz\"").and_then(|text| match text {
        "none" => Some(Health::None),
        "grpc" if grpc => Some(Health::Grpc(String::new())),
        path if path.starts_with('/') => Some(Health::Http(path.to_owned())),
        _ => match text.strip_prefix("grpc:").filter(|_| grpc) {
            Some(service) => Some(Health::Grpc(service.to_owned())),
            None => {
                if let Some(node) = health_node {
                    let ways = if grpc { "none, grpc, grpc:SERVICE, or a /path" } else { "none, or a /path" };
                    fault_at(walk, node, format!("`{text}` is no way to check health: {ways}"));
                }
                None
            }
        },
    });
    let mut tls = walk.section(table, "tls");
    let file = |walk: &mut Walk<'_>, node: Option<&Node>| walk.path(node, "\"ca.pem\"");
    let ca = file(walk, tls.get("ca"));
    let cert = file(walk, tls.get("cert"));
    let key = file(walk, tls.get("key"));
    let server_name = walk.text(tls.get("server_name"), "\"shop.internal\"").map(str::to_owned);
    if cert.is_some() != key.is_some() {
        walk.fault(
            Fault::new("SB0112", "a certificate needs its key, and a key its certificate")
                .at(tls.span.clone()),
        );
    }
    walk.finish(tls);
    let balances = [("round_robin", Balance::RoundRobin), ("least_request", Balance::LeastRequest)];
    Reach {
        ca,
        identity: cert.zip(key),
        server_name,
        balance: walk.choice(table.get("balance"), &balances).unwrap_or_default(),
        health: health.unwrap_or_default(),
        max_running: walk.count(table.get("max_running"), 1..=1_000_000).unwrap_or(1_024),
    }
}

/// A service that only has names of methods, which workers serve.
fn undescribed(
    walk: &mut Walk<'_>,
    entry: &Entry,
    methods: Option<&Node>,
    topic: Option<&str>,
    service_job: &Job,
    places: &mut Places,
    list: &mut Vec<Method>,
) {
    if !is_service(&entry.key) {
        walk.fault(
            Fault::new("SB0102", format!("`{}` is not the name of a service", entry.key))
                .at(entry.key_span.clone())
                .help("a service has a package and a name, in quotes: [services.\"code.v1.Runner\"]"),
        );
    }
    let items = walk.items(methods, "[\"Run\"]");
    if items.is_empty() && !matches!(methods.map(|m| &m.value), Some(v) if !matches!(v, Value::Array(_))) {
        walk.fault(
            Fault::new("SB0112", format!("the service `{}` has no methods", entry.key))
                .at(methods.map_or(entry.node.span.clone(), |m| m.span.clone()))
                .help("add  methods = [\"Run\"], or describe it:  proto = \"FILE.proto\"  or  target = \"grpc://HOST:PORT\""),
        );
    }
    for item in items {
        let method = method(walk, item, &entry.key, topic, service_job);
        let Some(method) = method else { continue };
        if list.iter().any(|m| m.service == method.service && m.name == method.name) {
            walk.fault(
                Fault::new("SB0113", format!("the method `{}` is listed twice", method.name))
                    .at(item.span.clone()),
            );
            continue;
        }
        places.methods.push(item.span.clone());
        list.push(method);
    }
}

fn job(walk: &mut Walk<'_>, table: &mut Table<'_>, default: &Job) -> Job {
    Job {
        timeout: walk.duration(table.get("timeout"), SECOND..=DAY * 30).unwrap_or(default.timeout),
        attempts: walk.count(table.get("attempts"), 1..=1000).unwrap_or(default.attempts),
        keep_result: walk
            .duration(table.get("keep_result"), SECOND..=DAY * 366)
            .unwrap_or(default.keep_result),
        lease: walk.duration(table.get("lease"), SECOND..=HOUR * 12).unwrap_or(default.lease),
        backoff: walk.duration(table.get("backoff"), Duration::ZERO..=DAY).unwrap_or(default.backoff),
    }
}

/// A method is its name, or a table with its name and what differs from the service.
fn method(
    walk: &mut Walk<'_>,
    item: &Node,
    service: &str,
    topic: Option<&str>,
    service_job: &Job,
) -> Option<Method> {
    let (name_node, topic, job) = match &item.value {
        Value::Text(_) => (Some(item), topic.map(str::to_owned), service_job.clone()),
        Value::Table(_) => {
            let mut table = walk.table(item, "services.*.methods.*".to_owned());
            let name = table.get("name");
            let own = walk.name(table.get("topic")).map(str::to_owned);
            let job = job(walk, &mut table, service_job);
            walk.finish(table);
            if name.is_none() {
                walk.fault(
                    Fault::new("SB0112", "`name` is missing in a method")
                        .at(item.span.clone())
                        .help("add  name = \"Run\""),
                );
            }
            (name, own.or_else(|| topic.map(str::to_owned)), job)
        }
        other => {
            fault_at(walk, item, format!("expected the name of a method or a table, found {}", other.kind()));
            return None;
        }
    };
    let name = walk.text(name_node, "\"Run\"")?;
    if !is_word(name) {
        walk.fault(
            Fault::new("SB0102", format!("`{name}` is not the name of a method"))
                .at(name_node?.span.clone())
                .help("letters, digits and `_`, beginning with a letter, without the service: \"Run\""),
        );
        return None;
    }
    let topic = topic.unwrap_or_else(|| format!("{service}.{name}"));
    Some(Method { service: service.to_owned(), name: name.to_owned(), topic, job })
}
