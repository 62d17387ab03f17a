//! Examples, and a model test with random pushes, workers and cancels.

mod model;

use super::*;
use crate::{Arg, Epoch, FunctionId, Incarnation, NodeId, Placement, Replay, Resources, Retries, SchedulingClass};

const OWNER: OwnerId = Incarnation { node: NodeId(9), epoch: Epoch(9) };
const FIRST: Attempt = Attempt(1);

fn lease(seq: u64) -> LeaseId {
    LeaseId { owner: OWNER, seq }
}

fn task(seq: u64) -> TaskId {
    TaskId { owner: OWNER, seq }
}

fn spec(seq: u64, refs: &[u64]) -> Arc<TaskSpec> {
    let class = SchedulingClass {
        function: FunctionId::from("f"),
        resources: Resources::cpus(1),
        placement: Placement::Any,
        share: None,
    };
    let args = refs.iter().map(|object| Arg::Ref(task(*object).result(0))).collect();
    let (label, class, retries) = ("f".into(), Arc::new(class), Retries::default());
    let (id, replay, job, durability) = (task(seq), Replay::Strict, task(seq).owner, crate::Durability::default());
    Arc::new(TaskSpec { id, label, class, args, returns: 1, retries, replay, durability, stream: None, job })
}

fn step(executor: &mut Executor, event: Event) -> Vec<Effect> {
    let mut out = Vec::new();
    executor.step(Nanos::ZERO, event, &mut out);
    executor.check().expect("invariants");
    out
}

fn push(at: u64, seq: u64, refs: &[u64]) -> Event {
    Event::Push { from: OWNER, lease: lease(at), attempt: FIRST, spec: spec(seq, refs), inline: vec![] }
}

fn start(at: u64, seq: u64, refs: &[u64]) -> Effect {
    Effect::Start { lease: lease(at), attempt: FIRST, spec: spec(seq, refs), inline: vec![] }
}

fn handed_back(at: u64, seq: u64, object: Option<ObjectId>) -> Effect {
    done(OWNER, lease(at), (task(seq), FIRST), TaskOutcome::HandedBack(object), Nanos::ZERO)
}

fn finish(seq: u64) -> Event {
    Event::Finished { task: task(seq), attempt: FIRST, outcome: TaskOutcome::Returned(vec![]), spent: Nanos(5) }
}

fn leased() -> Executor {
    let mut executor = Executor::new();
    step(&mut executor, Event::Leased { lease: lease(1) });
    executor
}

#[test]
fn starts_when_the_arguments_are_there() {
    let mut executor = leased();
    assert_eq!(step(&mut executor, push(1, 1, &[])), [start(1, 1, &[])]);
    let objects = vec![task(50).result(0), task(51).result(0)];
    let want = Effect::Want { task: task(2), attempt: FIRST, objects };
    assert_eq!(step(&mut executor, push(1, 2, &[51, 50, 51])), [want]);
    assert!(step(&mut executor, push(1, 2, &[51, 50, 51])).is_empty(), "a duplicate");
    assert_eq!(step(&mut executor, push(1, 3, &[])), [start(1, 3, &[])], "nobody waits for another's arguments");
    let ready = Event::ArgsReady { task: task(2), attempt: FIRST };
    assert_eq!(step(&mut executor, ready), [start(1, 2, &[51, 50, 51])]);
}

#[test]
fn values_that_came_along_are_not_fetched() {
    let mut executor = leased();
    let inline = vec![(0, Bytes::from_static(b"x"))];
    let event =
        Event::Push { from: OWNER, lease: lease(1), attempt: FIRST, spec: spec(1, &[50]), inline: inline.clone() };
    let effect = Effect::Start { lease: lease(1), attempt: FIRST, spec: spec(1, &[50]), inline };
    assert_eq!(step(&mut executor, event), [effect]);
}

#[test]
fn hands_back_what_cannot_run() {
    let mut executor = leased();
    assert_eq!(step(&mut executor, push(7, 1, &[])), [handed_back(7, 1, None)], "no such lease");
    step(&mut executor, push(1, 2, &[50]));
    let object = task(50).result(0);
    let unwant = Effect::Unwant { task: task(2), attempt: FIRST };
    let event = Event::ArgUnavailable { task: task(2), attempt: FIRST, object };
    assert_eq!(step(&mut executor, event.clone()), [unwant, handed_back(1, 2, Some(object))]);
    assert!(step(&mut executor, event).is_empty());
}

