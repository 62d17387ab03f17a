//! Which bundles are active: the rules of the module's documentation, by their numbers there.

use super::fetch::{Class, Object};
use super::types::{Rank, State};
use super::{ARGUMENTS, BundleId, Effect, Priority, Pull, Value};
use crate::{ByteSize, Located, ObjectId, TaskError, TaskErrorKind};

impl Pull {
    /// Brings every touched bundle into the state its objects ask for and admits what can be, until nothing changes.
    ///
    /// Ends: a bundle is deactivated here only for another of a strictly higher priority or because the held bytes
    /// exceed the room, and in both cases what is left does not let it in again within the same step.
    pub(super) fn settle(&mut self, out: &mut Vec<Effect>) {
        loop {
            while let Some(rank) = self.touched.pop_first() {
                self.review(rank, out);
            }
            self.shrink(out);
            if !self.admit_next(out) && self.touched.is_empty() {
                return;
            }
        }
    }

    /// What follows for one bundle from the classes of its objects.
    fn review(&mut self, rank: Rank, out: &mut Vec<Effect>) {
        let Some(bundle) = self.bundles.get(&rank.bundle).filter(|bundle| bundle.state != State::Ready) else { return };
        let (tally, active) = (bundle.tally, bundle.state == State::Active);
        let all_here = tally.count(Class::Here) == bundle.distinct.len();
        if tally.count(Class::Failed) > 0 {
            self.fail(rank, out);
        } else if all_here && (active || rank.priority != Priority::Args || self.is_inline(rank.bundle)) {
            self.make_ready(rank, out); // Rule 8.
        } else if tally.count(Class::Unknown) > 0 {
            self.candidates.remove(&rank);
            if active {
                self.deactivate(rank, out); // Rule 6.
            }
        } else if !active && self.exceeds_capacity(rank.bundle).is_some() {
            self.fail(rank, out); // Rule 10.
        } else if !active {
            self.candidates.insert(rank);
        }
    }

    /// Rules 2 to 4 for the first candidate. Whether it was admitted.
    fn admit_next(&mut self, out: &mut Vec<Effect>) -> bool {
        let Some(next) = self.candidates.first().copied() else { return false };
        if self.must_admit(next) {
            // Others give way only after it counts as a holder, so that a fetch both need goes on (Ray #56393); but
            // what they release is released first, because a fetch allocates its buffer when it starts.
            let mut begun = Vec::new();
            self.activate(next, &mut begun);
            self.shrink(out);
            out.append(&mut begun);
            return true;
        }
        while !self.fits(next)
            && let Some(victim) = self.last_below(next.priority)
        {
            self.yield_up(victim, out);
        }
        let admitted = self.fits(next);
        if admitted {
            self.activate(next, out);
        }
        admitted
    }

    /// Rule 5, and rule 4 for an active bundle that was admitted beyond the room.
    fn shrink(&mut self, out: &mut Vec<Effect>) {
        while self.held > self.room
            && let Some(first) = self.active.first().copied()
        {
            let last = self.active.last().copied().filter(|last| *last != first);
            let Some(victim) = last.max(self.last_below(first.priority)) else { return };
            self.yield_up(victim, out);
        }
    }

    /// Rules 2 and 9.
    pub(super) fn fits(&self, rank: Rank) -> bool {
        let new = |entry: &Object| entry.active + entry.ready == 0;
        self.held + self.needed(rank.bundle, new) <= self.room && self.leaves_room_for_results(rank)
    }

    /// Rule 9. Where no other arguments hold anything, the bundle may be of any size.
    fn leaves_room_for_results(&self, rank: Rank) -> bool {
        if rank.priority != Priority::Args || self.held_args == ByteSize::ZERO {
            return true;
        }
        let new = |entry: &Object| entry.args == 0;
        self.held_args + self.needed(rank.bundle, new) <= self.share_of_args()
    }

    pub(super) fn share_of_args(&self) -> ByteSize {
        ByteSize(self.capacity.0.saturating_mul(ARGUMENTS) / 100)
    }

    /// Rule 3, with rule 4: what is active in a lower priority does not count.
    pub(super) fn must_admit(&self, rank: Rank) -> bool {
        self.active.first().is_none_or(|first| first.priority > rank.priority)
            && (rank.priority < Priority::Args || self.ready_args == 0)
    }

    /// The last bundle that gives way to one of this priority.
    pub(super) fn last_below(&self, priority: Priority) -> Option<Rank> {
        self.active.last().max(self.queued.last()).copied().filter(|rank| rank.priority > priority)
    }

    /// Bytes of those objects of a bundle that are new to a sum.
    fn needed(&self, bundle: BundleId, new: impl Fn(&Object) -> bool) -> ByteSize {
        let objects = self.bundles.get(&bundle).map_or(&[] as &[_], |bundle| &bundle.distinct);
        let is_new = |object: &&ObjectId| self.objects.get(*object).is_none_or(&new);
        objects.iter().filter(is_new).map(|object| self.bytes(*object)).sum()
    }

    fn is_inline(&self, bundle: BundleId) -> bool {
        let inline = |object: &ObjectId| self.objects.get(object).is_some_and(|entry| entry.is_inline());
        self.bundles.get(&bundle).is_some_and(|bundle| bundle.distinct.iter().all(inline))
    }

    /// The first object with which the bundle is larger than the store, and the size of the bundle.
    fn exceeds_capacity(&self, bundle: BundleId) -> Option<(ObjectId, ByteSize)> {
        let objects = &self.bundles.get(&bundle)?.distinct;
        let total = objects.iter().map(|object| self.bytes(*object)).sum();
        let mut sum = ByteSize::ZERO;
        let first = objects.iter().find(|object| {
            sum += self.bytes(**object);
            sum > self.capacity
        })?;
        Some((*first, total))
    }

