//! `demo`: writes an example to a folder and runs it: the server with its configuration, and its worker.
//!
//! The files are those of `examples/`, put into the binary when it is built.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::{out, server};
use crate::config::units::nearest;
use crate::error::{CliError, exit};

/// One example.
struct Demo {
    name: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

static DEMOS: &[Demo] = include!(concat!(env!("OUT_DIR"), "/demos.rs"));

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Which one
    name: Option<String>,
    /// Folder to write to [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Do not start the worker
    #[arg(long)]
    no_worker: bool,
    /// Port to listen on
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only write the files
    #[arg(long)]
    write_only: bool,
}

/// `switchboard demo`
pub fn run(args: &DemoArgs, json: bool, started: Instant) -> Result<u8, CliError> {
    let Some(name) = &args.name else { return list(json) };
    let Some(demo) = DEMOS.iter().find(|d| d.name == name) else {
        let error = CliError::new(exit::MISSING, "SB0007", format!("there is no demo `{name}`"));
        return Err(match nearest(name, DEMOS.iter().map(|d| d.name)).first() {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help("see them:  switchboard demo"),
        });
    };
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(name));
    write(demo, &dir)?;
    if args.write_only {
        return Ok(exit::DONE);
    }
    let server_args = server::ServerArgs::of_demo(&dir, args.port);
    let url = server_args.main_url()?;
    let worker = dir.join("worker.py");
    let worker = (!args.no_worker && worker.is_file()).then_some(worker);
    // A word over it tells the companion that the server is ready; dropping the sender, that it is gone.
    let (over, server) = mpsc::channel::<()>();
    let companion = std::thread::Builder::new()
        .name("demo".to_owned())
        .spawn(move || accompany(&url, worker.as_deref(), &server))
        .map_err(|why| CliError::local(format!("a thread cannot start: {why}")))?;
    let result = server::develop(&server_args, json, started, || {
        let _ = over.send(());
    });
    drop(over);
    // It ends as soon as the worker has ended; a panic in it has been reported already.
    let _ = companion.join();
    result.map(|()| exit::DONE)
}

fn list(json: bool) -> Result<u8, CliError> {
    if json {
        let demos: Vec<_> = DEMOS
            .iter()
            .map(|d| json!({ "name": d.name, "files": d.files.iter().map(|f| f.0).collect::<Vec<_>>() }))
            .collect();
        out::json(&json!({ "demos": demos }))?;
    } else if DEMOS.is_empty() {
        note!("this build has no demos in it");
    } else {
        for demo in DEMOS {
            let files: Vec<&str> = demo.files.iter().map(|f| f.0).collect();
            out::line(&format!("{:<16} {}", demo.name, files.join(" ")))?;
        }
        note!("\nrun one:  switchboard demo {}", DEMOS.first().map_or("NAME", |d| d.name));
    }
    Ok(exit::DONE)
}

/// Writes the files; what is there already and was changed stays.
fn write(demo: &Demo, dir: &Path) -> Result<(), CliError> {
    for (name, bytes) in demo.files {
        let path = dir.join(name);
        let failed =
            |why: std::io::Error| CliError::local(format!("{} cannot be written: {why}", path.display()));
        if let Ok(there) = std::fs::read(&path) {
            if there != *bytes {
                note!("kept {}, which is not the one of the demo", path.display());
            }
            continue;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::File::create_new(&path).and_then(|mut file| file.write_all(bytes)).map_err(failed)?;
    }
    note!("{} in {}", demo.files.iter().map(|f| f.0).collect::<Vec<_>>().join(", "), dir.display());
    Ok(())
}

/// Beside the server: waits until it is ready, says where the page is, runs the worker, and ends it.
fn accompany(url: &str, worker: Option<&Path>, server: &mpsc::Receiver<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    if server.recv().is_err() {
        return;
    }
    let over = || server.try_recv() == Err(mpsc::TryRecvError::Disconnected);
    note!("\n  page      {url}/\n  stop      Ctrl-C\n");
    let Some(worker) = worker else { return };
    let child = Command::new("python3").arg(worker).arg("--url").arg(url).stdin(Stdio::null()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(why) => {
            note!(
                "the worker cannot start: python3: {why}\n  start it yourself:  python3 {} --url {url}",
                worker.display()
            );
            return;
        }
    };
    // A signal reaches this thread too, so that the worker goes first and does not hold the server's drain.
    runtime.block_on(async {
        let stop = signal();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            match child.try_wait() {
                Ok(None) if !over() => {}
                Ok(Some(status)) if !over() => {
                    note!(
                        "the worker ended ({status}); start it again:  python3 {} --url {url}",
                        worker.display()
                    );
                    break;
                }
                _ => break,
            }
        }
    });
    end(&mut child);
}

/// Completes when the process is told to stop.
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without signals the end of the server is what ends the worker.
        _ => std::future::pending().await,
    }
}

/// Asks the child to stop, and insists after twelve seconds: a worker gives a running job ten.
fn end(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw)
        && matches!(child.try_wait(), Ok(None))
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    for _ in 0..240 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_once_and_changed_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let demo = Demo { name: "d", files: &[("a.txt", b"one"), ("sub/b.txt", b"two")] };
        write(&demo, dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("sub/b.txt")).unwrap(), b"two");
        std::fs::write(dir.path().join("a.txt"), "mine").unwrap();
        write(&demo, dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("a.txt")).unwrap(), b"mine");
    }

    #[test]
    fn the_worker_starts_when_the_server_is_ready_and_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (worker, note) = (dir.path().join("worker.py"), dir.path().join("note"));
        let script = format!(
            "import os, sys, time\nopen({:?}, 'w').write(f'{{os.getpid()}} {{sys.argv[2]}}\\n')\ntime.sleep(60)\n",
            note.display().to_string()
        );
        std::fs::write(&worker, script).unwrap();
        let url = "http://localhost:1";
        let (over, server) = mpsc::channel();
        let beside = std::thread::spawn(move || accompany(url, Some(&worker), &server));
        over.send(()).unwrap();
        let started = Instant::now();
        let line = loop {
            match std::fs::read_to_string(&note) {
                Ok(line) if line.ends_with('\n') => break line,
                _ => assert!(started.elapsed() < Duration::from_secs(20), "the worker did not start"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let (pid, given) = line.trim().split_once(' ').unwrap();
        assert_eq!(given, url);
        drop(over);
        beside.join().unwrap();
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the worker is still there");
    }
}
