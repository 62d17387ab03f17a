mod bundles;
mod model;

use super::*;
use crate::member::NodeView;
use crate::sched::Hybrid;
use crate::{FunctionId, Placement};

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

fn class(resources: Resources) -> Arc<SchedulingClass> {
    Arc::new(SchedulingClass { function: FunctionId::from("f"), resources, placement: Placement::Any, share: None })
}

fn owner(n: u32) -> OwnerId {
    Incarnation::new(100 + n, 100 + n)
}

fn lease(o: u32, seq: u64) -> LeaseId {
    LeaseId { owner: owner(o), seq }
}

fn ask(lease: LeaseId, cpus: u64, hops: u8) -> Event {
    Event::Request { from: lease.owner, lease, class: class(Resources::cpus(cpus)), hops }
}

fn local(cpus: u64) -> Local {
    Local::new(member(1, cpus), Arc::new(Hybrid), 7)
}

/// Steps, checks, and gives the effects without load changes.
fn step(local: &mut Local, event: Event) -> Vec<Effect> {
    let mut out = Vec::new();
    local.step(Nanos::ZERO, event, &mut out);
    local.check().expect("invariants");
    out.retain(|effect| !matches!(effect, Effect::LoadChanged(_)));
    out
}

fn grant(lease: LeaseId) -> Effect {
    Effect::Grant { to: lease.owner, lease }
}

fn view(nodes: &[(u32, u64, u64)]) -> Event {
    let nodes = nodes.iter().map(|(id, total, free)| NodeView {
        member: member(*id, *total),
        load: NodeLoad { version: 1, available: Resources::cpus(*free), queued: 0, draining: false },
    });
    Event::View(Arc::new(ClusterView { nodes: nodes.map(Arc::new).collect(), ..Default::default() }))
}

#[test]
fn owners_take_turns_and_each_is_served_in_order() {
    let mut local = local(1);
    assert_eq!(step(&mut local, ask(lease(1, 1), 1, 0)), [grant(lease(1, 1))]);
    for queued in [lease(1, 2), lease(1, 3), lease(2, 1), lease(2, 2)] {
        assert!(step(&mut local, ask(queued, 1, 0)).is_empty());
    }
    assert_eq!(local.load().queued, 4);
    let mut holder = lease(1, 1);
    for next in [lease(2, 1), lease(1, 2), lease(2, 2), lease(1, 3)] {
        let ended = Effect::Ended { lease: holder };
        assert_eq!(step(&mut local, Event::Return { lease: holder }), [ended, grant(next)]);
        holder = next;
    }
    step(&mut local, Event::Return { lease: holder });
    assert_eq!((local.used(), local.load().available.clone()), (Resources::none(), Resources::cpus(1)));
}

#[test]
fn a_blocked_task_lends_its_cpu_and_takes_it_back_at_once() {
    let mut local = local(1);
    step(&mut local, ask(lease(1, 1), 1, 0));
    step(&mut local, ask(lease(1, 2), 1, 0));
    step(&mut local, ask(lease(1, 3), 1, 0));
    assert_eq!(step(&mut local, Event::Blocked { lease: lease(1, 1) }), [grant(lease(1, 2))]);
    assert!(step(&mut local, Event::Unblocked { lease: lease(1, 1) }).is_empty());
    assert_eq!(local.used(), Resources::cpus(2), "one above the total");
    let ended = |lease| Effect::Ended { lease };
    assert_eq!(step(&mut local, Event::Return { lease: lease(1, 2) }), [ended(lease(1, 2))], "repays the debt");
    assert_eq!(step(&mut local, Event::Return { lease: lease(1, 1) }), [ended(lease(1, 1)), grant(lease(1, 3))]);
}

#[test]
fn a_return_that_overtakes_its_request_cancels_it() {
    let mut local = local(1);
    assert!(step(&mut local, Event::Return { lease: lease(1, 1) }).is_empty());
    assert!(step(&mut local, ask(lease(1, 1), 1, 0)).is_empty());
    for seq in 2..2 + 2 * MAX_TOMBSTONES as u64 {
        step(&mut local, Event::Return { lease: lease(1, seq) });
    }
    assert_eq!(local.tombstones.len(), MAX_TOMBSTONES);
}

