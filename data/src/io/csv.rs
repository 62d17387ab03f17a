//! CSV (RFC 4180): Arrow's reader and writer, with errors that name file, line, column and value.

use super::{FileEntry, Source, same_schema};
use crate::block::Block;
use crate::cost;
use crate::kernel::StageContext;
use crate::{DataError, Result};
use arrow_array::{ArrayRef, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_csv::reader::Format;
use arrow_csv::{ReaderBuilder, WriterBuilder};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use csv::{ByteRecord, ErrorKind};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::io::Cursor;
use std::sync::Arc;

/// Rows a batch.
const BATCH_ROWS: usize = 8192;

/// How a CSV file is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CsvOptions {
    /// Whether the first row holds the column names; otherwise they are `column_1`, `column_2`, ...
    pub header: bool,
    /// Between fields; a single byte.
    pub delimiter: u8,
    /// Text that means null, besides the empty field.
    pub null: Option<String>,
    /// Types are guessed from this many rows of the first file; a later value that does not fit is an error.
    pub infer_rows: usize,
    /// Types that are given instead of guessed.
    pub types: Vec<(String, DataType)>,
}

impl Default for CsvOptions {
    /// A header, commas, only empty fields are null, types from the first 10,000 rows.
    fn default() -> Self {
        Self { header: true, delimiter: b',', null: None, infer_rows: 10_000, types: Vec::new() }
    }
}

impl CsvOptions {
    /// `text` means null, as an empty field does.
    pub fn null(mut self, text: impl Into<String>) -> Self {
        self.null = Some(text.into());
        self
    }

    /// Fields are separated by `byte`.
    pub fn delimiter(mut self, byte: u8) -> Self {
        self.delimiter = byte;
        self
    }

    /// Whether the first row holds the column names.
    pub fn header(mut self, header: bool) -> Self {
        self.header = header;
        self
    }

    /// The column `name` is of this type, whatever it looks like.
    pub fn column_type(mut self, name: impl Into<String>, data_type: DataType) -> Self {
        self.types.push((name.into(), data_type));
        self
    }

    fn is_null(&self, field: &str) -> bool {
        field.is_empty() || self.null.as_deref() == Some(field)
    }

    fn null_regex(&self) -> Result<Regex> {
        let text = regex::escape(self.null.as_deref().unwrap_or_default());
        Regex::new(&format!("^(?:|{text})$")).map_err(DataError::bug)
    }

    fn records<'a>(&self, bytes: &'a [u8]) -> csv::Reader<&'a [u8]> {
        csv::ReaderBuilder::new().delimiter(self.delimiter).has_headers(false).flexible(true).from_reader(bytes)
    }
}

fn corrupt(path: &str, detail: impl ToString) -> DataError {
    DataError::Corrupt { path: path.into(), format: "CSV".into(), detail: detail.to_string() }
}

fn content(source: &dyn Source, path: &str) -> Result<Bytes> {
    let io = |e: std::io::Error| DataError::io(path, &e);
    source.read_range(path, 0, source.len(path).map_err(io)?).map_err(io)
}

/// The common schema of `paths`: names from each header, types guessed from the first file.
///
/// # Errors
/// [`DataError::NotFound`], [`DataError::Corrupt`], [`DataError::CsvFields`], [`DataError::DuplicateColumn`],
/// [`DataError::SchemaMismatch`], [`DataError::UnknownColumn`] for a typed column that is not there.
pub(crate) fn plan(source: &dyn Source, paths: &[String], options: &CsvOptions) -> Result<(SchemaRef, Vec<FileEntry>)> {
    let mut first: Option<(String, Schema)> = None;
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let bytes = content(source, path)?;
        files.push(FileEntry { path: path.clone(), bytes: bytes.len() as u64, row_groups: Vec::new() });
        let names = names(path, &bytes, options)?;
        match &first {
            None => first = Some((path.clone(), infer(path, &bytes, names, options)?)),
            Some((name, schema)) => {
                // Types come from the first file; the names must agree.
                let typed = |(i, n): (usize, &String)| {
                    let data_type = schema.fields().get(i).map_or(DataType::Utf8, |f| f.data_type().clone());
                    Field::new(n, data_type, true)
                };
                let own: Vec<Field> = names.iter().enumerate().map(typed).collect();
                same_schema((name, schema), path, &Schema::new(own))?;
            }
        }
    }
    let (_, schema) = first.ok_or_else(|| DataError::bug("a read of no file"))?;
    Ok((Arc::new(schema), files))
}

fn names(path: &str, bytes: &[u8], options: &CsvOptions) -> Result<Vec<String>> {
    let mut record = ByteRecord::new();
    if !options.records(bytes).read_byte_record(&mut record).map_err(|e| corrupt(path, e))? {
        return Err(corrupt(path, "it is empty"));
    }
    if !options.header {
        return Ok((1..=record.len()).map(|i| format!("column_{i}")).collect());
    }
    let text = |field: &[u8]| match std::str::from_utf8(field) {
        Ok(name) => Ok(name.trim_start_matches('\u{feff}').to_string()),
        Err(e) => Err(corrupt(path, format!("line 1: {e}"))),
    };
    record.iter().map(text).collect()
}

