//! The worker processes of one node: which one a task gets, and which ones end.
//!
//! ```text
//!   Wanted --> Use an idle one, or Start --> busy --Freed--> idle --> Use, or End
//!                                              |               |
//!                                              +----Ended------+--> gone
//! ```
//! Starting a process takes milliseconds and using an idle one microseconds, so idle ones are kept; they hold memory, so
//! not for ever and not many.
//!
//! # Guarantees
//! - No process is given to two tasks at a time, and none that has ended or was told to end.
//! - The one that was idle for the shortest time is used first: its memory is warm, and the others get old.
//! - At most `limit` are idle. When one more is free, the one that was idle the longest ends.
//! - None is idle for longer than [`IDLE`].
//!
//! # What must not happen
//! Waiting for a process that another task has: how many tasks run at a time is decided by their leases
//! ([`super::Local`]), not here. Killing what is busy: that is the business of whoever runs the task.
//!
//! # Where we differ from Ray
//! Ray's `WorkerPool` (`worker_pool.cc`) keeps processes per language, job and runtime environment, starts some before
//! they are needed, and ends idle ones above a soft limit of one a cpu after a second
//! (`idle_worker_killing_time_threshold_ms`). Here a process runs whatever function its program has, and most tasks need none.

#[cfg(test)]
mod tests;

use crate::{Machine, Nanos, Violation};
use std::collections::{BTreeSet, VecDeque};

/// How long a process is kept for which there is no task.
pub const IDLE: Nanos = Nanos::secs(60);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A task is to run in a process. Answered by [`Effect::Use`] or [`Effect::Start`], at once.
    Wanted,
    /// The task of this process is over, and it can run another.
    Freed(u64),
    /// It is gone, or about to be, whatever it was doing.
    Ended(u64),
    /// Time has passed.
    Tick,
}

/// What must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The task gets this idle process.
    Use(u64),
    /// The task gets a new one, which has this number from now on.
    Start(u64),
    /// This process is not needed any more. It counts as gone.
    End(u64),
}

/// The worker processes of one node. See the module.
#[derive(Debug)]
pub struct Pool {
    /// The most that are idle.
    limit: usize,
    next: u64,
    busy: BTreeSet<u64>,
    /// With the time since which they are, the longest first.
    idle: VecDeque<(u64, Nanos)>,
}

impl Pool {
    /// No process yet; at most `limit` of them will be idle at a time.
    pub fn new(limit: usize) -> Self {
        Self { limit, next: 0, busy: BTreeSet::new(), idle: VecDeque::new() }
    }

    /// How many are busy, and how many are idle.
    pub fn counts(&self) -> (usize, usize) {
        (self.busy.len(), self.idle.len())
    }

    fn wanted(&mut self) -> Effect {
        let (process, effect) = match self.idle.pop_back() {
            Some((process, _)) => (process, Effect::Use(process)),
            None => {
                self.next += 1;
                (self.next, Effect::Start(self.next))
            }
        };
        self.busy.insert(process);
        effect
    }

    fn freed(&mut self, now: Nanos, process: u64, out: &mut Vec<Effect>) {
        // It ended just after its task.
        if !self.busy.remove(&process) {
            return out.push(Effect::End(process));
        }
        self.idle.push_back((process, now));
        if self.idle.len() > self.limit {
            out.extend(self.idle.pop_front().map(|(process, _)| Effect::End(process)));
        }
    }
}

impl Machine for Pool {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Wanted => out.push(self.wanted()),
            Event::Freed(process) => self.freed(now, process, out),
            Event::Ended(process) => {
                self.busy.remove(&process);
                self.idle.retain(|(idle, _)| *idle != process);
            }
            Event::Tick => {
                while let Some((process, _)) = self.idle.pop_front_if(|(_, since)| *since + IDLE <= now) {
                    out.push(Effect::End(process));
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.idle.front().map(|(_, since)| *since + IDLE)
    }

    fn check(&self) -> Result<(), Violation> {
        let ordered = self.idle.iter().zip(self.idle.iter().skip(1)).all(|(old, new)| old.1 <= new.1);
        let one_state = self.idle.iter().all(|(process, _)| !self.busy.contains(process));
        let within = self.idle.len() <= self.limit;
        Violation::unless(ordered && one_state && within, "worker-pool", || format!("{self:?}"))
    }
}
