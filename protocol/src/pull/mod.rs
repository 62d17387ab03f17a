//! Which objects a node fetches next, within its memory. Ray's counterpart is `PullManager`
//! (`src/ray/object_manager/pull_manager.h`), whose admission rules were each added after a deadlock; here they are
//! one policy, written down and model-checked.
//!
//! # Words
//!
//! A *bundle* is the set of objects that one get, one wait or one task needs here together. An object is *here* when
//! the owner sent its value inline or when it is sealed in this node's store; *fetchable* when its owner names a
//! living holder other than this node, or when it was spilled to this node's disk and its owner still counts on it;
//! *unknown* otherwise (no answer yet, not created yet, lost and being rebuilt, or its holders are all dead).
//!
//! | state of a bundle | means | holds memory |
//! | --- | --- | --- |
//! | set aside | some object is unknown | no |
//! | candidate | every object is here or fetchable, but there is no room yet | no |
//! | active | its missing objects are being fetched, those in the store are pinned | yes |
//! | ready | told to the caller; everything stays pinned until it is dropped | yes |
//!
//! A bundle *holds* all its objects that are not inline, arrived or not; an object held twice counts once.
//!
//! # Admission
//!
//! 1. **Order.** Get before wait before task arguments before replicas (Ray #15157, #16351); within one priority, in order of arrival.
//! 2. **Contiguous.** The first candidate is admitted when the bytes held so far and its own fit into the room, and
//!    so on to the first that does not fit. Nothing overtakes it, so a large bundle is not starved by small ones.
//!    (Ray #13514)
//! 3. **One always active.** If nothing of its priority or a higher one is active, the first candidate is admitted
//!    even if it does not fit: the room may be an underestimate, and only the store can tell (Ray #16394). For task
//!    arguments and replicas a ready bundle of task arguments counts as active: its task will end and drop it, while half a bundle
//!    pinned beyond the room could keep that task from storing its result.
//! 4. **Gets pre-empt.** While a candidate waits for room, no bundle of a strictly lower priority is active: those
//!    are deactivated, last first. So a get is never behind task arguments (Ray #14886, #15157, scenario C19). A ready
//!    bundle whose task was announced as [`Event::Queued`] is [`Effect::Recalled`] under the same rule; one whose task
//!    runs is left alone. A fetch that the get needs too goes on (Ray #56393).
//! 5. **Shrinking.** When held bytes exceed the room, active bundles are deactivated, last first, until one is left.
//!    (Ray #13514)
//! 6. **Set aside.** A bundle with an unknown object takes part in none of this, so that a wait for something that
//!    does not exist yet blocks nobody, least of all the task that will create it; an active bundle that loses an
//!    object is set aside too. (Ray #13689, #24791)
//! 7. **Pins count, evictable bytes are free**, and objects are pinned as they arrive (Ray #16394). The room is given
//!    by the caller as what pulls may hold *in all*: see [`Event::Room`].
//! 8. **What is here is ready.** A get or wait whose objects are all here needs no admission, nor do task arguments
//!    that are all inline. Other task arguments queue for the room that their pins take.
//! 9. **Results need room too.** Bundles of task arguments hold at most [`ARGUMENTS`] of the store's capacity together,
//!    unless one alone is larger: what running tasks hold cannot leave, and they end only if their results find a place.
//!    (Ray: `max_task_args_memory_fraction`, 70 %.)
//! 10. **What can never fit fails**, with `StoreFull`: an object, or the objects of one bundle together, beyond the
//!     capacity of the store. A `wait` for more than that must want one bundle per object and drop each when it is
//!     ready (scenario C24).
//!
//! # Fetching
//!
//! - At most one attempt per object is in flight, and only while an active bundle needs it and it is not here.
//! - From whom the bytes come is decided by [`crate::transfer`], which is told the living holders and each change of
//!   them. An attempt is one receive buffer, not one connection: it survives the death of a holder as long as there is
//!   another, and goes on where it was.
//! - An attempt fails only for want of memory, or with wrong bytes. It is repeated after a wait that doubles from
//!   [`BACKOFF_FIRST`] to [`BACKOFF_LAST`], or as soon as there is more memory.
//! - A copy that arrives damaged [`CORRUPT_LAST`] times is reported ([`Effect::Damaged`]): its owner then does without it,
//!   so that the last copy is not asked for again and again for ever.
//! - It never gives up while the owner lists a copy. Membership decides who is dead, not a timer here.
//! - An object that was spilled here is *restored* before any other node is asked for it. Restores are admitted like
//!   fetches.
//! - Attempts are numbered by one counter for the whole node, so numbers of one object rise even if all else about it
//!   was forgotten. An event of any but the current attempt changes nothing. (The counter wraps after 2^32 fetches,
//!   when no event is so late; attempts are compared for equality only.)
//!
//! # Guarantees, and what must NOT happen
//!
//! - Every bundle ends in [`Effect::Ready`] or [`Effect::Failed`] once its objects exist, a holder answers and others
//!   drop theirs.
//! - Held bytes exceed the room only while at most one bundle is active (invariant I22).
//! - `Subscribe`/`Unsubscribe`, `Pin`/`Unpin` and `Fetch`/(`Fetched`, `FetchFailed`, `AbortFetch`) alternate per
//!   object; without bundles nothing is subscribed, pinned or in flight (invariant I24).
//! - No wait is silent: [`Pull::waiting`] says for each missing object what it waits for and since when.
//! - What left the store is noticed late, because others than this machine evict: until [`Event::Gone`] is told, an
//!   object counts as here. A pin that comes too late ends the error, and a bundle that was ready with it goes back.
//! - A task's lease is never kept waiting for a value that does not exist: the caller is told [`Effect::Unavailable`]
//!   and may hand the task back.
//!
//! # Differences from Ray
//!
//! Gets respect the room (Ray admits them without limit and relies on fallback allocation on disk); locations are
//! pushed by the owner (Ray re-reads them on a 10 s timer); errors of an object reach every bundle that wants it
//! instead of a sentinel size (#16923).

