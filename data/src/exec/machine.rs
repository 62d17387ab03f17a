//! The streaming executor as a machine: which task runs next, within which memory.
//!
//! **Topology.** Operators in topological order, each read by exactly one other; the last one feeds the consumer. A
//! *source* has tasks from the start. Task `i` of a *map* takes output `i` of its input. The tasks of a *gather* wait
//! for all outputs of their input; task `k` takes part `k` of each, in task order. Operators may also take
//! *broadcasts*: the single output of another operator.
//!
//! **Order.** The consumer gets outputs by task number, and gathers take them by task number: completion order never
//! shows.
//!
//! **Memory.** Half of the budget is reserved, in equal shares, for the outputs of each operator that streams to a
//! map or to the consumer; the other half is shared. A task is admitted if what its operator holds (finished outputs
//! not yet consumed, plus running tasks at the mean size so far) and this task's output fit its share and what is
//! left of the shared half. Inputs of a gather and broadcasts are not charged: they must all be held anyway, and the
//! store spills them.
//!
//! **Choice.** Operators nearest the consumer first, then lowest task number: finishing frees memory, starting takes
//! it.
//!
//! **Liveness, by argument and without timers.** If no task runs and the consumer holds no block, the first
//! unfinished operator has only finished inputs, so one of its tasks is ready; the most downstream ready task is then
//! admitted whatever the budget says. Hence as long as the answer is incomplete either a task runs or the consumer
//! has something to take.
//!
//! Must NOT happen: an output emitted twice or out of order, a task launched twice or before its inputs, a task
//! launched beyond the budget while another runs.
//!
//! Ray's executor polls and has timers for stalls (`streaming_executor.py`, `resource_manager.py`); this one is
//! event-driven and has neither. Its reserved/shared split is Ray's `ReservationOpResourceAllocator`, on bytes alone.

use super::topology::{Effect, Event, Limits, OpProgress, Output, Shape, Source, Topology};
use crate::plan::OpId;
use mobula_runtime::{ByteSize, Machine, Nanos, Violation};
use std::collections::{BTreeMap, BTreeSet};

struct Op<H> {
    shape: Shape,
    /// Tasks there are.
    total: u64,
    /// Of sources and gathers, whose tasks start in order: the first task not started yet.
    next: u64,
    /// Running tasks.
    running: BTreeSet<u64>,
    /// Finished tasks.
    finished: BTreeSet<u64>,
    /// Outputs something will still read.
    held: BTreeMap<u64, Vec<Output<H>>>,
    /// Whether the outputs count against the budget.
    charged: bool,
    rows: u64,
    bytes: ByteSize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Over,
}

/// The machine. `H` is how the shell names blocks.
pub struct Executor<H> {
    ops: Vec<Op<H>>,
    limits: Limits,
    phase: Phase,
    /// Emitted blocks the consumer still holds.
    delivered: BTreeMap<u64, ByteSize>,
    /// Index of the next block to emit.
    next: u64,
}

impl<H: Clone> Executor<H> {
    /// For `topology`, where `ready` holds the outputs of each [`Source::Ready`] operator.
    pub fn new(topology: Topology, mut ready: BTreeMap<OpId, Vec<Output<H>>>, limits: Limits) -> Self {
        let mut ops: Vec<Op<H>> = Vec::with_capacity(topology.0.len());
        for (id, shape) in topology.0.into_iter().enumerate() {
            let held: BTreeMap<u64, Vec<Output<H>>> = match shape.source {
                Source::Ready => {
                    let blocks = ready.remove(&id).unwrap_or_default();
                    blocks.into_iter().enumerate().map(|(i, b)| (i as u64, vec![b])).collect()
                }
                _ => BTreeMap::new(),
            };
            let total = match shape.source {
                Source::Ready => held.len() as u64,
                Source::Tasks(n) => n,
                Source::Map(input) => ops[input].total,
                Source::Gather { tasks, .. } => tasks,
            };
            // The inputs of gathers and the broadcasts must be held whole: they are not charged, nor are given blocks.
            if let Source::Gather { input, .. } = shape.source {
                ops[input].charged = false;
            }
            shape.broadcasts.iter().for_each(|side| ops[*side].charged = false);
            let charged = shape.source != Source::Ready;
            let outputs = || held.values().flatten();
            let (rows, bytes) = (outputs().map(|o| o.rows).sum(), outputs().map(|o| o.bytes).sum());
            let finished = held.keys().copied().collect();
            ops.push(Op { shape, total, next: 0, running: BTreeSet::new(), finished, held, charged, rows, bytes });
        }
        Self { ops, limits, phase: Phase::Running, delivered: BTreeMap::new(), next: 0 }
    }

