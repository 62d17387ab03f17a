//! Running out of memory, from the measure to the word to the owner and the end of the worker.

use super::*;
use mobula_protocol::memory::Monitor;

const LIMIT: ByteSize = ByteSize::mb(100);

/// A node with a limit, on which the peer's tasks 1 and 2 run under one lease: the first, which claims `bytes`, and the
/// second behind it.
fn running(bytes: ByteSize) -> (Bench, LeaseId) {
    let mut bench = Bench::new();
    let lease = bench.lease();
    bench.core.monitor = Monitor::new("me", Some(LIMIT));
    for seq in [1, 2] {
        bench.hear(Message::PushTask { lease, attempt: Attempt(1), spec: task(seq, &[]), inline: Vec::new() });
    }
    bench.input(Input::Claimed { task: object(1).task, attempt: Attempt(1), bytes });
    bench.input(Input::Claimed { task: object(7).task, attempt: Attempt(1), bytes: LIMIT });
    (bench, lease)
}

fn key(seq: u64) -> (TaskId, Attempt) {
    (object(seq).task, Attempt(1))
}

/// The attempts that are to end, if their worker is to be killed.
fn killed(outputs: Vec<Output>) -> Option<(Vec<(TaskId, Attempt)>, String)> {
    outputs.into_iter().find_map(|output| match output {
        Output::KillWorker { victim, attempts, why, .. } => {
            assert_eq!(victim, attempts[0]);
            Some((attempts, why))
        }
        _ => None,
    })
}

fn stored() -> TaskOutcome {
    TaskOutcome::Returned(vec![TaskResult { place: ResultPlace::Stored(LARGE), refs: vec![object(7)], hash: 1 }])
}

#[test]
fn where_nobody_can_tell_what_is_claimed_counts() {
    let (mut bench, _) = running(ByteSize::mb(95));
    assert!(bench.turn().0.iter().any(|output| matches!(output, Output::MeasureMemory)));
    bench.input(Input::Measured(None));
    assert_eq!(killed(bench.turn().0), None, "what is not here claims nothing");
    bench.input(Input::Measured(Some(ByteSize::mb(96))));
    assert!(killed(bench.turn().0).is_some());
    let (mut bench, _) = running(ByteSize::mb(96));
    bench.input(Input::Measured(None));
    assert!(killed(bench.turn().0).is_some());
}

#[test]
fn what_the_worker_had_begun_ends_and_its_late_result_is_refused() {
    let (mut bench, lease) = running(ByteSize::mb(120));
    bench.input(Input::Measured(None));
    let (attempts, why) = killed(bench.turn().0).expect("too much is in use");
    assert_eq!(attempts, [key(1), key(2)]);
    assert!(why.contains("node me used 120.0 MB of 100.0 MB") && why.contains("f (t1@"), "{why}");
    bench.input(Input::WorkerKilled { begun: vec![key(1)], why: why.clone() });
    let said = bench.turn().1;
    let outcome = TaskOutcome::OutOfMemory(why);
    let (task, attempt) = key(1);
    assert!(said.contains(&Message::TaskDone { lease, task, attempt, outcome, spent: Nanos::ZERO }), "{said:?}");
    // Its thread is told, as long as there is one.
    assert!(bench.core.children.is_cancelled(key(1)) && !bench.core.children.is_cancelled(key(2)));
    bench.store(object(1), LARGE, CopyKind::Primary);
    bench.input(Input::Finished { task, attempt, outcome: stored(), spent: Nanos(1) });
    let said = bench.turn().1;
    let news = |message: &Message| matches!(message, Message::TaskDone { .. } | Message::BorrowAdd { .. });
    assert!(!said.iter().any(news), "{said:?}");
    assert_eq!(bench.objects.table().usage().objects, 0, "nobody else would free it");
    bench.input(Input::WorkerGone { victim: key(1), begun: vec![key(1)] });
    assert!(!bench.core.children.is_cancelled(key(1)));
    // The next one runs on a fresh worker.
    let (task, attempt) = key(2);
    bench.input(Input::Finished { task, attempt, outcome: TaskOutcome::Returned(Vec::new()), spent: Nanos(1) });
    assert!(bench.turn().1.iter().any(news));
}

#[test]
fn what_ended_before_its_worker_was_stopped_ended_as_it_said() {
    let (mut bench, _) = running(ByteSize::mb(120));
    bench.input(Input::Measured(None));
    let (_, why) = killed(bench.turn().0).expect("too much is in use");
    let (task, attempt) = key(1);
    bench.input(Input::Finished { task, attempt, outcome: TaskOutcome::Returned(Vec::new()), spent: Nanos(1) });
    bench.input(Input::WorkerKilled { begun: vec![key(1)], why });
    let ends = bench.turn().1.into_iter().filter_map(|message| match message {
        Message::TaskDone { task, outcome, .. } => Some((task.seq, outcome)),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [(1, TaskOutcome::Returned(Vec::new()))]);
}
