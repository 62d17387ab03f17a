//! The pull machine in a small random world that plays the owners, the other nodes, this node's store and the
//! callers, and that knows nothing of the machine's insides. What it asserts is listed in the module documentation
//! under "Guarantees".
//!
//! Evictions are not the machine's doing: workers make room while it is not looking. So it hears of them later, by
//! [`Op::Hear`], and what it wants of the store meanwhile may come too late.

use super::*;
use crate::{Attempt, TaskId};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::VecDeque;

const OWN: u32 = 9;
/// Never dies, so that healing is possible.
const SAFE: u32 = 7;
const CAPACITY: u64 = 60;
const OBJECTS: u64 = 8;

fn node(n: u32) -> Incarnation {
    Incarnation::new(n, n)
}

/// Even ones belong to owner 1, odd ones to owner 2.
fn object(o: u64) -> ObjectId {
    TaskId { owner: node(1 + (o % 2) as u32), seq: o }.result(0)
}

fn size(object: ObjectId) -> u64 {
    [5, 10, 20, 30, 40, 55, 25, 61][object.task.seq as usize]
}

#[derive(Clone, Debug)]
enum Op {
    Want(Vec<u64>, Priority),
    Drop(usize),
    Queued(usize),
    Started(usize),
    /// The owner changes its mind: 0 pending, 1 inline, 2 failed, else a copy at that node.
    Truth(u64, u32),
    Deliver(u64),
    Fetched(u64),
    FetchFailed(u64, FetchFailure),
    Late(usize, bool),
    Produce(u64),
    Evict(u64),
    Spill(u64),
    ForceEvict(u64),
    /// The machine hears of the eviction that it did not hear of for the longest time.
    Hear,
    Free(u64),
    NodeDied(u32),
    OwnerDied(u32),
    Foreign(u64),
    Tick,
}

