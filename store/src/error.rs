//! What the store refuses, and why.

use crate::{Departed, ObjectState};
use mobula_protocol::{ByteSize, ObjectId};

/// A refusal of the arena or of the table. Every one is expected (decision D10, first kind): the store itself is
/// unharmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The arena cannot be as large as asked.
    #[error("a store of {asked} is larger than {limit} ({most}); ask for {most} or less")]
    TooLarge {
        /// The capacity asked for.
        asked: ByteSize,
        /// The largest capacity that would be accepted.
        most: ByteSize,
        /// What sets that limit.
        limit: &'static str,
    },
    /// The operating system refused the memory.
    #[error("the system refused {asked} of memory for the store: {reason}")]
    Refused {
        /// The capacity asked for.
        asked: ByteSize,
        /// The system's own words.
        reason: String,
    },
    /// No room, and no cached copy left that could make room.
    #[error(
        "the store is full: {needed} needed, {in_use} of {capacity} in use by objects that cannot be evicted now, \
         longest free range {largest_free}"
    )]
    Full {
        /// Bytes that were needed, rounded up to the arena's unit.
        needed: ByteSize,
        /// The budget.
        capacity: ByteSize,
        /// Bytes in use that eviction cannot free.
        in_use: ByteSize,
        /// The longest range one object could have had; less than `capacity - in_use` when memory is fragmented.
        largest_free: ByteSize,
        /// Copies given up in vain. They are gone: whoever tracks copies must hear of them.
        evicted: Vec<Departed>,
    },
    /// No room, and what could go cannot be written to disk.
    #[error(
        "the store is full and cannot spill: {needed} needed of {capacity}, and no directory can be written to, \
         last because {why}"
    )]
    OutOfDisk {
        /// Bytes that were needed, rounded up to the arena's unit.
        needed: ByteSize,
        /// The budget.
        capacity: ByteSize,
        /// Whether the disk is full, or else fails.
        full: bool,
        /// The last failure.
        why: String,
        /// As in [`StoreError::Full`].
        evicted: Vec<Departed>,
    },
    /// An object of this name is here already.
    #[error("object {id} exists already and is {state}")]
    Duplicate {
        /// Which.
        id: ObjectId,
        /// In which state.
        state: ObjectState,
    },
    /// No object of this name is here.
    #[error("object {id} is not in this store")]
    Unknown {
        /// Which.
        id: ObjectId,
    },
    /// A sealed object was treated as one that is still being written.
    #[error("object {id} is sealed: it can be deleted or evicted, not written or aborted")]
    Sealed {
        /// Which.
        id: ObjectId,
    },
    /// The region belongs to an earlier creation of this object, which was aborted.
    #[error("the region is not the one this creation of object {id} was given; its creation was aborted")]
    Stale {
        /// Which.
        id: ObjectId,
    },
    /// More unpins than pins.
    #[error("object {id} is not pinned")]
    NotPinned {
        /// Which.
        id: ObjectId,
    },
}

impl StoreError {
    /// Whether the same call may succeed later, when other objects have gone or, for a disk, when there is room again.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Full { needed, capacity, .. } => needed <= capacity,
            Self::OutOfDisk { .. } => true,
            _ => false,
        }
    }
}
