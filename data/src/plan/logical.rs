//! The logical plan: a tree of relational operations, each with a schema known before anything runs.

use crate::block::Block;
use crate::expr::{Aggregate, Expr, type_of};
use crate::functions;
use crate::io::{CsvOptions, FileEntry};
use crate::kernel::{aggregate_schema, projected_schema, written_schema};
use crate::plan::WriteFormat;
use crate::{DataError, Result};
use arrow_schema::{DataType, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What to compute. Plain data; nothing happens until it is lowered and executed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LogicalPlan {
    /// Rows of Parquet files.
    ReadParquet {
        /// The files, in row order.
        files: Vec<FileEntry>,
        /// The columns to read.
        schema: SchemaRef,
    },
    /// Rows of CSV files.
    ReadCsv {
        /// The files, in row order.
        files: Vec<FileEntry>,
        /// How they are written.
        options: CsvOptions,
        /// All columns.
        file_schema: SchemaRef,
        /// Positions of the columns to read, ascending.
        columns: Vec<usize>,
    },
    /// Blocks that exist already.
    Blocks {
        /// Their schema.
        schema: SchemaRef,
        /// The blocks, in row order.
        blocks: Vec<Block>,
    },
    /// Rows for which a predicate is true.
    Filter {
        /// Of these rows.
        input: Box<LogicalPlan>,
        /// A boolean expression.
        predicate: Expr,
    },
    /// Other columns computed from each row.
    Project {
        /// Of these rows.
        input: Box<LogicalPlan>,
        /// Name and expression of each output column.
        columns: Vec<(String, Expr)>,
    },
    /// A registered function applied to each batch.
    MapBatches {
        /// To the batches of these rows.
        input: Box<LogicalPlan>,
        /// Its registered name.
        function: String,
    },
    /// Each left row with its matches in a small right side.
    Join {
        /// The streamed side.
        left: Box<LogicalPlan>,
        /// The side that is collected and sent to every task.
        right: Box<LogicalPlan>,
        /// Keys, kind and output columns.
        spec: JoinSpec,
    },
    /// One row a group.
    Aggregate {
        /// Of these rows.
        input: Box<LogicalPlan>,
        /// Columns whose values make a group; none means that all rows are one group.
        keys: Vec<String>,
        /// What is computed for each group.
        aggregates: Vec<Aggregate>,
    },
    /// All rows in an order.
    Sort {
        /// These rows.
        input: Box<LogicalPlan>,
        /// Most significant key first.
        keys: Vec<SortKey>,
        /// Keep only the first rows.
        limit: Option<u64>,
    },
    /// The first rows.
    Limit {
        /// Of these.
        input: Box<LogicalPlan>,
        /// How many.
        rows: u64,
    },
    /// Files with all rows; the output is one row a file (`path`, `rows`, `bytes`).
    Write {
        /// These rows.
        input: Box<LogicalPlan>,
        /// File or directory.
        path: String,
        /// What is written.
        format: WriteFormat,
    },
}

/// A column to sort by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortKey {
    /// The column.
    pub column: String,
    /// Largest first.
    pub descending: bool,
    /// Nulls before all values instead of after them.
    pub nulls_first: bool,
}

/// Smallest first, nulls last.
pub fn asc(column: impl Into<String>) -> SortKey {
    SortKey { column: column.into(), descending: false, nulls_first: false }
}

/// Largest first, nulls last.
pub fn desc(column: impl Into<String>) -> SortKey {
    SortKey { column: column.into(), descending: true, nulls_first: false }
}

impl SortKey {
    /// The same order with nulls first.
    pub fn nulls_first(mut self) -> Self {
        self.nulls_first = true;
        self
    }
}

/// Which rows a join keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinKind {
    /// Pairs that match.
    Inner,
    /// Pairs that match, and left rows without a match with nulls on the right.
    Left,
}

