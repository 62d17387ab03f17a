//! What an actor is, and how it can end.

use crate::{Incarnation, LeaseId, ObjectId, Retries, TaskError, TaskErrorKind, TaskId, TaskOutcome, TaskSpec};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The most a checkpoint may weigh, replies included: it travels in one message.
pub const CHECKPOINT_LIMIT: usize = 16 << 20;

/// An actor, named by its creator and the creator's own counter of tasks. All its incarnations share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActorId(pub TaskId);

impl ActorId {
    /// The object whose references are the actor's handles: when it goes out of scope, nobody can call the actor.
    pub const fn life(self) -> ObjectId {
        self.0.result(0)
    }

    /// Whose death ends the actor, unless it is detached.
    pub const fn owner(self) -> Incarnation {
        self.0.owner
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{}@{}", self.0.seq, self.0.owner)
    }
}

/// A name in a namespace: at most one living actor has it (I15).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActorName {
    /// The namespace; empty is the default one.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// What a creator may choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorOptions {
    /// How often it is started again after a crash of its worker or its node. `None` is without limit.
    pub max_restarts: Option<u32>,
    /// How many calls may run at the same time. More than one only for methods that share the state.
    pub concurrency: u32,
    /// Whether calls through one handle start in order.
    pub ordered: bool,
    /// Whether the class can save and restore its state.
    pub checkpointed: bool,
    /// Whether replies wait until a checkpoint has them.
    pub exactly_once: bool,
    /// Finished calls after which a checkpoint is taken, if replies do not wait for it.
    pub checkpoint_every: u32,
    /// Its name, if it has one.
    pub name: Option<ActorName>,
    /// If the name is taken, use that actor instead.
    pub get_if_exists: bool,
    /// Whether it outlives its creator and its handles.
    pub detached: bool,
    /// Budgets of its calls, unless a call says otherwise.
    pub calls: Retries,
    /// Most unfinished calls through one handle.
    pub max_pending_calls: Option<u32>,
}

impl Default for ActorOptions {
    fn default() -> Self {
        Self {
            max_restarts: Some(0),
            concurrency: 1,
            ordered: true,
            checkpointed: false,
            exactly_once: false,
            checkpoint_every: 1,
            name: None,
            get_if_exists: false,
            detached: false,
            // At most once: whether a call that was under way has run cannot be known.
            calls: Retries { crashes: Some(0), errors: Some(0), losses: Some(0), memory: Some(0) },
            max_pending_calls: None,
        }
    }
}

/// An actor as its creator describes it. Every incarnation is made from the same specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorSpec {
    /// The constructor as a task that returns nothing: its id is the actor's.
    pub task: Arc<TaskSpec>,
    /// The rest.
    pub options: ActorOptions,
}

impl ActorSpec {
    /// The actor's name.
    pub fn id(&self) -> ActorId {
        ActorId(self.task.id)
    }
}

/// Where an actor is, as the head tells those who call it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Not yet anywhere, or not anywhere at the moment: waiting for arguments or room, or being started (again).
    Pending,
    /// It takes calls.
    Alive {
        /// The lease that names this incarnation.
        lease: LeaseId,
        /// The node.
        at: Incarnation,
        /// Which incarnation, from 1.
        incarnation: u32,
    },
    /// For ever nowhere; the error is what calls fail with.
    Dead(TaskError),
}

/// A state to start from instead of the constructor, and the calls whose effect it includes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Counts up over all incarnations.
    pub number: u64,
    /// What the class's `save` returned, encoded.
    pub state: Bytes,
    /// How each included call ended, as far as its caller may still ask.
    pub replies: Vec<(TaskId, TaskOutcome)>,
}

impl Checkpoint {
    /// About how many bytes it takes on the wire.
    pub fn weight(&self) -> usize {
        self.state.len() + self.replies.iter().map(|(_, outcome)| 32 + outcome.weight()).sum::<usize>()
    }
}

/// How an incarnation ended at its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It was told to stop.
    Stopped,
    /// Its worker died.
    Crashed(String),
    /// Its constructor, its `save` or its `restore` failed: it will not be tried again.
    Failed(TaskError),
    /// It did not begin: this argument was not to be had at the moment, or its lease was gone. Costs no restart.
    HandedBack(Option<ObjectId>),
    /// Its lease was taken back: the bundle it was in is gone, and that only happens when its placement group is.
    Evicted,
}

/// Why an actor is dead, for programs to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ActorDeath {
    /// Its constructor failed, or an argument of it could not be had.
    Init,
    /// Its worker died, and no restart was left.
    Crashed,
    /// Its node died, and no restart was left.
    NodeDied,
    /// Its node was taken away after it had been told to drain, and the actor is one that is never restarted.
    Preempted,
    /// It was killed.
    Killed,
    /// Nobody had a handle to it any more.
    OutOfScope,
    /// Its creator's process died.
    OwnerDied,
    /// No node can ever hold it.
    Unschedulable,
    /// The placement group it was in was removed, or the process that made the group died.
    GroupRemoved,
    /// Its name was taken when it was created.
    NameTaken,
    /// Its state could not be saved.
    Checkpoint,
    /// The head knows no such actor, or no longer.
    Unknown,
}

impl ActorDeath {
    /// The reason code that scenario files and messages use.
    pub fn code(self) -> &'static str {
        self.into()
    }

    /// The error of an actor that died so.
    pub fn error(self, message: impl Into<String>) -> TaskError {
        TaskError::new(TaskErrorKind::ActorDied(self), message)
    }
}

impl fmt::Display for ActorDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
