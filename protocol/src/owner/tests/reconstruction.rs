//! Lost values, rebuilt or not. Tests with a number are named as the scenario of the same failure
//! in `scenarios/catalogue`, where there is one.

use super::*;
use crate::UnreconstructableReason as Reason;

fn with_losses(losses: u32) -> World {
    let mut world = World::new();
    world.retries.losses = Some(losses);
    world
}

#[test]
fn a01_a_lost_object_is_rebuilt_once_for_a_task_and_a_get() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    w.run();
    w.kill(A);
    w.home = B;
    assert_eq!(w.ran(x), 1, "nobody wants it yet");
    let y = w.task("y", &[x]);
    assert!(is_stored(&w.get(y)) && is_stored(&w.get(x)));
    assert_eq!(w.ran(x), 2);
    assert_eq!(w.counters("x").rebuilt, 1);
    w.drop(x);
    w.drop(y);
    w.assert_empty();
}

#[test]
fn a02_the_loss_budget_is_exact_and_named_when_it_is_used_up() {
    let mut w = with_losses(1);
    let x = w.task("x", &[]);
    w.run();
    w.evict(x, A);
    assert!(is_stored(&w.get(x)));
    w.evict(x, A);
    assert_eq!(w.get_error(x).kind, TaskErrorKind::Unreconstructable(Reason::MaxAttempts));
    assert_eq!(w.ran(x), 2);
    assert_eq!(w.owner.tasks(), 0, "what can no longer be rebuilt needs no lineage");
    w.drop(x);
    w.assert_empty();
}

#[test]
fn a_value_that_made_room_is_rebuilt_as_often_as_it_takes() {
    let mut w = with_losses(1);
    let x = w.task("x", &[]);
    w.run();
    for times in 2..7 {
        w.stores.entry(A).or_default().remove(&x);
        w.step(Event::CopyEvicted { object: x, at: A });
        assert!(is_stored(&w.get(x)));
        assert_eq!(w.ran(x), times);
    }
    w.evict(x, A);
    assert!(is_stored(&w.get(x)), "the budget is for losses, and untouched");
    w.evict(x, A);
    assert_eq!(w.get_error(x).kind, TaskErrorKind::Unreconstructable(Reason::MaxAttempts));
    w.drop(x);
    w.assert_empty();
}

#[test]
fn a03_without_a_loss_budget_readers_and_dependents_learn_why() {
    let mut w = with_losses(0);
    let x = w.task("x", &[]);
    w.run();
    w.kill(A);
    w.home = B;
    let y = w.task("y", &[x]);
    assert_eq!(w.get_error(x).kind, TaskErrorKind::Unreconstructable(Reason::RetriesDisabled));
    let error = w.get_error(y);
    assert_eq!((error.kind, error.reason()), (TaskErrorKind::TaskFailed, Some(Reason::RetriesDisabled)));
    assert_eq!(w.ran(x), 1);
}

#[test]
fn a19_what_lies_in_shared_storage_is_taken_over_and_not_made_again() {
    let mut w = with_losses(0);
    let (x, y) = (w.task("x", &[]), w.task("y", &[]));
    w.run();
    w.spill(x, A);
    w.kill(A);
    w.home = B;
    assert!(is_stored(&w.get(x)) && w.has(ME, x), "it is ours now");
    assert_eq!(w.get_error(y).kind, TaskErrorKind::Unreconstructable(Reason::RetriesDisabled), "was in memory only");
    assert_eq!((w.ran(x), w.counters("x").rebuilt), (1, 0));
    w.drop(x);
    w.drop(y);
    w.assert_empty();
}

#[test]
fn what_was_taken_over_and_proves_damaged_is_lost_like_any_copy() {
    let mut w = with_losses(1);
    let x = w.task("x", &[]);
    w.run();
    w.spill(x, A);
    w.kill(A);
    w.home = B;
    w.evict(x, ME);
    assert!(is_stored(&w.get(x)));
    assert_eq!(w.ran(x), 2);
    w.drop(x);
    w.assert_empty();
}

