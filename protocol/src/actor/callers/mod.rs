//! The caller's side of actors: the order of the calls of one process, and what the end of an incarnation means for them.
//!
//! # States of a call
//! ```text
//!   Submitted --> waiting --Ready--> ready --(its turn, actor alive)--> sent --Over--> (forgotten)
//!                    ^                 ^                                 |  |
//!                    |    HandedBack: never began, free of charge        |  | Crashed, or the host's node died
//!                    +<--------------------------------------------------+  v
//!                    ^                                                     lost: waits for the head's word about
//!                    |   the owner's budget allows another attempt          that incarnation
//!                    +<------------------ Effect::Lost <---------------------+
//! ```
//! The owner says `Ready` when all arguments exist, and `Over` when the call has a result or has failed for good.
//!
//! # Guarantees
//! - Calls of one lane (a handle) are sent in the order of their numbers; one that is not ready, or lost, holds back those
//!   behind it. With [`WINDOW`] calls out to an actor the next ones wait.
//! - Calls of one lane are never out to two incarnations: the head's word of a new one may overtake the old one's word of
//!   what it did not begin, so the lane waits until every call that is out to the old one is accounted for.
//! - A lost call is decided only by the head: `ActorDied` if the actor is dead, `ActorUnavailable` if it is not.
//! - When an actor is dead, calls that were not sent fail at once. Sent ones still end with what the host says, or with
//!   the death of its node.
//! - What a process calls after it killed an actor is not sent to the incarnation it knew, though its word to the host
//!   would overtake the head's: the head's word of the end always comes, and decides.
//! - A handle with `limit` unfinished calls refuses the next one with `TooManyPending`; the others are not affected.
//! - While a process has a call out, it counts as a holder of a handle, so that an actor is not ended for want of handles
//!   before its last call is.
//!
//! # Must not happen
//! A call sent to an incarnation that handed one back, that this process killed, or whose end the head has announced.

use super::types::{ActorId, Place};
use crate::{Incarnation, LeaseId, Machine, Nanos, TaskError, TaskErrorKind, TaskId, Violation};
use std::collections::{BTreeMap, BTreeSet};

/// Most calls of one process sent to one actor and not over.
pub const WINDOW: usize = 4096;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The application holds one more handle. `counted` says whether handles keep the actor alive (it is not detached).
    HandleAdded {
        /// The actor.
        actor: ActorId,
        /// See above.
        counted: bool,
    },
    /// It dropped one.
    HandleDropped(ActorId),
    /// The application called a method; the owner is told right after.
    Submitted {
        /// The call.
        task: TaskId,
        /// The actor.
        actor: ActorId,
        /// The lane; 0 for none.
        handle: u64,
        /// Most unfinished calls in the lane.
        limit: Option<u32>,
    },
    /// Its arguments exist. A call that is not known is one whose result was lost: it has no place in any lane.
    Ready {
        /// The call.
        task: TaskId,
        /// The actor.
        actor: ActorId,
    },
    /// An argument was lost again.
    Unready(TaskId),
    /// The owner is through with it.
    Over(TaskId),
    /// The host did not begin it; the owner is told right after. `closed` says that this incarnation takes no more calls.
    HandedBack {
        /// The call.
        task: TaskId,
        /// See above.
        closed: bool,
    },
    /// The incarnation ended while the call ran.
    Crashed {
        /// The call.
        task: TaskId,
        /// How.
        why: String,
    },
    /// The head says where an actor is.
    Status {
        /// The actor.
        actor: ActorId,
        /// Where.
        place: Place,
    },
    /// The application ends the actor's incarnation by force; the head is told right after.
    Killed(ActorId),
    /// Membership declared a node dead.
    NodeDied(Incarnation),
}

/// What must be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell the owner: this call has its slot.
    Assign {
        /// The call.
        task: TaskId,
        /// The incarnation's lease.
        lease: LeaseId,
        /// Its node.
        to: Incarnation,
    },
    /// Tell the owner: the attempt is lost. Another one if the budget allows; else this error.
    Lost {
        /// The call.
        task: TaskId,
        /// What it fails with.
        error: TaskError,
    },
    /// Tell the owner: the call fails.
    Fail {
        /// The call.
        task: TaskId,
        /// With this.
        error: TaskError,
    },
    /// Ask the head where the actor is.
    Watch(ActorId),
    /// No longer.
    Unwatch(ActorId),
    /// This process counts as a holder of a handle.
    Hold(ActorId),
    /// No longer.
    Unhold(ActorId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Ready,
    Sent,
    /// The incarnation ended under it.
    Lost(String),
    /// It failed before it could be sent; the owner has still to say so.
    Failed,
}

