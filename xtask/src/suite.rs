//! `cargo xtask test`: every suite of a tier, step by step, each with its name and time. It goes on after a failure, installs
//! what it needs below `.suite/`, and says by name what could not be run and why.

use std::fs::{self, File};
use std::io::{IsTerminal, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

const CARGO_FUZZ: &str = "0.13.1";

/// How much is run.
#[derive(Copy, Clone, PartialEq, PartialOrd, Debug)]
pub enum Tier {
    /// With every change: under 50 minutes on two cores.
    Change,
    /// Every night.
    Night,
    /// Before a release.
    Release,
}

/// What the command line asked for.
#[derive(PartialEq, Debug)]
pub struct Options {
    tier: Tier,
    strict: bool,
    again: bool,
    only: Option<String>,
}

impl Options {
    /// Reads the words behind `test`.
    pub fn read(words: &[&str]) -> Result<Self, String> {
        let mut options = Options { tier: Tier::Change, strict: false, again: false, only: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "change" => options.tier = Tier::Change,
                "night" => options.tier = Tier::Night,
                "release" => options.tier = Tier::Release,
                "--strict" => options.strict = true,
                "--again" => options.again = true,
                "--only" => options.only = Some((*words.next().ok_or("--only wants a text")?).to_owned()),
                other => return Err(format!("`{other}` is neither a tier nor an option")),
            }
        }
        Ok(options)
    }
}

enum Outcome {
    Passed,
    Failed(String),
    /// A tool or a part of the project is not there: a failure with `--strict`.
    Missing(String),
    /// The suite itself said that it cannot run here.
    Skipped(String),
}
use Outcome::{Failed, Missing, Passed, Skipped};

struct Suite {
    root: PathBuf,
    options: Options,
    binary: PathBuf,
    steps: Vec<Planned>,
}