#[test]
fn spills_back_to_room_elsewhere_with_bounded_hops() {
    let mut local = local(1);
    step(&mut local, view(&[(1, 1, 1), (2, 1, 1)]));
    step(&mut local, ask(lease(1, 1), 1, 0));
    let spilled = |lease: LeaseId| Effect::Spillback { to: lease.owner, lease, target: Incarnation::new(2, 2) };
    assert_eq!(step(&mut local, ask(lease(1, 2), 1, 0)), [spilled(lease(1, 2))]);
    assert!(step(&mut local, ask(lease(1, 3), 1, 0)).is_empty(), "what was sent there counts against its room");
    assert!(step(&mut local, ask(lease(1, 4), 1, MAX_HOPS)).is_empty());
    assert!(step(&mut local, view(&[(1, 1, 0), (2, 1, 0)])).is_empty());
    let Event::View(fresh) = view(&[(1, 1, 0), (2, 2, 2)]) else { unreachable!() };
    let mut fresh = (*fresh).clone();
    Arc::make_mut(&mut fresh.nodes[1]).load.version = 2;
    assert_eq!(step(&mut local, Event::View(Arc::new(fresh))), [spilled(lease(1, 3))], "not the one at its last hop");
}

#[test]
fn what_prefers_this_node_waits_for_it() {
    let mut local = local(1);
    step(&mut local, view(&[(1, 1, 1), (2, 1, 1)]));
    step(&mut local, ask(lease(1, 1), 1, 0));
    let placement = crate::Placement::Node { name: "N1".into(), soft: true };
    let class = Arc::new(SchedulingClass { placement, ..(*class(Resources::cpus(1))).clone() });
    let asked = Event::Request { from: owner(1), lease: lease(1, 2), class, hops: 0 };
    assert!(step(&mut local, asked).is_empty(), "although N2 has room");
    assert!(step(&mut local, view(&[(1, 1, 0), (2, 1, 1)])).is_empty());
    let ended = Effect::Ended { lease: lease(1, 1) };
    assert_eq!(step(&mut local, Event::Return { lease: lease(1, 1) }), [ended, grant(lease(1, 2))]);
}

#[test]
fn draining_refuses_or_sends_on_and_lets_the_granted_run() {
    let mut local = local(1);
    step(&mut local, ask(lease(1, 1), 1, 0));
    step(&mut local, ask(lease(1, 2), 1, 0));
    let refused = |lease: LeaseId| Effect::Refuse { to: lease.owner, lease, why: Refusal::Draining };
    assert_eq!(step(&mut local, Event::Drain), [refused(lease(1, 2))]);
    step(&mut local, view(&[(1, 1, 0), (2, 1, 0)]));
    let to = Effect::Spillback { to: owner(1), lease: lease(1, 3), target: Incarnation::new(2, 2) };
    assert_eq!(step(&mut local, ask(lease(1, 3), 1, 0)), [to], "even to a busy node");
    assert_eq!(step(&mut local, Event::Return { lease: lease(1, 1) }), [Effect::Ended { lease: lease(1, 1) }]);
    assert!(local.load().draining && local.leases().next().is_none());
}

#[test]
fn refuses_what_it_never_has_and_the_dead() {
    let mut local = local(2);
    let why = Refusal::Infeasible("needs 3 cpu; node N1 has 2".into());
    assert_eq!(step(&mut local, ask(lease(1, 1), 3, 0)), [Effect::Refuse { to: owner(1), lease: lease(1, 1), why }]);
    step(&mut local, ask(lease(1, 2), 2, 0));
    step(&mut local, ask(lease(2, 1), 2, 0));
    let died = step(&mut local, Event::OwnerDied(owner(1)));
    assert_eq!(died, [Effect::Ended { lease: lease(1, 2) }, grant(lease(2, 1))]);
    let why = Refusal::OwnerDead;
    assert_eq!(step(&mut local, ask(lease(1, 3), 1, 0)), [Effect::Refuse { to: owner(1), lease: lease(1, 3), why }]);
}

#[test]
fn a_large_request_is_overtaken_a_bounded_number_of_times() {
    let mut local = local(2);
    step(&mut local, ask(lease(2, 0), 1, 0));
    step(&mut local, ask(lease(1, 1), 2, 0));
    let mut overtaken = 0;
    for seq in 1..200 {
        // Owner 2 always keeps one of the two cpus busy, so the request for both never fits by itself.
        let granted = step(&mut local, ask(lease(2, seq), 1, 0));
        overtaken += granted.len() as u32;
        step(&mut local, Event::Return { lease: lease(2, seq - 1) });
    }
    assert!(overtaken <= MAX_PASSED, "overtaken {overtaken} times");
    assert!(matches!(local.leases[&lease(1, 1)].state, State::Granted));
}

