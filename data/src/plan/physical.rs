//! The physical plan: a chain of operators, each a fixed number of tasks that run the same fused steps.
//!
//! Rows move between operators only where they must: to a join (each block meets the broadcast side), to the tasks
//! that merge partial aggregates, to the one task that merges sorted blocks, and to writes. Reading is kept apart
//! from joining, so that files stream in while the broadcast side is still being collected.

use super::{HashPartition, LogicalPlan, StageInput, StageSpec, Step, WriteFormat};
use crate::block::Block;
use crate::io::{FileEntry, ReadTask};
use crate::{DataError, Result};
use arrow_schema::SchemaRef;
use serde::{Deserialize, Serialize};

/// Compressed bytes a read task aims at. Files are never combined; larger ones are cut between row groups.
const READ_TARGET: u64 = 64 << 20;
/// Input bytes for each partition of an aggregation.
const PARTITION_TARGET: u64 = 256 << 20;
/// Most partitions of an aggregation.
const MAX_PARTITIONS: u64 = 64;

/// Index of an operator in its plan. Operators come after those they read from.
pub type OpId = usize;

/// What to execute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhysicalPlan {
    /// The operators; the last one makes the result.
    pub operators: Vec<Operator>,
    /// Schema of the result.
    pub schema: SchemaRef,
}

/// A number of tasks that do the same to different rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operator {
    /// What people and scenarios call it: `read`, `map`, `join`, `broadcast`, `aggregate`, `sort`, `limit`, `write`;
    /// `blocks` has no tasks.
    pub label: String,
    /// Where the rows of each task come from.
    pub tasks: Tasks,
    /// What happens to them.
    pub steps: Vec<Step>,
    /// Operators of one task whose output every task of this one takes as well.
    pub broadcasts: Vec<OpId>,
    /// How each task's output is split.
    pub partition: Option<HashPartition>,
    /// Schema of the blocks that enter; `None` for partial aggregates.
    pub input_schema: Option<SchemaRef>,
}

/// Where the rows of an operator's tasks come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Tasks {
    /// Nothing runs: the output is these blocks.
    Blocks(Vec<Block>),
    /// From files.
    Read(Vec<ReadTask>),
    /// Task `i` takes output `i` of another operator.
    Map(OpId),
    /// Task `i` takes part `i` of every output of another operator, in task order.
    Gather {
        /// The other operator.
        input: OpId,
        /// Number of tasks, and of parts of each output.
        tasks: u64,
        /// Stop the other operator once this many rows are there, counted from its first task on.
        rows_wanted: Option<u64>,
    },
}

impl PhysicalPlan {
    /// The way to execute an (optimized) logical plan.
    ///
    /// # Errors
    /// As [`LogicalPlan::schema`].
    pub fn new(logical: &LogicalPlan) -> Result<Self> {
        let mut plan = Self { operators: Vec::new(), schema: logical.schema()? };
        let last = plan.build(logical)?;
        plan.seal(last, None);
        Ok(plan)
    }

    /// Number of tasks of an operator; of `blocks`, the number of its blocks.
    pub fn task_count(&self, op: OpId) -> u64 {
        match &self.operators[op].tasks {
            Tasks::Blocks(blocks) => blocks.len() as u64,
            Tasks::Read(tasks) => tasks.len() as u64,
            Tasks::Map(input) => self.task_count(*input),
            Tasks::Gather { tasks, .. } => *tasks,
        }
    }

