//! The JSON Schema of the configuration file, for editors and for `switchboard schema`.
//!
//! These types only describe; the reading is done in `read`. A test holds the two together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// The schema as JSON.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

macro_rules! text_type {
    ($name:ident, $title:literal, $schema:tt) => {
        #[doc = $title]
        pub struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text_type!(Duration, "A duration: text with a unit, or seconds.", {
    "description": "A duration: 250ms, 30s, 10m, 1h, 7d, or a number of seconds.",
    "anyOf": [{ "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)?$" }, { "type": "integer", "minimum": 0 }]
});
text_type!(Size, "A size: text with a unit, or bytes.", {
    "description": "A size: 64KiB, 1MiB, 10GB, or a number of bytes.",
    "anyOf": [{ "type": "string", "pattern": "^[0-9]+ ?([kKmMgGtT]([iI]?[bB])?|[bB])?$" }, { "type": "integer", "minimum": 0 }]
});
text_type!(Name, "A name of a topic.", {
    "description": "A name of a topic or group.",
    "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
});
text_type!(Secret, "A secret.", {
    "description": "A secret: \"$NAME\" takes it from the environment, \"$file:/path\" from a file.",
    "type": "string", "minLength": 1
});
text_type!(Mode, "Mode of a group.", { "enum": ["queue", "cursor"] });
text_type!(Order, "Order of a group.", { "enum": ["none", "key"] });
text_type!(Int64, "64-bit integers in JSON.", { "enum": ["string", "number"] });
text_type!(Balance, "How an endpoint is chosen.", { "enum": ["round_robin", "least_request"] });
text_type!(Algorithm, "Algorithm of a JWT.", { "enum": ["HS256", "RS256", "ES256", "EdDSA"] });
text_type!(Start, "Where a group begins.", {
    "description": "start, end, offset:N, time:2026-11-20T10:00:00Z, or -1h.",
    "type": "string", "pattern": "^(start|end|offset:[0-9]+|time:.+|-[0-9]+(ms|s|m|h|d)?)$"
});

/// Patterns: an array, or one of them as a string.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Patterns {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// The configuration of Switchboard.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Switchboard configuration")]
pub struct Document {
    /// Addresses to listen on; `http://127.0.0.1:7070` by default.
    pub listen: Option<Patterns>,
    /// `disk:DIR` keeps messages in that folder, `memory` loses them at the end.
    pub engine: Option<String>,
    /// The address under which callers reach this server.
    pub public_url: Option<String>,
    /// Certificate and key for https listeners.
    pub tls: Option<Tls>,
    /// HTTP.
    pub http: Option<Http>,
    /// Limits.
    pub limits: Option<Limits>,
    /// Topics by name.
    pub topics: Option<BTreeMap<String, Topic>>,
    /// Services by name, `package.Service`.
    pub services: Option<BTreeMap<String, Service>>,
    /// GraphQL over all services.
    pub graphql: Option<Graphql>,
    /// Own paths: "METHOD /path" to a method or a topic.
    pub routes: Option<BTreeMap<String, Target>>,
    /// Folders to serve, by path.
    #[schemars(rename = "static")]
    pub statics: Option<BTreeMap<String, String>>,
    /// Who may come in. With nothing here only this machine may.
    pub auth: Option<Auth>,
    /// What each role may do.
    pub roles: Option<BTreeMap<String, Role>>,
    /// The echo protocol, for tests.
    pub echo: Option<Echo>,
}

/// `[tls]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain, relative to this file.
    pub cert: String,
    /// PEM file with the private key, relative to this file.
    pub key: String,
}

/// `[http]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Http {
    /// Origins that browsers may call from: scheme, host and port.
    pub origins: Option<Patterns>,
    /// Longest `Prefer: wait`; 60s by default.
    pub wait_max: Option<Duration>,
    /// Time between comments on a quiet event stream; 15s by default.
    pub heartbeat: Option<Duration>,
    /// Whether CORS is answered; true by default.
    pub cors: Option<bool>,
}