#[test]
fn a_damaged_copy_is_dropped_and_the_last_one_is_made_again_within_the_budget() {
    let mut w = with_losses(1);
    let x = w.task("x", &[]);
    w.run();
    w.copy(x, B);
    w.step(Event::CopyDamaged { object: x, at: A });
    assert!(!w.has(A, x) && is_stored(&w.get(x)));
    assert_eq!(w.ran(x), 1, "there is another one");
    w.step(Event::CopyDamaged { object: x, at: A });
    w.step(Event::CopyDamaged { object: x, at: B });
    assert!(is_stored(&w.get(x)));
    assert_eq!(w.ran(x), 2);
    w.step(Event::CopyDamaged { object: x, at: A });
    assert_eq!(w.get_error(x).kind, TaskErrorKind::Unreconstructable(Reason::MaxAttempts), "not asked for for ever");
    w.drop(x);
    w.assert_empty();
}

#[test]
fn a04_a_surviving_copy_makes_execution_needless() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    w.run();
    w.copy(x, B);
    w.kill(A);
    w.home = B;
    let y = w.task("y", &[x]);
    assert!(is_stored(&w.get(y)));
    assert_eq!(w.ran(x), 1);
}

#[test]
fn a06_only_the_lost_link_of_a_chain_runs_again() {
    let mut w = with_losses(0);
    w.home = B;
    let x = w.task("x", &[]);
    w.run();
    w.home = A;
    w.retries = Retries::default();
    let y = w.task("y", &[x]);
    w.run();
    w.kill(A);
    w.home = B;
    assert!(is_stored(&w.get(y)));
    assert_eq!((w.ran(x), w.ran(y)), (1, 2));
}

fn chain(w: &mut World, length: usize) -> Vec<ObjectId> {
    let mut links = vec![w.task("link", &[])];
    for _ in 1..length {
        let link = w.task("link", &[links[links.len() - 1]]);
        links.push(link);
    }
    w.run();
    links
}

#[test]
fn a07_a_lost_chain_is_rebuilt_level_by_level() {
    let mut w = World::new();
    let links = chain(&mut w, 20);
    links[..19].iter().for_each(|link| w.drop(*link));
    assert_eq!(w.stores[&A].len(), 1, "only the last value is in scope");
    assert_eq!((w.owner.objects(), w.owner.tasks()), (20, 20), "the others are lineage");
    w.kill(A);
    w.home = B;
    assert!(is_stored(&w.get(links[19])));
    assert!(links.iter().all(|link| w.ran(*link) == 2));
    w.drop(links[19]);
    w.assert_empty();
}

#[test]
fn a08_a_second_death_half_way_through_stays_within_the_budgets() {
    let mut w = World::new();
    let links = chain(&mut w, 5);
    links[..4].iter().for_each(|link| w.drop(*link));
    w.kill(A);
    w.home = B;
    w.step(Event::Subscribe { object: links[4], by: ME });
    for link in &links[..2] {
        w.assign();
        w.finish(link.task);
    }
    w.assign();
    w.kill(B);
    w.home = C;
    assert!(is_stored(&w.get(links[4])));
    assert!(links.iter().all(|link| w.ran(*link) <= 4));
    w.drop(links[4]);
    w.assert_empty();
}

#[test]
fn a09_recoveries_of_a_shared_input_coalesce() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let downs: Vec<ObjectId> = (0..4).map(|_| w.task("down", &[x])).collect();
    w.run();
    w.kill(A);
    w.home = B;
    downs.iter().for_each(|down| w.step(Event::Subscribe { object: *down, by: C }));
    w.run();
    assert!(downs.iter().all(|down| is_stored(&w.told[&(C, *down)])));
    assert_eq!(w.ran(x), 2);
}

