//! What work costs in simulated time: the one place with constants.
//!
//! Kernels call [`Charge`] with nanoseconds in proportion to the bytes or rows they touch. In the real world the hook
//! does nothing. The numbers are of one core of a current x86 server and only their proportions matter to a schedule;
//! a calibrated cost model scales them.

/// Takes the nanoseconds some work costs.
pub type Charge = fn(u64);

/// The hook of the real world: time passes by itself.
pub fn free(_nanos: u64) {}

/// Decoding one byte of a Parquet column chunk.
pub(crate) const PARQUET_BYTE: f64 = 8.0;
/// Parsing one byte of CSV.
pub(crate) const CSV_BYTE: f64 = 10.0;
/// Evaluating one expression for one row.
pub(crate) const EXPRESSION_ROW: f64 = 2.0;
/// Copying one row when rows are selected or joined.
pub(crate) const ROW_COPY: f64 = 10.0;
/// Looking up one row in a hash table.
pub(crate) const HASH_ROW: f64 = 40.0;
/// Updating one accumulator for one row.
pub(crate) const ACCUMULATE_ROW: f64 = 5.0;
/// Sorting: one comparison; a sort of n rows is charged n * log2(n) of them.
pub(crate) const COMPARE: f64 = 15.0;
/// Encoding one byte of output.
pub(crate) const ENCODE_BYTE: f64 = 5.0;

/// `unit` times `count`, in whole nanoseconds.
pub(crate) fn of(unit: f64, count: usize) -> u64 {
    (unit * count as f64) as u64
}

/// Sorting `rows` rows.
pub(crate) fn of_sort(rows: usize) -> u64 {
    of(COMPARE, rows) * u64::from(rows.max(2).ilog2())
}
