//! User functions over batches, registered at compile time and shipped by name.

use crate::block::describe;
use crate::error::closest;
use crate::{DataError, Result};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

/// A function that [`Dataset::map_batches`](crate::Dataset::map_batches) can call. Make one with
/// [`map_function!`](crate::map_function).
pub struct MapFunction {
    /// The name it is shipped by; unique in a binary.
    pub name: &'static str,
    /// From one batch to one batch, with any number of rows. It must depend on its input alone, and its output schema
    /// on its input schema alone: the schema is found by calling it on a batch without rows.
    pub call: fn(&RecordBatch) -> Result<RecordBatch, String>,
}

inventory::collect!(MapFunction);

/// Registers a function `fn(&RecordBatch) -> Result<RecordBatch, String>` under its own name.
///
/// ```
/// use mobula_data::{RecordBatch, map_function};
///
/// /// Every batch without its last row.
/// fn all_but_last(batch: &RecordBatch) -> Result<RecordBatch, String> {
///     Ok(batch.slice(0, batch.num_rows().saturating_sub(1)))
/// }
/// map_function!(all_but_last);
/// ```
#[macro_export]
macro_rules! map_function {
    ($function:ident) => {
        $crate::inventory::submit! {
            $crate::MapFunction { name: stringify!($function), call: $function }
        }
    };
}

/// The function registered as `name`.
pub(crate) fn find(name: &str) -> Result<&'static MapFunction> {
    let mut all = inventory::iter::<MapFunction>.into_iter();
    all.find(|f| f.name == name).ok_or_else(|| {
        // The order of registration is the linker's: sort, so that messages do not depend on it.
        let mut names: Vec<&str> = inventory::iter::<MapFunction>.into_iter().map(|f| f.name).collect();
        names.sort_unstable();
        DataError::UnknownFunction { name: name.into(), nearest: closest(name, names.into_iter()) }
    })
}

impl MapFunction {
    /// The schema of the output for rows of `input`.
    pub(crate) fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        let output = (self.call)(&RecordBatch::new_empty(input.clone())).map_err(|detail| self.failed(detail))?;
        Ok(output.schema())
    }

    /// The function applied to `batch`, checked against the declared schema.
    pub(crate) fn call(&self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let output = (self.call)(batch).map_err(|detail| self.failed(detail))?;
        if output.schema_ref().fields() != schema.fields() {
            let (got, promised) = (describe(output.schema_ref()), describe(schema));
            return Err(self.failed(format!("returned ({got}) where an empty batch had given ({promised})")));
        }
        Ok(output)
    }

    fn failed(&self, detail: String) -> DataError {
        DataError::Function { name: self.name.into(), detail }
    }
}
