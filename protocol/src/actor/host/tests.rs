//! The host alone: order by lane, slots, the reply cache, and who is charged for an end.

use super::super::types::{ActorId, ActorOptions};
use super::*;
use crate::{Arg, FunctionId, Placement, Replay, Resources, ResultPlace, Retries, SchedulingClass, TaskResult};

const LEASE: LeaseId = LeaseId { owner: Incarnation::HEAD, seq: 7 };
const ONE: Incarnation = Incarnation::new(1, 2);
const TWO: Incarnation = Incarnation::new(2, 3);

fn spec(id: TaskId, args: Vec<Arg>) -> Arc<TaskSpec> {
    let placement = Placement::Actor(ActorId(TaskId { owner: ONE, seq: 1 }));
    let class =
        SchedulingClass { function: FunctionId::from("f"), resources: Resources::none(), placement, share: None };
    let (class, retries, replay) = (Arc::new(class), Retries::default(), Replay::Accept);
    let (label, job, durability) = ("f".into(), id.owner, crate::Durability::default());
    Arc::new(TaskSpec { id, label, class, args, returns: 1, retries, replay, durability, stream: None, job })
}

/// A host with one living actor.
fn host(options: ActorOptions, checkpoint: Option<Checkpoint>) -> Host {
    let mut host = Host::new();
    let actor = Arc::new(ActorSpec { task: spec(TaskId { owner: ONE, seq: 1 }, Vec::new()), options });
    step(&mut host, Event::Leased(LEASE));
    step(&mut host, Event::Start { lease: LEASE, spec: actor, incarnation: 1, checkpoint });
    let started = step(&mut host, Event::Constructed { lease: LEASE, result: Ok(()) });
    assert!(started.contains(&say(Word::Started(LEASE))), "{started:?}");
    host
}

fn step(host: &mut Host, event: Event) -> Vec<Effect> {
    let mut out = Vec::new();
    host.step(Nanos::ZERO, event, &mut out);
    host.check().expect("the host's own invariants");
    out
}

fn task(owner: Incarnation, seq: u64) -> TaskId {
    TaskId { owner, seq }
}

fn call(owner: Incarnation, seq: u64, attempt: u32, args: Vec<Arg>) -> Event {
    Event::Call {
        from: owner,
        lease: LEASE,
        attempt: Attempt(attempt),
        spec: spec(task(owner, seq), args),
        inline: Vec::new(),
        handle: 1,
        settled: 0,
    }
}

/// The calls that were started.
fn run(effects: &[Effect]) -> Vec<TaskId> {
    let run = |effect: &Effect| match effect {
        Effect::Run { spec, .. } => Some(spec.id),
        _ => None,
    };
    effects.iter().filter_map(run).collect()
}

/// The calls that were reported, and how they ended.
fn reports(effects: &[Effect]) -> Vec<(TaskId, Attempt, TaskOutcome)> {
    let report = |effect: &Effect| match effect {
        Effect::Report(_, Message::TaskDone { task, attempt, outcome, .. }) => Some((*task, *attempt, outcome.clone())),
        _ => None,
    };
    effects.iter().filter_map(report).collect()
}

fn value(n: u8) -> TaskOutcome {
    let place = ResultPlace::Inline(Bytes::copy_from_slice(&[n]));
    TaskOutcome::Returned(vec![TaskResult { place, refs: Vec::new(), hash: n.into() }])
}

fn finished(id: TaskId, attempt: u32, outcome: TaskOutcome) -> Event {
    Event::Finished { key: (id, Attempt(attempt)), outcome, spent: Nanos::ZERO }
}

