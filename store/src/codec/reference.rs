//! References to objects inside values.

use super::REFERENCE;
use super::scope::{self, Pointer};
use mobula_protocol::ObjectId;
use serde::de::{Deserializer, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

/// A reference was serialized or deserialized where the runtime cannot see it.
///
/// Ray allows this by default and then pins the object for as long as the worker lives (`serialization.py`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reference can only travel inside a task argument, a result or a put")]
pub struct OutOfBand;

/// What an object reference becomes inside a value: an entry in the reference table, so that whoever stores or
/// forwards the value can keep the object alive without decoding it. Handles with a life of their own delegate their
/// serde implementations to this one. Outside of [`super::encode`] and [`super::decode`] both directions fail with
/// [`OutOfBand`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(pub ObjectId);

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let index = scope::add_ref(self.0).ok_or_else(|| S::Error::custom(OutOfBand))?;
        Pointer::<REFERENCE>(index).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !scope::is_decoding() {
            return Err(D::Error::custom(OutOfBand));
        }
        let Pointer(index) = Pointer::<REFERENCE>::deserialize(from)?;
        let id = scope::reference(index);
        id.map(Self).ok_or_else(|| D::Error::custom(format!("the value has no reference {index}")))
    }
}