mod admission;
mod check;
mod fetch;
mod types;
mod waiting;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use fetch::{BACKOFF_FIRST, BACKOFF_LAST, CORRUPT_LAST};
pub use types::{BundleId, Effect, Event, FetchFailure, Priority, Value};
pub use waiting::{Waiting, WaitingFor};

use crate::{
    ByteSize, Epoch, Incarnation, Located, Machine, Nanos, NodeId, ObjectId, TaskError, TaskErrorKind, Violation,
};
use fetch::{Class, Object};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{Bundle, Rank, State, Tally};

/// How much of the store the arguments of tasks may hold, in hundredths: rule 9.
pub const ARGUMENTS: u64 = 70;

/// The pulls of one node. See the [module](self) for its rules.
#[derive(Debug)]
pub struct Pull {
    own: Incarnation,
    capacity: ByteSize,
    room: ByteSize,
    /// Sum of `Object::charged`.
    held: ByteSize,
    /// What bundles of task arguments hold of that.
    held_args: ByteSize,
    /// Everything sealed in this node's store.
    local: BTreeMap<ObjectId, ByteSize>,
    /// What is on this node's disk and not in its store.
    spilled: BTreeSet<ObjectId>,
    /// Everything some bundle wants or holds.
    objects: BTreeMap<ObjectId, Object>,
    bundles: BTreeMap<BundleId, Bundle>,
    candidates: BTreeSet<Rank>,
    active: BTreeSet<Rank>,
    /// Ready task arguments, and among them those whose task waits for a worker.
    ready_args: usize,
    queued: BTreeSet<Rank>,
    /// Bundles to look at again before the step ends.
    touched: BTreeSet<Rank>,
    retries: BTreeSet<(Nanos, ObjectId)>,
    dead_nodes: Dead,
    dead_owners: Dead,
    arrivals: u64,
    attempts: u32,
}