#[test]
fn a_started_task_is_cancelled_with_the_workers_consent() {
    let mut executor = leased();
    step(&mut executor, push(1, 1, &[]));
    step(&mut executor, push(1, 2, &[]));
    let cancel = |seq| Event::Cancel { task: task(seq), attempt: FIRST };
    let skip = |seq| Effect::Skip { lease: lease(1), task: task(seq), attempt: FIRST };
    assert_eq!(step(&mut executor, cancel(2)), [skip(2)]);
    assert!(step(&mut executor, cancel(2)).is_empty());
    let skipped = Event::Skipped { task: task(2), attempt: FIRST };
    assert_eq!(step(&mut executor, skipped.clone()), [handed_back(1, 2, None)]);
    assert!(step(&mut executor, skipped).is_empty());
    assert_eq!(step(&mut executor, cancel(1)), [skip(1)], "runs already: it will finish");
    assert_eq!(step(&mut executor, finish(1)).len(), 1);
    assert!(executor.is_empty());
}

#[test]
fn nothing_waits_behind_a_blocked_task() {
    let mut executor = leased();
    step(&mut executor, push(1, 1, &[]));
    step(&mut executor, push(1, 2, &[]));
    step(&mut executor, push(1, 3, &[50]));
    let out = step(&mut executor, Event::Blocked { lease: lease(1) });
    let skip = Effect::Skip { lease: lease(1), task: task(2), attempt: FIRST };
    let unwant = Effect::Unwant { task: task(3), attempt: FIRST };
    assert_eq!(out, [skip, unwant, handed_back(1, 3, None)]);
    assert_eq!(step(&mut executor, push(1, 4, &[])), [handed_back(1, 4, None)]);
    step(&mut executor, Event::Unblocked { lease: lease(1) });
    assert_eq!(step(&mut executor, push(1, 5, &[])), [start(1, 5, &[])]);
}

#[test]
fn a_crash_costs_the_running_task_alone() {
    let mut executor = leased();
    step(&mut executor, push(1, 1, &[]));
    step(&mut executor, push(1, 2, &[]));
    let outcome = TaskOutcome::Crashed("abort".into());
    let crash = Event::Finished { task: task(1), attempt: FIRST, outcome: outcome.clone(), spent: Nanos(1) };
    assert_eq!(step(&mut executor, crash), [done(OWNER, lease(1), (task(1), FIRST), outcome, Nanos(1))]);
    assert_eq!(executor.len(), 1);
    assert_eq!(step(&mut executor, finish(2)).len(), 1);
}

#[test]
fn a_lack_of_memory_costs_what_the_worker_had_begun() {
    let mut executor = leased();
    for seq in 1..=3 {
        executor.step(Nanos(seq), push(1, seq, &[]), &mut Vec::new());
    }
    step(&mut executor, push(1, 4, &[50]));
    let keys = |executor: &Executor| executor.running().map(|one| (one.task.seq, one.since.0)).collect::<Vec<_>>();
    assert_eq!(keys(&executor), [(1, 1)]);
    assert_eq!(executor.started(lease(1)), [1, 2, 3].map(|seq| (task(seq), FIRST)));
    let attempts = [1, 2, 4].map(|seq| (task(seq), FIRST)).to_vec();
    let event = Event::OutOfMemory { attempts, why: "full".into() };
    let outcome = TaskOutcome::OutOfMemory("full".into());
    let over = |seq| done(OWNER, lease(1), (task(seq), FIRST), outcome.clone(), Nanos::ZERO);
    let mut out = Vec::new();
    executor.step(Nanos(9), event, &mut out);
    assert_eq!(out, [over(1), over(2)], "what has not started is not what used the memory");
    assert_eq!(keys(&executor), [(3, 9)]);
    assert!(step(&mut executor, finish(1)).is_empty(), "too late");
    assert_eq!(step(&mut executor, finish(3)).len(), 1, "the rest goes on");
}

#[test]
fn a_start_is_reported_once_and_only_for_what_still_runs() {
    let mut executor = leased();
    for seq in 1..=3 {
        step(&mut executor, push(1, seq, &[]));
    }
    step(&mut executor, finish(1));
    let started = Message::TaskStarted { task: task(2), attempt: FIRST };
    let report = Effect::Report { to: OWNER, message: started };
    assert_eq!(step(&mut executor, Event::Flush), [report]);
    assert!(step(&mut executor, Event::Flush).is_empty());
    let stop = Effect::StopWorker { lease: lease(1) };
    assert_eq!(step(&mut executor, Event::OwnerDied(OWNER)), [stop]);
    assert!(step(&mut executor, finish(2)).is_empty() && executor.is_empty());
}
