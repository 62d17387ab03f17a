//! Actor calls, as far as they differ from other tasks.

use super::Owner;
use super::attempts::spend;
use super::types::{Effect, Stage};
use crate::{TaskError, TaskId, TaskSpec};

impl Owner {
    /// Whoever hands out the slots of a call hears when it is over.
    pub(super) fn call_over(&self, spec: &TaskSpec, out: &mut Vec<Effect>) {
        if spec.is_call() {
            out.push(Effect::CallOver(spec.id));
        }
    }

    /// Another attempt, at the cost of the crash budget; or the end. Nothing if no attempt is under way.
    pub(super) fn call_lost(&mut self, id: TaskId, error: TaskError, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if !matches!(task.stage, Stage::Running { .. }) {
            return;
        }
        if spend(&mut task.crashes_left) {
            self.counters[task.label].1.retried += 1;
            return self.wait_for_args(id, out);
        }
        self.fail_task(id, error, out);
    }
}
