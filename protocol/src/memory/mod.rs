//! The memory monitor: which attempt ends when a node runs out of memory, before the kernel ends the whole node.
//!
//! ```text
//!   Tick --> Measure --Measured: above the threshold--> Kill --> Gone --> (the next may be chosen)
//! ```
//! # Which one
//! Ray's policy *group by owner* (`worker_killing_policy_group_by_owner.cc`, `ray-oom-prevention.md`):
//! 1. Attempts that may run again come before those that may not: nobody's only try is ended for somebody's memory
//!    while there is another way.
//! 2. Those that may run again are grouped by their owner, the process that submitted them. The largest group gives one,
//!    so that whoever runs most loses some of it and nobody loses everything. Of equally large groups it is the one that
//!    came last: whose oldest attempt is the youngest. Those that may not are one group.
//! 3. Of the group it is the youngest attempt: the least work is lost, and the oldest can reach its end.
//!
//! # Guarantees
//! - Nobody is chosen at or below the threshold, nor above it if nothing runs.
//! - One at a time: no other is chosen before the memory of the last one can be back, that is before
//!   [`Event::Gone`], or [`PATIENCE`] after the choice: a thread that does not end must not disarm the monitor.
//! - The choice is a function of what was measured, whatever the order of the list.
//! - Its owner is told what was measured and who used the most ([`Effect::Kill`]).
//!
//! # What must not happen
//! Counting retries: the last one of a group is chosen too if it alone is too large, and that this ends is the business
//! of its owner, which has a budget ([`crate::Retries::memory`]). Measuring: that is the shell's.
//!
//! # Where we differ from Ray
//! - Only functions that ask for it run in a process, which is killed as Ray's are. Other workers are threads and futures
//!   of their node's process. An asynchronous body is dropped at its next await. A synchronous one on a thread cannot be
//!   stopped: its result is thrown away, its memory is back when it returns, and until then its thread runs on; so does a
//!   computation that an asynchronous body handed to another thread, for whose end nobody waits. So this saves a node from
//!   a function that allocates without end only if that has a process.
//! - Idle worker processes are not ended for their memory, which is little; and actors are not chosen: what they know would
//!   be lost.
//! - Groups are by owning process, where Ray has the parent task: tasks that several tasks of one node submit are one
//!   group.
//! - Ray retries without limit, except that the last one of a group fails at once. Here the budget says how often.
//! - One at a time as in Ray up to 2.55; newer ones end several until there is a margin.

#[cfg(test)]
mod tests;

use crate::{Attempt, ByteSize, LeaseId, Machine, Nanos, OwnerId, TaskId, Violation};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often memory is measured (Ray: `memory_monitor_refresh_ms`, 250).
pub const PERIOD: Nanos = Nanos::millis(250);
/// Above so many percent of the limit an attempt ends (Ray: `memory_usage_threshold`, 0.95).
pub const THRESHOLD: u64 = 95;
/// How long nobody else is chosen because an attempt that was does not end.
pub const PATIENCE: Nanos = Nanos::secs(5);
/// How many tasks a report names.
const NAMED: usize = 3;

/// An attempt that runs and may be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its task.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: Attempt,
    /// Under which lease.
    pub lease: LeaseId,
    /// What people call it.
    pub label: Arc<str>,
    /// Whether its owner may run it again after it was ended for memory.
    pub retriable: bool,
    /// Since when it runs.
    pub since: Nanos,
    /// What it said it uses; zero if it said nothing.
    pub claimed: ByteSize,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It may be time to measure.
    Tick,
    /// The answer to [`Effect::Measure`].
    Measured {
        /// Memory in use.
        used: ByteSize,
        /// What runs, in any order. Need not be filled if [`Monitor::is_above`] says that `used` is no reason.
        running: Vec<Running>,
    },
    /// Nothing of the chosen attempt is left. Sent once for each [`Effect::Kill`].
    Gone {
        /// Its task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
    },
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Say [`Event::Measured`].
    Measure,
    /// End this attempt: stop its worker, throw its result away, tell its owner. Then say [`Event::Gone`].
    Kill {
        /// Its task.
        task: TaskId,
        /// Which attempt.
        attempt: Attempt,
        /// Under which lease.
        lease: LeaseId,
        /// For people: the node, what it used, its limit, and the heaviest tasks.
        why: String,
    },
}

