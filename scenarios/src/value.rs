//! The one type of value that scenarios work with.

use mobula_runtime::macros::Handle;
use mobula_runtime::{Blob, ObjectRef};
use serde::{Deserialize, Serialize};
use std::fmt;
use xxhash_rust::xxh3::Xxh3;

/// A value of a scenario: what `put` stores, and what the built-in tasks take and return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes, shared rather than copied.
    Bytes(Blob),
    /// Several values.
    List(Vec<Value>),
    /// A reference, which stays one inside a value.
    Ref(ObjectRef<Value>),
    /// A handle to an actor.
    Actor(Handle),
}

impl Value {
    /// A hash of the content (xxh3), the same in all worlds: a reference counts as a reference, whatever it names.
    pub fn hash(&self) -> u64 {
        let mut hasher = Xxh3::new();
        self.feed(&mut hasher);
        hasher.digest()
    }

    fn feed(&self, hasher: &mut Xxh3) {
        let mut piece = |tag: u8, bytes: &[u8]| {
            hasher.update(&[tag]);
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        match self {
            Self::Null => piece(0, &[]),
            Self::Bool(value) => piece(1, &[u8::from(*value)]),
            Self::Int(value) => piece(2, &value.to_le_bytes()),
            Self::Float(value) => piece(3, &value.to_bits().to_le_bytes()),
            Self::Text(text) => piece(4, text.as_bytes()),
            Self::Bytes(bytes) => piece(5, bytes),
            Self::Ref(_) => piece(7, &[]),
            Self::Actor(_) => piece(8, &[]),
            Self::List(items) => {
                piece(6, &(items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| item.feed(hasher));
            }
        }
    }

    /// The references in it, in order.
    pub fn refs(&self) -> Vec<&ObjectRef<Value>> {
        match self {
            Self::Ref(reference) => vec![reference],
            Self::List(items) => items.iter().flat_map(Value::refs).collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Bytes(bytes) => write!(f, "{} bytes with hash {:016x}", bytes.len(), self.hash()),
            Self::Ref(_) => f.write_str("a reference"),
            Self::Actor(_) => f.write_str("an actor"),
            Self::List(items) => write!(f, "a list of {}", items.len()),
        }
    }
}
