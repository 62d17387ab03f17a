//! Stable sorting by any number of keys.

use super::float::canonical;
use crate::block::Block;
use crate::plan::SortKey;
use crate::{DataError, Result};
use arrow_array::UInt64Array;
use arrow_row::{RowConverter, SortField};
use arrow_schema::SortOptions;
use arrow_select::take::take_record_batch;

/// The rows of `block` in the order of `keys`, ties in input order; only the first `limit` if given.
///
/// Keys become byte strings that compare like the rows (Arrow row format, floats canonical). The sort is the standard
/// library's driftsort, which finds the runs that are already sorted: on the concatenation of sorted blocks it is a
/// merge.
pub(crate) fn sort(block: &Block, keys: &[SortKey], limit: Option<u64>) -> Result<Block> {
    let batch = block.to_batch()?;
    let mut columns = Vec::with_capacity(keys.len());
    let mut fields = Vec::with_capacity(keys.len());
    for key in keys {
        let column = batch.column_by_name(&key.column).ok_or_else(|| {
            DataError::unknown_column(&key.column, block.schema().fields().iter().map(|f| f.name().as_str()))
        })?;
        columns.push(canonical(column));
        let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
        fields.push(SortField::new_with_options(column.data_type().clone(), options));
    }
    let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut order: Vec<u64> = (0..batch.num_rows() as u64).collect();
    order.sort_by_key(|i| rows.row(*i as usize));
    order.truncate(limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)));
    let sorted = take_record_batch(&batch, &UInt64Array::from(order))?;
    Block::new(block.schema().clone(), vec![sorted])
}
