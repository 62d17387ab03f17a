//! The owner's side of scheduling: queues of ready tasks by class, requests for leases, assignment of tasks to leases.
//!
//! # States
//! A task is *queued* from [`Event::Enqueue`] until exactly one of [`Effect::Assign`], [`Effect::Unschedulable`] and
//! [`Event::Dequeue`]; then it is *in flight* under its lease until [`Event::Finished`], or until the node dies. A
//! lease is
//! ```text
//!  asked --Granted--> held --(term over, node drains)--> closing
//!    |  ^               |                                   |
//!    |  | Spillback     | idle, or everything handed back   | nothing in flight
//!    v  +----           v                                   v
//!   gone: Refused, NodeDied, or returned with [`Effect::Return`]
//! ```
//! # Rules
//! - **How many leases.** A class asks while its requests are fewer than its queued tasks and fewer than the cluster's
//!   slots for it less the leases it holds; with queued tasks it always has one request out, even when it holds every
//!   slot, because the tasks under them may all wait in `get` for the queued one. (Classes without resources have no
//!   node to bound them: their extra request comes at most every [`EXTRA_PERIOD`]. Where leases are
//!   [for life](DispatchSettings::lasting) they have as many requests out as tasks.)
//! - **Pipelining.** A lease has up to `depth` tasks in flight, as many as run in [`DispatchSettings::pipeline`] by the
//!   class's moving average, from 1 to [`MAX_DEPTH`]; 1 before the first task is over and at once after a long one. A
//!   lease that handed a task back gets one at a time until a task has run there: its worker may be blocked. One that
//!   handed back all it had is returned.
//! - **Locality.** Among the first [`WINDOW`] queued tasks one with its largest argument on the lease's node goes
//!   first; the head is passed over at most [`MAX_SKIPS`] times.
//! - **A second turn.** A task that was assigned and could not run, because an argument was gone by then, does not
//!   stand in line again: it goes first, of several such the latest. Its argument was just made for it, and what was
//!   made last is what a full store drops last. (In line, twenty tasks whose arguments a store of ten drops and makes
//!   again would each find its own gone when its turn comes, for ever.)
//! - **Giving back.** An idle lease is returned at once if another class here waits for a full cluster, else after
//!   [`DispatchSettings::idle`]; so are requests that have become superfluous. After [`DispatchSettings::term`] a lease
//!   takes no more tasks, so that other owners and classes get their turn (I36).
//! - **Waiting is explained.** An infeasible task waits, [`Dispatch::why`] says for what. Only hard affinity to a node
//!   that is dead or draining, or that has not existed for [`DispatchSettings::grace`], is an error.
//! - **Placement groups.** A class that names a group asks where the group's usable bundles are, and nowhere else; those
//!   of a node that died are none from that moment on, whoever hears of it first. When the group is removed, or its
//!   maker dies (which only another than the maker can see: the head, which leases for actors), its queued tasks fail
//!   with `GroupRemoved`; the owner ends those that run.
//!   Where leases last for ever ([`DispatchSettings::lasting`]), a class with queued tasks has a request out at every node
//!   with a bundle for it, so that none waits in a full one while another is empty; what is granted in excess goes back.
//! - A spillback to a node known as dead goes back to where it came from with its hops used up: granted or queued
//!   (ray#63405).
//!
//! # Guarantees
//! No operation is linear in the queue (dequeuing leaves a hole that is swept when holes outnumber tasks). Lease ids
//! are never used twice. Late words about leases that are gone change nothing; because messages between two
//! incarnations keep their order, the node has read our return by the time we ignore its grant.
//!
//! # Where we differ from Ray
//! `NormalTaskSubmitter` keys leases by class *and* arguments, pushes one task at a time unless told otherwise, and
//! keeps at most (number of nodes) requests out. Here one lease serves the whole class. A Ray lease ends after 500 ms
//! too, and an idle one is kept as long; ours is given back after 5 ms. Classes are remembered for the life of the
//! owner, a few hundred bytes each.

mod class;
mod groups;
mod leasing;
mod queue;
#[cfg(test)]
mod tests;

use super::group::Placed;
use super::{Hybrid, MAX_HOPS, Policy, Refusal};
use crate::member::ClusterView;
use crate::{
    ByteSize, Epoch, GroupId, Incarnation, LeaseId, Machine, Nanos, NodeId, OwnerId, Resources, SchedulingClass,
    TaskError, TaskId, Violation,
};
use class::{Class, Classes};
use leasing::{Lease, State};
use queue::{Entry, Place};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most tasks in flight under one lease.
pub const MAX_DEPTH: usize = 128;