    fn activate(&mut self, rank: Rank, out: &mut Vec<Effect>) {
        self.candidates.remove(&rank);
        self.active.insert(rank);
        self.touched.insert(rank);
        self.change(rank, State::Active, out);
    }

    /// Takes memory back from an active or a queued bundle, which becomes a candidate again.
    fn yield_up(&mut self, rank: Rank, out: &mut Vec<Effect>) {
        if self.queued.contains(&rank) {
            out.push(Effect::Recalled { bundle: rank.bundle });
        }
        self.deactivate(rank, out);
        self.candidates.insert(rank);
    }

    /// An active or ready bundle waits again.
    pub(super) fn deactivate(&mut self, rank: Rank, out: &mut Vec<Effect>) {
        self.leave_sets(rank);
        self.touched.insert(rank);
        self.change(rank, State::Waiting, out);
    }

    fn make_ready(&mut self, rank: Rank, out: &mut Vec<Effect>) {
        self.leave_sets(rank);
        if rank.priority == Priority::Args {
            self.ready_args += 1;
        }
        self.change(rank, State::Ready, out);
        let value = |object: &ObjectId| match self.objects.get(object).and_then(|entry| entry.known.as_ref()) {
            Some(Located::Inline(bytes)) => Value::Inline(bytes.clone()),
            _ => Value::Local,
        };
        let asked = self.bundles.get(&rank.bundle).map_or(&[] as &[_], |bundle| &bundle.asked);
        out.push(Effect::Ready { bundle: rank.bundle, values: asked.iter().map(value).collect() });
    }

    fn fail(&mut self, rank: Rank, out: &mut Vec<Effect>) {
        let Some(bundle) = self.bundles.get(&rank.bundle) else { return };
        let own_error = bundle.distinct.iter().find_map(|object| match &self.objects.get(object)?.known {
            Some(Located::Failed(error)) if self.class_of(*object) == Class::Failed => Some((*object, error.clone())),
            _ => None,
        });
        let too_large = || {
            let (object, total) = self.exceeds_capacity(rank.bundle)?;
            let count = bundle.distinct.len();
            let message = format!(
                "{count} objects, {object} among them, are needed at once and take {total}; the store of {} has {}",
                self.own, self.capacity
            );
            Some((object, TaskError::new(TaskErrorKind::StoreFull, message)))
        };
        if let Some((object, error)) = own_error.or_else(too_large) {
            self.remove(rank.bundle, out);
            out.push(Effect::Failed { bundle: rank.bundle, object, error });
        }
    }

    /// Forgets a bundle in any state.
    pub(super) fn remove(&mut self, id: BundleId, out: &mut Vec<Effect>) {
        let Some(bundle) = self.bundles.remove(&id) else { return };
        self.leave_sets(bundle.rank);
        if bundle.state == State::Ready && bundle.rank.priority == Priority::Args {
            self.ready_args -= 1;
        }
        for object in bundle.distinct.iter() {
            if let Some(entry) = self.objects.get_mut(object) {
                entry.wanting.remove(&bundle.rank);
                entry.active -= u32::from(bundle.state == State::Active);
                entry.ready -= u32::from(bundle.state == State::Ready);
                entry.args -= u32::from(bundle.state != State::Waiting && bundle.rank.priority == Priority::Args);
            }
            self.reconcile(*object, out);
        }
    }

    /// Rule 4, second half: whether a ready bundle of arguments may be recalled.
    pub(super) fn set_queued(&mut self, id: BundleId, queued: bool) {
        let Some(bundle) = self.bundles.get(&id) else { return };
        if !queued {
            self.queued.remove(&bundle.rank);
        } else if bundle.state == State::Ready && bundle.rank.priority == Priority::Args {
            self.queued.insert(bundle.rank);
        }
    }

    fn leave_sets(&mut self, rank: Rank) {
        self.candidates.remove(&rank);
        self.active.remove(&rank);
        self.queued.remove(&rank);
    }

    /// Moves a bundle to `next` and its objects' counts with it.
    fn change(&mut self, rank: Rank, next: State, out: &mut Vec<Effect>) {
        let Some(bundle) = self.bundles.get_mut(&rank.bundle) else { return };
        let before = std::mem::replace(&mut bundle.state, next);
        if before == State::Ready && rank.priority == Priority::Args {
            self.ready_args -= 1;
        }
        let distinct = bundle.distinct.clone();
        for object in distinct.iter() {
            let entry = self.objects.entry(*object).or_default();
            entry.active -= u32::from(before == State::Active);
            entry.active += u32::from(next == State::Active);
            entry.ready -= u32::from(before == State::Ready);
            entry.ready += u32::from(next == State::Ready);
            if rank.priority == Priority::Args {
                entry.args -= u32::from(before != State::Waiting);
                entry.args += u32::from(next != State::Waiting);
            }
            if next == State::Ready {
                entry.wanting.remove(&rank);
            } else {
                entry.wanting.insert(rank);
            }
        }
        if before == State::Ready {
            // Nothing was counted while it was ready.
            let mut tally = super::Tally::default();
            distinct.iter().for_each(|object| tally.add(self.class_of(*object)));
            if let Some(bundle) = self.bundles.get_mut(&rank.bundle) {
                bundle.tally = tally;
            }
        }
        for object in distinct.iter() {
            self.reconcile(*object, out);
        }
    }
}
