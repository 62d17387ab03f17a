//! What nodes report of attempts, and what becomes of it.

use super::types::{Effect, Stage};
use super::{Owner, free};
use crate::{Attempt, Incarnation, Located, Nanos, ObjectId, ResultPlace};
use crate::{Replay, TaskError, TaskErrorKind, TaskId, TaskOutcome, TaskResult, TaskSpec};

impl Owner {
    pub(super) fn started(&mut self, id: TaskId, attempt: Attempt) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Stage::Running { started, .. } = &mut task.stage else { return };
        if task.attempt == attempt && !*started {
            *started = true;
            self.counters[task.label].1.executions += 1;
        }
    }

    pub(super) fn done(
        &mut self,
        now: Nanos,
        from: Incarnation,
        (id, attempt): (TaskId, Attempt),
        outcome: TaskOutcome,
        out: &mut Vec<Effect>,
    ) {
        if self.dead.contains(&from) {
            return;
        }
        let current = self
            .tasks
            .get(&id)
            .filter(|task| task.attempt == attempt && matches!(task.stage, Stage::Running { to, .. } if to == from));
        let Some(task) = current else { return self.disown(from, id, outcome, out) };
        let streams = task.stream.is_some();
        let (returns, stale) = (task.spec.returns as usize, task.stale);
        if !matches!(outcome, TaskOutcome::HandedBack(_)) {
            self.started(id, attempt);
        }
        let ended = streams && !stale && matches!(outcome, TaskOutcome::Returned(_));
        if ended && !self.stream_ended(id, out) {
            return;
        }
        match outcome {
            TaskOutcome::Returned(results) if stale => {
                self.disown(from, id, TaskOutcome::Returned(results), out);
                self.wait_for_args(id, out);
            }
            TaskOutcome::Returned(results) if results.len() == returns => self.returned(from, id, results, out),
            TaskOutcome::Returned(results) => {
                let message = format!("{id} returned {} results and declares {returns}", results.len());
                self.disown(from, id, TaskOutcome::Returned(results), out);
                self.raised(id, TaskError::new(TaskErrorKind::TaskFailed, message), out);
            }
            TaskOutcome::Raised(error) => self.raised(id, error, out),
            TaskOutcome::Crashed(why) => self.crashed(id, TaskErrorKind::WorkerCrashed, why, out),
            TaskOutcome::OutOfMemory(why) => self.ran_out_of_memory(now, id, why, out),
            TaskOutcome::HandedBack(_) => self.turned_away(id, out),
        }
    }

    /// A superseded or cancelled attempt reports. Its results are never published: what it left behind is freed.
    fn disown(&mut self, from: Incarnation, id: TaskId, outcome: TaskOutcome, out: &mut Vec<Effect>) {
        if let TaskOutcome::Returned(results) = outcome {
            for (index, result) in (0..).zip(results) {
                self.refuse(from, id.result(index), result, out);
            }
        }
    }

    /// A result that is not published: its copy is freed, and its sender's registrations for references inside it,
    /// which nobody here will hold, are given back.
    pub(super) fn refuse(&mut self, from: Incarnation, object: ObjectId, result: TaskResult, out: &mut Vec<Effect>) {
        if let ResultPlace::Stored(_) = result.place {
            self.discard_copy(object, from, out);
        }
        if from != self.me {
            for inner in result.refs.into_iter().filter(|inner| inner.owner() != self.me) {
                out.extend([Effect::Inherit(inner), Effect::Unhold(inner)]);
            }
        }
    }

    /// Frees a copy that is not of the accepted value, unless the node has one of that too: a store knows objects by
    /// name, not by attempt.
    pub(super) fn discard_copy(&mut self, object: ObjectId, at: Incarnation, out: &mut Vec<Effect>) {
        let superseded = self.directory.copies(object).binary_search(&at).is_err();
        if superseded || crate::planted!("owner-frees-good-copies") {
            free(at, object, out);
            self.replicas.discarded(object, at);
        }
    }

    fn returned(&mut self, from: Incarnation, id: TaskId, results: Vec<TaskResult>, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.stage = Stage::Finished;
        let spec = task.spec.clone();
        if !task.rebuilding {
            task.rebuilding = true;
            self.counters[task.label].1.finished += 1;
        }
        for (index, result) in (0..).zip(results) {
            let object = id.result(index);
            self.publish(from, object, result, &spec, out);
            self.arrived(object, out);
        }
        self.settle_args(&spec, out);
        self.call_over(&spec, out);
        self.keep_lineage(id, out);
    }

    /// Accepts a result of the current attempt for an object that has no value. A task that was run again because a
    /// sibling was lost may find it has one: then an equal copy is one more, and anything else would be a second
    /// version (I4).
    pub(super) fn publish(
        &mut self,
        from: Incarnation,
        object: ObjectId,
        result: TaskResult,
        spec: &TaskSpec,
        out: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.objects.get_mut(&object) else {
            // A sibling that went out of scope before the task had to run again.
            return self.refuse(from, object, result, out);
        };
        if !entry.in_scope() {
            self.idle.push(object);
        }
        match (self.directory.state(object), &result.place) {
            // The version that was accepted is outside the cluster, and is about to be read back if somebody wants it.
            (Located::Pending, _) if entry.differs(&result) && self.persisted.holds(object) => {
                self.refuse(from, object, result, out);
            }
            (Located::Pending, _) if entry.differs(&result) && spec.replay == Replay::Strict => {
                let (label, before, now) = (&spec.label, entry.hash.unwrap_or_default(), result.hash);
                let message =
                    format!("{label} made another {object} when it ran again: hash {before:016x}, now {now:016x}");
                self.refuse(from, object, result, out);
                self.fail_value(object, TaskError::new(TaskErrorKind::NondeterministicReplay, message), out);
            }
            (Located::Pending, _) => {
                if entry.differs(&result) {
                    self.invalidate_consumers(object, out);
                }
                let Some(entry) = self.objects.get_mut(&object) else { return };
                entry.hash = Some(result.hash);
                self.contain(object, result.refs, from != self.me, out);
                self.place(object, from, result.place, out);
            }
            (Located::Stored { size, .. }, ResultPlace::Stored(new))
                if size == new && entry.hash == Some(result.hash) =>
            {
                self.directory.copy_added(object, from, *new, &mut self.news);
                self.copies_changed(object);
                self.tell(out);
                self.refuse(from, object, result, out);
            }
            _ => self.refuse(from, object, result, out),
        }
    }

    fn raised(&mut self, id: TaskId, error: TaskError, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if spend(&mut task.errors_left) {
            self.counters[task.label].1.retried += 1;
            return self.wait_for_args(id, out);
        }
        self.fail_task(id, error, out);
    }

    fn crashed(&mut self, id: TaskId, kind: TaskErrorKind, why: String, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if spend(&mut task.crashes_left) {
            self.counters[task.label].1.retried += 1;
            return self.wait_for_args(id, out);
        }
        let message = format!("{} ({id}) died in attempt {}: {why}", task.spec.label, task.attempt.0);
        self.fail_task(id, TaskError::new(kind, message), out);
    }

    /// Attempts on a dead node. Whether one had begun is not known unless the node said so, so it is charged like a
    /// crash.
    pub(super) fn end_attempts_on(&mut self, dead: Incarnation, out: &mut Vec<Effect>) {
        let mut ended: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.stage, Stage::Running { to, .. } if to == dead) && !task.spec.is_call())
            .filter(|_| !crate::planted!("owner-keeps-attempts-on-the-dead"))
            .map(|(id, _)| *id)
            .collect();
        ended.sort_unstable();
        for id in ended {
            self.crashed(id, TaskErrorKind::NodeDied, format!("its node, {dead}, died"), out);
        }
    }
}

/// Takes one from a budget; false if there is none left.
pub(crate) fn spend(budget: &mut Option<u32>) -> bool {
    match budget {
        None => true,
        Some(0) => false,
        Some(left) => {
            *left -= 1;
            true
        }
    }
}
