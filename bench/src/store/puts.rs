//! Values on their way in.

use crate::clock::Stopwatch;
use crate::lab::settle;
use crate::sample::Sample;
use mobula_protocol::TaskId;
use mobula_runtime::{Blob, ByteSize, Context, Incarnation, Nanos, Question, Result, StoreError};
use mobula_store::{Arena, CopyKind, Table};
use std::hint::black_box;

/// Seconds of the first put into this store.
pub async fn once(context: &Context, value: &Blob) -> Result<f64> {
    let watch = Stopwatch::start();
    let put = context.put(value).await?;
    let seconds = watch.seconds();
    drop(put);
    settle(context).await?;
    Ok(seconds)
}

/// Seconds of a put into memory that was written before: the value put last is gone, its range is free again.
pub async fn warm(context: &Context, value: &Blob, repetitions: usize) -> Result<Sample> {
    let mut seconds = Vec::new();
    for _ in 0..=repetitions {
        seconds.push(once(context, value).await?);
    }
    Ok(Sample::warm(seconds))
}

/// Seconds to put `count` small values, each dropped before the next, until the runtime has seen the last.
pub async fn many(context: &Context, value: u64, repetitions: usize, count: usize) -> Result<Sample> {
    let mut seconds = Vec::new();
    for _ in 0..=repetitions {
        let watch = Stopwatch::start();
        for _ in 0..count {
            drop(context.put(&value).await?);
        }
        context.ask(Question::Ledger).await?;
        seconds.push(watch.seconds());
    }
    Ok(Sample::warm(seconds))
}

/// Seconds to create an object in a table, write it where it stays, and seal it: no runtime, no codec, no hash.
pub fn in_place(source: &Blob, repetitions: usize) -> Result<Sample, StoreError> {
    let len = ByteSize(source.len() as u64);
    let mut table = Table::new(Arena::memfd(len)?);
    let object = TaskId { owner: Incarnation::new(1, 1), seq: 1 }.result(0);
    let mut once = || -> Result<f64, StoreError> {
        let watch = Stopwatch::start();
        let mut region = table.create(Nanos::ZERO, object, len, CopyKind::Primary)?.region;
        region.as_mut_slice().copy_from_slice(black_box(source));
        drop(table.seal(Nanos::ZERO, object, region)?);
        let seconds = watch.seconds();
        table.delete(object);
        Ok(seconds)
    };
    once()?;
    Sample::repeat(repetitions, once)
}
