//! What the table holds, for people and for the checker. Ray has no such account: `ray memory` reports references.

use super::{CopyKind, Departed, Departure, Entry, Memory, ObjectState, Table, order_of};
use crate::spill::FileName;
use mobula_protocol::{ByteSize, Nanos, ObjectId, OwnerId, Violation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// How many departures are remembered.
const REMEMBERED: usize = 1_024;

/// Where the bytes are. `sealed_primary + sealed_cached + creating + lingering` is what the arena has handed out; each
/// object in memory is counted as rounded up to [`crate::ALIGN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The budget.
    pub capacity: ByteSize,
    /// Sealed primary copies, also those that are on disk as well.
    pub sealed_primary: ByteSize,
    /// Sealed cached copies.
    pub sealed_cached: ByteSize,
    /// Objects being written or restored.
    pub creating: ByteSize,
    /// Of the above, those that are pinned.
    pub pinned: ByteSize,
    /// Of the sealed primary copies, those that are being written to disk.
    pub spilling: ByteSize,
    /// Deleted, evicted or aborted, but still held by a view or a writer.
    pub lingering: ByteSize,
    /// On disk only: their lengths.
    pub spilled: ByteSize,
    /// How many of those there are.
    pub spilled_objects: usize,
    /// The spill files, and those being written or about to be removed.
    pub files: usize,
    /// Bytes of the objects in them, those of dead ones in files that are still needed included.
    pub file_bytes: ByteSize,
    /// How many objects are in memory, or on their way there.
    pub objects: usize,
    /// How many pins there are, on whatever.
    pub pins: u64,
    /// The most bytes that were ever in use at the same time.
    pub peak: ByteSize,
    /// How many copies left memory, and why.
    pub departed: DepartedCounts,
}

/// How many copies left memory since the table began, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartedCounts {
    /// See [`Departure::Evicted`].
    pub evicted: u64,
    /// See [`Departure::Spilled`].
    pub spilled: u64,
    /// See [`Departure::Rebuildable`].
    pub rebuildable: u64,
    /// See [`Departure::Forced`].
    pub forced: u64,
    /// See [`Departure::Lost`].
    pub lost: u64,
}

/// The last departures, and counts of all.
#[derive(Debug, Default)]
pub(super) struct Departures {
    last: VecDeque<Departed>,
    counts: DepartedCounts,
}

/// The bytes one owner has in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerUsage {
    /// In memory, rounded up as in [`Usage`].
    pub memory: ByteSize,
    /// On disk only.
    pub spilled: ByteSize,
    /// How many objects.
    pub objects: usize,
}

/// One object of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Which.
    pub id: ObjectId,
    /// Its length in bytes.
    pub size: ByteSize,
    /// Where in its life it is.
    pub state: ObjectState,
    /// Why it is here.
    pub copy: CopyKind,
    /// How many pins hold it.
    pub pins: u32,
    /// How many views (or groups of `Bytes` made from one) hold it.
    pub views: usize,
    /// The file it is in on disk, if it is.
    pub file: Option<FileName>,
    /// When its creation began.
    pub created: Nanos,
    /// When it was last sealed or read.
    pub last_used: Nanos,
}

impl Usage {
    /// Every byte of memory that is accounted for.
    pub fn total(&self) -> ByteSize {
        self.sealed_primary + self.sealed_cached + self.creating + self.lingering
    }
}

impl Departures {
    pub fn note(&mut self, departed: Departed) {
        let counts = &mut self.counts;
        *match departed.why {
            Departure::Evicted => &mut counts.evicted,
            Departure::Spilled => &mut counts.spilled,
            Departure::Rebuildable => &mut counts.rebuildable,
            Departure::Forced => &mut counts.forced,
            Departure::Lost => &mut counts.lost,
        } += 1;
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(departed);
    }
}

impl Table {
    /// Every object that is being created, sealed or spilled, by id.
    pub fn objects(&self) -> impl Iterator<Item = ObjectInfo> {
        self.present().map(|(id, entry)| ObjectInfo {
            id,
            size: entry.size,
            state: entry.state(),
            copy: entry.copy,
            pins: self.pins.get(&id).copied().unwrap_or(0),
            views: entry.sealed().map_or(0, |view| view.readers()),
            file: entry.disk.map(|place| place.file),
            created: entry.created,
            last_used: entry.used,
        })
    }

    /// The last copies that left memory, oldest first: what went, when and why. At most a thousand.
    pub fn departures(&self) -> impl Iterator<Item = &Departed> {
        self.departures.last.iter()
    }

    /// The bytes by owner. Reads every object.
    pub fn by_owner(&self) -> BTreeMap<OwnerId, OwnerUsage> {
        let mut owners: BTreeMap<OwnerId, OwnerUsage> = BTreeMap::new();
        for (id, entry) in self.present() {
            let usage = owners.entry(id.owner()).or_default();
            usage.objects += 1;
            match entry.state() {
                ObjectState::Spilled => usage.spilled += entry.size,
                _ => usage.memory += entry.charge(),
            }
        }
        owners
    }

