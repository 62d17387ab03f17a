//! Hash join with a small table that every task holds whole.

use super::float::canonical;
use super::groups::{converter, encode};
use crate::block::Block;
use crate::plan::{JoinKind, JoinSpec};
use crate::{DataError, Result};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow_cast::cast;
use arrow_schema::{DataType, Schema};
use arrow_select::take::{take, take_record_batch};
use hashbrown::HashTable;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The type two key columns are compared in, or `None` if they are not comparable: equal types, integers of any
/// width, or text of any layout.
pub(crate) fn key_type(left: &DataType, right: &DataType) -> Option<DataType> {
    let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match (left, right) {
        (l, r) if l == r => Some(l.clone()),
        (l, r) if text(l) && text(r) => Some(DataType::LargeUtf8),
        (l, r) if l.is_signed_integer() && r.is_signed_integer() => Some(DataType::Int64),
        (l, r) if l.is_integer() && r.is_integer() => Some(DataType::Decimal128(20, 0)),
        (l, r) if l.is_floating() && r.is_floating() => Some(DataType::Float64),
        _ => None,
    }
}

/// Rows of `left`, in order, each with its matches in `right`, in order. A null key matches nothing; NaN matches NaN.
pub(crate) fn join(left: &Block, right: &Block, spec: &JoinSpec) -> Result<Block> {
    let schema = spec.output_schema(left.schema(), right.schema())?;
    let build = right.to_batch()?;
    let types = spec.key_types(left.schema(), right.schema())?;
    let rows = converter(&types)?;
    let (build_keys, build_valid) = keys(&build, spec.on.iter().map(|(_, r)| r.as_str()), &types)?;
    let encoded = encode(&rows, &build_keys)?;

    // First and last build row of each key, and the next build row with the same key: matches come out in build order.
    let mut table: HashTable<(u64, usize, usize)> = HashTable::with_capacity(build.num_rows());
    let mut next = vec![usize::MAX; build.num_rows()];
    for (i, row) in encoded.iter().enumerate().filter(|(i, _)| build_valid[*i]) {
        let hash = xxh3_64(row.as_ref());
        match table.find_mut(hash, |(h, first, _)| *h == hash && encoded.row(*first) == row) {
            Some((_, _, last)) => {
                next[*last] = i;
                *last = i;
            }
            None => {
                table.insert_unique(hash, (hash, i, i), |(h, _, _)| *h);
            }
        }
    }

    let kept = spec.right_columns.iter().map(|(name, _)| right.schema().index_of(name));
    let kept = kept.collect::<Result<Vec<_>, _>>()?;
    let mut batches = Vec::with_capacity(left.batches().len());
    for batch in left.batches() {
        let (probe_keys, valid) = keys(batch, spec.on.iter().map(|(l, _)| l.as_str()), &types)?;
        let (mut probe, mut matched): (Vec<u64>, Vec<Option<u64>>) = (Vec::new(), Vec::new());
        for (i, row) in encode(&rows, &probe_keys)?.iter().enumerate() {
            let hash = xxh3_64(row.as_ref());
            let found = if valid[i] {
                table.find(hash, |(h, first, _)| *h == hash && encoded.row(*first) == row).map(|(_, first, _)| *first)
            } else {
                None
            };
            if found.is_none() && spec.kind == JoinKind::Left {
                probe.push(i as u64);
                matched.push(None);
            }
            let mut at = found;
            while let Some(row) = at {
                probe.push(i as u64);
                matched.push(Some(row as u64));
                at = (next[row] != usize::MAX).then_some(next[row]);
            }
        }
        let mut columns = take_record_batch(batch, &UInt64Array::from(probe))?.columns().to_vec();
        let matched = UInt64Array::from(matched);
        for index in &kept {
            columns.push(take(build.column(*index), &matched, None)?);
        }
        batches.push(RecordBatch::try_new(schema.clone(), columns)?);
    }
    Block::new(schema, batches)
}

/// The key columns in their common types, and for each row whether every key is present.
fn keys<'a>(
    batch: &RecordBatch,
    names: impl Iterator<Item = &'a str>,
    types: &[DataType],
) -> Result<(Vec<ArrayRef>, Vec<bool>)> {
    let mut valid = vec![true; batch.num_rows()];
    let mut columns = Vec::with_capacity(types.len());
    for (name, common) in names.zip(types) {
        let column = batch.column_by_name(name).ok_or_else(|| {
            DataError::unknown_column(name, batch.schema_ref().fields().iter().map(|f| f.name().as_str()))
        })?;
        if let Some(nulls) = column.logical_nulls() {
            valid.iter_mut().enumerate().for_each(|(i, v)| *v &= nulls.is_valid(i));
        }
        columns.push(canonical(&cast(column, common)?));
    }
    Ok((columns, valid))
}

impl JoinSpec {
    /// The common types of the key pairs.
    ///
    /// # Errors
    /// Unknown key columns; [`DataError::Type`] naming both types if a pair cannot be compared.
    pub(crate) fn key_types(&self, left: &Schema, right: &Schema) -> Result<Vec<DataType>> {
        let find = |schema: &Schema, name: &str| match schema.field_with_name(name) {
            Ok(field) => Ok(field.data_type().clone()),
            Err(_) => Err(DataError::unknown_column(name, schema.fields().iter().map(|f| f.name().as_str()))),
        };
        let common = |(l, r): &(String, String)| {
            let (lt, rt) = (find(left, l)?, find(right, r)?);
            key_type(&lt, &rt).ok_or_else(|| DataError::Type {
                expr: format!("join on {l} = {r}"),
                detail: format!("{lt} cannot be compared with {rt}; cast one side first"),
            })
        };
        self.on.iter().map(common).collect()
    }

    /// The right columns that are kept: all but the keys, with `_right` where the left side has the name already.
    pub(crate) fn resolve(on: Vec<(String, String)>, kind: JoinKind, left: &Schema, right: &Schema) -> Self {
        let kept = right.fields().iter().map(|f| f.name()).filter(|name| !on.iter().any(|(_, r)| r == *name));
        let named = |name: &String| match left.field_with_name(name) {
            Ok(_) => (name.clone(), format!("{name}_right")),
            Err(_) => (name.clone(), name.clone()),
        };
        let right_columns = kept.map(named).collect();
        Self { on, kind, right_columns }
    }

    /// The columns of the left side, then the right columns that are kept.
    ///
    /// # Errors
    /// As [`JoinSpec::key_types`], and [`DataError::DuplicateColumn`].
    pub(crate) fn output_schema(&self, left: &Schema, right: &Schema) -> Result<Arc<Schema>> {
        self.key_types(left, right)?;
        let mut fields: Vec<_> = left.fields().iter().map(|f| f.as_ref().clone()).collect();
        for (name, output) in &self.right_columns {
            fields.push(right.field_with_name(name)?.clone().with_name(output).with_nullable(true));
        }
        crate::plan::unique_names(&fields)?;
        Ok(Arc::new(Schema::new(fields)))
    }
}