/// Queued tasks among which locality chooses.
pub const WINDOW: usize = 16;

/// How often the oldest queued task is passed over for locality.
pub const MAX_SKIPS: u32 = 8;

/// Between two extra requests of a class without resources.
pub const EXTRA_PERIOD: Nanos = Nanos::millis(10);

/// After a refusal the refusing node is not asked for this class again until the view changes or this time is over.
const RETRY: Nanos = Nanos::millis(100);

/// What the owner chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchSettings {
    /// How long an idle lease, or a request no longer needed, is kept. 5 ms.
    pub idle: Nanos,
    /// How long a lease takes new tasks while others are queued. 500 ms.
    pub term: Nanos,
    /// How long a node named by hard affinity may be unknown. 2 s.
    pub grace: Nanos,
    /// Work kept in flight under a lease. 500 us.
    pub pipeline: Nanos,
    /// Whether what runs under a lease keeps it for life, as an actor does. Then nothing bounds how many leases a class
    /// without resources may have, and one of a placement group asks in all bundles.
    pub lasting: bool,
}

impl Default for DispatchSettings {
    fn default() -> Self {
        Self {
            idle: Nanos::millis(5),
            term: Nanos::millis(500),
            grace: Nanos::secs(2),
            pipeline: Nanos::micros(500),
            lasting: false,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The cluster changed.
    View(Arc<ClusterView>),
    /// A task is ready to be placed.
    Enqueue {
        /// The task.
        task: TaskId,
        /// Its class.
        class: Arc<SchedulingClass>,
        /// Bytes of its stored arguments by node.
        near: Vec<(NodeId, ByteSize)>,
        /// Whether it was assigned before and could not run: it goes before the others.
        again: bool,
    },
    /// It is not to be placed any more. Nothing if it is not queued.
    Dequeue {
        /// The task.
        task: TaskId,
    },
    /// A node said yes.
    Granted {
        /// The lease.
        lease: LeaseId,
        /// The node.
        by: Incarnation,
    },
    /// A node said: ask there.
    Spillback {
        /// The lease.
        lease: LeaseId,
        /// Where.
        to: Incarnation,
    },
    /// A node said no.
    Refused {
        /// The lease.
        lease: LeaseId,
        /// Why.
        why: Refusal,
        /// The node.
        by: Incarnation,
    },
    /// An assigned task is over or was handed back; its slot is free.
    Finished {
        /// The lease.
        lease: LeaseId,
        /// The task.
        task: TaskId,
        /// How long it ran.
        spent: Nanos,
        /// Whether it ran at all; false if it was handed back.
        started: bool,
    },
    /// These bundles of a placement group are usable now; `None`: the group is gone, and what runs in it ends.
    Group {
        /// The group.
        group: GroupId,
        /// Its usable bundles.
        bundles: Option<Vec<Placed>>,
    },
    /// Membership declared this node dead. Its leases are forgotten; the owner knows which tasks to enqueue again.
    NodeDied(Incarnation),
    /// The deadline has come.
    Tick,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask a node for a lease.
    Request {
        /// The node.
        to: Incarnation,
        /// The lease.
        lease: LeaseId,
        /// For what.
        class: Arc<SchedulingClass>,
        /// Spillbacks so far.
        hops: u8,
    },
    /// Give a lease back, granted or not.
    Return {
        /// The node.
        to: Incarnation,
        /// The lease.
        lease: LeaseId,
    },
    /// Push this task under this lease.
    Assign {
        /// The task.
        task: TaskId,
        /// The lease.
        lease: LeaseId,
        /// The node.
        to: Incarnation,
    },
    /// The task can never be placed; it is queued no longer.
    Unschedulable {
        /// The task.
        task: TaskId,
        /// Why.
        error: TaskError,
    },
}

type Out = Vec<Effect>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Timer {
    /// A lease by its counter.
    Idle(u64),
    /// Classes.
    Surplus(usize),
    Retry(usize),
    Extra(usize),
    Missing(usize),
}

/// The scheduling of one owner's tasks. See the module's documentation. A snapshot of it says nothing of the policy: what
/// is read back decides by [`Hybrid`] until it is [told](Dispatch::decide_by).
#[derive(Serialize, Deserialize)]
pub struct Dispatch {
    owner: OwnerId,
    #[serde(skip, default = "hybrid")]
    policy: Arc<dyn Policy>,
    settings: DispatchSettings,
    seed: u64,
    classes: Classes,
    /// Where each queued task is.
    index: BTreeMap<TaskId, Place>,
    /// Counts enqueues, so that a task enqueued again is told apart from the hole it left.
    numbers: u64,
    /// Leases by their counter.
    leases: BTreeMap<u64, Lease>,
    next_lease: u64,
    /// Classes with queued tasks.
    hungry: BTreeSet<usize>,
    timers: BTreeSet<(Nanos, Timer)>,
    view: Arc<ClusterView>,
    /// The usable bundles of the placement groups there are.
    groups: BTreeMap<GroupId, Vec<Placed>>,
    /// Asked for at nodes, and granted there but not in their load yet; the second part also in `unseen`.
    pending: BTreeMap<NodeId, Resources>,
    unseen: BTreeMap<NodeId, Resources>,
    /// Every node name a view ever had.
    names: BTreeSet<String>,
    /// The latest life of each node that is known to have ended.
    dead: BTreeMap<NodeId, Epoch>,
}

fn hybrid() -> Arc<dyn Policy> {
    Arc::new(Hybrid)
}

impl Dispatch {
    /// An owner without tasks. `seed` breaks the policy's ties.
    pub fn new(owner: OwnerId, policy: Arc<dyn Policy>, settings: DispatchSettings, seed: u64) -> Self {
        Self {
            owner,
            policy,
            settings,
            seed,
            classes: Classes::default(),
            index: BTreeMap::new(),
            numbers: 0,
            leases: BTreeMap::new(),
            next_lease: 0,
            hungry: BTreeSet::new(),
            timers: BTreeSet::new(),
            view: Arc::default(),
            groups: BTreeMap::new(),
            pending: BTreeMap::new(),
            unseen: BTreeMap::new(),
            names: BTreeSet::new(),
            dead: BTreeMap::new(),
        }
    }

    /// Decides by this policy from now on: for what was read from a snapshot.
    pub fn decide_by(&mut self, policy: Arc<dyn Policy>) {
        self.policy = policy;
    }

    /// Tasks that wait for a lease.
    pub fn queued(&self) -> usize {
        self.index.len()
    }

    /// Leases asked for and held: each with its node and the tasks in flight under it, `None` while it is asked for.
    pub fn leases(&self) -> impl Iterator<Item = (LeaseId, Incarnation, Option<usize>)> {
        self.leases.iter().map(|(seq, lease)| {
            let id = LeaseId { owner: self.owner, seq: *seq };
            (id, lease.at, lease.held().map(|held| held.tasks.len()))
        })
    }

    /// What a queued task waits for; `None` if it is not queued.
    pub fn why(&self, task: TaskId) -> Option<String> {
        let class = &self.classes[self.index.get(&task)?.class];
        if let Some(stuck) = &class.stuck {
            return Some(stuck.clone());
        }
        let asked = class.asked.iter().filter_map(|seq| self.leases.get(seq)).map(|lease| self.room_at(lease.at));
        let (name, held, asked) = (&class.spec.function, class.held, asked.collect::<Vec<_>>());
        let asked = if asked.is_empty() { "none".to_owned() } else { asked.join(", ") };
        Some(format!("{} tasks of {name} queued, {held} leases held, asked at {asked}", class.queue.live()))
    }

    /// A node and what was free there when it last told its load.
    fn room_at(&self, node: Incarnation) -> String {
        let found = self.view.nodes.binary_search_by_key(&node.node, |view| view.member.incarnation.node);
        match found.ok().map(|index| &self.view.nodes[index]) {
            Some(view) => format!("{} ({} free of {})", view.member.name, view.load.available, view.member.total),
            None => node.to_string(),
        }
    }

    fn enqueue(
        &mut self,
        now: Nanos,
        task: TaskId,
        class: Arc<SchedulingClass>,
        near: Vec<(NodeId, ByteSize)>,
        again: bool,
        out: &mut Out,
    ) {
        if self.index.contains_key(&task) {
            return;
        }
        let ix = self.classes.intern(class);
        let home = near.iter().max_by_key(|(_, size)| *size).map(|(node, _)| *node);
        // The short cut of a steady stream: straight to a lease, past queue and index.
        if self.classes[ix].queue.live() == 0
            && let Some(seq) = self.best_open(now, ix, home, out)
        {
            return self.put(ix, seq, task, out);
        }
        self.numbers += 1;
        let number = self.numbers;
        self.index.insert(task, Place { class: ix, number, near: home.is_some() });
        self.classes[ix].queue.push(Entry { task, number, near, home }, again);
        self.drive(now, ix, out);
    }

    fn dequeue(&mut self, now: Nanos, task: TaskId, out: &mut Out) {
        if let Some(place) = self.index.remove(&task) {
            self.classes[place.class].queue.removed(place.near, &self.index);
            self.drive(now, place.class, out);
        }
    }

    /// Everything a class can do now: assign, ask, and set its timers.
    fn drive(&mut self, now: Nanos, ix: usize, out: &mut Out) {
        let mut over = Vec::new();
        while self.classes[ix].queue.live() > 0 {
            let home = self.classes[ix].queue.head_home(&self.index);
            let Some(seq) = self.best_open(now, ix, home, &mut over) else { break };
            let Some(node) = self.leases.get(&seq).map(|lease| lease.at.node) else { break };
            let Some(task) = self.classes[ix].queue.take(node, &mut self.index) else { break };
            self.put(ix, seq, task, out);
        }
        self.ask(now, ix, out);
        // After the request for its successor: else the node would give what is free to whoever else waits, whose turn
        // it may not be (I36).
        out.append(&mut over);
        self.note(now, ix);
    }

    /// The open lease of least load, or among the first few one at `home`, with room for one more task. Closes those
    /// whose term is over on the way, which adds their returns to `out`.
    fn best_open(&mut self, now: Nanos, ix: usize, home: Option<NodeId>, out: &mut Out) -> Option<u64> {
        let depth = self.classes[ix].depth(self.settings.pipeline);
        loop {
            let open = self.classes[ix].open.iter().take_while(|(tasks, _)| *tasks < depth);
            let mut open = open.map(|(_, seq)| *seq).take(WINDOW).peekable();
            let first = *open.peek()?;
            let near = home.and_then(|home| open.find(|seq| self.leases[seq].at.node == home));
            let seq = near.unwrap_or(first);
            if now < self.leases[&seq].held()?.since + self.settings.term {
                return Some(seq);
            }
            self.close(seq, out);
        }
    }

    /// Puts `task` under lease `seq`.
    fn put(&mut self, ix: usize, seq: u64, task: TaskId, out: &mut Out) {
        let Some(lease) = self.leases.get_mut(&seq) else { return };
        let to = lease.at;
        let Some(held) = lease.held_mut() else { return };
        if let Some(since) = held.idle_since.take() {
            self.timers.remove(&(since + self.settings.idle, Timer::Idle(seq)));
        }
        let class = &mut self.classes[ix];
        class.open.remove(&(held.tasks.len(), seq));
        held.tasks.push_back(task);
        if held.takes_more() {
            class.open.insert((held.tasks.len(), seq));
        }
        out.push(Effect::Assign { task, lease: LeaseId { owner: self.owner, seq }, to });
    }

    fn finished(&mut self, now: Nanos, lease: LeaseId, task: TaskId, spent: Option<Nanos>, out: &mut Out) {
        let Some(entry) = self.leases.get_mut(&lease.seq).filter(|_| lease.owner == self.owner) else { return };
        let ix = entry.class;
        let Some(held) = entry.held_mut() else { return };
        let Some(index) = held.tasks.iter().position(|running| *running == task) else { return };
        let class = &mut self.classes[ix];
        class.open.remove(&(held.tasks.len(), lease.seq));
        held.tasks.remove(index);
        held.single = spent.is_none();
        if let Some(spent) = spent {
            class.learn(spent, self.settings.pipeline);
        }
        let over = held.tasks.is_empty() && (held.closing || held.single);
        if held.takes_more() {
            class.open.insert((held.tasks.len(), lease.seq));
        }
        if over {
            self.give_back(lease.seq, out);
        }
        self.drive(now, ix, out);
        self.rest(now, lease.seq, out);
    }

    /// Sets the timers of a class by what it has now.
    fn note(&mut self, now: Nanos, ix: usize) {
        let surplus = self.surplus(ix) > 0;
        let class = &mut self.classes[ix];
        let hungry = class.queue.live() > 0;
        if hungry != class.hungry {
            class.hungry = hungry;
            if hungry {
                self.hungry.insert(ix)
            } else {
                self.hungry.remove(&ix)
            };
        }
        match (surplus, class.surplus_since) {
            (true, None) => {
                class.surplus_since = Some(now);
                self.timers.insert((now + self.settings.idle, Timer::Surplus(ix)));
            }
            (false, Some(since)) => {
                class.surplus_since = None;
                self.timers.remove(&(since + self.settings.idle, Timer::Surplus(ix)));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn tick(&mut self, now: Nanos, out: &mut Out) {
        while let Some((_, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.pop_first();
            match timer {
                Timer::Idle(seq) => self.give_back(seq, out),
                Timer::Surplus(ix) => self.cancel_surplus(ix, out),
                Timer::Retry(ix) => {
                    self.classes[ix].forgive();
                    self.drive(now, ix, out);
                }
                Timer::Extra(ix) => self.drive(now, ix, out),
                Timer::Missing(ix) => {
                    self.classes[ix].stuck = None;
                    self.drive(now, ix, out);
                }
            }
        }
    }
}

impl Machine for Dispatch {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Out) {
        match event {
            Event::View(view) => self.viewed(now, view, out),
            Event::Enqueue { task, class, near, again } => self.enqueue(now, task, class, near, again, out),
            Event::Dequeue { task } => self.dequeue(now, task, out),
            Event::Granted { lease, by } => self.granted(now, lease, by, out),
            Event::Spillback { lease, to } => self.spilled(now, lease, to, out),
            Event::Refused { lease, why, by } => self.refused(now, lease, why, by, out),
            Event::Finished { lease, task, spent, started } => {
                self.finished(now, lease, task, started.then_some(spent), out);
            }
            Event::Group { group, bundles } => self.group_changed(now, group, bundles, out),
            Event::NodeDied(node) => self.node_died(now, node, out),
            Event::Tick => self.tick(now, out),
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn check(&self) -> Result<(), Violation> {
        for (ix, class) in self.classes.iter().enumerate() {
            self.check_class(ix, class)?;
        }
        let live: usize = self.classes.iter().map(|class| class.queue.live()).sum();
        Violation::unless(live == self.index.len(), "dispatch-index", || {
            format!("{live} live entries, {} in the index", self.index.len())
        })
    }
}

impl Dispatch {
    fn check_class(&self, ix: usize, class: &Class) -> Result<(), Violation> {
        let name = &class.spec.function;
        let (mut open, mut asked, mut held) = (BTreeSet::new(), BTreeSet::new(), 0);
        for (seq, lease) in self.leases.iter().filter(|(_, lease)| lease.class == ix) {
            let at = lease.at;
            Violation::unless(!self.is_dead(at), "dispatch-dead-lease", || format!("{name}: lease {seq} at {at}"))?;
            match &lease.state {
                State::Asked => {
                    asked.insert(*seq);
                }
                State::Held(state) => {
                    held += usize::from(!state.closing);
                    if state.takes_more() {
                        open.insert((state.tasks.len(), *seq));
                    }
                    let resting = state.tasks.is_empty() == state.idle_since.is_some();
                    Violation::unless(resting, "dispatch-idle", || format!("lease {seq}: {state:?}"))?;
                    let deep = state.tasks.len() <= MAX_DEPTH;
                    Violation::unless(deep, "dispatch-depth", || format!("{} in flight", state.tasks.len()))?;
                }
            }
        }
        let same = open == class.open && asked == class.asked && held == class.held;
        Violation::unless(same, "dispatch-leases", || format!("{name}: {class:?}"))?;
        let hungry = class.queue.live() > 0;
        Violation::unless(hungry == self.hungry.contains(&ix), "dispatch-hungry", || format!("{name}"))?;
        let depth = class.depth(self.settings.pipeline);
        let room = open.first().is_some_and(|(tasks, _)| *tasks < depth);
        Violation::unless(!(hungry && room), "dispatch-work-conserving", || format!("{name}: {class:?}"))?;
        let awaits = !asked.is_empty() || class.stuck.is_some() || held > 0;
        Violation::unless(!hungry || awaits, "dispatch-silent-wait", || format!("{name}: nobody will wake it"))
    }
}
