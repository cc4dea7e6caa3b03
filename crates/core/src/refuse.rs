//! The refusals that several operations share, and the search for names that were perhaps meant.

use crate::model::{Error, Kind};

/// Names looked at for each search, so that a wrong name costs no more with 100,000 topics.
const LOOKED_AT: usize = 2_000;

/// How many letters have to change to make one text of the other, up to 3.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return 3;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(!x.eq_ignore_ascii_case(y))).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()].min(3)
}

/// A sentence that names those of `names` that are near, or what to do instead.
pub(crate) fn near<'a>(name: &str, names: impl Iterator<Item = &'a str>, otherwise: &'static str) -> String {
    let mut found: Vec<(usize, &str)> =
        names.take(LOOKED_AT).map(|n| (distance(name, n), n)).filter(|(d, _)| *d < 3).collect();
    found.sort_unstable();
    found.truncate(3);
    if found.is_empty() {
        return otherwise.to_owned();
    }
    let found: Vec<&str> = found.into_iter().map(|(_, n)| n).collect();
    format!("Perhaps {} was meant", found.join(" or "))
}

pub(crate) fn stale() -> Error {
    Error::new(Kind::Conflict, "SB0402", "the lease has ended: the handle is stale")
        .fix("Lease again; what was done under the old lease may be done again by another consumer")
}

pub(crate) fn conflict(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::Conflict, "SB0302", detail)
}

pub(crate) fn wrong_mode(detail: &'static str) -> Error {
    Error::new(Kind::Conflict, "SB0308", detail)
}

pub(crate) fn precondition(detail: String) -> Error {
    Error::new(Kind::Precondition, "SB0210", detail)
}

pub(crate) fn exhausted(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::Exhausted, "SB0601", detail)
}

pub(crate) fn too_large(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::TooLarge, "SB0205", detail)
}

/// Refuses a duration outside of a range.
pub(crate) fn within(what: &str, ms: u64, from: u64, to: u64) -> crate::model::Result<()> {
    if (from..=to).contains(&ms) {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} of {ms} ms is outside of {from} to {to} ms")))
}
