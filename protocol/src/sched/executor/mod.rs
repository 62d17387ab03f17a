//! The node's side of tasks: those pushed under a lease wait for their arguments, then run in order on the lease's
//! worker.
//!
//! # States of an attempt
//! ```text
//!   Push -> waiting --ArgsReady--> started --(front of its lease's queue)--> running --Finished--> done
//!              |                      | Skip sent                                        TaskDone(outcome)
//!              | ArgUnavailable,      | Skipped
//!              | Cancel, Blocked      v
//!              +-----------------> handed back: TaskDone(HandedBack)
//! ```
//! *Started* means appended to the first-in-first-out queue of the lease's worker. The front of that queue is running.
//!
//! # Guarantees
//! - A task never starts before [`Event::ArgsReady`] (I9), unless it has no reference arguments that were not sent
//!   along, and never after its cancel was answered with `HandedBack`. Because the worker takes tasks from its queue by
//!   itself, a started task is cancelled in two steps: [`Effect::Skip`], and the answer when the worker confirms with
//!   [`Event::Skipped`]. If it runs already, it finishes and its outcome is reported as usual.
//! - Every pushed attempt gets exactly one `TaskDone`, unless its owner died or its lease ended first; a push under a
//!   lease that is not there is handed back at once. A push of an attempt that is still here is a duplicate and
//!   ignored.
//! - Tasks of one lease run in the order in which they became ready, one at a time.
//! - **No task waits behind a blocked one (I37).** When the running task of a lease waits in `get`, everything behind
//!   it is handed back, because it may be what that `get` waits for. While the lease is blocked new pushes are handed
//!   back too.
//! - **A crash costs the running task alone.** After [`TaskOutcome::Crashed`] the shell puts a fresh worker under the
//!   lease, which carries on with the rest of the same queue: those tasks had not begun, so they lose nothing.
//! - **So does a lack of memory.** Which running task it costs is [`crate::memory`]'s choice. The shell stops its worker,
//!   puts a fresh one under the lease, and says which attempts the old one had begun and not reported
//!   ([`Event::OutOfMemory`]): one, or several if the worker ran them in one go. Whatever is heard of them later is ignored.
//! - `TaskStarted` is reported at [`Event::Flush`] and only for tasks that still run then: short tasks cost one
//!   message.
//!
//! # Where we differ from Ray
//! In Ray the owner resolves inline arguments and the raylet pulls the others before it hands out the worker
//! (`LeaseDependencyManager`), so each set of arguments needs its own lease. Here a lease is for a class and the
//! arguments belong to the task. A node never holds a lease for a value that does not exist yet: the task is handed
//! back.

#[cfg(test)]
mod tests;

