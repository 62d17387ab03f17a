//! Lazy, streaming Arrow Datasets on Mobula's public API.
//!
//! A [`Dataset`] is a plan; nothing is read until it is consumed ([`Dataset::collect`], [`Dataset::show`],
//! [`Dataset::write_parquet`], ...). Then the plan is optimized, cut into operators of independent tasks, and
//! executed by a machine that streams blocks through them within a memory budget. A task is a pure function of its
//! specification and its input blocks, so it can run again anywhere, and the answer is the same whatever fails
//! (`SEMANTICS.md`).
//!
//! | module | holds |
//! | --- | --- |
//! | [`Expr`], [`Aggregate`] | expressions over rows and groups, as plain data |
//! | [`plan`] | logical plan, rules, physical plan, what a task is told |
//! | `kernel` | what a task does: synchronous functions over blocks |
//! | [`io`] | Parquet and CSV through two small traits |
//! | [`exec`] | the streaming executor as a machine, its shell, progress |
//!
//! What must NOT happen here: a result that depends on the cut of rows into blocks, on completion order or on
//! failures; a clock, a thread, a file or a socket of the system; a closure in a task.

pub mod block;
pub mod cost;
mod dataset;
mod error;
pub mod exec;
mod expr;
mod functions;
pub mod io;
mod kernel;
pub mod plan;
mod session;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use block::Block;
pub use dataset::{Dataset, GroupBy, Written};
pub use error::{DataError, Result};
pub use expr::{
    AggFunction, Aggregate, BinaryOp, Expr, IntoArgument, Literal, col, count, count_if, count_of, lit, max, mean, min,
    stddev, sum,
};
pub use functions::MapFunction;
pub use io::CsvOptions;
pub use kernel::{StageContext, run_stage};
pub use plan::{JoinKind, On, SortKey, StageSpec, asc, desc};
pub use session::{IntoPaths, ReadDatasets, Session};

pub use arrow_array::RecordBatch;
pub use arrow_schema::{DataType, Field, Schema, SchemaRef};
#[doc(hidden)]
pub use inventory;
