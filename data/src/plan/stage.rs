//! What one task is told to do.

use super::{JoinSpec, SortKey};
use crate::expr::{Aggregate, Expr};
use crate::io::ReadTask;
use arrow_schema::SchemaRef;
use serde::{Deserialize, Serialize};

/// The complete specification of a task, apart from its input blocks. Shipped as the argument of a named function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// Label of the operator.
    pub label: String,
    /// Index of the task in its operator.
    pub task: u64,
    /// Where the rows come from.
    pub input: StageInput,
    /// What happens to them, in order.
    pub steps: Vec<Step>,
    /// How the output is split; `None` makes one block.
    pub partition: Option<HashPartition>,
}

/// Where the rows of a task come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StageInput {
    /// From a file.
    Read(ReadTask),
    /// From the first `count` input blocks, one after another; the inputs after them are broadcast sides.
    Blocks {
        /// Number of blocks.
        count: usize,
        /// Their schema, needed when there is none; `None` where only the blocks know it (partial aggregates).
        schema: Option<SchemaRef>,
    },
}

/// Rows are split by a pinned hash of their first columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashPartition {
    /// How many leading columns are hashed.
    pub columns: usize,
    /// Number of partitions; a function of the plan's input alone, so that it is the same on every cluster.
    pub parts: u64,
}

/// One thing that happens to the rows of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Keep rows for which this is true.
    Filter(Expr),
    /// Compute these columns.
    Project(Vec<(String, Expr)>),
    /// Apply a registered function to each batch.
    MapBatches(String),
    /// Join with a broadcast side.
    Join {
        /// Keys, kind and output columns.
        spec: JoinSpec,
        /// Which broadcast side.
        side: usize,
    },
    /// One row of states a group.
    PartialAggregate {
        /// Key columns.
        keys: Vec<String>,
        /// Aggregates.
        aggregates: Vec<Aggregate>,
    },
    /// Merge states and compute the results.
    FinalAggregate {
        /// Key columns.
        keys: Vec<String>,
        /// Aggregates.
        aggregates: Vec<Aggregate>,
        /// Schema of the rows before [`Step::PartialAggregate`].
        input: SchemaRef,
    },
    /// Sort the rows of this task.
    Sort {
        /// Most significant key first.
        keys: Vec<SortKey>,
        /// Keep only the first rows.
        limit: Option<u64>,
    },
    /// Keep the first rows.
    Limit(u64),
    /// Write the rows to a file named after the task.
    Write {
        /// File or directory.
        path: String,
        /// What is written.
        format: WriteFormat,
    },
}

/// What a write makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteFormat {
    /// One CSV file with all rows.
    CsvFile,
    /// `part-00000.csv`, ... in a directory, one a block.
    CsvParts,
    /// `part-00000.parquet`, ... in a directory, one a block.
    ParquetParts,
}

impl StageSpec {
    /// Number of output blocks.
    pub fn parts(&self) -> u64 {
        self.partition.map_or(1, |p| p.parts)
    }
}