use crate::memory::Running;
use crate::{
    Attempt, ByteSize, LeaseId, Machine, Message, Nanos, ObjectId, OwnerId, TaskId, TaskOutcome, TaskSpec, Violation,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A lease was granted and its worker is ready.
    Leased {
        /// Which.
        lease: LeaseId,
    },
    /// An owner sent a task.
    Push {
        /// Who.
        from: OwnerId,
        /// Under which lease.
        lease: LeaseId,
        /// Which attempt.
        attempt: Attempt,
        /// The task.
        spec: Arc<TaskSpec>,
        /// Values of reference arguments, by argument position.
        inline: Vec<(u32, Bytes)>,
    },
    /// Everything asked for with [`Effect::Want`] is local, sealed and pinned.
    ArgsReady {
        /// For this task.
        task: TaskId,
        /// Its attempt.
        attempt: Attempt,
    },
    /// An argument is not to be had at the moment.
    ArgUnavailable {
        /// For this task.
        task: TaskId,
        /// Its attempt.
        attempt: Attempt,
        /// Which argument.
        object: ObjectId,
    },
    /// The running task is over.
    Finished {
        /// Which.
        task: TaskId,
        /// Its attempt.
        attempt: Attempt,
        /// How it ended.
        outcome: TaskOutcome,
        /// How long it ran.
        spent: Nanos,
    },
    /// The node ran out of memory, and the worker that had begun these attempts was stopped.
    OutOfMemory {
        /// Which.
        attempts: Vec<(TaskId, Attempt)>,
        /// For their owner: what was measured.
        why: String,
    },
    /// The worker dropped a task it was told to skip.
    Skipped {
        /// Which.
        task: TaskId,
        /// Its attempt.
        attempt: Attempt,
    },
    /// The running task of the lease waits for a value.
    Blocked {
        /// Which lease.
        lease: LeaseId,
    },
    /// It waits no longer.
    Unblocked {
        /// Which lease.
        lease: LeaseId,
    },
    /// The lease is gone.
    LeaseEnded {
        /// Which.
        lease: LeaseId,
    },
    /// The owner does not want this attempt to start.
    Cancel {
        /// Which.
        task: TaskId,
        /// Its attempt.
        attempt: Attempt,
    },
    /// Membership declared this owner dead.
    OwnerDied(OwnerId),
    /// The shell has no more events at hand.
    Flush,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make these objects local and pin them, then say [`Event::ArgsReady`]. Never empty, no duplicates, in id order.
    Want {
        /// For this task.
        task: TaskId,
        /// Its attempt.
        attempt: Attempt,
        /// What it needs.
        objects: Vec<ObjectId>,
    },
    /// Those objects are no longer wanted for this attempt. Sent only before it started.
    Unwant {
        /// For this task.
        task: TaskId,
        /// Its attempt.
        attempt: Attempt,
    },
    /// Append to the queue of the lease's worker.
    Start {
        /// The lease.
        lease: LeaseId,
        /// Which attempt.
        attempt: Attempt,
        /// The task.
        spec: Arc<TaskSpec>,
        /// Values that came along, by argument position.
        inline: Vec<(u32, Bytes)>,
    },
    /// Drop it from the worker's queue and say [`Event::Skipped`]; if it runs already, do nothing.
    Skip {
        /// The lease.
        lease: LeaseId,
        /// Which task.
        task: TaskId,
        /// Its attempt.
        attempt: Attempt,
    },
    /// The worker of this lease is no longer needed; whatever it still does is ignored.
    StopWorker {
        /// The lease.
        lease: LeaseId,
    },
    /// Send this.
    Report {
        /// The owner.
        to: OwnerId,
        /// `TaskStarted` or `TaskDone`.
        message: Message,
    },
}

type Key = (TaskId, Attempt);

/// A leased worker and the tasks under it.
#[derive(Debug, Default)]
struct Run {
    /// Started, in order; the front is running.
    queue: VecDeque<Key>,
    /// Not ready yet.
    waiting: BTreeSet<Key>,
    blocked: bool,
}

#[derive(Debug)]
struct Task {
    lease: LeaseId,
    /// Present until it starts.
    spec: Option<Arc<TaskSpec>>,
    inline: Vec<(u32, Bytes)>,
    /// `Skip` was sent.
    skipping: bool,
    /// `TaskStarted` was sent.
    reported: bool,
    /// Since when it is at the front of its lease's queue; zero before.
    since: Nanos,
    label: Arc<str>,
    /// Whether it may run again after it was ended for memory.
    retriable: bool,
}

/// The tasks of one node. See the module's documentation.
#[derive(Debug, Default)]
pub struct Executor {
    now: Nanos,
    leases: BTreeMap<LeaseId, Run>,
    tasks: BTreeMap<Key, Task>,
    /// Leases whose front changed since the last flush.
    fresh: BTreeSet<LeaseId>,
}

impl Executor {
    /// A node without work.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tasks here that are not over.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The tasks that run, for the memory monitor; what they claimed it does not know.
    pub fn running(&self) -> impl Iterator<Item = Running> {
        self.leases.iter().filter_map(|(lease, run)| {
            let (task, attempt) = *run.queue.front()?;
            let Task { since, label, retriable, .. } = self.tasks.get(&(task, attempt))?;
            let (label, retriable, since, claimed) = (label.clone(), *retriable, *since, ByteSize::ZERO);
            Some(Running { task, attempt, lease: *lease, label, retriable, since, claimed })
        })
    }

    /// The attempts under a lease that started, in order.
    pub fn started(&self, lease: LeaseId) -> Vec<(TaskId, Attempt)> {
        self.leases.get(&lease).map(|run| run.queue.iter().copied().collect()).unwrap_or_default()
    }

