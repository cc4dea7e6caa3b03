//! Listening, accepting, recognising, leaving.

use crate::conn::Conn;
use crate::counters::{NetCounters, Open};
use crate::http::{Host, until_killed};
use crate::login;
use crate::owner::{Owner, owner};
use crate::recognise::{Found, recognise};
use futures_util::FutureExt;
use sb_board::Board;
use sb_board::mount::{Descriptor, Mount, Peer, Pipe};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// A place to listen.
#[derive(Clone)]
pub struct Listener {
    /// The address; port 0 takes any free one.
    pub addr: SocketAddr,
    /// The protocol spoken here; `None` recognises it.
    pub only: Option<&'static str>,
    /// Encrypts. A listener with one protocol then is encrypted always; one that recognises takes both.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// What is bounded.
#[derive(Clone, Debug)]
pub struct NetLimits {
    /// Open connections of all listeners.
    pub max_connections: u64,
    /// Time for the TLS handshake, for the first bytes, and for one HTTP head.
    pub pre_login: Duration,
    /// Bytes that are kept while a protocol is being recognised.
    pub pre_login_bytes: usize,
    /// How long an HTTP connection may wait between requests.
    pub idle: Duration,
    /// How long leaving may take.
    pub drain: Duration,
    /// Over what time good-byes are spread.
    pub spread: Duration,
}

impl Default for NetLimits {
    fn default() -> Self {
        NetLimits {
            max_connections: 100_000,
            pre_login: Duration::from_secs(10),
            pre_login_bytes: 64 * 1024,
            idle: Duration::from_secs(75),
            drain: Duration::from_secs(10),
            spread: Duration::from_secs(2),
        }
    }
}

/// Why listening failed.
#[derive(Debug)]
pub enum NetError {
    /// Somebody listens there already (`SB0105`).
    Taken {
        /// The address.
        addr: SocketAddr,
        /// Who, if the system tells.
        owner: Option<Owner>,
    },
    /// Anything else: not allowed, no such interface.
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A listener names a protocol that does not exist or cannot listen.
    NoSuchProtocol(&'static str),
}

impl std::fmt::Display for NetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NetError::Taken { addr, owner: Some(owner) } => {
                write!(f, "{addr} is taken by {} (process {})", owner.name, owner.pid)
            }
            NetError::Taken { addr, owner: None } => write!(f, "{addr} is taken by another process"),
            NetError::Listen { addr, error } => write!(f, "cannot listen on {addr}: {error}"),
            NetError::NoSuchProtocol(name) => write!(f, "no protocol {name} can listen"),
        }
    }
}

impl std::error::Error for NetError {}

struct Bound {
    socket: TcpListener,
    addr: SocketAddr,
    only: Option<&'static str>,
    tls: Option<tokio_rustls::TlsAcceptor>,
}

struct Shared {
    host: Arc<Host>,
    /// `None` only when HTTP alone is served, by a handler without a board.
    board: Option<Arc<Board>>,
    protocols: &'static [&'static Descriptor],
}

/// Bound sockets and what is spoken on them.
pub struct Server {
    shared: Arc<Shared>,
    bound: Vec<Bound>,
}

