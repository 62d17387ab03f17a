//! A caller, the head and several hosts in a closed loop: crashes of workers, deaths of nodes, and every order of messages
//! that links allow (exactly once, in order between two incarnations, any order between pairs).
//!
//! The oracle is the list of calls as they were submitted. Without a fault the `n`-th call returned `n`. Exactly once: that
//! holds whatever happens, until the actor dies for good, and the state ends as that list. At least once: each
//! incarnation's effects are in order, and every call ran and returned while the actor could live. At most once: no call
//! has its effect twice, and those that returned are in order. A call fails because the actor is dead only if it is.

mod examples;

use super::types::End as ActorEnd;
use super::*;
use crate::{Arg, Attempt, FunctionId, Incarnation, LeaseId, Machine, Message, Nanos, Placement, Replay, ResultPlace};
use crate::{Resources, Retries, SchedulingClass, TaskError, TaskErrorKind, TaskId, TaskOutcome, TaskResult, TaskSpec};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const CALLER: Incarnation = Incarnation::new(1, 2);
const ACTOR: ActorId = ActorId(TaskId { owner: CALLER, seq: 1 });

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the names of the literature")]
enum Semantics {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

/// What a worker has in its queue.
enum Order {
    Construct(Option<Bytes>),
    Call(TaskId, Attempt),
    Save,
}

/// A worker: its effects are the calls it ran, in order.
#[derive(Default)]
struct Worker {
    queue: VecDeque<Order>,
    effects: Vec<TaskId>,
    stopping: bool,
    crash: bool,
    /// Its constructor, or its next save, fails.
    sick: bool,
}

impl Worker {
    fn symptom(&self) -> Result<(), TaskError> {
        if self.sick { Err(TaskError::new(TaskErrorKind::TaskFailed, "sick")) } else { Ok(()) }
    }
}

/// What a link carries.
enum Mail {
    Said(Message),
    /// The head's news that a node is dead.
    Died(Incarnation),
}

struct Node {
    host: Host,
    workers: BTreeMap<LeaseId, Worker>,
}

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Value(u64),
    Error(TaskErrorKind),
}

struct Loop {
    semantics: Semantics,
    restarts: Option<u32>,
    /// Crashes of workers that were ordered, and deaths of nodes.
    faults: u32,
    /// Deaths of nodes that were draining.
    preempted: u32,
    /// Whether something happened that ends an actor whatever restarts it has left.
    doomed: bool,
    registry: Registry,
    callers: Callers,
    nodes: BTreeMap<Incarnation, Node>,
    links: BTreeMap<(Incarnation, Incarnation), VecDeque<Mail>>,
    submitted: Vec<TaskId>,
    /// Attempts and crash budgets of the caller's calls, as its owner has them.
    calls: BTreeMap<TaskId, (Attempt, Option<u32>)>,
    ends: BTreeMap<TaskId, End>,
    /// Every effect there ever was, by incarnation.
    effects: BTreeMap<LeaseId, Vec<TaskId>>,
    leases: u64,
    epochs: u32,
    now: Nanos,
}

fn spec(id: TaskId, placement: Placement) -> TaskSpec {
    let class =
        SchedulingClass { function: FunctionId::from("f"), resources: Resources::none(), placement, share: None };
    let args: Vec<Arg> = Vec::new();
    let retries = Retries::default();
    TaskSpec {
        id,
        label: "f".into(),
        class: class.into(),
        args,
        returns: 1,
        retries,
        replay: Replay::Accept,
        durability: crate::Durability::default(),
        stream: None,
        job: id.owner,
    }
}

fn state(effects: &[TaskId]) -> Bytes {
    effects.iter().flat_map(|task| task.seq.to_le_bytes()).collect::<Vec<u8>>().into()
}

fn restore(state: &Bytes) -> Vec<TaskId> {
    let seq = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    state.chunks(8).map(|bytes| TaskId { owner: CALLER, seq: seq(bytes) }).collect()
}

