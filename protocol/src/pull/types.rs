//! The words of the pull machine.

use super::fetch::Class;
use crate::{Attempt, ByteSize, Incarnation, Located, Nanos, ObjectId, TaskError};
use bytes::Bytes;
use std::sync::Arc;

/// For whom a bundle is wanted, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Somebody is blocked on the values.
    Get,
    /// Somebody is blocked until they are here.
    Wait,
    /// A task that could start.
    Args,
    /// Nobody: a copy that an owner wants to be here.
    Replica,
}

/// A bundle, named by the caller; never used twice at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId(pub u64);

/// Why an attempt to fetch ended without the object. A holder that cannot be reached is no such reason: see
/// [`crate::transfer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// This node's store could not make room for it.
    NoMemory,
    /// The bytes do not match their checksum. The last of them came from this node; none if from this one's disk.
    Corrupt(Option<Incarnation>),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All objects of one get, wait or task are wanted here together, repetitions included. A name still in use
    /// changes nothing.
    Want {
        /// Its name.
        bundle: BundleId,
        /// In the order in which the values are to be handed over.
        objects: Vec<ObjectId>,
        /// For whom.
        priority: Priority,
    },
    /// A bundle is no longer wanted: done, cancelled, timed out. Ends its pins. Not needed after [`Effect::Failed`].
    Drop {
        /// Which.
        bundle: BundleId,
    },
    /// The task of a ready bundle of arguments waits for a worker: until it starts, the bundle may be recalled.
    Queued {
        /// Which.
        bundle: BundleId,
    },
    /// The task of a bundle that was queued runs: the bundle is no longer recalled.
    Started {
        /// Which.
        bundle: BundleId,
    },
    /// The object is sealed in this node's store: fetched, produced or put here, or restored. If an attempt to fetch
    /// it is still in flight, it is aborted.
    Local {
        /// Which.
        object: ObjectId,
        /// Its size.
        size: ByteSize,
    },
    /// The object is no longer in this node's store: evicted, freed, or a pin came too late. This may be told long after
    /// it went. If it was pinned, or a pin was asked for, an [`Effect::Unpin`] follows: a store counts pins by name, and
    /// one that is left would hold the next copy for ever.
    Gone {
        /// Which.
        object: ObjectId,
    },
    /// The same, but it is on this node's disk, from where it can be fetched like from another node, until an
    /// [`Event::Gone`] says otherwise.
    Spilled {
        /// Which.
        object: ObjectId,
    },
    /// The caller found, when it took the values of a ready bundle, that one had left the store before it was pinned,
    /// and has said so with [`Event::Gone`] or [`Event::Spilled`]. The bundle is wanted as before it was ready.
    Missed {
        /// Which.
        bundle: BundleId,
    },
    /// The object's owner says where it is. Ignored unless subscribed.
    Located {
        /// Which.
        object: ObjectId,
        /// The answer.
        located: Located,
    },
    /// An attempt ended well: the bytes have arrived, were verified and are sealed. Counts as [`Event::Local`] of the
    /// size that was fetched. The store's own `Local` for the same seal may follow and then changes nothing; it must
    /// not precede.
    Fetched {
        /// Which.
        object: ObjectId,
        /// By which attempt.
        attempt: Attempt,
    },
    /// An attempt ended badly. Its buffer is gone.
    FetchFailed {
        /// Which.
        object: ObjectId,
        /// Which attempt.
        attempt: Attempt,
        /// Why.
        why: FetchFailure,
    },
    /// A node that may hold copies was declared dead.
    NodeDied(Incarnation),
    /// An owner was declared dead: what is not here already can no longer be found.
    OwnerDied(Incarnation),
    /// How many bytes pulls may hold in all: the capacity without what is neither free nor evictable *for reasons
    /// other than this machine's pins and fetches*. It does not change when this machine pins, unpins or fetches. An
    /// object that is pinned here and by somebody else may be counted on both sides; that errs on the safe side.
    Room(ByteSize),
    /// The deadline of [`crate::Machine::next_deadline`] has come.
    Tick,
}

