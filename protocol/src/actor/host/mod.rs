//! The host's side of actors: their calls in order, one reply each, and checkpoints.
//!
//! # States of an incarnation here
//! ```text
//!  Start --> fetching --ArgsReady--> constructing --Constructed--> alive --+--> ending --WorkerStopped--> gone: Ended
//!               | ArgFailed, Stop        | failed, Stop            Stop,   |
//!               v                        +----------->-------------crash --+
//!              gone: Ended
//! ```
//! # States of a call
//! ```text
//!  Call --> fetching --ArgsReady--> ready --(front of its lane, a slot)--> started --Finished--> [withheld] --> TaskDone
//! ```
//! # Guarantees
//! - Calls of one lane (a handle of a caller) start in order of arrival; one that waits for an argument holds back its
//!   lane, not the others. It is not handed back meanwhile: the actor keeps its resources anyway.
//! - *Started* means appended to the worker's queue. An actor of concurrency one has up to [`BATCH`] calls there, which
//!   the worker runs one after the other; a concurrent one at most as many as may run together (I13).
//! - Every call ends in exactly one `TaskDone`, unless its caller died.
//! - **Exactly once.** A reply is withheld until the head has a checkpoint with the call's effect and the reply. The
//!   reply stays in the cache, and in every later checkpoint, until its caller says that it has it, or is dead. If the
//!   incarnation ends first the call is handed back: its effect is gone with the state.
//! - At most one checkpoint is under way; what ends meanwhile is covered by the next (group commit). An incarnation
//!   begins with one call at a time and doubles that with each checkpoint, up to [`BATCH`]: one that crashes again and
//!   again still gets at least one call further, if that call is not the cause.
//! - When the worker crashes or is stopped by force, the head hears when the worker has returned. Callers hear at once of
//!   what had not begun; of a call that may still end, when it has, unless no other incarnation can run it.
//! - An incarnation has a lease of this node all its life. When its bundle is taken back with its placement group it ends
//!   at once, and one that the head asks for after that never begins ([`End::Evicted`]).
//! - Only a call that may have begun is charged to its caller.
//!
//! # Must not happen
//! A call run that the reply cache knows; a reply sent that no checkpoint has, where that was asked for.

mod calls;
mod save;
#[cfg(test)]
mod tests;

use super::types::{ActorSpec, Checkpoint, End};
use super::words::Word;
use crate::Violation;
use crate::{
    Attempt, Incarnation, LeaseId, Machine, Message, Nanos, ObjectId, TaskError, TaskId, TaskOutcome, TaskSpec,
};
use bytes::Bytes;
use calls::Calls;
use save::{Saving, Withheld};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most calls in the queue of a worker that runs one at a time.
pub const BATCH: usize = 64;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The node granted the head a lease.
    Leased(LeaseId),
    /// That lease is over: returned by the head after the incarnation, or taken back with the bundle it was in.
    LeaseEnded(LeaseId),
    /// The head wants an incarnation here.
    Start {
        /// Its lease.
        lease: LeaseId,
        /// The actor.
        spec: Arc<ActorSpec>,
        /// Which incarnation.
        incarnation: u32,
        /// The state to start from.
        checkpoint: Option<Checkpoint>,
    },
    /// A caller calls.
    Call {
        /// Who.
        from: Incarnation,
        /// The incarnation it means.
        lease: LeaseId,
        /// Which attempt.
        attempt: Attempt,
        /// The call.
        spec: Arc<TaskSpec>,
        /// Positions and values of reference arguments that came along.
        inline: Vec<(u32, Bytes)>,
        /// The lane; 0 for none.
        handle: u64,
        /// Below it every call of this caller is settled.
        settled: u64,
    },
    /// Everything asked for with [`Effect::Want`] is here and pinned.
    ArgsReady(Key),
    /// An argument is not to be had at the moment.
    ArgUnavailable(Key, ObjectId),
    /// An argument will never be had.
    ArgFailed(Key, ObjectId),
    /// The constructor (or `restore`) is over. After an error the worker stops by itself.
    Constructed {
        /// Of this incarnation.
        lease: LeaseId,
        /// How.
        result: Result<(), End>,
    },
    /// A call is over. After [`TaskOutcome::Crashed`] the worker stops by itself; of a stopped worker that is how a call
    /// ends that was interrupted.
    Finished {
        /// The call.
        key: Key,
        /// How it ended.
        outcome: TaskOutcome,
        /// How long it ran.
        spent: Nanos,
    },
    /// The worker dropped a call it was told to skip.
    Skipped(Key),
    /// The state after every call finished before, or why it cannot be had.
    State {
        /// Of this incarnation.
        lease: LeaseId,
        /// The state.
        state: Result<Bytes, TaskError>,
    },
    /// The head has a checkpoint.
    Saved {
        /// Of this incarnation.
        lease: LeaseId,
        /// Which.
        number: u64,
    },
    /// The caller does not want this call any more.
    Cancel(Key),
    /// The head wants the incarnation to end.
    Stop {
        /// Which.
        lease: LeaseId,
        /// Without waiting for its calls.
        force: bool,
        /// No other incarnation follows.
        last: bool,
    },
    /// Nothing of the worker runs any more.
    WorkerStopped(LeaseId),
    /// Membership declared this caller dead.
    OwnerDied(Incarnation),
}

