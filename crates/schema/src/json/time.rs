//! The texts that stand for `google.protobuf.Timestamp`, `Duration` and `FieldMask`.

use crate::error::{Error, Result, shorten};

/// 0001-01-01T00:00:00Z.
const FIRST: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;
/// About 10,000 years.
const LONGEST: i64 = 315_576_000_000;

/// Days since 1970-01-01 of a date in the Gregorian calendar.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of days since 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0i64, |value, b| b.is_ascii_digit().then(|| value * 10 + i64::from(b - b'0')))
}

/// Nanoseconds of the digits behind the point: 1 to 9 of them.
fn fraction(text: &[u8]) -> Option<i32> {
    let len = u32::try_from(text.len()).ok().filter(|len| (1..=9).contains(len))?;
    i32::try_from(digits(text)? * 10i64.pow(9 - len)).ok()
}

/// Seconds since 1970 and nanoseconds of an RFC 3339 text with any offset.
pub(crate) fn timestamp(text: &str) -> Result<(i64, i32)> {
    parse_timestamp(text.as_bytes())
        .ok_or_else(|| Error::new(format!("{:?} is no timestamp like 2026-01-31T12:00:00.5Z", shorten(text))))
}

fn parse_timestamp(text: &[u8]) -> Option<(i64, i32)> {
    let (fixed, mut rest) = text.split_at_checked(19)?;
    for (at, sign) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if fixed[at] != sign {
            return None;
        }
    }
    let part = |from: usize, to: usize| digits(&fixed[from..to]);
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    if !(1..=12).contains(&month) || day < 1 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_of(year, month, day);
    if date_of(days) != (year, month, day) {
        return None;
    }
    let mut nanos = 0;
    if let Some(after) = rest.strip_prefix(b".") {
        let len = after.iter().take_while(|b| b.is_ascii_digit()).count();
        nanos = fraction(&after[..len])?;
        rest = &after[len..];
    }
    let offset = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    (FIRST..=LAST).contains(&seconds).then_some((seconds, nanos))
}

/// Appends a timestamp in quotes, in UTC with 0, 3, 6 or 9 digits behind the point.
pub(crate) fn put_timestamp(out: &mut Vec<u8>, seconds: i64, nanos: i32) -> Result<()> {
    if !(FIRST..=LAST).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return Err(Error::new("the timestamp is not between the years 1 and 9999"));
    }
    let (year, month, day) = date_of(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    out.push(b'"');
    put_digits(out, year, 4);
    for (sign, value) in
        [(b'-', month), (b'-', day), (b'T', of_day / 3600), (b':', of_day / 60 % 60), (b':', of_day % 60)]
    {
        out.push(sign);
        put_digits(out, value, 2);
    }
    put_fraction(out, nanos);
    out.extend_from_slice(b"Z\"");
    Ok(())
}

fn put_digits(out: &mut Vec<u8>, value: i64, len: u32) {
    for power in (0..len).rev() {
        out.push(b'0' + (value / 10i64.pow(power) % 10) as u8);
    }
}

fn put_fraction(out: &mut Vec<u8>, nanos: i32) {
    let (value, len) = match nanos {
        0 => return,
        n if n % 1_000_000 == 0 => (n / 1_000_000, 3),
        n if n % 1_000 == 0 => (n / 1_000, 6),
        n => (n, 9),
    };
    out.push(b'.');
    put_digits(out, value.into(), len);
}

/// Seconds and nanoseconds, of one sign, of a text like `-1.5s`.
pub(crate) fn duration(text: &str) -> Result<(i64, i32)> {
    parse_duration(text.as_bytes())
        .ok_or_else(|| Error::new(format!("{:?} is no duration like 1.5s", shorten(text))))
}

fn parse_duration(text: &[u8]) -> Option<(i64, i32)> {
    let text = text.strip_suffix(b"s")?;
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let len = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=12).contains(&len) {
        return None;
    }
    let seconds = digits(&text[..len])?;
    let nanos = match text[len..].split_first() {
        None => 0,
        Some((b'.', after)) => fraction(after)?,
        Some(_) => return None,
    };
    if seconds > LONGEST {
        return None;
    }
    Some(if negative { (-seconds, -nanos) } else { (seconds, nanos) })
}

