//! The handle through which a program uses the runtime.

use super::reference::{ObjectRef, decode};
use crate::Error;
use crate::node::{ActorInput, Cancels, Credits, Input, Processes, Question};
use crate::objects::Objects;
use bytes::Bytes;
use mobula_env::{Env, Files};
use mobula_protocol::owner::Counters;
use mobula_protocol::pull::{BundleId, Priority};
use mobula_protocol::{Attempt, ByteSize, Incarnation, LeaseId, Nanos, ObjectId, ResultPlace};
use mobula_protocol::{Share, TaskErrorKind, TaskId, TaskSpec};
use mobula_store::codec::{self, Encoded};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot, watch};

/// What a driver or a task holds to use the runtime: put, get, wait, submit. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
    /// The lease under which the task that holds this context runs; a driver has none.
    lease: Option<LeaseId>,
    /// That task; a driver has none.
    task: Option<TaskId>,
    /// Which execution of its task this is; 0 for a driver.
    attempt: u32,
    /// The driver that it works for: itself, or the one that submitted its task.
    job: Incarnation,
    /// That task's share, which tasks that it submits inherit.
    share: Option<Arc<Share>>,
}

/// What all contexts of one process share.
pub(crate) struct Shared {
    pub env: Env,
    pub me: Incarnation,
    pub inbox: mpsc::UnboundedSender<Input>,
    pub objects: Objects,
    pub inline: ByteSize,
    /// Numbers of tasks and puts.
    pub next_task: AtomicU64,
    /// Attempts on this node that were cancelled and are not over.
    pub cancels: Arc<Cancels>,
    /// How far generators on this node may go.
    pub credits: Arc<Credits>,
    /// Tasks submitted here.
    pub submitted: AtomicU64,
    /// Numbers of gets and waits.
    pub next_bundle: AtomicU64,
    /// Progress of the owner in this process, by label.
    pub progress: watch::Receiver<Progress>,
    /// Worker processes of this node.
    pub processes: Arc<Processes>,
    /// Whether this process ever freed a value; then the store alone cannot say what may still be read.
    pub has_freed: AtomicBool,
}

/// Counters by label, as of some moment.
pub type Progress = Vec<(Arc<str>, Counters)>;

/// What reading from this node's own disk may take before whoever waits for it counts as waiting.
const RESTORE: Nanos = Nanos::millis(20);

/// What a wait found: references that are ready, and the others, each in the order given.
pub struct Waited<T> {
    /// These have a value or an error.
    pub ready: Vec<ObjectRef<T>>,
    /// These do not yet.
    pub pending: Vec<ObjectRef<T>>,
}

