//! What requests have in common, whatever protocol they come by: places to begin, durations and times as text, the bounds of leases and
//! counts, names, idempotency keys. A protocol reads its own form and hands the values to these.

use crate::access::{From, Idempotency};
use sb_core::groups::Start;
use sb_core::model::{Error, JobId, Kind, Result, message};
use std::ops::RangeInclusive;
use std::time::Duration;
use xxhash_rust::xxh3::Xxh3;

/// The context of a trace: metadata that is kept as headers of what is published or submitted with it.
pub const TRACE: [&str; 3] = ["traceparent", "tracestate", "baggage"];
/// The terms a lease may have, in milliseconds.
pub const LEASE_MS: RangeInclusive<u64> = 1_000..=43_200_000;
/// The longest name of a consumer or worker, in bytes.
pub const MAX_CONSUMER: usize = 255;

const DAY_MS: u64 = 86_400_000;
/// The longest duration that is taken, 100 years: sums with times of day never overflow.
pub const MAX_DURATION_MS: u64 = 100 * 366 * DAY_MS;

/// Reads an RFC 3339 time.
pub fn parse_time(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond())
}

/// Reads `250ms`, `30s`, `10m`, `1h`, `7d`; a bare integer is seconds.
pub fn parse_duration(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|ms| *ms <= MAX_DURATION_MS)
}

/// How long a call may take, as the header `Sb-Timeout` says it. Errors: SB0201 for what is no duration.
pub fn timeout(headers: &http::HeaderMap) -> Result<Option<Duration>> {
    let Some(value) = headers.get("sb-timeout") else { return Ok(None) };
    let ms = value.to_str().ok().and_then(parse_duration).ok_or_else(|| {
        Error::invalid(format!("Sb-Timeout: {value:.40?} is no duration"))
            .fix("Write 250ms, 30s, 10m, 1h or 7d")
    })?;
    Ok(Some(Duration::from_millis(ms)))
}

/// Writes a duration in the largest unit that divides it.
pub fn duration_text(ms: u64) -> String {
    let (number, unit) = match ms {
        0 => (0, "s"),
        n if n % DAY_MS == 0 => (n / DAY_MS, "d"),
        n if n % 3_600_000 == 0 => (n / 3_600_000, "h"),
        n if n % 60_000 == 0 => (n / 60_000, "m"),
        n if n % 1_000 == 0 => (n / 1_000, "s"),
        n => (n, "ms"),
    };
    format!("{number}{unit}")
}

/// `start`, `end`, `offset:N`, `time:T`, `-1h`.
pub fn start(text: &str, now_ms: i64) -> Result<Start> {
    let parsed = match text {
        "start" => Some(Start::Start),
        "end" => Some(Start::End),
        _ => {
            if let Some(offset) = text.strip_prefix("offset:") {
                offset
                    .bytes()
                    .all(|b| b.is_ascii_digit())
                    .then(|| offset.parse().ok())
                    .flatten()
                    .map(Start::Offset)
            } else if let Some(time) = text.strip_prefix("time:") {
                parse_time(time).map(Start::Time)
            } else {
                let ago = text.strip_prefix('-').and_then(parse_duration);
                ago.map(|ms| Start::Time(now_ms.saturating_sub_unsigned(ms)))
            }
        }
    };
    parsed.ok_or_else(|| {
        Error::invalid(format!("{text:.80?} is no place to begin"))
            .fix("Use start, end, offset:N, time:2026-11-20T10:00:00Z or a duration ago such as -1h")
    })
}

/// Where a read begins: behind a cursor, at a place, at the newest so many, or at the default when none of them is given.
pub fn from(
    after: Option<&str>,
    from: Option<&str>,
    last: Option<u64>,
    default: Start,
    now_ms: i64,
) -> Result<From> {
    match (after, from, last) {
        (None, None, None) => Ok(From::At(default)),
        (Some(cursor), None, None) => Ok(From::After(cursor.to_owned())),
        (None, Some(text), None) => Ok(From::At(start(text, now_ms)?)),
        (None, None, Some(n)) => Ok(From::Last(n)),
        _ => Err(Error::invalid("after, from and last exclude each other").fix("Give one of them")),
    }
}

/// A lease's term within its bounds.
pub fn lease_ms(lease: Option<u64>) -> Result<Option<u64>> {
    match lease {
        Some(ms) if !LEASE_MS.contains(&ms) => Err(Error::invalid(format!(
            "a lease lasts from 1s to 12h, and {} was asked for",
            duration_text(ms)
        ))),
        lease => Ok(lease),
    }
}

/// A count of messages or jobs in one lease; 1 when not given.
pub fn max(max: Option<u64>) -> Result<usize> {
    match max.unwrap_or(1) {
        n @ 1..=1000 => Ok(n as usize),
        n => Err(Error::invalid(format!("max must be from 1 to 1000, and {n} was given"))),
    }
}

/// A name by which people know a consumer or worker.
pub fn consumer(name: Option<String>) -> Result<String> {
    let name = name.unwrap_or_default();
    if name.len() > MAX_CONSUMER || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "the name of a consumer or worker has at most 255 bytes and no control characters",
        ));
    }
    Ok(name)
}

/// Reads a job's id. What is no id names no job.
pub fn job_id(text: &str) -> Result<JobId> {
    JobId::parse(text).ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        Error::new(Kind::NotFound, "SB0401", format!("there is no job {shown:?}"))
            .fix("A job's id has 26 characters; GET /jobs lists the jobs")
    })
}

/// A method's name, as far as its form goes.
pub fn method_name(text: &str) -> Result<()> {
    let part = |p: &str| {
        !p.is_empty()
            && !p.starts_with('.')
            && !p.ends_with('.')
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    match text.split_once('/') {
        Some((service, method)) if part(service) && part(method) && text.len() <= message::MAX_KEY => Ok(()),
        _ => {
            let shown: String = text.chars().take(80).collect();
            Err(Error::new(Kind::Invalid, "SB0202", format!("{shown:?} is not a method"))
                .fix("Write it as package.Service/Method"))
        }
    }
}

/// The key under which a repeated request has one effect, with the fingerprint of what this one says.
pub fn idempotency(key: Option<&str>, says: &[&[u8]]) -> Result<Option<Idempotency>> {
    let Some(key) = key else { return Ok(None) };
    if key.is_empty() || key.len() > 255 {
        return Err(Error::invalid("an idempotency key has 1 to 255 characters"));
    }
    let mut hash = Xxh3::new();
    for part in says {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Ok(Some(Idempotency { key: key.to_owned(), fingerprint: hash.digest128() }))
}

/// The error of the first handle when none could be settled.
pub fn all_failed(results: &[Result<i64>]) -> Result<()> {
    match results.first() {
        Some(Err(first)) if results.iter().all(Result::is_err) => Err(first.clone()),
        _ => Ok(()),
    }
}