/// A step that was chosen, in the order in which it is to run.
struct Planned {
    name: String,
    limit: Duration,
    /// Whether another of these may run at the same time: most wait more than they work.
    beside: bool,
    body: Box<dyn Fn(&Step<'_>) -> Outcome + Send + Sync>,
}

/// How many steps run at once where they may.
const LANES: usize = 2;

/// Runs the tier and gives 1 when anything failed.
pub fn run(root: PathBuf, options: Options) -> ExitCode {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    // With one given and `--only`, nothing has to be built.
    let binary =
        std::env::var_os("SWITCHBOARD_BIN").map_or_else(|| target.join("release/switchboard"), PathBuf::from);
    let mut suite = Suite { binary, root, options, steps: Vec::new() };
    let began = Instant::now();
    all(&mut suite);
    let outcomes = suite.run();
    suite.end(began, &outcomes)
}

/// The steps, in the order in which they find faults soonest.
fn all(suite: &mut Suite) {
    let tier = suite.options.tier;
    let pick = move |change: &'static str, night: &'static str, release: &'static str| match tier {
        Tier::Change => change,
        Tier::Night => night,
        Tier::Release => release,
    };
    let seeds = pick("2000", "200000", "1000000");
    suite.step("cargo test --workspace", 240, move |s| {
        s.exec(s.cargo(&["test", "--workspace", "--locked"]).env("SWITCHBOARD_SEEDS", seeds))
    });
    suite.step("release build", 60, |s| {
        s.exec(&mut s.cargo(&["build", "--release", "--locked", "-p", "switchboard"]))
    });
    let cycles = pick("25", "500", "2000");
    suite.step(&format!("kill -9, {cycles} cycles"), 240, move |s| {
        s.script("interop/crash/crash.py", &["--cycles", cycles])
    });
    suite.step("bad input over RPC", 5, |s| {
        let requirements = s.root.join("interop/http/python/requirements.txt");
        s.python(&requirements, "python", |s, python| {
            s.exec(Command::new(python).arg("interop/hostile/run.py").current_dir(s.root))
        })
    });
    // The longest first, so that the lanes end at about the same time.
    suite.beside("example: code runner", 8, |s| {
        let folder = s.root.join("examples/code-runner/test");
        s.browser(|s, chromium| {
            s.node(&folder, |s| {
                s.exec(Command::new("npm").arg("test").env("CHROMIUM", chromium).current_dir(&folder))
            })
        })
    });
    suite.beside("http by python", 15, |s| {
        let folder = s.root.join("interop/http/python");
        s.python(&folder.join("requirements.txt"), "python", |s, python| {
            s.exec(
                Command::new(python)
                    .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
                    .current_dir(&folder),
            )
        })
    });
    suite.beside("http by node", 10, |s| {
        let folder = s.root.join("interop/http/node");
        s.node(&folder, |s| s.exec(Command::new("node").arg("--test").current_dir(&folder)))
    });
    suite.beside("graphql by node", 15, |s| {
        let folder = s.root.join("interop/graphql/node");
        s.node(&folder, |s| {
            s.graphql(|s, services| {
                let mut tests = Command::new("node");
                tests.arg("--test").env("GRAPHQL_SERVICES", services).env("SWITCHBOARD_BIN", s.binary);
                s.exec(tests.current_dir(&folder))
            })
        })
    });
    suite.beside("graphql by python", 10, |s| {
        let folder = s.root.join("interop/graphql/python");
        s.python(&folder.join("requirements.txt"), "graphql-python", |s, python| {
            s.graphql(|s, services| {
                let mut tests = Command::new(python);
                tests.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
                s.exec(tests.env("GRAPHQL_SERVICES", services).current_dir(&folder))
            })
        })
    });
    suite.beside("connect conformance", 30, |s| {
        s.rpc(|s| s.exec(Command::new("python3").arg("interop/connect/run.py").current_dir(s.root)))
    });
    suite.beside("grpc by python, node and go", 10, |s| {
        let folder = s.root.join("interop/grpc");
        s.rpc(|s| {
            s.node(&folder.join("node"), |s| {
                s.python(&folder.join("requirements.txt"), "grpc-python", |s, python| {
                    s.exec(Command::new(python).arg("run.py").current_dir(&folder))
                })
            })
        })
    });
    for (protocol, python) in [("jsonrpc", "jsonrpc-python"), ("mcp", "mcp-python")] {
        suite.beside(&format!("{protocol} by python and node"), 15, move |s| s.services(protocol, python));
    }
    suite.beside("damage to the journal", 60, move |s| {
        s.script("interop/crash/damage.py", &["--points", pick("20", "200", "500")])
    });
    suite.beside("subscriptions resumed, jobs under kill -9", 10, move |s| {
        let folder = s.root.join("interop/resume");
        s.python(&folder.join("requirements.txt"), "resume-python", |s, python| {
            let (seconds, cycles) = (pick("8", "60", "300"), pick("10", "100", "500"));
            s.exec(
                Command::new(python)
                    .args(["run.py", "--seconds", seconds, "--cycles", cycles])
                    .current_dir(&folder),
            )
        })
    });
    suite.beside("WebSocket by Autobahn", 60, move |s| {
        s.script("interop/autobahn/run.py", if tier == Tier::Change { &[] } else { &["--all"] })
    });
    suite.beside("Thrift by Python and Node", 15, |s| {
        s.debian(
            "thrift-compiler",
            || find("thrift"),
            |s, _| match quiet(Command::new("npm").arg("--version")) {
                true => s.script("interop/thrift/run.py", &[]),
                false => Missing("node with npm".into()),
            },
        )
    });
    suite.beside("full disk", 10, |s| s.script("interop/crash/full_disk.py", &[]));
    suite.beside("console in a browser", 15, |s| s.console());
    for example in ["user-service", "shop"] {
        suite.beside(&format!("example: {example}"), 10, move |s| {
            let folder = s.root.join("examples/user-service");
            s.node(&folder.join("node"), |s| {
                s.python(&folder.join("python/requirements.txt"), "examples-python", |s, python| {
                    s.exec(
                        Command::new(python)
                            .arg(format!("examples/{example}/test/run.py"))
                            .current_dir(s.root),
                    )
                })
            })
        });
    }
    suite.beside("docs: patterns", 10, |s| {
        s.debian(
            "curl",
            || find("curl"),
            |s, _| {
                s.with_server(|server| {
                    s.exec(
                        Command::new("python3")
                            .arg("docs/patterns/run.py")
                            .env("SWITCHBOARD_URL", &server.url)
                            .current_dir(s.root),
                    )
                })
            },
        )
    });
    if tier >= Tier::Night {
        fuzz(suite, pick("60", "60", "600"));
        suite.step("a million behind, 100,000 topics", 60, |s| s.script("interop/scale/scale.py", &[]));
        suite.step("bench smoke", 30, |s| s.script("bench/smoke.py", &[]));
    }
}