    fn push(
        &mut self,
        (from, lease, attempt): (OwnerId, LeaseId, Attempt),
        spec: Arc<TaskSpec>,
        inline: Vec<(u32, Bytes)>,
        out: &mut Vec<Effect>,
    ) {
        let key = (spec.id, attempt);
        if self.tasks.contains_key(&key) {
            return;
        }
        let Some(run) = self.leases.get_mut(&lease).filter(|run| !run.blocked && lease.owner == from) else {
            return out.push(done(from, lease, key, TaskOutcome::HandedBack(None), Nanos::ZERO));
        };
        let objects = if crate::planted!("executor-starts-early") { Vec::new() } else { wanted(&spec, &inline) };
        let (label, retriable) = (spec.label.clone(), spec.retries.memory != Some(0));
        let (spec, since) = (Some(spec), Nanos::ZERO);
        let task = Task { lease, spec, inline, skipping: false, reported: false, since, label, retriable };
        self.tasks.insert(key, task);
        run.waiting.insert(key);
        if objects.is_empty() {
            self.start(key, out);
        } else {
            out.push(Effect::Want { task: key.0, attempt, objects });
        }
    }

    fn start(&mut self, key: Key, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&key) else { return };
        let Some(spec) = task.spec.take() else { return };
        let Some(run) = self.leases.get_mut(&task.lease) else { return };
        run.waiting.remove(&key);
        run.queue.push_back(key);
        if run.queue.len() == 1 {
            task.since = self.now;
            self.fresh.insert(task.lease);
        }
        let inline = std::mem::take(&mut task.inline);
        out.push(Effect::Start { lease: task.lease, attempt: key.1, spec, inline });
    }

    /// Ends an attempt that is here, with its one report.
    fn end(&mut self, key: Key, outcome: TaskOutcome, spent: Nanos, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.remove(&key) else { return };
        if let Some(run) = self.leases.get_mut(&task.lease) {
            run.waiting.remove(&key);
            if let Some(index) = run.queue.iter().position(|queued| *queued == key) {
                run.queue.remove(index);
                if let (0, Some(next)) = (index, run.queue.front()) {
                    self.tasks.entry(*next).and_modify(|next| next.since = self.now);
                    self.fresh.insert(task.lease);
                }
            }
        }
        out.push(done(task.lease.owner, task.lease, key, outcome, spent));
    }

    /// Takes an attempt back if it has not begun: at once while it waits, with the worker's consent after that.
    fn withdraw(&mut self, key: Key, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&key) else { return };
        if task.spec.is_some() {
            out.push(Effect::Unwant { task: key.0, attempt: key.1 });
            self.end(key, TaskOutcome::HandedBack(None), Nanos::ZERO, out);
        } else if !task.skipping {
            task.skipping = true;
            out.push(Effect::Skip { lease: task.lease, task: key.0, attempt: key.1 });
        }
    }

    fn unavailable(&mut self, key: Key, object: ObjectId, out: &mut Vec<Effect>) {
        if self.tasks.get(&key).is_some_and(|task| task.spec.is_some()) {
            out.push(Effect::Unwant { task: key.0, attempt: key.1 });
            self.end(key, TaskOutcome::HandedBack(Some(object)), Nanos::ZERO, out);
        }
    }

    fn blocked(&mut self, lease: LeaseId, out: &mut Vec<Effect>) {
        let Some(run) = self.leases.get_mut(&lease) else { return };
        run.blocked = true;
        if crate::planted!("executor-keeps-tasks-behind-blocked") {
            return;
        }
        let behind: Vec<_> = run.queue.iter().skip(1).chain(&run.waiting).copied().collect();
        behind.into_iter().for_each(|key| self.withdraw(key, out));
    }

    /// The owner is gone or gave the lease back: nobody waits for a report.
    fn lease_ended(&mut self, lease: LeaseId, out: &mut Vec<Effect>) {
        let Some(run) = self.leases.remove(&lease) else { return };
        self.fresh.remove(&lease);
        for key in run.queue.iter().chain(&run.waiting) {
            self.tasks.remove(key);
        }
        for (task, attempt) in run.waiting {
            out.push(Effect::Unwant { task, attempt });
        }
        out.push(Effect::StopWorker { lease });
    }

    fn owner_died(&mut self, owner: OwnerId, out: &mut Vec<Effect>) {
        let all = LeaseId { owner, seq: 0 }..=LeaseId { owner, seq: u64::MAX };
        let theirs: Vec<_> = self.leases.range(all).map(|(lease, _)| *lease).collect();
        theirs.into_iter().for_each(|lease| self.lease_ended(lease, out));
    }

    fn flush(&mut self, out: &mut Vec<Effect>) {
        for lease in std::mem::take(&mut self.fresh) {
            let front = self.leases.get(&lease).and_then(|run| run.queue.front().copied());
            let Some(key) = front else { continue };
            if let Some(task) = self.tasks.get_mut(&key).filter(|task| !task.reported) {
                task.reported = true;
                let message = Message::TaskStarted { task: key.0, attempt: key.1 };
                out.push(Effect::Report { to: lease.owner, message });
            }
        }
    }
}

