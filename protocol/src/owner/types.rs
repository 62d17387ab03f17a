//! Events, effects and records of the owner.

use super::streams::Stream;
use crate::{
    Attempt, ByteSize, Credit, Durability, Incarnation, LeaseId, Located, Nanos, NodeId, ObjectId, ResultPlace,
    SchedulingClass,
};
use crate::{GroupId, SharedPlace, TaskError, TaskId, TaskOutcome, TaskResult, TaskSpec};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What happened to something this process owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The application stored a value. The caller holds one reference.
    Put {
        /// Its new name.
        object: ObjectId,
        /// Where it lies: inline, or sealed in this node's store.
        place: ResultPlace,
        /// The references inside it.
        refs: Vec<ObjectId>,
    },
    /// The application is storing a value, and holds one reference to it: a put that does not wait for room. Exactly one
    /// [`Event::PutEnded`] follows, unless this process ends.
    PutBegun {
        /// Its new name.
        object: ObjectId,
        /// The references inside it.
        refs: Vec<ObjectId>,
    },
    /// That value lies where it belongs now, or cannot be stored.
    PutEnded {
        /// Its name.
        object: ObjectId,
        /// Where it lies, or why there is no value.
        result: Result<ResultPlace, TaskError>,
    },
    /// What was put, or is being put, is on the account of another driver than this process: a task of it did.
    PutFor {
        /// The object.
        object: ObjectId,
        /// That driver.
        job: Incarnation,
    },
    /// The application submitted a task. The caller holds one reference to each result.
    Submit(Arc<TaskSpec>),
    /// The dispatcher found a slot for a queued task.
    Assigned {
        /// The task.
        task: TaskId,
        /// Under this lease.
        lease: LeaseId,
        /// On this node.
        to: Incarnation,
    },
    /// The dispatcher says that no node can ever run it.
    Unschedulable {
        /// The task.
        task: TaskId,
        /// Why.
        error: TaskError,
    },
    /// A node began to execute an attempt.
    Started {
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// A node is done with an attempt.
    Done {
        /// Who says so.
        from: Incarnation,
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// How it ended.
        outcome: TaskOutcome,
    },
    /// A generator yielded an item.
    Item {
        /// Who says so.
        from: Incarnation,
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// Which item.
        index: u32,
        /// The item.
        result: TaskResult,
    },
    /// The consumer of a generator wants its next item: see [`Effect::Next`]. Not again before that came.
    Next(TaskId),
    /// The consumer of a generator wants no more of it.
    StreamDropped(TaskId),
    /// The application holds one more reference to an object of ours.
    RefAdded(ObjectId),
    /// The application dropped one.
    RefDropped(ObjectId),
    /// Another process holds a reference: it said so itself, or whoever sent it the reference did.
    Borrowed {
        /// The object.
        object: ObjectId,
        /// The holder.
        by: Incarnation,
    },
    /// That process gave one such registration back.
    Returned {
        /// The object.
        object: ObjectId,
        /// The holder.
        by: Incarnation,
    },
    /// A process wants to know where an object is, from now on. Also what brings a lost object back: a value is rebuilt
    /// when somebody wants it, not before.
    Subscribe {
        /// The object.
        object: ObjectId,
        /// Who wants to know.
        by: Incarnation,
    },
    /// It no longer wants to.
    Unsubscribe {
        /// The object.
        object: ObjectId,
        /// Who wanted to know.
        by: Incarnation,
    },
    /// A node sealed a further copy.
    CopyAdded {
        /// The object.
        object: ObjectId,
        /// Where.
        at: Incarnation,
        /// Its size.
        size: ByteSize,
    },
    /// A node no longer has its copy.
    CopyRemoved {
        /// The object.
        object: ObjectId,
        /// Where.
        at: Incarnation,
    },
    /// The same, and it dropped it to make room because its task can make it again.
    CopyEvicted {
        /// The object.
        object: ObjectId,
        /// Where.
        at: Incarnation,
    },
    /// A node was sent wrong bytes from a copy, again and again: that copy is none.
    CopyDamaged {
        /// The object.
        object: ObjectId,
        /// Whose copy.
        at: Incarnation,
    },
    /// A node says that its copy also lies in storage that outlives it.
    CopySpilled {
        /// The object.
        object: ObjectId,
        /// Whose copy.
        at: Incarnation,
        /// Where it lies.
        place: SharedPlace,
    },
    /// The application waits until an object of ours is no longer pending, and is told once by [`Effect::Exists`].
    /// Wants the object as [`Event::Subscribe`] does.
    Await {
        /// The object.
        object: ObjectId,
        /// The waiter's name for this wait.
        token: Token,
    },
    /// It no longer waits.
    Unawait {
        /// The object.
        object: ObjectId,
        /// The waiter's name for that wait.
        token: Token,
    },
    /// The owner of an argument of ours says where it is.
    ForeignLocated {
        /// The argument, owned by another process.
        object: ObjectId,
        /// What its owner knows.
        located: Located,
    },
    /// Membership's final verdict.
    NodeDied(Incarnation),
    /// The application, here or elsewhere, no longer wants the task that makes this object.
    Cancel {
        /// The object.
        object: ObjectId,
        /// Nor the tasks that it submitted.
        recursive: bool,
    },
    /// A placement group is gone: tasks that belong into it fail, also those that run.
    GroupRemoved(GroupId),
    /// The application frees the value by hand.
    Free(ObjectId),
    /// The application, here or elsewhere, chooses what the value of an object of ours outlives, from now on.
    Endure {
        /// The object.
        object: ObjectId,
        /// What.
        durability: Durability,
    },
    /// A node wrote a value to the folder outside the cluster.
    Saved {
        /// The object.
        object: ObjectId,
        /// The node.
        by: Incarnation,
        /// The size of its value.
        size: ByteSize,
    },
    /// A node that was asked to cannot.
    NotSaved {
        /// The object.
        object: ObjectId,
        /// The node.
        by: Incarnation,
    },
    /// A node cannot read back what was written there.
    NotLoaded {
        /// The object.
        object: ObjectId,
        /// The node.
        by: Incarnation,
    },
    /// A node that was asked for a copy can never hold one.
    ReplicaRefused {
        /// The object.
        object: ObjectId,
        /// The node.
        by: Incarnation,
    },
    /// The nodes that take copies now: they offer resources, live and do not drain.
    Nodes(BTreeSet<Incarnation>),
    /// Say [`Effect::OutOfScope`] when this object of ours goes.
    WatchScope(ObjectId),
    /// The attempt of an actor call was lost with its actor's incarnation.
    CallLost {
        /// The call.
        task: TaskId,
        /// What it fails with if its crash budget is used up.
        error: TaskError,
    },
    /// An actor call cannot be made.
    CallFailed {
        /// The call.
        task: TaskId,
        /// Why.
        error: TaskError,
    },
    /// Some tasks may have rested long enough.
    Tick,
}

