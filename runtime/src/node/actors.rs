//! Actors at a node: the calls made here, the actors that live here, and the way between them and the other machines.

use super::core::{Core, Running};
use super::input::outcome_words;
use super::words::Output;
use super::worker::Job;
use crate::Error;
use bytes::Bytes;
use mobula_protocol::actor::{
    ActorId, ActorName, ActorSpec, Callers, CallersEffect, CallersEvent, End, Host, HostEffect, HostEvent, Known,
    Place, Word,
};
use mobula_protocol::{
    Attempt, ByteSize, Incarnation, LeaseId, Machine, Message, Nanos, ObjectId, ResultPlace, TaskId,
};
use mobula_protocol::{TaskOutcome, TaskSpec, Violation, owner};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Takes the answer to a question for a named actor.
pub type KnownReply = oneshot::Sender<Result<Known, Error>>;

/// What the application and the actors' workers say.
pub enum ActorInput {
    /// The application creates an actor, and holds its first handle.
    Create(Arc<ActorSpec>, Option<KnownReply>),
    /// It looks for one by name.
    Find(ActorName, KnownReply),
    /// It calls a method.
    Call {
        /// The call.
        spec: Arc<TaskSpec>,
        /// The actor.
        actor: ActorId,
        /// Through which handle; 0 if order does not matter.
        handle: u64,
        /// Most unfinished calls of the handle.
        limit: Option<u32>,
        /// The attempt that calls; none if it is a driver.
        parent: Option<(TaskId, Attempt)>,
    },
    /// It has one more handle. `counted`: handles keep the actor alive.
    HandleAdded {
        /// The actor.
        actor: ActorId,
        /// See above.
        counted: bool,
    },
    /// It dropped one.
    HandleDropped(ActorId),
    /// It ends an actor.
    Kill {
        /// The actor.
        actor: ActorId,
        /// Without waiting for its calls.
        force: bool,
        /// It may be started again.
        restart: bool,
    },
    /// It asks where an actor is; answered with `Pending` if this process does not know yet.
    Where(ActorId, oneshot::Sender<Place>),
    /// A worker made its actor, or failed to.
    Constructed(LeaseId, Result<(), End>),
    /// A worker finished a call.
    Finished(TaskId, Attempt, TaskOutcome, Nanos),
    /// A worker dropped a call it was told to skip.
    Skipped(TaskId, Attempt),
    /// A worker saved its actor's state.
    State(LeaseId, Result<Bytes, Error>),
    /// A worker has returned.
    WorkerStopped(LeaseId),
}

/// What the shell must do with the worker of an actor's lease.
pub enum ActorOutput {
    /// Start it, and make the actor: from the state if there is one, else by its constructor with these arguments.
    Construct {
        /// The lease.
        lease: LeaseId,
        /// The actor.
        spec: Arc<ActorSpec>,
        /// Which incarnation, from 1.
        incarnation: Attempt,
        /// Arguments' values, in order.
        args: Vec<Bytes>,
        /// A saved state.
        state: Option<Bytes>,
    },
    /// Append a call to its queue.
    Run(LeaseId, Box<Job>),
    /// Take one out if it has not begun.
    Skip(LeaseId, TaskId, Attempt),
    /// Append: save the state.
    Save(LeaseId),
    /// End it as soon as what runs allows.
    Stop(LeaseId),
}

/// The machines for actors, and who waits for an answer from the head.
#[derive(Default)]
pub(super) struct Actors {
    pub callers: Callers,
    pub host: Host,
    created: BTreeMap<ActorId, KnownReply>,
    found: BTreeMap<u64, KnownReply>,
    questions: u64,
    callers_out: Vec<CallersEffect>,
    host_out: Vec<HostEffect>,
}

impl Actors {
    pub fn check(&self) -> Result<(), Violation> {
        self.callers.check()?;
        self.host.check()
    }
}

