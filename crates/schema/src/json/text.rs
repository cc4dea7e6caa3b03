//! JSON as text: a strict reader (RFC 8259) over borrowed input, and the writing of strings and numbers.

use crate::error::{Error, Result};
use std::borrow::Cow;
use std::io::Write;

/// Appends `text` as a JSON string.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            12 => b'f',
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    put_string(&mut out, text);
    out
}

/// Appends a whole number.
pub(crate) fn put_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a number with a fraction, in the shortest form that reads back the same; `NaN` and infinities as strings.
pub(crate) fn put_double(out: &mut Vec<u8>, value: f64) {
    put_float(out, value, value.abs());
}

/// The same for 32 bits.
pub(crate) fn put_single(out: &mut Vec<u8>, value: f32) {
    put_float(out, value, f64::from(value.abs()));
}

fn put_float(out: &mut Vec<u8>, value: impl std::fmt::Display + std::fmt::LowerExp, size: f64) {
    let before = out.len();
    if size.is_finite() {
        // Writing to a Vec does not fail.
        let _ = if size == 0.0 || (1e-5..1e17).contains(&size) {
            write!(out, "{value}")
        } else {
            write!(out, "{value:e}")
        };
    } else if size.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else {
        let _ = write!(out, "{value}");
        let negative = out.get(before) == Some(&b'-');
        out.truncate(before);
        out.extend_from_slice(if negative { b"\"-Infinity\"" } else { b"\"Infinity\"" });
    }
}

/// What a value begins with.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Object,
    List,
    String,
    Number,
    True,
    False,
    Null,
}

impl Token {
    /// For use in "expected …, found …".
    pub fn name(self) -> &'static str {
        match self {
            Token::Object => "an object",
            Token::List => "a list",
            Token::String => "a string",
            Token::Number => "a number",
            Token::True | Token::False => "a boolean",
            Token::Null => "null",
        }
    }
}