/// Names a wait of the application for one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Which wait.
    pub wait: u64,
    /// Which of its objects.
    pub position: u32,
}

/// What the owner wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To the dispatcher: all arguments exist, find it a slot.
    Enqueue {
        /// The task.
        task: TaskId,
        /// What the slot must be for.
        class: Arc<SchedulingClass>,
        /// Bytes of its arguments by the nodes that hold them.
        near: Vec<(NodeId, ByteSize)>,
        /// Whether it had its turn and could not run, because an argument was gone by then.
        again: bool,
    },
    /// To the dispatcher: it is no longer to be run.
    Dequeue(TaskId),
    /// To the dispatcher: the slot it found is not used after all.
    Unassign {
        /// The task.
        task: TaskId,
        /// The slot's lease.
        lease: LeaseId,
    },
    /// To a node: run it.
    Push {
        /// The node.
        to: Incarnation,
        /// The lease.
        lease: LeaseId,
        /// Which attempt.
        attempt: Attempt,
        /// The task.
        spec: Arc<TaskSpec>,
        /// Reference arguments that are held inline, by position.
        inline: Vec<(u32, Bytes)>,
    },
    /// To a node: do not start that attempt, or end it.
    CancelAttempt {
        /// The node.
        to: Incarnation,
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// Whether the tasks that it submitted are cancelled too.
        recursive: bool,
    },
    /// To a node: how far an attempt of a generator may go.
    Credit {
        /// The node.
        to: Incarnation,
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// How far.
        credit: Credit,
    },
    /// To the consumer of a generator: its next item, which it holds a reference to from now on; nothing after the last
    /// one; or why there are no more.
    Next {
        /// The generator.
        task: TaskId,
        /// The answer.
        item: Result<Option<ObjectId>, TaskError>,
    },
    /// To a subscriber: this is what is known.
    Notify {
        /// The subscriber.
        to: Incarnation,
        /// The object.
        object: ObjectId,
        /// What is known.
        located: Located,
    },
    /// To a waiter in this process: the object is no longer pending.
    Exists {
        /// The waiter's name for its wait.
        token: Token,
        /// Its value, where its copies are, or why it failed.
        located: Located,
    },
    /// To a node: your copy is the primary one now, keep it.
    Promote {
        /// The node.
        at: Incarnation,
        /// The object.
        object: ObjectId,
        /// Whether the object is one that a full store may drop, because its task can make it again.
        rebuildable: bool,
    },
    /// To a node: fetch a copy and keep it.
    Replicate {
        /// The node.
        to: Incarnation,
        /// The object.
        object: ObjectId,
    },
    /// To a node: write the value of your copy to the folder outside the cluster.
    Save {
        /// The node.
        at: Incarnation,
        /// The object.
        object: ObjectId,
    },
    /// To a node: read the value back from there. Answered by [`Event::CopyAdded`] or [`Event::NotLoaded`].
    Load {
        /// The node.
        at: Incarnation,
        /// The object.
        object: ObjectId,
        /// The size of its value.
        size: ByteSize,
    },
    /// To this process's node: remove what may be there of an object.
    Erase(ObjectId),
    /// To this node: a dead node's copy, at this place, is ours now. To be answered with [`Event::CopyRemoved`] if it
    /// cannot be had.
    TakeOver {
        /// The object.
        object: ObjectId,
        /// Its size.
        size: ByteSize,
        /// Where it lies.
        place: SharedPlace,
    },
    /// To a node: drop these copies.
    Free {
        /// The node.
        at: Incarnation,
        /// The copies.
        objects: Vec<ObjectId>,
    },
    /// To the owner of an argument: keep me informed.
    Locate(ObjectId),
    /// To the owner of an argument: no longer.
    Unlocate(ObjectId),
    /// This process holds one more reference to another owner's object.
    Hold(ObjectId),
    /// It holds one more, which whoever sent it has registered with the owner already.
    Inherit(ObjectId),
    /// It holds one fewer.
    Unhold(ObjectId),
    /// Register `to` as a holder with the object's owner, before the message that carries the reference goes out.
    Lend {
        /// The object, owned by another process.
        object: ObjectId,
        /// Who is about to hold it.
        to: Incarnation,
    },
    /// An actor call is over, one way or another.
    CallOver(TaskId),
    /// Nothing refers to an object whose scope was watched.
    OutOfScope(ObjectId),
}

