//! Where the copies of an object are, and who wants to know: the owner's side of a transfer.
//!
//! The owner of an object is the only one who knows where it is (Ownership, NSDI'21, section 4.3), so a node that
//! wants it asks the owner once and is then told of every change until it says that it no longer cares. Ray's
//! counterpart is `OwnershipBasedObjectDirectory` in the raylet with a publisher in the owner's core worker.
//!
//! # States
//!
//! | [`Located`] | entered by | left by |
//! | --- | --- | --- |
//! | `Pending` | the beginning, the loss of the last copy, [`Directory::set`] | a result, a copy found after a loss |
//! | `Inline` | [`Directory::set`] | [`Directory::set`], [`Directory::forget`] |
//! | `Stored` | [`Directory::stored`], a copy found after a loss | the loss of the last copy, [`Directory::set`] |
//! | `Failed` | [`Directory::set`] | [`Directory::set`] (recoverable kinds only), [`Directory::forget`] |
//!
//! A pending object that nobody asks for and that was never stored takes no memory: not being listed *is* being
//! pending. An inline object without subscribers takes its map entry and nothing else, because that is the path of
//! every small task.
//!
//! # Guarantees
//!
//! - The last [`Notify`] to a subscriber since it subscribed equals [`Directory::locate`], after every call.
//! - A subscriber is told at once when it subscribes, `Pending` included, and afterwards only of changes; a further
//!   copy is such a change, because a finished receiver is the next source of a broadcast (Hoplite, SIGCOMM'21).
//! - One of the copies is the *primary* one, which its node keeps: the first, and when that is lost the next in id order,
//!   which is then promoted. So a value that cannot be made again is not evicted from the last node that has it (I19).
//! - `Stored` is never empty: an object without a copy is `Pending`, and whoever removed the last copy is told so.
//! - A copy that its node has also spilled to shared storage ([`Directory::spilled`]) does not die with the node: it
//!   becomes the heir's, who reads it there.
//! - The death of a node costs time in proportion to what it held and asked for, not to the number of objects.
//!
//! # What must NOT happen
//!
//! - A copy reported for an object that was never stored, or with another size, must not become a source: it belongs
//!   to an attempt whose result was not accepted (invariant I4). [`Directory::copy_added`] refuses it and the owner
//!   frees it.
//! - A copy reported by a dead incarnation must not be listed. The directory does not know who lives; the receiver of
//!   a message compares its epoch before it calls (decision D3).
//!
//! # Differences from Ray
//!
//! - Ray publishes whole snapshots through a long poll with a batch size; here each change is one message on the
//!   ordered, exactly-once link between the two incarnations, so no sequence numbers are needed (Ray lost updates:
//!   #22340).
//! - In Ray the value of a small object and the location of a large one come through different interfaces and a
//!   lookup that raced with a failure returned size 0 (#16923). Here one answer carries inline values, locations and
//!   errors.
//! - A copy that turns up after the last known one was lost ends the loss. Ray's recovery looks for such copies too,
//!   but only once, when recovery begins (`ObjectRecoveryManager::PinOrReconstructObject`).
//! - In Ray what a node spilled is lost with the node, also what lies in a bucket (#17377, open).
//!
//! The methods are calls and not a [`crate::Machine`]'s events: the owner needs most answers in the same step.

use crate::{ByteSize, Incarnation, Located, Map, ObjectId, SharedPlace, Violation};
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// Tell this subscriber what is known of this object now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The subscriber.
    pub to: Incarnation,
    /// The object.
    pub object: ObjectId,
    /// What [`Directory::locate`] answers now.
    pub located: Located,
}

/// What the removal of a copy left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The object is where it was: there are other copies, or that was none.
    Still,
    /// It was the last copy: the object is pending now and needs recovery.
    Last,
}

/// What the death of a node left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bereaved {
    /// The objects whose last copy that was, in id order.
    pub lost: Vec<ObjectId>,
    /// The copies that lie in shared storage and are the heir's now, in id order.
    pub inherited: Vec<(ObjectId, ByteSize, SharedPlace)>,
}

/// What a reported copy changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// One more copy, or one that was known already.
    Further,
    /// The object had lost its last known copy and is stored again: recovery can stop.
    Found,
    /// Not a copy of the accepted value; the owner should tell that node to free it.
    Refused,
}

/// Locations and subscribers of all objects of one owner. See the [module](self) for its states and guarantees.
#[derive(Debug, Default)]
pub struct Directory {
    objects: Map<ObjectId, Entry>,
    /// Who has copies of what. The other direction of `Located::Stored::copies`.
    held: BTreeMap<Incarnation, BTreeSet<ObjectId>>,
    /// See [`Directory::take_promoted`].
    promoted: Vec<(Incarnation, ObjectId)>,
    /// Who asks for what. The other direction of `Entry::subscribers`.
    asked: BTreeMap<Incarnation, BTreeSet<ObjectId>>,
}

