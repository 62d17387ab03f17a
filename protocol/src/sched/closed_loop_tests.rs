//! Owners, nodes and messages with random delays, all together: everything finishes and nothing leaks.

use super::*;
use crate::member::{ClusterView, Member, NodeView};
use crate::{
    Arg, Attempt, FunctionId, Incarnation, LeaseId, Machine, Message, Nanos, Placement, Replay, Resources, Retries,
    SchedulingClass, Share, TaskId, TaskOutcome, TaskSpec,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Something that will happen in the world, at the node with this index.
#[derive(Debug)]
enum Happening {
    Deliver {
        from: Incarnation,
        message: Message,
    },
    ArgsReady {
        task: TaskId,
        attempt: Attempt,
        there: bool,
    },
    WorkOver {
        lease: LeaseId,
        task: TaskId,
        attempt: Attempt,
    },
    Tick,
    /// The head tells everyone the newest loads.
    View,
    /// This node dies; the others hear of it later.
    Crash,
    Verdict(Incarnation),
    /// The owner no longer wants this task of its own.
    Cancel {
        seq: u64,
    },
}

/// A task as its owner remembers it.
struct Owned {
    class: usize,
    attempt: Attempt,
    at: Option<Incarnation>,
    done: bool,
    /// Done because it was cancelled: whatever is still reported of it is ignored.
    cancelled: bool,
    /// A lease on the owner's node whose running task waits for this one.
    waited_by: Option<(LeaseId, TaskId, Attempt)>,
    /// Levels of tasks it starts and waits for, one below the other.
    nest: u32,
}

struct Node {
    me: Incarnation,
    member: Member,
    local: Local,
    executor: Executor,
    dispatch: Dispatch,
    tasks: BTreeMap<u64, Owned>,
    /// Queues of the workers; the front is running.
    workers: BTreeMap<LeaseId, VecDeque<(TaskId, Attempt, u32)>>,
    alive: bool,
}

struct World {
    nodes: Vec<Node>,
    agenda: BTreeMap<(Nanos, u64), (usize, Happening)>,
    classes: Vec<Arc<SchedulingClass>>,
    links: BTreeMap<(Incarnation, Incarnation), Nanos>,
    granted: BTreeSet<LeaseId>,
    now: Nanos,
    count: u64,
    seed: u64,
    /// Of 100 argument fetches so many fail once.
    failing: u64,
}

impl World {
    fn new(seed: u64, cpus: &[u64], failing: u64) -> Self {
        let class = |name, resources, placement| SchedulingClass {
            function: FunctionId::from(name),
            resources,
            placement,
            share: None,
        };
        let share = |group: &str, weight, priority| Share { group: group.into(), weight, priority };
        let zone = [("zone".to_owned(), "z1".to_owned())];
        let classes = vec![
            class("f", Resources::cpus(1), Placement::Any),
            class("g", Resources::cpus(2), Placement::Spread),
            class("h", Resources::none(), Placement::Any),
            class("k", Resources::none().with("cpu", crate::Amount(2_500)), Placement::Any),
            class("l", Resources::cpus(1), Placement::Labels(zone.into())),
            class("m", Resources::cpus(1), Placement::Node { name: "N1".into(), soft: false }),
            class("n", Resources::cpus(1), Placement::Node { name: "N2".into(), soft: true }),
            SchedulingClass { share: Some(share("a", 3, 0).into()), ..class("o", Resources::cpus(1), Placement::Any) },
            SchedulingClass {
                share: Some(share("b", 1, 1).into()),
                ..class("p", Resources::cpus(1), Placement::Spread)
            },
        ];
        let classes = classes.into_iter().map(Arc::new).collect();
        let node = |(cpus, id): (&u64, u32)| {
            let me = Incarnation::new(id, id);
            let (name, total) = (format!("N{id}"), Resources::cpus(*cpus));
            let labels = [("zone".to_owned(), format!("z{}", id % 2))].into();
            let member = Member { incarnation: me, name, rpc: String::new(), bulk: String::new(), total, labels };
            Node {
                me,
                local: Local::new(member.clone(), Arc::new(Hybrid), seed),
                executor: Executor::new(),
                dispatch: Dispatch::new(me, Arc::new(Hybrid), DispatchSettings::default(), seed),
                member,
                tasks: BTreeMap::new(),
                workers: BTreeMap::new(),
                alive: true,
            }
        };
        let nodes = cpus.iter().zip(1..).map(node).collect();
        let (links, granted) = (BTreeMap::new(), BTreeSet::new());
        let agenda = BTreeMap::new();
        let mut world = Self { nodes, agenda, classes, links, granted, now: Nanos::ZERO, count: 0, seed, failing };
        world.view();
        world
    }

    fn random(&mut self, below: u64) -> u64 {
        self.count += 1;
        policy::mix(self.seed, self.count) % below
    }

    fn schedule(&mut self, at: Nanos, node: usize, what: Happening) {
        self.count += 1;
        self.agenda.insert((at, self.count), (node, what));
    }

    fn send(&mut self, from: Incarnation, to: Incarnation, message: Message) {
        let delay = Nanos::micros(1 + self.random(3_000));
        let last = self.links.entry((from, to)).or_default();
        *last = (self.now + delay).max(*last + Nanos(1));
        let at = *last;
        self.schedule(at, to.node.0 as usize - 1, Happening::Deliver { from, message });
    }

    fn submit(&mut self, node: usize, class: usize, nest: u32, waited_by: Option<(LeaseId, TaskId, Attempt)>) {
        let seq = self.nodes[node].tasks.len() as u64 + 1;
        let owned = Owned { class, attempt: Attempt(0), at: None, done: false, cancelled: false, waited_by, nest };
        self.nodes[node].tasks.insert(seq, owned);
        self.enqueue(node, seq);
    }

    fn enqueue(&mut self, node: usize, seq: u64) {
        let nodes = self.nodes.len() as u64;
        let near = match self.random(2) {
            0 => vec![],
            _ => vec![(crate::NodeId(1 + self.random(nodes) as u32), crate::ByteSize(1_000))],
        };
        let task = TaskId { owner: self.nodes[node].me, seq };
        let owned = self.nodes[node].tasks.get_mut(&seq).expect("an owned task");
        owned.attempt.0 += 1;
        owned.at = None;
        let class = self.classes[owned.class].clone();
        self.dispatch(node, dispatch::Event::Enqueue { task, class, near, again: false });
    }

    fn dispatch(&mut self, n: usize, event: dispatch::Event) {
        let mut out = Vec::new();
        self.nodes[n].dispatch.step(self.now, event, &mut out);
        self.nodes[n].dispatch.check().expect("dispatch");
        let me = self.nodes[n].me;
        for effect in out {
            match effect {
                dispatch::Effect::Request { to, lease, class, hops } => {
                    assert!(hops <= MAX_HOPS);
                    self.send(me, to, Message::LeaseRequest { lease, class, hops });
                }
                dispatch::Effect::Return { to, lease } => self.send(me, to, Message::LeaseReturn(lease)),
                dispatch::Effect::Assign { task, lease, to } => {
                    let refs = self.random(3) as usize;
                    let owned = self.nodes[n].tasks.get_mut(&task.seq).expect("an owned task");
                    assert!(owned.at.replace(to).is_none() && !owned.done, "assigned twice");
                    let args = vec![Arg::Ref(task.result(9)); refs / 2];
                    // The nesting travels as the number of returns.
                    let (class, returns) = (self.classes[owned.class].clone(), owned.nest);
                    let spec = TaskSpec {
                        id: task,
                        label: "t".into(),
                        class,
                        args,
                        returns,
                        retries: Retries::default(),
                        replay: Replay::Strict,
                        durability: crate::Durability::default(),
                        stream: None,
                        job: me,
                    };
                    let (attempt, spec) = (owned.attempt, Arc::new(spec));
                    self.send(me, to, Message::PushTask { lease, attempt, spec, inline: vec![] });
                }
                dispatch::Effect::Unschedulable { task, error } => panic!("{task}: {error}"),
            }
        }
        if let Some(at) = self.nodes[n].dispatch.next_deadline() {
            self.schedule(at.max(self.now), n, Happening::Tick);
        }
    }

    fn local(&mut self, n: usize, event: local::Event) {
        let mut out = Vec::new();
        self.nodes[n].local.step(self.now, event, &mut out);
        self.nodes[n].local.check().expect("local");
        let me = self.nodes[n].me;
        for effect in out {
            match effect {
                local::Effect::Grant { to, lease } => {
                    assert!(self.granted.insert(lease), "{lease} granted twice");
                    self.nodes[n].workers.insert(lease, VecDeque::new());
                    self.executor(n, executor::Event::Leased { lease });
                    self.send(me, to, Message::LeaseGranted(lease));
                }
                local::Effect::Spillback { to, lease, target } => {
                    self.send(me, to, Message::LeaseSpillback { lease, to: target });
                }
                local::Effect::Refuse { to, lease, why } => self.send(me, to, Message::LeaseRefused { lease, why }),
                local::Effect::Ended { lease } => self.executor(n, executor::Event::LeaseEnded { lease }),
                local::Effect::Reserved { .. } | local::Effect::Unreserved { .. } | local::Effect::LoadChanged(_) => {}
            }
        }
    }

    fn executor(&mut self, n: usize, event: executor::Event) {
        let mut out = Vec::new();
        self.nodes[n].executor.step(self.now, event, &mut out);
        self.nodes[n].executor.check().expect("executor");
        let me = self.nodes[n].me;
        for effect in out {
            match effect {
                executor::Effect::Want { task, attempt, .. } => {
                    let at = self.now + Nanos::micros(self.random(5_000));
                    let there = self.random(100) >= self.failing;
                    self.schedule(at, n, Happening::ArgsReady { task, attempt, there });
                }
                executor::Effect::Unwant { .. } => {}
                executor::Effect::Start { lease, attempt, spec, .. } => {
                    let queue = self.nodes[n].workers.get_mut(&lease).expect("a leased worker");
                    queue.push_back((spec.id, attempt, spec.returns));
                    if queue.len() == 1 {
                        self.begin(n, lease);
                    }
                }
                executor::Effect::Skip { lease, task, attempt } => {
                    let Some(queue) = self.nodes[n].workers.get_mut(&lease) else { continue };
                    let waits = queue.iter().skip(1).position(|(t, a, _)| (*t, *a) == (task, attempt));
                    if let Some(index) = waits {
                        queue.remove(index + 1);
                        self.executor(n, executor::Event::Skipped { task, attempt });
                    }
                }
                executor::Effect::StopWorker { lease } => drop(self.nodes[n].workers.remove(&lease)),
                executor::Effect::Report { to, message } => self.send(me, to, message),
            }
        }
    }

    /// The front of a worker's queue begins: it either works, or starts a task of its own and waits for it.
    fn begin(&mut self, n: usize, lease: LeaseId) {
        let front = self.nodes[n].workers.get(&lease).and_then(|queue| queue.front().copied());
        let Some((task, attempt, nest)) = front else { return };
        if nest == 0 {
            let at = self.now + Nanos::micros(1 + self.random(400));
            return self.schedule(at, n, Happening::WorkOver { lease, task, attempt });
        }
        self.executor(n, executor::Event::Blocked { lease });
        self.local(n, local::Event::Blocked { lease });
        let class = self.random(self.classes.len() as u64) as usize;
        self.submit(n, class, nest - 1, Some((lease, task, attempt)));
    }

    fn work_over(&mut self, n: usize, lease: LeaseId, task: TaskId, attempt: Attempt) {
        let Some(queue) = self.nodes[n].workers.get_mut(&lease) else { return };
        let Some((front, of, _)) = queue.pop_front() else { return };
        assert_eq!((front, of), (task, attempt), "only the front runs");
        let crashed = self.random(20) == 0;
        let outcome = if crashed { TaskOutcome::Crashed("bad luck".into()) } else { TaskOutcome::Returned(vec![]) };
        let spent = Nanos::micros(self.random(700));
        self.executor(n, executor::Event::Finished { task, attempt, outcome, spent });
        self.begin(n, lease);
    }

    fn deliver(&mut self, n: usize, from: Incarnation, message: Message) {
        match message {
            Message::LeaseRequest { lease, class, hops } => {
                self.local(n, local::Event::Request { from, lease, class, hops })
            }
            Message::LeaseReturn(lease) => self.local(n, local::Event::Return { lease }),
            Message::LeaseGranted(lease) => self.dispatch(n, dispatch::Event::Granted { lease, by: from }),
            Message::LeaseSpillback { lease, to } => self.dispatch(n, dispatch::Event::Spillback { lease, to }),
            Message::LeaseRefused { lease, why } => self.dispatch(n, dispatch::Event::Refused { lease, why, by: from }),
            Message::PushTask { lease, attempt, spec, inline } => {
                self.executor(n, executor::Event::Push { from, lease, attempt, spec, inline });
                self.executor(n, executor::Event::Flush);
            }
            Message::TaskDone { lease, task, attempt, outcome, spent } => {
                let handed_back = matches!(outcome, TaskOutcome::HandedBack(_));
                self.dispatch(n, dispatch::Event::Finished { lease, task, spent, started: !handed_back });
                let owned = self.nodes[n].tasks.get_mut(&task.seq).expect("an owned task");
                if owned.attempt != attempt || owned.cancelled {
                    return;
                }
                assert!(!owned.done && owned.at == Some(from), "reported once, by who had it");
                if !matches!(outcome, TaskOutcome::Returned(_)) {
                    return self.enqueue(n, task.seq);
                }
                self.over(n, task.seq);
            }
            Message::CancelTask { task, attempt, .. } => self.executor(n, executor::Event::Cancel { task, attempt }),
            _ => {}
        }
    }

    /// A task is done; a task that waits for it goes on.
    fn over(&mut self, n: usize, seq: u64) {
        let owned = self.nodes[n].tasks.get_mut(&seq).expect("an owned task");
        owned.done = true;
        if let Some((lease, task, attempt)) = owned.waited_by {
            self.executor(n, executor::Event::Unblocked { lease });
            self.local(n, local::Event::Unblocked { lease });
            self.work_over(n, lease, task, attempt);
        }
    }

    fn cancel(&mut self, n: usize, seq: u64) {
        let me = self.nodes[n].me;
        let Some(owned) = self.nodes[n].tasks.get_mut(&seq).filter(|owned| !owned.done) else { return };
        owned.cancelled = true;
        let (task, attempt, at) = (TaskId { owner: me, seq }, owned.attempt, owned.at);
        match at {
            None => self.dispatch(n, dispatch::Event::Dequeue { task }),
            Some(at) => self.send(me, at, Message::CancelTask { task, attempt, recursive: false }),
        }
        self.over(n, seq);
    }

    fn view(&mut self) {
        let nodes = self.nodes.iter().filter(|node| node.alive);
        let nodes = nodes.map(|node| NodeView { member: node.member.clone(), load: node.local.load().clone() });
        let view = Arc::new(ClusterView { nodes: nodes.map(Arc::new).collect(), ..Default::default() });
        for n in 0..self.nodes.len() {
            if self.nodes[n].alive {
                self.local(n, local::Event::View(view.clone()));
                self.dispatch(n, dispatch::Event::View(view.clone()));
            }
        }
        self.schedule(self.now + Nanos::millis(20), 0, Happening::View);
    }

    fn crash(&mut self, n: usize) {
        self.nodes[n].alive = false;
        for other in 0..self.nodes.len() {
            let at = self.now + Nanos::micros(10_000 + self.random(10_000));
            self.schedule(at, other, Happening::Verdict(self.nodes[n].me));
        }
    }

    fn verdict(&mut self, n: usize, dead: Incarnation) {
        self.local(n, local::Event::OwnerDied(dead));
        self.executor(n, executor::Event::OwnerDied(dead));
        self.dispatch(n, dispatch::Event::NodeDied(dead));
        let lost = self.nodes[n].tasks.iter().filter(|(_, task)| !task.done && task.at == Some(dead));
        let lost: Vec<_> = lost.map(|(seq, _)| *seq).collect();
        lost.into_iter().for_each(|seq| self.enqueue(n, seq));
    }

    fn happen(&mut self, n: usize, what: Happening) {
        if !self.nodes[n].alive && !matches!(what, Happening::View) {
            return;
        }
        match what {
            Happening::Deliver { from, message } => self.deliver(n, from, message),
            Happening::ArgsReady { task, attempt, there: true } => {
                self.executor(n, executor::Event::ArgsReady { task, attempt });
            }
            Happening::ArgsReady { task, attempt, there: false } => {
                self.executor(n, executor::Event::ArgUnavailable { task, attempt, object: task.result(9) });
            }
            Happening::WorkOver { lease, task, attempt } => self.work_over(n, lease, task, attempt),
            Happening::Tick => {
                let due = self.nodes[n].dispatch.next_deadline().is_some_and(|at| at <= self.now);
                if due {
                    self.dispatch(n, dispatch::Event::Tick);
                }
            }
            Happening::View => self.view(),
            Happening::Crash => self.crash(n),
            Happening::Verdict(dead) => self.verdict(n, dead),
            Happening::Cancel { seq } => self.cancel(n, seq),
        }
    }

    fn finished(&self) -> bool {
        let quiet = |node: &Node| {
            node.tasks.values().all(|task| task.done)
                && node.dispatch.leases().next().is_none()
                && node.local.leases().next().is_none()
        };
        self.nodes.iter().filter(|node| node.alive).all(quiet)
    }

    fn run(&mut self) {
        while !self.finished() {
            let ((now, _), (node, what)) = self.agenda.pop_first().expect("the view is always on the agenda");
            assert!(now < Nanos::secs(300), "stuck: {:?}", self.waiting());
            self.now = now;
            self.happen(node, what);
        }
        for node in self.nodes.iter().filter(|node| node.alive) {
            assert_eq!(node.local.used(), Resources::none());
            assert_eq!(node.local.load().available, node.member.total);
            assert_eq!(node.local.load().queued, 0);
            assert!(node.executor.is_empty() && node.workers.is_empty());
            assert_eq!(node.dispatch.queued(), 0);
        }
    }

    fn waiting(&self) -> Vec<String> {
        let why = |node: &Node| {
            let open = node.tasks.iter().filter(|(_, task)| !task.done);
            let me = node.me;
            let open = open.map(move |(seq, task)| {
                let id = TaskId { owner: me, seq: *seq };
                format!("{id} at {:?}: {:?}; ", task.at, node.dispatch.why(id))
            });
            open.collect::<String>()
        };
        self.nodes.iter().filter(|node| node.alive).map(why).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With random delays, placements and shares, crashes of workers, missing arguments, tasks that wait for tasks of
    /// their own, cancels, and the death of a node: every task of a living owner finishes, and then nothing is leased, queued or used anywhere.
    #[test]
    fn everything_finishes_and_nothing_leaks(
        seed in any::<u64>(),
        cpus in prop::collection::vec(2u64..4, 1..5),
        tasks in prop::collection::vec((0usize..4, 0usize..9, 0u32..4, 0u64..30_000), 1..60),
        cancels in prop::collection::vec((0usize..4, 1u64..30, 0u64..40_000), 0..6),
        failing in 0u64..30,
        crash in prop::option::of(0u64..40_000),
    ) {
        let mut world = World::new(seed, &cpus, failing);
        if let Some(at) = crash.filter(|_| cpus.len() > 1) {
            world.schedule(Nanos::micros(at), cpus.len() - 1, Happening::Crash);
        }
        for (node, seq, at) in cancels {
            world.schedule(Nanos::micros(at), node % cpus.len(), Happening::Cancel { seq });
        }
        let mut tasks = tasks;
        tasks.sort_by_key(|(.., at)| *at);
        for (node, class, nest, at) in tasks {
            while world.agenda.first_key_value().is_some_and(|((next, _), _)| *next < Nanos::micros(at)) {
                let ((now, _), (node, what)) = world.agenda.pop_first().expect("just seen");
                world.now = now;
                world.happen(node, what);
            }
            let node = node % world.nodes.len();
            if world.nodes[node].alive {
                world.submit(node, class, nest, None);
            }
        }
        world.run();
    }
}

#[test]
fn nested_tasks_on_one_cpu_do_not_deadlock() {
    let mut world = World::new(1, &[1], 0);
    world.classes.truncate(1);
    for _ in 0..5 {
        world.submit(0, 0, 5, None);
    }
    world.run();
}
