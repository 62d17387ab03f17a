mod model;

use super::*;
use crate::member::{Member, NodeLoad, NodeView};
use crate::sched::Hybrid;
use crate::{FunctionId, Placement, TaskErrorKind};

const ME: OwnerId = Incarnation { node: NodeId(9), epoch: Epoch(9) };

fn node(id: u32) -> Incarnation {
    Incarnation::new(id, id)
}

fn view(version: u64, nodes: &[(u32, u64, u64)]) -> Arc<ClusterView> {
    let nodes = nodes.iter().map(|(id, total, free)| NodeView {
        member: Member {
            incarnation: node(*id),
            name: format!("N{id}"),
            rpc: String::new(),
            bulk: String::new(),
            total: Resources::cpus(*total),
            labels: Default::default(),
        },
        load: NodeLoad { version, available: Resources::cpus(*free), queued: 0, draining: false },
    });
    Arc::new(ClusterView { nodes: nodes.map(Arc::new).collect(), seq: version, version })
}

fn class(function: &str, cpus: u64) -> Arc<SchedulingClass> {
    bound(function, cpus, Placement::Any)
}

fn bound(function: &str, cpus: u64, placement: Placement) -> Arc<SchedulingClass> {
    Arc::new(SchedulingClass {
        function: FunctionId::from(function),
        resources: Resources::cpus(cpus),
        placement,
        share: None,
    })
}

fn task(seq: u64) -> TaskId {
    TaskId { owner: ME, seq }
}

fn lease(seq: u64) -> LeaseId {
    LeaseId { owner: ME, seq }
}

struct Rig {
    dispatch: Dispatch,
    now: Nanos,
}

impl Rig {
    fn new(nodes: &[(u32, u64, u64)]) -> Self {
        let mut rig =
            Self { dispatch: Dispatch::new(ME, Arc::new(Hybrid), DispatchSettings::default(), 1), now: Nanos::ZERO };
        rig.step(Event::View(view(1, nodes)));
        rig
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        self.dispatch.step(self.now, event, &mut out);
        self.dispatch.check().expect("invariants");
        out
    }

    fn enqueue(&mut self, seq: u64, class: &Arc<SchedulingClass>) -> Vec<Effect> {
        self.step(Event::Enqueue { task: task(seq), class: class.clone(), near: vec![], again: false })
    }

    fn grant(&mut self, seq: u64, by: u32) -> Vec<Effect> {
        self.step(Event::Granted { lease: lease(seq), by: node(by) })
    }

    fn finish(&mut self, on: u64, seq: u64, spent: Nanos) -> Vec<Effect> {
        self.step(Event::Finished { lease: lease(on), task: task(seq), spent, started: true })
    }

    fn tick_at(&mut self, now: Nanos) -> Vec<Effect> {
        self.now = now;
        self.step(Event::Tick)
    }
}

fn assigned(out: &[Effect]) -> Vec<(u64, u64)> {
    let pick = |effect: &Effect| match effect {
        Effect::Assign { task, lease, .. } => Some((task.seq, lease.seq)),
        _ => None,
    };
    out.iter().filter_map(pick).collect()
}

fn requested(out: &[Effect]) -> Vec<(u64, u32, u8)> {
    let pick = |effect: &Effect| match effect {
        Effect::Request { to, lease, hops, .. } => Some((lease.seq, to.node.0, *hops)),
        _ => None,
    };
    out.iter().filter_map(pick).collect()
}

fn returned(out: &[Effect]) -> Vec<u64> {
    let pick = |effect: &Effect| match effect {
        Effect::Return { lease, .. } => Some(lease.seq),
        _ => None,
    };
    out.iter().filter_map(pick).collect()
}

#[test]
fn one_lease_serves_many_tasks_and_goes_back_when_idle() {
    let (mut rig, f) = (Rig::new(&[(1, 1, 1)]), class("f", 1));
    assert_eq!(requested(&rig.enqueue(1, &f)), [(1, 1, 0)]);
    assert!(rig.enqueue(2, &f).is_empty(), "one slot, one request");
    let out = rig.grant(1, 1);
    assert_eq!(assigned(&out), [(1, 1)]);
    assert_eq!(requested(&out), [(2, 1, 0)], "the extra request: task 1 may wait for task 2");
    assert_eq!(assigned(&rig.finish(1, 1, Nanos::millis(1))), [(2, 1)]);
    rig.finish(1, 2, Nanos::millis(1));
    assert!(rig.tick_at(Nanos::millis(4)).is_empty());
    assert_eq!(assigned(&rig.enqueue(3, &f)), [(3, 1)], "kept a while");
    rig.finish(1, 3, Nanos::millis(1));
    assert_eq!(returned(&rig.tick_at(Nanos::millis(9))), [2, 1], "the superfluous request and the idle lease");
    assert_eq!(rig.dispatch.next_deadline(), None);
    assert_eq!(rig.dispatch.leases().count(), 0);
}

