//! What a task does: pure, synchronous functions over blocks.
//!
//! A task is [`run_stage`] applied to a [`StageSpec`] and the blocks it names. The same specification and the same
//! inputs give the same bytes, wherever and however often the task runs; files are read through [`Source`] and
//! written through [`Sink`], and the only other thing a kernel may do is charge its cost.

mod accumulate;
mod aggregate;
mod exact;
pub(crate) mod float;
mod groups;
mod join;
mod sort;
#[cfg(test)]
mod tests;

pub(crate) use aggregate::output_schema as aggregate_schema;

use crate::block::Block;
use crate::cost::{self, Charge};
use crate::expr::{Expr, evaluate, lower, type_of};
use crate::functions;
use crate::io::{self, Sink, Source};
use crate::plan::{StageInput, StageSpec, Step, WriteFormat};
use crate::{DataError, Result};
use arrow_array::{Array, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, UInt64Array, cast::AsArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::filter::{filter_record_batch, prep_null_mask_filter};
use arrow_select::take::take_record_batch;
use std::sync::Arc;

/// What a task may touch besides its inputs.
#[derive(Clone, Copy)]
pub struct StageContext<'a> {
    /// Files to read.
    pub source: &'a dyn Source,
    /// Files to write.
    pub sink: &'a dyn Sink,
    /// Where costs go.
    pub charge: Charge,
}

/// Runs one task. The result has one block for each of `spec.parts()`.
///
/// # Errors
/// Whatever the files, the expressions and the user's functions raise; see [`DataError`].
pub fn run_stage(spec: &StageSpec, inputs: &[Block], context: StageContext<'_>) -> Result<Vec<Block>> {
    let (mut block, sides) = match &spec.input {
        StageInput::Read(task) => (io::read(task, context)?, inputs),
        StageInput::Blocks { count, schema } => {
            let (blocks, sides) = inputs
                .split_at_checked(*count)
                .ok_or_else(|| DataError::bug(format!("{} inputs where {count} were promised", inputs.len())))?;
            (concat(blocks, schema.as_ref())?, sides)
        }
    };
    for step in &spec.steps {
        block = apply(step, block, sides, spec.task, context)?;
    }
    match spec.partition {
        None => Ok(vec![block]),
        Some(by) => partition(&block, by.columns, by.parts),
    }
}

/// The batches of `blocks` one after another; `schema` decides if there are none.
fn concat(blocks: &[Block], schema: Option<&SchemaRef>) -> Result<Block> {
    let schema = schema
        .or(blocks.first().map(Block::schema))
        .ok_or_else(|| DataError::bug("a stage without inputs and without a schema"))?;
    Block::new(schema.clone(), blocks.iter().flat_map(Block::batches).cloned().collect())
}

fn apply(step: &Step, block: Block, sides: &[Block], task: u64, context: StageContext<'_>) -> Result<Block> {
    let rows = block.rows();
    let charge = |unit, count| (context.charge)(cost::of(unit, count));
    match step {
        Step::Filter(predicate) => {
            charge(cost::EXPRESSION_ROW + cost::ROW_COPY, rows);
            filter(&block, predicate)
        }
        Step::Project(columns) => {
            charge(cost::EXPRESSION_ROW, rows * columns.len());
            project(&block, columns)
        }
        Step::MapBatches(name) => map_batches(&block, name),
        Step::Join { spec, side } => {
            let right = sides.get(*side).ok_or_else(|| DataError::bug(format!("broadcast input {side} is missing")))?;
            charge(cost::HASH_ROW + cost::ROW_COPY, rows + right.rows());
            join::join(&block, right, spec)
        }
        Step::PartialAggregate { keys, aggregates } => {
            charge(cost::HASH_ROW + cost::ACCUMULATE_ROW * aggregates.len() as f64, rows);
            aggregate::partial(&block, keys, aggregates)
        }
        Step::FinalAggregate { keys, aggregates, input } => {
            charge(cost::HASH_ROW + cost::ACCUMULATE_ROW * aggregates.len() as f64, rows);
            aggregate::finish(&block, keys, aggregates, input)
        }
        Step::Sort { keys, limit } => {
            (context.charge)(cost::of_sort(rows) + cost::of(cost::ROW_COPY, rows));
            sort::sort(&block, keys, *limit)
        }
        Step::Limit(n) => limit(&block, *n),
        Step::Write { path, format } => write(&block, path, *format, task, context),
    }
}