    /// What task `task` of `op` is told, given that it gets `inputs` blocks (broadcast sides included).
    ///
    /// # Errors
    /// [`DataError::Bug`] if there is no such task.
    pub fn stage(&self, op: OpId, task: u64, inputs: usize) -> Result<StageSpec> {
        let missing = || DataError::bug(format!("operator {op} has no task {task}"));
        let operator = self.operators.get(op).ok_or_else(missing)?;
        let index = usize::try_from(task).map_err(DataError::bug)?;
        let input = match &operator.tasks {
            Tasks::Blocks(_) => return Err(missing()),
            Tasks::Read(tasks) => StageInput::Read(tasks.get(index).ok_or_else(missing)?.clone()),
            Tasks::Map(_) | Tasks::Gather { .. } => {
                let count = inputs.checked_sub(operator.broadcasts.len()).ok_or_else(missing)?;
                StageInput::Blocks { count, schema: operator.input_schema.clone() }
            }
        };
        let (label, steps) = (operator.label.clone(), operator.steps.clone());
        Ok(StageSpec { label, task, input, steps, partition: operator.partition })
    }

    /// An operator whose steps may still grow.
    fn build(&mut self, logical: &LogicalPlan) -> Result<Operator> {
        match logical {
            LogicalPlan::ReadParquet { files, schema } => Ok(source("read", Tasks::Read(parquet_tasks(files, schema)))),
            LogicalPlan::ReadCsv { files, options, file_schema, columns } => {
                let task = |file: &FileEntry| ReadTask::Csv {
                    path: file.path.clone(),
                    options: options.clone(),
                    file_schema: file_schema.clone(),
                    columns: columns.clone(),
                    limit: None,
                };
                Ok(source("read", Tasks::Read(files.iter().map(task).collect())))
            }
            LogicalPlan::Blocks { schema, blocks } => {
                // One block at least, so that aggregates over nothing still have their one row.
                let blocks = if blocks.is_empty() { vec![Block::empty(schema.clone())] } else { blocks.clone() };
                let input = self.push(source("blocks", Tasks::Blocks(blocks)));
                Ok(after("map", Tasks::Map(input), Some(schema.clone())))
            }
            LogicalPlan::Filter { input, predicate } => self.fused(input, Step::Filter(predicate.clone())),
            LogicalPlan::Project { input, columns } => self.fused(input, Step::Project(columns.clone())),
            LogicalPlan::MapBatches { input, function } => self.fused(input, Step::MapBatches(function.clone())),
            LogicalPlan::Join { left, right, spec } => {
                let mut join = self.build(left)?;
                if join.label != "join" {
                    let input = self.seal(join, None);
                    join = after("join", Tasks::Map(input), Some(left.schema()?));
                }
                let side = join.broadcasts.len();
                join.broadcasts.push(self.broadcast(right)?);
                join.steps.push(Step::Join { spec: spec.clone(), side });
                Ok(join)
            }
            LogicalPlan::Aggregate { input, keys, aggregates } => {
                let (keys, aggregates) = (keys.clone(), aggregates.clone());
                let mut partial = self.build(input)?;
                partial.steps.push(Step::PartialAggregate { keys: keys.clone(), aggregates: aggregates.clone() });
                let wanted = logical.input_bytes().div_ceil(PARTITION_TARGET).clamp(1, MAX_PARTITIONS);
                let tasks = if keys.is_empty() { 1 } else { wanted };
                let by = (tasks > 1).then_some(HashPartition { columns: keys.len(), parts: tasks });
                let from = self.seal(partial, by);
                let mut merge = after("aggregate", Tasks::Gather { input: from, tasks, rows_wanted: None }, None);
                merge.steps.push(Step::FinalAggregate { keys, aggregates, input: input.schema()? });
                Ok(merge)
            }
            LogicalPlan::Sort { input, keys, limit } => {
                let step = Step::Sort { keys: keys.clone(), limit: *limit };
                self.gathered(input, "sort", step, None)
            }
            LogicalPlan::Limit { input, rows } => self.gathered(input, "limit", Step::Limit(*rows), Some(*rows)),
            LogicalPlan::Write { input, path, format } => {
                let schema = input.schema()?;
                let rows = self.build(input)?;
                let input = self.seal(rows, None);
                let tasks = match format {
                    WriteFormat::CsvFile => Tasks::Gather { input, tasks: 1, rows_wanted: None },
                    WriteFormat::CsvParts | WriteFormat::ParquetParts => Tasks::Map(input),
                };
                let mut write = after("write", tasks, Some(schema));
                write.steps.push(Step::Write { path: path.clone(), format: *format });
                Ok(write)
            }
        }
    }