#[test]
fn pipelines_short_tasks_and_stops_after_a_long_one() {
    let (mut rig, f) = (Rig::new(&[(1, 1, 1)]), class("f", 1));
    (1..=200).for_each(|seq| drop(rig.enqueue(seq, &f)));
    assert_eq!(assigned(&rig.grant(1, 1)).len(), 1, "unknown: one at a time");
    assert_eq!(assigned(&rig.finish(1, 1, Nanos::micros(50))).len(), 10);
    assert_eq!(assigned(&rig.finish(1, 2, Nanos::millis(3))).len(), 0);
    for seq in 3..=11 {
        let depth = assigned(&rig.finish(1, seq, Nanos::millis(3))).len();
        assert_eq!(depth, usize::from(seq == 11), "one again, once the pipeline is empty");
    }
}

#[test]
fn a_hand_back_makes_the_lease_single_and_an_empty_one_goes_back() {
    let (mut rig, f) = (Rig::new(&[(1, 1, 1)]), class("f", 1));
    (1..=9).for_each(|seq| drop(rig.enqueue(seq, &f)));
    rig.grant(1, 1);
    assert_eq!(assigned(&rig.finish(1, 1, Nanos::micros(250))).len(), 2);
    let hand_back = |seq| Event::Finished { lease: lease(1), task: task(seq), spent: Nanos::ZERO, started: false };
    assert!(assigned(&rig.step(hand_back(3))).is_empty(), "the worker may be blocked");
    assert_eq!(returned(&rig.step(hand_back(2))), [1]);
}

#[test]
fn a_task_that_could_not_run_at_its_turn_goes_first_and_the_latest_such_before_all() {
    let (mut rig, f) = (Rig::new(&[(1, 1, 1)]), class("f", 1));
    (1..=3).for_each(|seq| drop(rig.enqueue(seq, &f)));
    for seq in [4, 5] {
        rig.step(Event::Enqueue { task: task(seq), class: f.clone(), near: vec![], again: true });
    }
    let mut order = assigned(&rig.grant(1, 1));
    while let Some((last, _)) = order.last().copied().filter(|_| order.len() < 5) {
        order.extend(assigned(&rig.finish(1, last, Nanos::millis(1))));
    }
    assert_eq!(order.into_iter().map(|(task, _)| task).collect::<Vec<_>>(), [5, 4, 1, 2, 3]);
}

#[test]
fn locality_passes_the_head_over_a_bounded_number_of_times() {
    let (mut rig, f) = (Rig::new(&[(1, 1, 1)]), class("f", 1));
    for seq in 1..=12 {
        let near = vec![(NodeId(if seq < 3 { 2 } else { 1 }), ByteSize::mb(1))];
        rig.step(Event::Enqueue { task: task(seq), class: f.clone(), near, again: false });
    }
    let mut order = assigned(&rig.grant(1, 1));
    while let Some((last, _)) = order.last().copied().filter(|_| order.len() < 12) {
        order.extend(assigned(&rig.finish(1, last, Nanos::millis(1))));
    }
    let order: Vec<_> = order.into_iter().map(|(task, _)| task).collect();
    assert_eq!(order, [3, 4, 5, 6, 7, 8, 9, 10, 1, 11, 12, 2]);
}

#[test]
fn another_class_that_waits_gets_the_idle_lease_at_once() {
    let mut rig = Rig::new(&[(1, 1, 1)]);
    let (f, g) = (class("f", 1), class("g", 1));
    rig.enqueue(1, &f);
    rig.grant(1, 1);
    rig.step(Event::View(view(2, &[(1, 1, 0)])));
    assert_eq!(requested(&rig.enqueue(2, &g)), [(2, 1, 0)]);
    assert_eq!(returned(&rig.finish(1, 1, Nanos(1))), [1]);
    rig.grant(2, 1);
    rig.finish(2, 2, Nanos(1));
    assert_eq!(returned(&rig.enqueue(3, &f)), [2], "and the other way round");
}

