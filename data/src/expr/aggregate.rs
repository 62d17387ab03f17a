//! Aggregates over the rows of a group.

use super::{Expr, col};
use serde::{Deserialize, Serialize};
use std::fmt;

/// An aggregate and the name of the column it makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// What is computed.
    pub function: AggFunction,
    /// What it is computed over; `None` only for [`AggFunction::Count`].
    pub argument: Option<Expr>,
    /// Name of the result column.
    pub name: String,
}

/// What an aggregate computes. Nulls are skipped by all but `Count`; see `SEMANTICS.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AggFunction {
    /// Number of rows.
    Count,
    /// Number of rows whose argument is not null.
    CountOf,
    /// Number of rows whose argument is true.
    CountIf,
    /// Sum: of integers as int64 (error on overflow), of floats exact and rounded once. Null if nothing was added.
    Sum,
    /// Mean as a float. Null if there was no value.
    Mean,
    /// Least value; NaN is larger than every number. Null if there was no value.
    Min,
    /// Greatest value; NaN is larger than every number. Null if there was no value.
    Max,
    /// Standard deviation of a sample (n - 1 in the denominator) as a float. Null for fewer than two values.
    Stddev,
}

impl AggFunction {
    /// The name used in plans and default column names.
    pub fn name(self) -> &'static str {
        match self {
            AggFunction::Count | AggFunction::CountOf => "count",
            AggFunction::CountIf => "count_if",
            AggFunction::Sum => "sum",
            AggFunction::Mean => "mean",
            AggFunction::Min => "min",
            AggFunction::Max => "max",
            AggFunction::Stddev => "stddev",
        }
    }
}

/// What an aggregate takes: a column's name, or any expression.
pub trait IntoArgument {
    /// As an expression.
    fn into_argument(self) -> Expr;
}

impl IntoArgument for Expr {
    fn into_argument(self) -> Expr {
        self
    }
}

impl IntoArgument for &str {
    fn into_argument(self) -> Expr {
        col(self)
    }
}

fn over(function: AggFunction, argument: Expr) -> Aggregate {
    let name = format!("{}({argument})", function.name());
    Aggregate { function, argument: Some(argument), name }
}

/// Number of rows, as int64. Named `count` unless given an alias.
pub fn count() -> Aggregate {
    Aggregate { function: AggFunction::Count, argument: None, name: "count".into() }
}

/// Number of rows where `argument` is not null, as int64.
pub fn count_of(argument: impl IntoArgument) -> Aggregate {
    over(AggFunction::CountOf, argument.into_argument())
}

/// Number of rows where `condition` is true, as int64.
pub fn count_if(condition: impl IntoArgument) -> Aggregate {
    over(AggFunction::CountIf, condition.into_argument())
}

/// Sum of the values that are not null.
pub fn sum(argument: impl IntoArgument) -> Aggregate {
    over(AggFunction::Sum, argument.into_argument())
}

/// Mean of the values that are not null.
pub fn mean(argument: impl IntoArgument) -> Aggregate {
    over(AggFunction::Mean, argument.into_argument())
}

/// Least of the values that are not null.
pub fn min(argument: impl IntoArgument) -> Aggregate {
    over(AggFunction::Min, argument.into_argument())
}

/// Greatest of the values that are not null.
pub fn max(argument: impl IntoArgument) -> Aggregate {
    over(AggFunction::Max, argument.into_argument())
}

/// Sample standard deviation of the values that are not null.
pub fn stddev(argument: impl IntoArgument) -> Aggregate {
    over(AggFunction::Stddev, argument.into_argument())
}

impl Aggregate {
    /// The same aggregate under another name.
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.argument {
            None => self.function.name().to_string(),
            Some(argument) => format!("{}({argument})", self.function.name()),
        };
        if text == self.name { f.write_str(&text) } else { write!(f, "{text} as {}", self.name) }
    }
}