#[derive(Debug)]
struct Call {
    lane: Lane,
    stage: Stage,
    /// Where it was sent last.
    sent: Option<(LeaseId, Incarnation)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Handle(u64),
    Own(TaskId),
}

#[derive(Debug)]
struct Actor {
    place: Place,
    /// The incarnation that handed a call back.
    closed: Option<LeaseId>,
    counted: bool,
    handles: usize,
    calls: BTreeMap<TaskId, Call>,
    /// Per lane: calls that are not sent, in order. No empty set.
    unsent: BTreeMap<Lane, BTreeSet<TaskId>>,
    /// Per lane: the one incarnation that calls are out to, and how many. No zero.
    out_to: BTreeMap<Lane, (LeaseId, usize)>,
    /// Unfinished calls per handle with a limit or an order.
    pending: BTreeMap<u64, u32>,
    sent: usize,
}

type Out = Vec<Effect>;

/// The calls of one process. See the module's documentation.
#[derive(Debug, Default)]
pub struct Callers {
    actors: BTreeMap<ActorId, Actor>,
    /// The actor of each unfinished call.
    calls: BTreeMap<TaskId, ActorId>,
}

impl Callers {
    /// Unfinished calls.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Actors with handles or calls here.
    pub fn actors(&self) -> usize {
        self.actors.len()
    }

    /// Whether this is an unfinished call.
    pub fn knows(&self, task: TaskId) -> bool {
        self.calls.contains_key(&task)
    }

    /// Where an actor is as far as this process was told; none if it does not watch it.
    pub fn place(&self, actor: ActorId) -> Option<&Place> {
        self.actors.get(&actor).map(|actor| &actor.place)
    }

    /// What goes with a call to its host: the handle, and the number below which every call here is over.
    pub fn ticket(&self, task: TaskId) -> (u64, u64) {
        let actor = self.calls.get(&task).and_then(|actor| self.actors.get(actor));
        let handle = actor.and_then(|actor| actor.calls.get(&task)).map_or(0, |call| match call.lane {
            Lane::Handle(handle) => handle,
            Lane::Own(_) => 0,
        });
        let settled = actor.and_then(|actor| actor.calls.keys().next()).map_or(0, |first| first.seq);
        (handle, settled)
    }

    /// What every unfinished call waits for, for people.
    pub fn waits(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (id, actor) in &self.actors {
            for (task, call) in &actor.calls {
                let what = match (&call.stage, &call.sent, &actor.place) {
                    (Stage::Waiting, ..) => "waits for its arguments".to_owned(),
                    (Stage::Ready, _, Place::Pending) => format!("waits for {id} to be alive"),
                    (Stage::Ready, ..) => "waits for the calls before it".to_owned(),
                    (Stage::Sent, Some((lease, at)), _) => format!("was sent to {id} on {at} under {lease}"),
                    (Stage::Lost(why), ..) => format!("lost ({why}); waits for the head's word about {id}"),
                    (Stage::Sent | Stage::Failed, ..) => continue,
                };
                lines.push(format!("call {task} {what}"));
            }
        }
        lines
    }

    /// The record of an actor; watches it if it is new.
    fn actor(&mut self, id: ActorId, out: &mut Out) -> &mut Actor {
        self.actors.entry(id).or_insert_with(|| {
            out.push(Effect::Watch(id));
            Actor {
                place: Place::Pending,
                closed: None,
                counted: false,
                handles: 0,
                calls: BTreeMap::new(),
                unsent: BTreeMap::new(),
                out_to: BTreeMap::new(),
                pending: BTreeMap::new(),
                sent: 0,
            }
        })
    }

