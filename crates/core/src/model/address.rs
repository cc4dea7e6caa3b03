//! Addresses, patterns and names.
//!
//! An address is a list of UTF-8 segments. Its canonical text joins them with `.`; whatever would be mistaken for a separator or a
//! wildcard inside a segment is percent-escaped, so that `orders/eu` in one protocol and `orders.eu` in another meet, and a literal
//! dot inside an MQTT level or a slash inside an AMQP key survives the way there and back.

use super::error::{Error, Kind, Result};
use std::sync::Arc;

/// The longest canonical text of an address or pattern, in bytes.
pub const MAX_ADDRESS: usize = 1024;
/// The most segments.
pub const MAX_SEGMENTS: usize = 32;
/// The longest name of a topic or group, in bytes.
pub const MAX_NAME: usize = 200;

/// How one protocol spells addresses and wildcards.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// What separates segments.
    pub separator: char,
    /// The wildcard for exactly one segment.
    pub one: Option<&'static str>,
    /// The wildcard for zero or more segments.
    pub many: Option<&'static str>,
    /// Whether `many` may stand anywhere (AMQP) or only at the end (MQTT).
    pub many_anywhere: bool,
    /// The wildcard for one or more segments at the end.
    pub tail: Option<&'static str>,
}

impl Spelling {
    /// Ours: `orders.*.created`, `orders.#`, `orders.>`.
    pub const CANONICAL: Spelling =
        Spelling { separator: '.', one: Some("*"), many: Some("#"), many_anywhere: true, tail: Some(">") };
    /// MQTT: `orders/+/created`, `orders/#` (which also matches `orders`).
    pub const MQTT: Spelling =
        Spelling { separator: '/', one: Some("+"), many: Some("#"), many_anywhere: false, tail: None };
    /// AMQP topic exchanges: `orders.*.created`, `orders.#`.
    pub const AMQP: Spelling =
        Spelling { separator: '.', one: Some("*"), many: Some("#"), many_anywhere: true, tail: None };
    /// NATS: `orders.*.created`, `orders.>`.
    pub const NATS: Spelling =
        Spelling { separator: '.', one: Some("*"), many: None, many_anywhere: false, tail: Some(">") };
}

/// The address of a message, in canonical text. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(Arc<str>);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn must_escape(c: char) -> bool {
    matches!(c, '.' | '/' | '*' | '>' | '+' | '#' | '%' | ' ') || c.is_control()
}

fn escape(segment: &str, out: &mut String) {
    if segment.is_empty() {
        out.push('%');
        return;
    }
    for c in segment.chars() {
        if must_escape(c) {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                out.push('%');
                out.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0').to_ascii_uppercase());
                out.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0').to_ascii_uppercase());
            }
        } else {
            out.push(c);
        }
    }
}

/// The literal text of one canonical segment, or `None` when its escapes are not exactly those that [`escape`] writes: two spellings
/// of one address would make two resources out of one in a permission check.
fn unescape(segment: &str) -> Option<String> {
    if segment == "%" {
        return Some(String::new());
    }
    if segment.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (hex, tail) = rest.split_at_checked(2)?;
        rest = tail;
        let digit = |d: u8| match d {
            b'0'..=b'9' => Some(d - b'0'),
            b'A'..=b'F' => Some(d - b'A' + 10),
            _ => None,
        };
        bytes.push(digit(hex[0])? << 4 | digit(hex[1])?);
    }
    let text = String::from_utf8(bytes).ok()?;
    let mut again = String::with_capacity(segment.len());
    escape(&text, &mut again);
    (again == segment).then_some(text)
}

fn malformed(what: &str, text: &str, why: &str) -> Error {
    let shown: String = text.chars().take(80).collect();
    Error::new(Kind::Invalid, "SB0202", format!("{shown:?} is not {what}: {why}"))
        .fix("Use dotted segments such as orders.eu.created; escape . / * > + # % and spaces inside a segment as %XX")
}

fn check_size(text: &str, segments: usize, what: &str) -> Result<()> {
    if text.len() > MAX_ADDRESS {
        return Err(malformed(what, text, "it is longer than 1,024 bytes"));
    }
    if segments > MAX_SEGMENTS {
        return Err(malformed(what, text, "it has more than 32 segments"));
    }
    Ok(())
}