#[test]
fn a11_a_put_that_only_lineage_needs_is_kept_and_its_loss_is_named() {
    for put_survives in [true, false] {
        let mut w = World::new();
        let p = w.put_big(&[]);
        let r = w.task("r", &[p]);
        w.run();
        w.drop(p);
        assert!(w.has(ME, p), "nothing can make it again");
        w.kill(A);
        w.home = B;
        if put_survives {
            assert!(is_stored(&w.get(r)));
        } else {
            w.evict(p, ME);
            let error = w.get_error(r);
            assert_eq!(error.kind, TaskErrorKind::Unreconstructable(Reason::Put));
            assert!(error.cause.is_some());
        }
        w.drop(r);
        w.assert_empty();
    }
}

#[test]
fn a12_of_several_results_only_the_lost_one_matters() {
    let mut w = World::new();
    let task = w.submit("pair", vec![], 2);
    w.run();
    w.copy(task.result(0), B);
    w.kill(A);
    w.home = C;
    assert!(is_stored(&w.get(task.result(0))));
    assert!(is_stored(&w.get(task.result(1))));
    assert_eq!(w.ran(task.result(0)), 2);
    assert_eq!(w.owner.directory.copies(task.result(0)), [B, C], "an equal copy is one more");
}

/// A pair of which the first has a copy at `B` and the second is lost; it runs again, and both come out differently.
fn a_pair_made_differently(replay: Replay) -> (World, TaskId) {
    let mut w = World { replay, ..World::new() };
    let task = w.submit("pair", vec![], 2);
    w.run();
    w.copy(task.result(0), B);
    w.kill(A);
    w.home = C;
    w.step(Event::Subscribe { object: task.result(1), by: ME });
    w.assign();
    w.stores.insert(C, BTreeSet::from([task.result(0), task.result(1)]));
    let other = |hash| TaskResult { place: ResultPlace::Stored(BIG), refs: vec![], hash };
    w.end(task, TaskOutcome::Returned(vec![other(77), other(78)]));
    assert_eq!(w.owner.directory.copies(task.result(0)), [B]);
    assert!(!w.has(C, task.result(0)), "a second version of what can be read is not published");
    (w, task)
}

#[test]
fn a12_another_version_of_a_lost_sibling_is_published_only_if_that_was_allowed() {
    let (w, task) = a_pair_made_differently(Replay::Accept);
    assert!(w.has(C, task.result(1)));
    let (mut w, task) = a_pair_made_differently(Replay::Strict);
    assert!(!w.has(C, task.result(1)));
    assert_eq!(w.get_error(task.result(1)).kind, TaskErrorKind::NondeterministicReplay);
}

#[test]
fn a15_a_waiting_consumer_never_starts_a_second_rebuild() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    w.run();
    w.evict(x, A);
    let y = w.task("y", &[x]);
    w.assign();
    for by in [ME, B, C, B] {
        w.step(Event::Subscribe { object: x, by });
    }
    let z = w.task("z", &[x]);
    w.step(Event::CopyRemoved { object: x, at: A });
    assert_eq!((w.running.len(), w.queued.len()), (1, 0));
    w.run();
    assert_eq!((w.ran(x), w.ran(y), w.ran(z)), (2, 1, 1));
}

#[test]
fn a17_what_was_freed_by_hand_is_not_rebuilt() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let y = w.task("y", &[x]);
    w.run();
    w.step(Event::Free(x));
    assert!(!w.has(A, x));
    assert_eq!(w.get_error(x).kind, TaskErrorKind::Freed);
    w.kill(A);
    w.home = B;
    let error = w.get_error(y);
    assert_eq!(error.kind, TaskErrorKind::Unreconstructable(Reason::Freed));
    assert_eq!(error.cause.expect("a cause").kind, TaskErrorKind::Freed);
    assert_eq!(w.ran(x), 1);
    w.drop(x);
    w.drop(y);
    w.assert_empty();
}