fn op() -> impl Strategy<Value = Op> {
    let (o, b) = (0..OBJECTS, 0..6usize);
    let priority =
        prop_oneof![Just(Priority::Get), Just(Priority::Wait), Just(Priority::Args), Just(Priority::Replica)];
    let why = prop_oneof![
        Just(FetchFailure::NoMemory),
        Just(FetchFailure::Corrupt(None)),
        Just(FetchFailure::Corrupt(Some(Incarnation::new(2, 2))))
    ];
    prop_oneof![
        10 => (prop::collection::vec(o.clone(), 0..4), priority).prop_map(|(objects, p)| Op::Want(objects, p)),
        4 => b.clone().prop_map(Op::Drop),
        3 => b.clone().prop_map(Op::Queued),
        1 => b.clone().prop_map(Op::Started),
        12 => (o.clone(), prop_oneof![1 => 0..3u32, 6 => 3..SAFE]).prop_map(|(o, what)| Op::Truth(o, what)),
        14 => o.clone().prop_map(Op::Deliver),
        8 => o.clone().prop_map(Op::Fetched),
        5 => (o.clone(), why).prop_map(|(o, why)| Op::FetchFailed(o, why)),
        2 => (b, any::<bool>()).prop_map(|(n, good)| Op::Late(n, good)),
        3 => o.clone().prop_map(Op::Produce),
        5 => o.clone().prop_map(Op::Evict),
        3 => o.clone().prop_map(Op::Spill),
        1 => o.clone().prop_map(Op::ForceEvict),
        5 => Just(Op::Hear),
        1 => o.prop_map(Op::Free),
        1 => (3..SAFE).prop_map(Op::NodeDied),
        1 => (1..3u32).prop_map(Op::OwnerDied),
        4 => (0..=CAPACITY).prop_map(Op::Foreign),
        3 => Just(Op::Tick),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Wanted,
    Ready { queued: bool },
}

struct World {
    pull: Pull,
    now: Nanos,
    truth: BTreeMap<ObjectId, Located>,
    /// Subscribed objects, and what the machine was told of each last.
    told: BTreeMap<ObjectId, Option<Located>>,
    /// Subscribed objects of which the owner has news.
    news: BTreeSet<ObjectId>,
    store: BTreeSet<ObjectId>,
    /// On this node's disk and not in its store.
    disk: BTreeSet<ObjectId>,
    /// What left the store without the machine's knowledge, in order.
    unheard: VecDeque<ObjectId>,
    /// By name: a pin outlives its copy.
    pins: BTreeSet<ObjectId>,
    /// Those of the pins that came too late.
    vain: BTreeSet<ObjectId>,
    /// What the machine wants done, in order. What happens while it is done may make it want more.
    wishes: VecDeque<Effect>,
    /// Fetches and restores.
    flights: BTreeMap<ObjectId, Attempt>,
    /// What each fetch was told last. Restores have no entry.
    holders: BTreeMap<ObjectId, Vec<Incarnation>>,
    latest: BTreeMap<ObjectId, Attempt>,
    aborted: Vec<(ObjectId, Attempt)>,
    bundles: BTreeMap<BundleId, (Priority, Vec<ObjectId>, Phase)>,
    wanted: u64,
    dead: BTreeSet<u32>,
    foreign: u64,
}

impl World {
    fn new() -> Self {
        World {
            pull: Pull::new(node(OWN), ByteSize(CAPACITY)),
            now: Nanos::ZERO,
            truth: (0..OBJECTS).map(|o| (object(o), Located::Pending)).collect(),
            told: BTreeMap::new(),
            news: BTreeSet::new(),
            store: BTreeSet::new(),
            disk: BTreeSet::new(),
            unheard: VecDeque::new(),
            pins: BTreeSet::new(),
            vain: BTreeSet::new(),
            wishes: VecDeque::new(),
            flights: BTreeMap::new(),
            holders: BTreeMap::new(),
            latest: BTreeMap::new(),
            aborted: Vec::new(),
            bundles: BTreeMap::new(),
            wanted: 0,
            dead: BTreeSet::new(),
            foreign: 0,
        }
    }

    fn step(&mut self, event: Event) {
        self.tell(event);
        while let Some(effect) = self.wishes.pop_front() {
            self.obey(effect);
        }
        self.check();
    }

    fn tell(&mut self, event: Event) {
        self.now += Nanos::millis(1);
        let mut out = vec![];
        self.pull.step(self.now, event, &mut out);
        self.pull.check().unwrap_or_else(|violation| panic!("{violation}"));
        self.wishes.extend(out);
    }

    fn obey(&mut self, effect: Effect) {
        match effect {
            Effect::Subscribe(object) => {
                assert!(!self.dead.contains(&object.owner().node.0), "asked a dead owner");
                assert!(self.told.insert(object, None).is_none(), "subscribed twice");
                self.news.insert(object);
            }
            Effect::Unsubscribe(object) => {
                assert!(self.told.remove(&object).is_some(), "unsubscribed without a subscription");
                self.news.remove(&object);
            }
            Effect::Pin(object) => {
                assert!(!self.vain.contains(&object) && !self.pins.contains(&object), "{object} pinned twice");
                if self.store.contains(&object) {
                    self.pins.insert(object);
                } else {
                    assert!(
                        self.unheard.contains(&object),
                        "{object} pinned although the machine knew that it is gone"
                    );
                    self.vain.insert(object);
                    self.tell(self.absence(object));
                }
            }
            Effect::Unpin(object) => {
                assert!(self.pins.remove(&object) || self.vain.remove(&object), "{object} unpinned without a pin");
            }
            Effect::Fetch { object, attempt, size: bytes, holders } => {
                self.take_off(object, attempt);
                assert_eq!(bytes, ByteSize(size(object)));
                self.holders.insert(object, holders);
            }
            Effect::Restore { object, attempt } => {
                self.take_off(object, attempt);
                self.holders.remove(&object);
            }
            Effect::Holders { object, attempt, holders } => {
                assert_eq!(self.flights.get(&object), Some(&attempt), "told of what is not in flight");
                assert_ne!(self.holders.insert(object, holders.clone()), Some(holders), "told nothing new");
            }
            Effect::AbortFetch { object, attempt } => {
                assert_eq!(self.flights.remove(&object), Some(attempt), "aborted what is not in flight");
                self.aborted.push((object, attempt));
            }
            Effect::Ready { bundle, values } => self.ready(bundle, &values),
            Effect::Recalled { bundle } => {
                let (priority, _, phase) = self.bundles.get_mut(&bundle).expect("known");
                assert_eq!((*priority, *phase), (Priority::Args, Phase::Ready { queued: true }));
                *phase = Phase::Wanted;
            }
            Effect::Failed { bundle, object, .. } => {
                let (_, objects, phase) = self.bundles.remove(&bundle).expect("known");
                assert!(phase == Phase::Wanted && objects.contains(&object));
            }
            // The owner's affair: the fetch goes on meanwhile.
            Effect::Damaged { .. } => {}
            Effect::Unavailable { bundle, object } => {
                let (priority, objects, phase) = &self.bundles[&bundle];
                assert!(*priority == Priority::Args && *phase == Phase::Wanted && objects.contains(&object));
                assert_eq!(self.told[&object], Some(Located::Pending));
            }
        }
    }

    fn take_off(&mut self, object: ObjectId, attempt: Attempt) {
        assert!(!self.store.contains(&object), "fetched what is here");
        assert!(self.flights.insert(object, attempt).is_none(), "two fetches of one object");
        assert!(self.latest.insert(object, attempt).is_none_or(|before| before < attempt), "attempt not new");
    }

    /// Takes the values of a bundle, unless a pin came too late for one.
    fn ready(&mut self, bundle: BundleId, values: &[Value]) {
        let (_, objects, phase) = &self.bundles[&bundle];
        assert_eq!(*phase, Phase::Wanted, "ready twice");
        assert_eq!(values.len(), objects.len());
        let mut missed = None;
        for (object, value) in objects.iter().zip(values) {
            match value {
                Value::Local if self.vain.contains(object) => missed = Some(*object),
                Value::Local => assert!(self.pins.contains(object), "{object} is not pinned"),
                Value::Inline(bytes) => assert_eq!(*bytes, inline(*object)),
            }
        }
        match missed {
            Some(object) => {
                assert!(!self.store.contains(&object));
                self.tell(Event::Missed { bundle });
            }
            None => self.bundles.get_mut(&bundle).expect("known").2 = Phase::Ready { queued: false },
        }
    }

    /// What must hold after every step, from the outside.
    fn check(&self) {
        assert!(self.vain.is_empty(), "pins that came too late are undone at once: {:?}", self.vain);
        let used: BTreeSet<ObjectId> = self.flights.keys().chain(&self.pins).copied().collect();
        let ready = |o: &ObjectId| {
            self.bundles.values().any(|(_, objects, phase)| *phase != Phase::Wanted && objects.contains(o))
        };
        let extra: BTreeSet<ObjectId> = used.iter().copied().filter(|o| !ready(o)).collect();
        if used.iter().map(|o| size(*o)).sum::<u64>() > CAPACITY - self.foreign {
            let one = self.bundles.values().any(|(_, objects, phase)| {
                *phase == Phase::Wanted && extra.iter().all(|object| objects.contains(object))
            });
            assert!(extra.is_empty() || one, "more than one active bundle beyond the room: {extra:?}");
        }
        for object in self.flights.keys() {
            let Some(Some(Located::Stored { copies, .. })) = self.told.get(object) else { panic!("fetched unlocated") };
            let alive = |at: &&Incarnation| **at != node(OWN) && !self.dead.contains(&at.node.0);
            let alive: Vec<Incarnation> = copies.iter().filter(alive).copied().collect();
            assert_eq!(self.holders.contains_key(object), !self.disk.contains(object), "the disk comes first");
            if self.disk.contains(object) {
                continue;
            }
            assert!(!alive.is_empty() && self.holders[object] == alive, "{alive:?}, not {:?}", self.holders[object]);
        }
        let waiting: Vec<Waiting> = self.pull.waiting().collect();
        let blocked = waiting.iter().filter(|w| w.on == WaitingFor::Room).map(|w| self.bundles[&w.bundle].0).min();
        for object in self.flights.keys() {
            let (priority, ..) = self
                .bundles
                .values()
                .filter(|(_, objects, phase)| *phase == Phase::Wanted && objects.contains(object))
                .min_by_key(|(priority, ..)| *priority)
                .expect("a fetch for nobody");
            assert!(blocked.is_none_or(|blocked| *priority <= blocked), "{priority:?} before {blocked:?}");
        }
        for (id, (.., phase)) in &self.bundles {
            let says = waiting.iter().any(|w| w.bundle == *id);
            assert_eq!(says, *phase == Phase::Wanted, "{id:?} waits silently, or says so although ready");
        }
    }

    fn set_truth(&mut self, object: ObjectId, located: Located) {
        if self.dead.contains(&object.owner().node.0) || self.truth[&object] == located {
            return;
        }
        self.truth.insert(object, located);
        if self.told.contains_key(&object) {
            self.news.insert(object);
        }
    }

    /// The owner learns of one more, or one fewer, copy.
    fn copy(&mut self, object: ObjectId, n: u32, add: bool) {
        let mut copies = match &self.truth[&object] {
            Located::Stored { copies, .. } => copies.clone(),
            Located::Pending => vec![],
            Located::Inline(_) | Located::Failed(_) => return,
        };
        copies.retain(|at| *at != node(n));
        if add && !self.dead.contains(&n) {
            copies.push(node(n));
            copies.sort();
        }
        let size = ByteSize(size(object));
        self.set_truth(object, if copies.is_empty() { Located::Pending } else { Located::Stored { size, copies } });
    }

    fn deliver(&mut self, object: ObjectId) {
        if self.news.remove(&object) && !self.dead.contains(&object.owner().node.0) {
            let located = self.truth[&object].clone();
            self.told.insert(object, Some(located.clone()));
            self.step(Event::Located { object, located });
        }
    }

    /// The copy here leaves; nobody else knows yet.
    fn leave(&mut self, object: ObjectId) {
        if self.store.remove(&object) {
            self.unheard.push_back(object);
        }
    }

    fn hear(&mut self) {
        let Some(object) = self.unheard.pop_front() else { return };
        if !self.disk.contains(&object) {
            self.copy(object, OWN, false);
        }
        self.step(self.absence(object));
    }

    /// What there is to say of an object that is not in the store.
    fn absence(&self, object: ObjectId) -> Event {
        if self.disk.contains(&object) { Event::Spilled { object } } else { Event::Gone { object } }
    }

    /// A new copy is here. What happened before is heard before.
    fn enter(&mut self, object: ObjectId) {
        while !self.unheard.is_empty() {
            self.hear();
        }
        self.store.insert(object);
        self.disk.remove(&object);
        self.copy(object, OWN, true);
    }

    /// Evicts until there is room for one more.
    fn make_room(&mut self, object: ObjectId) -> bool {
        let pinned: u64 = self.pins.intersection(&self.store).map(|o| size(*o)).sum();
        if pinned + self.foreign + size(object) > CAPACITY {
            return false;
        }
        while self.store.iter().map(|o| size(*o)).sum::<u64>() + self.foreign + size(object) > CAPACITY {
            let victim = *self.store.difference(&self.pins).next().expect("not all is pinned");
            self.leave(victim);
        }
        true
    }

    fn fetched(&mut self, object: ObjectId) {
        let Some(attempt) = self.flights.get(&object).copied() else { return };
        if !self.make_room(object) {
            return self.failed(object, FetchFailure::NoMemory);
        }
        self.enter(object);
        // What it heard may have changed the machine's mind.
        if self.flights.get(&object) == Some(&attempt) {
            self.flights.remove(&object);
            self.step(Event::Fetched { object, attempt });
        }
        self.step(Event::Local { object, size: ByteSize(size(object)) });
    }

    fn failed(&mut self, object: ObjectId, why: FetchFailure) {
        if let Some(attempt) = self.flights.remove(&object) {
            self.step(Event::FetchFailed { object, attempt, why });
        }
    }

    fn want(&mut self, objects: Vec<ObjectId>, priority: Priority) {
        let bundle = BundleId(self.wanted);
        self.wanted += 1;
        self.bundles.insert(bundle, (priority, objects.clone(), Phase::Wanted));
        self.step(Event::Want { bundle, objects, priority });
    }

    fn nth(&self, n: usize) -> Option<BundleId> {
        let ids: Vec<BundleId> = self.bundles.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[n % ids.len()])
    }

    fn set_queued(&mut self, n: usize, to: bool) {
        let Some(bundle) = self.nth(n) else { return };
        if let Some((Priority::Args, _, Phase::Ready { queued })) = self.bundles.get_mut(&bundle) {
            *queued = to;
            self.step(if to { Event::Queued { bundle } } else { Event::Started { bundle } });
        }
    }

    fn do_op(&mut self, op: Op) {
        match op {
            Op::Want(objects, priority) => self.want(objects.into_iter().map(object).collect(), priority),
            Op::Drop(n) => {
                if let Some(bundle) = self.nth(n) {
                    self.bundles.remove(&bundle);
                    self.step(Event::Drop { bundle });
                }
            }
            Op::Queued(n) => self.set_queued(n, true),
            Op::Started(n) => self.set_queued(n, false),
            Op::Truth(o, 0) => self.set_truth(object(o), Located::Pending),
            Op::Truth(o, 1) => self.set_truth(object(o), Located::Inline(inline(object(o)))),
            Op::Truth(o, 2) => {
                self.set_truth(object(o), Located::Failed(TaskError::new(TaskErrorKind::Freed, "freed")))
            }
            Op::Truth(o, n) => self.copy(object(o), n, true),
            Op::Deliver(o) => self.deliver(object(o)),
            Op::Fetched(o) => self.fetched(object(o)),
            Op::FetchFailed(o, why) => self.failed(object(o), why),
            Op::Late(n, good) => {
                if let Some((object, attempt)) = self.aborted.get(n).copied() {
                    let why = FetchFailure::Corrupt(None);
                    self.step(if good {
                        Event::Fetched { object, attempt }
                    } else {
                        Event::FetchFailed { object, attempt, why }
                    });
                }
            }
            Op::Produce(o) => {
                let object = object(o);
                if size(object) <= CAPACITY && !self.store.contains(&object) && self.make_room(object) {
                    self.enter(object);
                    self.step(Event::Local { object, size: ByteSize(size(object)) });
                }
            }
            Op::Evict(o) | Op::Spill(o) if self.pins.contains(&object(o)) => {}
            Op::Evict(o) | Op::ForceEvict(o) => self.leave(object(o)),
            Op::Spill(o) => {
                if self.store.contains(&object(o)) {
                    self.disk.insert(object(o));
                    self.leave(object(o));
                }
            }
            Op::Hear => self.hear(),
            Op::Free(o) => {
                if self.store.remove(&object(o)) | self.disk.remove(&object(o)) {
                    self.copy(object(o), OWN, false);
                    self.step(Event::Gone { object: object(o) });
                }
            }
            Op::NodeDied(n) => {
                self.dead.insert(n);
                (0..OBJECTS).for_each(|o| self.copy(object(o), n, false));
                self.step(Event::NodeDied(node(n)));
            }
            Op::OwnerDied(n) => {
                self.dead.insert(n);
                self.step(Event::OwnerDied(node(n)));
            }
            Op::Foreign(bytes) => {
                self.foreign = bytes;
                self.step(Event::Room(ByteSize(CAPACITY - bytes)));
            }
            Op::Tick => {
                self.now = self.pull.next_deadline().unwrap_or(self.now).max(self.now);
                self.step(Event::Tick);
            }
        }
    }

    /// From now on everything works and callers use what they get.
    fn heal(&mut self) {
        self.do_op(Op::Foreign(0));
        for _ in 0..200 {
            for o in (0..OBJECTS).map(object) {
                if self.truth[&o] == Located::Pending || matches!(self.truth[&o], Located::Stored { .. }) {
                    self.copy(o, SAFE, true);
                }
                self.deliver(o);
                self.fetched(o);
            }
            while !self.unheard.is_empty() {
                self.hear();
            }
            self.do_op(Op::Tick);
            let ready = self.bundles.iter().filter(|(_, (.., phase))| *phase != Phase::Wanted).map(|(id, _)| *id);
            for bundle in ready.collect::<Vec<_>>() {
                // A drop can recall nothing, but it may make others ready, and those stay for the next round.
                self.bundles.remove(&bundle);
                self.step(Event::Drop { bundle });
            }
            if self.bundles.is_empty() {
                return;
            }
        }
        panic!("{:?} never ended; waiting: {:?}", self.bundles, self.pull.waiting().collect::<Vec<_>>());
    }
}

fn inline(object: ObjectId) -> Bytes {
    Bytes::from(object.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn every_bundle_ends_and_the_rules_hold_all_the_way(ops in prop::collection::vec(op(), 0..120)) {
        let mut world = World::new();
        ops.into_iter().for_each(|op| world.do_op(op));
        world.heal();
        prop_assert!(world.pull.is_idle() && world.pull.next_deadline().is_none());
        prop_assert_eq!(world.pull.held(), ByteSize::ZERO);
        prop_assert!(world.told.is_empty() && world.pins.is_empty() && world.flights.is_empty(), "leaked (I24)");
    }
}
