//! Seeded faults: each must be found at its line and column, with its code.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

fn env(name: &str) -> Option<String> {
    match name {
        "SHOP_KEY" => Some("shop-secret".to_owned()),
        "OTHER_KEY" => Some("other-secret".to_owned()),
        "LONG" => Some("0123456789012345678901234567890123456789".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn origin(text: &str) -> Origin {
    let mut origin = Origin { engine: Some(Engine::Memory), ..Origin::default() };
    origin.sources.push("switchboard.toml", text);
    origin
}

fn faults(text: &str) -> Faults {
    match load(origin(text), &env) {
        Ok((_, warnings)) => warnings,
        Err(faults) => faults,
    }
}

const RSA: &str = "-----BEGIN PUBLIC KEY-----\\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJB\\n-----END PUBLIC KEY-----";
const EC: &str =
    "-----BEGIN PUBLIC KEY-----\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\\n-----END PUBLIC KEY-----";

/// Each case: the text, then the code, line and column of the fault that must be found.
#[test]
fn every_seeded_fault_has_its_place() {
    let jwt = |algorithm: &str, key: &str| {
        format!(
            "[[auth.jwt]]\nissuer = \"i\"\naudience = \"a\"\nalgorithm = \"{algorithm}\"\nkey = \"{key}\""
        )
    };
    let cases: Vec<(String, &str, usize, usize)> = [
        ("listen = [", "SB0101", 1, 11),
        ("a = 1\na = 2", "SB0101", 2, 1),
        ("engine = 'memory'\nlimits = {", "SB0101", 2, 11),
        ("liten = []", "SB0101", 1, 1),
        ("\n[http]\norigin = []", "SB0101", 3, 1),
        ("[topics.orders]\npartition = 3", "SB0101", 2, 1),
        ("[topics.orders.eu]\nkeep_age = '1d'", "SB0101", 1, 16),
        ("[topics.a.groups.g]\nleese = '1s'", "SB0101", 2, 1),
        ("[limits]\nmesage = 1", "SB0101", 2, 1),
        ("[services.'a.B']\nmethods = ['Run']\njob = { retries = 3 }", "SB0101", 3, 9),
        ("[roles.reader]\nreads = ['a']", "SB0101", 2, 1),
        ("[echo]\non = true", "SB0101", 2, 1),
        ("[routes]\n'GET /x' = { pattern = 'a' }", "SB0101", 2, 14),
        ("[auth]\nkeys = { shop = { key = '$SHOP_KEY', rolle = 'admin' } }", "SB0101", 2, 38),
        ("listen = 7070", "SB0102", 1, 10),
        ("listen = ['127.0.0.1:7070']", "SB0102", 1, 11),
        ("listen = ['http://127.0.0.1:7070',\n  'kafka://127.0.0.1:9092']", "SB0102", 2, 3),
        ("listen = ['http://127.0.0.1']", "SB0102", 1, 11),
        ("listen = ['http://127.0.0.1:70700']", "SB0102", 1, 11),
        ("listen = ['http://example.com:80']", "SB0102", 1, 11),
        ("listen = []", "SB0102", 1, 10),
        ("engine = 'disc:/x'", "SB0102", 1, 10),
        ("engine = true", "SB0102", 1, 10),
        ("public_url = 'sb.example.com'", "SB0102", 1, 14),
        ("[http]\nwait_max = '1 minute'", "SB0102", 2, 12),
        ("[http]\nwait_max = '2d'", "SB0102", 2, 12),
        ("[http]\norigins = ['https://*.example.com']", "SB0102", 2, 12),
        ("[http]\norigins = ['https://a.example/path']", "SB0102", 2, 12),
        ("[http]\ncors = 'yes'", "SB0102", 2, 8),
        ("[limits]\nmessage = '65MiB'", "SB0102", 2, 11),
        ("[limits]\nmessage = '2MiB'\nrequest = '1MiB'", "SB0102", 3, 11),
        ("[limits]\nconnections = 0", "SB0102", 2, 15),
        ("[limits]\nmemory = 1.5", "SB0102", 2, 10),
        ("[topics.orders]\npartitions = -1", "SB0102", 2, 14),
        ("[topics.orders]\nkeep_age = 2026-11-20", "SB0102", 2, 12),
        ("[topics.'.orders']\nkeep_age = '1d'", "SB0102", 1, 9),
        ("[topics.orders]\nclaims = ['orders.>.x']", "SB0102", 2, 11),
        ("[topics.a.groups.g]\nmode = 'que'", "SB0102", 2, 8),
        ("[topics.a.groups.g]\nstart = 'beginning'", "SB0102", 2, 9),
        ("[topics.a.groups.g]\nlease = '1ms'", "SB0102", 2, 9),
        ("[topics.a.groups.g]\norder = 'fifo'", "SB0102", 2, 9),
        ("[topics]\norders = 3", "SB0102", 2, 10),
        ("[services.Runner]\nmethods = ['Run']", "SB0102", 1, 11),
        ("[services.'a.B']\nmethods = ['a.B/Run']", "SB0102", 2, 12),
        ("[services.'a.B']\nmethods = []", "SB0112", 2, 11),
        ("[graphql.joins]\n'User.posts' = { pick = 'x' }", "SB0112", 2, 1),
        ("[graphql]\nlimits = { depth = 100 }", "SB0102", 2, 20),
        ("[graphql.gateway]\nforward = []", "SB0112", 1, 1),
        ("[graphql.gateway]\nsupergraph = 'nowhere.graphql'", "SB0110", 2, 14),
        ("[graphql.gateway]\nsupergraph = 'Cargo.toml'", "SB0117", 2, 14),
        ("[graphql]\ngateway = { subgraphs = { a = 'grpc://h:1' } }", "SB0102", 2, 31),
        ("[graphql]\ngateway = { subgraphs = { a = { timeout = '1s' } } }", "SB0112", 2, 27),
        ("[graphql.gateway]\nforward = ['Host']", "SB0102", 2, 12),
        ("[graphql.gateway]\nforward = ['a b']", "SB0102", 2, 12),
        ("[services.a]\ntarget = 'localhost'", "SB0102", 2, 10),
        ("[services.a]\nproto = 'nowhere.proto'", "SB0110", 2, 9),
        ("[services.a]\ntarget = 'grpc://h:1'\nas = ['grcp']", "SB0102", 3, 7),
        ("[services.a]\ntarget = 'grpc://h:1'\nhealth = 'tcp'", "SB0102", 3, 10),
        ("[services.a]\ntarget = 'grpc://h:1'\nmethods = ['Run']", "SB0102", 3, 11),
        ("[services.a]\ntarget = 'grpc://h:1'\ntopic = 't'", "SB0102", 1, 11),
        ("[services.'a.B']\nmethods = ['X', 'X']", "SB0113", 2, 17),
        ("[routes]\n'/api' = 'a.B/Run'", "SB0102", 2, 1),
        ("[routes]\n'post /api' = 'a.B/Run'", "SB0102", 2, 1),
        ("[routes]\n'GET /api/{id}' = 'a.B/Run'", "SB0102", 2, 1),
        ("[routes]\n'GET /api' = 'Run'", "SB0102", 2, 14),
        ("[routes]\n'POST /api' = { topic = 'orders' }", "SB0102", 2, 1),
        ("[routes]\n'GET /api' = { }", "SB0112", 2, 14),
        ("[routes]\n'GET /topics/mine' = { topic = 'orders' }", "SB0108", 2, 1),
        ("[routes]\n'GET /jobs' = 'a.B/Run'", "SB0108", 2, 1),
        ("[routes]\n'POST /a.B/Run' = 'a.B/Other'", "SB0108", 2, 1),
        ("[routes]\n'GET /x' = 'a.B/Run'\n'GET /x/' = 'a.B/Run'", "SB0108", 3, 1),
        ("[services.'a.B']\nmethods = ['Run']\n[routes]\n'POST /x' = 'a.B/Rum'", "SB0108", 4, 13),
        ("[static]\npublic = '.'", "SB0102", 2, 1),
        ("[static]\n'/' = 'no-such-folder'", "SB0110", 2, 7),
        ("[tls]\ncert = 'no-such.pem'\nkey = 'Cargo.toml'", "SB0110", 2, 8),
        ("[tls]\ncert = 'Cargo.toml'", "SB0112", 1, 1),
        ("listen = ['https://127.0.0.1:7443']", "SB0112", 1, 11),
        ("listen = ['http://0.0.0.0:7070']", "SB0104", 1, 11),
        ("\nlisten = ['http://127.0.0.1:1', 'http://:7070']", "SB0104", 2, 33),
        ("listen = ['http://127.0.0.1:1', 'http://127.0.0.1:1']", "SB0113", 1, 33),
        ("[auth]\nkeys = { shop = '$NO_SUCH' }", "SB0103", 2, 17),
        ("[auth]\nkeys = { shop = '$EMPTY' }", "SB0103", 2, 17),
        ("[auth]\nkeys = { shop = '$file:/no/such/file' }", "SB0103", 2, 17),
        ("[auth]\nkeys = { shop = 'in-clear' }", "SB0111", 2, 17),
        ("[auth.keys]\na = '$SHOP_KEY'\nb = '$SHOP_KEY'", "SB0113", 3, 5),
        ("[auth]\nkeys = { shop = { key = '$SHOP_KEY', role = 'raeder' } }\n[roles.reader]", "SB0107", 2, 45),
        ("[auth]\nkeys = { shop = '$SHOP_KEY' }\n[roles.reader]", "SB0107", 2, 10),
        ("[roles.admin]\nread = ['#']", "SB0113", 1, 8),
        ("[roles.reader]\nread = ['a b']", "SB0102", 2, 9),
        ("[[auth.jwt]]\nissuer = 'i'\naudience = 'a'\nkey = '$LONG'", "SB0112", 1, 1),
        ("listen = ['http://0.0.0.0:7070']\n[auth]\nkeys = { shop = '$SHOP_KEY' }", "SB0114", 1, 11),
        ("[topics.a]\nclaims = ['orders.>']\n[topics.b]\nclaims = ['x', '*.eu']", "SB0106", 4, 16),
        ("[topics.a]\nclaims = ['orders.>']\n[topics.'orders.eu']", "SB0106", 3, 9),
        ("[topics.a]\nclaims = ['a.B.#']\n[services.'a.B']\nmethods = ['Run']", "SB0106", 4, 12),
        (
            "[topics.a]\nclaims = ['d.>']\n[topics.a.groups.g]\nattempts = 3\ndead_letter = 'd.x'",
            "SB0106",
            5,
            15,
        ),
        ("[topics.a.groups.g]\ndead_letter = 'd'", "SB0115", 2, 15),
    ]
    .into_iter()
    .map(|(text, code, line, column)| (text.to_owned(), code, line, column))
    .chain([
        (jwt("HS512", "$LONG"), "SB0102", 4, 13),
        (jwt("HS256", "$SHOP_KEY"), "SB0109", 5, 7),
        (jwt("HS256", RSA), "SB0109", 5, 7),
        (jwt("RS256", "$LONG"), "SB0109", 5, 7),
        (jwt("RS256", EC), "SB0109", 5, 7),
        (jwt("ES256", RSA), "SB0109", 5, 7),
        (jwt("EdDSA", RSA), "SB0109", 5, 7),
    ])
    .collect();
    assert!(cases.len() >= 60);
    for (text, code, line, column) in cases {
        let faults = faults(&text);
        let found: Vec<_> = faults
            .list
            .iter()
            .map(|f| (f.code, faults.place(f).map_or((0, 0), |p| (p.line, p.column)), f.title.as_str()))
            .collect();
        assert!(
            found.iter().any(|(c, place, _)| *c == code && *place == (line, column)),
            "wanted {code} at {line}:{column}, found {found:?} in\n{text}"
        );
        let shown = faults.render(false);
        assert!(shown.contains(&format!("({code})")) && shown.contains("switchboard.toml:"), "{shown}");
    }
}

#[test]
fn right_keys_of_each_algorithm_pass() {
    for (algorithm, key) in [("HS256", "$LONG"), ("RS256", RSA), ("ES256", EC)] {
        let text =
            format!("[[auth.jwt]]\nissuer = 'i'\naudience = 'a'\nalgorithm = '{algorithm}'\nkey = \"{key}\"");
        let (config, _) = load(origin(&text), &env).unwrap_or_else(|f| panic!("{}", f.render(false)));
        assert_eq!(config.auth.jwt[0].role, "role");
    }
}

#[test]
fn several_faults_are_reported_together_in_order() {
    let faults = faults(
        "liten = []\n[limits]\nmessage = 'big'\n[http]\ncors = 1\n[topics.a]\nclaims = ['b.>']\n[topics.'b.c']",
    );
    let codes: Vec<&str> = faults.list.iter().map(|f| f.code).collect();
    assert_eq!(codes, ["SB0101", "SB0102", "SB0102", "SB0106"]);
}

#[test]
fn a_fault_is_shown_with_its_line_underlined_and_the_fix() {
    let shown = faults("# here\nlisten = [\"http://0.0.0.0:9092\"]\n").render(false);
    assert!(
        shown.starts_with("error: nothing may listen on 0.0.0.0:9092 without a login (SB0104)"),
        "{shown}"
    );
    for part in [
        "--> switchboard.toml:2:11",
        "listen = [\"http://0.0.0.0:9092\"]",
        "^^^^^^^^^^^^^^^^^^^^^",
        "--insecure",
        "[auth] keys",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let shown = faults("liten = []").render(false);
    assert!(
        shown.contains("did you mean `listen`?") && shown.contains("allowed: auth, echo, engine"),
        "{shown}"
    );
}

#[test]
fn insecure_is_the_third_way_out() {
    let mut origin = origin("listen = ['http://0.0.0.0:7070']");
    origin.insecure = true;
    let (config, faults) = load(origin, &env).unwrap();
    assert!(config.insecure && faults.list.is_empty());
}

#[test]
fn defaults_are_filled_in() {
    let (config, warnings) = load(origin(""), &env).unwrap();
    assert!(warnings.list.is_empty());
    assert_eq!(config.listen[0].addr.to_string(), "127.0.0.1:7070");
    assert_eq!(config.limits.message, 1 << 20);
    assert_eq!(config.limits.request, 8 << 20);
    assert_eq!(config.http.wait_max, Duration::from_secs(60));
    assert!(!config.auth.configured() && !config.echo);
    let missing = load(Origin { engine: None, ..origin("") }, &env).unwrap_err();
    assert_eq!(missing.list[0].code, "SB0112");
    let (_, checked) = load(Origin { engine: None, only_check: true, ..origin("") }, &env).unwrap();
    assert!(checked.list[0].warning);
}

#[test]
fn later_texts_win_and_their_faults_name_them() {
    let mut origin = origin("engine = 'disk:data'\n[topics.a]\nkeep_age = '1d'");
    origin.base = Some("/srv".into());
    origin.sources.push("--set", set_text("topics.a.keep_age=2d").unwrap());
    origin.sources.push("--set", set_text("public_url=https://sb.example.com/").unwrap());
    let (config, _) = load(origin, &env).unwrap();
    assert_eq!(config.engine, Engine::Disk("/srv/data".into()));
    assert_eq!(config.topics[0].keep_age, Some(Duration::from_secs(2 * 86_400)));
    assert_eq!(config.public_url.as_deref(), Some("https://sb.example.com"));

    let mut origin = Origin { engine: Some(Engine::Memory), ..Origin::default() };
    origin.sources.push("switchboard.toml", "engine = 'memory'\n");
    origin.sources.push("--set", set_text("limits.message=lots").unwrap());
    let faults = load(origin, &env).unwrap_err();
    let place = faults.place(&faults.list[0]).unwrap();
    assert_eq!((place.file.as_str(), place.line, place.column), ("--set", 1, 18));
    assert!(set_text("nothing").is_err() && set_text("a b=c").is_err() && set_text("x=1\ny=2").is_ok());
}

/// Uses every section and both forms of what has two.
const WHOLE: &str = r##"
listen = ["http://127.0.0.1:7070"]
engine = "memory"
public_url = "http://localhost:7070"
[tls]
cert = "Cargo.toml"
key = "Cargo.toml"
[http]
origins = ["https://app.example.com"]
wait_max = "30s"
heartbeat = 10
cors = true
[limits]
message = "2MiB"
request = "16MiB"
memory = "256MiB"
connections = 1000
headers = "32KiB"
[topics."orders.eu"]
partitions = 4
keep_age = "7d"
keep_bytes = "1GiB"
claims = ["orders.eu.>"]
max_message = 1000
memory = false
keep_until_consumed = true
[topics."orders.eu".groups.billing]
mode = "queue"
start = "-1h"
lease = "1m"
attempts = 5
dead_letter = "orders.dead"
backoff = "5s"
order = "key"
[services."code.v1.Runner"]
methods = ["Run", { name = "Stop", timeout = "5s", topic = "stops" }]
job = { timeout = "1m", attempts = 2, keep_result = "1h", lease = "10s", backoff = "0s" }
[services.shop]
target = "grpc://127.0.0.1:50051,127.0.0.1:50052"
proto = "src"
imports = ["src"]
services = ["shop.v1.Shop"]
as = ["rest", "grpc"]
timeout = "10s"
int64 = "number"
show_defaults = true
balance = "least_request"
health = "grpc:shop.v1.Shop"
max_running = 100
hedge = { after = "50ms", max = 3 }
tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem", server_name = "shop" }
[graphql]
introspection = false
batching = true
persisted = true
timeout = "10s"
limits = { depth = 5, complexity = 100, aliases = 1, directives = 2, root_fields = 3, tokens = 4, batch = 5, items = 6, calls = 7, bytes = 8, subscriptions = 9 }
[graphql.joins]
"User.posts" = { call = "blog.v1.Posts/ListPosts", args = { user_id = "id" }, pick = "posts", batch = { list = "ids", key = "id", many = true } }
[graphql.entities]
User = { key = "id", call = "user.v1.Users/GetUser", args = { id = "id" }, pick = "user", batch = { list = "ids", key = "id", many = false } }
[graphql.gateway]
supergraph = "../../protocols/graphql/tests/common/supergraph.graphql"
forward = ["Authorization", "x-tenant"]
[graphql.gateway.subgraphs]
products = "self"
[graphql.gateway.subgraphs.reviews]
target = "https://a:4000,b/graphql"
timeout = "5s"
balance = "least_request"
health = "/healthz"
max_running = 10
tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem", server_name = "reviews" }
[routes]
"POST /api/execute" = "code.v1.Runner/Run"
"GET /events" = { topic = "orders.>" }
[static]
"/" = "src"
[auth]
keys = { shop = "$SHOP_KEY", other = { key = "$OTHER_KEY", role = "admin" } }
[[auth.jwt]]
issuer = "https://login.example.com"
audience = "switchboard"
algorithm = "HS256"
key = "$LONG"
role = "https://example.com/role"
[roles.shop]
publish = ["orders.>"]
read = "orders.#"
consume = ["orders.*"]
call = ["code.v1.Runner/*"]
serve = ["#"]
manage = []
admin = false
[echo]
enabled = true
"##;

#[test]
fn a_whole_configuration_is_read() {
    let (config, warnings) = load(origin(WHOLE), &env).unwrap_or_else(|f| panic!("{}", f.render(false)));
    assert!(warnings.list.is_empty(), "{}", warnings.render(false));
    let topic = &config.topics[0];
    assert_eq!((topic.name.as_str(), topic.partitions, topic.keep_bytes), ("orders.eu", 4, Some(1 << 30)));
    let group = &topic.groups[0];
    assert_eq!(group.start, Start::Ago(Duration::from_secs(3600)));
    assert!(group.queue && group.by_key && group.attempts == 5);
    assert_eq!(config.methods[0].topic, "code.v1.Runner.Run");
    assert_eq!(config.methods[0].job.timeout, Duration::from_secs(60));
    assert_eq!((config.methods[1].topic.as_str(), config.methods[1].job.timeout.as_secs()), ("stops", 5));
    assert_eq!(config.methods[1].job.attempts, 2);
    assert_eq!(config.graphql.joins["User.posts"].args["user_id"], "id");
    assert_eq!((config.graphql.limits.depth, config.graphql.entities["User"].key.as_str()), (5, "id"));
    let gateway = config.gateway.as_ref().unwrap();
    assert_eq!(gateway.forward, ["authorization", "x-tenant"]);
    assert_eq!(gateway.subgraphs["products"], sb_graphql::Subgraph::Own);
    let sb_graphql::Subgraph::At { target, timeout } = &gateway.subgraphs["reviews"] else { panic!() };
    assert_eq!((target.max_running, target.server_name.as_deref()), (10, Some("reviews")));
    assert_eq!((target.url.as_str(), *timeout), ("https://a:4000,b/graphql", Some(Duration::from_secs(5))));
    let shop = &config.services[0];
    assert_eq!(shop.target.as_deref(), Some("grpc://127.0.0.1:50051,127.0.0.1:50052"));
    let hedge = sb_board::call::Hedge { after: Duration::from_millis(50), max: 3 };
    assert_eq!(shop.hedge, Some(hedge));
    assert_eq!((shop.only.len(), shop.shown.as_ref().map(Vec::len), shop.max_running), (1, Some(2), 100));
    assert_eq!(shop.health, sb_board::mount::Health::Grpc("shop.v1.Shop".into()));
    assert_eq!(config.auth.keys.iter().find(|k| k.name == "other").unwrap().role, "admin");
    assert!(!format!("{config:?}").contains("shop-secret"));
    assert_eq!(config.roles[0].read, ["orders.#"]);
    assert_eq!(config.routes.len(), 2);
}

#[test]
fn subgraphs_are_those_of_the_supergraph() {
    let file = "../../protocols/graphql/tests/common/supergraph.graphql";
    let text = format!(
        "[graphql.gateway]\nsupergraph = '{file}'\nsubgraphs = {{ review = 'self', products = {{ target = 'http://h', health = 'grpc' }} }}"
    );
    let shown = faults(&text).render(false);
    assert!(
        shown.contains("there is no subgraph `review`") && shown.contains("did you mean `reviews`?"),
        "{shown}"
    );
    assert!(shown.contains("none, or a /path") && shown.contains(":3:15"), "{shown}");
}

#[test]
fn a_key_without_any_roles_may_do_everything() {
    let (config, _) = load(origin("[auth]\nkeys = { shop = '$SHOP_KEY' }"), &env).unwrap();
    assert_eq!(config.auth.keys[0].role, "admin");
}

/// Collects the paths of all properties, names of the user's own as `*`.
fn properties(
    root: &serde_json::Value,
    schema: &serde_json::Value,
    path: &str,
    found: &mut BTreeSet<String>,
) {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        properties(root, &root["$defs"][name], path, found);
    }
    for part in schema["anyOf"].as_array().into_iter().flatten() {
        properties(root, part, path, found);
    }
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        found.insert(below(key));
        properties(root, inner, &below(key), found);
    }
    if schema["additionalProperties"].is_object() {
        properties(root, &schema["additionalProperties"], &below("*"), found);
    }
    if schema["items"].is_object() {
        properties(root, &schema["items"], &below("*"), found);
    }
}

#[test]
fn the_schema_names_exactly_the_keys_that_are_read() {
    let around = walk::Surroundings { env: &env, base: PathBuf::new() };
    let mut walk = walk::Walk::new(&around);
    let mut sources = Sources::default();
    sources.push("switchboard.toml", WHOLE);
    let tree = sources.tree(&mut walk.faults);
    read::config(&mut walk, &tree, None);
    let schema = schema::schema();
    let mut described = BTreeSet::new();
    properties(&schema, &schema, "", &mut described);
    assert_eq!(walk.known, described);
}

/// What the reference shows can be used as it is, but for the files and secrets of the reader's own.
#[test]
fn the_configuration_of_the_reference_is_right() {
    let reference = include_str!("../../../../docs/cli.md");
    let text = reference
        .split_once("```toml\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .map(|(text, _)| text)
        .unwrap();
    let faults = faults(text);
    let unexpected: Vec<_> = faults.list.iter().filter(|f| !["SB0110", "SB0103"].contains(&f.code)).collect();
    assert!(unexpected.is_empty() && text.contains("[echo]"), "{unexpected:?}");
}

/// Whatever is in the file, the answer is a list of faults that can be shown.
#[test]
fn nothing_in_the_text_makes_it_fall_over() {
    let odd = [
        "\u{0}",
        "é",
        "\u{1f980}",
        "\"",
        "'''",
        "[",
        "}",
        "=",
        "\r",
        "\u{202e}",
        "9999999999999999999",
        "0x",
    ];
    for (n, (at, _)) in WHOLE.char_indices().step_by(7).enumerate() {
        let piece = odd[n % odd.len()];
        let (before, after) = WHOLE.split_at(at);
        for text in [before.to_owned(), format!("{before}{piece}{after}"), format!("{before}{piece}")] {
            let faults = faults(&text);
            faults.render(true);
            faults.json();
        }
    }
}