/// The columns of a join: `"carrier"`, `["origin", "dest"]`, or pairs `[("dest", "faa")]` of left and right names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct On(pub(crate) Vec<(String, String)>);

impl From<&str> for On {
    fn from(name: &str) -> Self {
        On(vec![(name.into(), name.into())])
    }
}

impl<const N: usize> From<[&str; N]> for On {
    fn from(names: [&str; N]) -> Self {
        On(names.iter().map(|n| (n.to_string(), n.to_string())).collect())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for On {
    fn from(pairs: [(&str, &str); N]) -> Self {
        On(pairs.iter().map(|(l, r)| (l.to_string(), r.to_string())).collect())
    }
}

impl From<Vec<(String, String)>> for On {
    fn from(pairs: Vec<(String, String)>) -> Self {
        On(pairs)
    }
}

/// A join, with its names resolved so that pruning columns cannot change them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinSpec {
    /// Pairs of left and right key columns.
    pub on: Vec<(String, String)>,
    /// Which rows are kept.
    pub kind: JoinKind,
    /// Right columns that are kept, and what they are called in the output.
    pub right_columns: Vec<(String, String)>,
}

impl LogicalPlan {
    /// The schema of the result.
    ///
    /// # Errors
    /// Whatever makes the plan meaningless: unknown or duplicate columns, wrong types, unknown functions.
    pub fn schema(&self) -> Result<SchemaRef> {
        match self {
            Self::ReadParquet { schema, .. } | Self::Blocks { schema, .. } => Ok(schema.clone()),
            Self::ReadCsv { file_schema, columns, .. } => Ok(Arc::new(file_schema.project(columns)?)),
            Self::Filter { input, predicate } => {
                let schema = input.schema()?;
                boolean(predicate, &schema)?;
                Ok(schema)
            }
            Self::Project { input, columns } => projected_schema(columns, &*input.schema()?),
            Self::MapBatches { input, function } => functions::find(function)?.output_schema(&input.schema()?),
            Self::Join { left, right, spec } => spec.output_schema(&*left.schema()?, &*right.schema()?),
            Self::Aggregate { input, keys, aggregates } => aggregate_schema(keys, aggregates, &*input.schema()?),
            Self::Sort { input, keys, .. } => {
                let schema = input.schema()?;
                keys.iter().try_for_each(|k| type_of(&Expr::Column(k.column.clone()), &schema).map(drop))?;
                Ok(schema)
            }
            Self::Limit { input, .. } => input.schema(),
            Self::Write { input, .. } => input.schema().map(|_| written_schema()),
        }
    }

    /// The plans this one reads from.
    pub fn inputs(&self) -> Vec<&LogicalPlan> {
        match self {
            Self::ReadParquet { .. } | Self::ReadCsv { .. } | Self::Blocks { .. } => Vec::new(),
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::MapBatches { input, .. }
            | Self::Aggregate { input, .. }
            | Self::Sort { input, .. }
            | Self::Limit { input, .. }
            | Self::Write { input, .. } => vec![input],
            Self::Join { left, right, .. } => vec![left, right],
        }
    }

    /// Bytes of the files and blocks the plan starts from: a property of the input, not of the cluster.
    pub fn input_bytes(&self) -> u64 {
        match self {
            Self::ReadParquet { files, .. } | Self::ReadCsv { files, .. } => files.iter().map(|f| f.bytes).sum(),
            Self::Blocks { blocks, .. } => blocks.iter().map(|b| b.bytes() as u64).sum(),
            other => other.inputs().iter().map(|p| p.input_bytes()).sum(),
        }
    }
}

fn boolean(predicate: &Expr, schema: &Schema) -> Result<()> {
    match type_of(predicate, schema)? {
        DataType::Boolean => Ok(()),
        other => Err(DataError::Type {
            expr: predicate.to_string(),
            detail: format!("a filter needs a boolean, not {other}"),
        }),
    }
}