/// What must be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make these objects local and pin them. Never empty.
    Want(Key, Vec<ObjectId>),
    /// They are no longer wanted.
    Unwant(Key),
    /// Start a worker and make the actor: from the state if there is one, else by its constructor.
    Construct {
        /// The incarnation.
        lease: LeaseId,
        /// The actor.
        spec: Arc<ActorSpec>,
        /// The constructor's attempt.
        key: Key,
        /// The state.
        state: Option<Bytes>,
    },
    /// The constructor's arguments are no longer in use.
    Release(Key),
    /// Append to the worker's queue.
    Run {
        /// The incarnation.
        lease: LeaseId,
        /// Which attempt.
        attempt: Attempt,
        /// The call.
        spec: Arc<TaskSpec>,
        /// Values that came along.
        inline: Vec<(u32, Bytes)>,
    },
    /// Take it out of the worker's queue and say [`Event::Skipped`]; if it runs already, let it know that nobody wants it.
    Skip(LeaseId, Key),
    /// Append to the worker's queue: save the state and say [`Event::State`].
    SaveState(LeaseId),
    /// Stop the worker as soon as what it runs allows, forget its queue, and say [`Event::WorkerStopped`]. Nothing to do if
    /// there is none.
    StopWorker(LeaseId),
    /// Send this.
    Report(Incarnation, Message),
}

/// A call, or a constructor: the actor's id and the number of the incarnation.
pub type Key = (TaskId, Attempt);

type Out = Vec<Effect>;

/// Which of the started calls may have begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    /// This one; with several at a time, all.
    Only(Key),
    /// None: the worker has returned, and said of all others how they ended.
    None,
    /// All, as far as callers need to know.
    All,
    /// Some, which will still be heard of.
    Unknown,
}

#[derive(Debug)]
enum Stage {
    Fetching,
    Constructing,
    Alive,
    /// Waits for the worker to stop.
    Ending(End),
}

#[derive(Debug)]
struct Actor {
    spec: Arc<ActorSpec>,
    /// Of the constructor.
    key: Key,
    stage: Stage,
    /// A graceful end was asked for.
    stopping: bool,
    /// To start from.
    state: Option<Bytes>,
    calls: Calls,
    saving: Saving,
}

/// The actors of one node. See the module's documentation.
#[derive(Debug)]
pub struct Host {
    actors: BTreeMap<LeaseId, Actor>,
    /// The incarnation of each call and constructor here.
    keys: BTreeMap<Key, LeaseId>,
    /// Leases of the head on this node.
    leased: BTreeSet<LeaseId>,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// No actors.
    pub fn new() -> Self {
        Self { actors: BTreeMap::new(), keys: BTreeMap::new(), leased: BTreeSet::new() }
    }

    /// Whether this is a call or a constructor here.
    pub fn knows(&self, key: Key) -> bool {
        self.keys.contains_key(&key)
    }

    /// Incarnations here.
    pub fn actors(&self) -> usize {
        self.actors.len()
    }

    /// Calls here that are not over.
    pub fn calls(&self) -> usize {
        self.keys.len()
    }

