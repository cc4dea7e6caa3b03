//! What the measuring examples share: clocks, the figures of the process and of the disk, a board to measure.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use sb_board::auth::Authority;
use sb_board::mount::Peer;
use sb_board::{Access, Board, Credentials, HttpSettings, Settings};
use sb_core::model::{Address, Message};
use sb_core::ops::Now;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The folder given as first argument; a subfolder of it that is made anew.
pub fn scratch(name: &str) -> PathBuf {
    let base = std::env::args().nth(1).unwrap_or_else(|| {
        eprintln!("give a folder on the disk that is to be measured");
        std::process::exit(2)
    });
    let dir = Path::new(&base).join(format!("sb-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// The number behind `--NAME`.
pub fn option(name: &str, default: u64) -> u64 {
    let args: Vec<String> = std::env::args().collect();
    let at = args.iter().position(|a| *a == format!("--{name}"));
    at.and_then(|n| args.get(n + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// CPU of this process so far (user, system), counted by the kernel to the tick of 10 ms.
pub fn cpu() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let words: Vec<f64> =
        stat[stat.rfind(')').unwrap() + 2..].split(' ').map(|w| w.parse().unwrap_or(0.0)).collect();
    (words[11] / 100.0, words[12] / 100.0)
}

/// CPU of this process so far, in seconds.
pub fn cpu_seconds() -> f64 {
    let (user, system) = cpu();
    user + system
}

/// Resident memory of this process, in bytes.
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 4096
}

pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

/// The time as the core takes it.
pub fn now(start: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Now { wall_ms: wall.as_millis() as i64, mono_ms: start.elapsed().as_millis() as u64 }
}

/// What is printed first: when, and how busy the machine is.
pub fn conditions() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    println!("{cores} cores, load average {}, {} s since 1970", load.split(' ').next().unwrap_or("?"), wall);
}

/// Median, smallest and largest.
pub fn spread(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    match values {
        [] => (0.0, 0.0, 0.0),
        all => (all[all.len() / 2], all[0], all[all.len() - 1]),
    }
}

/// The value below which this part of the sorted values lies.
pub fn quantile<T: Copy + Default>(sorted: &[T], part: f64) -> T {
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// What the disk can do, measured with nothing in between: one synced write of 4 KiB after another into a file whose space is there,
/// and 1 MiB blocks with one sync at the end.
pub struct Disk {
    pub syncs: f64,
    pub sync_p50_us: f64,
    pub sync_p99_us: f64,
    pub bytes_per_second: f64,
}

pub fn disk(dir: &Path) -> Disk {
    let path = dir.join("limits");
    let mut file = std::fs::File::create(&path).unwrap();
    let block = vec![7u8; 1 << 20];
    let start = Instant::now();
    let total = 512;
    for _ in 0..total {
        file.write_all(&block).unwrap();
    }
    file.sync_data().unwrap();
    let bytes_per_second = f64::from(total) * block.len() as f64 / start.elapsed().as_secs_f64();
    let mut times = Vec::new();
    let start = Instant::now();
    let mut at = 0;
    while start.elapsed() < Duration::from_secs(2) {
        let before = Instant::now();
        std::os::unix::fs::FileExt::write_all_at(&file, &block[..4096], at % (512 << 20)).unwrap();
        file.sync_data().unwrap();
        times.push(before.elapsed().as_secs_f64() * 1e6);
        at += 4096;
    }
    let syncs = times.len() as f64 / start.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    drop(file);
    std::fs::remove_file(&path).unwrap();
    Disk { syncs, sync_p50_us: quantile(&times, 0.5), sync_p99_us: quantile(&times, 0.99), bytes_per_second }
}

impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "disk alone: {:.0} synced writes of 4 KiB a second (p50 {:.0} us, p99 {:.0} us), {:.0} MB/s in a row",
            self.syncs,
            self.sync_p50_us,
            self.sync_p99_us,
            self.bytes_per_second / 1e6
        )
    }
}

pub fn settings(dir: Option<&Path>) -> Settings {
    Settings {
        dir: dir.map(Path::to_path_buf),
        authority: Authority::new([], Vec::new(), BTreeMap::new()),
        http: HttpSettings::default(),
        memory: 512 << 20,
        max_message: 1 << 20,
        max_request: 8 << 20,
        max_wait_ms: 60_000,
        mode: "measure".into(),
    }
}

/// A running board and its door.
pub fn board(dir: Option<&Path>) -> (Arc<Board>, Access) {
    let (board, _) = Board::start(settings(dir)).unwrap();
    let addr = "127.0.0.1:1".parse().unwrap();
    let access = board.login("measure", &Peer { addr, local: addr, tls: false }, Credentials::None).unwrap();
    (board, access)
}

pub fn message(address: &Address, size: usize) -> Message {
    Message::new(address.clone(), vec![b'x'; size])
}

/// Runs this program again in another role and ends it with SIGKILL as soon as it says `done`; gives what it printed before.
pub fn killed_child(role: &str, dir: &Path) -> Vec<String> {
    use std::io::BufRead as _;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .arg(dir)
        .args(std::env::args().skip(2))
        .env("SB_ROLE", role)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "done" {
            child.kill().unwrap();
            child.wait().unwrap();
            return lines;
        }
        lines.push(line);
    }
    eprintln!("{role}: {:?}: {lines:?}", child.wait());
    std::process::exit(1)
}

/// The role given by [`killed_child`], if any, and the folder.
pub fn role() -> Option<(String, PathBuf)> {
    let role = std::env::var("SB_ROLE").ok()?;
    Some((role, PathBuf::from(std::env::args().nth(1)?)))
}
