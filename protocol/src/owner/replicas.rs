//! Values that are kept on several nodes: whom to ask for a copy, and when.
//!
//! An object with `k` replicas has `k` *kept* copies, each on another node, as long as there are so many nodes that
//! take copies: those that offer resources, live and do not drain. A copy on the owner's own node counts in any case:
//! without its owner the object is lost. A kept copy is one whose node was told to keep it
//! ([`Effect::Promote`](super::Effect::Promote)): it may be spilled, and is never dropped to make room. A node that
//! fetched a copy for a reader may drop it at any time, so it does not count until it was told.
//!
//! # Repair
//! After each change of an object's copies, and of the nodes:
//! 1. A kept copy on a node that died, dropped it, or drains counts no more.
//! 2. Copies that exist are told to stay, the primary one first, until there are `k`.
//! 3. For those still missing, nodes without a copy are asked to fetch one
//!    ([`Effect::Replicate`](super::Effect::Replicate)), and are waited for: each fetches when it has room, and reports
//!    the copy, or says that it never can, and another node is asked.
//!
//! Which node is asked is decided by the highest hash of (object, node) (rendezvous hashing, Thaler and Ravishankar
//! 1998): copies spread evenly, and the owner remembers nothing for it.
//!
//! # What must NOT happen
//! A node asked twice at the same time; more nodes asked than copies are missing. An object whose copies are all gone
//! is lost as any other, and copied again when it has been rebuilt; a node that was asked for a copy just then wants it
//! like any reader. Inline values live with their owner and have no copies.
//!
//! Ray has nothing like this: what a node held is lost with it, or made again.

use crate::{Incarnation, Located, ObjectId, Violation};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be done about one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Tell this node to keep its copy.
    Keep(Incarnation),
    /// Ask this node to fetch one.
    Fetch(Incarnation),
}

/// The objects of one owner that are kept on several nodes. See the [module](self).
#[derive(Debug)]
pub(super) struct Replicas {
    me: Incarnation,
    /// Those that take copies.
    nodes: BTreeSet<Incarnation>,
    objects: BTreeMap<ObjectId, Replicated>,
    /// Those to look at before the step ends.
    touched: BTreeSet<ObjectId>,
}

#[derive(Debug, Default)]
struct Replicated {
    /// How many copies are wanted.
    wanted: usize,
    /// Who was told to keep its copy.
    kept: BTreeSet<Incarnation>,
    /// Who was asked to fetch one, and has not answered.
    asked: BTreeSet<Incarnation>,
    /// Who never can.
    refused: BTreeSet<Incarnation>,
}

impl Replicas {
    pub fn new(me: Incarnation) -> Self {
        Self { me, nodes: BTreeSet::new(), objects: BTreeMap::new(), touched: BTreeSet::new() }
    }

    /// From now on this object is kept on so many nodes; 0 and 1 are what every object has.
    pub fn want(&mut self, object: ObjectId, copies: u32) {
        if copies > 1 {
            self.objects.entry(object).or_default().wanted = copies as usize;
            self.touched.insert(object);
        }
    }

    /// Whether an object is to be kept on several nodes.
    pub fn holds(&self, object: ObjectId) -> bool {
        self.objects.contains_key(&object)
    }

    /// The object is gone. Those who were asked for a copy hear so from the directory.
    pub fn forget(&mut self, object: ObjectId) {
        self.objects.remove(&object);
    }

    /// The copies of an object have changed.
    pub fn touch(&mut self, object: ObjectId) {
        if self.objects.contains_key(&object) {
            self.touched.insert(object);
        }
    }

    /// The nodes that take copies.
    pub fn takers(&self) -> &BTreeSet<Incarnation> {
        &self.nodes
    }

    /// A node that takes copies, another one for each object; none if there is none.
    pub fn any(&self, object: ObjectId) -> Option<Incarnation> {
        self.nodes.iter().max_by_key(|at| (score(object, **at), **at)).copied()
    }

    /// These nodes take copies now.
    pub fn nodes(&mut self, nodes: BTreeSet<Incarnation>) {
        if self.nodes != nodes {
            self.nodes = nodes;
            self.objects.values_mut().for_each(|entry| entry.refused.clear());
            self.touched.extend(self.objects.keys());
        }
    }

    /// Membership's verdict, which may come before the next list of nodes.
    pub fn node_died(&mut self, dead: Incarnation) {
        self.nodes.remove(&dead);
        for (object, entry) in &mut self.objects {
            if entry.asked.remove(&dead) | entry.kept.remove(&dead) {
                self.touched.insert(*object);
            }
        }
    }

