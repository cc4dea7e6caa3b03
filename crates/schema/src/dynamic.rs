//! Messages without generated code: built and read field by field. These are the types of the `buffa-descriptor` library.
//!
//! Start with [`Message::build`](crate::Message::build) or [`Message::decode`](crate::Message::decode); fields are named by number
//! ([`DynamicMessage::field_by_number`]) or by the library's descriptor, [`Field::raw`](crate::Field::raw) ([`ReflectMessage`],
//! [`ReflectMessageMut`]).

pub use buffa_descriptor::{
    DynamicMessage, FieldDescriptor, MapKey, MapValue, MessageDescriptor, ReflectMessage, ReflectMessageMut,
    Value, ValueRef,
};
