//! Paths to fields of a message, `a.b.c`, and writing a value at their end.

use crate::error::{Error, Result, shorten};
use crate::pool::{FieldInfo, Kind, Pool, Shape};
use crate::wire::{Mark, close, open, put_tag};
use smallvec::SmallVec;

const MAX_STEPS: usize = 32;

/// A path through single messages to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldPath {
    /// The message and the place of the field in it, for each step.
    steps: SmallVec<[(u32, u16); 2]>,
}

impl FieldPath {
    /// Looks the names (of the `.proto` or of JSON) up, beginning in message `root`.
    pub fn resolve(pool: &Pool, root: u32, text: &str) -> Result<Self> {
        let mut steps: SmallVec<[(u32, u16); 2]> = SmallVec::new();
        let mut message = root;
        for (at, name) in text.split('.').enumerate() {
            if at > 0 {
                message = match steps.last().map(|step| step_field(pool, *step)) {
                    Some(FieldInfo { shape: Shape::One, kind: Kind::Message(inner), .. })
                        if pool.message(*inner).well_known.is_plain() && at < MAX_STEPS =>
                    {
                        *inner
                    }
                    _ => {
                        return Err(Error::new(format!(
                            "{:?} leads through what is no single message",
                            shorten(text)
                        )));
                    }
                };
            }
            let info = pool.message(message);
            let place = info
                .by_name(name)
                .ok_or_else(|| Error::new(format!("{} has no field {:?}", info.full_name, shorten(name))))?;
            steps.push((message, place));
        }
        Ok(FieldPath { steps })
    }

    /// The field at the end.
    pub fn field<'p>(&self, pool: &'p Pool) -> &'p FieldInfo {
        step_field(pool, self.last())
    }

    /// The number of the message that holds the field at the end.
    pub fn owner_index(&self) -> u32 {
        self.last().0
    }

    fn last(&self) -> (u32, u16) {
        // A text has at least one part, so there is at least one step.
        self.steps.last().copied().unwrap_or_default()
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether this path is `other` or leads into it.
    pub fn is_within(&self, other: &FieldPath) -> bool {
        self.steps.starts_with(&other.steps)
    }

    /// The steps without the last one: which message it is that holds the field.
    pub fn parent(&self) -> &[(u32, u16)] {
        self.steps.split_last().map_or(&[], |(_, parent)| parent)
    }

    /// Lets `write` append the field at the end, wrapped in the messages on the way.
    pub fn put(
        &self,
        pool: &Pool,
        out: &mut Vec<u8>,
        write: impl FnOnce(&FieldInfo, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let mut marks: SmallVec<[(u32, Option<Mark>); 2]> = SmallVec::new();
        for step in self.parent() {
            let field = step_field(pool, *step);
            put_tag(out, field.number, if field.delimited { 3 } else { 2 });
            marks.push((field.number, (!field.delimited).then(|| open(out))));
        }
        write(self.field(pool), out)?;
        while let Some((number, mark)) = marks.pop() {
            match mark {
                Some(mark) => close(out, mark),
                None => put_tag(out, number, 4),
            }
        }
        Ok(())
    }
}

fn step_field(pool: &Pool, (message, place): (u32, u16)) -> &FieldInfo {
    &pool.message(message).fields[usize::from(place)]
}