/// Who is dead. Epochs rise with each life, so the latest dead one of each node name says it all.
#[derive(Debug, Default)]
struct Dead(BTreeMap<NodeId, Epoch>);

impl Dead {
    fn insert(&mut self, who: Incarnation) {
        let latest = self.0.entry(who.node).or_insert(who.epoch);
        *latest = who.epoch.max(*latest);
    }

    fn contains(&self, who: Incarnation) -> bool {
        self.0.get(&who.node).is_some_and(|latest| who.epoch <= *latest)
    }
}

impl Machine for Pull {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Want { bundle, objects, priority } => self.want(now, bundle, objects, priority, out),
            Event::Drop { bundle } => self.remove(bundle, out),
            Event::Queued { bundle } => self.set_queued(bundle, true),
            Event::Started { bundle } => self.set_queued(bundle, false),
            Event::Local { object, size } => {
                self.local.insert(object, size);
                self.spilled.remove(&object);
                self.reconcile(object, out);
            }
            Event::Gone { object } => {
                self.spilled.remove(&object);
                self.gone(object, out);
            }
            Event::Spilled { object } => {
                self.spilled.insert(object);
                self.gone(object, out);
            }
            Event::Missed { bundle } => self.missed(bundle, out),
            Event::Located { object, located } => self.located(object, located, out),
            Event::Fetched { object, attempt } => self.fetched(object, attempt, out),
            Event::FetchFailed { object, attempt, why } => self.fetch_failed(now, object, attempt, why, out),
            Event::NodeDied(dead) => self.node_died(dead, out),
            Event::OwnerDied(dead) => self.owner_died(dead, out),
            Event::Room(room) => self.room_changed(room, out),
            Event::Tick => self.retry_due(now, out),
        }
        self.settle(out);
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.retries.first().map(|(at, _)| *at)
    }

    fn check(&self) -> Result<(), Violation> {
        self.check_all()
    }
}

impl Pull {
    /// The pulls of the node `own`, whose store holds `capacity` bytes, all of which are taken to be free until an
    /// [`Event::Room`] says otherwise.
    pub fn new(own: Incarnation, capacity: ByteSize) -> Self {
        Self {
            own,
            capacity,
            room: capacity,
            held: ByteSize::ZERO,
            held_args: ByteSize::ZERO,
            local: BTreeMap::new(),
            spilled: BTreeSet::new(),
            objects: BTreeMap::new(),
            bundles: BTreeMap::new(),
            candidates: BTreeSet::new(),
            active: BTreeSet::new(),
            ready_args: 0,
            queued: BTreeSet::new(),
            touched: BTreeSet::new(),
            retries: BTreeSet::new(),
            dead_nodes: Dead::default(),
            dead_owners: Dead::default(),
            arrivals: 0,
            attempts: 0,
        }
    }

    /// Bytes that active and ready bundles hold or have room reserved for.
    pub fn held(&self) -> ByteSize {
        self.held
    }

    /// The objects that have an [`Effect::Pin`] without its [`Effect::Unpin`] so far: their copies stay in the store.
    pub fn pinned(&self) -> impl Iterator<Item = ObjectId> {
        self.objects.iter().filter(|(_, entry)| entry.pinned).map(|(object, _)| *object)
    }

    /// Whether this owner was declared dead.
    pub fn is_dead(&self, owner: Incarnation) -> bool {
        self.dead_owners.contains(owner)
    }

    /// Whether no bundle is left; then nothing is pinned, subscribed or in flight (invariant I24).
    pub fn is_idle(&self) -> bool {
        self.bundles.is_empty()
    }

