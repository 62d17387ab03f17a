//! Groups against real nodes: [`Local`] machines that answer over ordered links, late, and die.

use super::*;
use crate::member::{Member, NodeView};
use crate::sched::{Hybrid, Local, local};
use crate::{Epoch, NodeId};
use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as _;
use std::collections::VecDeque;

const ME: Incarnation = Incarnation::new(100, 100);

fn member(id: u32, cpus: u64) -> Member {
    Member {
        incarnation: Incarnation::new(id, id),
        name: format!("N{id}"),
        rpc: String::new(),
        bulk: String::new(),
        total: Resources::cpus(cpus),
        labels: Default::default(),
    }
}

/// One owner's groups and the nodes they live on.
struct World {
    now: Nanos,
    groups: Groups,
    nodes: BTreeMap<NodeId, (Member, Local)>,
    /// To each node, and from each node, in order.
    to: BTreeMap<NodeId, VecDeque<Effect>>,
    from: BTreeMap<NodeId, VecDeque<local::Effect>>,
    usable: BTreeMap<GroupId, Vec<Placed>>,
    /// What the head was told.
    published: BTreeMap<GroupId, Vec<Placed>>,
    next: u32,
}

impl World {
    fn new(cpus: &[u64]) -> Self {
        let mut world = Self {
            now: Nanos::ZERO,
            groups: Groups::default(),
            nodes: BTreeMap::new(),
            to: BTreeMap::new(),
            from: BTreeMap::new(),
            usable: BTreeMap::new(),
            published: BTreeMap::new(),
            next: 0,
        };
        cpus.iter().for_each(|cpus| world.add(*cpus));
        world.tell_view();
        world
    }

    fn add(&mut self, cpus: u64) {
        self.next += 1;
        let member = member(self.next, cpus);
        let local = Local::new(member.clone(), Arc::new(Hybrid), 7);
        self.nodes.insert(NodeId(self.next), (member, local));
    }

    /// The owner hears of all loads; until it is called again they are old.
    fn tell_view(&mut self) {
        let view = |(member, local): &(Member, Local)| NodeView { member: member.clone(), load: local.load().clone() };
        let nodes = self.nodes.values().map(view).map(Arc::new).collect();
        self.step(Event::View(Arc::new(ClusterView { nodes, ..Default::default() })));
    }

    fn step(&mut self, event: Event) {
        let mut out = Vec::new();
        self.groups.step(self.now, event, &mut out);
        self.groups.check().expect("invariants");
        for effect in out {
            match effect {
                Effect::Reserve { to, .. } | Effect::Return { to, .. } => {
                    if self.nodes.contains_key(&to.node) {
                        self.to.entry(to.node).or_default().push_back(effect);
                    }
                }
                Effect::Usable { group, bundles: Some(bundles) } => drop(self.usable.insert(group, bundles)),
                Effect::Usable { group, bundles: None } => drop(self.usable.remove(&group)),
                Effect::Publish { group, bundles: Some(bundles) } => drop(self.published.insert(group, bundles)),
                Effect::Publish { group, bundles: None } => drop(self.published.remove(&group)),
            }
        }
        for (group, bundles) in &self.published {
            assert_eq!(self.usable.get(group), Some(bundles), "the head is told what the dispatcher is told");
        }
    }

    /// One message arrives at a node, or from it. Says whether there was one.
    fn deliver(&mut self, id: NodeId, inbound: bool) -> bool {
        if inbound {
            let Some(effect) = self.from.get_mut(&id).and_then(VecDeque::pop_front) else { return false };
            let by = Incarnation { node: id, epoch: Epoch(id.0) };
            match effect {
                local::Effect::Reserved { bundle, .. } => self.step(Event::Reserved { bundle, by }),
                local::Effect::Unreserved { bundle, .. } => self.step(Event::Refused { bundle, by }),
                _ => {}
            }
            return true;
        }
        let Some(effect) = self.to.get_mut(&id).and_then(VecDeque::pop_front) else { return false };
        let Some((_, local)) = self.nodes.get_mut(&id) else { return true };
        let event = match effect {
            Effect::Reserve { bundle, resources, .. } => local::Event::Reserve { from: ME, bundle, resources },
            Effect::Return { bundle, .. } => local::Event::Unreserve { bundle },
            Effect::Usable { .. } | Effect::Publish { .. } => return true,
        };
        let mut out = Vec::new();
        local.step(self.now, event, &mut out);
        local.check().expect("invariants");
        self.from.entry(id).or_default().extend(out);
        true
    }

