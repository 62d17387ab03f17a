//! Attempts and their budgets.

use super::*;

fn budgets(crashes: u32, errors: u32, losses: u32) -> World {
    let mut world = World::new();
    world.retries = Retries { crashes: Some(crashes), errors: Some(errors), losses: Some(losses), memory: Some(0) };
    world
}

/// Assigns the task and ends it this way.
fn try_once(w: &mut World, x: ObjectId, outcome: TaskOutcome) {
    w.assign();
    w.end(x.task, outcome);
}

#[test]
fn budgets_are_separate_and_exact() {
    let mut w = budgets(2, 1, 1);
    let x = w.task("x", &[]);
    try_once(&mut w, x, raised());
    try_once(&mut w, x, crashed());
    try_once(&mut w, x, crashed());
    w.run();
    w.evict(x, A);
    assert!(is_stored(&w.get(x)));
    assert_eq!(w.ran(x), 1 + 2 + 1 + 1);
    let counters = w.counters("x");
    assert_eq!((counters.executions, counters.retried, counters.rebuilt, counters.finished), (5, 3, 1, 1));
}

#[test]
fn the_last_error_says_which_budget_was_used_up() {
    for (outcome, kind) in [(raised(), TaskErrorKind::TaskFailed), (crashed(), TaskErrorKind::WorkerCrashed)] {
        let mut w = budgets(1, 1, 9);
        let x = w.task("x", &[]);
        try_once(&mut w, x, outcome.clone());
        try_once(&mut w, x, outcome);
        assert_eq!(w.get_error(x).kind, kind);
        assert_eq!((w.ran(x), w.counters("x").failed), (2, 1));
        w.drop(x);
        w.assert_empty();
    }
}

#[test]
fn a_node_s_death_is_charged_as_a_crash_whether_or_not_the_attempt_had_started() {
    for started in [false, true] {
        let mut w = budgets(1, 0, 0);
        let x = w.task("x", &[]);
        for node in [A, B] {
            w.home = node;
            w.assign();
            if started {
                w.start(x.task);
            }
            w.kill(node);
        }
        assert_eq!(w.get_error(x).kind, TaskErrorKind::NodeDied);
        assert_eq!(w.counters("x").executions, if started { 2 } else { 0 });
    }
}

#[test]
fn a_budget_of_zero_means_at_most_once() {
    let mut w = budgets(0, 0, 0);
    let x = w.task("x", &[]);
    w.assign();
    w.kill(A);
    assert_eq!(w.get_error(x).kind, TaskErrorKind::NodeDied);
    assert!(w.queued.is_empty());
}

#[test]
fn hand_backs_cost_nothing_and_rebuild_what_is_missing() {
    let mut w = budgets(0, 0, 1);
    let x = w.task("x", &[]);
    w.run();
    let y = w.task("y", &[x]);
    w.assign();
    w.evict(x, A);
    w.end(y.task, TaskOutcome::HandedBack(Some(x)));
    assert_eq!(w.queued, [x.task], "the argument first");
    for _ in 0..10 {
        w.run_argument_and_hand_back(x, y);
    }
    w.run();
    assert_eq!((w.ran(x), w.ran(y)), (2, 1));
    assert_eq!(w.counters("y").retried, 0);
}

impl World {
    /// Runs `x` if it is queued, and lets the node hand `y` back although its argument exists.
    fn run_argument_and_hand_back(&mut self, x: ObjectId, y: ObjectId) {
        self.assign();
        if self.running.iter().any(|run| run.spec.id == x.task) {
            self.finish(x.task);
            self.assign();
        }
        self.end(y.task, TaskOutcome::HandedBack(None));
    }
}

#[test]
fn an_argument_lost_in_the_queue_is_found_missing_when_the_slot_comes() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    w.run();
    let y = w.task("y", &[x]);
    w.evict(x, A);
    w.assign();
    assert_eq!((w.running.len(), w.queued.clone()), (0, vec![x.task]));
    w.run();
    assert!(is_stored(&w.get(y)));
}

#[test]
fn a_slot_on_a_node_that_died_meanwhile_is_not_used() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    w.kill(A);
    w.assign();
    assert_eq!((w.running.len(), w.queued.clone()), (0, vec![x.task]));
    w.home = B;
    assert!(is_stored(&w.get(x)));
    assert_eq!(w.counters("x").retried, 0);
}

#[test]
fn attempt_numbers_rise_and_only_the_current_attempt_is_heard() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    try_once(&mut w, x, crashed());
    w.home = B;
    w.assign();
    assert_eq!(w.running[0].attempt, Attempt(2));
    w.stores.entry(A).or_default().insert(x);
    let late = TaskResult { place: ResultPlace::Stored(BIG), refs: vec![foreign(1)], hash: 1 };
    let outcome = TaskOutcome::Returned(vec![late]);
    w.step(Event::Done { from: A, task: x.task, attempt: Attempt(1), outcome: outcome.clone() });
    assert!(!w.has(A, x), "what a superseded attempt sealed is freed");
    assert_eq!(w.foreign[&foreign(1)], (0, 0), "and the references in it are given back");
    assert_eq!(w.owner.locate(x), Located::Pending);
    w.run();
    w.step(Event::Done { from: B, task: x.task, attempt: Attempt(2), outcome });
    assert!(w.has(B, x), "a duplicate does not free the published copy");
    w.drop(x);
    w.assert_empty();
}

#[test]
fn a_wrong_number_of_results_is_an_error_of_the_task() {
    let mut w = World::new();
    let pair = w.submit("pair", vec![], 2);
    w.assign();
    w.stores.entry(A).or_default().insert(pair.result(0));
    let result = TaskResult { place: ResultPlace::Stored(BIG), refs: vec![], hash: 1 };
    w.end(pair, TaskOutcome::Returned(vec![result]));
    for index in [0, 1] {
        assert_eq!(w.get_error(pair.result(index)).kind, TaskErrorKind::TaskFailed);
        w.drop(pair.result(index));
    }
    w.assert_empty();
}

#[test]
fn what_can_never_be_scheduled_fails() {
    let mut w = World::new();
    let x = w.task("x", &[]);
    let y = w.task("y", &[x]);
    w.queued.clear();
    let error = TaskError::new(TaskErrorKind::Unschedulable, "no node has a gpu");
    w.step(Event::Unschedulable { task: x.task, error: error.clone() });
    assert_eq!(w.get_error(x), error);
    assert_eq!(w.get_error(y).cause.as_deref(), Some(&error));
}
