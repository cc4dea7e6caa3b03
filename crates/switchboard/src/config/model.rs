//! The configuration as the server uses it: plain values, defaults filled in, paths absolute to the file, secrets read.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to listen. Never empty.
    pub listen: Vec<Listener>,
    /// Where messages are kept.
    pub engine: Engine,
    /// The address under which callers reach this server, without a slash at the end.
    pub public_url: Option<String>,
    /// Certificate and key; present when a listener needs them.
    pub tls: Option<Tls>,
    /// `[http]`
    pub http: Http,
    /// `[limits]`
    pub limits: Limits,
    /// `[topics]`, to be created or updated at the start.
    pub topics: Vec<Topic>,
    /// `[services]` without a description, one entry per method.
    pub methods: Vec<Method>,
    /// `[services]` with a description or a target.
    pub services: Vec<Service>,
    /// `[graphql]`
    pub graphql: sb_graphql::Options,
    /// `[graphql.gateway]`
    pub gateway: Option<sb_graphql::GatewaySettings>,
    /// `[routes]`
    pub routes: Vec<Route>,
    /// `[static]`, longest path first.
    pub statics: Vec<Static>,
    /// `[auth]`; nothing in it means that no credentials are configured.
    pub auth: Auth,
    /// `[roles]`
    pub roles: Vec<Role>,
    /// `[echo] enabled`
    pub echo: bool,
    /// Started with `--insecure`: listens beyond loopback without credentials.
    pub insecure: bool,
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// As it was written.
    pub url: String,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The socket address; port 0 takes any free one.
    pub addr: SocketAddr,
}

/// Where messages are kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Engine {
    /// In this folder.
    Disk(PathBuf),
    /// Nowhere but in memory.
    Memory,
}

/// `[tls]`
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// Origins that browsers may call from.
    pub origins: Vec<String>,
    /// Longest `Prefer: wait`.
    pub wait_max: Duration,
    /// Time between comments on a quiet event stream.
    pub heartbeat: Duration,
    /// Whether CORS is answered at all.
    pub cors: bool,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Largest body of a message.
    pub message: u64,
    /// Largest request that carries several messages.
    pub request: u64,
    /// Budget for everything that waits in memory.
    pub memory: u64,
    /// Most connections at a time.
    pub connections: u32,
    /// Largest header list of a request.
    pub headers: u64,
}

/// `[topics.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Messages older than this go.
    pub keep_age: Option<Duration>,
    /// The oldest go when there are more bytes than this.
    pub keep_bytes: Option<u64>,
    /// What every group has acknowledged goes.
    pub keep_until_consumed: bool,
    /// Largest body; none is `[limits] message`.
    pub max_message: Option<u64>,
    /// Kept in memory only.
    pub memory: bool,
    /// Patterns claimed beside its own name.
    pub claims: Vec<String>,
    /// Its groups.
    pub groups: Vec<Group>,
}

/// `[topics.NAME.groups.GROUP]`
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// `true`: hands out leases. `false`: remembers a position.
    pub queue: bool,
    /// Where a new group begins.
    pub start: Start,
    /// How long a delivery is leased.
    pub lease: Duration,
    /// How often a message is tried; 0 is no limit.
    pub attempts: u32,
    /// Topic for messages that failed their last attempt.
    pub dead_letter: Option<String>,
    /// Delay of an automatic return.
    pub backoff: Duration,
    /// Messages of one key are handed out one at a time.
    pub by_key: bool,
}

/// Where reading begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// At the first kept message.
    First,
    /// Behind the last one.
    End,
    /// At this offset of each partition.
    Offset(u64),
    /// At the first message of this time, in milliseconds since 1970.
    Time(i64),
    /// So long ago.
    Ago(Duration),
}