    /// What operator `op` has done so far.
    pub fn progress(&self, op: OpId) -> OpProgress {
        self.ops.get(op).map_or_else(OpProgress::default, |o| OpProgress {
            done: o.finished.len() as u64,
            total: o.total,
            running: o.running.len() as u64,
            rows: o.rows,
            bytes: o.bytes.0,
        })
    }

    /// Bytes charged now: held outputs and running tasks of streaming operators, and what the consumer holds.
    pub fn charged(&self) -> ByteSize {
        (0..self.ops.len()).map(|op| self.usage(op)).sum()
    }

    /// Number of running tasks.
    pub fn running(&self) -> usize {
        self.ops.iter().map(|o| o.running.len()).sum()
    }

    /// Mean output of a task.
    fn estimate(&self, op: OpId) -> ByteSize {
        let o = &self.ops[op];
        match o.finished.len() as u64 {
            0 => self.limits.first_estimate,
            n => ByteSize(o.bytes.0 / n),
        }
    }

    fn usage(&self, op: OpId) -> ByteSize {
        let o = &self.ops[op];
        if !o.charged {
            return ByteSize::ZERO;
        }
        let held: ByteSize = o.held.values().flatten().map(|b| b.bytes).sum();
        let consumer = if op + 1 == self.ops.len() { self.delivered.values().copied().sum() } else { ByteSize::ZERO };
        held + consumer + self.estimate(op) * o.running.len() as u64
    }

    /// Whether one more task of `op` fits the budget.
    fn admits(&self, op: OpId) -> bool {
        if !self.ops[op].charged {
            return true;
        }
        let streams = self.ops.iter().filter(|o| o.charged).count() as u64;
        let share = ByteSize(self.limits.memory.0 / 2 / streams);
        let shared = self.limits.memory - share * streams;
        let borrowed = |usage: ByteSize| usage.saturating_sub(share);
        let others = (0..self.ops.len()).filter(|o| *o != op).map(|o| borrowed(self.usage(o))).sum::<ByteSize>();
        let own = borrowed(self.usage(op) + self.estimate(op));
        own == ByteSize::ZERO || own + others <= shared
    }

    /// The lowest task of `op` whose inputs are there.
    fn ready(&self, op: OpId) -> Option<u64> {
        let o = &self.ops[op];
        let complete = |op: OpId| self.ops[op].finished.len() as u64 == self.ops[op].total;
        if !o.shape.broadcasts.iter().all(|side| complete(*side)) {
            return None;
        }
        let idle = |task: &u64| !o.running.contains(task) && !o.finished.contains(task);
        match &o.shape.source {
            Source::Ready => None,
            Source::Tasks(_) => Some(o.next).filter(|t| *t < o.total),
            Source::Map(input) => self.ops[*input].held.keys().copied().find(|t| *t < o.total && idle(t)),
            Source::Gather { input, .. } => Some(o.next).filter(|t| *t < o.total && complete(*input)),
        }
    }

    fn launch(&mut self, op: OpId, task: u64, out: &mut Vec<Effect<H>>) {
        let part = |op: &Op<H>, task: u64, part: usize| {
            op.held.get(&task).and_then(|parts| parts.get(part)).map(|o| o.handle.clone())
        };
        let shape = &self.ops[op].shape;
        let mut inputs: Vec<H> = match &shape.source {
            Source::Ready | Source::Tasks(_) => Vec::new(),
            Source::Map(input) => part(&self.ops[*input], task, 0).into_iter().collect(),
            Source::Gather { input, .. } => {
                let input = &self.ops[*input];
                (0..input.total).filter_map(|t| part(input, t, task as usize)).collect()
            }
        };
        inputs.extend(shape.broadcasts.iter().filter_map(|side| part(&self.ops[*side], 0, 0)));
        self.ops[op].running.insert(task);
        self.ops[op].next = task + 1;
        out.push(Effect::Launch { op, task, inputs });
    }

    /// Launches whatever may run, the operators nearest the consumer first.
    fn schedule(&mut self, out: &mut Vec<Effect<H>>) {
        let cap = self.limits.tasks_per_operator.max(1);
        for op in (0..self.ops.len()).rev() {
            while self.ops[op].running.len() < cap
                && let Some(task) = self.ready(op)
                && self.admits(op)
            {
                self.launch(op, task, out);
            }
        }
        if self.running() == 0 && self.delivered.is_empty() {
            let ready = (0..self.ops.len()).rev().find_map(|op| Some((op, self.ready(op)?)));
            if let Some((op, task)) = ready {
                self.launch(op, task, out);
            }
        }
    }

