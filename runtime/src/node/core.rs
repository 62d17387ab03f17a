//! The machines of one node, wired together: still without async, clocks or I/O.
//!
//! ```text
//!   Context --> Owner --Enqueue--> Dispatch --LeaseRequest--> Local (some node)
//!                 ^                    ^                         |
//!                 |                    +------LeaseGranted-------+
//!                 +--Push--> Executor (that node) --Want--> Pull --Locate--> Owner (of the argument)
//!                 ^              |                            |
//!                 |              +--Start--> worker           +--Fetch--> another node's store
//!                 +--TaskDone----+
//!
//!   Context --> Groups --BundleReserve--> Local (some nodes) --BundleReserved--> Groups --Group--> Dispatch
//!                                                                            +--GroupPlaced--> Dispatch (of the head)
//!
//!   Context --> Owner --Enqueue--> Callers --Assign--> Owner --Call--> Host (the actor's node) --Run--> worker
//!
//!   shell --Measured--> Monitor --KillWorker--> shell --WorkerKilled--> Executor --TaskDone--> Owner
//! ```
//! An arrow between two nodes is a [`Message`] over the [`Link`]; an arrow within a node, and a message to itself, is a call
//! in the same step. Effects are routed until none is left, so every step ends with all machines at rest.

use super::actors::Actors;
use super::bulk::Members;
use super::cancel::{Cancels, Children};
use super::coverage::Coverage;
use super::follow::Follows;
use super::gets::{Awaiting, Reply};
use super::groups::Waiters;
use super::holds::Holds;
use super::jobs::Asked;
use super::stream::Credits;
use super::words::{Ledger, Output};
use crate::objects::Objects;
use mobula_protocol::link::{self, Link};
use mobula_protocol::member::{self, Joined, Member, View};
use mobula_protocol::memory::{self, Monitor};
use mobula_protocol::owner::{self, Owner};
use mobula_protocol::pull::{self, BundleId, Pull};
use mobula_protocol::sched::{Groups, SharedPolicy, dispatch, executor, group, local};
use mobula_protocol::{Attempt, ByteSize, Incarnation, Labels, Machine, Message, Nanos, NodeId, ObjectId, Resources};
use mobula_protocol::{TaskId, Violation};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

#[cfg(all(test, not(madsim)))]
mod tests;

/// A wish of the application or of a task for values.
pub(super) enum Wish {
    /// The arguments of an attempt.
    Args(TaskId, Attempt),
    /// A get whose values do not all exist.
    Await(Awaiting),
    /// A get that the pull machine works on; answered through this.
    Get(Vec<ObjectId>, Reply),
    /// A copy that the owner of an object wants here.
    Replica,
    /// A get that was answered; its values stay pinned until it is dropped.
    Answered,
}

/// Takes the next item of a generator.
pub(super) type Consumer = Box<dyn FnOnce(Result<Option<ObjectId>, crate::Error>) + Send>;

/// All machines of one life of one node.
pub struct Core {
    pub(super) me: Incarnation,
    pub(super) now: Nanos,
    pub(super) view: View,
    pub(super) link: Link,
    pub(super) local: local::Local,
    pub(super) dispatch: dispatch::Dispatch,
    pub(super) groups: Groups,
    /// Those who wait until a placement group is placed.
    pub(super) waiters: Waiters,
    pub(super) executor: executor::Executor,
    pub(super) owner: Owner,
    pub(super) pull: Pull,
    pub(super) monitor: Monitor,
    pub(super) actors: Actors,
    pub(super) jobs: Asked,
    pub(super) objects: Objects,
    pub(super) follows: Follows,
    pub(super) holds: Holds,
    /// Ends of attempts that are not reported before owners confirm what the attempts have read.
    pub(super) unreported: Vec<(Incarnation, Message)>,
    pub(super) wishes: BTreeMap<BundleId, Wish>,
    /// What each attempt that waits for arguments or runs here has of this node.
    pub(super) attempts: BTreeMap<(TaskId, Attempt), Running>,
    /// What attempts here have submitted, and which of them were cancelled.
    pub(super) children: Children,
    /// How far generators here may go.
    pub(super) credits: Arc<Credits>,
    /// Consumers of this process that wait for the next item of a generator.
    pub(super) consumers: BTreeMap<TaskId, Consumer>,
    /// Bundles of task arguments and replicas are numbered from the top, those of the application from the bottom.
    pub(super) next_args: u64,
    pub(super) load: member::NodeLoad,
    pub(super) room: ByteSize,
    pub(super) heartbeat: Nanos,
    pub(super) next_heartbeat: Nanos,
    pub(super) head_heard: Nanos,
    pub(super) head_grace: Nanos,
    pub(super) logging: bool,
    /// Somebody joined or died in this turn.
    pub(super) members_changed: bool,
    /// Somebody died in this turn.
    pub(super) member_died: bool,
    /// The living nodes, as all machines were told last.
    pub(super) members: Members,
    /// Messages to this node itself.
    pub(super) loopback: VecDeque<Message>,
    /// Requests being answered.
    pub(super) replies: BTreeMap<(Incarnation, u64), tokio::sync::oneshot::Sender<link::Ack>>,
    pub(super) progress: Vec<(Arc<str>, owner::Counters)>,
    /// News of copies that left, for their owners.
    pub(super) farewells: Vec<(Incarnation, Message)>,
    pub(super) coverage: Coverage,
    /// Effects on their way from machine to machine.
    pub(super) wires: Wires,
    /// Empty lists to change places with those that are being routed.
    pub(super) spare: Wires,
    pub(super) out: Vec<Output>,
}

