//! Values on several nodes.

use super::*;
use proptest::prelude::*;

const D: Incarnation = Incarnation::new(5, 5);

/// A world in which these nodes take copies.
fn world(nodes: &[Incarnation]) -> World {
    let mut w = World::new();
    w.step(Event::Nodes(nodes.iter().copied().collect()));
    w
}

fn on(replicas: u32) -> Durability {
    Durability { replicas, ..Durability::default() }
}

fn kept(w: &World, object: ObjectId) -> Vec<Incarnation> {
    w.kept.iter().filter(|(_, kept)| *kept == object).map(|(at, _)| *at).collect()
}

#[test]
fn k05_a_value_with_two_replicas_outlives_one_node_after_the_other() {
    let mut w = World { durability: on(2), ..world(&[A, B, C, D]) };
    let x = w.task("x", &[]);
    w.run();
    for _ in 0..3 {
        w.fetch_replicas();
        let holders = kept(&w, x);
        assert_eq!(holders.len(), 2, "{holders:?}");
        w.kill(holders[0]);
        assert!(is_stored(&w.owner.locate(x)));
    }
    assert_eq!(w.ran(x), 1, "nothing was rebuilt");
    w.drop(x);
    w.assert_empty();
}

#[test]
fn what_was_put_is_copied_once_somebody_says_so() {
    let mut w = world(&[A, B]);
    let x = w.put_big(&[]);
    assert!(w.fetching.is_empty());
    w.step(Event::Endure { object: x, durability: on(3) });
    assert_eq!(w.fetching.len(), 2, "the owner's own copy is the third");
    w.fetch_replicas();
    assert_eq!(kept(&w, x), [ME, A, B]);
    w.evict(x, ME);
    assert!(w.fetching.is_empty() && is_stored(&w.owner.locate(x)), "there is no other node");
    assert!(w.owner.not_durable()[0].contains("has 2 of 3 replicas, no other node can take one"));
    w.step(Event::Nodes([A, B, C].into()));
    assert_eq!(w.fetching, [(C, x)]);
}

#[test]
fn a_copy_that_a_reader_fetched_is_told_to_stay_instead_of_making_another() {
    let mut w = world(&[A, B, C]);
    let x = w.task("x", &[]);
    w.run();
    w.copy(x, C);
    w.step(Event::Endure { object: x, durability: on(2) });
    assert_eq!(kept(&w, x), [A, C]);
    assert!(w.fetching.is_empty());
}

#[test]
fn a_node_that_drains_or_can_hold_no_copy_is_replaced() {
    let mut w = World { durability: on(2), ..world(&[A, B, C, D]) };
    let x = w.task("x", &[]);
    w.run();
    let (first, _) = w.fetching.remove(0);
    w.step(Event::ReplicaRefused { object: x, by: first });
    let (second, _) = w.fetching[0];
    assert!(w.fetching.len() == 1 && second != first && second != A);
    w.fetch_replicas();
    let others: BTreeSet<Incarnation> = [A, B, C, D].into_iter().filter(|at| *at != second).collect();
    w.step(Event::Nodes(others));
    assert_eq!(w.fetching.len(), 1, "before the draining node is gone");
    assert!(!w.fetching.iter().any(|(at, _)| *at == second));
}

#[test]
fn lost_with_all_its_copies_it_is_rebuilt_and_copied_again() {
    let mut w = World { durability: on(2), ..world(&[A, B, C]) };
    let x = w.task("x", &[]);
    w.run();
    w.fetch_replicas();
    let holders = kept(&w, x);
    w.home = *[A, B, C].iter().find(|at| !holders.contains(at)).expect("the third");
    holders.iter().for_each(|at| w.kill(*at));
    assert!(w.get(x) != Located::Pending && w.ran(x) == 2);
    w.step(Event::Nodes([w.home, D].into()));
    w.fetch_replicas();
    assert_eq!(kept(&w, x).len(), 2);
}

