//! Fields that another service answers, and entities: from options to the model. What does not fit is a fault with a sentence, and left out.

use super::{Builder, step};
use crate::model::{Arg, Base, BatchOf, Entity, Field, Join, Object, Ref, Source, Step, Type};
use crate::options::{Batch, Options};
use sb_board::call::services::Entry;
use sb_schema::{Cardinality, Message, Type as Kind};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A join whose parent is not known by name yet.
pub(super) struct Prepared {
    entry: Entry,
    args: Vec<Arg>,
    ty: Ref,
    /// Members of the request with the paths in the parent.
    from: Vec<(Step, String)>,
    pick: Vec<Step>,
    batch: Option<(Step, Vec<Step>, bool)>,
}

/// How a join or an entity is asked for.
struct Asked<'a> {
    call: &'a str,
    args: &'a BTreeMap<String, String>,
    pick: Option<&'a str>,
    batch: Option<&'a Batch>,
}

/// By the name in the options.
pub(super) struct PreparedAll {
    joins: Vec<(String, Prepared)>,
    entities: Vec<(String, Option<Prepared>)>,
}

impl Builder {
    /// Finds methods and types of joins and entities, before types have names.
    pub(super) fn prepare(&mut self, options: &Options) -> PreparedAll {
        let mut all = PreparedAll { joins: Vec::new(), entities: Vec::new() };
        for (name, join) in &options.joins {
            let asked = Asked {
                call: &join.call,
                args: &join.args,
                pick: join.pick.as_deref(),
                batch: join.batch.as_ref(),
            };
            match self.prepare_one(&asked) {
                Ok(prepared) => all.joins.push((name.clone(), prepared)),
                Err(why) => self.faults.push(format!("joins.{name:?}: {why}")),
            }
        }
        for (name, entity) in &options.entities {
            let prepared = entity.call.as_deref().map(|call| {
                self.prepare_one(&Asked {
                    call,
                    args: &entity.args,
                    pick: entity.pick.as_deref(),
                    batch: entity.batch.as_ref(),
                })
            });
            match prepared.transpose() {
                Ok(prepared) => all.entities.push((name.clone(), prepared)),
                Err(why) => self.faults.push(format!("entities.{name:?}: {why}")),
            }
        }
        all
    }

    fn prepare_one(&mut self, asked: &Asked<'_>) -> Result<Prepared, String> {
        let entry = self.method(asked.call).ok_or_else(|| format!("there is no method {}", asked.call))?;
        if entry.method.client_streaming || entry.method.server_streaming {
            return Err(format!("{} streams and cannot be joined", asked.call));
        }
        let (input, output) = (entry.method.input.clone(), entry.method.output.clone());
        let mut from = Vec::new();
        let mut given = HashSet::new();
        for (name, path) in asked.args {
            let field =
                input.field(name).ok_or_else(|| format!("{} has no field {name}", input.full_name()))?;
            given.insert(field.name().to_owned());
            from.push((step(&field), path.clone()));
        }
        let (pick, picked) = walk(&output, asked.pick)?;
        let (ty, batch) = match asked.batch {
            None => {
                let ty = match picked {
                    None => self.response(&output),
                    Some((owner, name)) => {
                        let field = owner.field(&name).ok_or("the field is gone")?;
                        if matches!(field.cardinality(), Cardinality::Map(_)) {
                            return Err(format!("{name} is a map, which cannot be picked"));
                        }
                        self.member(&owner, &field).0
                    }
                };
                (Ref { null: true, ..ty }, None)
            }
            Some(batch) => {
                let list = input
                    .field(&batch.list)
                    .filter(|field| field.cardinality() == Cardinality::List)
                    .ok_or_else(|| format!("{} has no list {}", input.full_name(), batch.list))?;
                if !given.contains(list.name()) {
                    return Err(format!("args does not say what goes into {}", batch.list));
                }
                let Some((owner, name)) = picked else {
                    return Err("a batch needs pick: the list of items".into());
                };
                let field = owner.field(&name).ok_or("the field is gone")?;
                let (Cardinality::List, Kind::Message(item)) = (field.cardinality(), field.r#type()) else {
                    return Err(format!("{name} is no list of messages"));
                };
                let (key, _) = walk(&item, Some(&batch.key))?;
                let base = self.output(&item);
                (Ref::one(base, true), Some((step(&list), key, batch.many)))
            }
        };
        Ok(Prepared { args: self.request(&input, &given), entry, ty, from, pick, batch })
    }