/// Reads one JSON text. Copying it is free and allows to look ahead.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the beginning of `bytes`, which have to be UTF-8.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::new("the JSON is not UTF-8"))?;
        Ok(Reader { text, at: 0 })
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blank(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    fn wrong(&self, expected: &str) -> Error {
        let found = match self.text[self.at..].chars().next() {
            None => "the end".to_owned(),
            Some(c) => format!("{c:?}"),
        };
        Error::new(format!("invalid JSON at byte {}: expected {expected}, found {found}", self.at))
    }

    /// What the next value is; nothing is consumed but blanks.
    pub fn peek(&mut self) -> Result<Token> {
        self.skip_blank();
        Ok(match self.byte() {
            Some(b'{') => Token::Object,
            Some(b'[') => Token::List,
            Some(b'"') => Token::String,
            Some(b'-' | b'0'..=b'9') => Token::Number,
            Some(b't') => Token::True,
            Some(b'f') => Token::False,
            Some(b'n') => Token::Null,
            _ => return Err(self.wrong("a value")),
        })
    }

    /// Consumes `true`, `false` or `null`, which [`Reader::peek`] has seen the beginning of.
    pub fn word(&mut self, token: Token) -> Result<()> {
        let word = match token {
            Token::True => "true",
            Token::False => "false",
            _ => "null",
        };
        if !self.text[self.at..].starts_with(word) {
            return Err(self.wrong(word));
        }
        self.at += word.len();
        Ok(())
    }

    fn expect(&mut self, byte: u8, name: &str) -> Result<()> {
        self.skip_blank();
        if self.byte() != Some(byte) {
            return Err(self.wrong(name));
        }
        self.at += 1;
        Ok(())
    }

    /// Consumes the `{` or `[` that [`Reader::peek`] has seen.
    pub fn enter(&mut self) {
        self.at += 1;
    }

    /// The key of the next member, or none at the end of the object. `first` is true before the first one.
    pub fn key(&mut self, first: &mut bool) -> Result<Option<Cow<'a, str>>> {
        if !self.more(b'}', first)? {
            return Ok(None);
        }
        self.skip_blank();
        if self.byte() != Some(b'"') {
            return Err(self.wrong("a name in quotes"));
        }
        let key = self.string()?;
        self.expect(b':', "':'")?;
        Ok(Some(key))
    }

    /// Whether a list has another item. `first` is true before the first one.
    pub fn item(&mut self, first: &mut bool) -> Result<bool> {
        self.more(b']', first)
    }

    fn more(&mut self, close: u8, first: &mut bool) -> Result<bool> {
        self.skip_blank();
        if self.byte() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.expect(b',', if close == b'}' { "',' or '}'" } else { "',' or ']'" })?;
        }
        Ok(true)
    }

    /// A string; borrowed where it has no escapes.
    pub fn string(&mut self) -> Result<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        let bytes = self.text.as_bytes();
        let plain = bytes[start..].iter().position(|b| *b == b'"' || *b == b'\\' || *b < 0x20);
        self.at = plain.map_or(bytes.len(), |plain| start + plain);
        if self.byte() == Some(b'"') {
            let text = &self.text[start..self.at];
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        let mut out = self.text[start..self.at].to_owned();
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(0x20..) => {
                    let from = self.at;
                    let len = bytes[from..].iter().position(|b| *b == b'"' || *b == b'\\' || *b < 0x20);
                    self.at = len.map_or(bytes.len(), |len| from + len);
                    out.push_str(&self.text[from..self.at]);
                }
                _ => return Err(self.wrong("the rest of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let escape = self.byte();
        let plain = match escape {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.wrong("an escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char> {
        let high = self.hex()?;
        if let Some(c) = char::from_u32(high) {
            return Ok(c);
        }
        if high < 0xdc00 && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return char::from_u32(code).ok_or_else(|| self.wrong("a character"));
            }
        }
        Err(Error::new(format!("invalid JSON before byte {}: half of a surrogate pair", self.at)))
    }

    fn hex(&mut self) -> Result<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let mut value = 0;
        for digit in digits.ok_or_else(|| self.wrong("four hexadecimal digits"))? {
            let digit =
                char::from(*digit).to_digit(16).ok_or_else(|| self.wrong("four hexadecimal digits"))?;
            value = value << 4 | digit;
        }
        self.at += 4;
        Ok(value)
    }

    /// The digits of a number, as they stand there.
    pub fn number(&mut self) -> Result<&'a str> {
        let rest = &self.text[self.at..];
        let len = number_len(rest.as_bytes());
        if len == 0 {
            return Err(self.wrong("a number"));
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// Passes over a value of any kind, which has to be valid and at most `depth` deep.
    pub fn skip(&mut self, depth: usize) -> Result<()> {
        match self.peek()? {
            Token::Object => {
                let depth = deeper(depth)?;
                self.enter();
                let mut first = true;
                while self.key(&mut first)?.is_some() {
                    self.skip(depth)?;
                }
            }
            Token::List => {
                let depth = deeper(depth)?;
                self.enter();
                let mut first = true;
                while self.item(&mut first)? {
                    self.skip(depth)?;
                }
            }
            Token::String => {
                self.string()?;
            }
            Token::Number => {
                self.number()?;
            }
            word => self.word(word)?,
        }
        Ok(())
    }

    /// That only blanks follow.
    pub fn end(&mut self) -> Result<()> {
        self.skip_blank();
        if self.at < self.text.len() {
            return Err(self.wrong("the end"));
        }
        Ok(())
    }
}

/// One level less to go, or the error that there is none.
pub(crate) fn deeper(depth: usize) -> Result<usize> {
    depth.checked_sub(1).ok_or_else(|| Error::new("messages lie too deep in each other"))
}

/// How many bytes at the beginning are a number by JSON's grammar; 0 if none.
fn number_len(text: &[u8]) -> usize {
    let digits =
        |from: usize| text.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(text.first() == Some(&b'-'));
    match text.get(at) {
        Some(b'0') => at += 1,
        Some(b'1'..=b'9') => at += digits(at),
        _ => return 0,
    }
    if text.get(at).is_some_and(u8::is_ascii_digit) {
        return 0;
    }
    if text.get(at) == Some(&b'.') {
        match digits(at + 1) {
            0 => return 0,
            n => at += 1 + n,
        }
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        match digits(at + 1 + sign) {
            0 => return 0,
            n => at += 1 + sign + n,
        }
    }
    at
}

/// Whether the whole text is a number by JSON's grammar.
pub(crate) fn is_number(text: &str) -> bool {
    !text.is_empty() && number_len(text.as_bytes()) == text.len()
}

/// The exact value of a number (in JSON's grammar) that is whole, like `12`, `1.50e2`, `-3.0`: sign and magnitude. `None` if it has a
/// fraction or more than 64 bits.
pub(crate) fn whole(number: &str) -> Option<(bool, u64)> {
    let (negative, rest) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    if rest.len() < 20 && rest.bytes().all(|b| b.is_ascii_digit()) {
        return Some((negative, rest.parse().ok()?));
    }
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.trim_start_matches('+')),
        None => (rest, "0"),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = before.bytes().chain(after.bytes());
    if digits.clone().all(|b| b == b'0') {
        return Some((negative, 0));
    }
    // The point stands behind this many digits.
    let point = i64::try_from(before.len()).ok()?.checked_add(exponent.parse().ok()?)?;
    let mut value = 0u64;
    let mut at = 0i64;
    for digit in digits {
        at += 1;
        if at > point {
            if digit != b'0' {
                return None;
            }
            continue;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    // value is not 0 here, so it overflows long before the loop gets long.
    while at < point {
        value = value.checked_mul(10)?;
        at += 1;
    }
    Some((negative, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_exact() {
        let max = u64::MAX;
        for (text, value) in [
            ("0", Some((false, 0))),
            ("-0", Some((true, 0))),
            ("18446744073709551615", Some((false, max))),
            ("18446744073709551616", None),
            ("1.8446744073709551615e19", Some((false, max))),
            ("1e3", Some((false, 1000))),
            ("1500e-2", Some((false, 15))),
            ("15e-2", None),
            ("1.0", Some((false, 1))),
            ("0e999999999999999999999", Some((false, 0))),
            ("0.0e99", Some((false, 0))),
            ("1e99", None),
            ("1e-99", None),
            ("100000000000000000000e-20", Some((false, 1))),
            ("0.001e3", Some((false, 1))),
            ("-9223372036854775808", Some((true, 1 << 63))),
        ] {
            assert_eq!(whole(text), value, "{text}");
        }
    }

    #[test]
    fn numbers_follow_the_grammar() {
        for good in ["0", "-0", "10", "1.5", "1e5", "1E+5", "1.25e-7"] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "0x1", "NaN", " 1", "1 ", "--1"] {
            assert!(!is_number(bad), "{bad}");
        }
    }

    #[test]
    fn floats_read_back_the_same() {
        for value in
            [0.0, -0.0, 1.0, 1.5, 1e16, 1e17, 1e300, 5e-324, f64::MAX, 0.1, 1e-5, 1e-7, 123_456_789.123]
        {
            let mut out = Vec::new();
            put_double(&mut out, value);
            let text = String::from_utf8(out).unwrap();
            assert!(is_number(&text), "{text}");
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
        for (value, text) in
            [(f64::NAN, "\"NaN\""), (f64::INFINITY, "\"Infinity\""), (-f64::INFINITY, "\"-Infinity\"")]
        {
            let mut out = Vec::new();
            put_double(&mut out, value);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn strings_are_strict() {
        for (text, value) in [
            (r#""a\u00e9\ud83d\ude00\n""#, "aé😀\n"),
            (r#""\/\b\f""#, "/\u{8}\u{c}"),
            ("\"\u{7f}é\"", "\u{7f}é"),
        ] {
            assert_eq!(Reader::new(text.as_bytes()).unwrap().string().unwrap(), value);
        }
        for bad in
            [r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\u0041""#, "\"\n\"", r#""\x""#, r#""\u12g4""#, "\"a"]
        {
            assert!(Reader::new(bad.as_bytes()).unwrap().string().is_err(), "{bad}");
        }
    }
}
