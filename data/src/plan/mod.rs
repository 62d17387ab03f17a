//! Plans: what the user asked for, how it will be done, and the rules in between.
//!
//! A [`LogicalPlan`] is a tree of relational operations. [`rules`] rewrite it without changing its answer.
//! [`physical`] turns it into a chain of operators, each a number of tasks that run the same [`Step`]s; neighbouring
//! steps are fused into one operator up to the next place where rows must move.

mod explain;
mod logical;
mod physical;
mod rules;
mod stage;
#[cfg(test)]
mod tests;

pub use logical::{JoinKind, JoinSpec, LogicalPlan, On, SortKey, asc, desc};
pub use physical::{OpId, Operator, PhysicalPlan, Tasks};
pub use stage::{HashPartition, StageInput, StageSpec, Step, WriteFormat};

pub(crate) use explain::explain;
pub(crate) use rules::optimize;

use crate::{DataError, Result};
use arrow_schema::Field;
use std::collections::BTreeSet;

/// Fails if two fields have one name.
pub(crate) fn unique_names(fields: &[Field]) -> Result<()> {
    let mut seen = BTreeSet::new();
    match fields.iter().find(|f| !seen.insert(f.name())) {
        Some(twice) => Err(DataError::DuplicateColumn { column: twice.name().clone() }),
        None => Ok(()),
    }
}
