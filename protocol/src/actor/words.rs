//! What callers, hosts and the head say to each other about actors, besides the words of tasks.

use super::types::{ActorId, ActorName, ActorOptions, ActorSpec, Checkpoint, End, Place};
use crate::{Attempt, LeaseId, TaskError, TaskSpec};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An actor, and what a handle to it must know.
pub type Known = (ActorId, Box<ActorOptions>);

/// A message about an actor. Like all messages, in order and exactly once between two incarnations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// Creator to head: let there be an actor. A named one is answered with [`Word::Created`].
    Create(Arc<ActorSpec>),
    /// Head to creator: the actor behind the name, which is another one if it existed and that was allowed.
    Created {
        /// The actor asked for.
        actor: ActorId,
        /// The one to use, or why there is none.
        result: Result<Known, TaskError>,
    },
    /// Caller to head: tell me where it is, now and whenever that changes.
    Watch(ActorId),
    /// Caller to head: no longer.
    Unwatch(ActorId),
    /// Head to caller: this is where it is.
    Status {
        /// The actor.
        actor: ActorId,
        /// Where.
        place: Place,
    },
    /// Anyone to head: which actor has this name?
    Find {
        /// Number of the question.
        request: u64,
        /// The name.
        name: ActorName,
    },
    /// Head: that one.
    Found {
        /// Number of the question.
        request: u64,
        /// The actor, or why there is none.
        result: Result<Known, TaskError>,
    },
    /// Anyone to head: end it.
    Kill {
        /// The actor.
        actor: ActorId,
        /// Without waiting for the calls it has.
        force: bool,
        /// It may be started again, as after a crash.
        restart: bool,
    },
    /// Creator to head: nobody has a handle any more.
    OutOfScope(ActorId),

    /// Head to host: start an incarnation under this lease.
    Start {
        /// The lease.
        lease: LeaseId,
        /// The actor.
        spec: Arc<ActorSpec>,
        /// From 1; the attempt of the constructor.
        incarnation: u32,
        /// The state to start from, if there is one.
        checkpoint: Option<Checkpoint>,
    },
    /// Host to head: it takes calls now.
    Started(LeaseId),
    /// Head to host: end it, after the calls it has unless forced.
    Stop {
        /// The lease.
        lease: LeaseId,
        /// Now.
        force: bool,
        /// No other incarnation follows, so callers need not wait until this one's worker has returned.
        last: bool,
    },
    /// Host to head: the incarnation is over, and nothing of it runs any more.
    Ended {
        /// The lease.
        lease: LeaseId,
        /// How.
        end: End,
    },
    /// Host to head: keep this.
    Save {
        /// The lease.
        lease: LeaseId,
        /// What.
        checkpoint: Checkpoint,
    },
    /// Head to host: I have it.
    Saved {
        /// The lease.
        lease: LeaseId,
        /// Number of the checkpoint.
        number: u64,
    },

    /// Caller to host: run this call. Answered with `TaskDone`.
    Call {
        /// The incarnation.
        lease: LeaseId,
        /// Which attempt of the call.
        attempt: Attempt,
        /// The call.
        spec: Arc<TaskSpec>,
        /// Values of reference arguments that the caller holds inline, by argument position.
        inline: Vec<(u32, Bytes)>,
        /// Through which of the caller's handles; 0 if it has no place in any order.
        handle: u64,
        /// The caller has the result of every earlier call of its own up to this number.
        settled: u64,
    },
}

impl Word {
    /// What [`Word::name`] can be, in the order of the definition.
    pub const NAMES: [&'static str; 16] = [
        "CreateActor",
        "ActorCreated",
        "WatchActor",
        "UnwatchActor",
        "ActorStatus",
        "FindActor",
        "ActorFound",
        "KillActor",
        "ActorOutOfScope",
        "StartActor",
        "ActorStarted",
        "StopActor",
        "ActorEnded",
        "SaveActor",
        "ActorSaved",
        "CallActor",
    ];

    /// The method name that scenario files use in `rpc = { method = ... }`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "CreateActor",
            Self::Created { .. } => "ActorCreated",
            Self::Watch(_) => "WatchActor",
            Self::Unwatch(_) => "UnwatchActor",
            Self::Status { .. } => "ActorStatus",
            Self::Find { .. } => "FindActor",
            Self::Found { .. } => "ActorFound",
            Self::Kill { .. } => "KillActor",
            Self::OutOfScope(_) => "ActorOutOfScope",
            Self::Start { .. } => "StartActor",
            Self::Started(_) => "ActorStarted",
            Self::Stop { .. } => "StopActor",
            Self::Ended { .. } => "ActorEnded",
            Self::Save { .. } => "SaveActor",
            Self::Saved { .. } => "ActorSaved",
            Self::Call { .. } => "CallActor",
        }
    }
}