fn infer(path: &str, bytes: &[u8], names: Vec<String>, options: &CsvOptions) -> Result<Schema> {
    let format = Format::default()
        .with_header(options.header)
        .with_delimiter(options.delimiter)
        .with_null_regex(options.null_regex()?);
    let (guessed, _) = format.infer_schema(Cursor::new(bytes), Some(options.infer_rows)).map_err(|e| {
        let any = Schema::new(names.iter().map(|n| Field::new(n, DataType::Utf8, true)).collect::<Vec<_>>());
        diagnose(path, bytes, options, &any).unwrap_or_else(|| corrupt(path, e))
    })?;
    let mut types: Vec<DataType> = guessed.fields().iter().map(|f| f.data_type().clone()).collect();
    types.resize(names.len(), DataType::Null);
    for (name, data_type) in &options.types {
        let at = names.iter().position(|n| n == name);
        let at = at.ok_or_else(|| DataError::unknown_column(name, names.iter().map(String::as_str)))?;
        types[at] = data_type.clone();
    }
    // A column without any value is text.
    let typed = |(name, t)| Field::new(name, if t == DataType::Null { DataType::Utf8 } else { t }, true);
    let fields: Vec<Field> = names.iter().zip(types).map(typed).collect();
    crate::plan::unique_names(&fields)?;
    Ok(Schema::new(fields))
}

/// Some columns of a file.
pub(crate) fn read(
    path: &str,
    options: &CsvOptions,
    file_schema: &SchemaRef,
    columns: &[usize],
    limit: Option<u64>,
    context: StageContext<'_>,
) -> Result<Block> {
    let bytes = content(context.source, path)?;
    (context.charge)(cost::of(cost::CSV_BYTE, bytes.len()));
    let mut builder = ReaderBuilder::new(file_schema.clone())
        .with_header(options.header)
        .with_delimiter(options.delimiter)
        .with_null_regex(options.null_regex()?)
        .with_batch_size(BATCH_ROWS)
        .with_projection(columns.to_vec());
    if let Some(limit) = limit {
        builder = builder.with_bounds(0, usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let reader = builder.build(Cursor::new(&bytes)).map_err(|e| corrupt(path, e))?;
    let schema = reader.schema();
    let batches: Result<Vec<_>, _> = reader.collect();
    let batches =
        batches.map_err(|e| diagnose(path, &bytes, options, file_schema).unwrap_or_else(|| corrupt(path, e)))?;
    Block::new(schema, batches)
}

/// Finds the first row a file of `schema` cannot have. Only called when reading has failed already.
fn diagnose(path: &str, bytes: &[u8], options: &CsvOptions, schema: &Schema) -> Option<DataError> {
    let mut rows = options.records(bytes);
    let mut record = ByteRecord::new();
    let mut header = options.header;
    let expected = schema.fields().len() as u64;
    loop {
        let more = rows.read_byte_record(&mut record);
        let line = record.position().map_or(0, csv::Position::line);
        match more {
            Ok(true) if std::mem::take(&mut header) => continue,
            Ok(true) => {}
            Ok(false) => return None,
            Err(e) if matches!(e.kind(), ErrorKind::Io(_)) => return None,
            Err(e) => return Some(corrupt(path, e)),
        }
        let found = record.len() as u64;
        if found != expected {
            return Some(DataError::CsvFields { path: path.into(), line, expected, found });
        }
        for (field, value) in schema.fields().iter().zip(&record) {
            let Ok(value) = std::str::from_utf8(value) else {
                return Some(corrupt(path, format!("line {line}: column `{}` is not UTF-8", field.name())));
            };
            if !options.is_null(value) && !parses(value, field.data_type()) {
                return Some(DataError::CsvValue {
                    path: path.into(),
                    line,
                    column: field.name().clone(),
                    value: value.into(),
                    expected: field.data_type().to_string(),
                });
            }
        }
    }
}

fn parses(value: &str, data_type: &DataType) -> bool {
    let text: ArrayRef = Arc::new(StringArray::from(vec![value]));
    let strict = CastOptions { safe: false, ..Default::default() };
    cast_with_options(&text, data_type, &strict).is_ok()
}

/// The block as a CSV file: a header, nulls as empty fields, floats in their shortest form that reads back equal, `\n`
/// after each row.
pub(crate) fn encode(block: &Block) -> Result<Bytes> {
    let failed = |e: arrow_schema::ArrowError| DataError::Block { detail: e.to_string() };
    let mut writer = WriterBuilder::new().with_header(true).build(Vec::new());
    // The header is written with the first batch, so an empty block needs an empty batch.
    writer.write(&arrow_array::RecordBatch::new_empty(block.schema().clone())).map_err(failed)?;
    for batch in block.batches() {
        writer.write(batch).map_err(failed)?;
    }
    Ok(writer.into_inner().into())
}
