//! Values as bytes: a small header, the structure as MessagePack, and large buffers out of band, aligned and never
//! copied when read. Any language with a MessagePack library can read and write it.
//!
//! # Format, version 1
//!
//! All numbers are little-endian. `B`, `R` and `S` are the counts in the header.
//!
//! ```text
//! offset      bytes  field
//!      0          4  magic, the ASCII letters MOB1
//!      4          2  version, 1
//!      6          2  flags, 0
//!      8          8  S, length of the structure
//!     16          4  B, number of buffers
//!     20          4  R, number of references
//!     24          8  checksum: XXH3-64 of bytes 0..24 and of bytes 32..(end of structure)
//!     32       24*B  buffer table: offset (8), length (8), checksum of the buffer (8)
//!      .       24*R  reference table: owner node (4), owner epoch (4), task number (8), result index (4), zero (4)
//!      .          S  structure: one MessagePack value
//!      .             each buffer, preceded by zero bytes up to the next multiple of 64
//! ```
//!
//! The value ends with its last byte: no padding follows, and nothing else may. A buffer stands at the first multiple
//! of 64 after its predecessor, so there is exactly one place for it; the table only spares the reader the sum.
//!
//! The checksum of a buffer of at most 64 KiB is its XXH3-64. That of a longer one is the XXH3-64 of the concatenated
//! XXH3-64 of its blocks of 64 KiB (the last may be shorter), so that blocks can be hashed in any order, by several
//! threads, and as they arrive.
//!
//! The structure is what serde makes of the value, with structs as maps from field names: a reader in another
//! language, or in a later version of the program, then finds fields by name, at the cost of a few bytes in what is
//! small anyway. Two MessagePack extension types point out of it, each with a little-endian `u32` as payload: type
//! [`BUFFER`] is an index into the buffer table, type [`REFERENCE`] one into the reference table. A tensor is the map
//! `{dtype, shape, data}` where `dtype` is numpy's type string (`<f8`), the elements are in row-major order and
//! `data` is a buffer. One in another order has `strides` (bytes from an element to the next along each axis) and
//! `offset` (the byte of the buffer where the first element is) as well, with numpy's meaning: [`Strided`].
//!
//! # Guarantees
//!
//! - [`Encoded::write_into`] copies each buffer once, straight to its destination, also one that is given in pieces
//!   ([`Rope`]), and hashes it on the way.
//! - [`decode`] reads the header, the tables and the structure. Buffers become slices of the input; only a [`Tensor`]
//!   whose input is not aligned for its elements (a slice of a message, say) is copied.
//! - The checksum is checked on every read. Those of the buffers are checked by [`verify`], since that reads every
//!   byte.
//! - Whatever the input, the answer is a value or a [`CodecError`]: no panic, no allocation out of proportion to the
//!   input, no unbounded recursion (at most [`MAX_DEPTH`] levels, refused on both sides).
//! - A reference is recorded in the reference table or cannot be serialized at all: [`Reference`].
//!
//! # What must NOT happen
//!
//! A reference hidden in bytes where the runtime does not see it. `encode` inside a `Serialize` implementation is
//! allowed and leaves the outer value intact, but references in the inner value belong to the inner encoding only.

use bytes::Bytes;
use mobula_protocol::ObjectId;
use serde::Serialize;
use serde::de::DeserializeOwned;

mod arrival;
mod blob;
mod exercise;
mod hash;
mod layout;
mod reference;
mod rope;
mod scope;
mod structure;
mod tensor;
#[cfg(test)]
mod tests;

pub use arrival::Verifier;
pub use blob::Blob;
pub use exercise::{exercise, resealed};
pub use reference::{OutOfBand, Reference};
pub use rope::Rope;
pub use structure::MAX_DEPTH;
pub use tensor::{Element, ShapeError, StrideError, Strided, Tensor};

use crate::arena::Store;
use layout::{Layout, Slot};
use scope::{Collector, Source};

/// MessagePack extension type of an index into the buffer table.
pub const BUFFER: i8 = 1;
/// MessagePack extension type of an index into the reference table.
pub const REFERENCE: i8 = 2;