    fn kill(&mut self, id: NodeId) {
        self.nodes.remove(&id);
        self.to.remove(&id);
        self.from.remove(&id);
        self.step(Event::NodeDied(Incarnation { node: id, epoch: Epoch(id.0) }));
    }

    /// Until nothing is under way and no round is due.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "never quiet");
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            if ids.iter().any(|id| self.deliver(*id, false) | self.deliver(*id, true)) {
                continue;
            }
            self.tell_view();
            match self.groups.next_deadline() {
                Some(deadline) => {
                    self.now = deadline;
                    self.step(Event::Tick);
                }
                None if self.to.values().all(VecDeque::is_empty) => return,
                None => {}
            }
        }
    }

    fn create(&mut self, seq: u64, cpus: &[u64], strategy: Strategy) -> GroupId {
        let group = GroupId { owner: ME, seq };
        let bundles = cpus.iter().map(|cpus| Resources::cpus(*cpus)).collect();
        self.step(Event::Create { group, bundles, strategy });
        group
    }

    fn nodes_of(&self, group: GroupId) -> Vec<u32> {
        self.usable[&group].iter().map(|(_, at, _)| at.node.0).collect()
    }
}

#[test]
fn each_strategy_places_as_its_name_says() {
    let mut w = World::new(&[4, 4, 4]);
    let pack = w.create(1, &[1, 1, 2], Strategy::Pack);
    let spread = w.create(2, &[1, 1, 1], Strategy::Spread);
    w.settle();
    let nodes = w.nodes_of(pack);
    assert!(nodes.iter().all(|node| *node == nodes[0]), "{nodes:?}");
    let mut nodes = w.nodes_of(spread);
    nodes.sort_unstable();
    nodes.dedup();
    assert!(nodes.len() >= 2, "{nodes:?}");
    let one = w.create(3, &[2, 1], Strategy::StrictPack);
    w.settle();
    assert_eq!(w.nodes_of(one)[0], w.nodes_of(one)[1]);
}

#[test]
fn a_strict_spread_finds_the_only_assignment_there_is() {
    let mut w = World::new(&[1, 2, 4]);
    let group = w.create(1, &[1, 4, 2], Strategy::StrictSpread);
    w.settle();
    assert_eq!(w.nodes_of(group), [1, 3, 2]);
}

#[test]
fn g09_a_group_that_does_not_fit_says_so_and_waits_for_a_node() {
    let mut w = World::new(&[1]);
    let group = w.create(1, &[1, 1], Strategy::StrictSpread);
    w.settle();
    let why = w.groups.state(group).expect("it is there").expect_err("not placed");
    assert!(why.contains("infeasible") && why.contains("no room for [1 cpu] [1 cpu], strict_spread"), "{why}");
    assert!(w.usable[&group].is_empty() && w.nodes[&NodeId(1)].1.used() == Resources::none(), "all or nothing");
    w.add(1);
    w.tell_view();
    w.settle();
    let mut nodes = w.nodes_of(group);
    nodes.sort_unstable();
    assert_eq!(nodes, [1, 2]);
}

#[test]
fn g12_of_two_groups_that_see_the_same_free_cpus_one_waits_with_nothing() {
    let mut w = World::new(&[2, 2]);
    let (a, b) = (w.create(1, &[2, 2], Strategy::Pack), w.create(2, &[2, 2], Strategy::Pack));
    w.settle_for(200);
    let placed: Vec<usize> = [a, b].iter().map(|group| w.usable[group].len()).collect();
    assert!(placed == [2, 0] || placed == [0, 2], "{placed:?}");
    let (first, second) = if placed[0] == 2 { (a, b) } else { (b, a) };
    w.step(Event::Remove(first));
    w.settle();
    assert_eq!(w.usable[&second].len(), 2);
}

