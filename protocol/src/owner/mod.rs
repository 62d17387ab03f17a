//! The owner: what the process that created a task or put a value knows of it, and does about it.
//!
//! One owner machine lives in each process (Ownership, NSDI'21; Ray's ReferenceCounter, TaskManager and
//! ObjectRecoveryManager, in one transition table).
//!
//! # Tasks
//! ```text
//!  Submit --> Waiting --all arguments exist--> Queued --Assigned--> Running --Returned--> Finished (kept as lineage)
//!                ^                                                     |  |                    |
//!                |<-------- HandedBack (free of charge) ---------------|  |                    |
//!                |<-------- crash, dead node, user error (budgets) -------|                    |
//!                |<-------- a result was lost and somebody wants it (loss budget) -------------|
//!                |<-- Tick -- Resting <-- its node ran out of memory (memory budget) --|
//! ```
//! Every push is a new attempt number; a report of any other attempt is ignored and the copies it left are freed, so
//! two attempts of a task never both publish (invariants I10, I11).
//!
//! # Objects
//! An object is *in scope* while the application, an unfinished task, a containing object or another process
//! refers to it. Out of scope, its copies are freed everywhere. Its entry, and the specification of the task that makes
//! it, stay as *lineage* for as long as an object in scope could need them to be rebuilt. Inline values cannot be lost,
//! so a task with only inline results keeps no lineage, and values that nothing can make again (puts, and inline values
//! that lineage needs) stay until lineage lets go of them. What is out of scope nobody may ask for: a subscriber is
//! told that it is gone, so that it does not wait for ever, and nothing is rebuilt for it.
//!
//! A put may take time, because the store has no room yet ([`Event::PutBegun`]): meanwhile the object is pending like
//! the result of a task, and so can be the argument of one that is submitted before it ends.
//!
//! # Recovery
//! 1. A copy is lost with its node, or its node says so. Other copies: nothing to do. One that lies in shared storage is
//!    taken over by this node, which reads it there and answers for its file ([`Effect::TakeOver`]).
//! 2. No copy left: the object is `Pending` again, and subscribers are told.
//! 3. Once somebody wants it (a subscriber, a task's argument), the producing task is queued again at the cost of its
//!    loss budget; lost arguments are wanted in turn, so recovery is recursive. A task that is already pending is not
//!    queued twice, so concurrent recoveries coalesce.
//! 4. If that is impossible the object fails for good with the reason code, and everything that waits is told.
//!
//! A task that runs again makes all of its results again, but only those without a value are published: of a sibling
//! that has one, an equal copy (same size and hash) is one copy more and any other is freed, so that readers never see
//! two versions (I4). A cancelled task never runs again, because its last attempt may still.
//!
//! When every copy was lost the new value must have the hash of the first one, which is kept with the lineage. If it
//! has not, the object fails with `NondeterministicReplay` (I3). A task submitted with
//! [`Replay::Accept`](crate::Replay) gets its new version through: what finished tasks of this owner made from the old
//! one is dropped and made again when it is wanted, at the cost of their loss budgets, and attempts that run with the
//! old one are repeated free of charge. What other owners made from it, or what was inline, stays. Values with
//! references inside are not compared: a task that puts objects of its own names others each time and is no less right.
//!
//! # Lineage
//! Specifications of finished tasks take memory, so they have a limit in bytes ([`Owner::with_lineage_limit`]). Beyond
//! it the oldest go. What they made lives on, and cannot be rebuilt: such an object fails with `LINEAGE_EVICTED` when
//! its last copy is lost, and what is rebuilt from it fails with the same reason, naming it as the cause. Its value,
//! like a put's, then stays for as long as other lineage needs it. (Ray drops half of the lineage at once, silently.)
//!
//! # Durability
//! What an object outlives is the application's choice ([`Event::Endure`], [`crate::TaskSpec::durability`]): its task
//! is run again (lineage, the default); or it is kept on several nodes, and copied again when one of them is lost
//! (`replicas.rs`); or it is written to a folder outside the cluster, and read back when no copy is left
//! (`persisted.rs`).
//!
//! # Waiting in this process
//! The application's own gets of its own objects do not subscribe like another process: an [`Event::Await`] is answered
//! by one [`Effect::Exists`], as soon as the object is no longer pending, and wants the object as a subscription does.
//!
//! # Generators
//! A task that streams has no fixed results: each item it yields becomes an object of ours when it is reported, held by
//! the stream until the consumer takes it, and by the consumer from then on. Items of an attempt come in order (the
//! link keeps it), so the consumer sees 0, 1, 2, ... once each, and the end once (I17). See `streams.rs` for how far a
//! generator may run ahead, and what happens when it runs again.
//!
//! # References in other processes
//! Whoever sends a reference registers the receiver with the owner first
//! ([`Effect::Lend`]), and the receiver gives the registration back when it is done with it; so there is no moment at
//! which a live reference is unknown to the owner, and no dependence on the shape of the task tree (Ray merges borrows
//! through task replies: #63025, #19910). Registrations are counted per holder and vanish with the holder's
//! incarnation. Whoever reads a reference out of a value registers himself, and lets go of the value only when the owner
//! has confirmed it (`runtime/src/node/holds.rs`).
//!
//! # What differs from Ray
//! - Separate budgets for crashes, user errors, losses and memory kills; the final error says which was used up. Ray
//!   repeats what was killed for memory without limit.
//! - Recovery is by want, and a node never waits for a value that does not exist: it hands the task back, so the
//!   rebuilding task can have its cpu (#13689).
//! - An attempt whose node died is charged unless the node said it never started, so a budget of zero means at most
//!   once.
//!
//! # One step
//! An event does its direct work and leaves the rest in two lists, so that neither a chain of lost ancestors
//! nor one of released ones recurses: `agenda` (whom to rebuild, whom to fail) is worked off first, `idle` (what may be
//! out of scope now) last. Both are empty between steps.
//!
//! # The dead
//! `NodeDied` is final. After it, whatever names that incarnation changes nothing: its reports, its copies,
//! registrations a lender makes for it, subscriptions. A slot on it is handed back, and an argument it owned has
//! failed.
//!
//! # Limits
//! - References in a cycle of values that contain each other are never freed.
//! - A lender that dies between registering a receiver and sending it the reference, or the other way round, leaves a
//!   registration too many or too few; the receiver's death, or `Freed`, ends it.
//!
//! # Actor calls
//! A call of an actor's method is a task whose slots [`crate::actor::Callers`] hands out, in the order of the calls.
//! What the death of a node means for it, the head decides (the actor may be back): `NodeDied` leaves it alone, and
//! [`Event::CallLost`] ends the attempt.
//!
//! # Must not happen
//! Deciding where a task runs (that is [`crate::sched`]); fetching (that is [`crate::pull`]).