impl Context {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let job = shared.me;
        Self { shared, lease: None, task: None, attempt: 0, job, share: None }
    }

    /// The same, on behalf of an attempt that runs under `lease`.
    pub(crate) fn under(&self, lease: LeaseId, spec: &TaskSpec, attempt: Attempt) -> Self {
        Self { lease: Some(lease), ..self.in_attempt(spec, attempt) }
    }

    /// The same, on behalf of an attempt of a task that cannot wait.
    pub(crate) fn in_attempt(&self, spec: &TaskSpec, attempt: Attempt) -> Self {
        let share = spec.class.share.clone();
        let (shared, job) = (self.shared.clone(), spec.job);
        Self { shared, lease: self.lease, task: Some(spec.id), attempt: attempt.0, job, share }
    }

    /// The share that tasks submitted with this context have unless they say otherwise.
    pub(super) fn share(&self) -> Option<&Arc<Share>> {
        self.share.as_ref()
    }

    /// Whether the task that holds this context was cancelled. A task that computes for long and does not await asks
    /// now and then and returns early; what it returns no longer matters.
    pub fn is_cancelled(&self) -> bool {
        self.task.is_some_and(|task| self.shared.cancels.has(task, Attempt(self.attempt)))
    }

    /// Which execution of its task this context belongs to, from 1; 0 for a driver. A task that decides by it is not
    /// deterministic: it is meant for scenarios that fail the first time.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The attempt that holds this context; none for a driver.
    pub(super) fn current(&self) -> Option<(TaskId, Attempt)> {
        self.task.map(|task| (task, Attempt(self.attempt)))
    }

    /// The world this process lives in: time, randomness, files.
    pub fn env(&self) -> &Env {
        &self.shared.env
    }

    /// The driver on whose account this works: its own process, or for a task the one that submitted it, or submitted the
    /// task that did, and so on.
    pub fn job(&self) -> Incarnation {
        self.job
    }

    /// Storage outside the cluster.
    pub fn files(&self) -> Files {
        self.shared.env.files()
    }

    /// Which life of which node this is.
    pub fn incarnation(&self) -> Incarnation {
        self.shared.me
    }

    /// Progress of everything this process submitted. The receiver is woken by each change.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.clone()
    }

    /// The counters of one label, now.
    pub fn counters(&self, label: &str) -> Counters {
        let progress = self.shared.progress.borrow();
        progress.iter().find(|(name, _)| &**name == label).map(|(_, counters)| *counters).unwrap_or_default()
    }

    /// Stores a value. Small ones stay with this process; large ones are written once, straight into the node's store.
    ///
    /// # Errors
    /// `StoreFull` when there is no room within the grace time, `OutOfDisk` when none can be made; `WrongType` when the
    /// value has no encoding.
    pub async fn put<T: Serialize>(&self, value: &T) -> Result<ObjectRef<T>, Error> {
        let encoded = super::function::encoded(value)?;
        let object = self.new_task().result(0);
        let refs = encoded.refs().to_vec();
        let objects = &self.shared.objects;
        let Placed { place, hash, .. } = objects.place(&self.shared.env, object, &encoded, self.shared.inline).await?;
        self.send(Input::Put { object, place, hash, refs, job: self.job })?;
        Ok(ObjectRef::adopt(object, self.clone()))
    }

    /// A put that does not wait: the object exists when the value is in the store, or fails with the reason why it cannot
    /// be.
    pub(super) fn begin_put(&self, value: Encoded) -> Result<ObjectRef<()>, Error> {
        let object = self.new_task().result(0);
        self.send(Input::PutBegun { object, refs: value.refs().to_vec(), job: self.job })?;
        let shared = self.shared.clone();
        self.shared.env.spawn("put", async move {
            let result = shared.objects.place(&shared.env, object, &value, shared.inline).await;
            // If the loop is gone, so is everybody who waits.
            let _ = shared.inbox.send(Input::PutEnded { object, result });
        });
        Ok(ObjectRef::adopt(object, self.clone()))
    }

    /// The value of a reference, as soon as there is one. Large values are views of the node's memory, not copies.
    ///
    /// # Errors
    /// Whatever kept the value from existing: see [`TaskErrorKind`]. Never waits for something that cannot come.
    pub async fn get<T: DeserializeOwned>(&self, reference: &ObjectRef<T>) -> Result<T, Error> {
        let bytes = self.fetch(vec![reference.id()], Priority::Get).await?;
        decode(&bytes[0], self)
    }

    /// As [`Context::get`], but gives up after `limit`.
    ///
    /// # Errors
    /// Also `GetTimeout`, after which another get can still succeed.
    pub async fn get_within<T: DeserializeOwned>(&self, reference: &ObjectRef<T>, limit: Nanos) -> Result<T, Error> {
        match self.shared.env.timeout(limit, self.get(reference)).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(TaskErrorKind::GetTimeout, format!("{reference} had no value after {limit}"))),
        }
    }

    /// The values of many references, in order. They are all in memory at the same time.
    ///
    /// # Errors
    /// The first failure in list order, among those known.
    pub async fn get_all<T: DeserializeOwned>(&self, references: &[ObjectRef<T>]) -> Result<Vec<T>, Error> {
        let bytes = self.fetch(references.iter().map(ObjectRef::id).collect(), Priority::Get).await?;
        bytes.iter().map(|bytes| decode(bytes, self)).collect()
    }

    /// As [`Context::get_all`], but gives up after `limit`.
    ///
    /// # Errors
    /// Also `GetTimeout`, after which another get can still succeed.
    pub async fn get_all_within<T: DeserializeOwned>(
        &self,
        references: &[ObjectRef<T>],
        limit: Nanos,
    ) -> Result<Vec<T>, Error> {
        let late = |_| {
            let message = format!("some of {} references had no value after {limit}", references.len());
            Err(Error::new(TaskErrorKind::GetTimeout, message))
        };
        self.shared.env.timeout(limit, self.get_all(references)).await.unwrap_or_else(late)
    }

    /// The encoded bytes of a value, not decoded.
    ///
    /// # Errors
    /// As [`Context::get`].
    pub async fn get_bytes<T>(&self, reference: &ObjectRef<T>) -> Result<Bytes, Error> {
        let mut bytes = self.fetch(vec![reference.id()], Priority::Get).await?;
        Ok(bytes.swap_remove(0))
    }

    async fn fetch(&self, objects: Vec<ObjectId>, priority: Priority) -> Result<Vec<Bytes>, Error> {
        if let Some(bytes) = self.at_hand(&objects) {
            return Ok(bytes);
        }
        let bundle = BundleId(self.shared.next_bundle.fetch_add(1, Ordering::Relaxed));
        let (reply, mut answer) = oneshot::channel();
        // What is on this node's disk comes back without anybody's cpu: only a wait that turns out to be long is one.
        let short = self.lease.is_some() && self.shared.objects.are_here(&objects);
        let _wanted = Wanted { context: self, bundle };
        self.send(Input::Get { bundle, objects, priority, reply })?;
        if short && let Ok(answer) = self.shared.env.timeout(RESTORE, &mut answer).await {
            return answer.unwrap_or_else(|_| Err(gone()));
        }
        let _blocked = Blocked::new(self);
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// The values if all of them are sealed in this node's store: then there is nothing to decide, and no need to ask
    /// the node's loop. A free of this process may still be on its way there.
    fn at_hand(&self, objects: &[ObjectId]) -> Option<Vec<Bytes>> {
        if self.shared.has_freed.load(Ordering::Acquire) || self.shared.inbox.is_closed() {
            return None;
        }
        let now = self.shared.env.now();
        objects.iter().map(|object| self.shared.objects.bytes(now, *object)).collect()
    }

    /// Waits until `count` of the references are ready (have a value somewhere, or failed), or `limit` is over.
    ///
    /// # Errors
    /// `WrongType` if `count` is larger than the number of references.
    pub async fn wait<T>(
        &self,
        references: &[ObjectRef<T>],
        count: usize,
        limit: Option<Nanos>,
    ) -> Result<Waited<T>, Error> {
        if count > references.len() {
            let message = format!("cannot wait for {count} of {} references", references.len());
            return Err(Error::new(TaskErrorKind::WrongType, message));
        }
        let (reply, mut ready) = mpsc::unbounded_channel();
        let _blocked = Blocked::new(self);
        let watch = self.shared.next_bundle.fetch_add(1, Ordering::Relaxed);
        let objects: Vec<ObjectId> = references.iter().map(ObjectRef::id).collect();
        let _watched = Watched { context: self, watch };
        self.send(Input::Watch { watch, first: 0, objects, reply })?;
        let (mut found, mut left) = (vec![false; references.len()], count);
        let collect = async {
            while left > 0 {
                let Some(position) = ready.recv().await else { return Err(gone()) };
                left -= usize::from(!std::mem::replace(&mut found[position], true));
            }
            Ok(())
        };
        match limit {
            None => collect.await?,
            Some(limit) => self.shared.env.timeout(limit, collect).await.unwrap_or(Ok(()))?,
        }
        let mut waited = Waited { ready: Vec::new(), pending: Vec::new() };
        for (reference, found) in references.iter().zip(found) {
            // Never more than asked for, so that the two lists do not depend on timing beyond the count (as in Ray).
            let list = if found && waited.ready.len() < count { &mut waited.ready } else { &mut waited.pending };
            list.push(reference.clone());
        }
        Ok(waited)
    }

    /// Cancels the task that makes this object, whoever submitted it, and all tasks that it submitted, and theirs.
    ///
    /// | the task is | then |
    /// | --- | --- |
    /// | waiting or queued | it never starts |
    /// | running, `async` | it ends at the `await` it is at, or the next one; its cpu is free then |
    /// | running, in a process of its own ([`crate::process`]) | its process is killed; its cpu is free at once |
    /// | running, a generator | it ends with the item it is making; its cpu is given to others at once |
    /// | running, otherwise | its function runs to its end, and keeps its cpu, unless it asks [`Context::is_cancelled`] |
    /// | a call of an actor | not begun: it never does; begun: as a function that does not await, and the actor lives on |
    /// | finished | nothing happens, also to tasks that it submitted and that still run |
    ///
    /// Unless it had finished, its results are `Cancelled` errors from the moment its owner reads this, whatever the
    /// attempt still does, what that returns is dropped, and it is not run again, whatever its budgets. Cancelling twice is
    /// cancelling once. What a cancelled attempt submits later is cancelled too.
    ///
    /// What is forced is the result, in every case: nobody waits for a function that does not end. Whether its end is forced
    /// too is decided by where it runs. A `#[task(process)]` function has a process, which is killed. Any other that does
    /// not await is on a thread of its node, and nobody can end a thread: its cpu comes back when it returns or with its
    /// node. (Ray: `ray.cancel(ref, recursive=True)`; its `force=True` kills the worker process, and what else that process
    /// held.)
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn cancel<T>(&self, reference: &ObjectRef<T>) -> Result<(), Error> {
        self.send(Input::Cancel { object: reference.id(), recursive: true })
    }

    /// As [`Context::cancel`], but lets the tasks run that the cancelled one submitted.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn cancel_alone<T>(&self, reference: &ObjectRef<T>) -> Result<(), Error> {
        self.send(Input::Cancel { object: reference.id(), recursive: false })
    }

    /// Waits until fewer than `limit` of the tasks that this process submitted are unfinished: a driver that makes
    /// tasks faster than the cluster runs them asks for room before each, and so needs bounded memory.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub async fn room(&self, limit: u64) -> Result<(), Error> {
        let _blocked = Blocked::new(self);
        let mut progress = self.shared.progress.clone();
        loop {
            let over = |progress: &Progress| progress.iter().map(|(_, c)| c.finished + c.failed).sum::<u64>();
            let over = over(&progress.borrow_and_update());
            if self.shared.submitted.load(Ordering::Relaxed).saturating_sub(over) < limit.max(1) {
                return Ok(());
            }
            progress.changed().await.map_err(|_| gone())?;
        }
    }

    /// Makes a node take no more work, for good; what runs there runs to its end. Returns once this process knows that
    /// the node is draining, so that nothing it submits from then on goes there. Values stay where they are: those that
    /// have no other copy are rebuilt when the node is gone.
    ///
    /// # Errors
    /// `Unschedulable` if there is no living node of this name, `GetTimeout` if it did not answer within `limit`.
    pub async fn drain(&self, node: &str, limit: Nanos) -> Result<(), Error> {
        const PAUSE: Nanos = Nanos::millis(5);
        let deadline = self.shared.env.now() + limit;
        let (reply, answer) = oneshot::channel();
        self.send(Input::Drain(node.to_owned(), reply))?;
        if !answer.await.map_err(|_| gone())? {
            return Err(Error::new(TaskErrorKind::Unschedulable, format!("there is no living node {node} to drain")));
        }
        loop {
            let view = self.ask(Question::Cluster).await?;
            let found = view.nodes.iter().find(|known| known.member.name == node);
            if found.is_none_or(|known| known.load.draining) {
                return Ok(());
            }
            if self.shared.env.now() >= deadline {
                let message = format!("{node} did not say within {limit} that it is draining");
                return Err(Error::new(TaskErrorKind::GetTimeout, message));
            }
            self.shared.env.sleep(PAUSE).await;
        }
    }

    /// Frees a value, whoever owns it, although references to it exist: reading them fails with `Freed` from now on.
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub fn free<T>(&self, reference: &ObjectRef<T>) -> Result<(), Error> {
        self.shared.has_freed.store(true, Ordering::Release);
        self.send(Input::Free(reference.id()))
    }

    /// Asks the process's machines something; see [`Question`].
    ///
    /// # Errors
    /// When the runtime is shut down.
    pub async fn ask<A: Send + 'static>(
        &self,
        question: impl FnOnce(oneshot::Sender<A>) -> Question,
    ) -> Result<A, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Ask(question(reply)))?;
        answer.await.map_err(|_| gone())
    }

    /// Waits until this process knows that the nodes of these names live: news of a join takes a moment to travel.
    ///
    /// # Errors
    /// `GetTimeout` naming those still unknown after `limit`.
    pub async fn await_nodes(&self, names: &[&str], limit: Nanos) -> Result<(), Error> {
        const PAUSE: Nanos = Nanos::millis(1);
        let deadline = self.shared.env.now() + limit;
        loop {
            let view = self.ask(Question::Cluster).await?;
            let known = |name: &&&str| !view.nodes.iter().any(|node| node.member.name == **name);
            let unknown: Vec<&str> = names.iter().filter(known).copied().collect();
            if unknown.is_empty() {
                return Ok(());
            }
            if self.shared.env.now() >= deadline {
                let message = format!("{} did not join within {limit}", unknown.join(", "));
                return Err(Error::new(TaskErrorKind::GetTimeout, message));
            }
            self.shared.env.sleep(PAUSE).await;
        }
    }

    /// Submits the task that `describe` makes of its name. If a task submits it, it is that task's child.
    pub(crate) fn submit(&self, describe: impl FnOnce(TaskId) -> TaskSpec) -> Result<TaskId, Error> {
        let id = self.new_task();
        let spec = describe(id);
        spec.within_limits()?;
        let parent = self.counted();
        self.send(Input::Submit { spec: Arc::new(spec), parent })?;
        Ok(id)
    }

    /// While this lives, the task that holds this context does not count as using its cpu.
    pub(crate) fn blocked(&self) -> Blocked<'_> {
        Blocked::new(self)
    }

    pub(crate) fn ref_added(&self, id: ObjectId) {
        self.tell(Input::RefAdded(id, self.current()));
    }

    pub(crate) fn ref_dropped(&self, id: ObjectId) {
        self.tell(Input::RefDropped(id));
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// A number for a get or a wait.
    pub(super) fn next_bundle(&self) -> u64 {
        self.shared.next_bundle.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts one more submission, and says which attempt makes it; none for a driver.
    pub(super) fn counted(&self) -> Option<(TaskId, Attempt)> {
        self.shared.submitted.fetch_add(1, Ordering::Relaxed);
        self.current()
    }

    /// The same process, on behalf of no task.
    pub(crate) fn detached_from_task(&self) -> Self {
        Self::new(self.shared.clone())
    }

    pub(crate) fn send_actors(&self, input: ActorInput) -> Result<(), Error> {
        self.send(Input::Actor(input))
    }

    pub(crate) fn tell_actors(&self, input: ActorInput) {
        self.tell(Input::Actor(input));
    }

    pub(crate) fn new_task(&self) -> TaskId {
        TaskId { owner: self.shared.me, seq: self.shared.next_task.fetch_add(1, Ordering::Relaxed) }
    }

    pub(super) fn send(&self, input: Input) -> Result<(), Error> {
        self.shared.inbox.send(input).map_err(|_| gone())
    }

    /// For news that no longer matter once the runtime is shut down.
    pub(super) fn tell(&self, input: Input) {
        let _ = self.shared.inbox.send(input);
    }
}

pub(crate) fn gone() -> Error {
    Error::new(TaskErrorKind::Disconnected, "this node was shut down, or declared dead by its cluster")
}

/// While it lives, the task that waits does not count as using its cpu.
pub(crate) struct Blocked<'a>(Option<(&'a Context, LeaseId)>);

