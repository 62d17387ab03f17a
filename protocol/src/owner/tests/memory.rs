//! Attempts that ended because their node ran out of memory.

use super::*;
use crate::owner::memory::{FIRST_PAUSE, LONGEST_PAUSE};

fn budget(memory: Option<u32>) -> World {
    let mut world = World::new();
    world.retries = Retries { crashes: Some(0), errors: Some(0), losses: Some(0), memory };
    world
}

/// Assigns the task, ends it for memory, and returns how long it rests; none if it does not.
fn kill(w: &mut World, x: ObjectId) -> Option<Nanos> {
    w.assign();
    w.end(x.task, out_of_memory());
    w.owner.next_deadline().map(|until| until.saturating_sub(w.now))
}

#[test]
fn the_pause_doubles_and_the_crash_budget_is_not_touched() {
    let mut w = budget(Some(2));
    let x = w.task("x", &[]);
    assert_eq!(kill(&mut w, x), Some(FIRST_PAUSE));
    assert!(w.queued.is_empty(), "it rests");
    assert!(w.owner.waits()[0].contains("its node ran out of memory, 1 times"), "{:?}", w.owner.waits());
    w.pass(Nanos(FIRST_PAUSE.0 - 1));
    assert!(w.queued.is_empty());
    w.pass(Nanos(1));
    assert_eq!(kill(&mut w, x), Some(FIRST_PAUSE + FIRST_PAUSE));
    w.pass(FIRST_PAUSE + FIRST_PAUSE);
    assert!(is_stored(&w.get(x)));
    let counters = w.counters("x");
    assert_eq!((counters.executions, counters.retried, counters.failed), (3, 2, 0));
}

#[test]
fn beyond_the_budget_it_fails_with_what_the_node_said() {
    for tries in [0, 1, 8] {
        let mut w = budget(Some(tries));
        let x = w.task("x", &[]);
        for _ in 0..tries {
            let pause = kill(&mut w, x).expect("it may run again");
            w.pass(pause);
        }
        assert_eq!(kill(&mut w, x), None);
        let error = w.get_error(x);
        assert_eq!(error.kind, TaskErrorKind::OutOfMemory);
        assert!(error.message.contains("node A is full"), "{error}");
        assert_eq!(w.counters("x").failed, 1);
        w.drop(x);
        w.assert_empty();
    }
}

#[test]
fn without_a_budget_the_pause_has_a_limit() {
    let mut w = budget(None);
    let x = w.task("x", &[]);
    let mut pauses = Vec::new();
    for _ in 0..70 {
        pauses.push(kill(&mut w, x).expect("it may run again"));
        w.pass(pauses[pauses.len() - 1]);
    }
    assert!(pauses.is_sorted() && pauses[5] < LONGEST_PAUSE && pauses[6..].iter().all(|pause| *pause == LONGEST_PAUSE));
}

#[test]
fn what_rests_can_be_cancelled_and_finds_its_argument_missing() {
    let mut w = budget(Some(9));
    let x = w.task("x", &[]);
    kill(&mut w, x);
    w.step(Event::Cancel { object: x, recursive: false });
    assert_eq!(w.get_error(x).kind, TaskErrorKind::Cancelled);
    assert_eq!(w.owner.next_deadline(), None);

    w.retries.losses = Some(1);
    let argument = w.task("argument", &[]);
    w.run();
    let y = w.task("y", &[argument]);
    let pause = kill(&mut w, y).expect("it may run again");
    w.evict(argument, A);
    w.pass(pause);
    assert_eq!(w.queued, [argument.task], "the argument first");
    assert!(is_stored(&w.get(y)));
}

#[test]
fn a_late_result_of_an_ended_attempt_is_refused() {
    let mut w = budget(Some(1));
    let x = w.task("x", &[]);
    let pause = kill(&mut w, x).expect("it may run again");
    w.stores.entry(A).or_default().insert(x);
    let late = TaskResult { place: ResultPlace::Stored(BIG), refs: vec![], hash: 1 };
    let outcome = TaskOutcome::Returned(vec![late]);
    w.step(Event::Done { from: A, task: x.task, attempt: Attempt(1), outcome });
    assert!(!w.has(A, x) && w.owner.locate(x) == Located::Pending);
    w.pass(pause);
    assert!(is_stored(&w.get(x)));
}
