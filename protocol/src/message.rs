//! Everything one incarnation says to another. All of it travels over a [`crate::link`]: in order, exactly once, between two
//! incarnations, so that no handler has to deduplicate.

mod names;
mod weight;

use crate::member::{MemberEvent, NodeLoad};
use crate::sched::Refusal;
use crate::sched::group::Placed;
use crate::{
    Attempt, Bundle, GroupId, Incarnation, LeaseId, NodeId, ObjectId, SchedulingClass, TaskError, TaskId, TaskSpec,
};
use crate::{ByteSize, Durability, Nanos, Resources};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What an owner knows of an object's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Located {
    /// Not there yet, or being rebuilt: the owner will send another one.
    Pending,
    /// Small: here it is.
    Inline(Bytes),
    /// In the stores of these nodes. Never empty.
    Stored {
        /// Its size in bytes.
        size: ByteSize,
        /// Who has a sealed copy, in id order.
        copies: Vec<Incarnation>,
    },
    /// It has no value and never will.
    Failed(TaskError),
}

/// Where a spilled copy lies in storage that outlives the node that wrote it, and that other nodes can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPlace {
    /// The storage, as nodes are told of it: a URL, or the name of a shared directory.
    pub root: Arc<str>,
    /// The folder there of the node's life.
    pub life: Arc<str>,
    /// The file's number in that folder.
    pub file: u64,
    /// Where the object's record begins in the file.
    pub offset: u64,
}

impl fmt::Display for SharedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{:08}.spill#{}", self.root, self.life, self.file, self.offset)
    }
}

/// Where a task left one of its results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResultPlace {
    /// In this message.
    Inline(Bytes),
    /// Sealed in the executing node's store as the primary copy, of this size.
    Stored(ByteSize),
}

/// One result of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Where it is.
    pub place: ResultPlace,
    /// The references inside it.
    pub refs: Vec<ObjectId>,
    /// xxh3-64 of its bytes: attempts of a deterministic task agree on it (invariant I3).
    pub hash: u64,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskOutcome {
    /// With one result per declared return.
    Returned(Vec<TaskResult>),
    /// With the user's error, or one that is the task's own fault (unknown function, wrong type, store full).
    Raised(TaskError),
    /// With the death of its worker.
    Crashed(String),
    /// Ended by its node, which ran out of memory: what was measured, and who used it.
    OutOfMemory(String),
    /// Before it started: this argument was not to be had at the moment, or the lease was gone. Costs no budget; a node
    /// never holds a lease while it waits for a value that does not exist yet, so rebuilding it cannot deadlock.
    HandedBack(Option<ObjectId>),
}

/// How far an attempt of a generator may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Items below this number may be made.
    pub upto: u32,
    /// Whether it is to stop there as if that were its end, instead of waiting for more.
    pub stop: bool,
}

