//! Puts the board, the network and the protocols together and runs them.

use crate::banner::{Facts, banner};
use crate::config::{self as model, Algorithm, Config, Engine, Mode, Target};
use crate::error::{CliError, exit};
use crate::speaks::{OFF_BY_DEFAULT, SHOWN, SPEAKS};
use sb_board::access::Condition;
use sb_board::auth::{Authority, Grants, Issuer, method_pattern};
use sb_board::mount::Descriptor;
use sb_board::{Board, HttpSettings, Route, RouteTarget, Settings};
use sb_core::groups::{Mode as GroupMode, Options, Start};
use sb_core::jobs::MethodPolicy;
use sb_core::model::Pattern;
use sb_core::topics::Policy;
use sb_net::{Listener, NetError, NetLimits, Server, owner};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

include!(concat!(env!("OUT_DIR"), "/console.rs"));
include!(concat!(env!("OUT_DIR"), "/docs.rs"));

/// Runs the server until it is told to stop. Calls `ready` when every listener accepts.
pub fn run(config: Config, mode: Mode, ready: impl FnOnce()) -> Result<(), CliError> {
    // One core is left to the commit loop and the storage threads, where there are more than two.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.saturating_sub(1).max(2))
        .enable_all()
        .build()
        .map_err(|e| CliError::local(format!("cannot start: {e}")))?;
    let outcome = runtime.block_on(serve(config, mode, ready));
    // A blocking read of a slow disk must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(config: Config, mode: Mode, ready: impl FnOnce()) -> Result<(), CliError> {
    raise_file_limit();
    // Before the data is opened: who starts a second server hears of the port, not of a locked folder.
    for listener in &config.listen {
        vacant(listener.addr).map_err(taken)?;
    }
    let dir = match &config.engine {
        Engine::Memory => None,
        Engine::Disk(dir) => {
            make_private(dir)?;
            Some(dir.clone())
        }
    };
    let settings = Settings {
        dir: dir.clone(),
        authority: authority(&config)?,
        http: http(&config, &mode)?,
        memory: usize::try_from(config.limits.memory).unwrap_or(usize::MAX),
        max_message: size(config.limits.message),
        max_request: size(config.limits.request.max(config.limits.message)),
        max_wait_ms: ms(config.http.wait_max),
        mode: if mode.development { "development" } else { "serve" }.into(),
    };
    let (board, recovery) = Board::start(settings).map_err(|why| storage(&why, dir.as_deref()))?;
    if let Some(tail) = &recovery.dropped_tail {
        tracing::warn!(%tail, "an unfinished write at the end of the journal was dropped; nothing in it had been acknowledged");
    }
    board.share(config.graphql.clone());
    declare(&board, &config).await?;
    crate::services::start(&board, &config).await?;
    let tls = config.tls.as_ref().map(tls).transpose()?;
    let listeners = config
        .listen
        .iter()
        .map(|l| Listener { addr: l.addr, only: None, tls: if l.tls { tls.clone() } else { None } })
        .collect();
    let limits = NetLimits { max_connections: u64::from(config.limits.connections), ..NetLimits::default() };
    let server = Server::bind(board.clone(), spoken(&config), listeners, limits).map_err(taken)?;
    let urls: Vec<String> = server
        .local_addrs()
        .iter()
        .zip(&config.listen)
        .map(|(addr, l)| {
            let host = if addr.ip().is_loopback() { "localhost".to_owned() } else { addr.ip().to_string() };
            format!("{}://{host}:{}", if l.tls { "https" } else { "http" }, addr.port())
        })
        .collect();
    board.set_listeners(urls.clone());
    let facts = Facts {
        development: mode.development,
        listeners: urls,
        data: dir.clone(),
        login: config.auth.configured(),
        loopback: server.local_addrs().iter().all(|a| a.ip().is_loopback()),
        protocols: SHOWN.iter().map(|name| (*name).to_owned()).collect(),
        taken: Vec::new(),
        ready: mode.started.elapsed(),
    };
    // The sockets accept from the moment they are bound, so this is true when it is printed.
    println!("{}", banner(&facts, mode.json));
    ready();

    let drain = {
        let board = board.clone();
        async move {
            stop_signal().await;
            tracing::info!("draining");
            board.drain();
        }
    };
    let failed = board.failed();
    tokio::pin!(failed);
    tokio::select! {
        () = server.run(drain) => {}
        why = &mut failed => return Err(storage(&why.into(), dir.as_deref())),
    }
    board.stop().await;
    Ok(())
}

