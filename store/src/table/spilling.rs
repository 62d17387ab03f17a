//! What goes to disk, when, and how it comes back. See [`crate::spill`] for the guarantees.
//!
//! Writing begins when a creation found no room, when unwritten primaries take more than the threshold of the capacity,
//! and when the store was shrunk below what is in use (as in Ray's `local_object_manager.h`). A batch is what was least
//! recently used and nobody reads, up to the fuse size or [`MOST_FUSED`] objects; a smaller one waits while another is
//! being written. The objects of a batch have one owner: so a file in shared storage, whose node dies, is taken over as a
//! whole ([`Table::adopt`]), and no file outlives its owner.

use super::{CopyKind, Departed, Departure, Entry, Memory, ObjectState, Order, Table};
use crate::spill::format::record_size;
use crate::spill::{Batch, FileName, Place, SpillFailure, Work};
use crate::{Region, StoreError, View};
use mobula_protocol::{ByteSize, Nanos, ObjectId};
use std::collections::BTreeMap;

/// The most objects that share a file, as in Ray.
pub const MOST_FUSED: usize = 2_000;

/// By file: what is being written to it.
pub(super) type Batches = BTreeMap<FileName, Vec<Written>>;

/// An object of a batch.
#[derive(Debug)]
pub(super) struct Written {
    id: ObjectId,
    /// The creation whose bytes these are.
    life: u64,
    place: Place,
}

/// A spilled object that is to be read into memory.
#[derive(Debug)]
#[must_use = "the copies that went must be reported to whoever tracks copies"]
pub struct Restore {
    /// Where it lies on disk.
    pub place: Place,
    /// Where it is to lie in memory. Give it to [`Table::seal`] when it is filled and compared.
    pub region: Region,
    /// The copies that made room.
    pub evicted: Vec<Departed>,
}

impl Table {
    /// What is to be done on disk now. Cheap when there is nothing; call it after anything happened.
    pub fn work(&mut self, now: Nanos) -> Vec<Work> {
        let mut work: Vec<Work> = self.files.take_doomed().into_iter().map(Work::Remove).collect();
        while self.wants_to_spill() {
            let Some(batch) = self.next_batch(now) else { break };
            work.push(Work::Write(batch));
        }
        work
    }

    /// When there is work although nothing happens: a directory has rested while something waits to be written.
    pub fn next_deadline(&self, now: Nanos) -> Option<Nanos> {
        if self.wants_to_spill() { self.directories.rests_until(now) } else { None }
    }

    fn wants_to_spill(&self) -> bool {
        if self.settings.directories == 0 || self.settings.policy != crate::MemoryPolicy::Spill {
            return false;
        }
        let dirty = self.orders.of(Order::Dirty).bytes();
        let threshold = ByteSize((u128::from(self.budget.0) * u128::from(self.settings.threshold) / 100) as u64);
        let starved = self.unmet.is_some() && self.directories.busy() == 0;
        dirty > ByteSize::ZERO && (starved || dirty > threshold || self.arena.used() > self.budget)
    }

    fn next_batch(&mut self, now: Nanos) -> Option<Batch> {
        let first = self.directories.busy() == 0;
        let directory = self.directories.take(now)?;
        let goal = self.settings.fuse.max(self.unmet.unwrap_or(ByteSize::ZERO).min(self.settings.fuse * 4));
        let chosen = self.choose(goal);
        let bytes: ByteSize = chosen.iter().map(|(_, view)| ByteSize(view.len() as u64)).sum();
        let is_small = bytes < self.settings.fuse && chosen.len() < MOST_FUSED;
        if chosen.is_empty() || (is_small && !first) {
            self.directories.give_back(directory);
            return None;
        }
        self.unmet = None;
        let file = self.files.create(directory);
        let mut offset = 0;
        let mut written = Vec::with_capacity(chosen.len());
        for (id, view) in &chosen {
            let place = Place { file, offset, len: ByteSize(view.len() as u64) };
            offset += record_size(place.len);
            self.unlist(*id);
            if let Some(entry) = self.entries.get_mut(id) {
                entry.spilling = true;
                written.push(Written { id: *id, life: entry.life, place });
            }
        }
        self.batches.insert(file, written);
        Some(Batch { file, objects: chosen })
    }

    /// Unwritten copies of one owner that nobody reads, least recently used first, until there are `goal` bytes. Looks at
    /// a bounded number: behind so many that are read, the others have their turn when those are read no more.
    fn choose(&self, goal: ByteSize) -> Vec<(ObjectId, View)> {
        let mut bytes = ByteSize::ZERO;
        let mut chosen: Vec<(ObjectId, View)> = Vec::new();
        for id in self.orders.of(Order::Dirty).iter().take(4 * MOST_FUSED) {
            if bytes >= goal || chosen.len() >= MOST_FUSED {
                break;
            }
            if chosen.first().is_some_and(|(first, _)| first.owner() != id.owner()) {
                continue;
            }
            let view = self.entries.get(&id).and_then(Entry::sealed).filter(|view| view.readers() == 0);
            if let Some(view) = view {
                bytes += ByteSize(view.len() as u64);
                chosen.push((id, view.clone()));
            }
        }
        chosen
    }