#[test]
fn freed_by_hand_before_it_exists_is_freed_when_it_does() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    w.assign();
    w.step(Event::Free(x));
    w.run();
    assert!(!w.has(A, x));
    assert_eq!(w.get_error(x).kind, TaskErrorKind::Freed);
    w.drop(x);
    w.assert_empty();
}

#[test]
fn a26_results_of_a_cancelled_task_are_not_rebuilt() {
    let mut w = World::new();
    let task = w.submit("pair", vec![], 2);
    let [a, b] = [0, 1].map(|index| task.result(index));
    w.run();
    w.copy(b, B);
    w.evict(a, A);
    w.step(Event::Subscribe { object: a, by: ME });
    w.assign();
    w.step(Event::Cancel { object: a, recursive: true });
    assert_eq!(w.get_error(a).kind, TaskErrorKind::Cancelled);
    assert!(is_stored(&w.get(b)), "what exists stays");
    w.kill(A);
    w.kill(B);
    assert_eq!(w.get_error(b).kind, TaskErrorKind::Unreconstructable(Reason::TaskCancelled));
    assert_eq!(w.running.len(), 0);
}

#[test]
fn a28_dropped_during_recovery_the_result_is_discarded_and_nothing_leaks() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let y = w.task("y", &[x]);
    w.drop(x);
    w.run();
    w.kill(A);
    w.home = B;
    w.step(Event::Subscribe { object: y, by: C });
    w.assign();
    w.drop(y);
    w.run();
    assert_eq!((w.ran(x), w.ran(y)), (2, 2));
    assert!(matches!(w.told[&(C, y)], Located::Failed(_)), "an answer even to who should not have asked");
    w.assert_empty();
}

#[test]
fn a29_an_inline_result_cannot_be_lost_and_keeps_no_lineage() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let y = w.task("small", &[x]);
    w.drop(x);
    w.run();
    assert_eq!((w.owner.objects(), w.owner.tasks()), (1, 0));
    w.kill(A);
    assert!(matches!(w.get(y), Located::Inline(_)));
    assert_eq!(w.ran(y), 1);
}

#[test]
fn the_reason_of_a_failed_rebuild_is_never_invented() {
    let mut w = World::new();
    w.retries.crashes = Some(0);
    let x = w.task("x", &[]);
    let y = w.task("y", &[x]);
    w.run();
    w.kill(A);
    w.home = B;
    w.step(Event::Subscribe { object: y, by: ME });
    w.assign();
    w.end(x.task, crashed());
    let error = w.get_error(y);
    assert_eq!((error.kind, error.reason()), (TaskErrorKind::TaskFailed, None));
    assert_eq!(error.cause.expect("a cause").kind, TaskErrorKind::WorkerCrashed);
}

#[test]
fn a_copy_that_turns_up_ends_the_wait_and_a_wrong_one_is_freed() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    w.run();
    w.evict(x, A);
    let y = w.task("y", &[x]);
    w.stores.entry(C).or_default().insert(x);
    w.step(Event::CopyAdded { object: x, at: C, size: ByteSize(1) });
    assert!(!w.has(C, x), "another size, another version");
    w.copy(x, B);
    assert!(w.queued.contains(&y.task));
    w.run();
    w.drop(x);
    w.drop(y);
    w.assert_empty();
}

#[test]
fn the_next_copy_to_count_on_may_be_dropped_if_the_first_might() {
    let mut w = World::new();
    let (x, put) = (w.task("x", &[]), w.put_big(&[]));
    w.run();
    w.retries.losses = Some(0);
    let once = w.task("once", &[]);
    w.run();
    for object in [x, put, once] {
        w.copy(object, B);
    }
    w.evict(put, ME);
    w.kill(A);
    assert_eq!(w.kept, [(B, x), (B, put), (B, once)].into());
    assert_eq!(w.droppable, [(B, x)].into());
    w.evict(x, B);
    w.home = B;
    assert!(is_stored(&w.get(x)), "it is made again");
    [x, put, once].into_iter().for_each(|object| w.drop(object));
    w.assert_empty();
}