impl Address {
    /// Reads canonical text. Non-canonical text is refused, never repaired.
    pub fn parse(text: &str) -> Result<Address> {
        if text.is_empty() {
            return Err(malformed("an address", text, "it is empty"));
        }
        check_size(text, 1, "an address")?;
        let mut segments = 0;
        for segment in text.split('.') {
            segments += 1;
            if matches!(segment, "*" | "#" | ">") {
                return Err(Error::new(
                    Kind::Invalid,
                    "SB0203",
                    format!("{text:?} holds the wildcard {segment}, and an address is needed here"),
                )
                .fix("Name one address; a literal wildcard character is written %2A, %23 or %3E"));
            }
            // The common segment needs no look inside.
            let plain = !segment.is_empty()
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if !plain && unescape(segment).is_none() {
                return Err(malformed("an address", text, "a segment is empty or wrongly escaped"));
            }
        }
        check_size(text, segments, "an address")?;
        Ok(Address(text.into()))
    }

    /// Builds an address from literal segments, escaping what needs it.
    pub fn from_segments<'a>(segments: impl IntoIterator<Item = &'a str>) -> Result<Address> {
        let mut text = String::new();
        let mut count = 0;
        for segment in segments {
            if count > 0 {
                text.push('.');
            }
            escape(segment, &mut text);
            count += 1;
        }
        if count == 0 {
            return Err(malformed("an address", "", "it has no segment"));
        }
        check_size(&text, count, "an address")?;
        Ok(Address(text.into()))
    }

    /// Reads another protocol's spelling of a literal address.
    pub fn from_spelling(text: &str, spelling: Spelling) -> Result<Address> {
        Address::from_segments(text.split(spelling.separator))
    }

    /// Writes it in another protocol's spelling: the exact text that protocol would have sent, or `None` when a segment holds the
    /// separator itself (then the caller uses the canonical escape and says so).
    pub fn to_spelling(&self, spelling: Spelling) -> Option<String> {
        let mut out = String::with_capacity(self.0.len());
        for (n, segment) in self.segments().enumerate() {
            if n > 0 {
                out.push(spelling.separator);
            }
            let literal = unescape(segment)?;
            if literal.contains(spelling.separator) {
                return None;
            }
            out.push_str(&literal);
        }
        Some(out)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The canonical (escaped) segments.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// This segment, in canonical (escaped) text.
    Literal(Box<str>),
    /// Exactly one segment.
    One,
    /// Zero or more segments.
    Many,
    /// One or more segments; only at the end.
    Tail,
}

/// An address with wildcards.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Arc<str>,
    parts: Arc<[Part]>,
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", &self.text)
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// Reads canonical text: `*`, `#` and `>` as whole segments are wildcards.
    pub fn parse(text: &str) -> Result<Pattern> {
        if text.is_empty() {
            return Err(malformed("a pattern", text, "it is empty"));
        }
        check_size(text, 1, "a pattern")?;
        let mut parts = Vec::new();
        let last = text.split('.').count() - 1;
        for (n, segment) in text.split('.').enumerate() {
            parts.push(match segment {
                "*" => Part::One,
                "#" => Part::Many,
                ">" if n == last => Part::Tail,
                ">" => return Err(malformed("a pattern", text, "> may stand only at the end")),
                literal if unescape(literal).is_some() => Part::Literal(literal.into()),
                _ => return Err(malformed("a pattern", text, "a segment is empty or wrongly escaped")),
            });
        }
        Pattern::from_parts(parts)
    }

    /// Reads another protocol's spelling. In it, a wildcard is only ever a whole segment; anything else is literal.
    pub fn from_spelling(text: &str, spelling: Spelling) -> Result<Pattern> {
        let last = text.split(spelling.separator).count() - 1;
        let mut parts = Vec::new();
        for (n, segment) in text.split(spelling.separator).enumerate() {
            let is = |wildcard: Option<&str>| wildcard == Some(segment);
            parts.push(if is(spelling.one) {
                Part::One
            } else if is(spelling.many) && (spelling.many_anywhere || n == last) {
                Part::Many
            } else if is(spelling.tail) && n == last {
                Part::Tail
            } else if is(spelling.many) || is(spelling.tail) {
                return Err(malformed("a pattern", text, "this wildcard may stand only at the end"));
            } else {
                let mut escaped = String::new();
                escape(segment, &mut escaped);
                Part::Literal(escaped.into())
            });
        }
        Pattern::from_parts(parts)
    }

    fn from_parts(parts: Vec<Part>) -> Result<Pattern> {
        let mut text = String::new();
        for (n, part) in parts.iter().enumerate() {
            if n > 0 {
                text.push('.');
            }
            text.push_str(match part {
                Part::Literal(segment) => segment,
                Part::One => "*",
                Part::Many => "#",
                Part::Tail => ">",
            });
        }
        check_size(&text, parts.len(), "a pattern")?;
        Ok(Pattern { text: text.into(), parts: parts.into() })
    }

    /// The pattern that matches exactly one address.
    pub fn exact(address: &Address) -> Pattern {
        let parts: Vec<Part> = address.segments().map(|s| Part::Literal(s.into())).collect();
        Pattern { text: address.0.clone(), parts: parts.into() }
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its parts.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The address, when there is no wildcard.
    pub fn literal(&self) -> Option<Address> {
        self.parts.iter().all(|p| matches!(p, Part::Literal(_))).then(|| Address(self.text.clone()))
    }

    /// Whether it matches. Linear in practice: at most `parts × segments` steps.
    pub fn matches(&self, address: &Address) -> bool {
        let segments: smallvec::SmallVec<[&str; 16]> = address.segments().collect();
        matches_parts(&self.parts, &segments)
    }

    /// Whether some address is matched by both.
    pub fn overlaps(&self, other: &Pattern) -> bool {
        overlap(&self.parts, &other.parts)
    }

    /// Whether every address that `other` matches is matched by this one too. Never wrongly true; for a grant, wrongly false
    /// would only refuse too much, and that happens only for patterns with several `#`.
    pub fn covers(&self, other: &Pattern) -> bool {
        covers(&self.parts, &other.parts)
    }
}

