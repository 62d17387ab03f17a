//! Which objects are on this node, in memory or on disk, in which state, and which of them may go.
//!
//! ```text
//!             create              seal                 work               written
//!  (absent) ---------> creating ---------> sealed -----------> spilling ----------> sealed, also on disk (clean)
//!                         |         primary | cached  <----------'  write failed       |            ^
//!      abort, delete, or  |                 | evict, delete                            | room is    | seal
//!      region dropped     v                 v                                   needed v            |
//!                     (absent)          (absent)            (absent) <---------- spilled ----> restoring
//!                                                             delete, lose_spilled     ^  restore |
//!                                                                                      '----------' abort
//! ```
//!
//! A *primary* copy is the one the owner counts on: it is never dropped. When memory is short it is written to disk, and
//! is *clean* from then on; a clean one leaves memory when the room is needed and is restored when it is wanted. Under
//! [`MemoryPolicy::Evict`] one that its task can make again may go without that. A *cached* copy was fetched from
//! elsewhere: it goes before any primary. Within each of these lists the least recently used goes first, and only if it
//! is not pinned and nobody reads it.
//!
//! An object that left memory while somebody holds a view of it (or still writes its region) is *lingering*: invisible,
//! but on the ledger, until the last handle goes. So the ledger is always the sum of what the arena has handed out.
//!
//! The table decides; it moves no bytes. What must be done on disk it says in [`Table::work`], and is told how that went.

use crate::arena::{self, Watch};
use crate::spill::{Directories, Files, MemoryPolicy, Place, SpillSettings};
use crate::{Arena, Region, StoreError, View};
use mobula_protocol::{ByteSize, Nanos, ObjectId};
use order::{Order, Orders};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

mod order;
mod report;
mod room;
mod spilling;
#[cfg(test)]
mod tests;

pub use report::{DepartedCounts, ObjectInfo, OwnerUsage, Usage};
pub use room::{Admission, Ticket};
pub use spilling::{MOST_FUSED, Restore};

/// The object table of one node. Not a `Machine` in the letter, because creation hands out memory, but one in spirit:
/// time is an argument, every answer is immediate and determined by the calls before it and by which views are alive.
#[derive(Debug)]
pub struct Table {
    arena: Arena,
    /// What may be in use; the arena's capacity unless the store was shrunk.
    budget: ByteSize,
    settings: SpillSettings,
    entries: BTreeMap<ObjectId, Entry>,
    /// Those of the entries that are being created or restored.
    creating: BTreeSet<ObjectId>,
    /// Sealed and unpinned objects that nothing else keeps in memory. A reader may still hold one.
    orders: Orders,
    /// Pins by name, not by copy: a pin survives the loss of the copy and holds its successor, so that each `unpin`
    /// undoes exactly one `pin` whatever happened in between.
    pins: BTreeMap<ObjectId, u32>,
    /// What left the table while held. Those that have gone since are swept out when the list has doubled.
    lingering: Vec<Lingering>,
    sweep_at: usize,
    /// Counts uses and creations; orders them when the clock does not move.
    uses: u64,
    /// Creations that wait for room, in order.
    queue: room::Queue,
    /// The largest creation that found no room since a batch was last begun.
    unmet: Option<ByteSize>,
    directories: Directories,
    files: Files,
    /// Batches that are being written, by file.
    batches: spilling::Batches,
    departures: report::Departures,
    /// The most bytes that were ever in use.
    peak: ByteSize,
}

/// Why a copy is here, and hence what may become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyKind {
    /// The copy the owner counts on.
    Primary,
    /// The same, of an object that its task can make again.
    Rebuildable,
    /// A copy of one that is elsewhere.
    Cached,
}

/// Where in its life a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// Somebody is writing it; nobody can read it.
    Creating,
    /// Complete and immutable, in memory.
    Sealed,
    /// The same, and being written to disk.
    Spilling,
    /// On disk only.
    Spilled,
    /// On disk, and being read into memory.
    Restoring,
}

/// Why a copy left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// A cached copy made room.
    Evicted,
    /// A copy that is on disk made room.
    Spilled,
    /// A primary copy made room: its task can make it again.
    Rebuildable,
    /// A fault plan wanted it.
    Forced,
    /// The copy on disk is damaged or gone, and there was no other here.
    Lost,
}

/// A copy that left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Which.
    pub id: ObjectId,
    /// Its length.
    pub size: ByteSize,
    /// When.
    pub at: Nanos,
    /// Why.
    pub why: Departure,
}

/// A creation that found room.
#[derive(Debug)]
#[must_use = "the copies that went must be reported to whoever tracks copies"]
pub struct Created {
    /// Where to write. Dropping it without `seal` ends the creation.
    pub region: Region,
    /// The copies that made room, in the order they went.
    pub evicted: Vec<Departed>,
}

