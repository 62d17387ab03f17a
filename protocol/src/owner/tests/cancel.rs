//! Cancellation in every stage of a task.

use super::*;

#[test]
fn waiting() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let y = w.task("y", &[x]);
    w.step(Event::Cancel { object: y, recursive: true });
    assert_eq!(w.get_error(y).kind, TaskErrorKind::Cancelled);
    assert_eq!(w.ran(y), 0);
    w.drop(x);
    w.drop(y);
    w.assert_empty();
}

#[test]
fn queued() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    w.step(Event::Cancel { object: x, recursive: true });
    assert!(w.queued.is_empty());
    assert_eq!(w.get_error(x).kind, TaskErrorKind::Cancelled);
}

#[test]
fn queued_while_the_slot_is_on_its_way() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let queued = w.queued.clone();
    w.step(Event::Cancel { object: x, recursive: true });
    w.queued = queued;
    w.assign();
    assert!(w.running.is_empty());
}

#[test]
fn running_and_its_late_result_is_freed() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    w.assign();
    w.step(Event::Cancel { object: x, recursive: true });
    assert_eq!(w.cancelled, [(x.task, Attempt(1))]);
    assert_eq!(w.get_error(x).kind, TaskErrorKind::Cancelled);
    assert_eq!(w.ran(x), 1, "it ran to its end all the same");
    w.drop(x);
    w.assert_empty();
}

#[test]
fn finished_is_too_late() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    w.run();
    w.step(Event::Cancel { object: x, recursive: true });
    assert!(is_stored(&w.get(x)) && w.cancelled.is_empty());
}

#[test]
fn dependents_fail_with_the_cancellation_as_their_cause() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let y = w.task("y", &[x]);
    w.step(Event::Cancel { object: x, recursive: true });
    let error = w.get_error(y);
    assert_eq!(error.kind, TaskErrorKind::TaskFailed);
    assert_eq!(error.cause.expect("a cause").kind, TaskErrorKind::Cancelled);
}