#[test]
fn a_lease_ends_after_its_term() {
    let (mut rig, f) = (Rig::new(&[(1, 1, 1)]), class("f", 1));
    (1..=3).for_each(|seq| drop(rig.enqueue(seq, &f)));
    rig.grant(1, 1);
    rig.now = Nanos::millis(600);
    let out = rig.finish(1, 1, Nanos::millis(600));
    assert_eq!((assigned(&out), returned(&out)), (vec![], vec![1]));
    assert_eq!(assigned(&rig.grant(2, 1)), [(2, 2)]);
}

#[test]
fn infeasible_tasks_wait_and_say_why() {
    let (mut rig, f) = (Rig::new(&[(1, 2, 2)]), class("f", 4));
    assert!(rig.enqueue(1, &f).is_empty());
    assert_eq!(rig.dispatch.why(task(1)).as_deref(), Some("needs 4 cpu; the largest node, N1, has 2"));
    assert_eq!(requested(&rig.step(Event::View(view(2, &[(1, 2, 2), (2, 4, 4)])))), [(2, 2, 0)]);
    assert!(rig.dispatch.why(task(1)).is_some_and(|why| why.contains("asked at N2 (")));
}

#[test]
fn hard_affinity_fails_for_the_dead_and_after_a_grace_for_the_unknown() {
    let mut rig = Rig::new(&[(1, 1, 1), (2, 1, 1)]);
    let on = |name: &str| bound("f", 1, Placement::Node { name: name.into(), soft: false });
    let unschedulable = |out: &[Effect]| match out {
        [Effect::Unschedulable { task, error }] => Some((task.seq, error.kind)),
        _ => None,
    };
    assert_eq!(requested(&rig.enqueue(1, &on("N2"))), [(1, 2, 0)]);
    let out = rig.step(Event::NodeDied(node(2)));
    assert_eq!(unschedulable(&out), Some((1, TaskErrorKind::Unschedulable)));
    assert!(rig.enqueue(2, &on("N7")).is_empty());
    assert!(rig.dispatch.why(task(2)).is_some_and(|why| why.contains("not joined yet")));
    assert!(rig.tick_at(Nanos::millis(1_999)).is_empty());
    assert_eq!(unschedulable(&rig.tick_at(Nanos::secs(2))), Some((2, TaskErrorKind::Unschedulable)));
}

#[test]
fn follows_spillbacks_but_not_to_the_dead() {
    let (mut rig, f) = (Rig::new(&[(1, 1, 1), (2, 1, 1), (3, 1, 1)]), class("f", 1));
    rig.enqueue(1, &f);
    let spill = |to| Event::Spillback { lease: lease(1), to: node(to) };
    assert_eq!(requested(&rig.step(spill(2))), [(1, 2, 1)]);
    rig.step(Event::NodeDied(node(3)));
    assert_eq!(requested(&rig.step(spill(3))), [(1, 2, MAX_HOPS)], "back to who sent it, to be granted or queued");
    assert!(rig.grant(1, 1).is_empty(), "not who was asked");
    assert_eq!(assigned(&rig.grant(1, 2)), [(1, 1)]);
}

#[test]
fn a_refusal_leads_elsewhere_and_is_forgotten() {
    let (mut rig, f) = (Rig::new(&[(1, 1, 1), (2, 1, 1)]), class("f", 1));
    rig.enqueue(1, &f);
    let refused = |seq, by| Event::Refused { lease: lease(seq), why: Refusal::Draining, by: node(by) };
    assert_eq!(requested(&rig.step(refused(1, 1))), [(2, 2, 0)]);
    assert!(rig.step(refused(2, 2)).is_empty());
    assert_eq!(rig.dispatch.why(task(1)).as_deref(), Some("node n2.2 is draining"));
    assert_eq!(requested(&rig.tick_at(Nanos::millis(100))).len(), 1);
}

