//! What is set aside for placement groups, and the leases inside.

use super::*;
use proptest::prelude::*;

fn group(o: u32) -> GroupId {
    GroupId { owner: owner(o), seq: 1 }
}

fn bundle(o: u32, index: u32) -> Bundle {
    Bundle { group: group(o), index }
}

fn reserve(o: u32, index: u32, cpus: u64) -> Event {
    Event::Reserve { from: owner(o), bundle: bundle(o, index), resources: Resources::cpus(cpus) }
}

/// A request for so many cpus in a group of its owner.
fn ask_inside(lease: LeaseId, group: GroupId, index: Option<u32>, cpus: u64) -> Event {
    let placement = Placement::Group { group, index };
    let class = SchedulingClass { placement, ..SchedulingClass::clone(&class(Resources::cpus(cpus))) };
    Event::Request { from: lease.owner, lease, class: Arc::new(class), hops: 0 }
}

fn reserved(o: u32, index: u32) -> Effect {
    Effect::Reserved { to: owner(o), bundle: bundle(o, index) }
}

#[test]
fn what_is_set_aside_serves_its_group_and_nobody_else() {
    let mut local = local(3);
    assert_eq!(step(&mut local, reserve(1, 0, 2)), [reserved(1, 0)]);
    assert_eq!(step(&mut local, reserve(1, 0, 2)), [reserved(1, 0)], "asked twice, held once");
    let none = Effect::Unreserved { to: owner(1), bundle: bundle(1, 1) };
    assert_eq!(step(&mut local, reserve(1, 1, 2)), [none], "only one cpu is left");
    assert!(step(&mut local, ask(lease(2, 1), 2, 0)).is_empty(), "nor for others");
    assert_eq!(step(&mut local, ask_inside(lease(1, 1), group(1), None, 2)), [grant(lease(1, 1))]);
    let other = ask_inside(lease(1, 2), group(1), Some(1), 1);
    let refused = |out: &[Effect]| matches!(out, [Effect::Refuse { why: Refusal::Infeasible(_), .. }]);
    assert!(refused(&step(&mut local, other)), "there is no such bundle here");
    assert!(refused(&step(&mut local, ask_inside(lease(1, 3), group(1), None, 3))), "none is so large");
    assert!(local.why(lease(2, 1)).expect("it waits").contains("1 cpu free"));
}

#[test]
fn a_bundle_goes_with_all_that_is_in_it() {
    let mut local = local(2);
    step(&mut local, reserve(1, 0, 2));
    step(&mut local, ask_inside(lease(1, 1), group(1), Some(0), 1));
    step(&mut local, ask_inside(lease(1, 2), group(1), Some(0), 1));
    step(&mut local, Event::Blocked { lease: lease(1, 2) });
    step(&mut local, ask_inside(lease(1, 3), group(1), Some(0), 1));
    step(&mut local, ask_inside(lease(1, 4), group(1), Some(0), 2));
    step(&mut local, ask(lease(2, 1), 2, 0));
    let out = step(&mut local, Event::Unreserve { bundle: bundle(1, 0) });
    let ended: Vec<&Effect> = out.iter().filter(|effect| matches!(effect, Effect::Ended { .. })).collect();
    assert_eq!(ended.len(), 3, "granted or blocked: {out:?}");
    assert!(out.iter().any(|effect| matches!(effect, Effect::Refuse { lease: l, .. } if *l == lease(1, 4))), "{out:?}");
    assert!(out.contains(&grant(lease(2, 1))), "what was set aside is free: {out:?}");
    assert!(step(&mut local, Event::Unreserve { bundle: bundle(1, 0) }).is_empty(), "once more changes nothing");
}

#[test]
fn bundles_of_a_dead_owner_are_free_and_it_gets_no_more() {
    let mut local = local(2);
    step(&mut local, reserve(1, 0, 1));
    step(&mut local, ask_inside(lease(1, 1), group(1), None, 1));
    let out = step(&mut local, Event::OwnerDied(owner(1)));
    assert_eq!(out, [Effect::Ended { lease: lease(1, 1) }]);
    assert_eq!(local.used(), Resources::none());
    let none = Effect::Unreserved { to: owner(1), bundle: bundle(1, 1) };
    assert_eq!(step(&mut local, reserve(1, 1, 1)), [none]);
}

#[test]
fn those_who_wait_for_a_bundle_hold_up_nobody_outside() {
    let mut local = local(2);
    step(&mut local, reserve(1, 0, 1));
    step(&mut local, ask_inside(lease(1, 1), group(1), None, 1));
    assert!(step(&mut local, ask_inside(lease(1, 2), group(1), None, 1)).is_empty());
    for seq in 3..10 + 2 * u64::from(MAX_PASSED) {
        assert_eq!(step(&mut local, ask(lease(1, seq), 1, 0)), [grant(lease(1, seq))], "the other cpu is free");
        step(&mut local, Event::Return { lease: lease(1, seq) });
    }
}