    fn finished(&mut self, op: OpId, task: u64, outputs: Vec<Output<H>>) {
        let o = &mut self.ops[op];
        o.running.remove(&task);
        o.finished.insert(task);
        o.rows += outputs.iter().map(|b| b.rows).sum::<u64>();
        o.bytes += outputs.iter().map(|b| b.bytes).sum();
        o.held.insert(task, outputs);
        let all = o.finished.len() as u64 == o.total;
        let (source, broadcasts) = (o.shape.source.clone(), o.shape.broadcasts.clone());
        match source {
            Source::Map(input) => {
                self.ops[input].held.remove(&task);
            }
            Source::Gather { input, .. } if all => self.ops[input].held.clear(),
            Source::Ready | Source::Tasks(_) | Source::Gather { .. } => {}
        }
        if all {
            broadcasts.into_iter().for_each(|side| self.ops[side].held.clear());
        }
        self.satisfy(op);
    }

    /// Drops tasks of `op` that the limit reading it does not need.
    fn satisfy(&mut self, op: OpId) {
        let wanted = self.ops.iter().find_map(|o| match o.shape.source {
            Source::Gather { input, rows_wanted, .. } if input == op => rows_wanted,
            _ => None,
        });
        let Some(wanted) = wanted else { return };
        let mut rows = 0;
        for task in 0..self.ops[op].total {
            let Some(outputs) = self.ops[op].held.get(&task) else { return };
            rows += outputs.iter().map(|b| b.rows).sum::<u64>();
            if rows >= wanted {
                self.truncate(op, task + 1);
                return;
            }
        }
    }

    /// Forgets tasks from `total` on, here and where they come from one to one.
    fn truncate(&mut self, op: OpId, total: u64) {
        let o = &mut self.ops[op];
        o.total = o.total.min(total);
        o.running.retain(|t| *t < total);
        o.finished.retain(|t| *t < total);
        o.held.retain(|t, _| *t < total);
        let all = o.finished.len() as u64 == o.total;
        let (source, broadcasts) = (o.shape.source.clone(), o.shape.broadcasts.clone());
        if all {
            broadcasts.into_iter().for_each(|side| self.ops[side].held.clear());
        }
        if let Source::Map(input) = source {
            self.truncate(input, total);
        }
    }

    fn emit(&mut self, out: &mut Vec<Effect<H>>) {
        let Some(last) = self.ops.last_mut() else { return };
        while let Some(outputs) = last.held.remove(&self.next) {
            for block in outputs {
                self.delivered.insert(self.next, block.bytes);
                out.push(Effect::Emit { index: self.next, block });
            }
            self.next += 1;
        }
        if self.next == last.total {
            self.phase = Phase::Over;
            out.push(Effect::Finish);
        }
    }
}

impl<H: Clone> Machine for Executor<H> {
    type Event = Event<H>;
    type Effect = Effect<H>;

    fn step(&mut self, _now: Nanos, event: Event<H>, out: &mut Vec<Effect<H>>) {
        match event {
            Event::ConsumerTook { index } => {
                self.delivered.remove(&index);
            }
            _ if self.phase == Phase::Over => {}
            Event::Started => {
                let inputs: Vec<OpId> =
                    (0..self.ops.len()).filter(|op| self.ops[*op].shape.source == Source::Ready).collect();
                inputs.into_iter().for_each(|op| self.satisfy(op));
            }
            // A task that is not running was dropped by a limit: its outcome does not matter any more.
            Event::TaskFinished { op, task, .. } | Event::TaskFailed { op, task, .. }
                if !self.ops.get(op).is_some_and(|o| o.running.contains(&task)) => {}
            Event::TaskFinished { op, task, outputs } => self.finished(op, task, outputs),
            Event::TaskFailed { op, task, error } => {
                self.phase = Phase::Over;
                out.push(Effect::Fail { op, task, error });
            }
        }
        if self.phase == Phase::Running {
            self.emit(out);
        }
        if self.phase == Phase::Running {
            self.schedule(out);
        }
    }

    fn check(&self) -> Result<(), Violation> {
        for (id, o) in self.ops.iter().enumerate() {
            Violation::unless(o.running.is_disjoint(&o.finished), "task-runs-once", || format!("operator {id}"))?;
            let numbers = o.running.iter().chain(&o.finished);
            Violation::unless(numbers.max().is_none_or(|t| *t < o.total), "task-exists", || format!("operator {id}"))?;
            let held_unfinished = o.held.keys().find(|t| !o.finished.contains(t));
            Violation::unless(held_unfinished.is_none(), "held-is-finished", || {
                format!("operator {id}, task {held_unfinished:?}")
            })?;
        }
        let idle = self.running() == 0 && self.delivered.is_empty() && self.phase == Phase::Running;
        Violation::unless(!idle, "someone-will-wake-me", || "no task runs, the consumer holds nothing".into())
    }
}
