//! References of this process to objects that other processes own.

use mobula_protocol::{Incarnation, ObjectId};
use std::collections::BTreeMap;

/// Counts uses of foreign objects, and the registrations their owners have of this process.
#[derive(Debug)]
pub(super) struct Holds {
    me: Incarnation,
    held: BTreeMap<ObjectId, Hold>,
}

#[derive(Debug, Default)]
struct Hold {
    /// Handles, tasks, values and loans in this process.
    uses: u64,
    /// Registrations at the owner; all are given back when the last use ends.
    registered: u64,
}

impl Holds {
    pub fn new(me: Incarnation) -> Self {
        Self { me, held: BTreeMap::new() }
    }

    /// One more use. Returns whether the owner must be told, because no registration exists yet.
    pub fn hold(&mut self, object: ObjectId) -> bool {
        debug_assert!(object.owner() != self.me, "{object} is our own");
        let hold = self.held.entry(object).or_default();
        hold.uses += 1;
        let first = hold.registered == 0;
        hold.registered += u64::from(first);
        first
    }

    /// One more use, which the sender of the reference has registered.
    pub fn inherit(&mut self, object: ObjectId) {
        let hold = self.held.entry(object).or_default();
        hold.uses += 1;
        hold.registered += 1;
    }

    /// One use fewer. Returns how many registrations to give back.
    pub fn unhold(&mut self, object: ObjectId) -> u64 {
        let Some(hold) = self.held.get_mut(&object) else { return 0 };
        hold.uses -= 1;
        if hold.uses > 0 {
            return 0;
        }
        let all = self.held.remove(&object).map_or(0, |hold| hold.registered);
        if mobula_protocol::planted!("holds-return-one") { all.min(1) } else { all }
    }

    /// How many foreign objects are referenced here.
    pub fn len(&self) -> usize {
        self.held.len()
    }
}