/// The protocols of the table that the config wants. Made once and kept as long as the process lives.
fn spoken(config: &Config) -> &'static [&'static Descriptor] {
    let wanted: Vec<&'static Descriptor> =
        SPEAKS.iter().copied().filter(|p| config.echo || !OFF_BY_DEFAULT.contains(&p.name)).collect();
    Box::leak(wanted.into_boxed_slice())
}

/// SIGTERM or SIGINT; a second one ends the process at once.
async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    });
}

/// Ten thousand connections need as many file descriptors: takes what the system allows without asking.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// The data folder, readable by its owner only.
fn make_private(dir: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| CliError::local(format!("the data folder {} cannot be made: {e}", dir.display())))
}

/// Whether nobody listens there yet.
fn vacant(addr: SocketAddr) -> Result<(), NetError> {
    match std::net::TcpListener::bind(addr) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(NetError::Taken { addr, owner: owner(addr.port()) })
        }
        // Everything else is said when it is bound for good.
        _ => Ok(()),
    }
}

fn storage(why: &sb_board::engine::Failure, dir: Option<&Path>) -> CliError {
    let code = if why.damaged { "SB0702" } else { "SB0701" };
    let Some(dir) = dir.map(Path::display) else {
        return CliError::new(exit::REFUSED, code, format!("the storage cannot be used: {why}"));
    };
    CliError::new(exit::REFUSED, code, format!("the data in {dir} cannot be used: {why}"))
        .help(format!("see whether it is sound:  switchboard data check {dir}"))
        .help("keep messages elsewhere:   --data DIR  or  --memory")
}

fn taken(error: NetError) -> CliError {
    let help = match &error {
        NetError::Taken { addr, .. } => format!("listen elsewhere:  --port {}", addr.port().wrapping_add(1)),
        _ => "see listen in the configuration".to_owned(),
    };
    CliError::new(exit::USAGE, "SB0105", error.to_string()).help(help)
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).min(u32::MAX as usize)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn wrong(why: impl std::fmt::Display) -> CliError {
    CliError::new(exit::USAGE, "SB0102", why.to_string())
}

fn patterns(list: &[String]) -> Result<Vec<Pattern>, CliError> {
    list.iter().map(|text| Pattern::parse(text).map_err(wrong)).collect()
}

fn methods(list: &[String]) -> Result<Vec<Pattern>, CliError> {
    list.iter().map(|text| method_pattern(text).map_err(wrong)).collect()
}

fn authority(config: &Config) -> Result<Authority, CliError> {
    let mut roles: BTreeMap<String, Grants> = BTreeMap::new();
    roles.insert("admin".into(), Grants { admin: true, ..Grants::default() });
    for role in &config.roles {
        let mut manage = patterns(&role.manage.iter().map(|m| m.replace('/', ".")).collect::<Vec<_>>())?;
        manage.dedup();
        let grants = Grants {
            publish: patterns(&role.publish)?,
            read: patterns(&role.read)?,
            consume: patterns(&role.consume)?,
            call: methods(&role.call)?,
            serve: methods(&role.serve)?,
            manage,
            admin: role.admin,
        };
        roles.insert(role.name.clone(), grants);
    }
    // Without roles there is nothing that a key could be limited to.
    let everyone = config.roles.is_empty();
    let keys = config.auth.keys.iter().map(|key| {
        let role = if everyone { "admin".to_owned() } else { key.role.clone() };
        (key.key.0.clone(), role)
    });
    let keys: Vec<_> = keys.collect();
    let issuers = config.auth.jwt.iter().map(issuer).collect::<Result<Vec<_>, _>>()?;
    Ok(Authority::new(keys, issuers, roles))
}

fn issuer(jwt: &model::Jwt) -> Result<Issuer, CliError> {
    use jsonwebtoken::{Algorithm as A, DecodingKey};
    let text = jwt.key.0.as_bytes();
    let bad = |e: jsonwebtoken::errors::Error| {
        wrong(format!("the key of the JWT issuer {:?} cannot be used: {e}", jwt.issuer))
    };
    let (algorithm, key) = match jwt.algorithm {
        Algorithm::Hs256 => (A::HS256, DecodingKey::from_secret(text)),
        Algorithm::Rs256 => (A::RS256, DecodingKey::from_rsa_pem(text).map_err(bad)?),
        Algorithm::Es256 => (A::ES256, DecodingKey::from_ec_pem(text).map_err(bad)?),
        Algorithm::EdDsa => (A::EdDSA, DecodingKey::from_ed_pem(text).map_err(bad)?),
    };
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(Issuer {
        issuer: some(&jwt.issuer),
        audience: some(&jwt.audience),
        algorithm,
        key,
        role_claim: jwt.role.clone(),
    })
}