    /// A node is told to free a copy that is not of the accepted value. If it was asked for one, it took that for the
    /// answer: it is asked again, and reads this after it has freed the other.
    pub fn discarded(&mut self, object: ObjectId, at: Incarnation) {
        if self.objects.get_mut(&object).is_some_and(|entry| entry.asked.remove(&at)) {
            self.touched.insert(object);
        }
    }

    /// A node that was asked can never hold a copy.
    pub fn refused(&mut self, object: ObjectId, by: Incarnation) {
        if let Some(entry) = self.objects.get_mut(&object).filter(|entry| entry.asked.contains(&by)) {
            entry.asked.remove(&by);
            entry.refused.insert(by);
            self.touched.insert(object);
        }
    }

    /// Whether no object is kept on several nodes.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Whether nothing is left to look at.
    pub fn is_at_rest(&self) -> bool {
        self.touched.is_empty()
    }

    /// The objects whose copies have changed since the last call.
    pub fn take_touched(&mut self) -> BTreeSet<ObjectId> {
        std::mem::take(&mut self.touched)
    }

    /// What to do about an object that is at `located`, with this primary copy.
    pub fn repair(&mut self, object: ObjectId, located: &Located, primary: Option<Incarnation>) -> Vec<Step> {
        let Some(entry) = self.objects.get_mut(&object) else { return Vec::new() };
        let Located::Stored { copies, .. } = located else {
            entry.kept.clear();
            if *located != Located::Pending {
                entry.asked.clear();
            }
            return Vec::new();
        };
        let takes = |at: &Incarnation| *at == self.me || self.nodes.contains(at);
        entry.asked.retain(|at| !copies.contains(at));
        entry.kept.retain(|at| copies.contains(at) && takes(at));
        let mut steps = Vec::new();
        let existing = primary.iter().chain(copies).filter(|at| takes(at));
        for at in existing {
            if entry.kept.len() < entry.wanted && entry.kept.insert(*at) {
                steps.push(Step::Keep(*at));
            }
        }
        while entry.kept.len() + entry.asked.len() < entry.wanted {
            let asked = |at: &&Incarnation| entry.asked.contains(at) || entry.refused.contains(at);
            let others = self.nodes.iter().filter(|at| !copies.contains(at) && !asked(at));
            let Some(at) = others.max_by_key(|at| (score(object, **at), **at)).copied() else { break };
            entry.asked.insert(at);
            steps.push(Step::Fetch(at));
        }
        steps
    }

    /// What is missing of an object, for people; none if nothing is, or it has no copies to count.
    pub fn missing(&self, object: ObjectId, located: &Located) -> Option<String> {
        let Replicated { wanted, kept, asked, .. } = self.objects.get(&object)?;
        (matches!(located, Located::Stored { .. }) && kept.len() < *wanted).then(|| match asked.len() {
            0 => format!("{} of {wanted} replicas, no other node can take one", kept.len()),
            _ => format!("{} of {wanted} replicas, waits for {asked:?}", kept.len()),
        })
    }

    /// [`Replicas::missing`] of all objects.
    pub fn all_missing<'a>(&self, located: impl Fn(ObjectId) -> &'a Located) -> Vec<String> {
        let line = |object: &ObjectId| Some(format!("{object} has {}", self.missing(*object, located(*object))?));
        self.objects.keys().filter_map(line).collect()
    }

    /// Every object that is stored has what it wants, or has asked for it, or nobody is left to ask.
    pub fn check<'a>(&self, located: impl Fn(ObjectId) -> &'a Located) -> Result<(), Violation> {
        for (object, entry) in &self.objects {
            let Located::Stored { copies, .. } = located(*object) else { continue };
            let mut left = self.nodes.iter().filter(|at| !copies.contains(at) && !entry.asked.contains(at));
            let served = entry.kept.len() + entry.asked.len() >= entry.wanted;
            let fine = (served || left.all(|at| entry.refused.contains(at)))
                && entry.kept.iter().all(|at| copies.contains(at))
                && entry.asked.iter().all(|at| !copies.contains(at));
            Violation::unless(fine, "I19 replicas are there or on their way", || format!("{object}: {entry:?}"))?;
        }
        Ok(())
    }
}

/// How much an object likes a node.
fn score(object: ObjectId, at: Incarnation) -> u64 {
    let name = (u64::from(object.task.owner.node.0) << 32) ^ object.task.seq ^ (u64::from(object.index) << 48);
    crate::sched::mix(name, u64::from(at.node.0))
}