/// Every fuzz target for so many seconds, each a step of its own.
fn fuzz(suite: &mut Suite, seconds: &'static str) {
    let mut targets: Vec<String> = fs::read_dir(suite.root.join("fuzz/fuzz_targets"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    targets.sort();
    if targets.is_empty() {
        suite.step("fuzz", 1, |_| Missing("there are no targets in fuzz/fuzz_targets".into()));
    }
    for target in targets {
        suite.step(&format!("fuzz {target}, {seconds} s"), 60, move |s| {
            if !quiet(Command::new("cargo").args(["+nightly", "--version"])) {
                return Missing("a nightly toolchain (rustup toolchain install nightly)".into());
            }
            let home = s.root.join(".suite/cargo");
            if !home.join("bin/cargo-fuzz").exists() {
                let mut install = Command::new("cargo");
                install
                    .args(["install", "--locked", "cargo-fuzz", "--version", CARGO_FUZZ, "--root"])
                    .arg(&home);
                if let Failed(why) = s.exec(&mut install) {
                    return Missing(format!("cargo-fuzz: {why}"));
                }
            }
            // What is found is kept in the corpus; the seeds are only read.
            let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
            let _ = fs::create_dir_all(s.root.join(&corpus));
            s.exec(
                Command::new("cargo")
                    .args(["+nightly", "fuzz", "run", &target, &corpus, &seeds, "--"])
                    .args([&format!("-max_total_time={seconds}"), "-timeout=10", "-max_len=16384"])
                    .env("PATH", path_with(&home.join("bin")))
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .current_dir(s.root),
            )
        });
    }
}

/// What a step works with: its own log and time limit beside what all share.
struct Step<'a> {
    root: &'a Path,
    binary: &'a Path,
    log: PathBuf,
    until: Instant,
}

impl Suite {
    /// A step that needs the machine for itself: it builds with all cores, or judges times and memory.
    fn step(
        &mut self,
        name: &str,
        minutes: u64,
        body: impl Fn(&Step<'_>) -> Outcome + Send + Sync + 'static,
    ) {
        self.plan(name, minutes, false, Box::new(body));
    }

    /// A step that may run beside another.
    fn beside(
        &mut self,
        name: &str,
        minutes: u64,
        body: impl Fn(&Step<'_>) -> Outcome + Send + Sync + 'static,
    ) {
        self.plan(name, minutes, true, Box::new(body));
    }

    fn plan(
        &mut self,
        name: &str,
        minutes: u64,
        beside: bool,
        body: Box<dyn Fn(&Step<'_>) -> Outcome + Send + Sync>,
    ) {
        if self.options.only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            let limit = Duration::from_secs(minutes * 60);
            self.steps.push(Planned { name: name.to_owned(), limit, beside, body });
        }
    }

    /// Runs what was planned and gives what became of each. Neighbours that may run beside each other share the machine.
    fn run(&self) -> Vec<Outcome> {
        let outcomes: Vec<OnceLock<Outcome>> = self.steps.iter().map(|_| OnceLock::new()).collect();
        let one = |step: usize| drop(outcomes[step].set(self.judge(&self.steps[step])));
        let mut next = 0;
        while next < self.steps.len() {
            let group = self.steps[next..].iter().take_while(|step| step.beside).count();
            if group == 0 {
                one(next);
                next += 1;
                continue;
            }
            let (end, taken) = (next + group, AtomicUsize::new(next));
            std::thread::scope(|scope| {
                for _ in 0..LANES {
                    scope.spawn(|| {
                        while let Some(step) =
                            Some(taken.fetch_add(1, Ordering::Relaxed)).filter(|step| *step < end)
                        {
                            one(step);
                        }
                    });
                }
            });
            next = end;
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.into_inner().unwrap_or(Failed("it did not run".into())))
            .collect()
    }

    fn judge(&self, planned: &Planned) -> Outcome {
        let name = &planned.name;
        println!("==   {name}");
        let _ = std::io::stdout().flush();
        let logs = self.root.join(".suite/logs");
        let _ = fs::create_dir_all(&logs);
        let file: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let log = logs.join(format!("{file}.log"));
        let _ = File::create(&log);
        let began = Instant::now();
        let try_it = || {
            (planned.body)(&Step {
                root: &self.root,
                binary: &self.binary,
                log: log.clone(),
                until: Instant::now() + planned.limit,
            })
        };
        let mut outcome = try_it();
        if let (Failed(why), true) = (&outcome, self.options.again) {
            // A suite that needs two tries is a fault to look into, but not one of the change at hand.
            println!("{}\nUNSTABLE? {name}: {why}; once more", last_lines(&log, 60));
            outcome = try_it();
        }
        let took = began.elapsed().as_secs_f64();
        match &outcome {
            Passed => println!("ok   {name} ({took:.1} s)"),
            Failed(why) => {
                println!("{}", last_lines(&log, 60));
                println!("FAIL {name} ({took:.1} s): {why}; all of it in {}", log.display());
            }
            Missing(what) => println!("NOT RUN {name}: missing: {what}"),
            Skipped(why) => println!("SKIP {name}: {why}"),
        }
        outcome
    }

    fn end(self, began: Instant, outcomes: &[Outcome]) -> ExitCode {
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        println!("\n{:.0} s in all", began.elapsed().as_secs_f64());
        for (Planned { name, .. }, outcome) in self.steps.iter().zip(outcomes) {
            match outcome {
                Passed => passed += 1,
                Failed(why) => {
                    failed += 1;
                    println!("failed: {name}: {why}");
                }
                Missing(what) => {
                    *(if self.options.strict { &mut failed } else { &mut skipped }) += 1;
                    println!("not run: {name}: missing: {what}");
                }
                Skipped(why) => {
                    skipped += 1;
                    println!("skipped: {name}: {why}");
                }
            }
        }
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

impl Step<'_> {
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(self.root);
        command
    }

    /// Runs a command into the log until it ends or the step's time is over; its whole process group ends with it.
    fn exec(&self, command: &mut Command) -> Outcome {
        let shown = format!("{} …", command.get_program().to_string_lossy());
        let Ok(log) = File::options().append(true).open(&self.log) else {
            return Failed("the log cannot be written".into());
        };
        let Ok(other) = log.try_clone() else { return Failed("the log cannot be written".into()) };
        command
            .env("SWITCHBOARD_BIN", self.binary)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(other)
            .process_group(0);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Missing(format!("{shown} {error}")),
        };
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Passed,
                Ok(Some(status)) => return Failed(format!("{shown} {status}")),
                Ok(None) if Instant::now() > self.until => {
                    end_group(&mut child);
                    return Failed(format!("{shown} took too long and was ended"));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => return Failed(format!("{shown} {error}")),
            }
        }
    }

    /// A script of the project that needs Python alone.
    fn script(&self, script: &str, arguments: &[&str]) -> Outcome {
        if !self.root.join(script).exists() {
            return Missing(script.to_owned());
        }
        match self.exec(Command::new("python3").arg(script).args(arguments).current_dir(self.root)) {
            Passed => skip_of(&fs::read_to_string(&self.log).unwrap_or_default()).map_or(Passed, Skipped),
            other => other,
        }
    }

    /// A program of this workspace for tests, built as `cargo test --workspace` has built it: chosen by package, it
    /// would have other features of its dependencies, and all of these be built once more.
    fn built(&self, kind: &str, name: &str) -> Result<PathBuf, Outcome> {
        match self.exec(&mut self.cargo(&["build", "--workspace", "--locked", "--bins", "--examples"])) {
            Passed => {}
            other => return Err(other),
        }
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from);
        Ok(target.join("debug").join(kind).join(name))
    }

    /// Goes on with the services that the clients of GraphQL talk to, an example of the protocol's crate.
    fn graphql(&self, then: impl FnOnce(&Self, &Path) -> Outcome) -> Outcome {
        match self.built("examples", "services") {
            Ok(services) => then(self, &services),
            Err(other) => other,
        }
    }

    /// Goes on with Go, and the adapter by which suites of RPC protocols reach this project.
    fn rpc(&self, then: impl FnOnce(&Self) -> Outcome) -> Outcome {
        if find("go").is_none() {
            return Missing("go".into());
        }
        match self.built("", "sb-connect-adapter") {
            Ok(_) => then(self),
            Err(other) => other,
        }
    }

    /// Client libraries of a protocol in Python and Node, against the server with the services of the tests.
    fn services(&self, protocol: &str, python: &str) -> Outcome {
        let folder = self.root.join("interop").join(protocol);
        let server = match self.built("examples", "rpc") {
            Ok(server) => server,
            Err(other) => return other,
        };
        let by_python = self.python(&folder.join("python/requirements.txt"), python, |s, python| {
            s.exec(
                Command::new(python)
                    .arg("run.py")
                    .env("RPC_SERVER", &server)
                    .current_dir(folder.join("python")),
            )
        });
        match by_python {
            Passed => {}
            other => return other,
        }
        let node = folder.join("node");
        self.node(&node, |s| {
            s.exec(Command::new("node").arg("--test").env("RPC_SERVER", &server).current_dir(&node))
        })
    }

    /// Held while something is installed: two at once would meet in one folder, or at the lock of Debian's packages.
    fn installing() -> MutexGuard<'static, ()> {
        static ONE: Mutex<()> = Mutex::new(());
        ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Goes on with the Python of a virtual environment that holds exactly these requirements.
    fn python(&self, requirements: &Path, name: &str, then: impl FnOnce(&Self, &Path) -> Outcome) -> Outcome {
        let Ok(wanted) = fs::read_to_string(requirements) else {
            return Missing(requirements.display().to_string());
        };
        let home = self.root.join(".suite").join(name);
        let (python, stamp) = (home.join("bin/python"), home.join("installed.txt"));
        let one = Self::installing();
        if fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
            let _ = fs::remove_dir_all(&home);
            let made = self.exec(Command::new("python3").args(["-m", "venv"]).arg(&home));
            if !matches!(made, Passed) {
                return Missing("python3 with venv".into());
            }
            let installed =
                self.exec(Command::new(&python).args(["-m", "pip", "install", "-q", "-r"]).arg(requirements));
            if let Failed(why) = installed {
                return Missing(format!("the packages of {}: {why}", requirements.display()));
            }
            let _ = fs::write(&stamp, &wanted);
        }
        drop(one);
        then(self, &python)
    }

    /// Goes on when the packages of this folder are installed as its lock file says.
    fn node(&self, folder: &Path, then: impl FnOnce(&Self) -> Outcome) -> Outcome {
        let Ok(wanted) = fs::read_to_string(folder.join("package-lock.json")) else {
            return Missing(folder.join("package-lock.json").display().to_string());
        };
        if !quiet(Command::new("npm").arg("--version")) {
            return Missing("node with npm".into());
        }
        let stamp = folder.join("node_modules/.installed");
        let one = Self::installing();
        if fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
            match self.exec(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder)) {
                Passed => drop(fs::write(&stamp, &wanted)),
                Failed(why) => return Missing(format!("the packages of {}: {why}", folder.display())),
                other => return other,
            }
        }
        drop(one);
        then(self)
    }

    /// Goes on with a program from a Debian package, found by `find`; root may install it.
    fn debian(
        &self,
        package: &str,
        find_it: impl Fn() -> Option<PathBuf>,
        then: impl FnOnce(&Self, &Path) -> Outcome,
    ) -> Outcome {
        let one = Self::installing();
        if find_it().is_none() && is_root() && find("apt-get").is_some() {
            let _ = self.exec(Command::new("apt-get").args(["update", "-qq"]));
            let _ = self.exec(
                Command::new("apt-get")
                    .args(["install", "-y", "-qq", "--no-install-recommends", package])
                    .env("DEBIAN_FRONTEND", "noninteractive"),
            );
        }
        drop(one);
        match find_it() {
            Some(program) => then(self, &program),
            None => Missing(format!("{package} from Debian's packages")),
        }
    }

    /// Goes on with a Chromium, that of CHROMIUM if it is set.
    fn browser(&self, then: impl FnOnce(&Self, &Path) -> Outcome) -> Outcome {
        self.debian("chromium", find_browser, then)
    }

    /// Goes on with a fresh server, which ends afterwards.
    fn with_server(&self, then: impl FnOnce(&Server) -> Outcome) -> Outcome {
        match Server::start(self.binary, &self.root.join(".suite")) {
            Ok(server) => then(&server),
            Err(why) => Failed(why),
        }
    }

    /// The console's tests, in a browser, against a server of their own.
    fn console(&self) -> Outcome {
        let folder = self.root.join("console");
        if !folder.join("package-lock.json").exists() {
            return Missing("console/".into());
        }
        self.browser(|s, chromium| {
            s.node(&folder, |s| {
                // Not `node --test` alone: that takes everything in test/ for a test, the stand-in server, too.
                s.with_server(|server| {
                    s.exec(
                        Command::new("npm")
                            .arg("test")
                            .env("SWITCHBOARD_URL", &server.url)
                            .env("CHROMIUM", chromium)
                            .current_dir(&folder),
                    )
                })
            })
        })
    }
}

