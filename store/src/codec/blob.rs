//! Raw bytes that travel out of band.

use super::BUFFER;
use super::scope::{self, Pointer};
use bytes::Bytes;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::ops::Deref;

/// Bytes that are shared instead of copied: inside `encode` they become a buffer of their own, inside `decode` a
/// slice of the input. In any other serde format they are ordinary inline bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob(pub Bytes);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match scope::add_buffer(|| self.0.clone().into()) {
            Some(index) => Pointer::<BUFFER>(index).serialize(to),
            None => to.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if scope::is_decoding() {
            let Pointer(index) = Pointer::<BUFFER>::deserialize(from)?;
            let buffer = scope::buffer(index, |_| None);
            return buffer.map(Self).ok_or_else(|| D::Error::custom(format!("the value has no buffer {index}")));
        }
        serde_bytes::ByteBuf::deserialize(from).map(|bytes| bytes.into_vec().into())
    }
}

impl Deref for Blob {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.len())
    }
}
