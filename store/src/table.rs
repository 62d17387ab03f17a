//! Which objects are in the arena, in which state, and which of them may go.
//!
//! ```text
//!              create                 seal                     delete, evict
//!   (absent) ---------> creating -----------> sealed ------------------------------> (absent)
//!                          |                  primary | cached                          ^
//!                          |                     ^-------'  promote                     |
//!                          '--- abort, delete, or the creator drops its region --------'
//! ```
//!
//! A *primary* copy is the one the owner counts on: it is never evicted. A *cached* copy was fetched from elsewhere:
//! it goes, least recently used first, when a creation needs room, unless it is pinned or somebody still reads it.
//!
//! An object that left the table while somebody holds a view of it (or still writes its region) is *lingering*:
//! invisible, but on the ledger, until the last handle goes. So the ledger is always the sum of what the arena has
//! handed out.
//!
//! Spilling will add the states spilling, spilled and restoring between sealed and absent (decision D5); until it
//! exists, a creation that finds no room is refused with [`StoreError::Full`].

use crate::arena::{self, Watch};
use crate::{Arena, Region, StoreError, View};
use mobula_protocol::{ByteSize, Nanos, ObjectId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

mod report;
#[cfg(test)]
mod tests;

pub use report::{ObjectInfo, Usage};

/// The object table of one node. Not a `Machine` in the letter, because creation hands out memory, but one in spirit:
/// time is an argument, every answer is immediate and determined by the calls before it and by which views are alive.
#[derive(Debug)]
pub struct Table {
    arena: Arena,
    entries: BTreeMap<ObjectId, Entry>,
    /// Those of the entries that are being created.
    creating: BTreeSet<ObjectId>,
    /// Sealed, cached and unpinned objects by time of last use: the eviction order. A reader may still hold one.
    lru: BTreeMap<u64, ObjectId>,
    /// Pins by name, not by copy: a pin survives the loss of the copy and holds its successor, so that each `unpin`
    /// undoes exactly one `pin` whatever happened in between.
    pins: BTreeMap<ObjectId, u32>,
    /// What left the table while held. Those that have gone since are swept out when the list has doubled.
    lingering: Vec<Lingering>,
    sweep_at: usize,
    /// Counts uses; orders them when the clock does not move.
    uses: u64,
}

/// Why a copy is here, and hence whether it may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyKind {
    /// The copy the owner counts on.
    Primary,
    /// A copy of one that is elsewhere.
    Cached,
}

/// Where in its life a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// Somebody is writing it; nobody can read it.
    Creating,
    /// Complete and immutable.
    Sealed,
}

/// A creation that found room.
#[derive(Debug)]
#[must_use = "the evicted copies must be reported to whoever tracks copies"]
pub struct Created {
    /// Where to write. Dropping it without `seal` ends the creation.
    pub region: Region,
    /// The cached copies that made room, in the order they went.
    pub evicted: Vec<ObjectId>,
}

#[derive(Debug)]
struct Entry {
    size: ByteSize,
    copy: CopyKind,
    created: Nanos,
    used: Nanos,
    /// Its key in `lru`, whenever it is there.
    stamp: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The creator holds the region.
    Creating(Watch),
    /// The table's own handle, lent to nobody.
    Sealed(View),
}

#[derive(Debug)]
struct Lingering {
    charge: ByteSize,
    watch: Watch,
}

impl Entry {
    /// Whether the creator dropped the region: then nothing is left of the object.
    fn is_abandoned(&self) -> bool {
        matches!(&self.state, State::Creating(watch) if !watch.is_held())
    }

    fn charge(&self) -> ByteSize {
        ByteSize(arena::charge(self.size.0))
    }

    fn sealed(&self) -> Option<&View> {
        match &self.state {
            State::Sealed(view) => Some(view),
            State::Creating(_) => None,
        }
    }
}

impl Table {
    /// An empty table over an arena that nobody else allocates from.
    pub fn new(arena: Arena) -> Self {
        Self {
            arena,
            entries: BTreeMap::new(),
            creating: BTreeSet::new(),
            lru: BTreeMap::new(),
            pins: BTreeMap::new(),
            lingering: Vec::new(),
            sweep_at: 64,
            uses: 0,
        }
    }

