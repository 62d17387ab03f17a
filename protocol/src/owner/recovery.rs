//! Bringing lost values back, or saying why not.

use super::Owner;
use super::attempts::spend;
use super::types::{Effect, Origin, Stage};
use crate::{Located, ObjectId, TaskError, TaskErrorKind, TaskId, UnreconstructableReason};

impl Owner {
    /// The last copy of an object went away. It is rebuilt now if somebody waits for it, and else when somebody does.
    pub(super) fn lost(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        let waited_for = self.waiting.contains_key(&object) || !self.directory.subscribers(object).is_empty();
        if waited_for && !crate::planted!("owner-forgets-lost-arguments") {
            self.want(object, out);
        }
    }

    /// Somebody wants an object: if it was lost, its task runs again, and so, through the agenda, do the tasks that
    /// make that one's lost arguments.
    pub(super) fn want(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        if object.owner() != self.me
            || !self.objects.contains_key(&object)
            || !matches!(self.directory.state(object), Located::Pending)
        {
            return;
        }
        if self.persisted.contains(object) {
            let at = self.replicas.any(object).unwrap_or(self.me);
            if let Some(load) = self.persisted.load(object, at) {
                return out.extend(load.map(|size| Effect::Load { at, object, size }));
            }
        }
        match self.tasks.get(&object.task).map(|task| task.stage) {
            Some(Stage::Finished) => self.rebuild(object, out),
            // What is pending makes it, unless a generator is past it already.
            Some(_) => self.rerun_stream_for(object, out),
            None => {
                let origin = self.objects.get(&object).map(|entry| entry.origin.clone());
                let (reason, maker) = match origin {
                    Some(Origin::Putting) => return,
                    Some(Origin::Evicted(label)) => (UnreconstructableReason::LineageEvicted, label),
                    _ => (UnreconstructableReason::Put, "the application".into()),
                };
                self.unreconstructable(object, reason, &maker, out);
            }
        }
    }

    /// Queues the producing task again, at the cost of its loss budget.
    fn rebuild(&mut self, object: ObjectId, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&object.task) else { return };
        let spec = task.spec.clone();
        if task.cancelled || !spend(&mut task.losses_left) {
            let reason = self.exhausted(object.task);
            return self.unreconstructable(object, reason, &spec.label, out);
        }
        task.stage = Stage::Waiting;
        self.counters[task.label].1.rebuilt += 1;
        self.lineage.dropped(&spec);
        self.reuse_args(&spec, out);
        self.wait_for_args(object.task, out);
    }

    /// Why a task does not run again although it could.
    pub(super) fn exhausted(&self, id: TaskId) -> UnreconstructableReason {
        match self.tasks.get(&id) {
            Some(task) if task.cancelled => UnreconstructableReason::TaskCancelled,
            Some(task) if task.spec.retries.losses == Some(0) => UnreconstructableReason::RetriesDisabled,
            _ => UnreconstructableReason::MaxAttempts,
        }
    }

    pub(super) fn unreconstructable(
        &mut self,
        object: ObjectId,
        reason: UnreconstructableReason,
        maker: &str,
        out: &mut Vec<Effect>,
    ) {
        let message = format!("every copy of {object}, made by {maker}, was lost");
        self.fail(object, TaskError::new(TaskErrorKind::Unreconstructable(reason), message), out);
    }

    /// An object will never have a value (again).
    pub(super) fn fail(&mut self, object: ObjectId, error: TaskError, out: &mut Vec<Effect>) {
        self.fail_value(object, error, out);
        self.drop_lineage(object.task, out);
    }

    /// The same for one result of a task that is about to be looked at as a whole.
    pub(super) fn fail_value(&mut self, object: ObjectId, error: TaskError, out: &mut Vec<Effect>) {
        let Some(entry) = self.objects.get_mut(&object) else { return };
        let contained = std::mem::take(&mut entry.contains);
        self.let_go(contained, out);
        self.resolve(object, Located::Failed(error), out);
        self.arrived(object, out);
    }

    /// A task cannot run because an argument failed. If it had run before, its result is what cannot be rebuilt, for
    /// the reason the argument cannot, where that has a code.
    pub(super) fn fail_dependent(&mut self, id: TaskId, argument: ObjectId, error: TaskError, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get(&id) else { return };
        let label = &task.spec.label;
        let reason = match error.kind {
            TaskErrorKind::Cancelled => Some(UnreconstructableReason::TaskCancelled),
            TaskErrorKind::Freed => Some(UnreconstructableReason::Freed),
            _ => error.reason(),
        };
        let failure = match reason {
            Some(reason) if task.rebuilding => {
                let message =
                    format!("the results of {label} ({id}) were lost, and its argument {argument} cannot be had");
                TaskError::new(TaskErrorKind::Unreconstructable(reason), message)
            }
            _ => TaskError::new(TaskErrorKind::TaskFailed, format!("{label} ({id}) needs {argument}")),
        };
        self.fail_task(id, failure.because(shortened(error)), out);
    }
}

/// Keeps a chain of causes readable, and its size bounded however long the lineage was: beyond a few links only the
/// root.
fn shortened(error: TaskError) -> TaskError {
    const LINKS: usize = 4;
    let links = std::iter::successors(Some(&error), |error| error.cause.as_deref()).count();
    if links <= LINKS {
        return error;
    }
    let mut root = &error;
    while let Some(cause) = root.cause.as_deref() {
        root = cause;
    }
    root.clone()
}