    /// The account of all bytes. Reads every object.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage {
            capacity: self.budget,
            files: self.files.len(),
            file_bytes: self.files.bytes(),
            peak: self.peak,
            departed: self.departures.counts,
            ..Usage::default()
        };
        for (id, entry) in self.present() {
            let charge = entry.charge();
            match (&entry.memory, entry.copy) {
                (Memory::Creating(_), _) => usage.creating += charge,
                (Memory::Restoring(watch), _) if watch.is_held() => usage.creating += charge,
                (Memory::Absent | Memory::Restoring(_), _) => {
                    usage.spilled += entry.size;
                    usage.spilled_objects += 1;
                    continue;
                }
                (Memory::Sealed(_), CopyKind::Cached) => usage.sealed_cached += charge,
                (Memory::Sealed(_), CopyKind::Primary | CopyKind::Rebuildable) => usage.sealed_primary += charge,
            }
            if entry.spilling {
                usage.spilling += charge;
            }
            if self.pins.contains_key(&id) {
                usage.pinned += charge;
            }
            usage.objects += 1;
        }
        usage.lingering = self.lingering.iter().filter(|gone| gone.watch.is_held()).map(|gone| gone.charge).sum();
        usage.pins = self.pins.values().map(|n| u64::from(*n)).sum();
        usage
    }

    /// Checks the table against itself and against the arena. Exact even while other threads drop views.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        let (used, total) = self.arena.while_still(|used| (used, self.usage().total()));
        Violation::unless(used == total, "accounted = sum of allocations (I21)", || {
            format!("the table accounts for {} bytes, the arena handed out {}", total.0, used.0)
        })?;
        let capacity = self.arena.capacity();
        Violation::unless(self.peak <= capacity, "bytes used <= budget (I21)", || {
            format!("{} of {capacity}", self.peak)
        })?;
        for (id, entry) in &self.entries {
            self.check_entry(*id, entry)?;
        }
        let listed = self.entries.values().filter(|entry| entry.listed.is_some()).count();
        Violation::unless(listed == self.orders.len(), "the lists name objects of the table", || {
            format!("{listed} objects are listed, the lists have {}", self.orders.len())
        })?;
        let stray = self.creating.iter().find(|id| !self.entries.contains_key(id));
        Violation::unless(stray.is_none(), "the lists name objects of the table", || format!("{stray:?}"))?;
        let unpinned = self.pins.iter().find(|(_, pins)| **pins == 0);
        Violation::unless(unpinned.is_none(), "a pin counts at least one", || format!("{unpinned:?}"))?;
        let mut referred: BTreeMap<FileName, u32> = BTreeMap::new();
        for place in self.entries.values().filter_map(|entry| entry.disk) {
            *referred.entry(place.file).or_default() += 1;
        }
        self.files.check(&referred)
    }

    fn check_entry(&self, id: ObjectId, entry: &Entry) -> Result<(), Violation> {
        let wanted = order_of(entry, self.pins.contains_key(&id), self.settings.policy);
        let lists = self.orders.lists(entry.stamp, id);
        let right = entry.listed == wanted && lists == Vec::from_iter(wanted);
        Violation::unless(right, "only copies that may go are listed to go (I20)", || {
            format!("object {id}: belongs to {wanted:?}, is in {lists:?}")
        })?;
        let creating = matches!(entry.memory, Memory::Creating(_) | Memory::Restoring(_));
        Violation::unless(creating == self.creating.contains(&id), "creations are listed (I18)", || {
            format!("object {id}: creating {creating}")
        })?;
        let on_disk = entry.disk.is_some();
        let right = match &entry.memory {
            Memory::Creating(_) => !on_disk && !entry.spilling,
            Memory::Sealed(_) => !(on_disk && entry.spilling),
            Memory::Absent | Memory::Restoring(_) => on_disk && !entry.spilling,
        };
        Violation::unless(right, "states follow the transition table (I18)", || {
            format!("object {id}: {}, on disk {on_disk}, being written {}", entry.state(), entry.spilling)
        })?;
        let whole = entry.sealed().is_none_or(|view| view.len() as u64 == entry.size.0);
        Violation::unless(whole, "sealed objects are complete (I18)", || format!("object {id} of {}", entry.size))
    }

    /// What is there: all but creations that were given up.
    fn present(&self) -> impl Iterator<Item = (ObjectId, &Entry)> {
        let there = |entry: &Entry| entry.disk.is_some() || !entry.is_abandoned();
        self.entries.iter().filter(move |(_, entry)| there(entry)).map(|(id, entry)| (*id, entry))
    }
}