#[derive(Debug)]
struct Entry {
    located: Located,
    /// If pending after a loss: the size the lost copies had, by which a late copy is recognised.
    lost: Option<ByteSize>,
    /// If stored: whose copy must not be evicted, because the owner counts on it.
    primary: Option<Incarnation>,
    /// If stored: which of the copies also lies in shared storage, and where.
    shared: Option<Box<(Incarnation, SharedPlace)>>,
    /// In id order.
    subscribers: Vec<Incarnation>,
}

impl Entry {
    /// What being absent from the map means.
    const fn pending() -> Self {
        Self { located: Located::Pending, lost: None, primary: None, shared: None, subscribers: Vec::new() }
    }

    fn is_pending(&self) -> bool {
        self.located == Located::Pending && self.lost.is_none() && self.subscribers.is_empty()
    }

    fn copies(&self) -> &[Incarnation] {
        match &self.located {
            Located::Stored { copies, .. } => copies,
            _ => &[],
        }
    }

    fn tell_all(&self, object: ObjectId, out: &mut Vec<Notify>) {
        if crate::planted!("directory-tells-once") {
            return;
        }
        out.extend(self.subscribers.iter().map(|to| Notify { to: *to, object, located: self.located.clone() }));
    }
}

impl Directory {
    /// Replaces whatever is known of `object`. Returns the nodes whose copies are thereby no longer listed, in id
    /// order, so that the owner can free them; usually none, and then nothing is allocated.
    ///
    /// `Stored` without copies is taken as `Pending`. Replacing by what is known already changes nothing.
    pub fn set(&mut self, object: ObjectId, located: Located, out: &mut Vec<Notify>) -> Vec<Incarnation> {
        let located = normal(located);
        let entry = self.objects.entry(object).or_insert_with(Entry::pending);
        entry.lost = None;
        let mut dropped = Vec::new();
        if entry.located != located {
            let before = std::mem::replace(&mut entry.located, located);
            if let Located::Stored { copies, .. } = before {
                dropped = copies;
                dropped.iter().for_each(|at| unlink(&mut self.held, *at, object));
            }
            for at in entry.copies() {
                self.held.entry(*at).or_default().insert(object);
                dropped.retain(|old| old != at);
            }
            entry.primary = entry.copies().first().copied();
            entry.shared = None;
            entry.tell_all(object, out);
        }
        self.drop_if_pending(object);
        dropped
    }

    /// A result of the current attempt was sealed at `at`: one more copy if the object is stored in that size, else
    /// its first. Returns what [`Directory::set`] does.
    pub fn stored(
        &mut self,
        object: ObjectId,
        size: ByteSize,
        at: Incarnation,
        out: &mut Vec<Notify>,
    ) -> Vec<Incarnation> {
        if matches!(self.state(object), Located::Stored { size: known, .. } if *known == size) {
            self.copy_added(object, at, size, out);
            return Vec::new();
        }
        self.set(object, Located::Stored { size, copies: vec![at] }, out)
    }

    /// A node reports that it sealed a copy it had fetched. Accepted if the object is stored in the same size, or was
    /// until its last copy was lost; refused otherwise.
    pub fn copy_added(&mut self, object: ObjectId, at: Incarnation, size: ByteSize, out: &mut Vec<Notify>) -> Added {
        let Some(entry) = self.objects.get_mut(&object) else { return Added::Refused };
        let added = match &mut entry.located {
            Located::Stored { size: known, copies } if *known == size => {
                let Err(place) = copies.binary_search(&at) else { return Added::Further };
                copies.insert(place, at);
                Added::Further
            }
            Located::Pending if entry.lost == Some(size) => {
                entry.lost = None;
                entry.located = Located::Stored { size, copies: vec![at] };
                // It was fetched from a copy that is gone.
                entry.primary = Some(at);
                self.promoted.push((at, object));
                Added::Found
            }
            _ => return Added::Refused,
        };
        self.held.entry(at).or_default().insert(object);
        entry.tell_all(object, out);
        added
    }

    /// A node no longer has its copy (it evicted it, or it proved to be damaged).
    pub fn copy_removed(&mut self, object: ObjectId, at: Incarnation, out: &mut Vec<Notify>) -> Gone {
        let Some(entry) = self.objects.get_mut(&object) else { return Gone::Still };
        let Located::Stored { size, copies } = &mut entry.located else { return Gone::Still };
        let Ok(place) = copies.binary_search(&at) else { return Gone::Still };
        copies.remove(place);
        let last = copies.is_empty();
        if last {
            entry.lost = Some(*size);
            entry.located = Located::Pending;
        }
        entry.shared.take_if(|shared| shared.0 == at);
        let heir = entry.copies().first().copied();
        if entry.primary == Some(at) {
            entry.primary = heir;
            self.promoted.extend(heir.map(|heir| (heir, object)));
        }
        unlink(&mut self.held, at, object);
        entry.tell_all(object, out);
        if last { Gone::Last } else { Gone::Still }
    }

