//! The grammar of Thrift's IDL (`doc/specs/idl.md` of Thrift), with what older files have: `byte`, `slist`, `senum`, `async`, `php_namespace`, `xsd_…`.

use super::ast::{Definition, Document, Field, Function, Kind, Requiredness, Type, Value, What};
use super::lex::{Token, Word, words};
use sb_schema::{Error, Result};

/// Types and constants may lie in each other as deep as this.
const MAX_DEPTH: usize = 32;

const BASES: [&str; 10] = ["bool", "byte", "i8", "i16", "i32", "i64", "double", "string", "binary", "uuid"];

/// Reads a file; `file` is its name in errors.
pub fn parse(file: &str, text: &str) -> Result<Document> {
    let mut words = words(file, text)?;
    words.reverse();
    Parser { file, words, depth: 0 }.document()
}

struct Parser<'a> {
    file: &'a str,
    /// The last one is next.
    words: Vec<Word>,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.words.last().map_or(&Token::End, |word| &word.token)
    }

    fn at(&self) -> (u32, u32) {
        self.words.last().map_or((1, 1), |word| word.at)
    }

    fn doc(&self) -> String {
        self.words.last().map_or_else(String::new, |word| word.doc.clone())
    }

    fn next(&mut self) -> Token {
        // The end stays.
        if self.words.len() > 1 { self.words.pop().map_or(Token::End, |word| word.token) } else { Token::End }
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        let (line, column) = self.at();
        Err(Error::at(message, self.file, line, column))
    }

    fn wanted<T>(&self, what: &str) -> Result<T> {
        let found = match self.peek() {
            Token::Name(name) => format!("{:?}", name.chars().take(40).collect::<String>()),
            Token::Int(n) => n.to_string(),
            Token::Double(n) => n.to_string(),
            Token::Text(_) => "a text".into(),
            Token::Sign(c) => format!("{c:?}"),
            Token::End => "the end of the file".into(),
        };
        self.error(format!("{what} was expected, not {found}"))
    }

    fn sign(&mut self, wanted: char) -> Result<()> {
        if self.is(wanted) { Ok(()) } else { self.wanted(&format!("{wanted:?}")) }
    }

    /// Takes a sign if it is there.
    fn is(&mut self, wanted: char) -> bool {
        let found = *self.peek() == Token::Sign(wanted);
        if found {
            self.next();
        }
        found
    }

    fn separator(&mut self) {
        if !self.is(',') {
            self.is(';');
        }
    }

    fn name(&mut self) -> Result<String> {
        match self.peek() {
            Token::Name(_) => match self.next() {
                Token::Name(name) => Ok(name),
                _ => self.wanted("a name"),
            },
            _ => self.wanted("a name"),
        }
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Name(name) if name == word);
        if found {
            self.next();
        }
        found
    }

    fn text(&mut self) -> Result<String> {
        match self.peek() {
            Token::Text(_) => match self.next() {
                Token::Text(text) => Ok(text),
                _ => self.wanted("a text"),
            },
            _ => self.wanted("a text in quotes"),
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return self.error("this lies too deep");
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn document(mut self) -> Result<Document> {
        let mut document = Document::default();
        loop {
            let doc = self.doc();
            let word = match self.peek() {
                Token::End => return Ok(document),
                Token::Name(word) => word.clone(),
                _ => return self.wanted("a definition"),
            };
            match word.as_str() {
                "include" => {
                    self.next();
                    document.includes.push(self.text()?);
                }
                "cpp_include" => {
                    self.next();
                    self.text()?;
                }
                "namespace" => {
                    self.next();
                    let scope = if self.is('*') { "*".to_owned() } else { self.name()? };
                    let name =
                        if matches!(self.peek(), Token::Text(_)) { self.text()? } else { self.name()? };
                    self.annotations()?;
                    document.namespaces.push((scope, name));
                }
                old if old.ends_with("_namespace") => {
                    self.next();
                    let name =
                        if matches!(self.peek(), Token::Text(_)) { self.text()? } else { self.name()? };
                    document.namespaces.push((old.trim_end_matches("_namespace").to_owned(), name));
                }
                _ => {
                    let definition = self.definition(&word, doc)?;
                    document.definitions.push(definition);
                }
            }
            self.separator();
        }
    }

    fn definition(&mut self, word: &str, doc: String) -> Result<Definition> {
        let begin = self.at();
        self.next();
        let (name, at, what) = match word {
            "const" => {
                let ty = self.ty()?;
                let at = self.at();
                let name = self.name()?;
                self.sign('=')?;
                (name, at, What::Const(ty, self.value()?))
            }
            "typedef" => {
                let ty = self.ty()?;
                let at = self.at();
                (self.name()?, at, What::Typedef(ty))
            }
            "senum" => {
                let at = self.at();
                let name = self.name()?;
                self.sign('{')?;
                while !self.is('}') {
                    self.text()?;
                    self.separator();
                }
                (name, at, What::Typedef(Type::Base("string")))
            }
            "enum" => {
                let at = self.at();
                (self.name()?, at, What::Enum(self.values()?))
            }
            "struct" | "union" | "exception" => {
                let kind = match word {
                    "struct" => Kind::Struct,
                    "union" => Kind::Union,
                    _ => Kind::Exception,
                };
                let at = self.at();
                let name = self.name()?;
                self.keyword("xsd_all");
                self.sign('{')?;
                (name, at, What::Struct(kind, self.fields('}')?))
            }
            "service" => {
                let at = self.at();
                let name = self.name()?;
                let parent = if self.keyword("extends") { Some(self.name()?) } else { None };
                self.sign('{')?;
                let mut functions = Vec::new();
                while !self.is('}') {
                    functions.push(self.function()?);
                }
                (name, at, What::Service(parent, functions))
            }
            _ => {
                let known = "namespace, include, const, typedef, enum, struct, union, exception or service";
                return Err(Error::at(format!("{known} was expected"), self.file, begin.0, begin.1));
            }
        };
        let annotations = self.annotations()?;
        Ok(Definition { name, doc, at, what, annotations })
    }

    fn values(&mut self) -> Result<Vec<(String, i32, String)>> {
        self.sign('{')?;
        let (mut values, mut next) = (Vec::new(), 0i32);
        while !self.is('}') {
            let doc = self.doc();
            let name = self.name()?;
            if self.is('=') {
                match *self.peek() {
                    Token::Int(n) => match i32::try_from(n) {
                        Ok(n) => next = n,
                        Err(_) => return self.error("the value of an enum has 32 bits"),
                    },
                    _ => return self.wanted("a whole number"),
                }
                self.next();
            }
            values.push((name, next, doc));
            next = next.wrapping_add(1);
            self.annotations()?;
            self.separator();
        }
        Ok(values)
    }

    fn fields(&mut self, end: char) -> Result<Vec<Field>> {
        let (mut fields, mut auto) = (Vec::<Field>::new(), 0i16);
        while !self.is(end) {
            let doc = self.doc();
            let id = match *self.peek() {
                Token::Int(id) => {
                    let Ok(id) = i16::try_from(id) else {
                        return self.error("the id of a field has 16 bits");
                    };
                    self.next();
                    self.sign(':')?;
                    id
                }
                _ => {
                    let Some(next) = auto.checked_sub(1) else {
                        return self.error("there are too many fields");
                    };
                    auto = next;
                    auto
                }
            };
            let requiredness = if self.keyword("required") {
                Requiredness::Required
            } else if self.keyword("optional") {
                Requiredness::Optional
            } else {
                Requiredness::Default
            };
            let ty = self.ty()?;
            self.is('&');
            let at = self.at();
            let name = self.name()?;
            let default = if self.is('=') { Some(self.value()?) } else { None };
            self.keyword("xsd_optional");
            self.keyword("xsd_nillable");
            if self.keyword("xsd_attrs") {
                self.sign('{')?;
                self.deeper(|p| p.fields('}'))?;
            }
            self.annotations()?;
            self.separator();
            if fields.iter().any(|field| field.id == id || field.name == name) {
                return Err(Error::at(
                    format!("the name {name:?} or the id {id} is taken"),
                    self.file,
                    at.0,
                    at.1,
                ));
            }
            fields.push(Field { id, requiredness, ty, name, default, doc, at });
        }
        Ok(fields)
    }

    fn function(&mut self) -> Result<Function> {
        let doc = self.doc();
        let oneway = self.keyword("oneway") || self.keyword("async");
        let returns = if self.keyword("void") { None } else { Some(self.ty()?) };
        let at = self.at();
        let name = self.name()?;
        self.sign('(')?;
        let parameters = self.fields(')')?;
        let throws = if self.keyword("throws") {
            self.sign('(')?;
            self.fields(')')?
        } else {
            Vec::new()
        };
        let annotations = self.annotations()?;
        self.separator();
        if oneway && (returns.is_some() || !throws.is_empty()) {
            return Err(Error::at("a oneway method returns and throws nothing", self.file, at.0, at.1));
        }
        Ok(Function { name, oneway, returns, parameters, throws, doc, annotations, at })
    }

    fn ty(&mut self) -> Result<Type> {
        let at = self.at();
        let word = self.name()?;
        let ty = match word.as_str() {
            "list" | "set" | "map" => {
                self.cpp_type()?;
                self.sign('<')?;
                let first = Box::new(self.deeper(Self::ty)?);
                let ty = match word.as_str() {
                    "list" => Type::List(first),
                    "set" => Type::Set(first),
                    _ => {
                        self.sign(',')?;
                        Type::Map(first, Box::new(self.deeper(Self::ty)?))
                    }
                };
                self.sign('>')?;
                self.cpp_type()?;
                ty
            }
            "slist" => Type::Base("string"),
            "void" => return Err(Error::at("void is no type of a value", self.file, at.0, at.1)),
            "stream" | "sink" | "interaction" => {
                return Err(Error::at(format!("{word} is not part of Apache Thrift"), self.file, at.0, at.1));
            }
            _ => match BASES.iter().find(|base| **base == word) {
                Some(base) => Type::Base(base),
                None => Type::Name(word, at),
            },
        };
        self.annotations()?;
        Ok(ty)
    }

    fn cpp_type(&mut self) -> Result<()> {
        if self.keyword("cpp_type") {
            self.text()?;
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Value> {
        let value = match self.peek() {
            Token::Int(_) | Token::Double(_) | Token::Text(_) | Token::Name(_) => match self.next() {
                Token::Int(n) => Value::Int(n),
                Token::Double(n) => Value::Double(n),
                Token::Text(text) => Value::Text(text),
                Token::Name(name) => Value::Name(name),
                Token::Sign(_) | Token::End => return self.wanted("a value"),
            },
            Token::Sign('[') => {
                self.next();
                let mut items = Vec::new();
                while !self.is(']') {
                    items.push(self.deeper(Self::value)?);
                    self.separator();
                }
                Value::List(items)
            }
            Token::Sign('{') => {
                self.next();
                let mut pairs = Vec::new();
                while !self.is('}') {
                    let key = self.deeper(Self::value)?;
                    self.sign(':')?;
                    pairs.push((key, self.deeper(Self::value)?));
                    self.separator();
                }
                Value::Map(pairs)
            }
            _ => return self.wanted("a value"),
        };
        Ok(value)
    }

    /// `(name = "value", flag)`, if it is there.
    fn annotations(&mut self) -> Result<Vec<(String, String)>> {
        let mut annotations = Vec::new();
        if !self.is('(') {
            return Ok(annotations);
        }
        while !self.is(')') {
            let name = self.name()?;
            let value = if self.is('=') { self.text()? } else { "1".to_owned() };
            annotations.push((name, value));
            self.separator();
        }
        Ok(annotations)
    }
}