    fn add(&mut self, task: TaskId, id: ActorId, lane: Lane, stage: Stage, out: &mut Out) {
        let actor = self.actor(id, out);
        if actor.calls.is_empty() && actor.counted {
            out.push(Effect::Hold(id));
        }
        if stage != Stage::Failed {
            actor.unsent.entry(lane).or_default().insert(task);
        }
        actor.calls.insert(task, Call { lane, stage, sent: None });
        if let Lane::Handle(handle) = lane {
            *actor.pending.entry(handle).or_default() += 1;
        }
        self.calls.insert(task, id);
    }

    fn submitted(&mut self, task: TaskId, id: ActorId, handle: u64, limit: Option<u32>, out: &mut Out) {
        let lane = if handle == 0 { Lane::Own(task) } else { Lane::Handle(handle) };
        let pending = self.actor(id, out).pending.get(&handle).copied().unwrap_or_default();
        if let Some(limit) = limit.filter(|limit| pending >= *limit) {
            self.add(task, id, lane, Stage::Failed, out);
            let message =
                format!("call {task} of {id}: {pending} calls of its handle are unfinished, the most is {limit}");
            return out.push(Effect::Fail { task, error: TaskError::new(TaskErrorKind::TooManyPending, message) });
        }
        self.add(task, id, lane, Stage::Waiting, out);
        if let Some(actor) = self.actors.get_mut(&id)
            && let Place::Dead(error) = &actor.place
        {
            let error = error.clone();
            actor.fail_unsent(&error, out);
        }
    }

    fn ready(&mut self, task: TaskId, id: ActorId, out: &mut Out) {
        if !self.calls.contains_key(&task) {
            self.add(task, id, Lane::Own(task), Stage::Waiting, out);
        }
        // One that was sent is through with an attempt that failed, and is to have another.
        self.unsend(task, Stage::Waiting);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if let Some(call) = actor.calls.get_mut(&task).filter(|call| call.stage == Stage::Waiting) {
            call.stage = Stage::Ready;
            let lane = call.lane;
            actor.send(lane, out);
            if let Place::Dead(error) = &actor.place {
                let error = error.clone();
                actor.fail_unsent(&error, out);
            }
        }
    }

    /// A sent call is to be sent again once the owner says so.
    fn unsend(&mut self, task: TaskId, stage: Stage) -> Option<&mut Actor> {
        let actor = self.actors.get_mut(self.calls.get(&task)?)?;
        let call = actor.calls.get_mut(&task).filter(|call| call.stage == Stage::Sent)?;
        call.stage = stage;
        let lane = call.lane;
        actor.back(lane);
        actor.unsent.entry(lane).or_default().insert(task);
        Some(actor)
    }

    fn handed_back(&mut self, task: TaskId, closed: bool, out: &mut Out) {
        let Some(actor) = self.unsend(task, Stage::Waiting) else { return };
        if closed {
            actor.close(task);
        }
        actor.send_all(out);
    }

    fn crashed(&mut self, task: TaskId, why: String, out: &mut Out) {
        if let Some(actor) = self.unsend(task, Stage::Lost(why)) {
            actor.close(task);
            actor.resolve(out);
            actor.send_all(out);
        }
    }

    /// The owner is through with a call: it leaves, and the next ones may go.
    fn over(&mut self, task: TaskId, out: &mut Out) {
        let Some(id) = self.calls.remove(&task) else { return };
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Some(call) = actor.calls.remove(&task) else { return };
        if let Lane::Handle(handle) = call.lane
            && let Some(pending) = actor.pending.get_mut(&handle)
        {
            *pending -= 1;
            if *pending == 0 {
                actor.pending.remove(&handle);
            }
        }
        if call.stage == Stage::Sent {
            let was_full = actor.sent == WINDOW;
            actor.back(call.lane);
            if was_full {
                actor.send_all(out);
            } else if !actor.out_to.contains_key(&call.lane) {
                actor.send(call.lane, out);
            }
        } else {
            actor.drop_unsent(call.lane, task);
            actor.send(call.lane, out);
        }
        if actor.calls.is_empty() && actor.counted {
            out.push(Effect::Unhold(id));
        }
        self.forget_if_idle(id, out);
    }