impl Core {
    pub(super) fn actor_input(&mut self, input: ActorInput) {
        match input {
            ActorInput::Create(spec, reply) => self.create_actor(spec, reply),
            ActorInput::Find(name, reply) => {
                self.actors.questions += 1;
                let request = self.actors.questions;
                self.actors.found.insert(request, reply);
                self.send(Incarnation::HEAD, Message::Actor(Word::Find { request, name }));
            }
            ActorInput::Call { spec, actor, handle, limit, parent } => {
                let child = spec.id;
                self.log("call", format_args!("{} {} of {actor}", spec.label, spec.id));
                self.tell_callers(CallersEvent::Submitted { task: spec.id, actor, handle, limit });
                self.tell_owner(owner::Event::Submit(spec));
                if let Some(parent) = parent {
                    self.adopt_child(parent, child);
                }
            }
            ActorInput::HandleAdded { actor, counted } => {
                self.tell_callers(CallersEvent::HandleAdded { actor, counted });
            }
            ActorInput::HandleDropped(actor) => self.tell_callers(CallersEvent::HandleDropped(actor)),
            ActorInput::Kill { actor, force, restart } => {
                if force {
                    self.tell_callers(CallersEvent::Killed(actor));
                }
                self.send(Incarnation::HEAD, Message::Actor(Word::Kill { actor, force, restart }));
            }
            ActorInput::Where(actor, reply) => {
                let place = self.actors.callers.place(actor).cloned().unwrap_or(Place::Pending);
                // Whoever asked may have stopped waiting.
                let _ = reply.send(place);
            }
            ActorInput::Constructed(lease, result) => {
                self.log("constructed", format_args!("{lease}: {}", if result.is_ok() { "alive" } else { "failed" }));
                self.tell_host(HostEvent::Constructed { lease, result });
            }
            ActorInput::Finished(task, attempt, outcome, spent) => {
                self.call_finished(task, attempt, outcome, spent);
            }
            ActorInput::Skipped(task, attempt) => self.tell_host(HostEvent::Skipped((task, attempt))),
            ActorInput::State(lease, state) => self.tell_host(HostEvent::State { lease, state }),
            ActorInput::WorkerStopped(lease) => self.tell_host(HostEvent::WorkerStopped(lease)),
        }
    }

    /// The head becomes a holder of everything the constructor's arguments reach, before it hears of the actor.
    fn create_actor(&mut self, spec: Arc<ActorSpec>, reply: Option<KnownReply>) {
        let id = spec.id();
        if !spec.options.detached {
            let place = ResultPlace::Inline(Bytes::new());
            self.tell_owner(owner::Event::Put { object: id.life(), place, refs: Vec::new() });
            self.tell_owner(owner::Event::WatchScope(id.life()));
        }
        for object in spec.task.reachable() {
            self.register(object, Incarnation::HEAD);
        }
        if let Some(group) = spec.task.class.placement.group() {
            self.publish_group(group);
        }
        self.log("create", format_args!("{} {id}", spec.task.label));
        self.actors.created.extend(reply.map(|reply| (id, reply)));
        self.send(Incarnation::HEAD, Message::Actor(Word::Create(spec)));
    }

    /// Registers a process with an object's owner as a holder of a reference that it is about to be sent.
    fn register(&mut self, object: ObjectId, by: Incarnation) {
        if object.owner() == self.me {
            self.tell_owner(owner::Event::Borrowed { object, by });
        } else {
            self.send(object.owner(), Message::BorrowAdd { object, by });
        }
    }

    fn call_finished(&mut self, task: TaskId, attempt: Attempt, outcome: TaskOutcome, spent: Nanos) {
        // Its incarnation was stopped meanwhile: nobody will hear of what it made.
        if !self.actors.host.knows((task, attempt)) {
            if let TaskOutcome::Returned(results) = &outcome {
                self.drop_results(task, results);
            }
            return self.log("late-call", format_args!("{task} attempt {} {}", attempt.0, outcome_words(&outcome)));
        }
        if let TaskOutcome::Returned(results) = &outcome {
            self.hand_over(task, results);
        }
        self.log("finish-call", format_args!("{task} attempt {} {}", attempt.0, outcome_words(&outcome)));
        self.tell_host(HostEvent::Finished { key: (task, attempt), outcome, spent });
    }

    pub(super) fn tell_callers(&mut self, event: CallersEvent) {
        self.actors.callers.step(self.now, event, &mut self.actors.callers_out);
    }

    pub(super) fn tell_host(&mut self, event: HostEvent) {
        self.actors.host.step(self.now, event, &mut self.actors.host_out);
    }

    /// Routes the effects of the actor machines. False if there were none.
    pub(super) fn route_actors(&mut self) -> bool {
        let callers = std::mem::take(&mut self.actors.callers_out);
        let host = std::mem::take(&mut self.actors.host_out);
        let moved = !(callers.is_empty() && host.is_empty());
        callers.into_iter().for_each(|effect| self.callers_effect(effect));
        host.into_iter().for_each(|effect| self.host_effect(effect));
        moved
    }

    fn callers_effect(&mut self, effect: CallersEffect) {
        match effect {
            CallersEffect::Assign { task, lease, to } => self.tell_owner(owner::Event::Assigned { task, lease, to }),
            CallersEffect::Lost { task, error } => self.tell_owner(owner::Event::CallLost { task, error }),
            CallersEffect::Fail { task, error } => self.tell_owner(owner::Event::CallFailed { task, error }),
            CallersEffect::Watch(actor) => self.send(Incarnation::HEAD, Message::Actor(Word::Watch(actor))),
            CallersEffect::Unwatch(actor) => self.send(Incarnation::HEAD, Message::Actor(Word::Unwatch(actor))),
            CallersEffect::Hold(actor) => match actor.life() {
                life if life.owner() == self.me => self.tell_owner(owner::Event::RefAdded(life)),
                life => self.hold(life),
            },
            CallersEffect::Unhold(actor) => match actor.life() {
                life if life.owner() == self.me => self.tell_owner(owner::Event::RefDropped(life)),
                life => self.unhold(life),
            },
        }
    }