    /// Puts the joins into their types, now that these have names.
    pub(super) fn attach(&mut self, all: PreparedAll, options: &Options) -> Vec<Entity> {
        for (name, prepared) in all.joins {
            if let Err(why) = self.attach_join(&name, prepared) {
                self.faults.push(format!("joins.{name:?}: {why}"));
            }
        }
        let mut entities = Vec::new();
        for (name, prepared) in all.entities {
            let Some(key) = options.entities.get(&name).map(|e| e.key.trim()) else { continue };
            match self.attach_entity(&name, key, prepared) {
                Ok(entity) => entities.extend(entity),
                Err(why) => self.faults.push(format!("entities.{name:?}: {why}")),
            }
        }
        entities
    }

    /// The object type of a name in GraphQL or of a message's full name, and the message.
    fn owner(&self, name: &str) -> Result<(u32, Message), String> {
        let is = |at: &u32| match self.types.get(*at as usize) {
            Some(Type::Object(object)) => object.name == name || object.message == name,
            _ => false,
        };
        let at = (0..self.types.len() as u32).find(is);
        let found = at.and_then(|at| match self.types.get(at as usize) {
            Some(Type::Object(Object { message, .. })) => {
                Some((at, self.services.schema().message(message)?))
            }
            _ => None,
        });
        found.ok_or_else(|| {
            let like = self.types.iter().filter_map(|ty| match ty {
                Type::Object(object) if object.message.rsplit('.').next() == Some(name) => {
                    Some(object.name.as_str())
                }
                _ => None,
            });
            let like: Vec<&str> = like.collect();
            match like.is_empty() {
                true => format!("there is no type {name} that shows a message"),
                false => {
                    format!("there is no type {name}, since several have this name: {}", like.join(", "))
                }
            }
        })
    }

    fn attach_join(&mut self, name: &str, prepared: Prepared) -> Result<(), String> {
        let (type_name, field_name) =
            name.rsplit_once('.').ok_or("a join is named by type and field: User.posts")?;
        if crate::names::name(field_name) != field_name {
            return Err(format!("{field_name:?} is no name in GraphQL"));
        }
        if type_name == "Query" {
            return self.attach_root(field_name, prepared);
        }
        let (at, message) = self.owner(type_name)?;
        let mut several = false;
        let mut args = Vec::new();
        let mut batch_from = Vec::new();
        for (member, path) in prepared.from {
            let (steps, found) = walk(&message, Some(&path))?;
            let list = found.as_ref().and_then(|(owner, name)| Some(owner.field(name)?.cardinality()));
            if prepared.batch.as_ref().is_some_and(|(list, _, _)| *list == member) {
                several = list == Some(Cardinality::List);
                batch_from = steps;
            } else {
                args.push((member.json, steps));
            }
        }
        let batch = prepared.batch.map(|(list, key, many)| BatchOf {
            list: list.json,
            from: batch_from,
            key,
            many: many && !several,
            several,
        });
        let ty = match &batch {
            Some(batch) if batch.several => Ref::list(prepared.ty.base, true, true),
            Some(batch) if batch.many => Ref::list(prepared.ty.base, true, false),
            _ => prepared.ty,
        };
        let field = Field {
            name: field_name.to_owned(),
            description: prepared.entry.method.comment.clone(),
            deprecated: false,
            ty,
            args: prepared.args,
            source: Source::Join(Arc::new(Join { entry: prepared.entry, args, pick: prepared.pick, batch })),
        };
        if let Some(Type::Object(object)) = self.types.get_mut(at as usize) {
            // A join stands in the place of a field of the same name.
            match object.fields.iter_mut().find(|known| known.name == field_name) {
                Some(known) => *known = field,
                None => object.fields.push(field),
            }
        }
        Ok(())
    }