impl Loop {
    fn new(semantics: Semantics, restarts: Option<u32>) -> Self {
        let mut all = Self {
            semantics,
            restarts,
            faults: 0,
            preempted: 0,
            doomed: false,
            registry: Registry::default(),
            callers: Callers::default(),
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            submitted: Vec::new(),
            calls: BTreeMap::new(),
            ends: BTreeMap::new(),
            effects: BTreeMap::new(),
            leases: 0,
            epochs: 2,
            now: Nanos::ZERO,
        };
        (0..2).for_each(|_| all.join());
        let options = ActorOptions {
            max_restarts: restarts,
            checkpointed: semantics == Semantics::ExactlyOnce,
            exactly_once: semantics == Semantics::ExactlyOnce,
            ..ActorOptions::default()
        };
        let actor = ActorSpec { task: Arc::new(spec(ACTOR.0, Placement::Any)), options };
        all.send(CALLER, Incarnation::HEAD, Message::Actor(Word::Create(Arc::new(actor))));
        all.callers(CallersEvent::HandleAdded { actor: ACTOR, counted: false });
        all
    }

    fn join(&mut self) {
        self.epochs += 1;
        let node = Node { host: Host::new(), workers: BTreeMap::new() };
        self.nodes.insert(Incarnation::new(self.epochs, self.epochs), node);
    }

    fn send(&mut self, from: Incarnation, to: Incarnation, message: Message) {
        self.links.entry((from, to)).or_default().push_back(Mail::Said(message));
    }

    fn submit(&mut self) {
        let task = TaskId { owner: CALLER, seq: 2 + self.submitted.len() as u64 };
        let budget = if self.semantics == Semantics::AtMostOnce { Some(0) } else { None };
        self.submitted.push(task);
        self.calls.insert(task, (Attempt(0), budget));
        self.callers(CallersEvent::Submitted { task, actor: ACTOR, handle: 1, limit: None });
        // The owner says nothing of a call after it was over.
        if !self.ends.contains_key(&task) {
            self.callers(CallersEvent::Ready { task, actor: ACTOR });
        }
    }

    /// Steps the callers, and does what the owner and the node would do.
    fn callers(&mut self, event: CallersEvent) {
        let mut out = Vec::new();
        self.callers.step(Nanos::ZERO, event, &mut out);
        for effect in out {
            match effect {
                CallersEffect::Assign { task, lease, to } => {
                    let call = self.calls.get_mut(&task).expect("a call of ours");
                    call.0 = Attempt(call.0.0 + 1);
                    let attempt = call.0;
                    let (handle, settled) = self.callers.ticket(task);
                    let spec = Arc::new(spec(task, Placement::Actor(ACTOR)));
                    let word = Word::Call { lease, attempt, spec, inline: Vec::new(), handle, settled };
                    self.send(CALLER, to, Message::Actor(word));
                }
                CallersEffect::Lost { task, error } => {
                    let call = self.calls.get_mut(&task).expect("a call of ours");
                    if crate::owner::spend(&mut call.1) {
                        self.callers(CallersEvent::Ready { task, actor: ACTOR });
                    } else {
                        self.end(task, End::Error(error.kind));
                    }
                }
                CallersEffect::Fail { task, error } => self.end(task, End::Error(error.kind)),
                CallersEffect::Watch(actor) => self.send(CALLER, Incarnation::HEAD, Message::Actor(Word::Watch(actor))),
                CallersEffect::Unwatch(_) | CallersEffect::Hold(_) | CallersEffect::Unhold(_) => {}
            }
        }
        self.callers.check().expect("callers");
    }

    fn end(&mut self, task: TaskId, end: End) {
        let sent = self.calls[&task].0 > Attempt(0);
        assert!(sent || end != End::Error(TaskErrorKind::ActorUnavailable), "{task} was charged and never sent");
        assert!(self.ends.insert(task, end).is_none(), "{task} ended twice");
        self.callers(CallersEvent::Over(task));
    }

    fn registry(&mut self, event: RegistryEvent) {
        let mut out = Vec::new();
        self.registry.step(self.now, event, &mut out);
        for effect in out {
            match effect {
                RegistryEffect::Say { to, word } => self.send(Incarnation::HEAD, to, Message::Actor(word)),
                RegistryEffect::Enqueue { task, .. } => {
                    self.leases += 1;
                    let lease = LeaseId { owner: Incarnation::HEAD, seq: self.leases };
                    let to = *self.nodes.keys().nth(self.leases as usize % self.nodes.len()).expect("a node");
                    self.registry(RegistryEvent::Assigned { task, lease, to });
                }
                _ => {}
            }
        }
        self.registry.check().expect("registry");
    }

