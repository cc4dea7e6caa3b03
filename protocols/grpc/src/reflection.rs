//! `grpc.reflection.v1` and `v1alpha`: what the services here look like, for clients without `.proto` files.
//!
//! A caller is told of the services it may call, and of the files that describe them with everything these import. The answer to a question for
//! a file carries its imports, too, as far as this stream has not been sent them yet.

use crate::health::{known, malformed, put_number};
use crate::own;
use bytes::Bytes;
use futures_util::StreamExt as _;
use sb_board::Access;
use sb_board::call::{Code, End, Messages, Part, Reply, Services, Status};
use sb_schema::wire::{Fields, WireValue, put_bytes};
use sb_schema::{File, Schema};
use std::collections::HashSet;
use std::sync::Arc;

/// What is asked.
#[derive(Copy, Clone)]
enum Question<'a> {
    File(&'a str),
    Symbol(&'a str),
    Extension(&'a str, u32),
    Numbers(&'a str),
    Services,
}

/// One stream of questions.
struct Stream {
    access: Access,
    messages: Messages,
    /// The names of files that were sent.
    sent: HashSet<String>,
    /// The files that the caller may see, for the table of services they were computed of.
    visible: Option<(Arc<Services>, Visible)>,
}

/// The files that a caller may see.
enum Visible {
    /// All that there are.
    All,
    /// These.
    Files(HashSet<String>),
}

/// Answers a stream of questions.
pub(crate) fn reply(access: Access, messages: Messages) -> Reply {
    let stream = Stream { access, messages, sent: HashSet::new(), visible: None };
    let parts = futures_util::stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        Some(match stream.messages.next().await {
            None => (Part::End(End::default()), None),
            Some(Err(status)) => (Part::End(status.into()), None),
            Some(Ok(request)) => match stream.answer(&request) {
                Ok(answer) => (Part::Message(answer), Some(stream)),
                Err(status) => (Part::End(status.into()), None),
            },
        })
    });
    Reply { metadata: http::HeaderMap::new(), parts: Box::pin(parts) }
}

fn text(bytes: &[u8]) -> Result<&str, Status> {
    std::str::from_utf8(bytes).map_err(|_| malformed("a name is not UTF-8"))
}

fn question(request: &[u8]) -> Result<(Question<'_>, &str), Status> {
    let (mut question, mut host) = (None, "");
    for field in Fields::new(request) {
        let (number, value) = field.map_err(|e| malformed(&e.to_string()))?;
        let WireValue::Bytes(bytes) = value else { continue };
        match number {
            1 => host = text(bytes)?,
            3 => question = Some(Question::File(text(bytes)?)),
            4 => question = Some(Question::Symbol(text(bytes)?)),
            5 => {
                let (mut of, mut number) = ("", 0);
                for field in Fields::new(bytes) {
                    match field.map_err(|e| malformed(&e.to_string()))? {
                        (1, WireValue::Bytes(bytes)) => of = text(bytes)?,
                        (2, WireValue::Varint(n)) => number = u32::try_from(n).unwrap_or(0),
                        _ => {}
                    }
                }
                question = Some(Question::Extension(of, number));
            }
            6 => question = Some(Question::Numbers(text(bytes)?)),
            7 => question = Some(Question::Services),
            _ => {}
        }
    }
    let question = question.ok_or_else(|| malformed("it asks nothing"))?;
    Ok((question, host))
}

/// A name as people write it, as the schema knows it.
fn bare(symbol: &str) -> &str {
    symbol.strip_prefix('.').unwrap_or(symbol)
}

impl Stream {
    fn answer(&mut self, request: &[u8]) -> Result<Bytes, Status> {
        let (question, host) = question(request)?;
        let services = self.access.board().services();
        let mut body = Vec::new();
        let number = match question {
            Question::Services => {
                let mut names: Vec<&str> =
                    known(&self.access, &services).map(|service| &*service.name).collect();
                names.extend(own::NAMES);
                names.sort_unstable();
                names.dedup();
                for name in names {
                    let mut service = Vec::new();
                    put_bytes(&mut service, 1, name.as_bytes());
                    put_bytes(&mut body, 1, &service);
                }
                Some(6)
            }
            Question::Numbers(of) => match self.numbers(&services, bare(of)) {
                None => None,
                Some(numbers) => {
                    put_bytes(&mut body, 1, bare(of).as_bytes());
                    for number in numbers {
                        put_number(&mut body, 2, u64::from(number));
                    }
                    Some(5)
                }
            },
            Question::File(name) => self.files(&services, &mut body, |s| s.file(name)),
            Question::Symbol(symbol) => self.files(&services, &mut body, |s| s.file_containing(bare(symbol))),
            Question::Extension(of, number) => {
                self.files(&services, &mut body, |s| s.file_containing_extension(bare(of), number))
            }
        };
        let number = number.unwrap_or_else(|| {
            body.clear();
            put_number(&mut body, 1, u64::from(Code::NotFound.number()));
            let what = match question {
                Question::File(name) => format!("there is no file {name:?}"),
                Question::Symbol(symbol) => format!("nothing has the name {symbol:?}"),
                Question::Extension(of, number) => format!("{of:?} has no extension {number}"),
                Question::Numbers(of) => format!("there is no type {of:?}"),
                Question::Services => String::new(),
            };
            put_bytes(&mut body, 2, what.as_bytes());
            7
        });
        let mut out = Vec::with_capacity(body.len() + request.len() + 32);
        if !host.is_empty() {
            put_bytes(&mut out, 1, host.as_bytes());
        }
        put_bytes(&mut out, 2, request);
        put_bytes(&mut out, number, &body);
        Ok(out.into())
    }

    fn numbers(&mut self, services: &Arc<Services>, of: &str) -> Option<Vec<u32>> {
        if let Some(message) = services.schema().message(of)
            && self.may_see(services, message.file())
        {
            return services.schema().extension_numbers(of);
        }
        own::SCHEMA.extension_numbers(of)
    }

    /// Puts a file and those of its imports that were not sent. The schema of the services comes first, then that of the services here.
    fn files(
        &mut self,
        services: &Arc<Services>,
        out: &mut Vec<u8>,
        find: impl Fn(&Schema) -> Option<&File>,
    ) -> Option<u32> {
        let schema = services.schema();
        let (schema, file) = match find(schema) {
            Some(file) if self.may_see(services, &file.name) => (schema, file),
            _ => (&*own::SCHEMA, find(&own::SCHEMA)?),
        };
        // The file that was asked for comes first, and always.
        put_bytes(out, 1, &file.bytes);
        self.sent.insert(file.name.clone());
        for import in schema.file_with_imports(&file.name).into_iter().rev() {
            if self.sent.insert(import.name.clone()) {
                put_bytes(out, 1, &import.bytes);
            }
        }
        Some(4)
    }

    /// Whether the caller may see this file: services it may call need it.
    fn may_see(&mut self, services: &Arc<Services>, file: &str) -> bool {
        let fresh = self.visible.as_ref().is_some_and(|(of, _)| Arc::ptr_eq(of, services));
        if !fresh {
            let visible = Visible::compute(&self.access, services);
            self.visible = Some((services.clone(), visible));
        }
        match &self.visible {
            Some((_, Visible::Files(files))) => files.contains(file),
            Some((_, Visible::All)) => true,
            None => false,
        }
    }
}

impl Visible {
    fn compute(access: &Access, services: &Services) -> Visible {
        let known: Vec<&str> = known(access, services).map(|service| &*service.name).collect();
        if !known.is_empty() && known.len() == services.services().len() {
            return Visible::All;
        }
        let schema = services.schema();
        let mut files = HashSet::new();
        for name in known {
            if let Some(service) = schema.service(name)
                && !files.contains(&service.file)
            {
                files.extend(schema.file_with_imports(&service.file).iter().map(|file| file.name.clone()));
            }
        }
        Visible::Files(files)
    }
}
