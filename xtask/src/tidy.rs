//! The rules of the house that a program can check: who may depend on whom, which files a protocol has, a comment at the
//! head of every file, file size, and words that do not belong.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate may depend on among ours. A protocol has the arrows of [`PROTOCOL`]; who is listed with `*` assembles everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("sb-wirekit", &[]),
    ("sb-core", &["sb-wirekit"]),
    ("sb-log", &["sb-core", "sb-wirekit"]),
    ("sb-board", &["sb-core", "sb-log", "sb-schema", "sb-wirekit"]),
    ("sb-schema", &["sb-wirekit"]),
    ("sb-api", &["sb-board", "sb-core", "sb-schema"]),
    ("sb-net", &["sb-board", "sb-core", "sb-wirekit"]),
    ("sb-federation", &[]),
    ("sb-graphql", &["sb-board", "sb-core", "sb-federation", "sb-schema", "sb-wirekit"]),
    ("sb-sim", &["sb-board", "sb-core", "sb-log", "sb-wirekit"]),
    ("sb-suite", &["*"]),
    ("sb-connect-adapter", &["*"]),
    ("switchboard", &["*"]),
    ("xtask", &[]),
];
const PROTOCOL: &[&str] = &["sb-board", "sb-core", "sb-schema", "sb-wirekit"];

/// The core has no I/O, no clock, no randomness, no async runtime; these crates would bring them.
const NOT_IN_CORE: &[&str] =
    &["tokio", "hyper", "http", "rand", "futures-util", "rustix", "redb", "jiff", "tracing"];
const NOT_IN_CORE_CODE: &[&str] =
    &["std::fs", "std::net", "std::thread", "SystemTime", "Instant::now", "std::env"];
/// Names of protocols; the folders of `protocols/` are added.
const PROTOCOL_WORDS: &[&str] = &[
    "http",
    "amqp",
    "kafka",
    "mqtt",
    "nats",
    "redis",
    "grpc",
    "websocket",
    "sse",
    "graphql",
    "thrift",
    "stomp",
    "smtp",
];

/// Files of the core that may name protocols, each with its reason.
const MAY_NAME: &[(&str, &str)] = &[(
    "crates/core/src/model/address.rs",
    "spellings of addresses that several protocols share, kept beside the canonical one",
)];

const MOST_LINES: usize = 1000;
const SKIPPED: &[&str] =
    &["target", "node_modules", ".git", ".suite", "dist", "__pycache__", "corpus", "artifacts", "generated"];
const TEXT: &[&str] = &[
    "rs", "toml", "md", "py", "js", "mjs", "ts", "tsx", "css", "html", "json", "yml", "yaml", "sh", "proto",
    "txt", "ini",
];

/// Every breach of a rule, a line each.
pub fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    arrows(&metadata(root)?, root, &mut faults);
    protocol_folders(root, &mut faults);
    let mut files = Vec::new();
    walk(root, &mut files);
    files.sort();
    for path in files {
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        if let Ok(text) = fs::read_to_string(&path) {
            file(&shown, &text, &mut faults);
        }
    }
    core_words(root, &mut faults);
    Ok(faults)
}

