//! Nodes that answer requests in any order and way, die and change, tasks that come and are withdrawn, and a placement
//! group whose bundles move, of which word may be old.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

/// Cpus of each of the four nodes, and of each bundle.
const CPUS: u64 = 3;

const GROUP: GroupId = GroupId { owner: ME, seq: 1 };

#[derive(Clone, Debug)]
enum Op {
    Enqueue {
        class: usize,
        near: u32,
        again: bool,
    },
    Dequeue(u64),
    Answer {
        nth: usize,
        how: u8,
    },
    Finish {
        nth: usize,
        micros: u64,
        started: bool,
    },
    Die(u32),
    See(u64),
    /// The nodes with a bundle, dead ones perhaps among them.
    Usable(BTreeSet<u32>),
    Wait(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0usize..5, 0u32..5, prop::bool::weighted(0.2))
            .prop_map(|(class, near, again)| Op::Enqueue { class, near, again }),
        1 => (0u64..60).prop_map(Op::Dequeue),
        6 => (any::<usize>(), 0u8..6).prop_map(|(nth, how)| Op::Answer { nth, how }),
        6 => (any::<usize>(), 1u64..900, prop::bool::weighted(0.9))
            .prop_map(|(nth, micros, started)| Op::Finish { nth, micros, started }),
        1 => (1u32..30).prop_map(Op::Die),
        1 => (0u64..4).prop_map(Op::See),
        1 => prop::collection::btree_set(1u32..5, 0..4).prop_map(Op::Usable),
        2 => (0u64..9_000).prop_map(Op::Wait),
    ];
    prop::collection::vec(op, 1..200)
}

struct World {
    rig: Rig,
    classes: [Arc<SchedulingClass>; 5],
    alive: BTreeSet<u32>,
    /// Requests without an answer: at which node, after how many hops.
    asked: BTreeMap<u64, (u32, u8)>,
    /// Leases, where, and the tasks assigned under each.
    held: BTreeMap<u64, (u32, VecDeque<u64>)>,
    /// Every task's class, and which are queued.
    kinds: BTreeMap<u64, usize>,
    queued: BTreeSet<u64>,
    /// Lease numbers that were ever asked for.
    used: BTreeSet<u64>,
    version: u64,
}

impl World {
    fn new(lasting: bool) -> Self {
        let mut rig = Rig::new(&[1, 2, 3, 4].map(|id| (id, CPUS, CPUS)));
        rig.dispatch.settings.lasting = lasting;
        rig.step(bundles(&BTreeSet::from([2, 3])));
        let spread = bound("f", 1, Placement::Spread);
        let inside = bound("f", 1, Placement::Group { group: GROUP, index: None });
        Self {
            rig,
            classes: [class("f", 1), class("g", 2), class("h", 0), spread, inside],
            alive: BTreeSet::from([1, 2, 3, 4]),
            asked: BTreeMap::new(),
            held: BTreeMap::new(),
            kinds: BTreeMap::new(),
            queued: BTreeSet::new(),
            used: BTreeSet::new(),
            version: 1,
        }
    }

    fn apply(&mut self, op: Op) {
        let Some(event) = self.event(op) else { return };
        for effect in self.rig.step(event) {
            self.obey(effect);
        }
        assert_eq!(self.rig.dispatch.queued(), self.queued.len());
        // The cap of each class is its slots, or one: all take one cpu but g, which takes two, and h, which takes none and
        // counts as 16.
        let nodes = self.alive.len() as u64;
        let slots = [CPUS, CPUS / 2, 16, CPUS, CPUS].map(|slots| (nodes * slots).max(1)).iter().sum::<u64>();
        // Where leases are for life, h is bounded by its tasks alone.
        let free = if self.rig.dispatch.settings.lasting { self.kinds.len() as u64 } else { 0 };
        assert!(self.asked.len() as u64 <= slots + free, "{} requests out", self.asked.len());
    }

