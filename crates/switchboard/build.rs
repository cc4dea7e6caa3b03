//! Lists the files of every example that can be run as a demo, those of the console and the pages of the documentation, to be put
//! into the binary.

#[path = "build/markdown.rs"]
mod markdown;

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../examples");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut text = String::from("&[\n");
    for name in entries(&root) {
        let dir = root.join(&name);
        if dir.join("switchboard.toml").is_file() {
            let _ = writeln!(text, "    Demo {{ name: {name:?}, files: &[");
            files(&dir, "", &mut text)?;
            text.push_str("    ] },\n");
        }
    }
    text.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    fs::write(Path::new(&out).join("demos.rs"), text)?;
    fs::write(Path::new(&out).join("docs.rs"), docs()?)?;
    fs::write(Path::new(&out).join("console.rs"), console()?)
}

/// The documentation: path below `/docs/`, the page as HTML, its Markdown.
fn docs() -> io::Result<String> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../docs");
    println!("cargo::rerun-if-changed={}", root.display());
    println!("cargo::rerun-if-changed=build/markdown.rs");
    let mut pages: Vec<(String, String)> = Vec::new();
    for (folder, prefix) in [(root.clone(), ""), (root.join("patterns"), "patterns/")] {
        for name in entries(&folder) {
            if let Some(stem) = name.strip_suffix(".md") {
                let stem = if stem == "README" { "" } else { stem };
                pages.push((format!("{prefix}{stem}"), fs::read_to_string(folder.join(&name))?));
            }
        }
    }
    if !pages.iter().any(|(path, _)| path.is_empty()) {
        let list = pages.iter().map(|(path, text)| {
            let title = text.lines().find_map(|l| l.strip_prefix("# ")).unwrap_or(path);
            format!("- [{title}](/docs/{path})\n")
        });
        let list: String = list.collect();
        pages.push((String::new(), format!("# Switchboard\n\n{list}")));
    }
    let mut text = String::from("static DOCS: &[(&str, &str, &str)] = &[\n");
    for (path, page) in &pages {
        let _ = writeln!(text, "    ({path:?}, {:?}, {page:?}),", markdown::page(page));
    }
    text.push_str("];\n");
    Ok(text)
}

/// The built console: path, content type, whether the bytes are gzip, bytes.
fn console() -> io::Result<String> {
    let dist = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../console/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut text = String::from("static CONSOLE: &[(&str, &str, bool, &[u8])] = &[\n");
    for name in entries(&dist).into_iter().filter(|n| !n.ends_with(".gz")) {
        let content_type = match name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };
        let packed = dist.join(format!("{name}.gz"));
        let gzip = packed.is_file();
        let path = if gzip { packed } else { dist.join(&name) }.canonicalize()?.display().to_string();
        let _ = writeln!(text, "    ({name:?}, {content_type:?}, {gzip}, include_bytes!({path:?})),");
    }
    text.push_str("];\n");
    Ok(text)
}

/// Names in a folder, sorted, without what no one means to ship.
fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|n| {
            !n.starts_with('.')
                && !["__pycache__", "node_modules", "data", "test", "tests"].contains(&n.as_str())
                && !n.ends_with(".pyc")
        })
        .collect();
    names.sort();
    names
}

fn files(dir: &Path, prefix: &str, text: &mut String) -> io::Result<()> {
    for name in entries(dir) {
        let path = dir.join(&name).canonicalize()?;
        if path.is_dir() {
            files(&path, &format!("{prefix}{name}/"), text)?;
        } else if path.metadata()?.len() <= 1 << 20 {
            let relative = format!("{prefix}{name}");
            let _ =
                writeln!(text, "        ({relative:?}, include_bytes!({:?})),", path.display().to_string());
        }
    }
    Ok(())
}