/// `[limits]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Limits {
    /// Largest body of a message; 1MiB by default, at most 64MiB.
    pub message: Option<Size>,
    /// Largest request with several messages; 8MiB by default.
    pub request: Option<Size>,
    /// Budget for what waits in memory; 512MiB by default.
    pub memory: Option<Size>,
    /// Most connections at a time; 16384 by default.
    pub connections: Option<u32>,
    /// Largest header list of a request; 64KiB by default.
    pub headers: Option<Size>,
}

/// `[topics.NAME]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Topic {
    /// How many partitions; 1 by default. Can grow, not shrink.
    pub partitions: Option<u32>,
    /// Messages older than this go.
    pub keep_age: Option<Duration>,
    /// The oldest go when there are more bytes than this.
    pub keep_bytes: Option<Size>,
    /// What every group has acknowledged goes.
    pub keep_until_consumed: Option<bool>,
    /// Largest body; `[limits] message` by default.
    pub max_message: Option<Size>,
    /// Kept in memory only. Cannot be changed later.
    pub memory: Option<bool>,
    /// Patterns that this topic takes beside its own name.
    pub claims: Option<Patterns>,
    /// Groups by name.
    pub groups: Option<BTreeMap<String, Group>>,
}

/// `[topics.NAME.groups.GROUP]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Group {
    /// `queue` hands out leases, `cursor` remembers a position.
    pub mode: Option<Mode>,
    /// Where a new group begins; `start` by default.
    pub start: Option<Start>,
    /// How long a delivery is leased; 30s by default.
    pub lease: Option<Duration>,
    /// How often a message is tried; 0, the default, is no limit.
    pub attempts: Option<u32>,
    /// Topic for messages that failed their last attempt.
    pub dead_letter: Option<Name>,
    /// Delay of an automatic return.
    pub backoff: Option<Duration>,
    /// `key` hands out messages of one key one at a time.
    pub order: Option<Order>,
}

/// `[services.NAME]`: either `methods` that workers serve, or a description (`proto`) and where calls go (`target`; workers without one).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Service {
    /// Its methods, when nothing describes it: names, or tables with what differs.
    pub methods: Option<OneOrMoreMethods>,
    /// The topic of its jobs; `Service.Method` by default.
    pub topic: Option<Name>,
    /// How its jobs run.
    pub job: Option<Job>,
    /// Where calls go: `grpc://host:port`, several hosts separated by commas.
    pub target: Option<String>,
    /// What describes it: `.proto` or `.thrift` files, compiled descriptor sets, folders. Without it the target is asked (reflection).
    pub proto: Option<Patterns>,
    /// Folders that `import` looks into, besides those of the files.
    pub imports: Option<Patterns>,
    /// Only these services of the description.
    pub services: Option<Patterns>,
    /// Protocols it can be called over; all by default.
    #[schemars(rename = "as")]
    pub shown: Option<Patterns>,
    /// The longest a call may take.
    pub timeout: Option<Duration>,
    /// 64-bit integers in JSON: `string` (ProtoJSON, the default) or `number`.
    pub int64: Option<Int64>,
    /// JSON shows fields that have their default value; false by default.
    pub show_defaults: Option<bool>,
    /// `round_robin` (default) or `least_request`.
    pub balance: Option<Balance>,
    /// How endpoints are checked: `none` (default), `grpc`, `grpc:SERVICE`, or a path that answers 2xx.
    pub health: Option<String>,
    /// Most calls that run at a time; 1024 by default.
    pub max_running: Option<u32>,
    /// Makes a slow call of a method that may be repeated once more beside the first; off by default.
    pub hedge: Option<Hedge>,
    /// How a target over TLS is trusted, and who we say we are.
    pub tls: Option<ClientTls>,
}

/// `hedge = {…}` of a service.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Hedge {
    /// Without an answer for so long, from 1 ms to 1 min.
    pub after: Duration,
    /// So many at once, with the first: 2 to 5; 2 by default.
    pub max: Option<u32>,
}