/// An attempt at this node.
pub(super) struct Running {
    /// What it waits for, and the wish for it.
    pub wanted: Option<(BundleId, Vec<ObjectId>)>,
    pub values: BTreeMap<ObjectId, bytes::Bytes>,
    /// References that came with it, for which its sender has registered this node.
    pub lent: Vec<ObjectId>,
    /// Whether its results can be made again: not those of a task whose owner allows no rebuilding, nor what an actor
    /// returns, which may not be the same again.
    pub rebuildable: bool,
    /// How much memory it said it uses.
    pub claimed: ByteSize,
}

/// One list of effects per machine. Routed in a fixed order until all are empty.
#[derive(Default)]
pub(super) struct Wires {
    pub view: Vec<member::view::Effect>,
    pub link: Vec<link::Effect>,
    pub local: Vec<local::Effect>,
    pub dispatch: Vec<dispatch::Effect>,
    pub groups: Vec<group::Effect>,
    pub executor: Vec<executor::Effect>,
    pub owner: Vec<owner::Effect>,
    pub pull: Vec<pull::Effect>,
    pub monitor: Vec<memory::Effect>,
}

/// What a core is told once.
pub struct Birth {
    /// The head's answer to the join.
    pub joined: Joined,
    /// The node's name.
    pub name: String,
    /// What it offers.
    pub total: Resources,
    /// Its labels.
    pub labels: Labels,
    /// Bytes of lineage its owner keeps.
    pub lineage: ByteSize,
    /// What its tasks may use of memory; none if there is no limit.
    pub memory_limit: Option<ByteSize>,
    /// How long the head may be silent.
    pub head_grace: Nanos,
    /// Whether log lines are wanted.
    pub logging: bool,
    /// Where cancelled attempts are written for those who run them.
    pub cancels: Arc<Cancels>,
    /// Where it is written for generators how far they may go.
    pub credits: Arc<Credits>,
    /// Where requests go.
    pub policy: SharedPolicy,
    /// Breaks ties between equally good nodes.
    pub seed: u64,
}

impl Core {
    /// The machines of a node that has just joined.
    pub fn new(now: Nanos, birth: Birth, objects: Objects) -> Self {
        let me = birth.joined.incarnation;
        let capacity = objects.table().arena().capacity();
        let heartbeat = birth.joined.settings.health_period;
        let SharedPolicy(policy) = birth.policy;
        let monitor = Monitor::new(&birth.name, birth.memory_limit);
        let member = Member {
            incarnation: me,
            name: birth.name,
            rpc: String::new(),
            bulk: String::new(),
            total: birth.total.clone(),
            labels: birth.labels,
        };
        let mut core = Self {
            me,
            now,
            view: View::new(),
            link: Link::new(link::LinkSettings::default()),
            local: local::Local::new(member, policy.clone(), birth.seed),
            dispatch: dispatch::Dispatch::new(me, policy, dispatch::DispatchSettings::default(), birth.seed),
            groups: Groups::default(),
            waiters: Waiters::new(),
            executor: executor::Executor::new(),
            owner: Owner::new(me).with_lineage_limit(birth.lineage),
            pull: Pull::new(me, capacity),
            monitor,
            actors: Actors::default(),
            jobs: Asked::default(),
            objects,
            follows: Follows::default(),
            holds: Holds::new(me),
            unreported: Vec::new(),
            wishes: BTreeMap::new(),
            attempts: BTreeMap::new(),
            children: Children::new(birth.cancels),
            credits: birth.credits,
            consumers: BTreeMap::new(),
            next_args: u64::MAX,
            load: member::NodeLoad { available: birth.total, ..member::NodeLoad::default() },
            room: capacity,
            heartbeat,
            next_heartbeat: now,
            head_heard: now,
            head_grace: birth.head_grace,
            members_changed: false,
            member_died: false,
            members: Members::default(),
            logging: birth.logging,
            loopback: VecDeque::new(),
            replies: BTreeMap::new(),
            progress: Vec::new(),
            farewells: Vec::new(),
            coverage: Coverage::default(),
            wires: Wires::default(),
            spare: Wires::default(),
            out: Vec::new(),
        };
        core.link.step(now, link::Event::Started(me), &mut core.wires.link);
        core.view.step(now, member::view::Event::Joined(Box::new(birth.joined)), &mut core.wires.view);
        core.route();
        core.cluster_changed();
        core.route();
        core
    }