fn matches_parts(parts: &[Part], segments: &[&str]) -> bool {
    // Greedy matching with one point to go back to suffices, because a later `#` makes all earlier ones irrelevant.
    let (mut p, mut s) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        let step = match parts.get(p) {
            None if s == segments.len() => return true,
            None => false,
            Some(Part::Tail) => {
                if s < segments.len() {
                    return true;
                }
                false
            }
            Some(Part::Many) => {
                back = Some((p, s));
                p += 1;
                continue;
            }
            Some(Part::One) => s < segments.len(),
            Some(Part::Literal(literal)) => segments.get(s).is_some_and(|segment| *segment == &**literal),
        };
        if step {
            p += 1;
            s += 1;
            continue;
        }
        match back {
            Some((at, from)) if from < segments.len() => {
                back = Some((at, from + 1));
                p = at + 1;
                s = from + 1;
            }
            _ => return false,
        }
    }
}

fn overlap(a: &[Part], b: &[Part]) -> bool {
    meet(a, b, |a, b, rest| match (a, b) {
        (None, None) => true,
        (Some(Part::Many), _) => rest.a || b.is_some() && rest.b,
        (_, Some(Part::Many)) => rest.b || a.is_some() && rest.a,
        (None, _) | (_, None) => false,
        (Some(Part::Tail), _) | (_, Some(Part::Tail)) => true,
        (Some(Part::Literal(x)), Some(Part::Literal(y))) if x != y => false,
        _ => rest.both,
    })
}

fn covers(a: &[Part], b: &[Part]) -> bool {
    meet(a, b, |a, b, rest| match (a, b) {
        (None, None) => true,
        (Some(Part::Many), None) => rest.a,
        (None, _) | (_, None) => false,
        // `#` alone may be empty, which `>` is not.
        (Some(Part::Tail), Some(Part::Many)) => rest.b,
        (Some(Part::Tail), Some(_)) => true,
        (Some(Part::Many), Some(_)) => rest.a || rest.b,
        (Some(_), Some(Part::Many | Part::Tail)) => false,
        (Some(Part::One), _) => rest.both,
        (Some(Part::Literal(x)), Some(Part::Literal(y))) => x == y && rest.both,
        (Some(Part::Literal(_)), Some(Part::One)) => false,
    })
}

/// What is known of two patterns behind their first parts.
struct Rest {
    /// Without the first part of the one.
    a: bool,
    /// Without the first part of the other.
    b: bool,
    /// Without both.
    both: bool,
}

/// Compares two patterns from their ends to their beginnings, each pair of ends once: at most 33 × 33 steps, however many `#` there are.
fn meet(a: &[Part], b: &[Part], judge: impl Fn(Option<&Part>, Option<&Part>, Rest) -> bool) -> bool {
    let mut below = [false; MAX_SEGMENTS + 2];
    for i in (0..=a.len()).rev() {
        let mut row = [false; MAX_SEGMENTS + 2];
        for j in (0..=b.len().min(MAX_SEGMENTS)).rev() {
            let rest = Rest { a: below[j], b: row[j + 1], both: below[j + 1] };
            row[j] = judge(a.get(i), b.get(j), rest);
        }
        below = row;
    }
    below[0]
}

