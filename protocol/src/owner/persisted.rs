//! Values that are also kept outside the cluster: who writes them there, and when they are read back.
//!
//! ```text
//!   wanted --Save--> saving --Saved--> saved --all copies lost, and wanted--> loading --a copy is there--> saved
//!     ^                |                                                         |
//!     +----------------+  the node died, lost its copy, or cannot                +--cannot be read--> wanted
//! ```
//! The node of the primary copy writes the value to the folder that all nodes share
//! ([`Effect::Save`](super::Effect::Save)); it goes on trying while it has the copy. From then on the loss of all
//! copies costs no rebuild: one of the nodes that take copies reads the value back
//! ([`Effect::Load`](super::Effect::Load)) as soon as somebody wants it. If it cannot be read, the object is lost as
//! any other, and written again when it is rebuilt. With the object goes what was written
//! ([`Effect::Erase`](super::Effect::Erase)).
//!
//! # What must NOT happen
//! A value read back before its writer said that all of it is there; one that stays in the folder when its object is
//! gone. (A writer that dies after it wrote and before it said so leaves a file if nobody writes it again; so does an
//! owner that dies.)
//!
//! Ray spills, which the node's death loses, and has checkpoints for actors only.

use crate::{ByteSize, Incarnation, Located, ObjectId, Violation};
use std::collections::{BTreeMap, BTreeSet};

/// The objects of one owner that are kept outside the cluster. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Persisted {
    objects: BTreeMap<ObjectId, State>,
    /// Those to look at before the step ends.
    touched: BTreeSet<ObjectId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Wanted,
    Saving(Incarnation),
    Saved(ByteSize),
    Loading(Incarnation, ByteSize),
}

impl Persisted {
    /// From now on this object is kept outside.
    pub fn want(&mut self, object: ObjectId) {
        self.objects.entry(object).or_insert(State::Wanted);
        self.touched.insert(object);
    }

    /// The copies of an object have changed.
    pub fn touch(&mut self, object: ObjectId) {
        if self.objects.contains_key(&object) {
            self.touched.insert(object);
        }
    }

    /// The object is gone. Says whether something may be in the folder.
    pub fn forget(&mut self, object: ObjectId) -> bool {
        self.touched.remove(&object);
        self.objects.remove(&object).is_some()
    }

    /// A node wrote the value, perhaps just before it lost its copy. False if nobody wants it there any more.
    pub fn saved(&mut self, object: ObjectId, by: Incarnation, size: ByteSize) -> bool {
        let Some(state) = self.objects.get_mut(&object) else { return false };
        if matches!(*state, State::Wanted) || *state == State::Saving(by) {
            *state = State::Saved(size);
        }
        true
    }

    /// A node that was to write it has no copy any more, or no such folder. The next change of its copies is the next
    /// try.
    pub fn not_saved(&mut self, object: ObjectId, by: Incarnation) {
        if let Some(state) = self.objects.get_mut(&object).filter(|state| **state == State::Saving(by)) {
            *state = State::Wanted;
        }
    }

    /// Membership's verdict. Gives the objects that it was reading back: somebody wants them.
    pub fn node_died(&mut self, dead: Incarnation) -> Vec<ObjectId> {
        let mut unread = Vec::new();
        for (object, state) in &mut self.objects {
            match *state {
                State::Saving(by) if by == dead => {
                    *state = State::Wanted;
                    self.touched.insert(*object);
                }
                State::Loading(by, size) if by == dead => {
                    *state = State::Saved(size);
                    unread.push(*object);
                }
                _ => {}
            }
        }
        unread
    }

    /// A node cannot read what was written. False if it was not asked to.
    pub fn not_loaded(&mut self, object: ObjectId, by: Incarnation) -> bool {
        let asked = |state: &&mut State| matches!(state, State::Loading(at, _) if *at == by);
        let Some(state) = self.objects.get_mut(&object).filter(asked) else { return false };
        *state = State::Wanted;
        self.touched.insert(object);
        true
    }

    /// Whether the object is one of these.
    pub fn contains(&self, object: ObjectId) -> bool {
        self.objects.contains_key(&object)
    }

    /// Whether the value can be read back.
    pub fn holds(&self, object: ObjectId) -> bool {
        matches!(self.objects.get(&object), Some(State::Saved(_) | State::Loading(..)))
    }

    /// Somebody wants an object without a copy. Whether it comes from the folder; with its size, if `at` is to read it
    /// now.
    pub fn load(&mut self, object: ObjectId, at: Incarnation) -> Option<Option<ByteSize>> {
        let state = self.objects.get_mut(&object)?;
        match *state {
            State::Saved(size) => {
                *state = State::Loading(at, size);
                Some(Some(size))
            }
            State::Loading(..) => Some(None),
            State::Wanted | State::Saving(_) => None,
        }
    }

    /// Whether nothing is left to look at.
    pub fn is_at_rest(&self) -> bool {
        self.touched.is_empty()
    }

    /// The objects whose copies have changed since the last call.
    pub fn take_touched(&mut self) -> BTreeSet<ObjectId> {
        std::mem::take(&mut self.touched)
    }

    /// Who is to write an object that is at `located`, if anybody is.
    pub fn next(&mut self, object: ObjectId, located: &Located, primary: Option<Incarnation>) -> Option<Incarnation> {
        let state = self.objects.get_mut(&object)?;
        match (*state, located) {
            (State::Loading(_, size), Located::Stored { .. }) => *state = State::Saved(size),
            (State::Saving(by), Located::Stored { copies, .. }) if !copies.contains(&by) => *state = State::Wanted,
            (State::Saving(_), Located::Pending) => *state = State::Wanted,
            _ => {}
        }
        let at = primary.filter(|_| *state == State::Wanted && matches!(located, Located::Stored { .. }))?;
        *state = State::Saving(at);
        Some(at)
    }

    /// What is not yet outside, for people.
    pub fn unsaved<'a>(&self, located: impl Fn(ObjectId) -> &'a Located) -> Vec<String> {
        let line = |(object, state): (&ObjectId, &State)| match state {
            State::Saving(by) => Some(format!("{object} is being written by {by}")),
            State::Wanted if !matches!(located(*object), Located::Stored { .. }) => None,
            State::Loading(by, _) => Some(format!("{object} is being read back by {by}")),
            State::Wanted => Some(format!("{object} is not written: no node that has it can")),
            State::Saved(_) => None,
        };
        self.objects.iter().filter_map(line).collect()
    }

    /// What is stored is saved, or somebody who has a copy writes it.
    pub fn check<'a>(&self, located: impl Fn(ObjectId) -> &'a Located) -> Result<(), Violation> {
        for (object, state) in &self.objects {
            let fine = match (located(*object), state) {
                (Located::Stored { copies, .. }, State::Saving(by)) => copies.contains(by),
                (Located::Stored { .. }, state) => !matches!(state, State::Loading(..)),
                (Located::Pending, state) => !matches!(state, State::Saving(_)),
                (Located::Inline(_) | Located::Failed(_), _) => true,
            };
            Violation::unless(fine, "I19 what is to be outside is or will be", || format!("{object}: {state:?}"))?;
        }
        Ok(())
    }
}
