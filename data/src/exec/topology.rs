//! The words of the executor: operators and how they are connected, events, effects.

use crate::DataError;
use crate::plan::{OpId, PhysicalPlan, Tasks};
use mobula_runtime::ByteSize;

/// Where an operator's rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Outputs that exist before the start.
    Ready,
    /// Nowhere: the tasks can run at once.
    Tasks(u64),
    /// Task `i` takes output `i` of this operator.
    Map(OpId),
    /// Task `k` of `tasks` takes part `k` of all outputs of `input`.
    Gather {
        /// The operator read from.
        input: OpId,
        /// Number of tasks.
        tasks: u64,
        /// Enough rows, counted from the first output on: later tasks of `input` are dropped.
        rows_wanted: Option<u64>,
    },
}

/// One operator of a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Where its rows come from.
    pub source: Source,
    /// Operators of one task whose output every task takes, after its rows.
    pub broadcasts: Vec<OpId>,
    /// Blocks each task makes.
    pub parts: u64,
}

/// Operators in topological order; the last one feeds the consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology(pub Vec<Shape>);

impl From<&PhysicalPlan> for Topology {
    fn from(plan: &PhysicalPlan) -> Self {
        let shape = |op: &crate::plan::Operator| Shape {
            source: match &op.tasks {
                Tasks::Blocks(_) => Source::Ready,
                Tasks::Read(tasks) => Source::Tasks(tasks.len() as u64),
                Tasks::Map(input) => Source::Map(*input),
                Tasks::Gather { input, tasks, rows_wanted } => {
                    Source::Gather { input: *input, tasks: *tasks, rows_wanted: *rows_wanted }
                }
            },
            broadcasts: op.broadcasts.clone(),
            parts: op.partition.map_or(1, |p| p.parts),
        };
        Self(plan.operators.iter().map(shape).collect())
    }
}

/// A block somewhere, and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output<H> {
    /// How the shell finds it. Dropped as soon as nothing will read the block again.
    pub handle: H,
    /// Number of rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: ByteSize,
}

/// How much may happen at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Budget for streaming outputs.
    pub memory: ByteSize,
    /// Most running tasks of one operator; at least one.
    pub tasks_per_operator: usize,
    /// Assumed output of an operator none of whose tasks has finished.
    pub first_estimate: ByteSize,
}

impl Default for Limits {
    /// 1 GB, 64 tasks an operator, 8 MB.
    fn default() -> Self {
        Self { memory: ByteSize::mb(1000), tasks_per_operator: 64, first_estimate: ByteSize::mb(8) }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<H> {
    /// Execution may begin.
    Started,
    /// A task has made its outputs, one a part.
    TaskFinished {
        /// Its operator.
        op: OpId,
        /// Its number.
        task: u64,
        /// Its outputs.
        outputs: Vec<Output<H>>,
    },
    /// A task has failed for good (the runtime has used up its retries).
    TaskFailed {
        /// Its operator.
        op: OpId,
        /// Its number.
        task: u64,
        /// Why.
        error: DataError,
    },
    /// The consumer is done with an emitted block.
    ConsumerTook {
        /// Its index.
        index: u64,
    },
}

/// Something the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<H> {
    /// Run a task.
    Launch {
        /// Its operator.
        op: OpId,
        /// Its number.
        task: u64,
        /// Its inputs: rows first, then broadcasts.
        inputs: Vec<H>,
    },
    /// Hand a block of the result to the consumer; indices count from 0.
    Emit {
        /// Position in the result.
        index: u64,
        /// The block.
        block: Output<H>,
    },
    /// Everything has been emitted.
    Finish,
    /// Give up; nothing else follows.
    Fail {
        /// Operator of the failed task.
        op: OpId,
        /// Its number.
        task: u64,
        /// Why.
        error: DataError,
    },
}

/// What one operator has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpProgress {
    /// Tasks finished.
    pub done: u64,
    /// Tasks there are; shrinks when a limit is satisfied early.
    pub total: u64,
    /// Tasks running.
    pub running: u64,
    /// Rows made.
    pub rows: u64,
    /// Bytes made.
    pub bytes: u64,
}