fn metadata(root: &Path) -> Result<Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// Checks the arrows between our crates. Dev-dependencies are free: tests may assemble what they need.
fn arrows(metadata: &Value, root: &Path, faults: &mut Vec<String>) {
    let packages = list(&metadata["packages"]);
    let ours: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let protocol = Path::new(manifest).starts_with(root.join("protocols"));
        let known = ARROWS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, allowed)| *allowed);
        let Some(allowed) = known.or(protocol.then_some(PROTOCOL)) else {
            faults.push(format!("{name}: xtask/src/tidy.rs does not say what it may depend on"));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let on = dependency["name"].as_str().unwrap_or_default();
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            if ours.contains(&on) && !allowed.contains(&on) && allowed != ["*"] {
                faults.push(format!("{name} must not depend on {on}; it may on {allowed:?}"));
            }
            if name == "sb-core" && NOT_IN_CORE.contains(&on) {
                faults.push(format!(
                    "sb-core must not depend on {on}: no I/O, no clock, no chance, no runtime in there"
                ));
            }
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Every protocol has the same files. A crate without a line of code owes nothing yet.
fn protocol_folders(root: &Path, faults: &mut Vec<String>) {
    for folder in folders(&root.join("protocols")) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lib = fs::read_to_string(folder.join("src/lib.rs")).unwrap_or_default();
        if lib.lines().all(|line| line.trim().is_empty() || line.trim().starts_with("//")) {
            continue;
        }
        let has = |module: &str| {
            let src = folder.join("src");
            src.join(format!("{module}.rs")).exists() || src.join(module).join("mod.rs").exists()
        };
        for module in ["wire", "map", "server"] {
            if !has(module) {
                faults.push(format!("protocols/{name}: src/{module}.rs is missing"));
            }
        }
        if !folder.join("tests").is_dir() && !has("tests") {
            faults.push(format!("protocols/{name}: it has no tests/"));
        }
    }
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    found.sort();
    found
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && !SKIPPED.contains(&entry.file_name().to_string_lossy().as_ref()) {
            walk(&path, files);
        } else if kind.is_file() {
            let known = path.extension().is_some_and(|e| TEXT.contains(&e.to_string_lossy().as_ref()));
            if known || folder.file_name().is_some_and(|name| name == ".ci") {
                files.push(path);
            }
        }
    }
}

/// Checks one text file.
fn file(shown: &str, text: &str, faults: &mut Vec<String>) {
    let is = |ending: &str| shown.ends_with(ending);
    if is("package-lock.json") {
        if text.contains("\"resolved\": \"http") {
            faults.push(format!(
                "{shown}: names the registry it was made with; see .npmrc in interop/http/node"
            ));
        }
        return;
    }
    if is("Cargo.lock") {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        if let Some(path) = machine_path(line) {
            faults.push(format!("{shown}:{}: `{path}…` is a path of one machine", number + 1));
        }
    }
    if !is(".rs") {
        return;
    }
    if !text.trim_start().starts_with("//!") {
        faults.push(format!("{shown}: the first line must say what the file is for (`//!`)"));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        faults.push(format!("{shown}: {lines} lines; past {MOST_LINES} it probably holds two ideas"));
    }
    for (number, line) in text.lines().enumerate() {
        for name in ["todo", "dbg", "unimplemented"] {
            if called(code_of(line), name) {
                faults.push(format!("{shown}:{}: `{name}` followed by `!`", number + 1));
            }
        }
    }
}

/// A line without its comment. A `//` inside a string ends it too early, which can only hide, never invent.
fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn called(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}!")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The beginning of an absolute path that only one machine has.
fn machine_path(line: &str) -> Option<&'static str> {
    const ROOTS: [&str; 4] =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/ho", "me/")];
    ROOTS.into_iter().find(|path| {
        line.match_indices(path).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + path.len()..].chars().next();
            // `https://host/home/x` and `{dir}/work/` are no absolute paths
            !before.is_some_and(|c| c.is_alphanumeric() || "}._-~)$*>".contains(c))
                && after.is_some_and(char::is_alphanumeric)
        })
    })
}

