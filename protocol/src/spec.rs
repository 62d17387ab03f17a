//! What a task is, in terms any language could write down (functions by name: decision D8), and how it can fail (D10).

use crate::actor::{ActorDeath, ActorId};
use crate::{ByteSize, FunctionId, GroupId, Incarnation, Labels, ObjectId, Resources, TaskId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The most bytes of values that travel inside one message of a task, arguments or results; what goes beyond it is stored
/// and fetched like any large value. (Ray: `task_rpc_inlined_bytes_limit`, 10 MiB; ours is what a link sends at once.)
pub const INLINE_TOTAL: ByteSize = ByteSize(1 << 20);

/// One argument of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arg {
    /// A value in the store's format, and the references inside it, which stay references for the task.
    Value(Bytes, Vec<ObjectId>),
    /// An object whose value must be on the node, sealed and pinned, before the task starts (invariant I9).
    Ref(ObjectId),
}

/// Where a task may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Placement {
    /// Wherever the policy likes.
    #[default]
    Any,
    /// As evenly over the nodes as they allow.
    Spread,
    /// On the node of this name. Hard: nowhere else, and an error if that node is dead. Soft: elsewhere if it is dead.
    Node {
        /// The node's name.
        name: String,
        /// Whether another node will do.
        soft: bool,
    },
    /// On a node that has all these labels.
    Labels(Labels),
    /// In this actor, as a call of one of its methods.
    Actor(ActorId),
    /// Inside a placement group of the submitter: in one bundle, or in any. What the task needs is taken from there.
    Group {
        /// The group.
        group: GroupId,
        /// Which bundle; `None` is any.
        index: Option<u32>,
    },
}

impl Placement {
    /// The placement group it names, if it does.
    pub fn group(&self) -> Option<GroupId> {
        match self {
            Self::Group { group, .. } => Some(*group),
            _ => None,
        }
    }
}

/// Whose turn it is when there is not room for all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Share {
    /// Of those who wait at a node, the highest priority is served first, always.
    pub priority: i32,
    /// Tasks of one group share what the group gets. A job is a group; so is anything else that should have its part.
    pub group: Arc<str>,
    /// Groups of one priority get parts of a full node in proportion to their weights. At least 1.
    pub weight: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self { priority: 0, group: Arc::from(""), weight: 1 }
    }
}

/// What tasks must share for one lease to serve them all (Ray: scheduling class).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SchedulingClass {
    /// The function.
    pub function: FunctionId,
    /// What each execution holds while it runs.
    pub resources: Resources,
    /// Where it may run.
    pub placement: Placement,
    /// When its turn is; `None` is the default.
    pub share: Option<Arc<Share>>,
}

/// How often a task may run again, by the reason it has to. `None` is without limit. Ray draws crashes, errors and losses
/// from one budget and repeats what was ended for memory without limit; here all are separate and bounded, so that a flaky
/// task cannot use up what a lost node needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// After its worker or node died under it.
    pub crashes: Option<u32>,
    /// After it returned an error or panicked.
    pub errors: Option<u32>,
    /// To rebuild results whose every copy was lost.
    pub losses: Option<u32>,
    /// After its node ran out of memory and ended it ([`crate::memory`]); each time after a longer pause.
    pub memory: Option<u32>,
}

impl Default for Retries {
    /// Three crashes, no errors, three losses: Ray's defaults, in separate budgets. Eight times for memory: with the pauses
    /// in between about three minutes.
    fn default() -> Self {
        Self { crashes: Some(3), errors: Some(0), losses: Some(3), memory: Some(8) }
    }
}

/// What the owner makes of a task that returns other bytes when it runs again to rebuild a lost result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replay {
    /// An error: whoever read the first version would see a second one (invariant I3).
    #[default]
    Strict,
    /// The new version counts from now on, and what was computed from the old one is computed again when it is wanted.
    Accept,
}

/// How a value outlives the node it is on. What lineage can do is always tried last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durability {
    /// On how many nodes it is kept, if it is in a store at all; 0 counts as 1.
    pub replicas: u32,
    /// Whether it is written to the folder outside the cluster that all nodes share.
    pub persisted: bool,
}

