//! Files in and out: the two traits the world implements, and the formats.

pub(crate) mod csv;
pub(crate) mod parquet;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use csv::CsvOptions;

use crate::block::{Block, describe};
use crate::kernel::StageContext;
use crate::{DataError, Result};
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Where bytes are read from. Paths use `/`, whatever the system.
pub trait Source: Send + Sync {
    /// `len` bytes from `offset`.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `UnexpectedEof` if it is shorter.
    fn read_range(&self, path: &str, offset: u64, len: u64) -> std::io::Result<Bytes>;

    /// Size of the file in bytes.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    fn len(&self, path: &str) -> std::io::Result<u64>;

    /// The paths of the files directly in a directory, or of those that match a pattern with `*` in its last
    /// component, in any order. A path to one file lists that file.
    ///
    /// # Errors
    /// `NotFound` if there is no such file or directory.
    fn list(&self, pattern: &str) -> std::io::Result<Vec<String>>;
}

/// Where bytes are written to.
pub trait Sink: Send + Sync {
    /// Makes `bytes` the content of the file, creating its directory if necessary. Readers see the old content or all
    /// of the new; a second call with the same bytes changes nothing, so that a task may run twice.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn write_atomic(&self, path: &str, bytes: Bytes) -> std::io::Result<()>;
}

/// Both.
pub trait Files: Source + Sink {}

impl<T: Source + Sink> Files for T {}

/// One task's share of the input files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ReadTask {
    /// Row groups of a Parquet file.
    Parquet {
        /// The file.
        path: String,
        /// Numbers of the row groups, ascending.
        row_groups: Vec<usize>,
        /// The columns to read, in file order.
        schema: SchemaRef,
        /// Read no more rows than this.
        limit: Option<u64>,
    },
    /// A whole CSV file.
    Csv {
        /// The file.
        path: String,
        /// How it is written.
        options: CsvOptions,
        /// All columns of the file.
        file_schema: SchemaRef,
        /// Positions of the columns to read, ascending.
        columns: Vec<usize>,
        /// Read no more rows than this.
        limit: Option<u64>,
    },
}

/// A file and what the planner knows of its contents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The file.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Rows and compressed bytes of each row group; empty for formats without them.
    pub row_groups: Vec<(u64, u64)>,
}

/// The rows of one read task.
pub(crate) fn read(task: &ReadTask, context: StageContext<'_>) -> Result<Block> {
    match task {
        ReadTask::Parquet { path, row_groups, schema, limit } => {
            parquet::read(path, row_groups, schema, *limit, context)
        }
        ReadTask::Csv { path, options, file_schema, columns, limit } => {
            csv::read(path, options, file_schema, columns, *limit, context)
        }
    }
}

/// The files `patterns` name, each pattern's in ascending order: a file, the files of a directory that end in
/// `.extension`, or those that match a pattern with `*` in its last component.
///
/// # Errors
/// [`DataError::NotFound`] naming a pattern that matches nothing, [`DataError::Io`].
pub(crate) fn expand(source: &dyn Source, patterns: &[String], extension: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for pattern in patterns {
        let path = pattern.trim_end_matches('/');
        let mut found = source.list(path).map_err(|e| DataError::io(pattern, &e))?;
        if !path.contains('*') && found != [path] {
            let suffix = format!(".{extension}");
            found.retain(|file| file.ends_with(&suffix));
        }
        if found.is_empty() {
            return Err(DataError::NotFound { pattern: pattern.clone() });
        }
        found.sort_unstable();
        files.extend(found);
    }
    if files.is_empty() {
        return Err(DataError::NothingGiven { operation: "read".into(), what: "path".into() });
    }
    Ok(files)
}

/// Fails if `schema` of `path` is not the one `first` had.
fn same_schema(first: (&str, &Schema), path: &str, schema: &Schema) -> Result<()> {
    if first.1.fields() == schema.fields() {
        return Ok(());
    }
    let detail = format!("({}) where ({}) was expected", describe(schema), describe(first.1));
    Err(DataError::SchemaMismatch { path: path.into(), first: first.0.into(), detail })
}
