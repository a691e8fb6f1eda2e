//! Arguments of events: they stay in the file's bytes and are parsed when somebody asks.

use std::fmt;

/// Where the arguments of an event lie in the bytes of its source: offset (40 bits) and length (24 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct ArgsLoc(u64);

impl ArgsLoc {
    /// No arguments.
    pub const NONE: Self = Self(0);
    /// Longest argument text that a location can hold, in bytes.
    pub const MAX_LEN: usize = (1 << 24) - 1;
    /// First offset that a location cannot hold.
    pub const MAX_OFFSET: u64 = 1 << 40;

    /// The location of `len` bytes at `offset`; `None` if either does not fit.
    #[must_use]
    pub fn new(offset: u64, len: usize) -> Option<Self> {
        (offset < Self::MAX_OFFSET && len <= Self::MAX_LEN).then_some(Self((offset << 24) | len as u64))
    }

    /// Offset of the first byte in the source.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.0 >> 24
    }

    /// Length in bytes; zero means that there are none.
    #[must_use]
    pub const fn len(self) -> usize {
        (self.0 & Self::MAX_LEN as u64) as usize
    }

    /// Whether there are no arguments.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// One argument value.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgValue {
    /// JSON's null.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number that fits 64 bits with a sign.
    Int(i64),
    /// A whole number above `i64::MAX`.
    UInt(u64),
    /// Any other number.
    Double(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<ArgValue>),
    /// Named values in the order of the file.
    Dict(Args),
}

/// Named values in the order of the file. Names may repeat, as they may in the file.
pub type Args = Vec<(String, ArgValue)>;

impl ArgValue {
    /// As a whole number, where it is one (also a text of digits).
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::UInt(value) => i64::try_from(*value).ok(),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// As a number, where it is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::UInt(value) => Some(*value as f64),
            Self::Double(value) => Some(*value),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// As text, where it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// For people: text without quotes at the top level, JSON-like below.
impl fmt::Display for ArgValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            other => other.write_nested(f),
        }
    }
}

impl ArgValue {
    fn write_nested(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::UInt(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    item.write_nested(f)?;
                }
                f.write_str("]")
            }
            Self::Dict(entries) => {
                f.write_str("{")?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{key}: ")?;
                    value.write_nested(f)?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Why arguments could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// The bytes are not there any more (the file shrank) or could not be read again.
    #[error("cannot read the arguments at offset {offset}: {reason}")]
    Unreadable {
        /// Offset in the source.
        offset: u64,
        /// What went wrong.
        reason: String,
    },
}

/// The bytes of one source and how its format writes arguments. Implemented by the readers.
pub trait ArgsSource: Send + Sync + fmt::Debug {
    /// The arguments at `loc`, parsed as far as they can be.
    ///
    /// # Errors
    /// When the bytes cannot be read.
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError>;

    /// Where this source joins several, how many bits of an offset are the own ones of each.
    fn own_bits(&self) -> Option<u32> {
        None
    }

    /// The sources that this one joins; `None` for one that stands alone.
    fn joined(&self) -> Option<Vec<std::sync::Arc<dyn ArgsSource>>> {
        None
    }

    /// Heap bytes held, mapped files not counted.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// A source without arguments.
#[derive(Debug)]
pub struct NoArgs;

impl ArgsSource for NoArgs {
    fn args(&self, _loc: ArgsLoc) -> Result<Args, ArgsError> {
        Ok(Args::new())
    }
}
