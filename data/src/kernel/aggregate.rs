//! Grouped aggregation in two phases: partial states per block, merged in block order into final values.

use super::accumulate::{Accumulators, result_type};
use super::groups::Groups;
use crate::block::Block;
use crate::expr::{Aggregate, Expr, evaluate, lower, type_of};
use crate::{DataError, Result};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// The schema of `keys` and `aggregates` over rows of `input`: the keys, then the aggregates.
///
/// # Errors
/// Unknown or duplicate columns, and aggregates over types they are not defined for.
pub(crate) fn output_schema(keys: &[String], aggregates: &[Aggregate], input: &Schema) -> Result<SchemaRef> {
    let mut fields = Vec::with_capacity(keys.len() + aggregates.len());
    for key in keys {
        let data_type = type_of(&Expr::Column(key.clone()), input)?;
        fields.push(Field::new(key, data_type, true));
    }
    for aggregate in aggregates {
        let argument = argument_type(aggregate, input)?;
        let data_type = result_type(aggregate.function, &argument).ok_or_else(|| DataError::Type {
            expr: aggregate.to_string(),
            detail: format!("{} is not defined for {argument}", aggregate.function.name()),
        })?;
        fields.push(Field::new(&aggregate.name, data_type, true));
    }
    crate::plan::unique_names(&fields)?;
    Ok(Arc::new(Schema::new(fields)))
}

fn argument_type(aggregate: &Aggregate, input: &Schema) -> Result<DataType> {
    aggregate.argument.as_ref().map_or(Ok(DataType::Null), |a| type_of(a, input))
}

fn accumulators(aggregates: &[Aggregate], input: &Schema) -> Result<Vec<Accumulators>> {
    aggregates.iter().map(|a| Accumulators::new(a.function, argument_type(a, input)?, a.to_string())).collect()
}

fn key_types(keys: &[String], input: &Schema) -> Result<Vec<DataType>> {
    keys.iter().map(|k| type_of(&Expr::Column(k.clone()), input)).collect()
}

/// One row a group of the block: key columns, then the state columns of each aggregate.
pub(crate) fn partial(block: &Block, keys: &[String], aggregates: &[Aggregate]) -> Result<Block> {
    let schema = block.schema();
    let mut groups = Groups::new(key_types(keys, schema)?)?;
    let mut parts = accumulators(aggregates, schema)?;
    let key_exprs = keys.iter().map(|k| lower(&Expr::Column(k.clone()), schema)).collect::<Result<Vec<_>>>()?;
    let arguments = aggregates
        .iter()
        .map(|a| a.argument.as_ref().map(|e| lower(e, schema)).transpose())
        .collect::<Result<Vec<_>>>()?;
    for batch in block.batches() {
        let columns = key_exprs.iter().map(|k| evaluate(k, batch)).collect::<Result<Vec<_>>>()?;
        let numbers = groups.assign(&columns, batch.num_rows())?;
        for (part, argument) in parts.iter_mut().zip(&arguments) {
            let values = argument.as_ref().map(|a| evaluate(a, batch)).transpose()?;
            part.update(values.as_ref(), &numbers, groups.len())?;
        }
    }
    let mut columns = Vec::new();
    let mut states = Vec::new();
    for part in &mut parts {
        states.extend(part.state()?);
    }
    let rows = groups.len();
    columns.extend(groups.into_columns()?);
    columns.extend(states);
    state_block(columns, rows)
}

fn state_block(columns: Vec<ArrayRef>, rows: usize) -> Result<Block> {
    let fields: Vec<Field> =
        columns.iter().enumerate().map(|(i, c)| Field::new(format!("{i}"), c.data_type().clone(), true)).collect();
    block_of(Arc::new(Schema::new(fields)), columns, rows)
}

fn block_of(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<Block> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    Block::new(schema, vec![batch])
}

/// Final values from the partial states in `block`, whose batches are in block order. `input` is the schema before
/// [`partial`]. Groups are in order of first appearance.
/// Without keys there is one row, whatever the input.
pub(crate) fn finish(block: &Block, keys: &[String], aggregates: &[Aggregate], input: &Schema) -> Result<Block> {
    let schema = output_schema(keys, aggregates, input)?;
    let mut groups = Groups::new(key_types(keys, input)?)?;
    let mut parts = accumulators(aggregates, input)?;
    for batch in block.batches() {
        let (key_columns, mut states) = batch.columns().split_at(keys.len());
        let numbers = groups.assign(key_columns, batch.num_rows())?;
        for part in &mut parts {
            let (own, rest) = states.split_at(part.width());
            part.merge(own, &numbers, groups.len())?;
            states = rest;
        }
    }
    if keys.is_empty() && groups.len() == 0 {
        // One row all the same: what the aggregates are of no rows.
        let results = parts.iter().map(Accumulators::of_nothing).collect::<Result<_>>()?;
        return block_of(schema, results, 1);
    }
    let rows = groups.len();
    let results = parts.into_iter().map(|p| p.finish(rows)).collect::<Result<Vec<_>>>()?;
    let columns = groups.into_columns()?.into_iter().chain(results).collect();
    block_of(schema, columns, rows)
}
