//! What a `.thrift` file says, as its grammar has it.

/// A file.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Document {
    /// Paths as they stand behind `include`.
    pub includes: Vec<String>,
    /// Scope (`*`, `java`, …) and name.
    pub namespaces: Vec<(String, String)>,
    /// In their order.
    pub definitions: Vec<Definition>,
}

/// A definition with its name and place.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// The comment `/** … */` before it.
    pub doc: String,
    /// Line and column of its name, from 1.
    pub at: (u32, u32),
    /// What it is.
    pub what: What,
    /// `(name = "value")` behind it.
    pub annotations: Vec<(String, String)>,
}

/// What a definition defines.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// `const`
    Const(Type, Value),
    /// `typedef`
    Typedef(Type),
    /// `enum`: names and numbers.
    Enum(Vec<(String, i32, String)>),
    /// `struct`, `union` or `exception`
    Struct(Kind, Vec<Field>),
    /// `service`, with what it extends.
    Service(Option<String>, Vec<Function>),
}

/// The three kinds of structs.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `struct`
    Struct,
    /// `union`
    Union,
    /// `exception`
    Exception,
}

/// Whether a field may be left out.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Requiredness {
    /// Neither word: always written, and need not be there when it is read.
    Default,
    /// `required`
    Required,
    /// `optional`
    Optional,
}

/// A field of a struct, a parameter, or a thrown exception.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its id; those without one get -1, -2 … as Thrift's compiler gives them.
    pub id: i16,
    /// Whether it may be left out.
    pub requiredness: Requiredness,
    /// Its type.
    pub ty: Type,
    /// Its name.
    pub name: String,
    /// Its default value.
    pub default: Option<Value>,
    /// The comment before it.
    pub doc: String,
    /// Line and column.
    pub at: (u32, u32),
}

/// A method of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Nothing is answered.
    pub oneway: bool,
    /// What it returns; `None` for `void`.
    pub returns: Option<Type>,
    /// Its parameters.
    pub parameters: Vec<Field>,
    /// What it throws.
    pub throws: Vec<Field>,
    /// The comment before it.
    pub doc: String,
    /// Annotations behind it.
    pub annotations: Vec<(String, String)>,
    /// Line and column.
    pub at: (u32, u32),
}

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// `bool`, `byte`, `i8`, `i16`, `i32`, `i64`, `double`, `string`, `binary`, `uuid`
    Base(&'static str),
    /// A name, perhaps with that of an include before it, and its place.
    Name(String, (u32, u32)),
    /// `list<…>`
    List(Box<Type>),
    /// `set<…>`
    Set(Box<Type>),
    /// `map<…, …>`
    Map(Box<Type>, Box<Type>),
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number; `true` and `false` are names.
    Int(i64),
    /// A number with a point or an exponent.
    Double(f64),
    /// Text.
    Text(String),
    /// A constant, or a value of an enum.
    Name(String),
    /// `[…]`
    List(Vec<Value>),
    /// `{…}`
    Map(Vec<(Value, Value)>),
}