/// `tls = {…}` of a service.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ClientTls {
    /// PEM file of the authorities that are trusted; the public ones by default.
    pub ca: Option<String>,
    /// PEM file of our certificate.
    pub cert: Option<String>,
    /// PEM file of its key.
    pub key: Option<String>,
    /// The name the target's certificate is for, when it is not the host.
    pub server_name: Option<String>,
}

/// `[graphql]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Graphql {
    /// Whether the schema can be asked for; true by default.
    pub introspection: Option<bool>,
    /// Whether an array of operations is taken as one request; false by default.
    pub batching: Option<bool>,
    /// Whether operations may be named by their SHA-256 once they were sent whole; true by default.
    pub persisted: Option<bool>,
    /// The longest a query or mutation may take; 30s by default.
    pub timeout: Option<Duration>,
    /// What a request may ask for.
    pub limits: Option<GraphqlLimits>,
    /// Fields that another service answers, by "Type.field".
    pub joins: Option<BTreeMap<String, Join>>,
    /// Types that other subgraphs refer to, by name.
    pub entities: Option<BTreeMap<String, Entity>>,
    /// A gateway over existing GraphQL subgraphs, at /graphql/supergraph.
    pub gateway: Option<Gateway>,
}

/// `[graphql.gateway]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Gateway {
    /// The supergraph that Apollo's composition wrote, relative to this file.
    pub supergraph: String,
    /// Where subgraphs are, by name; those that are not here are at the URLs in the supergraph.
    pub subgraphs: Option<BTreeMap<String, Subgraph>>,
    /// Headers of the caller that go to subgraphs although they are kept back otherwise, such as `authorization`.
    pub forward: Option<Patterns>,
}

/// A subgraph: its URL, `self` for the services of this server, or a table.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Subgraph {
    /// Its URL, or `self`.
    Url(String),
    /// Its URL, and how it is reached.
    Table(SubgraphTable),
}

/// A subgraph and how it is reached.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SubgraphTable {
    /// Its URL, `http://host:port/graphql`, several hosts separated by commas.
    pub target: String,
    /// The longest one request to it may take.
    pub timeout: Option<Duration>,
    /// `round_robin` (default) or `least_request`.
    pub balance: Option<Balance>,
    /// How endpoints are checked: `none` (default), or a path that answers 2xx.
    pub health: Option<String>,
    /// Most requests that run at a time; 1024 by default.
    pub max_running: Option<u32>,
    /// How a target over TLS is trusted, and who we say we are.
    pub tls: Option<ClientTls>,
}

/// `[graphql.limits]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GraphqlLimits {
    /// Fields within fields; 12 by default.
    pub depth: Option<u32>,
    /// Fields, where one that makes a call counts ten; 1000 by default.
    pub complexity: Option<u32>,
    /// Fields with an alias; 15 by default.
    pub aliases: Option<u32>,
    /// Directives in one place; 10 by default.
    pub directives: Option<u32>,
    /// Fields of the operation itself; 20 by default.
    pub root_fields: Option<u32>,
    /// Tokens of a document; 10000 by default.
    pub tokens: Option<u32>,
    /// Operations in one request; 10 by default.
    pub batch: Option<u32>,
    /// Items of all lists in arguments together; 10000 by default.
    pub items: Option<u32>,
    /// Calls of one operation; 1000 by default.
    pub calls: Option<u32>,
    /// Bytes of all answers to the calls of one operation.
    pub bytes: Option<u32>,
    /// Subscriptions on one connection; 100 by default.
    pub subscriptions: Option<u32>,
}

/// A field that another service answers.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Join {
    /// The method that answers: package.Service/Method.
    pub call: String,
    /// Fields of its request, each with the field of the parent it is taken from.
    pub args: Option<BTreeMap<String, String>>,
    /// The field of its response that is the value.
    pub pick: Option<String>,
    /// Answers many parents with one call.
    pub batch: Option<JoinBatch>,
}