    /// A field of `Query` under a name of the user's own, or with a part of the response as its value.
    fn attach_root(&mut self, field_name: &str, prepared: Prepared) -> Result<(), String> {
        if let Some((member, _)) = prepared.from.first() {
            return Err(format!("Query has no fields to take {} from", member.proto));
        }
        if prepared.entry.method.idempotency != sb_schema::Idempotency::NoSideEffects {
            return Err(format!("{} does not only read, so it is no query", prepared.entry.path));
        }
        self.queries.push(Field {
            name: field_name.to_owned(),
            description: prepared.entry.method.comment.clone(),
            deprecated: false,
            ty: prepared.ty,
            args: prepared.args,
            source: Source::Join(Arc::new(Join {
                entry: prepared.entry,
                args: Vec::new(),
                pick: prepared.pick,
                batch: None,
            })),
        });
        Ok(())
    }

    fn attach_entity(
        &mut self,
        name: &str,
        key: &str,
        prepared: Option<Prepared>,
    ) -> Result<Option<Entity>, String> {
        let (at, _) = self.owner(name)?;
        let Some(Type::Object(object)) = self.types.get_mut(at as usize) else { return Ok(None) };
        let words = || key.split([' ', '{', '}', ',']).filter(|word| !word.is_empty());
        let first = words().next().ok_or("it has no key")?;
        if !object.fields.iter().any(|field| field.name == first) {
            return Err(format!("the type has no field {first}"));
        }
        object.key = Some((key.to_owned(), prepared.is_some()));
        let Some(prepared) = prepared else { return Ok(None) };
        if prepared.ty.base != Base::Object(at) || prepared.ty.list {
            return Err(format!("{} does not answer with one {name}", prepared.entry.path));
        }
        // Representations are in GraphQL's names, which are JSON's.
        let path = |path: &str| -> Vec<Step> {
            path.split('.').map(|part| Step { json: part.to_owned(), proto: part.to_owned() }).collect()
        };
        let mut args = Vec::new();
        let mut batch_from = Vec::new();
        for (member, from) in prepared.from {
            if prepared.batch.as_ref().is_some_and(|(list, _, _)| *list == member) {
                batch_from = path(&from);
            } else {
                args.push((member.json, path(&from)));
            }
        }
        let batch = prepared.batch.map(|(list, key, _)| BatchOf {
            list: list.json,
            from: batch_from,
            key,
            many: false,
            several: false,
        });
        let join = Join { entry: prepared.entry, args, pick: prepared.pick, batch };
        Ok(Some(Entity { object: at, join: Arc::new(join) }))
    }
}

/// Where a path leads: the last message, and the name of the field in it.
type Walked = Option<(Message, String)>;

/// The steps of a path of fields in a message.
fn walk(message: &Message, path: Option<&str>) -> Result<(Vec<Step>, Walked), String> {
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok((Vec::new(), None)) };
    let mut steps = Vec::new();
    let mut at = message.clone();
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let field = at.field(part).ok_or_else(|| format!("{} has no field {part}", at.full_name()))?;
        steps.push(step(&field));
        if parts.peek().is_none() {
            let name = field.name().to_owned();
            return Ok((steps, Some((at, name))));
        }
        let (Cardinality::One, Kind::Message(next)) = (field.cardinality(), field.r#type()) else {
            return Err(format!("{}.{part} is no single message", at.full_name()));
        };
        at = next;
    }
    Ok((steps, None))
}
