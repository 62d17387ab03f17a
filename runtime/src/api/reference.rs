//! References to objects, counted by their owner for as long as they live anywhere.

use super::context::Context;
use crate::Error;
use mobula_protocol::ObjectId;
use mobula_store::codec::Reference;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A reference to a value of type `T` that exists, will exist, or can be rebuilt.
///
/// Cloning costs an atomic increment. While any clone lives in any process, the owner keeps the value obtainable; when the
/// last one is gone the copies are freed everywhere. A reference travels only inside a task argument, a result or a put:
/// anything else (JSON, a socket of your own) refuses to serialize it, since the owner could not know.
pub struct ObjectRef<T> {
    guard: Arc<Guard>,
    value: PhantomData<fn() -> T>,
}

/// Tells the owner when the last clone in this process is gone.
struct Guard {
    id: ObjectId,
    context: Context,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.context.env().emit("ref-", format_args!("{}", self.id));
        self.context.ref_dropped(self.id);
    }
}

impl<T> ObjectRef<T> {
    /// Takes over a reference that the owner has already counted.
    pub(crate) fn adopt(id: ObjectId, context: Context) -> Self {
        // The ground truth of reference counting, for whoever checks it (invariant I26).
        context.env().emit("ref+", format_args!("{id}"));
        Self { guard: Arc::new(Guard { id, context }), value: PhantomData }
    }

    /// The object's name.
    pub fn id(&self) -> ObjectId {
        self.guard.id
    }

    /// The same reference, promising another type. Reading checks that the value really has it.
    pub fn cast<U>(&self) -> ObjectRef<U> {
        ObjectRef { guard: self.guard.clone(), value: PhantomData }
    }
}

impl<T> Clone for ObjectRef<T> {
    fn clone(&self) -> Self {
        Self { guard: self.guard.clone(), value: PhantomData }
    }
}

impl<T> fmt::Debug for ObjectRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectRef({})", self.guard.id)
    }
}

impl<T> fmt::Display for ObjectRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guard.id.fmt(f)
    }
}

impl<T> PartialEq for ObjectRef<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<T> Eq for ObjectRef<T> {}

impl<T> Serialize for ObjectRef<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Reference(self.guard.id).serialize(to)
    }
}

impl<'de, T> Deserialize<'de> for ObjectRef<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Reference(id) = Reference::deserialize(from)?;
        let context = reading().ok_or_else(|| {
            serde::de::Error::custom("a reference can only be read by the runtime, from an argument or an object")
        })?;
        context.ref_added(id);
        Ok(Self::adopt(id, context))
    }
}

thread_local! {
    /// The contexts on whose behalf values are being decoded on this thread, innermost last.
    static READING: RefCell<Vec<Context>> = const { RefCell::new(Vec::new()) };
}

/// The context on whose behalf a value is being decoded on this thread.
pub(super) fn reading() -> Option<Context> {
    READING.with_borrow(|contexts| contexts.last().cloned())
}

/// Decodes a value on behalf of `context`, so that references inside it come to life.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(bytes: &bytes::Bytes, context: &Context) -> Result<T, Error> {
    struct Pop;
    impl Drop for Pop {
        fn drop(&mut self) {
            READING.with_borrow_mut(|contexts| contexts.pop());
        }
    }
    READING.with_borrow_mut(|contexts| contexts.push(context.clone()));
    let _pop = Pop;
    mobula_store::codec::decode(bytes).map_err(|why| {
        let wanted = std::any::type_name::<T>();
        Error::new(mobula_protocol::TaskErrorKind::WrongType, format!("the value is no {wanted}: {why}"))
    })
}