    fn host(&mut self, at: Incarnation, event: HostEvent) {
        let Some(node) = self.nodes.get_mut(&at) else { return };
        let mut out = Vec::new();
        node.host.step(Nanos::ZERO, event, &mut out);
        node.host.check().expect("host");
        for effect in out {
            match effect {
                HostEffect::Construct { lease, state, .. } => {
                    let mut worker = Worker::default();
                    worker.queue.push_back(Order::Construct(state));
                    node.workers.insert(lease, worker);
                }
                HostEffect::Run { lease, attempt, spec, .. } => {
                    let worker = node.workers.get_mut(&lease).expect("a worker");
                    worker.queue.push_back(Order::Call(spec.id, attempt));
                }
                HostEffect::SaveState(lease) => {
                    node.workers.get_mut(&lease).expect("a worker").queue.push_back(Order::Save);
                }
                HostEffect::StopWorker(lease) => node.workers.get_mut(&lease).expect("a worker").stopping = true,
                HostEffect::Report(to, message) => {
                    self.links.entry((at, to)).or_default().push_back(Mail::Said(message))
                }
                HostEffect::Want(..) | HostEffect::Unwant(_) | HostEffect::Release(_) | HostEffect::Skip(..) => {}
            }
        }
    }

    /// A worker does one thing.
    fn work(&mut self, at: Incarnation, lease: LeaseId) {
        let Some(worker) = self.nodes.get_mut(&at).and_then(|node| node.workers.get_mut(&lease)) else { return };
        if worker.stopping {
            self.nodes.get_mut(&at).expect("a node").workers.remove(&lease);
            return self.host(at, HostEvent::WorkerStopped(lease));
        }
        match worker.queue.pop_front() {
            None => {}
            Some(Order::Construct(from)) => {
                worker.effects = from.as_ref().map(restore).unwrap_or_default();
                let result = worker.symptom().map_err(ActorEnd::Failed);
                worker.stopping = result.is_err();
                self.effects.insert(lease, Vec::new());
                self.host(at, HostEvent::Constructed { lease, result });
            }
            Some(Order::Save) => {
                let state = worker.symptom().map(|()| state(&worker.effects));
                self.host(at, HostEvent::State { lease, state });
            }
            Some(Order::Call(task, attempt)) => {
                worker.effects.push(task);
                self.effects.entry(lease).or_default().push(task);
                let count = worker.effects.len() as u64;
                let place = ResultPlace::Inline(Bytes::copy_from_slice(&count.to_le_bytes()));
                let outcome = if worker.crash {
                    worker.stopping = true;
                    TaskOutcome::Crashed("on purpose".to_owned())
                } else {
                    TaskOutcome::Returned(vec![TaskResult { place, refs: Vec::new(), hash: 0 }])
                };
                self.host(at, HostEvent::Finished { key: (task, attempt), outcome, spent: Nanos::ZERO });
            }
        }
    }