/// One entry of `[services]` that is described.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The name it has in the configuration.
    pub name: String,
    /// Where its calls go: `grpc://host:port`.
    pub target: Option<String>,
    /// PEM file of the authorities trusted.
    pub ca: Option<PathBuf>,
    /// PEM files of our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name the target's certificate is for.
    pub server_name: Option<String>,
    /// Files and folders that describe it; empty: the target is asked.
    pub protos: Vec<PathBuf>,
    /// Folders that `import` looks into.
    pub imports: Vec<PathBuf>,
    /// Only these services of the description; empty: all it declares.
    pub only: Vec<String>,
    /// Protocols it can be called over; none is all.
    pub shown: Option<Vec<String>>,
    /// Without a target: the topic of its workers; `Service.Method` by default.
    pub topic: Option<String>,
    /// How its jobs run.
    pub job: Job,
    /// The longest a call may take.
    pub timeout: Option<Duration>,
    /// 64-bit integers in JSON are numbers.
    pub int64_numbers: bool,
    /// JSON shows fields with their default value.
    pub show_defaults: bool,
    /// How an endpoint is chosen.
    pub balance: sb_board::mount::Balance,
    /// How endpoints are checked.
    pub health: sb_board::mount::Health,
    /// Most calls at a time.
    pub max_running: u32,
    /// When a call that may be repeated is made once more beside the first.
    pub hedge: Option<sb_board::call::Hedge>,
}

/// One method of `[services]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// `package.Service`
    pub service: String,
    /// `Method`
    pub name: String,
    /// The topic that its jobs go through.
    pub topic: String,
    /// How its jobs run.
    pub job: Job,
}

/// `job = {…}` of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// How long a job may take, retries included.
    pub timeout: Duration,
    /// How often it is tried.
    pub attempts: u32,
    /// How long its result is kept.
    pub keep_result: Duration,
    /// How long a worker may be silent.
    pub lease: Duration,
    /// Delay before a retry.
    pub backoff: Duration,
}

impl Default for Job {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Job {
            timeout: 600 * second,
            attempts: 3,
            keep_result: 86_400 * second,
            lease: 30 * second,
            backoff: second,
        }
    }
}

/// One own path of `[routes]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// HTTP method, in capitals.
    pub method: String,
    /// The path, literally.
    pub path: String,
    /// What it leads to.
    pub target: Target,
}

/// What a route leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Calls this method.
    Call {
        /// `package.Service`
        service: String,
        /// `Method`
        method: String,
    },
    /// Reads this pattern.
    Read(String),
}

/// One folder of `[static]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Static {
    /// The path it appears under.
    pub path: String,
    /// The folder.
    pub dir: PathBuf,
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Auth {
    /// API keys.
    pub keys: Vec<ApiKey>,
    /// Whose JWTs are accepted.
    pub jwt: Vec<Jwt>,
}

impl Auth {
    /// Whether any credentials are configured.
    pub fn configured(&self) -> bool {
        !self.keys.is_empty() || !self.jwt.is_empty()
    }
}

/// One key of `[auth] keys`.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKey {
    /// Name of the principal.
    pub name: String,
    /// The key itself.
    pub key: Secret,
    /// Its role; `admin` may do everything.
    pub role: String,
}

/// One `[[auth.jwt]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Jwt {
    /// Required `iss`.
    pub issuer: String,
    /// Required `aud`.
    pub audience: String,
    /// The only algorithm accepted.
    pub algorithm: Algorithm,
    /// The shared secret (HS256) or the public key as PEM.
    pub key: Secret,
    /// Name of the claim that holds the role.
    pub role: String,
}

/// How a JWT is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSA with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// `[roles.NAME]`: what a role may do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Addresses it may publish to.
    pub publish: Vec<String>,
    /// Topics it may read.
    pub read: Vec<String>,
    /// Topics whose groups it may consume from.
    pub consume: Vec<String>,
    /// Methods it may call.
    pub call: Vec<String>,
    /// Methods it may serve as a worker.
    pub serve: Vec<String>,
    /// Topics, groups and methods it may create, change and delete.
    pub manage: Vec<String>,
    /// May do everything.
    pub admin: bool,
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
