//! Thrift's language: IDL out of descriptors ([`print()`]), and descriptors out of IDL ([`to_proto()`]).

pub mod ast;
mod lex;
pub mod names;
mod parse;
mod print;
mod proto;

pub use parse::parse;
pub use print::print;
pub use proto::{OPTIONS, Translated, proto_path, to_proto};