/// Why bytes are not a value, or a value cannot become bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The input ends too early.
    #[error("the value is truncated: {found} bytes of at least {needed}")]
    Truncated {
        /// Bytes the value has at least.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The input goes on after the value.
    #[error("the value ends after {expected} bytes, but {found} were given")]
    Trailing {
        /// Bytes the value has.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Not one of our values.
    #[error("not a Mobula value: it starts with {found:02x?}, not with MOB1")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// Written by a newer Mobula.
    #[error(
        "the value is in format version {version} with flags {flags:#x}; this Mobula reads version 1 without flags"
    )]
    Version {
        /// Its version.
        version: u16,
        /// Its flags.
        flags: u16,
    },
    /// Header, tables or structure are damaged.
    #[error("the value's header or structure is damaged: checksum {computed:016x}, should be {stored:016x}")]
    Damaged {
        /// The checksum in the header.
        stored: u64,
        /// That of the bytes.
        computed: u64,
    },
    /// A buffer is damaged; found by [`verify`] only.
    #[error("buffer {index} of the value is damaged: checksum {computed:016x}, should be {stored:016x}")]
    DamagedBuffer {
        /// Which buffer.
        index: usize,
        /// The checksum in the buffer table.
        stored: u64,
        /// That of the bytes.
        computed: u64,
    },
    /// The buffer table contradicts the layout.
    #[error("buffer {index} of the value is said to start at byte {found}, not at {expected}")]
    Misplaced {
        /// Which buffer.
        index: usize,
        /// Where it must start.
        expected: u64,
        /// Where the table puts it.
        found: u64,
    },
    /// The structure is not one MessagePack value.
    #[error("the value's structure is not MessagePack: {what} at byte {at} of it")]
    Structure {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// The value is nested too deeply.
    #[error("the value is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The value has too many buffers or references to count.
    #[error("the value has {count} {what}; at most {max} can travel in one value", max = u32::MAX)]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// A `Serialize` implementation failed.
    #[error("the value cannot be serialized: {reason}")]
    Serialize {
        /// Its own words.
        reason: String,
    },
    /// The value is intact but not of the type that was asked for.
    #[error("the value is not a {wanted}: {reason}")]
    Deserialize {
        /// The Rust type.
        wanted: &'static str,
        /// What did not fit.
        reason: String,
    },
    /// The destination has the wrong length.
    #[error("the value takes {needed} bytes, the destination has {found}")]
    Room {
        /// [`Encoded::len`].
        needed: usize,
        /// The length of the destination.
        found: usize,
    },
}

/// A value in pieces: structure and references are encoded, the buffers are still where they were.
#[derive(Clone, Debug)]
pub struct Encoded {
    structure: Vec<u8>,
    buffers: Vec<Rope>,
    refs: Vec<ObjectId>,
    len: usize,
}

/// Takes a value apart. Buffers of [`Blob`]s, [`Rope`]s and tensors are shared, not copied.
///
/// # Errors
/// [`CodecError::Serialize`], [`CodecError::TooDeep`], [`CodecError::TooMany`].
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, CodecError> {
    let mut structure = Vec::new();
    let (outcome, collected) = scope::collecting(Collector::default(), || {
        value.serialize(&mut rmp_serde::Serializer::new(&mut structure).with_struct_map())
    });
    outcome.map_err(|e| CodecError::Serialize { reason: e.to_string() })?;
    structure::scan(&structure)?;
    let (buffers, refs) = (collected.buffers, collected.refs);
    for (what, count) in [("buffers", buffers.len()), ("references", refs.len())] {
        u32::try_from(count).map_err(|_| CodecError::TooMany { what, count })?;
    }
    let head = layout::head_length(structure.len(), buffers.len(), refs.len());
    let len = buffers.iter().fold(head, |end, buffer| layout::aligned(end) + buffer.len());
    Ok(Encoded { structure, buffers, refs, len })
}

/// Puts a value together from its bytes. Its buffers are slices of `bytes` and keep them alive.
///
/// # Errors
/// Every [`CodecError`] about input.
pub fn decode<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, CodecError> {
    decode_with(bytes, &mut |_| {})
}