impl Default for Durability {
    /// One copy, and lineage.
    fn default() -> Self {
        Self { replicas: 1, persisted: false }
    }
}

/// How a generator streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streaming {
    /// How many items may exist that the consumer has not taken (Ray: `_generator_backpressure_num_objects`). At least
    /// 1; `None` is without limit.
    pub ahead: Option<u32>,
}

/// A task as its owner describes it. Immutable: every attempt runs the same specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Its name.
    pub id: TaskId,
    /// What people call it: a scenario's `as`, a Dataset operator, else the function's name. Progress is counted by
    /// label.
    pub label: Arc<str>,
    /// Function, resources, placement.
    pub class: Arc<SchedulingClass>,
    /// Arguments in order.
    pub args: Vec<Arg>,
    /// Number of objects it returns.
    pub returns: u32,
    /// Budgets.
    pub retries: Retries,
    /// Whether it may return something else when it runs again.
    pub replay: Replay,
    /// How its results outlive the nodes they are on.
    pub durability: Durability,
    /// Whether it is a generator: then `returns` is zero, and each item it yields is an object, numbered from 0.
    pub stream: Option<Streaming>,
    /// The driver that submitted it, or the task that submitted it, and so on: on whose account its objects are.
    pub job: Incarnation,
}

impl TaskSpec {
    /// The most a specification may weigh ([`TaskSpec::weight`]): it travels in one message, together with what its owner
    /// holds inline, and for an actor with a checkpoint. Large values are not inside, so this is a limit of a million
    /// reference arguments, about.
    pub const LIMIT: ByteSize = ByteSize(32 << 20);
    /// The most results: each takes memory of the owner before it exists.
    pub const MOST_RETURNS: u32 = 1 << 20;

    /// Whether it is within the limits.
    ///
    /// # Errors
    /// [`TaskErrorKind::TooLarge`], naming what is too large.
    pub fn within_limits(&self) -> Result<(), TaskError> {
        let (weight, returns) = (ByteSize(self.weight() as u64), self.returns);
        let message = if weight > Self::LIMIT {
            format!("the description of {} takes {weight}, the most is {}", self.id, Self::LIMIT)
        } else if returns > Self::MOST_RETURNS {
            format!("{} has {returns} results, the most is {}", self.id, Self::MOST_RETURNS)
        } else {
            return Ok(());
        };
        Err(TaskError::new(TaskErrorKind::TooLarge, message))
    }

    /// The memory it takes as lineage, in bytes: what it consists of, and 256 for the owner's record and the maps it is
    /// in. Shared parts (label, class) are not counted.
    pub fn footprint(&self) -> ByteSize {
        const RECORD: usize = 256;
        let arg = |arg: &Arg| match arg {
            Arg::Value(bytes, refs) => bytes.len() + size_of_val(&refs[..]),
            Arg::Ref(_) => 0,
        };
        let args = size_of_val(&self.args[..]) + self.args.iter().map(arg).sum::<usize>();
        ByteSize((RECORD + size_of::<Self>() + args) as u64)
    }

    /// Whether it is a call of an actor's method.
    pub fn is_call(&self) -> bool {
        matches!(self.class.placement, Placement::Actor(_))
    }

    /// The objects that must be local before it starts, in argument order, duplicates included.
    pub fn refs(&self) -> impl Iterator<Item = ObjectId> {
        self.args.iter().filter_map(|arg| match arg {
            Arg::Ref(object) => Some(*object),
            Arg::Value(..) => None,
        })
    }

    /// Every object the task can reach: its reference arguments and the references inside its value arguments.
    pub fn reachable(&self) -> impl Iterator<Item = ObjectId> {
        self.args
            .iter()
            .flat_map(|arg| match arg {
                Arg::Ref(object) => std::slice::from_ref(object).iter(),
                Arg::Value(_, refs) => refs.iter(),
            })
            .copied()
    }
}