/// How one call answers many parents.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct JoinBatch {
    /// The list in the request.
    pub list: String,
    /// The field of each item that names its key.
    pub key: String,
    /// Whether a key may have several items.
    pub many: Option<bool>,
}

/// A type that other subgraphs refer to by its key.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Entity {
    /// The fields of the key.
    pub key: String,
    /// The method that finds one.
    pub call: Option<String>,
    /// Fields of its request, each with the field of the key it is taken from.
    pub args: Option<BTreeMap<String, String>>,
    /// The field of its response that is the entity.
    pub pick: Option<String>,
    /// Finds many with one call.
    pub batch: Option<JoinBatch>,
}

/// Methods: an array, or one name.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum OneOrMoreMethods {
    /// One.
    One(String),
    /// Several.
    Several(Vec<Method>),
}

/// A method: its name, or a table.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Method {
    /// Its name.
    Name(String),
    /// Its name and what differs from the service.
    Table(MethodTable),
}

/// A method with what differs from its service.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct MethodTable {
    /// Its name, without the service.
    pub name: String,
    /// The topic of its jobs.
    pub topic: Option<Name>,
    /// How long a job may take, retries included; 10m by default.
    pub timeout: Option<Duration>,
    /// How often a job is tried; 3 by default.
    pub attempts: Option<u32>,
    /// How long a result is kept; 24h by default.
    pub keep_result: Option<Duration>,
    /// How long a worker may be silent; 30s by default.
    pub lease: Option<Duration>,
    /// Delay before a retry; 1s by default.
    pub backoff: Option<Duration>,
}

/// `job = {…}`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Job {
    /// How long a job may take, retries included; 10m by default.
    pub timeout: Option<Duration>,
    /// How often a job is tried; 3 by default.
    pub attempts: Option<u32>,
    /// How long a result is kept; 24h by default.
    pub keep_result: Option<Duration>,
    /// How long a worker may be silent; 30s by default.
    pub lease: Option<Duration>,
    /// Delay before a retry; 1s by default.
    pub backoff: Option<Duration>,
}

/// What a route leads to: `package.Service/Method`, or a topic to read.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Target {
    /// Calls this method.
    Call(String),
    /// Reads a topic.
    Read(ReadTarget),
}

/// `{ topic = "pattern" }`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ReadTarget {
    /// The pattern to read.
    pub topic: String,
}

/// `[auth]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Auth {
    /// API keys by the name of their owner.
    pub keys: Option<BTreeMap<String, Key>>,
    /// Whose JWTs are accepted.
    pub jwt: Option<Vec<Jwt>>,
}

/// A key: a secret whose role has the owner's name, or a table.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Key {
    /// The secret.
    Secret(Secret),
    /// The secret and its role.
    Table(KeyTable),
}

/// A key with its role.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct KeyTable {
    /// The secret.
    pub key: Secret,
    /// Its role; `admin` may do everything.
    pub role: Option<String>,
}

/// `[[auth.jwt]]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Jwt {
    /// Required `iss`.
    pub issuer: String,
    /// Required `aud`.
    pub audience: String,
    /// The only algorithm accepted.
    pub algorithm: Algorithm,
    /// The shared secret, or the public key as PEM.
    pub key: Secret,
    /// Name of the claim that holds the role; `role` by default.
    pub role: Option<String>,
}

/// `[roles.NAME]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Role {
    /// Addresses it may publish to.
    pub publish: Option<Patterns>,
    /// Topics it may read.
    pub read: Option<Patterns>,
    /// Topics whose groups it may consume from.
    pub consume: Option<Patterns>,
    /// Methods it may call: `code.v1.Runner/*`.
    pub call: Option<Patterns>,
    /// Methods it may serve as a worker.
    pub serve: Option<Patterns>,
    /// What it may create, change and delete.
    pub manage: Option<Patterns>,
    /// May do everything.
    pub admin: Option<bool>,
}

/// `[echo]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Echo {
    /// Whether it is spoken; false by default.
    pub enabled: Option<bool>,
}
