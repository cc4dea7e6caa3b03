//! Finds where a message without a frame ends, as its bytes come in: each byte is looked at once, however they are cut into pieces.

use super::{MAX_DEPTH, Proto, Reader, Result, TType, WireError};
use smallvec::SmallVec;

/// What is being passed over, outermost first.
#[derive(Copy, Clone)]
enum Step {
    Head,
    Struct { last: i16 },
    Value(TType),
    Items { ty: TType, left: usize },
    Pairs { key: TType, value: TType, left: usize, on_value: bool },
    Bytes(usize),
}

/// The state of the search.
pub struct Scanner {
    proto: Proto,
    at: usize,
    limit: usize,
    steps: SmallVec<[Step; 16]>,
}

impl Scanner {
    /// Looks for the end of a message of at most `limit` bytes.
    pub fn new(proto: Proto, limit: usize) -> Self {
        Scanner { proto, at: 0, limit, steps: SmallVec::from_slice(&[Step::Struct { last: 0 }, Step::Head]) }
    }

    /// The length of the message, when its end is among `bytes`, which begin where they began the last time and may be longer now.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        while let Some(step) = self.steps.pop() {
            if let Step::Bytes(left) = step {
                let here = left.min(bytes.len().saturating_sub(self.at));
                self.at += here;
                if here < left {
                    self.steps.push(Step::Bytes(left - here));
                    return Ok(None);
                }
                continue;
            }
            let mut reader = Reader::new(bytes.get(self.at..).unwrap_or_default(), self.proto);
            match self.step(step, &mut reader) {
                Ok(()) => self.at += reader.position(),
                Err(WireError::Short) => {
                    self.steps.push(step);
                    return if bytes.len() >= self.limit {
                        Err(WireError::TooLarge(self.limit))
                    } else {
                        Ok(None)
                    };
                }
                Err(error) => return Err(error),
            }
            if self.at > self.limit {
                return Err(WireError::TooLarge(self.limit));
            }
            if self.steps.len() > 2 * MAX_DEPTH + 2 {
                return Err(WireError::TooDeep);
            }
        }
        Ok(Some(self.at))
    }

    /// One step. Nothing is pushed before all that it reads is there.
    fn step(&mut self, step: Step, reader: &mut Reader<'_>) -> Result<()> {
        match step {
            Step::Bytes(_) => {}
            Step::Head => drop(reader.head()?),
            Step::Struct { last } => {
                reader.set_last(last);
                if let Some((ty, _)) = reader.field()? {
                    self.steps.push(Step::Struct { last: reader.last() });
                    if !reader.drop_held() {
                        self.steps.push(Step::Value(ty));
                    }
                }
            }
            Step::Items { ty, left } => {
                if let Some(left) = left.checked_sub(1) {
                    self.steps.push(Step::Items { ty, left });
                    self.steps.push(Step::Value(ty));
                }
            }
            Step::Pairs { key, value, left, on_value: true } => {
                self.steps.push(Step::Pairs { key, value, left, on_value: false });
                self.steps.push(Step::Value(value));
            }
            Step::Pairs { key, value, left, on_value: false } => {
                if let Some(left) = left.checked_sub(1) {
                    self.steps.push(Step::Pairs { key, value, left, on_value: true });
                    self.steps.push(Step::Value(key));
                }
            }
            Step::Value(ty) => return self.value(ty, reader),
        }
        Ok(())
    }

    fn value(&mut self, ty: TType, reader: &mut Reader<'_>) -> Result<()> {
        match ty {
            TType::String => {
                let n = reader.length()?;
                self.claim(n, 1)?;
                self.steps.push(Step::Bytes(n));
            }
            TType::Struct => self.steps.push(Step::Struct { last: 0 }),
            TType::List | TType::Set => {
                let (ty, n) = reader.list_head()?;
                self.claim(n, ty.least(self.proto))?;
                self.steps.push(match ty.fixed(self.proto) {
                    Some(size) => Step::Bytes(size * n),
                    None => Step::Items { ty, left: n },
                });
            }
            TType::Map => {
                let (key, value, n) = reader.map_head()?;
                self.claim(n, key.least(self.proto) + value.least(self.proto))?;
                self.steps.push(match (key.fixed(self.proto), value.fixed(self.proto)) {
                    (Some(k), Some(v)) => Step::Bytes((k + v) * n),
                    _ => Step::Pairs { key, value, left: n, on_value: false },
                });
            }
            _ => reader.skip(ty)?,
        }
        Ok(())
    }

    /// Refuses what cannot be within the limit before waiting for it.
    fn claim(&self, n: usize, least: usize) -> Result<()> {
        match n.checked_mul(least) {
            Some(bytes) if bytes <= self.limit.saturating_sub(self.at) => Ok(()),
            _ => Err(WireError::TooLarge(self.limit)),
        }
    }
}