    fn handle_dropped(&mut self, id: ActorId, out: &mut Out) {
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.handles = actor.handles.saturating_sub(1);
            self.forget_if_idle(id, out);
        }
    }

    fn forget_if_idle(&mut self, id: ActorId, out: &mut Out) {
        if self.actors.get(&id).is_some_and(|actor| actor.handles == 0 && actor.calls.is_empty()) {
            self.actors.remove(&id);
            out.push(Effect::Unwatch(id));
        }
    }

    fn status(&mut self, id: ActorId, place: Place, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.place = place;
        actor.resolve(out);
        match &actor.place {
            Place::Pending => {}
            Place::Alive { .. } => actor.send_all(out),
            Place::Dead(error) => {
                let error = error.clone();
                actor.fail_unsent(&error, out);
            }
        }
    }

    fn node_died(&mut self, dead: Incarnation, out: &mut Out) {
        for actor in self.actors.values_mut() {
            let on_dead = |call: &Call| call.stage == Stage::Sent && call.sent.is_some_and(|(_, at)| at == dead);
            let lost: Vec<TaskId> =
                actor.calls.iter().filter(|(_, call)| on_dead(call)).map(|(task, _)| *task).collect();
            for task in lost {
                let Some(call) = actor.calls.get_mut(&task) else { continue };
                call.stage = Stage::Lost(format!("its node, {dead}, died"));
                let lane = call.lane;
                actor.unsent.entry(lane).or_default().insert(task);
                actor.back(lane);
            }
            if let Place::Alive { lease, at, .. } = actor.place
                && at == dead
            {
                actor.closed = Some(lease);
            }
            actor.resolve(out);
            actor.send_all(out);
        }
    }
}

impl Actor {
    /// The incarnation calls may be sent to.
    fn open(&self) -> Option<(LeaseId, Incarnation)> {
        match self.place {
            Place::Alive { lease, at, .. } if self.closed != Some(lease) => Some((lease, at)),
            _ => None,
        }
    }

    /// The incarnation a call was sent to takes no more. Of an earlier one than the current one that is known.
    fn close(&mut self, task: TaskId) {
        let sent = self.calls.get(&task).and_then(|call| call.sent);
        if let Some((lease, _)) = sent.filter(|sent| self.open().as_ref() == Some(sent)) {
            self.closed = Some(lease);
        }
    }

    /// A call of this lane is no longer out.
    fn back(&mut self, lane: Lane) {
        self.sent -= 1;
        if let Some((_, out)) = self.out_to.get_mut(&lane) {
            *out -= 1;
            if *out == 0 {
                self.out_to.remove(&lane);
            }
        }
    }

    /// Whether calls of this lane are out to another incarnation than this one.
    fn held_up(&self, lane: Lane, lease: LeaseId) -> bool {
        self.out_to.get(&lane).is_some_and(|(other, _)| *other != lease)
    }

    fn send_all(&mut self, out: &mut Out) {
        let lanes: Vec<Lane> = self.unsent.keys().copied().collect();
        lanes.into_iter().for_each(|lane| self.send(lane, out));
    }

    /// Sends what is ready at the front of a lane.
    fn send(&mut self, lane: Lane, out: &mut Out) {
        let Some((lease, to)) = self.open().filter(|(lease, _)| !self.held_up(lane, *lease)) else { return };
        while self.sent < WINDOW {
            let Some(task) = self.unsent.get(&lane).and_then(|unsent| unsent.first()).copied() else { return };
            let Some(call) = self.calls.get_mut(&task).filter(|call| call.stage == Stage::Ready) else { return };
            call.stage = Stage::Sent;
            call.sent = Some((lease, to));
            self.sent += 1;
            self.out_to.entry(lane).or_insert((lease, 0)).1 += 1;
            self.drop_unsent(lane, task);
            out.push(Effect::Assign { task, lease, to });
        }
    }

    fn drop_unsent(&mut self, lane: Lane, task: TaskId) {
        if let Some(unsent) = self.unsent.get_mut(&lane) {
            unsent.remove(&task);
            if unsent.is_empty() {
                self.unsent.remove(&lane);
            }
        }
    }

