//! What leaves the store's memory and comes back to it, and who is told.

use super::core::Core;
use super::words::Output;
use crate::api::MemoryReport;
use mobula_protocol::pull::{self, FetchFailure};
use mobula_protocol::{Attempt, ByteSize, Message, ObjectId, ResultPlace, SharedPlace, TaskId, TaskResult};
use mobula_store::spill::{FileName, Place, SpillFailure, Work};
use mobula_store::{Departed, Departure, ObjectState, StoreError};

impl Core {
    /// Has done what the table wants done on disk.
    pub(super) fn relieve(&mut self) {
        let work = self.objects.table().work(self.now);
        for work in work {
            match work {
                Work::Write(batch) => {
                    let bytes: ByteSize = batch.objects.iter().map(|(_, view)| ByteSize(view.len() as u64)).sum();
                    self.log("spill", format_args!("{} objects {bytes} to {}", batch.objects.len(), batch.file));
                    self.out.push(Output::Spill(batch));
                }
                Work::Remove(file) => self.out.push(Output::RemoveFile(file)),
            }
        }
    }

    /// A batch was written or failed: either way, whoever waits for room looks again.
    pub(super) fn spilled(&mut self, file: FileName, result: Result<(), SpillFailure>) {
        if let Err(why) = &result {
            self.log("spill failed", format_args!("{file}: {why}"));
        }
        let written = self.objects.table().written(self.now, file, result);
        self.objects.freed();
        written.into_iter().for_each(|(object, place)| self.announce(object, place));
    }

    /// Tells the owner of a spilled object where it lies, if that outlives this node.
    fn announce(&mut self, object: ObjectId, place: Place) {
        if let Some(place) = self.objects.spill.shared(place).filter(|_| object.owner() != self.me) {
            self.farewells.push((object.owner(), Message::CopySpilled { object, place }));
        }
    }

    /// The same for results that are only being reported: their owner could not know what to make of it before.
    pub(super) fn announce_results(&mut self, task: TaskId, first: u32, results: &[TaskResult]) {
        if !self.objects.spill.has_shared() {
            return;
        }
        for (index, result) in (first..).zip(results) {
            let object = task.result(index);
            let place = match result.place {
                ResultPlace::Stored(_) => self.objects.table().place(object),
                ResultPlace::Inline(_) => None,
            };
            place.into_iter().for_each(|place| self.announce(object, place));
        }
    }

    /// A copy of an object of ours lies in shared storage, and its node is dead: this node reads it there from now on.
    pub(super) fn take_over(&mut self, object: ObjectId, size: ByteSize, shared: &SharedPlace) {
        self.log("take-over", format_args!("{object} at {shared}"));
        let place = self.objects.spill.locate(shared, size);
        let here = self.objects.table().adopt(self.now, object, place);
        if self.objects.table().place(object) == Some(place) {
            self.objects.spill.adopt(place.file);
        }
        if !here {
            self.farewells.push((self.me, Message::CopyRemoved(object)));
        } else if self.is_spilled(object) {
            self.tell_pull(pull::Event::Spilled { object });
        }
    }

    /// A copy left memory. The owner goes on counting on one that is still on disk.
    ///
    /// The news of it comes from whichever thread made the room, and so may come after that of a newer copy: then there is
    /// nothing to tell, or the owner would forget the copy that is here.
    pub(super) fn departed(&mut self, departed: Departed) {
        let Departed { id: object, why, .. } = departed;
        self.log("evict", format_args!("{object} {why}"));
        if self.objects.table().contains(object) || (why != Departure::Spilled && self.is_spilled(object)) {
            return;
        }
        match why {
            // Unless it is back, or was freed, by now.
            Departure::Spilled if self.is_spilled(object) => self.tell_pull(pull::Event::Spilled { object }),
            Departure::Spilled => {}
            Departure::Rebuildable => {
                self.tell_pull(pull::Event::Gone { object });
                self.farewells.push((object.owner(), Message::CopyEvicted(object)));
            }
            Departure::Evicted | Departure::Forced | Departure::Lost => {
                self.tell_pull(pull::Event::Gone { object });
                if !mobula_protocol::planted!("node-answers-stale") {
                    self.farewells.push((object.owner(), Message::CopyRemoved(object)));
                }
            }
        }
    }

