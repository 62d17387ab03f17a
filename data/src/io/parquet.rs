//! Parquet: only the bytes of the wanted columns and row groups are fetched.

use super::{FileEntry, Source, same_schema};
use crate::block::Block;
use crate::cost;
use crate::kernel::StageContext;
use crate::{DataError, Result};
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, Length};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Two ranges with a gap of at most this many bytes are fetched as one.
const COALESCE: u64 = 64 << 10;
/// Rows a batch.
const BATCH_ROWS: usize = 8192;

fn corrupt(path: &str, detail: impl ToString) -> DataError {
    DataError::Corrupt { path: path.into(), format: "Parquet".into(), detail: detail.to_string() }
}

/// The footer of a file.
fn footer(source: &dyn Source, path: &str) -> Result<ArrowReaderMetadata> {
    let io = |e: std::io::Error| DataError::io(path, &e);
    let size = source.len(path).map_err(io)?;
    if size < 12 {
        return Err(corrupt(path, format!("{size} bytes are too few for a footer")));
    }
    let tail = source.read_range(path, size - 8, 8).map_err(io)?;
    let (length, magic) = tail.split_at(4);
    if magic != b"PAR1" {
        return Err(corrupt(path, "it does not end in PAR1"));
    }
    let length = u64::from(u32::from_le_bytes([length[0], length[1], length[2], length[3]]));
    let start = (size - 8).checked_sub(length).ok_or_else(|| corrupt(path, "its footer is longer than the file"))?;
    let bytes = source.read_range(path, start, length).map_err(io)?;
    let metadata = ParquetMetaDataReader::decode_metadata(&bytes).map_err(|e| corrupt(path, e))?;
    for group in metadata.row_groups() {
        if group.num_rows() < 0 {
            return Err(corrupt(path, format!("a row group of {} rows", group.num_rows())));
        }
        if !group.columns().iter().all(|column| lies_within(column, size)) {
            return Err(corrupt(path, "a column lies outside the file"));
        }
    }
    ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new()).map_err(|e| corrupt(path, e))
}

/// Whether a column's bytes can be in a file of `size` bytes. The crate's own `byte_range` panics if they begin or end
/// before it.
fn lies_within(column: &ColumnChunkMetaData, size: u64) -> bool {
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let (start, length) = (u64::try_from(start), u64::try_from(column.compressed_size()));
    let end = start.ok().zip(length.ok()).and_then(|(start, length)| start.checked_add(length));
    end.is_some_and(|end| end <= size)
}

/// The common schema of `paths` and what their footers say.
///
/// # Errors
/// [`DataError::NotFound`], [`DataError::Corrupt`], [`DataError::SchemaMismatch`], each naming the file.
pub(crate) fn plan(source: &dyn Source, paths: &[String]) -> Result<(SchemaRef, Vec<FileEntry>)> {
    let mut first: Option<(String, Schema)> = None;
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let metadata = footer(source, path)?;
        let schema = Schema::new(metadata.schema().fields().clone());
        match &first {
            None => first = Some((path.clone(), schema)),
            Some((name, expected)) => same_schema((name, expected), path, &schema)?,
        }
        let groups = metadata.metadata().row_groups().iter();
        let size = |n: i64| u64::try_from(n).unwrap_or(0);
        let row_groups = groups.map(|g| (size(g.num_rows()), size(g.compressed_size()))).collect();
        let bytes = source.len(path).map_err(|e| DataError::io(path, &e))?;
        files.push(FileEntry { path: path.clone(), bytes, row_groups });
    }
    let (_, schema) = first.ok_or_else(|| DataError::bug("a read of no file"))?;
    Ok((Arc::new(schema), files))
}

/// The columns of `schema` from some row groups of a file.
pub(crate) fn read(
    path: &str,
    row_groups: &[usize],
    schema: &SchemaRef,
    limit: Option<u64>,
    context: StageContext<'_>,
) -> Result<Block> {
    let metadata = footer(context.source, path)?;
    let file_fields = metadata.schema().fields();
    let wanted = file_fields.iter().enumerate().filter(|(_, f)| schema.field_with_name(f.name()).is_ok());
    let roots: Vec<usize> = wanted.map(|(i, _)| i).collect();
    if roots.len() != schema.fields().len() || row_groups.iter().any(|g| *g >= metadata.metadata().num_row_groups()) {
        return Err(corrupt(path, "it changed since the read was planned"));
    }
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
    let chunks = fetch(path, &metadata, row_groups, &mask, context.source)?;
    (context.charge)(cost::of(cost::PARQUET_BYTE, chunks.ranges.values().map(Bytes::len).sum()));
    let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, metadata)
        .with_row_groups(row_groups.to_vec())
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS);
    if let Some(limit) = limit {
        builder = builder.with_limit(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let mut batches = Vec::new();
    for batch in builder.build().map_err(|e| corrupt(path, e))? {
        let batch = batch.map_err(|e| corrupt(path, e))?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        let typed = RecordBatch::try_new_with_options(schema.clone(), columns, &options);
        batches.push(typed.map_err(|e| corrupt(path, e))?);
    }
    Block::new(schema.clone(), batches)
}

/// Fetches every chunk of the wanted columns.
fn fetch(
    path: &str,
    metadata: &ArrowReaderMetadata,
    row_groups: &[usize],
    mask: &ProjectionMask,
    source: &dyn Source,
) -> Result<Chunks> {
    let size = source.len(path).map_err(|e| DataError::io(path, &e))?;
    let mut wanted = Vec::new();
    for group in row_groups {
        for (leaf, column) in metadata.metadata().row_group(*group).columns().iter().enumerate() {
            if mask.leaf_included(leaf) {
                // The footer was refused unless this is a range of the file.
                let (start, length) = column.byte_range();
                wanted.push((start, start + length));
            }
        }
    }
    wanted.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in wanted {
        match merged.last_mut() {
            Some((_, last)) if start <= last.saturating_add(COALESCE) => *last = end.max(*last),
            _ => merged.push((start, end)),
        }
    }
    let mut ranges = BTreeMap::new();
    for (start, end) in merged {
        let bytes = source.read_range(path, start, end - start).map_err(|e| DataError::io(path, &e))?;
        ranges.insert(start, bytes);
    }
    Ok(Chunks { size, ranges })
}

/// The fetched parts of a file, by offset.
struct Chunks {
    size: u64,
    ranges: BTreeMap<u64, Bytes>,
}

impl Chunks {
    /// The fetched bytes from `start` on.
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let range = self.ranges.range(..=start).next_back();
        let rest = range.and_then(|(at, bytes)| {
            let skip = usize::try_from(start - at).ok()?;
            (skip <= bytes.len()).then(|| bytes.slice(skip..))
        });
        rest.ok_or_else(|| ParquetError::General(format!("offset {start} lies outside the wanted columns")))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Chunks {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let rest = self.from(start)?;
        if length > rest.len() {
            return Err(ParquetError::General(format!("{length} bytes at {start} reach outside the wanted columns")));
        }
        Ok(rest.slice(..length))
    }
}

/// The block as one Parquet file (zstd). The bytes depend on the rows alone.
pub(crate) fn encode(block: &Block) -> Result<Bytes> {
    let failed = |e: ParquetError| DataError::Block { detail: e.to_string() };
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), block.schema().clone(), Some(properties)).map_err(failed)?;
    for batch in block.batches() {
        writer.write(batch).map_err(failed)?;
    }
    Ok(writer.into_inner().map_err(failed)?.into())
}
