//! HTTP text to values and back, without any noun of the core: times, durations, percent-encoding, queries, `Prefer`, entity tags.
//!
//! Everything here is pure and bounded by what it is given. JSON shapes are in [`json`], Server-Sent Events in [`sse`], the frames of
//! `switchboard.v1` in [`frames`].

pub(crate) mod frames;
pub(crate) mod json;
pub(crate) mod sse;

pub(crate) use sb_board::request::{duration_text, parse_duration, parse_time};
use std::borrow::Cow;

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970 as RFC 3339 in UTC with milliseconds.
pub(crate) fn time_text(ms: i64) -> String {
    // Years outside 0000–9999 have no RFC 3339 form; such times come from damaged clocks only.
    let ms = ms.clamp(-62_167_219_200_000, 253_402_300_799_999);
    let (days, rest) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    // Days to civil date: Howard Hinnant's algorithm, with eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let mut out = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, digits: usize, mut value: i64| {
        for slot in out.iter_mut().skip(at).take(digits).rev() {
            *slot = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, rest / 3_600_000);
    put(14, 2, rest / 60_000 % 60);
    put(17, 2, rest / 1_000 % 60);
    put(20, 3, rest % 1_000);
    std::str::from_utf8(&out).unwrap_or_default().to_owned()
}

/// Decodes percent escapes once. `None` when one is malformed or the result is not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (hex, tail) = rest.split_first_chunk::<2>()?;
        rest = tail;
        let digit = |b: u8| char::from(b).to_digit(16);
        out.push((digit(hex[0])? << 4 | digit(hex[1])?) as u8);
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The parameters of a query string.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query. A name that is not in `known`, a name given twice and a malformed escape are refused, each in a sentence.
    /// `token` is known everywhere: the login has looked at it already.
    pub(crate) fn parse(query: Option<&str>, known: &[&str]) -> Result<Query, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| -> Result<String, String> {
                let spaced = text.replace('+', " ");
                percent_decode(&spaced)
                    .map(Cow::into_owned)
                    .ok_or_else(|| format!("the query {pair:.80?} is wrongly percent-encoded"))
            };
            let (name, value) = (decode(name)?, decode(value)?);
            if name == "token" {
                continue;
            }
            if !known.contains(&name.as_str()) {
                let near = near(&name, known.iter().copied());
                let hint = match (near, known.is_empty()) {
                    (Some(near), _) => format!("; did you mean {near}?"),
                    (None, true) => "; there are none here".to_owned(),
                    (None, false) => format!("; there are {}", known.join(", ")),
                };
                return Err(format!("there is no query parameter {name:.80?} here{hint}"));
            }
            if pairs.iter().any(|(n, _)| *n == name) {
                return Err(format!("the query parameter {name} is given twice"));
            }
            pairs.push((name, value));
        }
        Ok(Query(pairs))
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether a parameter without value (or `true`, `1`) is there.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(format!("{name} takes no value, and {other:.80?} was given")),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, String> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(n) if (least..=most).contains(&n) && !text.starts_with('+') => Ok(Some(n)),
            _ => Err(format!(
                "{name} must be a whole number from {least} to {most}, and {text:.80?} was given"
            )),
        }
    }
}

/// The name nearest to a mistyped one, when it is near enough to be meant.
pub(crate) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 64 {
        return None;
    }
    known
        .map(|k| (distance(name, k), k))
        .filter(|(d, k)| *d <= (k.len() / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Levenshtein distance, for short names.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (y, slot) in b.bytes().zip(row.iter_mut().skip(1)) {
            let value = (diagonal + usize::from(x != y)).min(left + 1).min(*slot + 1);
            diagonal = *slot;
            *slot = value;
            left = value;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

/// What a client prefers (RFC 7240). Preferences that are not understood are no error, as that document says.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefer {
    /// `wait=N`, in seconds.
    pub(crate) wait: Option<u64>,
    /// `respond-async`.
    pub(crate) respond_async: bool,
}

impl Prefer {
    /// Reads one `Prefer` field value into this; the first of equal preferences counts.
    pub(crate) fn add(&mut self, value: &str) {
        for preference in split_quoted(value, ',') {
            // Parameters behind `;` belong to preferences that we do not have.
            let token = split_quoted(preference, ';').next().unwrap_or_default().trim();
            let (name, value) = token.split_once('=').unwrap_or((token, ""));
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("respond-async") => self.respond_async = true,
                name if name.eq_ignore_ascii_case("wait") && self.wait.is_none() => {
                    self.wait = value.parse().ok();
                }
                _ => {}
            }
        }
    }

    /// The value of `Preference-Applied`, when something was applied.
    pub(crate) fn applied(wait: Option<u64>, respond_async: bool) -> Option<String> {
        match (respond_async, wait) {
            (false, None) => None,
            (true, None) => Some("respond-async".to_owned()),
            (false, Some(n)) => Some(format!("wait={n}")),
            (true, Some(n)) => Some(format!("respond-async, wait={n}")),
        }
    }
}

/// Splits at a separator that is not inside a quoted string.
fn split_quoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |c| {
        if escaped {
            escaped = false;
            return false;
        }
        match c {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => return true,
            _ => {}
        }
        false
    })
}

/// Whether an `If-None-Match` or `If-Match` value names this tag (weak comparison; `*` names every tag).
pub(crate) fn names_tag(value: &str, tag: &str) -> bool {
    split_quoted(value, ',').map(str::trim).any(|t| t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag)
}

/// Whether an `Accept` value asks for a media type by name, with a weight other than 0.
pub(crate) fn accepts(value: &str, media_type: &str) -> bool {
    split_quoted(value, ',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|t| t.eq_ignore_ascii_case(media_type));
        let refused = parts.any(|p| {
            p.split_once('=').is_some_and(|(n, v)| {
                n.trim().eq_ignore_ascii_case("q") && v.trim().parse::<f32>().is_ok_and(|q| q == 0.0)
            })
        });
        named && !refused
    })
}

/// Whether a content type is this media type, whatever its parameters.
pub(crate) fn is_media_type(content_type: &str, media_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case(media_type))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
