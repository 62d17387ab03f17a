//! A task from submission to the slot it runs in, and its end.

use super::Owner;
use super::arguments::Availability;
use super::types::{Agenda, Counters, Effect, Object, Stage, Task};
use crate::{Attempt, GroupId, Incarnation, LeaseId, Located, TaskError, TaskErrorKind, TaskId, TaskSpec};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many labels are counted apart.
pub(super) const MOST_LABELS: usize = 4_096;
/// What the others are counted under.
pub(super) const OTHER_LABELS: &str = "(others)";

impl Owner {
    pub(super) fn submit(&mut self, spec: Arc<TaskSpec>, out: &mut Vec<Effect>) {
        let label = self.label(&spec.label);
        self.count(label).submitted += 1;
        for object in spec.reachable() {
            self.hold(object, |entry| entry.submitted += 1, out);
        }
        self.follow_foreign(&spec, out);
        let id = spec.id;
        for index in 0..spec.returns {
            self.objects.insert(id.result(index), Object { local: 1, ..Object::default() });
            self.make_durable(id.result(index), spec.durability);
        }
        let task = Task {
            stage: Stage::Waiting,
            attempt: Attempt(0),
            crashes_left: spec.retries.crashes,
            errors_left: spec.retries.errors,
            losses_left: spec.retries.losses,
            memory_kills: 0,
            missing: BTreeSet::new(),
            rebuilding: false,
            cancelled: false,
            again: false,
            stale: false,
            stream: spec.stream.map(|_| Box::default()),
            label,
            spec,
        };
        self.tasks.insert(id, task);
        self.wait_for_args(id, out);
    }

    /// The index of a label's counters. Labels are for people, who read a few: beyond [`MOST_LABELS`] new ones are counted
    /// together, so that a program that makes them up takes bounded memory.
    fn label(&mut self, label: &Arc<str>) -> usize {
        if let Some(index) = self.labels.get(label) {
            return *index;
        }
        if self.labels.len() >= MOST_LABELS && **label != *OTHER_LABELS {
            return self.label(&OTHER_LABELS.into());
        }
        self.counters.push((label.clone(), Counters::default()));
        self.labels.insert(label.clone(), self.counters.len() - 1);
        self.counters.len() - 1
    }

    pub(super) fn count(&mut self, label: usize) -> &mut Counters {
        &mut self.counters[label].1
    }

    /// Queues a task whose arguments all exist, and otherwise lets it wait for, and want, those that do not.
    pub(super) fn wait_for_args(&mut self, id: TaskId, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get(&id) else { return };
        let mut missing = BTreeSet::new();
        for object in task.spec.refs() {
            match self.availability(object) {
                Availability::Here => {}
                Availability::Missing => {
                    missing.insert(object);
                }
                Availability::Never(error) => {
                    return self.agenda.push_back(Agenda::Fail { task: id, argument: object, error });
                }
            }
        }
        let ready = missing.is_empty();
        if ready {
            let (class, near, again) = (task.spec.class.clone(), self.near(&task.spec), task.again);
            out.push(Effect::Enqueue { task: id, class, near, again });
        }
        for object in &missing {
            self.waiting.entry(*object).or_default().insert(id);
            self.agenda.push_back(Agenda::Want(*object));
        }
        if let Some(task) = self.tasks.get_mut(&id) {
            task.stage = if ready { Stage::Queued } else { Stage::Waiting };
            task.missing = missing;
        }
    }

