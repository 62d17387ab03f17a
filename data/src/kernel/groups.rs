//! From key values to group numbers.

use super::float::canonical;
use crate::Result;
use arrow_array::ArrayRef;
use arrow_cast::cast;
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::DataType;
use hashbrown::HashTable;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Seed of the hash that assigns rows to partitions. It is part of the layout of a Dataset: changing it, the hash or
/// the row encoding moves rows between partitions. It differs from the table's seed, so that the rows of one
/// partition still spread over a whole table.
const PARTITION_SEED: u64 = 0x6d6f_6275_6c61_0001;

/// Numbers the distinct keys of a stream of rows, in order of first appearance.
///
/// Null is a key like any other, all NaN are one key, and minus zero is zero. Without key columns all rows are one
/// group.
pub(crate) struct Groups {
    types: Vec<DataType>,
    converter: RowConverter,
    /// The distinct keys, by group number.
    keys: Rows,
    /// Hash and group number of each key.
    table: HashTable<(u64, usize)>,
    /// Whether any row was seen.
    any: bool,
}

impl Groups {
    /// No groups yet, for keys of these types.
    pub(crate) fn new(types: Vec<DataType>) -> Result<Self> {
        let converter = converter(&types)?;
        let keys = converter.empty_rows(0, 0);
        Ok(Self { types, converter, keys, table: HashTable::new(), any: false })
    }

    /// The group number of each of `rows` rows, made if new.
    pub(crate) fn assign(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Vec<usize>> {
        self.any |= rows > 0;
        if self.types.is_empty() {
            return Ok(vec![0; rows]);
        }
        let encoded = encode(&self.converter, columns)?;
        let mut groups = Vec::with_capacity(rows);
        for row in &encoded {
            let hash = xxh3_64(row.as_ref());
            let known = self.table.find(hash, |(h, group)| *h == hash && self.keys.row(*group) == row);
            let group = match known {
                Some((_, group)) => *group,
                None => {
                    let group = self.keys.num_rows();
                    self.keys.push(row);
                    self.table.insert_unique(hash, (hash, group), |(h, _)| *h);
                    group
                }
            };
            groups.push(group);
        }
        Ok(groups)
    }

    /// Number of groups.
    pub(crate) fn len(&self) -> usize {
        if self.types.is_empty() { usize::from(self.any) } else { self.keys.num_rows() }
    }

    /// The key columns, one row a group.
    pub(crate) fn into_columns(self) -> Result<Vec<ArrayRef>> {
        if self.types.is_empty() {
            return Ok(Vec::new());
        }
        let columns = self.converter.convert_rows(&self.keys)?;
        // Dictionaries come back as their values.
        columns.iter().zip(&self.types).map(|(c, t)| Ok(cast(c, t)?)).collect()
    }
}

/// The partition, of `parts`, of each row: a pinned function of the content of `columns` alone.
pub(crate) fn partition(columns: &[ArrayRef], parts: u64) -> Result<Vec<u64>> {
    let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
    let encoded = encode(&converter(&types)?, columns)?;
    Ok(encoded.iter().map(|row| xxh3_64_with_seed(row.as_ref(), PARTITION_SEED) % parts).collect())
}

pub(super) fn converter(types: &[DataType]) -> Result<RowConverter> {
    Ok(RowConverter::new(types.iter().map(|t| SortField::new(t.clone())).collect())?)
}

/// Rows of canonical keys: equal bytes exactly for equal keys.
pub(super) fn encode(converter: &RowConverter, columns: &[ArrayRef]) -> Result<Rows> {
    let columns: Vec<ArrayRef> = columns.iter().map(canonical).collect();
    Ok(converter.convert_columns(&columns)?)
}
