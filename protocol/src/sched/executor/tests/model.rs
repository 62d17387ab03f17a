//! Workers that take from their queues at any time, arguments that come, fail or were never asked for, cancels, and
//! leases that block and end. The oracle says before each step what must start and what must be handed back, so that a
//! machine which hands everything back, or starts it late, is found out.

use super::*;
use proptest::prelude::*;

/// Leases 0, 1 and 2 exist at first; nothing was ever leased under 3.
const LEASES: u64 = 3;

#[derive(Clone, Debug)]
enum Op {
    Push {
        lease: u64,
        refs: bool,
    },
    Ready(u64),
    Unavailable(u64),
    /// The running task of this lease ends.
    Work {
        lease: u64,
        crash: bool,
    },
    /// The worker of this lease is stopped; it had begun so many of its tasks.
    OutOfMemory {
        lease: u64,
        begun: usize,
    },
    Cancel(u64),
    /// The worker drops what it was told to skip.
    Skip(u64),
    Blocked(u64),
    Unblocked(u64),
    End(u64),
    Flush,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let t = 0u64..40;
    let work = (0..LEASES, prop::bool::weighted(0.1)).prop_map(|(lease, crash)| Op::Work { lease, crash });
    let op = prop_oneof![
        6 => (0..=LEASES, any::<bool>()).prop_map(|(lease, refs)| Op::Push { lease, refs }),
        4 => t.clone().prop_map(Op::Ready),
        1 => t.clone().prop_map(Op::Unavailable),
        6 => work,
        1 => (0..LEASES, 0..3usize).prop_map(|(lease, begun)| Op::OutOfMemory { lease, begun }),
        2 => t.clone().prop_map(Op::Cancel),
        2 => t.prop_map(Op::Skip),
        1 => (0..LEASES).prop_map(Op::Blocked),
        1 => (0..LEASES).prop_map(Op::Unblocked),
        // Most of them of no lease.
        1 => (0u64..20).prop_map(Op::End),
        1 => Just(Op::Flush),
    ];
    prop::collection::vec(op, 1..150)
}

/// What the next step must do, no more and no less.
#[derive(Debug, Default, PartialEq)]
struct Due {
    start: Option<u64>,
    finish: Option<u64>,
    back: BTreeSet<u64>,
    /// Ended for want of memory.
    killed: BTreeSet<u64>,
    stop: Option<u64>,
    started: BTreeSet<u64>,
}

#[derive(Default)]
struct World {
    executor: Executor,
    /// The queues of the living workers; the front is running.
    workers: BTreeMap<u64, VecDeque<u64>>,
    blocked: BTreeSet<u64>,
    /// Every task there ever was, and its lease.
    pushed: BTreeMap<u64, u64>,
    /// Whose arguments are wanted.
    wanted: BTreeSet<u64>,
    skips: BTreeSet<u64>,
    reported: BTreeSet<u64>,
    done: BTreeSet<u64>,
    /// Those whose lease ended before they were answered.
    lost: BTreeSet<u64>,
}

impl World {
    fn new() -> Self {
        let mut world = Self::default();
        for l in 0..LEASES {
            step(&mut world.executor, Event::Leased { lease: lease(l) });
            world.workers.insert(l, VecDeque::new());
        }
        world
    }

    fn started(&self, t: u64) -> bool {
        self.workers.values().flatten().any(|queued| *queued == t)
    }

    /// Whether it is here and has not started.
    fn waits(&self, t: u64) -> bool {
        self.pushed.contains_key(&t) && !self.done.contains(&t) && !self.lost.contains(&t) && !self.started(t)
    }

    fn front(&self, lease: u64) -> Option<u64> {
        self.workers.get(&lease).and_then(|queue| queue.front().copied())
    }

    fn apply(&mut self, op: Op) {
        let mut due = Due::default();
        let Some(event) = self.plan(op, &mut due) else { return };
        for effect in step(&mut self.executor, event.clone()) {
            self.obey(effect, &mut due);
        }
        assert_eq!(due, Due::default(), "not done by {event:?}");
        if let Event::Cancel { task, .. } = event {
            assert!(!self.started(task.seq) || self.skips.contains(&task.seq), "{task} is cancelled silently");
        }
        for l in &self.blocked {
            let mut behind = self.workers[l].iter().skip(1);
            assert!(behind.all(|t| self.skips.contains(t)), "lease {l}: some wait behind the blocked one (I37)");
        }
    }