/// The memory monitor of one node. See the module.
#[derive(Debug)]
pub struct Monitor {
    node: String,
    /// None if there is none: then nothing is measured.
    limit: Option<ByteSize>,
    next: Nanos,
    /// The attempt that was chosen last and is not gone, and when it was chosen.
    ending: Option<(TaskId, Attempt, Nanos)>,
    kills: u64,
}

impl Monitor {
    /// The monitor of the node of this name, whose tasks are to use no more than `limit`.
    pub fn new(node: &str, limit: Option<ByteSize>) -> Self {
        Self { node: node.to_owned(), limit, next: Nanos::ZERO, ending: None, kills: 0 }
    }

    /// Whether so much in use is a reason to end an attempt.
    pub fn is_above(&self, used: ByteSize) -> bool {
        self.threshold().is_some_and(|threshold| used > threshold)
    }

    /// How many attempts were chosen so far.
    pub fn kills(&self) -> u64 {
        self.kills
    }

    fn threshold(&self) -> Option<ByteSize> {
        let percent = |limit: ByteSize| u128::from(limit.0) * u128::from(THRESHOLD) / 100;
        self.limit.map(|limit| ByteSize(u64::try_from(percent(limit)).unwrap_or(u64::MAX)))
    }

    fn measured(&mut self, now: Nanos, used: ByteSize, running: &[Running], out: &mut Vec<Effect>) {
        let waits = self.ending.is_some_and(|(_, _, since)| now < since + PATIENCE);
        if waits || !self.is_above(used) {
            return;
        }
        let Some(Running { task, attempt, lease, .. }) = choose(running) else { return };
        let (task, attempt, lease) = (*task, *attempt, *lease);
        self.ending = Some((task, attempt, now));
        self.kills += 1;
        let why = self.report(now, used, running);
        out.push(Effect::Kill { task, attempt, lease, why });
    }

    fn report(&self, now: Nanos, used: ByteSize, running: &[Running]) -> String {
        let mut heaviest: Vec<&Running> = running.iter().collect();
        heaviest.sort_by_key(|one| (Reverse(one.claimed), one.since, one.task));
        let name = |one: &&Running| {
            let claimed = if one.claimed == ByteSize::ZERO { "unknown".to_owned() } else { one.claimed.to_string() };
            format!("{} ({}) {claimed} for {}", one.label, one.task, now.saturating_sub(one.since))
        };
        let named: Vec<String> = heaviest.iter().take(NAMED).map(name).collect();
        format!(
            "node {} used {used} of {}, and tasks end above {THRESHOLD} %; the heaviest of {} tasks there: {}",
            self.node,
            self.limit.unwrap_or_default(),
            running.len(),
            named.join(", ")
        )
    }
}

/// Whose turn it is to end; nobody's if nothing runs.
fn choose(running: &[Running]) -> Option<&Running> {
    // What may not run again is one group, the last.
    let mut groups: BTreeMap<Option<OwnerId>, Vec<&Running>> = BTreeMap::new();
    for one in running {
        groups.entry(one.retriable.then_some(one.task.owner)).or_default().push(one);
    }
    let rank = |(owner, group): &(Option<OwnerId>, Vec<&Running>)| {
        let oldest = group.iter().map(|one| one.since).min();
        (owner.is_some(), group.len(), oldest, *owner)
    };
    let (_, group) = groups.into_iter().max_by_key(rank)?;
    group.into_iter().max_by_key(|one| (one.since, one.task, one.attempt))
}

impl Machine for Monitor {
    type Event = Event;
    type Effect = Effect;

    fn step(&mut self, now: Nanos, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Tick if self.limit.is_some() && now >= self.next => {
                self.next = now + PERIOD;
                out.push(Effect::Measure);
            }
            Event::Tick => {}
            Event::Measured { used, running } => self.measured(now, used, &running, out),
            Event::Gone { task, attempt } => {
                self.ending = self.ending.filter(|(t, a, _)| (*t, *a) != (task, attempt));
            }
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.limit.map(|_| self.next)
    }

    fn check(&self) -> Result<(), Violation> {
        let right = self.limit.is_some() || (self.ending.is_none() && self.kills == 0);
        Violation::unless(right, "no limit, nobody ended", || format!("{self:?}"))
    }
}