    /// The name of a node, for people.
    pub(super) fn name_of(&self, incarnation: Incarnation) -> String {
        match self.view.member(incarnation) {
            Some(member) => member.name.clone(),
            None => incarnation.to_string(),
        }
    }

    /// When the core next wants a tick, if nothing happens before.
    pub fn next_deadline(&self) -> Nanos {
        let machines = [
            self.link.next_deadline(),
            self.dispatch.next_deadline(),
            self.pull.next_deadline(),
            self.owner.next_deadline(),
            self.monitor.next_deadline(),
            self.local.next_deadline(),
            self.groups.next_deadline(),
            self.objects.table().next_deadline(self.now),
        ];
        machines.into_iter().flatten().chain([self.next_heartbeat]).min().unwrap_or(self.next_heartbeat)
    }

    /// A measure of what a check has to look at. A member is looked at by number, by name, and as a peer of the link.
    pub fn size(&self) -> usize {
        let work = self.owner.objects() + self.owner.tasks() + self.attempts.len() + self.wishes.len();
        work + 3 * self.view.len()
    }

    /// What is still held here.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            objects: self.owner.objects(),
            tasks: self.owner.tasks(),
            pending: self.owner.pending(),
            groups: self.groups.len() + self.local.reserved().count(),
            foreign: self.holds.len(),
            bundles: self.wishes.len(),
            actors: self.actors.host.actors() + self.actors.callers.actors(),
            backlog: self.link.backlog(),
            usage: self.objects.table().usage(),
        }
    }

    /// Checks the invariants of every machine, and what two of them must agree on.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        self.link.check()?;
        self.local.check()?;
        self.dispatch.check()?;
        self.groups.check()?;
        self.executor.check()?;
        self.owner.check()?;
        self.pull.check()?;
        self.monitor.check()?;
        self.actors.check()?;
        self.check_pins()?;
        self.objects.table().check()
    }

    /// What the pull machine counts on is what the store keeps: a task whose arguments could leave memory before it
    /// reads them runs well almost always.
    fn check_pins(&self) -> Result<(), Violation> {
        let table = self.objects.table();
        let loose = self.pull.pinned().find(|object| !table.is_pinned(*object));
        Violation::unless(loose.is_none(), "I20 what is wanted here stays here", || {
            format!("{loose:?} is pinned by the pull machine, and the store does not know of it")
        })
    }

    /// The same at the end of a turn, when nothing is left to be sent.
    ///
    /// # Errors
    /// As [`Core::check`].
    pub fn check_turn(&self) -> Result<(), Violation> {
        self.link.check_flushed()?;
        self.check()
    }

    /// Sends a message, also to this node itself.
    pub(super) fn send(&mut self, to: Incarnation, message: Message) {
        if to == self.me {
            self.loopback.push_back(message);
        } else {
            self.link.step(self.now, link::Event::Send { to, message }, &mut self.wires.link);
        }
    }

    /// A line for the event log, if anybody keeps one: on the hot path nobody does.
    pub(super) fn log(&mut self, kind: &'static str, detail: std::fmt::Arguments<'_>) {
        if self.logging {
            self.out.push(Output::Log { kind, detail: detail.to_string() });
        }
    }

    /// Tells the pull machine how many bytes could be had, when that changed.
    pub(super) fn weigh(&mut self) {
        let room = self.objects.table().room() + self.pull.held();
        if room != self.room {
            if room > self.room {
                self.objects.freed();
            }
            self.room = room;
            self.pull.step(self.now, pull::Event::Room(room), &mut self.wires.pull);
        }
    }

    /// The rpc address of a living peer. The head is not in the membership log: it keeps the address it was joined at.
    pub(super) fn rpc_address(&self, at: Incarnation) -> Option<String> {
        match at.node {
            NodeId::HEAD => Some(String::new()),
            _ => self.view.member(at).map(|member| member.rpc.clone()),
        }
    }
}