#[test]
fn a_call_that_waits_for_an_argument_holds_back_its_lane_alone() {
    let mut host = host(ActorOptions::default(), None);
    let object = task(TWO, 50).result(0);
    let effects = step(&mut host, call(ONE, 2, 1, vec![Arg::Ref(object)]));
    assert_eq!(effects, [Effect::Want((task(ONE, 2), Attempt(1)), vec![object])]);
    assert_eq!(run(&step(&mut host, call(ONE, 3, 1, Vec::new()))), []);
    assert_eq!(run(&step(&mut host, call(TWO, 9, 1, Vec::new()))), [task(TWO, 9)]);
    let effects = step(&mut host, Event::ArgUnavailable((task(ONE, 2), Attempt(1)), object));
    assert_eq!(effects, [], "it waits: the actor keeps its resources anyway");
    let effects = step(&mut host, Event::ArgsReady((task(ONE, 2), Attempt(1))));
    assert_eq!(run(&effects), [task(ONE, 2), task(ONE, 3)]);
}

#[test]
fn a_call_whose_argument_failed_is_handed_back_and_the_next_one_runs() {
    let mut host = host(ActorOptions::default(), None);
    let object = task(TWO, 50).result(0);
    step(&mut host, call(ONE, 2, 1, vec![Arg::Ref(object)]));
    step(&mut host, call(ONE, 3, 1, Vec::new()));
    let effects = step(&mut host, Event::ArgFailed((task(ONE, 2), Attempt(1)), object));
    assert_eq!(reports(&effects), [(task(ONE, 2), Attempt(1), TaskOutcome::HandedBack(Some(object)))]);
    assert_eq!(run(&effects), [task(ONE, 3)]);
}

#[test]
fn a_concurrent_actor_starts_as_many_as_it_may() {
    let options = ActorOptions { concurrency: 2, ..ActorOptions::default() };
    let mut host = host(options, None);
    assert_eq!(run(&step(&mut host, call(ONE, 2, 1, Vec::new()))), [task(ONE, 2)]);
    assert_eq!(run(&step(&mut host, call(ONE, 3, 1, Vec::new()))), [task(ONE, 3)]);
    assert_eq!(run(&step(&mut host, call(ONE, 4, 1, Vec::new()))), []);
    let effects = step(&mut host, finished(task(ONE, 2), 1, value(1)));
    assert_eq!((reports(&effects).len(), run(&effects)), (1, vec![task(ONE, 4)]));
}

#[test]
fn only_the_call_that_crashed_is_charged() {
    let mut host = host(ActorOptions::default(), None);
    for seq in 2..5 {
        step(&mut host, call(ONE, seq, 1, Vec::new()));
    }
    step(&mut host, finished(task(ONE, 2), 1, value(1)));
    let effects = step(&mut host, finished(task(ONE, 3), 1, TaskOutcome::Crashed("bang".to_owned())));
    let crashed = TaskOutcome::Crashed("bang".to_owned());
    let expected = [(task(ONE, 3), Attempt(1), crashed), (task(ONE, 4), Attempt(1), TaskOutcome::HandedBack(None))];
    assert_eq!(reports(&effects), expected);
    let late = step(&mut host, call(ONE, 5, 1, Vec::new()));
    assert_eq!(reports(&late), [(task(ONE, 5), Attempt(1), TaskOutcome::HandedBack(None))]);
    let effects = step(&mut host, Event::WorkerStopped(LEASE));
    assert_eq!(effects, [say(Word::Ended { lease: LEASE, end: End::Crashed("bang".to_owned()) })]);
    let effects = step(&mut host, Event::LeaseEnded(LEASE));
    assert_eq!(effects, [Effect::StopWorker(LEASE)], "what it had not begun is still in its queue");
    assert_eq!((host.actors(), host.calls()), (0, 0));
}