/// Why an object cannot be rebuilt. The names are Ray's reason codes (`exceptions.py`, 2.60). Ray's BORROWED has no
/// counterpart: a borrower asks the owner, and is told the owner's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::VariantNames)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum UnreconstructableReason {
    /// The loss budget is used up.
    MaxAttempts,
    /// The loss budget was zero.
    RetriesDisabled,
    /// The lineage was dropped to stay within its byte limit.
    LineageEvicted,
    /// The object was put, not produced by a task, so nothing can run again.
    Put,
    /// The object, or one it is made from, was freed by hand.
    Freed,
    /// The producing task was cancelled.
    TaskCancelled,
}

/// What went wrong, for programs to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, strum::VariantNames)]
pub enum TaskErrorKind {
    /// The task's own code returned an error or panicked, or an argument of it could not be had (see the cause).
    TaskFailed,
    /// The worker running it died, more often than its crash budget allows.
    WorkerCrashed,
    /// The node running it died, more often than its crash budget allows.
    NodeDied,
    /// Its node ran out of memory and ended it, more often than its memory budget allows. The message names the node, what
    /// it used of which limit, and the heaviest tasks there.
    OutOfMemory,
    /// It was cancelled.
    Cancelled,
    /// The process that owned the object died, and with it what was known of the object.
    OwnerDied,
    /// Every copy was lost and the object cannot be rebuilt.
    Unreconstructable(UnreconstructableReason),
    /// The task that made it returned something else when it ran again, and its submitter did not allow that.
    NondeterministicReplay,
    /// A generator that ran again yielded another number of items.
    ReplayMismatch,
    /// It was freed by hand.
    Freed,
    /// The value does not fit the node's store, now or ever (the message says which).
    StoreFull,
    /// The node's store is full, and what is in it cannot be spilled: the disk is full or fails.
    OutOfDisk,
    /// No live node can ever run it.
    Unschedulable,
    /// The placement group it was to run in was removed.
    GroupRemoved,
    /// No function of that name is compiled into the node that was to run it.
    UnknownFunction,
    /// The bytes are no value of the type asked for.
    WrongType,
    /// The time the caller gave was over first.
    GetTimeout,
    /// The cluster was shut down, or this node was declared dead.
    Disconnected,
    /// The actor is dead and will not be back.
    ActorDied(ActorDeath),
    /// The actor's incarnation ended while the call was under way: it may or may not have run. The actor may be back.
    ActorUnavailable,
    /// The handle has as many unfinished calls as it may have.
    TooManyPending,
    /// A limit was exceeded that no setting lifts: of the size of one message, or of the number of results.
    TooLarge,
}

impl TaskErrorKind {
    /// The word scenario files and reports use.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether asking again later can give another answer.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::GetTimeout | Self::StoreFull | Self::OutOfDisk | Self::ActorUnavailable | Self::TooManyPending
        )
    }
}

/// A failure as a value: it is stored like a result and travels like one (decision D10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct TaskError {
    /// For programs.
    pub kind: TaskErrorKind,
    /// For people: names the task, object or node.
    pub message: String,
    /// The failure this one follows from.
    pub cause: Option<Box<TaskError>>,
}

impl TaskError {
    /// The most bytes of a message; a user's error can be of any length.
    const MESSAGE: usize = 64 << 10;

    /// An error without a cause. Of an endless message the beginning is kept.
    pub fn new(kind: TaskErrorKind, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if message.len() > Self::MESSAGE {
            let whole = message.len();
            message.truncate(message.floor_char_boundary(Self::MESSAGE));
            message.push_str(&format!("... ({whole} bytes in all)"));
        }
        Self { kind, message, cause: None }
    }

    /// The same with a cause.
    #[must_use]
    pub fn because(mut self, cause: TaskError) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// The reason code, of this error or of the first cause that has one.
    pub fn reason(&self) -> Option<UnreconstructableReason> {
        match self.kind {
            TaskErrorKind::Unreconstructable(reason) => Some(reason),
            _ => self.cause.as_ref().and_then(|cause| cause.reason()),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.name())?;
        if let TaskErrorKind::Unreconstructable(reason) = self.kind {
            write!(f, "({reason})")?;
        }
        if let TaskErrorKind::ActorDied(death) = self.kind {
            write!(f, "({death})")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.cause {
            Some(cause) => write!(f, "; because {cause}"),
            None => Ok(()),
        }
    }
}
