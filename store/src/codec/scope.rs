//! How a `Serialize` implementation, which sees only serde, reaches the encoding it is part of.
//!
//! Each running `encode` has a [`Collector`] and each running `decode` a [`Source`], on a stack of the thread. They
//! are found at the top and removed when the call ends, also by a panic; nested calls have their own.

use super::Rope;
use bytes::Bytes;
use mobula_protocol::ObjectId;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::thread::LocalKey;

/// What a running `encode` has met so far.
#[derive(Debug, Default)]
pub(super) struct Collector {
    pub buffers: Vec<Rope>,
    pub refs: Vec<ObjectId>,
    /// Where each reference is in `refs`.
    places: BTreeMap<ObjectId, usize>,
}

/// What a running `decode` can hand out.
#[derive(Debug)]
pub(super) struct Source {
    pub buffers: Vec<Bytes>,
    pub refs: Vec<ObjectId>,
    /// Which references were handed out.
    pub seen: Vec<bool>,
}

type Stack<T> = RefCell<Vec<T>>;

thread_local! {
    static COLLECTORS: Stack<Collector> = const { RefCell::new(Vec::new()) };
    static SOURCES: Stack<Source> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with `collector` on top, and returns both results.
pub(super) fn collecting<R>(collector: Collector, work: impl FnOnce() -> R) -> (R, Collector) {
    within(&COLLECTORS, collector, work)
}

/// Runs `work` with `source` on top, and returns both results.
pub(super) fn supplying<R>(source: Source, work: impl FnOnce() -> R) -> (R, Source) {
    within(&SOURCES, source, work)
}

fn within<T: 'static, R>(stack: &'static LocalKey<Stack<T>>, frame: T, work: impl FnOnce() -> R) -> (R, T) {
    /// Removes the frame if `work` panics.
    struct Pop<T: 'static>(&'static LocalKey<Stack<T>>);
    impl<T> Drop for Pop<T> {
        fn drop(&mut self) {
            self.0.with_borrow_mut(Vec::pop);
        }
    }
    stack.with_borrow_mut(|frames| frames.push(frame));
    let pop = Pop(stack);
    let result = work();
    std::mem::forget(pop);
    let frame = stack.with_borrow_mut(Vec::pop).expect("pushed above; each nested call pops its own");
    (result, frame)
}

/// Whether an `encode` is running, so that buffers go out of band.
pub(super) fn is_encoding() -> bool {
    COLLECTORS.with_borrow(|collectors| !collectors.is_empty())
}

/// Whether a `decode` is running, so that buffers are out of band.
pub(super) fn is_decoding() -> bool {
    SOURCES.with_borrow(|sources| !sources.is_empty())
}

/// Adds a buffer to the running `encode` and returns its index; `None` outside of one.
pub(super) fn add_buffer(make: impl FnOnce() -> Rope) -> Option<u32> {
    COLLECTORS.with_borrow_mut(|collectors| {
        let collector = collectors.last_mut()?;
        collector.buffers.push(make());
        Some(index(collector.buffers.len() - 1))
    })
}

/// Adds a reference to the running `encode`, once, and returns its index; `None` outside of one.
pub(super) fn add_ref(id: ObjectId) -> Option<u32> {
    COLLECTORS.with_borrow_mut(|collectors| {
        let Collector { refs, places, .. } = collectors.last_mut()?;
        let place = *places.entry(id).or_insert_with(|| {
            refs.push(id);
            refs.len() - 1
        });
        Some(index(place))
    })
}

/// `encode` refuses a value with more buffers or references than this can tell apart.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// Buffer `index` of the running `decode`, replaced for good by `fix(buffer)` if that is something; `None` if there
/// is no such buffer or no `decode`.
pub(super) fn buffer(index: u32, fix: impl FnOnce(&Bytes) -> Option<Bytes>) -> Option<Bytes> {
    SOURCES.with_borrow_mut(|sources| {
        let buffer = sources.last_mut()?.buffers.get_mut(index as usize)?;
        if let Some(fixed) = fix(buffer) {
            *buffer = fixed;
        }
        Some(buffer.clone())
    })
}

/// Reference `index` of the running `decode`; `None` if there is no such reference or no `decode`.
pub(super) fn reference(index: u32) -> Option<ObjectId> {
    SOURCES.with_borrow_mut(|sources| {
        let source = sources.last_mut()?;
        *source.seen.get_mut(index as usize)? = true;
        source.refs.get(index as usize).copied()
    })
}

/// An index into one of the tables, as MessagePack extension type `KIND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer<const KIND: i8>(pub u32);

impl<const KIND: i8> Serialize for Pointer<KIND> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let payload = self.0.to_le_bytes();
        to.serialize_newtype_struct(rmp_serde::MSGPACK_EXT_STRUCT_NAME, &(KIND, serde_bytes::Bytes::new(&payload)))
    }
}

impl<'de, const KIND: i8> Deserialize<'de> for Pointer<KIND> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Ext<const KIND: i8>;
        impl<'de, const KIND: i8> Visitor<'de> for Ext<KIND> {
            type Value = Pointer<KIND>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "extension type {KIND} with an index of four bytes")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
                let (kind, payload) = <(i8, serde_bytes::ByteBuf)>::deserialize(from)?;
                match <[u8; 4]>::try_from(payload.as_slice()) {
                    Ok(payload) if kind == KIND => Ok(Pointer(u32::from_le_bytes(payload))),
                    _ => Err(D::Error::custom(format!(
                        "extension type {kind} with {} bytes, where type {KIND} with 4 bytes belongs",
                        payload.len()
                    ))),
                }
            }
        }
        from.deserialize_newtype_struct(rmp_serde::MSGPACK_EXT_STRUCT_NAME, Ext)
    }
}
