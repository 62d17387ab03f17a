//! Who holds what. Tests with a number are named as the scenario of the same failure
//! in `scenarios/catalogue`, where there is one.

use super::*;

fn borrow(w: &mut World, object: ObjectId, by: Incarnation) {
    w.step(Event::Borrowed { object, by });
}

fn give_back(w: &mut World, object: ObjectId, by: Incarnation) {
    w.step(Event::Returned { object, by });
}

#[test]
fn b04_a_dead_borrower_holds_nothing() {
    let mut w = World::new();
    let x = w.put_big(&[]);
    borrow(&mut w, x, B);
    borrow(&mut w, x, B);
    w.drop(x);
    assert!(w.has(ME, x));
    w.kill(B);
    w.assert_empty();
}

#[test]
fn a_registration_made_for_a_process_that_died_meanwhile_holds_nothing() {
    let mut w = World::new();
    let x = w.put_big(&[]);
    borrow(&mut w, x, C);
    w.kill(B);
    borrow(&mut w, x, B);
    w.drop(x);
    give_back(&mut w, x, C);
    w.assert_empty();
}

#[test]
fn b06_a_return_may_overtake_the_lender_s_registration() {
    let mut w = World::new();
    let x = w.put_big(&[]);
    borrow(&mut w, x, B);
    w.drop(x);
    give_back(&mut w, x, C);
    assert!(w.has(ME, x), "the lender still holds it");
    borrow(&mut w, x, C);
    assert!(w.has(ME, x));
    give_back(&mut w, x, B);
    w.assert_empty();
}

#[test]
fn b10_an_inner_object_outlives_its_container_while_a_task_uses_it() {
    let mut w = World::new();
    let inner = w.put_big(&[]);
    let outer = w.put_small(&[inner]);
    w.drop(inner);
    assert!(w.has(ME, inner), "the container refers to it");
    let user = w.submit("small", vec![Arg::Ref(inner)], 1);
    w.drop(outer);
    w.assign();
    assert!(w.has(ME, inner), "the task uses it");
    w.run();
    assert!(!w.has(ME, inner));
    w.drop(user.result(0));
    w.assert_empty();
}

#[test]
fn b11_a_task_that_is_done_with_a_nested_reference_frees_it() {
    let mut w = World::new();
    let inner = w.put_big(&[]);
    let task = w.submit("small", vec![value(&[inner])], 0);
    w.drop(inner);
    w.assign();
    assert!(w.has(ME, inner));
    w.end(task, TaskOutcome::Returned(vec![]));
    w.assert_empty();
}

#[test]
fn a_reference_inside_a_result_is_held_until_the_result_is_out_of_scope() {
    let mut w = World::new();
    let inner = w.put_big(&[]);
    let outer = w.submit("wrap", vec![value(&[inner])], 2);
    w.drop(inner);
    w.run();
    w.drop(outer.result(0));
    assert!(w.has(ME, inner));
    w.drop(outer.result(1));
    w.assert_empty();
}

#[test]
fn a_rebuilt_container_holds_what_the_new_value_refers_to_and_no_more() {
    let mut w = World::new();
    let (old, new) = (w.put_big(&[]), w.put_big(&[]));
    let outer = w.task("outer", &[]);
    let with =
        |inner| TaskOutcome::Returned(vec![TaskResult { place: ResultPlace::Stored(BIG), refs: vec![inner], hash: 1 }]);
    for inner in [old, new] {
        w.assign();
        w.stores.entry(A).or_default().insert(outer);
        w.end(outer.task, with(inner));
        w.drop(inner);
        if inner == old {
            w.evict(outer, A);
            w.step(Event::Subscribe { object: outer, by: ME });
        }
    }
    assert!(!w.has(ME, old) && w.has(ME, new));
    w.drop(outer);
    w.assert_empty();
}

#[test]
fn b12_a_reference_that_comes_back_from_its_owner_and_returns_there_stays_counted() {
    let mut w = World::new();
    w.home = F;
    let inner = foreign(7);
    let outer = w.task("small", &[]);
    w.assign();
    let result = TaskResult { place: ResultPlace::Inline(Bytes::new()), refs: vec![inner], hash: 1 };
    w.end(outer.task, TaskOutcome::Returned(vec![result]));
    assert_eq!(w.foreign[&inner], (1, 0), "inherited with the result");
    let user = w.submit("small", vec![Arg::Ref(inner), value(&[inner])], 1);
    w.drop(outer);
    assert_eq!(w.foreign[&inner], (2, 1), "one hold an argument, one subscription");
    w.step(Event::ForeignLocated { object: inner, located: Located::Stored { size: BIG, copies: vec![F] } });
    w.assign();
    assert_eq!(w.lent, [], "an owner need not be registered with itself");
    w.end(
        user,
        TaskOutcome::Returned(vec![TaskResult { place: ResultPlace::Inline(Bytes::new()), refs: vec![], hash: 1 }]),
    );
    w.drop(user.result(0));
    w.assert_empty();
}

#[test]
fn a_dropped_container_of_many_references_frees_them_all() {
    let mut w = World::new();
    w.checked = false;
    let inner: Vec<ObjectId> = (0..10_000).map(|_| w.put_big(&[])).collect();
    let outer = w.put_small(&inner);
    inner.iter().for_each(|inner| w.drop(*inner));
    assert_eq!(w.owner.objects(), 10_001);
    w.drop(outer);
    w.assert_empty();
}

#[test]
fn a_subscriber_to_what_is_out_of_scope_is_told_so() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let y = w.task("y", &[x]);
    w.run();
    w.step(Event::Subscribe { object: x, by: B });
    w.drop(x);
    assert!(matches!(w.told[&(B, x)], Located::Failed(_)), "its value is freed");
    w.step(Event::Subscribe { object: x, by: C });
    assert!(matches!(w.told[&(C, x)], Located::Failed(_)), "and not rebuilt for somebody without a reference");
    assert!(w.queued.is_empty());
    w.drop(y);
    w.assert_empty();
}

#[test]
fn a_late_copy_of_a_freed_object_is_freed_too() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    w.run();
    w.drop(x);
    w.copy(x, B);
    w.assert_empty();
}

#[test]
fn a_task_waits_for_an_argument_that_is_being_put() {
    let mut w = World::new();
    let object = w.begin_put(&[]);
    let result = w.task("t", &[object]);
    w.drop(object);
    assert_eq!(w.queued, [], "nothing is lost, so nothing fails and nothing is queued");
    w.end_put(0, true);
    w.assign();
    w.finish(result.task);
    assert!(matches!(w.owner.locate(result), Located::Stored { .. }));
    w.drop(result);
    w.assert_empty();
}

#[test]
fn a_put_that_fails_fails_its_tasks_with_its_reason() {
    let mut w = World::new();
    let object = w.begin_put(&[]);
    let result = w.task("t", &[object]);
    w.drop(object);
    w.end_put(0, false);
    let Located::Failed(error) = w.owner.locate(result) else { panic!("it must fail") };
    assert_eq!(error.cause.map(|cause| cause.kind), Some(TaskErrorKind::StoreFull));
    w.drop(result);
    w.assert_empty();
}

#[test]
fn a_put_that_nobody_waits_for_any_more_leaves_no_copy() {
    let mut w = World::new();
    let (dropped, freed) = (w.begin_put(&[]), w.begin_put(&[]));
    w.drop(dropped);
    w.step(Event::Free(freed));
    w.end_put(0, true);
    w.end_put(0, true);
    assert!(w.stores[&ME].is_empty(), "{:?}", w.stores);
    w.drop(freed);
    w.assert_empty();
}