mod account;
mod arguments;
mod attempts;
mod calls;
mod check;
mod lifetime;
mod lineage;
mod memory;
mod persisted;
mod recovery;
mod replicas;
mod streams;
mod tasks;
#[cfg(test)]
mod tests;
mod types;

pub use account::Holding;
pub(crate) use attempts::spend;
pub use types::{Counters, Effect, Event, Token};

use crate::directory::{Bereaved, Directory, Notify};
use crate::{
    ByteSize, Durability, Incarnation, Located, Machine, Map, Nanos, ObjectId, ResultPlace, TaskError, TaskId,
    Violation,
};
use lineage::Lineage;
use persisted::Persisted;
use replicas::{Replicas, Step};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use types::{Agenda, Foreign, Object, Origin, Stage, Task};

/// Lineage kept by one owner unless it is told otherwise. 1 GiB, as in Ray (`max_lineage_bytes`).
pub const DEFAULT_LINEAGE_LIMIT: ByteSize = ByteSize(1 << 30);

/// The owner machine. See the module for its states and guarantees.
///
/// Memory: about 150 bytes an object and 400 a task while it is pending or kept as lineage, plus its inline values.
#[derive(Debug)]
pub struct Owner {
    me: Incarnation,
    objects: Map<ObjectId, Object>,
    tasks: Map<TaskId, Task>,
    directory: Directory,
    foreign: BTreeMap<ObjectId, Foreign>,
    lineage: Lineage,
    replicas: Replicas,
    persisted: Persisted,
    /// Waiting tasks by the argument they wait for.
    waiting: BTreeMap<ObjectId, BTreeSet<TaskId>>,
    /// Resting tasks by the time at which they go on.
    resting: BTreeSet<(Nanos, TaskId)>,
    /// Counters by label; a task keeps the index.
    counters: Vec<(Arc<str>, Counters)>,
    labels: BTreeMap<Arc<str>, usize>,
    /// The directory's notifications before they are handed on; kept to reuse its memory.
    news: Vec<Notify>,
    /// Whom membership declared dead. Messages from the dead do not come this far, but a lender may register, and a
    /// dispatcher may choose, a process that has died meanwhile. Verdicts are final, so this only grows: eight bytes a
    /// death.
    dead: BTreeSet<Incarnation>,
    /// Objects whose end somebody wants to hear of: the lives of actors.
    watched: BTreeSet<ObjectId>,
    /// What is left to do in this step. Empty between events.
    agenda: VecDeque<Agenda>,
    /// Objects that lost a reason to exist in this step. Empty between events.
    idle: Vec<ObjectId>,
}

