//! Durations, sizes, names and patterns as they are written in the file and on the command line.

use std::time::Duration;

use sb_core::model::{Pattern, check_name};

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads `250ms`, `30s`, `10m`, `1h`, `7d`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write 250ms, 30s, 10m, 1h or 7d");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let scale = match unit.trim() {
        "" => 1000,
        unit => DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
    };
    number.checked_mul(scale).map(Duration::from_millis).ok_or_else(|| format!("`{text}` is too long a time"))
}

/// Writes a duration the way [`duration`] reads it, in the largest unit that is exact.
pub fn duration_text(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, scale) = DURATION_UNITS
        .iter()
        .rev()
        .find(|(_, scale)| ms >= *scale && ms.is_multiple_of(*scale))
        .unwrap_or(&("s", 1000));
    format!("{}{unit}", ms / scale)
}

/// Reads `1MiB`, `64KiB`, `10GB`, `512`: a bare number is bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size: write 512, 64KiB, 1MiB, 10GiB (or KB, MB, GB)");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(scale).ok_or_else(|| format!("`{text}` is too large"))
}

/// Writes a size for people.
pub fn size_text(bytes: u64) -> String {
    let units = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, scale)| bytes >= *scale) {
        Some((unit, scale)) if bytes.is_multiple_of(*scale) => format!("{} {unit}", bytes / scale),
        Some((unit, scale)) => format!("{:.1} {unit}", bytes as f64 / *scale as f64),
        None => format!("{bytes} B"),
    }
}

/// Whether this is a legal name of a topic or a group.
pub fn name(text: &str) -> Result<(), String> {
    check_name("topic or group", text).map_err(|error| error.fix.into_owned())
}

/// Reads a pattern; the error is a whole sentence.
pub fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.detail.into_owned())
}

/// The names nearest to a mistyped one, best first, at most three.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = (wrong.chars().count() / 3).max(1);
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (distance(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(d, _)| *d <= limit)
        .collect();
    found.sort();
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_back() {
        for text in ["250ms", "30s", "10m", "1h", "7d", "0s"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
        assert_eq!(duration("90").unwrap(), Duration::from_secs(90));
        for text in ["", "s", "1 year", "-1s", "1.5h", "99999999999999999999d", "9999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(size("64KiB").unwrap(), 65_536);
        assert_eq!(size("1 MB").unwrap(), 1_000_000);
        assert_eq!(size("17").unwrap(), 17);
        assert!(size("1 mile").is_err() && size("99999999999TiB").is_err());
    }

    #[test]
    fn nearest_finds_typing_mistakes() {
        assert_eq!(nearest("liten", ["listen", "limits", "engine"]), ["listen"]);
        assert_eq!(nearest("engien", ["listen", "engine"]), ["engine"]);
        assert!(nearest("zebra", ["listen", "engine"]).is_empty());
    }
}