/// The core knows no protocol, no clock, no socket: neither in its names nor in what it calls. Comments may explain.
fn core_words(root: &Path, faults: &mut Vec<String>) {
    let mut words: Vec<String> = PROTOCOL_WORDS.iter().map(|w| (*w).to_owned()).collect();
    for folder in folders(&root.join("protocols")) {
        words.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    let mut files = Vec::new();
    walk(&root.join("crates/core/src"), &mut files);
    for path in files {
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let may_name = MAY_NAME.iter().any(|(file, _reason)| shown == *file);
        for (number, line) in text.lines().enumerate() {
            let code = code_of(line);
            for part in parts_of_names(code) {
                if words.contains(&part) && !may_name {
                    faults.push(format!("{shown}:{}: the core must not know `{part}`", number + 1));
                }
            }
            for banned in NOT_IN_CORE_CODE {
                if code.contains(banned) {
                    faults.push(format!("{shown}:{}: the core must not use `{banned}`", number + 1));
                }
            }
        }
    }
}

/// The words that identifiers are made of, in lower case: `HttpKind` and `http_kind` give `http` and `kind`.
fn parts_of_names(code: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut lower_before = false;
    for c in code.chars().chain([' ']) {
        let boundary = !c.is_alphanumeric() || (c.is_uppercase() && lower_before);
        if boundary && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
        }
        if c.is_alphanumeric() {
            part.extend(c.to_lowercase());
        }
        lower_before = c.is_lowercase() || c.is_numeric();
    }
    parts
}

#[cfg(test)]
mod tests {
    //! The rules, tried on small examples, and the house itself.

    use super::*;

    fn faults_of(shown: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        file(shown, text, &mut faults);
        faults
    }

    #[test]
    fn the_house_is_tidy() {
        let faults = check(&crate::root()).expect("cargo metadata");
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    }

    #[test]
    fn files_are_judged() {
        assert_eq!(faults_of("a.rs", "//! What it is for.\nfn main() {}\n"), Vec::<String>::new());
        assert_eq!(faults_of("a.rs", "fn main() {}\n").len(), 1);
        assert_eq!(faults_of("a.rs", &format!("//! Long.\n{}", "//\n".repeat(1000))).len(), 1);
        assert_eq!(faults_of("a.rs", concat!("//! X.\nfn f() { to", "do!() }\n")).len(), 1);
        assert_eq!(faults_of("a.rs", concat!("//! X.\n// to", "do!() is not liked\n")).len(), 0);
        assert_eq!(faults_of("a.md", concat!("see /ro", "ot/file")).len(), 1);
        assert_eq!(
            faults_of("a.md", concat!("see $ROOT/ho", "me/file and https://x.example/ho", "me/y")).len(),
            0
        );
        assert_eq!(faults_of("package-lock.json", "\"resolved\": \"https://x\"").len(), 1);
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(
            parts_of_names("fn HttpKind_of(kafkaName: u8)"),
            ["fn", "http", "kind", "of", "kafka", "name", "u8"]
        );
    }

    #[test]
    fn arrows_are_judged() {
        let root = Path::new("/r");
        let package = |name: &str, path: &str, on: &[(&str, Option<&str>)]| {
            let dependencies: Vec<Value> =
                on.iter().map(|(name, kind)| serde_json::json!({ "name": name, "kind": kind })).collect();
            serde_json::json!({ "name": name, "manifest_path": path, "dependencies": dependencies })
        };
        let packages = serde_json::json!({ "packages": [
            package("sb-core", "/r/crates/core/Cargo.toml", &[("sb-wirekit", None), ("sb-log", None), ("tokio", None)]),
            package("sb-log", "/r/crates/log/Cargo.toml", &[("sb-core", None), ("sb-net", Some("dev"))]),
            package("sb-net", "/r/crates/net/Cargo.toml", &[("sb-http", None)]),
            package("sb-http", "/r/protocols/http/Cargo.toml", &[("sb-board", None), ("sb-net", None)]),
            package("sb-wirekit", "/r/crates/wirekit/Cargo.toml", &[]),
            package("switchboard", "/r/crates/switchboard/Cargo.toml", &[("sb-http", None)]),
            package("stray", "/r/crates/stray/Cargo.toml", &[]),
        ] });
        let mut faults = Vec::new();
        arrows(&packages, root, &mut faults);
        let expected = [
            "sb-core must not depend on sb-log",
            "sb-core must not depend on tokio",
            "sb-net must not depend on sb-http",
            "sb-http must not depend on sb-net",
            "stray:",
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, start) in faults.iter().zip(expected) {
            assert!(fault.starts_with(start), "{fault}");
        }
    }
}
