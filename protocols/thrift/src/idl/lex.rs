//! The words of a `.thrift` file.

use sb_schema::{Error, Result};

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(i64),
    Double(f64),
    Text(String),
    Sign(char),
    End,
}

/// A word, the documentation before it, and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    pub token: Token,
    pub doc: String,
    pub at: (u32, u32),
}

struct Cursor<'a> {
    file: &'a str,
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    at: (u32, u32),
}

impl Cursor<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.at = (self.at.0.saturating_add(1), 1);
        } else {
            self.at.1 = self.at.1.saturating_add(1);
        }
        Some(c)
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn error(&self, message: &str, at: (u32, u32)) -> Error {
        Error::at(message, self.file, at.0, at.1)
    }
}

/// All words of a text; the last one is the end.
pub(super) fn words(file: &str, text: &str) -> Result<Vec<Word>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut cursor = Cursor { file, rest: text.chars().peekable(), at: (1, 1) };
    let (mut words, mut doc) = (Vec::new(), String::new());
    loop {
        let at = cursor.at;
        let Some(c) = cursor.next() else {
            words.push(Word { token: Token::End, doc, at });
            return Ok(words);
        };
        let token = match c {
            c if c.is_whitespace() => continue,
            '#' => {
                while cursor.peek().is_some_and(|c| c != '\n') {
                    cursor.next();
                }
                continue;
            }
            '/' => {
                if let Some(comment) = comment(&mut cursor, at)? {
                    doc = comment;
                }
                continue;
            }
            '"' | '\'' => Token::Text(text_until(&mut cursor, c, at)?),
            c if c.is_ascii_digit() || c == '+' || c == '-' || c == '.' => number(&mut cursor, c, at)?,
            c if c.is_alphabetic() || c == '_' => {
                let mut name = String::from(c);
                while let Some(c) =
                    cursor.peek().filter(|c| c.is_alphanumeric() || *c == '_' || *c == '.' || *c == '-')
                {
                    name.push(c);
                    cursor.next();
                }
                if !name.is_ascii() {
                    return Err(cursor.error("a name has letters of ASCII only", at));
                }
                Token::Name(name)
            }
            c if "{}()[]<>,;:=*&".contains(c) => Token::Sign(c),
            c => return Err(cursor.error(&format!("{c:?} does not belong here"), at)),
        };
        words.push(Word { token, doc: std::mem::take(&mut doc), at });
    }
}

/// A comment behind its first `/`; its text, if it is documentation.
fn comment(cursor: &mut Cursor<'_>, at: (u32, u32)) -> Result<Option<String>> {
    match cursor.next() {
        Some('/') => {
            while cursor.peek().is_some_and(|c| c != '\n') {
                cursor.next();
            }
            Ok(None)
        }
        Some('*') => {
            let mut text = String::new();
            loop {
                match cursor.next() {
                    Some('*') if cursor.peek() == Some('/') => {
                        cursor.next();
                        break;
                    }
                    Some(c) => text.push(c),
                    None => return Err(cursor.error("the comment has no end", at)),
                }
            }
            let Some(doc) = text.strip_prefix('*') else { return Ok(None) };
            let lines: Vec<&str> = doc
                .lines()
                .map(|line| {
                    let line = line.trim();
                    line.strip_prefix('*').map_or(line, |line| line.strip_prefix(' ').unwrap_or(line))
                })
                .collect();
            Ok(Some(lines.join("\n").trim_matches(['\n', ' ']).to_owned()))
        }
        _ => Err(cursor.error("'/' does not belong here", at)),
    }
}

fn text_until(cursor: &mut Cursor<'_>, quote: char, at: (u32, u32)) -> Result<String> {
    let mut text = String::new();
    loop {
        match cursor.next() {
            Some(c) if c == quote => return Ok(text),
            Some('\\') => match cursor.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some('t') => text.push('\t'),
                Some(c @ ('"' | '\'' | '\\')) => text.push(c),
                Some(c) => text.extend(['\\', c]),
                None => return Err(cursor.error("the text has no end", at)),
            },
            Some(c) => text.push(c),
            None => return Err(cursor.error("the text has no end", at)),
        }
    }
}

fn number(cursor: &mut Cursor<'_>, first: char, at: (u32, u32)) -> Result<Token> {
    let mut text = String::from(first);
    while let Some(c) = cursor.peek() {
        let exponent = text.ends_with(['e', 'E']) && !text.contains(['x', 'X']);
        if !(c.is_ascii_alphanumeric() || c == '.' || (exponent && (c == '+' || c == '-'))) {
            break;
        }
        text.push(c);
        cursor.next();
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let int = match hex {
        Some(hex) => {
            i64::from_str_radix(hex, 16).ok().and_then(|n| if negative { n.checked_neg() } else { Some(n) })
        }
        // With the sign, since the smallest number has no counterpart.
        None => text.strip_prefix('+').unwrap_or(&text).parse().ok(),
    };
    if let Some(int) = int {
        return Ok(Token::Int(int));
    }
    match digits.parse::<f64>() {
        Ok(value) if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && hex.is_none() => {
            Ok(Token::Double(if negative { -value } else { value }))
        }
        _ => Err(cursor.error(&format!("{:?} is no number", text.chars().take(40).collect::<String>()), at)),
    }
}