    /// Decides lost calls of incarnations that the head has said are over.
    fn resolve(&mut self, out: &mut Out) {
        let current = match self.place {
            Place::Alive { lease, .. } => Some(lease),
            Place::Pending | Place::Dead(_) => None,
        };
        for (task, call) in &mut self.calls {
            let over = call.sent.is_some_and(|(lease, _)| Some(lease) != current);
            let Stage::Lost(why) = &call.stage else { continue };
            if !over {
                continue;
            }
            let message = format!("call {task} was under way when the actor's incarnation ended: {why}");
            let task = *task;
            match &self.place {
                Place::Dead(error) => {
                    out.push(Effect::Fail { task, error: error.clone() });
                    call.stage = Stage::Failed;
                }
                Place::Pending | Place::Alive { .. } => {
                    let error = TaskError::new(TaskErrorKind::ActorUnavailable, message);
                    out.push(Effect::Lost { task, error });
                    call.stage = Stage::Waiting;
                }
            }
        }
    }

    fn fail_unsent(&mut self, error: &TaskError, out: &mut Out) {
        for task in self.unsent.values().flatten() {
            let Some(call) = self.calls.get_mut(task) else { continue };
            if matches!(call.stage, Stage::Waiting | Stage::Ready) {
                call.stage = Stage::Failed;
                out.push(Effect::Fail { task: *task, error: error.clone() });
            }
        }
    }
}

impl Machine for Callers {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, _now: Nanos, event: Event, out: &mut Out) {
        match event {
            Event::HandleAdded { actor, counted } => {
                let actor = self.actor(actor, out);
                actor.handles += 1;
                actor.counted = counted;
            }
            Event::HandleDropped(actor) => self.handle_dropped(actor, out),
            Event::Submitted { task, actor, handle, limit } => self.submitted(task, actor, handle, limit, out),
            Event::Ready { task, actor } => self.ready(task, actor, out),
            Event::Unready(task) => {
                // The owner took its slot back; it was not sent after all.
                if let Some(actor) = self.unsend(task, Stage::Waiting) {
                    actor.send_all(out);
                }
            }
            Event::Over(task) => self.over(task, out),
            Event::HandedBack { task, closed } => self.handed_back(task, closed, out),
            Event::Crashed { task, why } => self.crashed(task, why, out),
            Event::Status { actor, place } => self.status(actor, place, out),
            Event::Killed(actor) => {
                if let Some(actor) = self.actors.get_mut(&actor)
                    && let Some((lease, _)) = actor.open()
                {
                    actor.closed = Some(lease);
                }
            }
            Event::NodeDied(dead) => self.node_died(dead, out),
        }
    }

    fn check(&self) -> Result<(), Violation> {
        for (id, actor) in &self.actors {
            let sent = actor.calls.values().filter(|call| call.stage == Stage::Sent).count();
            Violation::unless(sent == actor.sent, "callers-sent", || format!("{id}: {sent} are, {} said", actor.sent))?;
            let out: usize = actor.out_to.values().map(|(_, out)| out).sum();
            let of_lane = |lane: &Lane| actor.out_to.get(lane).map(|(lease, _)| *lease);
            let mut sent_calls = actor.calls.values().filter(|call| call.stage == Stage::Sent);
            let one = sent_calls.all(|call| call.sent.map(|(lease, _)| lease) == of_lane(&call.lane));
            Violation::unless(one && out == sent, "I12-one-incarnation-per-lane", || {
                format!("{id}: {:?}", actor.out_to)
            })?;
            for (lane, unsent) in &actor.unsent {
                let known = unsent.iter().all(|task| {
                    actor.calls.get(task).is_some_and(|call| call.lane == *lane && call.stage != Stage::Sent)
                });
                Violation::unless(known && !unsent.is_empty(), "callers-lane", || {
                    format!("{id}: {lane:?}: {unsent:?}")
                })?;
                let front = unsent.first().and_then(|task| actor.calls.get(task));
                let open = actor.open().is_some_and(|(lease, _)| !actor.held_up(*lane, lease));
                let stuck = open && front.is_some_and(|call| call.stage == Stage::Ready);
                Violation::unless(!stuck || actor.sent >= WINDOW, "callers-stuck", || format!("{id}: {lane:?}"))?;
            }
            let used = actor.handles > 0 || !actor.calls.is_empty();
            Violation::unless(used, "callers-idle", || format!("{id} is watched for nobody"))?;
        }
        let calls: usize = self.actors.values().map(|actor| actor.calls.len()).sum();
        Violation::unless(calls == self.calls.len(), "callers-index", || format!("{calls} calls, {}", self.calls.len()))
    }
}
