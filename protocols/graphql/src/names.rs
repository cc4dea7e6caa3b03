//! Names: what Protobuf calls things, in the alphabet of GraphQL, without collisions, and the same whatever the order of services.

use std::collections::{HashMap, HashSet};

/// A text as a name of GraphQL: `[_A-Za-z][_0-9A-Za-z]*`, and not beginning with the two underscores that are the language's own.
pub(crate) fn name(text: &str) -> String {
    let mut out: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.starts_with("__") {
        out = format!("_{}", out.trim_start_matches('_'));
    }
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// `GetOrder` as `getOrder`, `URLFor` as `urlFor`.
pub(crate) fn lower_camel(text: &str) -> String {
    let upper = text.chars().take_while(char::is_ascii_uppercase).count();
    let lowered = match upper {
        0 | 1 => upper,
        n if n == text.len() => n,
        n => n - 1,
    };
    text.chars().enumerate().map(|(at, c)| if at < lowered { c.to_ascii_lowercase() } else { c }).collect()
}

/// `shop.v1` as `ShopV1`, `my_pkg` as `MyPkg`.
pub(crate) fn upper_camel(text: &str) -> String {
    let parts = text.split(['.', '_']).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let mut chars = part.chars();
            chars
                .next()
                .map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + chars.as_str())
        })
        .collect()
}

/// Chooses a name for each: the first of its candidates unless somebody else wants that, then all who want it take their next. What collides
/// to the last gets a number. The choice does not depend on the order, except for those numbers.
pub(crate) fn choose(wanted: &[Vec<String>], reserved: &[&str]) -> Vec<String> {
    let mut level = vec![0; wanted.len()];
    let candidate = |at: usize, level: usize| {
        let of = wanted.get(at);
        of.and_then(|c| c.get(level).or_else(|| c.last())).map_or("_", String::as_str)
    };
    loop {
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, level) in level.iter().enumerate() {
            by_name.entry(candidate(at, *level)).or_default().push(at);
        }
        let mut changed = false;
        for (name, who) in by_name {
            if who.len() < 2 && !reserved.contains(&name) {
                continue;
            }
            for at in who {
                if wanted.get(at).is_some_and(|c| level.get(at).is_some_and(|l| l + 1 < c.len()))
                    && let Some(level) = level.get_mut(at)
                {
                    *level += 1;
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    let mut used: HashSet<String> = reserved.iter().map(|name| (*name).to_owned()).collect();
    level.iter().enumerate().map(|(at, level)| unique(&mut used, candidate(at, *level))).collect()
}

/// The name, or the name with the first number that makes it unused.
pub(crate) fn unique(used: &mut HashSet<String>, name: &str) -> String {
    let mut chosen = name.to_owned();
    let mut n = 2;
    while !used.insert(chosen.clone()) {
        chosen = format!("{name}_{n}");
        n += 1;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabet() {
        for (from, to) in [
            ("a", "a"),
            ("__type", "_type"),
            ("____", "_"),
            ("9x", "_9x"),
            ("a-b", "a_b"),
            ("", "_"),
            ("ä", "_"),
        ] {
            assert_eq!(name(from), to, "{from}");
        }
        for (from, to) in
            [("GetOrder", "getOrder"), ("URLFor", "urlFor"), ("ID", "id"), ("get", "get"), ("", "")]
        {
            assert_eq!(lower_camel(from), to, "{from}");
        }
        assert_eq!(upper_camel("shop.v1.my_pkg"), "ShopV1MyPkg");
    }

    #[test]
    fn collisions() {
        let wanted = |all: &[&[&str]]| -> Vec<Vec<String>> {
            all.iter().map(|c| c.iter().map(|s| (*s).to_owned()).collect()).collect()
        };
        let all = wanted(&[&["User", "AUser"], &["Post", "APost"], &["User", "BUser"], &["Query", "AQuery"]]);
        assert_eq!(choose(&all, &["Query"]), ["AUser", "Post", "BUser", "AQuery"]);
        // One that moves away from its place pushes out who was there.
        let all = wanted(&[&["User", "AUser"], &["User", "BUser"], &["AUser", "XAUser"]]);
        assert_eq!(choose(&all, &[]), ["AUser", "BUser", "XAUser"]);
        let all = wanted(&[&["a"], &["a"], &["a"]]);
        assert_eq!(choose(&all, &[]), ["a", "a_2", "a_3"]);
    }
}