/// A message between two incarnations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Node to head, every health period: alive, and this loaded.
    Heartbeat(NodeLoad),
    /// To a node: take no new work, because you are about to leave. What was granted runs on.
    Drain,
    /// Node to head: goodbye, no need to wait for the health check.
    Leave,
    /// Head to node: the next entries of the membership log, and the latest loads.
    View {
        /// Sequence number of the first entry.
        first: u64,
        /// Log entries, in order.
        entries: Vec<MemberEvent>,
        /// Soft state: the newest load of each node that changed.
        loads: Vec<(NodeId, NodeLoad)>,
    },
    /// Node to head: a gap was seen; send everything after this sequence number.
    ResyncView(u64),

    /// Owner to node: may I run tasks of this class at your place? `hops` counts earlier spillbacks.
    LeaseRequest {
        /// Its name.
        lease: LeaseId,
        /// For what.
        class: Arc<SchedulingClass>,
        /// Spillbacks so far.
        hops: u8,
    },
    /// Node to owner: yes; one slot is yours until you return it.
    LeaseGranted(LeaseId),
    /// Node to owner: no, but that node has room.
    LeaseSpillback {
        /// The request.
        lease: LeaseId,
        /// Ask there.
        to: Incarnation,
    },
    /// Node to owner: no.
    LeaseRefused {
        /// The request.
        lease: LeaseId,
        /// Why not.
        why: Refusal,
    },
    /// Owner to node: I no longer need it, queued or granted. Idempotent.
    LeaseReturn(LeaseId),

    /// Owner to node: set this aside for tasks of a placement group.
    BundleReserve {
        /// Its name.
        bundle: Bundle,
        /// How much.
        resources: Resources,
    },
    /// Node to owner: done.
    BundleReserved(Bundle),
    /// Node to owner: there is no room.
    BundleRefused(Bundle),
    /// Owner to node: no longer; what runs in it ends. Idempotent.
    BundleReturn(Bundle),
    /// Maker of a placement group that an actor names, to the head: these bundles are usable now, and no others. None:
    /// the group is gone, and its actors end.
    GroupPlaced {
        /// The group.
        group: GroupId,
        /// In their order.
        bundles: Option<Vec<Placed>>,
    },

    /// Owner to node: run this under that lease.
    PushTask {
        /// The lease.
        lease: LeaseId,
        /// Which attempt.
        attempt: Attempt,
        /// The task.
        spec: Arc<TaskSpec>,
        /// Values of reference arguments that the owner holds inline, by argument position.
        inline: Vec<(u32, Bytes)>,
    },
    /// Node to owner: the attempt has begun to execute.
    TaskStarted {
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Node to owner: the attempt yielded its next item.
    TaskItem {
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// Which item, from 0. Items of an attempt come in order and without gaps.
        index: u32,
        /// The item.
        result: TaskResult,
    },
    /// Owner to node: how far the attempt may go. Replaces what was said before.
    StreamCredit {
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// How far.
        credit: Credit,
    },
    /// Node to owner: the attempt is over.
    TaskDone {
        /// Under which lease it ran.
        lease: LeaseId,
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// How it ended.
        outcome: TaskOutcome,
        /// How long it executed.
        spent: Nanos,
    },
    /// Owner to node: do not start this attempt; if it runs, end it if it can be ended. What it returns is ignored.
    CancelTask {
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// Whether the tasks that it submitted are cancelled too.
        recursive: bool,
    },
    /// Holder to owner: cancel the task that makes this.
    CancelObject {
        /// The object.
        object: ObjectId,
        /// Whether the tasks that it submitted are cancelled too.
        recursive: bool,
    },
    /// Holder to owner: free this value although it is referred to.
    FreeObject(ObjectId),

    /// Node to owner: tell me where this is, now and whenever that changes.
    Locate(ObjectId),
    /// Node to owner: no longer.
    Unlocate(ObjectId),
    /// Owner to node: this is what I know.
    Located {
        /// The object.
        object: ObjectId,
        /// What is known.
        located: Located,
    },
    /// Node to owner: I have a sealed copy too.
    CopyAdded {
        /// The object.
        object: ObjectId,
        /// Its size.
        size: ByteSize,
    },
    /// Node to owner: I no longer have one.
    CopyRemoved(ObjectId),
    /// The same, and it was dropped to make room because its task can make it again: that costs no budget.
    CopyEvicted(ObjectId),
    /// Node to owner: my copy also lies in storage that outlives me: if I die, take it over.
    CopySpilled {
        /// The object.
        object: ObjectId,
        /// Where.
        place: SharedPlace,
    },
    /// Node to owner: that copy is damaged.
    CopyDamaged {
        /// The object.
        object: ObjectId,
        /// Whose copy.
        at: Incarnation,
    },
    /// Owner to node: your copy is the primary one now, because the former one is lost: do not evict it.
    Promote {
        /// The object.
        object: ObjectId,
        /// Whether its task can make it again: then a full store may drop it, if its policy is that, as it may the former.
        rebuildable: bool,
    },
    /// Holder to owner: this is what its value must outlive from now on.
    Endure {
        /// The object.
        object: ObjectId,
        /// What.
        durability: Durability,
    },
    /// Owner to node: write your copy to the folder outside the cluster.
    Save(ObjectId),
    /// Node to owner: it is there.
    Saved {
        /// The object.
        object: ObjectId,
        /// The size of its value.
        size: ByteSize,
    },
    /// Node to owner: I cannot.
    NotSaved(ObjectId),
    /// Owner to node: read the value back from there, and keep it.
    Load {
        /// The object.
        object: ObjectId,
        /// The size of its value.
        size: ByteSize,
    },
    /// Node to owner: I cannot.
    NotLoaded(ObjectId),
    /// Owner to node: fetch a copy, and keep it.
    Replicate(ObjectId),
    /// Node to owner: I cannot, now or ever.
    ReplicaRefused(ObjectId),
    /// Owner to node: nobody needs these any more, drop your copies.
    Free(Vec<ObjectId>),

    /// To the owner: a reference lives in process `by` now. Sent before it is used there, by the holder or by whoever lends
    /// it the reference; each registration is counted.
    BorrowAdd {
        /// The object.
        object: ObjectId,
        /// The holder.
        by: Incarnation,
    },
    /// Owner to holder: your registration of your own is entered. One made by a lender is not answered: what he says
    /// afterwards comes behind it on the same link.
    BorrowAdded(ObjectId),
    /// Holder to owner: take back one registration of mine.
    BorrowRemove(ObjectId),

    /// Anything about actors besides the outcome of their calls.
    Actor(crate::actor::Word),

    /// Anything about jobs.
    Job(crate::job::Word),
}

