//! The head's side of actors: their life cycle, their names, and what they saved.
//!
//! # States
//! ```text
//!   Create --> unready --every argument exists--> queued --Assigned--> starting --Started--> alive
//!                 ^  (follows the arguments)         (Dispatch)           |                    |
//!                 |                                                       |   Ended: crash,    |
//!                 +--<-- resting, if it failed to start before ----<------+--- node died ------+
//!                                    a restart is left                             | none left, or doomed
//!                                                                                  v
//!                                                                            dead(cause), for ever
//! ```
//! *Doomed* means killed, out of scope, or without its creator: its next end is its last.
//!
//! # Guarantees
//! - A lease belongs to one incarnation. It is released once its host says [`Word::Ended`] or died, not earlier, so that
//!   two incarnations never run at the same time, and never lasts longer (no leaked lease, ray#66199).
//! - A forced kill is final at once for callers, however long the host takes to end it; a graceful one when the host has
//!   done the calls it had, or after [`GRACE`] by force.
//! - The end of a node that was draining costs no restart of an actor that may be restarted at all: whoever takes nodes
//!   away must not use up what is meant for crashes. One that is never restarted dies of it, and says so
//!   ([`ActorDeath::Preempted`]). Ray: `num_restarts_due_to_node_preemption`.
//! - An actor in a placement group is leased for in the group's bundles and nowhere else; when the bundle's node dies, a
//!   restart waits in the dispatcher until the bundle is set aside anew. When the group is removed or its maker dies its
//!   actors die at once ([`ActorDeath::GroupRemoved`]), detached ones too; whether the maker's word or the host's
//!   ([`End::Evicted`]) is here first makes no difference.
//! - The arguments of the constructor are given back to their owners exactly once, when the actor is dead.
//! - Every watcher of an actor hears where it is, also one that asks before its creator's word has arrived (the two come
//!   over different links), and one that asks after its death.
//! - A constructor that crashes again and again is started after pauses that double from [`REST_FIRST`] to [`REST_LAST`].
//!
//! # Memory
//! The cause of the last [`GRAVES`] deaths is kept; of earlier ones 16 bytes each while their creator lives.

mod life;

use super::types::{ActorDeath, ActorId, ActorName, ActorSpec, Checkpoint, End, Place};
use super::words::{Known, Word};
use crate::{
    ByteSize, GroupId, Incarnation, LeaseId, Located, Machine, Nanos, NodeId, ObjectId, SchedulingClass, TaskError,
};
use crate::{TaskErrorKind, TaskId, Violation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How long a graceful end may take before it is forced. Ray: 30 s too.
pub const GRACE: Nanos = Nanos::secs(30);

/// The first pause after a start that failed.
const REST_FIRST: Nanos = Nanos::millis(100);

/// The longest one.
const REST_LAST: Nanos = Nanos::secs(5);

/// Deaths whose cause is remembered.
const GRAVES: usize = 10_000;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A node said something about an actor.
    Said {
        /// Who.
        from: Incarnation,
        /// What.
        word: Word,
    },
    /// News of an object that was asked for with [`Effect::Locate`].
    Located {
        /// The object.
        object: ObjectId,
        /// What its owner knows.
        located: Located,
    },
    /// The dispatcher found a place.
    Assigned {
        /// The constructor.
        task: TaskId,
        /// Under this lease.
        lease: LeaseId,
        /// On this node.
        to: Incarnation,
    },
    /// No node can ever hold it.
    Unschedulable {
        /// The constructor.
        task: TaskId,
        /// Why.
        error: TaskError,
    },
    /// A node drains: what dies with it from now on is preempted. May be said again and again.
    Draining(Incarnation),
    /// The maker of a placement group removed it.
    GroupRemoved(GroupId),
    /// Membership declared a node dead.
    NodeDied(Incarnation),
    /// The deadline has come.
    Tick,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send this.
    Say {
        /// Whom to.
        to: Incarnation,
        /// What.
        word: Word,
    },
    /// Ask the owner of an object where it is, until [`Effect::Unlocate`].
    Locate(ObjectId),
    /// No longer.
    Unlocate(ObjectId),
    /// Register a node with an object's owner, before it is sent the reference.
    Lend {
        /// The object.
        object: ObjectId,
        /// The node.
        to: Incarnation,
    },
    /// Give one registration of the head's own back to an object's owner.
    GiveBack(ObjectId),
    /// Find a place for it.
    Enqueue {
        /// The constructor.
        task: TaskId,
        /// What it needs.
        class: Arc<SchedulingClass>,
        /// Bytes of its arguments by node.
        near: Vec<(NodeId, ByteSize)>,
    },
    /// No longer.
    Dequeue(TaskId),
    /// The lease is free.
    Release {
        /// The constructor.
        task: TaskId,
        /// The lease.
        lease: LeaseId,
    },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Waits for arguments; follows all of them.
    Unready,
    /// Failed to start; tries again then.
    Resting(Nanos),
    Queued,
    Starting(LeaseId),
    Alive(LeaseId),
}