impl<'a> Blocked<'a> {
    pub fn new(context: &'a Context) -> Self {
        let blocked = context.lease.map(|lease| (context, lease));
        if let Some((context, lease)) = blocked {
            context.tell(Input::Blocked(lease));
        }
        Self(blocked)
    }
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        if let Some((context, lease)) = self.0 {
            context.tell(Input::Unblocked(lease));
        }
    }
}

/// Ends a get, also one that is dropped before its answer.
struct Wanted<'a> {
    context: &'a Context,
    bundle: BundleId,
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.context.tell(Input::Drop(self.bundle));
    }
}

/// Ends a wait.
struct Watched<'a> {
    context: &'a Context,
    watch: u64,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.context.tell(Input::Unwatch(self.watch));
    }
}

/// The hash of an encoded value: the checksum in its header, which covers the structure and the hash of every buffer.
pub(crate) fn value_hash(encoded: &[u8]) -> u64 {
    encoded.get(24..32).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A value that is where it belongs.
pub(crate) struct Placed {
    pub place: ResultPlace,
    pub hash: u64,
    /// Whether a copy was stored for it: it is neither inline, nor was it here from an earlier attempt.
    pub stored: bool,
}

/// Reads a value that is already here.
///
/// # Errors
/// `WrongType`.
pub fn read<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Error> {
    codec::decode(bytes).map_err(|why| Error::new(TaskErrorKind::WrongType, why.to_string()))
}
