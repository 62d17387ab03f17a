use super::*;
use crate::{Arg, Epoch, FunctionId, Incarnation, NodeId, Placement, Replay, Resources, Retries, SchedulingClass};
use proptest::prelude::*;

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
    Arc::new(TaskSpec { id: task(seq), label, class, args, returns: 1, retries, replay: Replay::Strict, stream: None })
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

#[derive(Clone, Debug)]
enum Op {
    Push { lease: u64, refs: bool },
    Ready(u64),
    Unavailable(u64),
    Work(u64),
    Cancel(u64),
    Skip(u64),
    Blocked(u64),
    Unblocked(u64),
    End(u64),
    Flush,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let t = 0u64..40;
    let op = prop_oneof![
        6 => (0u64..4, any::<bool>()).prop_map(|(lease, refs)| Op::Push { lease, refs }),
        4 => t.clone().prop_map(Op::Ready),
        1 => t.clone().prop_map(Op::Unavailable),
        6 => (0u64..3).prop_map(Op::Work),
        2 => t.clone().prop_map(Op::Cancel),
        2 => t.prop_map(Op::Skip),
        1 => (0u64..3).prop_map(Op::Blocked),
        1 => (0u64..3).prop_map(Op::Unblocked),
        1 => (0u64..20).prop_map(Op::End),
        1 => Just(Op::Flush),
    ];
    prop::collection::vec(op, 1..150)
}

proptest! {
    /// With workers that take from their queues at any time: one report per push, in the order of the starts; no start
    /// before the arguments or after a hand-back; nothing left when all is worked off.
    #[test]
    fn every_push_is_answered_once_and_in_order(ops in ops()) {
        let mut executor = Executor::new();
        let mut workers: BTreeMap<u64, VecDeque<u64>> = BTreeMap::new();
        let (mut pushed, mut ready, mut done) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let mut skips = BTreeSet::new();
        let mut lost = BTreeSet::new();
        for l in 0..3 {
            step(&mut executor, Event::Leased { lease: lease(l) });
            workers.insert(l, VecDeque::new());
        }
        let tail = (0..3).map(Op::Unblocked).chain((0..200).map(Op::Ready)).chain((0..600).map(|n| Op::Work(n % 3)));
        for op in ops.into_iter().chain(tail) {
            let running = |workers: &BTreeMap<u64, VecDeque<u64>>, t| {
                workers.values().any(|queue| queue.front() == Some(&t))
            };
            let event = match op {
                Op::Push { lease: l, refs } => {
                    let seq = pushed.len() as u64;
                    pushed.insert(seq, l);
                    if !refs {
                        ready.insert(seq);
                    }
                    push(l, seq, if refs { &[900] } else { &[] })
                }
                Op::Ready(t) => {
                    ready.insert(t);
                    Event::ArgsReady { task: task(t), attempt: FIRST }
                }
                Op::Unavailable(t) => {
                    Event::ArgUnavailable { task: task(t), attempt: FIRST, object: task(900).result(0) }
                }
                Op::Work(l) => match workers.get_mut(&l).and_then(VecDeque::pop_front) {
                    Some(t) => finish(t),
                    None => continue,
                },
                Op::Cancel(t) => Event::Cancel { task: task(t), attempt: FIRST },
                Op::Skip(t) if skips.contains(&t) && !running(&workers, t) => {
                    let before: usize = workers.values().map(VecDeque::len).sum();
                    workers.values_mut().for_each(|queue| queue.retain(|queued| *queued != t));
                    if before == workers.values().map(VecDeque::len).sum() {
                        continue;
                    }
                    Event::Skipped { task: task(t), attempt: FIRST }
                }
                Op::Skip(_) => continue,
                Op::Blocked(l) => Event::Blocked { lease: lease(l) },
                Op::Unblocked(l) => Event::Unblocked { lease: lease(l) },
                Op::End(l) if l >= 3 => continue,
                Op::End(l) => {
                    workers.remove(&l);
                    lost.extend(pushed.iter().filter(|(t, at)| **at == l && !done.contains_key(*t)).map(|(t, _)| *t));
                    Event::LeaseEnded { lease: lease(l) }
                }
                Op::Flush => Event::Flush,
            };
            for effect in step(&mut executor, event) {
                match effect {
                    Effect::Start { lease, spec, .. } => {
                        let t = spec.id.seq;
                        prop_assert!(ready.contains(&t) && !done.contains_key(&t));
                        workers.get_mut(&lease.seq).expect("a live lease").push_back(t);
                    }
                    Effect::Skip { task, .. } => {
                        skips.insert(task.seq);
                    }
                    Effect::Report { message: Message::TaskDone { task, outcome, .. }, .. } => {
                        prop_assert!(done.insert(task.seq, outcome).is_none(), "reported twice");
                        prop_assert!(!workers.values().flatten().any(|t| *t == task.seq), "answered, and still to run");
                    }
                    Effect::Report { message: Message::TaskStarted { task, .. }, .. } => {
                        prop_assert!(running(&workers, task.seq), "reported as started while it waits");
                    }
                    Effect::Report { .. } => prop_assert!(false, "some other message"),
                    Effect::Want { .. } | Effect::Unwant { .. } | Effect::StopWorker { .. } => {}
                }
            }
        }
        for t in pushed.keys() {
            prop_assert!(done.contains_key(t) != lost.contains(t), "task {} answered xor its lease is gone", t);
        }
        prop_assert!(executor.is_empty());
    }
}