/// A server in development mode on the loopback interface; ended when dropped.
struct Server {
    child: Child,
    folder: PathBuf,
    url: String,
}

impl Server {
    fn start(binary: &Path, below: &Path) -> Result<Self, String> {
        if !binary.exists() {
            return Err(format!("there is no {}", binary.display()));
        }
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|error| format!("no free port: {error}"))?
            .port();
        let folder = below.join(format!("server-{}-{port}", std::process::id()));
        let url = format!("http://127.0.0.1:{port}");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let child = Command::new(binary)
            .args(["--port", &port.to_string(), "--data"])
            .arg(folder.join("data"))
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let mut server = Server { child, folder, url };
        for _ in 0..1000 {
            if ready(port) {
                return Ok(server);
            }
            if matches!(server.child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("the server did not start".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn ready(port: u16) -> bool {
    let Ok(mut pipe) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = pipe.set_read_timeout(Some(Duration::from_secs(2)));
    let mut start = [0; 12];
    pipe.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").is_ok()
        && pipe.read_exact(&mut start).is_ok()
        && start.ends_with(b"200")
}

/// Ends the command and what it started: they share a process group of their own.
fn end_group(child: &mut Child) {
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
    let _ = child.wait();
}

fn quiet(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The reason when a script skipped everything it had.
fn skip_of(log: &str) -> Option<String> {
    let last = log.lines().last()?;
    if !last.starts_with("0 passed, 0 failed, ") {
        return None;
    }
    Some(log.lines().find_map(|line| line.strip_prefix("SKIP "))?.to_owned())
}

fn last_lines(log: &Path, count: usize) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let indent = if std::io::stdout().is_terminal() { "\u{2502} " } else { "  | " };
    let shown = lines.iter().skip(lines.len().saturating_sub(count));
    shown.map(|line| format!("{indent}{line}")).collect::<Vec<_>>().join("\n")
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn find_browser() -> Option<PathBuf> {
    std::env::var_os("CHROMIUM")
        .map(PathBuf::from)
        .or_else(|| ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find))
}

fn path_with(folder: &Path) -> std::ffi::OsString {
    let old = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&old)))
        .unwrap_or(old)
}

/// Whether this is root, read from /proc, since there is no safe call for it in the standard library.
fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .any(|line| line.strip_prefix("Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0")))
}

