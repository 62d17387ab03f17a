//! Attempts that their node ended because it ran out of memory ([`crate::memory`]).
//!
//! They are charged to a budget of their own, and tried again after a pause which doubles each time, so that whoever used
//! the memory can get done first. With the budget the number of tries is bounded, so a task that is too large for its
//! node fails with `OutOfMemory` instead of being tried for ever (Ray: no bound, `task_oom_retries`).

use super::Owner;
use super::types::{Effect, Stage};
use crate::{Nanos, TaskError, TaskErrorKind, TaskId};

/// The pause after the first time (Ray: `task_oom_retry_delay_base_ms`).
pub const FIRST_PAUSE: Nanos = Nanos::secs(1);
/// No pause is longer (Ray: one minute).
pub const LONGEST_PAUSE: Nanos = Nanos::secs(60);

/// How long a task rests after its node ran out of memory for the `n`th time, from 1.
fn pause(n: u32) -> Nanos {
    let doubled = n.saturating_sub(1).min(63);
    Nanos(FIRST_PAUSE.0.saturating_mul(1 << doubled)).min(LONGEST_PAUSE)
}

impl Owner {
    pub(super) fn ran_out_of_memory(&mut self, now: Nanos, id: TaskId, why: String, out: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let budget = task.spec.retries.memory;
        task.memory_kills = task.memory_kills.saturating_add(1);
        if budget.is_none_or(|budget| task.memory_kills <= budget) {
            self.counters[task.label].1.retried += 1;
            let until = now + pause(task.memory_kills);
            task.stage = Stage::Resting { until };
            self.resting.insert((until, id));
            return;
        }
        let (label, attempt, times) = (&task.spec.label, task.attempt.0, task.memory_kills);
        let message =
            format!("{label} ({id}) was ended {times} times for want of memory, the last in attempt {attempt}: {why}");
        self.fail_task(id, TaskError::new(TaskErrorKind::OutOfMemory, message), out);
    }

    /// Tasks that have rested go on.
    pub(super) fn wake_rested(&mut self, now: Nanos, out: &mut Vec<Effect>) {
        while let Some((_, id)) = self.rested(now) {
            self.wait_for_args(id, out);
        }
    }

    fn rested(&mut self, now: Nanos) -> Option<(Nanos, TaskId)> {
        let due = self.resting.first().is_some_and(|(until, _)| *until <= now);
        due.then(|| self.resting.pop_first()).flatten()
    }
}
