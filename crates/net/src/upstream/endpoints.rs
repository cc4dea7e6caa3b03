//! The endpoints of a target: resolving, choosing, leaving out those in trouble.

use super::h2::Stream;
use super::invalid;
use arc_swap::ArcSwap;
use http::uri::Authority;
use sb_board::call::{Code, Status};
use sb_board::mount::{Balance, Target, Verdict};
use sb_core::model::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Names are resolved again when they are used and this old.
const FRESH: Duration = Duration::from_secs(30);
/// So many failures in a row leave an endpoint out …
const FAILURES: u32 = 5;
/// … for this long the first time, doubled each time that follows …
const OUT: Duration = Duration::from_secs(2);
/// … up to this.
const OUT_MOST: Duration = Duration::from_secs(60);

/// One address.
pub(super) struct Endpoint {
    pub(super) host: Arc<str>,
    pub(super) addr: SocketAddr,
    /// What requests are addressed to; `None` for a host that no URI can hold.
    pub(super) authority: Option<Authority>,
    running: AtomicUsize,
    failures: AtomicU32,
    ejections: AtomicU32,
    /// Milliseconds since the pool was made until which it is left out.
    out_until: AtomicU64,
    /// What health checks say.
    well: AtomicBool,
}

/// All of a target.
pub(super) struct Endpoints {
    hosts: Vec<(Arc<str>, u16)>,
    balance: Balance,
    began: Instant,
    list: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Milliseconds since `began` of the last resolution, plus one; 0 before the first.
    resolved: AtomicU64,
    resolving: tokio::sync::Mutex<()>,
    next: AtomicUsize,
    running: AtomicUsize,
    most: usize,
    /// The last reason why none could be reached, for people.
    trouble: std::sync::Mutex<Option<String>>,
}

/// Counts a call on its endpoint as long as it lives.
pub(super) struct Running {
    all: Arc<Endpoints>,
    pub(super) endpoint: Arc<Endpoint>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.endpoint.running.fetch_sub(1, Relaxed);
        self.all.running.fetch_sub(1, Relaxed);
    }
}

impl Running {
    /// What the protocol will say of how it went. `stream` is held as long.
    pub(super) fn verdict(self, stream: Option<Stream>) -> Verdict {
        Verdict(Box::new(move |good| {
            let _counted = &stream;
            self.all.judge(&self.endpoint, good);
        }))
    }

    pub(super) fn judge(&self, good: bool) {
        self.all.judge(&self.endpoint, good);
    }
}