/// Where the value of an object is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// In this node's store, pinned until the bundle is dropped.
    Local,
    /// Here.
    Inline(Bytes),
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send `Locate` to the object's owner.
    Subscribe(ObjectId),
    /// Send `Unlocate` to the object's owner (nothing to do if it is dead).
    Unsubscribe(ObjectId),
    /// Keep the local copy from being evicted or spilled. If it is no longer there, answer with [`Event::Gone`] or
    /// [`Event::Spilled`].
    Pin(ObjectId),
    /// Undo the pin, if there was a copy to pin: it may be evicted again. The copy may be gone, or be another one by now.
    Unpin(ObjectId),
    /// Fetch it into the store, with a [`crate::transfer::Receive`]. To be answered by one `Fetched` or `FetchFailed`,
    /// unless aborted.
    Fetch {
        /// Which.
        object: ObjectId,
        /// The number to answer with.
        attempt: Attempt,
        /// Its size by its owner's word.
        size: ByteSize,
        /// The living nodes that have it, in id order; at least one.
        holders: Vec<Incarnation>,
    },
    /// Restore it from this node's disk into the store. To be answered like a fetch.
    Restore {
        /// Which.
        object: ObjectId,
        /// The number to answer with.
        attempt: Attempt,
    },
    /// The holders of an object that is being fetched are now these.
    Holders {
        /// Which.
        object: ObjectId,
        /// Which attempt.
        attempt: Attempt,
        /// In id order; at least one.
        holders: Vec<Incarnation>,
    },
    /// Stop fetching and release the buffer. Nothing to do if the attempt has ended.
    AbortFetch {
        /// Which.
        object: ObjectId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// To the object's owner: the copy there is damaged, it has answered with wrong bytes [`CORRUPT_LAST`] times.
    ///
    /// [`CORRUPT_LAST`]: super::CORRUPT_LAST
    Damaged {
        /// Which.
        object: ObjectId,
        /// Whose copy.
        at: Incarnation,
    },
    /// Everything is here and pinned, unless a copy left before its pin: then answer with [`Event::Missed`]. Once per
    /// bundle, and again only after [`Effect::Recalled`] or [`Event::Missed`].
    Ready {
        /// Which.
        bundle: BundleId,
        /// In the order asked for.
        values: Vec<Value>,
    },
    /// A bundle announced as queued is no longer ready: its memory is needed by a get or a wait. It will be ready
    /// again.
    Recalled {
        /// Which.
        bundle: BundleId,
    },
    /// The bundle cannot be had and is forgotten.
    Failed {
        /// Which.
        bundle: BundleId,
        /// The object it fails for.
        object: ObjectId,
        /// Why: the object's own error, `OwnerDied`, or `StoreFull`.
        error: TaskError,
    },
    /// The owner says that an object of these task arguments does not exist at the moment. Once per such answer that
    /// is a change.
    Unavailable {
        /// Which.
        bundle: BundleId,
        /// What is missing.
        object: ObjectId,
    },
}

/// A bundle's place in the order of admission: by priority, then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub priority: Priority,
    pub arrival: u64,
    pub bundle: BundleId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Set aside or a candidate; `Pull::candidates` says which.
    Waiting,
    Active,
    Ready,
}

#[derive(Debug)]
pub(super) struct Bundle {
    pub rank: Rank,
    pub asked: Vec<ObjectId>,
    /// What was asked for, in id order and without repetition. Shared, so that it can be walked while the machine
    /// changes.
    pub distinct: Arc<[ObjectId]>,
    pub state: State,
    /// Of its objects, by class. Kept while it is not ready.
    pub tally: Tally,
    pub since: Nanos,
}

/// How many objects of a bundle are in each class, so that the arrival of one of ten thousand is no reason to look at
/// the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally([usize; 4]);

impl Tally {
    pub fn add(&mut self, class: Class) {
        self.0[class as usize] += 1;
    }

    pub fn change(&mut self, from: Class, to: Class) {
        self.0[from as usize] -= 1;
        self.0[to as usize] += 1;
    }

    pub fn count(self, class: Class) -> usize {
        self.0[class as usize]
    }
}