#[derive(Debug, Serialize, Deserialize)]
struct Actor {
    spec: Arc<ActorSpec>,
    stage: Stage,
    /// Starts so far.
    incarnation: u32,
    restarts_left: Option<u32>,
    /// Starts in a row that ended before the actor was alive.
    failed_starts: u32,
    /// It will not be started again, for this reason.
    doom: Option<TaskError>,
    checkpoint: Option<Checkpoint>,
    watchers: BTreeSet<Incarnation>,
}

/// A lease the head holds for an incarnation, also for one that is being ended.
#[derive(Debug, Serialize, Deserialize)]
struct Held {
    actor: ActorId,
    at: Incarnation,
    /// When a graceful end is over.
    stop_by: Option<Nanos>,
}

/// An argument that unready actors wait for.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Followed {
    last: Option<Located>,
    by: BTreeSet<ActorId>,
}

type Out = Vec<Effect>;

/// The registry. See the module's documentation.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Registry {
    actors: BTreeMap<ActorId, Actor>,
    leases: BTreeMap<LeaseId, Held>,
    names: BTreeMap<ActorName, ActorId>,
    followed: BTreeMap<ObjectId, Followed>,
    graves: BTreeMap<ActorId, TaskError>,
    grave_order: VecDeque<ActorId>,
    /// Dead ones of living creators whose cause is forgotten.
    gone: BTreeSet<ActorId>,
    /// Who asked for an actor before its creator's word came.
    early: BTreeMap<ActorId, BTreeSet<Incarnation>>,
    dead: BTreeSet<Incarnation>,
    /// Living nodes that drain.
    draining: BTreeSet<Incarnation>,
    /// Times to look at a resting actor or a lease that is being ended.
    timers: BTreeSet<(Nanos, ActorId)>,
}

impl Registry {
    /// How many actors are not dead.
    pub fn living(&self) -> usize {
        self.actors.len()
    }

    /// Leases held, also for incarnations that are being ended.
    pub fn leases(&self) -> usize {
        self.leases.len()
    }

    /// Every living actor and what it waits for or where it is, for people.
    pub fn states(&self) -> Vec<String> {
        let line = |(id, actor): (&ActorId, &Actor)| {
            let what = match &actor.stage {
                Stage::Unready => "waits for an argument".to_owned(),
                Stage::Resting(until) => format!("failed to start {} times; rests until {until}", actor.failed_starts),
                Stage::Queued => "waits for a node with room".to_owned(),
                Stage::Starting(lease) => format!("is being started under {lease}"),
                Stage::Alive(lease) => format!("is alive under {lease}"),
            };
            format!("{} ({id}, incarnation {}) {what}", actor.spec.task.label, actor.incarnation)
        };
        self.actors.iter().map(line).collect()
    }

    fn said(&mut self, now: Nanos, from: Incarnation, word: Word, out: &mut Out) {
        match word {
            Word::Create(spec) => self.create(from, spec, out),
            Word::Watch(actor) => self.watch(from, actor, out),
            Word::Unwatch(actor) => self.unwatch(from, actor),
            Word::Find { request, name } => {
                let result = self.find(&name);
                out.push(Effect::Say { to: from, word: Word::Found { request, result } });
            }
            Word::Kill { actor, force, restart } => self.kill(now, actor, force, restart, out),
            Word::OutOfScope(actor) => self.out_of_scope(now, actor, out),
            Word::Started(lease) => self.started(lease, out),
            Word::Ended { lease, end } => self.ended(now, from, lease, end, out),
            Word::Save { lease, checkpoint } => self.save(from, lease, checkpoint, out),
            // Words for callers and hosts.
            Word::Created { .. }
            | Word::Status { .. }
            | Word::Found { .. }
            | Word::Start { .. }
            | Word::Stop { .. }
            | Word::Saved { .. }
            | Word::Call { .. } => {}
        }
    }

    fn watch(&mut self, from: Incarnation, actor: ActorId, out: &mut Out) {
        let place = match self.actors.get_mut(&actor) {
            Some(known) => {
                known.watchers.insert(from);
                self.place(actor)
            }
            None => match self.cause(actor) {
                Some(error) => Place::Dead(error),
                None => {
                    self.early.entry(actor).or_default().insert(from);
                    return;
                }
            },
        };
        out.push(Effect::Say { to: from, word: Word::Status { actor, place } });
    }

    /// Why an actor that is not living is dead; none if its creation may still be on its way.
    fn cause(&self, actor: ActorId) -> Option<TaskError> {
        if let Some(error) = self.graves.get(&actor) {
            return Some(error.clone());
        }
        if self.dead.contains(&actor.owner()) {
            let message = format!("{actor}: its creator, {}, died", actor.owner());
            return Some(ActorDeath::OwnerDied.error(message));
        }
        let forgotten = || ActorDeath::Unknown.error(format!("{actor} died so long ago that the cause is forgotten"));
        self.gone.contains(&actor).then(forgotten)
    }

    fn unwatch(&mut self, from: Incarnation, actor: ActorId) {
        if let Some(known) = self.actors.get_mut(&actor) {
            known.watchers.remove(&from);
        }
        if let Some(early) = self.early.get_mut(&actor) {
            early.remove(&from);
            if early.is_empty() {
                self.early.remove(&actor);
            }
        }
    }