    /// All copies are to be freed, but the object may be made again: it is as if the last one had been lost. Nothing is
    /// promoted, because none of them stays; taken away one by one, each would be the heir of the one before. Returns the
    /// nodes that had one, in id order.
    pub fn drop_copies(&mut self, object: ObjectId, out: &mut Vec<Notify>) -> Vec<Incarnation> {
        let Some(entry) = self.objects.get_mut(&object) else { return Vec::new() };
        let Located::Stored { size, copies } = &mut entry.located else { return Vec::new() };
        let (size, copies) = (*size, std::mem::take(copies));
        entry.located = Located::Pending;
        (entry.lost, entry.primary, entry.shared) = (Some(size), None, None);
        copies.iter().for_each(|at| unlink(&mut self.held, *at, object));
        entry.tell_all(object, out);
        copies
    }

    /// Whether somebody must still be told that its copy is the primary one.
    pub fn has_promoted(&self) -> bool {
        !self.promoted.is_empty()
    }

    /// The copies that became the primary ones since the last call: whoever has them must be told not to evict them.
    pub fn take_promoted(&mut self) -> Vec<(Incarnation, ObjectId)> {
        std::mem::take(&mut self.promoted)
    }

    /// A node says that its copy also lies at `place`. Means nothing of a copy that is not listed, or not any more.
    pub fn spilled(&mut self, object: ObjectId, at: Incarnation, place: SharedPlace) {
        let listed = |entry: &&mut Entry| entry.copies().binary_search(&at).is_ok();
        if let Some(entry) = self.objects.get_mut(&object).filter(listed) {
            entry.shared = Some(Box::new((at, place)));
        }
    }

    /// Where a copy of the object lies in shared storage, if the node that wrote it lives and said so.
    pub fn shared(&self, object: ObjectId) -> Option<&SharedPlace> {
        self.objects.get(&object)?.shared.as_deref().map(|(_, place)| place)
    }

    /// A node was declared dead: its copies are gone and it no longer asks. Those that lie in shared storage become
    /// copies of `heir`, a living node, which is the primary one then if the dead one's was.
    pub fn node_died(&mut self, dead: Incarnation, heir: Incarnation, out: &mut Vec<Notify>) -> Bereaved {
        self.subscriber_died(dead);
        let mut bereaved = Bereaved::default();
        for object in self.held.get(&dead).cloned().unwrap_or_default() {
            match self.inherit(object, dead, heir, out) {
                Some((size, place)) => bereaved.inherited.push((object, size, place)),
                None if self.copy_removed(object, dead, out) == Gone::Last => bereaved.lost.push(object),
                None => {}
            }
        }
        bereaved
    }

    /// Puts `heir` in the place of `dead`, if the dead one's copy lies in shared storage.
    fn inherit(
        &mut self,
        object: ObjectId,
        dead: Incarnation,
        heir: Incarnation,
        out: &mut Vec<Notify>,
    ) -> Option<(ByteSize, SharedPlace)> {
        let entry = self.objects.get_mut(&object)?;
        let (_, place) = *entry.shared.take_if(|shared| shared.0 == dead && dead != heir)?;
        let Located::Stored { size, copies } = &mut entry.located else { return None };
        let size = *size;
        copies.retain(|at| *at != dead);
        if let Err(position) = copies.binary_search(&heir) {
            copies.insert(position, heir);
        }
        if entry.primary == Some(dead) {
            entry.primary = Some(heir);
        }
        unlink(&mut self.held, dead, object);
        self.held.entry(heir).or_default().insert(object);
        entry.tell_all(object, out);
        Some((size, place))
    }

    /// `by` wants to know where `object` is, and is told at once; again if it asks again. An object the directory
    /// does not list is pending: an owner that knows better (freed long ago) must [`set`](Self::set) it failed first.
    pub fn subscribe(&mut self, object: ObjectId, by: Incarnation, out: &mut Vec<Notify>) {
        let entry = self.objects.entry(object).or_insert_with(Entry::pending);
        if let Err(place) = entry.subscribers.binary_search(&by) {
            entry.subscribers.insert(place, by);
            self.asked.entry(by).or_default().insert(object);
        }
        out.push(Notify { to: by, object, located: entry.located.clone() });
    }

