//! Thrift on the wire: types, message heads, limits. `read` and `write` know the binary and the compact protocol, `scan` finds the end of a message
//! that has no frame, `header` is the THeader transport, `frame` tells the transports apart.

pub mod frame;
pub mod header;
pub mod read;
pub mod scan;
pub mod write;

pub use frame::{Decoder, Envelope, Event, Incoming, recognise};
pub use read::Reader;
pub use scan::Scanner;
pub use write::Writer;

/// Structs, lists, sets and maps may lie in each other as deep as this.
pub const MAX_DEPTH: usize = 64;
/// The longest name of a method, with its service in front.
pub const MAX_NAME: usize = 1024;

/// How values are encoded.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Proto {
    /// `TBinaryProtocol`.
    Binary,
    /// `TCompactProtocol`.
    Compact,
}

/// The type of a value, by its number in the binary protocol.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names of the IDL")]
pub enum TType {
    Bool = 2,
    I8 = 3,
    Double = 4,
    I16 = 6,
    I32 = 8,
    I64 = 10,
    /// Text and bytes are the same on the wire.
    String = 11,
    Struct = 12,
    Map = 13,
    Set = 14,
    List = 15,
    Uuid = 16,
}

use TType::*;

impl TType {
    /// Every type.
    pub const ALL: [TType; 12] = [Bool, I8, Double, I16, I32, I64, String, Struct, Map, Set, List, Uuid];

    /// The type of a number in the binary protocol.
    pub fn from_binary(number: u8) -> Option<TType> {
        TType::ALL.into_iter().find(|t| *t as u8 == number)
    }

    /// The type of a number in the compact protocol; both numbers of booleans are the same type.
    pub fn from_compact(number: u8) -> Option<TType> {
        Some(match number {
            1 | 2 => Bool,
            3 => I8,
            4 => I16,
            5 => I32,
            6 => I64,
            7 => Double,
            8 => String,
            9 => List,
            10 => Set,
            11 => Map,
            12 => Struct,
            13 => Uuid,
            _ => return None,
        })
    }

    /// The number in the compact protocol.
    pub fn compact(self) -> u8 {
        match self {
            Bool => 1,
            I8 => 3,
            I16 => 4,
            I32 => 5,
            I64 => 6,
            Double => 7,
            String => 8,
            List => 9,
            Set => 10,
            Map => 11,
            Struct => 12,
            Uuid => 13,
        }
    }

    /// How many bytes every value has, for types where that is so.
    pub fn fixed(self, proto: Proto) -> Option<usize> {
        match (self, proto) {
            (Bool | I8, _) => Some(1),
            (Double, _) => Some(8),
            (Uuid, _) => Some(16),
            (I16, Proto::Binary) => Some(2),
            (I32, Proto::Binary) => Some(4),
            (I64, Proto::Binary) => Some(8),
            _ => None,
        }
    }

    /// How many bytes a value has at least: what a container claims to hold is measured by it before anything is read.
    pub fn least(self, proto: Proto) -> usize {
        match (self, proto) {
            (String, Proto::Binary) => 4,
            (List | Set, Proto::Binary) => 5,
            (Map, Proto::Binary) => 6,
            _ => self.fixed(proto).unwrap_or(1),
        }
    }

    /// The name in the IDL, without what a container holds.
    pub fn name(self) -> &'static str {
        match self {
            Bool => "bool",
            I8 => "i8",
            Double => "double",
            I16 => "i16",
            I32 => "i32",
            I64 => "i64",
            String => "string",
            Struct => "struct",
            Map => "map",
            Set => "set",
            List => "list",
            Uuid => "uuid",
        }
    }
}

/// Why bytes are not Thrift.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// They end in the middle of a value.
    Short,
    /// They are wrong.
    Malformed(&'static str),
    /// More bytes than the limit, which is given.
    TooLarge(usize),
    /// Values lie too deep in each other.
    TooDeep,
    /// A transform of THeader that is not spoken.
    Transform(u64),
    /// A protocol of THeader that is not spoken.
    Protocol(u64),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WireError::Short => f.write_str("the message ends in the middle of a value"),
            WireError::Malformed(what) => f.write_str(what),
            WireError::TooLarge(limit) => {
                write!(f, "the message has more than the {limit} bytes it may have")
            }
            WireError::TooDeep => write!(f, "values lie more than {MAX_DEPTH} deep in each other"),
            WireError::Transform(id) => write!(f, "the transform {id} is not supported; zlib (1) is"),
            WireError::Protocol(id) => {
                write!(f, "the protocol {id} is not supported; binary (0) and compact (2) are")
            }
        }
    }
}

impl std::error::Error for WireError {}

impl From<sb_wirekit::ReadError> for WireError {
    fn from(error: sb_wirekit::ReadError) -> Self {
        match error {
            sb_wirekit::ReadError::Short => WireError::Short,
            sb_wirekit::ReadError::Malformed => WireError::Malformed("a number or text is malformed"),
        }
    }
}

/// The result of reading.
pub type Result<T> = std::result::Result<T, WireError>;

/// What a message is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call that is answered.
    Call = 1,
    /// The answer.
    Reply = 2,
    /// A `TApplicationException` as the answer.
    Exception = 3,
    /// A call that is not answered.
    Oneway = 4,
}

impl Kind {
    /// The kind of a number.
    pub fn of(number: u8) -> Option<Kind> {
        [Kind::Call, Kind::Reply, Kind::Exception, Kind::Oneway].into_iter().find(|k| *k as u8 == number)
    }
}

/// The beginning of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// The method; `Service:method` where services share a connection.
    pub name: std::string::String,
    /// Chosen by the caller and repeated in the answer.
    pub seqid: i32,
    /// The binary protocol's head with a version; old writers leave it out. Means nothing in the compact protocol.
    pub strict: bool,
}
