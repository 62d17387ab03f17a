//! The shell: carries out what the executor decides, through whatever runs tasks.

use super::{Effect, Event, Executor, Limits, OpInfo, Output, ProgressSink, Topology};
use crate::block::Block;
use crate::plan::{OpId, Operator, PhysicalPlan, StageSpec, Tasks};
use crate::{DataError, Result};
use mobula_runtime::{Machine, Nanos};
use std::collections::BTreeMap;

/// Takes the blocks of a result, in order.
pub type Consumer<'a, H> = &'a mut (dyn FnMut(Output<H>) -> Result<()> + Send);

/// A task that is over.
pub struct Completion<H> {
    /// Its operator.
    pub op: OpId,
    /// Its number.
    pub task: u64,
    /// Its outputs, one a part, or why there are none.
    pub result: Result<Vec<Output<H>>>,
}

/// Runs tasks somewhere. The runtime is one; [`Local`](super::Local) another.
#[allow(async_fn_in_trait, reason = "only used with concrete types inside this workspace")]
pub trait Launch {
    /// How blocks are named. Dropping the last clone lets the block go.
    type Handle: Clone;

    /// Makes a block of the driver available to tasks.
    ///
    /// # Errors
    /// When it cannot be stored.
    async fn put(&mut self, block: Block) -> Result<Output<Self::Handle>>;
    /// Starts a task; its outcome comes out of [`Launch::completion`]. Never blocks.
    fn launch(&mut self, op: OpId, task: u64, spec: StageSpec, inputs: Vec<Self::Handle>);
    /// The next task that is over. Only called while one is running.
    async fn completion(&mut self) -> Completion<Self::Handle>;
    /// The blocks themselves, in order.
    ///
    /// # Errors
    /// When one is gone and cannot be rebuilt.
    async fn get(&mut self, handles: Vec<Self::Handle>) -> Result<Vec<Block>>;
}

/// Executes `plan` and hands the blocks of the result, in order, to `consumer`.
///
/// # Errors
/// The error of the first task that failed for good, or of the consumer.
pub async fn execute<L: Launch>(
    plan: &PhysicalPlan,
    limits: Limits,
    launcher: &mut L,
    progress: &mut dyn ProgressSink,
    consumer: Consumer<'_, L::Handle>,
) -> Result<()> {
    let mut ready = BTreeMap::new();
    for (op, operator) in plan.operators.iter().enumerate() {
        if let Tasks::Blocks(blocks) = &operator.tasks {
            let mut outputs = Vec::with_capacity(blocks.len());
            for block in blocks {
                outputs.push(launcher.put(block.clone()).await?);
            }
            ready.insert(op, outputs);
        }
    }
    let shown = plan.operators.iter().enumerate().filter(|(op, _)| !ready.contains_key(op));
    let info = |(op, operator): (OpId, &Operator)| {
        let (label, total) = (operator.label.clone(), plan.task_count(op));
        OpInfo { op, label, total }
    };
    progress.begin(&shown.map(info).collect::<Vec<_>>());
    let mut executor = Executor::new(Topology::from(plan), ready, limits);
    let result = drive(plan, &mut executor, launcher, progress, consumer).await;
    progress.end();
    result
}

async fn drive<L: Launch>(
    plan: &PhysicalPlan,
    executor: &mut Executor<L::Handle>,
    launcher: &mut L,
    progress: &mut dyn ProgressSink,
    consumer: Consumer<'_, L::Handle>,
) -> Result<()> {
    // The executor waits for nothing but events, so time never passes for it.
    let mut effects = Vec::new();
    let step = |executor: &mut Executor<L::Handle>, event, effects: &mut Vec<_>| {
        executor.step(Nanos::ZERO, event, effects);
        executor.check().map_err(DataError::bug)
    };
    step(executor, Event::Started, &mut effects)?;
    loop {
        for effect in std::mem::take(&mut effects) {
            match effect {
                Effect::Launch { op, task, inputs } => {
                    let spec = plan.stage(op, task, inputs.len())?;
                    launcher.launch(op, task, spec, inputs);
                }
                Effect::Emit { index, block } => {
                    consumer(block)?;
                    step(executor, Event::ConsumerTook { index }, &mut effects)?;
                }
                Effect::Finish => return Ok(()),
                Effect::Fail { error, .. } => return Err(error),
            }
        }
        if effects.is_empty() {
            let Completion { op, task, result } = launcher.completion().await;
            let event = match result {
                Ok(outputs) => Event::TaskFinished { op, task, outputs },
                Err(error) => Event::TaskFailed { op, task, error },
            };
            step(executor, event, &mut effects)?;
            progress.update(op, executor.progress(op));
        }
    }
}