impl Owner {
    /// An owner that owns nothing yet.
    pub fn new(me: Incarnation) -> Self {
        Self {
            me,
            objects: Map::default(),
            tasks: Map::default(),
            directory: Directory::default(),
            foreign: BTreeMap::new(),
            lineage: Lineage::new(DEFAULT_LINEAGE_LIMIT),
            replicas: Replicas::new(me),
            persisted: Persisted::default(),
            waiting: BTreeMap::new(),
            resting: BTreeSet::new(),
            counters: Vec::new(),
            labels: BTreeMap::new(),
            news: Vec::new(),
            dead: BTreeSet::new(),
            watched: BTreeSet::new(),
            agenda: VecDeque::new(),
            idle: Vec::new(),
        }
    }

    /// The same with room for so many bytes of lineage.
    #[must_use]
    pub fn with_lineage_limit(mut self, limit: ByteSize) -> Self {
        self.lineage = Lineage::new(limit);
        self
    }

    /// Bytes of lineage kept, and how often some was dropped to stay within the limit.
    pub fn lineage(&self) -> (ByteSize, u64) {
        (self.lineage.bytes(), self.lineage.evicted())
    }

    /// Progress by label, in the order the labels were first used.
    pub fn counters(&self) -> &[(Arc<str>, Counters)] {
        &self.counters
    }

    /// What is known of an object of ours; `Failed` if there is no such object any more.
    pub fn locate(&self, object: ObjectId) -> Located {
        if self.objects.contains_key(&object) {
            self.directory.locate(object)
        } else {
            Located::Failed(unknown(object))
        }
    }

    /// Objects known, referenced or kept for lineage.
    pub fn objects(&self) -> usize {
        self.objects.len()
    }

    /// Tasks known, pending or kept for lineage.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Tasks that are not over.
    pub fn pending(&self) -> usize {
        self.tasks.values().filter(|task| task.stage != Stage::Finished).count()
    }

    /// Whether it still answers for this object.
    pub fn knows(&self, object: ObjectId) -> bool {
        self.objects.contains_key(&object)
    }

    /// Every object: where it is, and who keeps it, for people.
    pub fn describe(&self) -> Vec<String> {
        let mut ids: Vec<ObjectId> = self.objects.keys().copied().collect();
        ids.sort_unstable();
        let described = |id: ObjectId| {
            let object = self.objects.get(&id)?;
            let Object { local, submitted, contained, lineage, .. } = object;
            let place = match self.directory.state(id) {
                Located::Pending => "pending".to_owned(),
                Located::Inline(bytes) => format!("inline, {} bytes", bytes.len()),
                Located::Stored { size, copies } => {
                    let copies: Vec<String> = copies.iter().map(ToString::to_string).collect();
                    format!("{size} at {}", copies.join(", "))
                }
                Located::Failed(error) => format!("failed: {:?}", error.kind),
            };
            let borrowed = &object.borrowed;
            let missing = self
                .replicas
                .missing(id, self.directory.state(id))
                .map_or_else(String::new, |missing| format!(", {missing}"));
            Some(format!(
                "{id} {place}{missing}; local {local}, arguments {submitted}, inside {contained}, lineage {lineage}, borrowed {borrowed:?}"
            ))
        };
        ids.into_iter().filter_map(described).collect()
    }