#[derive(Debug)]
struct Entry {
    size: ByteSize,
    copy: CopyKind,
    /// Tells the creations of one name apart.
    life: u64,
    created: Nanos,
    used: Nanos,
    /// Its key in `orders`, whenever it is there.
    stamp: u64,
    listed: Option<Order>,
    memory: Memory,
    disk: Option<Place>,
    /// Part of a batch that is being written.
    spilling: bool,
}

#[derive(Debug)]
enum Memory {
    /// The creator holds the region.
    Creating(Watch),
    /// The table's own handle, lent to nobody.
    Sealed(View),
    /// On disk only.
    Absent,
    /// On disk; whoever restores it holds the region.
    Restoring(Watch),
}

#[derive(Debug)]
struct Lingering {
    charge: ByteSize,
    watch: Watch,
}

impl Entry {
    /// Whether whoever was to write the region dropped it.
    fn is_abandoned(&self) -> bool {
        matches!(&self.memory, Memory::Creating(watch) | Memory::Restoring(watch) if !watch.is_held())
    }

    fn charge(&self) -> ByteSize {
        ByteSize(arena::charge(self.size.0))
    }

    fn sealed(&self) -> Option<&View> {
        match &self.memory {
            Memory::Sealed(view) => Some(view),
            Memory::Creating(_) | Memory::Absent | Memory::Restoring(_) => None,
        }
    }

    fn state(&self) -> ObjectState {
        match &self.memory {
            Memory::Creating(_) => ObjectState::Creating,
            Memory::Sealed(_) if self.spilling => ObjectState::Spilling,
            Memory::Sealed(_) => ObjectState::Sealed,
            Memory::Restoring(watch) if watch.is_held() => ObjectState::Restoring,
            Memory::Absent | Memory::Restoring(_) => ObjectState::Spilled,
        }
    }
}

impl Table {
    /// An empty table over an arena that nobody else allocates from, without spilling.
    pub fn new(arena: Arena) -> Self {
        Self::with(arena, SpillSettings::OFF)
    }

    /// The same with a policy for primary copies.
    pub fn with(arena: Arena, settings: SpillSettings) -> Self {
        Self {
            budget: arena.capacity(),
            arena,
            settings,
            entries: BTreeMap::new(),
            creating: BTreeSet::new(),
            orders: Orders::default(),
            pins: BTreeMap::new(),
            lingering: Vec::new(),
            sweep_at: 64,
            uses: 0,
            queue: room::Queue::default(),
            unmet: None,
            directories: Directories::new(settings.directories),
            files: Files::default(),
            batches: spilling::Batches::new(),
            departures: report::Departures::default(),
            peak: ByteSize::ZERO,
        }
    }

    /// The memory the objects are in.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Starts object `id` of `len` bytes, to be written in place and then sealed. Copies that may go are dropped for as
    /// long as the arena has no free range for it: cached ones, then clean ones, each least recently used first.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`]; [`StoreError::Full`] if dropping copies cannot make room. If the bytes that could be
    /// freed do not suffice, nothing is dropped. If they do but lie scattered between bytes in use, the error names the
    /// copies that went. Either way more will be written to disk, if that may help.
    pub fn create(&mut self, now: Nanos, id: ObjectId, len: ByteSize, copy: CopyKind) -> Result<Created, StoreError> {
        self.forget_abandoned();
        if let Some(entry) = self.entries.get(&id) {
            return Err(StoreError::Duplicate { id, state: entry.state() });
        }
        self.begin(now, id, len, copy)
    }

    /// The same for a result that its task makes again: what is here of an earlier attempt and cannot be read (it is on
    /// disk, or on its way) makes way for it, but only once there is room. Whoever brings the other one is told so when it
    /// wants to seal it.
    ///
    /// # Errors
    /// As for [`Table::create`]; `Duplicate` only if the object can be read.
    pub fn create_anew(&mut self, now: Nanos, id: ObjectId, len: ByteSize) -> Result<Created, StoreError> {
        self.forget_abandoned();
        if let Some(entry) = self.entries.get(&id).filter(|entry| entry.sealed().is_some()) {
            return Err(StoreError::Duplicate { id, state: entry.state() });
        }
        self.begin(now, id, len, CopyKind::Primary)
    }

    fn begin(&mut self, now: Nanos, id: ObjectId, len: ByteSize, copy: CopyKind) -> Result<Created, StoreError> {
        let (region, evicted) = self.make_room(now, len)?;
        self.remove(id);
        self.uses += 1;
        let memory = Memory::Creating(region.watch());
        let entry = Entry {
            size: len,
            copy,
            life: self.uses,
            created: now,
            used: now,
            stamp: 0,
            listed: None,
            memory,
            disk: None,
            spilling: false,
        };
        self.entries.insert(id, entry);
        self.creating.insert(id);
        Ok(Created { region, evicted })
    }