#[cfg(test)]
mod tests {
    //! The parts that need nothing installed.

    use super::*;

    #[test]
    fn options_are_read() {
        let read = |words: &[&str]| Options::read(words);
        assert_eq!(read(&[]), Ok(Options { tier: Tier::Change, strict: false, again: false, only: None }));
        assert_eq!(
            read(&["night", "--strict", "--only", "kill"]),
            Ok(Options { tier: Tier::Night, strict: true, again: false, only: Some("kill".into()) })
        );
        assert!(read(&["weekly"]).is_err() && read(&["--only"]).is_err());
        assert!(Tier::Release > Tier::Night && Tier::Night > Tier::Change);
    }

    #[test]
    fn a_script_that_skipped_all_is_no_success() {
        assert_eq!(skip_of("SKIP a: no root\n0 passed, 0 failed, 1 skipped\n"), Some("a: no root".into()));
        assert_eq!(skip_of("SKIP a: no root\nok b\n1 passed, 0 failed, 1 skipped\n"), None);
        assert_eq!(skip_of("2 passed, 0 failed\n"), None);
    }

    #[test]
    fn commands_are_judged_and_ended() {
        let log = std::env::temp_dir().join(format!("switchboard-xtask-{}.log", std::process::id()));
        File::create(&log).expect("a log");
        let step = |seconds| Step {
            root: Path::new("/"),
            binary: Path::new("none"),
            log: log.clone(),
            until: Instant::now() + Duration::from_secs(seconds),
        };
        assert!(matches!(step(60).exec(&mut Command::new("true")), Passed));
        assert!(matches!(step(60).exec(&mut Command::new("false")), Failed(_)));
        assert!(matches!(step(60).exec(&mut Command::new("no-such-program-here")), Missing(_)));
        let began = Instant::now();
        assert!(
            matches!(step(0).exec(Command::new("sleep").arg("30")), Failed(why) if why.contains("too long"))
        );
        assert!(began.elapsed() < Duration::from_secs(20));
        let _ = fs::remove_file(log);
    }
}
