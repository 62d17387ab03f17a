//! Lineage has a limit, and values must be the same when they are made again.

use super::*;
use crate::UnreconstructableReason as Reason;

/// A world whose lineage has room for so many tasks with one reference argument.
fn with_room(tasks: u64) -> World {
    let mut world = World::new();
    let one = world.task("probe", &[foreign(1)]);
    let footprint = world.owner.tasks[&one.task].spec.footprint();
    World { owner: Owner::new(ME).with_lineage_limit(ByteSize(footprint.0 * tasks)), ..World::new() }
}

#[test]
fn what_was_made_by_dropped_lineage_fails_by_name_when_it_is_lost() {
    let mut w = with_room(2);
    let links: Vec<ObjectId> = (0..4).fold(vec![], |mut links, n| {
        let args: Vec<ObjectId> = links.last().copied().into_iter().collect();
        links.push(w.task(&format!("level{n}"), &args));
        w.run();
        links
    });
    assert_eq!(w.owner.lineage().1, 2, "the two oldest went");
    w.kill(A);
    w.home = B;
    let error = w.get_error(links[3]);
    assert_eq!(error.kind, TaskErrorKind::Unreconstructable(Reason::LineageEvicted));
    assert!(error.to_string().contains(&format!("{}, made by level1", links[1])), "names the ancestor: {error}");
    assert!(links.iter().all(|link| w.ran(*link) == 1));
    links.iter().for_each(|link| w.drop(*link));
    w.assert_empty();
    assert_eq!(w.owner.lineage().0, ByteSize::ZERO);
}

#[test]
fn dropped_lineage_keeps_the_values_that_later_lineage_needs() {
    let mut w = with_room(1);
    let x = w.task("x", &[]);
    let y = w.task("y", &[x]);
    w.run();
    w.drop(x);
    assert!(w.has(A, x), "nothing else can bring y back");
    w.evict(y, A);
    assert!(is_stored(&w.get(y)));
    w.drop(y);
    w.assert_empty();
}

#[test]
fn copies_that_are_freed_together_inherit_nothing_from_each_other() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let y = w.task("y", &[x]);
    w.run();
    w.copy(x, B);
    w.copy(x, C);
    // Its value goes at once, from everywhere; its entry stays for the sake of y.
    w.drop(x);
    assert!(!w.has(A, x) && !w.has(B, x) && !w.has(C, x) && w.owner.knows(x));
    w.evict(y, A);
    assert!(is_stored(&w.get(y)), "both are made again");
    w.drop(y);
    w.assert_empty();
}

#[test]
fn k04_another_value_at_replay_is_an_error() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let y = w.task("y", &[x]);
    w.run();
    w.kill(A);
    w.home = B;
    w.salt = 1;
    let error = w.get_error(y);
    assert_eq!(
        (error.kind, error.cause.map(|cause| cause.kind)),
        (TaskErrorKind::TaskFailed, Some(TaskErrorKind::NondeterministicReplay))
    );
    assert_eq!(w.get_error(x).kind, TaskErrorKind::NondeterministicReplay);
    assert_eq!((w.ran(x), w.ran(y)), (2, 1));
    w.drop(x);
    w.drop(y);
    w.assert_empty();
}

#[test]
fn k04_an_accepted_new_value_takes_its_consumers_results_with_it() {
    let mut w = World::new();
    w.replay = Replay::Accept;
    let x = w.task("x", &[]);
    w.run();
    let y = w.task("y", &[x]);
    let z = w.task("z", &[y]);
    let other = w.task("other", &[]);
    w.home = B;
    w.run();
    w.home = A;
    let late = w.task("late", &[x]);
    w.assign();
    w.evict(x, A);
    w.salt = 1;
    w.step(Event::Subscribe { object: x, by: C });
    w.assign();
    w.finish(x.task);
    assert!(!w.has(B, y) && !w.has(B, z) && w.has(B, other), "what came from the old version is gone");
    w.finish(late.task);
    assert!(!w.has(A, late), "it ran with the old version");
    assert!(is_stored(&w.get(z)) && is_stored(&w.get(late)));
    assert_eq!([x, y, z, other, late].map(|object| w.ran(object)), [2, 2, 2, 1, 2]);
    assert_eq!(w.counters("late").rebuilt, 0, "free of charge");
    w.step(Event::Unsubscribe { object: x, by: C });
    [x, y, z, other, late].iter().for_each(|object| w.drop(*object));
    w.assert_empty();
}