    /// The writing of `file` ended: well, if every object was read back and compared. Drop the batch's views first.
    /// Returns the objects that are on disk now.
    pub fn written(&mut self, now: Nanos, file: FileName, result: Result<(), SpillFailure>) -> Vec<(ObjectId, Place)> {
        self.forget_abandoned();
        let Some(batch) = self.batches.remove(&file) else { return Vec::new() };
        let (mut on_disk, mut bytes) = (Vec::new(), ByteSize::ZERO);
        for Written { id, life, place } in batch {
            bytes += place.len;
            let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.life == life) else { continue };
            entry.spilling = false;
            if result.is_ok() {
                entry.disk = Some(place);
                on_disk.push((id, place));
            }
            self.enlist(id);
        }
        self.files.written(file, on_disk.len() as u32, bytes);
        match result {
            Ok(()) => {
                self.directories.succeeded(file.directory);
                self.progressed(now);
            }
            Err(why) => self.directories.failed(file.directory, now, why),
        }
        on_disk
    }

    /// The removal of `file` ended. One that failed is asked for again, a few times.
    pub fn removed(&mut self, file: FileName, done: bool) {
        self.files.removed(file, done);
    }

    /// Where `id` lies on disk, if it does.
    pub fn place(&self, id: ObjectId) -> Option<Place> {
        self.entries.get(&id)?.disk
    }

    /// `id` lies at `place`, in a file that a dead node wrote to shared storage: from now on it is spilled here, as the
    /// primary copy, and the file goes when nothing in it is needed any more. A copy in memory stays and is clean then; one
    /// that is on its way is given up, as it comes from the dead. Says whether there is a copy here now: there is none if
    /// the object is being made here, or its file is being removed.
    pub fn adopt(&mut self, now: Nanos, id: ObjectId, place: Place) -> bool {
        self.forget_abandoned();
        if self.entries.get(&id).is_some_and(|entry| entry.disk.is_some() || entry.spilling) {
            return true;
        }
        if self.files.is_doomed(place.file) {
            return self.contains(id);
        }
        let fetched = |entry: &Entry| entry.copy == CopyKind::Cached && entry.sealed().is_none();
        if self.entries.get(&id).is_some_and(fetched) {
            self.leave_memory(id);
        }
        match self.entries.get_mut(&id) {
            Some(entry) if entry.sealed().is_none() || entry.size != place.len => return false,
            Some(entry) => {
                entry.disk = Some(place);
                entry.copy = CopyKind::Primary;
                self.enlist(id);
            }
            None => {
                self.uses += 1;
                let entry = Entry {
                    size: place.len,
                    copy: CopyKind::Primary,
                    life: self.uses,
                    created: now,
                    used: now,
                    stamp: 0,
                    listed: None,
                    memory: Memory::Absent,
                    disk: Some(place),
                    spilling: false,
                };
                self.entries.insert(id, entry);
            }
        }
        self.files.adopt(place.file, place.len);
        true
    }

    /// Starts reading `id` back into memory.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] if it is not on disk; [`StoreError::Duplicate`] if it is in memory or on its way there;
    /// [`StoreError::Full`] as in [`Table::create`].
    pub fn restore(&mut self, now: Nanos, id: ObjectId) -> Result<Restore, StoreError> {
        self.forget_abandoned();
        let entry = self.entries.get(&id).ok_or(StoreError::Unknown { id })?;
        let place = match (&entry.memory, entry.disk) {
            (Memory::Absent, Some(place)) => place,
            _ => return Err(StoreError::Duplicate { id, state: entry.state() }),
        };
        let (region, evicted) = self.make_room(now, place.len)?;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.memory = Memory::Restoring(region.watch());
        }
        self.creating.insert(id);
        Ok(Restore { place, region, evicted })
    }

    /// The copy at `place` is damaged or gone. If it was the only one here, the object is too: then says so. One that is
    /// in memory as well will be written again.
    pub fn lose_spilled(&mut self, now: Nanos, id: ObjectId, place: Place) -> Option<Departed> {
        self.forget_abandoned();
        let entry = self.entries.get_mut(&id).filter(|entry| entry.disk == Some(place))?;
        entry.disk = None;
        let in_memory = matches!(entry.state(), ObjectState::Sealed | ObjectState::Spilling);
        self.files.release(place.file);
        if in_memory {
            self.enlist(id);
            return None;
        }
        Some(self.depart(now, id, Departure::Lost))
    }
}