    /// The operator of `input` with one more step.
    fn fused(&mut self, input: &LogicalPlan, step: Step) -> Result<Operator> {
        let mut operator = self.build(input)?;
        operator.steps.push(step);
        Ok(operator)
    }

    /// `step` done by each task of `input`, and again by one task over all of their outputs in order.
    fn gathered(&mut self, input: &LogicalPlan, label: &str, step: Step, rows_wanted: Option<u64>) -> Result<Operator> {
        let schema = input.schema()?;
        let mut each = self.build(input)?;
        push_read_limit(&mut each, rows_wanted);
        each.steps.push(step.clone());
        if matches!(each.tasks, Tasks::Gather { tasks: 1, .. }) {
            return Ok(each);
        }
        let input = self.seal(each, None);
        let mut all = after(label, Tasks::Gather { input, tasks: 1, rows_wanted }, Some(schema));
        all.steps.push(step);
        Ok(all)
    }

    /// An operator of one task with all rows of `input`.
    fn broadcast(&mut self, input: &LogicalPlan) -> Result<OpId> {
        let schema = input.schema()?;
        let side = self.build(input)?;
        let side = self.seal(side, None);
        if self.task_count(side) == 1 {
            return Ok(side);
        }
        let tasks = Tasks::Gather { input: side, tasks: 1, rows_wanted: None };
        Ok(self.push(after("broadcast", tasks, Some(schema))))
    }

    /// Ends an operator. One that would do nothing to another's blocks is left out.
    fn seal(&mut self, mut operator: Operator, partition: Option<HashPartition>) -> OpId {
        operator.partition = partition;
        match operator.tasks {
            Tasks::Map(input) if operator.steps.is_empty() && partition.is_none() => input,
            _ => self.push(operator),
        }
    }

    fn push(&mut self, operator: Operator) -> OpId {
        self.operators.push(operator);
        self.operators.len() - 1
    }
}

fn source(label: &str, tasks: Tasks) -> Operator {
    after(label, tasks, None)
}

fn after(label: &str, tasks: Tasks, input_schema: Option<SchemaRef>) -> Operator {
    let (steps, broadcasts) = (Vec::new(), Vec::new());
    Operator { label: label.into(), tasks, steps, broadcasts, partition: None, input_schema }
}

/// Reads no more rows than a limit above wants, if nothing in between drops rows.
fn push_read_limit(operator: &mut Operator, rows: Option<u64>) {
    if rows.is_none() || !operator.steps.iter().all(|s| matches!(s, Step::Project(_))) {
        return;
    }
    if let Tasks::Read(tasks) = &mut operator.tasks {
        for task in tasks {
            match task {
                ReadTask::Parquet { limit, .. } | ReadTask::Csv { limit, .. } => *limit = rows,
            }
        }
    }
}

/// One task a file, or one for each run of row groups of a large file.
fn parquet_tasks(files: &[FileEntry], schema: &SchemaRef) -> Vec<ReadTask> {
    let mut tasks = Vec::new();
    for file in files {
        let mut row_groups = Vec::new();
        let mut bytes = 0;
        let mut cut = |row_groups: &mut Vec<usize>| {
            let (path, row_groups) = (file.path.clone(), std::mem::take(row_groups));
            tasks.push(ReadTask::Parquet { path, row_groups, schema: schema.clone(), limit: None });
        };
        for (i, (_, size)) in file.row_groups.iter().enumerate() {
            if bytes > 0 && bytes + size > READ_TARGET {
                cut(&mut row_groups);
                bytes = 0;
            }
            row_groups.push(i);
            bytes += size;
        }
        if !row_groups.is_empty() || file.row_groups.is_empty() {
            cut(&mut row_groups);
        }
    }
    tasks
}