impl Server {
    /// Binds every listener, or none. Needs a runtime.
    pub fn bind(
        board: Arc<Board>,
        protocols: &'static [&'static Descriptor],
        listeners: Vec<Listener>,
        limits: NetLimits,
    ) -> Result<Server, NetError> {
        let counters = NetCounters::new(protocols.iter().map(|p| p.name), board.counters().clone());
        let host = Host::new(login::handler(board.clone(), protocols), limits, counters);
        Server::with(host, Some(board), protocols, listeners)
    }

    /// HTTP alone, with a handler of one's own.
    pub fn http_only(host: Arc<Host>, listeners: Vec<Listener>) -> Result<Server, NetError> {
        Server::with(host, None, &[], listeners)
    }

    fn with(
        host: Arc<Host>,
        board: Option<Arc<Board>>,
        protocols: &'static [&'static Descriptor],
        listeners: Vec<Listener>,
    ) -> Result<Server, NetError> {
        let mut bound = Vec::with_capacity(listeners.len());
        for Listener { addr, only, tls } in listeners {
            let known = |name: &str| {
                let mut mounts = protocols.iter().filter(|p| p.name == name).map(|p| &p.mount);
                name == "http" || mounts.any(|m| !matches!(m, Mount::Task(_)))
            };
            if let Some(name) = only.filter(|name| !known(name)) {
                return Err(NetError::NoSuchProtocol(name));
            }
            let socket = listen(addr).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => NetError::Taken { addr, owner: owner(addr.port()) },
                _ => NetError::Listen { addr, error },
            })?;
            let addr = socket.local_addr().unwrap_or(addr);
            bound.push(Bound { socket, addr, only, tls: tls.map(tokio_rustls::TlsAcceptor::from) });
        }
        Ok(Server { shared: Arc::new(Shared { host, board, protocols }), bound })
    }

    /// Where it listens, in the order of the listeners.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|bound| bound.addr).collect()
    }

    /// The counters.
    pub fn counters(&self) -> Arc<NetCounters> {
        self.shared.host.counters().clone()
    }

    /// Serves until `drain` is ready, then stops accepting, says good-bye to everyone and waits for them, as long as the limits
    /// allow.
    pub async fn run(self, drain: impl Future<Output = ()>) {
        let Server { shared, bound } = self;
        let (stop, stopped) = watch::channel(());
        let mut tasks = tokio::task::JoinSet::new();
        if let Some(board) = &shared.board {
            for protocol in shared.protocols {
                if let Mount::Task(run) = protocol.mount {
                    let ticket = Arc::new(shared.host.drain().ticket());
                    let counters = shared.host.counters().clone();
                    tokio::spawn(until_killed(run(board.clone()), ticket, counters));
                }
            }
        }
        for bound in bound {
            tasks.spawn(accept(shared.clone(), bound, stopped.clone()));
        }
        drop(stopped);
        drain.await;
        drop(stop);
        // The sockets are closed when the tasks have ended.
        while tasks.join_next().await.is_some() {}
        let limits = shared.host.limits();
        let left = shared.host.drain().run(limits.spread, limits.drain).await;
        if left > 0 {
            tracing::warn!(connections = left, "the time for leaving is over; the rest was cut off");
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(4096)
}

/// Takes connections until told to stop. No error ends it: most are of one connection, and running out of descriptors passes.
async fn accept(shared: Arc<Shared>, bound: Bound, mut stopped: watch::Receiver<()>) {
    let bound = Arc::new(bound);
    let mut complained = false;
    loop {
        let accepted = tokio::select! {
            accepted = bound.socket.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, addr)) => {
                complained = false;
                let most = shared.host.limits().max_connections;
                let Some(open) = shared.host.counters().connected(most) else { continue };
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(shared.clone(), bound.clone_settings(), stream, addr, open));
            }
            Err(error) => {
                use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
                if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
                    continue;
                }
                if !complained {
                    complained = true;
                    tracing::warn!(listener = %bound.addr, %error, "cannot accept connections; trying on");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// What a connection needs of its listener, without keeping the socket open.
struct Settings {
    local: SocketAddr,
    only: Option<&'static str>,
    tls: Option<tokio_rustls::TlsAcceptor>,
}

impl Bound {
    fn clone_settings(&self) -> Settings {
        Settings { local: self.addr, only: self.only, tls: self.tls.clone() }
    }
}

async fn connection(
    shared: Arc<Shared>,
    settings: Settings,
    stream: TcpStream,
    addr: SocketAddr,
    open: Open,
) {
    let local = stream.local_addr().unwrap_or(settings.local);
    let peer = Peer { addr, local, tls: false };
    let host = shared.host.clone();
    let time = host.limits().pre_login;
    let ticket = host.drain().ticket();
    let begin = tokio::time::timeout(time, begin(&shared, &settings, stream));
    let found = tokio::select! {
        found = begin => found,
        () = std::future::poll_fn(|cx| ticket.poll_draining(cx)) => return,
    };
    drop(ticket);
    let (conn, what) = match found {
        Ok(Ok(Some(found))) => found,
        Ok(Ok(None)) => return NetCounters::add(&host.counters().unrecognised),
        Ok(Err(error)) => return tracing::debug!(%addr, %error, "a connection ended before it began"),
        Err(_) => {
            NetCounters::add(&host.counters().unrecognised);
            return tracing::debug!(%addr, "a connection said nothing in time");
        }
    };
    let peer = Peer { tls: matches!(conn, Conn::Tls(_)), ..peer };
    // The task that begins a connection is large; what runs it is another.
    let counters = host.counters().clone();
    match what {
        Found::Protocol(i) => {
            let (Some(protocol), Some(board)) = (shared.protocols.get(i), shared.board.clone()) else {
                return;
            };
            let Mount::Bytes(run) = protocol.mount else { return };
            let ticket = Arc::new(host.drain().ticket());
            let speaking = counters.speaking(protocol.name);
            let pipe = Pipe { board, stream: Box::new(conn), peer };
            tokio::spawn(async move {
                let _counted = (open, speaking);
                // The call itself may panic, too.
                let run = Box::pin(async move { run(pipe).await });
                until_killed(run, ticket, counters).await;
            });
        }
        Found::Http1 | Found::Http2 => {
            let serve = host.serve(conn, peer, what == Found::Http2, Arc::new(open));
            tokio::spawn(async move {
                if AssertUnwindSafe(serve).catch_unwind().await.is_err() {
                    counters.panicked();
                    tracing::error!("an HTTP connection panicked; this is a fault of the server");
                }
            });
        }
        Found::Tls | Found::More | Found::Unknown => {}
    }
}

/// Finds out what is spoken: TLS first, then ALPN, then the first bytes.
async fn begin(shared: &Shared, settings: &Settings, stream: TcpStream) -> io::Result<Option<(Conn, Found)>> {
    let http = true;
    let fixed = settings.only.and_then(|name| {
        let of_table =
            shared.protocols.iter().position(|p| p.name == name && matches!(p.mount, Mount::Bytes(_)));
        of_table.map(Found::Protocol)
    });
    // A protocol of its own port may let the server speak first, so nothing is waited for.
    if let (Some(found), None) = (fixed, &settings.tls) {
        return Ok(Some((stream.into(), found)));
    }
    let all = if settings.only.is_some() { &[] } else { shared.protocols };
    let mut conn = Conn::from(stream);
    let mut found = match (&settings.tls, settings.only) {
        (Some(_), Some(_)) => Found::Tls,
        // A listener with TLS serves nothing in clear text: a key sent there by mistake must not find a taker.
        (Some(_), None) => first(shared, &mut conn, |bytes| recognise(bytes, true, false, &[])).await?,
        (None, _) => first(shared, &mut conn, |bytes| recognise(bytes, false, http, all)).await?,
    };
    if let (Found::Tls, Some(acceptor)) = (found, &settings.tls) {
        let alpn;
        (conn, alpn) = conn.encrypt(acceptor).await?;
        found = match (alpn.as_deref(), fixed) {
            (_, Some(found)) => found,
            (Some(b"h2"), _) => Found::Http2,
            _ => first(shared, &mut conn, |bytes| recognise(bytes, false, http, all)).await?,
        };
    }
    match found {
        Found::More | Found::Unknown | Found::Tls => Ok(None),
        found => Ok(Some((conn, found))),
    }
}

/// Reads first bytes until `judge` knows. What was read is put back in front of the connection.
async fn first(shared: &Shared, conn: &mut Conn, judge: impl Fn(&[u8]) -> Found) -> io::Result<Found> {
    // Most clients' first packet says it all; then nothing needs to be read and put back.
    let mut seen = [0u8; 64];
    if let Some(n @ 1..) = conn.peek(&mut seen).await? {
        match judge(&seen[..n]) {
            Found::More => {}
            Found::Unknown => return Ok(unknown(shared, &seen[..n])),
            found => return Ok(found),
        }
    }
    let most = shared.host.limits().pre_login_bytes;
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(1024);
        let n = conn.read_buf(&mut bytes).await?;
        match judge(&bytes) {
            Found::More if n == 0 => return Ok(Found::More),
            Found::More if bytes.len() < most => {}
            Found::More | Found::Unknown => return Ok(unknown(shared, &bytes)),
            found => {
                conn.put_back(bytes.into());
                return Ok(found);
            }
        }
    }
}

fn unknown(shared: &Shared, bytes: &[u8]) -> Found {
    let names = shared.protocols.iter().filter(|p| p.first_bytes.is_some()).map(|p| p.name);
    let expected: Vec<&str> =
        ["HTTP/1.1", "HTTP/2", "TLS where configured"].into_iter().chain(names).collect();
    let hex: Vec<String> = bytes.iter().take(16).map(|b| format!("{b:02x}")).collect();
    tracing::info!(
        first_bytes = hex.join(" "),
        expected = expected.join(", "),
        "a connection that begins like no enabled protocol was closed"
    );
    Found::Unknown
}
