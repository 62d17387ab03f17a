//! The unit that flows between operators: rows of one schema, immutable, cheap to clone.

use crate::{DataError, Result};
use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use mobula_runtime::Blob;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

    /// The block as one Arrow IPC stream (buffers aligned to 64 bytes from its start).
    ///
    /// # Errors
    /// [`DataError::Block`] if a type has no IPC form.
    pub fn to_ipc(&self) -> Result<Bytes> {
        let failed = |e: arrow_schema::ArrowError| DataError::Block { detail: e.to_string() };
        let mut writer =
            StreamWriter::try_new(Vec::with_capacity(self.bytes() + 4096), &self.schema).map_err(failed)?;
        for batch in &self.batches {
            writer.write(batch).map_err(failed)?;
        }
        Ok(writer.into_inner().map_err(failed)?.into())
    }

    /// Reads what [`Block::to_ipc`] wrote, without copying when `bytes` is aligned.
    ///
    /// # Errors
    /// [`DataError::Block`] if the bytes are not a complete IPC stream.
    pub fn from_ipc(bytes: Bytes) -> Result<Self> {
        let failed = |e: arrow_schema::ArrowError| DataError::Block { detail: e.to_string() };
        let mut buffer = Buffer::from(bytes);
        let mut decoder = StreamDecoder::new();
        let mut batches = Vec::new();
        while !buffer.is_empty() {
            if let Some(batch) = decoder.decode(&mut buffer).map_err(failed)? {
                batches.push(batch);
            }
        }
        decoder.finish().map_err(failed)?;
        let schema = decoder.schema().ok_or_else(|| DataError::Block { detail: "the stream is empty".into() })?;
        Ok(Self { schema, batches })
    }
}

impl Serialize for Block {
    /// As one out-of-band buffer: in the store the stream's bytes are aligned, and reading them copies nothing.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Blob(self.to_ipc().map_err(serde::ser::Error::custom)?).serialize(to)
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