fn http(config: &Config, mode: &Mode) -> Result<HttpSettings, CliError> {
    let routes = config
        .routes
        .iter()
        .map(|route| {
            let target = match &route.target {
                Target::Call { service, method } => RouteTarget::Call(format!("{service}/{method}")),
                Target::Read(pattern) => RouteTarget::Topic(Pattern::parse(pattern).map_err(wrong)?),
            };
            Ok(Route { http_method: route.method.clone(), path: route.path.clone(), target })
        })
        .collect::<Result<_, CliError>>()?;
    Ok(HttpSettings {
        origins: if config.http.cors { config.http.origins.clone() } else { Vec::new() },
        any_loopback_origin: mode.development && config.http.cors,
        routes,
        static_dirs: config.statics.iter().map(|s| (s.path.clone(), s.dir.clone())).collect(),
        heartbeat_ms: ms(config.http.heartbeat),
        max_body: size(config.limits.request.max(config.limits.message)),
        public_url: config.public_url.clone(),
        console: CONSOLE,
        docs: DOCS,
        echo: config.echo,
    })
}

fn tls(files: &model::Tls) -> Result<Arc<rustls::ServerConfig>, CliError> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let bad = |path: &Path, why: String| wrong(format!("{}: {why}", path.display()));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|e| bad(&files.cert, e.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| bad(&files.key, e.to_string()))?;
    let mut server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| bad(&files.cert, e.to_string()))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

/// Makes what the config names: topics, their groups, methods. What exists already is changed to match.
async fn declare(board: &Arc<Board>, config: &Config) -> Result<(), CliError> {
    let access = board.admin();
    let failed = |what: &str, error: sb_core::model::Error| {
        CliError::new(exit::USAGE, error.code, format!("{what}: {}", error.detail))
            .help(error.fix.to_string())
    };
    for topic in &config.topics {
        let policy = Policy {
            partitions: topic.partitions,
            keep_age_ms: topic.keep_age.map(ms),
            keep_bytes: topic.keep_bytes,
            keep_until_consumed: topic.keep_until_consumed,
            max_message: topic.max_message.unwrap_or(config.limits.message).min(u64::from(u32::MAX)) as u32,
            memory: topic.memory,
            claims: patterns(&topic.claims)?,
        };
        let name = &topic.name;
        access
            .declare_topic(name, policy, Condition::Any)
            .await
            .map_err(|e| failed(&format!("[topics.{name:?}]"), e))?;
        for group in &topic.groups {
            let options = Options {
                mode: if group.queue { GroupMode::Queue } else { GroupMode::Cursor },
                lease_ms: ms(group.lease),
                attempts: group.attempts,
                dead_letter: group.dead_letter.clone(),
                backoff_ms: ms(group.backoff),
                key_order: group.by_key,
            };
            let start = match &group.start {
                model::Start::First => Start::Start,
                model::Start::End => Start::End,
                model::Start::Offset(offset) => Start::Offset(*offset),
                model::Start::Time(time) => Start::Time(*time),
                model::Start::Ago(ago) => Start::Time(board.now_ms() - ms(*ago) as i64),
            };
            access
                .declare_group(name, &group.name, options, start)
                .await
                .map_err(|e| failed(&format!("[topics.{name:?}.groups.{}]", group.name), e))?;
        }
    }
    for method in &config.methods {
        let name = format!("{}/{}", method.service, method.name);
        let policy = MethodPolicy {
            topic: method.topic.clone(),
            attempts: method.job.attempts,
            lease_ms: ms(method.job.lease),
            timeout_ms: ms(method.job.timeout),
            keep_ms: ms(method.job.keep_result),
            backoff_ms: ms(method.job.backoff),
        };
        access.declare_method(&name, policy).await.map_err(|e| failed(&format!("the method {name}"), e))?;
    }
    Ok(())
}
