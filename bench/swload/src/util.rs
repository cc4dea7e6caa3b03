//! Small helpers shared by the sub-commands: arguments, clock, histogram, CPU accounting.
use std::collections::{HashMap, HashSet};

pub struct Args(HashMap<String, String>);
impl Args {
    pub fn parse(mut it: impl Iterator<Item = String>) -> Args {
        let mut m = HashMap::new();
        while let Some(k) = it.next() {
            let k = k.strip_prefix("--").unwrap_or_else(|| panic!("bad argument {k}")).to_string();
            let v = it.next().unwrap_or_else(|| panic!("--{k} needs a value"));
            m.insert(k, v);
        }
        Args(m)
    }
    pub fn s(&self, k: &str, d: &str) -> String {
        self.0.get(k).cloned().unwrap_or_else(|| d.to_string())
    }
    pub fn n(&self, k: &str, d: u64) -> u64 {
        self.0.get(k).map(|v| v.parse().unwrap_or_else(|_| panic!("--{k} {v}: not a number"))).unwrap_or(d)
    }
    pub fn f(&self, k: &str, d: f64) -> f64 {
        self.0.get(k).map(|v| v.parse().unwrap_or_else(|_| panic!("--{k} {v}: not a number"))).unwrap_or(d)
    }
}

pub fn now_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Log-linear histogram of nanoseconds, 64 steps a power of two (error < 1.6 %).
pub struct Hist {
    c: Vec<u64>,
    pub n: u64,
    pub max: u64,
}
impl Hist {
    pub fn new() -> Hist {
        Hist { c: vec![0; 64 * 64], n: 0, max: 0 }
    }
    fn idx(v: u64) -> usize {
        if v < 64 {
            return v as usize;
        }
        let e = 63 - v.leading_zeros() as usize;
        ((e - 5) << 6) | ((v >> (e - 6)) as usize & 63)
    }
    fn val(i: usize) -> u64 {
        if i < 64 {
            return i as u64;
        }
        let e = (i >> 6) + 5;
        (1u64 << e) + (((i & 63) as u64) << (e - 6))
    }
    pub fn add(&mut self, v: u64) {
        self.c[Self::idx(v)] += 1;
        self.n += 1;
        if v > self.max {
            self.max = v;
        }
    }
    pub fn q(&self, q: f64) -> f64 {
        let want = ((self.n as f64) * q).ceil() as u64;
        let mut s = 0;
        for (i, c) in self.c.iter().enumerate() {
            s += c;
            if s >= want && s > 0 {
                return Self::val(i) as f64 / 1000.0;
            }
        }
        0.0
    }
    pub fn json(&self) -> String {
        format!(
            "\"p50_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\"max_us\":{:.1}",
            self.q(0.5),
            self.q(0.99),
            self.q(0.999),
            self.max as f64 / 1000.0
        )
    }
}

/// CPU seconds of the process trees rooted at the pids (live descendants included).
pub fn tree_cpu(roots: &[u32]) -> f64 {
    if roots.is_empty() {
        return 0.0;
    }
    let mut stat: HashMap<u32, (u32, u64)> = HashMap::new();
    for e in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = e.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(s) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let rest: Vec<&str> = s[s.rfind(')').unwrap() + 2..].split(' ').collect();
        let ppid: u32 = rest[1].parse().unwrap();
        let t: u64 = (11..15).map(|i| rest[i].parse::<i64>().unwrap().max(0) as u64).sum();
        stat.insert(pid, (ppid, t));
    }
    let mut set: HashSet<u32> = roots.iter().copied().collect();
    loop {
        let before = set.len();
        for (p, (pp, _)) in &stat {
            if set.contains(pp) {
                set.insert(*p);
            }
        }
        if set.len() == before {
            break;
        }
    }
    let t: u64 = set.iter().filter_map(|p| stat.get(p)).map(|x| x.1).sum();
    t as f64 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
}

pub fn own_cpu() -> f64 {
    unsafe {
        let mut r: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut r);
        let f = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
        f(r.ru_utime) + f(r.ru_stime)
    }
}

/// Busy seconds and stolen seconds of the whole machine.
pub fn machine_cpu() -> (f64, f64) {
    let s = std::fs::read_to_string("/proc/stat").unwrap();
    let v: Vec<f64> =
        s.lines().next().unwrap().split_whitespace().skip(1).map(|x| x.parse().unwrap()).collect();
    ((v[0] + v[1] + v[2] + v[5] + v[6]) / 100.0, v[7] / 100.0)
}

pub struct Meter {
    pids: Vec<u32>,
    s: f64,
    c: f64,
    m: (f64, f64),
    t: u64,
}
impl Meter {
    pub fn start(pids: &[u32]) -> Meter {
        Meter { pids: pids.to_vec(), s: tree_cpu(pids), c: own_cpu(), m: machine_cpu(), t: now_ns() }
    }
    /// (wall s, server cpu s, client cpu s, json fragment); `n` units of work were done in `wall`.
    pub fn stop(&self, n: u64, wall: Option<f64>) -> (f64, f64, f64, String) {
        let all = (now_ns() - self.t) as f64 / 1e9;
        let w = wall.unwrap_or(all);
        let (s, c, m) = (tree_cpu(&self.pids) - self.s, own_cpu() - self.c, machine_cpu());
        let (busy, steal) = (m.0 - self.m.0, m.1 - self.m.1);
        let per = |x: f64| x * 1e6 / n.max(1) as f64;
        let j = format!(
            "\"secs\":{:.3},\"rate\":{:.0},\"srv_us\":{:.3},\"cli_us\":{:.3},\"srv_cores\":{:.2},\"cli_cores\":{:.2},\"other_cores\":{:.2},\"steal_cores\":{:.2}",
            w,
            n as f64 / w,
            per(s),
            per(c),
            s / all,
            c / all,
            (busy - s - c).max(0.0) / all,
            steal / all
        );
        (w, s, c, j)
    }
}
pub fn pids(a: &Args) -> Vec<u32> {
    a.s("pid", "").split(',').filter(|x| !x.is_empty()).map(|x| x.parse().expect("--pid")).collect()
}
