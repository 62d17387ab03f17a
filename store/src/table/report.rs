//! What the table holds, for people and for the checker. Ray has no such account (ray-core O12): it reports references.

use super::{CopyKind, Entry, ObjectState, State, Table};
use mobula_protocol::{ByteSize, Nanos, ObjectId, Violation};

/// Where the bytes are. `sealed_primary + sealed_cached + creating + lingering` is what the arena has handed out; each
/// object is counted as rounded up to [`crate::ALIGN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The budget.
    pub capacity: ByteSize,
    /// Sealed primary copies.
    pub sealed_primary: ByteSize,
    /// Sealed cached copies.
    pub sealed_cached: ByteSize,
    /// Objects being written.
    pub creating: ByteSize,
    /// Of the above, those that are pinned.
    pub pinned: ByteSize,
    /// Deleted, evicted or aborted, but still held by a view or a writer.
    pub lingering: ByteSize,
    /// How many objects are being created or sealed.
    pub objects: usize,
    /// How many pins there are, on whatever.
    pub pins: u64,
}

impl Usage {
    /// Every byte that is accounted for.
    pub fn total(&self) -> ByteSize {
        self.sealed_primary + self.sealed_cached + self.creating + self.lingering
    }
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
    /// When its creation began.
    pub created: Nanos,
    /// When it was last sealed or read.
    pub last_used: Nanos,
}

impl Table {
    /// Every object that is being created or sealed, by id.
    pub fn objects(&self) -> impl Iterator<Item = ObjectInfo> {
        self.present().map(|(id, entry)| ObjectInfo {
            id,
            size: entry.size,
            state: if entry.sealed().is_some() { ObjectState::Sealed } else { ObjectState::Creating },
            copy: entry.copy,
            pins: self.pins.get(&id).copied().unwrap_or(0),
            views: entry.sealed().map_or(0, |view| view.readers()),
            created: entry.created,
            last_used: entry.used,
        })
    }

    /// The account of all bytes. Reads every object.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage { capacity: self.arena.capacity(), ..Usage::default() };
        for (id, entry) in self.present() {
            let charge = entry.charge();
            match (&entry.state, entry.copy) {
                (State::Creating(_), _) => usage.creating += charge,
                (State::Sealed(_), CopyKind::Primary) => usage.sealed_primary += charge,
                (State::Sealed(_), CopyKind::Cached) => usage.sealed_cached += charge,
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
        Violation::unless(used <= capacity, "bytes used <= budget (I21)", || format!("{used} of {capacity}"))?;
        for (id, entry) in &self.entries {
            let evictable = entry.copy == CopyKind::Cached && entry.sealed().is_some() && !self.pins.contains_key(id);
            let listed = self.lru.get(&entry.stamp) == Some(id);
            Violation::unless(evictable == listed, "only unpinned cached copies are evicted (I20)", || {
                format!("object {id}: evictable {evictable}, listed for eviction {listed}")
            })?;
            let creating = entry.sealed().is_none();
            Violation::unless(creating == self.creating.contains(id), "creations are listed (I18)", || {
                format!("object {id}: creating {creating}")
            })?;
            let whole = entry.sealed().is_none_or(|view| view.len() as u64 == entry.size.0);
            Violation::unless(whole, "sealed objects are complete (I18)", || format!("object {id} of {}", entry.size))?;
        }
        let stray = self.lru.values().chain(&self.creating).find(|id| !self.entries.contains_key(id));
        Violation::unless(stray.is_none(), "the lists name objects of the table", || format!("{stray:?}"))?;
        let unpinned = self.pins.iter().find(|(_, pins)| **pins == 0);
        Violation::unless(unpinned.is_none(), "a pin counts at least one", || format!("{unpinned:?}"))
    }

    fn present(&self) -> impl Iterator<Item = (ObjectId, &Entry)> {
        self.entries.iter().filter(|(_, entry)| !entry.is_abandoned()).map(|(id, entry)| (*id, entry))
    }
}
