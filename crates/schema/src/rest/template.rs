//! Path templates: `/v1/{name=shelves/*/books/*}:archive`.

use super::percent;
use crate::error::{Error, Result, shorten};

const MAX_LEN: usize = 2048;
const MAX_SEGMENTS: usize = 64;

/// One part of a template between slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// This text, decoded.
    Literal(String),
    /// `*`: any one segment that is not empty.
    Single,
    /// `**`: any number of segments, the last ones.
    Multi,
}

/// A part of a path that goes into a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// The field, `a.b.c`.
    pub field: String,
    /// Its segments in the template.
    pub segments: std::ops::Range<usize>,
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub segments: Vec<Segment>,
    pub variables: Vec<Variable>,
    /// What stands behind the last colon.
    pub verb: Option<String>,
}

impl Template {
    /// Whether a variable stands for exactly one segment, so that slashes in it are encoded.
    pub fn is_single(&self, variable: &Variable) -> bool {
        matches!(self.segments.get(variable.segments.clone()), Some([Segment::Single]))
    }

    /// The segments of a variable as they are written.
    pub fn text_of(&self, variable: &Variable) -> String {
        let segments = self.segments.get(variable.segments.clone()).unwrap_or_default();
        let texts: Vec<&str> = segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => text.as_str(),
                Segment::Single => "*",
                Segment::Multi => "**",
            })
            .collect();
        texts.join("/")
    }

    /// The path with `{names}` instead of wildcards. `name` is told the variable that the wildcard is in, which wildcard of it (from 1) or of
    /// the path it is, and how many the variable has.
    pub fn write(&self, mut name: impl FnMut(Option<&Variable>, usize, usize) -> String) -> String {
        let is_wildcard = |segment: &&Segment| !matches!(segment, Segment::Literal(_));
        let mut path = String::new();
        for (at, segment) in self.segments.iter().enumerate() {
            path.push('/');
            if let Segment::Literal(text) = segment {
                percent::encode(text, b"!$&'()+,;=@", &mut path);
                continue;
            }
            let variable = self.variables.iter().find(|variable| variable.segments.contains(&at));
            let (from, to) =
                variable.map_or((0, self.segments.len()), |v| (v.segments.start, v.segments.end));
            let index = self.segments[from..=at].iter().filter(is_wildcard).count();
            let count = self.segments[from..to].iter().filter(is_wildcard).count();
            path.push('{');
            path.push_str(&name(variable, index, count));
            path.push('}');
        }
        if self.segments.is_empty() {
            path.push('/');
        }
        if let Some(verb) = &self.verb {
            path.push(':');
            path.push_str(verb);
        }
        path
    }

    /// Parses a template by the grammar of `google.api.http`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::new(format!("the path template {:?} {why}", shorten(text)));
        if text.len() > MAX_LEN {
            return Err(wrong("is too long"));
        }
        let rest = text.strip_prefix('/').ok_or_else(|| wrong("does not begin with /"))?;
        let mut template = Template { segments: Vec::new(), variables: Vec::new(), verb: None };
        if rest.is_empty() {
            return Ok(template);
        }
        let mut parser = Parser { rest, template: &mut template };
        let result = parser.segments(false);
        let rest = parser.rest;
        result.map_err(|why| wrong(&why))?;
        if let Some(verb) = rest.strip_prefix(':') {
            if verb.is_empty() || !verb.chars().all(is_literal) {
                return Err(wrong("has no usable word behind the colon"));
            }
            template.verb = Some(verb.to_owned());
        } else if !rest.is_empty() {
            return Err(wrong(&format!("cannot go on with {:?}", shorten(rest))));
        }
        if template.segments.len() > MAX_SEGMENTS {
            return Err(wrong("has too many segments"));
        }
        if template.segments.iter().rev().skip(1).any(|segment| *segment == Segment::Multi) {
            return Err(wrong("has ** in another place than the end"));
        }
        for (at, variable) in template.variables.iter().enumerate() {
            if template.variables[..at].iter().any(|other| other.field == variable.field) {
                return Err(wrong(&format!("has the variable {} twice", variable.field)));
            }
        }
        Ok(template)
    }
}

fn is_literal(c: char) -> bool {
    c.is_alphanumeric() || "-_.~!$&'()+,;=@%".contains(c)
}

struct Parser<'a, 't> {
    rest: &'a str,
    template: &'t mut Template,
}

impl Parser<'_, '_> {
    fn eat(&mut self, sign: &str) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn segments(&mut self, in_variable: bool) -> std::result::Result<(), String> {
        loop {
            self.segment(in_variable)?;
            if !self.eat("/") {
                return Ok(());
            }
        }
    }

    fn segment(&mut self, in_variable: bool) -> std::result::Result<(), String> {
        if self.eat("**") {
            self.template.segments.push(Segment::Multi);
        } else if self.eat("*") {
            self.template.segments.push(Segment::Single);
        } else if self.eat("{") {
            if in_variable {
                return Err("has a variable inside a variable".into());
            }
            let len = self.rest.find(['=', '}']).ok_or("has a { without }")?;
            let (field, rest) = self.rest.split_at(len);
            let is_name =
                |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !field.split('.').all(is_name) {
                return Err(format!("has a variable {:?}, which is no field", shorten(field)));
            }
            self.rest = rest;
            let from = self.template.segments.len();
            if self.eat("=") {
                self.segments(true)?;
            } else {
                self.template.segments.push(Segment::Single);
            }
            if !self.eat("}") {
                return Err("has a { without }".into());
            }
            let to = self.template.segments.len();
            self.template.variables.push(Variable { field: field.to_owned(), segments: from..to });
        } else {
            let len = self.rest.find(|c| !is_literal(c)).unwrap_or(self.rest.len());
            let (literal, rest) = self.rest.split_at(len);
            if literal.is_empty() {
                return Err("has an empty segment".into());
            }
            let literal = percent::decode(literal).ok_or("has a broken percent sign")?;
            self.template.segments.push(Segment::Literal(literal.into_owned()));
            self.rest = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let template = Template::parse("/v1/{a.b=shelves/*/x}/{c}/**:cancel").unwrap();
        assert_eq!(template.verb.as_deref(), Some("cancel"));
        assert_eq!(template.segments.len(), 6);
        assert_eq!(template.variables[0], Variable { field: "a.b".into(), segments: 1..4 });
        assert!(!template.is_single(&template.variables[0]));
        assert!(template.is_single(&template.variables[1]));
        for good in [
            "/",
            "/a",
            "/*",
            "/**",
            "/{a}",
            "/{a=*}",
            "/{a=**}:v",
            "/a/{b=c/**}",
            "/a.b/c-d~e",
            "/%7Ea",
            "/a/*:b",
        ] {
            assert!(Template::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "//",
            "/a/",
            "/a//b",
            "/{",
            "/{a",
            "/{a=}",
            "/{}",
            "/{a.}",
            "/{a={b}}",
            "/**/a",
            "/{a=**}/b",
            "/a:",
            "/a:b:c",
            "/a:b/c",
            "/***",
            "/a*",
            "/{a}b",
            "/{a}/{a}",
            "/%zz",
            "/a?b",
            "/a#b",
            "/{a-b}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
