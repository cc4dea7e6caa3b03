//! What can be set: limits, what is shown, joins between services, entities of a federation.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Settings of GraphQL. They belong to the board: [`sb_board::Board::share`] puts them there, at start or at a reload.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// What a request may ask for.
    pub limits: Limits,
    /// Whether callers that are known may look at the schema: introspection, `_service` and `/graphql/schema.graphql`.
    pub introspection: bool,
    /// Whether an array of operations is taken as one request.
    pub batching: bool,
    /// Whether operations may be named by their SHA-256 once they were sent whole.
    pub persisted: bool,
    /// The longest a query or mutation may take, in milliseconds.
    pub timeout_ms: u64,
    /// Fields that another service answers, by `Type.field`.
    pub joins: BTreeMap<String, Join>,
    /// Types that other subgraphs may refer to, by name.
    pub entities: BTreeMap<String, Entity>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            limits: Limits::default(),
            introspection: true,
            batching: false,
            persisted: true,
            timeout_ms: 30_000,
            joins: BTreeMap::new(),
            entities: BTreeMap::new(),
        }
    }
}

/// What a request may ask for. What is beyond is refused before anything is called, and the error names limit and number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Fields within fields; introspection has its own bound. At most [`MAX_DEPTH`].
    pub depth: usize,
    /// Fields after fragments are expanded: each counts one, one that makes a call ten.
    pub complexity: usize,
    /// Fields with an alias, after fragments are expanded.
    pub aliases: usize,
    /// Directives on one field, fragment or operation.
    pub directives: usize,
    /// Fields of the operation itself.
    pub root_fields: usize,
    /// Tokens of a document; white space counts.
    pub tokens: usize,
    /// Operations in one request, where that is on.
    pub batch: usize,
    /// Items of all lists in arguments and variables together.
    pub items: usize,
    /// Calls that one operation makes, or one item of a subscription.
    pub calls: usize,
    /// Bytes of all answers to the calls of one operation together.
    pub bytes: usize,
    /// Subscriptions on one connection.
    pub subscriptions: usize,
}

/// No setting allows documents deeper than this.
pub const MAX_DEPTH: usize = 64;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            depth: 12,
            complexity: 1_000,
            aliases: 15,
            directives: 10,
            root_fields: 20,
            tokens: 10_000,
            batch: 10,
            items: 10_000,
            calls: 1_000,
            bytes: 64 << 20,
            subscriptions: 100,
        }
    }
}

/// A field that another service answers: `User.posts = { call = "blog.v1.Posts/ListPosts", args = { user_id = "id" }, pick = "posts" }`.
///
/// Fields of the request that are not in `args` are arguments of the GraphQL field. Names of fields are those of the `.proto` or of its JSON;
/// a dot leads into a message.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The method that answers: `package.Service/Method`.
    pub call: String,
    /// Fields of its request, each with the field of the parent that it is taken from.
    #[serde(default)]
    pub args: BTreeMap<String, String>,
    /// The field of its response that is the value; all of the response without it.
    #[serde(default)]
    pub pick: Option<String>,
    /// Answers many parents with one call.
    #[serde(default)]
    pub batch: Option<Batch>,
}

/// How one call answers many parents: the request has a list of keys, the response a list of items that name their key.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The list in the request; `args` says what of the parent goes into it. Where that is a list itself, the field is the list of items in
    /// its order, with null for those that did not come.
    pub list: String,
    /// The field of each item that says to which key it belongs.
    pub key: String,
    /// Whether a key may have several items: the field is a list then.
    #[serde(default)]
    pub many: bool,
}

/// A type that other subgraphs refer to by its key.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    /// The fields of the key, as in `@key(fields: "id")`: names of GraphQL fields of the type, with spaces between.
    pub key: String,
    /// The method that finds one: `package.Service/Method`. Without it the type is shown with its key and cannot be asked for by it.
    #[serde(default)]
    pub call: Option<String>,
    /// Fields of its request, each with the field of the key that it is taken from.
    #[serde(default)]
    pub args: BTreeMap<String, String>,
    /// The field of its response that is the entity.
    #[serde(default)]
    pub pick: Option<String>,
    /// Finds many with one call.
    #[serde(default)]
    pub batch: Option<Batch>,
}
