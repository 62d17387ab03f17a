//! What goes into a node's core, and what comes out.

use super::actors::{ActorInput, ActorOutput};
use super::bulk::Members;
use super::groups::GroupInput;
use super::jobs::JobWord;
use crate::Error;
use crate::api::{MemoryReport, Placed};
use bytes::Bytes;
use mobula_protocol::link::{Ack, Envelope};
use mobula_protocol::member::ClusterView;
use mobula_protocol::owner::Counters;
use mobula_protocol::pull::{BundleId, FetchFailure, Priority};
use mobula_protocol::{Attempt, ByteSize, Durability, GroupId, Incarnation, LeaseId, Nanos, ObjectId, ResultPlace};
use mobula_protocol::{TaskId, TaskOutcome, TaskResult, TaskSpec};
use mobula_store::spill::{Batch, FileName, Place, SpillFailure};
use mobula_store::{Departed, Region, Usage};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Something happened in or to this node.
pub enum Input {
    /// The application stored a value.
    Put {
        /// Its name.
        object: ObjectId,
        /// Where it lies.
        place: ResultPlace,
        /// xxh3-64 of its bytes.
        hash: u64,
        /// The references inside it.
        refs: Vec<ObjectId>,
        /// On whose account.
        job: Incarnation,
    },
    /// The application is storing a value.
    PutBegun {
        /// Its name.
        object: ObjectId,
        /// The references inside it.
        refs: Vec<ObjectId>,
        /// On whose account.
        job: Incarnation,
    },
    /// It has, or cannot.
    PutEnded {
        /// Its name.
        object: ObjectId,
        /// Where it lies and its hash, or why it lies nowhere.
        result: Result<Placed, Error>,
    },
    /// The application submitted a task.
    Submit {
        /// The task.
        spec: Arc<TaskSpec>,
        /// The attempt that submitted it, if it was no driver.
        parent: Option<(TaskId, Attempt)>,
    },
    /// The application wants values.
    Get {
        /// A name for this wish, unique in the process.
        bundle: BundleId,
        /// Which values.
        objects: Vec<ObjectId>,
        /// How urgent.
        priority: Priority,
        /// Takes the answer.
        reply: oneshot::Sender<Result<Vec<Bytes>, Error>>,
    },
    /// The application has its values, or no longer wants them.
    Drop(BundleId),
    /// The application wants to know as objects become ready.
    Watch {
        /// A name for this wish, unique in the process. It may be made larger by naming it again.
        watch: u64,
        /// The position of the first of these objects.
        first: usize,
        /// Which objects.
        objects: Vec<ObjectId>,
        /// Takes the position of each object that is ready.
        reply: mpsc::UnboundedSender<usize>,
    },
    /// It no longer does.
    Unwatch(u64),
    /// The application holds one more reference; the attempt that has read it, if it was not a driver.
    RefAdded(ObjectId, Option<(TaskId, Attempt)>),
    /// The application dropped one.
    RefDropped(ObjectId),
    /// The application cancels the task behind an object.
    Cancel {
        /// The object.
        object: ObjectId,
        /// Whether also the tasks that it submitted.
        recursive: bool,
    },
    /// The application frees a value by hand.
    Free(ObjectId),
    /// The application chooses what a value outlives.
    Endure {
        /// The object.
        object: ObjectId,
        /// What.
        durability: Durability,
    },
    /// A copy here was written outside the cluster, with its size; none if it cannot be.
    Saved {
        /// The object.
        object: ObjectId,
        /// Its size.
        size: Option<ByteSize>,
    },
    /// A value was read back into the store, with its size; none if it cannot be.
    Loaded {
        /// The object.
        object: ObjectId,
        /// Its size.
        size: Option<ByteSize>,
    },
    /// The application wants a node to take no more work. Answered with whether there is such a node.
    Drain(String, oneshot::Sender<bool>),
    /// This process leaves the cluster.
    Leave,
    /// The application wants something of a placement group.
    Group(GroupId, GroupInput),
    /// The application asks something.
    Ask(Question),
    /// The application says something about a job; the head's answer goes to the second.
    Job(JobWord, oneshot::Sender<mobula_protocol::job::Word>),