    fn find(&self, name: &ActorName) -> Result<Known, TaskError> {
        let named = self.names.get(name).and_then(|id| Some((*id, self.actors.get(id)?)));
        if let Some((id, actor)) = named {
            return Ok((id, Box::new(actor.spec.options.clone())));
        }
        let others = self.names.keys().filter(|other| other.namespace == name.namespace).take(8);
        let others: Vec<String> = others.map(ToString::to_string).collect();
        let hint = if others.is_empty() { "no actor there has a name".to_owned() } else { others.join(", ") };
        Err(ActorDeath::Unknown.error(format!("no living actor is named {name}; there are: {hint}")))
    }

    fn place(&self, id: ActorId) -> Place {
        match self.actors.get(&id).map(|actor| (&actor.stage, actor.incarnation)) {
            Some((Stage::Alive(lease), incarnation)) => match self.leases.get(lease) {
                Some(held) => Place::Alive { lease: *lease, at: held.at, incarnation },
                None => Place::Pending,
            },
            _ => Place::Pending,
        }
    }

    fn publish(&self, id: ActorId, out: &mut Out) {
        let place = self.place(id);
        let watchers = self.actors.get(&id).into_iter().flat_map(|actor| actor.watchers.iter());
        out.extend(watchers.map(|to| Effect::Say { to: *to, word: Word::Status { actor: id, place: place.clone() } }));
    }

    fn save(&mut self, from: Incarnation, lease: LeaseId, checkpoint: Checkpoint, out: &mut Out) {
        let Some(actor) = self.leases.get(&lease).and_then(|held| self.actors.get_mut(&held.actor)) else { return };
        let number = checkpoint.number;
        if actor.stage == Stage::Alive(lease) && actor.checkpoint.as_ref().is_none_or(|old| old.number < number) {
            actor.checkpoint = Some(checkpoint);
            out.push(Effect::Say { to: from, word: Word::Saved { lease, number } });
        }
    }

    fn tick(&mut self, now: Nanos, out: &mut Out) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            if self.actors.get(&id).is_some_and(|actor| actor.stage == Stage::Resting(at)) {
                self.prepare(id, out);
            }
            let due = |held: &Held| held.actor == id && held.stop_by.is_some_and(|by| by <= now);
            if let Some((lease, to)) = self.leases.iter().find(|(_, held)| due(held)).map(|(id, held)| (*id, held.at)) {
                self.force(id, lease, to, out);
            }
        }
    }
}

impl Machine for Registry {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Out) {
        match event {
            Event::Said { from, word } => self.said(now, from, word, out),
            Event::Located { object, located } => self.located(object, located, out),
            Event::Assigned { task, lease, to } => self.assigned(task, lease, to, out),
            Event::Unschedulable { task, error } => {
                let id = ActorId(task);
                let Some(actor) = self.actors.get(&id) else { return };
                let error = match error.kind {
                    TaskErrorKind::GroupRemoved => life::without_group(&actor.spec),
                    _ => {
                        let message = format!("{} ({id}) has no place to run", actor.spec.task.label);
                        ActorDeath::Unschedulable.error(message).because(error)
                    }
                };
                self.die(id, error, out);
            }
            Event::GroupRemoved(group) => self.group_removed(now, group, out),
            Event::Draining(node) => {
                self.draining.insert(node);
            }
            Event::NodeDied(dead) => self.node_died(now, dead, out),
            Event::Tick => self.tick(now, out),
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn check(&self) -> Result<(), Violation> {
        for (id, actor) in &self.actors {
            let leases: Vec<_> = self.leases.iter().filter(|(_, held)| held.actor == *id).collect();
            Violation::unless(leases.len() <= 1, "I15-one-incarnation", || format!("{id}: {leases:?}"))?;
            let current = match actor.stage {
                Stage::Starting(lease) | Stage::Alive(lease) => Some(lease),
                Stage::Unready | Stage::Resting(_) | Stage::Queued => None,
            };
            let held = leases.first().map(|(lease, _)| **lease);
            Violation::unless(held == current, "actor-lease", || format!("{id}: {:?} but {held:?}", actor.stage))?;
            let restarts = actor.spec.options.max_restarts;
            let within = restarts.is_none_or(|most| actor.restarts_left.is_some_and(|left| left <= most));
            Violation::unless(within, "I16-restarts", || format!("{id}: {:?} left", actor.restarts_left))?;
            let waits = self.followed.values().any(|followed| followed.by.contains(id));
            Violation::unless(!waits || actor.stage == Stage::Unready, "actor-follows", || format!("{id}"))?;
        }
        for (name, id) in &self.names {
            let living = self.actors.get(id).is_some_and(|actor| actor.spec.options.name.as_ref() == Some(name));
            Violation::unless(living, "I15-name", || format!("{name} names {id}"))?;
        }
        let idle = self.followed.iter().find(|(_, followed)| followed.by.is_empty());
        Violation::unless(idle.is_none(), "actor-follows", || format!("{idle:?} is followed by nobody"))
    }
}
