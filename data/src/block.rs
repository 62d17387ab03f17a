//! The unit that flows between operators: rows of one schema, immutable, cheap to clone.

use crate::{DataError, Result};
use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamEncoder;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use bytes::Bytes;
use mobula_runtime::{Blob, Rope};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(test)]
mod tests;

/// A list of record batches of one schema.
///
/// A block travels and is stored as one Arrow IPC stream. Decoding borrows the stream's bytes: the arrays of a block
/// read from shared memory point into shared memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Block {
    /// A block of `batches`.
    ///
    /// # Errors
    /// [`DataError::Block`] if a batch has another schema than `schema` (metadata aside).
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        for batch in &batches {
            if batch.schema_ref().fields() != schema.fields() {
                let detail =
                    format!("a batch has schema {} instead of {}", describe(batch.schema_ref()), describe(&schema));
                return Err(DataError::Block { detail });
            }
        }
        Ok(Self { schema, batches })
    }

    /// A block without rows.
    pub fn empty(schema: SchemaRef) -> Self {
        Self { schema, batches: Vec::new() }
    }

    /// The schema of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The batches, in row order.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Bytes of the rows, without the unused parts of buffers that slices share.
    pub fn bytes(&self) -> usize {
        let of_column = |c: &arrow_array::ArrayRef| c.to_data().get_slice_memory_size().unwrap_or(0);
        self.batches.iter().flat_map(RecordBatch::columns).map(of_column).sum()
    }

    /// All rows as one batch; copies unless there is exactly one batch.
    ///
    /// # Errors
    /// [`DataError::Bug`] if the batches cannot be concatenated.
    pub fn to_batch(&self) -> Result<RecordBatch> {
        match self.batches.as_slice() {
            [one] => Ok(one.clone()),
            many => Ok(arrow_select::concat::concat_batches(&self.schema, many)?),
        }
    }

    /// The block as one Arrow IPC stream (buffers aligned to 64 bytes from its start), in pieces: the columns are shared,
    /// not copied, and go straight to wherever the stream is written.
    ///
    /// # Errors
    /// [`DataError::Block`] if a type has no IPC form.
    pub fn to_ipc(&self) -> Result<Rope> {
        let failed = |e: ArrowError| DataError::Block { detail: e.to_string() };
        let mut encoder = StreamEncoder::try_new(&self.schema).map_err(failed)?;
        let mut pieces = Vec::new();
        for batch in &self.batches {
            pieces.extend(encoder.encode(batch).map_err(failed)?);
        }
        pieces.extend(encoder.finish().map_err(failed)?);
        Ok(Rope(pieces.into_iter().map(|piece| Bytes::from_owner(Piece(piece))).collect()))
    }

    /// Reads what [`Block::to_ipc`] wrote (or any other Arrow library), without copying when `bytes` is aligned. Numbers are
    /// not looked at; offsets and texts are checked, as everything in arrow relies on them.
    ///
    /// # Errors
    /// [`DataError::Block`] if the bytes are not a complete IPC stream.
    pub fn from_ipc(bytes: Bytes) -> Result<Self> {
        // Arrow's decoder panics on some streams it could refuse (a buffer beyond its message, a type it does not know).
        // It has no state but its own, which is dropped.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(bytes)));
        match decoded {
            Ok(Ok(block)) => Ok(block),
            Ok(Err(why)) => Err(DataError::Block { detail: why.to_string() }),
            Err(_) => Err(DataError::Block { detail: "the stream contradicts itself".into() }),
        }
    }
}

/// Part of a stream: a message, a column, or padding.
struct Piece(Buffer);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn decode(bytes: Bytes) -> std::result::Result<Block, ArrowError> {
    let mut buffer = Buffer::from(bytes);
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    while !buffer.is_empty() {
        if let Some(batch) = decoder.decode(&mut buffer)? {
            batches.push(batch);
        }
    }
    decoder.finish()?;
    let schema = decoder.schema().ok_or_else(|| ArrowError::IpcError("the stream is empty".into()))?;
    Ok(Block { schema, batches })
}

impl From<RecordBatch> for Block {
    /// A block of one batch.
    fn from(batch: RecordBatch) -> Self {
        Self { schema: batch.schema(), batches: vec![batch] }
    }
}

impl Serialize for Block {
    /// As one out-of-band buffer: in the store the stream's bytes are aligned, and reading them copies nothing.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.to_ipc().map_err(serde::ser::Error::custom)?.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Blob(bytes) = Blob::deserialize(from)?;
        Self::from_ipc(bytes).map_err(serde::de::Error::custom)
    }
}

/// `name: type, ...` for messages and plans.
pub(crate) fn describe(schema: &Schema) -> String {
    let fields: Vec<String> = schema.fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect();
    fields.join(", ")
}
