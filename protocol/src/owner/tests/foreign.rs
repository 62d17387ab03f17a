//! Arguments that other processes own.

use super::*;

fn stored() -> Located {
    Located::Stored { size: BIG, copies: vec![F] }
}

#[test]
fn a_task_waits_for_the_owner_s_word_and_follows_it_while_it_is_pending() {
    let mut w = World::new();
    let f = foreign(1);
    let (x, y) = (w.task("small", &[f, f]), w.task("small", &[f]));
    assert_eq!((w.queued.len(), w.foreign[&f]), (0, (3, 1)));
    w.step(Event::ForeignLocated { object: f, located: stored() });
    w.run();
    assert_eq!((w.ran(x), w.ran(y), w.foreign[&f]), (1, 1, (0, 0)));
    w.drop(x);
    w.drop(y);
    w.assert_empty();
}

#[test]
fn the_hold_stays_while_lineage_needs_it_and_the_subscription_does_not() {
    let mut w = World::new();
    let f = foreign(1);
    let x = w.task("x", &[f]);
    w.step(Event::ForeignLocated { object: f, located: stored() });
    w.run();
    assert_eq!(w.foreign[&f], (1, 0));
    w.kill(A);
    w.home = B;
    w.step(Event::Subscribe { object: x, by: ME });
    assert_eq!(w.foreign[&f], (1, 1), "it is asked for again");
    w.step(Event::ForeignLocated { object: f, located: stored() });
    w.run();
    w.drop(x);
    w.assert_empty();
}

#[test]
fn the_death_of_the_owner_fails_those_who_wait_and_those_who_come_later() {
    let mut w = World::new();
    let f = foreign(1);
    let before = w.task("x", &[f]);
    w.kill(F);
    let after = w.task("x", &[f]);
    w.step(Event::ForeignLocated { object: f, located: stored() });
    for x in [before, after] {
        assert_eq!(w.get_error(x).cause.expect("a cause").kind, TaskErrorKind::OwnerDied);
        w.drop(x);
    }
    w.assert_empty();
}

#[test]
fn nested_references_are_lent_before_the_task_goes_out() {
    let mut w = World::new();
    let f = foreign(1);
    let x = w.submit("small", vec![value(&[f])], 0);
    w.assign();
    assert_eq!(w.lent, [(f, A)]);
    w.end(x, TaskOutcome::Returned(vec![]));
    w.assert_empty();
}