/// Appends a duration in quotes, with 0, 3, 6 or 9 digits behind the point.
pub(crate) fn put_duration(out: &mut Vec<u8>, seconds: i64, nanos: i32) -> Result<()> {
    let signs_differ = (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0);
    if !(-LONGEST..=LONGEST).contains(&seconds) || nanos.unsigned_abs() > 999_999_999 || signs_differ {
        return Err(Error::new("the duration is out of range, or its parts have different signs"));
    }
    out.push(b'"');
    if seconds < 0 || nanos < 0 {
        out.push(b'-');
    }
    super::text::put_integer(out, seconds.unsigned_abs());
    put_fraction(out, nanos.abs());
    out.extend_from_slice(b"s\"");
    Ok(())
}

/// The paths of a field mask: `a.fooBar,b` is `a.foo_bar` and `b`.
pub(crate) fn mask(text: &str) -> Result<Vec<String>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(snake).collect()
}

fn snake(path: &str) -> Result<String> {
    let mut out = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        match c {
            'A'..='Z' => {
                out.push('_');
                out.push(c.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' | '.' | '*' => out.push(c),
            _ => return Err(Error::new(format!("{:?} is no path of a field mask", shorten(path)))),
        }
    }
    if path.is_empty() {
        return Err(Error::new("a field mask holds an empty path"));
    }
    Ok(out)
}

/// Appends a path in lowerCamelCase. Refused is one that would not read back the same.
pub(crate) fn put_camel(out: &mut String, path: &str) -> Result<()> {
    let mut upper = false;
    for c in path.chars() {
        match (c, upper) {
            ('_', false) => upper = true,
            ('a'..='z', true) => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            ('a'..='z' | '0'..='9' | '.' | '*', false) => out.push(c),
            _ => return Err(not_camel(path)),
        }
    }
    if upper || path.is_empty() { Err(not_camel(path)) } else { Ok(()) }
}

fn not_camel(path: &str) -> Error {
    Error::new(format!("the path {:?} of a field mask has no form in JSON", shorten(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_there_and_back() {
        let (first, last) = (FIRST.div_euclid(86_400), LAST.div_euclid(86_400));
        let mut day = first;
        while day <= last {
            let (y, m, d) = date_of(day);
            assert_eq!(days_of(y, m, d), day);
            day += 37;
        }
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(days_of(2024, 2, 29)), (2024, 2, 29));
        assert_ne!(date_of(days_of(2023, 2, 29)), (2023, 2, 29));
    }

    #[test]
    fn timestamps() {
        for (text, value) in [
            ("1970-01-01T00:00:00Z", Some((0, 0))),
            ("0001-01-01T00:00:00Z", Some((FIRST, 0))),
            ("9999-12-31T23:59:59.999999999Z", Some((LAST, 999_999_999))),
            ("1970-01-01T00:00:00.010Z", Some((0, 10_000_000))),
            ("1970-01-01T08:00:01+08:00", Some((1, 0))),
            ("1969-12-31T16:00:01-08:00", Some((1, 0))),
            ("0001-01-01T00:00:00+00:01", None),
            ("1970-01-01T00:00:00", None),
            ("1970-01-01t00:00:00Z", None),
            ("1970-01-01T00:00:00z", None),
            ("1970-01-01 00:00:00Z", None),
            ("1970-01-01T00:00:00.Z", None),
            ("1970-01-01T00:00:00.1234567890Z", None),
            ("1970-02-30T00:00:00Z", None),
            ("1970-01-01T24:00:00Z", None),
            ("0000-01-01T00:00:00Z", None),
            ("1970-1-01T00:00:00Z", None),
            ("+970-01-01T00:00:00Z", None),
        ] {
            assert_eq!(timestamp(text).ok(), value, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, value, back) in [
            ("1s", Some((1, 0)), "\"1s\""),
            ("1.5s", Some((1, 500_000_000)), "\"1.500s\""),
            ("-0.000000001s", Some((0, -1)), "\"-0.000000001s\""),
            ("315576000000s", Some((LONGEST, 0)), "\"315576000000s\""),
            ("315576000000.999999999s", Some((LONGEST, 999_999_999)), "\"315576000000.999999999s\""),
            ("315576000001s", None, ""),
            ("1", None, ""),
            (".5s", None, ""),
            ("1.s", None, ""),
            ("+1s", None, ""),
            ("--1s", None, ""),
            ("1 s", None, ""),
            ("1e3s", None, ""),
        ] {
            assert_eq!(duration(text).ok(), value, "{text}");
            if let Some((seconds, nanos)) = value {
                let mut out = Vec::new();
                put_duration(&mut out, seconds, nanos).unwrap();
                assert_eq!(String::from_utf8(out).unwrap(), back);
            }
        }
        assert!(put_duration(&mut Vec::new(), 1, -1).is_err());
        assert!(put_duration(&mut Vec::new(), LONGEST + 1, 0).is_err());
    }
}