#[test]
fn a_million_queued_tasks_can_be_dequeued() {
    let mut dispatch = Dispatch::new(ME, Arc::new(Hybrid), DispatchSettings::default(), 1);
    let (f, mut out) = (class("f", 1), Vec::new());
    for seq in 0..1_000_000 {
        let event = Event::Enqueue { task: task(seq), class: f.clone(), near: vec![], again: false };
        dispatch.step(Nanos::ZERO, event, &mut out);
    }
    for seq in (0..1_000_000).rev() {
        dispatch.step(Nanos::ZERO, Event::Dequeue { task: task(seq) }, &mut out);
    }
    assert!(out.is_empty() && dispatch.queued() == 0);
    dispatch.check().expect("invariants");
}

/// The usable bundles of a group: number, node, cpus.
fn usable(group: GroupId, bundles: &[(u32, u32, u64)]) -> Event {
    let bundles = bundles.iter().map(|(index, at, cpus)| (*index, node(*at), Resources::cpus(*cpus)));
    Event::Group { group, bundles: Some(bundles.collect()) }
}

#[test]
fn tasks_of_a_group_ask_where_its_bundles_are_and_fill_them() {
    let mut rig = Rig::new(&[(1, 8, 8), (2, 8, 8), (3, 8, 8)]);
    let group = GroupId { owner: ME, seq: 1 };
    let f = bound("f", 1, Placement::Group { group, index: None });
    rig.step(usable(group, &[]));
    assert!(requested(&rig.enqueue(1, &f)).is_empty());
    assert!(rig.dispatch.why(task(1)).expect("queued").contains("waits for a bundle of g1@n9.9 with 1 cpu"));
    (2..=4).for_each(|seq| drop(rig.enqueue(seq, &f)));
    let out = rig.step(usable(group, &[(0, 2, 1), (1, 3, 2)]));
    let mut asked: Vec<u32> = requested(&out).iter().map(|(_, at, _)| *at).collect();
    asked.sort_unstable();
    assert_eq!(asked, [2, 3, 3], "as many as there is room for");
    let g = bound("g", 1, Placement::Group { group, index: Some(0) });
    assert_eq!(requested(&rig.enqueue(5, &g))[0].1, 2, "the bundle it names");
}

#[test]
fn a_task_of_a_group_does_not_ask_in_a_bundle_of_a_dead_node() {
    let mut rig = Rig::new(&[(1, 8, 8), (2, 8, 8)]);
    let group = GroupId { owner: ME, seq: 1 };
    let f = bound("f", 1, Placement::Group { group, index: None });
    rig.step(usable(group, &[(0, 1, 1)]));
    assert_eq!(requested(&rig.enqueue(1, &f)), [(1, 1, 0)]);
    // The group does not know yet; nor does a word of it that was under way.
    assert!(requested(&rig.step(Event::NodeDied(node(1)))).is_empty());
    assert!(requested(&rig.step(usable(group, &[(0, 1, 1)]))).is_empty());
    let out = requested(&rig.step(usable(group, &[(0, 2, 1)])));
    assert_eq!(out.iter().map(|(_, at, _)| *at).collect::<Vec<_>>(), [2], "where the bundle is now");
}

#[test]
fn a_removed_group_fails_what_is_queued_and_gives_back_all_leases() {
    let mut rig = Rig::new(&[(1, 8, 8)]);
    let group = GroupId { owner: ME, seq: 1 };
    let f = bound("f", 1, Placement::Group { group, index: None });
    rig.step(usable(group, &[(0, 1, 1)]));
    (1..=2).for_each(|seq| drop(rig.enqueue(seq, &f)));
    rig.grant(1, 1);
    let out = rig.step(Event::Group { group, bundles: None });
    assert_eq!(returned(&out), [1, 2], "granted and asked for: {out:?}");
    let failed = |effect: &&Effect| {
        matches!(effect, Effect::Unschedulable { error, .. }
        if error.kind == TaskErrorKind::GroupRemoved)
    };
    assert_eq!(out.iter().filter(failed).count(), 1, "{out:?}");
    let out = rig.enqueue(3, &f);
    assert_eq!(out.iter().filter(failed).count(), 1, "also what comes later: {out:?}");
}