#[test]
fn an_exactly_once_reply_waits_for_its_checkpoint_and_is_given_again_after_a_restart() {
    let options = ActorOptions { exactly_once: true, checkpointed: true, ..ActorOptions::default() };
    let mut first = host(options.clone(), None);
    step(&mut first, call(ONE, 2, 1, Vec::new()));
    step(&mut first, call(ONE, 3, 1, Vec::new()));
    let effects = step(&mut first, finished(task(ONE, 2), 1, value(1)));
    assert_eq!((&effects[0], reports(&effects)), (&Effect::SaveState(LEASE), vec![]), "no reply yet");
    assert_eq!(run(&effects), [task(ONE, 3)], "behind the checkpoint");
    let effects = step(&mut first, Event::State { lease: LEASE, state: Ok(Bytes::from_static(b"one")) });
    let [Effect::Report(Incarnation::HEAD, Message::Actor(Word::Save { checkpoint, .. }))] = &effects[..] else {
        panic!("{effects:?}");
    };
    let checkpoint = checkpoint.clone();
    assert_eq!(checkpoint.replies, [(task(ONE, 2), value(1))]);
    assert_eq!(step(&mut first, finished(task(ONE, 3), 1, value(2))), [], "covered by the next one");
    let effects = step(&mut first, Event::Saved { lease: LEASE, number: 1 });
    assert_eq!(reports(&effects), [(task(ONE, 2), Attempt(1), value(1))]);
    assert!(effects.contains(&Effect::SaveState(LEASE)), "{effects:?}");

    // The node dies here; both calls are sent again to an incarnation that starts from the checkpoint.
    let mut second = host(options, Some(checkpoint));
    let effects = step(&mut second, call(ONE, 2, 2, Vec::new()));
    assert_eq!(reports(&effects), [(task(ONE, 2), Attempt(2), value(1))], "from the cache");
    assert_eq!(run(&effects), []);
    assert_eq!(run(&step(&mut second, call(ONE, 3, 2, Vec::new()))), [task(ONE, 3)], "the tail runs again");
    let settled = Event::Call {
        from: ONE,
        lease: LEASE,
        attempt: Attempt(1),
        spec: spec(task(ONE, 4), Vec::new()),
        inline: Vec::new(),
        handle: 1,
        settled: 3,
    };
    step(&mut second, settled);
    step(&mut second, finished(task(ONE, 3), 2, value(2)));
    let effects = step(&mut second, Event::State { lease: LEASE, state: Ok(Bytes::from_static(b"two")) });
    let [Effect::Report(_, Message::Actor(Word::Save { checkpoint, .. }))] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(checkpoint.replies, [(task(ONE, 3), value(2))], "the caller has the first one's reply");
    assert_eq!(checkpoint.number, 2);
}

#[test]
fn a_graceful_end_waits_for_the_calls_and_a_forced_one_does_not() {
    let mut graceful = host(ActorOptions::default(), None);
    step(&mut graceful, call(ONE, 2, 1, Vec::new()));
    assert_eq!(step(&mut graceful, Event::Stop { lease: LEASE, force: false, last: true }), []);
    let effects = step(&mut graceful, finished(task(ONE, 2), 1, value(1)));
    assert_eq!(reports(&effects), [(task(ONE, 2), Attempt(1), value(1))]);
    assert!(effects.contains(&Effect::StopWorker(LEASE)), "{effects:?}");

    let mut forced = host(ActorOptions::default(), None);
    step(&mut forced, call(ONE, 2, 1, Vec::new()));
    let effects = step(&mut forced, Event::Stop { lease: LEASE, force: true, last: true });
    assert_eq!(effects[0], Effect::StopWorker(LEASE));
    assert!(matches!(reports(&effects)[..], [(_, _, TaskOutcome::Crashed(_))]), "{effects:?}");

    let mut again = host(ActorOptions::default(), None);
    step(&mut again, call(ONE, 2, 1, Vec::new()));
    step(&mut again, call(ONE, 3, 1, Vec::new()));
    let effects = step(&mut again, Event::Stop { lease: LEASE, force: true, last: false });
    assert_eq!(reports(&effects), [], "what runs may still end, and its worker's queue is its own");
    let effects = step(&mut again, finished(task(ONE, 2), 1, value(1)));
    assert_eq!(reports(&effects), [(task(ONE, 2), Attempt(1), value(1))]);
    let effects = step(&mut again, Event::WorkerStopped(LEASE));
    assert_eq!(reports(&effects), [(task(ONE, 3), Attempt(1), TaskOutcome::HandedBack(None))], "it never began");
    assert!(effects.contains(&say(Word::Ended { lease: LEASE, end: End::Stopped })), "{effects:?}");
}