    /// `by` no longer wants to know. Idempotent.
    pub fn unsubscribe(&mut self, object: ObjectId, by: Incarnation) {
        let Some(entry) = self.objects.get_mut(&object) else { return };
        let Ok(place) = entry.subscribers.binary_search(&by) else { return };
        entry.subscribers.remove(place);
        unlink(&mut self.asked, by, object);
        self.drop_if_pending(object);
    }

    /// Ends all subscriptions of a dead incarnation.
    fn subscriber_died(&mut self, dead: Incarnation) {
        for object in self.asked.get(&dead).cloned().unwrap_or_default() {
            self.unsubscribe(object, dead);
        }
    }

    /// The object is out of scope: drops all that is known of it, without a word to subscribers (an owner that still
    /// has some tells them first, by [`set`](Self::set)). Returns the nodes that still have a copy, in id order.
    pub fn forget(&mut self, object: ObjectId) -> Vec<Incarnation> {
        let Some(entry) = self.objects.swap_remove(&object) else { return Vec::new() };
        entry.subscribers.iter().for_each(|by| unlink(&mut self.asked, *by, object));
        entry.copies().iter().for_each(|at| unlink(&mut self.held, *at, object));
        match entry.located {
            Located::Stored { copies, .. } => copies,
            _ => Vec::new(),
        }
    }

    /// What is known of the object.
    pub fn locate(&self, object: ObjectId) -> Located {
        self.state(object).clone()
    }

    /// The same by reference, for those who only look.
    pub fn state(&self, object: ObjectId) -> &Located {
        self.objects.get(&object).map_or(&Located::Pending, |entry| &entry.located)
    }

    /// Who has a sealed copy, in id order.
    pub fn copies(&self, object: ObjectId) -> &[Incarnation] {
        self.objects.get(&object).map_or(&[], Entry::copies)
    }

    /// Whose copy the owner counts on, if the object is stored.
    pub fn primary(&self, object: ObjectId) -> Option<Incarnation> {
        self.objects.get(&object).and_then(|entry| entry.primary)
    }

    /// Who is told of changes, in id order.
    pub fn subscribers(&self, object: ObjectId) -> &[Incarnation] {
        self.objects.get(&object).map_or(&[], |entry| &entry.subscribers)
    }

    /// How many objects take memory here.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether no object takes memory here (invariant I27, once every reference is gone).
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Checks that both directions of both relations agree and that no entry is kept for nothing.
    ///
    /// # Errors
    /// The first disagreement.
    pub fn check(&self) -> Result<(), Violation> {
        let (mut held, mut asked) = (0, 0);
        for (object, entry) in &self.objects {
            let copies = entry.copies();
            held += copies.len();
            asked += entry.subscribers.len();
            let sorted = |list: &[Incarnation]| list.windows(2).all(|pair| pair[0] < pair[1]);
            let stored = matches!(entry.located, Located::Stored { .. });
            let known = |index: &BTreeMap<Incarnation, BTreeSet<ObjectId>>, who: &[Incarnation]| {
                who.iter().all(|who| index.get(who).is_some_and(|objects| objects.contains(object)))
            };
            let fine = sorted(copies)
                && sorted(&entry.subscribers)
                && stored != copies.is_empty()
                && entry.primary.is_some() == stored
                && entry.primary.is_none_or(|primary| copies.contains(&primary))
                && entry.shared.as_ref().is_none_or(|shared| copies.contains(&shared.0))
                && (entry.lost.is_none() || entry.located == Located::Pending)
                && !entry.is_pending()
                && known(&self.held, copies)
                && known(&self.asked, &entry.subscribers);
            Violation::unless(fine, "directory entry", || format!("{object}: {entry:?}"))?;
        }
        for (name, index, expected) in [("copies", &self.held, held), ("subscribers", &self.asked, asked)] {
            let found: usize = index.values().map(BTreeSet::len).sum();
            let fine = found == expected && index.values().all(|objects| !objects.is_empty());
            Violation::unless(fine, "directory index", || format!("{name}: {found} indexed, {expected} listed"))?;
        }
        Ok(())
    }

    fn drop_if_pending(&mut self, object: ObjectId) {
        if self.objects.get(&object).is_some_and(Entry::is_pending) {
            self.objects.swap_remove(&object);
        }
    }
}

/// Copies in id order and without repetition; none at all is pending.
fn normal(located: Located) -> Located {
    match located {
        Located::Stored { copies, .. } if copies.is_empty() => Located::Pending,
        Located::Stored { size, mut copies } => {
            copies.sort_unstable();
            copies.dedup();
            Located::Stored { size, copies }
        }
        other => other,
    }
}

fn unlink(index: &mut BTreeMap<Incarnation, BTreeSet<ObjectId>>, who: Incarnation, object: ObjectId) {
    if let Some(objects) = index.get_mut(&who) {
        objects.remove(&object);
        if objects.is_empty() {
            index.remove(&who);
        }
    }
}
