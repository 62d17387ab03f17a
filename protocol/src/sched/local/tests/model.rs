//! Owners that ask, return, block and die, against a plain record of what was asked, granted and given back.

use super::*;
use crate::Amount;
use proptest::prelude::*;

/// What the test does next; numbers are taken modulo what exists.
#[derive(Clone, Debug)]
enum Op {
    Ask { owner: u32, cpus: u64, tenths: u64, hops: u8 },
    Return(usize),
    Block(usize),
    Unblock(usize),
    Die(u32),
    See(Vec<u64>),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0u32..4, 0u64..4, 0u64..10, 0u8..6)
            .prop_map(|(owner, cpus, tenths, hops)| Op::Ask { owner, cpus, tenths, hops }),
        5 => any::<usize>().prop_map(Op::Return),
        2 => any::<usize>().prop_map(Op::Block),
        2 => any::<usize>().prop_map(Op::Unblock),
        1 => (0u32..8).prop_map(Op::Die),
        1 => prop::collection::vec(0u64..3, 2).prop_map(Op::See),
    ];
    prop::collection::vec(op, 1..120)
}

/// Every lease is in at most one of the first three sets.
struct World {
    local: Local,
    total: u64,
    asked: BTreeMap<LeaseId, Resources>,
    waiting: BTreeSet<LeaseId>,
    running: BTreeSet<LeaseId>,
    blocked: BTreeSet<LeaseId>,
    answered: BTreeSet<LeaseId>,
    dead: BTreeSet<OwnerId>,
    version: u64,
}

fn nth(set: &BTreeSet<LeaseId>, n: usize) -> Option<LeaseId> {
    set.iter().nth(n % set.len().max(1)).copied()
}

impl World {
    fn new(total: u64) -> Self {
        let (asked, version) = (BTreeMap::new(), 0);
        let [waiting, running, blocked, answered] = std::array::from_fn(|_| BTreeSet::new());
        let (local, dead) = (local(total), BTreeSet::new());
        Self { local, total, asked, waiting, running, blocked, answered, dead, version }
    }

    fn open(&self) -> BTreeSet<LeaseId> {
        self.waiting.iter().chain(&self.running).chain(&self.blocked).copied().collect()
    }

    fn retain(&mut self, keep: impl Fn(&LeaseId) -> bool) {
        for set in [&mut self.waiting, &mut self.running, &mut self.blocked] {
            set.retain(&keep);
        }
    }

    fn apply(&mut self, op: Op) {
        let Some(event) = self.event(op) else { return };
        for effect in step(&mut self.local, event) {
            self.obey(effect);
        }
        assert_eq!(self.local.leases().collect::<BTreeSet<_>>(), self.open(), "no request is lost");
    }

    fn event(&mut self, op: Op) -> Option<Event> {
        Some(match op {
            Op::Ask { owner, cpus, tenths, hops } => {
                let need = Resources::none().with("cpu", Amount(cpus * 10_000 + tenths * 1_000));
                let lease = lease(owner, self.asked.len() as u64 + 1);
                self.asked.insert(lease, need.clone());
                self.waiting.insert(lease);
                Event::Request { from: lease.owner, lease, class: class(need), hops }
            }
            Op::Return(n) => {
                let lease = nth(&self.open(), n)?;
                self.retain(|other| *other != lease);
                Event::Return { lease }
            }
            Op::Block(n) => {
                let lease = nth(&self.running, n)?;
                self.running.remove(&lease);
                self.blocked.insert(lease);
                Event::Blocked { lease }
            }
            Op::Unblock(n) => {
                let lease = nth(&self.blocked, n)?;
                self.blocked.remove(&lease);
                self.running.insert(lease);
                Event::Unblocked { lease }
            }
            Op::Die(n) if n >= 4 => return None,
            Op::Die(n) => {
                self.dead.insert(owner(n));
                self.retain(|lease| lease.owner != owner(n));
                Event::OwnerDied(owner(n))
            }
            Op::See(free) => {
                self.version += 1;
                let Event::View(view) = view(&[(2, 2, free[0]), (3, 2, free[1])]) else { unreachable!() };
                let mut view = (*view).clone();
                view.nodes.iter_mut().for_each(|node| Arc::make_mut(node).load.version = self.version);
                Event::View(Arc::new(view))
            }
        })
    }

    fn obey(&mut self, effect: Effect) {
        match effect {
            Effect::Grant { to, lease } => {
                assert!(self.waiting.remove(&lease) && self.answered.insert(lease) && to == lease.owner);
                assert!(!self.dead.contains(&to), "granted to the dead");
                self.running.insert(lease);
                let sum: u64 = self.running.iter().map(|lease| self.asked[lease].get("cpu").0).sum();
                assert!(self.asked[&lease].is_empty() || sum <= self.total * 10_000, "a grant above capacity");
            }
            Effect::Spillback { lease, .. } => self.sent_away(lease),
            Effect::Refuse { lease, .. } => {
                let never = self.asked[&lease].get("cpu").0 > self.total * 10_000;
                assert!(never || self.dead.contains(&lease.owner), "{lease} is refused for no reason");
                self.sent_away(lease);
            }
            Effect::Reserved { .. } | Effect::Unreserved { .. } => panic!("nobody asked for a bundle"),
            Effect::Ended { .. } | Effect::LoadChanged(_) => {}
        }
    }

    fn sent_away(&mut self, lease: LeaseId) {
        assert!(self.waiting.remove(&lease) && self.answered.insert(lease), "{lease} is answered twice");
    }
}

proptest! {
    /// Nothing is granted twice, above capacity or to the dead; every request is answered once; and when everything is
    /// returned the node is free.
    #[test]
    fn keeps_its_promises(ops in ops(), total in 1u64..5) {
        let mut world = World::new(total);
        ops.into_iter().for_each(|op| world.apply(op));
        for _ in 0..200 {
            world.apply(Op::Return(0));
        }
        prop_assert!(world.open().is_empty());
        prop_assert_eq!(world.local.used(), Resources::none());
        prop_assert_eq!(&world.local.load().available, &Resources::cpus(total));
    }
}
