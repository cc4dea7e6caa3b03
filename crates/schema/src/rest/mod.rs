//! REST by `google.api.http`: which method a path means, and the way between HTTP and the method's messages.
//!
//! A [`Router`] holds the bindings of services. [`Router::find`] gives a [`Match`], which makes the request message of path, query and body
//! ([`Match::request`]) and the HTTP answer of the response message ([`Match::response`]).

mod binding;
mod expand;
mod path;
mod percent;
mod request;
mod router;
mod template;

pub use binding::Binding;
pub use expand::Target;
pub use request::{Match, Reply};
pub use router::{Found, Router};
