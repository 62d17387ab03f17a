//! References of this process to objects that other processes own.
//!
//! # Who registers whom
//! Whoever sends a reference in an argument or a result registers the receiver with the owner first. A reference that is
//! *read*, out of a value that somebody else keeps, has no sender who knows of it: the reader registers himself. Until the
//! owner has confirmed that ([`Message::BorrowAdded`]), what keeps the value must not end, because news of that end takes
//! another way to the owner and may be faster. So until then
//! - the end of the attempt that read the reference is not reported: its caller keeps its arguments so long;
//! - no registration is given back that this process held when it asked: the value may be the one in question.
//!
//! Ray has readers report to whoever lent the value, up the tree of tasks (#63025, #19910 are about its corners); the
//! Ownership paper (NSDI'21) leaves the race to that.
//!
//! # Guarantee
//! While a reference is in use here, its owner knows a holder of it (invariant I26): at first that of the value, then this
//! process.
//!
//! # Must not happen
//! A report that waits for an owner whose object its attempt has not read: a partition would then stop a whole node.

use super::core::Core;
use mobula_protocol::{Attempt, Incarnation, Message, ObjectId, TaskId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[cfg(test)]
mod tests;

/// An attempt on this node.
pub(super) type Reader = (TaskId, Attempt);

/// Counts uses of foreign objects, and the registrations their owners have of this process.
#[derive(Clone, Debug)]
pub(super) struct Holds {
    me: Incarnation,
    held: BTreeMap<ObjectId, Hold>,
    /// Registrations asked for so far; they are numbered.
    asked: u64,
    /// Those that no owner has confirmed: of which object, and who has read a reference to it meanwhile.
    unconfirmed: BTreeMap<u64, (ObjectId, BTreeSet<Reader>)>,
    /// The same by object.
    numbers: BTreeSet<(ObjectId, u64)>,
    /// How many of them each attempt waits for.
    readers: BTreeMap<Reader, usize>,
    /// Registrations to give back, each once all up to this number are confirmed.
    returns: VecDeque<(u64, ObjectId)>,
}

#[derive(Clone, Debug, Default)]
struct Hold {
    /// Handles, tasks, values and loans in this process.
    uses: u64,
    /// Registrations at the owner; all are given back when the last use ends.
    registered: u64,
}

impl Holds {
    pub fn new(me: Incarnation) -> Self {
        Self {
            me,
            held: BTreeMap::new(),
            asked: 0,
            unconfirmed: BTreeMap::new(),
            numbers: BTreeSet::new(),
            readers: BTreeMap::new(),
            returns: VecDeque::new(),
        }
    }

    /// One more use. Returns whether the owner must be asked for a registration, because there is none yet.
    pub fn hold(&mut self, object: ObjectId) -> bool {
        debug_assert!(object.owner() != self.me, "{object} is our own");
        let hold = self.held.entry(object).or_default();
        hold.uses += 1;
        let first = hold.registered == 0;
        hold.registered += u64::from(first);
        if first {
            self.asked += 1;
            self.unconfirmed.insert(self.asked, (object, BTreeSet::new()));
            self.numbers.insert((object, self.asked));
        }
        first
    }

    /// An attempt has read a reference that is held.
    pub fn read(&mut self, object: ObjectId, by: Reader) {
        let newest = self.numbers.range((object, 0)..=(object, u64::MAX)).next_back();
        if let Some((_, number)) = newest
            && let Some((_, readers)) = self.unconfirmed.get_mut(number)
            && readers.insert(by)
        {
            *self.readers.entry(by).or_default() += 1;
        }
    }

    /// One more use, which the sender of the reference has registered.
    pub fn inherit(&mut self, object: ObjectId) {
        let hold = self.held.entry(object).or_default();
        hold.uses += 1;
        hold.registered += 1;
    }

    /// One use fewer. After the last one all registrations are to be given back; see [`Holds::returns`].
    pub fn unhold(&mut self, object: ObjectId) {
        let Some(hold) = self.held.get_mut(&object) else { return };
        hold.uses -= 1;
        if hold.uses > 0 {
            return;
        }
        let all = self.held.remove(&object).map_or(0, |hold| hold.registered);
        let all = if mobula_protocol::planted!("holds-return-one") { all.min(1) } else { all };
        self.returns.extend((0..all).map(|_| (self.asked, object)));
    }

    /// The owner has confirmed a registration; it does so in the order in which it was asked.
    pub fn confirmed(&mut self, object: ObjectId) {
        if let Some((_, number)) = self.numbers.range((object, 0)..=(object, u64::MAX)).next().copied() {
            self.settle(object, number);
        }
    }

    /// Nothing is to be expected of this owner any more.
    pub fn owner_died(&mut self, dead: Incarnation) {
        let lost: Vec<_> = self.numbers.iter().filter(|(object, _)| object.owner() == dead).copied().collect();
        lost.into_iter().for_each(|(object, number)| self.settle(object, number));
    }

    fn settle(&mut self, object: ObjectId, number: u64) {
        self.numbers.remove(&(object, number));
        let (_, readers) = self.unconfirmed.remove(&number).unwrap_or((object, BTreeSet::new()));
        for reader in readers {
            if let Some(count) = self.readers.get_mut(&reader) {
                *count -= 1;
                if *count == 0 {
                    self.readers.remove(&reader);
                }
            }
        }
    }

    /// Whether an attempt has read a reference that its owner does not know to be here.
    pub fn waits(&self, reader: Reader) -> bool {
        self.readers.contains_key(&reader)
    }

    /// Registrations to give back now, one for each time an object is named.
    pub fn returns(&mut self) -> Vec<ObjectId> {
        let oldest = self.unconfirmed.keys().next().copied().unwrap_or(u64::MAX);
        let ready = self.returns.partition_point(|(asked, _)| *asked < oldest);
        self.returns.drain(..ready).map(|(_, object)| object).collect()
    }

    /// Objects whose owners have not confirmed that this process holds them.
    pub fn unconfirmed(&self) -> impl Iterator<Item = ObjectId> {
        self.unconfirmed.values().map(|(object, _)| *object)
    }

    /// How many foreign objects are referenced here, or have a registration that was not given back yet.
    pub fn len(&self) -> usize {
        self.held.len() + self.returns.len()
    }
}

impl Core {
    /// One more use of another owner's object in this process.
    pub(super) fn hold(&mut self, object: ObjectId) {
        if !self.holds.hold(object) {
            return;
        }
        if self.pull.is_dead(object.owner()) {
            // Nobody is left to confirm it, and nothing to be kept.
            return self.holds.confirmed(object);
        }
        self.send(object.owner(), Message::BorrowAdd { object, by: self.me });
    }

    pub(super) fn unhold(&mut self, object: ObjectId) {
        self.holds.unhold(object);
        self.give_back();
    }

    /// Reports the end of an attempt, or something before that.
    pub(super) fn report(&mut self, to: Incarnation, message: Message) {
        match &message {
            // This process keeps the arguments of its own tasks by its own registrations.
            Message::TaskDone { task, attempt, .. } if to != self.me && self.holds.waits((*task, *attempt)) => {
                self.unreported.push((to, message));
            }
            _ => self.send(to, message),
        }
    }

    /// An owner knows that this process holds its object.
    pub(super) fn hold_confirmed(&mut self, object: ObjectId) {
        self.holds.confirmed(object);
        self.holds_settled();
    }

    /// What waited for confirmations goes out as far as they have come.
    pub(super) fn holds_settled(&mut self) {
        self.give_back();
        for (to, message) in std::mem::take(&mut self.unreported) {
            self.report(to, message);
        }
    }

    fn give_back(&mut self) {
        for object in self.holds.returns() {
            self.send(object.owner(), Message::BorrowRemove(object));
        }
    }
}