    /// A task had its turn and could not run: it goes first when it can.
    pub(super) fn turned_away(&mut self, id: TaskId, out: &mut Vec<Effect>) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.again = true;
        }
        self.wait_for_args(id, out);
    }

    pub(super) fn assigned(&mut self, id: TaskId, lease: LeaseId, to: Incarnation, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get(&id).filter(|task| task.stage == Stage::Queued) else {
            return out.push(Effect::Unassign { task: id, lease });
        };
        let spec = task.spec.clone();
        let here = spec.refs().all(|object| matches!(self.availability(object), Availability::Here));
        if !here || self.dead.contains(&to) {
            // While the task stood in the queue an argument was lost, or while the slot was on offer its node.
            out.push(Effect::Unassign { task: id, lease });
            return self.turned_away(id, out);
        }
        let inline = self.inline_args(&spec);
        self.lend_nested(&spec, to, out);
        if let Some(task) = self.tasks.get_mut(&id) {
            let reuses = crate::planted!("owner-reuses-attempt-numbers") && task.attempt.0 > 0;
            task.attempt = Attempt(task.attempt.0 + u32::from(!reuses));
            (task.again, task.stale) = (false, false);
            task.stage = Stage::Running { lease, to, started: false };
            let streams = task.stream.is_some();
            out.push(Effect::Push { to, lease, attempt: task.attempt, spec, inline });
            if streams {
                self.stream_pushed(id, out);
            }
        }
    }

    pub(super) fn unschedulable(&mut self, id: TaskId, error: TaskError, out: &mut Vec<Effect>) {
        if self.tasks.get(&id).is_some_and(|task| task.stage == Stage::Queued) {
            self.fail_task(id, error, out);
        }
    }

    /// Ends a task that is not over: its results are errors at once, whatever its last attempt still does.
    pub(super) fn cancel(&mut self, id: TaskId, recursive: bool, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get(&id) else { return };
        let error = TaskError::new(TaskErrorKind::Cancelled, format!("{} ({id}) was cancelled", task.spec.label));
        self.end(id, recursive, error, out);
    }

    /// The tasks of a placement group that are not over can never run.
    pub(super) fn group_removed(&mut self, group: GroupId, out: &mut Vec<Effect>) {
        let belongs = |task: &Task| task.spec.class.placement.group() == Some(group) && task.stage != Stage::Finished;
        let mut ended: Vec<TaskId> = self.tasks.iter().filter(|(_, task)| belongs(task)).map(|(id, _)| *id).collect();
        ended.sort_unstable();
        for id in ended {
            let message = format!("{id}: its placement group, {group}, was removed");
            self.end(id, true, TaskError::new(TaskErrorKind::GroupRemoved, message), out);
        }
    }

    /// Ends a task that is not over with this error.
    pub(super) fn end(&mut self, id: TaskId, recursive: bool, error: TaskError, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        match task.stage {
            Stage::Finished => return,
            Stage::Waiting | Stage::Resting { .. } => {}
            Stage::Queued => out.push(Effect::Dequeue(id)),
            Stage::Running { to, .. } => {
                out.push(Effect::CancelAttempt { to, task: id, attempt: task.attempt, recursive });
            }
        }
        task.cancelled = true;
        self.fail_task(id, error, out);
    }

    /// A task failed for good: so do its results, as far as they have no value from an earlier run.
    pub(super) fn fail_task(&mut self, id: TaskId, error: TaskError, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&id).filter(|task| task.stage != Stage::Finished) else { return };
        if let Stage::Resting { until } = task.stage {
            self.resting.remove(&(until, id));
        }
        task.stage = Stage::Finished;
        let (label, rebuilding, spec) = (task.label, task.rebuilding, task.spec.clone());
        for object in std::mem::take(&mut task.missing) {
            self.no_longer_waits(id, object);
        }
        if !rebuilding {
            self.count(label).failed += 1;
        }
        for object in self.results(id) {
            if matches!(self.directory.state(object), Located::Pending) {
                self.fail_value(object, error.clone(), out);
            }
            self.idle.push(object);
        }
        self.stream_failed(id, error, out);
        self.settle_args(&spec, out);
        self.call_over(&spec, out);
        self.keep_lineage(id, out);
    }

    /// A task is over for now: its arguments are no longer in use, but may be needed to run it again.
    pub(super) fn settle_args(&mut self, spec: &TaskSpec, out: &mut Vec<Effect>) {
        for object in spec.reachable() {
            // For a foreign argument the hold simply stays: it now stands for the lineage.
            if let Some(entry) = self.objects.get_mut(&object) {
                entry.submitted -= 1;
                entry.lineage += 1;
                self.idle.push(object);
            }
        }
        self.unfollow_foreign(spec, out);
    }

    /// The reverse of [`Owner::settle_args`]: the task is to run once more.
    pub(super) fn reuse_args(&mut self, spec: &TaskSpec, out: &mut Vec<Effect>) {
        for object in spec.reachable().filter(|_| !crate::planted!("owner-counts-arguments-twice")) {
            if let Some(entry) = self.objects.get_mut(&object) {
                entry.submitted += 1;
                entry.lineage -= 1;
            }
        }
        self.follow_foreign(spec, out);
    }
}