    /// The memory the objects are in.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Starts object `id` of `len` bytes, to be written in place and then sealed. Cached copies are evicted, least
    /// recently used first, for as long as the arena has no free range for it.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`]; [`StoreError::Full`] if no eviction can make room. If the bytes that could be freed
    /// do not suffice, nothing is evicted. If they do but lie scattered between bytes in use, the error names the
    /// copies lost.
    pub fn create(&mut self, now: Nanos, id: ObjectId, len: ByteSize, copy: CopyKind) -> Result<Created, StoreError> {
        self.forget_abandoned();
        if let Some(entry) = self.entries.get(&id) {
            let state = if entry.sealed().is_some() { ObjectState::Sealed } else { ObjectState::Creating };
            return Err(StoreError::Duplicate { id, state });
        }
        let (region, evicted) = self.make_room(len)?;
        let state = State::Creating(region.watch());
        self.entries.insert(id, Entry { size: len, copy, created: now, used: now, stamp: 0, state });
        self.creating.insert(id);
        Ok(Created { region, evicted })
    }

    fn make_room(&mut self, len: ByteSize) -> Result<(Region, Vec<ObjectId>), StoreError> {
        if let Some(region) = self.arena.allocate(len) {
            return Ok((region, Vec::new()));
        }
        let mut evicted = Vec::new();
        let needed = ByteSize(arena::charge(len.0));
        if needed <= self.headroom() {
            let victims: Vec<ObjectId> = self.evictable().map(|(id, _)| id).collect();
            for victim in victims {
                self.remove(victim);
                evicted.push(victim);
                if let Some(region) = self.arena.allocate(len) {
                    return Ok((region, evicted));
                }
            }
        }
        let capacity = self.arena.capacity();
        let in_use = capacity.saturating_sub(self.headroom());
        Err(StoreError::Full { needed, capacity, in_use, largest_free: self.arena.largest_free(), evicted })
    }

    /// Ends the writing of `id`; from now on it can be read and never changes.
    ///
    /// # Errors
    /// The region is lost in each case: [`StoreError::Unknown`] if the creation was aborted, [`StoreError::Stale`] if
    /// it was aborted and started again, [`StoreError::Sealed`] if that has been sealed already.
    pub fn seal(&mut self, now: Nanos, id: ObjectId, region: Region) -> Result<View, StoreError> {
        self.forget_abandoned();
        let entry = self.entries.get_mut(&id).ok_or(StoreError::Unknown { id })?;
        match &entry.state {
            State::Sealed(_) => return Err(StoreError::Sealed { id }),
            State::Creating(watch) if *watch != region.watch() => return Err(StoreError::Stale { id }),
            State::Creating(_) => {}
        }
        let view = region.seal();
        entry.state = State::Sealed(view.clone());
        self.creating.remove(&id);
        self.touch(now, id);
        Ok(view)
    }

    /// A view of a sealed object, which counts as a use of it; `None` if it is not here or not sealed.
    pub fn get(&mut self, now: Nanos, id: ObjectId) -> Option<View> {
        let view = self.entries.get(&id)?.sealed()?.clone();
        self.touch(now, id);
        Some(view)
    }