    fn event(&mut self, op: Op) -> Option<Event> {
        Some(match op {
            Op::Enqueue { class, near, again } => {
                let seq = self.kinds.len() as u64 + 1;
                self.queued.insert(seq);
                self.kinds.insert(seq, class);
                let near = if near == 0 { vec![] } else { vec![(NodeId(near), ByteSize(9))] };
                Event::Enqueue { task: task(seq), class: self.classes[class].clone(), near, again }
            }
            Op::Dequeue(seq) => {
                self.queued.remove(&seq);
                Event::Dequeue { task: task(seq) }
            }
            Op::Answer { nth, how } => self.answer(nth, how)?,
            Op::Finish { nth, micros, started } => {
                let busy: Vec<u64> =
                    self.held.iter().filter(|(_, (_, tasks))| !tasks.is_empty()).map(|(l, _)| *l).collect();
                let l = *busy.get(nth % busy.len().max(1))?;
                let t = self.held.get_mut(&l).and_then(|(_, tasks)| tasks.pop_front())?;
                Event::Finished { lease: lease(l), task: task(t), spent: Nanos::micros(micros), started }
            }
            Op::Die(n) if n == 1 || !self.alive.remove(&n) => return None,
            Op::Die(n) => {
                self.asked.retain(|_, (at, _)| *at != n);
                self.held.retain(|_, (at, _)| *at != n);
                Event::NodeDied(node(n))
            }
            Op::See(free) => {
                self.version += 1;
                let nodes: Vec<_> = self.alive.iter().map(|id| (*id, CPUS, free)).collect();
                Event::View(view(self.version, &nodes))
            }
            Op::Usable(nodes) => bundles(&nodes),
            Op::Wait(micros) => {
                self.rig.now += Nanos::micros(micros);
                Event::Tick
            }
        })
    }

    fn answer(&mut self, nth: usize, how: u8) -> Option<Event> {
        let (l, (at, hops)) = self.asked.iter().nth(nth % self.asked.len().max(1)).map(|(l, a)| (*l, *a))?;
        self.asked.remove(&l);
        Some(match how {
            0..4 => {
                self.held.insert(l, (at, VecDeque::new()));
                Event::Granted { lease: lease(l), by: node(at) }
            }
            4 if hops < MAX_HOPS => Event::Spillback { lease: lease(l), to: node(1 + at % 4) },
            _ => Event::Refused { lease: lease(l), why: Refusal::Draining, by: node(at) },
        })
    }

    fn obey(&mut self, effect: Effect) {
        match effect {
            Effect::Request { to, lease, hops, .. } => {
                assert!(self.alive.contains(&to.node.0) && hops <= MAX_HOPS);
                assert!(self.used.insert(lease.seq) || hops > 0, "a lease id used twice");
                assert!(self.asked.insert(lease.seq, (to.node.0, hops)).is_none(), "asked at two nodes at once");
            }
            Effect::Return { lease, .. } => {
                let tasks = self.held.remove(&lease.seq).map_or(0, |(_, tasks)| tasks.len());
                assert_eq!(tasks, 0, "returned with tasks in flight");
                self.asked.remove(&lease.seq);
            }
            Effect::Assign { task, lease, to } => {
                assert!(self.queued.remove(&task.seq), "assigned without being queued");
                let (at, tasks) = self.held.get_mut(&lease.seq).expect("a held lease");
                tasks.push_back(task.seq);
                assert!(*at == to.node.0 && tasks.len() <= MAX_DEPTH);
                let kind = self.kinds[&task.seq];
                assert!(tasks.iter().all(|t| self.kinds[t] == kind), "a lease serves one class");
            }
            Effect::Unschedulable { task, .. } => panic!("{task}: no affinity here"),
        }
    }
}

fn bundles(nodes: &BTreeSet<u32>) -> Event {
    usable(GROUP, &nodes.iter().map(|at| (*at, *at, CPUS)).collect::<Vec<_>>())
}

proptest! {
    /// A queued task leaves the queue exactly once, requests stay within the cap, the depth bound holds, and when grants
    /// flow at the end everything is assigned and every lease goes back.
    #[test]
    fn every_task_is_assigned_once(ops in ops(), lasting in any::<bool>()) {
        let mut world = World::new(lasting);
        ops.into_iter().for_each(|op| world.apply(op));
        world.apply(Op::See(CPUS));
        world.apply(Op::Usable(BTreeSet::from([1])));
        for _ in 0..400 {
            world.apply(Op::Answer { nth: 0, how: 0 });
            world.apply(Op::Finish { nth: 0, micros: 100, started: true });
            world.apply(Op::Wait(6_000));
        }
        prop_assert!(world.queued.is_empty(), "stuck: {:?}", world.queued);
        prop_assert!(world.asked.is_empty() && world.held.is_empty(), "leaked: {:?} {:?}", world.asked, world.held);
        prop_assert_eq!(world.rig.dispatch.leases().count(), 0);
    }
}