    /// Ends the writing of `id`, be it new or restored; from now on it can be read and never changes.
    ///
    /// # Errors
    /// The region is lost in each case: [`StoreError::Unknown`] if the creation was aborted, [`StoreError::Stale`] if
    /// it was aborted and started again, [`StoreError::Sealed`] if that has been sealed already.
    pub fn seal(&mut self, now: Nanos, id: ObjectId, region: Region) -> Result<View, StoreError> {
        self.forget_abandoned();
        let entry = self.entries.get_mut(&id).ok_or(StoreError::Unknown { id })?;
        match &entry.memory {
            Memory::Sealed(_) => return Err(StoreError::Sealed { id }),
            Memory::Absent => return Err(StoreError::Stale { id }),
            Memory::Creating(watch) | Memory::Restoring(watch) if *watch != region.watch() => {
                return Err(StoreError::Stale { id });
            }
            Memory::Creating(_) | Memory::Restoring(_) => {}
        }
        let view = region.seal();
        entry.memory = Memory::Sealed(view.clone());
        self.creating.remove(&id);
        self.touch(now, id);
        Ok(view)
    }

    /// A view of a sealed object, which counts as a use of it; `None` if it is not in memory or not sealed.
    pub fn get(&mut self, now: Nanos, id: ObjectId) -> Option<View> {
        let view = self.entries.get(&id)?.sealed()?.clone();
        self.touch(now, id);
        Some(view)
    }