#[test]
fn a_lease_in_a_bundle_stays_while_its_node_drains() {
    let mut rig = Rig::new(&[(1, 8, 8)]);
    let group = GroupId { owner: ME, seq: 1 };
    let f = bound("f", 1, Placement::Group { group, index: None });
    rig.step(usable(group, &[(0, 1, 1)]));
    let mut draining = (*view(2, &[(1, 8, 7)])).clone();
    Arc::make_mut(&mut draining.nodes[0]).load.draining = true;
    rig.step(Event::View(Arc::new(draining)));
    assert_eq!(requested(&rig.enqueue(1, &f)), [(1, 1, 0)]);
    assert_eq!(assigned(&rig.grant(1, 1)), [(1, 1)]);
}

#[test]
fn a_class_without_resources_gets_one_more_lease_a_period_beyond_its_share() {
    let (mut rig, f) = (Rig::new(&[(1, 1, 1)]), class("f", 0));
    let mut out: Vec<Effect> = (1..=40).flat_map(|seq| rig.enqueue(seq, &f)).collect();
    assert_eq!(requested(&out).len(), 16, "a node's share");
    let mut granted = 0;
    while granted < 40 {
        let requests = requested(&std::mem::take(&mut out));
        if requests.is_empty() {
            let deadline =
                rig.dispatch.next_deadline().unwrap_or_else(|| panic!("{granted} granted, nothing will come"));
            out = rig.tick_at(deadline);
        }
        for (seq, by, _) in requests {
            granted += 1;
            out.extend(rig.grant(seq, by));
        }
    }
    assert!(rig.now <= Nanos::millis(240), "{} for 24 of them", rig.now);
}

#[test]
fn where_leases_are_for_life_a_class_without_resources_asks_for_all_it_needs() {
    let mut rig = Rig::new(&[]);
    let settings = DispatchSettings { lasting: true, ..DispatchSettings::default() };
    rig.dispatch = Dispatch::new(ME, Arc::new(Hybrid), settings, 1);
    rig.step(Event::View(view(1, &[(1, 1, 1)])));
    let (free, paid) = (class("f", 0), class("g", 1));
    let out: Vec<Effect> = (1..=40).flat_map(|seq| rig.enqueue(seq, &free)).collect();
    assert_eq!(requested(&out).len(), 40);
    let out: Vec<Effect> = (41..=80).flat_map(|seq| rig.enqueue(seq, &paid)).collect();
    assert_eq!(requested(&out).len(), 1, "a cpu bounds those that need one");
}

#[test]
fn what_lasts_is_asked_for_in_every_bundle_at_once() {
    let mut rig = Rig::new(&[(1, 8, 8), (2, 8, 8), (3, 8, 8)]);
    rig.dispatch.settings.lasting = true;
    let group = GroupId { owner: ME, seq: 1 };
    let f = bound("f", 1, Placement::Group { group, index: None });
    rig.step(usable(group, &[(0, 2, 1), (1, 3, 1)]));
    assert_eq!(requested(&rig.enqueue(1, &f)), [(1, 2, 0), (2, 3, 0)]);
    assert_eq!(assigned(&rig.grant(2, 3)), [(1, 2)]);
    assert_eq!(returned(&rig.tick_at(Nanos::millis(5))), [1], "the one that was not needed");
    // Which bundle is free first only its node will know.
    assert_eq!(requested(&rig.enqueue(2, &f)), [(3, 2, 0), (4, 3, 0)]);
    assert!(rig.tick_at(Nanos::millis(20)).is_empty(), "kept while the task waits");
    assert_eq!(requested(&rig.step(usable(group, &[(0, 2, 1), (1, 3, 1), (2, 1, 1)]))), [(5, 1, 0)]);
    assert_eq!(requested(&rig.step(Event::NodeDied(node(3)))), []);
    assert_eq!(assigned(&rig.grant(3, 2)), [(2, 3)]);
}

#[test]
fn a_group_ends_with_its_maker_where_another_leases_for_it() {
    let mut rig = Rig::new(&[(1, 8, 8), (2, 8, 8)]);
    let group = GroupId { owner: node(2), seq: 1 };
    let f = bound("f", 1, Placement::Group { group, index: None });
    rig.step(usable(group, &[(0, 1, 1)]));
    rig.enqueue(1, &f);
    let out = rig.step(Event::NodeDied(node(2)));
    assert_eq!(returned(&out), [1]);
    let failed = |effect: &Effect| matches!(effect, Effect::Unschedulable { error, .. } if error.kind == TaskErrorKind::GroupRemoved);
    assert!(out.iter().any(failed), "{out:?}");
}