    fn start(
        &mut self,
        lease: LeaseId,
        spec: Arc<ActorSpec>,
        incarnation: u32,
        from: Option<Checkpoint>,
        out: &mut Out,
    ) {
        let key = (spec.task.id, Attempt(incarnation));
        if !self.leased.contains(&lease) {
            // The bundle went while the head's word was on its way.
            return out.extend([Effect::Release(key), say(Word::Ended { lease, end: End::Evicted })]);
        }
        let limit = match spec.options.concurrency {
            0..=1 if spec.options.exactly_once => 1,
            0..=1 => BATCH,
            several => several as usize,
        };
        let mut objects: Vec<ObjectId> = spec.task.refs().collect();
        objects.sort_unstable();
        objects.dedup();
        let state = from.as_ref().map(|checkpoint| checkpoint.state.clone());
        let actor = Actor {
            key,
            stage: Stage::Fetching,
            stopping: false,
            // A state stands for the constructor and its arguments.
            state: state.clone(),
            calls: Calls::new(limit, spec.options.ordered),
            saving: Saving::new(&spec.options, from),
            spec,
        };
        self.actors.insert(lease, actor);
        self.keys.insert(key, lease);
        if objects.is_empty() || state.is_some() {
            self.construct(lease, out);
        } else {
            out.push(Effect::Want(key, objects));
        }
    }

    fn construct(&mut self, lease: LeaseId, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        actor.stage = Stage::Constructing;
        let (spec, key, state) = (actor.spec.clone(), actor.key, actor.state.take());
        out.push(Effect::Construct { lease, spec, key, state });
    }

    fn constructed(&mut self, lease: LeaseId, result: Result<(), End>, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        if self.keys.remove(&actor.key).is_some() {
            out.push(Effect::Release(actor.key));
        }
        match (&actor.stage, result) {
            (Stage::Constructing, Ok(())) => {
                actor.stage = Stage::Alive;
                out.push(say(Word::Started(lease)));
                self.rest(lease, out);
            }
            (Stage::Constructing, Err(end)) => actor.stage = Stage::Ending(end),
            // It was stopped meanwhile.
            _ => {}
        }
    }

    fn stop(&mut self, lease: LeaseId, force: bool, last: bool, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        match actor.stage {
            Stage::Fetching => {
                out.extend([Effect::Unwant(actor.key), Effect::Release(actor.key)]);
                self.gone(lease, End::Stopped, out);
            }
            Stage::Constructing | Stage::Alive if force => {
                out.push(Effect::StopWorker(lease));
                let begun = if last { Begun::All } else { Begun::Unknown };
                self.wind_up(lease, End::Stopped, "it was killed", begun, out);
            }
            Stage::Constructing | Stage::Alive => {
                actor.stopping = true;
                self.rest(lease, out);
            }
            Stage::Ending(_) => {}
        }
    }

    /// The lease is over. If its incarnation lives, the node took it back, and no other one follows. In any case the worker's
    /// queue goes with it: one that ended by itself left calls there, with their arguments.
    fn lease_ended(&mut self, lease: LeaseId, out: &mut Out) {
        self.leased.remove(&lease);
        out.push(Effect::StopWorker(lease));
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        match actor.stage {
            Stage::Fetching => {
                out.extend([Effect::Unwant(actor.key), Effect::Release(actor.key)]);
                self.gone(lease, End::Evicted, out);
            }
            Stage::Constructing | Stage::Alive => {
                self.wind_up(lease, End::Evicted, "its placement group was removed", Begun::All, out);
            }
            Stage::Ending(_) => {}
        }
    }

    /// Ends a gracefully stopping incarnation that has nothing left to do.
    fn rest(&mut self, lease: LeaseId, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        if actor.stopping && matches!(actor.stage, Stage::Alive) && actor.calls.is_empty() && actor.saving.is_idle() {
            actor.stage = Stage::Ending(End::Stopped);
            out.push(Effect::StopWorker(lease));
        }
    }

    /// No call is begun any more: callers are told. What the effect of is gone with the state never happened.
    fn wind_up(&mut self, lease: LeaseId, end: End, why: &str, begun: Begun, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        actor.stage = Stage::Ending(end);
        let (undone, together) = (actor.spec.options.exactly_once, actor.spec.options.concurrency > 1);
        for key in actor.calls.arrivals() {
            let Some(call) = actor.calls.get(key) else { continue };
            let started = call.started;
            if started && begun == Begun::Unknown {
                continue;
            }
            let ran = started
                && match begun {
                    Begun::Only(crashed) => together || key == crashed,
                    Begun::None => false,
                    Begun::All | Begun::Unknown => true,
                };
            let charged = ran && !undone;
            let outcome = if charged { TaskOutcome::Crashed(why.to_owned()) } else { TaskOutcome::HandedBack(None) };
            out.push(done(call.from, lease, key, outcome, Nanos::ZERO));
            actor.calls.remove(key);
            self.keys.remove(&key);
        }
        for Withheld { to, key, .. } in actor.saving.give_up() {
            out.push(done(to, lease, key, TaskOutcome::HandedBack(None), Nanos::ZERO));
        }
    }

