//! The table of services: which exist, what their methods look like, who answers them. It is replaced as a whole when something changes;
//! calls that run keep what they began with.

use super::{Meter, Provider, Streaming};
use foldhash::HashMap;
use sb_core::model::Address;
use sb_schema::{Idempotency, Method, Schema};
use std::any::{Any, TypeId};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How a service is served.
#[derive(Clone)]
pub struct Service {
    /// `package.Service`.
    pub name: Arc<str>,
    /// Who answers.
    pub provider: Arc<dyn Provider>,
    /// The longest a call may take; `None` leaves it to the caller.
    pub timeout: Option<Duration>,
    /// The protocols it can be reached over, by the names in `speaks.rs`; `None` for all.
    pub shown: Option<Arc<[String]>>,
    /// How its messages look in JSON.
    pub json: sb_schema::Options,
}

/// A method with who answers it.
#[derive(Clone)]
pub struct Entry {
    /// `package.Service/Method`.
    pub path: Arc<str>,
    /// Its service.
    pub service: Arc<Service>,
    /// What it looks like.
    pub method: Arc<Method>,
    /// Counts its calls.
    pub meter: Arc<Meter>,
    /// What grants on it are written for; `None` for a path that is too long to be granted.
    pub(crate) address: Option<Address>,
}

impl Entry {
    /// Which sides stream.
    pub fn streaming(&self) -> Streaming {
        Streaming { client: self.method.client_streaming, server: self.method.server_streaming }
    }

    /// The largest request message, in bytes. The server's own API takes batches, others get a message.
    pub fn max_request(&self, board: &crate::Board) -> usize {
        if self.service.provider.checks_rights() { board.max_request() } else { board.max_message() }
    }

    /// Whether a call may be repeated.
    pub fn repeatable(&self) -> bool {
        self.method.idempotency != Idempotency::Unknown
    }
}

/// All services, and the schema that describes them.
pub struct Services {
    schema: Schema,
    services: Vec<Arc<Service>>,
    methods: HashMap<Arc<str>, Entry>,
    /// What protocols have made of this table, by type.
    derived: RwLock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Services {
    /// The table. Services that the schema does not describe have no methods here. Counts go on from those of `before`.
    pub fn new(schema: Schema, services: Vec<Service>, before: Option<&Services>) -> Services {
        let mut table = Services {
            schema,
            services: Vec::new(),
            methods: HashMap::default(),
            derived: RwLock::default(),
        };
        for service in services {
            let service = Arc::new(service);
            let described =
                table.schema.service(&service.name).map(|s| s.methods.clone()).unwrap_or_default();
            for method in described {
                let known = before.and_then(|b| b.methods.get(&*method.path));
                let path: Arc<str> = known.map_or_else(|| method.path.as_str().into(), |e| e.path.clone());
                let meter = known.map_or_else(Arc::default, |e| e.meter.clone());
                let address = crate::auth::method_address(&path).ok();
                let entry = Entry { path: path.clone(), service: service.clone(), method, meter, address };
                table.methods.insert(path, entry);
            }
            table.services.push(service);
        }
        table
    }

    /// What describes the services; it may describe more than are served.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The services, in the order in which they were configured.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// The service of this name.
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.iter().find(|s| *s.name == *name)
    }

    /// The method of this path (`package.Service/Method`), whatever protocols it is shown to.
    pub fn method(&self, path: &str) -> Option<&Entry> {
        self.methods.get(path)
    }

    /// The method of this path, if it can be reached over this protocol.
    pub fn shown(&self, path: &str, protocol: &str) -> Option<&Entry> {
        self.methods.get(path).filter(|entry| entry.service.is_shown(protocol))
    }

    /// What a protocol makes of the table (routes, a schema of its own), made the first time it is asked for and gone with the table.
    pub fn derived<T: Send + Sync + 'static>(&self, make: impl FnOnce(&Services) -> T) -> Arc<T> {
        let known =
            self.derived.read().unwrap_or_else(PoisonError::into_inner).get(&TypeId::of::<T>()).cloned();
        if let Some(known) = known.and_then(|known| known.downcast().ok()) {
            return known;
        }
        // Two may make it at the same time; one of the two is kept.
        let made = Arc::new(make(self));
        self.derived.write().unwrap_or_else(PoisonError::into_inner).insert(TypeId::of::<T>(), made.clone());
        made
    }

    /// Every method, in no order.
    pub fn methods(&self) -> impl Iterator<Item = &Entry> {
        self.methods.values()
    }

    /// Paths like this one, nearest first, for the error that says it does not exist.
    pub fn near(&self, path: &str) -> Vec<Arc<str>> {
        let (service, method) = path.rsplit_once('/').unwrap_or((path, ""));
        let mut near: Vec<(usize, &Arc<str>)> = self
            .methods
            .keys()
            .filter_map(|known| {
                let (s, m) = known.rsplit_once('/')?;
                let close = if s == service {
                    distance(m, method)
                } else if m == method {
                    distance(s, service)
                } else {
                    distance(known, path)
                };
                (close <= 3 || s == service).then_some((close, known))
            })
            .collect();
        near.sort();
        near.into_iter().take(3).map(|(_, known)| known.clone()).collect()
    }
}

impl Service {
    /// Whether it can be reached over this protocol.
    pub fn is_shown(&self, protocol: &str) -> bool {
        self.shown.as_ref().is_none_or(|shown| shown.iter().any(|p| p == protocol))
    }
}

/// Levenshtein's distance, of names at most 200 bytes long; longer ones are far from everything.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 200 || b.len() > 200 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let up = *cell;
            left = (diagonal + usize::from(!x.eq_ignore_ascii_case(&y))).min(up + 1).min(left + 1);
            diagonal = up;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("GetOrder", "GetOders", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }
}