impl Machine for Executor {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Vec<Effect>) {
        self.now = now;
        match event {
            Event::Leased { lease } => {
                self.leases.entry(lease).or_default();
            }
            Event::Push { from, lease, attempt, spec, inline } => {
                self.push((from, lease, attempt), spec, inline, out);
            }
            Event::ArgsReady { task, attempt } => self.start((task, attempt), out),
            Event::ArgUnavailable { task, attempt, object } => self.unavailable((task, attempt), object, out),
            Event::Finished { task, attempt, outcome, spent } => {
                // Only a started task can finish; anything else is a word from a worker that was stopped.
                if self.tasks.get(&(task, attempt)).is_some_and(|task| task.spec.is_none()) {
                    self.end((task, attempt), outcome, spent, out);
                }
            }
            Event::OutOfMemory { attempts, why } => {
                for key in attempts {
                    if self.tasks.get(&key).is_some_and(|task| task.spec.is_none()) {
                        self.end(key, TaskOutcome::OutOfMemory(why.clone()), Nanos::ZERO, out);
                    }
                }
            }
            Event::Skipped { task, attempt } => {
                let loses = crate::planted!("executor-loses-skipped");
                if self.tasks.get(&(task, attempt)).is_some_and(|task| task.skipping && !loses) {
                    self.end((task, attempt), TaskOutcome::HandedBack(None), Nanos::ZERO, out);
                }
            }
            Event::Blocked { lease } => self.blocked(lease, out),
            Event::Unblocked { lease } => {
                if let Some(run) = self.leases.get_mut(&lease) {
                    run.blocked = false;
                }
            }
            Event::LeaseEnded { lease } => self.lease_ended(lease, out),
            Event::Cancel { task, attempt } => self.withdraw((task, attempt), out),
            Event::OwnerDied(owner) => self.owner_died(owner, out),
            Event::Flush => self.flush(out),
        }
    }

    fn check(&self) -> Result<(), Violation> {
        let held: usize = self.leases.values().map(|run| run.queue.len() + run.waiting.len()).sum();
        Violation::unless(held == self.tasks.len(), "executor-tasks", || {
            format!("{held} tasks under leases, {} known", self.tasks.len())
        })?;
        for (lease, run) in &self.leases {
            let placed = |key: &Key, waits: bool| {
                self.tasks.get(key).is_some_and(|task| task.lease == *lease && task.spec.is_some() == waits)
            };
            let right =
                run.queue.iter().all(|key| placed(key, false)) && run.waiting.iter().all(|key| placed(key, true));
            Violation::unless(right, "executor-states", || format!("{lease}: {run:?}"))?;
            Violation::unless(!run.blocked || run.waiting.is_empty(), "I37-behind-blocked", || {
                format!("{lease}: {run:?}")
            })?;
        }
        Ok(())
    }
}

/// The distinct reference arguments whose values did not come along.
fn wanted(spec: &TaskSpec, inline: &[(u32, Bytes)]) -> Vec<ObjectId> {
    let missing = spec.args.iter().zip(0u32..).filter_map(|(arg, position)| match arg {
        crate::Arg::Ref(object) if inline.iter().all(|(given, _)| *given != position) => Some(*object),
        crate::Arg::Ref(_) | crate::Arg::Value(..) => None,
    });
    let mut objects: Vec<_> = missing.collect();
    objects.sort_unstable();
    objects.dedup();
    objects
}

fn done(to: OwnerId, lease: LeaseId, (task, attempt): Key, outcome: TaskOutcome, spent: Nanos) -> Effect {
    Effect::Report { to, message: Message::TaskDone { lease, task, attempt, outcome, spent } }
}
