//! Running out of memory: what is measured, and how the attempt ends that the memory monitor chose.
//!
//! The worker of the attempt is stopped, and everything that it had begun ends with it: its results, should they still
//! come, are refused. A future is dropped at the await it is at, and a process killed. A thread cannot be stopped: until it
//! ends by itself its context says that it is cancelled, and the monitor waits for it as long as its patience lasts.

use super::core::Core;
use super::input::outcome_words;
use super::words::Output;
use mobula_protocol::memory::{Effect, Event, Running};
use mobula_protocol::sched::executor;
use mobula_protocol::{Attempt, ByteSize, Machine, TaskId, TaskOutcome};

type Key = (TaskId, Attempt);

impl Core {
    pub(super) fn tell_monitor(&mut self, event: Event) {
        if self.logging {
            self.coverage.note("monitor", self.executor.len(), &event);
        }
        self.monitor.step(self.now, event, &mut self.wires.monitor);
    }

    pub(super) fn monitor_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Measure => self.out.push(Output::MeasureMemory),
            Effect::Kill { task, attempt, lease, why } => {
                self.log("memory-kill", format_args!("{task} attempt {} under {lease}", attempt.0));
                let attempts = self.executor.started(lease);
                self.out.push(Output::KillWorker { lease, victim: (task, attempt), attempts, why });
            }
        }
    }

    /// What this process and its worker processes have in memory; where nobody can tell, what is claimed counts.
    pub(super) fn measured(&mut self, resident: Option<ByteSize>) {
        let used = resident.unwrap_or_else(|| self.attempts.values().map(|running| running.claimed).sum());
        let running = if self.monitor.is_above(used) { self.candidates() } else { Vec::new() };
        self.tell_monitor(Event::Measured { used, running });
    }

    /// What runs, with what it claimed.
    fn candidates(&self) -> Vec<Running> {
        let claimed = |key| self.attempts.get(&key).map_or(ByteSize::ZERO, |running| running.claimed);
        let running = self.executor.running();
        running.map(|one| Running { claimed: claimed((one.task, one.attempt)), ..one }).collect()
    }

    /// An attempt that is over by now uses nothing.
    pub(super) fn claimed(&mut self, key: Key, bytes: ByteSize) {
        if let Some(running) = self.attempts.get_mut(&key) {
            running.claimed = ByteSize(running.claimed.0.saturating_add(bytes.0));
        }
    }

    pub(super) fn worker_killed(&mut self, begun: Vec<Key>, why: String) {
        // What it has reported before it was stopped has ended as it said.
        let open: Vec<Key> = begun.iter().filter(|key| self.attempts.contains_key(key)).copied().collect();
        for (task, attempt) in &open {
            let how = outcome_words(&TaskOutcome::OutOfMemory(String::new()));
            self.log("finish", format_args!("{task} attempt {} {how}", attempt.0));
        }
        self.tell_executor(executor::Event::OutOfMemory { attempts: open, why });
        // Whatever an attempt leaves behind is forgotten with its report: only then can its thread be told.
        self.route();
        begun.iter().for_each(|key| self.children.tell_thread(*key));
    }

    pub(super) fn worker_gone(&mut self, (task, attempt): Key, begun: &[Key]) {
        begun.iter().for_each(|key| self.children.thread_ended(*key));
        self.tell_monitor(Event::Gone { task, attempt });
    }

    /// The result of an attempt that has ended for everybody else: its owner died, or the worker was being stopped when it
    /// came. What it stored goes, unless another attempt here stores the same under the same name.
    pub(super) fn too_late(&mut self, task: TaskId, attempt: Attempt, outcome: TaskOutcome) {
        self.log("late", format_args!("{task} attempt {} {}", attempt.0, outcome_words(&outcome)));
        let others = (task, Attempt(0))..=(task, Attempt(u32::MAX));
        if let TaskOutcome::Returned(results) = outcome
            && self.attempts.range(others).next().is_none()
        {
            self.drop_results(task, &results);
        }
    }
}
