//! `cargo xtask new-protocol NAME`: copies `protocols/echo`, the smallest complete protocol, under another name and enters
//! it where the workspace and the binary list their protocols. Everything else follows from the entry in `speaks.rs`.

use std::fs;
use std::path::Path;

/// Makes the folder and the four entries. Nothing is written unless all of it can be.
pub fn create(root: &Path, name: &str) -> Result<String, String> {
    let legal = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.len() <= 30;
    if !legal {
        return Err(format!("`{name}`: a protocol's name is lower-case letters and digits, a letter first"));
    }
    let (from, to) = (root.join("protocols/echo"), root.join("protocols").join(name));
    if to.exists() {
        return Err(format!("protocols/{name} exists"));
    }
    let mut entries = Vec::new();
    for (file, marker) in [
        ("Cargo.toml", "sb-echo = "),
        ("crates/switchboard/Cargo.toml", "sb-echo.workspace"),
        ("crates/suite/Cargo.toml", "sb-echo.workspace"),
        ("crates/switchboard/src/speaks.rs", "sb_echo::LINES"),
    ] {
        let path = root.join(file);
        let text = fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
        entries.push((path, entered(&text, marker, name).ok_or(format!("{file}: no line with `{marker}`"))?));
    }
    copy(&from, &to, name)?;
    for (path, text) in entries {
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(format!(
        "protocols/{name} is a copy of protocols/echo and listed in Cargo.toml, crates/switchboard/Cargo.toml, \
         crates/suite/Cargo.toml and crates/switchboard/src/speaks.rs.\nNext: say in its lib.rs what is spoken and what is lossy, then write wire.rs."
    ))
}

/// The text with a copy of the first line that holds `marker`, renamed, behind that line.
fn entered(text: &str, marker: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.contains(marker))?;
    let at = text.find(line)? + line.len();
    let (before, after) = text.split_at(at);
    Some(format!("{before}\n{}{after}", renamed(line, name)))
}

/// Text in which every spelling of `echo` is the same spelling of the new name.
fn renamed(text: &str, name: &str) -> String {
    let mut capital = name.to_owned();
    if let Some(first) = capital.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text.replace("echo", name).replace("Echo", &capital).replace("ECHO", &name.to_ascii_uppercase())
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<(), String> {
    let shown = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(to).map_err(|error| shown(to, error))?;
    for entry in fs::read_dir(from).map_err(|error| shown(from, error))? {
        let entry = entry.map_err(|error| shown(from, error))?;
        let (old, new) = (entry.path(), to.join(renamed(&entry.file_name().to_string_lossy(), name)));
        if old.is_dir() {
            copy(&old, &new, name)?;
            continue;
        }
        let bytes = fs::read(&old).map_err(|error| shown(&old, error))?;
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => renamed(&text, name).into_bytes(),
            Err(binary) => binary.into_bytes(),
        };
        fs::write(&new, bytes).map_err(|error| shown(&new, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! On a small tree of its own, below the target folder.

    use super::*;
    use std::path::PathBuf;

    fn tree(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("switchboard-xtask-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (file, text) in [
            ("Cargo.toml", "[workspace.dependencies]\nsb-echo = { path = \"protocols/echo\" }\n# runtime\n"),
            (
                "crates/switchboard/Cargo.toml",
                "[dependencies]\nsb-echo.workspace = true\nbytes.workspace = true\n",
            ),
            ("crates/suite/Cargo.toml", "[dependencies]\nsb-echo.workspace = true\n"),
            (
                "crates/switchboard/src/speaks.rs",
                "//! T.\npub static ALL: &[&D] = &[\n    &sb_echo::LINES,\n];\n",
            ),
            ("protocols/echo/Cargo.toml", "[package]\nname = \"sb-echo\"\n"),
            (
                "protocols/echo/src/lib.rs",
                "//! Echo.\npub struct EchoOptions;\npub const ECHO: &str = \"echo\";\n",
            ),
            ("protocols/echo/tests/echo.rs", "//! Tests.\nuse sb_echo::ECHO;\n"),
        ] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn a_protocol_is_copied_and_entered() {
        let root = tree("copied");
        create(&root, "stomp").expect("created");
        let read = |file: &str| fs::read_to_string(root.join(file)).expect(file);
        assert_eq!(
            read("Cargo.toml"),
            "[workspace.dependencies]\nsb-echo = { path = \"protocols/echo\" }\nsb-stomp = { path = \"protocols/stomp\" }\n# runtime\n"
        );
        assert!(
            read("crates/switchboard/Cargo.toml")
                .contains("sb-echo.workspace = true\nsb-stomp.workspace = true\n")
        );
        assert!(
            read("crates/switchboard/src/speaks.rs")
                .contains("    &sb_echo::LINES,\n    &sb_stomp::LINES,\n];")
        );
        assert_eq!(read("protocols/stomp/Cargo.toml"), "[package]\nname = \"sb-stomp\"\n");
        assert!(
            read("protocols/stomp/src/lib.rs")
                .contains("pub struct StompOptions;\npub const STOMP: &str = \"stomp\";")
        );
        assert!(read("protocols/stomp/tests/stomp.rs").contains("use sb_stomp::STOMP;"));
        assert!(create(&root, "stomp").expect_err("twice").contains("exists"));
        let _ = fs::remove_dir_all(root);
    }

    #[test]
    fn nothing_is_written_when_an_entry_cannot_be_made() {
        let root = tree("refused");
        fs::write(root.join("crates/switchboard/src/speaks.rs"), "//! Empty.\n").expect("a file");
        assert!(create(&root, "stomp").expect_err("no line").contains("speaks.rs"));
        assert!(!root.join("protocols/stomp").exists());
        assert!(!fs::read_to_string(root.join("Cargo.toml")).expect("a file").contains("stomp"));
        for name in ["", "Stomp", "9p", "a-b", "../x", "a b"] {
            assert!(create(&root, name).is_err(), "{name}");
        }
        let _ = fs::remove_dir_all(root);
    }
}