    /// A peer's envelope came in; the answer goes to `reply`.
    Received {
        /// The envelope.
        envelope: Envelope,
        /// Takes the answer.
        reply: oneshot::Sender<Ack>,
    },
    /// A peer answered an envelope of ours.
    Acked {
        /// Which peer.
        to: Incarnation,
        /// Which envelope.
        seq: u64,
        /// The answer.
        ack: Ack,
    },
    /// An envelope of ours is too large for the transport.
    Refused {
        /// Which peer.
        to: Incarnation,
        /// Which envelope.
        seq: u64,
        /// The transport's words.
        why: String,
    },
    /// The head is the head of another cluster now, as it says: this one is over.
    Orphaned(String),
    /// An envelope of ours was not answered.
    Lost {
        /// Which peer.
        to: Incarnation,
        /// Which envelope.
        seq: u64,
    },

    /// The consumer of a generator wants its next item.
    Next {
        /// The generator.
        task: TaskId,
        /// Takes the item, which is counted as held already.
        reply: Box<dyn FnOnce(Result<Option<ObjectId>, Error>) + Send>,
    },
    /// The consumer of a generator wants no more of it.
    StreamDropped(TaskId),
    /// A generator here made its next item.
    Item {
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// Which item.
        index: u32,
        /// The item.
        result: TaskResult,
    },
    /// A worker finished an attempt.
    Finished {
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// How.
        outcome: TaskOutcome,
        /// How long it ran.
        spent: Nanos,
    },
    /// A worker dropped an attempt it was told to skip.
    Skipped {
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// What this process has in memory, if that can be told.
    Measured(Option<ByteSize>),
    /// An attempt says that it uses so many bytes more, until it is over.
    Claimed {
        /// Its task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// How many.
        bytes: ByteSize,
    },
    /// A worker was stopped for want of memory. It had begun these attempts and not reported them.
    WorkerKilled {
        /// The attempts.
        begun: Vec<(TaskId, Attempt)>,
        /// For their owner: what was measured.
        why: String,
    },
    /// Nothing of that worker is left: its future was dropped, and no thread runs a task of it. After `WorkerKilled`.
    WorkerGone {
        /// The attempt for whose sake it was stopped.
        victim: (TaskId, Attempt),
        /// What it had begun.
        begun: Vec<(TaskId, Attempt)>,
    },
    /// The task running under a lease waits in a get.
    Blocked(LeaseId),
    /// It goes on.
    Unblocked(LeaseId),

    /// An object was sealed in this node's store.
    Sealed {
        /// Which.
        object: ObjectId,
        /// Its size.
        size: ByteSize,
    },
    /// Copies left memory to make room.
    Departed(Vec<Departed>),
    /// An attempt deleted results that it had stored, because it failed before it could report them.
    Discarded(Vec<ObjectId>),
    /// A batch was written to disk, or not.
    Spilled {
        /// The file.
        file: FileName,
        /// How it went.
        result: Result<(), SpillFailure>,
    },
    /// A spill file was removed, or could not be.
    Removed {
        /// The file.
        file: FileName,
        /// Whether it is gone.
        done: bool,
    },
    /// A spilled object cannot be read back.
    SpillLost {
        /// Which.
        object: ObjectId,
        /// From where.
        place: Place,
        /// Why not.
        why: SpillFailure,
    },
    /// A fetch ended.
    Fetched {
        /// What was fetched.
        object: ObjectId,
        /// Which fetch of it.
        attempt: Attempt,
        /// The filled region, to be sealed; or why there is none.
        result: Result<Region, FetchFailure>,
    },
    /// Something about actors.
    Actor(ActorInput),
    /// Nothing happened: time may have passed.
    Tick,
}

/// What the application may ask a node's machines.
pub enum Question {
    /// The living nodes and their loads.
    Cluster(oneshot::Sender<ClusterView>),
    /// Where an object of this process is: names of the nodes that have a copy, or none if it is inline, pending or failed.
    Copies(ObjectId, oneshot::Sender<Vec<String>>),
    /// Everything that waits here: for what, and since when.
    Waits(oneshot::Sender<Vec<String>>),
    /// What this node knows of what a task waits for; nothing if it is over, or owned and executed elsewhere.
    Why(TaskId, oneshot::Sender<Vec<String>>),
    /// The names of the nodes of a placement group's bundles, or what it waits for; none if it was removed.
    Group(GroupId, oneshot::Sender<Option<Result<Vec<String>, String>>>),
    /// The state of every machine, a line or more each.
    State(oneshot::Sender<Vec<String>>),
    /// What is left: see [`Ledger`].
    Ledger(oneshot::Sender<Ledger>),
    /// Drops this node's own copy in memory, as a full store would: one that is cached or also on disk; with force any.
    /// Says whether there was one.
    Evict(ObjectId, bool, oneshot::Sender<bool>),
    /// What is in this node's store.
    Memory(oneshot::Sender<MemoryReport>),
    /// Changes the budget of this node's store, up to what it was started with.
    Shrink(ByteSize, oneshot::Sender<()>),
}

/// What a node still holds. At quiescence, with all references dropped, everything is zero (invariants I24, I27, I33).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Objects the owner in this process knows.
    pub objects: usize,
    /// Tasks it knows, pending or as lineage.
    pub tasks: usize,
    /// Tasks that are not over.
    pub pending: usize,
    /// Placement groups made here, and bundles set aside here.
    pub groups: usize,
    /// References to other owners' objects.
    pub foreign: usize,
    /// Gets and task arguments under way.
    pub bundles: usize,
    /// Incarnations of actors that live here, and actors that somebody here has a handle to or a call out to.
    pub actors: usize,
    /// Messages not yet acknowledged by their receivers.
    pub backlog: usize,
    /// Bytes in the node's store.
    pub usage: Usage,
}