/// Checks the name of a topic or group: `[A-Za-z0-9][A-Za-z0-9._-]{0,199}`, and, so that every topic's name is also a canonical
/// address, no empty segment.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let legal = name.len() <= MAX_NAME
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !name.contains("..")
        && !name.ends_with('.')
        && name.split('.').count() <= MAX_SEGMENTS;
    if legal {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(Error::new(Kind::Invalid, "SB0202", format!("{shown:?} cannot be the name of a {what}")).fix(
        "Names begin with a letter or digit, hold letters, digits, dots, dashes and underscores, and have at most 200 characters",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[track_caller]
    fn check(text: &str, yes: &[&str], no: &[&str]) {
        for a in yes {
            assert!(pattern(text).matches(&Address::parse(a).unwrap()), "{text} should match {a}");
        }
        for a in no {
            assert!(!pattern(text).matches(&Address::parse(a).unwrap()), "{text} should not match {a}");
        }
    }

    #[test]
    fn wildcards_match_exactly() {
        check("a.*.c", &["a.b.c", "a.%.c"], &["a.c", "a.b.b.c", "a.b"]);
        check("a.>", &["a.b", "a.b.c"], &["a", "b.a"]);
        check("a.#", &["a", "a.b", "a.b.c"], &["b", "b.a"]);
        check("#.c", &["c", "a.c", "a.b.c"], &["a", "c.a"]);
        check("a.#.c.#.e", &["a.c.e", "a.b.c.d.e", "a.c.c.e.e"], &["a.e", "a.c", "a.b.c.d"]);
        check("#", &["a", "a.b"], &[]);
        check("#.>", &["a", "a.b"], &[]);
        check("*.#", &["a", "a.b"], &[]);
    }

    #[test]
    fn spellings_are_reversible() {
        for text in ["orders/eu", "a.b/c", "a//b", "/", "x y/#1", "ü/%", "a/*"] {
            let address = Address::from_spelling(text, Spelling::MQTT).unwrap();
            assert_eq!(Address::parse(address.as_str()).unwrap(), address);
            assert_eq!(address.to_spelling(Spelling::MQTT).as_deref(), Some(text));
        }
        let dotted = Address::from_spelling("a.b/c", Spelling::MQTT).unwrap();
        assert_eq!(dotted.as_str(), "a%2Eb.c");
        assert_eq!(dotted.to_spelling(Spelling::AMQP), None);
        assert_eq!(Pattern::from_spelling("a/+/#", Spelling::MQTT).unwrap().as_str(), "a.*.#");
        assert!(Pattern::from_spelling("a/#/b", Spelling::MQTT).is_err());
        assert_eq!(Pattern::from_spelling("a.*.>", Spelling::NATS).unwrap().as_str(), "a.*.>");
    }

    #[test]
    fn only_canonical_text_is_accepted() {
        for bad in
            ["", ".", "a.", ".a", "a..b", "a%2eb", "a%41", "a%", "a b", "a/b", "a+", "%20%", "\u{1}", "%FF"]
        {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Address::parse("a.*").unwrap_err().code, "SB0203");
        assert!(check_name("topic", "a..b").is_err() && check_name("topic", "a.b-c_d").is_ok());
    }

    #[test]
    fn many_wildcards_cost_little() {
        // Following every way through both would take longer than the age of the universe.
        let x = pattern(&["#.a"; 16].join("."));
        let y = pattern(&["#.b"; 16].join("."));
        assert!(!x.overlaps(&y) && !x.covers(&y) && x.overlaps(&x) && x.covers(&x));
    }

    fn parts() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "#"]), 1..5).prop_map(|p| p.join("."))
    }

    fn addresses() -> Vec<Address> {
        let mut all = Vec::new();
        for n in 1..6usize {
            for bits in 0..(1 << n) {
                let text: Vec<&str> = (0..n).map(|i| if bits >> i & 1 == 0 { "a" } else { "b" }).collect();
                all.push(Address::parse(&text.join(".")).unwrap());
            }
        }
        all
    }

    proptest! {
        #[test]
        fn overlap_and_cover_agree_with_matching(x in parts(), y in parts(), tail_x: bool, tail_y: bool) {
            let x = pattern(&if tail_x { format!("{x}.>") } else { x });
            let y = pattern(&if tail_y { format!("{y}.>") } else { y });
            let all = addresses();
            let both = all.iter().any(|a| x.matches(a) && y.matches(a));
            if both {
                prop_assert!(x.overlaps(&y) && y.overlaps(&x));
            }
            if x.covers(&y) {
                prop_assert!(all.iter().all(|a| !y.matches(a) || x.matches(a)), "{x} does not cover {y}");
            }
        }

        #[test]
        fn any_text_survives_the_way_there_and_back(text in "\\PC{1,40}") {
            let address = Address::from_segments([text.as_str(), "x"]).unwrap();
            let parsed = Address::parse(address.as_str()).unwrap();
            prop_assert_eq!(parsed.segments().next().and_then(unescape), Some(text));
        }
    }
}
