//! Input values (October 2021 §3, §6.1.2, §6.4.1): literals and variables to the ProtoJSON of requests.
//!
//! A variable is brought into that form once, by its type; where it is used its value is taken as it is, since a variable is only valid where
//! its type fits.

use crate::model::{Arg, ArgKind, Base, Input, Model, Ref, Scalar};
use apollo_compiler::Node;
use apollo_compiler::ast;
use apollo_compiler::executable::{Argument, Operation};
use apollo_compiler::parser::SourceSpan;
use serde_json::{Map, Number, Value};
use std::collections::HashMap;

/// Variables by name, coerced. One that is missing was not given and has no default.
pub(crate) type Variables = HashMap<String, Value>;

/// Why a value is refused, and where it is written, if in the document.
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) at: Option<SourceSpan>,
    /// Whether there were more items than the limit.
    pub(crate) limit: bool,
}

/// Brings values into form, and counts the items of lists.
pub(crate) struct Coercion<'m> {
    pub(crate) model: &'m Model,
    /// Items that may still come.
    pub(crate) items: usize,
    /// How many there may be, for the error.
    pub(crate) most: usize,
}

/// A value as it was given.
#[derive(Copy, Clone)]
enum Given<'a> {
    Literal(&'a Node<ast::Value>),
    Json(&'a Value),
}

impl Given<'_> {
    fn is_null(&self) -> bool {
        match self {
            Given::Literal(value) => value.is_null(),
            Given::Json(value) => value.is_null(),
        }
    }

    fn at(&self) -> Option<SourceSpan> {
        match self {
            Given::Literal(value) => value.location(),
            Given::Json(_) => None,
        }
    }

    /// What it looks like, for people.
    fn shown(&self) -> String {
        let text = match self {
            Given::Literal(value) => value.to_string(),
            Given::Json(value) => value.to_string(),
        };
        match text.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
            None => text,
        }
    }
}

/// Where a value is, for people: `$order.lines[2]`.
struct Place<'p> {
    around: Option<&'p Place<'p>>,
    name: &'p str,
}

impl Place<'_> {
    fn text(&self) -> String {
        match self.around {
            None => self.name.to_owned(),
            Some(around) if self.name.starts_with('[') => format!("{}{}", around.text(), self.name),
            Some(around) => format!("{}.{}", around.text(), self.name),
        }
    }
}

type Coerced = Result<Option<Value>, Wrong>;

impl<'m> Coercion<'m> {
    pub(crate) fn new(model: &'m Model, most: usize) -> Self {
        Coercion { model, items: most, most }
    }

    /// The variables of an operation.
    pub(crate) fn variables(
        &mut self,
        operation: &Operation,
        given: &Map<String, Value>,
    ) -> Result<Variables, Wrong> {
        let none = Variables::new();
        let mut variables = Variables::new();
        for definition in &operation.variables {
            let name = definition.name.as_str();
            let shown = format!("${name}");
            let place = Place { around: None, name: &shown };
            let ty = self.of_type(&definition.ty).ok_or_else(|| Wrong {
                message: format!("variable {shown} has the type {}, which no argument has", definition.ty),
                at: definition.location(),
                limit: false,
            })?;
            let value = match (given.get(name), &definition.default_value) {
                (Some(value), _) => self.value(Given::Json(value), ty, &none, &place),
                (None, Some(default)) => self.value(Given::Literal(default), ty, &none, &place),
                (None, None) if !ty.null => {
                    Err(wrong(&place, format!("is missing, and {} is needed", definition.ty), None))
                }
                (None, None) => Ok(None),
            };
            let value = value.map_err(|wrong| Wrong { at: wrong.at.or(definition.location()), ..wrong })?;
            if let Some(value) = value {
                variables.insert(name.to_owned(), value);
            }
        }
        Ok(variables)
    }

    /// The request that the arguments of a field make.
    pub(crate) fn arguments(
        &mut self,
        wanted: &[Arg],
        given: &[Node<Argument>],
        variables: &Variables,
    ) -> Result<Value, Wrong> {
        let mut object = Map::new();
        for arg in wanted {
            let place = Place { around: None, name: &arg.name };
            let found = given.iter().find(|a| a.name.as_str() == arg.name);
            let value = match found {
                None => None,
                Some(found) => self.value(Given::Literal(&found.value), arg.ty, variables, &place)?,
            };
            match value {
                None if !arg.ty.null => {
                    let at = found.and_then(|found| found.location());
                    return Err(wrong(&place, "is missing".to_owned(), at));
                }
                None => {}
                Some(value) if arg.kind == ArgKind::Whole => return Ok(value),
                Some(value) => put(&mut object, arg, value),
            }
        }
        Ok(Value::Object(object))
    }