fn filter(block: &Block, predicate: &Expr) -> Result<Block> {
    let lowered = lower(predicate, block.schema())?;
    let mut batches = Vec::with_capacity(block.batches().len());
    for batch in block.batches() {
        let mask = evaluate(&lowered, batch)?;
        let kept = filter_record_batch(batch, &is_true(mask.as_boolean()))?;
        if kept.num_rows() > 0 {
            batches.push(kept);
        }
    }
    Block::new(block.schema().clone(), batches)
}

/// Where `mask` is true: null counts as false.
fn is_true(mask: &BooleanArray) -> BooleanArray {
    if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() }
}

/// The schema of a projection of rows of `input`.
///
/// # Errors
/// Unknown or duplicate columns, wrong types.
pub(crate) fn projected_schema(columns: &[(String, Expr)], input: &Schema) -> Result<SchemaRef> {
    let mut fields = Vec::with_capacity(columns.len());
    for (name, expr) in columns {
        fields.push(match expr {
            Expr::Column(same) if input.field_with_name(same).is_ok() => {
                input.field_with_name(same)?.clone().with_name(name)
            }
            other => Field::new(name, type_of(other, input)?, true),
        });
    }
    crate::plan::unique_names(&fields)?;
    Ok(Arc::new(Schema::new(fields)))
}

fn project(block: &Block, columns: &[(String, Expr)]) -> Result<Block> {
    let schema = projected_schema(columns, block.schema())?;
    let lowered = columns.iter().map(|(_, e)| lower(e, block.schema())).collect::<Result<Vec<_>>>()?;
    let mut batches = Vec::with_capacity(block.batches().len());
    for batch in block.batches() {
        let arrays = lowered.iter().map(|e| evaluate(e, batch)).collect::<Result<Vec<_>>>()?;
        // A projection to no column still has rows: count() needs nothing else.
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        batches.push(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?);
    }
    Block::new(schema, batches)
}

fn map_batches(block: &Block, name: &str) -> Result<Block> {
    let function = functions::find(name)?;
    let schema = function.output_schema(block.schema())?;
    let batches = block.batches().iter().map(|b| function.call(b, &schema)).collect::<Result<Vec<_>>>()?;
    Block::new(schema, batches)
}

fn limit(block: &Block, n: u64) -> Result<Block> {
    let mut left = usize::try_from(n).unwrap_or(usize::MAX);
    let mut batches = Vec::new();
    for batch in block.batches() {
        let taken = batch.num_rows().min(left);
        if taken > 0 {
            batches.push(batch.slice(0, taken));
        }
        left -= taken;
    }
    Block::new(block.schema().clone(), batches)
}

/// Splits rows by the hash of the first `columns` columns.
fn partition(block: &Block, columns: usize, parts: u64) -> Result<Vec<Block>> {
    let batch = block.to_batch()?;
    let mut rows = vec![Vec::new(); usize::try_from(parts).unwrap_or(1)];
    for (row, part) in groups::partition(&batch.columns()[..columns], parts)?.into_iter().enumerate() {
        rows[part as usize].push(row as u64);
    }
    let part = |rows: Vec<u64>| {
        let taken = take_record_batch(&batch, &UInt64Array::from(rows))?;
        Block::new(block.schema().clone(), vec![taken])
    };
    rows.into_iter().map(part).collect()
}

/// The schema of what a write leaves: one row a file.
pub(crate) fn written_schema() -> SchemaRef {
    let field = |name, t| Field::new(name, t, false);
    Arc::new(Schema::new(vec![
        field("path", DataType::Utf8),
        field("rows", DataType::UInt64),
        field("bytes", DataType::UInt64),
    ]))
}

fn write(block: &Block, path: &str, format: WriteFormat, task: u64, context: StageContext<'_>) -> Result<Block> {
    let path = match format {
        WriteFormat::CsvFile => path.to_string(),
        WriteFormat::CsvParts => format!("{path}/part-{task:05}.csv"),
        WriteFormat::ParquetParts => format!("{path}/part-{task:05}.parquet"),
    };
    let bytes = match format {
        WriteFormat::CsvFile | WriteFormat::CsvParts => io::csv::encode(block)?,
        WriteFormat::ParquetParts => io::parquet::encode(block)?,
    };
    let size = bytes.len() as u64;
    (context.charge)(cost::of(cost::ENCODE_BYTE, bytes.len()));
    context.sink.write_atomic(&path, bytes).map_err(|e| DataError::io(&path, &e))?;
    let schema = written_schema();
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(StringArray::from(vec![path])),
        Arc::new(UInt64Array::from(vec![block.rows() as u64])),
        Arc::new(UInt64Array::from(vec![size])),
    ];
    Block::new(schema.clone(), vec![RecordBatch::try_new(schema, columns)?])
}