    /// What every unfinished task waits for, for people.
    pub fn waits(&self) -> Vec<String> {
        let name = |at: Incarnation| at.to_string();
        self.unfinished().into_iter().filter_map(|id| self.why(id, &name)).collect()
    }

    /// The tasks that are not over, in order.
    pub fn unfinished(&self) -> Vec<TaskId> {
        let unfinished = self.tasks.iter().filter(|(_, task)| task.stage != Stage::Finished);
        let mut ids: Vec<TaskId> = unfinished.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// What a task waits for, for people, who know nodes by `name`; none if it is over or unknown.
    pub fn why(&self, id: TaskId, name: &dyn Fn(Incarnation) -> String) -> Option<String> {
        let task = self.tasks.get(&id)?;
        let what = match task.stage {
            Stage::Waiting => {
                let missing: Vec<String> = task.missing.iter().map(ToString::to_string).collect();
                format!("waits for {}", missing.join(", "))
            }
            Stage::Resting { until } => {
                format!("is tried again at {until}: its node ran out of memory, {} times so far", task.memory_kills)
            }
            Stage::Queued => "waits for a slot".to_owned(),
            Stage::Running { to, started: true, .. } => format!("runs on {}", name(to)),
            Stage::Running { to, .. } => format!("was sent to {}", name(to)),
            Stage::Finished => return None,
        };
        Some(format!("{} ({id}, attempt {}) {what}", task.spec.label, task.attempt.0))
    }

    /// The nodes that take copies, as of the last [`Event::Nodes`].
    pub fn nodes(&self) -> &BTreeSet<Incarnation> {
        self.replicas.takers()
    }

    /// What objects lack of the durability they are to have, for people.
    pub fn not_durable(&self) -> Vec<String> {
        let located = |object| self.directory.state(object);
        self.replicas.all_missing(located).into_iter().chain(self.persisted.unsaved(located)).collect()
    }

    fn endure(&mut self, object: ObjectId, durability: Durability) {
        if self.objects.contains_key(&object) {
            self.make_durable(object, durability);
        }
    }

    /// An object of ours is to outlive more than one node.
    fn make_durable(&mut self, object: ObjectId, durability: Durability) {
        self.replicas.want(object, durability.replicas);
        if durability.persisted {
            self.persisted.want(object);
        }
    }

    fn copies_changed(&mut self, object: ObjectId) {
        self.replicas.touch(object);
        self.persisted.touch(object);
    }

    /// What was written for an object that is gone by now must not stay.
    fn saved(&mut self, object: ObjectId, by: Incarnation, size: ByteSize, out: &mut Vec<Effect>) {
        match self.persisted.saved(object, by, size) {
            true if matches!(self.directory.state(object), Located::Pending) => self.lost(object, out),
            true => {}
            false => out.push(Effect::Erase(object)),
        }
    }

    /// What was written cannot be read: whoever wants the object is served by lineage, or told why not.
    fn not_loaded(&mut self, object: ObjectId, by: Incarnation, out: &mut Vec<Effect>) {
        if self.persisted.not_loaded(object, by) {
            self.want(object, out);
        }
    }

    fn nodes_changed(&mut self, mut nodes: BTreeSet<Incarnation>) {
        nodes.retain(|node| !self.dead.contains(node));
        self.replicas.nodes(nodes);
    }

    /// Copies of replicated objects were lost or made in this step, or nodes came and went.
    fn repair(&mut self, out: &mut Vec<Effect>) {
        for object in self.persisted.take_touched() {
            let at = self.persisted.next(object, self.directory.state(object), self.directory.primary(object));
            out.extend(at.map(|at| Effect::Save { at, object }));
        }
        for object in self.replicas.take_touched() {
            let steps = self.replicas.repair(object, self.directory.state(object), self.directory.primary(object));
            out.extend(steps.into_iter().map(|step| match step {
                Step::Keep(at) => Effect::Promote { at, object, rebuildable: false },
                Step::Fetch(to) => Effect::Replicate { to, object },
            }));
        }
    }

    fn put(&mut self, object: ObjectId, place: ResultPlace, refs: Vec<ObjectId>, out: &mut Vec<Effect>) {
        self.put_begun(object, refs, out);
        self.put_ended(object, Ok(place), out);
    }

    fn put_begun(&mut self, object: ObjectId, refs: Vec<ObjectId>, out: &mut Vec<Effect>) {
        let entry = Object { local: 1, origin: Origin::Putting, ..Object::default() };
        let taken = self.objects.insert(object, entry);
        debug_assert!(taken.is_none(), "{object} was put twice");
        self.contain(object, refs, false, out);
    }

    /// A value that nobody refers to any more, or that was freed by hand meanwhile, leaves no copy.
    fn put_ended(&mut self, object: ObjectId, result: Result<ResultPlace, TaskError>, out: &mut Vec<Effect>) {
        let entry = self.objects.get_mut(&object).filter(|_| *self.directory.state(object) == Located::Pending);
        match (entry, result) {
            (Some(entry), Ok(place)) => {
                entry.origin = Origin::Put;
                self.place(object, self.me, place, out);
                self.arrived(object, out);
            }
            (Some(entry), Err(error)) => {
                entry.origin = Origin::Put;
                self.fail(object, error, out);
            }
            (None, Ok(ResultPlace::Stored(_))) => free(self.me, object, out),
            (None, Ok(ResultPlace::Inline(_)) | Err(_)) => {}
        }
    }

    /// Tells the directory where a value is now, and through it whoever subscribed.
    fn place(&mut self, object: ObjectId, at: Incarnation, place: ResultPlace, out: &mut Vec<Effect>) {
        match place {
            ResultPlace::Inline(bytes) => self.resolve(object, Located::Inline(bytes), out),
            ResultPlace::Stored(size) => {
                self.directory.stored(object, size, at, &mut self.news);
                self.copies_changed(object);
                self.tell(out);
            }
        }
    }

    /// A value or a failure that needs no copies: those that exist are freed.
    fn resolve(&mut self, object: ObjectId, located: Located, out: &mut Vec<Effect>) {
        for at in self.directory.set(object, located, &mut self.news) {
            free(at, object, out);
        }
        self.copies_changed(object);
        self.tell(out);
    }

    /// Hands the directory's notifications on.
    fn tell(&mut self, out: &mut Vec<Effect>) {
        out.extend(self.news.drain(..).map(|Notify { to, object, located }| Effect::Notify { to, object, located }));
        let promoted = self.directory.take_promoted();
        // A node that has just died has none of the copies that are left, but others may have died since.
        let living = promoted.into_iter().filter(|(at, _)| !self.dead.contains(at));
        out.extend(living.map(|(at, object)| Effect::Promote { at, object, rebuildable: self.may_be_dropped(object) }));
    }

    /// Whether a node that has the only copy may drop it, if its policy is that: its task is run again for it, unless the
    /// value is to be on several nodes. As its first node knows of a result by itself, the next learns it here.
    fn may_be_dropped(&self, object: ObjectId) -> bool {
        let item = self.objects.get(&object).is_some_and(|entry| entry.item);
        let again = |task: &Task| !task.spec.is_call() && task.spec.retries.losses != Some(0);
        !item && !self.replicas.holds(object) && self.tasks.get(&object.task).is_some_and(again)
    }

    fn node_died(&mut self, dead: Incarnation, out: &mut Vec<Effect>) {
        self.dead.insert(dead);
        let keeps = crate::planted!("owner-keeps-dead-copies");
        let left = if keeps { Bereaved::default() } else { self.directory.node_died(dead, self.me, &mut self.news) };
        let taken = left.inherited.into_iter();
        out.extend(taken.map(|(object, size, place)| Effect::TakeOver { object, size, place }));
        self.tell(out);
        self.replicas.node_died(dead);
        let unread = self.persisted.node_died(dead);
        self.agenda.extend(unread.into_iter().map(Agenda::Want));
        self.end_attempts_on(dead, out);
        self.forget_borrower(dead);
        self.owner_died(dead, out);
        for object in left.lost {
            self.lost(object, out);
        }
    }
}

impl Machine for Owner {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Put { object, place, refs } => self.put(object, place, refs, out),
            Event::PutBegun { object, refs } => self.put_begun(object, refs, out),
            Event::PutEnded { object, result } => self.put_ended(object, result, out),
            Event::PutFor { object, job } => {
                if let Some(entry) = self.objects.get_mut(&object) {
                    entry.job = Some(job);
                }
            }
            Event::Submit(spec) => self.submit(spec, out),
            Event::Assigned { task, lease, to } => self.assigned(task, lease, to, out),
            Event::Unschedulable { task, error } => self.unschedulable(task, error, out),
            Event::Started { task, attempt } => self.started(task, attempt),
            Event::Done { from, task, attempt, outcome } => {
                self.done(now, from, (task, attempt), outcome, out);
            }
            Event::Item { from, task, attempt, index, result } => {
                self.item(from, task, attempt, index, result, out);
            }
            Event::Next(task) => self.next_item(task, out),
            Event::StreamDropped(task) => self.stream_dropped(task, out),
            Event::RefAdded(object) => self.ref_added(object),
            Event::RefDropped(object) => self.ref_dropped(object),
            Event::Borrowed { object, by } => self.borrowed(object, by, 1),
            Event::Returned { object, by } => self.borrowed(object, by, -1),
            Event::Subscribe { object, by } => self.subscribe(object, by, out),
            Event::Unsubscribe { object, by } => self.directory.unsubscribe(object, by),
            Event::CopyAdded { object, at, size } => self.copy_added(object, at, size, out),
            Event::CopyRemoved { object, at } => self.copy_removed(object, at, out),
            Event::CopyDamaged { object, at } => self.copy_damaged(object, at, out),
            Event::CopySpilled { object, at, place } => self.directory.spilled(object, at, place),
            Event::Await { object, token } => self.await_value(object, token, out),
            Event::Unawait { object, token } => self.unawait(object, token),
            Event::CopyEvicted { object, at } => self.copy_evicted(object, at, out),
            Event::ForeignLocated { object, located } => self.foreign_located(object, located, out),
            Event::NodeDied(dead) => self.node_died(dead, out),
            Event::Cancel { object, recursive } => self.cancel(object.task, recursive, out),
            Event::GroupRemoved(group) => self.group_removed(group, out),
            Event::Free(object) => self.free_by_hand(object, out),
            Event::Endure { object, durability } => self.endure(object, durability),
            Event::Saved { object, by, size } => self.saved(object, by, size, out),
            Event::NotSaved { object, by } => self.persisted.not_saved(object, by),
            Event::NotLoaded { object, by } => self.not_loaded(object, by, out),
            Event::ReplicaRefused { object, by } => self.replicas.refused(object, by),
            Event::Nodes(nodes) => self.nodes_changed(nodes),
            Event::WatchScope(object) => {
                self.watched.insert(object);
            }
            Event::CallLost { task, error } => self.call_lost(task, error, out),
            Event::CallFailed { task, error } => self.fail_task(task, error, out),
            Event::Tick => self.wake_rested(now, out),
        }
        while let Some(next) = self.agenda.pop_front() {
            match next {
                Agenda::Want(object) => self.want(object, out),
                Agenda::Fail { task, argument, error } => self.fail_dependent(task, argument, error, out),
            }
        }
        self.release(out);
        self.repair(out);
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.resting.first().map(|(until, _)| *until)
    }

    fn check(&self) -> Result<(), Violation> {
        self.check_all()
    }
}

/// Tells a node to drop its copy, together with the one before if that goes to the same node.
fn free(at: Incarnation, object: ObjectId, out: &mut Vec<Effect>) {
    match out.last_mut() {
        Some(Effect::Free { at: last, objects }) if *last == at => objects.push(object),
        _ => out.push(Effect::Free { at, objects: vec![object] }),
    }
}

fn unknown(object: ObjectId) -> crate::TaskError {
    crate::TaskError::new(
        crate::TaskErrorKind::Freed,
        format!("{object} is gone: nothing referred to it any more, or it never existed"),
    )
}