    /// The type of a variable, as written in a document.
    fn of_type(&self, ty: &ast::Type) -> Option<Ref> {
        let named = |ty: &ast::Type| match ty {
            ast::Type::Named(name) => Some((self.base(name.as_str())?, true)),
            ast::Type::NonNullNamed(name) => Some((self.base(name.as_str())?, false)),
            _ => None,
        };
        match ty {
            ast::Type::Named(_) | ast::Type::NonNullNamed(_) => {
                named(ty).map(|(base, null)| Ref::one(base, null))
            }
            ast::Type::List(item) => named(item).map(|(base, item_null)| Ref::list(base, true, item_null)),
            ast::Type::NonNullList(item) => {
                named(item).map(|(base, item_null)| Ref::list(base, false, item_null))
            }
        }
    }

    fn base(&self, name: &str) -> Option<Base> {
        if let Some(scalar) = Scalar::ALL.into_iter().find(|scalar| scalar.name() == name) {
            return Some(Base::Scalar(scalar));
        }
        let at = *self.model.named.get(name)?;
        if self.model.enumeration(at).is_some() {
            return Some(Base::Enum(at));
        }
        self.model.input(at).map(|_| Base::Object(at))
    }

    /// Whether a list of this type is a map.
    fn entries(&self, ty: Ref) -> bool {
        matches!(ty.base, Base::Object(at) if self.model.input(at).is_some_and(|input| input.entry))
    }