/// [`decode`], then calls `on_ref` once for each distinct reference that the value really contains, in the order of the
/// reference table. (A table may list more: what an unread field would have held.)
///
/// # Errors
/// As [`decode`]; then `on_ref` has not been called.
pub fn decode_with<T: DeserializeOwned>(bytes: &Bytes, on_ref: &mut dyn FnMut(ObjectId)) -> Result<T, CodecError> {
    let layout = Layout::read(bytes)?;
    let structure = &bytes[layout.structure.clone()];
    structure::scan(structure)?;
    let buffers = layout.slots.iter().map(|slot| bytes.slice(slot.range.clone())).collect();
    let source = Source { buffers, seen: vec![false; layout.refs.len()], refs: layout.refs };
    let (outcome, source) = scope::supplying(source, || rmp_serde::from_slice(structure));
    let value = outcome.map_err(|e: rmp_serde::decode::Error| CodecError::Deserialize {
        wanted: std::any::type_name::<T>(),
        reason: e.to_string(),
    })?;
    for (id, _) in source.refs.iter().zip(&source.seen).filter(|(_, seen)| **seen) {
        on_ref(*id);
    }
    Ok(value)
}

/// The references in a value, each once, without decoding it.
///
/// # Errors
/// As [`decode`], except for faults inside the structure.
pub fn refs(bytes: &[u8]) -> Result<Vec<ObjectId>, CodecError> {
    Layout::read(bytes).map(|layout| layout.refs)
}

/// Reads every byte of a value and checks all checksums.
///
/// # Errors
/// [`CodecError::DamagedBuffer`], and every error of [`decode`] that does not depend on a type.
pub fn verify(bytes: &[u8]) -> Result<(), CodecError> {
    let layout = Layout::read(bytes)?;
    structure::scan(&bytes[layout.structure.clone()])?;
    for (index, slot) in layout.slots.iter().enumerate() {
        let computed = hash::of_buffer(&bytes[slot.range.clone()]);
        if computed != slot.hash {
            return Err(CodecError::DamagedBuffer { index, stored: slot.hash, computed });
        }
    }
    Ok(())
}

/// Takes a value apart again that somebody else has put together. Its buffers are slices of `bytes`, and are not verified.
///
/// # Errors
/// Every [`CodecError`] about input that does not depend on a type.
pub fn parts(bytes: &Bytes) -> Result<Encoded, CodecError> {
    let layout = Layout::read(bytes)?;
    let structure = bytes[layout.structure.clone()].to_vec();
    structure::scan(&structure)?;
    let buffers = layout.slots.iter().map(|slot| Rope(vec![bytes.slice(slot.range.clone())])).collect();
    Ok(Encoded { structure, buffers, refs: layout.refs, len: bytes.len() })
}

#[expect(clippy::len_without_is_empty, reason = "never empty: there is always a header")]
impl Encoded {
    /// How many bytes the value takes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The references in the value, each once, in the order they were met.
    pub fn refs(&self) -> &[ObjectId] {
        &self.refs
    }

    /// Writes the value, every byte of `out`. This is the one copy on the way into the store.
    ///
    /// # Errors
    /// [`CodecError::Room`] unless `out` has exactly [`Encoded::len`] bytes.
    pub fn write_into(&self, out: &mut [u8]) -> Result<(), CodecError> {
        if out.len() != self.len {
            return Err(CodecError::Room { needed: self.len, found: out.len() });
        }
        let store = Store::suiting(self.len);
        let mut slots = Vec::with_capacity(self.buffers.len());
        let head = layout::head_length(self.structure.len(), self.buffers.len(), self.refs.len());
        let mut end = head;
        for buffer in &self.buffers {
            let start = layout::aligned(end);
            out[end..start].fill(0);
            end = start + buffer.len();
            slots.push(Slot { range: start..end, hash: hash::copy_and_hash(&buffer.0, store, &mut out[start..end]) });
        }
        layout::write_head(&mut out[..head], &self.structure, &slots, &self.refs);
        Ok(())
    }

    /// The value in memory of its own, for small values that travel inside a message.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = vec![0; self.len];
        self.write_into(&mut out).expect("the room is as long as the value");
        out.into()
    }
}