    /// Whether a sealed copy is here.
    pub fn contains(&self, id: ObjectId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.sealed().is_some())
    }

    /// How long a sealed object is.
    pub fn size(&self, id: ObjectId) -> Option<ByteSize> {
        self.entries.get(&id).filter(|entry| entry.sealed().is_some()).map(|entry| entry.size)
    }

    /// Keeps `id` from being evicted until as many calls of [`Table::unpin`]. For running tasks and pulls, which need
    /// the object to stay before they read it.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] if it is neither being created nor sealed here.
    pub fn pin(&mut self, id: ObjectId) -> Result<(), StoreError> {
        self.forget_abandoned();
        let entry = self.entries.get(&id).ok_or(StoreError::Unknown { id })?;
        self.lru.remove(&entry.stamp);
        *self.pins.entry(id).or_default() += 1;
        Ok(())
    }

    /// Undoes one [`Table::pin`]. The object itself may have been deleted since.
    ///
    /// # Errors
    /// [`StoreError::NotPinned`].
    pub fn unpin(&mut self, id: ObjectId) -> Result<(), StoreError> {
        let pins = self.pins.get_mut(&id).ok_or(StoreError::NotPinned { id })?;
        *pins -= 1;
        if *pins == 0 {
            self.pins.remove(&id);
            self.enlist(id);
        }
        Ok(())
    }

    /// Makes the cached copy of `id` the primary one, because the former primary is lost. Of a primary, changes
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn promote(&mut self, id: ObjectId) -> Result<(), StoreError> {
        self.forget_abandoned();
        let entry = self.entries.get_mut(&id).ok_or(StoreError::Unknown { id })?;
        entry.copy = CopyKind::Primary;
        self.lru.remove(&entry.stamp);
        Ok(())
    }

    /// Gives up the creation of `id`. Its bytes go when the creator drops the region.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Sealed`].
    pub fn abort(&mut self, id: ObjectId) -> Result<(), StoreError> {
        self.forget_abandoned();
        match self.entries.get(&id) {
            None => Err(StoreError::Unknown { id }),
            Some(entry) if entry.sealed().is_some() => Err(StoreError::Sealed { id }),
            Some(_) => {
                self.remove(id);
                Ok(())
            }
        }
    }

    /// Forgets `id`, whatever its state or pins: nobody refers to it any more. Its bytes go when the last view goes.
    /// Says whether it was here; deleting twice is harmless.
    pub fn delete(&mut self, id: ObjectId) -> bool {
        self.forget_abandoned();
        self.remove(id)
    }

    /// Evicts the sealed copy of `id` on demand, as a fault plan does. Refuses a primary, pinned or viewed copy unless
    /// `forced`. Says whether it evicted.
    pub fn evict(&mut self, id: ObjectId, forced: bool) -> bool {
        let Some(entry) = self.entries.get(&id) else { return false };
        let Some(view) = entry.sealed() else { return false };
        let idle = self.lru.contains_key(&entry.stamp) && view.readers() == 0;
        (idle || forced) && self.remove(id)
    }

    /// How many bytes creations could take in the best case: free ones, and those of copies that can be evicted now.
    /// Reads every cached copy.
    pub fn headroom(&self) -> ByteSize {
        let evictable = self.evictable().map(|(_, charge)| charge).sum();
        self.arena.capacity().saturating_sub(self.arena.used().saturating_sub(evictable))
    }

    /// What can be evicted now, and the bytes it would free, least recently used first. A copy without readers cannot
    /// get one behind the table's back, since readers are made from readers.
    fn evictable(&self) -> impl Iterator<Item = (ObjectId, ByteSize)> {
        self.lru.values().filter_map(|id| {
            let entry = self.entries.get(id)?;
            (entry.sealed()?.readers() == 0).then(|| (*id, entry.charge()))
        })
    }

    /// Notes a use of a sealed object.
    fn touch(&mut self, now: Nanos, id: ObjectId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.lru.remove(&entry.stamp);
        self.uses += 1;
        (entry.used, entry.stamp) = (now, self.uses);
        self.enlist(id);
    }

    /// Puts `id` in the eviction order if it belongs there.
    fn enlist(&mut self, id: ObjectId) {
        let Some(entry) = self.entries.get(&id) else { return };
        if entry.copy == CopyKind::Cached && entry.sealed().is_some() && !self.pins.contains_key(&id) {
            self.lru.insert(entry.stamp, id);
        }
    }

    /// Takes `id` out of the table; what is still held of it stays on the ledger as lingering.
    fn remove(&mut self, id: ObjectId) -> bool {
        let Some(entry) = self.entries.remove(&id) else { return false };
        self.lru.remove(&entry.stamp);
        self.creating.remove(&id);
        let charge = entry.charge();
        let watch = match entry.state {
            State::Creating(watch) => watch,
            // The table's own handle ends here; if it was the last, the range is free now.
            State::Sealed(view) => view.watch(),
        };
        if watch.is_held() {
            self.lingering.push(Lingering { charge, watch });
        }
        if self.lingering.len() >= self.sweep_at {
            self.lingering.retain(|gone| gone.watch.is_held());
            self.sweep_at = 64 + 2 * self.lingering.len();
        }
        true
    }

    /// Removes the objects whose creator dropped the region: nothing is left of them.
    fn forget_abandoned(&mut self) {
        let entries = &mut self.entries;
        self.creating.retain(|id| {
            let abandoned = entries.get(id).is_some_and(Entry::is_abandoned);
            if abandoned {
                entries.remove(id);
            }
            !abandoned
        });
    }
}

impl fmt::Display for ObjectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "being created",
            Self::Sealed => "sealed",
        })
    }
}
