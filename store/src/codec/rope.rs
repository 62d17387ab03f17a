//! One buffer in several pieces.

use super::scope::{self, Pointer};
use super::{BUFFER, Blob};
use bytes::Bytes;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize, Serializer};

/// Bytes in pieces that become one buffer: the pieces are written one after the other, straight to where the value goes,
/// so that whoever has a message in parts need not join them first. Reading gives one piece. To a reader it is the same
/// as a [`Blob`].
#[derive(Clone, Debug, Default)]
pub struct Rope(pub Vec<Bytes>);

impl Rope {
    /// Bytes of all pieces.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Serialize for Rope {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match scope::add_buffer(|| self.clone()) {
            Some(index) => Pointer::<BUFFER>(index).serialize(to),
            None => to.serialize_bytes(&self.0.concat()),
        }
    }
}

impl<'de> Deserialize<'de> for Rope {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Blob::deserialize(from).map(|blob| blob.0.into())
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

/// Equal bytes, however they are cut.
impl PartialEq for Rope {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().flatten().eq(other.0.iter().flatten())
    }
}