    fn want(&mut self, now: Nanos, id: BundleId, asked: Vec<ObjectId>, priority: Priority, out: &mut Vec<Effect>) {
        if self.bundles.contains_key(&id) {
            return;
        }
        let distinct: Arc<[ObjectId]> = asked.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let rank = Rank { priority, arrival: self.arrivals, bundle: id };
        self.arrivals += 1;
        let mut tally = Tally::default();
        for object in distinct.iter() {
            let entry = self.objects.entry(*object).or_default();
            entry.wanting.insert(rank);
            tally.add(entry.class);
        }
        let bundle = Bundle { rank, asked, distinct: distinct.clone(), state: State::Waiting, tally, since: now };
        self.bundles.insert(id, bundle);
        self.touched.insert(rank);
        for object in distinct.iter() {
            self.reconcile(*object, out);
        }
        self.settle(out);
        self.tell_pending(id, out);
    }

    /// Tells a bundle of task arguments which of its objects are known not to exist at the moment.
    fn tell_pending(&self, id: BundleId, out: &mut Vec<Effect>) {
        let unready = |bundle: &&Bundle| bundle.rank.priority == Priority::Args && bundle.state != State::Ready;
        let Some(bundle) = self.bundles.get(&id).filter(unready) else { return };
        let pending =
            |object: &&ObjectId| self.objects.get(*object).is_some_and(|entry| entry.known == Some(Located::Pending));
        let told = bundle.distinct.iter().filter(pending);
        out.extend(told.map(|object| Effect::Unavailable { bundle: id, object: *object }));
    }

    fn missed(&mut self, id: BundleId, out: &mut Vec<Effect>) {
        let ready = |bundle: &&Bundle| bundle.state == State::Ready;
        let Some(rank) = self.bundles.get(&id).filter(ready).map(|bundle| bundle.rank) else { return };
        self.deactivate(rank, out);
        self.settle(out);
        self.tell_pending(id, out);
    }

    fn gone(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        self.local.remove(&object);
        self.reconcile(object, out);
    }

    fn located(&mut self, object: ObjectId, located: Located, out: &mut Vec<Effect>) {
        let Some(entry) = self.objects.get_mut(&object).filter(|entry| entry.subscribed) else { return };
        let located = match located {
            Located::Stored { size, .. } if size > self.capacity => {
                let message = format!("{object} takes {size}, and the store of {} {}", self.own, self.capacity);
                Located::Failed(TaskError::new(TaskErrorKind::StoreFull, message))
            }
            Located::Stored { copies, .. } if copies.is_empty() => Located::Pending,
            other => other,
        };
        let told = located == Located::Pending && entry.known != Some(Located::Pending);
        entry.known = Some(located);
        if told {
            let args = entry.wanting.iter().filter(|rank| rank.priority == Priority::Args);
            out.extend(args.map(|rank| Effect::Unavailable { bundle: rank.bundle, object }));
        }
        self.reconcile(object, out);
    }

    fn node_died(&mut self, dead: Incarnation, out: &mut Vec<Effect>) {
        self.dead_nodes.insert(dead);
        // Deaths are rare: one pass over what is wanted is cheaper than an index kept up to date for each location.
        let affected: Vec<ObjectId> = self
            .objects
            .iter()
            .filter(|(_, entry)| entry.copies().contains(&dead))
            .map(|(object, _)| *object)
            .collect();
        for object in affected {
            self.reconcile(object, out);
        }
    }

    fn owner_died(&mut self, dead: Incarnation, out: &mut Vec<Effect>) {
        self.dead_owners.insert(dead);
        let first = crate::TaskId { owner: dead, seq: 0 }.result(0);
        let last = crate::TaskId { owner: dead, seq: u64::MAX }.result(u32::MAX);
        let owned: Vec<ObjectId> = self.objects.range(first..=last).map(|(object, _)| *object).collect();
        for object in owned {
            self.reconcile(object, out);
        }
    }

    /// Whether `object` is sealed in this node's store.
    fn is_local(&self, object: ObjectId) -> bool {
        self.local.contains_key(&object)
    }

    fn class_of(&self, object: ObjectId) -> Class {
        self.objects.get(&object).map_or(Class::Unknown, |entry| entry.class)
    }
}