    /// Whether a sealed copy is in memory.
    pub fn contains(&self, id: ObjectId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.sealed().is_some())
    }

    /// How long a sealed object in memory is.
    pub fn size(&self, id: ObjectId) -> Option<ByteSize> {
        self.entries.get(&id).filter(|entry| entry.sealed().is_some()).map(|entry| entry.size)
    }

    /// Keeps `id` in memory until as many calls of [`Table::unpin`]. For running tasks and pulls, which need the object
    /// to stay before they read it.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] if it is neither in memory nor on its way there.
    pub fn pin(&mut self, id: ObjectId) -> Result<(), StoreError> {
        self.forget_abandoned();
        match self.entries.get(&id) {
            None | Some(Entry { memory: Memory::Absent, .. }) => return Err(StoreError::Unknown { id }),
            Some(_) if mobula_protocol::planted!("store-frees-pinned") => {}
            Some(_) => *self.pins.entry(id).or_default() += 1,
        }
        self.enlist(id);
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

    /// Whether `id` has a pin; see [`Table::pin`].
    pub fn is_pinned(&self, id: ObjectId) -> bool {
        self.pins.contains_key(&id)
    }

    /// Makes the copy of `id` one that stays: a cached one because the former primary is lost, any because its owner
    /// wants the value on several nodes. It may be spilled, but is never dropped to make room.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn promote(&mut self, id: ObjectId) -> Result<(), StoreError> {
        self.forget_abandoned();
        let entry = self.entries.get_mut(&id).ok_or(StoreError::Unknown { id })?;
        if entry.copy != CopyKind::Primary {
            entry.copy = CopyKind::Primary;
            self.enlist(id);
        }
        Ok(())
    }

    /// The owner of the primary copy of `id` was told of it, and its task can make it again: under
    /// [`MemoryPolicy::Evict`] it may go. Of another copy, changes nothing.
    pub fn rebuildable(&mut self, id: ObjectId) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.copy == CopyKind::Primary) else { return };
        entry.copy = CopyKind::Rebuildable;
        self.enlist(id);
    }

    /// Gives up the creation of `id`, or its restoring: then it is on disk as before. Its bytes go when the creator
    /// drops the region.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Sealed`].
    pub fn abort(&mut self, id: ObjectId) -> Result<(), StoreError> {
        self.forget_abandoned();
        match self.entries.get(&id).map(|entry| &entry.memory) {
            None | Some(Memory::Absent) => Err(StoreError::Unknown { id }),
            Some(Memory::Sealed(_)) => Err(StoreError::Sealed { id }),
            Some(Memory::Creating(_) | Memory::Restoring(_)) => {
                self.leave_memory(id);
                Ok(())
            }
        }
    }

    /// The same for a copy that comes from elsewhere or from disk. One that is being made here under the same name, since
    /// the fetch ended, is left alone.
    ///
    /// # Errors
    /// As [`Table::abort`].
    pub fn abort_fetch(&mut self, id: ObjectId) -> Result<(), StoreError> {
        self.forget_abandoned();
        match self.entries.get(&id) {
            Some(Entry { copy: CopyKind::Primary, memory: Memory::Creating(_), .. }) => Err(StoreError::Unknown { id }),
            _ => self.abort(id),
        }
    }

    /// Forgets `id`, whatever its state or pins, in memory and on disk: nobody refers to it any more. Its bytes go when
    /// the last view goes. Says whether it was here; deleting twice is harmless.
    pub fn delete(&mut self, id: ObjectId) -> bool {
        self.forget_abandoned();
        self.remove(id)
    }

    /// Drops the sealed copy of `id` in memory on demand, as a fault plan does. Refuses one that is needed there (an
    /// unwritten primary, pinned or viewed one) unless `forced`. Says what became of it, if it was there.
    pub fn evict(&mut self, now: Nanos, id: ObjectId, forced: bool) -> Option<Departed> {
        let entry = self.entries.get(&id)?;
        let view = entry.sealed()?;
        let idle = matches!(entry.listed, Some(Order::Cached | Order::Clean)) && view.readers() == 0;
        if !idle && !forced {
            return None;
        }
        let why = if entry.disk.is_some() { Departure::Spilled } else { Departure::Forced };
        Some(self.depart(now, id, why))
    }

    /// Notes a use of a sealed object.
    fn touch(&mut self, now: Nanos, id: ObjectId) {
        self.unlist(id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.uses += 1;
        (entry.used, entry.stamp) = (now, self.uses);
        self.enlist(id);
    }

    fn unlist(&mut self, id: ObjectId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(order) = entry.listed.take() {
            self.orders.remove(order, entry.stamp);
        }
    }

    /// Puts `id` in the list it belongs to, if any.
    fn enlist(&mut self, id: ObjectId) {
        self.unlist(id);
        let pinned = self.pins.contains_key(&id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(order) = order_of(entry, pinned, self.settings.policy) {
            entry.listed = Some(order);
            self.orders.insert(order, entry.stamp, id, entry.charge());
        }
    }

    /// Drops the memory copy for this reason.
    fn depart(&mut self, now: Nanos, id: ObjectId, why: Departure) -> Departed {
        let size = self.entries.get(&id).map_or(ByteSize::ZERO, |entry| entry.size);
        self.leave_memory(id);
        let departed = Departed { id, size, at: now, why };
        self.departures.note(departed);
        departed
    }

    /// Takes `id` out of memory; if it is not on disk either, out of the table. What is still held of it stays on the
    /// ledger as lingering.
    fn leave_memory(&mut self, id: ObjectId) {
        self.unlist(id);
        self.creating.remove(&id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (memory, charge) = (std::mem::replace(&mut entry.memory, Memory::Absent), entry.charge());
        if entry.disk.is_none() {
            self.entries.remove(&id);
        }
        let watch = match memory {
            Memory::Creating(watch) | Memory::Restoring(watch) => watch,
            // The table's own handle ends here; if it was the last, the range is free now.
            Memory::Sealed(view) => view.watch(),
            Memory::Absent => return,
        };
        if watch.is_held() {
            self.lingering.push(Lingering { charge, watch });
        }
        if self.lingering.len() >= self.sweep_at {
            self.lingering.retain(|gone| gone.watch.is_held());
            self.sweep_at = 64 + 2 * self.lingering.len();
        }
    }

    /// Takes `id` out of memory and off the disk.
    fn remove(&mut self, id: ObjectId) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        if let Some(place) = entry.disk.take() {
            self.files.release(place.file);
        }
        self.leave_memory(id);
        true
    }

    /// Removes the objects whose creator dropped the region: nothing is left of them, unless they are on disk.
    fn forget_abandoned(&mut self) {
        let entries = &mut self.entries;
        self.creating.retain(|id| {
            let abandoned = entries.get(id).is_some_and(Entry::is_abandoned);
            match entries.get_mut(id) {
                Some(entry) if abandoned && entry.disk.is_some() => entry.memory = Memory::Absent,
                Some(_) if abandoned => drop(entries.remove(id)),
                _ => {}
            }
            !abandoned
        });
    }
}

/// The list an object belongs to.
fn order_of(entry: &Entry, pinned: bool, policy: MemoryPolicy) -> Option<Order> {
    if pinned || entry.spilling || entry.sealed().is_none() {
        return None;
    }
    Some(match (entry.copy, policy) {
        (CopyKind::Cached, _) => Order::Cached,
        (CopyKind::Rebuildable, MemoryPolicy::Evict) => Order::Clean,
        _ if entry.disk.is_some() => Order::Clean,
        (CopyKind::Primary | CopyKind::Rebuildable, _) => Order::Dirty,
    })
}

impl fmt::Display for ObjectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "being created",
            Self::Sealed => "sealed",
            Self::Spilling => "being spilled",
            Self::Spilled => "spilled",
            Self::Restoring => "being restored",
        })
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evicted => "evicted",
            Self::Spilled => "spilled",
            Self::Rebuildable => "evicted, to be made again",
            Self::Forced => "evicted by force",
            Self::Lost => "lost on disk",
        })
    }
}