#[test]
fn g11_a_node_that_drains_serves_its_bundles_and_sets_no_more_aside() {
    let mut local = local(2);
    step(&mut local, reserve(1, 0, 1));
    step(&mut local, ask_inside(lease(1, 1), group(1), None, 1));
    step(&mut local, ask_inside(lease(1, 2), group(1), None, 1));
    assert!(step(&mut local, Event::Drain).is_empty(), "what waits for a bundle waits on");
    let ended = Effect::Ended { lease: lease(1, 1) };
    assert_eq!(step(&mut local, Event::Return { lease: lease(1, 1) }), [ended, grant(lease(1, 2))]);
    let none = Effect::Unreserved { to: owner(1), bundle: bundle(1, 1) };
    assert_eq!(step(&mut local, reserve(1, 1, 1)), [none]);
}

#[derive(Clone, Debug)]
enum Op {
    Reserve(u32, u32, u64),
    Unreserve(u32, u32),
    Ask(u32, u64),
    AskInside(u32, Option<u32>, u64),
    Return(usize),
    Block(usize),
    Unblock(usize),
    Die(u32),
    Drain,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0u32..3, 0u32..3, 1u64..3).prop_map(|(o, index, cpus)| Op::Reserve(o, index, cpus)),
        4 => (0u32..3, 0u32..3).prop_map(|(o, index)| Op::Unreserve(o, index)),
        6 => (0u32..3, 0u64..4).prop_map(|(o, cpus)| Op::Ask(o, cpus)),
        12 => (0u32..3, prop::option::of(0u32..3), 0u64..3).prop_map(|(o, index, cpus)| Op::AskInside(o, index, cpus)),
        8 => any::<usize>().prop_map(Op::Return),
        4 => any::<usize>().prop_map(Op::Block),
        4 => any::<usize>().prop_map(Op::Unblock),
        1 => (0u32..12).prop_map(Op::Die),
        1 => (0u32..20).prop_map(|n| if n == 0 { Op::Drain } else { Op::Return(0) }),
    ];
    prop::collection::vec(op, 1..160)
}

proptest! {
    /// Against a record of who was granted what: a bundle is set aside only while it fits, no grant exceeds what it is
    /// taken from, what ends was there, and in the end everything is free.
    #[test]
    fn bundles_and_leases_add_up(ops in ops(), total in 2u64..8) {
        let mut local = local(total);
        let (mut waiting, mut running) = (BTreeSet::new(), BTreeMap::<LeaseId, bool>::new());
        let (mut dead, mut seq) = (BTreeSet::new(), 0);
        for op in ops {
            let nth = |n: usize| running.keys().nth(n % running.len().max(1)).copied();
            let event = match op {
                Op::Reserve(o, index, cpus) => reserve(o, index, cpus),
                Op::Unreserve(o, index) => Event::Unreserve { bundle: bundle(o, index) },
                Op::Ask(o, cpus) => {
                    seq += 1;
                    waiting.insert(lease(o, seq));
                    ask(lease(o, seq), cpus, 0)
                }
                Op::AskInside(o, index, cpus) => {
                    seq += 1;
                    waiting.insert(lease(o, seq));
                    ask_inside(lease(o, seq), group(o), index, cpus)
                }
                Op::Return(n) => {
                    let Some(lease) = nth(n) else { continue };
                    Event::Return { lease }
                }
                Op::Block(n) | Op::Unblock(n) => {
                    let blocks = matches!(op, Op::Block(_));
                    let Some(lease) = nth(n) else { continue };
                    running.insert(lease, blocks);
                    if blocks { Event::Blocked { lease } } else { Event::Unblocked { lease } }
                }
                Op::Die(n) if n >= 3 => continue,
                Op::Die(n) => {
                    dead.insert(owner(n));
                    waiting.retain(|lease: &LeaseId| lease.owner != owner(n));
                    Event::OwnerDied(owner(n))
                }
                Op::Drain => Event::Drain,
            };
            let aside: u64 = local.reserved().map(|(_, resources)| resources.get("cpu").0).sum();
            for effect in step(&mut local, event) {
                match effect {
                    Effect::Grant { to, lease } => {
                        prop_assert!(waiting.remove(&lease) && !dead.contains(&to));
                        running.insert(lease, false);
                    }
                    Effect::Refuse { lease, .. } | Effect::Spillback { lease, .. } => {
                        prop_assert!(waiting.remove(&lease));
                    }
                    Effect::Ended { lease } => prop_assert!(running.remove(&lease).is_some()),
                    Effect::Reserved { to, bundle } => {
                        prop_assert!(local.reserved().any(|(known, _)| known == bundle) && !dead.contains(&to));
                    }
                    Effect::Unreserved { .. } | Effect::LoadChanged(_) => {}
                }
            }
            let now: u64 = local.reserved().map(|(_, resources)| resources.get("cpu").0).sum();
            prop_assert!(now <= total * 10_000 || now <= aside, "set aside above the total");
            let known: BTreeSet<_> = waiting.iter().chain(running.keys()).copied().collect();
            prop_assert_eq!(local.leases().collect::<BTreeSet<_>>(), known);
        }
        let bundles: Vec<Bundle> = local.reserved().map(|(bundle, _)| bundle).collect();
        bundles.into_iter().for_each(|bundle| drop(step(&mut local, Event::Unreserve { bundle })));
        for lease in local.leases().collect::<Vec<_>>() {
            step(&mut local, Event::Return { lease });
        }
        prop_assert_eq!(local.used(), Resources::none());
        prop_assert_eq!(&local.load().available, &Resources::cpus(total));
    }
}
