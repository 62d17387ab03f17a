//! What tests of this crate share.

use crate::Result;
use crate::block::Block;
use crate::io::testing::TestFiles;
use crate::{Dataset, Session};
use arrow_array::{ArrayRef, RecordBatch};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Runs a future of local execution, which never waits.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("local execution waits for something"),
    }
}

/// A session over files in memory (and real ones behind them).
pub(crate) fn session(files: &[(&str, &[u8])]) -> (Session, Arc<TestFiles>) {
    let files = Arc::new(TestFiles::with(files));
    (Session::local(files.clone()), files)
}

/// A Dataset of one block a slice of `cuts` rows.
pub(crate) fn dataset(columns: Vec<(&str, ArrayRef)>, cuts: &[usize]) -> Dataset {
    let fields = columns.iter().map(|(n, c)| arrow_schema::Field::new(*n, c.data_type().clone(), true));
    let schema = Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, c)| c).collect()).unwrap();
    let mut blocks = Vec::new();
    let mut at = 0;
    for cut in cuts.iter().copied().chain([batch.num_rows()]) {
        let rows = cut.min(batch.num_rows() - at);
        blocks.push(Block::new(schema.clone(), vec![batch.slice(at, rows)]).unwrap());
        at += rows;
    }
    session(&[]).0.from_blocks(schema, blocks).unwrap()
}

/// The rows as CSV, header first.
pub(crate) fn csv(dataset: &Dataset) -> Result<String> {
    let block = now(dataset.collect())?;
    Ok(String::from_utf8(crate::io::csv::encode(&block)?.to_vec()).unwrap())
}