impl Message {
    /// Whether only the newest of its kind counts, so that it need not wait for what was said before it, nor be repeated:
    /// the sign of life, which must not stand in a queue behind bulky messages.
    pub fn is_pulse(&self) -> bool {
        matches!(self, Self::Heartbeat(_))
    }

    /// The method name that scenario files use in `rpc = { method = ... }`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Heartbeat(_) => "Heartbeat",
            Self::Drain => "Drain",
            Self::Leave => "Leave",
            Self::View { .. } => "View",
            Self::ResyncView(_) => "ResyncView",
            Self::LeaseRequest { .. } => "LeaseRequest",
            Self::LeaseGranted(_) => "LeaseGranted",
            Self::LeaseSpillback { .. } => "LeaseSpillback",
            Self::LeaseRefused { .. } => "LeaseRefused",
            Self::LeaseReturn(_) => "LeaseReturn",
            Self::BundleReserve { .. } => "BundleReserve",
            Self::BundleReserved(_) => "BundleReserved",
            Self::BundleRefused(_) => "BundleRefused",
            Self::BundleReturn(_) => "BundleReturn",
            Self::GroupPlaced { .. } => "GroupPlaced",
            Self::PushTask { .. } => "PushTask",
            Self::TaskStarted { .. } => "TaskStarted",
            Self::TaskItem { .. } => "TaskItem",
            Self::StreamCredit { .. } => "StreamCredit",
            Self::TaskDone { .. } => "TaskDone",
            Self::CancelTask { .. } => "CancelTask",
            Self::CancelObject { .. } => "CancelObject",
            Self::FreeObject(_) => "FreeObject",
            Self::Locate(_) => "Locate",
            Self::Unlocate(_) => "Unlocate",
            Self::Located { .. } => "Located",
            Self::CopyAdded { .. } => "CopyAdded",
            Self::CopyRemoved(_) => "CopyRemoved",
            Self::CopyEvicted(_) => "CopyEvicted",
            Self::CopySpilled { .. } => "CopySpilled",
            Self::CopyDamaged { .. } => "CopyDamaged",
            Self::Promote { .. } => "Promote",
            Self::Endure { .. } => "Endure",
            Self::Save(_) => "Save",
            Self::Saved { .. } => "Saved",
            Self::NotSaved(_) => "NotSaved",
            Self::Load { .. } => "Load",
            Self::NotLoaded(_) => "NotLoaded",
            Self::Replicate(_) => "Replicate",
            Self::ReplicaRefused(_) => "ReplicaRefused",
            Self::Free(_) => "Free",
            Self::BorrowAdd { .. } => "BorrowAdd",
            Self::BorrowAdded(_) => "BorrowAdded",
            Self::BorrowRemove(_) => "BorrowRemove",
            Self::Actor(word) => word.name(),
            Self::Job(word) => word.name(),
        }
    }
}