    fn value(&mut self, given: Given<'_>, ty: Ref, variables: &Variables, place: &Place<'_>) -> Coerced {
        if let Given::Literal(value) = given
            && let ast::Value::Variable(name) = &**value
        {
            return match variables.get(name.as_str()) {
                Some(Value::Null) if !ty.null => Err(wrong(place, "is null".to_owned(), given.at())),
                value => Ok(value.cloned()),
            };
        }
        if given.is_null() {
            return match ty.null {
                true => Ok(Some(Value::Null)),
                false => Err(wrong(place, "is null".to_owned(), given.at())),
            };
        }
        if !ty.list {
            return self.named(given, ty.base, variables, place);
        }
        let items: Vec<Given<'_>> = match given {
            Given::Literal(value) => match &**value {
                ast::Value::List(items) => items.iter().map(Given::Literal).collect(),
                _ => vec![given],
            },
            Given::Json(Value::Array(items)) => items.iter().map(Given::Json).collect(),
            Given::Json(_) => vec![given],
        };
        self.items = self.items.checked_sub(items.len()).ok_or_else(|| Wrong {
            message: format!(
                "the lists of arguments and variables have more than {} items together",
                self.most
            ),
            at: given.at(),
            limit: true,
        })?;
        let mut list = Vec::with_capacity(items.len());
        for (n, item) in items.into_iter().enumerate() {
            let name = format!("[{n}]");
            let place = Place { around: Some(place), name: &name };
            // An item that is a variable which was not given is null.
            let value = self.value(item, ty.item(), variables, &place)?.unwrap_or(Value::Null);
            if value.is_null() && !ty.item_null {
                return Err(wrong(&place, "is null".to_owned(), item.at()));
            }
            list.push(value);
        }
        match self.entries(ty) {
            true => self.map(list, place).map(Some),
            false => Ok(Some(Value::Array(list))),
        }
    }

    /// Entries of a map as the object that ProtoJSON has for it.
    fn map(&self, entries: Vec<Value>, place: &Place<'_>) -> Result<Value, Wrong> {
        let mut object = Map::new();
        for entry in entries {
            let Value::Object(mut entry) = entry else {
                return Err(wrong(place, "is no list of entries".to_owned(), None));
            };
            let key = match entry.remove("key") {
                Some(Value::String(key)) => key,
                Some(key) => key.to_string(),
                None => return Err(wrong(place, "has an entry without key".to_owned(), None)),
            };
            let value = entry.remove("value").unwrap_or(Value::Null);
            if object.insert(key.clone(), value).is_some() {
                return Err(wrong(place, format!("has the key {key:?} twice"), None));
            }
        }
        Ok(Value::Object(object))
    }

    fn named(&mut self, given: Given<'_>, base: Base, variables: &Variables, place: &Place<'_>) -> Coerced {
        let no =
            |what: &str| Err(wrong(place, format!("is {}, which is no {what}", given.shown()), given.at()));
        match base {
            Base::Scalar(Scalar::Json | Scalar::Any | Scalar::Representation) => match given {
                Given::Json(value) => Ok(Some(value.clone())),
                Given::Literal(value) => {
                    free(value, variables).map(Some).map_err(|text| wrong(place, text, value.location()))
                }
            },
            Base::Scalar(scalar) => match scalar_value(given, scalar) {
                Some(value) => Ok(Some(value)),
                None => no(scalar.name()),
            },
            Base::Empty => match given {
                Given::Json(Value::Bool(is)) => Ok(is.then(|| Value::Object(Map::new()))),
                Given::Literal(value) => match value.to_bool() {
                    Some(is) => Ok(is.then(|| Value::Object(Map::new()))),
                    None => no("Boolean"),
                },
                Given::Json(_) => no("Boolean"),
            },
            Base::Enum(at) => {
                let kind = self.model.enumeration(at);
                let word = match given {
                    Given::Json(Value::String(word)) => Some(word.as_str()),
                    Given::Literal(value) => match &**value {
                        ast::Value::Enum(word) => Some(word.as_str()),
                        _ => None,
                    },
                    Given::Json(_) => None,
                };
                let found = kind.zip(word).and_then(|(kind, word)| {
                    kind.values.get(*kind.by_name.get(word)? as usize).map(|value| value.proto.clone())
                });
                match found {
                    Some(proto) => Ok(Some(Value::String(proto))),
                    None => no(self.model.name(base)),
                }
            }
            Base::Object(at) => match self.model.input(at) {
                Some(input) => self.object(given, input, variables, place),
                None => no("input"),
            },
            Base::Entity => no("input"),
        }
    }

    fn object(
        &mut self,
        given: Given<'_>,
        input: &'m Input,
        variables: &Variables,
        place: &Place<'_>,
    ) -> Coerced {
        let members: Vec<(&str, Given<'_>)> = match given {
            Given::Json(Value::Object(members)) => {
                members.iter().map(|(name, value)| (name.as_str(), Given::Json(value))).collect()
            }
            Given::Literal(value) => match &**value {
                ast::Value::Object(members) => {
                    members.iter().map(|(name, value)| (name.as_str(), Given::Literal(value))).collect()
                }
                _ => {
                    return Err(wrong(
                        place,
                        format!("is {}, which is no {}", given.shown(), input.name),
                        given.at(),
                    ));
                }
            },
            Given::Json(_) => {
                return Err(wrong(
                    place,
                    format!("is {}, which is no {}", given.shown(), input.name),
                    given.at(),
                ));
            }
        };
        if let Some((name, _)) =
            members.iter().find(|(name, _)| !input.fields.iter().any(|f| f.name == *name))
        {
            let short: String = name.chars().take(60).collect();
            return Err(wrong(
                place,
                format!("has a field {short:?}, which {} has not", input.name),
                given.at(),
            ));
        }
        let mut object = Map::new();
        for arg in &input.fields {
            let place = Place { around: Some(place), name: &arg.name };
            let found = members.iter().find(|(name, _)| *name == arg.name);
            let value = match found {
                Some((_, value)) => self.value(*value, arg.ty, variables, &place)?,
                None => None,
            };
            match value {
                None if !arg.ty.null => {
                    return Err(wrong(&place, "is missing".to_owned(), given.at()));
                }
                // Of the one-of kind, what is given must be there.
                None | Some(Value::Null) if input.one_of && found.is_some() && !json(arg) => {
                    return Err(wrong(
                        &place,
                        "is null, and one field has to be given".to_owned(),
                        given.at(),
                    ));
                }
                None => {}
                Some(value) => put(&mut object, arg, value),
            }
        }
        if input.one_of && members.len() != 1 {
            let text = format!("has {} fields, and exactly one has to be given", members.len());
            return Err(wrong(place, text, given.at()));
        }
        Ok(Some(Value::Object(object)))
    }
}

/// Whether null is a value of the argument's type.
fn json(arg: &Arg) -> bool {
    arg.ty.base == Base::Scalar(Scalar::Json)
}

/// Puts a member into a message. Null is the same as nothing, except where null is a value.
fn put(object: &mut Map<String, Value>, arg: &Arg, value: Value) {
    match (arg.kind, value) {
        (_, Value::Null) if !json(arg) => {}
        (ArgKind::Oneof, Value::Object(members)) => object.extend(members),
        (_, value) => {
            object.insert(arg.json.clone(), value);
        }
    }
}

fn wrong(place: &Place<'_>, what: String, at: Option<SourceSpan>) -> Wrong {
    Wrong { message: format!("{} {what}", place.text()), at, limit: false }
}