    /// The event, if the operation makes sense now, and what must come of it.
    fn plan(&mut self, op: Op, due: &mut Due) -> Option<Event> {
        let waiting = |t| self.waits(t).then_some(t);
        Some(match op {
            Op::Push { lease, refs } => self.push(lease, refs, due),
            Op::Ready(t) => {
                due.start = waiting(t);
                Event::ArgsReady { task: task(t), attempt: FIRST }
            }
            Op::Unavailable(t) => {
                due.back.extend(waiting(t));
                Event::ArgUnavailable { task: task(t), attempt: FIRST, object: task(900).result(0) }
            }
            Op::Work { lease, crash } => {
                let t = self.front(lease)?;
                due.finish = Some(t);
                let outcome = if crash { TaskOutcome::Crashed("abort".into()) } else { TaskOutcome::Returned(vec![]) };
                Event::Finished { task: task(t), attempt: FIRST, outcome, spent: Nanos(5) }
            }
            Op::OutOfMemory { lease, begun } => {
                let queue = self.workers.get(&lease)?;
                let begun: Vec<u64> = queue.iter().take(begun).copied().collect();
                due.killed.extend(&begun);
                let attempts = begun.iter().map(|t| (task(*t), FIRST)).collect();
                Event::OutOfMemory { attempts, why: "full".into() }
            }
            Op::Cancel(t) => {
                due.back.extend(waiting(t));
                Event::Cancel { task: task(t), attempt: FIRST }
            }
            Op::Skip(t) => {
                let runs = self.workers.values().any(|queue| queue.front() == Some(&t));
                if !self.skips.contains(&t) || runs || !self.started(t) {
                    return None;
                }
                self.workers.values_mut().for_each(|queue| queue.retain(|queued| *queued != t));
                due.back.insert(t);
                Event::Skipped { task: task(t), attempt: FIRST }
            }
            Op::Blocked(l) => {
                if self.workers.contains_key(&l) {
                    self.blocked.insert(l);
                    due.back.extend(self.under(l).filter(|t| self.waits(*t)));
                }
                Event::Blocked { lease: lease(l) }
            }
            Op::Unblocked(l) => {
                self.blocked.remove(&l);
                Event::Unblocked { lease: lease(l) }
            }
            Op::End(l) => self.end(l, due),
            Op::Flush => {
                let running = self.workers.values().filter_map(|queue| queue.front().copied());
                due.started = running.filter(|t| !self.reported.contains(t)).collect();
                Event::Flush
            }
        })
    }

    /// Every task that was pushed under a lease.
    fn under(&self, lease: u64) -> impl Iterator<Item = u64> {
        self.pushed.iter().filter(move |(_, at)| **at == lease).map(|(t, _)| *t)
    }

    fn push(&mut self, lease: u64, refs: bool, due: &mut Due) -> Event {
        let t = self.pushed.len() as u64;
        self.pushed.insert(t, lease);
        let taken = self.workers.contains_key(&lease) && !self.blocked.contains(&lease);
        due.start = (taken && !refs).then_some(t);
        due.back.extend((!taken).then_some(t));
        push(lease, t, if refs { &[900] } else { &[] })
    }

    fn end(&mut self, l: u64, due: &mut Due) -> Event {
        let open: Vec<u64> = self.under(l).filter(|t| !self.done.contains(t)).collect();
        self.lost.extend(open);
        self.blocked.remove(&l);
        due.stop = self.workers.remove(&l).map(|_| l);
        Event::LeaseEnded { lease: lease(l) }
    }

    fn obey(&mut self, effect: Effect, due: &mut Due) {
        match effect {
            Effect::Start { lease, spec, .. } => {
                let t = spec.id.seq;
                assert_eq!((due.start.take(), lease.seq), (Some(t), self.pushed[&t]));
                self.wanted.remove(&t);
                self.workers.get_mut(&lease.seq).expect("a live lease").push_back(t);
            }
            Effect::Skip { lease, task, .. } => {
                assert_eq!(lease.seq, self.pushed[&task.seq]);
                assert!(self.started(task.seq) && self.skips.insert(task.seq), "{task} is skipped twice, or in vain");
            }
            Effect::Want { task, objects, .. } => {
                assert!(self.wanted.insert(task.seq) && objects == [super::task(900).result(0)]);
            }
            Effect::Unwant { task, .. } => assert!(self.wanted.remove(&task.seq), "{task} wanted nothing"),
            Effect::StopWorker { lease } => assert_eq!(due.stop.take(), Some(lease.seq)),
            Effect::Report { to, message } => {
                assert_eq!(to, OWNER);
                self.report(message, due);
            }
        }
    }

    fn report(&mut self, message: Message, due: &mut Due) {
        match message {
            Message::TaskDone { lease, task, outcome, .. } => {
                let t = task.seq;
                assert_eq!(lease.seq, self.pushed[&t]);
                assert!(self.done.insert(t), "{task} is reported twice");
                if matches!(outcome, TaskOutcome::HandedBack(_)) {
                    assert!(due.back.remove(&t), "{task} is handed back without a reason");
                } else if let TaskOutcome::OutOfMemory(_) = outcome {
                    assert!(due.killed.remove(&t), "{task} is ended without a reason");
                    self.workers.values_mut().for_each(|queue| queue.retain(|queued| *queued != t));
                } else {
                    assert_eq!(due.finish.take(), Some(t));
                    let first = self.workers.get_mut(&lease.seq).and_then(VecDeque::pop_front);
                    assert_eq!(first, Some(t), "not in the order of the starts");
                }
            }
            Message::TaskStarted { task, .. } => {
                assert!(due.started.remove(&task.seq) && self.reported.insert(task.seq), "{task} does not run");
            }
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    /// One report per push. A task starts when its arguments are there and not before, so the tasks of a lease run in
    /// the order in which they became ready; nothing is handed back that can run; nothing waits behind a blocked task;
    /// nothing is left when all is worked off.
    #[test]
    fn every_push_is_answered_once_and_in_order(ops in ops()) {
        let mut world = World::new();
        let work = |n| Op::Work { lease: n % LEASES, crash: false };
        let tail = (0..LEASES).map(Op::Unblocked).chain((0..200).map(Op::Ready)).chain((0..600).map(work));
        ops.into_iter().chain(tail).for_each(|op| world.apply(op));
        for t in world.pushed.keys() {
            prop_assert!(world.done.contains(t) != world.lost.contains(t), "task {} is answered or lost its lease", t);
        }
        prop_assert!(world.executor.is_empty() && world.wanted.is_empty());
    }
}