#[derive(Clone, Debug)]
enum Op {
    Put(u32),
    Task(u32),
    Drop(usize),
    /// Nodes die, fewer than the copies of anything, and others come.
    Kill(Vec<usize>),
    Drain(usize),
    /// A reader fetches a copy, and later drops it.
    Read(usize, usize),
    Forget(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let n = 0..64usize;
    prop_oneof![
        2 => (2..4u32).prop_map(Op::Put),
        3 => (2..4u32).prop_map(Op::Task),
        1 => n.clone().prop_map(Op::Drop),
        4 => prop::collection::vec(n.clone(), 1..3).prop_map(Op::Kill),
        1 => n.clone().prop_map(Op::Drain),
        2 => (n.clone(), n.clone()).prop_map(|(object, at)| Op::Read(object, at)),
        1 => n.prop_map(Op::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// As long as fewer nodes die at once than an object has replicas, and a repair ends before the next do, it is
    /// never lost, nothing runs twice, and it is on as many nodes as it should be.
    #[test]
    fn replicated_objects_are_never_lost(ops in prop::collection::vec(op(), 0..60)) {
        let mut nodes: Vec<Incarnation> = (10..16).map(|id| Incarnation::new(id, id)).collect();
        let (mut w, mut next) = (world(&nodes), 16);
        let mut objects: Vec<(ObjectId, u32)> = Vec::new();
        for op in ops {
            match op {
                Op::Put(copies) => {
                    let object = w.put_big(&[]);
                    w.step(Event::Endure { object, durability: on(copies) });
                    objects.push((object, copies));
                }
                Op::Task(copies) => {
                    (w.durability.replicas, w.home) = (copies, nodes[next as usize % nodes.len()]);
                    objects.push((w.task("x", &[]), copies));
                    w.run();
                }
                Op::Drop(n) if !objects.is_empty() => {
                    let (object, _) = objects.swap_remove(n % objects.len());
                    w.drop(object);
                }
                Op::Kill(slots) => {
                    let least = objects.iter().map(|(_, copies)| *copies as usize).min().unwrap_or(1);
                    for slot in slots.into_iter().take(least - 1) {
                        let place = slot % nodes.len();
                        w.kill(nodes[place]);
                        nodes[place] = Incarnation::new(next, next);
                        next += 1;
                    }
                }
                Op::Drain(n) => {
                    let place = n % nodes.len();
                    nodes[place] = Incarnation::new(next, next);
                    next += 1;
                }
                Op::Read(n, at) if !objects.is_empty() => {
                    let (object, at) = (objects[n % objects.len()].0, nodes[at % nodes.len()]);
                    if !w.has(at, object) {
                        w.copy(object, at);
                    }
                }
                Op::Forget(n) => {
                    let copies = w.stores.iter().flat_map(|(at, store)| store.iter().map(|object| (*at, *object)));
                    let caches: Vec<_> = copies.filter(|copy| !w.kept.contains(copy)).collect();
                    // The primary copy of an object that was never promoted is no cache.
                    let caches: Vec<_> =
                        caches.into_iter().filter(|(at, object)| w.owner.directory.primary(*object) != Some(*at)).collect();
                    if let Some((at, object)) = caches.get(n % caches.len().max(1)) {
                        w.evict(*object, *at);
                    }
                }
                _ => {}
            }
            w.step(Event::Nodes(nodes.iter().copied().collect()));
            w.fetch_replicas();
            for (object, copies) in &objects {
                prop_assert!(is_stored(&w.owner.locate(*object)), "{object} is lost");
                let there = |at: &&Incarnation| **at == ME || nodes.contains(at);
                let on = kept(&w, *object).iter().filter(there).count();
                prop_assert!(on >= *copies as usize, "{object} is on {on} nodes, not {copies}");
            }
            prop_assert!(objects.iter().all(|(object, _)| w.ran(*object) <= 1), "something was rebuilt");
            prop_assert!(w.owner.not_durable().is_empty());
        }
        objects.into_iter().for_each(|(object, _)| w.drop(object));
        w.assert_empty();
    }
}