/// A literal where any JSON is meant.
fn free(value: &Node<ast::Value>, variables: &Variables) -> Result<Value, String> {
    Ok(match &**value {
        ast::Value::Null => Value::Null,
        ast::Value::Boolean(is) => Value::Bool(*is),
        ast::Value::String(text) => Value::String(text.clone()),
        ast::Value::Enum(name) => Value::String(name.as_str().to_owned()),
        ast::Value::Variable(name) => variables.get(name.as_str()).cloned().unwrap_or(Value::Null),
        ast::Value::Int(int) => Value::Number(number(int.as_str()).ok_or("is too large a number")?),
        ast::Value::Float(float) => Value::Number(number(float.as_str()).ok_or("is too large a number")?),
        ast::Value::List(items) => {
            items.iter().map(|item| free(item, variables)).collect::<Result<_, _>>()?
        }
        ast::Value::Object(members) => members
            .iter()
            .map(|(name, value)| Ok((name.as_str().to_owned(), free(value, variables)?)))
            .collect::<Result<_, String>>()?,
    })
}

fn number(text: &str) -> Option<Number> {
    if let Ok(int) = text.parse::<i64>() {
        return Some(int.into());
    }
    if let Ok(int) = text.parse::<u64>() {
        return Some(int.into());
    }
    Number::from_f64(text.parse().ok()?)
}

/// A scalar as ProtoJSON writes it; `None` if the value is none.
fn scalar_value(given: Given<'_>, scalar: Scalar) -> Option<Value> {
    enum Raw<'a> {
        Text(&'a str),
        Digits(String),
        Fraction(f64),
        Truth(bool),
    }
    let raw = match given {
        Given::Json(Value::String(text)) => Raw::Text(text),
        Given::Json(Value::Bool(is)) => Raw::Truth(*is),
        Given::Json(Value::Number(number)) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(int), _, _) => Raw::Digits(int.to_string()),
            (_, Some(int), _) => Raw::Digits(int.to_string()),
            (_, _, Some(float)) => Raw::Fraction(float),
            _ => return None,
        },
        Given::Json(_) => return None,
        Given::Literal(value) => match &**value {
            ast::Value::String(text) => Raw::Text(text),
            ast::Value::Boolean(is) => Raw::Truth(*is),
            ast::Value::Int(int) => Raw::Digits(int.as_str().to_owned()),
            ast::Value::Float(float) => Raw::Fraction(float.as_str().parse().ok()?),
            _ => return None,
        },
    };
    let whole =
        |float: f64| (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i64);
    match (scalar, raw) {
        // A number with a fraction of zero is a whole one in JSON, and not in a document.
        (Scalar::Int, Raw::Digits(digits)) => Some(digits.parse::<i32>().ok()?.into()),
        (Scalar::Int, Raw::Fraction(float)) if matches!(given, Given::Json(_)) => {
            Some(i32::try_from(whole(float)?).ok()?.into())
        }
        (Scalar::UInt32, Raw::Digits(digits)) => Some(digits.parse::<u32>().ok()?.into()),
        (Scalar::UInt32, Raw::Fraction(float)) => Some(u32::try_from(whole(float)?).ok()?.into()),
        (Scalar::Int64, Raw::Digits(digits)) => Some(digits.parse::<i64>().ok()?.to_string().into()),
        (Scalar::Int64, Raw::Text(digits)) => Some(digits.parse::<i64>().ok()?.to_string().into()),
        (Scalar::Int64, Raw::Fraction(float)) => Some(whole(float)?.to_string().into()),
        (Scalar::UInt64, Raw::Digits(digits)) => Some(digits.parse::<u64>().ok()?.to_string().into()),
        (Scalar::UInt64, Raw::Text(digits)) => Some(digits.parse::<u64>().ok()?.to_string().into()),
        (Scalar::UInt64, Raw::Fraction(float)) => Some(u64::try_from(whole(float)?).ok()?.to_string().into()),
        (Scalar::Float, Raw::Digits(digits)) => Some(Value::Number(Number::from_f64(digits.parse().ok()?)?)),
        (Scalar::Float, Raw::Fraction(float)) => Some(Value::Number(Number::from_f64(float)?)),
        (Scalar::Boolean, Raw::Truth(is)) => Some(is.into()),
        (
            Scalar::String | Scalar::Bytes | Scalar::Timestamp | Scalar::Duration | Scalar::FieldMask,
            Raw::Text(text),
        ) => Some(text.into()),
        _ => None,
    }
}
