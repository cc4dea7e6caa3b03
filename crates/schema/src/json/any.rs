//! `google.protobuf.Any`: a message with the name of its type, written as an object with `@type`.

use super::from_base64;
use super::read::{Reading, twice};
use super::text::{Token, deeper};
use crate::error::{Error, Result, shorten};
use crate::pool::{MessageInfo, Pool};
use crate::wire::{close, open, put_bytes, put_tag};
use std::borrow::Cow;

/// The message a type URL names: what stands behind its last slash.
pub(super) fn resolve<'p>(pool: &'p Pool, url: &str) -> Result<&'p MessageInfo> {
    let (_, name) = url.rsplit_once('/').ok_or_else(|| {
        Error::new(format!("{:?} is no type URL like type.googleapis.com/pkg.Message", shorten(url)))
    })?;
    let index = pool
        .message_named(name)
        .ok_or_else(|| Error::new(format!("the schema does not know the type {:?}", shorten(name))))?;
    Ok(pool.message(index))
}

impl<'a> Reading<'a> {
    /// Appends the content of an `Any`.
    pub(super) fn any(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        if self.json.peek()? != Token::Object {
            return Err(self.expected("an object"));
        }
        let Some(url) = self.type_url(depth)? else {
            // It was seen to be empty.
            return self.json.skip(depth.max(1));
        };
        let info = match resolve(self.pool, &url) {
            Ok(info) => info,
            Err(_) if self.options.opaque_any => return self.opaque(&url, out, depth),
            Err(error) => return Err(error.within("@type")),
        };
        let depth = deeper(depth)?;
        put_bytes(out, 1, url.as_bytes());
        put_tag(out, 2, 2);
        let mark = open(out);
        if info.well_known.is_plain() {
            self.object(info, out, depth, true)?;
        } else {
            self.any_value(info, out, depth)?;
        }
        close(out, mark);
        Ok(())
    }

    /// An `Any` of an unknown type: its bytes stand as base64 under `value`.
    fn opaque(&mut self, url: &str, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        put_bytes(out, 1, url.as_bytes());
        self.json.enter();
        let (mut first, mut seen) = (true, false);
        while let Some(key) = self.json.key(&mut first)? {
            match &*key {
                "@type" => self.json.skip(depth)?,
                "value" if !seen && self.json.peek()? == Token::String => {
                    seen = true;
                    let text = self.json.string()?;
                    let value = from_base64(&text).map_err(|e| e.within("value"))?;
                    put_bytes(out, 2, &value);
                }
                _ => {
                    let name = shorten(url);
                    return Err(Error::new(format!(
                        "the schema does not know the type {name:?}: give its bytes as base64 under \"value\""
                    )));
                }
            }
        }
        Ok(())
    }

    /// Looks ahead for `@type`, which may stand anywhere. None if the object is empty.
    fn type_url(&mut self, depth: usize) -> Result<Option<Cow<'a, str>>> {
        let mut ahead = self.json.clone();
        ahead.enter();
        let mut first = true;
        let mut empty = true;
        while let Some(key) = ahead.key(&mut first)? {
            if key == "@type" {
                if ahead.peek()? != Token::String {
                    return Err(Error::new("expected a string").within("@type"));
                }
                return Ok(Some(ahead.string()?));
            }
            empty = false;
            ahead.skip(depth)?;
        }
        if empty { Ok(None) } else { Err(Error::new("google.protobuf.Any needs a member @type")) }
    }

    /// A message whose JSON form is not an object stands under `value`.
    fn any_value(&mut self, info: &MessageInfo, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        self.json.enter();
        let (mut first, mut types, mut values) = (true, 0, 0);
        while let Some(key) = self.json.key(&mut first)? {
            match &*key {
                "@type" => {
                    types += 1;
                    self.json.skip(depth)?;
                }
                "value" if values == 0 => {
                    values += 1;
                    self.message(info, out, depth).map_err(|e| e.within("value"))?;
                }
                "value" => return Err(twice().within("value")),
                _ => self.unknown(&info.full_name, depth).map_err(|e| e.within(&key))?,
            }
        }
        if types != 1 {
            return Err(twice().within("@type"));
        }
        if values == 0 {
            return Err(
                Error::new(format!("{} stands under \"value\" in an Any", info.full_name)).within("value")
            );
        }
        Ok(())
    }
}
