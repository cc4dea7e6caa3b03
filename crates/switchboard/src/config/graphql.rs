//! `[graphql]`: limits, joins across services, entities for federation; `gateway` is read beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use sb_graphql::{Batch, Entity, GatewaySettings, Join, Limits, MAX_DEPTH, Options};

use super::fault::Fault;
use super::read::fault_at;
use super::tree::{Entry, Node, Value};
use super::walk::{Table, Walk};

/// Reads the section.
pub fn read(walk: &mut Walk<'_>, top: &mut Table<'_>) -> (Options, Option<GatewaySettings>) {
    let mut table = walk.section(top, "graphql");
    let default = Options::default();
    let mut limits_table = walk.section(&mut table, "limits");
    let limits = limits(walk, &mut limits_table);
    walk.finish(limits_table);
    let mut joins = BTreeMap::new();
    for entry in walk.section(&mut table, "joins").named() {
        if entry.key.split('.').count() != 2 {
            walk.fault(
                Fault::new("SB0102", format!("`{}` is not a field of a type", entry.key))
                    .at(entry.key_span.clone())
                    .help("a join is named by type and field, in quotes: \"User.posts\" = { call = … }"),
            );
        }
        joins.insert(entry.key.clone(), join(walk, entry));
    }
    let mut entities = BTreeMap::new();
    for entry in walk.section(&mut table, "entities").named() {
        entities.insert(entry.key.clone(), entity(walk, entry));
    }
    let timeout = walk.duration(table.get("timeout"), Duration::from_millis(1)..=Duration::from_secs(3600));
    let options = Options {
        limits,
        introspection: walk.flag(table.get("introspection")).unwrap_or(default.introspection),
        batching: walk.flag(table.get("batching")).unwrap_or(default.batching),
        persisted: walk.flag(table.get("persisted")).unwrap_or(default.persisted),
        timeout_ms: timeout.map_or(default.timeout_ms, |t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
        joins,
        entities,
    };
    let gateway = super::gateway::read(walk, &mut table);
    walk.finish(table);
    (options, gateway)
}

fn limits(walk: &mut Walk<'_>, table: &mut Table<'_>) -> Limits {
    let default = Limits::default();
    let mut count = |key: &'static str, most: usize, default: usize| {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        walk.count(table.get(key), 1..=most).map_or(default, |n| n as usize)
    };
    Limits {
        depth: count("depth", MAX_DEPTH, default.depth),
        complexity: count("complexity", 10_000_000, default.complexity),
        aliases: count("aliases", 100_000, default.aliases),
        directives: count("directives", 1_000, default.directives),
        root_fields: count("root_fields", 10_000, default.root_fields),
        tokens: count("tokens", 1_000_000, default.tokens),
        batch: count("batch", 1_000, default.batch),
        items: count("items", 10_000_000, default.items),
        calls: count("calls", 1_000_000, default.calls),
        bytes: count("bytes", 1 << 30, default.bytes),
        subscriptions: count("subscriptions", 100_000, default.subscriptions),
    }
}

fn join(walk: &mut Walk<'_>, entry: &Entry) -> Join {
    let mut table = walk.table(&entry.node, "graphql.joins.*".to_owned());
    let node = table.get("call");
    let join = Join {
        call: call(walk, node).unwrap_or_default(),
        args: pairs(walk, table.get("args")),
        pick: walk.text(table.get("pick"), "\"posts\"").map(str::to_owned),
        batch: batch(walk, &mut table, "graphql.joins.*.batch"),
    };
    if node.is_none() {
        walk.fault(
            Fault::new("SB0112", format!("`call` is missing in the join `{}`", entry.key))
                .at(entry.key_span.clone())
                .help("add  call = \"blog.v1.Posts/ListPosts\""),
        );
    }
    walk.finish(table);
    join
}

fn entity(walk: &mut Walk<'_>, entry: &Entry) -> Entity {
    let mut table = walk.table(&entry.node, "graphql.entities.*".to_owned());
    let key = table.get("key");
    let node = table.get("call");
    let entity = Entity {
        key: walk.text(key, "\"id\"").map(str::to_owned).unwrap_or_default(),
        call: call(walk, node),
        args: pairs(walk, table.get("args")),
        pick: walk.text(table.get("pick"), "\"user\"").map(str::to_owned),
        batch: batch(walk, &mut table, "graphql.entities.*.batch"),
    };
    if key.is_none() {
        walk.fault(
            Fault::new("SB0112", format!("`key` is missing in the entity `{}`", entry.key))
                .at(entry.key_span.clone())
                .help("add  key = \"id\""),
        );
    }
    walk.finish(table);
    entity
}

/// `package.Service/Method`.
fn call(walk: &mut Walk<'_>, node: Option<&Node>) -> Option<String> {
    let text = walk.text(node, "\"blog.v1.Posts/ListPosts\"")?;
    if text
        .split_once('/')
        .is_none_or(|(service, method)| service.is_empty() || method.is_empty() || method.contains('/'))
        && let Some(node) = node
    {
        fault_at(walk, node, format!("`{text}` is not a method: package.Service/Method"));
    }
    Some(text.to_owned())
}

/// Names of fields with names of fields.
fn pairs(walk: &mut Walk<'_>, node: Option<&Node>) -> BTreeMap<String, String> {
    let Some(node) = node else { return BTreeMap::new() };
    if !matches!(node.value, Value::Table(_)) {
        fault_at(
            walk,
            node,
            format!("expected a table such as {{ user_id = \"id\" }}, found {}", node.value.kind()),
        );
        return BTreeMap::new();
    }
    let mut pairs = BTreeMap::new();
    for entry in walk.table(node, "graphql.joins.*.args".to_owned()).named() {
        if let Some(text) = walk.text(Some(&entry.node), "\"id\"") {
            pairs.insert(entry.key.clone(), text.to_owned());
        }
    }
    pairs
}

fn batch(walk: &mut Walk<'_>, table: &mut Table<'_>, path: &str) -> Option<Batch> {
    let node = table.get("batch")?;
    let mut inner = walk.table(node, path.to_owned());
    let (list, key) = (inner.get("list"), inner.get("key"));
    for (name, given) in [("list", list), ("key", key)] {
        if given.is_none() {
            walk.fault(Fault::new("SB0112", format!("`{name}` is missing in a batch")).at(node.span.clone()));
        }
    }
    let batch = Batch {
        list: walk.text(list, "\"ids\"").map(str::to_owned).unwrap_or_default(),
        key: walk.text(key, "\"id\"").map(str::to_owned).unwrap_or_default(),
        many: walk.flag(inner.get("many")).unwrap_or(false),
    };
    walk.finish(inner);
    Some(batch)
}