    fn deliver(&mut self, from: Incarnation, to: Incarnation) {
        let message = match self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front) {
            Some(Mail::Said(message)) => message,
            Some(Mail::Died(dead)) => return self.callers(CallersEvent::NodeDied(dead)),
            None => return,
        };
        match (to, message) {
            (Incarnation::HEAD, Message::Actor(word)) => self.registry(RegistryEvent::Said { from, word }),
            (CALLER, Message::Actor(Word::Status { actor, place })) => {
                self.callers(CallersEvent::Status { actor, place });
            }
            (CALLER, Message::TaskDone { task, attempt, outcome, .. }) => self.done(task, attempt, outcome),
            (at, Message::Actor(word)) => match word {
                Word::Start { lease, spec, incarnation, checkpoint } => {
                    self.host(at, HostEvent::Leased(lease));
                    self.host(at, HostEvent::Start { lease, spec, incarnation, checkpoint });
                }
                Word::Stop { lease, force, last } => self.host(at, HostEvent::Stop { lease, force, last }),
                Word::Saved { lease, number } => self.host(at, HostEvent::Saved { lease, number }),
                Word::Call { lease, attempt, spec, inline, handle, settled } => {
                    self.host(at, HostEvent::Call { from, lease, attempt, spec, inline, handle, settled });
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn done(&mut self, task: TaskId, attempt: Attempt, outcome: TaskOutcome) {
        assert_eq!(self.calls[&task].0, attempt, "only the current attempt is ever heard of");
        // An owner does not listen to the reports of a task that failed because its actor is dead.
        if matches!(self.ends.get(&task), Some(End::Error(TaskErrorKind::ActorDied(_)))) {
            return;
        }
        match outcome {
            TaskOutcome::Crashed(why) => self.callers(CallersEvent::Crashed { task, why }),
            TaskOutcome::HandedBack(object) => {
                self.callers(CallersEvent::HandedBack { task, closed: object.is_none() });
                self.callers(CallersEvent::Ready { task, actor: ACTOR });
            }
            TaskOutcome::Returned(results) => {
                let ResultPlace::Inline(bytes) = &results[0].place else { panic!("inline") };
                let value = u64::from_le_bytes(bytes[..].try_into().expect("eight bytes"));
                self.end(task, End::Value(value));
            }
            other => panic!("{other:?}"),
        }
    }

    /// A node dies: what it had sent is lost as well, and the caller is told by the head, in its own time.
    fn kill(&mut self, dead: Incarnation) {
        self.nodes.remove(&dead);
        self.links.retain(|(from, to), _| *from != dead && *to != dead);
        self.join();
        self.registry(RegistryEvent::NodeDied(dead));
        self.links.entry((Incarnation::HEAD, CALLER)).or_default().push_back(Mail::Died(dead));
    }

    /// Does the `choice`-th of what can happen next without a fault. False if nothing can.
    fn go_on(&mut self, choice: usize) -> bool {
        let links: Vec<_> = self.links.iter().filter(|(_, link)| !link.is_empty()).map(|(pair, _)| *pair).collect();
        let busy = |worker: &Worker| worker.stopping || !worker.queue.is_empty();
        let workers: Vec<_> = self
            .nodes
            .iter()
            .flat_map(|(at, node)| node.workers.iter().filter(|(_, w)| busy(w)).map(|(lease, _)| (*at, *lease)))
            .collect();
        if links.is_empty() && workers.is_empty() {
            return false;
        }
        let choice = choice % (links.len() + workers.len());
        match links.get(choice) {
            Some((from, to)) => self.deliver(*from, *to),
            None => {
                let (at, lease) = workers[choice - links.len()];
                self.work(at, lease);
            }
        }
        true
    }

    /// A node dies, with notice or without, or a worker will crash in its next call.
    fn fault(&mut self, choice: usize) {
        let Some((at, lease)) = self.some_worker(choice) else { return };
        match choice % 4 {
            0 => self.preempt(at),
            what => {
                self.faults += 1;
                if what == 1 { self.kill(at) } else { self.worker(at, lease).crash = true }
            }
        }
    }

    /// A node is drained and taken away.
    fn preempt(&mut self, at: Incarnation) {
        self.preempted += 1;
        self.registry(RegistryEvent::Draining(at));
        self.kill(at);
    }

    /// The actor is killed, or nobody has a handle any more, or its own code fails.
    fn doom(&mut self, choice: usize) {
        match (choice % 3, self.some_worker(choice)) {
            (0, _) => {
                self.callers(CallersEvent::Killed(ACTOR));
                let word = Word::Kill { actor: ACTOR, force: choice.is_multiple_of(2), restart: false };
                self.send(CALLER, Incarnation::HEAD, Message::Actor(word));
            }
            (1, _) if self.ends.len() == self.submitted.len() => {
                self.send(CALLER, Incarnation::HEAD, Message::Actor(Word::OutOfScope(ACTOR)));
            }
            (2, Some((at, lease))) => self.worker(at, lease).sick = true,
            _ => return,
        }
        self.doomed = true;
    }

    fn some_worker(&self, choice: usize) -> Option<(Incarnation, LeaseId)> {
        let workers = self.nodes.iter().flat_map(|(at, node)| node.workers.keys().map(|lease| (*at, *lease)));
        let workers: Vec<_> = workers.collect();
        (!workers.is_empty()).then(|| workers[choice % workers.len()])
    }

    fn worker(&mut self, at: Incarnation, lease: LeaseId) -> &mut Worker {
        self.nodes.get_mut(&at).and_then(|node| node.workers.get_mut(&lease)).expect("a worker")
    }

    fn rest(&mut self) {
        for step in 0..1_000_000_usize {
            // An odd stride visits all that can happen.
            if !self.go_on(step.wrapping_mul(7)) {
                let Some(deadline) = self.registry.next_deadline() else { return };
                self.now = deadline;
                self.registry(RegistryEvent::Tick);
            }
        }
        panic!("it never comes to rest");
    }

    fn judge(&self) {
        for task in &self.submitted {
            assert!(self.ends.contains_key(task), "{task} has no end: {:?}", self.callers.waits());
        }
        let never = self.restarts == Some(0) && self.preempted > 0;
        let mortal = self.doomed || never || self.restarts.is_some_and(|most| self.faults > most);
        let died = |end: &End| matches!(end, End::Error(TaskErrorKind::ActorDied(_)));
        assert!(mortal || !self.ends.values().any(died), "it has no reason to be dead: {:?}", self.ends);
        let lives = self.effects.len();
        let most = self.restarts.map(|most| 1 + (most + self.preempted) as usize);
        assert!(most.is_none_or(|most| lives <= most), "{lives} incarnations (I16)");
        if self.faults + self.preempted == 0 && !self.doomed {
            self.judge_values(&self.submitted);
        }
        let all: Vec<&TaskId> = self.effects.values().flatten().collect();
        let once: BTreeSet<&TaskId> = all.iter().copied().collect();
        for (task, end) in &self.ends {
            assert!(matches!(end, End::Error(_)) || once.contains(task), "{task} returned and never ran");
        }
        match self.semantics {
            Semantics::ExactlyOnce => {
                let returned = self.submitted.iter().take_while(|task| !died(&self.ends[task])).count();
                self.judge_values(&self.submitted[..returned]);
                assert!(self.submitted[returned..].iter().all(|task| died(&self.ends[task])), "{:?}", self.ends);
                if !mortal {
                    let last = self.nodes.values().flat_map(|node| node.workers.values()).next().expect("it lives");
                    assert_eq!(last.effects, self.submitted, "the state is every call once, in order");
                }
            }
            Semantics::AtLeastOnce => {
                let right = |end: &End| matches!(end, End::Value(_)) || died(end);
                assert!(self.ends.values().all(right), "{:?}", self.ends);
                for effects in self.effects.values() {
                    assert!(effects.is_sorted(), "out of order in one incarnation: {effects:?}");
                }
            }
            Semantics::AtMostOnce => {
                assert_eq!(all.len(), once.len(), "a call ran twice: {:?}", self.effects);
                assert!(all.is_sorted(), "out of order: {:?}", self.effects);
            }
        }
    }

    /// The `n`-th of these calls, which are the first ones, returned `n`.
    fn judge_values(&self, first: &[TaskId]) {
        for (n, task) in (1..).zip(first) {
            assert_eq!(self.ends[task], End::Value(n), "{task}");
        }
    }
}

/// Of 16 steps 3 are calls and up to 2 are faults.
fn play(semantics: Semantics, restarts: Option<u32>, script: &[u16]) {
    let mut all = Loop::new(semantics, restarts);
    for step in script {
        let (what, choice) = (step % 16, usize::from(step / 16));
        match what {
            0..=2 => all.submit(),
            3 if all.faults + all.preempted < 4 => all.fault(choice),
            // Seldom, so that most actors live for a while.
            4 if choice.is_multiple_of(16) => all.doom(choice / 16),
            _ => {
                all.go_on(choice);
            }
        }
    }
    all.rest();
    all.judge();
}

fn restarts() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![2 => Just(None), 1 => (0..3_u32).prop_map(Some)]
}

fn script() -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(any::<u16>(), 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn exactly_once_is_the_sequence_submitted(script in script(), restarts in restarts()) {
        play(Semantics::ExactlyOnce, restarts, &script);
    }

    #[test]
    fn at_least_once_keeps_the_order_of_every_incarnation(script in script(), restarts in restarts()) {
        play(Semantics::AtLeastOnce, restarts, &script);
    }

    #[test]
    fn at_most_once_never_runs_a_call_twice(script in script(), restarts in restarts()) {
        play(Semantics::AtMostOnce, restarts, &script);
    }
}