    fn host_effect(&mut self, effect: HostEffect) {
        match effect {
            HostEffect::Want((task, attempt), objects) => self.want_args(task, attempt, objects),
            HostEffect::Unwant((task, attempt)) => self.drop_args(task, attempt),
            HostEffect::Construct { lease, spec, key, state } => {
                let args = match &state {
                    None => self.gather(&spec.task, key.1, Vec::new()),
                    Some(_) => Vec::new(),
                };
                self.log("construct", format_args!("{} {} incarnation {}", spec.task.label, spec.id(), key.1.0));
                let order = ActorOutput::Construct { lease, spec, incarnation: key.1, args, state };
                self.out.push(Output::Actor(order));
            }
            HostEffect::Release((task, attempt)) => self.attempt_over(task, attempt),
            HostEffect::Run { lease, attempt, spec, inline } => {
                let args = self.gather(&spec, attempt, inline);
                self.out.push(Output::Actor(ActorOutput::Run(lease, Box::new(Job { attempt, spec, args }))));
            }
            HostEffect::Skip(lease, (task, attempt)) => {
                // Also a call of a dead caller: if it streams, nobody will ever take the next item.
                self.children.unwanted((task, attempt));
                self.out.push(Output::Actor(ActorOutput::Skip(lease, task, attempt)));
            }
            HostEffect::SaveState(lease) => self.out.push(Output::Actor(ActorOutput::Save(lease))),
            HostEffect::StopWorker(lease) => self.out.push(Output::Actor(ActorOutput::Stop(lease))),
            HostEffect::Report(to, message) => {
                if let Message::TaskDone { task, attempt, .. } = &message {
                    self.attempt_over(*task, *attempt);
                }
                self.report(to, message);
            }
        }
    }

    /// Acts on a word about actors.
    pub(super) fn actor_word(&mut self, from: Incarnation, word: Word) {
        match word {
            Word::Created { actor, result } => {
                if let Some(reply) = self.actors.created.remove(&actor) {
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(result);
                }
            }
            Word::Found { request, result } => {
                if let Some(reply) = self.actors.found.remove(&request) {
                    let _ = reply.send(result);
                }
            }
            Word::Status { actor, place } => {
                self.log("actor", format_args!("{actor} {}", place_word(&place)));
                self.tell_callers(CallersEvent::Status { actor, place });
            }
            Word::Start { lease, spec, incarnation, checkpoint } => {
                let lent = spec.task.args.iter().filter_map(|arg| match arg {
                    mobula_protocol::Arg::Value(_, refs) => Some(refs),
                    mobula_protocol::Arg::Ref(_) => None,
                });
                let lent: Vec<ObjectId> = lent.flatten().copied().filter(|object| object.owner() != self.me).collect();
                self.arrive(spec.task.id, Attempt(incarnation), lent, false);
                self.tell_host(HostEvent::Start { lease, spec, incarnation, checkpoint });
            }
            Word::Stop { lease, force, last } => self.tell_host(HostEvent::Stop { lease, force, last }),
            Word::Saved { lease, number } => self.tell_host(HostEvent::Saved { lease, number }),
            Word::Call { lease, attempt, spec, inline, handle, settled } => {
                self.arrive(spec.id, attempt, self.lent(&spec), false);
                self.tell_host(HostEvent::Call { from, lease, attempt, spec, inline, handle, settled });
            }
            other => self.log("stray", format_args!("{} from {from}: only the head takes that", other.name())),
        }
    }

    /// An attempt arrives at this node, with references that its sender has registered this node for.
    pub(super) fn arrive(&mut self, task: TaskId, attempt: Attempt, lent: Vec<ObjectId>, rebuildable: bool) {
        lent.iter().for_each(|object| self.holds.inherit(*object));
        let (values, claimed) = (BTreeMap::new(), ByteSize::ZERO);
        let running = Running { wanted: None, values, lent, rebuildable, claimed };
        self.attempts.insert((task, attempt), running);
    }

    /// A host reports the end of an attempt of a call of ours.
    pub(super) fn call_done(&mut self, from: Incarnation, task: TaskId, attempt: Attempt, outcome: TaskOutcome) {
        match outcome {
            TaskOutcome::Crashed(why) if self.actors.callers.knows(task) => {
                self.tell_owner(owner::Event::Started { task, attempt });
                self.tell_callers(CallersEvent::Crashed { task, why });
            }
            outcome => {
                if let TaskOutcome::HandedBack(object) = &outcome {
                    self.tell_callers(CallersEvent::HandedBack { task, closed: object.is_none() });
                }
                self.tell_owner(owner::Event::Done { from, task, attempt, outcome });
            }
        }
    }
}

fn place_word(place: &Place) -> String {
    match place {
        Place::Pending => "is pending".to_owned(),
        Place::Alive { lease, at, incarnation } => format!("incarnation {incarnation} is at {at} under {lease}"),
        Place::Dead(error) => format!("is dead: {error}"),
    }
}