    /// The results of a finished attempt that a full store may drop, if its policy is that.
    pub(super) fn may_be_rebuilt(&mut self, task: TaskId, attempt: Attempt, results: &[TaskResult]) {
        if !self.attempts.get(&(task, attempt)).is_some_and(|running| running.rebuildable) {
            return;
        }
        for (index, result) in (0..).zip(results) {
            if matches!(result.place, ResultPlace::Stored(_)) {
                self.objects.table().rebuildable(task.result(index));
            }
        }
    }

    /// Tells the pull machine that an object is not in memory, although the news of how it left is still on its way.
    pub(super) fn absent(&mut self, object: ObjectId) {
        let spilled = self.is_spilled(object);
        self.tell_pull(if spilled { pull::Event::Spilled { object } } else { pull::Event::Gone { object } });
    }

    fn is_spilled(&self, object: ObjectId) -> bool {
        let table = self.objects.table();
        table.place(object).is_some() && !table.contains(object)
    }

    /// The copy here is the one its owner counts on from now on. If it has just gone, the owner is about to hear of it.
    /// What its task can make again is no more in the way here than on the node that made it: under the policy to evict,
    /// a store full of copies that became the last ones would never take another.
    pub(super) fn promote(&mut self, object: ObjectId, rebuildable: bool) {
        let promoted = self.objects.table().promote(object);
        if promoted.is_ok() {
            if rebuildable {
                self.objects.table().rebuildable(object);
            }
            self.log("promote", format_args!("{object}"));
        }
    }

    /// A spilled copy cannot be read. If it was the only one here, the owner looks for another, or has it made again.
    pub(super) fn spill_lost(&mut self, object: ObjectId, place: Place, why: &SpillFailure) {
        self.log("spill lost", format_args!("{object} in {}: {why}", place.file));
        let lost = self.objects.table().lose_spilled(self.now, object, place);
        if let Some(departed) = lost {
            self.departed(departed);
        }
    }

    /// Reads a spilled object back, as the pull machine wishes.
    pub(super) fn restore(&mut self, object: ObjectId, attempt: Attempt) {
        let failed = |why| pull::Event::FetchFailed { object, attempt, why };
        match self.objects.restore(self.now, object) {
            Ok((place, region)) => {
                self.log("restore", format_args!("{object} {} from {}", place.len, place.file));
                self.out.push(Output::Restore { object, attempt, place, region });
            }
            Err(StoreError::Duplicate { state, .. }) => {
                let size = self.objects.table().size(object).unwrap_or(ByteSize::ZERO);
                self.is_here(object, attempt, size, state);
            }
            // It has just been freed, or proved damaged: the owner is about to say what next.
            Err(StoreError::Unknown { .. }) => self.tell_pull(failed(FetchFailure::Corrupt(None))),
            Err(_) => self.tell_pull(failed(FetchFailure::NoMemory)),
        }
    }

    /// What was to be fetched is here already, or on its way by other means.
    pub(super) fn is_here(&mut self, object: ObjectId, attempt: Attempt, size: ByteSize, state: ObjectState) {
        match state {
            ObjectState::Sealed | ObjectState::Spilling => self.tell_pull(pull::Event::Local { object, size }),
            ObjectState::Spilled => self.restore(object, attempt),
            // Whoever writes it will be done soon; until then it cannot be read.
            ObjectState::Creating | ObjectState::Restoring => {
                self.tell_pull(pull::Event::FetchFailed { object, attempt, why: FetchFailure::NoMemory });
            }
        }
    }

    /// Drops a copy in memory on demand. Says whether there was one that could go.
    pub(super) fn evict(&mut self, object: ObjectId, forced: bool) -> bool {
        let evicted = self.objects.table().evict(self.now, object, forced);
        evicted.is_some_and(|departed| {
            self.departed(departed);
            true
        })
    }

    /// What is in the store, for people.
    pub(super) fn memory(&self) -> MemoryReport {
        MemoryReport::of(self.now, self.name_of(self.me), self.me, self.owner.holdings(), &self.objects.table())
    }

    /// Changes the budget of the store; what is above it goes as it can.
    pub(super) fn shrink(&mut self, budget: ByteSize) {
        self.log("shrink", format_args!("store to {budget}"));
        let departed = self.objects.table().shrink(self.now, budget);
        departed.into_iter().for_each(|departed| self.departed(departed));
    }
}