/// A request for one cpu with a share.
fn ask_in(lease: LeaseId, group: &str, weight: u32, priority: i32) -> Event {
    let share = Arc::new(Share { priority, group: group.into(), weight });
    let class = SchedulingClass { share: Some(share), ..SchedulingClass::clone(&class(Resources::cpus(1))) };
    Event::Request { from: lease.owner, lease, class: Arc::new(class), hops: 0 }
}

#[test]
fn k09_groups_share_a_full_node_by_weight() {
    for (cpus, weights) in [(1, [3, 1]), (4, [3, 1]), (4, [1, 1]), (3, [5, 2])] {
        let mut local = local(cpus);
        let (mut next, mut now) = ([0, 0], Nanos::ZERO);
        let mut held: VecDeque<LeaseId> = VecDeque::new();
        let mut time = [0_u64; 2];
        // Each group has requests queued at all times, and a lease lasts 500 ms.
        for _ in 0..700 {
            let mut out = Vec::new();
            for (group, next) in next.iter_mut().enumerate() {
                let queued = local.queues.iter().filter(|(line, _)| line.owner.node.0 == 100 + group as u32);
                for _ in queued.map(|(_, queue)| queue.len()).sum::<usize>()..4 {
                    *next += 1;
                    let (name, weight) = (["a", "b"][group], weights[group]);
                    local.step(now, ask_in(lease(group as u32, *next), name, weight, 0), &mut out);
                }
            }
            local.check().expect("invariants");
            if held.len() as u64 == cpus {
                now += Nanos::millis(500 / cpus);
                let oldest = held.pop_front().expect("held");
                time[(oldest.owner.node.0 - 100) as usize] += 1;
                local.step(now, Event::Return { lease: oldest }, &mut out);
            }
            held.extend(out.iter().filter_map(|effect| match effect {
                Effect::Grant { lease, .. } => Some(*lease),
                _ => None,
            }));
        }
        let [a, b] = time.map(|time| time as f64);
        let (share, fair) = (a / (a + b), f64::from(weights[0]) / f64::from(weights[0] + weights[1]));
        assert!((share - fair).abs() < 0.03, "{cpus} cpus, weights {weights:?}: {share} instead of {fair}");
    }
}

#[test]
fn a_group_that_comes_late_is_served_at_once_and_not_for_what_it_missed() {
    let mut local = local(1);
    let mut out = Vec::new();
    (1..=10).for_each(|seq| local.step(Nanos::ZERO, ask_in(lease(1, seq), "old", 1, 0), &mut out));
    (1..=4).for_each(|seq| local.step(Nanos::secs(100), ask_in(lease(2, seq), "new", 1, 0), &mut out));
    out.clear();
    let mut served = Vec::new();
    let mut holder = lease(1, 1);
    for turn in 0..6 {
        local.step(Nanos::secs(101 + turn), Event::Return { lease: holder }, &mut out);
        let granted = out.drain(..).find_map(|effect| match effect {
            Effect::Grant { lease, .. } => Some(lease),
            _ => None,
        });
        holder = granted.expect("the node is never idle");
        served.push(holder.owner.node.0 - 100);
    }
    assert_eq!(served[0], 2, "before the backlog");
    assert!(served.contains(&1), "but not for all of the time it was not there: {served:?}");
}

#[test]
fn a_higher_priority_goes_first_whatever_its_group_has_had() {
    let mut local = local(1);
    let mut out = Vec::new();
    for seq in 1..=3 {
        local.step(Nanos::ZERO, ask_in(lease(1, seq), "a", 100, 0), &mut out);
        local.step(Nanos::ZERO, ask_in(lease(2, seq), "b", 1, 7), &mut out);
    }
    let mut holder = lease(1, 1);
    for next in [lease(2, 1), lease(2, 2), lease(2, 3), lease(1, 2), lease(1, 3)] {
        assert!(step(&mut local, Event::Return { lease: holder }).contains(&grant(next)));
        holder = next;
    }
}