impl World {
    /// Delivers and lets time pass so many times.
    fn settle_for(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            ids.iter().for_each(|id| {
                self.deliver(*id, false);
                self.deliver(*id, true);
            });
            self.now += Nanos::millis(50);
            self.tell_view();
            self.step(Event::Tick);
        }
    }
}

#[test]
fn lost_bundles_are_placed_anew_while_the_others_stay() {
    let mut w = World::new(&[1, 1, 1]);
    let group = w.create(1, &[1, 1], Strategy::StrictSpread);
    w.settle();
    let before = w.nodes_of(group);
    w.kill(NodeId(before[0]));
    assert_eq!(w.nodes_of(group), [before[1]], "usable meanwhile");
    w.settle();
    let after = w.nodes_of(group);
    assert!(after.len() == 2 && after[1] == before[1] && after[0] != before[0], "{before:?} {after:?}");
}

#[derive(Clone, Debug)]
enum Op {
    Create(Vec<u64>, u8),
    Remove(usize),
    Publish(usize),
    Deliver(usize, bool),
    View,
    Kill(usize),
    Add(u64),
    Time(u64),
}

fn op() -> impl proptest::strategy::Strategy<Value = Op> {
    prop_oneof![
        3 => (prop::collection::vec(1..4u64, 1..4), 0..4u8).prop_map(|(cpus, how)| Op::Create(cpus, how)),
        2 => (0..8usize).prop_map(Op::Remove),
        2 => (0..8usize).prop_map(Op::Publish),
        16 => (0..8usize, any::<bool>()).prop_map(|(node, inbound)| Op::Deliver(node, inbound)),
        3 => Just(Op::View),
        1 => (0..8usize).prop_map(Op::Kill),
        1 => (1..5u64).prop_map(Op::Add),
        3 => (1..2000u64).prop_map(Op::Time),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn groups_are_whole_or_nothing_and_leave_nothing_behind(ops in prop::collection::vec(op(), 0..100)) {
        let mut w = World::new(&[2, 3, 4]);
        let (mut groups, mut created) = (Vec::new(), 0);
        for op in ops {
            let ids: Vec<NodeId> = w.nodes.keys().copied().collect();
            match op {
                Op::Create(cpus, how) => {
                    created += 1;
                    groups.push((w.create(created, &cpus, Strategy::ALL[usize::from(how)]), cpus.len()));
                }
                Op::Remove(n) if !groups.is_empty() => {
                    let (group, _) = groups.swap_remove(n % groups.len());
                    w.step(Event::Remove(group));
                }
                Op::Publish(n) if !groups.is_empty() => {
                    let (group, _) = groups[n % groups.len()];
                    w.step(Event::Publish(group));
                    prop_assert!(w.published.contains_key(&group));
                }
                Op::Deliver(n, inbound) if !ids.is_empty() => drop(w.deliver(ids[n % ids.len()], inbound)),
                Op::View => w.tell_view(),
                Op::Kill(n) if ids.len() > 1 => w.kill(ids[n % ids.len()]),
                Op::Add(cpus) => w.add(cpus),
                Op::Time(millis) => {
                    w.now += Nanos::millis(millis);
                    w.step(Event::Tick);
                }
                _ => {}
            }
        }
        w.settle_for(400);
        for (group, bundles) in &groups {
            let usable = w.usable[group].len();
            let state = w.groups.state(*group).expect("it is there");
            prop_assert!(usable == *bundles || state.is_err(), "placed, or it says what it waits for");
        }
        for (group, _) in groups {
            w.step(Event::Remove(group));
        }
        prop_assert!(w.published.is_empty(), "nor does the head keep what is gone");
        w.settle();
        for (member, local) in w.nodes.values() {
            prop_assert_eq!(local.used(), Resources::none(), "{} gives everything back (I33)", member.name);
        }
    }
}