/// How far the tasks of one label are. Executions count what ran at least in part: finished attempts, and attempts that
/// had been reported as started when their node died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Tasks submitted.
    pub submitted: u64,
    /// Attempts that began to execute.
    pub executions: u64,
    /// Tasks whose results exist, or existed at least once.
    pub finished: u64,
    /// Tasks that failed for good.
    pub failed: u64,
    /// Attempts repeated after a crash, a dead node, a user error or a lack of memory.
    pub retried: u64,
    /// Finished tasks run again because their results were lost.
    pub rebuilt: u64,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// For arguments that do not exist yet or again.
    Waiting,
    /// For the time after its node ran out of memory.
    Resting { until: Nanos },
    /// For a slot.
    Queued,
    /// On a node.
    Running { lease: LeaseId, to: Incarnation, started: bool },
    /// Over. Kept as lineage.
    Finished,
}

/// A task that is not over, or whose specification is kept as lineage.
#[derive(Debug)]
pub(super) struct Task {
    pub spec: Arc<TaskSpec>,
    pub stage: Stage,
    /// Number of the latest attempt; zero before the first.
    pub attempt: Attempt,
    pub crashes_left: Option<u32>,
    pub errors_left: Option<u32>,
    pub losses_left: Option<u32>,
    /// How often its node ran out of memory and ended it.
    pub memory_kills: u32,
    /// Arguments that do not exist at the moment. Empty unless waiting.
    pub missing: BTreeSet<ObjectId>,
    /// Whether it had finished before: then it runs to rebuild a lost result.
    pub rebuilding: bool,
    /// Whether it was cancelled: then it never runs again, because its last attempt may be running still.
    pub cancelled: bool,
    /// Whether its turn came and it could not run: it does not stand in line a second time.
    pub again: bool,
    /// Whether an argument was replaced by another version while it ran: then what it returns does not count.
    pub stale: bool,
    /// What is known of its items, if it is a generator.
    pub stream: Option<Box<Stream>>,
    /// Index of its counters.
    pub label: usize,
}