/// What the shell must do.
pub enum Output {
    /// Send an envelope, with a time limit, and report `Acked`, `Lost` or `Refused`.
    Transmit {
        /// The receiver's rpc address.
        address: String,
        /// The envelope.
        envelope: Arc<Envelope>,
        /// For about how many bytes it is to be given time.
        load: ByteSize,
    },
    /// Append a task to the queue of a lease's worker, starting the worker if there is none.
    Start {
        /// The lease.
        lease: LeaseId,
        /// Which attempt.
        attempt: Attempt,
        /// The task.
        spec: Arc<TaskSpec>,
        /// Its arguments' values, in order.
        args: Vec<Bytes>,
    },
    /// Do not start it if it has not begun.
    Skip {
        /// The lease.
        lease: LeaseId,
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// The lease is over: its worker ends.
    StopWorker(LeaseId),
    /// Report `Measured`.
    MeasureMemory,
    /// Stop the lease's worker, put a fresh one there for what it had not begun, and report `WorkerKilled`, then
    /// `WorkerGone`.
    KillWorker {
        /// The lease.
        lease: LeaseId,
        /// The attempt for whose sake.
        victim: (TaskId, Attempt),
        /// What was handed to the worker and has not ended, in order.
        attempts: Vec<(TaskId, Attempt)>,
        /// For their owner: what was measured.
        why: String,
    },
    /// Fetch an object's bytes into the region and report `Fetched`.
    Fetch {
        /// What.
        object: ObjectId,
        /// Which fetch of it.
        attempt: Attempt,
        /// Who has it.
        holders: Vec<Incarnation>,
        /// Where the bytes go.
        region: Region,
    },
    /// Read an object from this node's disk into the region and report `Fetched`.
    Restore {
        /// What.
        object: ObjectId,
        /// Which fetch of it.
        attempt: Attempt,
        /// Where it is.
        place: Place,
        /// Where the bytes go.
        region: Region,
    },
    /// Write a batch and report `Spilled`.
    Spill(Batch),
    /// Remove a spill file and report `Removed`.
    RemoveFile(FileName),
    /// Write the value of a copy outside the cluster and report `Saved`.
    Save(ObjectId),
    /// Read a value of this size back from there and report `Loaded`.
    Load(ObjectId, ByteSize),
    /// Remove what may be there of an object.
    Erase(ObjectId),
    /// The holders of an object that is being fetched are now these.
    Holders {
        /// What.
        object: ObjectId,
        /// Which fetch of it.
        attempt: Attempt,
        /// Who has it.
        holders: Vec<Incarnation>,
    },
    /// These members live; the transfers that this turn begins are from them.
    Members(Members),
    /// Somebody died. These are the rpc addresses of the living; nothing is sent to others any more.
    Living(BTreeSet<String>),
    /// Stop a fetch or a restore; nothing is reported for it.
    AbortFetch {
        /// What.
        object: ObjectId,
        /// Which fetch of it.
        attempt: Attempt,
    },
    /// Something for the worker of an actor.
    Actor(ActorOutput),
    /// The owner's counters changed.
    Progress(Vec<(Arc<str>, Counters)>),
    /// For the event log.
    Log {
        /// One word.
        kind: &'static str,
        /// The rest of the line.
        detail: String,
    },
    /// The node is in this situation for the first time.
    Covered(String),
    /// The cluster declared this node dead, or the head is silent for too long: it must stop. With the reason.
    Stop(String),
}