impl Endpoints {
    pub(super) fn new(target: &Target) -> Result<Arc<Endpoints>> {
        let rest = target.url.split_once("://").map_or(&*target.url, |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        let hosts = authority
            .split(',')
            .map(|part| {
                let (host, port) =
                    part.rsplit_once(':').ok_or_else(|| invalid(target, "a port is missing"))?;
                let port = port.parse().map_err(|_| invalid(target, format!("{port:?} is no port")))?;
                let host = host.trim_start_matches('[').trim_end_matches(']');
                if host.is_empty() || host.contains('@') {
                    return Err(invalid(target, "there is no host, or a login in it"));
                }
                Ok((host.into(), port))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(Endpoints {
            hosts,
            balance: target.balance,
            began: Instant::now(),
            list: ArcSwap::default(),
            resolved: AtomicU64::new(0),
            resolving: tokio::sync::Mutex::new(()),
            next: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            most: if target.max_running == 0 { 1_024 } else { target.max_running },
            trouble: std::sync::Mutex::new(None),
        }))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Resolves when that is due; the first time it is waited for.
    pub(super) async fn refresh(self: &Arc<Self>) -> std::result::Result<(), Status> {
        let resolved = self.resolved.load(Relaxed);
        if resolved == 0 {
            let _turn = self.resolving.lock().await;
            if self.resolved.load(Relaxed) == 0 {
                self.resolve().await.map_err(|why| self.unavailable(why))?;
            }
        } else if self.now() - resolved.min(self.now()) > FRESH.as_millis() as u64 {
            // Whoever comes first does it, aside; until then the old addresses serve.
            let all = self.clone();
            tokio::spawn(async move {
                if let Ok(_turn) = all.resolving.try_lock()
                    && let Err(why) = all.resolve().await
                {
                    tracing::warn!(%why, "an upstream's name cannot be resolved; its last addresses stay");
                    all.resolved.store(all.now() + 1, Relaxed);
                }
            });
        }
        Ok(())
    }

    async fn resolve(&self) -> std::result::Result<(), String> {
        let old = self.list.load_full();
        let mut list: Vec<Arc<Endpoint>> = Vec::new();
        let mut failed = None;
        for (host, port) in &self.hosts {
            match tokio::net::lookup_host((&**host, *port)).await {
                Err(error) => failed = Some(format!("{host} cannot be resolved: {error}")),
                Ok(addrs) => {
                    for addr in addrs.take(256) {
                        if list.iter().all(|e| e.addr != addr) {
                            let known = old.iter().find(|e| e.addr == addr).cloned();
                            list.push(known.unwrap_or_else(|| Arc::new(Endpoint::new(host.clone(), addr))));
                        }
                    }
                }
            }
        }
        if list.is_empty() {
            return Err(failed.unwrap_or_else(|| "the name has no address".into()));
        }
        self.list.store(Arc::new(list));
        self.resolved.store(self.now() + 1, Relaxed);
        Ok(())
    }

    /// The endpoints as they are now.
    pub(super) fn list(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.list.load_full()
    }

    /// Chooses an endpoint that is not among `tried`. When all are in trouble, all are tried: a wrong judgement must not be an outage.
    pub(super) fn pick(self: &Arc<Self>, tried: &[SocketAddr]) -> std::result::Result<Running, Status> {
        let list = self.list.load();
        let now = self.now();
        let free = |e: &&Arc<Endpoint>| !tried.contains(&e.addr);
        let usable = |e: &&Arc<Endpoint>| e.well.load(Relaxed) && e.out_until.load(Relaxed) <= now;
        let mut fit: Vec<&Arc<Endpoint>> = list.iter().filter(free).filter(usable).collect();
        if fit.is_empty() {
            fit = list.iter().filter(free).collect();
        }
        let turn = self.next.fetch_add(1, Relaxed);
        let chosen = match (self.balance, fit.len()) {
            (_, 0) => return Err(self.unavailable("no endpoint is left to try".into())),
            (Balance::LeastRequest, n @ 2..) => {
                // The step between the two walks through all pairs.
                let (a, b) = (turn % n, (turn + 1 + (turn / n) % (n - 1)) % n);
                let running = |i: usize| fit.get(i).map_or(usize::MAX, |e| e.running.load(Relaxed));
                if running(b) < running(a) { b } else { a }
            }
            (_, n) => turn % n,
        };
        let Some(endpoint) = fit.get(chosen) else { return Err(self.unavailable("no endpoint".into())) };
        if self.running.fetch_add(1, Relaxed) >= self.most {
            self.running.fetch_sub(1, Relaxed);
            return Err(Status::new(
                Code::Unavailable,
                format!("{} calls to {} run already, which is the limit", self.most, self.name()),
            ));
        }
        endpoint.running.fetch_add(1, Relaxed);
        Ok(Running { all: self.clone(), endpoint: (*endpoint).clone() })
    }

    fn judge(&self, endpoint: &Endpoint, good: bool) {
        if good {
            if endpoint.failures.swap(0, Relaxed) > 0 {
                endpoint.ejections.store(0, Relaxed);
            }
            if endpoint.out_until.load(Relaxed) != 0 {
                endpoint.out_until.store(0, Relaxed);
            }
            return;
        }
        if endpoint.failures.fetch_add(1, Relaxed) + 1 >= FAILURES {
            endpoint.failures.store(0, Relaxed);
            let times = endpoint.ejections.fetch_add(1, Relaxed).min(10);
            let out = (OUT * 2u32.pow(times)).min(OUT_MOST);
            endpoint.out_until.store(self.now() + out.as_millis() as u64, Relaxed);
            tracing::warn!(endpoint = %endpoint.addr, seconds = out.as_secs(), "an endpoint failed repeatedly and is left out for a while");
        }
    }

    /// What health checks found.
    pub(super) fn set_well(&self, endpoint: &Endpoint, well: bool) {
        if endpoint.well.swap(well, Relaxed) != well {
            tracing::info!(endpoint = %endpoint.addr, well, "health of an endpoint changed");
        }
    }

    pub(super) fn name(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        hosts.join(",")
    }

    /// The refusal when nothing can be reached; remembered for `healthy`.
    pub(super) fn unavailable(&self, why: String) -> Status {
        let status = Status::new(
            Code::Unavailable,
            format!("the service at {} cannot be reached: {why}", self.name()),
        );
        *self.trouble.lock().unwrap_or_else(|p| p.into_inner()) = Some(why);
        status
    }

    /// An endpoint was reached.
    pub(super) fn reached(&self) {
        let mut trouble = self.trouble.lock().unwrap_or_else(|p| p.into_inner());
        if trouble.is_some() {
            *trouble = None;
        }
    }

    pub(super) fn healthy(&self) -> std::result::Result<(), String> {
        if let Some(why) = &*self.trouble.lock().unwrap_or_else(|p| p.into_inner()) {
            return Err(why.clone());
        }
        let (list, now) = (self.list.load(), self.now());
        let usable = |e: &Arc<Endpoint>| e.well.load(Relaxed) && e.out_until.load(Relaxed) <= now;
        if !list.is_empty() && !list.iter().any(usable) {
            return Err("no endpoint is well".into());
        }
        Ok(())
    }
}

impl Endpoint {
    fn new(host: Arc<str>, addr: SocketAddr) -> Endpoint {
        let v6 = addr.is_ipv6() && host.contains(':');
        let authority =
            if v6 { format!("[{host}]:{}", addr.port()) } else { format!("{host}:{}", addr.port()) };
        Endpoint {
            host,
            addr,
            authority: authority.try_into().ok(),
            running: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            well: AtomicBool::new(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target { url: url.into(), ..Target::default() }
    }

    #[tokio::test]
    async fn endpoints_take_turns_and_the_failing_are_left_out() {
        let all = Endpoints::new(&target("grpc://127.0.0.1:1001,127.0.0.1:1002,127.0.0.1:1003")).unwrap();
        all.refresh().await.unwrap();
        let ports =
            |n: usize| -> Vec<u16> { (0..n).map(|_| all.pick(&[]).unwrap().endpoint.addr.port()).collect() };
        assert_eq!(ports(4), [1001, 1002, 1003, 1001]);
        let bad = all.list().iter().find(|e| e.addr.port() == 1002).cloned().unwrap();
        for _ in 0..FAILURES {
            all.judge(&bad, false);
        }
        assert!(!ports(6).contains(&1002));
        all.judge(&bad, true);
        assert!(ports(6).contains(&1002));
        for endpoint in all.list().iter() {
            all.set_well(endpoint, false);
        }
        assert!(all.healthy().is_err());
        // All in trouble: all are tried.
        assert_eq!(ports(3).len(), 3);
    }

    #[tokio::test]
    async fn the_less_busy_of_two_is_taken_and_the_limit_holds() {
        let mut wanted = target("grpc://127.0.0.1:1001,127.0.0.1:1002");
        wanted.balance = Balance::LeastRequest;
        wanted.max_running = 4;
        let all = Endpoints::new(&wanted).unwrap();
        all.refresh().await.unwrap();
        let held: Vec<Running> = (0..4).map(|_| all.pick(&[]).unwrap()).collect();
        let on_first = held.iter().filter(|r| r.endpoint.addr.port() == 1001).count();
        assert_eq!(on_first, 2);
        assert_eq!(all.pick(&[]).err().unwrap().code, Code::Unavailable);
        drop(held);
        assert!(all.pick(&[]).is_ok());
    }

    #[test]
    fn targets() {
        for good in ["grpc://a:1", "http://[::1]:80/path", "thrift://a:1,b:2"] {
            assert!(Endpoints::new(&target(good)).is_ok(), "{good}");
        }
        for bad in ["grpc://a", "grpc://:1", "grpc://a:x", "grpc://a:70000", "grpc://u@a:1", ""] {
            assert!(Endpoints::new(&target(bad)).is_err(), "{bad}");
        }
    }
}