    fn gone(&mut self, lease: LeaseId, end: End, out: &mut Out) {
        if let Some(actor) = self.actors.remove(&lease) {
            self.keys.remove(&actor.key);
            out.push(say(Word::Ended { lease, end }));
        }
    }

    fn worker_stopped(&mut self, lease: LeaseId, out: &mut Out) {
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        if self.keys.remove(&actor.key).is_some() {
            out.push(Effect::Release(actor.key));
        }
        let end = match &actor.stage {
            Stage::Ending(end) => end.clone(),
            _ => End::Crashed("its worker ended by itself".to_owned()),
        };
        self.wind_up(lease, end.clone(), "its worker was stopped", Begun::None, out);
        self.gone(lease, end, out);
    }

    fn arg_failed(&mut self, key: Key, object: ObjectId, for_good: bool, out: &mut Out) {
        let Some(lease) = self.keys.get(&key).copied() else { return };
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        if key == actor.key {
            if matches!(actor.stage, Stage::Fetching) {
                out.extend([Effect::Unwant(key), Effect::Release(key)]);
                self.gone(lease, End::HandedBack(Some(object)), out);
            }
        } else if for_good && let Some(call) = actor.calls.remove(key) {
            self.keys.remove(&key);
            out.push(done(call.from, lease, key, TaskOutcome::HandedBack(Some(object)), Nanos::ZERO));
            self.fill(lease, out);
        }
    }

    fn args_ready(&mut self, key: Key, out: &mut Out) {
        let Some(lease) = self.keys.get(&key).copied() else { return };
        let Some(actor) = self.actors.get_mut(&lease) else { return };
        if key != actor.key {
            actor.calls.ready(key);
            self.fill(lease, out);
        } else if matches!(actor.stage, Stage::Fetching) {
            self.construct(lease, out);
        }
    }
}

impl Machine for Host {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, _now: Nanos, event: Event, out: &mut Out) {
        match event {
            Event::Leased(lease) => drop(self.leased.insert(lease)),
            Event::LeaseEnded(lease) => self.lease_ended(lease, out),
            Event::Start { lease, spec, incarnation, checkpoint } => {
                self.start(lease, spec, incarnation, checkpoint, out);
            }
            Event::Call { from, lease, attempt, spec, inline, handle, settled } => {
                self.call(from, lease, attempt, calls::Push { spec, inline, handle, settled }, out);
            }
            Event::ArgsReady(key) => self.args_ready(key, out),
            Event::ArgUnavailable(key, object) => self.arg_failed(key, object, false, out),
            Event::ArgFailed(key, object) => self.arg_failed(key, object, true, out),
            Event::Constructed { lease, result } => self.constructed(lease, result, out),
            Event::Finished { key, outcome, spent } => self.finished(key, outcome, spent, out),
            Event::Skipped(key) => self.dropped(key, out),
            Event::State { lease, state } => self.saved_state(lease, state, out),
            Event::Saved { lease, number } => self.saved(lease, number, out),
            Event::Cancel(key) => self.cancel(key, out),
            Event::Stop { lease, force, last } => self.stop(lease, force, last, out),
            Event::WorkerStopped(lease) => self.worker_stopped(lease, out),
            Event::OwnerDied(dead) => self.owner_died(dead, out),
        }
    }

    fn check(&self) -> Result<(), Violation> {
        let mut calls = 0;
        for (lease, actor) in &self.actors {
            let ending = matches!(actor.stage, Stage::Ending(_));
            Violation::unless(ending || self.leased.contains(lease), "host-leased", || format!("{lease} is not held"))?;
            actor.calls.check(*lease)?;
            actor.saving.check(*lease, matches!(actor.stage, Stage::Alive))?;
            calls += actor.calls.len() + usize::from(self.keys.contains_key(&actor.key));
            let idle = !ending || actor.calls.waiting() == 0;
            Violation::unless(idle, "host-ending", || format!("{lease} ends with calls that have not begun"))?;
        }
        Violation::unless(calls == self.keys.len(), "host-keys", || format!("{calls} calls, {} keys", self.keys.len()))
    }
}

fn say(word: Word) -> Effect {
    Effect::Report(Incarnation::HEAD, Message::Actor(word))
}

fn done(to: Incarnation, lease: LeaseId, (task, attempt): Key, outcome: TaskOutcome, spent: Nanos) -> Effect {
    Effect::Report(to, Message::TaskDone { lease, task, attempt, outcome, spent })
}
