//! Rewrites that do not change the answer: top-k and column pruning.

use super::LogicalPlan;
use crate::Result;
use arrow_schema::Schema;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A set of column names; `None` means all of them.
type Wanted = Option<BTreeSet<String>>;

/// Applies every rule.
///
/// # Errors
/// As [`LogicalPlan::schema`].
pub(crate) fn optimize(plan: &LogicalPlan) -> Result<LogicalPlan> {
    prune(&limit_sorts(plan.clone()), None)
}

/// A limit right above a sort becomes part of it, so that each task keeps only its first rows; two limits become one.
fn limit_sorts(plan: LogicalPlan) -> LogicalPlan {
    match plan {
        LogicalPlan::Limit { input, rows } => match limit_sorts(*input) {
            LogicalPlan::Sort { input, keys, limit } => {
                LogicalPlan::Sort { input, keys, limit: Some(limit.map_or(rows, |l| l.min(rows))) }
            }
            LogicalPlan::Limit { input, rows: inner } => LogicalPlan::Limit { input, rows: rows.min(inner) },
            input => LogicalPlan::Limit { input: Box::new(input), rows },
        },
        other => with_inputs(other, limit_sorts),
    }
}

/// `plan` with `change` applied to each of its inputs.
fn with_inputs(mut plan: LogicalPlan, mut change: impl FnMut(LogicalPlan) -> LogicalPlan) -> LogicalPlan {
    let mut each = |input: &mut Box<LogicalPlan>| **input = change((**input).clone());
    match &mut plan {
        LogicalPlan::ReadParquet { .. } | LogicalPlan::ReadCsv { .. } | LogicalPlan::Blocks { .. } => {}
        LogicalPlan::Filter { input, .. }
        | LogicalPlan::Project { input, .. }
        | LogicalPlan::MapBatches { input, .. }
        | LogicalPlan::Aggregate { input, .. }
        | LogicalPlan::Sort { input, .. }
        | LogicalPlan::Limit { input, .. }
        | LogicalPlan::Write { input, .. } => each(input),
        LogicalPlan::Join { left, right, .. } => {
            each(left);
            each(right);
        }
    }
    plan
}

/// Reads and computes only columns that are used further up.
fn prune(plan: &LogicalPlan, wanted: Wanted) -> Result<LogicalPlan> {
    let boxed = |input: &LogicalPlan, wanted| prune(input, wanted).map(Box::new);
    let keep = |name: &str| wanted.as_ref().is_none_or(|w| w.contains(name));
    Ok(match plan {
        LogicalPlan::ReadParquet { files, schema } => {
            let fields = schema.fields().iter().filter(|f| keep(f.name())).cloned().collect::<Vec<_>>();
            LogicalPlan::ReadParquet { files: files.clone(), schema: Arc::new(Schema::new(fields)) }
        }
        LogicalPlan::ReadCsv { files, options, file_schema, columns } => LogicalPlan::ReadCsv {
            files: files.clone(),
            options: options.clone(),
            file_schema: file_schema.clone(),
            columns: columns.iter().copied().filter(|c| keep(file_schema.field(*c).name())).collect(),
        },
        LogicalPlan::Blocks { .. } => plan.clone(),
        LogicalPlan::Filter { input, predicate } => {
            let mut below = wanted;
            predicate.columns(&mut |c| add(&mut below, c));
            LogicalPlan::Filter { input: boxed(input, below)?, predicate: predicate.clone() }
        }
        LogicalPlan::Project { input, columns } => {
            let columns: Vec<_> = columns.iter().filter(|(name, _)| keep(name)).cloned().collect();
            let mut below = Some(BTreeSet::new());
            columns.iter().for_each(|(_, e)| e.columns(&mut |c| add(&mut below, c)));
            LogicalPlan::Project { input: boxed(input, below)?, columns }
        }
        LogicalPlan::MapBatches { input, function } => {
            LogicalPlan::MapBatches { input: boxed(input, None)?, function: function.clone() }
        }
        LogicalPlan::Join { left, right, spec } => {
            let mut spec = spec.clone();
            spec.right_columns.retain(|(_, output)| keep(output));
            let of_left: Wanted = match &wanted {
                None => None,
                Some(w) => {
                    let schema = left.schema()?;
                    let kept = w.iter().filter(|c| schema.field_with_name(c).is_ok());
                    Some(kept.cloned().chain(spec.on.iter().map(|(l, _)| l.clone())).collect())
                }
            };
            let of_right = spec.right_columns.iter().map(|(c, _)| c).chain(spec.on.iter().map(|(_, r)| r)).cloned();
            let right = boxed(right, Some(of_right.collect()))?;
            LogicalPlan::Join { left: boxed(left, of_left)?, right, spec }
        }
        LogicalPlan::Aggregate { input, keys, aggregates } => {
            let mut below = Some(keys.iter().cloned().collect());
            let arguments = aggregates.iter().filter_map(|a| a.argument.as_ref());
            arguments.for_each(|e| e.columns(&mut |c| add(&mut below, c)));
            LogicalPlan::Aggregate { input: boxed(input, below)?, keys: keys.clone(), aggregates: aggregates.clone() }
        }
        LogicalPlan::Sort { input, keys, limit } => {
            let mut below = wanted;
            keys.iter().for_each(|k| add(&mut below, &k.column));
            LogicalPlan::Sort { input: boxed(input, below)?, keys: keys.clone(), limit: *limit }
        }
        LogicalPlan::Limit { input, rows } => LogicalPlan::Limit { input: boxed(input, wanted)?, rows: *rows },
        LogicalPlan::Write { input, path, format } => {
            LogicalPlan::Write { input: boxed(input, None)?, path: path.clone(), format: *format }
        }
    })
}

fn add(wanted: &mut Wanted, column: &str) {
    if let Some(wanted) = wanted {
        wanted.insert(column.into());
    }
}