impl Task {
    /// Whether it is a generator whose consumer may still ask for its next item, or its end.
    pub fn is_open(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| !stream.dropped)
    }
}

/// Where an object comes from, and so what can make it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Origin {
    /// A task, for as long as its specification is here.
    #[default]
    Task,
    /// The application put it: nothing.
    Put,
    /// The application is putting it: it will have a value, or fail, without anybody's doing.
    Putting,
    /// A task of this label, whose specification was dropped to keep lineage within its limit: nothing any more.
    Evicted(Arc<str>),
}

/// An object of ours that is referenced, or needed to rebuild one that is.
#[derive(Debug, Default)]
pub(super) struct Object {
    /// References held by the application in this process.
    pub local: u32,
    /// Arguments of unfinished tasks of ours that are it, or contain it.
    pub submitted: u32,
    /// References to it inside values of ours.
    pub contained: u32,
    /// Registrations by process. May be negative for a moment: the lender's registration and the borrower's return
    /// travel on different links. The object is borrowed while any entry is positive.
    pub borrowed: BTreeMap<Incarnation, i64>,
    /// The same of finished tasks that are kept as lineage.
    pub lineage: u32,
    /// Who in this process waits for it to exist. Empty unless it is pending.
    pub awaited: Vec<Token>,
    /// The references inside its value.
    pub contains: Vec<ObjectId>,
    /// What can make its value again.
    pub origin: Origin,
    /// Whether it is an item of a generator.
    pub item: bool,
    /// On whose account it was put, if not on this process's own.
    pub job: Option<Incarnation>,
    /// The hash of the value that was accepted last, if a task made it.
    pub hash: Option<u64>,
}

impl Object {
    /// Whether a new value is another version of one that was accepted before. Values with references inside are never
    /// taken for one: see the module.
    pub fn differs(&self, result: &TaskResult) -> bool {
        result.refs.is_empty() && self.hash.is_some_and(|hash| hash != result.hash)
    }

    fn is_borrowed(&self) -> bool {
        self.borrowed.values().any(|n| *n > 0) && !crate::planted!("owner-ignores-borrowers")
    }

    /// Whether anybody can still ask for its value.
    pub fn in_scope(&self) -> bool {
        self.local > 0 || self.submitted > 0 || self.contained > 0 || self.is_borrowed()
    }
}

/// Work that one event leads to. A list rather than recursion: lineage can be as long as the program ran.
#[derive(Debug)]
pub(super) enum Agenda {
    /// Somebody wants this object: rebuild it if it is lost.
    Want(ObjectId),
    /// This argument of the task failed for good.
    Fail { task: TaskId, argument: ObjectId, error: TaskError },
}

/// Another owner's object that unfinished tasks of ours have as an argument.
#[derive(Debug)]
pub(super) struct Foreign {
    pub located: Located,
    /// How many of their arguments it is.
    pub uses: u32,
}
